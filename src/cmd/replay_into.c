// SPDX-License-Identifier: Apache-2.0
// kasaga replay --of: the app of the configuration, which must be new, reads again what another app
// has read, by ordinary workers: all that is done here is to create its topics, to write the first
// offsets of its route group, and to say in its catalog, before any worker can start, that calls to
// the outside are answered from the other app's history (engine/recorded.h).
#include "cmd/cmd_replay.h"

#include "core/history_doc.h"
#include "engine/topics.h"
#include "io/clock.h"
#include "io/kafka_producer.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { PARTITIONS_MAX = 65536, WORD_MAX = 320 };

struct input {
    const char *topic;
    int32_t partition;
    int64_t from;
    int64_t end;
};

struct plan {
    const struct replay_into *into;
    struct cmd_app app;
    struct topics_plan topics;
    struct input *inputs;
    size_t input_count;
    int64_t records; // offsets, at most so many records
};

static const char *say(struct plan *plan, const char *format, ...) KA_PRINTF(2, 3);
static const char *say(struct plan *plan, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    return arena_str(&plan->app.arena, slice_str(line));
}

// --- where it begins

// "2h" ago, or "2026-11-21T10:20:30Z" with or without milliseconds.
static bool take_time(const char *text, int64_t *time_ms)
{
    char full[32];
    int64_t ago_ms;
    size_t len = strlen(text);
    if (cmd_duration(text, &ago_ms)) {
        *time_ms = clock_now_ms() - ago_ms;
        return true;
    }
    if (len == 20 && text[19] == 'Z')
        snprintf(full, sizeof full, "%.19s.000Z", text);
    else
        snprintf(full, sizeof full, "%s", text);
    *time_ms = history_doc_time(slice_str(full));
    return *time_ms >= 0;
}

// The offset that the list names for this partition; -1 = it does not name it. False: no such list.
static bool in_list(const char *list, const struct input *input, int64_t *offset)
{
    *offset = -1;
    while (*list != '\0') {
        size_t len = strcspn(list, ",");
        char word[WORD_MAX];
        if (len == 0 || len >= sizeof word)
            return false;
        memcpy(word, list, len);
        word[len] = '\0';
        char *at = strrchr(word, ':');
        int64_t named, partition;
        if (at == NULL || !cmd_number(at + 1, 0, INT64_MAX, &named))
            return false;
        *at = '\0';
        char *colon = strrchr(word, ':');
        if (colon == NULL || !cmd_number(colon + 1, 0, INT32_MAX, &partition))
            return false;
        *colon = '\0';
        if (strcmp(word, input->topic) == 0 && partition == input->partition)
            *offset = named;
        list += len + (list[len] == ',');
    }
    return true;
}

static int begin_at(struct plan *plan, struct input *input)
{
    struct err_text text = {""};
    const char *from = plan->into->from;
    int64_t start = 0, time_ms = 0, offset = -1;
    enum ka_err err = io_kafka_watermarks(plan->app.admin, input->topic, input->partition,
                                          CMD_CALL_MS, &start, &input->end, &text);
    input->from = start;
    if (err != KA_OK)
        return cmd_fail(err, &text);
    if (strcmp(from, "earliest") == 0)
        return CMD_OK;
    if (take_time(from, &time_ms)) {
        err = io_kafka_offset_at(plan->app.admin, input->topic, input->partition, time_ms,
                                 CMD_CALL_MS, &offset, &text);
        input->from = offset < 0 ? input->end : offset;
        return err == KA_OK ? CMD_OK : cmd_fail(err, &text);
    }
    if (!in_list(from, input, &offset))
        return cmd_complain(CMD_USAGE,
                            "--from '%s': earliest, a time (2026-11-21T10:20:30Z, or 2h "
                            "for so long ago), or TOPIC:PARTITION:OFFSET,...",
                            from);
    input->from = offset < 0 ? input->end : offset;
    if (input->from < start || input->from > input->end)
        return cmd_complain(CMD_FAILED, "%s/%d has the offsets %" PRId64 " to %" PRId64,
                            input->topic, input->partition, start, input->end);
    return CMD_OK;
}

