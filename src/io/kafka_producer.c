// SPDX-License-Identifier: Apache-2.0
// Producers. Responsible for: outputs into librdkafka's queue, what became of them, and the
// transaction calls with their classes. Not for: what to do about a class; that is the lane's.
//
// What makes it hard:
//  1. librdkafka retries AddOffsetsToTxn, TxnOffsetCommit and EndTxn by itself after a lost
//     connection or a timeout. The first request may still be on its way to the broker and can
//     settle a later transaction (KAFKA-17754). An interceptor sees those errors and marks the
//     producer dirty; the lane resets it before the next transaction.
//  2. init_transactions on an id with an open transaction is answered CONCURRENT_TRANSACTIONS, and
//     librdkafka waits 500 ms before it asks again. Calling it again asks at once, so it is called
//     in slices of a few milliseconds: the broker needs about 10 ms to end the transaction.
//  3. After the broker refused a batch as too large, sequence numbers of the next transaction are
//     wrong and one of its errors can be fatal: such a producer is dirty too.
//  4. Destroying takes as long as it likes; everything the callbacks touch lives until it is over.
#include "io/kafka_producer.h"

#include "core/assert.h"
#include "core/hash.h"
#include "io/clock.h"
#include "io/kafka_int.h"
#include "io/log.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    TOPIC_NAME_MAX = 249, // Kafka's limit
    TOPICS_MAX = 4096,    // distinct output topics of one producer; a bound, not a plan
    INIT_SLICE_MS = 15,
    INIT_SLICE_LATE_MS = 100, // after a second it is not an open transaction that we wait for
    TAG_MAX = UINT16_MAX,     // what a message carries, see mark_of
    API_ADD_OFFSETS = 25,
    API_END_TXN = 26,
    API_TXN_OFFSET_COMMIT = 28
};

struct output_topic {
    rd_kafka_topic_t *rkt;
    char *name;
    size_t len;
    uint64_t hash;
};

struct io_kafka_producer {
    rd_kafka_t *rk;
    bool transactional;
    bool local; // at least once: its transactions are rounds, and nothing more
    char name[256];
    atomic_bool dirty;

    struct output_topic *topics; // open addressing, power of two
    size_t topic_cap;
    size_t topic_count;

    uint32_t round; // counts transactions: reports of an earlier one are ignored
    bool flushed;   // plain producer: the next output begins a new round
    struct io_kafka_delivery delivery;
    int64_t sent;
    struct io_kafka_span *spans; // as many as there are tags
    int32_t *span_of;            // of a tag: index into spans, -1 = none
    size_t tag_count;
    char failed_topic[TOPIC_NAME_MAX + 1];
    struct err_text failed_text;
};

static void begin_round(struct io_kafka_producer *producer)
{
    for (size_t i = 0; i < producer->delivery.span_count; i++)
        producer->span_of[producer->spans[i].tag] = -1;
    producer->round++;
    producer->flushed = false;
    producer->sent = 0;
    producer->delivery = (struct io_kafka_delivery){.spans = producer->spans};
}

// Of several failures the one that says most about what to do counts.
static int gravity(enum ka_err err)
{
    switch (err_class(err)) {
    case ERR_CLASS_FATAL:
        return 3;
    case ERR_CLASS_POISON:
        return 2;
    case ERR_CLASS_ABORT:
        return err == KA_ERR_FENCED ? 4 : 1;
    case ERR_CLASS_RETRY:
    case ERR_CLASS_NONE:
        return 0;
    }
    return 0;
}

