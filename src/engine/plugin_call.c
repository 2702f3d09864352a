// SPDX-License-Identifier: Apache-2.0
// The other side of include/kasaga/action.h: what `struct kasaga_host` points to, and the door for
// a plugin's results. Behind it, data is a valid JSON object and every other outcome has a code.
#include "engine/plugin_call.h"

#include "core/json.h"
#include "io/clock.h"
#include "io/log.h"

#include <stdarg.h>
#include <stdio.h>

enum { LOG_TEXT_MAX = 400, SMALL_TEXT = 512 };

// A call as the plugin sees it, and what belongs to it on this side.
struct frame {
    struct kasaga_call call; // first: the host functions get a pointer to it
    const struct plugin_call *plugin;
    struct arena *arena;
    struct action_result *result;
};

static struct slice to_slice(struct kasaga_bytes bytes)
{
    return (struct slice){bytes.ptr, bytes.len};
}

static struct kasaga_bytes to_bytes(struct slice s)
{
    return (struct kasaga_bytes){s.ptr, s.len};
}

static void set_not_ok(struct action_result *result, enum outcome outcome, bool maybe_done,
                       struct slice code, struct slice message)
{
    result->outcome = outcome;
    result->maybe_done = maybe_done;
    result->data = SLICE_NONE;
    result->code = code;
    result->message = message;
}

// ----------------------------------------------------------------------- what a plugin may call

static struct frame *frame_of(struct kasaga_call *call)
{
    return (struct frame *)(void *)call;
}

static void *host_alloc(struct kasaga_call *call, size_t size)
{
    return arena_alloc(frame_of(call)->arena, size);
}

static struct kasaga_bytes KA_PRINTF(2, 3)
    host_format(struct kasaga_call *call, const char *format, ...)
{
    char small[SMALL_TEXT]; // most results: formatted once
    va_list args;
    va_start(args, format);
    int len = vsnprintf(small, sizeof small, format, args);
    va_end(args);
    if (len < 0)
        return (struct kasaga_bytes){"", 0};
    char *text = arena_alloc(frame_of(call)->arena, (size_t)len + 1);
    if (len < SMALL_TEXT) {
        memcpy(text, small, (size_t)len + 1);
        return (struct kasaga_bytes){text, (size_t)len};
    }
    va_start(args, format);
    vsnprintf(text, (size_t)len + 1, format, args);
    va_end(args);
    return (struct kasaga_bytes){text, (size_t)len};
}

static struct kasaga_bytes host_quote(struct kasaga_call *call, struct kasaga_bytes text)
{
    struct buf buf = {0};
    buf_json_str(&buf, to_slice(text));
    struct kasaga_bytes quoted = {arena_str(frame_of(call)->arena, buf_slice(&buf)), buf.len};
    buf_fini(&buf);
    return quoted;
}

static struct kasaga_bytes host_member(struct kasaga_bytes object, const char *name)
{
    if (object.ptr == NULL)
        return object;
    return to_bytes(json_member(to_slice(object), slice_str(name)));
}

static struct kasaga_bytes host_text(struct kasaga_call *call, struct kasaga_bytes value)
{
    if (value.ptr == NULL || json_type(to_slice(value)) != JSON_STRING)
        return (struct kasaga_bytes){NULL, 0};
    struct arena *arena = frame_of(call)->arena;
    struct slice text = json_text(to_slice(value), arena);
    return (struct kasaga_bytes){arena_str(arena, text), text.len};
}

static int host_integer(struct kasaga_bytes value, int64_t *out)
{
    return value.ptr != NULL && json_type(to_slice(value)) == JSON_NUMBER &&
           json_i64(to_slice(value), out);
}

static int host_number(struct kasaga_bytes value, double *out)
{
    return value.ptr != NULL && json_type(to_slice(value)) == JSON_NUMBER &&
           json_f64(to_slice(value), out);
}

static void host_ok(struct kasaga_call *call, struct kasaga_bytes data)
{
    struct frame *frame = frame_of(call);
    frame->result->data = arena_copy(frame->arena, to_slice(data));
}

static void host_not_ok(struct kasaga_call *call, int64_t after_ms, const char *code,
                        const char *message)
{
    struct frame *frame = frame_of(call);
    struct action_result *result = frame->result;
    result->code = arena_copy(frame->arena, slice_str(code));
    result->message = arena_copy(frame->arena, slice_str(message));
    result->retry_after_ms = after_ms > 0 ? after_ms : 0;
}

static int host_cancelled(const struct kasaga_call *call)
{
    const struct frame *frame = (const struct frame *)(const void *)call;
    const atomic_bool *stop = frame->plugin->stop;
    if (frame->plugin->run_inline)
        return 0;
    return (stop != NULL && atomic_load(stop)) || clock_mono_ms() >= call->deadline_ms;
}

