// SPDX-License-Identifier: Apache-2.0
// The transaction of a lane: begins with the first thing to do, takes what has arrived, closes by
// its own clock. Not here: how it ends (lane_settle.c), partitions that come and go
// (lane_member.c), results, timers and invocations (lane_work.c).
//
//            first work            drained, caps            delivered, still a member
//   IDLE ───────────────▶ OPEN ───────────────▶ FLUSHING ───────────────▶ COMMITTING
//    ▲ ▲                   │                      │                        │  │    │
//    │ │                   │ a partition left     │ delivery failed        │  │    │ timeout, lost
//    │ │                   ▼                      ▼                        │  │    │ connection,
//    fenced │ └───────────────── ABORTING ◀──────────────┴────────── abortable ───┘  │    ▼ │
//    undone, sought     │ failed                                 committed │  RESETTING ─▶ ASKING
//    │                     ▼                                                  │    │ known      │
//    │                  RESETTING                                             │    ▼            ▼
//    └────────────────────────────────────────────────────────────────────────┴─ token: committed
//    or not
//
// What makes it hard, with the rule that answers it (numbers of docs/lane.md):
//  1. States change in memory before the commit; an abort must put back everything, and nothing may
//     be read from a partition before it was sought back (rule 2).
//  2. Results and timers are not in Kafka: an abort that forgot them would lose them (rule 3).
//  3. A commit that timed out may have happened, may happen later, and may even settle the next
//     transaction. Only a new epoch of the producer ends the doubt; the token in the committed
//     metadata tells the outcome (rules 4, 5).
//  4. The broker accepts offsets of a member that owns nothing any more, as long as the generation
//     fits: so the generation is taken late, and a transaction with a lost partition never commits
//     (rule 6).
#include "core/lane_internal.h"

#include <stdlib.h>

enum {
    INTERVAL_FREE_INPUTS = 50, // batches up to this size are committed without a pause
    WAIT_MS = 100,             // until a record that waits comes again
    PRESSED_FOR_MS = 2000      // calls that waited too long come back after their retry's pause
};

static const struct {
    const char *name;
    unsigned next; // bit set of phases
} phases[] = {
    [LANE_IDLE] = {"idle", 1U << LANE_OPEN},
    [LANE_OPEN] = {"open", 1U << LANE_FLUSHING | 1U << LANE_ABORTING | 1U << LANE_RESETTING},
    [LANE_FLUSHING] = {"flushing",
                       1U << LANE_COMMITTING | 1U << LANE_ABORTING | 1U << LANE_RESETTING},
    [LANE_COMMITTING] = {"committing",
                         1U << LANE_IDLE | 1U << LANE_ABORTING | 1U << LANE_RESETTING},
    [LANE_ABORTING] = {"aborting", 1U << LANE_IDLE | 1U << LANE_RESETTING},
    [LANE_RESETTING] = {"resetting", 1U << LANE_IDLE | 1U << LANE_ASKING},
    [LANE_ASKING] = {"asking", 1U << LANE_IDLE},
};

void lane_move(struct lane *lane, enum lane_phase to)
{
    KA_ASSERT((phases[lane->phase].next & (1U << to)) != 0);
    lane->phase = to;
    KA_ASSERT(to != LANE_IDLE || lane->touched_count == 0);
    KA_ASSERT(to != LANE_IDLE || lane->used.count == 0);
}

const char *lane_phase_name(const struct lane *lane)
{
    return phases[lane->phase].name;
}

struct lane *lane_new(const struct lane_config *config, const struct lane_processor *processor)
{
    struct lane *lane = calloc(1, sizeof *lane);
    if (lane == NULL)
        abort();
    KA_ASSERT(config->batch_records > 0);
    KA_ASSERT(config->session_timeout_ms > 0);
    lane->config = *config;
    lane->processor = *processor;
    lane->last_found = -1;
    lane->batch.incarnation = config->incarnation;
    lane->ask_at = INT64_MAX;
    lane->proof_ms = INT64_MIN / 2;
    lane->queue_due = INT64_MAX;
    lane->pressed_ms = INT64_MIN / 2;
    lane->wake_at = INT64_MAX;
    return lane;
}

