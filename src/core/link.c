// SPDX-License-Identifier: Apache-2.0
// What a link does with records, and what it remembers of them.
//
//              begun, adopted                     the source agrees
//   (none) ───────────────────────▶ WAITING ─────────────────────────▶ READING
//                                    ▲ ▲  │                             │   │
//                                    │ └──┼── suspicion, no target ─────┘   │
//                                    │    │ the source does not agree       │ cannot be copied
//                            skipped │    ▼                                 │
//                                    └─ STOPPED ◀───────────────────────────┘
//
// What makes it hard:
//  1. Kafka's transactions end at a cluster: offsets of the source cannot be committed there with
//     records here. So the progress is a record here, in the transaction of the copies, and the
//     source is read from it, never from a group.
//  2. Two lanes must not both copy a partition. Who may is decided by the slot's ownership in a
//     group of this cluster, and the slot's offset is in every transaction: a lane that lost the
//     slot cannot commit (rules 6, 10 of docs/lane.md).
//  3. Records that were read before a skip or a new comparison are still on their way to the lane:
//     each carries the serial of its part. Whoever reads on begins at settled.next: what the open
//     transaction has already is passed by, and is not missing when it is aborted.
#include "core/link.h"

#include "core/assert.h"
#include "core/hash.h"
#include "core/origin.h"
#include "core/rule.h"

#include <stdio.h>
#include <stdlib.h>

enum { RECORD_OVERHEAD = 128 }; // of a record and its batch, beside key, value and headers

struct link_slot {
    struct link_part **parts;
    size_t count;
    size_t cap;
    size_t last;  // of the last lookup
    bool working; // the open transaction has something of it
    bool fresh;   // had no parts when it was adopted
    struct link_restore *restored;
};

struct links {
    struct link_config config;
    struct link_stats stats;
    int64_t serial;
    int64_t changes;
};

static const char *const state_names[] = {"waiting", "reading", "stopped"};

const char *link_state_name(enum link_state state)
{
    KA_ASSERT((size_t)state < sizeof state_names / sizeof state_names[0]);
    return state_names[state];
}

struct links *links_new(const struct link_config *config)
{
    struct links *links = calloc(1, sizeof *links);
    if (links == NULL)
        abort();
    KA_ASSERT(config->slots > 0);
    links->config = *config;
    return links;
}

void links_free(struct links **links)
{
    free(*links);
    *links = NULL;
}

int64_t links_changes(const struct links *links)
{
    return links->changes;
}

const struct link_stats *links_stats(const struct links *links)
{
    return &links->stats;
}

// ---- Parts

static void keep_text(char *to, size_t size, struct slice from)
{
    size_t len = from.len < size - 1 ? from.len : size - 1;
    if (len > 0)
        memcpy(to, from.ptr, len);
    to[len] = '\0';
}

size_t link_part_count(const struct lane_partition *slot)
{
    const struct link_slot *parts = slot->owner;
    return parts == NULL ? 0 : parts->count;
}

struct link_part *link_part_at(const struct lane_partition *slot, size_t index)
{
    const struct link_slot *parts = slot->owner;
    KA_ASSERT(index < parts->count);
    return parts->parts[index];
}

static bool is_part(const struct link_part *part, struct slice topic, int32_t partition)
{
    return part->partition == partition && slice_eq(slice_str(part->topic), topic);
}

struct link_part *link_part_find(const struct lane_partition *slot, struct slice topic,
                                 int32_t partition)
{
    struct link_slot *parts = slot->owner;
    if (parts == NULL)
        return NULL;
    if (parts->last < parts->count && is_part(parts->parts[parts->last], topic, partition))
        return parts->parts[parts->last];
    for (size_t i = 0; i < parts->count; i++) {
        if (!is_part(parts->parts[i], topic, partition))
            continue;
        parts->last = i;
        return parts->parts[i];
    }
    return NULL;
}

int32_t link_slot_of(const struct links *links, struct slice topic, int32_t partition)
{
    struct buf key = {0};
    link_key(links->config.source, topic, partition, &key);
    int32_t slot = hash_partition(buf_slice(&key), links->config.slots);
    buf_fini(&key);
    return slot;
}

