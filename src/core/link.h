// SPDX-License-Identifier: Apache-2.0
// The processor of the link lanes: records of another cluster in, the same records into topics of
// this one out. The lane's own partitions are those of <app>.links, the slots; a slot copies the
// source partitions whose progress key hashes to it. Records of the source come in as results of
// the lane (they are not in this cluster's group, and an abort must not lose them), so every rule
// of the lane holds as it does for shards: one transaction has the copies, the progress and the
// slot's offset. Pure; one thread. What the source cluster is asked for is the engine's matter.
#ifndef KA_CORE_LINK_H
#define KA_CORE_LINK_H

#include "core/lane.h"
#include "core/link_form.h"

struct link_config {
    struct slice source;  // name of the link's source
    struct slice cluster; // Kafka's id of the source cluster
    struct slice here;    // Kafka's id of this one
    struct slice links_topic;
    int32_t slots; // its partitions
    struct slice inbox_topic;
    int32_t shards;    // partitions of the inbox
    size_t record_max; // bytes of a record that the producer takes
};

enum link_state {
    LINK_WAITING, // not read: the engine has yet to compare the source with the progress
    LINK_READING,
    LINK_STOPPED // for an operator; `why` says what it met
};
const char *link_state_name(enum link_state state);

// What a transaction moves, and an abort puts back.
struct link_mark {
    enum link_state state;
    char why[LINK_TEXT_MAX + 1];
    int64_t next;
    int64_t last_offset; // -1 = none
    int64_t last_time_ms;
    int64_t last_hash;
    int64_t copied;
    int64_t dropped;
    int64_t skipped;
    int64_t control;
    int64_t bytes; // of keys and values copied since the slot was adopted
    char actor[64];
    char reason[LINK_TEXT_MAX + 1];
};

// One source partition in the slot that copies it. The engine reads it and changes nothing.
struct link_part {
    char topic[LANE_TOPIC_MAX];
    char target[LANE_TOPIC_MAX];
    int32_t partition;
    bool inbox;               // copied as commands: the key decides the partition
    size_t record_max;        // bytes of a record that the target takes; 0 = not known
    bool wants_target;        // a record waits for the topic here, see link_part_aim
    int64_t serial;           // another one whenever what was read before does not count any more
    struct link_mark now;     // with the open transaction
    struct link_mark settled; // as of the last confirmed commit
    bool skipping;            // a skip is in the open transaction
    int64_t changes;          // counts; those up to `saved` are in a committed progress record
    int64_t closing;
    int64_t saved;
    int64_t again; // copies of transactions that were aborted, since the slot was adopted
};

// A record of the source on its way through a lane; `base` first, so that a result is an input.
struct link_input {
    struct lane_result base;
    struct link_part *part; // valid while the slot's epoch is base.epoch
    int64_t serial;         // of the part when it was read
    bool end;               // no record: up to record.offset there is none
    struct record record;
    size_t size; // the engine's
};

struct links;
// Borrows the slices of `config` for its life.
struct links *links_new(const struct link_config *config);
void links_free(struct links **links);
struct lane_processor links_processor(struct links *links);

// ---- Restore, as of a shard; any one thread.
struct link_restore;
struct link_restore *link_restore_new(void);
void link_restore_free(struct link_restore **restore);
// One record of a partition of <app>.links, in order; those of other links are passed by later.
KA_MUST_USE enum ka_err link_restore_apply(struct link_restore *restore,
                                           const struct record *record, struct err_text *text);
size_t link_restore_parts(const struct link_restore *restore);
size_t link_restore_records(const struct link_restore *restore);

// ---- For the engine, on the lane's thread. `slot` is a partition of this processor.
size_t link_part_count(const struct lane_partition *slot);
struct link_part *link_part_at(const struct lane_partition *slot, size_t index);
struct link_part *link_part_find(const struct lane_partition *slot, struct slice topic,
                                 int32_t partition);
// Nothing of this source has ever been copied by it.
bool link_slot_fresh(const struct lane_partition *slot);
// Which slot copies it.
int32_t link_slot_of(const struct links *links, struct slice topic, int32_t partition);
// A source partition that was never copied: begins at `next`; LINK_READING.
struct link_part *link_part_begin(struct links *links, struct lane_partition *slot,
                                  struct slice topic, int32_t partition, int64_t next);
// Where its records go; empty = the topic or partition is not there yet. A part without a target
// is read all the same: what is dropped needs none. The first record that does sets wants_target
// and lets the part wait; a topic of which nothing is copied is never created.
void link_part_aim(struct link_part *part, struct slice target, bool inbox);
// A record that is larger stops the part, with its reason, and not the lane with a refused
// delivery.
void link_part_limit(struct link_part *part, size_t record_max);
// The source agrees with the progress: it is read, from settled.next on.
void link_part_read(struct link_part *part);
// It is to be compared with the source (again) before it is read on; `why` for those who look.
void link_part_wait(struct links *links, struct link_part *part, const char *why);
// It cannot go on until an operator skips; the reason is written to the progress.
void link_part_stop(struct links *links, struct link_part *part, const char *why);
// Changes whenever a part of an adopted slot has: the engine need not look otherwise.
int64_t links_changes(const struct links *links);

// Counters since the start.
struct link_stats {
    int64_t copied;
    int64_t dropped; // had come by a link
    int64_t bytes;
};
const struct link_stats *links_stats(const struct links *links);

#endif
