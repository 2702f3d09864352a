// SPDX-License-Identifier: Apache-2.0
// What waits in the invoker: a line of calls for each action, and the actions take turns. So a
// thousand calls of one action do not keep the one call of another waiting, and an action that may
// not run more calls at once is passed by. Bounded by calls and bytes over all; not locked: all
// under the invoker's mutex. Internal to invoker.c.
#ifndef KA_ENGINE_INVOKER_QUEUE_H
#define KA_ENGINE_INVOKER_QUEUE_H

#include "engine/invoker_job.h"

// The calls of one action.
struct invoker_line {
    const struct runner *runner;
    int most; // of them at once; 0 = no bound
    struct job *head;
    struct job **tail;
    size_t queued;
    int running;               // taken and not yet done
    bool ready;                // it stands among those that take turns
    struct invoker_line *turn; // the next of those
    struct invoker_line *next; // of all
};

struct invoker_queue {
    size_t calls_max;
    size_t bytes_max;
    size_t calls;
    size_t bytes;
    struct invoker_line *lines;
    struct invoker_line *turn; // first of those that have a call which may begin
    struct invoker_line **last;
};

void invoker_queue_init(struct invoker_queue *queue, size_t calls_max, size_t bytes_max);
// Frees what waits.
void invoker_queue_fini(struct invoker_queue *queue);

// False: no room; the job stays the caller's. An action with a bound on its calls gets half of the
// room, so that others find some. True: job->line is set, the queue has the job.
KA_MUST_USE bool invoker_queue_push(struct invoker_queue *queue, struct job *job);
// The next call that may begin; NULL: none. The caller has the job and owes invoker_queue_done.
struct job *invoker_queue_take(struct invoker_queue *queue);
// A call that has waited until its begin_by_ms, which is the caller's then; else NULL, and *next_ms
// is lowered to when there will be one.
struct job *invoker_queue_late(struct invoker_queue *queue, int64_t now_ms, int64_t *next_ms);
// A call of this line has ended or did not begin.
void invoker_queue_done(struct invoker_queue *queue, struct invoker_line *line);
// Forgets the calls of a client, of one shard (< 0 = all) and up to an epoch; how many.
size_t invoker_queue_drop(struct invoker_queue *queue, const struct invoker_client *client,
                          int32_t shard, int32_t epoch);
size_t invoker_queue_clear(struct invoker_queue *queue);

#endif
