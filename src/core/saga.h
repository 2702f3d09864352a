// SPDX-License-Identifier: Apache-2.0
// One saga instance: its state, the one function that moves it, and its stored form
// (schemas/saga_state.avsc). Pure: time and outcomes come in as events, what is wanted goes out
// as transitions (one history record each) and invocations. Who stores, sends and runs is the
// shard's and the engine's matter.
#ifndef KA_CORE_SAGA_H
#define KA_CORE_SAGA_H

#include "core/action.h"
#include "core/arena.h"
#include "core/command.h"
#include "core/def.h"
#include "core/trace.h"

enum saga_state {
    SAGA_RUNNING,
    SAGA_COMPENSATING,
    SAGA_PAUSED,
    SAGA_STUCK,
    SAGA_COMPLETED,
    SAGA_COMPENSATED,
    SAGA_TERMINATED
};

enum step_state {
    STEP_PENDING, // not begun
    STEP_RUNNING, // an attempt is in flight until due_ms
    STEP_WAITING, // the next attempt begins at due_ms
    STEP_DONE,
    STEP_FAILED,       // said no, exhausted, or unknown at the end: see maybe_done
    STEP_SKIPPED,      // `when` was false, an optional step failed, or an operator skipped it
    STEP_UNDO_RUNNING, // a compensation attempt is in flight until due_ms
    STEP_UNDO_WAITING, // the next compensation attempt begins at due_ms
    STEP_UNDONE
};

struct saga_step_state {
    enum step_state state;
    bool maybe_done; // sticky: some attempt may have had its effect
    int32_t attempts;
    int32_t undo_attempts;
    int32_t forgiven;       // attempts the policy does not count: those before an operator's retry
                            // and those that have not begun
    int64_t due_ms;         // see the states; 0 = none (STEP_UNDO_WAITING: waits for an operator)
    int64_t forward_end_ms; // the last forward attempt was given up and may run until then;
                            // 0 = it has ended
    uint64_t unheard;       // bit i: attempt `attempts - i` was given up and has not answered
    struct slice input;     // what the `input` expression gave, kept for retries and the undo;
                            // absent when the step takes what is known (it can be derived)
    struct slice result;    // JSON object of STEP_DONE; what the undo gets of one that failed
    struct slice region;    // where its attempts run, decided at the first; absent = here
};

// Slices point into the arena or the bytes it was decoded from.
struct saga {
    const struct saga_def *def;
    struct slice key;    // "<type>/<id>"
    int64_t incarnation; // inbox offset of the start record
    enum saga_state state;
    enum saga_state paused_from; // RUNNING or COMPENSATING, when state is SAGA_PAUSED
    int32_t current;             // index of the step in hand, of a group its first branch; -1 when
                                 // none is left to undo
    int64_t sequence;            // number of the next history record
    int64_t started_ms;
    int64_t deadline_ms; // absolute; 0 = none. Time spent paused does not count
    int64_t paused_ms;   // since when it is paused; 0 = it is not
    struct slice data;   // of the start event
    struct slice source;
    struct slice type;
    struct slice event_id;
    struct slice tenant;
    struct slice dataclass;
    struct slice traceparent;
    struct slice fail_code; // why it compensates, is stuck or was terminated
    struct slice fail_message;
    struct slice cause_code; // SAGA_STUCK in an undo: why it compensates, kept for afterwards
    struct slice cause_message;
    struct saga_step_state *steps; // def->step_count of them
    struct slice known;            // cache, not stored: data merged with the results before step
    int32_t known_steps;           // `known_steps`; absent = not made yet
};

enum transition_type {
    TRANSITION_SAGA_STARTED,
    TRANSITION_SAGA_COMPLETED,
    TRANSITION_SAGA_COMPENSATING,
    TRANSITION_SAGA_COMPENSATED,
    TRANSITION_SAGA_STUCK,
    TRANSITION_SAGA_PAUSED,
    TRANSITION_SAGA_RESUMED,
    TRANSITION_SAGA_TERMINATED,
    TRANSITION_STEP_STARTED,
    TRANSITION_STEP_COMPLETED,
    TRANSITION_STEP_FAILED,
    TRANSITION_STEP_RETRYING,
    TRANSITION_STEP_SKIPPED,
    TRANSITION_STEP_LATE,
    TRANSITION_COMPENSATION_STARTED,
    TRANSITION_COMPENSATION_COMPLETED,
    TRANSITION_COMPENSATION_FAILED,
    TRANSITION_COMPENSATION_RETRYING
};

// One record of the history. `step` < 0 for those of the whole saga. Absent slices: not said.
struct transition {
    enum transition_type type;
    int64_t sequence;
    int64_t time_ms;
    int32_t step;
    int32_t attempt;
    bool compensation;     // the record is about the undo of the step
    bool maybe_done;       // of the step, at this moment
    enum saga_state state; // of the saga, after this transition
    int64_t due_ms;        // RETRYING: when; *_STARTED: when the attempt times out; else 0
    struct slice data;  // SAGA_STARTED: start data; *_COMPLETED, LATE, "invalid_result": the result
    struct slice input; // of *_STARTED and of a step that starts and ends in one go
    struct slice code;  // of failures and of operator verbs
    struct slice message;
    struct slice actor;       // of operator verbs
    struct slice reason;      // of operator verbs
    struct slice region;      // where the step runs; absent = here
    struct slice placement;   // STEP_STARTED of a first attempt: why there, if it was decided
    struct slice executed_by; // of an end in another region: "<region>/<node>"
    size_t truncated;         // bytes of data and input that were left out (history_format_short)
};

