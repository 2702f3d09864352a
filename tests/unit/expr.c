// SPDX-License-Identifier: Apache-2.0
// The reference of what an expression means is libjq: every native program is run both ways.
#include "core/expr.h"
#include "core/hash.h"
#include "core/json.h"
#include "io/jq.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// cmocka wants the headers above it
#include <cmocka.h>

// libjq 1.6 itself loses a string when an error unwinds through an iteration over an object:
// (.[]?)|.a on {"b":[1,{"b":1}],"a":true}. The tests of io/jq.c run without this.
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libjq.so";
}

struct both {
    struct expr *native;
    void *engine;
    void *printer; // libjq's "." makes two forms of one value equal
    struct arena arena;
};

static void print(const struct both *both, struct slice value, struct arena *arena,
                  struct slice *out)
{
    *out = SLICE_NONE;
    if (!slice_none(value))
        assert_int_equal(io_jq_engine.eval(both->printer, value, arena, out, NULL), KA_OK);
}

// The native result equals libjq's: the same value, or no output, or an error, in both.
static void compare(struct both *both, const char *source, struct slice input)
{
    struct slice is = SLICE_NONE;
    struct slice expected = SLICE_NONE;
    struct err_text why = {{0}};
    struct err_text jq_why = {{0}};
    enum ka_err err = expr_eval(both->native, input, &both->arena, &is, &why);
    enum ka_err jq_err =
        io_jq_engine.eval(both->engine, json_trim(input), &both->arena, &expected, &jq_why);
    if (err != jq_err)
        fail_msg("%s on %.*s: %s %s, libjq: %s %s", source, SLICE_FMT(input), err_name(err),
                 why.text, err_name(jq_err), jq_why.text);
    if (!slice_none(is))
        assert_int_equal(json_validate(is, NULL), KA_OK);
    struct slice is_printed;
    struct slice expected_printed;
    print(both, is, &both->arena, &is_printed);
    print(both, expected, &both->arena, &expected_printed);
    if (slice_none(is) != slice_none(expected) || !slice_eq(is_printed, expected_printed))
        fail_msg("%s on %.*s: %.*s, libjq: %.*s", source, SLICE_FMT(input), SLICE_FMT(is),
                 SLICE_FMT(expected));
    arena_reset(&both->arena);
}

// False if the native slicer does not know the program. libjq must know what it knows.
static bool both_open(struct both *both, const char *source)
{
    struct err_text text;
    if (expr_compile(source, NULL, &both->native, &text) != KA_OK)
        return false;
    both->engine = io_jq_engine.compile(source, &text);
    if (both->engine == NULL)
        fail_msg("%s: native only, libjq says %s", source, text.text);
    return true;
}

static void both_close(struct both *both)
{
    expr_free(&both->native);
    if (both->engine != NULL)
        io_jq_engine.free(both->engine);
    both->engine = NULL;
}

static int open_printer(void **state)
{
    static struct both both;
    both = (struct both){.printer = io_jq_engine.compile(".", NULL)};
    *state = &both;
    return both.printer == NULL;
}

static int close_printer(void **state)
{
    struct both *both = *state;
    io_jq_engine.free(both->printer);
    arena_fini(&both->arena);
    return 0;
}

static const char *const inputs[] = {
    "null",
    "true",
    "-3.50",
    "\"text \\u00e9\\n\"",
    "[]",
    "{}",
    "[1,[2,{\"a\":3}],\"x\",null,false]",
    " {\"a\" : 1 , \"b\" : {\"c\":[1,2,3],\"a b\":\"q\"}, \"total\":129.90,\"total\":130} ",
    "{\"a\":{\"b\":{\"c\":\"x\"}},\"b\":false,\"now\":7,\"list\":[{\"sku\":\"s\"},{\"sku\":2}]}",
    "{\"a\":null,\"\\u0062\":\"esc\\\"aped\",\"c\":1e2,\"total\":100.0,\"id\":12345678901234567}",
    "{\"a\":[3,1],\"b\":[3,1.0],\"c\":{\"x\":1,\"y\":[]},\"d\":{\"y\":[],\"x\":1.0},\"z\":\"\"}",
};

