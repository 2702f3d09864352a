// SPDX-License-Identifier: Apache-2.0
// What happens between "assigned" and "restored", on a thread of its own per lane: who had the
// partition last and is it still there (else its transactional ids are fenced, rule 10), the
// committed offset once it is stable, and for a shard its state from the low-water mark to the end.
#ifndef KA_ENGINE_RESTORER_H
#define KA_ENGINE_RESTORER_H

#include "core/table.h"
#include "engine/committer.h"
#include "engine/state_read.h"

struct restorer_config;
struct restore_counts;

// What a lane's state is while it is read from its topic: a shard's table, a link's progress. Calls
// come from the restorer's thread; `free` from any, with NULL too.
struct restore_form {
    void *(*begin)(const struct restorer_config *config);
    enum ka_err (*read)(const struct state_read *read, void *restored, struct err_text *text);
    void (*free)(void *restored);
    void (*count)(const void *restored, struct restore_counts *counts);
};
struct restore_counts {
    size_t live;
    size_t chunks;
    size_t records; // read
};
extern const struct restore_form restorer_shard_form;

struct restorer_config {
    const struct restore_form *form; // NULL = no state
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
