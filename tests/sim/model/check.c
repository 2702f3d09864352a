// SPDX-License-Identifier: Apache-2.0
// What must hold at each step: offsets, fencing, dispatches, timers, restores; and a read_committed
// reader of everything. The histories of instances are in check_history.c, the oracle in
// check_replay.c.
#include "sim.h"

#include "core/assert.h"
#include "core/command.h"
#include "core/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH_SLACK = 250 }; // records of one transaction, which have one bound

int sim_shard_of(const struct sim *sim, struct slice key)
{
    return hash_partition(key, sim->swarm.shards);
}

void sim_check_init(struct sim *sim)
{
    struct sim_check *check = &sim->check;
    check->instance_cap = 256;
    while (check->instance_cap < (size_t)sim->swarm.sagas * 4)
        check->instance_cap *= 2;
    check->instances = arena_zalloc(&sim->arena, check->instance_cap * sizeof *check->instances);
    for (int i = 0; i < USERS; i++)
        check->starts[i] = arena_zalloc(&sim->arena, (size_t)sim->swarm.sagas + 1);
    struct shard_config config;
    sim_shard_config(sim, &config, "check");
    for (int i = 0; i < sim->swarm.shards; i++)
        check->shadow[i] = shard_restore_new(&config.limits);
}

void sim_check_fini(struct sim *sim)
{
    for (int i = 0; i < SHARDS_MAX; i++)
        shard_restore_free(&sim->check.shadow[i]);
}

// ---- Offsets

void sim_check_offset(struct sim *sim, int group, int partition, const struct sim_committed *before,
                      const struct sim_committed *now)
{
    struct sim_check *check = &sim->check;
    struct meta meta;
    struct err_text text;
    bool lost = group == 0 && check->broken[0][partition];
    if (now->offset < before->offset && !lost)
        sim_fail(sim, "group %d partition %d: the offset goes back from %lld to %lld", group,
                 partition, (long long)before->offset, (long long)now->offset);
    enum ka_err err = meta_parse(slice_of(now->meta, now->meta_len), &meta, &text);
    if (err != KA_OK || !meta.present) {
        sim_fail(sim, "group %d partition %d: offset without metadata", group, partition);
        return;
    }
    if (meta.time_ms < check->lane_ms[group][partition] && !lost)
        sim_fail(sim, "group %d partition %d: lane time goes back by %lld ms", group, partition,
                 (long long)(check->lane_ms[group][partition] - meta.time_ms));
    check->lane_ms[group][partition] = meta.time_ms;
}

// The coordinator commits: what this transaction was decided from is the shard's journal now. (Not
// when its offsets come into force: markers of two transactions can overtake each other.)
void sim_check_decided(struct sim *sim, int group, int partition, struct sim_txn *txn)
{
    struct sim_check *check = &sim->check;
    struct sim_part_inputs *part = &txn->parts[partition];
    txn->decided = true;
    if (group != 0 || part->head == NULL)
        return;
    if (part->decided) {
        sim_fail(sim, "a transaction of lane %d with shard %d is committed twice",
                 txn->lane->client, partition);
        return;
    }
    part->decided = true;
    if (check->journal_end[partition] == NULL)
        check->journal[partition] = part;
    else
        check->journal_end[partition]->next = part;
    check->journal_end[partition] = part;
}

// ---- What a read_committed reader sees

static void read_inbox(struct sim *sim, const struct sim_record *record)
{
    struct command command;
    struct err_text text;
    if (record->pid < 0 || command_decode(record->value, &command, &text) != KA_OK)
        return;
    if (command.hops > 0 || command.verb != COMMAND_START) {
        sim->check.forwarded++;
        return;
    }
    int partition = 0;
    int offset = -1;
    char cause[64];
    snprintf(cause, sizeof cause, "%.*s", SLICE_FMT(command.cause));
    if (sscanf(cause, "in/%d/%d", &partition, &offset) != 2 || offset > sim->swarm.sagas ||
        partition >= USERS)
        sim_fail(sim, "a command without a user record: %s", cause);
    else if (++sim->check.starts[partition][offset] > 1)
        sim_fail(sim, "user record %d/%d gave two commands", partition, offset);
}

// Rule 8: a transaction has at most one state of each key.
static void check_coalesced(struct sim *sim, const struct sim_log *log, int64_t at)
{
    const struct sim_record *record = &log->records[at];
    if (state_kind(record->value) != STATE_SAGA)
        return;
    for (int64_t i = at - 1; i >= 0 && i > at - 64; i--) {
        const struct sim_record *other = &log->records[i];
        if (other->kind != RECORD_DATA || other->transaction != record->transaction)
            continue;
        if (state_kind(other->value) == STATE_SAGA && slice_eq(other->key, record->key))
            sim_fail(sim, "two states of %.*s in one transaction", SLICE_FMT(record->key));
    }
}