static const char *const programs[] = {
    // paths
    ".", " . ", ".a", ".a.b", ".a.b.c", ".\"a b\"", ".b.\"a b\"", ". \"a\"", ".a[\"b\"]",
    ".[\"b\"]", ".[0]", ".[1]", ".[-1]", ".[-9]", ".[99]", ".[1][1].a", ".a[0]", ".b.c[-1]",
    ".[\"b\"][\"c\"][0]", ".a .b", ". .a", ".list[0].sku", ".[\"\\u0062\"]", ".\"\"", ".now",
    ".\"now\"", ".a_1", "._", ".[ 0 ]", ".and", "# comment\n.a # more",
    // suppressed errors
    ".a?", ".a.b?", ".a?.b", ".a?.b?", ".[0]?", ".a[0]?", ".a[\"b\"]?", ".\"a\"?", ".a.\"b\"?",
    "(.a)?", "(.a.b)?", ".a??", ".?", "(.a|.b)? | .c", ".a? | .b", "[.a?]", "[.a?, .b?]",
    "{x: .a?}", "{x: .a?, y: .[0]?}", "((.a)?, .[0]) | .b", "[(.[]?)?]", "(.a.b)? == (.c.d)?",
    // literals
    "1", "-1", "- 1", "0", "-0", "1.50", ".5", "1.", "01", "1e3", "1.e2", "1E-7", "1e300",
    "123456789012345678", "0.1", "100000000000000000000", "\"x\"", "\"\"", "\"\\u00e9\\n\\\"\"",
    "\"now\"", "true", "false", "null", "[]", "{}", "[ ]", "{ }",
    // construction
    "{a}", "{a, b}", "{a: .b}", "{a, amount: .total}", "{\"a b\": .a}", "{\"a\"}", "{\"a b\"}",
    "{a: 1, b: \"x\", c: null, d: true}", "{a: {b: {c: .a}}}", "{a: [.a, .b]}", "{a: -1}",
    "{a: 1 | . }", "{a: .a | not, b: 2}", "{a: 1, a: 2}", "{a: 1, b: 2, \"a\": 3}",
    "{a: .a, \"\\u0061\": .b}", "{a: 1,}", "{if: 1, and: 2, now: 3}", "{not}", "{now}", "{true}",
    "{a: (.b == 1)}", "{a: .b[0]?}", "{a: (1, 2), b: (3, 4)}", "[{a: (1, 2), b: (3, 4)}]",
    "[{a: (1, 2), b: (3, 4), a: 5}]", "{a: 1} | {b: .a}", "{(\"a\"): 1} | 1 // 2", "[.a]",
    "[.a, .b]", "[.a, [.b, [.total]]]", "[1, 2 | . ]", "[1, 2][1]", "{a: 7}.a", "{a: 7}[\"a\"]",
    "\"x\"[0]", "[.[]?]", "[.[]? | .a?]", "[.list[]?.sku?]", ".[]", ".[]?", "[.[]?, 1]", ".list[]",
    // comparisons
    ".a == 1", ".a == null", ".a != .b", ".a == .b", ".c == .d", ".total >= 100", ".total < 130",
    ".total == 129.9", ". < 5", ". < \"a\"", ". <= []", ". > {}", ". >= null", "null < false",
    "false < true", "true < 0", "1 < \"\"", "\"a\" < \"b\"", "\"a\" < \"aa\"",
    "\"\\u00e9\" > \"z\"", "\"x\" < []", "[] < [0]", "[1, 2] < [1, 3]", "[2] > [1, 9]", "[] < {}",
    "{} < {a: 1}", "{a: 1} < {a: 2}", "{b: 1} > {a: 2}", "{a: 1, b: 1} > {c: 1}",
    "{a: 2} < {a: 1, b: 0}", "{a: 1, b: 2} == {b: 2, a: 1.0}", "1 == 1.0", "-0 == 0", "0.1 == 0.10",
    "1e2 == 100", "12345678901234567 == 12345678901234568", ".id == 12345678901234568",
    ".z == \"\"", "\"a\\u0062\" == \"ab\"", ".b == \"esc\\\"aped\"", "-1 < 0", "0 > -1",
    "[.[]? == 1]", "[(1, 2) == (1, 2)]", "[(1, 2) < (2, 1)]", ". == .", ".a == .a.b?",
    ".a.b == .b.c",
    // logic
    ".a and .b", ".a or .b", ".a | not", "not", ".a and (.b | not)", ".a or .b and .c",
    "(.a or .b) and .c", "true or .a.b.c.d", "false and .a.b.c.d", "null and 1", "0 and \"\"",
    ".a == 1 and .b == 2 or .total > 100", "[(true, false) and (true, false)]",
    "[(true, false) or (true, false)]", ".a? and .b?", "true == not",
    // alternatives
    ".a // 1", ".a // .b // 3", ".a? // 1", ".a.b // \"none\"", "(.a.b)? // \"none\"", "empty // 1",
    "1 // 2", "null // false", "false // null", "[(null, 1, false, 2) // 3]",
    "[(null, false) // (3, 4)]", "(.a // 1) | .b", "{a: (.a // 0)}", ".a // .b == 1",
    ".b // .a | tostring", "[.[]? // 9]", "(1, null) // 2", "1 // .a.b.c.d",
    // pipes, commas, groups
    ".a | .b", ".a | .b | .c", ".a, .b", "(.a, .b) | not", "((.))", "((.a)).b", "(.a | .b) == 1",
    ".a | (.b, .c)", "empty", ".a | empty", "empty, 1", "1, empty", "[empty]", "{a: empty}",
    "[1, empty, 2]", "(empty)?", "empty == 1",
    // functions
    "length", ".a | length", "[.[]? | length?]", "[.[]? | (length)?]",
    "\"a\\u00e9\\ud83d\\ude00\" | length", "-5.50 | length", "tostring", ".a | tostring",
    ".total | tostring", ".id | tostring", "[.[]? | tostring]", "1.10 | tostring",
    "1e17 | tostring", "1e15 | tostring", "0.00001 | tostring", "0.0001 | tostring",
    "123456.789 | tostring", "1e-300 | tostring", "123456789012345680000 | tostring",
    "-0 | tostring", "\"a\\u007f\\u0001\\\\\\/\" | tostring",
    "[\"a\\u007f\\u0001\\\\\\/\"] | tostring", "{a: [1.0, {b: \"x\"}]} | tostring", "[] | tostring",
    "{} | tostring", "tostring | length", "tostring == \"null\"",
    "12345678901234567000000000000000 | tostring", "-12345678901234567000000000000000 | tostring",
    "-0.00012345678901234567 | tostring", "123456789012345670000000000000000 | tostring"};

