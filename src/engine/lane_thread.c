// SPDX-License-Identifier: Apache-2.0
// The thread's loop: wait on one eventfd, serve rebalances, then what other threads said, then
// records as long as the lane wants them, then a tick. Nothing here blocks longer than the wait.
#include "engine/lane_thread_internal.h"

#include "core/assert.h"
#include "core/shard.h"
#include "engine/kill.h"
#include "io/clock.h"
#include "io/log.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

enum {
    WAIT_MAX_MS = 100,
    RECORDS_PER_TURN = 2000, // then control events get their turn
    CLOSE_TIMEOUT_MS = 3000, // of the open transaction, and again of leaving the group
    PICTURE_MS = 100,
    AVERAGE_OF = 4096, // records, about
    REJOIN_MS = 1000,  // between attempts
    UNPARK_MS = 10000  // between attempts at what an operator may have repaired
};

static void fail(struct lane_thread *t, const char *what, const struct err_text *text)
{
    snprintf(t->why.text, sizeof t->why.text, "lane %s: %s: %.300s", t->config.name, what,
             text->text);
    log_error("lane", "failed", "lane=%s what=%s error=%s", t->config.name, what, text->text);
    atomic_store(&t->failed, true);
}

static void read_clocks(struct lane_thread *t)
{
    t->now_ms = clock_now_ms();
    t->mono_ms = clock_mono_ms();
}

static void step(struct lane_thread *t, struct lane_event *event)
{
    // The clock is read once per turn: a run of records has one time, as one batch has.
    event->now_ms = t->now_ms;
    event->mono_ms = t->mono_ms;
    lane_step(t->lane, event, &t->effects);
    for (size_t i = 0; i < t->effects.count; i++)
        lane_thread_effect(t, &t->effects.list[i]);
    t->effects.count = 0;
    if (t->produce_error != KA_OK && t->busy_producer < 0) {
        // Tells the lane unless it is past the point where FLUSHED does.
        struct lane_event failed = {.type = LANE_EVENT_PRODUCE_FAILED, .error = t->produce_error};
        log_warn("lane", "produce_failed", "lane=%s error=%s", t->config.name,
                 t->produce_text.text);
        t->produce_error = KA_OK;
        lane_thread_push(t, failed);
    }
}

// The events that effects have led to.
static void step_local(struct lane_thread *t)
{
    while (t->local_count > 0) {
        struct lane_event next = t->local[0];
        t->local_count--;
        memmove(t->local, t->local + 1, t->local_count * sizeof *t->local);
        step(t, &next);
    }
}

static void step_all(struct lane_thread *t, struct lane_event *event)
{
    step(t, event);
    step_local(t);
}

// ---- What others say
// -----------------------------------------------------------------------------

static bool current(const struct lane_thread *t, int32_t slot, int32_t epoch)
{
    if (slot < 0 || slot >= lane_slots(t->lane))
        return false;
    const struct lane_partition *partition = lane_partition(t->lane, slot);
    return partition->used && partition->epoch == epoch;
}

static void forget_restored(const struct lane_thread *t, struct lane_mail *mail)
{
    if (mail->restored != NULL)
        t->config.form->free(mail->restored);
    mail->restored = NULL;
}

static void on_restored(struct lane_thread *t, struct lane_mail *mail)
{
    if (!current(t, mail->slot, mail->epoch)) {
        forget_restored(t, mail);
        return;
    }
    const struct lane_partition *partition = lane_partition(t->lane, mail->slot);
    if (mail->error != KA_OK && err_class(mail->error) == ERR_CLASS_RETRY) {
        if (!atomic_load(&t->stop))
            restorer_restore(t->restorer, mail->slot, mail->epoch, partition->topic,
                             partition->partition);
        return;
    }
    struct meta meta = {0};
    struct err_text text = mail->text;
    enum ka_err err = mail->error;
    if (err == KA_OK)
        err = meta_parse(slice_of(mail->meta, mail->meta_len), &meta, &text);
    if (err != KA_OK) // the lane adopts nothing then
        forget_restored(t, mail);
    struct lane_event event = {.type = LANE_EVENT_RESTORED,
                               .slot = mail->slot,
                               .epoch = mail->epoch,
                               .error = err,
                               .text = &text,
                               .offset = mail->offset,
                               .restored = mail->restored,
                               .meta = &meta};
    step_all(t, &event);
    KILL_POINT("before_claim");
}

