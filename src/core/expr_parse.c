// SPDX-License-Identifier: Apache-2.0
// The native subset of jq 1.6's grammar (its parser.y), by recursive descent. What is not in the
// subset, and what is no jq at all, ends the same way: the parser stops, and the engine decides.
// So it must never accept what jq 1.6 refuses, and where it accepts it must mean the same:
//   1. `{a: .b == 1}` is a syntax error in jq: the value of a member is a term, or terms with
//   pipes.
//   2. `(.a)?` is an expression, no term: `(.a)?.b` and `{a: (.a)?}` are syntax errors.
//   3. `.a?` suppresses its own error only; `(.a)?` also those of what comes behind it.
//   4. `.a?//1` contains the token `?//` and is a syntax error.
// Precedence, lowest first: | (right), `,`, // (right), or, and, comparisons (not associative).
#include "core/assert.h"
#include "core/expr_internal.h"
#include "core/json_internal.h"

struct parser {
    struct lexer lexer;
    struct token token; // the one that is looked at
    struct expr *expr;
    int depth;
};

static struct node *parse_pipe(struct parser *parser);
static struct node *parse_value(struct parser *parser);

static void advance(struct parser *parser)
{
    parser->token = expr_next_token(&parser->lexer);
}

// True, and moves on, if the token is this sign.
static bool take(struct parser *parser, const char *sign)
{
    if (!expr_is_sign(parser->token, sign))
        return false;
    advance(parser);
    return true;
}

static bool at_word(const struct parser *parser, const char *word)
{
    return parser->token.type == TOKEN_WORD && slice_eq(parser->token.text, slice_str(word));
}

static struct node *add(struct parser *parser, enum node_type type)
{
    struct expr *expr = parser->expr;
    KA_ASSERT(expr->node_count < expr->node_cap);
    struct node *node = &expr->nodes[expr->node_count++];
    *node = (struct node){.type = type};
    return node;
}

// A missing operand gives no node: the parser has stopped.
static struct node *add_binary(struct parser *parser, enum node_type type, struct node *left,
                               struct node *right)
{
    if (left == NULL || right == NULL)
        return NULL;
    struct node *node = add(parser, type);
    node->left = left;
    node->right = right;
    return node;
}

// Moves the bytes into the block of the expression.
static struct slice keep(struct parser *parser, struct slice s)
{
    char *copy = parser->expr->text;
    if (s.len > 0)
        memcpy(copy, s.ptr, s.len);
    parser->expr->text += s.len;
    return slice_of(copy, s.len);
}

static struct slice decode(struct parser *parser, struct slice string)
{
    struct arena arena;
    arena_init(&arena);
    struct slice text = keep(parser, json_text(string, &arena));
    arena_fini(&arena);
    return text;
}

// A string literal without interpolation that JSON reads as jq does.
static bool at_json_string(const struct parser *parser)
{
    return parser->token.type == TOKEN_STRING && json_validate(parser->token.text, NULL) == KA_OK;
}

static struct node *parse_string_step(struct parser *parser)
{
    if (!at_json_string(parser))
        return NULL;
    struct node *step = add(parser, NODE_FIELD);
    step->text = decode(parser, parser->token.text);
    advance(parser);
    return step;
}

static struct node *parse_number_step(struct parser *parser)
{
    bool negative = take(parser, "-");
    struct slice digits = parser->token.text;
    if (parser->token.type != TOKEN_NUMBER || digits.len > 9)
        return NULL;
    struct node *step = add(parser, NODE_INDEX);
    for (size_t i = 0; i < digits.len; i++) {
        if (!json_is_digit(digits.ptr[i]))
            return NULL;
        step->index = step->index * 10 + (digits.ptr[i] - '0');
    }
    step->index = negative ? -step->index : step->index;
    advance(parser);
    return step;
}

// What stands behind "[" in a path: a literal key or index, or nothing.
static struct node *parse_bracket_step(struct parser *parser)
{
    struct node *step;
    if (expr_is_sign(parser->token, "]"))
        step = add(parser, NODE_EACH);
    else if (parser->token.type == TOKEN_STRING)
        step = parse_string_step(parser);
    else
        step = parse_number_step(parser);
    return step != NULL && take(parser, "]") ? step : NULL;
}

static struct node *parse_field_step(struct parser *parser)
{
    struct node *step = add(parser, NODE_FIELD);
    step->text = slice_of(parser->token.text.ptr + 1, parser->token.text.len - 1);
    advance(parser);
    return step;
}

static bool at_step(const struct parser *parser)
{
    return parser->token.type == TOKEN_FIELD || expr_is_sign(parser->token, ".") ||
           expr_is_sign(parser->token, "[");
}

