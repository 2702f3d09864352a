// SPDX-License-Identifier: Apache-2.0
// What an observer says who knows nothing of links: fills topics with records of every kind, and
// compares a topic with its copy in another cluster.
//
//   checklink fill --to BROKERS --topic T --count N [--mark M] [--first I] [--rate N]
//   [--transactions]
//       keys and values null, empty and not, headers (twice the same name, null), times of their
//       own. Every record has a header mark=M and, in its value, a number.
//   checklink compare --from BROKERS --topic T --to BROKERS [--as T2] [--mark M] [--wait S]
//       [--expect N]
//       the sequences of (key, value, headers, time) of each partition, read_committed; of records
//       with mark=M only, if given. The header kasaga-origin is left out. Equal within S seconds,
//       and still a second later, or exit 1 with the first difference.
// One JSON line is printed.
#include <errno.h>
#include <getopt.h>
#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CALL_MS = 10000, PARTITIONS_MAX = 1024, SETTLE_MS = 1000, BATCH = 500 };

static struct {
    const char *from;
    const char *to;
    const char *topic;
    const char *as;
    const char *mark;
    long count;
    long first;
    long rate;
    long wait_s;
    long expect;
    bool transactions;
} options = {.first = 0, .wait_s = 30, .expect = -1};

static void die(const char *what, const char *why)
{
    fprintf(stderr, "checklink: %s: %s\n", what, why);
    exit(2);
}
#include "bare.h"

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// ---- Fill

static void must(rd_kafka_error_t *error, const char *what)
{
    if (error != NULL)
        die(what, rd_kafka_error_string(error));
}

static void produce(rd_kafka_topic_t *rkt, rd_kafka_t *rk, long n)
{
    char key[32], value[256];
    int key_len = snprintf(key, sizeof key, "k%ld", n % 101);
    int value_len = snprintf(value, sizeof value, "%s:%ld:%0*d", options.mark, n, (int)(n % 97), 0);
    rd_kafka_headers_t *headers = rd_kafka_headers_new(4);
    rd_kafka_header_add(headers, "mark", -1, options.mark, -1);
    if (n % 3 == 0) {
        rd_kafka_header_add(headers, "twice", -1, "a", 1);
        rd_kafka_header_add(headers, "twice", -1, "b", 1);
    }
    if (n % 7 == 0)
        rd_kafka_header_add(headers, "null", -1, NULL, 0);
    bool null_key = n % 11 == 0, null_value = n % 13 == 0, empty_value = n % 17 == 0;
    const rd_kafka_vu_t parts[] = {
        {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = rkt},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = RD_KAFKA_PARTITION_UA},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {null_key ? NULL : key, (size_t)key_len}},
        {.vtype = RD_KAFKA_VTYPE_VALUE,
         .u.mem = {null_value ? NULL : value, empty_value ? 0 : (size_t)value_len}},
        {.vtype = RD_KAFKA_VTYPE_TIMESTAMP,
         .u.i64 = ((int64_t)time(NULL) - 3600) * 1000 + n % 1000},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
    };
    for (;;) {
        size_t used = sizeof parts / sizeof parts[0];
        rd_kafka_vu_t copy[sizeof parts / sizeof parts[0]];
        memcpy(copy, parts, sizeof parts);
        if (null_key)
            copy[3].u.mem.size = 0;
        if (null_value)
            copy[4].u.mem.size = 0;
        rd_kafka_error_t *error = rd_kafka_produceva(rk, copy, used);
        if (error == NULL)
            return;
        if (rd_kafka_error_code(error) != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            die("produce", rd_kafka_error_string(error));
        rd_kafka_error_destroy(error);
        rd_kafka_poll(rk, 20);
    }
}

