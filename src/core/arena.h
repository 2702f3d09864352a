// SPDX-License-Identifier: Apache-2.0
// Memory that is given back all at once: one arena per batch. Not for anything that outlives it.
// Single-threaded. Allocation aborts the process when the machine has no memory left: a worker
// that cannot hold one batch cannot go on, and Kafka has everything.
#ifndef KA_CORE_ARENA_H
#define KA_CORE_ARENA_H

#include "core/slice.h"

struct arena_block;
struct arena {
    struct arena_block *head;
    size_t used;      // in the head block
    size_t allocated; // bytes of all blocks
};

// A zeroed struct is a valid empty arena.
void arena_init(struct arena *arena);
void arena_fini(struct arena *arena);

// Forgets everything allocated; keeps one block for the next batch.
void arena_reset(struct arena *arena);

// Aligned to 16 bytes; contents undefined (alloc) or zero (zalloc). Never NULL, also for size 0.
void *arena_alloc(struct arena *arena, size_t size);
void *arena_zalloc(struct arena *arena, size_t size);

// A copy of `s` that lives as long as the arena; absent stays absent.
struct slice arena_copy(struct arena *arena, struct slice s);
// The same as a NUL-terminated string.
char *arena_str(struct arena *arena, struct slice s);

#endif
