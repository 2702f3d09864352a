// SPDX-License-Identifier: Apache-2.0
// Inside of io/conf.h: the file as a tree, the table of keys, and what the passes share.
//
//   conf_scan.c    text -> list of files, and the numbers that libconfig would wrap
//   conf_file.c    libconfig -> tree of conf_node
//   conf_value.c   one value: durations, sizes, names, …
//   conf_table.c   every key; conf_fill.c puts a tree into structs by that table
//   conf_action.c, conf_saga.c, conf_kafka.c, conf_region.c   what the table cannot say
//   conf_json.c    normalised JSON
#ifndef KA_IO_CONF_INT_H
#define KA_IO_CONF_INT_H

#include "io/conf.h"

#include <stddef.h>

enum {
    CONF_FILE_MAX = 1024 * 1024, // bytes of one file
    CONF_FILES_MAX = 64,
    CONF_INCLUDE_DEPTH = 9, // libconfig gives up at 10
    CONF_DEPTH_MAX = 32,
    CONF_NAME_MAX = 63,
    CONF_ACTIONS_MAX = 1024,
    CONF_LINKS_MAX = 32,
    CONF_MIRRORS_MAX = 256,
    CONF_SAGAS_MAX = 256, // a worker subscribes to at most 256 topics
    CONF_RULES_MAX = 1024,
    CONF_TENANTS_MAX = 100000
};

#define CONF_ABSENT INT64_C(-1) // of a number that has no default in the table

enum conf_node_type {
    CONF_NODE_GROUP,
    CONF_NODE_LIST, // of anything; ( ) and [ ]
    CONF_NODE_STRING,
    CONF_NODE_INT,
    CONF_NODE_FLOAT,
    CONF_NODE_BOOL
};

struct conf_node {
    const char *name; // NULL in a list
    enum conf_node_type type;
    const char *file;
    int line;
    const char *text;
    int64_t integer; // also of CONF_NODE_BOOL
    double number;
    const struct conf_node *children;
    size_t count;
};

// What one load works on.
struct conf {
    struct config *config; // being filled
    struct arena *memory;  // config->memory
    struct conf_report *report;
    bool offline; // secrets need not be there
    const struct conf_node *root;
};

// ---- Problems
void conf_error_at(struct conf *conf, const char *file, int line, const char *format, ...)
    KA_PRINTF(4, 5);
void conf_error(struct conf *conf, const struct conf_node *at, const char *format, ...)
    KA_PRINTF(3, 4);
void conf_warn(struct conf *conf, const struct conf_node *at, const char *format, ...)
    KA_PRINTF(3, 4);

// ---- Reading
struct conf_text {
    const char *file; // as opened; NULL = from memory
    char *bytes;      // with a NUL
    size_t len;
};
// The file and all that it includes, and nothing that libconfig would choke on: every file is
// regular, readable, not too large and free of NULs; every integer fits. false after an error.
bool conf_scan_file(struct conf *conf, const char *path);
bool conf_scan_text(struct conf *conf, const struct conf_text *text);
// Reads a regular file of at most CONF_FILE_MAX bytes into the arena. false and the reason.
bool conf_read(struct arena *memory, const char *path, struct conf_text *text, const char **why);
// Tree in conf->memory, or NULL after an error.
const struct conf_node *conf_file_read(struct conf *conf, const char *path);
const struct conf_node *conf_file_parse(struct conf *conf, struct slice text);

const struct conf_node *conf_child(const struct conf_node *node, const char *name);
// The child, or the node itself: where to point at.
const struct conf_node *conf_at(const struct conf_node *node, const char *name);
const char *conf_node_type_name(const struct conf_node *node);

