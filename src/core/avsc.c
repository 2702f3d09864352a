// SPDX-License-Identifier: Apache-2.0
// Recursion follows the nesting of the text, which json_validate bounds. Named types are known
// from their opening on, so a record may contain itself.
#include "core/avsc.h"

#include "core/assert.h"
#include "core/json.h"

#include <stdio.h>

struct parser {
    struct arena *arena;
    struct err_text *text;
    struct schema *named[SCHEMA_NAMED_MAX];
    size_t named_count;
    struct slice namespace; // of the enclosing type
    const char *place;      // "shop.Order.items"
};

static const struct {
    const char *name;
    enum schema_type type;
} primitives[] = {{"null", SCHEMA_NULL},   {"boolean", SCHEMA_BOOLEAN}, {"int", SCHEMA_INT},
                  {"long", SCHEMA_LONG},   {"float", SCHEMA_FLOAT},     {"double", SCHEMA_DOUBLE},
                  {"bytes", SCHEMA_BYTES}, {"string", SCHEMA_STRING}};
enum { PRIMITIVES = sizeof primitives / sizeof primitives[0] };

static enum ka_err parse_type(struct parser *parser, struct slice value, const struct schema **out);

static enum ka_err fail(const struct parser *parser, const char *reason, struct slice name)
{
    if (slice_none(name))
        return err_set(parser->text, KA_ERR_AVRO, "%s: %s", parser->place, reason);
    return err_set(parser->text, KA_ERR_AVRO, "%s: %s '%.*s'", parser->place, reason,
                   SLICE_FMT(name));
}

static struct schema *new_schema(struct parser *parser, enum schema_type type)
{
    struct schema *schema = arena_zalloc(parser->arena, sizeof *schema);
    schema->type = type;
    return schema;
}

// The text of a string attribute; SLICE_NONE if it is missing or no string.
static struct slice attribute(const struct parser *parser, struct slice object, const char *name)
{
    struct slice value = json_member(object, slice_str(name));
    if (slice_none(value) || json_type(value) != JSON_STRING)
        return SLICE_NONE;
    return json_text(value, parser->arena);
}

// [A-Za-z_][A-Za-z0-9_]*, with dots between such names where `dotted`.
static bool is_name(struct slice name, bool dotted)
{
    bool start = true;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        bool digit = c >= '0' && c <= '9';
        if (dotted && c == '.' && !start) {
            start = true;
            continue;
        }
        if (!letter && (!digit || start))
            return false;
        start = false;
    }
    return !start;
}

static const char *join(struct arena *arena, struct slice left, struct slice right)
{
    char *joined = arena_alloc(arena, left.len + right.len + 2);
    size_t len = left.len;
    if (len > 0) {
        memcpy(joined, left.ptr, len);
        joined[len++] = '.';
    }
    memcpy(joined + len, right.ptr, right.len);
    joined[len + right.len] = '\0';
    return joined;
}

static struct slice namespace_of(const char *full)
{
    const char *dot = strrchr(full, '.');
    return dot == NULL ? SLICE_LIT("") : slice_of(full, (size_t)(dot - full));
}

static struct schema *find_named(const struct parser *parser, struct slice full)
{
    for (size_t i = 0; i < parser->named_count; i++)
        if (slice_eq(slice_str(parser->named[i]->name), full))
            return parser->named[i];
    return NULL;
}

static const struct schema *find_primitive(struct parser *parser, struct slice name)
{
    for (size_t i = 0; i < PRIMITIVES; i++)
        if (slice_eq(name, slice_str(primitives[i].name)))
            return new_schema(parser, primitives[i].type);
    return NULL;
}

// A primitive, or a name that was defined before: full, or in the enclosing namespace.
static enum ka_err parse_reference(struct parser *parser, struct slice name,
                                   const struct schema **out)
{
    *out = find_primitive(parser, name);
    if (*out == NULL && memchr(name.ptr, '.', name.len) == NULL)
        *out = find_named(parser, slice_str(join(parser->arena, parser->namespace, name)));
    if (*out == NULL)
        *out = find_named(parser, name);
    return *out == NULL ? fail(parser, "unknown type", name) : KA_OK;
}

