// SPDX-License-Identifier: Apache-2.0
#include "core/avrobin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
// cmocka wants the headers above it
#include <cmocka.h>

static const uint64_t fingerprint = UINT64_C(0x1122334455667788);
static const char header[] = "\xC3\x01\x88\x77\x66\x55\x44\x33\x22\x11";

// A reader behind the header of `body`; the bytes live in a static buffer.
static struct avrobin_reader reader_of(const void *body, size_t len)
{
    static char bytes[256];
    assert_true(len + sizeof header - 1 <= sizeof bytes);
    memcpy(bytes, header, sizeof header - 1);
    memcpy(bytes + sizeof header - 1, body, len);
    struct avrobin_reader reader;
    uint64_t found = 0;
    assert_int_equal(avrobin_open(&reader, slice_of(bytes, len + sizeof header - 1), &found, NULL),
                     KA_OK);
    assert_true(found == fingerprint);
    return reader;
}

#define READER(literal) reader_of(literal, sizeof(literal) - 1)

static void assert_refused(struct avrobin_reader *reader, const char *expected)
{
    struct err_text text = {""};
    assert_int_equal(avrobin_close(reader, &text), KA_ERR_AVRO);
    assert_string_equal(text.text, expected);
}

static void longs_are_zigzag_as_in_the_specification(void **state)
{
    (void)state;
    static const struct {
        int64_t value;
        const char *bytes;
        size_t len;
    } rows[] = {{0, "\x00", 1},
                {-1, "\x01", 1},
                {1, "\x02", 1},
                {-64, "\x7f", 1},
                {64, "\x80\x01", 2},
                {INT64_MAX, "\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10},
                {INT64_MIN, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10}};
    struct buf buf = {0};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        buf_clear(&buf);
        avrobin_put_long(&buf, rows[i].value);
        assert_true(slice_eq(buf_slice(&buf), slice_of(rows[i].bytes, rows[i].len)));
        struct avrobin_reader reader = reader_of(rows[i].bytes, rows[i].len);
        assert_true(avrobin_long(&reader, "n", INT64_MIN, INT64_MAX) == rows[i].value);
        assert_int_equal(avrobin_close(&reader, NULL), KA_OK);
    }
    buf_fini(&buf);
}

static void every_length_of_a_long_is_read_back(void **state)
{
    (void)state;
    struct buf buf = {0};
    for (int bit = 0; bit < 63; bit++) {
        for (int64_t off = -1; off <= 1; off++) {
            int64_t value = ((int64_t)1 << bit) + off;
            buf_clear(&buf);
            avrobin_put_long(&buf, value);
            avrobin_put_long(&buf, -value);
            struct avrobin_reader reader = reader_of(buf.ptr, buf.len);
            assert_true(avrobin_long(&reader, "n", INT64_MIN, INT64_MAX) == value);
            assert_true(avrobin_long(&reader, "n", INT64_MIN, INT64_MAX) == -value);
            assert_int_equal(avrobin_close(&reader, NULL), KA_OK);
        }
    }
    buf_fini(&buf);
}

static void the_header_is_the_marker_and_the_fingerprint_little_endian(void **state)
{
    (void)state;
    struct buf buf = {0};
    avrobin_put_header(&buf, fingerprint);
    assert_true(slice_eq(buf_slice(&buf), SLICE_LIT("\xC3\x01\x88\x77\x66\x55\x44\x33\x22\x11")));
    buf_fini(&buf);
}

static void what_is_no_single_object_is_refused(void **state)
{
    (void)state;
    struct avrobin_reader reader;
    uint64_t found;
    struct err_text text;
    assert_int_equal(avrobin_open(&reader, SLICE_LIT("\xC3\x01\x88"), &found, &text), KA_ERR_AVRO);
    assert_string_equal(text.text, "3 bytes are too few for a single object");
    assert_int_equal(avrobin_open(&reader, SLICE_NONE, &found, &text), KA_ERR_AVRO);
    assert_int_equal(avrobin_open(&reader, SLICE_LIT("{\"a\": 12345}"), &found, &text),
                     KA_ERR_AVRO);
    assert_string_equal(text.text, "not a single object: starts with 7b 22");
}

static void a_length_is_never_trusted(void **state)
{
    (void)state;
    struct avrobin_reader reader = READER("\x10"
                                          "abc"); // 8 bytes promised, 3 there
    assert_true(slice_none(avrobin_bytes(&reader, "name", 100)));
    assert_refused(&reader, "field name at byte 11: ends in the middle");
    reader = READER("\x06"
                    "abc");
    assert_true(slice_none(avrobin_bytes(&reader, "name", 2)));
    assert_refused(&reader, "field name at byte 11: too long");
    reader = READER("\x01"); // -1
    assert_true(slice_none(avrobin_bytes(&reader, "name", 2)));
    assert_refused(&reader, "field name at byte 10: out of range");
    reader = READER("\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"); // INT64_MAX
    assert_true(slice_none(avrobin_bytes(&reader, "name", SIZE_MAX)));
    assert_refused(&reader, "field name at byte 20: ends in the middle");
}

