// SPDX-License-Identifier: Apache-2.0
#include "core/buf.h"

#include "core/assert.h"

#include <stdlib.h>

void buf_fini(struct buf *buf)
{
    free(buf->ptr);
    *buf = (struct buf){0};
}

char *buf_room(struct buf *buf, size_t more)
{
    size_t need = buf->len + more;
    KA_ASSERT(need >= more);
    if (need > buf->cap) {
        size_t cap = buf->cap < 256 ? 256 : buf->cap;
        while (cap < need)
            cap *= 2;
        char *grown = realloc(buf->ptr, cap);
        if (grown == NULL)
            abort();
        buf->ptr = grown;
        buf->cap = cap;
    }
    return buf->ptr + buf->len;
}

struct slice buf_take(const struct buf *buf, size_t from, struct arena *arena)
{
    KA_ASSERT(from <= buf->len);
    return arena_copy(arena, slice_of(buf->ptr == NULL ? "" : buf->ptr + from, buf->len - from));
}

void buf_put(struct buf *buf, const void *bytes, size_t len)
{
    if (len == 0)
        return;
    memcpy(buf_room(buf, len), bytes, len);
    buf->len += len;
}

void buf_slice_put(struct buf *buf, struct slice s)
{
    buf_put(buf, s.ptr, s.len);
}

void buf_str(struct buf *buf, const char *text)
{
    buf_put(buf, text, strlen(text));
}

void buf_byte(struct buf *buf, int byte)
{
    *buf_room(buf, 1) = (char)byte;
    buf->len++;
}

void buf_i64(struct buf *buf, int64_t value)
{
    char digits[24];
    size_t pos = sizeof digits;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        digits[--pos] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (value < 0)
        digits[--pos] = '-';
    buf_put(buf, digits + pos, sizeof digits - pos);
}

// Length of the valid UTF-8 sequence at `s`, 0 if it is not one (RFC 3629: no overlong forms, no
// surrogates, nothing above U+10FFFF).
static size_t utf8_length(const unsigned char *s, size_t left)
{
    static const unsigned char min_second[] = {0x80, 0x80, 0xA0, 0x90};
    if (s[0] < 0x80)
        return 1;
    size_t len = s[0] >= 0xC2 && s[0] <= 0xDF   ? 2
                 : (s[0] & 0xF0) == 0xE0        ? 3
                 : s[0] >= 0xF0 && s[0] <= 0xF4 ? 4
                                                : 0;
    if (len == 0 || left < len)
        return 0;
    unsigned char low = s[0] == 0xE0 || s[0] == 0xF0 ? min_second[len - 1] : 0x80;
    unsigned char high = s[0] == 0xED ? 0x9F : s[0] == 0xF4 ? 0x8F : 0xBF;
    if (s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    return len;
}

// The first byte at or behind `at` that is not UTF-8; s.len if there is none.
static size_t utf8_end(struct slice s, size_t at)
{
    const unsigned char *bytes = (const unsigned char *)s.ptr;
    while (at < s.len) {
        size_t len = bytes[at] < 0x80 ? 1 : utf8_length(bytes + at, s.len - at);
        if (len == 0)
            break;
        at += len;
    }
    return at;
}

struct slice buf_utf8(struct slice text, struct arena *arena)
{
    size_t at = utf8_end(text, 0);
    if (at == text.len)
        return text;
    char *copy = arena_alloc(arena, text.len);
    memcpy(copy, text.ptr, text.len);
    for (; at < text.len; at = utf8_end(text, at + 1))
        copy[at] = '?';
    return slice_of(copy, text.len);
}

static void put_escaped(struct buf *buf, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char shorts[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (size_t i = 0; i + 1 < sizeof shorts; i += 2) {
        if (c == (unsigned char)shorts[i]) {
            char two[2] = {'\\', shorts[i + 1]};
            buf_put(buf, two, 2);
            return;
        }
    }
    char six[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
    buf_put(buf, six, 6);
}

void buf_json_str(struct buf *buf, struct slice s)
{
    const unsigned char *bytes = (const unsigned char *)s.ptr;
    buf_byte(buf, '"');
    size_t start = 0; // of the run that needs no change
    size_t at = 0;
    while (at < s.len) {
        unsigned char c = bytes[at];
        size_t len = c < 0x80 ? 1 : utf8_length(bytes + at, s.len - at);
        if (len > 0 && c >= 0x20 && c != '"' && c != '\\' && c != 0x7F) {
            at += len;
            continue;
        }
        buf_put(buf, s.ptr + start, at - start);
        if (len == 0)
            buf_put(buf, "\xEF\xBF\xBD", 3);
        else
            put_escaped(buf, c);
        start = ++at;
    }
    if (s.len > start)
        buf_put(buf, s.ptr + start, s.len - start);
    buf_byte(buf, '"');
}

static void put_digits(char *at, int width, int64_t value)
{
    for (int i = width - 1; i >= 0; i--) {
        at[i] = (char)('0' + value % 10);
        value /= 10;
    }
}

void buf_time(struct buf *buf, int64_t unix_ms)
{
    // Days to civil date: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    KA_ASSERT(unix_ms >= 0);
    int64_t day_ms = unix_ms % 86400000;
    int64_t z = unix_ms / 86400000 + 719468;
    int64_t era = z / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    int64_t day = doy - (153 * mp + 2) / 5 + 1;
    int64_t month = mp < 10 ? mp + 3 : mp - 9;
    int64_t year = yoe + era * 400 + (month <= 2);
    char *at = buf_room(buf, 24);
    memcpy(at, "0000-00-00T00:00:00.000Z", 24);
    put_digits(at, 4, year);
    put_digits(at + 5, 2, month);
    put_digits(at + 8, 2, day);
    put_digits(at + 11, 2, day_ms / 3600000);
    put_digits(at + 14, 2, day_ms / 60000 % 60);
    put_digits(at + 17, 2, day_ms / 1000 % 60);
    put_digits(at + 20, 3, day_ms % 1000);
    buf->len += 24;
}

void buf_json_time(struct buf *buf, int64_t unix_ms)
{
    buf_byte(buf, '"');
    buf_time(buf, unix_ms);
    buf_byte(buf, '"');
}
