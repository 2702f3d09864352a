// SPDX-License-Identifier: Apache-2.0
// Getting rid of clients. rd_kafka_consumer_close and rd_kafka_destroy hang in several known cases
// (#4187, #4528, #4724 of librdkafka), so both run on a thread that nobody has to wait for. What
// does not end is named in the log and leaks: the process goes on.
#include "io/kafka_int.h"

#include "io/clock.h"
#include "io/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

enum { STUCK_MS = 10000 };

struct reap {
    struct reap *next;
    void (*destroy)(void *object);
    void *object;
    int64_t begun_ms;
    char name[96];
    bool reported;
    bool done;   // the thread is through; whoever comes last frees
    bool waited; // somebody waits for it
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct reap *running;

static void init(void)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&changed, &attr);
    pthread_condattr_destroy(&attr);
}

static void finish(struct reap *reap)
{
    pthread_mutex_lock(&lock);
    for (struct reap **at = &running; *at != NULL; at = &(*at)->next) {
        if (*at == reap) {
            *at = reap->next;
            break;
        }
    }
    reap->done = true;
    bool mine = !reap->waited;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    if (mine)
        free(reap);
}

static void *run(void *argument)
{
    struct reap *reap = argument;
    reap->destroy(reap->object);
    finish(reap);
    return NULL;
}

// The watchdog: with the lock held, names what has been at it for too long.
static void report_stuck(void)
{
    int64_t now_ms = clock_mono_ms();
    for (struct reap *reap = running; reap != NULL; reap = reap->next) {
        if (reap->reported || now_ms - reap->begun_ms < STUCK_MS)
            continue;
        reap->reported = true;
        log_error("kafka", "client does not close", "client=%s seconds=%d", reap->name,
                  (int)((now_ms - reap->begun_ms) / 1000));
    }
}

static struct timespec deadline_of(int timeout_ms)
{
    int64_t at_ns = clock_mono_ns() + (int64_t)timeout_ms * 1000000;
    return (struct timespec){.tv_sec = at_ns / 1000000000, .tv_nsec = (long)(at_ns % 1000000000)};
}

static bool wait_for(struct reap *reap, int timeout_ms)
{
    struct timespec deadline = deadline_of(timeout_ms);
    pthread_mutex_lock(&lock);
    while (!reap->done && pthread_cond_timedwait(&changed, &lock, &deadline) != ETIMEDOUT)
        ;
    bool done = reap->done;
    reap->waited = false;
    pthread_mutex_unlock(&lock);
    if (done)
        free(reap);
    return done;
}

bool io_kafka_reap(void (*destroy)(void *object), void *object, const char *name, int timeout_ms)
{
    pthread_once(&once, init);
    struct reap *reap = calloc(1, sizeof *reap);
    pthread_attr_t attr;
    pthread_t thread;
    if (reap == NULL) {
        destroy(object);
        return true;
    }
    reap->destroy = destroy;
    reap->object = object;
    reap->begun_ms = clock_mono_ms();
    reap->waited = timeout_ms > 0;
    strncpy(reap->name, name, sizeof reap->name - 1);
    pthread_mutex_lock(&lock);
    report_stuck();
    reap->next = running;
    running = reap;
    pthread_mutex_unlock(&lock);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    int failed = pthread_create(&thread, &attr, run, reap);
    pthread_attr_destroy(&attr);
    if (failed != 0) // no thread to be had: it may block, but it must happen
        run(reap);
    return timeout_ms > 0 ? wait_for(reap, timeout_ms) : false;
}

bool io_kafka_drain(int timeout_ms)
{
    pthread_once(&once, init);
    struct timespec deadline = deadline_of(timeout_ms);
    pthread_mutex_lock(&lock);
    while (running != NULL && pthread_cond_timedwait(&changed, &lock, &deadline) != ETIMEDOUT)
        ;
    bool empty = running == NULL;
    for (struct reap *reap = running; reap != NULL; reap = reap->next)
        log_warn("kafka", "client still closing", "client=%s ms=%lld", reap->name,
                 (long long)(clock_mono_ms() - reap->begun_ms));
    pthread_mutex_unlock(&lock);
    return empty;
}
