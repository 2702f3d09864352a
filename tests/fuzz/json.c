// SPDX-License-Identifier: Apache-2.0
// Any bytes: validated, and if valid walked, read, compacted and merged.
#include "core/json.h"
#include "core/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void visit(struct slice value, struct arena *arena)
{
    int64_t integer;
    double number;
    struct slice name;
    struct slice inner;
    switch (json_type(value)) {
    case JSON_NUMBER:
        if (json_i64(value, &integer))
            KA_ASSERT(json_f64(value, &number) && number >= -9.3e18 && number <= 9.3e18);
        (void)json_f64(value, &number);
        return;
    case JSON_STRING:
        KA_ASSERT(json_text_is(value, json_text(value, arena)));
        return;
    case JSON_OBJECT:
    case JSON_ARRAY:
        for (struct json_walk walk = json_walk(value); json_next(&walk, &name, &inner);) {
            if (!slice_none(name))
                KA_ASSERT(!slice_none(json_member(value, json_text(name, arena))));
            visit(inner, arena);
        }
        return;
    case JSON_NULL:
    case JSON_FALSE:
    case JSON_TRUE:
        return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice doc = slice_of(data, size);
    struct err_text text;
    if (json_validate(doc, &text) != KA_OK)
        return 0;
    struct arena arena;
    struct buf buf = {0};
    arena_init(&arena);
    visit(json_trim(doc), &arena);
    json_compact(&buf, doc);
    KA_ASSERT(json_validate(buf_slice(&buf), NULL) == KA_OK);
    if (json_type(doc) == JSON_OBJECT) {
        buf_clear(&buf);
        json_merge(&buf, doc, doc);
        KA_ASSERT(json_validate(buf_slice(&buf), NULL) == KA_OK);
    }
    buf_fini(&buf);
    arena_fini(&arena);
    return 0;
}
