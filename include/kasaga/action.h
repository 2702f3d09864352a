// SPDX-License-Identifier: Apache-2.0
// The plugin ABI of kasaga: how a shared library brings actions. C11 and C++, this header only; a
// plugin links against nothing of kasaga's: all that it may call is in `struct kasaga_host`.
//
//     cc -std=c11 -shared -fPIC -Iinclude shop.c -o shop.so
//
// An action does one unit of work for one step of a saga: JSON object in, JSON object out.
//   inline  (`inline = true` in the configuration) runs in the lane, in the transaction, exactly
//           once. It must not block, sleep, read clocks, files or random numbers, nor touch the
//           outside: an aborted transaction runs it again, and the result must be the same. It
//           has well under a millisecond; one that runs for seconds ends the worker, by name.
//   pooled  (the default) runs in a thread of the invoker's pool after the commit that decided it:
//           at least once, always with the same idempotency key. It may block, up to the timeout
//           of the step; what it calls must honour the key.
//
// Threads. An *instance* is what `init` made. One instance is used by one thread at a time, not
// always the same one; several instances of one action run at once, so globals need their own
// locks. With KASAGA_ACTION_SHARED there is one instance, without `init` there is none (NULL): then
// `run` is called from several threads at once. No other function of an action is called while
// `run` is under way on its instance. A pooled call that is still running long after its timeout is
// given up: it keeps its instance and its thread, and what it returns is ignored.
//
// Memory. What a call points to lives until `run` returns. What the plugin hands over (results,
// texts) is copied at once. Memory of `kasaga_alloc` is given back by kasaga after the call; an
// instance frees in `fini` what `init` made. Nothing allocated on one side is freed on the other.
//
// Not for entities, and not for code that is not trusted: a plugin runs inside the worker with all
// its rights. Use an `exec` or `http` action for the others.
//
// Versions. KASAGA_ABI changes only when this header stops being compatible; the library must
// have the number of the worker. Structs with `struct_size` may grow at their end without that:
// before reading a member that is newer than version 1, compare struct_size. The others
// (kasaga_bytes, kasaga_value, kasaga_option, kasaga_options) do not grow.
#ifndef KASAGA_ACTION_H
#define KASAGA_ACTION_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KASAGA_ABI 1

#define KASAGA_PRINTF(format_at, args_at) __attribute__((format(printf, format_at, args_at)))
#define KASAGA_EXPORT __attribute__((visibility("default")))

// Bytes of somebody else, with no NUL after them unless it says so (for "%.*s": (int)len, ptr). ptr
// NULL = absent, which is not the same as empty.
struct kasaga_bytes {
    const char *ptr;
    size_t len;
};

// What a call ended with; the return value of `run`. UNKNOWN: it may have happened (no answer,
// connection lost after sending): the step is compensated even if a later attempt is refused.
enum kasaga_outcome { KASAGA_OK = 0, KASAGA_FAIL = 1, KASAGA_RETRY = 2, KASAGA_UNKNOWN = 3 };

enum kasaga_log_level {
    KASAGA_LOG_ERROR = 3,
    KASAGA_LOG_WARN = 4,
    KASAGA_LOG_INFO = 6,
    KASAGA_LOG_DEBUG = 7
};

// ---------------------------------------------------------------------------------- options

enum kasaga_option_type {
    KASAGA_BOOL = 1,     // value.integer 0 or 1
    KASAGA_INTEGER = 2,  // value.integer, within [min, max]
    KASAGA_NUMBER = 3,   // value.number
    KASAGA_STRING = 4,   // value.text, escapes resolved, with a NUL
    KASAGA_DURATION = 5, // value.integer in ms, within [min, max]; "250ms", "3s", "10m", "1h", "2d"
    KASAGA_JSON = 6      // value.text, any JSON value as written, with a NUL
};

enum kasaga_option_flags {
    KASAGA_OPTION_SECRET = 1u // never shown: not in logs, not by `kasaga config show`
};

// One line of an action's option table. `default_json` is the JSON text of the default ("10",
// "\"eu\"", "\"5s\"", "null"); with "null" the option may be left out and is then not present.
// NULL: the option is required. min and max bound INTEGER and DURATION; both 0 = not bounded.
struct kasaga_option {
    const char *name;
    enum kasaga_option_type type;
    uint32_t flags;
    const char *default_json;
    int64_t min;
    int64_t max;
    const char *doc; // one sentence, with the unit
};

