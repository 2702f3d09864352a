// SPDX-License-Identifier: Apache-2.0
// What kasaga dev is made of: its configuration, its orders, and what it shows.
#include "cmd/dev_view.h"
#include "core/json.h"
#include "engine/demo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct err_text text;
static struct arena arena;
static struct buf shown;

static bool holds(const struct buf *buf, const char *part)
{
    struct slice all = buf_slice(buf);
    return memmem(all.ptr, all.len, part, strlen(part)) != NULL;
}

static struct config *load(const struct demo_options *options)
{
    struct buf made = {0};
    struct config *config = NULL;
    struct conf_report report = {0};
    assert_int_equal(demo_text(options, &made, &text), KA_OK);
    assert_int_equal(io_conf_parse(buf_slice(&made), &config, &report), KA_OK);
    conf_report_fini(&report);
    buf_fini(&made);
    return config;
}

static void the_configuration_is_in_the_binary(void **state)
{
    (void)state;
    struct demo_options options = {.fail_every = 10};
    struct config *config = load(&options);
    assert_string_equal(config->app, "shop");
    assert_string_equal(config->routes[0].topic, "orders");
    assert_true(slice_eq(io_conf_action(config, "payment.charge")->options,
                         SLICE_LIT("{\"fail_every\":10}")));
    assert_string_equal(config->sagas[0].steps[2].name, "charge");
    io_conf_free(&config);
}

static void an_app_of_its_own_has_topics_of_its_own(void **state)
{
    (void)state;
    struct demo_options options = {.app = "dev-1f", .fail_every = 7};
    struct config *config = load(&options);
    assert_string_equal(config->app, "dev-1f");
    assert_string_equal(config->routes[0].topic, "dev-1f.orders");
    assert_true(slice_eq(io_conf_action(config, "payment.charge")->options,
                         SLICE_LIT("{\"fail_every\":7}")));
    io_conf_free(&config);
}

static void the_third_order_is_the_first_to_be_refused(void **state)
{
    (void)state;
    for (int64_t every = 1; every < 200; every++) {
        int64_t first = demo_first(every);
        assert_in_range(first, 1001, 1001 + every);
        assert_int_equal((first + 2) % every, 0);
    }
    assert_int_equal(demo_first(0), 1001);
}

static void an_order_is_valid_and_always_the_same(void **state)
{
    (void)state;
    struct buf one = {0}, two = {0};
    for (int64_t number = 1; number < 300; number += 13) {
        int64_t total, quantity;
        buf_clear(&one);
        buf_clear(&two);
        demo_order(number, &one);
        demo_order(number, &two);
        assert_true(slice_eq(buf_slice(&one), buf_slice(&two)));
        assert_int_equal(json_validate(buf_slice(&one), &text), KA_OK);
        assert_true(json_i64(json_member(buf_slice(&one), SLICE_LIT("total")), &total));
        assert_true(json_i64(json_member(buf_slice(&one), SLICE_LIT("quantity")), &quantity));
        assert_true(total > 0 && quantity > 0);
    }
    buf_fini(&one);
    buf_fini(&two);
}

// One history document into the view; false if it was a repetition.
static bool show(struct dev_view *view, const char *key, int sequence, const char *type,
                 const char *data)
{
    char doc[512];
    struct history_line line;
    snprintf(doc, sizeof doc,
             "{\"specversion\":\"1.0\",\"type\":\"kasaga.%s\",\"subject\":\"%s\","
             "\"time\":\"2026-11-21T10:20:30.500Z\",\"sagaid\":\"%s@0\",\"sequence\":%d,"
             "\"step\":\"charge\",\"data\":{%s}}",
             type, key, key, sequence, data);
    assert_true(history_line_parse(slice_str(doc), &arena, &line));
    buf_clear(&shown);
    return dev_view_line(view, slice_str(key), &line, &shown);
}

static struct dev_view view_of(int64_t orders)
{
    // 2026-11-21T10:20:30.000Z
    struct dev_view view = {.started_ms = 1795256430000, .first = 1008};
    for (int64_t i = 0; i < orders; i++)
        dev_view_add(&view);
    return view;
}

static void each_end_counts_once(void **state)
{
    (void)state;
    struct dev_view view = view_of(3);
    assert_true(show(&view, "order/1008", 0, "saga.started", ""));
    assert_true(show(&view, "order/1008", 5, "saga.completed", "\"duration_ms\":12"));
    assert_false(show(&view, "order/1008", 0, "saga.started", ""));
    assert_false(show(&view, "order/1008", 5, "saga.completed", "\"duration_ms\":12"));
    assert_int_equal(shown.len, 0);
    assert_true(show(&view, "order/1010", 8, "saga.compensated", "\"duration_ms\":3"));
    assert_int_equal(view.ended[SAGA_END_COMPLETED], 1);
    assert_int_equal(view.ended[SAGA_END_COMPENSATED], 1);
    assert_int_equal(view.first_compensated_ms, 500);
    assert_int_equal(dev_view_unfinished(&view), 1);
    dev_view_fini(&view);
}

