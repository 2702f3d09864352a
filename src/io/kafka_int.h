// SPDX-License-Identifier: Apache-2.0
// What the parts of the Kafka client share. Included by src/io/kafka*.c only.
#ifndef KA_IO_KAFKA_INT_H
#define KA_IO_KAFKA_INT_H

#include "io/kafka.h"

#include <librdkafka/rdkafka.h>
#include <stdatomic.h>

enum io_kafka_role {
    IO_KAFKA_TRANSACTIONAL,
    IO_KAFKA_IDEMPOTENT,
    IO_KAFKA_GROUP,           // a lane's consumer
    IO_KAFKA_READ_COMMITTED,  // readers outside of any group
    IO_KAFKA_READ_UNCOMMITTED // the same, and the admin handle
};

// The configuration of a role: defaults, then the user's properties, then what kasaga's promises
// rest on. NULL and KA_ERR_CONFIG in *error when a property is refused. The caller owns it until
// io_kafka_handle_new.
rd_kafka_conf_t *io_kafka_conf_new(const struct io_kafka_config *config, enum io_kafka_role role,
                                   enum ka_err *error, struct err_text *text);
KA_MUST_USE enum ka_err io_kafka_conf_set(rd_kafka_conf_t *conf, const char *name,
                                          const char *value, struct err_text *text);
// Takes the configuration, also when it fails.
KA_MUST_USE enum ka_err io_kafka_handle_new(rd_kafka_conf_t *conf, enum io_kafka_role role,
                                            rd_kafka_t **rk, struct err_text *text);

// Classifies and frees `error`; the detail becomes "what: librdkafka's text (code)".
enum ka_err io_kafka_failed(enum io_kafka_call call, rd_kafka_error_t *error, struct err_text *text,
                            const char *what);
// The same for a bare code.
enum ka_err io_kafka_failed_code(enum io_kafka_call call, rd_kafka_resp_err_t code,
                                 struct err_text *text, const char *what);

// Runs `destroy(object)` on a thread of its own, because librdkafka's close and destroy can hang.
// Waits for it up to timeout_ms; true if it is done. Later io_kafka_drain knows of it.
bool io_kafka_reap(void (*destroy)(void *object), void *object, const char *name, int timeout_ms);

// Lets the client's fetchers look at its queue again whenever a quarter of it was taken.
// Before 2.2.0 one that has found the queue full sleeps for up to a second, unless something else
// wakes it.
struct io_kafka_waker {
    const char *username; // as configured
    const char *password;
    size_t quarter_bytes;
    size_t quarter_records;
    size_t bytes; // taken since
    size_t records;
};
void io_kafka_waker_init(struct io_kafka_waker *waker, const struct io_kafka_config *config);
// Cheap, never blocks.
void io_kafka_waker_taken(struct io_kafka_waker *waker, rd_kafka_t *rk, size_t bytes);

// The headers of the record at hand; grows and is reused.
struct io_kafka_headers {
    struct header *items;
    size_t cap;
};
// Fills the record from a message that it then borrows from.
void io_kafka_record_set(struct record *record, const rd_kafka_message_t *message,
                         struct io_kafka_headers *headers);

// At least once (kafka_plain.c): the consumer's handle, through which the committer's thread
// commits offsets. It lives until the last of them has dropped it.
struct io_kafka_shared {
    rd_kafka_t *rk;
    atomic_int holders;
};
struct io_kafka_shared *io_kafka_shared_new(rd_kafka_t *rk); // the caller is the first holder
struct io_kafka_shared *io_kafka_shared_keep(struct io_kafka_shared *shared);
void io_kafka_shared_drop(struct io_kafka_shared **shared); // NULL is fine
// OffsetCommit as a member of the group, with its answer. KA_ERR_ABORT whatever went wrong.
KA_MUST_USE enum ka_err io_kafka_plain_commit(struct io_kafka_shared *shared,
                                              const rd_kafka_topic_partition_list_t *list,
                                              int timeout_ms, struct err_text *text);

// Handles that have a group id and never join, for questions about the group's offsets: one of each
// isolation level per group that is asked about (read_committed = stable offsets only).
struct io_kafka_groups;
struct io_kafka_groups *io_kafka_groups_new(const struct io_kafka_config *config);
void io_kafka_groups_free(struct io_kafka_groups **groups);
// Any thread; the handle is borrowed.
KA_MUST_USE enum ka_err io_kafka_groups_lookup(struct io_kafka_groups *groups, const char *group,
                                               bool stable, rd_kafka_t **rk, struct err_text *text);

struct io_kafka_group_metadata {
    rd_kafka_consumer_group_metadata_t *group;
    struct io_kafka_shared *shared; // at least once: where to commit; else NULL
    int32_t generation;
    bool member; // the member id is not empty
};
// What a serialised membership says; false if the form is not a known one.
bool io_kafka_group_parse(struct slice bytes, int32_t *generation, bool *member);

// `ms` for rd_kafka_seek_partitions, whose timeout counts 1000 times too fast before 2.1.0.
static inline int io_kafka_seek_timeout(int ms)
{
    return rd_kafka_version() < 0x02010000 ? ms * 1000 : ms;
}

#endif
