// SPDX-License-Identifier: Apache-2.0
#include "story.h"

#include "core/history.h"
#include "core/json.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { TOKEN_MAX = 512, INCARNATION = 17 };

static const struct slice regions[] = {{"us-west", 7}, {"eu-central", 10}, {"apac-east", 9}};
static const struct residency_pattern patterns[] = {{{"email", 5}, CLASS_PERSONAL},
                                                    {{"iban", 4}, CLASS_FINANCIAL},
                                                    {{"diagnosis", 9}, CLASS_SENSITIVE}};
static const struct residency_tenant tenants[] = {{{"acme", 4}, 1}};
#define OWN                                                                                        \
    {                                                                                              \
        TARGET_OWN, REGION_NONE, true                                                              \
    }
#define ANY                                                                                        \
    {                                                                                              \
        TARGET_CLOSEST, REGION_NONE, false                                                         \
    }
static const struct residency_row rows[3 * DATA_CLASSES] = {ANY, OWN, OWN, OWN, ANY, OWN,
                                                            OWN, OWN, ANY, OWN, OWN, OWN};
const struct residency story_residency = {.regions = regions,
                                          .region_count = 3,
                                          .rows = rows,
                                          .patterns = patterns,
                                          .pattern_count = 3,
                                          .tenants = tenants,
                                          .tenant_count = 1};
const struct residency_link story_links[3] = {
    {.up = true}, {.up = true, .rtt_ms = 80}, {.up = true, .rtt_ms = 150}};

static _Noreturn void give_up(const char *what, const char *line)
{
    fprintf(stderr, "story: %s: %s\n", what, line);
    abort();
}

// --- words

// Takes the next word of *at into `word`; '…' and {…} hold together. False at the end.
static bool next_word(const char **at, char word[TOKEN_MAX])
{
    const char *from = *at + strspn(*at, " ");
    size_t len = 0;
    int depth = 0;
    bool quoted = false;
    for (; from[len] != '\0' && (quoted || depth > 0 || from[len] != ' '); len++) {
        if (from[len] == '\'')
            quoted = !quoted;
        depth += !quoted && from[len] == '{';
        depth -= !quoted && from[len] == '}';
    }
    if (len == 0 || len >= TOKEN_MAX)
        return false;
    memcpy(word, from, len);
    word[len] = '\0';
    *at = from + len;
    return true;
}

static const char *rest(const char *at)
{
    return at + strspn(at, " ");
}

// "5s", "250ms", "10m", "1h" or plain milliseconds.
static int64_t duration(const char *text)
{
    char *unit = NULL;
    int64_t value = strtoll(text, &unit, 10);
    if (strcmp(unit, "s") == 0)
        return value * 1000;
    if (strcmp(unit, "m") == 0)
        return value * 60000;
    if (strcmp(unit, "h") == 0)
        return value * 3600000;
    return value;
}

// --- the definition

static char *keep(struct story *story, const char *text)
{
    return arena_str(&story->lasting, slice_str(text));
}

// 'a:string,b:long' as a record schema.
static const struct schema *make_schema(struct story *story, char *fields)
{
    struct schema *schema = arena_zalloc(&story->lasting, sizeof *schema);
    struct schema_field *list = arena_zalloc(&story->lasting, 8 * sizeof *list);
    schema->type = SCHEMA_RECORD;
    schema->name = "Record";
    schema->fields = list;
    char *save = NULL;
    for (char *one = strtok_r(fields, ",", &save); one != NULL; one = strtok_r(NULL, ",", &save)) {
        struct schema *type = arena_zalloc(&story->lasting, sizeof *type);
        char *colon = strchr(one, ':');
        type->type = strcmp(colon + 1, "string") == 0 ? SCHEMA_STRING : SCHEMA_LONG;
        *colon = '\0';
        list[schema->field_count].name = keep(story, one);
        list[schema->field_count++].type = type;
    }
    return schema;
}

