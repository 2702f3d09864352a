// SPDX-License-Identifier: Apache-2.0
// Records of inputs, inbox, state and dlq into the store. The history is in take_history.c.
#include "checker.h"

#include <jansson.h>
#include <librdkafka/rdkafka.h>
#include <stdlib.h>
#include <string.h>

bool expect_matches(const struct expect *expect, const void *json)
{
    const json_t *field = json_object_get((const json_t *)json, expect->field);
    double number = json_number_value(field);
    switch (expect->op) {
    case RULE_NONE:
        return false;
    case RULE_GT:
        return json_is_number(field) && number > expect->number;
    case RULE_LT:
        return json_is_number(field) && number < expect->number;
    case RULE_MOD:
        return json_is_integer(field) &&
               json_integer_value(field) % expect->modulus == (long)expect->number;
    case RULE_EQ:
    case RULE_NE:
        break;
    }
    char *text = field == NULL ? NULL : json_dumps(field, JSON_ENCODE_ANY | JSON_COMPACT);
    const char *plain = json_is_string(field) ? json_string_value(field) : text;
    bool equal = plain != NULL && strcmp(plain, expect->text) == 0;
    free(text);
    return equal == (expect->op == RULE_EQ);
}

// The data of an event and its type: structured mode, binary mode (ce_type) or a plain document.
static const json_t *event_data(const json_t *json, const struct record *record, const char **type,
                                size_t *type_len)
{
    *type = record->type;
    *type_len = record->type_len;
    if (json_object_get(json, "specversion") == NULL)
        return json;
    *type = json_string_value(json_object_get(json, "type"));
    *type_len = *type == NULL ? 0 : strlen(*type);
    return json_object_get(json, "data");
}

static void take_input(struct store *store, const struct record *record)
{
    struct item *item = partition_add(topic_partition(record->topic, record->partition));
    const struct input_spec *spec = record->topic->input;
    const char *type;
    size_t type_len;
    item->offset = record->offset;
    item->counted = true;
    json_t *json = json_loadb(record->value == NULL ? "" : record->value, record->len, 0, NULL);
    const json_t *data = event_data(json, record, &type, &type_len);
    const json_t *field = json_object_get(data, spec->field);
    if (type != NULL && spec->type[0] != '\0')
        item->counted = strlen(spec->type) == type_len && memcmp(spec->type, type, type_len) == 0;
    if (json_is_string(field))
        item->id = copy_text(json_string_value(field), json_string_length(field));
    else if (json_is_number(field))
        item->id = json_dumps(field, JSON_ENCODE_ANY);
    item->must_fail = expect_matches(&store->options->expect_failed, data);
    json_decref(json);
}

static void take_inbox(struct store *store, const struct record *record)
{
    struct command_view command = {0};
    struct item *item = partition_add(topic_partition(record->topic, record->partition));
    item->offset = record->offset;
    item->subject = store_subject(store, record->key, record->key_len);
    item->unreadable = !avro_command(record->value, record->len, &command);
    if (item->unreadable)
        return;
    item->start = command.start;
    store_place(store, command.cause, strlen(command.cause), &item->cause_topic,
                &item->cause_partition, &item->cause_offset);
    free(command.cause);
    if (!item->start)
        return;
    if (item->subject->starts++ > 0)
        return;
    item->subject->start_partition = record->partition;
    item->subject->start_offset = record->offset;
}

static void take_state(struct store *store, const struct record *record)
{
    int32_t partitions = record->topic->partition_count;
    if (record->key == NULL || record->key_len == 0 || record->key[0] == '#')
        return; // the shard's own: marker, chunks
    struct subject *subject = store_subject(store, record->key, record->key_len);
    subject->state_partition = record->partition;
    subject->state_offset = record->offset;
    if (record->value == NULL)
        subject->state = STATE_REMOVED;
    else
        avro_state(record->value, record->len, subject);
    if (subject->state == STATE_OPAQUE && avro_knows("Saga"))
        report_add(KIND_MALFORMED, subject->key, record->topic, record->partition, record->offset,
                   "a state that no published schema describes");
    int32_t right = (int32_t)(murmur2(record->key, record->key_len) & 0x7fffffff) % partitions;
    if (record->partition != right)
        report_add(KIND_WRONG_PARTITION, subject->key, record->topic, record->partition,
                   record->offset, "the key belongs into partition %d", right);
}

static const char *header(const rd_kafka_headers_t *headers, const char *name, size_t *len)
{
    const void *value = NULL;
    if (headers == NULL || rd_kafka_header_get_last(headers, name, &value, len) != 0)
        return NULL;
    return value;
}

// Which record the dlq holds: its place stands in the headers.
static void take_dlq(struct store *store, const struct record *record)
{
    rd_kafka_headers_t *headers = NULL;
    size_t topic_len = 0, partition_len = 0, offset_len = 0, error_len = 0;
    const rd_kafka_message_t *message = record->message;
    rd_kafka_message_headers(message, &headers);
    const char *topic = header(headers, "__connect.errors.topic", &topic_len);
    const char *partition = header(headers, "__connect.errors.partition", &partition_len);
    const char *offset = header(headers, "__connect.errors.offset", &offset_len);
    const char *error = header(headers, "kasaga_error", &error_len);
    char place[NAME_SIZE * 2] = "an unnamed place";
    if (topic != NULL && partition != NULL && offset != NULL)
        snprintf(place, sizeof place, "%.*s/%.*s/%.*s", (int)topic_len, topic, (int)partition_len,
                 partition, (int)offset_len, offset);
    if (store->dlq_records++ >= store->options->dlq)
        report_add(KIND_DLQ, NULL, record->topic, record->partition, record->offset,
                   "a dead letter that was not expected: %.*s from %s", (int)error_len,
                   error == NULL ? "" : error, place);
    const struct topic *from;
    int32_t from_partition;
    int64_t from_offset;
    if (!store_place(store, place, strlen(place), &from, &from_partition, &from_offset))
        return;
    struct item *dead = partition_add(topic_partition(record->topic, record->partition));
    dead->offset = record->offset;
    dead->cause_topic = from;
    dead->cause_partition = from_partition;
    dead->cause_offset = from_offset;
}

void take_committed(struct store *store, const struct record *record)
{
    switch (record->topic->role) {
    case ROLE_HISTORY:
        take_history(store, record);
        break;
    case ROLE_STATE:
        take_state(store, record);
        break;
    case ROLE_DLQ:
        take_dlq(store, record);
        break;
    case ROLE_INBOX:
        take_inbox(store, record);
        break;
    case ROLE_INPUT:
        take_input(store, record);
        break;
    }
}

void take_aborted(struct store *store, const struct record *record)
{
    struct partition *partition = topic_partition(record->topic, record->partition);
    (void)store;
    partition->aborted = grow(partition->aborted, partition->aborted_count, &partition->aborted_cap,
                              sizeof *partition->aborted);
    struct aborted *aborted = &partition->aborted[partition->aborted_count++];
    *aborted =
        (struct aborted){.offset = record->offset, .key = copy_text(record->key, record->key_len)};
    if (record->topic->role == ROLE_HISTORY)
        take_aborted_history(record, aborted);
}
