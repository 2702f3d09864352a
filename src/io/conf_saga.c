// SPDX-License-Identifier: Apache-2.0
// Sagas: references, policies as they result from step, action and default, expressions, and what
// cannot be meant.
#include "io/conf_int.h"

#include "core/expr.h"
#include "core/remote.h"
#include "io/digest.h"
#include "io/jq.h"

enum { COMPENSATE_ATTEMPTS = 10 };
#define REMOTE_DEDUPE_MS (INT64_C(24) * 3600 * 1000)
#define REMOTE_TIMEOUT_MS (INT64_C(7) * 24 * 3600 * 1000) // the longest that a step can have

// A form of step that is known but not there yet; NULL = it has none.
static const struct conf_node *later_form(const struct conf_node *node)
{
    const struct conf_node *saga = conf_child(node, "saga");
    return saga != NULL ? saga : conf_child(node, "wait");
}

bool conf_refuse_step(struct conf *conf, const struct conf_node *node)
{
    const struct conf_node *form = later_form(node);
    if (form != NULL)
        conf_error(conf, form, "the step form \"%s\" is not available in this version", form->name);
    return form != NULL;
}

// ---- Steps

static const struct config_action *find_action(struct conf *conf, const struct raw_step *step,
                                               const char *key, const char *name)
{
    if (name == NULL)
        return NULL;
    const struct config_action *action = io_conf_action(conf->config, name);
    if (action != NULL)
        return action;
    struct conf_near near = {.wanted = name};
    for (size_t i = 0; i < conf->config->action_count; i++)
        conf_near_try(&near, conf->config->actions[i].name);
    const char *best = conf_near_best(&near);
    conf_error(conf, conf_at(step->node, key), "there is no action \"%s\"%s%s%s", name,
               best == NULL ? "" : ", did you mean \"", best == NULL ? "" : best,
               best == NULL ? "" : "\"?");
    return NULL;
}

static void check_expr(struct conf *conf, const struct conf_node *node, const char *key,
                       const char *source)
{
    struct err_text text = {{0}};
    struct expr *expr = NULL;
    if (source == NULL)
        return;
    if (expr_compile(source, &io_jq_engine, &expr, &text) != KA_OK)
        conf_error(conf, conf_at(node, key), "\"%s\": %s", key, text.text);
    expr_free(&expr);
}

static int64_t either(int64_t value, int64_t fallback)
{
    return value == CONF_ABSENT ? fallback : value;
}

static struct retry_policy merge_retry(const struct raw_retry *raw, struct retry_policy fallback)
{
    return (struct retry_policy){
        .attempts = (int32_t)either(raw->attempts, fallback.attempts),
        .backoff_ms = either(raw->backoff_ms, fallback.backoff_ms),
        .backoff_max_ms = either(raw->backoff_max_ms, fallback.backoff_max_ms),
    };
}

static void check_retry(struct conf *conf, const struct raw_step *step, const char *key,
                        const struct retry_policy *retry)
{
    if (conf_child(step->node, key) != NULL && retry->backoff_ms > retry->backoff_max_ms)
        conf_error(conf, conf_child(step->node, key),
                   "\"backoff\" is longer than \"backoff_max\" = %lld ms",
                   (long long)retry->backoff_max_ms);
}

// An undo must come through: unless its action says otherwise it is tried ten times.
static struct retry_policy undo_retry(const struct config_action *action)
{
    struct retry_policy retry = action->retry;
    const struct conf_node *said = conf_child(action->node, "retry");
    if (said == NULL || conf_child(said, "attempts") == NULL)
        retry.attempts = COMPENSATE_ATTEMPTS;
    return retry;
}

static void needs_compensate(struct conf *conf, const struct raw_step *step)
{
    static const char *const keys[] = {"compensate_input", "compensate_retry",
                                       "compensate_timeout"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const struct conf_node *child = conf_child(step->node, keys[i]);
        if (child != NULL && conf_child(step->node, "compensate") == NULL)
            conf_error(conf, child, "\"%s\" has no effect without \"compensate\"", keys[i]);
    }
}

