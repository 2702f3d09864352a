// SPDX-License-Identifier: Apache-2.0
// The app a command works on: its configuration and its cluster.
#ifndef KA_CMD_CMD_APP_H
#define KA_CMD_CMD_APP_H

#include "cmd/cmd.h"
#include "io/conf.h"
#include "io/kafka_admin.h"

enum { CMD_CALL_MS = 10000 }; // one question to the cluster

struct cmd_app {
    struct config *config;
    struct io_kafka_config kafka;
    struct io_kafka_admin *admin;
    struct arena arena; // for answers; lives until cmd_app_close
};

// Loads the configuration and makes the admin client. False: what was wrong is on stderr and
// *exit_code is set; nothing is left to close.
KA_MUST_USE bool cmd_app_open(const struct cmd_common *common, struct cmd_app *app, int *exit_code);
void cmd_app_close(struct cmd_app *app);

// "<app>.<name>"; lives as long as the app.
const char *cmd_app_topic(struct cmd_app *app, const char *name);
// "<app>.<name>/<partition>" has its number of partitions; says so and returns the exit code if the
// topic is missing (kasaga topics apply) or has another.
int cmd_app_check_topic(struct cmd_app *app, const char *topic, int32_t partitions);

// Splits "<saga>/<id>"; false when it is not of that form.
bool cmd_key_ok(const char *key);

#endif
