// SPDX-License-Identifier: Apache-2.0
// A lane with its clients: what src/engine/lane_thread.c and lane_effect.c do on real ones, in the
// same order: rebalances, mail, records, a tick; and each effect at once, before the next step.
// Faults come between effects: this is where a process dies, is stopped, or the group moves.
#include "sim.h"

#include "core/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WAIT_MAX_US = 100000,
    ROOM = 64,
    RECORDS_PER_TURN = 50,
    UNPARK_US = 10000000,
    FOCUS = 10,
    RARE = 80
};
#define EPOCH_MS INT64_C(1767225600000)

int64_t sim_wall_ms(const struct sim *sim, int worker)
{
    return EPOCH_MS + sim->now_us / 1000 + sim->workers[worker].clock_ms;
}

// ---- Waking up

void sim_lane_wake(struct sim_lane *lane)
{
    struct sim *sim = lane->sim;
    int64_t at_us = sim->now_us + sim_between(sim, 10, 300);
    if (lane->life->dead || lane->turn_us <= at_us)
        return;
    lane->turn_us = at_us;
    sim_at(sim, at_us,
           (struct sim_event){.type = EVENT_TURN,
                              .worker = (int8_t)lane->life->worker,
                              .call = ++lane->turn_call,
                              .ptr = lane});
}

static void sleep_until(struct sim_lane *lane)
{
    struct sim *sim = lane->sim;
    int64_t deadline_ms = lane_deadline(lane->lane);
    int64_t wait_us = WAIT_MAX_US;
    int64_t now_ms = sim_wall_ms(sim, lane->life->worker);
    bool busy = !lane->drained && lane_wants_records(lane->lane) && lane->consumer != NULL;
    if (deadline_ms < now_ms + WAIT_MAX_US / 1000)
        wait_us = deadline_ms <= now_ms ? 100 : (deadline_ms - now_ms) * 1000;
    if (busy || lane->local_count > 0)
        wait_us = 20;
    lane->turn_us = sim->now_us + wait_us;
    sim_at(sim, lane->turn_us,
           (struct sim_event){.type = EVENT_TURN,
                              .worker = (int8_t)lane->life->worker,
                              .call = ++lane->turn_call,
                              .ptr = lane});
}

void sim_lane_mail(struct sim_lane *lane, const struct sim_mail *mail)
{
    struct sim_mail *kept = arena_alloc(&lane->sim->arena, sizeof *kept);
    *kept = *mail;
    kept->next = NULL;
    if (lane->mail_tail == NULL)
        lane->mail_head = kept;
    else
        lane->mail_tail->next = kept;
    lane->mail_tail = kept;
    sim_lane_wake(lane);
}

// ---- Faults between effects

// Effects that seldom come, and the one that this seed has drawn, are struck with preference.
static int weight(const struct sim_swarm *swarm, enum lane_effect_type type)
{
    if (type == LANE_EFFECT_ASK_TOKEN || type == LANE_EFFECT_PAUSE || type == LANE_EFFECT_PARKED)
        return RARE;
    bool seldom = type == LANE_EFFECT_ABORT || type == LANE_EFFECT_UNASSIGN;
    return seldom || (int)type == swarm->focus ? FOCUS : 1;
}

static bool strike(struct sim_lane *lane, enum lane_effect_type type)
{
    struct sim *sim = lane->sim;
    const struct sim_swarm *swarm = &sim->swarm;
    int worker = lane->life->worker;
    sim->stats.effects[type]++;
    if (sim_kill_point(sim, worker, swarm->kill * weight(swarm, type))) {
        SIM_NOTE(sim, "worker %d is killed before effect %s", worker, sim_effect_names[type]);
        sim->stats.killed_at[type]++;
        return true;
    }
    if (sim_hit(sim, FAULT_REBALANCE, swarm->rebalance))
        sim_group_rebalance(sim, lane->index, true);
    if (sim_inject(sim, FAULT_NODE_SLOW, swarm->node_slow)) {
        int64_t until_us = sim->now_us + sim_between(sim, 1000, swarm->node_slow_us);
        sim->node_slow_until_us[sim_draw(sim, NODES)] = until_us;
    }
    if (sim_inject(sim, FAULT_PAUSE, swarm->pause * weight(swarm, type))) {
        sim->workers[worker].paused_until_us =
            sim->now_us + sim_between(sim, 1000, swarm->pause_us);
        SIM_NOTE(sim, "worker %d stands still until %.3f", worker,
                 (double)sim->workers[worker].paused_until_us / 1e6);
    }
    return false;
}

