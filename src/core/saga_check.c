// SPDX-License-Identifier: Apache-2.0
// What holds in every reachable state of a saga. The same predicate is an assertion after each move
// and an error for a stored form, so that bytes from outside never trip the assertion later.
#include "core/assert.h"
#include "core/saga_internal.h"

static bool step_valid(const struct saga_step_state *st, const char **why)
{
    if (st->state == STEP_PENDING) {
        *why = "a step that was not begun has left no trace";
        return st->attempts == 0 && st->undo_attempts == 0 && st->forgiven == 0 &&
               st->due_ms == 0 && st->forward_end_ms == 0 && st->unheard == 0 && !st->maybe_done &&
               slice_none(st->result);
    }
    bool in_flight = step_in_flight(st);
    bool undo = step_undoing(st);
    *why = "a step in flight or waiting to be tried again has a due time, no other has";
    bool timed = in_flight || st->state == STEP_WAITING;
    if (st->state != STEP_UNDO_WAITING && timed != (st->due_ms > 0))
        return false;
    *why = "a step that is running, waiting or done has attempts";
    if ((timed || st->state == STEP_DONE || st->state == STEP_UNDONE) && st->attempts < 1)
        return false;
    *why = "what was never tried has done nothing";
    bool traces = st->maybe_done || st->forward_end_ms != 0 || st->unheard != 0;
    if (st->attempts == 0 && (traces || !slice_none(st->result)))
        return false;
    *why = "only an undo has undo attempts";
    if (!undo ? st->undo_attempts != 0 : st->state == STEP_UNDO_RUNNING && st->undo_attempts < 1)
        return false;
    *why = "what is forgiven had been tried, and the attempt in flight is not forgiven";
    int32_t counted = undo ? st->undo_attempts : st->attempts;
    if (in_flight ? st->forgiven >= counted : st->forgiven > counted)
        return false;
    *why = "a step that was undone had completed or may have happened";
    if (undo && !st->maybe_done && slice_none(st->result))
        return false;
    *why = "a completed step has a result";
    return st->state != STEP_DONE || !slice_none(st->result);
}

// Where each step may stand while the saga goes forward: done before the steps in hand, not begun
// after them.
static bool forward_valid(const struct saga *saga)
{
    int32_t end = saga_hand_end(saga);
    for (int32_t i = 0; i < (int32_t)saga->def->step_count; i++) {
        enum step_state state = saga->steps[i].state;
        if (i < saga->current && state != STEP_DONE && state != STEP_SKIPPED)
            return false;
        if (i >= end && i > saga->current && state != STEP_PENDING)
            return false;
        if (step_undoing(&saga->steps[i]))
            return false;
    }
    return saga->current >= 0;
}

// The same while it goes back: everything after the steps in hand is undone, nothing before them.
static bool backward_valid(const struct saga *saga)
{
    int32_t end = saga_hand_end(saga);
    for (int32_t i = 0; i < (int32_t)saga->def->step_count; i++) {
        enum step_state state = saga->steps[i].state;
        if (i < saga->current && state != STEP_DONE && state != STEP_SKIPPED)
            return false;
        if (i >= end && state != STEP_UNDONE && saga_must_undo(saga, i))
            return false;
        if (state == STEP_RUNNING || state == STEP_WAITING)
            return false;
        if (i >= end && step_in_flight(&saga->steps[i]))
            return false;
    }
    return !saga_past_pivot(saga);
}

static bool stuck_valid(const struct saga *saga)
{
    for (int32_t i = saga->current, end = saga_hand_end(saga); i < end; i++)
        if (step_in_flight(&saga->steps[i]) || saga->steps[i].due_ms > 0)
            return false;
    return saga_exhausted(saga) || (saga_any(saga, STEP_FAILED) && saga_past_pivot(saga));
}

bool saga_valid(const struct saga *saga, const char **why)
{
    *why = "the step in hand exists, and no branch of its group is before it";
    if (saga->current < -1 || saga->current > (int32_t)saga->def->step_count)
        return false;
    bool exists = saga->current >= 0 && saga->current < (int32_t)saga->def->step_count;
    if (exists && def_first_of(saga->def, saga->current) != saga->current)
        return false;
    for (size_t i = 0; i < saga->def->step_count; i++)
        if (!step_valid(&saga->steps[i], why))
            return false;
    *why = "a pause knows where to go on and since when";
    bool pausable = saga->paused_from == SAGA_RUNNING || saga->paused_from == SAGA_COMPENSATING;
    if (saga->state == SAGA_PAUSED && !pausable)
        return false;
    enum saga_state course = saga_course(saga);
    *why = "going forward: steps done before the one in hand, none begun after it";
    if ((course == SAGA_RUNNING || course == SAGA_COMPLETED) && !forward_valid(saga))
        return false;
    *why = "going back: everything undone after the step in hand, nothing before it";
    if ((course == SAGA_COMPENSATING || course == SAGA_COMPENSATED) && !backward_valid(saga))
        return false;
    *why = "completed: no step is left";
    if (saga->state == SAGA_COMPLETED && saga->current != (int32_t)saga->def->step_count)
        return false;
    *why = "compensated: nothing is left to undo";
    if (saga->state == SAGA_COMPENSATED && saga->current != -1)
        return false;
    *why = "stuck: the step in hand waits for an operator";
    return saga->state != SAGA_STUCK || stuck_valid(saga);
}

void saga_check(const struct saga *saga)
{
    const char *why = NULL;
    bool holds = saga_valid(saga, &why);
    KA_ASSERT(holds && why != NULL);
}

// Something will come for the step: a result or a time.
static bool step_rests(const struct saga *saga, int32_t step)
{
    const struct saga_step_state *st = &saga->steps[step];
    if (saga->state == SAGA_RUNNING)
        return st->state == STEP_RUNNING || st->state == STEP_WAITING;
    return saga_undo_left(saga, step) && (step_undoing(st) ? st->due_ms : st->forward_end_ms) > 0;
}

bool saga_rests(const struct saga *saga)
{
    bool fresh = saga->state == SAGA_RUNNING && saga->sequence == 0;
    if (fresh || (saga->state != SAGA_RUNNING && saga->state != SAGA_COMPENSATING))
        return true;
    for (int32_t i = saga->current, end = saga_hand_end(saga); i < end; i++)
        if (step_rests(saga, i))
            return true;
    return false;
}
