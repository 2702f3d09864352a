// SPDX-License-Identifier: Apache-2.0
// The history of each instance as a reader sees it: a grammar that knows nothing of saga.c. Numbers
// have no gaps, each step completes once, undos go backwards and cover what was done, nothing
// follows the end. At the end of the run the participants' truth is held against it.
#include "sim.h"

#include "core/hash.h"

#include <stdio.h>
#include <string.h>

struct told {
    struct slice key;
    int64_t incarnation;
    int64_t sequence;
    struct slice type; // without "kasaga."
    int step;
    int attempt;
};

static struct slice after(struct slice text, const char *mark)
{
    const char *at = memmem(text.ptr, text.len, mark, strlen(mark));
    if (at == NULL)
        return SLICE_NONE;
    at += strlen(mark);
    return slice_of(at, text.len - (size_t)(at - text.ptr));
}

static int64_t number(struct slice text)
{
    int64_t value = 0;
    for (size_t i = 0; i < text.len && text.ptr[i] >= '0' && text.ptr[i] <= '9'; i++)
        value = value * 10 + (text.ptr[i] - '0');
    return value;
}

static struct slice until(struct slice text, char end)
{
    const char *at = text.len == 0 ? NULL : memchr(text.ptr, end, text.len);
    return at == NULL ? SLICE_NONE : slice_of(text.ptr, (size_t)(at - text.ptr));
}

static bool parse(struct slice value, struct told *told)
{
    struct slice id = after(value, "\"id\":\"");
    struct slice type = after(id, "\"type\":\"kasaga.");
    told->type = until(type, '"');
    if (slice_none(told->type) || slice_eq(told->type, SLICE_LIT("command.refused")))
        return false;
    told->key = until(id, '@');
    told->incarnation = number(after(id, "@"));
    told->sequence = number(after(id, "#"));
    struct slice head = until(type, '{'); // up to the data
    struct slice step = after(head, "\"step\":\"");
    struct slice attempt = after(head, "\"attempt\":");
    told->step = slice_none(step) ? -1 : step.ptr[0] - 'a';
    told->attempt = slice_none(attempt) ? 0 : (int)number(attempt);
    return true;
}

struct sim_instance *sim_instance(struct sim *sim, struct slice key, int64_t incarnation, bool make)
{
    struct sim_check *check = &sim->check;
    size_t at = hash_bytes(key, (uint64_t)incarnation) & (check->instance_cap - 1);
    for (; check->instances[at] != NULL; at = (at + 1) & (check->instance_cap - 1))
        if (check->instances[at]->incarnation == incarnation &&
            slice_eq(check->instances[at]->key, key))
            return check->instances[at];
    if (!make)
        return NULL;
    struct sim_instance *instance = arena_zalloc(&sim->arena, sizeof *instance);
    instance->key = sim_copy(sim, key);
    instance->incarnation = incarnation;
    instance->def = key.ptr[1] - '0';
    instance->undo_at = STEPS_MAX;
    check->instances[at] = instance;
    check->instance_count++;
    return instance;
}

static bool is(const struct told *told, const char *type)
{
    return slice_eq(told->type, slice_str(type));
}

static const char *forward_step(const struct sim *sim, struct sim_instance *i, const struct told *t)
{
    const struct saga_def *def = sim->defs[i->def];
    if (i->state != SEEN_RUNNING)
        return is(t, "step.late") ? NULL : "a forward step while it does not go forward";
    if (t->step >= (int)def->step_count)
        return "no such step";
    if (is(t, "step.late"))
        return i->steps[t->step].failed ? NULL : "late while it goes forward";
    for (int s = 0; s < def_first_of(def, t->step); s++)
        if (!i->steps[s].completed && !i->steps[s].skipped)
            return "a step before the one before it has ended";
    for (int s = def_end_of(def, t->step); s < (int)def->step_count; s++)
        if (i->steps[s].attempt > 0 || i->steps[s].skipped)
            return "a step after the one behind it";
    if (i->steps[t->step].completed || i->steps[t->step].skipped)
        return "a step that has ended goes on";
    if (t->attempt < i->steps[t->step].attempt)
        return "an attempt before the last one";
    i->steps[t->step].attempt = t->attempt;
    if (is(t, "step.completed"))
        i->steps[t->step].completed = true;
    else if (is(t, "step.skipped"))
        i->steps[t->step].skipped = true;
    else if (is(t, "step.failed"))
        i->steps[t->step].failed = true;
    return NULL;
}

