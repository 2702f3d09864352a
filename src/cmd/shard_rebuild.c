// SPDX-License-Identifier: Apache-2.0
// kasaga shard rebuild: <app>.state from <app>.history. The state of every shard is computed from
// the history and compared with what the state topic holds; where that is lost, it is written
// again, with the offset's metadata in the same transaction.
#include "cmd/cmd_shard.h"

#include "engine/scan.h"
#include "engine/stand_in.h"
#include "io/clock.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum { STALL_MS = 15000, JOIN_MS = 30000 };

enum verdict {
    AGREES,
    REWRITES, // to be written again
    REFUSED   // cannot be put right from the history
};

struct plan {
    struct shard_look look;
    struct rebuild *rebuild;
    enum verdict verdict;
    const char *why;
    bool written;
};

struct batch {
    struct cmd_shard *cmd;
    struct stand_in *stand_in;
    int32_t shard;
    size_t count;
    enum ka_err err;
    struct err_text *text;
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

static enum ka_err take_history(void *context, const struct record *record, struct err_text *text)
{
    (void)text;
    rebuild_take(context, record);
    return KA_OK;
}

static enum ka_err run_again(struct cmd_shard *cmd, struct plan *plan, struct err_text *text)
{
    struct rebuild_config config = cmd_shard_rebuilding(cmd);
    struct scan scan = {.kafka = &cmd->app.kafka,
                        .topic = cmd_app_topic(&cmd->app, "history"),
                        .partition = plan->look.shard,
                        .stall_ms = STALL_MS};
    plan->rebuild = rebuild_new(&config);
    enum ka_err err = io_kafka_watermarks(cmd->app.admin, scan.topic, scan.partition, CMD_CALL_MS,
                                          &scan.from, &scan.end, text);
    if (err == KA_OK)
        err = scan_records(&scan, take_history, plan->rebuild, text);
    rebuild_end(plan->rebuild, cmd->now_ms);
    return err;
}

// The state in the topic is whole; is it what the history says?
static void compare(struct cmd_shard *cmd, struct plan *plan)
{
    struct table *theirs = shard_restore_table(plan->look.restore);
    struct table *ours = rebuild_table(plan->rebuild);
    int64_t now_ms = clock_now_ms(); // the same for both, and not before that of either
    table_expire(theirs, now_ms);
    table_expire(ours, now_ms);
    plan->verdict = AGREES;
    if (table_digest(theirs) == table_digest(ours))
        return;
    struct slice key = rebuild_difference(ours, theirs, &cmd->app.arena);
    if (!slice_none(key)) {
        plan->verdict = REFUSED;
        plan->why = say(cmd,
                        "the state of %.*s is as the last commit left it, but not what its history "
                        "says: kasaga replay --saga",
                        SLICE_FMT(key));
        return;
    }
    size_t known = table_finished_count(theirs);
    size_t told = table_finished_count(ours); // fewer when the history is kept for a shorter time
    plan->verdict = known < told ? REWRITES : AGREES;
    plan->why =
        say(cmd, "%zu finished sagas are remembered, the history tells of %zu", known, told);
}

static void judge(struct cmd_shard *cmd, struct plan *plan)
{
    const struct shard_look *look = &plan->look;
    struct slice key = SLICE_NONE;
    const char *why = NULL;
    size_t lost = rebuild_lost(plan->rebuild, &key, &why);
    struct table *ours = rebuild_table(plan->rebuild);
    size_t live = table_count(ours);
    size_t told = live + table_finished_count(ours);
    plan->verdict = REFUSED;
    if (look->fault != SHARD_AGREES && look->fault != SHARD_STATE_LOST) {
        plan->why = say(cmd, "%s: kasaga shard repair", look->why);
    } else if (lost > 0) {
        plan->why =
            say(cmd, "%zu live sagas cannot be run again, %.*s: %s", lost, SLICE_FMT(key), why);
    } else if (!look->meta.present && told > 0) {
        plan->why = say(cmd,
                        "the history tells of %zu sagas, but no worker's offset is committed: that "
                        "is lost too, and with it how far the inbox was read",
                        told);
    } else if (look->fault == SHARD_AGREES && look->restore != NULL) {
        compare(cmd, plan);
    } else if (look->meta.counts.live != (int64_t)live) {
        plan->why = say(cmd, "the last commit left %" PRId64 " live sagas, and the history has %zu",
                        look->meta.counts.live, live);
    } else if (look->meta.sum != table_sum(ours)) {
        plan->why =
            say(cmd, "the states that the history gives are not those that the last commit left "
                     "(their sum rides with it)");
    } else {
        plan->verdict = REWRITES;
        plan->why = look->why;
    }
}

// --- writing

static void write_record(void *context, struct slice key, struct slice value)
{
    struct batch *batch = context;
    struct output output = {.topic = slice_str(cmd_app_topic(&batch->cmd->app, "state")),
                            .partition = batch->shard,
                            .key = key,
                            .value = value};
    if (batch->err == KA_OK)
        batch->err = stand_in_write(batch->stand_in, &output, batch->text);
    batch->count++;
}

static void write_marker(struct batch *batch, const struct shard_look *look,
                         const struct meta *meta)
{
    struct buf token = {0}, value = {0};
    meta_token(meta, &token);
    struct state_marker marker = {.inbox_offset = look->offset,
                                  .token = buf_slice(&token),
                                  .time_ms = meta->time_ms,
                                  .counts = meta->counts};
    state_marker_encode(&marker, &value);
    write_record(batch, STATE_MARKER_KEY, buf_slice(&value));
    buf_fini(&token);
    buf_fini(&value);
}

static enum ka_err rewrite(struct cmd_shard *cmd, struct plan *plan, struct stand_in *stand_in,
                           struct err_text *text)
{
    struct batch batch = {
        .cmd = cmd, .stand_in = stand_in, .shard = plan->look.shard, .text = text};
    struct meta meta = plan->look.meta; // counts and sum of the live states are equal
    struct buf string = {0};
    enum ka_err err = stand_in_begin(stand_in, text);
    if (err != KA_OK)
        return err;
    rebuild_write_all(plan->rebuild, write_record, &batch);
    write_marker(&batch, &plan->look, &meta);
    err = batch.err;
    if (err == KA_OK)
        err = stand_in_flush(stand_in, &meta.low_water, text);
    meta_format(&meta, &string);
    struct io_kafka_offset offset = {.topic = slice_str(cmd_app_topic(&cmd->app, "inbox")),
                                     .partition = plan->look.shard,
                                     .offset = plan->look.offset,
                                     .metadata = buf_slice(&string)};
    if (err == KA_OK)
        err = stand_in_commit(stand_in, &offset, text);
    buf_fini(&string);
    if (err != KA_OK) {
        stand_in_abort(stand_in);
        return err_wrap(text, err, "shard %d", plan->look.shard);
    }
    plan->written = true;
    return cmd_shard_note(cmd, plan->look.shard, "state rebuilt", plan->look.state_end,
                          meta.low_water, text);
}

// --- what is said of it

static const char *name_of(const struct plan *plan)
{
    static const char *const names[] = {"agrees", "rewrite", "refused"};
    return plan->written ? "rewritten" : names[plan->verdict];
}

static void put_text(struct cmd_shard *cmd, struct buf *buf, const struct plan *plan)
{
    const struct table *ours = rebuild_table(plan->rebuild);
    buf_str(buf, say(cmd, "shard %d  %s: %zu records of the history give %zu live, %zu finished",
                     plan->look.shard, name_of(plan), rebuild_records(plan->rebuild),
                     table_count(ours), table_finished_count(ours)));
    buf_str(buf, say(cmd, ", digest %" PRIu64 "\n", table_digest(rebuild_table(plan->rebuild))));
    if (plan->why != NULL)
        buf_str(buf, say(cmd, "         %s\n", plan->why));
}

static void put_json(struct cmd_shard *cmd, struct buf *buf, const struct plan *plan)
{
    struct table *ours = rebuild_table(plan->rebuild);
    buf_str(buf, say(cmd, "{\"shard\":%d,\"verdict\":\"%s\",\"records\":%zu,\"live\":%zu",
                     plan->look.shard, name_of(plan), rebuild_records(plan->rebuild),
                     table_count(ours)));
    buf_str(buf, say(cmd, ",\"finished\":%zu,\"offset\":%" PRId64 ",\"digest\":\"%" PRIu64 "\"",
                     table_finished_count(ours), plan->look.offset, table_digest(ours)));
    if (plan->look.fault == SHARD_AGREES && plan->look.restore != NULL)
        buf_str(buf, say(cmd, ",\"state_digest\":\"%" PRIu64 "\"",
                         table_digest(shard_restore_table(plan->look.restore))));
    if (plan->why != NULL) {
        buf_str(buf, ",\"why\":");
        buf_json_str(buf, slice_str(plan->why));
    }
    buf_byte(buf, '}');
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
    struct stand_in *stand_in = NULL;
    const char *id = cmd_app_topic(&cmd->app, "rebuild");
    enum ka_err err =
        stand_in_join(&cmd->app.kafka, cmd->app.config->app, cmd_app_topic(&cmd->app, "inbox"),
                      cmd->app.config->shards, id, JOIN_MS, &stand_in, &text);
    for (size_t i = 0; err == KA_OK && i < count; i++)
        if (plans[i].verdict == REWRITES)
            err = rewrite(cmd, &plans[i], stand_in, &text);
    stand_in_leave(&stand_in);
    return err == KA_OK ? CMD_OK : cmd_fail(err, &text);
}

static size_t number_of(const struct plan *plans, size_t count, enum verdict verdict)
{
    size_t number = 0;
    for (size_t i = 0; i < count; i++)
        number += plans[i].verdict == verdict;
    return number;
}

static int decide(struct cmd_shard *cmd, struct plan *plans, size_t count)
{
    size_t rewrites = number_of(plans, count, REWRITES);
    size_t refused = number_of(plans, count, REFUSED);
    bool asked = cmd->yes || cmd->reason != NULL;
    if (cmd->common.output == CMD_TEXT || rewrites == 0 || !asked)
        show(cmd, plans, count);
    if (refused > 0)
        return cmd_complain(CMD_FAILED, "%zu shards cannot be rebuilt; nothing was changed",
                            refused);
    if (rewrites == 0)
        return CMD_OK;
    if (!asked)
        return cmd_complain(CMD_FAILED, "%zu shards to be written again: --yes --reason TEXT",
                            rewrites);
    int code = cmd_shard_agree(cmd);
    if (code == CMD_OK)
        code = cmd_shard_alone(cmd);
    if (code == CMD_OK)
        code = carry_out(cmd, plans, count);
    if (code == CMD_OK)
        show(cmd, plans, count);
    return code;
}

int cmd_shard_rebuild(struct cmd_shard *cmd)
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
            err = run_again(cmd, plan, &text);
        if (err == KA_OK)
            judge(cmd, plan);
    }
    int code = err == KA_OK ? decide(cmd, plans, count) : cmd_fail(err, &text);
    for (size_t i = 0; i < count; i++) {
        cmd_shard_look_fini(&plans[i].look);
        rebuild_free(&plans[i].rebuild);
    }
    return code;
}
