// SPDX-License-Identifier: Apache-2.0
// What makes it hard: the cluster's thread sometimes sleeps through an order (create this topic)
// for a whole second, because it empties its pipe after it has looked into its queue. A connection
// wakes it up, so one is made now and then as long as an order waits.
#include "io/kafka_mock.h"

#include "io/clock.h"
#include "io/kafka_int.h"

#include <arpa/inet.h>
#include <librdkafka/rdkafka_mock.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { NUDGE_MS = 5 };

struct io_kafka_mock {
    rd_kafka_t *host; // the client whose threads the cluster runs on; it produces nothing
    rd_kafka_mock_cluster_t *cluster;
};

enum ka_err io_kafka_mock_new(struct io_kafka_mock **mock, struct err_text *text)
{
    struct io_kafka_mock *made = calloc(1, sizeof *made);
    if (made == NULL)
        return err_set(text, KA_ERR_NOMEM, "mock cluster");
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, NULL);
    enum ka_err err = io_kafka_handle_new(conf, IO_KAFKA_IDEMPOTENT, &made->host, text);
    if (err == KA_OK)
        made->cluster = rd_kafka_mock_cluster_new(made->host, 1);
    if (err == KA_OK && made->cluster == NULL)
        err = err_set(text, KA_ERR_IO, "no port to listen on");
    if (err != KA_OK) {
        io_kafka_mock_free(&made);
        return err_wrap(text, err, "mock cluster");
    }
    *mock = made;
    return KA_OK;
}

struct nudge {
    struct sockaddr_in address;
    atomic_bool done;
};

static void *nudge_main(void *argument)
{
    struct nudge *nudge = argument;
    for (clock_sleep_ms(NUDGE_MS); !atomic_load(&nudge->done); clock_sleep_ms(NUDGE_MS)) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
            continue;
        (void)connect(fd, (const struct sockaddr *)&nudge->address, sizeof nudge->address);
        close(fd);
    }
    return NULL;
}

static struct sockaddr_in address_of(const struct io_kafka_mock *mock)
{
    const char *colon = strrchr(io_kafka_mock_bootstrap(mock), ':');
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (colon != NULL)
        address.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    return address;
}

enum ka_err io_kafka_mock_topic(struct io_kafka_mock *mock, const char *topic, int32_t partitions,
                                struct err_text *text)
{
    pthread_t thread;
    struct nudge nudge = {.address = address_of(mock)};
    if (pthread_create(&thread, NULL, nudge_main, &nudge) != 0)
        abort();
    rd_kafka_resp_err_t code = rd_kafka_mock_topic_create(mock->cluster, topic, partitions, 1);
    atomic_store(&nudge.done, true);
    pthread_join(thread, NULL);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return KA_OK;
    return io_kafka_failed_code(IO_KAFKA_ASK, code, text, topic);
}

const char *io_kafka_mock_bootstrap(const struct io_kafka_mock *mock)
{
    return rd_kafka_mock_cluster_bootstraps(mock->cluster);
}

void io_kafka_mock_free(struct io_kafka_mock **mock)
{
    struct io_kafka_mock *gone = *mock;
    *mock = NULL;
    if (gone == NULL)
        return;
    if (gone->cluster != NULL)
        rd_kafka_mock_cluster_destroy(gone->cluster);
    if (gone->host != NULL)
        rd_kafka_destroy(gone->host);
    free(gone);
}