static void on_producer(struct lane_thread *t, struct lane_mail *mail)
{
    if (!t->resetting[mail->producer]) { // asked twice: a committer was left behind meanwhile
        io_kafka_producer_free(&mail->handle);
        return;
    }
    struct lane_event event = {.type = mail->error == KA_OK ? LANE_EVENT_PRODUCER_READY
                                                            : LANE_EVENT_PRODUCER_FAILED,
                               .producer = mail->producer,
                               .error = mail->error};
    t->resetting[mail->producer] = false;
    if (mail->error == KA_OK)
        t->producers[mail->producer] = mail->handle;
    else
        log_warn("lane", "producer_failed", "lane=%s error=%s", t->config.name, mail->text.text);
    step_all(t, &event);
}

static void on_flushed(struct lane_thread *t, struct lane_mail *mail)
{
    struct lane_event event = {.type = LANE_EVENT_FLUSHED,
                               .producer = mail->producer,
                               .error = mail->error,
                               .spans = mail->spans,
                               .span_count = mail->span_count};
    if (mail->error != KA_OK)
        log_warn("lane", "delivery_failed", "lane=%s error=%s", t->config.name, mail->text.text);
    // Rule 6: rebalance events have just been served on this thread.
    if (t->consumer != NULL)
        t->group = io_kafka_group_metadata_take(t->consumer, &event.generation, &event.member);
    else
        event.generation = -1;
    KILL_POINT("membership_taken");
    step_all(t, &event);
    if (t->group != NULL)
        io_kafka_group_metadata_free(&t->group);
}

static void on_settled(struct lane_thread *t, struct lane_mail *mail)
{
    static const enum lane_event_type types[] = {
        [LANE_MAIL_COMMITTED] = LANE_EVENT_COMMITTED,
        [LANE_MAIL_COMMIT_FAILED] = LANE_EVENT_COMMIT_FAILED,
        [LANE_MAIL_ABORTED] = LANE_EVENT_ABORTED,
        [LANE_MAIL_ABORT_FAILED] = LANE_EVENT_ABORT_FAILED,
    };
    struct lane_event event = {.type = types[mail->type],
                               .producer = mail->producer,
                               .error = mail->error,
                               .dirty = mail->dirty};
    if (mail->error != KA_OK)
        log_warn("lane", "commit_failed", "lane=%s class=%s error=%s", t->config.name,
                 err_name(mail->error), mail->text.text);
    if (mail->type == LANE_MAIL_COMMITTED)
        KILL_POINT("commit_known");
    step_all(t, &event);
    if (mail->type == LANE_MAIL_COMMITTED)
        KILL_POINT("commit_settled");
}

static void on_token(struct lane_thread *t, struct lane_mail *mail)
{
    struct meta meta = {0};
    enum ka_err err = mail->error;
    if (err == KA_OK)
        err = meta_parse(slice_of(mail->meta, mail->meta_len), &meta, &mail->text);
    if (err == KA_ERR_ENVELOPE)
        err = KA_OK; // somebody else's: not present
    struct lane_event event = {.type = LANE_EVENT_TOKEN,
                               .slot = mail->slot,
                               .epoch = mail->epoch,
                               .error = err,
                               .offset = mail->offset,
                               .meta = &meta};
    step_all(t, &event);
}

static void on_sampled(struct lane_thread *t, struct lane_mail *mail)
{
    struct lane_event event = {.type = LANE_EVENT_END_SAMPLED,
                               .slot = mail->slot,
                               .epoch = mail->epoch,
                               .error = mail->error,
                               .offset = mail->offset};
    step_all(t, &event);
}

static void on_result(struct lane_thread *t, struct lane_mail *mail)
{
    t->in_flight--;
    struct lane_event event = {.type = LANE_EVENT_RESULT, .result = mail->result};
    step_all(t, &event);
    KILL_POINT("result_taken");
}

