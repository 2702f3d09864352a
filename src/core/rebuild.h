// SPDX-License-Identifier: Apache-2.0
// The state of a shard from its part of the history (docs/recovery.md, "Rebuild"): every instance
// is run again (core/replay.h), what is live at the end has its state, what ended is remembered.
// Records of many instances come in the order of the log; those of one event stand together. Not
// for reading or writing topics. Pure; one thread.
#ifndef KA_CORE_REBUILD_H
#define KA_CORE_REBUILD_H

#include "core/def.h"
#include "core/record.h"
#include "core/table.h"

struct rebuild_config {
    struct table_limits limits;
    void *context;
    // The definition of an id; KA_ERR_NO_DEFINITION with the detail.
    enum ka_err (*find)(void *context, const struct def_id *id, const struct saga_def **def,
                        struct err_text *text);
};

struct rebuild;
struct rebuild *rebuild_new(const struct rebuild_config *config);
void rebuild_free(struct rebuild **rebuild);

// The next record of the history partition. What cannot be run again (its start is gone, its
// history is short, it differs) is lost from here on, unless it ends later: an end is remembered
// whatever was before it.
void rebuild_take(struct rebuild *rebuild, const struct record *record);
// No more records; forgets what ended before the window.
void rebuild_end(struct rebuild *rebuild, int64_t now_ms);

// Live instances that are lost. *key (borrowed) and *why name one of them, if there is any.
size_t rebuild_lost(struct rebuild *rebuild, struct slice *key, const char **why);
// States, due times and finished instances: its digest is that of the shard if nothing is lost.
struct table *rebuild_table(const struct rebuild *rebuild);
size_t rebuild_records(const struct rebuild *rebuild);

// The due times of states that were restored, which a state topic does not have.
KA_MUST_USE enum ka_err rebuild_due_times(const struct rebuild_config *config, struct table *table,
                                          struct err_text *text);
// A live key whose state differs in the two tables or is in one of them only; absent if there is
// none. In the arena.
struct slice rebuild_difference(struct table *a, struct table *b, struct arena *arena);

// All records of a state topic that hold the table: states, and finished instances in chunks. Once,
// when nothing is lost.
typedef void rebuild_write(void *context, struct slice key, struct slice value);
void rebuild_write_all(struct rebuild *rebuild, rebuild_write *write, void *context);

#endif
