// SPDX-License-Identifier: Apache-2.0
// Gives the brokers their disk back: deletes the records of the state topic that lie before the
// committed low-water mark of each shard whose last commit was ours, and those of its inbox that
// were read and are older than inbox_keep. Any process may do it, the mark is in the offsets; one
// does. Not for the public topics: those have a retention.
#ifndef KA_ENGINE_TRIMMER_H
#define KA_ENGINE_TRIMMER_H

#include "io/kafka_admin.h"

struct trimmer_config {
    struct io_kafka_admin *admin;
    const char *app;
    const char *node; // only shards last committed by this node
    int32_t shards;
    int64_t inbox_keep_ms; // how long read commands stay in the inbox
};

struct trimmer;
struct trimmer *trimmer_new(const struct trimmer_config *config);
void trimmer_free(struct trimmer **trimmer);
// One round over all shards; blocks. Errors are logged and tried again next time. Returns the
// number of partitions trimmed.
int trimmer_run(struct trimmer *trimmer);

#endif
