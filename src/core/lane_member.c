// SPDX-License-Identifier: Apache-2.0
// Partitions come and go (rules 6, 9, 10). A partition is assigned paused, restored elsewhere,
// claimed by a commit of its unchanged offset, and only then read. A revoked one goes when the open
// transaction that touches it has ended, at the latest after a quarter of the session timeout.
#include "core/lane_internal.h"

#include <stdlib.h>

static struct lane_partition *new_slot(struct lane *lane)
{
    for (int32_t slot = 0; slot < lane->slot_count; slot++)
        if (!lane->slots[slot]->used)
            return lane->slots[slot];
    size_t count = (size_t)lane->slot_count + 1;
    struct lane_partition **slots = realloc(lane->slots, count * sizeof(struct lane_partition *));
    int32_t *touched = realloc(lane->touched, count * sizeof *touched);
    struct lane_commit_offset *offsets = realloc(lane->offsets, count * sizeof *offsets);
    struct lane_partition *partition = calloc(1, sizeof *partition);
    if (slots == NULL || touched == NULL || offsets == NULL || partition == NULL)
        abort();
    lane->slots = slots;
    lane->touched = touched;
    lane->offsets = offsets;
    partition->slot = lane->slot_count;
    lane->slots[lane->slot_count++] = partition;
    return partition;
}

static void init_partition(struct lane_partition *partition, const struct lane_partition_name *name)
{
    int32_t slot = partition->slot;
    int32_t epoch = partition->epoch + 1;
    *partition = (struct lane_partition){.slot = slot, .epoch = epoch, .used = true};
    KA_ASSERT(name->topic.len < sizeof partition->topic);
    memcpy(partition->topic, name->topic.ptr, name->topic.len);
    partition->partition = name->partition;
    partition->state = LANE_PARTITION_RESTORING;
    partition->poison_at = -1;
    partition->sample_at = INT64_MIN;
    partition->asked_at = -1;
}

void lane_on_assigned(struct lane *lane, const struct lane_event *event)
{
    struct lane_effect *assign = lane_effect(lane, LANE_EFFECT_ASSIGN);
    assign->names = event->partitions;
    assign->count = event->partition_count;
    for (size_t i = 0; i < event->partition_count; i++) {
        struct lane_partition *partition = new_slot(lane);
        init_partition(partition, &event->partitions[i]);
        struct lane_effect *restore = lane_effect(lane, LANE_EFFECT_RESTORE);
        restore->slot = partition->slot;
        restore->epoch = partition->epoch;
    }
}

void lane_untouch(struct lane *lane, struct lane_partition *partition)
{
    for (size_t i = 0; i < lane->touched_count; i++) {
        if (lane->touched[i] != partition->slot)
            continue;
        lane->touched[i] = lane->touched[--lane->touched_count];
        break;
    }
    partition->touched = false;
}

// Forgets a partition. What an open transaction did to it dies with its state.
static void drop(struct lane *lane, struct lane_partition *partition)
{
    if (partition->touched) {
        lane_untouch(lane, partition);
        lane->must_abort = LANE_RULE(lane, 6);
    }
    lane->processor.drop(lane->processor.context, partition);
    partition->used = false;
    partition->state = LANE_PARTITION_PARKED;
}

static void keep_names(struct lane *lane, const struct lane_event *event)
{
    KA_ASSERT(lane->leaving_count == 0);
    lane->leaving = malloc((event->partition_count + 1) * sizeof *lane->leaving);
    lane->leaving_topics = malloc((event->partition_count + 1) * LANE_TOPIC_MAX);
    if (lane->leaving == NULL || lane->leaving_topics == NULL)
        abort();
    for (size_t i = 0; i < event->partition_count; i++) {
        char *topic = lane->leaving_topics + i * LANE_TOPIC_MAX;
        struct slice name = event->partitions[i].topic;
        memcpy(topic, name.ptr, name.len);
        lane->leaving[i] =
            (struct lane_partition_name){slice_of(topic, name.len), event->partitions[i].partition};
    }
    lane->leaving_count = event->partition_count;
}

static void forget_names(struct lane *lane)
{
    free(lane->leaving);
    free(lane->leaving_topics);
    lane->leaving = NULL;
    lane->leaving_topics = NULL;
    lane->leaving_count = 0;
    lane->leaving_by = INT64_MAX;
}

bool lane_touches_leaving(const struct lane *lane)
{
    for (size_t i = 0; i < lane->touched_count; i++)
        if (lane->slots[lane->touched[i]]->leaving)
            return true;
    return false;
}

static void unassign(struct lane *lane)
{
    for (size_t i = 0; i < lane->leaving_count; i++) {
        struct lane_partition *partition =
            lane_find(lane, lane->leaving[i].topic, lane->leaving[i].partition);
        if (partition != NULL)
            drop(lane, partition);
    }
    struct lane_effect *effect = lane_effect(lane, LANE_EFFECT_UNASSIGN);
    // The names must outlive this step: they move into the batch of effects' owner, the arena.
    struct lane_partition_name *names =
        arena_alloc(&lane->batch.arena, (lane->leaving_count + 1) * sizeof *names);
    for (size_t i = 0; i < lane->leaving_count; i++) {
        names[i].topic = arena_copy(&lane->batch.arena, lane->leaving[i].topic);
        names[i].partition = lane->leaving[i].partition;
    }
    effect->names = names;
    effect->count = lane->leaving_count;
    forget_names(lane);
}

