// SPDX-License-Identifier: Apache-2.0
// The operators' verbs: each needs a reason, is refused without a trace where the state does not
// allow it, and stands in the history with who and why.
#include "core/saga_internal.h"

#include "core/assert.h"

static enum ka_err refuse(const struct turn *turn, const struct command *command,
                          const char *because, struct err_text *text)
{
    return err_set(text, KA_ERR_NOT_ALLOWED, "%s of %.*s, which is %s: %s",
                   command_verb_name(command->verb), SLICE_FMT(turn->saga->key),
                   saga_state_name(turn->saga->state), because);
}

static struct why operator_why(const struct turn *turn, const struct command *command,
                               struct slice code)
{
    return (struct why){.code = code,
                        .actor = saga_text(turn, command->actor, SAGA_CODE_MAX),
                        .reason = saga_text(turn, command->reason, SAGA_MESSAGE_MAX)};
}

static enum ka_err pause(struct turn *turn, const struct command *command, struct err_text *text)
{
    enum saga_state state = turn->saga->state;
    if (state != SAGA_RUNNING && state != SAGA_COMPENSATING)
        return refuse(turn, command, "only what goes on by itself can be paused", text);
    struct why why = operator_why(turn, command, SLICE_LIT("pause"));
    saga_move(turn, SAGA_PAUSED);
    (void)saga_emit(turn, TRANSITION_SAGA_PAUSED, &why);
    return KA_OK;
}

// The deadline stood still while it was paused.
static enum ka_err resume(struct turn *turn, const struct command *command, struct err_text *text)
{
    struct saga *saga = turn->saga;
    if (saga->state != SAGA_PAUSED)
        return refuse(turn, command, "it is not paused", text);
    if (saga->deadline_ms > 0 && turn->now_ms > saga->paused_ms)
        saga->deadline_ms = saga_time_add(saga->deadline_ms, turn->now_ms - saga->paused_ms);
    struct why why = operator_why(turn, command, SLICE_LIT("resume"));
    saga_move(turn, saga->paused_from);
    (void)saga_emit(turn, TRANSITION_SAGA_RESUMED, &why);
    saga_advance(turn);
    return KA_OK;
}

static enum ka_err cancel(struct turn *turn, const struct command *command, struct err_text *text)
{
    struct saga *saga = turn->saga;
    if (saga_finished(saga) || saga->state == SAGA_STUCK || saga_course(saga) != SAGA_RUNNING)
        return refuse(turn, command, "there is nothing left to cancel", text);
    if (saga_past_pivot(saga))
        return refuse(turn, command, "its pivot is completed, there is no way back", text);
    struct why why = operator_why(turn, command, SLICE_LIT("cancelled"));
    why.message = why.reason;
    saga_give_up(turn, &why);
    saga_advance(turn);
    return KA_OK;
}

// Why it goes back is what it was before an undo was exhausted.
static void restore_cause(struct saga *saga)
{
    struct why cause = {.code = saga->cause_code, .message = saga->cause_message};
    if (!saga_exhausted(saga))
        return;
    saga_set_failure(saga, &cause);
    saga->cause_code = saga->cause_message = SLICE_NONE;
}

// Out of STUCK, in the direction it was going.
static void leave_stuck(struct turn *turn, const struct why *why)
{
    struct saga *saga = turn->saga;
    enum saga_state course = saga_course(saga);
    restore_cause(saga);
    if (course == SAGA_RUNNING) {
        saga_set_failure(saga, &(struct why){0});
        saga->deadline_ms = 0; // it would only get stuck at once again
    }
    saga_move(turn, course);
    (void)saga_emit(turn, TRANSITION_SAGA_RESUMED, why);
}

// Fresh attempts; their numbers go on, so that a result of an old one is still told from a new one.
static void retry_step(struct turn *turn, int32_t step)
{
    struct saga_step_state *st = &turn->saga->steps[step];
    int64_t at_once = turn->now_ms > 0 ? turn->now_ms : 1; // 0 says "none"
    if (st->state == STEP_UNDO_WAITING) {
        st->forgiven = st->undo_attempts;
        saga_move_step(turn, step, STEP_UNDO_WAITING, at_once);
    } else if (st->state == STEP_FAILED && st->attempts == 0) {
        saga_move_step(turn, step, STEP_PENDING, 0);
    } else if (st->state == STEP_FAILED) {
        st->forgiven = st->attempts;
        saga_move_step(turn, step, STEP_WAITING, at_once);
    }
}

