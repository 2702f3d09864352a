// SPDX-License-Identifier: Apache-2.0
// The order of the fields is that of the schemas; write and read stand side by side.
#include "core/state.h"

#include "core/assert.h"
#include "core/avrobin.h"
#include "core/saga.h"

// CRC-64-AVRO of the Parsing Canonical Forms of schemas/state_*.avsc (tests/unit/state.c).
#define FINISHED_V1 UINT64_C(0x5a7107236c65d5e0)
#define MARKER_V1 UINT64_C(0x088ea57ab9c758b6)
#define CHUNK_V1 UINT64_C(0xc7ec337d7978d25e)

enum { ENTRY_SIZE = 24 };

// A later version of a form adds a line, and its decoder looks at the fingerprint.
static const struct {
    uint64_t fingerprint;
    enum state_kind kind;
} forms[] = {
    {FINISHED_V1, STATE_FINISHED},
    {CHUNK_V1, STATE_CHUNK},
    {MARKER_V1, STATE_MARKER},
};

enum state_kind state_kind(struct slice bytes)
{
    struct avrobin_reader reader;
    uint64_t fingerprint = 0;
    if (avrobin_open(&reader, bytes, &fingerprint, NULL) != KA_OK)
        return STATE_OTHER;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        if (forms[i].fingerprint == fingerprint)
            return forms[i].kind;
    struct saga_header header;
    return saga_peek(bytes, &header, NULL) == KA_OK ? STATE_SAGA : STATE_OTHER;
}

// --- finished ---

void state_finished_encode(const struct state_finished *finished, struct buf *buf)
{
    KA_ASSERT(finished->outcome >= 0 && finished->incarnation >= 0 && finished->sequence >= 0);
    KA_ASSERT(finished->time_s >= 0 && finished->time_s <= UINT32_MAX);
    avrobin_put_header(buf, FINISHED_V1);
    avrobin_put_long(buf, finished->outcome);
    avrobin_put_long(buf, finished->incarnation);
    avrobin_put_long(buf, finished->sequence);
    avrobin_put_long(buf, finished->time_s);
}

enum ka_err state_finished_decode(struct slice bytes, struct state_finished *finished,
                                  struct err_text *text)
{
    struct avrobin_reader reader;
    *finished = (struct state_finished){0};
    enum ka_err err = avrobin_open_form(&reader, bytes, "finished instance", FINISHED_V1, text);
    if (err != KA_OK)
        return err;
    finished->outcome = avrobin_int(&reader, "outcome", 0, INT32_MAX);
    finished->incarnation = avrobin_long(&reader, "incarnation", 0, INT64_MAX);
    finished->sequence = avrobin_long(&reader, "sequence", 0, INT64_MAX - 1);
    finished->time_s = avrobin_long(&reader, "time_s", 0, UINT32_MAX);
    return avrobin_close_form(&reader, "finished instance", text);
}

// --- marker ---

void state_marker_encode(const struct state_marker *marker, struct buf *buf)
{
    const struct meta_counts *counts = &marker->counts;
    KA_ASSERT(marker->inbox_offset >= 0 && marker->time_ms >= 0);
    KA_ASSERT(marker->token.len <= STATE_TOKEN_MAX);
    avrobin_put_header(buf, MARKER_V1);
    avrobin_put_long(buf, marker->inbox_offset);
    avrobin_put_bytes(buf, marker->token);
    avrobin_put_long(buf, counts->live);
    avrobin_put_long(buf, marker->time_ms);
    avrobin_put_long(buf, counts->started);
    avrobin_put_long(buf, counts->completed);
    avrobin_put_long(buf, counts->compensated);
    avrobin_put_long(buf, counts->stuck);
    avrobin_put_long(buf, counts->terminated);
}

