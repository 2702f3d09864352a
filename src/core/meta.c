// SPDX-License-Identifier: Apache-2.0
// What makes it hard: the string is read by processes of other versions and after operators have
// set offsets by hand with tools that write anything or nothing into it. So nothing is guessed:
// a number that is not written exactly as we write it is an error, and a newer version is named.
#include "core/meta.h"

#include "core/assert.h"

static bool name_ok(struct slice name, size_t max, bool dot)
{
    if (name.len == 0 || name.len > max)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                     c == '_' || c == '-';
        if (!plain && !(dot && c == '.'))
            return false;
    }
    return true;
}

bool meta_node_ok(struct slice name)
{
    return name_ok(name, META_NODE_MAX, true);
}

bool meta_lane_ok(struct slice name)
{
    return name_ok(name, META_LANE_MAX, false);
}

static void put_number(struct buf *buf, int separator, int64_t value)
{
    KA_ASSERT(value >= 0);
    buf_byte(buf, separator);
    buf_i64(buf, value);
}

void meta_token(const struct meta *meta, struct buf *buf)
{
    KA_ASSERT(meta->incarnation >= 0 && meta->number >= 0);
    buf_i64(buf, meta->incarnation);
    put_number(buf, ':', meta->number);
}

static void put_audit(struct buf *buf, const struct meta_audit *audit)
{
    static const char digits[] = "0123456789abcdef";
    put_number(buf, ';', audit->sequence);
    buf_byte(buf, ';');
    for (size_t i = 0; i < META_HASH_SIZE; i++) {
        buf_byte(buf, digits[audit->hash[i] >> 4]);
        buf_byte(buf, digits[audit->hash[i] & 15]);
    }
}

void meta_format(const struct meta *meta, struct buf *buf)
{
    KA_ASSERT(meta_node_ok(meta->node) && meta_lane_ok(meta->lane));
    size_t from = buf->len;
    buf_str(buf, meta->audit.sequence > 0 ? "k2;" : "k1;");
    buf_slice_put(buf, meta->node);
    buf_byte(buf, '.');
    buf_slice_put(buf, meta->lane);
    buf_byte(buf, ';');
    meta_token(meta, buf);
    put_number(buf, ';', meta->low_water);
    put_number(buf, ';', meta->sum);
    put_number(buf, ';', meta->time_ms);
    put_number(buf, ';', meta->counts.live);
    put_number(buf, ';', meta->counts.started);
    put_number(buf, ';', meta->counts.completed);
    put_number(buf, ';', meta->counts.compensated);
    put_number(buf, ';', meta->counts.stuck);
    put_number(buf, ';', meta->counts.terminated);
    if (meta->audit.sequence > 0)
        put_audit(buf, &meta->audit);
    KA_ASSERT(buf->len - from <= META_MAX);
}

// Takes the bytes up to `separator` (which goes too) or to the end of the text.
static struct slice take_field(struct slice *rest, char separator)
{
    const char *at = rest->len == 0 ? NULL : memchr(rest->ptr, separator, rest->len);
    struct slice field = {rest->ptr, at == NULL ? rest->len : (size_t)(at - rest->ptr)};
    size_t taken = field.len + (at != NULL);
    *rest = (struct slice){rest->ptr + taken, rest->len - taken};
    return field;
}

// Decimal, no sign, no leading zero, within int64.
static bool read_number(struct slice field, int64_t *value)
{
    if (field.len == 0 || field.len > 19 || (field.ptr[0] == '0' && field.len > 1))
        return false;
    uint64_t number = 0;
    for (size_t i = 0; i < field.len; i++) {
        if (field.ptr[i] < '0' || field.ptr[i] > '9')
            return false;
        number = number * 10 + (uint64_t)(field.ptr[i] - '0');
    }
    *value = (int64_t)number;
    return number <= INT64_MAX;
}

static bool read_names(struct slice field, struct meta *meta)
{
    size_t dot = field.len;
    while (dot > 0 && field.ptr[dot - 1] != '.')
        dot--;
    if (dot == 0)
        return false;
    meta->node = slice_of(field.ptr, dot - 1);
    meta->lane = slice_of(field.ptr + dot, field.len - dot);
    return meta_node_ok(meta->node) && meta_lane_ok(meta->lane);
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_audit(struct slice *rest, struct meta_audit *audit)
{
    if (!read_number(take_field(rest, ';'), &audit->sequence) || audit->sequence == 0)
        return false;
    struct slice hex = take_field(rest, ';');
    if (hex.len != (size_t)2 * META_HASH_SIZE)
        return false;
    for (size_t i = 0; i < META_HASH_SIZE; i++) {
        int high = digit_of(hex.ptr[2 * i]);
        int low = digit_of(hex.ptr[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        audit->hash[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

// `rest` is what follows the version.
static bool read_fields(struct slice rest, bool audited, struct meta *meta)
{
    struct slice end = {rest.ptr + rest.len, 0};
    if (!read_names(take_field(&rest, ';'), meta))
        return false;
    struct slice token = take_field(&rest, ';');
    if (!read_number(take_field(&token, ':'), &meta->incarnation) ||
        !read_number(token, &meta->number))
        return false;
    int64_t *const numbers[] = {&meta->low_water,
                                &meta->sum,
                                &meta->time_ms,
                                &meta->counts.live,
                                &meta->counts.started,
                                &meta->counts.completed,
                                &meta->counts.compensated,
                                &meta->counts.stuck,
                                &meta->counts.terminated};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (!read_number(take_field(&rest, ';'), numbers[i]))
            return false;
    if (audited && !read_audit(&rest, &meta->audit))
        return false;
    return rest.ptr == end.ptr && end.ptr[-1] != ';';
}

enum ka_err meta_parse(struct slice text, struct meta *meta, struct err_text *detail)
{
    *meta = (struct meta){0};
    if (text.len == 0)
        return KA_OK;
    struct slice rest = text;
    struct slice version = take_field(&rest, ';');
    int64_t number = 0;
    bool known_form = version.len > 1 && version.ptr[0] == 'k' &&
                      read_number(slice_of(version.ptr + 1, version.len - 1), &number);
    if (known_form && number != 1 && number != 2)
        return err_set(detail, KA_ERR_VERSION, "offset metadata of version %lld: \"%.*s\"",
                       (long long)number, SLICE_FMT(text));
    if (!known_form || text.len > META_MAX || !read_fields(rest, number == 2, meta)) {
        *meta = (struct meta){0};
        return err_set(detail, KA_ERR_ENVELOPE, "offset metadata that is not kasaga's: \"%.*s\"",
                       SLICE_FMT(text));
    }
    meta->present = true;
    return KA_OK;
}

bool meta_same_commit(const struct meta *a, const struct meta *b)
{
    return a->present && b->present && a->incarnation == b->incarnation && a->number == b->number &&
           slice_eq(a->node, b->node) && slice_eq(a->lane, b->lane);
}
