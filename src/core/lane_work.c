// SPDX-License-Identifier: Apache-2.0
// What does not come from Kafka: results of attempts, timers, the processor's own work, and the
// invocations that leave after their commit (rules 3, 7, 10, 12).
#include "core/lane_internal.h"

#include <stdlib.h>

static void push(struct lane_result_list *list, struct lane_result *result)
{
    result->next = NULL;
    if (list->tail == NULL)
        list->head = result;
    else
        list->tail->next = result;
    list->tail = result;
    list->count++;
}

static struct lane_result *pop(struct lane_result_list *list)
{
    struct lane_result *result = list->head;
    list->head = result->next;
    if (list->head == NULL)
        list->tail = NULL;
    list->count--;
    return result;
}

static void release(struct lane *lane, struct lane_result *result)
{
    if (result->unsent != NULL) {
        lane_invocation_free(&result->unsent);
        free(result);
        return;
    }
    lane->config.release_result(lane->config.release_context, result);
}

void lane_on_result(struct lane *lane, const struct lane_event *event)
{
    lane->stats.results++;
    push(&lane->pending, event->result);
}

// It was decided and committed, but it never left: that is no failed attempt.
static void not_begun(struct lane *lane, struct lane_invocation *invocation)
{
    struct lane_result *result = calloc(1, sizeof *result);
    if (result == NULL)
        abort();
    const struct invocation *call = &invocation->call;
    *result = (struct lane_result){
        .slot = invocation->slot,
        .epoch = invocation->epoch,
        .key = call->key,
        .incarnation = call->incarnation,
        .step = call->step,
        .attempt = call->attempt,
        .compensation = call->compensation,
        .result = {.outcome = OUTCOME_RETRY,
                   .code = ACTION_NOT_BEGUN,
                   .message = SLICE_LIT("half of its time was over before its turn came")},
        .unsent = invocation,
    };
    lane->stats.not_begun++;
    lane->pressed_ms = lane->clock_ms;
    push(&lane->pending, result);
}

void lane_on_not_begun(struct lane *lane, const struct lane_event *event)
{
    not_begun(lane, event->invocation);
}

void lane_results_confirm(struct lane *lane)
{
    while (lane->used.count > 0)
        release(lane, pop(&lane->used));
}

// Rule 3: an abort puts the results back in front, in their order.
void lane_results_return(struct lane *lane)
{
    if (!LANE_RULE(lane, 3)) {
        lane_results_confirm(lane);
        return;
    }
    if (lane->used.count == 0)
        return;
    lane->used.tail->next = lane->pending.head;
    lane->pending.head = lane->used.head;
    if (lane->pending.tail == NULL)
        lane->pending.tail = lane->used.tail;
    lane->pending.count += lane->used.count;
    lane->used = (struct lane_result_list){0};
}

static bool full(const struct lane *lane)
{
    return LANE_RULE(lane, 1) &&
           (lane_batch_bytes(&lane->batch) >= (size_t)lane->config.batch_bytes ||
            lane->inputs >= lane->config.batch_records);
}

static bool open_for_work(const struct lane *lane)
{
    return (lane->phase == LANE_OPEN || lane_can_begin(lane)) && !full(lane);
}

// A partition whose own work may go into a transaction now.
static bool works(const struct lane_partition *partition)
{
    return partition->used && partition->state == LANE_PARTITION_ACTIVE && !partition->leaving &&
           !partition->seeking;
}

static void settle_work(struct lane *lane, struct lane_partition *partition, enum ka_err err)
{
    lane_emit_outputs(lane);
    if (err != KA_OK)
        lane_park(lane, partition, err);
}

static void take_results(struct lane *lane)
{
    size_t left = lane->pending.count;
    for (; left > 0 && open_for_work(lane); left--) {
        struct lane_result *result = pop(&lane->pending);
        struct lane_partition *partition =
            result->slot < lane->slot_count ? lane->slots[result->slot] : NULL;
        bool mine = partition != NULL && partition->used &&
                    (partition->epoch == result->epoch || !LANE_RULE(lane, RULE_RESULT_EPOCH));
        if (!mine || partition->state == LANE_PARTITION_PARKED) {
            lane->stats.results_dropped++;
            release(lane, result);
            continue;
        }
        if (!works(partition)) {
            push(&lane->pending, result);
            continue;
        }
        lane_touch(lane, partition);
        lane->inputs++;
        push(&lane->used, result);
        settle_work(lane, partition,
                    lane->processor.result(lane->processor.context, partition, result, &lane->batch,
                                           &lane->text));
    }
}

