// SPDX-License-Identifier: Apache-2.0
// The consumer of a lane. Responsible for: two queues (control and records), and a record stream
// per partition that starts exactly where it was told to. Not for: what to do in a rebalance.
//
// What makes it hard:
//  1. librdkafka puts rebalances and records on one queue. A partition's own queue is forwarded to
//     the record queue before it is assigned; librdkafka remembers that an application did that
//     and leaves it alone when fetching starts, but takes the forwarding away when it stops. So it
//     is set again after every successful seek, which is when fetching is known to have started.
//  2. While a rebalance is pending librdkafka pauses everything by itself, drops what was fetched
//     and starts again from the last record handed out; before 2.4.0 a resume can also start from
//     an older position (#4636). So every partition knows the next offset it wants: what is below
//     is dropped, and a resume without a seek of the lane's seeks by itself.
//  3. A partition is paused before it is assigned: nothing can slip out in between.
//  4. Before 2.3.0 a member that has joined and has never been given an assignment cannot be
//  destroyed:
//     an assertion of the cooperative-sticky assignor ends the process (#4312). It is closed and
//     left.
//  5. After an offset was out of range the partition is dead for librdkafka (it cannot be sought
//     any more): io_kafka_seek says KA_ERR_FATAL, a new consumer helps.
#include "io/kafka_consumer.h"

#include "core/assert.h"
#include "core/hash.h"
#include "io/clock.h"
#include "io/kafka_int.h"
#include "io/log.h"

#include <stdio.h>
#include <stdlib.h>

enum { SEEK_MS = 100 }; // an answer of librdkafka's main thread: 0.1 ms when nothing is wrong

struct part {
    struct io_kafka_partition id; // offset = the next one wanted, -1 = not known
    uint64_t hash;
    bool paused; // by us
    bool sought; // since it was paused
    bool dead;   // librdkafka has given it up
};

struct io_kafka_consumer {
    rd_kafka_t *rk;
    struct io_kafka_shared *shared; // at least once; else NULL
    rd_kafka_queue_t *control;
    rd_kafka_queue_t *records;
    rd_kafka_event_t *event; // what the last poll_record returned borrows from
    struct io_kafka_headers headers;
    struct io_kafka_waker waker;
    char topic[250]; // of the last end or error
    char name[96];

    struct part *parts;
    size_t count;
    size_t cap;
    size_t last; // where the record before came from

    struct io_kafka_partition *moved; // partitions of the last control event
    size_t moved_cap;
    bool astray;     // a record came on the control queue: the order is lost
    bool subscribed; // it may have joined …
    bool assigned;   // … and has been given an assignment, perhaps an empty one
};

static uint64_t hash_of(const char *topic, int32_t partition)
{
    return hash_bytes(slice_str(topic), (uint64_t)(uint32_t)partition);
}

static bool is_part(const struct part *part, const char *topic, int32_t partition)
{
    return part->id.partition == partition && strcmp(part->id.topic, topic) == 0;
}

static struct part *lookup(struct io_kafka_consumer *consumer, const char *topic, int32_t partition)
{
    if (consumer->last < consumer->count &&
        is_part(&consumer->parts[consumer->last], topic, partition))
        return &consumer->parts[consumer->last];
    uint64_t hash = hash_of(topic, partition);
    for (size_t i = 0; i < consumer->count; i++) {
        struct part *part = &consumer->parts[i];
        if (part->hash == hash && is_part(part, topic, partition)) {
            consumer->last = i;
            return part;
        }
    }
    return NULL;
}

static void set_id(struct io_kafka_partition *id, const char *topic, int32_t partition,
                   int64_t offset)
{
    snprintf(id->topic, sizeof id->topic, "%s", topic);
    id->partition = partition;
    id->offset = offset;
}

