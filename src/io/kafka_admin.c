// SPDX-License-Identifier: Apache-2.0
// Questions and orders to the cluster. Every call has a queue of its own for its answer, so one
// handle serves several threads. The handle is a read_uncommitted consumer that never joins a
// group: on any other one librdkafka answers questions for the end of a partition with the LSO.
//
// What made it hard: when a call to a group's coordinator times out inside of librdkafka while it
// still waits for the connection, the connection's return ends the process with an assertion
// (rd_kafka_enq_once_del_source_return, #4605, open in 2.15). So those calls get librdkafka's
// longest timeout, we stop waiting by ourselves, and a late answer finds its queue gone.
#include "io/kafka_admin.h"

#include "core/assert.h"
#include "io/clock.h"
#include "io/kafka_int.h"
#include "io/kafka_producer.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    CLOSE_MS = 5000,
    GRACE_MS = 500,               // librdkafka's own timeout comes first
    COORDINATOR_MS = 3600 * 1000, // the longest that librdkafka takes
};

// The admin handle never joins a group, but it must have one: when a coordinator moves while a
// handle without a group asks for committed offsets, librdkafka 2.0.2 dereferences the NULL that
// stands for it (OffsetFetch answered NOT_COORDINATOR) and the process ends.
#define NEVER_JOINED "kasaga.admin"

struct io_kafka_admin {
    rd_kafka_t *rk;
    struct io_kafka_groups *groups;
    bool local; // at least once: no admin calls
};

static void destroy(void *object)
{
    struct io_kafka_admin *admin = object;
    io_kafka_groups_free(&admin->groups);
    rd_kafka_destroy(admin->rk);
    free(admin);
}

enum ka_err io_kafka_admin_new(const struct io_kafka_config *config, struct io_kafka_admin **admin,
                               struct err_text *text)
{
    struct io_kafka_admin *made = calloc(1, sizeof *made);
    if (made == NULL)
        return err_set(text, KA_ERR_NOMEM, "admin client");
    enum ka_err err;
    rd_kafka_conf_t *conf = io_kafka_conf_new(config, IO_KAFKA_READ_UNCOMMITTED, &err, text);
    if (conf != NULL && !config->at_least_once) {
        err = io_kafka_conf_set(conf, "group.id", NEVER_JOINED, text);
        if (err != KA_OK)
            rd_kafka_conf_destroy(conf);
    }
    if (conf != NULL && err == KA_OK)
        err = io_kafka_handle_new(conf, IO_KAFKA_READ_UNCOMMITTED, &made->rk, text);
    if (err != KA_OK) {
        free(made);
        return err_wrap(text, err, "admin client");
    }
    made->groups = io_kafka_groups_new(config);
    made->local = config->at_least_once;
    *admin = made;
    return KA_OK;
}

void io_kafka_admin_free(struct io_kafka_admin **admin)
{
    struct io_kafka_admin *gone = *admin;
    *admin = NULL;
    if (gone != NULL)
        (void)io_kafka_reap(destroy, gone, "admin", CLOSE_MS);
}

// A moment ago created, a leader or coordinator moving: ask again, with growing pauses. False when
// the time is up or the error is of another kind.
static bool again(enum ka_err err, int64_t deadline_ms, int *pause_ms)
{
    if (err != KA_ERR_RETRY || clock_mono_ms() + *pause_ms >= deadline_ms)
        return false;
    clock_sleep_ms(*pause_ms);
    *pause_ms = *pause_ms < 50 ? *pause_ms * 2 : 50;
    return true;
}

static int left_of(int64_t deadline_ms)
{
    int64_t left_ms = deadline_ms - clock_mono_ms();
    return left_ms < 1 ? 1 : (int)left_ms;
}

enum ka_err io_kafka_watermarks(struct io_kafka_admin *admin, const char *topic, int32_t partition,
                                int timeout_ms, int64_t *start, int64_t *end, struct err_text *text)
{
    int64_t deadline_ms = clock_mono_ms() + timeout_ms;
    int pause_ms = 2;
    enum ka_err err;
    do {
        rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
            admin->rk, topic, partition, start, end, left_of(deadline_ms));
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
            return KA_OK;
        err = io_kafka_failed_code(IO_KAFKA_ASK, code, text, "watermarks");
    } while (again(err, deadline_ms, &pause_ms));
    return err_wrap(text, err, "%s/%d", topic, partition);
}

