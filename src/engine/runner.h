// SPDX-License-Identifier: Apache-2.0
// What action_def.runner points to for the kinds plugin and exec: one configured action, ready to
// run in this process. Runs one attempt on the calling thread: inline plugins on a lane's thread,
// the others on a thread of the invoker. Not for the kinds http, topic and entity, and not for
// retries, which are the saga's matter. What a plugin logs and what a program writes to stderr
// become log lines (facility "runner", events "plugin" and "stderr").
#ifndef KA_ENGINE_RUNNER_H
#define KA_ENGINE_RUNNER_H

#include "core/action.h"
#include "core/arena.h"
#include "core/err.h"
#include "engine/exec.h"
#include "engine/watchdog.h"
#include "io/plugin.h"

#include <stdatomic.h>

enum {
    RUNNER_CODE_MAX = 63,
    RUNNER_MESSAGE_MAX = 1000,
    RUNNER_BUCKETS = 13 // of the histogram of durations
};

enum runner_kind { RUNNER_PLUGIN, RUNNER_EXEC };

struct runner_config {
    const char *name; // of the configured action; copied
    // RUNNER_PLUGIN: borrowed until runner_free. `action` is its name in the library, NULL = name.
    const struct io_plugin *plugin;
    const char *action;
    struct slice options; // JSON object, absent = {}; not kept
    bool run_inline;
    int concurrency; // calls at once in this process, of those that are not inline; 0 = no bound
    // RUNNER_EXEC; copied.
    struct exec_program program;
};

// How the thread that runs it wants it. All zero is right for an inline call without a watchdog.
struct runner_place {
    struct watch *watch;     // the lane's, for inline calls; may be NULL
    int64_t deadline_ms;     // CLOCK_MONOTONIC; 0 = the invocation's timeout from now
    const atomic_bool *stop; // true = the worker stops: long plugin calls are told; may be NULL
    int stop_fd;             // the same for programs: readable = end it; 0 or -1 = none
    bool counts_itself;      // the caller says how it ended, with runner_count_end
};

struct runner_stats {
    uint64_t started;
    uint64_t ended[4]; // by enum outcome; the rest of `started` is under way
    uint64_t duration_us;
    uint64_t buckets[RUNNER_BUCKETS]; // not cumulative; see runner_bucket_us
};

struct runner;

// Makes a runner: KA_ERR_CONFIG with everything that is wrong (unknown action, options, `init` said
// no, too many arguments). A program need not be there yet. The caller owns *runner. Any thread.
KA_MUST_USE enum ka_err runner_new(enum runner_kind kind, const struct runner_config *config,
                                   struct runner **runner, struct err_text *text);
// No call may be under way.
void runner_free(struct runner **runner);

// From now on its attempts are answered so, and it runs no more. Before its first call. Several
// threads at once call `answer`.
typedef void runner_answer(void *context, const struct invocation *invocation, struct arena *arena,
                           struct action_result *result);
void runner_answer_with(struct runner *runner, runner_answer *answer, void *context);

enum runner_kind runner_kind(const struct runner *runner);
const char *runner_name(const struct runner *runner);
bool runner_is_inline(const struct runner *runner);
int runner_concurrency(const struct runner *runner); // 0 = no bound; the invoker's matter
// Of the plugin's action; NULL for programs.
const struct kasaga_action *runner_action(const struct runner *runner);

// Runs one attempt to its end on this thread. Plugins are not timed here: inline ones by
// engine/watchdog.h, pooled ones by engine/invoker.h; programs are ended at the deadline. Every
// result is checked: OK has a JSON object, the others a code (cut at RUNNER_CODE_MAX bytes) and a
// message; for what is checked and what the codes are see engine/plugin_call.h and engine/exec.h.
// An instance that cannot be made is RETRY "no_instance". The result's texts are in the arena or
// static. Several threads at once.
void runner_run(struct runner *runner, const struct invocation *invocation,
                const struct runner_place *place, struct arena *arena,
                struct action_result *result);

// Counts the end of a call, as the saga will hear of it: for callers that may give one up. Once per
// runner_run with counts_itself. Any thread.
void runner_count_end(struct runner *runner, enum outcome outcome, int64_t took_us);

// Counts of this runner since it was made; each is exact, together they are a moment apart.
void runner_read_stats(const struct runner *runner, struct runner_stats *stats);
// Upper bound of a bucket in microseconds (100 us, 1 ms, … 30 s); INT64_MAX for the last.
int64_t runner_bucket_us(size_t bucket);
// The upper bound of the bucket below which `percent` of the calls have ended; 0 when none has.
int64_t runner_percentile_us(const struct runner_stats *stats, int percent);
// Attempts by outcome, and bounds of how long they took; nothing before the first.
void runner_log_stats(const struct runner *runner);

#endif
