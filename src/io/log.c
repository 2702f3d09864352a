// SPDX-License-Identifier: Apache-2.0
// Formats into a fixed buffer (a line that does not fit is cut and says so) and writes once.
//
// Why not vsnprintf for the whole line: a value that comes from outside must be escaped as a
// value, so the format is walked here and each value is rendered on its own.
#include "io/log.h"

#include "core/buf.h"
#include "core/hash.h"
#include "io/clock.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum {
    LINE_MAX_BYTES = 4096,
    VALUE_MAX_BYTES = 1024,
    WINDOW_MS = 10000,
    SAME_LINE_MAX = 3,
    SAME_EVENT_MAX = 200,
    REPEAT_SLOTS = 256 // a power of two; a collision only forgets a count
};

static const char *const level_names[] = {"debug", "info", "warn", "error", "off"};
static struct log_config settings = {.level = LOG_LEVEL_INFO, .fd = 2};

struct repeat {
    uint64_t hash;
    int64_t window_ms; // when it began
    int32_t count;
    int32_t suppressed;
};
static pthread_mutex_t repeats_lock = PTHREAD_MUTEX_INITIALIZER;
static struct repeat repeats[REPEAT_SLOTS];

struct line {
    char bytes[LINE_MAX_BYTES];
    size_t len;
    size_t fields_at; // what the hash of a repeat starts from
    bool cut;
};

void log_configure(const struct log_config *config)
{
    settings = *config;
}

bool log_level_parse(const char *name, enum log_level *level)
{
    for (size_t i = 0; i < sizeof level_names / sizeof level_names[0]; i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

bool log_enabled(enum log_level level)
{
    return level >= settings.level && settings.level != LOG_LEVEL_OFF;
}

static void put(struct line *line, const char *bytes, size_t len)
{
    if (line->cut || len > sizeof line->bytes - 64 - line->len) { // the end always fits
        line->cut = true;
        return;
    }
    memcpy(line->bytes + line->len, bytes, len);
    line->len += len;
}

static void put_str(struct line *line, const char *text)
{
    put(line, text, strlen(text));
}

// Length of the UTF-8 sequence at `at`, 0 if it is not one (RFC 3629).
static size_t utf8_len(const unsigned char *at, size_t left)
{
    size_t len = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    if (len == 0 || at[0] > 0xf4 || len > left)
        return 0;
    for (size_t i = 1; i < len; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    }
    bool low = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90);
    bool high = (at[0] == 0xed && at[1] > 0x9f) || (at[0] == 0xf4 && at[1] > 0x8f);
    return low || high ? 0 : len;
}

// A JSON string; the text form uses the same quoting.
static void put_quoted(struct line *line, const char *value, size_t len)
{
    put(line, "\"", 1);
    for (size_t i = 0; i < len;) {
        unsigned char byte = (unsigned char)value[i];
        const unsigned char *at = (const unsigned char *)value + i;
        size_t step = utf8_len(at, len - i);
        char escape[8];
        if (step == 0) {
            put_str(line, "\\ufffd");
            i++;
            continue;
        }
        if (byte == '"' || byte == '\\') {
            put(line, "\\", 1);
            put(line, value + i, 1);
        } else if (byte == '\n') {
            put_str(line, "\\n");
        } else if (byte < 0x20 || byte == 0x7f) {
            snprintf(escape, sizeof escape, "\\u%04x", byte);
            put_str(line, escape);
        } else {
            put(line, value + i, step);
        }
        i += step;
    }
    put(line, "\"", 1);
}

static bool is_plain(const char *value, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)value[i];
        if (byte <= ' ' || byte >= 0x7f || byte == '"' || byte == '=' || byte == '\\')
            return false;
    }
    return len > 0;
}

static void put_field(struct line *line, struct slice key, const char *value, size_t len,
                      bool number)
{
    size_t before = line->len;
    if (settings.json) {
        put(line, line->len == 1 ? "\"" : ",\"", line->len == 1 ? 1 : 2);
        put(line, key.ptr, key.len);
        put_str(line, "\":");
    } else {
        if (line->len > 0)
            put(line, " ", 1);
        put(line, key.ptr, key.len);
        put(line, "=", 1);
    }
    if (number || (!settings.json && is_plain(value, len)))
        put(line, value, len);
    else
        put_quoted(line, value, len);
    if (line->cut) // a field is there as a whole or not at all
        line->len = before;
}

