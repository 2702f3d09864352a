// SPDX-License-Identifier: Apache-2.0
#include "engine/kill.h"

#ifdef KASAGA_FAULTS

#include "core/rule.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { SOON_US = 1500 }; // an EndTxn and its markers take 2 to 4 ms on a quiet machine

uint64_t ka_rules_off;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static char wanted[64];
static long wanted_count;
static char passer[16]; // name of the thread that came by
static atomic_long hits;

static void read_environment(void)
{
    const char *rules = getenv("KASAGA_RULES_OFF");
    for (char *end; rules != NULL && *rules != '\0'; rules = *end == ',' ? end + 1 : "")
        ka_rules_off |= UINT64_C(1) << strtol(rules, &end, 10);
    const char *value = getenv("KASAGA_KILL_AT");
    const char *colon = value == NULL ? NULL : strchr(value, ':');
    if (colon == NULL || (size_t)(colon - value) >= sizeof wanted)
        return;
    memcpy(wanted, value, (size_t)(colon - value));
    wanted_count = strtol(colon + 1, NULL, 10);
}

uint64_t kill_rules_off(void)
{
    pthread_once(&once, read_environment);
    return ka_rules_off;
}

static bool is_hit(const char *name)
{
    pthread_once(&once, read_environment);
    if (strcmp(name, wanted) != 0 || atomic_fetch_add(&hits, 1) + 1 != wanted_count)
        return false;
    prctl(PR_GET_NAME, passer);
    return true;
}

static void end_process(void)
{
    char line[128];
    int len = snprintf(line, sizeof line, "killed at=%s hit=%ld thread=%s\n", wanted, wanted_count,
                       passer);
    ssize_t written = write(STDERR_FILENO, line, (size_t)len);
    (void)written; // it ends all the same
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

static void *end_soon(void *argument)
{
    struct timespec pause = {0, SOON_US * 1000};
    nanosleep(&pause, NULL);
    end_process();
    return argument;
}

void kill_point(const char *name)
{
    if (is_hit(name))
        end_process();
}

void kill_point_soon(const char *name)
{
    pthread_t thread;
    if (is_hit(name) && pthread_create(&thread, NULL, end_soon, NULL) != 0)
        end_process();
}

#endif
