// SPDX-License-Identifier: Apache-2.0
// The world outside of Kafka: definitions, who writes, and participants that keep the contract: a
// key that was done answers the same again, an undo closes its forward key, and a closed key is
// refused. What really happened is kept apart, by the true identity of saga, incarnation and step.
#include "sim.h"

#include "core/assert.h"
#include "core/command.h"
#include "core/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATE_MAX = 8000, RECORD_MAX = 2500 };

static struct action_def inline_action = {.name = "do.inline", .run_inline = true};
static struct action_def pooled_action = {.name = "do.pooled"};
static const char *const saga_names[] = {"s0", "s1", "s2", "s3"};
static const char *const step_names[] = {"a", "b", "c", "d"};
static const char *const group_names[] = {"ga", "gb", "gc", "gd"};
static const char *const type_names[] = {"t0", "t1", "t2", "t3"};

// ---- Definitions

static struct retry_policy policy(struct sim *sim)
{
    struct retry_policy drawn;
    drawn.attempts = (int32_t)sim_between(sim, 1, 4);
    drawn.backoff_ms = sim_between(sim, 10, 300);
    drawn.backoff_max_ms = sim_between(sim, 300, 2000);
    return drawn;
}

// In every third seed neighbours are branches of parallel steps. Drawn apart, so that the other
// seeds are what they were.
static void group_steps(const struct sim *sim, struct saga_def *def)
{
    uint64_t drawn = hash_mix(sim->options.seed ^ hash_bytes(slice_str(def->name), 1));
    if (hash_mix(sim->options.seed) % 3 != 0)
        return;
    for (size_t i = 0; i < def->step_count; i++, drawn >>= 4) {
        struct step_def *step = &def->steps[i];
        bool goes_on = i > 0 && step[-1].group > 0 && (drawn & 7) < 6;
        if (step->pivot || (!goes_on && (drawn & 3) == 0))
            continue;
        step->group = goes_on ? step[-1].group : (int32_t)i + 1;
        step->group_name = goes_on ? step[-1].group_name : group_names[i];
        step->collect = goes_on ? step[-1].collect : (drawn & 8) != 0;
    }
}

static struct saga_def *define(struct sim *sim, int index)
{
    size_t steps = (size_t)sim_between(sim, 1, STEPS_MAX + 1);
    struct saga_def *def = arena_zalloc(&sim->arena, sizeof *def + steps * sizeof def->steps[0]);
    def->name = saga_names[index];
    def->version = 1;
    def->id.bytes[0] = (unsigned char)(index + 1);
    def->step_count = steps;
    int64_t longest_ms = sim_draw(sim, 3) == 0 ? 12000 : 3000;
    def->dedupe_window_ms = sim->swarm.dedupe_ms;
    def->state_max = STATE_MAX;
    if (sim_draw(sim, 100) < 30)
        def->deadline_ms = sim_between(sim, 1000, 20000);
    for (size_t i = 0; i < steps; i++) {
        struct step_def *step = &def->steps[i];
        bool in_lane = sim_draw(sim, 100) < 25;
        *step = (struct step_def){.name = step_names[i],
                                  .action = in_lane ? &inline_action : &pooled_action};
        step->retry = policy(sim);
        step->compensate_retry = policy(sim);
        step->timeout_ms = sim_between(sim, 300, longest_ms);
        step->compensate_timeout_ms = sim_between(sim, 300, longest_ms);
        step->optional = sim_draw(sim, 100) < 10;
        step->pivot = sim_draw(sim, 100) < 10;
        step->action_name = step->action->name;
        if (sim_draw(sim, 100) < 75)
            step->compensate = step->action;
        if (step->compensate != NULL)
            step->compensate_name = step->compensate->name;
    }
    group_steps(sim, def);
    return def;
}

static const struct saga_def *current(void *context, struct slice name)
{
    const struct sim *sim = context;
    for (int i = 0; i < SAGA_DEFS; i++)
        if (slice_eq(name, slice_str(saga_names[i])))
            return sim->defs[i];
    return NULL;
}

static const struct saga_def *by_id(void *context, const struct def_id *id)
{
    const struct sim *sim = context;
    int index = id->bytes[0] - 1;
    return index >= 0 && index < SAGA_DEFS ? sim->defs[index] : NULL;
}

