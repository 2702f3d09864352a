// SPDX-License-Identifier: Apache-2.0
#include "engine/worker.h"

#include "core/assert.h"
#include "core/json.h"
#include "core/memory.h"
#include "core/shard.h"
#include "engine/definitions.h"
#include "engine/lane_thread.h"
#include "engine/namesake.h"
#include "engine/pressure.h"
#include "engine/recorded.h"
#include "engine/trimmer.h"
#include "io/clock.h"
#include "io/digest.h"
#include "io/jq.h"
#include "io/log.h"
#include "io/resident.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    TURN_MS = 100,
    ANNOUNCE_MS = 5000,
    TRIM_MS = 30000,
    STATS_MS = 30000,
    SKEW_MS = 60000,
    SKEW_MAX_MS = 5000,
    PUBLISH_TIMEOUT_MS = 15000,
    ASK_TIMEOUT_MS = 3000,
    REACH_PAUSE_MS = 500,
    REACH_SAY_MS = 10000,
    NAMESAKE_MS = 2000,
    STOP_LIMIT_MS = 5000,
    MARKER_MS = 5000,
    PARKED_SAID_MAX = 32, // in the worker's record of the catalog
    LANES_MAX = 128,
    SMALL_QUEUE_KBYTES = 1024, // of the clients that read the catalog and the like
    TOPICS_MAX = 256,
    LINKS_MS = 200, // between looks at the links
    WARM_MAX = 5 + RESIDENCY_REGIONS_MAX,
    EX_SOFTWARE = 70
};

// One lane with what its processor needs.
struct worker_lane {
    struct worker *worker;
    char name[16];
    char client_id[META_NODE_MAX + 32];
    struct definitions *definitions;
    struct shards *shards;
    struct route *routes;
    struct routes *router;
    struct watch watch;
    struct residency_link links[RESIDENCY_REGIONS_MAX]; // the lane's thread looks at them
    int64_t asked_ms;
    struct lane_thread *thread;
};

struct worker {
    const struct worker_config *config;
    int64_t incarnation;
    char group[300];
    char route_group[300];
    char inbox[300];
    char state[300];
    char history[300];
    char dlq[300];
    char audit[300];
    char load_topic[300];
    char out_prefix[300];
    char source[300];
    char executed_by[300];
    struct io_kafka_config kafka;
    char client_id[META_NODE_MAX + 16];
    struct io_kafka_admin *admin;
    struct catalog *catalog;
    struct invoker *invoker;
    struct watchdog *watchdog;
    struct trimmer *trimmer;
    struct load *load;         // NULL = there are no other regions
    struct recorded *recorded; // NULL = actions run
    atomic_bool hold_inputs;
    bool pressed; // by our own load; other workers are told
    struct memory_shares shares;
    struct pressure pressure;
    struct worker_lane lanes[LANES_MAX];
    size_t lane_count;
    const char *input_topics[TOPICS_MAX];
    size_t input_count;
    const char *inbox_list[1];
    const char *warm[WARM_MAX]; // the topics that lanes write
    size_t warm_count;
    struct arena names; // of topics
};

// ---- Actions
// -------------------------------------------------------------------------------------

static const struct action_def *find_action(void *context, const char *name)
{
    const struct worker *worker = context;
    for (size_t i = 0; i < worker->config->action_count; i++)
        if (strcmp(worker->config->actions[i].def.name, name) == 0)
            return &worker->config->actions[i].def;
    return NULL;
}

static void run_inline(void *context, const struct invocation *call, struct arena *arena,
                       struct action_result *result)
{
    struct worker_lane *lane = context;
    struct runner_place place = {.watch = &lane->watch};
    runner_run(call->action->runner, call, &place, arena, result);
}

static void inline_expired(void *context, const struct watch_report *report)
{
    (void)context;
    log_error("worker", "inline_action_hangs", "lane=%s action=%s key=%s ms=%lld", report->lane,
              report->action, report->key, (long long)report->ran_ms);
    _exit(EX_SOFTWARE); // its transaction and its shards are free as soon as it is gone
}

// ---- Lanes
// ---------------------------------------------------------------------------------------

