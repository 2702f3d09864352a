// SPDX-License-Identifier: Apache-2.0
// Partitions: data and control records in one sequence of offsets, the last stable offset, and what
// a partition knows of its producers (epoch, sequence, the open transaction). The fate of a record
// is noted when its marker is written, so a read_committed reader need not carry aborted lists.
#include "links.h"

#include "core/hash.h"

#include <stdlib.h>
#include <string.h>

enum {
    VALUE_MAX = 3000, // message.max.bytes: what a broker takes
    HEAD = 80         // the id stands here
};

static const char *const topic_names[ALL_TOPICS] = {
    "in", "app.inbox", "app.state", "app.history", "app.dlq", "app.links", "out"};

const char *sim_topic_name(enum sim_topic topic)
{
    return topic_names[topic];
}

int sim_log_of(const struct sim *sim, enum sim_topic topic, int32_t partition)
{
    if (sim->links != NULL)
        return sim_links_log(topic, partition);
    if (topic == TOPIC_USER)
        return partition;
    return USERS + ((int)topic - 1) * sim->swarm.shards + partition;
}

int sim_log_named(const struct sim *sim, struct slice topic, int32_t partition)
{
    for (int i = 0; i < ALL_TOPICS; i++)
        if (slice_eq(topic, slice_str(topic_names[i])))
            return sim_log_of(sim, (enum sim_topic)i, partition);
    return -1;
}

struct sim_record *sim_append(struct sim *sim, struct sim_log *log)
{
    if (log->count == log->cap) {
        log->cap = log->cap == 0 ? 256 : log->cap * 2;
        log->records = realloc(log->records, (size_t)log->cap * sizeof *log->records);
        if (log->records == NULL)
            abort();
    }
    struct sim_record *record = &log->records[log->count++];
    *record = (struct sim_record){.at_us = sim->now_us, .pid = -1};
    sim->stats.records++;
    return record;
}

void sim_move_lso(struct sim *sim, struct sim_log *log)
{
    int64_t lso = log->count;
    for (int pid = 0; pid < PIDS; pid++)
        if (log->producers[pid].open_first >= 0 && log->producers[pid].open_first < lso)
            lso = log->producers[pid].open_first;
    if (lso == log->lso)
        return;
    for (int64_t i = log->lso; i < lso; i++)
        log->records[i].stable_us = sim->now_us;
    log->lso = lso;
    sim_check_log(sim, (int)(log - sim->logs));
    sim_consumer_wake(sim, log);
}

void sim_append_plain(struct sim *sim, int log, struct slice key, struct slice value, bool cloud)
{
    struct sim_record *record = sim_append(sim, &sim->logs[log]);
    record->key = sim_copy(sim, key);
    record->value = sim_copy(sim, value);
    record->fate = FATE_COMMITTED;
    record->cloud = cloud;
    sim_move_lso(sim, &sim->logs[log]);
}

static bool seen_before(const struct sim_producer_state *state, const struct sim_req *req,
                        int64_t *offset)
{
    for (int i = 0; i < DEDUPED_BATCHES; i++) {
        if (state->batches[i].count != req->batch.count || state->batches[i].seq != req->seq)
            continue;
        *offset = state->batches[i].offset;
        return true;
    }
    return false;
}

static enum sim_code too_large(struct sim *sim, const struct sim_log *log,
                               const struct sim_out *out)
{
    SIM_NOTE(sim, "%s/%d refuses %zu bytes of %.*s: %.100s", topic_names[log->topic],
             log->partition, out->value.len, SLICE_FMT(out->key), out->value.ptr);
    return CODE_TOO_LARGE;
}

// Some starts cannot be written, for a reason that nobody could know before.
static bool refused(const struct sim *sim, const struct sim_log *log, const struct sim_out *out)
{
    if (sim->links != NULL)
        return out->value.len > (log->topic == TOPIC_USER ? TOPIC_MAX : VALUE_MAX);
    if (out->value.len > VALUE_MAX && log->topic != TOPIC_STATE)
        return true;
    if (log->topic != TOPIC_HISTORY || sim->swarm.refuse == 0 || out->value.len < HEAD ||
        hash_bytes(out->key, 0) % (uint64_t)sim->swarm.refuse != 0)
        return false;
    return memmem(out->value.ptr, HEAD, "#0\"", 3) != NULL;
}

