// SPDX-License-Identifier: Apache-2.0
// Going forward: begin the step in hand (or the branches of a parallel one), try it again, end it,
// and turn back when it failed. The first branch that fails lets none of its group begin or be
// tried again, unless the group collects; those in flight end first. Past a pivot there is no
// turning back: whatever goes wrong there is tried again by the policy, and then the saga is STUCK.
#include "core/saga_internal.h"

#include "core/assert.h"
#include "core/json.h"
#include "core/rule.h"
#include "core/schema.h"

static struct why invalid_input(struct turn *turn, const struct err_text *text)
{
    struct slice message = arena_copy(turn->effects->arena, slice_str(text->text));
    message = saga_text(turn, message, SAGA_MESSAGE_MAX);
    return (struct why){.code = SLICE_LIT("invalid_input"), .message = message};
}

static bool check_object(struct turn *turn, const struct schema *schema, struct slice value,
                         struct why *why)
{
    struct err_text text = {""};
    enum ka_err err = KA_OK;
    if (value.len == 0 || json_type(value) != JSON_OBJECT)
        err =
            err_set(&text, KA_ERR_SCHEMA, "the value is not a JSON object: %.*s", SLICE_FMT(value));
    else if (schema != NULL)
        err = schema_check(schema, value, false, &text);
    if (err != KA_OK)
        *why = invalid_input(turn, &text);
    return err == KA_OK;
}

static bool eval(struct turn *turn, const struct expr *expr, struct slice document,
                 struct slice *value, struct why *why)
{
    struct err_text text = {""};
    enum ka_err err = expr_eval(expr, document, turn->effects->arena, value, &text);
    if (err == KA_OK)
        return true;
    (void)err_wrap(&text, err, "%s", expr_source(expr));
    *why = invalid_input(turn, &text);
    return false;
}

bool saga_forward_input(struct turn *turn, int32_t step, struct slice *input, struct why *why)
{
    const struct step_def *def = &turn->saga->def->steps[step];
    struct saga_step_state *st = &turn->saga->steps[step];
    if (turn->saga->def->remote) {
        struct remote_call call;
        saga_called(turn->saga, turn->effects->arena, &call);
        *input = call.input;
        return st->attempts > 0 || check_object(turn, def->action->params, *input, why);
    }
    if (def->input == NULL) {
        *input = saga_given(turn, step);
        return st->attempts > 0 || check_object(turn, def->action->params, *input, why);
    }
    if (slice_none(st->input)) {
        struct slice made = SLICE_NONE;
        if (!eval(turn, def->input, saga_seen(turn, step), &made, why))
            return false;
        if (!saga_has_room(turn->saga, made.len)) {
            struct err_text text;
            (void)err_set(&text, KA_ERR_TOO_LARGE,
                          "the input has %zu bytes, and a state that has %zu may have %zu",
                          made.len, saga_size(turn->saga), turn->saga->def->state_max);
            *why = invalid_input(turn, &text);
            return false;
        }
        *input = made; // what it is, also when it will not do
        if (!check_object(turn, def->action->params, made, why))
            return false;
        st->input = made;
    }
    *input = st->input;
    return true;
}

// --- the step ends

static bool no_way_back(const struct saga *saga, int32_t step)
{
    return !saga->def->steps[step].optional && saga_past_pivot(saga);
}

static struct transition *fail_step(struct turn *turn, int32_t step, const struct why *why)
{
    struct saga *saga = turn->saga;
    bool first = !saga_has_failed(saga);
    saga_move_step(turn, step, STEP_FAILED, 0);
    if (!saga->def->steps[step].optional && first)
        saga_set_failure(saga, why);
    struct attempt attempt = {step, saga->steps[step].attempts, false};
    return saga_emit_step(turn, TRANSITION_STEP_FAILED, &attempt, why);
}

static void complete_step(struct turn *turn, int32_t step, struct slice data)
{
    struct saga_step_state *st = &turn->saga->steps[step];
    st->result = data;
    st->forward_end_ms = 0;
    saga_move_step(turn, step, STEP_DONE, 0);
    struct attempt attempt = {step, st->attempts, false};
    struct transition *record = saga_emit_step(turn, TRANSITION_STEP_COMPLETED, &attempt, NULL);
    record->data = data;
    struct why ignored = {0};
    if (saga_runs_inline(turn->saga, step, false))
        (void)saga_forward_input(turn, step, &record->input, &ignored);
}

