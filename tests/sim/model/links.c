// SPDX-License-Identifier: Apache-2.0
// What happens around links: who writes in both clusters, with transactions that commit and abort;
// topics that grow, lose records, are deleted and created again; cables that are cut; operators.
#include "links.h"

#include "core/assert.h"
#include "core/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    USERS_PID = 2, // of no lane: each process has one
    TRUNCATED_MAX = 12,
    GONE_US = 6000000, // a deleted topic is gone for as long
    OPERATE_US = 2000000
};

static const enum sim_topic topics[] = {TOPIC_USER, TOPIC_INBOX, TOPIC_LINKS, TOPIC_OUT};
static const char id_header[] = "id";

int sim_links_log(enum sim_topic topic, int32_t partition)
{
    for (int i = 0; i < 4; i++)
        if (topics[i] == topic)
            return i * SHARDS_MAX + partition;
    return -1;
}

enum sim_topic sim_links_topic_at(int index)
{
    return topics[index];
}

enum sim_topic sim_links_topic(struct sim *sim)
{
    return topics[sim_draw(sim, 4)];
}

int sim_links_partitions(const struct sim *sim, enum sim_topic topic)
{
    const struct sim_links *links = sim->links;
    if (topic == TOPIC_USER)
        return links->partitions[sim->cluster][0];
    if (topic == TOPIC_OUT)
        return links->deleted_until_us[sim->cluster] > sim->now_us
                   ? 0
                   : links->partitions[sim->cluster][1];
    if (topic == TOPIC_INBOX && !links->commands)
        return links->inbox_there[sim->cluster] ? SHARDS_MAX : 0;
    return topic == TOPIC_INBOX ? INBOX_SHARDS : sim->swarm.shards;
}

int sim_links_target(const struct sim_links *links, const struct sim_log *log,
                     const struct sim_record *record)
{
    if (log->topic == TOPIC_USER)
        return sim_links_log(TOPIC_USER, log->partition);
    int32_t partition =
        links->commands ? hash_partition(record->key, INBOX_SHARDS) : log->partition;
    return sim_links_log(TOPIC_INBOX, partition);
}

int sim_links_id(const struct sim_record *record)
{
    int id = -1;
    for (size_t i = 0; i < record->header_count; i++)
        if (slice_eq(record->headers[i].name, slice_str(id_header)))
            memcpy(&id, record->headers[i].value.ptr, sizeof id);
    return id;
}

int64_t sim_links_ahead(const struct sim_record *records, int64_t count, int64_t from)
{
    while (from < count &&
           (records[from].kind != RECORD_DATA || records[from].fate != FATE_COMMITTED))
        from++;
    return from;
}

// ---- A run

struct sim_links *sim_links_new(struct sim *world)
{
    return arena_zalloc(&world->arena, sizeof(struct sim_links));
}

void sim_links_fini(struct sim *world)
{
    for (int c = 0; c < CLUSTERS; c++)
        for (int log = 0; log < LINK_LOGS; log++)
            free(world->links->sources[c][log].old);
}

static int rate(struct sim *sim, int most)
{
    if (sim_draw(sim, 2) == 0)
        return 0;
    int shift = (int)sim_draw(sim, 6);
    return most >> shift;
}

// What of the swarm is not for links.
static void set_off(struct sim_swarm *swarm)
{
    swarm->retention = swarm->truncate = swarm->trim = swarm->again = false;
    swarm->misrouted = swarm->poison = swarm->large = swarm->commands = swarm->refuse = 0;
    swarm->hold = 0;
    // A run has fewer effects and requests than one of shards: each is struck more often.
    swarm->kill *= 4;
    swarm->rebalance *= 4;
    swarm->pause *= 2;
    swarm->consumer *= 4;
    swarm->late *= 2;
    swarm->no_answer *= 2;
}