// Branches of one group are undone side by side.
static const char *undo_step(const struct sim *sim, struct sim_instance *i, const struct told *t)
{
    int first = def_first_of(sim->defs[i->def], t->step);
    if (i->state != SEEN_COMPENSATING)
        return "an undo while it does not go back";
    if (first > i->undo_at)
        return "an undo out of order";
    if (i->steps[t->step].undone)
        return "a step is undone twice";
    i->undo_at = (int8_t)first;
    if (is(t, "compensation.completed"))
        i->steps[t->step].undone = true;
    return NULL;
}

static const char *completed(const struct sim *sim, struct sim_instance *i)
{
    if (i->state != SEEN_RUNNING)
        return "completed while it does not go forward";
    i->state = SEEN_COMPLETED;
    for (size_t s = 0; s < sim->defs[i->def]->step_count; s++)
        if (!i->steps[s].completed && !i->steps[s].skipped)
            return "completed without all of its steps";
    return NULL;
}

static const char *compensated(const struct sim *sim, struct sim_instance *i)
{
    if (i->state != SEEN_COMPENSATING)
        return "compensated while it does not go back";
    i->state = SEEN_COMPENSATED;
    for (size_t s = 0; s < sim->defs[i->def]->step_count; s++)
        if (i->steps[s].completed && sim->defs[i->def]->steps[s].compensate != NULL &&
            !i->steps[s].undone)
            return "compensated with a step that is still done";
    return NULL;
}

static const char *saga_moves(const struct sim *sim, struct sim_instance *i, const struct told *t)
{
    if (is(t, "saga.started"))
        return t->sequence == 0 ? NULL : "started again";
    if (is(t, "saga.completed"))
        return completed(sim, i);
    if (is(t, "saga.compensated"))
        return compensated(sim, i);
    if (is(t, "saga.compensating")) {
        bool runs = i->state == SEEN_RUNNING;
        i->state = SEEN_COMPENSATING;
        i->paused = false;
        return runs ? NULL : "turns back twice";
    }
    if (is(t, "saga.stuck")) {
        i->course = i->state;
        i->state = SEEN_STUCK;
        return NULL;
    }
    if (is(t, "saga.paused")) {
        i->paused = true;
        return NULL;
    }
    if (is(t, "saga.resumed")) {
        i->paused = false;
        if (i->state == SEEN_STUCK)
            i->state = i->course;
        return NULL;
    }
    return "an unknown kind of record";
}

static const char *advance(const struct sim *sim, struct sim_instance *i, const struct told *t)
{
    if (t->sequence != i->sequence)
        return "its records have a gap or come twice";
    if (i->state == SEEN_COMPLETED || i->state == SEEN_COMPENSATED)
        return "a record after its end";
    i->sequence++;
    if (t->step < 0)
        return saga_moves(sim, i, t);
    if (t->step >= STEPS_MAX)
        return "no such step";
    if (slice_starts(t->type, SLICE_LIT("compensation.")))
        return undo_step(sim, i, t);
    return forward_step(sim, i, t);
}

void sim_check_history(struct sim *sim, const struct sim_record *record)
{
    struct told told;
    if (!parse(record->value, &told))
        return;
    struct sim_instance *instance =
        sim_instance(sim, told.key, told.incarnation, told.sequence == 0);
    const char *why = "a history without a beginning";
    if (instance != NULL)
        why = advance(sim, instance, &told);
    SIM_NOTE(sim, "history %.*s@%lld#%lld %.*s step %d attempt %d", SLICE_FMT(told.key),
             (long long)told.incarnation, (long long)told.sequence, SLICE_FMT(told.type), told.step,
             told.attempt);
    if (why != NULL)
        sim_fail(sim, "%.*s@%lld: %s (#%lld %.*s, step %d)", SLICE_FMT(told.key),
                 (long long)told.incarnation, why, (long long)told.sequence, SLICE_FMT(told.type),
                 told.step);
}

