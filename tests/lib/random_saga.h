// SPDX-License-Identifier: Apache-2.0
// Sagas that nobody wrote: a definition, and events that could arrive, drawn from a seed. The same
// seed draws the same saga. Events include results that are late, repeated or of attempts that
// never were, verbs in states that refuse them, timers that are not due, and takeovers.
#ifndef KA_TESTS_RANDOM_SAGA_H
#define KA_TESTS_RANDOM_SAGA_H

#include "core/saga.h"

enum { RANDOM_STEPS_MAX = 6 };

struct random_saga {
    uint64_t seed;
    uint64_t drawn;
    struct arena arena; // everything: nothing is given back before the end
    struct buf scratch;
    struct saga_def *def;
    struct saga *saga;
    int64_t now_ms;
    bool started;
    struct saga_effects effects; // of the last event
    struct err_text text;
};

void random_saga_init(struct random_saga *random, uint64_t seed);
void random_saga_fini(struct random_saga *random);

uint64_t random_draw(struct random_saga *random, uint64_t below);

// What an attempt might answer.
struct action_result random_saga_result(struct random_saga *random);
// The next event that might arrive.
struct saga_event random_saga_event(struct random_saga *random);
// The next event that brings the saga nearer to its end, with luck for everybody.
struct saga_event random_saga_kind_event(struct random_saga *random);
// Lets the event happen.
enum ka_err random_saga_apply(struct random_saga *random, const struct saga_event *event);

// The effects of one event as text: what has to be equal when two instances are.
void random_saga_effects_text(const struct saga *saga, const struct saga_effects *effects,
                              struct buf *text);

#endif
