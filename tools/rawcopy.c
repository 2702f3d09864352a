// SPDX-License-Identifier: Apache-2.0
// The limit that a link is compared with, by bare librdkafka: a consumer and an idempotent
// producer, no transactions, no progress, no checks. And what both are measured with.
//
//   rawcopy copy    --from BROKERS --to BROKERS --topic T --count N [--bytes FETCH]
//   rawcopy watch   --to BROKERS --topic T --count N     how long the topic takes to grow to N
//   rawcopy latency --from BROKERS --to BROKERS --topic T --rate R --count N
//       from producing into the source to its being read there, and to being read in the target
// One JSON line is printed.
#include <getopt.h>
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { CALL_MS = 10000, QUIET_MS = 1500, STALL_MS = 60000 };

static struct {
    const char *from;
    const char *to;
    const char *topic;
    long count;
    long rate;
    const char *bytes;
} options = {.rate = 100, .bytes = "8388608"};

static void die(const char *what, const char *why)
{
    fprintf(stderr, "rawcopy: %s: %s\n", what, why);
    exit(1);
}
#include "bare.h"

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int32_t partitions_of(rd_kafka_t *rk)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, options.topic, NULL);
    if (rd_kafka_metadata(rk, 0, rkt, &metadata, CALL_MS) != 0)
        die(options.topic, "no metadata");
    int32_t count = metadata->topic_cnt > 0 ? metadata->topics[0].partition_cnt : 0;
    rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_destroy(rkt);
    return count;
}

