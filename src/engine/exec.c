// SPDX-License-Identifier: Apache-2.0
// One child process: start, feed, listen, end, judge. The table in exec.h is the contract; judge()
// is the only place that turns an end into an outcome.
//
// What made it hard:
// 1. The input goes through a memfd, not a pipe: no deadlock with a program that writes before it
//    reads, no SIGPIPE from one that does not read at all.
// 2. Waiting is poll() on a pidfd beside the pipes: a grandchild may hold the pipes open after the
//    program has ended, and a program may close its pipes and go on.
// 3. The group is killed before the leader is reaped: until then its number cannot be given to
//    another group.
// 4. posix_spawn with closefrom: a worker has hundreds of descriptors and threads; whatever a
//    library opened without O_CLOEXEC does not reach the program either.
#include "engine/exec.h"

#include "core/assert.h"
#include "core/json.h"
#include "io/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    CHUNK = 64 * 1024, // of one read: what a pipe holds
    DRAIN_READS = 32,  // after the end: more than any pipe holds (1 MiB)
    WAIT_WITHOUT_PIDFD_MS = 20,
    EXIT_OK = 0,
    EXIT_FAIL = 1,
    EXIT_RETRY = 75 // EX_TEMPFAIL of sysexits.h
};

// Why the group was told to end.
enum ending { ENDING_NONE, ENDING_TIMEOUT, ENDING_STOP };

struct child {
    pid_t pid;
    int pid_fd; // -1 where the kernel has none: then it is asked every 20 ms
    int out_fd; // -1 = closed
    int err_fd;
    enum ending ending;
    bool killed;
    bool ended;
    int64_t kill_ms; // when SIGKILL follows SIGTERM
    int status;      // of waitpid
    struct buf out;
    bool out_over; // more than EXEC_STDOUT_MAX came
    char tail[EXEC_STDERR_MAX];
    size_t tail_len;
};

static struct slice KA_PRINTF(2, 3) print(struct arena *arena, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return arena_copy(arena, slice_str(text));
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

// ---------------------------------------------------------------------------- the environment

static const char *const passed_names[] = {"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"};
enum { PASSED = sizeof passed_names / sizeof passed_names[0], OWN_NAMES = 10 };

struct environment {
    struct arena *arena;
    size_t count;
    char *entries[PASSED + OWN_NAMES + EXEC_ENV_MAX + 1];
};

static void put_env(struct environment *env, const char *name, struct slice value)
{
    KA_ASSERT(env->count + 1 < sizeof env->entries / sizeof env->entries[0]);
    size_t name_len = strlen(name);
    char *entry = arena_alloc(env->arena, name_len + value.len + 2);
    memcpy(entry, name, name_len);
    entry[name_len] = '=';
    if (value.len > 0)
        memcpy(entry + name_len + 1, value.ptr, value.len);
    entry[name_len + 1 + value.len] = '\0';
    env->entries[env->count++] = entry;
}

static void pass_env(struct environment *env, const char *name)
{
    const char *value = getenv(name);
    if (value != NULL)
        put_env(env, name, slice_str(value));
}

static void fill_env(struct environment *env, const struct exec_program *program,
                     const struct invocation *invocation)
{
    struct arena *arena = env->arena;
    for (size_t i = 0; i < PASSED; i++)
        pass_env(env, passed_names[i]);
    for (size_t i = 0; program->env_names != NULL && program->env_names[i] != NULL; i++)
        pass_env(env, program->env_names[i]);
    put_env(env, "KASAGA_SAGA", invocation->key);
    put_env(env, "KASAGA_INCARNATION", print(arena, "%" PRId64, invocation->incarnation));
    put_env(env, "KASAGA_STEP", slice_str(invocation->step_name));
    put_env(env, "KASAGA_ATTEMPT", print(arena, "%" PRId32, invocation->attempt));
    put_env(env, "KASAGA_IDEMPOTENCY_KEY", invocation->idempotency_key);
    put_env(env, "KASAGA_TIMEOUT_MS", print(arena, "%" PRId64, invocation->timeout_ms));
    if (invocation->compensation)
        put_env(env, "KASAGA_COMPENSATION", SLICE_LIT("1"));
    if (!slice_none(invocation->forward_key))
        put_env(env, "KASAGA_FORWARD_KEY", invocation->forward_key);
    if (!slice_none(invocation->tenant))
        put_env(env, "KASAGA_TENANT", invocation->tenant);
    if (!slice_none(invocation->traceparent))
        put_env(env, "TRACEPARENT", invocation->traceparent);
    env->entries[env->count] = NULL;
}

// ------------------------------------------------------------------------------------ the start

// Descriptors below 3 would be overwritten while the child's standard ones are put in place.
static int above_standard(int fd)
{
    if (fd < 0 || fd > 2)
        return fd;
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    int error = errno;
    close(fd);
    errno = error;
    return moved;
}

static int open_input(struct slice input)
{
    int fd = above_standard(memfd_create("kasaga-input", MFD_CLOEXEC));
    size_t done = 0;
    while (fd >= 0 && done < input.len) {
        ssize_t n = write(fd, input.ptr + done, input.len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            close_fd(&fd);
            return -1;
        }
        done += (size_t)n;
    }
    if (fd >= 0)
        lseek(fd, 0, SEEK_SET);
    return fd;
}

// The reading end does not block, the program's end does.
static bool open_pipe(int *read_fd, int *write_fd)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    *read_fd = above_standard(ends[0]);
    *write_fd = above_standard(ends[1]);
    if (*read_fd < 0 || *write_fd < 0)
        return false;
    return fcntl(*read_fd, F_SETFL, O_NONBLOCK) == 0;
}

