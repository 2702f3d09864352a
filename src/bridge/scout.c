// SPDX-License-Identifier: Apache-2.0
#include "bridge/scout_internal.h"

#include "core/assert.h"
#include "io/clock.h"
#include "io/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

enum { JOB_WAIT_MS = 100 };

bool scout_stopping(struct scout *scout)
{
    pthread_mutex_lock(&scout->lock);
    bool stop = scout->stop;
    pthread_mutex_unlock(&scout->lock);
    return stop;
}

// ---- Health

static void count_outcome(struct scout *scout, enum ka_err error, const char *text)
{
    struct scout_health *health = &scout->health;
    enum breaker_state before = scout->breaker.state;
    if (error == KA_OK) {
        breaker_succeeded(&scout->breaker);
        health->heard_ms = clock_now_ms();
        health->heard_mono_ms = clock_mono_ms();
        health->error[0] = '\0';
    } else {
        breaker_failed(&scout->breaker, &scout->config.breaker, clock_mono_ms());
        health->failures++;
        snprintf(health->error, sizeof health->error, "%s", text);
    }
    health->breaker = scout->breaker.state;
    health->openings = scout->breaker.openings;
    if (before != scout->breaker.state)
        log_at(error == KA_OK ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "link", "breaker",
               "source=%.*s state=%s error=%s", SLICE_FMT(scout->config.topics.source),
               breaker_state_name(scout->breaker.state), error == KA_OK ? "" : text);
}

void scout_heard(struct scout *scout, enum ka_err error, const char *text)
{
    pthread_mutex_lock(&scout->lock);
    count_outcome(scout, error, text);
    pthread_mutex_unlock(&scout->lock);
}

void scout_note(struct scout *scout, enum ka_err error, const char *text)
{
    scout->failed = scout->failed || error != KA_OK;
    scout_heard(scout, error, text);
}

void scout_health(struct scout *scout, struct scout_health *health)
{
    pthread_mutex_lock(&scout->lock);
    *health = scout->health;
    health->topics = scout->view == NULL ? 0 : scout->view->seen.count;
    pthread_mutex_unlock(&scout->lock);
}

bool scout_cluster(struct scout *scout, char *id, size_t size)
{
    pthread_mutex_lock(&scout->lock);
    bool known = scout->cluster[0] != '\0';
    snprintf(id, size, "%s", scout->cluster);
    pthread_mutex_unlock(&scout->lock);
    return known;
}

// ---- The view

static void drop_view(struct scout_view *view) // under the lock
{
    if (view == NULL || --view->holders > 0)
        return;
    free(view->topics);
    free(view);
}

struct scout_view *scout_view(struct scout *scout)
{
    pthread_mutex_lock(&scout->lock);
    struct scout_view *view = scout->view;
    if (view != NULL)
        view->holders++;
    pthread_mutex_unlock(&scout->lock);
    return view;
}

void scout_view_drop(struct scout *scout, struct scout_view **view)
{
    pthread_mutex_lock(&scout->lock);
    drop_view(*view);
    pthread_mutex_unlock(&scout->lock);
    *view = NULL;
}

static struct link_mirror *topic_of(const struct scout_view *view, const char *name)
{
    for (size_t i = 0; view != NULL && i < view->seen.count; i++)
        if (strcmp(view->topics[i].name, name) == 0)
            return &view->topics[i];
    return NULL;
}

static struct scout_view *copy_view(const struct scout_view *from, size_t room)
{
    struct scout_view *view = calloc(1, sizeof *view);
    size_t count = from == NULL ? 0 : from->seen.count;
    if (view == NULL)
        abort();
    view->topics = calloc((room > count ? room : count) + 1, sizeof *view->topics);
    if (view->topics == NULL)
        abort();
    view->holders = 1;
    view->seen.version = from == NULL ? 1 : from->seen.version + 1;
    if (count > 0)
        memcpy(view->topics, from->topics, count * sizeof *view->topics);
    view->seen.count = count;
    view->seen.topics = view->topics;
    return view;
}

