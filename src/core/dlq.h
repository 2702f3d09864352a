// SPDX-License-Identifier: Apache-2.0
// Records that nothing can be done with, as records of <app>.dlq: key, value and headers byte for
// byte, plus where they came from and why. The header names are those of Kafka Connect's dead
// letter queues (KIP-298), so tools for those can read them.
#ifndef KA_CORE_DLQ_H
#define KA_CORE_DLQ_H

#include "core/arena.h"
#include "core/err.h"
#include "core/record.h"

struct dlq_context {
    struct slice topic; // "<app>.dlq"
    int32_t partitions;
    size_t record_max; // a larger value is cut, header kasaga_truncated gives its length
    const char *node;
};

// __connect.errors.topic, .partition, .offset, .exception.class.name (the error's name),
// .exception.message, .stage ("record"), .task.id (the node); kasaga_error repeats the name.
void dlq_output(const struct dlq_context *context, const struct record *record, enum ka_err error,
                const struct err_text *text, struct arena *arena, struct output *output);

#endif
