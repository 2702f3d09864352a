// SPDX-License-Identifier: Apache-2.0
#include "core/event.h"

#include "core/json.h"
#include "core/trace.h"

enum { ATTRIBUTE_MAX = 1024 };

static bool name_is(struct slice name, const char *text)
{
    return slice_eq(name, slice_str(text));
}

static struct slice header(const struct record *record, const char *name)
{
    for (size_t i = record->header_count; i-- > 0;)
        if (name_is(record->headers[i].name, name))
            return record->headers[i].value;
    return SLICE_NONE;
}

static bool is_structured(const struct record *record)
{
    return slice_starts(header(record, "content-type"), SLICE_LIT("application/cloudevents"));
}

static bool is_binary(const struct record *record)
{
    for (size_t i = 0; i < record->header_count; i++)
        if (slice_starts(record->headers[i].name, SLICE_LIT("ce_")))
            return true;
    return false;
}

static enum ka_err require(struct slice value, const char *name, struct err_text *text)
{
    if (value.len == 0)
        return err_set(text, KA_ERR_ENVELOPE, "the event has no %s", name);
    if (value.len > ATTRIBUTE_MAX)
        return err_set(text, KA_ERR_ENVELOPE, "attribute %s has %zu bytes, at most %d are taken",
                       name, value.len, ATTRIBUTE_MAX);
    return KA_OK;
}

static enum ka_err check_attributes(struct slice specversion, const struct event *event,
                                    struct err_text *text)
{
    if (!slice_starts(specversion, SLICE_LIT("1.")))
        return err_set(text, KA_ERR_ENVELOPE, "specversion is \"%.*s\", 1.0 is expected",
                       SLICE_FMT(specversion));
    enum ka_err err = require(event->type, "type", text);
    if (err == KA_OK)
        err = require(event->source, "source", text);
    if (err == KA_OK)
        err = require(event->id, "id", text);
    if (err == KA_OK && event->data.len == 0)
        err = err_set(text, KA_ERR_ENVELOPE, "the event has no data");
    return err;
}

static enum ka_err parse_binary(const struct record *record, struct event *event,
                                struct err_text *text)
{
    event->id = header(record, "ce_id");
    event->source = header(record, "ce_source");
    event->type = header(record, "ce_type");
    event->subject = header(record, "ce_subject");
    event->tenant = header(record, "ce_tenant");
    event->dataclass = header(record, "ce_dataclass");
    event->data = record->value;
    enum ka_err err = check_attributes(header(record, "ce_specversion"), event, text);
    return err == KA_OK ? json_validate(event->data, text) : err;
}

static struct slice attribute(struct slice document, const char *name, struct arena *arena)
{
    struct slice value = json_member(document, slice_str(name));
    if (slice_none(value) || json_type(value) != JSON_STRING)
        return SLICE_NONE;
    return json_text(value, arena);
}

static enum ka_err parse_structured(const struct record *record, struct arena *arena,
                                    struct event *event, struct err_text *text)
{
    enum ka_err err = json_validate(record->value, text);
    if (err != KA_OK)
        return err;
    struct slice document = json_trim(record->value);
    if (json_type(document) != JSON_OBJECT)
        return err_set(text, KA_ERR_ENVELOPE, "a structured event must be a JSON object");
    event->id = attribute(document, "id", arena);
    event->source = attribute(document, "source", arena);
    event->type = attribute(document, "type", arena);
    event->subject = attribute(document, "subject", arena);
    event->tenant = attribute(document, "tenant", arena);
    event->dataclass = attribute(document, "dataclass", arena);
    event->data = json_member(document, SLICE_LIT("data"));
    struct slice traceparent = attribute(document, "traceparent", arena);
    if (traceparent.len > 0)
        event->traceparent = traceparent;
    return check_attributes(attribute(document, "specversion", arena), event, text);
}

static enum ka_err parse_plain(const struct record *record, struct slice default_type,
                               struct arena *arena, struct event *event, struct err_text *text)
{
    if (slice_none(default_type))
        return err_set(text, KA_ERR_ENVELOPE,
                       "the record has no ce_type header, and several types are routed from its "
                       "topic");
    if (slice_none(record->value))
        return err_set(text, KA_ERR_ENVELOPE, "the record has no value (null)");
    event->id = record_place(record, arena);
    struct slice prefix = SLICE_LIT("kafka:");
    char *source = arena_alloc(arena, prefix.len + record->topic.len);
    memcpy(source, prefix.ptr, prefix.len);
    memcpy(source + prefix.len, record->topic.ptr, record->topic.len);
    event->source = slice_of(source, prefix.len + record->topic.len);
    event->type = default_type;
    event->tenant = header(record, "tenant");
    event->dataclass = header(record, "dataclass");
    event->data = record->value;
    return json_validate(event->data, text);
}

enum ka_err event_parse(const struct record *record, struct slice default_type, struct arena *arena,
                        struct event *event, struct err_text *text)
{
    *event = (struct event){0};
    event->traceparent = header(record, "traceparent");
    enum ka_err err = KA_OK;
    if (is_structured(record))
        err = parse_structured(record, arena, event, text);
    else if (is_binary(record))
        err = parse_binary(record, event, text);
    else
        err = parse_plain(record, default_type, arena, event, text);
    if (err == KA_OK &&
        (event->traceparent.len > ATTRIBUTE_MAX || !trace_parent_ok(event->traceparent)))
        event->traceparent = SLICE_NONE; // a broken trace is no reason to refuse an event
    return err;
}