static void note_failure(struct io_kafka_producer *producer, const rd_kafka_message_t *message)
{
    rd_kafka_resp_err_t fatal = rd_kafka_fatal_error(producer->rk, NULL, 0);
    struct io_kafka_failure failure = {.code = message->err, .fatal = fatal != 0};
    const char *topic = rd_kafka_topic_name(message->rkt);
    if (fatal != 0 && message->err != RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
        failure.code = fatal; // the messages are only purged; the client's error is the reason
    enum ka_err err = io_kafka_classify(IO_KAFKA_DELIVERY, failure);
    struct io_kafka_delivery *delivery = &producer->delivery;
    if (err == KA_ERR_TOO_LARGE)
        atomic_store(&producer->dirty, true);
    if (gravity(err) <= gravity(delivery->error))
        return;
    delivery->error = err;
    snprintf(producer->failed_topic, sizeof producer->failed_topic, "%s", topic);
    delivery->failed_topic = slice_str(producer->failed_topic);
    err_set(&producer->failed_text, err, "record for %s/%d: %s (%s)", topic, message->partition,
            rd_kafka_err2str((rd_kafka_resp_err_t)failure.code),
            rd_kafka_err2name((rd_kafka_resp_err_t)failure.code));
}

static void note_offset(struct io_kafka_producer *producer, int tag, int64_t offset)
{
    struct io_kafka_delivery *delivery = &producer->delivery;
    if (producer->span_of[tag] < 0) {
        producer->span_of[tag] = (int32_t)delivery->span_count;
        producer->spans[delivery->span_count++] =
            (struct io_kafka_span){.tag = tag, .first = offset, .last = offset};
    }
    struct io_kafka_span *span = &producer->spans[producer->span_of[tag]];
    span->count++;
    if (offset < span->first)
        span->first = offset;
    if (offset > span->last)
        span->last = offset;
}

// Between deliveries: those are called on the thread that produces, flushes or polls.
static void grow_tags(struct io_kafka_producer *producer, size_t least)
{
    size_t count = producer->tag_count == 0 ? 64 : producer->tag_count * 2;
    while (count < least)
        count *= 2;
    producer->spans = realloc(producer->spans, count * sizeof *producer->spans);
    producer->span_of = realloc(producer->span_of, count * sizeof *producer->span_of);
    if (producer->spans == NULL || producer->span_of == NULL)
        abort();
    for (size_t i = producer->tag_count; i < count; i++)
        producer->span_of[i] = -1;
    producer->tag_count = count;
    producer->delivery.spans = producer->spans;
}

// A message carries its round and its tag: nothing has to be allocated or looked up.
static void *mark_of(const struct io_kafka_producer *producer, int tag)
{
    return (void *)(((uintptr_t)producer->round << 16) | (uintptr_t)(tag + 1));
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
    (void)rk;
    struct io_kafka_producer *producer = opaque;
    uintptr_t mark = (uintptr_t)message->_private;
    int tag = (int)(mark & 0xffff) - 1;
    if ((uint32_t)(mark >> 16) != producer->round)
        return;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        producer->delivery.failed++;
        note_failure(producer, message);
        return;
    }
    producer->delivery.delivered++;
    if (tag >= 0)
        note_offset(producer, tag, message->offset);
}

// On broker threads, also while the client is being destroyed.
static rd_kafka_resp_err_t on_response(rd_kafka_t *rk, int sockfd, const char *broker,
                                       int32_t broker_id, int16_t api, int16_t version,
                                       int32_t correlation, size_t size, int64_t rtt,
                                       rd_kafka_resp_err_t err, void *opaque)
{
    (void)rk, (void)sockfd, (void)broker, (void)broker_id, (void)version, (void)correlation;
    (void)size, (void)rtt;
    struct io_kafka_producer *producer = opaque;
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR || err == RD_KAFKA_RESP_ERR__DESTROY)
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    if (api == API_ADD_OFFSETS || api == API_TXN_OFFSET_COMMIT || api == API_END_TXN)
        atomic_store(&producer->dirty, true);
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

// Interceptors of responses can only be added from inside rd_kafka_new.
static rd_kafka_resp_err_t on_new(rd_kafka_t *rk, const rd_kafka_conf_t *conf, void *opaque,
                                  char *text, size_t text_size)
{
    (void)conf, (void)text, (void)text_size;
    return rd_kafka_interceptor_add_on_response_received(rk, "kasaga", on_response, opaque);
}

static enum ka_err open_handle(struct io_kafka_producer *producer,
                               const struct io_kafka_config *config, const char *transactional_id,
                               struct err_text *text)
{
    bool transactions = producer->transactional && !producer->local;
    enum io_kafka_role role = transactions ? IO_KAFKA_TRANSACTIONAL : IO_KAFKA_IDEMPOTENT;
    enum ka_err err;
    rd_kafka_conf_t *conf = io_kafka_conf_new(config, role, &err, text);
    if (conf == NULL)
        return err;
    if (transactions)
        err = io_kafka_conf_set(conf, "transactional.id", transactional_id, text);
    if (err != KA_OK) {
        rd_kafka_conf_destroy(conf);
        return err;
    }
    // A delivery callback also spares the commit a wait of 10 ms inside of librdkafka.
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_conf_set_opaque(conf, producer);
    if (transactions)
        rd_kafka_conf_interceptor_add_on_new(conf, "kasaga", on_new, producer);
    return io_kafka_handle_new(conf, role, &producer->rk, text);
}

