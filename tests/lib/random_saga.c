// SPDX-License-Identifier: Apache-2.0
#include "random_saga.h"

#include "core/hash.h"
#include "core/history.h"

#include <stdio.h>
#include <stdlib.h>

#define BEGIN_MS INT64_C(1767225600000)

uint64_t random_draw(struct random_saga *random, uint64_t below)
{
    return hash_mix(hash_mix(random->seed) + random->drawn++) % below;
}

static bool chance(struct random_saga *random, uint64_t percent)
{
    return random_draw(random, 100) < percent;
}

// --- the definition

static char *name_of(struct random_saga *random, const char *prefix, size_t index)
{
    char name[32];
    int len = snprintf(name, sizeof name, "%s%zu", prefix, index);
    return arena_str(&random->arena, slice_of(name, (size_t)len));
}

static struct expr *must_compile(const char *source)
{
    struct expr *expr = NULL;
    struct err_text text = {""};
    if (expr_compile(source, NULL, &expr, &text) != KA_OK) {
        fprintf(stderr, "%s: %s\n", source, text.text);
        abort();
    }
    return expr;
}

static struct expr *maybe_expr(struct random_saga *random, const char *source)
{
    return chance(random, 25) ? must_compile(source) : NULL;
}

static struct action_def *action_of(struct random_saga *random, const char *name)
{
    struct action_def *action = arena_zalloc(&random->arena, sizeof *action);
    *action = (struct action_def){.name = name, .run_inline = chance(random, 25)};
    return action;
}

static struct retry_policy policy_of(struct random_saga *random)
{
    return (struct retry_policy){.attempts = (int32_t)random_draw(random, 4),
                                 .backoff_ms = (int64_t)random_draw(random, 1000),
                                 .backoff_max_ms = (int64_t)random_draw(random, 5000)};
}

static void define_step(struct random_saga *random, size_t index)
{
    struct step_def *step = &random->def->steps[index];
    *step = (struct step_def){.name = name_of(random, "s", index),
                              .action_name = name_of(random, "do.", index),
                              .retry = policy_of(random),
                              .compensate_retry = policy_of(random),
                              .timeout_ms = 1 + (int64_t)random_draw(random, 9000),
                              .compensate_timeout_ms = 1 + (int64_t)random_draw(random, 9000),
                              .optional = chance(random, 15),
                              .pivot = chance(random, 10)};
    step->action = action_of(random, step->action_name);
    if (chance(random, 75)) {
        step->compensate_name = name_of(random, "undo.", index);
        step->compensate = action_of(random, step->compensate_name);
    }
    step->when = maybe_expr(random, ".flag");
    step->input = maybe_expr(random, chance(random, 90) ? "{id, n}" : ".id"); // no object: fails
    step->compensate_input = maybe_expr(random, "{was: .result, n: .input.n}");
}

// Neighbours become branches.
static void group_steps(struct random_saga *random)
{
    struct step_def *steps = random->def->steps;
    bool collect = chance(random, 30);
    bool distributed = chance(random, 30);
    if (!chance(random, 50))
        return;
    int32_t group = 0;
    for (size_t i = 0; i < random->def->step_count; i++) {
        bool goes_on = i > 0 && steps[i - 1].group > 0 && chance(random, 60);
        if (steps[i].pivot || (!goes_on && !chance(random, 50)))
            continue;
        group += !goes_on;
        steps[i].group = group;
        steps[i].group_name = name_of(random, "g", (size_t)group);
        steps[i].collect = collect;
        steps[i].gather = distributed ? steps[i].name : NULL;
        steps[i].items = distributed ? must_compile(".list") : NULL;
    }
}

