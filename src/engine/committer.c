// SPDX-License-Identifier: Apache-2.0
#include "engine/committer.h"

#include "core/assert.h"
#include "engine/kill.h"
#include "io/clock.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

enum job_type { JOB_RESET, JOB_FLUSH, JOB_COMMIT, JOB_ABORT, JOB_TOKEN, JOB_SAMPLE };

enum { INIT_TIMEOUT_MS = 10000, WARM_TIMEOUT_MS = 5000, ASK_TIMEOUT_MS = 2000 };

struct job {
    struct mail mail;
    enum job_type type;
    int32_t producer;
    struct io_kafka_producer *handle;
    struct io_kafka_group_metadata *group;
    struct io_kafka_offset *offsets; // with their metadata behind the array
    size_t count;
    int32_t slot;
    int32_t epoch;
    char topic[LANE_TOPIC_MAX];
    int32_t partition;
};

struct committer {
    struct committer_config config;
    struct mailbox jobs;
    pthread_t thread;
    atomic_bool busy;
    atomic_bool abandoned; // answers are dropped, producers are freed
    atomic_bool closing;   // what has not begun is not done
};

void lane_mail_free(struct lane_mail **mail)
{
    if (*mail == NULL)
        return;
    free((*mail)->spans);
    free(*mail);
    *mail = NULL;
}

static struct lane_mail *answer(const struct job *job, enum lane_mail_type type)
{
    struct lane_mail *mail = calloc(1, sizeof *mail);
    if (mail == NULL)
        abort();
    mail->type = type;
    mail->producer = job->producer;
    mail->slot = job->slot;
    mail->epoch = job->epoch;
    return mail;
}

static void post(struct committer *committer, struct lane_mail *mail)
{
    if (!atomic_load(&committer->abandoned)) {
        mailbox_post(committer->config.reply, &mail->mail);
        return;
    }
    io_kafka_producer_free(&mail->handle);
    lane_mail_free(&mail);
}

static void run_reset(struct committer *committer, struct job *job)
{
    const struct committer_config *config = &committer->config;
    struct lane_mail *mail = answer(job, LANE_MAIL_PRODUCER);
    char id[300];
    snprintf(id, sizeof id, "%s.%c", config->transactional_id, 'a' + (int)job->producer);
    if (job->handle != NULL) {
        KILL_POINT("before_reset");
        io_kafka_producer_free(&job->handle);
        KILL_POINT("reset_destroyed");
    }
    mail->error = io_kafka_producer_new(config->kafka, id, &mail->handle, &mail->text);
    if (mail->error == KA_OK)
        mail->error = io_kafka_producer_init(mail->handle, INIT_TIMEOUT_MS, &mail->text);
    KILL_POINT("producer_initialised");
    if (mail->error == KA_OK)
        mail->error = io_kafka_producer_warm(mail->handle, config->warm_topics, config->warm_count,
                                             WARM_TIMEOUT_MS, &mail->text);
    if (mail->error != KA_OK)
        io_kafka_producer_free(&mail->handle);
    post(committer, mail);
}

static void run_flush(struct committer *committer, struct job *job)
{
    struct lane_mail *mail = answer(job, LANE_MAIL_FLUSHED);
    struct io_kafka_delivery delivery = {0};
    KILL_POINT("before_flush");
    mail->error = io_kafka_flush(job->handle, committer->config.timeout_ms, &delivery, &mail->text);
    if (mail->error == KA_OK && delivery.failed > 0)
        mail->error = delivery.error;
    if (delivery.span_count > 0) {
        mail->spans = calloc(delivery.span_count, sizeof *mail->spans);
        if (mail->spans == NULL)
            abort();
        for (size_t i = 0; i < delivery.span_count; i++)
            mail->spans[i] = (struct lane_span){delivery.spans[i].tag, delivery.spans[i].first,
                                                delivery.spans[i].last};
        mail->span_count = delivery.span_count;
    }
    KILL_POINT("flushed");
    post(committer, mail);
}

