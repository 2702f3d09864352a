// SPDX-License-Identifier: Apache-2.0
// The normalised form back into a definition. It comes from the catalog, so from any process that
// may write there: every member is checked, and a member that is not known here means that a later
// version wrote it and that leaving it out would run something else.
#include "core/def.h"

#include "core/assert.h"
#include "core/json.h"
#include "core/remote.h"

#include <stdlib.h>

enum { FORMAT = 1 };
// Ten years: nothing overflows when times are added.
#define MS_MAX (INT64_C(10) * 366 * 24 * 3600 * 1000)

// What owns a definition: in front of it, in the same block.
struct owner {
    struct arena memory;
};
enum { OWNER_SIZE = (sizeof(struct owner) + 15) / 16 * 16 };

struct load {
    struct arena *memory;
    const struct def_env *env;
    struct err_text *text;
};

// ---- Members

// Every member of `object` must be one of `names`.
static enum ka_err check_members(struct load *load, struct slice object, const char *what,
                                 const char *const *names)
{
    if (json_type(object) != JSON_OBJECT)
        return err_set(load->text, KA_ERR_CONFIG, "%s is not an object", what);
    struct json_walk walk = json_walk(object);
    struct slice name;
    struct slice value;
    while (json_next(&walk, &name, &value)) {
        bool known = false;
        for (size_t i = 0; names[i] != NULL && !known; i++)
            known = json_text_is(name, slice_str(names[i]));
        if (!known)
            return err_set(load->text, KA_ERR_UNSUPPORTED, "%s has %.*s, of a later version", what,
                           SLICE_FMT(name));
    }
    return KA_OK;
}

static enum ka_err wrong(struct load *load, const char *member, const char *expected)
{
    return err_set(load->text, KA_ERR_CONFIG, "\"%s\" is not %s", member, expected);
}

static enum ka_err get_number(struct load *load, struct slice object, const char *member,
                              int64_t max, int64_t *out)
{
    struct slice value = json_member(object, slice_str(member));
    if (slice_none(value) || !json_i64(value, out) || *out < 0 || *out > max)
        return wrong(load, member, "a number in its range");
    return KA_OK;
}

static enum ka_err get_bool(struct load *load, struct slice object, const char *member, bool *out)
{
    struct slice value = json_member(object, slice_str(member));
    enum json_type type = slice_none(value) ? JSON_NULL : json_type(value);
    if (type != JSON_TRUE && type != JSON_FALSE)
        return wrong(load, member, "true or false");
    *out = type == JSON_TRUE;
    return KA_OK;
}

// Absent gives NULL.
static enum ka_err get_text(struct load *load, struct slice object, const char *member,
                            const char **out)
{
    struct slice value = json_member(object, slice_str(member));
    *out = NULL;
    if (slice_none(value))
        return KA_OK;
    if (json_type(value) != JSON_STRING)
        return wrong(load, member, "a string");
    struct slice text = json_text(json_trim(value), load->memory);
    if (memchr(text.ptr, '\0', text.len) != NULL)
        return wrong(load, member, "a string without NUL");
    *out = arena_str(load->memory, text);
    return KA_OK;
}

static enum ka_err get_name(struct load *load, struct slice object, const char **out)
{
    enum ka_err err = get_text(load, object, "name", out);
    if (err == KA_OK && (*out == NULL || **out == '\0' || strlen(*out) >= DEF_NAME_MAX))
        return wrong(load, "name", "a name of 1 to 63 bytes");
    return err;
}

static enum ka_err get_expr(struct load *load, struct slice object, const char *member,
                            struct expr **out)
{
    const char *source = NULL;
    enum ka_err err = get_text(load, object, member, &source);
    if (err != KA_OK || source == NULL)
        return err;
    err = expr_compile(source, load->env->engine, out, load->text);
    return err == KA_OK ? KA_OK : err_wrap(load->text, err, "\"%s\"", member);
}

// ---- Parts

static enum ka_err get_retry(struct load *load, struct slice object, struct retry_policy *retry)
{
    static const char *const names[] = {"attempts", "backoff_max_ms", "backoff_ms", NULL};
    struct slice value = json_member(object, SLICE_LIT("retry"));
    int64_t attempts = 0;
    enum ka_err err = check_members(load, value, "\"retry\"", names);
    if (err == KA_OK)
        err = get_number(load, value, "attempts", INT32_MAX - 1, &attempts);
    if (err == KA_OK)
        err = get_number(load, value, "backoff_ms", MS_MAX, &retry->backoff_ms);
    if (err == KA_OK)
        err = get_number(load, value, "backoff_max_ms", MS_MAX, &retry->backoff_max_ms);
    retry->attempts = (int32_t)attempts;
    return err;
}