enum ka_err io_kafka_producer_new(const struct io_kafka_config *config,
                                  const char *transactional_id, struct io_kafka_producer **producer,
                                  struct err_text *text)
{
    struct io_kafka_producer *made = calloc(1, sizeof *made);
    if (made == NULL)
        return err_set(text, KA_ERR_NOMEM, "producer");
    made->transactional = transactional_id != NULL;
    made->local = made->transactional && config->at_least_once;
    snprintf(made->name, sizeof made->name, "%s",
             transactional_id == NULL ? "producer" : transactional_id);
    enum ka_err err = open_handle(made, config, transactional_id, text);
    if (err != KA_OK) {
        free(made);
        return err_wrap(text, err, "producer %s", transactional_id == NULL ? "" : transactional_id);
    }
    begin_round(made);
    *producer = made;
    return KA_OK;
}

static void destroy(void *object)
{
    struct io_kafka_producer *producer = object;
    rd_kafka_purge(producer->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    rd_kafka_poll(producer->rk, 0);
    for (size_t i = 0; i < producer->topic_cap; i++) {
        if (producer->topics[i].rkt == NULL)
            continue;
        rd_kafka_topic_destroy(producer->topics[i].rkt);
        free(producer->topics[i].name);
    }
    rd_kafka_destroy(producer->rk);
    free(producer->topics);
    free(producer->spans);
    free(producer->span_of);
    free(producer);
}

void io_kafka_producer_free(struct io_kafka_producer **producer)
{
    if (*producer == NULL)
        return;
    (void)io_kafka_reap(destroy, *producer, (*producer)->name, 0);
    *producer = NULL;
}

enum ka_err io_kafka_producer_init(struct io_kafka_producer *producer, int timeout_ms,
                                   struct err_text *text)
{
    KA_ASSERT(producer->transactional);
    int64_t begun_ms = clock_mono_ms();
    while (!producer->local) {
        int64_t called_ms = clock_mono_ms();
        int64_t left_ms = begun_ms + timeout_ms - called_ms;
        int64_t slice_ms = called_ms - begun_ms < 1000 ? INIT_SLICE_MS : INIT_SLICE_LATE_MS;
        if (slice_ms > left_ms)
            slice_ms = left_ms < 1 ? 1 : left_ms;
        rd_kafka_error_t *error = rd_kafka_init_transactions(producer->rk, (int)slice_ms);
        if (error == NULL)
            break;
        enum ka_err err = io_kafka_failed(IO_KAFKA_INIT, error, text, "init_transactions");
        if (err != KA_ERR_RETRY)
            return err_wrap(text, err, "producer %s", producer->name);
        if (clock_mono_ms() - begun_ms >= timeout_ms)
            return err_wrap(text, KA_ERR_TIMEOUT, "producer %s", producer->name);
        if (clock_mono_ms() - called_ms < 2)
            clock_sleep_ms(2); // it came back at once
    }
    atomic_store(&producer->dirty, false);
    return KA_OK;
}

static enum ka_err grow_topics(struct io_kafka_producer *producer, struct err_text *text)
{
    size_t cap = producer->topic_cap == 0 ? 32 : producer->topic_cap * 2;
    struct output_topic *grown = calloc(cap, sizeof *grown);
    if (grown == NULL)
        return err_set(text, KA_ERR_NOMEM, "topics of producer %s", producer->name);
    for (size_t i = 0; i < producer->topic_cap; i++) {
        const struct output_topic *topic = &producer->topics[i];
        if (topic->rkt == NULL)
            continue;
        size_t at = topic->hash & (cap - 1);
        while (grown[at].rkt != NULL)
            at = (at + 1) & (cap - 1);
        grown[at] = *topic;
    }
    free(producer->topics);
    producer->topics = grown;
    producer->topic_cap = cap;
    return KA_OK;
}

static enum ka_err add_topic(struct io_kafka_producer *producer, struct slice name, uint64_t hash,
                             rd_kafka_topic_t **rkt, struct err_text *text)
{
    if (name.len == 0 || name.len > TOPIC_NAME_MAX || memchr(name.ptr, '\0', name.len) != NULL)
        return err_set(text, KA_ERR_NOT_FOUND, "no topic can have the name '%.*s'",
                       SLICE_FMT(name));
    if (producer->topic_count >= TOPICS_MAX)
        return err_set(text, KA_ERR_TOO_LARGE, "producer %s writes to more than %d topics",
                       producer->name, TOPICS_MAX);
    if (producer->topic_count * 2 >= producer->topic_cap) {
        enum ka_err err = grow_topics(producer, text);
        if (err != KA_OK)
            return err;
    }
    char *copy = strndup(name.ptr, name.len);
    if (copy == NULL)
        return err_set(text, KA_ERR_NOMEM, "topics of producer %s", producer->name);
    *rkt = rd_kafka_topic_new(producer->rk, copy, NULL);
    if (*rkt == NULL) {
        free(copy);
        return io_kafka_failed_code(IO_KAFKA_PRODUCE, rd_kafka_last_error(), text, "topic");
    }
    size_t at = hash & (producer->topic_cap - 1);
    while (producer->topics[at].rkt != NULL)
        at = (at + 1) & (producer->topic_cap - 1);
    producer->topics[at] = (struct output_topic){*rkt, copy, name.len, hash};
    producer->topic_count++;
    return KA_OK;
}

static enum ka_err topic_of(struct io_kafka_producer *producer, struct slice name,
                            rd_kafka_topic_t **rkt, struct err_text *text)
{
    uint64_t hash = hash_bytes(name, 0);
    size_t mask = producer->topic_cap - 1;
    if (producer->topic_cap > 0) {
        for (size_t at = hash & mask; producer->topics[at].rkt != NULL; at = (at + 1) & mask) {
            const struct output_topic *topic = &producer->topics[at];
            if (topic->hash == hash && topic->len == name.len &&
                memcmp(topic->name, name.ptr, name.len) == 0) {
                *rkt = topic->rkt;
                return KA_OK;
            }
        }
    }
    return add_topic(producer, name, hash, rkt, text);
}

static enum ka_err warm_topic(struct io_kafka_producer *producer, const char *name,
                              int64_t deadline_ms, struct err_text *text)
{
    rd_kafka_topic_t *rkt;
    enum ka_err err = topic_of(producer, slice_str(name), &rkt, text);
    while (err == KA_OK) {
        int64_t left_ms = deadline_ms - clock_mono_ms();
        const struct rd_kafka_metadata *metadata;
        rd_kafka_resp_err_t code =
            rd_kafka_metadata(producer->rk, 0, rkt, &metadata, left_ms < 1 ? 1 : (int)left_ms);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
            if (metadata->topic_cnt > 0)
                code = metadata->topics[0].err;
            rd_kafka_metadata_destroy(metadata);
        }
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
            break;
        err = io_kafka_failed_code(IO_KAFKA_ASK, code, text, "metadata");
        if (err == KA_ERR_RETRY && left_ms > 0) {
            clock_sleep_ms(5); // a leader is being elected
            err = KA_OK;
        }
    }
    return err == KA_OK ? KA_OK : err_wrap(text, err, "topic %s", name);
}

