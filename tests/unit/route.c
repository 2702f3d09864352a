// SPDX-License-Identifier: Apache-2.0
// The routes: which commands come of which records, through the processor that a lane calls.
#include "core/route.h"

#include "core/command.h"
#include "core/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SHARDS = 8 };

struct fixture {
    struct route list[4];
    struct expr *ids[2];
    struct routes *routes;
    struct lane_processor processor;
    struct lane_partition partition;
    struct lane_batch batch;
    struct err_text text;
};

static struct expr *compiled(const char *source)
{
    struct expr *expr = NULL;
    assert_int_equal(expr_compile(source, NULL, &expr, NULL), KA_OK);
    return expr;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->ids[0] = compiled(".order_id");
    f->ids[1] = compiled(".customer");
    f->list[0] = (struct route){SLICE_LIT("orders"), SLICE_LIT("order.placed"), SLICE_LIT("order"),
                                f->ids[0]};
    f->list[1] = (struct route){SLICE_LIT("orders"), SLICE_LIT("order.placed"), SLICE_LIT("loyal"),
                                f->ids[1]};
    f->list[2] = (struct route){SLICE_LIT("mixed"), SLICE_LIT("a"), SLICE_LIT("order"), f->ids[0]};
    f->list[3] = (struct route){SLICE_LIT("mixed"), SLICE_LIT("b"), SLICE_LIT("loyal"), f->ids[1]};
    struct route_config config = {
        .shards = SHARDS,
        .inbox_topic = SLICE_LIT("app.inbox"),
        .dlq = {SLICE_LIT("app.dlq"), SHARDS, 20000, "test/n1"},
        .data_max = 1000,
        .routes = f->list,
        .route_count = 4,
    };
    f->routes = routes_new(&config);
    f->processor = routes_processor(f->routes);
    f->batch.now_ms = 1700000000000;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    routes_free(&f->routes);
    expr_free(&f->ids[0]);
    expr_free(&f->ids[1]);
    arena_fini(&f->batch.arena);
    buf_fini(&f->batch.scratch);
    free(f->batch.outputs);
    free(f);
    return 0;
}

static enum ka_err read_record(struct fixture *f, const struct record *record)
{
    f->batch.output_count = 0;
    f->text.text[0] = '\0';
    return f->processor.record(f->processor.context, &f->partition, record, &f->batch, &f->text);
}

static enum ka_err plain(struct fixture *f, const char *topic, const char *value)
{
    struct record record = {
        .topic = slice_str(topic), .partition = 3, .offset = 17, .value = slice_str(value)};
    return read_record(f, &record);
}

static struct command command_at(struct fixture *f, size_t i, const char *key)
{
    struct command command;
    assert_true(i < f->batch.output_count);
    const struct output *output = &f->batch.outputs[i].record;
    assert_true(slice_eq(output->topic, SLICE_LIT("app.inbox")));
    assert_true(slice_eq(output->key, slice_str(key)));
    assert_int_equal(output->partition, hash_partition(output->key, SHARDS));
    assert_int_equal(command_decode(output->value, &command, NULL), KA_OK);
    return command;
}

static void several_routes_of_one_topic_each_start_a_saga(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(plain(f, "orders", "{\"order_id\":\"o-1\",\"customer\":7}"), KA_OK);
    assert_int_equal(f->batch.output_count, 2);
    struct command command = command_at(f, 0, "order/o-1");
    assert_int_equal(command.verb, COMMAND_START);
    assert_true(slice_eq(command.cause, SLICE_LIT("orders/3/17")));
    command_at(f, 1, "loyal/7");
}

static void one_route_that_fails_leaves_no_output_of_the_others(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(plain(f, "orders", "{\"order_id\":\"o-1\"}"), KA_ERR_NO_ID);
    assert_int_equal(f->batch.output_count, 0);
}

static void a_plain_record_gets_its_place_as_identity(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(plain(f, "orders", " {\"order_id\":1,\"customer\":2} "), KA_OK);
    struct command command = command_at(f, 0, "order/1");
    assert_true(slice_eq(command.id, SLICE_LIT("orders/3/17")));
    assert_true(slice_eq(command.source, SLICE_LIT("kafka:orders")));
    assert_true(slice_eq(command.type, SLICE_LIT("order.placed")));
    assert_true(slice_eq(command.data, SLICE_LIT("{\"order_id\":1,\"customer\":2}")));
}

