// SPDX-License-Identifier: Apache-2.0
// A saga run again from its history. That each golden story ends in the same bytes is in
// tests/golden/sagas.c; here are the sagas that nobody wrote, and what is wrong with a history.
// KASAGA_SEED=n KASAGA_SEEDS=1 repeats one.
#include "core/replay.h"

#include "core/history.h"
#include "random_saga.h"
#include "story.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// cmocka wants the headers above it
#include <cmocka.h>

enum { SEEDS = 3000, EVENTS = 60 };

// What one saga wrote: documents in order, and the state after each event.
struct written {
    struct arena arena;
    struct slice docs[2048];
    struct slice states[2048]; // absent in the middle of an event
    size_t count;
};

static struct slice cause_of(enum saga_event_type type)
{
    static const char *const causes[] = {[SAGA_EVENT_START] = "orders/0/1",
                                         [SAGA_EVENT_RESULT] = "result",
                                         [SAGA_EVENT_TIMER] = "timer",
                                         [SAGA_EVENT_TAKEOVER] = "takeover",
                                         [SAGA_EVENT_COMMAND] = "shop.inbox/0/9"};
    return slice_str(causes[type]);
}

static void write_docs(struct written *written, struct random_saga *random,
                       const struct saga_effects *effects, enum saga_event_type type)
{
    struct history_context context = {SLICE_LIT("/kasaga/t/shop"), cause_of(type), "t/n1"};
    struct buf buf = {0};
    for (size_t i = 0; i < effects->transition_count; i++) {
        assert_true(written->count < sizeof written->docs / sizeof written->docs[0]);
        buf_clear(&buf);
        history_format(random->saga, &effects->transitions[i], &context, &buf);
        written->docs[written->count++] = buf_take(&buf, 0, &written->arena);
    }
    buf_fini(&buf);
}

// As a shard does it: the results of inline actions belong to the event that led to them.
static void happen(struct written *written, struct random_saga *random, struct saga_event *event)
{
    struct saga_effects effects = {.arena = &random->arena, .scratch = &random->scratch};
    random->started = true;
    if (saga_step(random->saga, event, &effects, &random->text) != KA_OK)
        return;
    for (size_t done = 0; done < effects.invocation_count; done++) {
        struct invocation call = effects.invocations[done];
        if (!call.action->run_inline)
            continue;
        struct saga_event answer = {.type = SAGA_EVENT_RESULT,
                                    .now_ms = event->now_ms,
                                    .step = call.step,
                                    .attempt = call.attempt,
                                    .compensation = call.compensation,
                                    .result = random_saga_result(random)};
        assert_int_equal(saga_step(random->saga, &answer, &effects, &random->text), KA_OK);
    }
    write_docs(written, random, &effects, event->type);
    struct buf state = {0};
    saga_encode(random->saga, &state);
    if (written->count > 0)
        written->states[written->count - 1] = buf_take(&state, 0, &written->arena);
    buf_fini(&state);
}

#define HOLDS(seed, condition)                                                                     \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_msg("KASAGA_SEED=%llu KASAGA_SEEDS=1: %s", (unsigned long long)(seed),            \
                     #condition);                                                                  \
    } while (0)

static void replay_all(const struct written *written, const struct random_saga *random)
{
    struct arena arena = {0};
    struct buf scratch = {0}, state = {0};
    struct replay replay;
    struct err_text text = {""};
    replay_init(&replay, random->def, random->saga->key, NULL, &arena, &scratch);
    for (size_t i = 0; i < written->count; i++) {
        struct history_doc doc;
        assert_int_equal(history_doc_parse(written->docs[i], &arena, &doc, &text), KA_OK);
        if (replay_take(&replay, &doc, &text) != KA_OK)
            fail_msg("KASAGA_SEED=%llu KASAGA_SEEDS=1: %s", (unsigned long long)random->seed,
                     text.text);
        HOLDS(random->seed, replay_rests(&replay) == !slice_none(written->states[i]));
        if (slice_none(written->states[i]))
            continue;
        buf_clear(&state);
        saga_encode(replay.saga, &state);
        HOLDS(random->seed, slice_eq(buf_slice(&state), written->states[i]));
    }
    HOLDS(random->seed, replay_difference(replay.saga, random->saga, &arena) == NULL);
    buf_fini(&state);
    buf_fini(&scratch);
    arena_fini(&arena);
}

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static void any_saga_is_replayed_to_the_same_bytes(void **state)
{
    (void)state;
    uint64_t first = number("KASAGA_SEED", 1);
    uint64_t count = number("KASAGA_SEEDS", SEEDS);
    static struct written written;
    for (uint64_t seed = first; seed < first + count; seed++) {
        struct random_saga random;
        memset(&written, 0, sizeof written);
        random_saga_init(&random, seed);
        for (int i = 0; i < EVENTS; i++) {
            struct saga_event event = random_saga_event(&random);
            happen(&written, &random, &event);
        }
        replay_all(&written, &random);
        random_saga_fini(&random);
        arena_fini(&written.arena);
    }
}