static struct link_part *add_part(struct links *links, struct link_slot *slot, struct slice topic,
                                  int32_t partition)
{
    if (slot->count == slot->cap) {
        slot->cap = slot->cap == 0 ? 8 : slot->cap * 2;
        slot->parts = realloc(slot->parts, slot->cap * sizeof(struct link_part *));
        if (slot->parts == NULL)
            abort();
    }
    struct link_part *part = calloc(1, sizeof *part);
    if (part == NULL)
        abort();
    KA_ASSERT(topic.len < sizeof part->topic);
    memcpy(part->topic, topic.ptr, topic.len);
    part->partition = partition;
    part->serial = ++links->serial;
    part->now = (struct link_mark){.last_offset = -1, .control = -1};
    slot->parts[slot->count++] = part;
    links->changes++;
    return part;
}

struct link_part *link_part_begin(struct links *links, struct lane_partition *slot,
                                  struct slice topic, int32_t partition, int64_t next)
{
    KA_ASSERT(link_part_find(slot, topic, partition) == NULL && next >= 0);
    struct link_part *part = add_part(links, slot->owner, topic, partition);
    part->now.next = next;
    part->now.state = LINK_READING;
    part->settled = part->now;
    part->changes++; // from now on it is known where it began
    return part;
}

void link_part_aim(struct link_part *part, struct slice target, bool inbox)
{
    keep_text(part->target, sizeof part->target, target);
    part->inbox = inbox;
    if (target.len > 0)
        part->wants_target = false;
}

void link_part_limit(struct link_part *part, size_t record_max)
{
    part->record_max = record_max;
}

void link_part_read(struct link_part *part)
{
    KA_ASSERT(part->now.state == LINK_WAITING && !part->skipping);
    part->now.state = LINK_READING;
    part->now.why[0] = '\0';
    part->settled.state = LINK_READING;
    part->settled.why[0] = '\0';
}

// What was read and is not yet in a transaction does not count any more: it is read again.
static void renew(struct links *links, struct link_part *part)
{
    part->serial = ++links->serial;
    links->changes++;
}

static void set_state(struct links *links, struct link_part *part, enum link_state state,
                      const char *why)
{
    struct slice text = slice_str(why);
    part->now.state = state;
    part->settled.state = state;
    keep_text(part->now.why, sizeof part->now.why, text);
    keep_text(part->settled.why, sizeof part->settled.why, text);
    renew(links, part);
}

void link_part_wait(struct links *links, struct link_part *part, const char *why)
{
    if (part->now.state == LINK_READING)
        set_state(links, part, LINK_WAITING, why);
    else if (part->now.state == LINK_WAITING)
        keep_text(part->now.why, sizeof part->now.why, slice_str(why));
}

void link_part_stop(struct links *links, struct link_part *part, const char *why)
{
    if (part->now.state == LINK_STOPPED)
        return;
    set_state(links, part, LINK_STOPPED, why);
    part->changes++;
}

// ---- Records of the source

static size_t headers_size(const struct record *record)
{
    size_t size = 0;
    for (size_t i = 0; i < record->header_count; i++)
        size += record->headers[i].name.len + record->headers[i].value.len + 10;
    return size;
}

// In the transaction: an abort takes it back, and the record that led to it comes again.
static void stop_at(struct link_part *part, const struct record *record, const char *why)
{
    part->now.state = LINK_STOPPED;
    snprintf(part->now.why, sizeof part->now.why, "offset %lld: %s", (long long)record->offset,
             why);
    part->changes++;
}

static struct header origin_header(const struct links *links, const struct record *record,
                                   struct lane_batch *batch)
{
    struct origin origin = {.cluster = links->config.cluster,
                            .topic = record->topic,
                            .partition = record->partition,
                            .offset = record->offset};
    size_t from = batch->scratch.len;
    origin_encode(&origin, &batch->scratch);
    struct slice value = buf_take(&batch->scratch, from, &batch->arena);
    batch->scratch.len = from;
    return (struct header){ORIGIN_HEADER, value};
}