static void serve_mail(struct lane_thread *t)
{
    struct mail *next;
    while ((next = mailbox_take(&t->box)) != NULL) {
        struct lane_mail *mail = (struct lane_mail *)(void *)next;
        switch (mail->type) {
        case LANE_MAIL_FLUSHED:
        case LANE_MAIL_COMMITTED:
        case LANE_MAIL_COMMIT_FAILED:
        case LANE_MAIL_ABORTED:
        case LANE_MAIL_ABORT_FAILED:
            if (t->busy_producer == mail->producer)
                t->busy_producer = -1;
            if (mail->type == LANE_MAIL_FLUSHED)
                on_flushed(t, mail);
            else
                on_settled(t, mail);
            break;
        case LANE_MAIL_PRODUCER:
            on_producer(t, mail);
            break;
        case LANE_MAIL_TOKEN:
            on_token(t, mail);
            break;
        case LANE_MAIL_END_SAMPLED:
            on_sampled(t, mail);
            break;
        case LANE_MAIL_RESTORED:
            on_restored(t, mail);
            break;
        case LANE_MAIL_RESULT:
            on_result(t, mail);
            break;
        }
        lane_mail_free(&mail);
    }
}

// On a thread of the invoker.
static void result_done(void *context, struct invoker_result *result)
{
    struct lane_thread *t = context;
    struct lane_mail *mail = calloc(1, sizeof *mail);
    struct kept_result *kept = calloc(1, sizeof *kept);
    if (mail == NULL || kept == NULL)
        abort();
    kept->owned = result;
    kept->base = (struct lane_result){.slot = result->shard,
                                      .epoch = result->epoch,
                                      .key = result->key,
                                      .incarnation = result->incarnation,
                                      .step = result->step,
                                      .attempt = result->attempt,
                                      .compensation = result->compensation,
                                      .result = result->result};
    mail->type = LANE_MAIL_RESULT;
    mail->result = &kept->base;
    KILL_POINT("invocation_ended");
    mailbox_post(&t->box, &mail->mail);
}

// On a thread of the invoker, just before the call begins (rule 7).
static bool may_start(void *context, int32_t shard, int32_t epoch)
{
    struct lane_thread *t = context;
    bool may = shard < LANE_THREAD_SHARDS_MAX && atomic_load(&t->owned_epoch[shard]) == epoch &&
               clock_now_ms() < atomic_load(&t->start_until_ms);
    if (may)
        KILL_POINT("invocation_started");
    return may;
}

static void publish_ownership(struct lane_thread *t)
{
    atomic_store(&t->start_until_ms,
                 lane_proof_ms(t->lane) + t->config.kafka.session_timeout_ms / 2);
    for (int32_t slot = 0; slot < lane_slots(t->lane) && slot < LANE_THREAD_SHARDS_MAX; slot++) {
        const struct lane_partition *partition = lane_partition(t->lane, slot);
        bool owned =
            partition->used && !partition->leaving && partition->state == LANE_PARTITION_ACTIVE;
        atomic_store(&t->owned_epoch[slot], owned ? partition->epoch : -1);
    }
}

static void release_result(void *context, struct lane_result *result)
{
    struct lane_thread *t = context;
    struct kept_result *kept = (struct kept_result *)(void *)result;
    if (t->config.feed != NULL) {
        t->config.feed->release(t->config.feed->context, result);
        return;
    }
    invoker_result_free(&kept->owned);
    free(kept);
}

// ---- The consumer
// --------------------------------------------------------------------------------

static void name_partitions(struct lane_thread *t, const struct io_kafka_control *control)
{
    if (control->count + 1 > t->names_cap) {
        t->names_cap = control->count + 16;
        t->names = realloc(t->names, t->names_cap * sizeof *t->names);
        if (t->names == NULL)
            abort();
    }
    for (size_t i = 0; i < control->count; i++)
        t->names[i] = (struct lane_partition_name){slice_str(control->partitions[i].topic),
                                                   control->partitions[i].partition};
}

static void open_consumer(struct lane_thread *t)
{
    struct err_text text = {{0}};
    enum ka_err err =
        io_kafka_consumer_new(&t->config.kafka, t->config.group, t->wake_fd, &t->consumer, &text);
    if (err == KA_OK)
        err = io_kafka_consumer_subscribe(t->consumer, t->config.topics, t->config.topic_count,
                                          &text);
    if (err != KA_OK)
        fail(t, "consumer", &text);
    t->subscribed = err == KA_OK;
}

