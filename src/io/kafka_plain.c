// SPDX-License-Identifier: Apache-2.0
// At least once, for kasaga dev on librdkafka's mock cluster. That cluster answers every call of a
// transaction with ok, throws the offsets away and shows open records to everybody; admin calls
// make it lose records. So here outputs are written first and offsets are committed after them,
// as a member of the group, on the handle of its consumer. What is done twice after a failure
// appears twice: never a base for a claim of exactly-once.
#include "io/kafka_int.h"

#include "core/assert.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { GROUPS_MAX = 16 }; // an app asks about two, in two ways

struct io_kafka_shared *io_kafka_shared_new(rd_kafka_t *rk)
{
    struct io_kafka_shared *shared = calloc(1, sizeof *shared);
    if (shared == NULL)
        abort();
    shared->rk = rk;
    atomic_init(&shared->holders, 1);
    return shared;
}

struct io_kafka_shared *io_kafka_shared_keep(struct io_kafka_shared *shared)
{
    atomic_fetch_add(&shared->holders, 1);
    return shared;
}

void io_kafka_shared_drop(struct io_kafka_shared **shared)
{
    struct io_kafka_shared *gone = *shared;
    *shared = NULL;
    if (gone == NULL || atomic_fetch_sub(&gone->holders, 1) > 1)
        return;
    rd_kafka_destroy(gone->rk);
    free(gone);
}

static rd_kafka_resp_err_t code_of(rd_kafka_event_t *event)
{
    if (event == NULL)
        return RD_KAFKA_RESP_ERR__TIMED_OUT;
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    const rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(event);
    for (int i = 0; code == RD_KAFKA_RESP_ERR_NO_ERROR && list != NULL && i < list->cnt; i++)
        code = list->elems[i].err;
    return code;
}

enum ka_err io_kafka_plain_commit(struct io_kafka_shared *shared,
                                  const rd_kafka_topic_partition_list_t *list, int timeout_ms,
                                  struct err_text *text)
{
    KA_ASSERT(shared != NULL && list->cnt > 0);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(shared->rk);
    rd_kafka_resp_err_t code = rd_kafka_commit_queue(shared->rk, list, queue, NULL, NULL);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(queue, timeout_ms);
        code = code_of(event);
        if (event != NULL)
            rd_kafka_event_destroy(event);
    }
    rd_kafka_queue_destroy(queue);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return KA_OK;
    // The batch is done again, also when the commit has happened after all.
    return err_set(text, KA_ERR_ABORT, "offset commit: %s (%s)", rd_kafka_err2str(code),
                   rd_kafka_err2name(code));
}

struct group {
    char name[256];
    bool stable;
    rd_kafka_t *rk;
};

struct io_kafka_groups {
    struct io_kafka_config config;
    pthread_mutex_t lock;
    struct group items[GROUPS_MAX];
    size_t count;
};

struct io_kafka_groups *io_kafka_groups_new(const struct io_kafka_config *config)
{
    struct io_kafka_groups *groups = calloc(1, sizeof *groups);
    if (groups == NULL)
        abort();
    groups->config = *config;
    pthread_mutex_init(&groups->lock, NULL);
    return groups;
}

void io_kafka_groups_free(struct io_kafka_groups **groups)
{
    struct io_kafka_groups *gone = *groups;
    *groups = NULL;
    if (gone == NULL)
        return;
    for (size_t i = 0; i < gone->count; i++)
        rd_kafka_destroy(gone->items[i].rk);
    pthread_mutex_destroy(&gone->lock);
    free(gone);
}

static enum ka_err add_group(struct io_kafka_groups *groups, const char *name, bool stable,
                             rd_kafka_t **rk, struct err_text *text)
{
    enum io_kafka_role role = stable ? IO_KAFKA_READ_COMMITTED : IO_KAFKA_READ_UNCOMMITTED;
    if (groups->count == GROUPS_MAX)
        return err_set(text, KA_ERR_LIMIT, "more than %d groups", GROUPS_MAX);
    enum ka_err err;
    rd_kafka_conf_t *conf = io_kafka_conf_new(&groups->config, role, &err, text);
    if (conf == NULL)
        return err;
    err = io_kafka_conf_set(conf, "group.id", name, text);
    if (err == KA_OK) // how often an offset that is not stable yet is asked for
        err = io_kafka_conf_set(conf, "retry.backoff.ms", "20", text);
    if (err != KA_OK) {
        rd_kafka_conf_destroy(conf);
        return err;
    }
    err = io_kafka_handle_new(conf, role, rk, text);
    if (err != KA_OK)
        return err;
    struct group *group = &groups->items[groups->count++];
    snprintf(group->name, sizeof group->name, "%s", name);
    group->stable = stable;
    group->rk = *rk;
    return KA_OK;
}

enum ka_err io_kafka_groups_lookup(struct io_kafka_groups *groups, const char *group, bool stable,
                                   rd_kafka_t **rk, struct err_text *text)
{
    pthread_mutex_lock(&groups->lock);
    *rk = NULL;
    for (size_t i = 0; i < groups->count; i++) {
        if (groups->items[i].stable == stable && strcmp(groups->items[i].name, group) == 0)
            *rk = groups->items[i].rk;
    }
    enum ka_err err = *rk != NULL ? KA_OK : add_group(groups, group, stable, rk, text);
    pthread_mutex_unlock(&groups->lock);
    return err;
}
