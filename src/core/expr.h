// SPDX-License-Identifier: Apache-2.0
// Expressions of the configuration: jq programs over JSON bytes. The simple ones (paths, object
// and array construction, literals, comparisons, and/or/not) are compiled to a slicer that never
// parses what it does not need; everything else is run by an engine that the edge plugs in
// (libjq, see io/jq.h). Both give what jq 1.6 gives, but for numbers: bytes that are only passed on
// stay as they are, where jq rounds to a double and prints again (1.0 becomes 1). Not for programs
// that read the clock, the environment or further input: those are refused when compiled, also
// where a program defines a function of that name. A program that does not end, or that builds a
// huge value inside, is its author's fault and is not stopped here.
//
// The native subset: . .a ."a b" .a["b"] .[0] .[-1] .[] with "?"; {a, b: .c, "d": 1}; [.a, .b];
// numbers, strings without interpolation, true, false, null; == != < <= > >=; and, or, not; //;
// comma, pipes, parentheses, (..)?; length, tostring, empty.
#ifndef KA_CORE_EXPR_H
#define KA_CORE_EXPR_H

#include "core/arena.h"
#include "core/err.h"
#include "core/slice.h"

struct expr;

// The largest result, in bytes: more than any record that Kafka is configured for. A larger one is
// KA_ERR_TOO_LARGE.
enum { EXPR_OUTPUT_MAX = 16 * 1024 * 1024 };

// What runs the programs that the native slicer does not know. `compile` returns a program or
// NULL with the reason in `text`; `eval` puts the first output of the program into the arena as
// compact JSON, or returns KA_ERR_EXPR with the reason. A program may be used by one thread at a
// time only: each lane compiles its own definitions.
struct expr_engine {
    void *(*compile)(const char *source, struct err_text *text);
    enum ka_err (*eval)(void *program, struct slice input, struct arena *arena, struct slice *out,
                        struct err_text *text);
    void (*free)(void *program);
};

// Compiles `source`. `engine` may be NULL: then only what the native slicer knows is accepted.
// KA_ERR_CONFIG with the reason and the column in `text`. The caller owns *expr.
KA_MUST_USE enum ka_err expr_compile(const char *source, const struct expr_engine *engine,
                                     struct expr **expr, struct err_text *text);
void expr_free(struct expr **expr);

// The source it was compiled from, and whether the native slicer runs it.
const char *expr_source(const struct expr *expr);
bool expr_native(const struct expr *expr);

// Evaluates over one valid JSON document (json_validate has been there). *out is one JSON value:
// a slice of the input or of the program where that is enough, else bytes in the arena: it lives as
// long as the three of them. An absent or empty input counts as null. A path that leads nowhere
// gives null, as in jq; an error of the program gives KA_ERR_EXPR. A program with no output
// (empty) gives SLICE_NONE.
KA_MUST_USE enum ka_err expr_eval(const struct expr *expr, struct slice input, struct arena *arena,
                                  struct slice *out, struct err_text *text);

// jq's truth: everything but false, null and no output.
bool expr_true(struct slice value);

#endif