static void a_plain_record_of_a_topic_with_several_types_is_refused(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(plain(f, "mixed", "{\"order_id\":1}"), KA_ERR_ENVELOPE);
}

static void binary_mode_carries_the_attributes_in_headers(void **state)
{
    struct fixture *f = *state;
    struct header headers[] = {
        {SLICE_LIT("ce_specversion"), SLICE_LIT("1.0")},
        {SLICE_LIT("ce_id"), SLICE_LIT("e-9")},
        {SLICE_LIT("ce_source"), SLICE_LIT("/web")},
        {SLICE_LIT("ce_type"), SLICE_LIT("b")},
        {SLICE_LIT("ce_tenant"), SLICE_LIT("acme")},
        {SLICE_LIT("traceparent"),
         SLICE_LIT("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")},
    };
    struct record record = {.topic = SLICE_LIT("mixed"),
                            .value = SLICE_LIT("{\"customer\":\"c\"}"),
                            .headers = headers,
                            .header_count = 6};
    assert_int_equal(read_record(f, &record), KA_OK);
    assert_int_equal(f->batch.output_count, 1);
    struct command command = command_at(f, 0, "loyal/c");
    assert_true(slice_eq(command.id, SLICE_LIT("e-9")));
    assert_true(slice_eq(command.tenant, SLICE_LIT("acme")));
    assert_true(slice_eq(command.traceparent,
                         SLICE_LIT("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")));
    record.header_count = 2; // no source, no type
    assert_int_equal(read_record(f, &record), KA_ERR_ENVELOPE);
}

static void structured_mode_carries_them_in_the_value(void **state)
{
    struct fixture *f = *state;
    struct header headers[] = {
        {SLICE_LIT("content-type"), SLICE_LIT("application/cloudevents+json; charset=utf-8")}};
    struct record record = {
        .topic = SLICE_LIT("mixed"),
        .value = SLICE_LIT("{\"specversion\":\"1.0\",\"id\":\"e\\n1\",\"source\":\"/s\","
                           "\"type\":\"a\",\"data\":{\"order_id\":\"x\"}}"),
        .headers = headers,
        .header_count = 1};
    assert_int_equal(read_record(f, &record), KA_OK);
    struct command command = command_at(f, 0, "order/x");
    assert_true(slice_eq(command.id, SLICE_LIT("e\n1")));
    assert_true(slice_eq(command.data, SLICE_LIT("{\"order_id\":\"x\"}")));
    record.value = SLICE_LIT("{\"specversion\":\"2.0\"}");
    assert_int_equal(read_record(f, &record), KA_ERR_ENVELOPE);
}

static void a_type_that_nobody_routes_is_passed_by(void **state)
{
    struct fixture *f = *state;
    struct header headers[] = {{SLICE_LIT("ce_specversion"), SLICE_LIT("1.0")},
                               {SLICE_LIT("ce_id"), SLICE_LIT("e")},
                               {SLICE_LIT("ce_source"), SLICE_LIT("/s")},
                               {SLICE_LIT("ce_type"), SLICE_LIT("other")}};
    struct record record = {.topic = SLICE_LIT("orders"),
                            .value = SLICE_LIT("{}"),
                            .headers = headers,
                            .header_count = 4};
    assert_int_equal(read_record(f, &record), KA_OK);
    assert_int_equal(f->batch.output_count, 0);
    assert_int_equal(routes_unmatched(f->routes), 1);
}

