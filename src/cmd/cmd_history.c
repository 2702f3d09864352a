// SPDX-License-Identifier: Apache-2.0
#include "cmd/cmd_history.h"

#include "core/hash.h"
#include "core/history_doc.h"
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
    struct history_doc parsed;
    if (history_doc_parse(doc, arena, &parsed, NULL) != KA_OK)
        return false;
    *line = (struct history_line){
        .doc = doc,
        .type = parsed.type,
        .incarnation = parsed.incarnation,
        .sequence = parsed.sequence,
        .time_ms = parsed.time_ms,
        .due_ms = parsed.due_ms,
        .index = parsed.index,
        .attempt = parsed.attempt,
        .step = parsed.step,
        .action = parsed.action,
        .group = parsed.group,
        .code = parsed.code,
        .message = parsed.message,
        .cause = parsed.cause,
        .actor = parsed.actor,
        .reason = parsed.reason,
        .data = parsed.data,
        .region = parsed.region,
        .placement = parsed.placement,
        .ran_by = parsed.ran_by,
        .compensation = parsed.compensation,
        .maybe_done = parsed.maybe_done,
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
           memcmp(topic.ptr + topic.len - 6, ".inbox", 6) == 0 && offset.len > 0 &&
           json_i64(offset, &number) && number == follow->command;
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
