// SPDX-License-Identifier: Apache-2.0
// A group of the file into a struct, by the table of keys: types, ranges, choices, defaults,
// required and unknown keys. Goes on after an error: the default stands in for what is wrong.
#include "io/conf_int.h"

#include "core/assert.h"

static void store(const struct conf_key *key, void *target, const void *value, size_t size)
{
    KA_ASSERT(key->size == size);
    memcpy((char *)target + key->offset, value, size);
}

static void store_number(const struct conf_key *key, void *target, int64_t value)
{
    int32_t narrow = (int32_t)value;
    if (key->size == sizeof narrow)
        store(key, target, &narrow, sizeof narrow);
    else
        store(key, target, &value, sizeof value);
}

static void show_number(const struct conf_key *key, int64_t value, struct buf *buf)
{
    if (key->type == CONF_DURATION)
        conf_show_duration(value, buf);
    else if (key->type == CONF_SIZE)
        conf_show_size(value, buf);
    else
        buf_i64(buf, value);
}

static void check_range(struct conf *conf, const struct conf_node *node, const struct conf_key *key,
                        int64_t value, void *target)
{
    if (value >= key->min && value <= key->max) {
        store_number(key, target, value);
        return;
    }
    struct buf buf = {0};
    buf_str(&buf, "must be from ");
    show_number(key, key->min, &buf);
    buf_str(&buf, " to ");
    show_number(key, key->max, &buf);
    conf_error(conf, node, "\"%s\" %.*s", key->name, SLICE_FMT(buf_slice(&buf)));
    buf_fini(&buf);
}

static const char *type_text(const struct conf_key *key)
{
    switch (key->type) {
    case CONF_BOOL:
        return "true or false";
    case CONF_INT:
        return "a whole number without quotes";
    case CONF_DURATION:
        return "a duration with its unit, in quotes, for example \"30s\"";
    case CONF_SIZE:
        return "a size with its unit, in quotes, for example \"64MiB\"";
    case CONF_ENUM:
    case CONF_STRING:
    case CONF_NAME:
    case CONF_DOTTED:
    case CONF_TOPIC:
    case CONF_EXPR:
    case CONF_FILE:
        return "a text in quotes";
    case CONF_STRINGS:
        return "a text in quotes or a list of them: [\"a\", \"b\"]";
    case CONF_OPTIONS:
    case CONF_GROUP:
        return "a group: { … }";
    case CONF_LIST:
        return "a list of groups: ( { … }, … )";
    case CONF_PROPERTIES:
        return "a list: ( \"name=value\", … )";
    case CONF_RESERVED:
        break;
    }
    return "";
}

static void wrong_type(struct conf *conf, const struct conf_node *node, const struct conf_key *key)
{
    conf_error(conf, node, "\"%s\" must be %s, not %s", key->name, type_text(key),
               conf_node_type_name(node));
}

static void fill_enum(struct conf *conf, const struct conf_node *node, const struct conf_key *key,
                      void *target)
{
    struct buf buf = {0};
    struct conf_near near = {.wanted = node->text};
    for (int32_t i = 0; key->choices[i] != NULL; i++) {
        bool available = key->available == 0 || i < key->available;
        if (strcmp(key->choices[i], node->text) == 0) {
            if (!available)
                conf_error(conf, node, "%s \"%s\" is not available in this version", key->name,
                           node->text);
            else
                store(key, target, &i, sizeof i);
            buf_fini(&buf);
            return;
        }
        if (!available)
            continue;
        conf_near_try(&near, key->choices[i]);
        buf_str(&buf, i == 0 ? "" : ", ");
        buf_str(&buf, key->choices[i]);
    }
    const char *best = conf_near_best(&near);
    conf_error(conf, node, "%s \"%s\" is none of: %.*s%s%s%s", key->name, node->text,
               SLICE_FMT(buf_slice(&buf)), best == NULL ? "" : "; did you mean \"",
               best == NULL ? "" : best, best == NULL ? "" : "\"?");
    buf_fini(&buf);
}

static bool is_good_text(const struct conf_key *key, const char *text, const char **why)
{
    *why = "at least one character";
    if (key->type == CONF_NAME || key->type == CONF_DOTTED)
        return conf_is_name(text, key->type == CONF_DOTTED, why);
    if (key->type == CONF_TOPIC)
        return conf_is_topic(text, why);
    if (text[0] == '\0')
        return false;
    *why = "of at most 8192 bytes";
    return strlen(text) <= 8192;
}

