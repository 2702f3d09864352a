// SPDX-License-Identifier: Apache-2.0
// The moves of a saga instance. This file owns the two tables, the two functions that write a
// state, and the reaction to time, results and takeovers. What holds is in saga_check.c; going
// forward in saga_forward.c, back in saga_undo.c, operators in saga_command.c, effects in
// saga_effects.c, the stored form in saga_codec.c.
//
//                      +--------- pause / resume ---------> PAUSED
//                      v
//   START ---> RUNNING ---- all steps done -------------------------------> COMPLETED
//                | |
//                | +------- failed past a pivot --------------> STUCK (forward)
//                |                                  retry, skip ----> RUNNING
//                | a step failed, deadline, cancel
//                v
//          COMPENSATING ---- nothing left to undo ------------------------> COMPENSATED
//             ^  | ^
//             |  | +--- retry, skip
//             |  +--- an undo is exhausted -------------------> STUCK (undo)
//             +--- pause / resume --> PAUSED
//   any unfinished state --- terminate -----------------------------------> TERMINATED
//
//   step:  PENDING -> RUNNING <-> WAITING        forward attempts
//             |          | \________|
//             |          v          v
//             +------> DONE       FAILED -> SKIPPED (optional, operator)
//             |          |          |           |
//             v          +----------+-----------+  only if DONE or maybe_done
//          SKIPPED                  v
//                        UNDO_RUNNING <-> UNDO_WAITING
//                                   |           |  (skip)
//                                   +-> UNDONE <+
//
// Branches of a parallel step are steps of the definition with one group: in hand together, each
// with its own state. Nothing of the group itself is stored. Branches are begun in the order of the
// definition, and undone in reverse; an inline one ends before the next is looked at (it does so in
// the same transaction), others are in flight side by side. The saga goes on, turns back or is
// STUCK when none of them is in flight or will be tried again.
//
// The scenario that made it hard: 1. an attempt times out, 2. the retry is refused by the
// business, 3. the first attempt had charged the card all the same. So "did it fail?" and "may it
// have happened?" are two questions, and the undo is decided by the second (maybe_done).
#include "core/saga_internal.h"

#include "core/assert.h"
#include "core/json.h"
#include "core/rule.h"

#define BIT(state) (1U << (state))

static const struct state_row saga_states[] = {
    [SAGA_RUNNING] = {"running",
                      BIT(SAGA_COMPLETED) | BIT(SAGA_COMPENSATING) | BIT(SAGA_PAUSED) |
                          BIT(SAGA_STUCK) | BIT(SAGA_TERMINATED),
                      STATE_PAUSABLE},
    [SAGA_COMPENSATING] = {"compensating",
                           BIT(SAGA_COMPENSATED) | BIT(SAGA_PAUSED) | BIT(SAGA_STUCK) |
                               BIT(SAGA_TERMINATED),
                           STATE_PAUSABLE},
    [SAGA_PAUSED] = {"paused", BIT(SAGA_RUNNING) | BIT(SAGA_COMPENSATING) | BIT(SAGA_TERMINATED),
                     0},
    [SAGA_STUCK] = {"stuck", BIT(SAGA_RUNNING) | BIT(SAGA_COMPENSATING) | BIT(SAGA_TERMINATED), 0},
    [SAGA_COMPLETED] = {"completed", 0, STATE_FINAL},
    [SAGA_COMPENSATED] = {"compensated", 0, STATE_FINAL},
    [SAGA_TERMINATED] = {"terminated", 0, STATE_FINAL},
};

