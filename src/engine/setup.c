// SPDX-License-Identifier: Apache-2.0
#include "engine/setup.h"

#include "io/plugin.h"

#include <stdlib.h>

enum { MAX_POLL_INTERVAL_MS = 15000 };

struct setup {
    struct worker_config worker;
    struct worker_action *actions;
    struct io_plugin **plugins; // one per library
    size_t plugin_count;
    struct catalog_own *own;
    struct worker_route *routes;
    struct load_source *loads;
};

struct io_kafka_config setup_kafka(const struct config *config, const char *client_id)
{
    return (struct io_kafka_config){
        .bootstrap = config->kafka.bootstrap,
        .client_id = client_id,
        .property_names = config->kafka.property_names,
        .property_values = config->kafka.property_values,
        .property_count = config->kafka.property_count,
        .session_timeout_ms = config->kafka.session_timeout_ms,
        .max_poll_interval_ms = MAX_POLL_INTERVAL_MS,
        .transaction_timeout_ms = config->kafka.transaction_timeout_ms,
        .at_least_once = config->guarantee == CONF_AT_LEAST_ONCE, // refused by kasaga worker
    };
}

static enum ka_err open_plugin(struct setup *setup, const char *path,
                               const struct io_plugin **plugin, struct err_text *text)
{
    for (size_t i = 0; i < setup->plugin_count; i++) {
        *plugin = setup->plugins[i];
        if (strcmp(io_plugin_path(*plugin), path) == 0)
            return KA_OK;
    }
    struct io_plugin *opened = NULL;
    enum ka_err err = io_plugin_open(path, &opened, text);
    if (err != KA_OK)
        return err;
    setup->plugins[setup->plugin_count++] = opened;
    *plugin = opened;
    return KA_OK;
}

static enum ka_err make_runner(struct setup *setup, const struct config_action *action,
                               struct runner **runner, struct err_text *text)
{
    struct runner_config config = {.name = action->name, .concurrency = action->concurrency};
    enum ka_err err = KA_OK;
    if (action->kind == ACTION_EXEC) {
        config.program =
            (struct exec_program){action->command, action->environment, action->directory};
        return runner_new(RUNNER_EXEC, &config, runner, text);
    }
    err = open_plugin(setup, action->library, &config.plugin, text);
    if (err != KA_OK)
        return err;
    config.action = action->library_action;
    config.options = action->options;
    config.run_inline = action->run_inline;
    return runner_new(RUNNER_PLUGIN, &config, runner, text);
}

static enum ka_err make_actions(struct setup *setup, const struct config *config,
                                struct err_text *text)
{
    for (size_t i = 0; i < config->action_count; i++) {
        const struct config_action *action = &config->actions[i];
        struct runner *runner = NULL;
        enum ka_err err = make_runner(setup, action, &runner, text);
        if (err != KA_OK)
            return err_wrap(text, err, "action %s", action->name);
        setup->actions[i].def = (struct action_def){
            .name = action->name,
            .kind = action->kind,
            .run_inline = action->run_inline,
            .params = action->params,
            .result = action->result,
            .runner = runner,
        };
        setup->worker.action_count = i + 1;
    }
    return KA_OK;
}

static void copy_values(struct worker_config *worker, const struct config *config)
{
    worker->kafka = setup_kafka(config, NULL);
    worker->app = config->app;
    worker->region = config->region;
    worker->shards = config->shards;
    worker->shard_lanes = config->lanes.shard;
    worker->route_lanes = config->route_count > 0 ? config->lanes.route : 0;
    worker->limits = (struct table_limits){config->dedupe_window_ms, (size_t)config->dedupe_max};
    worker->state_max = (size_t)config->state_max;
    worker->record_max = (size_t)config->record_max;
    // The keys of one transaction have one bound: what it may hold comes on top of the lag.
    int32_t slack = config->lanes.restore_slack;
    int32_t batch = config->lanes.batch_records;
    worker->reappend_min = (size_t)(slack > 2 * batch ? slack - batch : slack / 2);
    worker->memory_max = config->memory_max;
    worker->batch_records = config->lanes.batch_records;
    worker->batch_bytes = config->lanes.batch_bytes;
    worker->batch_ms = config->lanes.batch_time_ms;
    worker->interval_max_ms = config->lanes.interval_max_ms;
    worker->invoker_threads = config->invoker.threads;
    worker->invoker_queue = config->invoker.queue;
    worker->inline_limit_ms = config->lanes.inline_limit_ms;
    worker->inbox_keep_ms = config->inbox_keep_ms;
}

