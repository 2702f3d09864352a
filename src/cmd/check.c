// SPDX-License-Identifier: Apache-2.0
// kasaga check: everything that is wrong with a configuration, and, if asked to, with the cluster.
#include "cmd/cmd_app.h"
#include "engine/topics.h"
#include "io/digest.h"
#include "io/plugin.h"

#include <stdarg.h>
#include <stdio.h>

struct check {
    struct config *config;
    struct conf_report report;
    struct buf extra; // problems that the libraries have
    size_t extra_errors;
    enum cmd_output output;
    struct buf cluster; // what the cluster's settings are like
    int cluster_code;
};

// ---- Libraries

static void complain(struct check *check, const struct config_action *action, const char *key,
                     const char *kind, const char *text)
{
    const char *file = NULL;
    int line = 0;
    io_conf_place(action->node, key, &file, &line);
    if (check->output == CMD_TEXT) {
        buf_str(&check->extra, file);
        buf_byte(&check->extra, ':');
        buf_i64(&check->extra, line);
        buf_str(&check->extra, kind[0] == 'w' ? ": warning: " : ": ");
        buf_str(&check->extra, text);
        buf_byte(&check->extra, '\n');
    } else {
        buf_str(&check->extra, check->extra.len == 0 ? "{\"file\":" : ",{\"file\":");
        buf_json_str(&check->extra, slice_str(file));
        buf_str(&check->extra, ",\"line\":");
        buf_i64(&check->extra, line);
        buf_str(&check->extra, ",\"severity\":");
        buf_json_str(&check->extra, slice_str(kind));
        buf_str(&check->extra, ",\"text\":");
        buf_json_str(&check->extra, slice_str(text));
        buf_byte(&check->extra, '}');
    }
    check->extra_errors += kind[0] == 'e';
}

static void check_options(struct check *check, const struct config_action *action,
                          const struct kasaga_action *found)
{
    struct err_text text = {{0}};
    struct arena arena = {0};
    struct kasaga_options *options = NULL;
    if (io_plugin_options(found, action->options, action->run_inline, &arena, &options, &text) !=
        KA_OK)
        complain(check, action, "options", "error", text.text);
    arena_fini(&arena);
}

static void check_plugin(struct check *check, const struct config_action *action)
{
    struct err_text text = {{0}};
    struct io_plugin *plugin = NULL;
    if (io_plugin_open(action->library, &plugin, &text) != KA_OK) {
        complain(check, action, "library", "error", text.text);
        return;
    }
    const struct kasaga_action *found = io_plugin_lookup(plugin, action->library_action);
    if (found == NULL) {
        err_set(&text, KA_ERR_CONFIG, "%s has no action \"%s\"", action->library,
                action->library_action);
        complain(check, action, "action", "error", text.text);
    } else {
        check_options(check, action, found);
    }
    io_plugin_close(&plugin);
}

static void check_plugins(struct check *check)
{
    const struct config *config = check->config;
    for (size_t i = 0; i < config->action_count; i++)
        if (config->actions[i].kind == ACTION_PLUGIN)
            check_plugin(check, &config->actions[i]);
}

// ---- Text

static KA_PRINTF(2, 3) void put(struct buf *buf, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    buf_str(buf, line);
}

static const char *kind_name(const struct config_action *action)
{
    if (action->kind == ACTION_EXEC)
        return "exec";
    return action->run_inline ? "plugin, inline" : "plugin";
}

static const struct config_route *route_of(const struct config *config, const char *saga)
{
    for (size_t i = 0; i < config->route_count; i++)
        if (strcmp(config->routes[i].saga, saga) == 0)
            return &config->routes[i];
    return NULL;
}

static void hash_of(const struct config_saga *saga, char hex[2 * DEF_ID_SIZE + 1])
{
    digest_hex(saga->id.bytes, DEF_ID_SIZE, hex);
}

static void text_saga(const struct config *config, const struct config_saga *saga, struct buf *buf)
{
    char hash[2 * DEF_ID_SIZE + 1];
    const struct config_route *route = route_of(config, saga->name);
    hash_of(saga, hash);
    put(buf, "saga %s, version %lld, hash %s\n", saga->name, (long long)saga->version, hash);
    if (route != NULL)
        put(buf, "  starts on %s of topic %s, id %s\n", route->type, route->topic, route->id);
    else
        put(buf, "  starts by command only\n");
    if (saga->deadline_ms > 0)
        put(buf, "  deadline %lld s\n", (long long)saga->deadline_ms / 1000);
    for (size_t i = 0; i < saga->step_count; i++) {
        const struct config_step *step = &saga->steps[i];
        bool first = step->group != NULL && (i == 0 || step[-1].group_node != step->group_node);
        if (first)
            put(buf, "     %s, %s", step->group, step->collect ? "collect" : "fail_fast");
        if (first && step->items != NULL)
            put(buf, ", for each of %s", step->items);
        buf_str(buf, first ? "\n" : "");
        if (!first && step->items != NULL)
            continue;
        put(buf, "  %2zu %s%-*s %s", i + 1, step->group == NULL ? "" : "  ",
            step->group == NULL ? 16 : 14, step->name, step->action->name);
        if (step->compensate != NULL)
            put(buf, ", undo %s", step->compensate->name);
        if (step->region != NULL)
            put(buf, ", in region %s", step->region);
        put(buf, "%s%s\n", step->optional ? ", optional" : "", step->pivot ? ", pivot" : "");
    }
}

