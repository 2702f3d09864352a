// SPDX-License-Identifier: Apache-2.0
// What workers say of partitions that stand still: their records in the catalog, a few seconds old.
#ifndef KA_CMD_CMD_PARKED_H
#define KA_CMD_CMD_PARKED_H

#include "cmd/cmd_app.h"

struct cmd_parked {
    const char *node;
    const char *topic;
    int32_t partition;
    int64_t offset;
    const char *reason; // "DIVERGED"
    const char *error;
};

// The latest word of every node that has spoken in the last seconds; in the app's arena.
KA_MUST_USE enum ka_err cmd_parked_read(struct cmd_app *app, const struct cmd_parked **list,
                                        size_t *count, struct err_text *text);

#endif