void sim_links_draw(struct sim *world)
{
    struct sim_links *links = world->links;
    struct sim_swarm *swarm = &world->swarm;
    set_off(swarm);
    if (swarm->workers > 3)
        swarm->workers = 3;
    bool calm = world->options.kill_point > 0;
    links->commands = sim_draw(world, 2) == 0;
    links->wan_us = calm ? 2000 : sim_between(world, 1000, 80000);
    if (!calm) {
        links->cut = rate(world, 100000);
        links->cut_us = sim_between(world, 100000, 12000000);
        links->source_error = rate(world, 20000);
        links->bad = rate(world, 10000);
        links->disaster = (enum sim_disaster)sim_draw(world, DISASTERS);
        links->disaster_cluster = (int)sim_draw(world, CLUSTERS);
    }
    links->aborted = 300000;
    for (int c = 0; c < CLUSTERS; c++) {
        links->partitions[c][0] = (int)sim_between(world, 1, SHARDS_MAX);
        links->partitions[c][1] = (int)sim_between(world, 1, 4);
        links->grows[c] = !calm && sim_draw(world, 4) == 0;
        links->inbox_there[c] = links->commands;
        for (int log = 0; log < LINK_LOGS; log++)
            links->sources[c][log].control = links->sources[c][log].last = -1;
    }
    links->born_cap = swarm->sagas * 8;
    links->born = arena_zalloc(&world->arena, (size_t)links->born_cap * sizeof *links->born);
}

void sim_links_headers(struct sim *sim, struct sim_out *out, const struct output *output)
{
    struct header *headers = arena_alloc(&sim->arena, (output->header_count + 1) * sizeof *headers);
    for (size_t i = 0; i < output->header_count; i++)
        headers[i] = (struct header){sim_copy(sim, output->headers[i].name),
                                     sim_copy(sim, output->headers[i].value)};
    out->headers = headers;
    out->header_count = output->header_count;
    out->timestamp_ms = output->timestamp_ms;
}

// ---- Records of users

static bool is_open(const struct sim *sim, int log)
{
    struct sim_source *source = &sim->links->sources[sim->cluster][log];
    const struct sim *target = sim->links == NULL ? NULL : sim->world->clusters[1 - sim->cluster];
    for (int w = 0; source->gate_us > 0 && w < target->swarm.workers; w++) {
        const struct sim_life *life = target->workers[w].life;
        const struct sim_link *link = life == NULL ? NULL : life->lanes[0]->link;
        if (link == NULL || life->dead)
            continue;
        const struct sim_reading *reading = &link->readings[log];
        bool reads = reading->open && !reading->dead && reading->asked_us <= source->gate_us;
        if (link->looked_us <= source->gate_us || reads)
            return false;
    }
    source->gate_us = 0;
    return true;
}

static void fill(struct sim *sim, struct sim_record *record, int id, bool bad, bool of_in)
{
    static char pad[LINK_RECORD_MAX + 100];
    struct header *headers = arena_alloc(&sim->arena, 4 * sizeof *headers);
    size_t count = 0;
    char text[32];
    int len = snprintf(text, sizeof text, "k%d", id % 7);
    record->timestamp_ms = SIM_EPOCH_MS + sim->now_us / 1000 - (int64_t)sim_draw(sim, 3000);
    record->key = sim_copy(sim, slice_of(text, (size_t)len));
    len = snprintf(text, sizeof text, "v%d", id);
    record->value = sim_copy(sim, slice_of(text, (size_t)len));
    uint64_t kind = sim_draw(sim, 10);
    if (kind == 0)
        record->value = SLICE_NONE;
    else if (kind == 1)
        record->value = SLICE_LIT("");
    if (sim_draw(sim, 3) == 0)
        headers[count++] = (struct header){SLICE_LIT("h"), SLICE_NONE};
    headers[count++] = (struct header){slice_str(id_header),
                                       sim_copy(sim, slice_of((const char *)&id, sizeof id))};
    if (bad && kind < 5)
        headers[count++] = (struct header){ORIGIN_HEADER, SLICE_LIT("\x07nobody")};
    else if (bad) // `in` takes less than a record may have
        record->value = slice_of(pad, kind == 9 || !of_in ? sizeof pad : TOPIC_MAX + 100);
    if (sim_draw(sim, 3) == 0)
        headers[count++] = (struct header){SLICE_LIT("h"), SLICE_LIT("")};
    record->headers = headers;
    record->header_count = count;
}

