// SPDX-License-Identifier: Apache-2.0
// What shard.c, shard_saga.c and shard_restore.c share.
#ifndef KA_CORE_SHARD_INTERNAL_H
#define KA_CORE_SHARD_INTERNAL_H

#include "core/dlq.h"
#include "core/shard.h"
#include "core/state.h"

struct shards {
    struct shard_config config;
    struct shard_definitions definitions;
    shard_run_inline *run;
    void *run_context;
    struct dlq_context dlq;
};

// An attempt that was in flight when the shard was adopted. A timer or a command may have moved the
// saga before its turn comes: what is in flight then was dispatched by us.
struct shard_takeover {
    struct slice key; // a block of its own
    int64_t incarnation;
    int32_t step;
    int32_t attempts;
    int32_t undo_attempts;
};

// One owned shard: lane_partition.owner.
struct shard {
    struct table *table;
    struct meta_counts counts; // with the open transaction
    struct meta_counts confirmed;
    // What the dead owner left in flight: dispatched again, same idempotency key.
    struct shard_takeover *takeover;
    size_t takeover_count;
    size_t takeover_next;
    size_t takeover_confirmed;
    struct meta_audit audit; // with the open transaction
    struct meta_audit audit_confirmed;
    int64_t marker_ms;         // when the last marker was written; confirmed
    int64_t marker_pending_ms; // … with the open transaction
    int64_t now_ms;            // lane time of the last close
    int64_t idle_ms;           // when a resting shard last worked on its lag
    bool idle;                 // it does so in the open transaction
    int64_t expire_ms;         // when finished instances were last looked through
    // Keys whose state this transaction changed, each once; in the batch's arena.
    struct slice *changed;
    size_t changed_count;
    size_t changed_cap;
    size_t appends; // state records of this transaction so far
};

struct shard_restore {
    struct table *table;
    struct state_marker marker;
    bool has_marker;
    size_t records;
};

struct shard *shard_new(struct shard_restore *restore);
void shard_free(struct shard **shard);

// The turn of one key: everything that saga_step needs and where its effects go.
struct shard_turn {
    struct shards *shards;
    struct shard *shard;
    struct lane_partition *partition;
    struct lane_batch *batch;
    struct slice cause;
    struct err_text *text;
    struct action_result last; // how the last attempt ended in this turn
};

// shard_saga.c
KA_MUST_USE enum ka_err shard_saga_command(struct shard_turn *turn, struct slice key,
                                           int64_t offset, const struct command *command);
KA_MUST_USE enum ka_err shard_saga_result(struct shard_turn *turn,
                                          const struct lane_result *result);
// What is due in a live key.
KA_MUST_USE enum ka_err shard_saga_timer(struct shard_turn *turn, struct slice key);
// The attempt is dispatched again if it is still the one in flight.
KA_MUST_USE enum ka_err shard_saga_takeover(struct shard_turn *turn,
                                            const struct shard_takeover *takeover);
// An attempt has ended somewhere: the saga moves if it is the one in flight.
KA_MUST_USE enum ka_err shard_saga_ended(struct shard_turn *turn, struct slice key,
                                         int64_t incarnation, struct saga_event *event);
// Decodes a live state for its due time and the attempts in flight, in the arena (their keys are
// left alone).
struct shard_look {
    int64_t due_ms;
    struct shard_takeover *in_flight;
    size_t count;
};
KA_MUST_USE enum ka_err shard_saga_look(struct shards *shards, struct slice key, struct slice bytes,
                                        struct arena *arena, struct shard_look *look,
                                        struct err_text *text);

// shard_remote.c
// Writes the call for another region. False when it may not or cannot go there: *refused is how the
// attempt ends.
KA_MUST_USE bool shard_remote_send(struct shard_turn *turn, const struct saga *saga,
                                   const struct invocation *call, struct action_result *refused);
// The end of a saga that ran a step for another region goes back there. turn->last is how the
// attempt ended.
void shard_remote_answer(struct shard_turn *turn, const struct saga *saga);
// A START of such a saga: KA_ERR_ENVELOPE when it is no call that can be answered.
KA_MUST_USE enum ka_err shard_remote_check(struct shard_turn *turn, const struct command *command);
// … that cannot be begun here: the caller is told.
void shard_remote_decline(struct shard_turn *turn, struct slice key, const struct command *command,
                          const char *code, struct slice message);
// A RESULT. KA_ERR_ENVELOPE when it is none.
KA_MUST_USE enum ka_err shard_remote_result(struct shard_turn *turn, struct slice key,
                                            const struct command *command);

// shard_audit.c
struct shard_refusal {
    struct slice key; // of the saga
    int64_t incarnation;
    const char *step;
    const char *action;
    struct residency_question question;
    struct slice tenant;
    struct slice message;
};
// Adds a record to the chain of this shard's audit records.
void shard_audit(struct shard_turn *turn, const struct shard_refusal *refusal);

// Adds a record of the state topic to the batch.
void shard_state_output(struct shard_turn *turn, struct slice key, struct slice value);
// The key's state is written when the transaction closes.
void shard_mark_changed(struct shard_turn *turn, struct slice key);

#endif
