// SPDX-License-Identifier: Apache-2.0
// The command table and nothing else: a command is one file of src/cmd.
#include "cmd/cmd.h"
#include "core/assert.h"
#include "io/kafka.h"

#include <signal.h>
#include <stdio.h>

enum { CLOSE_MS = 3000 }; // how long the process waits for clients that are closing

struct command {
    const char *name;
    const char *summary;
    int (*run)(int argc, char **argv);
};

static const struct command commands[] = {
    {"dev", "a first look: sagas at work, no Kafka needed", cmd_dev},
    {"check", "say what is wrong with a configuration", cmd_check},
    {"topics", "plan or create the topics of an app", cmd_topics},
    {"worker", "run a worker process", cmd_worker},
    {"link", "copy topics of other clusters into this one", cmd_link},
    {"submit", "start a saga", cmd_submit},
    {"trace", "what happened to a saga", cmd_trace},
    {"saga", "pause, resume, cancel, retry, skip or terminate a saga", cmd_saga},
    {"replay", "run a saga again from its history, or an app from its topics", cmd_replay},
    {"shard", "repair or rebuild shards that stand still", cmd_shard},
    {"status", "shards, owners, lag and counts", cmd_status},
    {"errors", "what went wrong lately, by class and code", cmd_errors},
    {"audit", "what was kept from leaving its region", cmd_audit},
    {"dlq", "records that nothing could be done with", cmd_dlq},
    {"version", "versions of kasaga and its libraries", cmd_version},
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static const struct command *lookup(const char *name)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

static void list(FILE *out)
{
    fputs("usage: kasaga COMMAND [ARGUMENTS]\n\n", out);
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fputs("  help       this list, or the options of a command: kasaga help COMMAND\n\n"
          "Commands read their configuration from -c FILE or KASAGA_CONFIG.\n"
          "Exit codes: 0 ok, 1 failed, 2 usage, 3 compensated, 4 stuck or failed, 5 not found,\n"
          "69 unreachable, 75 timed out, 78 bad configuration.\n",
          out);
}

static int unknown(const char *name)
{
    cmd_complain(CMD_USAGE, "there is no command '%s'; kasaga help lists them", name);
    return CMD_USAGE;
}

static int help(int argc, char **argv)
{
    static char flag[] = "--help";
    if (argc < 2) {
        list(stdout);
        return CMD_OK;
    }
    const struct command *command = lookup(argv[1]);
    if (command == NULL)
        return unknown(argv[1]);
    char *arguments[] = {argv[1], flag, NULL};
    return command->run(2, arguments);
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2) {
        list(stderr);
        return CMD_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return help(argc - 1, argv + 1);
    if (strcmp(name, "--version") == 0)
        return cmd_version(1, argv + 1);
    const struct command *command = lookup(name);
    return command == NULL ? unknown(name) : command->run(argc - 1, argv + 1);
}

// The core cannot write; what it asserted in vain is said here before the process ends.
static void say_assert(const char *text)
{
    fprintf(stderr, "kasaga: %s\n", text);
}

int main(int argc, char **argv)
{
    ka_assert_hook = say_assert;
    signal(SIGPIPE, SIG_IGN); // a reader that goes away is an error of write, not our end
    int code = dispatch(argc, argv);
    (void)io_kafka_drain(CLOSE_MS);
    return code;
}
