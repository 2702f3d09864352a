// SPDX-License-Identifier: Apache-2.0
// Any bytes as the state of a saga of three steps: refused, or an instance that holds together,
// is written and read back the same, and goes on whatever comes next.
#include "core/assert.h"
#include "core/history.h"
#include "core/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEPS = 3 };

static struct saga_def *definition(const struct def_id *id, struct arena *arena)
{
    static const struct action_def pooled = {.name = "pooled"};
    static const struct action_def in_lane = {.name = "inline", .run_inline = true};
    struct saga_def *def = arena_zalloc(arena, sizeof *def + STEPS * sizeof *def->steps);
    def->name = "order";
    def->id = *id;
    def->deadline_ms = 1000;
    def->step_count = STEPS;
    static const char *const names[STEPS] = {"a", "b", "c"};
    for (int i = 0; i < STEPS; i++)
        def->steps[i] = (struct step_def){.name = names[i],
                                          .action_name = "act",
                                          .action = i == 1 ? &in_lane : &pooled,
                                          .compensate_name = i < 2 ? "undo" : NULL,
                                          .compensate = i < 2 ? &pooled : NULL,
                                          .retry = {3, 10, 100},
                                          .compensate_retry = {2, 10, 100},
                                          .timeout_ms = 100,
                                          .compensate_timeout_ms = 100,
                                          .pivot = i == 1};
    return def;
}

// The door validates JSON; here nobody stood at it.
static bool json_is_valid(const struct saga *saga)
{
    if (json_validate(saga->data, NULL) != KA_OK)
        return false;
    for (int i = 0; i < STEPS; i++) {
        const struct saga_step_state *st = &saga->steps[i];
        if (st->input.len > 0 && json_validate(st->input, NULL) != KA_OK)
            return false;
        if (st->result.len > 0 && json_validate(st->result, NULL) != KA_OK)
            return false;
    }
    return true;
}

static void written_is_read(const struct saga *saga, struct arena *arena)
{
    struct buf first = {0};
    struct buf second = {0};
    struct saga *again = NULL;
    saga_encode(saga, &first);
    enum ka_err err = saga_decode(buf_slice(&first), saga->key, saga->def, arena, &again, NULL);
    KA_ASSERT(err == KA_OK);
    saga_encode(again, &second);
    KA_ASSERT(slice_eq(buf_slice(&first), buf_slice(&second)));
    buf_fini(&first);
    buf_fini(&second);
}

static void go_on(struct saga *saga, struct arena *arena, uint8_t how)
{
    struct buf scratch = {0};
    struct buf history = {0};
    struct saga_effects effects = {.arena = arena, .scratch = &scratch};
    struct history_context context = {SLICE_LIT("/s"), SLICE_LIT("c"), "n"};
    struct command command = {.verb = (enum command_verb)(how % 7), .reason = SLICE_LIT("r")};
    struct saga_event event = {.type = (enum saga_event_type)(1 + how % 4),
                               .now_ms = saga_due(saga) == INT64_MAX ? 1 : saga_due(saga),
                               .step = saga->current,
                               .attempt = 1 + how % 3,
                               .compensation = how % 5 == 0,
                               .command = &command};
    event.result.outcome = (enum outcome)(how / 16 % 4);
    struct err_text text;
    (void)!saga_step(saga, &event, &effects, &text);
    for (size_t i = 0; i < effects.transition_count; i++)
        history_format(saga, &effects.transitions[i], &context, &history);
    buf_fini(&scratch);
    buf_fini(&history);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct saga_header header;
    struct err_text text;
    struct arena arena = {0};
    struct saga *saga = NULL;
    if (size == 0 || saga_peek(slice_of(data, size - 1), &header, &text) != KA_OK)
        return 0;
    struct slice bytes = slice_of(data, size - 1); // the last byte says what happens next
    const struct saga_def *def = definition(&header.def, &arena);
    if (saga_decode(bytes, SLICE_LIT("order/1"), def, &arena, &saga, &text) == KA_OK) {
        saga_check(saga);
        written_is_read(saga, &arena);
        if (json_is_valid(saga)) {
            go_on(saga, &arena, data[size - 1]);
            written_is_read(saga, &arena);
        }
    }
    arena_fini(&arena);
    return 0;
}
