// SPDX-License-Identifier: Apache-2.0
// A plugin that does what a test tells it by its options. Built by tests/lib/plugins.c, with one
// of the macros below for each way a library can be wrong.
//   PROBE_ABI=n, PROBE_NO_SYMBOL, PROBE_NO_INFO, PROBE_SHORT, PROBE_NO_RUN, PROBE_BAD_NAME,
//   PROBE_TWICE, PROBE_BAD_DEFAULT, PROBE_BAD_SCHEMA; PROBE_GROWN is right: a later header
#include "kasaga/action.h"

#include "gate.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifndef PROBE_ABI
#define PROBE_ABI KASAGA_ABI
#endif
#ifdef PROBE_SHORT
#define INFO_SIZE 16
#else
#define INFO_SIZE sizeof(struct kasaga_plugin_info)
#endif
#ifdef PROBE_NO_RUN
#define PATIENT_RUN NULL
#else
#define PATIENT_RUN wait_until_cancelled
#endif
#if defined PROBE_TWICE
#define PATIENT_NAME "probe.echo"
#elif defined PROBE_BAD_NAME
#define PATIENT_NAME "probe patient"
#else
#define PATIENT_NAME "probe.patient"
#endif
#ifdef PROBE_BAD_DEFAULT
#define SIZE_DEFAULT "\"two\""
#else
#define SIZE_DEFAULT "2"
#endif
#ifdef PROBE_BAD_SCHEMA
#define ECHO_SCHEMA "{"
#else
#define ECHO_SCHEMA "{\"type\":\"record\",\"name\":\"echo\",\"fields\":[]}"
#endif

enum { SAY_OUTCOME, SAY_TEXT, SAY_CODE, SAY_AFTER };

// ------------------------------------------------------------------------------ probe.echo, .say

static enum kasaga_outcome echo(void *instance, struct kasaga_call *call)
{
    (void)instance;
    call->host->ok(call, call->input);
    return KASAGA_OK;
}

// Tells all that a call says of itself.
static enum kasaga_outcome describe(void *instance, struct kasaga_call *call)
{
    const struct kasaga_host *host = call->host;
    (void)instance;
    call->host->log(call, KASAGA_LOG_WARN, "described");
    return kasaga_ok_format(
        call,
        "{\"key\":%s,\"incarnation\":%lld,\"step\":\"%s\",\"attempt\":%d,"
        "\"undo\":%d,\"id\":%s,\"forward\":%s,\"tenant\":%s,\"cancelled\":%d,"
        "\"timed\":%d}",
        host->quote(call, call->key).ptr, (long long)call->incarnation, call->step_name,
        call->attempt, call->is_compensation, host->quote(call, call->idempotency_key).ptr,
        host->quote(call, call->forward_key).ptr, host->quote(call, call->tenant).ptr,
        host->cancelled(call), call->deadline_ms != 0);
}

static int keep_options(const struct kasaga_options *options, void **instance, char *error,
                        size_t error_size)
{
    union {
        const void *from;
        void *to;
    } cast = {.from = options};
    (void)error;
    (void)error_size;
    *instance = cast.to;
    return 0;
}

static enum kasaga_outcome say(void *instance, struct kasaga_call *call)
{
    const struct kasaga_options *options = instance;
    const struct kasaga_value *values = options->values;
    struct kasaga_bytes outcome = values[SAY_OUTCOME].text;
    if (values[SAY_TEXT].present)
        call->host->ok(call, values[SAY_TEXT].text);
    if (values[SAY_CODE].present)
        call->host->not_ok(call, values[SAY_AFTER].integer, values[SAY_CODE].text.ptr, "said so");
    if (kasaga_equal(outcome, "ok"))
        return KASAGA_OK;
    if (kasaga_equal(outcome, "fail"))
        return KASAGA_FAIL;
    if (kasaga_equal(outcome, "retry"))
        return KASAGA_RETRY;
    if (kasaga_equal(outcome, "unknown"))
        return KASAGA_UNKNOWN;
    return (enum kasaga_outcome)7;
}

// ----------------------------------------------------------------------- probe.gate, .patient

static enum kasaga_outcome stand_in_gate(void *instance, struct kasaga_call *call)
{
    const struct kasaga_options *options = instance;
    gate_pass((struct gate *)(intptr_t)options->values[0].integer);
    return kasaga_ok(call, "{\"passed\":true}");
}

__attribute__((unused)) static enum kasaga_outcome wait_until_cancelled(void *instance,
                                                                        struct kasaga_call *call)
{
    const struct timespec pause = {0, 1000000};
    (void)instance;
    while (!call->host->cancelled(call))
        nanosleep(&pause, NULL);
    return kasaga_unknown(call, "gave_in", "was told to end");
}

// ----------------------------------------------------------------------------------- probe.alone

struct alone {
    atomic_int inside;
    int64_t calls;
};

static int make_alone(const struct kasaga_options *options, void **instance, char *error,
                      size_t error_size)
{
    if (options->values[0].integer) {
        snprintf(error, error_size, "told to refuse");
        return -1;
    }
    *instance = calloc(1, sizeof(struct alone));
    return *instance == NULL ? -1 : 0;
}

static void free_alone(void *instance)
{
    free(instance);
}

