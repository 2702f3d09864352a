// SPDX-License-Identifier: Apache-2.0
// Regions, the table of residency, names of fields and tenants, checked against each other: what
// contradicts itself does not start.
#include "io/conf_int.h"

#include "core/assert.h"

#include <stdlib.h>

enum { RTT_GUESS_MS = 100 };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// ---- Regions

static bool is_reserved(const char *name)
{
    static const char *const words[] = {"any", "own", "closest", "tenant", "least_loaded"};
    for (size_t i = 0; i < COUNT(words); i++)
        if (strcmp(words[i], name) == 0)
            return true;
    return false;
}

static int32_t find_region(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->region_count; i++)
        if (strcmp(config->regions[i].name, name) == 0)
            return (int32_t)i;
    return REGION_NONE;
}

int32_t conf_need_region(struct conf *conf, const struct conf_node *node, const char *key,
                         const char *name)
{
    const struct config *config = conf->config;
    int32_t found = find_region(config, name);
    if (found != REGION_NONE)
        return found;
    struct conf_near near = {.wanted = name};
    for (size_t i = 0; i < config->region_count; i++)
        conf_near_try(&near, config->regions[i].name);
    const char *best = conf_near_best(&near);
    conf_error(conf, conf_at(node, key), "there is no region \"%s\"%s%s%s", name,
               best == NULL ? "" : ", did you mean \"", best == NULL ? "" : best,
               best == NULL ? "" : "\"?");
    return REGION_NONE;
}

static void build_regions(struct conf *conf, const struct raw_config *raw)
{
    const struct raw_region *from = raw->regions.items;
    struct config *config = conf->config;
    struct config_region *regions =
        arena_zalloc(conf->memory, (raw->regions.count + 1) * sizeof *regions);
    config->regions = regions;
    for (size_t i = 0; i < raw->regions.count; i++) {
        const char *name = from[i].name == NULL ? "" : from[i].name;
        int32_t earlier = name[0] == '\0' ? REGION_NONE : find_region(config, name);
        if (is_reserved(name))
            conf_error(conf, conf_at(from[i].node, "name"),
                       "a region cannot be named \"%s\": that word means something else", name);
        if (earlier != REGION_NONE)
            conf_error(conf, conf_at(from[i].node, "name"),
                       "there is a region \"%s\" already, in line %d", name,
                       regions[earlier].node->line);
        bool own = config->region != NULL && strcmp(name, config->region) == 0;
        bool said = from[i].rtt_ms != CONF_ABSENT;
        regions[config->region_count++] = (struct config_region){
            .name = name,
            .rtt_ms = own    ? 0
                      : said ? from[i].rtt_ms
                             : RTT_GUESS_MS,
            .measured = !own && !said,
            .hub = from[i].role == RAW_ROLE_HUB,
            .node = from[i].node,
        };
    }
    if (config->region_count > 0 && config->region != NULL)
        (void)conf_need_region(conf, conf->root, "region", config->region);
    int32_t here = config->region == NULL ? REGION_NONE : find_region(config, config->region);
    config->hub = here != REGION_NONE && regions[here].hub;
    if (config->hub && raw->sagas.count > 0)
        conf_error(conf, conf_child(conf->root, "sagas"),
                   "this region, \"%s\", is a hub: no sagas run here", config->region);
}

// ---- Names of fields

static struct slice normalise(struct conf *conf, const char *text)
{
    char *out = arena_alloc(conf->memory, strlen(text) + 1);
    size_t len = 0;
    for (; *text != '\0'; text++)
        if (*text != '_' && *text != '-')
            out[len++] = *text >= 'A' && *text <= 'Z' ? (char)(*text | 0x20) : *text;
    out[len] = '\0';
    return slice_of(out, len);
}

struct patterns {
    struct residency_pattern *list;
    const struct conf_node **nodes; // where each is written
    size_t count;
};

