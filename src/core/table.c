// SPDX-License-Identifier: Apache-2.0
// Transactions and restore. The hash table, the due times, the memory of finished instances and
// its index are in table_item.c, table_heap.c, table_dedupe.c and table_index.c.
//
// A key that the open transaction changes leaves the live list at once and has one record in the
// log of changes. Commit pushes it to the end of the list or, finished, frees it; undo goes
// through the log backwards, and so every key finds its neighbours as it left them.
#include "core/hash.h"
#include "core/table_internal.h"

#include <stdlib.h>

struct table *table_new(const struct table_limits *limits)
{
    KA_ASSERT(limits->dedupe_window_ms >= 0);
    struct table *table = table_alloc(sizeof *table);
    *table = (struct table){.limits = *limits};
    link_init(&table->list);
    table_dedupe_init(&table->dedupe);
    return table;
}

void table_free(struct table **table)
{
    struct table *gone = *table;
    *table = NULL;
    if (gone == NULL)
        return;
    for (size_t i = 0; i < gone->change_count; i++)
        free(gone->changes[i].block);
    for (size_t i = 0; i < gone->item_count; i++) {
        free(gone->items[i]->block);
        free(gone->items[i]);
    }
    table_dedupe_fini(&gone->dedupe);
    free(gone->changes);
    free(gone->heap.rows);
    free(gone->items);
    free(gone->slots);
    free(gone);
}

static void push_item(struct table *table, struct item *item, int64_t offset)
{
    item->entry.offset = offset;
    link_push(&table->list, &item->link);
}

// --- what is there ---

const struct table_entry *table_lookup(struct table *table, struct slice key)
{
    const struct item *item = table_item_find(table, key, hash_bytes(key, 0));
    return item == NULL || !item->live ? NULL : &item->entry;
}

const struct table_finished *table_lookup_finished(struct table *table, struct slice key)
{
    uint64_t hash = hash_bytes(key, 0);
    const struct item *item = table_item_find(table, key, hash);
    uint32_t place = table_index_find(&table->dedupe, hash);
    if (place == 0 || (item != NULL && item->live))
        return NULL;
    const struct table_finished *row = dedupe_row(&table->dedupe, place);
    return row->time_s < table->dedupe.horizon_s ? NULL : row;
}

const struct table_entry *table_due(struct table *table)
{
    return table->heap.count == 0 ? NULL : &table->heap.rows[0].item->entry;
}

static struct item *oldest_item(const struct table *table)
{
    return table->list.next == &table->list ? NULL : (struct item *)table->list.next;
}

static struct chunk *oldest_chunk(const struct table *table)
{
    const struct link *list = &table->dedupe.list;
    return list->next == list ? NULL : (struct chunk *)list->next;
}

const struct table_entry *table_oldest(struct table *table)
{
    struct item *item = oldest_item(table);
    return item == NULL ? NULL : &item->entry;
}

// The lowest offset of what the open transaction has not changed, INT64_MAX if there is nothing.
static int64_t head_offset(const struct table *table)
{
    const struct item *item = oldest_item(table);
    const struct chunk *chunk = oldest_chunk(table);
    int64_t offset = item == NULL ? INT64_MAX : item->entry.offset;
    return chunk == NULL || offset < chunk->offset ? offset : chunk->offset;
}

static int64_t low_water(const struct table *table)
{
    int64_t head = head_offset(table);
    return head == INT64_MAX ? table->end : head;
}

int64_t table_low_water(const struct table *table)
{
    return table->open ? table->low_water : low_water(table);
}

int64_t table_end(const struct table *table)
{
    return table->end;
}

bool table_oldest_chunk(struct table *table, uint64_t *first_sequence,
                        const struct table_finished **entries, size_t *count)
{
    const struct chunk *chunk = oldest_chunk(table);
    if (chunk == NULL || chunk->offset != head_offset(table))
        return false;
    *first_sequence = chunk->number * TABLE_CHUNK + chunk->low;
    *entries = chunk->rows + chunk->low;
    *count = chunk->high - chunk->low;
    return true;
}

uint64_t table_next_sequence(const struct table *table)
{
    return table->dedupe.next;
}