static bool every(int64_t *last_ms, int64_t now_ms, int64_t period_ms)
{
    if (now_ms - *last_ms < period_ms)
        return false;
    *last_ms = now_ms;
    return true;
}

static bool refresh_lane(void *context)
{
    struct worker_lane *lane = context;
    const struct worker_config *config = lane->worker->config;
    if (lane->worker->load != NULL && every(&lane->asked_ms, clock_mono_ms(), LINKS_MS)) {
        load_look(lane->worker->load, lane->links);
        if (config->ask_links != NULL)
            config->ask_links(config->links_context, lane->links);
    }
    return definitions_refresh(lane->definitions);
}

static struct dlq_context dlq_of(const struct worker *worker)
{
    return (struct dlq_context){slice_str(worker->dlq), worker->config->shards,
                                worker->config->record_max, worker->executed_by};
}

static bool has_regions(const struct worker_config *config)
{
    return config->residency != NULL && config->residency->region_count > 0;
}

static bool has_others(const struct worker_config *config)
{
    return has_regions(config) && config->residency->region_count > 1;
}

static struct lane_processor shard_processor(struct worker *worker, struct worker_lane *lane)
{
    const struct worker_config *config = worker->config;
    for (int32_t i = 0; has_regions(config) && i < config->residency->region_count; i++)
        lane->links[i] = config->links[i];
    if (config->ask_links != NULL)
        config->ask_links(config->links_context, lane->links);
    struct def_env env = {&io_jq_engine, find_action, worker, config->state_max};
    lane->definitions = definitions_new(worker->catalog, &env);
    definitions_refresh(lane->definitions);
    struct shard_config shard = {
        .source = slice_str(worker->source),
        .node = worker->executed_by,
        .shards = config->shards,
        .inbox_topic = slice_str(worker->inbox),
        .state_topic = slice_str(worker->state),
        .history_topic = slice_str(worker->history),
        .dlq_topic = slice_str(worker->dlq),
        .limits = config->limits,
        .record_max = config->record_max,
        .reappend_min = config->reappend_min,
        .marker_ms = MARKER_MS,
        .residency = has_regions(config) ? config->residency : NULL,
        .links = lane->links,
        .out_prefix = slice_str(worker->out_prefix),
        .audit_topic = slice_str(worker->audit),
        .sha256 = digest_sha256,
    };
    struct shard_definitions lookup = definitions_lookup(lane->definitions);
    lane->shards = shards_new(&shard, &lookup, run_inline, lane);
    return shards_processor(lane->shards);
}

static enum ka_err route_processor(struct worker *worker, struct worker_lane *lane,
                                   struct lane_processor *processor, struct err_text *text)
{
    const struct worker_config *config = worker->config;
    lane->routes = calloc(config->route_count + 1, sizeof *lane->routes);
    if (lane->routes == NULL)
        abort();
    for (size_t i = 0; i < config->route_count; i++) {
        struct expr *id = NULL;
        enum ka_err err = expr_compile(config->routes[i].id, &io_jq_engine, &id, text);
        if (err != KA_OK)
            return err_wrap(text, err, "id of saga %s", config->routes[i].saga);
        lane->routes[i] =
            (struct route){slice_str(config->routes[i].topic), slice_str(config->routes[i].type),
                           slice_str(config->routes[i].saga), id};
    }
    struct route_config route = {
        .shards = config->shards,
        .inbox_topic = slice_str(worker->inbox),
        .dlq = dlq_of(worker),
        .data_max = config->state_max / 2,
        .routes = lane->routes,
        .route_count = config->route_count,
        .residency = config->residency,
    };
    lane->router = routes_new(&route);
    *processor = routes_processor(lane->router);
    return KA_OK;
}

static void free_lane(struct worker_lane *lane)
{
    shards_free(&lane->shards);
    routes_free(&lane->router);
    definitions_free(&lane->definitions);
    for (size_t i = 0; lane->routes != NULL && i < lane->worker->config->route_count; i++) {
        struct expr *id = (struct expr *)(uintptr_t)lane->routes[i].id;
        expr_free(&id);
    }
    free(lane->routes);
}

