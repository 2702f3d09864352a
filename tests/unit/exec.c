// SPDX-License-Identifier: Apache-2.0
#include "engine/exec.h"

#include "core/json.h"
#include "io/clock.h"
#include "plugins.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>
// cmocka wants the headers above it
#include <cmocka.h>

struct trial {
    struct arena arena;
    struct invocation invocation;
    struct exec_program program;
    struct exec_limits limits;
    struct action_result result;
    struct exec_report report;
};

static int set_up(void **state)
{
    static struct trial trial;
    trial = (struct trial){
        .invocation = {.key = SLICE_LIT("order/1"),
                       .incarnation = 42,
                       .step_name = "charge",
                       .attempt = 3,
                       .input = SLICE_LIT("{\"total\":5}"),
                       .idempotency_key = SLICE_LIT("order/1@42/charge"),
                       .timeout_ms = 60000},
        .limits = {.deadline_ms = clock_mono_ms() + 60000, .stop_fd = -1},
    };
    *state = &trial;
    return 0;
}

static int tear_down(void **state)
{
    struct trial *trial = *state;
    arena_fini(&trial->arena);
    errno = 0;
    if (waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD)
        return 0;
    fprintf(stderr, "a child was left behind\n");
    return -1;
}

static void run_argv(struct trial *trial, const char *const *argv)
{
    trial->program.argv = argv;
    exec_run(&trial->program, &trial->invocation, &trial->limits, &trial->arena, &trial->result,
             &trial->report);
}

