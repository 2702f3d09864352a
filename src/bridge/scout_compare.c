// SPDX-License-Identifier: Apache-2.0
// Is the source still what was copied? Kafka's own answers to that (topic ids, leader epochs) are
// not to be seen through librdkafka 2.0.2, so the record that was read last is read again and its
// fingerprint compared, and the next offset must lie within the log. What this cannot see: a log
// that lost its end or was created again, grew beyond the last record, and holds the very same
// record there; and a new log after the last record was removed by retention.
#include "bridge/scout_internal.h"

#include "core/assert.h"
#include "io/clock.h"

#include <inttypes.h>
#include <stdlib.h>

enum { READ_MS = 5000, POLL_MS = 50, SMALL_FETCH_KBYTES = 16 };

static void settle(struct scout_job *job, enum ka_err error)
{
    job->settled = true;
    job->error = error;
}

static void settle_all(struct scout_job **jobs, size_t count, enum ka_err error,
                       const struct err_text *text)
{
    for (size_t i = 0; i < count; i++) {
        if (jobs[i]->settled)
            continue;
        jobs[i]->text = *text;
        settle(jobs[i], error);
    }
}

// The next offset must lie within the log. What settles nothing is left for the fingerprint.
static void compare_range(struct scout_job *job, int64_t start, int64_t end)
{
    const char *topic = job->topic;
    if (start < 0 || end < 0)
        settle(job, err_set(&job->text, KA_ERR_RETRY,
                            "%s/%d: the source does not say where it begins and ends", topic,
                            job->partition));
    else if (job->begins) {
        job->next = job->latest ? end : start;
        settle(job, KA_OK);
    } else if (job->next > end)
        settle(job,
               err_set(&job->text, KA_ERR_DIVERGED,
                       "%s/%d: copied up to offset %" PRId64 ", but the source ends at %" PRId64
                       ": it was truncated or created again",
                       topic, job->partition, job->next, end));
    else if (job->next < start)
        settle(job, err_set(&job->text, KA_ERR_DIVERGED,
                            "%s/%d: offsets %" PRId64 " to %" PRId64
                            " were removed from the source before they were copied",
                            topic, job->partition, job->next, start - 1));
    else if (job->last_offset < start) // nothing was read yet, or it is not kept any more
        settle(job, KA_OK);
}

static void compare_record(struct scout_job *job, const struct record *record)
{
    if (record->offset > job->last_offset) {
        settle(job, err_set(&job->text, KA_ERR_NOT_FOUND, "%s/%d: offset %" PRId64 " is gone",
                            job->topic, job->partition, job->last_offset));
        return;
    }
    bool same =
        record->timestamp_ms == job->last_time_ms && link_fingerprint(record) == job->last_hash;
    settle(job, same ? KA_OK
                     : err_set(&job->text, KA_ERR_DIVERGED,
                               "%s/%d: offset %" PRId64
                               " holds another record than the one that was read there: the topic "
                               "was truncated or created again",
                               job->topic, job->partition, job->last_offset));
}

static struct scout_job *job_of(struct scout_job **jobs, size_t count, const struct record *record)
{
    for (size_t i = 0; i < count; i++)
        if (!jobs[i]->settled && jobs[i]->partition == record->partition &&
            slice_eq(slice_str(jobs[i]->topic), record->topic))
            return jobs[i];
    return NULL;
}

// A compacted topic may have dropped the record since: that is no loss.
static void judge_missing(struct scout *scout, struct scout_job *job)
{
    struct io_kafka_settings found;
    struct err_text text;
    enum ka_err err = io_kafka_topic_config(scout->admin, job->topic, SCOUT_CALL_MS, &scout->arena,
                                            &found, &text);
    bool compacted = err != KA_OK || // may not be asked: it could be
                     strstr(io_kafka_setting(&found, "cleanup.policy"), "compact") != NULL;
    job->error = compacted ? KA_OK
                           : err_set(&job->text, KA_ERR_DIVERGED,
                                     "%s/%d: the record at offset %" PRId64
                                     " that was read last is gone: the topic was truncated or "
                                     "created again",
                                     job->topic, job->partition, job->last_offset);
}