static enum ka_err start_lane(struct worker *worker, bool shard, int32_t number,
                              struct err_text *text)
{
    const struct worker_config *config = worker->config;
    KA_ASSERT(worker->lane_count < LANES_MAX);
    struct worker_lane *lane = &worker->lanes[worker->lane_count++];
    lane->worker = worker;
    snprintf(lane->name, sizeof lane->name, "%c%d", shard ? 's' : 'r', number);
    snprintf(lane->client_id, sizeof lane->client_id, "%s.%c%d", config->node, shard ? 's' : 'r',
             number);
    watch_init(&lane->watch, lane->name);
    struct lane_thread_config thread = {
        .kafka = config->kafka,
        .admin = worker->admin,
        .app = config->app,
        .group = shard ? worker->group : worker->route_group,
        .node = config->node,
        .name = lane->name,
        .incarnation = worker->incarnation,
        .topics = shard ? worker->inbox_list : worker->input_topics,
        .topic_count = shard ? 1 : worker->input_count,
        .warm_topics = worker->warm,
        .warm_count = worker->warm_count,
        .state_topic = shard ? worker->state : NULL,
        .form = shard ? &restorer_shard_form : NULL,
        .limits = config->limits,
        .invoker = shard ? worker->invoker : NULL,
        .digests_asked = config->digests_asked,
        .hold_inputs = shard ? NULL : &worker->hold_inputs,
        .batch_records = config->batch_records,
        .batch_bytes = worker->shares.batch,
        .batch_ms = config->batch_ms,
        .interval_max_ms = config->interval_max_ms,
        .undispatched_max = config->invoker_queue,
        .refresh = shard ? refresh_lane : NULL,
        .refresh_context = lane,
    };
    thread.kafka.client_id = lane->client_id;
    thread.kafka.queue_kbytes = worker->shares.queue_kbytes;
    thread.kafka.queue_records = worker->shares.queue_records;
    thread.kafka.answer_kbytes = worker->shares.answer_kbytes;
    thread.kafka.produce_kbytes = worker->shares.produce_kbytes;
    enum ka_err err = KA_OK;
    if (shard)
        thread.processor = shard_processor(worker, lane);
    else
        err = route_processor(worker, lane, &thread.processor, text);
    if (err == KA_OK)
        err = lane_thread_start(&thread, &lane->thread, text);
    if (err == KA_OK && shard)
        watchdog_add(worker->watchdog, &lane->watch);
    return err;
}

static void list_inputs(struct worker *worker)
{
    for (size_t i = 0; i < worker->config->route_count; i++) {
        const char *topic = worker->config->routes[i].topic;
        bool known = false;
        for (size_t j = 0; j < worker->input_count; j++)
            known = known || strcmp(worker->input_topics[j], topic) == 0;
        if (!known && worker->input_count < TOPICS_MAX)
            worker->input_topics[worker->input_count++] = topic;
    }
}

// ---- Start and stop
// ------------------------------------------------------------------------------

// What is written for other regions, and what is refused.
static void name_regions(struct worker *worker)
{
    const struct residency *residency = worker->config->residency;
    char topic[LANE_TOPIC_MAX + 100];
    worker->warm[worker->warm_count++] = worker->audit;
    for (int32_t i = 0; i < residency->region_count; i++) {
        if (i == residency->here || (residency->hubs >> i & 1))
            continue; // nothing is sent to a hub
        snprintf(topic, sizeof topic, "%s%.*s", worker->out_prefix,
                 SLICE_FMT(residency->regions[i]));
        worker->warm[worker->warm_count++] = arena_str(&worker->names, slice_str(topic));
    }
}

