// SPDX-License-Identifier: Apache-2.0
// kasaga dlq: the records nothing could be done with, why, and where they came from.
#include "cmd/cmd_app.h"
#include "cmd/cmd_read.h"

#include "core/command.h"
#include "core/json.h"
#include "io/clock.h"
#include "io/print.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { LIMIT_DEFAULT = 50, LIMIT_MAX = 10000 };

struct dead {
    int32_t partition;
    int64_t offset;
    int64_t time_ms;
    struct slice key;
    struct slice value;
    struct slice error;
    struct slice message;
    struct slice origin; // "topic/partition/offset"
    const struct header *headers;
    size_t header_count;
};

static struct slice header_of(const struct record *record, const char *name)
{
    for (size_t i = 0; i < record->header_count; i++) {
        if (slice_eq(record->headers[i].name, slice_str(name)))
            return record->headers[i].value;
    }
    return SLICE_NONE;
}

// A copy in the arena; the value and the headers only when they are wanted.
static struct dead take(const struct record *record, bool whole, struct arena *arena)
{
    struct dead dead = {
        .partition = record->partition,
        .offset = record->offset,
        .time_ms = record->timestamp_ms,
        .key = arena_copy(arena, record->key),
        .error = arena_copy(arena, header_of(record, "kasaga_error")),
        .message = arena_copy(arena, header_of(record, "__connect.errors.exception.message")),
    };
    struct slice topic = header_of(record, "__connect.errors.topic");
    struct buf origin = {0};
    if (!slice_none(topic)) {
        buf_print(&origin, "%.*s/%.*s/%.*s", SLICE_FMT(topic),
                  SLICE_FMT(header_of(record, "__connect.errors.partition")),
                  SLICE_FMT(header_of(record, "__connect.errors.offset")));
        dead.origin = buf_take(&origin, 0, arena);
    }
    buf_fini(&origin);
    if (!whole)
        return dead;
    struct header *headers = arena_alloc(arena, record->header_count * sizeof *headers);
    for (size_t i = 0; i < record->header_count; i++)
        headers[i] = (struct header){arena_copy(arena, record->headers[i].name),
                                     arena_copy(arena, record->headers[i].value)};
    dead.headers = headers;
    dead.header_count = record->header_count;
    dead.value = arena_copy(arena, record->value);
    return dead;
}

static bool is_text(struct slice s)
{
    struct buf quoted = {0};
    bool text = true;
    for (size_t i = 0; text && i < s.len; i++) {
        unsigned char byte = (unsigned char)s.ptr[i];
        text = byte >= 0x20 || byte == '\n' || byte == '\t' || byte == '\r';
    }
    // What buf_json_str replaces was not UTF-8: then the bytes are shown as such.
    buf_json_str(&quoted, s);
    for (size_t i = 0; text && i + 3 <= quoted.len; i++)
        text = memcmp(quoted.ptr + i, "\xef\xbf\xbd", 3) != 0;
    buf_fini(&quoted);
    return text;
}

static void put_base64(struct buf *buf, struct slice bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t left = bytes.len - i;
        uint32_t group = (uint32_t)(unsigned char)bytes.ptr[i] << 16;
        group |= left > 1 ? (uint32_t)(unsigned char)bytes.ptr[i + 1] << 8 : 0;
        group |= left > 2 ? (uint32_t)(unsigned char)bytes.ptr[i + 2] : 0;
        buf_byte(buf, digits[group >> 18]);
        buf_byte(buf, digits[(group >> 12) & 63]);
        buf_byte(buf, left > 1 ? digits[(group >> 6) & 63] : '=');
        buf_byte(buf, left > 2 ? digits[group & 63] : '=');
    }
}

// ,"name":"text" or ,"name_base64":"…" when it is not text, or ,"name":null
static void json_bytes(struct buf *buf, const char *name, struct slice bytes)
{
    buf_str(buf, ",\"");
    buf_str(buf, name);
    if (slice_none(bytes)) {
        buf_str(buf, "\":null");
    } else if (is_text(bytes)) {
        buf_str(buf, "\":");
        buf_json_str(buf, bytes);
    } else {
        buf_str(buf, "_base64\":\"");
        put_base64(buf, bytes);
        buf_byte(buf, '"');
    }
}

static bool is_command(const struct dead *dead, struct command *command)
{
    struct err_text text;
    struct slice inbox = SLICE_LIT(".inbox/");
    for (size_t i = 0; i + inbox.len <= dead->origin.len; i++) {
        if (memcmp(dead->origin.ptr + i, inbox.ptr, inbox.len) == 0)
            return !slice_none(dead->value) && command_decode(dead->value, command, &text) == KA_OK;
    }
    return false;
}

