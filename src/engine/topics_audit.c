// SPDX-License-Identifier: Apache-2.0
// An error is a setting with which a promise does not hold or workers cannot work; everything that
// is only weaker than it should be is a warning. One finding names all topics or brokers that it
// is true of: a cluster with one broker is one warning, not nine.
#include "engine/topics_audit.h"

#include "core/meta.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    CALL_MS = 10000,
    FINDINGS_MAX = 128,
    NAMES_MAX = 2048, // topics and brokers of one finding
    REPLICAS_ADVISED = 3,
    DAY_MS = 24 * 60 * 60 * 1000,
    OFFSETS_MIN = 7 * 24 * 60,
    CLIENT_BATCH = 1000000 // librdkafka's default of batch.size and message.max.bytes
};

// ---- Findings

static bool same(const struct topics_finding *finding, const struct topics_finding *other)
{
    return finding->error == other->error && strcmp(finding->kind, other->kind) == 0 &&
           strcmp(finding->setting, other->setting) == 0 &&
           strcmp(finding->value, other->value) == 0 && strcmp(finding->text, other->text) == 0;
}

static struct topics_finding *place_for(struct topics_audit *audit,
                                        const struct topics_finding *wanted)
{
    struct topics_plan *plan = audit->plan;
    for (size_t i = 0; i < plan->finding_count; i++) {
        if (same(&plan->findings[i], wanted))
            return &plan->findings[i];
    }
    if (plan->findings == NULL)
        plan->findings = arena_zalloc(audit->arena, FINDINGS_MAX * sizeof *plan->findings);
    if (plan->finding_count == FINDINGS_MAX)
        return NULL;
    struct topics_finding *finding = &plan->findings[plan->finding_count++];
    *finding = *wanted;
    finding->value = arena_str(audit->arena, slice_str(wanted->value));
    finding->text = arena_str(audit->arena, slice_str(wanted->text));
    plan->errors += finding->error;
    return finding;
}

static void add_name(struct topics_audit *audit, struct topics_finding *finding, const char *name)
{
    size_t count = finding->name_count;
    if (count == NAMES_MAX)
        return;
    if ((count & (count - 1)) == 0) { // full at each power of two
        const char **grown =
            arena_alloc(audit->arena, (count == 0 ? 1 : 2 * count) * sizeof *grown);
        if (count > 0)
            memcpy(grown, finding->names, count * sizeof *grown);
        finding->names = grown;
    }
    finding->names[finding->name_count++] = arena_str(audit->arena, slice_str(name));
}

struct subject {
    const char *kind; // "topic", "broker"
    const char *name;
};

static void find(struct topics_audit *audit, bool error, const struct subject *subject,
                 const char *setting, const char *value, const char *format, ...) KA_PRINTF(6, 7);
static void find(struct topics_audit *audit, bool error, const struct subject *subject,
                 const char *setting, const char *value, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    struct topics_finding wanted = {
        .error = error, .kind = subject->kind, .setting = setting, .value = value, .text = line};
    struct topics_finding *finding = place_for(audit, &wanted);
    if (finding != NULL)
        add_name(audit, finding, subject->name);
}

static bool names(const char *list, const char *word)
{
    const char *at = strstr(list, word);
    return at != NULL && (at == list || at[-1] == ',');
}

static int64_t number(const struct io_kafka_settings *settings, const char *name, int64_t absent)
{
    const char *value = io_kafka_setting(settings, name);
    return value[0] == '\0' ? absent : strtoll(value, NULL, 10);
}

static bool is_true(const struct io_kafka_settings *settings, const char *name)
{
    return strcmp(io_kafka_setting(settings, name), "true") == 0;
}

// ---- Copies

static void judge_copies(struct topics_audit *audit, const struct subject *subject,
                         int32_t replicas, int64_t insync)
{
    char copies[16], needed[24];
    snprintf(copies, sizeof copies, "%d", replicas);
    snprintf(needed, sizeof needed, "%" PRId64, insync);
    if (insync > replicas)
        find(audit, true, subject, "min.insync.replicas", needed,
             "above the %d replicas: nothing can be written", replicas);
    else if (replicas > 1 && insync == replicas)
        find(audit, false, subject, "min.insync.replicas", needed,
             "with %d replicas: while one broker is away nothing can be written", replicas);
    else if (replicas > 1 && insync < 2)
        find(audit, false, subject, "min.insync.replicas", needed,
             "one replica alone confirms a commit, and it is lost with that one; 2 is advised");
    if (replicas < REPLICAS_ADVISED)
        find(audit, false, subject, "replication.factor", copies, "%s; %d is advised",
             replicas == 1 ? "what was committed is lost with its broker"
                           : "no broker may be lost while another one is away",
             REPLICAS_ADVISED);
}

