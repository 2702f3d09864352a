// SPDX-License-Identifier: Apache-2.0
// A run: the swarm's options, load and faults, then everything heals and must drain.
#include "sim.h"

#include "core/assert.h"
#include "core/hash.h"
#include "core/rule.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DRAIN_US = 240000000, LOOK_US = 500000, REST_US = 12000000, RESTS = 5 };

// ---- The swarm: each kind of fault is off in half of the runs, else at its own rate

static int rate(struct sim *sim, int most)
{
    if (sim_draw(sim, 2) == 0)
        return 0;
    int shift = (int)sim_draw(sim, 7);
    return most >> shift;
}

static void draw_faults(struct sim *sim, struct sim_swarm *swarm)
{
    swarm->slow = rate(sim, 30000);
    swarm->slow_us = sim_between(sim, 10000, 9000000);
    swarm->lost = rate(sim, 30000);
    swarm->no_answer = rate(sim, 30000);
    swarm->late = rate(sim, 30000);
    swarm->kill = rate(sim, 4000);
    swarm->focus = (int)sim_draw(sim, EFFECT_TYPES);
    swarm->pause = rate(sim, 2000);
    swarm->pause_us = sim_between(sim, 100000, (swarm->session_ms + swarm->transaction_ms) * 1300);
    swarm->rebalance = rate(sim, 4000);
    swarm->node_slow = rate(sim, 500);
    swarm->node_slow_us = sim_between(sim, 100000, 12000000);
    swarm->restart_us = sim_between(sim, 20000, 15000000);
    swarm->marker_slow = rate(sim, 100000);
    swarm->clock = rate(sim, 60000);
    swarm->consumer = rate(sim, 200);
    swarm->seek = rate(sim, 100000);
    swarm->hold = rate(sim, 1000);
    swarm->misrouted = rate(sim, 300000);
    swarm->poison = rate(sim, 40000);
    swarm->large = rate(sim, 20000);
    swarm->commands = rate(sim, 300000);
    swarm->offsets_lost = sim_draw(sim, 20) == 0;
    swarm->trim = sim_draw(sim, 2) == 0 && !swarm->offsets_lost;
    swarm->again = sim_draw(sim, 8) == 0;
    swarm->leader = rate(sim, 300000);
    swarm->coordinator = rate(sim, 300000);
    swarm->missing = rate(sim, 50000);
    swarm->move_us = sim_between(sim, 10000, 3000000);
    swarm->refuse = sim_draw(sim, 4) == 0 ? 30 : 0;
    swarm->retention = sim_draw(sim, 20) == 0;
    swarm->truncate = sim_draw(sim, 20) == 0;
}

// Nothing happens but one kill (sim_options.kill_point).
static void draw_nothing(struct sim_swarm *swarm)
{
    *swarm = (struct sim_swarm){
        .workers = 2,
        .shards = 2,
        .sagas = 8,
        .load_us = 3000000,
        .calm_us = 8000000,
        .session_ms = 6000,
        .transaction_ms = 10000,
        .sweep_ms = 10000,
        .latency_us = 1000,
        .slow_us = 1000,
        .restart_us = 5000000,
        .focus = -1,
        .action_fail = 100000,
        .action_retry = 100000,
        .inline_fail = 100000,
        .dedupe_ms = INT64_C(400000000),
    };
}

static void draw_swarm(struct sim *sim)
{
    struct sim_swarm *swarm = &sim->swarm;
    if (sim->options.kill_point > 0) {
        draw_nothing(swarm);
        return;
    }
    swarm->workers = 1 + (int)sim_draw(sim, WORKERS_MAX);
    swarm->shards = 1 + (int)sim_draw(sim, SHARDS_MAX);
    swarm->sagas = (int)sim_between(sim, 30, 250);
    swarm->load_us = sim_between(sim, 5000000, 30000000);
    swarm->calm_us = swarm->load_us + sim_between(sim, 0, 10000000);
    swarm->session_ms = 6000;
    swarm->transaction_ms = 10000;
    swarm->sweep_ms = sim_between(sim, 500, 10000);
    swarm->latency_us = sim_between(sim, 200, 4000);
    draw_faults(sim, swarm);
    swarm->action_slow = rate(sim, 100000);
    swarm->action_no_answer = rate(sim, 50000);
    swarm->action_fail = rate(sim, 200000);
    swarm->action_retry = rate(sim, 200000);
    swarm->inline_fail = rate(sim, 200000);
    swarm->dedupe_ms = INT64_C(400000000);
    if (swarm->again) {
        swarm->dedupe_ms = 2000;
        swarm->clock = 0;
    }
    swarm->takeover_bound = sim_draw(sim, 10) == 0;
    if (!swarm->takeover_bound)
        return;
    swarm->transaction_ms = 60000; // who waits for that has not fenced
    swarm->slow = swarm->lost = swarm->no_answer = swarm->late = swarm->node_slow = 0;
    swarm->marker_slow = swarm->pause = swarm->clock = swarm->consumer = 0;
    swarm->leader = swarm->coordinator = swarm->missing = 0;
    swarm->latency_us = 20000; // wide windows
    swarm->kill = 5000;
    swarm->focus = -1;
    swarm->restart_us = 60000000;
    swarm->offsets_lost = swarm->truncate = false;
    if (swarm->workers < 3)
        swarm->workers = 3;
}