static void read_state(struct sim *sim, const struct sim_log *log, int64_t at)
{
    const struct sim_record *from = &log->records[at];
    struct record record = {.topic = slice_str(sim_topic_name(TOPIC_STATE)),
                            .partition = log->partition,
                            .offset = at,
                            .key = from->key,
                            .value = from->value};
    struct err_text text;
    check_coalesced(sim, log, at);
    // What was lost still counts, and so does what the old owner writes, who has all in memory.
    struct table *table = sim->check.shadow[log->partition]->table;
    if (sim->check.truncated[log->partition]) {
        record.offset = table_end(table);
    } else if (sim->check.broken[0][log->partition]) {
        return;
    }
    enum ka_err err = shard_restore_apply(sim->check.shadow[log->partition], &record, &text);
    if (err != KA_OK)
        sim_fail(sim, "state %d offset %lld: %s", log->partition, (long long)at, text.text);
}

void sim_check_log(struct sim *sim, int index)
{
    const struct sim_log *log = &sim->logs[index];
    struct sim_check *check = &sim->check;
    if (sim->links != NULL) {
        sim_links_check_log(sim, index);
        return;
    }
    for (; check->seen[index] < log->lso; check->seen[index]++) {
        const struct sim_record *record = &log->records[check->seen[index]];
        if (record->kind != RECORD_DATA)
            continue;
        if (record->fate == FATE_OPEN)
            sim_fail(sim, "%s/%d offset %lld is stable and undecided", sim_topic_name(log->topic),
                     log->partition, (long long)check->seen[index]);
        if (record->fate != FATE_COMMITTED)
            continue;
        sim_mix(sim, hash_bytes(record->value, (uint64_t)index));
        if (log->topic == TOPIC_INBOX)
            read_inbox(sim, record);
        else if (log->topic == TOPIC_STATE)
            read_state(sim, log, check->seen[index]);
        else if (log->topic == TOPIC_HISTORY)
            sim_check_history(sim, record);
        else if (log->topic == TOPIC_DLQ)
            check->dead_letters++;
    }
}

// ---- Restores: what is restored from the mark equals the fold of everything

void sim_check_restored(struct sim *sim, int partition, struct shard_restore *restored, int64_t end,
                        int64_t now_ms, int64_t read)
{
    struct shard_restore *shadow = sim->check.shadow[partition];
    const struct sim_log *log = &sim->logs[sim_log_of(sim, TOPIC_STATE, partition)];
    // Somebody has written since: then this was not the last owner's end.
    if (log->lso != end || sim->check.broken[0][partition])
        return;
    shard_restore_end(shadow, end, now_ms);
    if (table_digest(shadow->table) != table_digest(restored->table))
        sim_fail(
            sim,
            "shard %d: %zu live restored from the mark, %zu from the whole log, or other states",
            partition, shard_restore_live(restored), shard_restore_live(shadow));
    // A chunk is as many bytes as 64 keys. What finished lately still counts, so the most of ever.
    size_t live = table_count(shadow->table) + 64 * table_chunk_count(shadow->table);
    if (live > sim->check.most_live[partition])
        sim->check.most_live[partition] = live;
    live = sim->check.most_live[partition];
    int64_t most = (int64_t)(2 * live > REAPPEND_MIN ? 2 * live : REAPPEND_MIN) + (int64_t)live;
    if (read > most + BATCH_SLACK)
        sim_fail(sim, "shard %d: a restore reads %lld records, for %zu live ones at most %lld",
                 partition, (long long)read, live, (long long)most);
}

// The end of the state log of a shard is gone. From now on it may stop at any time, and nothing is
// asked of it: but nobody may go on from states that are not those of the last commit.
void sim_check_truncated(struct sim *sim, int index)
{
    int32_t p = sim->logs[index].partition;
    sim->check.broken[0][p] = true;
    sim->check.truncated[p] = true;
    sim->check.seen[index] = sim->logs[index].count;
}

void sim_check_adopted(struct sim_lane *lane, const struct lane_partition *partition)
{
    const struct shard *shard = partition->owner;
    struct sim *sim = lane->sim;
    if (lane->index != 0 || !sim->check.truncated[partition->partition])
        return;
    if (table_sum(shard->table) != table_sum(sim->check.shadow[partition->partition]->table))
        sim_fail(sim, "lane %d adopts shard %d, whose state log has lost its end", lane->client,
                 partition->partition);
}

// ---- Inputs

// Every committed record, none twice, none left out: also none that is not there any more.
void sim_check_taken(struct sim_lane *lane, const struct lane_partition *partition, int64_t offset)
{
    enum sim_topic topic = sim_lane_topic(lane);
    const struct sim_log *log =
        &lane->sim->logs[sim_log_of(lane->sim, topic, partition->partition)];
    for (int64_t at = partition->position; at < offset; at++)
        if (log->records[at].kind == RECORD_DATA && log->records[at].fate == FATE_COMMITTED) {
            sim_fail(lane->sim, "lane %d takes %s/%d offset %lld and leaves out %lld", lane->client,
                     sim_topic_name(topic), partition->partition, (long long)offset, (long long)at);
            return;
        }
}

// ---- Invocations