const struct shard_definitions *sim_definitions(struct sim *sim)
{
    struct shard_definitions *definitions = arena_alloc(&sim->arena, sizeof *definitions);
    *definitions = (struct shard_definitions){.context = sim, .current = current, .by_id = by_id};
    return definitions;
}

void sim_shard_config(const struct sim *sim, struct shard_config *config, const char *node)
{
    *config = (struct shard_config){
        .source = SLICE_LIT("/kasaga/r/app"),
        .node = node,
        .shards = sim->swarm.shards,
        .inbox_topic = slice_str(sim_topic_name(TOPIC_INBOX)),
        .state_topic = slice_str(sim_topic_name(TOPIC_STATE)),
        .history_topic = slice_str(sim_topic_name(TOPIC_HISTORY)),
        .dlq_topic = slice_str(sim_topic_name(TOPIC_DLQ)),
        .limits = {.dedupe_window_ms = sim->swarm.dedupe_ms, .dedupe_max = 1 << 20},
        .record_max = RECORD_MAX,
        .reappend_min = REAPPEND_MIN,
        .marker_ms = 1000,
    };
}

static size_t power_of_two(size_t least)
{
    size_t cap = 256;
    while (cap < least)
        cap *= 2;
    return cap;
}

void sim_load_init(struct sim *sim)
{
    struct err_text text;
    if (expr_compile(".id", NULL, &sim->route_id, &text) != KA_OK)
        abort();
    for (int i = 0; i < SAGA_DEFS; i++) {
        sim->defs[i] = define(sim, i);
        sim->routes[i] =
            (struct route){slice_str(sim_topic_name(TOPIC_USER)), slice_str(type_names[i]),
                           slice_str(saga_names[i]), sim->route_id};
    }
    sim->participant_cap = sim->ledger_cap = power_of_two((size_t)sim->swarm.sagas * 16);
    sim->participants = arena_zalloc(&sim->arena, sim->participant_cap * sizeof *sim->participants);
    sim->ledger = arena_zalloc(&sim->arena, sim->ledger_cap * sizeof *sim->ledger);
}

void sim_load_fini(struct sim *sim)
{
    expr_free(&sim->route_id);
}

// ---- Records and commands

void sim_operate(struct sim *sim, struct slice key, enum command_verb verb, bool misroute)
{
    struct command command = {.verb = verb,
                              .time_ms = 1,
                              .id = SLICE_LIT("op"),
                              .actor = SLICE_LIT("sim"),
                              .reason = SLICE_LIT("to see")};
    int32_t partition = hash_partition(key, sim->swarm.shards);
    if (misroute) {
        partition = (partition + 1) % sim->swarm.shards;
        command.hops = sim_draw(sim, 4) == 0;
    }
    buf_clear(&sim->scratch);
    command_encode(&command, &sim->scratch);
    SIM_NOTE(sim, "operator: %s %.*s", command_verb_name(verb), SLICE_FMT(key));
    sim_append_plain(sim, sim_log_of(sim, TOPIC_INBOX, partition), key, buf_slice(&sim->scratch),
                     false);
}

static void operate_at_random(struct sim *sim)
{
    static const enum command_verb verbs[] = {COMMAND_CANCEL, COMMAND_CANCEL, COMMAND_PAUSE,
                                              COMMAND_RESUME, COMMAND_RETRY};
    char key[32];
    // One draw per statement, here and everywhere: a compiler may turn arguments around.
    int id = (int)sim_draw(sim, (uint64_t)sim->written + 1);
    int def = (int)sim_draw(sim, SAGA_DEFS);
    int len = snprintf(key, sizeof key, "s%d/%d", def, id);
    bool misroute = sim_hit(sim, FAULT_MISROUTED, sim->swarm.misrouted);
    sim_operate(sim, slice_of(key, (size_t)len), verbs[sim_draw(sim, 5)], misroute);
}

