// SPDX-License-Identifier: Apache-2.0
// kasaga saga plan: what the sagas of a configuration do, step by step, and what undoes it. Asks
// no broker.
#include "cmd/saga_plan.h"

#include "io/digest.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

static void put(struct buf *buf, const char *format, ...) KA_PRINTF(2, 3);
static void put(struct buf *buf, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    buf_str(buf, line);
}

static const char *kind_of(const struct config_action *action)
{
    if (action->kind == ACTION_EXEC)
        return "exec";
    return action->run_inline ? "plugin, inline" : "plugin";
}

static const char *history_of(const struct config_saga *saga)
{
    static const char *const names[] = {
        [HISTORY_ALL] = "all", [HISTORY_STEPS] = "steps", [HISTORY_ENDS] = "ends"};
    return names[saga->history];
}

static const struct config_route *route_of(const struct config *config, const char *saga)
{
    for (size_t i = 0; i < config->route_count; i++) {
        if (strcmp(config->routes[i].saga, saga) == 0)
            return &config->routes[i];
    }
    return NULL;
}

// How many of the first steps can be undone: none behind a pivot.
static size_t undoable(const struct config_saga *saga)
{
    for (size_t i = 0; i < saga->step_count; i++) {
        if (saga->steps[i].pivot)
            return i + 1;
    }
    return saga->step_count;
}

// ---- Text

