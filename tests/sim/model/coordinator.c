// SPDX-License-Identifier: Apache-2.0
// The transaction coordinator, protocol 1 (what librdkafka 2.0.2 speaks): EndTxn does not bump the
// epoch, so a request that comes late can settle a later transaction of the same epoch
// (KAFKA-17754). An answer to EndTxn says that the decision is written; the markers follow, one
// partition at a time. InitProducerId ends what is open with a higher epoch.
#include "sim.h"

#include "core/assert.h"

static void write_markers(struct sim *sim, int pid)
{
    struct sim_transaction *txn = &sim->transactions[pid];
    txn->markers_left = txn->logs;
    int64_t at_us = sim->now_us;
    for (int log = 0; log < 64; log++) {
        if ((txn->logs >> log & 1) == 0)
            continue;
        int64_t pause_us = sim_between(sim, 50, 2000);
        if (sim_hit(sim, FAULT_MARKER_SLOW, sim->swarm.marker_slow))
            pause_us += sim_between(sim, 1000, 2000000);
        // Each goes to its own node: they overtake one another.
        sim_at(sim, at_us + pause_us,
               (struct sim_event){
                   .type = EVENT_MARKER, .worker = -1, .a = (int16_t)log, .call = (uint32_t)pid});
    }
}

static void decide(struct sim *sim, int pid, bool commit, int32_t marker_epoch)
{
    struct sim_transaction *txn = &sim->transactions[pid];
    txn->state = commit ? TXN_COMMITTING : TXN_ABORTING;
    txn->marker_epoch = marker_epoch;
    SIM_NOTE(sim, "txn pid %d epoch %d %s", pid, txn->epoch, commit ? "commits" : "aborts");
    if (commit && sim->links != NULL)
        sim_links_check_decided(sim, pid);
    if (commit && (txn->logs >> OFFSETS_LOG & 1))
        sim_group_decided(sim, txn->group, pid);
    write_markers(sim, pid);
    if (txn->markers_left == 0)
        txn->state = commit ? TXN_COMMITTED : TXN_ABORTED;
}

void sim_on_marker(struct sim *sim, int pid, int log)
{
    struct sim_transaction *txn = &sim->transactions[pid];
    KA_ASSERT(txn->markers_left >> log & 1);
    bool commit = txn->state == TXN_COMMITTING;
    if (log == OFFSETS_LOG)
        sim_group_settle(sim, txn->group, pid, commit);
    else
        sim_append_marker(sim, log, pid, txn->marker_epoch, commit);
    txn->markers_left &= ~(UINT64_C(1) << log);
    if (txn->markers_left == 0)
        txn->state = commit ? TXN_COMMITTED : TXN_ABORTED;
}

static void concurrent(struct sim *sim, struct sim_req *req)
{
    sim_felt(sim, FAULT_CONCURRENT);
    sim_reply(sim, req, CODE_CONCURRENT);
}

static void on_init(struct sim *sim, struct sim_req *req)
{
    struct sim_transaction *txn = &sim->transactions[req->pid];
    switch (txn->state) {
    case TXN_ONGOING:
        txn->epoch++;
        decide(sim, req->pid, false, txn->epoch);
        concurrent(sim, req);
        return;
    case TXN_COMMITTING:
    case TXN_ABORTING:
        concurrent(sim, req);
        return;
    case TXN_EMPTY:
    case TXN_COMMITTED:
    case TXN_ABORTED:
        txn->state = TXN_EMPTY;
        txn->logs = 0;
        req->value = ++txn->epoch;
        SIM_NOTE(sim, "init pid %d epoch %d", req->pid, txn->epoch);
        sim_reply(sim, req, CODE_OK);
        return;
    }
}

static void on_add(struct sim *sim, struct sim_req *req)
{
    struct sim_transaction *txn = &sim->transactions[req->pid];
    if (txn->state == TXN_COMMITTING || txn->state == TXN_ABORTING) {
        concurrent(sim, req);
        return;
    }
    if (txn->state != TXN_ONGOING) {
        txn->state = TXN_ONGOING;
        txn->begun_us = sim->now_us;
        txn->logs = 0;
        txn->serial = ++sim->transaction_serial;
    }
    txn->logs |= req->logs;
    if (req->type == REQ_ADD_OFFSETS)
        txn->group = req->group;
    sim_reply(sim, req, CODE_OK);
}

static void on_end(struct sim *sim, struct sim_req *req)
{
    struct sim_transaction *txn = &sim->transactions[req->pid];
    switch (txn->state) {
    case TXN_ONGOING:
        // Only with rule 4 off. Else a late AddPartitions has opened an empty one, and this is the
        // EndTxn of the one before, once more.
        if (req->commit && req->txn != NULL && !req->txn->decided &&
            (txn->logs >> OFFSETS_LOG & 1) == 0)
            for (int p = 0; p < sim->groups[req->group].partitions; p++)
                sim_check_decided(sim, req->group, p, req->txn);
        decide(sim, req->pid, req->commit, txn->epoch);
        sim_reply(sim, req, CODE_OK);
        return;
    case TXN_COMMITTING:
    case TXN_ABORTING:
        if (req->commit == (txn->state == TXN_COMMITTING))
            concurrent(sim, req);
        else
            sim_reply(sim, req, CODE_INVALID_STATE);
        return;
    case TXN_COMMITTED:
        if (req->commit)
            sim_felt(sim, FAULT_REPEATED);
        sim_reply(sim, req, req->commit ? CODE_OK : CODE_INVALID_STATE);
        return;
    case TXN_ABORTED:
        sim_reply(sim, req, req->commit ? CODE_INVALID_STATE : CODE_OK);
        return;
    case TXN_EMPTY:
        sim_reply(sim, req, CODE_INVALID_STATE);
        return;
    }
}

void sim_on_transaction(struct sim *sim, struct sim_req *req)
{
    if (req->type == REQ_INIT) {
        on_init(sim, req);
        return;
    }
    if (req->epoch != sim->transactions[req->pid].epoch) {
        sim_reply(sim, req, CODE_FENCED);
        return;
    }
    if (req->type == REQ_END_TXN)
        on_end(sim, req);
    else
        on_add(sim, req);
}

bool sim_in_transaction(const struct sim *sim, int pid, int32_t epoch, int log, enum sim_code *code)
{
    const struct sim_transaction *txn = &sim->transactions[pid];
    *code = CODE_OK;
    if (epoch != txn->epoch)
        *code = CODE_FENCED;
    else if (txn->state != TXN_ONGOING || (txn->logs >> log & 1) == 0)
        *code = CODE_INVALID_STATE;
    return *code == CODE_OK;
}

// What has been open for longer than its timeout is aborted with a higher epoch.
void sim_on_sweep(struct sim *sim)
{
    for (int pid = 0; pid < PIDS; pid++) {
        struct sim_transaction *txn = &sim->transactions[pid];
        if (txn->state != TXN_ONGOING ||
            sim->now_us - txn->begun_us < sim->swarm.transaction_ms * 1000)
            continue;
        SIM_NOTE(sim, "txn pid %d timed out", pid);
        txn->epoch++;
        decide(sim, pid, false, txn->epoch);
    }
    sim_at(sim, sim->now_us + sim->swarm.sweep_ms * 1000,
           (struct sim_event){.type = EVENT_SWEEP, .worker = -1});
}
