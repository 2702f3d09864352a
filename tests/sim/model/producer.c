// SPDX-License-Identifier: Apache-2.0
// A transactional producer as librdkafka 2.0.2 is one: records wait per partition, the partition is
// added to the transaction, then they are sent, one request per partition at a time; offsets,
// EndTxn and everything else is tried again by itself after a lost connection, and then the
// producer is dirty: the first request may still arrive.
#include "sim.h"

#include "core/assert.h"

#include <string.h>

enum {
    CALL_US = 5000000,  // LANE_THREAD_CALL_TIMEOUT_MS
    INIT_US = 10000000, // INIT_TIMEOUT_MS of the committer
    CONCURRENT_US = 15000,
    LINGER_US = 5000
};

struct sim_producer *sim_producer_new(struct sim_committer *committer, int index)
{
    struct sim *sim = committer->sim;
    struct sim_producer *producer = arena_zalloc(&sim->arena, sizeof *producer);
    producer->sim = sim;
    producer->lane = committer->lane;
    producer->committer = committer;
    producer->index = index;
    producer->pid = committer->lane->client * LANE_PRODUCERS + index;
    producer->epoch = -1;
    return producer;
}

static struct sim_req *request(struct sim_producer *producer, enum sim_request type, uint32_t call)
{
    struct sim_req *req =
        sim_req(producer->sim, type, OWNER_PRODUCER, producer, call, producer->lane->life->worker);
    req->pid = producer->pid;
    req->epoch = producer->epoch;
    return req;
}

static void later(struct sim_producer *producer, enum sim_event_type type, int64_t us,
                  uint32_t call)
{
    sim_at(producer->sim, producer->sim->now_us + us,
           (struct sim_event){.type = (uint8_t)type,
                              .worker = (int8_t)producer->lane->life->worker,
                              .call = call,
                              .ptr = producer});
}

int64_t sim_retry_us(struct sim *sim, enum sim_code code)
{
    return code == CODE_CONCURRENT ? CONCURRENT_US : sim_between(sim, 1000, 20000);
}

// ---- Records

static void pump_later(struct sim_producer *producer, int64_t us)
{
    if (producer->pump_due)
        return;
    producer->pump_due = true;
    later(producer, EVENT_PUMP, us, 0);
}

void sim_producer_begin(struct sim_producer *producer)
{
    producer->begun = true;
    producer->added = 0;
    producer->offsets_added = false;
    producer->failed = KA_OK;
    for (int i = 0; i < SLOTS_MAX; i++)
        producer->spans[i] = (struct lane_span){.tag = i, .first = -1, .last = -1};
}

void sim_producer_add(struct sim_producer *producer, int log, const struct output *output,
                      int32_t tag)
{
    struct sim *sim = producer->sim;
    struct sim_outbox *outbox = &producer->outboxes[log];
    struct sim_out *out = arena_alloc(&sim->arena, sizeof *out);
    *out = (struct sim_out){
        .key = sim_copy(sim, output->key), .value = sim_copy(sim, output->value), .tag = tag};
    if (sim->links != NULL)
        sim_links_headers(sim, out, output);
    if (outbox->tail == NULL)
        outbox->head = out;
    else
        outbox->tail->next = out;
    outbox->tail = out;
    if (producer->waiting == 0)
        pump_later(producer, sim_between(sim, 0, LINGER_US));
    producer->waiting |= UINT64_C(1) << log;
}

static void send_batch(struct sim_producer *producer, int log)
{
    struct sim_outbox *outbox = &producer->outboxes[log];
    if (outbox->sent.head == NULL) { // else it is the same again
        outbox->sent.head = outbox->head;
        outbox->sent.count = 0;
        for (const struct sim_out *out = outbox->head; out != NULL; out = out->next)
            outbox->sent.count++;
        outbox->head = outbox->tail = NULL;
    }
    producer->waiting &= ~(UINT64_C(1) << log);
    producer->sending |= UINT64_C(1) << log;
    struct sim_req *req = request(producer, REQ_PRODUCE, producer->pump_call);
    req->log = log;
    req->seq = outbox->next_seq;
    req->batch = outbox->sent;
    sim_send(producer->sim, &producer->conns, req);
}

void sim_producer_on_pump(struct sim_producer *producer)
{
    producer->pump_due = false;
    sim_producer_pump(producer);
}

