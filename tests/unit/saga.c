// SPDX-License-Identifier: Apache-2.0
// The rules of the saga one by one; whole runs are told in tests/golden, and what holds whatever
// happens is in saga_random.c.
#include "core/saga.h"

#include "core/assert.h"
#include "story.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// cmocka wants the headers above it
#include <cmocka.h>

// --- every state and every verb

static const char three_steps[] = "saga order deadline=1h\n"
                                  "step a undo=undo.a undo-retry=1\n"
                                  "step b undo=undo.b pivot\n"
                                  "step c\n";

enum { VERBS = COMMAND_TERMINATE + 1 };

// How a state is reached, and what each verb makes of it; NULL = refused, nothing changes.
static const struct {
    const char *state;
    const char *reached;
    const char *after[VERBS]; // start pause resume cancel retry skip terminate
} verb_rows[] = {
    {"running", "", {NULL, "paused", NULL, "compensating", NULL, NULL, "terminated"}},
    {"running", // past the pivot
     "ok a\nok b",
     {NULL, "paused", NULL, NULL, NULL, "completed", "terminated"}},
    {"compensating", // an undo in flight
     "ok a\nno b x",
     {NULL, "paused", NULL, NULL, NULL, "compensated", "terminated"}},
    {"compensating", // waiting for a forward attempt to end
     "cancel by ada: why",
     {NULL, "paused", NULL, NULL, NULL, "compensated", "terminated"}},
    {"paused", // from running
     "pause by ada: why",
     {NULL, NULL, "running", "compensating", NULL, NULL, "terminated"}},
    {"paused", // from running, past the pivot
     "ok a\nok b\npause by ada: why",
     {NULL, NULL, "running", NULL, NULL, NULL, "terminated"}},
    {"paused", // from compensating
     "ok a\nno b x\npause by ada: why",
     {NULL, NULL, "compensating", NULL, NULL, NULL, "terminated"}},
    {"stuck", // past the pivot
     "ok a\nok b\nno c x",
     {NULL, NULL, NULL, NULL, "running", "completed", "terminated"}},
    {"stuck", // in an undo
     "ok a\nno b x\nno a/undo x",
     {NULL, NULL, NULL, NULL, "compensating", "compensated", "terminated"}},
    {"completed", "ok a\nok b\nok c", {NULL}},
    {"compensated", "no a x", {NULL}},
    {"terminated", "terminate by ada: why", {NULL}},
};

static struct slice copy_of(const struct story *story)
{
    char *bytes = malloc(story->stored.len);
    assert_non_null(bytes);
    memcpy(bytes, story->stored.ptr, story->stored.len);
    return slice_of(bytes, story->stored.len);
}

static void check_verb(size_t row, int verb)
{
    struct story story;
    char line[64];
    story_init(&story, three_steps);
    story_tell(&story, "start {}");
    story_tell_all(&story, verb_rows[row].reached);
    assert_string_equal(story_state(&story), verb_rows[row].state);
    struct slice before = copy_of(&story);
    snprintf(line, sizeof line, "%s by ada: why", command_verb_name((enum command_verb)verb));
    story_tell(&story, line);
    if (verb_rows[row].after[verb] == NULL) {
        assert_int_equal(story.err, KA_ERR_NOT_ALLOWED);
        assert_true(slice_eq(before, buf_slice(&story.stored)));
        assert_true(story.text.text[0] != '\0');
    } else {
        assert_int_equal(story.err, KA_OK);
        assert_string_equal(story_state(&story), verb_rows[row].after[verb]);
    }
    free((void *)(uintptr_t)before.ptr);
    story_fini(&story);
}

static void every_verb_in_every_state_moves_or_changes_nothing(void **state)
{
    (void)state;
    for (size_t row = 0; row < sizeof verb_rows / sizeof verb_rows[0]; row++)
        for (int verb = 0; verb < VERBS; verb++)
            check_verb(row, verb);
}

// --- every state and every other event

enum { LINES = 8 };
static const char *const lines[LINES] = {"ok b",      "no b x",      "again b x", "unknown b",
                                         "ok a/undo", "no a/undo x", "timer",     "takeover"};

