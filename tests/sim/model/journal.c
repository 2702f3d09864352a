// SPDX-License-Identifier: Apache-2.0
// The processor of a lane with everything that goes into it written down, per transaction and
// partition. What is known to be committed becomes the journal of the shard, which the oracle of
// check_replay.c decides again.
#include "sim.h"

struct sim_txn *sim_journal_txn(struct sim_lane *lane)
{
    if (lane->txn == NULL)
        lane->txn = arena_zalloc(&lane->sim->arena, sizeof *lane->txn);
    lane->txn->lane = lane;
    return lane->txn;
}

static struct sim_input *note(struct sim_lane *lane, const struct lane_partition *partition,
                              const struct lane_batch *batch, uint8_t kind)
{
    struct sim_txn *txn = sim_journal_txn(lane);
    struct sim_part_inputs *part = &txn->parts[partition->partition];
    struct sim_input *input = arena_zalloc(&lane->sim->arena, sizeof *input);
    input->kind = kind;
    input->now_ms = batch->now_ms;
    part->txn = txn;
    part->touched = true;
    txn->inputs++;
    if (part->tail == NULL)
        part->head = input;
    else
        part->tail->next = input;
    part->tail = input;
    return input;
}

static enum ka_err on_record(void *context, struct lane_partition *partition,
                             const struct record *record, struct lane_batch *batch,
                             struct err_text *text)
{
    struct sim_lane *lane = context;
    size_t from = batch->invocation_count;
    if (lane->hold)
        sim_fail(lane->sim, "lane %d takes user records under pressure", lane->client);
    sim_check_taken(lane, partition, record->offset);
    note(lane, partition, batch, INPUT_RECORD)->offset = record->offset;
    enum ka_err err = lane->inner.record(lane->inner.context, partition, record, batch, text);
    sim_check_invoked(lane, batch, from);
    return err;
}

static void on_poison(void *context, struct lane_partition *partition, const struct record *record,
                      enum ka_err error, const struct err_text *text, struct lane_batch *batch)
{
    struct sim_lane *lane = context;
    const struct sim_part_inputs *part = &sim_journal_txn(lane)->parts[partition->partition];
    bool decided_now = part->tail != NULL && part->tail->kind == INPUT_RECORD &&
                       part->tail->offset == record->offset;
    if (!decided_now) { // no transaction could hold it: nothing but the dlq record
        sim_check_taken(lane, partition, record->offset);
        note(lane, partition, batch, INPUT_POISON)->offset = record->offset;
    }
    lane->inner.poison(lane->inner.context, partition, record, error, text, batch);
}

static struct lane_result *copy_result(struct sim *sim, const struct lane_result *result)
{
    struct lane_result *copy = arena_alloc(&sim->arena, sizeof *copy);
    *copy = *result;
    copy->key = sim_copy(sim, result->key);
    copy->result.data = sim_copy(sim, result->result.data);
    copy->result.code = sim_copy(sim, result->result.code);
    copy->result.message = sim_copy(sim, result->result.message);
    return copy;
}

static enum ka_err on_result(void *context, struct lane_partition *partition,
                             const struct lane_result *result, struct lane_batch *batch,
                             struct err_text *text)
{
    struct sim_lane *lane = context;
    size_t from = batch->invocation_count;
    if (result->epoch != partition->epoch)
        sim_fail(lane->sim, "lane %d takes a result of an earlier assignment of shard %d",
                 lane->client, partition->partition);
    note(lane, partition, batch, INPUT_RESULT)->result = copy_result(lane->sim, result);
    if (result->unsent == NULL) // else it is the lane's own: the call never left
        ((struct sim_kept_result *)(uintptr_t)result)->txn = lane->txn;
    enum ka_err err = lane->inner.result(lane->inner.context, partition, result, batch, text);
    sim_check_invoked(lane, batch, from);
    return err;
}

static int64_t due(void *context, struct lane_partition *partition)
{
    struct sim_lane *lane = context;
    return lane->inner.due(lane->inner.context, partition);
}

static enum ka_err on_timer(void *context, struct lane_partition *partition,
                            struct lane_batch *batch, struct err_text *text)
{
    struct sim_lane *lane = context;
    size_t from = batch->invocation_count;
    sim_check_timer(lane, partition, due(context, partition));
    note(lane, partition, batch, INPUT_TIMER);
    enum ka_err err = lane->inner.timer(lane->inner.context, partition, batch, text);
    sim_check_invoked(lane, batch, from);
    return err;
}

static bool pending(void *context, struct lane_partition *partition, int64_t now_ms)
{
    struct sim_lane *lane = context;
    return lane->inner.pending(lane->inner.context, partition, now_ms);
}

static enum ka_err work(void *context, struct lane_partition *partition, struct lane_batch *batch,
                        struct err_text *text)
{
    struct sim_lane *lane = context;
    size_t from = batch->invocation_count;
    const struct shard *shard = partition->owner;
    if (shard->takeover_next == shard->takeover_count) // states written again: nothing happens
        return lane->inner.work(lane->inner.context, partition, batch, text);
    struct shard_takeover *takeover = arena_alloc(&lane->sim->arena, sizeof *takeover);
    *takeover = shard->takeover[shard->takeover_next];
    takeover->key = sim_copy(lane->sim, takeover->key);
    note(lane, partition, batch, INPUT_WORK)->takeover = takeover;
    enum ka_err err = lane->inner.work(lane->inner.context, partition, batch, text);
    sim_check_invoked(lane, batch, from);
    return err;
}

static enum ka_err close_part(void *context, struct lane_partition *partition,
                              struct lane_batch *batch, struct err_text *text)
{
    struct sim_lane *lane = context;
    sim_journal_txn(lane)->parts[partition->partition].close_ms = batch->now_ms;
    return lane->inner.close(lane->inner.context, partition, batch, text);
}

static void committed(void *context, struct lane_partition *partition)
{
    struct sim_lane *lane = context;
    lane->inner.committed(lane->inner.context, partition);
}

static void forget(struct sim_lane *lane, const struct lane_partition *partition)
{
    if (lane->txn != NULL)
        lane->txn->parts[partition->partition] = (struct sim_part_inputs){0};
}

static void undo(void *context, struct lane_partition *partition)
{
    struct sim_lane *lane = context;
    forget(lane, partition);
    lane->inner.undo(lane->inner.context, partition);
}

static void describe(void *context, struct lane_partition *partition, struct meta *meta)
{
    struct sim_lane *lane = context;
    lane->inner.describe(lane->inner.context, partition, meta);
}

static enum ka_err adopt(void *context, struct lane_partition *partition, void *restored,
                         const struct meta *meta, struct err_text *text)
{
    struct sim_lane *lane = context;
    enum ka_err err = lane->inner.adopt(lane->inner.context, partition, restored, meta, text);
    if (err == KA_OK)
        sim_check_adopted(lane, partition);
    return err;
}

static void drop(void *context, struct lane_partition *partition)
{
    struct sim_lane *lane = context;
    forget(lane, partition);
    lane->inner.drop(lane->inner.context, partition);
}

struct lane_processor sim_journal(struct sim_lane *lane)
{
    return (struct lane_processor){
        .context = lane,
        .record = on_record,
        .poison = on_poison,
        .result = on_result,
        .timer = on_timer,
        .due = due,
        .pending = pending,
        .work = work,
        .close = close_part,
        .committed = committed,
        .undo = undo,
        .describe = describe,
        .adopt = adopt,
        .drop = drop,
    };
}
