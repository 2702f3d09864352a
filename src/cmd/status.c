// SPDX-License-Identifier: Apache-2.0
// kasaga status: who owns each shard, how far it is, and what it counts. All of it is asked of the
// cluster: committed offsets with their metadata, ends of partitions, members of the groups. It
// works without a worker and shows the last that was committed.
#include "cmd/cmd_parked.h"
#include "cmd/cmd_unread.h"

#include "core/meta.h"
#include "io/clock.h"
#include "io/print.h"

#include <inttypes.h>
#include <stdio.h>

struct shard_status {
    const char *member; // client id of the group member that has it; NULL = nobody
    bool known;         // metadata was committed and can be read
    const char *broken; // why it cannot be read
    const struct cmd_parked *parked;
    struct meta meta;
    int64_t offset; // committed; -1 = none
    struct cmd_unread unread;
};

// A sum of what is unread; `exact` unless a part of it is not.
struct lag {
    int64_t records;
    bool exact;
};

struct topic_status {
    const char *topic;
    int32_t partitions;
    struct cmd_unread *unread; // of each partition that has an offset
    size_t unread_count;
    int32_t without; // partitions without an offset
    int32_t parked;
    const struct cmd_parked *why; // of one that is parked
};

struct status {
    struct cmd_common common;
    struct cmd_app app;
    struct shard_status *shards;
    struct topic_status *inputs;
    size_t input_count;
    const char *state; // of the groups
    const char *route_state;
    size_t members;
    size_t route_members;
    struct cmd_unread *dead; // of each partition of the dlq
    int64_t now_ms;
};

static void begin_count(struct cmd_unread *unread, const char *topic, int32_t partition,
                        int64_t from, int64_t start, int64_t end)
{
    *unread = (struct cmd_unread){
        .topic = topic, .partition = partition, .from = from > start ? from : start, .end = end};
}

static void add_count(struct lag *lag, const struct cmd_unread *unread)
{
    lag->records += unread->count;
    lag->exact = lag->exact && unread->exact;
}

static struct lag sum(const struct cmd_unread *list, size_t count)
{
    struct lag lag = {.exact = true};
    for (size_t i = 0; i < count; i++)
        add_count(&lag, &list[i]);
    return lag;
}

static enum ka_err ask_members(struct status *status, struct err_text *text)
{
    const struct io_kafka_member *members;
    struct arena *arena = &status->app.arena;
    const char *app = status->app.config->app;
    const char *inbox = cmd_app_topic(&status->app, "inbox");
    enum ka_err err = io_kafka_members(status->app.admin, app, CMD_CALL_MS, arena, &members,
                                       &status->members, &status->state, text);
    for (size_t i = 0; err == KA_OK && i < status->members; i++) {
        for (size_t j = 0; j < members[i].assigned; j++) {
            int32_t shard = members[i].partitions[j];
            if (strcmp(members[i].topics[j], inbox) == 0 && shard < status->app.config->shards)
                status->shards[shard].member = members[i].client_id;
        }
    }
    if (err != KA_OK)
        return err;
    return io_kafka_members(status->app.admin, cmd_app_topic(&status->app, "route"), CMD_CALL_MS,
                            arena, &members, &status->route_members, &status->route_state, text);
}

static enum ka_err ask_shards(struct status *status, struct err_text *text)
{
    int32_t count = status->app.config->shards;
    struct arena *arena = &status->app.arena;
    const char *inbox = cmd_app_topic(&status->app, "inbox");
    struct io_kafka_committed *entries = arena_zalloc(arena, (size_t)count * sizeof *entries);
    for (int32_t i = 0; i < count; i++)
        entries[i] = (struct io_kafka_committed){.topic = inbox, .partition = i};
    enum ka_err err = io_kafka_committed(status->app.admin, status->app.config->app, false,
                                         CMD_CALL_MS, entries, (size_t)count, arena, text);
    for (int32_t i = 0; err == KA_OK && i < count; i++) {
        struct shard_status *shard = &status->shards[i];
        struct err_text detail = {""};
        int64_t start, end;
        shard->offset = entries[i].offset;
        if (meta_parse(entries[i].metadata, &shard->meta, &detail) != KA_OK)
            shard->broken = arena_str(arena, slice_str(detail.text));
        shard->known = shard->meta.present;
        err = io_kafka_watermarks(status->app.admin, inbox, i, CMD_CALL_MS, &start, &end, text);
        if (err == KA_OK)
            begin_count(&shard->unread, inbox, i, shard->offset, start, end);
    }
    return err;
}

static bool has_input(const struct status *status, const char *topic)
{
    for (size_t i = 0; i < status->input_count; i++) {
        if (strcmp(status->inputs[i].topic, topic) == 0)
            return true;
    }
    return false;
}