static void write_record(struct sim *sim, int index, const struct sim_user_transaction *in)
{
    struct sim_links *links = sim->links;
    struct sim_log *log = &sim->logs[index];
    int id = links->born_count++;
    sim->stats.born++;
    KA_ASSERT(id < links->born_cap);
    bool bad = sim_hit(sim, FAULT_BAD_RECORD, links->bad);
    links->born[id] = (struct sim_born){.cluster = (int8_t)sim->cluster,
                                        .log = (int8_t)index,
                                        .life = (int8_t)links->sources[sim->cluster][index].life,
                                        .bad = bad,
                                        .offset = log->count};
    struct sim_record *record = sim_append(sim, log);
    fill(sim, record, id, bad, log->topic == TOPIC_USER);
    record->fate = in == NULL ? FATE_COMMITTED : FATE_OPEN;
    if (in != NULL) {
        record->pid = (int8_t)in->pid;
        record->transaction = sim->transactions[in->pid].serial;
        if (log->producers[in->pid].open_first < 0)
            log->producers[in->pid].open_first = log->count - 1;
    }
    sim_move_lso(sim, log);
}

static int pick_log(struct sim *sim, int topic)
{
    enum sim_topic name = topic == 0 ? TOPIC_USER : TOPIC_OUT;
    int partitions = sim_links_partitions(sim, name);
    int log = partitions == 0 ? -1 : sim_links_log(name, (int)sim_draw(sim, (uint64_t)partitions));
    return log >= 0 && is_open(sim, log) ? log : -1;
}

void sim_links_born(struct sim *sim, void *transaction, int log)
{
    struct sim_user_transaction *txn = transaction;
    sim_append_marker(sim, log, txn->pid, 0, txn->commit);
    if (--txn->left == 0)
        for (int topic = 0; topic < COPIED_TOPICS; topic++)
            if (sim->links->open[sim->cluster][topic] == txn)
                sim->links->open[sim->cluster][topic] = NULL;
}

static void write_transaction(struct sim *sim, int topic, int records)
{
    struct sim_links *links = sim->links;
    struct sim_user_transaction *txn = arena_zalloc(&sim->arena, sizeof *txn);
    uint64_t logs = 0;
    txn->pid = USERS_PID + topic;
    txn->commit = !sim_hit(sim, FAULT_ABORTED, links->aborted);
    sim->transactions[txn->pid].serial = ++sim->transaction_serial;
    for (int i = 0; i < records; i++) {
        int log = pick_log(sim, topic);
        if (log < 0)
            continue;
        write_record(sim, log, txn);
        logs |= UINT64_C(1) << log;
    }
    for (int log = 0; log < LINK_LOGS; log++) {
        if ((logs >> log & 1) == 0)
            continue;
        txn->left++;
        sim_at(sim, sim->now_us + sim_between(sim, 1000, 800000),
               (struct sim_event){.type = EVENT_BORN, .worker = -1, .a = (int16_t)log, .ptr = txn});
    }
    if (txn->left > 0)
        links->open[sim->cluster][topic] = txn;
}

// Both clusters have their own; the world counts.
void sim_links_load(struct sim *sim)
{
    const struct sim_swarm *swarm = &sim->swarm;
    if (sim->world->written >= swarm->sagas)
        return;
    sim->world->written++;
    int burst = (int)sim_between(sim, 1, 7);
    int topic = (int)sim_draw(sim, COPIED_TOPICS);
    bool free = sim->links->open[sim->cluster][topic] == NULL;
    if (free && sim_draw(sim, 3) == 0) {
        write_transaction(sim, topic, burst);
    } else {
        int log = pick_log(sim, topic);
        for (int i = 0; log >= 0 && i < burst; i++)
            write_record(sim, log, NULL);
    }
    int64_t pause_us = swarm->load_us * 2 / swarm->sagas;
    sim_at(sim, sim->now_us + sim_between(sim, pause_us / 4, pause_us * 2),
           (struct sim_event){.type = EVENT_LOAD, .worker = -1});
}