enum ka_err io_kafka_offset_at(struct io_kafka_admin *admin, const char *topic, int32_t partition,
                               int64_t time_ms, int timeout_ms, int64_t *offset,
                               struct err_text *text)
{
    int64_t deadline_ms = clock_mono_ms() + timeout_ms;
    int pause_ms = 2;
    enum ka_err err;
    do {
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
        rd_kafka_topic_partition_list_add(list, topic, partition)->offset = time_ms;
        rd_kafka_resp_err_t code =
            rd_kafka_offsets_for_times(admin->rk, list, left_of(deadline_ms));
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
            code = list->elems[0].err;
        *offset = list->elems[0].offset < 0 ? -1 : list->elems[0].offset;
        rd_kafka_topic_partition_list_destroy(list);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
            return KA_OK;
        err = io_kafka_failed_code(IO_KAFKA_ASK, code, text, "offset of a time");
    } while (again(err, deadline_ms, &pause_ms));
    return err_wrap(text, err, "%s/%d", topic, partition);
}

enum ka_err io_kafka_edges(struct io_kafka_admin *admin, bool ends, struct io_kafka_edge *edges,
                           size_t count, int timeout_ms, struct err_text *text)
{
    if (count == 0)
        return KA_OK;
    // As times these two mean the ends of the log, as in ListOffsets.
    int64_t which = ends ? RD_KAFKA_OFFSET_END : RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)count);
    for (size_t i = 0; i < count; i++)
        rd_kafka_topic_partition_list_add(list, edges[i].topic, edges[i].partition)->offset = which;
    rd_kafka_resp_err_t code = rd_kafka_offsets_for_times(admin->rk, list, timeout_ms);
    for (size_t i = 0; i < count; i++) {
        const rd_kafka_topic_partition_t *part = &list->elems[i];
        bool known = code == RD_KAFKA_RESP_ERR_NO_ERROR && part->err == RD_KAFKA_RESP_ERR_NO_ERROR;
        edges[i].offset = known && part->offset >= 0 ? part->offset : -1;
    }
    rd_kafka_topic_partition_list_destroy(list);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return KA_OK;
    return io_kafka_failed_code(IO_KAFKA_ASK, code, text, "edges of partitions");
}

enum ka_err io_kafka_partition_count(struct io_kafka_admin *admin, const char *topic,
                                     int timeout_ms, int32_t *count, struct err_text *text)
{
    int64_t deadline_ms = clock_mono_ms() + timeout_ms;
    rd_kafka_topic_t *rkt = rd_kafka_topic_new(admin->rk, topic, NULL);
    if (rkt == NULL)
        return io_kafka_failed_code(IO_KAFKA_ASK, rd_kafka_last_error(), text, topic);
    rd_kafka_resp_err_t code;
    *count = 0;
    for (;;) {
        const struct rd_kafka_metadata *metadata;
        int64_t left_ms = deadline_ms - clock_mono_ms();
        code = rd_kafka_metadata(admin->rk, 0, rkt, &metadata, left_ms < 1 ? 1 : (int)left_ms);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
            code = metadata->topic_cnt > 0 ? metadata->topics[0].err
                                           : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
            *count = metadata->topic_cnt > 0 ? metadata->topics[0].partition_cnt : 0;
            rd_kafka_metadata_destroy(metadata);
        }
        if (code != RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE || left_ms < 1)
            break;
        clock_sleep_ms(5); // it is being created
    }
    rd_kafka_topic_destroy(rkt);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return KA_OK;
    *count = 0;
    if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
        return KA_OK;
    return io_kafka_failed_code(IO_KAFKA_ASK, code, text, topic);
}

static int32_t fewest_replicas(const struct rd_kafka_metadata_topic *topic)
{
    int32_t fewest = topic->partition_cnt > 0 ? INT32_MAX : 0;
    for (int i = 0; i < topic->partition_cnt; i++) {
        if (topic->partitions[i].replica_cnt < fewest)
            fewest = topic->partitions[i].replica_cnt;
    }
    return fewest;
}

enum ka_err io_kafka_topics(struct io_kafka_admin *admin, int timeout_ms, struct arena *arena,
                            const struct io_kafka_topic **topics, size_t *count,
                            struct err_text *text)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t code = rd_kafka_metadata(admin->rk, 1, NULL, &metadata, timeout_ms);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return io_kafka_failed_code(IO_KAFKA_ASK, code, text, "topics");
    size_t found = (size_t)metadata->topic_cnt;
    struct io_kafka_topic *list = arena_alloc(arena, found * sizeof *list);
    for (size_t i = 0; i < found; i++) {
        list[i].name = arena_str(arena, slice_str(metadata->topics[i].topic));
        list[i].partitions = metadata->topics[i].partition_cnt;
        list[i].replicas = fewest_replicas(&metadata->topics[i]);
    }
    rd_kafka_metadata_destroy(metadata);
    *topics = list;
    *count = found;
    return KA_OK;
}

