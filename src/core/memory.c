// SPDX-License-Identifier: Apache-2.0
// What is left behind the base is divided: a fifth for what is fetched ahead, a quarter for
// transactions under way, the rest for states and calls. A share of a lane is counted with what
// librdkafka and malloc need beside the bytes of the records; the factors are those measured by
// tests/it/t_overload.sh.
#include "core/memory.h"

#include <stdbool.h>

enum {
    KIB = 1024,
    MIB = 1024 * KIB,
    BASE = 24 * MIB,     // of the process
    BASE_LANE = 4 * MIB, // of a lane: three clients with their threads
    // Of a lane's part for fetching: the records, what librdkafka keeps with each of them, and the
    // answer that is under way beside the one that is half read.
    FETCH_PARTS = 3,
    FETCH_RECORD = 450,
    FETCH_MAX = 96 * MIB, // more is no faster
    // Of a lane's part for transactions: the outputs, their copies in the producer, the requests.
    BATCH_PARTS = 3,
    QUEUE_LEAST = MIB,
    BATCH_LEAST = MIB,
    STATES_LEAST = 8 * MIB,
    // A state that changes leaves a hole in the heap.
    HEAP_PERCENT = 80,
    FETCH_PERCENT = 20,
    BATCH_PERCENT = 25
};

static int64_t lanes_of(const struct memory_wants *wants)
{
    return wants->shard_lanes + wants->route_lanes;
}

static int64_t base_of(const struct memory_wants *wants)
{
    return BASE + BASE_LANE * lanes_of(wants);
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

// One record must fit into a queue and into a transaction.
static int64_t least_of(int64_t share, const struct memory_wants *wants)
{
    return larger(share, wants->record_max);
}

int64_t memory_least(const struct memory_wants *wants)
{
    int64_t lanes = lanes_of(wants);
    int64_t fetch = FETCH_PARTS * least_of(QUEUE_LEAST, wants) * lanes * 100 / FETCH_PERCENT;
    int64_t batch = BATCH_PARTS * least_of(BATCH_LEAST, wants) * lanes * 100 / BATCH_PERCENT;
    int64_t states = (int64_t)STATES_LEAST * 100 / (100 - FETCH_PERCENT - BATCH_PERCENT);
    int64_t bytes = base_of(wants) + larger(larger(fetch, batch), states);
    return (bytes + MIB - 1) / MIB * MIB;
}

struct memory_shares memory_share(const struct memory_wants *wants)
{
    int64_t lanes = larger(lanes_of(wants), 1);
    int64_t base = base_of(wants);
    int64_t rest = larger(wants->memory_max, memory_least(wants)) - base;
    int64_t fetch = smaller(rest * FETCH_PERCENT / 100 / lanes, FETCH_MAX);
    int64_t batch = rest * BATCH_PERCENT / 100 / lanes;
    int64_t queue = fetch / FETCH_PARTS;
    struct memory_shares shares = {
        .base = base,
        .queue_kbytes = (int32_t)(queue / KIB),
        .queue_records = (int32_t)(queue / FETCH_RECORD),
        .answer_kbytes = (int32_t)(larger(queue / 2, least_of(QUEUE_LEAST, wants)) / KIB),
        .batch = smaller(wants->batch_bytes, batch / BATCH_PARTS),
    };
    // What its states add at the end of a transaction, and a record of the largest size.
    shares.produce_kbytes = (int32_t)((2 * shares.batch + 2 * wants->record_max) / KIB + 1);
    int64_t left = rest - lanes * (fetch + BATCH_PARTS * shares.batch);
    shares.states = left * HEAP_PERCENT / 100;
    shares.calls = shares.states / 4;
    return shares;
}

int32_t memory_arenas(const struct memory_wants *wants)
{
    return (int32_t)(4 + lanes_of(wants));
}