void sim_check_invoked(struct sim_lane *lane, const struct lane_batch *batch, size_t from)
{
    for (size_t i = from; i < batch->invocation_count; i++) {
        const struct invocation *call = &batch->invocations[i].call;
        struct sim_ledger *ledger = sim_ledger(lane->sim, call->key, call->incarnation, call->step);
        if (call->compensation) {
            ledger->undo_attempt = call->attempt;
            ledger->undo_decided = sim_journal_txn(lane);
        } else {
            ledger->attempt = call->attempt;
            ledger->decided = sim_journal_txn(lane);
        }
    }
}

// Rule 3: a result is let go when its transaction is committed, or with its assignment.
void sim_check_released(struct sim_lane *lane, const struct sim_kept_result *kept)
{
    if (lane->life->dead || kept->base.slot >= lane_slots(lane->lane))
        return;
    const struct lane_partition *partition = lane_partition(lane->lane, kept->base.slot);
    bool owned = partition->used && partition->epoch == kept->base.epoch &&
                 partition->state != LANE_PARTITION_PARKED;
    if (owned && (kept->txn == NULL || !kept->txn->decided))
        sim_fail(lane->sim, "lane %d forgets a result of %.*s step %d that it has not committed",
                 lane->client, SLICE_FMT(kept->base.key), kept->base.step);
}

void sim_check_dispatch(struct sim_lane *lane, const struct lane_invocation *invocation)
{
    struct sim *sim = lane->sim;
    const struct invocation *call = &invocation->call;
    struct sim_ledger *ledger = sim_ledger(sim, call->key, call->incarnation, call->step);
    const struct lane_partition *partition = lane_partition(lane->lane, invocation->slot);
    if (!partition->used || partition->epoch != invocation->epoch || partition->leaving)
        sim_fail(sim, "lane %d calls for %.*s, which is not its own", lane->client,
                 SLICE_FMT(call->key));
    int32_t decided = call->compensation ? ledger->undo_attempt : ledger->attempt;
    const struct sim_txn *by = call->compensation ? ledger->undo_decided : ledger->decided;
    bool known = by != NULL && by->lane == lane; // else a zombie has decided it in vain since
    if (decided == call->attempt && known && !by->decided)
        sim_fail(sim, "lane %d calls for %.*s before its commit", lane->client,
                 SLICE_FMT(call->key));
    int64_t age_ms = (sim->now_us - lane->proof_us[lane->index]) / 1000;
    if (age_ms > sim->swarm.session_ms / 2 + 5)
        sim_fail(sim, "lane %d calls with a proof of membership %lld ms old", lane->client,
                 (long long)age_ms);
    int32_t assignment = invocation->slot << 16 | invocation->epoch;
    bool same = ledger->dispatched_life == (int)lane->life->incarnation &&
                ledger->dispatched_epoch == assignment &&
                ledger->dispatched_attempt == call->attempt &&
                ledger->dispatched_undo == call->compensation;
    if (same)
        sim_fail(sim, "lane %d calls attempt %d of %.*s step %d twice", lane->client, call->attempt,
                 SLICE_FMT(call->key), call->step);
    ledger->dispatched_life = (int)lane->life->incarnation;
    ledger->dispatched_epoch = assignment;
    ledger->dispatched_attempt = call->attempt;
    ledger->dispatched_undo = call->compensation;
}

// Rule 12: what could be read before T comes before the timer of T.
void sim_check_timer(struct sim_lane *lane, const struct lane_partition *partition, int64_t due_ms)
{
    struct sim *sim = lane->sim;
    if (sim->swarm.clock > 0)
        return; // lane time and the model's are two things then
    const struct sim_log *log = &sim->logs[sim_log_of(sim, TOPIC_INBOX, partition->partition)];
    int64_t due_us = (due_ms - (sim_wall_ms(sim, lane->life->worker) - sim->now_us / 1000)) * 1000;
    for (int64_t at = partition->position; at < log->lso; at++) {
        const struct sim_record *record = &log->records[at];
        if (record->stable_us >= due_us)
            return;
        if (record->kind != RECORD_DATA || record->fate != FATE_COMMITTED)
            continue;
        sim_fail(sim, "lane %d fires a timer %lld ms late before it has read %d/%lld", lane->client,
                 (long long)(sim->now_us - due_us) / 1000, partition->partition, (long long)at);
        return;
    }
}

void sim_check_takeover(struct sim_lane *lane, int32_t slot)
{
    struct sim *sim = lane->sim;
    int64_t took_ms = (sim->now_us - lane->assigned_us[slot]) / 1000;
    int32_t p = lane_partition(lane->lane, slot)->partition;
    // The restorer does one after the other: one that waits for an unnamed owner holds up the rest.
    if (sim->check.unnamed[lane->index][p])
        sim->check.unnamed_us[lane->index] = sim->now_us;
    sim->check.unnamed[lane->index][p] = false;
    bool waited = sim->check.unnamed_us[lane->index] >= lane->assigned_us[slot];
    if (sim->swarm.takeover_bound && !waited && took_ms > sim->swarm.transaction_ms / 4)
        sim_fail(sim, "lane %d needed %lld ms to take over partition %d", lane->client,
                 (long long)took_ms, p);
}
