// SPDX-License-Identifier: Apache-2.0
// What must hold of links. When the target's coordinator commits a transaction, its copies are
// exactly what its progress records say that they are: the committed records that were born in the
// source between the last progress and this one, as they were, each once, none of them aborted.
// A read_committed reader of the target sees them in order. At the end nothing is missing.
#include "links.h"

#include "core/assert.h"
#include "core/hash.h"
#include "core/link_form.h"

#include <stdio.h>
#include <string.h>

enum { COPIES_MAX = 20000 };

// The copies in the transaction that is looked at.
struct copies {
    int ids[COPIES_MAX];
    int count;
    bool covered[LINK_LOGS];
};

static struct sim *source_of(const struct sim *sim)
{
    return sim->world->clusters[sim_source_of(sim)];
}

static const struct sim_record *born_record(const struct sim *at, const struct sim_born *born)
{
    const struct sim_source *source = &at->links->sources[born->cluster][born->log];
    bool old = source->life > born->life;
    if (born->offset >= (old ? source->old_count : at->logs[born->log].count))
        return NULL;
    return old ? &source->old[born->offset] : &at->logs[born->log].records[born->offset];
}

static bool same_slice(struct slice a, struct slice b)
{
    return slice_none(a) == slice_none(b) && slice_eq(a, b);
}

// Key, value, headers and time are kept, and one header is added that says where it is from.
static bool is_copy(const struct sim *at, const struct sim_record *copy,
                    const struct sim_record *from, const struct sim_born *born)
{
    struct origin origin;
    struct err_text text;
    char cluster[16];
    bool same = same_slice(copy->key, from->key) && same_slice(copy->value, from->value) &&
                copy->timestamp_ms == from->timestamp_ms &&
                copy->header_count == from->header_count + 1;
    for (size_t i = 0; same && i < from->header_count; i++)
        same = same_slice(copy->headers[i].name, from->headers[i].name) &&
               same_slice(copy->headers[i].value, from->headers[i].value);
    snprintf(cluster, sizeof cluster, "cluster-%c", 'A' + born->cluster);
    return same && slice_eq(copy->headers[from->header_count].name, ORIGIN_HEADER) &&
           origin_decode(copy->headers[from->header_count].value, &origin, &text) == KA_OK &&
           slice_eq(origin.cluster, slice_str(cluster)) && origin.offset == born->offset &&
           slice_eq(origin.topic, slice_str(sim_topic_name(at->logs[born->log].topic))) &&
           origin.partition == at->logs[born->log].partition;
}

static void check_copy(struct sim *sim, int log, const struct sim_record *record,
                       struct copies *copies)
{
    struct sim *source = source_of(sim);
    struct sim_links *links = sim->links;
    int id = sim_links_id(record);
    if (id < 0 || id >= links->born_count || copies->count == COPIES_MAX) {
        sim_fail(sim, "a copy of nothing");
        return;
    }
    const struct sim_born *born = &links->born[id];
    const char *topic = sim_topic_name(source->logs[born->log].topic);
    int partition = source->logs[born->log].partition;
    if (born->cluster != source->cluster) {
        sim_fail(sim, "%s/%d offset %lld comes home by a link", topic, partition,
                 (long long)born->offset);
        return;
    }
    const struct sim_record *from = born_record(source, born);
    if (from == NULL || from->fate != FATE_COMMITTED)
        sim_fail(sim, "%s/%d offset %lld is copied and not committed", topic, partition,
                 (long long)born->offset);
    else if (!is_copy(source, record, from, born))
        sim_fail(sim, "%s/%d offset %lld is copied and not as it was", topic, partition,
                 (long long)born->offset);
    else if (log != sim_links_target(links, &source->logs[born->log], from))
        sim_fail(sim, "%s/%d offset %lld is copied to another partition", topic, partition,
                 (long long)born->offset);
    copies->ids[copies->count++] = id;
}

// ---- Progress and copies agree

