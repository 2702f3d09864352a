// SPDX-License-Identifier: Apache-2.0
// What does not come from Kafka, event by event: calls and their results, timers and the lane's
// time, pressure. Transactions are in lane.c.
#include "lane_fixture.h"

static void invocations_leave_after_their_commit(void **state)
{
    struct fixture *f = *state;
    f->invoke = true;
    take(f, 10, "begin a; produce 1");
    tick(f, "flush a");
    flushed(f, 0, "commit 0@11");
    on(f, LANE_EVENT_COMMITTED, 0, KA_OK, "");
    tick(f, "dispatch");
}

static void invocations_wait_for_a_young_proof_of_membership(void **state)
{
    struct fixture *f = *state;
    f->invoke = true;
    take(f, 10, "begin a; produce 1");
    tick(f, "flush a");
    flushed(f, 0, "commit 0@11");
    f->now_ms += 3000; // half the session timeout
    on(f, LANE_EVENT_COMMITTED, 0, KA_OK, "");
    tick(f, "begin b; flush b"); // an empty transaction asks the group
    flushed(f, 1, "commit 0@11");
    on(f, LANE_EVENT_COMMITTED, 1, KA_OK, "");
    tick(f, "dispatch");
}

static void tick_without_room(struct fixture *f, const char *expected)
{
    expect(f, (struct lane_event){.type = LANE_EVENT_TICK, .drained = true}, expected);
}

// A call that was decided now and committed; it waits in the queue of the lane.
static void decide_call(struct fixture *f, int64_t offset, int producer)
{
    char text[64];
    f->invoke = true;
    snprintf(text, sizeof text, "begin %c; produce 1", 'a' + producer);
    take(f, offset, text);
    snprintf(text, sizeof text, "flush %c", 'a' + producer);
    tick_without_room(f, text);
    snprintf(text, sizeof text, "commit 0@%lld", (long long)offset + 1);
    flushed(f, producer, text);
    on(f, LANE_EVENT_COMMITTED, producer, KA_OK, "");
    f->invoke = false;
}

static void a_queued_call_gets_what_is_left_of_its_timeout(void **state)
{
    struct fixture *f = *state;
    decide_call(f, 10, 0);
    tick_without_room(f, "");
    f->now_ms += 1000;
    tick(f, "dispatch");
    assert_int_equal(f->dispatched_timeout_ms, 29000);
}

static void a_call_that_waits_too_long_has_not_begun(void **state)
{
    struct fixture *f = *state;
    decide_call(f, 10, 0);
    f->now_ms += 15000; // half of its timeout
    tick_without_room(f, "begin b; flush b");
    assert_int_equal(f->results, 1);
    assert_true(slice_eq(f->last_code, ACTION_NOT_BEGUN));
    assert_int_equal(lane_stats(f->lane)->not_begun, 1);
    assert_true(lane_pressed(f->lane)); // it will come again
    flushed(f, 1, "commit 0@11");
    on(f, LANE_EVENT_COMMITTED, 1, KA_OK, "");
    tick(f, ""); // nothing is left to dispatch
}

// Found by the simulator: it was tried again for ever, as long as commits took half of its timeout.
static void the_commit_of_a_call_is_not_its_waiting(void **state)
{
    struct fixture *f = *state;
    f->invoke = true;
    take(f, 10, "begin a; produce 1");
    tick_without_room(f, "flush a");
    flushed(f, 0, "commit 0@11");
    f->now_ms += 20000; // of 30 s
    on(f, LANE_EVENT_COMMITTED, 0, KA_OK, "");
    f->invoke = false;
    tick_without_room(f, "begin b; flush b"); // for the proof of membership
    flushed(f, 1, "commit 0@11");
    on(f, LANE_EVENT_COMMITTED, 1, KA_OK, "");
    tick(f, "dispatch");
    assert_int_equal(f->dispatched_timeout_ms, 10000);
    assert_int_equal(lane_stats(f->lane)->not_begun, 0);
}

static void a_call_that_comes_back_is_no_failed_attempt(void **state)
{
    struct fixture *f = *state;
    struct lane_invocation *call = calloc(1, sizeof *call);
    *call =
        (struct lane_invocation){.epoch = 1, .call = {.key = SLICE_LIT("order/1"), .attempt = 3}};
    expect(f, (struct lane_event){.type = LANE_EVENT_NOT_BEGUN, .invocation = call}, "");
    tick(f, "begin a; flush a");
    assert_int_equal(f->results, 1);
    assert_true(slice_eq(f->last_code, ACTION_NOT_BEGUN));
}

