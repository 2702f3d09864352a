// SPDX-License-Identifier: Apache-2.0
// kasaga shard: for shards that stand still because offset and state do not agree.
#include "cmd/cmd_shard.h"

#include "engine/state_read.h"
#include "io/clock.h"
#include "io/kafka_producer.h"

#include <inttypes.h>
#include <stdio.h>

enum { STABLE_MS = 15000 };

static enum ka_err find(void *context, const struct def_id *id, const struct saga_def **def,
                        struct err_text *text)
{
    return cmd_defs_find(context, id, def, text);
}

struct rebuild_config cmd_shard_rebuilding(const struct cmd_shard *cmd)
{
    return (struct rebuild_config){.limits = cmd->limits, .context = cmd->defs, .find = find};
}

// --- looking

static void set_fault(struct cmd_shard *cmd, struct shard_look *look, enum shard_fault fault,
                      const struct err_text *why)
{
    if (look->fault != SHARD_AGREES)
        return;
    look->fault = fault;
    look->why = arena_str(&cmd->app.arena, slice_str(why->text));
}

static enum ka_err look_at_offset(struct cmd_shard *cmd, struct shard_look *look,
                                  struct err_text *text)
{
    struct cmd_app *app = &cmd->app;
    struct io_kafka_committed entry = {.topic = cmd_app_topic(app, "inbox"),
                                       .partition = look->shard};
    struct err_text why = {""};
    enum ka_err err = io_kafka_committed(app->admin, app->config->app, true, STABLE_MS, &entry, 1,
                                         &app->arena, text);
    if (err == KA_OK)
        err = io_kafka_watermarks(app->admin, entry.topic, look->shard, CMD_CALL_MS,
                                  &look->inbox_start, &look->inbox_end, text);
    if (err == KA_OK)
        err = io_kafka_watermarks(app->admin, cmd_app_topic(app, "state"), look->shard, CMD_CALL_MS,
                                  &look->state_start, &look->state_end, text);
    if (err != KA_OK)
        return err;
    look->offset = entry.offset;
    if (meta_parse(entry.metadata, &look->meta, &why) != KA_OK)
        look->meta = (struct meta){0}; // somebody else's: as good as none
    if (look->offset > look->inbox_end) {
        (void)err_set(&why, KA_ERR_DIVERGED,
                      "offset %" PRId64 " is committed, but %s/%d ends at %" PRId64
                      ": it has lost its end, or it was created again",
                      look->offset, entry.topic, look->shard, look->inbox_end);
        set_fault(cmd, look, SHARD_BEYOND, &why);
    } else if (look->offset >= 0 && look->offset < look->inbox_start) {
        (void)err_set(&why, KA_ERR_DIVERGED,
                      "%s/%d begins at %" PRId64 ": the commands from %" PRId64
                      " on were deleted before they were read",
                      entry.topic, look->shard, look->inbox_start, look->offset);
        set_fault(cmd, look, SHARD_TRUNCATED, &why);
    }
    return KA_OK;
}

static enum ka_err restore(struct cmd_shard *cmd, struct shard_look *look, bool anyway,
                           struct err_text *text)
{
    struct state_read read = {.kafka = &cmd->app.kafka,
                              .admin = cmd->app.admin,
                              .topic = cmd_app_topic(&cmd->app, "state"),
                              .inbox = cmd_app_topic(&cmd->app, "inbox"),
                              .partition = look->shard,
                              .low_water = look->meta.present ? look->meta.low_water : -1,
                              .has_offset = look->offset >= 0,
                              .started = look->meta.counts.started,
                              .anyway = anyway};
    look->restore = shard_restore_new(&cmd->limits);
    enum ka_err err = state_read(&read, look->restore, text);
    if (err != KA_OK)
        shard_restore_free(&look->restore);
    return err;
}

static bool may_pass(enum ka_err err)
{
    return err_class(err) == ERR_CLASS_RETRY;
}

