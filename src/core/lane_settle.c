// SPDX-License-Identifier: Apache-2.0
// The end of a transaction: delivered, committed, aborted, or nobody knows yet (rules 2 to 7, 11).
// Whatever the way, it ends in settle_committed or settle_aborted, and only there is memory moved.
#include "core/lane_internal.h"

#include <stdio.h>

enum { BACKOFF_FIRST_MS = 10, BACKOFF_MAX_MS = 1000, ASK_AGAIN_MS = 50 };

static int64_t backoff_ms(int32_t failures)
{
    int64_t pause = (int64_t)BACKOFF_FIRST_MS << (failures < 8 ? failures : 8);
    return pause < BACKOFF_MAX_MS ? pause : BACKOFF_MAX_MS;
}

static void clear_batch(struct lane *lane)
{
    arena_reset(&lane->batch.arena);
    buf_clear(&lane->batch.scratch);
    lane->batch.output_count = 0;
    lane->batch.invocation_count = 0;
    lane->batch.bytes = 0;
    lane->batch.owed = 0;
    lane->inputs = 0; // else a full batch would keep results and timers out of the next one
    lane->emitted = 0;
    lane->touched_count = 0;
    lane->must_abort = false;
}

void lane_activate(struct lane *lane, struct lane_partition *partition)
{
    partition->state = LANE_PARTITION_ACTIVE;
    struct lane_effect *seek = lane_effect(lane, LANE_EFFECT_SEEK);
    seek->slot = partition->slot;
    seek->offset = partition->position;
    lane_effect(lane, LANE_EFFECT_RESUME)->slot = partition->slot;
}

static void settle_committed(struct lane *lane)
{
    for (size_t i = 0; i < lane->touched_count; i++) {
        struct lane_partition *partition = lane->slots[lane->touched[i]];
        partition->touched = false;
        partition->committed = partition->position;
        if (partition->state_last >= partition->state_end)
            partition->state_end = partition->state_last + 1;
        if (partition->state == LANE_PARTITION_CLAIMING) {
            if (!partition->leaving)
                lane_activate(lane, partition);
            continue;
        }
        lane->processor.committed(lane->processor.context, partition);
    }
    if (LANE_RULE(lane, RULE_AFTER_COMMIT))
        lane_enqueue_invocations(lane); // copies: their texts may be in the results
    lane_results_confirm(lane);
    if (lane->commit_sent_ms > lane->proof_ms)
        lane->proof_ms = lane->commit_sent_ms;
    lane->abort_streak = 0;
    lane->stats.transactions++;
    lane->stats.commit_ms_last = lane->clock_ms - lane->commit_sent_ms;
    clear_batch(lane);
    lane_move(lane, LANE_IDLE);
    lane_release_leaving(lane, false);
}

static void settle_aborted(struct lane *lane)
{
    for (size_t i = 0; i < lane->touched_count; i++) {
        struct lane_partition *partition = lane->slots[lane->touched[i]];
        partition->touched = false;
        if (LANE_RULE(lane, 2) && partition->state != LANE_PARTITION_CLAIMING)
            lane->processor.undo(lane->processor.context, partition);
        partition->position = partition->committed;
        partition->read_to = partition->position; // what was read has to be read again (rule 12)
        if (partition->state != LANE_PARTITION_ACTIVE || partition->leaving)
            continue;
        struct lane_effect *seek = lane_effect(lane, LANE_EFFECT_SEEK);
        seek->slot = partition->slot;
        seek->offset = partition->position;
    }
    lane_results_return(lane);
    lane->retry_at = lane->clock_ms + backoff_ms(lane->abort_streak++);
    clear_batch(lane);
    lane_move(lane, LANE_IDLE);
    lane_release_leaving(lane, false);
}

// Rule 11: something in the batch cannot be written. Redo it one record per transaction; when that
// record is alone and fails again, it is the one.
static void isolate_poison(struct lane *lane)
{
    for (size_t i = 0; i < lane->touched_count; i++) {
        struct lane_partition *partition = lane->slots[lane->touched[i]];
        if (partition->position == partition->committed)
            continue;
        if (lane->inputs == 1)
            partition->poison_at = partition->position - 1;
        else if (partition->single_until < partition->position)
            partition->single_until = partition->position;
    }
}

