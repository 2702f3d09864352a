// SPDX-License-Identifier: Apache-2.0
// The only member of a group, for a while: who wants to write what a lane writes (states, and the
// offset and metadata that go with them) while no worker runs. Being a member is the fence: when a
// worker joins, the group goes into another generation and our transaction cannot commit any more.
// Not for processing records. One thread.
#ifndef KA_ENGINE_STAND_IN_H
#define KA_ENGINE_STAND_IN_H

#include "io/kafka_consumer.h"
#include "io/kafka_producer.h"

struct stand_in;

// Joins and waits until every partition of the topic is assigned to us. KA_ERR_NOT_ALLOWED: others
// are members too; KA_ERR_TIMEOUT. `id` is the transactional id. The caller owns *stand_in.
KA_MUST_USE enum ka_err stand_in_join(const struct io_kafka_config *kafka, const char *group,
                                      const char *topic, int32_t partitions, const char *id,
                                      int timeout_ms, struct stand_in **stand_in,
                                      struct err_text *text);
void stand_in_leave(struct stand_in **stand_in);

// One transaction: begin, any number of writes, commit with one offset. *first is where the first
// write of the transaction stands (all go to one partition). After an error stand_in_abort, and
// nothing was written.
KA_MUST_USE enum ka_err stand_in_begin(struct stand_in *stand_in, struct err_text *text);
KA_MUST_USE enum ka_err stand_in_write(struct stand_in *stand_in, const struct output *output,
                                       struct err_text *text);
KA_MUST_USE enum ka_err stand_in_flush(struct stand_in *stand_in, int64_t *first,
                                       struct err_text *text);
KA_MUST_USE enum ka_err stand_in_commit(struct stand_in *stand_in,
                                        const struct io_kafka_offset *offset,
                                        struct err_text *text);
void stand_in_abort(struct stand_in *stand_in);

#endif
