// SPDX-License-Identifier: Apache-2.0
// What the expr*.c files share: tokens, the tree of a native program, and values. Not for other
// modules.
//   expr.c        the interface: compile (native, else engine), evaluate, free
//   expr_lex.c    jq's tokens, and the refusal of programs that would not replay
//   expr_parse.c  the native subset of jq's grammar
//   expr_eval.c   the machine that runs a tree
//   expr_value.c  jq's order of values, lengths, number format
#ifndef KA_CORE_EXPR_INTERNAL_H
#define KA_CORE_EXPR_INTERNAL_H

#include "core/expr.h"
#include "core/json.h"

enum {
    EXPR_TOKENS_MAX = 1000, // more goes to the engine: the native machine recurses per token
    EXPR_NESTING_MAX = 100, // brackets within brackets
    EXPR_NUMBER_MAX = 40,   // bytes of a formatted number: 17 digits, 15 zeros, a sign, a NUL
    // What one evaluation may take from its arena. Not reached by programs that build one result;
    // a generator that builds and drops large values for each element of a large input is.
    EXPR_WORK_MAX = 4 * EXPR_OUTPUT_MAX
};

enum token_type {
    TOKEN_END,
    TOKEN_FIELD,  // .name
    TOKEN_WORD,   // identifiers and keywords, also with ::
    TOKEN_NUMBER, // what jq calls a LITERAL
    TOKEN_STRING, // with its quotes; or the rest of one, see expr_resume_string
    TOKEN_PART,   // a string up to and with the "\(" of an interpolation
    TOKEN_FORMAT, // @base64
    TOKEN_SIGN,   // operators and brackets
    TOKEN_OPEN,   // a string without end
    TOKEN_BAD     // a byte that begins no token
};

struct token {
    enum token_type type;
    struct slice text;
};

struct lexer {
    const char *start;
    const char *at;
    const char *end;
};

struct token expr_next_token(struct lexer *lexer);
// After the ")" of an interpolation: the string goes on, as TOKEN_PART or TOKEN_STRING.
struct token expr_resume_string(struct lexer *lexer);
bool expr_is_sign(struct token token, const char *sign);

// KA_ERR_CONFIG for programs whose result depends on more than their input (see expr.h). *tokens
// is their number.
enum ka_err expr_refuse(struct slice source, size_t *tokens, struct err_text *text);

enum node_type {
    NODE_DOT,
    NODE_LITERAL, // text: JSON
    NODE_FIELD,   // text: the plain name
    NODE_INDEX,   // index
    NODE_EACH,    // .[]
    NODE_PIPE,
    NODE_COMMA,
    NODE_TRY, // (left)?
    NODE_ALTERNATIVE,
    NODE_AND,
    NODE_OR,
    NODE_COMPARE,
    NODE_ARRAY,  // left, or NULL for []
    NODE_OBJECT, // left: the first NODE_PAIR or NULL; index: number of pairs
    NODE_PAIR,   // text: raw key without quotes; left: value; right: next pair; index: its slot
    NODE_NOT,
    NODE_LENGTH,
    NODE_TOSTRING,
    NODE_EMPTY
};

enum compare { COMPARE_EQ, COMPARE_NE, COMPARE_LT, COMPARE_LE, COMPARE_GT, COMPARE_GE };

struct node {
    enum node_type type;
    enum compare compare;
    bool optional; // .a? .[0]? .[]?: no output instead of an error
    int64_t index;
    struct slice text;
    struct slice name; // of a NODE_PAIR: the key as plain text
    struct node *left;
    struct node *right;
};

struct expr {
    char *source; // this and what follows are one block
    char *text;   // room for decoded names and formatted numbers
    struct node *nodes;
    size_t node_count;
    size_t node_cap;
    struct node *root; // NULL: the engine's
    const struct expr_engine *engine;
    void *program;
};

// Builds expr->root from expr->source; false if the program is not of the native subset (or no
// program at all), with the byte where that showed.
bool expr_parse(struct expr *expr, size_t *stopped_at);

// KA_OK, KA_ERR_EXPR or KA_ERR_TOO_LARGE.
enum ka_err expr_run(const struct node *root, struct slice input, struct arena *arena,
                     struct slice *out, struct err_text *text);

// A member of an object with its name as plain text; `order` is its place in the document.
struct member {
    struct slice name;
    struct slice value;
    size_t order;
};

// The members without repeated names (first place, last value), in document order or sorted by
// name; in the arena.
struct member *value_members(struct slice object, bool sorted, struct arena *arena, size_t *count);
// jq's order of values: null, false, true, numbers, strings, arrays, objects. <0, 0, >0.
int value_compare(struct slice a, struct slice b, struct arena *arena);
// jq's `length`; false for true and false, which have none.
bool value_length(struct slice value, struct arena *arena, struct slice *out);
// jq's `tostring`: a JSON string.
struct slice value_tostring(struct slice value, struct arena *arena);
// The number as jq 1.6 prints it: the shortest digits that give the same double. Returns the
// length; at most EXPR_NUMBER_MAX - 1 bytes and a NUL.
size_t value_format(double number, char *out);
// "object", "number" ...: for error texts.
const char *value_type_name(struct slice value);

#endif
