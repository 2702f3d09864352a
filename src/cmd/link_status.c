// SPDX-License-Identifier: Apache-2.0
// kasaga link status: per link what its processes say of it (heartbeat, breaker, errors) and per
// source partition how far it is, and how old the oldest record is that is not copied.
#include "cmd/cmd_link.h"
#include "core/json.h"
#include "io/clock.h"
#include "io/print.h"

#include <inttypes.h>
#include <stdio.h>

enum { READ_MS = 5000, POLL_MS = 50, BEHIND_MAX = 256, SILENT_MS = 15000 };

struct part_status {
    const struct link_row *row;
    int64_t start; // of the source; -1 = not known
    int64_t end;
    int64_t lag; // offsets; -1 = not known
    int64_t behind_ms;
    int64_t bytes; // copied by the processes that are not silent, since they took it over
    int64_t again; // copies of theirs whose transaction was aborted
    bool asked;    // for the time of the record that is next
};

struct link_status {
    const struct config_link *config;
    struct part_status *parts;
    size_t count;
    bool reached;
    char error[300];
};

// ---- Asking

static struct part_status *part_of(struct link_status *link, const struct record *record)
{
    for (size_t i = 0; i < link->count; i++) {
        const struct link_progress *progress = &link->parts[i].row->progress;
        if (link->parts[i].asked && progress->partition == record->partition &&
            slice_eq(progress->topic, record->topic))
            return &link->parts[i];
    }
    return NULL;
}

// The time of the oldest record that is not copied, of each part that has one.
static enum ka_err ask_times(struct cmd_app *app, const struct link_source *source,
                             struct link_status *link, struct err_text *text)
{
    struct io_kafka_config kafka = source->kafka;
    struct io_kafka_reader *reader = NULL;
    size_t open = 0;
    kafka.fetch_kbytes = 16;
    enum ka_err err = io_kafka_reader_new(&kafka, true, &reader, text);
    for (size_t i = 0; i < link->count && err == KA_OK && open < BEHIND_MAX; i++) {
        const struct link_progress *progress = &link->parts[i].row->progress;
        link->parts[i].asked = link->parts[i].lag > 0;
        if (!link->parts[i].asked)
            continue;
        int64_t start = link->parts[i].start;
        err = io_kafka_reader_add(reader, arena_str(&app->arena, progress->topic),
                                  progress->partition,
                                  start > progress->next ? start : progress->next, text);
        open++;
    }
    int64_t until_ms = clock_mono_ms() + READ_MS;
    while (err == KA_OK && open > 0 && clock_mono_ms() < until_ms) {
        struct record record = {.partition = -1};
        struct err_text why = {""};
        enum ka_err failed = KA_OK;
        enum io_kafka_read read = io_kafka_reader_next(reader, POLL_MS, &record, &failed, &why);
        struct part_status *part = read == IO_KAFKA_READ_NOTHING ? NULL : part_of(link, &record);
        if (part == NULL)
            continue;
        if (read == IO_KAFKA_READ_RECORD)
            part->behind_ms = clock_now_ms() - record.timestamp_ms;
        else if (read == IO_KAFKA_READ_END)
            part->lag = 0; // markers of transactions only
        part->asked = false;
        open--;
    }
    if (reader != NULL)
        io_kafka_reader_free(&reader);
    return err;
}

