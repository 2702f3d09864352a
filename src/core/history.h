// SPDX-License-Identifier: Apache-2.0
// One transition as the value of a record of <app>.history: a CloudEvents 1.0 JSON document
// (structured mode, CloudEvents JSON format section 3). Ids are deterministic:
// "<key>@<incarnation>#<sequence>".
#ifndef KA_CORE_HISTORY_H
#define KA_CORE_HISTORY_H

#include "core/saga.h"

struct history_context {
    struct slice source; // "/kasaga/<region>/<app>"
    struct slice cause;  // "topic/partition/offset", "timer", "result" or "takeover"
    const char *node;    // executed_by; region and node name of the worker
};

// Whether a definition's `history` mode has this transition written: HISTORY_ALL everything,
// HISTORY_STEPS how steps and the saga ended, HISTORY_ENDS how the saga began and ended. The
// sequence counts transitions, so it has gaps in the shorter modes.
bool history_wanted(enum history_mode mode, enum transition_type type);

// Appends the document. Never fails: everything in it was validated at the door.
void history_format(const struct saga *saga, const struct transition *transition,
                    const struct history_context *context, struct buf *buf);

// The same without data and input (`truncated` says how many bytes they had) and with texts cut:
// for a record that would be larger than the topic takes. At most HISTORY_SHORT_MAX bytes for a key
// of HISTORY_KEY_MAX bytes.
void history_format_short(const struct saga *saga, const struct transition *transition,
                          const struct history_context *context, struct buf *buf);

enum { HISTORY_KEY_MAX = 384, HISTORY_SHORT_MAX = 15 * 1024 };

#endif
