// SPDX-License-Identifier: Apache-2.0
// The memory of finished instances: rows in chunks, a chunk for each TABLE_CHUNK sequences. A
// chunk stands in a list by the offset from which on the log holds it: that of its own record,
// or of the first FINISHED record since. Rows that come later are later in the log, so they do
// not move it. It goes as a whole when its newest row is from before the horizon; single rows
// from before the horizon are not shown, so what is remembered does not depend on how rows came
// to lie in chunks.
#include "core/table_internal.h"

#include "core/hash.h"

#include <stdlib.h>

// What a chunk costs with its part of the index.
#define CHUNK_BYTES (sizeof(struct chunk) + (size_t)TABLE_CHUNK * DEDUPE_INDEX_BYTES)

void table_dedupe_init(struct dedupe *dedupe)
{
    link_init(&dedupe->list);
}

void table_dedupe_fini(struct dedupe *dedupe)
{
    for (size_t i = 0; i < dedupe->count; i++)
        free(dedupe->sorted[dedupe->head + i]);
    for (size_t i = 0; i < DEDUPE_SEGMENTS; i++)
        free(dedupe->segments[i].slots);
    free(dedupe->sorted);
    free(dedupe->by_id);
    free(dedupe->free_ids);
    free(dedupe->shadowed);
    free(dedupe->touches);
    *dedupe = (struct dedupe){0};
}

static struct chunk *last_chunk(const struct dedupe *dedupe)
{
    return dedupe->count == 0 ? NULL : dedupe->sorted[dedupe->head + dedupe->count - 1];
}