static void add_part(struct io_kafka_consumer *consumer, const struct io_kafka_partition *id)
{
    struct part *part = lookup(consumer, id->topic, id->partition);
    if (part == NULL) {
        if (consumer->count == consumer->cap) {
            consumer->cap = consumer->cap == 0 ? 16 : consumer->cap * 2;
            consumer->parts = realloc(consumer->parts, consumer->cap * sizeof *consumer->parts);
            if (consumer->parts == NULL)
                abort();
        }
        part = &consumer->parts[consumer->count++];
    }
    *part = (struct part){.paused = true, .hash = hash_of(id->topic, id->partition)};
    set_id(&part->id, id->topic, id->partition, id->offset < 0 ? -1 : id->offset);
}

static void remove_part(struct io_kafka_consumer *consumer, const struct io_kafka_partition *id)
{
    struct part *part = lookup(consumer, id->topic, id->partition);
    if (part == NULL)
        return;
    *part = consumer->parts[--consumer->count];
    consumer->last = 0;
}

int64_t io_kafka_consumer_end(struct io_kafka_consumer *consumer, const char *topic,
                              int32_t partition)
{
    int64_t low = 0, high = 0;
    if (rd_kafka_get_watermark_offsets(consumer->rk, topic, partition, &low, &high) !=
        RD_KAFKA_RESP_ERR_NO_ERROR)
        return -1;
    return high < 0 ? -1 : high;
}

static rd_kafka_topic_partition_list_t *list_of(const struct io_kafka_partition *partitions,
                                                size_t count)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)count);
    for (size_t i = 0; i < count; i++) {
        int64_t offset = partitions[i].offset;
        rd_kafka_topic_partition_list_add(list, partitions[i].topic, partitions[i].partition)
            ->offset = offset < 0 ? 0 : offset; // never "the committed one": that is a request
    }
    return list;
}

static bool may_be_destroyed(const struct io_kafka_consumer *consumer)
{
    return !consumer->subscribed || consumer->assigned || rd_kafka_version() >= 0x02030000;
}

static void destroy(void *object)
{
    struct io_kafka_consumer *consumer = object;
    bool whole = may_be_destroyed(consumer);
    if (consumer->event != NULL)
        rd_kafka_event_destroy(consumer->event);
    if (consumer->control != NULL)
        rd_kafka_queue_destroy(consumer->control);
    if (consumer->rk != NULL)
        rd_kafka_consumer_close(consumer->rk);
    if (consumer->records != NULL)
        rd_kafka_queue_destroy(consumer->records);
    if (consumer->shared != NULL && whole)
        io_kafka_shared_drop(&consumer->shared);
    else if (consumer->rk != NULL && whole)
        rd_kafka_destroy(consumer->rk);
    free(consumer->headers.items);
    free(consumer->parts);
    free(consumer->moved);
    free(consumer);
}

enum ka_err io_kafka_consumer_new(const struct io_kafka_config *config, const char *group,
                                  int wake_fd, struct io_kafka_consumer **consumer,
                                  struct err_text *text)
{
    static const uint64_t one = 1; // what an eventfd wants to be written
    struct io_kafka_consumer *made = calloc(1, sizeof *made);
    if (made == NULL)
        return err_set(text, KA_ERR_NOMEM, "consumer of %s", group);
    snprintf(made->name, sizeof made->name, "consumer of %s", group);
    enum ka_err err;
    rd_kafka_conf_t *conf = io_kafka_conf_new(config, IO_KAFKA_GROUP, &err, text);
    if (conf == NULL)
        goto failed;
    err = io_kafka_conf_set(conf, "group.id", group, text);
    if (err != KA_OK) {
        rd_kafka_conf_destroy(conf);
        goto failed;
    }
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_REBALANCE | RD_KAFKA_EVENT_ERROR);
    err = io_kafka_handle_new(conf, IO_KAFKA_GROUP, &made->rk, text);
    if (err != KA_OK)
        goto failed;
    if (config->at_least_once)
        made->shared = io_kafka_shared_new(made->rk);
    io_kafka_waker_init(&made->waker, config);
    rd_kafka_poll_set_consumer(made->rk);
    made->control = rd_kafka_queue_get_consumer(made->rk);
    made->records = rd_kafka_queue_new(made->rk);
    rd_kafka_queue_io_event_enable(made->control, wake_fd, &one, sizeof one);
    rd_kafka_queue_io_event_enable(made->records, wake_fd, &one, sizeof one);
    *consumer = made;
    return KA_OK;