// A step that could never go where it should.
static void check_way(struct conf *conf, const struct raw_step *from)
{
    int32_t region = conf_need_region(conf, from->node, "region", from->region);
    if (region != REGION_NONE && conf->config->regions[region].hub) {
        conf_error(conf, conf_at(from->node, "region"), "\"%s\" is a hub: no step runs there",
                   from->region);
        return;
    }
    const char *what =
        from->dataclass < 0 ? "no" : data_class_name((enum data_class)from->dataclass);
    if (region != REGION_NONE && !conf_may_go(conf, region, from->dataclass))
        conf_error(conf, conf_at(from->node, "region"),
                   from->dataclass < 0 ? "%s data may go from here to \"%s\": see residency.rules"
                                       : "%s data may not go from here to \"%s\": see "
                                         "residency.rules",
                   what, from->region);
}

// An action that is intensive in computing goes where there is room, if there is a choice.
static const char *region_of(const struct conf *conf, const struct raw_step *from,
                             const struct config_action *action)
{
    bool roams = action != NULL && action->intensive != NULL &&
                 strcmp(action->intensive, "compute") == 0 && conf->config->region_count > 1;
    return from->region != NULL ? from->region : roams ? "least_loaded" : NULL;
}

// Words that mean a region without naming one.
static bool names_region(const char *region)
{
    return residency_is_name(slice_str(region)) && strcmp(region, "tenant") != 0 &&
           strcmp(region, "least_loaded") != 0;
}

static void check_region(struct conf *conf, const struct raw_step *from,
                         const struct config_step *step)
{
    const struct config *config = conf->config;
    const struct conf_node *node = from->node;
    const struct conf_node *declared = conf_child(node, "dataclass");
    const char *intensive = step->action == NULL ? NULL : step->action->intensive;
    if (step->region == NULL) {
        if (declared != NULL)
            conf_error(conf, declared, "\"dataclass\" has no effect without \"region\"");
        return;
    }
    if (intensive != NULL && strcmp(intensive, "data") == 0 && from->distributed == NULL)
        conf_warn(conf, conf_at(node, "region"),
                  "\"region\" has no effect: \"%s\" is intensive in data and runs here",
                  step->action->name);
    if (declared != NULL && from->input == NULL)
        conf_error(conf, declared,
                   "\"dataclass\" needs \"input\": it is the class of what that leaves");
    if (config->region_count < 2)
        conf_error(conf, conf_at(node, "region"), "\"region\" needs other regions: \"regions\"");
    else if (strcmp(step->region, "tenant") == 0 && config->residency->tenant_count == 0)
        conf_error(conf, conf_at(node, "region"), "\"region\" = \"tenant\" needs \"tenants\"");
    else if (names_region(step->region))
        check_way(conf, from);
    if (!residency_is_name(slice_str(step->region)))
        check_expr(conf, node, "region", from->region);
    const char *const actions[] = {from->action, from->compensate};
    for (size_t i = 0; i < 2; i++)
        if (actions[i] != NULL && strlen(actions[i]) + strlen(REMOTE_PREFIX) >= DEF_NAME_MAX)
            conf_error(conf, conf_at(node, i == 0 ? "action" : "compensate"),
                       "an action that runs in another region has a name of at most %zu characters",
                       DEF_NAME_MAX - 1 - strlen(REMOTE_PREFIX));
}

// Distributed over the elements of a list, not over regions.
static bool has_items(const struct raw_step *step)
{
    const struct conf_node *node = conf_child(step->node, "distributed");
    return node != NULL && node->type == CONF_NODE_STRING && strcmp(node->text, "all") != 0;
}