static void name_things(struct worker *worker)
{
    const struct worker_config *config = worker->config;
    snprintf(worker->group, sizeof worker->group, "%s", config->app);
    snprintf(worker->route_group, sizeof worker->route_group, "%s.route", config->app);
    snprintf(worker->inbox, sizeof worker->inbox, "%s.inbox", config->app);
    snprintf(worker->state, sizeof worker->state, "%s.state", config->app);
    snprintf(worker->history, sizeof worker->history, "%s.history", config->app);
    snprintf(worker->dlq, sizeof worker->dlq, "%s.dlq", config->app);
    snprintf(worker->audit, sizeof worker->audit, "%s.audit", config->app);
    snprintf(worker->load_topic, sizeof worker->load_topic, "%s.load", config->app);
    snprintf(worker->out_prefix, sizeof worker->out_prefix, "%s.out.", config->app);
    snprintf(worker->source, sizeof worker->source, "/kasaga/%s/%s", config->region, config->app);
    snprintf(worker->executed_by, sizeof worker->executed_by, "%s/%s", config->region,
             config->node);
    snprintf(worker->client_id, sizeof worker->client_id, "%s.admin", config->node);
    worker->kafka = config->kafka;
    worker->kafka.client_id = worker->client_id;
    worker->inbox_list[0] = worker->inbox;
    worker->warm[0] = worker->inbox;
    worker->warm[1] = worker->history;
    worker->warm[2] = worker->state;
    worker->warm[3] = worker->dlq;
    worker->warm_count = 4;
    if (has_regions(config))
        name_regions(worker);
}

static void share_memory(struct worker *worker)
{
    const struct worker_config *config = worker->config;
    const struct memory_wants wants = {.memory_max = config->memory_max,
                                       .shard_lanes = config->shard_lanes,
                                       .route_lanes = config->route_lanes,
                                       .batch_bytes = config->batch_bytes,
                                       .record_max = (int64_t)config->record_max};
    worker->shares = memory_share(&wants);
    worker->pressure =
        (struct pressure){.memory_max = config->memory_max, .states_max = worker->shares.states};
    worker->kafka.queue_kbytes = SMALL_QUEUE_KBYTES;
}

static enum ka_err check_topic(struct worker *worker, const char *topic, int32_t wanted,
                               struct err_text *text)
{
    int32_t count = 0;
    enum ka_err err = io_kafka_partition_count(worker->admin, topic, ASK_TIMEOUT_MS, &count, text);
    if (err != KA_OK)
        return err;
    if (count == 0)
        return err_set(text, KA_ERR_NOT_FOUND,
                       "topic %s does not exist: create the app's topics with \"kasaga topics "
                       "apply\"",
                       topic);
    if (wanted > 0 && count != wanted)
        return err_set(text, KA_ERR_CONFIG,
                       "topic %s has %d partitions, but shards = %d: the number is fixed when the "
                       "app is created",
                       topic, count, wanted);
    return KA_OK;
}

static enum ka_err check_topics(struct worker *worker, struct err_text *text)
{
    int32_t shards = worker->config->shards;
    enum ka_err err = KA_OK;
    for (size_t i = 0; i < worker->warm_count && err == KA_OK; i++)
        err = check_topic(worker, worker->warm[i], shards, text);
    if (err == KA_OK && has_others(worker->config))
        err = check_topic(worker, worker->load_topic, 0, text);
    for (size_t i = 0; i < worker->input_count && err == KA_OK; i++)
        err = check_topic(worker, worker->input_topics[i], 0, text);
    return err;
}

static enum ka_err start_services(struct worker *worker, struct err_text *text)
{
    const struct worker_config *config = worker->config;
    struct invoker_config invoker = {.threads = config->invoker_threads,
                                     .queue_max = (size_t)config->invoker_queue,
                                     .queue_bytes_max = (size_t)worker->shares.calls};
    struct trimmer_config trimmer = {worker->admin, config->app, config->node, config->shards,
                                     config->inbox_keep_ms};
    enum ka_err err = invoker_new(&invoker, &worker->invoker, text);
    if (err == KA_OK)
        err =
            watchdog_new(config->inline_limit_ms, inline_expired, worker, &worker->watchdog, text);
    worker->trimmer = trimmer_new(&trimmer);
    return err;
}

