// SPDX-License-Identifier: Apache-2.0
// What the moves of a saga put out: history records and invocations in arena arrays; and what
// they are computed from: merged inputs, keys, pauses. Writes no state but sequence and cache.
#include "core/saga_internal.h"

#include "core/assert.h"
#include "core/hash.h"
#include "core/json.h"
#include "core/rule.h"

enum { FIRST_CAP = 8 };

// A participant may ask for any pause; more than a day is a mistake (seconds for milliseconds).
#define RETRY_AFTER_MAX_MS (24 * 3600 * INT64_C(1000))
// Times past the year 9999 cannot be written (RFC 3339).
#define TIME_MAX_MS INT64_C(253402300799999)

static const char *const type_names[] = {
    [TRANSITION_SAGA_STARTED] = "kasaga.saga.started",
    [TRANSITION_SAGA_COMPLETED] = "kasaga.saga.completed",
    [TRANSITION_SAGA_COMPENSATING] = "kasaga.saga.compensating",
    [TRANSITION_SAGA_COMPENSATED] = "kasaga.saga.compensated",
    [TRANSITION_SAGA_STUCK] = "kasaga.saga.stuck",
    [TRANSITION_SAGA_PAUSED] = "kasaga.saga.paused",
    [TRANSITION_SAGA_RESUMED] = "kasaga.saga.resumed",
    [TRANSITION_SAGA_TERMINATED] = "kasaga.saga.terminated",
    [TRANSITION_STEP_STARTED] = "kasaga.step.started",
    [TRANSITION_STEP_COMPLETED] = "kasaga.step.completed",
    [TRANSITION_STEP_FAILED] = "kasaga.step.failed",
    [TRANSITION_STEP_RETRYING] = "kasaga.step.retrying",
    [TRANSITION_STEP_SKIPPED] = "kasaga.step.skipped",
    [TRANSITION_STEP_LATE] = "kasaga.step.late",
    [TRANSITION_COMPENSATION_STARTED] = "kasaga.compensation.started",
    [TRANSITION_COMPENSATION_COMPLETED] = "kasaga.compensation.completed",
    [TRANSITION_COMPENSATION_FAILED] = "kasaga.compensation.failed",
    [TRANSITION_COMPENSATION_RETRYING] = "kasaga.compensation.retrying",
};

const char *transition_type_name(enum transition_type type)
{
    KA_ASSERT((size_t)type < sizeof type_names / sizeof type_names[0]);
    return type_names[type];
}

void *saga_grow(struct arena *arena, void *array, size_t count, size_t *cap, size_t size)
{
    if (count < *cap)
        return array;
    size_t wanted = *cap == 0 ? FIRST_CAP : *cap * 2;
    char *grown = arena_alloc(arena, wanted * size);
    if (count > 0)
        memcpy(grown, array, count * size);
    *cap = wanted;
    return grown;
}

struct transition *saga_emit(struct turn *turn, enum transition_type type, const struct why *why)
{
    struct saga_effects *effects = turn->effects;
    effects->transitions =
        saga_grow(effects->arena, effects->transitions, effects->transition_count,
                  &effects->transition_cap, sizeof *effects->transitions);
    struct transition *record = &effects->transitions[effects->transition_count++];
    *record = (struct transition){
        .type = type,
        .sequence = turn->saga->sequence++,
        .time_ms = turn->now_ms,
        .step = -1,
        .state = turn->saga->state,
    };
    if (why != NULL) {
        record->code = why->code;
        record->message = why->message;
        record->actor = why->actor;
        record->reason = why->reason;
    }
    return record;
}

struct transition *saga_emit_step(struct turn *turn, enum transition_type type,
                                  const struct attempt *attempt, const struct why *why)
{
    struct transition *record = saga_emit(turn, type, why);
    record->step = attempt->step;
    record->attempt = attempt->number;
    record->compensation = attempt->compensation;
    record->maybe_done = turn->saga->steps[attempt->step].maybe_done;
    record->region = turn->saga->steps[attempt->step].region;
    const struct saga_event *event = turn->event;
    bool begins = type == TRANSITION_STEP_STARTED || type == TRANSITION_COMPENSATION_STARTED;
    if (event->type == SAGA_EVENT_RESULT && event->step == attempt->step &&
        event->compensation == attempt->compensation && !begins)
        record->executed_by = event->executed_by;
    return record;
}

struct slice saga_take(struct turn *turn, size_t from)
{
    struct slice taken = buf_take(turn->effects->scratch, from, turn->effects->arena);
    turn->effects->scratch->len = from;
    return taken;
}

// "<key>@<incarnation>/<step>", and the undo's with "/undo" after it: the same over all attempts.
static struct slice idempotency_key(struct turn *turn, int32_t step, bool compensation)
{
    struct buf *scratch = turn->effects->scratch;
    size_t from = scratch->len;
    buf_slice_put(scratch, turn->saga->key);
    buf_byte(scratch, '@');
    buf_i64(scratch, KA_RULE(RULE_INCARNATION) ? turn->saga->incarnation : 0);
    buf_byte(scratch, '/');
    buf_str(scratch, turn->saga->def->steps[step].name);
    if (compensation)
        buf_put(scratch, "/undo", 5);
    return saga_take(turn, from);
}

struct slice saga_traceparent(const struct saga *saga, int32_t step, int32_t attempt,
                              bool compensation, char room[TRACE_PARENT_LEN])
{
    if (saga->traceparent.len == 0)
        return SLICE_NONE;
    uint64_t number = (uint64_t)(uint32_t)step << 32 | (uint32_t)attempt;
    uint64_t seed = hash_bytes(saga->key, (uint64_t)saga->incarnation);
    return trace_child(saga->traceparent, hash_mix(seed ^ number << 1 ^ compensation), room);
}