// A transaction that has not sent its offsets can not have been committed.
void lane_fail_open(struct lane *lane, enum ka_err error)
{
    // A topic of ours that is missing or forbidden is not the fault of any record: that is waited
    // for, else all inputs would end in the dlq.
    if (error == KA_ERR_TOO_LARGE)
        isolate_poison(lane);
    if (error == KA_ERR_ABORT || error == KA_ERR_RETRY || error == KA_ERR_TIMEOUT) {
        lane_abort(lane);
        return;
    }
    // Also after a record that was too large: librdkafka 2.0.2 fails the next transaction with a
    // gap in its sequence numbers.
    lane->stats.aborts++;
    lane->known_aborted = true;
    lane_move(lane, LANE_RESETTING);
    lane_reset(lane, lane->current);
}

static void note_spans(struct lane *lane, const struct lane_event *event)
{
    for (size_t i = 0; i < event->span_count; i++) {
        const struct lane_span *span = &event->spans[i];
        if (span->tag < 0 || span->tag >= lane->slot_count)
            continue;
        struct lane_partition *partition = lane->slots[span->tag];
        if (!partition->touched)
            continue;
        partition->state_first = span->first;
        partition->state_last = span->last;
    }
}

// Rule 13: a log gives out growing offsets. One that it gave before means that it has lost its end
// since, and with it states that nobody will restore.
static bool state_log_went_back(struct lane *lane)
{
    bool any = false;
    for (size_t i = 0; i < lane->touched_count; i++) {
        struct lane_partition *partition = lane->slots[lane->touched[i]];
        bool back = partition->state_first >= 0 && partition->state_first < partition->state_end;
        if (!back || partition->state == LANE_PARTITION_PARKED)
            continue;
        err_set(&lane->text, KA_ERR_DIVERGED,
                "the log of its state gave out offset %lld, but it had reached %lld before: it has "
                "lost its end",
                (long long)partition->state_first, (long long)partition->state_end);
        lane_park(lane, partition, KA_ERR_DIVERGED);
        any = true;
    }
    return any;
}

static struct slice describe(struct lane *lane, struct lane_partition *partition)
{
    struct meta meta = {.present = true};
    lane->processor.describe(lane->processor.context, partition, &meta);
    meta.node = lane->config.node;
    meta.lane = lane->config.name;
    meta.incarnation = lane->config.incarnation;
    meta.number = lane->token;
    meta.time_ms = lane->now_ms;
    size_t from = lane->batch.scratch.len;
    meta_format(&meta, &lane->batch.scratch);
    struct slice text = buf_take(&lane->batch.scratch, from, &lane->batch.arena);
    lane->batch.scratch.len = from;
    return text;
}

static void commit(struct lane *lane)
{
    lane->token++;
    lane->offset_count = 0;
    for (size_t i = 0; i < lane->touched_count; i++) {
        struct lane_partition *partition = lane->slots[lane->touched[i]];
        if (!LANE_RULE(lane, 4) && partition->position == partition->committed)
            continue;
        lane->offsets[lane->offset_count++] = (struct lane_commit_offset){
            partition->slot, partition->position, describe(lane, partition)};
    }
    if (!LANE_RULE(lane, RULE_AFTER_COMMIT))
        lane_enqueue_invocations(lane);
    lane->commit_sent_ms = lane->clock_ms;
    lane_move(lane, LANE_COMMITTING);
    struct lane_effect *effect = lane_effect(lane, LANE_EFFECT_COMMIT);
    effect->offsets = lane->offsets;
    effect->count = lane->offset_count;
}

void lane_on_flushed(struct lane *lane, const struct lane_event *event)
{
    if (lane->phase != LANE_FLUSHING || event->producer != lane->current)
        return; // of a producer that was given up meanwhile
    if (event->error != KA_OK) {
        lane_fail_open(lane, event->error);
        return;
    }
    note_spans(lane, event);
    if (state_log_went_back(lane)) {
        lane_abort(lane);
        return;
    }
    bool member = event->generation >= 0 && event->member;
    bool gone = lane->must_abort || lane_touches_leaving(lane);
    if ((!member && LANE_RULE(lane, RULE_MEMBERSHIP)) || (gone && LANE_RULE(lane, 6))) {
        lane_abort(lane);
        return;
    }
    commit(lane);
}