// .name  ."name"  [0]  ["name"]  []  and each of them with a "?".
static struct node *parse_step(struct parser *parser)
{
    struct node *step;
    if (parser->token.type == TOKEN_FIELD)
        step = parse_field_step(parser);
    else if (take(parser, "."))
        step = parse_string_step(parser);
    else
        step = take(parser, "[") ? parse_bracket_step(parser) : NULL;
    if (step != NULL)
        step->optional = take(parser, "?");
    return step;
}

static struct node *parse_number(struct parser *parser, bool negative)
{
    char text[EXPR_NUMBER_MAX];
    double number;
    // The digits behind the point may be missing in jq, and the zero before it.
    struct buf digits = {0};
    buf_byte(&digits, '0');
    buf_slice_put(&digits, parser->token.text);
    bool fits = json_f64(buf_slice(&digits), &number);
    buf_fini(&digits);
    if (!fits)
        return NULL;
    size_t len = value_format(negative ? -number : number, text);
    struct node *node = add(parser, NODE_LITERAL);
    node->text = keep(parser, slice_of(text, len));
    advance(parser);
    return node;
}

static struct node *parse_word(struct parser *parser)
{
    static const struct {
        const char *word;
        enum node_type type;
    } words[] = {{"true", NODE_LITERAL}, {"false", NODE_LITERAL}, {"null", NODE_LITERAL},
                 {"not", NODE_NOT},      {"length", NODE_LENGTH}, {"tostring", NODE_TOSTRING},
                 {"empty", NODE_EMPTY}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (at_word(parser, words[i].word)) {
            struct node *node = add(parser, words[i].type);
            node->text = parser->token.text;
            advance(parser);
            return node;
        }
    }
    return NULL;
}

static bool at_keyword(const struct parser *parser)
{
    static const char *const keywords[] = {
        "as",  "import", "include", "module", "def",     "if",  "then",  "else",  "elif",
        "and", "or",     "end",     "reduce", "foreach", "try", "catch", "label", "__loc__"};
    for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++)
        if (at_word(parser, keywords[i]))
            return true;
    return false;
}

// {name} and {"name"} stand for {name: .name}.
static struct node *parse_member_value(struct parser *parser, const struct node *pair, bool keyword)
{
    if (take(parser, ":"))
        return parse_value(parser);
    if (keyword)
        return NULL;
    struct node *step = add(parser, NODE_FIELD);
    step->text = pair->name;
    return step;
}

static struct node *parse_member(struct parser *parser)
{
    struct slice key = parser->token.text;
    bool string = at_json_string(parser);
    bool keyword = at_keyword(parser);
    if (!string && (parser->token.type != TOKEN_WORD || memchr(key.ptr, ':', key.len) != NULL))
        return NULL;
    struct node *pair = add(parser, NODE_PAIR);
    pair->text = string ? slice_of(key.ptr + 1, key.len - 2) : key;
    pair->name = string ? decode(parser, key) : key;
    advance(parser);
    pair->left = parse_member_value(parser, pair, keyword);
    return pair->left == NULL ? NULL : pair;
}

// A repeated key keeps its first place and gets its last value: pairs of one key share a slot.
static void number_pairs(struct node *object)
{
    for (struct node *pair = object->left; pair != NULL; pair = pair->right) {
        struct node *first = object->left;
        while (first != pair && !slice_eq(first->name, pair->name))
            first = first->right;
        pair->index = first == pair ? object->index : first->index;
        object->index++;
    }
}

// Behind "{". A comma may stand before the "}".
static struct node *parse_object(struct parser *parser)
{
    struct node *object = add(parser, NODE_OBJECT);
    struct node **link = &object->left;
    while (!take(parser, "}")) {
        *link = parse_member(parser);
        if (*link == NULL)
            return NULL;
        link = &(*link)->right;
        if (!take(parser, ",") && !expr_is_sign(parser->token, "}"))
            return NULL;
    }
    number_pairs(object);
    return object;
}

// Behind "[".
static struct node *parse_array(struct parser *parser)
{
    struct node *array = add(parser, NODE_ARRAY);
    if (take(parser, "]"))
        return array;
    array->left = parse_pipe(parser);
    return array->left != NULL && take(parser, "]") ? array : NULL;
}

