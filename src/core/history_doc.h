// SPDX-License-Identifier: Apache-2.0
// A record of <app>.history read back: the document that core/history.h writes (docs/formats.md).
// Not for other CloudEvents.
#ifndef KA_CORE_HISTORY_DOC_H
#define KA_CORE_HISTORY_DOC_H

#include "core/saga.h"

// Texts are empty, slices of JSON absent and numbers -1 where the document says nothing. Slices
// point into the document or the arena.
struct history_doc {
    struct slice doc;
    struct slice type; // without "kasaga.": "step.completed"
    bool known;        // `transition` is set
    enum transition_type transition;
    int64_t incarnation; // -1: not of an instance's line (kasaga.command.refused)
    int64_t sequence;
    int64_t time_ms;
    struct slice source;
    struct slice step; // its name
    int64_t attempt;
    struct slice tenant;
    struct slice dataclass;
    struct slice traceparent;
    struct slice cause;
    struct slice executed_by;
    struct slice data; // the whole object; what follows is in it
    int64_t index;     // of the step
    struct slice action;
    struct slice group; // the parallel step whose branch it is
    struct slice state;
    struct slice code;
    struct slice message;
    struct slice actor;
    struct slice reason;
    struct slice result; // of a step, as it stands
    int64_t due_ms;
    int64_t truncated; // bytes that were left out
    bool compensation;
    bool maybe_done;
    struct slice region;    // where the step ran; empty = here
    struct slice placement; // why there; empty = nobody asked
    struct slice ran_by;    // "<region>/<node>" of an attempt in another region
    // saga.started
    struct slice definition;
    bool has_hash;
    struct def_id hash;
    struct slice event_id;
    struct slice event_type;
    struct slice event_source;
    struct slice event_data; // as it stands
};

// KA_ERR_JSON, KA_ERR_ENVELOPE: no document of kasaga's history. What it lacks is not complained
// of.
KA_MUST_USE enum ka_err history_doc_parse(struct slice doc, struct arena *arena,
                                          struct history_doc *out, struct err_text *text);

// Whether a document of an instance can be understood: KA_ERR_VERSION for a type that is not known,
// KA_ERR_ENVELOPE if it lacks what every one of its type has.
KA_MUST_USE enum ka_err history_doc_check(const struct history_doc *doc, struct err_text *text);

// "2026-11-21T10:20:30.123Z" as unix ms; -1 for any other form.
int64_t history_doc_time(struct slice text);

#endif
