// SPDX-License-Identifier: Apache-2.0
// Walking validated JSON in place. Every loop is bounded by the end of its slice, so a document
// that was not validated gives nonsense, never a read outside.
#include "core/json.h"

#include "core/json_internal.h"

struct slice json_trim(struct slice doc)
{
    if (slice_none(doc))
        return doc;
    const char *end = doc.ptr + doc.len;
    const char *at = json_skip_space(doc.ptr, end);
    while (end > at && json_is_space(end[-1]))
        end--;
    return slice_of(at, (size_t)(end - at));
}

enum json_type json_type(struct slice value)
{
    const char *end = value.len == 0 ? value.ptr : value.ptr + value.len;
    const char *at = json_skip_space(value.ptr, end);
    switch (at < end ? *at : 'n') {
    case '{':
        return JSON_OBJECT;
    case '[':
        return JSON_ARRAY;
    case '"':
        return JSON_STRING;
    case 't':
        return JSON_TRUE;
    case 'f':
        return JSON_FALSE;
    case 'n':
        return JSON_NULL;
    default:
        return JSON_NUMBER;
    }
}

// The first bracket, brace or quote at or after `at`, or `end`.
static inline const char *skip_to_structure(const char *at, const char *end)
{
    while (end - at >= 8) {
        uint64_t word = json_load(at);
        uint64_t folded = word | JSON_ONES * 0x20; // '[' and ']' become '{' and '}'
        uint64_t marks = json_has(folded, '{') | json_has(folded, '}') | json_has(word, '"');
        if (marks != 0)
            return at + json_first(marks);
        at += 8;
    }
    while (at < end && *at != '"' && (*at | 0x20) != '{' && (*at | 0x20) != '}')
        at++;
    return at;
}

// Behind the container whose opening bracket is at `at`. Brackets need not be told apart: the
// document is valid.
static const char *skip_container(const char *at, const char *end)
{
    size_t depth = 0;
    for (;;) {
        at = skip_to_structure(at, end);
        if (at >= end)
            return end;
        if (*at == '"') {
            at = json_skip_string(at, end);
            continue;
        }
        depth = (*at | 0x20) == '{' ? depth + 1 : depth - 1;
        at++;
        if (depth == 0)
            return at;
    }
}

static const char *skip_value(const char *at, const char *end)
{
    if (at >= end)
        return end;
    if (*at == '"')
        return json_skip_string(at, end);
    if (*at == '{' || *at == '[')
        return skip_container(at, end);
    while (at < end && *at != ',' && *at != '}' && *at != ']' && !json_is_space(*at))
        at++;
    return at;
}

struct json_walk json_walk(struct slice container)
{
    struct slice value = json_trim(container);
    if (value.len < 2 || (value.ptr[0] != '{' && value.ptr[0] != '['))
        return (struct json_walk){NULL, NULL, false};
    return (struct json_walk){value.ptr + 1, value.ptr + value.len - 1, value.ptr[0] == '{'};
}

bool json_next(struct json_walk *walk, struct slice *name, struct slice *value)
{
    const char *end = walk->end;
    const char *at = json_skip_space(walk->at, end);
    if (at < end && *at == ',')
        at = json_skip_space(at + 1, end);
    walk->at = at;
    if (at >= end)
        return false;
    *name = SLICE_NONE;
    if (walk->object) {
        at = json_skip_string(at, end);
        *name = slice_of(walk->at, (size_t)(at - walk->at));
        at = json_skip_space(at, end);
        if (at < end) // the colon
            at = json_skip_space(at + 1, end);
    }
    walk->at = skip_value(at, end);
    *value = slice_of(at, (size_t)(walk->at - at));
    return true;
}

// Writes a code point as UTF-8; returns its length.
static size_t encode_utf8(char *out, uint32_t code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

// Resolves the escape at *at (a backslash) into `out` (4 bytes); returns how many it gave.
static size_t decode_escape(const char **at, const char *end, char *out)
{
    static const char names[] = "bfnrt";
    static const char values[] = "\b\f\n\r\t";
    if (end - *at < 2) {
        *at = end;
        return 0;
    }
    char c = (*at)[1];
    if (c != 'u' || end - *at < 6) {
        const char *found = memchr(names, c, sizeof names - 1);
        *out = found == NULL ? c : values[found - names];
        *at += 2;
        return 1;
    }
    uint32_t code = (uint32_t)json_hex4(*at + 2) & 0xFFFF;
    *at += 6;
    if (code >= 0xD800 && code <= 0xDBFF && end - *at >= 6) {
        uint32_t low = (uint32_t)json_hex4(*at + 2) & 0xFFFF;
        code = 0x10000 + ((code - 0xD800) << 10) + ((low - 0xDC00) & 0x3FF);
        *at += 6;
    }
    return encode_utf8(out, code);
}

// The bytes between the quotes.
static struct slice inside(struct slice string)
{
    return string.len < 2 ? SLICE_LIT("") : slice_of(string.ptr + 1, string.len - 2);
}

struct slice json_text(struct slice value, struct arena *arena)
{
    struct slice raw = inside(json_trim(value));
    if (memchr(raw.ptr, '\\', raw.len) == NULL)
        return raw;
    char *out = arena_alloc(arena, raw.len); // an escape is never shorter than what it stands for
    size_t len = 0;
    const char *at = raw.ptr;
    const char *end = raw.ptr + raw.len;
    while (at < end) {
        if (*at == '\\')
            len += decode_escape(&at, end, out + len);
        else
            out[len++] = *at++;
    }
    return slice_of(out, len);
}

static bool same_with_escapes(struct slice raw, struct slice text)
{
    const char *at = raw.ptr;
    const char *end = raw.ptr + raw.len;
    size_t matched = 0;
    while (at < end) {
        char bytes[4] = {*at};
        size_t len = 1;
        if (*at == '\\')
            len = decode_escape(&at, end, bytes);
        else
            at++;
        if (text.len - matched < len || memcmp(text.ptr + matched, bytes, len) != 0)
            return false;
        matched += len;
    }
    return matched == text.len;
}

bool json_text_is(struct slice value, struct slice text)
{
    struct slice raw = inside(value);
    if (raw.len == text.len && (raw.len == 0 || memcmp(raw.ptr, text.ptr, raw.len) == 0))
        return memchr(raw.ptr, '\\', raw.len) == NULL || same_with_escapes(raw, text);
    if (raw.len <= text.len || memchr(raw.ptr, '\\', raw.len) == NULL)
        return false;
    return same_with_escapes(raw, text);
}

struct slice json_member(struct slice object, struct slice name)
{
    struct slice found = SLICE_NONE;
    struct json_walk walk = json_walk(object);
    if (!walk.object)
        return found;
    struct slice key;
    struct slice value;
    while (json_next(&walk, &key, &value))
        if (json_text_is(key, name))
            found = value;
    return found;
}

static int64_t count_elements(struct json_walk walk)
{
    struct slice name;
    struct slice value;
    int64_t count = 0;
    while (json_next(&walk, &name, &value))
        count++;
    return count;
}

struct slice json_element(struct slice array, int64_t index)
{
    struct json_walk walk = json_walk(array);
    if (walk.object)
        return SLICE_NONE;
    if (index < 0)
        index += count_elements(walk);
    if (index < 0)
        return SLICE_NONE;
    struct slice name;
    struct slice value;
    for (int64_t i = 0; json_next(&walk, &name, &value); i++)
        if (i == index)
            return value;
    return SLICE_NONE;
}
