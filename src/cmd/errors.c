// SPDX-License-Identifier: Apache-2.0
// kasaga errors: what went wrong lately, one line for each kind of error, from the history and the
// dead letters. It reads topics only, so it works without a worker.
#include "cmd/cmd_app.h"
#include "cmd/cmd_read.h"

#include "core/history_doc.h"
#include "io/clock.h"
#include "io/print.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    GROUPS_MAX = 1000,    // kinds of errors that are told apart
    OFFSETS_MAX = 100000, // newest ones of a partition that are read
    HOUR_MS = 3600 * 1000
};

enum class { CLASS_FAIL, CLASS_RETRY, CLASS_STUCK, CLASS_REFUSED, CLASS_POISON };
static const char *const class_names[] = {"fail", "retry", "stuck", "refused", "poison"};

// One record that is an error. Slices live until the next record.
struct failure {
    enum class class;
    struct slice code;
    struct slice where; // action, saga, operator's verb or topic
    struct slice key;
    struct slice message;
    bool compensation;
    bool maybe_done;
    int64_t time_ms;
    int32_t partition; // of the record
    int64_t offset;
};

struct group {
    enum class class;
    struct slice code;
    struct slice where;
    bool compensation;
    int64_t count;
    int64_t maybe_done; // of those: the effect may have happened
    int64_t first_ms;
    int64_t last_ms;
    struct slice key; // of the last one
    struct slice message;
    int32_t partition;
    int64_t offset;
};

struct errors {
    struct cmd_common common;
    struct cmd_app app;
    const char *dlq;
    int64_t since_ms;
    struct group groups[GROUPS_MAX];
    size_t count;
    int64_t left_out; // errors of further kinds
    bool cut;         // a partition has more records than are read
};

// ---- Telling them apart

static bool same(const struct group *group, const struct failure *failure)
{
    return group->class == failure->class && group->compensation == failure->compensation &&
           slice_eq(group->code, failure->code) && slice_eq(group->where, failure->where);
}

static struct group *group_of(struct errors *errors, const struct failure *failure)
{
    struct arena *arena = &errors->app.arena;
    for (size_t i = 0; i < errors->count; i++) {
        if (same(&errors->groups[i], failure))
            return &errors->groups[i];
    }
    if (errors->count == GROUPS_MAX)
        return NULL;
    struct group *group = &errors->groups[errors->count++];
    *group = (struct group){
        .class = failure->class,
        .code = arena_copy(arena, failure->code),
        .where = arena_copy(arena, failure->where),
        .compensation = failure->compensation,
        .first_ms = failure->time_ms,
        .last_ms = -1,
    };
    return group;
}

static void add(struct errors *errors, const struct failure *failure)
{
    struct group *group = group_of(errors, failure);
    if (group == NULL) {
        errors->left_out++;
        return;
    }
    group->count++;
    group->maybe_done += failure->maybe_done;
    if (failure->time_ms < group->first_ms)
        group->first_ms = failure->time_ms;
    if (failure->time_ms <= group->last_ms)
        return;
    group->last_ms = failure->time_ms;
    group->key = failure->key;
    group->message = failure->message;
    group->partition = failure->partition;
    group->offset = failure->offset;
}

// ---- Records

static struct slice saga_of(struct slice key)
{
    const char *slash = key.len == 0 ? NULL : memchr(key.ptr, '/', key.len);
    return slash == NULL ? key : slice_of(key.ptr, (size_t)(slash - key.ptr));
}

static bool is_failure(const struct history_doc *doc, struct failure *failure)
{
    failure->where = doc->action;
    if (slice_eq(doc->type, SLICE_LIT("command.refused"))) {
        failure->class = CLASS_REFUSED;
        failure->where = SLICE_LIT("command");
        return true;
    }
    if (!doc->known)
        return false;
    if (doc->transition == TRANSITION_STEP_FAILED ||
        doc->transition == TRANSITION_COMPENSATION_FAILED) {
        failure->class = CLASS_FAIL;
        return true;
    }
    if (doc->transition == TRANSITION_STEP_RETRYING ||
        doc->transition == TRANSITION_COMPENSATION_RETRYING) {
        failure->class = CLASS_RETRY;
        return true;
    }
    failure->class = CLASS_STUCK;
    failure->where = saga_of(failure->key);
    return doc->transition == TRANSITION_SAGA_STUCK;
}