// Rule 12: a timer due at T fires when the log was read to an end that was asked for after T, so
// that the results which wait there come first.
static bool may_fire(struct lane *lane, struct lane_partition *partition, int64_t due_ms)
{
    if (due_ms > lane->now_ms)
        return false;
    if (!LANE_RULE(lane, 12))
        return true;
    if (partition->sample_known && partition->sample_at >= due_ms)
        return partition->read_to >= partition->sample_end;
    if (!partition->sample_pending) {
        partition->sample_pending = true;
        partition->sample_known = false;
        partition->sample_at = lane->now_ms;
        struct lane_effect *effect = lane_effect(lane, LANE_EFFECT_SAMPLE_END);
        effect->slot = partition->slot;
        effect->epoch = partition->epoch;
    }
    return false;
}

static void fire_timers(struct lane *lane, struct lane_partition *partition)
{
    int64_t due_ms = lane->processor.due(lane->processor.context, partition);
    while (may_fire(lane, partition, due_ms) && open_for_work(lane)) {
        lane_touch(lane, partition);
        lane->stats.timers++;
        lane->inputs++;
        enum ka_err err =
            lane->processor.timer(lane->processor.context, partition, &lane->batch, &lane->text);
        settle_work(lane, partition, err);
        if (err != KA_OK)
            return;
        due_ms = lane->processor.due(lane->processor.context, partition);
    }
}

static void do_own_work(struct lane *lane, struct lane_partition *partition)
{
    while (works(partition) && open_for_work(lane) &&
           lane->processor.pending(lane->processor.context, partition, lane->now_ms)) {
        lane_touch(lane, partition);
        lane->inputs++;
        settle_work(
            lane, partition,
            lane->processor.work(lane->processor.context, partition, &lane->batch, &lane->text));
    }
}

static bool proof_is_fresh(const struct lane *lane)
{
    return lane->clock_ms - lane->proof_ms < lane->config.session_timeout_ms / 2;
}

// Invocations wait for a proof of membership, or will when they begin: an empty transaction gives
// one.
static void renew_proof(struct lane *lane)
{
    int64_t age_ms = lane->clock_ms - lane->proof_ms;
    bool queued = lane->queue_head != NULL && !proof_is_fresh(lane);
    bool running = lane->want_proof && age_ms >= lane->config.session_timeout_ms / 4;
    for (int32_t slot = 0; (queued || running) && slot < lane->slot_count; slot++) {
        if (!works(lane->slots[slot]) || !open_for_work(lane))
            continue;
        lane_touch(lane, lane->slots[slot]);
        return;
    }
}

void lane_work(struct lane *lane)
{
    for (int32_t slot = 0; slot < lane->slot_count; slot++) {
        struct lane_partition *partition = lane->slots[slot];
        bool claims =
            partition->used && partition->state == LANE_PARTITION_CLAIMING && !partition->leaving;
        if (claims && open_for_work(lane))
            lane_touch(lane, partition);
    }
    take_results(lane);
    for (int32_t slot = 0; slot < lane->slot_count; slot++) {
        struct lane_partition *partition = lane->slots[slot];
        if (!works(partition))
            continue;
        fire_timers(lane, partition);
        do_own_work(lane, partition);
    }
    renew_proof(lane);
}

// With its place in the queue.
static size_t size_of(const struct lane_invocation *invocation)
{
    const struct invocation *call = &invocation->call;
    return sizeof *invocation + sizeof(struct lane_queued) + call->key.len + call->input.len +
           call->idempotency_key.len + call->forward_key.len + call->tenant.len +
           call->traceparent.len;
}

// An invocation that outlives its batch: one block, texts behind the struct.
static struct lane_invocation *keep_invocation(const struct lane_invocation *from, size_t size)
{
    const struct invocation *call = &from->call;
    struct lane_invocation *kept = malloc(size);
    if (kept == NULL)
        abort();
    *kept = *from;
    char *at = (char *)(kept + 1);
    kept->call.key = slice_put(call->key, &at);
    kept->call.input = slice_put(call->input, &at);
    kept->call.idempotency_key = slice_put(call->idempotency_key, &at);
    kept->call.forward_key = slice_put(call->forward_key, &at);
    kept->call.tenant = slice_put(call->tenant, &at);
    kept->call.traceparent = slice_put(call->traceparent, &at);
    return kept;
}

void lane_invocation_free(struct lane_invocation **invocation)
{
    free(*invocation);
    *invocation = NULL;
}

static bool still_mine(const struct lane *lane, const struct lane_invocation *invocation)
{
    const struct lane_partition *partition = lane->slots[invocation->slot];
    if (!LANE_RULE(lane, RULE_LOST_CALLS))
        return true;
    return partition->used && partition->epoch == invocation->epoch && !partition->leaving;
}

// Until when it may begin.
static int64_t begin_by(const struct lane_invocation *invocation)
{
    return invocation->decided_ms + invocation->call.wait_ms;
}

static void note_pressure(struct lane *lane)
{
    size_t max = (size_t)lane->config.undispatched_max;
    lane->pressed = max > 0 && lane->queue_count > (lane->pressed ? max / 2 : max);
    if (lane->pressed)
        lane->pressed_ms = lane->clock_ms;
}

