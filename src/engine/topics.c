// SPDX-License-Identifier: Apache-2.0
// What makes it hard: offsets. A group without an offset is either new or has lost it (retention
// of offsets, a wrong group name). The two must not be mixed up: a first offset written over a loss
// would start the app again from another place, in silence. So the inbox gets first offsets only
// while the state of the same shard has never held a record.
#include "engine/topics.h"

#include "core/assert.h"
#include "engine/topics_audit.h"
#include "io/clock.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    CALL_MS = 10000,
    CREATE_MS = 30000,
    INPUTS_MAX = 1024,      // bound of the plan; a configuration is refused far below it
    LOAD_KEEP_MS = 3600000, // a beat is of use for seconds
    OWN_TOPICS = 9
};

static const char *const role_names[] = {"inbox", "state", "history", "replies", "dlq",  "catalog",
                                         "audit", "out",   "links",   "load",    "input"};
static const char *const action_names[] = {"exists", "create", "refuse"};

const char *topic_role_name(enum topic_role role)
{
    KA_ASSERT((size_t)role < sizeof role_names / sizeof role_names[0]);
    return role_names[role];
}

const char *topic_action_name(enum topic_action action)
{
    KA_ASSERT((size_t)action < sizeof action_names / sizeof action_names[0]);
    return action_names[action];
}

void topics_finding_text(const struct topics_finding *finding, struct buf *buf)
{
    buf_str(buf, finding->error ? "error   " : "warning ");
    buf_str(buf, finding->kind);
    buf_str(buf, finding->name_count > 1 ? "s " : " ");
    for (size_t i = 0; i < finding->name_count; i++) {
        buf_str(buf, i == 0 ? "" : ", ");
        buf_str(buf, finding->names[i]);
    }
    buf_str(buf, ": ");
    if (finding->setting[0] != '\0') {
        buf_str(buf, finding->setting);
        buf_byte(buf, '=');
        buf_str(buf, finding->value);
        buf_str(buf, ": ");
    }
    buf_str(buf, finding->text);
}

static void json_member_text(struct buf *buf, const char *name, const char *value)
{
    buf_str(buf, ",\"");
    buf_str(buf, name);
    buf_str(buf, "\":");
    buf_json_str(buf, slice_str(value));
}

void topics_finding_json(const struct topics_finding *finding, struct buf *buf)
{
    buf_str(buf, "{\"severity\":");
    buf_json_str(buf, slice_str(finding->error ? "error" : "warning"));
    json_member_text(buf, "kind", finding->kind);
    buf_str(buf, ",\"names\":[");
    for (size_t i = 0; i < finding->name_count; i++) {
        buf_str(buf, i == 0 ? "" : ",");
        buf_json_str(buf, slice_str(finding->names[i]));
    }
    buf_byte(buf, ']');
    json_member_text(buf, "setting", finding->setting);
    json_member_text(buf, "value", finding->value);
    json_member_text(buf, "text", finding->text);
    buf_byte(buf, '}');
}

static const char *print(struct arena *arena, const char *format, ...) KA_PRINTF(2, 3);
static const char *print(struct arena *arena, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    return arena_str(arena, slice_str(line));
}

static void set(struct topic_entry *entry, const char *name, const char *value)
{
    KA_ASSERT(entry->setting_count < TOPIC_SETTINGS_MAX);
    entry->setting_names[entry->setting_count] = name;
    entry->setting_values[entry->setting_count++] = value;
}

static void set_number(struct topic_entry *entry, struct arena *arena, const char *name,
                       int64_t value)
{
    set(entry, name, print(arena, "%" PRId64, value));
}

