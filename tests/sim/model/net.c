// SPDX-License-Identifier: Apache-2.0
// Requests. Those of one connection arrive in order; after an error the client has a new one, so
// what was on the way in the old can arrive later than what follows. A request can be lost, can be
// executed without an answer, and can arrive long after its sender has given it up: the sender sees
// the same error each time. A JoinGroup is never that late: one that comes after a later one of the
// same member was answered tells the group of partitions that the member has no more, or not yet,
// and the protocol has nothing against that.
#include "sim.h"

#include "core/assert.h"

#include <string.h>

struct sim_req *sim_req(struct sim *sim, enum sim_request type, enum sim_owner owner_type,
                        void *owner, uint32_t call, int worker)
{
    struct sim_req *req = sim->free_reqs;
    if (req != NULL)
        sim->free_reqs = req->next;
    else
        req = arena_alloc(&sim->arena, sizeof *req);
    *req = (struct sim_req){.type = type,
                            .owner_type = owner_type,
                            .owner = owner,
                            .call = call,
                            .worker = worker,
                            .pid = -1};
    return req;
}

void sim_release(struct sim *sim, struct sim_req *req)
{
    if (--req->refs > 0)
        return;
    req->next = sim->free_reqs;
    sim->free_reqs = req;
}

static int64_t latency(struct sim *sim, int node)
{
    int64_t us = sim_between(sim, sim->swarm.latency_us / 4, sim->swarm.latency_us * 2);
    if (sim_hit(sim, FAULT_SLOW, sim->swarm.slow))
        us += sim_between(sim, 1000, sim->swarm.slow_us);
    if (node >= 0 && sim->node_slow_until_us[node] > sim->now_us) {
        us += sim->node_slow_until_us[node] - sim->now_us;
        sim->stats.hit[FAULT_NODE_SLOW]++;
    }
    return us;
}

static bool goes_to_leader(const struct sim_req *req)
{
    return req->type == REQ_PRODUCE || req->type == REQ_WATERMARK;
}

static const struct sim_coordinator *coordinator_of(const struct sim *sim,
                                                    const struct sim_req *req)
{
    bool of_id = req->pid >= 0 && req->type != REQ_TXN_OFFSETS;
    return &sim->coordinators[of_id ? req->pid : PIDS + req->group];
}

static int node_of(const struct sim *sim, const struct sim_req *req)
{
    return goes_to_leader(req) ? sim->logs[req->log].node : coordinator_of(sim, req)->node;
}

static void post(struct sim *sim, struct sim_req *req, enum sim_event_type type, int64_t at_us)
{
    int8_t worker = (int8_t)(type == EVENT_ARRIVE ? -1 : req->worker);
    req->refs++;
    sim_at(sim, at_us, (struct sim_event){.type = (uint8_t)type, .worker = worker, .ptr = req});
}

static int64_t in_order(struct sim *sim, struct sim_conns *conns, int node)
{
    int64_t at_us = sim->now_us + latency(sim, node);
    if (at_us <= conns->arrives_us[node])
        at_us = conns->arrives_us[node] + 1;
    conns->arrives_us[node] = at_us;
    return at_us;
}

void sim_send(struct sim *sim, struct sim_conns *conns, struct sim_req *req)
{
    const struct sim_swarm *swarm = &sim->swarm;
    req->node = (int8_t)node_of(sim, req);
    int64_t arrives_us = in_order(sim, conns, req->node);
    if (sim_hit(sim, FAULT_LOST, swarm->lost)) {
        conns->arrives_us[req->node] = 0;
        post(sim, req, EVENT_FAIL, sim->now_us + sim_between(sim, 500, 60000));
    } else if (sim_hit(sim, FAULT_NO_ANSWER, swarm->no_answer)) {
        req->mute = true;
        conns->arrives_us[req->node] = 0;
        post(sim, req, EVENT_ARRIVE, arrives_us);
        post(sim, req, EVENT_FAIL, arrives_us + sim_between(sim, 500, 60000));
    } else if (req->type != REQ_JOIN && sim_hit(sim, FAULT_LATE, swarm->late)) {
        req->mute = true;
        conns->arrives_us[req->node] = 0;
        int64_t failed_us = sim->now_us + sim_between(sim, 500, 30000);
        post(sim, req, EVENT_FAIL, failed_us);
        post(sim, req, EVENT_ARRIVE, failed_us + sim_between(sim, 1000, swarm->slow_us));
    } else {
        post(sim, req, EVENT_ARRIVE, arrives_us);
    }
}

void sim_reply(struct sim *sim, struct sim_req *req, enum sim_code code)
{
    if (!req->mute) {
        req->code = code;
        post(sim, req, EVENT_REPLY, sim->now_us + latency(sim, -1));
    }
    sim_release(sim, req);
}

// ---- Where it arrives

bool sim_missing(struct sim *sim, enum sim_topic topic)
{
    bool missing = sim->missing_until_us[topic] > sim->now_us;
    sim->stats.hit[FAULT_TOPIC_MISSING] += missing;
    return missing;
}

bool sim_leaderless(struct sim *sim, const struct sim_log *log)
{
    bool leaderless = log->leader_at_us > sim->now_us;
    sim->stats.hit[FAULT_LEADER_MOVED] += leaderless;
    return leaderless;
}