void lane_free(struct lane **lane)
{
    if (*lane == NULL)
        return;
    lane_members_fini(*lane);
    lane_work_fini(*lane);
    arena_fini(&(*lane)->batch.arena);
    buf_fini(&(*lane)->batch.scratch);
    free((*lane)->batch.outputs);
    free((*lane)->batch.invocations);
    free((*lane)->touched);
    free((*lane)->offsets);
    free(*lane);
    *lane = NULL;
}

// Grows an array by doubling; out of memory ends the process, as in an arena.
static void *grown(void *list, size_t *cap, size_t size)
{
    *cap = *cap == 0 ? 16 : *cap * 2;
    void *more = realloc(list, *cap * size);
    if (more == NULL)
        abort();
    return more;
}

struct lane_effect *lane_effect(struct lane *lane, enum lane_effect_type type)
{
    struct lane_effects *effects = lane->effects;
    if (effects->count == effects->cap)
        effects->list = grown(effects->list, &effects->cap, sizeof *effects->list);
    struct lane_effect *effect = &effects->list[effects->count++];
    *effect = (struct lane_effect){.type = type, .producer = lane->current};
    return effect;
}

void lane_effects_fini(struct lane_effects *effects)
{
    free(effects->list);
    *effects = (struct lane_effects){0};
}

void lane_batch_output(struct lane_batch *batch, const struct output *output, int32_t tag)
{
    if (batch->output_count == batch->output_cap)
        batch->outputs = grown(batch->outputs, &batch->output_cap, sizeof *batch->outputs);
    batch->outputs[batch->output_count++] = (struct lane_output){*output, tag};
    batch->bytes += output->key.len + output->value.len;
}

void lane_batch_invoke(struct lane_batch *batch, const struct lane_partition *partition,
                       const struct invocation *call)
{
    if (batch->invocation_count == batch->invocation_cap)
        batch->invocations =
            grown(batch->invocations, &batch->invocation_cap, sizeof *batch->invocations);
    batch->invocations[batch->invocation_count++] =
        (struct lane_invocation){partition->slot, partition->epoch, batch->now_ms, *call};
}

static int32_t ready_producer(const struct lane *lane)
{
    // In turn: the id that committed last would meet its own markers (CONCURRENT_TRANSACTIONS).
    for (int32_t i = 1; i <= LANE_PRODUCERS; i++) {
        int32_t producer = (lane->current + i) % LANE_PRODUCERS;
        if (lane->producers[producer].state == LANE_PRODUCER_READY)
            return producer;
    }
    return -1;
}

bool lane_can_begin(const struct lane *lane)
{
    return lane->phase == LANE_IDLE && lane->clock_ms >= lane->retry_at &&
           ready_producer(lane) >= 0;
}

static void begin(struct lane *lane)
{
    KA_ASSERT(lane_can_begin(lane));
    lane->current = ready_producer(lane);
    lane->opened_ms = lane->clock_ms;
    lane->inputs = 0;
    lane->must_abort = false;
    lane->known_aborted = false;
    lane->emitted = 0;
    lane->batch.number = lane->token + 1;
    lane_move(lane, LANE_OPEN);
    lane_effect(lane, LANE_EFFECT_BEGIN);
}

void lane_touch(struct lane *lane, struct lane_partition *partition)
{
    if (lane->phase == LANE_IDLE)
        begin(lane);
    KA_ASSERT(lane->phase == LANE_OPEN);
    if (partition->touched)
        return;
    partition->touched = true;
    partition->state_first = -1;
    partition->state_last = -1;
    lane->touched[lane->touched_count++] = partition->slot;
}

void lane_emit_outputs(struct lane *lane)
{
    size_t count = lane->batch.output_count - lane->emitted;
    if (count == 0)
        return;
    struct lane_effect *effect = lane_effect(lane, LANE_EFFECT_PRODUCE);
    effect->first = lane->emitted;
    effect->count = count;
    lane->emitted = lane->batch.output_count;
    lane->stats.outputs += (int64_t)count;
}

