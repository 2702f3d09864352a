// SPDX-License-Identifier: Apache-2.0
// Bytes that belong to somebody else: pointer and length, never a C string. A NULL pointer is
// "absent" (a Kafka null), which is not the same as an empty slice.
#ifndef KA_CORE_SLICE_H
#define KA_CORE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const char *ptr;
    size_t len;
};

#define SLICE_LIT(literal) ((struct slice){("" literal), sizeof(literal) - 1})
#define SLICE_NONE ((struct slice){NULL, 0})
// For "%.*s" in error texts and tests only; cut at 200 bytes.
#define SLICE_FMT(s) (int)((s).len > 200 ? 200 : (s).len), ((s).ptr == NULL ? "" : (s).ptr)

// Borrows the bytes of a C string of our own (configuration, literals).
static inline struct slice slice_str(const char *text)
{
    return (struct slice){text, text == NULL ? 0 : strlen(text)};
}

static inline struct slice slice_of(const void *ptr, size_t len)
{
    return (struct slice){(const char *)ptr, len};
}

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool slice_none(struct slice s)
{
    return s.ptr == NULL;
}

// A copy at *at, which moves behind it; what is absent stays so.
static inline struct slice slice_put(struct slice s, char **at)
{
    if (slice_none(s))
        return s;
    struct slice copy = {*at, s.len};
    if (s.len > 0)
        memcpy(*at, s.ptr, s.len);
    *at += s.len;
    return copy;
}

static inline bool slice_starts(struct slice s, struct slice prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

#endif