static void take_history(struct errors *errors, const struct record *record)
{
    // What is kept is copied: most records of a history are no errors.
    struct arena scratch = {0};
    struct history_doc doc;
    struct failure failure = {
        .key = record->key, .partition = record->partition, .offset = record->offset};
    if (history_doc_parse(record->value, &scratch, &doc, NULL) == KA_OK &&
        is_failure(&doc, &failure) && doc.time_ms >= errors->since_ms) {
        failure.key = arena_copy(&errors->app.arena, record->key);
        failure.message = arena_copy(&errors->app.arena, doc.message);
        failure.code = doc.code;
        failure.compensation = doc.compensation;
        failure.maybe_done = doc.maybe_done;
        failure.time_ms = doc.time_ms;
        add(errors, &failure);
    }
    arena_fini(&scratch);
}

static struct slice header_of(const struct record *record, const char *name)
{
    for (size_t i = record->header_count; i-- > 0;) {
        if (slice_eq(record->headers[i].name, slice_str(name)))
            return record->headers[i].value;
    }
    return SLICE_NONE;
}

static void take_dead(struct errors *errors, const struct record *record)
{
    struct arena *arena = &errors->app.arena;
    struct failure failure = {
        .class = CLASS_POISON,
        .code = header_of(record, "kasaga_error"),
        .where = header_of(record, "__connect.errors.topic"),
        .key = arena_copy(arena, record->key),
        .message = arena_copy(arena, header_of(record, "__connect.errors.exception.message")),
        .time_ms = record->timestamp_ms,
        .partition = record->partition,
        .offset = record->offset,
    };
    add(errors, &failure);
}

// From the first record that is young enough, at most OFFSETS_MAX before the end.
static enum ka_err add_partition(struct errors *errors, struct io_kafka_reader *reader,
                                 const char *topic, int32_t partition, int *parts,
                                 struct err_text *text)
{
    int64_t start, end, from;
    enum ka_err err =
        io_kafka_watermarks(errors->app.admin, topic, partition, CMD_CALL_MS, &start, &end, text);
    if (err == KA_OK)
        err = io_kafka_offset_at(errors->app.admin, topic, partition, errors->since_ms, CMD_CALL_MS,
                                 &from, text);
    if (err != KA_OK || from < 0 || from >= end) // -1: everything is older
        return err;
    if (from < end - OFFSETS_MAX) {
        from = end - OFFSETS_MAX;
        errors->cut = true;
    }
    ++*parts;
    return io_kafka_reader_add(reader, topic, partition, from, text);
}

static bool see(void *state, const struct record *record)
{
    struct errors *errors = state;
    if (slice_eq(record->topic, slice_str(errors->dlq)))
        take_dead(errors, record);
    else
        take_history(errors, record);
    return true;
}

// ---- Output

// Texts of others, on a terminal: without what a terminal would obey.
static void put_safe(struct buf *buf, struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.ptr[i];
        buf_byte(buf, byte < 0x20 || byte == 0x7f ? '?' : byte);
    }
}

static void put_column(struct buf *buf, struct slice text, size_t width)
{
    put_safe(buf, text);
    for (size_t i = text.len; i < width; i++)
        buf_byte(buf, ' ');
    buf_byte(buf, ' ');
}

static void text_group(struct buf *buf, const struct group *group)
{
    buf_print(buf, "%-7s ", class_names[group->class]);
    put_column(buf, group->code, 18);
    put_column(buf, group->where, 24);
    buf_print(buf, "%7" PRId64 " ", group->count);
    buf_time(buf, group->last_ms);
    buf_str(buf, "  ");
    if (group->class == CLASS_POISON)
        buf_print(buf, "dlq %d/%" PRId64, group->partition, group->offset);
    else
        put_safe(buf, group->key);
    buf_str(buf, group->compensation ? " (undo)" : "");
    buf_str(buf, group->message.len > 0 ? ": " : "");
    put_safe(buf, group->message);
    if (group->maybe_done > 0)
        buf_print(buf, " [%" PRId64 " may have happened]", group->maybe_done);
    buf_byte(buf, '\n');
}

static void json_text(struct buf *buf, const char *name, struct slice text)
{
    buf_str(buf, ",\"");
    buf_str(buf, name);
    buf_str(buf, "\":");
    buf_json_str(buf, text);
}

