// SPDX-License-Identifier: Apache-2.0
#include "bridge/bridge.h"

#include "bridge/link_lane.h"
#include "core/assert.h"
#include "core/health.h"
#include "core/origin.h"
#include "engine/namesake.h"
#include "engine/setup.h"
#include "io/clock.h"
#include "io/kafka_producer.h"
#include "io/log.h"
#include "io/print.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

enum {
    TURN_MS = 100,
    ASK_MS = 3000,
    REACH_PAUSE_MS = 500,
    REACH_SAY_MS = 10000,
    BEAT_CALL_MS = 2000,
    STATS_MS = 30000,
    NAMESAKE_MS = 2000,
    CLIENT_ID_MAX = 63,
    SLOT_QUEUE_KBYTES = 1024, // of <app>.links: small records
    QUEUED_RECORD = 450,      // bytes that librdkafka keeps with each that waits
    BATCH_RECORDS = 20000,    // of one transaction: with small ones the commits are the price
    LANES_MAX = 32
};

struct link_run {
    const struct config_link *config;
    struct io_kafka_config source;       // for looks
    struct io_kafka_config source_lanes; // for records
    char client_id[CLIENT_ID_MAX + 1];
    char group[300];
    char commands[300];
    struct slice *patterns;
    struct scout *scout;
    char cluster[ORIGIN_CLUSTER_MAX + 1]; // that the lanes copy from
    struct link_lane *lanes[LANES_MAX];
    char names[LANES_MAX][32];
    char client_ids[LANES_MAX][CLIENT_ID_MAX + 1];
    size_t lane_count;
    struct namesake namesake;
};

struct bridge {
    struct bridge_config config;
    int64_t incarnation;
    struct io_kafka_config kafka;
    char client_id[CLIENT_ID_MAX + 1];
    char links_topic[300];
    char inbox[300];
    const char *topics[1];
    struct io_kafka_admin *admin;
    struct io_kafka_producer *teller; // of the beats
    int32_t slots;
    const char *here;
    struct arena arena;
    struct link_run *links;
    size_t count;
    pthread_t thread;
    bool running;
    atomic_bool stop;
    pthread_mutex_t lock; // of the failure, and of when a scout begins
    enum ka_err failure;
    struct err_text why;
};

static bool every(int64_t *last_ms, int64_t now_ms, int64_t period_ms)
{
    if (now_ms - *last_ms < period_ms)
        return false;
    *last_ms = now_ms;
    return true;
}

// ---- Lanes

static struct link_config link_of(const struct bridge *bridge, const struct link_run *link)
{
    return (struct link_config){
        .source = slice_str(link->config->source),
        .cluster = slice_str(link->cluster),
        .here = slice_str(bridge->here),
        .links_topic = slice_str(bridge->links_topic),
        .slots = bridge->slots,
        .inbox_topic = slice_str(bridge->inbox),
        .shards = bridge->config.config->shards,
        .record_max = (size_t)bridge->config.config->record_max,
    };
}

static enum ka_err start_lane(struct bridge *bridge, struct link_run *link, int32_t number,
                              struct err_text *text)
{
    const struct config *config = bridge->config.config;
    char *name = link->names[number];
    char *client_id = link->client_ids[number];
    snprintf(name, sizeof link->names[0], "%s-%d", link->config->source, number);
    int len = snprintf(client_id, sizeof link->client_ids[0], "%s.%s", bridge->config.node, name);
    if (len > CLIENT_ID_MAX)
        return err_set(text, KA_ERR_CONFIG,
                       "the node name %s is too long for a link from %s: %s.%s has more than %d "
                       "characters",
                       bridge->config.node, link->config->source, bridge->config.node, name,
                       CLIENT_ID_MAX);
    struct link_lane_config lane = {
        .thread = {.kafka = bridge->kafka,
                   .admin = bridge->admin,
                   .app = config->app,
                   .group = link->group,
                   .node = bridge->config.node,
                   .name = name,
                   .incarnation = bridge->incarnation,
                   .topics = bridge->topics,
                   .topic_count = 1,
                   .warm_topics = bridge->topics,
                   .warm_count = 1,
                   .state_topic = bridge->links_topic,
                   .batch_records = BATCH_RECORDS,
                   .batch_bytes = config->lanes.batch_bytes,
                   .batch_ms = config->lanes.batch_time_ms,
                   .interval_max_ms = config->lanes.interval_max_ms},
        .link = link_of(bridge, link),
        .source = &link->source_lanes,
        .scout = link->scout,
        .latest = link->config->start_at == CONF_LATEST,
    };
    lane.thread.kafka.client_id = client_id;
    lane.thread.kafka.queue_kbytes = SLOT_QUEUE_KBYTES;
    return link_lane_start(&lane, &link->lanes[number], text);
}