static void add_patterns(struct conf *conf, const struct conf_node *node,
                         const char *const *strings, enum data_class dataclass,
                         struct patterns *patterns)
{
    for (size_t i = 0; strings != NULL && strings[i] != NULL; i++) {
        const struct conf_node *at = node->type == CONF_NODE_LIST ? &node->children[i] : node;
        if (at->type != CONF_NODE_STRING)
            continue; // reported before
        struct slice text = normalise(conf, strings[i]);
        if (text.len == 0 || text.len > RESIDENCY_PATTERN_MAX) {
            conf_error(conf, at,
                       "\"%.100s\" is no name of a field: 1 to %d characters that are not \"_\" "
                       "or \"-\"",
                       strings[i], RESIDENCY_PATTERN_MAX);
            continue;
        }
        for (size_t j = 0; j < patterns->count; j++)
            if (slice_eq(patterns->list[j].text, text))
                conf_error(conf, at, "\"%s\" is %s already, in line %d: that goes first",
                           strings[i], data_class_name(patterns->list[j].dataclass),
                           patterns->nodes[j]->line);
        patterns->nodes[patterns->count] = at;
        patterns->list[patterns->count++] = (struct residency_pattern){text, dataclass};
    }
}

static size_t length(const char *const *strings)
{
    size_t count = 0;
    while (strings != NULL && strings[count] != NULL)
        count++;
    return count;
}

static void build_patterns(struct conf *conf, const struct raw_residency *raw,
                           struct residency *residency)
{
    if (raw->node == NULL)
        return;
    size_t most = length(raw->personal) + length(raw->financial) + length(raw->sensitive);
    struct patterns patterns = {
        .list = arena_zalloc(conf->memory, (most + 1) * sizeof *patterns.list),
        .nodes = arena_zalloc(conf->memory, (most + 1) * sizeof *patterns.nodes),
    };
    const struct conf_node *node = raw->node;
    add_patterns(conf, conf_at(node, "personal"), raw->personal, CLASS_PERSONAL, &patterns);
    add_patterns(conf, conf_at(node, "financial"), raw->financial, CLASS_FINANCIAL, &patterns);
    add_patterns(conf, conf_at(node, "sensitive"), raw->sensitive, CLASS_SENSITIVE, &patterns);
    residency->patterns = patterns.list;
    residency->pattern_count = patterns.count;
}

// ---- The table

static struct residency_row row_of(struct conf *conf, const struct raw_rule *rule)
{
    struct residency_row row = {TARGET_OWN, REGION_NONE, rule->mode == RAW_MODE_REQUIRED};
    if (strcmp(rule->target, "own") == 0)
        return row;
    if (strcmp(rule->target, "closest") == 0) {
        row.target = TARGET_CLOSEST;
        if (row.required)
            conf_error(conf, conf_at(rule->node, "target"),
                       "\"closest\" cannot be required: which region that is may change; write "
                       "mode = \"preferred\"");
        row.required = false;
        return row;
    }
    row.region = conf_need_region(conf, rule->node, "target", rule->target);
    row.target = row.region == REGION_NONE ? TARGET_OWN : TARGET_REGION;
    return row;
}

static bool to_hub(const struct config *config, const struct raw_rule *rule)
{
    int32_t target = find_region(config, rule->target);
    return target != REGION_NONE && config->regions[target].hub;
}

static bool is_any(const struct raw_rule *rule)
{
    return strcmp(rule->region, "any") == 0;
}

// A rule for a hub stands beside the one that says where the data goes.
static bool one_place(const struct config *config, const struct raw_rule *a,
                      const struct raw_rule *b)
{
    return (!to_hub(config, a) && !to_hub(config, b)) || strcmp(a->target, b->target) == 0;
}

