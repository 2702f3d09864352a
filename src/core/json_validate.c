// SPDX-License-Identifier: Apache-2.0
// The door: the grammar of RFC 8259 by recursive descent, UTF-8 as in RFC 3629. Recursion is
// bounded by JSON_DEPTH_MAX. Each check returns where it stopped, or NULL with the reason noted;
// nothing but the failing document pays for the reason.
#include "core/json.h"
#include "core/json_internal.h"

struct checker {
    const char *end;
    const char *wrong; // where the fault is
    const char *why;
    int depth;
};

static const char *check_value(struct checker *checker, const char *at);

static const char *fail(struct checker *checker, const char *at, const char *why)
{
    checker->wrong = at;
    checker->why = why;
    return NULL;
}

// Behind one UTF-8 sequence whose first byte is 0x80 or above.
static const char *check_utf8(struct checker *checker, const char *at)
{
    unsigned char first = (unsigned char)at[0];
    int len = first >= 0xC2 && first <= 0xDF   ? 2
              : (first & 0xF0) == 0xE0         ? 3
              : first >= 0xF0 && first <= 0xF4 ? 4
                                               : 0;
    if (len == 0 || checker->end - at < len)
        return fail(checker, at, "invalid UTF-8");
    unsigned char second = (unsigned char)at[1];
    unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (second < low || second > high)
        return fail(checker, at, "invalid UTF-8");
    for (int i = 2; i < len; i++)
        if (((unsigned char)at[i] & 0xC0) != 0x80)
            return fail(checker, at, "invalid UTF-8");
    return at + len;
}

static const char *check_unicode_escape(struct checker *checker, const char *at)
{
    int32_t unit = checker->end - at >= 6 ? json_hex4(at + 2) : -1;
    if (unit < 0)
        return fail(checker, at, "\\u needs four hexadecimal digits");
    if (unit < 0xD800 || unit > 0xDFFF)
        return at + 6;
    int32_t low = -1;
    if (checker->end - at >= 12 && at[6] == '\\' && at[7] == 'u')
        low = json_hex4(at + 8);
    if (unit > 0xDBFF || low < 0xDC00 || low > 0xDFFF)
        return fail(checker, at, "lone surrogate");
    return at + 12;
}