const struct state_row step_states[] = {
    [STEP_PENDING] = {"pending", BIT(STEP_RUNNING) | BIT(STEP_SKIPPED) | BIT(STEP_FAILED), 0},
    [STEP_RUNNING] = {"running",
                      BIT(STEP_DONE) | BIT(STEP_WAITING) | BIT(STEP_FAILED) | BIT(STEP_RUNNING),
                      STATE_IN_FLIGHT},
    [STEP_WAITING] = {"waiting", BIT(STEP_RUNNING) | BIT(STEP_FAILED), 0},
    [STEP_DONE] = {"done", BIT(STEP_UNDO_RUNNING) | BIT(STEP_UNDO_WAITING), 0},
    [STEP_FAILED] = {"failed",
                     BIT(STEP_SKIPPED) | BIT(STEP_PENDING) | BIT(STEP_WAITING) |
                         BIT(STEP_UNDO_RUNNING) | BIT(STEP_UNDO_WAITING),
                     0},
    [STEP_SKIPPED] = {"skipped", BIT(STEP_UNDO_RUNNING) | BIT(STEP_UNDO_WAITING), 0},
    [STEP_UNDO_RUNNING] = {"undo_running",
                           BIT(STEP_UNDONE) | BIT(STEP_UNDO_WAITING) | BIT(STEP_UNDO_RUNNING),
                           STATE_IN_FLIGHT | STATE_UNDO},
    [STEP_UNDO_WAITING] = {"undo_waiting",
                           BIT(STEP_UNDO_RUNNING) | BIT(STEP_UNDONE) | BIT(STEP_UNDO_WAITING),
                           STATE_UNDO},
    [STEP_UNDONE] = {"undone", 0, STATE_UNDO},
};

const char *saga_state_name(enum saga_state state)
{
    KA_ASSERT((size_t)state < sizeof saga_states / sizeof saga_states[0]);
    return saga_states[state].name;
}

const char *step_state_name(enum step_state state)
{
    KA_ASSERT((size_t)state <= STEP_UNDONE);
    return step_states[state].name;
}

bool saga_finished(const struct saga *saga)
{
    return (saga_states[saga->state].flags & STATE_FINAL) != 0;
}

int32_t saga_hand_end(const struct saga *saga)
{
    if (saga->current < 0 || saga->current >= (int32_t)saga->def->step_count)
        return saga->current;
    return def_end_of(saga->def, saga->current);
}

bool saga_any(const struct saga *saga, enum step_state state)
{
    for (int32_t i = saga->current, end = saga_hand_end(saga); i < end; i++)
        if (saga->steps[i].state == state)
            return true;
    return false;
}

enum saga_state saga_course(const struct saga *saga)
{
    if (saga->state == SAGA_PAUSED)
        return saga->paused_from;
    if (saga->state != SAGA_STUCK)
        return saga->state;
    return saga_any(saga, STEP_UNDO_WAITING) ? SAGA_COMPENSATING : SAGA_RUNNING;
}

bool saga_past_pivot(const struct saga *saga)
{
    for (size_t i = 0; i < saga->def->step_count; i++)
        if (saga->def->steps[i].pivot && saga->steps[i].state == STEP_DONE)
            return true;
    return false;
}

bool saga_has_failed(const struct saga *saga)
{
    for (int32_t i = saga->current, end = saga_hand_end(saga); i < end; i++)
        if (saga->steps[i].state == STEP_FAILED && !saga->def->steps[i].optional)
            return true;
    return false;
}

bool saga_failing(const struct saga *saga)
{
    return saga_has_failed(saga) && !saga->def->steps[saga->current].collect &&
           !saga_past_pivot(saga);
}

bool saga_exhausted(const struct saga *saga)
{
    for (int32_t i = saga->current, end = saga_hand_end(saga); i < end; i++)
        if (saga->steps[i].state == STEP_UNDO_WAITING && saga->steps[i].due_ms == 0)
            return true;
    return false;
}

bool saga_must_undo(const struct saga *saga, int32_t step)
{
    const struct saga_step_state *st = &saga->steps[step];
    return saga->def->steps[step].compensate != NULL && (st->state == STEP_DONE || st->maybe_done);
}

bool saga_undo_left(const struct saga *saga, int32_t step)
{
    const struct saga_step_state *st = &saga->steps[step];
    return step_undoing(st) ? st->state != STEP_UNDONE : saga_must_undo(saga, step);
}

bool saga_not_begun(const struct action_result *result)
{
    return result->outcome == OUTCOME_RETRY && slice_eq(result->code, ACTION_NOT_BEGUN);
}

void saga_set_failure(struct saga *saga, const struct why *why)
{
    saga->fail_code = why->code;
    saga->fail_message = why->message;
}

// --- the two functions that move

void saga_move(struct turn *turn, enum saga_state to)
{
    struct saga *saga = turn->saga;
    KA_ASSERT(saga_states[saga->state].next & BIT(to));
    KA_ASSERT(to != SAGA_PAUSED || (saga_states[saga->state].flags & STATE_PAUSABLE));
    if (to == SAGA_PAUSED)
        saga->paused_from = saga->state;
    saga->paused_ms = to == SAGA_PAUSED ? turn->now_ms : 0;
    saga->state = to;
    saga_check(saga);
}