// ---- Topics

static void judge_cleanup(struct topics_audit *audit, const struct topic_entry *entry,
                          const struct subject *subject, const struct io_kafka_settings *found)
{
    const char *policy = io_kafka_setting(found, "cleanup.policy");
    if (entry->role == TOPIC_CATALOG || entry->role == TOPIC_LINKS) {
        if (!names(policy, "compact") || names(policy, "delete"))
            find(audit, true, subject, "cleanup.policy", policy,
                 entry->role == TOPIC_CATALOG ? "definitions are forgotten: set compact"
                                              : "progress is forgotten: set compact");
    } else if (names(policy, "compact")) {
        bool input = entry->role == TOPIC_INPUT;
        find(audit, !input, subject, "cleanup.policy", policy,
             input ? "only the last event of a key is sure to be read"
                   : "records that are needed are deleted: set delete");
    }
}

static int64_t keep_of(const struct config *config, enum topic_role role)
{
    switch (role) {
    case TOPIC_HISTORY:
        return config->topics.history_keep_ms;
    case TOPIC_REPLIES:
        return config->topics.replies_keep_ms;
    case TOPIC_DLQ:
        return config->topics.dlq_keep_ms;
    case TOPIC_AUDIT:
        return config->topics.audit_keep_ms;
    case TOPIC_OUT:
        return config->topics.out_keep_ms;
    case TOPIC_INPUT:
        return DAY_MS;
    case TOPIC_INBOX:
    case TOPIC_STATE:
    case TOPIC_CATALOG:
    case TOPIC_LINKS:
    case TOPIC_LOAD:
        return 0;
    }
    return 0;
}

static void judge_retention(struct topics_audit *audit, const struct topic_entry *entry,
                            const struct subject *subject, const struct io_kafka_settings *found)
{
    const char *time = io_kafka_setting(found, "retention.ms");
    const char *bytes = io_kafka_setting(found, "retention.bytes");
    int64_t time_ms = number(found, "retention.ms", -1);
    bool bounded = number(found, "retention.bytes", -1) >= 0;
    bool input = entry->role == TOPIC_INPUT;
    bool compacted = entry->role == TOPIC_CATALOG || entry->role == TOPIC_LINKS;
    if (compacted || !names(io_kafka_setting(found, "cleanup.policy"), "delete"))
        return;
    if (entry->role == TOPIC_INBOX || entry->role == TOPIC_STATE) {
        if (time_ms >= 0)
            find(audit, true, subject, "retention.ms", time,
                 "records can be deleted before they are read: set -1");
        if (bounded)
            find(audit, true, subject, "retention.bytes", bytes,
                 "records can be deleted before they are read: set -1");
        return;
    }
    if (time_ms >= 0 && time_ms < keep_of(audit->config, entry->role))
        find(audit, false, subject, "retention.ms", time,
             input ? "events are gone when no worker reads them for that long"
                   : "less than the configuration says (topics.%s_keep)",
             topic_role_name(entry->role));
    if (bounded)
        find(audit, false, subject, "retention.bytes", bytes,
             input ? "events can be gone before they are read"
                   : "records can be gone before their time (topics.%s_keep)",
             topic_role_name(entry->role));
}

// Full batches of a worker's producers: a broker takes a batch whole or not at all.
static int64_t client_batch(const struct config_kafka *kafka)
{
    int64_t batch = CLIENT_BATCH;
    int64_t largest = CLIENT_BATCH;
    for (size_t i = 0; i < kafka->property_count; i++) {
        if (strcmp(kafka->property_names[i], "batch.size") == 0)
            batch = strtoll(kafka->property_values[i], NULL, 10);
        if (strcmp(kafka->property_names[i], "message.max.bytes") == 0)
            largest = strtoll(kafka->property_values[i], NULL, 10);
    }
    return batch < largest ? batch : largest;
}

static void judge_size(struct topics_audit *audit, const struct subject *subject, bool state,
                       const char *setting, const struct io_kafka_settings *found)
{
    const struct config *config = audit->config;
    int64_t largest = number(found, setting, INT64_MAX);
    int64_t needed = state ? config->state_max : config->record_max;
    int64_t batch = client_batch(&config->kafka);
    if (largest < needed)
        find(audit, true, subject, setting, io_kafka_setting(found, setting),
             "below %s = %" PRId64 ": larger records end in the dlq",
             state ? "state_max" : "record_max", needed);
    else if (largest < batch)
        find(audit, false, subject, setting, io_kafka_setting(found, setting),
             "below the %" PRId64 " bytes of a full batch: such a transaction is done again, one "
             "record at a time",
             batch);
}

