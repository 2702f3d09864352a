// SPDX-License-Identifier: Apache-2.0
// One load from the file to an immutable struct config, and the report of what is wrong.
#include "io/conf_int.h"

#include "core/memory.h"
#include "core/meta.h"
#include "io/digest.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    NODE_MAX = 48,              // "<node>.<lane>" is a client id of at most 63 bytes
    RECORD_OVERHEAD = 8 * 1024, // of a state record: key, schema, record headers
    TEXT_MAX = 1024
};

// ---- Problems

const char *conf_text(struct conf *conf, const char *format, ...)
{
    char text[TEXT_MAX + 8192];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return arena_str(conf->memory, slice_str(text));
}

static KA_PRINTF(5, 0) void add_problem(struct conf *conf, bool warning, const char *file, int line,
                                        const char *format, va_list args)
{
    char text[TEXT_MAX];
    struct conf_report *report = conf->report;
    *(warning ? &report->warnings : &report->errors) += 1;
    if (report->count == CONF_PROBLEMS_MAX) {
        report->left_out++;
        return;
    }
    if (report->problems == NULL)
        report->problems =
            arena_alloc(&report->memory, CONF_PROBLEMS_MAX * sizeof *report->problems);
    vsnprintf(text, sizeof text, format, args);
    for (char *at = text; *at != '\0'; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7F)
            *at = '?';
    report->problems[report->count++] = (struct conf_problem){
        .file = arena_str(&report->memory, slice_str(file)),
        .line = line,
        .warning = warning,
        .text = arena_str(&report->memory, slice_str(text)),
    };
}

void conf_error_at(struct conf *conf, const char *file, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_problem(conf, false, file, line, format, args);
    va_end(args);
}

void conf_error(struct conf *conf, const struct conf_node *at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_problem(conf, false, at->file, at->line, format, args);
    va_end(args);
}

void conf_warn(struct conf *conf, const struct conf_node *at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_problem(conf, true, at->file, at->line, format, args);
    va_end(args);
}

static bool is_before(const struct conf_problem *a, const struct conf_problem *b, const char *main)
{
    int files = strcmp(a->file, b->file);
    if (files == 0)
        return a->line < b->line;
    if (strcmp(a->file, main) == 0 || strcmp(b->file, main) == 0)
        return strcmp(a->file, main) == 0;
    return files < 0;
}

// Stable; at most CONF_PROBLEMS_MAX.
static void sort_problems(struct conf_report *report, const char *main)
{
    for (size_t i = 1; i < report->count; i++) {
        struct conf_problem moved = report->problems[i];
        size_t at = i;
        for (; at > 0 && is_before(&moved, &report->problems[at - 1], main); at--)
            report->problems[at] = report->problems[at - 1];
        report->problems[at] = moved;
    }
}

void conf_report_fini(struct conf_report *report)
{
    arena_fini(&report->memory);
    *report = (struct conf_report){0};
}

void conf_report_text(const struct conf_report *report, struct buf *buf)
{
    for (size_t i = 0; i < report->count; i++) {
        const struct conf_problem *problem = &report->problems[i];
        buf_str(buf, problem->file);
        buf_str(buf, ":");
        if (problem->line > 0) {
            buf_i64(buf, problem->line);
            buf_str(buf, ":");
        }
        buf_str(buf, problem->warning ? " warning: " : " ");
        buf_str(buf, problem->text);
        buf_str(buf, "\n");
    }
    if (report->left_out > 0) {
        buf_str(buf, "and ");
        buf_i64(buf, (int64_t)report->left_out);
        buf_str(buf, " more\n");
    }
}

// ---- Nodes and paths

const struct conf_node *conf_child(const struct conf_node *node, const char *name)
{
    for (size_t i = 0; node->type == CONF_NODE_GROUP && i < node->count; i++)
        if (strcmp(node->children[i].name, name) == 0)
            return &node->children[i];
    return NULL;
}

const struct conf_node *conf_at(const struct conf_node *node, const char *name)
{
    const struct conf_node *child = conf_child(node, name);
    return child == NULL ? node : child;
}

const char *conf_node_type_name(const struct conf_node *node)
{
    switch (node->type) {
    case CONF_NODE_GROUP:
        return "a group";
    case CONF_NODE_LIST:
        return "a list";
    case CONF_NODE_STRING:
        return "a text";
    case CONF_NODE_INT:
        return "a number";
    case CONF_NODE_FLOAT:
        return "a number with a fraction";
    case CONF_NODE_BOOL:
        return "true or false";
    }
    return "";
}

const char *conf_resolve(struct conf *conf, const char *file, const char *path)
{
    const char *slash = strrchr(file, '/');
    int len = slash == NULL ? 0 : (int)(slash - file);
    const char *joined = path;
    if (path[0] != '/' && slash != NULL)
        joined = conf_text(conf, "%.*s/%s", len, file, path);
    char *real = realpath(joined, NULL);
    if (real != NULL) {
        joined = arena_str(conf->memory, slice_str(real));
        free(real);
    } else if (joined[0] != '/') {
        char *here = getcwd(NULL, 0);
        joined = conf_text(conf, "%s/%s", here == NULL ? "" : here, joined);
        free(here);
    }
    return joined;
}

// ---- The load

// A name that is too long ends in a hash of all of it.
static const char *default_node(struct conf *conf)
{
    char host[256] = "";
    char node[NODE_MAX + 1];
    char hex[9];
    unsigned char digest[DIGEST_SIZE];
    if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0')
        return "node";
    digest_sha256(slice_str(host), digest);
    digest_hex(digest, 4, hex);
    for (char *at = host; *at != '\0'; at++)
        if (!meta_node_ok(slice_of(at, 1)))
            *at = '-';
    if (strlen(host) <= NODE_MAX)
        return arena_str(conf->memory, slice_str(host));
    snprintf(node, sizeof node, "%.*s-%s", NODE_MAX - 9, host, hex);
    return arena_str(conf->memory, slice_str(node));
}

