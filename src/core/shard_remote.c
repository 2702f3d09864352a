// SPDX-License-Identifier: Apache-2.0
// Steps between regions, in the shard (the forms: remote.h). The only place that writes to
// <app>.out.<region>, so the only border: residency is asked here for every record, also for
// retries and compensations whose region was decided long ago.
#include "core/assert.h"
#include "core/hash.h"
#include "core/history.h"
#include "core/json.h"
#include "core/remote.h"
#include "core/shard_internal.h"

enum { RECORD_OVERHEAD = 512 }; // what Kafka adds to key and value, with room

static struct slice take(struct shard_turn *turn, size_t from)
{
    struct slice taken = buf_take(&turn->batch->scratch, from, &turn->batch->arena);
    turn->batch->scratch.len = from;
    return taken;
}

static struct action_result fail(const char *code, struct slice message)
{
    return (struct action_result){
        .outcome = OUTCOME_FAIL, .code = slice_str(code), .message = message};
}

static struct slice keep_text(struct shard_turn *turn, const struct err_text *text)
{
    return arena_copy(&turn->batch->arena, slice_str(text->text));
}

// A command for the inbox of another region. It passes through a topic with our number of
// partitions; the link finds the one of the target. False: no topic takes it.
static bool put_out(struct shard_turn *turn, struct slice region, struct slice key,
                    const struct command *command)
{
    const struct shard_config *config = &turn->shards->config;
    struct buf *scratch = &turn->batch->scratch;
    size_t from = scratch->len;
    buf_slice_put(scratch, config->out_prefix);
    buf_slice_put(scratch, region);
    struct slice topic = take(turn, from);
    command_encode(command, scratch);
    struct output output = {
        .topic = topic,
        .partition = hash_partition(key, config->shards),
        .key = key,
        .value = take(turn, from),
    };
    if (output.key.len > HISTORY_KEY_MAX ||
        output.value.len + output.key.len + RECORD_OVERHEAD > config->record_max)
        return false;
    lane_batch_output(turn->batch, &output, LANE_NO_TAG);
    return true;
}

// May data of this class and this tenant go from here to the region? No = audited, and *message
// says why.
static bool may_leave(struct shard_turn *turn, struct shard_refusal *refusal, struct slice region,
                      int32_t home)
{
    const struct residency *residency = turn->shards->config.residency;
    struct residency_question *question = &refusal->question;
    struct err_text text = {""};
    if (residency == NULL) {
        refusal->message = SLICE_LIT("no regions are configured here");
        return false;
    }
    question->home = home;
    question->destination = residency_region(residency, region);
    enum ka_err err = KA_OK;
    if (refusal->tenant.len > 0 && residency->tenant_count > 0)
        err = residency_home(residency, refusal->tenant, &question->home, &text);
    struct residency_answer answer =
        residency_decide(residency, turn->shards->config.links, question);
    if (err == KA_OK && answer.verdict != RESIDENCY_REFUSED)
        return true;
    if (err == KA_OK)
        residency_explain(residency, question, &answer, &text);
    refusal->message = keep_text(turn, &text);
    shard_audit(turn, refusal);
    return false;
}

// ---- The caller's side

bool shard_remote_send(struct shard_turn *turn, const struct saga *saga,
                       const struct invocation *call, struct action_result *refused)
{
    const struct shard_config *config = &turn->shards->config;
    const struct residency *residency = config->residency;
    struct shard_refusal refusal = {.key = saga->key,
                                    .incarnation = saga->incarnation,
                                    .step = call->step_name,
                                    .action = call->action->name,
                                    .tenant = saga->tenant};
    if (residency != NULL)
        refusal.question.dataclass =
            saga_data_class(saga, call->step, call->input, residency, &turn->batch->arena);
    if (!may_leave(turn, &refusal, call->region, residency == NULL ? -1 : residency->here)) {
        *refused = fail("residency", refusal.message);
        return false;
    }
    struct remote_call out = {
        .origin = residency->regions[residency->here],
        .saga = saga->key,
        .incarnation = saga->incarnation,
        .step = call->step,
        .attempt = call->attempt,
        .compensation = call->compensation,
        .due_ms = call->due_ms,
        .idempotency_key = call->idempotency_key,
        .forward_key = call->forward_key,
        .input = call->input,
    };
    struct buf *scratch = &turn->batch->scratch;
    size_t from = scratch->len;
    remote_key(&out, call->action->name, scratch);
    struct slice key = take(turn, from);
    remote_call_format(&out, scratch);
    struct command command = {
        .verb = COMMAND_START,
        .time_ms = turn->batch->now_ms,
        .id = key,
        .type = SLICE_LIT("kasaga.step.call"),
        .source = config->source,
        .tenant = saga->tenant,
        .dataclass = slice_str(data_class_name(refusal.question.dataclass)),
        .traceparent = call->traceparent,
        .data = take(turn, from),
    };
    if (put_out(turn, call->region, key, &command))
        return true;
    *refused =
        fail("too_large", SLICE_LIT("key or input is larger than a record for another region"));
    return false;
}

