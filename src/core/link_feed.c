// SPDX-License-Identifier: Apache-2.0
// What makes it hard:
//  1. The reader goes on by itself after a lost connection, maybe with another cluster behind the
//     address. So an error of the client lets every part wait until it was compared.
//  2. A part's records must reach the lane without a gap although slots, skips and suspicions come
//     at any time: a partition is read for one serial of its part; with another one it is closed
//     and read anew from settled.next.
//  3. A comparison is of what was committed. What the open transaction has read is still to come,
//     and may be of a log that has lost its end since: a part is compared when no transaction has
//     anything of it.
//  4. Trailing transaction markers are offsets without records. If the progress stayed before them,
//     retention would seem to overtake a link that is idle. So an end of partition becomes an input
//     of its own once nothing has come for a while.
#include "core/link_feed.h"

#include "core/assert.h"
#include "core/hash.h"
#include "core/rule.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    HELD_MAX = 16 * 1024 * 1024, // bytes of records in the lane: two full transactions
    ASK_AGAIN_MS = 1000,
    END_AFTER_MS = 5000 // rest before an end is written down
};

// A part that the reader reads.
struct opened {
    char topic[250]; // the part may be gone with its slot
    int32_t partition;
    struct link_part *part;
    int32_t slot;
    int32_t epoch;
    int64_t serial;
    int64_t next;
    int64_t end; // -1 = not there
    int64_t end_ms;
};

// A question that is not answered, or was answered with "ask again".
struct asked {
    char topic[250];
    int32_t partition;
    int32_t slot;
    int32_t epoch;
    int64_t serial;
    int64_t again_ms; // INT64_MAX = under way
};

struct link_feed {
    struct links *links;
    struct lane *lane;
    struct slice links_topic;
    bool latest;
    struct link_doors doors;
    struct opened *opened;
    size_t opened_count;
    size_t opened_cap;
    size_t last; // where the record before came from
    struct asked *asked;
    size_t asked_count;
    size_t asked_cap;
    int64_t seen_view;
    int64_t seen_changes;
    uint64_t seen_slots;
    size_t held; // bytes of records in the lane
};

struct link_feed *link_feed_new(struct links *links, struct lane *lane, struct slice links_topic,
                                bool latest, const struct link_doors *doors)
{
    struct link_feed *feed = calloc(1, sizeof *feed);
    if (feed == NULL)
        abort();
    feed->links = links;
    feed->lane = lane;
    feed->links_topic = links_topic;
    feed->latest = latest;
    feed->doors = *doors;
    feed->seen_changes = -1;
    return feed;
}

void link_feed_free(struct link_feed **feed)
{
    if (*feed == NULL)
        return;
    free((*feed)->opened);
    free((*feed)->asked);
    free(*feed);
    *feed = NULL;
}

static void *grown(void *list, size_t *cap, size_t size)
{
    *cap = *cap == 0 ? 16 : *cap * 2;
    void *more = realloc(list, *cap * size);
    if (more == NULL)
        abort();
    return more;
}

// ---- Slots

struct lane_partition *link_feed_slot(const struct link_feed *feed, int32_t slot)
{
    struct lane_partition *partition = lane_partition(feed->lane, slot);
    bool ours = partition->used && !partition->leaving && partition->state == LANE_PARTITION_ACTIVE;
    return ours ? partition : NULL;
}

static struct lane_partition *owner_of(const struct link_feed *feed, const char *topic,
                                       int32_t partition)
{
    int32_t number = link_slot_of(feed->links, slice_str(topic), partition);
    struct lane_partition *slot = lane_find(feed->lane, feed->links_topic, number);
    return slot == NULL ? NULL : link_feed_slot(feed, slot->slot);
}

// Changes when a slot comes, goes or begins to work.
static uint64_t slots_now(const struct link_feed *feed)
{
    uint64_t sum = 0;
    for (int32_t i = 0; i < lane_slots(feed->lane); i++) {
        const struct lane_partition *slot = link_feed_slot(feed, i);
        if (slot != NULL)
            sum += hash_mix((uint64_t)i << 32 | (uint32_t)slot->epoch);
    }
    return sum;
}

// ---- The reader

static struct opened *opened_of(struct link_feed *feed, struct slice topic, int32_t partition)
{
    for (size_t i = 0; i <= feed->opened_count; i++) {
        size_t at = i == 0 ? feed->last : i - 1;
        if (at >= feed->opened_count)
            continue;
        struct opened *opened = &feed->opened[at];
        if (opened->partition != partition || !slice_eq(slice_str(opened->topic), topic))
            continue;
        feed->last = at;
        return opened;
    }
    return NULL;
}