static enum ka_err open_reader(struct scout *scout, struct err_text *text)
{
    struct io_kafka_config config = *scout->config.source;
    config.fetch_kbytes = SMALL_FETCH_KBYTES;
    config.queue_kbytes = 1024;
    return scout->reader != NULL ? KA_OK : io_kafka_reader_new(&config, true, &scout->reader, text);
}

static void close_part(struct scout *scout, const struct scout_job *job)
{
    struct err_text ignored;
    enum ka_err err = io_kafka_reader_remove(scout->reader, job->topic, job->partition, &ignored);
    KA_ASSERT(err == KA_OK);
}

// Reads until every job is settled or the time is up.
static void read_records(struct scout *scout, struct scout_job **jobs, size_t count, size_t open)
{
    int64_t until_ms = clock_mono_ms() + READ_MS;
    while (open > 0 && clock_mono_ms() < until_ms && !scout_stopping(scout)) {
        struct record record;
        struct err_text text = {""};
        enum ka_err err = KA_OK;
        struct scout_job *job = NULL;
        switch (io_kafka_reader_next(scout->reader, POLL_MS, &record, &err, &text)) {
        case IO_KAFKA_READ_NOTHING:
            break;
        case IO_KAFKA_READ_END: // nothing from there on is to be seen
            record.offset = INT64_MAX;
            job = job_of(jobs, count, &record);
            if (job != NULL)
                compare_record(job, &record);
            break;
        case IO_KAFKA_READ_RECORD:
            job = job_of(jobs, count, &record);
            if (job != NULL)
                compare_record(job, &record);
            break;
        case IO_KAFKA_READ_ERROR:
            job = job_of(jobs, count, &record);
            if (job != NULL) {
                job->text = text;
                settle(job, KA_ERR_RETRY); // the range is looked at again
            }
            break;
        }
        if (job == NULL)
            continue;
        close_part(scout, job);
        open--;
    }
    for (size_t i = 0; i < count; i++) {
        if (jobs[i]->settled)
            continue;
        close_part(scout, jobs[i]);
        settle(jobs[i], err_set(&jobs[i]->text, KA_ERR_TIMEOUT,
                                "%s/%d: the source did not give offset %" PRId64 " in %d ms",
                                jobs[i]->topic, jobs[i]->partition, jobs[i]->last_offset, READ_MS));
    }
}

static void compare_fingerprints(struct scout *scout, struct scout_job **jobs, size_t count)
{
    struct err_text text = {""};
    size_t open = 0;
    enum ka_err err = open_reader(scout, &text);
    for (size_t i = 0; i < count && err == KA_OK; i++) {
        if (jobs[i]->settled)
            continue;
        err = io_kafka_reader_add(scout->reader, jobs[i]->topic, jobs[i]->partition,
                                  jobs[i]->last_offset, &jobs[i]->text);
        if (err == KA_OK)
            open++;
        else
            settle(jobs[i], KA_ERR_RETRY);
    }
    if (err != KA_OK)
        settle_all(jobs, count, KA_ERR_RETRY, &text);
    if (open > 0)
        read_records(scout, jobs, count, open);
    for (size_t i = 0; i < count; i++)
        if (jobs[i]->error == KA_ERR_NOT_FOUND)
            judge_missing(scout, jobs[i]);
}

void scout_compare_batch(struct scout *scout, struct scout_job **jobs, size_t count)
{
    struct err_text text = {""};
    struct io_kafka_edge *edges = arena_zalloc(&scout->arena, 2 * count * sizeof *edges);
    KA_ASSERT(count > 0 && count <= SCOUT_BATCH_MAX);
    for (size_t i = 0; i < count; i++)
        edges[i] = edges[count + i] =
            (struct io_kafka_edge){jobs[i]->topic, jobs[i]->partition, -1};
    enum ka_err err = scout_reach(scout, &text);
    if (err == KA_OK)
        err = io_kafka_edges(scout->admin, false, edges, count, SCOUT_CALL_MS, &text);
    if (err == KA_OK)
        err = io_kafka_edges(scout->admin, true, edges + count, count, SCOUT_CALL_MS, &text);
    scout_note(scout, err, text.text);
    if (err != KA_OK) {
        settle_all(jobs, count, KA_ERR_RETRY, &text);
        return;
    }
    for (size_t i = 0; i < count; i++)
        compare_range(jobs[i], edges[i].offset, edges[count + i].offset);
    compare_fingerprints(scout, jobs, count);
}
