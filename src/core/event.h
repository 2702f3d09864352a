// SPDX-License-Identifier: Apache-2.0
// A user's record as a CloudEvents event: structured mode, binary mode, or a plain JSON record with
// defaults (CloudEvents 1.0, Kafka protocol binding sections 3.2 and 3.3). Pure.
#ifndef KA_CORE_EVENT_H
#define KA_CORE_EVENT_H

#include "core/arena.h"
#include "core/err.h"
#include "core/record.h"

// Texts that the event does not have are absent. `data` is one valid JSON document.
struct event {
    struct slice id;
    struct slice source;
    struct slice type;
    struct slice subject;
    struct slice tenant;
    struct slice dataclass;
    struct slice traceparent;
    struct slice data;
};

// `default_type` is what a plain record gets; absent = a plain record has no type and is refused.
// A plain record's id and source are its place: "topic/partition/offset" and "kafka:topic".
// KA_ERR_JSON: the data is not JSON. KA_ERR_ENVELOPE: a required attribute is missing or empty, or
// the spec version is not 1.x, or there is no data. Slices point into the record or the arena.
KA_MUST_USE enum ka_err event_parse(const struct record *record, struct slice default_type,
                                    struct arena *arena, struct event *event,
                                    struct err_text *text);

#endif