// After a forced release the transaction in hand can no longer commit with all it touched.
static void give_up_transaction(struct lane *lane)
{
    if (!lane->must_abort)
        return;
    switch (lane->phase) {
    case LANE_OPEN:
        lane_abort(lane);
        break;
    case LANE_FLUSHING:
        break;            // FLUSHED sees must_abort
    case LANE_COMMITTING: // no answer within the grace: only a new epoch ends the doubt
        lane->stats.unclear++;
        lane_move(lane, LANE_RESETTING);
        lane_reset(lane, lane->current);
        break;
    case LANE_IDLE:
    case LANE_ABORTING:
    case LANE_RESETTING:
    case LANE_ASKING:
        break;
    }
}

void lane_release_leaving(struct lane *lane, bool force)
{
    if (lane->leaving_count == 0)
        return;
    if (lane_touches_leaving(lane) && !(force && LANE_RULE(lane, 9)))
        return;
    unassign(lane);
    give_up_transaction(lane);
}

void lane_on_revoking(struct lane *lane, const struct lane_event *event)
{
    keep_names(lane, event);
    lane->leaving_by = lane->clock_ms + lane->config.session_timeout_ms / 4;
    for (size_t i = 0; i < event->partition_count; i++) {
        struct lane_partition *partition =
            lane_find(lane, event->partitions[i].topic, event->partitions[i].partition);
        if (partition != NULL)
            partition->leaving = true;
    }
    if (lane->phase == LANE_OPEN && lane_touches_leaving(lane))
        lane_abort(lane);
    lane_release_leaving(lane, false);
}

void lane_on_lost(struct lane *lane, const struct lane_event *event)
{
    if (lane->leaving_count > 0)
        unassign(lane);
    keep_names(lane, event);
    unassign(lane);
    // A commit under way is left to its answer: what it decided for lost partitions is not
    // dispatched, what it decided for the others counts.
    if (lane->phase == LANE_OPEN && lane->must_abort)
        lane_abort(lane);
}

void lane_on_restored(struct lane *lane, const struct lane_event *event)
{
    struct lane_partition *partition =
        event->slot < lane->slot_count ? lane->slots[event->slot] : NULL;
    bool current = partition != NULL && partition->used && partition->epoch == event->epoch;
    KA_ASSERT(current); // the engine keeps what belongs to an earlier assignment
    enum ka_err err = event->error;
    partition->committed = event->offset;
    partition->position = event->offset;
    partition->read_to = event->offset;
    if (err == KA_OK)
        err = lane->processor.adopt(lane->processor.context, partition, event->restored,
                                    event->meta, &lane->text);
    else if (event->text != NULL)
        lane->text = *event->text;
    if (err == KA_OK && event->offset < partition->reached)
        err = err_set(&lane->text, KA_ERR_DIVERGED,
                      "%s/%d was read to offset %lld and now begins at %lld: the topic was deleted "
                      "and created again, or its offset was",
                      partition->topic, partition->partition, (long long)partition->reached,
                      (long long)event->offset);
    if (err != KA_OK) {
        lane_park(lane, partition, err);
        return;
    }
    if (event->meta->present && event->meta->time_ms > lane->now_ms &&
        LANE_RULE(lane, RULE_LANE_TIME))
        lane->now_ms = event->meta->time_ms; // lane time never goes back over a takeover
    partition->state = LANE_PARTITION_CLAIMING;
    if (!LANE_RULE(lane, RULE_CLAIM))
        lane_activate(lane, partition);
}

// The partition is restored as if it had just been assigned; only between transactions of its own.
static void unpark(struct lane *lane, struct lane_partition *partition)
{
    partition->unpark = partition->touched;
    if (partition->touched || partition->leaving)
        return;
    lane->processor.drop(lane->processor.context, partition);
    if (partition->reached < partition->committed)
        partition->reached = partition->committed;
    partition->epoch++;
    partition->state = LANE_PARTITION_RESTORING;
    partition->seeking = false;
    partition->wait_until = 0;
    partition->sample_pending = false;
    partition->sample_known = false;
    struct lane_effect *restore = lane_effect(lane, LANE_EFFECT_RESTORE);
    restore->slot = partition->slot;
    restore->epoch = partition->epoch;
}

void lane_on_unpark(struct lane *lane, const struct lane_event *event)
{
    KA_ASSERT(event->slot >= 0 && event->slot < lane->slot_count);
    struct lane_partition *partition = lane->slots[event->slot];
    if (partition->used && partition->epoch == event->epoch &&
        partition->state == LANE_PARTITION_PARKED)
        unpark(lane, partition);
}

// What was asked for while a transaction touched it.
void lane_retry_unparks(struct lane *lane)
{
    for (int32_t slot = 0; slot < lane->slot_count; slot++) {
        struct lane_partition *partition = lane->slots[slot];
        if (partition->used && partition->unpark && partition->state == LANE_PARTITION_PARKED)
            unpark(lane, partition);
    }
}

void lane_members_fini(struct lane *lane)
{
    for (int32_t slot = 0; slot < lane->slot_count; slot++) {
        if (lane->slots[slot]->used)
            lane->processor.drop(lane->processor.context, lane->slots[slot]);
        free(lane->slots[slot]);
    }
    free(lane->slots);
    forget_names(lane);
}