// NOT_LEADER_FOR_PARTITION, LEADER_NOT_AVAILABLE, NOT_COORDINATOR, COORDINATOR_LOAD_IN_PROGRESS,
// UNKNOWN_TOPIC_OR_PARTITION: nothing was done.
static enum sim_code refusal(struct sim *sim, const struct sim_req *req)
{
    if (goes_to_leader(req)) {
        const struct sim_log *log = &sim->logs[req->log];
        if (sim_missing(sim, log->topic))
            return CODE_MISSING;
        if (sim_leaderless(sim, log))
            return CODE_RETRY;
        sim->stats.hit[FAULT_LEADER_MOVED] += log->node != req->node;
        return log->node != req->node ? CODE_RETRY : CODE_OK;
    }
    const struct sim_coordinator *coordinator = coordinator_of(sim, req);
    bool refused = coordinator->node != req->node || coordinator->loaded_at_us > sim->now_us;
    sim->stats.hit[FAULT_COORDINATOR_MOVED] += refused;
    return refused ? CODE_RETRY : CODE_OK;
}

// Either answers or keeps the request (a JoinGroup waits for the others).
static void execute(struct sim *sim, struct sim_req *req)
{
    switch (req->type) {
    case REQ_INIT:
    case REQ_ADD_PARTITIONS:
    case REQ_ADD_OFFSETS:
    case REQ_END_TXN:
        sim_on_transaction(sim, req);
        return;
    case REQ_PRODUCE:
        sim_on_produce(sim, req);
        return;
    case REQ_WATERMARK:
        req->value = sim->logs[req->log].start;
        req->value2 = sim->logs[req->log].count;
        if (req->stable) // only with a rule off
            req->value2 = sim->logs[req->log].lso;
        sim_reply(sim, req, CODE_OK);
        return;
    case REQ_TXN_OFFSETS:
    case REQ_HEARTBEAT:
    case REQ_JOIN:
    case REQ_SYNC:
    case REQ_OFFSETS:
    case REQ_DESCRIBE:
        sim_on_group(sim, req);
        return;
    case REQ_TYPES:
        break;
    }
    KA_ASSERT(false);
}

// The client asks for the new leader or coordinator and tries again: that takes a moment.
static void refuse(struct sim *sim, struct sim_req *req, enum sim_code code)
{
    if (!req->mute) {
        req->code = code;
        post(sim, req, EVENT_REPLY, sim->now_us + sim_between(sim, 5000, 100000));
    }
    sim_release(sim, req);
}

// What else happens at the moment when a request was executed and its sender does not know yet.
static void strike(struct sim *sim, enum sim_request type, int worker, int group)
{
    int kill = type == REQ_DESCRIBE ? sim->swarm.kill * 5 : sim->swarm.kill / 2; // it seldom comes
    if (sim_kill_point(sim, worker, kill)) {
        sim->stats.killed_in[type]++;
        SIM_NOTE(sim, "worker %d is killed in request %d", worker, (int)type);
    } else if (type <= REQ_PRODUCE && sim_hit(sim, FAULT_REBALANCE, sim->swarm.rebalance / 2)) {
        sim->stats.rebalanced_in[type]++;
        sim_group_rebalance(sim, group, true);
    }
}

void sim_on_arrive(struct sim *sim, struct sim_req *req)
{
    enum sim_request type = req->type;
    int worker = req->worker;
    int group = req->pid >= 0 ? req->pid / LANE_PRODUCERS % LANES : req->group;
    if (type <= REQ_PRODUCE)
        SIM_NOTE(sim, "request %s of pid %d epoch %d arrives%s", sim_request_names[type], req->pid,
                 req->epoch, req->mute ? ", nobody waits" : "");
    enum sim_code code = refusal(sim, req);
    if (code != CODE_OK) {
        refuse(sim, req, code);
        return;
    }
    sim->stats.requests[type]++;
    execute(sim, req);
    strike(sim, type, worker, group);
}

const char *const sim_request_names[REQ_TYPES] = {
    [REQ_INIT] = "init",
    [REQ_ADD_PARTITIONS] = "add_partitions",
    [REQ_ADD_OFFSETS] = "add_offsets",
    [REQ_TXN_OFFSETS] = "txn_offsets",
    [REQ_END_TXN] = "end_txn",
    [REQ_PRODUCE] = "produce",
    [REQ_HEARTBEAT] = "heartbeat",
    [REQ_JOIN] = "join",
    [REQ_SYNC] = "sync",
    [REQ_OFFSETS] = "offsets",
    [REQ_DESCRIBE] = "describe",
    [REQ_WATERMARK] = "watermark",
};

void sim_on_answer(struct sim *sim, struct sim_req *req, bool fail)
{
    enum sim_code code = req->code;
    if (fail)
        req->code = CODE_TRANSPORT;
    switch (req->owner_type) {
    case OWNER_PRODUCER:
        sim_producer_answer(req->owner, req);
        break;
    case OWNER_CONSUMER:
        sim_consumer_answer(req->owner, req);
        break;
    case OWNER_COMMITTER:
        sim_committer_answer(req->owner, req);
        break;
    case OWNER_RESTORER:
        sim_restorer_answer(req->owner, req);
        break;
    }
    req->code = code;
    sim_release(sim, req);
}