static enum ka_err get_timeout(struct load *load, struct slice object, int64_t *out)
{
    enum ka_err err = get_number(load, object, "timeout_ms", MS_MAX, out);
    return err == KA_OK && *out == 0 ? wrong(load, "timeout_ms", "over 0") : err;
}

// What it says of kind, version and schemas is for its identity; what runs is the local action.
static enum ka_err get_action(struct load *load, struct slice object, const char **name,
                              const struct action_def **action)
{
    static const char *const names[] = {"inline", "intensive", "kind",    "name",
                                        "params", "result",    "version", NULL};
    struct slice value = json_member(object, SLICE_LIT("action"));
    enum ka_err err = check_members(load, value, "\"action\"", names);
    if (err == KA_OK)
        err = get_name(load, value, name);
    if (err != KA_OK)
        return err;
    *action = load->env->find_action(load->env->find_context, *name);
    if (*action == NULL)
        return err_set(load->text, KA_ERR_NOT_FOUND, "there is no action %s here", *name);
    return KA_OK;
}

static enum ka_err get_compensate(struct load *load, struct slice object, struct step_def *step)
{
    static const char *const names[] = {"action", "input", "retry", "timeout_ms", NULL};
    struct slice value = json_member(object, SLICE_LIT("compensate"));
    if (slice_none(value))
        return KA_OK;
    enum ka_err err = check_members(load, value, "\"compensate\"", names);
    if (err == KA_OK)
        err = get_action(load, value, &step->compensate_name, &step->compensate);
    if (err == KA_OK)
        err = get_expr(load, value, "input", &step->compensate_input);
    if (err == KA_OK)
        err = get_retry(load, value, &step->compensate_retry);
    if (err == KA_OK)
        err = get_timeout(load, value, &step->compensate_timeout_ms);
    return err == KA_OK ? KA_OK : err_wrap(load->text, err, "compensate");
}

// "eu-central", "tenant", "least_loaded" or an expression.
static enum ka_err get_region(struct load *load, struct slice object, struct step_def *step)
{
    const char *source = NULL;
    enum ka_err err = get_text(load, object, "region", &source);
    if (err != KA_OK || source == NULL)
        return err;
    step->region_of_tenant = strcmp(source, "tenant") == 0;
    step->least_loaded = strcmp(source, "least_loaded") == 0;
    if (step->region_of_tenant || step->least_loaded)
        return KA_OK;
    if (!residency_is_name(slice_str(source)))
        return get_expr(load, object, "region", &step->region_expr);
    step->region = source;
    return KA_OK;
}

// What the action says of where it runs best. "compute" has become a region when it was written.
static enum ka_err get_intensive(struct load *load, struct slice object, struct step_def *step)
{
    const char *what = NULL;
    struct slice action = json_member(object, SLICE_LIT("action"));
    enum ka_err err = get_text(load, action, "intensive", &what);
    if (err != KA_OK || what == NULL)
        return err;
    step->local_data = strcmp(what, "data") == 0;
    return step->local_data || strcmp(what, "compute") == 0
               ? KA_OK
               : wrong(load, "intensive", "one that is known here");
}

static enum ka_err get_class(struct load *load, struct slice object, struct step_def *step)
{
    const char *name = NULL;
    enum ka_err err = get_text(load, object, "dataclass", &name);
    step->declared = name != NULL;
    if (err == KA_OK && name != NULL && !data_class_parse(slice_str(name), &step->dataclass))
        return wrong(load, "dataclass", "one that is known here");
    return err;
}

static enum ka_err get_group(struct load *load, struct slice object, struct step_def *step)
{
    enum ka_err err = get_text(load, object, "group", &step->group_name);
    if (err == KA_OK && !slice_none(json_member(object, SLICE_LIT("collect"))))
        err = get_bool(load, object, "collect", &step->collect);
    if (err == KA_OK)
        err = get_text(load, object, "gather", &step->gather);
    if (err == KA_OK)
        err = get_expr(load, object, "items", &step->items);
    if (err == KA_OK && step->group_name == NULL && step->collect)
        return wrong(load, "collect", "of a branch");
    if (err == KA_OK && step->group_name == NULL && step->gather != NULL)
        return wrong(load, "gather", "of a branch");
    if (err == KA_OK && step->gather == NULL && step->items != NULL)
        return wrong(load, "items", "of a distributed step");
    if (err == KA_OK && step->gather != NULL && step->items == NULL && step->region == NULL)
        return wrong(load, "region", "the name of one, of a distributed step");
    // There would be no way back for the branches that are still in flight.
    if (err == KA_OK && step->group_name != NULL && step->pivot)
        return wrong(load, "pivot", "possible in a branch");
    return err;
}

