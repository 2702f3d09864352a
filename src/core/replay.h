// SPDX-License-Identifier: Apache-2.0
// An instance run again from its history alone (docs/recovery.md, "Replay"). Each document says
// what happened: a start, a result, a timer, a takeover, an operator's verb, with its time. The
// saga core gets these events again, and what it writes must be what stands there, byte for byte.
// Not for finding records or definitions, and nothing is invoked. Pure; one thread.
//
//   documents   started | step.started | step.completed  saga.completed | ...
//   events      START ------------------ RESULT ------------------------- the first document of an
//                                                                         event says which it was
// The results of inline actions stand in the middle of an event: they are taken from the document
// that they led to.
#ifndef KA_CORE_REPLAY_H
#define KA_CORE_REPLAY_H

#include "core/history_doc.h"

struct replay {
    const struct saga_def *def;
    struct slice key;
    struct arena *arena;
    struct buf *scratch;
    struct saga *saga;           // NULL before its start
    struct saga_told told;       // where the step ran that the event has come to
    struct saga_effects effects; // of the event in hand
    size_t compared;             // of its transitions: those that stood in the history
    size_t called;               // of its invocations: those that need nothing more
};

// Begins with the start of the instance (saga NULL), or goes on from a state at rest. Everything is
// borrowed; texts of documents and effects live in the arena, so it must outlive the saga.
void replay_init(struct replay *replay, const struct saga_def *def, struct slice key,
                 struct saga *saga, struct arena *arena, struct buf *scratch);

// The next document of the instance, in order; `doc` lives as long as the arena. KA_ERR_DIFFERS:
// it is not what the core writes here; `text` names the first member that differs. Then the replay
// is over. KA_ERR_UNSUPPORTED: the definition keeps a short history, which cannot be run again.
KA_MUST_USE enum ka_err replay_take(struct replay *replay, const struct history_doc *doc,
                                    struct err_text *text);

// True between events: every document that the last one led to has come. Only then the saga is in
// a state that was stored.
bool replay_rests(const struct replay *replay);

// What the attempt said that this document ended: its outcome as the core has to be told.
struct action_result replay_result(const struct history_doc *doc);

// The name of the first field in which two instances of one definition differ, as
// "steps[2].due_ms", in the arena; NULL if there is none: then their stored forms are equal.
const char *replay_difference(const struct saga *a, const struct saga *b, struct arena *arena);

// The state as a JSON object, times as RFC 3339, for people and for comparing.
void replay_state_json(const struct saga *saga, struct buf *buf);

#endif
