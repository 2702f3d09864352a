// SPDX-License-Identifier: Apache-2.0
// Lines are never taken out before the end: there are as many as configured actions.
#include "engine/invoker_queue.h"

#include "core/assert.h"

#include <stdlib.h>

void invoker_queue_init(struct invoker_queue *queue, size_t calls_max, size_t bytes_max)
{
    *queue = (struct invoker_queue){.calls_max = calls_max, .bytes_max = bytes_max};
    queue->last = &queue->turn;
}

void invoker_queue_fini(struct invoker_queue *queue)
{
    (void)invoker_queue_clear(queue);
    while (queue->lines != NULL) {
        struct invoker_line *line = queue->lines;
        queue->lines = line->next;
        free(line);
    }
    queue->turn = NULL;
    queue->last = &queue->turn;
}

static struct invoker_line *line_of(struct invoker_queue *queue, const struct runner *runner)
{
    struct invoker_line *line = queue->lines;
    while (line != NULL && line->runner != runner)
        line = line->next;
    if (line != NULL)
        return line;
    line = calloc(1, sizeof *line);
    if (line == NULL)
        return NULL;
    line->runner = runner;
    line->most = runner_concurrency(runner);
    line->tail = &line->head;
    line->next = queue->lines;
    queue->lines = line;
    return line;
}

static bool has_room(const struct invoker_queue *queue, const struct invoker_line *line,
                     const struct job *job)
{
    size_t share = line->most > 0 ? (queue->calls_max + 1) / 2 : queue->calls_max;
    return queue->calls < queue->calls_max && line->queued < share &&
           (queue->calls == 0 || queue->bytes + job->bytes <= queue->bytes_max);
}

// Puts the line behind the others that wait for their turn, if one of its calls may begin.
static void line_up(struct invoker_queue *queue, struct invoker_line *line)
{
    bool bounded = line->most > 0 && line->running >= line->most;
    if (line->ready || line->head == NULL || bounded)
        return;
    line->ready = true;
    line->turn = NULL;
    *queue->last = line;
    queue->last = &line->turn;
}

bool invoker_queue_push(struct invoker_queue *queue, struct job *job)
{
    struct invoker_line *line = line_of(queue, job->runner);
    if (line == NULL || !has_room(queue, line, job))
        return false;
    job->line = line;
    *line->tail = job;
    line->tail = &job->next;
    line->queued++;
    queue->calls++;
    queue->bytes += job->bytes;
    line_up(queue, line);
    return true;
}

// Takes the job out that `at` points to.
static struct job *unlink_job(struct invoker_queue *queue, struct invoker_line *line,
                              struct job **at)
{
    struct job *job = *at;
    *at = job->next;
    if (line->tail == &job->next)
        line->tail = at;
    job->next = NULL;
    line->queued--;
    queue->calls--;
    queue->bytes -= job->bytes;
    return job;
}

struct job *invoker_queue_take(struct invoker_queue *queue)
{
    for (struct invoker_line *line = queue->turn; line != NULL; line = queue->turn) {
        queue->turn = line->turn;
        if (queue->turn == NULL)
            queue->last = &queue->turn;
        line->ready = false;
        if (line->head == NULL) // its calls were dropped meanwhile
            continue;
        struct job *job = unlink_job(queue, line, &line->head);
        line->running++;
        line_up(queue, line);
        return job;
    }
    return NULL;
}

struct job *invoker_queue_late(struct invoker_queue *queue, int64_t now_ms, int64_t *next_ms)
{
    for (struct invoker_line *line = queue->lines; line != NULL; line = line->next) {
        for (struct job **at = &line->head; *at != NULL; at = &(*at)->next) {
            if ((*at)->begin_by_ms <= now_ms)
                return unlink_job(queue, line, at);
            if ((*at)->begin_by_ms < *next_ms)
                *next_ms = (*at)->begin_by_ms;
        }
    }
    return NULL;
}

void invoker_queue_done(struct invoker_queue *queue, struct invoker_line *line)
{
    KA_ASSERT(line->running > 0);
    line->running--;
    line_up(queue, line);
}

size_t invoker_queue_drop(struct invoker_queue *queue, const struct invoker_client *client,
                          int32_t shard, int32_t epoch)
{
    size_t dropped = 0;
    for (struct invoker_line *line = queue->lines; line != NULL; line = line->next) {
        struct job **at = &line->head;
        while (*at != NULL) {
            bool gone = (client == NULL || (*at)->client == client) &&
                        (shard < 0 || (*at)->shard == shard) && (*at)->epoch <= epoch;
            if (!gone) {
                at = &(*at)->next;
                continue;
            }
            job_free(unlink_job(queue, line, at));
            dropped++;
        }
    }
    return dropped;
}

size_t invoker_queue_clear(struct invoker_queue *queue)
{
    return invoker_queue_drop(queue, NULL, -1, INT32_MAX);
}