failed:
    free(made);
    return err_wrap(text, err, "consumer of group %s", group);
}

enum ka_err io_kafka_consumer_subscribe(struct io_kafka_consumer *consumer,
                                        const char *const *topics, size_t count,
                                        struct err_text *text)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)count);
    for (size_t i = 0; i < count; i++)
        rd_kafka_topic_partition_list_add(list, topics[i], RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t code = rd_kafka_subscribe(consumer->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    consumer->subscribed = true;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return KA_OK;
    return io_kafka_failed_code(IO_KAFKA_CONSUME, code, text, "subscribe");
}

void io_kafka_consumer_free(struct io_kafka_consumer **consumer, int timeout_ms)
{
    struct io_kafka_consumer *gone = *consumer;
    *consumer = NULL;
    if (gone == NULL)
        return;
    // The caller closes wake_fd next: from here on nothing may be written to it.
    rd_kafka_queue_io_event_enable(gone->control, -1, NULL, 0);
    rd_kafka_queue_io_event_enable(gone->records, -1, NULL, 0);
    (void)io_kafka_reap(destroy, gone, gone->name, timeout_ms);
}

static void take_partitions(struct io_kafka_consumer *consumer,
                            const rd_kafka_topic_partition_list_t *list,
                            struct io_kafka_control *control)
{
    size_t count = (size_t)list->cnt;
    if (count > consumer->moved_cap) {
        consumer->moved = realloc(consumer->moved, count * sizeof *consumer->moved);
        if (consumer->moved == NULL)
            abort();
        consumer->moved_cap = count;
    }
    for (size_t i = 0; i < count; i++)
        set_id(&consumer->moved[i], list->elems[i].topic, list->elems[i].partition, -1);
    control->partitions = consumer->moved;
    control->count = count;
}

// An empty list is normal in every round and still has to be answered; nobody else needs to know.
static bool answer_empty(struct io_kafka_consumer *consumer, bool assign,
                         struct io_kafka_control *control)
{
    struct err_text text;
    enum ka_err err = assign ? io_kafka_assign(consumer, NULL, 0, &text)
                             : io_kafka_unassign(consumer, NULL, 0, &text);
    if (err == KA_OK)
        return false;
    *control = (struct io_kafka_control){.type = IO_KAFKA_CLIENT_ERROR, .error = err, .text = text};
    return true;
}

static bool on_rebalance(struct io_kafka_consumer *consumer, rd_kafka_event_t *event,
                         struct io_kafka_control *control)
{
    const rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(event);
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    bool assign = code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
    consumer->assigned = consumer->assigned || assign;
    if (list->cnt == 0)
        return answer_empty(consumer, assign, control);
    take_partitions(consumer, list, control);
    if (assign)
        control->type = IO_KAFKA_ASSIGNED;
    else if (rd_kafka_assignment_lost(consumer->rk))
        control->type = IO_KAFKA_LOST;
    else
        control->type = IO_KAFKA_REVOKING;
    return true;
}

static void on_client_error(rd_kafka_event_t *event, struct io_kafka_control *control)
{
    control->type = IO_KAFKA_CLIENT_ERROR;
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    struct io_kafka_failure failure = {
        .code = code,
        .fatal = rd_kafka_event_error_is_fatal(event),
    };
    control->error = io_kafka_classify(IO_KAFKA_CONSUME, failure);
    err_set(&control->text, control->error, "consumer: %s (%s)", rd_kafka_event_error_string(event),
            rd_kafka_err2name(code));
}

// Cannot happen with the versions known; with an unknown one it must not lose records in silence.
static bool on_astray(struct io_kafka_consumer *consumer, rd_kafka_event_t *event,
                      struct io_kafka_control *control)
{
    const rd_kafka_message_t *message = rd_kafka_event_message_next(event);
    if (message == NULL)
        return false;
    const char *topic = rd_kafka_topic_name(message->rkt);
    const struct part *part = lookup(consumer, topic, message->partition);
    if (part == NULL || part->paused || consumer->astray)
        return false;
    consumer->astray = true;
    control->type = IO_KAFKA_CLIENT_ERROR;
    control->error = KA_ERR_FATAL;
    err_set(&control->text, KA_ERR_FATAL, "consumer: %s/%d: a record bypassed the record queue",
            topic, message->partition);
    return true;
}

bool io_kafka_poll_control(struct io_kafka_consumer *consumer, struct io_kafka_control *control)
{
    bool found = false;
    *control = (struct io_kafka_control){.error = KA_OK};
    while (!found) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(consumer->control, 0);
        if (event == NULL)
            return false;
        switch (rd_kafka_event_type(event)) {
        case RD_KAFKA_EVENT_REBALANCE:
            found = on_rebalance(consumer, event, control);
            break;
        case RD_KAFKA_EVENT_ERROR:
            on_client_error(event, control);
            found = true;
            break;
        case RD_KAFKA_EVENT_FETCH:
            found = on_astray(consumer, event, control);
            break;
        default:
            break;
        }
        rd_kafka_event_destroy(event);
    }
    return true;
}

