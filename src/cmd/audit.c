// SPDX-License-Identifier: Apache-2.0
// kasaga audit: what was kept from leaving the region, and whether anybody changed the records of
// it.
#include "cmd/cmd_app.h"
#include "cmd/cmd_read.h"

#include "core/audit.h"
#include "core/json.h"
#include "io/clock.h"
#include "io/digest.h"
#include "io/print.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { LIMIT_DEFAULT = 50, LIMIT_MAX = 10000, ROUNDS = 10, ROUND_MS = 500 };

// One record as ls shows it.
struct line {
    int32_t partition;
    int64_t offset;
    int64_t time_ms;
    struct slice doc;
};

struct audit {
    struct cmd_common common;
    struct cmd_app app;
    const char *topic;
    int32_t only; // -1 = all partitions
    int64_t limit;
    struct io_kafka_reader *reader;
    struct line *lines;
    size_t line_count;
    struct audit_record *records; // of the partition in hand
    size_t record_count;
    size_t room;
    size_t checked;
    size_t offences;
    struct buf out;
};

static int open_reader(struct audit *audit)
{
    struct err_text text = {""};
    io_kafka_reader_free(&audit->reader);
    enum ka_err err = io_kafka_reader_new(&audit->app.kafka, true, &audit->reader, &text);
    return err == KA_OK ? CMD_OK : cmd_fail(err, &text);
}

// ---- ls

static bool take_line(void *state, const struct record *record)
{
    struct audit *audit = state;
    if (audit->line_count == audit->room)
        return false;
    audit->lines[audit->line_count++] = (struct line){
        record->partition, record->offset, record->timestamp_ms,
        arena_copy(&audit->app.arena, slice_none(record->value) ? SLICE_LIT("") : record->value)};
    return true;
}

static int by_time(const void *a, const void *b)
{
    const struct line *left = a, *right = b;
    if (left->time_ms != right->time_ms)
        return left->time_ms < right->time_ms ? -1 : 1;
    if (left->partition != right->partition)
        return left->partition < right->partition ? -1 : 1;
    return left->offset < right->offset ? -1 : left->offset > right->offset;
}

static void put_word(struct audit *audit, const char *before, struct slice object, const char *name)
{
    struct slice value = json_member(object, slice_str(name));
    if (slice_none(value) || json_type(value) != JSON_STRING)
        return;
    buf_str(&audit->out, before);
    buf_slice_put(&audit->out, json_text(json_trim(value), &audit->app.arena));
}

static void text_line(struct audit *audit, const struct line *line)
{
    struct buf *buf = &audit->out;
    char place[40];
    snprintf(place, sizeof place, "%d/%" PRId64, line->partition, line->offset);
    buf_print(buf, "%-10s ", place);
    buf_time(buf, line->time_ms);
    if (json_validate(line->doc, NULL) != KA_OK) {
        buf_str(buf, "  is no audit record\n");
        return;
    }
    struct slice data = json_member(line->doc, SLICE_LIT("data"));
    put_word(audit, "  ", line->doc, "subject");
    put_word(audit, "  ", data, "step");
    put_word(audit, "  ", line->doc, "dataclass");
    put_word(audit, " of ", data, "home");
    put_word(audit, " -> ", data, "destination");
    put_word(audit, "  ", data, "message");
    buf_byte(buf, '\n');
}

static void json_line(struct audit *audit, const struct line *line)
{
    struct buf *buf = &audit->out;
    buf_print(buf, "{\"partition\":%d,\"offset\":%" PRId64 ",\"record\":", line->partition,
              line->offset);
    if (json_validate(line->doc, NULL) == KA_OK)
        buf_slice_put(buf, line->doc);
    else
        buf_str(buf, "null");
    buf_byte(buf, '}');
}

