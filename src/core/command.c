// SPDX-License-Identifier: Apache-2.0
// The order of the fields is the order in schemas/command.avsc; write and read stand side by side.
#include "core/command.h"

#include "core/assert.h"
#include "core/avrobin.h"

// CRC-64-AVRO of the Parsing Canonical Form of schemas/command.avsc (tests/unit/command.c).
#define COMMAND_V1 UINT64_C(0x2f400f2b1babcba9)
// The same of schemas/command_2.avsc, which has one verb more. Written for that verb only, so that
// an app that has no other regions writes what its older workers read.
#define COMMAND_V2 UINT64_C(0x04a7ff6256b32b9b)

enum { HOPS_MAX = 255, TEXT_MAX = 64 * 1024, DATA_MAX = 64 * 1024 * 1024 };

static const char *const verb_names[] = {
    [COMMAND_START] = "start",         [COMMAND_PAUSE] = "pause",   [COMMAND_RESUME] = "resume",
    [COMMAND_CANCEL] = "cancel",       [COMMAND_RETRY] = "retry",   [COMMAND_SKIP] = "skip",
    [COMMAND_TERMINATE] = "terminate", [COMMAND_RESULT] = "result",
};
enum { VERBS_V1 = COMMAND_TERMINATE + 1, VERBS = sizeof verb_names / sizeof verb_names[0] };

const char *command_verb_name(enum command_verb verb)
{
    KA_ASSERT((size_t)verb < VERBS);
    return verb_names[verb];
}

void command_encode(const struct command *command, struct buf *buf)
{
    KA_ASSERT((size_t)command->verb < VERBS);
    KA_ASSERT(command->hops >= 0 && command->hops <= HOPS_MAX);
    avrobin_put_header(buf, (int)command->verb < VERBS_V1 ? COMMAND_V1 : COMMAND_V2);
    avrobin_put_long(buf, command->verb);
    avrobin_put_long(buf, command->hops);
    avrobin_put_long(buf, command->time_ms);
    avrobin_put_bytes(buf, command->id);
    avrobin_put_bytes(buf, command->cause);
    avrobin_put_bytes(buf, command->actor);
    avrobin_put_bytes(buf, command->reason);
    avrobin_put_bytes(buf, command->type);
    avrobin_put_bytes(buf, command->source);
    avrobin_put_bytes(buf, command->tenant);
    avrobin_put_bytes(buf, command->dataclass);
    avrobin_put_bytes(buf, command->traceparent);
    avrobin_put_bytes(buf, command->data);
}

static void read(struct avrobin_reader *reader, int verbs, struct command *command)
{
    command->verb = (enum command_verb)avrobin_enum(reader, "verb", verbs);
    command->hops = avrobin_int(reader, "hops", 0, HOPS_MAX);
    command->time_ms = avrobin_long(reader, "time_ms", 0, INT64_MAX);
    command->id = avrobin_bytes(reader, "id", TEXT_MAX);
    command->cause = avrobin_bytes(reader, "cause", TEXT_MAX);
    command->actor = avrobin_bytes(reader, "actor", TEXT_MAX);
    command->reason = avrobin_bytes(reader, "reason", TEXT_MAX);
    command->type = avrobin_bytes(reader, "type", TEXT_MAX);
    command->source = avrobin_bytes(reader, "source", TEXT_MAX);
    command->tenant = avrobin_bytes(reader, "tenant", TEXT_MAX);
    command->dataclass = avrobin_bytes(reader, "dataclass", TEXT_MAX);
    command->traceparent = avrobin_bytes(reader, "traceparent", TEXT_MAX);
    command->data = avrobin_bytes(reader, "data", DATA_MAX);
}

// A later version adds a line; what an older one lacks keeps its zero.
static const struct {
    uint64_t fingerprint;
    int version;
    int verbs;
} versions[] = {
    {COMMAND_V1, 1, VERBS_V1},
    {COMMAND_V2, 2, VERBS},
};

enum ka_err command_decode(struct slice bytes, struct command *command, struct err_text *text)
{
    struct avrobin_reader reader;
    uint64_t fingerprint = 0;
    enum ka_err err = avrobin_open(&reader, bytes, &fingerprint, text);
    if (err != KA_OK)
        return err_wrap(text, err, "command");
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++) {
        if (versions[i].fingerprint != fingerprint)
            continue;
        *command = (struct command){0};
        read(&reader, versions[i].verbs, command);
        err = avrobin_close(&reader, text);
        return err == KA_OK ? KA_OK : err_wrap(text, err, "command");
    }
    return avrobin_unknown("command", fingerprint, text);
}