static enum ka_err ask_input(struct status *status, const char *topic, struct err_text *text)
{
    struct topic_status *input = &status->inputs[status->input_count++];
    struct arena *arena = &status->app.arena;
    const char *group = cmd_app_topic(&status->app, "route");
    *input = (struct topic_status){.topic = topic};
    enum ka_err err =
        io_kafka_partition_count(status->app.admin, topic, CMD_CALL_MS, &input->partitions, text);
    if (err != KA_OK || input->partitions == 0)
        return err;
    size_t count = (size_t)input->partitions;
    input->unread = arena_zalloc(arena, count * sizeof *input->unread);
    struct io_kafka_committed *entries = arena_zalloc(arena, count * sizeof *entries);
    for (size_t i = 0; i < count; i++)
        entries[i] = (struct io_kafka_committed){.topic = topic, .partition = (int32_t)i};
    err = io_kafka_committed(status->app.admin, group, false, CMD_CALL_MS, entries, count, arena,
                             text);
    for (size_t i = 0; err == KA_OK && i < count; i++) {
        int64_t start, end;
        err = io_kafka_watermarks(status->app.admin, topic, (int32_t)i, CMD_CALL_MS, &start, &end,
                                  text);
        input->without += entries[i].offset < 0;
        if (err == KA_OK && entries[i].offset >= 0)
            begin_count(&input->unread[input->unread_count++], topic, (int32_t)i, entries[i].offset,
                        start, end);
    }
    return err;
}

static enum ka_err ask_inputs(struct status *status, struct err_text *text)
{
    const struct config *config = status->app.config;
    status->inputs =
        arena_zalloc(&status->app.arena, (config->route_count + 1) * sizeof *status->inputs);
    for (size_t i = 0; i < config->route_count; i++) {
        if (has_input(status, config->routes[i].topic))
            continue;
        enum ka_err err = ask_input(status, config->routes[i].topic, text);
        if (err != KA_OK)
            return err;
    }
    return KA_OK;
}

static enum ka_err ask_dead(struct status *status, struct err_text *text)
{
    const char *dlq = cmd_app_topic(&status->app, "dlq");
    for (int32_t i = 0; i < status->app.config->shards; i++) {
        int64_t start, end;
        enum ka_err err =
            io_kafka_watermarks(status->app.admin, dlq, i, CMD_CALL_MS, &start, &end, text);
        if (err != KA_OK)
            return err;
        begin_count(&status->dead[i], dlq, i, start, start, end);
    }
    return KA_OK;
}

static bool speaks_of(const struct shard_status *shard, const struct cmd_parked *parked)
{
    size_t len = strlen(parked->node);
    return shard->member != NULL && strncmp(shard->member, parked->node, len) == 0 &&
           shard->member[len] == '.';
}

// Only the worker that has a shard knows how it is.
static enum ka_err ask_parked(struct status *status, struct err_text *text)
{
    const struct cmd_parked *list;
    size_t count;
    const char *inbox = cmd_app_topic(&status->app, "inbox");
    enum ka_err err = cmd_parked_read(&status->app, &list, &count, text);
    for (size_t i = 0; err == KA_OK && i < count; i++) {
        int32_t partition = list[i].partition;
        bool shard = strcmp(list[i].topic, inbox) == 0 && partition >= 0 &&
                     partition < status->app.config->shards;
        if (shard && speaks_of(&status->shards[partition], &list[i]))
            status->shards[partition].parked = &list[i];
        for (size_t j = 0; !shard && j < status->input_count; j++) {
            if (strcmp(status->inputs[j].topic, list[i].topic) != 0)
                continue;
            status->inputs[j].parked++;
            status->inputs[j].why = &list[i];
        }
    }
    return err;
}

// Shards, inputs and the dlq by one reader.
static enum ka_err count_all(struct status *status, struct err_text *text)
{
    size_t shards = (size_t)status->app.config->shards;
    size_t count = 2 * shards, at = 0;
    for (size_t i = 0; i < status->input_count; i++)
        count += status->inputs[i].unread_count;
    struct cmd_unread **all = arena_alloc(&status->app.arena, count * sizeof *all);
    for (size_t i = 0; i < shards; i++) {
        all[at++] = &status->shards[i].unread;
        all[at++] = &status->dead[i];
    }
    for (size_t i = 0; i < status->input_count; i++) {
        for (size_t j = 0; j < status->inputs[i].unread_count; j++)
            all[at++] = &status->inputs[i].unread[j];
    }
    return cmd_unread_count(&status->app, all, count, text);
}

// "17", or "~1700" when it is the number of offsets.
static const char *lag_text(struct lag lag, char text[24])
{
    snprintf(text, 24, "%s%" PRId64, lag.exact ? "" : "~", lag.records);
    return text;
}

