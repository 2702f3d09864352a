// SPDX-License-Identifier: Apache-2.0
// Runs one attempt of an exec action: a program with the input as JSON on stdin and the result as
// JSON on stdout. No shell in between. Not for choosing threads or counting: engine/runner.h and
// engine/invoker.h do that. Linux (pidfd, memfd) and glibc 2.34 or later.
//
// What the program gets: stdin = the input, then end of file; the working directory of the worker
// or the configured one; PATH, HOME, LANG, LC_ALL, TZ, TMPDIR and the configured names of the
// worker's environment, nothing else of it, and
//   KASAGA_SAGA, KASAGA_INCARNATION, KASAGA_STEP, KASAGA_ATTEMPT, KASAGA_IDEMPOTENCY_KEY,
//   KASAGA_TIMEOUT_MS; KASAGA_COMPENSATION=1 and KASAGA_FORWARD_KEY in a compensation;
//   KASAGA_TENANT and TRACEPARENT if the saga has them.
// No other file descriptor, default signal dispositions, its own process group.
//
//   how it ended                        outcome   code, message                        maybe_done
//   exit 0, a JSON object or nothing    ok        -                                    -
//   exit 0, anything else on stdout     fail      invalid_result                       yes
//   exit 0, over EXEC_STDOUT_MAX        fail      result_too_large                     yes
//   exit 1                              fail      {"code", "message"} of stdout, else
//                                                 "failed", last line of stderr        no
//   exit 75                             retry     the same, {"retry_after_ms"}         no
//   any other exit                      unknown   exit_<n>, last line of stderr        yes
//   killed by a signal                  unknown   signal_<n>                           yes
//   not done at its deadline            unknown   timeout                              yes
//   the worker stops                    unknown   stopped                              yes
//   cannot be started                   retry     not_found, not_executable or         no
//                                                 not_started: it did not run; the retry
//                                                 policy bounds it, like a refused connection
// At the deadline the process group gets SIGTERM, EXEC_GRACE_MS later SIGKILL. What the program
// leaves running in its group is killed when it has ended: nothing outlives a call.
#ifndef KA_ENGINE_EXEC_H
#define KA_ENGINE_EXEC_H

#include "core/action.h"
#include "core/arena.h"

enum {
    EXEC_STDOUT_MAX = 1024 * 1024, // Kafka's default message.max.bytes: more could not be stored
    EXEC_STDERR_MAX = 4096,        // the last bytes; a log line
    EXEC_GRACE_MS = 500,           // between SIGTERM and SIGKILL
    EXEC_ARGS_MAX = 64,
    EXEC_ENV_MAX = 32 // names passed on besides the fixed ones
};

// Borrowed by exec_run; all of it is constant. argv[0] without a slash is looked for in PATH.
struct exec_program {
    const char *const *argv;      // NULL-terminated
    const char *const *env_names; // NULL-terminated; NULL = none
    const char *directory;        // NULL = the worker's
};

struct exec_limits {
    int64_t deadline_ms; // CLOCK_MONOTONIC
    int stop_fd;         // the call is ended when it becomes readable; -1 = none
};

struct exec_report {
    int exit_status; // -1 if it did not exit by itself
    int signal;      // that ended it; 0 = none
    bool started;
    struct slice stderr_text; // last EXEC_STDERR_MAX bytes, as they came; in the arena
};

// Runs the program to its end; blocks the calling thread up to the deadline plus EXEC_GRACE_MS (a
// process that the kernel cannot kill blocks longer). The result is in the arena. Any thread but a
// lane's; needs no signal handlers and leaves no process and no descriptor behind. SIGCHLD must not
// be ignored in this process.
void exec_run(const struct exec_program *program, const struct invocation *invocation,
              const struct exec_limits *limits, struct arena *arena, struct action_result *result,
              struct exec_report *report);

#endif
