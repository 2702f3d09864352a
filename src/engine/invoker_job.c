// SPDX-License-Identifier: Apache-2.0
#include "engine/invoker_job.h"

#include "core/assert.h"
#include "io/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct job *job_new(const struct invocation *from)
{
    struct slice step_name = {from->step_name, strlen(from->step_name) + 1};
    size_t bytes = from->key.len + from->idempotency_key.len + from->forward_key.len +
                   from->tenant.len + from->traceparent.len + step_name.len;
    struct job *job = calloc(1, sizeof *job + bytes);
    char *input = malloc(from->input.len + 1);
    if (job == NULL || input == NULL) {
        free(job);
        free(input);
        return NULL;
    }
    job->input = input;
    struct invocation *to = &job->invocation;
    char *at = job->copy;
    *to = *from;
    to->action = NULL; // the runner is all that is needed; the definition may go
    to->key = slice_put(from->key, &at);
    to->input = slice_put(from->input, &input);
    to->idempotency_key = slice_put(from->idempotency_key, &at);
    to->forward_key = slice_put(from->forward_key, &at);
    to->tenant = slice_put(from->tenant, &at);
    to->traceparent = slice_put(from->traceparent, &at);
    step_name = slice_put(step_name, &at);
    to->step_name = step_name.ptr;
    KA_ASSERT(at == job->copy + bytes);
    job->bytes = sizeof *job + bytes + from->input.len;
    return job;
}

void job_free(struct job *job)
{
    arena_fini(&job->result.memory);
    free(job->input);
    free(job->kept);
    free(job);
}

void job_settle(struct job *job, struct action_result *outcome)
{
    size_t bytes = outcome->data.len + outcome->code.len + outcome->message.len;
    char *at = malloc(bytes + 1);
    if (at == NULL)
        abort();
    KA_ASSERT(job->kept == NULL);
    job->kept = at;
    outcome->data = slice_put(outcome->data, &at);
    outcome->code = slice_put(outcome->code, &at);
    outcome->message = slice_put(outcome->message, &at);
    arena_fini(&job->result.memory);
}

void job_drop_input(struct job *job)
{
    free(job->input);
    job->input = NULL;
    job->invocation.input = SLICE_NONE;
}

void invoker_result_free(struct invoker_result **result)
{
    if (*result != NULL)
        job_free((struct job *)(void *)*result);
    *result = NULL;
}

struct invoker_result *job_result(struct job *job, bool started)
{
    struct invoker_result *result = &job->result;
    int64_t now = clock_mono_ns() / 1000;
    result->shard = job->shard;
    result->epoch = job->epoch;
    result->started = started;
    result->key = job->invocation.key;
    result->incarnation = job->invocation.incarnation;
    result->step = job->invocation.step;
    result->attempt = job->invocation.attempt;
    result->compensation = job->invocation.compensation;
    result->waited_us = (started ? job->started_us : now) - job->submitted_us;
    result->duration_us = started ? now - job->started_us : 0;
    return result;
}

struct invoker_result *job_timeout_result(const struct job *job)
{
    struct invocation names = job->invocation;
    char text[64];
    names.input = names.idempotency_key = names.forward_key = SLICE_NONE;
    names.tenant = names.traceparent = SLICE_NONE;
    struct job *copy = job_new(&names);
    if (copy == NULL)
        abort();
    copy->shard = job->shard;
    copy->epoch = job->epoch;
    copy->submitted_us = job->submitted_us;
    copy->started_us = job->started_us;
    snprintf(text, sizeof text, "no answer within %" PRId64 " ms", names.timeout_ms);
    struct invoker_result *result = job_result(copy, true);
    result->result.outcome = OUTCOME_UNKNOWN;
    result->result.maybe_done = true;
    result->result.code = SLICE_LIT("timeout");
    result->result.message = arena_copy(&result->memory, slice_str(text));
    return result;
}