static void end_badly(struct turn *turn, int32_t step, const struct action_result *result,
                      const struct why *why)
{
    struct saga *saga = turn->saga;
    struct saga_step_state *st = &saga->steps[step];
    const struct step_def *def = &saga->def->steps[step];
    struct attempt attempt = {step, st->attempts, false};
    int32_t forgiven = st->forgiven + saga_not_begun(result);
    int32_t failed = st->attempts - forgiven;
    st->maybe_done |=
        KA_RULE(RULE_MAYBE_DONE) && (result->maybe_done || result->outcome == OUTCOME_UNKNOWN);
    bool again = result->outcome != OUTCOME_FAIL || no_way_back(saga, step);
    if (again && saga_may_retry(&def->retry, failed) && !saga_failing(saga)) {
        st->forgiven = forgiven;
        int64_t due = saga_retry_at(turn, &def->retry, failed, &attempt, result->retry_after_ms);
        saga_move_step(turn, step, STEP_WAITING, due);
        struct transition *record = saga_emit_step(turn, TRANSITION_STEP_RETRYING, &attempt, why);
        record->due_ms = due;
        record->data = result->data;
        return;
    }
    struct transition *record = fail_step(turn, step, why);
    record->data = result->data;
    struct why ignored = {0};
    if (saga_runs_inline(saga, step, false))
        (void)saga_forward_input(turn, step, &record->input, &ignored);
}

// It happened, only nobody can use what it says. The undo may, so it is kept.
static void end_unusable(struct turn *turn, int32_t step, struct slice data, struct why *why)
{
    struct action_result bad = {.outcome = OUTCOME_FAIL, .maybe_done = true, .data = data};
    if (!slice_none(data))
        turn->saga->steps[step].result = data;
    why->code = SLICE_LIT("invalid_result");
    end_badly(turn, step, &bad, why);
}

void saga_end_forward(struct turn *turn, int32_t step, const struct action_result *result)
{
    const struct action_def *action = turn->saga->def->steps[step].action;
    struct why why = saga_why(turn, result);
    struct slice data = SLICE_NONE;
    if (result->outcome != OUTCOME_OK) {
        struct action_result bad = *result;
        bad.data = SLICE_NONE; // results are of those that ended well
        end_badly(turn, step, &bad, &why);
    } else if (!saga_result_object(result, &data)) {
        why.message = SLICE_LIT("the result is not a JSON object");
        end_unusable(turn, step, SLICE_NONE, &why);
    } else if (action->result != NULL && !check_object(turn, action->result, data, &why)) {
        end_unusable(turn, step, data, &why);
    } else {
        complete_step(turn, step, data);
    }
}

static void give_up_step(struct turn *turn, int32_t step, const struct why *why)
{
    struct saga_step_state *st = &turn->saga->steps[step];
    bool in_flight = st->state == STEP_RUNNING;
    if (in_flight) {
        st->maybe_done |= KA_RULE(RULE_IN_FLIGHT);
        st->unheard |= 1;
        st->forward_end_ms = st->due_ms;
    }
    bool stuck = st->state == STEP_PENDING && saga_past_pivot(turn->saga);
    if (in_flight || st->state == STEP_WAITING || stuck)
        (void)fail_step(turn, step, why);
}

void saga_give_up(struct turn *turn, const struct why *why)
{
    struct saga *saga = turn->saga;
    KA_ASSERT(saga_course(saga) == SAGA_RUNNING);
    for (int32_t i = saga->current, end = saga_hand_end(saga); i < end; i++)
        give_up_step(turn, i, why);
    saga_set_failure(saga, why);
    if (!saga_past_pivot(saga)) {
        saga_turn_back(turn, why);
        return;
    }
    saga_move(turn, SAGA_STUCK);
    (void)saga_emit(turn, TRANSITION_SAGA_STUCK, why);
}

void saga_miss_deadline(struct turn *turn)
{
    struct why why = {.code = SLICE_LIT("deadline"),
                      .message = SLICE_LIT("the saga's deadline has passed")};
    saga_give_up(turn, &why);
}

void saga_turn_back(struct turn *turn, const struct why *why)
{
    struct saga *saga = turn->saga;
    KA_ASSERT(saga_course(saga) == SAGA_RUNNING && !saga_past_pivot(saga));
    saga_move(turn, SAGA_COMPENSATING);
    (void)saga_emit(turn, TRANSITION_SAGA_COMPENSATING, why);
}

// --- the step begins

static void begin_attempt(struct turn *turn, int32_t step, struct slice input)
{
    struct saga_step_state *st = &turn->saga->steps[step];
    const struct step_def *def = &turn->saga->def->steps[step];
    st->attempts++;
    st->unheard <<= 1;
    st->forward_end_ms = 0;
    saga_move_step(turn, step, STEP_RUNNING, saga_time_add(turn->now_ms, def->timeout_ms));
    struct attempt attempt = {step, st->attempts, false};
    // An inline one ends in this transaction and writes only that, and where it runs if that had to
    // be decided.
    if (!saga_runs_inline(turn->saga, step, false) || turn->placement.len > 0) {
        struct transition *record = saga_emit_step(turn, TRANSITION_STEP_STARTED, &attempt, NULL);
        record->input = input;
        record->due_ms = st->due_ms;
        record->placement = turn->placement;
    }
    saga_invoke(turn, &attempt, input);
}

static void skip_step(struct turn *turn, int32_t step, struct slice code)
{
    struct attempt attempt = {step, turn->saga->steps[step].attempts, false};
    struct why why = {.code = code};
    saga_move_step(turn, step, STEP_SKIPPED, 0);
    (void)saga_emit_step(turn, TRANSITION_STEP_SKIPPED, &attempt, &why);
}

