// SPDX-License-Identifier: Apache-2.0
// What holds for every saga, whatever happens to it. KASAGA_SEED=n KASAGA_SEEDS=1 repeats one.
#include "core/assert.h"
#include "random_saga.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// cmocka wants the headers above it
#include <cmocka.h>

enum { SEEDS = 3000, ENDS = 500, EVENTS_MAX = 60, KIND_EVENTS_MAX = 400 };

// What an observer who sees events and effects only knows about one step.
struct seen_step {
    bool may_have_happened; // it was called, and some attempt did not say no
    bool said_ok;
    bool undone; // its undo said ok
    bool waived; // an operator skipped its undo
    bool maybe_done;
    char key[64]; // of the forward attempts
};

struct seen {
    struct random_saga *random;
    struct seen_step steps[RANDOM_STEPS_MAX];
    int64_t sequence;
    int32_t last_undo; // index of the newest undo begun
    bool past_pivot;
    bool terminated;
    struct saga *twin; // the same instance after each event through its stored form
    struct arena twin_arena;
    struct buf stored;
};

#define HOLDS(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            print_error("KASAGA_SEED=%llu KASAGA_SEEDS=1: %s\n",                                   \
                        (unsigned long long)seen->random->seed, #condition);                       \
            fail();                                                                                \
        }                                                                                          \
    } while (0)

static void see_invocation(struct seen *seen, const struct invocation *call)
{
    struct seen_step *step = &seen->steps[call->step];
    char key[64];
    snprintf(key, sizeof key, "random/x@%lld/s%d%s", (long long)call->incarnation, call->step,
             call->compensation ? "/undo" : "");
    HOLDS(slice_eq(call->idempotency_key, slice_str(key)));
    if (!call->compensation) {
        HOLDS(seen->last_undo == INT32_MAX); // nothing goes forward after an undo began
        step->may_have_happened = true;
        return;
    }
    HOLDS(!seen->past_pivot);
    HOLDS(step->may_have_happened && !step->undone);
    HOLDS(slice_eq(call->forward_key, slice_of(key, strlen(key) - 5)));
    int32_t first = def_first_of(seen->random->def, call->step); // branches: side by side
    HOLDS(first <= seen->last_undo);
    seen->last_undo = first;
}

static void see_transition(struct seen *seen, const struct transition *t)
{
    HOLDS(t->sequence == seen->sequence++);
    if (t->step < 0)
        return;
    struct seen_step *step = &seen->steps[t->step];
    HOLDS(t->maybe_done || !step->maybe_done);
    step->maybe_done = t->maybe_done;
    if (t->type == TRANSITION_STEP_COMPLETED) {
        step->said_ok = true;
        seen->past_pivot |= seen->random->def->steps[t->step].pivot;
    }
    if (t->type == TRANSITION_COMPENSATION_COMPLETED) {
        HOLDS(!step->undone);
        step->undone = true;
    }
    if (t->type == TRANSITION_STEP_SKIPPED && t->compensation)
        step->waived = true;
}

// An attempt that ended with a plain no, the only one of its step, did not happen.
static void see_end(struct seen *seen)
{
    const struct saga *saga = seen->random->saga;
    for (size_t i = 0; i < saga->def->step_count; i++) {
        const struct seen_step *step = &seen->steps[i];
        bool has_undo = saga->def->steps[i].compensate != NULL;
        bool happened = step->said_ok || step->maybe_done;
        if (saga->state == SAGA_COMPLETED)
            HOLDS(!step->undone && !step->waived);
        if (saga->state == SAGA_COMPENSATED) {
            HOLDS(!(happened && has_undo) || step->undone || step->waived);
            HOLDS(happened || !step->undone);
        }
    }
}

// The result is of the attempt in flight; any other may only be noted as late.
static bool awaited(const struct saga *saga, const struct saga_event *event)
{
    if (event->type != SAGA_EVENT_RESULT)
        return true;
    if (event->step < 0 || event->step >= (int32_t)saga->def->step_count)
        return false;
    const struct saga_step_state *st = &saga->steps[event->step];
    if (event->compensation)
        return st->state == STEP_UNDO_RUNNING && st->undo_attempts == event->attempt;
    return st->state == STEP_RUNNING && st->attempts == event->attempt;
}

// The twin, which lives on stored forms, does the same and ends in the same bytes.
static void twin_follows(struct seen *seen, const struct saga_event *event, enum ka_err expected)
{
    struct buf scratch = {0}, theirs = {0}, ours = {0};
    struct err_text text = {""};
    struct saga_effects effects = {.arena = &seen->twin_arena, .scratch = &scratch};
    HOLDS(saga_step(seen->twin, event, &effects, &text) == expected);
    random_saga_effects_text(seen->twin, &effects, &ours);
    random_saga_effects_text(seen->random->saga, &seen->random->effects, &theirs);
    HOLDS(slice_eq(buf_slice(&ours), buf_slice(&theirs)));
    buf_clear(&ours);
    buf_clear(&theirs);
    saga_encode(seen->twin, &ours);
    saga_encode(seen->random->saga, &theirs);
    HOLDS(slice_eq(buf_slice(&ours), buf_slice(&theirs)));
    HOLDS(saga_due(seen->twin) == saga_due(seen->random->saga));
    buf_fini(&scratch);
    buf_fini(&theirs);
    buf_fini(&seen->stored);
    seen->stored = ours;
    arena_fini(&seen->twin_arena);
    HOLDS(saga_decode(buf_slice(&seen->stored), seen->random->saga->key, seen->random->def,
                      &seen->twin_arena, &seen->twin, &text) == KA_OK);
}

