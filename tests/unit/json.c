// SPDX-License-Identifier: Apache-2.0
#include "core/json.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// cmocka wants the headers above it
#include <cmocka.h>

static const char order[] = "{\"order_id\":\"4711\",\"total\":129.90,\"items\":[{\"sku\":\"sku-1\","
                            "\"quantity\":2},{\"sku\":\"sku-2\",\"quantity\":1}],\"customer\":{"
                            "\"name\":\"J\\u00f6rg \\\"J\\\"\",\"vip\":true,\"note\":null},"
                            "\"currency\":\"EUR\",\"region\":\"us-west\"}";

// A copy on the heap with nothing behind it, so that a sanitizer sees every byte read too far.
static enum ka_err validate_exact(struct slice doc, struct err_text *text)
{
    char *copy = malloc(doc.len == 0 ? 1 : doc.len);
    assert_non_null(copy);
    memcpy(copy, doc.ptr, doc.len);
    enum ka_err err = json_validate(slice_of(copy, doc.len), text);
    free(copy);
    return err;
}

static void assert_slice(struct slice is, const char *expected)
{
    if (!slice_eq(is, slice_str(expected)))
        fail_msg("%.*s is not %s", SLICE_FMT(is), expected);
}

static void valid_documents_are_accepted(void **state)
{
    (void)state;
    static const char *const docs[] = {"0",
                                       "-0",
                                       "-1",
                                       "10",
                                       "1.5",
                                       "0.0",
                                       "1e5",
                                       "1E+5",
                                       "1e-5",
                                       "-0.1e0",
                                       "\"\"",
                                       "\"a\"",
                                       "true",
                                       "false",
                                       "null",
                                       " null ",
                                       "\t\n\r 1\n",
                                       "[]",
                                       "[ ]",
                                       "{}",
                                       "{ }",
                                       "[1]",
                                       "[1,2]",
                                       "[[],{}]",
                                       "{\"a\":1}",
                                       "{\"a\" : 1 , \"b\" : [ ] }",
                                       "{\"a\":1,\"a\":2}",
                                       "{\"\":0}",
                                       "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
                                       "\"\\u0000\"",
                                       "\"\\uD83D\\uDE00\"",
                                       "\"\xC3\xA9\"",
                                       "\"\xE2\x82\xAC\"",
                                       "\"\xF0\x9F\x98\x80\"",
                                       "\"\xED\x9F\xBF\"",
                                       "\"\xEE\x80\x80\"",
                                       "\"\xF4\x8F\xBF\xBF\"",
                                       "\"\x7F\"",
                                       "123456789012345678901234567890",
                                       "1e999999999999999999999",
                                       "\"1234567\\\"890123456\"",
                                       order};
    for (size_t i = 0; i < sizeof docs / sizeof docs[0]; i++) {
        struct err_text text = {{0}};
        if (validate_exact(slice_str(docs[i]), &text) != KA_OK)
            fail_msg("%s: %s", docs[i], text.text);
    }
}

