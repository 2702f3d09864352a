// SPDX-License-Identifier: Apache-2.0
// One saga by itself: is its line whole, and is it one that a saga may have? An instance whose
// sequence is broken is reported for that only: what it lacks would show up in every other rule.
#include "checker.h"

#include <stdlib.h>
#include <string.h>

// What the line says of one step. Places in the line count from 1; 0 = it did not happen.
struct step_line {
    bool completed;
    bool maybe_done;
    int16_t group; // number + 1 of the parallel step whose branch it is; 0 = none
    int32_t attempt;
    int32_t undo_attempt;
    int64_t began;      // first forward record
    int64_t ended;      // last record that ended a forward attempt
    int64_t skipped;    // forward
    int64_t undo_began; // first record of the undo
    int64_t undone;
};

struct walk {
    struct store *store;
    struct instance *instance;
    const struct topic *history;
    struct step_line *steps; // by number in store.steps
    int64_t at;              // place in the line
    int64_t compensating;
    int64_t undos;
    enum event_type end; // EVENT_TYPES = none yet
    bool after_end;      // said already
};

static void say(const struct walk *walk, enum kind kind, const struct event *event,
                const char *what)
{
    const char *step = event->step < 0 ? NULL : walk->store->steps.all[event->step]->text;
    report_add(kind, walk->instance->subject->key, walk->history, event->partition, event->offset,
               "@%lld#%lld %s%s%s: %s", (long long)walk->instance->incarnation,
               (long long)event->sequence, event_type_name((enum event_type)event->type),
               step == NULL ? "" : " ", step == NULL ? "" : step, what);
}

// --- The verdict, for other rules

static const char *end_state(enum event_type type)
{
    return type == SAGA_COMPLETED     ? "COMPLETED"
           : type == SAGA_COMPENSATED ? "COMPENSATED"
                                      : "TERMINATED";
}

struct verdict line_verdict(const struct instance *instance)
{
    struct verdict verdict = {.end = EVENT_TYPES, .state = "RUNNING"};
    const char *before = "RUNNING"; // a pause or a halt
    for (size_t i = 0; i < instance->count; i++) {
        enum event_type type = (enum event_type)instance->events[i].type;
        if (instance->events[i].sequence >= verdict.next_sequence)
            verdict.next_sequence = instance->events[i].sequence + 1;
        if (type == SAGA_COMPENSATING) {
            verdict.state = before = "COMPENSATING";
        } else if (type == SAGA_PAUSED) {
            verdict.state = "PAUSED";
        } else if (type == SAGA_STUCK) {
            verdict.state = "STUCK";
        } else if (type == SAGA_RESUMED) {
            verdict.state = before;
        } else if (type == SAGA_COMPLETED || type == SAGA_COMPENSATED || type == SAGA_TERMINATED) {
            verdict.end = verdict.end == EVENT_TYPES ? type : verdict.end;
            verdict.state = end_state(verdict.end);
        }
    }
    return verdict;
}

// --- The sequence