// The last call of the event is an inline one: what else is due has to wait for it.
static bool ends_inline(const struct random_saga *random)
{
    size_t count = random->effects.invocation_count;
    return count > 0 && random->effects.invocations[count - 1].action->run_inline;
}

static void happen(struct seen *seen, const struct saga_event *event)
{
    struct random_saga *random = seen->random;
    struct buf before = {0}, after = {0};
    saga_encode(random->saga, &before);
    bool finished = saga_finished(random->saga);
    bool was_awaited = awaited(random->saga, event);
    enum ka_err err = random_saga_apply(random, event);
    saga_encode(random->saga, &after);
    bool nothing = random->effects.transition_count == 0;
    // A new state without a record is an attempt of an inline action; else one implies the other.
    if (err != KA_OK || finished)
        HOLDS(nothing && slice_eq(buf_slice(&before), buf_slice(&after)));
    if (!nothing)
        HOLDS(!slice_eq(buf_slice(&before), buf_slice(&after)));
    if (!was_awaited && !nothing)
        HOLDS(random->effects.transitions[0].type == TRANSITION_STEP_LATE);
    if (!was_awaited && nothing)
        HOLDS(slice_eq(buf_slice(&before), buf_slice(&after)));
    int32_t current = random->saga->current;
    bool exists = current >= 0 && current < (int32_t)random->def->step_count;
    int32_t side_by_side = exists ? def_end_of(random->def, current) - current : 1;
    HOLDS(saga_in_flight(random->saga) <= side_by_side);
    HOLDS(random->effects.invocation_count <= (size_t)side_by_side);
    HOLDS(saga_due(random->saga) > event->now_ms || event->type != SAGA_EVENT_TIMER ||
          ends_inline(random));
    for (size_t i = 0; i < random->effects.transition_count; i++)
        see_transition(seen, &random->effects.transitions[i]);
    for (size_t i = 0; i < random->effects.invocation_count; i++)
        see_invocation(seen, &random->effects.invocations[i]);
    twin_follows(seen, event, err);
    buf_fini(&before);
    buf_fini(&after);
}

static uint64_t seed_in_hand;

_Noreturn void ka_assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "KASAGA_SEED=%llu KASAGA_SEEDS=1: %s:%d: %s\n",
            (unsigned long long)seed_in_hand, file, line, condition);
    abort();
}

static void live(uint64_t seed)
{
    seed_in_hand = seed;
    struct random_saga random;
    random_saga_init(&random, seed);
    struct seen seen_ = {.random = &random, .last_undo = INT32_MAX};
    struct seen *seen = &seen_;
    saga_encode(random.saga, &seen->stored);
    assert_int_equal(saga_decode(buf_slice(&seen->stored), random.saga->key, random.def,
                                 &seen->twin_arena, &seen->twin, NULL),
                     KA_OK);
    for (int i = 0; i < EVENTS_MAX; i++) {
        struct saga_event event = random_saga_event(&random);
        happen(seen, &event);
    }
    int kind = 0;
    for (; !saga_finished(random.saga) && kind < KIND_EVENTS_MAX; kind++) {
        struct saga_event event = random_saga_kind_event(&random);
        happen(seen, &event);
    }
    HOLDS(saga_finished(random.saga));
    see_end(seen);
    buf_fini(&seen->stored);
    arena_fini(&seen->twin_arena);
    random_saga_fini(&random);
}

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static void whatever_happens_it_completes_or_is_undone(void **state)
{
    (void)state;
    uint64_t first = number("KASAGA_SEED", 1);
    uint64_t count = number("KASAGA_SEEDS", SEEDS);
    for (uint64_t seed = first; seed < first + count; seed++)
        live(seed);
}

static void ends_of_every_kind_were_seen(void **state)
{
    (void)state;
    int ends[SAGA_TERMINATED + 1] = {0};
    for (uint64_t seed = 1; seed <= ENDS; seed++) {
        struct random_saga random;
        random_saga_init(&random, seed);
        for (int i = 0; i < (int)(seed % EVENTS_MAX); i++) {
            struct saga_event event = random_saga_event(&random);
            (void)random_saga_apply(&random, &event);
        }
        ends[random.saga->state]++;
        random_saga_fini(&random);
    }
    for (int i = 0; i <= SAGA_TERMINATED; i++)
        if (ends[i] < 3)
            fail_msg("%d of %d in state %s", ends[i], ENDS, saga_state_name((enum saga_state)i));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_happens_it_completes_or_is_undone),
        cmocka_unit_test(ends_of_every_kind_were_seen),
    };
    return cmocka_run_group_tests_name("saga_random", tests, NULL, NULL);
}
