// SPDX-License-Identifier: Apache-2.0
// The lane's transactions, event by event: begun, committed, unclear, undone, taken away; and
// records that spoil them. What does not come from Kafka is in lane_work.c.
#include "lane_fixture.h"

static void a_partition_is_claimed_before_it_is_read(void **state)
{
    struct fixture *f = *state; // the claim is in setup
    assert_int_equal(f->meta.incarnation, 42);
    assert_int_equal(f->meta.low_water, 7);
    assert_true(lane_wants_records(f->lane));
}

static void a_lone_record_is_committed_at_once(void **state)
{
    struct fixture *f = *state;
    take(f, 10, "begin a; produce 1");
    tick(f, "flush a");
    assert_false(lane_wants_records(f->lane));
    flushed(f, 0, "commit 0@11");
    on(f, LANE_EVENT_COMMITTED, 0, KA_OK, "");
    take(f, 11, "begin b; produce 1"); // the ids take turns
    assert_int_equal(value(f), 2);
}

static void an_abort_undoes_and_seeks_back(void **state)
{
    struct fixture *f = *state;
    take(f, 10, "begin a; produce 1");
    tick(f, "flush a");
    on(f, LANE_EVENT_FLUSHED, 0, KA_ERR_ABORT, "abort a");
    on(f, LANE_EVENT_ABORTED, 0, KA_OK, "seek 0@10");
    assert_int_equal(value(f), 0);
    assert_false(lane_wants_records(f->lane)); // a pause first
    f->now_ms += 1000;
    tick(f, "");
    take(f, 10, "begin b; produce 1");
}

static void a_seek_that_failed_is_repeated(void **state)
{
    struct fixture *f = *state;
    struct lane_event failed = {.type = LANE_EVENT_SEEK_FAILED, .epoch = 1};
    expect(f, failed, ""); // that of the claim: what followed it could not resume either
    tick(f, "seek 0@10; resume 0");
    expect(f, failed, "");
    tick(f, "seek 0@10; resume 0");
    take(f, 10, "begin a; produce 1");
}

static void a_lane_that_is_no_member_does_not_commit(void **state)
{
    struct fixture *f = *state;
    take(f, 10, "begin a; produce 1");
    tick(f, "flush a");
    expect(f, (struct lane_event){.type = LANE_EVENT_FLUSHED, .generation = -1}, "abort a");
}

static void an_unclear_commit_is_asked_for_its_token(void **state)
{
    struct fixture *f = *state;
    take(f, 10, "begin a; produce 1");
    tick(f, "flush a");
    flushed(f, 0, "commit 0@11");
    on(f, LANE_EVENT_COMMIT_FAILED, 0, KA_ERR_UNCLEAR, "reset a");
    on(f, LANE_EVENT_PRODUCER_READY, 0, KA_OK, "ask 0");
    expect(f, (struct lane_event){.type = LANE_EVENT_TOKEN, .epoch = 1, .meta = &f->meta}, "");
    assert_int_equal(lane_partition(f->lane, 0)->committed, 11);
    assert_int_equal(value(f), 1);
}

static void an_unclear_commit_without_its_token_is_undone(void **state)
{
    struct fixture *f = *state;
    struct meta before = f->meta;
    take(f, 10, "begin a; produce 1");
    tick(f, "flush a");
    flushed(f, 0, "commit 0@11");
    on(f, LANE_EVENT_COMMIT_FAILED, 0, KA_ERR_FENCED, "reset a");
    on(f, LANE_EVENT_PRODUCER_FAILED, 0, KA_ERR_TIMEOUT, "");
    f->now_ms += 1000;
    tick(f, "reset a");
    on(f, LANE_EVENT_PRODUCER_READY, 0, KA_OK, "ask 0");
    expect(f, (struct lane_event){.type = LANE_EVENT_TOKEN, .epoch = 1, .meta = &before},
           "seek 0@10");
    assert_int_equal(value(f), 0);
}

static void an_unclear_commit_that_somebody_wrote_over_parks(void **state)
{
    struct fixture *f = *state;
    struct meta none = {0};
    take(f, 10, "begin a; produce 1");
    tick(f, "flush a");
    flushed(f, 0, "commit 0@11");
    on(f, LANE_EVENT_COMMIT_FAILED, 0, KA_ERR_TIMEOUT, "reset a");
    on(f, LANE_EVENT_PRODUCER_READY, 0, KA_OK, "ask 0");
    expect(f,
           (struct lane_event){.type = LANE_EVENT_TOKEN, .epoch = 1, .offset = 99, .meta = &none},
           "pause 0; parked 0 DIVERGED");
    assert_int_equal(value(f), 0); // it is not known: nothing goes on from here
    assert_int_equal(lane_partition(f->lane, 0)->state, LANE_PARTITION_PARKED);
}

