// SPDX-License-Identifier: Apache-2.0
// When keys are due: a binary heap. Two keys that are due at the same time come in the order of
// their bytes, so that the same events give the same effects whatever the heap went through.
#include "core/table_internal.h"

#include <stdlib.h>

static bool key_before(struct slice a, struct slice b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len == 0 ? 0 : memcmp(a.ptr, b.ptr, len);
    return order != 0 ? order < 0 : a.len < b.len;
}

static bool before(const struct heap_row *a, const struct heap_row *b)
{
    if (a->due_ms != b->due_ms)
        return a->due_ms < b->due_ms;
    return key_before(a->item->entry.key, b->item->entry.key);
}

static void settle(struct heap *heap, size_t at, struct heap_row row)
{
    heap->rows[at] = row;
    row.item->heap_at = (uint32_t)at + 1;
}

static void sift_up(struct heap *heap, size_t at, struct heap_row row)
{
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (!before(&row, &heap->rows[parent]))
            break;
        settle(heap, at, heap->rows[parent]);
        at = parent;
    }
    settle(heap, at, row);
}

static void sift_down(struct heap *heap, size_t at, struct heap_row row)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= heap->count)
            break;
        if (child + 1 < heap->count && before(&heap->rows[child + 1], &heap->rows[child]))
            child++;
        if (!before(&heap->rows[child], &row))
            break;
        settle(heap, at, heap->rows[child]);
        at = child;
    }
    settle(heap, at, row);
}

// Puts `row` where the row at `at` was.
static void replace(struct heap *heap, size_t at, struct heap_row row)
{
    if (at > 0 && before(&row, &heap->rows[(at - 1) / 2]))
        sift_up(heap, at, row);
    else
        sift_down(heap, at, row);
}

static void take_out(struct heap *heap, struct item *item)
{
    size_t at = item->heap_at - 1;
    item->heap_at = 0;
    struct heap_row last = heap->rows[--heap->count];
    if (at < heap->count)
        replace(heap, at, last);
}

void table_heap_set(struct heap *heap, struct item *item, int64_t due_ms)
{
    int64_t old = item->entry.due_ms;
    item->entry.due_ms = due_ms;
    KA_ASSERT((item->heap_at != 0) == (old != INT64_MAX));
    if (old == due_ms)
        return;
    struct heap_row row = {due_ms, item};
    if (due_ms == INT64_MAX) {
        take_out(heap, item);
    } else if (item->heap_at != 0) {
        KA_ASSERT(heap->rows[item->heap_at - 1].item == item);
        replace(heap, item->heap_at - 1, row);
    } else {
        heap->rows = table_grow(heap->rows, &heap->cap, heap->count + 1, sizeof *heap->rows);
        sift_up(heap, heap->count++, row);
    }
}
