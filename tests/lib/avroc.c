// SPDX-License-Identifier: Apache-2.0
#include "avroc.h"

#include "core/avrobin.h"

#include <stdio.h>
#include <stdlib.h>

static void must(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "avro-c: %s: %s\n", what, avro_strerror());
    abort();
}

void avroc_init(struct avroc *avroc, const char *schema_path)
{
    FILE *file = fopen(schema_path, "rb");
    must(file != NULL, schema_path);
    struct buf text = {0};
    size_t got;
    while ((got = fread(buf_room(&text, 4096), 1, 4096, file)) > 0)
        text.len += got;
    fclose(file);
    must(avro_schema_from_json_length(text.ptr, text.len, &avroc->schema) == 0, schema_path);
    buf_fini(&text);
    avroc->class_ = avro_generic_class_from_schema(avroc->schema);
    must(avroc->class_ != NULL, schema_path);
}

void avroc_fini(struct avroc *avroc)
{
    avro_value_iface_decref(avroc->class_);
    avro_schema_decref(avroc->schema);
}

void avroc_decode(const struct avroc *avroc, struct slice object, avro_value_t *value)
{
    size_t len = object.len - AVROBIN_HEADER_SIZE;
    must(avro_generic_value_new(avroc->class_, value) == 0, "new value");
    avro_reader_t reader = avro_reader_memory(object.ptr + AVROBIN_HEADER_SIZE, (int64_t)len);
    must(avro_value_read(reader, value) == 0, "read");
    char more;
    must(avro_read(reader, &more, 1) != 0, "bytes left over");
    avro_reader_free(reader);
}

void avroc_encode(avro_value_t *value, uint64_t fingerprint, struct buf *object)
{
    size_t size = 0;
    must(avro_value_sizeof(value, &size) == 0, "size");
    avrobin_put_header(object, fingerprint);
    avro_writer_t writer = avro_writer_memory(buf_room(object, size), (int64_t)size);
    must(avro_value_write(writer, value) == 0, "write");
    must(avro_writer_tell(writer) == (int64_t)size, "tell");
    object->len += size;
    avro_writer_free(writer);
}

static avro_value_t field_of(avro_value_t *record, const char *name)
{
    avro_value_t field = {0};
    must(avro_value_get_by_name(record, name, &field, NULL) == 0, name);
    return field;
}

int64_t avroc_long(avro_value_t *record, const char *field)
{
    avro_value_t value = field_of(record, field);
    int64_t wide = 0;
    int narrow = 0;
    avro_type_t type = avro_value_get_type(&value);
    if (type == AVRO_INT64) {
        must(avro_value_get_long(&value, &wide) == 0, field);
        return wide;
    }
    if (type == AVRO_INT32)
        must(avro_value_get_int(&value, &narrow) == 0, field);
    else if (type == AVRO_ENUM)
        must(avro_value_get_enum(&value, &narrow) == 0, field);
    else
        must(avro_value_get_boolean(&value, &narrow) == 0, field);
    return narrow;
}

struct slice avroc_bytes(avro_value_t *record, const char *field)
{
    avro_value_t value = field_of(record, field);
    const void *bytes = NULL;
    const char *text = NULL;
    size_t size = 0;
    avro_type_t type = avro_value_get_type(&value);
    if (type == AVRO_STRING) {
        must(avro_value_get_string(&value, &text, &size) == 0, field);
        return slice_of(text, size - 1); // it counts its NUL
    }
    if (type == AVRO_FIXED)
        must(avro_value_get_fixed(&value, &bytes, &size) == 0, field);
    else
        must(avro_value_get_bytes(&value, &bytes, &size) == 0, field);
    return slice_of(bytes, size);
}

size_t avroc_size(avro_value_t *record, const char *field)
{
    avro_value_t list = field_of(record, field);
    size_t size = 0;
    must(avro_value_get_size(&list, &size) == 0, field);
    return size;
}

avro_value_t avroc_item(avro_value_t *record, const char *field, size_t index)
{
    avro_value_t list = field_of(record, field);
    avro_value_t item = {0};
    must(avro_value_get_by_index(&list, index, &item, NULL) == 0, field);
    return item;
}
