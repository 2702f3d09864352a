// SPDX-License-Identifier: Apache-2.0
// The restorer's thread (src/engine/restorer.c): who had the partition, fence him if he is dead,
// the stable offset, the end of the state, then the states from the low-water mark up to there.
#include "sim.h"

#include "core/assert.h"
#include "core/meta.h"

#include <stdio.h>
#include <string.h>

enum {
    STAGE_OFFSET,
    STAGE_MEMBERS,
    STAGE_FENCE,
    STAGE_STABLE,
    STAGE_END,
    STAGE_READ,
    ASK_US = 5000000,
    FENCE_US = 10000000,
    STABLE_US = 60000000,
    STABLE_PAUSE_US = 20000,
    READ_PAUSE_US = 20000
};

struct sim_restorer *sim_restorer_new(struct sim_lane *lane)
{
    struct sim_restorer *restorer = arena_zalloc(&lane->sim->arena, sizeof *restorer);
    restorer->sim = lane->sim;
    restorer->lane = lane;
    return restorer;
}

static void wait(struct sim_restorer *restorer, int64_t us)
{
    sim_at(restorer->sim, restorer->sim->now_us + us,
           (struct sim_event){.type = EVENT_RESTORE,
                              .worker = (int8_t)restorer->lane->life->worker,
                              .call = restorer->call,
                              .ptr = restorer});
}

static struct sim_req *request(struct sim_restorer *restorer, enum sim_request type)
{
    struct sim_req *req = sim_req(restorer->sim, type, OWNER_RESTORER, restorer, restorer->call,
                                  restorer->lane->life->worker);
    req->group = restorer->lane->index;
    req->log = restorer->job->partition;
    return req;
}

static enum sim_topic state_topic(const struct sim_restorer *restorer)
{
    return restorer->lane->link != NULL ? TOPIC_LINKS : TOPIC_STATE;
}

static void ask(struct sim_restorer *restorer, enum sim_request type, bool stable)
{
    struct sim_req *req = request(restorer, type);
    req->stable = stable;
    if (type == REQ_WATERMARK) {
        req->log = sim_log_of(restorer->sim, state_topic(restorer), restorer->job->partition);
        req->stable = !SIM_RULE(restorer->sim, RULE_RESTORE_END);
    }
    sim_send(restorer->sim, &restorer->conns, req);
}

static void enter(struct sim_restorer *restorer, int stage, int64_t limit_us)
{
    restorer->stage = stage;
    restorer->call++;
    restorer->until_us = restorer->sim->now_us + limit_us;
    wait(restorer, limit_us);
}

static void next_job(struct sim_restorer *restorer);

static void finish(struct sim_restorer *restorer, enum ka_err err, void *restored, int64_t offset)
{
    const struct sim_restore_job *job = restorer->job;
    struct sim_mail mail = {.type = LANE_EVENT_RESTORED,
                            .error = err,
                            .slot = job->slot,
                            .epoch = job->epoch,
                            .offset = offset,
                            .restored = restored,
                            .meta_len = restorer->entry.meta_len};
    memcpy(mail.meta, restorer->entry.meta, mail.meta_len);
    restorer->job = NULL;
    restorer->call++;
    restorer->sim->stats.restores++;
    sim_lane_mail(restorer->lane, &mail);
    next_job(restorer);
}

// ---- Who had it

static void fence_both(struct sim_restorer *restorer)
{
    enter(restorer, STAGE_FENCE, FENCE_US);
    restorer->fences_left = LANE_PRODUCERS;
    restorer->fence_failed = false;
    for (int i = 0; i < LANE_PRODUCERS; i++) {
        struct sim_req *req = request(restorer, REQ_INIT);
        req->pid = restorer->owner * LANE_PRODUCERS + i;
        sim_send(restorer->sim, &restorer->conns, req);
    }
    restorer->sim->stats.takeovers++;
}

static void ask_offset(struct sim_restorer *restorer)
{
    enter(restorer, STAGE_STABLE, STABLE_US);
    ask(restorer, REQ_OFFSETS, SIM_RULE(restorer->sim, RULE_STABLE));
}

static bool in_order(const struct sim_restorer *restorer)
{
    return restorer->lane->index != 0 || SIM_RULE(restorer->sim, RULE_RESTORE_ORDER);
}

static void ask_stable(struct sim_restorer *restorer)
{
    if (!in_order(restorer)) { // the end first: what commits after is missed
        enter(restorer, STAGE_END, ASK_US);
        ask(restorer, REQ_WATERMARK, false);
        return;
    }
    ask_offset(restorer);
}

static bool was_fenced(const struct sim_restorer *restorer)
{
    for (int i = 0; i < 64; i++)
        if (restorer->fenced[i].owner == restorer->owner + 1 &&
            restorer->fenced[i].incarnation == restorer->owner_incarnation)
            return true;
    return false;
}

