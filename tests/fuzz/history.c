// SPDX-License-Identifier: Apache-2.0
// Any bytes as records of the history, one per line: whatever they tell, a shard is rebuilt from
// them, and what is written of it is restored to the same.
#include "core/assert.h"
#include "core/rebuild.h"
#include "core/shard.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEPS = 3, END_S = 2000000000 };

static const struct table_limits limits = {INT64_C(1000) * END_S, 1 << 20};

// Whatever its hash, it is this one.
static enum ka_err find(void *context, const struct def_id *id, const struct saga_def **def,
                        struct err_text *text)
{
    static const struct action_def pooled = {.name = "pooled"};
    static const struct action_def in_lane = {.name = "inline", .run_inline = true};
    static const char *const names[STEPS] = {"a", "b", "c"};
    struct saga_def *made = context;
    (void)text;
    made->name = "order";
    made->id = *id;
    made->deadline_ms = 1000;
    made->step_count = STEPS;
    for (int i = 0; i < STEPS; i++)
        made->steps[i] = (struct step_def){.name = names[i],
                                           .action_name = "act",
                                           .action = i == 1 ? &in_lane : &pooled,
                                           .compensate_name = i < 2 ? "undo" : NULL,
                                           .compensate = i < 2 ? &pooled : NULL,
                                           .retry = {i == 2 ? 0 : 3, 10, 100},
                                           .compensate_retry = {2, 10, 100},
                                           .timeout_ms = 100,
                                           .compensate_timeout_ms = 100,
                                           .pivot = i == 1};
    *def = made;
    return KA_OK;
}

static void restore(void *context, struct slice key, struct slice value)
{
    struct shard_restore *restored = context;
    struct record record = {
        .offset = (int64_t)shard_restore_records(restored), .key = key, .value = value};
    enum ka_err err = shard_restore_apply(restored, &record, NULL);
    KA_ASSERT(err == KA_OK);
}

static void written_is_read(const struct rebuild_config *config, struct rebuild *rebuild)
{
    struct shard_restore *restored = shard_restore_new(&limits);
    rebuild_write_all(rebuild, restore, restored);
    shard_restore_end(restored, (int64_t)shard_restore_records(restored), INT64_C(1000) * END_S);
    struct table *table = shard_restore_table(restored);
    enum ka_err err = rebuild_due_times(config, table, NULL);
    KA_ASSERT(err == KA_OK);
    KA_ASSERT(table_digest(table) == table_digest(rebuild_table(rebuild)));
    shard_restore_free(&restored);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct saga_def *def = calloc(1, sizeof *def + STEPS * sizeof *def->steps);
    struct rebuild_config config = {.limits = limits, .context = def, .find = find};
    struct rebuild *rebuild = rebuild_new(&config);
    const char *at = (const char *)data;
    const char *end = at + size;
    while (at < end) {
        const char *line = memchr(at, '\n', (size_t)(end - at));
        size_t len = line == NULL ? (size_t)(end - at) : (size_t)(line - at);
        struct record record = {.key = SLICE_LIT("order/1"), .value = slice_of(at, len)};
        rebuild_take(rebuild, &record);
        at += len + 1;
    }
    rebuild_end(rebuild, INT64_C(1000) * END_S);
    if (rebuild_lost(rebuild, &(struct slice){0}, &(const char *){NULL}) == 0)
        written_is_read(&config, rebuild);
    rebuild_free(&rebuild);
    free(def);
    return 0;
}
