// SPDX-License-Identifier: Apache-2.0
// The stored forms of <app>.state that are not states of a saga: finished instances, chunks of
// them, the marker of the shard (schemas/state_*.avsc). Each is an Avro single object; its
// fingerprint tells the forms apart. Not for the states themselves: those are saga.h's. Pure
// functions, any thread; encoders append to `buf`, slices of what was decoded point into `bytes`.
#ifndef KA_CORE_STATE_H
#define KA_CORE_STATE_H

#include "core/buf.h"
#include "core/err.h"
#include "core/meta.h"
#include "core/slice.h"
#include "core/table.h"

enum state_kind {
    STATE_OTHER, // no form that this process knows, or none at all: saga_peek says what is wrong
    STATE_SAGA,
    STATE_FINISHED,
    STATE_CHUNK,
    STATE_MARKER
};

// What a record's value is, by its first bytes.
enum state_kind state_kind(struct slice bytes);

// The key is that of the instance.
struct state_finished {
    int32_t outcome;     // 0 or more
    int64_t incarnation; // 0 or more
    int64_t sequence;    // 0 or more
    int64_t time_s;      // unix seconds, 0 to UINT32_MAX
};
void state_finished_encode(const struct state_finished *finished, struct buf *buf);
// Decoders: KA_ERR_AVRO with the field, KA_ERR_VERSION for a form that is not known.
KA_MUST_USE enum ka_err state_finished_decode(struct slice bytes, struct state_finished *finished,
                                              struct err_text *text);

#define STATE_MARKER_KEY SLICE_LIT("#marker")
struct state_marker {
    int64_t inbox_offset; // next offset of the inbox, with the marker's transaction
    struct slice token;   // meta_token, at most STATE_TOKEN_MAX bytes; may be empty
    int64_t time_ms;      // lane time
    struct meta_counts counts;
};
enum { STATE_TOKEN_MAX = 64 };
void state_marker_encode(const struct state_marker *marker, struct buf *buf);
KA_MUST_USE enum ka_err state_marker_decode(struct slice bytes, struct state_marker *marker,
                                            struct err_text *text);

// Appends "#dedupe/<first sequence>".
void state_chunk_key(uint64_t first_sequence, struct buf *buf);
// Within one multiple of TABLE_CHUNK: (first_sequence % TABLE_CHUNK) + count <= TABLE_CHUNK.
struct state_chunk {
    uint64_t first_sequence;
    size_t count; // 1 or more
};
void state_chunk_encode(const struct state_chunk *chunk, const struct table_finished *entries,
                        struct buf *buf);
// `entries` has room for `room` of them, TABLE_CHUNK or more.
KA_MUST_USE enum ka_err state_chunk_decode(struct slice bytes, struct state_chunk *chunk,
                                           struct table_finished *entries, size_t room,
                                           struct err_text *text);

#endif
