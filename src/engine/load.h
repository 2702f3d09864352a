// SPDX-License-Identifier: Apache-2.0
// How busy the regions are: writes what this node knows of itself to <app>.load every two seconds,
// and reads that topic here and in the regions that links come from. A thread of its own, as the
// questions block. Decides nothing: core/placement.h.
#ifndef KA_ENGINE_LOAD_H
#define KA_ENGINE_LOAD_H

#include "core/placement.h"
#include "io/kafka_admin.h"

// <app>.load of another region, as its link reaches it.
struct load_source {
    int32_t region;
    struct io_kafka_config kafka; // client_id is set here
    const char *app;
};

// Everything outlives the thread.
struct load_config {
    const struct io_kafka_config *kafka; // of this cluster
    struct io_kafka_admin *admin;
    const char *app;
    const char *node;
    int32_t shards;
    int32_t here;
    const struct slice *regions; // names, for the log
    bool reads;                  // false: nobody here asks, loads are only told
    const struct load_source *sources;
    size_t source_count;
};

struct load;
KA_MUST_USE enum ka_err load_new(const struct load_config *config, struct load **load,
                                 struct err_text *text);
void load_free(struct load **load);
// What goes into the next beat; any thread.
void load_tell(struct load *load, int64_t in_flight, int64_t capacity, bool held);
// The loads of the regions into their entries; those that nothing fresh is known of say so. Any
// thread.
void load_look(struct load *load, struct residency_link *links);

#endif
