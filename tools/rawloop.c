// SPDX-License-Identifier: Apache-2.0
// The limit that the engine is compared with: the records and transactions of one saga, and nothing
// else, by bare librdkafka. Two hops, both at work at once:
//   route  1 user record  -> 1 inbox record                      + offsets, in a transaction
//   shard  1 inbox record -> 5 history records, 1 state record   + offsets, in a transaction
// or one: 1 user record -> 5 history records, 2 state records. Each lane has one consumer and two
// transactional producers in turn, one open transaction at a time. No rebalancing, no decisions, no
// formats, nothing is checked: what an engine does more than this is its price.
//
// Prints one JSON line. Its topics have fresh names and are deleted at the end.
#include <errno.h>
#include <getopt.h>
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum {
    WAIT_MS = 60000,
    LANES_MAX = 64,
    PARTITIONS_MAX = 256,
    SIZE_MAX_BYTES = 65536,
    BATCH_MAX = 10000, // records of one transaction
    POLL_MAX = 1000,
    COMMITS_MAX = 1 << 20
};

struct settings {
    const char *bootstrap;
    int64_t records;
    int threads; // lanes of each hop
    int partitions;
    int interval_ms; // between the starts of two commits of a lane
    size_t sizes[4]; // input, inbox, history, state
    int history;     // records per saga
    int states;
    bool one_hop;
};

enum { SIZE_INPUT, SIZE_INBOX, SIZE_HISTORY, SIZE_STATE };

static struct settings settings = {
    .records = 300000,
    .threads = 1,
    .partitions = 12,
    .interval_ms = 20,
    .sizes = {200, 350, 450, 300},
    .history = 5,
    .states = 1,
};
// Properties of the producers, NAME=VALUE, over those below.
static char *overrides[16];
static int override_count;
static char topics[4][64]; // in the order of the sizes
static char filler[SIZE_MAX_BYTES];
static atomic_llong finished; // records that the last hop has committed
static atomic_llong first_us;

static void die(const char *what, const char *why)
{
    fprintf(stderr, "rawloop: %s: %s\n", what, why);
    exit(1);
}

