// SPDX-License-Identifier: Apache-2.0
// What the tests of plugins, programs and their runners share: libraries built for the purpose,
// runners bound to them, invocations to run.
#ifndef KA_TESTS_PLUGINS_H
#define KA_TESTS_PLUGINS_H

#include "engine/runner.h"

// Absolute path of the shop example that the build made ($KASAGA_BUILD/plugins/shop.so).
const char *plugins_shop(void);
// Builds tests/plugins/probe.c with `define` ("-DPROBE_TWICE", NULL for none) into a directory of
// this process. Absolute path in static memory, until the next call. Ends the test if cc fails.
const char *plugins_probe(const char *define);
// Removes that directory. For group teardowns.
int plugins_clean(void **state);

// Opens a library that must be good. Caller closes.
struct io_plugin *plugins_open(const char *path);
// A runner of `action` that must come to be. `options` NULL = none. Caller frees.
struct runner *plugins_runner(struct io_plugin *plugin, const char *action, const char *options,
                              bool run_inline);
struct runner *plugins_program(const char *const *argv);

// Attempt 1 of step "charge" of order/1 with the input {"order_id":"A1","total":5}, timeout 60 s.
// `action` is filled and pointed to.
struct invocation plugins_invocation(struct runner *runner, struct action_def *action);

#endif
