// SPDX-License-Identifier: Apache-2.0
// Links between two model clusters, in both directions (see model/links.h). Usage, settings and
// output are those of tests/sim/lane.
#include "model/sim.h"

static const struct sim_rule rules[] = {
    {RULE_LINK_PROGRESS, "the progress is in the transaction of the copies"},
    {RULE_LINK_SERIAL, "what was read before a suspicion or a skip is passed by"},
    {RULE_LINK_ORIGIN, "what came by a link is not copied on"},
    {RULE_LINK_LIMIT, "what the topic here does not take is never produced"},
    {RULE_LINK_COMMITTED, "the source is read read_committed"},
    {RULE_LINK_COMPARE, "the source is compared before it is read"},
    {RULE_LINK_AT_REST, "and that when no open transaction has anything of it"},
    {RULE_LINK_SUSPECT, "and again when something has happened to it"},
    {RULE_LINK_RANGE, "the progress lies before the end of the source"},
    {RULE_LINK_OVERTAKEN, "and not before its begin"},
    {RULE_LINK_FINGERPRINT, "the last record is the one that was read"},
    {RULE_LINK_SKIP, "a skip is obeyed only where the operator saw the partition"},
    {2, "lane 2: an abort undoes the progress"},
    {3, "lane 3: what was read survives an abort"},
    {4, "lane 4: every transaction sends offsets"},
    {5, "lane 5: an unclear outcome is settled by a new epoch and the token"},
    {RULE_DIRTY, "lane 5: a producer that tried again unasked is reset"},
    {6, "lane 6: no commit with a slot that is gone"},
    {RULE_RESULT_EPOCH, "lane 7: what was read for another assignment is dropped"},
    {9, "lane 9: a revoked slot is let go in time"},
    {10, "lane 10: a dead owner's producers are fenced"},
    {RULE_CLAIM, "lane 10: a new owner claims before it processes"},
    {RULE_NEVER_A_MEMBER, "lane 10: a member is never fenced"},
    {RULE_STABLE, "restore: from a stable offset"},
    {RULE_RESTORE_END, "restore: to the high watermark"},
};

int main(int argc, char **argv)
{
    const uint64_t never = UINT64_C(1) << FAULT_HOLD | UINT64_C(1) << FAULT_MISROUTED |
                           UINT64_C(1) << FAULT_POISON | UINT64_C(1) << FAULT_TRIM |
                           UINT64_C(1) << FAULT_TOO_LARGE | UINT64_C(1) << FAULT_ACTION_SLOW |
                           UINT64_C(1) << FAULT_ACTION_FAILED |
                           UINT64_C(1) << FAULT_ACTION_NO_ANSWER;
    const struct sim_suite suite = {
        .seeds = "tests/sim/seeds_link.txt",
        .rules = rules,
        .rule_count = sizeof rules / sizeof rules[0],
        .links = true,
        .faults = ~(UINT64_MAX << FAULT_KINDS) & ~never,
        .effects = ~(UINT64_C(1) << LANE_EFFECT_DISPATCH | UINT64_C(1) << LANE_EFFECT_SAMPLE_END),
        .seeds_share = 5,
        .time_share = 25,
        .kill_runs = 60,
    };
    return sim_main(&suite, argc, argv);
}