void saga_move_step(struct turn *turn, int32_t step, enum step_state to, int64_t due_ms)
{
    struct saga *saga = turn->saga;
    KA_ASSERT(step >= saga->current && step < saga_hand_end(saga));
    struct saga_step_state *st = &saga->steps[step];
    KA_ASSERT(step_states[st->state].next & BIT(to));
    if ((step_states[to].flags & STATE_UNDO) != 0 && !step_undoing(st))
        st->forgiven = 0; // of undo attempts from here on
    st->state = to;
    st->due_ms = due_ms;
    saga_check(saga);
}

// --- events

enum ka_err saga_new(const struct saga_def *def, struct slice key, int64_t incarnation,
                     const struct command *command, struct arena *arena, struct saga **saga,
                     struct err_text *text)
{
    KA_ASSERT(def->step_count <= DEF_STEPS_MAX && incarnation >= 0);
    struct slice data = command->data.len == 0 ? SLICE_LIT("{}") : json_trim(command->data);
    if (data.len == 0 || json_type(data) != JSON_OBJECT)
        return err_set(text, KA_ERR_JSON, "the data of %.*s is not a JSON object", SLICE_FMT(key));
    struct remote_call call;
    enum ka_err err = def->remote ? remote_call_parse(data, arena, &call, text) : KA_OK;
    if (err != KA_OK)
        return err;
    struct saga *fresh = arena_zalloc(arena, sizeof *fresh);
    *fresh = (struct saga){
        .def = def,
        .key = key,
        .incarnation = incarnation,
        .state = SAGA_RUNNING,
        .data = data,
        .source = buf_utf8(command->source, arena),
        .type = buf_utf8(command->type, arena),
        .event_id = buf_utf8(command->id, arena),
        .tenant = buf_utf8(command->tenant, arena),
        .dataclass = buf_utf8(command->dataclass, arena),
        .traceparent = buf_utf8(command->traceparent, arena),
        .steps = arena_zalloc(arena, def->step_count * sizeof *fresh->steps),
    };
    if (!saga_has_room(fresh, 0))
        return err_set(text, KA_ERR_TOO_LARGE, "the start event has %zu bytes, a state %zu",
                       saga_size(fresh), def->state_max);
    saga_check(fresh);
    *saga = fresh;
    return KA_OK;
}

static void start(struct turn *turn)
{
    struct saga *saga = turn->saga;
    KA_ASSERT(saga->sequence == 0 && saga->current == 0 && saga->state == SAGA_RUNNING);
    saga->started_ms = turn->now_ms;
    if (saga->def->deadline_ms > 0)
        saga->deadline_ms = saga_time_add(turn->now_ms, saga->def->deadline_ms);
    if (saga->def->remote) { // the caller's: what it has given up is not begun
        struct remote_call call;
        saga_called(saga, turn->effects->arena, &call);
        saga->deadline_ms = call.due_ms;
    }
    saga_emit(turn, TRANSITION_SAGA_STARTED, NULL)->data = saga->data;
    saga_advance(turn);
}

void saga_advance(struct turn *turn)
{
    if (turn->saga->state == SAGA_RUNNING)
        saga_forward(turn);
    if (turn->saga->state == SAGA_COMPENSATING)
        saga_undo(turn);
}

struct slice saga_cut(struct slice text, size_t max)
{
    if (text.len <= max)
        return text;
    while (max > 0 && ((unsigned char)text.ptr[max] & 0xC0) == 0x80) // inside a character
        max--;
    return slice_of(text.ptr, max);
}

struct slice saga_text(const struct turn *turn, struct slice text, size_t max)
{
    return buf_utf8(saga_cut(text, max), turn->effects->arena);
}

struct why saga_why(const struct turn *turn, const struct action_result *result)
{
    static const struct slice codes[] = {
        [OUTCOME_OK] = {"ok", 2},
        [OUTCOME_FAIL] = {"failed", 6},
        [OUTCOME_RETRY] = {"unavailable", 11},
        [OUTCOME_UNKNOWN] = {"unknown", 7},
    };
    struct why why = {.code = result->code, .message = result->message};
    if (why.code.len == 0)
        why.code = codes[result->outcome];
    why.code = saga_text(turn, why.code, SAGA_CODE_MAX);
    why.message = saga_text(turn, why.message, SAGA_MESSAGE_MAX);
    return why;
}

