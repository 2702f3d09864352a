// SPDX-License-Identifier: Apache-2.0
// Faults that come from outside of the requests: machines that die or stand still, clocks that
// jump, partitions and coordinators that move, topics that nobody knows for a while, offsets and
// records that are gone. Faults of requests are in net.c, of actions in load.c.
#include "sim.h"

enum { CHAOS_US = 400000, TRIM_US = 3000000, TRUNCATED_MAX = 12, LOST_MAX = 6 };

// Where a worker can die: before each effect of a lane, and when one of its requests was executed.
bool sim_kill_point(struct sim *sim, int worker, int ppm)
{
    int64_t point = ++sim->world->stats.points;
    if (sim->options.kill_point == 0) {
        if (!sim_hit(sim, FAULT_KILL, ppm))
            return false;
    } else if (point != sim->options.kill_point) {
        return false;
    }
    sim_worker_kill(sim, worker);
    return true;
}

// ---- What moves

static void move_leader(struct sim *sim)
{
    struct sim_log *log = &sim->logs[sim_draw(sim, (uint64_t)sim->log_count)];
    log->node = (log->node + 1 + (int32_t)sim_draw(sim, NODES - 1)) % NODES;
    log->leader_at_us = sim->now_us + sim_between(sim, 1000, sim->swarm.move_us);
    SIM_NOTE(sim, "%s/%d moves to node %d", sim_topic_name(log->topic), log->partition, log->node);
}

static void move_coordinator(struct sim *sim)
{
    int which = (int)sim_draw(sim, PIDS + 4); // groups have their share
    if (which >= PIDS)
        which = PIDS + which % GROUPS;
    struct sim_coordinator *coordinator = &sim->coordinators[which];
    coordinator->node = (coordinator->node + 1 + (int)sim_draw(sim, NODES - 1)) % NODES;
    coordinator->loaded_at_us = sim->now_us + sim_between(sim, 1000, sim->swarm.move_us);
    SIM_NOTE(sim, "coordinator of %s %d moves to node %d", which < PIDS ? "pid" : "group",
             which < PIDS ? which : which - PIDS, coordinator->node);
    if (which >= PIDS)
        sim_group_moved(sim, which - PIDS);
}

static void hide_topic(struct sim *sim)
{
    uint64_t topic = sim->links != NULL ? sim_links_topic(sim) : sim_draw(sim, TOPICS);
    sim->missing_until_us[topic] = sim->now_us + sim_between(sim, 1000, sim->swarm.move_us);
    SIM_NOTE(sim, "%s is missing", sim_topic_name((enum sim_topic)topic));
}

// ---- What is gone for ever

// The offsets of a shard are gone (expired, or somebody's reset): it must stop, not begin again.
static void lose_offsets(struct sim *sim)
{
    struct sim_group *group = &sim->groups[0];
    int p = (int)sim_draw(sim, (uint64_t)sim->swarm.shards);
    if (group->committed[p].offset <= 0)
        return;
    for (int w = 0; w < sim->swarm.workers; w++)
        sim_worker_kill(sim, w);
    for (int pid = 0; pid < PIDS; pid++)
        group->pending[pid][p].used = false;
    group->committed[p].offset = sim->links != NULL ? -1 : 0;
    group->committed[p].meta_len = 0;
    group->committed[p].append = ++group->appends;
    sim->check.broken[0][p] = sim->links == NULL; // the progress of links is not in the offset
    sim->check.lane_ms[0][p] = 0;
    sim->swarm.offsets_lost = false;
    sim_felt(sim, FAULT_OFFSETS_LOST);
}

// Retention was faster than the reader: user records that nobody has read are gone.
static void overtake(struct sim *sim)
{
    int p = (int)sim_draw(sim, USERS);
    struct sim_log *log = &sim->logs[sim_log_of(sim, TOPIC_USER, p)];
    int64_t read = sim->groups[1].committed[p].offset;
    if (read < 0 || read >= log->lso)
        return;
    log->start = read + 1 + (int64_t)sim_draw(sim, LOST_MAX);
    if (log->start > log->lso)
        log->start = log->lso;
    SIM_NOTE(sim, "retention takes in/%d up to %lld", p, (long long)log->start);
    sim->check.broken[1][p] = true;
    sim->swarm.retention = false;
    sim_felt(sim, FAULT_RETENTION);
}

