// SPDX-License-Identifier: Apache-2.0
// Going back: the step in hand and all before it, newest first, one at a time; branches of a
// parallel step are begun in reverse order, and are undone side by side. An undo waits until the
// forward attempt it undoes has ended or its time is over, is tried again by its policy, and when
// that is exhausted the saga is STUCK until an operator says more, as soon as the undos beside it
// have ended; it is never skipped.
#include "core/saga_internal.h"

#include "core/assert.h"
#include "core/json.h"
#include "core/schema.h"

static void put_or_null(struct buf *buf, struct slice value)
{
    buf_slice_put(buf, slice_none(value) ? SLICE_LIT("null") : value);
}

// {"input": <what the step got>, "result": <what it said, or null>}
static struct slice undo_document(struct turn *turn, int32_t step)
{
    struct saga_step_state *st = &turn->saga->steps[step];
    struct slice input = st->input;
    if (turn->saga->def->steps[step].input == NULL)
        input = saga_given(turn, step);
    struct buf *scratch = turn->effects->scratch;
    size_t from = scratch->len;
    buf_str(scratch, "{\"input\":");
    put_or_null(scratch, input);
    buf_str(scratch, ",\"result\":");
    put_or_null(scratch, st->result);
    buf_byte(scratch, '}');
    return saga_take(turn, from);
}

bool saga_undo_input(struct turn *turn, int32_t step, struct slice *input, struct why *why)
{
    const struct step_def *def = &turn->saga->def->steps[step];
    size_t max = turn->saga->def->state_max;
    struct err_text text = {""};
    enum ka_err err = KA_OK;
    *input = undo_document(turn, step);
    if (def->compensate_input != NULL) {
        struct slice document = *input;
        err = expr_eval(def->compensate_input, document, turn->effects->arena, input, &text);
        if (err == KA_OK && max > 0 && input->len > max) // it stands in the history
            err = err_set(&text, KA_ERR_TOO_LARGE, "the input has %zu bytes, at most %zu are taken",
                          input->len, max);
    }
    if (err == KA_OK && (input->len == 0 || json_type(*input) != JSON_OBJECT))
        err = err_set(&text, KA_ERR_SCHEMA, "the value is not a JSON object: %.*s",
                      SLICE_FMT(*input));
    if (err == KA_OK && def->compensate->params != NULL)
        err = schema_check(def->compensate->params, *input, false, &text);
    if (err == KA_OK)
        return true;
    why->code = SLICE_LIT("invalid_input");
    struct slice message = arena_copy(turn->effects->arena, slice_str(text.text));
    why->message = saga_text(turn, message, SAGA_MESSAGE_MAX);
    return false;
}

// The undo waits for an operator (due 0); why the saga goes back is kept for afterwards.
static void exhaust(struct turn *turn, int32_t step, const struct why *why)
{
    struct saga *saga = turn->saga;
    struct attempt attempt = {step, saga->steps[step].undo_attempts, true};
    if (!saga_exhausted(saga)) {
        saga->cause_code = saga->fail_code;
        saga->cause_message = saga->fail_message;
    }
    saga_move_step(turn, step, STEP_UNDO_WAITING, 0);
    saga_set_failure(saga, why);
    (void)saga_emit_step(turn, TRANSITION_COMPENSATION_FAILED, &attempt, why);
}

static void begin_undo(struct turn *turn, int32_t step)
{
    struct saga_step_state *st = &turn->saga->steps[step];
    const struct step_def *def = &turn->saga->def->steps[step];
    struct slice input = SLICE_NONE;
    struct why why = {0};
    if (!saga_undo_input(turn, step, &input, &why)) {
        exhaust(turn, step, &why);
        return;
    }
    st->undo_attempts++;
    saga_move_step(turn, step, STEP_UNDO_RUNNING,
                   saga_time_add(turn->now_ms, def->compensate_timeout_ms));
    struct attempt attempt = {step, st->undo_attempts, true};
    if (!saga_runs_inline(turn->saga, step, true)) {
        struct transition *record =
            saga_emit_step(turn, TRANSITION_COMPENSATION_STARTED, &attempt, NULL);
        record->input = input;
        record->due_ms = st->due_ms;
    }
    saga_invoke(turn, &attempt, input);
}

