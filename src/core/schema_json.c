// SPDX-License-Identifier: Apache-2.0
// The JSON Schema (draft 2020-12) of an Avro schema. The root stands in the open, because tools
// want to see "type": "object" there; every other record is a definition that is referred to, so
// that recursion ends.
#include "core/assert.h"
#include "core/schema.h"

struct records {
    const struct schema *root;
    const struct schema *list[SCHEMA_NAMED_MAX];
    size_t count;
};

static void put_type(struct buf *buf, const struct schema *schema, const struct records *records);

static bool known(const struct records *records, const struct schema *schema)
{
    for (size_t i = 0; i < records->count; i++)
        if (records->list[i] == schema)
            return true;
    return schema == records->root;
}

// Lists the records below `schema`, each once. Recursion is bounded by the number of records and
// the nesting of the schema's text.
static void collect(struct records *records, const struct schema *schema)
{
    if (schema->type == SCHEMA_RECORD && schema != records->root) {
        if (known(records, schema))
            return;
        KA_ASSERT(records->count < SCHEMA_NAMED_MAX);
        records->list[records->count++] = schema;
    }
    if (schema->element != NULL && schema->element != records->root)
        collect(records, schema->element);
    for (size_t i = 0; i < schema->field_count; i++)
        if (schema->fields[i].type != records->root)
            collect(records, schema->fields[i].type);
    for (size_t i = 0; i < schema->branch_count; i++)
        if (schema->branches[i] != records->root)
            collect(records, schema->branches[i]);
}

static void put_enum(struct buf *buf, const struct schema *schema)
{
    buf_str(buf, "{\"type\":\"string\",\"enum\":[");
    for (size_t i = 0; i < schema->symbol_count; i++) {
        if (i > 0)
            buf_byte(buf, ',');
        buf_json_str(buf, slice_str(schema->symbols[i]));
    }
    buf_str(buf, "]}");
}

static void put_fixed(struct buf *buf, const struct schema *schema)
{
    buf_str(buf, "{\"type\":\"string\",\"pattern\":\"^[\\u0000-\\u00ff]*$\",\"minLength\":");
    buf_i64(buf, (int64_t)schema->fixed_size);
    buf_str(buf, ",\"maxLength\":");
    buf_i64(buf, (int64_t)schema->fixed_size);
    buf_byte(buf, '}');
}

static void put_union(struct buf *buf, const struct schema *schema, const struct records *records)
{
    buf_str(buf, "{\"anyOf\":[");
    for (size_t i = 0; i < schema->branch_count; i++) {
        if (i > 0)
            buf_byte(buf, ',');
        put_type(buf, schema->branches[i], records);
    }
    buf_str(buf, "]}");
}

// The members of a record's schema without the braces.
static void put_record(struct buf *buf, const struct schema *schema, const struct records *records)
{
    buf_str(buf, "\"title\":");
    buf_json_str(buf, slice_str(schema->name == NULL ? "" : schema->name));
    buf_str(buf, ",\"type\":\"object\",\"properties\":{");
    for (size_t i = 0; i < schema->field_count; i++) {
        if (i > 0)
            buf_byte(buf, ',');
        buf_json_str(buf, slice_str(schema->fields[i].name));
        buf_byte(buf, ':');
        put_type(buf, schema->fields[i].type, records);
    }
    buf_str(buf, "},\"required\":[");
    bool first = true;
    for (size_t i = 0; i < schema->field_count; i++) {
        if (schema->fields[i].has_default)
            continue;
        if (!first)
            buf_byte(buf, ',');
        first = false;
        buf_json_str(buf, slice_str(schema->fields[i].name));
    }
    buf_byte(buf, ']');
}

static void put_reference(struct buf *buf, const struct schema *schema,
                          const struct records *records)
{
    buf_str(buf, schema == records->root ? "{\"$ref\":\"#" : "{\"$ref\":\"#/$defs/");
    if (schema != records->root)
        buf_str(buf, schema->name);
    buf_str(buf, "\"}");
}

static void put_type(struct buf *buf, const struct schema *schema, const struct records *records)
{
    switch (schema->type) {
    case SCHEMA_NULL:
        buf_str(buf, "{\"type\":\"null\"}");
        return;
    case SCHEMA_BOOLEAN:
        buf_str(buf, "{\"type\":\"boolean\"}");
        return;
    case SCHEMA_INT:
        buf_str(buf, "{\"type\":\"integer\",\"minimum\":-2147483648,\"maximum\":2147483647}");
        return;
    case SCHEMA_LONG:
        buf_str(buf, "{\"type\":\"integer\",\"minimum\":-9223372036854775808,"
                     "\"maximum\":9223372036854775807}");
        return;
    case SCHEMA_FLOAT:
    case SCHEMA_DOUBLE:
        buf_str(buf, "{\"type\":\"number\"}");
        return;
    case SCHEMA_BYTES:
        buf_str(buf, "{\"type\":\"string\",\"pattern\":\"^[\\u0000-\\u00ff]*$\"}");
        return;
    case SCHEMA_STRING:
        buf_str(buf, "{\"type\":\"string\"}");
        return;
    case SCHEMA_FIXED:
        put_fixed(buf, schema);
        return;
    case SCHEMA_ENUM:
        put_enum(buf, schema);
        return;
    case SCHEMA_ARRAY:
    case SCHEMA_MAP:
        buf_str(buf, schema->type == SCHEMA_ARRAY
                         ? "{\"type\":\"array\",\"items\":"
                         : "{\"type\":\"object\",\"additionalProperties\":");
        put_type(buf, schema->element, records);
        buf_byte(buf, '}');
        return;
    case SCHEMA_RECORD:
        put_reference(buf, schema, records);
        return;
    case SCHEMA_UNION:
        put_union(buf, schema, records);
        return;
    }
}

void schema_json_schema(const struct schema *schema, struct buf *buf)
{
    struct records records = {.root = schema};
    collect(&records, schema);
    buf_str(buf, "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",");
    if (schema->type == SCHEMA_RECORD) {
        put_record(buf, schema, &records);
    } else {
        struct buf type = {0};
        put_type(&type, schema, &records);
        buf_put(buf, type.ptr + 1, type.len - 2); // its members, without the braces
        buf_fini(&type);
    }
    for (size_t i = 0; i < records.count; i++) {
        buf_str(buf, i == 0 ? ",\"$defs\":{" : ",");
        buf_json_str(buf, slice_str(records.list[i]->name));
        buf_str(buf, ":{");
        put_record(buf, records.list[i], &records);
        buf_byte(buf, '}');
    }
    buf_str(buf, records.count > 0 ? "}}" : "}");
}
