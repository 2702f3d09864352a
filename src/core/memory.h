// SPDX-License-Identifier: Apache-2.0
// How memory_max is divided among what a worker holds. All of the process is in it, but for what is
// named in docs/operations.md: the memory of finished sagas and the actions' own. Pure; asks nobody
// how much memory there is.
#ifndef KA_CORE_MEMORY_H
#define KA_CORE_MEMORY_H

#include <stdint.h>

struct memory_wants {
    int64_t memory_max; // bytes
    int32_t shard_lanes;
    int32_t route_lanes;
    int64_t batch_bytes; // output of one transaction, at most
    int64_t record_max;
};

// Bytes, if not said otherwise.
struct memory_shares {
    int64_t base; // code, threads, clients, what the allocator keeps
    // States, inputs of the calls that wait, and the commands of the inbox that will become both.
    int64_t states;
    int64_t calls; // of those: inputs that wait in the pool
    // Of each lane.
    int32_t queue_kbytes;  // fetched ahead
    int32_t queue_records; // the same
    int32_t answer_kbytes; // one answer of the broker
    int64_t batch;         // output of one transaction
    int32_t produce_kbytes;
};

// The least memory_max for these lanes: with less, some share would hold less than one record.
int64_t memory_least(const struct memory_wants *wants);
// With a memory_max under the least, the shares are those of the least.
struct memory_shares memory_share(const struct memory_wants *wants);
// Arenas of malloc: each keeps up to this much when it is empty.
int32_t memory_arenas(const struct memory_wants *wants);

#endif
