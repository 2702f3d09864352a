// SPDX-License-Identifier: Apache-2.0
// The blocking half of a lane: flushes, commits, aborts, resets producers and asks the cluster, on
// a thread of its own, one job at a time, in order. Answers go to the lane's mailbox.
// The lane's thread produces with a producer only while no job of it is under way.
#ifndef KA_ENGINE_COMMITTER_H
#define KA_ENGINE_COMMITTER_H

#include "core/lane.h"
#include "engine/mailbox.h"
#include "io/kafka_admin.h"
#include "io/kafka_consumer.h"
#include "io/kafka_producer.h"

// What is said to a lane's thread by the others.
enum lane_mail_type {
    LANE_MAIL_FLUSHED,
    LANE_MAIL_COMMITTED,
    LANE_MAIL_COMMIT_FAILED,
    LANE_MAIL_ABORTED,
    LANE_MAIL_ABORT_FAILED,
    LANE_MAIL_PRODUCER, // ready or failed; `handle` is the new one
    LANE_MAIL_TOKEN,
    LANE_MAIL_END_SAMPLED,
    LANE_MAIL_RESTORED,
    LANE_MAIL_RESULT
};

struct lane_mail {
    struct mail mail;
    enum lane_mail_type type;
    enum ka_err error;
    struct err_text text;
    int32_t producer;
    struct io_kafka_producer *handle;
    bool dirty;
    int32_t slot;
    int32_t epoch;
    int64_t offset;
    void *restored;          // struct shard_restore, owned
    struct lane_span *spans; // owned; NULL if none
    size_t span_count;
    char meta[META_MAX]; // committed metadata; meta_len 0 = none
    size_t meta_len;
    struct lane_result *result; // owned
};
void lane_mail_free(struct lane_mail **mail);

struct committer_config {
    const struct io_kafka_config *kafka;
    struct io_kafka_admin *admin;
    const char *group;
    const char *lane;             // its name, for the thread's
    const char *transactional_id; // of the lane; ".a" and ".b" are added
    const char *const *warm_topics;
    size_t warm_count;
    struct mailbox *reply;
    int timeout_ms; // of flush, send offsets, commit and abort each
};

struct committer;
// Starts the thread. Strings and pointers of the configuration outlive it.
struct committer *committer_new(const struct committer_config *config);
// Waits for the job under way (bounded by its timeouts), then ends the thread. What has not begun
// is not done.
void committer_free(struct committer **committer);
// Leaves a committer that is stuck in a call alone: it ends by itself and frees the producer it
// holds; its answers are dropped.
void committer_abandon(struct committer **committer);
bool committer_busy(struct committer *committer);

void committer_reset(struct committer *committer, int32_t producer, struct io_kafka_producer *old);
void committer_flush(struct committer *committer, int32_t producer,
                     struct io_kafka_producer *handle);
// Copies offsets and metadata; owns `group` from here on.
void committer_commit(struct committer *committer, int32_t producer,
                      struct io_kafka_producer *handle, const struct io_kafka_offset *offsets,
                      size_t count, struct io_kafka_group_metadata *group);
void committer_abort(struct committer *committer, int32_t producer,
                     struct io_kafka_producer *handle);
// Asks for the committed metadata (stable) of a partition.
void committer_ask_token(struct committer *committer, int32_t slot, int32_t epoch,
                         const char *topic, int32_t partition);
void committer_sample_end(struct committer *committer, int32_t slot, int32_t epoch,
                          const char *topic, int32_t partition);

#endif
