// SPDX-License-Identifier: Apache-2.0
// The lane: how records become one Kafka transaction after another, each exactly once. A pure
// state machine: what happened comes in as an event with its time, what is to be done goes out as
// effects. What the records mean is the processor's matter (shard.h, route.h, link.h). The rules in
// the comments of lane.c are those of docs/lane.md; in a build with KA_SIM each can be switched
// off. Not for several threads.
#ifndef KA_CORE_LANE_H
#define KA_CORE_LANE_H

#include "core/action.h"
#include "core/arena.h"
#include "core/buf.h"
#include "core/err.h"
#include "core/meta.h"
#include "core/record.h"

enum { LANE_TOPIC_MAX = 250, LANE_PRODUCERS = 2, LANE_NO_TAG = -1 };

enum lane_partition_state {
    LANE_PARTITION_RESTORING, // assigned, paused, the engine restores
    LANE_PARTITION_CLAIMING,  // restored; its offset is to be committed with our metadata first
    LANE_PARTITION_ACTIVE,
    LANE_PARTITION_PARKED, // cannot go on; assigned, paused, named in the log
};

// A partition that this lane owns: a shard, or a partition of a user topic. `slot` is its index,
// stable while it is assigned; the tag of its state records.
struct lane_partition {
    char topic[LANE_TOPIC_MAX];
    int32_t partition;
    int32_t slot;
    int32_t epoch; // one more at each assignment of this slot
    enum lane_partition_state state;
    bool used;
    bool touched;         // by the open transaction
    bool leaving;         // revoked: goes when the open transaction has ended
    bool seeking;         // nothing is taken before the seek has succeeded
    int64_t committed;    // next offset, confirmed
    int64_t reached;      // what was confirmed when it was parked; 0 = not parked since assigned
    int64_t position;     // next offset, with the open transaction
    int64_t read_to;      // the log was read up to here, markers included
    int64_t single_until; // records below are redone one per transaction
    int64_t poison_at;    // the record that no transaction could hold; -1 = none
    int64_t sample_at;    // when the end was asked for; INT64_MIN = never
    int64_t sample_end;
    bool sample_pending;
    bool sample_known;
    int64_t state_first; // offsets that its state records got in this transaction; -1 = none
    int64_t state_last;
    int64_t state_end;  // one past the last state record known; the processor sets it in adopt
    int64_t wait_until; // the record at `position` waits for something; 0 = it does not
    bool unpark;        // asked for while the open transaction touched it
    enum ka_err parked_error;
    // The processor's. The record at asked_at has made it ask something.
    void *owner;
    int64_t asked_at;
    uint64_t asked;
};

struct lane_output {
    struct output record;
    int32_t tag; // slot whose state topic this goes to, or LANE_NO_TAG
};

// An attempt's end, as the engine reports it. The lane keeps the pointer until the transaction
// that used it is confirmed, then hands it to release_result.
struct lane_result {
    int32_t slot;
    int32_t epoch;
    struct slice key;
    int64_t incarnation;
    int32_t step;
    int32_t attempt;
    bool compensation;
    struct action_result result;
    struct lane_result *next;       // the lane's
    struct lane_invocation *unsent; // the lane's: the call that was never made
};

// What one transaction gathers. The arena lives until the transaction has ended either way.
struct lane_batch {
    struct arena arena;
    struct buf scratch;
    struct lane_output *outputs;
    size_t output_count;
    size_t output_cap;
    size_t bytes;
    size_t owed; // bytes of what `close` will write, about
    struct lane_invocation *invocations;
    size_t invocation_count;
    size_t invocation_cap;
    int64_t now_ms;      // lane time: never goes back
    int64_t incarnation; // with `number` the commit token of this transaction
    int64_t number;
};

// What the transaction will write, as far as it is known, or half of what it needs for that.
static inline size_t lane_batch_bytes(const struct lane_batch *batch)
{
    size_t output = batch->bytes + batch->owed;
    size_t memory = batch->arena.allocated / 2;
    return output > memory ? output : memory;
}

struct lane_invocation {
    int32_t slot;
    int32_t epoch;
    int64_t decided_ms;
    struct invocation call;
};

void lane_batch_output(struct lane_batch *batch, const struct output *output, int32_t tag);
void lane_batch_invoke(struct lane_batch *batch, const struct lane_partition *partition,
                       const struct invocation *call);

