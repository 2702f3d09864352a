// SPDX-License-Identifier: Apache-2.0
// Records of inbox and state, through the published schemas and avro-c. The schema of a record is
// found by its fingerprint: CRC-64-AVRO of the schema's parsing canonical form (Avro 1.11, "Parsing
// Canonical Form for Schemas" and "Single-object encoding").
#include "checker.h"

#include <avro.h>
#include <dirent.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { SCHEMAS_MAX = 64, SINGLE_OBJECT = 10 };

struct schema {
    uint64_t fingerprint;
    avro_schema_t schema;
    avro_value_t value;
    const char *name;
};

static struct schema schemas[SCHEMAS_MAX];
static int schema_count;

struct text {
    char *bytes;
    size_t len, cap;
};

static void append(struct text *text, const char *bytes)
{
    size_t len = strlen(bytes);
    if (text->len + len + 1 > text->cap) {
        text->cap = (text->cap + len + 1) * 2;
        text->bytes = realloc(text->bytes, text->cap);
        if (text->bytes == NULL)
            abort();
    }
    memcpy(text->bytes + text->len, bytes, len + 1);
    text->len += len;
}

static bool primitive(const char *name)
{
    static const char *const names[] = {"null",  "boolean", "int",   "long",
                                        "float", "double",  "bytes", "string"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static void append_name(struct text *out, const char *name, const char *space)
{
    append(out, "\"");
    if (!primitive(name) && strchr(name, '.') == NULL && *space != '\0') {
        append(out, space);
        append(out, ".");
    }
    append(out, name);
    append(out, "\"");
}

static void canonical(const json_t *schema, const char *space, struct text *out);

static void canonical_list(const json_t *list, const char *space, struct text *out, bool names)
{
    size_t i;
    json_t *one;
    append(out, "[");
    json_array_foreach((json_t *)(uintptr_t)list, i, one)
    {
        append(out, i > 0 ? "," : "");
        if (names) {
            append(out, "\"");
            append(out, json_string_value(one));
            append(out, "\"");
        } else {
            canonical(one, space, out);
        }
    }
    append(out, "]");
}

static void canonical_fields(const json_t *fields, const char *space, struct text *out)
{
    append(out, ",\"fields\":[");
    for (size_t i = 0; i < json_array_size(fields); i++) {
        const json_t *field = json_array_get(fields, i);
        append(out, i > 0 ? ",{\"name\":\"" : "{\"name\":\"");
        append(out, json_string_value(json_object_get(field, "name")));
        append(out, "\",\"type\":");
        canonical(json_object_get(field, "type"), space, out);
        append(out, "}");
    }
    append(out, "]");
}

static void canonical_object(const json_t *schema, const char *space, struct text *out)
{
    const char *type = json_string_value(json_object_get(schema, "type"));
    const char *name = json_string_value(json_object_get(schema, "name"));
    if (type == NULL || name == NULL) {
        const json_t *items = json_object_get(schema, "items");
        const json_t *values = json_object_get(schema, "values");
        if (items == NULL && values == NULL) {
            canonical(json_object_get(schema, "type"), space, out);
            return;
        }
        append(out,
               items != NULL ? "{\"type\":\"array\",\"items\":" : "{\"type\":\"map\",\"values\":");
        canonical(items != NULL ? items : values, space, out);
        append(out, "}");
        return;
    }
    const char *own = json_string_value(json_object_get(schema, "namespace"));
    char inner[NAME_SIZE];
    snprintf(inner, sizeof inner, "%s", own != NULL ? own : space);
    const char *dot = strrchr(name, '.');
    if (dot != NULL)
        snprintf(inner, sizeof inner, "%.*s", (int)(dot - name), name);
    append(out, "{\"name\":");
    append_name(out, name, inner);
    append(out, ",\"type\":\"");
    append(out, type);
    append(out, "\"");
    if (json_object_get(schema, "fields") != NULL)
        canonical_fields(json_object_get(schema, "fields"), inner, out);
    if (json_object_get(schema, "symbols") != NULL) {
        append(out, ",\"symbols\":");
        canonical_list(json_object_get(schema, "symbols"), inner, out, true);
    }
    if (json_object_get(schema, "size") != NULL) {
        char size[40];
        snprintf(size, sizeof size, ",\"size\":%lld",
                 (long long)json_integer_value(json_object_get(schema, "size")));
        append(out, size);
    }
    append(out, "}");
}

static void canonical(const json_t *schema, const char *space, struct text *out)
{
    if (json_is_string(schema))
        append_name(out, json_string_value(schema), space);
    else if (json_is_array(schema))
        canonical_list(schema, space, out, false);
    else
        canonical_object(schema, space, out);
}

static uint64_t fingerprint_of(const char *bytes, size_t len)
{
    const uint64_t empty = 0xc15d213aa4d7a795;
    uint64_t fingerprint = empty;
    for (size_t i = 0; i < len; i++) {
        fingerprint ^= (unsigned char)bytes[i];
        for (int bit = 0; bit < 8; bit++)
            fingerprint = (fingerprint >> 1) ^ ((fingerprint & 1) != 0 ? empty : 0);
    }
    return fingerprint;
}

static void load_file(const char *path)
{
    json_t *json = json_load_file(path, 0, NULL);
    char *plain = json == NULL ? NULL : json_dumps(json, JSON_COMPACT);
    struct schema *schema = &schemas[schema_count];
    struct text text = {0};
    avro_schema_t parsed = NULL;
    if (plain == NULL || avro_schema_from_json_length(plain, strlen(plain), &parsed) != 0) {
        report_note("%s: not an Avro schema: %s", path, avro_strerror());
    } else if (is_avro_record(parsed)) {
        canonical(json, "", &text);
        schema->schema = parsed;
        schema->fingerprint = fingerprint_of(text.bytes, text.len);
        schema->name = avro_schema_name(parsed);
        avro_value_iface_t *class = avro_generic_class_from_schema(parsed);
        if (class == NULL || avro_generic_value_new(class, &schema->value) != 0)
            abort();
        schema_count++;
    }
    free(text.bytes);
    free(plain);
    json_decref(json);
}

void avro_load(const char *directory)
{
    DIR *dir = opendir(directory);
    struct dirent *entry;
    if (dir == NULL) {
        report_note("%s: no schemas: inbox and state are not looked into", directory);
        return;
    }
    while ((entry = readdir(dir)) != NULL && schema_count < SCHEMAS_MAX) {
        const char *dot = strrchr(entry->d_name, '.');
        char path[NAME_SIZE * 3];
        if (dot == NULL || strcmp(dot, ".avsc") != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        load_file(path);
    }
    closedir(dir);
}

// Decodes into the schema's value; NULL when the schema is not known or the bytes do not fit it.
static struct schema *decode(const char *bytes, size_t len)
{
    uint64_t fingerprint = 0;
    if (len < SINGLE_OBJECT || (unsigned char)bytes[0] != 0xC3 || bytes[1] != 1)
        return NULL;
    for (int i = 0; i < 8; i++)
        fingerprint |= (uint64_t)(unsigned char)bytes[2 + i] << (8 * i);
    for (int i = 0; i < schema_count; i++) {
        if (schemas[i].fingerprint != fingerprint)
            continue;
        avro_reader_t reader =
            avro_reader_memory(bytes + SINGLE_OBJECT, (int64_t)(len - SINGLE_OBJECT));
        avro_value_reset(&schemas[i].value);
        int err = avro_value_read(reader, &schemas[i].value);
        avro_reader_free(reader);
        return err == 0 ? &schemas[i] : NULL;
    }
    return NULL;
}

static bool get_long(const struct schema *schema, const char *name, int64_t *value)
{
    avro_value_t field;
    int32_t small;
    if (avro_value_get_by_name(&schema->value, name, &field, NULL) != 0)
        return false;
    if (avro_value_get_type(&field) == AVRO_INT32 && avro_value_get_int(&field, &small) == 0) {
        *value = small;
        return true;
    }
    return avro_value_get_type(&field) == AVRO_INT64 && avro_value_get_long(&field, value) == 0;
}

// The symbol of an enum, or the text of a string.
static const char *get_text(const struct schema *schema, const char *name)
{
    avro_value_t field;
    const char *text = NULL;
    size_t len;
    int number;
    if (avro_value_get_by_name(&schema->value, name, &field, NULL) != 0)
        return NULL;
    if (avro_value_get_type(&field) == AVRO_STRING)
        return avro_value_get_string(&field, &text, &len) == 0 ? text : NULL;
    if (avro_value_get_type(&field) != AVRO_ENUM || avro_value_get_enum(&field, &number) != 0)
        return NULL;
    return avro_schema_enum_get(avro_value_get_schema(&field), number);
}

bool avro_knows(const char *name)
{
    for (int i = 0; i < schema_count; i++)
        if (strcmp(schemas[i].name, name) == 0)
            return true;
    return false;
}

void avro_print(void)
{
    for (int i = 0; i < schema_count; i++)
        printf("%s=%016llx\n", schemas[i].name, (unsigned long long)schemas[i].fingerprint);
}

bool avro_command(const char *bytes, size_t len, struct command_view *view)
{
    const struct schema *schema = decode(bytes, len);
    const char *verb = schema == NULL ? NULL : get_text(schema, "verb");
    if (verb == NULL)
        return false;
    const char *cause = get_text(schema, "cause");
    view->start = strcmp(verb, "START") == 0;
    view->cause = copy_text(cause == NULL ? "" : cause, cause == NULL ? 0 : strlen(cause));
    return true;
}

void avro_state(const char *bytes, size_t len, struct subject *subject)
{
    // SagaState of schemas/saga_state.avsc, for records that give the outcome as a number.
    static const char *const states[] = {"RUNNING",   "COMPENSATING", "PAUSED",    "STUCK",
                                         "COMPLETED", "COMPENSATED",  "TERMINATED"};
    const struct schema *schema = decode(bytes, len);
    const char *name = NULL;
    int64_t outcome = -1;
    subject->state = STATE_OPAQUE;
    subject->state_incarnation = subject->state_sequence = -1;
    subject->state_name[0] = '\0';
    if (schema == NULL)
        return;
    get_long(schema, "incarnation", &subject->state_incarnation);
    if ((name = get_text(schema, "outcome")) != NULL) {
        subject->state = STATE_FINISHED;
    } else if (get_long(schema, "outcome", &outcome)) {
        subject->state = STATE_FINISHED;
        name = outcome >= 0 && outcome < 7 ? states[outcome] : "?";
    } else if ((name = get_text(schema, "state")) != NULL) {
        subject->state = STATE_LIVE;
        get_long(schema, "sequence", &subject->state_sequence);
    }
    snprintf(subject->state_name, sizeof subject->state_name, "%s", name == NULL ? "" : name);
}
