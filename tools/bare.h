// SPDX-License-Identifier: Apache-2.0
// A bare librdkafka client, for tools that share no code with the engine they are compared with.
// Included behind the program's own die().
#ifndef KASAGA_TOOLS_BARE_H
#define KASAGA_TOOLS_BARE_H

#include <librdkafka/rdkafka.h>

static inline rd_kafka_t *client_of(rd_kafka_type_t type, const char *brokers,
                                    const char *const pairs[][2], size_t count)
{
    char text[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (brokers == NULL)
        die("bootstrap.servers", "missing");
    if (rd_kafka_conf_set(conf, "bootstrap.servers", brokers, text, sizeof text) != 0)
        die("bootstrap.servers", text);
    for (size_t i = 0; i < count; i++)
        if (rd_kafka_conf_set(conf, pairs[i][0], pairs[i][1], text, sizeof text) != 0)
            die(pairs[i][0], text);
    rd_kafka_t *rk = rd_kafka_new(type, conf, text, sizeof text);
    if (rk == NULL)
        die("client", text);
    return rk;
}

#endif