// ---- What comes from outside

static void operate(struct sim *sim)
{
    for (size_t at = 0; at < sim->check.instance_cap; at++) {
        const struct sim_instance *i = sim->check.instances[at];
        if (i == NULL)
            continue;
        if (i->state == SEEN_STUCK)
            sim_operate(sim, i->key, COMMAND_RETRY, false);
        else if (i->paused && i->state < SEEN_STUCK)
            sim_operate(sim, i->key, COMMAND_RESUME, false);
        else
            continue;
        sim->stats.stuck++;
    }
    sim_at(sim, sim->now_us + 2000000, (struct sim_event){.type = EVENT_OPERATE, .worker = -1});
}

static void come(struct sim *sim, const struct sim_event *event)
{
    bool links = sim->links != NULL;
    if (event->type == EVENT_LOAD)
        (links ? sim_links_load : sim_load_next)(sim);
    else if (event->type == EVENT_OPERATE)
        (links ? sim_links_operate : operate)(sim);
    else if (event->type == EVENT_TRIM)
        sim_trim(sim);
    else
        sim_chaos(sim);
}

// ---- Events

static void wait_for_worker(struct sim *sim, struct sim_event event)
{
    sim->stats.hit[FAULT_PAUSE]++;
    sim_at(sim, sim->workers[event.worker].paused_until_us, event);
}

static void handle(struct sim *sim, struct sim_event *event)
{
    switch ((enum sim_event_type)event->type) {
    case EVENT_ARRIVE:
        sim_on_arrive(sim, event->ptr);
        return;
    case EVENT_FAIL:
    case EVENT_REPLY:
        sim_on_answer(sim, event->ptr, event->type == EVENT_FAIL);
        return;
    case EVENT_MARKER:
        sim_on_marker(sim, (int)event->call, event->a);
        return;
    case EVENT_SWEEP:
        sim_on_sweep(sim);
        return;
    case EVENT_GROUP:
        sim_group_timer(sim, event->a);
        return;
    case EVENT_TURN:
        sim_lane_turn(event->ptr, event->call);
        return;
    case EVENT_PUMP:
        sim_producer_on_pump(event->ptr);
        return;
    case EVENT_JOB:
        sim_producer_event(event->ptr, event->call);
        return;
    case EVENT_WORK:
        sim_committer_timeout(event->ptr, event->call);
        return;
    case EVENT_RESTORE:
        sim_restorer_go_on(event->ptr, event->call);
        return;
    case EVENT_FETCH:
        sim_consumer_fetched(event->ptr, event->a, event->call);
        return;
    case EVENT_HEARTBEAT:
        sim_consumer_heartbeat(event->ptr);
        return;
    case EVENT_EXECUTE:
        sim_execute(sim, event->ptr);
        return;
    case EVENT_ANSWER:
        sim_answer(sim, event->ptr, event->a != 0);
        return;
    case EVENT_RESTART:
        sim_worker_start(sim, event->a);
        return;
    case EVENT_LOAD:
    case EVENT_OPERATE:
    case EVENT_TRIM:
    case EVENT_CHAOS:
        come(sim, event);
        return;
    case EVENT_SOURCE:
        sim_link_source(event->ptr, event->a != 0);
        return;
    case EVENT_BORN:
        sim_links_born(sim, event->ptr, event->a);
        return;
    case EVENT_TYPES:
        break;
    }
    KA_ASSERT(false);
}

