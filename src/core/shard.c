// SPDX-License-Identifier: Apache-2.0
// The life of the shards of one lane between their records: adopted after a restore, closed per
// transaction (states coalesced, marker, re-append), committed or undone as a whole.
#include "core/shard.h"

#include "core/assert.h"
#include "core/hash.h"
#include "core/history.h"
#include "core/rule.h"
#include "core/shard_internal.h"

#include <stdlib.h>

enum {
    HOPS_MAX = 1,
    TIMERS_PER_CALL = 64,
    EXPIRE_EVERY_MS = 1000,
    IDLE_MS = 100,
    IDLE_RECORDS = 3
};

struct shards *shards_new(const struct shard_config *config,
                          const struct shard_definitions *definitions, shard_run_inline *run_inline,
                          void *run_context)
{
    struct shards *shards = calloc(1, sizeof *shards);
    if (shards == NULL)
        abort();
    KA_ASSERT(config->shards > 0);
    shards->config = *config;
    shards->definitions = *definitions;
    shards->run = run_inline;
    shards->run_context = run_context;
    shards->dlq =
        (struct dlq_context){config->dlq_topic, config->shards, config->record_max, config->node};
    return shards;
}

void shards_free(struct shards **shards)
{
    free(*shards);
    *shards = NULL;
}

// ---- Records
// -------------------------------------------------------------------------------------

void shard_state_output(struct shard_turn *turn, struct slice key, struct slice value)
{
    struct output output = {
        .topic = turn->shards->config.state_topic,
        .partition = turn->partition->partition,
        .key = key,
        .value = value,
    };
    lane_batch_output(turn->batch, &output, turn->partition->slot);
    turn->shard->appends++;
}

void shard_mark_changed(struct shard_turn *turn, struct slice key)
{
    struct shard *shard = turn->shard;
    if (shard->changed_count == shard->changed_cap) {
        shard->changed_cap = shard->changed_cap == 0 ? 64 : shard->changed_cap * 2;
        shard->changed = realloc(shard->changed, shard->changed_cap * sizeof *shard->changed);
        if (shard->changed == NULL)
            abort();
    }
    shard->changed[shard->changed_count++] = key;
}

static struct shard_turn turn_of(void *context, struct lane_partition *partition,
                                 struct lane_batch *batch, struct err_text *text)
{
    return (struct shard_turn){.shards = context,
                               .shard = partition->owner,
                               .partition = partition,
                               .batch = batch,
                               .text = text};
}

// A command for another shard is passed on once; again means that somebody cannot count partitions.
static enum ka_err forward(struct shard_turn *turn, struct slice key, struct command *command,
                           int32_t right)
{
    if (command->hops >= HOPS_MAX)
        return err_set(turn->text, KA_ERR_MISROUTED,
                       "the key belongs to partition %d, and the record was forwarded before",
                       right);
    command->hops++;
    size_t from = turn->batch->scratch.len;
    command_encode(command, &turn->batch->scratch);
    struct output output = {
        .topic = turn->shards->config.inbox_topic,
        .partition = right,
        .key = key,
        .value = buf_take(&turn->batch->scratch, from, &turn->batch->arena),
    };
    turn->batch->scratch.len = from;
    lane_batch_output(turn->batch, &output, LANE_NO_TAG);
    return KA_OK;
}

static enum ka_err on_record(void *context, struct lane_partition *partition,
                             const struct record *record, struct lane_batch *batch,
                             struct err_text *text)
{
    struct shard_turn turn = turn_of(context, partition, batch, text);
    if (record->key.len == 0)
        return err_set(text, KA_ERR_NO_KEY, "an inbox record needs a key \"<type>/<id>\"");
    if (record->key.len > HISTORY_KEY_MAX)
        return err_set(text, KA_ERR_TOO_LARGE, "the key has %zu bytes, at most %d are taken",
                       record->key.len, HISTORY_KEY_MAX);
    if (slice_none(record->value))
        return err_set(text, KA_ERR_AVRO, "the record has no value (null)");
    // Effects outlive the record: the arena keeps what they point to.
    struct slice key = arena_copy(&batch->arena, record->key);
    struct slice value = arena_copy(&batch->arena, record->value);
    struct command command;
    enum ka_err err = command_decode(value, &command, text);
    if (err != KA_OK)
        return err == KA_ERR_VERSION ? err : KA_ERR_AVRO;
    int32_t right = hash_partition(key, turn.shards->config.shards);
    if (right != partition->partition)
        return forward(&turn, key, &command, right);
    if (memchr(key.ptr, '/', key.len) == NULL)
        return err_set(text, KA_ERR_UNKNOWN_KIND, "the key \"%.*s\" is not \"<type>/<id>\"",
                       SLICE_FMT(key));
    turn.cause = command.cause.len > 0 ? command.cause : record_place(record, &batch->arena);
    return shard_saga_command(&turn, key, record->offset, &command);
}

