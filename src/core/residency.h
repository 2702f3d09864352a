// SPDX-License-Identifier: Apache-2.0
// Which data may go to which region. Two questions, both pure: of what class is a document (by the
// names of its fields), and may data of a class, at home in one region, go to another. Asked in the
// region that holds the data, before anything is written to <app>.out.<region>: what may not leave
// never gets there. Not for copying (that is the links' work) and not for reading the rules
// (io/conf_region.c).
#ifndef KA_CORE_RESIDENCY_H
#define KA_CORE_RESIDENCY_H

#include "core/arena.h"
#include "core/err.h"
#include "core/slice.h"

// In the order of how much they bind: a document is of the highest class that any field of it has.
enum data_class { CLASS_PUBLIC, CLASS_SENSITIVE, CLASS_FINANCIAL, CLASS_PERSONAL };

enum { DATA_CLASSES = CLASS_PERSONAL + 1, RESIDENCY_REGIONS_MAX = 64, RESIDENCY_PATTERN_MAX = 64 };
#define REGION_NONE INT32_C(-1)

// A field whose name fits is of the class. Lower case, without "_" and "-"; "*" stands for any
// text.
struct residency_pattern {
    struct slice text;
    enum data_class dataclass;
};

enum residency_target { TARGET_OWN, TARGET_CLOSEST, TARGET_REGION };

// Where data of one class and one home goes. TARGET_CLOSEST is never required.
struct residency_row {
    enum residency_target target;
    int32_t region; // of TARGET_REGION
    bool required;  // there or nowhere; else another region will do when it is down
};

struct residency_tenant {
    struct slice name;
    int32_t region;
};

// Immutable; any thread. Regions are indexes into `regions`.
struct residency {
    const struct slice *regions;
    int32_t region_count;             // 0 = no other region is known: nothing leaves
    int32_t here;                     // REGION_NONE when there are no regions
    const struct residency_row *rows; // [home * DATA_CLASSES + dataclass]
    const struct residency_pattern *patterns;
    size_t pattern_count;
    const struct residency_tenant *tenants; // sorted by name
    size_t tenant_count;                    // 0 = tenants have no regions
    uint64_t hubs;            // bit i: regions[i] is a hub, where nothing runs and nothing leaves
    const uint64_t *hub_rows; // [home * DATA_CLASSES + dataclass]: the hubs that may have a copy
};
static inline bool residency_is_hub(const struct residency *residency, int32_t region)
{
    return residency->hubs >> region & 1;
}

// How another region looks from here.
struct residency_link {
    bool up;
    int64_t rtt_ms;
    // Its load (core/placement.h), that of this region too.
    bool load_known; // and fresh
    bool full;       // it has more work than it can hold
    int32_t busy;    // permille, smoothed
};

const char *data_class_name(enum data_class dataclass); // "personal"
// False for any other text.
KA_MUST_USE bool data_class_parse(struct slice name, enum data_class *dataclass);

// Of a valid JSON document, by the names of its members at any depth. A name of more than 256
// bytes counts as personal. Time grows with the bytes; the arena is used for names with escapes
// only.
enum data_class residency_classify(const struct residency *residency, struct slice json,
                                   struct arena *arena);
// What came with a record may raise the class that its fields give, never lower it. KA_ERR_ENVELOPE
// when `said` is not empty and names no class.
KA_MUST_USE enum ka_err residency_raise(struct slice said, enum data_class *dataclass,
                                        struct err_text *text);

// Whether a text can be the name of a region (letters, digits, "_", "-"), and not an expression.
bool residency_is_name(struct slice text);
// REGION_NONE if there is none of that name.
int32_t residency_region(const struct residency *residency, struct slice name);
// Where the data of a tenant is at home; without a tenant, or without a table of tenants: here.
// KA_ERR_UNKNOWN_TENANT.
KA_MUST_USE enum ka_err residency_home(const struct residency *residency, struct slice tenant,
                                       int32_t *home, struct err_text *text);

// At the door, once: is the tenant known, and what class is the data of? *dataclass is what came
// with it and becomes the name of the class. KA_ERR_UNKNOWN_TENANT, KA_ERR_ENVELOPE.
KA_MUST_USE enum ka_err residency_admit(const struct residency *residency, struct slice tenant,
                                        struct slice data, struct slice *dataclass,
                                        struct arena *arena, struct err_text *text);

enum residency_verdict {
    RESIDENCY_ALLOWED, // to `region`
    RESIDENCY_WAITS,   // to `region` and to no other: it is down, the record waits for it
    RESIDENCY_REROUTE, // to `region` instead: what was asked for, or preferred, is down
    RESIDENCY_REFUSED  // nowhere; `region` is REGION_NONE
};

struct residency_question {
    enum data_class dataclass;
    int32_t home;        // of the data
    int32_t destination; // REGION_NONE = wherever the rules want it
};

struct residency_answer {
    enum residency_verdict verdict;
    int32_t region;
    struct residency_row row; // the rule that decided; of a known home only
};

// `links` has one entry per region; the one of `here` counts as up and 0 ms away. What stays here
// crosses no border and is allowed. Nothing is sent to a hub: it only gets copies.
struct residency_answer residency_decide(const struct residency *residency,
                                         const struct residency_link *links,
                                         const struct residency_question *question);
// May topics with data of this class be copied from a region into `hub`? Only a rule that names the
// hub says so.
bool residency_may_copy(const struct residency *residency, int32_t source, int32_t hub,
                        enum data_class dataclass);
const char *residency_verdict_name(enum residency_verdict verdict); // "refused"
// One sentence on a refusal: "personal data of eu-central may go to eu-central only, not to
// apac-east".
void residency_explain(const struct residency *residency, const struct residency_question *question,
                       const struct residency_answer *answer, struct err_text *text);

#endif
