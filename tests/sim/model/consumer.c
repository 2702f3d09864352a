// SPDX-License-Identifier: Apache-2.0
// A consumer of a group as librdkafka 2.0.2 with src/io/kafka_consumer.c around it: cooperative
// rounds that the application answers, a queue of fetched records per partition, seeks that throw
// the queue away, read_committed.
#include "sim.h"

#include "core/assert.h"

enum {
    FETCH_RECORDS = 40,
    RECORDS_KEPT = 400,
    FETCH_AGAIN_US = 100000,
    TOLD_US = 200000,
    SEEK_US = 300000
};

static int partitions(const struct sim_consumer *consumer)
{
    return consumer->sim->groups[consumer->group].partitions;
}

struct sim_log *sim_consumer_log(struct sim_consumer *consumer, int partition)
{
    struct sim *sim = consumer->sim;
    return &sim->logs[sim_log_of(sim, sim_lane_topic(consumer->lane), partition)];
}

static struct sim_req *request(struct sim_consumer *consumer, enum sim_request type)
{
    struct sim_req *req = sim_req(consumer->sim, type, OWNER_CONSUMER, consumer, consumer->call,
                                  consumer->lane->life->worker);
    req->group = consumer->group;
    req->generation = consumer->generation;
    req->member = consumer->member;
    req->client = consumer->lane->client;
    return req;
}

static void beat_later(struct sim_consumer *consumer)
{
    struct sim *sim = consumer->sim;
    sim_at(sim, sim->now_us + sim->swarm.session_ms * 1000 / 12,
           (struct sim_event){.type = EVENT_HEARTBEAT,
                              .worker = (int8_t)consumer->lane->life->worker,
                              .ptr = consumer});
}

// Waits while the application has a control event in hand.
static void join(struct sim_consumer *consumer)
{
    if (consumer->dead || consumer->joining)
        return;
    if (consumer->waiting) {
        consumer->rejoin = true;
        return;
    }
    consumer->rejoin = false;
    consumer->joining = true;
    consumer->call++;
    struct sim_req *req = request(consumer, REQ_JOIN);
    req->owned = consumer->owned;
    sim_send(consumer->sim, &consumer->conns, req);
}

struct sim_consumer *sim_consumer_new(struct sim_lane *lane)
{
    struct sim_consumer *consumer = arena_zalloc(&lane->sim->arena, sizeof *consumer);
    consumer->sim = lane->sim;
    consumer->lane = lane;
    consumer->group = lane->index;
    consumer->generation = -1;
    consumer->heard_us = lane->sim->now_us;
    beat_later(consumer);
    join(consumer);
    return consumer;
}

// ---- Control events: one at a time, the application answers by assign or unassign

static void tell(struct sim_consumer *consumer, enum sim_control_type type, uint64_t set)
{
    KA_ASSERT(consumer->control_count < 8);
    // The client knows before its application does: what it says of its membership may be newer
    // than the last event.
    int64_t at_us = consumer->sim->now_us;
    if (sim_draw(consumer->sim, 2) == 0)
        at_us += sim_between(consumer->sim, 0, TOLD_US);
    consumer->controls[consumer->control_count++] = (struct sim_control){type, set, at_us};
    consumer->waiting = true;
    sim_lane_wake(consumer->lane);
}

static void go_on(struct sim_consumer *consumer)
{
    if (consumer->waiting || consumer->dead)
        return;
    if (consumer->lost && consumer->owned != 0) {
        tell(consumer, CONTROL_LOST, consumer->owned);
        return;
    }
    if (consumer->lost) {
        consumer->lost = false;
        consumer->to_assign = consumer->to_revoke = 0;
        consumer->rejoin = true;
    }
    if (consumer->to_revoke != 0) {
        uint64_t set = consumer->to_revoke;
        consumer->to_revoke = 0;
        consumer->rejoin = true; // the next round gives it out again
        tell(consumer, CONTROL_REVOKING, set);
    } else if (consumer->to_assign != 0) {
        uint64_t set = consumer->to_assign;
        consumer->to_assign = 0;
        tell(consumer, CONTROL_ASSIGNED, set);
    } else if (consumer->rejoin) {
        join(consumer);
    }
}

bool sim_consumer_control(struct sim_consumer *consumer, struct sim_control *control)
{
    if (consumer->control_count == 0 || consumer->controls[0].at_us > consumer->sim->now_us)
        return false;
    *control = consumer->controls[0];
    consumer->control_count--;
    for (int i = 0; i < consumer->control_count; i++)
        consumer->controls[i] = consumer->controls[i + 1];
    return true;
}

