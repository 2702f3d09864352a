// SPDX-License-Identifier: Apache-2.0
// The committer's thread (src/engine/committer.c): one job at a time, in order. Left behind when a
// call hangs: then it ends by itself, frees the producers it holds, and its answers are dropped.
#include "sim.h"

#include "core/assert.h"

#include <string.h>

enum { ASK_US = 2000000 };

struct sim_committer *sim_committer_new(struct sim_lane *lane)
{
    struct sim_committer *committer = arena_zalloc(&lane->sim->arena, sizeof *committer);
    committer->sim = lane->sim;
    committer->lane = lane;
    return committer;
}

static void question(struct sim_committer *committer)
{
    struct sim *sim = committer->sim;
    const struct sim_work *work = committer->current;
    bool token = work->job == JOB_TOKEN;
    struct sim_req *req = sim_req(sim, token ? REQ_OFFSETS : REQ_WATERMARK, OWNER_COMMITTER,
                                  committer, committer->call, committer->lane->life->worker);
    req->group = committer->lane->index;
    req->stable = token;
    req->log = work->partition;
    if (!token)
        req->log = sim_log_of(sim, sim_lane_topic(committer->lane), work->partition);
    sim_send(sim, &committer->conns, req);
}

static void start(struct sim_committer *committer)
{
    struct sim *sim = committer->sim;
    struct sim_work *work = committer->head;
    if (work == NULL || committer->current != NULL)
        return;
    committer->head = work->next;
    if (committer->head == NULL)
        committer->tail = NULL;
    committer->current = work;
    switch (work->job) {
    case JOB_RESET:
        if (work->handle != NULL)
            work->handle->dead = true;
        work->handle = sim_producer_new(committer, work->producer);
        sim_producer_job(work->handle, JOB_RESET, NULL);
        return;
    case JOB_FLUSH:
    case JOB_COMMIT:
    case JOB_ABORT:
        work->handle->committer = committer; // its maker may have been left behind
        sim_producer_job(work->handle, work->job, work->commit);
        return;
    case JOB_TOKEN:
    case JOB_SAMPLE:
        committer->call++;
        question(committer);
        sim_at(sim, sim->now_us + ASK_US,
               (struct sim_event){.type = EVENT_WORK,
                                  .worker = (int8_t)committer->lane->life->worker,
                                  .call = committer->call,
                                  .ptr = committer});
        return;
    case JOB_NONE:
        break;
    }
    KA_ASSERT(false);
}

void sim_committer_queue(struct sim_committer *committer, struct sim_work work)
{
    struct sim_work *kept = arena_alloc(&committer->sim->arena, sizeof *kept);
    *kept = work;
    kept->next = NULL;
    if (committer->tail == NULL)
        committer->head = kept;
    else
        committer->tail->next = kept;
    committer->tail = kept;
    start(committer);
}

void sim_committer_done(struct sim_committer *committer, const struct sim_mail *mail)
{
    struct sim_work *work = committer->current;
    committer->current = NULL;
    if (committer->abandoned) {
        if (work->handle != NULL)
            work->handle->dead = true;
    } else {
        sim_lane_mail(committer->lane, mail);
    }
    start(committer);
}

static void end_question(struct sim_committer *committer, enum ka_err err,
                         const struct sim_req *req)
{
    const struct sim_work *work = committer->current;
    bool token = work->job == JOB_TOKEN;
    struct sim_mail mail = {.type = token ? LANE_EVENT_TOKEN : LANE_EVENT_END_SAMPLED,
                            .error = err,
                            .slot = work->slot,
                            .epoch = work->epoch};
    if (err == KA_OK && token) {
        mail.offset = req->entry->offset;
        mail.meta_len = req->entry->meta_len;
        memcpy(mail.meta, req->entry->meta, mail.meta_len);
    } else if (err == KA_OK) {
        mail.offset = req->value2;
    }
    committer->call++;
    sim_committer_done(committer, &mail);
}

void sim_committer_answer(struct sim_committer *committer, struct sim_req *req)
{
    if (committer->lane->life->dead || committer->current == NULL || req->call != committer->call)
        return;
    if (req->code == CODE_TRANSPORT || (req->code == CODE_RETRY && sim_draw(committer->sim, 2)))
        question(committer); // librdkafka asks again until the timeout
    else
        end_question(committer,
                     req->code == CODE_OK        ? KA_OK
                     : req->code == CODE_MISSING ? KA_ERR_NOT_FOUND
                                                 : KA_ERR_RETRY,
                     req);
}

void sim_committer_timeout(struct sim_committer *committer, uint32_t call)
{
    if (!committer->lane->life->dead && committer->current != NULL && call == committer->call)
        end_question(committer, KA_ERR_TIMEOUT, NULL);
}