void lane_on_committed(struct lane *lane, const struct lane_event *event)
{
    if (lane->phase != LANE_COMMITTING || event->producer != lane->current)
        return;
    int32_t producer = lane->current;
    settle_committed(lane);
    if (event->dirty && LANE_RULE(lane, RULE_DIRTY))
        lane_reset(lane, producer);
}

void lane_on_commit_failed(struct lane *lane, const struct lane_event *event)
{
    if (lane->phase != LANE_COMMITTING || event->producer != lane->current)
        return;
    if (event->error == KA_ERR_ABORT || !LANE_RULE(lane, 5)) {
        lane_abort(lane);
        return;
    }
    lane->stats.unclear++;
    lane_move(lane, LANE_RESETTING);
    lane_reset(lane, lane->current);
}

void lane_on_aborted(struct lane *lane, const struct lane_event *event)
{
    if (lane->phase != LANE_ABORTING || event->producer != lane->current)
        return;
    if (event->type == LANE_EVENT_ABORTED) {
        int32_t producer = lane->current;
        settle_aborted(lane);
        if (event->dirty && LANE_RULE(lane, RULE_DIRTY))
            lane_reset(lane, producer);
        return;
    }
    lane->known_aborted = true;
    lane_move(lane, LANE_RESETTING);
    lane_reset(lane, lane->current);
}

void lane_ask(struct lane *lane)
{
    if (lane->touched_count == 0) { // nothing of it is ours any more
        settle_aborted(lane);
        return;
    }
    lane->ask_at = INT64_MAX;
    struct lane_partition *partition = lane->slots[lane->touched[0]];
    struct lane_effect *effect = lane_effect(lane, LANE_EFFECT_ASK_TOKEN);
    effect->slot = partition->slot;
    effect->epoch = partition->epoch;
}

void lane_on_producer(struct lane *lane, const struct lane_event *event)
{
    KA_ASSERT(event->producer >= 0 && event->producer < LANE_PRODUCERS);
    struct lane_producer *producer = &lane->producers[event->producer];
    if (event->type == LANE_EVENT_PRODUCER_FAILED) {
        producer->state = LANE_PRODUCER_NONE;
        producer->retry_at = lane->clock_ms + backoff_ms(producer->failures++);
        return;
    }
    producer->state = LANE_PRODUCER_READY;
    producer->failures = 0;
    if (lane->phase != LANE_RESETTING || event->producer != lane->current)
        return;
    if (lane->known_aborted) {
        settle_aborted(lane);
        return;
    }
    lane_move(lane, LANE_ASKING);
    lane_ask(lane);
}

static bool is_ours(const struct lane *lane, const struct meta *meta)
{
    return meta != NULL && meta->present && meta->incarnation == lane->config.incarnation &&
           meta->number == lane->token && slice_eq(meta->node, lane->config.node) &&
           slice_eq(meta->lane, lane->config.name);
}

// Rule 13: this partition was claimed with our metadata. Somebody else has written over it, so that
// nobody can tell any more what became of the transaction here; another partition may.
static void stop_overwritten(struct lane *lane, struct lane_partition *partition, int64_t offset)
{
    err_set(&lane->text, KA_ERR_DIVERGED,
            "somebody else has committed offset %lld while the outcome of a commit was unclear",
            (long long)offset);
    lane_park(lane, partition, KA_ERR_DIVERGED);
    lane_untouch(lane, partition);
    lane->processor.undo(lane->processor.context, partition);
    lane_ask(lane);
}

void lane_on_token(struct lane *lane, const struct lane_event *event)
{
    if (lane->phase != LANE_ASKING)
        return;
    bool asked_one = lane->touched_count > 0 &&
                     lane->slots[lane->touched[0]]->slot == event->slot &&
                     lane->slots[lane->touched[0]]->epoch == event->epoch;
    if (event->error != KA_OK || !asked_one) {
        lane->ask_at = lane->clock_ms + ASK_AGAIN_MS;
        return;
    }
    struct lane_partition *partition = lane->slots[lane->touched[0]];
    bool gone = event->meta == NULL || !event->meta->present;
    if (gone && partition->state == LANE_PARTITION_ACTIVE && LANE_RULE(lane, 13)) {
        stop_overwritten(lane, partition, event->offset);
        return;
    }
    if (is_ours(lane, event->meta))
        settle_committed(lane);
    else
        settle_aborted(lane);
}