static void too_many_waiting_calls_press(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 5; i++) {
        assert_false(lane_pressed(f->lane)); // four may wait
        decide_call(f, 10 + i, i % 2);
    }
    assert_int_equal(lane_waiting(f->lane), 5);
    assert_true(lane_pressed(f->lane));
    struct lane_event two = {.type = LANE_EVENT_TICK, .drained = true, .invoker_room = 2};
    expect(f, two, "dispatch; dispatch");
    assert_true(lane_pressed(f->lane)); // until half of them have gone
    two.invoker_room = 1;
    expect(f, two, "dispatch");
    f->now_ms += 2000; // and a moment more
    two.invoker_room = 0;
    expect(f, two, "");
    assert_false(lane_pressed(f->lane));
}

static void results_survive_an_abort_in_order(void **state)
{
    struct fixture *f = *state;
    result(f, 1, "");
    result(f, 1, "");
    tick(f, "begin a; flush a");
    assert_int_equal(value(f), 200);
    on(f, LANE_EVENT_FLUSHED, 0, KA_ERR_ABORT, "abort a");
    on(f, LANE_EVENT_ABORTED, 0, KA_OK, "seek 0@10");
    assert_int_equal(f->released, 0);
    f->now_ms += 1000;
    tick(f, "begin b; flush b");
    flushed(f, 1, "commit 0@10");
    on(f, LANE_EVENT_COMMITTED, 1, KA_OK, "");
    assert_int_equal(f->released, 2);
    assert_int_equal(value(f), 200);
}

static void results_of_an_earlier_assignment_are_dropped(void **state)
{
    struct fixture *f = *state;
    result(f, 0, "");
    tick(f, "");
    assert_int_equal(f->released, 1);
    assert_int_equal(f->results, 0);
}

static void sampled(struct fixture *f, int64_t end)
{
    expect(f, (struct lane_event){.type = LANE_EVENT_END_SAMPLED, .epoch = 1, .offset = end}, "");
}

static void timers_wait_until_the_inbox_is_read(void **state)
{
    struct fixture *f = *state;
    f->due_ms = f->now_ms + 5;
    tick(f, "");
    f->now_ms += 5;
    tick(f, "sample 0");
    sampled(f, 11);
    tick(f, "");
    assert_int_equal(f->timers, 0); // record 10 waits there and comes first
    take(f, 10, "begin a; produce 1");
    tick(f, "flush a");
    assert_int_equal(f->timers, 1);
}

static void an_end_of_partition_counts_as_read(void **state)
{
    struct fixture *f = *state;
    f->due_ms = f->now_ms;
    tick(f, "sample 0");
    sampled(f, 12); // two markers stand behind the last record
    tick(f, "");
    expect(f, (struct lane_event){.type = LANE_EVENT_EOF, .epoch = 1, .offset = 12}, "");
    tick(f, "begin a; flush a");
    assert_int_equal(f->timers, 1);
}

static void pressure_holds_records_but_not_results(void **state)
{
    struct fixture *f = *state;
    result(f, 1, "");
    expect(f, (struct lane_event){.type = LANE_EVENT_TICK, .drained = true, .hold_inputs = true},
           "begin a; flush a");
    assert_false(lane_wants_records(f->lane));
    assert_int_equal(f->results, 1);
}

static void lane_time_never_goes_back(void **state)
{
    struct fixture *f = *state;
    f->now_ms -= 500000;
    f->invoke = true;
    take(f, 10, "begin a; produce 1");
    assert_int_equal(lane_batch(f->lane)->now_ms, 1000000);
}

// Found by the simulator.
static void results_go_on_after_a_full_batch(void **state)
{
    struct fixture *f = *state;
    for (int64_t offset = 10; offset < 109; offset++)
        take(f, offset, offset == 10 ? "begin a; produce 1" : "produce 1");
    take(f, 109, "produce 1; flush a");
    flushed(f, 0, "commit 0@110");
    on(f, LANE_EVENT_COMMITTED, 0, KA_OK, "");
    result(f, 1, "");
    tick(f, "begin b"); // rule 1: behind 100 inputs it gathers for 10 ms
    f->now_ms += 9;
    tick(f, "");
    f->now_ms += 1;
    tick(f, "flush b");
    assert_int_equal(f->results, 1);
}

// Found by the simulator.
static void an_abort_puts_records_before_timers_again(void **state)
{
    struct fixture *f = *state;
    take(f, 10, "begin a; produce 1");
    expect(f, (struct lane_event){.type = LANE_EVENT_EOF, .epoch = 1, .offset = 11}, "");
    tick(f, "flush a");
    on(f, LANE_EVENT_FLUSHED, 0, KA_ERR_ABORT, "abort a");
    on(f, LANE_EVENT_ABORTED, 0, KA_OK, "seek 0@10");
    f->now_ms += 1000;
    f->due_ms = f->now_ms;
    tick(f, "sample 0");
    sampled(f, 11);
    tick(f, "");
    assert_int_equal(f->timers, 0); // record 10 waits there again
}

