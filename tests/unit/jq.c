// SPDX-License-Identifier: Apache-2.0
#include "io/jq.h"

#include "core/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
// cmocka wants the headers above it
#include <cmocka.h>

static struct arena arena;

static enum ka_err run(const char *source, struct slice input, struct slice *out,
                       struct err_text *text)
{
    void *program = io_jq_engine.compile(source, text);
    if (program == NULL)
        return KA_ERR_CONFIG;
    enum ka_err err = io_jq_engine.eval(program, input, &arena, out, text);
    io_jq_engine.free(program);
    return err;
}

static void the_first_output_counts(void **state)
{
    (void)state;
    struct slice out;
    assert_int_equal(run(".[] | . * 2", SLICE_LIT("[1,2]"), &out, NULL), KA_OK);
    assert_true(slice_eq(out, SLICE_LIT("2")));
    assert_int_equal(run("empty", SLICE_LIT("1"), &out, NULL), KA_OK);
    assert_true(slice_none(out));
    assert_int_equal(run(". , error(\"later\")", SLICE_LIT("1"), &out, NULL), KA_OK);
    assert_true(slice_eq(out, SLICE_LIT("1")));
}

static void output_is_compact(void **state)
{
    (void)state;
    struct slice out;
    assert_int_equal(run(".", SLICE_LIT("{ \"b\" : [ 1.0 , \"\\u00e9\" ] }"), &out, NULL), KA_OK);
    assert_true(slice_eq(out, SLICE_LIT("{\"b\":[1,\"\xC3\xA9\"]}")));
}

static void compile_errors_say_why(void **state)
{
    (void)state;
    struct slice out;
    struct err_text text;
    assert_int_equal(run(".a |", SLICE_LIT("1"), &out, &text), KA_ERR_CONFIG);
    assert_string_equal(text.text, "syntax error, unexpected $end");
    assert_int_equal(run("foo(1)", SLICE_LIT("1"), &out, &text), KA_ERR_CONFIG);
    assert_string_equal(text.text, "foo/1 is not defined");
    assert_int_equal(run("$x", SLICE_LIT("1"), &out, &text), KA_ERR_CONFIG);
    assert_string_equal(text.text, "$x is not defined");
    assert_int_equal(run("foo(1)", SLICE_LIT("1"), &out, NULL), KA_ERR_CONFIG);
}

static void runtime_errors_say_why(void **state)
{
    (void)state;
    struct slice out;
    struct err_text text;
    assert_int_equal(run(".a.b", SLICE_LIT("{\"a\":1}"), &out, &text), KA_ERR_EXPR);
    assert_string_equal(text.text, "Cannot index number with string \"b\"");
    assert_int_equal(run("error({code: 7})", SLICE_LIT("1"), &out, &text), KA_ERR_EXPR);
    assert_string_equal(text.text, "{\"code\":7}");
    assert_int_equal(run("error", SLICE_LIT("\"said\""), &out, &text), KA_ERR_EXPR);
    assert_string_equal(text.text, "said");
    assert_true(slice_none(out));
}

static void a_program_can_be_used_after_an_error(void **state)
{
    (void)state;
    struct slice out;
    void *program = io_jq_engine.compile(".a | ltrimstr(\"x\")", NULL);
    assert_non_null(program);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(io_jq_engine.eval(program, SLICE_LIT("[1]"), &arena, &out, NULL),
                         KA_ERR_EXPR);
        assert_int_equal(
            io_jq_engine.eval(program, SLICE_LIT("{\"a\":\"xy\"}"), &arena, &out, NULL), KA_OK);
        assert_true(slice_eq(out, SLICE_LIT("\"y\"")));
    }
    io_jq_engine.free(program);
    io_jq_engine.free(NULL);
}

static void broken_input_is_an_error(void **state)
{
    (void)state;
    static const char *const broken[] = {"", " ", "{", "[1", "\"a", "nul", "{\"a\":}", "1 2"};
    void *program = io_jq_engine.compile(".", NULL);
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        struct slice out;
        struct err_text text = {{0}};
        assert_int_equal(io_jq_engine.eval(program, slice_str(broken[i]), &arena, &out, &text),
                         KA_ERR_EXPR);
        assert_true(text.text[0] != '\0');
    }
    io_jq_engine.free(program);
}

static void depth_is_bounded_by_libjq_too(void **state)
{
    (void)state;
    size_t size = 100000;
    char *deep = malloc(size);
    memset(deep, '[', size);
    struct slice out;
    struct err_text text;
    assert_int_equal(run(".", slice_of(deep, size), &out, &text), KA_ERR_EXPR);
    assert_non_null(strstr(text.text, "depth"));
    memset(deep + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
    assert_int_equal(run(".", slice_of(deep, 2 * JSON_DEPTH_MAX), &out, &text), KA_OK);
    free(deep);
}

static void output_is_bounded(void **state)
{
    (void)state;
    struct slice out;
    struct err_text text;
    assert_int_equal(run("\"0123456789abcdef\" * 1048576", SLICE_LIT("1"), &out, &text),
                     KA_ERR_TOO_LARGE);
    assert_string_equal(text.text, "the result has 16777218 bytes, 16777216 are allowed");
    assert_true(slice_none(out));
    assert_int_equal(run("\"0123456789abcdef\" * 1000", SLICE_LIT("1"), &out, &text), KA_OK);
    assert_int_equal(out.len, 16002);
}

static void functions_of_the_home_directory_are_not_taken(void **state)
{
    (void)state;
    char home[] = "/tmp/kasaga-home-XXXXXX";
    char path[64];
    const char *before = getenv("HOME");
    char *saved = before == NULL ? NULL : strdup(before);
    assert_non_null(mkdtemp(home));
    (void)snprintf(path, sizeof path, "%s/.jq", home);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    (void)fputs("def length: 77;", file);
    (void)fclose(file);
    assert_int_equal(setenv("HOME", home, 1), 0);
    struct slice out;
    struct err_text text;
    assert_int_equal(run("length", SLICE_LIT("[]"), &out, &text), KA_ERR_CONFIG);
    assert_non_null(strstr(text.text, path));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(run("length", SLICE_LIT("[]"), &out, &text), KA_OK);
    assert_true(slice_eq(out, SLICE_LIT("0")));
    assert_int_equal(rmdir(home), 0);
    assert_int_equal(saved == NULL ? unsetenv("HOME") : setenv("HOME", saved, 1), 0);
    free(saved);
}

static int empty_arena(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_output_counts),
        cmocka_unit_test(output_is_compact),
        cmocka_unit_test(compile_errors_say_why),
        cmocka_unit_test(runtime_errors_say_why),
        cmocka_unit_test(a_program_can_be_used_after_an_error),
        cmocka_unit_test(broken_input_is_an_error),
        cmocka_unit_test(depth_is_bounded_by_libjq_too),
        cmocka_unit_test(output_is_bounded),
        cmocka_unit_test(functions_of_the_home_directory_are_not_taken),
    };
    return cmocka_run_group_tests(tests, NULL, empty_arena);
}