static void put_out(struct links *links, const struct link_part *part, const struct record *record,
                    struct lane_batch *batch)
{
    struct header *headers =
        arena_alloc(&batch->arena, (record->header_count + 1) * sizeof *headers);
    if (record->header_count > 0)
        memcpy(headers, record->headers, record->header_count * sizeof *headers);
    headers[record->header_count] = origin_header(links, record, batch);
    struct output output = {
        .topic = slice_str(part->target),
        .partition =
            part->inbox ? hash_partition(record->key, links->config.shards) : record->partition,
        .key = record->key,
        .value = record->value,
        .headers = headers,
        .header_count = record->header_count + 1,
        .timestamp_ms = record->timestamp_ms > 0 ? record->timestamp_ms : 0,
    };
    lane_batch_output(batch, &output, LANE_NO_TAG);
    links->stats.copied++;
    links->stats.bytes += (int64_t)(record->key.len + record->value.len);
}

static bool is_too_large(const struct links *links, const struct link_part *part, size_t size,
                         struct err_text *text)
{
    if (size > links->config.record_max)
        snprintf(text->text, sizeof text->text,
                 "the record has about %zu bytes, record_max here is %zu", size,
                 links->config.record_max);
    else if (part->record_max > 0 && size > part->record_max && KA_RULE(RULE_LINK_LIMIT))
        snprintf(text->text, sizeof text->text,
                 "the record has about %zu bytes, max.message.bytes of %s is %zu", size,
                 part->target, part->record_max);
    else
        return false;
    return true;
}

// Decides about one record. False: it was not taken, the part does not go on.
static bool take(struct links *links, struct link_part *part, const struct record *record,
                 struct lane_batch *batch)
{
    size_t size = record->key.len + record->value.len + headers_size(record) + RECORD_OVERHEAD +
                  ORIGIN_TOPIC_MAX + 2 * ORIGIN_CLUSTER_MAX;
    struct err_text text = {""};
    struct slice mark = origin_of(record);
    if (!slice_none(mark) && KA_RULE(RULE_LINK_ORIGIN)) {
        struct origin origin;
        if (origin_decode(mark, &origin, &text) != KA_OK) {
            stop_at(part, record, text.text);
            return false;
        }
        part->now.dropped++; // it was not born there: the link from where it was brings it
        links->stats.dropped++;
        return true;
    }
    if (part->target[0] == '\0') {
        part->wants_target = true;
        part->now.state = LINK_WAITING;
        return false;
    }
    if (part->inbox && slice_none(record->key)) {
        stop_at(part, record, "a command without a key");
        return false;
    }
    if (is_too_large(links, part, size, &text)) {
        stop_at(part, record, text.text);
        return false;
    }
    put_out(links, part, record, batch);
    part->now.copied++;
    part->now.bytes += (int64_t)(record->key.len + record->value.len);
    return true;
}

static enum ka_err on_result(void *context, struct lane_partition *partition,
                             const struct lane_result *result, struct lane_batch *batch,
                             struct err_text *text)
{
    struct links *links = context;
    const struct link_input *input = (const struct link_input *)(const void *)result;
    struct link_part *part = input->part;
    struct link_slot *slot = partition->owner;
    const struct record *record = &input->record;
    (void)text;
    bool current = input->serial == part->serial || !KA_RULE(RULE_LINK_SERIAL);
    bool counts = current && part->now.state == LINK_READING && !part->skipping &&
                  record->offset >= part->now.next;
    if (!counts)
        return KA_OK;
    slot->working = true;
    if (input->end) {
        part->now.next = record->offset;
        part->changes++;
        return KA_OK;
    }
    if (!take(links, part, record, batch)) {
        renew(links, part);
        return KA_OK;
    }
    part->now.next = record->offset + 1;
    part->now.last_offset = record->offset;
    part->now.last_time_ms = record->timestamp_ms;
    part->now.last_hash = link_fingerprint(record);
    part->changes++;
    return KA_OK;
}

// ---- Commands of operators: the records of <app>.links that are not progress

static bool passes(void *context, const struct record *record)
{
    (void)context;
    return !slice_starts(record->key, LINK_SKIP_PREFIX) || slice_none(record->value);
}

static void obey(struct link_part *part, const struct link_skip *skip, int64_t offset)
{
    struct link_mark *mark = &part->now;
    if (skip->to > skip->from)
        mark->skipped += skip->to - skip->from;
    mark->next = skip->to;
    mark->last_offset = -1; // nothing there is known yet
    mark->last_hash = 0;
    mark->last_time_ms = 0;
    mark->control = offset;
    mark->state = LINK_WAITING;
    mark->why[0] = '\0';
    keep_text(mark->actor, sizeof mark->actor, skip->actor);
    keep_text(mark->reason, sizeof mark->reason, skip->reason);
    part->skipping = true;
    part->changes++;
}

