// SPDX-License-Identifier: Apache-2.0
// The parts of a table, for its own files only: table.c (transactions, restore), table_item.c
// (keys), table_heap.c (due times), table_dedupe.c (chunks of finished instances), table_index.c
// (where a finished key stands in them).
#ifndef KA_CORE_TABLE_INTERNAL_H
#define KA_CORE_TABLE_INTERNAL_H

#include "core/assert.h"
#include "core/table.h"

// A ring with its anchor. An unlinked member keeps its neighbours: unlinked members that are
// linked again in the reverse order, with nothing pushed in between, stand where they stood.
struct link {
    struct link *prev;
    struct link *next;
};

static inline void link_init(struct link *anchor)
{
    *anchor = (struct link){anchor, anchor};
}

static inline void link_push(struct link *anchor, struct link *link)
{
    *link = (struct link){anchor->prev, anchor};
    link->prev->next = link;
    anchor->prev = link;
}

static inline void link_out(const struct link *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
}

static inline void link_back(struct link *link)
{
    link->prev->next = link;
    link->next->prev = link;
}

// A key: live, or finished by the open transaction (then it goes at commit).
struct item {
    struct link link; // first member; by the offset of the last state record
    struct table_entry entry;
    uint64_t hash;
    uint64_t sum; // of key and bytes: its part of table->sum while it is live
    char *block;  // what entry.bytes points to
    uint32_t block_cap;
    uint32_t heap_at;   // 1 + place in the heap, 0 = never due
    uint32_t change_at; // 1 + place in the log of the open transaction, 0 = unchanged
    uint32_t item_at;   // place in table->items
    bool live;
    char key[];
};

struct heap_row {
    int64_t due_ms;
    struct item *item;
};

struct heap {
    struct heap_row *rows;
    size_t count;
    size_t cap;
};

// Sequences [number * TABLE_CHUNK, (number + 1) * TABLE_CHUNK): one record of the state topic.
// Rows outside [low, high) and holes between (of a log that has lost records) are not remembered.
struct chunk {
    struct link link; // first member; by the offset of its record or of its first FINISHED
    uint64_t number;
    int64_t offset;
    uint32_t id;    // place in dedupe->by_id
    uint32_t low;   // first row
    uint32_t high;  // one past the last row
    uint32_t count; // rows that are remembered
    uint32_t newest_s;
    bool linked;  // confirmed: has its place in the list (kept while `touched`)
    bool touched; // to be written by the open transaction
    bool written; // its record holds it to the last row
    struct table_finished rows[TABLE_CHUNK];
};

struct chunk_touch {
    struct chunk *chunk;
    bool written; // before
};

struct segment {
    uint32_t *slots;
    uint32_t cap;
    uint32_t used; // slots that are not empty
};

enum {
    DEDUPE_SEGMENTS = 64,  // of the index: growing one of them must not stop a lane
    DEDUPE_CHUNKS = 60000, // 61 million finished instances of a shard
    DEDUPE_IDS = 65535,    // what a place has bits for: the rest is for one transaction
    DEDUPE_ROW_BITS = 10,
    DEDUPE_INDEX_BYTES = 8 // of one finished instance, at most
};

struct dedupe {
    struct chunk **sorted; // [head, head + count) by number
    size_t head;
    size_t count;
    size_t cap;
    struct chunk **by_id; // id 0 is never used
    uint32_t *free_ids;
    size_t id_count;
    size_t free_count;
    size_t id_cap;
    struct segment segments[DEDUPE_SEGMENTS];
    size_t index_bytes;
    struct link list;
    size_t linked;
    uint64_t next;      // sequence of the next finished instance
    uint32_t horizon_s; // what finished before is forgotten
    size_t rows;
    size_t dead; // rows of the first chunk from before the horizon
    uint64_t dropped;
    // The open transaction: what the index said before, for each sequence from first_open on.
    uint64_t first_open;
    uint32_t *shadowed;
    size_t shadowed_count;
    size_t shadowed_cap;
    struct chunk_touch *touches;
    size_t touch_count;
    size_t touch_cap;
};

// The first change of a key in the open transaction: what there was before.
struct change {
    struct item *item;
    char *block; // NULL: the item has it still, or it is new
    size_t len;
    uint32_t block_cap;
    int64_t due_ms;
    bool existed;
};