void lane_park(struct lane *lane, struct lane_partition *partition, enum ka_err error)
{
    partition->state = LANE_PARTITION_PARKED;
    partition->parked_error = error;
    lane_effect(lane, LANE_EFFECT_PAUSE)->slot = partition->slot;
    struct lane_effect *effect = lane_effect(lane, LANE_EFFECT_PARKED);
    effect->slot = partition->slot;
    effect->error = error;
}

void lane_abort(struct lane *lane)
{
    lane->stats.aborts++;
    lane_move(lane, LANE_ABORTING);
    lane_effect(lane, LANE_EFFECT_ABORT);
}

void lane_reset(struct lane *lane, int32_t producer)
{
    lane->producers[producer].state = LANE_PRODUCER_RESETTING;
    lane->stats.resets++;
    lane_effect(lane, LANE_EFFECT_RESET)->producer = producer;
}

// How long to gather after the last close (rule 1): every transaction writes one marker per
// partition it touched, so large batches are worth a pause and small ones are not.
static int64_t interval_ms(const struct lane *lane)
{
    if (lane->last_inputs <= INTERVAL_FREE_INPUTS)
        return 0;
    int64_t grown_ms = lane->last_inputs / 10;
    return grown_ms < lane->config.interval_max_ms ? grown_ms : lane->config.interval_max_ms;
}

static bool at_cap(const struct lane *lane)
{
    return LANE_RULE(lane, 1) &&
           (lane->inputs >= lane->config.batch_records ||
            lane_batch_bytes(&lane->batch) >= (size_t)lane->config.batch_bytes);
}

void lane_close(struct lane *lane)
{
    lane->last_inputs = lane->inputs;
    lane->last_close_ms = lane->clock_ms;
    for (size_t i = 0; i < lane->touched_count; i++) {
        struct lane_partition *partition = lane->slots[lane->touched[i]];
        if (partition->state == LANE_PARTITION_CLAIMING)
            continue;
        enum ka_err err =
            lane->processor.close(lane->processor.context, partition, &lane->batch, &lane->text);
        if (err != KA_OK) {
            lane_park(lane, partition, err);
            lane_fail_open(lane, KA_ERR_ABORT);
            return;
        }
    }
    lane_emit_outputs(lane);
    lane_move(lane, LANE_FLUSHING);
    lane_effect(lane, LANE_EFFECT_FLUSH);
}

static void poison(struct lane *lane, struct lane_partition *partition, const struct record *record,
                   enum ka_err error)
{
    lane->stats.poison++;
    lane->processor.poison(lane->processor.context, partition, record, error, &lane->text,
                           &lane->batch);
}

// Only records of this partition wait: its results and timers go on, and its state stays.
static void wait_for_it(struct lane *lane, struct lane_partition *partition)
{
    partition->wait_until = lane->clock_ms + WAIT_MS;
    if (partition->wait_until < lane->wake_at)
        lane->wake_at = partition->wait_until;
    lane_effect(lane, LANE_EFFECT_PAUSE)->slot = partition->slot;
}

static void wake_waiting(struct lane *lane)
{
    if (lane->clock_ms < lane->wake_at)
        return;
    lane->wake_at = INT64_MAX;
    for (int32_t slot = 0; slot < lane->slot_count; slot++) {
        struct lane_partition *partition = lane->slots[slot];
        bool waits = partition->used && partition->state == LANE_PARTITION_ACTIVE &&
                     !partition->leaving && partition->wait_until > 0;
        if (waits && partition->wait_until > lane->clock_ms &&
            partition->wait_until < lane->wake_at)
            lane->wake_at = partition->wait_until;
        if (!waits || partition->wait_until > lane->clock_ms)
            continue;
        partition->wait_until = 0;
        struct lane_effect *seek = lane_effect(lane, LANE_EFFECT_SEEK);
        seek->slot = slot;
        seek->offset = partition->position;
        lane_effect(lane, LANE_EFFECT_RESUME)->slot = slot;
    }
}

static void pass_by(struct lane_partition *partition, const struct record *record)
{
    partition->position = record->offset + 1;
    if (partition->read_to < partition->position)
        partition->read_to = partition->position;
}

