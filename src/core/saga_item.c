// SPDX-License-Identifier: Apache-2.0
// Distributed steps: a group whose branches are one action for several regions, or for the elements
// of a list. The definition has as many branches as there may be elements; the list is derived from
// what was known before the step, the same for every attempt and every replay, so it is not stored.
#include "core/saga_internal.h"

#include "core/assert.h"
#include "core/json.h"

static bool refuse(struct turn *turn, struct why *why, const char *code,
                   const struct err_text *text)
{
    why->code = slice_str(code);
    why->message =
        saga_text(turn, arena_copy(turn->effects->arena, slice_str(text->text)), SAGA_MESSAGE_MAX);
    return false;
}

bool saga_item(struct turn *turn, int32_t step, struct slice *item, struct why *why)
{
    const struct saga_def *def = turn->saga->def;
    const struct expr *items = def->steps[step].items;
    int32_t first = def_first_of(def, step);
    int32_t branches = def_end_of(def, step) - first;
    struct err_text text = {""};
    struct slice list = SLICE_NONE;
    *item = SLICE_NONE;
    enum ka_err err = expr_eval(items, saga_known(turn, step), turn->effects->arena, &list, &text);
    if (err == KA_OK && (list.len == 0 || json_type(list) != JSON_ARRAY))
        err = err_set(&text, KA_ERR_SCHEMA, "the value is not a list");
    if (err != KA_OK) {
        (void)err_wrap(&text, err, "%s", expr_source(items));
        return refuse(turn, why, "invalid_items", &text);
    }
    struct json_walk walk = json_walk(list);
    struct slice name;
    struct slice value;
    int32_t count = 0;
    for (; json_next(&walk, &name, &value); count++)
        if (count == step - first)
            *item = json_trim(value);
    if (count <= branches)
        return true;
    (void)err_set(&text, KA_ERR_TOO_LARGE, "the list has %d elements, at most %d are taken", count,
                  branches);
    return refuse(turn, why, "too_many_items", &text);
}

static struct slice item_of(struct turn *turn, int32_t step)
{
    struct slice item = SLICE_NONE;
    struct why ignored = {0};
    (void)saga_item(turn, step, &item, &ignored); // it was there when the branch began
    return slice_none(item) ? SLICE_LIT("null") : item;
}

struct slice saga_seen(struct turn *turn, int32_t step)
{
    struct slice known = saga_known(turn, step);
    if (turn->saga->def->steps[step].items == NULL)
        return known;
    struct buf *scratch = turn->effects->scratch;
    size_t from = scratch->len;
    buf_str(scratch, "{\"item\":");
    buf_slice_put(scratch, item_of(turn, step));
    buf_byte(scratch, '}');
    struct slice item = saga_take(turn, from);
    json_merge(scratch, known, item);
    return saga_take(turn, from);
}

struct slice saga_given(struct turn *turn, int32_t step)
{
    if (turn->saga->def->steps[step].items == NULL)
        return saga_known(turn, step);
    return item_of(turn, step);
}

// Of a branch that was begun and has failed, and may. From what no late answer changes any more:
// the input of a later step must be the same for all of its attempts.
static void put_error(struct buf *buf, const struct saga_step_state *st)
{
    buf_str(buf, "{\"error\":{\"code\":");
    buf_str(buf, st->maybe_done ? "\"unknown\"}}" : "\"failed\"}}");
}

struct slice saga_gather(struct turn *turn, int32_t first, struct slice known)
{
    const struct saga *saga = turn->saga;
    struct buf *scratch = turn->effects->scratch;
    size_t from = scratch->len;
    buf_byte(scratch, '{');
    buf_json_str(scratch, slice_str(saga->def->steps[first].group_name));
    buf_str(scratch, ":{");
    for (int32_t i = first, end = def_end_of(saga->def, first); i < end; i++) {
        const struct saga_step_state *st = &saga->steps[i];
        if (st->state != STEP_DONE && st->attempts == 0)
            continue;
        if (scratch->ptr[scratch->len - 1] != '{')
            buf_byte(scratch, ',');
        buf_json_str(scratch, slice_str(saga->def->steps[i].gather));
        buf_byte(scratch, ':');
        if (st->state == STEP_DONE)
            buf_slice_put(scratch, st->result);
        else
            put_error(scratch, st);
    }
    buf_str(scratch, "}}");
    struct slice results = saga_take(turn, from);
    json_merge(scratch, known, results);
    return saga_take(turn, from);
}
