// SPDX-License-Identifier: Apache-2.0
#include "io/jq.h"

#include "core/assert.h"

#include <jq.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

struct program {
    jq_state *jq;
    struct err_text *text; // of the call that runs, NULL outside
    bool said;             // the first message is the cause, "1 compile error" follows it
};

// One line of libjq's message without its prefix, its advice and the source it repeats.
static void note(struct program *program, const char *message)
{
    static const char prefix[] = "jq: error: ";
    static const char advice[] = " (Unix shell quoting issues?)";
    if (program->said)
        return;
    program->said = true;
    if (strncmp(message, prefix, sizeof prefix - 1) == 0)
        message += sizeof prefix - 1;
    size_t len = strcspn(message, "\n");
    const char *cut = strstr(message, " at <");
    if (cut != NULL && cut < message + len)
        len = (size_t)(cut - message);
    const char *quoting = strstr(message, advice);
    if (quoting != NULL && quoting < message + len)
        len = (size_t)(quoting - message);
    (void)err_set(program->text, KA_ERR_EXPR, "%.*s", (int)len, message);
}

static void on_error(void *opaque, jv message)
{
    struct program *program = opaque;
    if (jv_get_kind(message) != JV_KIND_STRING)
        message = jv_dump_string(message, 0);
    note(program, jv_string_value(message));
    jv_free(message);
}

static void io_jq_free(void *opaque)
{
    struct program *program = opaque;
    if (program == NULL)
        return;
    if (program->jq != NULL)
        jq_teardown(&program->jq);
    free(program);
}

static bool home_has_functions(struct err_text *text)
{
    char path[4096];
    struct stat info;
    const char *home = getenv("HOME");
    if (home == NULL || (size_t)snprintf(path, sizeof path, "%s/.jq", home) >= sizeof path)
        return false;
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode))
        return false;
    (void)err_set(text, KA_ERR_CONFIG,
                  "libjq would take functions from %s, so workers could differ: remove it or set "
                  "HOME to another directory",
                  path);
    return true;
}

static void *io_jq_compile(const char *source, struct err_text *text)
{
    if (home_has_functions(text))
        return NULL;
    struct program *program = calloc(1, sizeof *program);
    if (program == NULL)
        abort();
    program->jq = jq_init();
    if (program->jq == NULL)
        abort();
    program->text = text;
    (void)err_set(text, KA_ERR_CONFIG, "not a jq program");
    jq_set_error_cb(program->jq, on_error, program);
    if (jq_compile(program->jq, source) == 0) {
        io_jq_free(program);
        return NULL;
    }
    program->text = NULL;
    program->said = false;
    return program;
}

// `result` is invalid: the program is through, or it failed with a message.
static enum ka_err explain(jv result, struct err_text *text)
{
    if (!jv_invalid_has_msg(jv_copy(result))) {
        jv_free(result);
        return KA_OK;
    }
    jv message = jv_invalid_get_msg(result);
    if (jv_get_kind(message) != JV_KIND_STRING)
        message = jv_dump_string(message, 0);
    enum ka_err err = err_set(text, KA_ERR_EXPR, "%s", jv_string_value(message));
    jv_free(message);
    return err;
}

static enum ka_err dump(jv result, struct arena *arena, struct slice *out, struct err_text *text)
{
    jv string = jv_dump_string(result, 0);
    size_t len = (size_t)jv_string_length_bytes(jv_copy(string));
    enum ka_err err = KA_OK;
    if (len > EXPR_OUTPUT_MAX)
        err = err_set(text, KA_ERR_TOO_LARGE, "the result has %zu bytes, %d are allowed", len,
                      (int)EXPR_OUTPUT_MAX);
    else
        *out = arena_copy(arena, slice_of(jv_string_value(string), len));
    jv_free(string);
    return err;
}

static enum ka_err io_jq_eval(void *opaque, struct slice input, struct arena *arena,
                              struct slice *out, struct err_text *text)
{
    struct program *program = opaque;
    *out = SLICE_NONE;
    KA_ASSERT(program->text == NULL); // one thread at a time
    if (input.len > EXPR_OUTPUT_MAX)
        return err_set(text, KA_ERR_TOO_LARGE, "the input has %zu bytes", input.len);
    jv value = jv_parse_sized(input.ptr, (int)input.len);
    if (!jv_is_valid(value)) {
        enum ka_err err = explain(value, text);
        return err == KA_OK ? err_set(text, KA_ERR_EXPR, "no input") : err;
    }
    program->text = text;
    jq_start(program->jq, value, 0);
    jv result = jq_next(program->jq);
    enum ka_err err = jv_is_valid(result) ? dump(result, arena, out, text) : explain(result, text);
    // Lets go of the input and of what the program holds: it may be the last call for long.
    jq_start(program->jq, jv_null(), 0);
    program->text = NULL;
    program->said = false;
    return err;
}

const struct expr_engine io_jq_engine = {io_jq_compile, io_jq_eval, io_jq_free};
