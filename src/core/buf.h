// SPDX-License-Identifier: Apache-2.0
// A growing byte buffer and the few writers that everything kasaga writes is made of.
// Single-threaded; grows by realloc and is reused, so a steady state allocates nothing.
#ifndef KA_CORE_BUF_H
#define KA_CORE_BUF_H

#include "core/arena.h"
#include "core/slice.h"

struct buf {
    char *ptr;
    size_t len;
    size_t cap;
};

// A zeroed struct is a valid empty buffer. Out of memory aborts, as in an arena.
void buf_fini(struct buf *buf);
static inline void buf_clear(struct buf *buf)
{
    buf->len = 0;
}
static inline struct slice buf_slice(const struct buf *buf)
{
    return (struct slice){buf->ptr == NULL ? "" : buf->ptr, buf->len};
}
// A copy in the arena of what was written since `from` (an earlier buf->len).
struct slice buf_take(const struct buf *buf, size_t from, struct arena *arena);

// Makes room for `more` bytes and returns where they go; the caller adds to buf->len.
char *buf_room(struct buf *buf, size_t more);

void buf_put(struct buf *buf, const void *bytes, size_t len);
void buf_slice_put(struct buf *buf, struct slice s);
void buf_str(struct buf *buf, const char *text); // a string of our own
void buf_byte(struct buf *buf, int byte);
void buf_i64(struct buf *buf, int64_t value); // decimal

// A JSON string with its quotes. Invalid UTF-8 becomes U+FFFD, controls are escaped.
void buf_json_str(struct buf *buf, struct slice s);
// The text if it is UTF-8; else a copy in the arena, as long, with '?' for each byte that is not.
struct slice buf_utf8(struct slice text, struct arena *arena);
// "2026-11-21T10:20:30.123Z" with quotes; unix milliseconds, UTC (RFC 3339).
void buf_json_time(struct buf *buf, int64_t unix_ms);
// The same without quotes.
void buf_time(struct buf *buf, int64_t unix_ms);

#endif
