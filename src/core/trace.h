// SPDX-License-Identifier: Apache-2.0
// W3C Trace Context, level 1: the traceparent of an event, and those of what is done because of it.
// Ids of spans are derived, never random: a replay and a new owner find the same. Pure.
#ifndef KA_CORE_TRACE_H
#define KA_CORE_TRACE_H

#include "core/slice.h"

enum { TRACE_PARENT_LEN = 55 }; // "00-<32 hex>-<16 hex>-<2 hex>"

// Is it a traceparent (section 3.2)? One that is not must be ignored.
bool trace_parent_ok(struct slice traceparent);

// The traceparent of a span below `parent`: same trace, same flags, its span id made of the
// parent's and the seed. Written to `room`, into which the result points. A parent that is no
// traceparent is given back as it is.
struct slice trace_child(struct slice parent, uint64_t seed, char room[TRACE_PARENT_LEN]);

#endif
