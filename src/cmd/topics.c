// SPDX-License-Identifier: Apache-2.0
// kasaga topics plan|apply
#include "engine/topics.h"

#include "cmd/cmd_app.h"

#include <stdarg.h>
#include <stdio.h>

static void put_number(struct buf *buf, const char *name, int64_t number)
{
    buf_byte(buf, '"');
    buf_str(buf, name);
    buf_str(buf, "\":");
    buf_i64(buf, number);
}

static void put_text(struct buf *buf, const char *name, const char *value)
{
    buf_byte(buf, '"');
    buf_str(buf, name);
    buf_str(buf, "\":");
    buf_json_str(buf, slice_str(value));
}

static void json_topic(struct buf *buf, const struct topic_entry *entry)
{
    buf_byte(buf, '{');
    put_text(buf, "topic", entry->name);
    buf_byte(buf, ',');
    put_text(buf, "role", topic_role_name(entry->role));
    buf_byte(buf, ',');
    put_text(buf, "action", topic_action_name(entry->action));
    buf_byte(buf, ',');
    put_number(buf, "partitions", entry->partitions);
    buf_byte(buf, ',');
    put_number(buf, "found", entry->found);
    if (entry->refused != NULL) {
        buf_byte(buf, ',');
        put_text(buf, "refused", entry->refused);
    }
    buf_str(buf, ",\"settings\":{");
    for (size_t i = 0; i < entry->setting_count; i++) {
        buf_str(buf, i == 0 ? "" : ",");
        put_text(buf, entry->setting_names[i], entry->setting_values[i]);
    }
    buf_str(buf, "}}");
}

static void json_offsets(struct buf *buf, const struct topic_offsets *offsets)
{
    buf_byte(buf, '{');
    put_text(buf, "group", offsets->group);
    buf_byte(buf, ',');
    put_text(buf, "topic", offsets->topic);
    buf_byte(buf, ',');
    put_number(buf, "partitions", offsets->missing);
    buf_byte(buf, ',');
    put_text(buf, "from", offsets->latest ? "latest" : "earliest");
    if (offsets->refused != NULL) {
        buf_byte(buf, ',');
        put_text(buf, "refused", offsets->refused);
    }
    buf_byte(buf, '}');
}

static void put_json(struct buf *buf, const struct topics_plan *plan, bool applied)
{
    buf_byte(buf, '{');
    put_text(buf, "app", plan->app);
    buf_byte(buf, ',');
    put_text(buf, "cluster", plan->cluster);
    buf_str(buf, ",\"topics\":[");
    for (size_t i = 0; i < plan->count; i++) {
        buf_str(buf, i == 0 ? "" : ",");
        json_topic(buf, &plan->entries[i]);
    }
    buf_str(buf, "],\"offsets\":[");
    for (size_t i = 0; i < plan->offsets_count; i++) {
        buf_str(buf, i == 0 ? "" : ",");
        json_offsets(buf, &plan->offsets[i]);
    }
    buf_str(buf, "],\"findings\":[");
    for (size_t i = 0; i < plan->finding_count; i++) {
        buf_str(buf, i == 0 ? "" : ",");
        topics_finding_json(&plan->findings[i], buf);
    }
    buf_str(buf, "],");
    put_number(buf, "creates", (int64_t)plan->creates);
    buf_byte(buf, ',');
    put_number(buf, "first_offsets", (int64_t)plan->first_offsets);
    buf_byte(buf, ',');
    put_number(buf, "refusals", (int64_t)plan->refusals);
    buf_str(buf, applied ? ",\"applied\":true}\n" : ",\"applied\":false}\n");
}

static void print_line(struct buf *buf, const char *format, ...) KA_PRINTF(2, 3);
static void print_line(struct buf *buf, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    buf_str(buf, line);
}

static void text_topic(struct buf *buf, const struct topic_entry *entry)
{
    print_line(buf, "  %-7s %-32s %4d partitions", topic_action_name(entry->action), entry->name,
               entry->partitions);
    for (size_t i = 0; i < entry->setting_count; i++)
        print_line(buf, " %s=%s", entry->setting_names[i], entry->setting_values[i]);
    if (entry->refused != NULL)
        print_line(buf, ": %s", entry->refused);
    buf_byte(buf, '\n');
}