// Index within the sorted chunks of the first that is not below `number`.
static size_t lower_bound(const struct dedupe *dedupe, uint64_t number)
{
    size_t low = 0;
    size_t high = dedupe->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (dedupe->sorted[dedupe->head + middle]->number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct chunk *table_dedupe_chunk(const struct dedupe *dedupe, uint64_t number)
{
    struct chunk *last = last_chunk(dedupe);
    if (last == NULL || last->number < number)
        return NULL;
    if (last->number == number)
        return last;
    struct chunk *chunk = dedupe->sorted[dedupe->head + lower_bound(dedupe, number)];
    return chunk->number == number ? chunk : NULL;
}

static uint32_t take_id(struct dedupe *dedupe)
{
    if (dedupe->free_count > 0)
        return dedupe->free_ids[--dedupe->free_count];
    size_t cap = dedupe->id_cap;
    size_t need = dedupe->id_count + 2;
    dedupe->by_id = table_grow(dedupe->by_id, &cap, need, sizeof *dedupe->by_id);
    dedupe->free_ids =
        table_grow(dedupe->free_ids, &dedupe->id_cap, need, sizeof *dedupe->free_ids);
    dedupe->by_id[0] = NULL;
    KA_ASSERT(dedupe->id_count < DEDUPE_IDS);
    return (uint32_t)++dedupe->id_count;
}

static void insert_sorted(struct dedupe *dedupe, struct chunk *chunk)
{
    if (dedupe->head > 0 && dedupe->head + dedupe->count == dedupe->cap) {
        memmove(dedupe->sorted, dedupe->sorted + dedupe->head,
                dedupe->count * sizeof *dedupe->sorted);
        dedupe->head = 0;
    }
    dedupe->sorted = table_grow(dedupe->sorted, &dedupe->cap, dedupe->head + dedupe->count + 1,
                                sizeof *dedupe->sorted);
    size_t at = lower_bound(dedupe, chunk->number);
    struct chunk **place = dedupe->sorted + dedupe->head + at;
    memmove(place + 1, place, (dedupe->count - at) * sizeof *place);
    *place = chunk;
    dedupe->count++;
}

static struct chunk *add_chunk(struct dedupe *dedupe, uint64_t number)
{
    struct chunk *chunk = table_alloc(sizeof *chunk);
    memset(chunk, 0, sizeof *chunk - sizeof chunk->rows);
    for (size_t i = 0; i < TABLE_CHUNK; i++)
        chunk->rows[i] = (struct table_finished){.incarnation = INT64_MIN};
    chunk->number = number;
    chunk->low = TABLE_CHUNK;
    chunk->id = take_id(dedupe);
    dedupe->by_id[chunk->id] = chunk;
    insert_sorted(dedupe, chunk);
    return chunk;
}

// `chunk` is the first or the last of the sorted ones.
static void remove_chunk(struct dedupe *dedupe, struct chunk *chunk)
{
    KA_ASSERT(!chunk->touched);
    if (dedupe->sorted[dedupe->head] == chunk) {
        dedupe->head++;
    } else {
        KA_ASSERT(last_chunk(dedupe) == chunk);
    }
    dedupe->count--;
    if (chunk->linked) {
        link_out(&chunk->link);
        dedupe->linked--;
    }
    dedupe->rows -= chunk->count;
    dedupe->by_id[chunk->id] = NULL;
    dedupe->free_ids[dedupe->free_count++] = chunk->id;
    free(chunk);
}

// Returns the place that the index had for this hash before.
static uint32_t fill_row(struct dedupe *dedupe, struct chunk *chunk, uint32_t at,
                         const struct table_finished *finished)
{
    struct table_finished *row = &chunk->rows[at];
    KA_ASSERT(!row_present(row));
    uint32_t previous = table_index_set(dedupe, finished->hash, dedupe_place(chunk, at));
    *row = *finished;
    if (row->incarnation == INT64_MIN) // no incarnation is an offset below zero
        row->incarnation++;
    if (at < chunk->low)
        chunk->low = at;
    if (at + 1 > chunk->high)
        chunk->high = at + 1;
    if (row->time_s > chunk->newest_s)
        chunk->newest_s = row->time_s;
    chunk->count++;
    dedupe->rows++;
    return previous;
}

static void clear_row(struct dedupe *dedupe, struct chunk *chunk, uint32_t at)
{
    KA_ASSERT(row_present(&chunk->rows[at]) && chunk->count > 0);
    chunk->rows[at].incarnation = INT64_MIN;
    chunk->count--;
    dedupe->rows--;
}

void table_dedupe_begin(struct dedupe *dedupe)
{
    KA_ASSERT(dedupe->shadowed_count == 0 && dedupe->touch_count == 0);
    dedupe->first_open = dedupe->next;
}

void table_dedupe_add(struct dedupe *dedupe, const struct table_finished *finished)
{
    uint64_t number = dedupe->next / TABLE_CHUNK;
    struct chunk *chunk = last_chunk(dedupe);
    if (chunk == NULL || chunk->number != number)
        chunk = add_chunk(dedupe, number);
    uint32_t at = (uint32_t)(dedupe->next % TABLE_CHUNK);
    uint32_t previous = fill_row(dedupe, chunk, at, finished);
    dedupe->shadowed = table_grow(dedupe->shadowed, &dedupe->shadowed_cap,
                                  dedupe->shadowed_count + 1, sizeof *dedupe->shadowed);
    dedupe->shadowed[dedupe->shadowed_count++] = previous;
    dedupe->next++;
}

void table_dedupe_touch(struct dedupe *dedupe, struct chunk *chunk)
{
    bool written = chunk->written;
    chunk->written = chunk->high == TABLE_CHUNK;
    if (chunk->touched)
        return;
    dedupe->touches = table_grow(dedupe->touches, &dedupe->touch_cap, dedupe->touch_count + 1,
                                 sizeof *dedupe->touches);
    dedupe->touches[dedupe->touch_count++] = (struct chunk_touch){chunk, written};
    chunk->touched = true;
    if (chunk->linked)
        link_out(&chunk->link);
}

static void push_chunk(struct dedupe *dedupe, struct chunk *chunk, int64_t offset)
{
    chunk->offset = offset;
    link_push(&dedupe->list, &chunk->link);
    dedupe->linked += !chunk->linked;
    chunk->linked = true;
}

bool table_dedupe_commit(struct dedupe *dedupe, int64_t offset)
{
    bool pushed = dedupe->touch_count > 0 || dedupe->shadowed_count > 0;
    for (size_t i = 0; i < dedupe->touch_count; i++) {
        dedupe->touches[i].chunk->touched = false;
        push_chunk(dedupe, dedupe->touches[i].chunk, offset);
    }
    size_t at = dedupe->head + dedupe->count;
    while (at > dedupe->head && !dedupe->sorted[at - 1]->linked)
        at--;
    for (; at < dedupe->head + dedupe->count; at++)
        push_chunk(dedupe, dedupe->sorted[at], offset);
    dedupe->touch_count = 0;
    dedupe->shadowed_count = 0;
    return pushed;
}

// Takes back the newest row.
static void pop_row(struct dedupe *dedupe, uint32_t previous)
{
    struct chunk *chunk = last_chunk(dedupe);
    uint32_t at = (uint32_t)(--dedupe->next % TABLE_CHUNK);
    KA_ASSERT(chunk->number == dedupe->next / TABLE_CHUNK && chunk->high == at + 1);
    table_index_reset(dedupe, chunk->rows[at].hash, dedupe_place(chunk, at), previous);
    clear_row(dedupe, chunk, at);
    chunk->high = at;
    if (chunk->high == chunk->low)
        remove_chunk(dedupe, chunk);
}

static void find_newest(struct chunk *chunk)
{
    chunk->newest_s = 0;
    for (uint32_t i = chunk->low; i < chunk->high; i++)
        if (row_present(&chunk->rows[i]) && chunk->rows[i].time_s > chunk->newest_s)
            chunk->newest_s = chunk->rows[i].time_s;
}

void table_dedupe_undo(struct dedupe *dedupe)
{
    while (dedupe->touch_count > 0) {
        struct chunk_touch *touch = &dedupe->touches[--dedupe->touch_count];
        touch->chunk->touched = false;
        touch->chunk->written = touch->written;
        if (touch->chunk->linked)
            link_back(&touch->chunk->link);
    }
    bool popped = dedupe->shadowed_count > 0;
    while (dedupe->shadowed_count > 0)
        pop_row(dedupe, dedupe->shadowed[--dedupe->shadowed_count]);
    dedupe->next = dedupe->first_open;
    if (popped && dedupe->count > 0) {
        struct chunk *last = last_chunk(dedupe);
        while (last->high > last->low && !row_present(&last->rows[last->high - 1]))
            last->high--;
        find_newest(last);
    }
}

struct chunk *table_dedupe_place(struct dedupe *dedupe, uint64_t sequence,
                                 const struct table_finished *finished, int64_t offset)
{
    if (sequence >= dedupe->next)
        dedupe->next = sequence + 1;
    struct chunk *chunk = table_dedupe_chunk(dedupe, sequence / TABLE_CHUNK);
    if (chunk == NULL) {
        chunk = add_chunk(dedupe, sequence / TABLE_CHUNK);
        push_chunk(dedupe, chunk, offset);
    }
    uint32_t at = (uint32_t)(sequence % TABLE_CHUNK);
    if (row_present(&chunk->rows[at]) && chunk->rows[at].hash != finished->hash)
        clear_row(dedupe, chunk, at);
    if (!row_present(&chunk->rows[at]))
        fill_row(dedupe, chunk, at, finished);
    return chunk;
}

void table_dedupe_placed(struct dedupe *dedupe, struct chunk *chunk, uint32_t low, uint32_t high,
                         int64_t offset)
{
    if (low > chunk->low || high < chunk->high)
        return; // other records are needed still
    chunk->written = high == TABLE_CHUNK;
    link_out(&chunk->link);
    push_chunk(dedupe, chunk, offset);
}

static void count_dead(struct dedupe *dedupe)
{
    dedupe->dead = 0;
    if (dedupe->count == 0)
        return;
    const struct chunk *chunk = dedupe->sorted[dedupe->head];
    for (uint32_t i = chunk->low; i < chunk->high; i++)
        dedupe->dead += row_present(&chunk->rows[i]) && chunk->rows[i].time_s < dedupe->horizon_s;
}

void table_dedupe_expire(struct dedupe *dedupe, uint32_t horizon_s)
{
    if (horizon_s > dedupe->horizon_s)
        dedupe->horizon_s = horizon_s;
    while (dedupe->count > 0 && dedupe->sorted[dedupe->head]->newest_s < dedupe->horizon_s)
        remove_chunk(dedupe, dedupe->sorted[dedupe->head]);
    count_dead(dedupe);
}

void table_dedupe_limit(struct dedupe *dedupe, size_t max_bytes)
{
    size_t max = max_bytes / CHUNK_BYTES < 2 ? 2 : max_bytes / CHUNK_BYTES;
    if (max > DEDUPE_CHUNKS)
        max = DEDUPE_CHUNKS;
    while (dedupe->count > max) {
        dedupe->dropped += dedupe->sorted[dedupe->head]->count - dedupe->dead;
        remove_chunk(dedupe, dedupe->sorted[dedupe->head]);
        count_dead(dedupe);
    }
}

size_t table_dedupe_bytes(const struct dedupe *dedupe)
{
    return dedupe->count * sizeof(struct chunk) + dedupe->index_bytes +
           dedupe->cap * sizeof *dedupe->sorted +
           dedupe->id_cap * (sizeof *dedupe->by_id + sizeof *dedupe->free_ids) +
           dedupe->shadowed_cap * sizeof *dedupe->shadowed +
           dedupe->touch_cap * sizeof *dedupe->touches;
}

uint64_t table_dedupe_digest(const struct dedupe *dedupe)
{
    uint64_t sum = 0;
    for (size_t c = 0; c < dedupe->count; c++) {
        const struct chunk *chunk = dedupe->sorted[dedupe->head + c];
        for (uint32_t i = chunk->low; i < chunk->high; i++) {
            const struct table_finished *row = &chunk->rows[i];
            if (!row_present(row) || row->time_s < dedupe->horizon_s)
                continue;
            uint64_t h = hash_mix(row->hash ^ hash_mix((uint64_t)row->incarnation));
            sum += hash_mix(h ^ ((uint64_t)row->time_s << 32 | row->outcome));
        }
    }
    return sum;
}