// Gives the schema its full name and makes it known under it.
static enum ka_err name_schema(struct parser *parser, struct slice object, struct schema *schema)
{
    struct slice name = attribute(parser, object, "name");
    struct slice space = attribute(parser, object, "namespace");
    if (slice_none(name))
        return fail(parser, "a record, enum or fixed needs a name", SLICE_NONE);
    if (!is_name(name, true))
        return fail(parser, "not a name:", name);
    if (!slice_none(space) && space.len > 0 && !is_name(space, true))
        return fail(parser, "not a namespace:", space);
    if (memchr(name.ptr, '.', name.len) != NULL)
        schema->name = arena_str(parser->arena, name);
    else
        schema->name = join(parser->arena, slice_none(space) ? parser->namespace : space, name);
    if (find_primitive(parser, slice_str(schema->name)) != NULL)
        return fail(parser, "the name of a primitive type cannot be defined:", name);
    if (find_named(parser, slice_str(schema->name)) != NULL)
        return fail(parser, "defined twice:", slice_str(schema->name));
    if (parser->named_count == SCHEMA_NAMED_MAX)
        return fail(parser, "too many named types, from", name);
    parser->named[parser->named_count++] = schema;
    return KA_OK;
}

static size_t count_elements(struct slice array)
{
    struct json_walk walk = json_walk(array);
    struct slice name;
    struct slice value;
    size_t count = 0;
    while (json_next(&walk, &name, &value))
        count++;
    return count;
}

// The elements of an array attribute; an error if it is no array.
static enum ka_err list(const struct parser *parser, struct slice object, const char *name,
                        struct slice *out)
{
    *out = json_member(object, slice_str(name));
    if (slice_none(*out) || json_type(*out) != JSON_ARRAY)
        return fail(parser, "needs an array of", slice_str(name));
    return KA_OK;
}

static enum ka_err parse_symbols(struct parser *parser, struct slice object, struct schema *schema)
{
    struct slice symbols;
    enum ka_err err = list(parser, object, "symbols", &symbols);
    if (err != KA_OK)
        return err;
    size_t count = count_elements(symbols);
    const char **names = arena_zalloc(parser->arena, count * sizeof *names);
    struct json_walk walk = json_walk(symbols);
    struct slice none;
    struct slice value;
    while (json_next(&walk, &none, &value)) {
        if (json_type(value) != JSON_STRING)
            return fail(parser, "a symbol must be a string", SLICE_NONE);
        struct slice symbol = json_text(value, parser->arena);
        if (!is_name(symbol, false))
            return fail(parser, "not a symbol:", symbol);
        for (size_t i = 0; i < schema->symbol_count; i++)
            if (slice_eq(symbol, slice_str(names[i])))
                return fail(parser, "symbol twice:", symbol);
        names[schema->symbol_count++] = arena_str(parser->arena, symbol);
    }
    schema->symbols = names;
    struct slice fallback = attribute(parser, object, "default");
    for (size_t i = 0; !slice_none(fallback) && i < count; i++)
        if (slice_eq(fallback, slice_str(names[i])))
            fallback = SLICE_NONE;
    if (!slice_none(fallback))
        return fail(parser, "the default is no symbol:", fallback);
    return count == 0 ? fail(parser, "an enum needs a symbol", SLICE_NONE) : KA_OK;
}

static enum ka_err parse_size(const struct parser *parser, struct slice object,
                              struct schema *schema)
{
    int64_t size;
    struct slice value = json_member(object, SLICE_LIT("size"));
    if (slice_none(value) || !json_i64(value, &size) || size < 0 || size > INT32_MAX)
        return fail(parser, "a fixed needs a size of 0 to 2147483647", SLICE_NONE);
    schema->fixed_size = (size_t)size;
    return KA_OK;
}

static enum ka_err parse_field(struct parser *parser, struct slice value, struct schema *record,
                               struct schema_field *fields)
{
    if (json_type(value) != JSON_OBJECT)
        return fail(parser, "a field must be an object", SLICE_NONE);
    struct slice name = attribute(parser, value, "name");
    struct slice type = json_member(value, SLICE_LIT("type"));
    if (slice_none(name) || !is_name(name, false))
        return fail(parser, "not the name of a field:", slice_none(name) ? SLICE_LIT("") : name);
    for (size_t i = 0; i < record->field_count; i++)
        if (slice_eq(name, slice_str(fields[i].name)))
            return fail(parser, "field twice:", name);
    if (slice_none(type))
        return fail(parser, "no type of field", name);
    struct schema_field *field = &fields[record->field_count++];
    field->name = arena_str(parser->arena, name);
    field->default_value = json_member(value, SLICE_LIT("default"));
    field->has_default = !slice_none(field->default_value);
    const char *outer = parser->place;
    parser->place = join(parser->arena, slice_str(record->name), name);
    enum ka_err err = parse_type(parser, type, &field->type);
    parser->place = outer;
    return err;
}

static enum ka_err parse_fields(struct parser *parser, struct slice object, struct schema *record)
{
    struct slice list_of_fields;
    enum ka_err err = list(parser, object, "fields", &list_of_fields);
    if (err != KA_OK)
        return err;
    size_t count = count_elements(list_of_fields);
    if (count > SCHEMA_FIELDS_MAX)
        return fail(parser, "a record has 256 fields at most", SLICE_NONE);
    struct schema_field *fields = arena_zalloc(parser->arena, count * sizeof *fields);
    record->fields = fields;
    struct json_walk walk = json_walk(list_of_fields);
    struct slice none;
    struct slice value;
    while (err == KA_OK && json_next(&walk, &none, &value))
        err = parse_field(parser, value, record, fields);
    return err;
}

