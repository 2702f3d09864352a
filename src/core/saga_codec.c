// SPDX-License-Identifier: Apache-2.0
// The stored form of an instance: fields in the order of schemas/saga_state.avsc. Steps behind the
// last one that was begun are not written, nor what can be derived (inputs without an expression),
// so a state is about as large as its start data and results.
#include "core/assert.h"
#include "core/avrobin.h"
#include "core/saga_internal.h"

// CRC-64-AVRO of the Parsing Canonical Form of schemas/saga_state.avsc (tests/unit/saga_codec.c).
#define SAGA_V1 UINT64_C(0x25d53bdd3c10c041)
// The same of schemas/saga_state_2.avsc: a step has a region. Written only for instances that have
// such a step, so that an app without other regions writes what its older workers read.
#define SAGA_V2 UINT64_C(0x551e736261eb57d2)

enum { TEXT_MAX = 64 * 1024, JSON_MAX = 64 * 1024 * 1024 };
enum { SAGA_STATES = SAGA_TERMINATED + 1, STEP_STATES = STEP_UNDONE + 1 };

// --- writing

static bool untouched(const struct saga_step_state *st)
{
    return st->state == STEP_PENDING && slice_none(st->input);
}

static bool goes_elsewhere(const struct saga *saga)
{
    for (size_t i = 0; i < saga->def->step_count; i++)
        if (saga->steps[i].region.len > 0)
            return true;
    return false;
}

static void put_step(struct buf *buf, const struct saga_step_state *st, bool regions)
{
    avrobin_put_long(buf, st->state);
    avrobin_put_boolean(buf, st->maybe_done);
    avrobin_put_long(buf, st->attempts);
    avrobin_put_long(buf, st->undo_attempts);
    avrobin_put_long(buf, st->forgiven);
    avrobin_put_long(buf, st->due_ms);
    avrobin_put_long(buf, st->forward_end_ms);
    avrobin_put_long(buf, (int64_t)st->unheard);
    avrobin_put_bytes(buf, st->input);
    avrobin_put_bytes(buf, st->result);
    if (regions)
        avrobin_put_bytes(buf, st->region);
}

static void put_steps(struct buf *buf, const struct saga *saga, bool regions)
{
    size_t count = saga->def->step_count;
    while (count > 0 && untouched(&saga->steps[count - 1]))
        count--;
    if (count > 0)
        avrobin_put_long(buf, (int64_t)count);
    for (size_t i = 0; i < count; i++)
        put_step(buf, &saga->steps[i], regions);
    avrobin_put_long(buf, 0);
}

void saga_encode(const struct saga *saga, struct buf *buf)
{
    saga_check(saga);
    bool regions = goes_elsewhere(saga);
    avrobin_put_header(buf, regions ? SAGA_V2 : SAGA_V1);
    avrobin_put_fixed(buf, saga->def->id.bytes, DEF_ID_SIZE);
    avrobin_put_long(buf, saga->incarnation);
    avrobin_put_long(buf, saga->state);
    avrobin_put_long(buf, saga->paused_from);
    avrobin_put_long(buf, saga->current);
    avrobin_put_long(buf, saga->sequence);
    avrobin_put_long(buf, saga->started_ms);
    avrobin_put_long(buf, saga->deadline_ms);
    avrobin_put_long(buf, saga->paused_ms);
    avrobin_put_bytes(buf, saga->data);
    avrobin_put_bytes(buf, saga->source);
    avrobin_put_bytes(buf, saga->type);
    avrobin_put_bytes(buf, saga->event_id);
    avrobin_put_bytes(buf, saga->tenant);
    avrobin_put_bytes(buf, saga->dataclass);
    avrobin_put_bytes(buf, saga->traceparent);
    avrobin_put_bytes(buf, saga->fail_code);
    avrobin_put_bytes(buf, saga->fail_message);
    avrobin_put_bytes(buf, saga->cause_code);
    avrobin_put_bytes(buf, saga->cause_message);
    put_steps(buf, saga, regions);
}

// --- reading

// JSON was validated when it came in; here only that it can be one at all.
static struct slice read_object(struct avrobin_reader *reader, const char *field)
{
    struct slice json = avrobin_bytes(reader, field, JSON_MAX);
    if (json.len == 1 || (json.len > 0 && (json.ptr[0] != '{' || json.ptr[json.len - 1] != '}')))
        avrobin_refuse(reader, field, "not a JSON object");
    return json;
}

static struct slice read_text(struct avrobin_reader *reader, const char *field)
{
    return avrobin_bytes(reader, field, TEXT_MAX);
}

static int64_t read_time(struct avrobin_reader *reader, const char *field)
{
    return avrobin_long(reader, field, 0, INT64_MAX);
}

static void read_head(struct avrobin_reader *reader, struct saga_header *header)
{
    struct slice id = avrobin_fixed(reader, "definition", DEF_ID_SIZE);
    if (!slice_none(id))
        memcpy(header->def.bytes, id.ptr, DEF_ID_SIZE);
    header->incarnation = avrobin_long(reader, "incarnation", 0, INT64_MAX);
    header->state = (enum saga_state)avrobin_enum(reader, "state", SAGA_STATES);
}

