// SPDX-License-Identifier: Apache-2.0
// What the checker asks of Kafka: which topics, how far they go, what the groups have committed,
// and every record up to there in both views.
#include "checker.h"

#include <librdkafka/rdkafka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { REACH_MS = 5000, REQUEST_MS = 15000 };

struct kafka {
    rd_kafka_t *committed; // one consumer per isolation level
    rd_kafka_t *raw;
    const struct options *options;
};

static void unreachable(const char *what, const char *why)
{
    fprintf(stderr, "checker: %s: %s\n", what, why);
    exit(EXIT_UNREACHABLE);
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void quiet_log(const rd_kafka_t *client, int level, const char *facility, const char *text)
{
    if (level <= 3)
        fprintf(stderr, "checker: %s: %s: %s\n", rd_kafka_name(client), facility, text);
}

// Never joins a group: partitions are assigned by hand. The queue holds more than a second's worth
// of records, as fetching pauses for a second once it is full.
static rd_kafka_t *consumer(const char *bootstrap, const char *isolation)
{
    const char *const settings[][2] = {
        {"bootstrap.servers", bootstrap},
        {"isolation.level", isolation},
        {"group.id", "kasaga-checker"},
        {"client.id", "kasaga-checker"},
        {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"},
        {"enable.partition.eof", "true"},
        {"auto.offset.reset", "error"},
        {"check.crcs", "true"},
        {"queued.min.messages", "1000000"},
        {"queued.max.messages.kbytes", "262144"},
        {"fetch.wait.max.ms", "20"},
        {"fetch.message.max.bytes", "8388608"},
        {"fetch.error.backoff.ms", "50"},
        {"socket.nagle.disable", "true"},
    };
    char text[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], text, sizeof text) !=
            RD_KAFKA_CONF_OK) {
            fprintf(stderr, "checker: %s\n", text);
            exit(EXIT_USAGE);
        }
    rd_kafka_conf_set_log_cb(conf, quiet_log);
    rd_kafka_t *client = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text);
    if (client == NULL)
        unreachable("client", text);
    rd_kafka_poll_set_consumer(client);
    return client;
}

struct kafka *kafka_open(const struct options *options)
{
    struct kafka *kafka = calloc(1, sizeof *kafka);
    if (kafka == NULL)
        abort();
    kafka->options = options;
    kafka->committed = consumer(options->bootstrap, "read_committed");
    kafka->raw = consumer(options->bootstrap, "read_uncommitted");
    return kafka;
}

void kafka_close(struct kafka *kafka)
{
    rd_kafka_consumer_close(kafka->committed);
    rd_kafka_consumer_close(kafka->raw);
    rd_kafka_destroy(kafka->committed);
    rd_kafka_destroy(kafka->raw);
    free(kafka);
}

// --- Topics

static void add_topic(struct store *store, enum role role, const char *app, const char *suffix,
                      const struct input_spec *input)
{
    struct topic *topic = &store->topics[store->topic_count++];
    topic->role = role;
    topic->input = input;
    if (input != NULL)
        snprintf(topic->name, sizeof topic->name, "%s", input->topic);
    else
        snprintf(topic->name, sizeof topic->name, "%s.%s", app, suffix);
}

static void learn_partitions(struct store *store, const struct rd_kafka_metadata *metadata)
{
    for (int i = 0; i < metadata->topic_cnt; i++) {
        const rd_kafka_metadata_topic_t *found = &metadata->topics[i];
        struct topic *topic = store_topic(store, found->topic, strlen(found->topic));
        if (topic == NULL || found->partition_cnt == 0)
            continue;
        topic->exists = true;
        topic->partition_count = found->partition_cnt;
        topic->partitions = calloc((size_t)found->partition_cnt, sizeof *topic->partitions);
        if (topic->partitions == NULL)
            abort();
        for (int p = 0; p < found->partition_cnt; p++)
            topic->partitions[p].low = topic->partitions[p].group = -1;
    }
}

