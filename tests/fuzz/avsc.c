// SPDX-License-Identifier: Apache-2.0
// Any bytes as an .avsc: what is accepted can be written, described, and used on documents.
#include "core/avsc.h"
#include "core/assert.h"
#include "core/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct buf buf = {0};
    const struct schema *schema;
    struct err_text text = {{0}};
    arena_init(&arena);
    if (avsc_parse(slice_of(data, size), &arena, &schema, &text) == KA_OK) {
        avsc_canonical(schema, &buf);
        KA_ASSERT(json_validate(buf_slice(&buf), NULL) == KA_OK);
        buf_clear(&buf);
        schema_json_schema(schema, &buf);
        // Unions nest deeper there.
        KA_ASSERT(size > JSON_DEPTH_MAX || json_validate(buf_slice(&buf), NULL) == KA_OK);
        // A schema is a document too: whatever the verdict, it is reached.
        if (schema_check(schema, slice_of(data, size), false, &text) != KA_OK)
            KA_ASSERT(text.text[0] != '\0');
    } else {
        KA_ASSERT(schema == NULL && text.text[0] != '\0');
    }
    buf_fini(&buf);
    arena_fini(&arena);
    return 0;
}
