// SPDX-License-Identifier: Apache-2.0
// Orders for the order saga, and how long they take. Records are spread over the partitions by
// CRC-32 of the customer: a partitioner that is not kasaga's, as users have them.
//
//   loadgen --topic orders --count 300000                          fills a topic
//   loadgen --topic orders --app shop --rate 2000 --count 20000    and measures each order, from
//   the
//                                        moment it was due to its end being visible in the history
//   loadgen --topic orders --app shop --lone 100                   the next one after the last
//   ended loadgen --topic orders --app shop --drain                      produces nothing: waits
//   until all
//                                        that is there has been worked off, and says how fast it
//                                        was
// One JSON line is printed.
#include <errno.h>
#include <getopt.h>
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { REQUEST_MS = 15000, NAME_MAX_BYTES = 256, PARTITIONS_MAX = 1024 };

static struct {
    const char *bootstrap;
    const char *topic;
    const char *app;
    long rate; // per second; 0 = as fast as it goes
    long count;
    long bytes;
    long start_id;
    long lone;
    long warmup_s; // orders of the first seconds are not counted
    long wait_s;   // for the ends
    bool ce;
    bool drain;
} options = {.topic = "orders", .count = 1000, .bytes = 200, .start_id = 1, .wait_s = 60};

static int64_t *sent_us; // by number
static int64_t *ended_us;
static atomic_long ended;
static atomic_long compensated;
static atomic_bool stop;
static atomic_int reader_state; // 1 = it reads

static void die(const char *what, const char *why)
{
    fprintf(stderr, "loadgen: %s: %s\n", what, why);
    exit(1);
}

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void nap_us(long us)
{
    const struct timespec nap = {.tv_nsec = us * 1000};
    nanosleep(&nap, NULL);
}

// --- Clients

static rd_kafka_t *client_of(rd_kafka_type_t type, const char *const pairs[][2], size_t count,
                             void (*report)(rd_kafka_t *, const rd_kafka_message_t *, void *))
{
    char text[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    for (size_t i = 0; i < count; i++)
        if (rd_kafka_conf_set(conf, pairs[i][0], pairs[i][1], text, sizeof text) !=
            RD_KAFKA_CONF_OK)
            die(pairs[i][0], text);
    if (report != NULL)
        rd_kafka_conf_set_dr_msg_cb(conf, report);
    rd_kafka_t *client = rd_kafka_new(type, conf, text, sizeof text);
    if (client == NULL)
        die("client", text);
    return client;
}

static void delivered(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque)
{
    (void)client, (void)opaque;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
        die("delivery", rd_kafka_err2str(message->err));
}

static rd_kafka_t *producer(void)
{
    const char *const pairs[][2] = {
        {"bootstrap.servers", options.bootstrap},
        {"linger.ms", options.lone > 0 ? "0.5" : "5"}, // 5: what Java's producer has by default
        {"partitioner", "consistent_random"},
        {"socket.nagle.disable", "true"},
        {"queue.buffering.max.messages", "1000000"},
        {"acks", "all"},
    };
    return client_of(RD_KAFKA_PRODUCER, pairs, sizeof pairs / sizeof *pairs, delivered);
}

static rd_kafka_t *consumer(void)
{
    const char *const pairs[][2] = {
        {"bootstrap.servers", options.bootstrap}, {"group.id", "kasaga-loadgen"},
        {"isolation.level", "read_committed"},    {"enable.auto.commit", "false"},
        {"enable.partition.eof", "true"},         {"auto.offset.reset", "earliest"},
        {"fetch.error.backoff.ms", "20"},         {"socket.nagle.disable", "true"},
    };
    rd_kafka_t *client = client_of(RD_KAFKA_CONSUMER, pairs, sizeof pairs / sizeof *pairs, NULL);
    rd_kafka_poll_set_consumer(client);
    return client;
}

static int partitions_of(rd_kafka_t *client, const char *name)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(client, name, NULL);
    rd_kafka_resp_err_t err = rd_kafka_metadata(client, 0, topic, &metadata, REQUEST_MS);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
        die(name, rd_kafka_err2str(err));
    int count = metadata->topics[0].partition_cnt;
    rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_destroy(topic);
    if (count < 1 || count > PARTITIONS_MAX)
        die(name, "no such topic");
    return count;
}