static enum ka_err parse_named(struct parser *parser, struct slice object, enum schema_type type,
                               const struct schema **out)
{
    struct schema *schema = new_schema(parser, type);
    *out = schema;
    enum ka_err err = name_schema(parser, object, schema);
    if (err != KA_OK)
        return err;
    struct slice outer_namespace = parser->namespace;
    const char *outer_place = parser->place;
    parser->namespace = namespace_of(schema->name);
    parser->place = schema->name;
    if (type == SCHEMA_RECORD)
        err = parse_fields(parser, object, schema);
    else if (type == SCHEMA_ENUM)
        err = parse_symbols(parser, object, schema);
    else
        err = parse_size(parser, object, schema);
    parser->namespace = outer_namespace;
    parser->place = outer_place;
    return err;
}

static enum ka_err parse_container(struct parser *parser, struct slice object,
                                   enum schema_type type, const struct schema **out)
{
    const char *name = type == SCHEMA_ARRAY ? "items" : "values";
    struct slice value = json_member(object, slice_str(name));
    if (slice_none(value))
        return fail(parser, "no type of", slice_str(name));
    struct schema *schema = new_schema(parser, type);
    *out = schema;
    return parse_type(parser, value, &schema->element);
}

// Avro allows one branch of each type, but for named types, which are told apart by name.
static enum ka_err check_branch(const struct parser *parser, const struct schema *schema,
                                const struct schema *branch, const struct schema *const *branches)
{
    if (branch->type == SCHEMA_UNION)
        return fail(parser, "a union directly in a union", SLICE_NONE);
    for (size_t i = 0; i < schema->branch_count; i++)
        if (branch->name == NULL ? branches[i]->type == branch->type : branches[i] == branch)
            return fail(parser, "a type twice in a union", SLICE_NONE);
    return KA_OK;
}

static enum ka_err parse_union(struct parser *parser, struct slice array, const struct schema **out)
{
    struct schema *schema = new_schema(parser, SCHEMA_UNION);
    size_t count = count_elements(array);
    if (count == 0 || count > SCHEMA_FIELDS_MAX)
        return fail(parser, "a union has 1 to 256 branches", SLICE_NONE);
    const struct schema **branches = arena_zalloc(parser->arena, count * sizeof *branches);
    schema->branches = branches;
    *out = schema;
    struct json_walk walk = json_walk(array);
    struct slice none;
    struct slice value;
    while (json_next(&walk, &none, &value)) {
        const struct schema *branch = NULL;
        enum ka_err err = parse_type(parser, value, &branch);
        if (err == KA_OK)
            err = check_branch(parser, schema, branch, branches);
        if (err != KA_OK)
            return err;
        branches[schema->branch_count++] = branch;
    }
    return KA_OK;
}

static enum ka_err parse_object(struct parser *parser, struct slice object,
                                const struct schema **out)
{
    static const struct {
        const char *name;
        enum schema_type type;
    } complex[] = {{"record", SCHEMA_RECORD}, {"error", SCHEMA_RECORD}, {"enum", SCHEMA_ENUM},
                   {"fixed", SCHEMA_FIXED},   {"array", SCHEMA_ARRAY},  {"map", SCHEMA_MAP}};
    struct slice type = attribute(parser, object, "type");
    if (slice_none(type))
        return fail(parser, "\"type\" must be a string", SLICE_NONE);
    for (size_t i = 0; i < sizeof complex / sizeof complex[0]; i++) {
        if (!slice_eq(type, slice_str(complex[i].name)))
            continue;
        if (complex[i].type == SCHEMA_ARRAY || complex[i].type == SCHEMA_MAP)
            return parse_container(parser, object, complex[i].type, out);
        return parse_named(parser, object, complex[i].type, out);
    }
    return parse_reference(parser, type, out);
}

static enum ka_err parse_type(struct parser *parser, struct slice value, const struct schema **out)
{
    switch (json_type(value)) {
    case JSON_STRING:
        return parse_reference(parser, json_text(value, parser->arena), out);
    case JSON_ARRAY:
        return parse_union(parser, value, out);
    case JSON_OBJECT:
        return parse_object(parser, value, out);
    case JSON_NULL:
    case JSON_FALSE:
    case JSON_TRUE:
    case JSON_NUMBER:
        break;
    }
    return fail(parser, "a type must be a string, an object or an array", SLICE_NONE);
}