static enum ka_err get_step(struct load *load, struct slice value, struct step_def *step)
{
    static const char *const names[] = {
        "action", "collect",  "compensate", "dataclass", "gather", "group",      "input", "items",
        "name",   "optional", "pivot",      "region",    "retry",  "timeout_ms", "when",  NULL};
    enum ka_err err = check_members(load, value, "a step", names);
    if (err == KA_OK)
        err = get_name(load, value, &step->name);
    if (err == KA_OK)
        err = get_action(load, value, &step->action_name, &step->action);
    if (err == KA_OK)
        err = get_compensate(load, value, step);
    if (err == KA_OK)
        err = get_expr(load, value, "input", &step->input);
    if (err == KA_OK)
        err = get_expr(load, value, "when", &step->when);
    if (err == KA_OK)
        err = get_bool(load, value, "optional", &step->optional);
    if (err == KA_OK)
        err = get_bool(load, value, "pivot", &step->pivot);
    if (err == KA_OK)
        err = get_retry(load, value, &step->retry);
    if (err == KA_OK)
        err = get_timeout(load, value, &step->timeout_ms);
    if (err == KA_OK)
        err = get_region(load, value, step);
    if (err == KA_OK)
        err = get_intensive(load, value, step);
    if (err == KA_OK)
        err = get_class(load, value, step);
    if (err == KA_OK)
        err = get_group(load, value, step);
    return err;
}

// Neighbours that name one group are its branches.
static enum ka_err join_group(struct load *load, struct saga_def *def)
{
    struct step_def *step = &def->steps[def->step_count - 1];
    const struct step_def *before = def->step_count == 1 ? NULL : step - 1;
    if (step->group_name == NULL)
        return KA_OK;
    bool same =
        before != NULL && before->group > 0 && strcmp(before->group_name, step->group_name) == 0;
    step->group = same ? before->group : (int32_t)def->step_count;
    if (!same)
        return KA_OK;
    if (before->collect != step->collect)
        return wrong(load, "collect", "that of its group");
    const char *mine = step->items == NULL ? "" : expr_source(step->items);
    const char *theirs = before->items == NULL ? "" : expr_source(before->items);
    if (strcmp(mine, theirs) != 0 || (step->gather == NULL) != (before->gather == NULL))
        return wrong(load, "items", "that of its group");
    expr_free(&step->items);
    step->items = before->items;
    return KA_OK;
}

static enum ka_err get_steps(struct load *load, struct slice list, struct saga_def *def)
{
    struct json_walk walk = json_walk(list);
    struct slice name;
    struct slice value;
    while (json_next(&walk, &name, &value)) {
        struct step_def *step = &def->steps[def->step_count++]; // counted first: def_free sees it
        enum ka_err err = get_step(load, json_trim(value), step);
        if (err == KA_OK)
            err = join_group(load, def);
        if (err != KA_OK)
            return err_wrap(load->text, err, "step %s", step->name == NULL ? "?" : step->name);
        for (const struct step_def *other = def->steps; other < step; other++)
            if (strcmp(other->name, step->name) == 0)
                return err_set(load->text, KA_ERR_CONFIG, "two steps are named %s", step->name);
    }
    return KA_OK;
}

static enum ka_err get_history(struct load *load, struct slice json, enum history_mode *mode)
{
    static const char *const names[] = {"all", "steps", "ends"};
    const char *text = NULL;
    enum ka_err err = get_text(load, json, "history", &text);
    for (int i = 0; err == KA_OK && text != NULL && i < 3; i++) {
        if (strcmp(text, names[i]) == 0) {
            *mode = (enum history_mode)i;
            return KA_OK;
        }
    }
    return err != KA_OK ? err : wrong(load, "history", "one that is known here");
}

