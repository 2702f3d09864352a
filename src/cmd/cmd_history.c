// SPDX-License-Identifier: Apache-2.0
#include "cmd/cmd_history.h"

#include "core/hash.h"
#include "core/json.h"

#include <stdio.h>
#include <stdlib.h>

const char *saga_end_name(enum saga_end end)
{
    static const char *const names[] = {"running", "completed", "compensated", "stuck",
                                        "terminated"};
    return names[end];
}

int saga_end_exit(enum saga_end end)
{
    switch (end) {
    case SAGA_GOES_ON:
        return CMD_TIMEOUT;
    case SAGA_END_COMPLETED:
        return CMD_OK;
    case SAGA_END_COMPENSATED:
        return CMD_COMPENSATED;
    case SAGA_END_STUCK:
    case SAGA_END_TERMINATED:
        return CMD_STUCK;
    }
    return CMD_FAILED;
}

static enum ka_err add_from_now(struct cmd_app *app, struct cmd_follow *follow, const char *topic,
                                struct err_text *text)
{
    int64_t start, end;
    enum ka_err err =
        io_kafka_watermarks(app->admin, topic, follow->partition, CMD_CALL_MS, &start, &end, text);
    if (err != KA_OK)
        return err;
    return io_kafka_reader_add(follow->reader, topic, follow->partition, end, text);
}

enum ka_err cmd_follow_open(struct cmd_app *app, const char *key, bool from_start, bool watch,
                            struct cmd_follow *follow, struct err_text *text)
{
    *follow = (struct cmd_follow){
        .key = key,
        .history = cmd_app_topic(app, "history"),
        .dlq = cmd_app_topic(app, "dlq"),
        .partition = hash_partition(slice_str(key), app->config->shards),
        .command = -1,
    };
    enum ka_err err = io_kafka_reader_new(&app->kafka, true, &follow->reader, text);
    if (err != KA_OK)
        return err;
    if (from_start)
        err = io_kafka_reader_add(follow->reader, follow->history, follow->partition, -2, text);
    else
        err = add_from_now(app, follow, follow->history, text);
    if (err == KA_OK && watch)
        err = add_from_now(app, follow, follow->dlq, text);
    return err;
}

void cmd_follow_close(struct cmd_follow *follow)
{
    io_kafka_reader_free(&follow->reader);
}

static struct slice text_member(struct slice object, const char *name, struct arena *arena)
{
    struct slice value = json_member(object, slice_str(name));
    if (slice_none(value) || json_type(value) != JSON_STRING)
        return SLICE_LIT("");
    return json_text(value, arena);
}

static int64_t number_member(struct slice object, const char *name)
{
    struct slice value = json_member(object, slice_str(name));
    int64_t number;
    return !slice_none(value) && json_i64(value, &number) ? number : -1;
}

static bool true_member(struct slice object, const char *name)
{
    struct slice value = json_member(object, slice_str(name));
    return !slice_none(value) && json_type(value) == JSON_TRUE;
}

static bool digits(const char *at, size_t len, int64_t *number)
{
    *number = 0;
    for (size_t i = 0; i < len; i++) {
        if (at[i] < '0' || at[i] > '9')
            return false;
        *number = *number * 10 + (at[i] - '0');
    }
    return true;
}

// Days since 1970-01-01 of a date of the Gregorian calendar (Howard Hinnant's algorithm).
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    int64_t era = year / 400;
    int64_t of_era = year - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

// "2026-11-21T10:20:30.123Z", the form kasaga writes; -1 for anything else.
static int64_t time_of(struct slice text)
{
    static const struct {
        size_t at, len;
    } fields[] = {{0, 4}, {5, 2}, {8, 2}, {11, 2}, {14, 2}, {17, 2}, {20, 3}};
    int64_t value[7];
    if (text.len != 24)
        return -1;
    for (size_t i = 0; i < 7; i++) {
        if (!digits(text.ptr + fields[i].at, fields[i].len, &value[i]))
            return -1;
    }
    int64_t seconds =
        ((days_of(value[0], value[1], value[2]) * 24 + value[3]) * 60 + value[4]) * 60;
    return (seconds + value[5]) * 1000 + value[6];
}

static int64_t incarnation_of(struct slice sagaid)
{
    int64_t number;
    for (size_t at = sagaid.len; at > 0; at--) {
        if (sagaid.ptr[at - 1] == '@')
            return at < sagaid.len && digits(sagaid.ptr + at, sagaid.len - at, &number) ? number
                                                                                        : -1;
    }
    return -1;
}