enum { INPUTS = sizeof inputs / sizeof inputs[0], PROGRAMS = sizeof programs / sizeof programs[0] };

static void native_results_are_those_of_libjq(void **state)
{
    struct both *both = *state;
    size_t native = 0;
    for (size_t i = 0; i < PROGRAMS; i++) {
        if (!both_open(both, programs[i]))
            continue;
        native++;
        for (size_t j = 0; j < INPUTS; j++)
            compare(both, programs[i], slice_str(inputs[j]));
        both_close(both);
    }
    assert_int_equal(native, PROGRAMS - 1); // {("a"): 1} is the engine's
}

static const char *const no_programs[] = {"",
                                          " ",
                                          "# only a comment",
                                          ".a.",
                                          ".a..b",
                                          ". a",
                                          ".a b",
                                          ".[",
                                          ".[0",
                                          ".]",
                                          "{",
                                          "{a",
                                          "{a:",
                                          "{a:}",
                                          "{,}",
                                          "{a b}",
                                          "{and}",
                                          "{if}",
                                          "{1: 2}",
                                          "{a: .b == 1}",
                                          "{a: .b // 1}",
                                          "{a: 1 + 2}",
                                          "{a: (.b)?}",
                                          "{a: .b and .c}",
                                          "(.a)?.b",
                                          ".a?//1",
                                          ".a.[\"b\"]",
                                          ".a.[0]",
                                          "[1,]",
                                          "[,1]",
                                          "1 == 2 == 3",
                                          "1 < 2 < 3",
                                          "== 1",
                                          "1 ==",
                                          ".a and",
                                          "or .a",
                                          ".a //",
                                          "// 1",
                                          "(",
                                          "(.a",
                                          ".a)",
                                          "()",
                                          "\"a",
                                          "\"\\x\"",
                                          "\"\\ud800\"",
                                          "not(1)",
                                          "a",
                                          "foo",
                                          "a::b",
                                          ".a::b",
                                          "1a",
                                          ".a | | .b",
                                          "|",
                                          ".a |",
                                          ", 1",
                                          "1 2",
                                          "\"a\" \"b\"",
                                          "!",
                                          "!.a",
                                          ".a & .b",
                                          "'a'",
                                          "\\",
                                          ".a[\"b\"",
                                          ".\"a",
                                          "..a",
                                          "-",
                                          "- -",
                                          "{-1}",
                                          "[.a?",
                                          "true false",
                                          "@",
                                          "$",
                                          "`",
                                          "\x01"};

