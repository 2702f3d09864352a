// SPDX-License-Identifier: Apache-2.0
// JSON made of JSON: merging two objects and dropping white space, by copying slices.
#include "core/hash.h"
#include "core/json.h"
#include "core/json_internal.h"

// Open addressing over the names of the winner's members; absent slots are free. Both documents are
// walked once, so two large objects do not cost the product of their sizes.
enum { SLOTS_SMALL = 64 };
struct names {
    struct arena arena; // escaped names, and the slots when there are many
    struct slice small[SLOTS_SMALL];
    struct slice *slots;
    size_t mask;
};

static size_t count_members(struct slice object)
{
    struct json_walk walk = json_walk(object);
    struct slice name;
    struct slice value;
    size_t count = 0;
    while (json_next(&walk, &name, &value))
        count++;
    return count;
}

static struct slice *find_slot(const struct names *names, struct slice text)
{
    size_t at = (size_t)hash_bytes(text, 0) & names->mask;
    while (!slice_none(names->slots[at]) && !slice_eq(names->slots[at], text))
        at = (at + 1) & names->mask;
    return &names->slots[at];
}

static void index_names(struct names *names, struct slice object)
{
    size_t count = count_members(object);
    size_t size = SLOTS_SMALL;
    while (size < count * 2)
        size *= 2;
    names->slots = size == SLOTS_SMALL ? memset(names->small, 0, sizeof names->small)
                                       : arena_zalloc(&names->arena, size * sizeof *names->slots);
    names->mask = size - 1;
    struct json_walk walk = json_walk(object);
    struct slice name;
    struct slice value;
    while (json_next(&walk, &name, &value)) {
        struct slice text = json_text(name, &names->arena);
        *find_slot(names, text) = text;
    }
}

static void put_member(struct buf *buf, size_t start, struct slice name, struct slice value)
{
    buf_byte(buf, buf->len == start ? '{' : ',');
    buf_slice_put(buf, name);
    buf_byte(buf, ':');
    buf_slice_put(buf, value);
}

enum { PLAIN_MAX = 8 };

static bool is_plain(struct slice name)
{
    return memchr(name.ptr, '\\', name.len) == NULL;
}

// The members' names as they stand, if they are few and without escapes.
static bool plain_names(struct slice object, struct slice names[PLAIN_MAX], size_t *count)
{
    struct slice name;
    struct slice value;
    *count = 0;
    for (struct json_walk walk = json_walk(object); json_next(&walk, &name, &value);) {
        if (*count == PLAIN_MAX || !is_plain(name))
            return false;
        names[(*count)++] = name;
    }
    return true;
}

static bool among(struct slice name, const struct slice *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (slice_eq(names[i], name))
            return true;
    return false;
}

// The common case, a result of a few members: no hashing. False if it does not apply; what was
// written is taken back.
static bool merge_plain(struct buf *buf, struct slice a, struct slice b)
{
    size_t start = buf->len;
    struct slice names[PLAIN_MAX];
    size_t count;
    struct slice name;
    struct slice value;
    if (!plain_names(b, names, &count))
        return false;
    for (struct json_walk walk = json_walk(a); json_next(&walk, &name, &value);) {
        if (!is_plain(name)) {
            buf->len = start;
            return false;
        }
        if (!among(name, names, count))
            put_member(buf, start, name, value);
    }
    return true;
}

static void merge_any(struct buf *buf, struct slice a, struct slice b)
{
    size_t start = buf->len;
    struct names names;
    arena_init(&names.arena);
    index_names(&names, b);
    struct slice name;
    struct slice value;
    for (struct json_walk walk = json_walk(a); json_next(&walk, &name, &value);)
        if (slice_none(*find_slot(&names, json_text(name, &names.arena))))
            put_member(buf, start, name, value);
    arena_fini(&names.arena);
}

void json_merge(struct buf *buf, struct slice a, struct slice b)
{
    size_t start = buf->len;
    if (!merge_plain(buf, a, b))
        merge_any(buf, a, b);
    struct slice name;
    struct slice value;
    for (struct json_walk walk = json_walk(b); json_next(&walk, &name, &value);)
        put_member(buf, start, name, value);
    if (buf->len == start)
        buf_byte(buf, '{');
    buf_byte(buf, '}');
}

void json_compact(struct buf *buf, struct slice value)
{
    if (slice_none(value))
        return;
    const char *at = value.ptr;
    const char *end = value.ptr + value.len;
    const char *run = at; // start of what is kept
    while (at < end) {
        if (*at == '"') {
            at = json_skip_string(at, end);
        } else if (json_is_space(*at)) {
            buf_put(buf, run, (size_t)(at - run));
            at = json_skip_space(at, end);
            run = at;
        } else {
            at++;
        }
    }
    buf_put(buf, run, (size_t)(at - run));
}