// How many records of this life, born there in [from, to), are to be copied; -1: more than that.
static int expected(const struct sim *source, int log, int life, int64_t from, int64_t to)
{
    const struct sim_source *of = &source->links->sources[source->cluster][log];
    bool old = of->life > life;
    const struct sim_record *records = old ? of->old : source->logs[log].records;
    int64_t count = old ? of->old_count : source->logs[log].count;
    int found = 0;
    if (to > count)
        return from == to ? 0 : -1;
    for (int64_t at = from; at < to; at++) {
        const struct sim_record *record = &records[at];
        if (record->kind != RECORD_DATA || record->fate == FATE_ABORTED)
            continue;
        int id = sim_links_id(record);
        if (record->fate == FATE_OPEN || (id >= 0 && source->links->born[id].bad))
            return -1;
        found += id >= 0 && source->links->born[id].cluster == source->cluster;
    }
    return found;
}

static int copied(const struct sim *source, const struct copies *copies, int log, int life,
                  int64_t from, int64_t to)
{
    int found = 0;
    for (int i = 0; i < copies->count; i++) {
        const struct sim_born *born = &source->links->born[copies->ids[i]];
        if (born->log != log)
            continue;
        const struct sim_source *of = &source->links->sources[source->cluster][log];
        bool lives = born->life == life || born->offset < of->shared;
        if (!lives || born->offset < from || born->offset >= to)
            return -1;
        found++;
    }
    return found;
}

static bool agrees(const struct sim *source, const struct copies *copies, int log, int life,
                   int64_t from, int64_t to)
{
    int most = expected(source, log, life, from, to);
    return most >= 0 && most == copied(source, copies, log, life, from, to);
}

static void excuse(struct sim_links *links, int cluster, int log, int64_t from, int64_t to)
{
    for (int i = 0; i < links->born_count; i++) {
        struct sim_born *born = &links->born[i];
        bool meant = born->cluster == cluster && born->log == log;
        if (meant && born->offset >= from && born->offset < to)
            born->skipped = true;
    }
}

// No record is known that could be read again: another log that is long enough looks the same
// (docs/links.md).
static bool is_blind(const struct sim_source *of)
{
    return of->last < 0;
}

// An operator's order: what lies between is not copied.
static void obeyed(struct sim *source, struct sim_source *of, int log,
                   const struct link_progress *progress, const struct link_skip *skip)
{
    excuse(source->links, source->cluster, log, skip->from, skip->to);
    of->at_life = of->life;
    of->control = progress->control;
    of->asked = false;
}

// Where the copies of this transaction end: at its progress, or where the operator saw it.
static bool end_of(struct sim *sim, const struct sim_source *of,
                   const struct link_progress *progress, struct link_skip *skip, int64_t *end)
{
    struct buf key = {0};
    *end = progress->next;
    if (progress->control == of->control)
        return true;
    link_key(progress->source, progress->topic, progress->partition, &key);
    int32_t slot = hash_partition(buf_slice(&key), sim->swarm.shards);
    buf_fini(&key);
    const struct sim_log *log = &sim->logs[sim_links_log(TOPIC_LINKS, slot)];
    if (progress->control >= log->count ||
        link_skip_decode(log->records[progress->control].value, skip, NULL) != KA_OK)
        return false;
    *end = skip->from;
    return skip->to == progress->next;
}

static bool is_bad(const struct sim_links *links, const struct sim_record *records, int64_t count,
                   int64_t next)
{
    int64_t at = sim_links_ahead(records, count, next);
    int id = at < count ? sim_links_id(&records[at]) : -1;
    return id >= 0 && links->born[id].bad;
}

static bool may_stop(const struct sim *source, const struct sim_source *of, int log, int64_t next)
{
    const struct sim_log *from = &source->logs[log];
    return of->may_stop || is_bad(source->links, from->records, from->count, next) ||
           (of->old != NULL && is_bad(source->links, of->old, of->old_count, next));
}

