// SPDX-License-Identifier: Apache-2.0
#include "engine/runner.h"

#include "engine/plugin_call.h"

#include "gate.h"
#include "io/log.h"
#include "plugins.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
// cmocka wants the headers above it
#include <cmocka.h>

static struct io_plugin *shop;
static struct io_plugin *probe;

struct trial {
    struct arena arena;
    struct runner *runner;
    struct action_def action;
    struct invocation invocation;
    struct action_result result;
};

static int set_up(void **state)
{
    static struct trial trial;
    trial = (struct trial){.runner = NULL};
    *state = &trial;
    return 0;
}

static int tear_down(void **state)
{
    struct trial *trial = *state;
    runner_free(&trial->runner);
    arena_fini(&trial->arena);
    return 0;
}

// Binds the trial to an action; the invocation may be changed before run().
static void bind(struct trial *trial, struct io_plugin *plugin, const char *action,
                 const char *options, bool run_inline)
{
    runner_free(&trial->runner);
    trial->runner = plugins_runner(plugin, action, options, run_inline);
    trial->invocation = plugins_invocation(trial->runner, &trial->action);
}

static void run(struct trial *trial)
{
    runner_run(trial->runner, &trial->invocation, NULL, &trial->arena, &trial->result);
}

static void run_with(struct trial *trial, const char *input)
{
    trial->invocation.input = slice_str(input);
    run(trial);
}

static void assert_text(struct slice s, const char *expected)
{
    if (!slice_eq(s, slice_str(expected)))
        fail_msg("expected \"%s\", found \"%.*s\"", expected, SLICE_FMT(s));
}

static void assert_result(const struct trial *trial, enum outcome outcome, const char *code,
                          bool maybe_done)
{
    assert_text(trial->result.code, code);
    assert_int_equal(trial->result.outcome, outcome);
    assert_int_equal(trial->result.maybe_done, maybe_done);
}

static void an_inline_action_gives_its_result(void **state)
{
    struct trial *trial = *state;
    bind(trial, probe, "probe.echo", NULL, true);
    run(trial);
    assert_int_equal(trial->result.outcome, OUTCOME_OK);
    assert_text(trial->result.data, "{\"order_id\":\"A1\",\"total\":5}");
}

static void a_plugin_sees_the_whole_call(void **state)
{
    struct trial *trial = *state;
    bind(trial, probe, "probe.describe", NULL, false);
    trial->invocation.compensation = true;
    trial->invocation.attempt = 3;
    trial->invocation.idempotency_key = SLICE_LIT("order/1@42/charge/undo");
    trial->invocation.forward_key = SLICE_LIT("order/1@42/charge");
    trial->invocation.tenant = SLICE_LIT("a\"b");
    run(trial);
    assert_text(trial->result.data,
                "{\"key\":\"order/1\",\"incarnation\":42,\"step\":\"charge\",\"attempt\":3,"
                "\"undo\":1,\"id\":\"order/1@42/charge/undo\",\"forward\":\"order/1@42/charge\","
                "\"tenant\":\"a\\\"b\",\"cancelled\":0,\"timed\":1}");
}

static void long_texts_are_formatted_whole(void **state)
{
    struct trial *trial = *state;
    char key[2000];
    memset(key, 'k', sizeof key);
    bind(trial, probe, "probe.describe", NULL, false);
    trial->invocation.idempotency_key = slice_of(key, sizeof key);
    run(trial);
    assert_int_equal(trial->result.outcome, OUTCOME_OK);
    assert_true(trial->result.data.len > sizeof key);
}

static void say_recorded(void *context, const struct invocation *call, struct arena *arena,
                         struct action_result *result)
{
    (void)call, (void)arena;
    *result = (struct action_result){.outcome = OUTCOME_OK, .data = SLICE_LIT("{\"was\":1}")};
    ++*(int *)context;
}

static void an_action_that_is_answered_for_does_not_run(void **state)
{
    struct trial *trial = *state;
    int answers = 0;
    bind(trial, probe, "probe.echo", NULL, false);
    runner_answer_with(trial->runner, say_recorded, &answers);
    run(trial);
    assert_text(trial->result.data, "{\"was\":1}");
    assert_int_equal(answers, 1);
}

static void an_inline_call_has_no_clock(void **state)
{
    struct trial *trial = *state;
    bind(trial, probe, "probe.describe", NULL, true);
    trial->invocation.timeout_ms = 0;
    run(trial);
    assert_non_null(strstr(trial->result.data.ptr, "\"cancelled\":0,\"timed\":0}"));
}