static void json_command(struct buf *buf, const struct command *command)
{
    buf_print(buf, ",\"command\":{\"verb\":\"%s\",\"time\":", command_verb_name(command->verb));
    buf_json_time(buf, command->time_ms);
    json_bytes(buf, "actor", command->actor);
    json_bytes(buf, "reason", command->reason);
    json_bytes(buf, "type", command->type);
    json_bytes(buf, "source", command->source);
    if (command->data.len > 0) {
        buf_str(buf, ",\"data\":");
        buf_slice_put(buf, command->data); // validated before it was written
    }
    buf_byte(buf, '}');
}

static void json_dead(struct buf *buf, const struct dead *dead, bool whole)
{
    struct command command;
    buf_print(buf, "{\"partition\":%d,\"offset\":%" PRId64 ",\"time\":", dead->partition,
              dead->offset);
    buf_json_time(buf, dead->time_ms);
    json_bytes(buf, "error", dead->error);
    json_bytes(buf, "message", dead->message);
    json_bytes(buf, "origin", dead->origin);
    json_bytes(buf, "key", dead->key);
    if (whole) {
        json_bytes(buf, "value", dead->value);
        if (is_command(dead, &command))
            json_command(buf, &command);
        buf_str(buf, ",\"headers\":[");
        for (size_t i = 0; i < dead->header_count; i++) {
            buf_str(buf, i == 0 ? "{\"name\":" : ",{\"name\":");
            buf_json_str(buf, dead->headers[i].name);
            json_bytes(buf, "value", dead->headers[i].value);
            buf_byte(buf, '}');
        }
        buf_byte(buf, ']');
    }
    buf_byte(buf, '}');
}

static void put_safe(struct buf *buf, struct slice bytes)
{
    if (is_text(bytes)) {
        for (size_t i = 0; i < bytes.len; i++)
            buf_byte(buf, bytes.ptr[i] < 0x20 && bytes.ptr[i] >= 0 ? ' ' : bytes.ptr[i]);
        return;
    }
    for (size_t i = 0; i < bytes.len; i++)
        buf_print(buf, "%s%02x", i == 0 ? "" : " ", (unsigned char)bytes.ptr[i]);
}

static void text_line(struct buf *buf, const struct dead *dead)
{
    char place[40];
    snprintf(place, sizeof place, "%d/%" PRId64, dead->partition, dead->offset);
    buf_print(buf, "%-10s ", place);
    buf_time(buf, dead->time_ms);
    buf_print(buf, " %-14.*s ", SLICE_FMT(dead->error));
    put_safe(buf, dead->origin);
    buf_byte(buf, ' ');
    put_safe(buf, dead->key);
    buf_str(buf, "  ");
    put_safe(buf, dead->message);
    buf_byte(buf, '\n');
}

static void text_whole(struct buf *buf, const struct dead *dead)
{
    struct command command;
    buf_print(buf, "%-10s%d/%" PRId64 "\n%-10s", "record", dead->partition, dead->offset, "time");
    buf_time(buf, dead->time_ms);
    buf_print(buf, "\n%-10s", "error");
    put_safe(buf, dead->error);
    buf_print(buf, "\n%-10s", "reason");
    put_safe(buf, dead->message);
    buf_print(buf, "\n%-10s", "origin");
    put_safe(buf, dead->origin);
    buf_print(buf, "\n%-10s", "key");
    put_safe(buf, dead->key);
    for (size_t i = 0; i < dead->header_count; i++) {
        buf_print(buf, "\n%-10s", i == 0 ? "headers" : "");
        put_safe(buf, dead->headers[i].name);
        buf_str(buf, ": ");
        put_safe(buf, dead->headers[i].value);
    }
    buf_print(buf, "\n%-10s", "value");
    if (slice_none(dead->value))
        buf_str(buf, "(null)");
    else if (is_command(dead, &command))
        buf_print(buf, "command %s, data %.*s", command_verb_name(command.verb),
                  SLICE_FMT(command.data));
    else
        put_safe(buf, dead->value);
    buf_byte(buf, '\n');
}

struct dlq {
    struct cmd_common common;
    struct cmd_app app;
    const char *topic;
    int32_t only; // partition, -1 = all
    int64_t limit;
    int64_t since_ms; // -1 = from the beginning
    struct dead *dead;
    size_t count;
    size_t room;
    bool whole; // values and headers too, of one record
};