// ---- Effects

static void push(struct sim_lane *lane, struct lane_event event)
{
    KA_ASSERT(lane->local_count < 256);
    lane->local[lane->local_count++] = event;
}

enum sim_topic sim_lane_topic(const struct sim_lane *lane)
{
    if (lane->link != NULL)
        return TOPIC_LINKS;
    return lane->index == 0 ? TOPIC_INBOX : TOPIC_USER;
}

static void produce(struct sim_lane *lane, const struct lane_effect *effect)
{
    const struct lane_batch *batch = lane_batch(lane->lane);
    struct sim_producer *producer = lane->producers[effect->producer];
    for (size_t i = effect->first; i < effect->first + effect->count; i++) {
        const struct lane_output *output = &batch->outputs[i];
        if (lane->produce_error == KA_OK)
            lane->produce_error = producer->fatal;
        if (lane->produce_error != KA_OK)
            return;
        int log = sim_log_named(lane->sim, output->record.topic, output->record.partition);
        KA_ASSERT(log >= 0 && log < lane->sim->log_count);
        sim_producer_add(producer, log, &output->record, output->tag);
    }
}

static void begin(struct sim_lane *lane, const struct lane_effect *effect)
{
    sim_journal_txn(lane)->inputs = 0;
    struct sim_producer *producer = lane->producers[effect->producer];
    KA_ASSERT(producer != NULL && !producer->dead);
    lane->produce_error = producer->fatal;
    if (producer->fatal == KA_OK)
        sim_producer_begin(producer);
}

static void queue(struct sim_lane *lane, int producer, enum sim_job job, struct sim_commit *commit)
{
    lane->busy_producer = producer;
    sim_committer_queue(lane->committer, (struct sim_work){.job = job,
                                                           .producer = producer,
                                                           .handle = lane->producers[producer],
                                                           .commit = commit});
}

static void flush(struct sim_lane *lane, const struct lane_effect *effect)
{
    if (lane->produce_error != KA_OK) {
        push(lane, (struct lane_event){.type = LANE_EVENT_FLUSHED,
                                       .producer = effect->producer,
                                       .error = lane->produce_error});
        lane->produce_error = KA_OK;
        return;
    }
    queue(lane, effect->producer, JOB_FLUSH, NULL);
}

static void commit(struct sim_lane *lane, const struct lane_effect *effect)
{
    struct sim *sim = lane->sim;
    struct sim_commit *commit = arena_zalloc(&sim->arena, sizeof *commit);
    commit->offsets = arena_alloc(&sim->arena, (effect->count + 1) * sizeof *commit->offsets);
    for (size_t i = 0; i < effect->count; i++) {
        const struct lane_partition *partition =
            lane_partition(lane->lane, effect->offsets[i].slot);
        commit->offsets[i] = (struct sim_offset){partition->partition, effect->offsets[i].offset,
                                                 sim_copy(sim, effect->offsets[i].metadata)};
    }
    commit->count = (int)effect->count;
    SIM_NOTE(sim, "lane %d commits %d offsets, the first %d@%lld, generation %d", lane->client,
             commit->count, commit->count > 0 ? commit->offsets[0].partition : -1,
             commit->count > 0 ? (long long)commit->offsets[0].offset : -1, lane->group_generation);
    commit->generation = lane->group_generation;
    commit->member = lane->group_member;
    commit->txn = sim_journal_txn(lane);
    if (commit->txn->inputs > lane->batch_records)
        sim_fail(sim, "lane %d commits %d inputs at once, its cap is %d", lane->client,
                 commit->txn->inputs, lane->batch_records);
    lane->txn = NULL;
    queue(lane, effect->producer, JOB_COMMIT, commit);
}