struct kasaga_value {
    int32_t present; // 0: left out, and its default is "null"
    int32_t reserved;
    int64_t integer;
    double number;
    struct kasaga_bytes text;
};

// The options of one configured action: values[i] belongs to line i of the table. Types, bounds,
// unknown and missing names have been checked. Lives until `fini` has returned.
struct kasaga_options {
    size_t count;
    const struct kasaga_value *values;
    int32_t run_inline; // how it is configured to run
    int32_t reserved;
};

// ------------------------------------------------------------------------------------ a call

struct kasaga_host;

// One attempt. All bytes and pointers live until `run` returns; only the thread that runs it may
// use it.
struct kasaga_call {
    uint32_t struct_size;
    int32_t attempt; // from 1
    const struct kasaga_host *host;
    struct kasaga_bytes key; // of the saga, "order/4711"
    int64_t incarnation;     // with the key: this life of the saga
    const char *step_name;
    int32_t is_compensation;
    int32_t reserved;
    struct kasaga_bytes idempotency_key; // the same in every attempt: "<key>@<incarnation>/<step>"
    // Of a compensation: the key of the call to undo *and to close*; else absent.
    struct kasaga_bytes forward_key;
    struct kasaga_bytes tenant;      // may be absent
    struct kasaga_bytes traceparent; // W3C trace context; may be absent
    struct kasaga_bytes input;       // a JSON object, valid, UTF-8
    int64_t timeout_ms;              // of this attempt
    int64_t deadline_ms; // when the attempt is given up, CLOCK_MONOTONIC in ms; 0 for inline calls
};

// What a plugin may call, during `run`, with its own call. Never NULL. The wrappers below are the
// convenient form.
struct kasaga_host {
    uint32_t struct_size;
    uint32_t abi;
    // Memory until `run` returns, aligned to 16, not zeroed, never NULL.
    void *(*alloc)(struct kasaga_call *call, size_t size);
    // printf into such memory, with a NUL.
    struct kasaga_bytes (*format)(struct kasaga_call *call, const char *format, ...)
        KASAGA_PRINTF(2, 3);
    // The text as a JSON string, with quotes, escapes and a NUL.
    struct kasaga_bytes (*quote)(struct kasaga_call *call, struct kasaga_bytes text);
    // The value of a member of a JSON object; absent if there is none. No NUL: it points into the
    // object.
    struct kasaga_bytes (*member)(struct kasaga_bytes object, const char *name);
    // The text of a JSON string, escapes resolved, with a NUL; absent for any other type.
    struct kasaga_bytes (*text)(struct kasaga_call *call, struct kasaga_bytes value);
    // 1 and the value if it is a number (an integer that fits); else 0 and *out untouched.
    int (*integer)(struct kasaga_bytes value, int64_t *out);
    int (*number)(struct kasaga_bytes value, double *out);
    // The details of the outcome that `run` will return; copied, the last call counts. `data` is a
    // JSON object of at most 1 MiB. Codes are short and stable ("card_declined"), messages are for
    // people and go to the history: no secrets. after_ms 0 = as the retry policy says.
    void (*ok)(struct kasaga_call *call, struct kasaga_bytes data);
    void (*not_ok)(struct kasaga_call *call, int64_t after_ms, const char *code,
                   const char *message);
    // 1 when the deadline has passed or the worker stops: a long call should return. 0 for inline.
    int (*cancelled)(const struct kasaga_call *call);
    // One line in the worker's log, with action and saga; cut at 400 bytes. No payloads, no
    // secrets. Not for inline calls in the ordinary case: they may run more than once.
    void (*log)(struct kasaga_call *call, enum kasaga_log_level level, const char *text);
};

// ---------------------------------------------------------------------------------- actions

enum kasaga_action_flags {
    KASAGA_ACTION_INLINE = 1u, // keeps the rules of inline actions; else `inline = true` is refused
    KASAGA_ACTION_SHARED = 2u  // `run` may be called from several threads at once on one instance
};

