// SPDX-License-Identifier: Apache-2.0
// A saga told line by line: a definition, events in, and what came out as text. Used by the golden
// stories and by the unit tests of the saga. After each event the instance goes through its stored
// form and all memory of the event is given back, as after a takeover.
//
//   saga order deadline=10m tenant=acme             the definition: one saga, then its steps
//   step reserve undo=stock.release retry=3 timeout=5s input='{sku}' when='.sku' optional pivot
//        inline undo-inline undo-retry=2 undo-timeout=2s undo-input='.result' backoff=1s
//        backoff-max=8s params=sku:string,units:long result=id:string
//        region=eu-central (or tenant, or '.to') class=public
//   It is told in us-west; eu-central and apac-east are the other regions (story_residency).
//
//   start {"sku": 1}              the start event
//   ok charge {"id": 7}           results of the latest attempt; charge#1 of the first,
//   ok charge@eu-central/n7 {}    … that ran in another region
//   no charge declined text       charge/undo of the compensation; a message that ends in "?" may
//   again charge busy 5s text     have happened. again = try again, after 5s if said
//   unknown charge
//   wait 5s                       time passes, then the timer is looked at
//   timer                         time passes up to the next due time
//   takeover
//   down eu-central               its link; up eu-central
//   load eu-central 81%           or full, or unknown
//   pause by ada: reason          the operator's verbs
#ifndef KA_TESTS_STORY_H
#define KA_TESTS_STORY_H

#include "core/saga.h"

enum { STORY_EPOCH_S = 1767225600 }; // 2026-01-01T00:00:00Z: stories begin there
#define STORY_EPOCH_MS (STORY_EPOCH_S * INT64_C(1000))

// Personal data of eu-central stays there, financial data in us-west; public data goes anywhere,
// all else stays. Fields: email is personal, iban financial, diagnosis sensitive. acme is at home
// in eu-central.
extern const struct residency story_residency;
extern const struct residency_link story_links[3];

struct story {
    const char *tenant; // of the start event; NULL = none
    struct residency_link links[3];
    struct arena lasting; // the definition
    struct arena batch;   // of the event in hand
    struct buf scratch;
    struct buf stored;  // the instance between events
    struct buf trace;   // text of all events so far
    struct buf history; // one document per line
    struct saga_def *def;
    struct saga *saga;
    struct saga_effects effects; // of the last event; texts of the trace only, slices are gone
    int64_t now_ms;
    enum ka_err err; // of the last event
    struct err_text text;
};

// Takes the lines of a definition; ends the test when it cannot be read.
void story_init(struct story *story, const char *definition);
void story_fini(struct story *story);
// One line of the definition; false if it is none.
bool story_define(struct story *story, const char *line);
// One event; its effects are appended to the trace. The error of saga_step is in story->err.
void story_tell(struct story *story, const char *line);
// Several events, one per line.
void story_tell_all(struct story *story, const char *lines);
// The trace of everything told since the last call; lives until the next event.
const char *story_trace(struct story *story);

// "running" of the saga, "done" of a step.
const char *story_state(const struct story *story);
const char *story_step_state(const struct story *story, const char *step);
const struct saga_step_state *story_step(const struct story *story, const char *step);

#endif
