// SPDX-License-Identifier: Apache-2.0
// One mutex, one queue, N workers and a supervisor that gives calls up. Calls are milliseconds
// long, so one lock is enough; nothing foreign is called under it: neither plugins nor clients.
//
// What made it hard:
// 1. A plugin cannot be interrupted. At its timeout the supervisor reports for it and counts its
//    worker as lost; job and worker go on to belong to the stuck thread, which throws both away
//    when it comes back, perhaps after the invoker itself has gone (`abandoned`).
// 2. A lane may go while done() is about to be called for it. Whoever calls a client writes that
//    down under the lock (`calling`), and invoker_drop waits until nobody does.
// 3. A call may wait in the queue until its lane has lost the shard: the client is asked again
//    (may_start) after the wait, just before the start.
#include "engine/invoker_queue.h"

#include "core/assert.h"
#include "io/clock.h"
#include "io/log.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum {
    THREADS_MAX = 1024,
    BYTES_MAX_DEFAULT = 64 * 1024 * 1024,
    // A program ends itself at its deadline; longer than this, the kernel cannot kill it.
    PROGRAM_MARGIN_MS = EXEC_GRACE_MS + 1000
};

struct worker {
    struct invoker *invoker;
    struct worker *next;
    struct job *job;                      // in hand
    bool running;                         // it has started
    const struct invoker_client *calling; // that this thread calls now
    bool lost;
};

struct invoker {
    struct invoker_config config;
    int stop_fd;      // readable once the invoker stops
    atomic_bool stop; // the same for plugins
    pthread_t supervisor;
    pthread_mutex_t lock; // of everything below
    pthread_cond_t work;  // for workers: the queue or `stopping` changed
    pthread_cond_t timer; // for the supervisor
    pthread_cond_t idle;  // for stop and drop: a worker or a `calling` has gone
    struct invoker_queue queue;
    struct worker *workers;
    int live; // workers that are not lost
    int lost;
    int64_t next_look_ms; // of the supervisor
    const struct invoker_client *supervisor_calling;
    bool stopping;  // no further starts
    bool closed;    // no further calls of clients
    bool abandoned; // the last worker frees the invoker
    struct invoker_stats stats;
};

static int64_t now_us(void)
{
    return clock_mono_ns() / 1000;
}

static struct timespec at_ms(int64_t ms)
{
    return (struct timespec){ms / 1000, (ms % 1000) * 1000000};
}

// ------------------------------------------------------------------------------ calling clients

// Called and returns with the lock held; it is free while the client runs.
static void deliver(struct invoker *invoker, const struct invoker_client **calling,
                    const struct invoker_client *client, struct invoker_result *result)
{
    KA_ASSERT(*calling == NULL);
    KA_ASSERT(!invoker->closed);
    *calling = client;
    pthread_mutex_unlock(&invoker->lock);
    client->done(client->context, result);
    pthread_mutex_lock(&invoker->lock);
    *calling = NULL;
    pthread_cond_broadcast(&invoker->idle);
}

static bool ask_client(struct worker *worker, const struct job *job)
{
    struct invoker *invoker = worker->invoker;
    const struct invoker_client *client = job->client;
    bool may = true;
    if (client->may_start == NULL || job->dropped || invoker->closed)
        return true;
    worker->calling = client;
    pthread_mutex_unlock(&invoker->lock);
    may = client->may_start(client->context, job->shard, job->epoch);
    pthread_mutex_lock(&invoker->lock);
    worker->calling = NULL;
    pthread_cond_broadcast(&invoker->idle);
    return may;
}

static bool is_called(const struct invoker *invoker, const struct invoker_client *client)
{
    bool any = client == NULL;
    const struct invoker_client *now = invoker->supervisor_calling;
    if (now != NULL && (any || now == client))
        return true;
    for (const struct worker *worker = invoker->workers; worker != NULL; worker = worker->next) {
        if (worker->calling != NULL && (any || worker->calling == client))
            return true;
    }
    return false;
}