static void a_number_has_ten_bytes_at_most(void **state)
{
    (void)state;
    struct avrobin_reader reader = READER("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01");
    assert_true(avrobin_long(&reader, "n", INT64_MIN, INT64_MAX) == 0);
    assert_refused(&reader, "field n at byte 10: number too long");
    reader = READER("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"); // a 65th bit
    assert_true(avrobin_long(&reader, "n", INT64_MIN, INT64_MAX) == 0);
    assert_refused(&reader, "field n at byte 10: number too long");
    reader = READER("\x80\x80");
    assert_true(avrobin_long(&reader, "n", INT64_MIN, INT64_MAX) == 0);
    assert_refused(&reader, "field n at byte 10: ends in the middle");
}

static void booleans_and_enums_are_in_range(void **state)
{
    (void)state;
    struct avrobin_reader reader = READER("\x00\x01\x02");
    assert_false(avrobin_boolean(&reader, "a"));
    assert_true(avrobin_boolean(&reader, "b"));
    assert_false(avrobin_boolean(&reader, "c"));
    assert_refused(&reader, "field c at byte 13: not a boolean");
    reader = READER("\x04\x06");
    assert_int_equal(avrobin_enum(&reader, "color", 3), 2);
    assert_int_equal(avrobin_enum(&reader, "color", 3), 0);
    assert_refused(&reader, "field color at byte 11: out of range");
}

static void the_first_failure_is_the_one_that_is_told(void **state)
{
    (void)state;
    struct avrobin_reader reader = READER("\x06"
                                          "ab");
    assert_true(slice_none(avrobin_bytes(&reader, "first", 9)));
    assert_true(avrobin_long(&reader, "second", 0, 9) == 0);
    assert_false(avrobin_boolean(&reader, "third"));
    assert_int_equal(avrobin_block(&reader, "fourth", 9), 0);
    assert_refused(&reader, "field first at byte 11: ends in the middle");
}

static void arrays_come_in_blocks_with_and_without_a_size(void **state)
{
    (void)state;
    struct avrobin_reader reader = READER("\x04\x02\x04\x01\x02\x06\x00");
    assert_int_equal(avrobin_block(&reader, "list", 3), 2);
    assert_int_equal(avrobin_int(&reader, "list", 0, 9), 1);
    assert_int_equal(avrobin_int(&reader, "list", 0, 9), 2);
    assert_int_equal(avrobin_block(&reader, "list", 1), 1); // -1, its size 1
    assert_int_equal(avrobin_int(&reader, "list", 0, 9), 3);
    assert_int_equal(avrobin_block(&reader, "list", 0), 0);
    assert_int_equal(avrobin_close(&reader, NULL), KA_OK);
}

static void an_array_has_no_more_items_than_there_is_room(void **state)
{
    (void)state;
    struct avrobin_reader reader = READER("\x08");
    assert_int_equal(avrobin_block(&reader, "list", 3), 0);
    assert_refused(&reader, "field list at byte 11: too many items");
    reader = READER("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"); // INT64_MIN cannot be negated
    assert_int_equal(avrobin_block(&reader, "list", 3), 0);
    assert_refused(&reader, "field list at byte 10: out of range");
}

static void bytes_left_over_are_refused(void **state)
{
    (void)state;
    struct avrobin_reader reader = READER("\x02\x00");
    assert_int_equal(avrobin_int(&reader, "n", 0, 9), 1);
    assert_refused(&reader, "field (end) at byte 11: bytes left over");
}

static void an_unknown_schema_is_named_by_its_fingerprint(void **state)
{
    (void)state;
    struct err_text text;
    assert_int_equal(avrobin_unknown("state", fingerprint, &text), KA_ERR_VERSION);
    assert_string_equal(text.text,
                        "state written with the schema 1122334455667788, which is not known here");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(longs_are_zigzag_as_in_the_specification),
        cmocka_unit_test(every_length_of_a_long_is_read_back),
        cmocka_unit_test(the_header_is_the_marker_and_the_fingerprint_little_endian),
        cmocka_unit_test(what_is_no_single_object_is_refused),
        cmocka_unit_test(a_length_is_never_trusted),
        cmocka_unit_test(a_number_has_ten_bytes_at_most),
        cmocka_unit_test(booleans_and_enums_are_in_range),
        cmocka_unit_test(the_first_failure_is_the_one_that_is_told),
        cmocka_unit_test(arrays_come_in_blocks_with_and_without_a_size),
        cmocka_unit_test(an_array_has_no_more_items_than_there_is_room),
        cmocka_unit_test(bytes_left_over_are_refused),
        cmocka_unit_test(an_unknown_schema_is_named_by_its_fingerprint),
    };
    return cmocka_run_group_tests_name("avrobin", tests, NULL, NULL);
}