enum ka_err io_kafka_brokers(struct io_kafka_admin *admin, int timeout_ms, struct arena *arena,
                             const int32_t **brokers, size_t *count, struct err_text *text)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t code = rd_kafka_metadata(admin->rk, 0, NULL, &metadata, timeout_ms);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return io_kafka_failed_code(IO_KAFKA_ASK, code, text, "brokers");
    *count = (size_t)metadata->broker_cnt;
    int32_t *list = arena_alloc(arena, *count * sizeof *list);
    for (size_t i = 0; i < *count; i++)
        list[i] = metadata->brokers[i].id;
    rd_kafka_metadata_destroy(metadata);
    *brokers = list;
    return *count > 0 ? KA_OK : err_set(text, KA_ERR_UNREACHABLE, "the cluster names no broker");
}

enum ka_err io_kafka_cluster_id(struct io_kafka_admin *admin, int timeout_ms, struct arena *arena,
                                const char **id, struct err_text *text)
{
    char *found = rd_kafka_clusterid(admin->rk, timeout_ms);
    if (found == NULL)
        return err_set(text, KA_ERR_TIMEOUT, "cluster id: no answer in %d ms", timeout_ms);
    *id = arena_str(arena, slice_str(found));
    rd_kafka_mem_free(admin->rk, found);
    return KA_OK;
}

// On the mock cluster an admin call is not refused but does harm: later records of the same client
// never arrive.
static enum ka_err no_admin_calls(const struct io_kafka_admin *admin, struct err_text *text)
{
    if (!admin->local)
        return KA_OK;
    return err_set(text, KA_ERR_UNSUPPORTED, "the demo broker knows no admin calls");
}

// One admin request: its options and the queue of its answer.
struct request {
    rd_kafka_t *rk;
    rd_kafka_AdminOptions_t *options;
    rd_kafka_queue_t *queue;
    rd_kafka_event_t *event;
    int timeout_ms;
};

static bool asks_coordinator(rd_kafka_admin_op_t op)
{
    return op == RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS ||
           op == RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
}

static void request_init(struct request *request, struct io_kafka_admin *admin,
                         rd_kafka_admin_op_t op, int timeout_ms)
{
    char detail[128];
    *request = (struct request){.rk = admin->rk, .timeout_ms = timeout_ms < 1 ? 1 : timeout_ms};
    request->options = rd_kafka_AdminOptions_new(admin->rk, op);
    request->queue = rd_kafka_queue_new(admin->rk);
    int library_ms = asks_coordinator(op) ? COORDINATOR_MS : request->timeout_ms;
    rd_kafka_resp_err_t code = rd_kafka_AdminOptions_set_request_timeout(
        request->options, library_ms, detail, sizeof detail);
    KA_ASSERT(code == RD_KAFKA_RESP_ERR_NO_ERROR);
}

static void request_fini(struct request *request)
{
    if (request->event != NULL)
        rd_kafka_event_destroy(request->event);
    rd_kafka_queue_destroy(request->queue);
    rd_kafka_AdminOptions_destroy(request->options);
}

// Waits for the answer: request->event.
static enum ka_err request_wait(struct request *request, const char *what, struct err_text *text)
{
    request->event = rd_kafka_queue_poll(request->queue, request->timeout_ms + GRACE_MS);
    if (request->event == NULL)
        return err_set(text, KA_ERR_TIMEOUT, "%s: no answer in %d ms", what, request->timeout_ms);
    rd_kafka_resp_err_t code = rd_kafka_event_error(request->event);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return KA_OK;
    enum ka_err err = io_kafka_classify(IO_KAFKA_ASK, (struct io_kafka_failure){.code = (int)code});
    return err_set(text, err, "%s: %s", what, rd_kafka_event_error_string(request->event));
}

static enum ka_err part_failed(const rd_kafka_topic_partition_t *part, const char *what,
                               struct err_text *text)
{
    enum ka_err err = io_kafka_failed_code(IO_KAFKA_ASK, part->err, text, what);
    return err_wrap(text, err, "%s/%d", part->topic, part->partition);
}

