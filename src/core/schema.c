// SPDX-License-Identifier: Apache-2.0
// Checks JSON against an Avro schema by walking both. Error texts name places and types, never
// values: they end in logs and histories. Recursion follows the document, whose depth
// json_validate has bounded (JSON_DEPTH_MAX); unions within unions do not exist in Avro.
#include "core/schema.h"

#include "core/assert.h"
#include "core/json.h"

#include <math.h>
#include <stdio.h>

enum {
    // Checks allowed per byte of the document. Without unions a value is checked once; a recursive
    // schema with branches that look alike could otherwise take 2^depth.
    CHECKS_PER_BYTE = 64,
    CHECKS_MIN = 4096,
    NAME_SHOWN = 64 // bytes of a member name in an error text
};

// Where a value stands: a chain on the stack, rendered only for an error.
struct place {
    const struct place *outer;
    struct slice name; // SLICE_NONE: an element
    size_t index;
};

struct check {
    struct err_text *text; // NULL while the branches of a union are tried
    size_t left;           // checks that may still be made
    bool closed;
};

static enum ka_err check_value(struct check *check, const struct schema *schema, struct slice value,
                               const struct place *place);

static size_t render(const struct place *place, char *out, size_t room)
{
    if (place->outer == NULL)
        return 0;
    size_t len = render(place->outer, out, room);
    int more;
    if (slice_none(place->name))
        more = snprintf(out + len, room - len, "[%zu]", place->index);
    else
        more = snprintf(out + len, room - len, "%s%.*s", len == 0 ? "" : ".",
                        (int)(place->name.len > NAME_SHOWN ? NAME_SHOWN : place->name.len),
                        place->name.ptr);
    len += (size_t)more;
    return len < room ? len : room - 1;
}

// "field a.b[2]: expected long, found string"
static enum ka_err refuse(const struct check *check, const struct place *place, const char *reason,
                          const char *detail)
{
    char path[256];
    if (check->text == NULL)
        return KA_ERR_SCHEMA;
    size_t len = render(place, path, sizeof path);
    return err_set(check->text, KA_ERR_SCHEMA, "%s%.*s: %s%s", len == 0 ? "value" : "field ",
                   (int)len, path, reason, detail);
}

static const char *found_name(struct slice value)
{
    static const char *const names[] = {
        [JSON_NULL] = "null",     [JSON_FALSE] = "boolean", [JSON_TRUE] = "boolean",
        [JSON_NUMBER] = "number", [JSON_STRING] = "string", [JSON_ARRAY] = "array",
        [JSON_OBJECT] = "object"};
    return names[json_type(value)];
}

static const char *type_name(enum schema_type type)
{
    static const char *const names[] = {"null",   "boolean", "int",    "long",  "float",
                                        "double", "bytes",   "string", "fixed", "enum",
                                        "array",  "map",     "record", "union"};
    return names[type];
}

static enum ka_err mismatch(const struct check *check, const struct schema *schema,
                            const char *found, const struct place *place)
{
    char reason[160];
    if (check->text == NULL)
        return KA_ERR_SCHEMA;
    const char *name = schema->name == NULL ? "" : schema->name;
    (void)snprintf(reason, sizeof reason, "expected %s%s%.64s, found ", type_name(schema->type),
                   *name == '\0' ? "" : " ", name);
    return refuse(check, place, reason, found);
}

static enum ka_err check_integer(const struct check *check, const struct schema *schema,
                                 struct slice value, const struct place *place)
{
    int64_t number;
    double any;
    if (json_type(value) != JSON_NUMBER)
        return mismatch(check, schema, found_name(value), place);
    if (json_i64(value, &number) &&
        (schema->type == SCHEMA_LONG || (number >= INT32_MIN && number <= INT32_MAX)))
        return KA_OK;
    bool fraction = json_f64(value, &any) && floor(any) != any;
    return mismatch(check, schema, fraction ? "a fraction" : "a number out of its range", place);
}

static enum ka_err check_real(const struct check *check, const struct schema *schema,
                              struct slice value, const struct place *place)
{
    double number;
    if (json_type(value) != JSON_NUMBER)
        return mismatch(check, schema, found_name(value), place);
    // FLT_MAX as a double; what lies above rounds to infinity.
    if (json_f64(value, &number) &&
        (schema->type == SCHEMA_DOUBLE || fabs(number) <= 3.4028234663852886e38))
        return KA_OK;
    return mismatch(check, schema, "a number out of its range", place);
}

