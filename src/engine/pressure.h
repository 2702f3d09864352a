// SPDX-License-Identifier: Apache-2.0
// Rule 14: when a worker takes no more starts. Looks at what is counted (states, inputs of calls,
// commands that wait in the inbox) and at what the process really has, and decides; who holds back
// is the caller. One thread.
#ifndef KA_ENGINE_PRESSURE_H
#define KA_ENGINE_PRESSURE_H

#include <stdbool.h>
#include <stdint.h>

struct pressure_load {
    int64_t states;  // bytes
    int64_t calls;   // bytes of inputs that wait
    int64_t backlog; // commands that wait in the inboxes of our shards, about; their bytes:
    int64_t backlog_bytes;
    int64_t finished; // bytes of the memory of finished sagas: beside memory_max
    int64_t waiting;  // calls
    bool lanes;       // too many of them
    bool others;      // another worker is pressed
    int64_t records;  // that were taken since the start
};

struct pressure {
    int64_t memory_max;
    int64_t states_max;
    bool memory; // pressed by memory
    bool held;
    bool full; // more is resident than may be
    int64_t trimmed_ms;
    int64_t records;
    int64_t busy_ms;
    bool trimmed; // since it was busy
};

// What is to be done now: hold the inputs back or not. *pressed: by our own load, which the other
// workers are told. `resident` = bytes of the process, 0 = not known; *trim: give back what is
// free.
bool pressure_look(struct pressure *pressure, const struct pressure_load *load, int64_t resident,
                   int64_t now_ms, bool *pressed, bool *trim);
// Logs that it has begun or ended.
void pressure_tell(const struct pressure *pressure, const struct pressure_load *load);

#endif
