// SPDX-License-Identifier: Apache-2.0
#include "engine/recorded.h"

#include "core/hash.h"
#include "core/replay.h"
#include "engine/scan.h"

#include <stdio.h>
#include <stdlib.h>

enum { CALL_MS = 10000, STALL_MS = 30000, FIRST_CAP = 1024 };

// Two hashes of key, step and attempt: 128 bits, so that nothing is mixed up.
struct identity {
    uint64_t a;
    uint64_t b; // never 0
};

struct answer {
    struct identity id; // b = 0: empty
    struct action_result result;
};

struct recorded {
    struct answer *slots; // open addressing, linear, a power of two
    size_t cap;
    size_t count;
    struct arena texts;
    struct arena scratch;
};

static struct identity identify(struct slice key, struct slice step, int64_t attempt, bool undo)
{
    uint64_t a = hash_bytes(step, hash_bytes(key, 1));
    uint64_t b = hash_bytes(step, hash_bytes(key, 2));
    uint64_t number = (uint64_t)attempt << 1 | undo;
    return (struct identity){hash_mix(a ^ number), hash_mix(b ^ number) | 1};
}

static struct answer *place(const struct recorded *recorded, struct identity id)
{
    size_t at = (size_t)id.a & (recorded->cap - 1);
    struct answer *slot = &recorded->slots[at];
    while (slot->id.b != 0 && (slot->id.a != id.a || slot->id.b != id.b)) {
        at = (at + 1) & (recorded->cap - 1);
        slot = &recorded->slots[at];
    }
    return slot;
}

static void grow(struct recorded *recorded)
{
    struct recorded larger = *recorded;
    larger.cap = recorded->cap == 0 ? FIRST_CAP : recorded->cap * 2;
    larger.slots = calloc(larger.cap, sizeof *larger.slots);
    if (larger.slots == NULL)
        abort();
    for (size_t i = 0; i < recorded->cap; i++)
        if (recorded->slots[i].id.b != 0)
            *place(&larger, recorded->slots[i].id) = recorded->slots[i];
    free(recorded->slots);
    *recorded = larger;
}

// An attempt has ended, by its answer or its time; not by an operator or the saga's deadline.
static bool is_answer(const struct history_doc *doc)
{
    if (!doc->known || doc->attempt < 1 || doc->reason.len > 0 || doc->truncated >= 0)
        return false;
    switch (doc->transition) {
    case TRANSITION_STEP_COMPLETED:
    case TRANSITION_STEP_RETRYING:
    case TRANSITION_COMPENSATION_COMPLETED:
    case TRANSITION_COMPENSATION_FAILED:
    case TRANSITION_COMPENSATION_RETRYING:
        return true;
    case TRANSITION_STEP_FAILED:
        return !slice_eq(doc->code, SLICE_LIT("deadline"));
    case TRANSITION_SAGA_STARTED:
    case TRANSITION_SAGA_COMPLETED:
    case TRANSITION_SAGA_COMPENSATING:
    case TRANSITION_SAGA_COMPENSATED:
    case TRANSITION_SAGA_STUCK:
    case TRANSITION_SAGA_PAUSED:
    case TRANSITION_SAGA_RESUMED:
    case TRANSITION_SAGA_TERMINATED:
    case TRANSITION_STEP_STARTED:
    case TRANSITION_STEP_SKIPPED:
    case TRANSITION_STEP_LATE: // it had ended before
    case TRANSITION_COMPENSATION_STARTED:
        break;
    }
    return false;
}

static enum ka_err take(void *context, const struct record *record, struct err_text *text)
{
    struct recorded *recorded = context;
    struct history_doc doc;
    arena_reset(&recorded->scratch);
    if (history_doc_parse(record->value, &recorded->scratch, &doc, text) != KA_OK ||
        !is_answer(&doc))
        return KA_OK;
    if (recorded->count * 2 >= recorded->cap)
        grow(recorded);
    struct answer *slot =
        place(recorded, identify(record->key, doc.step, doc.attempt, doc.compensation));
    recorded->count += slot->id.b == 0;
    slot->id = identify(record->key, doc.step, doc.attempt, doc.compensation);
    slot->result = replay_result(&doc);
    slot->result.data = arena_copy(&recorded->texts, slot->result.data);
    slot->result.code = arena_copy(&recorded->texts, slot->result.code);
    slot->result.message = arena_copy(&recorded->texts, slot->result.message);
    slot->result.retry_after_ms = slot->result.outcome == OUTCOME_RETRY;
    return KA_OK;
}

static enum ka_err read_all(struct recorded *recorded, const struct io_kafka_config *kafka,
                            struct io_kafka_admin *admin, const char *topic, struct err_text *text)
{
    int32_t partitions = 0;
    enum ka_err err = io_kafka_partition_count(admin, topic, CALL_MS, &partitions, text);
    if (err == KA_OK && partitions == 0)
        return err_set(text, KA_ERR_NOT_FOUND, "there is no topic %s", topic);
    for (int32_t i = 0; err == KA_OK && i < partitions; i++) {
        struct scan scan = {.kafka = kafka, .topic = topic, .partition = i, .stall_ms = STALL_MS};
        err = io_kafka_watermarks(admin, topic, i, CALL_MS, &scan.from, &scan.end, text);
        if (err == KA_OK)
            err = scan_records(&scan, take, recorded, text);
    }
    return err;
}

enum ka_err recorded_open(const struct io_kafka_config *kafka, struct io_kafka_admin *admin,
                          const char *app, struct recorded **recorded, struct err_text *text)
{
    char topic[300];
    snprintf(topic, sizeof topic, "%s.history", app);
    struct recorded *opened = calloc(1, sizeof *opened);
    if (opened == NULL)
        abort();
    grow(opened);
    enum ka_err err = read_all(opened, kafka, admin, topic, text);
    arena_fini(&opened->scratch);
    if (err != KA_OK)
        recorded_close(&opened);
    *recorded = opened;
    return err;
}

void recorded_close(struct recorded **recorded)
{
    if (*recorded == NULL)
        return;
    free((*recorded)->slots);
    arena_fini(&(*recorded)->texts);
    arena_fini(&(*recorded)->scratch);
    free(*recorded);
    *recorded = NULL;
}

void recorded_answer(void *context, const struct invocation *call, struct arena *arena,
                     struct action_result *result)
{
    const struct recorded *recorded = context;
    const struct answer *slot = place(recorded, identify(call->key, slice_str(call->step_name),
                                                         call->attempt, call->compensation));
    (void)arena;
    *result = slot->id.b != 0
                  ? slot->result
                  : (struct action_result){
                        .outcome = OUTCOME_FAIL,
                        .code = SLICE_LIT("not_recorded"),
                        .message = SLICE_LIT("the app that is replayed made no such attempt, and "
                                             "nothing is called on the outside")};
}

size_t recorded_count(const struct recorded *recorded)
{
    return recorded->count;
}