// -------------------------------------------------------------------------------------- the queue

bool invoker_submit(struct invoker *invoker, const struct invoker_client *client,
                    const struct invocation *invocation, int32_t shard, int32_t epoch)
{
    struct runner *runner = invocation->action->runner;
    KA_ASSERT(runner != NULL);
    KA_ASSERT(!runner_is_inline(runner));
    struct job *job = job_new(invocation);
    if (job == NULL)
        return false;
    job->client = client;
    job->runner = runner;
    job->shard = shard;
    job->epoch = epoch;
    job->submitted_us = now_us();
    job->deadline_ms = job->submitted_us / 1000 + invocation->timeout_ms;
    job->begin_by_ms = job->submitted_us / 1000 + invocation->wait_ms;
    pthread_mutex_lock(&invoker->lock);
    bool room = !invoker->stopping && invoker_queue_push(&invoker->queue, job);
    if (room)
        pthread_cond_signal(&invoker->work);
    if (room && job->begin_by_ms < invoker->next_look_ms)
        pthread_cond_signal(&invoker->timer);
    if (!room)
        invoker->stats.refused++;
    pthread_mutex_unlock(&invoker->lock);
    if (!room)
        job_free(job);
    return room;
}

void invoker_drop(struct invoker *invoker, const struct invoker_client *client)
{
    pthread_mutex_lock(&invoker->lock);
    invoker->stats.dropped += invoker_queue_drop(&invoker->queue, client, -1, INT32_MAX);
    for (struct worker *worker = invoker->workers; worker != NULL; worker = worker->next) {
        if (worker->job != NULL && worker->job->client == client)
            worker->job->dropped = true;
    }
    while (is_called(invoker, client))
        pthread_cond_wait(&invoker->idle, &invoker->lock);
    pthread_mutex_unlock(&invoker->lock);
}

void invoker_drop_shard(struct invoker *invoker, const struct invoker_client *client, int32_t shard,
                        int32_t epoch)
{
    KA_ASSERT(shard >= 0);
    pthread_mutex_lock(&invoker->lock);
    invoker->stats.dropped += invoker_queue_drop(&invoker->queue, client, shard, epoch);
    pthread_mutex_unlock(&invoker->lock);
}

// ------------------------------------------------------------------------------------ the workers

static void free_invoker(struct invoker *invoker)
{
    invoker_queue_fini(&invoker->queue);
    close(invoker->stop_fd);
    pthread_cond_destroy(&invoker->idle);
    pthread_cond_destroy(&invoker->timer);
    pthread_cond_destroy(&invoker->work);
    pthread_mutex_destroy(&invoker->lock);
    free(invoker);
}

// It never ran.
static void hand_back(struct invoker *invoker, const struct invoker_client **calling,
                      struct job *job)
{
    const struct invoker_client *client = job->client;
    struct invoker_result *result = job_result(job, false);
    result->result.outcome = OUTCOME_RETRY;
    result->result.code = ACTION_NOT_BEGUN;
    result->result.message = SLICE_LIT("it did not run: it waited too long, or its shard has gone");
    invoker->stats.not_begun++;
    deliver(invoker, calling, client, result);
}

// The job in hand may begin; if not it has been handed back or thrown away.
static bool begin(struct worker *worker, struct job *job)
{
    struct invoker *invoker = worker->invoker;
    bool may = now_us() / 1000 < job->begin_by_ms && ask_client(worker, job);
    if (may && !job->dropped && !invoker->stopping) {
        job->started_us = now_us();
        job->give_up_ms = job->deadline_ms;
        if (runner_kind(job->runner) == RUNNER_EXEC)
            job->give_up_ms += PROGRAM_MARGIN_MS;
        worker->running = true;
        invoker->stats.started++;
        invoker->stats.waited_us += (uint64_t)(job->started_us - job->submitted_us);
        if (job->give_up_ms < invoker->next_look_ms)
            pthread_cond_signal(&invoker->timer);
        return true;
    }
    worker->job = NULL;
    if (job->dropped || invoker->stopping) {
        invoker->stats.dropped++;
        job_free(job);
        return false;
    }
    hand_back(invoker, &worker->calling, job);
    return false;
}

