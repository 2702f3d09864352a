// SPDX-License-Identifier: Apache-2.0
// A lane of a link, as src/bridge/link_lane.c and scout.c make it on real clients: a reader of the
// other cluster that goes on by itself, a scout that looks and compares, and core/link_feed.h
// between them and the processor. Each question crosses the distance: it is executed there at one
// moment, and answered here later, or never.
#include "links.h"

#include "core/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LOOK_US = 2000000,   // refresh
    LOOK_AT_US = 500000, // LOOK_MS of link_lane.c
    AGAIN_US = 500000,
    CALL_US = 5000000,
    RECORDS_PER_TURN = 50
};

enum ask_type { ASK_FETCH, ASK_LOOK, ASK_RANGE, ASK_RECORD, ASK_TARGET };

struct sim_ask {
    enum ask_type type;
    struct sim_lane *lane;
    struct sim *at; // the cluster that is asked
    bool failed;    // nobody has answered
    int64_t executed_us;
    // FETCH
    int log;
    uint32_t version;
    int64_t from;
    enum ka_err error;
    struct sim_fetched fetched;
    // LOOK
    int partitions[COPIED_TOPICS];
    int64_t ends[LINK_LOGS];
    // RANGE, RECORD
    struct link_question question;
    struct link_answer answer;
    int topic; // TARGET
};

static const enum sim_topic copied[COPIED_TOPICS] = {TOPIC_USER, TOPIC_OUT};

static struct sim *source_of(const struct sim_lane *lane)
{
    return lane->sim->world->clusters[sim_source_of(lane->sim)];
}

// ---- Across the distance

static void post(struct sim *at, struct sim_ask *ask, bool answered, int64_t us)
{
    int worker = answered ? ask->lane->life->worker : -1;
    sim_at(at, at->now_us + us,
           (struct sim_event){
               .type = EVENT_SOURCE, .worker = (int8_t)worker, .a = answered, .ptr = ask});
}

static bool is_cut(struct sim *sim)
{
    bool cut = !sim->healing && sim->links->cut_until_us[sim->cluster] > sim->now_us;
    sim->stats.hit[FAULT_CUT] += cut;
    return cut;
}

static int64_t wan(struct sim *sim)
{
    int64_t us = sim_between(sim, sim->links->wan_us / 4, sim->links->wan_us);
    if (sim_hit(sim, FAULT_SLOW, sim->swarm.slow))
        us += sim_between(sim, 1000, sim->swarm.slow_us);
    return us;
}

static void send(struct sim_ask *ask)
{
    struct sim *sim = ask->lane->sim;
    if (is_cut(sim) || sim_hit(sim, FAULT_LOST, sim->swarm.lost)) {
        ask->failed = true;
        post(sim, ask, true, sim_between(sim, 1000, CALL_US));
        return;
    }
    post(ask->at, ask, false, wan(sim));
}

static struct sim_ask *new_ask(struct sim_lane *lane, enum ask_type type)
{
    struct sim_ask *ask = arena_zalloc(&lane->sim->arena, sizeof *ask);
    ask->type = type;
    ask->lane = lane;
    ask->at = source_of(lane);
    return ask;
}

// ---- The reader

static void fetch(struct sim_lane *lane, int log)
{
    struct sim_reading *reading = &lane->link->readings[log];
    bool wants = reading->open && !reading->fetching && !reading->dead &&
                 reading->at == reading->queue.count && reading->error == KA_OK;
    if (!wants)
        return;
    reading->fetching = true;
    struct sim_ask *ask = new_ask(lane, ASK_FETCH);
    ask->log = log;
    ask->version = reading->version;
    ask->from = reading->next;
    send(ask);
}

static bool is_visible(const struct sim_record *record)
{
    if (record->kind != RECORD_DATA)
        return false;
    return record->fate == FATE_COMMITTED || (ka_rules_off >> RULE_LINK_COMMITTED & 1) != 0;
}

static int64_t visible_end(const struct sim *sim, const struct sim_log *log)
{
    return SIM_RULE(sim, RULE_LINK_COMMITTED) ? log->lso : log->count;
}

