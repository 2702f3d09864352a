// SPDX-License-Identifier: Apache-2.0
// Every file of tests/unit/conf_broken says in its first lines what is wrong with it:
//
//   # expect 7: unknown key "retires", did you mean "retry"?
//   # expect parts/actions.conf:4: …         in an included file
//   # warn 3: library "none.so" was not found: …
//
// Line 0 is the file as a whole; a text that ends in … is a beginning. All of it must be reported,
// and nothing else. (R16; R37, R57: patterns, kinds and options that there are not)
#include "io/conf.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// cmocka wants the headers above it
#include <cmocka.h>

#define DIRECTORY "tests/unit/conf_broken/"
#define DOTS "…"

struct expectation {
    bool warning;
    char file[128];
    int line;
    char text[512];
};

// Reads "# expect 7: text"; false for any other line.
static bool read_expectation(char *line, const char *path, struct expectation *out)
{
    *out = (struct expectation){.warning = strncmp(line, "# warn ", 7) == 0};
    if (!out->warning && strncmp(line, "# expect ", 9) != 0)
        return false;
    line[strcspn(line, "\n")] = '\0';
    char *at = line + (out->warning ? 7 : 9);
    char *number = at;
    char *text = strstr(at, ": ");
    assert_non_null(text);
    *text = '\0';
    char *colon = strchr(at, ':');
    if (colon != NULL) {
        *colon = '\0';
        number = colon + 1;
        snprintf(out->file, sizeof out->file, DIRECTORY "%s", at);
    } else {
        snprintf(out->file, sizeof out->file, "%s", path);
    }
    out->line = atoi(number);
    snprintf(out->text, sizeof out->text, "%s", text + 2);
    return true;
}

static bool fits(const struct expectation *expected, const struct conf_problem *found)
{
    size_t len = strlen(expected->text);
    size_t dots = sizeof DOTS - 1;
    bool beginning = len > dots && strcmp(expected->text + len - dots, DOTS) == 0;
    bool text = beginning ? strncmp(expected->text, found->text, len - dots) == 0
                          : strcmp(expected->text, found->text) == 0;
    return text && expected->warning == found->warning && expected->line == found->line &&
           strcmp(expected->file, found->file) == 0;
}

static void must_report(const struct conf_report *report, const struct expectation *expected)
{
    for (size_t i = 0; i < report->count; i++)
        if (fits(expected, &report->problems[i]))
            return;
    struct buf buf = {0};
    conf_report_text(report, &buf);
    fail_msg("%s:%d: not reported: %s\nbut:\n%.*s", expected->file, expected->line, expected->text,
             (int)buf.len, buf.ptr == NULL ? "" : buf.ptr);
}

static void check_file(const char *path)
{
    char line[600];
    size_t expected = 0;
    size_t errors = 0;
    struct expectation expectation;
    struct config *config = NULL;
    struct conf_report report = {0};
    enum ka_err err = io_conf_load(path, &config, &report);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL && read_expectation(line, path, &expectation)) {
        must_report(&report, &expectation);
        expected++;
        errors += !expectation.warning;
    }
    fclose(file);
    if (expected != report.count || expected == 0)
        fail_msg("%s: %zu problems expected, %zu found", path, expected, report.count);
    assert_int_equal(report.errors, errors);
    assert_int_equal(err, errors > 0 ? KA_ERR_CONFIG : KA_OK);
    assert_int_equal(config == NULL, errors > 0);
    io_conf_free(&config);
    conf_report_fini(&report);
}

static void every_broken_file_is_refused_with_all_that_is_wrong(void **state)
{
    (void)state;
    glob_t found;
    assert_int_equal(glob(DIRECTORY "[0-9]*.conf", 0, NULL, &found), 0);
    assert_true(found.gl_pathc >= 40);
    for (size_t i = 0; i < found.gl_pathc; i++)
        check_file(found.gl_pathv[i]);
    print_message("%zu files\n", found.gl_pathc);
    globfree(&found);
}

