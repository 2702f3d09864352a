// SPDX-License-Identifier: Apache-2.0
#include "engine/load.h"

#include "core/assert.h"
#include "core/meta.h"
#include "io/clock.h"
#include "io/kafka_producer.h"
#include "io/log.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

enum {
    TURN_MS = 100,
    CALL_MS = 1000,
    REOPEN_MS = 10000,
    NODES_MAX = 64,    // of one region; of more the first are counted
    RECORDS_MAX = 256, // of one region in one turn
    READ_KBYTES = 256
};

struct node {
    char name[META_NODE_MAX + 1];
    struct placement_beat beat;
    int64_t heard_ms; // monotonic
};

// What is heard of one region.
struct heard {
    int32_t region;
    struct io_kafka_config kafka;
    char client_id[META_NODE_MAX + 16];
    char topic[300];
    struct io_kafka_reader *reader; // NULL = to be opened
    int64_t open_ms;                // not before
    struct node nodes[NODES_MAX];
    size_t count;
    bool known;
    bool full;
    int32_t busy;
};

struct load {
    struct load_config config;
    char topic[300];
    char inbox[300];
    struct io_kafka_config kafka;
    char client_id[META_NODE_MAX + 16];
    struct io_kafka_producer *producer;
    struct io_kafka_edge *ends; // of the inbox
    struct io_kafka_committed *read;
    int64_t cpu_us; // at the last beat
    int64_t wall_ns;
    struct arena arena;
    struct heard *heard;
    size_t count;
    atomic_bool stop;
    bool running;
    pthread_t thread;
    pthread_mutex_t lock; // of what follows, and of known, full and busy of the regions
    int64_t in_flight;
    int64_t capacity;
    bool held;
};

// ---- Telling

// Commands of the region that no shard has read; -1 = not to be learned now.
static int64_t ask_lag(struct load *load)
{
    const struct load_config *config = &load->config;
    struct err_text text = {""};
    int64_t lag = 0;
    enum ka_err err = io_kafka_committed(config->admin, config->app, false, CALL_MS, load->read,
                                         (size_t)config->shards, &load->arena, &text);
    if (err == KA_OK)
        err =
            io_kafka_edges(config->admin, true, load->ends, (size_t)config->shards, CALL_MS, &text);
    if (err != KA_OK)
        return -1;
    for (int32_t i = 0; i < config->shards; i++)
        if (load->read[i].offset >= 0 && load->ends[i].offset > load->read[i].offset)
            lag += load->ends[i].offset - load->read[i].offset;
    return lag;
}

// Permille of the processors since the last time.
static int64_t take_cpu(struct load *load)
{
    int64_t cpu_us = clock_cpu_us();
    int64_t wall_ns = clock_mono_ns();
    int64_t span_us = (wall_ns - load->wall_ns) / 1000 * clock_cpus();
    int64_t used = span_us <= 0 ? 0 : 1000 * (cpu_us - load->cpu_us) / span_us;
    load->cpu_us = cpu_us;
    load->wall_ns = wall_ns;
    return used;
}

static void beat(struct load *load)
{
    struct placement_beat beat = {.node = slice_str(load->config.node), .time_ms = clock_now_ms()};
    struct err_text text = {""};
    struct buf buf = {0};
    int64_t lag = ask_lag(load);
    beat.lag = lag < 0 ? 0 : lag;
    beat.cpu = take_cpu(load);
    pthread_mutex_lock(&load->lock);
    beat.in_flight = load->in_flight;
    beat.capacity = load->capacity;
    beat.held = load->held;
    pthread_mutex_unlock(&load->lock);
    placement_beat_format(&beat, &buf);
    struct output output = {
        .topic = slice_str(load->topic), .key = beat.node, .value = buf_slice(&buf)};
    if (io_kafka_produce_sync(load->producer, &output, CALL_MS, NULL, &text) != KA_OK)
        log_warn("load", "not_told", "topic=%s error=%s", load->topic, text.text);
    buf_fini(&buf);
    arena_reset(&load->arena);
}

// ---- Hearing