// One action. Static memory of the plugin. Optional members are NULL. `error` is filled with a
// text of at most error_size bytes, NUL included, when a function does not return 0.
struct kasaga_action {
    uint32_t struct_size; // sizeof(struct kasaga_action)
    uint32_t flags;
    const char *name;        // "payment.charge": [a-z0-9._-], at most 63 bytes
    const char *version;     // "1.2.0"; part of the identity of the sagas that use it
    const char *description; // one sentence
    const char *category;    // optional
    const char *tags;        // optional, separated by spaces
    const char *undo;        // optional: name of the action that compensates it
    const char *params_avsc; // optional: Avro schema (JSON) of the input; unknown members pass
    const char *result_avsc; // optional: Avro schema (JSON) of the result
    const struct kasaga_option *options; // optional table
    size_t option_count;
    // Optional: what the table cannot say. Called by `kasaga check`, without init: no files, no
    // network, no threads. Returns 0 if the options are good.
    int (*validate)(const struct kasaga_options *options, char *error, size_t error_size);
    // Optional: makes an instance (else it is NULL). Called before the worker starts and when one
    // more is needed; may block. Returns 0, or not 0: then *instance is ignored and an action that
    // has no instance at all stops the start.
    int (*init)(const struct kasaga_options *options, void **instance, char *error,
                size_t error_size);
    // Runs one attempt. Returns the outcome; its details with kasaga_ok and the like. Must not
    // exit, fork, throw through, or change signal masks, locale or working directory.
    enum kasaga_outcome (*run)(void *instance, struct kasaga_call *call);
    // Optional: ends an instance.
    void (*fini)(void *instance);
};

// A library. Static memory. `actions` is an array of action_count elements.
struct kasaga_plugin_info {
    uint32_t struct_size; // sizeof(struct kasaga_plugin_info)
    uint32_t abi;         // KASAGA_ABI
    const char *name;     // "shop"
    const char *version;
    const char *description;
    const struct kasaga_action *actions;
    size_t action_count;
};

// The one symbol that a plugin exports. Called once, when the library is loaded.
KASAGA_EXPORT const struct kasaga_plugin_info *kasaga_plugin(void);

// ----------------------------------------------------------------------------------- helpers

static inline struct kasaga_bytes kasaga_text(const char *text)
{
    struct kasaga_bytes bytes = {text, 0};
    while (text != NULL && text[bytes.len] != '\0')
        bytes.len++;
    return bytes;
}

static inline int kasaga_equal(struct kasaga_bytes bytes, const char *text)
{
    size_t i = 0;
    while (i < bytes.len && text[i] != '\0' && bytes.ptr[i] == text[i])
        i++;
    return bytes.ptr != NULL && i == bytes.len && text[i] == '\0';
}

static inline void *kasaga_alloc(struct kasaga_call *call, size_t size)
{
    return call->host->alloc(call, size);
}

// A member of the input: its raw JSON, its text, its number.
static inline struct kasaga_bytes kasaga_input(const struct kasaga_call *call, const char *name)
{
    return call->host->member(call->input, name);
}

static inline struct kasaga_bytes kasaga_input_text(struct kasaga_call *call, const char *name)
{
    return call->host->text(call, call->host->member(call->input, name));
}

static inline int kasaga_input_integer(const struct kasaga_call *call, const char *name,
                                       int64_t *out)
{
    return call->host->integer(call->host->member(call->input, name), out);
}

static inline int kasaga_input_number(const struct kasaga_call *call, const char *name, double *out)
{
    return call->host->number(call->host->member(call->input, name), out);
}

// `return kasaga_ok(call, json);` etc. A JSON object as a string; with printf in kasaga_ok_format,
// where strings go in through host->quote.
static inline enum kasaga_outcome kasaga_ok(struct kasaga_call *call, const char *json)
{
    call->host->ok(call, kasaga_text(json));
    return KASAGA_OK;
}

#define kasaga_ok_format(call, ...)                                                                \
    ((call)->host->ok((call), (call)->host->format((call), __VA_ARGS__)), KASAGA_OK)

static inline enum kasaga_outcome kasaga_fail(struct kasaga_call *call, const char *code,
                                              const char *message)
{
    call->host->not_ok(call, 0, code, message);
    return KASAGA_FAIL;
}

static inline enum kasaga_outcome kasaga_retry(struct kasaga_call *call, int64_t after_ms,
                                               const char *code, const char *message)
{
    call->host->not_ok(call, after_ms, code, message);
    return KASAGA_RETRY;
}

static inline enum kasaga_outcome kasaga_unknown(struct kasaga_call *call, const char *code,
                                                 const char *message)
{
    call->host->not_ok(call, 0, code, message);
    return KASAGA_UNKNOWN;
}

#ifdef __cplusplus
}
#endif

#endif
