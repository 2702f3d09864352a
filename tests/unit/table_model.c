// SPDX-License-Identifier: Apache-2.0
// A table against a model that is too simple to be wrong: arrays, linear search, a copy of
// everything as undo. The owner's log is simulated, with offsets, gaps and aborted records; at
// commit points it is restored, and now and then the restored table goes on in the place of the
// old one.
#include "core/hash.h"
#include "core/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// cmocka wants the headers above it
#include <cmocka.h>

enum { KEYS = 300, STATE_MAX = 100, LAG_MAX = 300, ROWS = 20000, LOG = 200000, STEPS = 130000 };

struct model_key {
    bool live;
    bool changed; // by the open transaction
    int64_t offset;
    int64_t due_ms;
    size_t len;
    char bytes[STATE_MAX];
};

struct model_row {
    uint32_t time_s;
    int key;
    int64_t incarnation;
};

struct model {
    struct model_key keys[KEYS];
    size_t rows; // sequences [0, rows) were given
};

enum logged_type { LOGGED_PUT, LOGGED_FINISHED, LOGGED_CHUNK };

struct logged {
    enum logged_type type;
    int64_t offset;
    int key;
    uint64_t sequence; // FINISHED: its own; CHUNK: of the first
    size_t count;      // CHUNK
    char *bytes;       // PUT: state; CHUNK: entries
    size_t len;
    int64_t due_ms;
    struct table_finished row;
};

struct world {
    uint64_t seed;
    struct table *table;
    struct model now;
    struct model before; // the open transaction
    struct model_row rows[ROWS];
    int64_t chunk_offset[ROWS / TABLE_CHUNK + 1]; // -1 = not needed
    struct logged log[LOG];
    size_t logged;
    size_t confirmed; // of them
    bool touched_chunk[ROWS / TABLE_CHUNK + 1];
    int64_t end;
    int64_t now_ms;
    uint32_t horizon_s;
    int64_t window_ms;
    size_t weight_max; // live keys and chunks, the most there were
    size_t restores;
    size_t chunks_again; // rewritten before they were full
    uint64_t digest;     // confirmed
    int64_t low_water;   // confirmed
    size_t worst_batch;
};

static uint64_t roll(struct world *world, uint64_t sides)
{
    world->seed = hash_mix(world->seed);
    return world->seed % sides;
}

static char key_text[KEYS][16];

static struct slice key_of(int key)
{
    return slice_str(key_text[key]);
}

static int number_of(struct slice key)
{
    for (int i = 0; i < KEYS; i++)
        if (slice_eq(key, key_of(i)))
            return i;
    fail_msg("not a key of the model: %.*s", SLICE_FMT(key));
    return 0;
}

// --- the log ---

static struct logged *append(struct world *world, enum logged_type type)
{
    assert_true(world->logged < LOG);
    struct logged *record = &world->log[world->logged++];
    *record = (struct logged){.type = type, .offset = -1};
    return record;
}

static char *copy(const void *bytes, size_t len)
{
    char *block = malloc(len + 1);
    if (len > 0)
        memcpy(block, bytes, len);
    return block;
}

static void append_put(struct world *world, const struct table_entry *entry)
{
    struct logged *record = append(world, LOGGED_PUT);
    record->key = number_of(entry->key);
    record->bytes = copy(entry->bytes.ptr, entry->bytes.len);
    record->len = entry->bytes.len;
    record->due_ms = entry->due_ms;
}

static void append_chunk(void *context, uint64_t first, const struct table_finished *rows,
                         size_t count)
{
    struct world *world = context;
    struct logged *record = append(world, LOGGED_CHUNK);
    record->sequence = first;
    record->count = count;
    record->bytes = copy(rows, count * sizeof *rows);
    world->touched_chunk[first / TABLE_CHUNK] = true;
    world->chunks_again += count < TABLE_CHUNK;
}

static void append_again(void *context, const struct table_entry *entry)
{
    struct world *world = context;
    append_put(world, entry);
    world->now.keys[number_of(entry->key)].changed = true;
}

static void drop_open_records(struct world *world)
{
    while (world->logged > world->confirmed)
        free(world->log[--world->logged].bytes);
}

// --- what the model says ---

static bool chunk_needed(const struct world *world, size_t chunk)
{
    return world->chunk_offset[chunk] >= 0;
}

static int64_t model_low_water(const struct world *world)
{
    int64_t low = world->end;
    for (int i = 0; i < KEYS; i++)
        if (world->now.keys[i].live && world->now.keys[i].offset < low)
            low = world->now.keys[i].offset;
    for (size_t i = 0; i <= ROWS / TABLE_CHUNK; i++)
        if (chunk_needed(world, i) && world->chunk_offset[i] < low)
            low = world->chunk_offset[i];
    return low;
}