static void data_that_cannot_start_a_saga_is_poison(void **state)
{
    struct fixture *f = *state;
    char large[1200];
    snprintf(large, sizeof large, "{\"order_id\":1,\"customer\":1,\"x\":\"%01100d\"}", 0);
    assert_int_equal(plain(f, "orders", large), KA_ERR_TOO_LARGE);
    assert_int_equal(plain(f, "orders", "[1]"), KA_ERR_ENVELOPE);
    assert_int_equal(plain(f, "orders", "{"), KA_ERR_JSON);
    assert_int_equal(plain(f, "orders", "{\"order_id\":null,\"customer\":1}"), KA_ERR_NO_ID);
    assert_int_equal(plain(f, "orders", "{\"order_id\":\"\",\"customer\":1}"), KA_ERR_NO_ID);
    assert_int_equal(plain(f, "orders", NULL), KA_ERR_ENVELOPE);
    snprintf(large, sizeof large, "{\"order_id\":\"%0300d\",\"customer\":1}", 0);
    assert_int_equal(plain(f, "orders", large), KA_ERR_NO_ID);
}

// ---- Residency

// "*name" is personal, "total" financial; acme is at home in the other region.
static const struct residency_pattern patterns[] = {{{"*name", 5}, CLASS_PERSONAL},
                                                    {{"total", 5}, CLASS_FINANCIAL}};
static const struct slice regions[] = {{"here", 4}, {"there", 5}};
static const struct residency_tenant tenants[] = {{{"acme", 4}, 1}};
static const struct residency residency = {.regions = regions,
                                           .region_count = 2,
                                           .patterns = patterns,
                                           .pattern_count = 2,
                                           .tenants = tenants,
                                           .tenant_count = 1};

static void classify_from_now_on(struct fixture *f)
{
    struct route_config config = {
        .shards = SHARDS,
        .inbox_topic = SLICE_LIT("app.inbox"),
        .data_max = 1000,
        .routes = f->list,
        .route_count = 4,
        .residency = &residency,
    };
    routes_free(&f->routes);
    f->routes = routes_new(&config);
    f->processor = routes_processor(f->routes);
}

static enum ka_err of_tenant(struct fixture *f, const char *tenant, const char *dataclass)
{
    struct header headers[] = {{SLICE_LIT("tenant"), slice_str(tenant)},
                               {SLICE_LIT("dataclass"), slice_str(dataclass)}};
    struct record record = {.topic = SLICE_LIT("orders"),
                            .value = SLICE_LIT("{\"order_id\":1,\"customer\":2,\"total\":3}"),
                            .headers = headers,
                            .header_count = 2};
    return read_record(f, &record);
}

static void data_is_classified_at_the_door(void **state)
{
    struct fixture *f = *state;
    classify_from_now_on(f);
    assert_int_equal(plain(f, "orders", "{\"order_id\":1,\"customer\":2}"), KA_OK);
    assert_true(slice_eq(command_at(f, 0, "order/1").dataclass, SLICE_LIT("public")));
    assert_int_equal(plain(f, "orders", "{\"order_id\":1,\"customer\":2,\"to\":{\"last_name\":3}}"),
                     KA_OK);
    assert_true(slice_eq(command_at(f, 0, "order/1").dataclass, SLICE_LIT("personal")));
    assert_true(slice_eq(command_at(f, 1, "loyal/2").dataclass, SLICE_LIT("personal")));
}

static void a_foreign_class_is_raised_to_and_not_lowered_to(void **state)
{
    struct fixture *f = *state;
    classify_from_now_on(f);
    assert_int_equal(of_tenant(f, "acme", "public"), KA_OK);
    assert_true(slice_eq(command_at(f, 0, "order/1").dataclass, SLICE_LIT("financial")));
    assert_int_equal(of_tenant(f, "acme", "personal"), KA_OK);
    assert_true(slice_eq(command_at(f, 0, "order/1").dataclass, SLICE_LIT("personal")));
    assert_int_equal(of_tenant(f, "acme", "top secret"), KA_ERR_ENVELOPE);
    assert_int_equal(f->batch.output_count, 0);
}

static void an_unknown_tenant_is_poison(void **state)
{
    struct fixture *f = *state;
    classify_from_now_on(f);
    assert_int_equal(of_tenant(f, "ajax", ""), KA_ERR_UNKNOWN_TENANT);
    assert_int_equal(f->batch.output_count, 0);
}

// ---- The dlq
// -------------------------------------------------------------------------------------