enum ka_err io_kafka_producer_warm(struct io_kafka_producer *producer, const char *const *topics,
                                   size_t count, int timeout_ms, struct err_text *text)
{
    int64_t deadline_ms = clock_mono_ms() + timeout_ms;
    for (size_t i = 0; i < count; i++) {
        enum ka_err err = warm_topic(producer, topics[i], deadline_ms, text);
        if (err != KA_OK)
            return err;
    }
    return KA_OK;
}

enum ka_err io_kafka_begin(struct io_kafka_producer *producer, struct err_text *text)
{
    KA_ASSERT(producer->transactional);
    rd_kafka_error_t *error = producer->local ? NULL : rd_kafka_begin_transaction(producer->rk);
    if (error != NULL)
        return io_kafka_failed(IO_KAFKA_BEGIN, error, text, "begin_transaction");
    begin_round(producer);
    return KA_OK;
}

static rd_kafka_headers_t *headers_of(const struct output *output)
{
    if (output->header_count == 0)
        return NULL;
    rd_kafka_headers_t *headers = rd_kafka_headers_new(output->header_count);
    for (size_t i = 0; i < output->header_count; i++) {
        const struct header *header = &output->headers[i];
        rd_kafka_resp_err_t code =
            rd_kafka_header_add(headers, header->name.ptr, (ssize_t)header->name.len,
                                header->value.ptr, (ssize_t)header->value.len);
        KA_ASSERT(code == RD_KAFKA_RESP_ERR_NO_ERROR); // only fails on headers in read-only use
    }
    return headers;
}