static void text_duration(struct buf *buf, int64_t ms)
{
    static const struct {
        int64_t ms;
        const char *unit;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
    size_t at = 0;
    while (at + 1 < sizeof units / sizeof units[0] && (ms < units[at].ms || ms % units[at].ms != 0))
        at++;
    put(buf, "%" PRId64 "%s", ms / units[at].ms, units[at].unit);
}

static void text_call(struct buf *buf, const struct config_action *action, int64_t timeout_ms,
                      const struct retry_policy *retry)
{
    put(buf, "%s (%s)", action->name, kind_of(action));
    if (!action->run_inline) { // an inline one has no timeout of its own
        buf_str(buf, ", timeout ");
        text_duration(buf, timeout_ms);
    }
    if (retry->attempts == 0)
        buf_str(buf, ", any number of attempts");
    else
        put(buf, ", %d attempt%s", retry->attempts, retry->attempts == 1 ? "" : "s");
    if (retry->attempts == 1)
        return;
    buf_str(buf, ", backoff ");
    text_duration(buf, retry->backoff_ms);
    buf_str(buf, " to ");
    text_duration(buf, retry->backoff_max_ms);
}

static void text_expression(struct buf *buf, const char *name, const char *source)
{
    if (source != NULL)
        put(buf, "       %-14s %s\n", name, source);
}

static void text_step(struct buf *buf, const struct config_step *step, size_t number)
{
    bool branch = step->group != NULL;
    bool first = branch && (number == 1 || step[-1].group_node != step->group_node);
    if (first)
        put(buf, "      %s: side by side%s\n", step->group,
            step->collect ? ", all come to their end" : "");
    text_expression(buf, "for each of", first ? step->items : NULL);
    if (!first && step->items != NULL)
        return; // as the first
    put(buf, "  %2zu  %s%-*s ", number, branch ? "  " : "", branch ? 13 : 15, step->name);
    text_call(buf, step->action, step->timeout_ms, &step->retry);
    put(buf, "%s%s\n", step->optional ? ", optional" : "", step->pivot ? ", pivot" : "");
    text_expression(buf, "region", step->region);
    text_expression(buf, "when", step->when);
    text_expression(buf, "input", step->input);
    if (step->compensate == NULL)
        return;
    put(buf, "       %-14s ", "undo");
    text_call(buf, step->compensate, step->compensate_timeout_ms, &step->compensate_retry);
    buf_byte(buf, '\n');
    text_expression(buf, "undo input", step->compensate_input);
}

static void text_undo(struct buf *buf, const struct config_saga *saga)
{
    size_t last = undoable(saga);
    const char *between = "  undone, last first: ";
    for (size_t i = last; i-- > 0;) {
        if (saga->steps[i].compensate == NULL)
            continue;
        put(buf, "%s%s", between, saga->steps[i].name);
        const struct conf_node *group = saga->steps[i].group_node;
        between = i > 0 && group != NULL && saga->steps[i - 1].group_node == group ? " + " : ", ";
    }
    if (between[0] == ' ' && between[1] == ' ')
        buf_str(buf, "  nothing of it can be undone");
    else if (last > 0 && saga->steps[last - 1].pivot)
        put(buf, "; nothing once %s is done", saga->steps[last - 1].name);
    buf_byte(buf, '\n');
}

static void text_saga(struct buf *buf, const struct config *config, const struct config_saga *saga)
{
    char hash[2 * DEF_ID_SIZE + 1];
    const struct config_route *route = route_of(config, saga->name);
    digest_hex(saga->id.bytes, DEF_ID_SIZE, hash);
    put(buf, "saga %s, version %" PRId64 ", hash %s\n", saga->name, saga->version, hash);
    put(buf, "  pattern %s, in region %s, history %s\n", saga->pattern, config->region,
        history_of(saga));
    if (route != NULL)
        put(buf, "  starts on %s of topic %s, id %s\n", route->type, route->topic, route->id);
    else
        buf_str(buf, "  starts by command only\n");
    buf_str(buf, saga->deadline_ms > 0 ? "  deadline " : "  no deadline");
    if (saga->deadline_ms > 0)
        text_duration(buf, saga->deadline_ms);
    buf_str(buf, ", remembered for ");
    text_duration(buf, saga->dedupe_window_ms);
    buf_byte(buf, '\n');
    for (size_t i = 0; i < saga->step_count; i++)
        text_step(buf, &saga->steps[i], i + 1);
    text_undo(buf, saga);
}

// ---- JSON

static void json_text(struct buf *buf, const char *name, const char *text)
{
    char last = buf->ptr[buf->len - 1];
    put(buf, "%s\"%s\":", last == '{' ? "" : ",", name);
    if (text == NULL)
        buf_str(buf, "null");
    else
        buf_json_str(buf, slice_str(text));
}

static void json_call(struct buf *buf, const struct config_action *action, int64_t timeout_ms,
                      const struct retry_policy *retry)
{
    json_text(buf, "action", action->name);
    json_text(buf, "kind", action->kind == ACTION_EXEC ? "exec" : "plugin");
    put(buf,
        ",\"inline\":%s,\"timeout_ms\":%" PRId64 ",\"attempts\":%d,\"backoff_ms\":%" PRId64
        ",\"backoff_max_ms\":%" PRId64,
        action->run_inline ? "true" : "false", timeout_ms, retry->attempts, retry->backoff_ms,
        retry->backoff_max_ms);
}

static void json_step(struct buf *buf, const struct config_step *step)
{
    buf_byte(buf, '{');
    json_text(buf, "name", step->name);
    if (step->group != NULL)
        json_text(buf, "group", step->group);
    json_call(buf, step->action, step->timeout_ms, &step->retry);
    json_text(buf, "when", step->when);
    json_text(buf, "input", step->input);
    put(buf, ",\"optional\":%s,\"pivot\":%s,\"undo\":", step->optional ? "true" : "false",
        step->pivot ? "true" : "false");
    if (step->compensate == NULL) {
        buf_str(buf, "null}");
        return;
    }
    buf_byte(buf, '{');
    json_call(buf, step->compensate, step->compensate_timeout_ms, &step->compensate_retry);
    json_text(buf, "input", step->compensate_input);
    buf_str(buf, "}}");
}

static void json_saga(struct buf *buf, const struct config *config, const struct config_saga *saga)
{
    char hash[2 * DEF_ID_SIZE + 1];
    const struct config_route *route = route_of(config, saga->name);
    digest_hex(saga->id.bytes, DEF_ID_SIZE, hash);
    buf_byte(buf, '{');
    json_text(buf, "saga", saga->name);
    put(buf, ",\"version\":%" PRId64, saga->version);
    json_text(buf, "hash", hash);
    json_text(buf, "pattern", saga->pattern);
    json_text(buf, "region", config->region);
    json_text(buf, "history", history_of(saga));
    put(buf, ",\"deadline_ms\":%" PRId64 ",\"dedupe_window_ms\":%" PRId64 ",\"start\":",
        saga->deadline_ms, saga->dedupe_window_ms);
    buf_str(buf, route == NULL ? "null" : "{");
    if (route != NULL) {
        json_text(buf, "topic", route->topic);
        json_text(buf, "type", route->type);
        json_text(buf, "id", route->id);
        buf_byte(buf, '}');
    }
    buf_str(buf, ",\"steps\":[");
    for (size_t i = 0; i < saga->step_count; i++) {
        buf_str(buf, i == 0 ? "" : ",");
        json_step(buf, &saga->steps[i]);
    }
    buf_str(buf, "],\"undo_order\":[");
    const char *between = "";
    for (size_t i = undoable(saga); i-- > 0;) {
        if (saga->steps[i].compensate == NULL)
            continue;
        buf_str(buf, between);
        buf_json_str(buf, slice_str(saga->steps[i].name));
        between = ",";
    }
    buf_str(buf, "]}");
}

// ---- The command

static int show(const struct cmd_common *common, const struct config *config,
                const struct config_saga *only)
{
    struct buf buf = {0};
    bool json = common->output == CMD_JSON;
    size_t shown = 0;
    buf_str(&buf, json ? "[" : "");
    for (size_t i = 0; i < config->saga_count; i++) {
        if (config->sagas[i].remote || (only != NULL && only != &config->sagas[i]))
            continue;
        buf_str(&buf, json && shown++ > 0 ? "," : "");
        if (common->output == CMD_TEXT)
            text_saga(&buf, config, &config->sagas[i]);
        else
            json_saga(&buf, config, &config->sagas[i]);
        buf_str(&buf, common->output == CMD_JSONL ? "\n" : "");
    }
    buf_str(&buf, json ? "]\n" : "");
    bool written = cmd_write(&buf);
    buf_fini(&buf);
    return written ? CMD_OK : CMD_FAILED;
}

int cmd_saga_plan(const struct cmd_common *common, const char *name)
{
    struct config *config = NULL;
    struct conf_report report = {0};
    if (common->config == NULL)
        return cmd_complain(CMD_USAGE, "no configuration: -c FILE or KASAGA_CONFIG");
    int code = CMD_BAD_CONFIG;
    if (io_conf_check(common->config, &config, &report) != KA_OK) {
        struct buf problems = {0};
        conf_report_text(&report, &problems);
        fprintf(stderr, "%.*s", (int)problems.len, problems.ptr == NULL ? "" : problems.ptr);
        buf_fini(&problems);
    } else if (name != NULL && io_conf_saga(config, name) == NULL) {
        code = cmd_complain(CMD_NOT_FOUND, "there is no saga %s in %s", name, common->config);
    } else {
        code = show(common, config, name == NULL ? NULL : io_conf_saga(config, name));
    }
    conf_report_fini(&report);
    io_conf_free(&config);
    return code;
}