void sim_consumer_assign(struct sim_consumer *consumer, bool assigns, uint64_t set)
{
    for (int p = 0; p < partitions(consumer); p++) {
        if ((set >> p & 1) == 0)
            continue;
        consumer->parts[p].version++;
        consumer->parts[p].assigned = assigns;
        consumer->parts[p].paused = true;
        consumer->parts[p].fetching = false;
        consumer->parts[p].error = KA_OK;
        consumer->parts[p].next = consumer->parts[p].fetched = -1;
    }
    consumer->owned = assigns ? consumer->owned | set : consumer->owned & ~set;
    consumer->waiting = false;
    go_on(consumer);
}

static void lose(struct sim_consumer *consumer, bool member)
{
    SIM_NOTE(consumer->sim, "lane %d: assignment lost", consumer->lane->client);
    consumer->generation = -1;
    if (!member)
        consumer->member = 0;
    consumer->joining = false;
    consumer->call++; // join and sync under way are of the past
    consumer->lost = true;
    consumer->heard_us = consumer->sim->now_us;
    go_on(consumer);
}

// ---- Answers

static void on_assignment(struct sim_consumer *consumer, uint64_t assigned)
{
    consumer->joining = false;
    consumer->to_revoke = consumer->owned & ~assigned;
    consumer->to_assign = assigned & ~consumer->owned;
    go_on(consumer);
}

static void again(struct sim_consumer *consumer)
{
    consumer->joining = false;
    join(consumer);
}

static void on_join(struct sim_consumer *consumer, const struct sim_req *req)
{
    if (req->code == CODE_UNKNOWN_MEMBER) {
        lose(consumer, false);
    } else if (req->code != CODE_OK) {
        again(consumer);
    } else {
        consumer->member = (int)req->value;
        consumer->generation = (int32_t)req->value2;
        consumer->heard_us = consumer->sim->now_us;
        sim_send(consumer->sim, &consumer->conns, request(consumer, REQ_SYNC));
    }
}

static void on_sync(struct sim_consumer *consumer, const struct sim_req *req)
{
    if (req->code == CODE_OK)
        on_assignment(consumer, req->owned);
    else if (req->code == CODE_UNKNOWN_MEMBER || req->code == CODE_ILLEGAL_GENERATION)
        lose(consumer, req->code == CODE_ILLEGAL_GENERATION);
    else
        again(consumer);
}

static void on_heartbeat(struct sim_consumer *consumer, const struct sim_req *req)
{
    if (consumer->joining || req->generation != consumer->generation)
        return; // of the past
    if (req->code == CODE_OK || req->code == CODE_REBALANCE)
        consumer->heard_us = consumer->sim->now_us;
    if (req->code == CODE_REBALANCE) {
        join(consumer);
    } else if (req->code == CODE_UNKNOWN_MEMBER || req->code == CODE_ILLEGAL_GENERATION) {
        lose(consumer, req->code == CODE_ILLEGAL_GENERATION);
    }
}

void sim_consumer_answer(struct sim_consumer *consumer, struct sim_req *req)
{
    if (consumer->dead || consumer->lane->life->dead)
        return;
    if (req->type == REQ_HEARTBEAT)
        on_heartbeat(consumer, req);
    else if (req->call != consumer->call)
        return;
    else if (req->type == REQ_JOIN)
        on_join(consumer, req);
    else
        on_sync(consumer, req);
}

void sim_consumer_heartbeat(struct sim_consumer *consumer)
{
    if (consumer->dead || consumer->lane->life->dead)
        return;
    beat_later(consumer);
    bool silent =
        consumer->sim->now_us - consumer->heard_us > consumer->sim->swarm.session_ms * 1000;
    if (consumer->joining) // the join itself keeps the session, and is answered or fails
        return;
    if (silent && consumer->generation >= 0)
        lose(consumer, true);
    else if (consumer->generation >= 0)
        sim_send(consumer->sim, &consumer->conns, request(consumer, REQ_HEARTBEAT));
}

// ---- Records

static void fetch(struct sim_consumer *consumer, int p)
{
    struct sim *sim = consumer->sim;
    struct sim_part *part = &consumer->parts[p];
    const struct sim_log *log = sim_consumer_log(consumer, p);
    bool wants = part->assigned && !part->paused && !part->fetching && part->fetched >= 0 &&
                 part->fetched < part->next + RECORDS_KEPT && part->error == KA_OK;
    if (!wants || (part->fetched >= log->lso && part->fetched <= log->count))
        return;
    part->fetching = true;
    int64_t us = sim_between(sim, sim->swarm.latency_us / 2, sim->swarm.latency_us * 4);
    if (log->leader_at_us > sim->now_us || sim->missing_until_us[log->topic] > sim->now_us)
        us += FETCH_AGAIN_US;
    if (sim_hit(sim, FAULT_SLOW, sim->swarm.slow))
        us += sim_between(sim, 1000, sim->swarm.slow_us);
    if (sim->node_slow_until_us[log->node] > sim->now_us) {
        us += sim->node_slow_until_us[log->node] - sim->now_us;
        sim->stats.hit[FAULT_NODE_SLOW]++;
    }
    sim_at(sim, sim->now_us + us,
           (struct sim_event){.type = EVENT_FETCH,
                              .worker = (int8_t)consumer->lane->life->worker,
                              .a = (int16_t)p,
                              .call = part->version,
                              .ptr = consumer});
}