static bool same_view(const struct scout_view *a, const struct scout_view *b)
{
    if (a == NULL || a->seen.count != b->seen.count)
        return false;
    for (size_t i = 0; i < a->seen.count; i++)
        if (memcmp(&a->topics[i], &b->topics[i], sizeof a->topics[i]) != 0)
            return false;
    return true;
}

// Owns `view`; the thread is the only one that puts one in.
static void put_view(struct scout *scout, struct scout_view *view)
{
    pthread_mutex_lock(&scout->lock);
    if (same_view(scout->view, view)) {
        drop_view(view);
    } else {
        drop_view(scout->view);
        scout->view = view;
    }
    pthread_mutex_unlock(&scout->lock);
}

// ---- Mail

void scout_join(struct scout *scout, struct mailbox *box)
{
    pthread_mutex_lock(&scout->lock);
    KA_ASSERT(scout->box_count < SCOUT_BOXES_MAX);
    scout->boxes[scout->box_count++] = box;
    pthread_mutex_unlock(&scout->lock);
}

void scout_leave(struct scout *scout, struct mailbox *box)
{
    pthread_mutex_lock(&scout->lock);
    for (size_t i = 0; i < scout->box_count; i++)
        if (scout->boxes[i] == box)
            scout->boxes[i--] = scout->boxes[--scout->box_count];
    pthread_mutex_unlock(&scout->lock);
}

// Box by box under the lock: one that has left gets nothing more.
static void post(struct scout *scout, struct mailbox *to, const struct scout_mail *from)
{
    pthread_mutex_lock(&scout->lock);
    for (size_t i = 0; i < scout->box_count; i++) {
        if (to != NULL && scout->boxes[i] != to)
            continue;
        struct scout_mail *mail = malloc(sizeof *mail);
        if (mail == NULL)
            abort();
        *mail = *from;
        mailbox_post(scout->boxes[i], &mail->mail);
    }
    pthread_mutex_unlock(&scout->lock);
}

static void suspect(struct scout *scout, const char *topic, int32_t partition, const char *why)
{
    struct scout_mail mail = {.type = SCOUT_SUSPECT, .question = {.partition = partition}};
    snprintf(mail.question.topic, sizeof mail.question.topic, "%s", topic);
    err_set(&mail.answer.text, KA_ERR_RETRY, "%s", why);
    log_info("link", "suspect", "source=%.*s partition=%s/%d reason=%s",
             SLICE_FMT(scout->config.topics.source), topic, partition, why);
    post(scout, NULL, &mail);
}

static struct scout_job *new_job(enum scout_job_type type)
{
    struct scout_job *job = calloc(1, sizeof *job);
    if (job == NULL)
        abort();
    job->type = type;
    return job;
}

void scout_compare(struct scout *scout, const struct link_question *question, struct mailbox *reply)
{
    struct scout_job *job = new_job(SCOUT_JOB_COMPARE);
    job->question = *question;
    job->reply = reply;
    mailbox_post(&scout->jobs, &job->mail);
}

void scout_want(struct scout *scout, const char *topic)
{
    struct scout_job *job = new_job(SCOUT_JOB_WANT);
    snprintf(job->question.topic, sizeof job->question.topic, "%s", topic);
    mailbox_post(&scout->jobs, &job->mail);
}

// ---- Looking

