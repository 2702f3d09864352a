// SPDX-License-Identifier: Apache-2.0
#include "io/plugin.h"

#include "plugins.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
// cmocka wants the headers above it
#include <cmocka.h>

static struct err_text text;

static void assert_refused(const char *path, const char *why)
{
    struct io_plugin *plugin = NULL;
    assert_int_equal(io_plugin_open(path, &plugin, &text), KA_ERR_CONFIG);
    assert_null(plugin);
    if (strstr(text.text, why) == NULL || strstr(text.text, path) == NULL)
        fail_msg("expected \"%s\" and the path in: %s", why, text.text);
}

static void a_library_tells_what_it_has(void **state)
{
    (void)state;
    struct io_plugin *plugin = plugins_open(plugins_shop());
    assert_string_equal(io_plugin_name(plugin), "shop");
    assert_string_equal(io_plugin_version(plugin), "1.0.0");
    assert_string_equal(io_plugin_path(plugin), plugins_shop());
    assert_int_equal(io_plugin_action_count(plugin), 8);
    assert_string_equal(io_plugin_action(plugin, 0)->name, "order.validate");
    assert_string_equal(io_plugin_lookup(plugin, "payment.charge")->undo, "payment.refund");
    assert_null(io_plugin_lookup(plugin, "payment.steal"));
    io_plugin_close(&plugin);
    assert_null(plugin);
    io_plugin_close(&plugin);
}

static void another_abi_is_refused(void **state)
{
    (void)state;
    assert_refused(plugins_probe("-DPROBE_ABI=99"), "plugin ABI 99, this kasaga has 1");
}

static void a_library_without_the_symbol_is_refused(void **state)
{
    (void)state;
    assert_refused(plugins_probe("-DPROBE_NO_SYMBOL"), "does not export kasaga_plugin");
}

static void broken_descriptors_are_refused_by_name(void **state)
{
    (void)state;
    assert_refused(plugins_probe("-DPROBE_NO_INFO"), "returned NULL");
    assert_refused(plugins_probe("-DPROBE_SHORT"), "struct_size of the library is 16");
    assert_refused(plugins_probe("-DPROBE_NO_RUN"), "\"probe.patient\": it has no run function");
    assert_refused(plugins_probe("-DPROBE_BAD_NAME"), "action 4 \"\": its name is not");
    assert_refused(plugins_probe("-DPROBE_TWICE"), "\"probe.echo\" is there twice");
    assert_refused(plugins_probe("-DPROBE_BAD_DEFAULT"), "its default is not an integer");
    assert_refused(plugins_probe("-DPROBE_BAD_SCHEMA"), "params_avsc");
}

static void a_later_header_may_have_longer_descriptors(void **state)
{
    (void)state;
    struct io_plugin *plugin = plugins_open(plugins_probe("-DPROBE_GROWN"));
    assert_int_equal(io_plugin_action_count(plugin), 6);
    assert_string_equal(io_plugin_action(plugin, 5)->name, "probe.alone");
    assert_non_null(io_plugin_lookup(plugin, "probe.alone")->fini);
    io_plugin_close(&plugin);
}

static void only_a_regular_file_with_an_absolute_path_is_loaded(void **state)
{
    (void)state;
    assert_refused("shop.so", "not an absolute path");
    assert_refused("/no/such/shop.so", "No such file");
    assert_refused("/tmp", "not a regular file");
    assert_refused("/etc/passwd", "invalid ELF header");
}

static void a_file_that_anybody_may_write_is_refused(void **state)
{
    (void)state;
    const char *path = plugins_probe(NULL);
    assert_int_equal(chmod(path, 0777), 0);
    assert_refused(path, "anybody may write it");
}

static void a_directory_that_anybody_may_write_is_refused(void **state)
{
    (void)state;
    char directory[128];
    const char *path = plugins_probe(NULL);
    snprintf(directory, sizeof directory, "%s", path);
    *strrchr(directory, '/') = '\0';
    assert_int_equal(chmod(directory, 0777), 0);
    assert_refused(path, "anybody may write its directory");
    assert_int_equal(chmod(directory, 0700), 0);
}