// What a branch can be, and what a parallel step has beside its branches.
static void check_form(struct conf *conf, const struct raw_step *from, const char *group)
{
    const struct conf_node *node = from->node;
    const struct conf_node *parallel = conf_child(node, "parallel");
    const struct conf_node *join = conf_child(node, "join");
    if (parallel == NULL && from->action == NULL && later_form(node) == NULL &&
        conf_child(node, "action") == NULL)
        conf_error(conf, node, "a step needs \"action\" or \"parallel\"");
    const struct conf_node *distributed = conf_child(node, "distributed");
    if (parallel == NULL && distributed == NULL && join != NULL)
        conf_error(conf, join, "\"join\" has no effect without \"parallel\" or \"distributed\"");
    if (parallel != NULL && group != NULL)
        conf_error(conf, parallel, "a branch of \"%s\" cannot be a parallel step itself", group);
    if (distributed != NULL && group != NULL)
        conf_error(conf, distributed, "a branch of \"%s\" cannot be a distributed step itself",
                   group);
    if (distributed != NULL && from->pivot)
        conf_error(conf, conf_at(node, "pivot"), "a distributed step cannot be the pivot");
    const struct conf_node *most = conf_child(node, "branches_max");
    if (most != NULL && !has_items(from))
        conf_error(conf, most,
                   "\"branches_max\" has no effect without a \"distributed\" list of jq");
    if (distributed != NULL && !has_items(from) && from->region != NULL)
        conf_error(conf, conf_at(node, "region"),
                   "\"region\" has no effect: \"distributed\" names the regions");
    for (size_t i = 0; parallel != NULL && i < node->count; i++) {
        const struct conf_node *child = &node->children[i];
        if (child != parallel && child != join && strcmp(child->name, "name") != 0)
            conf_error(conf, child,
                       "\"%s\" has no effect on a parallel step: write it in its branches",
                       child->name);
    }
    if (group != NULL && from->pivot)
        conf_error(conf, conf_at(node, "pivot"),
                   "a branch cannot be the pivot: put it into a step of its own");
}

static void build_step(struct conf *conf, const struct raw_step *from, struct config_step *step)
{
    *step = (struct config_step){
        .name = from->name == NULL ? "" : from->name,
        .action = find_action(conf, from, "action", from->action),
        .compensate = find_action(conf, from, "compensate", from->compensate),
        .when = from->when,
        .input = from->input,
        .compensate_input = from->compensate_input,
        .optional = from->optional,
        .pivot = from->pivot,
        .dataclass = from->dataclass < 0 ? NULL : data_class_name((enum data_class)from->dataclass),
        .node = from->node,
    };
    step->region = region_of(conf, from, step->action);
    if (step->region != NULL && strcmp(step->region, "least_loaded") == 0)
        conf->config->balances = true;
    if (step->action != NULL) {
        step->retry = merge_retry(&from->retry, step->action->retry);
        step->timeout_ms = either(from->timeout_ms, step->action->timeout_ms);
        check_retry(conf, from, "retry", &step->retry);
    }
    if (step->compensate != NULL) {
        step->compensate_retry = merge_retry(&from->compensate_retry, undo_retry(step->compensate));
        step->compensate_timeout_ms =
            either(from->compensate_timeout_ms, step->compensate->timeout_ms);
        check_retry(conf, from, "compensate_retry", &step->compensate_retry);
    }
    check_expr(conf, from->node, "when", from->when);
    check_expr(conf, from->node, "input", from->input);
    check_expr(conf, from->node, "compensate_input", from->compensate_input);
    needs_compensate(conf, from);
    check_region(conf, from, step);
    if (step->pivot && step->optional)
        conf_error(conf, conf_at(from->node, "pivot"),
                   "a step cannot be both pivot and optional: its failure would mean nothing");
}

// The name stands in keys and records.
static const char *branch_name(struct conf *conf, const struct raw_step *from, const char *name)
{
    if (strlen(name) >= DEF_NAME_MAX)
        conf_error(conf, conf_at(from->node, "name"),
                   "the name of the branch \"%s\" has more than %d characters", name,
                   DEF_NAME_MAX - 1);
    return name;
}

// One branch for each possible element of the list. NULL counts only.
static size_t build_items(struct conf *conf, const struct raw_step *from, struct config_step *steps)
{
    size_t count = (size_t)from->branches_max;
    for (size_t i = 0; steps != NULL && i < count; i++) {
        if (i == 0)
            build_step(conf, from, &steps[0]);
        steps[i] = steps[0];
        steps[i].gather = conf_text(conf, "%zu", i);
        steps[i].name = branch_name(conf, from, conf_text(conf, "%s[%zu]", from->name, i));
        steps[i].items = from->distributed[0];
    }
    if (steps != NULL)
        check_expr(conf, from->node, "distributed", from->distributed[0]);
    return count;
}