static void faults_are_named_with_their_byte(void **state)
{
    (void)state;
    static const struct {
        const char *doc;
        const char *text;
    } rows[] = {
        {"", "byte 0: value expected"},
        {"  ", "byte 2: value expected"},
        {"nul", "byte 0: value expected"},
        {"True", "byte 0: value expected"},
        {"nulll", "byte 4: something behind the document"},
        {"1 2", "byte 2: something behind the document"},
        {"{}}", "byte 2: something behind the document"},
        {"01", "byte 1: number with a leading zero"},
        {"-", "byte 1: digit expected"},
        {"-a", "byte 1: digit expected"},
        {"+1", "byte 0: value expected"},
        {".5", "byte 0: value expected"},
        {"1.", "byte 2: digit expected"},
        {"1.e3", "byte 2: digit expected"},
        {"1e", "byte 2: digit expected"},
        {"1e+", "byte 3: digit expected"},
        {"NaN", "byte 0: value expected"},
        {"Infinity", "byte 0: value expected"},
        {"'a'", "byte 0: value expected"},
        {"\"a", "byte 0: string without end"},
        {"\"a\\", "byte 2: string without end"},
        {"\"a\nb\"", "byte 2: control character in a string"},
        {"\"12345678\x01\"", "byte 9: control character in a string"},
        {"\"\\x\"", "byte 1: unknown escape"},
        {"\"\\u12\"", "byte 1: \\u needs four hexadecimal digits"},
        {"\"\\u12G4\"", "byte 1: \\u needs four hexadecimal digits"},
        {"\"\\uD800\"", "byte 1: lone surrogate"},
        {"\"\\uDC00\"", "byte 1: lone surrogate"},
        {"\"\\uD800\\u0041\"", "byte 1: lone surrogate"},
        {"\"\\uD83D\\n     \"", "byte 1: lone surrogate"},
        {"[1", "byte 2: array without end"},
        {"[1,", "byte 3: value expected"},
        {"[1,]", "byte 3: value expected"},
        {"[,1]", "byte 1: value expected"},
        {"[1 2]", "byte 3: ',' or ']' expected"},
        {"[1}", "byte 2: ',' or ']' expected"},
        {"{", "byte 1: member name expected"},
        {"{a:1}", "byte 1: member name expected"},
        {"{\"a\"}", "byte 4: ':' expected"},
        {"{\"a\":}", "byte 5: value expected"},
        {"{\"a\":1,}", "byte 7: member name expected"},
        {"{\"a\":1 \"b\":2}", "byte 7: ',' or '}' expected"},
        {"{\"a\":1]", "byte 6: ',' or '}' expected"},
        {"{\"a\":1", "byte 6: object without end"},
        {"/**/1", "byte 0: value expected"},
        {"\xEF\xBB\xBF{}", "byte 0: value expected"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err_text text = {{0}};
        assert_int_equal(validate_exact(slice_str(rows[i].doc), &text), KA_ERR_JSON);
        assert_string_equal(text.text, rows[i].text);
    }
}

static void invalid_utf8_is_refused(void **state)
{
    (void)state;
    static const char *const bytes[] = {"\x80",     // a continuation alone
                                        "\xC0\xAF", // overlong '/'
                                        "\xC1\xBF",
                                        "\xC3",
                                        "\xE0\x9F\xBF", // overlong
                                        "\xE2\x82",
                                        "\xED\xA0\x80",     // a surrogate
                                        "\xF0\x8F\xBF\xBF", // overlong
                                        "\xF4\x90\x80\x80", // above U+10FFFF
                                        "\xF5\x80\x80\x80",
                                        "\xF0\x9F\x98",
                                        "\xFE",
                                        "\xFF",
                                        "\xE2\x28\xA1",
                                        "\xF0\x9F\x28\x80"};
    for (size_t i = 0; i < sizeof bytes / sizeof bytes[0]; i++) {
        char doc[32];
        struct err_text text;
        int len = snprintf(doc, sizeof doc, "{\"a\":\"b%s\"}", bytes[i]);
        assert_int_equal(validate_exact(slice_of(doc, (size_t)len), &text), KA_ERR_JSON);
        assert_string_equal(text.text, "byte 7: invalid UTF-8");
    }
}

static void no_document_and_nul_bytes_are_refused(void **state)
{
    (void)state;
    assert_int_equal(json_validate(SLICE_NONE, NULL), KA_ERR_JSON);
    assert_int_equal(validate_exact(slice_of("1\0", 2), NULL), KA_ERR_JSON);
    assert_int_equal(validate_exact(slice_of("\"\0\"", 3), NULL), KA_ERR_JSON);
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    for (size_t len = 0; len < sizeof order - 1; len++)
        assert_int_equal(validate_exact(slice_of(order, len), NULL), KA_ERR_JSON);
    assert_int_equal(validate_exact(slice_str(order), NULL), KA_OK);
}

static void every_walk_of_a_broken_document_stays_inside(void **state)
{
    (void)state;
    struct arena arena;
    struct buf buf = {0};
    arena_init(&arena);
    for (size_t len = 0; len < sizeof order - 1; len++) {
        char *copy = malloc(len + 1);
        memcpy(copy, order, len);
        struct slice doc = slice_of(copy, len);
        struct slice name = SLICE_NONE;
        struct slice value = json_member(doc, SLICE_LIT("customer"));
        for (struct json_walk walk = json_walk(doc); json_next(&walk, &name, &value);)
            (void)json_text(name, &arena);
        (void)json_element(doc, -1);
        json_merge(&buf, doc, doc);
        json_compact(&buf, doc);
        free(copy);
        buf_clear(&buf);
    }
    buf_fini(&buf);
    arena_fini(&arena);
}

static void depth_is_bounded(void **state)
{
    (void)state;
    char doc[2 * (JSON_DEPTH_MAX + 1)];
    memset(doc, '[', JSON_DEPTH_MAX + 1);
    memset(doc + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
    struct err_text text;
    assert_int_equal(json_validate(slice_of(doc + 1, 2 * JSON_DEPTH_MAX), &text), KA_OK);
    assert_int_equal(json_validate(slice_of(doc, sizeof doc), &text), KA_ERR_JSON);
    assert_string_equal(text.text, "byte 128: nested too deep");
    size_t huge = 1000000;
    char *deep = malloc(huge);
    memset(deep, '[', huge);
    assert_int_equal(json_validate(slice_of(deep, huge), &text), KA_ERR_JSON);
    free(deep);
}

static void types_are_told_by_the_first_byte(void **state)
{
    (void)state;
    assert_int_equal(json_type(SLICE_LIT(" {} ")), JSON_OBJECT);
    assert_int_equal(json_type(SLICE_LIT("[1]")), JSON_ARRAY);
    assert_int_equal(json_type(SLICE_LIT("\"1\"")), JSON_STRING);
    assert_int_equal(json_type(SLICE_LIT("-1")), JSON_NUMBER);
    assert_int_equal(json_type(SLICE_LIT("true")), JSON_TRUE);
    assert_int_equal(json_type(SLICE_LIT("false")), JSON_FALSE);
    assert_int_equal(json_type(SLICE_LIT("null")), JSON_NULL);
    assert_int_equal(json_type(SLICE_NONE), JSON_NULL);
}

static void members_are_found_by_plain_name(void **state)
{
    (void)state;
    struct slice doc = slice_str(order);
    assert_slice(json_member(doc, SLICE_LIT("order_id")), "\"4711\"");
    assert_slice(json_member(doc, SLICE_LIT("total")), "129.90");
    assert_slice(json_member(json_member(doc, SLICE_LIT("customer")), SLICE_LIT("vip")), "true");
    assert_true(slice_none(json_member(doc, SLICE_LIT("name"))));
    assert_true(slice_none(json_member(doc, SLICE_LIT("order"))));
    assert_true(slice_none(json_member(SLICE_LIT("[1]"), SLICE_LIT("a"))));
    assert_true(slice_none(json_member(SLICE_LIT("1"), SLICE_LIT("a"))));
    assert_slice(json_member(SLICE_LIT(" { \"a\" : 1 , \"b\" : [ 2 ] } "), SLICE_LIT("b")),
                 "[ 2 ]");
}

static void of_repeated_members_the_last_counts(void **state)
{
    (void)state;
    assert_slice(json_member(SLICE_LIT("{\"a\":1,\"b\":2,\"a\":3}"), SLICE_LIT("a")), "3");
    assert_slice(json_member(SLICE_LIT("{\"a\":1,\"\\u0061\":4}"), SLICE_LIT("a")), "4");
}

static void member_names_are_compared_with_escapes_resolved(void **state)
{
    (void)state;
    struct slice doc =
        SLICE_LIT("{\"a\\n\":1,\"\\uD83D\\uDE00\":2,\"x\\\\n\":3,\"\":4,\"\\u00e9\":5,\"\\\"\":6}");
    assert_slice(json_member(doc, SLICE_LIT("a\n")), "1");
    assert_slice(json_member(doc, SLICE_LIT("\xF0\x9F\x98\x80")), "2");
    assert_slice(json_member(doc, SLICE_LIT("x\\n")), "3");
    assert_slice(json_member(doc, SLICE_LIT("")), "4");
    assert_slice(json_member(doc, SLICE_LIT("\xC3\xA9")), "5");
    assert_slice(json_member(doc, SLICE_LIT("\"")), "6");
    assert_true(slice_none(json_member(doc, SLICE_LIT("a\\n"))));
    assert_true(slice_none(json_member(doc, SLICE_LIT("\\u00e9"))));
}

static void elements_count_from_both_ends(void **state)
{
    (void)state;
    struct slice doc = SLICE_LIT("[10, \"a,]\" ,{\"b\":[1,2]},[3,4]]");
    assert_slice(json_element(doc, 0), "10");
    assert_slice(json_element(doc, 1), "\"a,]\"");
    assert_slice(json_element(doc, 2), "{\"b\":[1,2]}");
    assert_slice(json_element(doc, -1), "[3,4]");
    assert_slice(json_element(doc, -4), "10");
    assert_true(slice_none(json_element(doc, 4)));
    assert_true(slice_none(json_element(doc, -5)));
    assert_true(slice_none(json_element(SLICE_LIT("[]"), 0)));
    assert_true(slice_none(json_element(SLICE_LIT("{\"a\":1}"), 0)));
    assert_true(slice_none(json_element(doc, INT64_MIN)));
}

static void a_walk_gives_names_as_they_stand(void **state)
{
    (void)state;
    struct json_walk walk = json_walk(SLICE_LIT(" {\"a\" : 1,\n\"\\u0062\":{\"}\":\"{\"}} "));
    struct slice name;
    struct slice value;
    assert_true(json_next(&walk, &name, &value));
    assert_slice(name, "\"a\"");
    assert_slice(value, "1");
    assert_true(json_next(&walk, &name, &value));
    assert_slice(name, "\"\\u0062\"");
    assert_slice(value, "{\"}\":\"{\"}");
    assert_false(json_next(&walk, &name, &value));
    assert_false(json_next(&walk, &name, &value));
    walk = json_walk(SLICE_LIT("\"text\""));
    assert_false(json_next(&walk, &name, &value));
}

static void text_without_escapes_is_a_slice_of_the_document(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    struct slice value = SLICE_LIT("\"plain \xC3\xA9\"");
    struct slice text = json_text(value, &arena);
    assert_slice(text, "plain \xC3\xA9");
    assert_ptr_equal(text.ptr, value.ptr + 1);
    assert_slice(json_text(SLICE_LIT("\"\""), &arena), "");
    assert_null(arena.head);
    arena_fini(&arena);
}

static void escapes_are_resolved(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    assert_slice(json_text(SLICE_LIT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), &arena), "\"\\/\b\f\n\r\t");
    assert_slice(json_text(SLICE_LIT("\"a\\u0041\\u00E9\\u20ac\\ud83d\\ude00z\""), &arena),
                 "aA\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z");
    struct slice nul = json_text(SLICE_LIT("\"\\u0000\""), &arena);
    assert_int_equal(nul.len, 1);
    assert_int_equal(nul.ptr[0], 0);
    arena_fini(&arena);
}

static void integers_are_read_whatever_their_form(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool fits;
        int64_t value;
    } rows[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"42", true, 42},
        {"-7", true, -7},
        {"1.0", true, 1},
        {"1.50", false, 0},
        {"1e3", true, 1000},
        {"1.5e1", true, 15},
        {"1.25e1", false, 0},
        {"1200e-2", true, 12},
        {"1201e-2", false, 0},
        {"0e999999999999", true, 0},
        {"0.000", true, 0},
        {"1e-1", false, 0},
        {"9223372036854775807", true, INT64_MAX},
        {"9223372036854775808", false, 0},
        {"-9223372036854775808", true, INT64_MIN},
        {"-9223372036854775809", false, 0},
        {"9223372036854775807.0", true, INT64_MAX},
        {"99999999999999999999999", false, 0},
        {"1e18", true, 1000000000000000000},
        {"1e19", false, 0},
        {"1e99999999999999999999", false, 0},
        {"1e-99999999999999999999", false, 0},
        {"\"1\"", false, 0},
        {"null", false, 0},
        {"[1]", false, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t value = 0;
        assert_int_equal(json_i64(slice_str(rows[i].text), &value), rows[i].fits);
        assert_int_equal(value, rows[i].value);
    }
}

