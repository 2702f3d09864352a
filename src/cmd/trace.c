// SPDX-License-Identifier: Apache-2.0
// kasaga trace: what happened to a saga, from its history: steps with attempts and durations, what
// was undone, who intervened. The last life of the key is shown.
#include "cmd/cmd_history.h"

#include "core/json.h"
#include "io/clock.h"
#include "io/print.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { SLICE_MS = 250, QUIET_MS = 10000, LINES_MAX = 100000 };

struct trace {
    struct cmd_common common;
    struct cmd_app app;
    const char *key;
    int64_t incarnation;
    struct history_line *lines; // of this incarnation, in order
    size_t count;
    size_t cap;
    size_t lives; // incarnations seen
};

// One direction of a step: forward, or its undo.
struct course {
    struct slice action;
    const char *state; // NULL = nothing of it happened
    int64_t begun_ms;
    int64_t ended_ms;
    int64_t attempts;
    struct slice code;
    struct slice message;
    struct slice region;    // another one than this; empty = here
    struct slice ran_by;    // "<region>/<node>" there
    struct slice placement; // why there, if that had to be decided
    bool maybe_done;
};

struct step_view {
    struct slice name;
    struct slice group; // the parallel step whose branch it is
    struct course forward;
    struct course undo;
    size_t undo_order; // 0 = not undone
};

struct view {
    struct step_view *steps;
    size_t count;
    size_t undone;
    int64_t started_ms;
    int64_t ended_ms;
    enum saga_end end;
    const char *state;
    struct slice definition;
    struct slice code;
    struct slice message;
    struct slice cause;
};

static void keep(struct trace *trace, const struct history_line *line)
{
    if (line->incarnation < 0) // a refused command is of no life
        return;
    if (line->incarnation != trace->incarnation) {
        trace->incarnation = line->incarnation;
        trace->count = 0;
        trace->lives++;
    }
    if (trace->count == trace->cap) {
        trace->cap = trace->cap == 0 ? 64 : trace->cap * 2;
        trace->lines = realloc(trace->lines, trace->cap * sizeof *trace->lines);
        if (trace->lines == NULL)
            abort();
    }
    if (trace->count < LINES_MAX)
        trace->lines[trace->count++] = *line;
}

static struct step_view *step_of(struct view *view, const struct history_line *line,
                                 struct arena *arena)
{
    enum { STEPS_MAX = 1024 };
    if (line->index < 0 || line->index >= STEPS_MAX)
        return NULL;
    if (view->steps == NULL)
        view->steps = arena_zalloc(arena, STEPS_MAX * sizeof *view->steps);
    while (view->count <= (size_t)line->index)
        view->steps[view->count++].forward.begun_ms = -1;
    struct step_view *step = &view->steps[line->index];
    if (step->name.len == 0)
        step->name = line->step;
    if (line->group.len > 0)
        step->group = line->group;
    return step;
}

static bool is(const struct history_line *line, const char *type)
{
    return slice_eq(line->type, slice_str(type));
}

static void see_step(struct view *view, const struct history_line *line, struct arena *arena)
{
    struct step_view *step = step_of(view, line, arena);
    if (step == NULL || is(line, "step.late"))
        return;
    struct course *course = line->compensation ? &step->undo : &step->forward;
    if (course->state == NULL)
        course->begun_ms = line->time_ms;
    if (line->compensation && step->undo_order == 0)
        step->undo_order = ++view->undone;
    if (line->action.len > 0)
        course->action = line->action;
    if (line->attempt > course->attempts)
        course->attempts = line->attempt;
    if (line->code.len > 0) {
        course->code = line->code;
        course->message = line->message;
    }
    if (line->region.len > 0)
        course->region = line->region;
    if (line->ran_by.len > 0)
        course->ran_by = line->ran_by;
    if (line->placement.len > 0)
        course->placement = line->placement;
    course->maybe_done |= line->maybe_done;
    course->ended_ms = line->time_ms;
    if (is(line, "step.started") || is(line, "compensation.started"))
        course->state = "running";
    else if (is(line, "step.retrying") || is(line, "compensation.retrying"))
        course->state = "retrying";
    else if (is(line, "step.completed"))
        course->state = "completed";
    else if (is(line, "compensation.completed"))
        course->state = "undone";
    else if (is(line, "step.skipped"))
        course->state = "skipped";
    else
        course->state = "failed";
}