void kafka_topics(struct kafka *kafka, struct store *store)
{
    const struct options *options = kafka->options;
    const struct rd_kafka_metadata *metadata;
    add_topic(store, ROLE_HISTORY, options->app, "history", NULL);
    add_topic(store, ROLE_STATE, options->app, "state", NULL);
    add_topic(store, ROLE_DLQ, options->app, "dlq", NULL);
    add_topic(store, ROLE_INBOX, options->app, "inbox", NULL);
    for (int i = 0; i < options->input_count; i++)
        add_topic(store, ROLE_INPUT, options->app, NULL, &options->inputs[i]);
    rd_kafka_resp_err_t err = rd_kafka_metadata(kafka->raw, 1, NULL, &metadata, REACH_MS);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
        unreachable(options->bootstrap, rd_kafka_err2str(err));
    learn_partitions(store, metadata);
    rd_kafka_metadata_destroy(metadata);
    for (int i = 0; i < store->topic_count; i++) {
        if (store->topics[i].exists)
            continue;
        if (store->topics[i].role == ROLE_HISTORY || store->topics[i].role == ROLE_INPUT) {
            fprintf(stderr, "checker: there is no topic %s\n", store->topics[i].name);
            exit(EXIT_USAGE);
        }
        report_note("there is no topic %s", store->topics[i].name);
    }
}

// --- Groups and ends

// False when a transaction that has not settled holds one of them.
static bool learn_offsets(struct store *store, const rd_kafka_group_result_t *group)
{
    bool stable = true;
    const rd_kafka_topic_partition_list_t *list = rd_kafka_group_result_partitions(group);
    if (list == NULL)
        return true;
    for (int i = 0; i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *one = &list->elems[i];
        struct topic *topic = store_topic(store, one->topic, strlen(one->topic));
        struct partition *partition = topic_partition(topic, one->partition);
        if (partition != NULL && one->err == RD_KAFKA_RESP_ERR_NO_ERROR)
            partition->group = one->offset;
        stable = stable && one->err != RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT;
    }
    return stable;
}

// Every partition by name: asked for "all", a broker leaves out those whose first commit is
// pending.
static rd_kafka_ListConsumerGroupOffsets_t *ask_for(struct store *store, const char *group,
                                                    enum role role)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(64);
    for (int i = 0; i < store->topic_count; i++)
        for (int p = 0; p < store->topics[i].partition_count; p++)
            if (store->topics[i].role == role)
                rd_kafka_topic_partition_list_add(list, store->topics[i].name, p);
    rd_kafka_ListConsumerGroupOffsets_t *ask =
        list->cnt == 0 ? NULL : rd_kafka_ListConsumerGroupOffsets_new(group, list);
    rd_kafka_topic_partition_list_destroy(list);
    return ask;
}

// A coordinator that has just come back: it answers in a moment.
static bool is_moving(rd_kafka_resp_err_t err)
{
    return err == RD_KAFKA_RESP_ERR_NOT_COORDINATOR ||
           err == RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE ||
           err == RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS;
}

enum answer { ANSWER_SETTLED, ANSWER_HELD, ANSWER_MOVING };

static enum answer try_group(struct kafka *kafka, struct store *store, const char *name,
                             enum role role)
{
    rd_kafka_ListConsumerGroupOffsets_t *ask = ask_for(store, name, role);
    if (ask == NULL)
        return ANSWER_SETTLED; // nothing that it consumes
    rd_kafka_queue_t *queue = rd_kafka_queue_new(kafka->raw);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(kafka->raw, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
    rd_kafka_error_t *error = rd_kafka_AdminOptions_set_require_stable_offsets(options, 1);
    if (error != NULL)
        unreachable(name, rd_kafka_error_string(error));
    rd_kafka_ListConsumerGroupOffsets(kafka->raw, &ask, 1, options, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, REQUEST_MS);
    rd_kafka_resp_err_t err =
        event == NULL ? RD_KAFKA_RESP_ERR__TIMED_OUT : rd_kafka_event_error(event);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR && !is_moving(err))
        unreachable(name, event == NULL ? "no answer" : rd_kafka_event_error_string(event));
    size_t count = 0;
    const rd_kafka_group_result_t **groups = NULL;
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
        groups = rd_kafka_ListConsumerGroupOffsets_result_groups(
            rd_kafka_event_ListConsumerGroupOffsets_result(event), &count);
    bool stable = true;
    for (size_t i = 0; i < count; i++) // an offset that is not settled shows as the group's error
        stable = stable && rd_kafka_group_result_error(groups[i]) == NULL &&
                 learn_offsets(store, groups[i]);
    rd_kafka_event_destroy(event);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_ListConsumerGroupOffsets_destroy(ask);
    rd_kafka_queue_destroy(queue);
    return err != RD_KAFKA_RESP_ERR_NO_ERROR ? ANSWER_MOVING
           : stable                          ? ANSWER_SETTLED
                                             : ANSWER_HELD;
}

// Settled offsets. One that is held for long keeps what is known of it; the open transaction is
// reported where records are read.
static void sample_group(struct kafka *kafka, struct store *store, const char *name, enum role role)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    int64_t until = now_ms() + 1000 * (int64_t)kafka->options->stall_s;
    enum answer answer = try_group(kafka, store, name, role);
    for (; answer != ANSWER_SETTLED && now_ms() < until;
         answer = try_group(kafka, store, name, role))
        nanosleep(&pause, NULL);
    if (answer == ANSWER_MOVING)
        unreachable(name, "its coordinator does not answer");
}