// ---- The table
enum conf_type {
    CONF_STRING,
    CONF_NAME,   // letters, digits, "_" and "-"; at most CONF_NAME_MAX
    CONF_DOTTED, // a name that may have dots
    CONF_TOPIC,  // a topic's name
    CONF_BOOL,
    CONF_INT,
    CONF_DURATION, // string with a unit -> ms
    CONF_SIZE,     // string with a unit -> bytes
    CONF_ENUM,     // string, one of `choices` -> its index
    CONF_EXPR,     // jq program
    CONF_FILE,     // path, made absolute
    CONF_STRINGS,  // a string or a list of strings -> NULL-terminated
    CONF_OPTIONS,  // group of anything -> JSON
    CONF_PROPERTIES,
    CONF_GROUP,
    CONF_LIST,    // of groups -> struct conf_list
    CONF_RESERVED // known, but not in this version
};

struct conf_group;
struct conf_key {
    const char *name;
    enum conf_type type;
    size_t offset; // in the struct of the group
    size_t size;   // of the field
    bool required;
    const char *fallback; // as it would be written; NULL = none
    const char *shown;    // default for the page, when it is not `fallback`
    int64_t min;          // INT, DURATION (ms), SIZE (bytes); LIST: elements
    int64_t max;
    const char *const *choices; // NULL-terminated
    int32_t available;          // only the first so many, in this version; 0 = all
    const struct conf_group *group;
    const char *doc;
};

struct conf_group {
    const char *title;  // of the page: "sagas.steps"
    const char *one;    // in messages: "a step"
    size_t node_offset; // where the struct keeps its conf_node; 0 = nowhere
    const char *doc;
    size_t size; // of the struct
    const struct conf_key *keys;
    size_t count;
    // Forms that this version does not have: reports and returns true, and only the name is read.
    bool (*refuse)(struct conf *conf, const struct conf_node *node);
};

// Elements of a CONF_LIST, each a struct of the group's size.
struct conf_list {
    void *items;
    size_t count;
};

extern const struct conf_group conf_top_group;
// Every group once, in the order of the page; ends with NULL.
extern const struct conf_group *const conf_groups[];

// Fills `target` (group->size bytes) from the node, defaults included; reports what is wrong.
void conf_fill(struct conf *conf, const struct conf_node *node, const struct conf_group *group,
               void *target);

// ---- Values: false and the reason, which names what to write
bool conf_duration(const char *text, int64_t *ms, const char **why);
bool conf_size(const char *text, int64_t *bytes, const char **why);
void conf_show_duration(int64_t ms, struct buf *buf);
void conf_show_size(int64_t bytes, struct buf *buf);
bool conf_is_name(const char *text, bool dots, const char **why);
bool conf_is_topic(const char *text, const char **why);
// The nearest of `names` if it is near enough to be meant, else NULL.
struct conf_near {
    const char *wanted;
    const char *best;
    size_t distance;
};
void conf_near_try(struct conf_near *near, const char *name);
const char *conf_near_best(const struct conf_near *near);

// ---- Structs that the table fills and the passes turn into those of io/conf.h
struct raw_retry {
    int64_t attempts;
    int64_t backoff_ms;
    int64_t backoff_max_ms;
};

struct raw_action {
    const char *name;
    int32_t kind;
    const char *version;
    const char *description;
    const char *category;
    const char *const *tags;
    const char *params;
    const char *result;
    struct raw_retry retry;
    int64_t timeout_ms;
    int32_t concurrency;
    const char *library;
    const char *library_action;
    bool run_inline;
    int32_t intensive;
    struct slice options;
    const char *const *command;
    const char *const *environment;
    const char *directory;
    const struct conf_node *node;
};

struct raw_step {
    const char *name;
    const char *action;
    const char *compensate;
    const char *when;
    const char *input;
    const char *compensate_input;
    struct raw_retry retry;
    struct raw_retry compensate_retry;
    int64_t timeout_ms;
    int64_t compensate_timeout_ms;
    bool optional;
    bool pivot;
    const char *region;
    int32_t dataclass;
    struct conf_list parallel; // of struct raw_step
    int32_t join;
    const char *const *distributed; // a list of regions; a jq program or "all", alone
    int64_t branches_max;
    const struct conf_node *node;
};

