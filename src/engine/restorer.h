// SPDX-License-Identifier: Apache-2.0
// What happens between "assigned" and "restored", on a thread of its own per lane: who had the
// partition last and is it still there (else its transactional ids are fenced, rule 10), the
// committed offset once it is stable, and for a shard its state from the low-water mark to the end.
#ifndef KA_ENGINE_RESTORER_H
#define KA_ENGINE_RESTORER_H

#include "core/table.h"
#include "engine/committer.h"

struct restorer_config {
    const struct io_kafka_config *kafka;
    struct io_kafka_admin *admin;
    const char *app;
    const char *group;
    const char *node; // ours: our own leftovers were fenced at the start
    const char *lane;
    const char *state_topic; // NULL = a route lane: no state
    struct table_limits limits;
    struct mailbox *reply;
};

struct restorer;
struct restorer *restorer_new(const struct restorer_config *config);
void restorer_free(struct restorer **restorer);
// Answered by LANE_MAIL_RESTORED with the same slot and epoch: offset, meta, restored or an error.
void restorer_restore(struct restorer *restorer, int32_t slot, int32_t epoch, const char *topic,
                      int32_t partition);

#endif
