// SPDX-License-Identifier: Apache-2.0
// Offset metadata: whatever is accepted is what meta_format writes, byte for byte.
#include "core/meta.h"
#include "core/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct meta meta;
    struct err_text text;
    struct slice bytes = slice_of(data, size);
    enum ka_err err = meta_parse(bytes, &meta, &text);
    KA_ASSERT(err == KA_OK || err == KA_ERR_VERSION || err == KA_ERR_ENVELOPE);
    KA_ASSERT(meta.present == (err == KA_OK && size > 0));
    if (!meta.present)
        return 0;
    struct buf buf = {0};
    meta_format(&meta, &buf);
    KA_ASSERT(slice_eq(buf_slice(&buf), bytes));
    buf_fini(&buf);
    return 0;
}
