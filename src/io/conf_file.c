// SPDX-License-Identifier: Apache-2.0
// libconfig -> a tree of our own in the arena; the only file that knows libconfig. conf_scan.c has
// looked at the text before.
#include "io/conf_int.h"

#include <libconfig.h>

struct convert {
    struct conf *conf;
    const char *path; // of the main file; NULL = from memory
    const char *dir;
    const char *included; // the last include that was named, and how it was opened
    const char *opened;
};

// RFC 3629. libconfig takes any bytes.
static bool is_utf8(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    while (*at != '\0') {
        unsigned c = *at++;
        if (c < 0x80)
            continue;
        int more = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : 1;
        if (c < 0xC2 || c > 0xF4)
            return false;
        unsigned low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
        unsigned high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
        for (; more > 0; more--, low = 0x80, high = 0xBF)
            if (*at < low || *at++ > high)
                return false;
    }
    return true;
}

// libconfig gives the name of an include as it is written, not as it was opened.
static const char *opened_as(struct convert *convert, const char *file)
{
    if (convert->path == NULL)
        return "";
    if (file == NULL || strcmp(file, convert->path) == 0)
        return convert->path;
    if (file != convert->included) // libconfig has one copy of each name
        convert->opened = conf_text(convert->conf, "%s/%s", convert->dir, file);
    convert->included = file;
    return convert->opened;
}

static void read_scalar(struct convert *convert, const config_setting_t *setting,
                        struct conf_node *node)
{
    switch (config_setting_type(setting)) {
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        node->type = CONF_NODE_INT;
        node->integer = config_setting_get_int64(setting);
        if (config_setting_type(setting) == CONFIG_TYPE_INT)
            node->integer = config_setting_get_int(setting);
        break;
    case CONFIG_TYPE_FLOAT:
        node->type = CONF_NODE_FLOAT;
        node->number = config_setting_get_float(setting);
        break;
    case CONFIG_TYPE_BOOL:
        node->type = CONF_NODE_BOOL;
        node->integer = config_setting_get_bool(setting);
        break;
    default:
        node->type = CONF_NODE_STRING;
        node->text =
            arena_str(convert->conf->memory, slice_str(config_setting_get_string(setting)));
        if (!is_utf8(node->text)) {
            conf_error(convert->conf, node, "the text is not valid UTF-8");
            node->text = "";
        }
        break;
    }
}

static void read_node(struct convert *convert, const config_setting_t *setting, int depth,
                      struct conf_node *node)
{
    struct arena *memory = convert->conf->memory;
    const char *name = config_setting_name(setting);
    *node = (struct conf_node){
        .name = name == NULL ? NULL : arena_str(memory, slice_str(name)),
        .line = (int)config_setting_source_line(setting),
        .file = opened_as(convert, config_setting_source_file(setting)),
    };
    bool group = config_setting_is_group(setting) != 0;
    if (!group && !config_setting_is_list(setting) && !config_setting_is_array(setting)) {
        read_scalar(convert, setting, node);
        return;
    }
    node->type = group ? CONF_NODE_GROUP : CONF_NODE_LIST;
    if (depth == CONF_DEPTH_MAX) {
        conf_error(convert->conf, node, "nested too deep");
        return;
    }
    size_t count = (size_t)config_setting_length(setting);
    struct conf_node *children = arena_alloc(memory, count * sizeof *children);
    for (size_t i = 0; i < count; i++)
        read_node(convert, config_setting_get_elem(setting, (unsigned)i), depth + 1, &children[i]);
    node->children = children;
    node->count = count;
}

static void report_failure(struct convert *convert, const config_t *file)
{
    const char *text = config_error_text(file);
    const char *where = opened_as(convert, config_error_file(file));
    const char *hint = "";
    if (text == NULL)
        text = "cannot be read";
    if (strcmp(text, "syntax error") == 0)
        hint = " here or just before: look for a missing quote, bracket, \"=\" or comma, a comma "
               "before a closing bracket, or a name with a dot";
    conf_error_at(convert->conf, where, config_error_line(file), "%s%s", text, hint);
}

static const struct conf_node *finish(struct convert *convert, config_t *file, int good)
{
    struct conf_node *root = NULL;
    if (good == CONFIG_TRUE) {
        root = arena_alloc(convert->conf->memory, sizeof *root);
        read_node(convert, config_root_setting(file), 0, root);
        root->line = 0;
        root->file = convert->path == NULL ? "" : convert->path;
    } else {
        report_failure(convert, file);
    }
    config_destroy(file);
    return root;
}

const struct conf_node *conf_file_read(struct conf *conf, const char *path)
{
    config_t file;
    const char *slash = strrchr(path, '/');
    int len = slash == NULL ? 0 : (int)(slash - path);
    struct convert convert = {.conf = conf, .path = path, .dir = "."};
    if (slash != NULL)
        convert.dir = conf_text(conf, "%.*s", len, path);
    if (!conf_scan_file(conf, path))
        return NULL;
    config_init(&file);
    config_set_include_dir(&file, convert.dir);
    return finish(&convert, &file, config_read_file(&file, path));
}

const struct conf_node *conf_file_parse(struct conf *conf, struct slice text)
{
    config_t file;
    struct convert convert = {.conf = conf};
    struct conf_text copy = {NULL, arena_str(conf->memory, text), text.len};
    if (!conf_scan_text(conf, &copy))
        return NULL;
    config_init(&file);
    return finish(&convert, &file, config_read_string(&file, copy.bytes));
}
