// SPDX-License-Identifier: Apache-2.0
// The chain of <app>.audit read back and checked (written by shard_audit.c; docs/formats.md). Pure;
// reading the topic is the command's work (cmd/audit.c).
#ifndef KA_CORE_AUDIT_H
#define KA_CORE_AUDIT_H

#include "core/buf.h"
#include "core/err.h"
#include "core/meta.h"
#include "core/record.h"

// One record of a partition.
struct audit_record {
    int64_t offset;
    int64_t sequence; // 0 = it is no audit record
    unsigned char previous[META_HASH_SIZE];
    unsigned char hash[META_HASH_SIZE]; // of its value
};

typedef void audit_sha256(struct slice bytes, unsigned char digest[META_HASH_SIZE]);
void audit_read(const struct record *record, audit_sha256 *sha256, struct audit_record *out);

enum audit_finding_type {
    AUDIT_ALTERED, // the record at `offset` is not what the one behind it says
    AUDIT_PUT_IN,  // the record at `offset` does not belong there
    AUDIT_MISSING, // sequences `first` to `last`, before `offset`; -1 = at the end
    AUDIT_GONE     // the same at the beginning, where retention takes them: no offence
};

struct audit_finding {
    enum audit_finding_type type;
    int64_t offset;
    int64_t first;
    int64_t last;
};

// One partition. `records` are all there are, in the order of the log. `end` is what the shard last
// committed; sequence 0 = not known, then the last record counts as good. `trimmed`: the log does
// not begin at offset 0. Findings come latest first, in the arena.
void audit_verify(const struct audit_record *records, size_t count, const struct meta_audit *end,
                  bool trimmed, struct arena *arena, const struct audit_finding **findings,
                  size_t *finding_count);

#endif
