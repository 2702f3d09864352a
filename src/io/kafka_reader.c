// SPDX-License-Identifier: Apache-2.0
// Reads partitions assigned by hand, outside of any group: restore, views, the CLI. Uses
// librdkafka's simple consumer, which needs no group, no coordinator and no rebalance.
#include "core/assert.h"
#include "io/kafka_admin.h"
#include "io/kafka_int.h"

#include <stdio.h>
#include <stdlib.h>

enum { CLOSE_MS = 5000, RESOLVE_MS = 1000 };

struct reader_part {
    rd_kafka_topic_t *rkt;
    int32_t partition;
};

struct io_kafka_reader {
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    rd_kafka_event_t *event; // the record that was returned last borrows from it
    struct io_kafka_headers headers;
    struct io_kafka_waker waker;
    char topic[250]; // of the last end or error
    struct reader_part *parts;
    size_t count;
    size_t cap;
};

static void destroy(void *object)
{
    struct io_kafka_reader *reader = object;
    if (reader->event != NULL)
        rd_kafka_event_destroy(reader->event);
    for (size_t i = 0; i < reader->count; i++) {
        rd_kafka_consume_stop(reader->parts[i].rkt, reader->parts[i].partition);
        rd_kafka_topic_destroy(reader->parts[i].rkt);
    }
    rd_kafka_queue_destroy(reader->queue);
    rd_kafka_destroy(reader->rk);
    free(reader->headers.items);
    free(reader->parts);
    free(reader);
}

enum ka_err io_kafka_reader_new(const struct io_kafka_config *config, bool read_committed,
                                struct io_kafka_reader **reader, struct err_text *text)
{
    enum io_kafka_role role = read_committed ? IO_KAFKA_READ_COMMITTED : IO_KAFKA_READ_UNCOMMITTED;
    struct io_kafka_reader *made = calloc(1, sizeof *made);
    if (made == NULL)
        return err_set(text, KA_ERR_NOMEM, "reader");
    enum ka_err err;
    rd_kafka_conf_t *conf = io_kafka_conf_new(config, role, &err, text);
    if (conf != NULL) {
        rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_ERROR);
        err = io_kafka_handle_new(conf, role, &made->rk, text);
    }
    if (err != KA_OK) {
        free(made);
        return err_wrap(text, err, "reader");
    }
    io_kafka_waker_init(&made->waker, config);
    made->queue = rd_kafka_queue_new(made->rk);
    // Errors of the client as a whole come on the same queue as the records.
    rd_kafka_queue_t *main_queue = rd_kafka_queue_get_main(made->rk);
    rd_kafka_queue_forward(main_queue, made->queue);
    rd_kafka_queue_destroy(main_queue);
    *reader = made;
    return KA_OK;
}

void io_kafka_reader_wake(struct io_kafka_reader *reader, int wake_fd)
{
    static const uint64_t one = 1; // what an eventfd wants to be written
    rd_kafka_queue_io_event_enable(reader->queue, wake_fd, &one, sizeof one);
}

void io_kafka_reader_free(struct io_kafka_reader **reader)
{
    struct io_kafka_reader *gone = *reader;
    *reader = NULL;
    if (gone != NULL) // the caller may close its wake_fd next
        rd_kafka_queue_io_event_enable(gone->queue, -1, NULL, 0);
    if (gone != NULL)
        (void)io_kafka_reap(destroy, gone, "reader", CLOSE_MS);
}

static struct reader_part *lookup(struct io_kafka_reader *reader, const char *topic,
                                  int32_t partition)
{
    for (size_t i = 0; i < reader->count; i++) {
        struct reader_part *part = &reader->parts[i];
        if (part->partition == partition && strcmp(rd_kafka_topic_name(part->rkt), topic) == 0)
            return part;
    }
    return NULL;
}

// librdkafka asks the leader for the start or the end of a partition, and while it does not know
// the leader it waits 500 ms before it tries again. Asked for the numbers it finds it at once.
static int64_t resolve(const struct io_kafka_reader *reader, const char *topic, int32_t partition,
                       int64_t offset)
{
    int64_t start, end;
    rd_kafka_resp_err_t code =
        rd_kafka_query_watermark_offsets(reader->rk, topic, partition, &start, &end, RESOLVE_MS);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return offset; // what is wrong is said when it is read
    return offset == RD_KAFKA_OFFSET_BEGINNING ? start : end;
}

