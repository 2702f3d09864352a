// SPDX-License-Identifier: Apache-2.0
// Looks at the text before libconfig does. What makes that necessary (libconfig 1.5):
//  1. An integer without L that does not fit into 32 bits wraps: 5000000000 becomes 705032704, and
//     nothing shows it afterwards.
//  2. Its scanner ends the process when a file is a directory or cannot be read to its end.
//  3. An include that is missing is reported, but not by name.
// Strings, comments and names are skipped by the same rules as libconfig's scanner.
#include "io/conf_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct scan {
    struct conf *conf;
    const char *file;
    const char *dir; // of the main file; NULL = includes are refused
    const char *at;
    const char *end;
    int line;
    int depth;
    int *files;
    bool good;
};

bool conf_read(struct arena *memory, const char *path, struct conf_text *text, const char **why)
{
    struct stat st;
    *why = "is not a regular file";
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        *why = errno == ENOENT ? "does not exist" : "cannot be opened";
        return false;
    }
    bool good = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    if (good && st.st_size > CONF_FILE_MAX) {
        *why = "is larger than 1 MiB";
        good = false;
    }
    if (good) {
        *text =
            (struct conf_text){.file = path, .bytes = arena_alloc(memory, (size_t)st.st_size + 1)};
        ssize_t got = 1;
        while (got > 0 && text->len < (size_t)st.st_size) {
            got = read(fd, text->bytes + text->len, (size_t)st.st_size - text->len);
            text->len += got > 0 ? (size_t)got : 0;
        }
        text->bytes[text->len] = '\0';
        *why = "cannot be read";
        good = got >= 0;
    }
    close(fd);
    return good;
}

static bool is_name_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '*';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static char peek(const struct scan *scan, size_t ahead)
{
    return (size_t)(scan->end - scan->at) > ahead ? scan->at[ahead] : '\0';
}

static void step(struct scan *scan)
{
    if (*scan->at == '\n')
        scan->line++;
    scan->at++;
}

static void fail(struct scan *scan, const char *text)
{
    conf_error_at(scan->conf, scan->file, scan->line, "%s", text);
    scan->good = false;
}

static void skip_string(struct scan *scan)
{
    for (step(scan); scan->at < scan->end && *scan->at != '"'; step(scan))
        if (*scan->at == '\\' && scan->at + 1 < scan->end)
            step(scan);
    if (scan->at < scan->end)
        step(scan);
}

static void skip_line(struct scan *scan)
{
    while (scan->at < scan->end && *scan->at != '\n')
        step(scan);
}

static void skip_comment(struct scan *scan)
{
    for (scan->at += 2; scan->at < scan->end; step(scan)) {
        if (*scan->at == '*' && peek(scan, 1) == '/') {
            scan->at += 2;
            return;
        }
    }
}