void random_saga_init(struct random_saga *random, uint64_t seed)
{
    *random = (struct random_saga){.seed = seed, .now_ms = BEGIN_MS};
    size_t steps = 1 + random_draw(random, RANDOM_STEPS_MAX);
    random->def = calloc(1, sizeof *random->def + steps * sizeof *random->def->steps);
    random->def->name = "random";
    random->def->step_count = steps;
    if (chance(random, 40))
        random->def->deadline_ms = 1 + (int64_t)random_draw(random, 20000);
    for (size_t i = 0; i < DEF_ID_SIZE; i++)
        random->def->id.bytes[i] = (unsigned char)random_draw(random, 256);
    for (size_t i = 0; i < steps; i++)
        define_step(random, i);
    group_steps(random);
    struct command *command = arena_zalloc(&random->arena, sizeof *command);
    *command = (struct command){.verb = COMMAND_START,
                                .id = SLICE_LIT("e"),
                                .type = SLICE_LIT("t"),
                                .source = SLICE_LIT("/s"),
                                .tenant = chance(random, 30) ? SLICE_LIT("acme") : SLICE_NONE,
                                .data = chance(random, 80)
                                            ? SLICE_LIT("{\"id\":\"x\",\"n\":1,\"flag\":true,"
                                                        "\"list\":[{\"n\":2},{\"n\":3}]}")
                                            : SLICE_LIT("{\"id\":\"x\",\"n\":1}")};
    if (saga_new(random->def, SLICE_LIT("random/x"), (int64_t)random_draw(random, 1000000), command,
                 &random->arena, &random->saga, &random->text) != KA_OK)
        abort();
}

void random_saga_fini(struct random_saga *random)
{
    for (size_t i = 0; i < random->def->step_count; i++) {
        expr_free(&random->def->steps[i].when);
        expr_free(&random->def->steps[i].input);
        expr_free(&random->def->steps[i].compensate_input);
        expr_free(&random->def->steps[i].items);
    }
    free(random->def);
    arena_fini(&random->arena);
    buf_fini(&random->scratch);
}

// --- events

static struct action_result result_of(struct random_saga *random, enum outcome outcome)
{
    char data[64];
    int len = snprintf(data, sizeof data, "{\"n\":%llu,\"r%llu\":true}",
                       (unsigned long long)random_draw(random, 9),
                       (unsigned long long)random_draw(random, 4));
    struct action_result result = {.outcome = outcome};
    if (outcome == OUTCOME_OK && chance(random, 70))
        result.data = arena_copy(&random->arena, slice_of(data, (size_t)len));
    if (outcome == OUTCOME_OK && chance(random, 3))
        result.data = SLICE_LIT("[]"); // not an object
    if (outcome != OUTCOME_OK && chance(random, 70))
        result.code = SLICE_LIT("busy");
    if (outcome != OUTCOME_OK && chance(random, 50))
        result.message = SLICE_LIT("come back later");
    result.maybe_done = outcome != OUTCOME_OK && chance(random, 20);
    result.retry_after_ms = outcome == OUTCOME_RETRY ? (int64_t)random_draw(random, 3000) : 0;
    return result;
}

// At a step in hand, of a group at one in flight when there is one.
static void aim(struct random_saga *random, struct saga_event *event)
{
    const struct saga *saga = random->saga;
    int32_t step = saga->current;
    int32_t count = def_end_of(saga->def, step) - step;
    int32_t from = count > 1 ? (int32_t)random_draw(random, (uint64_t)count) : 0;
    for (int32_t i = 0; i < count; i++) {
        int32_t at = saga->current + (from + i) % count;
        enum step_state state = saga->steps[at].state;
        if (state == STEP_RUNNING || state == STEP_UNDO_RUNNING) {
            step = at;
            break;
        }
    }
    const struct saga_step_state *st = &random->saga->steps[step];
    event->step = step;
    event->compensation = st->undo_attempts > 0;
    event->attempt = event->compensation ? st->undo_attempts : st->attempts;
}

struct action_result random_saga_result(struct random_saga *random)
{
    static const enum outcome outcomes[] = {OUTCOME_OK,   OUTCOME_OK,    OUTCOME_OK,
                                            OUTCOME_OK,   OUTCOME_OK,    OUTCOME_OK,
                                            OUTCOME_FAIL, OUTCOME_RETRY, OUTCOME_UNKNOWN};
    return result_of(random, outcomes[random_draw(random, 9)]);
}

