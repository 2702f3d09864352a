// SPDX-License-Identifier: Apache-2.0
// kasaga shard repair: why a shard stands still, and a committed offset that was lost or set back.
// The right one is where its owner stood. The marker of the state says how far that was a few
// seconds before the end, and the history names each command that did anything: behind the last of
// these there can only be commands that changed nothing, and they change nothing again.
#include "cmd/cmd_shard.h"

#include "core/audit.h"
#include "core/history_doc.h"
#include "engine/scan.h"
#include "io/digest.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

// The marker's time is its worker's, the history is found by the broker's.
enum { STALL_MS = 15000, CLOCKS_MS = 120000 };

struct plan {
    struct shard_look look;
    int64_t last; // command that left a trace in the history; -1 = none
    int64_t to;   // offset to commit; -1 = there is no way
    const char *advice;
    bool done;
};

struct traces {
    struct cmd_shard *cmd;
    struct slice inbox; // "<topic>/<partition>/"
    int64_t last;
    struct arena arena;
};

static const char *say(struct cmd_shard *cmd, const char *format, ...) KA_PRINTF(2, 3);
static const char *say(struct cmd_shard *cmd, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    return arena_str(&cmd->app.arena, slice_str(line));
}

// --- looking

// Of a start the incarnation is the offset, of an operator's verb the cause names it.
static enum ka_err take_trace(void *context, const struct record *record, struct err_text *text)
{
    struct traces *traces = context;
    struct history_doc doc;
    int64_t offset = -1;
    (void)text;
    arena_reset(&traces->arena);
    if (history_doc_parse(record->value, &traces->arena, &doc, NULL) != KA_OK)
        return KA_OK;
    if (doc.incarnation > traces->last)
        traces->last = doc.incarnation;
    if (slice_starts(doc.cause, traces->inbox)) {
        const char *number = arena_str(&traces->arena, doc.cause) + traces->inbox.len;
        if (cmd_number(number, 0, INT64_MAX - 1, &offset) && offset > traces->last)
            traces->last = offset;
    }
    return KA_OK;
}

static enum ka_err find_last(struct cmd_shard *cmd, struct plan *plan, struct err_text *text)
{
    struct cmd_app *app = &cmd->app;
    struct traces traces = {.cmd = cmd, .last = -1};
    struct scan scan = {.kafka = &app->kafka,
                        .topic = cmd_app_topic(app, "history"),
                        .partition = plan->look.shard,
                        .stall_ms = STALL_MS};
    int64_t since_ms = plan->look.has_marker ? plan->look.marker.time_ms - CLOCKS_MS : 0;
    int64_t from = -1;
    traces.inbox = slice_str(say(cmd, "%s/%d/", cmd_app_topic(app, "inbox"), plan->look.shard));
    enum ka_err err = io_kafka_watermarks(app->admin, scan.topic, scan.partition, CMD_CALL_MS,
                                          &scan.from, &scan.end, text);
    if (err == KA_OK)
        err = io_kafka_offset_at(app->admin, scan.topic, scan.partition,
                                 since_ms < 0 ? 0 : since_ms, CMD_CALL_MS, &from, text);
    if (err == KA_OK && from > scan.from)
        scan.from = from;
    if (err == KA_OK)
        err = scan_records(&scan, take_trace, &traces, text);
    arena_fini(&traces.arena);
    plan->last = traces.last;
    return err;
}

static int64_t where_it_stood(const struct plan *plan)
{
    int64_t marked = plan->look.has_marker ? plan->look.marker.inbox_offset : -1;
    return plan->last + 1 > marked ? plan->last + 1 : marked;
}

static enum ka_err decide(struct cmd_shard *cmd, struct plan *plan, struct err_text *text)
{
    const struct shard_look *look = &plan->look;
    enum ka_err err = KA_OK;
    plan->to = plan->last = -1;
    switch (look->fault) {
    case SHARD_AGREES:
        return KA_OK;
    case SHARD_NO_OFFSET:
    case SHARD_BEHIND:
    case SHARD_NOT_OURS:
        err = find_last(cmd, plan, text);
        plan->to = where_it_stood(plan);
        plan->advice = "commands from there on are read; a start that was read before is known by "
                       "its id and changes nothing";
        if (plan->to <= look->inbox_end && look->restore != NULL)
            return err;
        plan->to = -1;
        plan->advice = "inbox and state are not of one app any more";
        return err;
    case SHARD_TRUNCATED:
        plan->to = look->inbox_start;
        plan->advice = "the commands before it are lost";
        return KA_OK;
    case SHARD_BEYOND:
        plan->advice = "what the shard has done is not of this inbox: offsets are the incarnations "
                       "of its sagas. Give the app a new name";
        return KA_OK;
    case SHARD_STATE_LOST:
        plan->advice = "kasaga shard rebuild compares with the history and writes it again";
        return KA_OK;
    }
    return KA_OK;
}