static int64_t least_memory(const struct config *config)
{
    const struct memory_wants wants = {.shard_lanes = config->lanes.shard,
                                       .route_lanes = config->lanes.route,
                                       .batch_bytes = config->lanes.batch_bytes,
                                       .record_max = config->record_max};
    return memory_least(&wants);
}

static void finish_top(struct conf *conf)
{
    struct config *config = conf->config;
    const struct conf_node *lanes = conf_at(conf->root, "lanes");
    if (config->node == NULL)
        config->node = default_node(conf);
    else if (strlen(config->node) > NODE_MAX || !meta_node_ok(slice_str(config->node)))
        conf_error(conf, conf_at(conf->root, "node"),
                   "\"node\" must be letters, digits, \".\", \"_\" and \"-\", at most %d",
                   NODE_MAX);
    if (config->topics.input_partitions == CONF_ABSENT)
        config->topics.input_partitions = config->shards;
    if (config->lanes.shard == CONF_ABSENT) {
        // The other half is for the threads of the lanes' Kafka clients, which work as hard.
        long half = sysconf(_SC_NPROCESSORS_ONLN) / 2;
        config->lanes.shard = half < 1 ? 1 : half > 96 ? 96 : (int32_t)half;
        if (config->lanes.shard > config->shards)
            config->lanes.shard = config->shards;
        while (config->lanes.shard > 1 && least_memory(config) > config->memory_max)
            config->lanes.shard--;
    } else if (config->lanes.shard > config->shards) {
        conf_error(
            conf, conf_at(lanes, "shard"),
            "\"shard\" must be at most shards = %d: a lane without a shard has nothing to do",
            config->shards);
    }
    if (least_memory(config) > config->memory_max)
        conf_error(conf, conf_at(conf->root, "memory_max"),
                   "\"memory_max\" must be at least %lldMiB for lanes.shard = %d and lanes.route = "
                   "%d",
                   (long long)(least_memory(config) / (1024 * 1024)), config->lanes.shard,
                   config->lanes.route);
    if (config->state_max + RECORD_OVERHEAD > config->record_max)
        conf_error(conf, conf_at(conf->root, "state_max"),
                   "\"state_max\" must be at least 8 KiB below record_max = %lld bytes",
                   (long long)config->record_max);
    if (config->topics.replication > 0 &&
        config->topics.min_insync_replicas > config->topics.replication)
        conf_error(conf, conf_at(conf_at(conf->root, "topics"), "min_insync_replicas"),
                   "\"min_insync_replicas\" must be at most replication = %d",
                   config->topics.replication);
}

static void build(struct conf *conf)
{
    struct raw_config *raw = arena_zalloc(conf->memory, sizeof *raw);
    conf_fill(conf, conf->root, &conf_top_group, raw);
    struct arena memory = *conf->memory;
    *conf->config = raw->config;
    *conf->memory = memory;
    finish_top(conf);
    conf_build_kafka(conf, raw);
    conf_build_regions(conf, raw);
    conf_build_actions(conf, raw);
    conf_build_sagas(conf, raw);
    conf_build_links(conf, raw);
}

static struct conf begin(bool offline, struct conf_report *report)
{
    struct config *config = calloc(1, sizeof *config);
    if (config == NULL)
        abort();
    return (struct conf){
        .config = config, .memory = &config->memory, .report = report, .offline = offline};
}

static enum ka_err end(struct conf *conf, const char *path, struct config **config)
{
    if (conf->root != NULL)
        build(conf);
    sort_problems(conf->report, path);
    *config = NULL;
    if (conf->report->errors > 0) {
        io_conf_free(&conf->config);
        return KA_ERR_CONFIG;
    }
    conf->config->path = path[0] == '\0' ? "" : conf_resolve(conf, "", path);
    *config = conf->config;
    return KA_OK;
}

static enum ka_err load(const char *path, bool offline, struct config **config,
                        struct conf_report *report)
{
    struct conf conf = begin(offline, report);
    conf.root = conf_file_read(&conf, arena_str(conf.memory, slice_str(path)));
    return end(&conf, path, config);
}

enum ka_err io_conf_load(const char *path, struct config **config, struct conf_report *report)
{
    return load(path, false, config, report);
}

enum ka_err io_conf_check(const char *path, struct config **config, struct conf_report *report)
{
    return load(path, true, config, report);
}

enum ka_err io_conf_parse(struct slice text, struct config **config, struct conf_report *report)
{
    struct conf conf = begin(true, report);
    conf.root = conf_file_parse(&conf, text);
    return end(&conf, "", config);
}

void io_conf_free(struct config **config)
{
    if (*config == NULL)
        return;
    struct arena memory = (*config)->memory;
    arena_fini(&memory);
    free(*config);
    *config = NULL;
}

void io_conf_place(const struct conf_node *node, const char *key, const char **file, int *line)
{
    const struct conf_node *at = conf_at(node, key);
    *file = at->file;
    *line = at->line;
}

const struct config_action *io_conf_action(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->action_count; i++)
        if (strcmp(config->actions[i].name, name) == 0)
            return &config->actions[i];
    return NULL;
}

const struct config_saga *io_conf_saga(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->saga_count; i++)
        if (strcmp(config->sagas[i].name, name) == 0)
            return &config->sagas[i];
    return NULL;
}