static enum ka_err ask_edges(struct cmd_app *app, const struct link_source *source,
                             struct link_status *link, struct err_text *text)
{
    struct io_kafka_edge *edges = arena_zalloc(&app->arena, (link->count + 1) * sizeof *edges);
    for (size_t i = 0; i < link->count; i++)
        edges[i] =
            (struct io_kafka_edge){arena_str(&app->arena, link->parts[i].row->progress.topic),
                                   link->parts[i].row->progress.partition, -1};
    enum ka_err err = io_kafka_edges(source->admin, false, edges, link->count, CMD_CALL_MS, text);
    for (size_t i = 0; i < link->count && err == KA_OK; i++)
        link->parts[i].start = edges[i].offset;
    if (err == KA_OK)
        err = io_kafka_edges(source->admin, true, edges, link->count, CMD_CALL_MS, text);
    for (size_t i = 0; i < link->count && err == KA_OK; i++) {
        struct part_status *part = &link->parts[i];
        int64_t next = part->row->progress.next;
        part->end = edges[i].offset;
        part->lag = part->end < 0 ? -1 : part->end > next ? part->end - next : 0;
    }
    return err;
}

static void ask_link(struct cmd_app *app, struct link_status *link)
{
    struct err_text text = {""};
    struct link_source source;
    int code;
    if (!link_source_open(app, link->config->source, &source, &code))
        return;
    enum ka_err err = ask_edges(app, &source, link, &text);
    if (err == KA_OK)
        err = ask_times(app, &source, link, &text);
    link->reached = err == KA_OK;
    snprintf(link->error, sizeof link->error, "%s", text.text);
    link_source_close(&source);
}

// What the processes have counted of each part.
static void take_counts(struct link_status *link, const struct link_beat *beat)
{
    struct slice counts = json_member(beat->json, SLICE_LIT("counts"));
    struct slice name, count;
    if (slice_none(counts) || json_type(counts) != JSON_ARRAY)
        return;
    struct json_walk walk = json_walk(counts);
    while (json_next(&walk, &name, &count)) {
        struct slice topic = json_trim(json_member(count, SLICE_LIT("topic")));
        for (size_t i = 0; i < link->count && topic.len > 0; i++) {
            struct part_status *part = &link->parts[i];
            const struct link_progress *progress = &part->row->progress;
            if (json_i64_member(count, SLICE_LIT("partition"), 0) != progress->partition ||
                !json_text_is(topic, progress->topic))
                continue;
            part->bytes += json_i64_member(count, SLICE_LIT("bytes"), 0);
            part->again += json_i64_member(count, SLICE_LIT("again"), 0);
        }
    }
}

static void take_parts(struct cmd_app *app, const struct link_rows *rows, struct link_status *link)
{
    link->parts = arena_zalloc(&app->arena, (rows->count + 1) * sizeof *link->parts);
    for (size_t i = 0; i < rows->count; i++)
        if (slice_eq(rows->rows[i].progress.source, slice_str(link->config->source)))
            link->parts[link->count++] =
                (struct part_status){.row = &rows->rows[i], .start = -1, .end = -1, .lag = -1};
    for (size_t i = 0; i < rows->beat_count; i++)
        if (strcmp(rows->beats[i].source, link->config->source) == 0 &&
            clock_now_ms() - rows->beats[i].time_ms <= SILENT_MS &&
            json_validate(rows->beats[i].json, NULL) == KA_OK)
            take_counts(link, &rows->beats[i]);
}

// ---- Telling

static struct slice member(struct slice json, const char *name)
{
    struct slice value = json_member(json, slice_str(name));
    return slice_none(value) ? SLICE_LIT("null") : value;
}

static int64_t lag_of(const struct link_status *link, int64_t *behind_ms)
{
    int64_t lag = 0;
    *behind_ms = 0;
    for (size_t i = 0; i < link->count; i++) {
        lag += link->parts[i].lag > 0 ? link->parts[i].lag : 0;
        if (link->parts[i].behind_ms > *behind_ms)
            *behind_ms = link->parts[i].behind_ms;
    }
    return lag;
}