static enum io_kafka_fetch on_end_or_error(struct io_kafka_consumer *consumer,
                                           rd_kafka_event_t *event, struct record *record,
                                           enum ka_err *error, struct err_text *text)
{
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    rd_kafka_topic_partition_t *at = rd_kafka_event_topic_partition(event);
    if (at == NULL) // of no partition: librdkafka reports those on the control queue
        return IO_KAFKA_NOTHING;
    snprintf(consumer->topic, sizeof consumer->topic, "%s", at->topic);
    *record = (struct record){.topic = slice_str(consumer->topic),
                              .partition = at->partition,
                              .offset = at->offset,
                              .timestamp_ms = -1};
    rd_kafka_topic_partition_destroy(at);
    struct part *part = lookup(consumer, consumer->topic, record->partition);
    if (part == NULL || part->paused)
        return IO_KAFKA_NOTHING;
    if (code == RD_KAFKA_RESP_ERR__PARTITION_EOF)
        return IO_KAFKA_EOF;
    if (record->offset < 0)
        record->offset = part->id.offset;
    part->dead = code == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET;
    *error = io_kafka_classify(IO_KAFKA_CONSUME, (struct io_kafka_failure){.code = code});
    err_set(text, *error, "%s/%d offset %lld: %s", consumer->topic, record->partition,
            (long long)record->offset, rd_kafka_event_error_string(event));
    return IO_KAFKA_PARTITION_ERROR;
}

static enum io_kafka_fetch on_record(struct io_kafka_consumer *consumer, rd_kafka_event_t *event,
                                     struct record *record)
{
    const rd_kafka_message_t *message = rd_kafka_event_message_next(event);
    if (message == NULL)
        return IO_KAFKA_NOTHING;
    struct part *part = lookup(consumer, rd_kafka_topic_name(message->rkt), message->partition);
    if (part == NULL || part->paused || message->offset < part->id.offset)
        return IO_KAFKA_NOTHING;
    part->id.offset = message->offset + 1;
    io_kafka_record_set(record, message, &consumer->headers);
    io_kafka_waker_taken(&consumer->waker, consumer->rk, message->len);
    return IO_KAFKA_RECORD;
}

