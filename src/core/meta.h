// SPDX-License-Identifier: Apache-2.0
// The metadata string that rides with every committed offset of a lane: who committed, a token
// that tells commits apart, where a restore begins, the lane's time and the shard's counts.
//   k1;<node>.<lane>;<incarnation>:<n>;<low water>;<sum>;<time ms>;<live>;<started>;<completed>;
//   <compensated>;<stuck>;<terminated>                        (one line, no blanks, decimal)
// A shard that has written audit records says "k2" and adds ;<number of them>;<hash of the last>.
// Not for offsets themselves: those are Kafka's. Pure functions, any thread.
#ifndef KA_CORE_META_H
#define KA_CORE_META_H

#include "core/buf.h"
#include "core/err.h"
#include "core/slice.h"

// A broker takes 4096 bytes (offset.metadata.max.bytes); the longest string we write has about 530.
enum { META_NODE_MAX = 128, META_LANE_MAX = 32, META_MAX = 640, META_HASH_SIZE = 32 };

// Instances of a shard: `live` now, the others since its first record. Also in the shard's marker.
struct meta_counts {
    int64_t live;
    int64_t started;
    int64_t completed;
    int64_t compensated;
    int64_t stuck;
    int64_t terminated;
};

// The end of the chain of a shard's audit records (shard_audit.c).
struct meta_audit {
    int64_t sequence;                   // of the last record, the first has 1; 0 = there is none
    unsigned char hash[META_HASH_SIZE]; // SHA-256 of its value; zero if there is none
};

// All numbers are 0 or more.
struct meta {
    bool present;        // false: no metadata was committed, everything else is zero
    struct slice node;   // 1 to META_NODE_MAX bytes of A-Z a-z 0-9 . _ -
    struct slice lane;   // 1 to META_LANE_MAX bytes of the same without the dot: "s0", "r1"
    int64_t incarnation; // of the process that committed
    int64_t number;      // of the transaction within that lane: with `incarnation` the token
    int64_t low_water;   // offset of the state topic where a restore begins
    int64_t sum;         // of the live states that this commit leaves: a restore must give the same
    int64_t time_ms;     // lane time, unix ms: it never goes back over a takeover
    struct meta_counts counts;
    struct meta_audit audit;
};

// May `name` stand in a metadata string (and in a transactional.id) as a node, as a lane?
bool meta_node_ok(struct slice name);
bool meta_lane_ok(struct slice name);

// Appends the string. Bad names and negative numbers are bugs of the caller (assert); `present`
// is not looked at.
void meta_format(const struct meta *meta, struct buf *buf);

// Reads exactly what meta_format writes. Slices point into `text`. Absent or empty text gives
// KA_OK with present = false. KA_ERR_VERSION: "k<another number>"; KA_ERR_ENVELOPE: anything else.
// After an error *meta is zeroed.
KA_MUST_USE enum ka_err meta_parse(struct slice text, struct meta *meta, struct err_text *detail);

// Appends the token, "<incarnation>:<n>".
void meta_token(const struct meta *meta, struct buf *buf);
// The same transaction of the same lane of the same process. False if one of them is not present.
bool meta_same_commit(const struct meta *a, const struct meta *b);

#endif
