// SPDX-License-Identifier: Apache-2.0
// Any bytes as a command: refused, or a command that is written and read back the same.
#include "core/command.h"
#include "core/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(struct slice a, struct slice b)
{
    KA_ASSERT(slice_eq(a, b));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct command command;
    struct command again;
    struct err_text text;
    if (command_decode(slice_of(data, size), &command, &text) != KA_OK)
        return 0;
    struct buf buf = {0};
    command_encode(&command, &buf);
    enum ka_err err = command_decode(buf_slice(&buf), &again, &text);
    KA_ASSERT(err == KA_OK);
    KA_ASSERT(again.verb == command.verb && again.time_ms == command.time_ms);
    same(again.id, command.id);
    same(again.reason, command.reason);
    same(again.traceparent, command.traceparent);
    same(again.data, command.data);
    KA_ASSERT(command_verb_name(command.verb) != NULL);
    buf_fini(&buf);
    return 0;
}