// ---- Disasters

static bool is_quiet(const struct sim *sim, int log)
{
    return sim->logs[log].lso == sim->logs[log].count;
}

// Keeps what was there for the checkers. The other life begins.
static void end_life(struct sim *sim, int index, int64_t shared)
{
    struct sim_source *source = &sim->links->sources[sim->cluster][index];
    struct sim_log *log = &sim->logs[index];
    size_t size = (size_t)log->count * sizeof *log->records;
    source->old = malloc(size + 1);
    if (source->old == NULL)
        abort();
    if (size > 0)
        memcpy(source->old, log->records, size);
    source->old_count = log->count;
    source->shared = shared;
    source->life = 1;
    source->may_stop = true;
    source->gate_us = sim->now_us + 1;
}

static bool truncate_source(struct sim *sim, int index)
{
    struct sim_log *log = &sim->logs[index];
    struct sim_log before = *log;
    if (!is_quiet(sim, index) || log->count < 2)
        return false;
    end_life(sim, index, 0);
    if (!sim_truncate(sim, index, sim_between(sim, 1, TRUNCATED_MAX))) {
        struct sim_source *source = &sim->links->sources[sim->cluster][index];
        free(source->old);
        source->old = NULL;
        source->life = 0;
        source->may_stop = false;
        source->gate_us = 0;
        return false;
    }
    KA_ASSERT(log->count < before.count);
    sim->links->sources[sim->cluster][index].shared = log->count;
    sim_felt(sim, FAULT_TRUNCATED);
    return true;
}

static bool recreate(struct sim *sim)
{
    struct sim_links *links = sim->links;
    int partitions = links->partitions[sim->cluster][1];
    if (links->open[sim->cluster][1] != NULL)
        return false;
    links->deleted_until_us[sim->cluster] = sim->now_us + GONE_US;
    for (int p = 0; p < partitions; p++) {
        int index = sim_links_log(TOPIC_OUT, p);
        struct sim_log *log = &sim->logs[index];
        end_life(sim, index, 0);
        log->count = log->start = log->lso = 0;
        for (int pid = 0; pid < PIDS; pid++)
            log->producers[pid].open_first = -1;
        sim->check.seen[index] = 0;
    }
    SIM_NOTE(sim, "out is deleted for a while");
    sim_felt(sim, FAULT_RECREATED);
    return true;
}

static bool drop_records(struct sim *sim, int index, bool copied)
{
    struct sim_log *log = &sim->logs[index];
    struct sim_source *source = &sim->links->sources[sim->cluster][index];
    if (copied ? source->next < 2 : source->next + 1 >= log->lso)
        return false;
    if (copied)
        log->start = source->next;
    else
        log->start = sim_between(sim, source->next + 1, log->lso + 1);
    SIM_NOTE(sim, "retention takes out/%d up to %lld, copied up to %lld", log->partition,
             (long long)log->start, (long long)source->next);
    source->may_stop = !copied;
    sim_felt(sim, copied ? FAULT_OLD_RECORDS : FAULT_RETENTION);
    return true;
}

static bool strike(struct sim *sim)
{
    struct sim_links *links = sim->links;
    int p = (int)sim_draw(sim, (uint64_t)links->partitions[sim->cluster][1]);
    int log = sim_links_log(TOPIC_OUT, p);
    switch (links->disaster) {
    case DISASTER_TRUNCATED:
        return truncate_source(sim, log);
    case DISASTER_RECREATED:
        return recreate(sim);
    case DISASTER_OVERTAKEN:
    case DISASTER_OLD_RECORDS:
        return drop_records(sim, log, links->disaster == DISASTER_OLD_RECORDS);
    case DISASTER_NONE:
    case DISASTERS:
        break;
    }
    return true;
}