static void read_step(struct avrobin_reader *reader, struct saga_step_state *st, bool regions)
{
    st->state = (enum step_state)avrobin_enum(reader, "steps.state", STEP_STATES);
    st->maybe_done = avrobin_boolean(reader, "steps.maybe_done");
    st->attempts = avrobin_int(reader, "steps.attempts", 0, INT32_MAX - 1);
    st->undo_attempts = avrobin_int(reader, "steps.undo_attempts", 0, INT32_MAX - 1);
    st->forgiven = avrobin_int(reader, "steps.forgiven", 0, INT32_MAX - 1);
    st->due_ms = read_time(reader, "steps.due_ms");
    st->forward_end_ms = read_time(reader, "steps.forward_end_ms");
    st->unheard = (uint64_t)avrobin_long(reader, "steps.unheard", INT64_MIN, INT64_MAX);
    st->input = read_object(reader, "steps.input");
    st->result = read_object(reader, "steps.result");
    if (regions)
        st->region = read_text(reader, "steps.region");
}

static void read_steps(struct avrobin_reader *reader, struct saga *saga, bool regions)
{
    size_t at = 0;
    for (;;) {
        size_t count = avrobin_block(reader, "steps", saga->def->step_count - at);
        if (count == 0)
            return;
        for (size_t last = at + count; at < last; at++)
            read_step(reader, &saga->steps[at], regions);
    }
}

static void read(struct avrobin_reader *reader, struct saga *saga, bool regions)
{
    struct saga_header header = {0};
    read_head(reader, &header);
    if (memcmp(header.def.bytes, saga->def->id.bytes, DEF_ID_SIZE) != 0)
        avrobin_refuse(reader, "definition", "not the one it is read for");
    saga->incarnation = header.incarnation;
    saga->state = header.state;
    saga->paused_from = (enum saga_state)avrobin_enum(reader, "paused_from", SAGA_STATES);
    saga->current = avrobin_int(reader, "current", -1, DEF_STEPS_MAX);
    saga->sequence = avrobin_long(reader, "sequence", 0, INT64_MAX - 1);
    saga->started_ms = read_time(reader, "started_ms");
    saga->deadline_ms = read_time(reader, "deadline_ms");
    saga->paused_ms = read_time(reader, "paused_ms");
    saga->data = read_object(reader, "data");
    saga->source = read_text(reader, "source");
    saga->type = read_text(reader, "type");
    saga->event_id = read_text(reader, "event_id");
    saga->tenant = read_text(reader, "tenant");
    saga->dataclass = read_text(reader, "dataclass");
    saga->traceparent = read_text(reader, "traceparent");
    saga->fail_code = read_text(reader, "fail_code");
    saga->fail_message = read_text(reader, "fail_message");
    saga->cause_code = read_text(reader, "cause_code");
    saga->cause_message = read_text(reader, "cause_message");
    read_steps(reader, saga, regions);
}

// A later version adds a line; what an older one lacks keeps its zero. Every version starts with
// the fields of read_head.
static const struct version {
    uint64_t fingerprint;
    int version;
    bool regions;
} versions[] = {
    {SAGA_V1, 1, false},
    {SAGA_V2, 2, true},
};

static enum ka_err open_state(struct slice bytes, struct avrobin_reader *reader,
                              const struct version **version, struct err_text *text)
{
    uint64_t fingerprint = 0;
    enum ka_err err = avrobin_open(reader, bytes, &fingerprint, text);
    if (err != KA_OK)
        return err_wrap(text, err, "saga state");
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++) {
        *version = &versions[i];
        if (versions[i].fingerprint == fingerprint)
            return KA_OK;
    }
    return avrobin_unknown("saga state", fingerprint, text);
}

enum ka_err saga_peek(struct slice bytes, struct saga_header *header, struct err_text *text)
{
    struct avrobin_reader reader;
    const struct version *version = NULL;
    enum ka_err err = open_state(bytes, &reader, &version, text);
    if (err != KA_OK)
        return err;
    *header = (struct saga_header){0};
    read_head(&reader, header);
    reader.end = reader.at; // what follows needs the definition
    err = avrobin_close(&reader, text);
    return err == KA_OK ? KA_OK : err_wrap(text, err, "saga state");
}

enum ka_err saga_decode(struct slice bytes, struct slice key, const struct saga_def *def,
                        struct arena *arena, struct saga **saga, struct err_text *text)
{
    struct avrobin_reader reader;
    const struct version *version = NULL;
    enum ka_err err = open_state(bytes, &reader, &version, text);
    if (err != KA_OK)
        return err;
    struct saga *fresh = arena_zalloc(arena, sizeof *fresh);
    fresh->def = def;
    fresh->key = key;
    fresh->steps = arena_zalloc(arena, def->step_count * sizeof *fresh->steps);
    read(&reader, fresh, version->regions);
    err = avrobin_close(&reader, text);
    if (err != KA_OK)
        return err_wrap(text, err, "saga state");
    const char *why = NULL;
    if (fresh->data.len == 0)
        return err_set(text, KA_ERR_AVRO, "saga state: field data: not a JSON object");
    if (!saga_valid(fresh, &why))
        return err_set(text, KA_ERR_AVRO, "saga state: does not hold together: %s", why);
    if (!saga_rests(fresh))
        return err_set(text, KA_ERR_AVRO, "saga state: it waits for nothing");
    *saga = fresh;
    return KA_OK;
}