static int64_t end_of(rd_kafka_t *client, const char *topic, int partition)
{
    int64_t low, high;
    rd_kafka_resp_err_t err =
        rd_kafka_query_watermark_offsets(client, topic, partition, &low, &high, REQUEST_MS);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
        die(topic, rd_kafka_err2str(err));
    return high;
}

// --- Orders

static rd_kafka_headers_t *cloud_event(long number)
{
    char id[32];
    rd_kafka_headers_t *headers = rd_kafka_headers_new(5);
    snprintf(id, sizeof id, "load-%ld", number);
    rd_kafka_header_add(headers, "ce_specversion", -1, "1.0", -1);
    rd_kafka_header_add(headers, "ce_id", -1, id, -1);
    rd_kafka_header_add(headers, "ce_source", -1, "/loadgen", -1);
    rd_kafka_header_add(headers, "ce_type", -1, "order.placed", -1);
    rd_kafka_header_add(headers, "content-type", -1, "application/json", -1);
    return headers;
}

static void place_order(rd_kafka_t *client, rd_kafka_topic_t *topic, long number)
{
    static char json[65536];
    char customer[32];
    unsigned long mixed = (unsigned long)number * 2654435761u >> 7;
    int key_len = snprintf(customer, sizeof customer, "c%lu", mixed % 100000);
    int len = snprintf(json, sizeof json,
                       "{\"order_id\":\"o-%ld\",\"customer\":\"%s\",\"sku\":\"sku-%lu\","
                       "\"quantity\":%lu,\"total\":%lu,\"note\":\"",
                       number, customer, mixed % 31, 1 + mixed % 3, 10 + mixed % 90);
    for (; len < options.bytes - 2; len++)
        json[len] = (char)('a' + len % 26);
    json[len++] = '"';
    json[len++] = '}';
    rd_kafka_vu_t fields[] = {
        {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = topic},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {customer, (size_t)key_len}},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {json, (size_t)len}},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = NULL},
    };
    size_t count = sizeof fields / sizeof *fields - (options.ce ? 0 : 1);
    if (options.ce)
        fields[4].u.headers = cloud_event(number);
    for (;;) {
        rd_kafka_error_t *error = rd_kafka_produceva(client, fields, count);
        if (error == NULL)
            return;
        if (rd_kafka_error_code(error) != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            die("produce", rd_kafka_error_string(error));
        rd_kafka_error_destroy(error);
        rd_kafka_poll(client, 1);
    }
}

// Orders are due at fixed times; one that the generator is late with counts from when it was due,
// or a stall would hide itself.
static void produce_all(rd_kafka_t *client, rd_kafka_topic_t *topic)
{
    int64_t began = now_us();
    for (long i = 0; i < options.count; i++) {
        int64_t due = options.rate == 0 ? 0 : began + i * INT64_C(1000000) / options.rate;
        while (options.rate > 0 && now_us() < due) {
            rd_kafka_poll(client, 0);
            nap_us(200);
        }
        sent_us[i] = options.rate == 0 ? now_us() : due;
        place_order(client, topic, options.start_id + i);
        if (i % 256 == 0)
            rd_kafka_poll(client, 0);
    }
    if (rd_kafka_flush(client, (int)options.wait_s * 1000) != RD_KAFKA_RESP_ERR_NO_ERROR)
        die("produce", "not written in time");
}

static void produce_lone(rd_kafka_t *client, rd_kafka_topic_t *topic)
{
    for (long i = 0; i < options.count; i++) {
        sent_us[i] = now_us();
        place_order(client, topic, options.start_id + i);
        while (atomic_load(&ended) <= i) {
            rd_kafka_poll(client, 0);
            if (now_us() - sent_us[i] > options.wait_s * 1000000)
                return;
            nap_us(50);
        }
    }
}

// --- The reader of the history

// The number of an order whose saga this record ends; -1 if it ends none of ours.
static long end_in(const rd_kafka_message_t *message)
{
    static const char mark[] = "\"type\":\"kasaga.saga.comp";
    const char *value = message->payload;
    const char *end = value + message->len;
    const char *type = value == NULL ? NULL : memmem(value, message->len, mark, sizeof mark - 1);
    const char *key = message->key;
    const char *dash = key == NULL ? NULL : memchr(key, '-', message->key_len);
    char digits[32];
    if (type == NULL || dash == NULL)
        return -1;
    type += sizeof mark - 1;
    bool completed = end - type > 6 && memcmp(type, "leted\"", 6) == 0;
    bool undone = end - type > 8 && memcmp(type, "ensated\"", 8) == 0;
    if (!completed && !undone)
        return -1;
    snprintf(digits, sizeof digits, "%.*s", (int)(key + message->key_len - dash - 1), dash + 1);
    long number = atol(digits) - options.start_id;
    if (number < 0 || number >= options.count)
        return -1;
    if (undone)
        atomic_fetch_add(&compensated, 1);
    return number;
}

