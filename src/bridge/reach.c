// SPDX-License-Identifier: Apache-2.0
// Reads the beats that the link processes of this region write to partition 0 of <app>.links. Only
// the end of the partition: a beat is of no use after seconds.
#include "bridge/reach.h"

#include "core/health.h"
#include "core/json.h"
#include "core/link_form.h"
#include "io/clock.h"
#include "io/log.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

enum {
    TAIL = 2000, // records: the beats of some seconds, also beside the progress of a busy slot
    POLL_MS = 100,
    ASK_MS = 2000,
    REOPEN_MS = 5000,
    START_MS = 4000, // that a worker waits for its links
    READ_KBYTES = 256
};

struct heard {
    struct health health;
    int64_t rtt_ms;
    bool said; // for the log: how it was
};

struct reach {
    struct reach_config config;
    struct io_kafka_config kafka;
    char client_id[64];
    char topic[300];
    struct io_kafka_admin *admin;
    struct io_kafka_reader *reader; // the thread's
    pthread_t thread;
    bool running;
    atomic_bool stop;
    pthread_mutex_t lock; // of heard
    struct heard heard[RESIDENCY_REGIONS_MAX];
};

static int region_of(const struct config *config, struct slice name)
{
    for (size_t i = 0; i < config->region_count; i++)
        if (slice_eq(slice_str(config->regions[i].name), name))
            return (int)i;
    return -1;
}

// "#link/<source>/<node>". How old it is counts from what the source last said, not from its being
// read here: a process that starts finds beats of any age.
static void take_beat(struct reach *reach, const struct record *record)
{
    struct slice key = record->key;
    struct slice json = record->value;
    if (!slice_starts(key, LINK_BEAT_PREFIX) || slice_none(json))
        return;
    struct slice name = slice_of(key.ptr + LINK_BEAT_PREFIX.len, key.len - LINK_BEAT_PREFIX.len);
    const char *slash = memchr(name.ptr, '/', name.len);
    int region = slash == NULL ? -1
                               : region_of(reach->config.config,
                                           slice_of(name.ptr, (size_t)(slash - name.ptr)));
    int64_t age_ms = json_i64_member(json, SLICE_LIT("heard_age_ms"), -1);
    if (region < 0 || age_ms < 0)
        return;
    int64_t way_ms = clock_now_ms() - record->timestamp_ms;
    struct health health = {.heard_ms = clock_mono_ms() - age_ms - (way_ms > 0 ? way_ms : 0),
                            .interval_ms = BRIDGE_BEAT_MS,
                            .breaker = BREAKER_OPEN};
    struct slice breaker = json_member(json, SLICE_LIT("breaker"));
    if (slice_eq(breaker, SLICE_LIT("\"closed\"")))
        health.breaker = BREAKER_CLOSED;
    pthread_mutex_lock(&reach->lock);
    struct heard *heard = &reach->heard[region];
    // Of several processes the one that hears it counts.
    if (health_up(&health, clock_mono_ms()) || !health_up(&heard->health, clock_mono_ms())) {
        heard->health = health;
        heard->rtt_ms = json_i64_member(json, SLICE_LIT("rtt_ms"), 0);
    }
    pthread_mutex_unlock(&reach->lock);
}

static enum ka_err open_reader(struct reach *reach, struct err_text *text)
{
    int64_t start = 0, end = 0;
    enum ka_err err =
        io_kafka_watermarks(reach->admin, reach->topic, 0, ASK_MS, &start, &end, text);
    if (err == KA_OK)
        err = io_kafka_reader_new(&reach->kafka, true, &reach->reader, text);
    if (err == KA_OK)
        err = io_kafka_reader_add(reach->reader, reach->topic, 0,
                                  end - TAIL > start ? end - TAIL : start, text);
    if (err != KA_OK && reach->reader != NULL)
        io_kafka_reader_free(&reach->reader);
    return err;
}

static void read_one(struct reach *reach)
{
    struct record record;
    struct err_text text = {""};
    enum ka_err err = KA_OK;
    switch (io_kafka_reader_next(reach->reader, POLL_MS, &record, &err, &text)) {
    case IO_KAFKA_READ_RECORD:
        take_beat(reach, &record);
        break;
    case IO_KAFKA_READ_ERROR:
        if (err_class(err) != ERR_CLASS_RETRY) // the partition is dead for this reader
            io_kafka_reader_free(&reach->reader);
        break;
    case IO_KAFKA_READ_NOTHING:
    case IO_KAFKA_READ_END:
        break;
    }
}

