// SPDX-License-Identifier: Apache-2.0
// What makes it hard: the header comes from another cluster and may have been written by anybody.
// So nothing of it is believed without its bounds, and a form that is not known is an error, never
// "no header": a record whose way is unknown could go round for ever.
#include "core/origin.h"

#include "core/assert.h"
#include "core/avrobin.h"

enum { VERSION = 1 };

static void put_text(struct buf *buf, struct slice text, size_t max)
{
    KA_ASSERT(text.len > 0 && text.len <= max);
    buf_byte(buf, (int)text.len);
    buf_slice_put(buf, text);
}

void origin_encode(const struct origin *origin, struct buf *buf)
{
    KA_ASSERT(origin->partition >= 0 && origin->offset >= 0);
    KA_ASSERT(origin->visited_count <= ORIGIN_VISITED_MAX);
    buf_byte(buf, VERSION);
    put_text(buf, origin->cluster, ORIGIN_CLUSTER_MAX);
    put_text(buf, origin->topic, ORIGIN_TOPIC_MAX);
    avrobin_put_long(buf, origin->partition);
    avrobin_put_long(buf, origin->offset);
    buf_byte(buf, (int)origin->visited_count);
    for (size_t i = 0; i < origin->visited_count; i++)
        put_text(buf, origin->visited[i], ORIGIN_CLUSTER_MAX);
}

static int take_byte(struct avrobin_reader *reader, const char *field)
{
    struct slice byte = avrobin_fixed(reader, field, 1);
    return slice_none(byte) ? 0 : (unsigned char)byte.ptr[0];
}

static struct slice take_text(struct avrobin_reader *reader, const char *field, int max)
{
    int len = take_byte(reader, field);
    if (len < 1 || len > max) {
        avrobin_refuse(reader, field, "bad length");
        return SLICE_NONE;
    }
    return avrobin_fixed(reader, field, (size_t)len);
}

enum ka_err origin_decode(struct slice bytes, struct origin *origin, struct err_text *text)
{
    const unsigned char *start = (const unsigned char *)bytes.ptr;
    struct avrobin_reader reader = {.start = start, .at = start, .end = start + bytes.len};
    *origin = (struct origin){.partition = 0};
    if (bytes.len == 0)
        return err_set(text, KA_ERR_ENVELOPE, "an empty header kasaga-origin");
    int version = take_byte(&reader, "version");
    if (version != VERSION)
        return err_set(text, KA_ERR_VERSION, "a header kasaga-origin of version %d", version);
    origin->cluster = take_text(&reader, "cluster", ORIGIN_CLUSTER_MAX);
    origin->topic = take_text(&reader, "topic", ORIGIN_TOPIC_MAX);
    origin->partition = avrobin_int(&reader, "partition", 0, INT32_MAX);
    origin->offset = avrobin_long(&reader, "offset", 0, INT64_MAX);
    int visited = take_byte(&reader, "visited");
    if (visited > ORIGIN_VISITED_MAX)
        avrobin_refuse(&reader, "visited", "too many");
    for (int i = 0; i < visited && reader.field == NULL; i++)
        origin->visited[origin->visited_count++] =
            take_text(&reader, "visited", ORIGIN_CLUSTER_MAX);
    struct err_text why = {""};
    if (avrobin_close(&reader, &why) == KA_OK)
        return KA_OK;
    *origin = (struct origin){.partition = 0};
    return err_set(text, KA_ERR_ENVELOPE, "the header kasaga-origin: %s", why.text);
}

struct slice origin_of(const struct record *record)
{
    for (size_t i = record->header_count; i-- > 0;)
        if (slice_eq(record->headers[i].name, ORIGIN_HEADER))
            return record->headers[i].value.ptr == NULL ? SLICE_LIT("") : record->headers[i].value;
    return SLICE_NONE;
}

bool origin_has_visited(const struct origin *origin, struct slice cluster)
{
    for (size_t i = 0; i < origin->visited_count; i++)
        if (slice_eq(origin->visited[i], cluster))
            return true;
    return slice_eq(origin->cluster, cluster);
}