// The number of bytes that a string of the characters U+0000 to U+00FF stands for (Avro 1.11,
// "JSON Encoding"); -1 if another character is in it.
static int64_t count_bytes(struct slice text)
{
    int64_t count = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c > 0xC3)
            return -1;
        count += (c & 0xC0) != 0x80;
    }
    return count;
}

static enum ka_err check_bytes(const struct check *check, const struct schema *schema,
                               struct slice value, const struct place *place)
{
    if (json_type(value) != JSON_STRING)
        return mismatch(check, schema, found_name(value), place);
    struct arena arena;
    arena_init(&arena);
    int64_t count = count_bytes(json_text(value, &arena));
    arena_fini(&arena);
    if (count < 0)
        return mismatch(check, schema, "a string with characters above U+00FF", place);
    if (schema->type == SCHEMA_FIXED && (size_t)count != schema->fixed_size)
        return mismatch(check, schema, "a string of another length", place);
    return KA_OK;
}

static enum ka_err check_enum(const struct check *check, const struct schema *schema,
                              struct slice value, const struct place *place)
{
    if (json_type(value) != JSON_STRING)
        return mismatch(check, schema, found_name(value), place);
    for (size_t i = 0; i < schema->symbol_count; i++)
        if (json_text_is(value, slice_str(schema->symbols[i])))
            return KA_OK;
    return mismatch(check, schema, "a string that is none of its symbols", place);
}

static enum ka_err check_elements(struct check *check, const struct schema *schema,
                                  struct slice value, const struct place *place)
{
    enum json_type wanted = schema->type == SCHEMA_ARRAY ? JSON_ARRAY : JSON_OBJECT;
    if (json_type(value) != wanted)
        return mismatch(check, schema, found_name(value), place);
    struct place inner = {.outer = place};
    struct json_walk walk = json_walk(value);
    struct slice name;
    struct slice element;
    for (; json_next(&walk, &name, &element); inner.index++) {
        inner.name = slice_none(name) ? name : slice_of(name.ptr + 1, name.len - 2);
        enum ka_err err = check_value(check, schema->element, element, &inner);
        if (err != KA_OK)
            return err;
    }
    return KA_OK;
}

// The field of this name; people write them in order, so the search begins behind the last one.
static size_t find_field(const struct schema *schema, struct slice name, size_t hint)
{
    for (size_t i = 0; i < schema->field_count; i++) {
        size_t at = hint + i < schema->field_count ? hint + i : hint + i - schema->field_count;
        if (json_text_is(name, slice_str(schema->fields[at].name)))
            return at;
    }
    return schema->field_count;
}

static enum ka_err check_missing(const struct check *check, const struct schema *schema,
                                 const uint64_t *seen, const struct place *place)
{
    for (size_t i = 0; i < schema->field_count; i++) {
        const struct schema_field *field = &schema->fields[i];
        if (field->has_default || (seen[i / 64] >> (i % 64) & 1) != 0)
            continue;
        struct place inner = {.outer = place, .name = slice_str(field->name)};
        return refuse(check, &inner, "missing", "");
    }
    return KA_OK;
}

static enum ka_err check_record(struct check *check, const struct schema *schema,
                                struct slice value, const struct place *place)
{
    uint64_t seen[SCHEMA_FIELDS_MAX / 64] = {0};
    KA_ASSERT(schema->field_count <= SCHEMA_FIELDS_MAX);
    if (json_type(value) != JSON_OBJECT)
        return mismatch(check, schema, found_name(value), place);
    struct json_walk walk = json_walk(value);
    struct slice name;
    struct slice member;
    size_t hint = 0;
    while (json_next(&walk, &name, &member)) {
        struct place inner = {.outer = place, .name = slice_of(name.ptr + 1, name.len - 2)};
        size_t at = find_field(schema, name, hint);
        if (at == schema->field_count) {
            if (check->closed)
                return refuse(check, &inner, "not in the schema", "");
            continue;
        }
        enum ka_err err = check_value(check, schema->fields[at].type, member, &inner);
        if (err != KA_OK)
            return err;
        seen[at / 64] |= UINT64_C(1) << (at % 64);
        hint = at + 1;
    }
    return check_missing(check, schema, seen, place);
}

