// SPDX-License-Identifier: Apache-2.0
#include "core/rebuild.h"

#include "core/assert.h"
#include "core/replay.h"
#include "core/state.h"

#include <stdlib.h>

// In the table a lost instance has its reason in place of a state, whose first byte is never this.
#define LOST '!'

struct rebuild {
    struct rebuild_config config;
    struct table *table;
    size_t records;
    int64_t writes; // stands for offsets of a state topic
    size_t lost;
    // The event in hand.
    bool busy;
    struct slice key; // in the arena
    struct replay replay;
    struct arena arena;
    struct buf scratch;
};

struct rebuild *rebuild_new(const struct rebuild_config *config)
{
    struct rebuild *rebuild = calloc(1, sizeof *rebuild);
    if (rebuild == NULL)
        abort();
    rebuild->config = *config;
    rebuild->table = table_new(&config->limits);
    return rebuild;
}

void rebuild_free(struct rebuild **rebuild)
{
    if (*rebuild == NULL)
        return;
    table_free(&(*rebuild)->table);
    arena_fini(&(*rebuild)->arena);
    buf_fini(&(*rebuild)->scratch);
    free(*rebuild);
    *rebuild = NULL;
}

// --- the table

static bool is_lost(struct slice bytes)
{
    return bytes.len > 0 && bytes.ptr[0] == LOST;
}

static void ignore_chunk(void *context, uint64_t first, const struct table_finished *entries,
                         size_t count)
{
    (void)context, (void)first, (void)entries, (void)count;
}

static void commit(struct rebuild *rebuild)
{
    table_full_chunks(rebuild->table, ignore_chunk, NULL);
    table_commit(rebuild->table, rebuild->writes, rebuild->writes + 1);
    rebuild->writes++;
}

// What stands for the key will be replaced, or go.
static void forget(struct rebuild *rebuild, struct slice key)
{
    const struct table_entry *entry = table_lookup(rebuild->table, key);
    rebuild->lost -= entry != NULL && is_lost(entry->bytes);
}

static void lose(struct rebuild *rebuild, struct slice key, const struct err_text *text)
{
    size_t from = rebuild->scratch.len;
    forget(rebuild, key);
    buf_byte(&rebuild->scratch, LOST);
    buf_str(&rebuild->scratch, text->text);
    table_put(rebuild->table, key,
              slice_of(rebuild->scratch.ptr + from, rebuild->scratch.len - from), INT64_MAX);
    rebuild->scratch.len = from;
    rebuild->lost++;
    rebuild->busy = false;
    commit(rebuild);
}

static void finish(struct rebuild *rebuild, struct slice key, const struct history_doc *doc)
{
    static const enum saga_state ends[] = {[TRANSITION_SAGA_COMPLETED] = SAGA_COMPLETED,
                                           [TRANSITION_SAGA_COMPENSATED] = SAGA_COMPENSATED,
                                           [TRANSITION_SAGA_TERMINATED] = SAGA_TERMINATED};
    forget(rebuild, key);
    table_finish(rebuild->table, key, doc->incarnation, (uint32_t)ends[doc->transition],
                 doc->time_ms);
    rebuild->busy = false;
    commit(rebuild);
}

static void store(struct rebuild *rebuild)
{
    const struct saga *saga = rebuild->replay.saga;
    size_t from = rebuild->scratch.len;
    forget(rebuild, rebuild->key);
    saga_encode(saga, &rebuild->scratch);
    table_put(rebuild->table, rebuild->key,
              slice_of(rebuild->scratch.ptr + from, rebuild->scratch.len - from), saga_due(saga));
    rebuild->scratch.len = from;
    rebuild->busy = false;
    commit(rebuild);
}

// --- records

static enum ka_err find(const struct rebuild_config *config, const struct def_id *id,
                        const struct saga_def **def, struct err_text *text)
{
    return config->find(config->context, id, def, text);
}

static enum ka_err load(const struct rebuild_config *config, struct slice key, struct slice bytes,
                        struct arena *arena, struct saga **saga, struct err_text *text)
{
    struct saga_header header;
    const struct saga_def *def = NULL;
    enum ka_err err = saga_peek(bytes, &header, text);
    if (err == KA_OK)
        err = find(config, &header.def, &def, text);
    return err == KA_OK ? saga_decode(bytes, key, def, arena, saga, text) : err;
}

// The first record of an event.
static enum ka_err begin(struct rebuild *rebuild, struct slice key, const struct history_doc *doc,
                         struct err_text *text)
{
    const struct table_entry *entry = table_lookup(rebuild->table, key);
    const struct saga_def *def = NULL;
    struct saga *saga = NULL;
    enum ka_err err = KA_OK;
    if (doc->has_hash) { // what was live before has ended, be it unseen
        err = find(&rebuild->config, &doc->hash, &def, text);
    } else if (entry == NULL) {
        err = err_set(text, KA_ERR_DIFFERS, "its start is not in the history any more");
    } else {
        err = load(&rebuild->config, key, arena_copy(&rebuild->arena, entry->bytes),
                   &rebuild->arena, &saga, text);
        def = saga == NULL ? NULL : saga->def;
    }
    if (err != KA_OK)
        return err;
    rebuild->key = key;
    rebuild->busy = true;
    replay_init(&rebuild->replay, def, key, saga, &rebuild->arena, &rebuild->scratch);
    return KA_OK;
}