static void what_is_no_jq_is_refused_both_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof no_programs / sizeof no_programs[0]; i++) {
        struct expr *expr = NULL;
        struct err_text text = {{0}};
        if (expr_compile(no_programs[i], NULL, &expr, &text) == KA_OK)
            fail_msg("'%s' was accepted", no_programs[i]);
        assert_non_null(strstr(text.text, "column "));
        bool odd =
            strcmp(no_programs[i], "") == 0 || strcmp(no_programs[i], " ") == 0 ||
            no_programs[i][0] == '#'; // jq takes these; the native slicer has no use for them
        enum ka_err err = expr_compile(no_programs[i], &io_jq_engine, &expr, &text);
        if (!odd && err != KA_ERR_CONFIG)
            fail_msg("'%s' was accepted by libjq", no_programs[i]);
        assert_true(err == KA_OK || expr == NULL);
        expr_free(&expr);
    }
}

static void the_rest_of_jq_goes_to_the_engine(void **state)
{
    (void)state;
    static const struct {
        const char *source;
        const char *result;
    } rows[] = {
        {".a + 1", "2"},
        {"[.list[] | select(.n > 1) | .sku]", "[\"s2\"]"},
        {"if .a == 1 then \"one\" else \"other\" end", "\"one\""},
        {"\"id-\\(.a)\"", "\"id-1\""},
        {"[.. | numbers] | add", "4"},
        {". as {a: $x} | $x", "1"},
        {"{(\"a\" + \"b\"): .a}", "{\"ab\":1}"},
        {".list | map(.n)", "[1,2]"},
        {"try error(\"x\") catch .", "\"x\""},
        {"@base64 \"\\(.a)\"", "\"MQ==\""},
        {".list | first(.[])", "{\"sku\":\"s1\",\"n\":1}"},
        {"reduce .list[] as $i (0; . + $i.n)", "3"},
        {"-.a", "-1"},
        {"$__loc__ | .line", "1"},
        {"getpath([\"a\"])", "1"},
        {"def f: .a; f", "1"},
    };
    struct slice input =
        SLICE_LIT("{\"a\":1,\"list\":[{\"sku\":\"s1\",\"n\":1},{\"sku\":\"s2\",\"n\":2}]}");
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct expr *expr;
        struct slice out;
        assert_int_equal(expr_compile(rows[i].source, NULL, &expr, NULL), KA_ERR_CONFIG);
        assert_int_equal(expr_compile(rows[i].source, &io_jq_engine, &expr, NULL), KA_OK);
        assert_false(expr_native(expr));
        assert_string_equal(expr_source(expr), rows[i].source);
        assert_int_equal(expr_eval(expr, input, &arena, &out, NULL), KA_OK);
        assert_true(slice_eq(out, slice_str(rows[i].result)));
        expr_free(&expr);
    }
    arena_fini(&arena);
}