static rd_kafka_topic_partition_list_t *list_of_committed(const struct io_kafka_committed *entries,
                                                          size_t count)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)count);
    for (size_t i = 0; i < count; i++) {
        rd_kafka_topic_partition_t *part =
            rd_kafka_topic_partition_list_add(list, entries[i].topic, entries[i].partition);
        part->offset = entries[i].offset;
        if (entries[i].metadata.len == 0)
            continue;
        part->metadata = malloc(entries[i].metadata.len); // freed with the list, by librdkafka
        if (part->metadata == NULL)
            abort();
        memcpy(part->metadata, entries[i].metadata.ptr, entries[i].metadata.len);
        part->metadata_size = entries[i].metadata.len;
    }
    return list;
}

static enum ka_err take_committed(const rd_kafka_topic_partition_list_t *list,
                                  struct io_kafka_committed *entries, size_t count,
                                  struct arena *arena, struct err_text *text)
{
    for (size_t i = 0; i < count; i++) {
        entries[i].offset = -1;
        entries[i].metadata = SLICE_NONE;
        const rd_kafka_topic_partition_t *part =
            rd_kafka_topic_partition_list_find((rd_kafka_topic_partition_list_t *)(uintptr_t)list,
                                               entries[i].topic, entries[i].partition);
        if (part == NULL)
            continue;
        if (part->err != RD_KAFKA_RESP_ERR_NO_ERROR)
            return part_failed(part, "committed offset", text);
        entries[i].offset = part->offset < 0 ? -1 : part->offset;
        if (part->metadata_size > 0)
            entries[i].metadata = arena_copy(arena, slice_of(part->metadata, part->metadata_size));
    }
    return KA_OK;
}

// As a consumer of the group would ask. Not ListConsumerGroupOffsets: when the coordinator has
// moved (NOT_COORDINATOR) it crashes on a handle without a group, and on one with a group it goes
// on asking the old one for as long as it is asked at all.
static enum ka_err ask_committed(struct io_kafka_admin *admin, const char *group, bool stable,
                                 int timeout_ms, struct io_kafka_committed *entries, size_t count,
                                 struct arena *arena, struct err_text *text)
{
    rd_kafka_t *rk;
    enum ka_err err =
        io_kafka_groups_lookup(admin->groups, group, stable && !admin->local, &rk, text);
    if (err != KA_OK)
        return err;
    rd_kafka_topic_partition_list_t *list = list_of_committed(entries, count);
    rd_kafka_resp_err_t code = rd_kafka_committed(rk, list, timeout_ms);
    err = code == RD_KAFKA_RESP_ERR_NO_ERROR
              ? take_committed(list, entries, count, arena, text)
              : io_kafka_failed_code(IO_KAFKA_ASK, code, text, "committed offsets");
    rd_kafka_topic_partition_list_destroy(list);
    return err;
}

enum ka_err io_kafka_committed(struct io_kafka_admin *admin, const char *group, bool stable,
                               int timeout_ms, struct io_kafka_committed *entries, size_t count,
                               struct arena *arena, struct err_text *text)
{
    int64_t deadline_ms = clock_mono_ms() + timeout_ms;
    int pause_ms = 2;
    enum ka_err err = KA_OK;
    if (count == 0)
        return KA_OK;
    do
        err =
            ask_committed(admin, group, stable, left_of(deadline_ms), entries, count, arena, text);
    while (again(err, deadline_ms, &pause_ms));
    if (err == KA_OK)
        return KA_OK;
    return err_wrap(text, err == KA_ERR_RETRY ? KA_ERR_TIMEOUT : err, "group %s", group);
}

static enum ka_err order_offsets(struct io_kafka_admin *admin, const char *group,
                                 const struct io_kafka_committed *entries, size_t count,
                                 int timeout_ms, struct err_text *text)
{
    struct request request;
    request_init(&request, admin, RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS, timeout_ms);
    rd_kafka_topic_partition_list_t *list = list_of_committed(entries, count);
    rd_kafka_AlterConsumerGroupOffsets_t *order =
        rd_kafka_AlterConsumerGroupOffsets_new(group, list);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_AlterConsumerGroupOffsets(request.rk, &order, 1, request.options, request.queue);
    enum ka_err err = request_wait(&request, "commit offsets", text);
    if (err == KA_OK) {
        size_t groups;
        const rd_kafka_group_result_t **results = rd_kafka_AlterConsumerGroupOffsets_result_groups(
            rd_kafka_event_AlterConsumerGroupOffsets_result(request.event), &groups);
        KA_ASSERT(groups == 1);
        const rd_kafka_error_t *failed = rd_kafka_group_result_error(results[0]);
        const rd_kafka_topic_partition_list_t *done = rd_kafka_group_result_partitions(results[0]);
        if (failed != NULL)
            err = io_kafka_failed_code(IO_KAFKA_ASK, rd_kafka_error_code(failed), text, "commit");
        for (int i = 0; err == KA_OK && done != NULL && i < done->cnt; i++) {
            if (done->elems[i].err != RD_KAFKA_RESP_ERR_NO_ERROR)
                err = part_failed(&done->elems[i], "commit", text);
        }
    }
    rd_kafka_AlterConsumerGroupOffsets_destroy(order);
    request_fini(&request);
    return err;
}

