// SPDX-License-Identifier: Apache-2.0
// The state of one shard from its topic, as a new owner and as the commands that look after shards
// read it.
#ifndef KA_ENGINE_STATE_READ_H
#define KA_ENGINE_STATE_READ_H

#include "core/shard.h"
#include "engine/scan.h"

struct state_read {
    const struct io_kafka_config *kafka;
    struct io_kafka_admin *admin;
    const char *topic; // <app>.state
    const char *inbox; // for errors
    int32_t partition;
    int64_t low_water; // of the committed metadata; -1 = there is none: from the start
    bool has_offset;   // the shard has a committed offset
    int64_t started;   // sagas that the committed metadata counts
    bool anyway;       // the whole topic, whatever was committed
    const atomic_bool *stop;
};

// Reads [low water, end) into *restore; the end is asked for now, so the committed offset must have
// been read before, and be stable. KA_ERR_DIVERGED where offset and topic cannot belong together
// (docs/lane.md, rule 13), or a record is no state; else what the cluster answered.
KA_MUST_USE enum ka_err state_read(const struct state_read *read, struct shard_restore *restore,
                                   struct err_text *text);

#endif