// --- doing

static enum ka_err take_audit(void *context, const struct record *record, struct err_text *text)
{
    struct meta_audit *last = context;
    struct audit_record audit;
    (void)text;
    audit_read(record, digest_sha256, &audit);
    if (audit.sequence > 0) {
        last->sequence = audit.sequence;
        memcpy(last->hash, audit.hash, sizeof last->hash);
    }
    return KA_OK;
}

// The end of the shard's chain of audit records, which rode with the offset.
static enum ka_err find_audit(struct cmd_shard *cmd, int32_t shard, struct meta_audit *last,
                              struct err_text *text)
{
    int32_t partitions = 0;
    struct scan scan = {.kafka = &cmd->app.kafka,
                        .topic = cmd_app_topic(&cmd->app, "audit"),
                        .partition = shard,
                        .stall_ms = STALL_MS};
    enum ka_err err =
        io_kafka_partition_count(cmd->app.admin, scan.topic, CMD_CALL_MS, &partitions, text);
    if (err != KA_OK || shard >= partitions)
        return err;
    err = io_kafka_watermarks(cmd->app.admin, scan.topic, shard, CMD_CALL_MS, &scan.from, &scan.end,
                              text);
    return err == KA_OK ? scan_records(&scan, take_audit, last, text) : err;
}

// The state is read from the start of its topic: what was before was trimmed because nothing of it
// was needed.
static enum ka_err commit(struct cmd_shard *cmd, struct plan *plan, struct err_text *text)
{
    const struct shard_look *look = &plan->look;
    struct meta meta = look->meta;
    struct buf string = {0};
    enum ka_err err = KA_OK;
    if (!meta.present) {
        meta = (struct meta){.present = true,
                             .node = SLICE_LIT("repair"),
                             .lane = SLICE_LIT("s0"),
                             .low_water = look->state_start,
                             .time_ms = look->marker.time_ms,
                             .counts = look->marker.counts};
        err = find_audit(cmd, look->shard, &meta.audit, text);
    }
    if (err != KA_OK)
        return err_wrap(text, err, "shard %d", look->shard);
    if (look->restore != NULL) {
        meta.counts.live = (int64_t)shard_restore_live(look->restore);
        meta.sum = table_sum(shard_restore_table(look->restore));
    }
    meta_format(&meta, &string);
    struct io_kafka_committed entry = {.topic = cmd_app_topic(&cmd->app, "inbox"),
                                       .partition = look->shard,
                                       .offset = plan->to,
                                       .metadata = buf_slice(&string)};
    err =
        io_kafka_commit_offsets(cmd->app.admin, cmd->app.config->app, &entry, 1, CMD_CALL_MS, text);
    buf_fini(&string);
    if (err == KA_OK)
        err = cmd_shard_note(cmd, look->shard, "offset committed", look->offset, plan->to, text);
    plan->done = err == KA_OK;
    return err == KA_OK ? KA_OK : err_wrap(text, err, "shard %d", look->shard);
}

// --- what is said of it

static const char *const fault_names[] = {
    [SHARD_AGREES] = "agrees",         [SHARD_NO_OFFSET] = "no_offset", [SHARD_BEHIND] = "behind",
    [SHARD_NOT_OURS] = "not_ours",     [SHARD_TRUNCATED] = "truncated", [SHARD_BEYOND] = "beyond",
    [SHARD_STATE_LOST] = "state_lost",
};

static void put_text(struct cmd_shard *cmd, struct buf *buf, const struct plan *plan)
{
    const struct shard_look *look = &plan->look;
    buf_str(buf, say(cmd, "shard %d  %s\n", look->shard, fault_names[look->fault]));
    if (look->fault == SHARD_AGREES)
        return;
    buf_str(buf, say(cmd, "  why        %s\n", look->why));
    buf_str(buf, say(cmd, "  inbox      offsets %" PRId64 " to %" PRId64 "\n", look->inbox_start,
                     look->inbox_end));
    buf_str(buf, look->offset < 0 ? "  committed  nothing\n"
                                  : say(cmd, "  committed  %" PRId64 "\n", look->offset));
    if (look->has_marker) {
        buf_str(buf, say(cmd, "  marker     inbox read up to %" PRId64 " at ",
                         look->marker.inbox_offset));
        buf_time(buf, look->marker.time_ms);
        buf_byte(buf, '\n');
    }
    if (look->restore != NULL)
        buf_str(buf, say(cmd, "  state      offsets %" PRId64 " to %" PRId64 ", %zu live sagas\n",
                         look->state_start, look->state_end, shard_restore_live(look->restore)));
    if (plan->last >= 0)
        buf_str(buf, say(cmd, "  history    the last command that did anything is %" PRId64 "\n",
                         plan->last));
    if (plan->to >= 0)
        buf_str(buf, say(cmd, "  plan       commit %" PRId64 "; ", plan->to));
    else
        buf_str(buf, "  plan       none; ");
    buf_str(buf, say(cmd, "%s\n", plan->advice));
    if (plan->done)
        buf_str(buf, "  done\n");
}

