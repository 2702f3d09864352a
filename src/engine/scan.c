// SPDX-License-Identifier: Apache-2.0
#include "engine/scan.h"

#include "io/clock.h"

enum { TURN_MS = 100 };

static enum ka_err read_all(const struct scan *scan, struct io_kafka_reader *reader,
                            scan_take *take, void *context, struct err_text *text)
{
    int64_t moved_ms = clock_mono_ms();
    while (scan->stop == NULL || !atomic_load(scan->stop)) {
        struct record record;
        enum ka_err err = KA_OK;
        switch (io_kafka_reader_next(reader, TURN_MS, &record, &err, text)) {
        case IO_KAFKA_READ_RECORD:
            if (record.offset >= scan->end)
                return KA_OK;
            err = take(context, &record, text);
            if (err != KA_OK || record.offset + 1 >= scan->end)
                return err;
            moved_ms = clock_mono_ms();
            break;
        case IO_KAFKA_READ_END:
            if (record.offset >= scan->end)
                return KA_OK;
            break; // an open transaction ends here: it will go on
        case IO_KAFKA_READ_ERROR:
            return err;
        case IO_KAFKA_READ_NOTHING:
            break;
        }
        if (clock_mono_ms() - moved_ms > scan->stall_ms)
            return err_set(text, KA_ERR_TIMEOUT, "%s/%d: nothing more before %lld for %d ms",
                           scan->topic, scan->partition, (long long)scan->end, scan->stall_ms);
    }
    return err_set(text, KA_ERR_RETRY, "the worker stops");
}

enum ka_err scan_records(const struct scan *scan, scan_take *take, void *context,
                         struct err_text *text)
{
    struct io_kafka_reader *reader = NULL;
    if (scan->from >= scan->end)
        return KA_OK;
    enum ka_err err = io_kafka_reader_new(scan->kafka, true, &reader, text);
    if (err == KA_OK)
        err = io_kafka_reader_add(reader, scan->topic, scan->partition, scan->from, text);
    if (err == KA_OK)
        err = read_all(scan, reader, take, context, text);
    io_kafka_reader_free(&reader);
    return err;
}