static enum saga_end end_of(struct slice type)
{
    static const char *const types[] = {"", "saga.completed", "saga.compensated", "saga.stuck",
                                        "saga.terminated"};
    for (int i = SAGA_END_COMPLETED; i <= SAGA_END_TERMINATED; i++) {
        if (slice_eq(type, slice_str(types[i])))
            return (enum saga_end)i;
    }
    return SAGA_GOES_ON;
}

bool history_line_parse(struct slice doc, struct arena *arena, struct history_line *line)
{
    const struct slice prefix = SLICE_LIT("kasaga.");
    struct err_text text;
    if (slice_none(doc) || json_validate(doc, &text) != KA_OK)
        return false;
    struct slice type = text_member(doc, "type", arena);
    struct slice data = json_member(doc, SLICE_LIT("data"));
    if (!slice_starts(type, prefix) || slice_none(data))
        return false;
    *line = (struct history_line){
        .doc = doc,
        .type = {type.ptr + prefix.len, type.len - prefix.len},
        .incarnation = incarnation_of(text_member(doc, "sagaid", arena)),
        .sequence = number_member(doc, "sequence"),
        .time_ms = time_of(text_member(doc, "time", arena)),
        .due_ms = time_of(text_member(data, "due", arena)),
        .index = number_member(data, "index"),
        .attempt = number_member(doc, "attempt"),
        .step = text_member(doc, "step", arena),
        .action = text_member(data, "action", arena),
        .code = text_member(data, "code", arena),
        .message = text_member(data, "message", arena),
        .cause = text_member(doc, "cause", arena),
        .actor = text_member(data, "actor", arena),
        .reason = text_member(data, "reason", arena),
        .data = data,
        .compensation = true_member(data, "compensation"),
        .maybe_done = true_member(data, "maybe_done"),
    };
    line->end = end_of(line->type);
    return true;
}

static struct slice header_of(const struct record *record, const char *name)
{
    for (size_t i = 0; i < record->header_count; i++) {
        if (slice_eq(record->headers[i].name, slice_str(name)))
            return record->headers[i].value;
    }
    return SLICE_NONE;
}

// The watched command, given up on by its shard?
static bool is_watched(const struct cmd_follow *follow, const struct record *record)
{
    struct slice offset = header_of(record, "__connect.errors.offset");
    struct slice topic = header_of(record, "__connect.errors.topic");
    int64_t number;
    return follow->command >= 0 && slice_eq(record->key, slice_str(follow->key)) && topic.len > 6 &&
           memcmp(topic.ptr + topic.len - 6, ".inbox", 6) == 0 &&
           digits(offset.ptr, offset.len, &number) && number == follow->command;
}

static enum follow_kind on_record(const struct cmd_follow *follow, const struct record *record,
                                  struct arena *arena, struct history_line *line)
{
    if (slice_eq(record->topic, slice_str(follow->dlq))) {
        if (!is_watched(follow, record))
            return FOLLOW_NOTHING;
        *line = (struct history_line){
            .code = arena_copy(arena, header_of(record, "kasaga_error")),
            .message = arena_copy(arena, header_of(record, "__connect.errors.exception.message")),
        };
        return FOLLOW_DEAD;
    }
    if (!slice_eq(record->key, slice_str(follow->key)))
        return FOLLOW_NOTHING;
    return history_line_parse(arena_copy(arena, record->value), arena, line) ? FOLLOW_LINE
                                                                             : FOLLOW_NOTHING;
}

enum follow_kind cmd_follow_next(struct cmd_follow *follow, int timeout_ms, struct arena *arena,
                                 struct history_line *line, enum ka_err *err, struct err_text *text)
{
    for (;;) {
        struct record record;
        switch (io_kafka_reader_next(follow->reader, timeout_ms, &record, err, text)) {
        case IO_KAFKA_READ_NOTHING:
            return FOLLOW_NOTHING;
        case IO_KAFKA_READ_RECORD: {
            enum follow_kind kind = on_record(follow, &record, arena, line);
            if (kind != FOLLOW_NOTHING)
                return kind;
            break;
        }
        case IO_KAFKA_READ_END:
            if (slice_eq(record.topic, slice_str(follow->history)))
                return FOLLOW_END;
            break;
        case IO_KAFKA_READ_ERROR:
            // librdkafka goes on after what may pass; the caller's time limit ends the wait.
            if (err_class(*err) == ERR_CLASS_RETRY)
                return FOLLOW_NOTHING;
            return FOLLOW_ERROR;
        }
    }
}
