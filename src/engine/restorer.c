// SPDX-License-Identifier: Apache-2.0
#include "engine/restorer.h"

#include "core/assert.h"
#include "core/shard.h"
#include "engine/kill.h"
#include "engine/state_read.h"
#include "io/clock.h"
#include "io/log.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

enum {
    ASK_TIMEOUT_MS = 5000,
    FENCE_TIMEOUT_MS = 10000,
    STABLE_TIMEOUT_MS = 60000, // longer than any transaction timeout plus the broker's sweep
    STABLE_PAUSE_MS = 20,
    FAILED_PAUSE_MS = 250, // before the answer that makes the lane ask again
    FENCED_KEPT = 64,
    OWNER_MAX = META_NODE_MAX + META_LANE_MAX + 2
};

struct restore_job {
    struct mail mail;
    int32_t slot;
    int32_t epoch;
    char topic[LANE_TOPIC_MAX];
    int32_t partition;
};

// A dead lane that was fenced already, for this life of its process.
struct fenced {
    char owner[OWNER_MAX];
    int64_t incarnation;
};

struct restorer {
    struct restorer_config config;
    struct mailbox jobs;
    pthread_t thread;
    atomic_bool stop;
    struct fenced fenced[FENCED_KEPT];
    size_t fenced_next;
    struct arena arena;
};

// ---- Shards
// --------------------------------------------------------------------------------------

static void *shard_begin(const struct restorer_config *config)
{
    return shard_restore_new(&config->limits);
}

static enum ka_err shard_read(const struct state_read *read, void *restored, struct err_text *text)
{
    return state_read(read, restored, text);
}

static void shard_forget(void *restored)
{
    struct shard_restore *restore = restored;
    shard_restore_free(&restore);
}

static void shard_count(const void *restored, struct restore_counts *counts)
{
    *counts = (struct restore_counts){shard_restore_live(restored), shard_restore_chunks(restored),
                                      shard_restore_records(restored)};
}

const struct restore_form restorer_shard_form = {
    .begin = shard_begin,
    .read = shard_read,
    .free = shard_forget,
    .count = shard_count,
};

// ---- Who had it
// ----------------------------------------------------------------------------------

static bool is_member(struct restorer *restorer, const char *owner, bool *known)
{
    const struct io_kafka_member *members = NULL;
    size_t count = 0;
    const char *state = NULL;
    struct err_text text;
    enum ka_err err =
        io_kafka_members(restorer->config.admin, restorer->config.group, ASK_TIMEOUT_MS,
                         &restorer->arena, &members, &count, &state, &text);
    *known = err == KA_OK;
    if (err != KA_OK)
        log_warn("restore", "members_unknown", "group=%s error=%s", restorer->config.group,
                 text.text);
    for (size_t i = 0; err == KA_OK && i < count; i++)
        if (strcmp(members[i].client_id, owner) == 0)
            return true;
    return false;
}

static bool was_fenced(const struct restorer *restorer, const char *owner, int64_t incarnation)
{
    for (size_t i = 0; i < FENCED_KEPT; i++)
        if (restorer->fenced[i].incarnation == incarnation &&
            strcmp(restorer->fenced[i].owner, owner) == 0)
            return true;
    return false;
}

struct fence_call {
    const struct io_kafka_config *kafka;
    char id[400];
    enum ka_err error;
    struct err_text text;
};

static void *fence_main(void *argument)
{
    struct fence_call *call = argument;
    call->error = io_kafka_fence(call->kafka, call->id, FENCE_TIMEOUT_MS, &call->text);
    return NULL;
}

// Both ids at once, in parallel: which of them holds the open transaction nobody knows.
static bool fence_both(struct restorer *restorer, const char *owner)
{
    struct fence_call calls[LANE_PRODUCERS];
    pthread_t threads[LANE_PRODUCERS];
    for (int i = 0; i < LANE_PRODUCERS; i++) {
        calls[i] = (struct fence_call){.kafka = restorer->config.kafka};
        snprintf(calls[i].id, sizeof calls[i].id, "%s.%s.%c", restorer->config.app, owner, 'a' + i);
        if (pthread_create(&threads[i], NULL, fence_main, &calls[i]) != 0)
            abort();
    }
    bool ok = true;
    for (int i = 0; i < LANE_PRODUCERS; i++) {
        pthread_join(threads[i], NULL);
        if (calls[i].error == KA_OK)
            continue;
        ok = false;
        log_warn("restore", "fence_failed", "id=%s error=%s", calls[i].id, calls[i].text.text);
    }
    return ok;
}