static void *read_history(void *argument)
{
    rd_kafka_t *client = consumer();
    char topic[NAME_MAX_BYTES];
    (void)argument;
    snprintf(topic, sizeof topic, "%s.history", options.app);
    int partitions = partitions_of(client, topic);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
    for (int p = 0; p < partitions; p++)
        rd_kafka_topic_partition_list_add(list, topic, p)->offset = end_of(client, topic, p);
    rd_kafka_assign(client, list);
    rd_kafka_topic_partition_list_destroy(list);
    int at_end = 0; // each says once that it is there
    while (!atomic_load(&stop)) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(client, 50);
        if (message == NULL)
            continue;
        if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF && ++at_end == partitions)
            atomic_store(&reader_state, 1);
        long number = message->err == RD_KAFKA_RESP_ERR_NO_ERROR ? end_in(message) : -1;
        if (number >= 0 && ended_us[number] == 0) {
            ended_us[number] = now_us();
            atomic_fetch_add(&ended, 1);
        }
        rd_kafka_message_destroy(message);
    }
    return NULL;
}

// --- Draining

struct drain {
    rd_kafka_t *client;
    char inbox[NAME_MAX_BYTES], history[NAME_MAX_BYTES];
    int input_partitions, inbox_partitions;
    int64_t input_end[PARTITIONS_MAX];
};

// Committed offsets of a group on one topic, by one call; -1 where there are none.
static void committed(struct drain *drain, const char *group, const char *topic, int partitions,
                      int64_t *offsets)
{
    rd_kafka_queue_t *queue = rd_kafka_queue_new(drain->client);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
    rd_kafka_topic_partition_list_add_range(list, topic, 0, partitions - 1);
    rd_kafka_ListConsumerGroupOffsets_t *ask = rd_kafka_ListConsumerGroupOffsets_new(group, list);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_ListConsumerGroupOffsets(drain->client, &ask, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, REQUEST_MS);
    size_t count = 0;
    for (int p = 0; p < partitions; p++)
        offsets[p] = -1;
    if (event == NULL || rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR)
        die(group, event == NULL ? "no answer" : rd_kafka_event_error_string(event));
    const rd_kafka_group_result_t **groups = rd_kafka_ListConsumerGroupOffsets_result_groups(
        rd_kafka_event_ListConsumerGroupOffsets_result(event), &count);
    const rd_kafka_topic_partition_list_t *found =
        count == 0 ? NULL : rd_kafka_group_result_partitions(groups[0]);
    for (int i = 0; found != NULL && i < found->cnt; i++)
        if (found->elems[i].partition < partitions)
            offsets[found->elems[i].partition] = found->elems[i].offset;
    rd_kafka_event_destroy(event);
    rd_kafka_ListConsumerGroupOffsets_destroy(ask);
    rd_kafka_queue_destroy(queue);
}

// The input is not transactional: its end is the offset after the last record.
static bool routed(struct drain *drain)
{
    static int64_t offsets[PARTITIONS_MAX];
    char group[NAME_MAX_BYTES];
    snprintf(group, sizeof group, "%s.route", options.app);
    committed(drain, group, options.topic, drain->input_partitions, offsets);
    for (int p = 0; p < drain->input_partitions; p++)
        if (offsets[p] < drain->input_end[p])
            return false;
    return true;
}

