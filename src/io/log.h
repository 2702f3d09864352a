// SPDX-License-Identifier: Apache-2.0
// Log lines on stderr: key=value text or JSON, one write() per line, so lines of several threads
// never mix. One line per decision; never payloads, never secrets. Any thread.
//
//   log_info("lane", "claimed", "shard=%d offset=%lld owner=%s", shard, (long long)offset, owner);
//   time=2026-11-21T10:20:30.123Z level=info facility=lane event=claimed shard=7 offset=42
//   owner=a.1
//
// The format is a list of key=value separated by one space each. A value is one or more
// conversions with text between them; it is rendered, then quoted and escaped as a whole, so
// foreign bytes in a %s (control characters, quotes, bytes that are not UTF-8) cannot forge a
// line or a key. Conversions: %s %.*s %c %d %i %u %x %zu %zd %ld %lld %lu %llu (with width) %.Nf.
//
// Repeats: the same line (but for its time) is written 3 times in 10 s, the same event 200 times;
// what was left out is counted in `suppressed` of the next line that is written.
#ifndef KA_IO_LOG_H
#define KA_IO_LOG_H

#include "core/err.h"
#include "core/slice.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR, LOG_LEVEL_OFF };

struct log_config {
    enum log_level level; // lines below it are dropped; default LOG_LEVEL_INFO
    bool json;
    bool repeats; // true = write repeats too (tests)
    int fd;       // where to write; default 2
};
// Before threads are started; the default is level info, text, stderr.
void log_configure(const struct log_config *config);
// "debug", "info", "warn", "error", "off"; false if it is none of them.
bool log_level_parse(const char *name, enum log_level *level);
bool log_enabled(enum log_level level);

void log_debug(const char *facility, const char *event, const char *format, ...) KA_PRINTF(3, 4);
void log_info(const char *facility, const char *event, const char *format, ...) KA_PRINTF(3, 4);
void log_warn(const char *facility, const char *event, const char *format, ...) KA_PRINTF(3, 4);
void log_error(const char *facility, const char *event, const char *format, ...) KA_PRINTF(3, 4);
void log_at(enum log_level level, const char *facility, const char *event, const char *format, ...)
    KA_PRINTF(4, 5);
// A line without fields.
void log_event(enum log_level level, const char *facility, const char *event);

#endif