static enum kasaga_outcome run_alone(void *instance, struct kasaga_call *call)
{
    struct alone *alone = instance;
    if (atomic_fetch_add(&alone->inside, 1) != 0)
        return kasaga_fail(call, "not_alone", "two threads on one instance");
    alone->calls++;
    atomic_fetch_sub(&alone->inside, 1);
    return kasaga_ok_format(call, "{\"calls\":%lld}", (long long)alone->calls);
}

static int refuse_odd(const struct kasaga_options *options, char *error, size_t error_size)
{
    if (options->values[1].integer % 2 == 0)
        return 0;
    snprintf(error, error_size, "size must be even");
    return -1;
}

// ------------------------------------------------------------------------------------- the tables

static const struct kasaga_option say_options[] = {
    {"outcome", KASAGA_STRING, 0, "\"ok\"", 0, 0, "what to return"},
    {"text", KASAGA_STRING, 0, "null", 0, 0, "given as the result, as it is"},
    {"code", KASAGA_STRING, 0, "null", 0, 0, "given as the code"},
    {"after", KASAGA_DURATION, 0, "\"0ms\"", 0, 0, "given with the code"},
};
static const struct kasaga_option gate_options[] = {
    {"gate", KASAGA_INTEGER, 0, NULL, 0, 0, "address of a struct gate"},
};
static const struct kasaga_option alone_options[] = {
    {"refuse", KASAGA_BOOL, 0, "false", 0, 0, "init fails"},
    {"size", KASAGA_INTEGER, 0, SIZE_DEFAULT, 0, 100, "an even number"},
    {"ratio", KASAGA_NUMBER, 0, "0.5", 0, 0, "a number"},
    {"wait", KASAGA_DURATION, 0, "\"3s\"", 10, 60000, "a time"},
    {"password", KASAGA_STRING, KASAGA_OPTION_SECRET, "null", 0, 0, "never shown"},
    {"extra", KASAGA_JSON, 0, "{\"a\": [1]}", 0, 0, "anything"},
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))
static const struct kasaga_action actions[] = {
    {.struct_size = sizeof(struct kasaga_action),
     .flags = KASAGA_ACTION_INLINE,
     .name = "probe.echo",
     .version = "1.0.0",
     .description = "gives its input back",
     .params_avsc = ECHO_SCHEMA,
     .run = echo},
    {.struct_size = sizeof(struct kasaga_action),
     .flags = KASAGA_ACTION_INLINE,
     .name = "probe.describe",
     .version = "1.0.0",
     .description = "tells what it was called with",
     .run = describe},
    {.struct_size = sizeof(struct kasaga_action),
     .flags = KASAGA_ACTION_INLINE | KASAGA_ACTION_SHARED,
     .name = "probe.say",
     .version = "1.0.0",
     .description = "says what it is told",
     .options = say_options,
     .option_count = COUNT(say_options),
     .init = keep_options,
     .run = say},
    {.struct_size = sizeof(struct kasaga_action),
     .flags = KASAGA_ACTION_INLINE | KASAGA_ACTION_SHARED,
     .name = "probe.gate",
     .version = "1.0.0",
     .description = "stands in a gate",
     .options = gate_options,
     .option_count = COUNT(gate_options),
     .init = keep_options,
     .run = stand_in_gate},
    {.struct_size = sizeof(struct kasaga_action),
     .name = PATIENT_NAME,
     .version = "1.0.0",
     .description = "waits until it is told to end",
     .run = PATIENT_RUN},
    {.struct_size = sizeof(struct kasaga_action),
     .flags = KASAGA_ACTION_INLINE,
     .name = "probe.alone",
     .version = "1.0.0",
     .description = "one thread at a time",
     .options = alone_options,
     .option_count = COUNT(alone_options),
     .validate = refuse_odd,
     .init = make_alone,
     .run = run_alone,
     .fini = free_alone},
};

__attribute__((unused)) static const struct kasaga_plugin_info info = {
    .struct_size = INFO_SIZE,
    .abi = PROBE_ABI,
    .name = "probe",
    .version = "0.1.0",
    .description = "does what a test tells it",
    .actions = actions,
    .action_count = COUNT(actions),
};

#ifdef PROBE_GROWN
// As a library built with a later header looks: each descriptor has more at its end.
static const struct kasaga_plugin_info *grow(void)
{
    static struct {
        struct kasaga_action action;
        const char *what_a_later_header_has;
    } grown[COUNT(actions)];
    static struct kasaga_plugin_info grown_info;
    for (size_t i = 0; i < COUNT(actions); i++) {
        grown[i].action = actions[i];
        grown[i].action.struct_size = sizeof grown[0];
        grown[i].what_a_later_header_has = "more";
    }
    grown_info = info;
    grown_info.actions = &grown[0].action;
    return &grown_info;
}
#endif

#ifdef PROBE_NO_SYMBOL
#define kasaga_plugin kasaga_other
const struct kasaga_plugin_info *kasaga_other(void);
#endif
const struct kasaga_plugin_info *kasaga_plugin(void)
{
#if defined PROBE_NO_INFO
    return NULL;
#elif defined PROBE_GROWN
    return grow();
#else
    return &info;
#endif
}