// One branch for each region that is named, or for each that runs sagas.
static size_t build_regions(struct conf *conf, const struct raw_step *from,
                            struct config_step *steps)
{
    const struct config *config = conf->config;
    bool all = from->distributed[0] != NULL && strcmp(from->distributed[0], "all") == 0 &&
               from->distributed[1] == NULL;
    size_t count = 0;
    for (size_t i = 0; all ? i < config->region_count : from->distributed[i] != NULL; i++) {
        if (all && config->regions[i].hub)
            continue;
        struct raw_step branch = *from;
        branch.region = all ? config->regions[i].name : from->distributed[i];
        struct config_step *step = steps == NULL ? NULL : &steps[count];
        if (step != NULL && !all && !names_region(branch.region))
            conf_error(conf, conf_at(from->node, "distributed"),
                       "\"%s\" is not the name of a region", branch.region);
        if (step != NULL && count == 0)
            build_step(conf, &branch, step);
        else if (step != NULL && names_region(branch.region))
            check_way(conf, &branch);
        count++;
        if (step == NULL)
            continue;
        *step = steps[0];
        step->region = step->gather = branch.region;
        step->name = branch_name(conf, from, conf_text(conf, "%s.%s", from->name, branch.region));
    }
    if (count == 0 && steps != NULL)
        conf_error(conf, conf_at(from->node, "distributed"), "\"distributed\" needs \"regions\"");
    const struct config_action *action = count == 0 || steps == NULL ? NULL : steps[0].action;
    if (action != NULL && action->intensive != NULL && strcmp(action->intensive, "data") == 0)
        conf_error(conf, conf_at(from->node, "distributed"),
                   "\"%s\" is intensive in data: it runs here and in no other region",
                   action->name);
    return count;
}

static size_t build_distributed(struct conf *conf, const struct raw_step *from,
                                struct config_step *steps)
{
    size_t count =
        has_items(from) ? build_items(conf, from, steps) : build_regions(conf, from, steps);
    for (size_t i = 0; steps != NULL && i < count; i++) {
        steps[i].group = from->name;
        steps[i].group_node = from->node;
        steps[i].collect = from->join == 1;
        steps[i].pivot = false; // reported
    }
    return count;
}

// The branches of a parallel or distributed step stand in its place. NULL counts only.
static size_t build_steps(struct conf *conf, const struct conf_list *list,
                          const struct raw_step *parent, struct config_step *steps)
{
    const struct raw_step *raw = list->items;
    size_t count = 0;
    for (size_t i = 0; i < list->count; i++) {
        struct config_step *at = steps == NULL ? NULL : &steps[count];
        if (steps != NULL)
            check_form(conf, &raw[i], parent == NULL ? NULL : parent->name);
        if (parent == NULL && raw[i].parallel.count > 0) {
            count += build_steps(conf, &raw[i].parallel, &raw[i], at);
            continue;
        }
        bool distributed = raw[i].distributed != NULL && raw[i].distributed[0] != NULL;
        if (parent == NULL && distributed && raw[i].name != NULL) {
            count += build_distributed(conf, &raw[i], at);
            continue;
        }
        count++;
        if (steps == NULL)
            continue;
        build_step(conf, &raw[i], at);
        at->group = parent == NULL ? NULL : parent->name;
        at->collect = parent != NULL && parent->join == 1;
        at->group_node = parent == NULL ? NULL : parent->node;
    }
    return count;
}

// A parallel step has a name as well: it stands in the history beside that of the branch.
static void check_group(struct conf *conf, const struct config_step *steps, size_t count,
                        const struct config_step *step)
{
    if (step->group == NULL || (step > steps && step[-1].group_node == step->group_node))
        return;
    for (size_t j = 0; j < count; j++) {
        bool other = steps[j].group != NULL && steps[j].group_node != step->group_node &&
                     &steps[j] < step && strcmp(steps[j].group, step->group) == 0;
        if (other || strcmp(steps[j].name, step->group) == 0) {
            conf_error(conf, conf_at(step->group_node, "name"),
                       "there is a step \"%s\" already, in line %d", step->group,
                       other ? steps[j].group_node->line : steps[j].node->line);
            return;
        }
    }
}

