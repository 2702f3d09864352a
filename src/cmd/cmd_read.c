// SPDX-License-Identifier: Apache-2.0
#include "cmd/cmd_read.h"

#include "io/clock.h"

enum { SLICE_MS = 250, QUIET_MS = 10000 };

int cmd_read(struct io_kafka_reader *reader, const char *what, int parts, cmd_see *see, void *state)
{
    struct err_text text = {""};
    int64_t heard_ms = clock_mono_ms();
    enum ka_err err = KA_OK;
    while (parts > 0) {
        struct record record;
        switch (io_kafka_reader_next(reader, SLICE_MS, &record, &err, &text)) {
        case IO_KAFKA_READ_RECORD:
            heard_ms = clock_mono_ms();
            if (!see(state, &record))
                return CMD_OK;
            break;
        case IO_KAFKA_READ_END:
            heard_ms = clock_mono_ms();
            parts--;
            break;
        case IO_KAFKA_READ_NOTHING:
            if (clock_mono_ms() - heard_ms > QUIET_MS)
                return cmd_complain(CMD_UNREACHABLE, "%s: no answer in %d ms", what, QUIET_MS);
            break;
        case IO_KAFKA_READ_ERROR:
            if (err_class(err) != ERR_CLASS_RETRY)
                return cmd_fail(err, &text);
            break;
        }
    }
    return CMD_OK;
}
