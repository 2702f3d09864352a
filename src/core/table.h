// SPDX-License-Identifier: Apache-2.0
// The states of one shard in memory: a hash table from key to encoded state, a heap of the times
// they are due, the live list in the order of their last state records, and the memory of
// finished instances. Every change belongs to the open transaction and is either committed or
// undone as a whole. Knows nothing of sagas: a state is bytes and a time. Not for several threads.
//
// What makes it hard:
//  1. Processing changes the table before Kafka has committed. The first change of a key in a
//     transaction keeps what was there (bytes, due time, place in the list); undo puts it back.
//  2. The head of the live list is the low-water mark: nothing before its offset is needed by a
//     new owner. A key's offset is known only when its record is acknowledged, so keys touched in a
//     transaction take the lowest offset that any state record of the transaction got: a bound
//     from below is always safe.
//  3. Finished instances are remembered for a while. Until a chunk of them is full their own
//     FINISHED records are needed; then one record holds the whole chunk and lives in the list
//     like any key, until all of it has expired.
#ifndef KA_CORE_TABLE_H
#define KA_CORE_TABLE_H

#include "core/arena.h"
#include "core/buf.h"
#include "core/err.h"
#include "core/slice.h"

struct table;

struct table_limits {
    int64_t dedupe_window_ms; // how long finished instances are remembered; 0 = not at all
    size_t dedupe_max;        // bytes for all of them: beyond it the oldest chunk goes early (two
                              // chunks, 64 KiB, are kept in any case; 61 million instances at most)
};

// A key that is live. `bytes` is valid until the key is changed or the transaction ends.
struct table_entry {
    struct slice key;
    struct slice bytes;
    int64_t due_ms; // INT64_MAX = never
    int64_t offset; // bound from below of its last state record
};

enum { TABLE_CHUNK = 1024 }; // finished instances in one chunk

// A finished instance: 24 bytes in memory and in a chunk's record, up to 8 more for finding it.
struct table_finished {
    uint64_t hash;       // of the key
    int64_t incarnation; // INT64_MIN: no instance, the log has lost this one
    uint32_t time_s;     // unix seconds
    uint32_t outcome;    // the caller's number
};

struct table *table_new(const struct table_limits *limits);
void table_free(struct table **table);

// NULL if the key is not live. The entry is borrowed until the next call that changes the table.
const struct table_entry *table_lookup(struct table *table, struct slice key);

// Sets the state of a key (new or live); copies both. Part of the open transaction.
void table_put(struct table *table, struct slice key, struct slice bytes, int64_t due_ms);
// The same state is written again (to move the low-water mark).
void table_touch(struct table *table, struct slice key);
// The key (live or never put) is live no more and is remembered as finished, with the sequence
// that table_next_sequence gave before. Each call has its FINISHED record in the log, in this
// order and before the state of the key, if it is live again when the transaction ends.
void table_finish(struct table *table, struct slice key, int64_t incarnation, uint32_t outcome,
                  int64_t now_ms);
// The memory of a finished key: its last instance. NULL if there is none, if it finished before
// the window (of the last table_expire), or if the key is live. Borrowed until the next change.
const struct table_finished *table_lookup_finished(struct table *table, struct slice key);

// Chunks that became full in this transaction and have to be written with it: calls `write` for
// each, in order; its key is "#dedupe/<first sequence>", its value the caller's encoding of
// first_sequence and entries (borrowed for the call). Called once, when nothing more finishes.
typedef void table_write_chunk(void *context, uint64_t first_sequence,
                               const struct table_finished *entries, size_t count);
void table_full_chunks(struct table *table, table_write_chunk *write, void *context);

// Ends the transaction. `first_offset` is the lowest offset that a state record of this shard got
// in it, -1 if there was none (then nothing may have been put, touched or remembered);
// `end_offset` one past the highest. A first_offset below table_end means that the log has lost
// its end: the bounds of everything are lowered to it, and the caller should say so.
void table_commit(struct table *table, int64_t first_offset, int64_t end_offset);
void table_undo(struct table *table);

