// SPDX-License-Identifier: Apache-2.0
// Kafka records as the core sees them: what comes in, and what a transaction puts out.
#ifndef KA_CORE_RECORD_H
#define KA_CORE_RECORD_H

#include "core/arena.h"
#include "core/slice.h"

struct header {
    struct slice name;
    struct slice value; // may be absent (null)
};

// A record that was read. Borrowed: valid until the next one is asked for.
struct record {
    struct slice topic;
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms; // -1 if the broker gave none
    struct slice key;     // absent = null
    struct slice value;   // absent = null
    const struct header *headers;
    size_t header_count;
};

// A record to write. Slices live until the transaction has ended (the arena of the batch).
struct output {
    struct slice topic;
    int32_t partition; // always explicit; -1 only for topics that are not kasaga's own
    struct slice key;
    struct slice value; // absent = null
    const struct header *headers;
    size_t header_count;
    int64_t timestamp_ms; // 0 = now, set by the client
};

// "topic/partition/offset" in the arena: the name of a record in causes, ids and errors.
struct slice record_place(const struct record *record, struct arena *arena);

#endif
