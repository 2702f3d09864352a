// SPDX-License-Identifier: Apache-2.0
// What makes it hard:
//  1. The reader goes on by itself after a lost connection, maybe with another cluster behind the
//     address. So an error of the client lets every part wait until the scout has compared it.
//  2. A part's records must reach the lane without a gap although slots, skips and suspicions come
//     at any time: a partition is read for one serial of its part; with another one it is closed
//     and read anew from settled.next.
//  3. Trailing transaction markers are offsets without records. If the progress stayed before them,
//     retention would seem to overtake a link that is idle. So an end of partition becomes an input
//     of its own once nothing has come for a while.
#include "bridge/link_lane.h"

#include "core/assert.h"
#include "core/hash.h"
#include "io/clock.h"
#include "io/log.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    RECORDS_PER_TURN = 2000,
    HELD_MAX = 16 * 1024 * 1024, // bytes of records in the lane: two full transactions
    ASK_MS = 5000,
    STALL_MS = 60000, // without one record or end: give up, the lane asks again
    ASK_AGAIN_MS = 1000,
    END_AFTER_MS = 5000, // rest before an end is written down
    LOOK_MS = 500        // between looks at ends and asks
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

// A question to the scout that is not answered, or was answered with "ask again".
struct asked {
    char topic[250];
    int32_t partition;
    int32_t slot;
    int32_t epoch;
    int64_t serial;
    int64_t again_ms; // INT64_MAX = under way
};

struct link_lane {
    struct link_lane_config config;
    struct links *links;
    struct lane_feed feed;
    struct lane_thread *thread;

    struct lane *lane;
    struct mailbox box; // of the scout
    struct io_kafka_reader *reader;
    struct opened *opened;
    size_t opened_count;
    size_t opened_cap;
    size_t last; // where the record before came from
    struct asked *asked;
    size_t asked_count;
    size_t asked_cap;
    struct scout_view *view;
    int64_t seen_changes;
    uint64_t seen_slots;
    int64_t look_ms;
    size_t held; // bytes of records in the lane
    bool heard;  // a record has come since the scout was told

    pthread_mutex_t picture_lock;
    struct link_lane_picture picture;
};

static void *grown(void *list, size_t *cap, size_t size)
{
    *cap = *cap == 0 ? 16 : *cap * 2;
    void *more = realloc(list, *cap * size);
    if (more == NULL)
        abort();
    return more;
}

// ---- Restore

static void *restore_begin(const struct restorer_config *config)
{
    (void)config;
    return link_restore_new();
}

static enum ka_err restore_apply(void *restored, const struct record *record, struct err_text *text)
{
    return link_restore_apply(restored, record, text);
}

// All of the partition: the topic is compact, and that an offset was lost (nobody came for longer
// than offsets are kept) is no loss of progress.
static enum ka_err restore_read(const struct state_read *read, void *restored,
                                struct err_text *text)
{
    int64_t start = 0, end = 0;
    enum ka_err err =
        io_kafka_watermarks(read->admin, read->topic, read->partition, ASK_MS, &start, &end, text);
    if (err != KA_OK)
        return err;
    const struct scan scan = {.kafka = read->kafka,
                              .topic = read->topic,
                              .partition = read->partition,
                              .from = start,
                              .end = end,
                              .stop = read->stop,
                              .stall_ms = STALL_MS};
    return scan_records(&scan, restore_apply, restored, text);
}

static void restore_free(void *restored)
{
    struct link_restore *restore = restored;
    link_restore_free(&restore);
}

static void restore_count(const void *restored, struct restore_counts *counts)
{
    *counts = (struct restore_counts){.live = link_restore_parts(restored),
                                      .records = link_restore_records(restored)};
}

static const struct restore_form link_form = {
    .begin = restore_begin,
    .read = restore_read,
    .free = restore_free,
    .count = restore_count,
};

// ---- Slots