static void set_attributes(posix_spawnattr_t *attr)
{
    sigset_t set;
    sigemptyset(&set);
    posix_spawnattr_setsigmask(attr, &set);
    sigfillset(&set);
    posix_spawnattr_setsigdefault(attr, &set);
    posix_spawnattr_setpgroup(attr, 0);
    posix_spawnattr_setflags(attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                       POSIX_SPAWN_SETSIGDEF);
}

// posix_spawnp wants char *const argv[] and does not write to it.
static char *const *as_argv(const char *const *argv)
{
    union {
        const char *const *from;
        char *const *to;
    } cast = {.from = argv};
    return cast.to;
}

static int spawn(const struct exec_program *program, const struct environment *env,
                 const int fds[3], pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    int error = 0;
    if (posix_spawn_file_actions_init(&actions) != 0)
        return ENOMEM;
    posix_spawnattr_init(&attr);
    set_attributes(&attr);
    for (int i = 0; i < 3 && error == 0; i++)
        error = posix_spawn_file_actions_adddup2(&actions, fds[i], i);
    if (error == 0)
        error = posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    if (error == 0 && program->directory != NULL)
        error = posix_spawn_file_actions_addchdir_np(&actions, program->directory);
    if (error == 0)
        error = posix_spawnp(pid, program->argv[0], &actions, &attr, as_argv(program->argv),
                             env->entries);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    return error;
}

// 0 or the errno of what did not work; then nothing runs and nothing is open.
static int start(struct child *child, const struct exec_program *program,
                 const struct invocation *invocation, struct arena *arena)
{
    struct environment env = {.arena = arena};
    int fds[3] = {-1, -1, -1};
    int error = 0;
    fill_env(&env, program, invocation);
    fds[0] = open_input(invocation->input);
    if (fds[0] < 0 || !open_pipe(&child->out_fd, &fds[1]) || !open_pipe(&child->err_fd, &fds[2]))
        error = errno != 0 ? errno : EMFILE;
    if (error == 0)
        error = spawn(program, &env, fds, &child->pid);
    for (int i = 0; i < 3; i++)
        close_fd(&fds[i]);
    if (error != 0) {
        close_fd(&child->out_fd);
        close_fd(&child->err_fd);
        return error;
    }
    child->pid_fd = pidfd_open(child->pid, 0);
    return 0;
}

// ----------------------------------------------------------------------------------- listening

static void keep_tail(struct child *child, const char *bytes, size_t len)
{
    if (len > EXEC_STDERR_MAX) {
        bytes += len - EXEC_STDERR_MAX;
        len = EXEC_STDERR_MAX;
    }
    size_t keep = child->tail_len;
    if (keep > EXEC_STDERR_MAX - len)
        keep = EXEC_STDERR_MAX - len;
    memmove(child->tail, child->tail + child->tail_len - keep, keep);
    memcpy(child->tail + keep, bytes, len);
    child->tail_len = keep + len;
}

// What is over the limit is read and forgotten: the program must be able to end.
static void keep_out(struct child *child, const char *bytes, size_t len)
{
    size_t room = EXEC_STDOUT_MAX - child->out.len;
    if (len > room) {
        child->out_over = true;
        len = room;
    }
    buf_put(&child->out, bytes, len);
}

// One read; false when there is nothing (more) to read now.
static bool listen_to(struct child *child, int *fd)
{
    char bytes[CHUNK];
    if (*fd < 0)
        return false;
    ssize_t n = read(*fd, bytes, sizeof bytes);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0) {
        close_fd(fd);
        return false;
    }
    if (fd == &child->out_fd)
        keep_out(child, bytes, (size_t)n);
    else
        keep_tail(child, bytes, (size_t)n);
    return true;
}

static bool has_ended(const struct child *child)
{
    siginfo_t info = {0};
    int rc = waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT);
    return (rc == 0 && info.si_pid == child->pid) || (rc != 0 && errno == ECHILD);
}