static enum ka_err retry(struct turn *turn, const struct command *command, struct err_text *text)
{
    struct saga *saga = turn->saga;
    if (saga->state != SAGA_STUCK)
        return refuse(turn, command, "only what is stuck can be tried again", text);
    struct why why = operator_why(turn, command, SLICE_LIT("retry"));
    bool back = saga_course(saga) == SAGA_COMPENSATING;
    leave_stuck(turn, &why);
    for (int32_t i = saga->current, end = saga_hand_end(saga); i < end; i++)
        if (!back || saga->steps[i].state == STEP_UNDO_WAITING)
            retry_step(turn, i);
    saga_advance(turn);
    return KA_OK;
}

static bool may_skip(const struct saga *saga)
{
    if (saga->state == SAGA_STUCK)
        return true;
    if (saga->state == SAGA_RUNNING)
        return saga_past_pivot(saga);
    // Waiting for a forward attempt to end is not an undo yet; skipping it would leave no trace.
    return saga->state == SAGA_COMPENSATING;
}

// A forward step past the pivot: what is in flight is given up, and the saga goes on without it.
static void skip_forward(struct turn *turn, int32_t step, const struct why *why)
{
    struct saga_step_state *st = &turn->saga->steps[step];
    struct attempt attempt = {step, st->attempts, false};
    if (st->state == STEP_DONE || st->state == STEP_SKIPPED)
        return;
    if (st->state == STEP_RUNNING) {
        st->maybe_done = true;
        st->unheard |= 1;
        st->forward_end_ms = st->due_ms;
    }
    if (st->state != STEP_FAILED)
        saga_move_step(turn, step, STEP_FAILED, 0);
    saga_move_step(turn, step, STEP_SKIPPED, 0);
    (void)saga_emit_step(turn, TRANSITION_STEP_SKIPPED, &attempt, why);
}

// The undo counts as made, on the operator's word.
static void skip_undo(struct turn *turn, int32_t step, const struct why *why)
{
    struct saga_step_state *st = &turn->saga->steps[step];
    struct attempt attempt = {step, st->undo_attempts, true};
    if (!saga_undo_left(turn->saga, step))
        return;
    if (st->state != STEP_UNDO_RUNNING && st->state != STEP_UNDO_WAITING)
        saga_move_step(turn, step, STEP_UNDO_WAITING, 0);
    saga_move_step(turn, step, STEP_UNDONE, 0);
    (void)saga_emit_step(turn, TRANSITION_STEP_SKIPPED, &attempt, why);
}

// Of a group: every branch that has not ended.
static enum ka_err skip(struct turn *turn, const struct command *command, struct err_text *text)
{
    struct saga *saga = turn->saga;
    if (!may_skip(saga))
        return refuse(turn, command, "there is a way back: cancel it instead", text);
    struct why why = operator_why(turn, command, SLICE_LIT("skip"));
    enum saga_state course = saga_course(saga);
    if (saga->state == SAGA_STUCK)
        leave_stuck(turn, &why);
    else
        restore_cause(saga);
    for (int32_t i = saga->current, end = saga_hand_end(saga); i < end; i++) {
        if (course == SAGA_RUNNING)
            skip_forward(turn, i, &why);
        else
            skip_undo(turn, i, &why);
    }
    saga_advance(turn);
    return KA_OK;
}

static enum ka_err terminate(struct turn *turn, const struct command *command,
                             struct err_text *text)
{
    if (saga_finished(turn->saga))
        return refuse(turn, command, "it has ended", text);
    struct why why = operator_why(turn, command, SLICE_LIT("terminated"));
    why.message = why.reason;
    saga_set_failure(turn->saga, &why);
    saga_move(turn, SAGA_TERMINATED);
    (void)saga_emit(turn, TRANSITION_SAGA_TERMINATED, &why);
    return KA_OK;
}

enum ka_err saga_operate(struct turn *turn, const struct command *command, struct err_text *text)
{
    KA_ASSERT(command != NULL);
    if (command->verb != COMMAND_START && command->reason.len == 0)
        return refuse(turn, command, "an operator's verb needs a reason", text);
    switch (command->verb) {
    case COMMAND_START:
    case COMMAND_RESULT:
        return refuse(turn, command, "it has been started", text);
    case COMMAND_PAUSE:
        return pause(turn, command, text);
    case COMMAND_RESUME:
        return resume(turn, command, text);
    case COMMAND_CANCEL:
        return cancel(turn, command, text);
    case COMMAND_RETRY:
        return retry(turn, command, text);
    case COMMAND_SKIP:
        return skip(turn, command, text);
    case COMMAND_TERMINATE:
        return terminate(turn, command, text);
    }
    KA_ASSERT(false && "a verb that the decoder let through");
    return KA_ERR_NOT_ALLOWED;
}
