// SPDX-License-Identifier: Apache-2.0
// What makes it hard: a miss is a leak. So names are compared after their escapes are resolved,
// without regard to case and separators, at any depth; a name that is too long to look at is taken
// for the strictest class; and a pair that no rule names stays in its own region.
#include "core/residency.h"

#include "core/assert.h"
#include "core/json.h"
#include "core/json_internal.h"

enum { NAME_MAX_BYTES = 256 };

static const char *const class_names[DATA_CLASSES] = {
    [CLASS_PUBLIC] = "public",
    [CLASS_SENSITIVE] = "sensitive",
    [CLASS_FINANCIAL] = "financial",
    [CLASS_PERSONAL] = "personal",
};

const char *data_class_name(enum data_class dataclass)
{
    KA_ASSERT((size_t)dataclass < DATA_CLASSES);
    return class_names[dataclass];
}

bool data_class_parse(struct slice name, enum data_class *dataclass)
{
    for (int i = 0; i < DATA_CLASSES; i++) {
        if (!slice_eq(name, slice_str(class_names[i])))
            continue;
        *dataclass = (enum data_class)i;
        return true;
    }
    return false;
}

// ---- Classes

static char fold(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static size_t skip_separators(struct slice name, size_t at)
{
    while (at < name.len && (name.ptr[at] == '_' || name.ptr[at] == '-'))
        at++;
    return at;
}

// "*" takes as little as it can, and more when what follows does not fit.
static bool fits(struct slice pattern, struct slice name)
{
    size_t p = 0;
    size_t n = skip_separators(name, 0);
    size_t star = SIZE_MAX;
    size_t mark = 0;
    while (n < name.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            star = p++;
            mark = n;
        } else if (p < pattern.len && pattern.ptr[p] == fold(name.ptr[n])) {
            p++;
            n = skip_separators(name, n + 1);
        } else if (star != SIZE_MAX) {
            p = star + 1;
            mark = n = skip_separators(name, mark + 1);
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*')
        p++;
    return p == pattern.len;
}

// `string` has its quotes.
static enum data_class class_of_name(const struct residency *residency, struct slice string,
                                     enum data_class floor, struct arena *arena)
{
    if (string.len > NAME_MAX_BYTES)
        return CLASS_PERSONAL;
    struct slice name = json_text(string, arena);
    enum data_class dataclass = floor;
    for (size_t i = 0; i < residency->pattern_count; i++) {
        const struct residency_pattern *pattern = &residency->patterns[i];
        if (pattern->dataclass > dataclass && fits(pattern->text, name))
            dataclass = pattern->dataclass;
    }
    return dataclass;
}

enum data_class residency_classify(const struct residency *residency, struct slice json,
                                   struct arena *arena)
{
    enum data_class dataclass = CLASS_PUBLIC;
    if (json.len == 0 || residency->pattern_count == 0)
        return dataclass;
    const char *at = json.ptr;
    const char *end = json.ptr + json.len;
    // A string with a colon behind it is the name of a member, wherever it stands.
    while (dataclass < CLASS_PERSONAL && (at = memchr(at, '"', (size_t)(end - at))) != NULL) {
        const char *string = at;
        at = json_skip_string(at, end);
        const char *next = json_skip_space(at, end);
        if (next < end && *next == ':')
            dataclass =
                class_of_name(residency, slice_of(string, (size_t)(at - string)), dataclass, arena);
    }
    return dataclass;
}

enum ka_err residency_raise(struct slice said, enum data_class *dataclass, struct err_text *text)
{
    enum data_class named = CLASS_PUBLIC;
    if (said.len == 0)
        return KA_OK;
    if (!data_class_parse(said, &named))
        return err_set(text, KA_ERR_ENVELOPE,
                       "dataclass \"%.*s\" is none of public, sensitive, financial, personal",
                       SLICE_FMT(said));
    if (named > *dataclass)
        *dataclass = named;
    return KA_OK;
}

// ---- Regions

bool residency_is_name(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = fold(text.ptr[i]);
        bool letter = c >= 'a' && c <= 'z';
        if (!letter && (i == 0 || ((c < '0' || c > '9') && c != '_' && c != '-')))
            return false;
    }
    return text.len > 0;
}

int32_t residency_region(const struct residency *residency, struct slice name)
{
    for (int32_t i = 0; i < residency->region_count; i++)
        if (slice_eq(residency->regions[i], name))
            return i;
    return REGION_NONE;
}

static int compare(struct slice a, struct slice b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len == 0 ? 0 : memcmp(a.ptr, b.ptr, len);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

enum ka_err residency_home(const struct residency *residency, struct slice tenant, int32_t *home,
                           struct err_text *text)
{
    size_t low = 0;
    size_t high = residency->tenant_count;
    *home = residency->here;
    if (tenant.len == 0 || residency->tenant_count == 0)
        return KA_OK;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare(residency->tenants[middle].name, tenant);
        if (order == 0) {
            *home = residency->tenants[middle].region;
            return KA_OK;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return err_set(text, KA_ERR_UNKNOWN_TENANT, "tenant \"%.*s\" is none of tenants",
                   SLICE_FMT(tenant));
}

enum ka_err residency_admit(const struct residency *residency, struct slice tenant,
                            struct slice data, struct slice *dataclass, struct arena *arena,
                            struct err_text *text)
{
    int32_t home = REGION_NONE;
    enum data_class found = CLASS_PUBLIC;
    enum ka_err err = residency_home(residency, tenant, &home, text);
    if (err != KA_OK)
        return err;
    found = residency_classify(residency, data, arena);
    err = residency_raise(*dataclass, &found, text);
    *dataclass = slice_str(data_class_name(found));
    return err;
}

// ---- The decision

static bool is_up(const struct residency *residency, const struct residency_link *links,
                  int32_t region)
{
    return region == residency->here || links[region].up;
}

// The nearest region; of those that are up, when `up` is set. The first of several at one distance.
static int32_t nearest(const struct residency *residency, const struct residency_link *links,
                       bool up)
{
    int32_t best = REGION_NONE;
    int64_t best_ms = INT64_MAX;
    for (int32_t i = 0; i < residency->region_count; i++) {
        int64_t rtt_ms = i == residency->here ? 0 : links[i].rtt_ms;
        if ((up && !is_up(residency, links, i)) || rtt_ms >= best_ms ||
            residency_is_hub(residency, i))
            continue;
        best = i;
        best_ms = rtt_ms;
    }
    return best;
}

static struct residency_answer answer(enum residency_verdict verdict, int32_t region,
                                      struct residency_row row)
{
    return (struct residency_answer){verdict, region, row};
}

static struct residency_answer wanted(const struct residency *residency,
                                      const struct residency_link *links, int32_t region,
                                      struct residency_row row)
{
    if (is_up(residency, links, region))
        return answer(RESIDENCY_ALLOWED, region, row);
    if (row.required)
        return answer(RESIDENCY_WAITS, region, row);
    int32_t other = nearest(residency, links, true);
    return other == REGION_NONE ? answer(RESIDENCY_WAITS, region, row)
                                : answer(RESIDENCY_REROUTE, other, row);
}

static bool known(const struct residency *residency, int32_t region)
{
    return region >= 0 && region < residency->region_count;
}

struct residency_answer residency_decide(const struct residency *residency,
                                         const struct residency_link *links,
                                         const struct residency_question *question)
{
    struct residency_row row = {TARGET_OWN, REGION_NONE, true};
    int32_t destination = question->destination;
    KA_ASSERT((size_t)question->dataclass < DATA_CLASSES);
    if (!known(residency, question->home) ||
        (destination != REGION_NONE && !known(residency, destination)))
        return answer(RESIDENCY_REFUSED, REGION_NONE, row);
    row = residency->rows[question->home * DATA_CLASSES + (int32_t)question->dataclass];
    if (destination != REGION_NONE && destination == residency->here)
        return answer(RESIDENCY_ALLOWED, destination, row);
    int32_t target = row.target == TARGET_OWN       ? question->home
                     : row.target == TARGET_CLOSEST ? nearest(residency, links, false)
                                                    : row.region;
    KA_ASSERT(known(residency, target) && !(row.required && row.target == TARGET_CLOSEST));
    if (destination == REGION_NONE)
        destination = target;
    if (residency_is_hub(residency, destination))
        return answer(RESIDENCY_REFUSED, REGION_NONE, row);
    if (row.required && destination != target)
        return answer(RESIDENCY_REFUSED, REGION_NONE, row);
    return wanted(residency, links, destination, row);
}

bool residency_may_copy(const struct residency *residency, int32_t source, int32_t hub,
                        enum data_class dataclass)
{
    if (!known(residency, source) || !known(residency, hub) || residency->hub_rows == NULL)
        return false;
    return residency->hub_rows[source * DATA_CLASSES + (int32_t)dataclass] >> hub & 1;
}

const char *residency_verdict_name(enum residency_verdict verdict)
{
    static const char *const names[] = {"allowed", "waits", "reroute", "refused"};
    KA_ASSERT((size_t)verdict < sizeof names / sizeof names[0]);
    return names[verdict];
}

void residency_explain(const struct residency *residency, const struct residency_question *question,
                       const struct residency_answer *decided, struct err_text *text)
{
    const char *dataclass = data_class_name(question->dataclass);
    KA_ASSERT(decided->verdict == RESIDENCY_REFUSED);
    if (!known(residency, question->home) || !known(residency, question->destination)) {
        (void)err_set(text, KA_ERR_NOT_ALLOWED, "%s data: the region is not configured here",
                      dataclass);
        return;
    }
    struct slice home = residency->regions[question->home];
    struct slice asked = residency->regions[question->destination];
    if (residency_is_hub(residency, question->destination)) {
        (void)err_set(text, KA_ERR_NOT_ALLOWED, "%.*s is a hub: nothing is sent there",
                      SLICE_FMT(asked));
        return;
    }
    struct slice only =
        decided->row.target == TARGET_OWN ? home : residency->regions[decided->row.region];
    (void)err_set(text, KA_ERR_NOT_ALLOWED, "%s data of %.*s may go to %.*s only, not to %.*s",
                  dataclass, SLICE_FMT(home), SLICE_FMT(only), SLICE_FMT(asked));
}