struct slot {
    uint64_t hash;
    struct item *item; // NULL = empty
};

struct table {
    struct table_limits limits;
    struct slot *slots; // open addressing, linear, a power of two
    size_t slot_cap;
    struct item **items; // all of them, densely
    size_t item_count;
    size_t item_cap;
    size_t live;
    uint64_t sum;      // of the live keys and their bytes, in any order
    size_t item_bytes; // held by items and the log
    struct link list;
    struct heap heap;
    int64_t end;
    bool open;         // a transaction has changed something
    int64_t low_water; // before the open transaction
    struct change *changes;
    size_t change_count;
    size_t change_cap;
    struct dedupe dedupe;
};

// malloc and the doubling of an array; without memory they abort, as an arena does.
void *table_alloc(size_t size);
void *table_grow(void *array, size_t *cap, size_t need, size_t element);

// NULL if the table has no such key; it may be one that is not live any more.
struct item *table_item_find(const struct table *table, struct slice key, uint64_t hash);
// A new key: not live, never due, in no list, without bytes.
struct item *table_item_add(struct table *table, struct slice key, uint64_t hash);
// Frees it. It is in no list and never due.
void table_item_remove(struct table *table, struct item *item);
// Replaces its bytes; they may be its own.
void table_item_store(struct table *table, struct item *item, struct slice bytes);
// … by bytes in its block.
void table_item_set(struct table *table, struct item *item, struct slice bytes);
void table_item_live(struct table *table, struct item *item, bool live);
// Gives back slots when most of them are not needed any more.
void table_item_shrink(struct table *table);

// Sets when an item is due: in, moved or (INT64_MAX) out.
void table_heap_set(struct heap *heap, struct item *item, int64_t due_ms);

// A place is where a row stands: chunk id and row; 0 = none.
static inline uint32_t dedupe_place(const struct chunk *chunk, uint32_t row)
{
    return chunk->id << DEDUPE_ROW_BITS | row;
}

static inline bool row_present(const struct table_finished *row)
{
    return row->incarnation != INT64_MIN;
}

// NULL if nothing is remembered there (any more).
static inline const struct table_finished *dedupe_row(const struct dedupe *dedupe, uint32_t place)
{
    const struct chunk *chunk = dedupe->by_id[place >> DEDUPE_ROW_BITS];
    if (chunk == NULL)
        return NULL;
    const struct table_finished *row = &chunk->rows[place & (TABLE_CHUNK - 1)];
    return row_present(row) ? row : NULL;
}

// The index knows the place of the newest row of each hash. `set` is called before the row is
// there; it returns the place known before (0 = none) and changes nothing if that one is newer.
// `reset` takes a set back.
uint32_t table_index_find(const struct dedupe *dedupe, uint64_t hash);
uint32_t table_index_set(struct dedupe *dedupe, uint64_t hash, uint32_t place);
void table_index_reset(struct dedupe *dedupe, uint64_t hash, uint32_t place, uint32_t previous);

void table_dedupe_init(struct dedupe *dedupe);
void table_dedupe_fini(struct dedupe *dedupe);
// Within the open transaction.
void table_dedupe_begin(struct dedupe *dedupe);
void table_dedupe_add(struct dedupe *dedupe, const struct table_finished *finished);
void table_dedupe_touch(struct dedupe *dedupe, struct chunk *chunk);
// Its ends. True if something now stands at `offset`.
bool table_dedupe_commit(struct dedupe *dedupe, int64_t offset);
void table_dedupe_undo(struct dedupe *dedupe);
// Outside of a transaction. `place` puts one restored row, `placed` ends its record.
struct chunk *table_dedupe_place(struct dedupe *dedupe, uint64_t sequence,
                                 const struct table_finished *finished, int64_t offset);
void table_dedupe_placed(struct dedupe *dedupe, struct chunk *chunk, uint32_t low, uint32_t high,
                         int64_t offset);
void table_dedupe_expire(struct dedupe *dedupe, uint32_t horizon_s);
void table_dedupe_limit(struct dedupe *dedupe, size_t max_bytes);
// NULL if there is none.
struct chunk *table_dedupe_chunk(const struct dedupe *dedupe, uint64_t number);
size_t table_dedupe_bytes(const struct dedupe *dedupe);
uint64_t table_dedupe_digest(const struct dedupe *dedupe);

#endif