static void on_owner(struct sim_restorer *restorer, const struct sim_req *req)
{
    restorer->entry = *req->entry;
    struct meta meta;
    struct err_text text;
    enum ka_err err =
        meta_parse(slice_of(restorer->entry.meta, restorer->entry.meta_len), &meta, &text);
    KA_ASSERT(err == KA_OK);
    restorer->owner = -1;
    if (meta.present)
        restorer->owner = (meta.node.ptr[1] - '0') * LANES + restorer->lane->index;
    restorer->owner_incarnation = meta.incarnation;
    bool ours = restorer->owner == restorer->lane->client;
    if (!meta.present || ours || was_fenced(restorer) || !SIM_RULE(restorer->sim, 10)) {
        ask_stable(restorer);
        return;
    }
    enter(restorer, STAGE_MEMBERS, ASK_US);
    ask(restorer, REQ_DESCRIBE, false);
}

static void on_members(struct sim_restorer *restorer, const struct sim_req *req)
{
    bool member = (req->clients >> restorer->owner & 1) != 0;
    if (member && SIM_RULE(restorer->sim, RULE_NEVER_A_MEMBER)) {
        ask_stable(restorer); // never fence a member
        return;
    }
    if (member)
        sim_fail(restorer->sim, "lane %d fences lane %d, which is a member", restorer->lane->client,
                 restorer->owner);
    fence_both(restorer);
}

static void on_fenced(struct sim_restorer *restorer, const struct sim_req *req)
{
    bool again_soon =
        req->code == CODE_CONCURRENT || req->code == CODE_TRANSPORT || req->code == CODE_RETRY;
    if (again_soon) { // its transaction ends now
        struct sim_req *again = request(restorer, REQ_INIT);
        again->pid = req->pid;
        int node = restorer->sim->coordinators[again->pid].node;
        restorer->conns.arrives_us[node] = restorer->sim->now_us + 5000;
        sim_send(restorer->sim, &restorer->conns, again);
        return;
    }
    restorer->fence_failed |= req->code != CODE_OK;
    if (--restorer->fences_left > 0)
        return;
    if (!restorer->fence_failed) {
        restorer->fenced[restorer->fenced_next % 64].owner = restorer->owner + 1;
        restorer->fenced[restorer->fenced_next++ % 64].incarnation = restorer->owner_incarnation;
    }
    ask_stable(restorer);
}

// ---- State

static void on_end(struct sim_restorer *restorer, const struct sim_req *req)
{
    struct meta meta;
    struct err_text text;
    enum ka_err err =
        meta_parse(slice_of(restorer->entry.meta, restorer->entry.meta_len), &meta, &text);
    KA_ASSERT(err == KA_OK);
    bool lost_end = meta.present && meta.low_water > req->value2;
    bool never_committed = restorer->entry.offset < 0 && !meta.present && req->value2 > 0;
    if (restorer->lane->link == NULL &&
        ((meta.present && meta.low_water < req->value) || lost_end || never_committed)) {
        // Of an earlier assignment nobody minds; else the lane parks, and that is a violation.
        finish(restorer, KA_ERR_DIVERGED, NULL, 0);
        return;
    }
    restorer->end = req->value2;
    restorer->end_us = restorer->sim->now_us;
    if (!in_order(restorer)) {
        ask_offset(restorer);
        return;
    }
    enter(restorer, STAGE_READ, STABLE_US);
    wait(restorer, 1000);
}

// All of the partition (restore_read in src/bridge/link_lane.c).
static void read_progress(struct sim_restorer *restorer, const struct sim_log *log)
{
    struct link_restore *restore = link_restore_new();
    struct err_text text;
    for (int64_t at = log->start; at < restorer->end; at++) {
        const struct sim_record *from = &log->records[at];
        struct record record = {.offset = at, .key = from->key, .value = from->value};
        bool counts = from->kind == RECORD_DATA && from->fate == FATE_COMMITTED;
        if (counts && link_restore_apply(restore, &record, &text) != KA_OK)
            sim_fail(restorer->sim, "slot %d cannot be restored: %s", log->partition, text.text);
    }
    int64_t offset = restorer->entry.offset;
    finish(restorer, KA_OK, restore, offset < 0 ? log->start : offset);
}

