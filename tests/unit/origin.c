// SPDX-License-Identifier: Apache-2.0
// The header kasaga-origin: its bytes, and what is not one.
#include "core/origin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// cmocka wants the headers above it
#include <cmocka.h>

static struct origin sample(void)
{
    return (struct origin){.cluster = SLICE_LIT("LrpE6kr2k1n4g4JMqh3tnw"),
                           .topic = SLICE_LIT("orders"),
                           .partition = 7,
                           .offset = 1234567890123,
                           .visited = {SLICE_LIT("one"), SLICE_LIT("two")},
                           .visited_count = 2};
}

static void it_is_read_back(void **state)
{
    (void)state;
    struct buf buf = {0};
    struct origin written = sample(), read;
    origin_encode(&written, &buf);
    assert_int_equal(origin_decode(buf_slice(&buf), &read, NULL), KA_OK);
    assert_true(slice_eq(read.cluster, written.cluster) && slice_eq(read.topic, written.topic));
    assert_int_equal(read.partition, 7);
    assert_int_equal(read.offset, 1234567890123);
    assert_int_equal(read.visited_count, 2);
    assert_true(slice_eq(read.visited[1], SLICE_LIT("two")));
    buf_fini(&buf);
}

static void every_prefix_of_it_is_refused(void **state)
{
    (void)state;
    struct buf buf = {0};
    struct origin origin = sample(), read;
    struct err_text text;
    origin_encode(&origin, &buf);
    for (size_t len = 0; len < buf.len; len++)
        assert_int_not_equal(origin_decode(slice_of(buf.ptr, len), &read, &text), KA_OK);
    buf_byte(&buf, 0);
    assert_int_equal(origin_decode(buf_slice(&buf), &read, &text), KA_ERR_ENVELOPE);
    buf_fini(&buf);
}

static void another_version_is_named_and_not_taken_for_none(void **state)
{
    (void)state;
    struct buf buf = {0};
    struct origin origin = sample();
    struct err_text text;
    origin_encode(&origin, &buf);
    buf.ptr[0] = 2;
    assert_int_equal(origin_decode(buf_slice(&buf), &origin, &text), KA_ERR_VERSION);
    assert_non_null(strstr(text.text, "version 2"));
    buf_fini(&buf);
}

static void the_clusters_on_its_way_are_known(void **state)
{
    (void)state;
    struct origin origin = sample();
    assert_true(origin_has_visited(&origin, origin.cluster));
    assert_true(origin_has_visited(&origin, SLICE_LIT("two")));
    assert_false(origin_has_visited(&origin, SLICE_LIT("three")));
}

static void a_null_header_of_that_name_is_there(void **state)
{
    (void)state;
    struct header headers[] = {{SLICE_LIT("a"), SLICE_LIT("b")}, {ORIGIN_HEADER, SLICE_NONE}};
    struct record with = {.headers = headers, .header_count = 2};
    struct record without = {.headers = headers, .header_count = 1};
    assert_false(slice_none(origin_of(&with)));
    assert_true(slice_none(origin_of(&without)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_read_back),
        cmocka_unit_test(every_prefix_of_it_is_refused),
        cmocka_unit_test(another_version_is_named_and_not_taken_for_none),
        cmocka_unit_test(the_clusters_on_its_way_are_known),
        cmocka_unit_test(a_null_header_of_that_name_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