struct value {
    char bytes[VALUE_MAX_BYTES];
    size_t len;
    int conversions;
    bool text; // a literal, %s, %c or %x is in it: not a JSON number
};

static void value_put(struct value *value, const char *bytes, size_t len)
{
    size_t room = sizeof value->bytes - value->len;
    if (len > room)
        len = room;
    memcpy(value->bytes + value->len, bytes, len);
    value->len += len;
}

struct spec {
    int width;
    int precision; // -1 = none
    int longs;     // 0 int, 1 long, 2 long long, 3 size_t
    char conversion;
};

static const char *parse_spec(const char *at, struct spec *spec, va_list *args)
{
    *spec = (struct spec){.precision = -1};
    for (; *at >= '0' && *at <= '9'; at++)
        spec->width = spec->width * 10 + (*at - '0');
    if (*at == '.' && at[1] == '*') {
        spec->precision = va_arg(*args, int);
        at += 2;
    } else if (*at == '.') {
        spec->precision = 0;
        for (at++; *at >= '0' && *at <= '9'; at++)
            spec->precision = spec->precision * 10 + (*at - '0');
    }
    for (; *at == 'l' || *at == 'z' || *at == 'j'; at++)
        spec->longs += *at == 'l' ? 1 : 3;
    spec->conversion = *at;
    return *at == '\0' ? at : at + 1;
}

static void put_integer(struct value *value, const struct spec *spec, va_list *args)
{
    char digits[32];
    int width = spec->width > 20 ? 20 : spec->width;
    int len = 0;
    if (spec->conversion == 'd' || spec->conversion == 'i') {
        intmax_t number = spec->longs == 0   ? va_arg(*args, int)
                          : spec->longs == 1 ? va_arg(*args, long)
                          : spec->longs == 2 ? va_arg(*args, long long)
                                             : va_arg(*args, ssize_t);
        len = snprintf(digits, sizeof digits, "%*jd", width, number);
    } else {
        uintmax_t number = spec->longs == 0   ? va_arg(*args, unsigned)
                           : spec->longs == 1 ? va_arg(*args, unsigned long)
                           : spec->longs == 2 ? va_arg(*args, unsigned long long)
                                              : va_arg(*args, size_t);
        len = spec->conversion == 'x' ? snprintf(digits, sizeof digits, "%0*jx", width, number)
                                      : snprintf(digits, sizeof digits, "%*ju", width, number);
        value->text |= spec->conversion == 'x';
    }
    value_put(value, digits, (size_t)len);
}

static void put_conversion(struct value *value, const struct spec *spec, va_list *args)
{
    char small[64];
    value->conversions++;
    switch (spec->conversion) {
    case 's': {
        const char *text = va_arg(*args, const char *);
        value->text = true;
        if (text == NULL)
            text = "";
        value_put(value, text,
                  spec->precision < 0 ? strlen(text) : strnlen(text, (size_t)spec->precision));
        return;
    }
    case 'c':
        small[0] = (char)va_arg(*args, int);
        value->text = true;
        value_put(value, small, 1);
        return;
    case 'f': {
        int len = snprintf(small, sizeof small, "%.*f", spec->precision < 0 ? 6 : spec->precision,
                           va_arg(*args, double));
        value_put(value, small, len < (int)sizeof small ? (size_t)len : sizeof small - 1);
        return;
    }
    case 'd':
    case 'i':
    case 'u':
    case 'x':
        put_integer(value, spec, args);
        return;
    default: // not one of ours: the rest of the arguments cannot be read
        value->text = true;
        value_put(value, "?", 1);
    }
}

static void put_fields(struct line *line, const char *format, va_list *args)
{
    const char *at = format;
    while (*at != '\0') {
        const char *key = at;
        while (*at != '\0' && *at != '=' && *at != ' ')
            at++;
        struct slice name = {key, (size_t)(at - key)};
        struct value value = {.len = 0, .conversions = 0, .text = false};
        if (*at == '=')
            at++;
        while (*at != '\0' && *at != ' ') {
            struct spec spec;
            if (*at == '%' && at[1] != '%') {
                at = parse_spec(at + 1, &spec, args);
                put_conversion(&value, &spec, args);
                continue;
            }
            at += *at == '%';
            value.text = true;
            value_put(&value, at++, 1);
        }
        put_field(line, name, value.bytes, value.len, !value.text && value.conversions == 1);
        at += *at == ' ';
    }
}