static void orders_of_others_are_shown_but_not_counted(void **state)
{
    (void)state;
    struct dev_view view = view_of(1);
    const char *const keys[] = {
        "order/mine", "order/", "order/1009", "order/999", "order/99999999999999999999",
        "refund/1008"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        assert_true(show(&view, keys[i], 5, "saga.completed", "\"duration_ms\":1"));
        assert_true(holds(&shown, "COMPLETED in 1 ms"));
    }
    assert_int_equal(dev_view_unfinished(&view), 1);
    dev_view_fini(&view);
}

static void a_saga_that_was_stuck_can_still_end_well(void **state)
{
    (void)state;
    struct dev_view view = view_of(1);
    assert_true(show(&view, "order/1008", 5, "saga.stuck", "\"message\":\"no answer\""));
    assert_true(holds(&shown, "STUCK  no answer"));
    assert_int_equal(view.ended[SAGA_END_STUCK], 1);
    assert_true(show(&view, "order/1008", 9, "saga.completed", "\"duration_ms\":1"));
    assert_int_equal(view.ended[SAGA_END_STUCK], 0);
    assert_int_equal(dev_view_unfinished(&view), 0);
    dev_view_fini(&view);
}

static void a_line_says_saga_step_and_what_happened(void **state)
{
    (void)state;
    struct dev_view view = view_of(1);
    show(&view, "order/1008", 1, "step.failed", "\"message\":\"no\\u0007\\u001b[2J money\"");
    assert_true(slice_eq(buf_slice(&shown),
                         SLICE_LIT("  0.500  order/1008   charge    refused  no??[2J money\n")));
    show(&view, "order/1008", 2, "compensation.completed", "\"result\":{\"refund\":\"r\"}");
    assert_true(
        slice_eq(buf_slice(&shown),
                 SLICE_LIT("  0.500  order/1008   charge    undone  {\"refund\":\"r\"}\n")));
    show(&view, "order/1008", 3, "step.started", "");
    assert_int_equal(shown.len, 0);
    view.color = true;
    show(&view, "order/1008", 4, "step.completed", "");
    assert_true(holds(&shown, "\033["));
    dev_view_fini(&view);
}

static void jsonl_is_the_history_one_document_per_line(void **state)
{
    (void)state;
    struct dev_view view = view_of(1);
    view.output = CMD_JSONL;
    show(&view, "order/1008", 0, "saga.started", "\"data\":{\"a\":\n1}");
    assert_true(holds(&shown, "\"type\":\"kasaga.saga.started\""));
    assert_ptr_equal(memchr(shown.ptr, '\n', shown.len), shown.ptr + shown.len - 1);
    buf_clear(&shown);
    dev_view_summary(&view, view.started_ms + 1500, &shown);
    assert_int_equal(json_validate(buf_slice(&shown), &text), KA_OK);
    assert_true(holds(&shown, "\"unfinished\":1,\"milliseconds\":1500"));
    dev_view_fini(&view);
}

static void the_summary_says_all_that_is_known(void **state)
{
    (void)state;
    struct dev_view view = view_of(2);
    show(&view, "order/1008", 5, "saga.completed", "\"duration_ms\":1");
    show(&view, "order/1009", 5, "saga.compensated", "\"duration_ms\":1");
    buf_clear(&shown);
    dev_view_summary(&view, view.started_ms + 2000, &shown);
    assert_true(slice_eq(buf_slice(&shown),
                         SLICE_LIT("2 orders: 1 completed, 1 compensated in 2.0 s; the first "
                                   "compensated saga after 0.5 s\n")));
    dev_view_fini(&view);
}

static int free_memory(void **state)
{
    (void)state;
    arena_fini(&arena);
    buf_fini(&shown);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_configuration_is_in_the_binary),
        cmocka_unit_test(an_app_of_its_own_has_topics_of_its_own),
        cmocka_unit_test(the_third_order_is_the_first_to_be_refused),
        cmocka_unit_test(an_order_is_valid_and_always_the_same),
        cmocka_unit_test(each_end_counts_once),
        cmocka_unit_test(orders_of_others_are_shown_but_not_counted),
        cmocka_unit_test(a_saga_that_was_stuck_can_still_end_well),
        cmocka_unit_test(a_line_says_saga_step_and_what_happened),
        cmocka_unit_test(jsonl_is_the_history_one_document_per_line),
        cmocka_unit_test(the_summary_says_all_that_is_known),
    };
    return cmocka_run_group_tests_name("dev", tests, NULL, free_memory);
}