// The step in hand is b, or the undo of a; "." = the event changes nothing.
static const struct {
    const char *reached;
    const char *after[LINES];
} event_rows[] = {
    {"ok a", // b runs, one attempt: again and unknown are its end
     {"running", "compensating", "compensating", "compensating", ".", ".", "compensating",
      "running"}},
    {"ok a\nno b x", {".", ".", ".", ".", "compensated", "stuck", "stuck", "compensating"}},
    {"ok a\npause by ada: why",
     {"paused", "paused", "paused", "paused", ".", ".", "paused", "paused"}},
    {"ok a\nno b x\npause by ada: why",
     {".", ".", ".", ".", "paused", "paused", "paused", "paused"}},
    {"ok a\nno b x\nno a/undo x", {".", ".", ".", ".", ".", ".", ".", "."}},
    {"ok a\nok b", {".", ".", ".", ".", ".", ".", "stuck", "running"}},
    {"ok a\nok b\nok c", {".", ".", ".", ".", ".", ".", ".", "."}},
    {"no a x", {".", ".", ".", ".", ".", ".", ".", "."}},
    {"ok a\nterminate by ada: why", {".", ".", ".", ".", ".", ".", ".", "."}},
};

static void check_event(size_t row, size_t line)
{
    struct story story;
    story_init(&story, three_steps);
    story_tell(&story, "start {}");
    story_tell_all(&story, event_rows[row].reached);
    struct slice before = copy_of(&story);
    story_tell(&story, lines[line]);
    bool changed = !slice_eq(before, buf_slice(&story.stored));
    const char *expected = event_rows[row].after[line];
    assert_int_equal(story.err, KA_OK);
    if (changed != (expected[0] != '.') || (changed && strcmp(story_state(&story), expected) != 0))
        fail_msg("after %s: %s gave %s, %s", event_rows[row].reached, lines[line],
                 story_state(&story), changed ? "changed" : "unchanged");
    free((void *)(uintptr_t)before.ptr);
    story_fini(&story);
}

static void every_event_in_every_state_moves_or_changes_nothing(void **state)
{
    (void)state;
    for (size_t row = 0; row < sizeof event_rows / sizeof event_rows[0]; row++)
        for (size_t line = 0; line < LINES; line++)
            check_event(row, line);
}

// --- moves that are bugs

static jmp_buf failed;
static const char *failed_condition;

_Noreturn void ka_assert_failed(const char *condition, const char *file, int line)
{
    (void)file;
    (void)line;
    failed_condition = condition;
    longjmp(failed, 1);
}

static bool check_fails(const struct saga *saga)
{
    if (setjmp(failed) != 0)
        return true;
    saga_check(saga);
    return false;
}

static void each_broken_invariant_is_caught(void **state)
{
    (void)state;
    struct story story;
    story_init(&story, three_steps);
    story_tell_all(&story, "start {}\nok a");
    struct saga good = *story.saga;
    struct saga_step_state b = good.steps[1];
    assert_false(check_fails(story.saga));
    struct saga bad = good;
    bad.current = 7;
    assert_true(check_fails(&bad));
    bad = good;
    bad.state = SAGA_COMPLETED;
    assert_true(check_fails(&bad));
    bad.state = SAGA_COMPENSATED;
    assert_true(check_fails(&bad));
    bad.state = SAGA_STUCK;
    assert_true(check_fails(&bad));
    bad.state = SAGA_COMPENSATING; // with a forward attempt in flight
    assert_true(check_fails(&bad));
    bad.state = SAGA_PAUSED;
    bad.paused_from = SAGA_STUCK;
    assert_true(check_fails(&bad));
    good.steps[1].due_ms = 0; // in flight for ever
    assert_true(check_fails(&good));
    good.steps[1] = b;
    good.steps[1].state = STEP_DONE; // without a result
    assert_true(check_fails(&good));
    good.steps[1] = b;
    good.steps[2].state = STEP_SKIPPED; // after the step in hand
    assert_true(check_fails(&good));
    story_fini(&story);
}

static void a_second_start_is_a_bug(void **state)
{
    (void)state;
    struct story story;
    story_init(&story, three_steps);
    story_tell(&story, "start {}");
    bool caught = setjmp(failed) != 0;
    if (!caught) {
        struct saga_event event = {.type = SAGA_EVENT_START, .now_ms = story.now_ms};
        (void)!saga_step(story.saga, &event, &story.effects, &story.text);
    }
    assert_true(caught);
    story_fini(&story);
}

// --- the start

static enum ka_err start_with(const char *data, struct saga **saga, struct arena *arena)
{
    static struct saga_def def = {.name = "empty"};
    struct command command = {.verb = COMMAND_START, .data = slice_str(data)};
    return saga_new(&def, SLICE_LIT("empty/1"), 0, &command, arena, saga, NULL);
}

