// SPDX-License-Identifier: Apache-2.0
// librdkafka, part 3: the group consumer of a lane. Event mode only (rd_kafka_queue_poll; batch
// consume and consumer_poll unassign silently on a rebalance). Records come on a queue of their
// own, so a lane that is committing serves rebalances without taking records. One thread.
#ifndef KA_IO_KAFKA_CONSUMER_H
#define KA_IO_KAFKA_CONSUMER_H

#include "io/kafka.h"

struct io_kafka_consumer;
struct io_kafka_group_metadata;

// read_committed, cooperative-sticky, auto.offset.reset=error, no auto commit, partition EOF on.
// `wake_fd` is an eventfd that gets written (8 bytes, value 1) when something arrives.
KA_MUST_USE enum ka_err io_kafka_consumer_new(const struct io_kafka_config *config,
                                              const char *group, int wake_fd,
                                              struct io_kafka_consumer **consumer,
                                              struct err_text *text);
KA_MUST_USE enum ka_err io_kafka_consumer_subscribe(struct io_kafka_consumer *consumer,
                                                    const char *const *topics, size_t count,
                                                    struct err_text *text);
// Leaves the group and destroys, on a helper thread with a watchdog (close can hang in 2.0.2);
// returns when done or after timeout_ms.
void io_kafka_consumer_free(struct io_kafka_consumer **consumer, int timeout_ms);

struct io_kafka_partition {
    char topic[250];
    int32_t partition;
    int64_t offset; // where the call says so
};

enum io_kafka_control_type {
    IO_KAFKA_ASSIGNED,    // call io_kafka_assign for them
    IO_KAFKA_REVOKING,    // call io_kafka_unassign for them when done
    IO_KAFKA_LOST,        // the same, but the partitions are gone already
    IO_KAFKA_CLIENT_ERROR // error and text are set; class FATAL: make a new consumer
};
struct io_kafka_control {
    enum io_kafka_control_type type;
    const struct io_kafka_partition *partitions; // valid until the next poll
    size_t count;
    enum ka_err error;
    struct err_text text;
};
// Serves rebalances and errors; false when there is nothing. Never blocks.
bool io_kafka_poll_control(struct io_kafka_consumer *consumer, struct io_kafka_control *control);

// The end of an assigned partition as its last fetch saw it (markers and what is not committed
// included), -1 = not known. Asks nobody.
int64_t io_kafka_consumer_end(struct io_kafka_consumer *consumer, const char *topic,
                              int32_t partition);

enum io_kafka_fetch { IO_KAFKA_NOTHING, IO_KAFKA_RECORD, IO_KAFKA_EOF, IO_KAFKA_PARTITION_ERROR };
// The next record, end of partition (record.topic, partition and offset = the end, markers
// included) or error of one partition (out of range, …). Never blocks. What it returned is valid
// until the next call. Records of partitions that are paused or not assigned are dropped.
enum io_kafka_fetch io_kafka_poll_record(struct io_kafka_consumer *consumer, struct record *record,
                                         enum ka_err *error, struct err_text *text);

// incremental_assign with explicit offset and paused at once: nothing flows until seek + resume.
KA_MUST_USE enum ka_err io_kafka_assign(struct io_kafka_consumer *consumer,
                                        const struct io_kafka_partition *partitions, size_t count,
                                        struct err_text *text);
KA_MUST_USE enum ka_err io_kafka_unassign(struct io_kafka_consumer *consumer,
                                          const struct io_kafka_partition *partitions, size_t count,
                                          struct err_text *text);
KA_MUST_USE enum ka_err io_kafka_seek(struct io_kafka_consumer *consumer, const char *topic,
                                      int32_t partition, int64_t offset, struct err_text *text);
KA_MUST_USE enum ka_err io_kafka_pause(struct io_kafka_consumer *consumer, const char *topic,
                                       int32_t partition, struct err_text *text);
KA_MUST_USE enum ka_err io_kafka_resume(struct io_kafka_consumer *consumer, const char *topic,
                                        int32_t partition, struct err_text *text);

// A snapshot of the membership, to be taken on the consumer's thread after its control events
// were served. generation < 0 or an empty member: not a member, do not use. Caller frees.
struct io_kafka_group_metadata *io_kafka_group_metadata_take(struct io_kafka_consumer *consumer,
                                                             int32_t *generation, bool *member);
void io_kafka_group_metadata_free(struct io_kafka_group_metadata **group);

#endif
