// SPDX-License-Identifier: Apache-2.0
#include "cmd/cmd_parked.h"

#include "core/json.h"
#include "io/clock.h"

enum {
    RECENT_MS = 20000, // a worker announces itself every 5 s
    QUIET_MS = 5000,
    PARKED_MAX = 1024
};

struct parked_list {
    struct cmd_app *app;
    struct cmd_parked *items;
    size_t count;
};

static const char *text_of(struct parked_list *list, struct slice object, const char *name)
{
    struct arena *arena = &list->app->arena;
    struct slice value = json_member(object, slice_str(name));
    bool text = !slice_none(value) && json_type(value) == JSON_STRING;
    return arena_str(arena, text ? json_text(value, arena) : SLICE_LIT(""));
}

static void forget(struct parked_list *list, const char *node)
{
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i].node, node) != 0)
            list->items[kept++] = list->items[i];
    }
    list->count = kept;
}

static void take(struct parked_list *list, const struct record *record)
{
    struct slice prefix = SLICE_LIT("node/");
    if (!slice_starts(record->key, prefix))
        return;
    const char *node = arena_str(
        &list->app->arena, slice_of(record->key.ptr + prefix.len, record->key.len - prefix.len));
    forget(list, node);
    if (slice_none(record->value) || json_validate(record->value, NULL) != KA_OK)
        return;
    struct json_walk walk = json_walk(json_member(record->value, SLICE_LIT("parked_at")));
    struct slice name, item;
    while (list->count < PARKED_MAX && json_next(&walk, &name, &item)) {
        list->items[list->count++] = (struct cmd_parked){
            .node = node,
            .topic = text_of(list, item, "topic"),
            .partition = (int32_t)json_i64_member(item, SLICE_LIT("partition"), -1),
            .offset = json_i64_member(item, SLICE_LIT("offset"), -1),
            .reason = text_of(list, item, "reason"),
            .error = text_of(list, item, "error"),
        };
    }
}

static enum ka_err read_recent(struct parked_list *list, const char *topic, int64_t from,
                               struct err_text *text)
{
    struct io_kafka_reader *reader = NULL;
    int64_t heard_ms = clock_mono_ms();
    bool ended = false;
    enum ka_err err = io_kafka_reader_new(&list->app->kafka, true, &reader, text);
    if (err == KA_OK)
        err = io_kafka_reader_add(reader, topic, 0, from, text);
    while (err == KA_OK && !ended && clock_mono_ms() - heard_ms < QUIET_MS) {
        struct record record;
        enum ka_err failed = KA_OK;
        enum io_kafka_read read = io_kafka_reader_next(reader, 250, &record, &failed, text);
        if (read == IO_KAFKA_READ_RECORD)
            take(list, &record);
        if (read == IO_KAFKA_READ_RECORD)
            heard_ms = clock_mono_ms();
        if (read == IO_KAFKA_READ_ERROR && err_class(failed) != ERR_CLASS_RETRY)
            err = failed;
        ended = read == IO_KAFKA_READ_END;
    }
    io_kafka_reader_free(&reader);
    return err;
}

enum ka_err cmd_parked_read(struct cmd_app *app, const struct cmd_parked **parked, size_t *count,
                            struct err_text *text)
{
    const char *topic = cmd_app_topic(app, "catalog");
    struct parked_list list = {.app = app,
                               .items = arena_alloc(&app->arena, PARKED_MAX * sizeof *list.items)};
    int64_t from;
    int32_t partitions;
    enum ka_err err = io_kafka_partition_count(app->admin, topic, CMD_CALL_MS, &partitions, text);
    if (err == KA_OK && partitions > 0)
        err = io_kafka_offset_at(app->admin, topic, 0, clock_now_ms() - RECENT_MS, CMD_CALL_MS,
                                 &from, text);
    if (err == KA_OK && partitions > 0 && from >= 0) // else nobody has spoken
        err = read_recent(&list, topic, from, text);
    *parked = list.items;
    *count = list.count;
    return err;
}