static void text_beat(struct buf *buf, const struct link_beat *beat, int64_t now_ms)
{
    int64_t age_ms = now_ms - beat->time_ms;
    struct slice json = beat->json;
    buf_print(buf,
              "  node %-20s heartbeat %" PRId64 ".%" PRId64 " s ago%s, breaker %.*s, rtt %.*s ms, ",
              beat->node, age_ms / 1000, age_ms % 1000 / 100, age_ms > SILENT_MS ? " (silent)" : "",
              SLICE_FMT(member(json, "breaker")), SLICE_FMT(member(json, "rtt_ms")));
    buf_print(buf, "reads %.*s of %.*s parts\n", SLICE_FMT(member(json, "reading")),
              SLICE_FMT(member(json, "parts")));
    buf_print(buf, "    copied %.*s records, %.*s bytes, in %.*s transactions; ",
              SLICE_FMT(member(json, "copied")), SLICE_FMT(member(json, "bytes")),
              SLICE_FMT(member(json, "transactions")));
    buf_print(buf, "%.*s aborted (%.*s records again), %.*s unclear; %.*s of %.*s looks failed\n",
              SLICE_FMT(member(json, "aborts")), SLICE_FMT(member(json, "again")),
              SLICE_FMT(member(json, "unclear")), SLICE_FMT(member(json, "failures")),
              SLICE_FMT(member(json, "looks")));
    if (member(json, "error").len > 2)
        buf_print(buf, "    error %.*s\n", SLICE_FMT(member(json, "error")));
    if (member(json, "held").len > 2)
        buf_print(buf, "    held %.*s\n", SLICE_FMT(member(json, "held")));
}

static void text_part(struct buf *buf, const struct part_status *part)
{
    const struct link_progress *progress = &part->row->progress;
    buf_print(buf, "  %.*s/%d", SLICE_FMT(progress->topic), progress->partition);
    buf_print(buf, " -> %.*s  next %" PRId64 "  lag ", SLICE_FMT(progress->target), progress->next);
    if (part->lag < 0)
        buf_str(buf, "?");
    else
        buf_print(buf, "%" PRId64 " (%" PRId64 ".%" PRId64 " s)", part->lag, part->behind_ms / 1000,
                  part->behind_ms % 1000 / 100);
    buf_print(buf, "  copied %" PRId64 "  dropped %" PRId64, progress->copied, progress->dropped);
    if (progress->skipped > 0 || progress->reason.len > 0)
        buf_print(buf, "  skipped %" PRId64 " by %.*s: %.*s", progress->skipped,
                  SLICE_FMT(progress->actor), SLICE_FMT(progress->reason));
    buf_byte(buf, '\n');
    if (progress->stopped.len > 0)
        buf_print(buf, "    STOPPED %.*s\n", (int)progress->stopped.len, progress->stopped.ptr);
}

static void text_link(struct buf *buf, const struct link_status *link, const struct link_rows *rows)
{
    int64_t behind_ms;
    int64_t lag = lag_of(link, &behind_ms);
    int64_t now_ms = clock_now_ms();
    buf_print(
        buf, "link %s: %zu partitions, lag %" PRId64 " (%" PRId64 ".%" PRId64 " s)%s%s\n",
        link->config->source, link->count, lag, behind_ms / 1000, behind_ms % 1000 / 100,
        link->reached ? "" : ", the source does not answer: ", link->reached ? "" : link->error);
    for (size_t i = 0; i < rows->beat_count; i++)
        if (strcmp(rows->beats[i].source, link->config->source) == 0)
            text_beat(buf, &rows->beats[i], now_ms);
    for (size_t i = 0; i < link->count; i++)
        text_part(buf, &link->parts[i]);
}

static void json_name(struct buf *buf, const char *name, struct slice value)
{
    buf_print(buf, ",\"%s\":", name);
    buf_json_str(buf, value);
}