static void check_progress(struct sim *sim, const struct sim_record *record, struct copies *copies)
{
    struct sim *source = source_of(sim);
    struct link_progress progress;
    struct link_skip skip = {.from = 0};
    struct err_text text;
    int64_t end = 0;
    if (slice_starts(record->key, LINK_CONTROL_PREFIX))
        return; // the lane has done with an order
    if (link_progress_decode(record->value, &progress, &text) != KA_OK) {
        sim_fail(sim, "progress that cannot be read: %s", text.text);
        return;
    }
    int log = sim_log_named(source, progress.topic, progress.partition);
    struct sim_source *of = &sim->links->sources[source->cluster][log];
    const char *topic = sim_topic_name(source->logs[log].topic);
    copies->covered[log] = true;
    if (!end_of(sim, of, &progress, &skip, &end)) {
        sim_fail(sim, "%s/%d: skipped as nobody has ordered", topic, progress.partition);
        return;
    }
    if (end < of->next) {
        sim_fail(sim, "%s/%d: the progress goes back from %lld to %lld", topic, progress.partition,
                 (long long)of->next, (long long)end);
        return;
    }
    bool begins = !of->known && end >= source->logs[log].start;
    if (begins && !agrees(source, copies, log, of->at_life, of->next, end))
        of->next = source->logs[log].start;                    // what was gone before it was begun
    bool other = of->at_life < of->life && end > of->shared && // else they are the same
                 end <= source->logs[log].count && (of->next <= of->shared || is_blind(of));
    if (other && agrees(source, copies, log, of->life, of->next, end)) {
        if (is_blind(of))
            excuse(source->links, source->cluster, log, 0, of->next);
        of->at_life = of->life;
    } else if (!agrees(source, copies, log, of->at_life, of->next, end)) {
        sim_fail(sim, "%s/%d: from %lld to %lld there are %d records to be copied, not %d", topic,
                 progress.partition, (long long)of->next, (long long)end,
                 expected(source, log, of->at_life, of->next, end),
                 copied(source, copies, log, of->at_life, of->next, end));
        return;
    }
    if (progress.control != of->control)
        obeyed(source, of, log, &progress, &skip);
    of->known = true;
    of->next = progress.next;
    of->last = progress.last_offset;
    bool stopped = progress.stopped.len > 0;
    if (stopped && !of->stopped) {
        SIM_NOTE(sim, "stopped: %.*s", SLICE_FMT(progress.stopped));
        if (!may_stop(source, of, log, progress.next))
            sim_fail(sim, "%s/%d stops at %lld and nothing is wrong: %.*s", topic,
                     progress.partition, (long long)progress.next, SLICE_FMT(progress.stopped));
    }
    of->stopped = stopped;
}

void sim_links_check_decided(struct sim *sim, int pid)
{
    static struct copies copies; // one run at a time in a process
    const struct sim_transaction *txn = &sim->transactions[pid];
    copies.count = 0;
    memset(copies.covered, 0, sizeof copies.covered);
    for (int pass = 0; pass < 2 && !sim->world->failed; pass++)
        for (int index = 0; index < LINK_LOGS; index++) {
            const struct sim_log *log = &sim->logs[index];
            int64_t from = log->producers[pid].open_first;
            if ((txn->logs >> index & 1) == 0 || from < 0)
                continue;
            for (int64_t at = from; at < log->count && !sim->world->failed; at++) {
                const struct sim_record *record = &log->records[at];
                if (record->pid != pid || record->kind != RECORD_DATA || record->fate != FATE_OPEN)
                    continue;
                if (pass == 0 && log->topic != TOPIC_LINKS)
                    check_copy(sim, index, record, &copies);
                else if (pass == 1 && log->topic == TOPIC_LINKS)
                    check_progress(sim, record, &copies);
            }
        }
    for (int i = 0; i < copies.count && !sim->world->failed; i++)
        if (!copies.covered[sim->links->born[copies.ids[i]].log])
            sim_fail(sim, "copies are committed without their progress");
}

// ---- What a read_committed reader of the target sees

static void check_read(struct sim *sim, int index, const struct sim_record *record)
{
    struct sim_links *links = sim->links;
    int id = sim_links_id(record);
    struct sim_born *born = id < 0 ? NULL : &links->born[id];
    if (born == NULL || born->cluster == sim->cluster)
        return; // a user's own
    struct sim_source *source = &links->sources[born->cluster][born->log];
    bool again = born->copies++ > 0;
    sim->stats.copies++;
    if (sim->options.canary && !links->doubled)
        links->doubled = again = true;
    if (again)
        sim_fail(sim, "%s/%d has record %d twice", sim_topic_name(sim->logs[index].topic),
                 sim->logs[index].partition, id);
    bool before =
        born->life < source->last_life[index] ||
        (born->life == source->last_life[index] && born->offset < source->last_offset[index]);
    if (before)
        sim_fail(sim, "%s/%d: record %d comes out of order", sim_topic_name(sim->logs[index].topic),
                 sim->logs[index].partition, id);
    source->last_life[index] = born->life;
    source->last_offset[index] = born->offset;
}