static void stop_lanes(struct link_run *link)
{
    for (size_t i = 0; i < link->lane_count; i++)
        link_lane_stop(link->lanes[i]);
    for (size_t i = 0; i < link->lane_count; i++)
        link_lane_join(&link->lanes[i]);
    link->lane_count = 0;
}

static enum ka_err start_lanes(struct bridge *bridge, struct link_run *link, const char *cluster,
                               struct err_text *text)
{
    enum ka_err err = KA_OK;
    KA_ASSERT(strlen(cluster) < sizeof link->cluster);
    memcpy(link->cluster, cluster, strlen(cluster) + 1);
    for (int32_t i = 0; i < link->config->lanes && err == KA_OK; i++) {
        err = start_lane(bridge, link, i, text);
        link->lane_count += err == KA_OK;
    }
    if (err == KA_OK)
        log_info("link", "started", "source=%s cluster=%s lanes=%zu", link->config->source, cluster,
                 link->lane_count);
    return err;
}

// Clusters are told apart by Kafka's id: two names for one would copy everything twice, a link to
// itself for ever.
static enum ka_err check_cluster(const struct bridge *bridge, const struct link_run *link,
                                 const char *cluster, struct err_text *text)
{
    if (strcmp(cluster, bridge->here) == 0)
        return err_set(text, KA_ERR_CONFIG,
                       "the source %s (%s) is this very cluster, %s: a link copies from another",
                       link->config->source, link->source.bootstrap, cluster);
    for (size_t i = 0; i < bridge->count; i++) {
        const struct link_run *other = &bridge->links[i];
        if (other != link && strcmp(other->cluster, cluster) == 0)
            return err_set(text, KA_ERR_CONFIG,
                           "the sources %s (%s) and %s (%s) are one cluster, %s",
                           other->config->source, other->source.bootstrap, link->config->source,
                           link->source.bootstrap, cluster);
    }
    return KA_OK;
}

static enum ka_err keep_link(struct bridge *bridge, struct link_run *link, struct err_text *text)
{
    char cluster[ORIGIN_CLUSTER_MAX + 1];
    const char *why = NULL;
    for (size_t i = 0; i < link->lane_count; i++)
        if (lane_thread_failed(link_lane_thread(link->lanes[i]), &why))
            return err_set(text, KA_ERR_FATAL, "%s", why);
    if (!scout_cluster(link->scout, cluster, sizeof cluster) || strcmp(cluster, link->cluster) == 0)
        return KA_OK;
    stop_lanes(link); // of another cluster, if any
    enum ka_err err = check_cluster(bridge, link, cluster, text);
    return err != KA_OK ? err : start_lanes(bridge, link, cluster, text);
}

// Two processes with one node name fence each other for ever; a worker and a link process of one
// machine have the same one unless they are told.
static enum ka_err look_for_namesake(struct bridge *bridge, struct link_run *link,
                                     struct err_text *text)
{
    struct arena arena = {0};
    const struct io_kafka_member *members = NULL;
    size_t count = 0;
    const char *state = NULL;
    const char *name = NULL;
    struct err_text why = {""};
    // A member that died may be seen for one session timeout and the time of a look.
    int64_t limit_ms = bridge->kafka.session_timeout_ms + NAMESAKE_MS;
    enum ka_err err = io_kafka_members(bridge->admin, link->group, ASK_MS, &arena, &members, &count,
                                       &state, &why);
    bool found = err == KA_OK && namesake_look(&link->namesake, members, count, bridge->config.node,
                                               clock_mono_ms(), limit_ms, &name);
    err = !found ? KA_OK
                 : err_set(text, KA_ERR_CONFIG,
                           "another process has the node name %s: group %s has two members %s; "
                           "give each worker and link process a name of its own (node, or --node)",
                           bridge->config.node, link->group, name);
    arena_fini(&arena);
    return err;
}

