// SPDX-License-Identifier: Apache-2.0
// The keys of a table and how they are found: open addressing with linear probing and no
// tombstones; a slot has the hash, so a miss touches no key. Knows nothing of transactions.
#include "core/hash.h"
#include "core/table_internal.h"

#include <stdlib.h>

enum { SLOTS_MIN = 64 };

void *table_alloc(size_t size)
{
    void *memory = malloc(size);
    if (memory == NULL)
        abort();
    return memory;
}

void *table_grow(void *array, size_t *cap, size_t need, size_t element)
{
    if (need <= *cap)
        return array;
    size_t grown = *cap < 16 ? 16 : *cap;
    while (grown < need)
        grown *= 2;
    KA_ASSERT(grown <= SIZE_MAX / element);
    void *memory = realloc(array, grown * element);
    if (memory == NULL)
        abort();
    *cap = grown;
    return memory;
}

struct item *table_item_find(const struct table *table, struct slice key, uint64_t hash)
{
    if (table->slot_cap == 0)
        return NULL;
    size_t mask = table->slot_cap - 1;
    for (size_t at = hash & mask; table->slots[at].item != NULL; at = (at + 1) & mask)
        if (table->slots[at].hash == hash && slice_eq(table->slots[at].item->entry.key, key))
            return table->slots[at].item;
    return NULL;
}

static void put_slot(struct table *table, struct item *item)
{
    size_t mask = table->slot_cap - 1;
    size_t at = item->hash & mask;
    while (table->slots[at].item != NULL)
        at = (at + 1) & mask;
    table->slots[at] = (struct slot){item->hash, item};
}

static void resize_slots(struct table *table, size_t cap)
{
    free(table->slots);
    table->slots = calloc(cap, sizeof *table->slots);
    if (table->slots == NULL)
        abort();
    table->slot_cap = cap;
    for (size_t i = 0; i < table->item_count; i++)
        put_slot(table, table->items[i]);
}

static void remove_slot(struct table *table, const struct item *item)
{
    size_t mask = table->slot_cap - 1;
    size_t hole = item->hash & mask;
    while (table->slots[hole].item != item)
        hole = (hole + 1) & mask;
    for (size_t at = (hole + 1) & mask; table->slots[at].item != NULL; at = (at + 1) & mask) {
        size_t home = table->slots[at].hash & mask;
        if (((at - home) & mask) < ((at - hole) & mask))
            continue; // it would come to stand before its home
        table->slots[hole] = table->slots[at];
        hole = at;
    }
    table->slots[hole].item = NULL;
}

struct item *table_item_add(struct table *table, struct slice key, uint64_t hash)
{
    KA_ASSERT(table->item_count < UINT32_MAX - 1 && key.len <= UINT32_MAX);
    table->items =
        table_grow(table->items, &table->item_cap, table->item_count + 1, sizeof *table->items);
    struct item *item = table_alloc(sizeof *item + key.len);
    *item = (struct item){.hash = hash, .item_at = (uint32_t)table->item_count};
    if (key.len > 0)
        memcpy(item->key, key.ptr, key.len);
    item->entry = (struct table_entry){.key = {item->key, key.len}, .due_ms = INT64_MAX};
    table->items[table->item_count++] = item;
    table->item_bytes += sizeof *item + key.len;
    if (table->item_count * 4 > table->slot_cap * 3)
        resize_slots(table, table->slot_cap == 0 ? SLOTS_MIN : table->slot_cap * 2);
    else
        put_slot(table, item);
    return item;
}

// The item is in no list and not in the heap.
void table_item_remove(struct table *table, struct item *item)
{
    KA_ASSERT(item->heap_at == 0 && table->items[item->item_at] == item);
    remove_slot(table, item);
    struct item *last = table->items[--table->item_count];
    table->items[item->item_at] = last;
    last->item_at = item->item_at;
    table->item_bytes -= sizeof *item + item->entry.key.len + item->block_cap;
    free(item->block);
    free(item);
}

void table_item_shrink(struct table *table)
{
    size_t cap = table->slot_cap;
    while (cap > SLOTS_MIN && table->item_count * 8 < cap)
        cap /= 2;
    if (cap < table->slot_cap)
        resize_slots(table, cap);
}

// Replaces the bytes of an item. They may be its own.
void table_item_store(struct table *table, struct item *item, struct slice bytes)
{
    if (item->block == NULL || bytes.len > item->block_cap) {
        KA_ASSERT(bytes.len < UINT32_MAX / 2);
        size_t cap = ((bytes.len + 39) & ~(size_t)31) - 8; // what malloc(3) rounds up to
        char *block = table_alloc(cap);
        if (bytes.len > 0)
            memcpy(block, bytes.ptr, bytes.len);
        free(item->block);
        table->item_bytes += cap - item->block_cap;
        item->block = block;
        item->block_cap = (uint32_t)cap;
    } else if (bytes.len > 0) {
        memmove(item->block, bytes.ptr, bytes.len);
    }
    table_item_set(table, item, (struct slice){item->block, bytes.len});
}

void table_item_set(struct table *table, struct item *item, struct slice bytes)
{
    uint64_t sum = hash_bytes(bytes, item->hash);
    if (item->live)
        table->sum += sum - item->sum;
    item->sum = sum;
    item->entry.bytes = bytes;
}

void table_item_live(struct table *table, struct item *item, bool live)
{
    if (live != item->live)
        table->sum += live ? item->sum : -item->sum;
    table->live += (size_t)live - (size_t)item->live;
    item->live = live;
}
