// SPDX-License-Identifier: Apache-2.0
#include "engine/definitions.h"

#include "io/log.h"

#include <stdio.h>
#include <stdlib.h>

struct compiled {
    struct def_id id;
    bool current;
    char name[DEF_NAME_MAX + 1];
    struct saga_def *def; // NULL = cannot be loaded here
};

struct definitions {
    struct catalog *catalog;
    struct def_env env;
    uint64_t generation;
    struct compiled *list;
    size_t count;
};

struct definitions *definitions_new(struct catalog *catalog, const struct def_env *env)
{
    struct definitions *definitions = calloc(1, sizeof *definitions);
    if (definitions == NULL)
        abort();
    definitions->catalog = catalog;
    definitions->env = *env;
    definitions->generation = UINT64_MAX;
    return definitions;
}

void definitions_free(struct definitions **definitions)
{
    if (*definitions == NULL)
        return;
    for (size_t i = 0; i < (*definitions)->count; i++)
        def_free(&(*definitions)->list[i].def);
    free((*definitions)->list);
    free(*definitions);
    *definitions = NULL;
}

static struct compiled *find(struct definitions *definitions, const struct def_id *id)
{
    for (size_t i = 0; i < definitions->count; i++)
        if (memcmp(&definitions->list[i].id, id, sizeof *id) == 0)
            return &definitions->list[i];
    return NULL;
}

static struct compiled *add(struct definitions *definitions, const struct catalog_definition *from)
{
    size_t size = (definitions->count + 1) * sizeof *definitions->list;
    definitions->list = realloc(definitions->list, size);
    if (definitions->list == NULL)
        abort();
    struct compiled *compiled = &definitions->list[definitions->count++];
    *compiled = (struct compiled){.id = from->id};
    snprintf(compiled->name, sizeof compiled->name, "%s", from->name);
    struct err_text text = {{0}};
    enum ka_err err = def_load(from->json, &from->id, &definitions->env, &compiled->def, &text);
    if (err != KA_OK)
        log_warn("definitions", "not_loaded", "saga=%s error=%s", from->name, text.text);
    return compiled;
}

bool definitions_refresh(struct definitions *definitions)
{
    if (catalog_generation(definitions->catalog) == definitions->generation)
        return false;
    struct arena arena = {0};
    const struct catalog_definition *list = NULL;
    size_t count = 0;
    catalog_definitions(definitions->catalog, &arena, &list, &count, &definitions->generation);
    for (size_t i = 0; i < definitions->count; i++)
        definitions->list[i].current = false;
    for (size_t i = 0; i < count; i++) {
        struct compiled *compiled = find(definitions, &list[i].id);
        if (compiled == NULL)
            compiled = add(definitions, &list[i]);
        compiled->current = list[i].current;
    }
    arena_fini(&arena);
    return true;
}

static const struct saga_def *current(void *context, struct slice name)
{
    struct definitions *definitions = context;
    for (size_t i = 0; i < definitions->count; i++) {
        const struct compiled *compiled = &definitions->list[i];
        if (compiled->current && compiled->def != NULL &&
            slice_eq(slice_str(compiled->def->name), name))
            return compiled->def;
    }
    return NULL;
}

static bool named(void *context, struct slice name)
{
    struct definitions *definitions = context;
    for (size_t i = 0; i < definitions->count; i++)
        if (definitions->list[i].current && slice_eq(slice_str(definitions->list[i].name), name))
            return true;
    return false;
}

static const struct saga_def *by_id(void *context, const struct def_id *id)
{
    const struct compiled *compiled = find(context, id);
    return compiled == NULL ? NULL : compiled->def;
}

static uint64_t ask(void *context, struct slice name)
{
    const struct definitions *definitions = context;
    log_info("definitions", "looked_up", "saga=%.*s", SLICE_FMT(name));
    return catalog_ask(definitions->catalog);
}

static bool answered(void *context, uint64_t question)
{
    const struct definitions *definitions = context;
    return catalog_answered(definitions->catalog, question) &&
           catalog_generation(definitions->catalog) == definitions->generation;
}

struct shard_definitions definitions_lookup(struct definitions *definitions)
{
    return (struct shard_definitions){definitions, current, by_id, named, ask, answered};
}