static void end(struct worker *worker, struct job *job, const struct action_result *outcome)
{
    struct invoker *invoker = worker->invoker;
    const struct invoker_client *client = job->client;
    worker->job = NULL;
    worker->running = false;
    if (job->given_up) {
        KA_ASSERT(worker->lost);
        worker->lost = false;
        invoker->lost--;
        invoker->live++;
        invoker->stats.late++;
        job_free(job);
        return;
    }
    struct invoker_result *result = job_result(job, true);
    runner_count_end(job->runner, outcome->outcome, result->duration_us);
    if (job->dropped || invoker->closed) {
        invoker->stats.dropped++;
        job_free(job);
        return;
    }
    invoker->stats.ended[outcome->outcome]++;
    result->result = *outcome;
    deliver(invoker, &worker->calling, client, result);
}

static void run_started(struct worker *worker, struct job *job)
{
    struct invoker *invoker = worker->invoker;
    struct action_result outcome;
    struct runner_place place = {
        .deadline_ms = job->deadline_ms,
        .stop = &invoker->stop,
        .stop_fd = invoker->stop_fd,
        .counts_itself = true,
    };
    pthread_mutex_unlock(&invoker->lock);
    runner_run(job->runner, &job->invocation, &place, &job->result.memory, &outcome);
    job_settle(job, &outcome);
    pthread_mutex_lock(&invoker->lock);
    job_drop_input(job);
    end(worker, job, &outcome);
}

static void run(struct worker *worker, struct job *job)
{
    struct invoker *invoker = worker->invoker;
    struct invoker_line *line = job->line; // outlives the job
    if (begin(worker, job))
        run_started(worker, job);
    // Not before: a call that was given up takes its action's place until it returns.
    invoker_queue_done(&invoker->queue, line);
    if (line->most > 0)
        pthread_cond_signal(&invoker->work);
}

static void leave(struct worker *worker)
{
    struct invoker *invoker = worker->invoker;
    struct worker **at = &invoker->workers;
    while (*at != worker)
        at = &(*at)->next;
    *at = worker->next;
    free(worker);
    invoker->live--;
    bool last = invoker->abandoned && invoker->workers == NULL;
    pthread_cond_broadcast(&invoker->idle);
    pthread_mutex_unlock(&invoker->lock);
    if (last)
        free_invoker(invoker);
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    struct invoker *invoker = worker->invoker;
    pthread_mutex_lock(&invoker->lock);
    // One thread too many when a lost one came back after it had been replaced.
    while (!invoker->stopping && invoker->live <= invoker->config.threads) {
        struct job *job = invoker_queue_take(&invoker->queue);
        if (job == NULL) {
            pthread_cond_wait(&invoker->work, &invoker->lock);
            continue;
        }
        worker->job = job;
        run(worker, job);
    }
    leave(worker);
    return NULL;
}