static int list_inputs(struct plan *plan)
{
    plan->inputs = arena_zalloc(&plan->app.arena, PARTITIONS_MAX * sizeof *plan->inputs);
    for (size_t i = 0; i < plan->topics.count; i++) {
        const struct topic_entry *entry = &plan->topics.entries[i];
        if (entry->role != TOPIC_INPUT)
            continue;
        if (entry->action != TOPIC_EXISTS)
            return cmd_complain(CMD_FAILED, "there is no topic %s to read again", entry->name);
        for (int32_t p = 0; p < entry->found && plan->input_count < PARTITIONS_MAX; p++) {
            struct input *input = &plan->inputs[plan->input_count++];
            *input = (struct input){.topic = entry->name, .partition = p};
            int code = begin_at(plan, input);
            if (code != CMD_OK)
                return code;
            plan->records += input->end - input->from;
        }
    }
    return plan->input_count > 0 ? CMD_OK
                                 : cmd_complain(CMD_FAILED, "no saga is started by a topic");
}

// --- what speaks against it

static int refuse_regions(const struct plan *plan)
{
    const struct config *config = plan->app.config;
    for (size_t i = 0; i < config->saga_count && !plan->into->effects; i++)
        for (size_t j = 0; j < config->sagas[i].step_count; j++)
            if (config->sagas[i].steps[j].region != NULL)
                return cmd_complain(CMD_FAILED,
                                    "step %s of %s may run in another region, which is an effect: "
                                    "--effects",
                                    config->sagas[i].steps[j].name, config->sagas[i].name);
    return CMD_OK;
}

// Only the catalog may be there: of a replay that was stopped half way.
static int refuse_old(const struct plan *plan)
{
    for (size_t i = 0; i < plan->topics.count; i++) {
        const struct topic_entry *entry = &plan->topics.entries[i];
        if (entry->role != TOPIC_INPUT && entry->role != TOPIC_CATALOG && entry->found > 0)
            return cmd_complain(CMD_FAILED, "%s exists: events are read again into a new app only",
                                entry->name);
    }
    return CMD_OK;
}

static int look(struct plan *plan)
{
    struct err_text text = {""};
    int32_t partitions = 0;
    if (strcmp(plan->into->of, plan->app.config->app) == 0)
        return cmd_complain(CMD_USAGE, "--of %s: the configuration must be that of another app",
                            plan->into->of);
    enum ka_err err = io_kafka_partition_count(
        plan->app.admin, say(plan, "%s.history", plan->into->of), CMD_CALL_MS, &partitions, &text);
    if (err == KA_OK && partitions == 0)
        return cmd_complain(CMD_NOT_FOUND, "there is no topic %s.history", plan->into->of);
    if (err == KA_OK)
        err =
            topics_plan(plan->app.config, plan->app.admin, &plan->app.arena, &plan->topics, &text);
    if (err != KA_OK)
        return cmd_fail(err, &text);
    int code = refuse_old(plan);
    if (code == CMD_OK)
        code = refuse_regions(plan);
    return code == CMD_OK ? list_inputs(plan) : code;
}

// --- what is said of it

static const char *fate(const struct plan *plan, const struct config_action *action)
{
    if (action->run_inline)
        return "runs (inline)";
    return plan->into->effects ? "runs, with its effects on the outside"
                               : "is answered from the history, not run";
}

static void put_text(struct plan *plan, struct buf *buf)
{
    const struct config *config = plan->app.config;
    buf_str(buf, say(plan, "app %s reads again what %s has read, at most %" PRId64 " records\n",
                     config->app, plan->into->of, plan->records));
    for (size_t i = 0; i < plan->input_count; i++)
        buf_str(buf, say(plan, "  read    %s/%d from %" PRId64 ", which ends at %" PRId64 " now\n",
                         plan->inputs[i].topic, plan->inputs[i].partition, plan->inputs[i].from,
                         plan->inputs[i].end));
    for (size_t i = 0; i < config->action_count; i++)
        buf_str(buf, say(plan, "  action  %s %s\n", config->actions[i].name,
                         fate(plan, &config->actions[i])));
    buf_str(buf, say(plan, "  create  %zu topics\n", plan->topics.creates));
}

static void put_json(struct plan *plan, struct buf *buf, bool done)
{
    buf_str(buf, say(plan, "{\"app\":\"%s\",\"of\":\"%s\",\"effects\":%s,\"records\":%" PRId64,
                     plan->app.config->app, plan->into->of, plan->into->effects ? "true" : "false",
                     plan->records));
    buf_str(buf, ",\"inputs\":[");
    for (size_t i = 0; i < plan->input_count; i++)
        buf_str(buf, say(plan,
                         "%s{\"topic\":\"%s\",\"partition\":%d,\"from\":%" PRId64
                         ",\"end\":%" PRId64 "}",
                         i == 0 ? "" : ",", plan->inputs[i].topic, plan->inputs[i].partition,
                         plan->inputs[i].from, plan->inputs[i].end));
    buf_str(buf, done ? "],\"done\":true}\n" : "],\"done\":false}\n");
}

