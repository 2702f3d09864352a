// SPDX-License-Identifier: Apache-2.0
#include "core/meta.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
// cmocka wants the headers above it
#include <cmocka.h>

static const char plain[] = "k1;us-west-1.s0;77:12;4000;815;1790000000123;5;9;3;1;0;2";

static enum ka_err parse(const char *text, struct meta *meta)
{
    return meta_parse(slice_str(text), meta, NULL);
}

static struct meta sample(void)
{
    return (struct meta){.present = true,
                         .node = SLICE_LIT("us-west-1"),
                         .lane = SLICE_LIT("s0"),
                         .incarnation = 77,
                         .number = 12,
                         .low_water = 4000,
                         .sum = 815,
                         .time_ms = 1790000000123,
                         .counts = {5, 9, 3, 1, 0, 2}};
}

static void the_written_form_is_fixed(void **state)
{
    (void)state;
    struct buf buf = {0};
    struct meta meta = sample();
    meta_format(&meta, &buf);
    assert_true(slice_eq(buf_slice(&buf), slice_str(plain)));
    buf_clear(&buf);
    meta_token(&meta, &buf);
    assert_true(slice_eq(buf_slice(&buf), SLICE_LIT("77:12")));
    buf_fini(&buf);
}

static void what_was_written_is_read_back(void **state)
{
    (void)state;
    struct meta meta;
    assert_int_equal(parse(plain, &meta), KA_OK);
    assert_true(meta.present);
    assert_true(slice_eq(meta.node, SLICE_LIT("us-west-1")));
    assert_true(slice_eq(meta.lane, SLICE_LIT("s0")));
    assert_int_equal(meta.incarnation, 77);
    assert_int_equal(meta.number, 12);
    assert_int_equal(meta.low_water, 4000);
    assert_int_equal(meta.sum, 815);
    assert_int_equal(meta.time_ms, 1790000000123);
    assert_int_equal(meta.counts.live, 5);
    assert_int_equal(meta.counts.started, 9);
    assert_int_equal(meta.counts.completed, 3);
    assert_int_equal(meta.counts.compensated, 1);
    assert_int_equal(meta.counts.stuck, 0);
    assert_int_equal(meta.counts.terminated, 2);
}

static void the_end_of_the_audit_chain_rides_along(void **state)
{
    (void)state;
    struct buf buf = {0};
    struct meta meta = sample();
    struct meta read;
    meta.audit.sequence = 3;
    for (int i = 0; i < META_HASH_SIZE; i++)
        meta.audit.hash[i] = (unsigned char)(0xF0 + i);
    meta_format(&meta, &buf);
    struct slice end =
        SLICE_LIT(";5;9;3;1;0;2;3;"
                  "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff000102030405060708090a0b0c0d0e0f");
    assert_true(slice_starts(buf_slice(&buf), SLICE_LIT("k2;us-west-1.s0;")));
    assert_memory_equal(buf.ptr + buf.len - end.len, end.ptr, end.len);
    assert_int_equal(meta_parse(buf_slice(&buf), &read, NULL), KA_OK);
    assert_memory_equal(&read.audit, &meta.audit, sizeof read.audit);
    for (size_t len = 3; len < buf.len; len++)
        assert_int_equal(meta_parse(slice_of(buf.ptr, len), &read, NULL), KA_ERR_ENVELOPE);
    buf.ptr[buf.len - 1] = 'F'; // not as we write it
    assert_int_equal(meta_parse(buf_slice(&buf), &read, NULL), KA_ERR_ENVELOPE);
    buf_fini(&buf);
}

static void the_longest_metadata_fits(void **state)
{
    (void)state;
    char node[META_NODE_MAX];
    char lane[META_LANE_MAX];
    memset(node, 'n', sizeof node);
    memset(lane, 'l', sizeof lane);
    int64_t max = INT64_MAX;
    struct meta meta = {.node = slice_of(node, sizeof node),
                        .lane = slice_of(lane, sizeof lane),
                        .incarnation = max,
                        .number = max,
                        .low_water = max,
                        .time_ms = max,
                        .sum = max,
                        .counts = {max, max, max, max, max, max},
                        .audit = {.sequence = max}};
    struct buf buf = {0};
    meta_format(&meta, &buf);
    struct meta read;
    assert_int_equal(meta_parse(buf_slice(&buf), &read, NULL), KA_OK);
    assert_int_equal(read.counts.terminated, max);
    meta.present = true;
    assert_true(meta_same_commit(&meta, &read));
    buf_fini(&buf);
}

static void nothing_committed_is_not_an_error(void **state)
{
    (void)state;
    struct meta meta = sample();
    assert_int_equal(meta_parse(SLICE_NONE, &meta, NULL), KA_OK);
    assert_false(meta.present);
    meta = sample();
    assert_int_equal(parse("", &meta), KA_OK);
    assert_false(meta.present);
    assert_int_equal(meta.low_water, 0);
}