enum ka_err state_marker_decode(struct slice bytes, struct state_marker *marker,
                                struct err_text *text)
{
    struct avrobin_reader reader;
    struct meta_counts *counts = &marker->counts;
    *marker = (struct state_marker){0};
    enum ka_err err = avrobin_open_form(&reader, bytes, "marker", MARKER_V1, text);
    if (err != KA_OK)
        return err;
    marker->inbox_offset = avrobin_long(&reader, "inbox_offset", 0, INT64_MAX);
    marker->token = avrobin_bytes(&reader, "token", STATE_TOKEN_MAX);
    counts->live = avrobin_long(&reader, "live", 0, INT64_MAX);
    marker->time_ms = avrobin_long(&reader, "time_ms", 0, INT64_MAX);
    counts->started = avrobin_long(&reader, "started", 0, INT64_MAX);
    counts->completed = avrobin_long(&reader, "completed", 0, INT64_MAX);
    counts->compensated = avrobin_long(&reader, "compensated", 0, INT64_MAX);
    counts->stuck = avrobin_long(&reader, "stuck", 0, INT64_MAX);
    counts->terminated = avrobin_long(&reader, "terminated", 0, INT64_MAX);
    return avrobin_close_form(&reader, "marker", text);
}

// --- chunk ---

void state_chunk_key(uint64_t first_sequence, struct buf *buf)
{
    KA_ASSERT(first_sequence <= INT64_MAX);
    buf_str(buf, "#dedupe/");
    buf_i64(buf, (int64_t)first_sequence);
}

static char *put_little(char *at, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        at[i] = (char)(value >> (8 * i) & 0xFF);
    return at + size;
}

static uint64_t take_little(const char **at, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)(unsigned char)(*at)[i] << (8 * i);
    *at += size;
    return value;
}

void state_chunk_encode(const struct state_chunk *chunk, const struct table_finished *entries,
                        struct buf *buf)
{
    KA_ASSERT(chunk->count > 0 && chunk->first_sequence <= INT64_MAX - TABLE_CHUNK);
    KA_ASSERT(chunk->first_sequence % TABLE_CHUNK + chunk->count <= TABLE_CHUNK);
    avrobin_put_header(buf, CHUNK_V1);
    avrobin_put_long(buf, (int64_t)chunk->first_sequence);
    avrobin_put_long(buf, (int64_t)(chunk->count * ENTRY_SIZE)); // then what `bytes` holds
    char *at = buf_room(buf, chunk->count * ENTRY_SIZE);
    for (size_t i = 0; i < chunk->count; i++) {
        at = put_little(at, entries[i].hash, 8);
        at = put_little(at, (uint64_t)entries[i].incarnation, 8);
        at = put_little(at, entries[i].time_s, 4);
        at = put_little(at, entries[i].outcome, 4);
    }
    buf->len += chunk->count * ENTRY_SIZE;
}

static bool read_entries(const char *at, struct table_finished *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct table_finished *entry = &entries[i];
        entry->hash = take_little(&at, 8);
        entry->incarnation = (int64_t)take_little(&at, 8);
        entry->time_s = (uint32_t)take_little(&at, 4);
        entry->outcome = (uint32_t)take_little(&at, 4);
        if (entry->incarnation < 0 && entry->incarnation != INT64_MIN)
            return false;
    }
    return true;
}

enum ka_err state_chunk_decode(struct slice bytes, struct state_chunk *chunk,
                               struct table_finished *entries, size_t room, struct err_text *text)
{
    struct avrobin_reader reader;
    KA_ASSERT(room >= TABLE_CHUNK);
    *chunk = (struct state_chunk){0};
    enum ka_err err = avrobin_open_form(&reader, bytes, "chunk", CHUNK_V1, text);
    if (err != KA_OK)
        return err;
    uint64_t first = (uint64_t)avrobin_long(&reader, "first_sequence", 0, INT64_MAX - TABLE_CHUNK);
    struct slice rows = avrobin_bytes(&reader, "entries", (size_t)TABLE_CHUNK * ENTRY_SIZE);
    size_t count = rows.len / ENTRY_SIZE;
    if (count == 0 || rows.len % ENTRY_SIZE != 0)
        avrobin_refuse(&reader, "entries", "not 1 to 1024 entries of 24 bytes");
    else if (first % TABLE_CHUNK + count > TABLE_CHUNK)
        avrobin_refuse(&reader, "entries", "more than the chunk's");
    else if (!read_entries(rows.ptr, entries, count))
        avrobin_refuse(&reader, "entries", "incarnation below zero");
    *chunk = (struct state_chunk){first, count};
    return avrobin_close_form(&reader, "chunk", text);
}
