// SPDX-License-Identifier: Apache-2.0
// The edge to dlopen. Everything that a library says is checked once, here, so that the runner may
// trust a descriptor; what a library does cannot be checked: it runs with all rights of the worker,
// which is why the file must not be writable by others.
#include "io/plugin.h"

#include "core/assert.h"
#include "core/def.h"
#include "core/json.h"

#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ERROR_SIZE = 256 }; // of the text that a plugin's validate may write

// What version 1 of the ABI had; a library may know more or, never, less.
enum {
    INFO_SIZE_MIN = offsetof(struct kasaga_plugin_info, action_count) + sizeof(size_t),
    ACTION_SIZE_MIN = offsetof(struct kasaga_action, fini) + sizeof(void (*)(void *)),
    STRUCT_SIZE_MAX = 4096 // of either: anything larger was never set
};

struct io_plugin {
    void *handle;
    char *path;
    struct kasaga_plugin_info info;
    size_t action_count;
    struct kasaga_action actions[]; // copies, zero where the library is older than this header
};

// ---------------------------------------------------------------------------------- the file

static enum ka_err check_directory(const char *path, struct err_text *text)
{
    struct stat st;
    char *copy = strdup(path);
    if (copy == NULL)
        return err_set(text, KA_ERR_NOMEM, "%s", path);
    enum ka_err err = KA_OK;
    const char *directory = dirname(copy);
    if (stat(directory, &st) != 0)
        err = err_set(text, KA_ERR_CONFIG, "directory %s: %s", directory, strerror(errno));
    else if ((st.st_mode & S_IWOTH) != 0 && (st.st_mode & S_ISVTX) == 0)
        err = err_set(text, KA_ERR_CONFIG, "anybody may write its directory %s (chmod o-w)",
                      directory);
    free(copy);
    return err;
}

static enum ka_err check_file(const char *path, struct err_text *text)
{
    struct stat st;
    if (path[0] != '/')
        return err_set(text, KA_ERR_CONFIG, "not an absolute path");
    if (stat(path, &st) != 0)
        return err_set(text, KA_ERR_CONFIG, "%s", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return err_set(text, KA_ERR_CONFIG, "not a regular file");
    if ((st.st_mode & S_IWOTH) != 0)
        return err_set(text, KA_ERR_CONFIG, "anybody may write it (chmod o-w)");
    if (st.st_uid != 0 && st.st_uid != geteuid())
        return err_set(text, KA_ERR_CONFIG,
                       "it belongs to user %" PRIu32 ", not to root or this process' user %" PRIu32,
                       (uint32_t)st.st_uid, (uint32_t)geteuid());
    return check_directory(path, text);
}

// --------------------------------------------------------------------------- the descriptors

static bool good_name(const char *name)
{
    size_t len = name == NULL ? 0 : strnlen(name, DEF_NAME_MAX);
    if (len == 0 || len == DEF_NAME_MAX)
        return false;
    return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == len;
}

static bool parse_duration(struct slice s, int64_t *out)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    int64_t number = 0;
    size_t i = 0;
    for (; i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9'; i++) {
        if (number > INT64_MAX / 86400000 / 10 - 1)
            return false;
        number = number * 10 + (s.ptr[i] - '0');
    }
    struct slice unit = {s.ptr + i, s.len - i};
    for (size_t u = 0; i > 0 && u < sizeof units / sizeof units[0]; u++) {
        if (!slice_eq(unit, slice_str(units[u].unit)))
            continue;
        *out = number * units[u].ms;
        return true;
    }
    return false;
}

static struct kasaga_bytes with_nul(struct slice s, struct arena *arena)
{
    return (struct kasaga_bytes){arena_str(arena, s), s.len};
}

static bool in_bounds(const struct kasaga_option *option, int64_t value)
{
    return (option->min == 0 && option->max == 0) || (value >= option->min && value <= option->max);
}