static void fill_text(struct conf *conf, const struct conf_node *node, const struct conf_key *key,
                      void *target)
{
    const char *why = "";
    int64_t value = 0;
    bool good = key->type == CONF_DURATION ? conf_duration(node->text, &value, &why)
                : key->type == CONF_SIZE   ? conf_size(node->text, &value, &why)
                                           : is_good_text(key, node->text, &why);
    if (!good) {
        conf_error(conf, node, "\"%s\" is \"%.100s\", but must be %s", key->name, node->text, why);
        return;
    }
    if (key->type == CONF_DURATION || key->type == CONF_SIZE) {
        check_range(conf, node, key, value, target);
        return;
    }
    const char *text = node->text;
    if (key->type == CONF_FILE)
        text = conf_resolve(conf, node->file, text);
    store(key, target, &text, sizeof text);
}

static void fill_strings(struct conf *conf, const struct conf_node *node,
                         const struct conf_key *key, void *target)
{
    size_t count = node->type == CONF_NODE_LIST ? node->count : 1;
    const struct conf_node *items = node->type == CONF_NODE_LIST ? node->children : node;
    const char **list = arena_alloc(conf->memory, (count + 1) * sizeof *list);
    for (size_t i = 0; i < count; i++) {
        list[i] = items[i].type == CONF_NODE_STRING ? items[i].text : "";
        if (items[i].type != CONF_NODE_STRING)
            wrong_type(conf, &items[i], key);
    }
    list[count] = NULL;
    if ((int64_t)count < key->min || (int64_t)count > key->max)
        conf_error(conf, node, "\"%s\" must have %lld to %lld elements", key->name,
                   (long long)key->min, (long long)key->max);
    const char *const *kept = list;
    store(key, target, &kept, sizeof kept);
}

static void fill_list(struct conf *conf, const struct conf_node *node, const struct conf_key *key,
                      void *target)
{
    struct conf_list list = {.items = arena_zalloc(conf->memory, node->count * key->group->size)};
    if ((int64_t)node->count < key->min || (int64_t)node->count > key->max) {
        conf_error(conf, node, "\"%s\" must have %lld to %lld elements, not %zu", key->name,
                   (long long)key->min, (long long)key->max, node->count);
        if ((int64_t)node->count > key->max)
            return;
    }
    for (size_t i = 0; i < node->count; i++) {
        if (node->children[i].type != CONF_NODE_GROUP)
            wrong_type(conf, &node->children[i], key);
        else
            conf_fill(conf, &node->children[i], key->group,
                      (char *)list.items + key->group->size * list.count++);
    }
    store(key, target, &list, sizeof list);
}

static bool has_type(const struct conf_node *node, const struct conf_key *key)
{
    switch (key->type) {
    case CONF_BOOL:
        return node->type == CONF_NODE_BOOL;
    case CONF_INT:
        return node->type == CONF_NODE_INT;
    case CONF_STRING:
    case CONF_NAME:
    case CONF_DOTTED:
    case CONF_TOPIC:
    case CONF_EXPR:
    case CONF_FILE:
    case CONF_ENUM:
    case CONF_DURATION:
    case CONF_SIZE:
        return node->type == CONF_NODE_STRING;
    case CONF_STRINGS:
        return node->type == CONF_NODE_STRING || node->type == CONF_NODE_LIST;
    case CONF_OPTIONS:
    case CONF_GROUP:
        return node->type == CONF_NODE_GROUP;
    case CONF_LIST:
    case CONF_PROPERTIES:
        return node->type == CONF_NODE_LIST;
    case CONF_RESERVED:
        break;
    }
    return true;
}

static void fill_key(struct conf *conf, const struct conf_node *node, const struct conf_key *key,
                     void *target)
{
    if (!has_type(node, key)) {
        wrong_type(conf, node, key);
        return;
    }
    switch (key->type) {
    case CONF_BOOL: {
        bool value = node->integer != 0;
        store(key, target, &value, sizeof value);
        break;
    }
    case CONF_INT:
        check_range(conf, node, key, node->integer, target);
        break;
    case CONF_ENUM:
        fill_enum(conf, node, key, target);
        break;
    case CONF_STRING:
    case CONF_NAME:
    case CONF_DOTTED:
    case CONF_TOPIC:
    case CONF_EXPR:
    case CONF_FILE:
    case CONF_DURATION:
    case CONF_SIZE:
        fill_text(conf, node, key, target);
        break;
    case CONF_STRINGS:
        fill_strings(conf, node, key, target);
        break;
    case CONF_OPTIONS: {
        struct slice json = SLICE_LIT("{}");
        if (conf_to_json(conf, node, &json))
            store(key, target, &json, sizeof json);
        break;
    }
    case CONF_PROPERTIES:
        store(key, target, &node, sizeof node);
        break;
    case CONF_GROUP:
        conf_fill(conf, node, key->group, (char *)target + key->offset);
        break;
    case CONF_LIST:
        fill_list(conf, node, key, target);
        break;
    case CONF_RESERVED:
        conf_error(conf, node, "\"%s\" is not available in this version", key->name);
        break;
    }
}