static void each_outcome_comes_through(void **state)
{
    struct trial *trial = *state;
    bind(trial, probe, "probe.say", "{\"outcome\":\"fail\",\"code\":\"declined\"}", false);
    run(trial);
    assert_result(trial, OUTCOME_FAIL, "declined", false);
    assert_text(trial->result.message, "said so");
    bind(trial, probe, "probe.say", "{\"outcome\":\"retry\",\"code\":\"busy\",\"after\":\"2s\"}",
         false);
    run(trial);
    assert_result(trial, OUTCOME_RETRY, "busy", false);
    assert_int_equal(trial->result.retry_after_ms, 2000);
    bind(trial, probe, "probe.say", "{\"outcome\":\"unknown\",\"code\":\"cut\"}", false);
    run(trial);
    assert_result(trial, OUTCOME_UNKNOWN, "cut", true);
}

static void an_outcome_without_details_has_a_code(void **state)
{
    struct trial *trial = *state;
    bind(trial, probe, "probe.say", "{\"outcome\":\"fail\",\"text\":\"{}\"}", false);
    run(trial);
    assert_result(trial, OUTCOME_FAIL, "failed", false);
    assert_true(slice_none(trial->result.data));
    bind(trial, probe, "probe.say", "{\"outcome\":\"ok\",\"code\":\"forgotten\"}", false);
    run(trial);
    assert_result(trial, OUTCOME_OK, "", false);
    assert_text(trial->result.data, "{}");
}

static void an_outcome_that_is_none_may_have_happened(void **state)
{
    struct trial *trial = *state;
    bind(trial, probe, "probe.say", "{\"outcome\":\"seven\"}", false);
    run(trial);
    assert_result(trial, OUTCOME_UNKNOWN, "no_outcome", true);
}

static void a_result_that_is_no_object_is_a_failure(void **state)
{
    struct trial *trial = *state;
    bind(trial, probe, "probe.say", "{\"text\":\"{oops\"}", false);
    run(trial);
    assert_result(trial, OUTCOME_FAIL, "invalid_result", true);
    bind(trial, probe, "probe.say", "{\"text\":\"[1]\"}", true);
    run(trial);
    assert_result(trial, OUTCOME_FAIL, "invalid_result", false);
}

static void a_result_over_the_limit_is_a_failure(void **state)
{
    struct trial *trial = *state;
    struct buf buf = {0};
    buf_str(&buf, "{\"a\":\"");
    memset(buf_room(&buf, PLUGIN_RESULT_MAX), 'x', PLUGIN_RESULT_MAX);
    buf.len += PLUGIN_RESULT_MAX;
    buf_str(&buf, "\"}");
    bind(trial, probe, "probe.echo", NULL, false);
    trial->invocation.input = buf_slice(&buf);
    run(trial);
    assert_result(trial, OUTCOME_FAIL, "result_too_large", true);
    buf_fini(&buf);
}

static void long_codes_are_cut_between_characters(void **state)
{
    struct trial *trial = *state;
    char options[512] = "{\"outcome\":\"fail\",\"code\":\"";
    for (int i = 0; i < 40; i++)
        strcat(options, "\xc3\xa4");
    strcat(options, "\"}");
    bind(trial, probe, "probe.say", options, false);
    run(trial);
    assert_int_equal(trial->result.code.len, RUNNER_CODE_MAX - 1);
}

static void a_wrong_binding_is_refused(void **state)
{
    (void)state;
    struct runner *runner = NULL;
    struct err_text text;
    struct runner_config config = {.name = "pay", .plugin = probe, .action = "probe.pay"};
    assert_int_equal(runner_new(RUNNER_PLUGIN, &config, &runner, &text), KA_ERR_CONFIG);
    assert_non_null(strstr(text.text, "has no action \"probe.pay\""));
    config.action = "probe.alone";
    config.options = SLICE_LIT("{\"refuse\":true}");
    assert_int_equal(runner_new(RUNNER_PLUGIN, &config, &runner, &text), KA_ERR_CONFIG);
    assert_string_equal(text.text, "action pay: init failed: told to refuse");
    assert_null(runner);
}

static void a_program_needs_a_name_and_cannot_run_inline(void **state)
{
    (void)state;
    const char *const none[] = {NULL};
    const char *const argv[] = {"/bin/true", NULL};
    struct runner *runner = NULL;
    struct err_text text;
    struct runner_config config = {.name = "p", .program = {.argv = none}};
    assert_int_equal(runner_new(RUNNER_EXEC, &config, &runner, &text), KA_ERR_CONFIG);
    config.program.argv = argv;
    config.run_inline = true;
    assert_int_equal(runner_new(RUNNER_EXEC, &config, &runner, &text), KA_ERR_CONFIG);
    assert_non_null(strstr(text.text, "cannot run inline"));
}