size_t table_count(const struct table *table)
{
    return table->live;
}

size_t table_finished_count(const struct table *table)
{
    return table->dedupe.rows - table->dedupe.dead;
}

size_t table_chunk_count(const struct table *table)
{
    return table->dedupe.linked;
}

uint64_t table_dropped(const struct table *table)
{
    return table->dedupe.dropped;
}

size_t table_bytes(const struct table *table)
{
    return sizeof *table + table->item_bytes + table->slot_cap * sizeof *table->slots +
           table->item_cap * sizeof *table->items + table->heap.cap * sizeof *table->heap.rows +
           table->change_cap * sizeof *table->changes;
}

size_t table_finished_bytes(const struct table *table)
{
    return table_dedupe_bytes(&table->dedupe);
}

// Backwards, because a removed item's place is taken by the last one: nothing is missed. The
// cursor is 1 + what is left.
const struct table_entry *table_walk(struct table *table, size_t *cursor)
{
    size_t left = *cursor == 0 ? table->item_count : *cursor - 1;
    if (left > table->item_count)
        left = table->item_count;
    while (left > 0 && !table->items[left - 1]->live)
        left--;
    *cursor = left == 0 ? 1 : left;
    return left == 0 ? NULL : &table->items[left - 1]->entry;
}

int64_t table_sum(const struct table *table)
{
    return (int64_t)(table->sum & INT64_MAX);
}

uint64_t table_digest(struct table *table)
{
    uint64_t sum = table_dedupe_digest(&table->dedupe);
    for (size_t i = 0; i < table->item_count; i++) {
        const struct item *item = table->items[i];
        if (item->live)
            sum +=
                hash_bytes(item->entry.bytes, item->hash ^ hash_mix((uint64_t)item->entry.due_ms));
    }
    return hash_mix(sum);
}

// --- the open transaction ---

static void begin(struct table *table)
{
    if (table->open)
        return;
    table->low_water = low_water(table);
    table->open = true;
    table_dedupe_begin(&table->dedupe);
}

static struct change *keep(struct table *table, struct item *item)
{
    begin(table);
    if (item->change_at != 0)
        return &table->changes[item->change_at - 1];
    table->changes = table_grow(table->changes, &table->change_cap, table->change_count + 1,
                                sizeof *table->changes);
    struct change *change = &table->changes[table->change_count++];
    *change = (struct change){.item = item, .due_ms = item->entry.due_ms, .existed = item->live};
    item->change_at = (uint32_t)table->change_count;
    if (change->existed)
        link_out(&item->link);
    return change;
}

void table_put(struct table *table, struct slice key, struct slice bytes, int64_t due_ms)
{
    uint64_t hash = hash_bytes(key, 0);
    struct item *item = table_item_find(table, key, hash);
    if (item == NULL)
        item = table_item_add(table, key, hash);
    struct change *change = keep(table, item);
    if (change->existed && change->block == NULL) {
        change->block = item->block;
        change->len = item->entry.bytes.len;
        change->block_cap = item->block_cap;
        item->block = NULL;
        item->block_cap = 0;
    }
    table_item_store(table, item, bytes);
    table_item_live(table, item, true);
    table_heap_set(&table->heap, item, due_ms);
}

void table_touch(struct table *table, struct slice key)
{
    struct item *item = table_item_find(table, key, hash_bytes(key, 0));
    KA_ASSERT(item != NULL && item->live);
    keep(table, item);
}

void table_finish(struct table *table, struct slice key, int64_t incarnation, uint32_t outcome,
                  int64_t now_ms)
{
    KA_ASSERT(now_ms >= 0 && now_ms / 1000 <= UINT32_MAX);
    uint64_t hash = hash_bytes(key, 0);
    struct item *item = table_item_find(table, key, hash);
    begin(table);
    if (item != NULL && item->live) {
        keep(table, item);
        table_heap_set(&table->heap, item, INT64_MAX);
        table_item_live(table, item, false);
    }
    struct table_finished finished = {hash, incarnation, (uint32_t)(now_ms / 1000), outcome};
    if (table->limits.dedupe_window_ms > 0)
        table_dedupe_add(&table->dedupe, &finished);
    else
        table->dedupe.next++;
}

