// SPDX-License-Identifier: Apache-2.0
#include "core/route.h"

#include "core/assert.h"
#include "core/command.h"
#include "core/event.h"
#include "core/hash.h"
#include "core/json.h"

#include <stdlib.h>

struct routes {
    struct route_config config;
    int64_t unmatched;
};

struct routes *routes_new(const struct route_config *config)
{
    struct routes *routes = calloc(1, sizeof *routes);
    if (routes == NULL)
        abort();
    KA_ASSERT(config->shards > 0);
    routes->config = *config;
    return routes;
}

void routes_free(struct routes **routes)
{
    free(*routes);
    *routes = NULL;
}

int64_t routes_unmatched(const struct routes *routes)
{
    return routes->unmatched;
}

// The type that a plain record of this topic has: the only one that is routed from it.
static struct slice only_type(const struct routes *routes, struct slice topic)
{
    struct slice type = SLICE_NONE;
    for (size_t i = 0; i < routes->config.route_count; i++) {
        const struct route *route = &routes->config.routes[i];
        if (!slice_eq(route->topic, topic))
            continue;
        if (!slice_none(type) && !slice_eq(type, route->type))
            return SLICE_NONE;
        type = route->type;
    }
    return type;
}

// "<saga>/<id>" in the arena.
static enum ka_err key_of(const struct route *route, const struct event *event, struct arena *arena,
                          struct slice *key, struct err_text *text)
{
    struct slice value;
    enum ka_err err = expr_eval(route->id, event->data, arena, &value, text);
    if (err != KA_OK)
        return err_wrap(text, err, "id of saga %.*s: %s", SLICE_FMT(route->saga),
                        expr_source(route->id));
    enum json_type type = slice_none(value) ? JSON_NULL : json_type(value);
    struct slice id = SLICE_NONE;
    if (type == JSON_STRING)
        id = json_text(value, arena);
    else if (type == JSON_NUMBER)
        id = json_trim(value);
    if (id.len == 0)
        return err_set(text, KA_ERR_NO_ID, "id of saga %.*s: %s gives %.*s", SLICE_FMT(route->saga),
                       expr_source(route->id), SLICE_FMT(value));
    if (id.len > ROUTE_ID_MAX)
        return err_set(text, KA_ERR_NO_ID, "id of saga %.*s has %zu bytes, at most %d are taken",
                       SLICE_FMT(route->saga), id.len, ROUTE_ID_MAX);
    char *bytes = arena_alloc(arena, route->saga.len + 1 + id.len);
    memcpy(bytes, route->saga.ptr, route->saga.len);
    bytes[route->saga.len] = '/';
    memcpy(bytes + route->saga.len + 1, id.ptr, id.len);
    *key = slice_of(bytes, route->saga.len + 1 + id.len);
    return KA_OK;
}

static void start_saga(const struct routes *routes, struct slice key, const struct event *event,
                       const struct record *record, struct lane_batch *batch)
{
    struct command command = {
        .verb = COMMAND_START,
        .time_ms = batch->now_ms,
        .id = event->id,
        .cause = record_place(record, &batch->arena),
        .type = event->type,
        .source = event->source,
        .tenant = event->tenant,
        .dataclass = event->dataclass,
        .traceparent = event->traceparent,
        .data = event->data,
    };
    size_t from = batch->scratch.len;
    command_encode(&command, &batch->scratch);
    struct output output = {
        .topic = routes->config.inbox_topic,
        .partition = hash_partition(key, routes->config.shards),
        .key = key,
        .value = buf_take(&batch->scratch, from, &batch->arena),
    };
    batch->scratch.len = from;
    lane_batch_output(batch, &output, LANE_NO_TAG);
}

static enum ka_err on_record(void *context, struct lane_partition *partition,
                             const struct record *record, struct lane_batch *batch,
                             struct err_text *text)
{
    struct routes *routes = context;
    struct event event;
    (void)partition;
    enum ka_err err =
        event_parse(record, only_type(routes, record->topic), &batch->arena, &event, text);
    if (err != KA_OK)
        return err;
    // Decide for all routes before the first output: a poison record puts out nothing.
    struct slice *keys =
        arena_zalloc(&batch->arena, (routes->config.route_count + 1) * sizeof *keys);
    size_t matches = 0;
    for (size_t i = 0; i < routes->config.route_count; i++) {
        const struct route *route = &routes->config.routes[i];
        if (!slice_eq(route->topic, record->topic) || !slice_eq(route->type, event.type))
            continue;
        if (event.data.len > routes->config.data_max)
            return err_set(text, KA_ERR_TOO_LARGE, "the data has %zu bytes, at most %zu are taken",
                           event.data.len, routes->config.data_max);
        event.data = json_trim(event.data);
        if (json_type(event.data) != JSON_OBJECT)
            return err_set(text, KA_ERR_ENVELOPE, "the data of a start event must be an object");
        err = key_of(route, &event, &batch->arena, &keys[i], text);
        if (err != KA_OK)
            return err;
        matches++;
    }
    if (matches > 0 && routes->config.residency != NULL)
        err = residency_admit(routes->config.residency, event.tenant, event.data, &event.dataclass,
                              &batch->arena, text);
    if (err != KA_OK)
        return err;
    routes->unmatched += matches == 0;
    for (size_t i = 0; matches > 0 && i < routes->config.route_count; i++)
        if (!slice_none(keys[i]))
            start_saga(routes, keys[i], &event, record, batch);
    return KA_OK;
}

static void on_poison(void *context, struct lane_partition *partition, const struct record *record,
                      enum ka_err error, const struct err_text *text, struct lane_batch *batch)
{
    struct routes *routes = context;
    struct output output;
    (void)partition;
    dlq_output(&routes->config.dlq, record, error, text, &batch->arena, &output);
    lane_batch_output(batch, &output, LANE_NO_TAG);
}

static enum ka_err no_result(void *context, struct lane_partition *partition,
                             const struct lane_result *result, struct lane_batch *batch,
                             struct err_text *text)
{
    (void)context, (void)partition, (void)result, (void)batch, (void)text;
    KA_ASSERT(false); // a route lane invokes nothing
    return KA_OK;
}

static enum ka_err nothing(void *context, struct lane_partition *partition,
                           struct lane_batch *batch, struct err_text *text)
{
    (void)context, (void)partition, (void)batch, (void)text;
    return KA_OK;
}

static int64_t never(void *context, struct lane_partition *partition)
{
    (void)context, (void)partition;
    return INT64_MAX;
}

static bool none_pending(void *context, struct lane_partition *partition, int64_t now_ms)
{
    (void)context, (void)partition, (void)now_ms;
    return false;
}

static void forget(void *context, struct lane_partition *partition)
{
    (void)context, (void)partition;
}

static void describe(void *context, struct lane_partition *partition, struct meta *meta)
{
    (void)context, (void)partition, (void)meta;
}

static enum ka_err adopt(void *context, struct lane_partition *partition, void *restored,
                         const struct meta *meta, struct err_text *text)
{
    (void)context, (void)partition, (void)meta, (void)text;
    KA_ASSERT(restored == NULL);
    return KA_OK;
}

struct lane_processor routes_processor(struct routes *routes)
{
    return (struct lane_processor){
        .context = routes,
        .record = on_record,
        .poison = on_poison,
        .result = no_result,
        .timer = nothing,
        .due = never,
        .pending = none_pending,
        .work = nothing,
        .close = nothing,
        .committed = forget,
        .undo = forget,
        .describe = describe,
        .adopt = adopt,
        .drop = forget,
    };
}
