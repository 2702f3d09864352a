// SPDX-License-Identifier: Apache-2.0
#include "core/trace.h"

#include "core/hash.h"

enum { TRACE_AT = 3, TRACE_LEN = 32, SPAN_AT = 36, SPAN_LEN = 16, FLAGS_AT = 53 };

static bool is_hex(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        bool digit = s.ptr[i] >= '0' && s.ptr[i] <= '9';
        bool letter = s.ptr[i] >= 'a' && s.ptr[i] <= 'f';
        if (!digit && !letter)
            return false;
    }
    return true;
}

static bool is_zero(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] != '0')
            return false;
    return true;
}

bool trace_parent_ok(struct slice traceparent)
{
    const char *at = traceparent.ptr;
    if (traceparent.len < TRACE_PARENT_LEN || at[2] != '-' || at[SPAN_AT - 1] != '-' ||
        at[FLAGS_AT - 1] != '-')
        return false;
    struct slice version = slice_of(at, 2);
    struct slice trace = slice_of(at + TRACE_AT, TRACE_LEN);
    struct slice span = slice_of(at + SPAN_AT, SPAN_LEN);
    if (!is_hex(version) || !is_hex(trace) || !is_hex(span) || !is_hex(slice_of(at + FLAGS_AT, 2)))
        return false;
    if (slice_eq(version, SLICE_LIT("ff")) || is_zero(trace) || is_zero(span))
        return false;
    // Version 00 ends here; what a later version adds begins with a dash.
    if (traceparent.len > TRACE_PARENT_LEN)
        return !is_zero(version) && at[TRACE_PARENT_LEN] == '-';
    return true;
}

struct slice trace_child(struct slice parent, uint64_t seed, char room[TRACE_PARENT_LEN])
{
    static const char hex[] = "0123456789abcdef";
    if (!trace_parent_ok(parent))
        return parent;
    memcpy(room, parent.ptr, TRACE_PARENT_LEN);
    room[0] = room[1] = '0'; // what we write is version 00
    uint64_t id = hash_bytes(slice_of(parent.ptr + SPAN_AT, SPAN_LEN), seed);
    id = id == 0 ? 1 : id;
    for (int i = SPAN_LEN; i-- > 0; id >>= 4)
        room[SPAN_AT + i] = hex[id & 15];
    return slice_of(room, TRACE_PARENT_LEN);
}