static void execute_fetch(struct sim_ask *ask)
{
    struct sim *at = ask->at;
    const struct sim_log *log = &at->logs[ask->log];
    int64_t end = visible_end(at, log);
    bool gone = log->partition >= sim_links_partitions(at, log->topic);
    if (gone || sim_missing(at, log->topic)) {
        ask->error = KA_ERR_NOT_FOUND;
        return;
    }
    if (sim_leaderless(at, log)) {
        ask->failed = true;
        return;
    }
    if (ask->from < log->start || ask->from > log->count) { // auto.offset.reset=error
        ask->error = KA_ERR_DIVERGED;
        return;
    }
    int64_t to = ask->from + sim_between(at, 1, QUEUE_MAX);
    if (to > end)
        to = end;
    size_t most = to > ask->from ? (size_t)(to - ask->from) : 0;
    struct sim_record *records = arena_alloc(&at->arena, (most + 1) * sizeof *records);
    int64_t *offsets = arena_alloc(&at->arena, (most + 1) * sizeof *offsets);
    struct sim_fetched *fetched = &ask->fetched;
    for (int64_t i = ask->from; i < to; i++) {
        if (!is_visible(&log->records[i]))
            continue;
        records[fetched->count] = log->records[i];
        offsets[fetched->count++] = i;
    }
    fetched->records = records;
    fetched->offsets = offsets;
    fetched->end = to > ask->from ? to : ask->from;
    fetched->all = to >= end;
}

static void wake_later(struct sim_lane *lane, int log)
{
    struct sim_ask *ask = new_ask(lane, ASK_FETCH);
    ask->log = log;
    ask->version = lane->link->readings[log].version;
    ask->failed = true;
    post(lane->sim, ask, true, sim_between(lane->sim, 10000, AGAIN_US));
}

static void on_fetched(struct sim_lane *lane, const struct sim_ask *ask)
{
    struct sim *sim = lane->sim;
    struct sim_reading *reading = &lane->link->readings[ask->log];
    if (!reading->open || ask->version != reading->version)
        return;
    reading->fetching = false;
    if (ask->executed_us > 0)
        reading->asked_us = ask->executed_us;
    if (ask->failed && sim_hit(sim, FAULT_SOURCE_ERROR, sim->links->source_error * 20))
        lane->link->broken = true;
    if (ask->error == KA_ERR_DIVERGED ||
        (ask->error == KA_ERR_NOT_FOUND && sim_draw(sim, 3) == 0)) {
        reading->error = ask->error;
        sim_lane_wake(lane);
        return;
    }
    if (ask->failed || ask->error != KA_OK) {
        fetch(lane, ask->log);
        return;
    }
    reading->queue = ask->fetched;
    reading->at = 0;
    if (ask->fetched.count > 0)
        SIM_NOTE(sim, "lane %d has %d records of %s/%d up to %lld", lane->client,
                 ask->fetched.count, sim_topic_name(source_of(lane)->logs[ask->log].topic),
                 source_of(lane)->logs[ask->log].partition, (long long)ask->fetched.end);
    if (ask->fetched.end == reading->next) { // nothing new
        reading->fetching = true;
        wake_later(lane, ask->log);
    }
    reading->next = ask->fetched.end;
    sim_lane_wake(lane);
}

static enum ka_err open_part(void *context, const char *topic, int32_t partition, int64_t offset,
                             struct err_text *text)
{
    struct sim_lane *lane = context;
    int log = sim_log_named(lane->sim, slice_str(topic), partition);
    struct sim_reading *reading = &lane->link->readings[log];
    if (sim_hit(lane->sim, FAULT_SOURCE_ERROR, lane->sim->links->source_error))
        return err_set(text, KA_ERR_RETRY, "not now");
    uint32_t version = reading->version + 1;
    SIM_NOTE(lane->sim, "lane %d reads %s/%d from %lld", lane->client, topic, partition,
             (long long)offset);
    *reading =
        (struct sim_reading){.open = true, .version = version, .next = offset, .end_told = -1};
    fetch(lane, log);
    return KA_OK;
}