void sim_producer_pump(struct sim_producer *producer)
{
    if (producer->dead || producer->fatal != KA_OK)
        return;
    uint64_t unknown = producer->waiting & ~producer->added;
    if (unknown != 0 && !producer->add_in_flight) {
        producer->add_in_flight = true;
        struct sim_req *req = request(producer, REQ_ADD_PARTITIONS, producer->pump_call);
        req->logs = unknown;
        sim_send(producer->sim, &producer->conns, req);
    }
    uint64_t ready = producer->waiting & producer->added & ~producer->sending;
    for (int log = 0; ready >> log != 0; log++)
        if (ready >> log & 1)
            send_batch(producer, log);
}

static void fatal(struct sim_producer *producer, enum ka_err err)
{
    SIM_NOTE(producer->sim, "producer pid %d epoch %d: %s", producer->pid, producer->epoch,
             err_name(err));
    producer->fatal = err;
    producer->waiting = 0;
    producer->sending = 0;
    producer->add_in_flight = false;
    sim_producer_go_on(producer);
}

static void on_added(struct sim_producer *producer, const struct sim_req *req)
{
    producer->add_in_flight = false;
    switch (req->code) {
    case CODE_OK:
        producer->added |= req->logs;
        sim_producer_pump(producer);
        sim_producer_go_on(producer);
        return;
    case CODE_TRANSPORT:
    case CODE_RETRY:
    case CODE_CONCURRENT:
        pump_later(producer, sim_retry_us(producer->sim, req->code));
        return;
    case CODE_FENCED:
        fatal(producer, KA_ERR_FENCED);
        return;
    case CODE_INVALID_STATE:
    case CODE_SEQUENCE:
    case CODE_TOO_LARGE:
    case CODE_ILLEGAL_GENERATION:
    case CODE_UNKNOWN_MEMBER:
    case CODE_REBALANCE:
    case CODE_UNSTABLE:
    case CODE_MISSING:
        fatal(producer, KA_ERR_FATAL);
        return;
    }
}

static void note_delivered(struct sim_producer *producer, const struct sim_req *req)
{
    const struct sim_out *out = req->batch.head;
    for (int i = 0; i < req->batch.count; i++, out = out->next) {
        int64_t offset = req->value + i;
        if (out->tag < 0)
            continue;
        KA_ASSERT(out->tag < SLOTS_MAX);
        struct lane_span *span = &producer->spans[out->tag];
        if (span->first < 0 || offset < span->first)
            span->first = offset;
        if (offset > span->last)
            span->last = offset;
    }
}

static void end_batch(struct sim_producer *producer, const struct sim_req *req)
{
    struct sim_outbox *outbox = &producer->outboxes[req->log];
    producer->sending &= ~(UINT64_C(1) << req->log);
    outbox->next_seq += req->code == CODE_OK ? outbox->sent.count : 0;
    outbox->sent = (struct sim_batch){0};
    if (outbox->head != NULL)
        producer->waiting |= UINT64_C(1) << req->log;
}

static void try_later(struct sim_producer *producer, const struct sim_req *req)
{
    producer->sending &= ~(UINT64_C(1) << req->log);
    producer->waiting |= UINT64_C(1) << req->log;
    pump_later(producer, sim_retry_us(producer->sim, req->code));
}

static void on_produced(struct sim_producer *producer, const struct sim_req *req)
{
    switch (req->code) {
    case CODE_OK:
        note_delivered(producer, req);
        end_batch(producer, req);
        break;
    case CODE_TOO_LARGE:
        end_batch(producer, req);
        producer->failed = KA_ERR_TOO_LARGE;
        producer->dirty = true;
        break;
    case CODE_MISSING:
        if (sim_draw(producer->sim, 4) != 0) { // it looks again for a while
            try_later(producer, req);
            return;
        }
        end_batch(producer, req);
        if (producer->failed == KA_OK)
            producer->failed = KA_ERR_NOT_FOUND;
        break;
    case CODE_TRANSPORT:
    case CODE_RETRY:
    case CODE_CONCURRENT:
        try_later(producer, req);
        return;
    case CODE_FENCED:
        fatal(producer, KA_ERR_FENCED);
        return;
    case CODE_SEQUENCE:
    case CODE_INVALID_STATE:
    case CODE_ILLEGAL_GENERATION:
    case CODE_UNKNOWN_MEMBER:
    case CODE_REBALANCE:
    case CODE_UNSTABLE:
        fatal(producer, KA_ERR_FATAL);
        return;
    }
    sim_producer_pump(producer);
    sim_producer_go_on(producer);
}

// ---- Jobs: what the committer's thread is blocked in

