// SPDX-License-Identifier: Apache-2.0
// What attempts answered in the life of another app, from its history: an app that reads the same
// events again (kasaga replay --of) gets these answers, and nothing is called on the outside.
// Inline actions have no effects there and run. Not for running instances again: core/replay.h.
#ifndef KA_ENGINE_RECORDED_H
#define KA_ENGINE_RECORDED_H

#include "core/action.h"
#include "io/kafka_admin.h"

struct recorded;

// Reads the history of `app` to its end. KA_ERR_NOT_FOUND: it has none.
KA_MUST_USE enum ka_err recorded_open(const struct io_kafka_config *kafka,
                                      struct io_kafka_admin *admin, const char *app,
                                      struct recorded **recorded, struct err_text *text);
void recorded_close(struct recorded **recorded);

// The answer to the same attempt (key, step, number) of the last life of that key; RETRY asks for
// the next attempt at once. What has none is refused: FAIL "not_recorded". Texts live as long as
// `recorded`. `context` is a struct recorded. Any thread.
void recorded_answer(void *context, const struct invocation *call, struct arena *arena,
                     struct action_result *result);
size_t recorded_count(const struct recorded *recorded);

#endif