enum ka_err scout_reach(struct scout *scout, struct err_text *text)
{
    const char *id = NULL;
    if (scout
            ->failed) { // another cluster may answer by now: a client remembers the id it saw first
        io_kafka_reader_free(&scout->reader);
        io_kafka_admin_free(&scout->admin);
        scout->failed = false;
    }
    enum ka_err err = scout->admin != NULL
                          ? KA_OK
                          : io_kafka_admin_new(scout->config.source, &scout->admin, text);
    if (err == KA_OK)
        err = io_kafka_cluster_id(scout->admin, SCOUT_CALL_MS, &scout->arena, &id, text);
    if (err != KA_OK)
        return err;
    pthread_mutex_lock(&scout->lock);
    bool moved = scout->cluster[0] != '\0' && strcmp(scout->cluster, id) != 0;
    if (moved)
        log_error("link", "cluster_changed", "source=%.*s was=%s is=%s",
                  SLICE_FMT(scout->config.topics.source), scout->cluster, id);
    snprintf(scout->cluster, sizeof scout->cluster, "%s", id);
    pthread_mutex_unlock(&scout->lock);
    if (moved)
        suspect(scout, "", -1, "another cluster answers");
    return KA_OK;
}

static void fill_topic(const struct scout *scout, struct link_mirror *topic,
                       const struct io_kafka_topic *from, bool inbox)
{
    const char *name = from->name;
    const struct link_mirror *before = topic_of(scout->view, name);
    struct buf target = {0};
    if (inbox)
        buf_str(&target, scout->config.inbox);
    else
        link_topic_name(&scout->config.topics, slice_str(name), &target);
    memset(topic, 0, sizeof *topic); // views are compared byte for byte
    snprintf(topic->name, sizeof topic->name, "%s", name);
    snprintf(topic->target, sizeof topic->target, "%.*s", (int)target.len, target.ptr);
    topic->partitions = from->partitions;
    topic->first = scout->view == NULL ? from->partitions : before == NULL ? 0 : before->first;
    topic->inbox = inbox;
    buf_fini(&target);
}

static enum ka_err list_source(struct scout *scout, struct scout_view **view, struct err_text *text)
{
    const struct io_kafka_topic *topics = NULL;
    size_t count = 0;
    enum ka_err err =
        io_kafka_topics(scout->admin, SCOUT_CALL_MS, &scout->arena, &topics, &count, text);
    if (err != KA_OK)
        return err;
    const struct scout_config *config = &scout->config;
    *view = copy_view(NULL, count);
    (*view)->seen.version = scout->view == NULL ? 1 : scout->view->seen.version + 1;
    for (size_t i = 0; i < count; i++) {
        const char *name = topics[i].name;
        bool inbox = config->commands != NULL && strcmp(name, config->commands) == 0;
        if (!inbox && link_topic_match(&config->topics, slice_str(name)) < 0)
            continue;
        if (topics[i].partitions > 0)
            fill_topic(scout, &(*view)->topics[(*view)->seen.count++], &topics[i], inbox);
    }
    return KA_OK;
}

static enum ka_err list_targets(struct scout *scout, struct scout_view *view, struct err_text *text)
{
    const struct io_kafka_topic *topics = NULL;
    size_t count = 0;
    enum ka_err err =
        io_kafka_topics(scout->config.target, SCOUT_CALL_MS, &scout->arena, &topics, &count, text);
    for (size_t t = 0; err == KA_OK && t < view->seen.count; t++) {
        struct link_mirror *topic = &view->topics[t];
        const struct link_mirror *before = topic_of(scout->view, topic->name);
        for (size_t i = 0; i < count; i++)
            if (strcmp(topics[i].name, topic->target) == 0)
                topic->target_partitions = topics[i].partitions;
        bool known = before != NULL && before->target_partitions > 0 && before->blocked[0] == '\0';
        if (topic->target_partitions > 0 && !known && !topic->inbox)
            scout_check_target(scout, topic);
        else if (before != NULL)
            topic->target_max = before->target_max;
        if (topic->target_partitions == 0 && before != NULL) // why it could not be created
            memcpy(topic->blocked, before->blocked, sizeof topic->blocked);
    }
    return err;
}

