// SPDX-License-Identifier: Apache-2.0
// The oracle: the inputs of all committed transactions of a shard, once more through a fresh
// processor, without lanes, faults, restores and rebalances. It must put out the history that
// stands in the log, byte for byte, and end with the states that the state log folds to.
#include "sim.h"

#include "core/assert.h"
#include "core/hash.h"

#include <stdlib.h>
#include <string.h>

struct replay {
    struct sim *sim;
    int partition;
    struct shards *shards;
    struct lane_processor processor;
    struct lane_partition slot;
    struct lane_batch batch;
    struct err_text text;
    int64_t next_record;  // of the inbox: each committed record once, in order
    int64_t next_history; // of the history log
    int64_t state_end;
};

static int64_t next_data(const struct sim_log *log, int64_t at)
{
    while (at < log->count &&
           (log->records[at].kind != RECORD_DATA || log->records[at].fate != FATE_COMMITTED))
        at++;
    return at;
}

static enum ka_err take_record(struct replay *r, const struct sim_input *input)
{
    struct sim *sim = r->sim;
    const struct sim_log *log = &sim->logs[sim_log_of(sim, TOPIC_INBOX, r->partition)];
    int64_t expected = next_data(log, r->next_record);
    if (input->offset != expected)
        sim_fail(sim, "shard %d took record %lld, the next one is %lld", r->partition,
                 (long long)input->offset, (long long)expected);
    r->next_record = input->offset + 1;
    const struct sim_record *from = &log->records[input->offset];
    struct record record = {.topic = slice_str(sim_topic_name(TOPIC_INBOX)),
                            .partition = r->partition,
                            .offset = input->offset,
                            .key = from->key,
                            .value = from->value};
    enum ka_err err = KA_ERR_TOO_LARGE;
    if (input->kind == INPUT_RECORD)
        err = r->processor.record(r->processor.context, &r->slot, &record, &r->batch, &r->text);
    if (err != KA_OK && err_class(err) == ERR_CLASS_POISON) {
        r->processor.poison(r->processor.context, &r->slot, &record, err, &r->text, &r->batch);
        err = KA_OK;
    }
    r->slot.position = r->next_record;
    return err;
}

static enum ka_err take(struct replay *r, const struct sim_input *input)
{
    struct shard_turn turn = {.shards = r->shards,
                              .shard = r->slot.owner,
                              .partition = &r->slot,
                              .batch = &r->batch,
                              .cause = SLICE_LIT("takeover"),
                              .text = &r->text};
    r->batch.now_ms = input->now_ms;
    switch (input->kind) {
    case INPUT_RESULT:
        return r->processor.result(r->processor.context, &r->slot, input->result, &r->batch,
                                   &r->text);
    case INPUT_TIMER:
        return r->processor.timer(r->processor.context, &r->slot, &r->batch, &r->text);
    case INPUT_WORK:
        return shard_saga_takeover(&turn, input->takeover);
    default:
        return take_record(r, input);
    }
}

static bool same_but_node(struct slice a, struct slice b)
{
    const char *x = memmem(a.ptr, a.len, "\"executedby\"", 12);
    const char *y = memmem(b.ptr, b.len, "\"executedby\"", 12);
    if (x == NULL || y == NULL || a.len != b.len || x - a.ptr != y - b.ptr)
        return false;
    size_t head = (size_t)(x - a.ptr);
    size_t tail = head + strlen("\"executedby\":\"n0\"");
    return memcmp(a.ptr, b.ptr, head) == 0 && memcmp(a.ptr + tail, b.ptr + tail, a.len - tail) == 0;
}

static void compare_outputs(struct replay *r)
{
    struct sim *sim = r->sim;
    const struct sim_log *log = &sim->logs[sim_log_of(sim, TOPIC_HISTORY, r->partition)];
    for (size_t i = 0; i < r->batch.output_count && !sim->failed; i++) {
        const struct output *output = &r->batch.outputs[i].record;
        r->state_end += slice_eq(output->topic, slice_str(sim_topic_name(TOPIC_STATE)));
        if (!slice_eq(output->topic, slice_str(sim_topic_name(TOPIC_HISTORY))))
            continue;
        r->next_history = next_data(log, r->next_history);
        if (r->next_history >= log->count)
            sim_fail(sim, "shard %d: the replay says more than the history", r->partition);
        else if (!same_but_node(output->value, log->records[r->next_history].value))
            sim_fail(sim, "shard %d: history offset %lld is not what the inputs give: %.*s",
                     r->partition, (long long)r->next_history, SLICE_FMT(output->value));
        r->next_history++;
    }
}