static void close_part(struct link_feed *feed, size_t index)
{
    const struct opened *opened = &feed->opened[index];
    feed->doors.close(feed->doors.context, opened->topic, opened->partition);
    feed->opened[index] = feed->opened[--feed->opened_count];
    feed->last = 0;
}

static void open_part(struct link_feed *feed, struct lane_partition *slot, struct link_part *part)
{
    struct err_text text = {""};
    int64_t from = part->settled.next;
    if (feed->doors.open(feed->doors.context, part->topic, part->partition, from, &text) != KA_OK) {
        link_part_wait(feed->links, part, text.text);
        return;
    }
    if (feed->opened_count == feed->opened_cap)
        feed->opened = grown(feed->opened, &feed->opened_cap, sizeof *feed->opened);
    struct opened *opened = &feed->opened[feed->opened_count++];
    *opened = (struct opened){.part = part,
                              .partition = part->partition,
                              .slot = slot->slot,
                              .epoch = slot->epoch,
                              .serial = part->serial,
                              .next = from,
                              .end = -1};
    memcpy(opened->topic, part->topic, sizeof opened->topic);
}

// ---- Questions

static struct asked *asked_of(struct link_feed *feed, const char *topic, int32_t partition)
{
    for (size_t i = 0; i < feed->asked_count; i++)
        if (feed->asked[i].partition == partition && strcmp(feed->asked[i].topic, topic) == 0)
            return &feed->asked[i];
    return NULL;
}

static void forget_asked(struct link_feed *feed, struct asked *asked)
{
    *asked = feed->asked[--feed->asked_count];
}

// Is there a question under way, or to be asked again later? Else it is noted that there is.
static bool is_asked(struct link_feed *feed, const struct link_question *question, int64_t mono_ms)
{
    struct asked *asked = asked_of(feed, question->topic, question->partition);
    if (asked != NULL && asked->slot == question->slot && asked->epoch == question->epoch &&
        asked->serial == question->serial && asked->again_ms > mono_ms)
        return true;
    if (asked == NULL) {
        if (feed->asked_count == feed->asked_cap)
            feed->asked = grown(feed->asked, &feed->asked_cap, sizeof *feed->asked);
        asked = &feed->asked[feed->asked_count++];
        memcpy(asked->topic, question->topic, sizeof asked->topic);
        asked->partition = question->partition;
    }
    asked->slot = question->slot;
    asked->epoch = question->epoch;
    asked->serial = question->serial;
    asked->again_ms = INT64_MAX;
    return false;
}

static void ask(struct link_feed *feed, const struct lane_partition *slot,
                struct link_question question, const char *topic, int64_t mono_ms)
{
    snprintf(question.topic, sizeof question.topic, "%s", topic);
    question.slot = slot->slot;
    question.epoch = slot->epoch;
    if (!is_asked(feed, &question, mono_ms))
        feed->doors.ask(feed->doors.context, &question);
}

// The open transaction has nothing of it.
static bool is_settled(const struct link_part *part)
{
    return part->now.next == part->settled.next || !KA_RULE(RULE_LINK_AT_REST);
}

static void ask_about(struct link_feed *feed, const struct lane_partition *slot,
                      const struct link_part *part, int64_t mono_ms)
{
    const struct link_question question = {.partition = part->partition,
                                           .serial = part->serial,
                                           .next = part->settled.next,
                                           .last_offset = part->settled.last_offset,
                                           .last_time_ms = part->settled.last_time_ms,
                                           .last_hash = part->settled.last_hash};
    ask(feed, slot, question, part->topic, mono_ms);
}