// What gives records their meaning. All calls come from lane_step; `context` is the lane's.
// An error of class POISON from `record` makes a dlq record through `poison`. One of class RETRY
// makes the partition wait: the record comes again after a moment, and what is no record of it goes
// on. Any other error parks the partition.
struct lane_processor {
    void *context;
    enum ka_err (*record)(void *context, struct lane_partition *partition,
                          const struct record *record, struct lane_batch *batch,
                          struct err_text *text);
    void (*poison)(void *context, struct lane_partition *partition, const struct record *record,
                   enum ka_err error, const struct err_text *text, struct lane_batch *batch);
    enum ka_err (*result)(void *context, struct lane_partition *partition,
                          const struct lane_result *result, struct lane_batch *batch,
                          struct err_text *text);
    // Everything that is due at batch->now_ms, a bounded number; called again while due says so.
    enum ka_err (*timer)(void *context, struct lane_partition *partition, struct lane_batch *batch,
                         struct err_text *text);
    int64_t (*due)(void *context, struct lane_partition *partition); // INT64_MAX = never
    // Work of the processor's own (takeover, re-append): pending says so, work does a bounded part.
    bool (*pending)(void *context, struct lane_partition *partition, int64_t now_ms);
    enum ka_err (*work)(void *context, struct lane_partition *partition, struct lane_batch *batch,
                        struct err_text *text);
    // Before the flush: writes what is coalesced per transaction (states, marker).
    enum ka_err (*close)(void *context, struct lane_partition *partition, struct lane_batch *batch,
                         struct err_text *text);
    void (*committed)(void *context, struct lane_partition *partition);
    void (*undo)(void *context, struct lane_partition *partition);
    // Fills low water and counts for the metadata of the next commit: of confirmed state only.
    void (*describe)(void *context, struct lane_partition *partition, struct meta *meta);
    // Takes over what the engine restored (RESTORED event). May refuse: the partition is parked.
    enum ka_err (*adopt)(void *context, struct lane_partition *partition, void *restored,
                         const struct meta *meta, struct err_text *text);
    void (*drop)(void *context, struct lane_partition *partition);
    // A record that is nothing to it and needs no transaction; its offset goes with the next one.
    // NULL = there is none.
    bool (*passes)(void *context, const struct record *record);
};

struct lane_config {
    struct slice node;
    struct slice name;   // "s0", "r1"
    int64_t incarnation; // of the process: part of every commit token
    int64_t session_timeout_ms;
    int32_t batch_records; // caps of one transaction
    int64_t batch_bytes;
    int64_t batch_ms;
    int64_t interval_max_ms;  // 20 to 50
    int32_t undispatched_max; // invocations that wait; with more, lane_pressed (rule 14)
    void (*release_result)(void *context, struct lane_result *result);
    void *release_context;
    uint64_t rules_off; // bit n = rule n is off; see rule.h
};

enum lane_event_type {
    LANE_EVENT_TICK,
    LANE_EVENT_RECORD,
    LANE_EVENT_EOF,
    LANE_EVENT_PARTITION_ERROR, // out of range and the like: parks
    LANE_EVENT_ASSIGNED,
    LANE_EVENT_REVOKING,
    LANE_EVENT_LOST,
    LANE_EVENT_RESTORED,
    LANE_EVENT_PRODUCER_READY,  // first init or reset of a producer has succeeded
    LANE_EVENT_PRODUCER_FAILED, // … has failed: asked for again after a pause
    LANE_EVENT_FLUSHED,
    LANE_EVENT_COMMITTED,
    LANE_EVENT_COMMIT_FAILED,
    LANE_EVENT_ABORTED,
    LANE_EVENT_ABORT_FAILED,
    LANE_EVENT_TOKEN, // answer to LANE_EFFECT_ASK_TOKEN
    LANE_EVENT_RESULT,
    LANE_EVENT_NOT_BEGUN, // a dispatched invocation comes back: it has waited too long
    LANE_EVENT_END_SAMPLED,
    LANE_EVENT_SEEK_FAILED,
    LANE_EVENT_UNPARK,        // what parked the slot may be gone: restore it again
    LANE_EVENT_PRODUCE_FAILED // a produce call itself failed: error is its class
};

struct lane_partition_name {
    struct slice topic;
    int32_t partition;
};

struct lane_event {
    enum lane_event_type type;
    int64_t now_ms; // wall clock
    int64_t
        mono_ms; // a clock that nobody sets; 0 = not known, the wall clock's steps forward serve
    enum ka_err error;     // class of what failed; KA_OK otherwise
    struct err_text *text; // its detail; may be NULL
    // TICK
    bool drained;         // nothing more is waiting to be read now
    int32_t invoker_room; // invocations that may be dispatched now
    bool want_proof;      // calls wait to begin: keep the proof of membership young
    bool hold_inputs;     // pressure: do not begin with records (rule 14)
    // RECORD
    const struct record *record;
    // ASSIGNED, REVOKING, LOST
    const struct lane_partition_name *partitions;
    size_t partition_count;
    // EOF, PARTITION_ERROR, RESTORED, TOKEN, END_SAMPLED, SEEK_FAILED, UNPARK: which, which epoch
    int32_t slot;
    int32_t epoch;
    int64_t offset;          // EOF, END_SAMPLED: the end; RESTORED: committed offset
    void *restored;          // RESTORED: for processor.adopt
    const struct meta *meta; // RESTORED, TOKEN: the committed metadata (present = false if none)
    // PRODUCER_*, FLUSHED, COMMITTED, …
    int32_t producer;
    bool dirty;         // COMMITTED: a retried error was seen (rule 5)
    int32_t generation; // FLUSHED: group membership taken on this thread just now (rule 6)
    bool member;
    const struct lane_span *spans; // FLUSHED: offsets per tag
    size_t span_count;
    struct lane_result *result;         // RESULT: owned by the lane from here on
    struct lane_invocation *invocation; // NOT_BEGUN: owned by the lane from here on
};