// One line when a region comes or goes.
static void tell(struct reach *reach)
{
    const struct config *config = reach->config.config;
    struct residency_link links[RESIDENCY_REGIONS_MAX] = {{0}};
    reach_look(reach, links);
    for (size_t i = 0; i < config->region_count; i++) {
        if (strcmp(config->regions[i].name, config->region) == 0 ||
            links[i].up == reach->heard[i].said)
            continue;
        reach->heard[i].said = links[i].up;
        log_at(links[i].up ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "reach", "region", "region=%s up=%s",
               config->regions[i].name, links[i].up ? "yes" : "no");
    }
}

static void *thread_main(void *argument)
{
    struct reach *reach = argument;
    int64_t open_ms = clock_mono_ms();
    int64_t tell_ms = open_ms;
    prctl(PR_SET_NAME, "reach");
    while (!atomic_load(&reach->stop)) {
        struct err_text text = {""};
        if (reach->reader == NULL && clock_mono_ms() >= open_ms) {
            open_ms = clock_mono_ms() + REOPEN_MS;
            if (open_reader(reach, &text) != KA_OK)
                log_debug("reach", "not_read", "topic=%s error=%s", reach->topic, text.text);
        }
        if (reach->reader == NULL)
            clock_sleep_ms(POLL_MS);
        else
            read_one(reach);
        if (clock_mono_ms() < tell_ms) // the progress of links is in that partition, too
            continue;
        tell_ms = clock_mono_ms() + POLL_MS;
        tell(reach);
    }
    return NULL;
}

// A worker that starts knows nothing of the regions yet, and what it does not know is down.
static void wait_for_links(const struct reach *reach)
{
    int64_t until_ms = clock_mono_ms() + START_MS;
    while (reach->config.bridge != NULL && !bridge_met(reach->config.bridge) &&
           clock_mono_ms() < until_ms)
        clock_sleep_ms(10);
}

enum ka_err reach_new(const struct reach_config *config, struct reach **reach,
                      struct err_text *text)
{
    struct reach *made = calloc(1, sizeof *made);
    if (made == NULL)
        abort();
    made->config = *config;
    made->kafka = *config->kafka;
    snprintf(made->client_id, sizeof made->client_id, "%s.reach", config->node);
    snprintf(made->topic, sizeof made->topic, "%s.links", config->config->app);
    made->kafka.client_id = made->client_id;
    made->kafka.queue_kbytes = READ_KBYTES;
    pthread_mutex_init(&made->lock, NULL);
    enum ka_err err = io_kafka_admin_new(&made->kafka, &made->admin, text);
    if (err != KA_OK) {
        reach_free(&made);
        return err;
    }
    wait_for_links(made);
    if (pthread_create(&made->thread, NULL, thread_main, made) != 0)
        abort();
    made->running = true;
    *reach = made;
    return KA_OK;
}

void reach_free(struct reach **reach)
{
    struct reach *gone = *reach;
    *reach = NULL;
    if (gone == NULL)
        return;
    atomic_store(&gone->stop, true);
    if (gone->running)
        pthread_join(gone->thread, NULL);
    if (gone->reader != NULL)
        io_kafka_reader_free(&gone->reader);
    io_kafka_admin_free(&gone->admin);
    pthread_mutex_destroy(&gone->lock);
    free(gone);
}

void reach_look(struct reach *reach, struct residency_link *links)
{
    const struct config *config = reach->config.config;
    pthread_mutex_lock(&reach->lock);
    for (size_t i = 0; i < config->region_count; i++) {
        const struct heard *heard = &reach->heard[i];
        if (strcmp(config->regions[i].name, config->region) == 0)
            continue;
        links[i].up = health_up(&heard->health, clock_mono_ms());
        if (config->regions[i].measured && links[i].up)
            links[i].rtt_ms = heard->rtt_ms;
    }
    pthread_mutex_unlock(&reach->lock);
    if (reach->config.bridge != NULL)
        bridge_look(reach->config.bridge, links);
}