static void on_poison(void *context, struct lane_partition *partition, const struct record *record,
                      enum ka_err error, const struct err_text *text, struct lane_batch *batch)
{
    struct shards *shards = context;
    struct output output;
    (void)partition;
    dlq_output(&shards->dlq, record, error, text, &batch->arena, &output);
    lane_batch_output(batch, &output, LANE_NO_TAG);
}

static enum ka_err on_result(void *context, struct lane_partition *partition,
                             const struct lane_result *result, struct lane_batch *batch,
                             struct err_text *text)
{
    struct shard_turn turn = turn_of(context, partition, batch, text);
    turn.cause = SLICE_LIT("result");
    return shard_saga_result(&turn, result);
}

static enum ka_err on_timer(void *context, struct lane_partition *partition,
                            struct lane_batch *batch, struct err_text *text)
{
    struct shard_turn turn = turn_of(context, partition, batch, text);
    turn.cause = SLICE_LIT("timer");
    for (int i = 0; i < TIMERS_PER_CALL; i++) {
        const struct table_entry *entry = table_due(turn.shard->table);
        if (entry == NULL || entry->due_ms > batch->now_ms)
            return KA_OK;
        struct slice key = arena_copy(&batch->arena, entry->key);
        enum ka_err err = shard_saga_timer(&turn, key);
        if (err != KA_OK)
            return err;
    }
    return KA_OK;
}

static int64_t due(void *context, struct lane_partition *partition)
{
    const struct shard *shard = partition->owner;
    (void)context;
    const struct table_entry *entry = table_due(shard->table);
    return entry == NULL ? INT64_MAX : entry->due_ms;
}

static bool pending(void *context, struct lane_partition *partition, int64_t now_ms)
{
    const struct shard *shard = partition->owner;
    const struct shards *shards = context;
    if (shard->takeover_next < shard->takeover_count)
        return true;
    return now_ms - shard->idle_ms >= IDLE_MS &&
           table_lagging(shard->table, (int64_t)shards->config.reappend_min);
}

static enum ka_err work(void *context, struct lane_partition *partition, struct lane_batch *batch,
                        struct err_text *text)
{
    struct shard_turn turn = turn_of(context, partition, batch, text);
    if (turn.shard->takeover_next == turn.shard->takeover_count) {
        turn.shard->idle_ms = batch->now_ms;
        turn.shard->idle = true; // in close, behind what else changes in this transaction
        return KA_OK;
    }
    turn.cause = SLICE_LIT("takeover");
    const struct shard_takeover *takeover = &turn.shard->takeover[turn.shard->takeover_next++];
    return shard_saga_takeover(&turn, takeover);
}

// ---- The end of a transaction
// --------------------------------------------------------------------

static int by_key(const void *a, const void *b)
{
    const struct slice *x = a;
    const struct slice *y = b;
    size_t len = x->len < y->len ? x->len : y->len;
    int order = memcmp(x->ptr, y->ptr, len);
    if (order != 0)
        return order;
    return x->len < y->len ? -1 : x->len > y->len;
}

// Rule 8: only the last state of each key.
static void write_changed(struct shard_turn *turn)
{
    struct shard *shard = turn->shard;
    if (shard->changed_count > 1)
        qsort(shard->changed, shard->changed_count, sizeof *shard->changed, by_key);
    for (size_t i = 0; i < shard->changed_count; i++) {
        if (KA_RULE(8) && i > 0 && slice_eq(shard->changed[i], shard->changed[i - 1]))
            continue;
        const struct table_entry *entry = table_lookup(shard->table, shard->changed[i]);
        if (entry != NULL) // else finished later in the same transaction
            shard_state_output(turn, shard->changed[i],
                               arena_copy(&turn->batch->arena, entry->bytes));
    }
    shard->changed_count = 0;
}

