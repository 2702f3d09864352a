// SPDX-License-Identifier: Apache-2.0
// The configuration: one libconfig file (with its @includes) read, checked and resolved into plain
// values. What a key means, its type, range and default stand in one table (conf_table.c), from
// which docs/configuration.md is generated. Not for the environment of a command (KASAGA_CONFIG)
// and not for loading plugins or asking brokers.
#ifndef KA_IO_CONF_H
#define KA_IO_CONF_H

#include "core/buf.h"
#include "core/def.h"
#include "core/err.h"
#include "core/link_topic.h"
#include "core/residency.h"
#include "core/schema.h"

// Errors and warnings of one load: at most CONF_PROBLEMS_MAX are kept, `left_out` counts the rest.
enum { CONF_PROBLEMS_MAX = 100 };

struct conf_problem {
    const char *file; // as it was opened
    int line;         // 0 = the file as a whole
    bool warning;
    const char *text; // one line
};

// A zeroed struct is a valid empty report. Its texts live until conf_report_fini.
struct conf_report {
    struct conf_problem *problems; // the main file's first, by line
    size_t count;
    size_t errors; // all, also those left out
    size_t warnings;
    size_t left_out;
    struct arena memory;
};
void conf_report_fini(struct conf_report *report);
// "file:line: text", one per line, warnings marked, and what was left out.
void conf_report_text(const struct conf_report *report, struct buf *buf);

enum conf_guarantee { CONF_EXACTLY_ONCE, CONF_AT_LEAST_ONCE };
enum conf_start_at { CONF_EARLIEST, CONF_LATEST };
enum conf_log_format { CONF_LOG_TEXT, CONF_LOG_JSON };
enum conf_log_level { CONF_LOG_DEBUG, CONF_LOG_INFO, CONF_LOG_WARN, CONF_LOG_ERROR, CONF_LOG_OFF };

struct conf_node; // the loader's

struct config_action {
    const char *name;
    enum action_kind kind;   // ACTION_PLUGIN or ACTION_EXEC
    const char *version;     // "1" by default
    const char *description; // "" if none, like category
    const char *category;
    const char *const *tags;     // NULL-terminated
    const struct schema *params; // NULL = any object; owned by the config
    const struct schema *result;
    struct slice params_avsc; // text of the schema file; SLICE_NONE
    struct slice result_avsc;
    struct retry_policy retry; // for steps that do not say otherwise
    int64_t timeout_ms;
    // ACTION_PLUGIN
    const char *library;        // absolute path (it may not exist, see the warnings)
    const char *library_action; // its name in there
    bool run_inline;
    const char *intensive; // "data", "compute"; NULL = neither
    int32_t concurrency;   // calls at once in a worker; 0 = as the pool has threads
    struct slice options;  // JSON object with sorted members
    // ACTION_EXEC; as exec_program of engine/exec.h wants them
    const char *const *command;     // NULL-terminated; a relative path is resolved
    const char *const *environment; // NULL-terminated
    const char *directory;          // NULL = the worker's
    const struct conf_node *node;   // for io_conf_place
};

struct config_step {
    const char *name;
    const struct config_action *action;
    const struct config_action *compensate; // NULL = nothing to undo
    const char *when;                       // jq source; NULL = always
    const char *input;                      // NULL = everything known so far
    const char *compensate_input;           // NULL = {"input":…,"result":…}
    struct retry_policy retry;
    struct retry_policy compensate_retry;
    int64_t timeout_ms;
    int64_t compensate_timeout_ms;
    bool optional;
    bool pivot;
    const char *region;    // a name, "tenant", "least_loaded" or jq source; NULL = here
    const char *dataclass; // NULL = that of the event
    const char *group;     // the parallel step whose branch it is; branches are neighbours
    bool collect;          // its branches wait for each other also when one has failed
    const char *gather;    // of a distributed step: what its result is gathered under
    const char *items;     // jq source: a list, one branch for each element; NULL = for regions
    const struct conf_node *node;
    const struct conf_node *group_node;
};

struct config_saga {
    const char *name;
    int64_t version;
    const char *description; // "" if none
    const char *pattern;     // "saga"
    int64_t deadline_ms;     // 0 = none
    int64_t dedupe_window_ms;
    enum history_mode history;
    const struct config_step *steps;
    size_t step_count;
    struct slice json; // normalised form: what the catalog carries and def_load reads
    struct def_id id;  // of json
    bool remote;       // of no file: runs one action for other regions (core/remote.h)
    const struct conf_node *node;
};

// topic + type -> start of a saga.
struct config_route {
    const char *topic;
    const char *type;
    const char *saga;
    const char *id; // jq source
};