static enum ka_err join_app(struct worker *worker, struct err_text *text)
{
    const struct worker_config *config = worker->config;
    struct catalog_config catalog = {&worker->kafka, worker->admin, config->app, config->node,
                                     config->region};
    enum ka_err err = check_topics(worker, text);
    if (err == KA_OK && worker->catalog == NULL)
        err = catalog_open(&catalog, &worker->catalog, text);
    if (err == KA_OK)
        err = catalog_publish(worker->catalog, config->definitions, config->definition_count,
                              PUBLISH_TIMEOUT_MS, text);
    return err;
}

// A cluster that cannot be reached is waited for: after a power cut nobody knows what comes up
// first. Only what is wrong about the app or its configuration ends the start.
static enum ka_err wait_for_app(struct worker *worker, const atomic_bool *stop,
                                struct err_text *text)
{
    int64_t said_ms = clock_mono_ms() - REACH_SAY_MS;
    for (;;) {
        enum ka_err err = join_app(worker, text);
        if (err_class(err) != ERR_CLASS_RETRY || atomic_load(stop))
            return err;
        if (every(&said_ms, clock_mono_ms(), REACH_SAY_MS))
            log_warn("worker", "waiting", "bootstrap=%s error=%s", worker->kafka.bootstrap,
                     text->text);
        clock_sleep_ms(REACH_PAUSE_MS);
    }
}

// An app that reads again what another one has read: without effects on the outside its calls are
// answered from that one's history.
static enum ka_err answer_from_record(struct worker *worker, struct err_text *text)
{
    struct arena arena = {0};
    struct slice replay = catalog_value(worker->catalog, "replay", &arena);
    struct slice of = json_member(replay, SLICE_LIT("of"));
    struct slice effects = json_member(replay, SLICE_LIT("effects"));
    enum ka_err err = KA_OK;
    if (!slice_none(of) && json_type(of) == JSON_STRING &&
        (slice_none(effects) || json_type(effects) != JSON_TRUE)) {
        const char *app = arena_str(&arena, json_text(json_trim(of), &arena));
        err = recorded_open(&worker->kafka, worker->admin, app, &worker->recorded, text);
        for (size_t i = 0; err == KA_OK && i < worker->config->action_count; i++) {
            const struct action_def *action = &worker->config->actions[i].def;
            if (!action->run_inline)
                runner_answer_with(action->runner, recorded_answer, worker->recorded);
        }
        if (err == KA_OK)
            log_info("worker", "replays", "of=%s answers=%zu note=nothing is called on the outside",
                     app, recorded_count(worker->recorded));
    }
    arena_fini(&arena);
    return err;
}

static enum ka_err start_load(struct worker *worker, struct err_text *text)
{
    const struct worker_config *config = worker->config;
    struct load_config load = {
        .kafka = &worker->kafka,
        .admin = worker->admin,
        .app = config->app,
        .node = config->node,
        .shards = config->shards,
        .here = config->residency->here,
        .regions = config->residency->regions,
        .reads = config->reads_loads,
        .sources = config->load_sources,
        .source_count = config->load_source_count,
    };
    return load_new(&load, &worker->load, text);
}

static enum ka_err start_lanes(struct worker *worker, struct err_text *text)
{
    enum ka_err err = has_others(worker->config) ? start_load(worker, text) : KA_OK;
    for (int32_t i = 0; i < worker->config->shard_lanes && err == KA_OK; i++)
        err = start_lane(worker, true, i, text);
    for (int32_t i = 0; i < worker->config->route_lanes && err == KA_OK; i++)
        err = worker->input_count == 0 ? KA_OK : start_lane(worker, false, i, text);
    return err;
}

