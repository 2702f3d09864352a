// SPDX-License-Identifier: Apache-2.0
#include "pcf.h"

#include "core/hash.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static bool primitive(const char *name)
{
    static const char *const names[] = {"null",  "boolean", "int",   "long",
                                        "float", "double",  "bytes", "string"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static void put_name(struct buf *out, const char *space, const char *name)
{
    buf_byte(out, '"');
    if (space[0] != '\0' && strchr(name, '.') == NULL && !primitive(name)) {
        buf_str(out, space);
        buf_byte(out, '.');
    }
    buf_str(out, name);
    buf_byte(out, '"');
}

static void put_schema(struct buf *out, const json_t *schema, const char *space);

static void put_list(struct buf *out, const json_t *list, const char *space)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (i > 0)
            buf_byte(out, ',');
        put_schema(out, json_array_get(list, i), space);
    }
}

static void put_fields(struct buf *out, const json_t *fields, const char *space)
{
    buf_str(out, ",\"fields\":[");
    for (size_t i = 0; i < json_array_size(fields); i++) {
        const json_t *field = json_array_get(fields, i);
        buf_str(out, i > 0 ? ",{\"name\":" : "{\"name\":");
        put_name(out, "", json_string_value(json_object_get(field, "name")));
        buf_str(out, ",\"type\":");
        put_schema(out, json_object_get(field, "type"), space);
        buf_byte(out, '}');
    }
    buf_byte(out, ']');
}

static void put_named(struct buf *out, const json_t *schema, const char *type, const char *space)
{
    buf_str(out, "{\"name\":");
    put_name(out, space, json_string_value(json_object_get(schema, "name")));
    buf_str(out, ",\"type\":");
    put_name(out, "", type);
    if (strcmp(type, "record") == 0)
        put_fields(out, json_object_get(schema, "fields"), space);
    const json_t *symbols = json_object_get(schema, "symbols");
    if (symbols != NULL) {
        buf_str(out, ",\"symbols\":[");
        put_list(out, symbols, "");
        buf_byte(out, ']');
    }
    const json_t *size = json_object_get(schema, "size");
    if (size != NULL) {
        buf_str(out, ",\"size\":");
        buf_i64(out, json_integer_value(size));
    }
    buf_byte(out, '}');
}

static void put_object(struct buf *out, const json_t *schema, const char *space)
{
    const char *type = json_string_value(json_object_get(schema, "type"));
    const json_t *own = json_object_get(schema, "namespace");
    const char *inner = strcmp(type, "array") == 0 ? "items" : "values";
    if (json_object_get(schema, "name") != NULL) {
        put_named(out, schema, type, own != NULL ? json_string_value(own) : space);
    } else if (json_object_get(schema, inner) == NULL) { // {"type": "string"}
        put_name(out, space, type);
    } else {
        buf_str(out, "{\"type\":");
        put_name(out, "", type);
        buf_str(out, strcmp(type, "array") == 0 ? ",\"items\":" : ",\"values\":");
        put_schema(out, json_object_get(schema, inner), space);
        buf_byte(out, '}');
    }
}

static void put_schema(struct buf *out, const json_t *schema, const char *space)
{
    if (json_is_string(schema)) {
        put_name(out, space, json_string_value(schema));
    } else if (json_is_array(schema)) {
        buf_byte(out, '[');
        put_list(out, schema, space);
        buf_byte(out, ']');
    } else if (json_is_string(json_object_get(schema, "type"))) {
        put_object(out, schema, space);
    } else {
        put_schema(out, json_object_get(schema, "type"), space);
    }
}

bool pcf_read(const char *path, struct buf *canonical)
{
    json_error_t error;
    json_t *schema = json_load_file(path, 0, &error);
    if (schema == NULL) {
        fprintf(stderr, "%s:%d: %s\n", path, error.line, error.text);
        return false;
    }
    put_schema(canonical, schema, "");
    json_decref(schema);
    return true;
}

uint64_t pcf_fingerprint(const char *path)
{
    struct buf canonical = {0};
    if (!pcf_read(path, &canonical))
        abort();
    uint64_t fingerprint = hash_crc64_avro(buf_slice(&canonical));
    buf_fini(&canonical);
    return fingerprint;
}

bool pcf_documented(uint64_t fingerprint)
{
    static char page[64 * 1024];
    char hex[20];
    FILE *file = fopen("docs/formats.md", "rb");
    if (file == NULL)
        return false;
    page[fread(page, 1, sizeof page - 1, file)] = '\0';
    fclose(file);
    snprintf(hex, sizeof hex, "`%016llx`", (unsigned long long)fingerprint);
    return strstr(page, hex) != NULL;
}
