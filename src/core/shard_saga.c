// SPDX-License-Identifier: Apache-2.0
// Sagas in a shard: finds the instance a command, result or timer is for, lets saga_step move it,
// runs inline actions in place, and turns effects into outputs. Coalescing, markers and the life of
// a shard are in shard.c.
#include "core/assert.h"
#include "core/hash.h"
#include "core/history.h"
#include "core/remote.h"
#include "core/shard_internal.h"

// What Kafka adds to key and value of a record alone in its batch, with room.
enum { RECORD_OVERHEAD = 512 };

static struct slice saga_name(struct slice key)
{
    const char *slash = key.len == 0 ? NULL : memchr(key.ptr, '/', key.len);
    return slash == NULL ? SLICE_NONE : slice_of(key.ptr, (size_t)(slash - key.ptr));
}

// ---- Effects
// -------------------------------------------------------------------------------------

static void count_transition(struct meta_counts *counts, enum transition_type type)
{
    counts->started += type == TRANSITION_SAGA_STARTED;
    counts->completed += type == TRANSITION_SAGA_COMPLETED;
    counts->compensated += type == TRANSITION_SAGA_COMPENSATED;
    counts->stuck += type == TRANSITION_SAGA_STUCK;
    counts->terminated += type == TRANSITION_SAGA_TERMINATED;
}

// One document, never larger than the topic takes: what would repeat its transaction for ever is
// cut.
static void format_record(const struct shard_turn *turn, const struct saga *saga,
                          const struct transition *transition,
                          const struct history_context *context)
{
    struct buf *scratch = &turn->batch->scratch;
    size_t from = scratch->len;
    size_t max = turn->shards->config.record_max;
    history_format(saga, transition, context, scratch);
    if (scratch->len - from + saga->key.len + RECORD_OVERHEAD <= max)
        return;
    scratch->len = from;
    history_format_short(saga, transition, context, scratch);
    KA_ASSERT(scratch->len - from <= HISTORY_SHORT_MAX);
}

static void write_history(struct shard_turn *turn, const struct saga *saga,
                          const struct saga_effects *effects)
{
    struct history_context context = {turn->shards->config.source, turn->cause,
                                      turn->shards->config.node};
    struct buf *scratch = &turn->batch->scratch;
    for (size_t i = 0; i < effects->transition_count; i++) {
        const struct transition *transition = &effects->transitions[i];
        count_transition(&turn->shard->counts, transition->type);
        if (!history_wanted(saga->def->history, transition->type))
            continue;
        size_t from = scratch->len;
        format_record(turn, saga, transition, &context);
        struct output output = {
            .topic = turn->shards->config.history_topic,
            .partition = turn->partition->partition,
            .key = saga->key,
            .value = buf_take(scratch, from, &turn->batch->arena),
        };
        scratch->len = from;
        lane_batch_output(turn->batch, &output, LANE_NO_TAG);
    }
}

// Rule 11: a result that would not fit fails its attempt, never the transaction.
static void bound_result(const struct saga *saga, struct action_result *result)
{
    if (saga_has_room(saga, result->data.len))
        return;
    *result = (struct action_result){
        .outcome = OUTCOME_FAIL,
        .maybe_done = true,
        .code = SLICE_LIT("result_too_large"),
        .message = SLICE_LIT("the result does not fit into the state of the saga"),
    };
}

// An attempt that ends in this transaction: an inline action, or a call that may not leave. False:
// it has begun somewhere else.
static bool ends_here(struct shard_turn *turn, const struct saga *saga,
                      const struct invocation *call, struct action_result *result)
{
    if (call->region.len > 0)
        return !shard_remote_send(turn, saga, call, result);
    if (!call->action->run_inline) {
        lane_batch_invoke(turn->batch, turn->partition, call);
        return false;
    }
    turn->shards->run(turn->shards->run_context, call, &turn->batch->arena, result);
    return true;
}

// Moves the saga by one event and, as long as attempts end at once, by their results.
static enum ka_err run(struct shard_turn *turn, struct saga *saga, struct saga_event *event,
                       struct saga_effects *effects)
{
    *effects = (struct saga_effects){.residency = turn->shards->config.residency,
                                     .links = turn->shards->config.links,
                                     .arena = &turn->batch->arena,
                                     .scratch = &turn->batch->scratch};
    event->now_ms = turn->batch->now_ms;
    turn->last =
        event->type == SAGA_EVENT_RESULT ? event->result : (struct action_result){.data = {0}};
    enum ka_err err = saga_step(saga, event, effects, turn->text);
    size_t done = 0;
    while (err == KA_OK && done < effects->invocation_count) {
        struct invocation call = effects->invocations[done++];
        struct saga_event ended = {.type = SAGA_EVENT_RESULT,
                                   .now_ms = turn->batch->now_ms,
                                   .step = call.step,
                                   .attempt = call.attempt,
                                   .compensation = call.compensation};
        if (!ends_here(turn, saga, &call, &ended.result))
            continue;
        bound_result(saga, &ended.result);
        turn->last = ended.result;
        err = saga_step(saga, &ended, effects, turn->text);
        KA_ASSERT(err == KA_OK); // only commands are refused
    }
    return err;
}