static int by_sequence(const void *a, const void *b)
{
    const struct event *x = a, *y = b;
    if (x->sequence != y->sequence)
        return x->sequence < y->sequence ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

// Records of one partition must come in the order of their sequence.
static void check_order(struct walk *walk)
{
    const struct instance *instance = walk->instance;
    int64_t last = -1;
    for (size_t i = 0; i < instance->count; i++) {
        const struct event *event = &instance->events[i];
        if (event->partition != instance->events[0].partition)
            continue;
        if (event->sequence < last) {
            say(walk, KIND_OUT_OF_ORDER, event, "a later one comes before it");
            return;
        }
        last = event->sequence;
    }
}

static void check_sequence(struct walk *walk)
{
    struct instance *instance = walk->instance;
    bool dense = walk->store->options->history == HISTORY_ALL;
    size_t kept = 0;
    int64_t low = topic_partition(walk->history, instance->events[0].partition)->low;
    check_order(walk);
    qsort(instance->events, instance->count, sizeof *instance->events, by_sequence);
    for (size_t i = 0; i < instance->count; i++) {
        struct event event = instance->events[i];
        int64_t last = kept == 0 ? -1 : instance->events[kept - 1].sequence;
        if (event.sequence == last) {
            say(walk, KIND_REPEATED, &event, "this id is in the committed view twice");
            instance->torn = true;
            continue;
        }
        bool begins = kept == 0 && low > 0; // its first records are gone
        if (dense && event.sequence != last + 1 && !begins) {
            say(walk, KIND_GAP, &event, "records are missing before it");
            instance->torn = true;
        }
        instance->events[kept++] = event;
    }
    instance->count = kept;
    if (!instance->torn && low == 0 && instance->events[0].type != SAGA_STARTED) {
        say(walk, KIND_GAP, &instance->events[0], "the line does not begin with saga.started");
        instance->torn = true;
    }
}

// --- Steps

static void walk_forward(struct walk *walk, const struct event *event, struct step_line *step)
{
    if (step->began == 0)
        step->began = walk->at;
    if (event->type == STEP_LATE)
        return;
    if (walk->compensating > 0 && (event->type == STEP_STARTED || event->type == STEP_COMPLETED))
        say(walk, KIND_FORWARD_AFTER_UNDO, event, "the saga is being undone");
    if (step->completed && (event->type == STEP_STARTED || event->type == STEP_COMPLETED))
        say(walk, KIND_STEP_TWICE, event, "the step has been completed before");
    if (event->type == STEP_STARTED) {
        if (event->attempt <= step->attempt && !event->takeover)
            say(walk, KIND_ATTEMPT_TWICE, event, "this attempt began before");
        step->attempt = event->attempt;
        return;
    }
    step->completed |= event->type == STEP_COMPLETED;
    step->ended = walk->at;
}

// An operator's skip: of an undo, once the saga is being undone; of the step itself before.
static void walk_skip(struct walk *walk, struct step_line *step)
{
    if (walk->compensating == 0 || step->undo_began == 0) {
        step->skipped = walk->at;
        step->began = step->began == 0 ? walk->at : step->began;
        return;
    }
    if (step->undone == 0)
        step->undone = walk->at;
}

static void walk_undo(struct walk *walk, const struct event *event, struct step_line *step)
{
    bool steps_written = walk->store->options->history != HISTORY_ENDS;
    walk->undos++;
    if (step->undo_began == 0) {
        step->undo_began = walk->at;
        if (steps_written && step->began == 0)
            say(walk, KIND_UNDO_WITHOUT_STEP, event, "the step never began");
        else if (steps_written && !step->completed && !step->maybe_done)
            say(walk, KIND_UNDO_WITHOUT_STEP, event, "the step said no on every attempt");
        else if (walk->compensating == 0)
            say(walk, KIND_UNDO_ORDER, event, "it comes before saga.compensating");
    }
    if (step->undone > 0 && (event->type == UNDO_STARTED || event->type == UNDO_COMPLETED)) {
        say(walk, KIND_UNDO_TWICE, event, "the step has been undone before");
        return;
    }
    if (event->type == UNDO_STARTED) {
        if (event->attempt <= step->undo_attempt && !event->takeover)
            say(walk, KIND_ATTEMPT_TWICE, event, "this attempt began before");
        step->undo_attempt = event->attempt;
    } else if (event->type == UNDO_COMPLETED) {
        step->undone = walk->at;
    }
}

static void walk_step(struct walk *walk, const struct event *event)
{
    struct step_line *step = &walk->steps[event->step];
    step->maybe_done |= event->maybe_done;
    step->group = (int16_t)(event->group + 1);
    if (event->type >= UNDO_STARTED)
        walk_undo(walk, event, step);
    else if (event->type == STEP_SKIPPED)
        walk_skip(walk, step);
    else
        walk_forward(walk, event, step);
}

static void walk_event(struct walk *walk, const struct event *event)
{
    bool other_end = (event->type == SAGA_COMPLETED && walk->end == SAGA_COMPENSATED) ||
                     (event->type == SAGA_COMPENSATED && walk->end == SAGA_COMPLETED);
    walk->at++;
    if (walk->end != EVENT_TYPES) {
        if (!walk->after_end)
            say(walk, other_end ? KIND_BOTH_ENDS : KIND_AFTER_END, event,
                other_end ? "both completed and compensated" : "the saga has ended before");
        walk->after_end = true;
        return;
    }
    if (event->step >= 0)
        walk_step(walk, event);
    else if (event->type == SAGA_STARTED && walk->at > 1)
        say(walk, KIND_REPEATED, event, "the saga has begun before");
    else if (event->type == SAGA_COMPENSATING && walk->compensating == 0)
        walk->compensating = walk->at;
    else if (event->type == SAGA_COMPLETED || event->type == SAGA_COMPENSATED ||
             event->type == SAGA_TERMINATED)
        walk->end = (enum event_type)event->type;
}

// --- At the end

static const struct event *last_event(const struct walk *walk)
{
    return &walk->instance->events[walk->instance->count - 1];
}

static void say_step(const struct walk *walk, enum kind kind, const char *step, const char *what)
{
    char text[NAME_SIZE * 2];
    snprintf(text, sizeof text, "step %s %s", step, what);
    say(walk, kind, last_event(walk), text);
}

static void check_completed(const struct walk *walk)
{
    const struct name_list *wanted = &walk->store->options->steps;
    if (walk->undos > 0)
        say(walk, KIND_BOTH_ENDS, last_event(walk), "completed, and steps were undone");
    for (int32_t i = 0; i < walk->store->steps.count; i++) {
        const struct step_line *step = &walk->steps[i];
        if (step->began > 0 && !step->completed && step->skipped == 0)
            say_step(walk, KIND_STEP_MISSING, walk->store->steps.all[i]->text,
                     "began and was neither completed nor skipped");
    }
    for (int i = 0; i < wanted->count; i++) {
        const char *name = wanted->names[i];
        const struct name *known = names_get(&walk->store->steps, name, strlen(name), NULL);
        if (walk->steps[known->number].began == 0)
            say_step(walk, KIND_STEP_MISSING, name, "is not in the line");
    }
}

static bool has_undo(const struct walk *walk, int32_t step)
{
    const struct name_list *named = &walk->store->options->undo;
    const char *name = walk->store->steps.all[step]->text;
    char learnt[NAME_SIZE];
    struct name *found;
    for (int i = 0; i < named->count; i++)
        if (strcmp(named->names[i], name) == 0)
            return true;
    snprintf(learnt, sizeof learnt, "%d %d", walk->instance->definition, step);
    HASH_FIND(hh, walk->store->undoable.table, learnt, strlen(learnt), found);
    return found != NULL;
}

// Of two steps of which one ended before the other began, the later one is undone first. Branches
// of a parallel step may be undone side by side.
static bool undone_in_order(const struct walk *walk, int32_t earlier)
{
    const struct step_line *first = &walk->steps[earlier];
    for (int32_t i = 0; i < walk->store->steps.count; i++) {
        const struct step_line *second = &walk->steps[i];
        if (first->group > 0 && first->group == second->group)
            continue;
        if (second->began > 0 && first->ended > 0 && first->ended < second->began &&
            second->undo_began > 0 && (second->undone == 0 || second->undone > first->undo_began))
            return false;
    }
    return true;
}

// Only branches of one parallel step are in flight side by side.
static void check_alone(const struct walk *walk)
{
    for (int32_t i = 0; i < walk->store->steps.count; i++) {
        const struct step_line *first = &walk->steps[i];
        int64_t ended = first->ended > first->skipped ? first->ended : first->skipped;
        for (int32_t j = 0; first->began > 0 && j < walk->store->steps.count; j++) {
            const struct step_line *second = &walk->steps[j];
            bool branches = first->group > 0 && first->group == second->group;
            if (!branches && second->began > first->began && second->began < ended)
                say_step(walk, KIND_STEPS_AT_ONCE, walk->store->steps.all[j]->text,
                         "began before the one before it had ended");
        }
    }
}

static void check_undone(const struct walk *walk)
{
    for (int32_t i = 0; i < walk->store->steps.count; i++) {
        const struct step_line *step = &walk->steps[i];
        const char *name = walk->store->steps.all[i]->text;
        bool effect = step->completed || step->maybe_done;
        if (step->undo_began > 0 && !undone_in_order(walk, i))
            say_step(walk, KIND_UNDO_ORDER, name, "was undone before one that ran after it");
        if (walk->end == SAGA_COMPENSATED && effect && step->undone == 0 && has_undo(walk, i))
            say_step(walk, KIND_NOT_UNDONE, name, "may have had its effect and was not undone");
    }
}

void rules_learn(struct store *store, const struct instance *instance)
{
    for (size_t i = 0; i < instance->count; i++) {
        char learnt[NAME_SIZE];
        if (instance->events[i].type < UNDO_STARTED)
            continue;
        snprintf(learnt, sizeof learnt, "%d %d", instance->definition, instance->events[i].step);
        names_get(&store->undoable, learnt, strlen(learnt), NULL);
    }
}

void rules_line(struct store *store, struct instance *instance)
{
    static struct step_line *steps;
    static int32_t room;
    if (room < store->steps.count) {
        room = store->steps.count + STEPS_MAX;
        steps = realloc(steps, (size_t)room * sizeof *steps);
        if (steps == NULL)
            abort();
    }
    memset(steps, 0, (size_t)room * sizeof *steps);
    struct walk walk = {.store = store,
                        .instance = instance,
                        .history = &store->topics[0],
                        .steps = steps,
                        .end = EVENT_TYPES};
    check_sequence(&walk);
    if (instance->torn)
        return;
    for (size_t i = 0; i < instance->count; i++)
        walk_event(&walk, &instance->events[i]);
    if (store->options->history == HISTORY_ENDS)
        return;
    check_alone(&walk);
    if (walk.end == SAGA_COMPLETED)
        check_completed(&walk);
    if (walk.compensating > 0)
        check_undone(&walk);
}
