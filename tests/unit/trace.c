// SPDX-License-Identifier: Apache-2.0
#include "core/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// cmocka wants the headers above it
#include <cmocka.h>

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define SPAN "b7ad6b7169203331"
#define GOOD "00-" TRACE "-" SPAN "-01"

static bool ok(const char *text)
{
    return trace_parent_ok(slice_str(text));
}

static void what_the_specification_shows_is_taken(void **state)
{
    (void)state;
    assert_true(ok(GOOD));
    assert_true(ok("00-" TRACE "-" SPAN "-00"));
    assert_true(ok("cc-" TRACE "-" SPAN "-01"));
    assert_true(ok("cc-" TRACE "-" SPAN "-01-what-comes-later"));
}

static void what_is_no_traceparent_is_not_taken(void **state)
{
    (void)state;
    assert_false(trace_parent_ok(SLICE_NONE));
    static const char *const bad[] = {
        "",
        "00-1",
        "ff-" TRACE "-" SPAN "-01",
        "00-" TRACE "-" SPAN "-01-more",
        "cc-" TRACE "-" SPAN "-01more",
        "00-" TRACE "-" SPAN "-0",
        "00-0AF7651916CD43DD8448EB211C80319C-" SPAN "-01",
        "00-00000000000000000000000000000000-" SPAN "-01",
        "00-" TRACE "-0000000000000000-01",
        "00_" TRACE "-" SPAN "-01",
        "00-" TRACE "_" SPAN "-01",
        "00-" TRACE "-" SPAN "_01",
        "00-" TRACE "-b7ad6b716920333g-01",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(ok(bad[i]));
}

static void a_child_has_the_trace_and_a_span_of_its_own(void **state)
{
    (void)state;
    char room[TRACE_PARENT_LEN], again[TRACE_PARENT_LEN], other[TRACE_PARENT_LEN];
    struct slice child = trace_child(SLICE_LIT(GOOD), 7, room);
    assert_true(trace_parent_ok(child));
    assert_memory_equal(child.ptr, "00-" TRACE "-", 36);
    assert_memory_not_equal(child.ptr + 36, SPAN, 16);
    assert_memory_equal(child.ptr + 52, "-01", 3);
    assert_true(slice_eq(child, trace_child(SLICE_LIT(GOOD), 7, again)));
    assert_false(slice_eq(child, trace_child(SLICE_LIT(GOOD), 8, other)));
}

static void a_later_version_is_answered_in_ours(void **state)
{
    (void)state;
    char room[TRACE_PARENT_LEN];
    struct slice child = trace_child(SLICE_LIT("cc-" TRACE "-" SPAN "-01-later"), 7, room);
    assert_true(trace_parent_ok(child));
    assert_memory_equal(child.ptr, "00-" TRACE, 35);
}

static void what_is_no_parent_comes_back(void **state)
{
    (void)state;
    char room[TRACE_PARENT_LEN];
    assert_true(slice_eq(trace_child(SLICE_LIT("00-1"), 7, room), SLICE_LIT("00-1")));
    assert_true(slice_none(trace_child(SLICE_NONE, 7, room)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_specification_shows_is_taken),
        cmocka_unit_test(what_is_no_traceparent_is_not_taken),
        cmocka_unit_test(a_child_has_the_trace_and_a_span_of_its_own),
        cmocka_unit_test(a_later_version_is_answered_in_ours),
        cmocka_unit_test(what_is_no_parent_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