enum link_news link_feed_compared(struct link_feed *feed, const struct link_question *question,
                                  const struct link_answer *answer, int64_t mono_ms)
{
    struct asked *asked = asked_of(feed, question->topic, question->partition);
    struct lane_partition *slot = link_feed_slot(feed, question->slot);
    bool current = asked != NULL && asked->serial == question->serial &&
                   asked->slot == question->slot && asked->epoch == question->epoch;
    if (!current)
        return LINK_NO_NEWS; // of an earlier assignment or before a skip
    if (slot == NULL || slot->epoch != question->epoch) {
        forget_asked(feed, asked);
        return LINK_NO_NEWS;
    }
    struct slice topic = slice_str(question->topic);
    struct link_part *part = link_part_find(slot, topic, question->partition);
    bool waits = part != NULL && part->serial == question->serial &&
                 part->now.state == LINK_WAITING && !part->skipping;
    if (answer->error != KA_OK && err_class(answer->error) == ERR_CLASS_RETRY) {
        asked->again_ms = mono_ms + ASK_AGAIN_MS;
        if (waits)
            snprintf(part->now.why, sizeof part->now.why, "%s", answer->text.text);
        return LINK_NO_NEWS;
    }
    forget_asked(feed, asked);
    feed->seen_changes = -1;
    if (answer->error == KA_OK && question->serial == 0 && part == NULL) {
        link_part_begin(feed->links, slot, topic, question->partition, answer->next);
        return LINK_BEGUN;
    }
    if (!waits)
        return LINK_NO_NEWS;
    bool of_now = question->next == part->settled.next || !KA_RULE(RULE_LINK_AT_REST);
    if (!of_now || !is_settled(part))
        return LINK_NO_NEWS; // it is compared again
    if (answer->error == KA_OK) {
        link_part_read(part);
        return LINK_NO_NEWS;
    }
    link_part_stop(feed->links, part, answer->text.text);
    return LINK_HALTED;
}

// Parts of the topic, or all, are compared before they are read on.
void link_feed_suspect(struct link_feed *feed, const char *topic, int32_t partition,
                       const char *why)
{
    for (int32_t i = 0; i < lane_slots(feed->lane); i++) {
        struct lane_partition *slot = link_feed_slot(feed, i);
        for (size_t j = 0; slot != NULL && j < link_part_count(slot); j++) {
            struct link_part *part = link_part_at(slot, j);
            bool meant = (topic[0] == '\0' || strcmp(part->topic, topic) == 0) &&
                         (partition < 0 || part->partition == partition);
            if (meant && part->now.state == LINK_READING && KA_RULE(RULE_LINK_SUSPECT))
                link_part_wait(feed->links, part, why);
        }
    }
}

// ---- What is to be read

static void close_outdated(struct link_feed *feed)
{
    for (size_t i = 0; i < feed->opened_count; i++) {
        const struct opened *opened = &feed->opened[i];
        const struct lane_partition *slot = link_feed_slot(feed, opened->slot);
        bool ours = slot != NULL && slot->epoch == opened->epoch;
        if (ours && opened->part->serial == opened->serial &&
            opened->part->now.state == LINK_READING)
            continue;
        close_part(feed, i--);
    }
}

static void aim(struct link_feed *feed, struct link_part *part, const struct link_mirror *topic)
{
    bool there =
        topic->inbox ? topic->target_partitions > 0 : topic->target_partitions > part->partition;
    link_part_aim(part, slice_str(there ? topic->target : ""), topic->inbox);
    link_part_limit(part, (size_t)topic->target_max);
    if (part->wants_target && topic->blocked[0] == '\0')
        feed->doors.want(feed->doors.context, topic->name);
}

static const struct link_mirror *topic_of(const struct link_view *view, const char *name)
{
    for (size_t i = 0; i < view->count; i++)
        if (strcmp(view->topics[i].name, name) == 0)
            return &view->topics[i];
    return NULL;
}

static void settle_part(struct link_feed *feed, struct lane_partition *slot, struct link_part *part,
                        const struct link_view *view, int64_t mono_ms)
{
    const struct link_mirror *topic = topic_of(view, part->topic);
    if (part->now.state == LINK_STOPPED || part->skipping)
        return;
    if (topic == NULL) {
        link_part_wait(feed->links, part, "the source has no such topic, or it is not mirrored");
        return;
    }
    aim(feed, part, topic);
    if (topic->blocked[0] != '\0')
        link_part_wait(feed->links, part, topic->blocked);
    else if (part->wants_target)
        link_part_wait(feed->links, part, "its topic here is being made");
    else if (part->now.state == LINK_WAITING && !is_settled(part))
        return; // the end of the transaction is a change
    else if (part->now.state == LINK_WAITING && KA_RULE(RULE_LINK_COMPARE))
        ask_about(feed, slot, part, mono_ms);
    else if (part->now.state == LINK_WAITING)
        link_part_read(part);
    else if (opened_of(feed, slice_str(part->topic), part->partition) == NULL)
        open_part(feed, slot, part);
}