// What happens to topics that are being read.
static void compare_views(struct scout *scout, const struct scout_view *view)
{
    const struct scout_view *before = scout->view;
    for (size_t i = 0; before != NULL && i < before->seen.count; i++) {
        const struct link_mirror *now = topic_of(view, before->topics[i].name);
        if (now == NULL)
            suspect(scout, before->topics[i].name, -1, "the topic is gone");
        else if (now->partitions < before->topics[i].partitions)
            suspect(scout, now->name, -1, "the topic has fewer partitions");
    }
}

static int64_t end_before(const struct scout *scout, const struct io_kafka_edge *edge)
{
    for (size_t i = 0; i < scout->end_count; i++)
        if (scout->ends[i].partition == edge->partition &&
            strcmp(scout->ends[i].topic, edge->topic) == 0)
            return scout->ends[i].offset;
    return -1;
}

// A log that ends earlier than it did has lost its end, or is another one.
static enum ka_err look_at_ends(struct scout *scout, const struct scout_view *view,
                                struct err_text *text)
{
    size_t count = 0;
    for (size_t i = 0; i < view->seen.count; i++)
        count += (size_t)view->topics[i].partitions;
    // The names live with the edges.
    struct io_kafka_edge *ends = calloc(count + 1, sizeof *ends + 250);
    if (ends == NULL)
        abort();
    char *names = (char *)(ends + count + 1);
    size_t at = 0;
    for (size_t i = 0; i < view->seen.count; i++)
        for (int32_t p = 0; p < view->topics[i].partitions; p++, at++) {
            ends[at] = (struct io_kafka_edge){names + at * 250, p, -1};
            snprintf(names + at * 250, 250, "%s", view->topics[i].name);
        }
    enum ka_err err = io_kafka_edges(scout->admin, true, ends, count, SCOUT_CALL_MS, text);
    for (size_t i = 0; err == KA_OK && i < count; i++) {
        int64_t before = end_before(scout, &ends[i]);
        if (ends[i].offset >= 0 && ends[i].offset < before)
            suspect(scout, ends[i].topic, ends[i].partition, "the log has become shorter");
        if (ends[i].offset < 0)
            ends[i].offset = before;
    }
    free(scout->ends);
    scout->ends = ends;
    scout->end_count = count;
    return err;
}

static enum ka_err look(struct scout *scout, struct err_text *text)
{
    struct scout_view *view = NULL;
    enum ka_err err = scout_reach(scout, text);
    int64_t asked_ms = clock_mono_ms();
    if (err == KA_OK)
        err = list_source(scout, &view, text);
    int64_t rtt_ms = clock_mono_ms() - asked_ms;
    pthread_mutex_lock(&scout->lock);
    scout->health.rtt_ms = err == KA_OK ? rtt_ms : scout->health.rtt_ms;
    scout->health.looks++;
    pthread_mutex_unlock(&scout->lock);
    if (err != KA_OK) {
        scout_note(scout, err, text->text);
        return err;
    }
    err = list_targets(scout, view, text);
    if (err != KA_OK) { // not the source's fault
        log_warn("link", "targets_unknown", "source=%.*s error=%s",
                 SLICE_FMT(scout->config.topics.source), text->text);
        drop_view(view);
        return err;
    }
    compare_views(scout, view);
    err = look_at_ends(scout, view, text); // the second half of one look: it has one outcome
    scout_note(scout, err, text->text);
    put_view(scout, view);
    return err;
}

static void make_target(struct scout *scout, const char *name)
{
    struct scout_view *view = copy_view(scout->view, 0);
    struct link_mirror *topic = topic_of(view, name);
    struct err_text text = {""};
    bool missing = topic != NULL && topic->target_partitions < topic->partitions;
    if (!missing) {
        drop_view(view);
        return;
    }
    if (topic->inbox)
        snprintf(topic->blocked, sizeof topic->blocked,
                 "there is no topic %s: kasaga topics apply creates it", topic->target);
    else if (scout->admin != NULL)
        scout_make_target(scout, topic);
    if (topic->blocked[0] == '\0' &&
        io_kafka_partition_count(scout->config.target, topic->target, SCOUT_CALL_MS,
                                 &topic->target_partitions, &text) != KA_OK)
        topic->target_partitions = 0; // the next look sees it
    if (topic->target_partitions > 0 && !topic->inbox)
        scout_check_target(scout, topic);
    put_view(scout, view);
}