struct lane_span {
    int32_t tag;
    int64_t first;
    int64_t last;
};

enum lane_effect_type {
    LANE_EFFECT_BEGIN,      // producer
    LANE_EFFECT_PRODUCE,    // producer, outputs [first, first + count) of the batch
    LANE_EFFECT_FLUSH,      // producer
    LANE_EFFECT_COMMIT,     // producer, offsets: send them with the membership of FLUSHED, commit
    LANE_EFFECT_ABORT,      // producer
    LANE_EFFECT_RESET,      // producer: destroy, create again with the same id, init
    LANE_EFFECT_ASK_TOKEN,  // slot: read its committed metadata, stable
    LANE_EFFECT_ASSIGN,     // slots
    LANE_EFFECT_UNASSIGN,   // names of the revoked or lost list
    LANE_EFFECT_RESTORE,    // slot, epoch
    LANE_EFFECT_SEEK,       // slot, offset
    LANE_EFFECT_PAUSE,      // slot
    LANE_EFFECT_RESUME,     // slot; nothing to do if it is not paused
    LANE_EFFECT_SAMPLE_END, // slot, epoch
    LANE_EFFECT_DISPATCH,   // invocation: the receiver owns it, lane_invocation_free; its times
                            // are what is left of them
    LANE_EFFECT_PARKED      // slot, error, text: to be logged and shown
};

struct lane_commit_offset {
    int32_t slot;
    int64_t offset;
    struct slice metadata;
};

struct lane_effect {
    enum lane_effect_type type;
    int32_t producer;
    int32_t slot;
    int32_t epoch;
    int64_t offset;
    size_t first;                             // PRODUCE
    size_t count;                             // PRODUCE, COMMIT, ASSIGN, UNASSIGN
    const struct lane_commit_offset *offsets; // COMMIT: valid until the transaction ended
    const struct lane_partition_name *names;  // ASSIGN, UNASSIGN: valid until the next step
    struct lane_invocation *invocation;       // DISPATCH
    enum ka_err error;                        // PARKED
};

// Filled by lane_step, emptied by the caller when it has done them, in this order.
struct lane_effects {
    struct lane_effect *list;
    size_t count;
    size_t cap;
};

struct lane;
struct lane *lane_new(const struct lane_config *config, const struct lane_processor *processor);
void lane_free(struct lane **lane);

// One event. Asserts on events that cannot come in this phase; everything that a broker, a
// network or a clock can do is an event that it accepts in every phase.
void lane_step(struct lane *lane, const struct lane_event *event, struct lane_effects *effects);
void lane_effects_fini(struct lane_effects *effects);
void lane_invocation_free(struct lane_invocation **invocation);

// May the engine hand in records now? If not, it leaves them where they are.
bool lane_wants_records(const struct lane *lane);
// When the next TICK is needed (unix ms), INT64_MAX if none.
int64_t lane_deadline(const struct lane *lane);
// No transaction open and nothing waiting to be put into one: a good moment to stop.
bool lane_idle(const struct lane *lane);

// Invocations that wait to be dispatched: at most one per live saga.
size_t lane_waiting(const struct lane *lane);
size_t lane_waiting_bytes(const struct lane *lane);
// There are more than undispatched_max, until half of that is left, or calls have waited too long
// and will come again: starts should be held back.
bool lane_pressed(const struct lane *lane);

const struct lane_batch *lane_batch(const struct lane *lane);
struct lane_partition *lane_partition(struct lane *lane, int32_t slot);
// NULL if it is not assigned.
struct lane_partition *lane_find(struct lane *lane, struct slice topic, int32_t partition);
int32_t lane_slots(const struct lane *lane);

// Counters since the start, for metrics.
struct lane_stats {
    int64_t transactions;
    int64_t aborts;
    int64_t unclear;
    int64_t resets;
    int64_t records;
    int64_t outputs;
    int64_t results;
    int64_t results_dropped;
    int64_t poison;
    int64_t timers;
    int64_t dispatched;
    int64_t not_begun;
    int64_t commit_ms_last;
};
const struct lane_stats *lane_stats(const struct lane *lane);
const char *lane_phase_name(const struct lane *lane);
// Detail of the last error that the lane saw; for the line that PARKED makes in the log.
const struct err_text *lane_error_text(const struct lane *lane);
// When the group last confirmed our membership (unix ms): invocations may start for half a session
// timeout from then.
int64_t lane_proof_ms(const struct lane *lane);
// Both producers are initialised: only then may the engine subscribe (rule 10).
bool lane_ready(const struct lane *lane);

#endif
