// SPDX-License-Identifier: Apache-2.0
#include "plugins.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
// cmocka wants the headers above it
#include <cmocka.h>

static char directory[64];
static int built;

const char *plugins_shop(void)
{
    static char path[PATH_MAX];
    const char *build = getenv("KASAGA_BUILD");
    char plain[PATH_MAX];
    snprintf(plain, sizeof plain, "%s/plugins/shop.so", build != NULL ? build : "build/gcc");
    if (realpath(plain, path) == NULL)
        fail_msg("%s is not there: run make first", plain);
    return path;
}

const char *plugins_probe(const char *define)
{
    static char path[128];
    char command[512];
    if (directory[0] == '\0') {
        snprintf(directory, sizeof directory, "/tmp/kasaga-plugins-XXXXXX");
        assert_non_null(mkdtemp(directory));
    }
    snprintf(path, sizeof path, "%s/probe-%d.so", directory, built++);
    snprintf(command, sizeof command,
             "cc -std=c11 -D_GNU_SOURCE -g -shared -fPIC -Iinclude -Itests/lib %s "
             "tests/plugins/probe.c -o %s && chmod 755 %s",
             define != NULL ? define : "", path, path);
    if (system(command) != 0)
        fail_msg("failed: %s", command);
    return path;
}

int plugins_clean(void **state)
{
    char command[128];
    (void)state;
    if (directory[0] == '\0')
        return 0;
    snprintf(command, sizeof command, "rm -rf %s", directory);
    directory[0] = '\0';
    return system(command);
}

struct io_plugin *plugins_open(const char *path)
{
    struct io_plugin *plugin = NULL;
    struct err_text text = {{0}};
    if (io_plugin_open(path, &plugin, &text) != KA_OK)
        fail_msg("%s", text.text);
    return plugin;
}

static struct runner *make(enum runner_kind kind, const struct runner_config *config)
{
    struct runner *runner = NULL;
    struct err_text text = {{0}};
    if (runner_new(kind, config, &runner, &text) != KA_OK)
        fail_msg("%s", text.text);
    return runner;
}

struct runner *plugins_runner(struct io_plugin *plugin, const char *action, const char *options,
                              bool run_inline)
{
    struct runner_config config = {
        .name = action,
        .plugin = plugin,
        .options = slice_str(options),
        .run_inline = run_inline,
    };
    return make(RUNNER_PLUGIN, &config);
}

struct runner *plugins_program(const char *const *argv)
{
    struct runner_config config = {.name = "program", .program = {.argv = argv}};
    return make(RUNNER_EXEC, &config);
}

struct invocation plugins_invocation(struct runner *runner, struct action_def *action)
{
    *action = (struct action_def){
        .name = runner_name(runner),
        .kind = runner_kind(runner) == RUNNER_EXEC ? ACTION_EXEC : ACTION_PLUGIN,
        .run_inline = runner_is_inline(runner),
        .runner = runner,
    };
    return (struct invocation){
        .action = action,
        .key = SLICE_LIT("order/1"),
        .incarnation = 42,
        .step = 2,
        .step_name = "charge",
        .attempt = 1,
        .input = SLICE_LIT("{\"order_id\":\"A1\",\"total\":5}"),
        .idempotency_key = SLICE_LIT("order/1@42/charge"),
        .timeout_ms = 60000,
        .wait_ms = 60000,
    };
}