// One cluster with its workers; the one of this configuration is among them.
struct config_region {
    const char *name;
    int64_t rtt_ms; // from here; 0 of our own
    bool measured;  // rtt_ms is a guess: what a link from there measures counts
    bool hub;       // gets copies; nothing runs there, nothing comes from there
    const struct conf_node *node;
};

struct config_kafka {
    const char *bootstrap; // KASAGA_BOOTSTRAP if that is set
    // Allow-listed pass-through for librdkafka, secrets resolved: never to be printed.
    const char *const *property_names;
    const char *const *property_values;
    size_t property_count;
    int32_t session_timeout_ms;
    int32_t transaction_timeout_ms;
};

// Topics of a source that are mirrored.
struct config_mirror {
    const char *match; // a name, or a pattern with "*"
    enum data_class dataclass;
};

// A copy from another cluster into this one.
struct config_link {
    const char *source; // the region it comes from
    struct config_kafka kafka;
    const char *app; // the source's
    const struct config_mirror *mirrors;
    size_t mirror_count;
    enum link_naming naming;
    bool commands;
    enum conf_start_at start_at;
    int32_t lanes;
    int64_t refresh_ms;
    int64_t queue;
    int64_t fetch;
    int32_t breaker_threshold;
    int64_t breaker_timeout_ms;
    const struct conf_node *node;
};

struct config_topics {
    int32_t replication;         // -1 = the broker's default
    int32_t min_insync_replicas; // -1 = the broker's default
    int32_t input_partitions;    // of user topics that `topics apply` creates
    int64_t history_keep_ms;
    int64_t replies_keep_ms;
    int64_t dlq_keep_ms;
    int64_t out_keep_ms;
    int64_t audit_keep_ms;
};

struct config_lanes {
    int32_t shard; // threads
    int32_t route;
    int32_t batch_records;
    int64_t batch_bytes;
    int64_t batch_time_ms;
    int64_t interval_max_ms;
    int64_t inline_limit_ms;
    int32_t restore_slack; // records: M of the bounded restore
};

struct config_invoker {
    int32_t threads;
    int32_t queue;
    int64_t queue_bytes;
};

// Immutable after the load; any thread. Everything it points to lives until io_conf_free.
struct config {
    const char *path; // absolute
    const char *app;
    const char *region;
    const char *node;
    int32_t shards;
    enum conf_guarantee guarantee;
    enum conf_start_at start_at;
    int64_t inbox_keep_ms;
    int64_t memory_max; // bytes of states over all lanes
    int64_t state_max;
    int64_t record_max;
    int64_t dedupe_max;       // bytes per shard
    int64_t dedupe_window_ms; // the longest of the sagas: one table remembers for all of them
    struct config_kafka kafka;
    struct config_topics topics;
    struct config_lanes lanes;
    struct config_invoker invoker;
    enum conf_log_level log_level;
    enum conf_log_format log_format;
    const struct config_action *actions;
    size_t action_count;
    const struct config_saga *sagas;
    size_t saga_count;
    const struct config_route *routes;
    size_t route_count;
    const struct config_region *regions; // all, this one included; none = there is only this one
    size_t region_count;
    const struct residency *residency;  // NULL = neither regions nor field names are configured
    const struct residency_link *links; // one per region: all up, as far away as configured
    const struct config_link *link_list;
    size_t link_count;
    int32_t link_slots; // partitions of <app>.links
    bool hub;           // this region is one
    bool balances;      // some step goes to the least loaded region: loads are read
    struct arena memory;
};

// Reads and checks the file. KA_OK: *config is owned by the caller (io_conf_free), the report may
// hold warnings. KA_ERR_CONFIG: *config is NULL and the report says everything that is wrong. The
// report is the caller's (conf_report_fini) in both cases. Any thread.
KA_MUST_USE enum ka_err io_conf_load(const char *path, struct config **config,
                                     struct conf_report *report);
// The same for `kasaga check`: secrets that cannot be read here (env:, file:) are warnings, because
// the machine that checks a file need not hold them.
KA_MUST_USE enum ka_err io_conf_check(const char *path, struct config **config,
                                      struct conf_report *report);
// The same from memory, without @include; paths are relative to the working directory. For tests.
KA_MUST_USE enum ka_err io_conf_parse(struct slice text, struct config **config,
                                      struct conf_report *report);
void io_conf_free(struct config **config);

// NULL if there is none of that name.
const struct config_action *io_conf_action(const struct config *config, const char *name);
const struct config_saga *io_conf_saga(const struct config *config, const char *name);

// Where an action, step or saga (its `node`) is written, or its key if that is there. The file's
// name lives as long as the config.
void io_conf_place(const struct conf_node *node, const char *key, const char **file, int *line);

// Appends docs/configuration.md.
void io_conf_reference(struct buf *buf);

#endif