// What saga_step wants. Grows in the arena. Order of effects: the transitions are written in the
// same transaction as the state, the invocations run only after it is committed (inline ones: in
// it, their result comes back as the next event).
struct saga_refusal { // a step that was not allowed to go where it should: for the audit
    int32_t step;
    struct residency_question question;
    struct slice message;
};

// Of a replay: where a step ran is not decided again, the history has it. `awaited` is set when the
// saga stands before such a step; SAGA_EVENT_PLACED with what is told then lets it go on.
struct saga_told {
    bool awaited;
    bool known;
    bool refused; // `code` and `message` say why
    struct slice region;
    struct slice placement;
    struct slice code;
    struct slice message;
};

struct saga_effects {
    const struct residency *residency; // NULL = there are no other regions
    const struct residency_link *links;
    struct saga_told *told; // NULL = no replay
    struct arena *arena;
    struct buf *scratch; // for merging and formatting; contents are not kept
    struct transition *transitions;
    size_t transition_count;
    size_t transition_cap;
    struct invocation *invocations;
    size_t invocation_count;
    size_t invocation_cap;
    struct saga_refusal *refusals;
    size_t refusal_count;
    size_t refusal_cap;
};

enum saga_event_type {
    SAGA_EVENT_START,    // first event of a fresh instance
    SAGA_EVENT_RESULT,   // an attempt ended
    SAGA_EVENT_TIMER,    // now_ms has passed saga_due
    SAGA_EVENT_TAKEOVER, // a new owner: what was in flight of `step` is dispatched again, same key
    SAGA_EVENT_COMMAND,  // an operator's verb
    SAGA_EVENT_PLACED    // of a replay: effects->told is known
};

struct saga_event {
    enum saga_event_type type;
    int64_t now_ms;
    // RESULT, TAKEOVER
    int32_t step;
    // RESULT
    int32_t attempt;
    bool compensation;
    struct action_result result;
    struct slice executed_by; // "<region>/<node>" when it ran in another region
    // COMMAND
    const struct command *command;
};

// A fresh instance from its START command; slices are borrowed from `command` and `key`.
// Then saga_step with SAGA_EVENT_START. KA_ERR_JSON if the data is not a JSON object,
// KA_ERR_ENVELOPE if that of a call from another region is none,
// KA_ERR_TOO_LARGE if it is over def->state_max.
KA_MUST_USE enum ka_err saga_new(const struct saga_def *def, struct slice key, int64_t incarnation,
                                 const struct command *command, struct arena *arena,
                                 struct saga **saga, struct err_text *text);

// Moves the instance. KA_OK also for late, repeated and unknown results: they change nothing
// (after a compensation began they give a TRANSITION_STEP_LATE). KA_ERR_NOT_ALLOWED for a verb
// that this state refuses: nothing has changed, the reason is in `text`. A parameter that does
// not match its schema, or an expression that fails, is a failed step (code "invalid_input"), not
// an error of this function.
KA_MUST_USE enum ka_err saga_step(struct saga *saga, const struct saga_event *event,
                                  struct saga_effects *effects, struct err_text *text);

// When the next SAGA_EVENT_TIMER is due (unix ms), INT64_MAX if never.
int64_t saga_due(const struct saga *saga);
// COMPLETED, COMPENSATED or TERMINATED: the state may be forgotten.
bool saga_finished(const struct saga *saga);
// Bytes that an instance holds: its key, the start event, inputs made by expressions, results.
// Nothing is added beyond def->state_max: a start that is larger does not begin, an input or a
// result that does not fit fails its step, the input of an undo makes the saga STUCK.
size_t saga_size(const struct saga *saga);
// `more` bytes fit into the instance.
bool saga_has_room(const struct saga *saga, size_t more);
// The class of what a step sends: that of the start event, or what the step declares of its input,
// raised by the fields of `input`.
enum data_class saga_data_class(const struct saga *saga, int32_t step, struct slice input,
                                const struct residency *residency, struct arena *arena);
// Attempts in flight (0 or more), for counts and drains.
int32_t saga_in_flight(const struct saga *saga);

// At most `max` bytes of the text, whole characters of UTF-8.
struct slice saga_cut(struct slice text, size_t max);
enum { SAGA_CODE_MAX = 128, SAGA_MESSAGE_MAX = 1024 };

// The trace context of one attempt: a span of its own below that of the start event, the same for
// every dispatch of this attempt. Absent if the event had none; may point into `room`.
struct slice saga_traceparent(const struct saga *saga, int32_t step, int32_t attempt,
                              bool compensation, char room[TRACE_PARENT_LEN]);

const char *saga_state_name(enum saga_state state);
const char *step_state_name(enum step_state state);
// "kasaga.step.completed"
const char *transition_type_name(enum transition_type type);

// Appends the stored form (Avro, single-object encoding).
void saga_encode(const struct saga *saga, struct buf *buf);
// What a stored form says before its definition is known. Slices point into `bytes`.
struct saga_header {
    struct def_id def;
    int64_t incarnation;
    enum saga_state state;
};
KA_MUST_USE enum ka_err saga_peek(struct slice bytes, struct saga_header *header,
                                  struct err_text *text);
// Decodes for `def` (the one saga_peek named); slices point into `bytes`, arrays into the arena.
// KA_ERR_AVRO, KA_ERR_VERSION.
KA_MUST_USE enum ka_err saga_decode(struct slice bytes, struct slice key,
                                    const struct saga_def *def, struct arena *arena,
                                    struct saga **saga, struct err_text *text);

// Holds in every reachable state; called after each move.
void saga_check(const struct saga *saga);

#endif