static void end_well(struct turn *turn, int32_t step, const struct action_result *result)
{
    struct attempt attempt = {step, turn->saga->steps[step].undo_attempts, true};
    struct slice input = SLICE_NONE;
    struct why ignored = {0};
    if (saga_runs_inline(turn->saga, step, true))
        (void)saga_undo_input(turn, step, &input, &ignored);
    saga_move_step(turn, step, STEP_UNDONE, 0);
    struct transition *record =
        saga_emit_step(turn, TRANSITION_COMPENSATION_COMPLETED, &attempt, NULL);
    record->input = input;
    (void)saga_result_object(result, &record->data);
}

void saga_end_undo(struct turn *turn, int32_t step, const struct action_result *result)
{
    struct saga_step_state *st = &turn->saga->steps[step];
    const struct retry_policy *retry = &turn->saga->def->steps[step].compensate_retry;
    if (result->outcome == OUTCOME_OK) {
        end_well(turn, step, result);
        return;
    }
    struct why why = saga_why(turn, result);
    struct attempt attempt = {step, st->undo_attempts, true};
    st->forgiven += saga_not_begun(result);
    int32_t failed = st->undo_attempts - st->forgiven;
    if (!saga_may_retry(retry, failed)) {
        exhaust(turn, step, &why);
        return;
    }
    int64_t due = saga_retry_at(turn, retry, failed, &attempt, result->retry_after_ms);
    saga_move_step(turn, step, STEP_UNDO_WAITING, due);
    saga_emit_step(turn, TRANSITION_COMPENSATION_RETRYING, &attempt, &why)->due_ms = due;
}

static void get_stuck(struct turn *turn)
{
    struct why why = {.code = turn->saga->fail_code, .message = turn->saga->fail_message};
    saga_move(turn, SAGA_STUCK);
    (void)saga_emit(turn, TRANSITION_SAGA_STUCK, &why);
}

static void finish(struct turn *turn)
{
    struct why why = {.code = turn->saga->fail_code, .message = turn->saga->fail_message};
    saga_move(turn, SAGA_COMPENSATED);
    (void)saga_emit(turn, TRANSITION_SAGA_COMPENSATED, &why);
}

// One look at a step in hand; false when the others have to wait for what it is doing.
static bool look_at(struct turn *turn, int32_t step)
{
    const struct saga_step_state *st = &turn->saga->steps[step];
    bool waits = st->state == STEP_UNDO_WAITING;
    if (!saga_undo_left(turn->saga, step))
        return true;
    if (waits ? st->due_ms > 0 && st->due_ms <= turn->now_ms
              : !step_undoing(st) && st->forward_end_ms <= turn->now_ms)
        begin_undo(turn, step);
    return !saga_ends_now(turn, step);
}

// A look at all that is in hand; false when there is something to wait for.
static bool undo_once(struct turn *turn)
{
    struct saga *saga = turn->saga;
    bool left = false;
    for (int32_t i = saga_hand_end(saga) - 1; i >= saga->current; i--) {
        if (!look_at(turn, i))
            return false;
        const struct saga_step_state *st = &saga->steps[i];
        bool exhausted = st->state == STEP_UNDO_WAITING && st->due_ms == 0;
        left = left || (!exhausted && saga_undo_left(saga, i));
    }
    if (left)
        return false;
    if (saga_exhausted(saga))
        get_stuck(turn);
    else
        saga->current = saga->current == 0 ? -1 : def_first_of(saga->def, saga->current - 1);
    return true;
}

void saga_undo(struct turn *turn)
{
    struct saga *saga = turn->saga;
    int32_t count = (int32_t)saga->def->step_count;
    if (saga->current == count) // cancelled after the last step, paused
        saga->current = def_first_of(saga->def, count - 1);
    while (saga->state == SAGA_COMPENSATING) {
        if (saga->current < 0)
            finish(turn);
        else if (!undo_once(turn))
            return;
    }
}