static void a_dirty_producer_is_reset_after_its_commit(void **state)
{
    struct fixture *f = *state;
    take(f, 10, "begin a; produce 1");
    tick(f, "flush a");
    flushed(f, 0, "commit 0@11");
    expect(f, (struct lane_event){.type = LANE_EVENT_COMMITTED, .dirty = true}, "reset a");
    take(f, 11, "begin b; produce 1"); // the other one goes on meanwhile
}

static void a_revoked_partition_aborts_the_open_transaction(void **state)
{
    struct fixture *f = *state;
    take(f, 10, "begin a; produce 1");
    members(f, LANE_EVENT_REVOKING, "abort a");
    on(f, LANE_EVENT_ABORTED, 0, KA_OK, "unassign 1");
    assert_null(lane_find(f->lane, SLICE_LIT("in"), 0));
}

static void a_revocation_waits_for_the_commit_under_way(void **state)
{
    struct fixture *f = *state;
    f->invoke = true;
    take(f, 10, "begin a; produce 1");
    tick(f, "flush a");
    flushed(f, 0, "commit 0@11");
    members(f, LANE_EVENT_REVOKING, "");
    on(f, LANE_EVENT_COMMITTED, 0, KA_OK, "unassign 1"); // and dispatches nothing
    tick(f, "");
}

static void a_revocation_does_not_wait_for_a_dead_broker(void **state)
{
    struct fixture *f = *state;
    take(f, 10, "begin a; produce 1");
    tick(f, "flush a");
    flushed(f, 0, "commit 0@11");
    members(f, LANE_EVENT_REVOKING, "");
    f->now_ms += 1500;
    tick(f, "unassign 1; reset a");
    on(f, LANE_EVENT_PRODUCER_READY, 0, KA_OK, "");
    assert_true(lane_idle(f->lane));
}

static void a_lost_partition_dispatches_nothing(void **state)
{
    struct fixture *f = *state;
    f->invoke = true;
    take(f, 10, "begin a; produce 1");
    tick(f, "flush a");
    flushed(f, 0, "commit 0@11");
    members(f, LANE_EVENT_LOST, "unassign 1");
    on(f, LANE_EVENT_COMMITTED, 0, KA_OK, "");
    tick(f, "");
}

static void a_record_that_cannot_be_read_is_poison(void **state)
{
    struct fixture *f = *state;
    f->fails = KA_ERR_JSON;
    take(f, 10, "begin a; produce 1");
    assert_int_equal(f->poisoned, 1);
    tick(f, "flush a");
    flushed(f, 0, "commit 0@11"); // the partition goes on
}

static void an_error_that_is_not_of_the_record_parks_the_partition(void **state)
{
    struct fixture *f = *state;
    f->fails = KA_ERR_DIVERGED;
    take(f, 10, "begin a; pause 0; parked 0 DIVERGED");
    assert_int_equal(lane_partition(f->lane, 0)->position, 10);
    f->fails = KA_OK;
    take(f, 10, ""); // nothing is taken any more
}

static void a_record_that_cannot_be_written_is_found_and_set_aside(void **state)
{
    struct fixture *f = *state;
    take(f, 10, "begin a; produce 1");
    take(f, 11, "produce 1");
    tick(f, "flush a");
    on(f, LANE_EVENT_FLUSHED, 0, KA_ERR_TOO_LARGE, "reset a");
    on(f, LANE_EVENT_PRODUCER_READY, 0, KA_OK, "seek 0@10");
    f->now_ms += 1000;
    tick(f, "");
    take(f, 10, "begin b; produce 1; flush b"); // one by one
    on(f, LANE_EVENT_FLUSHED, 1, KA_ERR_TOO_LARGE, "reset b");
    on(f, LANE_EVENT_PRODUCER_READY, 1, KA_OK, "seek 0@10");
    f->now_ms += 1000;
    tick(f, "");
    take(f, 10, "begin a; produce 1; flush a");
    assert_int_equal(f->poisoned, 1);
    flushed(f, 0, "commit 0@11");
    on(f, LANE_EVENT_COMMITTED, 0, KA_OK, "");
    tick(f, ""); // results and timers have their turn
    take(f, 11, "begin b; produce 1; flush b");
    assert_int_equal(f->poisoned, 1);
}