static int fill(void)
{
    char id[64];
    snprintf(id, sizeof id, "checklink-%ld", (long)time(NULL) ^ (long)(uintptr_t)&id);
    const char *const pairs[][2] = {{"enable.idempotence", "true"},
                                    {"linger.ms", "5"},
                                    {"partitioner", "murmur2_random"},
                                    {"transactional.id", id}};
    rd_kafka_t *rk = client_of(RD_KAFKA_PRODUCER, options.to, pairs, options.transactions ? 4 : 3);
    rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, options.topic, NULL);
    if (options.transactions)
        must(rd_kafka_init_transactions(rk, CALL_MS), "init");
    int64_t begun = now_ms();
    for (long n = 0; n < options.count; n++) {
        if (options.transactions && n % BATCH == 0)
            must(rd_kafka_begin_transaction(rk), "begin");
        produce(rkt, rk, options.first + n);
        if (options.transactions && ((n + 1) % BATCH == 0 || n + 1 == options.count)) {
            // One in five is taken back, and written again.
            bool back = (n / BATCH) % 5 == 4;
            if (back) { // the broker must have had them, else there is nothing to take back
                rd_kafka_flush(rk, CALL_MS);
                must(rd_kafka_abort_transaction(rk, CALL_MS), "abort");
                must(rd_kafka_begin_transaction(rk), "begin");
                for (long again = n - n % BATCH; again <= n; again++)
                    produce(rkt, rk, options.first + again);
            }
            must(rd_kafka_commit_transaction(rk, CALL_MS), "commit");
        }
        if (options.rate > 0 && n % 50 == 49) {
            int64_t due = begun + n * 1000 / options.rate;
            while (now_ms() < due)
                rd_kafka_poll(rk, 1);
        }
        rd_kafka_poll(rk, 0);
    }
    if (rd_kafka_flush(rk, 60000) != 0)
        die("flush", "not everything was taken");
    printf("{\"filled\":%ld,\"ms\":%lld}\n", options.count, (long long)(now_ms() - begun));
    rd_kafka_topic_destroy(rkt);
    rd_kafka_destroy(rk);
    return 0;
}

// ---- Compare

struct line {
    uint64_t hash;
    int64_t offset;
};
struct side {
    const char *brokers;
    const char *topic;
    rd_kafka_t *rk;
    int32_t partitions;
    struct line *lines[PARTITIONS_MAX];
    size_t counts[PARTITIONS_MAX];
    size_t caps[PARTITIONS_MAX];
    bool ended[PARTITIONS_MAX];
    long total;
};

static uint64_t fold(uint64_t hash, const void *bytes, size_t len, bool null)
{
    const unsigned char *at = bytes;
    hash = (hash ^ (null ? 0x9E37 : len + 1)) * 1099511628211ULL;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ at[i]) * 1099511628211ULL;
    return hash ^ hash >> 29;
}

static bool hash_of(const rd_kafka_message_t *message, uint64_t *hash)
{
    rd_kafka_headers_t *headers = NULL;
    bool marked = options.mark == NULL;
    int64_t when = rd_kafka_message_timestamp(message, NULL);
    *hash = fold(1469598103934665603ULL, message->key, message->key_len, message->key == NULL);
    *hash = fold(*hash, message->payload, message->len, message->payload == NULL);
    *hash = fold(*hash, &when, sizeof when, false);
    if (rd_kafka_message_headers(message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return marked;
    const char *name;
    const void *value;
    size_t len;
    for (size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &len) == 0; i++) {
        if (strcmp(name, "kasaga-origin") == 0)
            continue;
        if (options.mark != NULL && strcmp(name, "mark") == 0 && len == strlen(options.mark) &&
            memcmp(value, options.mark, len) == 0)
            marked = true;
        *hash = fold(*hash, name, strlen(name), false);
        *hash = fold(*hash, value, len, value == NULL);
    }
    return marked;
}

static void add_line(struct side *side, const rd_kafka_message_t *message)
{
    uint64_t hash;
    int32_t p = message->partition;
    if (!hash_of(message, &hash))
        return;
    if (side->counts[p] == side->caps[p]) {
        side->caps[p] = side->caps[p] == 0 ? 1024 : side->caps[p] * 2;
        side->lines[p] = realloc(side->lines[p], side->caps[p] * sizeof *side->lines[p]);
        if (side->lines[p] == NULL)
            die("memory", "none left");
    }
    side->lines[p][side->counts[p]++] = (struct line){hash, message->offset};
    side->total++;
}

static bool open_side(struct side *side)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_topic_t *rkt = rd_kafka_topic_new(side->rk, side->topic, NULL);
    rd_kafka_resp_err_t err = rd_kafka_metadata(side->rk, 0, rkt, &metadata, CALL_MS);
    rd_kafka_topic_destroy(rkt);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
        return false;
    int32_t found = metadata->topic_cnt > 0 ? metadata->topics[0].partition_cnt : 0;
    rd_kafka_metadata_destroy(metadata);
    if (found == 0 || found > PARTITIONS_MAX)
        return false;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(found);
    for (int32_t p = 0; p < found; p++)
        rd_kafka_topic_partition_list_add(list, side->topic, p)->offset = RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_assign(side->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    side->partitions = found;
    return true;
}

static void init_side(struct side *side)
{
    const char *const pairs[][2] = {{"group.id", "checklink"},
                                    {"enable.auto.commit", "false"},
                                    {"enable.partition.eof", "true"},
                                    {"isolation.level", "read_committed"},
                                    {"allow.auto.create.topics", "false"}};
    side->rk = client_of(RD_KAFKA_CONSUMER, side->brokers, pairs, 5);
    rd_kafka_poll_set_consumer(side->rk);
}

// Takes what is there; true when every partition was read to an end.
static bool read_side(struct side *side, int64_t until)
{
    if (side->partitions == 0 && !open_side(side))
        return false;
    for (;;) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(side->rk, 50);
        bool quiet = message == NULL;
        if (message != NULL) {
            if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
                side->ended[message->partition] = true;
            else if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
                add_line(side, message);
            rd_kafka_message_destroy(message);
        }
        bool all = true;
        for (int32_t p = 0; p < side->partitions; p++)
            all = all && side->ended[p];
        if ((all && quiet) || now_ms() > until)
            return all;
    }
}

