// SPDX-License-Identifier: Apache-2.0
// Nothing here sleeps to be right: calls stand in gates that the test opens, results are awaited.
#include "engine/invoker.h"

#include "gate.h"
#include "io/clock.h"
#include "plugins.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
// cmocka wants the headers above it
#include <cmocka.h>

enum { RESULTS_MAX = 64 };

static struct io_plugin *probe;

// A lane as far as the invoker sees one: keeps what it gets.
struct lane {
    struct invoker_client client;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct invoker_result *results[RESULTS_MAX];
    int count;
    int asked;
    bool refuses;
};

static void lane_done(void *context, struct invoker_result *result)
{
    struct lane *lane = context;
    pthread_mutex_lock(&lane->lock);
    assert_true(lane->count < RESULTS_MAX);
    lane->results[lane->count++] = result;
    pthread_cond_broadcast(&lane->changed);
    pthread_mutex_unlock(&lane->lock);
}

static bool lane_may_start(void *context, int32_t shard, int32_t epoch)
{
    struct lane *lane = context;
    (void)shard;
    (void)epoch;
    pthread_mutex_lock(&lane->lock);
    bool may = !lane->refuses;
    lane->asked++;
    pthread_mutex_unlock(&lane->lock);
    return may;
}

static void lane_init(struct lane *lane)
{
    *lane = (struct lane){.client = {lane, lane_done, lane_may_start}};
    pthread_mutex_init(&lane->lock, NULL);
    pthread_cond_init(&lane->changed, NULL);
}

static void lane_fini(struct lane *lane)
{
    for (int i = 0; i < lane->count; i++)
        invoker_result_free(&lane->results[i]);
    pthread_cond_destroy(&lane->changed);
    pthread_mutex_destroy(&lane->lock);
}

static const struct invoker_result *await_result(struct lane *lane, int index)
{
    pthread_mutex_lock(&lane->lock);
    while (lane->count <= index)
        pthread_cond_wait(&lane->changed, &lane->lock);
    const struct invoker_result *result = lane->results[index];
    pthread_mutex_unlock(&lane->lock);
    return result;
}

enum { CAP = 2 };

struct trial {
    struct invoker *invoker;
    struct lane lane;
    struct gate gate;
    struct runner *gated;
    struct runner *echo;
    struct action_def gated_action;
    struct action_def echo_action;
    struct invocation gated_call;
    struct invocation echo_call;
};

static struct trial *make_trial(int threads, int lost_max, size_t queue_max)
{
    struct trial *trial = calloc(1, sizeof *trial);
    struct invoker_config config = {
        .threads = threads, .lost_max = lost_max, .queue_max = queue_max};
    char options[64];
    assert_int_equal(invoker_new(&config, &trial->invoker, NULL), KA_OK);
    lane_init(&trial->lane);
    trial->gate = (struct gate)GATE_INIT;
    snprintf(options, sizeof options, "{\"gate\":%lld}", (long long)(intptr_t)&trial->gate);
    trial->gated = plugins_runner(probe, "probe.gate", options, false);
    trial->echo = plugins_runner(probe, "probe.echo", NULL, false);
    trial->gated_call = plugins_invocation(trial->gated, &trial->gated_action);
    trial->echo_call = plugins_invocation(trial->echo, &trial->echo_action);
    return trial;
}

static void end_trial(struct trial *trial)
{
    gate_open(&trial->gate);
    if (trial->invoker != NULL)
        assert_int_equal(invoker_stop(trial->invoker, 60000, NULL), KA_OK);
    invoker_free(&trial->invoker);
    lane_fini(&trial->lane);
    runner_free(&trial->gated);
    runner_free(&trial->echo);
    free(trial);
}

static bool submit(struct trial *trial, const struct invocation *invocation)
{
    return invoker_submit(trial->invoker, &trial->lane.client, invocation, 7, 3);
}

// Submits the call that stands in the gate, and waits until it does.
static void occupy(struct trial *trial, int nth)
{
    assert_true(submit(trial, &trial->gated_call));
    gate_await_entered(&trial->gate, nth);
}

