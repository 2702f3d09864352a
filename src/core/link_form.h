// SPDX-License-Identifier: Apache-2.0
// The stored forms of <app>.links: how far a source partition was copied, and an operator's skip
// (schemas/link_progress.avsc, link_skip.avsc). Avro single objects; the fingerprint is the
// version. Pure functions, any thread; encoders append to `buf`, slices of what was decoded point
// into `bytes`.
#ifndef KA_CORE_LINK_FORM_H
#define KA_CORE_LINK_FORM_H

#include "core/buf.h"
#include "core/err.h"
#include "core/record.h"

enum { LINK_TEXT_MAX = 300 }; // bytes of actor, reason and stopped

struct link_progress {
    struct slice source;
    struct slice cluster;
    struct slice topic;
    int32_t partition;
    struct slice target;
    int32_t slots;
    int64_t next;
    int64_t last_offset; // -1 = none
    int64_t last_time_ms;
    int64_t last_hash;
    int64_t copied;
    int64_t dropped;
    int64_t skipped;
    int64_t control; // -1 = none
    struct slice actor;
    struct slice reason;
    struct slice stopped; // empty = it goes on
    int64_t time_ms;
};
void link_progress_encode(const struct link_progress *progress, struct buf *buf);
// KA_ERR_AVRO with the field, KA_ERR_VERSION for a form that is not known.
KA_MUST_USE enum ka_err link_progress_decode(struct slice bytes, struct link_progress *progress,
                                             struct err_text *text);

struct link_skip {
    struct slice source;
    struct slice topic;
    int32_t partition;
    int64_t from;
    int64_t to;
    struct slice actor;
    struct slice reason;
    int64_t time_ms;
};
void link_skip_encode(const struct link_skip *skip, struct buf *buf);
KA_MUST_USE enum ka_err link_skip_decode(struct slice bytes, struct link_skip *skip,
                                         struct err_text *text);

// Appends "<source>/<topic>/<partition>": the key of the progress. Its murmur2 partition in
// <app>.links is the slot that copies the partition.
void link_key(struct slice source, struct slice topic, int32_t partition, struct buf *buf);
// Keys that begin with "#" are no progress.
#define LINK_CONTROL_PREFIX SLICE_LIT("#")
#define LINK_SKIP_PREFIX SLICE_LIT("#skip/")
#define LINK_BEAT_PREFIX SLICE_LIT("#link/")

// Of key, value and headers of a record, null told from empty: what last_hash holds.
int64_t link_fingerprint(const struct record *record);

#endif
