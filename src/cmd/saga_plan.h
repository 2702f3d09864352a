// SPDX-License-Identifier: Apache-2.0
#ifndef KA_CMD_SAGA_PLAN_H
#define KA_CMD_SAGA_PLAN_H

#include "cmd/cmd.h"
#include "io/conf.h"

// kasaga saga plan [NAME]; all sagas without a name. The exit code.
int cmd_saga_plan(const struct cmd_common *common, const char *name);

#endif
