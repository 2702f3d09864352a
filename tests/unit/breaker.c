// SPDX-License-Identifier: Apache-2.0
// The circuit breaker as a table: what happens, when, and what it is then.
#include "core/breaker.h"
#include "core/health.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka wants the headers above it
#include <cmocka.h>

static const struct breaker_config config = {.threshold = 5, .timeout_ms = 60000};

// f = a failure, s = a success, a = asked and allowed, r = asked and refused.
static const struct row {
    int64_t at_ms;
    char what;
    enum breaker_state then;
} story[] = {
    {0, 'a', BREAKER_CLOSED},
    {1, 'f', BREAKER_CLOSED},
    {2, 'f', BREAKER_CLOSED},
    {3, 's', BREAKER_CLOSED}, // in a row: counted anew
    {10, 'f', BREAKER_CLOSED},
    {11, 'f', BREAKER_CLOSED},
    {12, 'f', BREAKER_CLOSED},
    {13, 'f', BREAKER_CLOSED},
    {14, 'a', BREAKER_CLOSED},
    {20, 'f', BREAKER_OPEN},
    {21, 'r', BREAKER_OPEN},
    {30000, 'f', BREAKER_OPEN}, // of a request from before: the time goes on
    {60019, 'r', BREAKER_OPEN},
    {60020, 'a', BREAKER_HALF_OPEN}, // the probe
    {60021, 'r', BREAKER_HALF_OPEN}, // and no other
    {60030, 'f', BREAKER_OPEN},
    {120029, 'r', BREAKER_OPEN},
    {120030, 'a', BREAKER_HALF_OPEN},
    {120040, 's', BREAKER_CLOSED},
    {120041, 'a', BREAKER_CLOSED},
    {120042, 'f', BREAKER_CLOSED},
};

static void it_goes_as_the_table_says(void **state)
{
    (void)state;
    struct breaker breaker = {.failures = 0};
    for (size_t i = 0; i < sizeof story / sizeof story[0]; i++) {
        const struct row *row = &story[i];
        if (row->what == 'f')
            breaker_failed(&breaker, &config, row->at_ms);
        else if (row->what == 's')
            breaker_succeeded(&breaker);
        else
            assert_int_equal(breaker_allows(&breaker, &config, row->at_ms), row->what == 'a');
        assert_int_equal(breaker.state, row->then);
    }
    assert_int_equal(breaker.openings, 2);
}

static void it_says_when_to_ask_again(void **state)
{
    (void)state;
    struct breaker breaker = {.failures = 0};
    assert_true(breaker_next_ms(&breaker, &config) == INT64_MIN);
    for (int i = 0; i < 5; i++)
        breaker_failed(&breaker, &config, 1000);
    assert_true(breaker_next_ms(&breaker, &config) == 61000);
    assert_true(breaker_allows(&breaker, &config, 61000));
    assert_true(breaker_next_ms(&breaker, &config) == INT64_MAX);
}

static void a_success_of_the_data_closes_it_at_once(void **state)
{
    (void)state;
    struct breaker breaker = {.failures = 0};
    for (int i = 0; i < 5; i++)
        breaker_failed(&breaker, &config, 1000);
    breaker_succeeded(&breaker);
    assert_string_equal(breaker_state_name(breaker.state), "closed");
    assert_true(breaker_allows(&breaker, &config, 1001));
}

static void a_region_is_up_while_it_was_heard_within_two_intervals(void **state)
{
    (void)state;
    struct health health = {.interval_ms = 5000};
    assert_false(health_up(&health, 1)); // never heard, though somebody was started
    health.heard_ms = 100000;
    assert_true(health_up(&health, 110000));
    assert_false(health_up(&health, 110001));
    health.heard_ms = 110001; // back
    assert_true(health_up(&health, 110001));
    health.breaker = BREAKER_OPEN;
    assert_false(health_up(&health, 110001));
    health.breaker = BREAKER_HALF_OPEN;
    assert_false(health_up(&health, 110001));
}

static void short_intervals_count_as_two_seconds(void **state)
{
    (void)state;
    struct health health = {.heard_ms = 1000, .interval_ms = 100};
    assert_true(health_up(&health, 5000));
    assert_false(health_up(&health, 5001));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_region_is_up_while_it_was_heard_within_two_intervals),
        cmocka_unit_test(short_intervals_count_as_two_seconds),
        cmocka_unit_test(it_goes_as_the_table_says),
        cmocka_unit_test(it_says_when_to_ask_again),
        cmocka_unit_test(a_success_of_the_data_closes_it_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