// The slot if it is ours and at work.
static struct lane_partition *active(const struct link_lane *lane, int32_t slot)
{
    struct lane_partition *partition = lane_partition(lane->lane, slot);
    bool ours = partition->used && !partition->leaving && partition->state == LANE_PARTITION_ACTIVE;
    return ours ? partition : NULL;
}

static struct lane_partition *owner_of(const struct link_lane *lane, const char *topic,
                                       int32_t partition)
{
    int32_t number = link_slot_of(lane->links, slice_str(topic), partition);
    struct lane_partition *slot = lane_find(lane->lane, lane->config.link.links_topic, number);
    return slot == NULL ? NULL : active(lane, slot->slot);
}

// Changes when a slot comes, goes or begins to work.
static uint64_t slots_now(const struct link_lane *lane)
{
    uint64_t sum = 0;
    for (int32_t i = 0; i < lane_slots(lane->lane); i++) {
        const struct lane_partition *slot = active(lane, i);
        if (slot != NULL)
            sum += hash_mix((uint64_t)i << 32 | (uint32_t)slot->epoch);
    }
    return sum;
}

// ---- The reader

static struct opened *opened_of(struct link_lane *lane, struct slice topic, int32_t partition)
{
    for (size_t i = 0; i <= lane->opened_count; i++) {
        size_t at = i == 0 ? lane->last : i - 1;
        if (at >= lane->opened_count)
            continue;
        struct opened *opened = &lane->opened[at];
        if (opened->partition != partition || !slice_eq(slice_str(opened->topic), topic))
            continue;
        lane->last = at;
        return opened;
    }
    return NULL;
}

static void close_part(struct link_lane *lane, size_t index)
{
    const struct opened *opened = &lane->opened[index];
    struct err_text text = {""};
    if (io_kafka_reader_remove(lane->reader, opened->topic, opened->partition, &text) != KA_OK)
        log_warn("link", "not_closed", "partition=%s/%d error=%s", opened->topic, opened->partition,
                 text.text);
    lane->opened[index] = lane->opened[--lane->opened_count];
    lane->last = 0;
}

static void open_part(struct link_lane *lane, struct lane_partition *slot, struct link_part *part)
{
    struct err_text text = {""};
    if (io_kafka_reader_add(lane->reader, part->topic, part->partition, part->settled.next,
                            &text) != KA_OK) {
        link_part_wait(lane->links, part, text.text);
        return;
    }
    if (lane->opened_count == lane->opened_cap)
        lane->opened = grown(lane->opened, &lane->opened_cap, sizeof *lane->opened);
    struct opened *opened = &lane->opened[lane->opened_count++];
    *opened = (struct opened){.part = part,
                              .partition = part->partition,
                              .slot = slot->slot,
                              .epoch = slot->epoch,
                              .serial = part->serial,
                              .next = part->settled.next,
                              .end = -1};
    memcpy(opened->topic, part->topic, sizeof opened->topic);
}

// ---- Questions

static struct asked *asked_of(struct link_lane *lane, const char *topic, int32_t partition)
{
    for (size_t i = 0; i < lane->asked_count; i++)
        if (lane->asked[i].partition == partition && strcmp(lane->asked[i].topic, topic) == 0)
            return &lane->asked[i];
    return NULL;
}

static void forget_asked(struct link_lane *lane, struct asked *asked)
{
    *asked = lane->asked[--lane->asked_count];
}

static void ask(struct link_lane *lane, const struct lane_partition *slot, const char *topic,
                int32_t partition, const struct link_part *part, bool latest)
{
    int64_t serial = part == NULL ? 0 : part->serial;
    struct asked *asked = asked_of(lane, topic, partition);
    if (asked != NULL && asked->slot == slot->slot && asked->epoch == slot->epoch &&
        asked->serial == serial && asked->again_ms > clock_mono_ms())
        return;
    if (asked == NULL) {
        if (lane->asked_count == lane->asked_cap)
            lane->asked = grown(lane->asked, &lane->asked_cap, sizeof *lane->asked);
        asked = &lane->asked[lane->asked_count++];
        snprintf(asked->topic, sizeof asked->topic, "%s", topic);
        asked->partition = partition;
    }
    asked->slot = slot->slot;
    asked->epoch = slot->epoch;
    asked->serial = serial;
    asked->again_ms = INT64_MAX;
    const struct scout_question question = {
        .topic = topic,
        .partition = partition,
        .slot = slot->slot,
        .epoch = slot->epoch,
        .part = part,
        .latest = latest,
        .reply = &lane->box,
    };
    scout_compare(lane->config.scout, &question);
}

