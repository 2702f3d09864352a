// SPDX-License-Identifier: Apache-2.0
// Topics of this cluster that a link writes: created with the source's partitions and policy, and
// never less durable than what is configured here or was promised there. What exists is looked at
// and never changed, but for partitions that are missing.
#include "bridge/scout_internal.h"

#include "io/log.h"

#include <stdio.h>
#include <stdlib.h>

enum { CREATE_MS = 10000, SETTINGS_MAX = 8, BATCH_BYTES = 1000000 };

static void block(struct link_mirror *topic, const char *what, const struct err_text *text)
{
    snprintf(topic->blocked, sizeof topic->blocked, "%s %s: %s", what, topic->target, text->text);
    log_warn("link", "blocked", "topic=%s target=%s error=%s", topic->name, topic->target,
             text->text);
}

// The larger of what is configured here and what the source has, as far as replicas allow it.
static int32_t insync_of(const struct scout *scout, const struct io_kafka_settings *source)
{
    const char *there = io_kafka_setting(source, "min.insync.replicas");
    int32_t wanted = scout->config.min_insync_replicas;
    int32_t least = (int32_t)strtol(there, NULL, 10);
    if (scout->config.replication > 0 && least > scout->config.replication)
        least = scout->config.replication;
    return least > wanted ? least : wanted;
}

void scout_make_target(struct scout *scout, struct link_mirror *topic)
{
    struct err_text text = {""};
    topic->blocked[0] = '\0';
    if (topic->target_partitions > 0) {
        enum ka_err err = io_kafka_grow_topic(scout->config.target, topic->target,
                                              topic->partitions, CREATE_MS, &text);
        if (err != KA_OK)
            block(topic, "cannot grow", &text);
        else
            log_info("link", "grown", "topic=%s partitions=%d", topic->target, topic->partitions);
        return;
    }
    struct io_kafka_settings source = {NULL, NULL, 0};
    enum ka_err err = io_kafka_topic_config(scout->admin, topic->name, SCOUT_CALL_MS, &scout->arena,
                                            &source, &text);
    if (err != KA_OK) { // may not be asked, or not now: the broker's defaults then
        log_info("link", "settings_unknown", "topic=%s error=%s", topic->name, text.text);
        source.count = 0;
    }
    enum { LARGEST }; // of the list that follows
    static const char *const copied[] = {"max.message.bytes", "cleanup.policy", "retention.ms",
                                         "retention.bytes", "delete.retention.ms"};
    const char *names[SETTINGS_MAX];
    const char *values[SETTINGS_MAX];
    size_t count = 0;
    char insync[16];
    for (size_t i = 0; i < sizeof copied / sizeof copied[0]; i++) {
        const char *value = io_kafka_setting(&source, copied[i]);
        bool small = i == LARGEST && strtoll(value, NULL, 10) < BATCH_BYTES;
        if (value[0] != '\0' && !small) {
            names[count] = copied[i];
            values[count++] = value;
        }
    }
    names[count] = "message.timestamp.type"; // the times of the records are kept
    values[count++] = "CreateTime";
    names[count] = "unclean.leader.election.enable";
    values[count++] = "false";
    if (insync_of(scout, &source) > 0) {
        snprintf(insync, sizeof insync, "%d", insync_of(scout, &source));
        names[count] = "min.insync.replicas";
        values[count++] = insync;
    }
    const struct io_kafka_topic_spec spec = {
        .name = topic->target,
        .partitions = topic->partitions,
        .replication = scout->config.replication > 0 ? scout->config.replication : -1,
        .config_names = names,
        .config_values = values,
        .config_count = count,
    };
    bool created = false;
    err = io_kafka_create_topics(scout->config.target, &spec, 1, CREATE_MS, &created, &text);
    if (err != KA_OK)
        block(topic, "cannot create", &text);
    else if (created)
        log_info("link", "created", "topic=%s source=%s partitions=%d", topic->target, topic->name,
                 topic->partitions);
}

void scout_check_target(struct scout *scout, struct link_mirror *topic)
{
    struct io_kafka_settings found;
    struct err_text text = {""};
    enum ka_err err = io_kafka_topic_config(scout->config.target, topic->target, SCOUT_CALL_MS,
                                            &scout->arena, &found, &text);
    if (err != KA_OK) // may not be asked: nothing is known, nothing is wrong
        return;
    const char *times = io_kafka_setting(&found, "message.timestamp.type");
    const char *largest = io_kafka_setting(&found, "max.message.bytes");
    topic->target_max = largest[0] == '\0' ? 0 : strtoll(largest, NULL, 10);
    if (strcmp(times, "LogAppendTime") == 0) {
        err_set(&text, KA_ERR_CONFIG,
                "message.timestamp.type=LogAppendTime: the times of the records would be lost");
        block(topic, "will not write", &text);
    } else if (largest[0] != '\0' && strtoll(largest, NULL, 10) < BATCH_BYTES) {
        err_set(&text, KA_ERR_CONFIG,
                "max.message.bytes=%s is below the batches of a link, %d bytes", largest,
                BATCH_BYTES);
        block(topic, "will not write", &text);
    }
}