static void done(struct sim_producer *producer, enum lane_event_type type, enum ka_err err)
{
    struct sim_mail mail = {
        .type = type, .error = err, .producer = producer->index, .dirty = producer->dirty};
    if (type == LANE_EVENT_FLUSHED) {
        mail.spans = arena_alloc(&producer->sim->arena, sizeof producer->spans);
        for (int i = 0; i < SLOTS_MAX; i++)
            if (producer->spans[i].first >= 0)
                mail.spans[mail.span_count++] = producer->spans[i];
    }
    if (type == LANE_EVENT_PRODUCER_READY)
        mail.handle = producer;
    producer->job = JOB_NONE;
    producer->call++;
    sim_committer_done(producer->committer, &mail);
}

static void ask(struct sim_producer *producer, enum sim_request type)
{
    const struct sim_commit *commit = producer->commit;
    struct sim_req *req = request(producer, type, producer->call);
    req->group = producer->lane->index;
    req->commit = producer->job == JOB_COMMIT;
    if (type == REQ_ADD_OFFSETS)
        req->logs = UINT64_C(1) << OFFSETS_LOG;
    if (type == REQ_END_TXN && commit != NULL && producer->job == JOB_COMMIT)
        req->txn = commit->txn;
    if (type == REQ_TXN_OFFSETS) {
        req->offsets = commit->offsets;
        req->offset_count = commit->count;
        req->generation = commit->generation;
        req->member = commit->member;
        req->txn = commit->txn;
    }
    sim_send(producer->sim, &producer->conns, req);
}

static const enum sim_request commit_stages[] = {REQ_ADD_OFFSETS, REQ_TXN_OFFSETS, REQ_END_TXN};

// Waits for the deliveries; then nothing, EndTxn, or the offsets and EndTxn.
void sim_producer_go_on(struct sim_producer *producer)
{
    bool quiet = producer->waiting == 0 && producer->sending == 0 && !producer->add_in_flight;
    if (producer->dead || producer->job == JOB_NONE || producer->job == JOB_RESET)
        return;
    if (producer->job == JOB_FLUSH && (quiet || producer->fatal != KA_OK)) {
        done(producer, LANE_EVENT_FLUSHED,
             producer->fatal != KA_OK ? producer->fatal : producer->failed);
    } else if (producer->job == JOB_ABORT && producer->stage == 0) {
        if (producer->fatal != KA_OK) {
            done(producer, LANE_EVENT_ABORT_FAILED, producer->fatal);
        } else if (quiet && producer->added == 0 && !producer->offsets_added) {
            done(producer, LANE_EVENT_ABORTED, KA_OK);
        } else if (quiet) {
            producer->stage = 2;
            ask(producer, REQ_END_TXN);
        }
    }
}

static void deadline(struct sim_producer *producer, int64_t us)
{
    producer->deadline_us = producer->sim->now_us + us;
    later(producer, EVENT_JOB, us, producer->call);
}

void sim_producer_job(struct sim_producer *producer, enum sim_job job, struct sim_commit *commit)
{
    KA_ASSERT(producer->job == JOB_NONE && !producer->dead);
    producer->job = job;
    producer->commit = commit;
    producer->stage = 0;
    producer->call++;
    deadline(producer, job == JOB_RESET ? INIT_US : CALL_US);
    if (job == JOB_RESET) {
        ask(producer, REQ_INIT);
        return;
    }
    if (job == JOB_COMMIT) {
        if (commit->count == 0) // only with rule 4 off: there is nothing to send
            producer->stage = 2;
        if (producer->stage == 2 && producer->added == 0) {
            commit->txn->decided = true;
            done(producer, LANE_EVENT_COMMITTED, KA_OK);
        } else {
            ask(producer, commit_stages[producer->stage]);
        }
        return;
    }
    if (job == JOB_ABORT) { // what is not sent is purged
        for (int log = 0; log < LOGS_MAX; log++) {
            producer->outboxes[log].head = producer->outboxes[log].tail = NULL;
            if (producer->outboxes[log].sent.head == NULL)
                producer->waiting &= ~(UINT64_C(1) << log);
        }
    }
    sim_producer_pump(producer);
    sim_producer_go_on(producer);
}