static void json_group(struct buf *buf, const struct group *group)
{
    bool retryable = group->class == CLASS_RETRY;
    buf_print(buf, "{\"class\":\"%s\",\"retryable\":%s,\"compensation\":%s",
              class_names[group->class], retryable ? "true" : "false",
              group->compensation ? "true" : "false");
    json_text(buf, "code", group->code);
    json_text(buf, "where", group->where);
    buf_print(buf, ",\"count\":%" PRId64 ",\"maybe_done\":%" PRId64 ",\"first\":", group->count,
              group->maybe_done);
    buf_json_time(buf, group->first_ms);
    buf_str(buf, ",\"last\":");
    buf_json_time(buf, group->last_ms);
    json_text(buf, "key", group->key);
    json_text(buf, "message", group->message);
    buf_print(buf, ",\"partition\":%d,\"offset\":%" PRId64 "}", group->partition, group->offset);
}

static int by_count(const void *a, const void *b)
{
    const struct group *left = a, *right = b;
    if (left->count != right->count)
        return left->count > right->count ? -1 : 1;
    return left->last_ms > right->last_ms ? -1 : left->last_ms < right->last_ms;
}

static int show(struct errors *errors)
{
    struct buf buf = {0};
    bool json = errors->common.output == CMD_JSON;
    qsort(errors->groups, errors->count, sizeof errors->groups[0], by_count);
    buf_str(&buf, json ? "[" : "");
    if (errors->common.output == CMD_TEXT && errors->count > 0)
        buf_print(&buf, "%-7s %-18s %-24s %7s %-20s      last one\n", "class", "code", "where",
                  "count", "last");
    for (size_t i = 0; i < errors->count; i++) {
        buf_str(&buf, json && i > 0 ? "," : "");
        if (errors->common.output == CMD_TEXT)
            text_group(&buf, &errors->groups[i]);
        else
            json_group(&buf, &errors->groups[i]);
        buf_str(&buf, errors->common.output == CMD_JSONL ? "\n" : "");
    }
    buf_str(&buf, json ? "]\n" : "");
    bool written = cmd_write(&buf);
    buf_fini(&buf);
    if (errors->count == 0)
        cmd_note(&errors->common, "no errors");
    if (errors->cut)
        cmd_note(&errors->common, "only the newest %d offsets of a partition were read",
                 OFFSETS_MAX);
    if (errors->left_out > 0)
        cmd_note(&errors->common, "%" PRId64 " errors of further kinds are left out",
                 errors->left_out);
    return written ? CMD_OK : CMD_FAILED;
}

static int run(struct errors *errors)
{
    struct err_text text = {""};
    struct io_kafka_reader *reader = NULL;
    const char *topics[] = {cmd_app_topic(&errors->app, "history"),
                            cmd_app_topic(&errors->app, "dlq")};
    int32_t shards = errors->app.config->shards;
    int parts = 0;
    int code = cmd_app_check_topic(&errors->app, topics[0], shards);
    if (code == CMD_OK)
        code = cmd_app_check_topic(&errors->app, topics[1], shards);
    if (code != CMD_OK)
        return code;
    errors->dlq = topics[1];
    enum ka_err err = io_kafka_reader_new(&errors->app.kafka, true, &reader, &text);
    for (int32_t i = 0; err == KA_OK && i < 2 * shards; i++)
        err = add_partition(errors, reader, topics[i % 2], i / 2, &parts, &text);
    code = err == KA_OK ? cmd_read(reader, errors->app.config->app, parts, see, errors)
                        : cmd_fail(err, &text);
    io_kafka_reader_free(&reader);
    return code == CMD_OK ? show(errors) : code;
}

int cmd_errors(int argc, char **argv)
{
    const char *since = NULL;
    struct cmd_words words;
    int64_t ago_ms = HOUR_MS;
    int code;
    const struct cmd_option options[] = {
        {"since", 's', "TIME", "not older than 10m, 2h, 1d; default 1h", &since, NULL},
    };
    const struct cmd_spec spec = {
        .synopsis = "errors [--since TIME]",
        .summary = "What went wrong lately: one line for each class, code and place, with how\n"
                   "often, when last, and the last one. From the history and the dead letters.",
        .options = options,
        .option_count = 1,
    };
    struct errors *errors = calloc(1, sizeof *errors);
    if (errors == NULL)
        return cmd_complain(CMD_FAILED, "out of memory");
    bool parsed = cmd_parse(&spec, argc, argv, &errors->common, &words, &code);
    if (parsed && since != NULL && !cmd_duration(since, &ago_ms)) {
        code = cmd_complain(CMD_USAGE, "--since '%s': how long ago, as 10m, 2h, 1d", since);
        parsed = false;
    }
    if (parsed && cmd_app_open(&errors->common, &errors->app, &code)) {
        errors->since_ms = clock_now_ms() - ago_ms;
        code = run(errors);
        cmd_app_close(&errors->app);
    }
    free(errors);
    return code;
}
