// SPDX-License-Identifier: Apache-2.0
// Which regions can be reached from here, for the lanes of a worker. A region that a link of this
// process copies from is judged by that link's own looks; any other by what link processes of this
// region say in <app>.links (`kasaga link run`). One that nobody hears is down.
#ifndef KA_BRIDGE_REACH_H
#define KA_BRIDGE_REACH_H

#include "bridge/bridge.h"
#include "io/kafka_admin.h"

struct reach;
struct reach_config {
    const struct config *config;         // outlives it, like the strings
    const struct io_kafka_config *kafka; // of this cluster
    const char *node;
    struct bridge *bridge; // of this process; NULL = it has no links
};
// Starts a thread. Returns once each link of this process has heard its source, at the latest after
// 4 s.
KA_MUST_USE enum ka_err reach_new(const struct reach_config *config, struct reach **reach,
                                  struct err_text *text);
void reach_free(struct reach **reach);
// One entry for each of config->regions; that of this region is left as it is. Any thread.
void reach_look(struct reach *reach, struct residency_link *links);

#endif