static void set_time(struct sim *world, int64_t now_us)
{
    for (int i = 0; i < CLUSTERS; i++)
        if (world->clusters[i] != NULL)
            world->clusters[i]->now_us = now_us;
}

static void run_until(struct sim *world, int64_t until_us)
{
    struct sim_event event;
    while (!world->failed && world->heap_count > 0 && world->heap[0].at_us < until_us) {
        sim_pop(world, &event);
        set_time(world, event.at_us);
        struct sim *sim = world->clusters[event.cluster];
        if (event.worker >= 0 && sim->workers[event.worker].paused_until_us > sim->now_us) {
            wait_for_worker(sim, event);
            continue;
        }
        sim->stats.events++;
        sim_mix(sim, (uint64_t)event.at_us << 8 ^ event.type);
        handle(sim, &event);
    }
    set_time(world, until_us);
}

static void lay_out(struct sim *sim)
{
    int shards = sim->swarm.shards;
    bool links = sim->links != NULL;
    sim->log_count = links ? LINK_LOGS : USERS + 4 * shards;
    for (int i = 0; i < sim->log_count; i++) {
        struct sim_log *log = &sim->logs[i];
        log->topic = i < USERS ? TOPIC_USER : (enum sim_topic)(1 + (i - USERS) / shards);
        log->partition = i < USERS ? i : (i - USERS) % shards;
        if (links) {
            log->topic = sim_links_topic_at(i / SHARDS_MAX);
            log->partition = i % SHARDS_MAX;
        }
        log->node = i % NODES;
        for (int pid = 0; pid < PIDS; pid++)
            log->producers[pid].open_first = -1;
    }
    for (int i = 0; i < PIDS + GROUPS; i++)
        sim->coordinators[i].node = i % NODES;
    sim->groups[0].partitions = sim->swarm.shards;
    sim->groups[1].partitions = USERS;
    for (int group = 0; group < GROUPS; group++)
        for (int p = 0; p < SHARDS_MAX; p++)
            sim->groups[group].committed[p].offset = -1;
}

static void first_events(struct sim *sim)
{
    for (int w = 0; w < sim->swarm.workers; w++)
        sim_at(sim, sim_between(sim, 0, 3000000),
               (struct sim_event){.type = EVENT_RESTART, .worker = -1, .a = (int16_t)w});
    sim_at(sim, 0, (struct sim_event){.type = EVENT_SWEEP, .worker = -1});
    sim_at(sim, 0, (struct sim_event){.type = EVENT_LOAD, .worker = -1});
    sim_at(sim, 0, (struct sim_event){.type = EVENT_CHAOS, .worker = -1});
}

static void begin(struct sim *sim)
{
    draw_swarm(sim);
    lay_out(sim);
    sim_load_init(sim);
    sim_check_init(sim);
    first_events(sim);
    if (sim->swarm.trim)
        sim_at(sim, 5000000, (struct sim_event){.type = EVENT_TRIM, .worker = -1});
}

// Two clusters with links in both directions.
static void play_links(struct sim *world)
{
    char why[200];
    draw_swarm(world);
    sim_links_draw(world);
    for (int i = 0; i < CLUSTERS; i++) {
        struct sim *sim = world->clusters[i];
        sim->swarm = world->swarm;
        lay_out(sim);
        first_events(sim);
    }
    run_until(world, world->swarm.calm_us);
    for (int i = 0; i < CLUSTERS; i++)
        sim_heal(world->clusters[i]);
    int64_t give_up_us = world->now_us + DRAIN_US;
    bool drained = false;
    while (!world->failed && !drained && world->now_us < give_up_us) {
        run_until(world, world->now_us + LOOK_US);
        drained = sim_links_drained(world, why, sizeof why);
    }
    if (!drained)
        sim_fail(world, "not drained: %s", why);
    int64_t written = sim_links_count(world, false);
    int64_t progress = -1; // an end is still to be noted, also by the last new owner
    for (int i = 0; i < RESTS && progress != sim_links_count(world, true); i++) {
        progress = sim_links_count(world, true);
        run_until(world, world->now_us + REST_US);
    }
    if (sim_links_count(world, false) != written || sim_links_count(world, true) != progress)
        sim_fail(world, "%lld records and %lld of progress are written when nothing more comes",
                 (long long)(sim_links_count(world, false) - written),
                 (long long)(sim_links_count(world, true) - progress));
    if (!world->failed)
        sim_links_check_end(world);
}

