// SPDX-License-Identifier: Apache-2.0
// One walk over the members of the envelope and one over those of `data`; each name has a row that
// says where its value goes.
#include "core/history_doc.h"

#include "core/json.h"

enum { TYPES = TRANSITION_COMPENSATION_RETRYING + 1 };

// What has ended later cannot be remembered (2106).
#define TIME_MAX_MS (UINT32_MAX * INT64_C(1000))

enum kind { TEXT, NUMBER, TIME, FLAG, RAW };

struct member {
    const char *name;
    enum kind kind;
    size_t at; // of the field
};
#define FIELD(name, kind, field)                                                                   \
    {                                                                                              \
        name, kind, offsetof(struct history_doc, field)                                            \
    }

static const struct member envelope[] = {
    FIELD("source", TEXT, source),
    FIELD("type", TEXT, type),
    FIELD("time", TIME, time_ms),
    FIELD("sequence", NUMBER, sequence),
    FIELD("step", TEXT, step),
    FIELD("attempt", NUMBER, attempt),
    FIELD("tenant", TEXT, tenant),
    FIELD("dataclass", TEXT, dataclass),
    FIELD("traceparent", TEXT, traceparent),
    FIELD("cause", TEXT, cause),
    FIELD("executedby", TEXT, executed_by),
    FIELD("data", RAW, data),
};
static const struct member payload[] = {
    FIELD("index", NUMBER, index),
    FIELD("action", TEXT, action),
    FIELD("group", TEXT, group),
    FIELD("state", TEXT, state),
    FIELD("compensation", FLAG, compensation),
    FIELD("result", RAW, result),
    FIELD("code", TEXT, code),
    FIELD("message", TEXT, message),
    FIELD("due", TIME, due_ms),
    FIELD("maybe_done", FLAG, maybe_done),
    FIELD("executed_by", TEXT, ran_by),
    FIELD("region", TEXT, region),
    FIELD("actor", TEXT, actor),
    FIELD("reason", TEXT, reason),
    FIELD("definition", TEXT, definition),
    FIELD("data", RAW, event_data),
    FIELD("truncated", NUMBER, truncated),
    FIELD("placement", TEXT, placement),
};
static const struct member start_event[] = {
    FIELD("id", TEXT, event_id),
    FIELD("type", TEXT, event_type),
    FIELD("source", TEXT, event_source),
};
#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

// --- values

static bool digits(const char *at, size_t len, int64_t *number)
{
    *number = 0;
    for (size_t i = 0; i < len; i++) {
        if (at[i] < '0' || at[i] > '9' || *number > (INT64_MAX - 9) / 10)
            return false;
        *number = *number * 10 + (at[i] - '0');
    }
    return len > 0;
}

// Days since 1970-01-01 of a date of the Gregorian calendar (Howard Hinnant's algorithm).
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    int64_t era = year / 400;
    int64_t of_era = year - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

int64_t history_doc_time(struct slice text)
{
    static const struct {
        size_t at, len;
    } fields[] = {{0, 4}, {5, 2}, {8, 2}, {11, 2}, {14, 2}, {17, 2}, {20, 3}};
    int64_t value[7];
    if (text.len != 24)
        return -1;
    for (size_t i = 0; i < 7; i++)
        if (!digits(text.ptr + fields[i].at, fields[i].len, &value[i]))
            return -1;
    bool real = value[1] >= 1 && value[1] <= 12 && value[2] >= 1 && value[2] <= 31 &&
                value[3] <= 23 && value[4] <= 59 && value[5] <= 59;
    if (!real)
        return -1;
    int64_t seconds =
        ((days_of(value[0], value[1], value[2]) * 24 + value[3]) * 60 + value[4]) * 60;
    return (seconds + value[5]) * 1000 + value[6];
}

static void take(struct history_doc *out, const struct member *member, struct slice value,
                 struct arena *arena)
{
    char *field = (char *)out + member->at;
    bool text = json_type(value) == JSON_STRING;
    int64_t number = -1;
    switch (member->kind) {
    case TEXT:
        if (text)
            *(struct slice *)(void *)field = json_text(value, arena);
        break;
    case TIME:
        if (text)
            number = history_doc_time(json_text(value, arena));
        *(int64_t *)(void *)field = number;
        break;
    case NUMBER:
        if (!json_i64(value, &number))
            number = -1;
        *(int64_t *)(void *)field = number;
        break;
    case FLAG:
        *(bool *)(void *)field = json_type(value) == JSON_TRUE;
        break;
    case RAW:
        *(struct slice *)(void *)field = value;
        break;
    }
}