static const char *check_escape(struct checker *checker, const char *at)
{
    if (checker->end - at < 2)
        return fail(checker, at, "string without end");
    switch (at[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return at + 2;
    case 'u':
        return check_unicode_escape(checker, at);
    default:
        return fail(checker, at, "unknown escape");
    }
}

// The first byte that is a quote, a backslash, a control or not ASCII; or the end.
static inline const char *skip_harmless(const char *at, const char *end)
{
    while (end - at >= 8) {
        uint64_t word = json_load(at);
        uint64_t control = (word - JSON_ONES * 0x20) & JSON_HIGHS;
        uint64_t marks = json_has(word, '"') | json_has(word, '\\') | control | (word & JSON_HIGHS);
        if (marks != 0)
            return at + json_first(marks);
        at += 8;
    }
    while (at < end && (unsigned char)*at >= 0x20 && (unsigned char)*at < 0x80 && *at != '"' &&
           *at != '\\')
        at++;
    return at;
}

static const char *check_string(struct checker *checker, const char *at)
{
    const char *start = at++;
    while (at != NULL) {
        at = skip_harmless(at, checker->end);
        if (at >= checker->end)
            return fail(checker, start, "string without end");
        if (*at == '"')
            return at + 1;
        if (*at == '\\')
            at = check_escape(checker, at);
        else if ((unsigned char)*at >= 0x80)
            at = check_utf8(checker, at);
        else
            return fail(checker, at, "control character in a string");
    }
    return NULL;
}

static const char *check_digits(struct checker *checker, const char *at)
{
    if (at >= checker->end || !json_is_digit(*at))
        return fail(checker, at, "digit expected");
    while (at < checker->end && json_is_digit(*at))
        at++;
    return at;
}

static const char *check_number(struct checker *checker, const char *at)
{
    const char *end = checker->end;
    if (*at == '-')
        at++;
    if (at < end && *at == '0') {
        at++;
        if (at < end && json_is_digit(*at))
            return fail(checker, at, "number with a leading zero");
    } else {
        at = check_digits(checker, at);
    }
    if (at != NULL && at < end && *at == '.')
        at = check_digits(checker, at + 1);
    if (at != NULL && at < end && (*at == 'e' || *at == 'E')) {
        at++;
        if (at < end && (*at == '+' || *at == '-'))
            at++;
        at = check_digits(checker, at);
    }
    return at;
}

static const char *check_word(struct checker *checker, const char *at, struct slice word)
{
    if ((size_t)(checker->end - at) < word.len || memcmp(at, word.ptr, word.len) != 0)
        return fail(checker, at, "value expected");
    return at + word.len;
}

// Behind the closing bracket (*closed) or the comma. `at` is behind an element.
static const char *check_next(struct checker *checker, const char *at, char close, bool *closed)
{
    at = json_skip_space(at, checker->end);
    if (at >= checker->end)
        return fail(checker, at, close == '}' ? "object without end" : "array without end");
    *closed = *at == close;
    if (!*closed && *at != ',')
        return fail(checker, at, close == '}' ? "',' or '}' expected" : "',' or ']' expected");
    return at + 1;
}

static const char *check_member(struct checker *checker, const char *at)
{
    at = json_skip_space(at, checker->end);
    if (at >= checker->end || *at != '"')
        return fail(checker, at, "member name expected");
    at = check_string(checker, at);
    if (at == NULL)
        return NULL;
    at = json_skip_space(at, checker->end);
    if (at >= checker->end || *at != ':')
        return fail(checker, at, "':' expected");
    return check_value(checker, at + 1);
}

static const char *check_container(struct checker *checker, const char *at)
{
    char close = *at == '{' ? '}' : ']';
    if (++checker->depth > JSON_DEPTH_MAX)
        return fail(checker, at, "nested too deep");
    bool closed = false;
    const char *first = json_skip_space(at + 1, checker->end);
    if (first < checker->end && *first == close) {
        closed = true;
        at = first;
    }
    at++;
    while (at != NULL && !closed) {
        at = close == '}' ? check_member(checker, at) : check_value(checker, at);
        if (at != NULL)
            at = check_next(checker, at, close, &closed);
    }
    checker->depth--;
    return at;
}

static const char *check_value(struct checker *checker, const char *at)
{
    at = json_skip_space(at, checker->end);
    if (at >= checker->end)
        return fail(checker, at, "value expected");
    switch (*at) {
    case '"':
        return check_string(checker, at);
    case '{':
    case '[':
        return check_container(checker, at);
    case 't':
        return check_word(checker, at, SLICE_LIT("true"));
    case 'f':
        return check_word(checker, at, SLICE_LIT("false"));
    case 'n':
        return check_word(checker, at, SLICE_LIT("null"));
    default:
        if (*at == '-' || json_is_digit(*at))
            return check_number(checker, at);
        return fail(checker, at, "value expected");
    }
}

enum ka_err json_validate(struct slice doc, struct err_text *text)
{
    if (slice_none(doc))
        return err_set(text, KA_ERR_JSON, "byte 0: no document");
    struct checker checker = {.end = doc.ptr + doc.len};
    const char *at = check_value(&checker, doc.ptr);
    if (at != NULL) {
        at = json_skip_space(at, checker.end);
        if (at == checker.end)
            return KA_OK;
        (void)fail(&checker, at, "something behind the document");
    }
    return err_set(text, KA_ERR_JSON, "byte %zu: %s", (size_t)(checker.wrong - doc.ptr),
                   checker.why);
}