// The branch of a distributed step has an element of the list. If not, or if there is no such list,
// its first branch says so, and the others are left out without a word.
static bool has_item(struct turn *turn, int32_t step)
{
    struct slice item = SLICE_NONE;
    struct why why = {0};
    bool good = saga_item(turn, step, &item, &why);
    bool first = def_first_of(turn->saga->def, step) == step;
    if (!slice_none(item) && good)
        return true;
    if (!first)
        saga_move_step(turn, step, STEP_SKIPPED, 0);
    else if (good)
        skip_step(turn, step, SLICE_LIT("no_items"));
    else
        (void)fail_step(turn, step, &why);
    return false;
}

static void begin_step(struct turn *turn, int32_t step)
{
    const struct step_def *def = &turn->saga->def->steps[step];
    struct why why = {0};
    struct slice value = SLICE_NONE;
    bool begins = turn->saga->steps[step].state == STEP_PENDING;
    if (begins && def->items != NULL && !has_item(turn, step))
        return;
    if (def->when != NULL && begins) {
        if (!eval(turn, def->when, saga_seen(turn, step), &value, &why)) {
            (void)fail_step(turn, step, &why);
            return;
        }
        if (!expr_true(value)) {
            skip_step(turn, step, SLICE_LIT("when"));
            return;
        }
    }
    if (saga_forward_input(turn, step, &value, &why) && saga_place(turn, step, value, &why))
        begin_attempt(turn, step, value);
    else if (!saga_untold(turn))
        fail_step(turn, step, &why)->input = value;
}

// A result may come in before the timer that says the deadline has passed: nothing begins after it.
static void begin_in_time(struct turn *turn, int32_t step)
{
    if (turn->saga->deadline_ms > 0 && turn->now_ms >= turn->saga->deadline_ms)
        saga_miss_deadline(turn);
    else
        begin_step(turn, step);
}

// Past a pivot it is an operator's matter; else turn back.
static void after_failure(struct turn *turn)
{
    struct saga *saga = turn->saga;
    struct why why = {.code = saga->fail_code, .message = saga->fail_message};
    if (saga_past_pivot(saga)) {
        saga_move(turn, SAGA_STUCK);
        (void)saga_emit(turn, TRANSITION_SAGA_STUCK, &why);
    } else {
        saga_turn_back(turn, &why);
    }
}

static void complete_saga(struct turn *turn)
{
    saga_move(turn, SAGA_COMPLETED);
    (void)saga_emit(turn, TRANSITION_SAGA_COMPLETED, NULL);
}

static bool may_begin(const struct saga *saga, int32_t step, int64_t now_ms)
{
    const struct saga_step_state *st = &saga->steps[step];
    return st->state == STEP_PENDING || (st->state == STEP_WAITING && st->due_ms <= now_ms);
}

// An optional step's failure is its own.
static void settle(struct turn *turn, int32_t step)
{
    if (turn->saga->steps[step].state == STEP_FAILED && turn->saga->def->steps[step].optional)
        skip_step(turn, step, SLICE_LIT("optional"));
}

// One look at a step in hand; false when the others have to wait for what it is doing.
static bool look_at(struct turn *turn, int32_t step)
{
    struct saga *saga = turn->saga;
    if (may_begin(saga, step, turn->now_ms) && !saga_failing(saga))
        begin_in_time(turn, step);
    if (saga->state != SAGA_RUNNING || saga_untold(turn))
        return false;
    settle(turn, step);
    return !saga_ends_now(turn, step);
}

// A branch has failed: what waits to be tried again is not.
static void call_off(struct turn *turn, int32_t step)
{
    enum step_state state = turn->saga->steps[step].state;
    struct why why = {.code = SLICE_LIT("called_off"),
                      .message = SLICE_LIT("another branch has failed")};
    if (state == STEP_WAITING || (state == STEP_RUNNING && !KA_RULE(RULE_JOIN))) {
        (void)fail_step(turn, step, &why);
        settle(turn, step);
    }
}

// A look at all that is in hand; false when there is something to wait for.
static bool forward_once(struct turn *turn)
{
    struct saga *saga = turn->saga;
    int32_t end = saga_hand_end(saga);
    for (int32_t i = saga->current; i < end; i++)
        if (!look_at(turn, i))
            return false;
    for (int32_t i = saga->current; i < end && saga_failing(saga); i++)
        call_off(turn, i);
    if (saga_any(saga, STEP_RUNNING) || saga_any(saga, STEP_WAITING))
        return false;
    if (saga_has_failed(saga))
        after_failure(turn);
    else
        saga->current = end;
    return true;
}

void saga_forward(struct turn *turn)
{
    struct saga *saga = turn->saga;
    while (saga->state == SAGA_RUNNING) {
        if (saga->current == (int32_t)saga->def->step_count)
            complete_saga(turn);
        else if (!forward_once(turn))
            return;
    }
}
