// SPDX-License-Identifier: Apache-2.0
// The order of the fields is that of the schemas; write and read stand side by side.
#include "core/link_form.h"

#include "core/assert.h"
#include "core/avrobin.h"
#include "core/hash.h"

// CRC-64-AVRO of the Parsing Canonical Forms of schemas/link_*.avsc (tests/unit/link_form.c).
#define PROGRESS_V1 UINT64_C(0x2ac2ab83ddcf1746)
#define SKIP_V1 UINT64_C(0x615e9d4e345e3ef6)

enum { NAME_MAX_BYTES = 255 };

void link_progress_encode(const struct link_progress *progress, struct buf *buf)
{
    KA_ASSERT(progress->next >= 0 && progress->slots > 0 && progress->partition >= 0);
    avrobin_put_header(buf, PROGRESS_V1);
    avrobin_put_bytes(buf, progress->source);
    avrobin_put_bytes(buf, progress->cluster);
    avrobin_put_bytes(buf, progress->topic);
    avrobin_put_long(buf, progress->partition);
    avrobin_put_bytes(buf, progress->target);
    avrobin_put_long(buf, progress->slots);
    avrobin_put_long(buf, progress->next);
    avrobin_put_long(buf, progress->last_offset);
    avrobin_put_long(buf, progress->last_time_ms);
    avrobin_put_long(buf, progress->last_hash);
    avrobin_put_long(buf, progress->copied);
    avrobin_put_long(buf, progress->dropped);
    avrobin_put_long(buf, progress->skipped);
    avrobin_put_long(buf, progress->control);
    avrobin_put_bytes(buf, progress->actor);
    avrobin_put_bytes(buf, progress->reason);
    avrobin_put_bytes(buf, progress->stopped);
    avrobin_put_long(buf, progress->time_ms);
}

enum ka_err link_progress_decode(struct slice bytes, struct link_progress *progress,
                                 struct err_text *text)
{
    struct avrobin_reader reader;
    *progress = (struct link_progress){.slots = 0};
    enum ka_err err = avrobin_open_form(&reader, bytes, "progress of a link", PROGRESS_V1, text);
    if (err != KA_OK)
        return err;
    progress->source = avrobin_bytes(&reader, "source", NAME_MAX_BYTES);
    progress->cluster = avrobin_bytes(&reader, "cluster", NAME_MAX_BYTES);
    progress->topic = avrobin_bytes(&reader, "topic", NAME_MAX_BYTES);
    progress->partition = avrobin_int(&reader, "partition", 0, INT32_MAX);
    progress->target = avrobin_bytes(&reader, "target", NAME_MAX_BYTES);
    progress->slots = avrobin_int(&reader, "slots", 1, INT32_MAX);
    progress->next = avrobin_long(&reader, "next", 0, INT64_MAX);
    progress->last_offset = avrobin_long(&reader, "last_offset", -1, INT64_MAX);
    progress->last_time_ms = avrobin_long(&reader, "last_time_ms", INT64_MIN, INT64_MAX);
    progress->last_hash = avrobin_long(&reader, "last_hash", INT64_MIN, INT64_MAX);
    progress->copied = avrobin_long(&reader, "copied", 0, INT64_MAX);
    progress->dropped = avrobin_long(&reader, "dropped", 0, INT64_MAX);
    progress->skipped = avrobin_long(&reader, "skipped", 0, INT64_MAX);
    progress->control = avrobin_long(&reader, "control", -1, INT64_MAX);
    progress->actor = avrobin_bytes(&reader, "actor", LINK_TEXT_MAX);
    progress->reason = avrobin_bytes(&reader, "reason", LINK_TEXT_MAX);
    progress->stopped = avrobin_bytes(&reader, "stopped", LINK_TEXT_MAX);
    progress->time_ms = avrobin_long(&reader, "time_ms", 0, INT64_MAX);
    return avrobin_close_form(&reader, "progress of a link", text);
}

void link_skip_encode(const struct link_skip *skip, struct buf *buf)
{
    KA_ASSERT(skip->from >= 0 && skip->to >= 0 && skip->partition >= 0);
    avrobin_put_header(buf, SKIP_V1);
    avrobin_put_bytes(buf, skip->source);
    avrobin_put_bytes(buf, skip->topic);
    avrobin_put_long(buf, skip->partition);
    avrobin_put_long(buf, skip->from);
    avrobin_put_long(buf, skip->to);
    avrobin_put_bytes(buf, skip->actor);
    avrobin_put_bytes(buf, skip->reason);
    avrobin_put_long(buf, skip->time_ms);
}

enum ka_err link_skip_decode(struct slice bytes, struct link_skip *skip, struct err_text *text)
{
    struct avrobin_reader reader;
    *skip = (struct link_skip){.partition = 0};
    enum ka_err err = avrobin_open_form(&reader, bytes, "skip of a link", SKIP_V1, text);
    if (err != KA_OK)
        return err;
    skip->source = avrobin_bytes(&reader, "source", NAME_MAX_BYTES);
    skip->topic = avrobin_bytes(&reader, "topic", NAME_MAX_BYTES);
    skip->partition = avrobin_int(&reader, "partition", 0, INT32_MAX);
    skip->from = avrobin_long(&reader, "from", 0, INT64_MAX);
    skip->to = avrobin_long(&reader, "to", 0, INT64_MAX);
    skip->actor = avrobin_bytes(&reader, "actor", LINK_TEXT_MAX);
    skip->reason = avrobin_bytes(&reader, "reason", LINK_TEXT_MAX);
    skip->time_ms = avrobin_long(&reader, "time_ms", 0, INT64_MAX);
    return avrobin_close_form(&reader, "skip of a link", text);
}

void link_key(struct slice source, struct slice topic, int32_t partition, struct buf *buf)
{
    KA_ASSERT(partition >= 0);
    buf_slice_put(buf, source);
    buf_byte(buf, '/');
    buf_slice_put(buf, topic);
    buf_byte(buf, '/');
    buf_i64(buf, partition);
}

static uint64_t mix(uint64_t hash, struct slice s)
{
    return hash_bytes(s, hash_mix(hash ^ (slice_none(s) ? 1 : 2)));
}

int64_t link_fingerprint(const struct record *record)
{
    uint64_t hash = mix(mix(0, record->key), record->value);
    for (size_t i = 0; i < record->header_count; i++)
        hash = mix(mix(hash, record->headers[i].name), record->headers[i].value);
    return (int64_t)hash;
}
