// SPDX-License-Identifier: Apache-2.0
// Finds the inline plugin that does not return: each lane has a `struct watch` that says what it
// is calling now, one thread looks at all of them. Not for pooled calls (engine/invoker.h gives
// those up one by one): a lane that hangs in a plugin holds its transaction and its shards, and the
// only way out is to end the worker, by name.
#ifndef KA_ENGINE_WATCHDOG_H
#define KA_ENGINE_WATCHDOG_H

#include "core/err.h"
#include "core/slice.h"

#include <stdatomic.h>

enum {
    WATCHDOG_LIMIT_MS = 5000, // default: a third of max.poll.interval.ms, half of the session
    WATCH_NAME_SIZE = 64      // longer names and keys are cut
};

// The current call of one lane. Written by the lane's thread only, without locks; read by the
// watchdog. Must not move while it is registered.
struct watch {
    _Atomic uint64_t turn;                                          // odd while a call runs
    _Atomic uint64_t words[2 * WATCH_NAME_SIZE / sizeof(uint64_t)]; // action, saga key
    // The watchdog's own, under its lock.
    char lane[WATCH_NAME_SIZE];
    struct watch *next;
    uint64_t seen_turn;
    int64_t ran_ms;
    bool reported;
};

struct watch_report {
    char lane[WATCH_NAME_SIZE];
    char action[WATCH_NAME_SIZE];
    char key[WATCH_NAME_SIZE]; // of the saga
    int64_t ran_ms;            // at least
};

// `lane` is copied. Nothing to free.
void watch_init(struct watch *watch, const char *lane);
// Around an inline call, on the lane's thread. They do not nest. A few nanoseconds.
void watch_begin(struct watch *watch, const char *action, struct slice key);
void watch_end(struct watch *watch);

// One look, `elapsed_ms` after the one before: returns how long the call that runs now has been
// seen running (0 if none runs or it is another one). Time counts only between two looks that saw
// the same call, at most `tick_ms` twice over each: a process that was stopped or starved for a
// minute has not run for a minute. Watchdog thread only; public for the tests.
int64_t watch_look(struct watch *watch, int64_t elapsed_ms, int64_t tick_ms);
// What runs now; false if no call does. Any thread, lock-free.
bool watch_read(const struct watch *watch, struct watch_report *report);

struct watchdog;

// Starts the thread. `expired` is called on it, once per call that has run for `limit_ms` (found at
// most a quarter of that later); it logs and ends the worker. It must not call watchdog functions.
// KA_ERR_NOMEM, KA_ERR_IO. The caller owns *watchdog.
KA_MUST_USE enum ka_err
watchdog_new(int64_t limit_ms, void (*expired)(void *context, const struct watch_report *report),
             void *context, struct watchdog **watchdog, struct err_text *text);
// Ends the thread; the watches are only forgotten.
void watchdog_free(struct watchdog **watchdog);

// Any thread. A watch is borrowed until it is removed.
void watchdog_add(struct watchdog *watchdog, struct watch *watch);
void watchdog_remove(struct watchdog *watchdog, struct watch *watch);

#endif
