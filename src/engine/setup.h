// SPDX-License-Identifier: Apache-2.0
// From the configuration to what a worker runs: plugins opened, runners made, values copied.
#ifndef KA_ENGINE_SETUP_H
#define KA_ENGINE_SETUP_H

#include "engine/worker.h"
#include "io/conf.h"

struct setup;

// Opens the plugins and makes a runner per action. KA_ERR_CONFIG names the action, the library and
// what is wrong. The configuration must outlive *setup; setup_worker gives the result, borrowed.
KA_MUST_USE enum ka_err setup_new(const struct config *config, const char *node,
                                  struct setup **setup, struct err_text *text);
// After worker_run has returned.
void setup_free(struct setup **setup);
const struct worker_config *setup_worker(const struct setup *setup);

// How to reach the cluster; for every command. `client_id` is borrowed.
struct io_kafka_config setup_kafka(const struct config *config, const char *client_id);

#endif