static void another_version_is_named(void **state)
{
    (void)state;
    struct err_text text = {0};
    struct meta meta;
    assert_int_equal(meta_parse(SLICE_LIT("k3;whatever"), &meta, &text), KA_ERR_VERSION);
    assert_string_equal(text.text, "offset metadata of version 3: \"k3;whatever\"");
    assert_int_equal(parse("k0", &meta), KA_ERR_VERSION);
    assert_int_equal(parse("k10;a.b", &meta), KA_ERR_VERSION);
}

static void garbage_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "hello",
        "k",
        "k1",
        "k1;",
        ";",
        "k01;a.s0;1:1;0;0;0;0;0;0;0;0;0",
        "K1;a.s0;1:1;0;0;0;0;0;0;0;0;0",
        "k1;a.s0;1:1;0;0;0;0;0;0;0;0",                     // a field is missing
        "k1;a.s0;1:1;0;0;0;0;0;0;0;0;",                    // the last one is empty
        "k1;a.s0;1:1;0;0;0;0;0;0;0;0;0;",                  // one separator too many
        "k1;a.s0;1:1;0;0;0;0;0;0;0;0;0;0",                 // one field too many
        "k1;a.s0;1:1;0;0;0;0;0;0;0;0;0 ",                  // a blank
        "k1;a.s0;1:1;0;00;0;0;0;0;0;0;0",                  // leading zero
        "k1;a.s0;1:1;0;-1;0;0;0;0;0;0;0",                  // sign
        "k1;a.s0;1:1;0;+1;0;0;0;0;0;0;0",                  // sign
        "k1;a.s0;1;0;0;0;0;0;0;0;0;0",                     // half a token
        "k1;a.s0;1:2:3;0;0;0;0;0;0;0;0;0",                 // a token and a half
        "k1;s0;1:1;0;0;0;0;0;0;0;0;0",                     // no node
        "k1;.s0;1:1;0;0;0;0;0;0;0;0;0",                    // empty node
        "k1;a.;1:1;0;0;0;0;0;0;0;0;0",                     // empty lane
        "k1;a b.s0;1:1;0;0;0;0;0;0;0;0;0",                 // blank in a name
        "k1;a.s0;1:1;0;9223372036854775808;0;0;0;0;0;0;0", // beyond int64
        "k1;a.s0;1:1;0;99999999999999999999;0;0;0;0;0;0;0",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct meta meta = sample();
        assert_int_equal(parse(bad[i], &meta), KA_ERR_ENVELOPE);
        assert_false(meta.present);
        assert_int_equal(meta.incarnation, 0);
    }
}

static void every_prefix_is_refused(void **state)
{
    (void)state;
    struct meta meta;
    for (size_t len = 1; len < sizeof plain - 1; len++)
        assert_int_equal(meta_parse(slice_of(plain, len), &meta, NULL), KA_ERR_ENVELOPE);
}

static void zero_bytes_are_refused(void **state)
{
    (void)state;
    char text[sizeof plain - 1];
    struct meta meta;
    for (size_t i = 0; i < sizeof text; i++) {
        memcpy(text, plain, sizeof text);
        text[i] = '\0';
        assert_int_equal(meta_parse(slice_of(text, sizeof text), &meta, NULL), KA_ERR_ENVELOPE);
    }
}

static void a_node_may_have_dots_a_lane_not(void **state)
{
    (void)state;
    struct meta meta;
    assert_int_equal(parse("k1;host.example.org.s0;1:1;0;0;0;0;0;0;0;0;0", &meta), KA_OK);
    assert_true(slice_eq(meta.node, SLICE_LIT("host.example.org")));
    assert_true(slice_eq(meta.lane, SLICE_LIT("s0")));
    assert_true(meta_node_ok(SLICE_LIT("host.example.org")));
    assert_false(meta_lane_ok(SLICE_LIT("s.0")));
    assert_false(meta_node_ok(SLICE_LIT("a;b")));
    assert_false(meta_node_ok(SLICE_NONE));
}

static void a_commit_is_the_same_only_if_lane_and_token_are(void **state)
{
    (void)state;
    struct meta a = sample();
    struct meta b = sample();
    b.low_water = 1;
    assert_true(meta_same_commit(&a, &b));
    b.number++;
    assert_false(meta_same_commit(&a, &b));
    b = sample();
    b.lane = SLICE_LIT("s1");
    assert_false(meta_same_commit(&a, &b));
    struct meta absent = {0};
    assert_false(meta_same_commit(&absent, &absent));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_written_form_is_fixed),
        cmocka_unit_test(what_was_written_is_read_back),
        cmocka_unit_test(the_end_of_the_audit_chain_rides_along),
        cmocka_unit_test(the_longest_metadata_fits),
        cmocka_unit_test(nothing_committed_is_not_an_error),
        cmocka_unit_test(another_version_is_named),
        cmocka_unit_test(garbage_is_refused),
        cmocka_unit_test(every_prefix_is_refused),
        cmocka_unit_test(zero_bytes_are_refused),
        cmocka_unit_test(a_node_may_have_dots_a_lane_not),
        cmocka_unit_test(a_commit_is_the_same_only_if_lane_and_token_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
