// SPDX-License-Identifier: Apache-2.0
// kasaga worker: one worker process until SIGTERM or SIGINT.
#include "bridge/bridge.h"
#include "bridge/reach.h"
#include "cmd/cmd_process.h"
#include "core/memory.h"
#include "core/meta.h"
#include "engine/setup.h"
#include "io/resident.h"

#include <stdio.h>
#include <stdlib.h>

static void stop_too(void *context)
{
    (void)context;
    atomic_store(cmd_stop_asked(), true);
}

static void say_ready(void *context)
{
    const struct cmd_common *common = context;
    cmd_note(common, "started");
}

static void look(void *context, struct residency_link *links)
{
    reach_look(context, links);
}

// The links of the file beside the shards; a link that cannot go on ends the worker.
static enum ka_err run_all(const struct config *config, const char *node,
                           struct worker_config *worker, struct cmd_common *common,
                           struct err_text *text)
{
    struct bridge *bridge = NULL;
    struct reach *reach = NULL;
    struct bridge_config links = {
        .config = config, .node = node, .bootstrap = config->kafka.bootstrap, .failed = stop_too};
    enum ka_err err = config->link_count == 0 ? KA_OK : bridge_new(&links, &bridge, text);
    const struct reach_config reaching = {
        .config = config, .kafka = &worker->kafka, .node = node, .bridge = bridge};
    if (err == KA_OK && config->region_count > 1)
        err = reach_new(&reaching, &reach, text);
    worker->ask_links = reach == NULL ? NULL : look;
    worker->links_context = reach;
    if (err == KA_OK)
        err = worker_run(worker, cmd_stop_asked(), say_ready, common, text);
    struct err_text why = {""};
    enum ka_err failure = bridge == NULL ? KA_OK : bridge_failure(bridge, &why);
    reach_free(&reach);
    bridge_free(&bridge);
    if (err == KA_OK && failure != KA_OK)
        *text = why;
    return err == KA_OK ? failure : err;
}

static int run(const struct config *config, const char *node, struct cmd_common *common)
{
    struct err_text text = {{0}};
    struct setup *setup = NULL;
    enum ka_err err = setup_new(config, node, &setup, &text);
    if (err == KA_OK) {
        struct worker_config worker = *setup_worker(setup);
        worker.digests_asked = cmd_digests_asked();
        err = run_all(config, node, &worker, common, &text);
    }
    if (err != KA_ERR_TIMEOUT) // else a thread still runs in a plugin
        setup_free(&setup);
    if (err == KA_ERR_TIMEOUT)
        return cmd_complain(CMD_FAILED, "%s", text.text);
    return err == KA_OK ? CMD_OK : cmd_fail(err, &text);
}

static int32_t arenas(const struct config *config)
{
    const struct memory_wants wants = {.shard_lanes = config->lanes.shard,
                                       .route_lanes = config->lanes.route};
    return memory_arenas(&wants);
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
    else if (config->hub)
        code = cmd_complain(CMD_BAD_CONFIG,
                            "%s: the region %s is a hub: nothing runs in it; copies are made by "
                            "kasaga link run",
                            config->path, config->region);
    else {
        cmd_configure_log(config);
        resident_limit(arenas(config));
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
    cmd_listen_for_signals();
    return load(&common, node);
}