// Whether the digits at `from` fit into the type that libconfig gives them.
static bool fits(const char *from, size_t len, int base, bool negative, bool is_long)
{
    uint64_t value = 0;
    uint64_t max = is_long ? (uint64_t)INT64_MAX : (uint64_t)INT32_MAX;
    for (size_t i = 0; i < len; i++) {
        char c = from[i];
        uint64_t digit = (uint64_t)(is_digit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
        if (value > (max + negative - digit) / (uint64_t)base)
            return false;
        value = value * (uint64_t)base + digit;
    }
    return value <= max + negative;
}

static void skip_number(struct scan *scan)
{
    bool negative = *scan->at == '-';
    const char *start = scan->at;
    if (*scan->at == '-' || *scan->at == '+')
        scan->at++;
    bool hex = *scan->at == '0' && (peek(scan, 1) | 0x20) == 'x';
    scan->at += hex ? 2 : 0;
    const char *digits = scan->at;
    while (scan->at < scan->end && (hex ? is_hex(*scan->at) : is_digit(*scan->at)))
        scan->at++;
    size_t len = (size_t)(scan->at - digits);
    if (!hex && (peek(scan, 0) == '.' || (peek(scan, 0) | 0x20) == 'e')) {
        while (scan->at < scan->end && (is_digit(*scan->at) || *scan->at == '.' ||
                                        (*scan->at | 0x20) == 'e' || scan->at[-1] == 'e'))
            scan->at++;
        return;
    }
    bool is_long = peek(scan, 0) == 'L';
    if (!fits(digits, len, hex ? 16 : 10, negative, is_long)) {
        fail(scan,
             conf_text(scan->conf, "the integer %.*s does not fit into %s", (int)(scan->at - start),
                       start, is_long ? "64 bits" : "32 bits: write an L after it"));
    }
    while (peek(scan, 0) == 'L')
        scan->at++;
}

static void scan_all(struct scan *scan);

static void include(struct scan *scan, const char *name)
{
    struct conf_text text;
    const char *why = "";
    if (scan->dir == NULL) {
        fail(scan, "@include is not possible here");
        return;
    }
    if (name[0] == '/') {
        fail(scan, "@include: write the name relative to the directory of the main file");
        return;
    }
    if (scan->depth >= CONF_INCLUDE_DEPTH || *scan->files >= CONF_FILES_MAX) {
        fail(scan, "@include: includes are nested too deep, or there are too many");
        return;
    }
    ++*scan->files;
    const char *path = conf_text(scan->conf, "%s/%s", scan->dir, name);
    if (!conf_read(scan->conf->memory, path, &text, &why)) {
        fail(scan, conf_text(scan->conf, "@include: %s %s", path, why));
        return;
    }
    struct scan inner = *scan;
    inner.file = path;
    inner.at = text.bytes;
    inner.end = text.bytes + text.len;
    inner.line = 1;
    inner.depth++;
    scan_all(&inner);
    scan->good = scan->good && inner.good;
}

// `@include "name"`: names with escapes are read as libconfig does.
static void scan_include(struct scan *scan)
{
    const struct slice word = SLICE_LIT("@include");
    char name[512];
    size_t len = 0;
    struct slice rest = slice_of(scan->at, (size_t)(scan->end - scan->at));
    if (!slice_starts(rest, word)) {
        scan->at++;
        return;
    }
    scan->at += word.len;
    while (peek(scan, 0) == ' ' || peek(scan, 0) == '\t')
        scan->at++;
    if (peek(scan, 0) != '"')
        return; // libconfig will say so
    for (scan->at++; scan->at < scan->end && *scan->at != '"' && *scan->at != '\n'; scan->at++) {
        if (*scan->at == '\\' && (peek(scan, 1) == '\\' || peek(scan, 1) == '"'))
            scan->at++;
        if (len < sizeof name - 1)
            name[len++] = *scan->at;
    }
    name[len] = '\0';
    if (peek(scan, 0) == '"')
        scan->at++;
    include(scan, name);
}

static void scan_all(struct scan *scan)
{
    if (memchr(scan->at, '\0', (size_t)(scan->end - scan->at)) != NULL) {
        fail(scan, "the file has a NUL byte: it is not text");
        return;
    }
    while (scan->at < scan->end) {
        char c = *scan->at;
        char next = peek(scan, 1);
        if (c == '"')
            skip_string(scan);
        else if (c == '#' || (c == '/' && next == '/'))
            skip_line(scan);
        else if (c == '/' && next == '*')
            skip_comment(scan);
        else if (c == '@')
            scan_include(scan);
        else if (is_digit(c) || ((c == '-' || c == '+') && is_digit(next)))
            skip_number(scan);
        else if (is_name_start(c))
            for (scan->at++; is_name_start(peek(scan, 0)) || is_digit(peek(scan, 0)) ||
                             peek(scan, 0) == '_' || peek(scan, 0) == '-';)
                scan->at++;
        else
            step(scan);
    }
}

bool conf_scan_text(struct conf *conf, const struct conf_text *text)
{
    int files = 1;
    struct scan scan = {.conf = conf,
                        .file = text->file == NULL ? "" : text->file,
                        .at = text->bytes,
                        .end = text->bytes + text->len,
                        .line = 1,
                        .files = &files,
                        .good = true};
    if (text->file != NULL) {
        const char *slash = strrchr(text->file, '/');
        size_t len = slash == NULL ? 0 : (size_t)(slash - text->file);
        scan.dir = slash == NULL ? "."
                   : len == 0    ? ""
                                 : conf_text(conf, "%.*s", (int)len, text->file);
    }
    scan_all(&scan);
    return scan.good;
}

bool conf_scan_file(struct conf *conf, const char *path)
{
    struct conf_text text;
    const char *why = "";
    if (conf_read(conf->memory, path, &text, &why))
        return conf_scan_text(conf, &text);
    conf_error_at(conf, path, 0, "the file %s", why);
    return false;
}
