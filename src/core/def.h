// SPDX-License-Identifier: Apache-2.0
// Definitions as the lanes use them: immutable, compiled for one thread (expressions hold engine
// programs), loaded from the normalised JSON form that the catalog carries and the hash is taken
// of. Not for reading configuration files: io/conf.h does that and writes the normalised form.
#ifndef KA_CORE_DEF_H
#define KA_CORE_DEF_H

#include "core/arena.h"
#include "core/err.h"
#include "core/expr.h"
#include "core/residency.h"
#include "core/schema.h"
#include "core/slice.h"

enum { DEF_ID_SIZE = 16, DEF_STEPS_MAX = 64, DEF_NAME_MAX = 64 };

// The first 128 bits of the SHA-256 of the normalised form (made by the edge).
struct def_id {
    unsigned char bytes[DEF_ID_SIZE];
};

// attempts counts the first try. backoff doubles from `backoff_ms` to `backoff_max_ms`; the pause
// is drawn between half of that and all of it (seeded by the attempt's identity).
struct retry_policy {
    int32_t attempts; // >= 1; 0 = no limit
    int64_t backoff_ms;
    int64_t backoff_max_ms;
};

enum action_kind { ACTION_PLUGIN, ACTION_HTTP, ACTION_EXEC, ACTION_TOPIC, ACTION_ENTITY };

// One action as this process can run it. `runner` is what the engine bound to it (a plugin's
// function table, a program); the core only passes it on.
struct action_def {
    const char *name;
    enum action_kind kind;
    bool run_inline;
    const struct schema *params; // NULL = any object
    const struct schema *result; // NULL = any object
    void *runner;
};

struct step_def {
    const char *name;
    const char *action_name;
    const char *compensate_name; // NULL = nothing to undo
    const struct action_def *action;
    const struct action_def *compensate;
    struct expr *when;             // NULL = always
    struct expr *input;            // NULL = everything known so far
    struct expr *compensate_input; // over {"input":…,"result":…} of the step; NULL = that
    struct retry_policy retry;
    struct retry_policy compensate_retry;
    int64_t timeout_ms; // of one attempt
    int64_t compensate_timeout_ms;
    bool optional; // its failure does not fail the saga
    bool pivot;    // once completed there is no way back
    // Branches of a parallel step are neighbours with one number over 0; 0 = a step of its own.
    int32_t group;
    const char *group_name; // the parallel step's
    bool collect;           // a branch that failed does not hold back the others
    // Of a distributed step: what the results of its branches are gathered under, beside each
    // other; NULL = they are merged. Its n-th branch is for the n-th element of the list that
    // `items` gives (all have that of the first), left out when there is none.
    const char *gather;
    struct expr *items;
    // Where it runs, and its compensation: a region, that of the tenant, what an expression over
    // everything known so far gives, the least loaded; none of the four = here.
    const char *region;
    bool region_of_tenant;
    struct expr *region_expr;
    bool least_loaded;
    bool local_data; // its action works on data of this region: here, whatever `region` says
    // Class of what `input` leaves, on the author's word; only its fields can raise it.
    bool declared;
    enum data_class dataclass;
};

enum history_mode { HISTORY_ALL, HISTORY_STEPS, HISTORY_ENDS };

struct saga_def {
    const char *name;
    int64_t version;
    struct def_id id;
    int64_t deadline_ms;      // from the start; 0 = none
    int64_t dedupe_window_ms; // how long a finished instance is remembered
    size_t state_max; // bytes of one instance (saga_size), of the worker's configuration; 0 = any
    enum history_mode history;
    bool remote; // its instances run one step for another region (remote.h)
    size_t step_count;
    struct step_def steps[]; // step_count of them
};

// The steps that are in hand together with step `at`: the branches of its group, or only itself.
static inline int32_t def_first_of(const struct saga_def *def, int32_t at)
{
    int32_t first = at;
    while (first > 0 && def->steps[at].group > 0 &&
           def->steps[first - 1].group == def->steps[at].group)
        first--;
    return first;
}
// The first step behind them.
static inline int32_t def_end_of(const struct saga_def *def, int32_t at)
{
    int32_t end = at + 1;
    while (end < (int32_t)def->step_count && def->steps[at].group > 0 &&
           def->steps[end].group == def->steps[at].group)
        end++;
    return end;
}

// Finds the local action of a name; NULL if this process has none.
typedef const struct action_def *def_find_action(void *context, const char *name);

struct def_env {
    const struct expr_engine *engine;
    def_find_action *find_action;
    void *find_context;
    size_t state_max; // 0 = no limit
};

// Loads a definition from its normalised JSON. The result and all it points to but the actions
// belong to *def; free with def_free on the thread that loaded it. KA_ERR_CONFIG with the member
// that is wrong; KA_ERR_UNSUPPORTED for forms of a later version; KA_ERR_NOT_FOUND when an action
// is unknown here.
KA_MUST_USE enum ka_err def_load(struct slice json, const struct def_id *id,
                                 const struct def_env *env, struct saga_def **def,
                                 struct err_text *text);
void def_free(struct saga_def **def);

#endif