static void reset(struct sim_lane *lane, const struct lane_effect *effect)
{
    if (lane->busy_producer == effect->producer) { // it hangs in a call and is left behind
        lane->committer->abandoned = true;
        lane->producers[effect->producer] = NULL;
        lane->committer = sim_committer_new(lane);
        for (int other = 0; other < LANE_PRODUCERS; other++) // what was queued is not done any more
            if (lane->resetting[other] && other != effect->producer)
                sim_committer_queue(lane->committer,
                                    (struct sim_work){.job = JOB_RESET, .producer = other});
        lane->busy_producer = -1;
    }
    lane->resetting[effect->producer] = true;
    sim_committer_queue(lane->committer,
                        (struct sim_work){.job = JOB_RESET,
                                          .producer = effect->producer,
                                          .handle = lane->producers[effect->producer]});
    lane->producers[effect->producer] = NULL;
}

static uint64_t set_of(const struct lane_partition_name *names, size_t count)
{
    uint64_t set = 0;
    for (size_t i = 0; i < count; i++)
        set |= UINT64_C(1) << names[i].partition;
    return set;
}

static void assign(struct sim_lane *lane, const struct lane_effect *effect)
{
    bool assigns = effect->type == LANE_EFFECT_ASSIGN;
    uint64_t set = set_of(effect->names, effect->count);
    SIM_NOTE(lane->sim, "lane %d %s %llx", lane->client, assigns ? "assigns" : "unassigns",
             (unsigned long long)set);
    bool stood = lane->sim->workers[lane->life->worker].paused_until_us > lane->revoking_us;
    if (!assigns && lane->revoking_us > 0 && !stood) {
        int64_t took_ms = (lane->sim->now_us - lane->revoking_us) / 1000;
        if (took_ms > lane->sim->swarm.session_ms / 4 + 150)
            sim_fail(lane->sim, "lane %d lets go after %lld ms", lane->client, (long long)took_ms);
    }
    if (!assigns)
        lane->revoking_us = 0;
    if (lane->consumer != NULL)
        sim_consumer_assign(lane->consumer, assigns, set);
}

static void move_partition(struct sim_lane *lane, const struct lane_effect *effect)
{
    const struct lane_partition *partition = lane_partition(lane->lane, effect->slot);
    if (lane->consumer == NULL || !partition->used)
        return;
    if (effect->type != LANE_EFFECT_SEEK) {
        sim_consumer_pause(lane->consumer, partition->partition, effect->type == LANE_EFFECT_PAUSE);
        if (effect->type == LANE_EFFECT_RESUME && lane->assigned_us[effect->slot] > 0) {
            sim_check_takeover(lane, effect->slot);
            lane->assigned_us[effect->slot] = 0;
        }
        return;
    }
    if (!sim_consumer_seek(lane->consumer, partition->partition, effect->offset))
        push(lane, (struct lane_event){.type = LANE_EVENT_SEEK_FAILED,
                                       .slot = partition->slot,
                                       .epoch = partition->epoch});
}

static void ask(struct sim_lane *lane, const struct lane_effect *effect, enum sim_job job)
{
    const struct lane_partition *partition = lane_partition(lane->lane, effect->slot);
    sim_committer_queue(lane->committer, (struct sim_work){.job = job,
                                                           .producer = -1,
                                                           .slot = effect->slot,
                                                           .epoch = effect->epoch,
                                                           .partition = partition->partition});
}

// Does the group still say that this partition is the lane's?
static bool owns(const struct sim_lane *lane, int32_t partition)
{
    const struct sim_member *member =
        lane->consumer == NULL ? NULL : sim_member(lane->sim, lane->index, lane->consumer->member);
    return member != NULL && (member->assigned >> partition & 1) != 0;
}

