// SPDX-License-Identifier: Apache-2.0
// Records of <app>.links: what decodes is what its encoder writes, and a restore takes anything.
#include "core/assert.h"
#include "core/link.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void progress_again(struct slice bytes, struct buf *buf)
{
    struct link_progress progress, again;
    if (link_progress_decode(bytes, &progress, NULL) != KA_OK)
        return;
    link_progress_encode(&progress, buf);
    KA_ASSERT(link_progress_decode(buf_slice(buf), &again, NULL) == KA_OK);
    KA_ASSERT(again.next == progress.next && again.last_hash == progress.last_hash);
    KA_ASSERT(slice_eq(again.stopped, progress.stopped) && slice_eq(again.topic, progress.topic));
}

static void skip_again(struct slice bytes, struct buf *buf)
{
    struct link_skip skip, again;
    if (link_skip_decode(bytes, &skip, NULL) != KA_OK)
        return;
    link_skip_encode(&skip, buf);
    KA_ASSERT(link_skip_decode(buf_slice(buf), &again, NULL) == KA_OK);
    KA_ASSERT(again.to == skip.to && slice_eq(again.reason, skip.reason));
}

static void restore(struct slice bytes)
{
    struct link_restore *restore = link_restore_new();
    struct err_text text;
    for (int i = 0; i < 3; i++) {
        struct record record = {.key = slice_of("eu/t/0", i < 2 ? 6 : 5), .value = bytes};
        if (i == 1)
            record.value = SLICE_NONE;
        enum ka_err err = link_restore_apply(restore, &record, &text);
        KA_ASSERT(err == KA_OK || i != 1);
    }
    KA_ASSERT(link_restore_parts(restore) <= 2);
    link_restore_free(&restore);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = slice_of(data, size);
    struct buf buf = {0};
    progress_again(bytes, &buf);
    buf_clear(&buf);
    skip_again(bytes, &buf);
    restore(bytes);
    buf_fini(&buf);
    return 0;
}
