// SPDX-License-Identifier: Apache-2.0
// The header kasaga-origin: what is accepted is what its encoder writes (numbers may be longer).
#include "core/origin.h"
#include "core/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct origin origin, again;
    struct err_text text;
    struct slice bytes = slice_of(data, size);
    enum ka_err err = origin_decode(bytes, &origin, &text);
    KA_ASSERT(err == KA_OK || err == KA_ERR_VERSION || err == KA_ERR_ENVELOPE);
    if (err != KA_OK)
        return 0;
    struct buf buf = {0};
    origin_encode(&origin, &buf);
    KA_ASSERT(buf.len <= size);
    KA_ASSERT(origin_decode(buf_slice(&buf), &again, &text) == KA_OK);
    KA_ASSERT(slice_eq(again.topic, origin.topic) && again.offset == origin.offset);
    KA_ASSERT(again.visited_count == origin.visited_count);
    KA_ASSERT(origin_has_visited(&origin, origin.cluster));
    buf_fini(&buf);
    return 0;
}
