// SPDX-License-Identifier: Apache-2.0
// Steps in another region. The caller writes a START of "remote:<action>" into
// <app>.out.<region>; the link brings it into the inbox there, where it is a saga of one step like
// any other: begun once, dispatched, taken over, finished. Its end is a RESULT command for the
// caller's saga, in the out topic of the way back. Here are the forms of the two; who may send what
// is residency.h, who sends it is shard_remote.c.
//
//   caller's region                                  region of the step
//   order/4711  step charge  --- START ------------> remote:pay.charge/us/order/4711@17/charge/1
//               attempt 1    <-- RESULT ------------  ... completed | compensated | terminated
//
// What makes it once: the key of the remote saga names the attempt, and a shard starts a key once;
// the RESULT is written in the transaction that ends it; the caller takes a result of the attempt
// in flight only. The deadline travels with the call: what the caller has given up is not begun.
#ifndef KA_CORE_REMOTE_H
#define KA_CORE_REMOTE_H

#include "core/action.h"

#define REMOTE_PREFIX "remote:"

// The data of the START, a JSON object. Texts of a read one point into the document or the arena.
struct remote_call {
    struct slice origin; // region of the caller
    struct slice saga;   // its key, "order/4711"
    int64_t incarnation;
    int32_t step;
    int32_t attempt;
    bool compensation;
    int64_t due_ms; // when the caller gives the attempt up, unix ms
    struct slice idempotency_key;
    struct slice forward_key; // of a compensation; else absent
    struct slice input;       // JSON object
};

// "remote:<action>/<origin>/<idempotency key>/<attempt>"
void remote_key(const struct remote_call *call, const char *action, struct buf *buf);
void remote_call_format(const struct remote_call *call, struct buf *buf);
// KA_ERR_ENVELOPE with the member that is wrong. `data` is valid JSON.
KA_MUST_USE enum ka_err remote_call_parse(struct slice data, struct arena *arena,
                                          struct remote_call *call, struct err_text *text);

// The data of the RESULT.
struct remote_result {
    int64_t incarnation;
    int32_t step;
    int32_t attempt;
    bool compensation;
    struct action_result result;
    struct slice executed_by; // "<region>/<node>"
};
void remote_result_format(const struct remote_result *result, struct buf *buf);
KA_MUST_USE enum ka_err remote_result_parse(struct slice data, struct arena *arena,
                                            struct remote_result *result, struct err_text *text);

#endif