// ------------------------------------------------------------------------------------- the end

// The leader too, should it have moved to another group.
static void kill_all(const struct child *child)
{
    kill(-child->pid, SIGKILL);
    kill(child->pid, SIGKILL);
}

static void tell_to_end(struct child *child, enum ending ending)
{
    if (child->ending != ENDING_NONE)
        return;
    child->ending = ending;
    child->kill_ms = clock_mono_ms() + EXEC_GRACE_MS;
    kill(-child->pid, SIGTERM);
    kill(-child->pid, SIGCONT); // a stopped process would not hear it
}

static void check_clock(struct child *child, const struct exec_limits *limits)
{
    int64_t now = clock_mono_ms();
    if (now >= limits->deadline_ms)
        tell_to_end(child, ENDING_TIMEOUT);
    if (child->ending != ENDING_NONE && !child->killed && now >= child->kill_ms) {
        child->killed = true;
        kill_all(child);
    }
}

static int next_wait_ms(const struct child *child, const struct exec_limits *limits)
{
    int64_t until = child->ending == ENDING_NONE ? limits->deadline_ms : child->kill_ms;
    int64_t wait = child->killed ? 1000 : until - clock_mono_ms();
    if (child->pid_fd < 0 && wait > WAIT_WITHOUT_PIDFD_MS)
        wait = WAIT_WITHOUT_PIDFD_MS;
    if (wait > 60000)
        wait = 60000;
    return wait < 0 ? 0 : (int)wait;
}

static void attend(struct child *child, const struct exec_limits *limits)
{
    while (!child->ended) {
        bool listen_stop = child->ending == ENDING_NONE;
        struct pollfd fds[4] = {
            {.fd = child->out_fd, .events = POLLIN},
            {.fd = child->err_fd, .events = POLLIN},
            {.fd = child->pid_fd, .events = POLLIN},
            {.fd = listen_stop ? limits->stop_fd : -1, .events = POLLIN},
        };
        poll(fds, 4, next_wait_ms(child, limits));
        if (fds[0].revents != 0)
            listen_to(child, &child->out_fd);
        if (fds[1].revents != 0)
            listen_to(child, &child->err_fd);
        if (fds[3].revents != 0)
            tell_to_end(child, ENDING_STOP);
        child->ended = (child->pid_fd < 0 || fds[2].revents != 0) && has_ended(child);
        if (!child->ended)
            check_clock(child, limits);
    }
}

static void finish(struct child *child)
{
    kill_all(child);
    while (waitpid(child->pid, &child->status, 0) < 0) {
        if (errno == EINTR)
            continue;
        child->status = SIGKILL; // somebody else reaped it: as unknown as killed
        break;
    }
    for (int i = 0; i < DRAIN_READS && listen_to(child, &child->out_fd); i++)
        ;
    for (int i = 0; i < DRAIN_READS && listen_to(child, &child->err_fd); i++)
        ;
    close_fd(&child->out_fd);
    close_fd(&child->err_fd);
    close_fd(&child->pid_fd);
}

// ------------------------------------------------------------------------------------ the verdict

static struct slice last_line(const struct child *child)
{
    size_t end = child->tail_len;
    while (end > 0 && (unsigned char)child->tail[end - 1] <= ' ')
        end--;
    size_t begin = end;
    while (begin > 0 && child->tail[begin - 1] != '\n')
        begin--;
    return slice_of(child->tail + begin, end - begin);
}

static void set(struct action_result *result, enum outcome outcome, struct slice code,
                struct slice message)
{
    result->outcome = outcome;
    result->maybe_done = outcome == OUTCOME_UNKNOWN;
    result->code = code;
    result->message = message;
}

static void judge_ok(const struct child *child, struct arena *arena, struct action_result *result)
{
    struct err_text why;
    struct slice data = json_trim(buf_slice(&child->out));
    result->data = data.len == 0 ? SLICE_LIT("{}") : arena_copy(arena, data);
    result->outcome = OUTCOME_OK;
    if (child->out_over)
        set(result, OUTCOME_FAIL, SLICE_LIT("result_too_large"),
            SLICE_LIT("more than 1 MiB on stdout"));
    else if (json_validate(result->data, &why) != KA_OK)
        set(result, OUTCOME_FAIL, SLICE_LIT("invalid_result"),
            print(arena, "stdout: %s", why.text));
    else if (json_type(result->data) != JSON_OBJECT)
        set(result, OUTCOME_FAIL, SLICE_LIT("invalid_result"),
            SLICE_LIT("stdout is not a JSON object"));
    if (result->outcome == OUTCOME_OK)
        return;
    result->maybe_done = true;
    result->data = SLICE_NONE;
}