static void copy_lists(struct setup *setup, const struct config *config)
{
    for (size_t i = 0; i < config->saga_count; i++)
        setup->own[i] = (struct catalog_own){config->sagas[i].name, config->sagas[i].version,
                                             config->sagas[i].id, config->sagas[i].json};
    for (size_t i = 0; i < config->route_count; i++)
        setup->routes[i] = (struct worker_route){config->routes[i].topic, config->routes[i].type,
                                                 config->routes[i].saga, config->routes[i].id};
    setup->worker.definitions = setup->own;
    setup->worker.definition_count = config->saga_count;
    setup->worker.routes = setup->routes;
    setup->worker.route_count = config->route_count;
    setup->worker.actions = setup->actions;
    setup->worker.residency = config->residency;
    setup->worker.links = config->links;
}

static void copy_load_sources(struct setup *setup, const struct config *config)
{
    size_t count = 0;
    for (size_t i = 0; config->residency != NULL && i < config->link_count; i++) {
        const struct config_link *link = &config->link_list[i];
        int32_t region = residency_region(config->residency, slice_str(link->source));
        if (region == REGION_NONE)
            continue;
        setup->loads[count++] = (struct load_source){
            .region = region,
            .kafka = {.bootstrap = link->kafka.bootstrap,
                      .property_names = link->kafka.property_names,
                      .property_values = link->kafka.property_values,
                      .property_count = link->kafka.property_count},
            .app = link->app,
        };
    }
    setup->worker.reads_loads = config->balances;
    setup->worker.load_sources = setup->loads;
    setup->worker.load_source_count = count;
}

enum ka_err setup_new(const struct config *config, const char *node, struct setup **setup,
                      struct err_text *text)
{
    struct setup *s = calloc(1, sizeof *s);
    if (s == NULL)
        abort();
    s->actions = calloc(config->action_count + 1, sizeof *s->actions);
    s->plugins = calloc(config->action_count + 1, sizeof(struct io_plugin *));
    s->loads = calloc(config->link_count + 1, sizeof *s->loads);
    s->own = calloc(config->saga_count + 1, sizeof *s->own);
    s->routes = calloc(config->route_count + 1, sizeof *s->routes);
    if (s->loads == NULL || s->actions == NULL || s->plugins == NULL || s->own == NULL ||
        s->routes == NULL)
        abort();
    copy_values(&s->worker, config);
    copy_lists(s, config);
    copy_load_sources(s, config);
    s->worker.node = node;
    enum ka_err err = make_actions(s, config, text);
    if (err != KA_OK) {
        setup_free(&s);
        return err;
    }
    *setup = s;
    return KA_OK;
}

void setup_free(struct setup **setup)
{
    struct setup *s = *setup;
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->worker.action_count; i++) {
        struct runner *runner = s->actions[i].def.runner;
        runner_free(&runner);
    }
    for (size_t i = 0; i < s->plugin_count; i++)
        io_plugin_close(&s->plugins[i]);
    free(s->actions);
    free(s->plugins);
    free(s->own);
    free(s->routes);
    free(s->loads);
    free(s);
    *setup = NULL;
}

const struct worker_config *setup_worker(const struct setup *setup)
{
    return &setup->worker;
}