void sim_links_check_log(struct sim *sim, int index)
{
    const struct sim_log *log = &sim->logs[index];
    int64_t *seen = &sim->check.seen[index];
    for (; *seen < log->lso; (*seen)++) {
        const struct sim_record *record = &log->records[*seen];
        if (record->kind != RECORD_DATA)
            continue;
        if (record->fate == FATE_OPEN)
            sim_fail(sim, "%s/%d offset %lld is stable and undecided", sim_topic_name(log->topic),
                     log->partition, (long long)*seen);
        if (record->fate != FATE_COMMITTED)
            continue;
        sim_mix(sim, hash_bytes(record->value, (uint64_t)index));
        if (log->topic != TOPIC_LINKS)
            check_read(sim, index, record);
    }
}

// ---- The end

static bool part_drained(const struct sim *at, int index, char *why, size_t size)
{
    const struct sim_log *log = &at->logs[index];
    const struct sim_source *of = &at->links->sources[at->cluster][index];
    const char *topic = sim_topic_name(log->topic);
    bool lost = of->at_life < of->life && of->next > of->shared && !is_blind(of);
    int64_t last = log->count;
    while (last > of->next) {
        const struct sim_record *record = &log->records[last - 1];
        int id = record->kind == RECORD_DATA && record->fate == FATE_COMMITTED
                     ? sim_links_id(record)
                     : -1;
        if (id >= 0 && at->links->born[id].cluster == at->cluster)
            break;
        last--;
    }
    bool done = !lost && !of->stopped && last <= of->next && log->lso == log->count;
    if (!done)
        snprintf(why, size, "%c %s/%d: next %lld of %lld, stable %lld%s%s", 'A' + at->cluster,
                 topic, log->partition, (long long)of->next, (long long)log->count,
                 (long long)log->lso, of->stopped ? ", stopped" : "",
                 lost ? ", its end is lost" : "");
    return done;
}

bool sim_links_drained(struct sim *world, char *why, size_t size)
{
    for (int c = 0; c < CLUSTERS; c++) {
        const struct sim *at = world->clusters[c];
        snprintf(why, size, "users still write");
        if (world->written < world->swarm.sagas || world->links->deleted_until_us[c] > at->now_us)
            return false;
        for (int index = 0; index < LINK_LOGS; index++) {
            enum sim_topic topic = at->logs[index].topic;
            bool source = topic == TOPIC_USER || topic == TOPIC_OUT;
            snprintf(why, size, "%s/%d is not settled", sim_topic_name(topic),
                     at->logs[index].partition);
            if (source ? !part_drained(at, index, why, size)
                       : at->logs[index].lso < at->logs[index].count)
                return false;
        }
    }
    return true;
}

int64_t sim_links_count(const struct sim *world, bool progress)
{
    int64_t count = 0;
    for (int c = 0; c < CLUSTERS; c++)
        for (int index = 0; index < LINK_LOGS; index++) {
            const struct sim_log *log = &world->clusters[c]->logs[index];
            for (int64_t at = 0; at < log->count; at++) {
                const struct sim_record *record = &log->records[at];
                bool counts = log->topic != TOPIC_LINKS ||
                              (progress && !slice_starts(record->key, LINK_CONTROL_PREFIX));
                count += counts && record->kind == RECORD_DATA && record->fate == FATE_COMMITTED;
            }
        }
    return count;
}

void sim_links_check_end(struct sim *world)
{
    const struct sim_links *links = world->links;
    for (int id = 0; id < links->born_count && !world->failed; id++) {
        const struct sim_born *born = &links->born[id];
        const struct sim *at = world->clusters[born->cluster];
        const struct sim_source *of = &links->sources[born->cluster][born->log];
        const struct sim_record *record = born_record(at, born);
        bool lost = born->skipped || born->bad ||
                    (born->life < of->life && born->offset >= of->shared) ||
                    (born->offset < at->logs[born->log].start && of->may_stop) ||
                    (of->at_life < of->life && is_blind(of) && born->offset < of->next);
        if (record == NULL || record->fate != FATE_COMMITTED || born->copies > 0 || lost)
            continue;
        sim_fail(world, "%s/%d offset %lld was never copied",
                 sim_topic_name(at->logs[born->log].topic), at->logs[born->log].partition,
                 (long long)born->offset);
    }
}