enum ka_err io_kafka_commit_offsets(struct io_kafka_admin *admin, const char *group,
                                    const struct io_kafka_committed *entries, size_t count,
                                    int timeout_ms, struct err_text *text)
{
    int64_t deadline_ms = clock_mono_ms() + timeout_ms;
    int pause_ms = 2;
    enum ka_err err = no_admin_calls(admin, text);
    if (count == 0 || err != KA_OK)
        return err;
    do
        err = order_offsets(admin, group, entries, count, left_of(deadline_ms), text);
    while (again(err, deadline_ms, &pause_ms));
    return err == KA_OK ? KA_OK : err_wrap(text, err, "group %s", group);
}

static void take_member(struct io_kafka_member *member, const rd_kafka_MemberDescription_t *from,
                        struct arena *arena)
{
    const rd_kafka_MemberAssignment_t *assignment = rd_kafka_MemberDescription_assignment(from);
    const rd_kafka_topic_partition_list_t *list =
        assignment == NULL ? NULL : rd_kafka_MemberAssignment_partitions(assignment);
    member->client_id = arena_str(arena, slice_str(rd_kafka_MemberDescription_client_id(from)));
    member->host = arena_str(arena, slice_str(rd_kafka_MemberDescription_host(from)));
    member->assigned = list == NULL ? 0 : (size_t)list->cnt;
    const char **topics = arena_alloc(arena, member->assigned * sizeof *topics);
    int32_t *partitions = arena_alloc(arena, member->assigned * sizeof *partitions);
    for (size_t i = 0; i < member->assigned; i++) {
        topics[i] = arena_str(arena, slice_str(list->elems[i].topic));
        partitions[i] = list->elems[i].partition;
    }
    member->topics = topics;
    member->partitions = partitions;
}

static enum ka_err take_group(const rd_kafka_ConsumerGroupDescription_t *group, struct arena *arena,
                              const struct io_kafka_member **members, size_t *count,
                              const char **state, struct err_text *text)
{
    const rd_kafka_error_t *failed = rd_kafka_ConsumerGroupDescription_error(group);
    rd_kafka_resp_err_t code =
        failed == NULL ? RD_KAFKA_RESP_ERR_NO_ERROR : rd_kafka_error_code(failed);
    *members = NULL;
    *count = 0;
    *state = "Dead";
    if (code == RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND)
        return KA_OK; // the answer of newer brokers for a group that does not exist
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return io_kafka_failed_code(IO_KAFKA_ASK, code, text, "members");
    size_t found = rd_kafka_ConsumerGroupDescription_member_count(group);
    struct io_kafka_member *list = arena_zalloc(arena, found * sizeof *list);
    for (size_t i = 0; i < found; i++)
        take_member(&list[i], rd_kafka_ConsumerGroupDescription_member(group, i), arena);
    *members = list;
    *count = found;
    *state = rd_kafka_consumer_group_state_name(rd_kafka_ConsumerGroupDescription_state(group));
    return KA_OK;
}

// Asks every broker, so it needs all of them, but knows no coordinator that may have moved. Without
// what is assigned to whom.
static enum ka_err list_members(struct io_kafka_admin *admin, const char *group, int timeout_ms,
                                struct arena *arena, const struct io_kafka_member **members,
                                size_t *count, struct err_text *text)
{
    const struct rd_kafka_group_list *groups;
    rd_kafka_resp_err_t code = rd_kafka_list_groups(admin->rk, group, &groups, timeout_ms);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return io_kafka_failed_code(IO_KAFKA_ASK, code, text, "members");
    size_t found = groups->group_cnt == 0 ? 0 : (size_t)groups->groups[0].member_cnt;
    struct io_kafka_member *list = arena_zalloc(arena, (found + 1) * sizeof *list);
    for (size_t i = 0; i < found; i++) {
        const struct rd_kafka_group_member_info *from = &groups->groups[0].members[i];
        list[i].client_id = arena_str(arena, slice_str(from->client_id));
        list[i].host = arena_str(arena, slice_str(from->client_host));
    }
    rd_kafka_group_list_destroy(groups);
    *members = list;
    *count = found;
    return KA_OK;
}