static void check_order(struct conf *conf, const struct config_step *steps, size_t count)
{
    const struct config_step *pivot = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct config_step *step = &steps[i];
        check_group(conf, steps, count, step);
        for (size_t j = 0; j < i; j++)
            if (step->name[0] != '\0' && strcmp(steps[j].name, step->name) == 0)
                conf_error(conf, conf_at(step->node, "name"),
                           "there is a step \"%s\" already, in line %d", step->name,
                           steps[j].node->line);
        bool said = i > 0 && step->node == step[-1].node; // of another branch
        if (pivot != NULL && step->compensate != NULL && !said)
            conf_warn(conf, conf_at(step->node, "compensate"),
                      "\"%s\" comes after the pivot \"%s\": it is never compensated", step->name,
                      pivot->name);
        if (pivot != NULL && step->pivot)
            conf_warn(conf, conf_at(step->node, "pivot"), "\"%s\" is the pivot already",
                      pivot->name);
        else if (step->pivot)
            pivot = step;
    }
}

// ---- Sagas

static bool is_own_topic(const struct config *config, const char *topic)
{
    static const char *const names[] = {"inbox",   "state", "history", "replies", "dlq",
                                        "catalog", "links", "audit",   "load"};
    size_t len = config->app == NULL ? 0 : strlen(config->app);
    if (len == 0 || strncmp(topic, config->app, len) != 0 || topic[len] != '.')
        return false;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(topic + len + 1, names[i]) == 0)
            return true;
    return strncmp(topic + len + 1, "out.", 4) == 0;
}

// The id stands in keys, and keys cross borders with every step in another region.
static void check_id(struct conf *conf, const struct raw_start *start,
                     const struct config_saga *saga)
{
    const struct residency *residency = conf->config->residency;
    bool leaves = false;
    for (size_t i = 0; i < saga->step_count; i++)
        leaves = leaves || saga->steps[i].region != NULL;
    if (!leaves || residency == NULL || start->id == NULL)
        return;
    const char *dot = strrchr(start->id, '.');
    const char *name = dot == NULL || !residency_is_name(slice_str(dot + 1)) ? "" : dot + 1;
    struct buf json = {0};
    buf_str(&json, "{\"");
    buf_str(&json, name);
    buf_str(&json, "\":0}");
    enum data_class dataclass = residency_classify(residency, buf_slice(&json), conf->memory);
    if (dataclass != CLASS_PUBLIC)
        conf_error(conf, conf_at(start->node, "id"),
                   "the id %s is %s, and keys go to other regions with steps that have \"region\"",
                   start->id, data_class_name(dataclass));
    buf_fini(&json);
}

static void check_start(struct conf *conf, const struct raw_start *start,
                        const struct config_saga *saga)
{
    if (start->node == NULL)
        return;
    check_expr(conf, start->node, "id", start->id);
    check_id(conf, start, saga);
    if (start->topic != NULL && is_own_topic(conf->config, start->topic))
        conf_error(conf, conf_at(start->node, "topic"),
                   "\"%s\" is one of the app's own topics: a saga cannot start from it",
                   start->topic);
}

static void check_deadline(struct conf *conf, const struct config_saga *saga)
{
    int64_t sum_ms = 0;
    int64_t longest_ms = 0; // of the branches of a group
    for (size_t i = 0; i < saga->step_count; i++) {
        const struct config_step *step = &saga->steps[i];
        bool timed = step->action != NULL && !step->action->run_inline;
        if (i == 0 || step->group_node == NULL || step->group_node != step[-1].group_node)
            longest_ms = 0;
        if (timed && step->timeout_ms > longest_ms) {
            sum_ms += step->timeout_ms - longest_ms;
            longest_ms = step->timeout_ms;
        }
    }
    if (saga->deadline_ms > 0 && saga->deadline_ms < sum_ms)
        conf_warn(conf, conf_at(saga->node, "deadline"),
                  "the deadline is shorter than one attempt of every step may take (%lld ms)",
                  (long long)sum_ms);
}