// ---- The thread

static void answer(struct scout *scout, const struct scout_job *job)
{
    const struct scout_mail mail = {
        .type = SCOUT_COMPARED, .question = job->question, .answer = job->answer};
    post(scout, job->reply, &mail);
}

static void serve(struct scout *scout, struct mail *first)
{
    struct scout_job *jobs[SCOUT_BATCH_MAX];
    size_t count = 0;
    for (struct mail *mail = first; mail != NULL;
         mail = count < SCOUT_BATCH_MAX ? mailbox_take(&scout->jobs) : NULL) {
        struct scout_job *job = (struct scout_job *)(void *)mail;
        if (job->type == SCOUT_JOB_COMPARE) {
            jobs[count++] = job;
            continue;
        }
        make_target(scout, job->question.topic);
        free(job);
    }
    if (count > 0)
        scout_compare_batch(scout, jobs, count);
    for (size_t i = 0; i < count; i++) {
        answer(scout, jobs[i]);
        free(jobs[i]);
    }
    arena_reset(&scout->arena);
}

static bool may_look(struct scout *scout)
{
    pthread_mutex_lock(&scout->lock);
    bool may = breaker_allows(&scout->breaker, &scout->config.breaker, clock_mono_ms());
    scout->health.breaker = scout->breaker.state;
    pthread_mutex_unlock(&scout->lock);
    return may;
}

static void *thread_main(void *argument)
{
    struct scout *scout = argument;
    int64_t look_ms = clock_mono_ms();
    prctl(PR_SET_NAME, "link.scout");
    while (!scout_stopping(scout)) {
        if (clock_mono_ms() >= look_ms && may_look(scout)) {
            struct err_text text = {""};
            enum ka_err err = look(scout, &text);
            if (err != KA_OK)
                log_warn("link", "look_failed", "source=%.*s class=%s error=%s",
                         SLICE_FMT(scout->config.topics.source), err_name(err), text.text);
            arena_reset(&scout->arena);
            look_ms = clock_mono_ms() + scout->config.refresh_ms;
        }
        struct mail *mail = mailbox_wait(&scout->jobs, JOB_WAIT_MS);
        if (mail != NULL)
            serve(scout, mail);
    }
    return NULL;
}

struct scout *scout_new(const struct scout_config *config)
{
    struct scout *scout = calloc(1, sizeof *scout);
    if (scout == NULL)
        abort();
    scout->config = *config;
    mailbox_init(&scout->jobs, -1);
    pthread_mutex_init(&scout->lock, NULL);
    if (pthread_create(&scout->thread, NULL, thread_main, scout) != 0)
        abort();
    return scout;
}

void scout_free(struct scout **scout)
{
    struct scout *gone = *scout;
    struct mail *mail;
    *scout = NULL;
    if (gone == NULL)
        return;
    pthread_mutex_lock(&gone->lock);
    gone->stop = true;
    pthread_mutex_unlock(&gone->lock);
    mailbox_close(&gone->jobs);
    pthread_join(gone->thread, NULL);
    while ((mail = mailbox_take(&gone->jobs)) != NULL)
        free(mail);
    mailbox_fini(&gone->jobs);
    io_kafka_reader_free(&gone->reader);
    io_kafka_admin_free(&gone->admin);
    drop_view(gone->view);
    free(gone->ends);
    arena_fini(&gone->arena);
    pthread_mutex_destroy(&gone->lock);
    free(gone);
}