static struct slice header_of(const struct output *output, const char *name)
{
    for (size_t i = 0; i < output->header_count; i++)
        if (slice_eq(output->headers[i].name, slice_str(name)))
            return output->headers[i].value;
    return SLICE_NONE;
}

static const struct output *bury(struct fixture *f, const struct record *record)
{
    f->batch.output_count = 0;
    err_set(&f->text, KA_ERR_NO_ID, "why");
    f->processor.poison(f->processor.context, &f->partition, record, KA_ERR_NO_ID, &f->text,
                        &f->batch);
    assert_int_equal(f->batch.output_count, 1);
    return &f->batch.outputs[0].record;
}

static void a_dead_letter_keeps_the_record_and_says_why(void **state)
{
    struct fixture *f = *state;
    struct header headers[] = {{SLICE_LIT("mine"), SLICE_LIT("kept")},
                               {SLICE_LIT("null"), SLICE_NONE}};
    struct record record = {.topic = SLICE_LIT("orders"),
                            .partition = 11,
                            .offset = 17,
                            .key = SLICE_LIT("k"),
                            .value = SLICE_LIT("v\0w"),
                            .headers = headers,
                            .header_count = 2};
    const struct output *output = bury(f, &record);
    assert_true(slice_eq(output->topic, SLICE_LIT("app.dlq")));
    assert_int_equal(output->partition, 11 % SHARDS);
    assert_true(slice_eq(output->key, SLICE_LIT("k")));
    assert_true(slice_eq(output->value, SLICE_LIT("v\0w")));
    assert_true(slice_eq(header_of(output, "mine"), SLICE_LIT("kept")));
    assert_true(slice_none(header_of(output, "null")));
    assert_true(slice_eq(header_of(output, "__connect.errors.topic"), SLICE_LIT("orders")));
    assert_true(slice_eq(header_of(output, "__connect.errors.offset"), SLICE_LIT("17")));
    assert_true(
        slice_eq(header_of(output, "__connect.errors.exception.message"), SLICE_LIT("why")));
    assert_true(slice_eq(header_of(output, "kasaga_error"), SLICE_LIT("NO_ID")));
    assert_true(slice_none(header_of(output, "kasaga_truncated")));
}

static void a_null_value_stays_null(void **state)
{
    struct fixture *f = *state;
    const struct output *output = bury(f, &(struct record){.topic = SLICE_LIT("orders")});
    assert_true(slice_none(output->value));
    assert_true(slice_none(output->key));
}

static void a_dead_letter_always_fits(void **state)
{
    struct fixture *f = *state;
    static char bytes[60000];
    struct header big = {SLICE_LIT("big"), slice_of(bytes, 15000)};
    struct record record = {.topic = SLICE_LIT("orders"), .value = slice_of(bytes, 60000)};
    const struct output *output = bury(f, &record);
    assert_true(slice_eq(header_of(output, "kasaga_truncated"), SLICE_LIT("60000")));
    assert_true(output->value.len + 4096 <= 20000 && output->value.len > 10000);
    record.headers = &big; // they alone would fill the record
    record.header_count = 1;
    output = bury(f, &record);
    assert_true(slice_none(header_of(output, "big")));
    record.key = slice_of(bytes, 30000);
    output = bury(f, &record);
    assert_true(slice_none(output->key));
    assert_true(output->value.len <= 20000 - 4096);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(several_routes_of_one_topic_each_start_a_saga),
        CASE(one_route_that_fails_leaves_no_output_of_the_others),
        CASE(a_plain_record_gets_its_place_as_identity),
        CASE(a_plain_record_of_a_topic_with_several_types_is_refused),
        CASE(binary_mode_carries_the_attributes_in_headers),
        CASE(structured_mode_carries_them_in_the_value),
        CASE(a_type_that_nobody_routes_is_passed_by),
        CASE(data_that_cannot_start_a_saga_is_poison),
        CASE(data_is_classified_at_the_door),
        CASE(a_foreign_class_is_raised_to_and_not_lowered_to),
        CASE(an_unknown_tenant_is_poison),
        CASE(a_dead_letter_keeps_the_record_and_says_why),
        CASE(a_null_value_stays_null),
        CASE(a_dead_letter_always_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