static void doubles_are_the_nearest(void **state)
{
    (void)state;
    static const char *const texts[] = {"0",
                                        "1",
                                        "-1.5",
                                        "129.90",
                                        "0.1",
                                        "1e22",
                                        "1e23",
                                        "123456789012345678",
                                        "3.14159265358979",
                                        "9007199254740993",
                                        "1e-5",
                                        "1e-22",
                                        "1e-23",
                                        "2.2250738585072014e-308",
                                        "5e-324",
                                        "1e-400",
                                        "1.7976931348623157e308",
                                        "179769313486231570000e288",
                                        "0.000000000000000000000001",
                                        "8.41e21",
                                        "2.2250738585072011e-308",
                                        "4503599627370496.5",
                                        "-0.0"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        double value = 0;
        double expected = strtod(texts[i], NULL);
        assert_true(json_f64(slice_str(texts[i]), &value));
        if (memcmp(&value, &expected, sizeof value) != 0)
            fail_msg("%s: %.17g", texts[i], value);
    }
    double value = 0;
    assert_false(json_f64(SLICE_LIT("1e309"), &value));
    assert_false(json_f64(SLICE_LIT("-1e999999999"), &value));
    assert_false(json_f64(SLICE_LIT("true"), &value));
    assert_false(json_f64(SLICE_NONE, &value));
}

