// SPDX-License-Identifier: Apache-2.0
// CloudEvents in and out: the same event in binary and in structured mode is the same event, and
// without type, source, id or specversion it is none (R70).
#include "core/event.h"
#include "core/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// cmocka wants the headers above it
#include <cmocka.h>

enum { ATTRIBUTES_MAX = 12 };

// An event as its producer means it: attributes in order, and data.
struct meant {
    const char *names[ATTRIBUTES_MAX];
    const char *values[ATTRIBUTES_MAX];
    size_t count;
    const char *data;
};

static const struct meant order = {
    .names = {"specversion", "id", "source", "type", "subject", "tenant", "dataclass",
              "traceparent"},
    .values = {"1.0", "e-1 \"quoted\"", "/shop/\xc3\xa4", "order.placed", "order/1", "acme", "pii",
               "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    .count = 8,
    .data = "{\"order_id\":\"4711\",\"items\":[1,2.50,null]}",
};

static struct arena arena;
static struct err_text text;

// CloudEvents 1.0, Kafka protocol binding 3.2: attributes are headers with the prefix "ce_";
// traceparent is the plain header that every tracing library writes.
static struct record binary(const struct meant *meant)
{
    static struct header headers[ATTRIBUTES_MAX];
    static char names[ATTRIBUTES_MAX][40];
    for (size_t i = 0; i < meant->count; i++) {
        bool trace = strcmp(meant->names[i], "traceparent") == 0;
        snprintf(names[i], sizeof names[i], "%s%s", trace ? "" : "ce_", meant->names[i]);
        headers[i] = (struct header){slice_str(names[i]), slice_str(meant->values[i])};
    }
    return (struct record){.topic = SLICE_LIT("orders"),
                           .value = slice_str(meant->data),
                           .headers = headers,
                           .header_count = meant->count};
}

// Section 3.3: one JSON document.
static struct record structured(const struct meant *meant)
{
    static struct header header = {{"content-type", 12},
                                   {"application/cloudevents+json; charset=UTF-8", 43}};
    struct buf doc = {0};
    for (size_t i = 0; i < meant->count; i++) {
        buf_str(&doc, i == 0 ? "{" : ",");
        buf_json_str(&doc, slice_str(meant->names[i]));
        buf_byte(&doc, ':');
        buf_json_str(&doc, slice_str(meant->values[i]));
    }
    buf_str(&doc, ",\"data\":");
    buf_str(&doc, meant->data);
    buf_byte(&doc, '}');
    struct slice value = buf_take(&doc, 0, &arena);
    buf_fini(&doc);
    return (struct record){
        .topic = SLICE_LIT("orders"), .value = value, .headers = &header, .header_count = 1};
}

static enum ka_err parse(struct record record, struct event *event)
{
    return event_parse(&record, SLICE_LIT("default.type"), &arena, event, &text);
}

static void assert_text(struct slice found, const char *expected)
{
    if (!slice_eq(found, slice_str(expected)))
        fail_msg("expected \"%s\", found \"%.*s\"", expected, SLICE_FMT(found));
}

static void assert_is_order(const struct event *event)
{
    assert_text(event->id, order.values[1]);
    assert_text(event->source, order.values[2]);
    assert_text(event->type, order.values[3]);
    assert_text(event->subject, order.values[4]);
    assert_text(event->tenant, order.values[5]);
    assert_text(event->dataclass, order.values[6]);
    assert_text(event->traceparent, order.values[7]);
    assert_text(event->data, order.data);
}

static void both_modes_carry_the_same_event(void **state)
{
    (void)state;
    struct event event;
    assert_int_equal(parse(binary(&order), &event), KA_OK);
    assert_is_order(&event);
    assert_int_equal(parse(structured(&order), &event), KA_OK);
    assert_is_order(&event);
}

// What one mode gave, written in the other, is read as the same event: there and back.
static void an_event_goes_from_one_mode_to_the_other_and_back(void **state)
{
    (void)state;
    struct event event;
    assert_int_equal(parse(binary(&order), &event), KA_OK);
    for (int turn = 0; turn < 4; turn++) {
        const char *values[] = {"1.0",
                                arena_str(&arena, event.id),
                                arena_str(&arena, event.source),
                                arena_str(&arena, event.type),
                                arena_str(&arena, event.subject),
                                arena_str(&arena, event.tenant),
                                arena_str(&arena, event.dataclass),
                                arena_str(&arena, event.traceparent)};
        struct meant again = order;
        for (size_t i = 0; i < order.count; i++)
            again.values[i] = values[i];
        again.data = arena_str(&arena, event.data);
        assert_int_equal(parse(turn % 2 == 0 ? structured(&again) : binary(&again), &event), KA_OK);
        assert_is_order(&event);
    }
}

static struct meant without(size_t attribute)
{
    struct meant less = order;
    less.count--;
    for (size_t i = attribute; i < less.count; i++) {
        less.names[i] = order.names[i + 1];
        less.values[i] = order.values[i + 1];
    }
    return less;
}

static void without_a_required_attribute_it_is_refused_in_both_modes(void **state)
{
    (void)state;
    struct event event;
    for (size_t i = 0; i < 4; i++) { // specversion, id, source, type
        struct meant less = without(i);
        assert_int_equal(parse(binary(&less), &event), KA_ERR_ENVELOPE);
        assert_non_null(strstr(text.text, order.names[i]));
        assert_int_equal(parse(structured(&less), &event), KA_ERR_ENVELOPE);
        assert_non_null(strstr(text.text, order.names[i]));
    }
    for (size_t i = 4; i < order.count; i++) { // the others may be left out
        struct meant less = without(i);
        assert_int_equal(parse(binary(&less), &event), KA_OK);
        assert_int_equal(parse(structured(&less), &event), KA_OK);
    }
}

static void an_empty_required_attribute_is_refused_too(void **state)
{
    (void)state;
    struct event event;
    for (size_t i = 0; i < 4; i++) {
        struct meant empty = order;
        empty.values[i] = "";
        assert_int_equal(parse(binary(&empty), &event), KA_ERR_ENVELOPE);
        assert_int_equal(parse(structured(&empty), &event), KA_ERR_ENVELOPE);
    }
}

static void a_version_that_is_not_ours_is_refused(void **state)
{
    (void)state;
    struct event event;
    struct meant other = order;
    other.values[0] = "2.0";
    assert_int_equal(parse(binary(&other), &event), KA_ERR_ENVELOPE);
    assert_int_equal(parse(structured(&other), &event), KA_ERR_ENVELOPE);
    other.values[0] = "1.1"; // a later one of the same major version
    assert_int_equal(parse(binary(&other), &event), KA_OK);
}

static void a_broken_trace_does_not_refuse_the_event(void **state)
{
    (void)state;
    struct event event;
    struct meant traced = order;
    traced.values[7] = "00-not-a-trace-01";
    assert_int_equal(parse(binary(&traced), &event), KA_OK);
    assert_true(slice_none(event.traceparent));
    assert_int_equal(parse(structured(&traced), &event), KA_OK);
    assert_true(slice_none(event.traceparent));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_modes_carry_the_same_event),
        cmocka_unit_test(an_event_goes_from_one_mode_to_the_other_and_back),
        cmocka_unit_test(without_a_required_attribute_it_is_refused_in_both_modes),
        cmocka_unit_test(an_empty_required_attribute_is_refused_too),
        cmocka_unit_test(a_version_that_is_not_ours_is_refused),
        cmocka_unit_test(a_broken_trace_does_not_refuse_the_event),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_fini(&arena);
    return failed;
}