// First as an owner reads it, then from the start of the topic, to see what is there at all.
static enum ka_err look_at_state(struct cmd_shard *cmd, struct shard_look *look,
                                 struct err_text *text)
{
    struct rebuild_config config = cmd_shard_rebuilding(cmd);
    struct err_text why = {""};
    enum ka_err err = restore(cmd, look, false, &why);
    if (err == KA_OK && look->offset >= 0) {
        enum ka_err agrees = shard_restore_agree(look->restore, look->offset, &look->meta, &why);
        struct state_marker marker;
        bool behind =
            shard_restore_marker(look->restore, &marker) && look->offset < marker.inbox_offset;
        if (agrees != KA_OK)
            set_fault(cmd, look, behind ? SHARD_BEHIND : SHARD_STATE_LOST, &why);
    } else if (may_pass(err)) {
        return err_set(text, err, "%s", why.text);
    } else if (err != KA_OK) {
        set_fault(cmd, look,
                  look->offset < 0      ? SHARD_NO_OFFSET
                  : !look->meta.present ? SHARD_NOT_OURS
                                        : SHARD_STATE_LOST,
                  &why);
        err = restore(cmd, look, true, text);
        if (may_pass(err))
            return err;
    }
    if (look->restore == NULL)
        return KA_OK;
    look->has_marker = shard_restore_marker(look->restore, &look->marker);
    return rebuild_due_times(&config, shard_restore_table(look->restore), text);
}

enum ka_err cmd_shard_look(struct cmd_shard *cmd, int32_t shard, struct shard_look *look,
                           struct err_text *text)
{
    *look = (struct shard_look){.shard = shard, .offset = -1};
    enum ka_err err = look_at_offset(cmd, look, text);
    if (err == KA_OK)
        err = look_at_state(cmd, look, text);
    return err == KA_OK ? KA_OK : err_wrap(text, err, "shard %d", shard);
}

void cmd_shard_look_fini(struct shard_look *look)
{
    shard_restore_free(&look->restore);
}

// --- doing

int cmd_shard_alone(struct cmd_shard *cmd)
{
    struct err_text text = {""};
    const struct io_kafka_member *members = NULL;
    const char *state = NULL;
    size_t count = 0;
    enum ka_err err = io_kafka_members(cmd->app.admin, cmd->app.config->app, CMD_CALL_MS,
                                       &cmd->app.arena, &members, &count, &state, &text);
    if (err != KA_OK)
        return cmd_fail(err, &text);
    if (count == 0)
        return CMD_OK;
    return cmd_complain(CMD_FAILED,
                        "group %s has %zu members (%s): stop the workers first; one that was "
                        "killed counts until its session has timed out",
                        cmd->app.config->app, count, members[0].client_id);
}

int cmd_shard_agree(const struct cmd_shard *cmd)
{
    if (cmd->reason == NULL || cmd->reason[0] == '\0')
        return cmd_complain(CMD_USAGE, "--reason is needed: it is kept in the catalog");
    if (cmd->yes)
        return CMD_OK;
    if (!cmd_is_terminal() || cmd->common.output != CMD_TEXT)
        return cmd_complain(CMD_USAGE, "nobody to ask: give --yes to carry the plan out");
    return cmd_confirm("carry this out?") ? CMD_OK : cmd_complain(CMD_FAILED, "nothing was done");
}