static void write_chunk(void *context, uint64_t first_sequence,
                        const struct table_finished *entries, size_t count)
{
    struct shard_turn *turn = context;
    struct state_chunk chunk = {.first_sequence = first_sequence, .count = count};
    struct arena *arena = &turn->batch->arena;
    struct buf *scratch = &turn->batch->scratch;
    size_t from = scratch->len;
    state_chunk_key(first_sequence, scratch);
    struct slice key = buf_take(scratch, from, arena);
    scratch->len = from;
    state_chunk_encode(&chunk, entries, scratch);
    shard_state_output(turn, key, buf_take(scratch, from, arena));
    scratch->len = from;
}

static void write_again(void *context, const struct table_entry *entry)
{
    struct shard_turn *turn = context;
    shard_state_output(turn, arena_copy(&turn->batch->arena, entry->key),
                       arena_copy(&turn->batch->arena, entry->bytes));
}

// Bounded restore: while the oldest record needed lags too far behind, it is written again, at most
// one per state record of this transaction, and a few for a shard that rests.
static void reappend(struct shard_turn *turn)
{
    struct table_reappend how = {
        .lag_max = (int64_t)turn->shards->config.reappend_min,
        .max = turn->shard->appends + (turn->shard->idle ? IDLE_RECORDS : 1),
        .state = write_again,
        .chunk = write_chunk,
        .context = turn,
    };
    table_reappend(turn->shard->table, &how);
}

static void write_marker(struct shard_turn *turn)
{
    struct shard *shard = turn->shard;
    struct meta commit = {
        .present = true, .incarnation = turn->batch->incarnation, .number = turn->batch->number};
    struct meta_counts counts = shard->counts;
    counts.live = (int64_t)table_count(shard->table);
    struct state_marker marker = {
        .inbox_offset = turn->partition->position,
        .time_ms = turn->batch->now_ms,
        .counts = counts,
    };
    struct buf *scratch = &turn->batch->scratch;
    size_t from = scratch->len;
    meta_token(&commit, scratch);
    marker.token = buf_take(scratch, from, &turn->batch->arena);
    scratch->len = from;
    state_marker_encode(&marker, scratch);
    shard_state_output(turn, STATE_MARKER_KEY, buf_take(scratch, from, &turn->batch->arena));
    scratch->len = from;
    shard->marker_pending_ms = turn->batch->now_ms;
}

static enum ka_err close_shard(void *context, struct lane_partition *partition,
                               struct lane_batch *batch, struct err_text *text)
{
    struct shard_turn turn = turn_of(context, partition, batch, text);
    turn.shard->now_ms = batch->now_ms;
    write_changed(&turn);
    table_full_chunks(turn.shard->table, write_chunk, &turn);
    if (turn.shard->appends == 0 && !turn.shard->idle)
        return KA_OK;
    if (KA_RULE(RULE_REAPPEND))
        reappend(&turn);
    if (batch->now_ms - turn.shard->marker_ms >= turn.shards->config.marker_ms)
        write_marker(&turn);
    return KA_OK;
}

static void end_transaction(struct shard *shard)
{
    shard->changed_count = 0;
    shard->appends = 0;
    shard->idle = false;
}

static void on_committed(void *context, struct lane_partition *partition)
{
    struct shard *shard = partition->owner;
    (void)context;
    table_commit(shard->table, partition->state_first,
                 partition->state_last < 0 ? -1 : partition->state_last + 1);
    shard->confirmed = shard->counts;
    shard->audit_confirmed = shard->audit;
    shard->takeover_confirmed = shard->takeover_next;
    shard->marker_ms = shard->marker_pending_ms;
    end_transaction(shard);
    if (shard->now_ms - shard->expire_ms < EXPIRE_EVERY_MS)
        return;
    table_expire(shard->table, shard->now_ms);
    shard->expire_ms = shard->now_ms;
}

static void on_undo(void *context, struct lane_partition *partition)
{
    struct shard *shard = partition->owner;
    (void)context;
    table_undo(shard->table);
    shard->counts = shard->confirmed;
    shard->audit = shard->audit_confirmed;
    shard->takeover_next = shard->takeover_confirmed;
    shard->marker_pending_ms = shard->marker_ms;
    end_transaction(shard);
}

static void describe(void *context, struct lane_partition *partition, struct meta *meta)
{
    struct shard *shard = partition->owner;
    (void)context;
    if (shard == NULL)
        return;
    meta->low_water =
        KA_RULE(RULE_LOW_WATER) ? table_low_water(shard->table) : table_end(shard->table);
    meta->sum = table_sum(shard->table);
    meta->counts = shard->counts;
    meta->counts.live = (int64_t)table_count(shard->table);
    meta->audit = shard->audit;
}