// A forward attempt that was given up answers after all. It is reported once; while its undo has
// not begun it ends the wait for it, and what it did is what the undo gets to see.
static void note_late(struct turn *turn, const struct saga_event *event)
{
    struct saga *saga = turn->saga;
    struct saga_step_state *st = &saga->steps[event->step];
    int32_t age = st->attempts - event->attempt;
    // Forward, only a branch that has failed while others of its group are in flight.
    if (saga_course(saga) == SAGA_RUNNING && saga->state != SAGA_STUCK && st->state != STEP_FAILED)
        return;
    if (age < 0 || age > 63 || !(st->unheard >> age & 1))
        return;
    st->unheard &= ~((uint64_t)1 << age);
    struct slice data = SLICE_NONE;
    bool ok = event->result.outcome == OUTCOME_OK && saga_result_object(&event->result, &data);
    if (ok && st->state == STEP_FAILED && slice_none(st->result))
        st->result = data;
    if (age == 0)
        st->forward_end_ms = 0;
    struct why why = saga_why(turn, &event->result);
    struct attempt late = {event->step, event->attempt, false};
    saga_emit_step(turn, TRANSITION_STEP_LATE, &late, &why)->data = ok ? data : SLICE_NONE;
    if (age == 0)
        saga_advance(turn);
}

static void take_result(struct turn *turn, const struct saga_event *event)
{
    struct saga *saga = turn->saga;
    if (event->step < 0 || event->step >= (int32_t)saga->def->step_count || saga_finished(saga))
        return;
    const struct saga_step_state *st = &saga->steps[event->step];
    bool undo = event->compensation;
    if (undo && st->state == STEP_UNDO_RUNNING && st->undo_attempts == event->attempt) {
        saga_end_undo(turn, event->step, &event->result);
        saga_advance(turn);
    } else if (!undo && st->state == STEP_RUNNING && st->attempts == event->attempt) {
        saga_end_forward(turn, event->step, &event->result);
        saga_advance(turn);
    } else if (!undo) {
        note_late(turn, event);
    }
}

static int64_t deadline_due(const struct saga *saga)
{
    return saga->state == SAGA_RUNNING && saga->deadline_ms > 0 ? saga->deadline_ms : INT64_MAX;
}

// An attempt in flight times out also while the saga is paused: its end is taken into the state.
static int64_t step_due(const struct saga *saga, int32_t step)
{
    const struct saga_step_state *st = &saga->steps[step];
    if (saga_finished(saga))
        return INT64_MAX;
    if (step_in_flight(st))
        return st->due_ms;
    if (saga->state != SAGA_RUNNING && saga->state != SAGA_COMPENSATING)
        return INT64_MAX;
    if (st->state == STEP_WAITING || (st->state == STEP_UNDO_WAITING && st->due_ms > 0))
        return st->due_ms;
    if (saga->state == SAGA_COMPENSATING && !step_undoing(st) && saga_must_undo(saga, step) &&
        st->forward_end_ms > 0)
        return st->forward_end_ms;
    return INT64_MAX;
}

int64_t saga_due(const struct saga *saga)
{
    int64_t due = deadline_due(saga);
    for (int32_t i = saga->current, end = saga_hand_end(saga); i < end; i++) {
        int64_t step = step_due(saga, i);
        due = step < due ? step : due;
    }
    return due;
}

static void time_out(struct turn *turn, int32_t step)
{
    struct saga_step_state *st = &turn->saga->steps[step];
    struct action_result result = {.outcome = OUTCOME_UNKNOWN,
                                   .code = SLICE_LIT("timeout"),
                                   .message = SLICE_LIT("no answer in time")};
    if (st->state == STEP_UNDO_RUNNING) {
        saga_end_undo(turn, step, &result);
    } else if (st->state == STEP_RUNNING) {
        st->unheard |= 1;
        st->forward_end_ms = st->due_ms;
        saga_end_forward(turn, step, &result);
    }
}

static bool any_ends_now(const struct turn *turn)
{
    for (int32_t i = turn->saga->current, end = saga_hand_end(turn->saga); i < end; i++)
        if (saga_ends_now(turn, i))
            return true;
    return false;
}