enum ka_err io_kafka_members(struct io_kafka_admin *admin, const char *group, int timeout_ms,
                             struct arena *arena, const struct io_kafka_member **members,
                             size_t *count, const char **state, struct err_text *text)
{
    struct request request;
    *members = NULL;
    *count = 0;
    *state = "";
    if (admin->local)
        return KA_OK;
    request_init(&request, admin, RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS, timeout_ms);
    rd_kafka_DescribeConsumerGroups(request.rk, &group, 1, request.options, request.queue);
    enum ka_err err = request_wait(&request, "members", text);
    if (err == KA_OK) {
        size_t groups;
        const rd_kafka_ConsumerGroupDescription_t **found =
            rd_kafka_DescribeConsumerGroups_result_groups(
                rd_kafka_event_DescribeConsumerGroups_result(request.event), &groups);
        KA_ASSERT(groups == 1);
        err = take_group(found[0], arena, members, count, state, text);
    }
    request_fini(&request);
    if (err == KA_ERR_RETRY) // the coordinator has moved: librdkafka remembers the old one
        err = list_members(admin, group, timeout_ms, arena, members, count, text);
    return err == KA_OK ? KA_OK : err_wrap(text, err, "group %s", group);
}

static enum ka_err new_topic(const struct io_kafka_topic_spec *spec, rd_kafka_NewTopic_t **topic,
                             struct err_text *text)
{
    char detail[256];
    *topic = rd_kafka_NewTopic_new(spec->name, spec->partitions, spec->replication, detail,
                                   sizeof detail);
    if (*topic == NULL)
        return err_set(text, KA_ERR_CONFIG, "topic %s: %s", spec->name, detail);
    for (size_t i = 0; i < spec->config_count; i++) {
        rd_kafka_resp_err_t code =
            rd_kafka_NewTopic_set_config(*topic, spec->config_names[i], spec->config_values[i]);
        KA_ASSERT(code == RD_KAFKA_RESP_ERR_NO_ERROR); // only fails for empty names
    }
    return KA_OK;
}

static enum ka_err take_created(const rd_kafka_CreateTopics_result_t *result,
                                const struct io_kafka_topic_spec *specs, size_t count,
                                bool *created, struct err_text *text)
{
    size_t topics;
    const rd_kafka_topic_result_t **results = rd_kafka_CreateTopics_result_topics(result, &topics);
    enum ka_err first = KA_OK;
    for (size_t i = 0; i < topics; i++) {
        const char *name = rd_kafka_topic_result_name(results[i]);
        rd_kafka_resp_err_t code = rd_kafka_topic_result_error(results[i]);
        for (size_t j = 0; code == RD_KAFKA_RESP_ERR_NO_ERROR && j < count; j++)
            created[j] |= strcmp(specs[j].name, name) == 0;
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR || code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
            continue;
        if (first != KA_OK)
            continue;
        const char *why = rd_kafka_topic_result_error_string(results[i]);
        first = io_kafka_classify(IO_KAFKA_ASK, (struct io_kafka_failure){.code = (int)code});
        err_set(text, first, "create topic %s: %s (%s)", name,
                why == NULL ? rd_kafka_err2str(code) : why, rd_kafka_err2name(code));
    }
    return first;
}

// The controller has noted it; a client can only use it once its broker knows it too.
static enum ka_err wait_until_known(struct io_kafka_admin *admin,
                                    const struct io_kafka_topic_spec *spec, int64_t deadline_ms,
                                    struct err_text *text)
{
    for (;;) {
        int32_t count = 0;
        enum ka_err err =
            io_kafka_partition_count(admin, spec->name, left_of(deadline_ms), &count, text);
        if (err != KA_OK || count > 0)
            return err;
        if (clock_mono_ms() >= deadline_ms)
            return err_set(text, KA_ERR_TIMEOUT, "topic %s is created, but not to be seen yet",
                           spec->name);
        clock_sleep_ms(5);
    }
}