static void close_part(void *context, const char *topic, int32_t partition)
{
    struct sim_lane *lane = context;
    int log = sim_log_named(lane->sim, slice_str(topic), partition);
    lane->link->readings[log].open = false;
    lane->link->readings[log].version++;
}

enum { READ_NOTHING, READ_RECORD, READ_END, READ_ERROR };

// As io_kafka_reader_next.
static int read_next(struct sim_lane *lane, struct record *record, enum ka_err *error)
{
    struct sim_link *link = lane->link;
    if (link->broken) {
        link->broken = false;
        *record = (struct record){.topic = SLICE_LIT("")};
        *error = KA_ERR_RETRY;
        return READ_ERROR;
    }
    int first = link->turn;
    for (int i = 0; i < LINK_LOGS; i++) {
        int log = (first + i) % LINK_LOGS;
        struct sim_reading *reading = &link->readings[log];
        const struct sim_log *from = &source_of(lane)->logs[log];
        if (!reading->open)
            continue;
        *record = (struct record){.topic = slice_str(sim_topic_name(from->topic)),
                                  .partition = from->partition,
                                  .offset = reading->next};
        if (reading->at < reading->queue.count) {
            const struct sim_record *found = &reading->queue.records[reading->at];
            record->offset = reading->queue.offsets[reading->at++];
            record->key = found->key;
            record->value = found->value;
            record->headers = found->headers;
            record->header_count = found->header_count;
            record->timestamp_ms = found->timestamp_ms;
            fetch(lane, log);
            return READ_RECORD;
        }
        if (reading->error != KA_OK) {
            *error = reading->error;
            reading->error = KA_OK;
            reading->dead = *error == KA_ERR_DIVERGED;
            fetch(lane, log);
            return READ_ERROR;
        }
        fetch(lane, log);
        if (reading->queue.all && reading->end_told != reading->next) {
            reading->end_told = reading->next;
            return READ_END;
        }
        link->turn = (log + 1) % LINK_LOGS;
    }
    return READ_NOTHING;
}

// ---- The scout

static void to_lane(struct sim_lane *lane, const struct sim_link_mail *mail)
{
    struct sim_link_mail *kept = arena_alloc(&lane->sim->arena, sizeof *kept);
    *kept = *mail;
    kept->next = NULL;
    if (lane->link->mail_tail == NULL)
        lane->link->mail_head = kept;
    else
        lane->link->mail_tail->next = kept;
    lane->link->mail_tail = kept;
    sim_lane_wake(lane);
}

static void suspect(struct sim_lane *lane, const char *topic, int32_t partition, const char *why)
{
    struct sim_link_mail mail = {.suspect = true, .question = {.partition = partition}};
    snprintf(mail.question.topic, sizeof mail.question.topic, "%s", topic);
    err_set(&mail.answer.text, KA_ERR_RETRY, "%s", why);
    SIM_NOTE(lane->sim, "lane %d suspects %s/%d: %s", lane->client, topic, partition, why);
    to_lane(lane, &mail);
}

static void execute_look(struct sim_ask *ask)
{
    struct sim *at = ask->at;
    for (int t = 0; t < COPIED_TOPICS; t++) {
        ask->partitions[t] = sim_missing(at, copied[t]) ? 0 : sim_links_partitions(at, copied[t]);
        for (int p = 0; p < ask->partitions[t]; p++) {
            int log = sim_links_log(copied[t], p);
            ask->ends[log] = at->logs[log].lso;
        }
    }
}

static int target_partitions(const struct sim_lane *lane, int t)
{
    return sim_links_partitions(lane->sim, copied[t] == TOPIC_OUT ? TOPIC_INBOX : TOPIC_USER);
}

// A log that ends earlier than it did has lost its end, or is another one.
static void look_at_ends(struct sim_lane *lane, const struct sim_ask *ask, int t)
{
    for (int p = 0; p < ask->partitions[t]; p++) {
        int log = sim_links_log(copied[t], p);
        if (ask->ends[log] < lane->link->ends[log])
            suspect(lane, sim_topic_name(copied[t]), p, "the log has become shorter");
        lane->link->ends[log] = ask->ends[log];
    }
}