// The deadline first: what it gives up need not be tried again. Each turn of the loop moves what
// was due behind now; what is behind an inline attempt has its turn when that has ended.
static void pass_time(struct turn *turn)
{
    struct saga *saga = turn->saga;
    while (saga_due(saga) <= turn->now_ms && !any_ends_now(turn)) {
        if (deadline_due(saga) <= turn->now_ms) {
            saga_miss_deadline(turn);
        } else {
            for (int32_t i = saga->current, end = saga_hand_end(saga); i < end; i++)
                if (step_due(saga, i) <= turn->now_ms)
                    time_out(turn, i);
        }
        saga_advance(turn);
    }
}

// The worker that ran the attempt is gone: it may have happened, and nobody else will answer.
// The same attempt number and key go out again, so that a participant that knows it says so.
static void take_over(struct turn *turn, int32_t step)
{
    struct saga *saga = turn->saga;
    if (step < saga->current || step >= saga_hand_end(saga) || saga_finished(saga))
        return;
    struct saga_step_state *st = &saga->steps[step];
    if (!step_in_flight(st))
        return;
    if (st->region.len > 0) // its call is a record that stands in the log: nothing was lost
        return;
    const struct step_def *def = &saga->def->steps[step];
    bool undo = st->state == STEP_UNDO_RUNNING;
    struct attempt attempt = {step, undo ? st->undo_attempts : st->attempts, undo};
    struct why why = {.code = SLICE_LIT("takeover")};
    struct why failure = {0};
    struct slice input = SLICE_NONE;
    bool made = undo ? saga_undo_input(turn, step, &input, &failure)
                     : saga_forward_input(turn, step, &input, &failure);
    if (!made) // cannot be: it was made before from the same bytes. Let the attempt time out.
        return;
    if (!undo && KA_RULE(RULE_TAKEN_OVER))
        st->maybe_done = true;
    int64_t timeout_ms = undo ? def->compensate_timeout_ms : def->timeout_ms;
    saga_move_step(turn, step, st->state, saga_time_add(turn->now_ms, timeout_ms));
    struct transition *record = saga_emit_step(
        turn, undo ? TRANSITION_COMPENSATION_STARTED : TRANSITION_STEP_STARTED, &attempt, &why);
    record->input = input;
    record->due_ms = st->due_ms;
    saga_invoke(turn, &attempt, input);
}

enum ka_err saga_step(struct saga *saga, const struct saga_event *event,
                      struct saga_effects *effects, struct err_text *text)
{
    KA_ASSERT(saga != NULL && effects->arena != NULL && effects->scratch != NULL);
    KA_ASSERT(event->now_ms >= 0);
    struct turn turn = {.saga = saga, .effects = effects, .now_ms = event->now_ms, .event = event};
    enum ka_err err = KA_OK;
    switch (event->type) {
    case SAGA_EVENT_START:
        start(&turn);
        break;
    case SAGA_EVENT_RESULT:
        take_result(&turn, event);
        break;
    case SAGA_EVENT_TIMER:
        pass_time(&turn);
        break;
    case SAGA_EVENT_TAKEOVER:
        take_over(&turn, event->step);
        break;
    case SAGA_EVENT_COMMAND:
        err = saga_operate(&turn, event->command, text);
        break;
    case SAGA_EVENT_PLACED:
        KA_ASSERT(effects->told != NULL && effects->told->known);
        saga_advance(&turn);
        break;
    }
    KA_ASSERT(saga_rests(saga) || saga_untold(&turn));
    return err;
}

size_t saga_size(const struct saga *saga)
{
    size_t size = saga->key.len + saga->data.len + saga->source.len + saga->type.len +
                  saga->event_id.len + saga->tenant.len + saga->dataclass.len +
                  saga->traceparent.len;
    for (size_t i = 0; i < saga->def->step_count; i++)
        size += saga->steps[i].input.len + saga->steps[i].result.len;
    return size;
}

bool saga_has_room(const struct saga *saga, size_t more)
{
    size_t max = saga->def->state_max;
    return max == 0 || (more <= max && saga_size(saga) <= max - more);
}

int32_t saga_in_flight(const struct saga *saga)
{
    int32_t count = 0;
    for (size_t i = 0; i < saga->def->step_count; i++)
        count += step_in_flight(&saga->steps[i]);
    return count;
}