static void on_record(struct lane *lane, const struct lane_event *event)
{
    const struct record *record = event->record;
    struct lane_partition *partition = lane->slots[event->slot];
    bool takes = partition->used && partition->state == LANE_PARTITION_ACTIVE &&
                 !partition->leaving && partition->wait_until == 0 &&
                 !(partition->seeking && LANE_RULE(lane, RULE_SEEK));
    if (!takes || record->offset < partition->position)
        return; // read again after the seek, or by the next owner
    KA_ASSERT(lane_wants_records(lane));
    if (lane->processor.passes != NULL && lane->processor.passes(lane->processor.context, record)) {
        pass_by(partition, record);
        return;
    }
    lane_touch(lane, partition);
    lane->text.text[0] = '\0';
    enum ka_err err = KA_ERR_TOO_LARGE;
    if (record->offset == partition->poison_at)
        err_set(&lane->text, err, "no transaction with this record could be written");
    else
        err = lane->processor.record(lane->processor.context, partition, record, &lane->batch,
                                     &lane->text);
    if (err_class(err) == ERR_CLASS_RETRY) {
        wait_for_it(lane, partition);
        return;
    }
    if (err != KA_OK && err_class(err) != ERR_CLASS_POISON) {
        lane_park(lane, partition, err);
        return;
    }
    if (err != KA_OK)
        poison(lane, partition, record, err);
    pass_by(partition, record);
    lane->inputs++;
    lane->stats.records++;
    lane_emit_outputs(lane);
    lane->was_alone = LANE_RULE(lane, 11) && record->offset < partition->single_until;
    if (at_cap(lane) || lane->was_alone)
        lane_close(lane);
}

static void maybe_close(struct lane *lane, bool drained)
{
    int64_t age_ms = lane->clock_ms - lane->opened_ms;
    bool quiet = drained && lane->clock_ms >= lane->last_close_ms + interval_ms(lane);
    if (at_cap(lane) || quiet || age_ms >= lane->config.batch_ms)
        lane_close(lane);
}

static void retry_seeks(struct lane *lane)
{
    for (int32_t slot = 0; slot < lane->slot_count; slot++) {
        struct lane_partition *partition = lane->slots[slot];
        if (!partition->used || !partition->seeking)
            continue;
        partition->seeking = false; // SEEK_FAILED sets it again
        struct lane_effect *effect = lane_effect(lane, LANE_EFFECT_SEEK);
        effect->slot = slot;
        effect->offset = partition->position;
        // The seek that failed may have been the one of the claim: then it is still paused.
        if (partition->state == LANE_PARTITION_ACTIVE)
            lane_effect(lane, LANE_EFFECT_RESUME)->slot = slot;
    }
}

static void on_tick(struct lane *lane, const struct lane_event *event)
{
    lane->want_proof = event->want_proof;
    lane->hold_inputs = event->hold_inputs && LANE_RULE(lane, 14);
    for (int32_t i = 0; i < LANE_PRODUCERS; i++)
        if (lane->producers[i].state == LANE_PRODUCER_NONE &&
            lane->clock_ms >= lane->producers[i].retry_at)
            lane_reset(lane, i);
    if (lane->phase == LANE_ASKING && lane->clock_ms >= lane->ask_at)
        lane_ask(lane);
    lane_release_leaving(lane, lane->clock_ms >= lane->leaving_by);
    retry_seeks(lane);
    wake_waiting(lane);
    lane_retry_unparks(lane);
    lane_expire(lane);
    if (lane->phase == LANE_OPEN || lane_can_begin(lane)) {
        lane_work(lane);
        lane->was_alone = false;
    }
    lane_dispatch(lane, event->invoker_room);
    if (lane->phase == LANE_OPEN)
        maybe_close(lane, event->drained);
}

static struct lane_partition *named(struct lane *lane, const struct lane_event *event)
{
    if (event->slot < 0 || event->slot >= lane->slot_count)
        return NULL;
    struct lane_partition *partition = lane->slots[event->slot];
    return partition->used && partition->epoch == event->epoch ? partition : NULL;
}