static void judge_election(struct topics_audit *audit, bool error, const struct subject *subject,
                           const struct io_kafka_settings *found)
{
    if (is_true(found, "unclean.leader.election.enable"))
        find(audit, error, subject, "unclean.leader.election.enable", "true",
             error ? "an election can undo commits: set false"
                   : "an election can lose events, and park what reads them");
}

void topics_audit_topic(struct topics_audit *audit, const struct topic_entry *entry,
                        const struct io_kafka_settings *found)
{
    struct subject subject = {"topic", entry->name};
    bool own = entry->role != TOPIC_INPUT;
    int64_t insync = own ? number(found, "min.insync.replicas", 1) : 1;
    if (own)
        judge_copies(audit, &subject, entry->replicas, insync);
    judge_election(audit, own, &subject, found);
    judge_cleanup(audit, entry, &subject, found);
    judge_retention(audit, entry, &subject, found);
    if (own)
        judge_size(audit, &subject, entry->role == TOPIC_STATE, "max.message.bytes", found);
}

void topics_audit_internal(struct topics_audit *audit, const char *topic, int32_t replicas,
                           const struct io_kafka_settings *found)
{
    struct subject subject = {"topic", topic};
    bool transactions = strcmp(topic, "__transaction_state") == 0;
    if (replicas > 0) {
        judge_copies(audit, &subject, replicas, number(found, "min.insync.replicas", 1));
        judge_election(audit, true, &subject, found);
        const char *policy = io_kafka_setting(found, "cleanup.policy");
        if (names(policy, "delete"))
            find(audit, true, &subject, "cleanup.policy", policy,
                 "offsets and transactions are forgotten: set compact");
        return;
    }
    const char *copies = transactions ? "transaction.state.log.replication.factor"
                                      : "offsets.topic.replication.factor";
    const char *insync = transactions ? "transaction.state.log.min.isr" : "min.insync.replicas";
    int64_t wanted = number(found, copies, REPLICAS_ADVISED);
    if (wanted > audit->brokers)
        find(audit, true, &subject, copies, io_kafka_setting(found, copies),
             "there are %d brokers: the topic cannot be created, and nothing can be committed",
             audit->brokers);
    else
        judge_copies(audit, &subject, (int32_t)wanted, number(found, insync, 1));
}

// ---- Brokers

void topics_audit_broker(struct topics_audit *audit, int32_t broker,
                         const struct io_kafka_settings *found)
{
    char name[16];
    struct subject subject = {"broker", name};
    const struct config_kafka *kafka = &audit->config->kafka;
    snprintf(name, sizeof name, "%d", broker);
    if (number(found, "transaction.max.timeout.ms", INT64_MAX) < kafka->transaction_timeout_ms)
        find(audit, true, &subject, "transaction.max.timeout.ms",
             io_kafka_setting(found, "transaction.max.timeout.ms"),
             "below kafka.transaction_timeout = %d ms: workers cannot start",
             kafka->transaction_timeout_ms);
    if (number(found, "group.min.session.timeout.ms", 0) > kafka->session_timeout_ms)
        find(audit, true, &subject, "group.min.session.timeout.ms",
             io_kafka_setting(found, "group.min.session.timeout.ms"),
             "above kafka.session_timeout = %d ms: no worker can join", kafka->session_timeout_ms);
    if (number(found, "group.max.session.timeout.ms", INT64_MAX) < kafka->session_timeout_ms)
        find(audit, true, &subject, "group.max.session.timeout.ms",
             io_kafka_setting(found, "group.max.session.timeout.ms"),
             "below kafka.session_timeout = %d ms: no worker can join", kafka->session_timeout_ms);
    if (number(found, "offset.metadata.max.bytes", INT64_MAX) < META_MAX)
        find(audit, true, &subject, "offset.metadata.max.bytes",
             io_kafka_setting(found, "offset.metadata.max.bytes"),
             "below the %d bytes that ride with an offset: commits are refused", META_MAX);
    if (number(found, "offsets.retention.minutes", INT64_MAX) < OFFSETS_MIN)
        find(audit, false, &subject, "offsets.retention.minutes",
             io_kafka_setting(found, "offsets.retention.minutes"),
             "an app without workers for that long loses its place and stops; %d is advised",
             OFFSETS_MIN);
}