// librdkafka takes pointers to bytes it does not write to (RD_KAFKA_MSG_F_COPY).
static void *bytes_of(struct slice s)
{
    return (void *)(uintptr_t)s.ptr;
}

static enum ka_err refused(struct io_kafka_producer *producer, const struct output *output,
                           rd_kafka_error_t *error, struct err_text *text)
{
    rd_kafka_resp_err_t fatal = rd_kafka_fatal_error(producer->rk, NULL, 0);
    rd_kafka_resp_err_t code = fatal != 0 ? fatal : rd_kafka_error_code(error);
    rd_kafka_error_destroy(error);
    enum ka_err err = io_kafka_failed_code(IO_KAFKA_PRODUCE, code, text, "produce");
    return err_wrap(text, err, "record for %.*s/%d", SLICE_FMT(output->topic), output->partition);
}

enum ka_err io_kafka_produce(struct io_kafka_producer *producer, const struct output *output,
                             int tag, struct err_text *text)
{
    KA_ASSERT(tag < TAG_MAX);
    rd_kafka_topic_t *rkt;
    if (tag >= 0 && (size_t)tag >= producer->tag_count)
        grow_tags(producer, (size_t)tag + 1);
    enum ka_err err = topic_of(producer, output->topic, &rkt, text);
    if (err != KA_OK)
        return err;
    if (producer->flushed && !producer->transactional)
        begin_round(producer);
    // A list of headers and not single ones: those are freed twice when the partition does not
    // exist (#4628). A NULL list is no headers.
    rd_kafka_headers_t *headers = headers_of(output);
    const rd_kafka_vu_t parts[] = {
        {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = rkt},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = output->partition},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {bytes_of(output->key), output->key.len}},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {bytes_of(output->value), output->value.len}},
        {.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = output->timestamp_ms},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = mark_of(producer, tag < 0 ? -1 : tag)},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
    };
    rd_kafka_error_t *error =
        rd_kafka_produceva(producer->rk, parts, sizeof parts / sizeof parts[0]);
    if (error == NULL) {
        producer->sent++;
        return KA_OK;
    }
    if (headers != NULL)
        rd_kafka_headers_destroy(headers);
    return refused(producer, output, error, text);
}

void io_kafka_producer_poll(struct io_kafka_producer *producer, int timeout_ms)
{
    rd_kafka_poll(producer->rk, timeout_ms);
}

enum ka_err io_kafka_flush(struct io_kafka_producer *producer, int timeout_ms,
                           struct io_kafka_delivery *delivery, struct err_text *text)
{
    rd_kafka_resp_err_t code = rd_kafka_flush(producer->rk, timeout_ms);
    *delivery = producer->delivery;
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return io_kafka_failed_code(IO_KAFKA_FLUSH, code, text, "flush");
    KA_ASSERT(delivery->delivered + delivery->failed == producer->sent);
    producer->flushed = true;
    if (delivery->error != KA_OK)
        err_set(text, delivery->error, "%s", producer->failed_text.text);
    return KA_OK;
}

static rd_kafka_topic_partition_list_t *list_of(const struct io_kafka_offset *offsets, size_t count)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)count);
    for (size_t i = 0; i < count; i++) {
        char topic[TOPIC_NAME_MAX + 1];
        KA_ASSERT(offsets[i].topic.len <= TOPIC_NAME_MAX);
        memcpy(topic, offsets[i].topic.ptr, offsets[i].topic.len);
        topic[offsets[i].topic.len] = '\0';
        rd_kafka_topic_partition_t *entry =
            rd_kafka_topic_partition_list_add(list, topic, offsets[i].partition);
        entry->offset = offsets[i].offset;
        if (offsets[i].metadata.len > 0) { // freed with the list, by librdkafka
            entry->metadata = malloc(offsets[i].metadata.len);
            if (entry->metadata == NULL)
                abort();
            memcpy(entry->metadata, offsets[i].metadata.ptr, offsets[i].metadata.len);
            entry->metadata_size = offsets[i].metadata.len;
        }
    }
    return list;
}