static void must(const char *what, rd_kafka_error_t *error)
{
    if (error != NULL)
        die(what, rd_kafka_error_string(error));
}

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t cpu_us(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (int64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
           usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
}

// --- Clients

static rd_kafka_conf_t *conf_of(const char *const pairs[][2], size_t count)
{
    char text[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    for (size_t i = 0; i < count; i++)
        if (rd_kafka_conf_set(conf, pairs[i][0], pairs[i][1], text, sizeof text) !=
            RD_KAFKA_CONF_OK)
            die(pairs[i][0], text);
    return conf;
}

static rd_kafka_t *client_of(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
    char text[512];
    rd_kafka_t *client = rd_kafka_new(type, conf, text, sizeof text);
    if (client == NULL)
        die("client", text);
    return client;
}

// Without it the commit would not serve the reports itself.
static void delivered(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque)
{
    (void)client, (void)opaque;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
        die("delivery", rd_kafka_err2str(message->err));
}

static void override(rd_kafka_conf_t *conf, const char *setting)
{
    char name[128], text[512];
    const char *value = strchr(setting, '=');
    if (value == NULL)
        die(setting, "not NAME=VALUE");
    snprintf(name, sizeof name, "%.*s", (int)(value - setting), setting);
    if (rd_kafka_conf_set(conf, name, value + 1, text, sizeof text) != RD_KAFKA_CONF_OK)
        die(setting, text);
}

// `id` NULL: not transactional. In a transaction lingering costs nothing, as a commit flushes at
// once; once lingered, records that wait for the broker keep librdkafka 2.0.2's thread spinning.
static rd_kafka_t *producer(const char *id)
{
    const char *const pairs[][2] = {
        {"bootstrap.servers", settings.bootstrap},
        {"linger.ms", id == NULL ? "5" : "1000"},
        {"queue.buffering.max.messages", "1000000"},
        {"queue.buffering.max.kbytes", "1048576"},
        {"socket.nagle.disable", "true"},
        {"enable.idempotence", "true"},
        {"retry.backoff.ms", "1"},
        {"transactional.id", id},
    };
    size_t count = sizeof pairs / sizeof *pairs - (id == NULL ? 1 : 0);
    rd_kafka_conf_t *conf = conf_of(pairs, count);
    for (int i = 0; i < override_count; i++)
        override(conf, overrides[i]);
    rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    rd_kafka_t *client = client_of(RD_KAFKA_PRODUCER, conf);
    if (id != NULL)
        must("init", rd_kafka_init_transactions(client, WAIT_MS));
    return client;
}

// The queue must hold more than a second's worth: a full one stops fetching for a second.
static rd_kafka_t *consumer(const char *group)
{
    const char *const pairs[][2] = {
        {"bootstrap.servers", settings.bootstrap},
        {"group.id", group},
        {"isolation.level", "read_committed"},
        {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"},
        {"auto.offset.reset", "earliest"},
        {"queued.max.messages.kbytes", "131072"},
        {"fetch.wait.max.ms", "100"},
        {"fetch.error.backoff.ms", "50"},
        {"socket.nagle.disable", "true"},
        {"check.crcs", "true"},
    };
    rd_kafka_t *client = client_of(RD_KAFKA_CONSUMER, conf_of(pairs, sizeof pairs / sizeof *pairs));
    rd_kafka_poll_set_consumer(client);
    return client;
}

// One admin request on a client of its own.
struct admin {
    rd_kafka_t *client;
    rd_kafka_queue_t *queue;
};

static struct admin admin_open(void)
{
    const char *const pairs[][2] = {{"bootstrap.servers", settings.bootstrap}};
    struct admin admin = {.client = client_of(RD_KAFKA_PRODUCER, conf_of(pairs, 1))};
    admin.queue = rd_kafka_queue_new(admin.client);
    return admin;
}

static void admin_await(struct admin *admin, const char *what)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(admin->queue, WAIT_MS);
    if (event == NULL || rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR)
        die(what, event == NULL ? "no answer" : rd_kafka_event_error_string(event));
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(admin->queue);
    rd_kafka_destroy(admin->client);
}

static void create_topics(void)
{
    static const char *const names[] = {"input", "inbox", "history", "state"};
    rd_kafka_NewTopic_t *list[4];
    char text[512];
    struct admin admin = admin_open();
    unsigned long long stamp = (unsigned long long)now_us() & 0xffffffffff;
    for (int i = 0; i < 4; i++) {
        snprintf(topics[i], sizeof topics[i], "raw-%llx.%s", stamp, names[i]);
        list[i] = rd_kafka_NewTopic_new(topics[i], settings.partitions, -1, text, sizeof text);
    }
    rd_kafka_CreateTopics(admin.client, list, 4, NULL, admin.queue);
    admin_await(&admin, "create topics");
    rd_kafka_NewTopic_destroy_array(list, 4);
}

static void delete_topics(void)
{
    rd_kafka_DeleteTopic_t *list[4];
    struct admin admin = admin_open();
    for (int i = 0; i < 4; i++)
        list[i] = rd_kafka_DeleteTopic_new(topics[i]);
    rd_kafka_DeleteTopics(admin.client, list, 4, NULL, admin.queue);
    admin_await(&admin, "delete topics");
    rd_kafka_DeleteTopic_destroy_array(list, 4);
}

static void produce(rd_kafka_t *client, rd_kafka_topic_t *topic, int32_t partition, size_t size,
                    const void *key, size_t key_len)
{
    while (rd_kafka_produce(topic, partition, RD_KAFKA_MSG_F_COPY, filler, size, key, key_len,
                            NULL) != 0) {
        if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            die("produce", rd_kafka_err2str(rd_kafka_last_error()));
        rd_kafka_poll(client, 1);
    }
}

static rd_kafka_topic_t *topic_of(rd_kafka_t *client, int which)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(client, topics[which], NULL);
    // The first record to a topic that is not known yet would wait for a second.
    rd_kafka_resp_err_t err = rd_kafka_metadata(client, 0, topic, &metadata, WAIT_MS);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
        die(topics[which], rd_kafka_err2str(err));
    rd_kafka_metadata_destroy(metadata);
    return topic;
}

static void preload(void)
{
    char key[32];
    rd_kafka_t *client = producer(NULL);
    rd_kafka_topic_t *topic = topic_of(client, SIZE_INPUT);
    for (int64_t i = 0; i < settings.records; i++) {
        int len = snprintf(key, sizeof key, "order/%lld", (long long)i);
        produce(client, topic, (int32_t)(i % settings.partitions), settings.sizes[SIZE_INPUT], key,
                (size_t)len);
        if (i % 1000 == 0)
            rd_kafka_poll(client, 0);
    }
    if (rd_kafka_flush(client, WAIT_MS) != RD_KAFKA_RESP_ERR_NO_ERROR)
        die("preload", "not written in time");
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(client);
}

// --- A lane

struct lane {
    pthread_t thread;
    bool last_hop;
    int from; // topic that it reads
    rd_kafka_t *consumer;
    rd_kafka_queue_t *queue;
    rd_kafka_t *producers[2];
    rd_kafka_topic_t *outputs[2][4];
    int turn;
    int64_t next[PARTITIONS_MAX]; // offset to commit; -1 = not touched by this transaction
    int64_t batch;
    int64_t last_commit_us;
    uint32_t *commits; // durations in us
    int commit_count;
};

static struct lane lanes[2 * LANES_MAX];
static int lane_count;
static atomic_bool stop;

static void add_lane(int from, bool last_hop, int number)
{
    struct lane *lane = &lanes[lane_count++];
    char text[128];
    lane->from = from;
    lane->last_hop = last_hop;
    snprintf(text, sizeof text, "%s.group", topics[from]);
    lane->consumer = consumer(text);
    for (int i = 0; i < 2; i++) {
        snprintf(text, sizeof text, "%s.%d.%c", topics[from], number, 'a' + i);
        lane->producers[i] = producer(text);
        for (int t = SIZE_INBOX; t <= SIZE_STATE; t++)
            lane->outputs[i][t] = topic_of(lane->producers[i], t);
    }
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    for (int p = number; p < settings.partitions; p += settings.threads)
        rd_kafka_topic_partition_list_add(list, topics[from], p)->offset = 0;
    rd_kafka_assign(lane->consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
    lane->queue = rd_kafka_queue_get_consumer(lane->consumer);
    lane->commits = malloc(COMMITS_MAX * sizeof *lane->commits);
    if (lane->commits == NULL)
        die("lane", "no memory");
    for (int p = 0; p < PARTITIONS_MAX; p++)
        lane->next[p] = -1;
}

static void send_offsets(struct lane *lane, rd_kafka_t *producer)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    rd_kafka_consumer_group_metadata_t *group = rd_kafka_consumer_group_metadata(lane->consumer);
    for (int p = 0; p < settings.partitions; p++) {
        if (lane->next[p] >= 0)
            rd_kafka_topic_partition_list_add(list, topics[lane->from], p)->offset = lane->next[p];
        lane->next[p] = -1;
    }
    must("offsets", rd_kafka_send_offsets_to_transaction(producer, list, group, WAIT_MS));
    rd_kafka_consumer_group_metadata_destroy(group);
    rd_kafka_topic_partition_list_destroy(list);
}

static void commit(struct lane *lane)
{
    rd_kafka_t *producer = lane->producers[lane->turn];
    int64_t began = now_us();
    send_offsets(lane, producer);
    must("commit", rd_kafka_commit_transaction(producer, WAIT_MS));
    lane->last_commit_us = began;
    if (lane->commit_count < COMMITS_MAX)
        lane->commits[lane->commit_count++] = (uint32_t)(now_us() - began);
    if (lane->last_hop)
        atomic_fetch_add(&finished, lane->batch);
    lane->batch = 0;
    lane->turn = 1 - lane->turn;
}

static void process(struct lane *lane, const rd_kafka_message_t *message)
{
    rd_kafka_t *client = lane->producers[lane->turn];
    rd_kafka_topic_t **outputs = lane->outputs[lane->turn];
    const void *key = message->key;
    size_t key_len = message->key_len;
    if (lane->batch++ == 0)
        must("begin", rd_kafka_begin_transaction(client));
    lane->next[message->partition] = message->offset + 1;
    if (!lane->last_hop) {
        produce(client, outputs[SIZE_INBOX], message->partition, settings.sizes[SIZE_INBOX], key,
                key_len);
        return;
    }
    for (int i = 0; i < settings.history; i++)
        produce(client, outputs[SIZE_HISTORY], message->partition, settings.sizes[SIZE_HISTORY],
                key, key_len);
    for (int i = 0; i < settings.states; i++)
        produce(client, outputs[SIZE_STATE], message->partition, settings.sizes[SIZE_STATE], key,
                key_len);
}

static void take(struct lane *lane, rd_kafka_message_t **messages, ssize_t count)
{
    long long unset = 0;
    if (count > 0)
        atomic_compare_exchange_strong(&first_us, &unset, now_us());
    for (ssize_t i = 0; i < count; i++) {
        if (messages[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR)
            process(lane, messages[i]);
        else if (messages[i]->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
            die("consume", rd_kafka_message_errstr(messages[i]));
        rd_kafka_message_destroy(messages[i]);
    }
}

static void *run(void *argument)
{
    struct lane *lane = argument;
    rd_kafka_message_t *messages[POLL_MAX];
    const struct timespec nap = {.tv_nsec = 200000};
    while (!atomic_load(&stop)) {
        // With a timeout it would wait for all of it unless the array fills.
        ssize_t count = rd_kafka_consume_batch_queue(lane->queue, 0, messages, POLL_MAX);
        take(lane, messages, count);
        if (lane->batch > 0)
            rd_kafka_poll(lane->producers[lane->turn], 0);
        bool due = now_us() - lane->last_commit_us >= settings.interval_ms * 1000LL;
        if (lane->batch >= BATCH_MAX || (lane->batch > 0 && due))
            commit(lane);
        else if (count <= 0)
            nanosleep(&nap, NULL);
    }
    return NULL;
}

// --- Measuring

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void commit_times(double *p50, double *p99, int64_t *count)
{
    static uint32_t *all;
    *count = 0;
    for (int i = 0; i < lane_count; i++)
        *count += lanes[i].commit_count;
    all = malloc((size_t)(*count + 1) * sizeof *all);
    if (all == NULL || *count == 0)
        die("commits", "none");
    size_t at = 0;
    for (int i = 0; i < lane_count; i++) {
        memcpy(all + at, lanes[i].commits, (size_t)lanes[i].commit_count * sizeof *all);
        at += (size_t)lanes[i].commit_count;
    }
    qsort(all, at, sizeof *all, by_size);
    *p50 = all[at / 2] / 1000.0;
    *p99 = all[at * 99 / 100] / 1000.0;
    free(all);
}

static double peak_mb(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024;
}

static void measure(void)
{
    const struct timespec nap = {.tv_nsec = 500000};
    double p50, p99;
    int64_t commits;
    int64_t cpu = cpu_us();
    for (int i = 0; i < lane_count; i++)
        if (pthread_create(&lanes[i].thread, NULL, run, &lanes[i]) != 0)
            die("thread", strerror(errno));
    while (atomic_load(&finished) < settings.records)
        nanosleep(&nap, NULL);
    int64_t took = now_us() - atomic_load(&first_us);
    cpu = cpu_us() - cpu;
    atomic_store(&stop, true);
    for (int i = 0; i < lane_count; i++)
        pthread_join(lanes[i].thread, NULL);
    commit_times(&p50, &p99, &commits);
    printf("{\"hops\":%d,\"records\":%lld,\"threads\":%d,\"interval_ms\":%d,\"seconds\":%.3f,"
           "\"records_per_s\":%.0f,\"client_cpu_us_per_record\":%.2f,\"rss_mb\":%.0f,"
           "\"commits\":%lld,\"commit_p50_ms\":%.1f,\"commit_p99_ms\":%.1f}\n",
           settings.one_hop ? 1 : 2, (long long)settings.records, settings.threads,
           settings.interval_ms, (double)took / 1e6, (double)settings.records * 1e6 / (double)took,
           (double)cpu / (double)settings.records, peak_mb(), (long long)commits, p50, p99);
}

// --- Options

static const char usage[] =
    "usage: rawloop [--bootstrap HOST:PORT] [--records N] [--threads N] [--partitions N]\n"
    "               [--sizes INPUT,INBOX,HISTORY,STATE] [--interval-ms N] [--one-hop]\n"
    "               [--set NAME=VALUE, a property of the producers]...\n"
    "  --threads: lanes of each hop; --interval-ms: between two commits of a lane\n";

static void parse_sizes(char *text)
{
    for (int i = 0; i < 4; i++) {
        const char *one = strsep(&text, ",");
        long size = one == NULL ? 0 : atol(one);
        if (size <= 0 || size > SIZE_MAX_BYTES)
            die("--sizes", "four numbers from 1 to 65536");
        settings.sizes[i] = (size_t)size;
    }
}

static void parse(int argc, char **argv)
{
    static const struct option options[] = {
        {"bootstrap", required_argument, NULL, 'b'},
        {"records", required_argument, NULL, 'n'},
        {"threads", required_argument, NULL, 't'},
        {"partitions", required_argument, NULL, 'p'},
        {"sizes", required_argument, NULL, 's'},
        {"interval-ms", required_argument, NULL, 'i'},
        {"one-hop", no_argument, NULL, '1'},
        {"set", required_argument, NULL, 'x'},
        {NULL, 0, NULL, 0},
    };
    int option;
    settings.bootstrap = getenv("KASAGA_BOOTSTRAP");
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'b')
            settings.bootstrap = optarg;
        else if (option == 'n')
            settings.records = atoll(optarg);
        else if (option == 't')
            settings.threads = atoi(optarg);
        else if (option == 'p')
            settings.partitions = atoi(optarg);
        else if (option == 's')
            parse_sizes(optarg);
        else if (option == 'i')
            settings.interval_ms = atoi(optarg);
        else if (option == 'x' && override_count < 16)
            overrides[override_count++] = optarg;
        else if (option == '1')
            settings.one_hop = true;
        else
            exit((fputs(usage, stderr), 2));
    }
    if (settings.bootstrap == NULL || settings.records < 1 || settings.threads < 1 ||
        settings.threads > LANES_MAX || settings.partitions > PARTITIONS_MAX ||
        settings.partitions < settings.threads)
        exit((fputs(usage, stderr), 2));
    settings.states = settings.one_hop ? 2 : 1;
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    for (size_t i = 0; i < sizeof filler; i++)
        filler[i] = (char)('a' + (i * 7 + i / 13) % 26);
    create_topics();
    preload();
    for (int i = 0; i < settings.threads; i++) {
        if (!settings.one_hop)
            add_lane(SIZE_INPUT, false, i);
        add_lane(settings.one_hop ? SIZE_INPUT : SIZE_INBOX, true, i);
    }
    measure();
    fflush(stdout);
    delete_topics();
    _Exit(0); // the clients hold nothing that matters, and closing them takes seconds
}
