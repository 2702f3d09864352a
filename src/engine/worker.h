// SPDX-License-Identifier: Apache-2.0
// One worker process: shard lanes and route lanes, the invoker, the catalog, the watchdog and the
// trimmer, from start to a drained stop. What the configuration says comes in as plain values; the
// command reads the file (cmd/worker.c).
#ifndef KA_ENGINE_WORKER_H
#define KA_ENGINE_WORKER_H

#include "core/route.h"
#include "core/table.h"
#include "engine/catalog.h"
#include "engine/load.h"
#include "engine/runner.h"

#include <stdatomic.h>

// One configured action, ready to run.
struct worker_action {
    struct action_def def; // runner set
};

// A start route; the expression is compiled per lane.
struct worker_route {
    const char *topic;
    const char *type;
    const char *saga;
    const char *id; // expression source
};

struct worker_config {
    const atomic_int *digests_asked; // counts; each count makes the shards' digests be logged
    struct io_kafka_config kafka;    // client_id is set per client
    const char *app;
    const char *region;
    const char *node;
    int32_t shards;
    int32_t shard_lanes;
    int32_t route_lanes; // 0 when nothing is routed
    struct table_limits limits;
    size_t state_max;
    size_t record_max;
    size_t reappend_min;
    int64_t memory_max; // bytes (core/memory.h); 0 = what the lanes need at least, no pressure
    int32_t batch_records;
    int64_t batch_bytes;
    int64_t batch_ms;
    int64_t interval_max_ms;
    int32_t invoker_threads;
    int32_t invoker_queue;
    int64_t inline_limit_ms;
    int64_t inbox_keep_ms; // how long read commands stay in the inbox
    const struct worker_action *actions;
    size_t action_count;
    const struct catalog_own *definitions;
    size_t definition_count;
    const struct worker_route *routes;
    size_t route_count;
    const struct residency *residency;  // NULL = nothing is classified
    const struct residency_link *links; // one per region
    // How they look now, asked by the lanes; NULL = nobody knows, `links` stays.
    void (*ask_links)(void *context, struct residency_link *links);
    void *links_context;
    // Where the loads of other regions are read, when some step goes to the least loaded.
    bool reads_loads;
    const struct load_source *load_sources;
    size_t load_source_count;
};

// Runs until *stop becomes true (a signal handler sets it), then drains: open transactions are
// finished, the group is left. KA_OK after a clean stop; KA_ERR_TIMEOUT when an action of a plugin
// still runs (its library must stay loaded); otherwise what made it impossible to start or go on.
// `ready` is called once when every lane has joined its group; may be NULL.
KA_MUST_USE enum ka_err worker_run(const struct worker_config *config, const atomic_bool *stop,
                                   void (*ready)(void *context), void *ready_context,
                                   struct err_text *text);

#endif