static void parked(struct sim_lane *lane, const struct lane_effect *effect)
{
    const struct lane_partition *partition = lane_partition(lane->lane, effect->slot);
    // A zombie may find that the next owner has gone on, in the offsets, the states, the trimmed
    // log.
    bool expected = (effect->error == KA_ERR_DIVERGED &&
                     (lane->sim->check.broken[lane->index][partition->partition] ||
                      !owns(lane, partition->partition))) ||
                    (effect->error == KA_ERR_NOT_FOUND && lane->sim->swarm.missing > 0);
    SIM_NOTE(lane->sim, "lane %d parks %d: %s", lane->client, partition->partition,
             lane_error_text(lane->lane)->text);
    if (!expected)
        sim_fail(lane->sim, "lane %d parks partition %d: %s %s", lane->client, partition->partition,
                 err_name(effect->error), lane_error_text(lane->lane)->text);
}

static void effect(struct sim_lane *lane, struct lane_effect *e)
{
    switch (e->type) {
    case LANE_EFFECT_BEGIN:
        begin(lane, e);
        break;
    case LANE_EFFECT_PRODUCE:
        produce(lane, e);
        break;
    case LANE_EFFECT_FLUSH:
        flush(lane, e);
        break;
    case LANE_EFFECT_COMMIT:
        commit(lane, e);
        break;
    case LANE_EFFECT_ABORT:
        lane->produce_error = KA_OK;
        queue(lane, e->producer, JOB_ABORT, NULL);
        break;
    case LANE_EFFECT_RESET:
        reset(lane, e);
        break;
    case LANE_EFFECT_ASK_TOKEN:
        ask(lane, e, JOB_TOKEN);
        break;
    case LANE_EFFECT_SAMPLE_END:
        ask(lane, e, JOB_SAMPLE);
        break;
    case LANE_EFFECT_RESTORE:
        lane->assigned_us[e->slot] = lane->sim->now_us;
        sim_restorer_queue(lane->restorer, e->slot, e->epoch,
                           lane_partition(lane->lane, e->slot)->partition);
        break;
    case LANE_EFFECT_ASSIGN:
    case LANE_EFFECT_UNASSIGN:
        assign(lane, e);
        break;
    case LANE_EFFECT_SEEK:
    case LANE_EFFECT_PAUSE:
    case LANE_EFFECT_RESUME:
        move_partition(lane, e);
        break;
    case LANE_EFFECT_DISPATCH:
        sim_check_dispatch(lane, e->invocation);
        sim_dispatch(lane, e->invocation);
        e->invocation = NULL;
        break;
    case LANE_EFFECT_PARKED:
        parked(lane, e);
        break;
    }
}

const char *const sim_effect_names[EFFECT_TYPES] = {
    [LANE_EFFECT_BEGIN] = "begin",         [LANE_EFFECT_PRODUCE] = "produce",
    [LANE_EFFECT_FLUSH] = "flush",         [LANE_EFFECT_COMMIT] = "commit",
    [LANE_EFFECT_ABORT] = "abort",         [LANE_EFFECT_RESET] = "reset",
    [LANE_EFFECT_ASK_TOKEN] = "ask_token", [LANE_EFFECT_ASSIGN] = "assign",
    [LANE_EFFECT_UNASSIGN] = "unassign",   [LANE_EFFECT_RESTORE] = "restore",
    [LANE_EFFECT_SEEK] = "seek",           [LANE_EFFECT_PAUSE] = "pause",
    [LANE_EFFECT_RESUME] = "resume",       [LANE_EFFECT_SAMPLE_END] = "sample_end",
    [LANE_EFFECT_DISPATCH] = "dispatch",   [LANE_EFFECT_PARKED] = "parked",
};

// ---- Steps. All return at once when the process has died.

static void step(struct sim_lane *lane, struct lane_event *event)
{
    struct sim *sim = lane->sim;
    event->now_ms = sim_wall_ms(sim, lane->life->worker);
    event->mono_ms = 1 + sim->now_us / 1000;
    lane_step(lane->lane, event, &lane->effects);
    for (size_t i = 0; i < lane->effects.count; i++) {
        struct lane_effect *e = &lane->effects.list[i];
        sim_mix(sim, (uint64_t)e->type << 32 ^ (uint64_t)e->slot << 24 ^ (uint64_t)e->offset);
        if (e->type != LANE_EFFECT_PRODUCE)
            SIM_NOTE(sim, "lane %d %s: %s %c slot %d %lld", lane->client,
                     lane_phase_name(lane->lane), sim_effect_names[e->type],
                     'a' + (char)e->producer, e->slot, (long long)e->offset);
        if (strike(lane, e->type))
            return;
        effect(lane, e);
    }
    lane->effects.count = 0;
    if (lane->produce_error != KA_OK && lane->busy_producer < 0) {
        push(lane,
             (struct lane_event){.type = LANE_EVENT_PRODUCE_FAILED, .error = lane->produce_error});
        lane->produce_error = KA_OK;
    }
}