// The client cannot go on: everything it had is lost, a new one joins.
static void replace_consumer(struct lane_thread *t)
{
    size_t count = 0;
    struct lane_partition_name *names = calloc((size_t)lane_slots(t->lane) + 1, sizeof *names);
    if (names == NULL)
        abort();
    for (int32_t slot = 0; slot < lane_slots(t->lane); slot++) {
        const struct lane_partition *partition = lane_partition(t->lane, slot);
        if (partition->used)
            names[count++] =
                (struct lane_partition_name){slice_str(partition->topic), partition->partition};
    }
    io_kafka_consumer_free(&t->consumer, CLOSE_TIMEOUT_MS);
    struct lane_event event = {
        .type = LANE_EVENT_LOST, .partitions = names, .partition_count = count};
    step_all(t, &event);
    free(names);
    open_consumer(t);
}

// After a call failed that should have made the consumer agree with the lane.
static void rejoin(struct lane_thread *t)
{
    if (!t->rejoin || t->consumer == NULL || clock_mono_ms() - t->rejoined_ms < REJOIN_MS)
        return;
    t->rejoin = false;
    t->rejoined_ms = clock_mono_ms();
    log_warn("lane", "rejoins", "lane=%s", t->config.name);
    replace_consumer(t);
}

static void serve_control(struct lane_thread *t)
{
    static const enum lane_event_type types[] = {
        [IO_KAFKA_ASSIGNED] = LANE_EVENT_ASSIGNED,
        [IO_KAFKA_REVOKING] = LANE_EVENT_REVOKING,
        [IO_KAFKA_LOST] = LANE_EVENT_LOST,
    };
    struct io_kafka_control control;
    while (t->consumer != NULL && io_kafka_poll_control(t->consumer, &control)) {
        if (control.type == IO_KAFKA_CLIENT_ERROR) {
            log_warn("lane", "client_error", "lane=%s error=%s", t->config.name, control.text.text);
            if (err_class(control.error) == ERR_CLASS_FATAL)
                replace_consumer(t);
            continue;
        }
        name_partitions(t, &control);
        struct lane_event event = {
            .type = types[control.type], .partitions = t->names, .partition_count = control.count};
        step_all(t, &event);
    }
}

static void note_size(struct lane_thread *t, const struct record *record)
{
    t->read_bytes += (int64_t)(record->key.len + record->value.len);
    if (++t->read_records < AVERAGE_OF)
        return;
    t->read_bytes /= 2;
    t->read_records /= 2;
}

static void serve_records(struct lane_thread *t)
{
    t->drained = false;
    for (int i = 0; i < RECORDS_PER_TURN && lane_wants_records(t->lane); i++) {
        struct record record;
        enum ka_err err = KA_OK;
        struct err_text text;
        enum io_kafka_fetch fetch = io_kafka_poll_record(t->consumer, &record, &err, &text);
        if (fetch == IO_KAFKA_NOTHING) {
            t->drained = true;
            return;
        }
        const struct lane_partition *partition = lane_find(t->lane, record.topic, record.partition);
        if (partition == NULL)
            continue;
        struct lane_event event = {.slot = partition->slot, .epoch = partition->epoch};
        event.type = fetch == IO_KAFKA_RECORD ? LANE_EVENT_RECORD
                     : fetch == IO_KAFKA_EOF  ? LANE_EVENT_EOF
                                              : LANE_EVENT_PARTITION_ERROR;
        event.record = &record;
        event.offset = record.offset;
        event.error = err;
        event.text = &text;
        if (fetch == IO_KAFKA_RECORD) {
            note_size(t, &record);
            KILL_POINT("record_polled");
        }
        step_all(t, &event);
    }
}

// ---- The thread
// ----------------------------------------------------------------------------------

// What was said when it was parked; the latest word counts.
static void describe_parked(const struct lane_thread *t, const struct lane_partition *partition,
                            struct lane_parked *parked)
{
    *parked = (struct lane_parked){.partition = partition->partition,
                                   .offset = partition->position,
                                   .error = partition->parked_error};
    snprintf(parked->topic, sizeof parked->topic, "%s", partition->topic);
    for (size_t i = 0; i < LANE_PARKED_MAX && i < t->parked_count; i++) {
        const struct lane_parked *note = &t->parked[(t->parked_count - 1 - i) % LANE_PARKED_MAX];
        if (note->partition != partition->partition || strcmp(note->topic, partition->topic) != 0)
            continue;
        *parked = *note;
        return;
    }
}

