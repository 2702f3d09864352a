// SPDX-License-Identifier: Apache-2.0
// Actions: what depends on the kind, where libraries and schemas are, names.
#include "io/conf_int.h"

#include "io/avro.h"

#include <stdlib.h>
#include <unistd.h>

enum { RETRY_ATTEMPTS = 2, RETRY_BACKOFF_MS = 250, RETRY_BACKOFF_MAX_MS = 30000 };

bool conf_refuse_action(struct conf *conf, const struct conf_node *node)
{
    static const char *const missing[] = {"http", "topic", "entity"};
    const struct conf_node *kind = conf_child(node, "kind");
    for (size_t i = 0; i < sizeof missing / sizeof missing[0]; i++) {
        if (kind == NULL || kind->type != CONF_NODE_STRING || strcmp(kind->text, missing[i]) != 0)
            continue;
        conf_error(conf, kind, "kind \"%s\" is not available in this version", kind->text);
        return true;
    }
    return false;
}

// Where a library without a slash in its name is looked for, in this order: KASAGA_PLUGINS,
// plugin_path, the directory of the file that names it.
struct search {
    struct conf *conf;
    const char *library;
    const char *found; // NULL = not yet
};

static void look_in(struct search *search, const char *directory)
{
    if (search->found != NULL || directory[0] == '\0')
        return;
    const char *path = conf_text(search->conf, "%s/%s", directory, search->library);
    if (access(path, F_OK) == 0)
        search->found = conf_resolve(search->conf, "", path);
}

static const char *find_library(struct conf *conf, const struct raw_config *raw,
                                const struct conf_node *node, const char *library)
{
    struct search search = {conf, library, NULL};
    const char *variable = getenv("KASAGA_PLUGINS");
    if (strchr(library, '/') != NULL)
        return conf_resolve(conf, node->file, library);
    while (variable != NULL && *variable != '\0') {
        size_t len = strcspn(variable, ":");
        look_in(&search, conf_text(conf, "%.*s", (int)len, variable));
        variable += len + (variable[len] == ':');
    }
    const struct conf_node *at = conf_at(conf->root, "plugin_path");
    for (size_t i = 0; raw->plugin_path != NULL && raw->plugin_path[i] != NULL; i++)
        look_in(&search, conf_resolve(conf, at->file, raw->plugin_path[i]));
    if (search.found == NULL)
        search.found = conf_resolve(conf, node->file, library);
    return search.found;
}

static void set_library(struct conf *conf, const struct raw_config *raw,
                        const struct raw_action *from, struct config_action *action)
{
    const struct conf_node *at = conf_at(from->node, "library");
    if (from->library == NULL) {
        if (conf_child(from->node, "library") == NULL)
            conf_error(conf, from->node, "an action of kind plugin needs \"library\"");
        return;
    }
    action->library = find_library(conf, raw, at, from->library);
    if (access(action->library, F_OK) != 0)
        conf_warn(conf, at,
                  "library \"%s\" was not found: neither in KASAGA_PLUGINS, nor in plugin_path, "
                  "nor as %s",
                  from->library, action->library);
}

static void set_command(struct conf *conf, const struct raw_action *from,
                        struct config_action *action)
{
    const struct conf_node *at = conf_at(from->node, "command");
    if (from->command == NULL || from->command[0] == NULL) {
        if (conf_child(from->node, "command") == NULL)
            conf_error(conf, from->node, "an action of kind exec needs \"command\"");
        return;
    }
    size_t count = 0;
    while (from->command[count] != NULL)
        count++;
    const char **command = arena_alloc(conf->memory, (count + 1) * sizeof *command);
    memcpy(command, from->command, (count + 1) * sizeof *command);
    if (strchr(command[0], '/') != NULL) {
        command[0] = conf_resolve(conf, at->file, command[0]);
        if (access(command[0], X_OK) != 0)
            conf_warn(conf, at, "the program %s does not exist or cannot be executed", command[0]);
    }
    action->command = command;
}

static void only_for(struct conf *conf, const struct conf_node *node, const char *kind,
                     const char *const *names)
{
    for (; *names != NULL; names++) {
        const struct conf_node *child = conf_child(node, *names);
        if (child != NULL)
            conf_error(conf, child, "\"%s\" is for actions of kind %s only", *names, kind);
    }
}