static struct expr *compile(char *quoted)
{
    struct expr *expr = NULL;
    struct err_text text = {""};
    if (*quoted == '\'') {
        quoted[strlen(quoted) - 1] = '\0';
        quoted++;
    }
    if (expr_compile(quoted, NULL, &expr, &text) != KA_OK)
        give_up(text.text, quoted);
    return expr;
}

static struct action_def *new_action(struct story *story, const char *name)
{
    struct action_def *action = arena_zalloc(&story->lasting, sizeof *action);
    action->name = name;
    action->kind = ACTION_PLUGIN;
    return action;
}

static void set_undo(struct step_def *step, struct action_def *undo, const char *key, char *value)
{
    if (strcmp(key, "undo-inline") == 0)
        undo->run_inline = true;
    else if (strcmp(key, "undo-retry") == 0)
        step->compensate_retry.attempts = atoi(value);
    else if (strcmp(key, "undo-timeout") == 0)
        step->compensate_timeout_ms = duration(value);
    else if (strcmp(key, "undo-input") == 0)
        step->compensate_input = compile(value);
    else
        give_up("no such option", key);
}

static bool set_number(struct step_def *step, const char *key, const char *value)
{
    if (strcmp(key, "retry") == 0)
        step->retry.attempts = atoi(value);
    else if (strcmp(key, "timeout") == 0)
        step->timeout_ms = duration(value);
    else if (strcmp(key, "backoff") == 0)
        step->retry.backoff_ms = step->compensate_retry.backoff_ms = duration(value);
    else if (strcmp(key, "backoff-max") == 0)
        step->retry.backoff_max_ms = step->compensate_retry.backoff_max_ms = duration(value);
    else
        return false;
    return true;
}

static void set_step(struct story *story, struct step_def *step, struct action_def *action,
                     struct action_def *undo, char *word)
{
    char *value = strchr(word, '=');
    if (value != NULL)
        *value++ = '\0';
    if (strcmp(word, "undo") == 0) {
        step->compensate_name = undo->name = keep(story, value);
        step->compensate = undo;
    } else if (strcmp(word, "inline") == 0) {
        action->run_inline = true;
    } else if (strcmp(word, "optional") == 0) {
        step->optional = true;
    } else if (strcmp(word, "data") == 0) {
        step->local_data = true;
    } else if (strcmp(word, "pivot") == 0) {
        step->pivot = true;
    } else if (strcmp(word, "collect") == 0) {
        step->collect = true;
    } else if (strcmp(word, "gather") == 0) {
        step->gather = keep(story, value);
    } else if (strcmp(word, "items") == 0) {
        step->items = compile(value);
    } else if (strcmp(word, "group") == 0) {
        const struct step_def *before = step == story->def->steps ? step : step - 1;
        bool same = before->group > 0 && strcmp(before->group_name, value) == 0;
        step->group = before->group + (same ? 0 : 1);
        step->group_name = keep(story, value);
    } else if (strcmp(word, "when") == 0) {
        step->when = compile(value);
    } else if (strcmp(word, "input") == 0) {
        step->input = compile(value);
    } else if (strcmp(word, "params") == 0) {
        action->params = make_schema(story, value);
    } else if (strcmp(word, "result") == 0) {
        action->result = make_schema(story, value);
    } else if (strcmp(word, "class") == 0) {
        step->declared = data_class_parse(slice_str(value), &step->dataclass);
    } else if (strcmp(word, "region") == 0) {
        step->region_of_tenant = strcmp(value, "tenant") == 0;
        step->least_loaded = strcmp(value, "least_loaded") == 0;
        if (*value == '\'')
            step->region_expr = compile(value);
        else if (!step->region_of_tenant && !step->least_loaded)
            step->region = keep(story, value);
    } else if (!set_number(step, word, value)) {
        set_undo(step, undo, word, value);
    }
}