static void refuse_doubles(struct conf *conf, const struct raw_rule *rules, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < i; j++)
            if (rules[i].dataclass >= 0 && rules[j].dataclass == rules[i].dataclass &&
                strcmp(rules[j].region, rules[i].region) == 0 &&
                one_place(conf->config, &rules[i], &rules[j])) {
                conf_error(conf, rules[i].node,
                           "%s data of %s has a rule already, in line %d: which of them counts?",
                           data_class_name((enum data_class)rules[i].dataclass), rules[i].region,
                           rules[j].node->line);
                break;
            }
}

static int32_t home_of(struct conf *conf, const struct raw_rule *rule)
{
    return is_any(rule) ? 0 : conf_need_region(conf, rule->node, "region", rule->region);
}

// The hubs that may have copies, beside the rows of where data goes.
static void build_hubs(struct conf *conf, const struct raw_rule *rules, size_t count,
                       struct residency *residency)
{
    const struct config *config = conf->config;
    size_t cells = (size_t)residency->region_count * DATA_CLASSES;
    uint64_t *rows = arena_zalloc(conf->memory, (cells + 1) * sizeof *rows);
    residency->hub_rows = rows;
    for (size_t i = 0; i < config->region_count; i++)
        residency->hubs |= (uint64_t)config->regions[i].hub << i;
    for (size_t i = 0; i < count; i++) {
        if (!to_hub(config, &rules[i]) || rules[i].dataclass < 0)
            continue;
        if (rules[i].mode == RAW_MODE_PREFERRED)
            conf_error(conf, conf_at(rules[i].node, "mode"),
                       "\"%s\" is a hub: it gets copies, and is no place that data goes to "
                       "instead; leave \"mode\" out",
                       rules[i].target);
        int32_t home = home_of(conf, &rules[i]);
        int32_t last = is_any(&rules[i]) ? residency->region_count - 1 : home;
        uint64_t bit = UINT64_C(1) << find_region(config, rules[i].target);
        for (; home >= 0 && home <= last; home++)
            rows[home * DATA_CLASSES + rules[i].dataclass] |= bit;
    }
}

static void build_rows(struct conf *conf, const struct raw_residency *raw,
                       struct residency *residency)
{
    const struct raw_rule *rules = raw->rules.items;
    size_t cells = (size_t)residency->region_count * DATA_CLASSES;
    struct residency_row *rows = arena_zalloc(conf->memory, (cells + 1) * sizeof *rows);
    residency->rows = rows;
    build_hubs(conf, rules, residency->region_count == 0 ? 0 : raw->rules.count, residency);
    for (size_t i = 0; i < cells; i++)
        rows[i] = (struct residency_row){TARGET_OWN, REGION_NONE, true};
    if (raw->rules.count > 0 && residency->region_count == 0) {
        conf_error(conf, conf_child(raw->node, "rules"),
                   "\"rules\" has no effect without \"regions\"");
        return;
    }
    refuse_doubles(conf, rules, raw->rules.count);
    // Those of one region come last: they go before those of any.
    for (int named = 0; named <= 1; named++) {
        for (size_t i = 0; i < raw->rules.count; i++) {
            if (is_any(&rules[i]) == (named == 1) || rules[i].dataclass < 0 ||
                to_hub(conf->config, &rules[i]))
                continue;
            struct residency_row row = row_of(conf, &rules[i]);
            int32_t home = home_of(conf, &rules[i]);
            int32_t last = named ? home : residency->region_count - 1;
            for (; home >= 0 && home <= last; home++)
                rows[home * DATA_CLASSES + rules[i].dataclass] = row;
        }
    }
}

// ---- Tenants

static int by_name(const void *a, const void *b)
{
    const struct residency_tenant *x = a;
    const struct residency_tenant *y = b;
    size_t len = x->name.len < y->name.len ? x->name.len : y->name.len;
    int order = memcmp(x->name.ptr, y->name.ptr, len);
    return order != 0 ? order : (x->name.len > y->name.len) - (x->name.len < y->name.len);
}