static enum ka_err order_topics(struct io_kafka_admin *admin, rd_kafka_NewTopic_t **topics,
                                const struct io_kafka_topic_spec *specs, size_t count,
                                int timeout_ms, bool *created, struct err_text *text)
{
    char detail[128];
    struct request request;
    request_init(&request, admin, RD_KAFKA_ADMIN_OP_CREATETOPICS, timeout_ms);
    rd_kafka_AdminOptions_set_operation_timeout(request.options, request.timeout_ms, detail,
                                                sizeof detail);
    rd_kafka_CreateTopics(request.rk, topics, count, request.options, request.queue);
    enum ka_err err = request_wait(&request, "create topics", text);
    if (err == KA_OK)
        err = take_created(rd_kafka_event_CreateTopics_result(request.event), specs, count, created,
                           text);
    request_fini(&request);
    return err;
}

enum ka_err io_kafka_create_topics(struct io_kafka_admin *admin,
                                   const struct io_kafka_topic_spec *specs, size_t count,
                                   int timeout_ms, bool *created, struct err_text *text)
{
    int64_t deadline_ms = clock_mono_ms() + timeout_ms;
    enum ka_err err = no_admin_calls(admin, text);
    if (count == 0 || err != KA_OK)
        return err;
    memset(created, 0, count * sizeof *created);
    rd_kafka_NewTopic_t **topics = calloc(count, sizeof(rd_kafka_NewTopic_t *));
    if (topics == NULL)
        return err_set(text, KA_ERR_NOMEM, "create topics");
    size_t made = 0;
    for (; err == KA_OK && made < count; made++)
        err = new_topic(&specs[made], &topics[made], text);
    if (err == KA_OK)
        err = order_topics(admin, topics, specs, count, timeout_ms, created, text);
    for (size_t i = 0; i < made; i++) {
        if (topics[i] != NULL)
            rd_kafka_NewTopic_destroy(topics[i]);
    }
    free(topics);
    for (size_t i = 0; err == KA_OK && i < count; i++) {
        if (created[i])
            err = wait_until_known(admin, &specs[i], deadline_ms, text);
    }
    return err;
}

static enum ka_err order_partitions(struct io_kafka_admin *admin, const char *topic,
                                    int32_t partitions, int timeout_ms, struct err_text *text)
{
    char detail[256];
    struct request request;
    rd_kafka_NewPartitions_t *order =
        rd_kafka_NewPartitions_new(topic, (size_t)partitions, detail, sizeof detail);
    if (order == NULL)
        return err_set(text, KA_ERR_CONFIG, "topic %s: %s", topic, detail);
    request_init(&request, admin, RD_KAFKA_ADMIN_OP_CREATEPARTITIONS, timeout_ms);
    rd_kafka_CreatePartitions(request.rk, &order, 1, request.options, request.queue);
    enum ka_err err = request_wait(&request, "create partitions", text);
    if (err == KA_OK) {
        size_t topics;
        const rd_kafka_topic_result_t **results = rd_kafka_CreatePartitions_result_topics(
            rd_kafka_event_CreatePartitions_result(request.event), &topics);
        KA_ASSERT(topics == 1);
        rd_kafka_resp_err_t code = rd_kafka_topic_result_error(results[0]);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            err = io_kafka_failed_code(IO_KAFKA_ASK, code, text, "create partitions");
    }
    rd_kafka_NewPartitions_destroy(order);
    request_fini(&request);
    return err == KA_OK ? KA_OK : err_wrap(text, err, "topic %s", topic);
}

enum ka_err io_kafka_grow_topic(struct io_kafka_admin *admin, const char *topic, int32_t partitions,
                                int timeout_ms, struct err_text *text)
{
    int64_t deadline_ms = clock_mono_ms() + timeout_ms;
    int32_t count = 0;
    enum ka_err err = no_admin_calls(admin, text);
    if (err == KA_OK)
        err = order_partitions(admin, topic, partitions, timeout_ms, text);
    while (err == KA_OK) {
        err = io_kafka_partition_count(admin, topic, left_of(deadline_ms), &count, text);
        if (err != KA_OK || count >= partitions)
            break;
        if (clock_mono_ms() >= deadline_ms)
            return err_set(text, KA_ERR_TIMEOUT, "topic %s has still %d partitions", topic, count);
        clock_sleep_ms(10);
    }
    return err;
}

const char *io_kafka_setting(const struct io_kafka_settings *settings, const char *name)
{
    for (size_t i = 0; i < settings->count; i++) {
        if (strcmp(settings->names[i], name) == 0)
            return settings->values[i];
    }
    return "";
}