static void define_step(struct story *story, const char *line)
{
    char word[TOKEN_MAX];
    struct step_def *step = &story->def->steps[story->def->step_count++];
    if (!next_word(&line, word))
        give_up("a step needs a name", line);
    char action_name[TOKEN_MAX + 4];
    snprintf(action_name, sizeof action_name, "do.%s", word);
    struct action_def *action = new_action(story, keep(story, action_name));
    *step = (struct step_def){
        .name = keep(story, word),
        .action_name = action->name,
        .action = action,
        .retry = {.attempts = 1, .backoff_ms = 1000, .backoff_max_ms = 8000},
        .compensate_retry = {.attempts = 3, .backoff_ms = 1000, .backoff_max_ms = 8000},
        .timeout_ms = 5000,
        .compensate_timeout_ms = 5000,
    };
    struct action_def *undo = new_action(story, "");
    while (next_word(&line, word))
        set_step(story, step, action, undo, word);
}

static void define_saga(struct story *story, const char *line)
{
    char word[TOKEN_MAX];
    (void)next_word(&line, word);
    story->def->name = keep(story, word);
    while (next_word(&line, word)) {
        if (strncmp(word, "deadline=", 9) == 0)
            story->def->deadline_ms = duration(word + 9);
        else if (strncmp(word, "state-max=", 10) == 0)
            story->def->state_max = (size_t)atoi(word + 10);
        else if (strncmp(word, "tenant=", 7) == 0)
            story->tenant = keep(story, word + 7);
        else
            give_up("no such option", word);
    }
}

bool story_define(struct story *story, const char *line)
{
    if (strncmp(line, "saga ", 5) == 0)
        define_saga(story, line + 5);
    else if (strncmp(line, "step ", 5) == 0)
        define_step(story, line + 5);
    else
        return false;
    return true;
}

// Calls `tell` for each line; lines longer than a page end the test.
static void each_line(struct story *story, const char *lines, void (*tell)(struct story *, char *))
{
    char line[4096];
    while (*lines != '\0') {
        size_t len = strcspn(lines, "\n");
        if (len >= sizeof line)
            give_up("line too long", lines);
        memcpy(line, lines, len);
        line[len] = '\0';
        if (len > 0)
            tell(story, line);
        lines += len + (lines[len] == '\n');
    }
}

static void must_define(struct story *story, char *line)
{
    if (!story_define(story, line))
        give_up("not a line of a definition", line);
}

void story_init(struct story *story, const char *definition)
{
    *story = (struct story){.now_ms = STORY_EPOCH_MS};
    memcpy(story->links, story_links, sizeof story->links);
    story->def = calloc(1, sizeof *story->def + DEF_STEPS_MAX * sizeof *story->def->steps);
    *story->def = (struct saga_def){.name = "order", .version = 1};
    for (size_t i = 0; i < DEF_ID_SIZE; i++)
        story->def->id.bytes[i] = (unsigned char)(0xA0 + i);
    each_line(story, definition, must_define);
}

void story_fini(struct story *story)
{
    for (size_t i = 0; i < story->def->step_count; i++) {
        expr_free(&story->def->steps[i].when);
        expr_free(&story->def->steps[i].input);
        expr_free(&story->def->steps[i].compensate_input);
        expr_free(&story->def->steps[i].region_expr);
        expr_free(&story->def->steps[i].items);
    }
    free(story->def);
    arena_fini(&story->lasting);
    arena_fini(&story->batch);
    buf_fini(&story->scratch);
    buf_fini(&story->stored);
    buf_fini(&story->trace);
    buf_fini(&story->history);
}

// --- the trace

static KA_PRINTF(2, 3) void say(struct story *story, const char *format, ...)
{
    char line[4096];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (len < 0 || (size_t)len >= sizeof line)
        give_up("trace too long", format);
    buf_put(&story->trace, line, (size_t)len);
}

static void say_slice(struct story *story, const char *before, struct slice s)
{
    if (s.len == 0)
        return;
    buf_str(&story->trace, before);
    buf_slice_put(&story->trace, s);
}

