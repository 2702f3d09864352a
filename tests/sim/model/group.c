// SPDX-License-Identifier: Apache-2.0
// The group coordinator: members, generations, cooperative rounds, and offsets. As in Kafka, an
// offset commit is checked by member and generation only, not by who owns the partition, and one
// with generation -1 and no member is not checked at all. Offsets of a transaction are pending
// until its marker; of two that were committed the one that was appended later counts.
#include "sim.h"

#include "core/assert.h"

#include <string.h>

enum { ROUND_US = 15000000 }; // max.poll.interval: who has not joined by then is out

struct sim_member *sim_member(struct sim *sim, int group, int id)
{
    for (int i = 0; id != 0 && i < MEMBERS_MAX; i++)
        if (sim->groups[group].members[i].id == id)
            return &sim->groups[group].members[i];
    return NULL;
}

static int count_members(const struct sim_group *group)
{
    int count = 0;
    for (int i = 0; i < MEMBERS_MAX; i++)
        count += group->members[i].id != 0;
    return count;
}

static void timer(struct sim *sim, int index, int64_t at_us)
{
    sim_at(sim, at_us, (struct sim_event){.type = EVENT_GROUP, .worker = -1, .a = (int16_t)index});
}

// ---- Rounds

// A partition that changes hands is given to nobody until its owner has said that it let go.
static void assign(struct sim_group *group)
{
    int order[MEMBERS_MAX];
    int count = 0;
    for (int i = 0; i < MEMBERS_MAX; i++) {
        int at = (i + group->shuffle) % MEMBERS_MAX;
        if (group->members[at].id != 0)
            order[count++] = at;
    }
    int quota = group->partitions / count;
    int extra = group->partitions % count;
    int held[MEMBERS_MAX] = {0};
    uint64_t free_set = 0;
    uint64_t taken = 0;
    for (int i = 0; i < count; i++)
        group->members[order[i]].assigned = 0;
    for (int i = 0; i < count; i++) {
        struct sim_member *member = &group->members[order[i]];
        for (int p = 0; p < group->partitions; p++) {
            if ((member->owned >> p & 1) == 0 || (taken >> p & 1) != 0)
                continue;
            taken |= UINT64_C(1) << p;
            bool keeps = held[i] < quota || (held[i] == quota && extra > 0);
            if (!keeps)
                continue;
            extra -= held[i] == quota;
            held[i]++;
            member->assigned |= UINT64_C(1) << p;
        }
    }
    for (int p = 0; p < group->partitions; p++)
        if ((taken >> p & 1) == 0)
            free_set |= UINT64_C(1) << p;
    for (int p = 0; p < group->partitions; p++) {
        int least = 0;
        for (int i = 1; i < count; i++)
            if (held[i] < held[least])
                least = i;
        if ((free_set >> p & 1) == 0)
            continue;
        group->members[order[least]].assigned |= UINT64_C(1) << p;
        held[least]++;
    }
}

// Everything changes hands: all let go in this round, the next one gives it out anew.
static void assign_nothing(struct sim_group *group)
{
    for (int i = 0; i < MEMBERS_MAX; i++)
        group->members[i].assigned = 0;
}

static void complete(struct sim *sim, int index)
{
    struct sim_group *group = &sim->groups[index];
    group->preparing = false;
    group->generation++;
    for (int i = 0; i < MEMBERS_MAX; i++)
        if (group->members[i].id != 0 && !group->members[i].joined)
            group->members[i] = (struct sim_member){0};
    if (count_members(group) == 0)
        return;
    bool owned = false;
    for (int i = 0; i < MEMBERS_MAX; i++)
        owned |= group->members[i].id != 0 && group->members[i].owned != 0;
    bool move = group->shuffle < 0 && owned;
    if (group->shuffle < 0 && !owned)
        group->shuffle = 0;
    if (move) {
        group->shuffle = 1 + (int)sim_draw(sim, MEMBERS_MAX);
        assign_nothing(group);
    } else {
        assign(group);
    }
    SIM_NOTE(sim, "group %d generation %d: %d members%s", index, group->generation,
             count_members(group), move ? ", everything moves" : "");
    for (int i = 0; i < MEMBERS_MAX; i++) {
        struct sim_member *member = &group->members[i];
        if (member->id == 0)
            continue;
        member->deadline_us = sim->now_us + sim->swarm.session_ms * 1000;
        timer(sim, index, member->deadline_us);
        struct sim_req *req = member->parked;
        member->parked = NULL;
        member->joined = false;
        if (req == NULL)
            continue;
        SIM_NOTE(sim, "group %d: member %d of lane %d has %llx, gets %llx", index, member->id,
                 member->client, (unsigned long long)member->owned,
                 (unsigned long long)member->assigned);
        req->value = member->id;
        req->value2 = group->generation;
        sim_reply(sim, req, CODE_OK);
    }
    memcpy(group->written, group->members, sizeof group->written);
}

