// SPDX-License-Identifier: Apache-2.0
#include "engine/stand_in.h"

#include "core/assert.h"
#include "io/clock.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    CALL_MS = 10000,
    FLUSH_MS = 60000,
    LEAVE_MS = 5000,
    PAUSE_MS = 10,
    TRANSACTION_MS = 120000, // one shard's state in one transaction
    POLL_INTERVAL_MS = 300000
};

struct stand_in {
    struct io_kafka_config kafka;
    const char *group;
    int32_t partitions;
    int32_t assigned;
    int wake_fd;
    struct io_kafka_consumer *consumer;
    struct io_kafka_producer *producer;
};

// Serves the rebalances; partitions that were taken away do not come back.
static enum ka_err serve(struct stand_in *stand_in, struct err_text *text)
{
    struct io_kafka_control control;
    enum ka_err err = KA_OK;
    while (err == KA_OK && io_kafka_poll_control(stand_in->consumer, &control)) {
        switch (control.type) {
        case IO_KAFKA_ASSIGNED:
            err = io_kafka_assign(stand_in->consumer, control.partitions, control.count, text);
            stand_in->assigned += (int32_t)control.count;
            break;
        case IO_KAFKA_REVOKING:
        case IO_KAFKA_LOST:
            stand_in->assigned -= (int32_t)control.count;
            err = io_kafka_unassign(stand_in->consumer, control.partitions, control.count, text);
            break;
        case IO_KAFKA_CLIENT_ERROR:
            if (control.error == KA_ERR_FATAL)
                err = err_set(text, KA_ERR_FATAL, "%s", control.text.text);
            break;
        }
    }
    return err;
}

static enum ka_err join(struct stand_in *stand_in, const char *topic, int timeout_ms,
                        struct err_text *text)
{
    int64_t until_ms = clock_mono_ms() + timeout_ms;
    enum ka_err err = io_kafka_consumer_new(&stand_in->kafka, stand_in->group, stand_in->wake_fd,
                                            &stand_in->consumer, text);
    if (err == KA_OK)
        err = io_kafka_consumer_subscribe(stand_in->consumer, &topic, 1, text);
    while (err == KA_OK && stand_in->assigned < stand_in->partitions) {
        if (clock_mono_ms() > until_ms)
            return err_set(text, stand_in->assigned > 0 ? KA_ERR_NOT_ALLOWED : KA_ERR_TIMEOUT,
                           "group %s gave us %d of %d partitions in %d ms: a worker runs",
                           stand_in->group, stand_in->assigned, stand_in->partitions, timeout_ms);
        err = serve(stand_in, text);
        clock_sleep_ms(PAUSE_MS);
    }
    return err;
}

enum ka_err stand_in_join(const struct io_kafka_config *kafka, const char *group, const char *topic,
                          int32_t partitions, const char *id, int timeout_ms,
                          struct stand_in **stand_in, struct err_text *text)
{
    struct stand_in *s = calloc(1, sizeof *s);
    if (s == NULL)
        abort();
    s->kafka = *kafka;
    s->kafka.transaction_timeout_ms = TRANSACTION_MS;
    s->kafka.max_poll_interval_ms = POLL_INTERVAL_MS;
    s->group = group;
    s->partitions = partitions;
    s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    KA_ASSERT(s->wake_fd >= 0);
    enum ka_err err = io_kafka_producer_new(&s->kafka, id, &s->producer, text);
    if (err == KA_OK)
        err = io_kafka_producer_init(s->producer, CALL_MS, text);
    if (err == KA_OK)
        err = join(s, topic, timeout_ms, text);
    if (err != KA_OK)
        stand_in_leave(&s);
    *stand_in = s;
    return err;
}

void stand_in_leave(struct stand_in **stand_in)
{
    struct stand_in *s = *stand_in;
    if (s == NULL)
        return;
    io_kafka_consumer_free(&s->consumer, LEAVE_MS);
    io_kafka_producer_free(&s->producer);
    close(s->wake_fd);
    free(s);
    *stand_in = NULL;
}

enum ka_err stand_in_begin(struct stand_in *stand_in, struct err_text *text)
{
    return io_kafka_begin(stand_in->producer, text);
}

enum ka_err stand_in_write(struct stand_in *stand_in, const struct output *output,
                           struct err_text *text)
{
    enum ka_err err;
    int64_t until_ms = clock_mono_ms() + FLUSH_MS;
    while ((err = io_kafka_produce(stand_in->producer, output, 0, text)) == KA_ERR_LIMIT &&
           clock_mono_ms() < until_ms)
        io_kafka_producer_poll(stand_in->producer, PAUSE_MS);
    return err;
}

enum ka_err stand_in_flush(struct stand_in *stand_in, int64_t *first, struct err_text *text)
{
    struct io_kafka_delivery delivery;
    enum ka_err err = io_kafka_flush(stand_in->producer, FLUSH_MS, &delivery, text);
    if (err == KA_OK)
        err = delivery.error;
    if (err != KA_OK)
        return err;
    KA_ASSERT(delivery.span_count == 1);
    *first = delivery.spans[0].first;
    return KA_OK;
}

enum ka_err stand_in_commit(struct stand_in *stand_in, const struct io_kafka_offset *offset,
                            struct err_text *text)
{
    int32_t generation = -1;
    bool member = false;
    enum ka_err err = serve(stand_in, text);
    if (err != KA_OK)
        return err;
    struct io_kafka_group_metadata *group =
        io_kafka_group_metadata_take(stand_in->consumer, &generation, &member);
    if (!member || generation < 0 || stand_in->assigned < stand_in->partitions)
        err = err_set(text, KA_ERR_NOT_ALLOWED, "a worker has joined group %s", stand_in->group);
    if (err == KA_OK)
        err = io_kafka_send_offsets(stand_in->producer, offset, 1, group, CALL_MS, text);
    io_kafka_group_metadata_free(&group);
    return err == KA_OK ? io_kafka_commit(stand_in->producer, FLUSH_MS, text) : err;
}

void stand_in_abort(struct stand_in *stand_in)
{
    struct err_text text;
    enum ka_err err = io_kafka_abort(stand_in->producer, CALL_MS, &text);
    (void)err; // what is left open ends with its timeout
}