static void begin_part(struct link_lane *lane, struct lane_partition *slot,
                       const struct scout_mail *mail)
{
    if (link_part_find(slot, slice_str(mail->topic), mail->partition) != NULL)
        return;
    link_part_begin(lane->links, slot, slice_str(mail->topic), mail->partition, mail->next);
    log_info("link", "begun", "source=%.*s partition=%s/%d offset=%lld",
             SLICE_FMT(lane->config.link.source), mail->topic, mail->partition,
             (long long)mail->next);
}

static void on_compared(struct link_lane *lane, const struct scout_mail *mail)
{
    struct asked *asked = asked_of(lane, mail->topic, mail->partition);
    struct lane_partition *slot = active(lane, mail->slot);
    bool current = asked != NULL && asked->serial == mail->serial && asked->slot == mail->slot &&
                   asked->epoch == mail->epoch;
    if (!current)
        return; // of an earlier assignment or before a skip
    if (slot == NULL || slot->epoch != mail->epoch) {
        forget_asked(lane, asked);
        return;
    }
    struct link_part *part = link_part_find(slot, slice_str(mail->topic), mail->partition);
    bool waits = part != NULL && part->serial == mail->serial && part->now.state == LINK_WAITING &&
                 !part->skipping;
    if (mail->error != KA_OK && err_class(mail->error) == ERR_CLASS_RETRY) {
        asked->again_ms = clock_mono_ms() + ASK_AGAIN_MS;
        if (waits)
            snprintf(part->now.why, sizeof part->now.why, "%s", mail->text.text);
        return;
    }
    forget_asked(lane, asked);
    if (mail->error == KA_OK && mail->serial == 0) {
        begin_part(lane, slot, mail);
    } else if (mail->error == KA_OK && waits) {
        link_part_read(part);
    } else if (mail->error != KA_OK && waits) {
        log_error("link", "stopped", "source=%.*s partition=%s/%d next=%lld reason=%s",
                  SLICE_FMT(lane->config.link.source), part->topic, part->partition,
                  (long long)part->settled.next, mail->text.text);
        link_part_stop(lane->links, part, mail->text.text);
    }
    lane->seen_changes = -1;
}

// Parts of the topic, or all, are compared before they are read on.
static void let_wait(struct link_lane *lane, const char *topic, int32_t partition, const char *why)
{
    for (int32_t i = 0; i < lane_slots(lane->lane); i++) {
        struct lane_partition *slot = active(lane, i);
        for (size_t j = 0; slot != NULL && j < link_part_count(slot); j++) {
            struct link_part *part = link_part_at(slot, j);
            bool meant = (topic[0] == '\0' || strcmp(part->topic, topic) == 0) &&
                         (partition < 0 || part->partition == partition);
            if (meant && part->now.state == LINK_READING)
                link_part_wait(lane->links, part, why);
        }
    }
}

static void serve_mail(struct link_lane *lane)
{
    struct mail *next;
    while ((next = mailbox_take(&lane->box)) != NULL) {
        struct scout_mail *mail = (struct scout_mail *)(void *)next;
        if (mail->type == SCOUT_COMPARED)
            on_compared(lane, mail);
        else
            let_wait(lane, mail->topic, mail->partition, mail->text.text);
        free(mail);
    }
}

// ---- What is to be read