static void parse(const char *text, size_t len, struct conf_report *report)
{
    struct config *config = NULL;
    assert_int_equal(io_conf_parse(slice_of(text, len), &config, report), KA_ERR_CONFIG);
    assert_null(config);
    assert_true(report->errors > 0);
}

static void the_number_of_reported_problems_is_bounded(void **state)
{
    (void)state;
    struct buf text = {0};
    struct conf_report report = {0};
    for (int i = 0; i < 300; i++) {
        buf_str(&text, "zz");
        buf_i64(&text, i);
        buf_str(&text, " = 1;\n");
    }
    parse(text.ptr, text.len, &report);
    assert_int_equal(report.count, CONF_PROBLEMS_MAX);
    assert_int_equal(report.errors, 302); // and app, and the brokers
    assert_int_equal(report.left_out, 202);
    buf_clear(&text);
    conf_report_text(&report, &text);
    assert_non_null(memmem(text.ptr, text.len, "and 202 more\n", 13));
    buf_fini(&text);
    conf_report_fini(&report);
}

static void problems_are_in_the_order_of_lines(void **state)
{
    (void)state;
    struct conf_report report = {0};
    const char text[] = "x1 = 1;\nlanes = { x2 = 1; };\nx3 = 1;\napp = \"a\";\nkafka = { };\n"
                        "state_max = \"16MiB\";\n";
    parse(text, sizeof text - 1, &report);
    for (size_t i = 1; i < report.count; i++)
        assert_true(report.problems[i - 1].line <= report.problems[i].line);
    conf_report_fini(&report);
}

static void what_is_no_text_is_refused(void **state)
{
    (void)state;
    static const char nul[] = "app = \"shop\";\0";
    static const char utf8[] = "app = \"shop\"; region = \"\xC3\x28\";";
    static const char include[] = "@include \"conf/order.conf\"\n";
    struct conf_report report = {0};
    parse(nul, sizeof nul - 1, &report);
    assert_non_null(strstr(report.problems[0].text, "NUL"));
    conf_report_fini(&report);
    parse(utf8, sizeof utf8 - 1, &report);
    conf_report_fini(&report);
    parse(include, sizeof include - 1, &report);
    assert_string_equal(report.problems[0].text, "@include is not possible here");
    conf_report_fini(&report);
}

static void deep_nesting_is_refused(void **state)
{
    (void)state;
    struct buf text = {0};
    struct conf_report report = {0};
    buf_str(&text, "a = ");
    for (int i = 0; i < 100; i++)
        buf_str(&text, "(");
    for (int i = 0; i < 100; i++)
        buf_str(&text, ")");
    parse(text.ptr, text.len, &report);
    conf_report_fini(&report);
    buf_clear(&text);
    buf_str(&text, "a = ");
    for (int i = 0; i < 100000; i++)
        buf_str(&text, "(");
    parse(text.ptr, text.len, &report);
    conf_report_fini(&report);
    buf_fini(&text);
}

static void files_that_cannot_be_read_are_named(void **state)
{
    (void)state;
    static const char *const paths[] = {"/nonexistent/kasaga.conf", "/tmp", "/dev/zero"};
    static const char *const texts[] = {"the file does not exist", "the file is not a regular file",
                                        "the file is not a regular file"};
    for (size_t i = 0; i < 3; i++) {
        struct config *config = NULL;
        struct conf_report report = {0};
        assert_int_equal(io_conf_load(paths[i], &config, &report), KA_ERR_CONFIG);
        assert_string_equal(report.problems[0].file, paths[i]);
        assert_string_equal(report.problems[0].text, texts[i]);
        conf_report_fini(&report);
    }
}

static int set_up(void **state)
{
    (void)state;
    unsetenv("KASAGA_PLUGINS");
    return unsetenv("KASAGA_BOOTSTRAP");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_broken_file_is_refused_with_all_that_is_wrong),
        cmocka_unit_test(the_number_of_reported_problems_is_bounded),
        cmocka_unit_test(problems_are_in_the_order_of_lines),
        cmocka_unit_test(what_is_no_text_is_refused),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(files_that_cannot_be_read_are_named),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
