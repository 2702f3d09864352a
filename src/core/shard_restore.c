// SPDX-License-Identifier: Apache-2.0
// A shard from its state topic: folds [low water, end) in the order of the log.
#include "core/assert.h"
#include "core/rule.h"
#include "core/shard_internal.h"

#include <stdlib.h>

struct shard_restore *shard_restore_new(const struct table_limits *limits)
{
    struct shard_restore *restore = calloc(1, sizeof *restore);
    if (restore == NULL)
        abort();
    restore->table = table_new(limits);
    return restore;
}

void shard_restore_free(struct shard_restore **restore)
{
    if (*restore == NULL)
        return;
    table_free(&(*restore)->table);
    free(*restore);
    *restore = NULL;
}

static enum ka_err apply_finished(struct shard_restore *restore, const struct record *record,
                                  struct err_text *text)
{
    struct state_finished finished;
    enum ka_err err = state_finished_decode(record->value, &finished, text);
    if (err != KA_OK)
        return err;
    struct table_finished entry = {
        .incarnation = finished.incarnation,
        .time_s = (uint32_t)finished.time_s,
        .outcome = (uint32_t)finished.outcome,
    };
    table_restore_finished(restore->table, record->key, (uint64_t)finished.sequence, &entry,
                           record->offset);
    return KA_OK;
}

static enum ka_err apply_chunk(struct shard_restore *restore, const struct record *record,
                               struct err_text *text)
{
    struct state_chunk chunk;
    struct table_finished entries[TABLE_CHUNK];
    enum ka_err err = state_chunk_decode(record->value, &chunk, entries, TABLE_CHUNK, text);
    if (err == KA_OK)
        table_restore_chunk(restore->table, chunk.first_sequence, entries, chunk.count,
                            record->offset);
    return err;
}

static enum ka_err apply_marker(struct shard_restore *restore, const struct record *record,
                                struct err_text *text)
{
    enum ka_err err = state_marker_decode(record->value, &restore->marker, text);
    restore->marker.token = SLICE_NONE; // pointed into the record
    restore->has_marker = restore->has_marker || err == KA_OK;
    return err;
}

enum ka_err shard_restore_apply(struct shard_restore *restore, const struct record *record,
                                struct err_text *text)
{
    enum ka_err err = KA_OK;
    restore->records++;
    if (slice_none(record->key) || slice_none(record->value))
        return err_set(text, KA_ERR_DIVERGED, "state record at offset %lld has no key or value",
                       (long long)record->offset);
    switch (state_kind(record->value)) {
    case STATE_FINISHED:
        err = apply_finished(restore, record, text);
        break;
    case STATE_CHUNK:
        err = apply_chunk(restore, record, text);
        break;
    case STATE_MARKER:
        err = apply_marker(restore, record, text);
        break;
    case STATE_SAGA:
    case STATE_OTHER: { // what form it is, saga_peek decides
        struct saga_header header;
        err = saga_peek(record->value, &header, text);
        if (err == KA_OK)
            table_restore_put(restore->table, record->key, record->value, record->offset);
        break;
    }
    }
    if (err != KA_OK)
        err_wrap(text, err, "state record at offset %lld", (long long)record->offset);
    return err;
}

void shard_restore_end(struct shard_restore *restore, int64_t end, int64_t now_ms)
{
    table_restore_end(restore->table, end);
    table_expire(restore->table, now_ms);
}

enum ka_err shard_restore_agree(const struct shard_restore *restore, int64_t committed,
                                const struct meta *meta, struct err_text *text)
{
    int64_t live = (int64_t)table_count(restore->table);
    if (!KA_RULE(13))
        return KA_OK;
    if (meta->present && meta->counts.live != live)
        return err_set(text, KA_ERR_DIVERGED,
                       "the last commit left %lld live states, and %lld stand in the state topic",
                       (long long)meta->counts.live, (long long)live);
    // As many, but others: the topic has lost its end (an unclean election), or somebody wrote to
    // it.
    if (meta->present && meta->sum != table_sum(restore->table) && KA_RULE(RULE_SUM))
        return err_set(text, KA_ERR_DIVERGED,
                       "the %lld live states in the state topic are not those that the last commit "
                       "left: the topic has lost its end, or something else wrote to it",
                       (long long)live);
    if (!restore->has_marker || committed >= restore->marker.inbox_offset)
        return KA_OK;
    return err_set(text, KA_ERR_DIVERGED,
                   "the state was written when the inbox had been read up to %lld, but the "
                   "committed offset is %lld",
                   (long long)restore->marker.inbox_offset, (long long)committed);
}

bool shard_restore_marker(const struct shard_restore *restore, struct state_marker *marker)
{
    *marker = restore->marker;
    return restore->has_marker;
}

struct table *shard_restore_table(const struct shard_restore *restore)
{
    return restore->table;
}

size_t shard_restore_live(const struct shard_restore *restore)
{
    return table_count(restore->table);
}

size_t shard_restore_records(const struct shard_restore *restore)
{
    return restore->records;
}

size_t shard_restore_chunks(const struct shard_restore *restore)
{
    return table_chunk_count(restore->table);
}

struct shard *shard_new(struct shard_restore *restore)
{
    struct shard *shard = calloc(1, sizeof *shard);
    if (shard == NULL)
        abort();
    shard->table = restore->table;
    restore->table = NULL;
    return shard;
}

void shard_free(struct shard **shard)
{
    if (*shard == NULL)
        return;
    table_free(&(*shard)->table);
    for (size_t i = 0; i < (*shard)->takeover_count; i++)
        free((void *)(uintptr_t)(*shard)->takeover[i].key.ptr);
    free((*shard)->takeover);
    free((*shard)->changed);
    free(*shard);
    *shard = NULL;
}
