// SPDX-License-Identifier: Apache-2.0
// Violations as they are found, grouped by kind when they are printed.
#include "checker.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct violation {
    enum kind kind;
    char *saga; // NULL = of no saga
    const struct topic *topic;
    int32_t partition;
    int64_t offset;
    char *text;
};

static const char *const kind_names[KINDS] = {
    [KIND_ABORTED_READ] = "aborted_read",
    [KIND_AFTER_END] = "after_end",
    [KIND_AHEAD] = "ahead",
    [KIND_ATTEMPT_TWICE] = "attempt_twice",
    [KIND_BOTH_ENDS] = "both_ends",
    [KIND_DLQ] = "dlq",
    [KIND_FORWARD_AFTER_UNDO] = "forward_after_undo",
    [KIND_GAP] = "gap",
    [KIND_INVENTED] = "invented",
    [KIND_LOST] = "lost",
    [KIND_MALFORMED] = "malformed",
    [KIND_NOT_REDONE] = "not_redone",
    [KIND_NOT_UNDONE] = "not_undone",
    [KIND_OPEN_TRANSACTION] = "open_transaction",
    [KIND_OUT_OF_ORDER] = "out_of_order",
    [KIND_REPEATED] = "repeated",
    [KIND_STATE_DIFFERS] = "state_differs",
    [KIND_STEPS_AT_ONCE] = "steps_at_once",
    [KIND_STEP_MISSING] = "step_missing",
    [KIND_STEP_TWICE] = "step_twice",
    [KIND_UNDO_ORDER] = "undo_order",
    [KIND_UNDO_TWICE] = "undo_twice",
    [KIND_UNDO_WITHOUT_STEP] = "undo_without_step",
    [KIND_UNFINISHED] = "unfinished",
    [KIND_UNREAD] = "unread",
    [KIND_VIEWS_DIFFER] = "views_differ",
    [KIND_WRONG_OUTCOME] = "wrong_outcome",
    [KIND_WRONG_PARTITION] = "wrong_partition",
};

static struct {
    struct violation *all; // at most max_shown of each kind
    size_t count, cap;
    int64_t of_kind[KINDS];
    char **notes;
    size_t note_count, note_cap;
    const struct options *options;
} report;

void report_init(const struct options *options)
{
    report.options = options;
}

__attribute__((format(printf, 1, 0))) static char *formatted(const char *format, va_list arguments)
{
    char text[1024];
    vsnprintf(text, sizeof text, format, arguments);
    return copy_text(text, strlen(text));
}

void report_add(enum kind kind, const char *saga, const struct topic *topic, int32_t partition,
                int64_t offset, const char *format, ...)
{
    if (report.of_kind[kind]++ >= report.options->max_shown)
        return;
    va_list arguments;
    va_start(arguments, format);
    report.all = grow(report.all, report.count, &report.cap, sizeof *report.all);
    report.all[report.count++] = (struct violation){
        .kind = kind,
        .saga = saga == NULL ? NULL : copy_text(saga, strlen(saga)),
        .topic = topic,
        .partition = partition,
        .offset = offset,
        .text = formatted(format, arguments),
    };
    va_end(arguments);
}

void report_note(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    report.notes = grow(report.notes, report.note_count, &report.note_cap, sizeof(char *));
    report.notes[report.note_count++] = formatted(format, arguments);
    va_end(arguments);
}

int64_t report_count(void)
{
    int64_t total = 0;
    for (int kind = 0; kind < KINDS; kind++)
        total += report.of_kind[kind];
    return total;
}

static void print_text(const struct store *store, const struct totals *totals)
{
    for (int kind = 0; kind < KINDS; kind++) {
        int64_t shown = 0;
        for (size_t i = 0; i < report.count; i++) {
            const struct violation *v = &report.all[i];
            if ((int)v->kind != kind)
                continue;
            shown++;
            printf("%s %s", kind_names[kind], v->saga == NULL ? "-" : v->saga);
            if (v->topic != NULL)
                printf(" %s/%d/%lld", v->topic->name, v->partition, (long long)v->offset);
            printf(": %s\n", v->text);
        }
        if (report.of_kind[kind] > shown)
            printf("%s: %lld more\n", kind_names[kind], (long long)(report.of_kind[kind] - shown));
    }
    for (size_t i = 0; i < report.note_count; i++)
        fprintf(stderr, "checker: %s\n", report.notes[i]);
    printf("%s: %lld sagas: %lld completed, %lld compensated, %lld terminated, %lld unfinished\n",
           report.options->app, (long long)totals->sagas, (long long)totals->completed,
           (long long)totals->compensated, (long long)totals->terminated,
           (long long)totals->unfinished);
    for (int i = 0; i < store->topic_count; i++)
        if (store->topics[i].exists)
            printf("%s: %lld records, %lld aborted\n", store->topics[i].name,
                   (long long)store->topics[i].records,
                   (long long)store->topics[i].aborted_records);
    printf("%lld violations\n", (long long)report_count());
}

static json_t *violation_json(const struct violation *v)
{
    json_t *json = json_pack("{s:s, s:s}", "kind", kind_names[v->kind], "text", v->text);
    if (v->saga != NULL)
        json_object_set_new(json, "saga", json_string(v->saga));
    if (v->topic != NULL) {
        json_object_set_new(json, "topic", json_string(v->topic->name));
        json_object_set_new(json, "partition", json_integer(v->partition));
        json_object_set_new(json, "offset", json_integer(v->offset));
    }
    return json;
}

static void print_json(const struct store *store, const struct totals *totals)
{
    json_t *kinds = json_object(), *all = json_array(), *topics = json_object();
    json_t *notes = json_array();
    for (int kind = 0; kind < KINDS; kind++)
        if (report.of_kind[kind] > 0)
            json_object_set_new(kinds, kind_names[kind], json_integer(report.of_kind[kind]));
    for (size_t i = 0; i < report.count; i++)
        json_array_append_new(all, violation_json(&report.all[i]));
    for (size_t i = 0; i < report.note_count; i++)
        json_array_append_new(notes, json_string(report.notes[i]));
    for (int i = 0; i < store->topic_count; i++) {
        const struct topic *topic = &store->topics[i];
        if (topic->exists)
            json_object_set_new(topics, topic->name,
                                json_pack("{s:I, s:I}", "records", (json_int_t)topic->records,
                                          "aborted", (json_int_t)topic->aborted_records));
    }
    json_t *json = json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "app", report.options->app,
        "sagas", (json_int_t)totals->sagas, "completed", (json_int_t)totals->completed,
        "compensated", (json_int_t)totals->compensated, "terminated",
        (json_int_t)totals->terminated, "unfinished", (json_int_t)totals->unfinished, "violations",
        (json_int_t)report_count(), "kinds", kinds, "found", all, "topics", topics, "notes", notes);
    if (json == NULL)
        abort();
    json_dumpf(json, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(json);
}

void report_print(const struct store *store, const struct totals *totals)
{
    if (report.options->json)
        print_json(store, totals);
    else
        print_text(store, totals);
}
