// SPDX-License-Identifier: Apache-2.0
// librdkafka, part 4: asking and telling the cluster; and plain readers. Blocking calls for
// helper threads and the CLI, never for a lane thread. An admin handle may be used by several
// threads at once.
#ifndef KA_IO_KAFKA_ADMIN_H
#define KA_IO_KAFKA_ADMIN_H

#include "core/arena.h"
#include "io/kafka.h"

// With config->at_least_once (the mock cluster): members are not asked for (none), records are not
// deleted, nothing is fenced, committed offsets come as to a consumer of the group (`stable` means
// nothing), and creating topics, writing offsets and reading settings are KA_ERR_UNSUPPORTED.
struct io_kafka_admin; // a read_uncommitted handle without a group, and some of groups it never
                       // joins
KA_MUST_USE enum ka_err io_kafka_admin_new(const struct io_kafka_config *config,
                                           struct io_kafka_admin **admin, struct err_text *text);
void io_kafka_admin_free(struct io_kafka_admin **admin);

// Log start and HIGH watermark (not the LSO).
KA_MUST_USE enum ka_err io_kafka_watermarks(struct io_kafka_admin *admin, const char *topic,
                                            int32_t partition, int timeout_ms, int64_t *start,
                                            int64_t *end, struct err_text *text);
// The first offset whose record has this time or a later one; -1 = there is none yet.
KA_MUST_USE enum ka_err io_kafka_offset_at(struct io_kafka_admin *admin, const char *topic,
                                           int32_t partition, int64_t time_ms, int timeout_ms,
                                           int64_t *offset, struct err_text *text);
// Log start or high watermark of many partitions, with one question to each broker that leads some.
// -1 where there was no answer for the partition.
struct io_kafka_edge {
    const char *topic;
    int32_t partition;
    int64_t offset;
};
KA_MUST_USE enum ka_err io_kafka_edges(struct io_kafka_admin *admin, bool ends,
                                       struct io_kafka_edge *edges, size_t count, int timeout_ms,
                                       struct err_text *text);
// Number of partitions; 0 if the topic does not exist.
KA_MUST_USE enum ka_err io_kafka_partition_count(struct io_kafka_admin *admin, const char *topic,
                                                 int timeout_ms, int32_t *count,
                                                 struct err_text *text);
struct io_kafka_topic {
    const char *name;
    int32_t partitions;
    int32_t replicas; // of the partition that has the fewest
};
// All topics that may be seen, internal ones included.
KA_MUST_USE enum ka_err io_kafka_topics(struct io_kafka_admin *admin, int timeout_ms,
                                        struct arena *arena, const struct io_kafka_topic **topics,
                                        size_t *count, struct err_text *text);
// The numbers of the brokers that are up.
KA_MUST_USE enum ka_err io_kafka_brokers(struct io_kafka_admin *admin, int timeout_ms,
                                         struct arena *arena, const int32_t **brokers,
                                         size_t *count, struct err_text *text);
KA_MUST_USE enum ka_err io_kafka_cluster_id(struct io_kafka_admin *admin, int timeout_ms,
                                            struct arena *arena, const char **id,
                                            struct err_text *text);

// Committed offsets of a group. `stable` waits for open transactions (KIP-447) until timeout_ms
// (KA_ERR_TIMEOUT: still unstable); without it the last committed offset and metadata come at
// once. offset -1 = none. Fills offset and metadata (in the arena) of each entry.
struct io_kafka_committed {
    const char *topic;
    int32_t partition;
    int64_t offset;
    struct slice metadata;
};
KA_MUST_USE enum ka_err io_kafka_committed(struct io_kafka_admin *admin, const char *group,
                                           bool stable, int timeout_ms,
                                           struct io_kafka_committed *entries, size_t count,
                                           struct arena *arena, struct err_text *text);
// Commits offsets for a group that has no members (first start, translation).
KA_MUST_USE enum ka_err io_kafka_commit_offsets(struct io_kafka_admin *admin, const char *group,
                                                const struct io_kafka_committed *entries,
                                                size_t count, int timeout_ms,
                                                struct err_text *text);

