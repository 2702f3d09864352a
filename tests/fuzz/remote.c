// SPDX-License-Identifier: Apache-2.0
// What comes from other regions and what is looked at before it goes there: calls, results, audit
// records, loads, the class of a document. A call that is accepted is written again and read as the
// same.
#include "core/remote.h"
#include "core/assert.h"
#include "core/audit.h"
#include "core/json.h"
#include "core/placement.h"
#include "core/residency.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void no_hash(struct slice bytes, unsigned char digest[META_HASH_SIZE])
{
    memset(digest, (int)(bytes.len & 0xFF), META_HASH_SIZE);
}

static void call_again(struct slice doc, struct arena *arena)
{
    struct remote_call call;
    struct remote_call again;
    struct buf buf = {0};
    if (remote_call_parse(doc, arena, &call, NULL) != KA_OK)
        return;
    remote_call_format(&call, &buf);
    KA_ASSERT(remote_call_parse(buf_slice(&buf), arena, &again, NULL) == KA_OK);
    KA_ASSERT(call.incarnation == again.incarnation && call.step == again.step &&
              call.attempt == again.attempt && call.due_ms == again.due_ms);
    KA_ASSERT(slice_eq(call.saga, again.saga) && slice_eq(call.input, again.input));
    buf_fini(&buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct residency_pattern patterns[] = {{{"*mail", 5}, CLASS_PERSONAL},
                                                        {{"card*no", 7}, CLASS_FINANCIAL}};
    static const struct residency residency = {.patterns = patterns, .pattern_count = 2};
    struct slice doc = slice_of(data, size);
    struct arena arena = {0};
    struct remote_result result;
    struct audit_record audit;
    struct placement_beat beat;
    struct record record = {.key = doc, .value = doc};
    audit_read(&record, no_hash, &audit);
    if (placement_beat_parse(doc, &arena, &beat, NULL) == KA_OK)
        KA_ASSERT(placement_busy(&beat, 1) >= 0 && placement_busy(&beat, 1) <= PLACEMENT_BUSY_MAX);
    if (json_validate(doc, NULL) == KA_OK) {
        call_again(doc, &arena);
        (void)!remote_result_parse(doc, &arena, &result, NULL);
        (void)residency_classify(&residency, doc, &arena);
    }
    arena_fini(&arena);
    return 0;
}