// KA_ERR_TIMEOUT: some pooled plugin still runs and must stay loaded.
static enum ka_err stop_all(struct worker *worker)
{
    enum ka_err left = KA_OK;
    // Route lanes first: what they still decide is then read by somebody.
    for (size_t i = worker->lane_count; i-- > 0;)
        if (worker->lanes[i].thread != NULL)
            lane_thread_stop(worker->lanes[i].thread);
    for (size_t i = worker->lane_count; i-- > 0;) {
        struct worker_lane *lane = &worker->lanes[i];
        lane_thread_join(&lane->thread);
        if (worker->watchdog != NULL && lane->shards != NULL)
            watchdog_remove(worker->watchdog, &lane->watch);
        free_lane(lane);
    }
    load_free(&worker->load); // the lanes looked at it
    struct err_text text = {{0}};
    if (worker->invoker != NULL) {
        left = invoker_stop(worker->invoker, STOP_LIMIT_MS, &text);
        if (left != KA_OK)
            log_warn("worker", "actions_still_run", "error=%s", text.text);
        invoker_free(&worker->invoker);
    }
    if (left == KA_OK)
        recorded_close(&worker->recorded);
    if (worker->catalog != NULL &&
        catalog_announce(worker->catalog, SLICE_NONE, true, 2000, &text) != KA_OK)
        log_warn("worker", "not_withdrawn", "error=%s", text.text);
    catalog_close(&worker->catalog);
    watchdog_free(&worker->watchdog);
    trimmer_free(&worker->trimmer);
    io_kafka_admin_free(&worker->admin);
    return left;
}

// ---- Running
// -------------------------------------------------------------------------------------

struct sums {
    struct lane_stats stats;
    int32_t shards; // that are at work
    int32_t inputs; // partitions of user topics that are
    int32_t restoring;
    int32_t parked;
    struct pressure_load load;
    struct invoker_stats calls;
};

static struct sums sum_lanes(struct worker *worker)
{
    struct sums sums = {0};
    for (size_t i = 0; i < worker->lane_count; i++) {
        struct lane_picture picture;
        lane_thread_picture(worker->lanes[i].thread, &picture);
        sums.stats.transactions += picture.stats.transactions;
        sums.stats.records += picture.stats.records;
        sums.stats.outputs += picture.stats.outputs;
        sums.stats.aborts += picture.stats.aborts;
        sums.stats.unclear += picture.stats.unclear;
        sums.stats.poison += picture.stats.poison;
        if (worker->lanes[i].shards != NULL)
            sums.shards += picture.active;
        else
            sums.inputs += picture.active;
        sums.restoring += picture.restoring;
        sums.parked += picture.parked;
        sums.load.states += picture.state_bytes;
        sums.load.calls += picture.call_bytes;
        sums.load.backlog += picture.backlog;
        sums.load.backlog_bytes += picture.backlog_bytes;
        sums.load.finished += picture.finished_bytes;
        sums.load.waiting += picture.waiting;
        sums.load.records += picture.stats.records;
        sums.load.lanes = sums.load.lanes || lane_thread_pressed(worker->lanes[i].thread);
    }
    invoker_read_stats(worker->invoker, &sums.calls);
    return sums;
}

// Rule 14: too much in memory or too many calls that wait hold the user topics back; replies,
// timers, cancels and compensations go on and make room. Sagas of all route lanes end up in all
// shards, so one worker's pressure holds the route lanes of all. True when the others are to be
// told.
static bool keep_pressure(struct worker *worker, const struct sums *sums)
{
    struct pressure_load load = sums->load;
    bool pressed = worker->pressed;
    bool trim = false;
    load.calls += (int64_t)sums->calls.queued_bytes;
    load.others = catalog_held(worker->catalog);
    bool hold = pressure_look(&worker->pressure, &load, resident_bytes(), clock_mono_ms(),
                              &worker->pressed, &trim);
    if (trim)
        resident_trim();
    if (hold != atomic_load(&worker->hold_inputs)) {
        atomic_store(&worker->hold_inputs, hold);
        pressure_tell(&worker->pressure, &load);
    }
    return worker->pressed != pressed;
}

static void tell_load(struct worker *worker, const struct sums *sums)
{
    const struct invoker_stats *calls = &sums->calls;
    load_tell(worker->load, (int64_t)(calls->queued + calls->running) + sums->load.waiting,
              worker->config->invoker_threads, worker->pressed);
}

