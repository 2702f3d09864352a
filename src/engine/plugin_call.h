// SPDX-License-Identifier: Apache-2.0
// One call of a plugin's `run`: gives it the helpers of the ABI and checks what comes back. Not for
// instances, watches and counters: engine/runner.h.
#ifndef KA_ENGINE_PLUGIN_CALL_H
#define KA_ENGINE_PLUGIN_CALL_H

#include "core/action.h"
#include "core/arena.h"
#include "kasaga/action.h"

#include <stdatomic.h>

enum { PLUGIN_RESULT_MAX = 1024 * 1024 }; // bytes; Kafka's default message.max.bytes

// All of it is borrowed for the time of the call.
struct plugin_call {
    const struct kasaga_action *action;
    const char *name; // of the configured action, for the log
    void *instance;
    bool run_inline;
    const struct invocation *invocation;
    int64_t deadline_ms;     // CLOCK_MONOTONIC; not for inline calls
    const atomic_bool *stop; // true = the plugin should return; may be NULL
};

// Runs it on this thread. *result is zeroed before, its texts are in the arena afterwards.
// A result that is no JSON object of at most PLUGIN_RESULT_MAX bytes is FAIL "invalid_result" or
// "result_too_large", maybe_done unless it ran inline; an outcome that is none is UNKNOWN
// "no_outcome".
void plugin_call_run(const struct plugin_call *plugin, struct arena *arena,
                     struct action_result *result);

#endif