static void on_look(struct sim_lane *lane, const struct sim_ask *ask)
{
    struct sim_link *link = lane->link;
    struct link_mirror found[COPIED_TOPICS];
    size_t count = 0;
    memset(found, 0, sizeof found);
    for (int t = 0; t < COPIED_TOPICS; t++) {
        const char *name = sim_topic_name(copied[t]);
        int before = 0;
        for (size_t i = 0; i < link->view.count; i++)
            if (strcmp(link->mirrors[i].name, name) == 0)
                before = link->mirrors[i].partitions;
        if (ask->partitions[t] < before)
            suspect(lane, name, -1,
                    ask->partitions[t] == 0 ? "the topic is gone"
                                            : "the topic has fewer partitions");
        look_at_ends(lane, ask, t);
        if (ask->partitions[t] == 0)
            continue;
        struct link_mirror *mirror = &found[count++];
        snprintf(mirror->name, sizeof mirror->name, "%s", name);
        snprintf(mirror->target, sizeof mirror->target, "%s",
                 sim_topic_name(copied[t] == TOPIC_OUT ? TOPIC_INBOX : TOPIC_USER));
        mirror->partitions = ask->partitions[t];
        mirror->target_partitions = target_partitions(lane, t);
        mirror->target_max = copied[t] == TOPIC_USER ? TOPIC_MAX : 0;
        mirror->inbox = copied[t] == TOPIC_OUT && lane->sim->links->commands;
    }
    link->looked_us = ask->executed_us;
    if (link->view.version > 0 && count == link->view.count &&
        memcmp(found, link->mirrors, sizeof found) == 0)
        return;
    memcpy(link->mirrors, found, sizeof found);
    link->view = (struct link_view){link->view.version + 1, link->mirrors, count};
    sim_lane_wake(lane);
}

static void execute_range(struct sim_ask *ask)
{
    struct sim *at = ask->at;
    int index = sim_log_named(at, slice_str(ask->question.topic), ask->question.partition);
    const struct sim_log *log = &at->logs[index];
    bool gone = log->partition >= sim_links_partitions(at, log->topic) ||
                sim_missing(at, log->topic) || sim_leaderless(at, log);
    link_compare_range(&ask->question, gone ? -1 : log->start, gone ? -1 : log->lso, &ask->answer);
}

static void execute_record(struct sim_ask *ask)
{
    struct sim *at = ask->at;
    int index = sim_log_named(at, slice_str(ask->question.topic), ask->question.partition);
    const struct sim_log *log = &at->logs[index];
    int64_t from = ask->question.last_offset;
    bool gone = log->partition >= sim_links_partitions(at, log->topic) ||
                sim_missing(at, log->topic) || from < log->start || from > log->count;
    if (gone) {
        link_settle(&ask->answer, KA_ERR_RETRY);
        return;
    }
    int64_t end = visible_end(at, log);
    while (from < end && !is_visible(&log->records[from]))
        from++;
    struct record record = {.offset = from};
    if (from < end) {
        const struct sim_record *found = &log->records[from];
        record.key = found->key;
        record.value = found->value;
        record.headers = found->headers;
        record.header_count = found->header_count;
        record.timestamp_ms = found->timestamp_ms;
    }
    link_compare_record(&ask->question, from < end ? &record : NULL, &ask->answer);
    if (ask->answer.error == KA_ERR_NOT_FOUND)
        link_compare_missing(&ask->question, false, &ask->answer);
}

static void on_compared(struct sim_lane *lane, struct sim_ask *ask)
{
    if (ask->failed)
        link_settle(&ask->answer, KA_ERR_RETRY);
    if (!ask->answer.settled) {
        struct sim_ask *next = new_ask(lane, ASK_RECORD);
        next->question = ask->question;
        send(next);
        return;
    }
    const struct sim_link_mail mail = {.question = ask->question, .answer = ask->answer};
    SIM_NOTE(lane->sim, "lane %d: %s/%d compared from %lld: %s %s", lane->client,
             ask->question.topic, ask->question.partition, (long long)ask->question.next,
             err_name(ask->answer.error), ask->answer.text.text);
    to_lane(lane, &mail);
}