// What decides whether the rest can be understood at all.
static enum ka_err check_form(struct load *load, struct slice json, size_t *step_count)
{
    static const char *const names[] = {"deadline_ms", "dedupe_window_ms", "format", "history",
                                        "name",        "pattern",          "steps",  "version",
                                        NULL};
    int64_t format = 0;
    const char *pattern = NULL;
    *step_count = 0;
    enum ka_err err = json_validate(json, load->text);
    if (err != KA_OK)
        return err_wrap(load->text, KA_ERR_CONFIG, "definition");
    err = check_members(load, json, "the definition", names);
    if (err == KA_OK)
        err = get_number(load, json, "format", INT32_MAX, &format);
    if (err == KA_OK && format != FORMAT)
        return err_set(load->text, KA_ERR_UNSUPPORTED, "form %lld is not known here",
                       (long long)format);
    if (err == KA_OK)
        err = get_text(load, json, "pattern", &pattern);
    if (err == KA_OK && (pattern == NULL || strcmp(pattern, "saga") != 0))
        return err_set(load->text, KA_ERR_UNSUPPORTED, "pattern %s is not known here",
                       pattern == NULL ? "?" : pattern);
    struct slice steps = json_member(json, SLICE_LIT("steps"));
    if (err == KA_OK && (slice_none(steps) || json_type(steps) != JSON_ARRAY))
        return wrong(load, "steps", "a list");
    struct json_walk walk = json_walk(steps);
    struct slice name;
    struct slice value;
    while (err == KA_OK && json_next(&walk, &name, &value))
        ++*step_count;
    if (err == KA_OK && (*step_count == 0 || *step_count > DEF_STEPS_MAX))
        return wrong(load, "steps", "a list of 1 to 64 steps");
    return err;
}

static enum ka_err get_saga(struct load *load, struct slice json, struct saga_def *def)
{
    enum ka_err err = get_name(load, json, &def->name);
    if (err == KA_OK)
        err = get_number(load, json, "version", INT64_MAX, &def->version);
    if (err == KA_OK)
        err = get_number(load, json, "deadline_ms", MS_MAX, &def->deadline_ms);
    if (err == KA_OK)
        err = get_number(load, json, "dedupe_window_ms", MS_MAX, &def->dedupe_window_ms);
    if (err == KA_OK)
        err = get_history(load, json, &def->history);
    if (err == KA_OK)
        err = get_steps(load, json_member(json, SLICE_LIT("steps")), def);
    def->remote = err == KA_OK && strncmp(def->name, REMOTE_PREFIX, strlen(REMOTE_PREFIX)) == 0;
    if (def->remote && def->step_count != 1)
        return wrong(load, "steps", "one step, of a call from another region");
    return err;
}

enum ka_err def_load(struct slice json, const struct def_id *id, const struct def_env *env,
                     struct saga_def **def, struct err_text *text)
{
    KA_ASSERT(env->find_action != NULL);
    struct arena scratch = {0};
    struct load load = {&scratch, env, text};
    size_t step_count = 0;
    *def = NULL;
    enum ka_err err = check_form(&load, json, &step_count);
    arena_fini(&scratch);
    if (err != KA_OK)
        return err;
    size_t size = OWNER_SIZE + sizeof **def + step_count * sizeof *(*def)->steps;
    struct owner *owner = calloc(1, size);
    if (owner == NULL)
        return err_set(text, KA_ERR_NOMEM, "definition");
    struct saga_def *loaded = (struct saga_def *)(void *)((char *)owner + OWNER_SIZE);
    load.memory = &owner->memory;
    loaded->id = *id;
    loaded->state_max = env->state_max;
    err = get_saga(&load, json, loaded);
    if (err != KA_OK) {
        err = err_wrap(text, err, "definition %s", loaded->name == NULL ? "?" : loaded->name);
        def_free(&loaded);
        return err;
    }
    KA_ASSERT(loaded->step_count == step_count);
    *def = loaded;
    return KA_OK;
}

void def_free(struct saga_def **def)
{
    if (*def == NULL)
        return;
    struct owner *owner = (struct owner *)(void *)((char *)*def - OWNER_SIZE);
    for (size_t i = 0; i < (*def)->step_count; i++) {
        expr_free(&(*def)->steps[i].when);
        expr_free(&(*def)->steps[i].input);
        expr_free(&(*def)->steps[i].compensate_input);
        expr_free(&(*def)->steps[i].region_expr);
        struct expr *items = (*def)->steps[i].items;
        if (i + 1 == (*def)->step_count ||
            (*def)->steps[i + 1].items != items) // the last that has it
            expr_free(&items);
    }
    arena_fini(&owner->memory);
    free(owner);
    *def = NULL;
}