// What a topic of this role is created with. Everything that a promise rests on is said
// explicitly: the broker's defaults are somebody else's to change.
static void settle(struct topic_entry *entry, const struct config *config, struct arena *arena)
{
    bool own = entry->role != TOPIC_INPUT;
    switch (entry->role) {
    case TOPIC_INBOX:
    case TOPIC_STATE:
        set(entry, "cleanup.policy", "delete");
        set(entry, "retention.ms", "-1");
        set(entry, "retention.bytes", "-1");
        set_number(entry, arena, "segment.bytes", 128 << 20); // trimmed by the segment
        break;
    case TOPIC_HISTORY:
        set(entry, "cleanup.policy", "delete");
        set_number(entry, arena, "retention.ms", config->topics.history_keep_ms);
        break;
    case TOPIC_REPLIES:
        set(entry, "cleanup.policy", "delete");
        set_number(entry, arena, "retention.ms", config->topics.replies_keep_ms);
        break;
    case TOPIC_DLQ:
        set(entry, "cleanup.policy", "delete");
        set_number(entry, arena, "retention.ms", config->topics.dlq_keep_ms);
        break;
    case TOPIC_AUDIT:
        set(entry, "cleanup.policy", "delete");
        set_number(entry, arena, "retention.ms", config->topics.audit_keep_ms);
        break;
    case TOPIC_OUT:
        set(entry, "cleanup.policy", "delete");
        set_number(entry, arena, "retention.ms", config->topics.out_keep_ms);
        break;
    case TOPIC_CATALOG:
        set(entry, "cleanup.policy", "compact");
        set(entry, "message.timestamp.type", "LogAppendTime"); // tells workers the broker's time
        set_number(entry, arena, "segment.bytes", 16 << 20);
        break;
    case TOPIC_LINKS: // small segments and an eager cleaner: a new owner reads little
        set(entry, "cleanup.policy", "compact");
        set_number(entry, arena, "segment.bytes", 4 << 20);
        set(entry, "min.cleanable.dirty.ratio", "0.2");
        break;
    case TOPIC_LOAD:
        set(entry, "cleanup.policy", "delete");
        set_number(entry, arena, "retention.ms", LOAD_KEEP_MS);
        set_number(entry, arena, "segment.bytes", 1 << 20);
        break;
    case TOPIC_INPUT:
        break;
    }
    if (own && config->topics.min_insync_replicas > 0)
        set_number(entry, arena, "min.insync.replicas", config->topics.min_insync_replicas);
    if (own)
        set(entry, "unclean.leader.election.enable", "false");
}

static void compare(struct topic_entry *entry, const struct config *config, struct arena *arena)
{
    if (entry->found == 0) {
        entry->action = TOPIC_CREATE;
        settle(entry, config, arena);
        return;
    }
    entry->action = TOPIC_EXISTS;
    if (entry->role == TOPIC_INPUT) {
        entry->partitions = entry->found;
        return;
    }
    if (entry->found == entry->partitions)
        return;
    entry->action = TOPIC_REFUSE;
    if (entry->role == TOPIC_LOAD)
        entry->refused = print(arena, "has %d partitions: it has one", entry->found);
    else if (entry->role == TOPIC_CATALOG)
        entry->refused = print(arena, "has %d partitions: the catalog has one", entry->found);
    else if (entry->role == TOPIC_LINKS)
        entry->refused = print(arena,
                               "has %d partitions, link_slots = %d: the number is fixed when it is "
                               "created",
                               entry->found, config->link_slots);
    else
        entry->refused = print(arena,
                               "has %d partitions, shards = %d: the number of shards is fixed when "
                               "the app is created",
                               entry->found, config->shards);
}

static void add_entry(struct topics_plan *plan, const char *name, enum topic_role role,
                      int32_t partitions)
{
    plan->entries[plan->count++] =
        (struct topic_entry){.name = name, .role = role, .partitions = partitions};
}

static bool has_entry(const struct topics_plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->count; i++) {
        if (strcmp(plan->entries[i].name, name) == 0)
            return true;
    }
    return false;
}

// Of a region where sagas run: a hub holds copies and how far they are.
static void list_own(const struct config *config, struct arena *arena, struct topics_plan *plan)
{
    for (int role = TOPIC_INBOX; role <= TOPIC_CATALOG; role++)
        add_entry(plan, print(arena, "%s.%s", config->app, role_names[role]), (enum topic_role)role,
                  role == TOPIC_CATALOG ? 1 : config->shards);
    if (config->region_count > 0)
        add_entry(plan, print(arena, "%s.audit", config->app), TOPIC_AUDIT, config->shards);
    for (size_t i = 0; i < config->region_count; i++)
        if (strcmp(config->regions[i].name, config->region) != 0 && !config->regions[i].hub)
            add_entry(plan, print(arena, "%s.out.%s", config->app, config->regions[i].name),
                      TOPIC_OUT, config->shards);
    if (config->region_count > 1)
        add_entry(plan, print(arena, "%s.load", config->app), TOPIC_LOAD, 1);
}

static void list_topics(const struct config *config, struct arena *arena, struct topics_plan *plan)
{
    if (!config->hub)
        list_own(config, arena, plan);
    if (config->link_count > 0)
        add_entry(plan, print(arena, "%s.links", config->app), TOPIC_LINKS, config->link_slots);
    for (size_t i = 0; i < config->route_count && plan->count < INPUTS_MAX; i++) {
        if (!has_entry(plan, config->routes[i].topic))
            add_entry(plan, config->routes[i].topic, TOPIC_INPUT, config->topics.input_partitions);
    }
}

static void take_found(struct topics_plan *plan, const struct io_kafka_topic *topics, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < plan->count; j++) {
            if (strcmp(plan->entries[j].name, topics[i].name) != 0)
                continue;
            plan->entries[j].found = topics[i].partitions;
            plan->entries[j].replicas = topics[i].replicas;
        }
    }
}