static void programs_that_would_not_replay_are_refused(void **state)
{
    (void)state;
    static const char *const refused[] = {"now",
                                          ".a | now",
                                          "[now]",
                                          "(now)",
                                          "{a: now}",
                                          "{a: 1 | now}",
                                          "{(now): 1}",
                                          "{a: [1, now]}",
                                          "{a: (1, now)}",
                                          "\"x\\(now)\"",
                                          "\"a\\(\"b\\(now)\")\"",
                                          "\"\\(1) \\(now)\"",
                                          "@json \"\\(now)\"",
                                          "now|todate",
                                          "input",
                                          "[inputs]",
                                          "env",
                                          "env.HOME",
                                          "$ENV",
                                          "$ENV.PATH",
                                          "$ ENV",
                                          "{$ENV}",
                                          "input_filename",
                                          "input_line_number",
                                          "debug",
                                          ".a|debug",
                                          "stderr",
                                          "halt",
                                          "halt_error",
                                          "1|halt_error(2)",
                                          "localtime",
                                          "strflocaltime(\"%H\")",
                                          "def now: 1; now",
                                          "def f: now; f",
                                          "try now catch .",
                                          "if now then 1 else 2 end",
                                          ".[now]",
                                          "import \"a\" as a; 1",
                                          "include \"a\"; 1",
                                          "modulemeta",
                                          "get_search_list",
                                          "..|now",
                                          ". as $now | now",
                                          "1.now|now",
                                          "# x\nnow",
                                          "{a: .b, c: now}",
                                          "{a: {b: now}}",
                                          "f(now; 1)",
                                          "f(1; now)",
                                          "$x|input",
                                          "{\"a\": input}",
                                          "{\"a\\(input)\": 1}"};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct expr *expr = NULL;
        struct err_text text = {{0}};
        assert_int_equal(expr_compile(refused[i], &io_jq_engine, &expr, &text), KA_ERR_CONFIG);
        if (strstr(text.text, "is not allowed") == NULL)
            fail_msg("'%s': %s", refused[i], text.text);
    }
    struct expr *expr = NULL;
    struct err_text text;
    assert_int_equal(expr_compile("{a: now}", NULL, &expr, &text), KA_ERR_CONFIG);
    assert_string_equal(text.text,
                        "column 5: 'now' is not allowed: the result of an expression may "
                        "depend on its input only");
}

static void names_of_refused_functions_are_fine_as_names(void **state)
{
    (void)state;
    static const char *const fine[] = {".now",
                                       ".\"now\"",
                                       ".[\"now\"]",
                                       "\"now\"",
                                       "{now}",
                                       "{now: 1}",
                                       "{a, now}",
                                       "{a: .b, now: .c}",
                                       "{\"now\"}",
                                       ".input.env",
                                       "\"\\(.now)\"",
                                       ". as $now | $now",
                                       ". as {now: $x} | $x",
                                       "# now\n.",
                                       "{a: {env: .b}, debug: 1}",
                                       "$__loc__",
                                       "[.now, .env]",
                                       "getpath([\"env\"])",
                                       "0 | mktime?",
                                       ". as {a: $x, env: $y} | $y",
                                       "1425599621 | gmtime | mktime"};
    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++) {
        struct expr *expr = NULL;
        struct err_text text = {{0}};
        if (expr_compile(fine[i], &io_jq_engine, &expr, &text) != KA_OK)
            fail_msg("'%s': %s", fine[i], text.text);
        expr_free(&expr);
    }
}

