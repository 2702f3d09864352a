// SPDX-License-Identifier: Apache-2.0
#include "core/expr.h"

#include "core/assert.h"
#include "core/expr_internal.h"

#include <stdlib.h>

// One block: the struct, its nodes, the source, and room for decoded names and numbers. A token
// makes at most two nodes and one number.
static struct expr *new_expr(struct slice source, size_t tokens)
{
    size_t node_cap = tokens > EXPR_TOKENS_MAX ? 0 : 2 * tokens + 2;
    size_t text_room = tokens > EXPR_TOKENS_MAX ? 0 : source.len + tokens * EXPR_NUMBER_MAX;
    struct expr *expr =
        malloc(sizeof *expr + node_cap * sizeof(struct node) + source.len + 1 + text_room);
    if (expr == NULL)
        abort();
    *expr = (struct expr){.nodes = (struct node *)(expr + 1), .node_cap = node_cap};
    expr->source = (char *)(expr->nodes + node_cap);
    memcpy(expr->source, source.ptr, source.len);
    expr->source[source.len] = '\0';
    expr->text = expr->source + source.len + 1;
    return expr;
}

static enum ka_err compile_foreign(struct expr *expr, size_t stopped_at, struct err_text *text)
{
    size_t column = stopped_at + 1;
    if (expr->engine == NULL)
        return err_set(text, KA_ERR_CONFIG, "column %zu: not in the native subset of jq", column);
    expr->program = expr->engine->compile(expr->source, text);
    if (expr->program == NULL)
        return err_wrap(text, KA_ERR_CONFIG, "near column %zu", column);
    return KA_OK;
}

enum ka_err expr_compile(const char *source, const struct expr_engine *engine, struct expr **expr,
                         struct err_text *text)
{
    KA_ASSERT(source != NULL && expr != NULL);
    *expr = NULL;
    size_t tokens = 0;
    enum ka_err err = expr_refuse(slice_str(source), &tokens, text);
    if (err != KA_OK)
        return err;
    struct expr *made = new_expr(slice_str(source), tokens);
    made->engine = engine;
    size_t stopped_at = 0;
    bool native = tokens <= EXPR_TOKENS_MAX && expr_parse(made, &stopped_at);
    err = native ? KA_OK : compile_foreign(made, stopped_at, text);
    if (err == KA_OK)
        *expr = made;
    else
        expr_free(&made);
    return err;
}

void expr_free(struct expr **expr)
{
    if (*expr == NULL)
        return;
    if ((*expr)->program != NULL)
        (*expr)->engine->free((*expr)->program);
    free(*expr);
    *expr = NULL;
}

const char *expr_source(const struct expr *expr)
{
    return expr->source;
}

bool expr_native(const struct expr *expr)
{
    return expr->root != NULL;
}

enum ka_err expr_eval(const struct expr *expr, struct slice input, struct arena *arena,
                      struct slice *out, struct err_text *text)
{
    struct slice value = json_trim(input);
    if (value.len == 0)
        value = SLICE_LIT("null");
    if (expr->root != NULL)
        return expr_run(expr->root, value, arena, out, text);
    return expr->engine->eval(expr->program, value, arena, out, text);
}

bool expr_true(struct slice value)
{
    if (value.len == 0)
        return false;
    enum json_type type = json_type(value);
    return type != JSON_FALSE && type != JSON_NULL;
}
