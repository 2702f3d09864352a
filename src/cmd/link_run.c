// SPDX-License-Identifier: Apache-2.0
// kasaga link run: the links of the file and nothing else, until SIGTERM or SIGINT.
#include "bridge/bridge.h"
#include "cmd/cmd_link.h"
#include "cmd/cmd_process.h"
#include "core/memory.h"
#include "core/meta.h"
#include "io/clock.h"
#include "io/resident.h"

enum { TURN_MS = 100 };

static void stop_too(void *context)
{
    (void)context;
    atomic_store(cmd_stop_asked(), true);
}

// Of malloc, as in a worker.
static int32_t arenas(const struct config *config)
{
    struct memory_wants wants = {0};
    for (size_t i = 0; i < config->link_count; i++)
        wants.route_lanes += config->link_list[i].lanes;
    return memory_arenas(&wants);
}

int cmd_link_run(struct cmd_app *app, const struct cmd_common *common, const char *node)
{
    struct err_text text = {""};
    struct bridge *bridge = NULL;
    if (node == NULL)
        node = app->config->node;
    if (!meta_node_ok(slice_str(node)))
        return cmd_complain(CMD_USAGE, "--node '%s': letters, digits, '.', '_' and '-', at most %d",
                            node, META_NODE_MAX);
    struct bridge_config config = {
        .config = app->config, .node = node, .bootstrap = app->kafka.bootstrap, .failed = stop_too};
    cmd_listen_for_signals();
    cmd_configure_log(app->config);
    resident_limit(arenas(app->config));
    enum ka_err err = bridge_new(&config, &bridge, &text);
    if (err != KA_OK)
        return cmd_fail(err, &text);
    cmd_note(common, "started");
    while (!atomic_load(cmd_stop_asked()))
        clock_sleep_ms(TURN_MS);
    err = bridge_failure(bridge, &text);
    bridge_free(&bridge);
    return err == KA_OK ? CMD_OK : cmd_fail(err, &text);
}