// ---- Telling

static void put_text(struct buf *buf, const char *name, const char *value)
{
    buf_print(buf, ",\"%s\":", name);
    buf_json_str(buf, slice_str(value));
}

static void put_held(struct buf *buf, const struct link_lane_picture *picture, bool *first)
{
    for (size_t i = 0; i < picture->held_count; i++) {
        const struct link_lane_part *part = &picture->held[i];
        buf_str(buf, *first ? "{\"topic\":" : ",{\"topic\":");
        buf_json_str(buf, slice_str(part->topic));
        buf_print(buf, ",\"partition\":%d,\"state\":\"%s\"", part->partition,
                  link_state_name(part->state));
        put_text(buf, "why", part->why);
        buf_byte(buf, '}');
        *first = false;
    }
}

// What all lanes of a link have done since the start. Copies of transactions that were aborted
// count too, and again.
struct link_sums {
    struct link_stats records;
    int64_t again;
    int64_t transactions;
    int64_t aborts;
    int64_t unclear;
};

static struct link_sums sum_lanes(const struct link_run *link)
{
    struct link_sums sums = {.again = 0};
    for (size_t i = 0; i < link->lane_count; i++) {
        struct link_lane_picture picture;
        struct lane_picture lane;
        link_lane_picture(link->lanes[i], &picture);
        lane_thread_picture(link_lane_thread(link->lanes[i]), &lane);
        sums.records.copied += picture.stats.copied;
        sums.records.dropped += picture.stats.dropped;
        sums.records.bytes += picture.stats.bytes;
        sums.again += picture.again;
        sums.transactions += lane.stats.transactions;
        sums.aborts += lane.stats.aborts;
        sums.unclear += lane.stats.unclear;
    }
    return sums;
}

static void put_sums(struct buf *buf, const struct link_run *link)
{
    struct link_sums sums = sum_lanes(link);
    buf_print(buf, ",\"copied\":%lld,\"dropped\":%lld,\"bytes\":%lld,\"again\":%lld",
              (long long)sums.records.copied, (long long)sums.records.dropped,
              (long long)sums.records.bytes, (long long)sums.again);
    buf_print(buf, ",\"transactions\":%lld,\"aborts\":%lld,\"unclear\":%lld",
              (long long)sums.transactions, (long long)sums.aborts, (long long)sums.unclear);
}

static void put_counts(struct buf *buf, const struct link_run *link)
{
    struct link_lane_picture picture;
    bool first = true;
    buf_str(buf, ",\"counts\":[");
    for (size_t i = 0; i < link->lane_count; i++) {
        link_lane_picture(link->lanes[i], &picture);
        for (size_t j = 0; j < picture.count_count; j++) {
            const struct link_lane_count *count = &picture.counts[j];
            buf_str(buf, first ? "{\"topic\":" : ",{\"topic\":");
            buf_json_str(buf, slice_str(count->topic));
            buf_print(buf, ",\"partition\":%d,\"bytes\":%lld,\"again\":%lld}", count->partition,
                      (long long)count->bytes, (long long)count->again);
            first = false;
        }
    }
    buf_byte(buf, ']');
}