static void refuse_same_tenants(struct conf *conf, const struct raw_config *raw,
                                const struct residency *residency)
{
    const struct raw_tenant *from = raw->tenants.items;
    for (size_t i = 1; i < residency->tenant_count; i++) {
        const char *name = residency->tenants[i].name.ptr;
        if (by_name(&residency->tenants[i - 1], &residency->tenants[i]) != 0)
            continue;
        const struct raw_tenant *first = NULL;
        for (size_t j = 0; j < raw->tenants.count; j++) {
            if (from[j].name == NULL || strcmp(from[j].name, name) != 0)
                continue;
            if (first != NULL) {
                conf_error(conf, conf_at(from[j].node, "name"),
                           "there is a tenant \"%s\" already, in line %d", name, first->node->line);
                return;
            }
            first = &from[j];
        }
    }
}

static void build_tenants(struct conf *conf, const struct raw_config *raw,
                          struct residency *residency)
{
    const struct raw_tenant *from = raw->tenants.items;
    struct residency_tenant *tenants =
        arena_zalloc(conf->memory, (raw->tenants.count + 1) * sizeof *tenants);
    residency->tenants = tenants;
    if (raw->tenants.count > 0 && residency->region_count == 0) {
        conf_error(conf, conf_child(conf->root, "tenants"),
                   "\"tenants\" has no effect without \"regions\"");
        return;
    }
    for (size_t i = 0; i < raw->tenants.count; i++) {
        if (from[i].name == NULL || from[i].region == NULL)
            continue;
        int32_t home = conf_need_region(conf, from[i].node, "region", from[i].region);
        if (home != REGION_NONE && conf->config->regions[home].hub)
            conf_error(conf, conf_at(from[i].node, "region"),
                       "\"%s\" is a hub: no tenant is at home there", from[i].region);
        tenants[residency->tenant_count++] =
            (struct residency_tenant){slice_str(from[i].name), home};
    }
    qsort(tenants, residency->tenant_count, sizeof *tenants, by_name);
    refuse_same_tenants(conf, raw, residency);
}

// ---- Rules and steps

static bool may_go(const struct config *config, int32_t home, int32_t region, int32_t dataclass)
{
    struct residency_question question = {(enum data_class)dataclass, home, region};
    return residency_decide(config->residency, config->links, &question).verdict !=
           RESIDENCY_REFUSED;
}

bool conf_may_go(const struct conf *conf, int32_t region, int32_t dataclass)
{
    const struct residency *residency = conf->config->residency;
    int32_t first = dataclass < 0 ? CLASS_PUBLIC : dataclass;
    int32_t last = dataclass < 0 ? CLASS_PERSONAL : dataclass;
    for (int32_t one = first; one <= last; one++) {
        if (may_go(conf->config, residency->here, region, one))
            return true;
        for (size_t i = 0; i < residency->tenant_count; i++)
            if (may_go(conf->config, residency->tenants[i].region, region, one))
                return true;
    }
    return false;
}

// ---- All of it

void conf_build_regions(struct conf *conf, const struct raw_config *raw)
{
    struct config *config = conf->config;
    build_regions(conf, raw);
    struct residency *residency = arena_zalloc(conf->memory, sizeof *residency);
    struct slice *names = arena_zalloc(conf->memory, (config->region_count + 1) * sizeof *names);
    struct residency_link *links =
        arena_zalloc(conf->memory, (config->region_count + 1) * sizeof *links);
    for (size_t i = 0; i < config->region_count; i++) {
        names[i] = slice_str(config->regions[i].name);
        links[i] = (struct residency_link){.up = true, .rtt_ms = config->regions[i].rtt_ms};
    }
    residency->regions = names;
    residency->region_count = (int32_t)config->region_count;
    residency->here = config->region == NULL ? REGION_NONE : find_region(config, config->region);
    build_patterns(conf, &raw->residency, residency);
    build_rows(conf, &raw->residency, residency);
    build_tenants(conf, raw, residency);
    config->links = links;
    if (config->region_count > 0 || raw->residency.node != NULL)
        config->residency = residency;
}