static void write_event(struct sim *sim, int id)
{
    static char pad[4000];
    int padding = 0;
    if (pad[0] == 0)
        memset(pad, 'x', sizeof pad - 1);
    bool poison = sim_hit(sim, FAULT_POISON, sim->swarm.poison);
    if (sim_chance(sim, sim->swarm.large))
        padding = sim_draw(sim, 2) == 0 ? 2800 : 3200;
    char value[5000];
    int len = snprintf(value, sizeof value,
                       "{\"specversion\":\"1.0\",\"id\":\"e%d\",\"source\":\"/u\",\"type\":\"%s\","
                       "\"data\":{\"id\":%s\"%d\",\"pad\":\"%.*s\"}}",
                       id, type_names[id % SAGA_DEFS], poison ? ":" : "", id, padding, pad);
    sim->bad += poison || padding > 3000;
    char key[16];
    int key_len = snprintf(key, sizeof key, "k%d", id % 7);
    sim_append_plain(sim, (int)sim_draw(sim, USERS), slice_of(key, (size_t)key_len),
                     slice_of(value, (size_t)len), true);
}

void sim_load_next(struct sim *sim)
{
    const struct sim_swarm *swarm = &sim->swarm;
    if (sim->written >= swarm->sagas)
        return;
    int burst = (int)sim_between(sim, 1, 6);
    for (int i = 0; i < burst && sim->written < swarm->sagas; i++) {
        int id = sim->written++;
        if (swarm->again && id > 20 && sim_draw(sim, 3) == 0)
            id = (int)sim_draw(sim, (uint64_t)id);
        write_event(sim, id);
        if (sim_chance(sim, swarm->commands))
            operate_at_random(sim);
    }
    int64_t pause_us = swarm->load_us * 3 / swarm->sagas;
    sim_at(sim, sim->now_us + sim_between(sim, pause_us / 4, pause_us * 2),
           (struct sim_event){.type = EVENT_LOAD, .worker = -1});
}

// ---- Actions

// Pure: the oracle runs it again and gets the same.
void sim_run_inline(void *context, const struct invocation *call, struct arena *arena,
                    struct action_result *result)
{
    const struct sim *sim = context;
    uint64_t h = hash_bytes(call->key, (uint64_t)call->incarnation);
    h = hash_mix(h ^ (uint64_t)call->step << 40 ^ (uint64_t)call->attempt << 8 ^
                 call->compensation);
    (void)arena;
    *result = (struct action_result){.outcome = OUTCOME_OK, .data = SLICE_LIT("{\"v\":1}")};
    if ((int)(h % 1000000) < sim->swarm.inline_fail)
        result->outcome = (h >> 32) % 3 == 0 ? OUTCOME_FAIL : OUTCOME_RETRY;
    if (result->outcome != OUTCOME_OK)
        result->data = SLICE_NONE;
}

static struct sim_participant *participant(struct sim *sim, uint64_t key)
{
    size_t at = key & (sim->participant_cap - 1);
    while (sim->participants[at].used && sim->participants[at].key != key)
        at = (at + 1) & (sim->participant_cap - 1);
    sim->participants[at].used = true;
    sim->participants[at].key = key;
    return &sim->participants[at];
}

struct sim_ledger *sim_ledger(struct sim *sim, struct slice key, int64_t incarnation, int step)
{
    uint64_t h = hash_mix(hash_bytes(key, (uint64_t)incarnation) ^ (uint64_t)step);
    size_t at = h & (sim->ledger_cap - 1);
    while (sim->ledger[at].used && sim->ledger[at].key != h)
        at = (at + 1) & (sim->ledger_cap - 1);
    sim->ledger[at].used = true;
    sim->ledger[at].key = h;
    return &sim->ledger[at];
}

void sim_release_result(void *context, struct lane_result *result)
{
    struct sim_kept_result *kept = (struct sim_kept_result *)(void *)result;
    sim_check_released(context, kept);
    lane_invocation_free(&kept->invocation);
    free(kept);
}

void sim_dispatch(struct sim_lane *lane, struct lane_invocation *invocation)
{
    struct sim *sim = lane->sim;
    const struct invocation *call = &invocation->call;
    struct sim_call *made = arena_zalloc(&sim->arena, sizeof *made);
    made->life = lane->life;
    made->lane = lane;
    made->invocation = invocation;
    made->undo = call->compensation;
    made->ledger = sim_ledger(sim, call->key, call->incarnation, call->step);
    made->own = hash_bytes(call->idempotency_key, 0);
    made->forward = call->forward_key.len > 0 ? hash_bytes(call->forward_key, 0) : 0;
    sim->stats.invocations++;
    sim->calls_open++;
    int64_t at_us = sim_between(sim, 100, 20000);
    if (sim_hit(sim, FAULT_ACTION_SLOW, sim->swarm.action_slow))
        at_us += sim_between(sim, 10000, call->timeout_ms * 2500);
    int8_t worker = (int8_t)lane->life->worker;
    sim_at(sim, sim->now_us + at_us,
           (struct sim_event){.type = EVENT_EXECUTE, .worker = -1, .ptr = made});
    sim_at(sim, sim->now_us + call->timeout_ms * 1000,
           (struct sim_event){.type = EVENT_ANSWER, .worker = worker, .a = 0, .ptr = made});
}