static void the_start_data_is_a_json_object(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct saga *saga = NULL;
    assert_int_equal(start_with("[1]", &saga, &arena), KA_ERR_JSON);
    assert_int_equal(start_with("12", &saga, &arena), KA_ERR_JSON);
    assert_int_equal(start_with("  ", &saga, &arena), KA_ERR_JSON);
    assert_int_equal(start_with(" {\"a\": 1} ", &saga, &arena), KA_OK);
    assert_true(slice_eq(saga->data, SLICE_LIT("{\"a\": 1}")));
    assert_int_equal(start_with("", &saga, &arena), KA_OK);
    assert_true(slice_eq(saga->data, SLICE_LIT("{}")));
    arena_fini(&arena);
}

static void a_saga_without_steps_is_completed_at_once(void **state)
{
    (void)state;
    struct story story;
    story_init(&story, "saga order");
    story_tell(&story, "start {}");
    assert_string_equal(story_state(&story), "completed");
    story_fini(&story);
}

// --- attempts

static void story_with(struct story *story, const char *definition, const char *told)
{
    story_init(story, definition);
    story_tell(story, "start {}");
    story_tell_all(story, told);
}

static void no_on_every_attempt_is_not_undone(void **state)
{
    (void)state;
    struct story story;
    story_with(&story, "saga o\nstep a undo=u retry=2", "again a busy\ntimer\nno a declined");
    assert_string_equal(story_state(&story), "compensated");
    assert_string_equal(story_step_state(&story, "a"), "failed");
    assert_false(story_step(&story, "a")->maybe_done);
    story_fini(&story);
}

static void a_5xx_that_was_retried_well_is_remembered_until_the_end(void **state)
{
    (void)state;
    struct story story;
    story_with(&story, "saga o\nstep a undo=u retry=2\nstep b",
               "again a error_500 ?\ntimer\nno a declined");
    assert_true(story_step(&story, "a")->maybe_done);
    assert_string_equal(story_step_state(&story, "a"), "undo_running");
    story_fini(&story);
}

static void attempts_are_as_many_as_the_policy_says(void **state)
{
    (void)state;
    struct story story;
    story_with(&story, "saga o\nstep a retry=3", "again a x\ntimer\nagain a x\ntimer\nagain a x");
    assert_int_equal(story_step(&story, "a")->attempts, 3);
    assert_string_equal(story_state(&story), "compensated");
    story_fini(&story);
}

static void without_a_limit_it_is_tried_for_ever(void **state)
{
    (void)state;
    struct story story;
    story_with(&story, "saga o\nstep a retry=0", "");
    for (int i = 0; i < 100; i++)
        story_tell_all(&story, "again a x\ntimer");
    assert_int_equal(story_step(&story, "a")->attempts, 101);
    assert_string_equal(story_state(&story), "running");
    story_fini(&story);
}

static void pauses_lie_between_half_of_the_backoff_and_all_of_it(void **state)
{
    (void)state;
    static const int64_t backoff_ms[] = {1000, 2000, 4000, 8000, 8000, 8000};
    struct story story;
    story_with(&story, "saga o\nstep a retry=0 backoff=1s backoff-max=8s", "");
    for (size_t i = 0; i < sizeof backoff_ms / sizeof backoff_ms[0]; i++) {
        story_tell(&story, "again a x");
        int64_t pause = saga_due(story.saga) - story.now_ms;
        assert_in_range(pause, backoff_ms[i] / 2, backoff_ms[i]);
        story_tell(&story, "timer");
    }
    story_fini(&story);
}

static void a_pause_that_is_asked_for_is_a_day_at_most(void **state)
{
    (void)state;
    struct story story;
    story_with(&story, "saga o\nstep a retry=0", "again a busy 9000h");
    assert_true(saga_due(story.saga) == story.now_ms + INT64_C(24) * 3600 * 1000);
    story_fini(&story);
}

static void a_timer_that_is_not_due_changes_nothing(void **state)
{
    (void)state;
    struct story story;
    story_with(&story, "saga o\nstep a", "wait 4999ms");
    assert_string_equal(story_step_state(&story, "a"), "running");
    assert_int_equal(story.effects.transition_count, 0);
    story_tell(&story, "wait 1ms");
    assert_string_equal(story_state(&story), "compensated");
    story_fini(&story);
}

static void the_same_events_give_the_same_bytes(void **state)
{
    (void)state;
    static const char told[] = "again a x\ntimer\nunknown a\ntimer\nok a {\"n\":1}\ntakeover";
    struct story one, two;
    story_with(&one, "saga o\nstep a retry=5 undo=u\nstep b", told);
    story_with(&two, "saga o\nstep a retry=5 undo=u\nstep b", told);
    assert_true(slice_eq(buf_slice(&one.stored), buf_slice(&two.stored)));
    assert_true(slice_eq(buf_slice(&one.history), buf_slice(&two.history)));
    story_fini(&one);
    story_fini(&two);
}