// Where a partition is read from: its newest `limit` records, not before `since`. False: nothing.
static enum ka_err start_of(struct dlq *dlq, int32_t partition, int64_t *from, int64_t *end,
                            struct err_text *text)
{
    int64_t start, since = -1;
    enum ka_err err =
        io_kafka_watermarks(dlq->app.admin, dlq->topic, partition, CMD_CALL_MS, &start, end, text);
    if (err == KA_OK && dlq->since_ms >= 0)
        err = io_kafka_offset_at(dlq->app.admin, dlq->topic, partition, dlq->since_ms, CMD_CALL_MS,
                                 &since, text);
    *from = start;
    if (dlq->since_ms >= 0)
        *from = since < 0 ? *end : since;
    // Markers take offsets too: twice the limit holds the records wanted, if they are there.
    if (*from < *end - 2 * dlq->limit)
        *from = *end - 2 * dlq->limit;
    return err;
}

static int by_time(const void *a, const void *b)
{
    const struct dead *left = a, *right = b;
    if (left->time_ms != right->time_ms)
        return left->time_ms < right->time_ms ? -1 : 1;
    if (left->partition != right->partition)
        return left->partition < right->partition ? -1 : 1;
    return left->offset < right->offset ? -1 : left->offset > right->offset;
}

static bool see_dead(void *state, const struct record *record)
{
    struct dlq *dlq = state;
    if (dlq->count < dlq->room)
        dlq->dead[dlq->count++] = take(record, dlq->whole, &dlq->app.arena);
    return !dlq->whole; // one record is all that is wanted
}

static int list(struct dlq *dlq, struct io_kafka_reader *reader)
{
    struct err_text text = {""};
    int parts = 0;
    for (int32_t i = 0; i < dlq->app.config->shards; i++) {
        int64_t from, end;
        if (dlq->only >= 0 && i != dlq->only)
            continue;
        enum ka_err err = start_of(dlq, i, &from, &end, &text);
        if (err == KA_OK && from < end) {
            err = io_kafka_reader_add(reader, dlq->topic, i, from, &text);
            dlq->room += (size_t)(end - from) + 1000; // and what comes meanwhile
            parts++;
        }
        if (err != KA_OK)
            return cmd_fail(err, &text);
    }
    dlq->dead = calloc(dlq->room + 1, sizeof *dlq->dead);
    if (dlq->dead == NULL)
        return cmd_complain(CMD_FAILED, "out of memory");
    int code = cmd_read(reader, dlq->topic, parts, see_dead, dlq);
    if (code != CMD_OK)
        return code;
    qsort(dlq->dead, dlq->count, sizeof *dlq->dead, by_time);
    size_t first = dlq->count > (size_t)dlq->limit ? dlq->count - (size_t)dlq->limit : 0;
    struct buf buf = {0};
    bool json = dlq->common.output == CMD_JSON;
    buf_str(&buf, json ? "[" : "");
    for (size_t i = first; i < dlq->count; i++) {
        buf_str(&buf, json && i > first ? "," : "");
        if (dlq->common.output == CMD_TEXT)
            text_line(&buf, &dlq->dead[i]);
        else
            json_dead(&buf, &dlq->dead[i], false);
        buf_str(&buf, dlq->common.output == CMD_JSONL ? "\n" : "");
    }
    buf_str(&buf, json ? "]\n" : "");
    bool written = cmd_write(&buf);
    buf_fini(&buf);
    if (dlq->count == 0)
        cmd_note(&dlq->common, "nothing in %s", dlq->topic);
    return written ? CMD_OK : CMD_FAILED;
}

static int show(struct dlq *dlq, struct io_kafka_reader *reader, int64_t offset)
{
    struct err_text text = {""};
    int64_t start, end;
    enum ka_err err = io_kafka_watermarks(dlq->app.admin, dlq->topic, dlq->only, CMD_CALL_MS,
                                          &start, &end, &text);
    if (err == KA_OK && (offset < start || offset >= end))
        return cmd_complain(CMD_NOT_FOUND, "%s/%d holds offsets %" PRId64 " to %" PRId64,
                            dlq->topic, dlq->only, start, end - 1);
    if (err == KA_OK)
        err = io_kafka_reader_add(reader, dlq->topic, dlq->only, offset, &text);
    if (err != KA_OK)
        return cmd_fail(err, &text);
    dlq->room = 1;
    dlq->whole = true;
    dlq->dead = calloc(1, sizeof *dlq->dead);
    if (dlq->dead == NULL)
        return cmd_complain(CMD_FAILED, "out of memory");
    int code = cmd_read(reader, dlq->topic, 1, see_dead, dlq);
    if (code != CMD_OK)
        return code;
    if (dlq->count == 0 || dlq->dead[0].offset != offset)
        return cmd_complain(CMD_NOT_FOUND, "there is no record at %d/%" PRId64, dlq->only, offset);
    struct buf buf = {0};
    if (dlq->common.output == CMD_TEXT) {
        text_whole(&buf, &dlq->dead[0]);
    } else {
        json_dead(&buf, &dlq->dead[0], true);
        buf_byte(&buf, '\n');
    }
    bool written = cmd_write(&buf);
    buf_fini(&buf);
    return written ? CMD_OK : CMD_FAILED;
}