static void values_are_passed_on_byte_for_byte(void **state)
{
    (void)state;
    struct arena arena;
    struct expr *expr;
    struct slice out;
    struct slice input =
        SLICE_LIT("{\"id\":12345678901234567890,\"price\":1.10,\"o\":{ \"x\" :1.0}}");
    arena_init(&arena);
    assert_int_equal(expr_compile(".o", NULL, &expr, NULL), KA_OK);
    assert_int_equal(expr_eval(expr, input, &arena, &out, NULL), KA_OK);
    assert_true(slice_eq(out, SLICE_LIT("{ \"x\" :1.0}")));
    assert_true(out.ptr > input.ptr && out.ptr < input.ptr + input.len);
    assert_null(arena.head); // nothing was allocated
    expr_free(&expr);
    assert_int_equal(expr_compile("{n: .id, list: [.price]}", NULL, &expr, NULL), KA_OK);
    assert_int_equal(expr_eval(expr, input, &arena, &out, NULL), KA_OK);
    assert_true(slice_eq(out, SLICE_LIT("{\"n\":12345678901234567890,\"list\":[1.10]}")));
    expr_free(&expr);
    arena_fini(&arena);
}

static void errors_say_what_went_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *source;
        const char *input;
        const char *text;
    } rows[] = {
        {".a", "1", "cannot index number with \"a\""},
        {".a.b", "{\"a\":\"x\"}", "cannot index string with \"b\""},
        {".[0]", "{}", "cannot index object with a number"},
        {".[]", "null", "cannot iterate over null"},
        {"length", "true", "boolean has no length"},
    };
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct expr *expr;
        struct slice out;
        struct err_text text;
        assert_int_equal(expr_compile(rows[i].source, NULL, &expr, NULL), KA_OK);
        assert_int_equal(expr_eval(expr, slice_str(rows[i].input), &arena, &out, &text),
                         KA_ERR_EXPR);
        assert_string_equal(text.text, rows[i].text);
        assert_int_equal(expr_eval(expr, slice_str(rows[i].input), &arena, &out, NULL),
                         KA_ERR_EXPR);
        expr_free(&expr);
    }
    arena_fini(&arena);
}

static void no_output_is_none_and_no_input_is_null(void **state)
{
    (void)state;
    struct arena arena;
    struct expr *expr;
    struct slice out = SLICE_LIT("x");
    arena_init(&arena);
    assert_int_equal(expr_compile("empty", NULL, &expr, NULL), KA_OK);
    assert_int_equal(expr_eval(expr, SLICE_LIT("1"), &arena, &out, NULL), KA_OK);
    assert_true(slice_none(out));
    expr_free(&expr);
    assert_int_equal(expr_compile(".a", NULL, &expr, NULL), KA_OK);
    assert_int_equal(expr_eval(expr, SLICE_NONE, &arena, &out, NULL), KA_OK);
    assert_true(slice_eq(out, SLICE_LIT("null")));
    expr_free(&expr);
    expr_free(&expr);
    arena_fini(&arena);
}

static void truth_is_everything_but_false_null_and_none(void **state)
{
    (void)state;
    assert_false(expr_true(SLICE_NONE));
    assert_false(expr_true(SLICE_LIT("null")));
    assert_false(expr_true(SLICE_LIT("false")));
    assert_true(expr_true(SLICE_LIT("true")));
    assert_true(expr_true(SLICE_LIT("0")));
    assert_true(expr_true(SLICE_LIT("\"\"")));
    assert_true(expr_true(SLICE_LIT("[]")));
}