static struct node *parse_primary(struct parser *parser)
{
    struct token token = parser->token;
    if (token.type == TOKEN_NUMBER)
        return parse_number(parser, false);
    if (token.type == TOKEN_WORD)
        return parse_word(parser);
    if (token.type == TOKEN_FIELD)
        return parse_step(parser);
    if (token.type == TOKEN_STRING) {
        if (!at_json_string(parser))
            return NULL;
        struct node *node = add(parser, NODE_LITERAL);
        node->text = token.text;
        advance(parser);
        return node;
    }
    if (take(parser, "(")) {
        struct node *inner = parse_pipe(parser);
        return inner != NULL && take(parser, ")") ? inner : NULL;
    }
    if (take(parser, "["))
        return parse_array(parser);
    if (take(parser, "{"))
        return parse_object(parser);
    if (!take(parser, "."))
        return NULL;
    if (parser->token.type != TOKEN_STRING)
        return add(parser, NODE_DOT);
    struct node *step = parse_string_step(parser);
    if (step != NULL)
        step->optional = take(parser, "?");
    return step;
}

static struct node *parse_term(struct parser *parser)
{
    if (++parser->depth > EXPR_NESTING_MAX)
        return NULL;
    struct node *term = parse_primary(parser);
    while (term != NULL && at_step(parser))
        term = add_binary(parser, NODE_PIPE, term, parse_step(parser));
    parser->depth--;
    return term;
}

static struct node *parse_negative(struct parser *parser)
{
    if (parser->token.type != TOKEN_NUMBER)
        return NULL;
    struct node *node = parse_number(parser, true);
    // -1[0] and -1? are the negation of the rest.
    return at_step(parser) || expr_is_sign(parser->token, "?") ? NULL : node;
}

// The value of a member: a term or a negative number, or those with pipes.
static struct node *parse_value(struct parser *parser)
{
    struct node *value = take(parser, "-") ? parse_negative(parser) : parse_term(parser);
    if (value == NULL || !take(parser, "|"))
        return value;
    return add_binary(parser, NODE_PIPE, value, parse_value(parser));
}

static struct node *parse_postfix(struct parser *parser)
{
    if (take(parser, "-"))
        return parse_negative(parser);
    struct node *node = parse_term(parser);
    while (node != NULL && take(parser, "?")) {
        struct node *attempt = add(parser, NODE_TRY);
        attempt->left = node;
        node = attempt;
    }
    return node;
}

static bool take_comparison(struct parser *parser, enum compare *compare)
{
    static const char *const signs[] = {"==", "!=", "<", "<=", ">", ">="};
    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++) {
        if (take(parser, signs[i])) {
            *compare = (enum compare)i;
            return true;
        }
    }
    return false;
}

static struct node *parse_comparison(struct parser *parser)
{
    enum compare compare;
    struct node *left = parse_postfix(parser);
    if (left == NULL || !take_comparison(parser, &compare))
        return left;
    struct node *node = add_binary(parser, NODE_COMPARE, left, parse_postfix(parser));
    if (node != NULL)
        node->compare = compare;
    return node; // a second comparison is an error: the caller finds a token too many
}

static struct node *parse_and(struct parser *parser)
{
    struct node *left = parse_comparison(parser);
    while (left != NULL && at_word(parser, "and")) {
        advance(parser);
        left = add_binary(parser, NODE_AND, left, parse_comparison(parser));
    }
    return left;
}

static struct node *parse_or(struct parser *parser)
{
    struct node *left = parse_and(parser);
    while (left != NULL && at_word(parser, "or")) {
        advance(parser);
        left = add_binary(parser, NODE_OR, left, parse_and(parser));
    }
    return left;
}

static struct node *parse_alternative(struct parser *parser)
{
    struct node *left = parse_or(parser);
    if (left == NULL || !take(parser, "//"))
        return left;
    return add_binary(parser, NODE_ALTERNATIVE, left, parse_alternative(parser));
}

static struct node *parse_comma(struct parser *parser)
{
    struct node *left = parse_alternative(parser);
    while (left != NULL && take(parser, ","))
        left = add_binary(parser, NODE_COMMA, left, parse_alternative(parser));
    return left;
}

static struct node *parse_pipe(struct parser *parser)
{
    struct node *left = parse_comma(parser);
    if (left == NULL || !take(parser, "|"))
        return left;
    return add_binary(parser, NODE_PIPE, left, parse_pipe(parser));
}

bool expr_parse(struct expr *expr, size_t *stopped_at)
{
    const char *source = expr->source;
    struct parser parser = {.lexer = {source, source, source + strlen(source)}, .expr = expr};
    advance(&parser);
    struct node *root = parse_pipe(&parser);
    *stopped_at = (size_t)(parser.token.text.ptr - source);
    if (root == NULL || parser.token.type != TOKEN_END)
        return false;
    expr->root = root;
    return true;
}
