// SPDX-License-Identifier: Apache-2.0
// librdkafka, part 5: its mock cluster, in this process; for kasaga dev and tests. It listens on
// 127.0.0.1, so other clients can use it too. It has no transactions, isolation, fencing, admin
// calls or disk, and keeps 5 MiB per partition: clients need config.at_least_once, and nothing that
// runs on it says anything about exactly-once.
#ifndef KA_IO_KAFKA_MOCK_H
#define KA_IO_KAFKA_MOCK_H

#include "io/kafka.h"

struct io_kafka_mock;

// One broker on a free port.
KA_MUST_USE enum ka_err io_kafka_mock_new(struct io_kafka_mock **mock, struct err_text *text);
// Before any client asks for the topic: an unknown one is created then, with 4 partitions.
KA_MUST_USE enum ka_err io_kafka_mock_topic(struct io_kafka_mock *mock, const char *topic,
                                            int32_t partitions, struct err_text *text);
// "127.0.0.1:12345"; lives as long as the cluster.
const char *io_kafka_mock_bootstrap(const struct io_kafka_mock *mock);
// Everything in it is gone. Its clients should be closed first (io_kafka_drain).
void io_kafka_mock_free(struct io_kafka_mock **mock);

#endif