static void numbers_of_any_length_are_read(void **state)
{
    (void)state;
    size_t len = 100000;
    char *text = malloc(len + 8);
    memset(text, '7', len);
    double value = 0;
    int64_t integer = 0;
    assert_false(json_f64(slice_of(text, len), &value));
    assert_false(json_i64(slice_of(text, len), &integer));
    text[1] = '.';
    assert_true(json_f64(slice_of(text, len), &value));
    assert_true(value > 7.77 && value < 7.78);
    memset(text, '0', len);
    memcpy(text + len, "1e0", 3);
    text[1] = '.';
    assert_true(json_f64(slice_of(text, len + 3), &value));
    assert_true(value == 0);
    free(text);
}

static void assert_merged(const char *a, const char *b, const char *expected)
{
    struct buf buf = {0};
    buf_str(&buf, "x");
    struct slice left = a == NULL ? SLICE_NONE : slice_str(a);
    struct slice right = b == NULL ? SLICE_NONE : slice_str(b);
    json_merge(&buf, left, right);
    assert_slice(slice_of(buf.ptr + 1, buf.len - 1), expected);
    buf_fini(&buf);
}

static void in_a_merge_the_later_members_win(void **state)
{
    (void)state;
    assert_merged(NULL, NULL, "{}");
    assert_merged("{}", "{ }", "{}");
    assert_merged("{\"a\":1}", NULL, "{\"a\":1}");
    assert_merged(NULL, "{\"a\":1}", "{\"a\":1}");
    assert_merged("{\"a\":1,\"b\":2}", "{\"b\":3,\"c\":4}", "{\"a\":1,\"b\":3,\"c\":4}");
    assert_merged("{\"a\":{\"x\":1}}", "{\"a\":{\"y\":2}}", "{\"a\":{\"y\":2}}");
    assert_merged("{\"\\u0061\":1}", "{\"a\":2}", "{\"a\":2}");
    assert_merged("{\"a\":1}", "{\"\\u0061\":2}", "{\"\\u0061\":2}");
    assert_merged(" {\"a\" : [1, 2]} ", "{\"b\":2}", "{\"a\":[1, 2],\"b\":2}");
}