static bool fits_kind(const struct schema *schema, enum json_type type)
{
    switch (schema->type) {
    case SCHEMA_NULL:
        return type == JSON_NULL;
    case SCHEMA_BOOLEAN:
        return type == JSON_TRUE || type == JSON_FALSE;
    case SCHEMA_INT:
    case SCHEMA_LONG:
    case SCHEMA_FLOAT:
    case SCHEMA_DOUBLE:
        return type == JSON_NUMBER;
    case SCHEMA_BYTES:
    case SCHEMA_STRING:
    case SCHEMA_FIXED:
    case SCHEMA_ENUM:
        return type == JSON_STRING;
    case SCHEMA_ARRAY:
        return type == JSON_ARRAY;
    case SCHEMA_MAP:
    case SCHEMA_RECORD:
        return type == JSON_OBJECT;
    case SCHEMA_UNION:
        return true;
    }
    return false;
}

static enum ka_err no_branch(const struct check *check, const struct schema *schema,
                             struct slice value, const struct place *place)
{
    char reason[400];
    size_t len = 0;
    if (check->text == NULL)
        return KA_ERR_SCHEMA;
    for (size_t i = 0; i < schema->branch_count && len < sizeof reason - 80; i++) {
        const struct schema *branch = schema->branches[i];
        const char *name = branch->name == NULL ? type_name(branch->type) : branch->name;
        const char *join = i == 0 ? "expected " : i + 1 == schema->branch_count ? " or " : ", ";
        len += (size_t)snprintf(reason + len, sizeof reason - len, "%s%.64s", join, name);
    }
    (void)snprintf(reason + len, sizeof reason - len, ", found ");
    return refuse(check, place, reason, found_name(value));
}

// The branch that a value is meant for is the one of its JSON type; if there is exactly one of
// those, its own error says more than that no branch fits.
static enum ka_err check_union(struct check *check, const struct schema *schema, struct slice value,
                               const struct place *place)
{
    enum json_type type = json_type(value);
    const struct schema *meant = NULL;
    size_t candidates = 0;
    for (size_t i = 0; i < schema->branch_count; i++) {
        if (fits_kind(schema->branches[i], type)) {
            meant = schema->branches[i];
            candidates++;
        }
    }
    if (candidates == 1)
        return check_value(check, meant, value, place);
    struct err_text *text = check->text;
    enum ka_err err = KA_ERR_SCHEMA;
    check->text = NULL;
    for (size_t i = 0; err != KA_OK && i < schema->branch_count && check->left > 0; i++)
        if (fits_kind(schema->branches[i], type))
            err = check_value(check, schema->branches[i], value, place);
    check->text = text;
    return err == KA_OK ? KA_OK : no_branch(check, schema, value, place);
}

static enum ka_err check_value(struct check *check, const struct schema *schema, struct slice value,
                               const struct place *place)
{
    if (check->left == 0)
        return refuse(check, place, "too many branches of unions look like this value", "");
    check->left--;
    switch (schema->type) {
    case SCHEMA_NULL:
    case SCHEMA_BOOLEAN:
    case SCHEMA_STRING:
        return fits_kind(schema, json_type(value))
                   ? KA_OK
                   : mismatch(check, schema, found_name(value), place);
    case SCHEMA_INT:
    case SCHEMA_LONG:
        return check_integer(check, schema, value, place);
    case SCHEMA_FLOAT:
    case SCHEMA_DOUBLE:
        return check_real(check, schema, value, place);
    case SCHEMA_BYTES:
    case SCHEMA_FIXED:
        return check_bytes(check, schema, value, place);
    case SCHEMA_ENUM:
        return check_enum(check, schema, value, place);
    case SCHEMA_ARRAY:
    case SCHEMA_MAP:
        return check_elements(check, schema, value, place);
    case SCHEMA_RECORD:
        return check_record(check, schema, value, place);
    case SCHEMA_UNION:
        return check_union(check, schema, value, place);
    }
    return KA_ERR_SCHEMA;
}

enum ka_err schema_check(const struct schema *schema, struct slice value, bool closed,
                         struct err_text *text)
{
    KA_ASSERT(schema != NULL);
    struct slice trimmed = json_trim(value);
    size_t checks = CHECKS_MIN + CHECKS_PER_BYTE * trimmed.len;
    struct check check = {.text = text, .left = checks, .closed = closed};
    struct place root = {.outer = NULL};
    return check_value(&check, schema, trimmed, &root);
}
