// SPDX-License-Identifier: Apache-2.0
// JSON that is the same for the same meaning: members sorted, no white space, numbers of one form.
// The normalised form of a saga is what its identity is the hash of, so it has no paths, no topics
// and nothing for people.
#include "io/conf_int.h"

#include "core/json.h"
#include "io/digest.h"

#include <math.h>
#include <stdio.h>

// Members in the order of their names; a group is small.
static const struct conf_node *next_member(const struct conf_node *group, const char *after)
{
    const struct conf_node *best = NULL;
    for (size_t i = 0; i < group->count; i++) {
        const struct conf_node *child = &group->children[i];
        if (after != NULL && strcmp(child->name, after) <= 0)
            continue;
        if (best == NULL || strcmp(child->name, best->name) < 0)
            best = child;
    }
    return best;
}

static void put_member(struct buf *buf, const char *name)
{
    char last = buf->ptr[buf->len - 1];
    if (last != '{' && last != '[')
        buf_byte(buf, ',');
    buf_json_str(buf, slice_str(name));
    buf_byte(buf, ':');
}

static bool put_node(struct conf *conf, const struct conf_node *node, struct buf *buf)
{
    char number[64];
    bool good = true;
    switch (node->type) {
    case CONF_NODE_GROUP:
        buf_byte(buf, '{');
        for (const struct conf_node *child = next_member(node, NULL); child != NULL;
             child = next_member(node, child->name)) {
            put_member(buf, child->name);
            good = put_node(conf, child, buf) && good;
        }
        buf_byte(buf, '}');
        return good;
    case CONF_NODE_LIST:
        buf_byte(buf, '[');
        for (size_t i = 0; i < node->count; i++) {
            if (i > 0)
                buf_byte(buf, ',');
            good = put_node(conf, &node->children[i], buf) && good;
        }
        buf_byte(buf, ']');
        return good;
    case CONF_NODE_STRING:
        buf_json_str(buf, slice_str(node->text));
        return true;
    case CONF_NODE_INT:
        buf_i64(buf, node->integer);
        return true;
    case CONF_NODE_FLOAT:
        if (!isfinite(node->number)) {
            conf_error(conf, node, "the number is too large");
            return false;
        }
        snprintf(number, sizeof number, "%.17g", node->number);
        buf_str(buf, number);
        return true;
    case CONF_NODE_BOOL:
        buf_str(buf, node->integer != 0 ? "true" : "false");
        return true;
    }
    return good;
}

// Into the arena, with a NUL behind it that does not count.
static struct slice take(struct conf *conf, struct buf *buf)
{
    struct slice json = slice_of(arena_str(conf->memory, buf_slice(buf)), buf->len);
    buf_fini(buf);
    return json;
}

bool conf_to_json(struct conf *conf, const struct conf_node *node, struct slice *json)
{
    struct buf buf = {0};
    bool good = put_node(conf, node, &buf);
    *json = take(conf, &buf);
    return good;
}

// ---- Schemas

// The member of an object whose name comes next; by the bytes of the names as they stand.
static bool next_schema_member(struct slice object, struct slice after, struct slice *name,
                               struct slice *value)
{
    struct json_walk walk = json_walk(object);
    struct slice n;
    struct slice v;
    *name = SLICE_NONE;
    while (json_next(&walk, &n, &v)) {
        bool later = slice_none(after) || strncmp(n.ptr, after.ptr, n.len) > 0;
        if (later && (slice_none(*name) || strncmp(n.ptr, name->ptr, n.len) < 0)) {
            *name = n;
            *value = v;
        }
    }
    return !slice_none(*name);
}

static void put_schema(struct buf *buf, struct slice value)
{
    struct slice name = SLICE_NONE;
    struct slice inner;
    value = json_trim(value);
    if (json_type(value) == JSON_OBJECT) {
        buf_byte(buf, '{');
        while (next_schema_member(value, name, &name, &inner)) {
            if (json_text_is(name, SLICE_LIT("doc")))
                continue;
            if (buf->ptr[buf->len - 1] != '{')
                buf_byte(buf, ',');
            buf_slice_put(buf, name);
            buf_byte(buf, ':');
            put_schema(buf, inner);
        }
        buf_byte(buf, '}');
    } else if (json_type(value) == JSON_ARRAY) {
        struct json_walk walk = json_walk(value);
        buf_byte(buf, '[');
        while (json_next(&walk, &name, &inner)) {
            if (buf->ptr[buf->len - 1] != '[')
                buf_byte(buf, ',');
            put_schema(buf, inner);
        }
        buf_byte(buf, ']');
    } else {
        buf_slice_put(buf, value);
    }
}