enum ka_err io_kafka_send_offsets(struct io_kafka_producer *producer,
                                  const struct io_kafka_offset *offsets, size_t count,
                                  const struct io_kafka_group_metadata *group, int timeout_ms,
                                  struct err_text *text)
{
    KA_ASSERT(producer->transactional && count > 0);
    if (group->generation < 0 || !group->member) // the broker would take them unchecked
        return err_set(text, KA_ERR_ABORT, "offsets not sent: not a member of the group");
    int64_t deadline_ms = clock_mono_ms() + timeout_ms;
    rd_kafka_topic_partition_list_t *list = list_of(offsets, count);
    enum ka_err err = KA_OK;
    if (producer->local)
        err = io_kafka_plain_commit(group->shared, list, timeout_ms, text);
    while (!producer->local) {
        int64_t left_ms = deadline_ms - clock_mono_ms();
        rd_kafka_error_t *error = rd_kafka_send_offsets_to_transaction(
            producer->rk, list, group->group, left_ms < 1 ? 1 : (int)left_ms);
        if (error == NULL) {
            err = KA_OK;
            break;
        }
        err = io_kafka_failed(IO_KAFKA_SEND_OFFSETS, error, text, "send_offsets_to_transaction");
        if (err != KA_ERR_RETRY || clock_mono_ms() >= deadline_ms)
            break;
        clock_sleep_ms(1); // CONCURRENT_TRANSACTIONS: the one before is being written out
    }
    rd_kafka_topic_partition_list_destroy(list);
    return err;
}

enum ka_err io_kafka_commit(struct io_kafka_producer *producer, int timeout_ms,
                            struct err_text *text)
{
    KA_ASSERT(producer->transactional);
    rd_kafka_error_t *error =
        producer->local ? NULL : rd_kafka_commit_transaction(producer->rk, timeout_ms);
    if (error == NULL)
        return KA_OK;
    return io_kafka_failed(IO_KAFKA_COMMIT, error, text, "commit_transaction");
}

// What is in flight cannot be taken back; it is waited for, so that nothing of this round lands
// behind the next one.
static enum ka_err drop_queued(struct io_kafka_producer *producer, int timeout_ms,
                               struct err_text *text)
{
    rd_kafka_purge(producer->rk, RD_KAFKA_PURGE_F_QUEUE);
    rd_kafka_resp_err_t code = rd_kafka_flush(producer->rk, timeout_ms);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return KA_OK;
    return io_kafka_failed_code(IO_KAFKA_ABORT, code, text, "abort");
}

enum ka_err io_kafka_abort(struct io_kafka_producer *producer, int timeout_ms,
                           struct err_text *text)
{
    KA_ASSERT(producer->transactional);
    if (producer->local)
        return drop_queued(producer, timeout_ms, text);
    rd_kafka_error_t *error = rd_kafka_abort_transaction(producer->rk, timeout_ms);
    if (error == NULL)
        return KA_OK;
    return io_kafka_failed(IO_KAFKA_ABORT, error, text, "abort_transaction");
}

bool io_kafka_producer_dirty(const struct io_kafka_producer *producer)
{
    return atomic_load(&producer->dirty);
}

enum ka_err io_kafka_produce_sync(struct io_kafka_producer *producer, const struct output *output,
                                  int timeout_ms, int64_t *offset, struct err_text *text)
{
    KA_ASSERT(!producer->transactional);
    struct io_kafka_delivery delivery;
    enum ka_err err = io_kafka_produce(producer, output, 0, text);
    if (err == KA_OK)
        err = io_kafka_flush(producer, timeout_ms, &delivery, text);
    if (err != KA_OK)
        return err;
    if (delivery.error != KA_OK)
        return delivery.error;
    KA_ASSERT(delivery.span_count == 1);
    if (offset != NULL)
        *offset = delivery.spans[0].last;
    return KA_OK;
}