static void settle_parts(struct link_feed *feed, const struct link_view *view, int64_t mono_ms)
{
    for (int32_t i = 0; i < lane_slots(feed->lane); i++) {
        struct lane_partition *slot = link_feed_slot(feed, i);
        for (size_t j = 0; slot != NULL && j < link_part_count(slot); j++)
            settle_part(feed, slot, link_part_at(slot, j), view, mono_ms);
    }
    for (size_t t = 0; t < view->count; t++) {
        const struct link_mirror *topic = &view->topics[t];
        for (int32_t p = 0; p < topic->partitions; p++) {
            struct lane_partition *slot = owner_of(feed, topic->name, p);
            if (slot == NULL || link_part_find(slot, slice_str(topic->name), p) != NULL)
                continue;
            bool latest = feed->latest && link_slot_fresh(slot) && p < topic->first;
            const struct link_question question = {.partition = p, .latest = latest};
            ask(feed, slot, question, topic->name, mono_ms);
        }
    }
}

void link_feed_settle(struct link_feed *feed, const struct link_view *view, bool again,
                      int64_t mono_ms)
{
    uint64_t slots = slots_now(feed);
    int64_t version = view == NULL ? 0 : view->version;
    bool changed = slots != feed->seen_slots || version != feed->seen_view ||
                   links_changes(feed->links) != feed->seen_changes;
    for (size_t i = 0; again && i < feed->asked_count; i++)
        changed = changed || feed->asked[i].again_ms <= mono_ms;
    if (!changed)
        return;
    close_outdated(feed);
    feed->seen_slots = slots;
    feed->seen_view = version;
    feed->seen_changes =
        links_changes(feed->links); // what follows may make a part wait, to be asked
    if (view != NULL)
        settle_parts(feed, view, mono_ms);
}

// ---- Records

static size_t size_of(const struct record *record)
{
    size_t size = sizeof(struct link_input) + record->header_count * sizeof(struct header) +
                  record->key.len + record->value.len;
    for (size_t i = 0; i < record->header_count; i++)
        size += record->headers[i].name.len + record->headers[i].value.len;
    return size;
}

// One block: the input, the headers, then the bytes. The topic's name is the part's.
static struct link_input *input_of(struct link_feed *feed, const struct opened *opened,
                                   const struct record *record)
{
    struct link_input *input = malloc(size_of(record) + 1);
    if (input == NULL)
        abort();
    *input = (struct link_input){
        .base = {.slot = opened->slot, .epoch = opened->epoch},
        .part = opened->part,
        .serial = opened->serial,
        .record = *record,
    };
    struct header *headers = (struct header *)(input + 1);
    char *at = (char *)(headers + record->header_count);
    input->record.topic = slice_str(opened->part->topic);
    input->record.key = slice_put(record->key, &at);
    input->record.value = slice_put(record->value, &at);
    for (size_t i = 0; i < record->header_count; i++)
        headers[i] = (struct header){slice_put(record->headers[i].name, &at),
                                     slice_put(record->headers[i].value, &at)};
    input->record.headers = headers;
    input->size = size_of(record);
    feed->held += input->size;
    return input;
}

struct link_input *link_feed_record(struct link_feed *feed, const struct record *record)
{
    struct opened *opened = opened_of(feed, record->topic, record->partition);
    if (opened == NULL || record->offset < opened->next)
        return NULL;
    opened->next = record->offset + 1;
    opened->end = -1;
    return input_of(feed, opened, record);
}

void link_feed_end(struct link_feed *feed, struct slice topic, int32_t partition, int64_t offset,
                   int64_t mono_ms)
{
    struct opened *opened = opened_of(feed, topic, partition);
    if (opened == NULL || offset <= opened->next)
        return;
    opened->end = offset;
    opened->end_ms = mono_ms;
}

struct link_input *link_feed_rest(struct link_feed *feed, int64_t mono_ms)
{
    for (size_t i = 0; i < feed->opened_count; i++) {
        struct opened *opened = &feed->opened[i];
        if (opened->end <= opened->next || opened->end_ms > mono_ms - END_AFTER_MS)
            continue;
        const struct record end = {.partition = opened->part->partition, .offset = opened->end};
        struct link_input *input = input_of(feed, opened, &end);
        input->end = true;
        opened->next = opened->end;
        opened->end = -1;
        return input;
    }
    return NULL;
}

void link_feed_release(struct link_feed *feed, struct lane_result *result)
{
    struct link_input *input = (struct link_input *)(void *)result;
    KA_ASSERT(feed->held >= input->size);
    feed->held -= input->size;
    free(input);
}

bool link_feed_full(const struct link_feed *feed)
{
    return feed->held >= HELD_MAX;
}
