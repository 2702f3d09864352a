// SPDX-License-Identifier: Apache-2.0
// The processor of the shard lanes: commands to keyed things in, history, states and invocations
// out. Holds the tables of the shards that one lane owns. Pure; one thread.
#ifndef KA_CORE_SHARD_H
#define KA_CORE_SHARD_H

#include "core/action.h"
#include "core/lane.h"
#include "core/saga.h"
#include "core/state.h"
#include "core/table.h"

struct shard_config {
    struct slice source; // CloudEvents source, "/kasaga/<region>/<app>"
    const char *node;    // "<region>/<node>", for executedby
    int32_t shards;      // N
    struct slice inbox_topic;
    struct slice state_topic;
    struct slice history_topic;
    struct slice dlq_topic;
    struct table_limits limits;
    size_t record_max;   // bytes of one record that a topic takes
    size_t reappend_min; // M of the bounded restore
    int64_t marker_ms;   // between markers of a working shard
    // Other regions; NULL, absent where there are none.
    const struct residency *residency;
    const struct residency_link *links; // one per region
    struct slice out_prefix;            // "<app>.out."
    struct slice audit_topic;
    void (*sha256)(struct slice bytes, unsigned char digest[META_HASH_SIZE]); // with audit_topic
};

// Definitions by name (what a START gets) and by id (what a stored state was begun with). Borrowed
// for the call that asked. NULL if there is none.
struct shard_definitions {
    void *context;
    const struct saga_def *(*current)(void *context, struct slice name);
    const struct saga_def *(*by_id)(void *context, const struct def_id *id);
    // The catalog has a current definition of this name, though `current` cannot give it (an action
    // of it is unknown here): the shard is parked, nothing goes to the dlq. NULL = there is none.
    bool (*named)(void *context, struct slice name);
    // A name that is not known may have been defined a moment ago: `ask` begins to read the catalog
    // to its end as of now, `answered` says whether the others give what stood there. NULL = what
    // is here is all there is.
    uint64_t (*ask)(void *context, struct slice name);
    bool (*answered)(void *context, uint64_t question);
};

// Runs an inline action in the lane. Texts of the result live in the arena.
typedef void shard_run_inline(void *context, const struct invocation *call, struct arena *arena,
                              struct action_result *result);

struct shards;
struct shards *shards_new(const struct shard_config *config,
                          const struct shard_definitions *definitions, shard_run_inline *run,
                          void *run_context);
void shards_free(struct shards **shards);
// The functions for lane_new; the context is `shards`.
struct lane_processor shards_processor(struct shards *shards);

// A shard being restored, on any one thread; handed to the lane in LANE_EVENT_RESTORED, whose
// processor takes it over.
struct shard_restore;
struct shard_restore *shard_restore_new(const struct table_limits *limits);
void shard_restore_free(struct shard_restore **restore);
// One record of the state topic, in order. KA_ERR_AVRO, KA_ERR_VERSION, with the offset in `text`.
KA_MUST_USE enum ka_err shard_restore_apply(struct shard_restore *restore,
                                            const struct record *record, struct err_text *text);
void shard_restore_end(struct shard_restore *restore, int64_t end, int64_t now_ms);
size_t shard_restore_live(const struct shard_restore *restore);
// Rule 13: what was restored and what was committed belong together. KA_ERR_DIVERGED says why not.
KA_MUST_USE enum ka_err shard_restore_agree(const struct shard_restore *restore, int64_t committed,
                                            const struct meta *meta, struct err_text *text);
// Its last marker; false if there was none.
bool shard_restore_marker(const struct shard_restore *restore, struct state_marker *marker);
// The keys, states and finished instances; borrowed. Due times are not set: table_set_due.
struct table *shard_restore_table(const struct shard_restore *restore);
// Records read, and live chunks of finished instances.
size_t shard_restore_records(const struct shard_restore *restore);
size_t shard_restore_chunks(const struct shard_restore *restore);

// Forgets finished instances past the window, also when the shard has nothing to do. Between
// transactions of the lane.
void shard_expire(const struct lane_partition *partition, int64_t now_ms);

// Digest and size of an assigned shard (tests, metrics). `partition` belongs to this processor.
uint64_t shard_digest(const struct lane_partition *partition);
size_t shard_bytes(const struct lane_partition *partition);
size_t shard_finished_bytes(const struct lane_partition *partition); // not part of the former
size_t shard_live(const struct lane_partition *partition);
const struct meta_counts *shard_counts(const struct lane_partition *partition);

#endif
