// SPDX-License-Identifier: Apache-2.0
// The clockwork: one stream of random numbers, one heap of events, one trace.
#include "sim.h"

#include "core/hash.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

uint64_t sim_draw(struct sim *sim, uint64_t below)
{
    sim = sim->world;
    sim->rng += 0x9E3779B97F4A7C15ULL;
    uint64_t z = sim->rng;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return (z ^ (z >> 31)) % below;
}

int64_t sim_between(struct sim *sim, int64_t low, int64_t high)
{
    return high <= low ? low : low + (int64_t)sim_draw(sim, (uint64_t)(high - low));
}

bool sim_chance(struct sim *sim, int ppm)
{
    return ppm > 0 && !sim->healing && sim_draw(sim, 1000000) < (uint64_t)ppm;
}

bool sim_inject(struct sim *sim, enum sim_fault fault, int ppm)
{
    if (!sim_chance(sim, ppm))
        return false;
    sim->stats.injected[fault]++;
    return true;
}

bool sim_hit(struct sim *sim, enum sim_fault fault, int ppm)
{
    if (!sim_inject(sim, fault, ppm))
        return false;
    sim->stats.hit[fault]++;
    return true;
}

void sim_felt(struct sim *sim, enum sim_fault fault)
{
    sim->stats.injected[fault]++;
    sim->stats.hit[fault]++;
}

void sim_mix(struct sim *sim, uint64_t value)
{
    sim->world->hash = hash_mix(sim->world->hash ^ value);
}

struct slice sim_copy(struct sim *sim, struct slice s)
{
    return arena_copy(&sim->arena, s);
}

// ---- The heap: four children per node, ties in the order of their making

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_us < b->at_us || (a->at_us == b->at_us && a->seq < b->seq);
}

void sim_at(struct sim *of, int64_t at_us, struct sim_event event)
{
    struct sim *sim = of->world;
    event.cluster = (int8_t)of->cluster;
    if (sim->heap_count == sim->heap_cap) {
        sim->heap_cap = sim->heap_cap == 0 ? 1024 : sim->heap_cap * 2;
        sim->heap = realloc(sim->heap, sim->heap_cap * sizeof *sim->heap);
        if (sim->heap == NULL)
            abort();
    }
    event.at_us = at_us < sim->now_us ? sim->now_us : at_us;
    event.seq = sim->seq++;
    size_t at = sim->heap_count++;
    while (at > 0 && before(&event, &sim->heap[(at - 1) / 4])) {
        sim->heap[at] = sim->heap[(at - 1) / 4];
        at = (at - 1) / 4;
    }
    sim->heap[at] = event;
}

bool sim_pop(struct sim *sim, struct sim_event *event)
{
    if (sim->heap_count == 0)
        return false;
    *event = sim->heap[0];
    struct sim_event last = sim->heap[--sim->heap_count];
    size_t at = 0;
    for (;;) {
        size_t least = 4 * at + 1;
        if (least >= sim->heap_count)
            break;
        for (size_t i = least + 1; i < 4 * at + 5 && i < sim->heap_count; i++)
            if (before(&sim->heap[i], &sim->heap[least]))
                least = i;
        if (!before(&sim->heap[least], &last))
            break;
        sim->heap[at] = sim->heap[least];
        at = least;
    }
    sim->heap[at] = last;
    return true;
}

// ---- Words

void sim_fail(struct sim *sim, const char *format, ...)
{
    sim = sim->world;
    if (sim->failed)
        return; // the first violation counts
    sim->failed = true;
    va_list args;
    va_start(args, format);
    vsnprintf(sim->why, sizeof sim->why, format, args);
    va_end(args);
    SIM_NOTE(sim, "VIOLATION %s", sim->why);
}

void sim_line(struct sim *sim, const char *format, ...)
{
    struct sim *world = sim->world;
    char *line = world->lines[world->line_next++ % TRACE_LINES];
    int at = snprintf(line, TRACE_LEN, sim->links == NULL ? "%9.3f " : "%9.3f %c ",
                      (double)sim->now_us / 1e6, 'A' + sim->cluster);
    va_list args;
    va_start(args, format);
    vsnprintf(line + at, (size_t)(TRACE_LEN - at), format, args);
    va_end(args);
}