// Reads a topic with as many partitions as the inbox, committed records only: from its beginning
// the first record of each partition, else the last ones. Takes each record to `see`; ends when
// every partition is at its end or, from the beginning, has shown a record.
static void scan(struct drain *drain, const char *topic, bool beginning,
                 void (*see)(const rd_kafka_message_t *))
{
    enum { TAIL = 2000 };
    static bool done[PARTITIONS_MAX];
    rd_kafka_t *client = consumer();
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new(drain->inbox_partitions);
    int left = drain->inbox_partitions;
    int64_t until = now_us() + options.wait_s * 1000000;
    memset(done, 0, sizeof done);
    for (int p = 0; p < drain->inbox_partitions; p++) {
        int64_t end = end_of(drain->client, topic, p);
        rd_kafka_topic_partition_list_add(list, topic, p)->offset =
            beginning || end <= TAIL ? RD_KAFKA_OFFSET_BEGINNING : end - TAIL;
    }
    rd_kafka_assign(client, list);
    rd_kafka_topic_partition_list_destroy(list);
    while (left > 0 && now_us() < until) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(client, 100);
        if (message == NULL)
            continue;
        bool record = message->err == RD_KAFKA_RESP_ERR_NO_ERROR;
        bool at_end = message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
        if ((at_end || (record && beginning)) && !done[message->partition]) {
            done[message->partition] = true;
            left--;
        }
        if (record)
            see(message);
        rd_kafka_message_destroy(message);
    }
    rd_kafka_assign(client, NULL);
}

static int64_t after_last[PARTITIONS_MAX]; // of the inbox: offset after the last record
static int64_t first_ms = INT64_MAX;       // when the first record was put into the inbox, unix ms
static int64_t last_ms;                    // … and the last one into the history

static void see_last(const rd_kafka_message_t *message)
{
    if (message->offset >= after_last[message->partition])
        after_last[message->partition] = message->offset + 1;
}

static void see_first(const rd_kafka_message_t *message)
{
    int64_t at = rd_kafka_message_timestamp(message, NULL);
    if (at < first_ms)
        first_ms = at;
}

static void see_latest(const rd_kafka_message_t *message)
{
    int64_t at = rd_kafka_message_timestamp(message, NULL);
    if (at > last_ms)
        last_ms = at;
}

static bool worked_off(struct drain *drain)
{
    static int64_t offsets[PARTITIONS_MAX];
    committed(drain, options.app, drain->inbox, drain->inbox_partitions, offsets);
    for (int p = 0; p < drain->inbox_partitions; p++)
        if (offsets[p] < after_last[p])
            return false;
    return true;
}

static int drain_all(void)
{
    static struct drain drain;
    const char *const pairs[][2] = {{"bootstrap.servers", options.bootstrap}};
    int64_t total = 0, until = now_us() + options.wait_s * 1000000;
    drain.client = client_of(RD_KAFKA_PRODUCER, pairs, 1, NULL);
    snprintf(drain.inbox, sizeof drain.inbox, "%s.inbox", options.app);
    snprintf(drain.history, sizeof drain.history, "%s.history", options.app);
    drain.input_partitions = partitions_of(drain.client, options.topic);
    drain.inbox_partitions = partitions_of(drain.client, drain.inbox);
    for (int p = 0; p < drain.input_partitions; p++)
        total += drain.input_end[p] = end_of(drain.client, options.topic, p);
    while (now_us() < until && !routed(&drain))
        nap_us(20000);
    scan(&drain, drain.inbox, false, see_last);
    while (now_us() < until && !worked_off(&drain))
        nap_us(5000);
    bool done = now_us() < until;
    scan(&drain, drain.inbox, true, see_first);
    scan(&drain, drain.history, false, see_latest);
    double seconds = (double)(last_ms - first_ms) / 1000;
    printf("{\"done\":%s,\"orders\":%lld,\"seconds\":%.3f,\"sagas_per_s\":%.0f}\n",
           done ? "true" : "false", (long long)total, seconds, (double)total / seconds);
    return done ? 0 : 1;
}

// --- Results

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void print_results(int64_t began, int64_t produced)
{
    int64_t *took = malloc((size_t)(options.count + 1) * sizeof *took), last = began;
    long count = 0;
    if (took == NULL)
        die("results", "no memory");
    for (long i = 0; i < options.count; i++) {
        if (ended_us[i] == 0)
            continue;
        last = ended_us[i] > last ? ended_us[i] : last;
        if (sent_us[i] - began >= options.warmup_s * 1000000)
            took[count++] = ended_us[i] - sent_us[i];
    }
    printf("{\"sent\":%ld,\"produce_seconds\":%.3f", options.count,
           (double)(produced - began) / 1e6);
    if (options.app != NULL)
        printf(",\"ended\":%ld,\"compensated\":%ld,\"seconds\":%.3f,\"measured\":%ld",
               atomic_load(&ended), atomic_load(&compensated), (double)(last - began) / 1e6, count);
    qsort(took, (size_t)count, sizeof *took, by_value);
    if (count > 0)
        printf(",\"p50_ms\":%.1f,\"p99_ms\":%.1f,\"max_ms\":%.1f", (double)took[count / 2] / 1000,
               (double)took[count * 99 / 100] / 1000, (double)took[count - 1] / 1000);
    puts("}");
    free(took);
}