static void ask_scout(void *context, const struct link_question *question)
{
    struct sim_ask *ask = new_ask(context, ASK_RANGE);
    ask->question = *question;
    send(ask);
}

static void want(void *context, const char *topic)
{
    struct sim_lane *lane = context;
    int t = strcmp(topic, sim_topic_name(TOPIC_OUT)) == 0;
    if (lane->link->wanted[t] != 0)
        return;
    lane->link->wanted[t] = 1;
    struct sim_ask *ask = new_ask(lane, ASK_TARGET);
    ask->topic = t;
    ask->at = lane->sim;
    post(lane->sim, ask, false, sim_between(lane->sim, 1000, 300000));
}

// Created or grown here, as the source has it.
static void make_target(struct sim_ask *ask)
{
    struct sim_links *links = ask->at->links;
    int here = ask->at->cluster;
    if (copied[ask->topic] == TOPIC_OUT)
        links->inbox_there[here] = true;
    else if (links->partitions[here][0] < links->partitions[1 - here][0])
        links->partitions[here][0] = links->partitions[1 - here][0];
}

static void on_target(struct sim_lane *lane, const struct sim_ask *ask)
{
    struct sim_link *link = lane->link;
    link->wanted[ask->topic] = 0;
    for (size_t i = 0; i < link->view.count; i++)
        if (strcmp(link->mirrors[i].name, sim_topic_name(copied[ask->topic])) == 0)
            link->mirrors[i].target_partitions = target_partitions(lane, ask->topic);
    link->view.version++;
    sim_lane_wake(lane);
}

static void look_again(struct sim_lane *lane, int64_t us)
{
    struct sim_ask *ask = new_ask(lane, ASK_LOOK);
    post(source_of(lane), ask, false, us + wan(lane->sim));
}

// ---- Events

static void execute(struct sim_ask *ask)
{
    struct sim_lane *lane = ask->lane;
    struct sim *sim = lane->sim;
    if (lane->life->dead)
        return;
    ask->executed_us = sim->now_us;
    if (ask->type == ASK_LOOK && is_cut(sim))
        ask->failed = true;
    else if (ask->type == ASK_FETCH)
        execute_fetch(ask);
    else if (ask->type == ASK_LOOK)
        execute_look(ask);
    else if (ask->type == ASK_RANGE)
        execute_range(ask);
    else if (ask->type == ASK_RECORD)
        execute_record(ask);
    else
        make_target(ask);
    int64_t us = wan(sim);
    if (ask->failed)
        us += sim_between(sim, 1000, CALL_US);
    if (sim_kill_point(sim, lane->life->worker, sim->swarm.kill / 20)) {
        SIM_NOTE(sim, "worker %d is killed in question %d", lane->life->worker, (int)ask->type);
        return;
    }
    post(sim, ask, true, us);
}

void sim_link_source(void *what, bool answered)
{
    struct sim_ask *ask = what;
    struct sim_lane *lane = ask->lane;
    if (!answered) {
        execute(ask);
        return;
    }
    if (lane->life->dead)
        return;
    switch (ask->type) {
    case ASK_FETCH:
        on_fetched(lane, ask);
        return;
    case ASK_LOOK:
        if (!ask->failed)
            on_look(lane, ask);
        look_again(lane, LOOK_US);
        return;
    case ASK_RANGE:
    case ASK_RECORD:
        on_compared(lane, ask);
        return;
    case ASK_TARGET:
        on_target(lane, ask);
        return;
    }
}

// ---- The lane's turn

static void serve_mail(struct sim_lane *lane)
{
    struct sim_link *link = lane->link;
    int64_t mono_ms = 1 + lane->sim->now_us / 1000;
    for (struct sim_link_mail *mail = link->mail_head; mail != NULL; mail = mail->next) {
        if (mail->suspect)
            link_feed_suspect(link->feed, mail->question.topic, mail->question.partition,
                              mail->answer.text.text);
        else
            (void)link_feed_compared(link->feed, &mail->question, &mail->answer, mono_ms);
    }
    link->mail_head = link->mail_tail = NULL;
}