static void a_full_batch_is_closed_at_once(void **state)
{
    struct fixture *f = *state;
    for (int64_t offset = 10; offset < 109; offset++)
        take(f, offset, offset == 10 ? "begin a; produce 1" : "produce 1");
    take(f, 109, "produce 1; flush a"); // the cap of 100 records
    assert_false(lane_wants_records(f->lane));
}

static void a_missing_topic_is_waited_for_and_no_record_is_blamed(void **state)
{
    struct fixture *f = *state;
    take(f, 10, "begin a; produce 1");
    tick(f, "flush a");
    on(f, LANE_EVENT_FLUSHED, 0, KA_ERR_NOT_FOUND, "reset a");
    on(f, LANE_EVENT_PRODUCER_READY, 0, KA_OK, "seek 0@10");
    f->now_ms += 1000;
    tick(f, "");
    take(f, 10, "begin b; produce 1");
    take(f, 11, "produce 1"); // not one by one
    tick(f, "flush b");
    on(f, LANE_EVENT_FLUSHED, 1, KA_ERR_NOT_ALLOWED, "reset b");
    assert_int_equal(f->poisoned, 0);
}

static void a_fetch_error_that_passes_does_not_park(void **state)
{
    struct fixture *f = *state;
    struct lane_event failed = {
        .type = LANE_EVENT_PARTITION_ERROR, .epoch = 1, .error = KA_ERR_RETRY};
    expect(f, failed, "");
    take(f, 10, "begin a; produce 1");
    failed.error = KA_ERR_DIVERGED;
    expect(f, failed, "pause 0; parked 0 DIVERGED");
}

static void a_record_that_waits_holds_only_records_of_its_partition(void **state)
{
    struct fixture *f = *state;
    take(f, 10, "begin a; produce 1");
    f->fails = KA_ERR_RETRY;
    take(f, 11, "pause 0");
    take(f, 12, ""); // was fetched before the pause
    tick(f, "flush a");
    flushed(f, 0, "commit 0@11");
    on(f, LANE_EVENT_COMMITTED, 0, KA_OK, "");
    result(f, 1, ""); // goes on
    tick(f, "begin b; flush b");
    assert_int_equal(f->results, 1);
    flushed(f, 1, "commit 0@11");
    on(f, LANE_EVENT_COMMITTED, 1, KA_OK, "");
    assert_int_equal(lane_deadline(f->lane), f->now_ms + 100);
    f->now_ms += 100;
    tick(f, "seek 0@11; resume 0");
    take(f, 11, "begin a; pause 0"); // not yet
    f->now_ms += 100;
    f->fails = KA_OK;
    tick(f, "seek 0@11; resume 0; flush a");
    flushed(f, 0, "commit 0@11");
    on(f, LANE_EVENT_COMMITTED, 0, KA_OK, "");
    take(f, 11, "begin b; produce 1");
}

static void an_abort_seeks_back_a_partition_that_waits(void **state)
{
    struct fixture *f = *state;
    take(f, 10, "begin a; produce 1");
    f->fails = KA_ERR_RETRY;
    take(f, 11, "pause 0");
    tick(f, "flush a");
    on(f, LANE_EVENT_FLUSHED, 0, KA_ERR_ABORT, "abort a");
    on(f, LANE_EVENT_ABORTED, 0, KA_OK, "seek 0@10");
    f->now_ms += 100;
    tick(f, "seek 0@10; resume 0");
    f->fails = KA_OK;
    take(f, 10, "begin b; produce 1");
}

static void an_unpark_during_a_transaction_is_not_forgotten(void **state)
{
    struct fixture *f = *state;
    f->fails = KA_ERR_NO_DEFINITION;
    take(f, 10, "begin a; pause 0; parked 0 NO_DEFINITION");
    expect(f, (struct lane_event){.type = LANE_EVENT_UNPARK, .epoch = 1}, "");
    tick(f, "flush a");
    flushed(f, 0, "commit 0@10");
    on(f, LANE_EVENT_COMMITTED, 0, KA_OK, "");
    tick(f, "restore 0");
    tick(f, "");
    restored(f, 10, "");
    tick(f, "begin b; flush b");
}

