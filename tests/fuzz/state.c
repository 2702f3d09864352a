// SPDX-License-Identifier: Apache-2.0
// Records of the state topic: what decodes is what its encoder writes (numbers may be written
// longer than need be), and a table takes it.
#include "core/state.h"
#include "core/assert.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct table_finished entries[TABLE_CHUNK];
static struct table_finished again[TABLE_CHUNK];

static void restore(const struct state_chunk *chunk)
{
    struct table_limits limits = {.dedupe_window_ms = 1000, .dedupe_max = 1 << 20};
    struct table *table = table_new(&limits);
    table_restore_chunk(table, chunk->first_sequence, entries, chunk->count, 0);
    struct table_finished finished = {.incarnation = 1};
    table_restore_finished(table, SLICE_LIT("a"), chunk->first_sequence, &finished, 1);
    table_restore_chunk(table, chunk->first_sequence, entries, chunk->count, 2);
    KA_ASSERT(table_finished_count(table) <= chunk->count + 1);
    KA_ASSERT(table_next_sequence(table) >= chunk->first_sequence + chunk->count);
    table_finish(table, SLICE_LIT("b"), 3, 4, 5000);
    table_undo(table);
    table_expire(table, 5000);
    KA_ASSERT(table_finished_count(table) <= chunk->count + 1);
    table_free(&table);
}

static void chunk_again(struct slice bytes, struct buf *buf)
{
    struct state_chunk chunk;
    struct state_chunk second;
    struct err_text text;
    if (state_chunk_decode(bytes, &chunk, entries, TABLE_CHUNK, &text) != KA_OK)
        return;
    state_chunk_encode(&chunk, entries, buf);
    enum ka_err err = state_chunk_decode(buf_slice(buf), &second, again, TABLE_CHUNK, &text);
    KA_ASSERT(err == KA_OK && second.count == chunk.count);
    KA_ASSERT(memcmp(entries, again, chunk.count * sizeof *entries) == 0);
    restore(&chunk);
}

static void finished_again(struct slice bytes, struct buf *buf)
{
    struct state_finished finished;
    struct state_finished second;
    if (state_finished_decode(bytes, &finished, NULL) != KA_OK)
        return;
    state_finished_encode(&finished, buf);
    KA_ASSERT(state_finished_decode(buf_slice(buf), &second, NULL) == KA_OK);
    KA_ASSERT(second.sequence == finished.sequence && second.time_s == finished.time_s);
}

static void marker_again(struct slice bytes, struct buf *buf)
{
    struct state_marker marker;
    struct state_marker second;
    if (state_marker_decode(bytes, &marker, NULL) != KA_OK)
        return;
    state_marker_encode(&marker, buf);
    KA_ASSERT(state_marker_decode(buf_slice(buf), &second, NULL) == KA_OK);
    KA_ASSERT(slice_eq(second.token, marker.token));
    KA_ASSERT(memcmp(&second.counts, &marker.counts, sizeof second.counts) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = slice_of(data, size);
    struct buf buf = {0};
    switch (state_kind(bytes)) {
    case STATE_CHUNK:
        chunk_again(bytes, &buf);
        break;
    case STATE_FINISHED:
        finished_again(bytes, &buf);
        break;
    case STATE_MARKER:
        marker_again(bytes, &buf);
        break;
    case STATE_SAGA:
    case STATE_OTHER:
        break;
    }
    buf_fini(&buf);
    return 0;
}