static void store_finished(struct shard_turn *turn, const struct saga *saga)
{
    struct table *table = turn->shard->table;
    struct state_finished finished = {
        .outcome = (int32_t)saga->state,
        .incarnation = saga->incarnation,
        .sequence = (int64_t)table_next_sequence(table),
        .time_s = turn->batch->now_ms / 1000,
    };
    table_finish(table, saga->key, saga->incarnation, (uint32_t)saga->state, turn->batch->now_ms);
    struct buf *scratch = &turn->batch->scratch;
    size_t from = scratch->len;
    state_finished_encode(&finished, scratch);
    shard_state_output(turn, saga->key, buf_take(scratch, from, &turn->batch->arena));
    scratch->len = from;
}

static void write_refusals(struct shard_turn *turn, const struct saga *saga,
                           const struct saga_effects *effects)
{
    for (size_t i = 0; i < effects->refusal_count; i++) {
        const struct saga_refusal *refusal = &effects->refusals[i];
        const struct step_def *step = &saga->def->steps[refusal->step];
        shard_audit(turn, &(struct shard_refusal){saga->key, saga->incarnation, step->name,
                                                  step->action_name, refusal->question,
                                                  saga->tenant, refusal->message});
    }
}

static void store(struct shard_turn *turn, const struct saga *saga,
                  const struct saga_effects *effects)
{
    write_history(turn, saga, effects);
    write_refusals(turn, saga, effects);
    if (saga_finished(saga) && saga->def->remote)
        shard_remote_answer(turn, saga);
    if (saga_finished(saga)) {
        store_finished(turn, saga);
        return;
    }
    struct buf *scratch = &turn->batch->scratch;
    size_t from = scratch->len;
    saga_encode(saga, scratch);
    table_put(turn->shard->table, saga->key, slice_of(scratch->ptr + from, scratch->len - from),
              saga_due(saga));
    turn->batch->owed += scratch->len - from;
    scratch->len = from;
    shard_mark_changed(turn, saga->key);
}

// ---- Finding the instance
// ------------------------------------------------------------------------

static enum ka_err load(struct shards *shards, struct slice key, struct slice bytes,
                        struct arena *arena, struct saga **saga, struct err_text *text)
{
    struct saga_header header;
    enum ka_err err = saga_peek(bytes, &header, text);
    if (err != KA_OK)
        return err_wrap(text, KA_ERR_DIVERGED, "state of %.*s", SLICE_FMT(key));
    const struct saga_def *def =
        shards->definitions.by_id(shards->definitions.context, &header.def);
    if (def == NULL) {
        static const char hex[] = "0123456789abcdef";
        char id[2 * DEF_ID_SIZE + 1] = {0};
        for (size_t i = 0; i < DEF_ID_SIZE; i++) {
            id[2 * i] = hex[header.def.bytes[i] >> 4];
            id[2 * i + 1] = hex[header.def.bytes[i] & 15];
        }
        return err_set(text, KA_ERR_NO_DEFINITION, "%.*s was started with definition %s",
                       SLICE_FMT(key), id);
    }
    err = saga_decode(bytes, key, def, arena, saga, text);
    return err == KA_OK ? KA_OK : err_wrap(text, KA_ERR_DIVERGED, "state of %.*s", SLICE_FMT(key));
}

// The live instance of a key, decoded from a copy that outlives changes of the table.
static enum ka_err load_live(struct shard_turn *turn, struct slice key, struct saga **saga)
{
    *saga = NULL;
    const struct table_entry *entry = table_lookup(turn->shard->table, key);
    if (entry == NULL)
        return KA_OK;
    struct arena *arena = &turn->batch->arena;
    return load(turn->shards, arena_copy(arena, key), arena_copy(arena, entry->bytes), arena, saga,
                turn->text);
}

static bool in_flight(const struct saga *saga, int32_t step)
{
    enum step_state state = saga->steps[step].state;
    return state == STEP_RUNNING || state == STEP_UNDO_RUNNING;
}