static int64_t call_bytes(const struct lane_thread *t)
{
    size_t bytes = lane_waiting_bytes(t->lane);
    for (size_t i = 0; i < t->held_count; i++)
        bytes += sizeof *t->held[i] + t->held[i]->call.input.len;
    return (int64_t)bytes;
}

// Records between what was taken and the end that the last fetch saw. Markers count as records:
// more than there is, never less.
static int64_t backlog(const struct lane_thread *t, const struct lane_partition *partition)
{
    if (t->consumer == NULL || partition->state != LANE_PARTITION_ACTIVE)
        return 0;
    int64_t end = io_kafka_consumer_end(t->consumer, partition->topic, partition->partition);
    return end > partition->position ? end - partition->position : 0;
}

static void measure_shard(const struct lane_thread *t, const struct lane_partition *partition,
                          struct lane_picture *picture)
{
    picture->state_bytes += (int64_t)shard_bytes(partition);
    picture->finished_bytes += (int64_t)shard_finished_bytes(partition);
    int64_t waiting = backlog(t, partition);
    picture->backlog += waiting;
    if (t->read_records > 0)
        picture->backlog_bytes += waiting * (t->read_bytes / t->read_records);
}

static void take_picture(struct lane_thread *t, int64_t now_ms)
{
    if (now_ms - t->picture_ms < PICTURE_MS)
        return;
    t->picture_ms = now_ms;
    struct lane_picture picture = {.stats = *lane_stats(t->lane),
                                   .waiting = (int64_t)(lane_waiting(t->lane) + t->held_count),
                                   .call_bytes = call_bytes(t),
                                   .phase = lane_phase_name(t->lane)};
    for (int32_t slot = 0; slot < lane_slots(t->lane); slot++) {
        const struct lane_partition *partition = lane_partition(t->lane, slot);
        if (!partition->used)
            continue;
        picture.active += partition->state == LANE_PARTITION_ACTIVE;
        picture.restoring += partition->state == LANE_PARTITION_RESTORING ||
                             partition->state == LANE_PARTITION_CLAIMING;
        if (partition->state == LANE_PARTITION_PARKED && picture.parked++ < LANE_PARKED_MAX)
            describe_parked(t, partition, &picture.parked_at[picture.parked - 1]);
        if (t->config.form == &restorer_shard_form)
            measure_shard(t, partition, &picture);
    }
    pthread_mutex_lock(&t->picture_lock);
    t->picture = picture;
    pthread_mutex_unlock(&t->picture_lock);
}

// For comparing a shard before and after a takeover. Between transactions only.
static void tell_digests(struct lane_thread *t)
{
    int asked = t->config.digests_asked == NULL ? 0 : atomic_load(t->config.digests_asked);
    if (asked == t->digests_told || !lane_idle(t->lane))
        return;
    t->digests_told = asked;
    for (int32_t slot = 0; slot < lane_slots(t->lane); slot++) {
        const struct lane_partition *partition = lane_partition(t->lane, slot);
        if (!partition->used || partition->state != LANE_PARTITION_ACTIVE)
            continue;
        shard_expire(partition, t->now_ms); // what is past the window does not count
        log_info("lane", "digest", "partition=%s/%d offset=%lld live=%lld bytes=%zu digest=%llu",
                 partition->topic, partition->partition, (long long)partition->committed,
                 (long long)shard_live(partition), shard_bytes(partition),
                 (unsigned long long)shard_digest(partition));
    }
}

static void wait_for_news(struct lane_thread *t)
{
    int64_t now_ms = clock_now_ms();
    int64_t deadline_ms = lane_deadline(t->lane);
    int64_t wait_ms = deadline_ms - now_ms;
    bool busy = !t->drained && lane_wants_records(t->lane) && t->consumer != NULL;
    if (busy || t->feed == LANE_FEED_MORE || deadline_ms <= now_ms)
        wait_ms = 0;
    if (wait_ms > WAIT_MAX_MS)
        wait_ms = WAIT_MAX_MS;
    struct pollfd fd = {.fd = t->wake_fd, .events = POLLIN};
    if (poll(&fd, 1, (int)wait_ms) <= 0)
        return;
    uint64_t count;
    ssize_t got = read(t->wake_fd, &count, sizeof count);
    KA_ASSERT(got == sizeof count || errno == EAGAIN || errno == EINTR);
}