// "3/17"
static bool take_place(const char *text, int32_t *partition, int64_t *offset)
{
    char number[16];
    int64_t value;
    size_t len = strcspn(text, "/");
    if (text[len] != '/' || len >= sizeof number)
        return false;
    memcpy(number, text, len);
    number[len] = '\0';
    if (!cmd_number(number, 0, INT32_MAX, &value) ||
        !cmd_number(text + len + 1, 0, INT64_MAX, offset))
        return false;
    *partition = (int32_t)value;
    return true;
}

static int run(struct dlq *dlq, bool lists, int64_t offset)
{
    struct err_text text = {""};
    struct io_kafka_reader *reader = NULL;
    dlq->topic = cmd_app_topic(&dlq->app, "dlq");
    int code = cmd_app_check_topic(&dlq->app, dlq->topic, dlq->app.config->shards);
    if (code != CMD_OK)
        return code;
    if (dlq->only >= dlq->app.config->shards)
        return cmd_complain(CMD_NOT_FOUND, "%s has partitions 0 to %d", dlq->topic,
                            dlq->app.config->shards - 1);
    enum ka_err err = io_kafka_reader_new(&dlq->app.kafka, true, &reader, &text);
    if (err != KA_OK)
        return cmd_fail(err, &text);
    code = lists ? list(dlq, reader) : show(dlq, reader, offset);
    io_kafka_reader_free(&reader);
    free(dlq->dead);
    return code;
}

static int take_options(struct dlq *dlq, const char *partition, const char *limit,
                        const char *since)
{
    int64_t number = -1;
    if (partition != NULL && !cmd_number(partition, 0, INT32_MAX, &number))
        return cmd_complain(CMD_USAGE, "--partition '%s' is not a number", partition);
    dlq->only = (int32_t)number;
    if (limit != NULL && !cmd_number(limit, 1, LIMIT_MAX, &dlq->limit))
        return cmd_complain(CMD_USAGE, "--limit '%s': 1 to %d", limit, LIMIT_MAX);
    if (since != NULL && !cmd_duration(since, &number))
        return cmd_complain(CMD_USAGE, "--since '%s': how long ago, as 10m, 2h, 1d", since);
    dlq->since_ms = since == NULL ? -1 : clock_now_ms() - number;
    return CMD_OK;
}

int cmd_dlq(int argc, char **argv)
{
    struct dlq dlq = {.limit = LIMIT_DEFAULT};
    const char *partition = NULL, *limit = NULL, *since = NULL;
    struct cmd_words words;
    const struct cmd_option options[] = {
        {"partition", 'p', "N", "only this one", &partition, NULL},
        {"limit", 'n', "N", "the newest N; default 50", &limit, NULL},
        {"since", 's', "TIME", "not older than 10m, 2h, 1d", &since, NULL},
    };
    const struct cmd_spec spec = {
        .synopsis = "dlq ls [--partition N] [--limit N] [--since TIME]\ndlq show PARTITION/OFFSET",
        .summary = "Lists the records nothing could be done with, or shows one of them with its\n"
                   "headers, why it is there, where it came from and what is in it.",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
        .words_min = 1,
        .words_max = 2,
    };
    int code;
    int64_t offset = 0;
    if (!cmd_parse(&spec, argc, argv, &dlq.common, &words, &code))
        return code;
    code = take_options(&dlq, partition, limit, since);
    if (code != CMD_OK)
        return code;
    bool lists = strcmp(words.items[0], "ls") == 0;
    bool shows = strcmp(words.items[0], "show") == 0;
    if ((lists && words.count != 1) || (shows && words.count != 2) || (!lists && !shows))
        return cmd_complain(CMD_USAGE, "dlq: ls, or show PARTITION/OFFSET");
    if (shows && !take_place(words.items[1], &dlq.only, &offset))
        return cmd_complain(CMD_USAGE, "'%s' is not of the form PARTITION/OFFSET", words.items[1]);
    if (!cmd_app_open(&dlq.common, &dlq.app, &code))
        return code;
    code = run(&dlq, lists, offset);
    cmd_app_close(&dlq.app);
    return code;
}