static void see_saga(struct view *view, const struct history_line *line, struct arena *arena)
{
    struct slice state = json_member(line->data, SLICE_LIT("state"));
    if (!slice_none(state) && json_type(state) == JSON_STRING)
        view->state = arena_str(arena, json_text(state, arena));
    else if (is(line, "saga.started"))
        view->state = "running";
    if (is(line, "saga.started")) {
        view->started_ms = line->time_ms;
        view->cause = line->cause;
        view->definition = json_member(line->data, SLICE_LIT("definition"));
    }
    // Why it went wrong: the first reason, not the operator's word for going on.
    if (line->code.len > 0 && view->code.len == 0 && !is(line, "saga.paused") &&
        !is(line, "saga.resumed")) {
        view->code = line->code;
        view->message = line->message;
    }
    view->end = line->end;
}

static void look(const struct trace *trace, struct arena *arena, struct view *view)
{
    *view = (struct view){.started_ms = -1, .state = "unknown"};
    for (size_t i = 0; i < trace->count; i++) {
        const struct history_line *line = &trace->lines[i];
        if (line->step.len > 0)
            see_step(view, line, arena);
        else
            see_saga(view, line, arena);
        view->ended_ms = line->time_ms;
    }
}

// Texts come from participants: control characters would move the cursor.
static void put_safe(struct buf *buf, struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.ptr[i];
        buf_byte(buf, byte < 0x20 || byte == 0x7f ? ' ' : (int)byte);
    }
}

static void put_reason(struct buf *buf, struct slice code, struct slice message)
{
    if (code.len == 0)
        return;
    buf_str(buf, "  ");
    put_safe(buf, code);
    if (message.len > 0) {
        buf_str(buf, ": ");
        put_safe(buf, message);
    }
}

static void put_course(struct buf *buf, const char *mark, const struct step_view *step,
                       const struct course *course)
{
    bool branch = step->group.len > 0;
    buf_print(buf, "%s%s %-*.*s %-10s", branch ? "    " : "  ", mark, branch ? 18 : 20,
              SLICE_FMT(step->name), course->state);
    buf_print(buf, " %8.3f s", (double)(course->ended_ms - course->begun_ms) / 1000);
    if (course->attempts > 1)
        buf_print(buf, "  %lld attempts", (long long)course->attempts);
    if (course->region.len > 0) {
        buf_str(buf, course->ran_by.len > 0 ? "  by " : "  in ");
        put_safe(buf, course->ran_by.len > 0 ? course->ran_by : course->region);
    }
    if (course->placement.len > 0) {
        buf_str(buf, "  (");
        put_safe(buf, course->placement);
        buf_byte(buf, ')');
    }
    if (strcmp(course->state, "completed") != 0 && strcmp(course->state, "undone") != 0)
        put_reason(buf, course->code, course->message);
    if (course->maybe_done && strcmp(course->state, "failed") == 0)
        buf_str(buf, "  (it may have happened)");
    buf_byte(buf, '\n');
}

// The name of a parallel step, above its branches.
static void put_group(struct buf *buf, struct slice *last, const struct step_view *step)
{
    if (step->group.len > 0 && !slice_eq(*last, step->group)) {
        buf_str(buf, "  : ");
        put_safe(buf, step->group);
        buf_byte(buf, '\n');
    }
    *last = step->group;
}

// Undone steps in the order in which they were undone.
static void put_undo(struct buf *buf, const struct view *view)
{
    if (view->undone > 0)
        buf_str(buf, "  undo\n");
    struct slice group = SLICE_NONE;
    for (size_t order = 1; order <= view->undone; order++) {
        for (size_t i = 0; i < view->count; i++) {
            if (view->steps[i].undo_order != order)
                continue;
            put_group(buf, &group, &view->steps[i]);
            put_course(buf, "<", &view->steps[i], &view->steps[i].undo);
        }
    }
}

static void put_operators(struct buf *buf, const struct trace *trace)
{
    for (size_t i = 0; i < trace->count; i++) {
        const struct history_line *line = &trace->lines[i];
        if (line->reason.len == 0)
            continue;
        buf_str(buf, "  * ");
        buf_time(buf, line->time_ms);
        buf_byte(buf, ' ');
        put_safe(buf, line->type);
        buf_str(buf, " by ");
        put_safe(buf, line->actor);
        buf_str(buf, ": ");
        put_safe(buf, line->reason);
        buf_byte(buf, '\n');
    }
}