static void sample_ends(struct kafka *kafka, struct topic *topic)
{
    for (int p = 0; p < topic->partition_count; p++) {
        struct partition *partition = &topic->partitions[p];
        int64_t low, high;
        // The uncommitted client gives the high watermark, the other one the last stable offset.
        rd_kafka_resp_err_t err =
            rd_kafka_query_watermark_offsets(kafka->raw, topic->name, p, &low, &high, REQUEST_MS);
        if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
            unreachable(topic->name, rd_kafka_err2str(err));
        if (partition->low < 0) {
            partition->low = partition->committed = partition->raw = low;
            if (low > 0)
                report_note("%s/%d begins at %lld: what was before is not judged", topic->name, p,
                            (long long)low);
        }
        partition->high = high;
    }
}

void kafka_sample(struct kafka *kafka, struct store *store)
{
    char route[NAME_SIZE];
    snprintf(route, sizeof route, "%s.route", kafka->options->app);
    sample_group(kafka, store, kafka->options->app, ROLE_INBOX);
    sample_group(kafka, store, route, ROLE_INPUT);
    // State before history: it must not be ahead. Inputs last: they are the causes.
    static const enum role order[] = {ROLE_STATE, ROLE_HISTORY, ROLE_DLQ, ROLE_INBOX, ROLE_INPUT};
    for (size_t r = 0; r < sizeof order / sizeof *order; r++)
        for (int i = 0; i < store->topic_count; i++)
            if (store->topics[i].role == order[r])
                sample_ends(kafka, &store->topics[i]);
}

// --- Reading

static uint64_t mix(uint64_t hash, const char *bytes, size_t len)
{
    for (; len >= 8; bytes += 8, len -= 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 29;
    }
    for (; len > 0; bytes++, len--)
        hash = (hash ^ (unsigned char)*bytes) * 0x100000001B3u;
    return hash;
}

static uint64_t hash_of(const struct record *record)
{
    uint64_t hash = mix(0xcbf29ce484222325u ^ record->key_len, record->key, record->key_len);
    return mix(hash * 31 + record->len, record->value, record->len);
}

static struct record record_of(const rd_kafka_message_t *message, struct topic *topic)
{
    rd_kafka_headers_t *headers;
    struct record record = {.topic = topic,
                            .partition = message->partition,
                            .offset = message->offset,
                            .key = message->key,
                            .key_len = message->key_len,
                            .value = message->payload,
                            .len = message->len,
                            .message = message};
    const void *type = NULL;
    if (topic->role == ROLE_INPUT &&
        rd_kafka_message_headers(message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR &&
        rd_kafka_header_get_last(headers, "ce_type", &type, &record.type_len) ==
            RD_KAFKA_RESP_ERR_NO_ERROR)
        record.type = type;
    return record;
}

static void see_committed(struct store *store, const struct record *record)
{
    struct partition *partition = topic_partition(record->topic, record->partition);
    partition->seen =
        grow(partition->seen, partition->seen_count, &partition->seen_cap, sizeof(struct seen));
    partition->seen[partition->seen_count++] = (struct seen){record->offset, hash_of(record)};
    record->topic->records++;
    take_committed(store, record);
}

static void differs(const struct record *record, int64_t offset, const char *why)
{
    char key[NAME_SIZE];
    snprintf(key, sizeof key, "%.*s", (int)record->key_len, record->key);
    report_add(KIND_VIEWS_DIFFER, key, record->topic, record->partition, offset, "%s", why);
}

// The committed view must be a subsequence of this one.
static void see_raw(struct store *store, const struct record *record)
{
    struct partition *partition = topic_partition(record->topic, record->partition);
    const struct seen *seen = partition->seen;
    while (partition->seen_at < partition->seen_count &&
           seen[partition->seen_at].offset < record->offset)
        differs(record, seen[partition->seen_at++].offset,
                "a committed record that read_uncommitted does not show");
    if (partition->seen_at < partition->seen_count &&
        seen[partition->seen_at].offset == record->offset) {
        if (seen[partition->seen_at++].hash != hash_of(record))
            differs(record, record->offset, "two values at one offset");
        return;
    }
    record->topic->aborted_records++;
    take_aborted(store, record);
}

// What is left to read of one view.
struct reading {
    struct store *store;
    rd_kafka_t *client;
    bool raw;
    int left; // partitions
};

static int64_t *next_of(const struct reading *reading, struct partition *partition)
{
    return reading->raw ? &partition->raw : &partition->committed;
}

static void assign(struct reading *reading)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(64);
    for (int i = 0; i < reading->store->topic_count; i++) {
        struct topic *topic = &reading->store->topics[i];
        for (int p = 0; p < topic->partition_count; p++) {
            int64_t next = *next_of(reading, &topic->partitions[p]);
            if (next < topic->partitions[p].high)
                rd_kafka_topic_partition_list_add(list, topic->name, p)->offset = next;
        }
    }
    reading->left = list->cnt;
    rd_kafka_resp_err_t err = rd_kafka_assign(reading->client, list);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
        unreachable("assign", rd_kafka_err2str(err));
    rd_kafka_topic_partition_list_destroy(list);
}