static void long_texts_of_participants_are_cut(void **state)
{
    (void)state;
    struct story story;
    char message[3000];
    memset(message, 'm', sizeof message);
    memcpy(message + 127, "\xC3\xA9", 2);
    story_with(&story, "saga o\nstep a\n", "");
    struct saga_effects effects = {.arena = &story.batch, .scratch = &story.scratch};
    struct saga_event event = {.type = SAGA_EVENT_RESULT, .now_ms = story.now_ms, .attempt = 1};
    event.result = (struct action_result){.outcome = OUTCOME_FAIL,
                                          .code = slice_of(message, sizeof message),
                                          .message = slice_of(message, sizeof message)};
    assert_int_equal(saga_step(story.saga, &event, &effects, NULL), KA_OK);
    assert_int_equal(story.saga->fail_code.len, 127); // not into the middle of a character
    assert_int_equal(story.saga->fail_message.len, 1024);
    story_fini(&story);
}

// --- deadlines

static void nothing_begins_after_the_deadline_though_its_timer_is_late(void **state)
{
    (void)state;
    struct story story;
    story_with(&story, "saga o deadline=3s\nstep a undo=u\nstep b", "");
    story.now_ms += 4000;
    story_tell(&story, "ok a {}");
    assert_string_equal(story_step_state(&story, "b"), "pending");
    assert_string_equal(story_step_state(&story, "a"), "undo_running");
    story_fini(&story);
}

static void a_saga_that_is_done_in_hand_does_not_miss_its_deadline(void **state)
{
    (void)state;
    struct story story;
    story_with(&story, "saga o deadline=3s\nstep a", "");
    story.now_ms += 4000;
    story_tell(&story, "ok a {}");
    assert_string_equal(story_state(&story), "completed");
    story_fini(&story);
}

static void an_optional_step_does_not_save_from_the_deadline(void **state)
{
    (void)state;
    struct story story;
    story_with(&story, "saga o deadline=3s\nstep a optional undo=u\nstep b", "timer\ntimer");
    assert_string_equal(story_state(&story), "compensating");
    assert_string_equal(story_step_state(&story, "a"), "undo_running");
    story_fini(&story);
}

static void an_undo_has_no_deadline(void **state)
{
    (void)state;
    struct story story;
    story_with(&story, "saga o deadline=10s\nstep a undo=u undo-timeout=60s\nstep b",
               "ok a {}\nno b x\nwait 30s");
    assert_string_equal(story_step_state(&story, "a"), "undo_running");
    story_fini(&story);
}

// --- going back

static void an_undo_waits_only_for_its_own_forward_attempt(void **state)
{
    (void)state;
    struct story story; // b has nothing to undo: nobody waits for its end
    story_with(&story, "saga o\nstep a undo=u\nstep b timeout=1h", "ok a\ncancel by ada: why");
    assert_string_equal(story_step_state(&story, "a"), "undo_running");
    story_fini(&story);
}

static void a_late_answer_after_the_undo_began_does_not_change_what_it_gets(void **state)
{
    (void)state;
    struct story story;
    story_with(&story, "saga o\nstep a undo=u", "timer\nok a {\"id\":1}");
    assert_string_equal(story_step_state(&story, "a"), "undo_running");
    assert_true(slice_none(story_step(&story, "a")->result));
    assert_int_equal(story.effects.transition_count, 1);
    story_fini(&story);
}

static void a_failed_undo_keeps_why_the_saga_failed(void **state)
{
    (void)state;
    struct story story;
    story_with(&story, "saga o\nstep a undo=u undo-retry=1\nstep b",
               "ok a\nno b declined\nno a/undo closed");
    assert_true(slice_eq(story.saga->fail_code, SLICE_LIT("closed")));
    assert_true(slice_eq(story.saga->cause_code, SLICE_LIT("declined")));
    story_tell_all(&story, "retry by ada: open again\nok a/undo");
    assert_true(slice_eq(story.saga->fail_code, SLICE_LIT("declined")));
    story_fini(&story);
}

static void a_forward_retry_of_an_operator_has_fresh_attempts(void **state)
{
    (void)state;
    struct story story;
    story_with(&story, "saga o\nstep a pivot\nstep b retry=2",
               "ok a\nno b x\ntimer\nno b x\nretry by ada: why\nno b x\ntimer\nno b x");
    assert_string_equal(story_state(&story), "stuck");
    assert_int_equal(story_step(&story, "b")->attempts, 4);
    story_fini(&story);
}