enum ka_err io_kafka_reader_add(struct io_kafka_reader *reader, const char *topic,
                                int32_t partition, int64_t offset, struct err_text *text)
{
    KA_ASSERT(offset >= -2);
    if (lookup(reader, topic, partition) != NULL)
        return err_set(text, KA_ERR_EXISTS, "%s/%d is being read", topic, partition);
    if (reader->count == reader->cap) {
        reader->cap = reader->cap == 0 ? 8 : reader->cap * 2;
        reader->parts = realloc(reader->parts, reader->cap * sizeof *reader->parts);
        if (reader->parts == NULL)
            abort();
    }
    rd_kafka_topic_t *rkt = rd_kafka_topic_new(reader->rk, topic, NULL);
    if (rkt == NULL)
        return io_kafka_failed_code(IO_KAFKA_CONSUME, rd_kafka_last_error(), text, topic);
    if (offset < 0)
        offset = resolve(reader, topic, partition, offset);
    if (rd_kafka_consume_start_queue(rkt, partition, offset, reader->queue) != 0) {
        rd_kafka_resp_err_t code = rd_kafka_last_error();
        rd_kafka_topic_destroy(rkt);
        return io_kafka_failed_code(IO_KAFKA_CONSUME, code, text, topic);
    }
    reader->parts[reader->count++] = (struct reader_part){rkt, partition};
    return KA_OK;
}

enum ka_err io_kafka_reader_remove(struct io_kafka_reader *reader, const char *topic,
                                   int32_t partition, struct err_text *text)
{
    struct reader_part *part = lookup(reader, topic, partition);
    if (part == NULL)
        return err_set(text, KA_ERR_NOT_FOUND, "%s/%d is not being read", topic, partition);
    rd_kafka_consume_stop(part->rkt, partition);
    rd_kafka_topic_destroy(part->rkt);
    *part = reader->parts[--reader->count];
    return KA_OK;
}

static enum io_kafka_read on_error(struct io_kafka_reader *reader, struct record *record,
                                   enum ka_err *error, struct err_text *text)
{
    rd_kafka_resp_err_t code = rd_kafka_event_error(reader->event);
    rd_kafka_topic_partition_t *at = rd_kafka_event_topic_partition(reader->event);
    *record = (struct record){.partition = -1, .offset = -1, .timestamp_ms = -1};
    reader->topic[0] = '\0';
    if (at != NULL) {
        snprintf(reader->topic, sizeof reader->topic, "%s", at->topic);
        record->partition = at->partition;
        record->offset = at->offset;
        rd_kafka_topic_partition_destroy(at);
    }
    record->topic = slice_str(reader->topic);
    if (code == RD_KAFKA_RESP_ERR__PARTITION_EOF)
        return IO_KAFKA_READ_END;
    struct io_kafka_failure failure = {.code = code,
                                       .fatal = rd_kafka_event_error_is_fatal(reader->event)};
    *error = io_kafka_classify(IO_KAFKA_CONSUME, failure);
    err_set(text, *error, "reading %s/%d offset %lld: %s", reader->topic, record->partition,
            (long long)record->offset, rd_kafka_event_error_string(reader->event));
    return IO_KAFKA_READ_ERROR;
}

enum io_kafka_read io_kafka_reader_next(struct io_kafka_reader *reader, int timeout_ms,
                                        struct record *record, enum ka_err *error,
                                        struct err_text *text)
{
    if (reader->event != NULL)
        rd_kafka_event_destroy(reader->event);
    reader->event = rd_kafka_queue_poll(reader->queue, timeout_ms);
    if (reader->event == NULL)
        return IO_KAFKA_READ_NOTHING;
    switch (rd_kafka_event_type(reader->event)) {
    case RD_KAFKA_EVENT_FETCH: {
        const rd_kafka_message_t *message = rd_kafka_event_message_next(reader->event);
        if (message == NULL)
            return IO_KAFKA_READ_NOTHING;
        io_kafka_record_set(record, message, &reader->headers);
        io_kafka_waker_taken(&reader->waker, reader->rk, message->len);
        return IO_KAFKA_READ_RECORD;
    }
    case RD_KAFKA_EVENT_ERROR:
        return on_error(reader, record, error, text);
    default:
        return IO_KAFKA_READ_NOTHING;
    }
}