enum ka_err shard_remote_result(struct shard_turn *turn, struct slice key,
                                const struct command *command)
{
    struct remote_result result;
    enum ka_err err = remote_result_parse(command->data, &turn->batch->arena, &result, turn->text);
    if (err != KA_OK)
        return err;
    struct saga_event event = {.type = SAGA_EVENT_RESULT,
                               .step = result.step,
                               .attempt = result.attempt,
                               .compensation = result.compensation,
                               .result = result.result,
                               .executed_by = result.executed_by};
    return shard_saga_ended(turn, key, result.incarnation, &event);
}

// ---- The side that runs the step

enum ka_err shard_remote_check(struct shard_turn *turn, const struct command *command)
{
    const struct residency *residency = turn->shards->config.residency;
    struct remote_call call;
    enum ka_err err = json_validate(command->data, turn->text);
    if (err == KA_OK)
        err = remote_call_parse(command->data, &turn->batch->arena, &call, turn->text);
    if (err != KA_OK)
        return err_wrap(turn->text, KA_ERR_ENVELOPE, "a call from another region");
    int32_t origin = residency == NULL ? REGION_NONE : residency_region(residency, call.origin);
    if (origin == REGION_NONE || origin == residency->here)
        return err_set(turn->text, KA_ERR_ENVELOPE,
                       "a call from another region: \"%.*s\" is no other region",
                       SLICE_FMT(call.origin));
    if (call.saga.len > HISTORY_KEY_MAX)
        return err_set(turn->text, KA_ERR_ENVELOPE,
                       "a call from another region: the caller's key has %zu bytes", call.saga.len);
    return KA_OK;
}

// Sends it home. What may not go there is replaced: the caller hears that it was done, so that it
// is undone, and not what came of it.
static void answer(struct shard_turn *turn, struct slice key, const struct remote_call *call,
                   const struct command *asked, const struct action_result *ended)
{
    const struct shard_config *config = &turn->shards->config;
    const struct residency *residency = config->residency;
    struct remote_result out = {
        .incarnation = call->incarnation,
        .step = call->step,
        .attempt = call->attempt,
        .compensation = call->compensation,
        .result = *ended,
        .executed_by = slice_str(config->node),
    };
    struct shard_refusal refusal = {
        .key = key, .step = "result", .action = "", .tenant = asked->tenant};
    refusal.question.dataclass = residency_classify(residency, ended->data, &turn->batch->arena);
    if (!may_leave(turn, &refusal, call->origin, residency_region(residency, call->origin))) {
        out.result = fail("residency", refusal.message);
        out.result.maybe_done = true;
    } else if (ended->message.len > 0 && !slice_eq(asked->dataclass, SLICE_LIT("public"))) {
        // A text for people may repeat what the step was given; the history here has it.
        out.result.message = SLICE_LIT("the message stays in the region of the step");
    }
    struct buf *scratch = &turn->batch->scratch;
    size_t from = scratch->len;
    remote_result_format(&out, scratch);
    struct command command = {
        .verb = COMMAND_RESULT,
        .time_ms = turn->batch->now_ms,
        .id = key,
        .type = SLICE_LIT("kasaga.step.result"),
        .source = config->source,
        .tenant = asked->tenant,
        .dataclass = slice_str(data_class_name(refusal.question.dataclass)),
        .traceparent = asked->traceparent,
        .data = take(turn, from),
    };
    if (put_out(turn, call->origin, call->saga, &command))
        return;
    struct action_result large = fail(
        "result_too_large", SLICE_LIT("the result is larger than a record for another region"));
    large.maybe_done = true;
    answer(turn, key, call, asked, &large);
}

// How the attempt ended, of a saga that has: the caller's policy goes by it.
static struct action_result outcome_of(const struct shard_turn *turn, const struct saga *saga)
{
    const struct saga_step_state *st = &saga->steps[0];
    if (saga->state == SAGA_COMPLETED)
        return (struct action_result){.outcome = OUTCOME_OK, .data = st->result};
    struct action_result result = {
        .outcome = turn->last.outcome,
        .maybe_done = st->maybe_done,
        .code = saga->fail_code,
        .message = saga->fail_message,
        .retry_after_ms = turn->last.retry_after_ms,
    };
    // A result of no use; or nothing ended, but time or an operator did.
    if (result.outcome == OUTCOME_OK && st->maybe_done)
        result.outcome = OUTCOME_UNKNOWN;
    else if (result.outcome == OUTCOME_OK)
        result.outcome = st->attempts == 0 ? OUTCOME_RETRY : OUTCOME_FAIL;
    return result;
}

void shard_remote_answer(struct shard_turn *turn, const struct saga *saga)
{
    struct remote_call call;
    enum ka_err err = remote_call_parse(saga->data, &turn->batch->arena, &call, turn->text);
    KA_ASSERT(err == KA_OK && saga->def->remote); // checked when it was started
    struct command asked = {
        .tenant = saga->tenant, .dataclass = saga->dataclass, .traceparent = saga->traceparent};
    struct action_result result = outcome_of(turn, saga);
    answer(turn, saga->key, &call, &asked, &result);
}

void shard_remote_decline(struct shard_turn *turn, struct slice key, const struct command *command,
                          const char *code, struct slice message)
{
    struct remote_call call;
    enum ka_err err = remote_call_parse(command->data, &turn->batch->arena, &call, turn->text);
    KA_ASSERT(err == KA_OK); // shard_remote_check
    struct action_result result = fail(code, message);
    answer(turn, key, &call, command, &result);
}
