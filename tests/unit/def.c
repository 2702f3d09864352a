// SPDX-License-Identifier: Apache-2.0
#include "core/def.h"

#include "io/conf.h"
#include "io/jq.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// cmocka wants the headers above it
#include <cmocka.h>

static const struct def_id some_id = {{1, 2, 3}};
static struct action_def actions[] = {{.name = "pay", .kind = ACTION_EXEC},
                                      {.name = "refund", .kind = ACTION_EXEC}};
static struct err_text text;

static const struct action_def *find_action(void *context, const char *name)
{
    (void)context;
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++)
        if (strcmp(actions[i].name, name) == 0)
            return &actions[i];
    return NULL;
}

static const struct def_env env = {&io_jq_engine, find_action, NULL, 0};

#define ACTION(name) "{\"inline\":false,\"kind\":\"exec\",\"name\":\"" name "\",\"version\":\"1\"}"
#define RETRY "{\"attempts\":2,\"backoff_max_ms\":30000,\"backoff_ms\":250}"
#define STEP(name, extra)                                                                          \
    "{\"action\":" ACTION("pay") "," extra "\"name\":\"" name                                      \
                                 "\",\"optional\":false,\"pivot\":true,\"retry\":" RETRY           \
                                 ",\"timeout_ms\":30000}"
#define SAGA(steps, extra)                                                                         \
    "{\"deadline_ms\":0,\"dedupe_window_ms\":1000,\"format\":1,\"history\":\"ends\"," extra        \
    "\"name\":\"order\",\"pattern\":\"saga\",\"steps\":[" steps "],\"version\":3}"

static enum ka_err load(const char *json, struct saga_def **def)
{
    return def_load(slice_str(json), &some_id, &env, def, &text);
}

static void assert_refused(const char *json, enum ka_err err, const char *why)
{
    struct saga_def *def = NULL;
    assert_int_equal(load(json, &def), err);
    assert_null(def);
    if (strstr(text.text, why) == NULL)
        fail_msg("expected \"%s\" in: %s", why, text.text);
}

static void a_definition_is_what_its_normalised_form_says(void **state)
{
    (void)state;
    struct saga_def *def = NULL;
    assert_int_equal(load(SAGA(STEP("a", "\"compensate\":{\"action\":" ACTION(
                                             "refund") ",\"input\":\".result\",\"retry\":" RETRY
                                                       ",\"timeout_ms\":5},\"input\":\"{a}\","),
                               ""),
                          &def),
                     KA_OK);
    assert_string_equal(def->name, "order");
    assert_int_equal(def->version, 3);
    assert_memory_equal(&def->id, &some_id, sizeof some_id);
    assert_int_equal(def->dedupe_window_ms, 1000);
    assert_int_equal(def->history, HISTORY_ENDS);
    assert_int_equal(def->step_count, 1);
    const struct step_def *step = &def->steps[0];
    assert_string_equal(step->name, "a");
    assert_ptr_equal(step->action, &actions[0]);
    assert_string_equal(step->action_name, "pay");
    assert_ptr_equal(step->compensate, &actions[1]);
    assert_string_equal(step->compensate_name, "refund");
    assert_string_equal(expr_source(step->compensate_input), ".result");
    assert_string_equal(expr_source(step->input), "{a}");
    assert_null(step->when);
    assert_int_equal(step->retry.attempts, 2);
    assert_int_equal(step->retry.backoff_max_ms, 30000);
    assert_int_equal(step->compensate_timeout_ms, 5);
    assert_true(step->pivot && !step->optional);
    def_free(&def);
    assert_null(def);
    def_free(&def);
}

static void assert_step_is(const struct step_def *step, const struct config_step *meant)
{
    assert_string_equal(step->name, meant->name);
    assert_string_equal(step->action_name, meant->action->name);
    assert_int_equal(step->optional, meant->optional);
    assert_int_equal(step->pivot, meant->pivot);
    assert_memory_equal(&step->retry.backoff_ms, &meant->retry.backoff_ms, 16);
    assert_int_equal(step->retry.attempts, meant->retry.attempts);
    assert_int_equal(step->timeout_ms, meant->timeout_ms);
    assert_int_equal(step->compensate == NULL, meant->compensate == NULL);
    if (meant->compensate != NULL) {
        assert_string_equal(step->compensate_name, meant->compensate->name);
        assert_int_equal(step->compensate_retry.attempts, meant->compensate_retry.attempts);
        assert_int_equal(step->compensate_timeout_ms, meant->compensate_timeout_ms);
    }
    assert_int_equal(step->input == NULL, meant->input == NULL);
    if (meant->input != NULL)
        assert_string_equal(expr_source(step->input), meant->input);
}

