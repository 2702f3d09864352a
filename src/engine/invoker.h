// SPDX-License-Identifier: Apache-2.0
// A pool of threads for the calls that may block: pooled plugins and programs. Takes an invocation
// after the commit that decided it, gives back one result. Not for inline plugins (they run in the
// lane), nor for http (libcurl multiplexes those on one thread), and it decides no retries.
//
//   submit -> queued -> running -> ended        done() with the result
//                |          |----> given up     done() with unknown "timeout", at the timeout; the
//                |                              thread is lost until its plugin returns, another
//                |                              one takes its place (at most lost_max times)
//                |---------------> not begun    done() with started = false, see below
//                '---------------> dropped      nothing: the lane has gone
//
// Actions take turns, each with its calls in order; one with a bound on its calls at once
// (runner_concurrency) is passed by while it has them.
//
// The timeout of an attempt counts from submit, because the lane's clock for it does; what is left
// of it when a thread is free is what the call gets. A call that has not begun within its
// wait_ms is handed back, so that no call begins with too little time.
#ifndef KA_ENGINE_INVOKER_H
#define KA_ENGINE_INVOKER_H

#include "core/action.h"
#include "core/err.h"
#include "engine/runner.h"

// One result, owned by who got it. All slices live as long as it does.
struct invoker_result {
    int32_t shard;
    int32_t epoch; // of the assignment: the lane ignores results of another one
    // false: it never ran, nothing happened outside: the lane would not let it start any more, or
    // its time was over before a thread was free. `result` is then RETRY, ACTION_NOT_BEGUN.
    bool started;
    struct slice key;
    int64_t incarnation;
    int32_t step;
    int32_t attempt;
    bool compensation;
    struct action_result result;
    int64_t waited_us;   // from submit to the start
    int64_t duration_us; // from the start to this result
    struct arena memory;
};
void invoker_result_free(struct invoker_result **result);

// A lane as the invoker knows it: embedded in the lane, constant while anything is submitted.
struct invoker_client {
    void *context;
    // Takes ownership of the result. Called on a thread of the pool: it queues and wakes, it must
    // not block nor call the invoker.
    void (*done)(void *context, struct invoker_result *result);
    // May a call decided under this epoch begin now (the shard is still ours, the proof of
    // membership is young)? Called on a thread of the pool just before the start. NULL = always.
    bool (*may_start)(void *context, int32_t shard, int32_t epoch);
};

struct invoker_config {
    int threads;            // 1 to 1024
    int lost_max;           // replaced threads at one time; 0 = as many as threads
    size_t queue_max;       // waiting calls
    size_t queue_bytes_max; // their inputs and keys; 0 = 64 MiB
};

struct invoker_stats {
    uint64_t queued; // now
    uint64_t queued_bytes;
    uint64_t running; // now, lost ones included
    uint64_t lost;    // now
    uint64_t refused; // submits that found no room
    uint64_t started;
    uint64_t ended[4]; // results of started calls, by enum outcome
    uint64_t given_up; // of those: not returned at the timeout
    uint64_t late;     // returned after they were given up; ignored
    uint64_t not_begun;
    uint64_t dropped;   // queued or running when their lane went, or queued at the stop
    uint64_t waited_us; // of the started ones
};

struct invoker;

// Starts the threads. KA_ERR_CONFIG for bounds, KA_ERR_NOMEM, KA_ERR_IO. The caller owns *invoker.
KA_MUST_USE enum ka_err invoker_new(const struct invoker_config *config, struct invoker **invoker,
                                    struct err_text *text);

// Queues one attempt of a pooled plugin or a program; copies what it needs. The runner of its
// action must live until invoker_stop has returned KA_OK. false: no room or stopping: the caller
// keeps it and tries again later. Any thread.
KA_MUST_USE bool invoker_submit(struct invoker *invoker, const struct invoker_client *client,
                                const struct invocation *invocation, int32_t shard, int32_t epoch);

// The lane goes: its queued calls are forgotten, results of the running ones will be. When this
// returns, neither done nor may_start of this client runs or will run. What runs outside runs on to
// its timeout: its effect is covered by the idempotency key. Any thread but the pool's.
void invoker_drop(struct invoker *invoker, const struct invoker_client *client);
// The same for the queued calls of one shard up to `epoch`, when only that shard goes. Results of
// running ones still come; their epoch tells.
void invoker_drop_shard(struct invoker *invoker, const struct invoker_client *client, int32_t shard,
                        int32_t epoch);

// Ends everything: queued calls are forgotten, programs are ended (unknown "stopped"), plugins are
// told by `cancelled` and waited for up to `limit_ms`. Clients whose calls still run get no result
// after this returns. KA_ERR_TIMEOUT if calls are still running then; `text` and the log name them.
// Once, on any thread but the pool's.
KA_MUST_USE enum ka_err invoker_stop(struct invoker *invoker, int64_t limit_ms,
                                     struct err_text *text);
// After invoker_stop. If calls are still running their threads keep what they use: that memory is
// given back by the end of the process only, and their plugins must stay loaded.
void invoker_free(struct invoker **invoker);

// A consistent picture. Any thread.
void invoker_read_stats(struct invoker *invoker, struct invoker_stats *stats);

#endif