static void take_members(struct history_doc *out, struct slice object, const struct member *rows,
                         size_t count, struct arena *arena)
{
    struct json_walk walk = json_walk(object);
    struct slice name;
    struct slice value;
    while (json_next(&walk, &name, &value))
        for (size_t i = 0; i < count; i++)
            if (json_text_is(name, slice_str(rows[i].name)))
                take(out, &rows[i], json_trim(value), arena);
}

// --- what kind of document

static int64_t incarnation_of(struct slice sagaid)
{
    int64_t number;
    for (size_t at = sagaid.len; at > 0; at--)
        if (sagaid.ptr[at - 1] == '@')
            return digits(sagaid.ptr + at, sagaid.len - at, &number) ? number : -1;
    return -1;
}

static bool hash_of(struct slice hex, struct def_id *id)
{
    if (hex.len != 2 * DEF_ID_SIZE)
        return false;
    for (size_t i = 0; i < hex.len; i++) {
        char c = hex.ptr[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0)
            return false;
        unsigned char *byte = &id->bytes[i / 2];
        *byte = (unsigned char)(*byte << 4 | digit);
    }
    return true;
}

static bool type_of(struct slice type, enum transition_type *out)
{
    for (int i = 0; i < TYPES; i++) {
        if (!slice_eq(type, slice_str(transition_type_name((enum transition_type)i))))
            continue;
        *out = (enum transition_type)i;
        return true;
    }
    return false;
}

static bool of_saga(enum transition_type type)
{
    return type <= TRANSITION_SAGA_TERMINATED;
}

static struct slice text_in(struct slice object, const char *name, struct arena *arena)
{
    struct slice value = json_member(object, slice_str(name));
    bool text = !slice_none(value) && json_type(value) == JSON_STRING;
    return text ? json_text(value, arena) : SLICE_LIT("");
}

enum ka_err history_doc_check(const struct history_doc *doc, struct err_text *text)
{
    if (!doc->known)
        return err_set(text, KA_ERR_VERSION, "type kasaga.%.*s is not known here",
                       SLICE_FMT(doc->type));
    bool whole = doc->incarnation >= 0 && doc->sequence >= 0 && doc->time_ms >= 0 &&
                 doc->time_ms < TIME_MAX_MS;
    if (doc->transition == TRANSITION_SAGA_STARTED)
        whole = whole && doc->has_hash && !slice_none(doc->event_data);
    else if (!of_saga(doc->transition))
        whole = whole && doc->index >= 0 && doc->index < DEF_STEPS_MAX && doc->attempt <= INT32_MAX;
    if (whole)
        return KA_OK;
    return err_set(text, KA_ERR_ENVELOPE, "a document of type %.*s lacks what it always has",
                   SLICE_FMT(doc->type));
}

static void take_start(struct history_doc *out, struct arena *arena)
{
    take_members(out, json_member(out->data, SLICE_LIT("event")), start_event, COUNT(start_event),
                 arena);
    out->has_hash = hash_of(text_in(out->data, "hash", arena), &out->hash);
}

enum ka_err history_doc_parse(struct slice doc, struct arena *arena, struct history_doc *out,
                              struct err_text *text)
{
    const struct slice prefix = SLICE_LIT("kasaga.");
    const struct slice nothing = SLICE_LIT("");
    *out = (struct history_doc){
        .doc = doc,
        .type = nothing,
        .incarnation = -1,
        .sequence = -1,
        .time_ms = -1,
        .source = nothing,
        .step = nothing,
        .attempt = -1,
        .tenant = nothing,
        .dataclass = nothing,
        .traceparent = nothing,
        .cause = nothing,
        .executed_by = nothing,
        .index = -1,
        .action = nothing,
        .group = nothing,
        .state = nothing,
        .code = nothing,
        .message = nothing,
        .actor = nothing,
        .reason = nothing,
        .due_ms = -1,
        .truncated = -1,
        .definition = nothing,
        .event_id = nothing,
        .event_type = nothing,
        .event_source = nothing,
    };
    if (slice_none(doc))
        return err_set(text, KA_ERR_JSON, "no value");
    enum ka_err err = json_validate(doc, text);
    if (err != KA_OK)
        return err;
    take_members(out, doc, envelope, COUNT(envelope), arena);
    if (!slice_starts(out->type, prefix) || slice_none(out->data))
        return err_set(text, KA_ERR_ENVELOPE, "no document of kasaga's history");
    take_members(out, out->data, payload, COUNT(payload), arena);
    out->incarnation = incarnation_of(text_in(doc, "sagaid", arena));
    out->known = type_of(out->type, &out->transition);
    out->type = slice_of(out->type.ptr + prefix.len, out->type.len - prefix.len);
    if (out->known && out->transition == TRANSITION_SAGA_STARTED)
        take_start(out, arena);
    return KA_OK;
}