static const struct action_def *any_action(void *context, const char *name)
{
    return io_conf_action(context, name) == NULL ? NULL : &actions[0];
}

static void what_the_configuration_writes_is_read_back(void **state)
{
    (void)state;
    struct config *config = NULL;
    struct conf_report report = {0};
    struct saga_def *def = NULL;
    assert_int_equal(io_conf_check("conf/order.conf", &config, &report), KA_OK);
    const struct config_saga *saga = &config->sagas[0];
    struct def_env local = {&io_jq_engine, any_action, config, 1000};
    assert_int_equal(def_load(saga->json, &saga->id, &local, &def, &text), KA_OK);
    assert_int_equal(def->step_count, saga->step_count);
    assert_int_equal(def->deadline_ms, saga->deadline_ms);
    assert_memory_equal(&def->id, &saga->id, sizeof def->id);
    for (size_t i = 0; i < def->step_count; i++)
        assert_step_is(&def->steps[i], &saga->steps[i]);
    io_conf_free(&config); // a definition needs nothing of it but the actions
    assert_string_equal(def->steps[2].name, "charge");
    def_free(&def);
    conf_report_fini(&report);
}

#define BRANCH(name, more)                                                                         \
    "{\"action\":" ACTION("pay") "," more "\"name\":\"" name                                       \
                                 "\",\"optional\":false,\"pivot\":false,\"retry\":" RETRY          \
                                 ",\"timeout_ms\":30000}"

static void neighbours_of_one_group_are_in_hand_together(void **state)
{
    (void)state;
    struct saga_def *def = NULL;
    assert_int_equal(
        load(SAGA(BRANCH("a", "") "," BRANCH("b", "\"group\":\"g\",") "," BRANCH(
                      "c",
                      "\"group\":"
                      "\"g\",") "," BRANCH("d",
                                           "\"group\":\"h\",") "," BRANCH("e",
                                                                          "") "," BRANCH("f",
                                                                                         "\"collect"
                                                                                         "\":true,"
                                                                                         "\"group\""
                                                                                         ":\"g\","),
                  ""),
             &def),
        KA_OK);
    static const int32_t first[] = {0, 1, 1, 3, 4, 5}, end[] = {1, 3, 3, 4, 5, 6};
    for (int32_t i = 0; i < 6; i++) {
        assert_int_equal(def_first_of(def, i), first[i]);
        assert_int_equal(def_end_of(def, i), end[i]);
        assert_int_equal(def->steps[i].collect, i == 5);
    }
    assert_string_equal(def->steps[2].group_name, "g");
    def_free(&def);
}

#define EACH(name, key)                                                                            \
    BRANCH(name, "\"gather\":\"" key "\",\"group\":\"g\",\"items\":\".items | map(.)\",")

static void branches_of_a_list_share_its_expression(void **state)
{
    (void)state;
    struct saga_def *def = NULL;
    assert_int_equal(
        load(SAGA(EACH("a[0]", "0") "," EACH("a[1]", "1") "," EACH("a[2]", "2"), ""), &def), KA_OK);
    assert_string_equal(def->steps[2].gather, "2");
    assert_ptr_equal(def->steps[2].items, def->steps[0].items);
    assert_string_equal(expr_source(def->steps[0].items), ".items | map(.)");
    def_free(&def);
    assert_refused(SAGA(EACH("a[0]", "0") "," BRANCH("b", "\"group\":\"g\","), ""), KA_ERR_CONFIG,
                   "items");
    assert_refused(SAGA(BRANCH("a", "\"gather\":\"0\","), ""), KA_ERR_CONFIG, "gather");
    assert_refused(SAGA(BRANCH("a", "\"gather\":\"0\",\"group\":\"g\","), ""), KA_ERR_CONFIG,
                   "region");
    assert_refused(SAGA(BRANCH("a", "\"group\":\"g\",\"items\":\".a\","), ""), KA_ERR_CONFIG,
                   "items");
}

static void a_group_that_cannot_be_meant_is_refused(void **state)
{
    (void)state;
    assert_refused(SAGA(STEP("a", "\"group\":\"g\","), ""), KA_ERR_CONFIG, "pivot");
    assert_refused(SAGA(BRANCH("a", "\"group\":7,"), ""), KA_ERR_CONFIG, "group");
    assert_refused(SAGA(BRANCH("a", "\"collect\":true,"), ""), KA_ERR_CONFIG, "collect");
    assert_refused(
        SAGA(BRANCH("a", "\"collect\":true,\"group\":\"g\",") "," BRANCH("b", "\"group\":\"g\","),
             ""),
        KA_ERR_CONFIG, "collect");
}

