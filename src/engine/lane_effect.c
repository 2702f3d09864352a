// SPDX-License-Identifier: Apache-2.0
// The effects of a lane on real clients: each is one call, or one job for the committer, the
// restorer or the invoker. Nothing here decides.
#include "core/assert.h"
#include "engine/kill.h"
#include "engine/lane_thread_internal.h"
#include "io/clock.h"
#include "io/log.h"

#include <stdio.h>
#include <stdlib.h>

void lane_thread_push(struct lane_thread *t, struct lane_event event)
{
    if (t->local_count == t->local_cap) {
        t->local_cap = t->local_cap == 0 ? 64 : t->local_cap * 2;
        t->local = realloc(t->local, t->local_cap * sizeof *t->local);
        if (t->local == NULL)
            abort();
    }
    t->local[t->local_count++] = event;
}

// -------------------------------------------------------------------------------------

static void produce(struct lane_thread *t, const struct lane_effect *effect)
{
    const struct lane_batch *batch = lane_batch(t->lane);
    struct io_kafka_producer *producer = t->producers[effect->producer];
    for (size_t i = effect->first; i < effect->first + effect->count; i++) {
        if (t->produce_error != KA_OK)
            return; // the transaction is lost already
        const struct lane_output *output = &batch->outputs[i];
        enum ka_err err =
            io_kafka_produce(producer, &output->record, output->tag, &t->produce_text);
        while (err == KA_ERR_LIMIT) { // the queue is full: deliveries make room
            io_kafka_producer_poll(producer, 10);
            err = io_kafka_produce(producer, &output->record, output->tag, &t->produce_text);
        }
        t->produce_error = err;
    }
    KILL_POINT("produced");
}

static void begin(struct lane_thread *t, const struct lane_effect *effect)
{
    t->produce_error = io_kafka_begin(t->producers[effect->producer], &t->produce_text);
    KILL_POINT("begun");
}

static void flush(struct lane_thread *t, const struct lane_effect *effect)
{
    if (t->produce_error != KA_OK) {
        lane_thread_push(t, (struct lane_event){.type = LANE_EVENT_FLUSHED,
                                                .producer = effect->producer,
                                                .error = t->produce_error});
        t->produce_error = KA_OK;
        return;
    }
    t->busy_producer = effect->producer;
    committer_flush(t->committer, effect->producer, t->producers[effect->producer]);
}

static void commit(struct lane_thread *t, const struct lane_effect *effect)
{
    struct io_kafka_offset *offsets = calloc(effect->count + 1, sizeof *offsets);
    if (offsets == NULL)
        abort();
    for (size_t i = 0; i < effect->count; i++) {
        const struct lane_partition *partition = lane_partition(t->lane, effect->offsets[i].slot);
        offsets[i] =
            (struct io_kafka_offset){slice_str(partition->topic), partition->partition,
                                     effect->offsets[i].offset, effect->offsets[i].metadata};
    }
    t->busy_producer = effect->producer;
    committer_commit(t->committer, effect->producer, t->producers[effect->producer], offsets,
                     effect->count, t->group);
    free(offsets);
    t->group = NULL;
}

void lane_thread_start_committer(struct lane_thread *t)
{
    struct committer_config config = {
        .kafka = &t->config.kafka,
        .admin = t->config.admin,
        .group = t->config.group,
        .lane = t->config.name,
        .transactional_id = t->transactional_id,
        .warm_topics = t->config.warm_topics,
        .warm_count = t->config.warm_count,
        .reply = &t->box,
        .timeout_ms = LANE_THREAD_CALL_TIMEOUT_MS,
    };
    t->committer = committer_new(&config);
}

static void reset(struct lane_thread *t, const struct lane_effect *effect)
{
    // A committer that hangs in a call of this producer keeps it and is left behind.
    if (t->busy_producer == effect->producer) {
        committer_abandon(&t->committer);
        t->producers[effect->producer] = NULL;
        t->busy_producer = -1;
        lane_thread_start_committer(t);
        // What was queued behind the call that hangs is not done any more.
        for (int32_t other = 0; other < LANE_PRODUCERS; other++)
            if (t->resetting[other] && other != effect->producer)
                committer_reset(t->committer, other, NULL);
    }
    t->resetting[effect->producer] = true;
    committer_reset(t->committer, effect->producer, t->producers[effect->producer]);
    t->producers[effect->producer] = NULL;
}