void sim_lane_step(struct sim_lane *lane, struct lane_event *event)
{
    step(lane, event);
    while (!lane->life->dead && lane->local_count > 0) {
        struct lane_event next = lane->local[0];
        lane->local_count--;
        memmove(lane->local, lane->local + 1, (size_t)lane->local_count * sizeof *lane->local);
        step(lane, &next);
    }
}

// ---- Mail

static void free_restored(const struct sim_lane *lane, struct sim_mail *mail)
{
    struct shard_restore *states = lane->link == NULL ? mail->restored : NULL;
    struct link_restore *progress = lane->link != NULL ? mail->restored : NULL;
    shard_restore_free(&states);
    link_restore_free(&progress);
    mail->restored = NULL;
}

static void on_restored(struct sim_lane *lane, struct sim_mail *mail)
{
    const struct lane_partition *partition =
        mail->slot < lane_slots(lane->lane) ? lane_partition(lane->lane, mail->slot) : NULL;
    if (partition == NULL || !partition->used || partition->epoch != mail->epoch) {
        free_restored(lane, mail);
        return;
    }
    if (mail->error != KA_OK && err_class(mail->error) == ERR_CLASS_RETRY) {
        sim_restorer_queue(lane->restorer, mail->slot, mail->epoch, partition->partition);
        return;
    }
    struct meta meta = {0};
    struct err_text text = {""};
    enum ka_err err = mail->error;
    if (err == KA_OK)
        err = meta_parse(slice_of(mail->meta, mail->meta_len), &meta, &text);
    struct lane_event event = {.type = LANE_EVENT_RESTORED,
                               .slot = mail->slot,
                               .epoch = mail->epoch,
                               .error = err,
                               .text = &text,
                               .offset = mail->offset,
                               .restored = mail->restored,
                               .meta = &meta};
    sim_lane_step(lane, &event);
}

static void on_mail(struct sim_lane *lane, struct sim_mail *mail)
{
    struct meta meta = {0};
    struct lane_event event = {.type = mail->type,
                               .producer = mail->producer,
                               .error = mail->error,
                               .dirty = mail->dirty,
                               .slot = mail->slot,
                               .epoch = mail->epoch,
                               .offset = mail->offset,
                               .spans = mail->spans,
                               .span_count = mail->span_count,
                               .result = mail->result,
                               .meta = &meta};
    if (mail->error != KA_OK || mail->dirty)
        SIM_NOTE(lane->sim, "lane %d %s: event %d says %s%s", lane->client,
                 lane_phase_name(lane->lane), (int)mail->type, err_name(mail->error),
                 mail->dirty ? ", dirty" : "");
    bool of_job = mail->type == LANE_EVENT_FLUSHED || mail->type == LANE_EVENT_COMMITTED ||
                  mail->type == LANE_EVENT_COMMIT_FAILED || mail->type == LANE_EVENT_ABORTED ||
                  mail->type == LANE_EVENT_ABORT_FAILED;
    if (of_job && lane->busy_producer == mail->producer)
        lane->busy_producer = -1;
    if (mail->type == LANE_EVENT_RESTORED) {
        on_restored(lane, mail);
        return;
    }
    if (mail->type == LANE_EVENT_PRODUCER_READY)
        lane->producers[mail->producer] = mail->handle;
    if (mail->type == LANE_EVENT_PRODUCER_READY || mail->type == LANE_EVENT_PRODUCER_FAILED)
        lane->resetting[mail->producer] = false;
    if (mail->type == LANE_EVENT_FLUSHED) { // rule 6: rebalances have just been served
        event.generation = lane->consumer == NULL ? -1 : lane->consumer->generation;
        event.member = lane->consumer != NULL && lane->consumer->member != 0;
        lane->group_generation = event.generation;
        lane->group_member = event.member ? lane->consumer->member : 0;
    }
    if (mail->type == LANE_EVENT_TOKEN && mail->error == KA_OK &&
        meta_parse(slice_of(mail->meta, mail->meta_len), &meta, NULL) != KA_OK)
        abort();
    sim_lane_step(lane, &event);
}