static void a_program_runs_like_a_plugin(void **state)
{
    struct trial *trial = *state;
    const char *const argv[] = {"/bin/cat", NULL};
    trial->runner = plugins_program(argv);
    trial->invocation = plugins_invocation(trial->runner, &trial->action);
    run(trial);
    assert_int_equal(trial->result.outcome, OUTCOME_OK);
    assert_text(trial->result.data, "{\"order_id\":\"A1\",\"total\":5}");
}

static void an_instance_serves_one_call_after_the_other(void **state)
{
    struct trial *trial = *state;
    bind(trial, probe, "probe.alone", NULL, false);
    run(trial);
    run(trial);
    assert_text(trial->result.data, "{\"calls\":2}");
}

static void calls_are_counted_by_their_outcome(void **state)
{
    struct trial *trial = *state;
    struct runner_stats stats;
    uint64_t in_buckets = 0;
    bind(trial, shop, "payment.charge", NULL, true);
    run(trial);
    run(trial);
    run_with(trial, "{\"fail\":\"charge\"}");
    runner_read_stats(trial->runner, &stats);
    for (size_t i = 0; i < RUNNER_BUCKETS; i++)
        in_buckets += stats.buckets[i];
    assert_int_equal(stats.started, 3);
    assert_int_equal(stats.ended[OUTCOME_OK], 2);
    assert_int_equal(stats.ended[OUTCOME_FAIL], 1);
    assert_int_equal(in_buckets, 3);
    assert_true(runner_bucket_us(RUNNER_BUCKETS - 1) == INT64_MAX);
}

static void a_call_that_is_counted_by_its_caller_is_counted_once(void **state)
{
    struct trial *trial = *state;
    struct runner_stats stats;
    struct runner_place place = {.counts_itself = true};
    bind(trial, shop, "payment.charge", NULL, true);
    runner_run(trial->runner, &trial->invocation, &place, &trial->arena, &trial->result);
    runner_read_stats(trial->runner, &stats);
    assert_int_equal(stats.started, 1);
    assert_int_equal(stats.ended[OUTCOME_OK], 0);
    runner_count_end(trial->runner, OUTCOME_UNKNOWN, 1500);
    runner_read_stats(trial->runner, &stats);
    assert_int_equal(stats.ended[OUTCOME_UNKNOWN], 1);
    assert_int_equal(stats.buckets[2], 1); // over 1 ms, up to 5
}

static void percentiles_are_bounds_of_buckets(void **state)
{
    (void)state;
    struct runner_stats stats = {.buckets = {0}};
    assert_int_equal(runner_percentile_us(&stats, 50), 0);
    stats.buckets[1] = 99;
    stats.buckets[3] = 1;
    assert_int_equal(runner_percentile_us(&stats, 50), 1000);
    assert_int_equal(runner_percentile_us(&stats, 99), 1000);
    assert_int_equal(runner_percentile_us(&stats, 100), 10000);
    stats.buckets[RUNNER_BUCKETS - 1] = 1000;
    assert_true(runner_percentile_us(&stats, 50) == INT64_MAX);
}

static void log_lines_name_the_call(void **state)
{
    struct trial *trial = *state;
    char line[1024] = "";
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    log_configure(&(struct log_config){.level = LOG_LEVEL_INFO, .repeats = true, .fd = ends[1]});
    bind(trial, probe, "probe.describe", NULL, false);
    run(trial);
    assert_true(read(ends[0], line, sizeof line - 1) > 0);
    log_configure(&(struct log_config){.level = LOG_LEVEL_INFO, .fd = 2});
    close(ends[0]);
    close(ends[1]);
    assert_non_null(strstr(line, "facility=runner event=plugin action=probe.describe saga=order/1 "
                                 "step=charge attempt=1 text=described"));
}

// ------------------------------------------------------------------------------------ the shop

// R17: the library does not know where it runs.
static void the_same_call_gives_the_same_bytes_inline_and_pooled(void **state)
{
    struct trial *trial = *state;
    bind(trial, shop, "payment.charge", NULL, true);
    run(trial);
    struct slice first = trial->result.data;
    bind(trial, shop, "payment.charge", NULL, false);
    trial->invocation.attempt = 2;
    run(trial);
    assert_int_equal(trial->result.outcome, OUTCOME_OK);
    assert_true(slice_eq(first, trial->result.data));
    assert_true(slice_starts(first, SLICE_LIT("{\"payment\":\"pay-")));
}