static enum ka_err on_record(void *context, struct lane_partition *partition,
                             const struct record *record, struct lane_batch *batch,
                             struct err_text *text)
{
    struct links *links = context;
    struct link_slot *slot = partition->owner;
    struct link_skip skip;
    slot->working = true;
    if (passes(context, record))
        return KA_OK;
    enum ka_err err = link_skip_decode(record->value, &skip, text);
    if (err != KA_OK)
        return err;
    if (!slice_eq(skip.source, links->config.source))
        return KA_OK; // the lane of that link obeys it
    struct link_part *part = link_part_find(partition, skip.topic, skip.partition);
    // Once only, and only as it was meant: where the operator saw it standing.
    // Back only from a stop: read again, it may come by the same place, and meet the order again.
    bool meant = part != NULL && part->now.control < record->offset &&
                 part->now.next == skip.from &&
                 (skip.to >= skip.from || part->now.state == LINK_STOPPED);
    if ((meant || (part != NULL && !KA_RULE(RULE_LINK_SKIP))) && !part->skipping)
        obey(part, &skip, record->offset);
    struct output gone = {.topic = links->config.links_topic,
                          .partition = record->partition,
                          .key = arena_copy(&batch->arena, record->key)};
    lane_batch_output(batch, &gone, partition->slot);
    return KA_OK;
}

// What cannot be read was written by nobody that kasaga knows; it stays where it is.
static void on_poison(void *context, struct lane_partition *partition, const struct record *record,
                      enum ka_err error, const struct err_text *text, struct lane_batch *batch)
{
    (void)context, (void)partition, (void)record, (void)error, (void)text, (void)batch;
}

// ---- The transaction

static enum ka_err no_timer(void *context, struct lane_partition *partition,
                            struct lane_batch *batch, struct err_text *text)
{
    (void)context, (void)partition, (void)batch, (void)text;
    return KA_OK;
}

static int64_t never(void *context, struct lane_partition *partition)
{
    (void)context, (void)partition;
    return INT64_MAX;
}

// A part that begins or stops is written down also when nothing is copied.
static bool pending(void *context, struct lane_partition *partition, int64_t now_ms)
{
    const struct link_slot *slot = partition->owner;
    (void)context, (void)now_ms;
    for (size_t i = 0; !slot->working && i < slot->count; i++)
        if (slot->parts[i]->changes != slot->parts[i]->saved)
            return true;
    return false;
}

static enum ka_err work(void *context, struct lane_partition *partition, struct lane_batch *batch,
                        struct err_text *text)
{
    struct link_slot *slot = partition->owner;
    (void)context, (void)batch, (void)text;
    slot->working = true; // close() writes
    return KA_OK;
}

static void write_progress(struct links *links, const struct lane_partition *partition,
                           const struct link_part *part, struct lane_batch *batch)
{
    const struct link_mark *mark = KA_RULE(RULE_LINK_PROGRESS) ? &part->now : &part->settled;
    struct link_progress progress = {
        .source = links->config.source,
        .cluster = links->config.cluster,
        .topic = slice_str(part->topic),
        .partition = part->partition,
        .target = slice_str(part->target),
        .slots = links->config.slots,
        .next = mark->next,
        .last_offset = mark->last_offset,
        .last_time_ms = mark->last_time_ms,
        .last_hash = mark->last_hash,
        .copied = mark->copied,
        .dropped = mark->dropped,
        .skipped = mark->skipped,
        .control = mark->control,
        .actor = slice_str(mark->actor),
        .reason = slice_str(mark->reason),
        .stopped = mark->state == LINK_STOPPED ? slice_str(mark->why) : SLICE_LIT(""),
        .time_ms = batch->now_ms,
    };
    size_t from = batch->scratch.len;
    link_key(progress.source, progress.topic, progress.partition, &batch->scratch);
    struct slice key = buf_take(&batch->scratch, from, &batch->arena);
    batch->scratch.len = from;
    link_progress_encode(&progress, &batch->scratch);
    struct slice value = buf_take(&batch->scratch, from, &batch->arena);
    batch->scratch.len = from;
    struct output output = {.topic = links->config.links_topic,
                            .partition = partition->partition,
                            .key = key,
                            .value = value};
    lane_batch_output(batch, &output, partition->slot);
}