// An unclean election: the end of a state log is lost though it was acknowledged.
static void truncate_state(struct sim *sim)
{
    int log = sim_log_of(sim, TOPIC_STATE, (int)sim_draw(sim, (uint64_t)sim->swarm.shards));
    if (!sim_truncate(sim, log, sim_between(sim, 1, TRUNCATED_MAX)))
        return;
    sim->swarm.truncate = false;
    sim_felt(sim, FAULT_TRUNCATED);
}

// DeleteRecords, as src/engine/trimmer.c: what was read, and what no restore needs.
void sim_trim(struct sim *sim)
{
    for (int p = 0; p < sim->swarm.shards; p++) {
        const struct sim_committed *entry = &sim->groups[0].committed[p];
        struct sim_log *log = &sim->logs[sim_log_of(sim, TOPIC_STATE, p)];
        struct sim_log *inbox = &sim->logs[sim_log_of(sim, TOPIC_INBOX, p)];
        struct meta meta;
        if (meta_parse(slice_of(entry->meta, entry->meta_len), &meta, NULL) != KA_OK ||
            !meta.present)
            continue;
        if (entry->offset > inbox->start)
            inbox->start = entry->offset;
        if (meta.low_water <= log->start)
            continue;
        log->start = meta.low_water;
        sim_felt(sim, FAULT_TRIM);
    }
    sim_at(sim, sim->now_us + TRIM_US, (struct sim_event){.type = EVENT_TRIM, .worker = -1});
}

// ---- A look around

static void jump_clock(struct sim *sim, int worker)
{
    int64_t by_ms = sim_between(sim, 1, sim_draw(sim, 2) == 0 ? 5000 : 3600000);
    sim->workers[worker].clock_ms += sim_draw(sim, 2) == 0 ? by_ms : -by_ms;
    SIM_NOTE(sim, "clock of worker %d is off by %lld ms", worker,
             (long long)sim->workers[worker].clock_ms);
}

void sim_chaos(struct sim *sim)
{
    const struct sim_swarm *swarm = &sim->swarm;
    int worker = (int)sim_draw(sim, (uint64_t)swarm->workers);
    if (sim->healing)
        return;
    if (sim_hit(sim, FAULT_CLOCK, swarm->clock))
        jump_clock(sim, worker);
    if (sim_hit(sim, FAULT_KILL, swarm->kill * 10))
        sim_worker_kill(sim, worker);
    if (sim_inject(sim, FAULT_LEADER_MOVED, swarm->leader))
        move_leader(sim);
    if (sim_inject(sim, FAULT_COORDINATOR_MOVED, swarm->coordinator))
        move_coordinator(sim);
    if (sim_inject(sim, FAULT_TOPIC_MISSING, swarm->missing))
        hide_topic(sim);
    bool middle = sim->now_us > swarm->load_us / 2;
    if (middle && swarm->offsets_lost)
        lose_offsets(sim);
    if (sim->links != NULL)
        sim_links_chaos(sim);
    if (middle && swarm->retention)
        overtake(sim);
    if (middle && swarm->truncate)
        truncate_state(sim);
    sim_at(sim, sim->now_us + CHAOS_US, (struct sim_event){.type = EVENT_CHAOS, .worker = -1});
}

void sim_heal(struct sim *sim)
{
    SIM_NOTE(sim, "everything heals");
    sim->healing = true;
    for (int node = 0; node < NODES; node++)
        sim->node_slow_until_us[node] = 0;
    for (int topic = 0; topic < ALL_TOPICS; topic++)
        sim->missing_until_us[topic] = 0;
    for (int w = 0; w < sim->swarm.workers; w++)
        if (sim->workers[w].paused_until_us > sim->now_us)
            sim->workers[w].paused_until_us = sim->now_us;
    sim_at(sim, sim->now_us + 3000000, (struct sim_event){.type = EVENT_OPERATE, .worker = -1});
}