static void an_order_is_validated_field_by_field(void **state)
{
    struct trial *trial = *state;
    bind(trial, shop, "order.validate", NULL, true);
    run_with(trial, "{\"order_id\":\"A1\",\"total\":5.5,\"quantity\":2}");
    assert_int_equal(trial->result.outcome, OUTCOME_OK);
    run_with(trial, "{\"order_id\":7,\"total\":5}");
    assert_result(trial, OUTCOME_FAIL, "invalid_order", false);
    assert_text(trial->result.message, "order_id: a text is missing");
    run_with(trial, "{\"order_id\":\"A1\",\"total\":0}");
    assert_text(trial->result.message, "total: not a number over 0");
    run_with(trial, "{\"order_id\":\"A1\",\"total\":5,\"quantity\":0.5}");
    assert_text(trial->result.message, "quantity: not an integer of at least 1");
}

static void fail_every_goes_by_the_number_of_the_order(void **state)
{
    struct trial *trial = *state;
    bind(trial, shop, "payment.charge", "{\"fail_every\":10}", true);
    run_with(trial, "{\"order_id\":\"order-120\",\"total\":5}");
    assert_result(trial, OUTCOME_FAIL, "refused", false);
    run_with(trial, "{\"order_id\":\"order-121\",\"total\":5}");
    assert_int_equal(trial->result.outcome, OUTCOME_OK);
}

static void the_input_can_ask_for_faults(void **state)
{
    struct trial *trial = *state;
    bind(trial, shop, "payment.charge", NULL, true);
    run_with(trial, "{\"total\":5,\"fail\":\"charge\"}");
    assert_result(trial, OUTCOME_FAIL, "refused", false);
    run_with(trial, "{\"total\":5,\"fail\":\"book\"}");
    assert_int_equal(trial->result.outcome, OUTCOME_OK);
    run_with(trial, "{\"total\":5,\"unknown\":{\"charge\":1}}");
    assert_result(trial, OUTCOME_UNKNOWN, "no_answer", true);
    run_with(trial, "{\"total\":5,\"retry\":{\"charge\":1}}");
    assert_result(trial, OUTCOME_RETRY, "busy", false);
    trial->invocation.attempt = 2;
    run(trial);
    assert_int_equal(trial->result.outcome, OUTCOME_OK);
}

static void every_action_of_the_shop_answers(void **state)
{
    struct trial *trial = *state;
    for (size_t i = 0; i < io_plugin_action_count(shop); i++) {
        bind(trial, shop, io_plugin_action(shop, i)->name, NULL, true);
        run(trial);
        assert_int_equal(trial->result.outcome, OUTCOME_OK);
    }
}

static void the_shop_does_not_sleep_inline(void **state)
{
    (void)state;
    struct runner *runner = NULL;
    struct err_text text;
    struct runner_config config = {.name = "payment.charge",
                                   .plugin = shop,
                                   .options = SLICE_LIT("{\"sleep_ms\":5}"),
                                   .run_inline = true};
    assert_int_equal(runner_new(RUNNER_PLUGIN, &config, &runner, &text), KA_ERR_CONFIG);
    assert_non_null(strstr(text.text, "an inline action must not sleep"));
}

// --------------------------------------------------------------------------------- the watchdog

static void a_watch_tells_what_runs_now(void **state)
{
    (void)state;
    struct watch watch;
    struct watch_report report;
    watch_init(&watch, "s0");
    assert_false(watch_read(&watch, &report));
    watch_begin(&watch, "payment.charge", SLICE_LIT("order/4711"));
    assert_true(watch_read(&watch, &report));
    assert_string_equal(report.lane, "s0");
    assert_string_equal(report.action, "payment.charge");
    assert_string_equal(report.key, "order/4711");
    watch_end(&watch);
    assert_false(watch_read(&watch, &report));
}

static void a_watch_forgets_the_longer_name_before(void **state)
{
    (void)state;
    struct watch watch;
    struct watch_report report;
    char key[200];
    memset(key, 'k', sizeof key);
    watch_init(&watch, "s0");
    watch_begin(&watch, "a.very.long.name", slice_of(key, sizeof key));
    assert_true(watch_read(&watch, &report));
    assert_int_equal(strlen(report.key), WATCH_NAME_SIZE - 1);
    watch_end(&watch);
    watch_begin(&watch, "b", SLICE_LIT("order/1"));
    assert_true(watch_read(&watch, &report));
    assert_string_equal(report.action, "b");
    assert_string_equal(report.key, "order/1");
}