static bool has_entered(struct gate *gate, int count)
{
    pthread_mutex_lock(&gate->lock);
    bool entered = gate->entered >= count;
    pthread_mutex_unlock(&gate->lock);
    return entered;
}

// The same with a timeout of 20 ms. On a busy machine that may be over before a thread is free:
// then once more.
static void occupy_briefly(struct trial *trial, int nth)
{
    struct lane *lane = &trial->lane;
    int before = lane->count;
    trial->gated_call.timeout_ms = trial->gated_call.wait_ms = 20;
    for (;;) {
        assert_true(submit(trial, &trial->gated_call));
        await_result(lane, before);
        if (has_entered(&trial->gate, nth))
            return;
        assert_false(lane->results[before]->started);
        invoker_result_free(&lane->results[before]);
        lane->count = before;
    }
}

static struct invoker_stats read_stats(struct trial *trial)
{
    struct invoker_stats stats;
    invoker_read_stats(trial->invoker, &stats);
    return stats;
}

static void assert_text(struct slice s, const char *expected)
{
    if (!slice_eq(s, slice_str(expected)))
        fail_msg("expected \"%s\", found \"%.*s\"", expected, SLICE_FMT(s));
}

static void a_result_carries_the_identity_of_its_call(void **state)
{
    (void)state;
    struct trial *trial = make_trial(2, 0, 10);
    char input[] = "{\"a\":1}";
    trial->echo_call.input = slice_str(input);
    trial->echo_call.attempt = 4;
    trial->echo_call.compensation = true;
    assert_true(submit(trial, &trial->echo_call));
    memset(input, 'x', sizeof input); // it was copied
    const struct invoker_result *result = await_result(&trial->lane, 0);
    assert_true(result->started);
    assert_int_equal(result->shard, 7);
    assert_int_equal(result->epoch, 3);
    assert_text(result->key, "order/1");
    assert_int_equal(result->incarnation, 42);
    assert_int_equal(result->step, 2);
    assert_int_equal(result->attempt, 4);
    assert_true(result->compensation);
    assert_int_equal(result->result.outcome, OUTCOME_OK);
    assert_text(result->result.data, "{\"a\":1}");
    end_trial(trial);
}

static void a_full_queue_refuses(void **state)
{
    (void)state;
    struct trial *trial = make_trial(1, 0, 2);
    occupy(trial, 1);
    assert_true(submit(trial, &trial->echo_call));
    assert_true(submit(trial, &trial->echo_call));
    assert_false(submit(trial, &trial->echo_call));
    struct invoker_stats stats = read_stats(trial);
    assert_int_equal(stats.queued, 2);
    assert_int_equal(stats.running, 1);
    assert_int_equal(stats.refused, 1);
    gate_open(&trial->gate);
    await_result(&trial->lane, 2);
    assert_true(submit(trial, &trial->echo_call));
    end_trial(trial);
}

static void the_queue_is_bounded_by_bytes_too(void **state)
{
    (void)state;
    struct trial *trial = make_trial(1, 0, 100);
    struct invoker_config config = {.threads = 1, .queue_max = 100, .queue_bytes_max = 1000};
    struct invoker *invoker = NULL;
    assert_int_equal(invoker_new(&config, &invoker, NULL), KA_OK);
    assert_true(invoker_submit(invoker, &trial->lane.client, &trial->gated_call, 7, 3));
    gate_await_entered(&trial->gate, 1);
    assert_true(invoker_submit(invoker, &trial->lane.client, &trial->echo_call, 7, 3));
    assert_false(invoker_submit(invoker, &trial->lane.client, &trial->echo_call, 7, 3));
    gate_open(&trial->gate);
    await_result(&trial->lane, 1);
    assert_int_equal(invoker_stop(invoker, 60000, NULL), KA_OK);
    invoker_free(&invoker);
    end_trial(trial);
}

