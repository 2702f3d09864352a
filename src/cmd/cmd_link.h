// SPDX-License-Identifier: Apache-2.0
// The parts of `kasaga link`; each is one file.
#ifndef KA_CMD_CMD_LINK_H
#define KA_CMD_CMD_LINK_H

#include "cmd/cmd_app.h"

int cmd_link_run(struct cmd_app *app, const struct cmd_common *common, const char *node);

#endif