static void run_script(struct trial *trial, const char *script)
{
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    run_argv(trial, argv);
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

static void input_goes_in_and_the_result_comes_out(void **state)
{
    struct trial *trial = *state;
    const char *const argv[] = {"/bin/cat", NULL};
    run_argv(trial, argv);
    assert_int_equal(trial->result.outcome, OUTCOME_OK);
    assert_text(trial->result.data, "{\"total\":5}");
    assert_int_equal(trial->report.exit_status, 0);
}

static void nothing_on_stdout_is_an_empty_result(void **state)
{
    run_script(*state, "exit 0");
    assert_int_equal(((struct trial *)*state)->result.outcome, OUTCOME_OK);
    assert_text(((struct trial *)*state)->result.data, "{}");
}

static void a_large_input_and_result_do_not_lock_up(void **state)
{
    struct trial *trial = *state;
    const char *const argv[] = {"/bin/cat", NULL};
    struct buf buf = {0};
    buf_str(&buf, "{\"a\":\"");
    memset(buf_room(&buf, 900000), 'x', 900000);
    buf.len += 900000;
    buf_str(&buf, "\"}");
    trial->invocation.input = buf_slice(&buf);
    run_argv(trial, argv);
    assert_int_equal(trial->result.outcome, OUTCOME_OK);
    assert_true(slice_eq(trial->result.data, buf_slice(&buf)));
    buf_fini(&buf);
}

static void a_program_that_reads_nothing_is_no_trouble(void **state)
{
    struct trial *trial = *state;
    run_script(trial, "exec <&-; echo '{\"a\":1}'");
    assert_text(trial->result.data, "{\"a\":1}");
}

static void the_environment_names_the_attempt(void **state)
{
    struct trial *trial = *state;
    trial->invocation.tenant = SLICE_LIT("acme");
    run_script(trial, "printf '{\"a\":\"%s|%s|%s|%s|%s|%s|%s|%s\"}' $KASAGA_SAGA "
                      "$KASAGA_INCARNATION $KASAGA_STEP $KASAGA_ATTEMPT $KASAGA_IDEMPOTENCY_KEY "
                      "$KASAGA_TIMEOUT_MS $KASAGA_TENANT \"${KASAGA_COMPENSATION-none}\"");
    assert_text(trial->result.data,
                "{\"a\":\"order/1|42|charge|3|order/1@42/charge|60000|acme|none\"}");
}

static void a_compensation_knows_what_it_undoes(void **state)
{
    struct trial *trial = *state;
    trial->invocation.compensation = true;
    trial->invocation.forward_key = SLICE_LIT("order/1@42/charge");
    trial->invocation.idempotency_key = SLICE_LIT("order/1@42/charge/undo");
    run_script(trial, "printf '{\"a\":\"%s %s %s\"}' $KASAGA_COMPENSATION $KASAGA_FORWARD_KEY "
                      "$KASAGA_IDEMPOTENCY_KEY");
    assert_text(trial->result.data, "{\"a\":\"1 order/1@42/charge order/1@42/charge/undo\"}");
}

static void the_rest_of_the_environment_stays_outside(void **state)
{
    struct trial *trial = *state;
    const char *const names[] = {"KA_TEST_PASSED", NULL};
    setenv("KA_TEST_SECRET", "s", 1);
    setenv("KA_TEST_PASSED", "p", 1);
    trial->program.env_names = names;
    run_script(trial, "printf '{\"a\":\"%s%s\"}' \"$KA_TEST_SECRET\" \"$KA_TEST_PASSED\"");
    assert_text(trial->result.data, "{\"a\":\"p\"}");
    unsetenv("KA_TEST_SECRET");
    unsetenv("KA_TEST_PASSED");
}

static void it_runs_in_the_directory_it_is_given(void **state)
{
    struct trial *trial = *state;
    trial->program.directory = "/usr";
    run_script(trial, "printf '{\"a\":\"%s\"}' \"$(pwd)\"");
    assert_text(trial->result.data, "{\"a\":\"/usr\"}");
}

static void no_descriptor_gets_through(void **state)
{
    struct trial *trial = *state;
    int leaky = open("/dev/null", O_RDONLY); // without O_CLOEXEC
    assert_true(leaky >= 0);
    run_script(trial, "printf '{\"a\":\"%s\"}' \"$(ls /proc/self/fd | tr '\\n' ' ')\"");
    close(leaky);
    // 3 is the directory that ls reads
    assert_text(trial->result.data, "{\"a\":\"0 1 2 3 \"}");
}

static void exit_1_is_no(void **state)
{
    struct trial *trial = *state;
    run_script(trial, "echo first >&2; echo 'card expired' >&2; exit 1");
    assert_result(trial, OUTCOME_FAIL, "failed", false);
    assert_text(trial->result.message, "card expired");
    run_script(trial, "echo '{\"code\":\"declined\",\"message\":\"no \\\"funds\\\"\"}'; exit 1");
    assert_result(trial, OUTCOME_FAIL, "declined", false);
    assert_text(trial->result.message, "no \"funds\"");
    run_script(trial, "echo '{\"code\":5}'; exit 1");
    assert_result(trial, OUTCOME_FAIL, "failed", false);
}

static void exit_75_is_try_again(void **state)
{
    struct trial *trial = *state;
    run_script(trial, "exit 75");
    assert_result(trial, OUTCOME_RETRY, "retry", false);
    assert_int_equal(trial->result.retry_after_ms, 0);
    run_script(trial, "echo '{\"retry_after_ms\":1500,\"code\":\"busy\"}'; exit 75");
    assert_result(trial, OUTCOME_RETRY, "busy", false);
    assert_int_equal(trial->result.retry_after_ms, 1500);
    run_script(trial, "echo '{\"retry_after_ms\":-3}'; exit 75");
    assert_int_equal(trial->result.retry_after_ms, 0);
}

static void any_other_end_may_have_happened(void **state)
{
    struct trial *trial = *state;
    run_script(trial, "echo oops >&2; exit 3");
    assert_result(trial, OUTCOME_UNKNOWN, "exit_3", true);
    assert_text(trial->result.message, "oops");
    run_script(trial, "kill -9 $$");
    assert_result(trial, OUTCOME_UNKNOWN, "signal_9", true);
    assert_int_equal(trial->report.signal, 9);
}

static void a_result_that_is_no_object_may_have_happened(void **state)
{
    struct trial *trial = *state;
    run_script(trial, "echo 'done!'");
    assert_result(trial, OUTCOME_FAIL, "invalid_result", true);
    run_script(trial, "echo '[1]'");
    assert_result(trial, OUTCOME_FAIL, "invalid_result", true);
    assert_true(slice_none(trial->result.data));
}

static void too_much_on_stdout_is_read_but_not_taken(void **state)
{
    struct trial *trial = *state;
    run_script(trial, "head -c 3000000 /dev/zero; echo end >&2");
    assert_result(trial, OUTCOME_FAIL, "result_too_large", true);
    assert_int_equal(trial->report.exit_status, 0);
}

static void the_end_of_stderr_is_kept(void **state)
{
    struct trial *trial = *state;
    run_script(trial, "i=0; while [ $i -lt 2000 ]; do echo line-$i >&2; i=$((i+1)); done; exit 1");
    assert_text(trial->result.message, "line-1999");
    assert_int_equal(trial->report.stderr_text.len, EXEC_STDERR_MAX);
}

static void at_its_timeout_it_is_ended_and_unknown(void **state)
{
    struct trial *trial = *state;
    trial->limits.deadline_ms = clock_mono_ms() + 30;
    trial->invocation.timeout_ms = 30;
    run_script(trial, "echo '{\"a\":1}'; exec sleep 60");
    assert_result(trial, OUTCOME_UNKNOWN, "timeout", true);
    assert_text(trial->result.message, "not done after 30 ms");
    assert_int_equal(trial->report.signal, SIGTERM);
}

static void an_answer_after_the_timeout_is_still_unknown(void **state)
{
    struct trial *trial = *state;
    trial->limits.deadline_ms = clock_mono_ms() + 30;
    run_script(trial, "trap 'exit 1' TERM; while :; do sleep 0.01; done");
    assert_result(trial, OUTCOME_UNKNOWN, "timeout", true);
}

// A zombie has ended: who reaps orphans here is not ours to say.
static bool is_running(long pid)
{
    char path[64];
    char kind = 'Z';
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return false;
    if (fscanf(file, "%*d %*s %c", &kind) != 1)
        kind = 'Z';
    fclose(file);
    return kind != 'Z';
}

static void assert_ends(long pid)
{
    int64_t until = clock_mono_ms() + 10000;
    assert_true(pid > 1);
    while (is_running(pid) && clock_mono_ms() < until)
        clock_sleep_ms(1);
    assert_false(is_running(pid));
}

static void the_whole_group_is_ended_even_if_it_does_not_want_to(void **state)
{
    struct trial *trial = *state;
    trial->limits.deadline_ms = clock_mono_ms() + 100;
    run_script(trial, "trap '' TERM; sleep 60 & echo $! >&2; wait; wait");
    assert_result(trial, OUTCOME_UNKNOWN, "timeout", true);
    assert_int_equal(trial->report.signal, SIGKILL);
    assert_ends(strtol(trial->report.stderr_text.ptr, NULL, 10));
}

static void what_it_leaves_running_is_ended_with_it(void **state)
{
    struct trial *trial = *state;
    int64_t began = clock_mono_ms();
    run_script(trial, "sleep 60 & echo \"{\\\"pid\\\":$!}\"");
    assert_int_equal(trial->result.outcome, OUTCOME_OK);
    assert_true(clock_mono_ms() - began < 30000);
    assert_ends(strtol(trial->result.data.ptr + strlen("{\"pid\":"), NULL, 10));
}

static void closed_pipes_do_not_mean_that_it_has_ended(void **state)
{
    struct trial *trial = *state;
    run_script(trial, "exec >&- 2>&-; sleep 0.05; exit 7");
    assert_result(trial, OUTCOME_UNKNOWN, "exit_7", true);
}

static void a_stop_ends_it(void **state)
{
    struct trial *trial = *state;
    trial->limits.stop_fd = eventfd(1, EFD_CLOEXEC);
    run_script(trial, "exec sleep 60");
    assert_result(trial, OUTCOME_UNKNOWN, "stopped", true);
    close(trial->limits.stop_fd);
}

static void a_program_that_is_not_there_did_not_run(void **state)
{
    struct trial *trial = *state;
    const char *const missing[] = {"/no/such/program", NULL};
    const char *const plain[] = {"/etc/hostname", NULL};
    run_argv(trial, missing);
    assert_result(trial, OUTCOME_RETRY, "not_found", false);
    assert_text(trial->result.message, "cannot start /no/such/program: No such file or directory");
    assert_false(trial->report.started);
    run_argv(trial, plain);
    assert_result(trial, OUTCOME_RETRY, "not_executable", false);
}

static void a_key_with_nul_is_refused_before_anything_runs(void **state)
{
    struct trial *trial = *state;
    trial->invocation.key = slice_of("order/\0001", 8);
    run_script(trial, "exit 0");
    assert_result(trial, OUTCOME_FAIL, "invalid_key", false);
    assert_false(trial->report.started);
}

static int count_descriptors(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

static void nothing_stays_open(void **state)
{
    struct trial *trial = *state;
    const char *const missing[] = {"/no/such/program", NULL};
    int before = count_descriptors();
    for (int i = 0; i < 20; i++) {
        run_script(trial, "exit 0");
        run_argv(trial, missing);
    }
    assert_int_equal(count_descriptors(), before);
}

static void a_worker_without_standard_descriptors_runs_programs_too(void **state)
{
    struct trial *trial = *state;
    const char *const argv[] = {"/bin/cat", NULL};
    int kept = fcntl(0, F_DUPFD_CLOEXEC, 10);
    close(0);
    run_argv(trial, argv);
    dup2(kept, 0);
    close(kept);
    assert_text(trial->result.data, "{\"total\":5}");
}

static void the_example_quotes_refuses_and_undoes(void **state)
{
    struct trial *trial = *state;
    const char *const argv[] = {"examples/exec/quote.sh", NULL};
    trial->invocation.input = SLICE_LIT("{\"weight_g\":1200}");
    run_argv(trial, argv);
    assert_text(trial->result.data, "{\"quote\":\"quote-1264325403\",\"price_cents\":730}");
    trial->invocation.input = SLICE_LIT("{}");
    run_argv(trial, argv);
    assert_result(trial, OUTCOME_FAIL, "invalid_input", false);
    trial->invocation.compensation = true;
    trial->invocation.forward_key = SLICE_LIT("order/1@42/charge");
    run_argv(trial, argv);
    assert_int_equal(trial->result.outcome, OUTCOME_OK);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(input_goes_in_and_the_result_comes_out),
        CASE(nothing_on_stdout_is_an_empty_result),
        CASE(a_large_input_and_result_do_not_lock_up),
        CASE(a_program_that_reads_nothing_is_no_trouble),
        CASE(the_environment_names_the_attempt),
        CASE(a_compensation_knows_what_it_undoes),
        CASE(the_rest_of_the_environment_stays_outside),
        CASE(it_runs_in_the_directory_it_is_given),
        CASE(no_descriptor_gets_through),
        CASE(exit_1_is_no),
        CASE(exit_75_is_try_again),
        CASE(any_other_end_may_have_happened),
        CASE(a_result_that_is_no_object_may_have_happened),
        CASE(too_much_on_stdout_is_read_but_not_taken),
        CASE(the_end_of_stderr_is_kept),
        CASE(at_its_timeout_it_is_ended_and_unknown),
        CASE(an_answer_after_the_timeout_is_still_unknown),
        CASE(the_whole_group_is_ended_even_if_it_does_not_want_to),
        CASE(what_it_leaves_running_is_ended_with_it),
        CASE(closed_pipes_do_not_mean_that_it_has_ended),
        CASE(a_stop_ends_it),
        CASE(a_program_that_is_not_there_did_not_run),
        CASE(a_key_with_nul_is_refused_before_anything_runs),
        CASE(nothing_stays_open),
        CASE(the_example_quotes_refuses_and_undoes),
        CASE(a_worker_without_standard_descriptors_runs_programs_too),
    };
    return cmocka_run_group_tests_name("exec", tests, NULL, NULL);
}
