// SPDX-License-Identifier: Apache-2.0
#include "core/record.h"

enum { DIGITS_MAX = 20 };

// Decimal digits of a number that is not negative, written backwards from `end`.
static char *digits_before(char *end, uint64_t value)
{
    do {
        *--end = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return end;
}

struct slice record_place(const struct record *record, struct arena *arena)
{
    size_t room = record->topic.len + 2 + 2 * DIGITS_MAX;
    char *text = arena_alloc(arena, room);
    char *at = digits_before(text + room, record->offset < 0 ? 0 : (uint64_t)record->offset);
    *--at = '/';
    at = digits_before(at, record->partition < 0 ? 0 : (uint64_t)record->partition);
    *--at = '/';
    at -= record->topic.len;
    memcpy(at, record->topic.ptr, record->topic.len);
    return slice_of(at, (size_t)(text + room - at));
}
