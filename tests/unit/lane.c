// SPDX-License-Identifier: Apache-2.0
// The lane's protocol, event by event. Each step's effects are compared as text, so a case reads as
// the story of a transaction. The processor is a counter that can be undone.
#include "core/lane.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct counter {
    int value;
    int confirmed;
};

struct fixture {
    struct lane *lane;
    struct lane_effects effects;
    int64_t now_ms;
    char trace[2048];
    int64_t due_ms; // of every partition
    int timers;
    int results;
    int released;
    int poisoned;
    int own_work;
    bool invoke;       // records decide an invocation
    enum ka_err fails; // what record() returns
    struct meta meta;  // last committed by the fake engine
    char meta_text[META_MAX];
    char dispatched_key[64];
    int64_t dispatched_timeout_ms;
    struct slice last_code; // of a result
};

static struct counter *counter_of(struct lane_partition *partition)
{
    return partition->owner;
}

static enum ka_err fake_record(void *context, struct lane_partition *partition,
                               const struct record *record, struct lane_batch *batch,
                               struct err_text *text)
{
    struct fixture *f = context;
    (void)text;
    if (f->fails != KA_OK)
        return f->fails;
    counter_of(partition)->value++;
    struct output output = {.topic = SLICE_LIT("out"), .value = record->value};
    lane_batch_output(batch, &output, partition->slot);
    if (f->invoke) {
        struct invocation call = {
            .key = SLICE_LIT("order/1"), .timeout_ms = 30000, .wait_ms = 15000};
        lane_batch_invoke(batch, partition, &call);
    }
    return KA_OK;
}

static void fake_poison(void *context, struct lane_partition *partition,
                        const struct record *record, enum ka_err error, const struct err_text *text,
                        struct lane_batch *batch)
{
    struct fixture *f = context;
    (void)partition, (void)record, (void)error, (void)text;
    struct output output = {.topic = SLICE_LIT("dlq")};
    lane_batch_output(batch, &output, LANE_NO_TAG);
    f->poisoned++;
}

static enum ka_err fake_result(void *context, struct lane_partition *partition,
                               const struct lane_result *result, struct lane_batch *batch,
                               struct err_text *text)
{
    struct fixture *f = context;
    (void)text;
    counter_of(partition)->value += 100;
    f->results++;
    f->last_code = result->result.code;
    if (f->invoke) {
        struct invocation call = {.key = result->key, .timeout_ms = 30000, .wait_ms = 15000};
        lane_batch_invoke(batch, partition, &call);
    }
    return KA_OK;
}

static enum ka_err fake_timer(void *context, struct lane_partition *partition,
                              struct lane_batch *batch, struct err_text *text)
{
    struct fixture *f = context;
    (void)partition, (void)batch, (void)text;
    f->timers++;
    f->due_ms = INT64_MAX;
    return KA_OK;
}

static int64_t fake_due(void *context, struct lane_partition *partition)
{
    struct fixture *f = context;
    (void)partition;
    return f->due_ms;
}

static bool fake_pending(void *context, struct lane_partition *partition, int64_t now_ms)
{
    struct fixture *f = context;
    (void)partition, (void)now_ms;
    return f->own_work > 0;
}

static enum ka_err fake_work(void *context, struct lane_partition *partition,
                             struct lane_batch *batch, struct err_text *text)
{
    struct fixture *f = context;
    (void)partition, (void)batch, (void)text;
    f->own_work--;
    return KA_OK;
}

static enum ka_err fake_close(void *context, struct lane_partition *partition,
                              struct lane_batch *batch, struct err_text *text)
{
    (void)context, (void)partition, (void)batch, (void)text;
    return KA_OK;
}

static void fake_committed(void *context, struct lane_partition *partition)
{
    (void)context;
    counter_of(partition)->confirmed = counter_of(partition)->value;
}

static void fake_undo(void *context, struct lane_partition *partition)
{
    (void)context;
    counter_of(partition)->value = counter_of(partition)->confirmed;
}

static void fake_describe(void *context, struct lane_partition *partition, struct meta *meta)
{
    (void)context, (void)partition;
    meta->low_water = 7;
}

static enum ka_err fake_adopt(void *context, struct lane_partition *partition, void *restored,
                              const struct meta *meta, struct err_text *text)
{
    (void)context, (void)restored, (void)meta, (void)text;
    partition->owner = calloc(1, sizeof(struct counter));
    return KA_OK;
}