static enum log_level to_log_level(enum kasaga_log_level level)
{
    switch (level) {
    case KASAGA_LOG_ERROR:
        return LOG_LEVEL_ERROR;
    case KASAGA_LOG_WARN:
        return LOG_LEVEL_WARN;
    case KASAGA_LOG_INFO:
        return LOG_LEVEL_INFO;
    case KASAGA_LOG_DEBUG:
        return LOG_LEVEL_DEBUG;
    }
    return LOG_LEVEL_WARN;
}

static void host_log(struct kasaga_call *call, enum kasaga_log_level level, const char *text)
{
    const struct frame *frame = frame_of(call);
    const struct invocation *invocation = frame->plugin->invocation;
    log_at(to_log_level(level), "runner", "plugin",
           "action=%s saga=%.*s step=%s attempt=%d text=%.*s", frame->plugin->name,
           SLICE_FMT(invocation->key), invocation->step_name, invocation->attempt, LOG_TEXT_MAX,
           text != NULL ? text : "");
}

static const struct kasaga_host the_host = {
    .struct_size = sizeof the_host,
    .abi = KASAGA_ABI,
    .alloc = host_alloc,
    .format = host_format,
    .quote = host_quote,
    .member = host_member,
    .text = host_text,
    .integer = host_integer,
    .number = host_number,
    .ok = host_ok,
    .not_ok = host_not_ok,
    .cancelled = host_cancelled,
    .log = host_log,
};

// ------------------------------------------------------------------------------ a plugin's call

static void check_data(struct frame *frame)
{
    struct action_result *result = frame->result;
    struct err_text why;
    bool maybe_done = !frame->plugin->run_inline;
    if (slice_none(result->data)) {
        result->data = SLICE_LIT("{}");
    } else if (result->data.len > PLUGIN_RESULT_MAX) {
        set_not_ok(result, OUTCOME_FAIL, maybe_done, SLICE_LIT("result_too_large"),
                   SLICE_LIT("the result has more than 1 MiB"));
    } else if (json_validate(result->data, &why) != KA_OK) {
        set_not_ok(result, OUTCOME_FAIL, maybe_done, SLICE_LIT("invalid_result"),
                   arena_copy(frame->arena, slice_str(why.text)));
    } else if (json_type(result->data) != JSON_OBJECT) {
        set_not_ok(result, OUTCOME_FAIL, maybe_done, SLICE_LIT("invalid_result"),
                   SLICE_LIT("the result is not a JSON object"));
    }
}

static void default_code(struct action_result *result, struct slice code)
{
    result->data = SLICE_NONE;
    if (result->code.len == 0)
        result->code = code;
    if (slice_none(result->message))
        result->message = SLICE_LIT("");
}

static void settle(struct frame *frame, enum kasaga_outcome outcome)
{
    struct action_result *result = frame->result;
    if (outcome != KASAGA_RETRY)
        result->retry_after_ms = 0;
    switch (outcome) {
    case KASAGA_OK:
        result->outcome = OUTCOME_OK;
        result->code = result->message = SLICE_NONE;
        check_data(frame);
        return;
    case KASAGA_FAIL:
        result->outcome = OUTCOME_FAIL;
        default_code(result, SLICE_LIT("failed"));
        return;
    case KASAGA_RETRY:
        result->outcome = OUTCOME_RETRY;
        default_code(result, SLICE_LIT("retry"));
        return;
    case KASAGA_UNKNOWN:
        result->outcome = OUTCOME_UNKNOWN;
        result->maybe_done = true;
        default_code(result, SLICE_LIT("unknown"));
        return;
    }
    set_not_ok(result, OUTCOME_UNKNOWN, true, SLICE_LIT("no_outcome"),
               SLICE_LIT("the plugin returned no outcome that is known"));
}

static void fill_call(struct frame *frame)
{
    const struct invocation *invocation = frame->plugin->invocation;
    struct kasaga_call *call = &frame->call;
    call->struct_size = sizeof *call;
    call->attempt = invocation->attempt;
    call->host = &the_host;
    call->key = to_bytes(invocation->key);
    call->incarnation = invocation->incarnation;
    call->step_name = invocation->step_name;
    call->is_compensation = invocation->compensation;
    call->idempotency_key = to_bytes(invocation->idempotency_key);
    call->forward_key = to_bytes(invocation->forward_key);
    call->tenant = to_bytes(invocation->tenant);
    call->traceparent = to_bytes(invocation->traceparent);
    call->input = to_bytes(invocation->input);
    call->timeout_ms = invocation->timeout_ms;
    call->deadline_ms = frame->plugin->run_inline ? 0 : frame->plugin->deadline_ms;
}

void plugin_call_run(const struct plugin_call *plugin, struct arena *arena,
                     struct action_result *result)
{
    struct frame frame = {.plugin = plugin, .arena = arena, .result = result};
    fill_call(&frame);
    settle(&frame, plugin->action->run(plugin->instance, &frame.call));
}
