// SPDX-License-Identifier: Apache-2.0
// Where a record was born: one packed header, `kasaga-origin`, that the first link writes and every
// later one passes on. It is what stops loops: a link looks at it, never at names of topics or
// aliases of clusters. Pure functions, any thread.
//
//   byte  version, 1
//   text  Kafka's id of the cluster that it was produced in (length byte, bytes)
//   text  topic there
//   varint partition, varint offset (zigzag, as in Avro)
//   byte  number of clusters it has come through since, then their ids, each a text
#ifndef KA_CORE_ORIGIN_H
#define KA_CORE_ORIGIN_H

#include "core/buf.h"
#include "core/err.h"
#include "core/record.h"

#define ORIGIN_HEADER SLICE_LIT("kasaga-origin")

enum { ORIGIN_VISITED_MAX = 16, ORIGIN_CLUSTER_MAX = 64, ORIGIN_TOPIC_MAX = 249 };

struct origin {
    struct slice cluster; // 1 to ORIGIN_CLUSTER_MAX bytes
    struct slice topic;   // 1 to ORIGIN_TOPIC_MAX bytes
    int32_t partition;
    int64_t offset;
    struct slice visited[ORIGIN_VISITED_MAX]; // after `cluster`, which is not among them
    size_t visited_count;
};

// Appends the value of the header. Lengths and numbers out of range are bugs of the caller.
void origin_encode(const struct origin *origin, struct buf *buf);
// Reads exactly what origin_encode writes; slices point into `bytes`. KA_ERR_ENVELOPE names what
// is wrong, KA_ERR_VERSION another version.
KA_MUST_USE enum ka_err origin_decode(struct slice bytes, struct origin *origin,
                                      struct err_text *text);

// The last header of that name; SLICE_NONE if there is none.
struct slice origin_of(const struct record *record);
// Was it born in this cluster or has it come through it?
bool origin_has_visited(const struct origin *origin, struct slice cluster);

#endif