static void on_partition_event(struct lane *lane, const struct lane_event *event)
{
    struct lane_partition *partition = named(lane, event);
    if (partition == NULL)
        return; // of an earlier assignment
    if (event->type == LANE_EVENT_EOF) {
        // Before the seek back it is the end of what was read in vain.
        bool counts = partition->state == LANE_PARTITION_ACTIVE && !partition->seeking &&
                      partition->wait_until == 0;
        if (counts && event->offset > partition->read_to)
            partition->read_to = event->offset;
    } else if (event->type == LANE_EVENT_END_SAMPLED) {
        partition->sample_pending = false;
        partition->sample_known = event->error == KA_OK;
        partition->sample_end = event->offset;
    } else if (event->type == LANE_EVENT_SEEK_FAILED) {
        partition->seeking = true;
    } else if (event->type == LANE_EVENT_PARTITION_ERROR &&
               partition->state == LANE_PARTITION_ACTIVE &&
               err_class(event->error) != ERR_CLASS_RETRY) { // else the client goes on by itself
        if (event->text != NULL)
            lane->text = *event->text;
        lane_park(lane, partition, event->error);
    }
}

// Lane time never goes back (rule 12). While it is ahead of the wall clock (that was set back, or
// the last owner's was ahead) it goes at half speed: what is due comes late, but it comes.
static void pass_time(struct lane *lane, int64_t wall_ms, int64_t mono_ms)
{
    int64_t step_ms = lane->wall_ms == 0 ? 0 : wall_ms - lane->wall_ms;
    if (mono_ms > 0)
        step_ms = lane->mono_ms == 0 ? 0 : mono_ms - lane->mono_ms;
    lane->wall_ms = wall_ms;
    lane->mono_ms = mono_ms;
    if (step_ms > 0)
        lane->clock_ms += step_ms;
    if (wall_ms >= lane->now_ms) {
        lane->now_ms = wall_ms;
        lane->slack_ms = 0;
    } else if (step_ms > 0) {
        lane->slack_ms += step_ms;
        lane->now_ms += lane->slack_ms / 2;
        lane->slack_ms %= 2;
    }
    lane->batch.now_ms = lane->now_ms;
}

void lane_step(struct lane *lane, const struct lane_event *event, struct lane_effects *effects)
{
    lane->effects = effects;
    pass_time(lane, event->now_ms, event->mono_ms);
    switch (event->type) {
    case LANE_EVENT_RECORD:
        on_record(lane, event);
        break;
    case LANE_EVENT_TICK:
        on_tick(lane, event);
        break;
    case LANE_EVENT_EOF:
    case LANE_EVENT_END_SAMPLED:
    case LANE_EVENT_SEEK_FAILED:
    case LANE_EVENT_PARTITION_ERROR:
        on_partition_event(lane, event);
        break;
    case LANE_EVENT_ASSIGNED:
        lane_on_assigned(lane, event);
        break;
    case LANE_EVENT_REVOKING:
        lane_on_revoking(lane, event);
        break;
    case LANE_EVENT_LOST:
        lane_on_lost(lane, event);
        break;
    case LANE_EVENT_UNPARK:
        lane_on_unpark(lane, event);
        break;
    case LANE_EVENT_RESTORED:
        lane_on_restored(lane, event);
        break;
    case LANE_EVENT_PRODUCER_READY:
    case LANE_EVENT_PRODUCER_FAILED:
        lane_on_producer(lane, event);
        break;
    case LANE_EVENT_FLUSHED:
        lane_on_flushed(lane, event);
        break;
    case LANE_EVENT_COMMITTED:
        lane_on_committed(lane, event);
        break;
    case LANE_EVENT_COMMIT_FAILED:
        lane_on_commit_failed(lane, event);
        break;
    case LANE_EVENT_ABORTED:
    case LANE_EVENT_ABORT_FAILED:
        lane_on_aborted(lane, event);
        break;
    case LANE_EVENT_TOKEN:
        lane_on_token(lane, event);
        break;
    case LANE_EVENT_RESULT:
        lane_on_result(lane, event);
        break;
    case LANE_EVENT_NOT_BEGUN:
        lane_on_not_begun(lane, event);
        break;
    case LANE_EVENT_PRODUCE_FAILED:
        if (lane->phase == LANE_OPEN)
            lane_fail_open(lane, event->error);
        break;
    }
}

