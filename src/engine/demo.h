// SPDX-License-Identifier: Apache-2.0
// What kasaga dev runs on: the order configuration that is built into the binary, its plugin, its
// topics on the mock cluster or on a real Kafka, and the orders. Not for configurations of others:
// io/conf.h.
#ifndef KA_ENGINE_DEMO_H
#define KA_ENGINE_DEMO_H

#include "core/buf.h"
#include "io/conf.h"
#include "io/kafka_mock.h"

struct demo_options {
    const char *bootstrap; // outlives the configuration
    bool mock;             // it is librdkafka's mock cluster: at least once
    const char *app;       // NULL = as in the file; else "<app>.orders" is the topic of the orders
    int64_t fail_every;    // orders whose number is a multiple of it are refused; 0 = none
};

// The text of conf/order.conf with these options; KA_ERR_CONFIG when a place to put them is gone.
KA_MUST_USE enum ka_err demo_text(const struct demo_options *options, struct buf *text,
                                  struct err_text *error);
// The same, loaded. Looks for shop.so in KASAGA_PLUGINS, else where it stands beside the binary
// (plugins/, ../lib/kasaga/plugins/) and sets KASAGA_PLUGINS to that: before threads are started.
// KA_ERR_CONFIG also when there is none. The caller frees with io_conf_free.
KA_MUST_USE enum ka_err demo_config(const struct demo_options *options, struct config **config,
                                    struct err_text *error);

// Creates the topics on the mock cluster, or (mock NULL) on the cluster of the configuration, with
// the first offsets. Blocks.
KA_MUST_USE enum ka_err demo_topics(const struct config *config, struct io_kafka_mock *mock,
                                    struct err_text *error);

// The number of the first order: from 1001, such that the third one is the first to be refused.
int64_t demo_first(int64_t fail_every);
// Appends the order of this number, a JSON object: the same number is the same order.
void demo_order(int64_t number, struct buf *buf);

#endif