static void an_offset_that_went_back_while_parked_stops_the_partition(void **state)
{
    struct fixture *f = *state;
    struct lane_event gone = {
        .type = LANE_EVENT_PARTITION_ERROR, .epoch = 1, .error = KA_ERR_NOT_FOUND};
    expect(f, gone, "pause 0; parked 0 NOT_FOUND");
    expect(f, (struct lane_event){.type = LANE_EVENT_UNPARK, .epoch = 1}, "restore 0");
    restored(f, 0, "pause 0; parked 0 DIVERGED"); // the new topic has no offset
    assert_non_null(strstr(lane_error_text(f->lane)->text, "was read to offset 10"));
}

static void a_state_log_that_lost_its_end_parks_before_the_commit(void **state)
{
    struct fixture *f = *state;
    struct lane_span span = {.tag = 0, .first = 20, .last = 21};
    struct lane_event event = {.type = LANE_EVENT_FLUSHED,
                               .generation = 3,
                               .member = true,
                               .spans = &span,
                               .span_count = 1};
    take(f, 10, "begin a; produce 1");
    tick(f, "flush a");
    expect(f, event, "commit 0@11");
    on(f, LANE_EVENT_COMMITTED, 0, KA_OK, "");
    take(f, 11, "begin b; produce 1");
    tick(f, "flush b");
    event.producer = 1;
    span.first = 15;
    expect(f, event, "pause 0; parked 0 DIVERGED; abort b");
    on(f, LANE_EVENT_ABORTED, 1, KA_OK, "");
    assert_int_equal(value(f), 1);
}

static void a_lane_without_producers_does_not_ask_for_ticks(void **state)
{
    struct fixture *f = *state;
    result(f, 1, "");
    assert_true(lane_deadline(f->lane) <= f->now_ms); // there is work
    tick(f, "begin a; flush a");
    flushed(f, 0, "commit 0@10");
    expect(f, (struct lane_event){.type = LANE_EVENT_COMMITTED, .dirty = true}, "reset a");
    take(f, 10, "begin b; produce 1");
    tick(f, "flush b");
    flushed(f, 1, "commit 0@11");
    expect(f, (struct lane_event){.type = LANE_EVENT_COMMITTED, .producer = 1, .dirty = true},
           "reset b");
    result(f, 1, "");
    assert_int_equal(lane_deadline(f->lane), INT64_MAX); // the answer to a reset wakes it
    on(f, LANE_EVENT_PRODUCER_READY, 0, KA_OK, "");
    assert_true(lane_deadline(f->lane) <= f->now_ms);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_partition_is_claimed_before_it_is_read),
        CASE(a_lone_record_is_committed_at_once),
        CASE(an_abort_undoes_and_seeks_back),
        CASE(a_seek_that_failed_is_repeated),
        CASE(a_lane_that_is_no_member_does_not_commit),
        CASE(an_unclear_commit_is_asked_for_its_token),
        CASE(an_unclear_commit_without_its_token_is_undone),
        CASE(an_unclear_commit_that_somebody_wrote_over_parks),
        CASE(a_dirty_producer_is_reset_after_its_commit),
        CASE(a_revoked_partition_aborts_the_open_transaction),
        CASE(a_revocation_waits_for_the_commit_under_way),
        CASE(a_revocation_does_not_wait_for_a_dead_broker),
        CASE(a_lost_partition_dispatches_nothing),
        CASE(a_record_that_cannot_be_read_is_poison),
        CASE(an_error_that_is_not_of_the_record_parks_the_partition),
        CASE(a_record_that_cannot_be_written_is_found_and_set_aside),
        CASE(a_full_batch_is_closed_at_once),
        CASE(a_missing_topic_is_waited_for_and_no_record_is_blamed),
        CASE(a_fetch_error_that_passes_does_not_park),
        CASE(a_record_that_waits_holds_only_records_of_its_partition),
        CASE(an_abort_seeks_back_a_partition_that_waits),
        CASE(an_unpark_during_a_transaction_is_not_forgotten),
        CASE(an_offset_that_went_back_while_parked_stops_the_partition),
        CASE(a_state_log_that_lost_its_end_parks_before_the_commit),
        CASE(a_lane_without_producers_does_not_ask_for_ticks),
    };
    return cmocka_run_group_tests_name("lane", tests, NULL, NULL);
}