// ---- At the end

static void check_effects(struct sim *sim, const struct sim_instance *i)
{
    const struct saga_def *def = sim->defs[i->def];
    for (size_t s = 0; s < def->step_count; s++) {
        if (def->steps[s].action->run_inline)
            continue;
        const struct sim_ledger *ledger = sim_ledger(sim, i->key, i->incarnation, (int)s);
        int standing = ledger->effects - ledger->undone;
        if (ledger->effects > 1)
            sim_fail(sim, "%.*s@%lld: step %d happened %d times", SLICE_FMT(i->key),
                     (long long)i->incarnation, (int)s, ledger->effects);
        if (i->state == SEEN_COMPLETED && i->steps[s].completed && standing != 1)
            sim_fail(sim, "%.*s@%lld is completed, but step %d stands %d times", SLICE_FMT(i->key),
                     (long long)i->incarnation, (int)s, standing);
        if (i->state == SEEN_COMPENSATED && def->steps[s].compensate != NULL && standing != 0)
            sim_fail(sim, "%.*s@%lld is compensated, but step %d stands", SLICE_FMT(i->key),
                     (long long)i->incarnation, (int)s);
    }
}

static bool behind(const struct sim *sim, int group, int partition, const struct sim_log *log)
{
    int64_t at = sim->groups[group].committed[partition].offset;
    for (at = at < 0 ? 0 : at; at < log->count; at++)
        if (log->records[at].kind == RECORD_DATA && log->records[at].fate != FATE_ABORTED)
            return true;
    return false;
}

// Everything read, every instance at its end, no call under way.
bool sim_check_drained(struct sim *sim, char *why, size_t size)
{
    for (int group = 0; group < GROUPS; group++) {
        for (int p = 0; p < sim->groups[group].partitions; p++) {
            enum sim_topic topic = group == 0 ? TOPIC_INBOX : TOPIC_USER;
            if (sim->check.broken[group][p])
                continue;
            if (!behind(sim, group, p, &sim->logs[sim_log_of(sim, topic, p)]))
                continue;
            snprintf(why, size, "%s/%d is not read beyond %lld", sim_topic_name(topic), p,
                     (long long)sim->groups[group].committed[p].offset);
            return false;
        }
    }
    for (size_t at = 0; at < sim->check.instance_cap; at++) {
        const struct sim_instance *i = sim->check.instances[at];
        bool ends = i == NULL || i->state == SEEN_COMPLETED || i->state == SEEN_COMPENSATED ||
                    sim->check.broken[0][sim_shard_of(sim, i->key)];
        if (ends)
            continue;
        snprintf(why, size, "%.*s@%lld has not ended (#%lld, state %d%s)", SLICE_FMT(i->key),
                 (long long)i->incarnation, (long long)i->sequence, i->state,
                 i->paused ? ", paused" : "");
        return false;
    }
    snprintf(why, size, "%d calls are under way", sim->calls_open);
    return sim->calls_open == 0;
}

void sim_check_end(struct sim *sim)
{
    for (size_t at = 0; at < sim->check.instance_cap; at++) {
        const struct sim_instance *i = sim->check.instances[at];
        if (i == NULL || sim->check.broken[0][sim_shard_of(sim, i->key)])
            continue;
        sim->stats.sagas++;
        sim->stats.completed += i->state == SEEN_COMPLETED;
        sim->stats.compensated += i->state == SEEN_COMPENSATED;
        check_effects(sim, i);
    }
    int missing = 0;
    if (sim->check.broken[1][0] || sim->check.broken[1][1])
        return; // some were never read
    for (int p = 0; p < USERS; p++)
        for (int64_t at = 0; at < sim->logs[p].count; at++)
            missing += sim->check.starts[p][at] == 0;
    if (missing != sim->bad)
        sim_fail(sim, "%d user records gave no command, %d of them could not", missing, sim->bad);
}
