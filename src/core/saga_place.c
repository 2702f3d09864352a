// SPDX-License-Identifier: Apache-2.0
// Where a step runs. Decided once, at its first attempt, and kept in the state: retries and the
// compensation go to the same region, whatever its links or the rules look like by then.
#include "core/saga_internal.h"

#include "core/assert.h"
#include "core/json.h"
#include "core/placement.h"

bool saga_runs_inline(const struct saga *saga, int32_t step, bool compensation)
{
    const struct step_def *def = &saga->def->steps[step];
    const struct action_def *action = compensation ? def->compensate : def->action;
    return action->run_inline && saga->steps[step].region.len == 0;
}

bool saga_ends_now(const struct turn *turn, int32_t step)
{
    const struct saga_step_state *st = &turn->saga->steps[step];
    bool undo = st->state == STEP_UNDO_RUNNING;
    if (!step_in_flight(st) || !saga_runs_inline(turn->saga, step, undo))
        return false;
    for (size_t i = turn->effects->invocation_count; i > 0; i--) {
        const struct invocation *call = &turn->effects->invocations[i - 1];
        if (call->step == step && call->compensation == undo)
            return call->attempt == (undo ? st->undo_attempts : st->attempts);
    }
    return false;
}

void saga_called(const struct saga *saga, struct arena *arena, struct remote_call *call)
{
    enum ka_err err = remote_call_parse(saga->data, arena, call, NULL);
    KA_ASSERT(err == KA_OK); // saga_new has read it
}

enum data_class saga_data_class(const struct saga *saga, int32_t step, struct slice input,
                                const struct residency *residency, struct arena *arena)
{
    const struct step_def *def = &saga->def->steps[step];
    enum data_class dataclass = def->dataclass;
    // An event of the time before it was classified at the door.
    if (!def->declared && !data_class_parse(saga->dataclass, &dataclass))
        dataclass = residency_classify(residency, saga->data, arena);
    enum data_class found = residency_classify(residency, input, arena);
    return found > dataclass ? found : dataclass;
}

static bool fail(struct turn *turn, struct why *why, const char *code, const struct err_text *text)
{
    why->code = slice_str(code);
    why->message =
        saga_cut(arena_copy(turn->effects->arena, slice_str(text->text)), SAGA_MESSAGE_MAX);
    return false;
}

// The name of the region that the definition asks for.
static bool name_region(struct turn *turn, int32_t step, int32_t home, struct slice *name,
                        struct why *why)
{
    const struct step_def *def = &turn->saga->def->steps[step];
    const struct residency *residency = turn->effects->residency;
    struct err_text text = {""};
    struct slice value = SLICE_NONE;
    *name = def->region_of_tenant ? residency->regions[home] : slice_str(def->region);
    if (def->region_expr == NULL)
        return true;
    enum ka_err err =
        expr_eval(def->region_expr, saga_seen(turn, step), turn->effects->arena, &value, &text);
    if (err == KA_OK && (slice_none(value) || json_type(value) != JSON_STRING))
        err = err_set(&text, KA_ERR_EXPR, "the region is not a text: %.*s", SLICE_FMT(value));
    if (err != KA_OK) {
        (void)err_wrap(&text, err, "%s", expr_source(def->region_expr));
        return fail(turn, why, "unknown_region", &text);
    }
    *name = json_text(json_trim(value), turn->effects->arena);
    return true;
}

static bool refuse(struct turn *turn, int32_t step, const struct residency_question *question,
                   const struct residency_answer *answer, struct why *why)
{
    struct saga_effects *effects = turn->effects;
    struct err_text text = {""};
    residency_explain(effects->residency, question, answer, &text);
    (void)fail(turn, why, "residency", &text);
    effects->refusals = saga_grow(effects->arena, effects->refusals, effects->refusal_count,
                                  &effects->refusal_cap, sizeof *effects->refusals);
    effects->refusals[effects->refusal_count++] =
        (struct saga_refusal){step, *question, why->message};
    return false;
}

bool saga_untold(const struct turn *turn)
{
    return turn->effects->told != NULL && turn->effects->told->awaited;
}