static void play(struct sim *sim)
{
    char why[200];
    begin(sim);
    run_until(sim, sim->swarm.calm_us);
    sim_heal(sim);
    int64_t give_up_us = sim->now_us + DRAIN_US;
    bool drained = false;
    while (!sim->failed && !drained && sim->now_us < give_up_us) {
        run_until(sim, sim->now_us + LOOK_US);
        drained = sim->written >= sim->swarm.sagas && sim_check_drained(sim, why, sizeof why);
    }
    if (!drained)
        sim_fail(sim, "not drained: %s", why);
    run_until(sim, sim->now_us + 3000000); // the last markers
    if (!sim->failed)
        sim_check_end(sim);
    if (!sim->failed && sim->options.replay && !sim->swarm.again)
        sim_check_replay(sim);
}

// ---- Outside of the simulated world

uint64_t ka_rules_off;
static jmp_buf on_assert;
static struct sim *running;

_Noreturn void ka_assert_failed(const char *condition, const char *file, int line)
{
    if (running == NULL) {
        fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, condition);
        abort();
    }
    sim_fail(running, "%s:%d: assertion failed: %s", file, line, condition);
    longjmp(on_assert, 1);
}

static void free_calls(struct sim *sim)
{
    for (size_t i = 0; i < sim->heap_count; i++) { // those that nobody has answered
        struct sim_event *event = &sim->heap[i];
        struct sim_call *call = event->ptr;
        if (event->type != EVENT_ANSWER || call->answered)
            continue;
        call->answered = true;
        lane_invocation_free(&call->invocation);
    }
}

static void end(struct sim *sim, bool sound)
{
    for (int w = 0; sound && w < sim->swarm.workers; w++)
        if (sim->workers[w].life != NULL)
            sim_worker_kill(sim, w);
    free_calls(sim);
    sim_load_fini(sim);
    sim_check_fini(sim);
    for (int i = 0; i < LOGS_MAX; i++)
        free(sim->logs[i].records);
    if (sim->links != NULL && sim == sim->world)
        sim_links_fini(sim);
    free(sim->heap);
    buf_fini(&sim->scratch);
    arena_fini(&sim->arena);
}

static void print_lines(const struct sim *sim)
{
    int from = sim->line_next > TRACE_LINES ? sim->line_next - TRACE_LINES : 0;
    for (int i = from; i < sim->line_next; i++)
        printf("# %s\n", sim->lines[i % TRACE_LINES]);
}

static void add_stats(const struct sim *sim, struct sim_stats *stats)
{
    const int64_t *from = (const int64_t *)(const void *)&sim->stats;
    int64_t *to = (int64_t *)(void *)stats;
    for (size_t i = 0; i < sizeof *stats / sizeof *to; i++)
        to[i] += from[i];
    stats->runs += sim == sim->world;
    stats->sim_ms += sim == sim->world ? sim->now_us / 1000 : 0;
}

static struct sim *new_cluster(const struct sim_options *options, struct sim *world)
{
    struct sim *sim = calloc(1, sizeof *sim);
    if (sim == NULL)
        abort();
    sim->options = *options;
    sim->world = world == NULL ? sim : world;
    sim->cluster = world == NULL ? 0 : 1;
    sim->world->clusters[sim->cluster] = sim;
    if (options->links)
        sim->links = world == NULL ? sim_links_new(sim) : world->links;
    return sim;
}

void sim_run(const struct sim_options *options, struct sim_result *result, struct sim_stats *stats)
{
    struct sim *sim = new_cluster(options, NULL);
    struct sim *other = options->links ? new_cluster(options, sim) : NULL;
    sim->rng = hash_mix(options->seed);
    if (options->trace)
        sim->lines = calloc(TRACE_LINES, sizeof *sim->lines);
    ka_rules_off = options->rules_off;
    running = sim;
    if (setjmp(on_assert) == 0)
        (options->links ? play_links : play)(sim);
    else
        sim->failed_by_assert = true;
    running = NULL;
    if (other != NULL) {
        end(other, !sim->failed_by_assert);
        add_stats(other, stats);
    }
    end(sim, !sim->failed_by_assert);
    ka_rules_off = 0;
    add_stats(sim, stats);
    *result = (struct sim_result){.ok = !sim->failed, .hash = sim->hash};
    memcpy(result->why, sim->why, sizeof result->why);
    if (options->trace) {
        print_lines(sim);
        free(sim->lines);
    }
    free(other);
    free(sim);
}