static void a_stuck_plugin_is_reported_at_its_timeout_and_replaced(void **state)
{
    (void)state;
    struct trial *trial = make_trial(1, 0, 10);
    occupy_briefly(trial, 1);
    const struct invoker_result *first = await_result(&trial->lane, 0);
    assert_true(first->started);
    assert_int_equal(first->result.outcome, OUTCOME_UNKNOWN);
    assert_true(first->result.maybe_done);
    assert_text(first->key, "order/1");
    assert_text(first->result.code, "timeout");
    assert_text(first->result.message, "no answer within 20 ms");
    assert_true(submit(trial, &trial->echo_call));
    assert_int_equal(await_result(&trial->lane, 1)->result.outcome, OUTCOME_OK);
    struct invoker_stats stats = read_stats(trial);
    assert_int_equal(stats.lost, 1);
    assert_int_equal(stats.given_up, 1);
    assert_int_equal(stats.ended[OUTCOME_UNKNOWN], 1);
    end_trial(trial);
}

static void await_late(struct trial *trial, uint64_t count)
{
    while (read_stats(trial).late < count)
        clock_sleep_ms(1);
}

static void a_late_return_is_ignored_and_its_thread_serves_again(void **state)
{
    (void)state;
    struct trial *trial = make_trial(1, 0, 10);
    occupy_briefly(trial, 1);
    gate_open(&trial->gate);
    await_late(trial, 1);
    assert_int_equal(read_stats(trial).lost, 0);
    struct runner_stats counted;
    runner_read_stats(trial->gated, &counted);
    assert_int_equal(counted.started, 1);
    assert_int_equal(counted.ended[OUTCOME_UNKNOWN], 1); // what the saga heard
    assert_int_equal(counted.ended[OUTCOME_OK], 0);
    assert_true(submit(trial, &trial->echo_call));
    assert_text(await_result(&trial->lane, 1)->result.data, "{\"order_id\":\"A1\",\"total\":5}");
    assert_int_equal(trial->lane.count, 2);
    end_trial(trial);
}

static void lost_threads_are_replaced_up_to_the_bound(void **state)
{
    (void)state;
    struct trial *trial = make_trial(1, 1, 10);
    occupy_briefly(trial, 1);
    occupy_briefly(trial, 2);
    assert_true(submit(trial, &trial->echo_call)); // nobody is left to run it
    assert_int_equal(read_stats(trial).lost, 2);
    assert_int_equal(read_stats(trial).queued, 1);
    gate_open(&trial->gate);
    assert_int_equal(await_result(&trial->lane, 2)->result.outcome, OUTCOME_OK);
    end_trial(trial);
}

static void a_lane_that_went_gets_nothing(void **state)
{
    (void)state;
    struct trial *trial = make_trial(1, 0, 10);
    struct lane other;
    lane_init(&other);
    occupy(trial, 1);
    assert_true(submit(trial, &trial->echo_call));
    assert_true(invoker_submit(trial->invoker, &other.client, &trial->echo_call, 1, 1));
    invoker_drop(trial->invoker, &trial->lane.client);
    gate_open(&trial->gate);
    await_result(&other, 0);
    assert_int_equal(trial->lane.count, 0);
    assert_int_equal(read_stats(trial).dropped, 2);
    invoker_drop(trial->invoker, &other.client);
    lane_fini(&other);
    end_trial(trial);
}

static void a_lane_that_went_does_not_hear_of_timeouts(void **state)
{
    (void)state;
    struct trial *trial = make_trial(1, 0, 10);
    trial->gated_call.timeout_ms = 300;
    occupy(trial, 1);
    invoker_drop(trial->invoker, &trial->lane.client);
    while (read_stats(trial).given_up == 0)
        clock_sleep_ms(1);
    assert_int_equal(trial->lane.count, 0);
    assert_int_equal(read_stats(trial).dropped, 1);
    gate_open(&trial->gate);
    await_late(trial, 1);
    end_trial(trial);
}

static void a_shard_that_went_takes_its_queued_calls_along(void **state)
{
    (void)state;
    struct trial *trial = make_trial(1, 0, 10);
    const struct invoker_client *client = &trial->lane.client;
    occupy(trial, 1);
    assert_true(invoker_submit(trial->invoker, client, &trial->echo_call, 1, 5));
    assert_true(invoker_submit(trial->invoker, client, &trial->echo_call, 2, 5));
    assert_true(invoker_submit(trial->invoker, client, &trial->echo_call, 1, 6));
    invoker_drop_shard(trial->invoker, client, 1, 5);
    gate_open(&trial->gate);
    assert_int_equal(await_result(&trial->lane, 1)->shard, 2);
    assert_int_equal(await_result(&trial->lane, 2)->epoch, 6);
    assert_int_equal(read_stats(trial).dropped, 1);
    end_trial(trial);
}