void table_full_chunks(struct table *table, table_write_chunk *write, void *context)
{
    struct dedupe *dedupe = &table->dedupe;
    size_t end = dedupe->head + dedupe->count;
    if (dedupe->count > 0 && dedupe->sorted[end - 1]->high < TABLE_CHUNK)
        end--;
    size_t at = end; // full chunks are written in their order: the others are the last
    while (at > dedupe->head && dedupe->sorted[at - 1]->high == TABLE_CHUNK &&
           !dedupe->sorted[at - 1]->written)
        at--;
    for (; at < end; at++) {
        begin(table);
        struct chunk *chunk = dedupe->sorted[at];
        table_dedupe_touch(dedupe, chunk);
        write(context, chunk->number * TABLE_CHUNK + chunk->low, chunk->rows + chunk->low,
              chunk->high - chunk->low);
    }
}

void table_touch_chunk(struct table *table, uint64_t first_sequence)
{
    struct chunk *chunk = table_dedupe_chunk(&table->dedupe, first_sequence / TABLE_CHUNK);
    KA_ASSERT(chunk != NULL && chunk->number * TABLE_CHUNK + chunk->low == first_sequence);
    begin(table);
    table_dedupe_touch(&table->dedupe, chunk);
}

// The lists are in the order of the offsets. A log that lost its end goes on below what is known;
// then the bound of everything is there.
static void lower_offsets(struct table *table, int64_t offset)
{
    for (size_t i = 0; i < table->item_count; i++)
        if (table->items[i]->entry.offset > offset)
            table->items[i]->entry.offset = offset;
    for (struct link *link = table->dedupe.list.next; link != &table->dedupe.list;
         link = link->next)
        if (((struct chunk *)link)->offset > offset)
            ((struct chunk *)link)->offset = offset;
}

void table_commit(struct table *table, int64_t first_offset, int64_t end_offset)
{
    KA_ASSERT(first_offset < end_offset || first_offset < 0);
    bool pushed = false;
    if (first_offset >= 0 && first_offset < table->end)
        lower_offsets(table, first_offset);
    for (size_t i = 0; i < table->change_count; i++) {
        struct change *change = &table->changes[i];
        struct item *item = change->item;
        item->change_at = 0;
        table->item_bytes -= change->block_cap;
        free(change->block);
        if (item->live) {
            push_item(table, item, first_offset);
            pushed = true;
        } else {
            table_item_remove(table, item);
        }
    }
    table->change_count = 0;
    pushed |= table_dedupe_commit(&table->dedupe, first_offset);
    KA_ASSERT(!pushed || first_offset >= 0);
    table->open = false;
    if (end_offset > table->end)
        table->end = end_offset;
    table_dedupe_limit(&table->dedupe, table->limits.dedupe_max);
    table_item_shrink(table);
}

static void undo_change(struct table *table, const struct change *change)
{
    struct item *item = change->item;
    item->change_at = 0;
    if (!change->existed) {
        table_heap_set(&table->heap, item, INT64_MAX);
        table_item_live(table, item, false);
        table_item_remove(table, item);
        return;
    }
    if (change->block != NULL) {
        table->item_bytes -= item->block_cap;
        free(item->block);
        item->block = change->block;
        item->block_cap = change->block_cap;
        table_item_set(table, item, (struct slice){item->block, change->len});
    }
    table_item_live(table, item, true);
    table_heap_set(&table->heap, item, change->due_ms);
    link_back(&item->link);
}

void table_undo(struct table *table)
{
    while (table->change_count > 0)
        undo_change(table, &table->changes[--table->change_count]);
    if (table->open)
        table_dedupe_undo(&table->dedupe);
    table->open = false;
    KA_ASSERT(table->live == table->item_count);
}

// --- the low-water mark moves on ---

// A chunk's record is as long as this many states of 400 bytes; to write it again as often as one
// of them would be most of what a shard writes.
enum { CHUNK_WEIGHT = 64 };

