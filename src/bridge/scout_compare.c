// SPDX-License-Identifier: Apache-2.0
// Asks the source what core/link_compare.h wants to know of it: where its partitions begin and end,
// and the records that were read last.
#include "bridge/scout_internal.h"

#include "core/assert.h"
#include "io/clock.h"

#include <inttypes.h>
#include <stdlib.h>

enum { READ_MS = 5000, POLL_MS = 50, SMALL_FETCH_KBYTES = 16 };

static void settle_all(struct scout_job **jobs, size_t count, enum ka_err error,
                       const struct err_text *text)
{
    for (size_t i = 0; i < count; i++) {
        if (jobs[i]->answer.settled)
            continue;
        jobs[i]->answer.text = *text;
        link_settle(&jobs[i]->answer, error);
    }
}

static struct scout_job *job_of(struct scout_job **jobs, size_t count, const struct record *record)
{
    for (size_t i = 0; i < count; i++)
        if (!jobs[i]->answer.settled && jobs[i]->question.partition == record->partition &&
            slice_eq(slice_str(jobs[i]->question.topic), record->topic))
            return jobs[i];
    return NULL;
}

static void judge_missing(struct scout *scout, struct scout_job *job)
{
    struct io_kafka_settings found;
    struct err_text text;
    enum ka_err err = io_kafka_topic_config(scout->admin, job->question.topic, SCOUT_CALL_MS,
                                            &scout->arena, &found, &text);
    bool compacted = err != KA_OK || // may not be asked: it could be
                     strstr(io_kafka_setting(&found, "cleanup.policy"), "compact") != NULL;
    link_compare_missing(&job->question, compacted, &job->answer);
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
    enum ka_err err = io_kafka_reader_remove(scout->reader, job->question.topic,
                                             job->question.partition, &ignored);
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
            job = job_of(jobs, count, &record);
            if (job != NULL)
                link_compare_record(&job->question, NULL, &job->answer);
            break;
        case IO_KAFKA_READ_RECORD:
            job = job_of(jobs, count, &record);
            if (job != NULL)
                link_compare_record(&job->question, &record, &job->answer);
            break;
        case IO_KAFKA_READ_ERROR:
            job = job_of(jobs, count, &record);
            if (job != NULL) {
                job->answer.text = text;
                link_settle(&job->answer, KA_ERR_RETRY); // the range is looked at again
            }
            break;
        }
        if (job == NULL)
            continue;
        close_part(scout, job);
        open--;
    }
    for (size_t i = 0; i < count; i++) {
        struct link_answer *answer = &jobs[i]->answer;
        if (answer->settled)
            continue;
        close_part(scout, jobs[i]);
        link_settle(answer, err_set(&answer->text, KA_ERR_TIMEOUT,
                                    "%s/%d: the source did not give offset %" PRId64 " in %d ms",
                                    jobs[i]->question.topic, jobs[i]->question.partition,
                                    jobs[i]->question.last_offset, READ_MS));
    }
}

static void compare_fingerprints(struct scout *scout, struct scout_job **jobs, size_t count)
{
    struct err_text text = {""};
    size_t open = 0;
    enum ka_err err = open_reader(scout, &text);
    for (size_t i = 0; i < count && err == KA_OK; i++) {
        const struct link_question *question = &jobs[i]->question;
        if (jobs[i]->answer.settled)
            continue;
        err = io_kafka_reader_add(scout->reader, question->topic, question->partition,
                                  question->last_offset, &jobs[i]->answer.text);
        if (err == KA_OK)
            open++;
        else
            link_settle(&jobs[i]->answer, KA_ERR_RETRY);
    }
    if (err != KA_OK)
        settle_all(jobs, count, KA_ERR_RETRY, &text);
    if (open > 0)
        read_records(scout, jobs, count, open);
    for (size_t i = 0; i < count; i++)
        if (jobs[i]->answer.error == KA_ERR_NOT_FOUND)
            judge_missing(scout, jobs[i]);
}

void scout_compare_batch(struct scout *scout, struct scout_job **jobs, size_t count)
{
    struct err_text text = {""};
    struct io_kafka_edge *edges = arena_zalloc(&scout->arena, 2 * count * sizeof *edges);
    KA_ASSERT(count > 0 && count <= SCOUT_BATCH_MAX);
    for (size_t i = 0; i < count; i++)
        edges[i] = edges[count + i] =
            (struct io_kafka_edge){jobs[i]->question.topic, jobs[i]->question.partition, -1};
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
        link_compare_range(&jobs[i]->question, edges[i].offset, edges[count + i].offset,
                           &jobs[i]->answer);
    compare_fingerprints(scout, jobs, count);
}