// A topic that is missing or forbidden, an answer nobody expected: not of the shard itself.
static bool of_the_cluster(enum ka_err error)
{
    return error == KA_ERR_NOT_FOUND || error == KA_ERR_NOT_ALLOWED || error == KA_ERR_IO;
}

static void refresh(struct lane_thread *t)
{
    bool defined = t->config.refresh != NULL && t->config.refresh(t->config.refresh_context);
    bool repaired = clock_mono_ms() - t->unpark_ms >= UNPARK_MS;
    if (!defined && !repaired)
        return;
    if (repaired)
        t->unpark_ms = clock_mono_ms();
    for (int32_t slot = 0; slot < lane_slots(t->lane); slot++) {
        const struct lane_partition *partition = lane_partition(t->lane, slot);
        if (!partition->used || partition->state != LANE_PARTITION_PARKED)
            continue;
        enum ka_err why = partition->parked_error;
        if (!(defined && why == KA_ERR_NO_DEFINITION) && !(repaired && of_the_cluster(why)))
            continue;
        struct lane_event event = {
            .type = LANE_EVENT_UNPARK, .slot = slot, .epoch = partition->epoch};
        step_all(t, &event);
    }
}

// A record of the feed.
static void give_result(void *context, struct lane_result *result)
{
    struct lane_thread *t = context;
    struct lane_event event = {.type = LANE_EVENT_RESULT, .result = result};
    step_all(t, &event);
}

static void turn(struct lane_thread *t)
{
    wait_for_news(t);
    read_clocks(t);
    refresh(t);
    serve_control(t);
    rejoin(t);
    serve_mail(t);
    bool stopping = atomic_load(&t->stop);
    if (!t->subscribed && !stopping && lane_ready(t->lane))
        open_consumer(t);
    bool hold = t->config.hold_inputs != NULL && atomic_load(t->config.hold_inputs);
    if (t->consumer != NULL && !stopping && !hold) // the lane knows it from the next tick on
        serve_records(t);
    if (t->config.feed != NULL)
        t->feed = t->config.feed->turn(t->config.feed->context, stopping, give_result, t);
    read_clocks(t);
    lane_thread_offer_held(t);
    step_local(t); // a call that comes back is a result before the tick lets its timer fire
    bool takes_calls = t->config.invoker != NULL && !stopping &&
                       t->held_count + LANE_THREAD_ROOM <= LANE_THREAD_HELD_MAX;
    struct lane_event tick = {.type = LANE_EVENT_TICK,
                              .drained =
                                  (t->drained && t->feed == LANE_FEED_DRAINED) || stopping || hold,
                              .invoker_room = takes_calls ? LANE_THREAD_ROOM : 0,
                              .want_proof = t->in_flight > 0,
                              .hold_inputs = hold};
    step_all(t, &tick);
    if (t->config.invoker != NULL)
        publish_ownership(t);
    atomic_store(&t->pressed,
                 lane_pressed(t->lane) || t->held_count > (size_t)t->config.undispatched_max);
    if (t->config.form == &restorer_shard_form)
        tell_digests(t);
    take_picture(t, clock_now_ms());
}

static void *thread_main(void *argument)
{
    struct lane_thread *t = argument;
    int64_t stop_by_ms = 0;
    prctl(PR_SET_NAME, t->config.name);
    if (t->config.feed != NULL)
        t->config.feed->begin(t->config.feed->context, t->lane, t->wake_fd);
    while (!atomic_load(&t->failed)) {
        turn(t);
        if (!atomic_load(&t->stop))
            continue;
        if (stop_by_ms == 0)
            stop_by_ms = clock_mono_ms() + CLOSE_TIMEOUT_MS;
        if (lane_idle(t->lane) || clock_mono_ms() >= stop_by_ms)
            break;
    }
    if (t->consumer != NULL)
        io_kafka_consumer_free(&t->consumer, CLOSE_TIMEOUT_MS);
    if (t->config.feed != NULL)
        t->config.feed->end(t->config.feed->context);
    return NULL;
}

