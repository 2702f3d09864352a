// SPDX-License-Identifier: Apache-2.0
// What the core hands to whoever runs an action, and what it gets back. Not the plugin ABI: that
// is include/kasaga/action.h.
#ifndef KA_CORE_ACTION_H
#define KA_CORE_ACTION_H

#include "core/def.h"

// UNKNOWN: timed out, killed, connection lost after sending: it may have happened.
enum outcome { OUTCOME_OK, OUTCOME_FAIL, OUTCOME_RETRY, OUTCOME_UNKNOWN };

// One attempt. Slices are valid until the arena of the batch is reset; whoever keeps an
// invocation longer copies them.
struct invocation {
    const struct action_def *action;
    struct slice key; // "order/4711"
    int64_t incarnation;
    int32_t step; // index in the definition
    const char *step_name;
    int32_t attempt; // from 1
    bool compensation;
    struct slice input;           // JSON object
    struct slice idempotency_key; // "<key>@<incarnation>/<step>", "…/<step>/undo" for the undo
    struct slice forward_key;     // of a compensation: the key that it closes; else SLICE_NONE
    struct slice tenant;          // may be absent
    struct slice traceparent;     // may be absent
    int64_t timeout_ms;
    int64_t wait_ms;     // it begins within this or not at all, so that time enough is left for it
    struct slice region; // where it is to run; absent = here
    int64_t due_ms;      // of a region: when the attempt is given up, unix ms
};

// `maybe_done` is set by whoever ran it when the attempt may have had its effect although the
// outcome is not OK (no answer, 5xx, 408); UNKNOWN implies it. Texts are valid like the input.
struct action_result {
    enum outcome outcome;
    bool maybe_done;
    struct slice data;      // JSON object of OK; absent = {}
    struct slice code;      // of the others: short, stable
    struct slice message;   // of the others: for people
    int64_t retry_after_ms; // of RETRY; 0 = by the policy
};

// RETRY with this code: the attempt has not begun, so the retry policy does not count it. Said by
// kasaga for a call that waited too long for its turn; an action that knows it may say it too.
#define ACTION_NOT_BEGUN SLICE_LIT("not_begun")

#endif