static void describe(const struct bridge *bridge, const struct link_run *link, struct buf *buf)
{
    struct scout_health health;
    struct link_lane_picture picture;
    size_t parts = 0, reading = 0;
    bool first = true;
    scout_health(link->scout, &health);
    buf_str(buf, "{\"node\":");
    buf_json_str(buf, slice_str(bridge->config.node));
    put_text(buf, "source", link->config->source);
    put_text(buf, "cluster", link->cluster);
    buf_str(buf, ",\"time\":");
    buf_json_time(buf, clock_now_ms());
    buf_str(buf, ",\"heard\":");
    if (health.heard_ms > 0)
        buf_json_time(buf, health.heard_ms);
    else
        buf_str(buf, "null");
    if (health.heard_mono_ms > 0)
        buf_print(buf, ",\"heard_age_ms\":%lld",
                  (long long)(clock_mono_ms() - health.heard_mono_ms));
    buf_print(buf, ",\"rtt_ms\":%lld,\"looks\":%lld,\"failures\":%lld", (long long)health.rtt_ms,
              (long long)health.looks, (long long)health.failures);
    put_text(buf, "breaker", breaker_state_name(health.breaker));
    buf_print(buf, ",\"openings\":%lld,\"topics\":%zu", (long long)health.openings, health.topics);
    put_text(buf, "error", health.error);
    put_sums(buf, link);
    put_counts(buf, link);
    buf_str(buf, ",\"held\":[");
    for (size_t i = 0; i < link->lane_count; i++) {
        link_lane_picture(link->lanes[i], &picture);
        parts += picture.parts;
        reading += picture.reading;
        put_held(buf, &picture, &first);
    }
    buf_print(buf, "],\"lanes\":%zu,\"parts\":%zu,\"reading\":%zu}", link->lane_count, parts,
              reading);
}

// How the link is, for `kasaga link status`: a record per link and node, in partition 0.
static void beat(struct bridge *bridge, const struct link_run *link)
{
    struct buf buf = {0};
    struct err_text text = {""};
    buf_slice_put(&buf, LINK_BEAT_PREFIX);
    buf_print(&buf, "%s/%s", link->config->source, bridge->config.node);
    size_t key_len = buf.len;
    describe(bridge, link, &buf);
    struct output output = {.topic = slice_str(bridge->links_topic),
                            .key = slice_of(buf.ptr, key_len),
                            .value = slice_of(buf.ptr + key_len, buf.len - key_len)};
    if (io_kafka_produce_sync(bridge->teller, &output, BEAT_CALL_MS, NULL, &text) != KA_OK)
        log_warn("link", "not_announced", "source=%s error=%s", link->config->source, text.text);
    buf_fini(&buf);
}

static void log_stats(const struct link_run *link)
{
    struct scout_health health;
    struct link_sums sums = sum_lanes(link);
    scout_health(link->scout, &health);
    log_info("link", "stats",
             "source=%s copied=%lld dropped=%lld bytes=%lld again=%lld transactions=%lld "
             "aborts=%lld unclear=%lld breaker=%s looks=%lld failures=%lld rtt_ms=%lld",
             link->config->source, (long long)sums.records.copied, (long long)sums.records.dropped,
             (long long)sums.records.bytes, (long long)sums.again, (long long)sums.transactions,
             (long long)sums.aborts, (long long)sums.unclear, breaker_state_name(health.breaker),
             (long long)health.looks, (long long)health.failures, (long long)health.rtt_ms);
}

// ---- The thread

static enum ka_err reach(struct bridge *bridge, struct err_text *text)
{
    int32_t wanted = bridge->config.config->link_slots;
    enum ka_err err =
        io_kafka_partition_count(bridge->admin, bridge->links_topic, ASK_MS, &bridge->slots, text);
    if (err == KA_OK && bridge->slots == 0)
        return err_set(text, KA_ERR_NOT_FOUND,
                       "topic %s does not exist: create the app's topics with \"kasaga topics "
                       "apply\"",
                       bridge->links_topic);
    if (err == KA_OK && bridge->slots != wanted)
        return err_set(text, KA_ERR_CONFIG,
                       "topic %s has %d partitions, but link_slots = %d: the number is fixed when "
                       "it is created",
                       bridge->links_topic, bridge->slots, wanted);
    if (err == KA_OK)
        err = io_kafka_cluster_id(bridge->admin, ASK_MS, &bridge->arena, &bridge->here, text);
    return err;
}

static enum ka_err wait_for_cluster(struct bridge *bridge, struct err_text *text)
{
    int64_t said_ms = clock_mono_ms() - REACH_SAY_MS;
    for (;;) {
        enum ka_err err = reach(bridge, text);
        if (err_class(err) != ERR_CLASS_RETRY || atomic_load(&bridge->stop))
            return err;
        if (every(&said_ms, clock_mono_ms(), REACH_SAY_MS))
            log_warn("link", "waiting", "bootstrap=%s error=%s", bridge->kafka.bootstrap,
                     text->text);
        clock_sleep_ms(REACH_PAUSE_MS);
    }
}

