// SPDX-License-Identifier: Apache-2.0
// kasaga saga plan: steps, region, pattern, kinds and the order of the undo (R56).
#include "cmd/saga_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
// cmocka wants the headers above it
#include <cmocka.h>

static const char path[] = "build/saga_plan.conf";
static char out[16 * 1024];

static const char file[] =
    "app = \"shop\"; region = \"us-west\"; kafka = { bootstrap = \"b:1\"; };\n"
    "actions = (\n"
    "  { name = \"check\"; kind = \"plugin\"; library = \"none.so\"; inline = true; },\n"
    "  { name = \"charge\"; kind = \"exec\"; command = \"true\"; timeout = \"5s\";\n"
    "    retry = { attempts = 0; backoff = \"1s\"; }; },\n"
    "  { name = \"refund\"; kind = \"exec\"; command = \"true\";\n"
    "    retry = { attempts = 1; }; } );\n"
    "sagas = (\n"
    "  { name = \"order\"; deadline = \"90m\";\n"
    "    start = { topic = \"orders\"; type = \"placed\"; id = \".id\"; };\n"
    "    steps = (\n"
    "      { name = \"check\"; action = \"check\"; },\n"
    "      { name = \"hold\"; action = \"charge\"; compensate = \"refund\";\n"
    "        when = \".total > 0\"; input = \"{total}\"; compensate_input = \".result\"; },\n"
    "      { name = \"take\"; action = \"charge\"; compensate = \"refund\"; pivot = true; },\n"
    "      { name = \"tell\"; action = \"charge\"; compensate = \"refund\"; optional = true; } ); "
    "},\n"
    "  { name = \"fan\"; steps = ( { name = \"one\"; action = \"charge\"; compensate = "
    "\"refund\"; },\n"
    "      { name = \"all\"; join = \"collect\"; parallel = (\n"
    "        { name = \"left\"; action = \"charge\"; compensate = \"refund\"; },\n"
    "        { name = \"right\"; action = \"charge\"; compensate = \"refund\"; } ); },\n"
    "      { name = \"each\"; distributed = \".items\"; action = \"charge\"; } ); },\n"
    "  { name = \"tiny\"; history = \"ends\"; steps = ( { name = \"one\"; action = \"check\"; } ); "
    "}\n"
    ");\n";

static int plan(const char *config, enum cmd_output output, const char *name)
{
    struct cmd_common common = {.config = config, .output = output};
    FILE *captured = tmpfile();
    assert_non_null(captured);
    fflush(stdout);
    int saved = dup(STDOUT_FILENO);
    assert_true(dup2(fileno(captured), STDOUT_FILENO) >= 0);
    int code = cmd_saga_plan(&common, name);
    fflush(stdout);
    assert_true(dup2(saved, STDOUT_FILENO) >= 0);
    close(saved);
    rewind(captured);
    out[fread(out, 1, sizeof out - 1, captured)] = '\0';
    fclose(captured);
    return code;
}

static void steps_actions_and_what_undoes_them_are_shown(void **state)
{
    (void)state;
    assert_int_equal(plan(path, CMD_TEXT, "order"), CMD_OK);
    static const char *const parts[] = {
        "saga order, version 1, hash ",
        "  pattern saga, in region us-west, history all\n",
        "  starts on placed of topic orders, id .id\n",
        "  deadline 90m, remembered for 1d\n",
        "   1  check           check (plugin, inline), 2 attempts, backoff 250ms to "
        "30s\n",
        "   2  hold            charge (exec), timeout 5s, any number of attempts, backoff 1s to "
        "30s\n",
        "       when           .total > 0\n",
        "       input          {total}\n",
        "       undo           refund (exec), timeout 30s, 1 attempt\n",
        "       undo input     .result\n",
        ", pivot\n",
        ", optional\n",
        "  undone, last first: take, hold; nothing once take is done\n",
    };
    const char *at = out;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        at = strstr(at, parts[i]);
        if (at == NULL)
            fail_msg("not found, or not here: %s in\n%s", parts[i], out);
    }
    assert_null(strstr(out, "tiny"));
}

static void branches_stand_under_the_name_of_their_step(void **state)
{
    (void)state;
    assert_int_equal(plan(path, CMD_TEXT, "fan"), CMD_OK);
    const char *at = strstr(out, "   1  one ");
    const char *all = strstr(out, "      all: side by side, all come to their end\n");
    const char *left = strstr(out, "   2    left          charge");
    const char *right = strstr(out, "   3    right         charge");
    const char *each =
        strstr(out, "      each: side by side\n       for each of    .items\n   4    each[0] ");
    assert_non_null(each);
    assert_null(strstr(out, "each[1]"));
    assert_true(at != NULL && all > at && left > all && right > left);
    assert_non_null(strstr(out, "  undone, last first: right + left, one\n"));
    assert_int_equal(plan(path, CMD_JSONL, "fan"), CMD_OK);
    assert_non_null(strstr(out, "{\"name\":\"left\",\"group\":\"all\",\"action\""));
}

static void all_sagas_are_shown_without_a_name(void **state)
{
    (void)state;
    assert_int_equal(plan(path, CMD_TEXT, NULL), CMD_OK);
    assert_non_null(strstr(out, "saga order,"));
    assert_non_null(strstr(out, "saga tiny, version 1"));
    assert_non_null(strstr(out, "  starts by command only\n  no deadline"));
    assert_non_null(strstr(out, "  nothing of it can be undone\n"));
}

static void the_json_form_has_the_order_of_the_undo(void **state)
{
    (void)state;
    assert_int_equal(plan(path, CMD_JSONL, "order"), CMD_OK);
    assert_non_null(strstr(out, "\"undo_order\":[\"take\",\"hold\"]}\n"));
    assert_non_null(strstr(out, "{\"name\":\"hold\",\"action\":\"charge\",\"kind\":\"exec\","));
    assert_non_null(strstr(out, "\"region\":\"us-west\""));
    assert_int_equal(plan(path, CMD_JSON, NULL), CMD_OK);
    assert_true(out[0] == '[' && strcmp(out + strlen(out) - 2, "]\n") == 0);
}

static void what_is_not_there_is_said_with_the_exit_code(void **state)
{
    (void)state;
    assert_int_equal(plan(path, CMD_TEXT, "nobody"), CMD_NOT_FOUND);
    assert_int_equal(plan("build/none.conf", CMD_TEXT, NULL), CMD_BAD_CONFIG);
    assert_int_equal(plan(NULL, CMD_TEXT, NULL), CMD_USAGE);
}

int main(void)
{
    FILE *config = fopen(path, "w");
    if (config == NULL || fputs(file, config) < 0 || fclose(config) != 0)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_actions_and_what_undoes_them_are_shown),
        cmocka_unit_test(branches_stand_under_the_name_of_their_step),
        cmocka_unit_test(all_sagas_are_shown_without_a_name),
        cmocka_unit_test(the_json_form_has_the_order_of_the_undo),
        cmocka_unit_test(what_is_not_there_is_said_with_the_exit_code),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