static enum ka_err on_close(void *context, struct lane_partition *partition,
                            struct lane_batch *batch, struct err_text *text)
{
    struct links *links = context;
    struct link_slot *slot = partition->owner;
    (void)text;
    for (size_t i = 0; i < slot->count; i++) {
        struct link_part *part = slot->parts[i];
        part->closing = part->changes;
        if (part->closing != part->saved)
            write_progress(links, partition, part, batch);
    }
    return KA_OK;
}

static void on_committed(void *context, struct lane_partition *partition)
{
    struct links *links = context;
    struct link_slot *slot = partition->owner;
    slot->working = false;
    for (size_t i = 0; i < slot->count; i++) {
        struct link_part *part = slot->parts[i];
        part->saved = part->closing;
        part->settled = part->now;
        links->changes += part->now.state == LINK_WAITING; // now it can be compared
        if (part->skipping)
            renew(links, part);
        part->skipping = false;
    }
}

static void on_undo(void *context, struct lane_partition *partition)
{
    struct links *links = context;
    struct link_slot *slot = partition->owner;
    slot->working = false;
    links->changes++; // what had stopped in this transaction goes on
    for (size_t i = 0; i < slot->count; i++) {
        struct link_part *part = slot->parts[i];
        part->again += part->now.copied - part->settled.copied;
        part->now = part->settled;
        part->skipping = false;
    }
}

static void describe(void *context, struct lane_partition *partition, struct meta *meta)
{
    (void)context, (void)partition, (void)meta;
}

// ---- Slots come and go

static void free_slot(struct link_slot *slot)
{
    if (slot == NULL)
        return;
    for (size_t i = 0; i < slot->count; i++)
        free(slot->parts[i]);
    free(slot->parts);
    link_restore_free(&slot->restored);
    free(slot);
}

static enum ka_err adopt_part(struct links *links, struct link_slot *slot,
                              const struct link_progress *progress, struct err_text *text)
{
    if (progress->slots != links->config.slots)
        return err_set(text, KA_ERR_CONFIG,
                       "%.*s/%d of %.*s was copied with %d partitions of %.*s, now it has %d: who "
                       "copies what would change, with its progress in another partition",
                       SLICE_FMT(progress->topic), progress->partition, SLICE_FMT(progress->source),
                       progress->slots, SLICE_FMT(links->config.links_topic), links->config.slots);
    struct link_part *part = add_part(links, slot, progress->topic, progress->partition);
    struct link_mark *mark = &part->now;
    mark->next = progress->next;
    mark->last_offset = progress->last_offset;
    mark->last_time_ms = progress->last_time_ms;
    mark->last_hash = progress->last_hash;
    mark->copied = progress->copied;
    mark->dropped = progress->dropped;
    mark->skipped = progress->skipped;
    mark->control = progress->control;
    keep_text(mark->actor, sizeof mark->actor, progress->actor);
    keep_text(mark->reason, sizeof mark->reason, progress->reason);
    keep_text(mark->why, sizeof mark->why, progress->stopped);
    mark->state = progress->stopped.len > 0 ? LINK_STOPPED : LINK_WAITING;
    bool moved = !slice_eq(progress->cluster, links->config.cluster);
    // Not written down: it goes on when the address is put right.
    if (moved && mark->state == LINK_WAITING && mark->next > 0) {
        mark->state = LINK_STOPPED;
        snprintf(mark->why, sizeof mark->why,
                 "%.*s was cluster %.*s when this was copied up to offset %lld, and is %.*s now",
                 SLICE_FMT(progress->source), SLICE_FMT(progress->cluster), (long long)mark->next,
                 SLICE_FMT(links->config.cluster));
    }
    part->settled = part->now;
    return KA_OK;
}

struct link_restore {
    struct buf bytes; // keys and values of the latest records, one behind the other
    struct kept {
        size_t key_at, key_len;
        size_t at, len, room; // of the value; room of the longest so far
    } * kept;
    size_t count;
    size_t cap;
    size_t records;
};