static bool all_joined(const struct sim_group *group)
{
    for (int i = 0; i < MEMBERS_MAX; i++)
        if (group->members[i].id != 0 && !group->members[i].joined)
            return false;
    return true;
}

void sim_group_rebalance(struct sim *sim, int index, bool shuffle)
{
    struct sim_group *group = &sim->groups[index];
    if (shuffle && group->shuffle >= 0)
        group->shuffle = -1;
    if (group->preparing || count_members(group) == 0)
        return;
    group->preparing = true;
    group->round_until_us = sim->now_us + ROUND_US;
    timer(sim, index, group->round_until_us);
}

static void leave(struct sim *sim, int index, struct sim_member *member)
{
    SIM_NOTE(sim, "group %d: member of lane %d is out", index, member->client);
    if (member->parked != NULL)
        sim_reply(sim, member->parked, CODE_UNKNOWN_MEMBER);
    *member = (struct sim_member){0};
    sim_group_rebalance(sim, index, false);
}

void sim_group_timer(struct sim *sim, int index)
{
    struct sim_group *group = &sim->groups[index];
    for (int i = 0; i < MEMBERS_MAX; i++) {
        struct sim_member *member = &group->members[i];
        if (member->id != 0 && member->parked == NULL && member->deadline_us <= sim->now_us)
            leave(sim, index, member);
    }
    if (group->preparing && (all_joined(group) || group->round_until_us <= sim->now_us))
        complete(sim, index);
}

// The new coordinator has read what the old one wrote: the last complete generation with its
// members. A round that was under way is forgotten: who came for it is unknown now, who was put out
// is a member again, and sessions begin anew.
void sim_group_moved(struct sim *sim, int index)
{
    struct sim_group *group = &sim->groups[index];
    int64_t loaded_us = sim->coordinators[PIDS + index].loaded_at_us;
    group->preparing = false;
    for (int i = 0; i < MEMBERS_MAX; i++) {
        struct sim_req *parked = group->members[i].parked;
        if (parked == NULL)
            continue;
        sim_felt(sim, FAULT_COORDINATOR_MOVED);
        sim_reply(sim, parked, CODE_RETRY);
    }
    memcpy(group->members, group->written, sizeof group->members);
    for (int i = 0; i < MEMBERS_MAX; i++) {
        struct sim_member *member = &group->members[i];
        if (member->id == 0)
            continue;
        member->deadline_us = loaded_us + sim->swarm.session_ms * 1000;
        timer(sim, index, member->deadline_us);
    }
}

static void on_join(struct sim *sim, struct sim_req *req)
{
    struct sim_group *group = &sim->groups[req->group];
    struct sim_member *member = sim_member(sim, req->group, req->member);
    SIM_NOTE(sim, "group %d: lane %d joins as member %d with %llx%s", req->group, req->client,
             req->member, (unsigned long long)req->owned, req->mute ? ", nobody waits" : "");
    if (req->member != 0 && member == NULL) {
        sim_reply(sim, req, CODE_UNKNOWN_MEMBER);
        return;
    }
    for (int i = 0; member == NULL && i < MEMBERS_MAX; i++)
        if (group->members[i].id == 0)
            member = &group->members[i];
    if (member == NULL) {
        sim_reply(sim, req, CODE_RETRY);
        return;
    }
    if (member->id == 0)
        *member = (struct sim_member){.id = ++group->last_member, .client = req->client};
    if (member->parked != NULL) {
        struct sim_req *old = member->parked;
        member->parked = NULL;
        sim_reply(sim, old, CODE_REBALANCE);
    }
    sim_group_rebalance(sim, req->group, false);
    member->joined = true;
    member->owned = req->owned;
    member->deadline_us = sim->now_us + sim->swarm.session_ms * 1000;
    if (req->mute) { // nobody hears the answer: it stays a member until its session ends
        timer(sim, req->group, member->deadline_us);
        sim_release(sim, req);
    } else {
        member->parked = req;
    }
    if (all_joined(group)) // in its own event: others may be joining at this moment
        timer(sim, req->group, sim->now_us + 3000);
}

static void on_heartbeat(struct sim *sim, struct sim_req *req)
{
    struct sim_group *group = &sim->groups[req->group];
    struct sim_member *member = sim_member(sim, req->group, req->member);
    if (member == NULL) {
        sim_reply(sim, req, CODE_UNKNOWN_MEMBER);
        return;
    }
    if (req->generation != group->generation) {
        sim_reply(sim, req, CODE_ILLEGAL_GENERATION);
        return;
    }
    member->deadline_us = sim->now_us + sim->swarm.session_ms * 1000;
    timer(sim, req->group, member->deadline_us);
    sim_reply(sim, req, group->preparing ? CODE_REBALANCE : CODE_OK);
}