static void a_file_of_another_user_is_refused(void **state)
{
    (void)state;
    const char *path = plugins_probe(NULL);
    if (geteuid() != 0)
        skip();
    assert_int_equal(chown(path, 12345, (gid_t)-1), 0);
    assert_refused(path, "it belongs to user 12345");
}

// ------------------------------------------------------------------------------------- options

static enum ka_err read_options(const char *json, bool run_inline, struct arena *arena,
                                struct kasaga_options **options)
{
    static struct io_plugin *plugin;
    if (plugin == NULL)
        plugin = plugins_open(plugins_probe(NULL));
    return io_plugin_options(io_plugin_lookup(plugin, "probe.alone"), slice_str(json), run_inline,
                             arena, options, &text);
}

static void options_are_read_by_the_table(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct kasaga_options *options = NULL;
    const char *json = "{\"size\":4,\"ratio\":1.5,\"wait\":\"2s\",\"password\":\"a\\\"b\","
                       "\"extra\": [1, 2] }";
    assert_int_equal(read_options(json, true, &arena, &options), KA_OK);
    assert_int_equal(options->count, 6);
    assert_int_equal(options->run_inline, 1);
    assert_int_equal(options->values[0].integer, 0);
    assert_int_equal(options->values[1].integer, 4);
    assert_true(options->values[2].number > 1.4 && options->values[2].number < 1.6);
    assert_int_equal(options->values[3].integer, 2000);
    assert_string_equal(options->values[4].text.ptr, "a\"b");
    assert_string_equal(options->values[5].text.ptr, "[1, 2]");
    arena_fini(&arena);
}

static void left_out_options_have_their_defaults(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct kasaga_options *options = NULL;
    assert_int_equal(read_options(NULL, false, &arena, &options), KA_OK);
    assert_int_equal(options->values[1].integer, 2);
    assert_int_equal(options->values[3].integer, 3000);
    assert_int_equal(options->values[3].present, 1);
    assert_int_equal(options->values[4].present, 0);
    assert_string_equal(options->values[5].text.ptr, "{\"a\": [1]}");
    arena_fini(&arena);
}

static void assert_options_refused(const char *json, const char *why)
{
    struct arena arena = {0};
    struct kasaga_options *options = NULL;
    assert_int_equal(read_options(json, false, &arena, &options), KA_ERR_CONFIG);
    if (strstr(text.text, why) == NULL || strstr(text.text, "probe.alone") == NULL)
        fail_msg("expected \"%s\" and the action in: %s", why, text.text);
    arena_fini(&arena);
}

static void every_wrong_option_is_named_at_once(void **state)
{
    (void)state;
    const char *json = "{\"size\":101,\"ratio\":\"x\",\"wait\":\"2 s\",\"sise\":2}";
    assert_options_refused(json, "option \"size\": expected a value within its bounds [0, 100]");
    assert_options_refused(json, "option \"ratio\": expected a number, found \"x\"");
    assert_options_refused(json, "option \"wait\": expected a duration such as");
    assert_options_refused(json, "unknown option \"sise\" (known: refuse size ratio wait");
}

static void secrets_do_not_show_in_errors(void **state)
{
    (void)state;
    assert_options_refused("{\"password\":31337}", "option \"password\": expected a string");
    assert_null(strstr(text.text, "31337"));
}

static void what_the_table_cannot_say_is_asked_of_validate(void **state)
{
    (void)state;
    assert_options_refused("{\"size\":3}", "size must be even");
    assert_options_refused("[1]", "not an object");
    assert_options_refused("{\"size\":", "options of action");
}

