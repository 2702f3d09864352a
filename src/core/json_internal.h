// SPDX-License-Identifier: Apache-2.0
// What the json*.c files share: looking at strings eight bytes at a time. Not for other modules.
#ifndef KA_CORE_JSON_INTERNAL_H
#define KA_CORE_JSON_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define JSON_ONES 0x0101010101010101ULL
#define JSON_HIGHS 0x8080808080808080ULL

static inline bool json_is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline bool json_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline const char *json_skip_space(const char *at, const char *end)
{
    while (at < end && json_is_space(*at))
        at++;
    return at;
}

// Eight bytes, the first in the lowest place on every machine.
static inline uint64_t json_load(const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

// Which byte the lowest mark of a word stands for.
static inline int json_first(uint64_t marks)
{
    return __builtin_ctzll(marks) / 8;
}

// Marks the bytes of the word that are `byte`. The lowest mark is exact; above it there may be
// false ones.
static inline uint64_t json_has(uint64_t word, unsigned char byte)
{
    uint64_t diff = word ^ (JSON_ONES * byte);
    return (diff - JSON_ONES) & ~diff & JSON_HIGHS;
}

// The first quote or backslash at or after `at`, or `end`.
static inline const char *json_skip_plain(const char *at, const char *end)
{
    while (end - at >= 8) {
        uint64_t word = json_load(at);
        uint64_t marks = json_has(word, '"') | json_has(word, '\\');
        if (marks != 0)
            return at + json_first(marks);
        at += 8;
    }
    while (at < end && *at != '"' && *at != '\\')
        at++;
    return at;
}

// Behind the string whose opening quote is at `at`; never past `end`.
static inline const char *json_skip_string(const char *at, const char *end)
{
    at++;
    for (;;) {
        at = json_skip_plain(at, end);
        if (at >= end)
            return end;
        if (*at == '"')
            return at + 1;
        at = end - at >= 2 ? at + 2 : end;
    }
}

// The value of a hexadecimal digit, -1 if it is none.
static inline int json_hex(char c)
{
    if (json_is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

// The four digits behind "\u"; -1 if one of them is none.
static inline int32_t json_hex4(const char *at)
{
    int32_t unit = 0;
    for (int i = 0; i < 4; i++) {
        int digit = json_hex(at[i]);
        if (digit < 0)
            return -1;
        unit = unit * 16 + digit;
    }
    return unit;
}

#endif