static void start_scout(struct bridge *bridge, struct link_run *link)
{
    const struct config *config = bridge->config.config;
    struct scout_config scout = {
        .source = &link->source,
        .target = bridge->admin,
        .topics = {.source = slice_str(link->config->source),
                   .source_app = slice_str(link->config->app),
                   .app = slice_str(config->app),
                   .patterns = link->patterns,
                   .pattern_count = link->config->mirror_count,
                   .naming = link->config->naming},
        .commands = link->config->commands ? link->commands : NULL,
        .inbox = bridge->inbox,
        .refresh_ms = link->config->refresh_ms,
        .breaker = {link->config->breaker_threshold, link->config->breaker_timeout_ms},
        .replication = config->topics.replication,
        .min_insync_replicas = config->topics.min_insync_replicas,
    };
    struct scout *made = scout_new(&scout);
    pthread_mutex_lock(&bridge->lock);
    link->scout = made;
    pthread_mutex_unlock(&bridge->lock);
}

static enum ka_err run(struct bridge *bridge, struct err_text *text)
{
    int64_t beat_ms = clock_mono_ms() - BRIDGE_BEAT_MS;
    int64_t stats_ms = clock_mono_ms();
    int64_t looked_ms = clock_mono_ms();
    enum ka_err err = wait_for_cluster(bridge, text);
    for (size_t i = 0; err == KA_OK && i < bridge->count; i++)
        start_scout(bridge, &bridge->links[i]);
    while (err == KA_OK && !atomic_load(&bridge->stop)) {
        clock_sleep_ms(TURN_MS);
        bool tells = every(&beat_ms, clock_mono_ms(), BRIDGE_BEAT_MS);
        bool sums = every(&stats_ms, clock_mono_ms(), STATS_MS);
        bool looks = every(&looked_ms, clock_mono_ms(), NAMESAKE_MS);
        for (size_t i = 0; err == KA_OK && i < bridge->count; i++) {
            err = keep_link(bridge, &bridge->links[i], text);
            if (err == KA_OK && looks)
                err = look_for_namesake(bridge, &bridge->links[i], text);
            if (tells)
                beat(bridge, &bridge->links[i]);
            if (sums)
                log_stats(&bridge->links[i]);
        }
    }
    return err_class(err) == ERR_CLASS_RETRY ? KA_OK : err; // asked to stop before it could begin
}

static void *thread_main(void *argument)
{
    struct bridge *bridge = argument;
    struct err_text text = {""};
    prctl(PR_SET_NAME, "link");
    enum ka_err err = run(bridge, &text);
    for (size_t i = 0; i < bridge->count; i++) {
        if (bridge->links[i].scout != NULL)
            log_stats(&bridge->links[i]);
        stop_lanes(&bridge->links[i]);
    }
    if (err == KA_OK)
        return NULL;
    log_error("link", "failed", "error=%s", text.text);
    pthread_mutex_lock(&bridge->lock);
    bridge->failure = err;
    bridge->why = text;
    pthread_mutex_unlock(&bridge->lock);
    if (bridge->config.failed != NULL)
        bridge->config.failed(bridge->config.context);
    return NULL;
}

static void make_link(struct bridge *bridge, struct link_run *link,
                      const struct config_link *config)
{
    link->config = config;
    snprintf(link->client_id, sizeof link->client_id, "%s.link", bridge->config.node);
    snprintf(link->group, sizeof link->group, "%s.link.%s", bridge->config.config->app,
             config->source);
    snprintf(link->commands, sizeof link->commands, "%s.out.%s", config->app,
             bridge->config.config->region);
    link->source = (struct io_kafka_config){
        .bootstrap = config->kafka.bootstrap,
        .client_id = link->client_id,
        .property_names = config->kafka.property_names,
        .property_values = config->kafka.property_values,
        .property_count = config->kafka.property_count,
    };
    link->source_lanes = link->source;
    link->source_lanes.queue_kbytes = (int32_t)(config->queue / 1024);
    link->source_lanes.queue_records = (int32_t)(config->queue / QUEUED_RECORD);
    link->source_lanes.fetch_kbytes = (int32_t)(config->fetch / 1024);
    link->patterns = calloc(config->mirror_count + 1, sizeof *link->patterns);
    if (link->patterns == NULL)
        abort();
    for (size_t i = 0; i < config->mirror_count; i++)
        link->patterns[i] = slice_str(config->mirrors[i].match);
}