// Reads one value by its type; what was expected instead, or NULL if it is good.
static const char *read_value(const struct kasaga_option *option, struct slice json,
                              struct arena *arena, struct kasaga_value *value)
{
    enum json_type type = json_type(json);
    value->present = 1;
    switch (option->type) {
    case KASAGA_BOOL:
        value->integer = type == JSON_TRUE;
        return type == JSON_TRUE || type == JSON_FALSE ? NULL : "true or false";
    case KASAGA_INTEGER:
        if (type != JSON_NUMBER || !json_i64(json, &value->integer))
            return "an integer";
        return in_bounds(option, value->integer) ? NULL : "a value within its bounds";
    case KASAGA_NUMBER:
        return type == JSON_NUMBER && json_f64(json, &value->number) ? NULL : "a number";
    case KASAGA_STRING:
        if (type != JSON_STRING)
            return "a string";
        value->text = with_nul(json_text(json, arena), arena);
        return strlen(value->text.ptr) == value->text.len ? NULL : "a string without NUL";
    case KASAGA_DURATION:
        if (type != JSON_STRING || !parse_duration(json_text(json, arena), &value->integer))
            return "a duration such as \"250ms\" or \"3s\"";
        return in_bounds(option, value->integer) ? NULL : "a duration within its bounds";
    case KASAGA_JSON:
        value->text = with_nul(json_trim(json), arena);
        return NULL;
    }
    return "a type that this version knows";
}

// NULL as default means required, "null" means may be left out; both have no value to read.
static bool has_default(const struct kasaga_option *option)
{
    return option->default_json != NULL && strcmp(option->default_json, "null") != 0;
}

static enum ka_err check_option(const struct kasaga_option *option, struct err_text *text)
{
    struct arena arena = {0};
    struct kasaga_value value = {0};
    struct slice json = slice_str(option->default_json);
    enum ka_err err = KA_OK;
    if (!good_name(option->name))
        return err_set(text, KA_ERR_CONFIG, "an option has no usable name");
    if (option->type < KASAGA_BOOL || option->type > KASAGA_JSON)
        return err_set(text, KA_ERR_CONFIG, "option \"%s\": unknown type", option->name);
    if (has_default(option)) {
        struct err_text why;
        const char *expected = "valid JSON";
        if (json_validate(json, &why) == KA_OK)
            expected = read_value(option, json, &arena, &value);
        if (expected != NULL)
            err = err_set(text, KA_ERR_CONFIG, "option \"%s\": its default is not %s", option->name,
                          expected);
    }
    arena_fini(&arena);
    return err;
}

static enum ka_err check_schema(const char *member, const char *avsc, struct err_text *text)
{
    if (avsc == NULL || json_validate(slice_str(avsc), text) == KA_OK)
        return KA_OK;
    return err_wrap(text, KA_ERR_CONFIG, "%s", member);
}

static enum ka_err check_action(const struct kasaga_action *action, struct err_text *text)
{
    if (!good_name(action->name))
        return err_set(text, KA_ERR_CONFIG, "its name is not 1 to %d of [a-z0-9._-]",
                       DEF_NAME_MAX - 1);
    if (action->run == NULL)
        return err_set(text, KA_ERR_CONFIG, "it has no run function");
    if (action->version == NULL || action->description == NULL)
        return err_set(text, KA_ERR_CONFIG, "version or description is missing");
    if (action->option_count > IO_PLUGIN_OPTIONS_MAX ||
        (action->option_count > 0 && action->options == NULL))
        return err_set(text, KA_ERR_CONFIG, "its option table is broken");
    for (size_t i = 0; i < action->option_count; i++) {
        enum ka_err err = check_option(&action->options[i], text);
        if (err != KA_OK)
            return err;
    }
    enum ka_err err = check_schema("params_avsc", action->params_avsc, text);
    return err != KA_OK ? err : check_schema("result_avsc", action->result_avsc, text);
}

// ----------------------------------------------------------------------------------- opening

static enum ka_err check_info(const struct kasaga_plugin_info *info, struct err_text *text)
{
    if (info == NULL)
        return err_set(text, KA_ERR_CONFIG, "kasaga_plugin() returned NULL");
    if (info->abi != KASAGA_ABI)
        return err_set(text, KA_ERR_CONFIG,
                       "it was built for plugin ABI %" PRIu32
                       ", this kasaga has %d: build it again",
                       info->abi, KASAGA_ABI);
    if (info->struct_size < INFO_SIZE_MIN || info->struct_size > STRUCT_SIZE_MAX)
        return err_set(text, KA_ERR_CONFIG, "struct_size of the library is %" PRIu32,
                       info->struct_size);
    if (info->name == NULL || info->version == NULL || info->description == NULL)
        return err_set(text, KA_ERR_CONFIG, "name, version or description is missing");
    if (info->actions == NULL || info->action_count == 0 ||
        info->action_count > IO_PLUGIN_ACTIONS_MAX)
        return err_set(text, KA_ERR_CONFIG, "it has %zu actions (1 to %d)", info->action_count,
                       IO_PLUGIN_ACTIONS_MAX);
    uint32_t stride = info->actions[0].struct_size;
    if (stride < ACTION_SIZE_MIN || stride > STRUCT_SIZE_MAX || stride % sizeof(void *) != 0)
        return err_set(text, KA_ERR_CONFIG, "struct_size of its actions is %" PRIu32, stride);
    return KA_OK;
}

