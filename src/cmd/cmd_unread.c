// SPDX-License-Identifier: Apache-2.0
#include "cmd/cmd_unread.h"

#include "io/clock.h"

#include <stdlib.h>

enum {
    BYTES_MAX = 32 * 1024 * 1024, // read in all; dead letters can be large
    QUIET_MS = 5000
};

struct counting {
    struct cmd_unread *const *list;
    size_t count;
    size_t left; // partitions that have not been read to their end
    int64_t bytes;
};

// The partition of a record or an end that is still being counted.
static struct cmd_unread *counted(const struct counting *counting, const struct record *record)
{
    for (size_t i = 0; i < counting->count; i++) {
        struct cmd_unread *unread = counting->list[i];
        if (!unread->exact && unread->partition == record->partition &&
            slice_eq(slice_str(unread->topic), record->topic))
            return unread;
    }
    return NULL;
}

static void take_record(struct counting *counting, const struct record *record)
{
    struct cmd_unread *unread = counted(counting, record);
    counting->bytes += (int64_t)(record->key.len + record->value.len);
    if (unread == NULL)
        return;
    unread->count += record->offset < unread->end;
    unread->exact = record->offset + 1 >= unread->end;
    counting->left -= unread->exact;
}

static void take_end(struct counting *counting, const struct record *record)
{
    struct cmd_unread *unread = counted(counting, record);
    if (unread == NULL)
        return;
    unread->exact = true;
    counting->left--;
}

static enum ka_err read_on(struct counting *counting, struct io_kafka_reader *reader,
                           struct err_text *text)
{
    int64_t heard_ms = clock_mono_ms();
    while (counting->left > 0 && counting->bytes < BYTES_MAX &&
           clock_mono_ms() - heard_ms < QUIET_MS) {
        struct record record;
        enum ka_err err = KA_OK;
        enum io_kafka_read read = io_kafka_reader_next(reader, 250, &record, &err, text);
        if (read == IO_KAFKA_READ_ERROR && err_class(err) != ERR_CLASS_RETRY)
            return err;
        if (read == IO_KAFKA_READ_RECORD)
            take_record(counting, &record);
        if (read == IO_KAFKA_READ_END)
            take_end(counting, &record);
        if (read == IO_KAFKA_READ_RECORD || read == IO_KAFKA_READ_END)
            heard_ms = clock_mono_ms();
    }
    return KA_OK;
}

enum ka_err cmd_unread_count(const struct cmd_app *app, struct cmd_unread *const *list,
                             size_t count, struct err_text *text)
{
    struct counting counting = {.list = list, .count = count};
    struct io_kafka_reader *reader = NULL;
    enum ka_err err = KA_OK;
    for (size_t i = 0; err == KA_OK && i < count; i++) {
        int64_t offsets = list[i]->end - list[i]->from;
        list[i]->exact = offsets <= 0;
        list[i]->count = offsets > CMD_UNREAD_MAX ? offsets : 0;
        if (list[i]->exact || offsets > CMD_UNREAD_MAX)
            continue;
        if (reader == NULL)
            err = io_kafka_reader_new(&app->kafka, true, &reader, text);
        if (err == KA_OK)
            err = io_kafka_reader_add(reader, list[i]->topic, list[i]->partition, list[i]->from,
                                      text);
        counting.left++;
    }
    if (err == KA_OK && reader != NULL)
        err = read_on(&counting, reader, text);
    for (size_t i = 0; i < count; i++) {
        if (!list[i]->exact)
            list[i]->count = list[i]->end - list[i]->from;
    }
    io_kafka_reader_free(&reader);
    return err;
}