// Committed offsets of all partitions of a topic, -1 where there is none.
static enum ka_err committed_of(struct io_kafka_admin *admin, const char *group, const char *topic,
                                int32_t partitions, struct arena *arena,
                                struct io_kafka_committed **entries, struct err_text *text)
{
    *entries = arena_zalloc(arena, (size_t)partitions * sizeof **entries);
    for (int32_t i = 0; i < partitions; i++)
        (*entries)[i] = (struct io_kafka_committed){.topic = topic, .partition = i};
    return io_kafka_committed(admin, group, false, CALL_MS, *entries, (size_t)partitions, arena,
                              text);
}

// An inbox partition without an offset although its shard has a state: the offset was lost.
static enum ka_err look_for_loss(const struct config *config, struct io_kafka_admin *admin,
                                 const struct io_kafka_committed *entries, struct arena *arena,
                                 const char **refused, struct err_text *text)
{
    const char *state = print(arena, "%s.state", config->app);
    *refused = NULL;
    for (int32_t i = 0; *refused == NULL && i < config->shards; i++) {
        int64_t start, end;
        if (entries[i].offset >= 0)
            continue;
        enum ka_err err = io_kafka_watermarks(admin, state, i, CALL_MS, &start, &end, text);
        if (err != KA_OK)
            return err;
        if (end > 0)
            *refused = print(arena,
                             "group %s has no offset for %s/%d but %s/%d has held records: the "
                             "offset was lost, a new one would repeat or skip commands",
                             config->app, entries[i].topic, i, state, i);
    }
    return KA_OK;
}

static bool exists(const struct topics_plan *plan, enum topic_role role)
{
    for (size_t i = 0; i < plan->count; i++) {
        if (plan->entries[i].role == role)
            return plan->entries[i].action == TOPIC_EXISTS;
    }
    return false;
}

static enum ka_err plan_offsets(const struct config *config, struct io_kafka_admin *admin,
                                struct arena *arena, struct topics_plan *plan,
                                const struct topic_entry *entry, struct err_text *text)
{
    bool inbox = entry->role == TOPIC_INBOX;
    const char *group = inbox ? config->app : print(arena, "%s.route", config->app);
    struct topic_offsets offsets = {
        .group = group, .topic = entry->name, .missing = entry->partitions};
    offsets.latest = entry->role == TOPIC_INPUT && config->start_at == CONF_LATEST;
    enum ka_err err = KA_OK;
    if (entry->action == TOPIC_EXISTS) {
        struct io_kafka_committed *entries;
        err = committed_of(admin, group, entry->name, entry->partitions, arena, &entries, text);
        for (int32_t i = 0; err == KA_OK && i < entry->partitions; i++) {
            if (entries[i].offset >= 0) {
                offsets.missing--;
                offsets.latest = false; // the topic grew: nothing of a new partition is skipped
            }
        }
        if (err == KA_OK && inbox && offsets.missing > 0 && exists(plan, TOPIC_STATE))
            err = look_for_loss(config, admin, entries, arena, &offsets.refused, text);
    }
    if (err == KA_OK && offsets.missing > 0)
        plan->offsets[plan->offsets_count++] = offsets;
    return err;
}

// Topics that a group of the app reads.
static bool is_read(const struct topic_entry *entry)
{
    return entry->action != TOPIC_REFUSE &&
           (entry->role == TOPIC_INBOX || entry->role == TOPIC_REPLIES ||
            entry->role == TOPIC_INPUT);
}

static void sum_up(struct topics_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        plan->creates += plan->entries[i].action == TOPIC_CREATE;
        plan->refusals += plan->entries[i].action == TOPIC_REFUSE;
    }
    for (size_t i = 0; i < plan->offsets_count; i++) {
        plan->first_offsets += (size_t)plan->offsets[i].missing;
        plan->refusals += plan->offsets[i].refused != NULL;
    }
}

enum ka_err topics_plan(const struct config *config, struct io_kafka_admin *admin,
                        struct arena *arena, struct topics_plan *plan, struct err_text *text)
{
    size_t most = OWN_TOPICS + 1 + config->region_count + config->route_count;
    *plan = (struct topics_plan){
        .app = config->app,
        .entries = arena_zalloc(arena, most * sizeof *plan->entries),
        .offsets = arena_zalloc(arena, most * sizeof *plan->offsets),
    };
    struct topics_audit audit = {.config = config, .arena = arena, .plan = plan};
    const struct io_kafka_topic *topics = NULL;
    size_t topic_count = 0;
    enum ka_err err = io_kafka_cluster_id(admin, CALL_MS, arena, &plan->cluster, text);
    list_topics(config, arena, plan);
    if (err == KA_OK)
        err = io_kafka_topics(admin, CALL_MS, arena, &topics, &topic_count, text);
    take_found(plan, topics, topic_count);
    for (size_t i = 0; err == KA_OK && i < plan->count; i++)
        compare(&plan->entries[i], config, arena);
    for (size_t i = 0; err == KA_OK && i < plan->count; i++) {
        if (is_read(&plan->entries[i]))
            err = plan_offsets(config, admin, arena, plan, &plan->entries[i], text);
    }
    if (err == KA_OK)
        err = topics_audit_run(&audit, admin, topics, topic_count, text);
    sum_up(plan);
    return err;
}