static void build_saga(struct conf *conf, const struct raw_saga *from, struct config_saga *saga)
{
    size_t count = build_steps(conf, &from->steps, NULL, NULL);
    struct config_step *steps = arena_zalloc(conf->memory, count * sizeof *steps);
    (void)build_steps(conf, &from->steps, NULL, steps);
    if (count > DEF_STEPS_MAX && from->steps.count <= DEF_STEPS_MAX)
        conf_error(conf, conf_at(from->node, "steps"),
                   "%zu steps with all branches, at most %d are possible", count, DEF_STEPS_MAX);
    check_order(conf, steps, count);
    *saga = (struct config_saga){
        .name = from->name == NULL ? "" : from->name,
        .version = from->version,
        .description = from->description == NULL ? "" : from->description,
        .pattern = "saga",
        .deadline_ms = either(from->deadline_ms, 0),
        .dedupe_window_ms = from->dedupe_window_ms,
        .history = (enum history_mode)from->history,
        .steps = steps,
        .step_count = count,
        .node = from->node,
    };
    check_start(conf, &from->start, saga);
    check_deadline(conf, saga);
    if (conf->report->errors > 0)
        return;
    saga->json = conf_saga_json(conf, saga);
    saga->id = digest_def_id(saga->json);
}

static void add_route(struct conf *conf, struct config_route *routes, const struct raw_saga *from)
{
    if (from->start.node == NULL)
        return;
    routes[conf->config->route_count++] = (struct config_route){
        .topic = from->start.topic,
        .type = from->start.type,
        .saga = from->name,
        .id = from->start.id,
    };
}

// ---- Actions that other regions call

static bool is_called(const struct config *config, const struct config_action *action)
{
    if (config->region_count > 1 && action->intensive != NULL &&
        strcmp(action->intensive, "compute") == 0)
        return true; // also by sagas that only other regions have
    for (size_t i = 0; i < config->saga_count; i++)
        for (size_t j = 0; j < config->sagas[i].step_count; j++) {
            const struct config_step *step = &config->sagas[i].steps[j];
            if (step->region != NULL && (step->action == action || step->compensate == action))
                return true;
        }
    return false;
}

// One attempt: the caller's policy retries, and its deadline comes with the call.
static void add_remote(struct conf *conf, const struct config_action *action,
                       struct config_saga *saga)
{
    struct config_step *step = arena_zalloc(conf->memory, sizeof *step);
    *step = (struct config_step){
        .name = "run",
        .action = action,
        .retry = {.attempts = 1, .backoff_ms = 250, .backoff_max_ms = 30000},
        .timeout_ms = REMOTE_TIMEOUT_MS,
        .node = action->node,
    };
    *saga = (struct config_saga){
        .name = conf_text(conf, REMOTE_PREFIX "%s", action->name),
        .version = 1,
        .description = "",
        .pattern = "saga",
        .dedupe_window_ms = REMOTE_DEDUPE_MS,
        .history = HISTORY_ALL,
        .steps = step,
        .step_count = 1,
        .remote = true,
        .node = action->node,
    };
    saga->json = conf_saga_json(conf, saga);
    saga->id = digest_def_id(saga->json);
}

static void add_remotes(struct conf *conf, struct config_saga *sagas)
{
    struct config *config = conf->config;
    size_t written = config->saga_count;
    for (size_t i = 0; i < config->action_count; i++)
        if (is_called(config, &config->actions[i]))
            add_remote(conf, &config->actions[i], &sagas[written++]);
    if (written > config->saga_count && config->dedupe_window_ms < REMOTE_DEDUPE_MS)
        config->dedupe_window_ms = REMOTE_DEDUPE_MS;
    config->saga_count = written;
}

void conf_build_sagas(struct conf *conf, const struct raw_config *raw)
{
    const struct raw_saga *from = raw->sagas.items;
    size_t count = raw->sagas.count;
    struct config *config = conf->config;
    struct config_saga *sagas =
        arena_zalloc(conf->memory, (count + config->action_count) * sizeof *sagas);
    struct config_route *routes = arena_zalloc(conf->memory, count * sizeof *routes);
    config->sagas = sagas;
    config->routes = routes;
    for (size_t i = 0; i < count; i++) {
        const struct config_saga *earlier =
            from[i].name == NULL ? NULL : io_conf_saga(config, from[i].name);
        if (earlier != NULL)
            conf_error(conf, conf_at(from[i].node, "name"),
                       "there is a saga \"%s\" already, in line %d", from[i].name,
                       earlier->node->line);
        build_saga(conf, &from[i], &sagas[i]);
        config->saga_count = i + 1;
        add_route(conf, routes, &from[i]);
        if (sagas[i].dedupe_window_ms > config->dedupe_window_ms)
            config->dedupe_window_ms = sagas[i].dedupe_window_ms;
    }
    if (conf->report->errors == 0)
        add_remotes(conf, sagas);
}