static void close_outdated(struct link_lane *lane)
{
    for (size_t i = 0; i < lane->opened_count; i++) {
        const struct opened *opened = &lane->opened[i];
        const struct lane_partition *slot = active(lane, opened->slot);
        bool ours = slot != NULL && slot->epoch == opened->epoch;
        if (ours && opened->part->serial == opened->serial &&
            opened->part->now.state == LINK_READING)
            continue;
        close_part(lane, i--);
    }
}

static void aim(struct link_lane *lane, struct link_part *part, const struct scout_topic *topic)
{
    bool there =
        topic->inbox ? topic->target_partitions > 0 : topic->target_partitions > part->partition;
    link_part_aim(part, slice_str(there ? topic->target : ""), topic->inbox);
    if (!part->wants_target)
        return;
    if (topic->blocked[0] == '\0')
        scout_want(lane->config.scout, topic->name);
}

static const struct scout_topic *topic_of(const struct scout_view *view, const char *name)
{
    for (size_t i = 0; i < view->count; i++)
        if (strcmp(view->topics[i].name, name) == 0)
            return &view->topics[i];
    return NULL;
}

static void settle_part(struct link_lane *lane, struct lane_partition *slot, struct link_part *part)
{
    const struct scout_topic *topic = topic_of(lane->view, part->topic);
    if (part->now.state == LINK_STOPPED || part->skipping)
        return;
    if (topic == NULL) {
        link_part_wait(lane->links, part, "the source has no such topic, or it is not mirrored");
        return;
    }
    aim(lane, part, topic);
    if (topic->blocked[0] != '\0')
        link_part_wait(lane->links, part, topic->blocked);
    else if (part->wants_target)
        link_part_wait(lane->links, part, "its topic here is being made");
    else if (part->now.state == LINK_WAITING)
        ask(lane, slot, part->topic, part->partition, part, false);
    else if (opened_of(lane, slice_str(part->topic), part->partition) == NULL)
        open_part(lane, slot, part);
}

static void settle_parts(struct link_lane *lane)
{
    for (int32_t i = 0; i < lane_slots(lane->lane); i++) {
        struct lane_partition *slot = active(lane, i);
        for (size_t j = 0; slot != NULL && j < link_part_count(slot); j++)
            settle_part(lane, slot, link_part_at(slot, j));
    }
    for (size_t t = 0; t < lane->view->count; t++) {
        const struct scout_topic *topic = &lane->view->topics[t];
        for (int32_t p = 0; p < topic->partitions; p++) {
            struct lane_partition *slot = owner_of(lane, topic->name, p);
            if (slot != NULL && link_part_find(slot, slice_str(topic->name), p) == NULL)
                ask(lane, slot, topic->name, p, NULL,
                    lane->config.latest && link_slot_fresh(slot) && p < topic->first);
        }
    }
}

static void renew_view(struct link_lane *lane, bool *changed)
{
    struct scout_view *view = scout_view(lane->config.scout);
    if (view == lane->view) {
        if (view != NULL)
            scout_view_drop(lane->config.scout, &view);
        return;
    }
    if (lane->view != NULL)
        scout_view_drop(lane->config.scout, &lane->view);
    lane->view = view;
    *changed = true;
}

static void settle(struct link_lane *lane)
{
    uint64_t slots = slots_now(lane);
    bool changed = slots != lane->seen_slots || links_changes(lane->links) != lane->seen_changes;
    if (clock_mono_ms() >= lane->look_ms) {
        renew_view(lane, &changed);
        for (size_t i = 0; i < lane->asked_count; i++)
            changed = changed || lane->asked[i].again_ms <= clock_mono_ms();
    }
    if (!changed)
        return;
    close_outdated(lane);
    lane->seen_slots = slots;
    if (lane->view != NULL)
        settle_parts(lane);
    lane->seen_changes = links_changes(lane->links);
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

static struct slice copied(struct slice s, char **at)
{
    if (slice_none(s))
        return s;
    struct slice copy = {*at, s.len};
    if (s.len > 0)
        memcpy(*at, s.ptr, s.len);
    *at += s.len;
    return copy;
}

// One block: the input, the headers, then the bytes. The topic's name is the part's.
static struct link_input *input_of(const struct opened *opened, const struct record *record)
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
    input->record.key = copied(record->key, &at);
    input->record.value = copied(record->value, &at);
    for (size_t i = 0; i < record->header_count; i++)
        headers[i] = (struct header){copied(record->headers[i].name, &at),
                                     copied(record->headers[i].value, &at)};
    input->record.headers = headers;
    input->size = size_of(record);
    return input;
}

