// SPDX-License-Identifier: Apache-2.0
// A program, a newline, a document: what the native slicer accepts it must run on any document.
#include "core/expr.h"
#include "core/assert.h"
#include "core/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run(const struct expr *expr, struct slice input)
{
    struct arena arena;
    struct slice out = SLICE_NONE;
    struct err_text text = {{0}};
    arena_init(&arena);
    enum ka_err err = expr_eval(expr, input, &arena, &out, &text);
    KA_ASSERT(err == KA_OK || (slice_none(out) && text.text[0] != '\0'));
    // A result may be nested deeper than a document from outside.
    if (!slice_none(out) && json_validate(out, &text) != KA_OK)
        KA_ASSERT(strstr(text.text, "nested too deep") != NULL);
    arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *line_end = size == 0 ? NULL : memchr(data, '\n', size);
    struct slice source =
        slice_of(data, line_end == NULL ? size : (size_t)(line_end - (const char *)data));
    struct slice input = slice_of((const char *)data + source.len, size - source.len);
    if (source.len > 4096)
        return 0;
    char program[4097];
    if (source.len > 0)
        memcpy(program, source.ptr, source.len);
    program[source.len] = '\0';
    struct expr *expr;
    struct err_text text;
    if (expr_compile(program, NULL, &expr, &text) != KA_OK)
        return 0;
    if (json_validate(input, NULL) == KA_OK)
        run(expr, input);
    run(expr, SLICE_LIT("{\"a\":[1,{\"b\":\"c\"}],\"b\":null,\"\\u0061\":1.50}"));
    run(expr, SLICE_LIT("[[1,2],\"x\",{\"a\":false}]"));
    expr_free(&expr);
    return 0;
}
