// SPDX-License-Identifier: Apache-2.0
// What the commands share that run until they are asked to stop: signals and the log.
#ifndef KA_CMD_CMD_PROCESS_H
#define KA_CMD_CMD_PROCESS_H

#include "cmd/cmd.h"
#include "io/conf.h"

#include <stdatomic.h>

// SIGTERM and SIGINT ask to stop, and end the process with CMD_FAILED if it has not stopped 8 s
// later; SIGUSR1 asks for digests.
void cmd_listen_for_signals(void);
atomic_bool *cmd_stop_asked(void);
const atomic_int *cmd_digests_asked(void);
void cmd_configure_log(const struct config *config);

#endif