static struct node *node_of(struct heard *heard, struct slice name)
{
    for (size_t i = 0; i < heard->count; i++)
        if (slice_eq(slice_str(heard->nodes[i].name), name))
            return &heard->nodes[i];
    if (heard->count == NODES_MAX || name.len == 0 || name.len > META_NODE_MAX)
        return NULL;
    struct node *node = &heard->nodes[heard->count++];
    snprintf(node->name, sizeof node->name, "%.*s", SLICE_FMT(name));
    return node;
}

static void take(struct load *load, struct heard *heard, const struct record *record)
{
    struct placement_beat beat;
    struct err_text text = {""};
    if (placement_beat_parse(record->value, &load->arena, &beat, &text) != KA_OK) {
        log_warn("load", "not_understood", "topic=%s offset=%lld error=%s", heard->topic,
                 (long long)record->offset, text.text);
        return;
    }
    struct node *node = node_of(heard, beat.node);
    if (node == NULL)
        return;
    node->beat = beat;
    node->beat.node = slice_str(node->name);
    node->heard_ms = clock_mono_ms();
}

static void open_reader(struct heard *heard)
{
    struct err_text text = {""};
    if (clock_mono_ms() < heard->open_ms)
        return;
    heard->open_ms = clock_mono_ms() + REOPEN_MS;
    enum ka_err err = io_kafka_reader_new(&heard->kafka, true, &heard->reader, &text);
    if (err == KA_OK) // from now on: what was said before is old
        err = io_kafka_reader_add(heard->reader, heard->topic, 0, -1, &text);
    if (err == KA_OK)
        return;
    log_warn("load", "not_read", "topic=%s error=%s", heard->topic, text.text);
    if (heard->reader != NULL)
        io_kafka_reader_free(&heard->reader);
}

static void hear(struct load *load, struct heard *heard)
{
    struct record record;
    struct err_text text = {""};
    enum ka_err error = KA_OK;
    if (heard->reader == NULL)
        open_reader(heard);
    for (int i = 0; heard->reader != NULL && i < RECORDS_MAX; i++) {
        switch (io_kafka_reader_next(heard->reader, 0, &record, &error, &text)) {
        case IO_KAFKA_READ_NOTHING:
            return;
        case IO_KAFKA_READ_END:
            break;
        case IO_KAFKA_READ_RECORD:
            take(load, heard, &record);
            break;
        case IO_KAFKA_READ_ERROR:
            if (err_class(error) == ERR_CLASS_RETRY) // the client goes on trying by itself
                break;
            log_warn("load", "not_read", "topic=%s error=%s", heard->topic, text.text);
            io_kafka_reader_free(&heard->reader);
            return;
        }
    }
}

static void sum(struct load *load, struct heard *heard)
{
    struct placement_beat beats[NODES_MAX];
    int64_t now_ms = clock_mono_ms();
    bool full = false;
    size_t fresh = 0;
    for (size_t i = 0; i < heard->count; i++) {
        if (now_ms - heard->nodes[i].heard_ms > PLACEMENT_STALE_MS) {
            heard->nodes[i--] = heard->nodes[--heard->count];
            continue;
        }
        beats[fresh++] = heard->nodes[i].beat;
        full = full || heard->nodes[i].beat.held; // one holds the inputs of all of its region
    }
    pthread_mutex_lock(&load->lock);
    if (fresh > 0) {
        int32_t busy = placement_busy(beats, fresh);
        heard->busy = heard->known ? placement_smooth(heard->busy, busy) : busy;
    }
    bool changed = heard->known != (fresh > 0) || heard->full != full;
    heard->known = fresh > 0;
    heard->full = full;
    pthread_mutex_unlock(&load->lock);
    if (changed)
        log_info("load", "region", "region=%.*s known=%s full=%s busy_permille=%d nodes=%zu",
                 SLICE_FMT(load->config.regions[heard->region]), heard->known ? "yes" : "no",
                 full ? "yes" : "no", heard->busy, fresh);
}

// ---- The thread