static void put_owner(struct buf *buf, const struct shard_status *shard)
{
    if (shard->member != NULL)
        buf_print(buf, " %-18s", shard->member);
    else if (shard->known)
        buf_print(buf, " (%.*s.%.*s)%*s", SLICE_FMT(shard->meta.node), SLICE_FMT(shard->meta.lane),
                  shard->meta.node.len + shard->meta.lane.len < 15
                      ? (int)(15 - shard->meta.node.len - shard->meta.lane.len)
                      : 0,
                  "");
    else
        buf_print(buf, " %-18s", "-");
}

static void text_shard(struct buf *buf, const struct status *status, int32_t index)
{
    const struct shard_status *shard = &status->shards[index];
    const struct meta_counts *counts = &shard->meta.counts;
    char lag[24];
    buf_print(buf, "%5d", index);
    put_owner(buf, shard);
    buf_print(buf, " %9s", lag_text(sum(&shard->unread, 1), lag));
    if (shard->broken != NULL) {
        buf_print(buf, "  %s\n", shard->broken);
        return;
    }
    buf_print(buf, " %9" PRId64 " %10" PRId64 " %10" PRId64 " %11" PRId64 " %6" PRId64,
              counts->live, counts->started, counts->completed, counts->compensated, counts->stuck);
    if (shard->parked != NULL)
        buf_print(buf, "  PARKED %s: %s", shard->parked->reason, shard->parked->error);
    else if (shard->known)
        buf_print(buf, "  %" PRId64 " s ago", (status->now_ms - shard->meta.time_ms) / 1000);
    else
        buf_str(buf, shard->offset < 0 ? "  no offset: kasaga topics apply" : "  not begun");
    buf_byte(buf, '\n');
}

static struct meta_counts total_of(const struct status *status, struct lag *lag)
{
    struct meta_counts total = {0};
    *lag = (struct lag){.exact = true};
    for (int32_t i = 0; i < status->app.config->shards; i++) {
        const struct meta_counts *counts = &status->shards[i].meta.counts;
        add_count(lag, &status->shards[i].unread);
        total.live += counts->live;
        total.started += counts->started;
        total.completed += counts->completed;
        total.compensated += counts->compensated;
        total.stuck += counts->stuck;
        total.terminated += counts->terminated;
    }
    return total;
}

static void put_text(struct buf *buf, const struct status *status)
{
    struct lag lag, dead = sum(status->dead, (size_t)status->app.config->shards);
    struct meta_counts total = total_of(status, &lag);
    char number[24];
    buf_print(buf, "app %s: group %s, %zu lanes; routes %s, %zu lanes; dlq %s records\n",
              status->app.config->app, status->state, status->members, status->route_state,
              status->route_members, lag_text(dead, number));
    buf_print(buf, "shard %-18s %9s %9s %10s %10s %11s %6s  last commit\n", "owner", "lag", "live",
              "started", "completed", "compensated", "stuck");
    for (int32_t i = 0; i < status->app.config->shards; i++)
        text_shard(buf, status, i);
    buf_print(buf,
              "total %-18s %9s %9" PRId64 " %10" PRId64 " %10" PRId64 " %11" PRId64 " %6" PRId64
              "\n",
              "", lag_text(lag, number), total.live, total.started, total.completed,
              total.compensated, total.stuck);
    for (size_t i = 0; i < status->input_count; i++) {
        const struct topic_status *input = &status->inputs[i];
        buf_print(buf, "input %-32s %4d partitions, lag %s", input->topic, input->partitions,
                  lag_text(sum(input->unread, input->unread_count), number));
        if (input->partitions == 0)
            buf_str(buf, ": the topic does not exist");
        else if (input->without > 0)
            buf_print(buf, ": %d partitions without an offset: kasaga topics apply",
                      input->without);
        if (input->parked > 0)
            buf_print(buf, ": %d PARKED %s: %s", input->parked, input->why->reason,
                      input->why->error);
        buf_byte(buf, '\n');
    }
}

static void json_counts(struct buf *buf, const struct meta_counts *counts)
{
    buf_print(buf,
              "\"live\":%" PRId64 ",\"started\":%" PRId64 ",\"completed\":%" PRId64
              ",\"compensated\":%" PRId64 ",\"stuck\":%" PRId64 ",\"terminated\":%" PRId64,
              counts->live, counts->started, counts->completed, counts->compensated, counts->stuck,
              counts->terminated);
}

// ,"lag":17,"lag_exact":true
static void json_lag(struct buf *buf, const char *name, struct lag lag)
{
    buf_print(buf, ",\"%s\":%" PRId64 ",\"%s_exact\":%s", name, lag.records, name,
              lag.exact ? "true" : "false");
}