// The library's array has the element size of the header it was built with, ours may be another.
static enum ka_err copy_action(struct io_plugin *plugin, size_t index, struct err_text *text)
{
    const struct kasaga_plugin_info *info = &plugin->info;
    size_t stride = info->actions[0].struct_size;
    const char *from = (const char *)info->actions + index * stride;
    struct kasaga_action *action = &plugin->actions[index];
    memcpy(action, from, stride < sizeof *action ? stride : sizeof *action);
    if (action->struct_size != stride)
        return err_set(text, KA_ERR_CONFIG, "action %zu: struct_size differs", index);
    enum ka_err err = check_action(action, text);
    if (err != KA_OK)
        return err_wrap(text, err, "action %zu \"%s\"", index,
                        good_name(action->name) ? action->name : "");
    if (io_plugin_lookup(plugin, action->name) != NULL)
        return err_set(text, KA_ERR_CONFIG, "action \"%s\" is there twice", action->name);
    plugin->action_count++;
    return KA_OK;
}

static enum ka_err load(void *handle, const char *path, struct io_plugin **out,
                        struct err_text *text)
{
    const struct kasaga_plugin_info *(*entry)(void) = NULL;
    void *symbol = dlsym(handle, "kasaga_plugin");
    if (symbol == NULL)
        return err_set(text, KA_ERR_CONFIG, "it does not export kasaga_plugin");
    memcpy(&entry, &symbol, sizeof entry);
    const struct kasaga_plugin_info *info = entry();
    enum ka_err err = check_info(info, text);
    if (err != KA_OK)
        return err;
    struct io_plugin *plugin =
        calloc(1, sizeof *plugin + info->action_count * sizeof plugin->actions[0]);
    if (plugin == NULL || (plugin->path = strdup(path)) == NULL) {
        free(plugin);
        return err_set(text, KA_ERR_NOMEM, "no memory");
    }
    plugin->info = *info;
    for (size_t i = 0; i < info->action_count && err == KA_OK; i++)
        err = copy_action(plugin, i, text);
    if (err != KA_OK) {
        io_plugin_close(&plugin);
        return err;
    }
    plugin->handle = handle;
    *out = plugin;
    return KA_OK;
}

enum ka_err io_plugin_open(const char *path, struct io_plugin **plugin, struct err_text *text)
{
    KA_ASSERT(path != NULL);
    KA_ASSERT(plugin != NULL);
    *plugin = NULL;
    enum ka_err err = check_file(path, text);
    if (err != KA_OK)
        return err_wrap(text, err, "plugin %s", path);
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        const char *why = dlerror();
        return err_set(text, KA_ERR_CONFIG, "plugin %s: %s", path, why != NULL ? why : "dlopen");
    }
    err = load(handle, path, plugin, text);
    if (err == KA_OK)
        return KA_OK;
    dlclose(handle);
    return err_wrap(text, err, "plugin %s", path);
}

void io_plugin_close(struct io_plugin **plugin)
{
    if (*plugin == NULL)
        return;
    if ((*plugin)->handle != NULL)
        dlclose((*plugin)->handle);
    free((*plugin)->path);
    free(*plugin);
    *plugin = NULL;
}

const char *io_plugin_path(const struct io_plugin *plugin)
{
    return plugin->path;
}

const char *io_plugin_name(const struct io_plugin *plugin)
{
    return plugin->info.name;
}

const char *io_plugin_version(const struct io_plugin *plugin)
{
    return plugin->info.version;
}

const char *io_plugin_description(const struct io_plugin *plugin)
{
    return plugin->info.description;
}

size_t io_plugin_action_count(const struct io_plugin *plugin)
{
    return plugin->action_count;
}

const struct kasaga_action *io_plugin_action(const struct io_plugin *plugin, size_t index)
{
    KA_ASSERT(index < plugin->action_count);
    return &plugin->actions[index];
}

const struct kasaga_action *io_plugin_lookup(const struct io_plugin *plugin, const char *name)
{
    for (size_t i = 0; i < plugin->action_count; i++) {
        if (strcmp(plugin->actions[i].name, name) == 0)
            return &plugin->actions[i];
    }
    return NULL;
}

// ----------------------------------------------------------------------------------- options

