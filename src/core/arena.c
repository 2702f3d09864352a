// SPDX-License-Identifier: Apache-2.0
#include "core/arena.h"

#include "core/assert.h"

#include <stdlib.h>

enum { BLOCK_SIZE = 64 * 1024, ALIGNMENT = 16 };

struct arena_block {
    struct arena_block *next;
    size_t size;
    _Alignas(ALIGNMENT) char bytes[];
};

void arena_init(struct arena *arena)
{
    *arena = (struct arena){0};
}

static void free_chain(struct arena_block *block)
{
    while (block != NULL) {
        struct arena_block *next = block->next;
        free(block);
        block = next;
    }
}

void arena_fini(struct arena *arena)
{
    free_chain(arena->head);
    *arena = (struct arena){0};
}

void arena_reset(struct arena *arena)
{
    struct arena_block *keep = arena->head;
    arena->used = 0;
    if (keep == NULL)
        return;
    free_chain(keep->next);
    keep->next = NULL;
    arena->allocated = keep->size;
    if (keep->size > 64 * (size_t)BLOCK_SIZE) { // one huge record must not pin its memory
        free(keep);
        arena->head = NULL;
        arena->allocated = 0;
    }
}

static void add_block(struct arena *arena, size_t size)
{
    // Blocks double up to 1 MiB, so a large batch costs a handful of calls.
    size_t wanted = arena->head == NULL ? BLOCK_SIZE : arena->head->size * 2;
    if (wanted > 16 * (size_t)BLOCK_SIZE)
        wanted = 16 * (size_t)BLOCK_SIZE;
    if (wanted < size)
        wanted = size;
    struct arena_block *block = malloc(sizeof *block + wanted);
    if (block == NULL)
        abort();
    block->next = arena->head;
    block->size = wanted;
    arena->head = block;
    arena->used = 0;
    arena->allocated += wanted;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    size_t rounded = (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    KA_ASSERT(rounded >= size);
    if (arena->head == NULL || arena->head->size - arena->used < rounded)
        add_block(arena, rounded);
    void *result = arena->head->bytes + arena->used;
    arena->used += rounded;
    return result;
}

void *arena_zalloc(struct arena *arena, size_t size)
{
    return memset(arena_alloc(arena, size), 0, size);
}

struct slice arena_copy(struct arena *arena, struct slice s)
{
    if (slice_none(s))
        return s;
    char *copy = arena_alloc(arena, s.len);
    if (s.len > 0)
        memcpy(copy, s.ptr, s.len);
    return (struct slice){copy, s.len};
}

char *arena_str(struct arena *arena, struct slice s)
{
    char *copy = arena_alloc(arena, s.len + 1);
    if (s.len > 0)
        memcpy(copy, s.ptr, s.len);
    copy[s.len] = '\0';
    return copy;
}