enum ka_err cmd_shard_note(struct cmd_shard *cmd, int32_t shard, const char *what, int64_t from,
                           int64_t to, struct err_text *text)
{
    struct io_kafka_producer *producer = NULL;
    struct buf value = {0};
    char key[64];
    snprintf(key, sizeof key, "repair/%d/%" PRId64, shard, cmd->now_ms);
    buf_str(&value, "{\"what\":");
    buf_json_str(&value, slice_str(what));
    buf_str(&value, ",\"from\":");
    buf_i64(&value, from);
    buf_str(&value, ",\"to\":");
    buf_i64(&value, to);
    buf_str(&value, ",\"actor\":");
    buf_json_str(&value, slice_str(cmd->actor));
    buf_str(&value, ",\"reason\":");
    buf_json_str(&value, slice_str(cmd->reason));
    buf_str(&value, ",\"time\":");
    buf_json_time(&value, cmd->now_ms);
    buf_byte(&value, '}');
    struct output output = {.topic = slice_str(cmd_app_topic(&cmd->app, "catalog")),
                            .key = slice_str(key),
                            .value = buf_slice(&value)};
    enum ka_err err = io_kafka_producer_new(&cmd->app.kafka, NULL, &producer, text);
    if (err == KA_OK)
        err = io_kafka_produce_sync(producer, &output, CMD_CALL_MS, NULL, text);
    io_kafka_producer_free(&producer);
    buf_fini(&value);
    return err;
}

// --- the command

static int run(struct cmd_shard *cmd, bool rebuilds)
{
    static const char *const topics[] = {"inbox", "state", "history"};
    const struct config *config = cmd->app.config;
    struct err_text text = {""};
    if (cmd->only >= config->shards)
        return cmd_complain(CMD_USAGE, "--shard %d: there are %d", cmd->only, config->shards);
    for (size_t i = 0; i < sizeof topics / sizeof topics[0]; i++) {
        int code =
            cmd_app_check_topic(&cmd->app, cmd_app_topic(&cmd->app, topics[i]), config->shards);
        if (code != CMD_OK)
            return code;
    }
    cmd->limits = (struct table_limits){config->dedupe_window_ms, (size_t)config->dedupe_max};
    enum ka_err err = cmd_defs_open(&cmd->app, &cmd->defs, &text);
    if (err != KA_OK)
        return cmd_fail(err, &text);
    int code = rebuilds ? cmd_shard_rebuild(cmd) : cmd_shard_repair(cmd);
    cmd_defs_close(&cmd->defs);
    return code;
}

int cmd_shard(int argc, char **argv)
{
    struct cmd_shard cmd = {.only = -1, .actor = cmd_user(), .now_ms = clock_now_ms()};
    const char *shard = NULL;
    int64_t number = -1;
    struct cmd_words words;
    const struct cmd_option options[] = {
        {"shard", 's', "N", "only this one", &shard, NULL},
        {"yes", 'y', NULL, "carry the plan out without asking", NULL, &cmd.yes},
        {"reason", 'r', "TEXT", "why; kept in the catalog", &cmd.reason, NULL},
        {"actor", 'a', "NAME", "who; default $USER", &cmd.actor, NULL},
    };
    const struct cmd_spec spec = {
        .synopsis = "shard repair [--shard N] [--yes --reason TEXT]\n"
                    "shard rebuild [--shard N] [--yes --reason TEXT]",
        .summary = "For shards that are parked with DIVERGED. repair explains what does not agree\n"
                   "and sets a committed offset that was lost. rebuild compares the state topic\n"
                   "with the history, and writes a state that was lost again from it. Both show a\n"
                   "plan first and refuse to change anything while a worker runs. Exit code 1:\n"
                   "something is wrong and was not put right.",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
        .words_min = 1,
        .words_max = 1,
    };
    int code;
    if (!cmd_parse(&spec, argc, argv, &cmd.common, &words, &code))
        return code;
    bool rebuilds = strcmp(words.items[0], "rebuild") == 0;
    if (!rebuilds && strcmp(words.items[0], "repair") != 0)
        return cmd_complain(CMD_USAGE, "shard: repair or rebuild, not '%s'", words.items[0]);
    if (shard != NULL && !cmd_number(shard, 0, INT32_MAX, &number))
        return cmd_complain(CMD_USAGE, "--shard '%s' is not a number", shard);
    cmd.only = (int32_t)number;
    if (!cmd_app_open(&cmd.common, &cmd.app, &code))
        return code;
    code = run(&cmd, rebuilds);
    cmd_app_close(&cmd.app);
    return code;
}