static void json_shard(struct buf *buf, const struct status *status, int32_t index)
{
    const struct shard_status *shard = &status->shards[index];
    buf_print(buf, "%s{\"shard\":%d,\"member\":", index == 0 ? "" : ",", index);
    if (shard->member == NULL)
        buf_str(buf, "null");
    else
        buf_json_str(buf, slice_str(shard->member));
    buf_print(buf, ",\"offset\":%" PRId64 ",\"end\":%" PRId64, shard->offset, shard->unread.end);
    json_lag(buf, "lag", sum(&shard->unread, 1));
    if (shard->broken != NULL) {
        buf_str(buf, ",\"broken\":");
        buf_json_str(buf, slice_str(shard->broken));
    }
    if (shard->parked != NULL) {
        buf_str(buf, ",\"parked\":{\"reason\":");
        buf_json_str(buf, slice_str(shard->parked->reason));
        buf_str(buf, ",\"error\":");
        buf_json_str(buf, slice_str(shard->parked->error));
        buf_print(buf, ",\"offset\":%" PRId64 "}", shard->parked->offset);
    }
    if (shard->known) {
        buf_str(buf, ",\"node\":");
        buf_json_str(buf, shard->meta.node);
        buf_str(buf, ",\"lane\":");
        buf_json_str(buf, shard->meta.lane);
        buf_str(buf, ",\"committed\":");
        buf_json_time(buf, shard->meta.time_ms);
        buf_print(buf, ",\"low_water\":%" PRId64 ",", shard->meta.low_water);
        json_counts(buf, &shard->meta.counts);
    }
    buf_byte(buf, '}');
}

static void json_group(struct buf *buf, const char *name, const char *state, size_t members)
{
    buf_print(buf, ",\"%s\":{\"state\":\"%s\",\"members\":%zu}", name, state, members);
}

static void put_json(struct buf *buf, const struct status *status)
{
    struct lag lag;
    struct meta_counts total = total_of(status, &lag);
    buf_str(buf, "{\"app\":");
    buf_json_str(buf, slice_str(status->app.config->app));
    json_group(buf, "group", status->state, status->members);
    json_group(buf, "routes", status->route_state, status->route_members);
    json_lag(buf, "dlq", sum(status->dead, (size_t)status->app.config->shards));
    json_lag(buf, "lag", lag);
    buf_byte(buf, ',');
    json_counts(buf, &total);
    buf_str(buf, ",\"shards\":[");
    for (int32_t i = 0; i < status->app.config->shards; i++)
        json_shard(buf, status, i);
    buf_str(buf, "],\"inputs\":[");
    for (size_t i = 0; i < status->input_count; i++) {
        buf_str(buf, i == 0 ? "{\"topic\":" : ",{\"topic\":");
        const struct topic_status *input = &status->inputs[i];
        buf_json_str(buf, slice_str(input->topic));
        buf_print(buf, ",\"partitions\":%d", input->partitions);
        json_lag(buf, "lag", sum(input->unread, input->unread_count));
        buf_print(buf, ",\"without_offset\":%d,\"parked\":%d}", input->without, input->parked);
    }
    buf_str(buf, "]}\n");
}

static int run(struct status *status)
{
    struct err_text text = {""};
    int code = cmd_app_check_topic(&status->app, cmd_app_topic(&status->app, "inbox"),
                                   status->app.config->shards);
    if (code != CMD_OK)
        return code;
    status->shards = arena_zalloc(&status->app.arena,
                                  (size_t)status->app.config->shards * sizeof *status->shards);
    status->dead =
        arena_zalloc(&status->app.arena, (size_t)status->app.config->shards * sizeof *status->dead);
    enum ka_err err = ask_members(status, &text);
    if (err == KA_OK)
        err = ask_shards(status, &text);
    if (err == KA_OK)
        err = ask_inputs(status, &text);
    if (err == KA_OK)
        err = ask_dead(status, &text);
    if (err == KA_OK)
        err = count_all(status, &text);
    if (err == KA_OK)
        err = ask_parked(status, &text);
    if (err != KA_OK)
        return cmd_fail(err, &text);
    status->now_ms = clock_now_ms();
    struct buf buf = {0};
    if (status->common.output == CMD_TEXT)
        put_text(&buf, status);
    else
        put_json(&buf, status);
    bool written = cmd_write(&buf);
    buf_fini(&buf);
    return written ? CMD_OK : CMD_FAILED;
}

int cmd_status(int argc, char **argv)
{
    static const struct cmd_spec spec = {
        .synopsis = "status [-o text|json]",
        .summary =
            "Who owns each shard of the app, its lag, and its sagas: live ones, and how the\n"
            "others ended. An owner in brackets was the last one and is no member now.",
    };
    struct status status = {.members = 0};
    struct cmd_words words;
    int code;
    if (!cmd_parse(&spec, argc, argv, &status.common, &words, &code))
        return code;
    if (!cmd_app_open(&status.common, &status.app, &code))
        return code;
    code = run(&status);
    cmd_app_close(&status.app);
    return code;
}
