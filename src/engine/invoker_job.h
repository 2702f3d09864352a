// SPDX-License-Identifier: Apache-2.0
// A call in the invoker: a copy of the invocation, and later its result. Internal to invoker.c.
#ifndef KA_ENGINE_INVOKER_JOB_H
#define KA_ENGINE_INVOKER_JOB_H

#include "engine/invoker.h"

// The result is its first member: they are freed together (invoker_result_free).
struct job {
    struct invoker_result result; // its arena is the call's memory
    struct job *next;
    const struct invoker_client *client;
    struct runner *runner;
    struct invoker_line *line;    // in invoker_queue.h
    struct invocation invocation; // slices in copy and input
    char *input;
    char *kept; // what the result points to, once it is settled
    size_t bytes;
    int32_t shard;
    int32_t epoch;
    int64_t submitted_us;
    int64_t started_us;
    int64_t deadline_ms;
    int64_t begin_by_ms; // then it is handed back
    int64_t give_up_ms;
    bool dropped;
    bool given_up;
    char copy[];
};

// Copies the invocation in two pieces, so that a waiting call costs what it is long; everything
// else is zero. NULL: no memory. Caller frees. No job function is for several threads at once.
struct job *job_new(const struct invocation *from);
void job_free(struct job *job);

// A result may wait for its lane: keeps the bytes of the outcome and no more of what the call
// needed. Out of memory ends the process.
void job_settle(struct job *job, struct action_result *outcome);
// The call has ended: its input is not needed any more.
void job_drop_input(struct job *job);

// The result of the job with the identity of the call and its times; the outcome is the caller's.
// The caller owns it and the job with it.
struct invoker_result *job_result(struct job *job, bool started);
// UNKNOWN "timeout" for a call that still runs: its job belongs to the stuck thread, so this is the
// result of a second job with the names only. Without memory the process ends, as in an arena.
struct invoker_result *job_timeout_result(const struct job *job);

#endif
