// SPDX-License-Identifier: Apache-2.0
// From the hash of a finished key to its row, in 8 bytes or less for each: open addressing with
// slots of 4 bytes {tag 6, chunk id 16, row 10}. The row holds the whole hash.
//
// What makes it hard:
//  1. Chunks are forgotten as a whole, and going through the index for each of their rows would
//     cost as much as having added them. So nothing is taken out: a slot whose row is gone is
//     dead, is taken for a new row when one comes by, and falls away when its segment is rebuilt.
//  2. A dead slot comes to life again when its place is used for another row. That is why `set`
//     comes before the row is there: it goes to the end of the chain and makes every dead slot
//     with its tag a tomb, so no slot of the chain but the new one leads to the new row.
//  3. Rebuilding stops the lane. The index is cut into segments that grow one at a time, from
//     half full to three quarters.
#include "core/table_internal.h"

#include <stdlib.h>

enum { EMPTY = 0, TOMB = 1, SEGMENT_MIN = 16, TAG_SHIFT = 26 };
#define PLACE_MASK ((1U << TAG_SHIFT) - 1)

static uint32_t slot_of(uint64_t hash, uint32_t place)
{
    return (uint32_t)(hash >> 6 & 63) << TAG_SHIFT | place;
}

static uint32_t home_of(const struct segment *segment, uint64_t hash)
{
    return (uint32_t)((hash >> 32) * segment->cap >> 32);
}

static uint64_t sequence_of(const struct dedupe *dedupe, uint32_t place)
{
    const struct chunk *chunk = dedupe->by_id[place >> DEDUPE_ROW_BITS];
    return chunk->number * TABLE_CHUNK + (place & (TABLE_CHUNK - 1));
}

uint32_t table_index_find(const struct dedupe *dedupe, uint64_t hash)
{
    const struct segment *segment = &dedupe->segments[hash % DEDUPE_SEGMENTS];
    if (segment->cap == 0)
        return 0;
    uint32_t tag = slot_of(hash, 0);
    for (uint32_t at = home_of(segment, hash); segment->slots[at] != EMPTY;) {
        uint32_t slot = segment->slots[at];
        if ((slot & ~PLACE_MASK) == tag) {
            const struct table_finished *row = dedupe_row(dedupe, slot & PLACE_MASK);
            if (row != NULL && row->hash == hash)
                return slot & PLACE_MASK;
        }
        at = at + 1 == segment->cap ? 0 : at + 1;
    }
    return 0;
}

// What a walk along a chain has come by.
struct walk {
    uint32_t *found;  // leads to a row of this hash: the first one is the newest
    uint32_t *unused; // may be taken
};

// A slot that is a tomb or has the tag of `hash`.
static void look_at(const struct dedupe *dedupe, uint32_t *slot, uint64_t hash, struct walk *walk)
{
    if (*slot != TOMB) {
        const struct table_finished *row = dedupe_row(dedupe, *slot & PLACE_MASK);
        if (row == NULL)
            *slot = TOMB;
        else if (row->hash == hash && walk->found == NULL)
            walk->found = slot;
    }
    if (*slot == TOMB && walk->unused == NULL)
        walk->unused = slot;
}

static inline uint32_t put_slot(struct dedupe *dedupe, struct segment *segment, uint64_t hash,
                                uint32_t wanted)
{
    struct walk walk = {NULL, NULL};
    uint32_t *slot = segment->slots + home_of(segment, hash);
    const uint32_t *end = segment->slots + segment->cap;
    while (*slot != EMPTY) {
        if ((*slot ^ wanted) <= PLACE_MASK || *slot == TOMB)
            look_at(dedupe, slot, hash, &walk);
        if (++slot == end)
            slot = segment->slots;
    }
    if (walk.found == NULL) {
        segment->used += walk.unused == NULL;
        *(walk.unused == NULL ? slot : walk.unused) = wanted;
        return 0;
    }
    uint32_t previous = *walk.found & PLACE_MASK;
    if (sequence_of(dedupe, previous) <= sequence_of(dedupe, wanted & PLACE_MASK))
        *walk.found = wanted;
    return previous;
}

// Moves the slots that lead to a row of this segment to the front; returns their number.
static uint32_t compact(const struct dedupe *dedupe, struct segment *segment, uint64_t *hashes)
{
    size_t index = (size_t)(segment - dedupe->segments);
    uint32_t count = 0;
    for (uint32_t at = 0; at < segment->cap; at++) {
        uint32_t slot = segment->slots[at];
        const struct table_finished *row = dedupe_row(dedupe, slot & PLACE_MASK);
        if (row == NULL || row->hash % DEDUPE_SEGMENTS != index ||
            slot_of(row->hash, slot & PLACE_MASK) != slot)
            continue;
        hashes[count] = row->hash;
        segment->slots[count++] = slot;
    }
    return count;
}

static void rebuild(struct dedupe *dedupe, struct segment *segment)
{
    uint64_t *hashes = table_alloc((segment->used + 1) * sizeof *hashes);
    uint32_t count = compact(dedupe, segment, hashes);
    struct segment old = *segment;
    segment->cap = 2 * count < SEGMENT_MIN ? SEGMENT_MIN : 2 * count;
    segment->used = 0;
    segment->slots = calloc(segment->cap, sizeof *segment->slots);
    if (segment->slots == NULL)
        abort();
    for (uint32_t i = 0; i < count; i++)
        put_slot(dedupe, segment, hashes[i], old.slots[i]);
    dedupe->index_bytes += segment->cap * sizeof *old.slots - old.cap * sizeof *old.slots;
    free(old.slots);
    free(hashes);
}

uint32_t table_index_set(struct dedupe *dedupe, uint64_t hash, uint32_t place)
{
    KA_ASSERT(place >> DEDUPE_ROW_BITS != 0 && dedupe_row(dedupe, place) == NULL);
    struct segment *segment = &dedupe->segments[hash % DEDUPE_SEGMENTS];
    if ((uint64_t)(segment->used + 1) * 4 > (uint64_t)segment->cap * 3)
        rebuild(dedupe, segment);
    return put_slot(dedupe, segment, hash, slot_of(hash, place));
}

void table_index_reset(struct dedupe *dedupe, uint64_t hash, uint32_t place, uint32_t previous)
{
    struct segment *segment = &dedupe->segments[hash % DEDUPE_SEGMENTS];
    uint32_t wanted = slot_of(hash, place);
    for (uint32_t at = home_of(segment, hash); segment->slots[at] != EMPTY;) {
        if (segment->slots[at] == wanted) {
            segment->slots[at] = previous == 0 ? TOMB : slot_of(hash, previous);
            return;
        }
        at = at + 1 == segment->cap ? 0 : at + 1;
    }
}