static void show(struct plan *plan, bool done)
{
    struct buf buf = {0};
    if (plan->into->common.output != CMD_TEXT)
        put_json(plan, &buf, done);
    else if (!done)
        put_text(plan, &buf);
    else
        buf_str(&buf, "done; workers of this configuration begin to read\n");
    (void)cmd_write(&buf);
    buf_fini(&buf);
}

// --- doing

static enum ka_err create_catalog(struct plan *plan, struct err_text *text)
{
    struct topics_plan only = plan->topics;
    only.count = only.offsets_count = only.refusals = 0;
    only.entries = arena_zalloc(&plan->app.arena, sizeof *only.entries);
    for (size_t i = 0; i < plan->topics.count; i++)
        if (plan->topics.entries[i].role == TOPIC_CATALOG)
            only.entries[only.count++] = plan->topics.entries[i];
    return topics_apply(plan->app.config, plan->app.admin, &plan->app.arena, &only, text);
}

static enum ka_err write_catalog(struct plan *plan, struct err_text *text)
{
    struct io_kafka_producer *producer = NULL;
    struct buf value = {0};
    buf_str(&value, "{\"of\":");
    buf_json_str(&value, slice_str(plan->into->of));
    buf_str(&value, plan->into->effects ? ",\"effects\":true" : ",\"effects\":false");
    buf_str(&value, ",\"by\":");
    buf_json_str(&value, slice_str(cmd_user()));
    buf_str(&value, ",\"time\":");
    buf_json_time(&value, clock_now_ms());
    buf_byte(&value, '}');
    struct output output = {.topic = slice_str(cmd_app_topic(&plan->app, "catalog")),
                            .key = SLICE_LIT("replay"),
                            .value = buf_slice(&value)};
    enum ka_err err = io_kafka_producer_new(&plan->app.kafka, NULL, &producer, text);
    if (err == KA_OK)
        err = io_kafka_produce_sync(producer, &output, CMD_CALL_MS, NULL, text);
    io_kafka_producer_free(&producer);
    buf_fini(&value);
    return err;
}

static enum ka_err write_offsets(struct plan *plan, struct err_text *text)
{
    struct io_kafka_committed *entries =
        arena_zalloc(&plan->app.arena, plan->input_count * sizeof *entries);
    for (size_t i = 0; i < plan->input_count; i++)
        entries[i] = (struct io_kafka_committed){.topic = plan->inputs[i].topic,
                                                 .partition = plan->inputs[i].partition,
                                                 .offset = plan->inputs[i].from};
    return io_kafka_commit_offsets(plan->app.admin, cmd_app_topic(&plan->app, "route"), entries,
                                   plan->input_count, CMD_CALL_MS, text);
}

// The record that forbids effects stands before the topics without which no worker starts.
static int carry_out(struct plan *plan)
{
    struct err_text text = {""};
    struct topics_plan rest;
    enum ka_err err = create_catalog(plan, &text);
    if (err == KA_OK)
        err = write_catalog(plan, &text);
    if (err == KA_OK)
        err = write_offsets(plan, &text);
    if (err == KA_OK)
        err = topics_plan(plan->app.config, plan->app.admin, &plan->app.arena, &rest, &text);
    if (err == KA_OK)
        err = topics_apply(plan->app.config, plan->app.admin, &plan->app.arena, &rest, &text);
    if (err != KA_OK)
        return cmd_fail(err, &text);
    show(plan, true);
    return CMD_OK;
}

int cmd_replay_into(const struct replay_into *into)
{
    struct plan plan = {.into = into};
    int code;
    if (into->from == NULL)
        return cmd_complain(CMD_USAGE, "replay --of: --from is needed");
    if (!cmd_app_open(&into->common, &plan.app, &code))
        return code;
    code = look(&plan);
    if (code == CMD_OK && (into->common.output == CMD_TEXT || !into->yes))
        show(&plan, false);
    if (code == CMD_OK && into->yes)
        code = carry_out(&plan);
    else if (code == CMD_OK && cmd_is_terminal() && into->common.output == CMD_TEXT)
        code = cmd_confirm("carry this out?") ? carry_out(&plan)
                                              : cmd_complain(CMD_FAILED, "nothing was done");
    cmd_app_close(&plan.app);
    return code;
}
