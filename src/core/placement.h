// SPDX-License-Identifier: Apache-2.0
// Where a step runs: one table of rules, the first that fits decides. Pure. Asked once for a step,
// when its first attempt begins (saga_place.c); what the rules on data allow is residency.h. Also
// what the nodes of a region say of their load, as one number. Not for reading it: engine/load.h.
#ifndef KA_CORE_PLACEMENT_H
#define KA_CORE_PLACEMENT_H

#include "core/buf.h"
#include "core/residency.h"

enum {
    PLACEMENT_MARGIN = 100,     // loads that differ by less are alike: the closest of them is taken
    PLACEMENT_BUSY_MAX = 100000 // permille
};

struct placement_question {
    bool local_data;   // the action works on data of this region
    int32_t preferred; // a region that is asked for; REGION_NONE = none
    bool distributed;  // in all that are available
    bool anywhere;     // the step leaves it to the load; else it stays here
    enum data_class dataclass;
    int32_t home; // of the data
};

enum placement_rule {
    PLACED_LOCAL_DATA,
    PLACED_PREFERRED,
    PLACED_DISTRIBUTED,
    PLACED_LEAST_LOADED,
    PLACED_BY_DEFAULT
};
enum placement_outcome {
    PLACEMENT_LOCAL,
    PLACEMENT_REMOTE,      // in `region`
    PLACEMENT_DISTRIBUTED, // in each of `regions`
    PLACEMENT_REFUSED      // `answer` says why
};

struct placement {
    enum placement_outcome outcome;
    enum placement_rule rule;
    int32_t region;                 // `here` of PLACEMENT_LOCAL; REGION_NONE of several or none
    uint64_t regions;               // of PLACEMENT_DISTRIBUTED: bit i = regions[i]
    struct residency_answer answer; // of PLACED_PREFERRED
};

// `links` has one entry per region, this one included: its load counts too. A region of which
// nothing fresh is known, that is full, down or that the data may not go to takes no step that goes
// to the least loaded; this region takes it when no other does.
struct placement placement_decide(const struct residency *residency,
                                  const struct residency_link *links,
                                  const struct placement_question *question);
// The regions that are up, run steps and may have the data; bit i = regions[i].
uint64_t placement_available(const struct residency *residency, const struct residency_link *links,
                             enum data_class dataclass, int32_t home);
const char *placement_rule_name(enum placement_rule rule); // "least_loaded"
// The decision for people and the history: "least_loaded: eu-central 3%, us-west 81%". Not of what
// is refused.
void placement_explain(const struct residency *residency, const struct residency_link *links,
                       const struct placement_question *question, const struct placement *placement,
                       struct buf *buf);

// ---- Load

// What a node says of itself every few seconds, in <app>.load.
struct placement_beat {
    struct slice node;
    int64_t time_ms;   // of its clock
    int64_t lag;       // commands of its region that no shard has read
    int64_t in_flight; // calls that it runs or that wait
    int64_t capacity;  // calls that it runs at once
    int64_t cpu;       // permille of its processors
    bool held;         // it has more work than it can hold
};
enum {
    PLACEMENT_LAG_FULL = 10000, // unread commands per node that count as a full one
    PLACEMENT_BEAT_MS = 2000,
    PLACEMENT_STALE_MS = 5 * PLACEMENT_BEAT_MS // a node that was not heard for so long is gone
};
void placement_beat_format(const struct placement_beat *beat, struct buf *buf);
// Of any bytes. KA_ERR_ENVELOPE with the member that is wrong. `node` lives in the arena or `data`.
KA_MUST_USE enum ka_err placement_beat_parse(struct slice data, struct arena *arena,
                                             struct placement_beat *beat, struct err_text *text);

// How busy the nodes of a region are together, permille, up to PLACEMENT_BUSY_MAX: the most of CPU,
// calls per capacity, and lag. `count` > 0.
int32_t placement_busy(const struct placement_beat *beats, size_t count);
// The moving average: half of it is the newest.
int32_t placement_smooth(int32_t before, int32_t now);

#endif