static void give(struct sim_lane *lane, struct link_input *input)
{
    struct lane_event event = {.type = LANE_EVENT_RESULT, .result = &input->base};
    if (input->base.slot >= 0)
        sim_lane_step(lane, &event);
}

// False: there was nothing.
static bool read_one(struct sim_lane *lane)
{
    struct sim_link *link = lane->link;
    struct record record;
    struct link_input *input;
    enum ka_err error = KA_OK;
    char topic[20];
    switch (read_next(lane, &record, &error)) {
    case READ_RECORD:
        input = link_feed_record(link->feed, &record);
        if (input != NULL)
            give(lane, input);
        return true;
    case READ_END:
        link_feed_end(link->feed, record.topic, record.partition, record.offset,
                      1 + lane->sim->now_us / 1000);
        return true;
    case READ_ERROR:
        snprintf(topic, sizeof topic, "%.*s", SLICE_FMT(record.topic));
        SIM_NOTE(lane->sim, "lane %d: %s/%d at %lld: %s", lane->client, topic, record.partition,
                 (long long)record.offset, err_name(error));
        link_feed_suspect(link->feed, topic, topic[0] == '\0' ? -1 : record.partition,
                          err_name(error));
        return true;
    default:
        return false;
    }
}

bool sim_link_turn(struct sim_lane *lane)
{
    struct sim *sim = lane->sim;
    struct sim_link *link = lane->link;
    int64_t mono_ms = 1 + sim->now_us / 1000;
    int64_t most = sim_between(sim, 1, RECORDS_PER_TURN);
    bool looks = sim->now_us >= link->look_us;
    serve_mail(lane);
    link_feed_settle(link->feed, link->view.version > 0 ? &link->view : NULL, looks, mono_ms);
    bool more = true;
    while (more && most-- > 0 && !lane->life->dead)
        more = read_one(lane);
    if (looks && !lane->life->dead) {
        struct link_input *input;
        link->look_us = sim->now_us + LOOK_AT_US;
        while (!lane->life->dead && (input = link_feed_rest(link->feed, mono_ms)) != NULL)
            give(lane, input);
    }
    return !more;
}

void sim_link_release(void *context, struct lane_result *result)
{
    struct sim_lane *lane = context;
    link_feed_release(lane->link->feed, result);
}

// ---- Begin and end

void sim_link_new(struct sim_lane *lane)
{
    struct sim *sim = lane->sim;
    struct sim_link *link = arena_zalloc(&sim->arena, sizeof *link);
    lane->link = link;
    for (int c = 0; c < CLUSTERS; c++)
        snprintf(link->names[c], sizeof link->names[c], "cluster-%c", 'A' + c);
    const struct link_config config = {
        .source = slice_str(sim_source_of(sim) == 0 ? "A" : "B"),
        .cluster = slice_str(link->names[sim_source_of(sim)]),
        .here = slice_str(link->names[sim->cluster]),
        .links_topic = slice_str(sim_topic_name(TOPIC_LINKS)),
        .slots = sim->swarm.shards,
        .inbox_topic = slice_str(sim_topic_name(TOPIC_INBOX)),
        .shards = INBOX_SHARDS,
        .record_max = LINK_RECORD_MAX,
    };
    link->links = links_new(&config);
    lane->inner = links_processor(link->links);
}

void sim_link_begin(struct sim_lane *lane)
{
    struct sim_link *link = lane->link;
    const struct link_doors doors = {lane, open_part, close_part, ask_scout, want};
    link->feed = link_feed_new(link->links, lane->lane, slice_str(sim_topic_name(TOPIC_LINKS)),
                               false, &doors);
    look_again(lane, sim_between(lane->sim, 0, LOOK_US / 2));
}

void sim_link_free(struct sim_lane *lane)
{
    if (lane->link == NULL)
        return;
    lane->sim->stats.dropped += links_stats(lane->link->links)->dropped;
    link_feed_free(&lane->link->feed);
    links_free(&lane->link->links);
}
