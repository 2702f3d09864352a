// SPDX-License-Identifier: Apache-2.0
#include "engine/state_read.h"

#include "engine/kill.h"
#include "io/clock.h"

enum {
    ASK_TIMEOUT_MS = 5000,
    STALL_MS = 60000 // without one record or end: give up, the lane asks again
};

static enum ka_err fold(void *context, const struct record *record, struct err_text *text)
{
    enum ka_err err = shard_restore_apply(context, record, text);
    if (err == KA_OK)
        KILL_POINT("state_record_read");
    return err;
}

// What offset and topic say of each other before anything is read.
static enum ka_err agree(const struct state_read *read, int64_t start, int64_t end,
                         struct err_text *text)
{
    const char *topic = read->topic;
    int64_t low_water = read->low_water;
    if (low_water >= 0 && low_water < start)
        return err_set(text, KA_ERR_DIVERGED,
                       "%s/%d: the state is needed from offset %lld, but the topic begins at %lld",
                       topic, read->partition, (long long)low_water, (long long)start);
    if (low_water > end)
        return err_set(text, KA_ERR_DIVERGED,
                       "%s/%d: the state is needed from offset %lld, but the topic ends at %lld: "
                       "it has lost its end, or it was created again",
                       topic, read->partition, (long long)low_water, (long long)end);
    if (read->started > 0 && end == 0)
        return err_set(text, KA_ERR_DIVERGED,
                       "%s/%d has never held a record, but %lld sagas were started: it was created "
                       "again",
                       topic, read->partition, (long long)read->started);
    // A shard commits an offset with metadata before its first state.
    if (low_water < 0 && end > 0)
        return err_set(text, KA_ERR_DIVERGED, "%s/%d: %s has been written up to %lld, but %s",
                       read->inbox, read->partition, topic, (long long)end,
                       read->has_offset ? "the committed offset is not kasaga's: somebody else has "
                                          "committed it, and what it passes by was not processed"
                                        : "there is no committed offset");
    return KA_OK;
}

enum ka_err state_read(const struct state_read *read, struct shard_restore *restore,
                       struct err_text *text)
{
    int64_t start = 0;
    int64_t end = 0;
    enum ka_err err = io_kafka_watermarks(read->admin, read->topic, read->partition, ASK_TIMEOUT_MS,
                                          &start, &end, text);
    if (err == KA_OK && !read->anyway)
        err = agree(read, start, end, text);
    if (err != KA_OK)
        return err;
    struct scan scan = {.kafka = read->kafka,
                        .topic = read->topic,
                        .partition = read->partition,
                        .from = read->anyway || read->low_water < 0 ? start : read->low_water,
                        .end = end,
                        .stop = read->stop,
                        .stall_ms = STALL_MS};
    err = scan_records(&scan, fold, restore, text);
    shard_restore_end(restore, end, clock_now_ms());
    return err;
}