// Since the story began.
static void say_time(struct story *story, const char *before, int64_t time_ms)
{
    int64_t ms = time_ms - STORY_EPOCH_MS;
    say(story, "%s+%lld", before, (long long)(ms / 1000));
    if (ms % 1000 != 0)
        say(story, ".%03lld", (long long)(ms % 1000));
    say(story, "s");
}

static void say_transition(struct story *story, const struct transition *t)
{
    say(story, "  %2lld %s", (long long)t->sequence, transition_type_name(t->type) + 7);
    if (t->step >= 0)
        say(story, " %s", story->def->steps[t->step].name);
    if (t->step >= 0 && t->attempt > 0)
        say(story, "#%d", t->attempt);
    say_slice(story, " ", t->code);
    say_slice(story, ": ", t->message);
    say_slice(story, " in ", t->input);
    say_slice(story, t->step >= 0 ? " out " : " ", t->data);
    if (t->due_ms > 0)
        say_time(story,
                 t->type == TRANSITION_STEP_RETRYING || t->type == TRANSITION_COMPENSATION_RETRYING
                     ? ", again at "
                     : ", until ",
                 t->due_ms);
    if (t->maybe_done)
        say(story, ", maybe done");
    say_slice(story, ", in ", t->region);
    say_slice(story, " (", t->placement);
    say(story, t->placement.len > 0 ? ")" : "");
    say_slice(story, ", ran by ", t->executed_by);
    say_slice(story, ", by ", t->actor);
    say_slice(story, ": ", t->reason);
    say(story, "\n");
}

static void say_invocation(struct story *story, const struct invocation *call)
{
    say(story, "  -> %s %.*s#%d", call->compensation ? "undo" : "call",
        SLICE_FMT(call->idempotency_key), call->attempt);
    say(story, " of %s", call->action->name);
    say_slice(story, " in ", call->region);
    say_slice(story, " closes ", call->forward_key);
    say_slice(story, " with ", call->input);
    say(story, "\n");
}

static void say_state(struct story *story)
{
    const struct saga *saga = story->saga;
    say(story, "   = %s", saga_state_name(saga->state));
    for (size_t i = 0; i < saga->def->step_count; i++)
        say(story, "%s %s %s%s", i == 0 ? ":" : ",", saga->def->steps[i].name,
            step_state_name(saga->steps[i].state), saga->steps[i].maybe_done ? "?" : "");
    if (saga_due(saga) != INT64_MAX)
        say_time(story, "; wakes ", saga_due(saga));
    say(story, "\n");
}

static struct slice cause_of(enum saga_event_type type)
{
    switch (type) {
    case SAGA_EVENT_RESULT:
        return SLICE_LIT("result");
    case SAGA_EVENT_TIMER:
        return SLICE_LIT("timer");
    case SAGA_EVENT_TAKEOVER:
        return SLICE_LIT("takeover");
    case SAGA_EVENT_START:
    case SAGA_EVENT_COMMAND:
    case SAGA_EVENT_PLACED:
        break;
    }
    return SLICE_LIT("shop.inbox/3/17");
}

static void say_effects(struct story *story, enum saga_event_type type)
{
    struct history_context context = {SLICE_LIT("/kasaga/test/shop"), cause_of(type), "test/n1"};
    for (size_t i = 0; i < story->effects.transition_count; i++) {
        say_transition(story, &story->effects.transitions[i]);
        history_format(story->saga, &story->effects.transitions[i], &context, &story->history);
        buf_byte(&story->history, '\n');
    }
    for (size_t i = 0; i < story->effects.invocation_count; i++)
        say_invocation(story, &story->effects.invocations[i]);
    if (story->err != KA_OK)
        say(story, "   ! %s: %s\n", err_name(story->err), story->text.text);
    say_state(story);
}

const char *story_trace(struct story *story)
{
    buf_byte(&story->trace, '\0');
    story->trace.len = 0;
    return story->trace.ptr;
}

// --- events