static void put_parked(struct worker *worker, struct buf *counts)
{
    size_t said = 0;
    buf_str(counts, ",\"parked_at\":[");
    for (size_t i = 0; i < worker->lane_count && said < PARKED_SAID_MAX; i++) {
        struct lane_picture picture;
        lane_thread_picture(worker->lanes[i].thread, &picture);
        for (int32_t j = 0; j < picture.parked && j < LANE_PARKED_MAX; j++) {
            const struct lane_parked *parked = &picture.parked_at[j];
            buf_str(counts, said++ == 0 ? "{\"topic\":" : ",{\"topic\":");
            buf_json_str(counts, slice_str(parked->topic));
            buf_str(counts, ",\"partition\":");
            buf_i64(counts, parked->partition);
            buf_str(counts, ",\"offset\":");
            buf_i64(counts, parked->offset);
            buf_str(counts, ",\"reason\":");
            buf_json_str(counts, slice_str(err_name(parked->error)));
            buf_str(counts, ",\"error\":");
            buf_json_str(counts, slice_str(parked->text));
            buf_byte(counts, '}');
        }
    }
    buf_byte(counts, ']');
}

static void announce(struct worker *worker, const struct sums *sums)
{
    struct buf counts = {0};
    struct err_text text = {{0}};
    buf_str(&counts, "\"shards\":");
    buf_i64(&counts, sums->shards);
    buf_str(&counts, ",\"inputs\":");
    buf_i64(&counts, sums->inputs);
    buf_str(&counts, ",\"restoring\":");
    buf_i64(&counts, sums->restoring);
    buf_str(&counts, ",\"parked\":");
    buf_i64(&counts, sums->parked);
    if (sums->parked > 0)
        put_parked(worker, &counts);
    buf_str(&counts, ",\"state_bytes\":");
    buf_i64(&counts, sums->load.states);
    buf_str(&counts, ",\"transactions\":");
    buf_i64(&counts, sums->stats.transactions);
    buf_str(&counts, worker->pressed ? ",\"held\":true" : ",\"held\":false");
    if (catalog_announce(worker->catalog, buf_slice(&counts), false, 2000, &text) != KA_OK)
        log_warn("worker", "not_announced", "error=%s", text.text);
    buf_fini(&counts);
}

// Every action that has run.
static void log_actions(const struct worker *worker)
{
    for (size_t i = 0; i < worker->config->action_count; i++)
        runner_log_stats(worker->config->actions[i].def.runner);
}

static void log_stats(const struct worker *worker, const struct sums *sums)
{
    const struct lane_stats *stats = &sums->stats;
    log_info("worker", "stats",
             "transactions=%lld records=%lld outputs=%lld aborts=%lld unclear=%lld poison=%lld "
             "shards=%d inputs=%d restoring=%d parked=%d state_bytes=%lld waiting=%lld "
             "clock_skew_ms=%lld",
             (long long)stats->transactions, (long long)stats->records, (long long)stats->outputs,
             (long long)stats->aborts, (long long)stats->unclear, (long long)stats->poison,
             sums->shards, sums->inputs, sums->restoring, sums->parked,
             (long long)sums->load.states, (long long)sums->load.waiting,
             (long long)catalog_clock_skew_ms(worker->catalog));
    log_actions(worker);
}

// Rule 12: deadlines and retention are as right as the clock.
static void tell_skew(const struct worker *worker, int64_t *said_ms, int64_t now_ms)
{
    int64_t skew_ms = catalog_clock_skew_ms(worker->catalog);
    bool much = skew_ms > SKEW_MAX_MS || skew_ms < -SKEW_MAX_MS;
    if (much && every(said_ms, now_ms, SKEW_MS))
        log_warn("worker", "clock_skew", "ms=%lld clock=%s", (long long)skew_ms,
                 skew_ms > 0 ? "behind" : "ahead");
}

static enum ka_err lanes_fail(struct worker *worker, struct err_text *text)
{
    const char *why = NULL;
    for (size_t i = 0; i < worker->lane_count; i++)
        if (lane_thread_failed(worker->lanes[i].thread, &why))
            return err_set(text, KA_ERR_FATAL, "%s", why);
    return KA_OK;
}

