// SPDX-License-Identifier: Apache-2.0
// librdkafka, part 2: producers. A transactional producer is used by two threads in turn (the
// lane's produces, the committer's flushes and commits), never at once; the caller hands over.
#ifndef KA_IO_KAFKA_PRODUCER_H
#define KA_IO_KAFKA_PRODUCER_H

#include "io/kafka.h"

struct io_kafka_producer;
struct io_kafka_group_metadata; // a snapshot of the membership, see kafka_consumer.h

// transactional_id NULL = a plain idempotent producer (CLI). Does not talk to the broker.
// With config->at_least_once the calls stay the same and mean less: init, begin and commit are
// local, abort drops what is still queued, and io_kafka_send_offsets commits the offsets itself.
KA_MUST_USE enum ka_err io_kafka_producer_new(const struct io_kafka_config *config,
                                              const char *transactional_id,
                                              struct io_kafka_producer **producer,
                                              struct err_text *text);
// Purges queue and flight, then destroys on a helper thread with a watchdog: returns at once. An
// open transaction stays open on the broker until somebody fences the id.
void io_kafka_producer_free(struct io_kafka_producer **producer);

// InitProducerId: fences whoever had the id and ends what it left open. Blocks up to timeout_ms.
// Uses the measured way round librdkafka's fixed 500 ms wait when a transaction is open (a first
// handle limited to 40 ms, then a second one): may replace the inner handle.
KA_MUST_USE enum ka_err io_kafka_producer_init(struct io_kafka_producer *producer, int timeout_ms,
                                               struct err_text *text);

// Asks for the metadata of the topics, so that the first record to each does not wait a second.
KA_MUST_USE enum ka_err io_kafka_producer_warm(struct io_kafka_producer *producer,
                                               const char *const *topics, size_t count,
                                               int timeout_ms, struct err_text *text);

KA_MUST_USE enum ka_err io_kafka_begin(struct io_kafka_producer *producer, struct err_text *text);

// Copies the output into the queue; never blocks longer than it takes to copy. KA_ERR_TOO_LARGE
// (also of a topic over the 4,096th of this producer: the record is refused),
// KA_ERR_LIMIT when the queue is full (serve with io_kafka_producer_poll and call again),
// KA_ERR_FATAL. `tag` >= 0 asks for the lowest and highest offset given to outputs of this tag
// (see io_kafka_flush); tags are small numbers: there is an array of them.
KA_MUST_USE enum ka_err io_kafka_produce(struct io_kafka_producer *producer,
                                         const struct output *output, int tag,
                                         struct err_text *text);
void io_kafka_producer_poll(struct io_kafka_producer *producer, int timeout_ms);

// What became of the outputs since begin. first/last are offsets of the tag's partition.
struct io_kafka_span {
    int tag;
    int64_t first;
    int64_t last;
    int64_t count;
};
struct io_kafka_delivery {
    int64_t delivered;
    int64_t failed;
    enum ka_err error;                 // class of the first failure, KA_OK if none
    struct slice failed_topic;         // valid until the next begin
    const struct io_kafka_span *spans; // valid until the next begin
    size_t span_count;
};
// Waits until every output is acknowledged or has failed. KA_ERR_TIMEOUT: call again.
KA_MUST_USE enum ka_err io_kafka_flush(struct io_kafka_producer *producer, int timeout_ms,
                                       struct io_kafka_delivery *delivery, struct err_text *text);

struct io_kafka_offset {
    struct slice topic;
    int32_t partition;
    int64_t offset; // next to read
    struct slice metadata;
};
// send_offsets_to_transaction with that membership. Retries retriable errors by itself until
// timeout_ms; see io_kafka_classify for what comes back.
KA_MUST_USE enum ka_err io_kafka_send_offsets(struct io_kafka_producer *producer,
                                              const struct io_kafka_offset *offsets, size_t count,
                                              const struct io_kafka_group_metadata *group,
                                              int timeout_ms, struct err_text *text);
KA_MUST_USE enum ka_err io_kafka_commit(struct io_kafka_producer *producer, int timeout_ms,
                                        struct err_text *text);
KA_MUST_USE enum ka_err io_kafka_abort(struct io_kafka_producer *producer, int timeout_ms,
                                       struct err_text *text);

// True when a response of AddOffsetsToTxn, TxnOffsetCommit or EndTxn since the last init carried
// an error or a connection was lost under it, although librdkafka retried it: reset before the
// next transaction (KAFKA-17754).
bool io_kafka_producer_dirty(const struct io_kafka_producer *producer);

// Plain producer: one record, waits for its acknowledgement. *offset may be NULL.
KA_MUST_USE enum ka_err io_kafka_produce_sync(struct io_kafka_producer *producer,
                                              const struct output *output, int timeout_ms,
                                              int64_t *offset, struct err_text *text);

#endif