static void draw_result(struct random_saga *random, struct saga_event *event)
{
    event->type = SAGA_EVENT_RESULT;
    event->result = random_saga_result(random);
    int32_t current = random->saga->current;
    if (current >= 0 && current < (int32_t)random->def->step_count && chance(random, 80)) {
        aim(random, event);
        return;
    }
    event->step = (int32_t)random_draw(random, random->def->step_count + 2) - 1;
    event->attempt = (int32_t)random_draw(random, 4);
    event->compensation = chance(random, 30);
}

static void draw_command(struct random_saga *random, struct saga_event *event)
{
    struct command *command = arena_zalloc(&random->arena, sizeof *command);
    *command = (struct command){.verb = (enum command_verb)random_draw(random, 7),
                                .actor = SLICE_LIT("ada"),
                                .reason = chance(random, 95) ? SLICE_LIT("why") : SLICE_NONE};
    if (command->verb == COMMAND_TERMINATE && chance(random, 80))
        command->verb = COMMAND_RESUME;
    event->type = SAGA_EVENT_COMMAND;
    event->command = command;
}

struct saga_event random_saga_event(struct random_saga *random)
{
    struct saga_event event = {.type = SAGA_EVENT_START};
    uint64_t dice = random_draw(random, 100);
    int64_t due = saga_due(random->saga);
    if (dice < 20 && due != INT64_MAX && due > random->now_ms)
        random->now_ms = due;
    else
        random->now_ms += (int64_t)random_draw(random, 400);
    event.now_ms = random->now_ms;
    if (!random->started)
        return event;
    if (dice < 25)
        event.type = SAGA_EVENT_TIMER;
    else if (dice < 30)
        event = (struct saga_event){.type = SAGA_EVENT_TAKEOVER,
                                    .now_ms = random->now_ms,
                                    .step = (int32_t)random_draw(random, random->def->step_count)};
    else if (dice < 45)
        draw_command(random, &event);
    else
        draw_result(random, &event);
    return event;
}

static struct saga_event verb(struct random_saga *random, enum command_verb verb)
{
    struct command *command = arena_zalloc(&random->arena, sizeof *command);
    *command = (struct command){
        .verb = verb, .actor = SLICE_LIT("ada"), .reason = SLICE_LIT("to the end")};
    return (struct saga_event){
        .type = SAGA_EVENT_COMMAND, .now_ms = random->now_ms, .command = command};
}

struct saga_event random_saga_kind_event(struct random_saga *random)
{
    struct saga *saga = random->saga;
    if (saga->state == SAGA_PAUSED)
        return verb(random, COMMAND_RESUME);
    if (saga->state == SAGA_STUCK)
        return verb(random, chance(random, 50) ? COMMAND_RETRY : COMMAND_SKIP);
    struct saga_event event = {.type = SAGA_EVENT_RESULT, .now_ms = random->now_ms};
    if (saga_in_flight(saga) > 0) {
        aim(random, &event);
        event.result.outcome = OUTCOME_OK;
        return event;
    }
    if (saga_due(saga) > random->now_ms)
        random->now_ms = saga_due(saga);
    return (struct saga_event){.type = SAGA_EVENT_TIMER, .now_ms = random->now_ms};
}

enum ka_err random_saga_apply(struct random_saga *random, const struct saga_event *event)
{
    random->started = true;
    random->effects = (struct saga_effects){.arena = &random->arena, .scratch = &random->scratch};
    return saga_step(random->saga, event, &random->effects, &random->text);
}

// --- comparing

void random_saga_effects_text(const struct saga *saga, const struct saga_effects *effects,
                              struct buf *text)
{
    struct history_context context = {SLICE_LIT("/t"), SLICE_LIT("c"), "n"};
    for (size_t i = 0; i < effects->transition_count; i++) {
        history_format(saga, &effects->transitions[i], &context, text);
        buf_byte(text, '\n');
    }
    for (size_t i = 0; i < effects->invocation_count; i++) {
        const struct invocation *call = &effects->invocations[i];
        buf_slice_put(text, call->idempotency_key);
        buf_byte(text, '#');
        buf_i64(text, call->attempt);
        buf_byte(text, ' ');
        buf_slice_put(text, call->forward_key);
        buf_byte(text, ' ');
        buf_slice_put(text, call->input);
        buf_byte(text, '\n');
    }
}
