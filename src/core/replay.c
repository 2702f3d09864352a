// SPDX-License-Identifier: Apache-2.0
// What a document does not say because it can be derived: whether an attempt that ended badly was
// refused, may be tried again or is unknown. The core asks for it to decide whether the attempt is
// tried again and whether it may have happened; both stand in the document (its type, maybe_done).
#include "core/replay.h"

#include "core/assert.h"
#include "core/history.h"
#include "core/json.h"

// The longest pause that a participant can ask for: a longer one is the policy's.
#define ASKED_MAX_MS (24 * 3600 * INT64_C(1000))

void replay_init(struct replay *replay, const struct saga_def *def, struct slice key,
                 struct saga *saga, struct arena *arena, struct buf *scratch)
{
    KA_ASSERT(def != NULL && arena != NULL && scratch != NULL);
    *replay =
        (struct replay){.def = def, .key = key, .arena = arena, .scratch = scratch, .saga = saga};
}

// The inline attempt whose result has to come before anything else; NULL if there is none.
static const struct invocation *awaited(const struct replay *replay)
{
    const struct saga_effects *effects = &replay->effects;
    for (size_t i = replay->called; i < effects->invocation_count; i++)
        if (effects->invocations[i].action->run_inline && effects->invocations[i].region.len == 0)
            return &effects->invocations[i];
    return NULL;
}

bool replay_rests(const struct replay *replay)
{
    return replay->compared == replay->effects.transition_count && awaited(replay) == NULL &&
           !replay->told.awaited;
}

// --- from documents to events

// The pause that led to `due`, if a participant may have asked for it; the policy gives the same
// one if it was the policy's.
static int64_t retry_after(const struct history_doc *doc)
{
    int64_t pause_ms = doc->due_ms - doc->time_ms;
    return doc->due_ms < 0 || pause_ms > ASKED_MAX_MS ? 0 : pause_ms;
}

struct action_result replay_result(const struct history_doc *doc)
{
    struct action_result result = {.outcome = OUTCOME_FAIL,
                                   .maybe_done = doc->maybe_done,
                                   .code = doc->code,
                                   .message = doc->message};
    bool again = doc->transition == TRANSITION_STEP_RETRYING ||
                 doc->transition == TRANSITION_COMPENSATION_RETRYING;
    bool well = doc->transition == TRANSITION_STEP_COMPLETED ||
                doc->transition == TRANSITION_COMPENSATION_COMPLETED;
    if (well || !slice_none(doc->result)) { // also one that did not match its schema
        result.outcome = OUTCOME_OK;
        result.maybe_done = false;
        result.data = doc->result;
    } else if (again) {
        result.outcome = OUTCOME_RETRY;
        result.retry_after_ms = retry_after(doc);
    }
    return result;
}

static bool verb_of(const struct history_doc *doc, enum command_verb *verb)
{
    static const struct {
        const char *code;
        enum command_verb verb;
    } codes[] = {
        {"pause", COMMAND_PAUSE}, {"resume", COMMAND_RESUME}, {"cancelled", COMMAND_CANCEL},
        {"retry", COMMAND_RETRY}, {"skip", COMMAND_SKIP},     {"terminated", COMMAND_TERMINATE},
    };
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        if (!slice_eq(doc->code, slice_str(codes[i].code)))
            continue;
        *verb = codes[i].verb;
        return true;
    }
    return false;
}

static enum ka_err move(struct replay *replay, const struct saga_event *event,
                        struct err_text *text)
{
    enum ka_err err = saga_step(replay->saga, event, &replay->effects, text);
    return err == KA_OK ? KA_OK : err_wrap(text, KA_ERR_DIFFERS, "the core refuses it");
}

static enum ka_err start(struct replay *replay, const struct history_doc *doc,
                         struct err_text *text)
{
    struct command command = {
        .verb = COMMAND_START,
        .id = doc->event_id,
        .type = doc->event_type,
        .source = doc->event_source,
        .tenant = doc->tenant,
        .dataclass = doc->dataclass,
        .traceparent = doc->traceparent,
        .data = doc->event_data,
    };
    if (replay->saga != NULL)
        return err_set(text, KA_ERR_DIFFERS, "it was started before");
    if (memcmp(&doc->hash, &replay->def->id, sizeof doc->hash) != 0)
        return err_set(text, KA_ERR_NO_DEFINITION, "it was started with another definition");
    enum ka_err err = saga_new(replay->def, replay->key, doc->incarnation, &command, replay->arena,
                               &replay->saga, text);
    if (err != KA_OK)
        return err;
    return move(replay, &(struct saga_event){.type = SAGA_EVENT_START, .now_ms = doc->time_ms},
                text);
}

// The event whose first document this is.
static enum ka_err begin(struct replay *replay, const struct history_doc *doc,
                         struct err_text *text)
{
    replay->told = (struct saga_told){0};
    replay->effects = (struct saga_effects){
        .told = &replay->told, .arena = replay->arena, .scratch = replay->scratch};
    replay->compared = replay->called = 0;
    if (doc->transition == TRANSITION_SAGA_STARTED)
        return start(replay, doc, text);
    if (replay->saga == NULL)
        return err_set(text, KA_ERR_DIFFERS, "there is no start of it");
    struct saga_event event = {.type = SAGA_EVENT_RESULT, .now_ms = doc->time_ms};
    struct command command = {.actor = doc->actor, .reason = doc->reason};
    if (doc->reason.len > 0) { // nothing but an operator gives one
        event.type = SAGA_EVENT_COMMAND;
        event.command = &command;
        if (!verb_of(doc, &command.verb))
            return err_set(text, KA_ERR_DIFFERS, "no verb has the code %.*s", SLICE_FMT(doc->code));
    } else if (slice_eq(doc->cause, SLICE_LIT("timer"))) {
        event.type = SAGA_EVENT_TIMER;
    } else if (slice_eq(doc->cause, SLICE_LIT("takeover"))) {
        event.type = SAGA_EVENT_TAKEOVER;
        event.step = (int32_t)doc->index;
    } else {
        event.step = (int32_t)doc->index;
        event.attempt = (int32_t)doc->attempt;
        event.compensation = doc->compensation;
        event.result = replay_result(doc);
        event.executed_by = doc->ran_by;
    }
    return move(replay, &event, text);
}

