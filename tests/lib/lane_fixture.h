// SPDX-License-Identifier: Apache-2.0
// A lane whose processor is a counter that can be undone. Each step's effects are compared as text,
// so a case reads as the story of a transaction.
#ifndef KA_TESTS_LANE_FIXTURE_H
#define KA_TESTS_LANE_FIXTURE_H

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

static inline struct counter *counter_of(struct lane_partition *partition)
{
    return partition->owner;
}

static inline enum ka_err fake_record(void *context, struct lane_partition *partition,
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

static inline void fake_poison(void *context, struct lane_partition *partition,
                               const struct record *record, enum ka_err error,
                               const struct err_text *text, struct lane_batch *batch)
{
    struct fixture *f = context;
    (void)partition, (void)record, (void)error, (void)text;
    struct output output = {.topic = SLICE_LIT("dlq")};
    lane_batch_output(batch, &output, LANE_NO_TAG);
    f->poisoned++;
}

static inline enum ka_err fake_result(void *context, struct lane_partition *partition,
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

static inline enum ka_err fake_timer(void *context, struct lane_partition *partition,
                                     struct lane_batch *batch, struct err_text *text)
{
    struct fixture *f = context;
    (void)partition, (void)batch, (void)text;
    f->timers++;
    f->due_ms = INT64_MAX;
    return KA_OK;
}

static inline int64_t fake_due(void *context, struct lane_partition *partition)
{
    struct fixture *f = context;
    (void)partition;
    return f->due_ms;
}

static inline bool fake_pending(void *context, struct lane_partition *partition, int64_t now_ms)
{
    struct fixture *f = context;
    (void)partition, (void)now_ms;
    return f->own_work > 0;
}

static inline enum ka_err fake_work(void *context, struct lane_partition *partition,
                                    struct lane_batch *batch, struct err_text *text)
{
    struct fixture *f = context;
    (void)partition, (void)batch, (void)text;
    f->own_work--;
    return KA_OK;
}

static inline enum ka_err fake_close(void *context, struct lane_partition *partition,
                                     struct lane_batch *batch, struct err_text *text)
{
    (void)context, (void)partition, (void)batch, (void)text;
    return KA_OK;
}

static inline void fake_committed(void *context, struct lane_partition *partition)
{
    (void)context;
    counter_of(partition)->confirmed = counter_of(partition)->value;
}

static inline void fake_undo(void *context, struct lane_partition *partition)
{
    (void)context;
    counter_of(partition)->value = counter_of(partition)->confirmed;
}

static inline void fake_describe(void *context, struct lane_partition *partition, struct meta *meta)
{
    (void)context, (void)partition;
    meta->low_water = 7;
}

static inline enum ka_err fake_adopt(void *context, struct lane_partition *partition,
                                     void *restored, const struct meta *meta, struct err_text *text)
{
    (void)context, (void)restored, (void)meta, (void)text;
    partition->owner = calloc(1, sizeof(struct counter));
    return KA_OK;
}

static inline void fake_drop(void *context, struct lane_partition *partition)
{
    (void)context;
    free(partition->owner);
    partition->owner = NULL;
}

static inline void fake_release(void *context, struct lane_result *result)
{
    struct fixture *f = context;
    f->released++;
    free((void *)(uintptr_t)result->key.ptr);
    free(result);
}

// ---- Stepping
// ------------------------------------------------------------------------------------

static inline void add(struct fixture *f, const char *format, ...) KA_PRINTF(2, 3);
static inline void add(struct fixture *f, const char *format, ...)
{
    size_t at = strlen(f->trace);
    va_list args;
    va_start(args, format);
    vsnprintf(f->trace + at, sizeof f->trace - at, format, args);
    va_end(args);
}

static inline void remember_commit(struct fixture *f, const struct lane_effect *effect)
{
    struct slice text = effect->offsets[0].metadata;
    assert_true(text.len < sizeof f->meta_text);
    memcpy(f->meta_text, text.ptr, text.len);
    assert_int_equal(meta_parse(slice_of(f->meta_text, text.len), &f->meta, NULL), KA_OK);
    for (size_t i = 0; i < effect->count; i++)
        add(f, "commit %d@%lld; ", effect->offsets[i].slot, (long long)effect->offsets[i].offset);
}

static inline void note(struct fixture *f, const struct lane_effect *e)
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
static inline void expect(struct fixture *f, struct lane_event event, const char *expected)
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

static inline void tick(struct fixture *f, const char *expected)
{
    expect(f, (struct lane_event){.type = LANE_EVENT_TICK, .drained = true, .invoker_room = 10},
           expected);
}

static inline void take(struct fixture *f, int64_t offset, const char *expected)
{
    struct record record = {.topic = SLICE_LIT("in"), .offset = offset, .value = SLICE_LIT("v")};
    expect(f, (struct lane_event){.type = LANE_EVENT_RECORD, .record = &record, .epoch = 1},
           expected);
}

static inline void flushed(struct fixture *f, int producer, const char *expected)
{
    expect(f,
           (struct lane_event){
               .type = LANE_EVENT_FLUSHED, .producer = producer, .generation = 3, .member = true},
           expected);
}

static inline void on(struct fixture *f, enum lane_event_type type, int producer, enum ka_err error,
                      const char *expected)
{
    expect(f, (struct lane_event){.type = type, .producer = producer, .error = error}, expected);
}

static const struct lane_partition_name in0[] = {{{"in", 2}, 0}};

static inline void members(struct fixture *f, enum lane_event_type type, const char *expected)
{
    expect(f, (struct lane_event){.type = type, .partitions = in0, .partition_count = 1}, expected);
}

static inline void restored(struct fixture *f, int64_t offset, const char *expected)
{
    struct meta meta = {0};
    expect(f,
           (struct lane_event){.type = LANE_EVENT_RESTORED,
                               .epoch = lane_partition(f->lane, 0)->epoch,
                               .offset = offset,
                               .meta = &meta},
           expected);
}

static inline void result(struct fixture *f, int32_t epoch, const char *expected)
{
    struct lane_result *r = calloc(1, sizeof *r);
    r->epoch = epoch;
    expect(f, (struct lane_event){.type = LANE_EVENT_RESULT, .result = r}, expected);
}

static inline int value(struct fixture *f)
{
    return counter_of(lane_partition(f->lane, 0))->value;
}

static inline struct fixture *fresh(void)
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
static inline int setup(void **state)
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

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    lane_free(&f->lane);
    lane_effects_fini(&f->effects);
    free(f);
    return 0;
}

#endif
