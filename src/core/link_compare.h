// SPDX-License-Identifier: Apache-2.0
// Is the source still what was copied? Kafka's own answers to that (topic ids, leader epochs) are
// not to be seen through librdkafka 2.0.2, so the next offset must lie within the log, and the
// record that was read last is read again and its fingerprint compared. What this cannot see: a log
// that lost its end or was created again, grew beyond the last record, and holds the very same
// record there; and a new log after the last record was removed by retention.
// Pure functions, any thread. Who asks the source is the engine's matter.
#ifndef KA_CORE_LINK_COMPARE_H
#define KA_CORE_LINK_COMPARE_H

#include "core/err.h"
#include "core/record.h"

// What was copied of a source partition, as of the last confirmed commit.
struct link_question {
    char topic[250];
    int32_t partition;
    int32_t slot; // the lane's, with its epoch: answered as given, like the serial
    int32_t epoch;
    int64_t serial; // 0 = never copied: where to begin is asked for
    bool latest;    // … with what comes from now on
    int64_t next;
    int64_t last_offset; // -1 = no record is known
    int64_t last_time_ms;
    int64_t last_hash;
};

struct link_answer {
    bool settled;
    enum ka_err error; // DIVERGED: they do not agree; class RETRY: ask again
    struct err_text text;
    int64_t next; // never copied: where to begin
};

void link_settle(struct link_answer *answer, enum ka_err error);
// The log is [start, end), -1 = not known. What settles nothing is left for the fingerprint.
void link_compare_range(const struct link_question *question, int64_t start, int64_t end,
                        struct link_answer *answer);
// The first record at or after last_offset; NULL = there is none up to the end. NOT_FOUND: the
// record itself is gone, see link_compare_missing.
void link_compare_record(const struct link_question *question, const struct record *record,
                         struct link_answer *answer);
// A compacted topic may have dropped the record since: that is no loss.
void link_compare_missing(const struct link_question *question, bool compacted,
                          struct link_answer *answer);

#endif
