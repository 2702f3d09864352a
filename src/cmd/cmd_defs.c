// SPDX-License-Identifier: Apache-2.0
#include "cmd/cmd_defs.h"

#include "core/json.h"
#include "engine/catalog.h"
#include "io/jq.h"

#include <stdio.h>
#include <stdlib.h>

struct loaded {
    struct def_id id;
    struct saga_def *def; // NULL: it cannot be loaded
    const char *why;
};

struct cmd_defs {
    const struct config *config;
    struct arena arena;
    struct loaded *list;
    size_t count;
};

// What find_action looks through: one definition at a time.
struct reading {
    struct cmd_defs *defs;
    struct slice json;
};

static bool is_named(struct slice action, const char *name)
{
    struct slice value = json_member(action, SLICE_LIT("name"));
    return !slice_none(value) && json_type(value) == JSON_STRING &&
           json_text_is(json_trim(value), slice_str(name));
}

// The "action" member of this name, of a step or of its compensation.
static struct slice find_json(struct slice definition, const char *name)
{
    struct json_walk walk = json_walk(json_member(definition, SLICE_LIT("steps")));
    struct slice ignored, step;
    while (json_next(&walk, &ignored, &step)) {
        struct slice forward = json_member(step, SLICE_LIT("action"));
        struct slice undo =
            json_member(json_member(step, SLICE_LIT("compensate")), SLICE_LIT("action"));
        if (is_named(forward, name))
            return forward;
        if (is_named(undo, name))
            return undo;
    }
    return SLICE_NONE;
}

static const struct action_def *find_action(void *context, const char *name)
{
    struct reading *reading = context;
    struct slice said = find_json(reading->json, name);
    struct slice is_inline = json_member(said, SLICE_LIT("inline"));
    const struct config_action *own = io_conf_action(reading->defs->config, name);
    struct action_def *action = arena_zalloc(&reading->defs->arena, sizeof *action);
    action->name = arena_str(&reading->defs->arena, slice_str(name));
    action->run_inline = !slice_none(is_inline) && json_type(is_inline) == JSON_TRUE;
    if (own != NULL) {
        action->kind = own->kind;
        action->params = own->params;
        action->result = own->result;
    }
    return action;
}

static void load(struct cmd_defs *defs, const struct catalog_definition *from)
{
    struct reading reading = {defs, from->json};
    struct def_env env = {.engine = &io_jq_engine,
                          .find_action = find_action,
                          .find_context = &reading,
                          .state_max = (size_t)defs->config->state_max};
    struct loaded *loaded = &defs->list[defs->count++];
    struct err_text text = {""};
    *loaded = (struct loaded){.id = from->id};
    if (def_load(from->json, &from->id, &env, &loaded->def, &text) != KA_OK)
        loaded->why = arena_str(&defs->arena, slice_str(text.text));
}

enum ka_err cmd_defs_open(struct cmd_app *app, struct cmd_defs **defs, struct err_text *text)
{
    struct catalog_config config = {.kafka = &app->kafka,
                                    .admin = app->admin,
                                    .app = app->config->app,
                                    .node = "cli",
                                    .region = app->config->region};
    struct catalog *catalog = NULL;
    enum ka_err err = catalog_open(&config, &catalog, text);
    if (err != KA_OK)
        return err;
    struct cmd_defs *opened = calloc(1, sizeof *opened);
    if (opened == NULL)
        abort();
    opened->config = app->config;
    const struct catalog_definition *list = NULL;
    size_t count = 0;
    uint64_t generation = 0;
    catalog_definitions(catalog, &opened->arena, &list, &count, &generation);
    opened->list = arena_zalloc(&opened->arena, (count + 1) * sizeof *opened->list);
    for (size_t i = 0; i < count; i++)
        load(opened, &list[i]);
    catalog_close(&catalog);
    *defs = opened;
    return KA_OK;
}

void cmd_defs_close(struct cmd_defs **defs)
{
    if (*defs == NULL)
        return;
    for (size_t i = 0; i < (*defs)->count; i++)
        def_free(&(*defs)->list[i].def);
    arena_fini(&(*defs)->arena);
    free(*defs);
    *defs = NULL;
}

enum ka_err cmd_defs_find(struct cmd_defs *defs, const struct def_id *id,
                          const struct saga_def **def, struct err_text *text)
{
    *def = NULL;
    for (size_t i = 0; i < defs->count && *def == NULL; i++) {
        if (memcmp(&defs->list[i].id, id, sizeof *id) != 0)
            continue;
        if (defs->list[i].def == NULL)
            return err_set(text, KA_ERR_NO_DEFINITION, "%s", defs->list[i].why);
        *def = defs->list[i].def;
    }
    if (*def != NULL)
        return KA_OK;
    char hex[2 * DEF_ID_SIZE + 1] = "";
    for (size_t i = 0; i < DEF_ID_SIZE; i++)
        snprintf(hex + 2 * i, 3, "%02x", id->bytes[i]);
    return err_set(text, KA_ERR_NO_DEFINITION, "the catalog has no definition %s", hex);
}
