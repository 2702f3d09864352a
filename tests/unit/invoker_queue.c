// SPDX-License-Identifier: Apache-2.0
// The order in which waiting calls begin, without threads.
#include "engine/invoker_queue.h"

#include "plugins.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// cmocka wants the headers above it
#include <cmocka.h>

enum { ACTIONS = 3, ROOM = 12, NARROW = 2 }; // action NARROW may run one call at once

static struct runner *runners[ACTIONS];
static struct invoker_queue queue;
static struct invoker_client clients[2];

static int begin(void **state)
{
    (void)state;
    invoker_queue_init(&queue, ROOM, 1 << 20);
    return 0;
}

static int finish(void **state)
{
    (void)state;
    invoker_queue_fini(&queue);
    return 0;
}

// A call of an action; its number is the attempt.
static bool push(int action, int number)
{
    struct action_def def;
    struct invocation call = plugins_invocation(runners[action], &def);
    call.attempt = number;
    struct job *job = job_new(&call);
    assert_non_null(job);
    job->runner = runners[action];
    job->client = &clients[number % 2];
    job->shard = number;
    if (invoker_queue_push(&queue, job))
        return true;
    job_free(job);
    return false;
}

static struct invoker_line *line; // of the call that was taken last

// The next call as "action:number", "" if there is none.
static const char *take(void)
{
    static char text[16];
    struct job *job = invoker_queue_take(&queue);
    text[0] = '\0';
    if (job == NULL)
        return text;
    for (int i = 0; i < ACTIONS; i++)
        if (job->runner == runners[i])
            snprintf(text, sizeof text, "%d:%d", i, job->invocation.attempt);
    line = job->line;
    job_free(job);
    return text;
}

static void actions_take_turns(void **state)
{
    (void)state;
    for (int i = 1; i <= 4; i++)
        assert_true(push(0, i));
    assert_true(push(1, 1));
    assert_true(push(1, 2));
    static const char *const order[] = {"0:1", "1:1", "0:2", "1:2", "0:3", "0:4", ""};
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++)
        assert_string_equal(take(), order[i]);
    assert_int_equal(queue.calls, 0);
    assert_int_equal(queue.bytes, 0);
}

static void an_action_with_all_its_calls_running_is_passed_by(void **state)
{
    (void)state;
    assert_true(push(NARROW, 1));
    assert_true(push(NARROW, 2));
    assert_true(push(0, 1));
    assert_string_equal(take(), "2:1");
    struct invoker_line *narrow = line;
    assert_string_equal(take(), "0:1");
    assert_string_equal(take(), "");
    assert_true(push(0, 2));
    invoker_queue_done(&queue, narrow);
    assert_string_equal(take(), "0:2");
    assert_string_equal(take(), "2:2");
    invoker_queue_done(&queue, narrow);
    assert_string_equal(take(), "");
}

static void the_room_is_bounded_and_half_of_it_for_a_bounded_action(void **state)
{
    (void)state;
    for (int i = 1; i <= ROOM / 2; i++)
        assert_true(push(NARROW, i));
    assert_false(push(NARROW, 99));
    for (int i = 1; i <= ROOM / 2; i++)
        assert_true(push(i % 2, i));
    assert_false(push(0, 99));
    assert_string_equal(take(), "2:1");
    assert_true(push(0, 99));
}

static void what_is_dropped_leaves_the_order_of_the_rest(void **state)
{
    (void)state;
    for (int i = 1; i <= 4; i++)
        assert_true(push(0, i));
    assert_true(push(1, 1));
    assert_int_equal(invoker_queue_drop(&queue, &clients[1], -1, INT32_MAX), 3); // 1, 3 and 1:1
    assert_int_equal(invoker_queue_drop(&queue, &clients[0], 2, INT32_MAX), 1);
    assert_int_equal(invoker_queue_drop(&queue, &clients[0], 4, -1), 0); // of an older epoch
    assert_true(push(0, 6));
    assert_string_equal(take(), "0:4");
    assert_string_equal(take(), "0:6");
    assert_string_equal(take(), "");
    assert_int_equal(queue.bytes, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, finish)

int main(void)
{
    struct io_plugin *shop = plugins_open(plugins_shop());
    for (int i = 0; i < ACTIONS; i++) {
        struct runner_config config = {
            .name = "order.validate", .plugin = shop, .concurrency = i == NARROW};
        if (runner_new(RUNNER_PLUGIN, &config, &runners[i], NULL) != KA_OK)
            return 1;
    }
    const struct CMUnitTest tests[] = {
        CASE(actions_take_turns),
        CASE(an_action_with_all_its_calls_running_is_passed_by),
        CASE(the_room_is_bounded_and_half_of_it_for_a_bounded_action),
        CASE(what_is_dropped_leaves_the_order_of_the_rest),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (int i = 0; i < ACTIONS; i++)
        runner_free(&runners[i]);
    io_plugin_close(&shop);
    return failed;
}