static void fake_drop(void *context, struct lane_partition *partition)
{
    (void)context;
    free(partition->owner);
    partition->owner = NULL;
}

static void fake_release(void *context, struct lane_result *result)
{
    struct fixture *f = context;
    f->released++;
    free((void *)(uintptr_t)result->key.ptr);
    free(result);
}

// ---- Stepping
// ------------------------------------------------------------------------------------

static void add(struct fixture *f, const char *format, ...) KA_PRINTF(2, 3);
static void add(struct fixture *f, const char *format, ...)
{
    size_t at = strlen(f->trace);
    va_list args;
    va_start(args, format);
    vsnprintf(f->trace + at, sizeof f->trace - at, format, args);
    va_end(args);
}

static void remember_commit(struct fixture *f, const struct lane_effect *effect)
{
    struct slice text = effect->offsets[0].metadata;
    assert_true(text.len < sizeof f->meta_text);
    memcpy(f->meta_text, text.ptr, text.len);
    assert_int_equal(meta_parse(slice_of(f->meta_text, text.len), &f->meta, NULL), KA_OK);
    for (size_t i = 0; i < effect->count; i++)
        add(f, "commit %d@%lld; ", effect->offsets[i].slot, (long long)effect->offsets[i].offset);
}

static void note(struct fixture *f, const struct lane_effect *e)
{
    char id = (char)('a' + e->producer);
    switch (e->type) {
    case LANE_EFFECT_BEGIN:
        add(f, "begin %c; ", id);
        break;
    case LANE_EFFECT_PRODUCE:
        add(f, "produce %zu; ", e->count);
        break;
    case LANE_EFFECT_FLUSH:
        add(f, "flush %c; ", id);
        break;
    case LANE_EFFECT_COMMIT:
        remember_commit(f, e);
        break;
    case LANE_EFFECT_ABORT:
        add(f, "abort %c; ", id);
        break;
    case LANE_EFFECT_RESET:
        add(f, "reset %c; ", id);
        break;
    case LANE_EFFECT_ASK_TOKEN:
        add(f, "ask %d; ", e->slot);
        break;
    case LANE_EFFECT_ASSIGN:
        add(f, "assign %zu; ", e->count);
        break;
    case LANE_EFFECT_UNASSIGN:
        add(f, "unassign %zu; ", e->count);
        break;
    case LANE_EFFECT_RESTORE:
        add(f, "restore %d; ", e->slot);
        break;
    case LANE_EFFECT_SEEK:
        add(f, "seek %d@%lld; ", e->slot, (long long)e->offset);
        break;
    case LANE_EFFECT_PAUSE:
        add(f, "pause %d; ", e->slot);
        break;
    case LANE_EFFECT_RESUME:
        add(f, "resume %d; ", e->slot);
        break;
    case LANE_EFFECT_SAMPLE_END:
        add(f, "sample %d; ", e->slot);
        break;
    case LANE_EFFECT_PARKED:
        add(f, "parked %d %s; ", e->slot, err_name(e->error));
        break;
    case LANE_EFFECT_DISPATCH: {
        struct lane_invocation *invocation = e->invocation;
        add(f, "dispatch; ");
        f->dispatched_timeout_ms = invocation->call.timeout_ms;
        f->dispatched_key[0] = '\0';
        strncat(f->dispatched_key, invocation->call.key.ptr, invocation->call.key.len);
        lane_invocation_free(&invocation);
        break;
    }
    }
}

// Steps, and compares what came out with `expected`.
static void expect(struct fixture *f, struct lane_event event, const char *expected)
{
    event.now_ms = f->now_ms;
    f->trace[0] = '\0';
    lane_step(f->lane, &event, &f->effects);
    for (size_t i = 0; i < f->effects.count; i++)
        note(f, &f->effects.list[i]);
    f->effects.count = 0;
    size_t len = strlen(f->trace);
    if (len >= 2)
        f->trace[len - 2] = '\0';
    assert_string_equal(f->trace, expected);
}

static void tick(struct fixture *f, const char *expected)
{
    expect(f, (struct lane_event){.type = LANE_EVENT_TICK, .drained = true, .invoker_room = 10},
           expected);
}

static void take(struct fixture *f, int64_t offset, const char *expected)
{
    struct record record = {.topic = SLICE_LIT("in"), .offset = offset, .value = SLICE_LIT("v")};
    expect(f, (struct lane_event){.type = LANE_EVENT_RECORD, .record = &record, .epoch = 1},
           expected);
}