// Defaults are written in the table as in the file and read in the same way; wrong ones are bugs.
static void fill_default(const struct conf_key *key, void *target)
{
    const char *why;
    int64_t number = CONF_ABSENT;
    bool yes = false;
    const char *text = key->fallback;
    if (text != NULL && key->type == CONF_INT) {
        bool negative = text[0] == '-';
        number = 0;
        for (const char *at = text + negative; *at != '\0'; at++)
            number = number * 10 + (*at - '0');
        number = negative ? -number : number;
    } else if (text != NULL && key->type == CONF_DURATION) {
        KA_ASSERT(conf_duration(text, &number, &why));
    } else if (text != NULL && key->type == CONF_SIZE) {
        KA_ASSERT(conf_size(text, &number, &why));
    } else if (text != NULL && key->type == CONF_ENUM) {
        for (number = 0; strcmp(key->choices[number], text) != 0; number++)
            KA_ASSERT(key->choices[number + 1] != NULL);
    } else if (text != NULL && key->type == CONF_BOOL) {
        yes = strcmp(text, "true") == 0;
    }
    switch (key->type) {
    case CONF_INT:
    case CONF_DURATION:
    case CONF_SIZE:
    case CONF_ENUM:
        store_number(key, target, number);
        break;
    case CONF_BOOL:
        store(key, target, &yes, sizeof yes);
        break;
    case CONF_STRING:
    case CONF_NAME:
    case CONF_DOTTED:
    case CONF_TOPIC:
    case CONF_EXPR:
    case CONF_FILE:
        store(key, target, &text, sizeof text);
        break;
    case CONF_STRINGS:
    case CONF_OPTIONS:
    case CONF_PROPERTIES:
    case CONF_GROUP:
    case CONF_LIST:
    case CONF_RESERVED:
        break; // zero; groups are filled by their own table
    }
}

static void report_unknown(struct conf *conf, const struct conf_node *node,
                           const struct conf_group *group)
{
    struct conf_near near = {.wanted = node->name};
    for (size_t i = 0; i < group->count; i++)
        conf_near_try(&near, group->keys[i].name);
    const char *best = conf_near_best(&near);
    if (best != NULL) {
        conf_error(conf, node, "unknown key \"%s\", did you mean \"%s\"?", node->name, best);
        return;
    }
    struct buf buf = {0};
    for (size_t i = 0; i < group->count; i++) {
        if (group->keys[i].type == CONF_RESERVED)
            continue;
        buf_str(&buf, buf.len == 0 ? "" : ", ");
        buf_str(&buf, group->keys[i].name);
    }
    conf_error(conf, node, "unknown key \"%s\"; %s has: %.*s", node->name, group->one, (int)buf.len,
               buf.ptr);
    buf_fini(&buf);
}

static const struct conf_node nothing = {.type = CONF_NODE_GROUP};

static void fill_absent(struct conf *conf, const struct conf_node *node,
                        const struct conf_group *group, void *target)
{
    for (size_t i = 0; i < group->count; i++) {
        const struct conf_key *key = &group->keys[i];
        bool absent = conf_child(node, key->name) == NULL;
        if (absent && key->required && node != &nothing)
            conf_error(conf, node, "%s needs \"%s\"", group->one, key->name);
        fill_default(key, target);
        // A group that is left out has its defaults; one with required keys just is not there.
        if (key->type == CONF_GROUP && absent)
            fill_absent(conf, &nothing, key->group, (char *)target + key->offset);
    }
}

void conf_fill(struct conf *conf, const struct conf_node *node, const struct conf_group *group,
               void *target)
{
    bool refused = group->refuse != NULL && group->refuse(conf, node);
    fill_absent(conf, refused ? &nothing : node, group, target);
    if (group->node_offset != 0)
        memcpy((char *)target + group->node_offset, &node, sizeof node);
    for (size_t i = 0; i < node->count; i++) {
        const struct conf_node *child = &node->children[i];
        const struct conf_key *key = NULL;
        for (size_t j = 0; j < group->count && key == NULL; j++)
            if (strcmp(group->keys[j].name, child->name) == 0)
                key = &group->keys[j];
        if (key == NULL && refused)
            continue;
        if (key == NULL)
            report_unknown(conf, child, group);
        else if (!refused || strcmp(key->name, "name") == 0)
            fill_key(conf, child, key, target);
    }
}