static void only_the_same_call_grows_older(void **state)
{
    (void)state;
    struct watch watch;
    watch_init(&watch, "s0");
    watch_begin(&watch, "a", SLICE_LIT("k"));
    assert_int_equal(watch_look(&watch, 100, 100), 0);
    assert_int_equal(watch_look(&watch, 100, 100), 100);
    assert_int_equal(watch_look(&watch, 100, 100), 200);
    watch_end(&watch);
    watch_begin(&watch, "a", SLICE_LIT("k"));
    assert_int_equal(watch_look(&watch, 100, 100), 0);
    watch_end(&watch);
    assert_int_equal(watch_look(&watch, 100, 100), 0);
}

static void a_stopped_process_does_not_convict_a_plugin(void **state)
{
    (void)state;
    struct watch watch;
    watch_init(&watch, "s0");
    watch_begin(&watch, "a", SLICE_LIT("k"));
    watch_look(&watch, 100, 100);
    assert_int_equal(watch_look(&watch, 60000, 100), 200);
}

struct verdict {
    struct gate gate;
    struct watch_report report;
};

static void convict(void *context, const struct watch_report *report)
{
    struct verdict *verdict = context;
    verdict->report = *report;
    gate_open(&verdict->gate);
}

static void the_watchdog_names_the_plugin_that_does_not_return(void **state)
{
    struct trial *trial = *state;
    static struct verdict verdict = {.gate = GATE_INIT};
    struct watchdog *watchdog = NULL;
    struct watch watch;
    char options[64];
    snprintf(options, sizeof options, "{\"gate\":%lld}", (long long)(intptr_t)&verdict.gate);
    watch_init(&watch, "s3");
    assert_int_equal(watchdog_new(20, convict, &verdict, &watchdog, NULL), KA_OK);
    watchdog_add(watchdog, &watch);
    bind(trial, probe, "probe.gate", options, true);
    struct runner_place place = {.watch = &watch};
    runner_run(trial->runner, &trial->invocation, &place, &trial->arena, &trial->result);
    watchdog_remove(watchdog, &watch);
    watchdog_free(&watchdog);
    assert_string_equal(verdict.report.lane, "s3");
    assert_string_equal(verdict.report.action, "probe.gate");
    assert_string_equal(verdict.report.key, "order/1");
    assert_true(verdict.report.ran_ms >= 20);
}

static int open_plugins(void **state)
{
    (void)state;
    shop = plugins_open(plugins_shop());
    probe = plugins_open(plugins_probe(NULL));
    return 0;
}

static int close_plugins(void **state)
{
    io_plugin_close(&shop);
    io_plugin_close(&probe);
    return plugins_clean(state);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(an_inline_action_gives_its_result),
        CASE(a_plugin_sees_the_whole_call),
        CASE(long_texts_are_formatted_whole),
        CASE(an_action_that_is_answered_for_does_not_run),
        CASE(an_inline_call_has_no_clock),
        CASE(each_outcome_comes_through),
        CASE(an_outcome_without_details_has_a_code),
        CASE(an_outcome_that_is_none_may_have_happened),
        CASE(a_result_that_is_no_object_is_a_failure),
        CASE(a_result_over_the_limit_is_a_failure),
        CASE(long_codes_are_cut_between_characters),
        CASE(a_wrong_binding_is_refused),
        CASE(a_program_needs_a_name_and_cannot_run_inline),
        CASE(a_program_runs_like_a_plugin),
        CASE(an_instance_serves_one_call_after_the_other),
        CASE(calls_are_counted_by_their_outcome),
        CASE(a_call_that_is_counted_by_its_caller_is_counted_once),
        CASE(percentiles_are_bounds_of_buckets),
        CASE(log_lines_name_the_call),
        CASE(the_same_call_gives_the_same_bytes_inline_and_pooled),
        CASE(an_order_is_validated_field_by_field),
        CASE(fail_every_goes_by_the_number_of_the_order),
        CASE(the_input_can_ask_for_faults),
        CASE(every_action_of_the_shop_answers),
        CASE(the_shop_does_not_sleep_inline),
        CASE(a_watch_tells_what_runs_now),
        CASE(a_watch_forgets_the_longer_name_before),
        CASE(only_the_same_call_grows_older),
        CASE(a_stopped_process_does_not_convict_a_plugin),
        CASE(the_watchdog_names_the_plugin_that_does_not_return),
    };
    return cmocka_run_group_tests_name("runner", tests, open_plugins, close_plugins);
}
