// SPDX-License-Identifier: Apache-2.0
// kasaga worker: one worker process until SIGTERM or SIGINT.
#include "cmd/cmd.h"
#include "core/meta.h"
#include "engine/setup.h"
#include "io/log.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

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
    if (!atomic_exchange(&stop_asked, true))
        first = now;
    else if (now.tv_sec - first.tv_sec > 1)
        _exit(CMD_FAILED);
}

static void on_usr1(int number)
{
    (void)number;
    atomic_fetch_add(&digests_asked, 1);
}

static void listen_for_signals(void)
{
    struct sigaction digest = {.sa_handler = on_usr1, .sa_flags = SA_RESTART};
    sigemptyset(&digest.sa_mask);
    sigaction(SIGUSR1, &digest, NULL);
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
}

static void configure_log(const struct config *config)
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

static void say_ready(void *context)
{
    const struct cmd_common *common = context;
    cmd_note(common, "started");
}

static int run(const struct config *config, const char *node, struct cmd_common *common)
{
    struct err_text text = {{0}};
    struct setup *setup = NULL;
    enum ka_err err = setup_new(config, node, &setup, &text);
    if (err == KA_OK) {
        struct worker_config worker = *setup_worker(setup);
        worker.digests_asked = &digests_asked;
        err = worker_run(&worker, &stop_asked, say_ready, common, &text);
    }
    if (err != KA_ERR_TIMEOUT) // else a thread still runs in a plugin
        setup_free(&setup);
    if (err == KA_ERR_TIMEOUT)
        return cmd_complain(CMD_FAILED, "%s", text.text);
    return err == KA_OK ? CMD_OK : cmd_fail(err, &text);
}

static int load(struct cmd_common *common, const char *node)
{
    struct config *config = NULL;
    struct conf_report report = {0};
    struct buf problems = {0};
    enum ka_err err = io_conf_load(common->config, &config, &report);
    conf_report_text(&report, &problems);
    fprintf(stderr, "%.*s", (int)problems.len, problems.ptr == NULL ? "" : problems.ptr);
    buf_fini(&problems);
    conf_report_fini(&report);
    if (err != KA_OK)
        return CMD_BAD_CONFIG;
    int code;
    if (node == NULL)
        node = config->node;
    if (common->bootstrap != NULL)
        config->kafka.bootstrap = common->bootstrap;
    if (!meta_node_ok(slice_str(node)))
        code = cmd_complain(CMD_USAGE, "--node '%s': letters, digits, '.', '_' and '-', at most %d",
                            node, META_NODE_MAX);
    else if (config->guarantee != CONF_EXACTLY_ONCE)
        code = cmd_complain(CMD_BAD_CONFIG,
                            "%s: guarantee = \"at_least_once\" is for the demo "
                            "broker of kasaga dev only",
                            config->path);
    else {
        configure_log(config);
        code = run(config, node, common);
    }
    io_conf_free(&config);
    return code;
}

int cmd_worker(int argc, char **argv)
{
    const char *node = NULL;
    const struct cmd_option options[] = {
        {.name = "node",
         .argument = "NAME",
         .text = &node,
         .help = "name of this worker, unique in the app (default: `node` of the file)"},
    };
    const struct cmd_spec spec = {
        .synopsis = "worker [--node NAME]",
        .summary = "Runs a worker: owns some of the shards of the app, executes their sagas, and "
                   "routes records of the input topics. Start more of them to scale.",
        .options = options,
        .option_count = 1,
    };
    struct cmd_common common;
    struct cmd_words words;
    int code;
    if (!cmd_parse(&spec, argc, argv, &common, &words, &code))
        return code;
    if (common.config == NULL)
        return cmd_complain(CMD_USAGE, "no configuration: give -c FILE or set KASAGA_CONFIG");
    listen_for_signals();
    // Memory of a burst goes back to the system: librdkafka frees tens of MiB at once.
    mallopt(M_TRIM_THRESHOLD, 4 * 1024 * 1024);
    return load(&common, node);
}
