// SPDX-License-Identifier: Apache-2.0
// Reads one partition from an offset to an end that was asked for before. For the restorer and for
// commands; blocks. Not for following a topic: engine/catalog.h does that.
#ifndef KA_ENGINE_SCAN_H
#define KA_ENGINE_SCAN_H

#include "io/kafka_admin.h"

#include <stdatomic.h>

struct scan {
    const struct io_kafka_config *kafka;
    const char *topic;
    int32_t partition;
    int64_t from;
    int64_t end;             // high watermark
    const atomic_bool *stop; // true = KA_ERR_RETRY; NULL = never
    int stall_ms;            // without a record or the end for so long: KA_ERR_TIMEOUT
};

// The record is borrowed for the call. An error ends the scan.
typedef enum ka_err scan_take(void *context, const struct record *record, struct err_text *text);

// Committed records only, in order; waits for open transactions before the end. Nothing is read
// when from >= end.
KA_MUST_USE enum ka_err scan_records(const struct scan *scan, scan_take *take, void *context,
                                     struct err_text *text);

#endif