// With all signals blocked: they are for the threads of main.
static int start_thread(pthread_t *thread, void *(*main_function)(void *), void *argument)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(thread, NULL, main_function, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

// With the lock held. 0 or the errno of what failed.
static int start_worker(struct invoker *invoker)
{
    pthread_t thread;
    struct worker *worker = calloc(1, sizeof *worker);
    if (worker == NULL)
        return ENOMEM;
    worker->invoker = invoker;
    int error = start_thread(&thread, worker_main, worker);
    if (error != 0) {
        free(worker);
        return error;
    }
    pthread_detach(thread);
    worker->next = invoker->workers;
    invoker->workers = worker;
    invoker->live++;
    return 0;
}

// --------------------------------------------------------------------------------- the supervisor

// Another thread for the lost one, if the bound allows. What the log is to say about it.
static const char *replace(struct invoker *invoker)
{
    if (invoker->stopping)
        return "no, stopping";
    if (invoker->lost > invoker->config.lost_max)
        return "no, too many are lost";
    int error = start_worker(invoker);
    return error == 0 ? "yes" : strerror(error);
}

static void give_up(struct invoker *invoker, struct worker *worker)
{
    struct job *job = worker->job;
    const struct invoker_client *client = job->client;
    const struct runner *runner = job->runner;
    bool dropped = job->dropped;
    struct invoker_result *result = job_timeout_result(job);
    runner_count_end(job->runner, OUTCOME_UNKNOWN, result->duration_us);
    job->given_up = true;
    worker->lost = true;
    invoker->live--;
    invoker->lost++;
    invoker->stats.given_up++;
    int lost = invoker->lost;
    const char *replaced = replace(invoker);
    if (dropped) {
        invoker->stats.dropped++;
        invoker_result_free(&result);
    } else {
        invoker->stats.ended[OUTCOME_UNKNOWN]++;
        deliver(invoker, &invoker->supervisor_calling, client, result);
    }
    pthread_mutex_unlock(&invoker->lock);
    log_error("invoker", "thread_lost", "action=%s lost=%d replaced=%s", runner_name(runner), lost,
              replaced);
    pthread_mutex_lock(&invoker->lock);
}

// The call that has been overdue longest; else NULL and when to look again.
static struct worker *find_overdue(struct invoker *invoker)
{
    int64_t now = now_us() / 1000;
    struct worker *first = NULL;
    for (struct worker *worker = invoker->workers; worker != NULL; worker = worker->next) {
        if (!worker->running || worker->lost)
            continue;
        if (first == NULL || worker->job->give_up_ms < first->job->give_up_ms)
            first = worker;
    }
    invoker->next_look_ms = first != NULL ? first->job->give_up_ms : now + 3600000;
    return invoker->next_look_ms <= now ? first : NULL;
}

static void *supervisor_main(void *argument)
{
    struct invoker *invoker = argument;
    pthread_mutex_lock(&invoker->lock);
    while (!invoker->closed) {
        struct worker *overdue = find_overdue(invoker);
        struct job *late = overdue != NULL ? NULL
                                           : invoker_queue_late(&invoker->queue, now_us() / 1000,
                                                                &invoker->next_look_ms);
        struct timespec until = at_ms(invoker->next_look_ms);
        if (overdue != NULL)
            give_up(invoker, overdue);
        else if (late != NULL)
            hand_back(invoker, &invoker->supervisor_calling, late);
        else
            pthread_cond_timedwait(&invoker->timer, &invoker->lock, &until);
    }
    pthread_mutex_unlock(&invoker->lock);
    return NULL;
}

// ------------------------------------------------------------------------------ making and ending

static void init_condition(pthread_cond_t *condition)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attr);
    pthread_condattr_destroy(&attr);
}

static enum ka_err start_threads(struct invoker *invoker, struct err_text *text)
{
    int error = start_thread(&invoker->supervisor, supervisor_main, invoker);
    if (error != 0)
        return err_set(text, KA_ERR_IO, "invoker: cannot start a thread: %s", strerror(error));
    pthread_mutex_lock(&invoker->lock);
    for (int i = 0; i < invoker->config.threads && error == 0; i++)
        error = start_worker(invoker);
    pthread_mutex_unlock(&invoker->lock);
    if (error == 0)
        return KA_OK;
    enum ka_err stopped = invoker_stop(invoker, 10000, NULL);
    KA_ASSERT(stopped == KA_OK); // none of them has had anything to do
    return err_set(text, KA_ERR_IO, "invoker: cannot start %d threads: %s", invoker->config.threads,
                   strerror(error));
}

