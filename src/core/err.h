// SPDX-License-Identifier: Apache-2.0
// Every error of the process: one list gives code, class and text. 0 is success.
// Detail text (topic, partition, offset, key, file:line) goes into the owner's struct err_text.
#ifndef KA_CORE_ERR_H
#define KA_CORE_ERR_H

#include <stddef.h>

// RETRY: the same call again. ABORT: this transaction. POISON: this record.
// FATAL: this producer, shard or process; the caller knows which.
enum err_class {
    ERR_CLASS_NONE,
    ERR_CLASS_RETRY,
    ERR_CLASS_ABORT,
    ERR_CLASS_POISON,
    ERR_CLASS_FATAL
};

#define KA_ERR_LIST(X)                                                                             \
    X(OK, NONE, "ok")                                                                              \
    X(NOMEM, FATAL, "out of memory")                                                               \
    X(RETRY, RETRY, "try again")                                                                   \
    X(ABORT, ABORT, "the transaction was aborted")                                                 \
    X(UNCLEAR, ABORT, "the outcome of the transaction is not known")                               \
    X(FENCED, ABORT, "fenced by a newer producer or member")                                       \
    X(FATAL, FATAL, "the client instance cannot go on")                                            \
    X(TIMEOUT, RETRY, "timed out")                                                                 \
    X(UNREACHABLE, RETRY, "cannot be reached")                                                     \
    X(JSON, POISON, "not valid JSON")                                                              \
    X(AVRO, POISON, "not valid Avro")                                                              \
    X(VERSION, FATAL, "written by a version this process does not know")                           \
    X(ENVELOPE, POISON, "not a valid event")                                                       \
    X(SCHEMA, POISON, "does not match the schema")                                                 \
    X(EXPR, POISON, "the expression failed")                                                       \
    X(NO_ID, POISON, "the id is missing or not a string or number")                                \
    X(NO_KEY, POISON, "the record has no usable key")                                              \
    X(MISROUTED, POISON, "the record is in the wrong partition")                                   \
    X(TOO_LARGE, POISON, "larger than the limit")                                                  \
    X(UNKNOWN_SAGA, POISON, "no saga of this name")                                                \
    X(UNKNOWN_KIND, POISON, "the key names neither a saga nor an entity")                          \
    X(UNKNOWN_TENANT, POISON, "the tenant is not configured")                                      \
    X(NO_DEFINITION, FATAL, "the definition with this hash is not in the catalog")                 \
    X(NOT_FOUND, POISON, "not found")                                                              \
    X(EXISTS, POISON, "exists already")                                                            \
    X(NOT_ALLOWED, POISON, "not allowed in this state")                                            \
    X(LIMIT, RETRY, "a limit is reached")                                                          \
    X(CONFIG, FATAL, "the configuration is wrong")                                                 \
    X(IO, FATAL, "input or output failed")                                                         \
    X(UNSUPPORTED, FATAL, "not supported")                                                         \
    X(DIFFERS, FATAL, "running it again comes to something else")                                  \
    X(DIVERGED, FATAL, "offsets and state do not agree")

enum ka_err {
#define X(code, class_, text) KA_ERR_##code,
    KA_ERR_LIST(X)
#undef X
};
#define KA_OK KA_ERR_OK

#define KA_MUST_USE __attribute__((warn_unused_result))
#define KA_PRINTF(text_at, args_at) __attribute__((format(printf, text_at, args_at)))

// The detail of the last error of its owner: at most 511 bytes and a NUL, longer text is cut.
struct err_text {
    char text[512];
};

// Name ("TOO_LARGE"), class and fixed text of a code; static memory, any thread.
const char *err_name(enum ka_err err);
enum err_class err_class(enum ka_err err);
const char *err_string(enum ka_err err);

// Replaces the detail and returns `err`, so that `return err_set(text, KA_ERR_JSON, "...")` reads
// as one decision. `text` may be NULL.
enum ka_err err_set(struct err_text *text, enum ka_err err, const char *format, ...)
    KA_PRINTF(3, 4);

// Puts "prefix: " in front of the detail that is there. Returns `err`.
enum ka_err err_wrap(struct err_text *text, enum ka_err err, const char *format, ...)
    KA_PRINTF(3, 4);

#endif