enum io_kafka_fetch io_kafka_poll_record(struct io_kafka_consumer *consumer, struct record *record,
                                         enum ka_err *error, struct err_text *text)
{
    for (;;) {
        if (consumer->event != NULL)
            rd_kafka_event_destroy(consumer->event);
        consumer->event = rd_kafka_queue_poll(consumer->records, 0);
        if (consumer->event == NULL)
            return IO_KAFKA_NOTHING;
        enum io_kafka_fetch fetch = IO_KAFKA_NOTHING;
        rd_kafka_event_type_t type = rd_kafka_event_type(consumer->event);
        if (type == RD_KAFKA_EVENT_FETCH)
            fetch = on_record(consumer, consumer->event, record);
        else if (type == RD_KAFKA_EVENT_ERROR)
            fetch = on_end_or_error(consumer, consumer->event, record, error, text);
        if (fetch != IO_KAFKA_NOTHING)
            return fetch;
    }
}

static enum ka_err forward(struct io_kafka_consumer *consumer, const struct io_kafka_partition *id,
                           struct err_text *text)
{
    rd_kafka_queue_t *queue = rd_kafka_queue_get_partition(consumer->rk, id->topic, id->partition);
    if (queue == NULL)
        return err_set(text, KA_ERR_NOT_FOUND, "%s/%d has no queue", id->topic, id->partition);
    rd_kafka_queue_forward(queue, consumer->records);
    rd_kafka_queue_destroy(queue);
    return KA_OK;
}

enum ka_err io_kafka_assign(struct io_kafka_consumer *consumer,
                            const struct io_kafka_partition *partitions, size_t count,
                            struct err_text *text)
{
    rd_kafka_topic_partition_list_t *list = list_of(partitions, count);
    enum ka_err err = KA_OK;
    for (size_t i = 0; err == KA_OK && i < count; i++)
        err = forward(consumer, &partitions[i], text);
    if (err == KA_OK && count > 0)
        rd_kafka_pause_partitions(consumer->rk, list);
    if (err == KA_OK) {
        rd_kafka_error_t *error = rd_kafka_incremental_assign(consumer->rk, list);
        if (error != NULL)
            err = io_kafka_failed(IO_KAFKA_CONSUME, error, text, "incremental_assign");
    }
    for (size_t i = 0; err == KA_OK && i < count; i++)
        add_part(consumer, &partitions[i]);
    rd_kafka_topic_partition_list_destroy(list);
    return err;
}

