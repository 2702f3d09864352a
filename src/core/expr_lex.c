// SPDX-License-Identifier: Apache-2.0
// The tokens of jq 1.6 (its lexer.l), and the gate that keeps programs out whose result would not
// be the same when a saga is replayed: on another day, on another machine, after another record.
#include "core/expr_internal.h"
#include "core/json_internal.h"

static bool is_word_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_word(char c)
{
    return is_word_start(c) || json_is_digit(c);
}

static const char *skip_word(const char *at, const char *end)
{
    while (at < end && is_word(*at))
        at++;
    return at;
}

// name, or name::name
static const char *skip_words(const char *at, const char *end)
{
    at = skip_word(at, end);
    while (end - at >= 3 && at[0] == ':' && at[1] == ':' && is_word_start(at[2]))
        at = skip_word(at + 2, end);
    return at;
}

static const char *skip_digits(const char *at, const char *end)
{
    while (at < end && json_is_digit(*at))
        at++;
    return at;
}

static const char *skip_number(const char *at, const char *end)
{
    at = skip_digits(at, end);
    if (at < end && *at == '.')
        at = skip_digits(at + 1, end);
    if (at < end && (*at == 'e' || *at == 'E')) {
        const char *power = at + 1;
        if (power < end && (*power == '+' || *power == '-'))
            power++;
        if (power < end && json_is_digit(*power))
            at = skip_digits(power, end);
    }
    return at;
}

// `at` is inside a string whose token began at `start`.
static struct token string_token(struct lexer *lexer, const char *start, const char *at)
{
    const char *end = lexer->end;
    enum token_type type = TOKEN_OPEN;
    while (at < end && type == TOKEN_OPEN) {
        if (*at == '"') {
            type = TOKEN_STRING;
        } else if (*at == '\\' && end - at >= 2) {
            at++;
            type = *at == '(' ? TOKEN_PART : TOKEN_OPEN;
        }
        at++;
    }
    lexer->at = at;
    return (struct token){type, slice_of(start, (size_t)(at - start))};
}

struct token expr_resume_string(struct lexer *lexer)
{
    return string_token(lexer, lexer->at, lexer->at);
}

static size_t sign_length(const char *at, const char *end)
{
    static const char *const signs[] = {
        "?//", "//=", "!=", "==", "//", "|=", "+=", "-=", "*=", "/=", "%=", "<=", ">=", ".."};
    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++) {
        size_t len = strlen(signs[i]);
        if ((size_t)(end - at) >= len && memcmp(at, signs[i], len) == 0)
            return len;
    }
    return 1;
}

static const char *skip_blank(const char *at, const char *end)
{
    for (;;) {
        at = json_skip_space(at, end);
        if (at >= end || *at != '#')
            return at;
        while (at < end && *at != '\n')
            at++;
    }
}

struct token expr_next_token(struct lexer *lexer)
{
    const char *end = lexer->end;
    const char *start = skip_blank(lexer->at, end);
    const char *at = start;
    enum token_type type = TOKEN_END;
    char second = end - start >= 2 ? start[1] : '\0';
    if (start >= end) {
        at = end;
    } else if (*start == '"') {
        return string_token(lexer, start, start + 1);
    } else if (is_word_start(*start)) {
        type = TOKEN_WORD;
        at = skip_words(start, end);
    } else if (*start == '.' && is_word_start(second)) {
        type = TOKEN_FIELD;
        at = skip_word(start + 1, end);
    } else if (json_is_digit(*start) || (*start == '.' && json_is_digit(second))) {
        type = TOKEN_NUMBER;
        at = skip_number(start, end);
    } else if (*start == '@' && is_word(second)) {
        type = TOKEN_FORMAT;
        at = skip_word(start + 1, end);
    } else {
        bool known = *start != '\0' && strchr(".?=;,:|+-*/%$<>()[]{}!", *start) != NULL;
        type = known ? TOKEN_SIGN : TOKEN_BAD;
        at = start + sign_length(start, end);
    }
    lexer->at = at;
    return (struct token){type, slice_of(start, (size_t)(at - start))};
}

bool expr_is_sign(struct token token, const char *sign)
{
    return token.type == TOKEN_SIGN && slice_eq(token.text, slice_str(sign));
}

