// SPDX-License-Identifier: Apache-2.0
// topic create|grow|delete|trim|offset: changes topics and committed offsets of a test cluster in
// milliseconds. For topics of users and for faults; the topics of an app are made by `kasaga topics
// apply`.
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WAIT_MS = 30000 };

static const char usage[] =
    "usage: topic create NAME [PARTITIONS [KEY=VALUE...]]\n"
    "       topic grow NAME PARTITIONS\n"
    "       topic delete NAME\n"
    "       topic trim NAME PARTITION OFFSET    deletes the records before it\n"
    "       topic offset GROUP TOPIC PARTITION OFFSET|none\n"
    "on the cluster of KASAGA_BOOTSTRAP; replication is the broker's default\n";

static void die(const char *what, const char *why)
{
    fprintf(stderr, "topic: %s: %s\n", what, why);
    exit(1);
}

static rd_kafka_t *connect_client(void)
{
    char text[512];
    const char *bootstrap = getenv("KASAGA_BOOTSTRAP");
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (bootstrap == NULL || *bootstrap == '\0')
        die("KASAGA_BOOTSTRAP", "not set");
    if (rd_kafka_conf_set(conf, "bootstrap.servers", bootstrap, text, sizeof text) !=
        RD_KAFKA_CONF_OK)
        die("bootstrap.servers", text);
    rd_kafka_t *client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    if (client == NULL)
        die("client", text);
    return client;
}

// The topics of a result of any of the three requests.
static const rd_kafka_topic_result_t **results(rd_kafka_event_t *event, size_t *count)
{
    switch ((int)rd_kafka_event_type(event)) {
    case RD_KAFKA_EVENT_CREATETOPICS_RESULT:
        return rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event),
                                                   count);
    case RD_KAFKA_EVENT_CREATEPARTITIONS_RESULT:
        return rd_kafka_CreatePartitions_result_topics(
            rd_kafka_event_CreatePartitions_result(event), count);
    default:
        return rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event),
                                                   count);
    }
}

static void await_result(rd_kafka_queue_t *queue)
{
    size_t count = 0;
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, WAIT_MS);
    if (event == NULL)
        die("cluster", "no answer");
    if (rd_kafka_event_error(event))
        die("cluster", rd_kafka_event_error_string(event));
    const rd_kafka_topic_result_t **all = results(event, &count);
    for (size_t i = 0; i < count; i++)
        if (rd_kafka_topic_result_error(all[i]))
            die(rd_kafka_topic_result_name(all[i]),
                rd_kafka_err2str(rd_kafka_topic_result_error(all[i])));
    rd_kafka_event_destroy(event);
}

static void create(rd_kafka_t *client, rd_kafka_queue_t *queue, int argc, char **argv)
{
    char text[512];
    int partitions = argc > 1 ? atoi(argv[1]) : 1;
    rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(argv[0], partitions, -1, text, sizeof text);
    if (topic == NULL)
        die(argv[0], text);
    for (int i = 2; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (value == NULL)
            die(argv[i], "not KEY=VALUE");
        *value = '\0';
        rd_kafka_NewTopic_set_config(topic, argv[i], value + 1);
    }
    rd_kafka_CreateTopics(client, &topic, 1, NULL, queue);
    await_result(queue);
    rd_kafka_NewTopic_destroy(topic);
}

static void grow(rd_kafka_t *client, rd_kafka_queue_t *queue, const char *name,
                 const char *partitions)
{
    char text[512];
    size_t total = (size_t)strtoul(partitions, NULL, 10);
    rd_kafka_NewPartitions_t *more = rd_kafka_NewPartitions_new(name, total, text, sizeof text);
    if (more == NULL)
        die(name, text);
    rd_kafka_CreatePartitions(client, &more, 1, NULL, queue);
    await_result(queue);
    rd_kafka_NewPartitions_destroy(more);
}

static void drop(rd_kafka_t *client, rd_kafka_queue_t *queue, const char *name)
{
    rd_kafka_DeleteTopic_t *topic = rd_kafka_DeleteTopic_new(name);
    rd_kafka_DeleteTopics(client, &topic, 1, NULL, queue);
    await_result(queue);
    rd_kafka_DeleteTopic_destroy(topic);
}

static void trim(rd_kafka_t *client, rd_kafka_queue_t *queue, char **argv)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, argv[0], atoi(argv[1]))->offset =
        strtoll(argv[2], NULL, 10);
    rd_kafka_DeleteRecords_t *order = rd_kafka_DeleteRecords_new(list);
    rd_kafka_DeleteRecords(client, &order, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, WAIT_MS);
    if (event == NULL || rd_kafka_event_error(event))
        die(argv[0], event == NULL ? "no answer" : rd_kafka_event_error_string(event));
    rd_kafka_event_destroy(event);
    rd_kafka_DeleteRecords_destroy(order);
    rd_kafka_topic_partition_list_destroy(list);
}

// As an operator's tool does it: without metadata.
static void set_offset(rd_kafka_t *client, rd_kafka_queue_t *queue, char **argv)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t *part =
        rd_kafka_topic_partition_list_add(list, argv[1], atoi(argv[2]));
    part->offset = strtoll(argv[3], NULL, 10);
    rd_kafka_AlterConsumerGroupOffsets_t *alter =
        rd_kafka_AlterConsumerGroupOffsets_new(argv[0], list);
    rd_kafka_DeleteConsumerGroupOffsets_t *forget =
        rd_kafka_DeleteConsumerGroupOffsets_new(argv[0], list);
    if (strcmp(argv[3], "none") == 0)
        rd_kafka_DeleteConsumerGroupOffsets(client, &forget, 1, NULL, queue);
    else
        rd_kafka_AlterConsumerGroupOffsets(client, &alter, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, WAIT_MS);
    if (event == NULL || rd_kafka_event_error(event))
        die("offset", event == NULL ? "no answer" : rd_kafka_event_error_string(event));
    rd_kafka_event_destroy(event);
    rd_kafka_AlterConsumerGroupOffsets_destroy(alter);
    rd_kafka_DeleteConsumerGroupOffsets_destroy(forget);
    rd_kafka_topic_partition_list_destroy(list);
}

int main(int argc, char **argv)
{
    if (argc < 3 || (strcmp(argv[1], "grow") == 0 && argc != 4)) {
        fputs(usage, stderr);
        return 2;
    }
    rd_kafka_t *client = connect_client();
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    int status = 0;
    if (strcmp(argv[1], "create") == 0)
        create(client, queue, argc - 2, argv + 2);
    else if (strcmp(argv[1], "grow") == 0)
        grow(client, queue, argv[2], argv[3]);
    else if (strcmp(argv[1], "delete") == 0)
        drop(client, queue, argv[2]);
    else if (strcmp(argv[1], "trim") == 0 && argc == 5)
        trim(client, queue, argv + 2);
    else if (strcmp(argv[1], "offset") == 0 && argc == 6)
        set_offset(client, queue, argv + 2);
    else
        status = (fputs(usage, stderr), 2);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(client);
    return status;
}