// --- what is wrong with a history

struct fixture {
    struct story story;
    struct arena arena;
    struct buf scratch;
    struct replay replay;
    struct err_text text;
};

static void set_up(struct fixture *f, const char *definition, const char *events)
{
    memset(f, 0, sizeof *f);
    story_init(&f->story, definition);
    story_tell_all(&f->story, events);
    replay_init(&f->replay, f->story.def, SLICE_LIT("order/4711"), NULL, &f->arena, &f->scratch);
}

static void tear_down(struct fixture *f)
{
    buf_fini(&f->scratch);
    arena_fini(&f->arena);
    story_fini(&f->story);
}

// Takes the documents from `first` to before `last`, with `from` in them replaced by `to`.
static enum ka_err take(struct fixture *f, size_t first, size_t last, const char *from,
                        const char *to)
{
    const char *at = f->story.history.ptr;
    const char *end = at + f->story.history.len;
    for (size_t i = 0; at < end; i++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        char *line = arena_str(&f->arena, slice_of(at, (size_t)(newline - at)));
        at = newline + 1;
        char *found = from == NULL ? NULL : strstr(line, from);
        if (found != NULL)
            memcpy(found, to, strlen(to));
        if (i < first || i >= last)
            continue;
        struct history_doc doc;
        enum ka_err err = history_doc_parse(slice_str(line), &f->arena, &doc, &f->text);
        if (err == KA_OK)
            err = replay_take(&f->replay, &doc, &f->text);
        if (err != KA_OK)
            return err;
    }
    return KA_OK;
}

static const char *const definition = "saga order deadline=10m\n"
                                      "step charge undo=payment.refund retry=3\n"
                                      "step ship\n";
static const char *const events = "start {\"total\":5}\n"
                                  "again charge busy\n"
                                  "timer\n"
                                  "ok charge {\"id\":7}\n";

static void a_document_that_was_changed_is_named(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, definition, events);
    // The result itself is taken from the journal; a pause that nobody asked for is, too.
    assert_int_equal(take(&f, 0, 99, "\"input\":{\"total\":5}", "\"input\":{\"total\":6}"),
                     KA_ERR_DIFFERS);
    assert_non_null(strstr(f.text.text, "sequence 1, step.started: member data.input differs"));
    tear_down(&f);
}

static void a_document_that_is_missing_is_noticed(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, definition, events);
    assert_int_equal(take(&f, 0, 3, NULL, NULL), KA_OK);
    assert_int_equal(take(&f, 4, 99, NULL, NULL), KA_ERR_DIFFERS);
    tear_down(&f);
}

static void a_history_without_its_beginning_cannot_be_replayed(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, definition, events);
    assert_int_equal(take(&f, 2, 99, NULL, NULL), KA_ERR_DIFFERS);
    assert_non_null(strstr(f.text.text, "there is no start"));
    tear_down(&f);
}

static void a_short_history_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, definition, events);
    f.story.def->history = HISTORY_STEPS;
    assert_int_equal(take(&f, 0, 99, NULL, NULL), KA_ERR_UNSUPPORTED);
    tear_down(&f);
}

static void another_definition_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, definition, events);
    f.story.def->id.bytes[3] ^= 1;
    assert_int_equal(take(&f, 0, 99, NULL, NULL), KA_ERR_NO_DEFINITION);
    tear_down(&f);
}