static void fence_dead_owner(struct restorer *restorer, const struct meta *meta)
{
    char owner[OWNER_MAX];
    snprintf(owner, sizeof owner, "%.*s.%.*s", SLICE_FMT(meta->node), SLICE_FMT(meta->lane));
    bool ours = slice_eq(meta->node, slice_str(restorer->config.node)) &&
                slice_eq(meta->lane, slice_str(restorer->config.lane));
    if (ours || was_fenced(restorer, owner, meta->incarnation))
        return;
    bool known = false;
    if (is_member(restorer, owner, &known) || !known)
        return; // never fence a member
    int64_t begun_ms = clock_mono_ms();
    KILL_POINT("before_fence");
    if (!fence_both(restorer, owner))
        return;
    KILL_POINT("fenced");
    log_info("restore", "fenced", "owner=%s ms=%lld", owner,
             (long long)(clock_mono_ms() - begun_ms));
    struct fenced *entry = &restorer->fenced[restorer->fenced_next++ % FENCED_KEPT];
    memcpy(entry->owner, owner, sizeof owner);
    entry->incarnation = meta->incarnation;
}

// ---- Offset
// --------------------------------------------------------------------------------------

static enum ka_err committed(struct restorer *restorer, const struct restore_job *job, bool stable,
                             struct io_kafka_committed *entry, struct err_text *text)
{
    *entry = (struct io_kafka_committed){.topic = job->topic, .partition = job->partition};
    return io_kafka_committed(restorer->config.admin, restorer->config.group, stable,
                              ASK_TIMEOUT_MS, entry, 1, &restorer->arena, text);
}

static enum ka_err wait_stable(struct restorer *restorer, const struct restore_job *job,
                               struct io_kafka_committed *entry, struct err_text *text)
{
    int64_t until_ms = clock_mono_ms() + STABLE_TIMEOUT_MS;
    enum ka_err err = KA_ERR_TIMEOUT;
    while (err != KA_OK && err_class(err) == ERR_CLASS_RETRY && clock_mono_ms() < until_ms &&
           !atomic_load(&restorer->stop)) {
        err = committed(restorer, job, true, entry, text);
        if (err != KA_OK)
            clock_sleep_ms(STABLE_PAUSE_MS);
    }
    return err;
}

// ---- State
// ---------------------------------------------------------------------------------------

static enum ka_err read_state(struct restorer *restorer, const struct restore_job *job,
                              const struct meta *meta, bool has_offset, void *restore,
                              struct err_text *text)
{
    struct state_read read = {.kafka = restorer->config.kafka,
                              .admin = restorer->config.admin,
                              .topic = restorer->config.state_topic,
                              .inbox = job->topic,
                              .partition = job->partition,
                              .low_water = meta->present ? meta->low_water : -1,
                              .has_offset = has_offset,
                              .started = meta->counts.started,
                              .stop = &restorer->stop};
    return restorer->config.form->read(&read, restore, text);
}

static enum ka_err first_offset(struct restorer *restorer, const struct restore_job *job,
                                int64_t *offset, struct err_text *text)
{
    int64_t end = 0;
    return io_kafka_watermarks(restorer->config.admin, job->topic, job->partition, ASK_TIMEOUT_MS,
                               offset, &end, text);
}

// ---- The job
// -------------------------------------------------------------------------------------

// Metadata that is not ours was written by somebody else, who knows nothing of what stands there.
static enum ka_err read_meta(const struct restore_job *job, const struct io_kafka_committed *entry,
                             struct meta *meta, struct err_text *text)
{
    enum ka_err err = meta_parse(entry->metadata, meta, text);
    if (err == KA_OK || err == KA_ERR_VERSION)
        return err;
    return err_wrap(text, KA_ERR_DIVERGED, "%s/%d: somebody else has committed offset %lld",
                    job->topic, job->partition, (long long)entry->offset);
}

static enum ka_err restore_one(struct restorer *restorer, const struct restore_job *job,
                               struct lane_mail *mail)
{
    struct io_kafka_committed entry;
    struct meta meta = {0};
    enum ka_err err = committed(restorer, job, false, &entry, &mail->text);
    if (err == KA_OK)
        err = read_meta(job, &entry, &meta, &mail->text);
    if (err == KA_OK && meta.present)
        fence_dead_owner(restorer, &meta);
    if (err == KA_OK)
        err = wait_stable(restorer, job, &entry, &mail->text);
    KILL_POINT("offset_stable");
    if (err == KA_OK)
        err = read_meta(job, &entry, &meta, &mail->text);
    if (err != KA_OK)
        return err;
    const struct restore_form *form = restorer->config.form;
    void *restore = NULL;
    if (form != NULL) {
        restore = form->begin(&restorer->config);
        err = read_state(restorer, job, &meta, entry.offset >= 0, restore, &mail->text);
    }
    mail->offset = entry.offset;
    if (err == KA_OK && entry.offset < 0)
        err = first_offset(restorer, job, &mail->offset, &mail->text);
    if (err != KA_OK) {
        if (form != NULL)
            form->free(restore);
        return err;
    }
    mail->restored = restore;
    KA_ASSERT(entry.metadata.len <= sizeof mail->meta);
    mail->meta_len = entry.metadata.len;
    if (mail->meta_len > 0)
        memcpy(mail->meta, entry.metadata.ptr, mail->meta_len);
    return KA_OK;
}