static int generate(void)
{
    pthread_t thread;
    int64_t until;
    sent_us = calloc((size_t)options.count, sizeof *sent_us);
    ended_us = calloc((size_t)options.count, sizeof *ended_us);
    if (sent_us == NULL || ended_us == NULL)
        die("orders", "no memory");
    rd_kafka_t *client = producer();
    rd_kafka_topic_t *topic = rd_kafka_topic_new(client, options.topic, NULL);
    partitions_of(client, options.topic); // or the first record waits for a second
    if (options.app != NULL && pthread_create(&thread, NULL, read_history, NULL) != 0)
        die("thread", strerror(errno));
    while (options.app != NULL && atomic_load(&reader_state) == 0)
        nap_us(1000);
    int64_t began = now_us();
    if (options.lone > 0)
        produce_lone(client, topic);
    else
        produce_all(client, topic);
    int64_t produced = now_us();
    until = produced + options.wait_s * 1000000;
    while (options.app != NULL && atomic_load(&ended) < options.count && now_us() < until)
        nap_us(1000);
    atomic_store(&stop, true);
    if (options.app != NULL)
        pthread_join(thread, NULL);
    print_results(began, produced);
    return options.app == NULL || atomic_load(&ended) == options.count ? 0 : 1;
}

// --- Options

static const char usage[] =
    "usage: loadgen [--bootstrap HOST:PORT] [--topic TOPIC] [--count N] [--rate PER_SECOND]\n"
    "               [--bytes N] [--start-id N] [--ce] [--app APP] [--warmup SECONDS]\n"
    "               [--wait SECONDS] [--lone N | --drain]\n"
    "exit: 0 all ended, 1 some did not in time, 2 usage\n";

static void set(int option, const char *value)
{
    switch (option) {
    case 'b':
        options.bootstrap = value;
        break;
    case 't':
        options.topic = value;
        break;
    case 'a':
        options.app = value;
        break;
    case 'r':
        options.rate = atol(value);
        break;
    case 'n':
        options.count = atol(value);
        break;
    case 'B':
        options.bytes = atol(value);
        break;
    case 's':
        options.start_id = atol(value);
        break;
    case 'l':
        options.lone = options.count = atol(value);
        break;
    case 'w':
        options.wait_s = atol(value);
        break;
    case 'W':
        options.warmup_s = atol(value);
        break;
    case 'c':
        options.ce = true;
        break;
    case 'd':
        options.drain = true;
        break;
    default:
        exit((fputs(usage, stderr), 2));
    }
}

int main(int argc, char **argv)
{
    static const struct option table[] = {
        {"bootstrap", required_argument, NULL, 'b'},
        {"topic", required_argument, NULL, 't'},
        {"app", required_argument, NULL, 'a'},
        {"rate", required_argument, NULL, 'r'},
        {"count", required_argument, NULL, 'n'},
        {"bytes", required_argument, NULL, 'B'},
        {"start-id", required_argument, NULL, 's'},
        {"lone", required_argument, NULL, 'l'},
        {"wait", required_argument, NULL, 'w'},
        {"warmup", required_argument, NULL, 'W'},
        {"ce", no_argument, NULL, 'c'},
        {"drain", no_argument, NULL, 'd'},
        {NULL, 0, NULL, 0},
    };
    int option;
    options.bootstrap = getenv("KASAGA_BOOTSTRAP");
    while ((option = getopt_long(argc, argv, "", table, NULL)) != -1)
        set(option, optarg);
    bool needs_app = options.drain || options.lone > 0;
    if (options.bootstrap == NULL || options.count < 1 || options.bytes > 65000 ||
        (needs_app && options.app == NULL)) {
        fputs(usage, stderr);
        return 2;
    }
    int status = options.drain ? drain_all() : generate();
    fflush(stdout);
    _Exit(status); // closing the clients would only take time
}