void sim_consumer_fetched(struct sim_consumer *consumer, int p, uint32_t version)
{
    struct sim_part *part = &consumer->parts[p];
    const struct sim_log *log = sim_consumer_log(consumer, p);
    if (consumer->dead || consumer->lane->life->dead || version != part->version)
        return;
    part->fetching = false;
    bool missing = sim_missing(consumer->sim, log->topic);
    if (missing || sim_leaderless(consumer->sim, log)) {
        if (missing && sim_draw(consumer->sim, 4) == 0)
            part->error = KA_ERR_NOT_FOUND;
        fetch(consumer, p); // again, a moment later
        sim_lane_wake(consumer->lane);
        return;
    }
    if (part->fetched < log->start || part->fetched > log->count) { // auto.offset.reset=error
        part->error = KA_ERR_DIVERGED;
        sim_lane_wake(consumer->lane);
        return;
    }
    int64_t to = part->fetched + sim_between(consumer->sim, 1, FETCH_RECORDS);
    part->fetched = to < log->lso ? to : log->lso;
    sim_lane_wake(consumer->lane);
    fetch(consumer, p);
}

void sim_consumer_wake(struct sim *sim, const struct sim_log *log)
{
    bool read = sim->links != NULL ? log->topic == TOPIC_LINKS : log->topic <= TOPIC_INBOX;
    if (!read)
        return;
    int index = sim->links != NULL || log->topic == TOPIC_INBOX ? 0 : 1;
    for (int w = 0; w < sim->swarm.workers; w++) {
        struct sim_life *life = sim->workers[w].life;
        if (life == NULL || life->dead || life->lanes[index]->consumer == NULL)
            continue;
        fetch(life->lanes[index]->consumer, log->partition);
    }
}

static void restart(struct sim_consumer *consumer, int p, int64_t offset)
{
    struct sim_part *part = &consumer->parts[p];
    part->version++;
    part->fetching = false;
    part->next = part->fetched = offset;
    part->eof_told = -1;
    part->error = KA_OK;
    fetch(consumer, p);
    sim_lane_wake(consumer->lane); // perhaps the end is all there is
}

bool sim_consumer_seek(struct sim_consumer *consumer, int p, int64_t offset)
{
    struct sim *sim = consumer->sim;
    struct sim_part *part = &consumer->parts[p];
    if (sim_hit(sim, FAULT_SEEK, sim->swarm.seek))
        part->seeks_at_us = sim->now_us + sim_between(sim, 0, SEEK_US);
    if (!part->assigned || part->seeks_at_us > sim->now_us)
        return false;
    restart(consumer, p, offset);
    return true;
}

void sim_consumer_pause(struct sim_consumer *consumer, int p, bool pause)
{
    struct sim_part *part = &consumer->parts[p];
    if (!part->assigned || part->paused == pause || (!pause && part->next < 0))
        return; // resumed before a seek: refused
    part->paused = pause;
    if (!pause && part->next >= 0)
        restart(consumer, p, part->next);
}

// The next thing of one of the partitions, in turn.
int sim_consumer_next(struct sim_consumer *consumer, int *partition, int64_t *offset,
                      enum ka_err *error)
{
    int count = partitions(consumer);
    int first = consumer->turn;
    for (int i = 0; i < count; i++) {
        int p = (first + i) % count;
        struct sim_part *part = &consumer->parts[p];
        if (!part->assigned || part->paused || part->next < 0)
            continue;
        const struct sim_log *log = sim_consumer_log(consumer, p);
        *partition = p;
        while (part->next < part->fetched) {
            const struct sim_record *record = &log->records[part->next++];
            if (record->kind != RECORD_DATA || record->fate != FATE_COMMITTED)
                continue;
            *offset = part->next - 1;
            fetch(consumer, p);
            return FETCH_RECORD;
        }
        if (part->error != KA_OK) {
            *error = part->error;
            *offset = part->next;
            part->next = part->fetched = -1; // until it is sought
            return FETCH_ERROR;
        }
        fetch(consumer, p);
        if (part->fetched == log->lso && part->eof_told != log->lso) {
            part->eof_told = *offset = log->lso;
            return FETCH_EOF;
        }
        consumer->turn = (p + 1) % count;
    }
    return FETCH_NOTHING;
}
