// SPDX-License-Identifier: Apache-2.0
#include "engine/trimmer.h"

#include "core/meta.h"
#include "io/clock.h"
#include "io/log.h"

#include <stdio.h>
#include <stdlib.h>

enum { TIMEOUT_MS = 5000, WORTH = 1000 }; // fewer records than that are not worth a request

struct trimmer {
    struct trimmer_config config;
    int64_t *trimmed;       // per shard: where the state begins now
    int64_t *inbox_trimmed; // per shard: where the inbox begins now
    char inbox[300];
    char state[300];
};

struct trimmer *trimmer_new(const struct trimmer_config *config)
{
    struct trimmer *trimmer = calloc(1, sizeof *trimmer);
    if (trimmer == NULL)
        abort();
    trimmer->config = *config;
    trimmer->trimmed = calloc((size_t)config->shards, sizeof *trimmer->trimmed);
    trimmer->inbox_trimmed = calloc((size_t)config->shards, sizeof *trimmer->inbox_trimmed);
    if (trimmer->trimmed == NULL || trimmer->inbox_trimmed == NULL)
        abort();
    snprintf(trimmer->inbox, sizeof trimmer->inbox, "%s.inbox", config->app);
    snprintf(trimmer->state, sizeof trimmer->state, "%s.state", config->app);
    return trimmer;
}

void trimmer_free(struct trimmer **trimmer)
{
    if (*trimmer == NULL)
        return;
    free((*trimmer)->trimmed);
    free((*trimmer)->inbox_trimmed);
    free(*trimmer);
    *trimmer = NULL;
}

static bool trim(struct trimmer *trimmer, const char *topic, int32_t partition, int64_t before,
                 int64_t *trimmed)
{
    struct err_text text = {{0}};
    if (before - *trimmed < WORTH)
        return false;
    enum ka_err err =
        io_kafka_delete_records(trimmer->config.admin, topic, partition, before, TIMEOUT_MS, &text);
    if (err != KA_OK) {
        log_warn("trim", "failed", "topic=%s partition=%d error=%s", topic, partition, text.text);
        return false;
    }
    *trimmed = before;
    log_debug("trim", "trimmed", "topic=%s partition=%d before=%lld", topic, partition,
              (long long)before);
    return true;
}

// Commands that were read and are old enough; nothing unread ever goes.
static int64_t inbox_end(struct trimmer *trimmer, const struct io_kafka_committed *entry)
{
    struct err_text text = {{0}};
    int64_t old = -1;
    if (entry->offset - trimmer->inbox_trimmed[entry->partition] < WORTH)
        return 0;
    enum ka_err err =
        io_kafka_offset_at(trimmer->config.admin, trimmer->inbox, entry->partition,
                           clock_now_ms() - trimmer->config.inbox_keep_ms, TIMEOUT_MS, &old, &text);
    if (err != KA_OK)
        log_warn("trim", "offset_unknown", "topic=%s partition=%d error=%s", trimmer->inbox,
                 entry->partition, text.text);
    if (err != KA_OK)
        return 0;
    return old < 0 || old > entry->offset ? entry->offset : old;
}

static int trim_shard(struct trimmer *trimmer, const struct io_kafka_committed *entry)
{
    struct meta meta;
    struct err_text text = {{0}};
    bool ours = meta_parse(entry->metadata, &meta, &text) == KA_OK && meta.present &&
                slice_eq(meta.node, slice_str(trimmer->config.node));
    if (!ours)
        return 0;
    int32_t shard = entry->partition;
    return trim(trimmer, trimmer->state, shard, meta.low_water, &trimmer->trimmed[shard]) +
           trim(trimmer, trimmer->inbox, shard, inbox_end(trimmer, entry),
                &trimmer->inbox_trimmed[shard]);
}

int trimmer_run(struct trimmer *trimmer)
{
    struct arena arena = {0};
    struct err_text text = {{0}};
    size_t count = (size_t)trimmer->config.shards;
    struct io_kafka_committed *entries = arena_zalloc(&arena, count * sizeof *entries);
    for (size_t i = 0; i < count; i++)
        entries[i] = (struct io_kafka_committed){.topic = trimmer->inbox, .partition = (int32_t)i};
    int trimmed = 0;
    enum ka_err err = io_kafka_committed(trimmer->config.admin, trimmer->config.app, false,
                                         TIMEOUT_MS, entries, count, &arena, &text);
    if (err != KA_OK)
        log_warn("trim", "offsets_unknown", "group=%s error=%s", trimmer->config.app, text.text);
    for (size_t i = 0; err == KA_OK && i < count; i++)
        trimmed += trim_shard(trimmer, &entries[i]);
    arena_fini(&arena);
    return trimmed;
}