static void put_tree(struct buf *buf, const struct trace *trace, const struct view *view)
{
    buf_print(buf, "%s@%lld  %s", trace->key, (long long)trace->incarnation, view->state);
    if (view->started_ms >= 0)
        buf_print(buf, "  %.3f s", (double)(view->ended_ms - view->started_ms) / 1000);
    put_reason(buf, view->code, view->message);
    buf_byte(buf, '\n');
    if (view->started_ms >= 0) {
        buf_str(buf, "  started ");
        buf_time(buf, view->started_ms);
        buf_str(buf, " by ");
        put_safe(buf, view->cause);
        buf_byte(buf, '\n');
    }
    struct slice group = SLICE_NONE;
    for (size_t i = 0; i < view->count; i++) {
        const struct course *course = &view->steps[i].forward;
        const char *mark = course->state == NULL                     ? " "
                           : strcmp(course->state, "completed") == 0 ? "+"
                           : strcmp(course->state, "failed") == 0    ? "!"
                           : strcmp(course->state, "skipped") == 0   ? "-"
                                                                     : ">";
        if (course->state == NULL)
            continue;
        put_group(buf, &group, &view->steps[i]);
        put_course(buf, mark, &view->steps[i], course);
    }
    put_undo(buf, view);
    put_operators(buf, trace);
    if (trace->lives > 1)
        buf_print(buf, "  (%zu earlier lives of this id are in the history)\n", trace->lives - 1);
}

static void json_course(struct buf *buf, const char *name, const struct course *course)
{
    buf_str(buf, ",\"");
    buf_str(buf, name);
    buf_str(buf, "\":{\"state\":");
    buf_json_str(buf, slice_str(course->state));
    buf_str(buf, ",\"action\":");
    buf_json_str(buf, course->action);
    buf_print(buf, ",\"attempts\":%lld,\"duration_ms\":%lld", (long long)course->attempts,
              (long long)(course->ended_ms - course->begun_ms));
    if (course->region.len > 0) {
        buf_str(buf, ",\"region\":");
        buf_json_str(buf, course->region);
        buf_str(buf, ",\"executed_by\":");
        buf_json_str(buf, course->ran_by);
    }
    if (course->placement.len > 0) {
        buf_str(buf, ",\"placement\":");
        buf_json_str(buf, course->placement);
    }
    if (course->code.len > 0) {
        buf_str(buf, ",\"code\":");
        buf_json_str(buf, course->code);
        buf_str(buf, ",\"message\":");
        buf_json_str(buf, course->message);
    }
    buf_str(buf, course->maybe_done ? ",\"maybe_done\":true}" : "}");
}

static void put_json(struct buf *buf, const struct trace *trace, const struct view *view)
{
    buf_str(buf, "{\"key\":");
    buf_json_str(buf, slice_str(trace->key));
    buf_print(buf, ",\"incarnation\":%lld,\"state\":", (long long)trace->incarnation);
    buf_json_str(buf, slice_str(view->state));
    if (!slice_none(view->definition)) {
        buf_str(buf, ",\"definition\":");
        buf_slice_put(buf, view->definition);
    }
    if (view->started_ms >= 0) {
        buf_str(buf, ",\"started\":");
        buf_json_time(buf, view->started_ms);
        buf_print(buf, ",\"duration_ms\":%lld", (long long)(view->ended_ms - view->started_ms));
    }
    buf_str(buf, ",\"steps\":[");
    bool first = true;
    for (size_t i = 0; i < view->count; i++) {
        const struct step_view *step = &view->steps[i];
        if (step->forward.state == NULL && step->undo.state == NULL)
            continue;
        buf_str(buf, first ? "{\"name\":" : ",{\"name\":");
        first = false;
        buf_json_str(buf, step->name);
        if (step->group.len > 0) {
            buf_str(buf, ",\"group\":");
            buf_json_str(buf, step->group);
        }
        if (step->forward.state != NULL)
            json_course(buf, "forward", &step->forward);
        if (step->undo.state != NULL)
            json_course(buf, "undo", &step->undo);
        buf_byte(buf, '}');
    }
    buf_str(buf, "],\"history\":[");
    for (size_t i = 0; i < trace->count; i++) {
        buf_str(buf, i == 0 ? "" : ",");
        buf_slice_put(buf, trace->lines[i].doc);
    }
    buf_str(buf, "]}\n");
}

static int show(struct trace *trace)
{
    struct view view;
    struct buf buf = {0};
    look(trace, &trace->app.arena, &view);
    switch (trace->common.output) {
    case CMD_TEXT:
        put_tree(&buf, trace, &view);
        break;
    case CMD_JSON:
        put_json(&buf, trace, &view);
        break;
    case CMD_JSONL:
        for (size_t i = 0; i < trace->count; i++) {
            buf_slice_put(&buf, trace->lines[i].doc);
            buf_byte(&buf, '\n');
        }
        break;
    }
    bool written = cmd_write(&buf);
    buf_fini(&buf);
    return written ? CMD_OK : CMD_FAILED;
}