static void log_restored(const struct restorer *restorer, const struct restore_job *job,
                         const struct lane_mail *mail, int64_t ms)
{
    struct restore_counts counts = {0};
    if (mail->error == KA_OK && mail->restored != NULL)
        restorer->config.form->count(mail->restored, &counts);
    if (mail->error != KA_OK)
        log_warn("restore", "failed", "partition=%s/%d ms=%lld class=%s error=%s", job->topic,
                 job->partition, (long long)ms, err_name(mail->error), mail->text.text);
    else if (mail->restored == NULL)
        log_info("restore", "positioned", "partition=%s/%d offset=%lld ms=%lld", job->topic,
                 job->partition, (long long)mail->offset, (long long)ms);
    else
        log_info("restore", "restored",
                 "partition=%s/%d offset=%lld live=%zu chunks=%zu records=%zu ms=%lld", job->topic,
                 job->partition, (long long)mail->offset, counts.live, counts.chunks,
                 counts.records, (long long)ms);
}

static void pause_for(struct restorer *restorer, int ms)
{
    int64_t until_ms = clock_mono_ms() + ms;
    while (clock_mono_ms() < until_ms && !atomic_load(&restorer->stop))
        clock_sleep_ms(10);
}

static void run(struct restorer *restorer, struct restore_job *job)
{
    struct lane_mail *mail = calloc(1, sizeof *mail);
    if (mail == NULL)
        abort();
    mail->type = LANE_MAIL_RESTORED;
    mail->slot = job->slot;
    mail->epoch = job->epoch;
    int64_t begun_ms = clock_mono_ms();
    mail->error = restore_one(restorer, job, mail);
    log_restored(restorer, job, mail, clock_mono_ms() - begun_ms);
    if (err_class(mail->error) == ERR_CLASS_RETRY) // else a broker that is gone keeps us busy
        pause_for(restorer, FAILED_PAUSE_MS);
    KILL_POINT("restored");
    mailbox_post(restorer->config.reply, &mail->mail);
    arena_reset(&restorer->arena);
}

static void *thread_main(void *argument)
{
    struct restorer *restorer = argument;
    struct mail *mail;
    char name[16]; // the kernel's limit
    snprintf(name, sizeof name, "%s.restore", restorer->config.lane);
    prctl(PR_SET_NAME, name);
    while ((mail = mailbox_wait(&restorer->jobs, -1)) != NULL) {
        if (!atomic_load(&restorer->stop))
            run(restorer, (struct restore_job *)(void *)mail);
        free(mail);
    }
    return NULL;
}

struct restorer *restorer_new(const struct restorer_config *config)
{
    struct restorer *restorer = calloc(1, sizeof *restorer);
    if (restorer == NULL)
        abort();
    restorer->config = *config;
    mailbox_init(&restorer->jobs, -1);
    if (pthread_create(&restorer->thread, NULL, thread_main, restorer) != 0)
        abort();
    return restorer;
}

void restorer_free(struct restorer **restorer)
{
    if (*restorer == NULL)
        return;
    atomic_store(&(*restorer)->stop, true);
    mailbox_close(&(*restorer)->jobs);
    pthread_join((*restorer)->thread, NULL);
    mailbox_fini(&(*restorer)->jobs);
    arena_fini(&(*restorer)->arena);
    free(*restorer);
    *restorer = NULL;
}

void restorer_restore(struct restorer *restorer, int32_t slot, int32_t epoch, const char *topic,
                      int32_t partition)
{
    struct restore_job *job = calloc(1, sizeof *job);
    if (job == NULL)
        abort();
    job->slot = slot;
    job->epoch = epoch;
    KA_ASSERT(strlen(topic) < sizeof job->topic);
    memcpy(job->topic, topic, strlen(topic));
    job->partition = partition;
    mailbox_post(&restorer->jobs, &job->mail);
}