static void run_commit(struct committer *committer, struct job *job)
{
    struct lane_mail *mail = answer(job, LANE_MAIL_COMMITTED);
    int timeout_ms = committer->config.timeout_ms;
    KILL_POINT("before_send_offsets");
    mail->error = io_kafka_send_offsets(job->handle, job->offsets, job->count, job->group,
                                        timeout_ms, &mail->text);
    KILL_POINT("offsets_sent");
    KILL_POINT_SOON("committing");
    if (mail->error == KA_OK)
        mail->error = io_kafka_commit(job->handle, timeout_ms, &mail->text);
    KILL_POINT("commit_answered");
    mail->dirty = io_kafka_producer_dirty(job->handle);
    if (mail->error != KA_OK)
        mail->type = LANE_MAIL_COMMIT_FAILED;
    io_kafka_group_metadata_free(&job->group);
    post(committer, mail);
}

static void run_abort(struct committer *committer, struct job *job)
{
    struct lane_mail *mail = answer(job, LANE_MAIL_ABORTED);
    KILL_POINT("before_abort");
    mail->error = io_kafka_abort(job->handle, committer->config.timeout_ms, &mail->text);
    KILL_POINT("aborted");
    mail->dirty = io_kafka_producer_dirty(job->handle);
    if (mail->error != KA_OK)
        mail->type = LANE_MAIL_ABORT_FAILED;
    post(committer, mail);
}

static void run_token(struct committer *committer, struct job *job)
{
    struct lane_mail *mail = answer(job, LANE_MAIL_TOKEN);
    struct arena arena = {0};
    struct io_kafka_committed entry = {.topic = job->topic, .partition = job->partition};
    mail->error = io_kafka_committed(committer->config.admin, committer->config.group, true,
                                     ASK_TIMEOUT_MS, &entry, 1, &arena, &mail->text);
    mail->offset = entry.offset;
    if (mail->error == KA_OK && entry.metadata.len <= sizeof mail->meta) {
        mail->meta_len = entry.metadata.len;
        if (entry.metadata.len > 0)
            memcpy(mail->meta, entry.metadata.ptr, entry.metadata.len);
    }
    arena_fini(&arena);
    post(committer, mail);
}

static void run_sample(struct committer *committer, struct job *job)
{
    struct lane_mail *mail = answer(job, LANE_MAIL_END_SAMPLED);
    int64_t start = 0;
    mail->error = io_kafka_watermarks(committer->config.admin, job->topic, job->partition,
                                      ASK_TIMEOUT_MS, &start, &mail->offset, &mail->text);
    post(committer, mail);
}

static void run(struct committer *committer, struct job *job)
{
    switch (job->type) {
    case JOB_RESET:
        run_reset(committer, job);
        break;
    case JOB_FLUSH:
        run_flush(committer, job);
        break;
    case JOB_COMMIT:
        run_commit(committer, job);
        break;
    case JOB_ABORT:
        run_abort(committer, job);
        break;
    case JOB_TOKEN:
        run_token(committer, job);
        break;
    case JOB_SAMPLE:
        run_sample(committer, job);
        break;
    }
}

static void destroy(struct committer *committer)
{
    mailbox_fini(&committer->jobs);
    free(committer);
}

static void *thread_main(void *argument)
{
    struct committer *committer = argument;
    struct mail *mail;
    char name[16]; // the kernel's limit
    snprintf(name, sizeof name, "%s.commit", committer->config.lane);
    prctl(PR_SET_NAME, name);
    while ((mail = mailbox_wait(&committer->jobs, -1)) != NULL) {
        struct job *job = (struct job *)(void *)mail;
        atomic_store(&committer->busy, true);
        if (!atomic_load(&committer->closing))
            run(committer, job);
        atomic_store(&committer->busy, false);
        // The handle of a reset is the job's own; of an abandoned job nobody else holds it any
        // more.
        if (job->type == JOB_RESET || atomic_load(&committer->abandoned))
            io_kafka_producer_free(&job->handle);
        io_kafka_group_metadata_free(&job->group);
        free(job->offsets);
        free(job);
    }
    if (atomic_load(&committer->abandoned))
        destroy(committer);
    return NULL;
}