// An inline action has answered, or a call before it that may not leave: the document in hand is
// what came of it.
static enum ka_err answer(struct replay *replay, const struct invocation *call,
                          const struct history_doc *doc, struct err_text *text)
{
    struct saga_event event = {.type = SAGA_EVENT_RESULT,
                               .now_ms = doc->time_ms,
                               .step = (int32_t)doc->index,
                               .attempt = (int32_t)doc->attempt,
                               .compensation = doc->compensation,
                               .result = replay_result(doc)};
    if (event.step == call->step)
        replay->called = (size_t)(call - replay->effects.invocations) + 1;
    enum ka_err err = move(replay, &event, text);
    // The call would be waited for for ever.
    if (err == KA_OK && event.step != call->step &&
        replay->compared == replay->effects.transition_count)
        return err_set(text, KA_ERR_DIFFERS, "the core does nothing here");
    return err;
}

// The step that the event has come to ran where this document of it says. One that failed before an
// attempt was not let go there.
static enum ka_err place(struct replay *replay, const struct history_doc *doc,
                         struct err_text *text)
{
    bool refused = doc->transition == TRANSITION_STEP_FAILED && doc->attempt <= 0;
    replay->told = (struct saga_told){.known = true,
                                      .refused = refused,
                                      .region = doc->region,
                                      .placement = doc->placement,
                                      .code = doc->code,
                                      .message = doc->message};
    return move(replay, &(struct saga_event){.type = SAGA_EVENT_PLACED, .now_ms = doc->time_ms},
                text);
}

// --- what the core writes and what stands there

// Appends the name of the first member in which they differ: "data.due".
static void name_difference(struct slice ours, struct slice theirs, struct buf *name)
{
    struct json_walk a = json_walk(ours);
    struct json_walk b = json_walk(theirs);
    struct slice name_a = SLICE_NONE, name_b = SLICE_NONE;
    struct slice value_a = SLICE_NONE, value_b = SLICE_NONE;
    bool more = true;
    while (more) {
        bool more_a = json_next(&a, &name_a, &value_a);
        bool more_b = json_next(&b, &name_b, &value_b);
        more = more_a && more_b && slice_eq(name_a, name_b) && slice_eq(value_a, value_b);
        if (!more && !more_a)
            name_a = more_b ? name_b : SLICE_LIT("\"?\"");
    }
    if (name->len > 0)
        buf_byte(name, '.');
    buf_put(name, name_a.ptr + 1, name_a.len - 2);
    if (slice_eq(name_a, SLICE_LIT("\"data\"")) && slice_eq(name_a, name_b) &&
        json_type(value_a) == JSON_OBJECT && json_type(value_b) == JSON_OBJECT)
        name_difference(value_a, value_b, name);
}

static enum ka_err compare(struct replay *replay, const struct history_doc *doc,
                           struct err_text *text)
{
    struct history_context context = {doc->source, doc->cause,
                                      arena_str(replay->arena, doc->executed_by)};
    struct buf *scratch = replay->scratch;
    size_t from = scratch->len;
    history_format(replay->saga, &replay->effects.transitions[replay->compared++], &context,
                   scratch);
    struct slice ours = buf_take(scratch, from, replay->arena);
    scratch->len = from;
    if (slice_eq(ours, doc->doc))
        return KA_OK;
    struct buf name = {0};
    name_difference(ours, doc->doc, &name);
    enum ka_err err = err_set(text, KA_ERR_DIFFERS, "member %.*s differs: the core writes %.*s",
                              SLICE_FMT(buf_slice(&name)), SLICE_FMT(ours));
    buf_fini(&name);
    return err;
}

enum ka_err replay_take(struct replay *replay, const struct history_doc *doc, struct err_text *text)
{
    if (doc->truncated >= 0)
        return err_set(text, KA_ERR_UNSUPPORTED,
                       "sequence %lld of %.*s was written without its data",
                       (long long)doc->sequence, SLICE_FMT(replay->key));
    enum ka_err err = history_doc_check(doc, text);
    if (err != KA_OK)
        return err;
    if (replay->def->history != HISTORY_ALL)
        return err_set(text, KA_ERR_UNSUPPORTED,
                       "the definition of %.*s keeps a short history: only with \"all\" an "
                       "instance can be run again",
                       SLICE_FMT(replay->key));
    bool begun = false;
    while (err == KA_OK && replay->compared == replay->effects.transition_count) {
        const struct invocation *call = awaited(replay);
        if (replay->told.awaited)
            err = place(replay, doc, text);
        else if (call != NULL)
            err = answer(replay, call, doc, text);
        else if (!begun)
            err = begin(replay, doc, text);
        else
            err = err_set(text, KA_ERR_DIFFERS, "the core does nothing here");
        begun = true;
    }
    if (err == KA_OK)
        err = compare(replay, doc, text);
    return err == KA_OK ? KA_OK
                        : err_wrap(text, err, "sequence %lld, %.*s", (long long)doc->sequence,
                                   SLICE_FMT(doc->type));
}
