// SPDX-License-Identifier: Apache-2.0
// Records of <app>.history: one CloudEvents document in structured mode each.
#include "checker.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char *const type_names[EVENT_TYPES] = {
    [SAGA_STARTED] = "kasaga.saga.started",
    [SAGA_COMPLETED] = "kasaga.saga.completed",
    [SAGA_COMPENSATING] = "kasaga.saga.compensating",
    [SAGA_COMPENSATED] = "kasaga.saga.compensated",
    [SAGA_STUCK] = "kasaga.saga.stuck",
    [SAGA_PAUSED] = "kasaga.saga.paused",
    [SAGA_RESUMED] = "kasaga.saga.resumed",
    [SAGA_TERMINATED] = "kasaga.saga.terminated",
    [STEP_STARTED] = "kasaga.step.started",
    [STEP_COMPLETED] = "kasaga.step.completed",
    [STEP_FAILED] = "kasaga.step.failed",
    [STEP_RETRYING] = "kasaga.step.retrying",
    [STEP_SKIPPED] = "kasaga.step.skipped",
    [STEP_LATE] = "kasaga.step.late",
    [UNDO_STARTED] = "kasaga.compensation.started",
    [UNDO_COMPLETED] = "kasaga.compensation.completed",
    [UNDO_FAILED] = "kasaga.compensation.failed",
    [UNDO_RETRYING] = "kasaga.compensation.retrying",
};

const char *event_type_name(enum event_type type)
{
    return type < EVENT_TYPES ? type_names[type] : "none";
}

static enum event_type type_of(const char *name)
{
    int type = 0;
    while (type < EVENT_TYPES && strcmp(type_names[type], name) != 0)
        type++;
    return (enum event_type)type;
}

static const char *text(const json_t *json, const char *name)
{
    const char *value = json_string_value(json_object_get(json, name));
    return value == NULL ? "" : value;
}

static void malformed(const struct record *record, const char *why)
{
    char key[NAME_SIZE];
    snprintf(key, sizeof key, "%.*s", (int)record->key_len, record->key);
    report_add(KIND_MALFORMED, key, record->topic, record->partition, record->offset, "%s", why);
}

// "order/4711@17": the incarnation, -1 if this is no saga id of the key.
static int64_t incarnation_of(const char *sagaid, const struct record *record)
{
    char *end;
    if (strncmp(sagaid, record->key, record->key_len) != 0 || sagaid[record->key_len] != '@')
        return -1;
    const char *digits = sagaid + record->key_len + 1;
    long long value = strtoll(digits, &end, 10);
    return *digits == '\0' || *end != '\0' ? -1 : value;
}

// The envelope must agree with itself and with the key. NULL if it does.
static const char *envelope_fault(const json_t *json, const struct record *record)
{
    char id[2 * NAME_SIZE + 32];
    const char *subject = text(json, "subject");
    if (strcmp(text(json, "specversion"), "1.0") != 0)
        return "specversion is not 1.0";
    if (*text(json, "source") == '\0' || *text(json, "time") == '\0')
        return "source or time is missing";
    if (strlen(subject) != record->key_len || memcmp(subject, record->key, record->key_len) != 0)
        return "subject is not the key of the record";
    if (incarnation_of(text(json, "sagaid"), record) < 0)
        return "sagaid is not <key>@<incarnation>";
    if (!json_is_integer(json_object_get(json, "sequence")))
        return "sequence is not an integer";
    snprintf(id, sizeof id, "%s#%lld", text(json, "sagaid"),
             (long long)json_integer_value(json_object_get(json, "sequence")));
    return strcmp(id, text(json, "id")) == 0 ? NULL : "id is not <sagaid>#<sequence>";
}

// Records of no saga's line, such as a refused command: each (id, cause) once.
static void take_other(struct store *store, const struct record *record, const json_t *json)
{
    char id[4 * NAME_SIZE];
    bool fresh;
    snprintf(id, sizeof id, "%s %s", text(json, "id"), text(json, "cause"));
    names_get(&store->others, id, strlen(id), &fresh);
    if (!fresh)
        report_add(KIND_REPEATED, text(json, "subject"), record->topic, record->partition,
                   record->offset, "%s with the id %s is there twice", text(json, "type"),
                   text(json, "id"));
}

static void take_event(struct store *store, const struct record *record, const json_t *json,
                       enum event_type type)
{
    const json_t *data = json_object_get(json, "data");
    const char *step = text(json, "step");
    int32_t partitions = record->topic->partition_count;
    struct subject *subject = store_subject(store, record->key, record->key_len);
    struct instance *instance =
        store_instance(subject, incarnation_of(text(json, "sagaid"), record));
    struct event event = {
        .sequence = json_integer_value(json_object_get(json, "sequence")),
        .offset = record->offset,
        .partition = record->partition,
        .attempt = (int32_t)json_integer_value(json_object_get(json, "attempt")),
        .step = -1,
        .group = -1,
        .type = (uint8_t)type,
        .maybe_done = json_is_true(json_object_get(data, "maybe_done")),
        .takeover = strcmp(text(data, "code"), "takeover") == 0,
    };
    if (*text(data, "group") != '\0')
        event.group = (int16_t)names_get(&store->steps, text(data, "group"),
                                         strlen(text(data, "group")), NULL)
                          ->number;
    if (*step != '\0')
        event.step = (int16_t)names_get(&store->steps, step, strlen(step), NULL)->number;
    else if (type >= STEP_STARTED)
        malformed(record, "a record of a step does not name it");
    if (type == SAGA_STARTED) {
        const char *hash = text(data, "hash");
        instance->definition = names_get(&store->definitions, hash, strlen(hash), NULL)->number;
    }
    instance_add(instance, &event);
    int32_t right = (int32_t)(murmur2(record->key, record->key_len) & 0x7fffffff) % partitions;
    if (record->partition != right)
        report_add(KIND_WRONG_PARTITION, subject->key, record->topic, record->partition,
                   record->offset, "%s, sequence %lld: the key belongs into partition %d",
                   type_names[type], (long long)event.sequence, right);
}

void take_history(struct store *store, const struct record *record)
{
    json_t *json = json_loadb(record->value == NULL ? "" : record->value, record->len,
                              JSON_REJECT_DUPLICATES, NULL);
    enum event_type type = type_of(text(json, "type"));
    const char *fault = json == NULL          ? "not JSON, or a member twice"
                        : record->key == NULL ? "no key"
                        : type == EVENT_TYPES ? NULL
                                              : envelope_fault(json, record);
    if (fault != NULL)
        malformed(record, fault);
    else if (type == EVENT_TYPES)
        take_other(store, record, json);
    else
        take_event(store, record, json, type);
    json_decref(json);
}

void take_aborted_history(const struct record *record, struct aborted *aborted)
{
    json_t *json = json_loadb(record->value == NULL ? "" : record->value, record->len, 0, NULL);
    const char *sagaid = text(json, "sagaid");
    aborted->sequence = json_integer_value(json_object_get(json, "sequence"));
    if (*sagaid != '\0')
        aborted->sagaid = copy_text(sagaid, strlen(sagaid));
    json_decref(json);
}