static void give_up(struct sim_producer *producer, enum ka_err err)
{
    switch (producer->job) {
    case JOB_RESET:
        done(producer, LANE_EVENT_PRODUCER_FAILED, err);
        return;
    case JOB_FLUSH:
        done(producer, LANE_EVENT_FLUSHED, err);
        return;
    case JOB_COMMIT:
        done(producer, LANE_EVENT_COMMIT_FAILED, err);
        return;
    case JOB_ABORT:
        done(producer, LANE_EVENT_ABORT_FAILED, err);
        return;
    case JOB_NONE:
    case JOB_TOKEN:
    case JOB_SAMPLE:
        break;
    }
    KA_ASSERT(false);
}

static void on_timeout(struct sim_producer *producer)
{
    SIM_NOTE(producer->sim, "producer pid %d: job %d stage %d timed out", producer->pid,
             (int)producer->job, producer->stage);
    if (producer->job == JOB_COMMIT && producer->stage < 2)
        give_up(producer, KA_ERR_RETRY);
    else
        give_up(producer, producer->job == JOB_COMMIT  ? KA_ERR_UNCLEAR
                          : producer->job == JOB_ABORT ? KA_ERR_RETRY
                                                       : KA_ERR_TIMEOUT);
}

static enum sim_request request_in_hand(const struct sim_producer *producer)
{
    if (producer->job == JOB_RESET)
        return REQ_INIT;
    return producer->job == JOB_COMMIT ? commit_stages[producer->stage] : REQ_END_TXN;
}

// A request in hand is tried again.
static void on_retry(struct sim_producer *producer)
{
    ask(producer, request_in_hand(producer));
}

static void next_stage(struct sim_producer *producer, const struct sim_req *req)
{
    if (producer->job == JOB_RESET) {
        producer->epoch = (int32_t)req->value;
        done(producer, LANE_EVENT_PRODUCER_READY, KA_OK);
        return;
    }
    if (producer->job == JOB_ABORT) {
        producer->begun = false;
        done(producer, LANE_EVENT_ABORTED, KA_OK);
        return;
    }
    if (producer->stage == 0)
        producer->offsets_added = true;
    int64_t *proof_us = &producer->lane->proof_us[producer->lane->index];
    if (producer->stage == 1 && req->value > *proof_us)
        *proof_us = req->value;
    if (producer->stage == 2) {
        producer->begun = false;
        done(producer, LANE_EVENT_COMMITTED, KA_OK);
        return;
    }
    producer->stage++;
    producer->call++;
    deadline(producer, CALL_US);
    ask(producer, commit_stages[producer->stage]);
}

static void on_job_answer(struct sim_producer *producer, const struct sim_req *req)
{
    switch (req->code) {
    case CODE_OK:
        next_stage(producer, req);
        return;
    case CODE_TRANSPORT:
        producer->dirty |= req->type != REQ_INIT;
        later(producer, EVENT_JOB, sim_retry_us(producer->sim, req->code),
              producer->call | 1U << 31);
        return;
    case CODE_RETRY:
    case CODE_CONCURRENT:
        later(producer, EVENT_JOB, sim_retry_us(producer->sim, req->code),
              producer->call | 1U << 31);
        return;
    case CODE_ILLEGAL_GENERATION:
    case CODE_UNKNOWN_MEMBER:
        give_up(producer, KA_ERR_ABORT);
        return;
    case CODE_FENCED:
        producer->fatal = KA_ERR_FENCED;
        give_up(producer, KA_ERR_FENCED);
        return;
    case CODE_INVALID_STATE:
    case CODE_SEQUENCE:
    case CODE_TOO_LARGE:
    case CODE_REBALANCE:
    case CODE_UNSTABLE:
    case CODE_MISSING:
        producer->fatal = KA_ERR_FATAL;
        give_up(producer, KA_ERR_FATAL);
        return;
    }
}

void sim_producer_answer(struct sim_producer *producer, struct sim_req *req)
{
    if (producer->dead || producer->lane->life->dead)
        return;
    if (req->type == REQ_ADD_PARTITIONS || req->type == REQ_PRODUCE) {
        if (producer->fatal != KA_OK)
            return;
        if (req->type == REQ_PRODUCE)
            on_produced(producer, req);
        else
            on_added(producer, req);
        return;
    }
    if (req->call == producer->call && producer->job != JOB_NONE)
        on_job_answer(producer, req);
}

// EVENT_JOB: the high bit says that a request is to be sent again, else the call has timed out.
void sim_producer_event(struct sim_producer *producer, uint32_t call)
{
    bool again = (call >> 31) != 0;
    if (producer->dead || producer->lane->life->dead || producer->job == JOB_NONE ||
        (call & ~(1U << 31)) != producer->call)
        return;
    if (again)
        on_retry(producer);
    else
        on_timeout(producer);
}
