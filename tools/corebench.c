// SPDX-License-Identifier: Apache-2.0
// corebench [SAGAS]: what the core alone costs per three-step saga, without Kafka: a route lane
// that turns orders into commands, and a shard lane that runs them, each as one batch after
// another. Prints one JSON line. For profiles (perf, callgrind) and for comparing two builds.
#include "core/route.h"
#include "core/shard.h"
#include "io/clock.h"
#include "io/jq.h"

#include <stdio.h>
#include <stdlib.h>

enum { BATCH = 1000 };

static const char definition[] = "{\"deadline_ms\":0,\"dedupe_window_ms\":86400000,\"format\":1,"
                                 "\"history\":\"all\",\"name\":\"order\","
                                 "\"pattern\":\"saga\",\"steps\":[%s],\"version\":1}";

struct bench {
    struct lane *lane;
    struct lane_effects effects;
    struct saga_def *def;
    struct action_def action;
    int64_t outputs;
    int64_t bytes;
    int64_t state_end; // offsets of the state topic, as a broker would give them
    struct lane_span span;
};

static const struct action_def *find_action(void *context, const char *name)
{
    struct bench *bench = context;
    (void)name;
    return &bench->action;
}

static const struct saga_def *current(void *context, struct slice name)
{
    struct bench *bench = context;
    (void)name;
    return bench->def;
}

static const struct saga_def *by_id(void *context, const struct def_id *id)
{
    struct bench *bench = context;
    (void)id;
    return bench->def;
}

static void run_inline(void *context, const struct invocation *call, struct arena *arena,
                       struct action_result *result)
{
    (void)context, (void)call, (void)arena;
    *result = (struct action_result){
        .outcome = OUTCOME_OK, .data = SLICE_LIT("{\"reservation\":\"res-1d0e707a523c7de8\"}")};
}

static void release(void *context, struct lane_result *result)
{
    (void)context, (void)result;
}

static void step(struct bench *bench, struct lane_event event)
{
    event.now_ms = 1800000000000;
    lane_step(bench->lane, &event, &bench->effects);
    const struct lane_batch *batch = lane_batch(bench->lane);
    for (size_t i = 0; i < bench->effects.count; i++) {
        const struct lane_effect *effect = &bench->effects.list[i];
        for (size_t j = 0; effect->type == LANE_EFFECT_PRODUCE && j < effect->count; j++) {
            const struct lane_output *output = &batch->outputs[effect->first + j];
            bench->bytes += (int64_t)output->record.value.len;
            bench->state_end += output->tag == 0;
        }
        if (effect->type == LANE_EFFECT_PRODUCE)
            bench->outputs += (int64_t)effect->count;
    }
    bench->effects.count = 0;
}

static void commit(struct bench *bench, int *producer)
{
    step(bench, (struct lane_event){.type = LANE_EVENT_TICK, .drained = true});
    bench->span.last = bench->state_end - 1;
    step(bench, (struct lane_event){.type = LANE_EVENT_FLUSHED,
                                    .producer = *producer,
                                    .generation = 1,
                                    .member = true,
                                    .spans = &bench->span,
                                    .span_count = bench->span.last >= bench->span.first});
    bench->span.first = bench->state_end;
    step(bench, (struct lane_event){.type = LANE_EVENT_COMMITTED, .producer = *producer});
    *producer = 1 - *producer;
}

static void open_lane(struct bench *bench, const struct lane_processor *processor,
                      const char *topic, void *restored, int *producer)
{
    struct lane_config config = {.node = SLICE_LIT("n1"),
                                 .name = SLICE_LIT("s0"),
                                 .session_timeout_ms = 6000,
                                 .batch_records = 100000,
                                 .batch_bytes = 1 << 30,
                                 .batch_ms = 1000,
                                 .release_result = release};
    struct lane_partition_name name = {slice_str(topic), 0};
    struct meta meta = {0};
    bench->lane = lane_new(&config, processor);
    step(bench, (struct lane_event){.type = LANE_EVENT_TICK});
    step(bench, (struct lane_event){.type = LANE_EVENT_PRODUCER_READY, .producer = 0});
    step(bench, (struct lane_event){.type = LANE_EVENT_PRODUCER_READY, .producer = 1});
    step(bench, (struct lane_event){
                    .type = LANE_EVENT_ASSIGNED, .partitions = &name, .partition_count = 1});
    step(bench, (struct lane_event){
                    .type = LANE_EVENT_RESTORED, .epoch = 1, .restored = restored, .meta = &meta});
    *producer = 1;
    commit(bench, producer);
}

// ns per record; `make` fills key and value of record `number`.
static double run(struct bench *bench, const char *topic, int64_t count, int *producer,
                  void (*make)(int64_t number, struct record *record))
{
    int64_t begun = clock_mono_ns();
    for (int64_t i = 0; i < count; i++) {
        struct record record = {.topic = slice_str(topic), .offset = i, .timestamp_ms = -1};
        make(i, &record);
        step(bench, (struct lane_event){.type = LANE_EVENT_RECORD, .record = &record, .epoch = 1});
        if (i % BATCH == BATCH - 1)
            commit(bench, producer);
    }
    return (double)(clock_mono_ns() - begun) / (double)count;
}