enum ka_err shard_saga_look(struct shards *shards, struct slice key, struct slice bytes,
                            struct arena *arena, struct shard_look *look, struct err_text *text)
{
    struct saga *saga = NULL;
    enum ka_err err = load(shards, key, bytes, arena, &saga, text);
    if (err != KA_OK)
        return err;
    *look = (struct shard_look){.due_ms = saga_due(saga)};
    look->in_flight = arena_alloc(arena, (size_t)saga_in_flight(saga) * sizeof *look->in_flight);
    for (int32_t i = 0; i < (int32_t)saga->def->step_count; i++)
        if (in_flight(saga, i))
            look->in_flight[look->count++] =
                (struct shard_takeover){.incarnation = saga->incarnation,
                                        .step = i,
                                        .attempts = saga->steps[i].attempts,
                                        .undo_attempts = saga->steps[i].undo_attempts};
    return KA_OK;
}

// ---- Commands, results, timers
// -------------------------------------------------------------------

// The catalog was read to an end that was asked for after this record was seen.
static bool looked_up(const struct shard_turn *turn, struct slice name, int64_t offset)
{
    const struct shard_definitions *definitions = &turn->shards->definitions;
    struct lane_partition *partition = turn->partition;
    if (definitions->ask == NULL)
        return true;
    if (partition->asked_at != offset) {
        partition->asked_at = offset;
        partition->asked = definitions->ask(definitions->context, name);
    }
    return definitions->answered(definitions->context, partition->asked);
}

static enum ka_err start(struct shard_turn *turn, struct slice key, int64_t offset,
                         const struct command *command)
{
    if (table_lookup(turn->shard->table, key) != NULL ||
        table_lookup_finished(turn->shard->table, key) != NULL)
        return KA_OK; // started before: the first one counts
    struct slice name = saga_name(key);
    bool remote = slice_starts(name, SLICE_LIT(REMOTE_PREFIX));
    enum ka_err err = remote ? shard_remote_check(turn, command) : KA_OK;
    if (err != KA_OK)
        return err;
    const struct saga_def *def =
        turn->shards->definitions.current(turn->shards->definitions.context, name);
    bool named = def == NULL && turn->shards->definitions.named != NULL &&
                 turn->shards->definitions.named(turn->shards->definitions.context, name);
    if (named)
        return err_set(turn->text, KA_ERR_NO_DEFINITION,
                       "the current definition of saga %.*s cannot be loaded here",
                       SLICE_FMT(name));
    if (def == NULL && !looked_up(turn, name, offset))
        return err_set(turn->text, KA_ERR_RETRY, "saga %.*s is looked up in the catalog",
                       SLICE_FMT(name));
    if (def == NULL && remote) {
        shard_remote_decline(turn, key, command, "unknown_action",
                             SLICE_LIT("the action is not configured in this region"));
        return KA_OK;
    }
    if (def == NULL)
        return err_set(turn->text, KA_ERR_UNKNOWN_SAGA, "no saga \"%.*s\" is defined",
                       SLICE_FMT(name));
    struct saga *saga = NULL;
    err = saga_new(def, key, offset, command, &turn->batch->arena, &saga, turn->text);
    if (err != KA_OK && remote) {
        shard_remote_decline(turn, key, command, "invalid_input",
                             arena_copy(&turn->batch->arena, slice_str(turn->text->text)));
        return KA_OK;
    }
    if (err != KA_OK)
        return err;
    struct saga_effects effects;
    struct saga_event event = {.type = SAGA_EVENT_START};
    err = run(turn, saga, &event, &effects);
    KA_ASSERT(err == KA_OK);
    store(turn, saga, &effects);
    return KA_OK;
}

// An operator's verb that changes nothing is answered where the operator looks: in the history.
static void refuse(struct shard_turn *turn, struct slice key, const struct command *command,
                   enum ka_err error)
{
    struct buf *out = &turn->batch->scratch;
    size_t from = out->len;
    struct slice reason =
        slice_str(turn->text->text[0] != '\0' ? turn->text->text : err_string(error));
    buf_str(out, "{\"specversion\":\"1.0\",\"id\":");
    struct slice id = command->id.len > 0 ? command->id : turn->cause;
    buf_json_str(out, saga_cut(id, SAGA_MESSAGE_MAX));
    buf_str(out, ",\"source\":");
    buf_json_str(out, turn->shards->config.source);
    buf_str(out, ",\"type\":\"kasaga.command.refused\",\"subject\":");
    buf_json_str(out, key);
    buf_str(out, ",\"time\":");
    buf_json_time(out, turn->batch->now_ms);
    buf_str(out, ",\"datacontenttype\":\"application/json\",\"cause\":");
    buf_json_str(out, saga_cut(turn->cause, SAGA_MESSAGE_MAX));
    buf_str(out, ",\"executedby\":");
    buf_json_str(out, slice_str(turn->shards->config.node));
    buf_str(out, ",\"data\":{\"verb\":");
    buf_json_str(out, slice_str(command_verb_name(command->verb)));
    buf_str(out, ",\"code\":");
    buf_json_str(out, slice_str(err_name(error)));
    buf_str(out, ",\"message\":");
    buf_json_str(out, reason);
    buf_str(out, ",\"actor\":");
    buf_json_str(out, saga_cut(command->actor, SAGA_CODE_MAX));
    buf_str(out, "}}");
    struct output output = {
        .topic = turn->shards->config.history_topic,
        .partition = turn->partition->partition,
        .key = key,
        .value = buf_take(out, from, &turn->batch->arena),
    };
    out->len = from;
    lane_batch_output(turn->batch, &output, LANE_NO_TAG);
}