enum ka_err bridge_new(const struct bridge_config *config, struct bridge **bridge,
                       struct err_text *text)
{
    struct bridge *made = calloc(1, sizeof *made);
    if (made == NULL)
        abort();
    const struct config *file = config->config;
    made->config = *config;
    made->incarnation = clock_now_ms();
    snprintf(made->client_id, sizeof made->client_id, "%s.links", config->node);
    snprintf(made->links_topic, sizeof made->links_topic, "%s.links", file->app);
    snprintf(made->inbox, sizeof made->inbox, "%s.inbox", file->app);
    made->topics[0] = made->links_topic;
    made->kafka = setup_kafka(file, made->client_id);
    made->kafka.bootstrap = config->bootstrap;
    made->count = file->link_count;
    made->links = calloc(made->count + 1, sizeof *made->links);
    if (made->links == NULL)
        abort();
    pthread_mutex_init(&made->lock, NULL);
    for (size_t i = 0; i < made->count; i++)
        make_link(made, &made->links[i], &file->link_list[i]);
    enum ka_err err = io_kafka_admin_new(&made->kafka, &made->admin, text);
    if (err == KA_OK)
        err = io_kafka_producer_new(&made->kafka, NULL, &made->teller, text);
    if (err != KA_OK) {
        bridge_free(&made);
        return err;
    }
    if (pthread_create(&made->thread, NULL, thread_main, made) != 0)
        abort();
    made->running = true;
    *bridge = made;
    return KA_OK;
}

void bridge_free(struct bridge **bridge)
{
    struct bridge *gone = *bridge;
    *bridge = NULL;
    if (gone == NULL)
        return;
    atomic_store(&gone->stop, true);
    if (gone->running)
        pthread_join(gone->thread, NULL);
    for (size_t i = 0; i < gone->count; i++) {
        scout_free(&gone->links[i].scout);
        free(gone->links[i].patterns);
    }
    if (gone->teller != NULL)
        io_kafka_producer_free(&gone->teller);
    io_kafka_admin_free(&gone->admin);
    arena_fini(&gone->arena);
    pthread_mutex_destroy(&gone->lock);
    free(gone->links);
    free(gone);
}

// What the looks of a link say of its region.
static void see(const struct config *config, const struct link_run *link,
                struct residency_link *links)
{
    struct scout_health health;
    scout_health(link->scout, &health);
    const struct health seen = {.heard_ms = health.heard_mono_ms,
                                .interval_ms = link->config->refresh_ms,
                                .breaker = health.breaker};
    for (size_t i = 0; i < config->region_count; i++) {
        if (strcmp(config->regions[i].name, link->config->source) != 0)
            continue;
        if (seen.heard_ms > 0) // else what others have heard still counts
            links[i].up = health_up(&seen, clock_mono_ms());
        if (config->regions[i].measured && health.heard_ms > 0)
            links[i].rtt_ms = health.rtt_ms;
    }
}

void bridge_look(struct bridge *bridge, struct residency_link *links)
{
    const struct config *config = bridge->config.config;
    pthread_mutex_lock(&bridge->lock);
    for (size_t i = 0; i < bridge->count; i++)
        if (bridge->links[i].scout != NULL)
            see(config, &bridge->links[i], links);
    pthread_mutex_unlock(&bridge->lock);
}

bool bridge_met(struct bridge *bridge)
{
    bool met = true;
    pthread_mutex_lock(&bridge->lock);
    for (size_t i = 0; i < bridge->count; i++) {
        struct scout_health health = {0};
        if (bridge->links[i].scout != NULL)
            scout_health(bridge->links[i].scout, &health);
        met = met && health.heard_mono_ms > 0;
    }
    met = met || bridge->failure != KA_OK;
    pthread_mutex_unlock(&bridge->lock);
    return met;
}

enum ka_err bridge_failure(struct bridge *bridge, struct err_text *text)
{
    pthread_mutex_lock(&bridge->lock);
    enum ka_err err = bridge->failure;
    *text = bridge->why;
    pthread_mutex_unlock(&bridge->lock);
    return err;
}