static const struct model_row *model_finished(const struct world *world, int key)
{
    if (world->now.keys[key].live)
        return NULL;
    for (size_t i = world->now.rows; i-- > 0 && world->rows[i].time_s >= world->horizon_s;)
        if (world->rows[i].key == key)
            return &world->rows[i];
    return NULL;
}

static size_t model_finished_count(const struct world *world)
{
    size_t count = 0;
    for (size_t i = world->now.rows; i-- > 0 && world->rows[i].time_s >= world->horizon_s;)
        count++;
    return count;
}

static size_t model_live(const struct world *world)
{
    size_t live = 0;
    for (int i = 0; i < KEYS; i++)
        live += world->now.keys[i].live;
    return live;
}

// --- comparing ---

static void compare_key(struct world *world, int key)
{
    const struct model_key *model = &world->now.keys[key];
    const struct table_entry *entry = table_lookup(world->table, key_of(key));
    assert_true((entry != NULL) == model->live);
    if (entry != NULL) {
        assert_true(slice_eq(entry->bytes, slice_of(model->bytes, model->len)));
        assert_true(entry->due_ms == model->due_ms);
    }
    const struct table_finished *row = table_lookup_finished(world->table, key_of(key));
    const struct model_row *expected = model_finished(world, key);
    assert_true((row != NULL) == (expected != NULL));
    if (row != NULL)
        assert_true(row->incarnation == expected->incarnation && row->time_s == expected->time_s);
}

static void compare_due(struct world *world)
{
    int first = -1;
    for (int i = 0; i < KEYS; i++) {
        const struct model_key *key = &world->now.keys[i];
        if (!key->live || key->due_ms == INT64_MAX)
            continue;
        if (first < 0 || key->due_ms < world->now.keys[first].due_ms)
            first = i;
        else if (key->due_ms == world->now.keys[first].due_ms &&
                 strcmp(key_text[i], key_text[first]) < 0)
            first = i;
    }
    const struct table_entry *entry = table_due(world->table);
    assert_true((entry != NULL) == (first >= 0));
    if (entry != NULL)
        assert_true(slice_eq(entry->key, key_of(first)));
}

static void compare_oldest(struct world *world)
{
    int64_t oldest = INT64_MAX;
    for (int i = 0; i < KEYS; i++) {
        const struct model_key *key = &world->now.keys[i];
        if (key->live && !key->changed && key->offset < oldest)
            oldest = key->offset;
    }
    const struct table_entry *entry = table_oldest(world->table);
    assert_true((entry != NULL) == (oldest != INT64_MAX));
    if (entry != NULL)
        assert_true(entry->offset == oldest && !world->now.keys[number_of(entry->key)].changed);
}

static void compare_all(struct world *world)
{
    for (int i = 0; i < KEYS; i++)
        compare_key(world, i);
    compare_due(world);
    assert_int_equal(table_count(world->table), model_live(world));
    assert_int_equal(table_finished_count(world->table), model_finished_count(world));
    assert_true(table_next_sequence(world->table) == world->now.rows);
}

// --- operations ---

static void do_put(struct world *world, int key)
{
    struct model_key *model = &world->now.keys[key];
    model->live = model->changed = true;
    model->len = (size_t)roll(world, STATE_MAX);
    for (size_t i = 0; i < model->len; i++)
        model->bytes[i] = (char)roll(world, 256);
    model->due_ms = roll(world, 5) == 0 ? INT64_MAX : (int64_t)roll(world, 50);
    table_put(world->table, key_of(key), slice_of(model->bytes, model->len), model->due_ms);
}

static void do_finish(struct world *world, int key)
{
    struct logged *record = append(world, LOGGED_FINISHED);
    struct model_row row = {.time_s = (uint32_t)(world->now_ms / 1000),
                            .key = key,
                            .incarnation = (int64_t)roll(world, 1000000)};
    assert_true(world->now.rows < ROWS);
    record->key = key;
    record->sequence = table_next_sequence(world->table);
    record->row = (struct table_finished){.incarnation = row.incarnation, .time_s = row.time_s};
    assert_true(record->sequence == world->now.rows);
    world->rows[world->now.rows++] = row;
    world->now.keys[key].live = false;
    world->now.keys[key].changed = true;
    table_finish(world->table, key_of(key), row.incarnation, 0, world->now_ms);
}

static void do_touch(struct world *world, int key)
{
    if (!world->now.keys[key].live)
        return;
    world->now.keys[key].changed = true;
    table_touch(world->table, key_of(key));
}

