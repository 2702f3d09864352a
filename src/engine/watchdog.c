// SPDX-License-Identifier: Apache-2.0
// The lane pays for every inline call, the watchdog looks four times per limit: so the lane only
// writes a turn number and names, and the watchdog does the timing.
//
// What made it hard:
// 1. A name may not be read through a pointer: its definition may be gone when the reader comes.
//    So the bytes are in the watch, as atomic words between two reads of the turn (a seqlock; words
//    are stored with release and loaded with acquire, so whoever sees a word of the next call
//    also sees that the turn has moved).
// 2. SIGSTOP, a laptop's sleep or a starved machine let the clock run while nothing else does; a
//    start time would convict an innocent plugin. So running time is what was seen between looks,
//    each counted at most twice the tick.
#include "engine/watchdog.h"

#include "core/assert.h"
#include "io/clock.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum { NAME_WORDS = WATCH_NAME_SIZE / sizeof(uint64_t), LOOKS_PER_LIMIT = 4 };

struct watchdog {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct watch *watches;
    bool stop;
    int64_t tick_ms;
    int64_t limit_ms;
    void (*expired)(void *context, const struct watch_report *report);
    void *context;
};

// -------------------------------------------------------------------------------- the lane's side

void watch_init(struct watch *watch, const char *lane)
{
    memset(watch, 0, sizeof *watch);
    snprintf(watch->lane, sizeof watch->lane, "%s", lane);
}

static void store_name(_Atomic uint64_t *words, const char *bytes, size_t len)
{
    uint64_t copy[NAME_WORDS] = {0};
    if (len > WATCH_NAME_SIZE - 1)
        len = WATCH_NAME_SIZE - 1;
    if (len > 0)
        memcpy(copy, bytes, len);
    for (size_t i = 0; i <= len / sizeof(uint64_t); i++)
        atomic_store_explicit(&words[i], copy[i], memory_order_release);
}

void watch_begin(struct watch *watch, const char *action, struct slice key)
{
    uint64_t turn = atomic_load_explicit(&watch->turn, memory_order_relaxed);
    KA_ASSERT(turn % 2 == 0);
    store_name(watch->words, action, strlen(action));
    store_name(watch->words + NAME_WORDS, key.ptr, key.len);
    atomic_store_explicit(&watch->turn, turn + 1, memory_order_release);
}

void watch_end(struct watch *watch)
{
    uint64_t turn = atomic_load_explicit(&watch->turn, memory_order_relaxed);
    KA_ASSERT(turn % 2 == 1);
    atomic_store_explicit(&watch->turn, turn + 1, memory_order_release);
}

// --------------------------------------------------------------------------- the watchdog's side

static void load_name(const _Atomic uint64_t *words, char *out)
{
    uint64_t copy[NAME_WORDS];
    for (size_t i = 0; i < NAME_WORDS; i++)
        copy[i] = atomic_load_explicit(&words[i], memory_order_acquire);
    memcpy(out, copy, sizeof copy);
    out[WATCH_NAME_SIZE - 1] = '\0';
}

bool watch_read(const struct watch *watch, struct watch_report *report)
{
    uint64_t turn = atomic_load_explicit(&watch->turn, memory_order_acquire);
    if (turn % 2 == 0)
        return false;
    load_name(watch->words, report->action);
    load_name(watch->words + NAME_WORDS, report->key);
    memcpy(report->lane, watch->lane, sizeof report->lane);
    report->ran_ms = 0;
    return atomic_load_explicit(&watch->turn, memory_order_acquire) == turn;
}

int64_t watch_look(struct watch *watch, int64_t elapsed_ms, int64_t tick_ms)
{
    uint64_t turn = atomic_load_explicit(&watch->turn, memory_order_acquire);
    bool same = turn == watch->seen_turn && turn % 2 == 1;
    if (elapsed_ms > 2 * tick_ms)
        elapsed_ms = 2 * tick_ms;
    watch->ran_ms = same ? watch->ran_ms + elapsed_ms : 0;
    watch->reported = same && watch->reported;
    watch->seen_turn = turn;
    return watch->ran_ms;
}