// Appends one complaint to what is there; what does not fit is cut.
static void KA_PRINTF(2, 3) complain(struct err_text *all, const char *format, ...)
{
    size_t at = strlen(all->text);
    va_list args;
    if (at > 0 && at + 3 < sizeof all->text) {
        memcpy(all->text + at, "; ", 3);
        at += 2;
    }
    va_start(args, format);
    vsnprintf(all->text + at, sizeof all->text - at, format, args);
    va_end(args);
}

static const struct kasaga_option *find_option(const struct kasaga_action *action,
                                               struct slice name)
{
    for (size_t i = 0; i < action->option_count; i++) {
        if (slice_eq(slice_str(action->options[i].name), name))
            return &action->options[i];
    }
    return NULL;
}

static void complain_unknown(const struct kasaga_action *action, struct slice json,
                             struct arena *arena, struct err_text *all)
{
    struct slice name;
    struct slice value;
    for (struct json_walk walk = json_walk(json); json_next(&walk, &name, &value);) {
        struct slice plain = json_text(name, arena);
        if (find_option(action, plain) != NULL)
            continue;
        complain(all, "unknown option \"%.*s\" (known:", SLICE_FMT(plain));
        for (size_t i = 0; i < action->option_count; i++) {
            size_t at = strlen(all->text);
            snprintf(all->text + at, sizeof all->text - at, " %s", action->options[i].name);
        }
        size_t at = strlen(all->text);
        snprintf(all->text + at, sizeof all->text - at, action->option_count > 0 ? ")" : " none)");
    }
}

static void complain_value(const struct kasaga_option *option, const char *expected,
                           struct slice json, struct err_text *all)
{
    bool secret = (option->flags & KASAGA_OPTION_SECRET) != 0;
    bool bounded = option->min != 0 || option->max != 0;
    complain(all, "option \"%s\": expected %s", option->name, expected);
    size_t at = strlen(all->text);
    if (bounded && (option->type == KASAGA_INTEGER || option->type == KASAGA_DURATION))
        snprintf(all->text + at, sizeof all->text - at, " [%" PRId64 ", %" PRId64 "]%s",
                 option->min, option->max, option->type == KASAGA_DURATION ? " ms" : "");
    at = strlen(all->text);
    if (!secret)
        snprintf(all->text + at, sizeof all->text - at, ", found %.*s", SLICE_FMT(json));
}

static void read_option(const struct kasaga_option *option, struct slice json, struct arena *arena,
                        struct kasaga_value *value, struct err_text *all)
{
    if (slice_none(json) && option->default_json == NULL) {
        complain(all, "option \"%s\" is required", option->name);
        return;
    }
    if (slice_none(json) && !has_default(option))
        return;
    if (slice_none(json))
        json = slice_str(option->default_json);
    const char *expected = read_value(option, json, arena, value);
    if (expected != NULL)
        complain_value(option, expected, json, all);
}

enum ka_err io_plugin_options(const struct kasaga_action *action, struct slice json,
                              bool run_inline, struct arena *arena, struct kasaga_options **options,
                              struct err_text *text)
{
    struct err_text all = {{0}};
    if (slice_none(json))
        json = SLICE_LIT("{}");
    if (json_validate(json, text) != KA_OK)
        return err_wrap(text, KA_ERR_CONFIG, "options of action %s", action->name);
    if (json_type(json) != JSON_OBJECT)
        return err_set(text, KA_ERR_CONFIG, "options of action %s: not an object", action->name);
    struct kasaga_value *values = arena_zalloc(arena, action->option_count * sizeof *values);
    for (size_t i = 0; i < action->option_count; i++) {
        struct slice value = json_member(json, slice_str(action->options[i].name));
        read_option(&action->options[i], value, arena, &values[i], &all);
    }
    complain_unknown(action, json, arena, &all);
    *options = arena_zalloc(arena, sizeof **options);
    (*options)->count = action->option_count;
    (*options)->values = values;
    (*options)->run_inline = run_inline;
    if (run_inline && (action->flags & KASAGA_ACTION_INLINE) == 0)
        complain(&all, "the plugin does not allow it to run inline");
    char error[ERROR_SIZE] = "";
    if (all.text[0] == '\0' && action->validate != NULL &&
        action->validate(*options, error, sizeof error) != 0)
        complain(&all, "%.*s", ERROR_SIZE - 1,
                 error[0] != '\0' ? error : "refused by its validate");
    if (all.text[0] == '\0')
        return KA_OK;
    return err_set(text, KA_ERR_CONFIG, "action %s: %s", action->name, all.text);
}