static void on_error(struct link_lane *lane, const struct record *record, enum ka_err error,
                     const struct err_text *text)
{
    char topic[250];
    snprintf(topic, sizeof topic, "%.*s", SLICE_FMT(record->topic));
    log_warn("link", "read_failed", "source=%.*s class=%s error=%s",
             SLICE_FMT(lane->config.link.source), err_name(error), text->text);
    if (topic[0] == '\0')
        scout_heard(lane->config.scout, error, text->text);
    let_wait(lane, topic, topic[0] == '\0' ? -1 : record->partition, text->text);
}

typedef void give_result(void *context, struct lane_result *result);

static void on_record(struct link_lane *lane, const struct record *record, give_result *give,
                      void *context)
{
    struct opened *opened = opened_of(lane, record->topic, record->partition);
    if (opened == NULL || record->offset < opened->next)
        return;
    opened->next = record->offset + 1;
    opened->end = -1;
    lane->heard = true;
    struct link_input *input = input_of(opened, record);
    lane->held += input->size;
    give(context, &input->base);
}

static enum lane_feed_state read_records(struct link_lane *lane, give_result *give, void *context)
{
    for (int i = 0; i < RECORDS_PER_TURN; i++) {
        struct record record;
        struct err_text text = {""};
        struct opened *opened;
        enum ka_err err = KA_OK;
        if (lane->held >= HELD_MAX)
            return LANE_FEED_FULL;
        switch (io_kafka_reader_next(lane->reader, 0, &record, &err, &text)) {
        case IO_KAFKA_READ_NOTHING:
            return LANE_FEED_DRAINED;
        case IO_KAFKA_READ_RECORD:
            on_record(lane, &record, give, context);
            break;
        case IO_KAFKA_READ_END:
            opened = opened_of(lane, record.topic, record.partition);
            if (opened != NULL && record.offset > opened->next) {
                opened->end = record.offset;
                opened->end_ms = clock_mono_ms();
            }
            break;
        case IO_KAFKA_READ_ERROR:
            on_error(lane, &record, err, &text);
            break;
        }
    }
    return LANE_FEED_MORE;
}

static void give_ends(struct link_lane *lane, give_result *give, void *context)
{
    int64_t before_ms = clock_mono_ms() - END_AFTER_MS;
    for (size_t i = 0; i < lane->opened_count; i++) {
        struct opened *opened = &lane->opened[i];
        if (opened->end <= opened->next || opened->end_ms > before_ms)
            continue;
        const struct record end = {.partition = opened->part->partition, .offset = opened->end};
        struct link_input *input = input_of(opened, &end);
        input->end = true;
        lane->held += input->size;
        opened->next = opened->end;
        opened->end = -1;
        give(context, &input->base);
    }
}

static void take_picture(struct link_lane *lane)
{
    struct link_lane_picture picture = {.stats = *links_stats(lane->links)};
    for (int32_t i = 0; i < lane_slots(lane->lane); i++) {
        const struct lane_partition *slot = active(lane, i);
        for (size_t j = 0; slot != NULL && j < link_part_count(slot); j++) {
            const struct link_part *part = link_part_at(slot, j);
            picture.parts++;
            picture.reading += part->now.state == LINK_READING;
            picture.waiting += part->now.state == LINK_WAITING;
            picture.stopped += part->now.state == LINK_STOPPED;
            if (part->now.state == LINK_READING || picture.held_count == LINK_LANE_PARTS_MAX)
                continue;
            struct link_lane_part *held = &picture.held[picture.held_count++];
            memcpy(held->topic, part->topic, sizeof held->topic);
            held->partition = part->partition;
            held->state = part->now.state;
            memcpy(held->why, part->now.why, sizeof held->why);
        }
    }
    pthread_mutex_lock(&lane->picture_lock);
    lane->picture = picture;
    pthread_mutex_unlock(&lane->picture_lock);
}