static void read_state(struct sim_restorer *restorer)
{
    struct sim *sim = restorer->sim;
    int partition = restorer->job->partition;
    const struct sim_log *log = &sim->logs[sim_log_of(sim, state_topic(restorer), partition)];
    if (log->lso < restorer->end && log->count >= restorer->end) { // an open transaction ends here
        wait(restorer, READ_PAUSE_US);
        return;
    }
    if (restorer->lane->link != NULL) {
        read_progress(restorer, log);
        return;
    }
    struct meta meta;
    struct err_text text;
    enum ka_err err =
        meta_parse(slice_of(restorer->entry.meta, restorer->entry.meta_len), &meta, &text);
    struct shard_config config;
    sim_shard_config(sim, &config, restorer->lane->node);
    struct shard_restore *restore = shard_restore_new(&config.limits);
    int64_t from = meta.present ? meta.low_water : log->start;
    int64_t read = 0;
    for (int64_t at = from; err == KA_OK && at < restorer->end && at < log->count; at++) {
        const struct sim_record *from_log = &log->records[at];
        if (from_log->kind != RECORD_DATA || from_log->fate != FATE_COMMITTED)
            continue;
        struct record record = {.topic = slice_str(sim_topic_name(TOPIC_STATE)),
                                .partition = partition,
                                .offset = at,
                                .timestamp_ms = from_log->at_us / 1000,
                                .key = from_log->key,
                                .value = from_log->value};
        err = shard_restore_apply(restore, &record, &text);
        read++;
    }
    if (err != KA_OK) {
        sim_fail(sim, "shard %d cannot be restored: %s", partition, text.text);
        shard_restore_free(&restore);
        return;
    }
    int64_t now_ms = sim_wall_ms(sim, restorer->lane->life->worker);
    shard_restore_end(restore, restorer->end, now_ms);
    sim_check_restored(sim, partition, restore, restorer->end, now_ms, read);
    // All that a transaction writes is acknowledged before its offsets are sent, and they are
    // fenced by the generation: in this model nobody is harmed by the wrong order. So look at the
    // order.
    if (restorer->end_us < restorer->stable_us)
        sim_fail(sim, "shard %d: its end was asked for before its offset was stable", partition);
    int64_t offset = restorer->entry.offset;
    if (offset < 0 && shard_restore_live(restore) > 0) {
        shard_restore_free(&restore);
        finish(restorer, KA_ERR_DIVERGED, NULL, 0);
        return;
    }
    finish(restorer, KA_OK, restore, offset < 0 ? 0 : offset);
}

static void on_stable(struct sim_restorer *restorer, const struct sim_req *req)
{
    if (req->code == CODE_UNSTABLE) {
        wait(restorer, STABLE_PAUSE_US);
        return;
    }
    restorer->entry = *req->entry;
    restorer->stable_us = restorer->sim->now_us;
    if (restorer->lane->index != 0) {
        finish(restorer, KA_OK, NULL, restorer->entry.offset < 0 ? 0 : restorer->entry.offset);
        return;
    }
    if (!in_order(restorer)) {
        enter(restorer, STAGE_READ, STABLE_US);
        wait(restorer, 1000);
        return;
    }
    enter(restorer, STAGE_END, ASK_US);
    ask(restorer, REQ_WATERMARK, false);
}

// ---- The job

static void next_job(struct sim_restorer *restorer)
{
    if (restorer->job != NULL || restorer->head == NULL)
        return;
    restorer->job = restorer->head;
    restorer->head = restorer->job->next;
    if (restorer->head == NULL)
        restorer->tail = NULL;
    enter(restorer, STAGE_OFFSET, ASK_US);
    ask(restorer, REQ_OFFSETS, false);
}

void sim_restorer_queue(struct sim_restorer *restorer, int32_t slot, int32_t epoch, int partition)
{
    struct sim_restore_job *job = arena_alloc(&restorer->sim->arena, sizeof *job);
    *job = (struct sim_restore_job){slot, epoch, partition, NULL};
    if (restorer->tail == NULL)
        restorer->head = job;
    else
        restorer->tail->next = job;
    restorer->tail = job;
    next_job(restorer);
}

static void repeat(struct sim_restorer *restorer)
{
    if (restorer->stage == STAGE_MEMBERS)
        ask(restorer, REQ_DESCRIBE, false);
    else if (restorer->stage == STAGE_END)
        ask(restorer, REQ_WATERMARK, false);
    else
        ask(restorer, REQ_OFFSETS,
            restorer->stage == STAGE_STABLE && SIM_RULE(restorer->sim, RULE_STABLE));
}

void sim_restorer_answer(struct sim_restorer *restorer, struct sim_req *req)
{
    if (restorer->lane->life->dead || restorer->job == NULL || req->call != restorer->call)
        return;
    bool lost = req->code == CODE_TRANSPORT || req->code == CODE_RETRY;
    if (lost && restorer->stage != STAGE_FENCE) {
        repeat(restorer);
        return;
    }
    if (req->code == CODE_MISSING) {
        finish(restorer, KA_ERR_NOT_FOUND, NULL, 0);
        return;
    }
    if (restorer->stage == STAGE_OFFSET)
        on_owner(restorer, req);
    else if (restorer->stage == STAGE_MEMBERS)
        on_members(restorer, req);
    else if (restorer->stage == STAGE_FENCE)
        on_fenced(restorer, req);
    else if (restorer->stage == STAGE_STABLE)
        on_stable(restorer, req);
    else if (restorer->stage == STAGE_END)
        on_end(restorer, req);
}

// A pause is over, or the time for this stage.
void sim_restorer_go_on(struct sim_restorer *restorer, uint32_t call)
{
    if (restorer->lane->life->dead || restorer->job == NULL || call != restorer->call)
        return;
    bool late = restorer->sim->now_us >= restorer->until_us;
    if (late && (restorer->stage == STAGE_MEMBERS || restorer->stage == STAGE_FENCE))
        ask_stable(restorer); // not known, not fenced: then it takes as long as it takes
    else if (late)
        finish(restorer, KA_ERR_TIMEOUT, NULL, 0);
    else if (restorer->stage == STAGE_STABLE)
        ask(restorer, REQ_OFFSETS, true);
    else if (restorer->stage == STAGE_READ)
        read_state(restorer);
}