void sim_links_chaos(struct sim *sim)
{
    struct sim_links *links = sim->links;
    int c = sim->cluster;
    if (sim_inject(sim, FAULT_CUT, links->cut)) {
        links->cut_until_us[c] = sim->now_us + sim_between(sim, 1000, links->cut_us);
        SIM_NOTE(sim, "cannot reach its source until %.3f", (double)links->cut_until_us[c] / 1e6);
    }
    if (sim->now_us < sim->swarm.load_us / 2)
        return;
    if (links->grows[c] && links->partitions[c][0] < SHARDS_MAX) {
        links->grows[c] = false;
        links->partitions[c][0]++;
        SIM_NOTE(sim, "in grows to %d partitions", links->partitions[c][0]);
        sim_felt(sim, FAULT_GROWN);
    }
    if (links->disaster != DISASTER_NONE && links->disaster_cluster == c && strike(sim))
        links->disaster = DISASTER_NONE;
}

// ---- Operators: a partition that has stopped is skipped to where it can go on

static int64_t way_on(const struct sim *sim, const struct sim_source *source, int index)
{
    const struct sim_log *log = &sim->logs[index];
    bool lost = source->at_life != source->life && source->next > source->shared;
    if (lost || source->next > log->count)
        return source->shared > log->start ? source->shared : log->start;
    if (source->next < log->start)
        return log->start;
    int64_t bad = sim_links_ahead(log->records, log->count, source->next);
    return bad < log->count ? bad + 1 : log->count;
}

static void skip(struct sim *target, int index)
{
    struct sim *sim = target->world->clusters[1 - target->cluster];
    struct sim_source *source = &sim->links->sources[sim->cluster][index];
    const struct sim_log *log = &sim->logs[index];
    struct buf buf = {0};
    struct link_skip order = {.source = slice_str(sim->cluster == 0 ? "A" : "B"),
                              .topic = slice_str(sim_topic_name(log->topic)),
                              .partition = log->partition,
                              .from = source->next,
                              .to = way_on(sim, source, index),
                              .actor = SLICE_LIT("sim"),
                              .reason = SLICE_LIT("to go on"),
                              .time_ms = 1};
    link_key(order.source, order.topic, order.partition, &buf);
    int32_t slot = hash_partition(buf_slice(&buf), target->swarm.shards);
    buf_clear(&buf);
    buf_slice_put(&buf, LINK_SKIP_PREFIX);
    link_key(order.source, order.topic, order.partition, &buf);
    struct slice key = sim_copy(target, buf_slice(&buf));
    buf_clear(&buf);
    link_skip_encode(&order, &buf);
    SIM_NOTE(target, "operator: %.*s from %lld to %lld", SLICE_FMT(key), (long long)order.from,
             (long long)order.to);
    sim_append_plain(target, sim_links_log(TOPIC_LINKS, slot), key, buf_slice(&buf), false);
    source->order_key = key;
    source->order = sim_copy(target, buf_slice(&buf));
    source->order_log = sim_links_log(TOPIC_LINKS, slot);
    buf_fini(&buf);
    source->asked = true;
    target->stats.stuck++;
}

void sim_links_operate(struct sim *sim)
{
    for (int index = 0; index < LINK_LOGS; index++) {
        struct sim_source *source = &sim->links->sources[sim_source_of(sim)][index];
        if (source->stopped && !source->asked) {
            skip(sim, index);
        } else if (source->order.len > 0 && !source->asked) {
            // Once more, by mistake: it must not be obeyed.
            sim_append_plain(sim, source->order_log, source->order_key, source->order, false);
            source->order = SLICE_NONE;
        }
    }
    sim_at(sim, sim->now_us + OPERATE_US, (struct sim_event){.type = EVENT_OPERATE, .worker = -1});
}
