// SPDX-License-Identifier: Apache-2.0
// Two states compared field by field, and one written as JSON: from one table of fields, in the
// order of the stored form.
#include "core/assert.h"
#include "core/replay.h"

enum kind { INT64, INT32, COUNT, BOOLEAN, BITS, TIME, SAGA_STATE, STEP_STATE, TEXT, JSON };

struct field {
    const char *name;
    enum kind kind;
    size_t at;
};
#define OF_SAGA(kind, name)                                                                        \
    {                                                                                              \
#name, kind, offsetof(struct saga, name)                                                   \
    }
#define OF_STEP(kind, name)                                                                        \
    {                                                                                              \
#name, kind, offsetof(struct saga_step_state, name)                                        \
    }

static const struct field saga_fields[] = {
    OF_SAGA(INT64, incarnation),  OF_SAGA(SAGA_STATE, state),  OF_SAGA(SAGA_STATE, paused_from),
    OF_SAGA(INT32, current),      OF_SAGA(INT64, sequence),    OF_SAGA(TIME, started_ms),
    OF_SAGA(TIME, deadline_ms),   OF_SAGA(TIME, paused_ms),    OF_SAGA(JSON, data),
    OF_SAGA(TEXT, source),        OF_SAGA(TEXT, type),         OF_SAGA(TEXT, event_id),
    OF_SAGA(TEXT, tenant),        OF_SAGA(TEXT, dataclass),    OF_SAGA(TEXT, traceparent),
    OF_SAGA(TEXT, fail_code),     OF_SAGA(TEXT, fail_message), OF_SAGA(TEXT, cause_code),
    OF_SAGA(TEXT, cause_message),
};
static const struct field step_fields[] = {
    OF_STEP(STEP_STATE, state),    OF_STEP(BOOLEAN, maybe_done), OF_STEP(COUNT, attempts),
    OF_STEP(COUNT, undo_attempts), OF_STEP(COUNT, forgiven),     OF_STEP(TIME, due_ms),
    OF_STEP(TIME, forward_end_ms), OF_STEP(BITS, unheard),       OF_STEP(JSON, input),
    OF_STEP(JSON, result),         OF_STEP(TEXT, region),
};
enum {
    SAGA_FIELDS = sizeof saga_fields / sizeof saga_fields[0],
    STEP_FIELDS = sizeof step_fields / sizeof step_fields[0]
};

static const void *place(const void *of, const struct field *field)
{
    return (const char *)of + field->at;
}

static struct slice text_at(const void *of, const struct field *field)
{
    return *(const struct slice *)place(of, field);
}

// The number of a field that is no text.
static int64_t number_at(const void *of, const struct field *field)
{
    const void *at = place(of, field);
    switch (field->kind) {
    case INT64:
    case TIME:
        return *(const int64_t *)at;
    case INT32:
    case COUNT:
        return *(const int32_t *)at;
    case BOOLEAN:
        return *(const bool *)at;
    case BITS:
        return (int64_t) * (const uint64_t *)at;
    case SAGA_STATE:
        return *(const enum saga_state *)at;
    case STEP_STATE:
        return *(const enum step_state *)at;
    case TEXT:
    case JSON:
        break;
    }
    KA_ASSERT(false && "a text is no number");
    return 0;
}

static bool is_text(const struct field *field)
{
    return field->kind == TEXT || field->kind == JSON;
}

static const struct field *differs(const void *a, const void *b, const struct field *fields,
                                   size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bool equal = is_text(&fields[i]) ? slice_eq(text_at(a, &fields[i]), text_at(b, &fields[i]))
                                         : number_at(a, &fields[i]) == number_at(b, &fields[i]);
        if (!equal)
            return &fields[i];
    }
    return NULL;
}

const char *replay_difference(const struct saga *a, const struct saga *b, struct arena *arena)
{
    KA_ASSERT(a->def == b->def);
    const struct field *field = differs(a, b, saga_fields, SAGA_FIELDS);
    if (field != NULL)
        return field->name;
    for (size_t i = 0; i < a->def->step_count; i++) {
        field = differs(&a->steps[i], &b->steps[i], step_fields, STEP_FIELDS);
        if (field == NULL)
            continue;
        struct buf name = {0};
        buf_str(&name, "steps[");
        buf_i64(&name, (int64_t)i);
        buf_str(&name, "].");
        buf_str(&name, field->name);
        const char *kept = arena_str(arena, buf_slice(&name));
        buf_fini(&name);
        return kept;
    }
    return NULL;
}

// --- as JSON

static void put_value(struct buf *buf, const void *of, const struct field *field)
{
    switch (field->kind) {
    case TEXT:
        buf_json_str(buf, text_at(of, field));
        break;
    case JSON:
        buf_slice_put(buf, text_at(of, field));
        break;
    case TIME:
        buf_json_time(buf, number_at(of, field));
        break;
    case BOOLEAN:
        buf_str(buf, number_at(of, field) != 0 ? "true" : "false");
        break;
    case SAGA_STATE:
        buf_json_str(buf, slice_str(saga_state_name((enum saga_state)number_at(of, field))));
        break;
    case STEP_STATE:
        buf_json_str(buf, slice_str(step_state_name((enum step_state)number_at(of, field))));
        break;
    case INT64:
    case INT32:
    case COUNT:
    case BITS:
        buf_i64(buf, number_at(of, field));
        break;
    }
}

// Times and texts that are not there, flags that are not set and attempts that were not made are
// left out.
static bool said(const void *of, const struct field *field)
{
    bool always = field->kind == SAGA_STATE || field->kind == STEP_STATE || field->kind == INT64 ||
                  field->kind == INT32;
    return is_text(field) ? text_at(of, field).len > 0 : always || number_at(of, field) != 0;
}

static void put_fields(struct buf *buf, const void *of, const struct field *fields, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!said(of, &fields[i]))
            continue;
        buf_str(buf, ",\"");
        buf_str(buf, fields[i].name);
        buf_str(buf, "\":");
        put_value(buf, of, &fields[i]);
    }
}

void replay_state_json(const struct saga *saga, struct buf *buf)
{
    buf_str(buf, "{\"key\":");
    buf_json_str(buf, saga->key);
    put_fields(buf, saga, saga_fields, SAGA_FIELDS);
    buf_str(buf, ",\"steps\":[");
    for (size_t i = 0; i < saga->def->step_count; i++) {
        buf_str(buf, i == 0 ? "{\"step\":" : ",{\"step\":");
        buf_json_str(buf, slice_str(saga->def->steps[i].name));
        put_fields(buf, &saga->steps[i], step_fields, STEP_FIELDS);
        buf_byte(buf, '}');
    }
    buf_str(buf, "]}");
}
