// SPDX-License-Identifier: Apache-2.0
// Reads what is in some partitions now, for the commands that list it.
#ifndef KA_CMD_CMD_READ_H
#define KA_CMD_CMD_READ_H

#include "cmd/cmd.h"
#include "core/record.h"
#include "io/kafka_admin.h"

// Takes a record to its end; false = this is enough. The record is gone when it returns.
typedef bool cmd_see(void *state, const struct record *record);

// Reads until `parts` of the partitions added to the reader have come to their ends, or `see` has
// enough. CMD_UNREACHABLE after 10 s without an answer; the reason is on stderr, `what` in it.
int cmd_read(struct io_kafka_reader *reader, const char *what, int parts, cmd_see *see,
             void *state);

#endif