static void put_plan(struct buf *buf, const struct topics_plan *plan)
{
    print_line(buf, "app %s on cluster %s\n", plan->app, plan->cluster);
    for (size_t i = 0; i < plan->count; i++)
        text_topic(buf, &plan->entries[i]);
    for (size_t i = 0; i < plan->offsets_count; i++) {
        const struct topic_offsets *offsets = &plan->offsets[i];
        if (offsets->refused != NULL)
            print_line(buf, "  refuse  %s\n", offsets->refused);
        else
            print_line(buf, "  offsets group %s: %d partitions of %s from the %s record\n",
                       offsets->group, offsets->missing, offsets->topic,
                       offsets->latest ? "next" : "oldest");
    }
    for (size_t i = 0; i < plan->finding_count; i++) {
        buf_str(buf, "  ");
        topics_finding_text(&plan->findings[i], buf);
        buf_byte(buf, '\n');
    }
    if (plan->refusals > 0)
        print_line(buf, "%zu refused: nothing is changed\n", plan->refusals);
    else if (plan->creates + plan->first_offsets == 0)
        print_line(buf, "nothing to do\n");
    else
        print_line(buf, "%zu to create, %zu first offsets to write\n", plan->creates,
                   plan->first_offsets);
}

static void print_plan(const struct cmd_common *common, const struct topics_plan *plan,
                       bool applied)
{
    struct buf buf = {0};
    if (common->output == CMD_TEXT)
        put_plan(&buf, plan);
    else
        put_json(&buf, plan, applied);
    (void)cmd_write(&buf);
    buf_fini(&buf);
}

// CMD_OK when the plan may be carried out.
static int agree(const struct cmd_common *common, bool yes)
{
    if (yes)
        return CMD_OK;
    if (!cmd_is_terminal() || common->output != CMD_TEXT)
        return cmd_complain(CMD_USAGE, "nobody to ask: give --yes to apply the plan");
    return cmd_confirm("apply this plan?") ? CMD_OK : cmd_complain(CMD_FAILED, "not applied");
}

static int apply(const struct cmd_common *common, struct cmd_app *app,
                 const struct topics_plan *plan, bool yes)
{
    struct err_text text = {""};
    bool changes = plan->creates + plan->first_offsets > 0;
    if (common->output == CMD_TEXT)
        print_plan(common, plan, false);
    if (plan->refusals > 0) {
        if (common->output != CMD_TEXT)
            print_plan(common, plan, false);
        return CMD_FAILED;
    }
    int code = changes ? agree(common, yes) : CMD_OK;
    if (code != CMD_OK)
        return code;
    enum ka_err err =
        changes ? topics_apply(app->config, app->admin, &app->arena, plan, &text) : KA_OK;
    if (err != KA_OK)
        return cmd_fail(err, &text);
    if (common->output != CMD_TEXT)
        print_plan(common, plan, true);
    else if (changes)
        cmd_note(common, "done");
    return CMD_OK;
}

int cmd_topics(int argc, char **argv)
{
    bool yes = false;
    const struct cmd_option options[] = {
        {"yes", 'y', NULL, "apply without asking", NULL, &yes},
    };
    const struct cmd_spec spec = {
        .synopsis = "topics plan [-o text|json]\ntopics apply [--yes]",
        .summary = "Shows or creates the topics of the app, its input topics included, and the\n"
                   "first offsets of its groups. Never changes what exists; doing it twice is\n"
                   "doing it once.",
        .options = options,
        .option_count = 1,
        .words_min = 1,
        .words_max = 1,
    };
    struct cmd_common common;
    struct cmd_words words;
    struct cmd_app app;
    struct topics_plan plan;
    struct err_text text = {""};
    int code;
    if (!cmd_parse(&spec, argc, argv, &common, &words, &code))
        return code;
    bool applies = strcmp(words.items[0], "apply") == 0;
    if (!applies && strcmp(words.items[0], "plan") != 0)
        return cmd_complain(CMD_USAGE, "topics: plan or apply, not '%s'", words.items[0]);
    if (!cmd_app_open(&common, &app, &code))
        return code;
    enum ka_err err = topics_plan(app.config, app.admin, &app.arena, &plan, &text);
    if (err != KA_OK) {
        code = cmd_fail(err, &text);
    } else if (applies) {
        code = apply(&common, &app, &plan, yes);
    } else {
        print_plan(&common, &plan, false);
        code = plan.refusals > 0 ? CMD_FAILED : CMD_OK;
    }
    cmd_app_close(&app);
    return code;
}
