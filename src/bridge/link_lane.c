// SPDX-License-Identifier: Apache-2.0
// The clients around core/link_feed.h, which decides what is read and from where.
#include "bridge/link_lane.h"

#include "core/link_feed.h"
#include "io/clock.h"
#include "io/log.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    RECORDS_PER_TURN = 2000,
    ASK_MS = 5000,
    STALL_MS = 60000, // without one record or end: give up, the lane asks again
    LOOK_MS = 500     // between looks at ends and asks
};

struct link_lane {
    struct link_lane_config config;
    struct links *links;
    struct lane_feed feed;
    struct lane_thread *thread;

    struct lane *lane;
    struct mailbox box; // of the scout
    struct io_kafka_reader *reader;
    struct link_feed *of;
    struct scout_view *view;
    int64_t look_ms;
    bool heard; // a record has come since the scout was told

    pthread_mutex_t picture_lock;
    struct link_lane_picture picture;
};

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

// ---- The doors of the feed

static enum ka_err open_part(void *context, const char *topic, int32_t partition, int64_t offset,
                             struct err_text *text)
{
    struct link_lane *lane = context;
    return io_kafka_reader_add(lane->reader, topic, partition, offset, text);
}

static void close_part(void *context, const char *topic, int32_t partition)
{
    struct link_lane *lane = context;
    struct err_text text = {""};
    if (io_kafka_reader_remove(lane->reader, topic, partition, &text) != KA_OK)
        log_warn("link", "not_closed", "partition=%s/%d error=%s", topic, partition, text.text);
}

static void ask(void *context, const struct link_question *question)
{
    struct link_lane *lane = context;
    scout_compare(lane->config.scout, question, &lane->box);
}

static void want(void *context, const char *topic)
{
    struct link_lane *lane = context;
    scout_want(lane->config.scout, topic);
}

// ---- Answers, suspicions, looks

static void on_compared(struct link_lane *lane, const struct scout_mail *mail)
{
    const struct link_question *question = &mail->question;
    const struct link_answer *answer = &mail->answer;
    const struct lane_partition *slot;
    const struct link_part *part;
    switch (link_feed_compared(lane->of, question, answer, clock_mono_ms())) {
    case LINK_NO_NEWS:
        break;
    case LINK_BEGUN:
        log_info("link", "begun", "source=%.*s partition=%s/%d offset=%lld",
                 SLICE_FMT(lane->config.link.source), question->topic, question->partition,
                 (long long)answer->next);
        break;
    case LINK_HALTED:
        slot = link_feed_slot(lane->of, question->slot);
        part = link_part_find(slot, slice_str(question->topic), question->partition);
        log_error("link", "stopped", "source=%.*s partition=%s/%d next=%lld reason=%s",
                  SLICE_FMT(lane->config.link.source), part->topic, part->partition,
                  (long long)part->settled.next, answer->text.text);
        break;
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
            link_feed_suspect(lane->of, mail->question.topic, mail->question.partition,
                              mail->answer.text.text);
        free(mail);
    }
}

static void renew_view(struct link_lane *lane)
{
    struct scout_view *view = scout_view(lane->config.scout);
    if (lane->view != NULL)
        scout_view_drop(lane->config.scout, &lane->view);
    lane->view = view;
}

static void settle(struct link_lane *lane)
{
    bool looks = clock_mono_ms() >= lane->look_ms;
    if (looks)
        renew_view(lane);
    link_feed_settle(lane->of, lane->view == NULL ? NULL : &lane->view->seen, looks,
                     clock_mono_ms());
}

// ---- Records

static void on_error(struct link_lane *lane, const struct record *record, enum ka_err error,
                     const struct err_text *text)
{
    char topic[250];
    snprintf(topic, sizeof topic, "%.*s", SLICE_FMT(record->topic));
    log_warn("link", "read_failed", "source=%.*s class=%s error=%s",
             SLICE_FMT(lane->config.link.source), err_name(error), text->text);
    if (topic[0] == '\0')
        scout_heard(lane->config.scout, error, text->text);
    link_feed_suspect(lane->of, topic, topic[0] == '\0' ? -1 : record->partition, text->text);
}

typedef void give_result(void *context, struct lane_result *result);

static void on_record(struct link_lane *lane, const struct record *record, give_result *give,
                      void *context)
{
    struct link_input *input = link_feed_record(lane->of, record);
    if (input == NULL)
        return;
    lane->heard = true;
    give(context, &input->base);
}

static enum lane_feed_state read_records(struct link_lane *lane, give_result *give, void *context)
{
    for (int i = 0; i < RECORDS_PER_TURN; i++) {
        struct record record;
        struct err_text text = {""};
        enum ka_err err = KA_OK;
        if (link_feed_full(lane->of))
            return LANE_FEED_FULL;
        switch (io_kafka_reader_next(lane->reader, 0, &record, &err, &text)) {
        case IO_KAFKA_READ_NOTHING:
            return LANE_FEED_DRAINED;
        case IO_KAFKA_READ_RECORD:
            on_record(lane, &record, give, context);
            break;
        case IO_KAFKA_READ_END:
            link_feed_end(lane->of, record.topic, record.partition, record.offset, clock_mono_ms());
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
    struct link_input *input;
    while ((input = link_feed_rest(lane->of, clock_mono_ms())) != NULL)
        give(context, &input->base);
}

static void count_part(struct link_lane_picture *picture, const struct link_part *part)
{
    picture->again += part->again;
    if ((part->settled.bytes == 0 && part->again == 0) ||
        picture->count_count == LINK_LANE_COUNTS_MAX)
        return;
    struct link_lane_count *count = &picture->counts[picture->count_count++];
    memcpy(count->topic, part->topic, sizeof count->topic);
    count->partition = part->partition;
    count->bytes = part->settled.bytes;
    count->again = part->again;
}

static void take_picture(struct link_lane *lane)
{
    struct link_lane_picture picture = {.stats = *links_stats(lane->links)};
    for (int32_t i = 0; i < lane_slots(lane->lane); i++) {
        const struct lane_partition *slot = link_feed_slot(lane->of, i);
        for (size_t j = 0; slot != NULL && j < link_part_count(slot); j++) {
            const struct link_part *part = link_part_at(slot, j);
            picture.parts++;
            count_part(&picture, part);
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
    const struct link_doors doors = {lane, open_part, close_part, ask, want};
    lane->lane = of;
    lane->of =
        link_feed_new(lane->links, of, lane->config.link.links_topic, lane->config.latest, &doors);
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
    link_feed_release(lane->of, result);
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
    link_feed_free(&gone->of);
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