static void list_partitions(const struct lane_effect *effect, struct io_kafka_partition *list)
{
    for (size_t i = 0; i < effect->count; i++) {
        struct slice topic = effect->names[i].topic;
        KA_ASSERT(topic.len < sizeof list[i].topic);
        memset(&list[i], 0, sizeof list[i]);
        memcpy(list[i].topic, topic.ptr, topic.len);
        list[i].partition = effect->names[i].partition;
        list[i].offset = -1; // known once it is restored
    }
}

static void assign(struct lane_thread *t, const struct lane_effect *effect)
{
    if (t->consumer == NULL)
        return;
    struct io_kafka_partition *list = calloc(effect->count + 1, sizeof *list);
    if (list == NULL)
        abort();
    list_partitions(effect, list);
    struct err_text text = {{0}};
    if (effect->type == LANE_EFFECT_UNASSIGN)
        KILL_POINT("before_unassign");
    enum ka_err err = effect->type == LANE_EFFECT_ASSIGN
                          ? io_kafka_assign(t->consumer, list, effect->count, &text)
                          : io_kafka_unassign(t->consumer, list, effect->count, &text);
    if (effect->type == LANE_EFFECT_UNASSIGN)
        KILL_POINT("unassigned");
    if (err != KA_OK) {
        log_warn("lane", "assign_failed", "lane=%s error=%s", t->config.name, text.text);
        t->rejoin = true;
    }
    log_info("lane", effect->type == LANE_EFFECT_ASSIGN ? "assigned" : "unassigned",
             "lane=%s partitions=%zu", t->config.name, effect->count);
    free(list);
}

static void move_partition(struct lane_thread *t, const struct lane_effect *effect)
{
    const struct lane_partition *partition = lane_partition(t->lane, effect->slot);
    struct err_text text = {{0}};
    enum ka_err err = KA_OK;
    if (t->consumer == NULL || !partition->used)
        return;
    if (effect->type == LANE_EFFECT_SEEK)
        err = io_kafka_seek(t->consumer, partition->topic, partition->partition, effect->offset,
                            &text);
    else if (effect->type == LANE_EFFECT_PAUSE)
        err = io_kafka_pause(t->consumer, partition->topic, partition->partition, &text);
    else
        err = io_kafka_resume(t->consumer, partition->topic, partition->partition, &text);
    if (effect->type == LANE_EFFECT_RESUME)
        KILL_POINT("claimed");
    if (err == KA_OK)
        return;
    log_warn("lane", "move_failed", "lane=%s partition=%s/%d error=%s", t->config.name,
             partition->topic, partition->partition, text.text);
    if (effect->type == LANE_EFFECT_SEEK)
        lane_thread_push(t, (struct lane_event){.type = LANE_EVENT_SEEK_FAILED,
                                                .slot = partition->slot,
                                                .epoch = partition->epoch});
}

static bool submit(struct lane_thread *t, const struct lane_invocation *invocation)
{
    if (!invoker_submit(t->config.invoker, &t->client, &invocation->call, invocation->slot,
                        invocation->epoch))
        return false;
    t->in_flight++;
    return true;
}

// Among the first `count` that are held is one of the same action: that goes first.
static bool holds_back(const struct lane_thread *t, size_t count,
                       const struct lane_invocation *invocation)
{
    for (size_t i = 0; i < count; i++)
        if (t->held[i]->call.action->runner == invocation->call.action->runner)
            return true;
    return false;
}