static void put_json(struct cmd_shard *cmd, struct buf *buf, const struct plan *plan)
{
    const struct shard_look *look = &plan->look;
    buf_str(buf, say(cmd, "{\"shard\":%d,\"fault\":\"%s\",\"offset\":%" PRId64, look->shard,
                     fault_names[look->fault], look->offset));
    buf_str(buf, say(cmd, ",\"inbox_start\":%" PRId64 ",\"inbox_end\":%" PRId64, look->inbox_start,
                     look->inbox_end));
    if (look->has_marker)
        buf_str(buf, say(cmd, ",\"marker\":%" PRId64, look->marker.inbox_offset));
    if (look->restore != NULL)
        buf_str(buf, say(cmd, ",\"live\":%zu", shard_restore_live(look->restore)));
    if (look->fault != SHARD_AGREES) {
        buf_str(buf, ",\"why\":");
        buf_json_str(buf, slice_str(look->why));
        buf_str(buf, say(cmd, ",\"last\":%" PRId64 ",\"commit\":%" PRId64 ",\"advice\":",
                         plan->last, plan->to));
        buf_json_str(buf, slice_str(plan->advice));
    }
    buf_str(buf, plan->done ? ",\"done\":true}" : ",\"done\":false}");
}

static void show(struct cmd_shard *cmd, const struct plan *plans, size_t count)
{
    struct buf buf = {0};
    bool json = cmd->common.output != CMD_TEXT;
    buf_str(&buf, json ? "[" : "");
    for (size_t i = 0; i < count; i++) {
        if (json && i > 0)
            buf_byte(&buf, ',');
        if (json)
            put_json(cmd, &buf, &plans[i]);
        else
            put_text(cmd, &buf, &plans[i]);
    }
    buf_str(&buf, json ? "]\n" : "");
    (void)cmd_write(&buf);
    buf_fini(&buf);
}

// --- the command

static int carry_out(struct cmd_shard *cmd, struct plan *plans, size_t count)
{
    struct err_text text = {""};
    size_t faults = 0, plans_made = 0;
    for (size_t i = 0; i < count; i++) {
        faults += plans[i].look.fault != SHARD_AGREES;
        plans_made += plans[i].to >= 0;
    }
    bool asked = cmd->yes || cmd->reason != NULL;
    if (cmd->common.output == CMD_TEXT || plans_made == 0 || !asked)
        show(cmd, plans, count);
    if (faults == 0)
        return CMD_OK;
    if (plans_made == 0 || !asked)
        return cmd_complain(CMD_FAILED, "%zu shards stand still%s", faults,
                            plans_made == 0 ? "" : ": --yes --reason TEXT carries the plan out");
    int code = cmd_shard_agree(cmd);
    if (code == CMD_OK)
        code = cmd_shard_alone(cmd);
    enum ka_err err = KA_OK;
    for (size_t i = 0; code == CMD_OK && err == KA_OK && i < count; i++)
        if (plans[i].to >= 0)
            err = commit(cmd, &plans[i], &text);
    if (code != CMD_OK)
        return code;
    show(cmd, plans, count);
    if (err != KA_OK)
        return cmd_fail(err, &text);
    return plans_made == faults ? CMD_OK : CMD_FAILED;
}

int cmd_shard_repair(struct cmd_shard *cmd)
{
    struct err_text text = {""};
    int32_t shards = cmd->app.config->shards;
    struct plan *plans = arena_zalloc(&cmd->app.arena, (size_t)shards * sizeof *plans);
    size_t count = 0;
    enum ka_err err = KA_OK;
    for (int32_t shard = 0; err == KA_OK && shard < shards; shard++) {
        if (cmd->only >= 0 && shard != cmd->only)
            continue;
        struct plan *plan = &plans[count++];
        err = cmd_shard_look(cmd, shard, &plan->look, &text);
        if (err == KA_OK)
            err = decide(cmd, plan, &text);
    }
    int code = err == KA_OK ? carry_out(cmd, plans, count) : cmd_fail(err, &text);
    for (size_t i = 0; i < count; i++)
        cmd_shard_look_fini(&plans[i].look);
    return code;
}