struct raw_start {
    const char *topic;
    const char *type;
    const char *id;
    const struct conf_node *node; // NULL = no start
};

struct raw_saga {
    const char *name;
    int64_t version;
    const char *description;
    int32_t pattern;
    struct raw_start start;
    int64_t deadline_ms;
    int64_t dedupe_window_ms;
    int32_t history;
    struct conf_list steps;
    const struct conf_node *node;
};

struct raw_region {
    const char *name;
    int64_t rtt_ms;
    int32_t role;
    const struct conf_node *node;
};

struct raw_rule {
    const char *region;
    int32_t dataclass;
    const char *target;
    int32_t mode;
    const struct conf_node *node;
};

struct raw_residency {
    const char *const *personal;
    const char *const *financial;
    const char *const *sensitive;
    struct conf_list rules;
    const struct conf_node *node; // NULL = not there
};

struct raw_tenant {
    const char *name;
    const char *region;
    const struct conf_node *node;
};

struct raw_mirror {
    const char *match;
    int32_t dataclass;
    const struct conf_node *node;
};

struct raw_breaker {
    int32_t threshold;
    int64_t timeout_ms;
};

struct raw_link {
    const char *source;
    const char *bootstrap;
    const struct conf_node *properties;
    const char *app;
    struct conf_list topics;
    int32_t naming;
    int32_t forward;
    bool commands;
    int32_t start_at;
    int32_t lanes;
    int64_t refresh_ms;
    int64_t queue;
    int64_t fetch;
    struct raw_breaker breaker;
    const struct conf_node *node;
};

struct raw_config {
    struct config config;
    const char *const *plugin_path;
    const struct conf_node *properties;
    struct conf_list actions;
    struct conf_list sagas;
    struct conf_list regions;
    struct conf_list tenants;
    struct conf_list links;
    struct raw_residency residency;
    const struct conf_node *node;
};

// Choices of the table by their index.
enum { RAW_KIND_PLUGIN, RAW_KIND_EXEC };
enum { RAW_MODE_REQUIRED, RAW_MODE_PREFERRED };
enum { RAW_INTENSIVE_DATA, RAW_INTENSIVE_COMPUTE };
enum { RAW_ROLE_WORKER, RAW_ROLE_HUB };

bool conf_refuse_action(struct conf *conf, const struct conf_node *node);
bool conf_refuse_step(struct conf *conf, const struct conf_node *node);

// The index of a region; reports it when there is none.
int32_t conf_need_region(struct conf *conf, const struct conf_node *node, const char *key,
                         const char *name);

// Whether the rules let any data of this class (-1: of any class) go from here to the region.
bool conf_may_go(const struct conf *conf, int32_t region, int32_t dataclass);

// ---- Passes; each reports what is wrong and leaves something usable behind
void conf_build_kafka(struct conf *conf, const struct raw_config *raw);
void conf_build_regions(struct conf *conf, const struct raw_config *raw);
void conf_build_links(struct conf *conf, const struct raw_config *raw);
// Properties for librdkafka into kafka->property_*.
void conf_build_properties(struct conf *conf, const struct conf_node *list,
                           struct config_kafka *kafka);
void conf_build_actions(struct conf *conf, const struct raw_config *raw);
void conf_build_sagas(struct conf *conf, const struct raw_config *raw);
// The properties that may be set and those that never can, for the page.
void conf_kafka_reference(struct buf *buf);

// ---- Paths and JSON
// Absolute and without "." and ".." where that can be told; relative to the directory of `file`.
const char *conf_resolve(struct conf *conf, const char *file, const char *path);
// Any value as JSON with sorted members, in the arena; false after an error.
bool conf_to_json(struct conf *conf, const struct conf_node *node, struct slice *json);
// The normalised form of a saga, in the arena.
struct slice conf_saga_json(struct conf *conf, const struct config_saga *saga);

// Formatted into conf->memory.
const char *conf_text(struct conf *conf, const char *format, ...) KA_PRINTF(2, 3);

#endif