static bool differ(const struct side *a, const struct side *b, char *why, size_t size)
{
    int32_t most = a->partitions > b->partitions ? a->partitions : b->partitions;
    for (int32_t p = 0; p < most; p++) {
        size_t shorter = a->counts[p] < b->counts[p] ? a->counts[p] : b->counts[p];
        for (size_t i = 0; i < shorter; i++) {
            if (a->lines[p][i].hash == b->lines[p][i].hash)
                continue;
            snprintf(why, size,
                     "partition %d: record %zu is another one: offset %lld there, %lld here", p, i,
                     (long long)a->lines[p][i].offset, (long long)b->lines[p][i].offset);
            return true;
        }
        if (a->counts[p] != b->counts[p]) {
            snprintf(why, size, "partition %d: %zu records there, %zu here", p, a->counts[p],
                     b->counts[p]);
            return true;
        }
    }
    return false;
}

static int compare(void)
{
    static struct side source, target;
    char why[200] = "";
    int64_t until = now_ms() + options.wait_s * 1000;
    source = (struct side){.brokers = options.from, .topic = options.topic};
    target = (struct side){.brokers = options.to,
                           .topic = options.as == NULL ? options.topic : options.as};
    init_side(&source);
    init_side(&target);
    bool equal = false;
    do {
        bool whole = read_side(&source, until) && read_side(&target, until);
        equal = whole && (options.expect < 0 || source.total == options.expect) &&
                !differ(&source, &target, why, sizeof why);
    } while (!equal && now_ms() < until);
    for (int64_t end = now_ms() + SETTLE_MS; equal && now_ms() < end;) {
        (void)read_side(&source, end);
        (void)read_side(&target, end);
    }
    bool unequal = differ(&source, &target, why, sizeof why);
    if (options.expect >= 0 && source.total != options.expect) {
        snprintf(why, sizeof why, "%ld records there, %ld were expected", source.total,
                 options.expect);
        unequal = true;
    }
    if (source.partitions == 0 || target.partitions == 0) {
        snprintf(why, sizeof why, "a topic does not exist");
        unequal = true;
    }
    printf("{\"equal\":%s,\"source\":%ld,\"target\":%ld,\"partitions\":%d,\"why\":\"%s\"}\n",
           unequal ? "false" : "true", source.total, target.total, target.partitions,
           unequal ? why : "");
    rd_kafka_destroy(source.rk);
    rd_kafka_destroy(target.rk);
    return unequal ? 1 : 0;
}

static long number(const char *text)
{
    char *end;
    long value = strtol(text, &end, 10);
    if (*end != '\0')
        die(text, "is not a number");
    return value;
}

int main(int argc, char **argv)
{
    static const struct option names[] = {
        {"from", 1, NULL, 'f'},   {"to", 1, NULL, 't'},           {"topic", 1, NULL, 'n'},
        {"as", 1, NULL, 'a'},     {"mark", 1, NULL, 'm'},         {"count", 1, NULL, 'c'},
        {"first", 1, NULL, 'i'},  {"rate", 1, NULL, 'r'},         {"wait", 1, NULL, 'w'},
        {"expect", 1, NULL, 'e'}, {"transactions", 0, NULL, 'x'}, {NULL, 0, NULL, 0}};
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
        case 'a':
            options.as = optarg;
            break;
        case 'm':
            options.mark = optarg;
            break;
        case 'c':
            options.count = number(optarg);
            break;
        case 'i':
            options.first = number(optarg);
            break;
        case 'r':
            options.rate = number(optarg);
            break;
        case 'w':
            options.wait_s = number(optarg);
            break;
        case 'e':
            options.expect = number(optarg);
            break;
        case 'x':
            options.transactions = true;
            break;
        default:
            return 2;
        }
    }
    if (options.topic == NULL || options.to == NULL)
        die("usage", "checklink fill|compare --topic T --to BROKERS …");
    if (strcmp(verb, "fill") == 0) {
        if (options.mark == NULL)
            options.mark = "m";
        return fill();
    }
    if (strcmp(verb, "compare") != 0 || options.from == NULL)
        die("usage", "checklink fill|compare --topic T --from BROKERS --to BROKERS …");
    return compare();
}