static void take_settings(const rd_kafka_ConfigResource_t *resource, struct arena *arena,
                          struct io_kafka_settings *settings)
{
    const rd_kafka_ConfigEntry_t **list =
        rd_kafka_ConfigResource_configs(resource, &settings->count);
    const char **names = arena_alloc(arena, settings->count * sizeof *names);
    const char **values = arena_alloc(arena, settings->count * sizeof *values);
    for (size_t i = 0; i < settings->count; i++) {
        const char *value = rd_kafka_ConfigEntry_value(list[i]); // NULL when it is a secret
        names[i] = arena_str(arena, slice_str(rd_kafka_ConfigEntry_name(list[i])));
        values[i] = arena_str(arena, slice_str(value == NULL ? "" : value));
    }
    settings->names = names;
    settings->values = values;
}

// Name or broker number of the resource.
static enum ka_err describe(struct io_kafka_admin *admin, rd_kafka_ResourceType_t type,
                            const char *name, int timeout_ms, struct arena *arena,
                            struct io_kafka_settings *settings, struct err_text *text)
{
    struct request request;
    *settings = (struct io_kafka_settings){.count = 0};
    enum ka_err err = no_admin_calls(admin, text);
    if (err != KA_OK)
        return err;
    request_init(&request, admin, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, timeout_ms);
    rd_kafka_ConfigResource_t *resource = rd_kafka_ConfigResource_new(type, name);
    rd_kafka_DescribeConfigs(request.rk, &resource, 1, request.options, request.queue);
    err = request_wait(&request, "describe configuration", text);
    if (err == KA_OK) {
        size_t resources;
        const rd_kafka_ConfigResource_t **found = rd_kafka_DescribeConfigs_result_resources(
            rd_kafka_event_DescribeConfigs_result(request.event), &resources);
        KA_ASSERT(resources == 1);
        rd_kafka_resp_err_t code = rd_kafka_ConfigResource_error(found[0]);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            err = io_kafka_failed_code(IO_KAFKA_ASK, code, text, "describe configuration");
        else
            take_settings(found[0], arena, settings);
    }
    rd_kafka_ConfigResource_destroy(resource);
    request_fini(&request);
    return err == KA_OK ? KA_OK : err_wrap(text, err, "%s", name);
}

enum ka_err io_kafka_topic_config(struct io_kafka_admin *admin, const char *topic, int timeout_ms,
                                  struct arena *arena, struct io_kafka_settings *settings,
                                  struct err_text *text)
{
    return describe(admin, RD_KAFKA_RESOURCE_TOPIC, topic, timeout_ms, arena, settings, text);
}

enum ka_err io_kafka_broker_config(struct io_kafka_admin *admin, int32_t broker, int timeout_ms,
                                   struct arena *arena, struct io_kafka_settings *settings,
                                   struct err_text *text)
{
    char id[16];
    snprintf(id, sizeof id, "%d", broker);
    return describe(admin, RD_KAFKA_RESOURCE_BROKER, id, timeout_ms, arena, settings, text);
}

enum ka_err io_kafka_delete_records(struct io_kafka_admin *admin, const char *topic,
                                    int32_t partition, int64_t offset, int timeout_ms,
                                    struct err_text *text)
{
    struct request request;
    if (admin->local) // the mock cluster forgets what is old by itself
        return KA_OK;
    request_init(&request, admin, RD_KAFKA_ADMIN_OP_DELETERECORDS, timeout_ms);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, partition)->offset = offset;
    rd_kafka_DeleteRecords_t *order = rd_kafka_DeleteRecords_new(list);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_DeleteRecords(request.rk, &order, 1, request.options, request.queue);
    enum ka_err err = request_wait(&request, "delete records", text);
    if (err == KA_OK) {
        const rd_kafka_topic_partition_list_t *done = rd_kafka_DeleteRecords_result_offsets(
            rd_kafka_event_DeleteRecords_result(request.event));
        for (int i = 0; err == KA_OK && i < done->cnt; i++) {
            if (done->elems[i].err != RD_KAFKA_RESP_ERR_NO_ERROR)
                err = part_failed(&done->elems[i], "delete records", text);
        }
    }
    rd_kafka_DeleteRecords_destroy(order);
    request_fini(&request);
    return err;
}

enum ka_err io_kafka_fence(const struct io_kafka_config *config, const char *transactional_id,
                           int timeout_ms, struct err_text *text)
{
    struct io_kafka_producer *producer;
    if (config->at_least_once)
        return KA_OK;
    enum ka_err err = io_kafka_producer_new(config, transactional_id, &producer, text);
    if (err != KA_OK)
        return err;
    err = io_kafka_producer_init(producer, timeout_ms, text);
    io_kafka_producer_free(&producer);
    return err;
}
