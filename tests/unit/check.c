// SPDX-License-Identifier: Apache-2.0
// kasaga check: exit codes, what goes where, and what only the libraries know.
#include "cmd/cmd.h"
#include "core/json.h"

#include "plugins.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
// cmocka wants the headers above it
#include <cmocka.h>

static char out[64 * 1024];
static char err[64 * 1024];

static FILE *redirect(FILE *stream, int *saved)
{
    FILE *file = tmpfile();
    assert_non_null(file);
    fflush(stream);
    *saved = dup(fileno(stream));
    assert_true(dup2(fileno(file), fileno(stream)) >= 0);
    return file;
}

static void restore(FILE *stream, int saved, FILE *file, char *text)
{
    fflush(stream);
    assert_true(dup2(saved, fileno(stream)) >= 0);
    close(saved);
    rewind(file);
    text[fread(text, 1, sizeof out - 1, file)] = '\0';
    fclose(file);
}

// Runs `check` with up to four words; what it wrote is in out and err.
static int check(const char *a, const char *b, const char *c, const char *d)
{
    const char *words[] = {"check", a, b, c, d, NULL};
    char *argv[6] = {NULL};
    int argc = 0;
    int saved_out;
    int saved_err;
    for (; words[argc] != NULL; argc++)
        argv[argc] = strdup(words[argc]);
    FILE *out_file = redirect(stdout, &saved_out);
    FILE *err_file = redirect(stderr, &saved_err);
    int code = cmd_check(argc, argv);
    restore(stderr, saved_err, err_file, err);
    restore(stdout, saved_out, out_file, out);
    for (int i = 0; i < argc; i++)
        free(argv[i]);
    return code;
}

static char path[64];

static const char *write_conf(const char *action)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file,
            "app = \"shop\"; kafka = { bootstrap = \"b:9092\"; };\nactions = (\n"
            "{ name = \"a\"; kind = \"plugin\"; library = \"shop.so\";\n%s } );\n",
            action);
    assert_int_equal(fclose(file), 0);
    return path;
}

static void a_good_file_is_summed_up(void **state)
{
    (void)state;
    assert_int_equal(check("-c", "conf/order.conf", NULL, NULL), CMD_OK);
    assert_string_equal(err, "");
    assert_non_null(strstr(out, "app shop in region us-west, 12 shards"));
    assert_non_null(strstr(out, "saga order, version 1, hash "));
    assert_non_null(strstr(out, " 3 charge           payment.charge, undo payment.refund\n"));
}

static void everything_wrong_is_on_stderr(void **state)
{
    (void)state;
    write_conf("inlined = true; timeout = 3;");
    assert_int_equal(check("-c", path, NULL, NULL), CMD_BAD_CONFIG);
    assert_string_equal(out, "");
    assert_non_null(strstr(err, ":4: unknown key \"inlined\", did you mean \"inline\"?\n"));
    assert_non_null(strstr(err, ":4: \"timeout\" must be a duration"));
}

static void options_are_checked_by_their_library(void **state)
{
    (void)state;
    write_conf("action = \"payment.charge\"; options = { fail_evry = 10; };");
    assert_int_equal(check("-c", path, NULL, NULL), CMD_OK);
    assert_int_equal(check("-c", path, "--plugins", NULL), CMD_BAD_CONFIG);
    assert_non_null(strstr(err, ":4: "));
    assert_non_null(strstr(err, "fail_evry"));
    write_conf("action = \"payment.steal\";");
    assert_int_equal(check("-c", path, "--plugins", NULL), CMD_BAD_CONFIG);
    assert_non_null(strstr(err, "has no action \"payment.steal\""));
    assert_int_equal(check("-c", "conf/order.conf", "--plugins", NULL), CMD_OK);
}

static void json_holds_problems_and_all(void **state)
{
    (void)state;
    struct err_text text = {{0}};
    write_conf("action = \"payment.steal\"; options = { };");
    const char *const files[] = {"conf/order.conf", path, "conf/none.conf"};
    for (size_t i = 0; i < 3; i++) {
        int code = check("-c", files[i], "--plugins", "-ojson");
        assert_int_equal(code, i == 0 ? CMD_OK : CMD_BAD_CONFIG);
        assert_string_equal(err, "");
        assert_int_equal(json_validate(slice_str(out), &text), KA_OK);
        struct slice problems = json_member(slice_str(out), SLICE_LIT("problems"));
        assert_int_equal(slice_none(json_element(problems, 0)), i == 0);
    }
}

static void without_a_file_the_usage_is_wrong(void **state)
{
    (void)state;
    assert_int_equal(check(NULL, NULL, NULL, NULL), CMD_USAGE);
    assert_int_equal(check("--colour", NULL, NULL, NULL), CMD_USAGE);
    assert_int_equal(check("--help", NULL, NULL, NULL), CMD_OK);
}

static int set_up(void **state)
{
    (void)state;
    char directory[512];
    unsetenv("KASAGA_BOOTSTRAP");
    unsetenv("KASAGA_CONFIG");
    snprintf(directory, sizeof directory, "%s", plugins_shop());
    *strrchr(directory, '/') = '\0';
    setenv("KASAGA_PLUGINS", directory, 1);
    snprintf(path, sizeof path, "/tmp/kasaga-check-%d.conf", (int)getpid());
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_file_is_summed_up),
        cmocka_unit_test(everything_wrong_is_on_stderr),
        cmocka_unit_test(options_are_checked_by_their_library),
        cmocka_unit_test(json_holds_problems_and_all),
        cmocka_unit_test(without_a_file_the_usage_is_wrong),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