// Rule 10: two workers with one node name fence each other for ever.
static enum ka_err look_for_namesake(struct worker *worker, const char *group,
                                     struct namesake *namesake, struct err_text *text)
{
    struct arena arena = {0};
    const struct io_kafka_member *members = NULL;
    size_t count = 0;
    const char *state = NULL;
    const char *name = NULL;
    struct err_text why = {{0}};
    // A member that died may be seen for one session timeout and the time of a look.
    int64_t limit_ms = worker->kafka.session_timeout_ms + NAMESAKE_MS;
    enum ka_err err = io_kafka_members(worker->admin, group, ASK_TIMEOUT_MS, &arena, &members,
                                       &count, &state, &why);
    bool found = err == KA_OK && namesake_look(namesake, members, count, worker->config->node,
                                               clock_mono_ms(), limit_ms, &name);
    err = !found ? KA_OK
                 : err_set(text, KA_ERR_CONFIG,
                           "another worker has the node name %s: group %s has two members %s; "
                           "give each worker a name of its own (node, or --node)",
                           worker->config->node, group, name);
    arena_fini(&arena);
    return err;
}

static enum ka_err watch_over(struct worker *worker, const atomic_bool *stop, struct err_text *text)
{
    int64_t announced_ms = 0;
    int64_t trimmed_ms = clock_mono_ms();
    int64_t stats_ms = clock_mono_ms();
    int64_t skew_ms = stats_ms - SKEW_MS;
    int64_t looked_ms = clock_mono_ms();
    struct namesake shards = {0};
    struct namesake routes = {0};
    struct sums sums = {0};
    enum ka_err err = KA_OK;
    while (err == KA_OK && !atomic_load(stop)) {
        clock_sleep_ms(TURN_MS);
        sums = sum_lanes(worker);
        int64_t now_ms = clock_mono_ms();
        if (keep_pressure(worker, &sums))
            announced_ms = now_ms - ANNOUNCE_MS;
        if (worker->load != NULL)
            tell_load(worker, &sums);
        if (every(&announced_ms, now_ms, ANNOUNCE_MS))
            announce(worker, &sums);
        tell_skew(worker, &skew_ms, now_ms);
        if (every(&trimmed_ms, now_ms, TRIM_MS))
            trimmer_run(worker->trimmer);
        if (every(&stats_ms, now_ms, STATS_MS))
            log_stats(worker, &sums);
        err = lanes_fail(worker, text);
        if (err != KA_OK || !every(&looked_ms, now_ms, NAMESAKE_MS))
            continue;
        err = look_for_namesake(worker, worker->group, &shards, text);
        if (err == KA_OK && worker->input_count > 0)
            err = look_for_namesake(worker, worker->route_group, &routes, text);
    }
    log_stats(worker, &sums);
    return err;
}

enum ka_err worker_run(const struct worker_config *config, const atomic_bool *stop,
                       void (*ready)(void *context), void *ready_context, struct err_text *text)
{
    struct worker *worker = calloc(1, sizeof *worker);
    if (worker == NULL)
        abort();
    worker->config = config;
    worker->incarnation = clock_now_ms();
    name_things(worker);
    list_inputs(worker);
    share_memory(worker);
    enum ka_err err = io_kafka_admin_new(&worker->kafka, &worker->admin, text);
    if (err == KA_OK)
        err = start_services(worker, text);
    if (err == KA_OK)
        err = wait_for_app(worker, stop, text);
    if (err == KA_OK && !atomic_load(stop))
        err = answer_from_record(worker, text);
    if (err == KA_OK)
        err = start_lanes(worker, text);
    if (err == KA_OK && !atomic_load(stop)) {
        log_info("worker", "started", "app=%s region=%s node=%s shard_lanes=%d route_lanes=%d",
                 config->app, config->region, config->node, config->shard_lanes,
                 config->route_lanes);
        if (ready != NULL)
            ready(ready_context);
        err = watch_over(worker, stop, text);
    }
    if (err_class(err) == ERR_CLASS_RETRY && atomic_load(stop))
        err = KA_OK; // it was asked to stop before it could begin
    enum ka_err left = stop_all(worker);
    arena_fini(&worker->names);
    free(worker);
    return err == KA_OK && left != KA_OK
               ? err_set(text, left, "an action did not end in %d ms", STOP_LIMIT_MS)
               : err;
}