static void the_lane_is_asked_again_before_the_start(void **state)
{
    (void)state;
    struct trial *trial = make_trial(1, 0, 10);
    trial->lane.refuses = true;
    assert_true(submit(trial, &trial->gated_call));
    const struct invoker_result *result = await_result(&trial->lane, 0);
    assert_false(result->started);
    assert_int_equal(result->result.outcome, OUTCOME_RETRY);
    assert_false(result->result.maybe_done);
    assert_text(result->result.code, "not_begun");
    assert_int_equal(trial->gate.entered, 0);
    assert_int_equal(read_stats(trial).not_begun, 1);
    end_trial(trial);
}

static void a_call_that_waits_too_long_is_handed_back(void **state)
{
    (void)state;
    struct trial *trial = make_trial(1, 0, 10);
    occupy(trial, 1);
    assert_true(submit(trial, &trial->echo_call));
    trial->echo_call.wait_ms = 50;
    trial->echo_call.attempt = 2;
    assert_true(submit(trial, &trial->echo_call));
    const struct invoker_result *result = await_result(&trial->lane, 0); // the thread is not free
    assert_false(result->started);
    assert_int_equal(result->attempt, 2);
    gate_open(&trial->gate);
    assert_true(await_result(&trial->lane, 1)->started);
    assert_true(await_result(&trial->lane, 2)->started);
    assert_int_equal(read_stats(trial).started, 2);
    end_trial(trial);
}

static void a_stop_ends_programs(void **state)
{
    (void)state;
    const char *const argv[] = {"/bin/sleep", "600", NULL};
    struct trial *trial = make_trial(1, 0, 10);
    struct runner *sleeper = plugins_program(argv);
    struct action_def action;
    struct invocation call = plugins_invocation(sleeper, &action);
    call.timeout_ms = 600000;
    assert_true(submit(trial, &call));
    while (read_stats(trial).running == 0)
        clock_sleep_ms(1);
    assert_int_equal(invoker_stop(trial->invoker, 60000, NULL), KA_OK);
    invoker_free(&trial->invoker);
    assert_text(trial->lane.results[0]->result.code, "stopped");
    assert_true(trial->lane.results[0]->result.maybe_done);
    runner_free(&sleeper);
    end_trial(trial);
}

static void a_stop_tells_plugins_that_ask(void **state)
{
    (void)state;
    struct trial *trial = make_trial(2, 0, 10);
    struct runner *patient = plugins_runner(probe, "probe.patient", NULL, false);
    struct action_def action;
    struct invocation call = plugins_invocation(patient, &action);
    assert_true(submit(trial, &call));
    while (read_stats(trial).running == 0)
        clock_sleep_ms(1);
    assert_int_equal(invoker_stop(trial->invoker, 60000, NULL), KA_OK);
    invoker_free(&trial->invoker);
    assert_text(trial->lane.results[0]->result.code, "gave_in");
    runner_free(&patient);
    end_trial(trial);
}

static void a_stop_forgets_what_has_not_begun(void **state)
{
    (void)state;
    struct trial *trial = make_trial(1, 0, 10);
    occupy(trial, 1);
    assert_true(submit(trial, &trial->echo_call));
    struct err_text text;
    assert_int_equal(invoker_stop(trial->invoker, 1, &text), KA_ERR_TIMEOUT);
    assert_string_equal(text.text, "calls still run: probe.gate (order/1)");
    assert_false(submit(trial, &trial->echo_call));
    assert_int_equal(read_stats(trial).dropped, 1);
    gate_open(&trial->gate);
    while (read_stats(trial).running > 0)
        clock_sleep_ms(1);
    assert_int_equal(trial->lane.count, 0);
    invoker_free(&trial->invoker);
    end_trial(trial);
}