static rd_kafka_t *reader_of(const char *brokers, int64_t offset)
{
    const char *const pairs[][2] = {{"group.id", "rawcopy"},
                                    {"enable.auto.commit", "false"},
                                    {"isolation.level", "read_committed"},
                                    {"fetch.wait.max.ms", "100"},
                                    {"socket.nagle.disable", "true"},
                                    {"fetch.message.max.bytes", options.bytes},
                                    {"fetch.max.bytes", options.bytes}};
    rd_kafka_t *rk = client_of(RD_KAFKA_CONSUMER, brokers, pairs, 7);
    rd_kafka_poll_set_consumer(rk);
    int32_t partitions = partitions_of(rk);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
    for (int32_t p = 0; p < partitions; p++)
        rd_kafka_topic_partition_list_add(list, options.topic, p)->offset = offset;
    rd_kafka_assign(rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    return rk;
}

static void copy_one(rd_kafka_t *producer, rd_kafka_topic_t *rkt, const rd_kafka_message_t *from)
{
    rd_kafka_headers_t *headers = NULL;
    if (rd_kafka_message_headers(from, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR)
        headers = rd_kafka_headers_copy(headers);
    for (;;) {
        rd_kafka_vu_t parts[] = {
            {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = rkt},
            {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = from->partition},
            {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
            {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {from->key, from->key_len}},
            {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {from->payload, from->len}},
            {.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = rd_kafka_message_timestamp(from, NULL)},
            {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
        };
        rd_kafka_error_t *error = rd_kafka_produceva(producer, parts, 7);
        if (error == NULL)
            return;
        if (rd_kafka_error_code(error) != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            die("produce", rd_kafka_error_string(error));
        rd_kafka_error_destroy(error);
        rd_kafka_poll(producer, 10);
    }
}

static int copy(void)
{
    const char *const pairs[][2] = {{"enable.idempotence", "true"},
                                    {"linger.ms", "5"},
                                    {"socket.nagle.disable", "true"},
                                    {"queue.buffering.max.kbytes", "32768"}};
    rd_kafka_t *producer = client_of(RD_KAFKA_PRODUCER, options.to, pairs, 4);
    rd_kafka_topic_t *rkt = rd_kafka_topic_new(producer, options.topic, NULL);
    rd_kafka_t *consumer = reader_of(options.from, RD_KAFKA_OFFSET_BEGINNING);
    int64_t first_us = 0, bytes = 0;
    for (long n = 0; n < options.count;) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, STALL_MS);
        if (message == NULL)
            die("consume", "nothing comes");
        if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            if (n++ == 0)
                first_us = now_us();
            bytes += (int64_t)(message->len + message->key_len);
            copy_one(producer, rkt, message);
        }
        rd_kafka_message_destroy(message);
        rd_kafka_poll(producer, 0);
    }
    if (rd_kafka_flush(producer, STALL_MS) != 0)
        die("flush", "not everything was taken");
    int64_t ms = (now_us() - first_us) / 1000;
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                 (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    printf("{\"records\":%ld,\"bytes\":%lld,\"ms\":%lld,\"cpu_s\":%.2f,\"rss_kb\":%ld}\n",
           options.count, (long long)bytes, (long long)ms, cpu, used.ru_maxrss);
    return 0;
}

// Markers of transactions are offsets too: it has ended when it has N and rests.
static int watch(void)
{
    rd_kafka_t *rk = client_of(RD_KAFKA_PRODUCER, options.to, NULL, 0);
    int64_t first_us = 0, changed_us = now_us(), before = -1;
    for (;;) {
        int64_t sum = 0, low, high;
        int32_t partitions = partitions_of(rk);
        for (int32_t p = 0; p < partitions; p++)
            if (rd_kafka_query_watermark_offsets(rk, options.topic, p, &low, &high, CALL_MS) == 0)
                sum += high;
        if (sum != before)
            changed_us = now_us();
        if (sum > 0 && first_us == 0)
            first_us = now_us();
        before = sum;
        if (sum >= options.count && now_us() - changed_us > QUIET_MS * 1000)
            break;
        if (now_us() - changed_us > STALL_MS * 1000)
            die("watch", "it does not grow");
        const struct timespec nap = {.tv_nsec = 50 * 1000000};
        nanosleep(&nap, NULL);
    }
    printf("{\"records\":%ld,\"ms\":%lld}\n", options.count,
           (long long)(changed_us - first_us) / 1000);
    return 0;
}

// ---- Latency

struct side {
    const char *brokers;
    int64_t *took_us;
    long count;
    volatile bool ready;
};

static void *read_side(void *argument)
{
    struct side *side = argument;
    rd_kafka_t *rk = reader_of(side->brokers, RD_KAFKA_OFFSET_END);
    int64_t until = now_us() + (int64_t)STALL_MS * 1000 + options.count * 1000000 / options.rate;
    int64_t ready = now_us() + 1500000;
    while (side->count < options.count && now_us() < until) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(rk, 20);
        side->ready = side->ready || now_us() > ready;
        if (message != NULL && message->err == 0 && message->len == sizeof(int64_t)) {
            int64_t sent;
            memcpy(&sent, message->payload, sizeof sent);
            side->took_us[side->count++] = now_us() - sent;
        }
        if (message != NULL)
            rd_kafka_message_destroy(message);
    }
    return NULL;
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double at(const struct side *side, int percent)
{
    return side->count == 0 ? -1
                            : (double)side->took_us[(side->count - 1) * percent / 100] / 1000.0;
}

static int latency(void)
{
    const char *const pairs[][2] = {{"linger.ms", "0"}, {"socket.nagle.disable", "true"}};
    rd_kafka_t *producer = client_of(RD_KAFKA_PRODUCER, options.from, pairs, 2);
    rd_kafka_topic_t *rkt = rd_kafka_topic_new(producer, options.topic, NULL);
    struct side sides[2] = {{.brokers = options.from}, {.brokers = options.to}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        sides[i].took_us = calloc((size_t)options.count, sizeof(int64_t));
        pthread_create(&threads[i], NULL, read_side, &sides[i]);
    }
    while (!sides[0].ready || !sides[1].ready)
        rd_kafka_poll(producer, 50);
    int64_t begun = now_us();
    for (long n = 0; n < options.count; n++) {
        while (now_us() < begun + n * 1000000 / options.rate)
            rd_kafka_poll(producer, 1);
        int64_t sent = now_us();
        rd_kafka_produce(rkt, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, &sent, sizeof sent, NULL,
                         0, NULL);
    }
    rd_kafka_flush(producer, CALL_MS);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        qsort(sides[i].took_us, (size_t)sides[i].count, sizeof(int64_t), by_size);
    }
    printf("{\"there\":{\"count\":%ld,\"p50_ms\":%.1f,\"p99_ms\":%.1f},"
           "\"here\":{\"count\":%ld,\"p50_ms\":%.1f,\"p99_ms\":%.1f}}\n",
           sides[0].count, at(&sides[0], 50), at(&sides[0], 99), sides[1].count, at(&sides[1], 50),
           at(&sides[1], 99));
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option names[] = {{"from", 1, NULL, 'f'},  {"to", 1, NULL, 't'},
                                          {"topic", 1, NULL, 'n'}, {"count", 1, NULL, 'c'},
                                          {"rate", 1, NULL, 'r'},  {"bytes", 1, NULL, 'b'},
                                          {NULL, 0, NULL, 0}};
    const char *verb = argc > 1 ? argv[1] : "";
    int option;
    optind = 2;
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (option) {
        case 'f':
            options.from = optarg;
            break;
        case 't':
            options.to = optarg;
            break;
        case 'n':
            options.topic = optarg;
            break;
        case 'c':
            options.count = strtol(optarg, NULL, 10);
            break;
        case 'r':
            options.rate = strtol(optarg, NULL, 10);
            break;
        case 'b':
            options.bytes = optarg;
            break;
        default:
            return 2;
        }
    }
    if (options.topic == NULL || options.count <= 0)
        die("usage", "rawcopy copy|watch|latency --topic T --count N …");
    if (strcmp(verb, "copy") == 0)
        return copy();
    if (strcmp(verb, "watch") == 0)
        return watch();
    if (strcmp(verb, "latency") == 0)
        return latency();
    die("usage", "rawcopy copy|watch|latency …");
    return 2;
}