static int list(struct audit *audit)
{
    struct err_text text = {""};
    int parts = 0;
    int code = open_reader(audit);
    for (int32_t i = 0; code == CMD_OK && i < audit->app.config->shards; i++) {
        int64_t start, end;
        if (audit->only >= 0 && i != audit->only)
            continue;
        enum ka_err err = io_kafka_watermarks(audit->app.admin, audit->topic, i, CMD_CALL_MS,
                                              &start, &end, &text);
        if (start < end - 2 * audit->limit) // markers take offsets too
            start = end - 2 * audit->limit;
        if (err == KA_OK && start < end) {
            err = io_kafka_reader_add(audit->reader, audit->topic, i, start, &text);
            audit->room += (size_t)(end - start) + 1000; // and what comes meanwhile
            parts++;
        }
        code = err == KA_OK ? CMD_OK : cmd_fail(err, &text);
    }
    audit->lines = calloc(audit->room + 1, sizeof *audit->lines);
    if (audit->lines == NULL)
        return cmd_complain(CMD_FAILED, "out of memory");
    if (code == CMD_OK)
        code = cmd_read(audit->reader, audit->topic, parts, take_line, audit);
    if (code != CMD_OK)
        return code;
    qsort(audit->lines, audit->line_count, sizeof *audit->lines, by_time);
    size_t limit = (size_t)audit->limit;
    size_t first = audit->line_count > limit ? audit->line_count - limit : 0;
    bool json = audit->common.output == CMD_JSON;
    buf_str(&audit->out, json ? "[" : "");
    for (size_t i = first; i < audit->line_count; i++) {
        buf_str(&audit->out, json && i > first ? "," : "");
        if (audit->common.output == CMD_TEXT)
            text_line(audit, &audit->lines[i]);
        else
            json_line(audit, &audit->lines[i]);
        buf_str(&audit->out, audit->common.output == CMD_JSONL ? "\n" : "");
    }
    buf_str(&audit->out, json ? "]\n" : "");
    if (audit->line_count == 0)
        cmd_note(&audit->common, "nothing in %s", audit->topic);
    return cmd_write(&audit->out) ? CMD_OK : CMD_FAILED;
}

// ---- verify

static bool take_record(void *state, const struct record *record)
{
    struct audit *audit = state;
    if (audit->record_count == audit->room) {
        audit->room = audit->room == 0 ? 1024 : 2 * audit->room;
        audit->records = realloc(audit->records, audit->room * sizeof *audit->records);
        if (audit->records == NULL)
            abort();
    }
    audit_read(record, digest_sha256, &audit->records[audit->record_count++]);
    return true;
}

// What the shard has committed as the end of its chain.
static enum ka_err ask_end(struct audit *audit, int32_t partition, struct meta_audit *end,
                           struct err_text *text)
{
    struct meta meta;
    struct io_kafka_committed entry = {.topic = cmd_app_topic(&audit->app, "inbox"),
                                       .partition = partition};
    enum ka_err err = io_kafka_committed(audit->app.admin, audit->app.config->app, true,
                                         CMD_CALL_MS, &entry, 1, &audit->app.arena, text);
    if (err == KA_OK)
        err = meta_parse(entry.metadata, &meta, text);
    if (err == KA_OK)
        *end = meta.audit;
    return err;
}

static int read_partition(struct audit *audit, int32_t partition, bool *trimmed)
{
    struct err_text text = {""};
    int64_t start = 0, end = 0;
    enum ka_err err = io_kafka_watermarks(audit->app.admin, audit->topic, partition, CMD_CALL_MS,
                                          &start, &end, &text);
    if (err != KA_OK)
        return cmd_fail(err, &text);
    *trimmed = start > 0;
    audit->record_count = 0;
    if (start == end)
        return CMD_OK;
    int code = open_reader(audit);
    if (code != CMD_OK)
        return code;
    err = io_kafka_reader_add(audit->reader, audit->topic, partition, start, &text);
    return err == KA_OK ? cmd_read(audit->reader, audit->topic, 1, take_record, audit)
                        : cmd_fail(err, &text);
}

static void text_finding(struct audit *audit, int32_t partition,
                         const struct audit_finding *finding)
{
    struct buf *buf = &audit->out;
    char behind[64] = "at the end";
    if (finding->offset >= 0)
        snprintf(behind, sizeof behind, "before offset %" PRId64, finding->offset);
    buf_print(buf, "%s/%d: ", audit->topic, partition);
    switch (finding->type) {
    case AUDIT_ALTERED:
        buf_print(buf, "offset %" PRId64 " was altered (record %" PRId64 ")\n", finding->offset,
                  finding->first);
        break;
    case AUDIT_PUT_IN:
        buf_print(buf, "offset %" PRId64 " does not belong there\n", finding->offset);
        break;
    case AUDIT_MISSING:
        buf_print(buf, "records %" PRId64 " to %" PRId64 " are missing %s\n", finding->first,
                  finding->last, behind);
        break;
    case AUDIT_GONE:
        buf_print(buf, "records %" PRId64 " to %" PRId64 " are gone by retention\n", finding->first,
                  finding->last);
        break;
    }
}

static void json_finding(struct audit *audit, int32_t partition,
                         const struct audit_finding *finding)
{
    static const char *const names[] = {"altered", "put_in", "missing", "gone"};
    buf_print(&audit->out,
              "%s{\"partition\":%d,\"finding\":\"%s\",\"offset\":%" PRId64 ",\"first\":%" PRId64
              ",\"last\":%" PRId64 "}",
              audit->common.output == CMD_JSON && audit->out.len > 1 ? "," : "", partition,
              names[finding->type], finding->offset, finding->first, finding->last);
    buf_str(&audit->out, audit->common.output == CMD_JSONL ? "\n" : "");
}