// The instance goes through its stored form, and everything else is forgotten.
static void store(struct story *story)
{
    struct buf fresh = {0};
    saga_encode(story->saga, &fresh);
    buf_fini(&story->stored);
    story->stored = fresh;
    arena_fini(&story->batch);
    struct saga *again = NULL;
    enum ka_err err = saga_decode(buf_slice(&story->stored), SLICE_LIT("order/4711"), story->def,
                                  &story->batch, &again, &story->text);
    if (err != KA_OK)
        give_up(story->text.text, "the stored form");
    story->saga = again;
}

static void step(struct story *story, const struct saga_event *event)
{
    story->effects = (struct saga_effects){.residency = &story_residency,
                                           .links = story->links,
                                           .arena = &story->batch,
                                           .scratch = &story->scratch};
    story->text.text[0] = '\0';
    story->err = saga_step(story->saga, event, &story->effects, &story->text);
    say_effects(story, event->type);
    store(story);
}

static void tell_start(struct story *story, const char *data)
{
    struct command command = {.verb = COMMAND_START,
                              .id = SLICE_LIT("e-1"),
                              .type = SLICE_LIT("order.placed"),
                              .source = SLICE_LIT("/web"),
                              .tenant = slice_str(story->tenant),
                              .data = slice_str(data)};
    story->err = saga_new(story->def, SLICE_LIT("order/4711"), INCARNATION, &command, &story->batch,
                          &story->saga, &story->text);
    if (story->err == KA_OK)
        step(story, &(struct saga_event){.type = SAGA_EVENT_START, .now_ms = story->now_ms});
}

static int32_t find_step(const struct story *story, const char *name)
{
    for (size_t i = 0; i < story->def->step_count; i++)
        if (strcmp(story->def->steps[i].name, name) == 0)
            return (int32_t)i;
    return -1;
}

// "charge", "charge#1", "charge/undo", "charge/undo#2".
static void parse_attempt(struct story *story, char *word, struct saga_event *event)
{
    char *by = strchr(word, '@');
    if (by != NULL) {
        *by = '\0';
        event->executed_by = slice_str(by + 1);
    }
    char *number = strchr(word, '#');
    if (number != NULL)
        *number++ = '\0';
    char *undo = strstr(word, "/undo");
    if (undo != NULL)
        *undo = '\0';
    event->compensation = undo != NULL;
    event->step = find_step(story, word);
    if (number != NULL)
        event->attempt = atoi(number);
    else if (event->step >= 0)
        event->attempt = undo != NULL ? story->saga->steps[event->step].undo_attempts
                                      : story->saga->steps[event->step].attempts;
}

static void parse_failure(const char *at, struct action_result *result, char code[TOKEN_MAX])
{
    static char message[TOKEN_MAX];
    char word[TOKEN_MAX];
    const char *before = at;
    if (!next_word(&at, code))
        return;
    result->code = slice_str(code);
    before = at;
    if (next_word(&at, word) && word[0] >= '0' && word[0] <= '9')
        result->retry_after_ms = duration(word);
    else
        at = before;
    snprintf(message, sizeof message, "%s", rest(at));
    result->message = slice_str(message);
    if (result->message.len > 0 && message[result->message.len - 1] == '?') {
        result->maybe_done = true;
        result->message.len--;
        while (result->message.len > 0 && message[result->message.len - 1] == ' ')
            result->message.len--;
    }
}

static bool tell_result(struct story *story, const char *verb, const char *at)
{
    static const char *const verbs[] = {[OUTCOME_OK] = "ok",
                                        [OUTCOME_FAIL] = "no",
                                        [OUTCOME_RETRY] = "again",
                                        [OUTCOME_UNKNOWN] = "unknown"};
    char word[TOKEN_MAX];
    char code[TOKEN_MAX];
    for (int outcome = OUTCOME_OK; outcome <= OUTCOME_UNKNOWN; outcome++) {
        if (strcmp(verb, verbs[outcome]) != 0 || !next_word(&at, word))
            continue;
        struct saga_event event = {.type = SAGA_EVENT_RESULT, .now_ms = story->now_ms};
        event.result.outcome = (enum outcome)outcome;
        parse_attempt(story, word, &event);
        if (outcome == OUTCOME_OK)
            event.result.data = slice_str(rest(at));
        else
            parse_failure(at, &event.result, code);
        step(story, &event);
        return true;
    }
    return false;
}