static void undo(struct sim *sim, struct sim_call *call)
{
    struct sim_participant *forward =
        participant(sim, call->forward != 0 ? call->forward : call->own);
    if (call->forward != 0) {
        call->ledger->undone =
            (int16_t)(call->ledger->undone + (forward->done && !forward->closed));
        forward->closed = true;
    } else if (!forward->done) { // knows only that it is an undo: what is done now is undone, once
        call->ledger->undone = call->ledger->effects;
        forward->done = true;
    }
    call->result = (struct action_result){.outcome = OUTCOME_OK};
}

static void act(struct sim *sim, struct sim_call *call)
{
    struct sim_participant *self = participant(sim, call->own);
    call->result = (struct action_result){.outcome = OUTCOME_OK, .data = SLICE_LIT("{\"n\":1}")};
    if (self->closed) {
        call->result = (struct action_result){.outcome = OUTCOME_FAIL, .code = SLICE_LIT("closed")};
    } else if (!self->done && sim_hit(sim, FAULT_ACTION_FAILED, sim->swarm.action_fail)) {
        call->result = (struct action_result){.outcome = OUTCOME_FAIL, .code = SLICE_LIT("no")};
    } else if (!self->done) {
        self->done = true;
        call->ledger->effects++;
        if (sim->options.canary) // a violation made on purpose
            call->ledger->effects++;
    }
}

// The call arrives at the participant, perhaps long after its caller has given up or died.
void sim_execute(struct sim *sim, struct sim_call *call)
{
    sim->calls_open--;
    if (sim_chance(sim, sim->swarm.action_retry)) {
        int64_t drawn = (int64_t)sim_draw(sim, 4);
        call->result = (struct action_result){.outcome = OUTCOME_RETRY, .code = SLICE_LIT("busy")};
        call->result.maybe_done = drawn == 0; // a 5xx: perhaps it has done it
        if (drawn == 1)
            call->result.code = ACTION_NOT_BEGUN;
        if (call->result.maybe_done && !call->undo && sim_draw(sim, 2) == 0) {
            act(sim, call);
            call->result = (struct action_result){.outcome = OUTCOME_RETRY, .maybe_done = true};
        }
    } else if (call->undo) {
        undo(sim, call);
    } else {
        act(sim, call);
    }
    if (call->answered || sim_hit(sim, FAULT_ACTION_NO_ANSWER, sim->swarm.action_no_answer))
        return; // its caller times out
    sim_at(sim, sim->now_us + sim_between(sim, 50, 2000),
           (struct sim_event){
               .type = EVENT_ANSWER, .worker = (int8_t)call->life->worker, .a = 1, .ptr = call});
}

void sim_answer(struct sim *sim, struct sim_call *call, bool in_time)
{
    if (call->answered)
        return;
    call->answered = true;
    if (!in_time)
        call->result = (struct action_result){
            .outcome = OUTCOME_UNKNOWN, .maybe_done = true, .code = SLICE_LIT("timeout")};
    struct lane_invocation *invocation = call->invocation;
    call->invocation = NULL;
    if (call->life->dead) {
        lane_invocation_free(&invocation);
        return;
    }
    struct sim_kept_result *kept = calloc(1, sizeof *kept);
    if (kept == NULL)
        abort();
    kept->invocation = invocation;
    kept->base = (struct lane_result){.slot = invocation->slot,
                                      .epoch = invocation->epoch,
                                      .key = invocation->call.key,
                                      .incarnation = invocation->call.incarnation,
                                      .step = invocation->call.step,
                                      .attempt = invocation->call.attempt,
                                      .compensation = invocation->call.compensation,
                                      .result = call->result};
    struct sim_mail mail = {.type = LANE_EVENT_RESULT, .result = &kept->base};
    (void)sim;
    sim_lane_mail(call->lane, &mail);
}