enum ka_err io_kafka_unassign(struct io_kafka_consumer *consumer,
                              const struct io_kafka_partition *partitions, size_t count,
                              struct err_text *text)
{
    for (size_t i = 0; i < count; i++)
        remove_part(consumer, &partitions[i]);
    rd_kafka_topic_partition_list_t *list = list_of(partitions, count);
    rd_kafka_error_t *error = rd_kafka_incremental_unassign(consumer->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (error == NULL)
        return KA_OK;
    return io_kafka_failed(IO_KAFKA_CONSUME, error, text, "incremental_unassign");
}

static enum ka_err assigned_part(struct io_kafka_consumer *consumer, const char *topic,
                                 int32_t partition, struct part **part, struct err_text *text)
{
    *part = lookup(consumer, topic, partition);
    if (*part == NULL)
        return err_set(text, KA_ERR_NOT_FOUND, "%s/%d is not assigned", topic, partition);
    if ((*part)->dead)
        return err_set(text, KA_ERR_FATAL, "%s/%d: fetching has ended after an error", topic,
                       partition);
    return KA_OK;
}

// librdkafka answers _STATE while the partition is being started: an assignment that follows a
// revocation waits for the fetchers of the latter to stop.
static enum ka_err seek(struct io_kafka_consumer *consumer, const struct io_kafka_partition *id,
                        struct err_text *text)
{
    int64_t deadline_ms = clock_mono_ms() + SEEK_MS;
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    for (;;) {
        int64_t left_ms = deadline_ms - clock_mono_ms();
        rd_kafka_topic_partition_list_t *list = list_of(id, 1);
        rd_kafka_error_t *error = rd_kafka_seek_partitions(
            consumer->rk, list, io_kafka_seek_timeout(left_ms < 1 ? 1 : (int)left_ms));
        code = error != NULL ? rd_kafka_error_code(error) : list->elems[0].err;
        rd_kafka_topic_partition_list_destroy(list);
        if (error != NULL)
            rd_kafka_error_destroy(error);
        if (code != RD_KAFKA_RESP_ERR__STATE && code != RD_KAFKA_RESP_ERR__PREV_IN_PROGRESS)
            break;
        if (left_ms <= 1)
            break;
        clock_sleep_ms(1);
    }
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return forward(consumer, id, text);
    return err_set(text, KA_ERR_RETRY, "%s/%d: seek to %lld: %s", id->topic, id->partition,
                   (long long)id->offset, rd_kafka_err2str(code));
}

enum ka_err io_kafka_seek(struct io_kafka_consumer *consumer, const char *topic, int32_t partition,
                          int64_t offset, struct err_text *text)
{
    KA_ASSERT(offset >= 0);
    struct part *part;
    enum ka_err err = assigned_part(consumer, topic, partition, &part, text);
    if (err != KA_OK)
        return err;
    struct io_kafka_partition id = part->id;
    id.offset = offset;
    err = seek(consumer, &id, text);
    if (err != KA_OK)
        return err;
    part->id.offset = offset;
    part->sought = true;
    return KA_OK;
}

enum ka_err io_kafka_pause(struct io_kafka_consumer *consumer, const char *topic, int32_t partition,
                           struct err_text *text)
{
    struct part *part;
    enum ka_err err = assigned_part(consumer, topic, partition, &part, text);
    if (err != KA_OK || part->paused)
        return err;
    part->paused = true;
    part->sought = false;
    rd_kafka_topic_partition_list_t *list = list_of(&part->id, 1);
    rd_kafka_pause_partitions(consumer->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    return KA_OK;
}

enum ka_err io_kafka_resume(struct io_kafka_consumer *consumer, const char *topic,
                            int32_t partition, struct err_text *text)
{
    struct part *part;
    enum ka_err err = assigned_part(consumer, topic, partition, &part, text);
    if (err != KA_OK || !part->paused)
        return err;
    if (part->id.offset < 0)
        return err_set(text, KA_ERR_NOT_ALLOWED, "%s/%d: resumed before a seek", topic, partition);
    if (!part->sought)
        err = seek(consumer, &part->id, text);
    if (err != KA_OK)
        return err;
    rd_kafka_topic_partition_list_t *list = list_of(&part->id, 1);
    rd_kafka_resume_partitions(consumer->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    part->paused = false;
    part->sought = false;
    return KA_OK;
}

struct io_kafka_group_metadata *io_kafka_group_metadata_take(struct io_kafka_consumer *consumer,
                                                             int32_t *generation, bool *member)
{
    *generation = -1;
    *member = false;
    struct io_kafka_group_metadata *taken = calloc(1, sizeof *taken);
    if (taken == NULL)
        abort();
    taken->generation = -1;
    taken->group = rd_kafka_consumer_group_metadata(consumer->rk);
    if (consumer->shared != NULL)
        taken->shared = io_kafka_shared_keep(consumer->shared);
    void *bytes = NULL;
    size_t size = 0;
    rd_kafka_error_t *error =
        taken->group == NULL ? NULL
                             : rd_kafka_consumer_group_metadata_write(taken->group, &bytes, &size);
    if (error != NULL)
        rd_kafka_error_destroy(error);
    if (bytes != NULL && io_kafka_group_parse(slice_of(bytes, size), generation, member)) {
        taken->generation = *generation;
        taken->member = *member;
    } else {
        *generation = -1;
        *member = false;
        log_error("kafka", "membership unreadable", "client=%s library=%s",
                  rd_kafka_name(consumer->rk), io_kafka_version());
    }
    if (bytes != NULL)
        rd_kafka_mem_free(consumer->rk, bytes);
    return taken;
}

void io_kafka_group_metadata_free(struct io_kafka_group_metadata **group)
{
    if (*group == NULL)
        return;
    if ((*group)->group != NULL)
        rd_kafka_consumer_group_metadata_destroy((*group)->group);
    io_kafka_shared_drop(&(*group)->shared);
    free(*group);
    *group = NULL;
}