// Of the schema without white space, order of members and documentation. Defaults count: they
// say what may be left out.
static void put_fingerprint(struct buf *buf, const char *name, struct slice avsc)
{
    struct buf canonical = {0};
    unsigned char digest[DIGEST_SIZE];
    char hex[2 * DEF_ID_SIZE + 1];
    if (slice_none(avsc))
        return;
    put_schema(&canonical, avsc);
    digest_sha256(buf_slice(&canonical), digest);
    digest_hex(digest, DEF_ID_SIZE, hex);
    put_member(buf, name);
    buf_json_str(buf, slice_str(hex));
    buf_fini(&canonical);
}

// ---- Sagas

static void put_number(struct buf *buf, const char *name, int64_t value)
{
    put_member(buf, name);
    buf_i64(buf, value);
}

static void put_text(struct buf *buf, const char *name, const char *text)
{
    if (text == NULL)
        return;
    put_member(buf, name);
    buf_json_str(buf, slice_str(text));
}

static void put_bool(struct buf *buf, const char *name, bool value)
{
    put_member(buf, name);
    buf_str(buf, value ? "true" : "false");
}

static void put_action(struct buf *buf, const struct config_action *action)
{
    put_member(buf, "action");
    buf_byte(buf, '{');
    put_bool(buf, "inline", action->run_inline);
    put_text(buf, "intensive", action->intensive);
    put_text(buf, "kind", action->kind == ACTION_PLUGIN ? "plugin" : "exec");
    put_text(buf, "name", action->name);
    put_fingerprint(buf, "params", action->params_avsc);
    put_fingerprint(buf, "result", action->result_avsc);
    put_text(buf, "version", action->version);
    buf_byte(buf, '}');
}

static void put_retry(struct buf *buf, const struct retry_policy *retry)
{
    put_member(buf, "retry");
    buf_byte(buf, '{');
    put_number(buf, "attempts", retry->attempts);
    put_number(buf, "backoff_max_ms", retry->backoff_max_ms);
    put_number(buf, "backoff_ms", retry->backoff_ms);
    buf_byte(buf, '}');
}

static void put_step(struct buf *buf, const struct config_step *step)
{
    buf_byte(buf, '{');
    put_action(buf, step->action);
    if (step->collect)
        put_bool(buf, "collect", true);
    if (step->compensate != NULL) {
        put_member(buf, "compensate");
        buf_byte(buf, '{');
        put_action(buf, step->compensate);
        put_text(buf, "input", step->compensate_input);
        put_retry(buf, &step->compensate_retry);
        put_number(buf, "timeout_ms", step->compensate_timeout_ms);
        buf_byte(buf, '}');
    }
    put_text(buf, "dataclass", step->dataclass);
    put_text(buf, "gather", step->gather);
    put_text(buf, "group", step->group);
    put_text(buf, "input", step->input);
    put_text(buf, "items", step->items);
    put_text(buf, "name", step->name);
    put_bool(buf, "optional", step->optional);
    put_bool(buf, "pivot", step->pivot);
    put_text(buf, "region", step->region);
    put_retry(buf, &step->retry);
    put_number(buf, "timeout_ms", step->timeout_ms);
    put_text(buf, "when", step->when);
    buf_byte(buf, '}');
}

struct slice conf_saga_json(struct conf *conf, const struct config_saga *saga)
{
    static const char *const histories[] = {"all", "steps", "ends"};
    struct buf buf = {0};
    buf_byte(&buf, '{');
    put_number(&buf, "deadline_ms", saga->deadline_ms);
    put_number(&buf, "dedupe_window_ms", saga->dedupe_window_ms);
    put_number(&buf, "format", 1);
    put_text(&buf, "history", histories[saga->history]);
    put_text(&buf, "name", saga->name);
    put_text(&buf, "pattern", saga->pattern);
    put_member(&buf, "steps");
    buf_byte(&buf, '[');
    for (size_t i = 0; i < saga->step_count; i++) {
        if (i > 0)
            buf_byte(&buf, ',');
        put_step(&buf, &saga->steps[i]);
    }
    buf_byte(&buf, ']');
    put_number(&buf, "version", saga->version);
    buf_byte(&buf, '}');
    return take(conf, &buf);
}