// The time that its own commit took is no waiting: a step whose timeout is short against it would
// never begin, and nobody would count that. When nothing is left, its timer speaks.
static bool has_time(const struct lane *lane, struct lane_invocation *invocation)
{
    int64_t took_ms = lane->now_ms - invocation->decided_ms;
    int64_t wait_ms = invocation->call.wait_ms + took_ms;
    int64_t timeout_ms = invocation->call.timeout_ms;
    invocation->call.wait_ms = wait_ms < timeout_ms ? wait_ms : timeout_ms;
    return took_ms < timeout_ms;
}

void lane_enqueue_invocations(struct lane *lane)
{
    for (size_t i = 0; i < lane->batch.invocation_count; i++) {
        if (!still_mine(lane, &lane->batch.invocations[i]))
            continue; // the next owner dispatches it
        if (!has_time(lane, &lane->batch.invocations[i]))
            continue;
        struct lane_queued *queued = malloc(sizeof *queued);
        if (queued == NULL)
            abort();
        size_t size = size_of(&lane->batch.invocations[i]);
        *queued = (struct lane_queued){
            .invocation = keep_invocation(&lane->batch.invocations[i], size), .bytes = size};
        if (lane->queue_tail == NULL)
            lane->queue_head = queued;
        else
            lane->queue_tail->next = queued;
        lane->queue_tail = queued;
        lane->queue_count++;
        lane->queue_bytes += size;
        if (begin_by(queued->invocation) < lane->queue_due)
            lane->queue_due = begin_by(queued->invocation);
    }
    note_pressure(lane);
}

static struct lane_invocation *pop_invocation(struct lane *lane)
{
    struct lane_queued *queued = lane->queue_head;
    struct lane_invocation *invocation = queued->invocation;
    lane->queue_head = queued->next;
    if (lane->queue_head == NULL)
        lane->queue_tail = NULL;
    lane->queue_count--;
    lane->queue_bytes -= queued->bytes;
    free(queued);
    note_pressure(lane);
    return invocation;
}

void lane_expire(struct lane *lane)
{
    if (lane->now_ms < lane->queue_due)
        return;
    struct lane_queued **at = &lane->queue_head;
    lane->queue_due = INT64_MAX;
    lane->queue_tail = NULL;
    while (*at != NULL) {
        struct lane_queued *queued = *at;
        if (begin_by(queued->invocation) > lane->now_ms) {
            if (begin_by(queued->invocation) < lane->queue_due)
                lane->queue_due = begin_by(queued->invocation);
            lane->queue_tail = queued;
            at = &queued->next;
            continue;
        }
        *at = queued->next;
        lane->queue_count--;
        lane->queue_bytes -= queued->bytes;
        not_begun(lane, queued->invocation);
        free(queued);
    }
    note_pressure(lane);
}

void lane_dispatch(struct lane *lane, int32_t room)
{
    while (lane->queue_head != NULL) {
        struct lane_invocation *next = lane->queue_head->invocation;
        if (!still_mine(lane, next)) { // its next owner dispatches it
            next = pop_invocation(lane);
            lane_invocation_free(&next);
            continue;
        }
        if (room <= 0 || (LANE_RULE(lane, 7) && !proof_is_fresh(lane)))
            return;
        KA_ASSERT(begin_by(next) > lane->now_ms);                 // lane_expire has been there
        next->call.timeout_ms -= lane->now_ms - next->decided_ms; // what is left
        next->call.wait_ms -= lane->now_ms - next->decided_ms;
        next->decided_ms = lane->now_ms;
        lane_effect(lane, LANE_EFFECT_DISPATCH)->invocation = pop_invocation(lane);
        lane->stats.dispatched++;
        room--;
    }
}

int64_t lane_work_due(const struct lane *lane)
{
    if (lane->pending.count > 0)
        return lane->now_ms;
    int64_t at = INT64_MAX;
    for (int32_t slot = 0; slot < lane->slot_count; slot++) {
        struct lane_partition *partition = lane->slots[slot];
        if (partition->used && partition->state == LANE_PARTITION_CLAIMING)
            return lane->now_ms;
        if (!works(partition) || partition->sample_pending)
            continue;
        if (lane->processor.pending(lane->processor.context, partition, lane->now_ms))
            return lane->now_ms;
        int64_t due_ms = lane->processor.due(lane->processor.context, partition);
        bool waits = partition->sample_known && partition->sample_at >= due_ms &&
                     partition->read_to < partition->sample_end;
        if (!waits && due_ms < at)
            at = due_ms;
    }
    return at;
}

void lane_work_fini(struct lane *lane)
{
    lane_results_confirm(lane);
    while (lane->pending.count > 0)
        release(lane, pop(&lane->pending));
    while (lane->queue_head != NULL) {
        struct lane_invocation *invocation = pop_invocation(lane);
        lane_invocation_free(&invocation);
    }
}