// "by ada: reason"
static bool tell_verb(struct story *story, const char *verb, const char *at)
{
    char actor[TOKEN_MAX] = "";
    for (int i = COMMAND_START; i <= COMMAND_TERMINATE; i++) {
        struct command command = {.verb = (enum command_verb)i};
        if (strcmp(verb, command_verb_name(command.verb)) != 0)
            continue;
        char by[TOKEN_MAX];
        if (next_word(&at, by) && next_word(&at, actor)) {
            command.actor = slice_of(actor, strcspn(actor, ":"));
            command.reason = slice_str(rest(at));
        }
        step(story, &(struct saga_event){
                        .type = SAGA_EVENT_COMMAND, .now_ms = story->now_ms, .command = &command});
        return true;
    }
    return false;
}

static bool tell_time(struct story *story, const char *verb, const char *at)
{
    struct saga_event event = {.type = SAGA_EVENT_TIMER};
    if (strcmp(verb, "wait") == 0)
        story->now_ms += duration(rest(at));
    else if (strcmp(verb, "timer") == 0)
        story->now_ms = saga_due(story->saga) == INT64_MAX ? story->now_ms : saga_due(story->saga);
    else if (strcmp(verb, "takeover") == 0)
        event.type = SAGA_EVENT_TAKEOVER;
    else
        return false;
    event.now_ms = story->now_ms;
    char name[TOKEN_MAX];
    bool named = event.type == SAGA_EVENT_TAKEOVER && next_word(&at, name);
    event.step = named ? find_step(story, name) : story->saga->current;
    step(story, &event);
    return true;
}

static bool tell_link(struct story *story, const char *verb, const char *at)
{
    int32_t region = residency_region(&story_residency, slice_str(rest(at)));
    bool up = strcmp(verb, "up") == 0;
    if ((!up && strcmp(verb, "down") != 0) || region == REGION_NONE)
        return false;
    story->links[region].up = up;
    return true;
}

// "load eu-central 81%", "load eu-central full", "load eu-central unknown"
static bool tell_load(struct story *story, const char *verb, const char *at)
{
    char name[TOKEN_MAX];
    if (strcmp(verb, "load") != 0 || !next_word(&at, name))
        return false;
    int32_t region = residency_region(&story_residency, slice_str(name));
    if (region == REGION_NONE)
        return false;
    struct residency_link *link = &story->links[region];
    link->load_known = strcmp(rest(at), "unknown") != 0;
    link->full = strcmp(rest(at), "full") == 0;
    link->busy = (int32_t)(atoi(rest(at)) * 10);
    return true;
}

void story_tell(struct story *story, const char *line)
{
    char verb[TOKEN_MAX];
    const char *at = line;
    if (!next_word(&at, verb))
        return;
    if (strcmp(verb, "start") == 0 && story->saga == NULL)
        tell_start(story, rest(at));
    else if (!tell_result(story, verb, at) && !tell_verb(story, verb, at) &&
             !tell_time(story, verb, at) && !tell_link(story, verb, at) &&
             !tell_load(story, verb, at))
        give_up("not an event", line);
}

static void tell_line(struct story *story, char *line)
{
    story_tell(story, line);
}

void story_tell_all(struct story *story, const char *lines)
{
    each_line(story, lines, tell_line);
}

// --- questions

const char *story_state(const struct story *story)
{
    return saga_state_name(story->saga->state);
}

const struct saga_step_state *story_step(const struct story *story, const char *name)
{
    int32_t index = find_step(story, name);
    if (index < 0)
        give_up("no such step", name);
    return &story->saga->steps[index];
}

const char *story_step_state(const struct story *story, const char *name)
{
    return step_state_name(story_step(story, name)->state);
}
