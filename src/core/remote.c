// SPDX-License-Identifier: Apache-2.0
#include "core/remote.h"

#include "core/assert.h"
#include "core/buf.h"
#include "core/json.h"

static const char *const outcome_names[] = {
    [OUTCOME_OK] = "ok",
    [OUTCOME_FAIL] = "fail",
    [OUTCOME_RETRY] = "retry",
    [OUTCOME_UNKNOWN] = "unknown",
};

// ---- Writing

static void put_text(struct buf *buf, const char *name, struct slice text)
{
    if (slice_none(text))
        return;
    buf_str(buf, buf->ptr[buf->len - 1] == '{' ? "\"" : ",\"");
    buf_str(buf, name);
    buf_str(buf, "\":");
    buf_json_str(buf, text);
}

static void put_number(struct buf *buf, const char *name, int64_t value)
{
    buf_str(buf, ",\"");
    buf_str(buf, name);
    buf_str(buf, "\":");
    buf_i64(buf, value);
}

static void put_raw(struct buf *buf, const char *name, struct slice json)
{
    buf_str(buf, ",\"");
    buf_str(buf, name);
    buf_str(buf, "\":");
    buf_slice_put(buf, json);
}

static struct slice boolean(bool value)
{
    return value ? SLICE_LIT("true") : SLICE_LIT("false");
}

void remote_key(const struct remote_call *call, const char *action, struct buf *buf)
{
    buf_str(buf, REMOTE_PREFIX);
    buf_str(buf, action);
    buf_byte(buf, '/');
    buf_slice_put(buf, call->origin);
    buf_byte(buf, '/');
    buf_slice_put(buf, call->idempotency_key);
    buf_byte(buf, '/');
    buf_i64(buf, call->attempt);
}

void remote_call_format(const struct remote_call *call, struct buf *buf)
{
    KA_ASSERT(call->attempt > 0 && json_type(call->input) == JSON_OBJECT);
    buf_byte(buf, '{');
    put_text(buf, "origin", call->origin);
    put_text(buf, "saga", call->saga);
    put_number(buf, "incarnation", call->incarnation);
    put_number(buf, "step", call->step);
    put_number(buf, "attempt", call->attempt);
    put_raw(buf, "compensation", boolean(call->compensation));
    put_number(buf, "due_ms", call->due_ms);
    put_text(buf, "idempotency_key", call->idempotency_key);
    put_text(buf, "forward_key", call->forward_key);
    put_raw(buf, "input", call->input);
    buf_byte(buf, '}');
}

void remote_result_format(const struct remote_result *result, struct buf *buf)
{
    const struct action_result *ended = &result->result;
    buf_byte(buf, '{');
    put_text(buf, "executed_by", result->executed_by);
    put_number(buf, "incarnation", result->incarnation);
    put_number(buf, "step", result->step);
    put_number(buf, "attempt", result->attempt);
    put_raw(buf, "compensation", boolean(result->compensation));
    put_text(buf, "outcome", slice_str(outcome_names[ended->outcome]));
    put_raw(buf, "maybe_done", boolean(ended->maybe_done));
    put_text(buf, "code", ended->code);
    put_text(buf, "message", ended->message);
    if (ended->retry_after_ms > 0)
        put_number(buf, "retry_after_ms", ended->retry_after_ms);
    if (ended->data.len > 0)
        put_raw(buf, "result", ended->data);
    buf_byte(buf, '}');
}

// ---- Reading: the first member that is wrong is kept

struct reader {
    struct slice data;
    struct arena *arena;
    const char *wrong;
};

static struct slice member(struct reader *reader, const char *name, enum json_type type, bool must)
{
    struct slice value = json_member(reader->data, slice_str(name));
    bool good = slice_none(value) ? !must : json_type(value) == type;
    if (!good && reader->wrong == NULL)
        reader->wrong = name;
    return good ? json_trim(value) : SLICE_NONE;
}

static struct slice text_of(struct reader *reader, const char *name, bool must)
{
    struct slice value = member(reader, name, JSON_STRING, must);
    return slice_none(value) ? value : json_text(value, reader->arena);
}

static int64_t number_of(struct reader *reader, const char *name, int64_t min, int64_t max)
{
    struct slice value = json_member(reader->data, slice_str(name));
    int64_t number = 0;
    bool good = !slice_none(value) && json_i64(value, &number) && number >= min && number <= max;
    if (!good && reader->wrong == NULL)
        reader->wrong = name;
    return good ? number : min;
}

static bool bool_of(struct reader *reader, const char *name)
{
    struct slice value = json_member(reader->data, slice_str(name));
    enum json_type type = json_type(value);
    if (type != JSON_TRUE && type != JSON_FALSE && reader->wrong == NULL)
        reader->wrong = name;
    return type == JSON_TRUE;
}

static enum ka_err end(const struct reader *reader, const char *what, struct err_text *text)
{
    return reader->wrong == NULL ? KA_OK
                                 : err_set(text, KA_ERR_ENVELOPE, "%s: \"%s\" is missing or wrong",
                                           what, reader->wrong);
}

enum ka_err remote_call_parse(struct slice data, struct arena *arena, struct remote_call *call,
                              struct err_text *text)
{
    struct reader reader = {data, arena, NULL};
    *call = (struct remote_call){
        .origin = text_of(&reader, "origin", true),
        .saga = text_of(&reader, "saga", true),
        .incarnation = number_of(&reader, "incarnation", 0, INT64_MAX),
        .step = (int32_t)number_of(&reader, "step", 0, DEF_STEPS_MAX - 1),
        .attempt = (int32_t)number_of(&reader, "attempt", 1, INT32_MAX - 1),
        .compensation = bool_of(&reader, "compensation"),
        .due_ms = number_of(&reader, "due_ms", 1, INT64_MAX),
        .idempotency_key = text_of(&reader, "idempotency_key", true),
        .forward_key = text_of(&reader, "forward_key", false),
        .input = member(&reader, "input", JSON_OBJECT, true),
    };
    return end(&reader, "a call from another region", text);
}

static enum outcome outcome_of(struct reader *reader)
{
    struct slice name = text_of(reader, "outcome", true);
    for (int i = OUTCOME_OK; i <= OUTCOME_UNKNOWN; i++)
        if (slice_eq(name, slice_str(outcome_names[i])))
            return (enum outcome)i;
    if (reader->wrong == NULL)
        reader->wrong = "outcome";
    return OUTCOME_UNKNOWN;
}

enum ka_err remote_result_parse(struct slice data, struct arena *arena,
                                struct remote_result *result, struct err_text *text)
{
    struct reader reader = {data, arena, NULL};
    *result = (struct remote_result){
        .executed_by = text_of(&reader, "executed_by", true),
        .incarnation = number_of(&reader, "incarnation", 0, INT64_MAX),
        .step = (int32_t)number_of(&reader, "step", 0, DEF_STEPS_MAX - 1),
        .attempt = (int32_t)number_of(&reader, "attempt", 1, INT32_MAX - 1),
        .compensation = bool_of(&reader, "compensation"),
        .result = {.outcome = outcome_of(&reader),
                   .maybe_done = bool_of(&reader, "maybe_done"),
                   .code = text_of(&reader, "code", false),
                   .message = text_of(&reader, "message", false),
                   .data = member(&reader, "result", JSON_OBJECT, false)},
    };
    if (!slice_none(json_member(data, SLICE_LIT("retry_after_ms"))))
        result->result.retry_after_ms = number_of(&reader, "retry_after_ms", 0, INT64_MAX);
    return end(&reader, "a result from another region", text);
}