static void forms_of_a_later_version_are_not_guessed_at(void **state)
{
    (void)state;
    assert_refused(SAGA(STEP("a", ""), "\"tenant\":1,"), KA_ERR_UNSUPPORTED, "tenant");
    assert_refused(SAGA(STEP("a", "\"parallel\":[],"), ""), KA_ERR_UNSUPPORTED, "parallel");
    assert_refused(SAGA("{\"name\":\"a\",\"wait\":1}", ""), KA_ERR_UNSUPPORTED, "wait");
    assert_refused("{\"format\":2}", KA_ERR_UNSUPPORTED, "form 2");
    assert_refused("{\"format\":1,\"pattern\":\"two_phase_commit\"}", KA_ERR_UNSUPPORTED,
                   "two_phase_commit");
}

static void an_action_that_is_not_here_is_named(void **state)
{
    (void)state;
    assert_refused("{\"deadline_ms\":0,\"dedupe_window_ms\":0,\"format\":1,\"history\":\"all\","
                   "\"name\":\"order\",\"pattern\":\"saga\",\"steps\":[{\"name\":\"a\","
                   "\"action\":" ACTION("book") "}],\"version\":1}",
                   KA_ERR_NOT_FOUND, "definition order: step a: there is no action book here");
}

static void wrong_members_are_named(void **state)
{
    (void)state;
    assert_refused("{", KA_ERR_CONFIG, "definition");
    assert_refused("[]", KA_ERR_CONFIG, "the definition is not an object");
    assert_refused("{\"format\":1,\"pattern\":\"saga\"}", KA_ERR_CONFIG, "\"steps\"");
    assert_refused(SAGA("", ""), KA_ERR_CONFIG, "1 to 64");
    assert_refused(SAGA("1", ""), KA_ERR_CONFIG, "a step is not an object");
    assert_refused(SAGA(STEP("", ""), ""), KA_ERR_CONFIG, "\"name\"");
    assert_refused(SAGA(STEP("a\\u0000b", ""), ""), KA_ERR_CONFIG, "NUL");
    assert_refused(SAGA(STEP("a", "") "," STEP("a", ""), ""), KA_ERR_CONFIG,
                   "two steps are named a");
    assert_refused(SAGA(STEP("a", "\"when\":\".a |\","), ""), KA_ERR_CONFIG, "\"when\"");
    assert_refused(SAGA(STEP("a", "\"when\":1,"), ""), KA_ERR_CONFIG, "\"when\" is not a string");
    assert_refused(SAGA(STEP("a", "\"compensate\":[],"), ""), KA_ERR_CONFIG, "\"compensate\"");
}

// Any one number or flag gone or out of its range is told; nothing of what was loaded leaks.
static void every_member_is_needed(void **state)
{
    (void)state;
    static const char *const members[] = {
        "\"deadline_ms\":0,",    "\"dedupe_window_ms\":1000,",
        "\"format\":1,",         "\"history\":\"ends\",",
        "\"name\":\"order\",",   "\"pattern\":\"saga\",",
        "\"optional\":false,",   "\"pivot\":true,",
        "\"attempts\":2,",       "\"backoff_max_ms\":30000,",
        ",\"timeout_ms\":30000", ",\"version\":3",
    };
    const char *whole = SAGA(STEP("a", "\"input\":\"{a}\","), "");
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        char json[2048];
        struct saga_def *def = NULL;
        const char *at = strstr(whole, members[i]);
        assert_non_null(at);
        snprintf(json, sizeof json, "%.*s%s", (int)(at - whole), whole, at + strlen(members[i]));
        if (load(json, &def) == KA_OK)
            fail_msg("loaded without %s", members[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_definition_is_what_its_normalised_form_says),
        cmocka_unit_test(what_the_configuration_writes_is_read_back),
        cmocka_unit_test(neighbours_of_one_group_are_in_hand_together),
        cmocka_unit_test(branches_of_a_list_share_its_expression),
        cmocka_unit_test(a_group_that_cannot_be_meant_is_refused),
        cmocka_unit_test(forms_of_a_later_version_are_not_guessed_at),
        cmocka_unit_test(an_action_that_is_not_here_is_named),
        cmocka_unit_test(wrong_members_are_named),
        cmocka_unit_test(every_member_is_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