// A call from another region keeps the caller's keys, and its deadline.
static void as_called(struct turn *turn, struct invocation *invocation)
{
    struct remote_call call;
    saga_called(turn->saga, turn->effects->arena, &call);
    invocation->idempotency_key = call.idempotency_key;
    invocation->forward_key = call.forward_key;
    if (turn->saga->deadline_ms - turn->now_ms < invocation->timeout_ms)
        invocation->timeout_ms = turn->saga->deadline_ms - turn->now_ms;
    invocation->wait_ms = invocation->timeout_ms / 2;
}

void saga_invoke(struct turn *turn, const struct attempt *attempt, struct slice input)
{
    struct saga_effects *effects = turn->effects;
    const struct step_def *step = &turn->saga->def->steps[attempt->step];
    bool undo = attempt->compensation;
    effects->invocations =
        saga_grow(effects->arena, effects->invocations, effects->invocation_count,
                  &effects->invocation_cap, sizeof *effects->invocations);
    struct slice key = idempotency_key(turn, attempt->step, undo);
    char span[TRACE_PARENT_LEN];
    struct slice trace = saga_traceparent(turn->saga, attempt->step, attempt->number, undo, span);
    int64_t timeout_ms = undo ? step->compensate_timeout_ms : step->timeout_ms;
    effects->invocations[effects->invocation_count++] = (struct invocation){
        .action = undo ? step->compensate : step->action,
        .key = turn->saga->key,
        .incarnation = turn->saga->incarnation,
        .step = attempt->step,
        .step_name = step->name,
        .attempt = attempt->number,
        .compensation = undo,
        .input = input,
        .idempotency_key = key,
        .forward_key =
            undo && KA_RULE(RULE_CLOSED_KEYS) ? slice_of(key.ptr, key.len - 5) : SLICE_NONE,
        .tenant = turn->saga->tenant,
        .traceparent = trace.len == 0 ? SLICE_NONE : arena_copy(effects->arena, trace),
        .timeout_ms = timeout_ms,
        .wait_ms = timeout_ms / 2,
        .region = turn->saga->steps[attempt->step].region,
        .due_ms = turn->saga->steps[attempt->step].due_ms,
    };
    if (turn->saga->def->remote)
        as_called(turn, &effects->invocations[effects->invocation_count - 1]);
}

int64_t saga_time_add(int64_t time_ms, int64_t more_ms)
{
    if (more_ms < 1)
        more_ms = 1;
    if (time_ms > TIME_MAX_MS - 1 || more_ms > TIME_MAX_MS - time_ms)
        return TIME_MAX_MS;
    return time_ms + more_ms;
}

bool saga_may_retry(const struct retry_policy *policy, int32_t failed)
{
    return policy->attempts == 0 || failed < policy->attempts;
}

// Doubles per failed attempt up to the maximum.
static int64_t backoff(const struct retry_policy *policy, int32_t failed)
{
    int64_t max =
        policy->backoff_max_ms > policy->backoff_ms ? policy->backoff_max_ms : policy->backoff_ms;
    int64_t pause = policy->backoff_ms;
    for (int32_t i = 1; i < failed && pause < max; i++)
        pause = pause > max / 2 ? max : pause * 2;
    return pause < 0 ? 0 : pause;
}

int64_t saga_retry_at(const struct turn *turn, const struct retry_policy *policy, int32_t failed,
                      const struct attempt *attempt, int64_t retry_after_ms)
{
    KA_ASSERT(failed >= 0);
    if (retry_after_ms > RETRY_AFTER_MAX_MS)
        retry_after_ms = RETRY_AFTER_MAX_MS;
    if (retry_after_ms > 0)
        return saga_time_add(turn->now_ms, retry_after_ms);
    int64_t pause = backoff(policy, failed);
    // Seeded by who the attempt is, so that a replay draws the same pause and a thousand sagas
    // that failed together do not come back together.
    uint64_t seed = hash_bytes(turn->saga->key, (uint64_t)turn->saga->incarnation);
    seed = hash_mix(seed ^ (uint64_t)(uint32_t)attempt->step);
    seed = hash_mix(seed ^ (uint64_t)(uint32_t)attempt->number << 1 ^ attempt->compensation);
    int64_t half = pause / 2;
    return saga_time_add(turn->now_ms, half + (int64_t)(seed % (uint64_t)(pause - half + 1)));
}

bool saga_result_object(const struct action_result *result, struct slice *object)
{
    *object = result->data.len == 0 ? SLICE_LIT("{}") : json_trim(result->data);
    return object->len > 0 && json_type(*object) == JSON_OBJECT;
}

static struct slice merge(struct turn *turn, struct slice known, struct slice result)
{
    if (result.len <= 2) // "{}"
        return known;
    struct buf *scratch = turn->effects->scratch;
    size_t from = scratch->len;
    json_merge(scratch, known, result);
    return saga_take(turn, from);
}

struct slice saga_known(struct turn *turn, int32_t step)
{
    struct saga *saga = turn->saga;
    step = def_first_of(saga->def, step); // a branch knows nothing of the others
    bool usable = !slice_none(saga->known) && saga->known_steps <= step;
    struct slice known = usable ? saga->known : saga->data;
    for (int32_t i = usable ? saga->known_steps : 0; i < step; i++)
        if (saga->def->steps[i].gather != NULL && def_first_of(saga->def, i) == i)
            known = saga_gather(turn, i, known);
        else if (saga->def->steps[i].gather == NULL && saga->steps[i].state == STEP_DONE)
            known = merge(turn, known, saga->steps[i].result);
    saga->known = known;
    saga->known_steps = step;
    return known;
}