static void text_summary(const struct config *config, struct buf *buf)
{
    put(buf, "%s is good\n", config->path);
    put(buf, "app %s in region %s, %d shards, kafka at %s\n", config->app, config->region,
        config->shards, config->kafka.bootstrap);
    for (size_t i = 0; i < config->action_count; i++)
        put(buf, "action %-24s %-16s %s\n", config->actions[i].name, kind_name(&config->actions[i]),
            config->actions[i].kind == ACTION_EXEC ? config->actions[i].command[0]
                                                   : config->actions[i].library);
    for (size_t i = 0; i < config->saga_count; i++)
        if (!config->sagas[i].remote)
            text_saga(config, &config->sagas[i], buf);
}

// ---- JSON

static void json_text(struct buf *buf, const char *name, const char *text)
{
    char last = buf->ptr[buf->len - 1];
    buf_str(buf, last == '{' ? "\"" : ",\"");
    buf_str(buf, name);
    buf_str(buf, "\":");
    if (text == NULL)
        buf_str(buf, "null");
    else
        buf_json_str(buf, slice_str(text));
}

static void json_saga(const struct config *config, const struct config_saga *saga, struct buf *buf)
{
    char hash[2 * DEF_ID_SIZE + 1];
    const struct config_route *route = route_of(config, saga->name);
    hash_of(saga, hash);
    buf_byte(buf, '{');
    json_text(buf, "name", saga->name);
    put(buf, ",\"version\":%lld", (long long)saga->version);
    json_text(buf, "hash", hash);
    if (route != NULL) {
        buf_str(buf, ",\"start\":{");
        json_text(buf, "topic", route->topic);
        json_text(buf, "type", route->type);
        json_text(buf, "id", route->id);
        buf_byte(buf, '}');
    }
    buf_str(buf, ",\"steps\":[");
    for (size_t i = 0; i < saga->step_count; i++) {
        const struct config_step *step = &saga->steps[i];
        buf_str(buf, i == 0 ? "{" : ",{");
        json_text(buf, "name", step->name);
        json_text(buf, "action", step->action->name);
        json_text(buf, "undo", step->compensate == NULL ? NULL : step->compensate->name);
        if (step->region != NULL)
            json_text(buf, "region", step->region);
        if (step->group != NULL)
            json_text(buf, "group", step->group);
        put(buf, ",\"optional\":%s,\"pivot\":%s}", step->optional ? "true" : "false",
            step->pivot ? "true" : "false");
    }
    buf_str(buf, "]}");
}

static void json_config(const struct config *config, struct buf *buf)
{
    json_text(buf, "app", config->app);
    json_text(buf, "region", config->region);
    put(buf, ",\"shards\":%d,\"actions\":[", config->shards);
    for (size_t i = 0; i < config->action_count; i++) {
        const struct config_action *action = &config->actions[i];
        buf_str(buf, i == 0 ? "{" : ",{");
        json_text(buf, "name", action->name);
        json_text(buf, "kind", action->kind == ACTION_EXEC ? "exec" : "plugin");
        put(buf, ",\"inline\":%s", action->run_inline ? "true" : "false");
        json_text(buf, "version", action->version);
        json_text(buf, "description", action->description);
        json_text(buf, "category", action->category);
        buf_str(buf, ",\"tags\":[");
        for (size_t j = 0; action->tags[j] != NULL; j++) {
            buf_str(buf, j == 0 ? "" : ",");
            buf_json_str(buf, slice_str(action->tags[j]));
        }
        buf_str(buf, "]}");
    }
    buf_str(buf, "],\"sagas\":[");
    for (size_t i = 0; i < config->saga_count && !config->sagas[i].remote; i++) {
        buf_str(buf, i == 0 ? "" : ",");
        json_saga(config, &config->sagas[i], buf);
    }
    buf_str(buf, "]");
}