// A shard that is at work writes records and its end in one transaction, which are not seen at one
// time: it is looked at again until they agree.
static int verify_partition(struct audit *audit, int32_t partition)
{
    struct err_text text = {""};
    struct meta_audit end = {0};
    bool trimmed = false;
    int code = CMD_OK;
    for (int round = 0; round < ROUNDS; round++) {
        code = read_partition(audit, partition, &trimmed);
        if (code != CMD_OK)
            return code;
        enum ka_err err = ask_end(audit, partition, &end, &text);
        if (err != KA_OK)
            return cmd_fail(err, &text);
        size_t count = audit->record_count;
        int64_t last = count == 0 ? 0 : audit->records[count - 1].sequence;
        if (last == end.sequence)
            break;
        clock_sleep_ms(ROUND_MS);
    }
    const struct audit_finding *findings = NULL;
    size_t count = 0;
    audit_verify(audit->records, audit->record_count, &end, trimmed, &audit->app.arena, &findings,
                 &count);
    audit->checked += audit->record_count;
    for (size_t i = count; i-- > 0;) { // the earliest first
        audit->offences += findings[i].type != AUDIT_GONE;
        if (audit->common.output == CMD_TEXT)
            text_finding(audit, partition, &findings[i]);
        else
            json_finding(audit, partition, &findings[i]);
    }
    return CMD_OK;
}

static int verify(struct audit *audit)
{
    int code = CMD_OK;
    buf_str(&audit->out, audit->common.output == CMD_JSON ? "[" : "");
    for (int32_t i = 0; code == CMD_OK && i < audit->app.config->shards; i++)
        if (audit->only < 0 || i == audit->only)
            code = verify_partition(audit, i);
    if (code != CMD_OK)
        return code;
    buf_str(&audit->out, audit->common.output == CMD_JSON ? "]\n" : "");
    if (audit->common.output == CMD_TEXT)
        buf_print(&audit->out, "%zu records of %s: %s\n", audit->checked, audit->topic,
                  audit->offences == 0 ? "the chain holds" : "THE CHAIN IS BROKEN");
    bool written = cmd_write(&audit->out);
    return audit->offences == 0 && written ? CMD_OK : CMD_FAILED;
}

// ---- The command

static int run(struct audit *audit, bool lists)
{
    audit->topic = cmd_app_topic(&audit->app, "audit");
    int32_t shards = audit->app.config->shards;
    int code = cmd_app_check_topic(&audit->app, audit->topic, shards);
    if (code != CMD_OK)
        return code;
    if (audit->only >= shards)
        return cmd_complain(CMD_NOT_FOUND, "%s has partitions 0 to %d", audit->topic, shards - 1);
    code = lists ? list(audit) : verify(audit);
    io_kafka_reader_free(&audit->reader);
    free(audit->lines);
    free(audit->records);
    buf_fini(&audit->out);
    return code;
}

int cmd_audit(int argc, char **argv)
{
    struct audit audit = {.only = -1, .limit = LIMIT_DEFAULT};
    const char *partition = NULL, *limit = NULL;
    int64_t number = -1;
    struct cmd_words words;
    const struct cmd_option options[] = {
        {"partition", 'p', "N", "only this one", &partition, NULL},
        {"limit", 'n', "N", "ls: the newest N; default 50", &limit, NULL},
    };
    const struct cmd_spec spec = {
        .synopsis = "audit ls [--partition N] [--limit N]\naudit verify [--partition N]",
        .summary = "Lists what was kept from leaving this region, or checks the chain of hashes\n"
                   "over these records: the exit code is 1 when one was altered, put in or taken\n"
                   "out, and each place is named.",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
        .words_min = 1,
        .words_max = 1,
    };
    int code;
    if (!cmd_parse(&spec, argc, argv, &audit.common, &words, &code))
        return code;
    if (partition != NULL && !cmd_number(partition, 0, INT32_MAX, &number))
        return cmd_complain(CMD_USAGE, "--partition '%s' is not a number", partition);
    audit.only = (int32_t)number;
    if (limit != NULL && !cmd_number(limit, 1, LIMIT_MAX, &audit.limit))
        return cmd_complain(CMD_USAGE, "--limit '%s': 1 to %d", limit, LIMIT_MAX);
    bool lists = strcmp(words.items[0], "ls") == 0;
    if (!lists && strcmp(words.items[0], "verify") != 0)
        return cmd_complain(CMD_USAGE, "audit: ls or verify");
    if (!cmd_app_open(&audit.common, &audit.app, &code))
        return code;
    code = run(&audit, lists);
    cmd_app_close(&audit.app);
    return code;
}