// The functions of jq 1.6 that look at anything but their input, stop the process or write.
static const char *const refused[] = {"now",
                                      "localtime",
                                      "strflocaltime",
                                      "input",
                                      "inputs",
                                      "env",
                                      "debug",
                                      "stderr",
                                      "input_filename",
                                      "halt",
                                      "halt_error",
                                      "import",
                                      "include",
                                      "modulemeta",
                                      "get_search_list",
                                      "get_prog_origin",
                                      "get_jq_origin",
                                      "input_line_number"};

struct gate {
    struct lexer lexer;
    struct err_text *text;
    size_t tokens;
};

static size_t column_of(const struct gate *gate, const char *at)
{
    return (size_t)(at - gate->lexer.start) + 1;
}

static enum ka_err refuse_word(const struct gate *gate, struct token word, struct token before)
{
    bool variable = expr_is_sign(before, "$");
    bool found = variable && slice_eq(word.text, SLICE_LIT("ENV"));
    for (size_t i = 0; !found && !variable && i < sizeof refused / sizeof refused[0]; i++)
        found = slice_eq(word.text, slice_str(refused[i]));
    if (!found)
        return KA_OK;
    return err_set(gate->text, KA_ERR_CONFIG,
                   "column %zu: '%s%.*s' is not allowed: the result of an expression may depend on "
                   "its input only",
                   column_of(gate, word.text.ptr), variable ? "$" : "", SLICE_FMT(word.text));
}

// What jq's lexer refuses too. Here the column is known, and libjq leaks the beginning of a string
// without end.
static enum ka_err refuse_bad(const struct gate *gate, struct token token)
{
    if (token.type != TOKEN_BAD && token.type != TOKEN_OPEN)
        return KA_OK;
    return err_set(gate->text, KA_ERR_CONFIG, "column %zu: %s", column_of(gate, token.text.ptr),
                   token.type == TOKEN_OPEN ? "string without end" : "unexpected character");
}

static const char *closing(struct token token)
{
    if (expr_is_sign(token, "("))
        return ")";
    if (expr_is_sign(token, "["))
        return "]";
    return expr_is_sign(token, "{") ? "}" : NULL;
}

static enum ka_err scan_group(struct gate *gate, const char *close, int depth);

// A string and what it interpolates: "a\(b)c\(d)e" comes as parts.
static enum ka_err scan_string(struct gate *gate, struct token token, int depth)
{
    while (token.type == TOKEN_PART) {
        enum ka_err err = scan_group(gate, ")", depth + 1);
        if (err != KA_OK)
            return err;
        token = expr_resume_string(&gate->lexer);
    }
    return refuse_bad(gate, token);
}

// Reads until the bracket that closes the group (NULL: the end of the program). A word is a key,
// not a function, where a member of an object begins: {now: 1}, {now}.
static enum ka_err scan_group(struct gate *gate, const char *close, int depth)
{
    bool object = close != NULL && *close == '}';
    struct token before = {TOKEN_END, SLICE_NONE};
    if (depth > EXPR_NESTING_MAX)
        return err_set(gate->text, KA_ERR_CONFIG, "column %zu: nested too deep",
                       column_of(gate, gate->lexer.at));
    for (;;) {
        struct token token = expr_next_token(&gate->lexer);
        gate->tokens++;
        if (token.type == TOKEN_END || (close != NULL && expr_is_sign(token, close)))
            return KA_OK;
        bool key = object && (before.type == TOKEN_END || expr_is_sign(before, ","));
        enum ka_err err = refuse_bad(gate, token);
        if (token.type == TOKEN_WORD && !key)
            err = refuse_word(gate, token, before);
        else if (token.type == TOKEN_PART)
            err = scan_string(gate, token, depth);
        else if (closing(token) != NULL)
            err = scan_group(gate, closing(token), depth + 1);
        if (err != KA_OK)
            return err;
        before = token;
    }
}

enum ka_err expr_refuse(struct slice source, size_t *tokens, struct err_text *text)
{
    struct gate gate = {.lexer = {source.ptr, source.ptr, source.ptr + source.len}, .text = text};
    enum ka_err err = scan_group(&gate, NULL, 0);
    *tokens = gate.tokens;
    return err;
}