void topics_audit_planned(struct topics_audit *audit, const struct io_kafka_settings *broker)
{
    const struct config_topics *topics = &audit->config->topics;
    int64_t replicas = topics->replication > 0 ? topics->replication
                                               : number(broker, "default.replication.factor", 1);
    int64_t insync = topics->min_insync_replicas > 0 ? topics->min_insync_replicas
                                                     : number(broker, "min.insync.replicas", 1);
    for (size_t i = 0; i < audit->plan->count; i++) {
        const struct topic_entry *entry = &audit->plan->entries[i];
        struct subject subject = {"topic", entry->name};
        char copies[24];
        snprintf(copies, sizeof copies, "%" PRId64, replicas);
        if (entry->action != TOPIC_CREATE)
            continue;
        if (replicas > audit->brokers)
            find(audit, true, &subject, "replication.factor", copies,
                 "there are %d brokers: it cannot be created", audit->brokers);
        else if (entry->role != TOPIC_INPUT)
            judge_copies(audit, &subject, (int32_t)replicas, insync);
        if (entry->role != TOPIC_INPUT)
            judge_size(audit, &subject, entry->role == TOPIC_STATE, "message.max.bytes", broker);
    }
}

void topics_check(const struct config *config, struct arena *arena, struct topics_plan *plan)
{
    struct topics_audit audit = {.config = config, .arena = arena, .plan = plan};
    for (size_t i = 0; i < plan->count; i++) {
        const struct topic_entry *entry = &plan->entries[i];
        struct subject subject = {"topic", entry->name};
        if (entry->action == TOPIC_REFUSE)
            find(&audit, true, &subject, "", "", "%s", entry->refused);
        else if (entry->action == TOPIC_CREATE)
            find(&audit, false, &subject, "", "", "missing: kasaga topics apply creates it");
    }
    for (size_t i = 0; i < plan->offsets_count; i++) {
        const struct topic_offsets *offsets = &plan->offsets[i];
        struct subject subject = {"topic", offsets->topic};
        if (offsets->refused != NULL)
            find(&audit, true, &subject, "", "", "%s", offsets->refused);
        else
            find(&audit, false, &subject, "", "",
                 "group %s has no offset for some partitions: kasaga topics apply writes the first",
                 offsets->group);
    }
}

// ---- The whole

static enum ka_err audit_topics(struct topics_audit *audit, struct io_kafka_admin *admin,
                                struct err_text *text)
{
    for (size_t i = 0; i < audit->plan->count; i++) {
        const struct topic_entry *entry = &audit->plan->entries[i];
        struct io_kafka_settings found;
        struct subject subject = {"topic", entry->name};
        if (entry->found == 0)
            continue;
        enum ka_err err =
            io_kafka_topic_config(admin, entry->name, CALL_MS, audit->arena, &found, text);
        if (err == KA_OK)
            topics_audit_topic(audit, entry, &found);
        else if (err == KA_ERR_NOT_ALLOWED) // nothing is known, nothing is wrong
            find(audit, false, &subject, "", "", "the settings may not be read");
        else
            return err;
    }
    return KA_OK;
}

static int32_t replicas_of(const struct io_kafka_topic *topics, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(topics[i].name, name) == 0)
            return topics[i].replicas;
    }
    return 0;
}

enum ka_err topics_audit_run(struct topics_audit *audit, struct io_kafka_admin *admin,
                             const struct io_kafka_topic *topics, size_t topic_count,
                             struct err_text *text)
{
    static const char *const internal[] = {"__transaction_state", "__consumer_offsets"};
    const int32_t *brokers;
    size_t broker_count;
    struct io_kafka_settings defaults = {.count = 0};
    enum ka_err err = audit_topics(audit, admin, text);
    if (err == KA_OK)
        err = io_kafka_brokers(admin, CALL_MS, audit->arena, &brokers, &broker_count, text);
    if (err != KA_OK)
        return err;
    audit->brokers = (int32_t)broker_count;
    audit->plan->brokers = audit->brokers;
    for (size_t i = 0; i < broker_count; i++) {
        struct io_kafka_settings found;
        char name[16];
        struct subject subject = {"broker", name};
        snprintf(name, sizeof name, "%d", brokers[i]);
        err = io_kafka_broker_config(admin, brokers[i], CALL_MS, audit->arena, &found, text);
        if (err == KA_ERR_NOT_ALLOWED)
            find(audit, false, &subject, "", "", "the settings may not be read");
        else if (err != KA_OK)
            return err;
        else
            topics_audit_broker(audit, brokers[i], &found);
        if (err == KA_OK && defaults.count == 0)
            defaults = found;
    }
    if (defaults.count > 0)
        topics_audit_planned(audit, &defaults);
    for (size_t i = 0; i < sizeof internal / sizeof internal[0]; i++) {
        struct io_kafka_settings found = defaults;
        int32_t replicas = replicas_of(topics, topic_count, internal[i]);
        err = replicas == 0
                  ? KA_OK
                  : io_kafka_topic_config(admin, internal[i], CALL_MS, audit->arena, &found, text);
        if (err == KA_OK && found.count > 0)
            topics_audit_internal(audit, internal[i], replicas, &found);
        else if (err != KA_OK && err != KA_ERR_NOT_ALLOWED)
            return err;
    }
    return KA_OK;
}