static struct slice kept_key(const struct link_restore *restore, size_t i)
{
    return slice_of(restore->bytes.ptr + restore->kept[i].key_at, restore->kept[i].key_len);
}

static struct slice kept_value(const struct link_restore *restore, size_t i)
{
    return slice_of(restore->bytes.ptr + restore->kept[i].at, restore->kept[i].len);
}

static enum ka_err adopt(void *context, struct lane_partition *partition, void *restored,
                         const struct meta *meta, struct err_text *text)
{
    struct links *links = context;
    struct link_restore *restore = restored;
    struct link_slot *slot = calloc(1, sizeof *slot);
    (void)meta;
    if (slot == NULL)
        abort();
    slot->restored = restore;
    partition->owner = slot;
    links->changes++;
    enum ka_err err = KA_OK;
    for (size_t i = 0; i < restore->count && err == KA_OK; i++) {
        struct link_progress progress;
        if (restore->kept[i].len == 0)
            continue; // removed
        err = link_progress_decode(kept_value(restore, i), &progress, text);
        if (err == KA_OK && slice_eq(progress.source, links->config.source))
            err = adopt_part(links, slot, &progress, text);
    }
    slot->fresh = slot->count == 0;
    link_restore_free(&slot->restored);
    return err;
}

bool link_slot_fresh(const struct lane_partition *slot)
{
    const struct link_slot *parts = slot->owner;
    return parts->fresh;
}

static void on_drop(void *context, struct lane_partition *partition)
{
    struct links *links = context;
    free_slot(partition->owner);
    partition->owner = NULL;
    links->changes++;
}

struct link_restore *link_restore_new(void)
{
    struct link_restore *restore = calloc(1, sizeof *restore);
    if (restore == NULL)
        abort();
    return restore;
}

void link_restore_free(struct link_restore **restore)
{
    if (*restore == NULL)
        return;
    buf_fini(&(*restore)->bytes);
    free((*restore)->kept);
    free(*restore);
    *restore = NULL;
}

size_t link_restore_parts(const struct link_restore *restore)
{
    return restore->count;
}

size_t link_restore_records(const struct link_restore *restore)
{
    return restore->records;
}

static struct kept *kept_of(struct link_restore *restore, struct slice key)
{
    for (size_t i = 0; i < restore->count; i++)
        if (slice_eq(kept_key(restore, i), key))
            return &restore->kept[i];
    if (restore->count == restore->cap) {
        restore->cap = restore->cap == 0 ? 16 : restore->cap * 2;
        restore->kept = realloc(restore->kept, restore->cap * sizeof *restore->kept);
        if (restore->kept == NULL)
            abort();
    }
    struct kept *kept = &restore->kept[restore->count++];
    *kept = (struct kept){.key_at = restore->bytes.len, .key_len = key.len};
    buf_slice_put(&restore->bytes, key);
    return kept;
}

enum ka_err link_restore_apply(struct link_restore *restore, const struct record *record,
                               struct err_text *text)
{
    restore->records++;
    if (slice_starts(record->key, LINK_CONTROL_PREFIX))
        return KA_OK;
    if (slice_none(record->key))
        return err_set(text, KA_ERR_DIVERGED, "the record at offset %lld has no key",
                       (long long)record->offset);
    struct link_progress progress;
    if (!slice_none(record->value)) {
        enum ka_err err = link_progress_decode(record->value, &progress, text);
        if (err != KA_OK)
            return err_wrap(text, err, "record at offset %lld", (long long)record->offset);
    }
    struct kept *kept = kept_of(restore, record->key);
    kept->len = record->value.len;
    if (kept->len > kept->room) {
        kept->room = kept->len;
        kept->at = restore->bytes.len;
        buf_slice_put(&restore->bytes, record->value);
    } else if (kept->len > 0) {
        memcpy(restore->bytes.ptr + kept->at, record->value.ptr, kept->len);
    }
    return KA_OK;
}

struct lane_processor links_processor(struct links *links)
{
    return (struct lane_processor){
        .context = links,
        .passes = passes,
        .record = on_record,
        .poison = on_poison,
        .result = on_result,
        .timer = no_timer,
        .due = never,
        .pending = pending,
        .work = work,
        .close = on_close,
        .committed = on_committed,
        .undo = on_undo,
        .describe = describe,
        .adopt = adopt,
        .drop = on_drop,
    };
}
