// SPDX-License-Identifier: Apache-2.0
#include "cmd/cmd_process.h"

#include "io/log.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { STOP_LIMIT_S = 8 };

static atomic_bool stop_asked;
static atomic_int digests_asked;

// Asked again after a second: at once; Kafka has everything. Sooner it is the same asking, which
// a terminal and a supervisor may both pass on.
static void on_signal(int number)
{
    static struct timespec first;
    struct timespec now;
    (void)number;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (!atomic_exchange(&stop_asked, true)) {
        first = now;
        alarm(STOP_LIMIT_S);
    } else if (now.tv_sec - first.tv_sec > 1)
        _exit(CMD_FAILED);
}

// A cluster that does not answer can hold up everything that is tidied up. What is open in it is
// settled by the next owner, as after a crash.
static void on_alarm(int number)
{
    static const char text[] = "kasaga: it did not stop in 8 s and ends as it stands\n";
    (void)number;
    ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
    (void)written;
    _exit(CMD_FAILED);
}

static void on_usr1(int number)
{
    (void)number;
    atomic_fetch_add(&digests_asked, 1);
}

void cmd_listen_for_signals(void)
{
    struct sigaction digest = {.sa_handler = on_usr1, .sa_flags = SA_RESTART};
    sigemptyset(&digest.sa_mask);
    sigaction(SIGUSR1, &digest, NULL);
    struct sigaction limit = {.sa_handler = on_alarm};
    sigemptyset(&limit.sa_mask);
    sigaction(SIGALRM, &limit, NULL);
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
}

void cmd_configure_log(const struct config *config)
{
    static const enum log_level levels[] = {
        [CONF_LOG_DEBUG] = LOG_LEVEL_DEBUG, [CONF_LOG_INFO] = LOG_LEVEL_INFO,
        [CONF_LOG_WARN] = LOG_LEVEL_WARN,   [CONF_LOG_ERROR] = LOG_LEVEL_ERROR,
        [CONF_LOG_OFF] = LOG_LEVEL_OFF,
    };
    struct log_config log = {.level = levels[config->log_level],
                             .json = config->log_format == CONF_LOG_JSON,
                             .fd = STDERR_FILENO};
    log_configure(&log);
}

atomic_bool *cmd_stop_asked(void)
{
    return &stop_asked;
}

const atomic_int *cmd_digests_asked(void)
{
    return &digests_asked;
}