static void serve_mail(struct sim_lane *lane)
{
    while (lane->mail_head != NULL && !lane->life->dead) {
        struct sim_mail *mail = lane->mail_head;
        lane->mail_head = mail->next;
        if (lane->mail_head == NULL)
            lane->mail_tail = NULL;
        on_mail(lane, mail);
    }
}

// ---- The consumer

static size_t name_partitions(struct sim_lane *lane, uint64_t set)
{
    size_t count = 0;
    for (int p = 0; set >> p != 0; p++)
        if (set >> p & 1)
            lane->names[count++] =
                (struct lane_partition_name){slice_str(sim_topic_name(sim_lane_topic(lane))), p};
    return count;
}

static void serve_control(struct sim_lane *lane)
{
    static const enum lane_event_type types[] = {
        [CONTROL_ASSIGNED] = LANE_EVENT_ASSIGNED,
        [CONTROL_REVOKING] = LANE_EVENT_REVOKING,
        [CONTROL_LOST] = LANE_EVENT_LOST,
    };
    struct sim_control control;
    while (!lane->life->dead && lane->consumer != NULL &&
           sim_consumer_control(lane->consumer, &control)) {
        struct lane_event event = {.type = types[control.type],
                                   .partition_count = name_partitions(lane, control.partitions),
                                   .partitions = lane->names};
        if (control.type == CONTROL_REVOKING)
            lane->revoking_us = lane->sim->now_us;
        sim_lane_step(lane, &event);
    }
}

// The client cannot go on: everything it had is lost, a new one joins.
static void replace_consumer(struct sim_lane *lane)
{
    uint64_t set = 0;
    for (int32_t slot = 0; slot < lane_slots(lane->lane); slot++)
        if (lane_partition(lane->lane, slot)->used)
            set |= UINT64_C(1) << lane_partition(lane->lane, slot)->partition;
    lane->consumer->dead = true;
    lane->consumer = NULL;
    lane->revoking_us = 0;
    struct lane_event event = {.type = LANE_EVENT_LOST,
                               .partition_count = name_partitions(lane, set),
                               .partitions = lane->names};
    sim_lane_step(lane, &event);
    if (!lane->life->dead)
        lane->consumer = sim_consumer_new(lane);
}

static void take_record(struct sim_lane *lane, int p, int64_t offset, int fetched,
                        enum ka_err error)
{
    static const struct header cloud[] = {
        {{"content-type", 12}, {"application/cloudevents+json", 28}}};
    const struct sim_log *log = sim_consumer_log(lane->consumer, p);
    struct slice topic = slice_str(sim_topic_name(sim_lane_topic(lane)));
    const struct lane_partition *partition = lane_find(lane->lane, topic, p);
    if (partition == NULL)
        return;
    struct lane_event event = {.type = fetched == FETCH_EOF     ? LANE_EVENT_EOF
                                       : fetched == FETCH_ERROR ? LANE_EVENT_PARTITION_ERROR
                                                                : LANE_EVENT_RECORD,
                               .error = error,
                               .slot = partition->slot,
                               .epoch = partition->epoch,
                               .offset = offset};
    struct record record = {.topic = topic, .partition = p, .offset = offset};
    if (fetched == FETCH_RECORD) {
        const struct sim_record *from = &log->records[offset];
        record.timestamp_ms = EPOCH_MS + from->at_us / 1000;
        record.key = from->key;
        record.value = from->value;
        record.headers = from->cloud ? cloud : NULL;
        record.header_count = from->cloud;
        event.record = &record;
    }
    sim_lane_step(lane, &event);
}