// Rule 11: records of a batch that could not be written are redone one per transaction, and each
// must be alone there: results that came back with the abort would be in all of them. In between
// results, timers and calls have their turn.
static bool isolating(const struct lane *lane)
{
    for (int32_t slot = 0; slot < lane->slot_count; slot++) {
        const struct lane_partition *partition = lane->slots[slot];
        if (partition->used && partition->state == LANE_PARTITION_ACTIVE &&
            partition->position < partition->single_until)
            return true;
    }
    return false;
}

bool lane_wants_records(const struct lane *lane)
{
    if (lane->hold_inputs)
        return false;
    bool others = lane->phase == LANE_OPEN ? lane->inputs > 0 : lane->was_alone;
    if (others && LANE_RULE(lane, 11) && isolating(lane))
        return false;
    return lane->phase == LANE_OPEN ? !at_cap(lane) && !lane->must_abort : lane_can_begin(lane);
}

static int64_t min_ms(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t lane_deadline(const struct lane *lane)
{
    int64_t at = INT64_MAX;
    for (int32_t i = 0; i < LANE_PRODUCERS; i++)
        if (lane->producers[i].state == LANE_PRODUCER_NONE)
            at = min_ms(at, lane->producers[i].retry_at);
    if (lane->phase == LANE_ASKING)
        at = min_ms(at, lane->ask_at);
    if (lane->leaving_count > 0)
        at = min_ms(at, lane->leaving_by);
    at = min_ms(at, lane->wake_at);
    if (lane->phase == LANE_OPEN)
        at = min_ms(at, lane->last_close_ms + interval_ms(lane));
    if (lane->phase == LANE_IDLE && ready_producer(lane) >= 0) { // PRODUCER_READY wakes otherwise
        int64_t work_ms = lane_work_due(lane);                   // lane time
        int64_t due = work_ms == INT64_MAX ? INT64_MAX : work_ms - lane->now_ms + lane->clock_ms;
        at = min_ms(at, due < lane->retry_at ? lane->retry_at : due);
    }
    return at == INT64_MAX ? at : at - lane->clock_ms + lane->wall_ms;
}

bool lane_idle(const struct lane *lane)
{
    return lane->phase == LANE_IDLE && lane->pending.count == 0 && lane->leaving_count == 0;
}

size_t lane_waiting(const struct lane *lane)
{
    return lane->queue_count;
}

bool lane_pressed(const struct lane *lane)
{
    return lane->pressed || lane->clock_ms - lane->pressed_ms < PRESSED_FOR_MS;
}

size_t lane_waiting_bytes(const struct lane *lane)
{
    return lane->queue_bytes;
}

const struct lane_batch *lane_batch(const struct lane *lane)
{
    return &lane->batch;
}

struct lane_partition *lane_partition(struct lane *lane, int32_t slot)
{
    KA_ASSERT(slot >= 0 && slot < lane->slot_count);
    return lane->slots[slot];
}

struct lane_partition *lane_find(struct lane *lane, struct slice topic, int32_t partition)
{
    for (int32_t i = -1; i < lane->slot_count; i++) {
        int32_t slot = i < 0 ? lane->last_found : i;
        if (slot < 0 || slot >= lane->slot_count)
            continue;
        struct lane_partition *found = lane->slots[slot];
        if (found->used && found->partition == partition &&
            slice_eq(slice_str(found->topic), topic)) {
            lane->last_found = slot;
            return found;
        }
    }
    return NULL;
}

int32_t lane_slots(const struct lane *lane)
{
    return lane->slot_count;
}

const struct lane_stats *lane_stats(const struct lane *lane)
{
    return &lane->stats;
}

const struct err_text *lane_error_text(const struct lane *lane)
{
    return &lane->text;
}

bool lane_ready(const struct lane *lane)
{
    for (int32_t i = 0; i < LANE_PRODUCERS; i++)
        if (lane->producers[i].state != LANE_PRODUCER_READY)
            return false;
    return true;
}

int64_t lane_proof_ms(const struct lane *lane)
{
    return lane->proof_ms - lane->clock_ms + lane->wall_ms;
}