static void look_at_all(struct watchdog *watchdog, int64_t elapsed_ms)
{
    for (struct watch *watch = watchdog->watches; watch != NULL; watch = watch->next) {
        struct watch_report report;
        int64_t ran_ms = watch_look(watch, elapsed_ms, watchdog->tick_ms);
        if (ran_ms < watchdog->limit_ms || watch->reported || !watch_read(watch, &report))
            continue;
        watch->reported = true;
        report.ran_ms = ran_ms;
        watchdog->expired(watchdog->context, &report);
    }
}

static void *watchdog_main(void *argument)
{
    struct watchdog *watchdog = argument;
    int64_t looked_ms = clock_mono_ms();
    pthread_mutex_lock(&watchdog->lock);
    while (!watchdog->stop) {
        int64_t until_ms = looked_ms + watchdog->tick_ms;
        struct timespec until = {until_ms / 1000, (until_ms % 1000) * 1000000};
        if (pthread_cond_timedwait(&watchdog->wake, &watchdog->lock, &until) != ETIMEDOUT)
            continue;
        int64_t now = clock_mono_ms();
        look_at_all(watchdog, now - looked_ms);
        looked_ms = now;
    }
    pthread_mutex_unlock(&watchdog->lock);
    return NULL;
}

static int start_thread(struct watchdog *watchdog)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&watchdog->thread, NULL, watchdog_main, watchdog);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

enum ka_err watchdog_new(int64_t limit_ms,
                         void (*expired)(void *context, const struct watch_report *report),
                         void *context, struct watchdog **watchdog, struct err_text *text)
{
    KA_ASSERT(limit_ms > 0);
    KA_ASSERT(expired != NULL);
    pthread_condattr_t attr;
    *watchdog = NULL;
    struct watchdog *made = calloc(1, sizeof *made);
    if (made == NULL)
        return err_set(text, KA_ERR_NOMEM, "watchdog");
    made->limit_ms = limit_ms;
    made->tick_ms = limit_ms / LOOKS_PER_LIMIT > 0 ? limit_ms / LOOKS_PER_LIMIT : 1;
    made->expired = expired;
    made->context = context;
    pthread_mutex_init(&made->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&made->wake, &attr);
    pthread_condattr_destroy(&attr);
    int error = start_thread(made);
    if (error != 0) {
        free(made);
        return err_set(text, KA_ERR_IO, "watchdog: cannot start a thread: %s", strerror(error));
    }
    *watchdog = made;
    return KA_OK;
}

void watchdog_free(struct watchdog **watchdog)
{
    if (*watchdog == NULL)
        return;
    pthread_mutex_lock(&(*watchdog)->lock);
    (*watchdog)->stop = true;
    pthread_cond_signal(&(*watchdog)->wake);
    pthread_mutex_unlock(&(*watchdog)->lock);
    pthread_join((*watchdog)->thread, NULL);
    pthread_cond_destroy(&(*watchdog)->wake);
    pthread_mutex_destroy(&(*watchdog)->lock);
    free(*watchdog);
    *watchdog = NULL;
}

void watchdog_add(struct watchdog *watchdog, struct watch *watch)
{
    pthread_mutex_lock(&watchdog->lock);
    watch->next = watchdog->watches;
    watchdog->watches = watch;
    pthread_mutex_unlock(&watchdog->lock);
}

void watchdog_remove(struct watchdog *watchdog, struct watch *watch)
{
    pthread_mutex_lock(&watchdog->lock);
    struct watch **at = &watchdog->watches;
    while (*at != NULL && *at != watch)
        at = &(*at)->next;
    KA_ASSERT(*at == watch);
    *at = watch->next;
    pthread_mutex_unlock(&watchdog->lock);
}