static void serve_records(struct sim_lane *lane)
{
    int64_t most = sim_between(lane->sim, 1, RECORDS_PER_TURN);
    lane->drained = false;
    while (most-- > 0 && !lane->life->dead && lane_wants_records(lane->lane)) {
        int p;
        int64_t offset;
        enum ka_err error = KA_OK;
        int fetched = sim_consumer_next(lane->consumer, &p, &offset, &error);
        if (fetched == FETCH_NOTHING) {
            lane->drained = true;
            return;
        }
        take_record(lane, p, offset, fetched, error);
    }
}

// ---- The thread

static void tick(struct sim_lane *lane, bool drained)
{
    struct sim *sim = lane->sim;
    if (lane->index == 1 && sim_hit(sim, FAULT_HOLD, sim->swarm.hold))
        lane->hold_until_us = sim->now_us + sim_between(sim, 1000, 2000000);
    bool hold = lane->index == 1 && sim->now_us < lane->hold_until_us;
    struct lane_event event = {.type = LANE_EVENT_TICK,
                               .drained = (lane->drained && drained) || hold,
                               .invoker_room = lane->index == 0 ? ROOM : 0,
                               .hold_inputs = hold};
    sim_lane_step(lane, &event);
    lane->hold = hold;
}

// What an operator may have repaired is tried again (refresh in src/engine/lane_thread.c).
static void unpark(struct sim_lane *lane)
{
    if (lane->sim->now_us < lane->unpark_us)
        return;
    lane->unpark_us = lane->sim->now_us + UNPARK_US;
    for (int32_t slot = 0; !lane->life->dead && slot < lane_slots(lane->lane); slot++) {
        const struct lane_partition *partition = lane_partition(lane->lane, slot);
        struct lane_event event = {
            .type = LANE_EVENT_UNPARK, .slot = slot, .epoch = partition->epoch};
        if (partition->used && partition->state == LANE_PARTITION_PARKED &&
            partition->parked_error == KA_ERR_NOT_FOUND)
            sim_lane_step(lane, &event);
    }
}

void sim_lane_turn(struct sim_lane *lane, uint32_t call)
{
    struct sim *sim = lane->sim;
    if (lane->life->dead || call != lane->turn_call)
        return;
    lane->turn_us = INT64_MAX;
    unpark(lane);
    if (!lane->life->dead)
        serve_control(lane);
    serve_mail(lane);
    if (!lane->life->dead && lane->consumer != NULL &&
        sim_hit(sim, FAULT_CONSUMER, sim->swarm.consumer))
        replace_consumer(lane);
    if (lane->life->dead)
        return;
    if (!lane->subscribed && lane_ready(lane->lane)) {
        lane->consumer = sim_consumer_new(lane);
        lane->subscribed = true;
    }
    if (lane->consumer != NULL)
        serve_records(lane);
    bool drained = lane->link == NULL || lane->life->dead || sim_link_turn(lane);
    if (!lane->life->dead)
        tick(lane, drained);
    lane->drained = lane->drained && drained;
    if (!lane->life->dead)
        sleep_until(lane);
}

// ---- Processes