static void flushed(struct fixture *f, int producer, const char *expected)
{
    expect(f,
           (struct lane_event){
               .type = LANE_EVENT_FLUSHED, .producer = producer, .generation = 3, .member = true},
           expected);
}

static void on(struct fixture *f, enum lane_event_type type, int producer, enum ka_err error,
               const char *expected)
{
    expect(f, (struct lane_event){.type = type, .producer = producer, .error = error}, expected);
}

static const struct lane_partition_name in0[] = {{{"in", 2}, 0}};

static void members(struct fixture *f, enum lane_event_type type, const char *expected)
{
    expect(f, (struct lane_event){.type = type, .partitions = in0, .partition_count = 1}, expected);
}

static void restored(struct fixture *f, int64_t offset, const char *expected)
{
    struct meta meta = {0};
    expect(f,
           (struct lane_event){.type = LANE_EVENT_RESTORED,
                               .epoch = lane_partition(f->lane, 0)->epoch,
                               .offset = offset,
                               .meta = &meta},
           expected);
}

static void result(struct fixture *f, int32_t epoch, const char *expected)
{
    struct lane_result *r = calloc(1, sizeof *r);
    r->epoch = epoch;
    expect(f, (struct lane_event){.type = LANE_EVENT_RESULT, .result = r}, expected);
}

static int value(struct fixture *f)
{
    return counter_of(lane_partition(f->lane, 0))->value;
}

static struct fixture *fresh(void)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->now_ms = 1000000;
    f->due_ms = INT64_MAX;
    struct lane_config config = {.node = SLICE_LIT("n1"),
                                 .name = SLICE_LIT("s0"),
                                 .incarnation = 42,
                                 .session_timeout_ms = 6000,
                                 .batch_records = 100,
                                 .batch_bytes = 1 << 20,
                                 .batch_ms = 1000,
                                 .undispatched_max = 4,
                                 .interval_max_ms = 50,
                                 .release_result = fake_release,
                                 .release_context = f};
    struct lane_processor processor = {f,          fake_record,    fake_poison,  fake_result,
                                       fake_timer, fake_due,       fake_pending, fake_work,
                                       fake_close, fake_committed, fake_undo,    fake_describe,
                                       fake_adopt, fake_drop,      NULL};
    f->lane = lane_new(&config, &processor);
    return f;
}

// An active partition in/0 at offset 10; the next transaction uses producer a.
static int setup(void **state)
{
    struct fixture *f = fresh();
    *state = f;
    tick(f, "reset a; reset b");
    on(f, LANE_EVENT_PRODUCER_READY, 0, KA_OK, "");
    on(f, LANE_EVENT_PRODUCER_READY, 1, KA_OK, "");
    members(f, LANE_EVENT_ASSIGNED, "assign 1; restore 0");
    restored(f, 10, "");
    tick(f, "begin b; flush b");
    flushed(f, 1, "commit 0@10");
    on(f, LANE_EVENT_COMMITTED, 1, KA_OK, "seek 0@10; resume 0");
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    lane_free(&f->lane);
    lane_effects_fini(&f->effects);
    free(f);
    return 0;
}

// ---- Cases
// ---------------------------------------------------------------------------------------

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
    tick(f, "begin b; flush b");
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
        CASE(a_record_that_cannot_be_read_is_poison),
        CASE(an_error_that_is_not_of_the_record_parks_the_partition),
        CASE(a_record_that_cannot_be_written_is_found_and_set_aside),
        CASE(a_full_batch_is_closed_at_once),
        CASE(pressure_holds_records_but_not_results),
        CASE(lane_time_never_goes_back),
        CASE(an_invocation_may_borrow_from_the_result_that_decided_it),
        CASE(a_missing_topic_is_waited_for_and_no_record_is_blamed),
        CASE(a_fetch_error_that_passes_does_not_park),
        CASE(a_record_that_waits_holds_only_records_of_its_partition),
        CASE(an_abort_seeks_back_a_partition_that_waits),
        CASE(an_unpark_during_a_transaction_is_not_forgotten),
        CASE(a_state_log_that_lost_its_end_parks_before_the_commit),
        CASE(a_lane_without_producers_does_not_ask_for_ticks),
        CASE(results_go_on_after_a_full_batch),
        CASE(an_abort_puts_records_before_timers_again),
        CASE(an_end_of_partition_before_the_seek_back_does_not_count),
        CASE(results_and_records_take_turns_while_a_batch_is_redone),
        CASE(a_clock_that_is_set_back_stops_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