static void *thread_main(void *argument)
{
    struct load *load = argument;
    int64_t beat_ms = clock_mono_ms();
    prctl(PR_SET_NAME, "load");
    while (!atomic_load(&load->stop)) {
        for (size_t i = 0; i < load->count; i++)
            hear(load, &load->heard[i]);
        if (clock_mono_ms() >= beat_ms) {
            beat_ms = clock_mono_ms() + PLACEMENT_BEAT_MS;
            beat(load);
            for (size_t i = 0; i < load->count; i++)
                sum(load, &load->heard[i]);
        }
        arena_reset(&load->arena);
        clock_sleep_ms(TURN_MS);
    }
    return NULL;
}

static void add_region(struct load *load, int32_t region, const struct io_kafka_config *kafka,
                       const char *app)
{
    struct heard *heard = &load->heard[load->count++];
    heard->region = region;
    heard->kafka = *kafka;
    heard->kafka.client_id = heard->client_id;
    heard->kafka.queue_kbytes = READ_KBYTES;
    snprintf(heard->client_id, sizeof heard->client_id, "%s.load", load->config.node);
    snprintf(heard->topic, sizeof heard->topic, "%s.load", app);
}

static void name_things(struct load *load)
{
    const struct load_config *config = &load->config;
    snprintf(load->topic, sizeof load->topic, "%s.load", config->app);
    snprintf(load->inbox, sizeof load->inbox, "%s.inbox", config->app);
    snprintf(load->client_id, sizeof load->client_id, "%s.load", config->node);
    load->kafka = *config->kafka;
    load->kafka.client_id = load->client_id;
    for (int32_t i = 0; i < config->shards; i++) {
        load->ends[i] = (struct io_kafka_edge){load->inbox, i, -1};
        load->read[i] = (struct io_kafka_committed){.topic = load->inbox, .partition = i};
    }
    if (!config->reads)
        return;
    add_region(load, config->here, config->kafka, config->app);
    for (size_t i = 0; i < config->source_count; i++)
        add_region(load, config->sources[i].region, &config->sources[i].kafka,
                   config->sources[i].app);
}

enum ka_err load_new(const struct load_config *config, struct load **load, struct err_text *text)
{
    struct load *made = calloc(1, sizeof *made);
    KA_ASSERT(config->shards > 0);
    if (made == NULL)
        abort();
    made->config = *config;
    made->heard = calloc(config->source_count + 1, sizeof *made->heard);
    made->ends = calloc((size_t)config->shards, sizeof *made->ends);
    made->read = calloc((size_t)config->shards, sizeof *made->read);
    if (made->heard == NULL || made->ends == NULL || made->read == NULL)
        abort();
    pthread_mutex_init(&made->lock, NULL);
    name_things(made);
    made->cpu_us = clock_cpu_us();
    made->wall_ns = clock_mono_ns();
    enum ka_err err = io_kafka_producer_new(&made->kafka, NULL, &made->producer, text);
    if (err != KA_OK) {
        load_free(&made);
        return err;
    }
    if (pthread_create(&made->thread, NULL, thread_main, made) != 0)
        abort();
    made->running = true;
    *load = made;
    return KA_OK;
}

void load_free(struct load **load)
{
    struct load *gone = *load;
    *load = NULL;
    if (gone == NULL)
        return;
    atomic_store(&gone->stop, true);
    if (gone->running)
        pthread_join(gone->thread, NULL);
    for (size_t i = 0; i < gone->count; i++)
        if (gone->heard[i].reader != NULL)
            io_kafka_reader_free(&gone->heard[i].reader);
    if (gone->producer != NULL)
        io_kafka_producer_free(&gone->producer);
    arena_fini(&gone->arena);
    pthread_mutex_destroy(&gone->lock);
    free(gone->heard);
    free(gone->ends);
    free(gone->read);
    free(gone);
}

void load_tell(struct load *load, int64_t in_flight, int64_t capacity, bool held)
{
    pthread_mutex_lock(&load->lock);
    load->in_flight = in_flight;
    load->capacity = capacity;
    load->held = held;
    pthread_mutex_unlock(&load->lock);
}

void load_look(struct load *load, struct residency_link *links)
{
    pthread_mutex_lock(&load->lock);
    for (size_t i = 0; i < load->count; i++) {
        const struct heard *heard = &load->heard[i];
        links[heard->region].load_known = heard->known;
        links[heard->region].full = heard->full;
        links[heard->region].busy = heard->busy;
    }
    pthread_mutex_unlock(&load->lock);
}