// ---- The feed

static void begin(void *context, struct lane *of, int wake_fd)
{
    struct link_lane *lane = context;
    lane->lane = of;
    mailbox_init(&lane->box, wake_fd);
    scout_join(lane->config.scout, &lane->box);
    io_kafka_reader_wake(lane->reader, wake_fd);
}

static enum lane_feed_state turn(void *context, bool stopping, give_result *give,
                                 void *give_context)
{
    struct link_lane *lane = context;
    serve_mail(lane);
    if (stopping)
        return LANE_FEED_DRAINED;
    settle(lane);
    enum lane_feed_state state = read_records(lane, give, give_context);
    if (clock_mono_ms() >= lane->look_ms) {
        lane->look_ms = clock_mono_ms() + LOOK_MS;
        give_ends(lane, give, give_context);
        take_picture(lane);
        if (lane->heard)
            scout_heard(lane->config.scout, KA_OK, "");
        lane->heard = false;
    }
    return state;
}

static void release(void *context, struct lane_result *result)
{
    struct link_lane *lane = context;
    struct link_input *input = (struct link_input *)(void *)result;
    KA_ASSERT(lane->held >= input->size);
    lane->held -= input->size;
    free(input);
}

static void end(void *context)
{
    struct link_lane *lane = context;
    struct mail *mail;
    scout_leave(lane->config.scout, &lane->box);
    while ((mail = mailbox_take(&lane->box)) != NULL)
        free(mail);
    mailbox_fini(&lane->box);
    io_kafka_reader_free(&lane->reader);
}

enum ka_err link_lane_start(const struct link_lane_config *config, struct link_lane **lane,
                            struct err_text *text)
{
    struct link_lane *made = calloc(1, sizeof *made);
    if (made == NULL)
        abort();
    made->config = *config;
    made->seen_changes = -1;
    pthread_mutex_init(&made->picture_lock, NULL);
    made->links = links_new(&config->link);
    made->feed = (struct lane_feed){
        .context = made, .begin = begin, .turn = turn, .release = release, .end = end};
    made->config.thread.feed = &made->feed;
    made->config.thread.form = &link_form;
    made->config.thread.processor = links_processor(made->links);
    enum ka_err err = io_kafka_reader_new(config->source, true, &made->reader, text);
    if (err == KA_OK)
        err = lane_thread_start(&made->config.thread, &made->thread, text);
    if (err != KA_OK) {
        io_kafka_reader_free(&made->reader);
        links_free(&made->links);
        free(made);
        return err;
    }
    *lane = made;
    return KA_OK;
}

void link_lane_stop(struct link_lane *lane)
{
    lane_thread_stop(lane->thread);
}

void link_lane_join(struct link_lane **lane)
{
    struct link_lane *gone = *lane;
    *lane = NULL;
    if (gone == NULL)
        return;
    lane_thread_join(&gone->thread);
    if (gone->view != NULL)
        scout_view_drop(gone->config.scout, &gone->view);
    links_free(&gone->links);
    free(gone->opened);
    free(gone->asked);
    pthread_mutex_destroy(&gone->picture_lock);
    free(gone);
}

struct lane_thread *link_lane_thread(struct link_lane *lane)
{
    return lane->thread;
}

void link_lane_picture(struct link_lane *lane, struct link_lane_picture *picture)
{
    pthread_mutex_lock(&lane->picture_lock);
    *picture = lane->picture;
    pthread_mutex_unlock(&lane->picture_lock);
}
