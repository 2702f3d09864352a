// SPDX-License-Identifier: Apache-2.0
#include "cmd/cmd_link.h"

#include "engine/scan.h"

#include <stdlib.h>

enum { STALL_MS = 20000 };

struct reading {
    struct link_rows *rows;
    struct arena *arena;
    int32_t slot;
    size_t row_cap;
    size_t beat_cap;
};

static void *grown(void *list, size_t *cap, size_t size)
{
    *cap = *cap == 0 ? 64 : *cap * 2;
    void *more = realloc(list, *cap * size);
    if (more == NULL)
        abort();
    return more;
}

// "#link/<source>/<node>"
static void take_beat(struct reading *reading, const struct record *record)
{
    struct link_rows *rows = reading->rows;
    const char *name = arena_str(reading->arena, slice_of(record->key.ptr + LINK_BEAT_PREFIX.len,
                                                          record->key.len - LINK_BEAT_PREFIX.len));
    size_t len = strcspn(name, "/");
    if (name[len] == '\0')
        return;
    struct link_beat beat = {.source = arena_str(reading->arena, slice_of(name, len)),
                             .node = name + len + 1,
                             .json = arena_copy(reading->arena, record->value),
                             .time_ms = record->timestamp_ms};
    for (size_t i = 0; i < rows->beat_count; i++)
        if (strcmp(rows->beats[i].source, beat.source) == 0 &&
            strcmp(rows->beats[i].node, beat.node) == 0) {
            rows->beats[i] = beat;
            return;
        }
    if (rows->beat_count == reading->beat_cap)
        rows->beats = grown(rows->beats, &reading->beat_cap, sizeof *rows->beats);
    rows->beats[rows->beat_count++] = beat;
}

static enum ka_err take_record(void *context, const struct record *record, struct err_text *text)
{
    struct reading *reading = context;
    struct link_rows *rows = reading->rows;
    if (slice_starts(record->key, LINK_BEAT_PREFIX) && !slice_none(record->value))
        take_beat(reading, record);
    if (slice_starts(record->key, LINK_CONTROL_PREFIX) || slice_none(record->value))
        return KA_OK;
    struct link_row row = {.slot = reading->slot};
    enum ka_err err =
        link_progress_decode(arena_copy(reading->arena, record->value), &row.progress, text);
    if (err != KA_OK)
        return err;
    for (size_t i = 0; i < rows->count; i++) {
        const struct link_progress *other = &rows->rows[i].progress;
        if (other->partition != row.progress.partition ||
            !slice_eq(other->topic, row.progress.topic) ||
            !slice_eq(other->source, row.progress.source))
            continue;
        rows->rows[i] = row;
        return KA_OK;
    }
    if (rows->count == reading->row_cap)
        rows->rows = grown(rows->rows, &reading->row_cap, sizeof *rows->rows);
    rows->rows[rows->count++] = row;
    return KA_OK;
}

static int order(struct slice a, struct slice b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int sign = len == 0 ? 0 : memcmp(a.ptr, b.ptr, len);
    return sign != 0 ? sign : (a.len > b.len) - (a.len < b.len);
}

static int by_name(const void *a, const void *b)
{
    const struct link_progress *x = &((const struct link_row *)a)->progress;
    const struct link_progress *y = &((const struct link_row *)b)->progress;
    int sign = order(x->source, y->source);
    if (sign == 0)
        sign = order(x->topic, y->topic);
    return sign != 0 ? sign : (x->partition > y->partition) - (x->partition < y->partition);
}

static int by_node(const void *a, const void *b)
{
    const struct link_beat *x = a;
    const struct link_beat *y = b;
    int sign = strcmp(x->source, y->source);
    return sign != 0 ? sign : strcmp(x->node, y->node);
}

static enum ka_err read_slot(struct cmd_app *app, const char *topic, int32_t slot,
                             struct reading *reading, struct err_text *text)
{
    int64_t start = 0, end = 0;
    enum ka_err err = io_kafka_watermarks(app->admin, topic, slot, CMD_CALL_MS, &start, &end, text);
    const struct scan scan = {.kafka = &app->kafka,
                              .topic = topic,
                              .partition = slot,
                              .from = start,
                              .end = end,
                              .stall_ms = STALL_MS};
    reading->slot = slot;
    return err == KA_OK ? scan_records(&scan, take_record, reading, text) : err;
}

// What was gathered with realloc becomes the arena's, so that nobody has to free it.
static void *kept(struct cmd_app *app, void *list, size_t size)
{
    void *copy = arena_alloc(&app->arena, size);
    if (size > 0)
        memcpy(copy, list, size);
    free(list);
    return copy;
}

int link_rows_read(struct cmd_app *app, struct link_rows *rows)
{
    struct err_text text = {""};
    const char *topic = cmd_app_topic(app, "links");
    struct reading reading = {.rows = rows, .arena = &app->arena};
    *rows = (struct link_rows){.slots = app->config->link_slots};
    int code = cmd_app_check_topic(app, topic, rows->slots);
    if (code != CMD_OK)
        return code;
    enum ka_err err = KA_OK;
    for (int32_t slot = 0; slot < rows->slots && err == KA_OK; slot++)
        err = read_slot(app, topic, slot, &reading, &text);
    rows->rows = kept(app, rows->rows, rows->count * sizeof *rows->rows);
    rows->beats = kept(app, rows->beats, rows->beat_count * sizeof *rows->beats);
    if (err != KA_OK)
        return cmd_fail(err, &text);
    qsort(rows->rows, rows->count, sizeof *rows->rows, by_name);
    qsort(rows->beats, rows->beat_count, sizeof *rows->beats, by_node);
    return CMD_OK;
}

const struct link_row *link_row_find(const struct link_rows *rows, const char *source,
                                     const char *topic, int32_t partition)
{
    for (size_t i = 0; i < rows->count; i++) {
        const struct link_progress *progress = &rows->rows[i].progress;
        if (progress->partition == partition && slice_eq(progress->source, slice_str(source)) &&
            slice_eq(progress->topic, slice_str(topic)))
            return &rows->rows[i];
    }
    return NULL;
}

bool link_source_open(struct cmd_app *app, const char *name, struct link_source *source,
                      int *exit_code)
{
    struct err_text text = {""};
    *source = (struct link_source){.config = NULL};
    for (size_t i = 0; i < app->config->link_count; i++)
        if (strcmp(app->config->link_list[i].source, name) == 0)
            source->config = &app->config->link_list[i];
    if (source->config == NULL) {
        *exit_code = cmd_complain(CMD_NOT_FOUND, "there is no link from '%s'", name);
        return false;
    }
    source->kafka = (struct io_kafka_config){
        .bootstrap = source->config->kafka.bootstrap,
        .client_id = "kasaga",
        .property_names = source->config->kafka.property_names,
        .property_values = source->config->kafka.property_values,
        .property_count = source->config->kafka.property_count,
    };
    enum ka_err err = io_kafka_admin_new(&source->kafka, &source->admin, &text);
    if (err == KA_OK)
        return true;
    *exit_code = cmd_fail(err, &text);
    return false;
}

void link_source_close(struct link_source *source)
{
    if (source->admin != NULL)
        io_kafka_admin_free(&source->admin);
}

bool link_place(struct cmd_app *app, const char *text, const char **topic, int32_t *partition)
{
    int64_t number;
    const char *slash = strrchr(text, '/');
    if (slash == NULL || slash == text || !cmd_number(slash + 1, 0, INT32_MAX, &number))
        return false;
    *topic = arena_str(&app->arena, slice_of(text, (size_t)(slash - text)));
    *partition = (int32_t)number;
    return true;
}