static struct slice text_member(struct slice object, const char *name, struct arena *arena)
{
    struct slice value = json_member(object, slice_str(name));
    if (slice_none(value) || json_type(value) != JSON_STRING)
        return SLICE_NONE;
    return json_text(value, arena);
}

// fail and retry: what stdout says, if it says it as an object.
static void judge_no(const struct child *child, enum outcome outcome, struct arena *arena,
                     struct action_result *result)
{
    struct err_text why;
    struct slice said = arena_copy(arena, json_trim(buf_slice(&child->out)));
    struct slice code = outcome == OUTCOME_RETRY ? SLICE_LIT("retry") : SLICE_LIT("failed");
    set(result, outcome, code, arena_copy(arena, last_line(child)));
    if (child->out_over || json_validate(said, &why) != KA_OK || json_type(said) != JSON_OBJECT)
        return;
    struct slice said_code = text_member(said, "code", arena);
    struct slice said_message = text_member(said, "message", arena);
    struct slice after = json_member(said, SLICE_LIT("retry_after_ms"));
    if (said_code.len > 0)
        result->code = said_code;
    if (!slice_none(said_message))
        result->message = said_message;
    if (outcome == OUTCOME_RETRY && !slice_none(after) && json_type(after) == JSON_NUMBER &&
        (!json_i64(after, &result->retry_after_ms) || result->retry_after_ms < 0))
        result->retry_after_ms = 0;
}

static void judge(const struct child *child, const struct invocation *invocation,
                  struct arena *arena, struct action_result *result)
{
    if (child->ending == ENDING_TIMEOUT) {
        set(result, OUTCOME_UNKNOWN, SLICE_LIT("timeout"),
            print(arena, "not done after %" PRId64 " ms", invocation->timeout_ms));
    } else if (child->ending == ENDING_STOP) {
        set(result, OUTCOME_UNKNOWN, SLICE_LIT("stopped"), SLICE_LIT("the worker stopped"));
    } else if (!WIFEXITED(child->status)) {
        set(result, OUTCOME_UNKNOWN, print(arena, "signal_%d", WTERMSIG(child->status)),
            arena_copy(arena, last_line(child)));
    } else if (WEXITSTATUS(child->status) == EXIT_OK) {
        judge_ok(child, arena, result);
    } else if (WEXITSTATUS(child->status) == EXIT_FAIL) {
        judge_no(child, OUTCOME_FAIL, arena, result);
    } else if (WEXITSTATUS(child->status) == EXIT_RETRY) {
        judge_no(child, OUTCOME_RETRY, arena, result);
    } else {
        set(result, OUTCOME_UNKNOWN, print(arena, "exit_%d", WEXITSTATUS(child->status)),
            arena_copy(arena, last_line(child)));
    }
}

static void judge_unstarted(int error, const struct exec_program *program, struct arena *arena,
                            struct action_result *result)
{
    struct slice code = SLICE_LIT("not_started");
    if (error == ENOENT || error == ENOTDIR)
        code = SLICE_LIT("not_found");
    if (error == EACCES || error == ENOEXEC)
        code = SLICE_LIT("not_executable");
    set(result, OUTCOME_RETRY, code,
        print(arena, "cannot start %s: %s", program->argv[0], strerror(error)));
}

static bool has_nul(struct slice s)
{
    return s.len > 0 && memchr(s.ptr, '\0', s.len) != NULL;
}

void exec_run(const struct exec_program *program, const struct invocation *invocation,
              const struct exec_limits *limits, struct arena *arena, struct action_result *result,
              struct exec_report *report)
{
    KA_ASSERT(program->argv != NULL && program->argv[0] != NULL);
    KA_ASSERT(limits->deadline_ms > 0);
    struct child child = {.pid_fd = -1, .out_fd = -1, .err_fd = -1};
    memset(result, 0, sizeof *result);
    *report = (struct exec_report){.exit_status = -1};
    // The environment cannot carry it, and half a key would be another key.
    if (has_nul(invocation->key) || has_nul(invocation->idempotency_key) ||
        has_nul(invocation->tenant) || has_nul(invocation->traceparent)) {
        set(result, OUTCOME_FAIL, SLICE_LIT("invalid_key"), SLICE_LIT("a NUL in key or headers"));
        return;
    }
    int error = start(&child, program, invocation, arena);
    if (error != 0) {
        judge_unstarted(error, program, arena, result);
        return;
    }
    attend(&child, limits);
    finish(&child);
    judge(&child, invocation, arena, result);
    report->started = true;
    report->exit_status = WIFEXITED(child.status) ? WEXITSTATUS(child.status) : -1;
    report->signal = WIFSIGNALED(child.status) ? WTERMSIG(child.status) : 0;
    report->stderr_text = arena_copy(arena, slice_of(child.tail, child.tail_len));
    buf_fini(&child.out);
}
