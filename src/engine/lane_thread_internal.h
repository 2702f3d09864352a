// SPDX-License-Identifier: Apache-2.0
// What lane_thread.c (the loop and the events) and lane_effect.c (the effects) share.
#ifndef KA_ENGINE_LANE_THREAD_INTERNAL_H
#define KA_ENGINE_LANE_THREAD_INTERNAL_H

#include "engine/committer.h"
#include "engine/lane_thread.h"

enum {
    LANE_THREAD_SHARDS_MAX = 4096, // slots of a shard lane that may call; an inbox has up to 1,024
    LANE_THREAD_CALL_TIMEOUT_MS = 5000,
    LANE_THREAD_ROOM = 64, // calls taken from the lane in one turn
    LANE_THREAD_HELD_MAX = 1024
};

// A result with what owns its memory.
struct kept_result {
    struct lane_result base;
    struct invoker_result *owned;
};

struct lane_thread {
    struct lane_thread_config config;
    pthread_t thread;
    atomic_bool stop;
    atomic_bool failed;
    atomic_bool pressed;
    struct err_text why;

    int wake_fd;
    struct mailbox box;
    struct lane *lane;
    struct lane_effects effects;
    struct io_kafka_consumer *consumer;
    struct io_kafka_producer *producers[LANE_PRODUCERS];
    int32_t busy_producer;          // a job of the committer holds it; -1 = none
    bool resetting[LANE_PRODUCERS]; // asked of the committer and not answered
    enum ka_err produce_error;
    struct err_text produce_text;
    struct committer *committer;
    struct restorer *restorer;
    struct io_kafka_group_metadata *group; // for the COMMIT that FLUSHED leads to
    struct invoker_client client;
    // What may_start reads on the invoker's threads: the epoch under which a slot is ours (-1 = it
    // is not) and until when our last proof of membership is young enough.
    atomic_int owned_epoch[LANE_THREAD_SHARDS_MAX];
    _Atomic int64_t start_until_ms;
    int32_t in_flight;
    // Invocations that the invoker had no room for, in their order; those of other actions pass
    // them. When there are as many, no more are taken from the lane. Their decided_ms is that of
    // clock_mono_ms.
    struct lane_invocation *held[LANE_THREAD_HELD_MAX];
    size_t held_count;
    int64_t now_ms; // of this turn, and the same moment of the clock that nobody sets
    int64_t mono_ms;
    int digests_told;
    int64_t unpark_ms; // when what the cluster had parked was tried again
    bool subscribed;
    bool drained;
    enum lane_feed_state feed;

    struct lane_event *local; // events that effects led to
    size_t local_count;
    size_t local_cap;
    int64_t rejoined_ms;
    bool rejoin; // what the lane and the consumer have assigned is not the same any more
    struct lane_partition_name *names;
    size_t names_cap;
    char transactional_id[256];

    struct lane_parked parked[LANE_PARKED_MAX]; // the last ones that were parked
    size_t parked_count;                        // ever

    int64_t read_bytes; // of the records that came last, see average
    int64_t read_records;

    pthread_mutex_t picture_lock;
    struct lane_picture picture;
    int64_t picture_ms;
};

// Does one effect. What it leads to at once becomes a local event.
void lane_thread_effect(struct lane_thread *t, const struct lane_effect *effect);
// Offers the held invocations again; what its next owner dispatches is dropped.
void lane_thread_offer_held(struct lane_thread *t);
void lane_thread_push(struct lane_thread *t, struct lane_event event);
void lane_thread_start_committer(struct lane_thread *t);

#endif