static void attempts_in_flight_are_counted(void **state)
{
    (void)state;
    struct story story;
    story_with(&story, "saga o\nstep a undo=u\nstep b retry=2", "");
    assert_int_equal(saga_in_flight(story.saga), 1);
    story_tell_all(&story, "ok a\nagain b x");
    assert_int_equal(saga_in_flight(story.saga), 0);
    story_tell_all(&story, "timer\nno b x");
    assert_int_equal(saga_in_flight(story.saga), 1);
    story_tell(&story, "ok a/undo");
    assert_int_equal(saga_in_flight(story.saga), 0);
    assert_true(saga_due(story.saga) == INT64_MAX && saga_finished(story.saga));
    story_fini(&story);
}

// R38.
static void the_results_of_all_steps_before_are_seen(void **state)
{
    (void)state;
    struct story story;
    story_init(&story, "saga o\nstep a\nstep b\nstep c");
    story_tell_all(&story, "start {\"n\":0,\"id\":7}\nok a {\"n\":1}\nok b {\"m\":[2]}");
    assert_non_null(strstr(story_trace(&story), "c#1 of do.c with {\"id\":7,\"n\":1,\"m\":[2]}"));
    story_fini(&story);
}

static void an_answer_to_an_earlier_attempt_changes_nothing(void **state)
{
    (void)state;
    struct story story;
    story_with(&story, "saga o\nstep a retry=3", "timer\ntimer");
    assert_int_equal(story_step(&story, "a")->attempts, 2);
    story_tell(&story, "ok a#1 {}");
    assert_string_equal(story_step_state(&story, "a"), "running");
    assert_int_equal(story.effects.transition_count, 0);
    story_tell(&story, "ok a#3 {}");
    assert_string_equal(story_step_state(&story, "a"), "running");
    story_fini(&story);
}

static void a_result_that_failed_is_not_seen_by_later_steps(void **state)
{
    (void)state;
    struct story story;
    story_with(&story, "saga o\nstep a optional result=id:string\nstep b", "ok a {\"id\":9}");
    assert_string_equal(story_step_state(&story, "a"), "skipped");
    assert_non_null(strstr(story_trace(&story), "b#1 of do.b with {}\n"));
    story_fini(&story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_verb_in_every_state_moves_or_changes_nothing),
        cmocka_unit_test(every_event_in_every_state_moves_or_changes_nothing),
        cmocka_unit_test(each_broken_invariant_is_caught),
        cmocka_unit_test(a_second_start_is_a_bug),
        cmocka_unit_test(the_start_data_is_a_json_object),
        cmocka_unit_test(a_saga_without_steps_is_completed_at_once),
        cmocka_unit_test(no_on_every_attempt_is_not_undone),
        cmocka_unit_test(a_5xx_that_was_retried_well_is_remembered_until_the_end),
        cmocka_unit_test(attempts_are_as_many_as_the_policy_says),
        cmocka_unit_test(without_a_limit_it_is_tried_for_ever),
        cmocka_unit_test(pauses_lie_between_half_of_the_backoff_and_all_of_it),
        cmocka_unit_test(a_pause_that_is_asked_for_is_a_day_at_most),
        cmocka_unit_test(a_timer_that_is_not_due_changes_nothing),
        cmocka_unit_test(the_same_events_give_the_same_bytes),
        cmocka_unit_test(long_texts_of_participants_are_cut),
        cmocka_unit_test(nothing_begins_after_the_deadline_though_its_timer_is_late),
        cmocka_unit_test(a_saga_that_is_done_in_hand_does_not_miss_its_deadline),
        cmocka_unit_test(an_optional_step_does_not_save_from_the_deadline),
        cmocka_unit_test(an_undo_has_no_deadline),
        cmocka_unit_test(an_undo_waits_only_for_its_own_forward_attempt),
        cmocka_unit_test(a_late_answer_after_the_undo_began_does_not_change_what_it_gets),
        cmocka_unit_test(a_failed_undo_keeps_why_the_saga_failed),
        cmocka_unit_test(a_forward_retry_of_an_operator_has_fresh_attempts),
        cmocka_unit_test(attempts_in_flight_are_counted),
        cmocka_unit_test(the_results_of_all_steps_before_are_seen),
        cmocka_unit_test(an_answer_to_an_earlier_attempt_changes_nothing),
        cmocka_unit_test(a_result_that_failed_is_not_seen_by_later_steps),
    };
    return cmocka_run_group_tests_name("saga", tests, NULL, NULL);
}
