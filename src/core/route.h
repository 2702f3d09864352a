// SPDX-License-Identifier: Apache-2.0
// The processor of the route lanes: user records in, commands into the inbox out. Without state.
// A record whose type no route of its topic names is passed by and counted; one that cannot be
// read, or whose id expression fails, goes to the dlq. Pure; one thread.
#ifndef KA_CORE_ROUTE_H
#define KA_CORE_ROUTE_H

#include "core/dlq.h"
#include "core/expr.h"
#include "core/lane.h"
#include "core/residency.h"

// topic + type -> start of a saga; `id` gives a string or a number.
struct route {
    struct slice topic;
    struct slice type;
    struct slice saga;
    const struct expr *id;
};

enum { ROUTE_ID_MAX = 256 }; // bytes of the id of a key

struct route_config {
    int32_t shards;
    struct slice inbox_topic;
    struct dlq_context dlq;
    size_t data_max; // bytes of the data of a start event
    const struct route *routes;
    size_t route_count;
    const struct residency *residency; // NULL = nothing is classified, every tenant is taken
};

struct routes;
// Borrows everything in `config` for its life.
struct routes *routes_new(const struct route_config *config);
void routes_free(struct routes **routes);
struct lane_processor routes_processor(struct routes *routes);
// Records that no route named.
int64_t routes_unmatched(const struct routes *routes);

#endif