static void make_order(int64_t number, struct record *record)
{
    static char value[256];
    int len =
        snprintf(value, sizeof value,
                 "{\"order_id\":\"o-%lld\",\"customer\":\"c7\",\"sku\":\"sku-12\",\"quantity\":2,"
                 "\"total\":42}",
                 (long long)number);
    record->value = slice_of(value, (size_t)len);
}

static void make_command(int64_t number, struct record *record)
{
    static char key[64];
    static char data[256];
    static struct buf encoded;
    struct record order = {0};
    make_order(number, &order);
    memcpy(data, order.value.ptr, order.value.len);
    record->key =
        slice_of(key, (size_t)snprintf(key, sizeof key, "order/o-%lld", (long long)number));
    struct command command = {.verb = COMMAND_START,
                              .id = SLICE_LIT("orders/3/123456"),
                              .cause = SLICE_LIT("orders/3/123456"),
                              .type = SLICE_LIT("order.placed"),
                              .source = SLICE_LIT("kafka:orders"),
                              .data = slice_of(data, order.value.len)};
    buf_clear(&encoded);
    command_encode(&command, &encoded);
    record->value = buf_slice(&encoded);
}

static void load_definition(struct bench *bench)
{
    static const char one[] =
        "{\"action\":{\"inline\":true,\"kind\":\"plugin\",\"name\":\"a\",\"version\":\"1\"},"
        "\"name\":\"%s\",\"optional\":false,\"pivot\":false,\"retry\":{\"attempts\":2,"
        "\"backoff_max_ms\":30000,\"backoff_ms\":250},\"timeout_ms\":30000}";
    char steps[2048];
    char text[4096];
    int at = snprintf(steps, sizeof steps, one, "validate");
    steps[at++] = ',';
    at += snprintf(steps + at, sizeof steps - (size_t)at, one, "reserve");
    steps[at++] = ',';
    snprintf(steps + at, sizeof steps - (size_t)at, one, "charge");
    snprintf(text, sizeof text, definition, steps);
    struct def_env env = {&io_jq_engine, find_action, bench, 1 << 18};
    struct def_id id = {{1}};
    struct err_text error = {{0}};
    if (def_load(slice_str(text), &id, &env, &bench->def, &error) == KA_OK)
        return;
    fprintf(stderr, "corebench: %s\n", error.text);
    exit(1);
}

static double bench_route(int64_t count)
{
    struct bench bench = {0};
    struct expr *id = NULL;
    struct err_text text;
    int producer = 0;
    if (expr_compile(".order_id", NULL, &id, &text) != KA_OK)
        exit(1);
    struct route route = {SLICE_LIT("orders"), SLICE_LIT("order.placed"), SLICE_LIT("order"), id};
    struct route_config config = {.shards = 1,
                                  .inbox_topic = SLICE_LIT("shop.inbox"),
                                  .dlq = {SLICE_LIT("shop.dlq"), 1, 1 << 20, "n1"},
                                  .data_max = 1 << 18,
                                  .routes = &route,
                                  .route_count = 1};
    struct routes *routes = routes_new(&config);
    struct lane_processor processor = routes_processor(routes);
    open_lane(&bench, &processor, "orders", NULL, &producer);
    double ns = run(&bench, "orders", count, &producer, make_order);
    lane_free(&bench.lane);
    routes_free(&routes);
    expr_free(&id);
    lane_effects_fini(&bench.effects);
    return ns;
}

static double bench_shard(int64_t count, struct bench *bench)
{
    int producer = 0;
    load_definition(bench);
    struct shard_config config = {.source = SLICE_LIT("/kasaga/us-west/shop"),
                                  .node = "us-west/n1",
                                  .shards = 1,
                                  .inbox_topic = SLICE_LIT("shop.inbox"),
                                  .state_topic = SLICE_LIT("shop.state"),
                                  .history_topic = SLICE_LIT("shop.history"),
                                  .dlq_topic = SLICE_LIT("shop.dlq"),
                                  .limits = {86400000, 1 << 28},
                                  .record_max = 1 << 20,
                                  .reappend_min = 10000,
                                  .marker_ms = 5000};
    struct shard_definitions definitions = {.context = bench, .current = current, .by_id = by_id};
    bench->action = (struct action_def){.name = "a", .run_inline = true};
    struct shards *shards = shards_new(&config, &definitions, run_inline, NULL);
    struct lane_processor processor = shards_processor(shards);
    open_lane(bench, &processor, "shop.inbox", shard_restore_new(&config.limits), &producer);
    double ns = run(bench, "shop.inbox", count, &producer, make_command);
    lane_free(&bench->lane);
    shards_free(&shards);
    def_free(&bench->def);
    lane_effects_fini(&bench->effects);
    return ns;
}

int main(int argc, char **argv)
{
    int64_t count = argc > 1 ? strtoll(argv[1], NULL, 10) : 300000;
    struct bench bench = {0};
    double route_ns = bench_route(count);
    double shard_ns = bench_shard(count, &bench);
    printf("{\"sagas\":%lld,\"route_ns\":%.0f,\"shard_ns\":%.0f,\"outputs_per_saga\":%.2f,"
           "\"bytes_per_saga\":%.0f}\n",
           (long long)count, route_ns, shard_ns, (double)bench.outputs / (double)count,
           (double)bench.bytes / (double)count);
    return 0;
}
