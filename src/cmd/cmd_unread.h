// SPDX-License-Identifier: Apache-2.0
// How many records of a partition stand behind an offset. Offsets do not tell: the marker that ends
// a transaction takes one too, and so do records of transactions that were aborted. So what is
// there is read, if it is little.
#ifndef KA_CMD_CMD_UNREAD_H
#define KA_CMD_CMD_UNREAD_H

#include "cmd/cmd_app.h"

enum { CMD_UNREAD_MAX = 1000 }; // offsets of one partition that are looked through

struct cmd_unread {
    const char *topic;
    int32_t partition;
    int64_t from; // the next offset to be read
    int64_t end;  // high watermark
    // Committed records in [from, end); those of an open transaction do not count yet. Not exact:
    // there are more offsets than are looked through, and `count` is how many offsets.
    int64_t count;
    bool exact;
};

// Fills count and exact of each. What could not be read is not exact; it fails only when the
// cluster cannot be asked.
KA_MUST_USE enum ka_err cmd_unread_count(const struct cmd_app *app, struct cmd_unread *const *list,
                                         size_t count, struct err_text *text);

#endif