static void set_kind(struct conf *conf, const struct raw_config *raw, const struct raw_action *from,
                     struct config_action *action)
{
    static const char *const of_plugin[] = {"library", "action", "inline", "options", NULL};
    static const char *const of_exec[] = {"command", "environment", "directory", NULL};
    static const char *const none[] = {NULL};
    if (from->kind == RAW_KIND_PLUGIN) {
        action->kind = ACTION_PLUGIN;
        action->run_inline = from->run_inline;
        action->library_action = from->library_action == NULL ? from->name : from->library_action;
        set_library(conf, raw, from, action);
        only_for(conf, from->node, "exec", of_exec);
        if (action->run_inline && conf_child(from->node, "concurrency") != NULL)
            conf_error(conf, conf_child(from->node, "concurrency"),
                       "\"concurrency\" is not for an inline action: each lane runs one at a time");
        if (action->run_inline && conf_child(from->node, "timeout") != NULL)
            conf_warn(
                conf, conf_child(from->node, "timeout"),
                "\"timeout\" has no effect on an inline action: lanes.inline_limit bounds it");
    } else if (from->kind == RAW_KIND_EXEC) {
        action->kind = ACTION_EXEC;
        action->environment = from->environment == NULL ? none : from->environment;
        action->directory = from->directory;
        set_command(conf, from, action);
        only_for(conf, from->node, "plugin", of_plugin);
    }
}

static void read_schema(struct conf *conf, const struct raw_action *from, const char *key,
                        const char *path, struct slice *avsc, const struct schema **schema)
{
    struct conf_text text = {0};
    struct err_text detail = {{0}};
    const char *why = "";
    if (path == NULL)
        return;
    const struct conf_node *at = conf_at(from->node, key);
    if (!conf_read(conf->memory, path, &text, &why)) {
        conf_error(conf, at, "%s: the file %s %s", key, path, why);
        return;
    }
    struct slice bytes = slice_of(text.bytes, text.len);
    if (io_avro_schema_parse(bytes, conf->memory, schema, &detail) != KA_OK)
        conf_error(conf, at, "%s: %s: %s", key, path, detail.text);
    else if ((*schema)->type != SCHEMA_RECORD && (*schema)->type != SCHEMA_MAP)
        conf_error(conf, at, "%s: %s is not the schema of an object: it must be a record or a map",
                   key, path);
    else
        *avsc = bytes;
}

static struct retry_policy retry_of(const struct raw_retry *raw)
{
    bool set = raw->attempts != CONF_ABSENT;
    return (struct retry_policy){
        .attempts = set ? (int32_t)raw->attempts : RETRY_ATTEMPTS,
        .backoff_ms = raw->backoff_ms != CONF_ABSENT ? raw->backoff_ms : RETRY_BACKOFF_MS,
        .backoff_max_ms =
            raw->backoff_max_ms != CONF_ABSENT ? raw->backoff_max_ms : RETRY_BACKOFF_MAX_MS,
    };
}

static void build_action(struct conf *conf, const struct raw_config *raw,
                         const struct raw_action *from, struct config_action *action)
{
    static const char *const none[] = {NULL};
    *action = (struct config_action){
        .name = from->name == NULL ? "" : from->name,
        .version = from->version,
        .description = from->description == NULL ? "" : from->description,
        .category = from->category == NULL ? "" : from->category,
        .tags = from->tags == NULL ? none : from->tags,
        .options = slice_none(from->options) ? SLICE_LIT("{}") : from->options,
        .timeout_ms = from->timeout_ms,
        .concurrency = from->concurrency,
        .intensive = from->intensive == RAW_INTENSIVE_DATA      ? "data"
                     : from->intensive == RAW_INTENSIVE_COMPUTE ? "compute"
                                                                : NULL,
        .retry = retry_of(&from->retry),
        .node = from->node,
    };
    set_kind(conf, raw, from, action);
    read_schema(conf, from, "params", from->params, &action->params_avsc, &action->params);
    read_schema(conf, from, "result", from->result, &action->result_avsc, &action->result);
    if (action->retry.backoff_ms > action->retry.backoff_max_ms)
        conf_error(conf, conf_at(from->node, "retry"),
                   "\"backoff\" is longer than \"backoff_max\"");
}

void conf_build_actions(struct conf *conf, const struct raw_config *raw)
{
    const struct raw_action *from = raw->actions.items;
    size_t count = raw->actions.count;
    struct config_action *actions = arena_zalloc(conf->memory, count * sizeof *actions);
    conf->config->actions = actions;
    for (size_t i = 0; i < count; i++) {
        const struct config_action *earlier =
            from[i].name == NULL ? NULL : io_conf_action(conf->config, from[i].name);
        if (earlier != NULL)
            conf_error(conf, conf_at(from[i].node, "name"),
                       "there is an action \"%s\" already, in line %d", from[i].name,
                       earlier->node->line);
        build_action(conf, raw, &from[i], &actions[i]);
        conf->config->action_count = i + 1;
    }
}