// Moves the position of a partition; what lies at or behind its end belongs to a later round.
static void advance(struct reading *reading, struct partition *partition, int64_t next)
{
    int64_t *position = next_of(reading, partition);
    bool done = *position >= partition->high;
    if (next > *position)
        *position = next;
    reading->left -= !done && *position >= partition->high;
}

// The owner has deleted records since the ends were sampled.
static void trimmed(struct reading *reading, struct topic *topic, int32_t number)
{
    struct partition *partition = &topic->partitions[number];
    int64_t low, high;
    rd_kafka_resp_err_t err = rd_kafka_query_watermark_offsets(reading->client, topic->name, number,
                                                               &low, &high, REQUEST_MS);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
        unreachable(topic->name, rd_kafka_err2str(err));
    partition->low = low;
    *next_of(reading, partition) = low > *next_of(reading, partition) ? low : partition->high;
    while (reading->raw && partition->seen_at < partition->seen_count &&
           partition->seen[partition->seen_at].offset < low)
        partition->seen_at++;
    assign(reading);
}

static void take_message(struct reading *reading, const rd_kafka_message_t *message)
{
    const char *name = message->rkt == NULL ? "" : rd_kafka_topic_name(message->rkt);
    struct topic *topic = store_topic(reading->store, name, strlen(name));
    struct partition *partition = topic_partition(topic, message->partition);
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF && partition != NULL) {
        int64_t end = message->offset < partition->high ? message->offset : partition->high;
        advance(reading, partition, end);
        return;
    }
    if (message->err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN ||
        message->err == RD_KAFKA_RESP_ERR__TRANSPORT)
        return; // it goes on when they are back; the time limit is the reader's
    if (message->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET && partition != NULL) {
        trimmed(reading, topic, message->partition);
        return;
    }
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
        unreachable(name, rd_kafka_message_errstr(message));
    if (partition == NULL)
        return;
    if (message->offset >= partition->high) {
        advance(reading, partition, partition->high);
        return;
    }
    struct record record = record_of(message, topic);
    if (reading->raw)
        see_raw(reading->store, &record);
    else
        see_committed(reading->store, &record);
    advance(reading, partition, message->offset + 1);
}

static void held_back_at(const struct topic *topic, int32_t p, int64_t next, const char *view)
{
    if (next < topic->partitions[p].high)
        report_add(KIND_OPEN_TRANSACTION, NULL, topic, p, next,
                   "%s readers get no further; the log ends at %lld", view,
                   (long long)topic->partitions[p].high);
}

void kafka_held_back(struct store *store)
{
    for (int i = 0; i < store->topic_count; i++) {
        const struct topic *topic = &store->topics[i];
        for (int p = 0; p < topic->partition_count; p++) {
            held_back_at(topic, p, topic->partitions[p].committed, "read_committed");
            held_back_at(topic, p, topic->partitions[p].raw, "read_uncommitted");
        }
    }
}

static void read_view(struct reading *reading)
{
    int64_t until = now_ms() + 1000 * (int64_t)reading->store->options->stall_s;
    assign(reading);
    while (reading->left > 0 && now_ms() < until) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(reading->client, 100);
        if (message == NULL)
            continue;
        if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
            until = now_ms() + 1000 * (int64_t)reading->store->options->stall_s;
        take_message(reading, message);
        rd_kafka_message_destroy(message);
    }
    rd_kafka_assign(reading->client, NULL);
}

void kafka_read_committed(struct kafka *kafka, struct store *store)
{
    struct reading reading = {.store = store, .client = kafka->committed};
    read_view(&reading);
}

void kafka_read_uncommitted(struct kafka *kafka, struct store *store)
{
    struct reading reading = {.store = store, .client = kafka->raw, .raw = true};
    read_view(&reading);
}