// Found by the simulator.
static void an_end_of_partition_before_the_seek_back_does_not_count(void **state)
{
    struct fixture *f = *state;
    take(f, 10, "begin a; produce 1");
    tick(f, "flush a");
    on(f, LANE_EVENT_FLUSHED, 0, KA_ERR_ABORT, "abort a");
    on(f, LANE_EVENT_ABORTED, 0, KA_OK, "seek 0@10");
    expect(f, (struct lane_event){.type = LANE_EVENT_SEEK_FAILED, .epoch = 1}, "");
    expect(f, (struct lane_event){.type = LANE_EVENT_EOF, .epoch = 1, .offset = 11}, "");
    f->now_ms += 1000;
    f->due_ms = f->now_ms;
    tick(f, "seek 0@10; resume 0; sample 0");
    sampled(f, 11);
    tick(f, "");
    assert_int_equal(f->timers, 0); // record 10 waits there again
}

// Found by the simulator.
static void results_and_records_take_turns_while_a_batch_is_redone(void **state)
{
    struct fixture *f = *state;
    take(f, 10, "begin a; produce 1");
    result(f, 1, "");
    tick(f, "flush a");
    assert_int_equal(f->results, 1);
    on(f, LANE_EVENT_FLUSHED, 0, KA_ERR_TOO_LARGE, "reset a");
    on(f, LANE_EVENT_PRODUCER_READY, 0, KA_OK, "seek 0@10");
    f->now_ms += 1000;
    tick(f, "begin b; flush b"); // the result is back, and goes without record 10
    flushed(f, 1, "commit 0@10");
    on(f, LANE_EVENT_COMMITTED, 1, KA_OK, "");
    take(f, 10, "begin a; produce 1; flush a");
    result(f, 1, "");
    on(f, LANE_EVENT_FLUSHED, 0, KA_ERR_TOO_LARGE, "reset a");
    on(f, LANE_EVENT_PRODUCER_READY, 0, KA_OK, "seek 0@10");
    f->now_ms += 1000;
    assert_false(lane_wants_records(f->lane)); // the result has its turn
    tick(f, "begin b; flush b");
    flushed(f, 1, "commit 0@10");
    on(f, LANE_EVENT_COMMITTED, 1, KA_OK, "");
    take(f, 10, "begin a; produce 1; flush a");
    assert_int_equal(f->poisoned, 1);
}

// Found by the simulator.
static void a_clock_that_is_set_back_stops_nothing(void **state)
{
    struct fixture *f = *state;
    f->now_ms -= 500000;
    take(f, 10, "begin a; produce 1");
    tick(f, "flush a");
    on(f, LANE_EVENT_FLUSHED, 0, KA_ERR_ABORT, "abort a");
    on(f, LANE_EVENT_ABORTED, 0, KA_OK, "seek 0@10");
    f->now_ms += 1000; // the pause after an abort is over
    take(f, 10, "begin b; produce 1");
    assert_int_equal(lane_batch(f->lane)->now_ms, 1000500); // late, but it goes on
}

static void an_invocation_may_borrow_from_the_result_that_decided_it(void **state)
{
    struct fixture *f = *state;
    struct lane_result *r = calloc(1, sizeof *r);
    r->epoch = 1;
    r->key = slice_str(strdup("order/of-the-result"));
    f->invoke = true;
    expect(f, (struct lane_event){.type = LANE_EVENT_RESULT, .result = r}, "");
    tick(f, "begin a; flush a");
    flushed(f, 0, "commit 0@10");
    on(f, LANE_EVENT_COMMITTED, 0, KA_OK, ""); // gives the result back
    assert_int_equal(f->released, 1);
    tick(f, "dispatch");
    assert_string_equal(f->dispatched_key, "order/of-the-result");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(invocations_leave_after_their_commit),
        CASE(invocations_wait_for_a_young_proof_of_membership),
        CASE(a_queued_call_gets_what_is_left_of_its_timeout),
        CASE(a_call_that_waits_too_long_has_not_begun),
        CASE(the_commit_of_a_call_is_not_its_waiting),
        CASE(a_call_that_comes_back_is_no_failed_attempt),
        CASE(too_many_waiting_calls_press),
        CASE(results_survive_an_abort_in_order),
        CASE(results_of_an_earlier_assignment_are_dropped),
        CASE(timers_wait_until_the_inbox_is_read),
        CASE(an_end_of_partition_counts_as_read),
        CASE(pressure_holds_records_but_not_results),
        CASE(lane_time_never_goes_back),
        CASE(an_invocation_may_borrow_from_the_result_that_decided_it),
        CASE(results_go_on_after_a_full_batch),
        CASE(an_abort_puts_records_before_timers_again),
        CASE(an_end_of_partition_before_the_seek_back_does_not_count),
        CASE(results_and_records_take_turns_while_a_batch_is_redone),
        CASE(a_clock_that_is_set_back_stops_nothing),
    };
    return cmocka_run_group_tests_name("lane_work", tests, NULL, NULL);
}
