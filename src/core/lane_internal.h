// SPDX-License-Identifier: Apache-2.0
// What the files of the lane share. Include core/lane.h elsewhere.
#ifndef KA_CORE_LANE_INTERNAL_H
#define KA_CORE_LANE_INTERNAL_H

#include "core/assert.h"
#include "core/lane.h"
#include "core/rule.h"

enum lane_phase {
    LANE_IDLE,
    LANE_OPEN,
    LANE_FLUSHING,
    LANE_COMMITTING,
    LANE_ABORTING,
    LANE_RESETTING,
    LANE_ASKING
};

// A producer is NONE (to be reset when `retry_at` has come), RESETTING or READY.
enum lane_producer_state { LANE_PRODUCER_NONE, LANE_PRODUCER_RESETTING, LANE_PRODUCER_READY };

struct lane_producer {
    enum lane_producer_state state;
    int64_t retry_at;
    int32_t failures;
};

struct lane_result_list {
    struct lane_result *head;
    struct lane_result *tail;
    size_t count;
};

struct lane_queued {
    struct lane_invocation *invocation;
    size_t bytes;
    struct lane_queued *next;
};

struct lane {
    struct lane_config config;
    struct lane_processor processor;
    enum lane_phase phase;
    // The wall clock comes with the events and may jump. The protocol's clock is the sum of its
    // steps forward, or better those of a monotonic one: never back, never standing, so that no
    // pause, grace or proof lasts for as long as the wall clock was set back. Lane time is what
    // sagas see.
    int64_t wall_ms;
    int64_t mono_ms;
    int64_t clock_ms;
    int64_t now_ms;
    int64_t slack_ms; // half steps of lane time, while it is ahead of the wall clock

    struct lane_partition **slots;
    int32_t slot_count;
    int32_t last_found; // slot of the last lookup: records come in runs

    struct lane_producer producers[LANE_PRODUCERS];
    int32_t current;

    // The open transaction.
    struct lane_batch batch;
    int32_t *touched; // slots
    size_t touched_count;
    size_t emitted; // outputs handed to the engine
    int64_t opened_ms;
    int32_t inputs;     // records
    bool must_abort;    // a partition of it is gone
    bool known_aborted; // the reset only cleans up; the outcome is clear
    int64_t commit_sent_ms;
    int64_t ask_at; // ASKING: next question; INT64_MAX while one is under way
    struct lane_commit_offset *offsets;
    size_t offset_count;

    int64_t token;    // of the last commit
    int64_t proof_ms; // the group confirmed our membership for a request sent then
    int64_t last_close_ms;
    int32_t last_inputs;
    int64_t retry_at; // no new transaction before
    int64_t wake_at;  // no partition has waited long enough before
    int32_t abort_streak;
    bool hold_inputs;
    bool want_proof;
    bool was_alone; // the last transaction was one record's: what else waits has its turn

    struct lane_result_list pending;
    struct lane_result_list used;
    struct lane_queued *queue_head;
    struct lane_queued *queue_tail;
    size_t queue_count;
    size_t queue_bytes;
    int64_t queue_due; // none of them has waited too long before (lane time)
    bool pressed;
    int64_t pressed_ms; // when it was last, or when a call had waited too long

    // A revocation that waits for the open transaction.
    struct lane_partition_name *leaving;
    char *leaving_topics;
    size_t leaving_count;
    int64_t leaving_by;

    struct lane_effects *effects;
    struct err_text text;
    struct lane_stats stats;
};

#if defined KA_SIM || defined KASAGA_FAULTS
#define LANE_RULE(lane, n) (((lane)->config.rules_off & (UINT64_C(1) << (n))) == 0)
#else
#define LANE_RULE(lane, n) ((void)(lane), true)
#endif

struct lane_effect *lane_effect(struct lane *lane, enum lane_effect_type type);

// lane.c
void lane_move(struct lane *lane, enum lane_phase to);
bool lane_can_begin(const struct lane *lane);
void lane_touch(struct lane *lane, struct lane_partition *partition);
void lane_abort(struct lane *lane);
void lane_reset(struct lane *lane, int32_t producer);
void lane_park(struct lane *lane, struct lane_partition *partition, enum ka_err error);
void lane_emit_outputs(struct lane *lane);
void lane_close(struct lane *lane);

// lane_settle.c: the end of a transaction.
void lane_on_flushed(struct lane *lane, const struct lane_event *event);
void lane_on_committed(struct lane *lane, const struct lane_event *event);
void lane_on_commit_failed(struct lane *lane, const struct lane_event *event);
void lane_on_aborted(struct lane *lane, const struct lane_event *event);
void lane_on_producer(struct lane *lane, const struct lane_event *event);
void lane_on_token(struct lane *lane, const struct lane_event *event);
void lane_ask(struct lane *lane);
// The partition is read from its position on.
void lane_activate(struct lane *lane, struct lane_partition *partition);
void lane_fail_open(struct lane *lane, enum ka_err error);

// lane_member.c: partitions come and go.
void lane_on_assigned(struct lane *lane, const struct lane_event *event);
void lane_on_revoking(struct lane *lane, const struct lane_event *event);
void lane_on_lost(struct lane *lane, const struct lane_event *event);
void lane_on_restored(struct lane *lane, const struct lane_event *event);
void lane_on_unpark(struct lane *lane, const struct lane_event *event);
void lane_retry_unparks(struct lane *lane);
// The open transaction has nothing to do with it any more.
void lane_untouch(struct lane *lane, struct lane_partition *partition);
void lane_release_leaving(struct lane *lane, bool force);
bool lane_touches_leaving(const struct lane *lane);
void lane_members_fini(struct lane *lane);

// lane_work.c: what does not come from Kafka.
void lane_on_result(struct lane *lane, const struct lane_event *event);
void lane_on_not_begun(struct lane *lane, const struct lane_event *event);
// Calls that have waited too long become results.
void lane_expire(struct lane *lane);
void lane_work(struct lane *lane);
void lane_dispatch(struct lane *lane, int32_t room);
void lane_enqueue_invocations(struct lane *lane);
void lane_results_confirm(struct lane *lane);
void lane_results_return(struct lane *lane);
void lane_work_fini(struct lane *lane);
int64_t lane_work_due(const struct lane *lane);

#endif