static void a_required_option_must_be_there(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct kasaga_options *options = NULL;
    struct io_plugin *plugin = plugins_open(plugins_probe(NULL));
    const struct kasaga_action *action = io_plugin_lookup(plugin, "probe.gate");
    assert_int_equal(io_plugin_options(action, SLICE_NONE, false, &arena, &options, &text),
                     KA_ERR_CONFIG);
    assert_non_null(strstr(text.text, "option \"gate\" is required"));
    arena_fini(&arena);
    io_plugin_close(&plugin);
}

static void inline_needs_the_consent_of_the_plugin(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct kasaga_options *options = NULL;
    struct io_plugin *plugin = plugins_open(plugins_probe(NULL));
    const struct kasaga_action *action = io_plugin_lookup(plugin, "probe.patient");
    assert_int_equal(io_plugin_options(action, SLICE_NONE, true, &arena, &options, &text),
                     KA_ERR_CONFIG);
    assert_non_null(strstr(text.text, "does not allow it to run inline"));
    assert_int_equal(io_plugin_options(action, SLICE_NONE, false, &arena, &options, &text), KA_OK);
    arena_fini(&arena);
    io_plugin_close(&plugin);
}

static void the_header_is_for_cpp_too(void **state)
{
    (void)state;
    const char *command =
        "printf '#include <kasaga/action.h>\\n' | c++ -std=c++11 -Wall -Wextra "
        "-Wpedantic -Wshadow -Wconversion -Werror -Iinclude -fsyntax-only -x c++ -";
    assert_int_equal(system(command), 0);
}

// As a reader of the page would: nothing but the header.
static void the_plugin_of_the_readme_builds_and_runs(void **state)
{
    (void)state;
    char path[64] = "/tmp/kasaga-hello-XXXXXX";
    char command[512];
    close(mkstemp(path));
    snprintf(command, sizeof command,
             "awk '/^```c$/ { on = 1; next } /^```/ { on = 0 } on' examples/plugins/README.md | "
             "cc -std=c11 -Wall -Wextra -Wpedantic -Werror -shared -fPIC -Iinclude -x c - -o %s",
             path);
    assert_int_equal(system(command), 0);
    struct io_plugin *plugin = plugins_open(path);
    struct runner *runner = plugins_runner(plugin, "hello.greet", NULL, true);
    struct action_def action;
    struct invocation call = plugins_invocation(runner, &action);
    struct arena arena = {0};
    struct action_result result;
    call.input = SLICE_LIT("{\"name\":\"A \\\"B\\\"\"}");
    runner_run(runner, &call, NULL, &arena, &result);
    assert_true(slice_eq(result.data, SLICE_LIT("{\"greeting\":\"A \\\"B\\\"\"}")));
    arena_fini(&arena);
    runner_free(&runner);
    io_plugin_close(&plugin);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_library_tells_what_it_has),
        cmocka_unit_test(another_abi_is_refused),
        cmocka_unit_test(a_library_without_the_symbol_is_refused),
        cmocka_unit_test(broken_descriptors_are_refused_by_name),
        cmocka_unit_test(a_later_header_may_have_longer_descriptors),
        cmocka_unit_test(only_a_regular_file_with_an_absolute_path_is_loaded),
        cmocka_unit_test(a_file_that_anybody_may_write_is_refused),
        cmocka_unit_test(a_directory_that_anybody_may_write_is_refused),
        cmocka_unit_test(a_file_of_another_user_is_refused),
        cmocka_unit_test(options_are_read_by_the_table),
        cmocka_unit_test(left_out_options_have_their_defaults),
        cmocka_unit_test(every_wrong_option_is_named_at_once),
        cmocka_unit_test(secrets_do_not_show_in_errors),
        cmocka_unit_test(what_the_table_cannot_say_is_asked_of_validate),
        cmocka_unit_test(a_required_option_must_be_there),
        cmocka_unit_test(inline_needs_the_consent_of_the_plugin),
        cmocka_unit_test(the_header_is_for_cpp_too),
        cmocka_unit_test(the_plugin_of_the_readme_builds_and_runs),
    };
    return cmocka_run_group_tests_name("plugin", tests, NULL, plugins_clean);
}
