// SPDX-License-Identifier: Apache-2.0
// Single values: durations, sizes, names, and the name that was probably meant.
#include "io/conf_int.h"

struct unit {
    const char *name;
    int64_t factor;
};

static const struct unit durations[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000},
};

// In each row of one factor the first is the name that is shown.
static const struct unit sizes[] = {
    {"B", 1},       {"kB", 1000},     {"k", 1000},        {"KiB", 1 << 10},  {"MB", 1000000},
    {"M", 1000000}, {"MiB", 1 << 20}, {"GB", 1000000000}, {"G", 1000000000}, {"GiB", 1 << 30},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool parse(const char *text, const struct unit *units, size_t count, int64_t *value)
{
    int64_t number = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (number > (INT64_MAX - 9) / 10)
            return false;
        number = number * 10 + (*at - '0');
    }
    if (at == text)
        return false;
    while (*at == ' ')
        at++;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(at, units[i].name) != 0)
            continue;
        if (number > INT64_MAX / units[i].factor)
            return false;
        *value = number * units[i].factor;
        return true;
    }
    return false;
}

bool conf_duration(const char *text, int64_t *ms, const char **why)
{
    *why = "a whole number with one of the units ms, s, m, h, d, for example \"30s\" or \"250ms\"";
    return parse(text, durations, COUNT(durations), ms);
}

bool conf_size(const char *text, int64_t *bytes, const char **why)
{
    *why = "a whole number with one of the units B, kB, MB, GB, KiB, MiB, GiB, for example "
           "\"64MiB\"";
    return parse(text, sizes, COUNT(sizes), bytes);
}

static void show(int64_t value, const struct unit *units, size_t count, struct buf *buf)
{
    const struct unit *best = &units[0];
    for (size_t i = 0; i < count; i++)
        if (value % units[i].factor == 0 && units[i].factor > best->factor && value > 0)
            best = &units[i];
    buf_i64(buf, value / best->factor);
    buf_str(buf, best->name);
}

void conf_show_duration(int64_t ms, struct buf *buf)
{
    show(ms, durations, COUNT(durations), buf);
}

void conf_show_size(int64_t bytes, struct buf *buf)
{
    show(bytes, sizes, COUNT(sizes), buf);
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_topic_char(char c)
{
    return is_letter(c) || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
}

bool conf_is_name(const char *text, bool dots, const char **why)
{
    *why = dots ? "letters, digits, \"_\", \"-\" and \".\", at most 63, the first of them a letter"
                : "letters, digits, \"_\" and \"-\" (no dots), at most 63, the first of them a "
                  "letter";
    if (!is_letter(text[0]) || strlen(text) > CONF_NAME_MAX)
        return false;
    for (; *text != '\0'; text++)
        if (!is_topic_char(*text) || (*text == '.' && !dots))
            return false;
    return true;
}

bool conf_is_topic(const char *text, const char **why)
{
    *why = "a topic's name: letters, digits, \".\", \"_\" and \"-\", at most 249";
    size_t len = strlen(text);
    if (len == 0 || len > 249 || strcmp(text, ".") == 0 || strcmp(text, "..") == 0)
        return false;
    for (; *text != '\0'; text++)
        if (!is_topic_char(*text))
            return false;
    return true;
}

// Levenshtein, one row; both are short.
static size_t distance(const char *a, const char *b)
{
    size_t row[CONF_NAME_MAX + 2];
    size_t len = strlen(b);
    if (len > CONF_NAME_MAX || strlen(a) > CONF_NAME_MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= len; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= len; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            best = row[j] + 1 < best ? row[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[len];
}

void conf_near_try(struct conf_near *near, const char *name)
{
    size_t d = distance(near->wanted, name);
    if (near->best != NULL && d >= near->distance)
        return;
    near->best = name;
    near->distance = d;
}

const char *conf_near_best(const struct conf_near *near)
{
    if (near->best == NULL || near->distance > 3 || 2 * near->distance > strlen(near->wanted))
        return NULL;
    return near->best;
}