static enum sim_code admit(struct sim *sim, struct sim_log *log, const struct sim_req *req)
{
    struct sim_producer_state *state = &log->producers[req->pid];
    enum sim_code code = CODE_OK;
    if (req->epoch < state->epoch)
        return CODE_FENCED;
    // KIP-890 part 1: the first record of a transaction is verified with the coordinator.
    if (state->open_first < 0 && !sim_in_transaction(sim, req->pid, req->epoch, req->log, &code))
        return code == CODE_INVALID_STATE ? CODE_RETRY : code;
    if (req->epoch > state->epoch) {
        state->epoch = req->epoch;
        state->next_seq = 0;
        for (int i = 0; i < DEDUPED_BATCHES; i++)
            state->batches[i].count = 0;
    }
    if (req->seq != state->next_seq)
        return CODE_SEQUENCE;
    for (const struct sim_out *out = req->batch.head; out != NULL; out = out->next)
        if (refused(sim, log, out))
            return too_large(sim, log, out);
    return CODE_OK;
}

void sim_on_produce(struct sim *sim, struct sim_req *req)
{
    struct sim_log *log = &sim->logs[req->log];
    struct sim_producer_state *state = &log->producers[req->pid];
    if (req->epoch == state->epoch && seen_before(state, req, &req->value)) {
        sim_felt(sim, FAULT_REPEATED);
        sim_reply(sim, req, CODE_OK);
        return;
    }
    enum sim_code code = admit(sim, log, req);
    if (code != CODE_OK) {
        if (code == CODE_TOO_LARGE)
            sim_felt(sim, FAULT_TOO_LARGE);
        sim_reply(sim, req, code);
        return;
    }
    req->value = log->count;
    if (state->open_first < 0)
        state->open_first = log->count;
    int count = 0;
    for (const struct sim_out *out = req->batch.head; count < req->batch.count; out = out->next) {
        struct sim_record *record = sim_append(sim, log);
        record->key = out->key;
        record->value = out->value;
        record->pid = (int8_t)req->pid;
        record->headers = out->headers;
        record->header_count = out->header_count;
        record->timestamp_ms = out->timestamp_ms;
        record->transaction = sim->transactions[req->pid].serial;
        count++;
    }
    state->next_seq += req->batch.count;
    state->batches[state->batch_next].seq = req->seq;
    state->batches[state->batch_next].count = req->batch.count;
    state->batches[state->batch_next].offset = req->value;
    state->batch_next = (state->batch_next + 1) % DEDUPED_BATCHES;
    sim_reply(sim, req, CODE_OK);
}

void sim_append_marker(struct sim *sim, int index, int pid, int32_t epoch, bool commit)
{
    struct sim_log *log = &sim->logs[index];
    struct sim_producer_state *state = &log->producers[pid];
    struct sim_record *marker = sim_append(sim, log);
    marker->kind = commit ? RECORD_COMMIT : RECORD_ABORT;
    marker->pid = (int8_t)pid;
    marker->transaction = sim->transactions[pid].serial;
    if (state->open_first >= 0) {
        for (int64_t i = state->open_first; i < log->count; i++) {
            struct sim_record *record = &log->records[i];
            if (record->pid == pid && record->kind == RECORD_DATA && record->fate == FATE_OPEN)
                record->fate = commit ? FATE_COMMITTED : FATE_ABORTED;
        }
    }
    state->open_first = -1;
    if (epoch > state->epoch) { // sequences of the new epoch begin at 0
        state->epoch = epoch;
        state->next_seq = 0;
        for (int i = 0; i < DEDUPED_BATCHES; i++)
            state->batches[i].count = 0;
    }
    sim_move_lso(sim, log);
}

// ---- An unclean election

// A marker at or behind `at` ends a transaction that begins before it.
static bool splits(const struct sim_log *log, int64_t at)
{
    for (int64_t i = at; i < log->count; i++) {
        if (log->records[i].kind == RECORD_DATA)
            continue;
        for (int64_t j = 0; j < at; j++)
            if (log->records[j].kind == RECORD_DATA &&
                log->records[j].transaction == log->records[i].transaction)
                return true;
    }
    return false;
}

// Takes about `records` from the end, whole transactions, while none is open. The new leader knows
// nothing of what it has not got: sequences that go on from there are refused.
bool sim_truncate(struct sim *sim, int index, int64_t records)
{
    struct sim_log *log = &sim->logs[index];
    int64_t at = log->count - records;
    if (log->lso < log->count)
        return false;
    while (at > log->start && splits(log, at))
        at--;
    if (at <= log->start)
        return false;
    SIM_NOTE(sim, "%s/%d loses its end, from %lld on", topic_names[log->topic], log->partition,
             (long long)at);
    log->count = log->lso = at;
    for (int pid = 0; pid < PIDS; pid++) {
        log->producers[pid].next_seq = -1;
        for (int i = 0; i < DEDUPED_BATCHES; i++)
            log->producers[pid].batches[i].count = 0;
    }
    sim_check_truncated(sim, index);
    return true;
}
