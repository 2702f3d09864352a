// SPDX-License-Identifier: Apache-2.0
#include "io/avro.h"

#include "core/avsc.h"
#include "core/hash.h"

#include <avro.h>
#include <errno.h>
#include <stdio.h>

// After our own parser, which is stricter: avro-c leaks some of what it refuses.
static enum ka_err confirm(struct slice source, struct err_text *text)
{
    avro_schema_t schema = NULL;
    if (avro_schema_from_json_length(source.ptr, source.len, &schema) != 0)
        return err_set(text, KA_ERR_AVRO, "avro-c: %s", avro_strerror());
    avro_schema_decref(schema);
    return KA_OK;
}

enum ka_err io_avro_schema_parse(struct slice source, struct arena *arena,
                                 const struct schema **out, struct err_text *text)
{
    enum ka_err err = avsc_parse(source, arena, out, text);
    if (err == KA_OK)
        err = confirm(source, text);
    if (err != KA_OK)
        *out = NULL;
    return err;
}

static enum ka_err read_file(const char *path, struct buf *buf, struct err_text *text)
{
    FILE *file = fopen(path, "rbe");
    if (file == NULL)
        return err_set(text, KA_ERR_IO, "%s: %s", path, strerror(errno));
    size_t got;
    do {
        got = fread(buf_room(buf, 64 * 1024), 1, 64 * 1024, file);
        buf->len += got;
    } while (got > 0 && buf->len <= IO_AVRO_SCHEMA_MAX);
    int error = ferror(file) ? errno : 0;
    (void)fclose(file);
    if (error != 0)
        return err_set(text, KA_ERR_IO, "%s: %s", path, strerror(error));
    if (buf->len > IO_AVRO_SCHEMA_MAX)
        return err_set(text, KA_ERR_TOO_LARGE, "%s: a schema has %d bytes at most", path,
                       (int)IO_AVRO_SCHEMA_MAX);
    return KA_OK;
}

enum ka_err io_avro_schema_load(const char *path, struct arena *arena, const struct schema **out,
                                struct err_text *text)
{
    struct buf buf = {0};
    *out = NULL;
    enum ka_err err = read_file(path, &buf, text);
    if (err == KA_OK) {
        err = io_avro_schema_parse(buf_slice(&buf), arena, out, text);
        if (err != KA_OK)
            (void)err_wrap(text, err, "%s", path);
    }
    buf_fini(&buf);
    return err;
}

uint64_t io_avro_schema_fingerprint(const struct schema *schema)
{
    struct buf buf = {0};
    avsc_canonical(schema, &buf);
    uint64_t fingerprint = hash_crc64_avro(buf_slice(&buf));
    buf_fini(&buf);
    return fingerprint;
}

enum ka_err io_avro_fingerprint(const char *path, uint64_t *out, struct err_text *text)
{
    struct arena arena;
    const struct schema *schema;
    arena_init(&arena);
    enum ka_err err = io_avro_schema_load(path, &arena, &schema, text);
    if (err == KA_OK)
        *out = io_avro_schema_fingerprint(schema);
    arena_fini(&arena);
    return err;
}