// States are coalesced, chunks come last; then the oldest things again.
static void close_transaction(struct world *world)
{
    for (int i = 0; i < KEYS; i++)
        if (world->now.keys[i].live && world->now.keys[i].changed)
            append_put(world, table_lookup(world->table, key_of(i)));
    table_full_chunks(world->table, append_chunk, world);
    struct table_reappend how = {LAG_MAX, world->logged - world->confirmed, append_again,
                                 append_chunk, world};
    table_reappend(world->table, &how);
}

static void forget_changes(struct world *world)
{
    for (int i = 0; i < KEYS; i++)
        world->now.keys[i].changed = false;
    memset(world->touched_chunk, 0, sizeof world->touched_chunk);
}

static void confirm_offsets(struct world *world, int64_t first)
{
    for (int i = 0; i < KEYS; i++)
        if (world->now.keys[i].changed)
            world->now.keys[i].offset = first;
    for (size_t i = 0; i <= ROWS / TABLE_CHUNK; i++)
        if (world->touched_chunk[i])
            world->chunk_offset[i] = first;
    for (size_t i = world->before.rows; i < world->now.rows; i++)
        if (!chunk_needed(world, i / TABLE_CHUNK))
            world->chunk_offset[i / TABLE_CHUNK] = first;
}

static void note_weight(struct world *world)
{
    size_t weight = model_live(world) + 64 * table_chunk_count(world->table);
    if (weight > world->weight_max)
        world->weight_max = weight;
}

static void do_commit(struct world *world)
{
    close_transaction(world);
    size_t count = world->logged - world->confirmed;
    int64_t first = count == 0 ? -1 : world->end;
    for (size_t i = world->confirmed; i < world->logged; i++)
        world->log[i].offset = world->end++;
    if (count > world->worst_batch)
        world->worst_batch = count;
    table_commit(world->table, first, count == 0 ? -1 : world->end);
    if (count > 0) {
        confirm_offsets(world, first);
        assert_true(table_end(world->table) == world->end);
        world->end++; // the transaction's marker
    }
    forget_changes(world);
    world->confirmed = world->logged;
    world->before = world->now;
    world->digest = table_digest(world->table);
    note_weight(world);
}

// The sum that is kept up to date is that of what is there.
static void check_sum(struct world *world)
{
    uint64_t sum = 0;
    size_t cursor = 0;
    const struct table_entry *entry;
    while ((entry = table_walk(world->table, &cursor)) != NULL)
        sum += hash_bytes(entry->bytes, hash_bytes(entry->key, 0));
    assert_true(table_sum(world->table) == (int64_t)(sum & INT64_MAX));
}

static void do_abort(struct world *world)
{
    if (roll(world, 2) == 0)
        close_transaction(world);
    world->end += (int64_t)(world->logged - world->confirmed);
    drop_open_records(world);
    table_undo(world->table);
    assert_true(table_digest(world->table) == world->digest);
    world->now = world->before;
    forget_changes(world);
    compare_all(world);
}

static void do_expire(struct world *world)
{
    table_expire(world->table, world->now_ms);
    world->digest = table_digest(world->table);
    if (world->now_ms > world->window_ms)
        world->horizon_s = (uint32_t)((world->now_ms - world->window_ms) / 1000);
    for (size_t i = 0; i <= ROWS / TABLE_CHUNK; i++) {
        size_t last = (i + 1) * TABLE_CHUNK;
        if (last > world->now.rows)
            last = world->now.rows;
        if (last > i * TABLE_CHUNK && world->rows[last - 1].time_s < world->horizon_s)
            world->chunk_offset[i] = -1;
    }
}

// --- restore ---

static void restore_record(struct table *table, const struct logged *record)
{
    switch (record->type) {
    case LOGGED_PUT:
        table_restore_put(table, key_of(record->key), slice_of(record->bytes, record->len),
                          record->offset);
        break;
    case LOGGED_FINISHED:
        table_restore_finished(table, key_of(record->key), record->sequence, &record->row,
                               record->offset);
        break;
    case LOGGED_CHUNK:
        table_restore_chunk(table, record->sequence, (const void *)record->bytes, record->count,
                            record->offset);
        break;
    }
}

// Index of the first record at or behind the offset.
static size_t seek(const struct world *world, int64_t offset)
{
    size_t at = world->confirmed;
    while (at > 0 && world->log[at - 1].offset >= offset)
        at--;
    return at;
}

