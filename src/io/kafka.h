// SPDX-License-Identifier: Apache-2.0
// librdkafka, part 1: what all clients share. rdkafka.h is included by src/io/kafka*.c only
// (through io/kafka_int.h). Measured traps of 2.0.2 are named where the code avoids them.
#ifndef KA_IO_KAFKA_H
#define KA_IO_KAFKA_H

#include "core/err.h"
#include "core/record.h"

enum { IO_KAFKA_PROPERTIES_MAX = 64 };

// How to reach the cluster. Strings belong to the configuration and outlive every client. A zero
// or NULL field stands for its default; client_id has at most 63 bytes (2.0.2 crashes on long
// ones).
struct io_kafka_config {
    const char *bootstrap;
    const char *client_id;
    const char *const *property_names; // allow-listed pass-through
    const char *const *property_values;
    size_t property_count;
    int32_t session_timeout_ms;     // 6000 to 10000; default 6000
    int32_t max_poll_interval_ms;   // default 15000
    int32_t transaction_timeout_ms; // default 10000
    // Bounds of a client's memory. A record that waits costs librdkafka about 450 bytes beside its
    // own, one that is to be written about 250.
    int32_t queue_kbytes;   // records that a consumer or reader fetches ahead; 0 = 64 MiB
    int32_t queue_records;  // the same, counted; 0 = 100,000
    int32_t fetch_kbytes;   // at most in one answer to a reader; 0 = librdkafka's 1 MiB a partition
    int32_t answer_kbytes;  // at most in one answer over all partitions; 0 = as queue_kbytes
    int32_t produce_kbytes; // records that a producer has not yet written; 0 = 128 MiB
    // For kasaga dev on librdkafka's mock cluster, which has no transactions, no isolation and no
    // admin calls: see kafka_plain.c. Not for anything that promises exactly-once.
    bool at_least_once;
};

// The calls whose errors are told apart by the table of io_kafka_classify.
enum io_kafka_call {
    IO_KAFKA_INIT,
    IO_KAFKA_BEGIN,
    IO_KAFKA_PRODUCE,
    IO_KAFKA_DELIVERY, // error of a delivery report
    IO_KAFKA_FLUSH,
    IO_KAFKA_SEND_OFFSETS,
    IO_KAFKA_COMMIT,
    IO_KAFKA_ABORT,
    IO_KAFKA_CONSUME, // error of a consumer or of one of its partitions
    IO_KAFKA_ASK      // admin calls, metadata, watermarks
};

// The one place that turns librdkafka's errors into ours. `code` is an rd_kafka_resp_err_t; the
// flags are those of rd_kafka_error_t. KA_ERR_RETRY: the same call again. KA_ERR_ABORT: abort and
// replay. KA_ERR_UNCLEAR: never abort; reset the producer and ask for the token. KA_ERR_FENCED,
// KA_ERR_FATAL: reset the producer. Class POISON (TOO_LARGE, NOT_FOUND: no such topic or partition,
// NOT_ALLOWED: not authorized or refused by the topic's rules): this record. Neither flag set =
// reset. CONSUME: KA_ERR_DIVERGED is an offset out of range, KA_ERR_FATAL needs a new consumer.
struct io_kafka_failure {
    int code;
    bool fatal;
    bool abortable;
    bool retriable;
};
enum ka_err io_kafka_classify(enum io_kafka_call call, struct io_kafka_failure failure);

// "librdkafka 2.0.2"; valid on the calling thread.
const char *io_kafka_version(void);

// Clients are destroyed on threads of their own. Waits until all are gone; false if some still run
// after timeout_ms (they are logged). For the end of a process and for tests.
bool io_kafka_drain(int timeout_ms);

#endif