bool table_lagging(const struct table *table, int64_t lag_max)
{
    int64_t keys = (int64_t)(table->live + CHUNK_WEIGHT * table->dedupe.linked);
    int64_t allowed = 2 * keys > lag_max ? 2 * keys : lag_max;
    int64_t head = head_offset(table);
    return head != INT64_MAX && table->end - head > allowed;
}

size_t table_reappend(struct table *table, const struct table_reappend *how)
{
    size_t done = 0;
    for (; done < how->max && table_lagging(table, how->lag_max); done++) {
        uint64_t first = 0;
        const struct table_finished *entries = NULL;
        size_t count = 0;
        begin(table);
        if (table_oldest_chunk(table, &first, &entries, &count)) {
            table_touch_chunk(table, first);
            how->chunk(how->context, first, entries, count);
        } else {
            struct item *item = oldest_item(table);
            keep(table, item);
            how->state(how->context, &item->entry);
        }
    }
    return done;
}

// --- outside of a transaction ---

void table_expire(struct table *table, int64_t now_ms)
{
    KA_ASSERT(!table->open);
    int64_t horizon = (now_ms - table->limits.dedupe_window_ms) / 1000;
    if (horizon < 0)
        horizon = 0;
    if (horizon > UINT32_MAX)
        horizon = UINT32_MAX;
    table_dedupe_expire(&table->dedupe, (uint32_t)horizon);
}

static void read_up_to(struct table *table, int64_t offset)
{
    KA_ASSERT(!table->open && offset >= table->end); // in the order of the log
    table->end = offset + 1;
}

void table_restore_put(struct table *table, struct slice key, struct slice bytes, int64_t offset)
{
    read_up_to(table, offset);
    uint64_t hash = hash_bytes(key, 0);
    struct item *item = table_item_find(table, key, hash);
    if (item == NULL)
        item = table_item_add(table, key, hash);
    else
        link_out(&item->link);
    table_item_store(table, item, bytes);
    table_item_live(table, item, true);
    table_heap_set(&table->heap, item, INT64_MAX);
    push_item(table, item, offset);
}

void table_restore_finished(struct table *table, struct slice key, uint64_t sequence,
                            const struct table_finished *finished, int64_t offset)
{
    read_up_to(table, offset);
    struct table_finished row = *finished;
    row.hash = hash_bytes(key, 0);
    struct item *item = table_item_find(table, key, row.hash);
    if (item != NULL) {
        link_out(&item->link);
        table_heap_set(&table->heap, item, INT64_MAX);
        table_item_live(table, item, false);
        table_item_remove(table, item);
    }
    if (table->limits.dedupe_window_ms > 0)
        table_dedupe_place(&table->dedupe, sequence, &row, offset);
    else if (sequence >= table->dedupe.next)
        table->dedupe.next = sequence + 1;
    table_dedupe_limit(&table->dedupe, table->limits.dedupe_max);
}

void table_restore_chunk(struct table *table, uint64_t first_sequence,
                         const struct table_finished *entries, size_t count, int64_t offset)
{
    uint32_t low = (uint32_t)(first_sequence % TABLE_CHUNK);
    KA_ASSERT(count <= TABLE_CHUNK - low);
    read_up_to(table, offset);
    struct chunk *chunk = NULL;
    if (table->limits.dedupe_window_ms > 0) {
        for (size_t i = 0; i < count; i++)
            if (row_present(&entries[i]))
                chunk = table_dedupe_place(&table->dedupe, first_sequence + i, &entries[i], offset);
    }
    if (chunk != NULL)
        table_dedupe_placed(&table->dedupe, chunk, low, low + (uint32_t)count, offset);
    if (first_sequence + count > table->dedupe.next)
        table->dedupe.next = first_sequence + count;
    table_dedupe_limit(&table->dedupe, table->limits.dedupe_max);
}

void table_restore_end(struct table *table, int64_t end)
{
    KA_ASSERT(!table->open);
    if (end > table->end)
        table->end = end;
}

void table_set_due(struct table *table, struct slice key, int64_t due_ms)
{
    KA_ASSERT(!table->open);
    struct item *item = table_item_find(table, key, hash_bytes(key, 0));
    KA_ASSERT(item != NULL && item->live);
    table_heap_set(&table->heap, item, due_ms);
}