static void two_large_objects_merge_in_linear_time(void **state)
{
    (void)state;
    struct buf a = {0};
    struct buf b = {0};
    struct buf out = {0};
    for (int i = 0; i < 50000; i++) {
        char member[64];
        (void)snprintf(member, sizeof member, "%c\"k%d\":1", i == 0 ? '{' : ',', i);
        buf_str(&a, member);
        (void)snprintf(member, sizeof member, "%c\"k%d\":2", i == 0 ? '{' : ',', i + 25000);
        buf_str(&b, member);
    }
    buf_str(&a, "}");
    buf_str(&b, "}");
    json_merge(&out, buf_slice(&a), buf_slice(&b));
    assert_int_equal(json_validate(buf_slice(&out), NULL), KA_OK);
    assert_slice(json_member(buf_slice(&out), SLICE_LIT("k24999")), "1");
    assert_slice(json_member(buf_slice(&out), SLICE_LIT("k25000")), "2");
    size_t count = 0;
    struct slice name;
    struct slice value;
    for (struct json_walk walk = json_walk(buf_slice(&out)); json_next(&walk, &name, &value);)
        count++;
    assert_int_equal(count, 75000);
    buf_fini(&a);
    buf_fini(&b);
    buf_fini(&out);
}

static void white_space_outside_strings_is_dropped(void **state)
{
    (void)state;
    struct buf buf = {0};
    json_compact(&buf, SLICE_LIT(" { \"a b\" : [ 1 ,\n2 ] ,\t\"c\\\" d\" : null } "));
    assert_slice(buf_slice(&buf), "{\"a b\":[1,2],\"c\\\" d\":null}");
    buf_clear(&buf);
    json_compact(&buf, slice_str(order));
    assert_slice(buf_slice(&buf), order);
    buf_clear(&buf);
    json_compact(&buf, SLICE_NONE);
    assert_int_equal(buf.len, 0);
    buf_fini(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_documents_are_accepted),
        cmocka_unit_test(faults_are_named_with_their_byte),
        cmocka_unit_test(invalid_utf8_is_refused),
        cmocka_unit_test(no_document_and_nul_bytes_are_refused),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_walk_of_a_broken_document_stays_inside),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(types_are_told_by_the_first_byte),
        cmocka_unit_test(members_are_found_by_plain_name),
        cmocka_unit_test(of_repeated_members_the_last_counts),
        cmocka_unit_test(member_names_are_compared_with_escapes_resolved),
        cmocka_unit_test(elements_count_from_both_ends),
        cmocka_unit_test(a_walk_gives_names_as_they_stand),
        cmocka_unit_test(text_without_escapes_is_a_slice_of_the_document),
        cmocka_unit_test(escapes_are_resolved),
        cmocka_unit_test(integers_are_read_whatever_their_form),
        cmocka_unit_test(doubles_are_the_nearest),
        cmocka_unit_test(numbers_of_any_length_are_read),
        cmocka_unit_test(in_a_merge_the_later_members_win),
        cmocka_unit_test(two_large_objects_merge_in_linear_time),
        cmocka_unit_test(white_space_outside_strings_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