static void json_all(const struct check *check, const char *path, bool good, struct buf *buf)
{
    const struct conf_report *report = &check->report;
    buf_byte(buf, '{');
    json_text(buf, "file", path);
    put(buf, ",\"ok\":%s", good ? "true" : "false");
    if (check->config != NULL)
        json_config(check->config, buf);
    buf_str(buf, ",\"problems\":[");
    for (size_t i = 0; i < report->count; i++) {
        const struct conf_problem *problem = &report->problems[i];
        buf_str(buf, i == 0 ? "{" : ",{");
        json_text(buf, "file", problem->file);
        put(buf, ",\"line\":%d", problem->line);
        json_text(buf, "severity", problem->warning ? "warning" : "error");
        json_text(buf, "text", problem->text);
        buf_byte(buf, '}');
    }
    if (check->extra.len > 0 && report->count > 0)
        buf_byte(buf, ',');
    buf_slice_put(buf, buf_slice(&check->extra));
    put(buf, "],\"left_out\":%zu", report->left_out);
    if (check->cluster.len > 0) {
        buf_str(buf, ",\"cluster\":");
        buf_slice_put(buf, buf_slice(&check->cluster));
    }
    buf_str(buf, "}\n");
}

// ---- The cluster

static void text_cluster(const struct topics_plan *plan, struct buf *buf)
{
    put(buf, "cluster %s, brokers: %d\n", plan->cluster, plan->brokers);
    for (size_t i = 0; i < plan->finding_count; i++) {
        buf_str(buf, "  ");
        topics_finding_text(&plan->findings[i], buf);
        buf_byte(buf, '\n');
    }
    put(buf, "cluster: %zu errors, %zu warnings\n", plan->errors,
        plan->finding_count - plan->errors);
}

static void json_cluster(const struct topics_plan *plan, struct buf *buf)
{
    buf_byte(buf, '{');
    json_text(buf, "id", plan->cluster);
    put(buf, ",\"brokers\":%d,\"errors\":%zu,\"findings\":[", plan->brokers, plan->errors);
    for (size_t i = 0; i < plan->finding_count; i++) {
        buf_str(buf, i == 0 ? "" : ",");
        topics_finding_json(&plan->findings[i], buf);
    }
    buf_str(buf, "]}");
}

static void check_cluster(struct check *check, const struct cmd_common *common)
{
    struct cmd_app app;
    struct topics_plan plan;
    struct err_text text = {{0}};
    if (!cmd_app_open(common, &app, &check->cluster_code))
        return;
    enum ka_err err = topics_plan(app.config, app.admin, &app.arena, &plan, &text);
    if (err == KA_OK) {
        topics_check(app.config, &app.arena, &plan);
        check->cluster_code = plan.errors > 0 ? CMD_FAILED : CMD_OK;
        if (check->output == CMD_TEXT)
            text_cluster(&plan, &check->cluster);
        else
            json_cluster(&plan, &check->cluster);
    } else {
        check->cluster_code = cmd_fail(err, &text);
    }
    cmd_app_close(&app);
}

// ---- The command

static int run(struct check *check, const struct cmd_common *common, bool plugins, bool broker)
{
    struct buf out = {0};
    const char *path = common->config;
    enum ka_err err = io_conf_check(path, &check->config, &check->report);
    if (err == KA_OK && plugins)
        check_plugins(check);
    bool good = err == KA_OK && check->extra_errors == 0;
    if (good && broker)
        check_cluster(check, common);
    if (check->output == CMD_TEXT) {
        struct buf problems = {0};
        conf_report_text(&check->report, &problems);
        buf_slice_put(&problems, buf_slice(&check->extra));
        fprintf(stderr, "%.*s", (int)problems.len, problems.ptr == NULL ? "" : problems.ptr);
        buf_fini(&problems);
        if (good)
            text_summary(check->config, &out);
        buf_slice_put(&out, buf_slice(&check->cluster));
    } else {
        json_all(check, path, good && check->cluster_code == CMD_OK, &out);
    }
    bool written = cmd_flush(&out);
    buf_fini(&out);
    if (!good)
        return CMD_BAD_CONFIG;
    return written ? check->cluster_code : CMD_FAILED;
}

int cmd_check(int argc, char **argv)
{
    bool plugins = false;
    bool broker = false;
    const struct cmd_option options[] = {
        {.name = "plugins",
         .flag = &plugins,
         .help = "load the libraries too, and check the options of their actions"},
        {.name = "broker",
         .flag = &broker,
         .help = "ask the cluster too, and name settings that break promises"},
    };
    const struct cmd_spec spec = {
        .synopsis = "check [--plugins] [--broker]",
        .summary = "Reads the configuration and says everything that is wrong with it, with file "
                   "and line.\nAsks no broker, unless it is told to.",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
    };
    struct cmd_common common;
    struct cmd_words words;
    int code;
    if (!cmd_parse(&spec, argc, argv, &common, &words, &code))
        return code;
    if (common.config == NULL)
        return cmd_complain(CMD_USAGE, "check needs a configuration: -c FILE or KASAGA_CONFIG");
    struct check check = {.output = common.output};
    code = run(&check, &common, plugins, broker);
    io_conf_free(&check.config);
    conf_report_fini(&check.report);
    buf_fini(&check.extra);
    buf_fini(&check.cluster);
    return code;
}
