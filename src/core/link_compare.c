// SPDX-License-Identifier: Apache-2.0
#include "core/link_compare.h"

#include "core/link_form.h"
#include "core/rule.h"

#include <inttypes.h>

void link_settle(struct link_answer *answer, enum ka_err error)
{
    answer->settled = true;
    answer->error = error;
}

void link_compare_range(const struct link_question *question, int64_t start, int64_t end,
                        struct link_answer *answer)
{
    const char *topic = question->topic;
    int32_t partition = question->partition;
    int64_t next = question->next;
    if (start < 0 || end < 0) {
        link_settle(answer, err_set(&answer->text, KA_ERR_RETRY,
                                    "%s/%d: the source does not say where it begins and ends",
                                    topic, partition));
    } else if (question->serial == 0) {
        answer->next = question->latest ? end : start;
        link_settle(answer, KA_OK);
    } else if (next > end && KA_RULE(RULE_LINK_RANGE)) {
        link_settle(answer, err_set(&answer->text, KA_ERR_DIVERGED,
                                    "%s/%d: copied up to offset %" PRId64
                                    ", but the source ends at %" PRId64
                                    ": it was truncated or created again",
                                    topic, partition, next, end));
    } else if (next < start && KA_RULE(RULE_LINK_OVERTAKEN)) {
        link_settle(answer, err_set(&answer->text, KA_ERR_DIVERGED,
                                    "%s/%d: offsets %" PRId64 " to %" PRId64
                                    " were removed from the source before they were copied",
                                    topic, partition, next, start - 1));
    } else if (question->last_offset < start || next < start || next > end) {
        link_settle(answer, KA_OK); // nothing was read yet, or it is not kept any more
    }
}

void link_compare_record(const struct link_question *question, const struct record *record,
                         struct link_answer *answer)
{
    if (!KA_RULE(RULE_LINK_FINGERPRINT)) {
        link_settle(answer, KA_OK);
        return;
    }
    if (record == NULL || record->offset > question->last_offset) {
        link_settle(answer,
                    err_set(&answer->text, KA_ERR_NOT_FOUND, "%s/%d: offset %" PRId64 " is gone",
                            question->topic, question->partition, question->last_offset));
        return;
    }
    bool same = record->timestamp_ms == question->last_time_ms &&
                link_fingerprint(record) == question->last_hash;
    link_settle(answer,
                same ? KA_OK
                     : err_set(&answer->text, KA_ERR_DIVERGED,
                               "%s/%d: offset %" PRId64
                               " holds another record than the one that was read there: the topic "
                               "was truncated or created again",
                               question->topic, question->partition, question->last_offset));
}

void link_compare_missing(const struct link_question *question, bool compacted,
                          struct link_answer *answer)
{
    link_settle(answer, compacted
                            ? KA_OK
                            : err_set(&answer->text, KA_ERR_DIVERGED,
                                      "%s/%d: the record at offset %" PRId64
                                      " that was read last is gone: the topic was truncated or "
                                      "created again",
                                      question->topic, question->partition, question->last_offset));
}
