// SPDX-License-Identifier: Apache-2.0
#include "core/dlq.h"

#include "core/assert.h"

#include <stdio.h>

enum { OWN_HEADERS = 9, HEADER_ROOM = 4096, HEADERS_KEPT = 256 };

static struct slice number(struct arena *arena, int64_t value)
{
    char *text = arena_alloc(arena, 24);
    return slice_of(text, (size_t)snprintf(text, 24, "%lld", (long long)value));
}

static size_t headers_size(const struct record *record)
{
    size_t size = 0;
    for (size_t i = 0; i < record->header_count; i++)
        size += record->headers[i].name.len + record->headers[i].value.len + 8;
    return size;
}

void dlq_output(const struct dlq_context *context, const struct record *record, enum ka_err error,
                const struct err_text *text, struct arena *arena, struct output *output)
{
    KA_ASSERT(context->partitions > 0);
    // Headers that alone would fill the record are left out; the value matters more.
    bool keep_headers = record->header_count <= HEADERS_KEPT &&
                        headers_size(record) + record->key.len < context->record_max / 2;
    size_t kept = keep_headers ? record->header_count : 0;
    struct header *headers = arena_alloc(arena, (kept + OWN_HEADERS) * sizeof *headers);
    size_t count = 0;
    for (; count < kept; count++)
        headers[count] = (struct header){arena_copy(arena, record->headers[count].name),
                                         arena_copy(arena, record->headers[count].value)};
    struct slice reason =
        slice_str(text != NULL && text->text[0] != '\0' ? text->text : err_string(error));
    struct slice name = slice_str(err_name(error));
    headers[count++] =
        (struct header){SLICE_LIT("__connect.errors.topic"), arena_copy(arena, record->topic)};
    headers[count++] =
        (struct header){SLICE_LIT("__connect.errors.partition"), number(arena, record->partition)};
    headers[count++] =
        (struct header){SLICE_LIT("__connect.errors.offset"), number(arena, record->offset)};
    headers[count++] = (struct header){SLICE_LIT("__connect.errors.stage"), SLICE_LIT("record")};
    headers[count++] =
        (struct header){SLICE_LIT("__connect.errors.task.id"), slice_str(context->node)};
    headers[count++] = (struct header){SLICE_LIT("__connect.errors.exception.class.name"), name};
    headers[count++] =
        (struct header){SLICE_LIT("__connect.errors.exception.message"), arena_copy(arena, reason)};
    headers[count++] = (struct header){SLICE_LIT("kasaga_error"), name};
    *output = (struct output){.topic = context->topic,
                              .partition = record->partition % context->partitions,
                              .key = arena_copy(arena, record->key),
                              .value = arena_copy(arena, record->value)};
    size_t other = output->key.len + (keep_headers ? headers_size(record) : 0) + HEADER_ROOM;
    size_t room = context->record_max > other ? context->record_max - other : 0;
    if (output->key.len + HEADER_ROOM > context->record_max)
        output->key = SLICE_NONE;
    if (output->value.len > room) {
        headers[count++] = (struct header){SLICE_LIT("kasaga_truncated"),
                                           number(arena, (int64_t)output->value.len)};
        output->value.len = room;
    }
    output->headers = headers;
    output->header_count = count;
}