static enum ka_err create_missing(const struct config *config, struct io_kafka_admin *admin,
                                  struct arena *arena, const struct topics_plan *plan,
                                  struct err_text *text)
{
    struct io_kafka_topic_spec *specs = arena_zalloc(arena, plan->count * sizeof *specs);
    bool *created = arena_zalloc(arena, plan->count * sizeof *created);
    size_t count = 0;
    for (size_t i = 0; i < plan->count; i++) {
        const struct topic_entry *entry = &plan->entries[i];
        if (entry->action != TOPIC_CREATE)
            continue;
        specs[count++] = (struct io_kafka_topic_spec){
            .name = entry->name,
            .partitions = entry->partitions,
            .replication = config->topics.replication > 0 ? config->topics.replication : -1,
            .config_names = entry->setting_names,
            .config_values = entry->setting_values,
            .config_count = entry->setting_count,
        };
    }
    return io_kafka_create_topics(admin, specs, count, CREATE_MS, created, text);
}

// The controller knows a topic before every broker does.
static enum ka_err wait_until_there(struct io_kafka_admin *admin, const struct topic_entry *entry,
                                    struct err_text *text)
{
    int64_t deadline_ms = clock_mono_ms() + CREATE_MS;
    for (;;) {
        int32_t count = 0;
        enum ka_err err = io_kafka_partition_count(admin, entry->name, CALL_MS, &count, text);
        if (err != KA_OK || count == entry->partitions)
            return err;
        if (count != 0)
            return err_set(text, KA_ERR_EXISTS,
                           "%s was created by somebody else, with %d partitions instead of %d",
                           entry->name, count, entry->partitions);
        if (clock_mono_ms() >= deadline_ms)
            return err_set(text, KA_ERR_TIMEOUT, "%s is still not there", entry->name);
        clock_sleep_ms(10);
    }
}

static enum ka_err write_offsets(struct io_kafka_admin *admin, struct arena *arena,
                                 const struct topic_offsets *offsets, int32_t partitions,
                                 struct err_text *text)
{
    struct io_kafka_committed *entries;
    struct io_kafka_committed *first = arena_zalloc(arena, (size_t)partitions * sizeof *first);
    size_t count = 0;
    enum ka_err err =
        committed_of(admin, offsets->group, offsets->topic, partitions, arena, &entries, text);
    for (int32_t i = 0; err == KA_OK && i < partitions; i++) {
        int64_t start, end;
        if (entries[i].offset >= 0)
            continue;
        err = io_kafka_watermarks(admin, offsets->topic, i, CALL_MS, &start, &end, text);
        first[count++] = (struct io_kafka_committed){
            .topic = offsets->topic, .partition = i, .offset = offsets->latest ? end : start};
    }
    if (err == KA_OK)
        err = io_kafka_commit_offsets(admin, offsets->group, first, count, CALL_MS, text);
    if (err == KA_ERR_NOT_ALLOWED)
        return err_wrap(text, err, "%s: stop the workers of the app first", offsets->topic);
    return err == KA_OK ? KA_OK : err_wrap(text, err, "first offsets of %s", offsets->topic);
}

static int32_t partitions_of(const struct topics_plan *plan, const char *topic)
{
    for (size_t i = 0; i < plan->count; i++) {
        if (strcmp(plan->entries[i].name, topic) == 0)
            return plan->entries[i].partitions;
    }
    return 0;
}

enum ka_err topics_apply(const struct config *config, struct io_kafka_admin *admin,
                         struct arena *arena, const struct topics_plan *plan, struct err_text *text)
{
    if (plan->refusals > 0)
        return err_set(text, KA_ERR_NOT_ALLOWED, "the plan has %zu refusals", plan->refusals);
    enum ka_err err = create_missing(config, admin, arena, plan, text);
    for (size_t i = 0; err == KA_OK && i < plan->count; i++) {
        if (plan->entries[i].action == TOPIC_CREATE)
            err = wait_until_there(admin, &plan->entries[i], text);
    }
    for (size_t i = 0; err == KA_OK && i < plan->offsets_count; i++)
        err = write_offsets(admin, arena, &plan->offsets[i],
                            partitions_of(plan, plan->offsets[i].topic), text);
    return err;
}