static void transact(struct replay *r, const struct sim_part_inputs *part)
{
    enum ka_err err = KA_OK;
    for (const struct sim_input *input = part->head; input != NULL && err == KA_OK;
         input = input->next)
        err = take(r, input);
    r->batch.now_ms = part->close_ms;
    if (err == KA_OK)
        err = r->processor.close(r->processor.context, &r->slot, &r->batch, &r->text);
    if (err != KA_OK)
        sim_fail(r->sim, "shard %d: the replay fails: %s", r->partition, r->text.text);
    int64_t first = r->state_end;
    compare_outputs(r);
    r->slot.state_first = r->state_end > first ? first : -1;
    r->slot.state_last = r->state_end > first ? r->state_end - 1 : -1;
    r->processor.committed(r->processor.context, &r->slot);
    arena_reset(&r->batch.arena);
    buf_clear(&r->batch.scratch);
    r->batch.output_count = r->batch.invocation_count = 0;
}

// The same keys with the same states; what is remembered of finished ones counts too.
static void compare_states(struct replay *r)
{
    struct table *shadow = r->sim->check.shadow[r->partition]->table;
    const struct shard *shard = r->slot.owner;
    size_t cursor = 0;
    const struct table_entry *entry;
    if (table_count(shadow) != table_count(shard->table))
        sim_fail(r->sim, "shard %d: %zu live by the log, %zu by the replay", r->partition,
                 table_count(shadow), table_count(shard->table));
    while ((entry = table_walk(shard->table, &cursor)) != NULL) {
        const struct table_entry *other = table_lookup(shadow, entry->key);
        if (other == NULL || !slice_eq(other->bytes, entry->bytes))
            sim_fail(r->sim, "shard %d: the state of %.*s is not what the inputs give",
                     r->partition, SLICE_FMT(entry->key));
    }
}

static void replay_shard(struct sim *sim, int partition)
{
    struct shard_config config;
    struct meta none = {0};
    sim_shard_config(sim, &config, "n0");
    struct replay *r = calloc(1, sizeof *r);
    if (r == NULL)
        abort();
    r->sim = sim;
    r->partition = partition;
    r->shards = shards_new(&config, sim_definitions(sim), sim_run_inline, sim);
    r->processor = shards_processor(r->shards);
    r->slot = (struct lane_partition){.partition = partition, .used = true};
    struct shard_restore *empty = shard_restore_new(&config.limits);
    enum ka_err err = r->processor.adopt(r->processor.context, &r->slot, empty, &none, &r->text);
    KA_ASSERT(err == KA_OK);
    for (const struct sim_part_inputs *part = sim->check.journal[partition];
         part != NULL && !sim->failed; part = part->next)
        transact(r, part);
    const struct sim_log *history = &sim->logs[sim_log_of(sim, TOPIC_HISTORY, partition)];
    if (!sim->failed && next_data(history, r->next_history) < history->lso)
        sim_fail(sim, "shard %d: history offset %lld was decided from nothing that was committed",
                 partition, (long long)next_data(history, r->next_history));
    if (!sim->failed)
        compare_states(r);
    r->processor.drop(r->processor.context, &r->slot);
    shards_free(&r->shards);
    arena_fini(&r->batch.arena);
    buf_fini(&r->batch.scratch);
    free(r->batch.outputs);
    free(r->batch.invocations);
    free(r);
}

void sim_check_replay(struct sim *sim)
{
    for (int partition = 0; partition < sim->swarm.shards && !sim->failed; partition++)
        if (!sim->check.broken[0][partition])
            replay_shard(sim, partition);
    sim->stats.replayed++;
}
