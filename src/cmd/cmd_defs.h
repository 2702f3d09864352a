// SPDX-License-Identifier: Apache-2.0
// The definitions of an app as its catalog has them, for commands that run instances again. Nothing
// of it can invoke an action: what an action was like is taken from the definition itself, its
// schemas from the configuration.
#ifndef KA_CMD_CMD_DEFS_H
#define KA_CMD_CMD_DEFS_H

#include "cmd/cmd_app.h"
#include "core/def.h"

struct cmd_defs;

// Reads the catalog. KA_ERR_NOT_FOUND: no such topic; else what the cluster answered. Owned by the
// caller.
KA_MUST_USE enum ka_err cmd_defs_open(struct cmd_app *app, struct cmd_defs **defs,
                                      struct err_text *text);
void cmd_defs_close(struct cmd_defs **defs);

// KA_ERR_NO_DEFINITION: the catalog has none of this hash, or it cannot be loaded here. Borrowed.
KA_MUST_USE enum ka_err cmd_defs_find(struct cmd_defs *defs, const struct def_id *id,
                                      const struct saga_def **def, struct err_text *text);

#endif