// When all types are complete: each default against its type.
static enum ka_err check_defaults(struct parser *parser)
{
    for (size_t i = 0; i < parser->named_count; i++) {
        const struct schema *record = parser->named[i];
        for (size_t j = 0; j < record->field_count; j++) {
            const struct schema_field *field = &record->fields[j];
            const struct schema *type = field->type;
            if (!field->has_default)
                continue;
            if (type->type == SCHEMA_UNION)
                type = type->branches[0];
            if (schema_check(type, field->default_value, false, parser->text) != KA_OK)
                return err_wrap(parser->text, KA_ERR_AVRO, "%s.%s: the default does not fit",
                                record->name, field->name);
        }
    }
    return KA_OK;
}

enum ka_err avsc_parse(struct slice source, struct arena *arena, const struct schema **out,
                       struct err_text *text)
{
    struct parser parser = {.arena = arena, .text = text, .place = "schema"};
    parser.namespace = SLICE_LIT("");
    *out = NULL;
    enum ka_err err = json_validate(source, text);
    if (err != KA_OK)
        return err;
    const struct schema *schema = NULL;
    err = parse_type(&parser, json_trim(arena_copy(arena, source)), &schema);
    if (err == KA_OK)
        err = check_defaults(&parser);
    if (err == KA_OK)
        *out = schema;
    return err;
}

// --- Parsing Canonical Form ----------------------------------------------------------------------

struct writer {
    struct buf *buf;
    const struct schema *written[SCHEMA_NAMED_MAX]; // named types that stand there in full
    size_t written_count;
};

static void write_type(struct writer *writer, const struct schema *schema);

static void write_fields(struct writer *writer, const struct schema *schema)
{
    buf_str(writer->buf, ",\"type\":\"record\",\"fields\":[");
    for (size_t i = 0; i < schema->field_count; i++) {
        buf_str(writer->buf, i == 0 ? "{\"name\":" : ",{\"name\":");
        buf_json_str(writer->buf, slice_str(schema->fields[i].name));
        buf_str(writer->buf, ",\"type\":");
        write_type(writer, schema->fields[i].type);
        buf_byte(writer->buf, '}');
    }
    buf_str(writer->buf, "]}");
}

static void write_symbols(struct buf *buf, const struct schema *schema)
{
    buf_str(buf, ",\"type\":\"enum\",\"symbols\":[");
    for (size_t i = 0; i < schema->symbol_count; i++) {
        if (i > 0)
            buf_byte(buf, ',');
        buf_json_str(buf, slice_str(schema->symbols[i]));
    }
    buf_str(buf, "]}");
}

// In full the first time, then by full name.
static void write_named(struct writer *writer, const struct schema *schema)
{
    struct buf *buf = writer->buf;
    for (size_t i = 0; i < writer->written_count; i++) {
        if (writer->written[i] == schema) {
            buf_json_str(buf, slice_str(schema->name));
            return;
        }
    }
    KA_ASSERT(writer->written_count < SCHEMA_NAMED_MAX);
    writer->written[writer->written_count++] = schema;
    buf_str(buf, "{\"name\":");
    buf_json_str(buf, slice_str(schema->name));
    if (schema->type == SCHEMA_RECORD) {
        write_fields(writer, schema);
    } else if (schema->type == SCHEMA_ENUM) {
        write_symbols(buf, schema);
    } else {
        buf_str(buf, ",\"type\":\"fixed\",\"size\":");
        buf_i64(buf, (int64_t)schema->fixed_size);
        buf_byte(buf, '}');
    }
}

static void write_union(struct writer *writer, const struct schema *schema)
{
    buf_byte(writer->buf, '[');
    for (size_t i = 0; i < schema->branch_count; i++) {
        if (i > 0)
            buf_byte(writer->buf, ',');
        write_type(writer, schema->branches[i]);
    }
    buf_byte(writer->buf, ']');
}

static void write_type(struct writer *writer, const struct schema *schema)
{
    struct buf *buf = writer->buf;
    for (size_t i = 0; i < PRIMITIVES; i++)
        if (schema->type == primitives[i].type)
            buf_json_str(buf, slice_str(primitives[i].name));
    if (schema->name != NULL)
        write_named(writer, schema);
    if (schema->type == SCHEMA_UNION)
        write_union(writer, schema);
    if (schema->type == SCHEMA_ARRAY || schema->type == SCHEMA_MAP) {
        buf_str(buf, schema->type == SCHEMA_ARRAY ? "{\"type\":\"array\",\"items\":"
                                                  : "{\"type\":\"map\",\"values\":");
        write_type(writer, schema->element);
        buf_byte(buf, '}');
    }
}

void avsc_canonical(const struct schema *schema, struct buf *buf)
{
    struct writer writer = {.buf = buf};
    write_type(&writer, schema);
}