static bool show_event(const struct trace *trace, const struct history_line *line)
{
    struct buf buf = {0};
    if (trace->common.output == CMD_TEXT) {
        buf_time(&buf, line->time_ms);
        buf_str(&buf, "  ");
        put_safe(&buf, line->type);
        if (line->step.len > 0) {
            buf_byte(&buf, ' ');
            put_safe(&buf, line->step);
        }
        if (line->attempt > 1)
            buf_print(&buf, " attempt %lld", (long long)line->attempt);
        put_reason(&buf, line->code, line->message);
    } else {
        buf_slice_put(&buf, line->doc);
    }
    buf_byte(&buf, '\n');
    bool written = cmd_write(&buf);
    buf_fini(&buf);
    return written;
}

// From the oldest record to the end.
static int read_history(struct trace *trace, struct cmd_follow *follow)
{
    struct err_text text = {""};
    int64_t heard_ms = clock_mono_ms();
    enum ka_err err;
    for (;;) {
        struct history_line line;
        switch (cmd_follow_next(follow, SLICE_MS, &trace->app.arena, &line, &err, &text)) {
        case FOLLOW_LINE:
            keep(trace, &line);
            heard_ms = clock_mono_ms();
            break;
        case FOLLOW_END:
            return CMD_OK;
        case FOLLOW_NOTHING:
            if (clock_mono_ms() - heard_ms > QUIET_MS)
                return cmd_complain(CMD_UNREACHABLE, "%s: no answer in %d ms", follow->history,
                                    QUIET_MS);
            break;
        case FOLLOW_DEAD:
            break;
        case FOLLOW_ERROR:
            return cmd_fail(err, &text);
        }
    }
}

static int follow_on(struct trace *trace, struct cmd_follow *follow)
{
    struct err_text text = {""};
    enum ka_err err;
    enum saga_end end = trace->count == 0 ? SAGA_GOES_ON : trace->lines[trace->count - 1].end;
    for (size_t i = 0; i < trace->count; i++) {
        if (!show_event(trace, &trace->lines[i]))
            return CMD_FAILED;
    }
    while (end == SAGA_GOES_ON) {
        struct history_line line;
        switch (cmd_follow_next(follow, SLICE_MS, &trace->app.arena, &line, &err, &text)) {
        case FOLLOW_LINE:
            keep(trace, &line);
            end = line.end;
            if (!show_event(trace, &line))
                return CMD_FAILED;
            break;
        case FOLLOW_NOTHING:
        case FOLLOW_END:
        case FOLLOW_DEAD:
            break;
        case FOLLOW_ERROR:
            return cmd_fail(err, &text);
        }
    }
    return CMD_OK;
}

static int run(struct trace *trace, bool follows)
{
    struct err_text text = {""};
    struct cmd_follow follow = {0};
    int code = cmd_app_check_topic(&trace->app, cmd_app_topic(&trace->app, "history"),
                                   trace->app.config->shards);
    if (code != CMD_OK)
        return code;
    enum ka_err err = cmd_follow_open(&trace->app, trace->key, true, false, &follow, &text);
    code = err == KA_OK ? read_history(trace, &follow) : cmd_fail(err, &text);
    if (code == CMD_OK && follows)
        code = follow_on(trace, &follow);
    else if (code == CMD_OK && trace->count == 0)
        code = cmd_complain(CMD_NOT_FOUND, "there is no history of %s", trace->key);
    else if (code == CMD_OK)
        code = show(trace);
    cmd_follow_close(&follow);
    return code;
}

int cmd_trace(int argc, char **argv)
{
    struct trace trace = {.incarnation = -1};
    bool follows = false;
    struct cmd_words words;
    const struct cmd_option options[] = {
        {"follow", 'f', NULL, "show what happens until the saga has ended", NULL, &follows},
    };
    const struct cmd_spec spec = {
        .synopsis = "trace KEY [--follow] [-o text|json|jsonl]",
        .summary = "Shows what happened to the saga KEY (SAGA/ID): its steps with attempts and\n"
                   "durations, what was undone, and who intervened. jsonl is its history as it\n"
                   "stands in the topic. Exit code 5 when nothing is known of it.",
        .options = options,
        .option_count = 1,
        .words_min = 1,
        .words_max = 1,
    };
    int code;
    if (!cmd_parse(&spec, argc, argv, &trace.common, &words, &code))
        return code;
    trace.key = words.items[0];
    if (!cmd_key_ok(trace.key))
        return cmd_complain(CMD_USAGE, "'%s' is not of the form SAGA/ID", trace.key);
    if (!cmd_app_open(&trace.common, &trace.app, &code))
        return code;
    code = run(&trace, follows);
    free(trace.lines);
    cmd_app_close(&trace.app);
    return code;
}