static void it_rests_between_events_only(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, definition, events);
    assert_int_equal(take(&f, 0, 1, NULL, NULL), KA_OK);
    assert_false(replay_rests(&f.replay)); // step.started belongs to the start
    assert_int_equal(take(&f, 1, 2, NULL, NULL), KA_OK);
    assert_true(replay_rests(&f.replay));
    tear_down(&f);
}

static void it_goes_on_from_a_stored_state(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, definition, events);
    assert_int_equal(take(&f, 0, 3, NULL, NULL), KA_OK);
    struct buf stored = {0};
    struct saga *again = NULL;
    saga_encode(f.replay.saga, &stored);
    assert_int_equal(saga_decode(buf_slice(&stored), SLICE_LIT("order/4711"), f.story.def, &f.arena,
                                 &again, &f.text),
                     KA_OK);
    replay_init(&f.replay, f.story.def, SLICE_LIT("order/4711"), again, &f.arena, &f.scratch);
    assert_int_equal(take(&f, 3, 99, NULL, NULL), KA_OK);
    assert_null(replay_difference(f.replay.saga, f.story.saga, &f.arena));
    buf_fini(&stored);
    tear_down(&f);
}

static void the_first_field_that_differs_is_named(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, definition, events);
    assert_int_equal(take(&f, 0, 99, NULL, NULL), KA_OK);
    f.replay.saga->steps[1].due_ms++;
    assert_string_equal(replay_difference(f.replay.saga, f.story.saga, &f.arena),
                        "steps[1].due_ms");
    f.replay.saga->fail_code = SLICE_LIT("x");
    assert_string_equal(replay_difference(f.replay.saga, f.story.saga, &f.arena), "fail_code");
    tear_down(&f);
}

static void the_state_is_shown_as_json(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, definition, events);
    struct buf buf = {0};
    replay_state_json(f.story.saga, &buf);
    buf_byte(&buf, '\0');
    assert_string_equal(
        buf.ptr,
        "{\"key\":\"order/4711\",\"incarnation\":17,\"state\":\"running\","
        "\"paused_from\":\"running\",\"current\":1,\"sequence\":6,"
        "\"started_ms\":\"2026-01-01T00:00:00.000Z\",\"deadline_ms\":\"2026-01-01T00:10:00.000Z\","
        "\"data\":{\"total\":5},\"source\":\"/web\",\"type\":\"order.placed\",\"event_id\":\"e-1\","
        "\"steps\":[{\"step\":\"charge\",\"state\":\"done\",\"attempts\":2,\"result\":{\"id\":7}},"
        "{\"step\":\"ship\",\"state\":\"running\",\"attempts\":1,"
        "\"due_ms\":\"2026-01-01T00:00:05.615Z\"}]}");
    buf_fini(&buf);
    tear_down(&f);
}

// --- texts that are not UTF-8

static void a_state_holds_only_what_the_history_can_say(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, definition, "start {\"total\":5}\nno charge b\xFFsy caf\xC3\n");
    assert_true(slice_eq(f.story.saga->fail_code, SLICE_LIT("b?sy")));
    assert_true(slice_eq(f.story.saga->fail_message, SLICE_LIT("caf?")));
    assert_int_equal(take(&f, 0, 99, NULL, NULL), KA_OK);
    assert_null(replay_difference(f.replay.saga, f.story.saga, &f.arena));
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_saga_is_replayed_to_the_same_bytes),
        cmocka_unit_test(a_document_that_was_changed_is_named),
        cmocka_unit_test(a_document_that_is_missing_is_noticed),
        cmocka_unit_test(a_history_without_its_beginning_cannot_be_replayed),
        cmocka_unit_test(a_short_history_is_refused),
        cmocka_unit_test(another_definition_is_refused),
        cmocka_unit_test(it_rests_between_events_only),
        cmocka_unit_test(it_goes_on_from_a_stored_state),
        cmocka_unit_test(the_first_field_that_differs_is_named),
        cmocka_unit_test(the_state_is_shown_as_json),
        cmocka_unit_test(a_state_holds_only_what_the_history_can_say),
    };
    return cmocka_run_group_tests_name("replay", tests, NULL, NULL);
}