enum ka_err invoker_new(const struct invoker_config *config, struct invoker **invoker,
                        struct err_text *text)
{
    *invoker = NULL;
    if (config->threads < 1 || config->threads > THREADS_MAX || config->lost_max < 0 ||
        config->lost_max > THREADS_MAX || config->queue_max < 1)
        return err_set(text, KA_ERR_CONFIG, "invoker: threads are 1 to %d, the queue at least 1",
                       THREADS_MAX);
    struct invoker *made = calloc(1, sizeof *made);
    if (made == NULL)
        return err_set(text, KA_ERR_NOMEM, "invoker");
    made->config = *config;
    if (config->lost_max == 0)
        made->config.lost_max = config->threads;
    if (config->queue_bytes_max == 0)
        made->config.queue_bytes_max = BYTES_MAX_DEFAULT;
    invoker_queue_init(&made->queue, config->queue_max, made->config.queue_bytes_max);
    made->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&made->lock, NULL);
    init_condition(&made->work);
    init_condition(&made->timer);
    init_condition(&made->idle);
    enum ka_err err = made->stop_fd >= 0 ? start_threads(made, text)
                                         : err_set(text, KA_ERR_IO, "invoker: %s", strerror(errno));
    if (err != KA_OK) {
        free_invoker(made);
        return err;
    }
    *invoker = made;
    return KA_OK;
}

static enum ka_err name_stuck(const struct invoker *invoker, struct err_text *text)
{
    struct err_text stuck = {{0}};
    for (const struct worker *worker = invoker->workers; worker != NULL; worker = worker->next) {
        const struct job *job = worker->job;
        size_t at = strlen(stuck.text);
        if (job != NULL)
            snprintf(stuck.text + at, sizeof stuck.text - at, "%s%s (%.*s)", at > 0 ? ", " : "",
                     runner_name(job->runner), SLICE_FMT(job->invocation.key));
    }
    log_error("invoker", "left_behind", "calls=%s", stuck.text);
    return err_set(text, KA_ERR_TIMEOUT, "calls still run: %s", stuck.text);
}

enum ka_err invoker_stop(struct invoker *invoker, int64_t limit_ms, struct err_text *text)
{
    struct timespec until = at_ms(now_us() / 1000 + limit_ms);
    uint64_t one = 1;
    enum ka_err err = KA_OK;
    pthread_mutex_lock(&invoker->lock);
    KA_ASSERT(!invoker->stopping);
    invoker->stopping = true;
    invoker->stats.dropped += invoker_queue_clear(&invoker->queue);
    atomic_store(&invoker->stop, true);
    if (write(invoker->stop_fd, &one, sizeof one) < 0)
        log_error("invoker", "stop", "error=%s", strerror(errno));
    pthread_cond_broadcast(&invoker->work);
    while (invoker->workers != NULL &&
           pthread_cond_timedwait(&invoker->idle, &invoker->lock, &until) != ETIMEDOUT)
        ;
    invoker->closed = true;
    pthread_cond_signal(&invoker->timer);
    while (is_called(invoker, NULL))
        pthread_cond_wait(&invoker->idle, &invoker->lock);
    if (invoker->workers != NULL)
        err = name_stuck(invoker, text);
    pthread_mutex_unlock(&invoker->lock);
    pthread_join(invoker->supervisor, NULL);
    return err;
}

void invoker_free(struct invoker **invoker)
{
    struct invoker *gone = *invoker;
    if (gone == NULL)
        return;
    pthread_mutex_lock(&gone->lock);
    KA_ASSERT(gone->closed);
    gone->abandoned = gone->workers != NULL;
    bool now = !gone->abandoned;
    pthread_mutex_unlock(&gone->lock);
    if (now)
        free_invoker(gone);
    *invoker = NULL;
}

void invoker_read_stats(struct invoker *invoker, struct invoker_stats *stats)
{
    pthread_mutex_lock(&invoker->lock);
    *stats = invoker->stats;
    stats->queued = invoker->queue.calls;
    stats->queued_bytes = invoker->queue.bytes;
    stats->running = 0;
    stats->lost = (uint64_t)invoker->lost;
    for (const struct worker *worker = invoker->workers; worker != NULL; worker = worker->next)
        stats->running += worker->running;
    pthread_mutex_unlock(&invoker->lock);
}
