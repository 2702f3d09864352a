// SPDX-License-Identifier: Apache-2.0
#include "core/avrobin.h"

#include "core/assert.h"

enum { MARKER_0 = 0xC3, MARKER_1 = 0x01, VARINT_MAX = 10 };

// --- writing

static void put_fingerprint(unsigned char *at, uint64_t fingerprint)
{
    for (int i = 0; i < 8; i++)
        at[i] = (unsigned char)(fingerprint >> (8 * i));
}

void avrobin_put_header(struct buf *buf, uint64_t fingerprint)
{
    unsigned char header[AVROBIN_HEADER_SIZE] = {MARKER_0, MARKER_1};
    put_fingerprint(header + 2, fingerprint);
    buf_put(buf, header, sizeof header);
}

void avrobin_put_long(struct buf *buf, int64_t value)
{
    uint64_t rest = (uint64_t)value << 1 ^ (value < 0 ? UINT64_MAX : 0);
    unsigned char *at = (unsigned char *)buf_room(buf, VARINT_MAX);
    size_t len = 0;
    for (; rest > 0x7F; rest >>= 7)
        at[len++] = (unsigned char)(rest | 0x80);
    at[len++] = (unsigned char)rest;
    buf->len += len;
}

void avrobin_put_boolean(struct buf *buf, bool value)
{
    buf_byte(buf, value);
}

void avrobin_put_bytes(struct buf *buf, struct slice s)
{
    avrobin_put_long(buf, (int64_t)s.len);
    buf_put(buf, s.ptr, s.len);
}

void avrobin_put_fixed(struct buf *buf, const void *bytes, size_t size)
{
    buf_put(buf, bytes, size);
}

// --- reading

void avrobin_refuse(struct avrobin_reader *reader, const char *field, const char *reason)
{
    if (reader->field != NULL)
        return;
    reader->field = field;
    reader->reason = reason;
    reader->failed_at = (size_t)(reader->at - reader->start);
    reader->at = reader->end; // nothing more is read
}

static size_t left(const struct avrobin_reader *reader)
{
    return (size_t)(reader->end - reader->at);
}

enum ka_err avrobin_open(struct avrobin_reader *reader, struct slice bytes, uint64_t *fingerprint,
                         struct err_text *text)
{
    const unsigned char *start = (const unsigned char *)bytes.ptr;
    *reader = (struct avrobin_reader){.start = start};
    if (bytes.len < AVROBIN_HEADER_SIZE)
        return err_set(text, KA_ERR_AVRO, "%zu bytes are too few for a single object", bytes.len);
    if (start[0] != MARKER_0 || start[1] != MARKER_1)
        return err_set(text, KA_ERR_AVRO, "not a single object: starts with %02x %02x", start[0],
                       start[1]);
    *fingerprint = 0;
    for (int i = 0; i < 8; i++)
        *fingerprint |= (uint64_t)start[2 + i] << (8 * i);
    reader->at = start + AVROBIN_HEADER_SIZE;
    reader->end = start + bytes.len;
    return KA_OK;
}

static uint64_t read_varint(struct avrobin_reader *reader, const char *field)
{
    uint64_t value = 0;
    size_t room = left(reader) < VARINT_MAX ? left(reader) : VARINT_MAX;
    for (size_t i = 0; i < room; i++) {
        unsigned char byte = reader->at[i];
        if (i == VARINT_MAX - 1 && byte > 1)
            break;
        value |= (uint64_t)(byte & 0x7F) << (7 * i);
        if ((byte & 0x80) == 0) {
            reader->at += i + 1;
            return value;
        }
    }
    avrobin_refuse(reader, field, room < VARINT_MAX ? "ends in the middle" : "number too long");
    return 0;
}

int64_t avrobin_long(struct avrobin_reader *reader, const char *field, int64_t min, int64_t max)
{
    KA_ASSERT(min <= max);
    const unsigned char *before = reader->at;
    uint64_t zigzag = read_varint(reader, field);
    int64_t value = (int64_t)(zigzag >> 1 ^ (0 - (zigzag & 1)));
    if (reader->field != NULL)
        return 0;
    if (value >= min && value <= max)
        return value;
    reader->at = before;
    avrobin_refuse(reader, field, "out of range");
    return 0;
}

int32_t avrobin_int(struct avrobin_reader *reader, const char *field, int32_t min, int32_t max)
{
    return (int32_t)avrobin_long(reader, field, min, max);
}

int avrobin_enum(struct avrobin_reader *reader, const char *field, int symbols)
{
    return (int)avrobin_long(reader, field, 0, symbols - 1);
}

bool avrobin_boolean(struct avrobin_reader *reader, const char *field)
{
    struct slice byte = avrobin_fixed(reader, field, 1);
    if (slice_none(byte))
        return false;
    if (byte.ptr[0] != 0 && byte.ptr[0] != 1)
        avrobin_refuse(reader, field, "not a boolean");
    return byte.ptr[0] == 1;
}

struct slice avrobin_bytes(struct avrobin_reader *reader, const char *field, size_t max)
{
    size_t len = (size_t)avrobin_long(reader, field, 0, INT64_MAX);
    if (len > max) {
        avrobin_refuse(reader, field, "too long");
        return SLICE_NONE;
    }
    return len == 0 ? SLICE_NONE : avrobin_fixed(reader, field, len);
}

struct slice avrobin_fixed(struct avrobin_reader *reader, const char *field, size_t size)
{
    if (reader->field == NULL && size > left(reader))
        avrobin_refuse(reader, field, "ends in the middle");
    if (reader->field != NULL)
        return SLICE_NONE;
    struct slice bytes = slice_of(reader->at, size);
    reader->at += size;
    return bytes;
}

size_t avrobin_block(struct avrobin_reader *reader, const char *field, size_t room)
{
    int64_t count = avrobin_long(reader, field, INT64_MIN + 1, INT64_MAX);
    if (count < 0) { // a block with its size in bytes, for those who skip
        count = -count;
        (void)avrobin_long(reader, field, 0, INT64_MAX);
    }
    if (reader->field == NULL && (uint64_t)count > room)
        avrobin_refuse(reader, field, "too many items");
    return reader->field == NULL ? (size_t)count : 0;
}

enum ka_err avrobin_close(struct avrobin_reader *reader, struct err_text *text)
{
    if (reader->field == NULL && left(reader) > 0)
        avrobin_refuse(reader, "(end)", "bytes left over");
    if (reader->field == NULL)
        return KA_OK;
    return err_set(text, KA_ERR_AVRO, "field %s at byte %zu: %s", reader->field, reader->failed_at,
                   reader->reason);
}

enum ka_err avrobin_unknown(const char *what, uint64_t fingerprint, struct err_text *text)
{
    return err_set(text, KA_ERR_VERSION,
                   "%s written with the schema %016llx, which is not known here", what,
                   (unsigned long long)fingerprint);
}

enum ka_err avrobin_open_form(struct avrobin_reader *reader, struct slice bytes, const char *what,
                              uint64_t wanted, struct err_text *text)
{
    uint64_t fingerprint = 0;
    enum ka_err err = avrobin_open(reader, bytes, &fingerprint, text);
    if (err != KA_OK)
        return err_wrap(text, err, "%s", what);
    return fingerprint == wanted ? KA_OK : avrobin_unknown(what, fingerprint, text);
}

enum ka_err avrobin_close_form(struct avrobin_reader *reader, const char *what,
                               struct err_text *text)
{
    enum ka_err err = avrobin_close(reader, text);
    return err == KA_OK ? KA_OK : err_wrap(text, err, "%s", what);
}