static void on_sync(struct sim *sim, struct sim_req *req)
{
    struct sim_group *group = &sim->groups[req->group];
    struct sim_member *member = sim_member(sim, req->group, req->member);
    enum sim_code code = CODE_OK;
    if (member == NULL)
        code = CODE_UNKNOWN_MEMBER;
    else if (req->generation != group->generation)
        code = CODE_ILLEGAL_GENERATION;
    else if (group->preparing)
        code = CODE_REBALANCE;
    else
        req->owned = member->assigned;
    sim_reply(sim, req, code);
}

// ---- Offsets

static void on_txn_offsets(struct sim *sim, struct sim_req *req)
{
    struct sim_group *group = &sim->groups[req->group];
    enum sim_code code = CODE_OK;
    bool unchecked = req->generation < 0 && req->member == 0;
    if (unchecked)
        sim_fail(sim, "pid %d sends offsets that nobody checks", req->pid);
    struct sim_member *member = sim_member(sim, req->group, req->member);
    if (!sim_in_transaction(sim, req->pid, req->epoch, OFFSETS_LOG, &code)) {
        sim_reply(sim, req, code);
        return;
    }
    if (!unchecked && member == NULL)
        code = CODE_UNKNOWN_MEMBER;
    else if (!unchecked && req->generation != group->generation)
        code = CODE_ILLEGAL_GENERATION;
    if (code != CODE_OK) {
        sim_reply(sim, req, code);
        return;
    }
    for (int i = 0; i < req->offset_count; i++) {
        const struct sim_offset *offset = &req->offsets[i];
        struct sim_pending *pending = &group->pending[req->pid][offset->partition];
        pending->used = true;
        pending->value.offset = offset->offset;
        pending->value.append = ++group->appends;
        pending->value.txn = req->txn;
        pending->value.meta_len = offset->meta.len;
        KA_ASSERT(offset->meta.len <= sizeof pending->value.meta);
        memcpy(pending->value.meta, offset->meta.ptr, offset->meta.len);
    }
    req->value = sim->now_us; // when the group said that this is a member
    sim_reply(sim, req, CODE_OK);
}

void sim_group_decided(struct sim *sim, int index, int pid)
{
    for (int p = 0; p < sim->groups[index].partitions; p++) {
        struct sim_pending *pending = &sim->groups[index].pending[pid][p];
        if (pending->used)
            sim_check_decided(sim, index, p, pending->value.txn);
    }
}

void sim_group_settle(struct sim *sim, int index, int pid, bool commit)
{
    struct sim_group *group = &sim->groups[index];
    for (int p = 0; p < group->partitions; p++) {
        struct sim_pending *pending = &group->pending[pid][p];
        if (!pending->used)
            continue;
        pending->used = false;
        if (!commit || pending->value.append <= group->committed[p].append)
            continue;
        sim_check_offset(sim, index, p, &group->committed[p], &pending->value);
        group->committed[p] = pending->value;
    }
}

static void on_offsets(struct sim *sim, struct sim_req *req)
{
    struct sim_group *group = &sim->groups[req->group];
    for (int pid = 0; req->stable && pid < PIDS; pid++) {
        if (!group->pending[pid][req->log].used)
            continue;
        sim_reply(sim, req, CODE_UNSTABLE);
        return;
    }
    struct sim_committed *copy = arena_alloc(&sim->arena, sizeof *copy);
    *copy = group->committed[req->log];
    req->entry = copy;
    sim_reply(sim, req, CODE_OK);
}

static void on_describe(struct sim *sim, struct sim_req *req)
{
    for (int i = 0; i < MEMBERS_MAX; i++)
        if (sim->groups[req->group].members[i].id != 0)
            req->clients |= UINT64_C(1) << sim->groups[req->group].members[i].client;
    sim_reply(sim, req, CODE_OK);
}

void sim_on_group(struct sim *sim, struct sim_req *req)
{
    switch (req->type) {
    case REQ_JOIN:
        on_join(sim, req);
        return;
    case REQ_SYNC:
        on_sync(sim, req);
        return;
    case REQ_HEARTBEAT:
        on_heartbeat(sim, req);
        return;
    case REQ_TXN_OFFSETS:
        on_txn_offsets(sim, req);
        return;
    case REQ_OFFSETS:
        on_offsets(sim, req);
        return;
    case REQ_DESCRIBE:
        on_describe(sim, req);
        return;
    case REQ_INIT:
    case REQ_ADD_PARTITIONS:
    case REQ_ADD_OFFSETS:
    case REQ_END_TXN:
    case REQ_PRODUCE:
    case REQ_WATERMARK:
    case REQ_TYPES:
        break;
    }
    KA_ASSERT(false);
}
