// SPDX-License-Identifier: Apache-2.0
// JSON as bytes: validated once at the door, then walked without building a tree (RFC 8259).
// Every function but json_validate takes a document that json_validate accepted.
#ifndef KA_CORE_JSON_H
#define KA_CORE_JSON_H

#include "core/buf.h"
#include "core/err.h"
#include "core/slice.h"

enum json_type {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
};
enum { JSON_DEPTH_MAX = 128 };

// KA_ERR_JSON with the byte offset and the reason in `text`: syntax, invalid UTF-8, lone
// surrogates, depth over JSON_DEPTH_MAX, anything after the document but white space.
KA_MUST_USE enum ka_err json_validate(struct slice doc, struct err_text *text);

// The value without white space around it.
struct slice json_trim(struct slice doc);
// An absent or empty value counts as null.
enum json_type json_type(struct slice value);

// The value of a member of an object; SLICE_NONE if there is none or `object` is not an object.
// Of repeated members the last one counts, as in jq. `name` is plain text, compared with escapes
// resolved.
struct slice json_member(struct slice object, struct slice name);
// The element at `index` (negative counts from the end); SLICE_NONE when out of range.
struct slice json_element(struct slice array, int64_t index);

// Walks the members of an object (name with quotes, as it stands) or the elements of an array
// (name is SLICE_NONE): start with json_walk, then json_next until false.
struct json_walk {
    const char *at;
    const char *end;
    bool object;
};
struct json_walk json_walk(struct slice container);
bool json_next(struct json_walk *walk, struct slice *name, struct slice *value);

// The text of a JSON string with escapes resolved: a slice of the document when there are none,
// else bytes in the arena. `value` is a JSON_STRING.
struct slice json_text(struct slice value, struct arena *arena);
// Whether a JSON string (with its quotes, no space around) has this text, escapes resolved.
bool json_text_is(struct slice value, struct slice text);
// True and the value if it is a number that is an integer (also written 1.0 or 1e3) and fits.
bool json_i64(struct slice value, int64_t *out);
// Such a member of an object; `fallback` if there is none.
int64_t json_i64_member(struct slice object, struct slice name, int64_t fallback);
// True and the nearest double; false if it is no number or larger than any double.
bool json_f64(struct slice value, double *out);

// Appends `a` merged with `b`: the members of both, those of `b` win (not recursive). Both are
// objects or absent; "{}" when both are absent. They are not inside `buf`. Time and memory grow
// with the sizes, also when both are large.
void json_merge(struct buf *buf, struct slice a, struct slice b);
// Appends the value without insignificant white space.
void json_compact(struct buf *buf, struct slice value);

#endif