static void dispatch(struct lane_thread *t, const struct lane_effect *effect)
{
    struct lane_invocation *invocation = effect->invocation;
    KA_ASSERT(t->config.invoker != NULL);
    if (!holds_back(t, t->held_count, invocation) && submit(t, invocation)) {
        lane_invocation_free(&invocation);
        return;
    }
    KA_ASSERT(t->held_count < LANE_THREAD_HELD_MAX);
    invocation->decided_ms = clock_mono_ms();
    t->held[t->held_count++] = invocation;
}

void lane_thread_offer_held(struct lane_thread *t)
{
    size_t kept = 0;
    int64_t now_ms = clock_mono_ms();
    for (size_t i = 0; i < t->held_count; i++) {
        struct lane_invocation *invocation = t->held[i];
        const struct lane_partition *partition = lane_partition(t->lane, invocation->slot);
        bool mine = partition->used && partition->epoch == invocation->epoch;
        invocation->call.timeout_ms -= now_ms - invocation->decided_ms; // what is left
        invocation->call.wait_ms -= now_ms - invocation->decided_ms;
        invocation->decided_ms = now_ms;
        if (mine && invocation->call.wait_ms <= 0)
            lane_thread_push(
                t, (struct lane_event){.type = LANE_EVENT_NOT_BEGUN, .invocation = invocation});
        else if (mine && (holds_back(t, kept, invocation) || !submit(t, invocation)))
            t->held[kept++] = invocation;
        else
            lane_invocation_free(&invocation);
    }
    t->held_count = kept;
}

static void parked(struct lane_thread *t, const struct lane_effect *effect)
{
    const struct lane_partition *partition = lane_partition(t->lane, effect->slot);
    log_error("lane", "parked", "lane=%s partition=%s/%d offset=%lld reason=%s error=%s",
              t->config.name, partition->topic, partition->partition,
              (long long)partition->position, err_name(effect->error),
              lane_error_text(t->lane)->text);
    struct lane_parked *note = &t->parked[t->parked_count++ % LANE_PARKED_MAX];
    *note = (struct lane_parked){
        .partition = partition->partition, .offset = partition->position, .error = effect->error};
    snprintf(note->topic, sizeof note->topic, "%s", partition->topic);
    snprintf(note->text, sizeof note->text, "%s", lane_error_text(t->lane)->text);
}

void lane_thread_effect(struct lane_thread *t, const struct lane_effect *effect)
{
    const struct lane_partition *partition = NULL;
    switch (effect->type) {
    case LANE_EFFECT_BEGIN:
        begin(t, effect);
        break;
    case LANE_EFFECT_PRODUCE:
        produce(t, effect);
        break;
    case LANE_EFFECT_FLUSH:
        flush(t, effect);
        break;
    case LANE_EFFECT_COMMIT:
        commit(t, effect);
        break;
    case LANE_EFFECT_ABORT:
        t->produce_error = KA_OK;
        t->busy_producer = effect->producer;
        committer_abort(t->committer, effect->producer, t->producers[effect->producer]);
        break;
    case LANE_EFFECT_RESET:
        reset(t, effect);
        break;
    case LANE_EFFECT_ASK_TOKEN:
        partition = lane_partition(t->lane, effect->slot);
        committer_ask_token(t->committer, effect->slot, effect->epoch, partition->topic,
                            partition->partition);
        break;
    case LANE_EFFECT_SAMPLE_END:
        partition = lane_partition(t->lane, effect->slot);
        committer_sample_end(t->committer, effect->slot, effect->epoch, partition->topic,
                             partition->partition);
        break;
    case LANE_EFFECT_RESTORE:
        partition = lane_partition(t->lane, effect->slot);
        restorer_restore(t->restorer, effect->slot, effect->epoch, partition->topic,
                         partition->partition);
        break;
    case LANE_EFFECT_ASSIGN:
    case LANE_EFFECT_UNASSIGN:
        assign(t, effect);
        break;
    case LANE_EFFECT_SEEK:
    case LANE_EFFECT_PAUSE:
    case LANE_EFFECT_RESUME:
        move_partition(t, effect);
        break;
    case LANE_EFFECT_DISPATCH:
        dispatch(t, effect);
        break;
    case LANE_EFFECT_PARKED:
        parked(t, effect);
        break;
    }
}