// ---- Coming and going
// ----------------------------------------------------------------------------

static void add_takeover(struct shard *shard, struct slice key, struct shard_takeover takeover)
{
    if ((shard->takeover_count & (shard->takeover_count - 1)) == 0) {
        size_t cap = shard->takeover_count == 0 ? 1 : shard->takeover_count * 2;
        shard->takeover = realloc(shard->takeover, cap * sizeof *shard->takeover);
        if (shard->takeover == NULL)
            abort();
    }
    char *copy = malloc(key.len + 1);
    if (copy == NULL)
        abort();
    memcpy(copy, key.ptr, key.len);
    takeover.key = slice_of(copy, key.len);
    shard->takeover[shard->takeover_count++] = takeover;
}

static enum ka_err look_through(struct shards *shards, struct shard *shard, struct err_text *text)
{
    struct arena arena;
    arena_init(&arena);
    size_t cursor = 0;
    const struct table_entry *entry;
    enum ka_err err = KA_OK;
    while (err == KA_OK && (entry = table_walk(shard->table, &cursor)) != NULL) {
        struct shard_look look;
        err = shard_saga_look(shards, entry->key, entry->bytes, &arena, &look, text);
        if (err != KA_OK)
            break;
        table_set_due(shard->table, entry->key, look.due_ms);
        for (size_t i = 0; i < look.count; i++)
            add_takeover(shard, entry->key, look.in_flight[i]);
        arena_reset(&arena);
    }
    arena_fini(&arena);
    return err;
}

static enum ka_err adopt(void *context, struct lane_partition *partition, void *restored,
                         const struct meta *meta, struct err_text *text)
{
    struct shards *shards = context;
    struct shard_restore *restore = restored;
    KA_ASSERT(restore != NULL);
    enum ka_err err = shard_restore_agree(restore, partition->committed, meta, text);
    if (partition->partition >= shards->config.shards) // the topic has grown: no key belongs there
        err =
            err_set(text, KA_ERR_CONFIG, "the inbox has a partition %d, but the app has %d shards",
                    partition->partition, shards->config.shards);
    partition->state_end = table_end(restore->table);
    struct shard *shard = NULL;
    if (err == KA_OK) {
        bool has_marker = restore->has_marker;
        struct meta_counts counts = restore->marker.counts;
        shard = shard_new(restore);
        shard->counts = meta->present ? meta->counts : has_marker ? counts : shard->counts;
        shard->confirmed = shard->counts;
        shard->audit = shard->audit_confirmed = meta->audit;
        err = look_through(shards, shard, text);
    }
    shard_restore_free(&restore);
    if (err != KA_OK)
        shard_free(&shard);
    partition->owner = shard;
    return err;
}

static void drop(void *context, struct lane_partition *partition)
{
    struct shard *shard = partition->owner;
    (void)context;
    shard_free(&shard);
    partition->owner = NULL;
}

struct lane_processor shards_processor(struct shards *shards)
{
    return (struct lane_processor){
        .context = shards,
        .record = on_record,
        .poison = on_poison,
        .result = on_result,
        .timer = on_timer,
        .due = due,
        .pending = pending,
        .work = work,
        .close = close_shard,
        .committed = on_committed,
        .undo = on_undo,
        .describe = describe,
        .adopt = adopt,
        .drop = drop,
    };
}

void shard_expire(const struct lane_partition *partition, int64_t now_ms)
{
    struct shard *shard = partition->owner;
    if (shard == NULL)
        return;
    KA_ASSERT(!partition->touched);
    table_expire(shard->table, now_ms);
    shard->expire_ms = now_ms;
}

uint64_t shard_digest(const struct lane_partition *partition)
{
    const struct shard *shard = partition->owner;
    return shard == NULL ? 0 : table_digest(shard->table);
}

size_t shard_bytes(const struct lane_partition *partition)
{
    const struct shard *shard = partition->owner;
    return shard == NULL ? 0 : table_bytes(shard->table);
}

size_t shard_finished_bytes(const struct lane_partition *partition)
{
    const struct shard *shard = partition->owner;
    return shard == NULL ? 0 : table_finished_bytes(shard->table);
}

size_t shard_live(const struct lane_partition *partition)
{
    const struct shard *shard = partition->owner;
    return shard == NULL ? 0 : table_count(shard->table);
}

const struct meta_counts *shard_counts(const struct lane_partition *partition)
{
    const struct shard *shard = partition->owner;
    return shard == NULL ? NULL : &shard->counts;
}