// The key with the smallest due time, NULL if none. Ties in the order of the keys' bytes.
const struct table_entry *table_due(struct table *table);
// The live key whose state record is the oldest, NULL if none (chunks are not given here). Keys
// that the open transaction changed are written by it and not given.
const struct table_entry *table_oldest(struct table *table);
// Nothing before this offset is needed to restore. Confirmed state only: during a transaction it
// is what it was before.
int64_t table_low_water(const struct table *table);
// One past the last state record known.
int64_t table_end(const struct table *table);
// True and the chunk's entries when the oldest thing in the list is a chunk to be written again,
// be it full or not.
bool table_oldest_chunk(struct table *table, uint64_t *first_sequence,
                        const struct table_finished **entries, size_t *count);
void table_touch_chunk(struct table *table, uint64_t first_sequence);

// Bounded restore. The oldest thing lags more than max(lag_max, 2 x live keys) behind the end. A
// chunk counts as 64 keys: it is as many bytes.
bool table_lagging(const struct table *table, int64_t lag_max);
// Part of the open transaction, when nothing more changes in it: touches the oldest states and
// chunks while the table lags, `max` at most, and calls `state` or `chunk` for each, to be written
// again. Returns their number. With max = the state records that the transaction has anyhow, a
// restore reads at most max(lag_max, 2 x live keys) + live keys records, and those of one
// transaction (its keys have one bound). When many keys finish at once, their number before counts
// until the rest has been written again.
typedef void table_write_state(void *context, const struct table_entry *entry);
struct table_reappend {
    int64_t lag_max; // offsets
    size_t max;
    table_write_state *state;
    table_write_chunk *chunk;
    void *context;
};
size_t table_reappend(struct table *table, const struct table_reappend *how);

// Forgets finished instances that are older than the window. Outside of a transaction.
void table_expire(struct table *table, int64_t now_ms);

// Restore: applies one record, in the order of the log (an offset below table_end is a bug of the
// caller). Outside of a transaction. A restored key is due never, until table_set_due. The hash
// in `finished` is not read. A chunk lies within one multiple of TABLE_CHUNK: (first_sequence %
// TABLE_CHUNK) + count <= TABLE_CHUNK; the decoder has checked that.
void table_restore_put(struct table *table, struct slice key, struct slice bytes, int64_t offset);
void table_restore_finished(struct table *table, struct slice key, uint64_t sequence,
                            const struct table_finished *finished, int64_t offset);
void table_restore_chunk(struct table *table, uint64_t first_sequence,
                         const struct table_finished *entries, size_t count, int64_t offset);
// The log was read up to `end`.
void table_restore_end(struct table *table, int64_t end);
// Sets when a restored key is due. Outside of a transaction.
void table_set_due(struct table *table, struct slice key, int64_t due_ms);

// Sequence that the next finished instance gets (stands in its FINISHED record).
uint64_t table_next_sequence(const struct table *table);

size_t table_count(const struct table *table);          // live keys
size_t table_finished_count(const struct table *table); // remembered
size_t table_chunk_count(const struct table *table);    // chunks in the list, with the open one
uint64_t table_dropped(const struct table *table);      // forgotten early because of dedupe_max
size_t table_bytes(const struct table *table);          // memory of live keys
size_t
table_finished_bytes(const struct table *table); // … of remembered ones: dedupe_max bounds it
// Walks the live keys in no particular order; cursor starts at 0. NULL at the end. The table may
// be changed meanwhile: no key that was live all the time is missed, one may come twice.
const struct table_entry *table_walk(struct table *table, size_t *cursor);
// Equal for the same live keys with the same bytes, whatever their history; kept up to date, so
// that asking costs nothing. Due times and finished instances are not in it.
int64_t table_sum(const struct table *table); // 0 or more
// Equal for equal contents (keys, states, due times, memory of finished within the window of the
// last table_expire), whatever their history.
uint64_t table_digest(struct table *table);

#endif