struct io_kafka_member {
    const char *client_id;
    const char *host;
    const char *const *topics; // of each assigned partition
    const int32_t *partitions;
    size_t assigned;
};
// Members of a group (none if it does not exist) and its state ("Stable", …).
KA_MUST_USE enum ka_err io_kafka_members(struct io_kafka_admin *admin, const char *group,
                                         int timeout_ms, struct arena *arena,
                                         const struct io_kafka_member **members, size_t *count,
                                         const char **state, struct err_text *text);

struct io_kafka_topic_spec {
    const char *name;
    int32_t partitions;
    int32_t replication; // -1 = the broker's default
    const char *const *config_names;
    const char *const *config_values;
    size_t config_count;
};
// KA_ERR_EXISTS is not an error of the call: existing topics are left alone and reported so in
// `created[i] = false`.
KA_MUST_USE enum ka_err io_kafka_create_topics(struct io_kafka_admin *admin,
                                               const struct io_kafka_topic_spec *specs,
                                               size_t count, int timeout_ms, bool *created,
                                               struct err_text *text);
// More partitions for a topic that has fewer; returns when they are to be seen.
KA_MUST_USE enum ka_err io_kafka_grow_topic(struct io_kafka_admin *admin, const char *topic,
                                            int32_t partitions, int timeout_ms,
                                            struct err_text *text);
// Settings in force, defaults included. Values of secrets are empty. In the arena.
struct io_kafka_settings {
    const char *const *names;
    const char *const *values;
    size_t count;
};
// The value of a setting; "" when it has none or is not known to the broker.
const char *io_kafka_setting(const struct io_kafka_settings *settings, const char *name);
KA_MUST_USE enum ka_err io_kafka_topic_config(struct io_kafka_admin *admin, const char *topic,
                                              int timeout_ms, struct arena *arena,
                                              struct io_kafka_settings *settings,
                                              struct err_text *text);
KA_MUST_USE enum ka_err io_kafka_broker_config(struct io_kafka_admin *admin, int32_t broker,
                                               int timeout_ms, struct arena *arena,
                                               struct io_kafka_settings *settings,
                                               struct err_text *text);
// Deletes the records before `offset`.
KA_MUST_USE enum ka_err io_kafka_delete_records(struct io_kafka_admin *admin, const char *topic,
                                                int32_t partition, int64_t offset, int timeout_ms,
                                                struct err_text *text);

// Fences a transactional id: InitProducerId ends its open transaction. Blocks up to timeout_ms.
KA_MUST_USE enum ka_err io_kafka_fence(const struct io_kafka_config *config,
                                       const char *transactional_id, int timeout_ms,
                                       struct err_text *text);

// A reader outside any group: assigned by hand. One thread at a time.
struct io_kafka_reader;
KA_MUST_USE enum ka_err io_kafka_reader_new(const struct io_kafka_config *config,
                                            bool read_committed, struct io_kafka_reader **reader,
                                            struct err_text *text);
void io_kafka_reader_free(struct io_kafka_reader **reader);
// Reads one more partition from `offset`; -2 = from the start, -1 = from the end: these two block
// for an answer of the cluster, at most a second.
KA_MUST_USE enum ka_err io_kafka_reader_add(struct io_kafka_reader *reader, const char *topic,
                                            int32_t partition, int64_t offset,
                                            struct err_text *text);
KA_MUST_USE enum ka_err io_kafka_reader_remove(struct io_kafka_reader *reader, const char *topic,
                                               int32_t partition, struct err_text *text);
// From now on `wake_fd`, an eventfd, is written (8 bytes, value 1) when something arrives.
void io_kafka_reader_wake(struct io_kafka_reader *reader, int wake_fd);
enum io_kafka_read {
    IO_KAFKA_READ_NOTHING,
    IO_KAFKA_READ_RECORD,
    IO_KAFKA_READ_END,
    IO_KAFKA_READ_ERROR
};
// The next record, or END with record.topic, partition and offset = the position at the end of a
// partition (markers included; the LSO for read_committed), or NOTHING after timeout_ms. Valid
// until the next call.
enum io_kafka_read io_kafka_reader_next(struct io_kafka_reader *reader, int timeout_ms,
                                        struct record *record, enum ka_err *error,
                                        struct err_text *text);

#endif