enum ka_err lane_thread_start(const struct lane_thread_config *config, struct lane_thread **thread,
                              struct err_text *text)
{
    struct lane_thread *t = calloc(1, sizeof *t);
    if (t == NULL)
        abort();
    t->config = *config;
    t->busy_producer = -1;
    pthread_mutex_init(&t->picture_lock, NULL);
    t->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (t->wake_fd < 0) {
        free(t);
        return err_set(text, KA_ERR_IO, "eventfd: %s", strerror(errno));
    }
    mailbox_init(&t->box, t->wake_fd);
    t->client = (struct invoker_client){.context = t, .done = result_done, .may_start = may_start};
    snprintf(t->transactional_id, sizeof t->transactional_id, "%s.%s.%s", config->app, config->node,
             config->name);
    struct lane_config lane = {
        .node = slice_str(config->node),
        .name = slice_str(config->name),
        .incarnation = config->incarnation,
        .session_timeout_ms = config->kafka.session_timeout_ms,
        .batch_records = config->batch_records,
        .batch_bytes = config->batch_bytes,
        .batch_ms = config->batch_ms,
        .interval_max_ms = config->interval_max_ms,
        .undispatched_max = config->undispatched_max,
        .release_result = release_result,
        .release_context = t,
        .rules_off = RULES_OFF,
    };
    t->lane = lane_new(&lane, &config->processor);
    lane_thread_start_committer(t);
    struct restorer_config restorer = {
        .form = config->form,
        .kafka = &t->config.kafka,
        .admin = config->admin,
        .app = config->app,
        .group = config->group,
        .node = config->node,
        .lane = config->name,
        .state_topic = config->state_topic,
        .limits = config->limits,
        .reply = &t->box,
    };
    t->restorer = restorer_new(&restorer);
    if (pthread_create(&t->thread, NULL, thread_main, t) != 0)
        abort();
    *thread = t;
    return KA_OK;
}

void lane_thread_stop(struct lane_thread *thread)
{
    atomic_store(&thread->stop, true);
    uint64_t one = 1;
    ssize_t written = write(thread->wake_fd, &one, sizeof one);
    KA_ASSERT(written == sizeof one || errno == EAGAIN);
}

static void free_mail(struct lane_thread *t)
{
    struct mail *next;
    while ((next = mailbox_take(&t->box)) != NULL) {
        struct lane_mail *mail = (struct lane_mail *)(void *)next;
        forget_restored(t, mail);
        io_kafka_producer_free(&mail->handle);
        if (mail->result != NULL)
            release_result(t, mail->result);
        lane_mail_free(&mail);
    }
}

void lane_thread_join(struct lane_thread **thread)
{
    struct lane_thread *t = *thread;
    if (t == NULL)
        return;
    pthread_join(t->thread, NULL);
    if (t->config.invoker != NULL)
        invoker_drop(t->config.invoker, &t->client);
    restorer_free(&t->restorer);
    committer_free(&t->committer);
    free_mail(t);
    for (int i = 0; i < LANE_PRODUCERS; i++)
        io_kafka_producer_free(&t->producers[i]);
    for (size_t i = 0; i < t->held_count; i++)
        lane_invocation_free(&t->held[i]);
    lane_free(&t->lane);
    lane_effects_fini(&t->effects);
    mailbox_fini(&t->box);
    close(t->wake_fd);
    free(t->names);
    free(t->local);
    pthread_mutex_destroy(&t->picture_lock);
    free(t);
    *thread = NULL;
}

void lane_thread_picture(struct lane_thread *thread, struct lane_picture *picture)
{
    pthread_mutex_lock(&thread->picture_lock);
    *picture = thread->picture;
    pthread_mutex_unlock(&thread->picture_lock);
}

bool lane_thread_pressed(struct lane_thread *thread)
{
    return atomic_load(&thread->pressed);
}

bool lane_thread_failed(struct lane_thread *thread, const char **why)
{
    if (!atomic_load(&thread->failed))
        return false;
    *why = thread->why.text;
    return true;
}
