// SPDX-License-Identifier: Apache-2.0
// What the files of the saga state machine share. Not for anybody else: the shard and the engine
// use saga.h.
#ifndef KA_CORE_SAGA_INTERNAL_H
#define KA_CORE_SAGA_INTERNAL_H

#include "core/remote.h"
#include "core/saga.h"

// One call of saga_step: what moves, where the effects go, the time.
struct turn {
    struct saga *saga;
    struct saga_effects *effects;
    int64_t now_ms;
    const struct saga_event *event;
    struct slice placement; // why the step that begins runs where it does; absent: nobody asked
};

// Why something ends or moves: of an attempt (code, message) or of an operator (all four).
struct why {
    struct slice code;
    struct slice message;
    struct slice actor;
    struct slice reason;
};

// Which attempt; what an invocation and its result are matched by.
struct attempt {
    int32_t step;
    int32_t number;
    bool compensation;
};

// A row of the tables of states: where one may go from here is a bit set of states.
struct state_row {
    const char *name;
    unsigned next;
    unsigned flags;
};
enum { STATE_FINAL = 1, STATE_PAUSABLE = 2, STATE_IN_FLIGHT = 4, STATE_UNDO = 8 };
extern const struct state_row step_states[];

// An attempt is in flight, forward or undo.
static inline bool step_in_flight(const struct saga_step_state *st)
{
    return (step_states[st->state].flags & STATE_IN_FLIGHT) != 0;
}
// UNDO_… and UNDONE.
static inline bool step_undoing(const struct saga_step_state *st)
{
    return (step_states[st->state].flags & STATE_UNDO) != 0;
}

// --- saga.c: the only places that write saga->state and step->state
void saga_move(struct turn *turn, enum saga_state to);
void saga_move_step(struct turn *turn, int32_t step, enum step_state to, int64_t due_ms);
// The steps in hand are [current, saga_hand_end): the branches of a group, or one step. None when
// all are done, or nothing is left to undo.
int32_t saga_hand_end(const struct saga *saga);
// A step in hand has this state.
bool saga_any(const struct saga *saga, enum step_state state);
// The state a pause has to go on from, else the state itself.
enum saga_state saga_course(const struct saga *saga);
// A step with a completed pivot: there is no way back.
bool saga_past_pivot(const struct saga *saga);
// The attempt has not begun: the policy does not count it.
bool saga_not_begun(const struct action_result *result);
// A step in hand has failed that is not optional.
bool saga_has_failed(const struct saga *saga);
// It has, and the saga will turn back: nothing of its group begins any more.
bool saga_failing(const struct saga *saga);
// The undo of a step in hand has come to its end and waits for an operator.
bool saga_exhausted(const struct saga *saga);
// The step has a compensation and did, or may have done, something.
bool saga_must_undo(const struct saga *saga, int32_t step);
// Its undo has not begun, or not ended.
bool saga_undo_left(const struct saga *saga, int32_t step);
// Starts everything that may start now, until something has to be waited for.
void saga_advance(struct turn *turn);
// At most `max` bytes of the text, as UTF-8: what a state holds must be what the history can say.
struct slice saga_text(const struct turn *turn, struct slice text, size_t max);
// Keeps the state small: texts of participants are cut.
struct why saga_why(const struct turn *turn, const struct action_result *result);
// The data of an OK result, "{}" when it said nothing; false if it is not a JSON object.
bool saga_result_object(const struct action_result *result, struct slice *object);
// Remembers why it compensates, is stuck or was terminated.
void saga_set_failure(struct saga *saga, const struct why *why);

// --- saga_check.c
// True if the state holds together; else *why names the first invariant that does not.
bool saga_valid(const struct saga *saga, const char **why);
// True between events: what goes on by itself waits for a result or a time.
bool saga_rests(const struct saga *saga);

// --- saga_effects.c
struct transition *saga_emit(struct turn *turn, enum transition_type type, const struct why *why);
struct transition *saga_emit_step(struct turn *turn, enum transition_type type,
                                  const struct attempt *attempt, const struct why *why);
// Wants the attempt run; saga_emit_step(…_STARTED) is the caller's matter.
void saga_invoke(struct turn *turn, const struct attempt *attempt, struct slice input);
// Moves what was written into the scratch since `from` to the arena.
struct slice saga_take(struct turn *turn, size_t from);
// When the next attempt begins, unix ms; `failed` counts from 1.
int64_t saga_retry_at(const struct turn *turn, const struct retry_policy *policy, int32_t failed,
                      const struct attempt *attempt, int64_t retry_after_ms);
bool saga_may_retry(const struct retry_policy *policy, int32_t failed);
int64_t saga_time_add(int64_t time_ms, int64_t more_ms);
// What is known before `step`: the start data merged with the results of completed steps, those of
// a distributed step under its name.
struct slice saga_known(struct turn *turn, int32_t step);

// --- saga_item.c: branches of a distributed step
// The element of the list that the branch is for; absent when there is none. False with the reason
// when there is no list, or it is longer than there are branches.
bool saga_item(struct turn *turn, int32_t step, struct slice *item, struct why *why);
// What the expressions of the step see: everything known, and `item` if it is for one.
struct slice saga_seen(struct turn *turn, int32_t step);
// What it gets without `input`: everything known, or its item.
struct slice saga_given(struct turn *turn, int32_t step);
// What is known with the results of a distributed step, whose first branch this is.
struct slice saga_gather(struct turn *turn, int32_t first, struct slice known);

// Room for one more element at the end; the array moves inside the arena when it is full.
void *saga_grow(struct arena *arena, void *array, size_t count, size_t *cap, size_t size);

// --- saga_place.c
// Decides where the first attempt of the step runs; later ones go to the same place. False with the
// reason when it may not go there. turn->placement says how it was decided.
bool saga_place(struct turn *turn, int32_t step, struct slice input, struct why *why);
// A replay waits to be told where the step in hand ran.
bool saga_untold(const struct turn *turn);
// It runs in the lane, in this transaction.
bool saga_runs_inline(const struct saga *saga, int32_t step, bool compensation);
// It does so now: its result is the next that comes.
bool saga_ends_now(const struct turn *turn, int32_t step);
// A call from another region, as it came.
void saga_called(const struct saga *saga, struct arena *arena, struct remote_call *call);

// --- saga_forward.c
void saga_forward(struct turn *turn); // state RUNNING
void saga_end_forward(struct turn *turn, int32_t step, const struct action_result *result);
// The failure comes from outside (deadline, cancel): an attempt in flight may have happened.
void saga_give_up(struct turn *turn, const struct why *why);
void saga_miss_deadline(struct turn *turn);
void saga_turn_back(struct turn *turn, const struct why *why); // RUNNING, PAUSED -> COMPENSATING
// What the attempts of the step get; false with the reason when it cannot be made.
bool saga_forward_input(struct turn *turn, int32_t step, struct slice *input, struct why *why);

// --- saga_undo.c
void saga_undo(struct turn *turn); // state COMPENSATING
void saga_end_undo(struct turn *turn, int32_t step, const struct action_result *result);
bool saga_undo_input(struct turn *turn, int32_t step, struct slice *input, struct why *why);

// --- saga_command.c
KA_MUST_USE enum ka_err saga_operate(struct turn *turn, const struct command *command,
                                     struct err_text *text);

#endif