static struct sim_lane *new_lane(struct sim *sim, struct sim_life *life, int index)
{
    struct sim_lane *lane = arena_zalloc(&sim->arena, sizeof *lane);
    lane->sim = sim;
    lane->life = life;
    lane->index = index;
    lane->client = life->worker * LANES + index;
    lane->busy_producer = -1;
    lane->turn_us = INT64_MAX;
    snprintf(lane->node, sizeof lane->node, "n%d", life->worker);
    snprintf(lane->name, sizeof lane->name, "%c0", index == 0 ? 's' : 'r');
    struct shard_config config;
    sim_shard_config(sim, &config, lane->node);
    if (sim->links != NULL) {
        sim_link_new(lane);
    } else if (index == 0) {
        lane->shards = shards_new(&config, sim_definitions(sim), sim_run_inline, sim);
        lane->inner = shards_processor(lane->shards);
    } else {
        struct route_config routes = {.shards = config.shards,
                                      .inbox_topic = config.inbox_topic,
                                      .data_max = 10000,
                                      .routes = sim->routes,
                                      .route_count = SAGA_DEFS};
        routes.dlq =
            (struct dlq_context){config.dlq_topic, config.shards, config.record_max, lane->node};
        lane->routes = routes_new(&routes);
        lane->inner = routes_processor(lane->routes);
    }
    lane->batch_records = (int32_t)sim_between(sim, 5, 200);
    struct lane_config lane_config = {.node = slice_str(lane->node),
                                      .name = slice_str(lane->name),
                                      .incarnation = life->incarnation,
                                      .session_timeout_ms = sim->swarm.session_ms,
                                      .batch_records = lane->batch_records,
                                      .batch_bytes = 1 << 20,
                                      .batch_ms = 200,
                                      .interval_max_ms = 50,
                                      .release_result = sim->links != NULL ? sim_link_release
                                                                           : sim_release_result,
                                      .release_context = lane,
                                      .rules_off = sim->options.rules_off};
    struct lane_processor processor = sim->links != NULL ? lane->inner : sim_journal(lane);
    lane->lane = lane_new(&lane_config, &processor);
    if (lane->link != NULL)
        sim_link_begin(lane);
    lane->committer = sim_committer_new(lane);
    lane->restorer = sim_restorer_new(lane);
    return lane;
}

static int sim_lanes(const struct sim *sim)
{
    return sim->links != NULL ? 1 : LANES;
}

void sim_worker_start(struct sim *sim, int worker)
{
    struct sim_life *life = arena_zalloc(&sim->arena, sizeof *life);
    life->sim = sim;
    life->worker = worker;
    life->incarnation = ++sim->lives;
    sim->workers[worker].life = life;
    sim->workers[worker].restarting = false;
    sim->workers[worker].paused_until_us = 0;
    SIM_NOTE(sim, "worker %d starts, incarnation %d", worker, sim->lives);
    for (int i = 0; i < sim_lanes(sim); i++) {
        life->lanes[i] = new_lane(sim, life, i);
        sim_lane_wake(life->lanes[i]);
    }
}

// Rule 10 closes the door behind the claim: who dies in it is named nowhere, and its transaction
// ends with its timeout.
static void note_claims(struct sim_lane *lane)
{
    for (int32_t slot = 0; slot < lane_slots(lane->lane); slot++) {
        const struct lane_partition *partition = lane_partition(lane->lane, slot);
        if (partition->used && partition->state == LANE_PARTITION_CLAIMING)
            lane->sim->check.unnamed[lane->index][partition->partition] = true;
    }
}

static void free_lane(struct sim_lane *lane)
{
    note_claims(lane);
    for (struct sim_mail *mail = lane->mail_head; mail != NULL; mail = mail->next) {
        free_restored(lane, mail);
        if (mail->result != NULL)
            sim_release_result(lane, mail->result);
    }
    lane->mail_head = NULL;
    for (size_t i = 0; i < lane->effects.count; i++) // those that the death came before
        if (lane->effects.list[i].invocation != NULL)
            lane_invocation_free(&lane->effects.list[i].invocation);
    lane->sim->stats.transactions += lane_stats(lane->lane)->transactions;
    lane->sim->stats.aborts += lane_stats(lane->lane)->aborts;
    lane->sim->stats.unclear += lane_stats(lane->lane)->unclear;
    lane_free(&lane->lane);
    lane_effects_fini(&lane->effects);
    shards_free(&lane->shards);
    routes_free(&lane->routes);
    sim_link_free(lane);
}

void sim_worker_kill(struct sim *sim, int worker)
{
    struct sim_life *life = sim->workers[worker].life;
    if (life == NULL || life->dead)
        return;
    life->dead = true;
    sim->stats.kills++;
    for (int i = 0; i < sim_lanes(sim); i++)
        free_lane(life->lanes[i]);
    sim_at(sim, sim->now_us + sim_between(sim, 10000, sim->swarm.restart_us),
           (struct sim_event){.type = EVENT_RESTART, .worker = -1, .a = (int16_t)worker});
}