static void json_part(struct buf *buf, const struct link_status *link,
                      const struct part_status *part)
{
    const struct link_progress *progress = &part->row->progress;
    buf_str(buf, "{\"source\":");
    buf_json_str(buf, slice_str(link->config->source));
    json_name(buf, "topic", progress->topic);
    buf_print(buf, ",\"partition\":%d", progress->partition);
    json_name(buf, "target", progress->target);
    buf_print(buf, ",\"slot\":%d,\"next\":%" PRId64 ",\"end\":%" PRId64 ",\"lag\":%" PRId64,
              part->row->slot, progress->next, part->end, part->lag);
    buf_print(buf, ",\"behind_ms\":%" PRId64 ",\"copied\":%" PRId64 ",\"dropped\":%" PRId64,
              part->behind_ms, progress->copied, progress->dropped);
    buf_print(buf, ",\"skipped\":%" PRId64 ",\"bytes\":%" PRId64 ",\"again\":%" PRId64,
              progress->skipped, part->bytes, part->again);
    json_name(buf, "actor", progress->actor);
    json_name(buf, "reason", progress->reason);
    json_name(buf, "stopped", progress->stopped);
    buf_str(buf, ",\"time\":");
    buf_json_time(buf, progress->time_ms);
    buf_byte(buf, '}');
}

static void json_link(struct buf *buf, const struct link_status *link, const struct link_rows *rows)
{
    int64_t behind_ms;
    int64_t lag = lag_of(link, &behind_ms);
    bool first = true;
    buf_str(buf, "{\"source\":");
    buf_json_str(buf, slice_str(link->config->source));
    buf_print(buf, ",\"reached\":%s,\"lag\":%" PRId64 ",\"behind_ms\":%" PRId64,
              link->reached ? "true" : "false", lag, behind_ms);
    json_name(buf, "error", slice_str(link->error));
    buf_str(buf, ",\"nodes\":[");
    for (size_t i = 0; i < rows->beat_count; i++) {
        if (strcmp(rows->beats[i].source, link->config->source) != 0)
            continue;
        buf_str(buf, first ? "" : ",");
        buf_slice_put(buf, rows->beats[i].json);
        first = false;
    }
    buf_str(buf, "],\"parts\":[");
    for (size_t i = 0; i < link->count; i++) {
        buf_str(buf, i == 0 ? "" : ",");
        json_part(buf, link, &link->parts[i]);
    }
    buf_str(buf, "]}");
}

static void tell(struct buf *buf, const struct cmd_app *app, const struct cmd_common *common,
                 const struct link_status *links, const struct link_rows *rows)
{
    size_t count = app->config->link_count;
    if (common->output == CMD_JSON) {
        buf_str(buf, "{\"app\":");
        buf_json_str(buf, slice_str(app->config->app));
        json_name(buf, "region", slice_str(app->config->region));
        buf_str(buf, ",\"links\":[");
    }
    for (size_t i = 0; i < count; i++) {
        if (common->output == CMD_TEXT)
            text_link(buf, &links[i], rows);
        buf_str(buf, common->output == CMD_JSON && i > 0 ? "," : "");
        if (common->output == CMD_JSON)
            json_link(buf, &links[i], rows);
        for (size_t j = 0; common->output == CMD_JSONL && j < links[i].count; j++) {
            json_part(buf, &links[i], &links[i].parts[j]);
            buf_byte(buf, '\n');
        }
    }
    buf_str(buf, common->output == CMD_JSON ? "]}\n" : "");
}

int cmd_link_status(struct cmd_app *app, const struct cmd_common *common)
{
    struct link_rows rows;
    struct buf buf = {0};
    size_t count = app->config->link_count;
    int code = link_rows_read(app, &rows);
    if (code != CMD_OK)
        return code;
    struct link_status *links = arena_zalloc(&app->arena, (count + 1) * sizeof *links);
    for (size_t i = 0; i < count; i++) {
        links[i].config = &app->config->link_list[i];
        take_parts(app, &rows, &links[i]);
        ask_link(app, &links[i]);
    }
    tell(&buf, app, common, links, &rows);
    bool written = cmd_write(&buf);
    buf_fini(&buf);
    return written ? CMD_OK : CMD_FAILED;
}