static enum ka_err operate(struct shard_turn *turn, struct slice key, const struct command *command)
{
    struct saga *saga = NULL;
    enum ka_err err = load_live(turn, key, &saga);
    if (err != KA_OK)
        return err;
    if (saga == NULL) {
        const struct table_finished *finished = table_lookup_finished(turn->shard->table, key);
        if (finished == NULL)
            err = err_set(turn->text, KA_ERR_NOT_FOUND, "no saga %.*s is live", SLICE_FMT(key));
        else
            err = err_set(turn->text, KA_ERR_NOT_ALLOWED, "saga %.*s has ended: %s", SLICE_FMT(key),
                          saga_state_name((enum saga_state)finished->outcome));
        refuse(turn, key, command, err);
        return KA_OK;
    }
    struct saga_effects effects;
    struct saga_event event = {.type = SAGA_EVENT_COMMAND, .command = command};
    err = run(turn, saga, &event, &effects);
    if (err == KA_OK)
        store(turn, saga, &effects);
    else
        refuse(turn, key, command, err);
    return KA_OK;
}

enum ka_err shard_saga_command(struct shard_turn *turn, struct slice key, int64_t offset,
                               const struct command *command)
{
    if (command->verb == COMMAND_START)
        return start(turn, key, offset, command);
    if (command->verb == COMMAND_RESULT)
        return shard_remote_result(turn, key, command);
    return operate(turn, key, command);
}

enum ka_err shard_saga_ended(struct shard_turn *turn, struct slice key, int64_t incarnation,
                             struct saga_event *event)
{
    struct saga *saga = NULL;
    enum ka_err err = load_live(turn, key, &saga);
    if (err != KA_OK)
        return err;
    if (saga == NULL || saga->incarnation != incarnation)
        return KA_OK; // ended meanwhile, or another life of the same id
    bound_result(saga, &event->result);
    struct saga_effects effects;
    err = run(turn, saga, event, &effects);
    KA_ASSERT(err == KA_OK);
    store(turn, saga, &effects);
    return KA_OK;
}

enum ka_err shard_saga_result(struct shard_turn *turn, const struct lane_result *result)
{
    struct saga_event event = {.type = SAGA_EVENT_RESULT,
                               .step = result->step,
                               .attempt = result->attempt,
                               .compensation = result->compensation,
                               .result = result->result};
    return shard_saga_ended(turn, result->key, result->incarnation, &event);
}

enum ka_err shard_saga_timer(struct shard_turn *turn, struct slice key)
{
    struct saga *saga = NULL;
    enum ka_err err = load_live(turn, key, &saga);
    if (err != KA_OK || saga == NULL)
        return err;
    int64_t due_ms = saga_due(saga);
    struct saga_event event = {.type = SAGA_EVENT_TIMER};
    struct saga_effects effects;
    err = run(turn, saga, &event, &effects);
    KA_ASSERT(err == KA_OK);
    // A timer that changed nothing would fire for ever.
    KA_ASSERT(saga_due(saga) != due_ms || effects.transition_count > 0);
    store(turn, saga, &effects);
    return KA_OK;
}

enum ka_err shard_saga_takeover(struct shard_turn *turn, const struct shard_takeover *takeover)
{
    struct saga *saga = NULL;
    enum ka_err err = load_live(turn, arena_copy(&turn->batch->arena, takeover->key), &saga);
    if (err != KA_OK || saga == NULL || saga->incarnation != takeover->incarnation)
        return err;
    const struct saga_step_state *st = &saga->steps[takeover->step];
    if (!in_flight(saga, takeover->step) || st->attempts != takeover->attempts ||
        st->undo_attempts != takeover->undo_attempts)
        return KA_OK; // it has moved on: what is in flight is ours
    struct saga_event event = {.type = SAGA_EVENT_TAKEOVER, .step = takeover->step};
    struct saga_effects effects;
    err = run(turn, saga, &event, &effects);
    KA_ASSERT(err == KA_OK);
    store(turn, saga, &effects);
    return KA_OK;
}
