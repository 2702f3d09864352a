// SPDX-License-Identifier: Apache-2.0
// All links of one process, from start to a drained stop: for each a scout and its lanes, and a
// record in <app>.links every few seconds that says how it is. Runs on a thread of its own, beside
// a worker or alone.
#ifndef KA_BRIDGE_BRIDGE_H
#define KA_BRIDGE_BRIDGE_H

#include "io/conf.h"

struct bridge;
struct bridge_config {
    const struct config *config; // outlives the bridge, like the strings
    const char *node;
    const char *bootstrap; // of this cluster
    // Once when it cannot go on; any thread. May be NULL.
    void (*failed)(void *context);
    void *context;
};
KA_MUST_USE enum ka_err bridge_new(const struct bridge_config *config, struct bridge **bridge,
                                   struct err_text *text);
// Finishes open transactions, leaves the groups, ends the thread.
void bridge_free(struct bridge **bridge);
enum { BRIDGE_BEAT_MS = 5000 }; // between the records that say how a link is

// How the regions look from here, one entry for each of config->regions: those that a link of this
// process copies from are up if they were heard within two intervals and the breaker is closed, and
// as far away as its looks measure; the others are left as they are. Any thread.
void bridge_look(struct bridge *bridge, struct residency_link *links);
// Has each link heard its source, or will none ever?
bool bridge_met(struct bridge *bridge);
// Why it cannot go on; KA_OK while it can.
enum ka_err bridge_failure(struct bridge *bridge, struct err_text *text);

#endif
