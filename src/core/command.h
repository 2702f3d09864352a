// SPDX-License-Identifier: Apache-2.0
// The records of <app>.inbox: one command to one key, Avro single-object encoding
// (schemas/command.avsc). Decoding walks the bytes with bounds; it never trusts a length.
#ifndef KA_CORE_COMMAND_H
#define KA_CORE_COMMAND_H

#include "core/buf.h"
#include "core/err.h"
#include "core/slice.h"

enum command_verb {
    COMMAND_START,
    COMMAND_PAUSE,
    COMMAND_RESUME,
    COMMAND_CANCEL,
    COMMAND_RETRY,
    COMMAND_SKIP,
    COMMAND_TERMINATE,
    COMMAND_RESULT // how a step ended in another region (remote.h); version 2 of the form
};

// Absent optional texts are empty slices. `cause` is "topic/partition/offset" of the record that
// made the router write this, empty when a person did (then `actor` says who).
struct command {
    enum command_verb verb;
    int32_t hops;    // how often it was forwarded to the right partition
    int64_t time_ms; // when it was written
    struct slice
        id; // of the event or request; what comes twice is told by key and state, not by it
    struct slice cause;
    struct slice actor;
    struct slice reason; // of the operator's verbs: required
    struct slice type;   // START: CloudEvents type of the start event
    struct slice source; // START: CloudEvents source
    struct slice tenant;
    struct slice dataclass;
    struct slice traceparent;
    struct slice data; // START, RESULT: JSON object
};

// Appends the encoding.
void command_encode(const struct command *command, struct buf *buf);
// Slices point into `bytes`. KA_ERR_AVRO with the field, KA_ERR_VERSION for a fingerprint that is
// not known.
KA_MUST_USE enum ka_err command_decode(struct slice bytes, struct command *command,
                                       struct err_text *text);

const char *command_verb_name(enum command_verb verb);

#endif