static bool is_end(const struct history_doc *doc)
{
    return history_doc_check(doc, NULL) == KA_OK &&
           (doc->transition == TRANSITION_SAGA_COMPLETED ||
            doc->transition == TRANSITION_SAGA_COMPENSATED ||
            doc->transition == TRANSITION_SAGA_TERMINATED);
}

static void take(struct rebuild *rebuild, struct slice key, const struct history_doc *doc)
{
    struct err_text text = {""};
    const struct table_entry *entry = table_lookup(rebuild->table, key);
    bool lost = entry != NULL && is_lost(entry->bytes) && !doc->has_hash;
    enum ka_err err = KA_OK;
    if (!lost && !rebuild->busy)
        err = begin(rebuild, key, doc, &text);
    if (!lost && err == KA_OK)
        err = replay_take(&rebuild->replay, doc, &text);
    if (is_end(doc))
        finish(rebuild, key, doc);
    else if (err != KA_OK)
        lose(rebuild, key, &text);
    else if (!lost && replay_rests(&rebuild->replay))
        store(rebuild);
}

void rebuild_take(struct rebuild *rebuild, const struct record *record)
{
    struct history_doc doc;
    if (!rebuild->busy)
        arena_reset(&rebuild->arena);
    struct slice key = arena_copy(&rebuild->arena, record->key);
    struct slice value = arena_copy(&rebuild->arena, record->value);
    rebuild->records++;
    bool read = history_doc_parse(value, &rebuild->arena, &doc, NULL) == KA_OK;
    if (!read || doc.incarnation < 0 || key.len == 0) // of no instance
        return;
    if (rebuild->busy && !slice_eq(key, rebuild->key)) {
        struct err_text text;
        (void)err_set(&text, KA_ERR_DIFFERS, "its history breaks off in the middle of an event");
        lose(rebuild, rebuild->key, &text);
    }
    take(rebuild, key, &doc);
}

void rebuild_end(struct rebuild *rebuild, int64_t now_ms)
{
    if (rebuild->busy) {
        struct err_text text;
        (void)err_set(&text, KA_ERR_DIFFERS, "its history ends in the middle of an event");
        lose(rebuild, rebuild->key, &text);
    }
    table_expire(rebuild->table, now_ms);
}

// --- what it came to

size_t rebuild_lost(struct rebuild *rebuild, struct slice *key, const char **why)
{
    size_t cursor = 0;
    const struct table_entry *entry;
    if (rebuild->lost == 0)
        return 0;
    while ((entry = table_walk(rebuild->table, &cursor)) != NULL && !is_lost(entry->bytes))
        ;
    KA_ASSERT(entry != NULL);
    *key = entry->key;
    *why = arena_str(&rebuild->arena, slice_of(entry->bytes.ptr + 1, entry->bytes.len - 1));
    return rebuild->lost;
}

struct table *rebuild_table(const struct rebuild *rebuild)
{
    return rebuild->table;
}

size_t rebuild_records(const struct rebuild *rebuild)
{
    return rebuild->records;
}

enum ka_err rebuild_due_times(const struct rebuild_config *config, struct table *table,
                              struct err_text *text)
{
    struct arena arena = {0};
    size_t cursor = 0;
    const struct table_entry *entry;
    enum ka_err err = KA_OK;
    while (err == KA_OK && (entry = table_walk(table, &cursor)) != NULL) {
        struct saga *saga = NULL;
        err = load(config, entry->key, entry->bytes, &arena, &saga, text);
        if (err == KA_OK)
            table_set_due(table, entry->key, saga_due(saga));
        else
            err_wrap(text, err, "state of %.*s", SLICE_FMT(entry->key));
        arena_reset(&arena);
    }
    arena_fini(&arena);
    return err;
}

static struct slice missing(struct table *a, struct table *b, struct arena *arena)
{
    size_t cursor = 0;
    const struct table_entry *entry;
    while ((entry = table_walk(a, &cursor)) != NULL) {
        const struct table_entry *other = table_lookup(b, entry->key);
        if (other == NULL || !slice_eq(entry->bytes, other->bytes))
            return arena_copy(arena, entry->key);
    }
    return SLICE_NONE;
}

struct slice rebuild_difference(struct table *a, struct table *b, struct arena *arena)
{
    struct slice key = missing(a, b, arena);
    return slice_none(key) ? missing(b, a, arena) : key;
}

void rebuild_write_all(struct rebuild *rebuild, rebuild_write *write, void *context)
{
    struct table *table = rebuild->table;
    struct buf *scratch = &rebuild->scratch;
    const struct table_finished *entries = NULL;
    struct state_chunk chunk;
    KA_ASSERT(rebuild->lost == 0 && !rebuild->busy);
    for (;;) {
        const struct table_entry *entry = table_oldest(table);
        if (table_oldest_chunk(table, &chunk.first_sequence, &entries, &chunk.count)) {
            buf_clear(scratch);
            state_chunk_key(chunk.first_sequence, scratch);
            size_t key_len = scratch->len;
            state_chunk_encode(&chunk, entries, scratch);
            write(context, slice_of(scratch->ptr, key_len),
                  slice_of(scratch->ptr + key_len, scratch->len - key_len));
            table_touch_chunk(table, chunk.first_sequence);
        } else if (entry != NULL) {
            write(context, entry->key, entry->bytes);
            table_touch(table, entry->key);
        } else {
            break;
        }
    }
    table_undo(table);
    buf_clear(scratch);
}