// As the history says.
static bool place_as_told(struct turn *turn, struct saga_step_state *st, struct why *why)
{
    struct saga_told *told = turn->effects->told;
    told->awaited = !told->known;
    if (!told->known)
        return false;
    told->known = false;
    if (told->refused) {
        *why = (struct why){.code = told->code, .message = told->message};
    } else {
        st->region = told->region;
        turn->placement = told->placement;
    }
    return !told->refused;
}

// What the definition asks for. False with the reason when it asks for what is none.
static bool ask(struct turn *turn, int32_t step, struct placement_question *question,
                struct why *why)
{
    const struct step_def *def = &turn->saga->def->steps[step];
    const struct residency *residency = turn->effects->residency;
    struct err_text text = {""};
    struct slice name = SLICE_NONE;
    if (residency == NULL || residency->region_count == 0) {
        (void)err_set(&text, KA_ERR_CONFIG, "no regions are configured here");
        return fail(turn, why, "unknown_region", &text);
    }
    if (residency_home(residency, turn->saga->tenant, &question->home, &text) != KA_OK)
        return fail(turn, why, "unknown_tenant", &text);
    question->local_data = def->local_data;
    question->anywhere = def->least_loaded;
    question->distributed = def->gather != NULL && def->items == NULL;
    if (def->local_data || def->least_loaded || question->distributed)
        return true;
    if (!name_region(turn, step, question->home, &name, why))
        return false;
    question->preferred = residency_region(residency, name);
    if (question->preferred != REGION_NONE)
        return true;
    (void)err_set(&text, KA_ERR_CONFIG, "region \"%.*s\" is none of regions", SLICE_FMT(name));
    return fail(turn, why, "unknown_region", &text);
}

// The decision as the history has it.
static void explain(struct turn *turn, const struct placement_question *question,
                    const struct placement *placement)
{
    struct saga_effects *effects = turn->effects;
    size_t from = effects->scratch->len;
    placement_explain(effects->residency, effects->links, question, placement, effects->scratch);
    turn->placement = saga_take(turn, from);
}

// The branch of a distributed step is for one region and for no other: when that is down it waits,
// and ends by its timeout.
static bool place_branch(struct turn *turn, int32_t step, struct residency_question *question,
                         struct why *why)
{
    const struct residency *residency = turn->effects->residency;
    struct saga_step_state *st = &turn->saga->steps[step];
    struct slice name = slice_str(turn->saga->def->steps[step].region);
    question->destination = residency_region(residency, name);
    struct err_text text = {""};
    if (question->destination == REGION_NONE) { // the definition is older than the list of regions
        (void)err_set(&text, KA_ERR_CONFIG, "region \"%.*s\" is none of regions", SLICE_FMT(name));
        return fail(turn, why, "unknown_region", &text);
    }
    struct residency_answer answer = residency_decide(residency, turn->effects->links, question);
    if (answer.verdict == RESIDENCY_REFUSED)
        return refuse(turn, step, question, &answer, why);
    bool here = question->destination == residency->here;
    st->region = here ? SLICE_NONE : residency->regions[question->destination];
    return true;
}

bool saga_place(struct turn *turn, int32_t step, struct slice input, struct why *why)
{
    const struct step_def *def = &turn->saga->def->steps[step];
    const struct residency *residency = turn->effects->residency;
    struct saga_step_state *st = &turn->saga->steps[step];
    bool asked = def->region != NULL || def->region_of_tenant || def->region_expr != NULL ||
                 def->least_loaded;
    turn->placement = SLICE_NONE;
    if (!asked || st->attempts > 0)
        return true;
    if (turn->effects->told != NULL)
        return place_as_told(turn, st, why);
    struct placement_question question = {.preferred = REGION_NONE, .home = REGION_NONE};
    if (!ask(turn, step, &question, why))
        return false;
    question.dataclass = saga_data_class(turn->saga, step, input, residency, turn->effects->arena);
    struct placement placement = placement_decide(residency, turn->effects->links, &question);
    struct residency_question asked_for = {question.dataclass, question.home, question.preferred};
    if (placement.outcome == PLACEMENT_REFUSED)
        return refuse(turn, step, &asked_for, &placement.answer, why);
    explain(turn, &question, &placement);
    if (placement.outcome == PLACEMENT_DISTRIBUTED)
        return place_branch(turn, step, &asked_for, why);
    st->region =
        placement.outcome == PLACEMENT_LOCAL ? SLICE_NONE : residency->regions[placement.region];
    return true;
}