static int count_threads(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/task");
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

// The last thread gives the memory back: ASan and LSan are the judges here. What the calls use has
// to stay, so the trial is kept and the plugin is not closed.
static void an_invoker_may_go_before_its_stuck_threads(void **state)
{
    (void)state;
    int threads = count_threads();
    static struct trial *trial;
    trial = make_trial(3, 0, 10);
    occupy(trial, 1);
    occupy(trial, 2);
    assert_int_equal(invoker_stop(trial->invoker, 1, NULL), KA_ERR_TIMEOUT);
    invoker_free(&trial->invoker);
    gate_open(&trial->gate);
    while (count_threads() > threads)
        clock_sleep_ms(1);
    assert_int_equal(trial->lane.count, 0);
}

static void bounds_are_checked(void **state)
{
    (void)state;
    struct invoker *invoker = NULL;
    struct err_text text;
    struct invoker_config config = {.threads = 0, .queue_max = 1};
    assert_int_equal(invoker_new(&config, &invoker, &text), KA_ERR_CONFIG);
    config.threads = 1;
    config.queue_max = 0;
    assert_int_equal(invoker_new(&config, &invoker, &text), KA_ERR_CONFIG);
    assert_null(invoker);
}

// ------------------------------------------------------------------------------ many at once

enum { LANES = 4, CALLS = 400 };

struct busy_lane {
    struct invoker_client client;
    struct invoker *invoker;
    const struct invocation *call;
    _Atomic int done;
    _Atomic int bad;
    int submitted;
};

static void count_done(void *context, struct invoker_result *result)
{
    struct busy_lane *lane = context;
    if (result->result.outcome != OUTCOME_OK)
        atomic_fetch_add(&lane->bad, 1);
    atomic_fetch_add(&lane->done, 1);
    invoker_result_free(&result);
}

// Submits, now and then loses a shard, and goes in the middle of its own calls.
static void *be_busy(void *argument)
{
    struct busy_lane *lane = argument;
    while (lane->submitted < CALLS) {
        int32_t shard = lane->submitted % 3;
        if (!invoker_submit(lane->invoker, &lane->client, lane->call, shard, 1)) {
            sched_yield();
            continue;
        }
        lane->submitted++;
        if (lane->submitted % 100 == 0)
            invoker_drop_shard(lane->invoker, &lane->client, shard, 1);
    }
    invoker_drop(lane->invoker, &lane->client);
    return NULL;
}

static void every_accepted_call_ends_once_whatever_the_lanes_do(void **state)
{
    (void)state;
    struct trial *trial = make_trial(4, 0, 16);
    struct runner *alone = plugins_runner(probe, "probe.alone", NULL, false);
    struct action_def action;
    struct invocation call = plugins_invocation(alone, &action);
    struct busy_lane lanes[LANES];
    pthread_t threads[LANES];
    uint64_t done = 0;
    for (int i = 0; i < LANES; i++) {
        lanes[i] = (struct busy_lane){.invoker = trial->invoker, .call = &call};
        lanes[i].client = (struct invoker_client){&lanes[i], count_done, NULL};
        pthread_create(&threads[i], NULL, be_busy, &lanes[i]);
    }
    for (int i = 0; i < LANES; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(lanes[i].bad, 0);
        done += (uint64_t)lanes[i].done;
    }
    assert_int_equal(invoker_stop(trial->invoker, 60000, NULL), KA_OK);
    struct invoker_stats stats = read_stats(trial);
    assert_int_equal(stats.ended[OUTCOME_OK], done);
    assert_int_equal(stats.ended[OUTCOME_OK] + stats.dropped, LANES * CALLS);
    invoker_free(&trial->invoker);
    runner_free(&alone);
    end_trial(trial);
}

static int open_plugins(void **state)
{
    (void)state;
    probe = plugins_open(plugins_probe(NULL));
    return 0;
}

// A trial whose gated action may run CAP calls at once.
static struct trial *make_capped_trial(int threads, size_t queue_max)
{
    struct trial *trial = make_trial(threads, 0, queue_max);
    char options[64];
    snprintf(options, sizeof options, "{\"gate\":%lld}", (long long)(intptr_t)&trial->gate);
    runner_free(&trial->gated);
    struct runner_config config = {
        .name = "probe.gate", .plugin = probe, .options = slice_str(options), .concurrency = CAP};
    assert_int_equal(runner_new(RUNNER_PLUGIN, &config, &trial->gated, NULL), KA_OK);
    trial->gated_action.runner = trial->gated;
    return trial;
}

static void an_action_runs_as_many_calls_at_once_as_it_may(void **state)
{
    (void)state;
    struct trial *trial = make_capped_trial(4, 20);
    for (int i = 0; i < CAP + 3; i++)
        assert_true(submit(trial, &trial->gated_call));
    gate_await_entered(&trial->gate, CAP);
    // The threads that are left serve the others, so these have passed the gated ones.
    for (int i = 0; i < 8; i++) {
        assert_true(submit(trial, &trial->echo_call));
        assert_text(await_result(&trial->lane, i)->result.data,
                    "{\"order_id\":\"A1\",\"total\":5}");
    }
    assert_false(has_entered(&trial->gate, CAP + 1));
    assert_int_equal(read_stats(trial).running, CAP);
    assert_int_equal(read_stats(trial).queued, 3);
    gate_open(&trial->gate);
    await_result(&trial->lane, 8 + CAP + 2); // all of them, one after the other
    end_trial(trial);
}

static void a_call_that_was_given_up_keeps_its_place_until_it_returns(void **state)
{
    (void)state;
    struct trial *trial = make_capped_trial(4, 20);
    occupy_briefly(trial, 1);
    occupy_briefly(trial, 2);
    int before = trial->lane.count;
    trial->gated_call.timeout_ms = 60000;
    assert_true(submit(trial, &trial->gated_call));
    assert_true(submit(trial, &trial->echo_call));
    await_result(&trial->lane, before);
    assert_int_equal(read_stats(trial).queued, 1);
    assert_false(has_entered(&trial->gate, 3));
    gate_open(&trial->gate);
    await_result(&trial->lane, before + 1);
    assert_true(has_entered(&trial->gate, 3));
    end_trial(trial);
}

static void an_action_that_is_full_leaves_room_for_others(void **state)
{
    (void)state;
    struct trial *trial = make_capped_trial(CAP, 10);
    occupy(trial, 1);
    occupy(trial, 2);
    for (int i = 0; i < 5; i++)
        assert_true(submit(trial, &trial->gated_call));
    assert_false(submit(trial, &trial->gated_call));
    for (int i = 0; i < 5; i++)
        assert_true(submit(trial, &trial->echo_call));
    assert_false(submit(trial, &trial->echo_call));
    end_trial(trial);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_result_carries_the_identity_of_its_call),
        cmocka_unit_test(a_full_queue_refuses),
        cmocka_unit_test(an_action_runs_as_many_calls_at_once_as_it_may),
        cmocka_unit_test(a_call_that_was_given_up_keeps_its_place_until_it_returns),
        cmocka_unit_test(an_action_that_is_full_leaves_room_for_others),
        cmocka_unit_test(the_queue_is_bounded_by_bytes_too),
        cmocka_unit_test(a_stuck_plugin_is_reported_at_its_timeout_and_replaced),
        cmocka_unit_test(a_late_return_is_ignored_and_its_thread_serves_again),
        cmocka_unit_test(lost_threads_are_replaced_up_to_the_bound),
        cmocka_unit_test(a_lane_that_went_gets_nothing),
        cmocka_unit_test(a_lane_that_went_does_not_hear_of_timeouts),
        cmocka_unit_test(a_shard_that_went_takes_its_queued_calls_along),
        cmocka_unit_test(the_lane_is_asked_again_before_the_start),
        cmocka_unit_test(a_call_that_waits_too_long_is_handed_back),
        cmocka_unit_test(a_stop_ends_programs),
        cmocka_unit_test(a_stop_tells_plugins_that_ask),
        cmocka_unit_test(a_stop_forgets_what_has_not_begun),
        cmocka_unit_test(an_invoker_may_go_before_its_stuck_threads),
        cmocka_unit_test(bounds_are_checked),
        cmocka_unit_test(every_accepted_call_ends_once_whatever_the_lanes_do),
    };
    return cmocka_run_group_tests_name("invoker", tests, open_plugins, plugins_clean);
}
