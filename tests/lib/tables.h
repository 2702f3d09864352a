// SPDX-License-Identifier: Apache-2.0
// What the tests of core/table.h have in common.
#ifndef KA_TESTS_TABLES_H
#define KA_TESTS_TABLES_H

#include "core/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
// cmocka wants the headers above it
#include <cmocka.h>

enum { HOUR_MS = 3600000 };

static inline struct table *fresh(void)
{
    struct table_limits limits = {.dedupe_window_ms = HOUR_MS, .dedupe_max = 1 << 24};
    return table_new(&limits);
}

static inline struct slice key_of(int i)
{
    static char text[4][32];
    static int turn;
    turn = (turn + 1) % 4;
    return slice_of(text[turn], (size_t)snprintf(text[turn], sizeof text[turn], "order/%d", i));
}

static inline void put(struct table *table, const char *key, const char *bytes, int64_t due_ms)
{
    table_put(table, slice_str(key), slice_str(bytes), due_ms);
}

static inline bool has(struct table *table, const char *key, const char *bytes)
{
    const struct table_entry *entry = table_lookup(table, slice_str(key));
    return entry != NULL && slice_eq(entry->bytes, slice_str(bytes));
}

static inline bool is_finished(struct table *table, const char *key, int64_t incarnation)
{
    const struct table_finished *row = table_lookup_finished(table, slice_str(key));
    return row != NULL && row->incarnation == incarnation;
}

static inline bool is(const struct table_entry *entry, const char *key)
{
    return entry != NULL && slice_eq(entry->key, slice_str(key));
}

static inline void finish(struct table *table, const char *key, int64_t incarnation, int64_t now_ms)
{
    table_finish(table, slice_str(key), incarnation, 4, now_ms);
}

// Finishes `count` keys, never put, the first with the number `from`, in the open transaction.
static inline void finish_many(struct table *table, int from, int count, int64_t now_ms)
{
    for (int i = from; i < from + count; i++)
        table_finish(table, key_of(i), i, 4, now_ms);
}

struct written {
    uint64_t first[8];
    size_t count[8];
    struct table_finished rows[8][TABLE_CHUNK];
    size_t chunks;
    size_t states;
};

static inline void on_chunk(void *context, uint64_t first, const struct table_finished *rows,
                            size_t count)
{
    struct written *written = context;
    assert_true(written->chunks < 8);
    written->first[written->chunks] = first;
    written->count[written->chunks] = count;
    memcpy(written->rows[written->chunks++], rows, count * sizeof *rows);
}

static inline void on_state(void *context, const struct table_entry *entry)
{
    assert_true(entry->key.len > 0);
    ((struct written *)context)->states++;
}

static struct written written;

static inline size_t full_chunks(struct table *table)
{
    written.chunks = 0;
    table_full_chunks(table, on_chunk, &written);
    return written.chunks;
}

#endif