// Counts one more of this hash; false when it is one too many.
static bool admit(uint64_t hash, int32_t most, int64_t now_ms, int32_t *suppressed)
{
    struct repeat *slot = &repeats[hash & (REPEAT_SLOTS - 1)];
    if (slot->hash != hash || now_ms - slot->window_ms >= WINDOW_MS || now_ms < slot->window_ms) {
        *suppressed += slot->hash == hash ? slot->suppressed : 0;
        *slot = (struct repeat){.hash = hash, .window_ms = now_ms};
    }
    if (slot->count >= most) {
        slot->suppressed++;
        return false;
    }
    slot->count++;
    return true;
}

static bool worth_writing(const struct line *line, const char *facility, const char *event,
                          int64_t now_ms, int32_t *suppressed)
{
    struct slice fields = {line->bytes + line->fields_at, line->len - line->fields_at};
    uint64_t kind = hash_bytes(slice_str(event), hash_bytes(slice_str(facility), 1));
    uint64_t whole = hash_bytes(fields, kind);
    pthread_mutex_lock(&repeats_lock);
    bool yes = admit(whole, SAME_LINE_MAX, now_ms, suppressed) &&
               admit(kind, SAME_EVENT_MAX, now_ms, suppressed);
    pthread_mutex_unlock(&repeats_lock);
    return yes;
}

static void write_line(enum log_level level, const char *facility, const char *event,
                       const char *format, va_list *args)
{
    struct line line = {.len = 0};
    int64_t now_ms = clock_now_ms();
    struct buf time = {0};
    buf_time(&time, now_ms);
    if (settings.json)
        put(&line, "{", 1);
    put_field(&line, SLICE_LIT("time"), time.ptr, time.len, false);
    buf_fini(&time);
    put_field(&line, SLICE_LIT("level"), level_names[level], strlen(level_names[level]), false);
    put_field(&line, SLICE_LIT("facility"), facility, strlen(facility), false);
    put_field(&line, SLICE_LIT("event"), event, strlen(event), false);
    line.fields_at = line.len;
    if (args != NULL)
        put_fields(&line, format, args);
    int32_t suppressed = 0;
    if (!settings.repeats && !worth_writing(&line, facility, event, now_ms, &suppressed))
        return;
    // The rest uses the room that `put` keeps free.
    int left = snprintf(line.bytes + line.len, sizeof line.bytes - line.len, "%s",
                        !line.cut       ? ""
                        : settings.json ? ",\"cut\":true"
                                        : " cut=true");
    line.len += (size_t)left;
    if (suppressed > 0) {
        left = snprintf(line.bytes + line.len, sizeof line.bytes - line.len,
                        settings.json ? ",\"suppressed\":%" PRId32 : " suppressed=%" PRId32,
                        suppressed);
        line.len += (size_t)left;
    }
    if (settings.json)
        line.bytes[line.len++] = '}';
    line.bytes[line.len++] = '\n';
    ssize_t written = write(settings.fd, line.bytes, line.len);
    (void)written; // there is nowhere to report it
}

void log_at(enum log_level level, const char *facility, const char *event, const char *format, ...)
{
    if (!log_enabled(level))
        return;
    va_list args;
    va_start(args, format);
    write_line(level, facility, event, format, &args);
    va_end(args);
}

void log_event(enum log_level level, const char *facility, const char *event)
{
    if (log_enabled(level))
        write_line(level, facility, event, NULL, NULL);
}

#define DEFINE_LEVEL(name, level)                                                                  \
    void name(const char *facility, const char *event, const char *format, ...)                    \
    {                                                                                              \
        if (!log_enabled(level))                                                                   \
            return;                                                                                \
        va_list args;                                                                              \
        va_start(args, format);                                                                    \
        write_line(level, facility, event, format, &args);                                         \
        va_end(args);                                                                              \
    }
DEFINE_LEVEL(log_debug, LOG_LEVEL_DEBUG)
DEFINE_LEVEL(log_info, LOG_LEVEL_INFO)
DEFINE_LEVEL(log_warn, LOG_LEVEL_WARN)
DEFINE_LEVEL(log_error, LOG_LEVEL_ERROR)