static void broken_tokens_are_refused_with_their_column(void **state)
{
    (void)state;
    static const struct {
        const char *source;
        const char *text;
    } rows[] = {
        {".a == \"x", "column 7: string without end"},
        {".a == \"x\\", "column 7: string without end"},
        {".a \"", "column 4: string without end"},
        {"\"\\(.a) x", "column 7: string without end"},
        {".a & .b", "column 4: unexpected character"},
        {".a \xC3\xA9", "column 4: unexpected character"},
        {"[1, `", "column 5: unexpected character"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct expr *expr;
        struct err_text text;
        assert_int_equal(expr_compile(rows[i].source, &io_jq_engine, &expr, &text), KA_ERR_CONFIG);
        assert_string_equal(text.text, rows[i].text);
        assert_null(expr);
    }
}

static void hostile_programs_are_refused_or_run(void **state)
{
    (void)state;
    size_t size = 200000;
    char *source = malloc(size + 1);
    static const char *const repeated[] = {"(", "[",     "{a:", ".a", "|.",    ",.",  "?",
                                           "-", "\"\\(", "{",   ")",  " or .", "//.", ".[0]"};
    for (size_t i = 0; i < sizeof repeated / sizeof repeated[0]; i++) {
        size_t len = strlen(repeated[i]);
        size_t at = 0;
        source[at++] = '.';
        while (at + len < size)
            at += (size_t)snprintf(source + at, size + 1 - at, "%s", repeated[i]);
        struct expr *expr = NULL;
        assert_int_equal(expr_compile(source, NULL, &expr, NULL), KA_ERR_CONFIG);
        assert_null(expr);
    }
    free(source);
}

static void results_are_bounded(void **state)
{
    (void)state;
    struct arena arena;
    struct expr *expr;
    struct slice out;
    struct err_text text;
    char source[1000];
    size_t at = (size_t)snprintf(source, sizeof source, ".");
    for (int i = 0; i < 40; i++)
        at += (size_t)snprintf(source + at, sizeof source - at, "|[.,.]");
    arena_init(&arena);
    assert_int_equal(expr_compile(source, NULL, &expr, NULL), KA_OK);
    assert_int_equal(expr_eval(expr, SLICE_LIT("1"), &arena, &out, &text), KA_ERR_TOO_LARGE);
    assert_true(arena.allocated < 5 * (size_t)EXPR_OUTPUT_MAX);
    assert_true(slice_none(out));
    expr_free(&expr);
    arena_fini(&arena);
}

// --- random programs -----------------------------------------------------------------------------

struct random {
    uint64_t seed;
    char text[2000];
    size_t len;
};

static size_t pick(struct random *random, size_t below)
{
    random->seed += 0x9E3779B97F4A7C15ULL;
    return (size_t)(hash_mix(random->seed) % below);
}

static void put(struct random *random, const char *text)
{
    size_t len = strlen(text);
    if (random->len + len < sizeof random->text) {
        memcpy(random->text + random->len, text, len + 1);
        random->len += len;
    }
}

static void put_program(struct random *random, int depth)
{
    static const char *const leaves[] = {
        ".",        ".a",    ".b",   ".a.b",  ".[0]",       ".[-1]",      ".a?",  ".[0]?",
        ".\"a\"",   "1",     "0",    "-1",    "\"a\"",      "null",       "true", "false",
        "[]",       "{}",    "{a}",  "{a,b}", ".[]",        ".[]?",       "not",  "length",
        "tostring", "empty", "1.50", ".b[1]", ".a[\"b\"]?", "\"\\u0061\""};
    static const char *const joins[] = {" == ", " != ", " < ", " <= ", " > ", " >= ", " and ",
                                        " or ", " // ", ", ",  " | ",  "|",   "//",   "=="};
    static const char *const wraps[][2] = {{"(", ")"},    {"[", "]"},        {"{a:(", ")}"},
                                           {"(", ")?"},   {"{\"b\": ", "}"}, {"(", ")|.a"},
                                           {"[", "][0]"}, {"(", ").b?"},     {"", "?"},
                                           {"-", ""},     {"(", ")//1"},     {"{a:1,b:", "}"}};
    size_t kind = depth == 0 ? 0 : pick(random, 3);
    if (kind == 0) {
        put(random, leaves[pick(random, sizeof leaves / sizeof leaves[0])]);
    } else if (kind == 1) {
        put_program(random, depth - 1);
        put(random, joins[pick(random, sizeof joins / sizeof joins[0])]);
        put_program(random, depth - 1);
    } else {
        size_t wrap = pick(random, sizeof wraps / sizeof wraps[0]);
        put(random, wraps[wrap][0]);
        put_program(random, depth - 1);
        put(random, wraps[wrap][1]);
    }
}

static void put_document(struct random *random, int depth)
{
    static const char *const leaves[] = {"null", "true", "false", "0",     "1",           "-1",
                                         "1.0",  "1e2",  "\"\"",  "\"a\"", "\"\\u0061\"", "\"b c\"",
                                         "[]",   "{}",   "0.1",   "1e400"};
    static const char *const names[] = {"\"a\":", "\"b\":", "\"c\":", "\"\\u0061\":"};
    size_t kind = depth == 0 ? 0 : pick(random, 4);
    if (kind < 1) {
        put(random, leaves[pick(random, sizeof leaves / sizeof leaves[0])]);
        return;
    }
    put(random, kind == 1 ? "[" : "{");
    for (size_t i = pick(random, 4); i > 0; i--) {
        if (kind != 1)
            put(random, names[pick(random, sizeof names / sizeof names[0])]);
        put_document(random, depth - 1);
        put(random, i > 1 ? "," : "");
    }
    put(random, kind == 1 ? "]" : "}");
}

// KASAGA_EXPR_PROGRAMS and KASAGA_EXPR_SEED repeat or lengthen it.
static void random_programs_give_what_libjq_gives(void **state)
{
    struct both *both = *state;
    const char *count = getenv("KASAGA_EXPR_PROGRAMS");
    const char *seed = getenv("KASAGA_EXPR_SEED");
    long programs_wanted = count == NULL ? 150 : atol(count);
    struct random random = {.seed = seed == NULL ? 4711 : (uint64_t)atol(seed)};
    struct random document = {.seed = random.seed + 1};
    for (long native = 0; native < programs_wanted;) {
        random.len = 0;
        put_program(&random, 4);
        if (!both_open(both, random.text))
            continue;
        native++;
        for (int i = 0; i < 25; i++) {
            document.len = 0;
            put_document(&document, 4);
            if (document.len + 8 < sizeof document.text)
                compare(both, random.text, slice_of(document.text, document.len));
        }
        both_close(both);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(native_results_are_those_of_libjq),
        cmocka_unit_test(random_programs_give_what_libjq_gives),
        cmocka_unit_test(what_is_no_jq_is_refused_both_ways),
        cmocka_unit_test(the_rest_of_jq_goes_to_the_engine),
        cmocka_unit_test(programs_that_would_not_replay_are_refused),
        cmocka_unit_test(names_of_refused_functions_are_fine_as_names),
        cmocka_unit_test(values_are_passed_on_byte_for_byte),
        cmocka_unit_test(errors_say_what_went_wrong),
        cmocka_unit_test(no_output_is_none_and_no_input_is_null),
        cmocka_unit_test(truth_is_everything_but_false_null_and_none),
        cmocka_unit_test(broken_tokens_are_refused_with_their_column),
        cmocka_unit_test(hostile_programs_are_refused_or_run),
        cmocka_unit_test(results_are_bounded),
    };
    return cmocka_run_group_tests(tests, open_printer, close_printer);
}