static struct table *restore(struct world *world, const struct table_limits *limits)
{
    struct table *table = table_new(limits);
    size_t from = seek(world, table_low_water(world->table));
    size_t allowed = LAG_MAX > 2 * world->weight_max ? LAG_MAX : 2 * world->weight_max;
    assert_true(world->confirmed - from <= allowed + world->weight_max + world->worst_batch);
    for (size_t i = from; i < world->confirmed; i++)
        restore_record(table, &world->log[i]);
    table_restore_end(table, world->end);
    for (int i = 0; i < KEYS; i++)
        if (world->now.keys[i].live)
            table_set_due(table, key_of(i), world->now.keys[i].due_ms);
    table_expire(table, (int64_t)world->horizon_s * 1000 + world->window_ms);
    world->restores++;
    return table;
}

// The offsets are exact after a restore: the model reads them from the log.
static void take_over(struct world *world, struct table *restored)
{
    size_t from = seek(world, table_low_water(world->table));
    for (size_t i = 0; i <= ROWS / TABLE_CHUNK; i++)
        world->chunk_offset[i] = -1;
    for (size_t i = from; i < world->confirmed; i++) {
        const struct logged *record = &world->log[i];
        int64_t *chunk = &world->chunk_offset[record->sequence / TABLE_CHUNK];
        if (record->type == LOGGED_PUT)
            world->now.keys[record->key].offset = record->offset;
        else if (record->type == LOGGED_CHUNK || *chunk < 0)
            *chunk = record->offset;
    }
    table_free(&world->table);
    world->table = restored;
    int64_t time = world->now_ms;
    world->now_ms = (int64_t)world->horizon_s * 1000 + world->window_ms;
    do_expire(world);
    world->now_ms = time;
    world->before = world->now;
}

static void check_restore(struct world *world, const struct table_limits *limits)
{
    struct table *restored = restore(world, limits);
    assert_true(table_digest(restored) == table_digest(world->table));
    assert_int_equal(table_count(restored), table_count(world->table));
    assert_true(table_low_water(restored) >= table_low_water(world->table));
    if (roll(world, 3) == 0)
        take_over(world, restored);
    else
        table_free(&restored);
}

// --- runs ---

static void step(struct world *world, const struct table_limits *limits)
{
    // The number of live keys falls and rises in long waves.
    bool falling = world->now.rows / 700 % 2 == 1;
    int key = (int)roll(world, KEYS);
    uint64_t dice = roll(world, 100);
    world->now_ms += (int64_t)roll(world, 100);
    if (dice < (falling ? 30 : 58))
        do_put(world, key);
    else if (dice < 68)
        do_touch(world, key);
    else if (dice < 78)
        do_finish(world, key);
    else if (dice < 93) {
        do_commit(world);
        assert_true(table_low_water(world->table) >= world->low_water);
    } else if (dice < 96)
        do_abort(world);
    else if (world->logged == world->confirmed &&
             memcmp(&world->now, &world->before, sizeof world->now) == 0) {
        do_expire(world);
        if (dice >= 98)
            check_restore(world, limits);
    }
}

static void compare_step(struct world *world, int number)
{
    compare_key(world, (int)roll(world, KEYS));
    compare_due(world);
    compare_oldest(world);
    if (world->logged == world->confirmed &&
        memcmp(&world->now, &world->before, sizeof world->now) == 0)
        world->low_water = model_low_water(world);
    assert_true(table_low_water(world->table) == world->low_water);
    if (number % 500 == 0)
        compare_all(world);
}

static void run(uint64_t seed, int64_t window_ms)
{
    struct table_limits limits = {.dedupe_window_ms = window_ms, .dedupe_max = 1 << 24};
    struct world *world = calloc(1, sizeof *world);
    world->seed = seed;
    world->window_ms = window_ms;
    world->table = table_new(&limits);
    world->digest = table_digest(world->table);
    for (int i = 0; i < KEYS; i++)
        snprintf(key_text[i], sizeof key_text[i], "type/%d", i * i);
    for (size_t i = 0; i <= ROWS / TABLE_CHUNK; i++)
        world->chunk_offset[i] = -1;
    for (int i = 0; i < STEPS; i++) {
        step(world, &limits);
        check_sum(world);
        compare_step(world, i);
    }
    do_abort(world);
    assert_true(world->restores > 300 && world->chunks_again > 10);
    assert_true(world->now.rows > 8 * TABLE_CHUNK);
    assert_true(table_low_water(world->table) > 0);
    for (size_t i = 0; i < world->logged; i++)
        free(world->log[i].bytes);
    table_free(&world->table);
    free(world);
}

static void a_table_does_what_the_model_does(void **state)
{
    (void)state;
    run(1, 400000); // some hundred instances are remembered
    run(20261121, 100000);
}

static void a_table_with_many_chunks_does_what_the_model_does(void **state)
{
    (void)state;
    run(77, 3000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_does_what_the_model_does),
        cmocka_unit_test(a_table_with_many_chunks_does_what_the_model_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