struct committer *committer_new(const struct committer_config *config)
{
    struct committer *committer = calloc(1, sizeof *committer);
    if (committer == NULL)
        abort();
    committer->config = *config;
    mailbox_init(&committer->jobs, -1);
    if (pthread_create(&committer->thread, NULL, thread_main, committer) != 0)
        abort();
    return committer;
}

void committer_free(struct committer **committer)
{
    if (*committer == NULL)
        return;
    atomic_store(&(*committer)->closing, true);
    mailbox_close(&(*committer)->jobs);
    pthread_join((*committer)->thread, NULL);
    destroy(*committer);
    *committer = NULL;
}

void committer_abandon(struct committer **committer)
{
    pthread_detach((*committer)->thread);
    atomic_store(&(*committer)->abandoned, true);
    atomic_store(&(*committer)->closing, true);
    mailbox_close(&(*committer)->jobs);
    *committer = NULL;
}

bool committer_busy(struct committer *committer)
{
    return atomic_load(&committer->busy);
}

static struct job *new_job(enum job_type type, int32_t producer, struct io_kafka_producer *handle)
{
    struct job *job = calloc(1, sizeof *job);
    if (job == NULL)
        abort();
    job->type = type;
    job->producer = producer;
    job->handle = handle;
    return job;
}

void committer_reset(struct committer *committer, int32_t producer, struct io_kafka_producer *old)
{
    mailbox_post(&committer->jobs, &new_job(JOB_RESET, producer, old)->mail);
}

void committer_flush(struct committer *committer, int32_t producer,
                     struct io_kafka_producer *handle)
{
    mailbox_post(&committer->jobs, &new_job(JOB_FLUSH, producer, handle)->mail);
}

void committer_commit(struct committer *committer, int32_t producer,
                      struct io_kafka_producer *handle, const struct io_kafka_offset *offsets,
                      size_t count, struct io_kafka_group_metadata *group)
{
    struct job *job = new_job(JOB_COMMIT, producer, handle);
    size_t size = count * sizeof *offsets;
    for (size_t i = 0; i < count; i++)
        size += offsets[i].topic.len + offsets[i].metadata.len;
    job->offsets = malloc(size + 1);
    if (job->offsets == NULL)
        abort();
    char *at = (char *)(job->offsets + count);
    for (size_t i = 0; i < count; i++) {
        job->offsets[i] = offsets[i];
        memcpy(at, offsets[i].topic.ptr, offsets[i].topic.len);
        job->offsets[i].topic.ptr = at;
        at += offsets[i].topic.len;
        memcpy(at, offsets[i].metadata.ptr, offsets[i].metadata.len);
        job->offsets[i].metadata.ptr = at;
        at += offsets[i].metadata.len;
    }
    job->count = count;
    job->group = group;
    mailbox_post(&committer->jobs, &job->mail);
}

void committer_abort(struct committer *committer, int32_t producer,
                     struct io_kafka_producer *handle)
{
    mailbox_post(&committer->jobs, &new_job(JOB_ABORT, producer, handle)->mail);
}

static void ask(struct committer *committer, enum job_type type, int32_t slot, int32_t epoch,
                const struct lane_partition_name *name)
{
    struct job *job = new_job(type, -1, NULL);
    job->slot = slot;
    job->epoch = epoch;
    KA_ASSERT(name->topic.len < sizeof job->topic);
    memcpy(job->topic, name->topic.ptr, name->topic.len);
    job->partition = name->partition;
    mailbox_post(&committer->jobs, &job->mail);
}

void committer_ask_token(struct committer *committer, int32_t slot, int32_t epoch,
                         const char *topic, int32_t partition)
{
    struct lane_partition_name name = {slice_str(topic), partition};
    ask(committer, JOB_TOKEN, slot, epoch, &name);
}

void committer_sample_end(struct committer *committer, int32_t slot, int32_t epoch,
                          const char *topic, int32_t partition)
{
    struct lane_partition_name name = {slice_str(topic), partition};
    ask(committer, JOB_SAMPLE, slot, epoch, &name);
}
