// SPDX-License-Identifier: Apache-2.0
// The lane protocol against a model of Kafka that loses, delays, repeats, fences and dies (see
// model/sim.h). One seed is one run.
//
//   tests/sim/lane                   TAP: all of what follows, of each a little
//   tests/sim/lane SEED              one run, with its last lines
//   tests/sim/lane SEED COUNT [OFF]  that many runs; OFF = bits of the rules that are off
//   tests/sim/lane fresh             fresh seeds only, with the figures
//   tests/sim/lane rules             each rule off: how many seeds until a violation is found
//   tests/sim/lane kills [SEED]      one run per place where a worker can be killed
//
// KASAGA_SIM_SEEDS and KASAGA_SIM_FROM: which fresh seeds (100 from 1). KASAGA_SIM_SECONDS: as many
// of them (without a number: of all) as there is time for, on all cores. After 2,000 of them a
// fault that never hit is a failure too. KASAGA_SIM_CANARY: the seed in which a violation is made
// on purpose.
#include "model/sim.h"

// Each can be turned off, and then a broken promise must be found.
static const struct sim_rule rules[] = {
    {1, "1: a transaction has a cap"},
    {2, "2: an abort undoes the states"},
    {RULE_SEEK, "2: nothing is taken before the seek has succeeded"},
    {3, "3: results survive an abort"},
    {4, "4: every transaction sends offsets"},
    {5, "5: an unclear outcome is settled by a new epoch and the token"},
    {RULE_DIRTY, "5: a producer that tried again unasked is reset"},
    {6, "6: no commit with a partition that is gone"},
    {RULE_MEMBERSHIP, "6: no commit without membership"},
    {7, "7: calls need a young proof of membership"},
    {RULE_AFTER_COMMIT, "7: calls leave after their commit"},
    {RULE_RESULT_EPOCH, "7: results of another assignment are dropped"},
    {8, "8: one state of each key per transaction"},
    {9, "9: a revoked partition is let go in time"},
    {RULE_LOST_CALLS, "9: calls for what was lost are not made"},
    {10, "10: a dead owner is fenced"},
    {RULE_CLAIM, "10: a new owner claims before it processes"},
    {RULE_NEVER_A_MEMBER, "10: a member is never fenced"},
    {11, "11: a record that cannot be written is found"},
    {12, "12: timers come after what could be read"},
    {RULE_LANE_TIME, "12: lane time never goes back over a takeover"},
    {13, "13: offsets and state must agree"},
    {RULE_SUM, "13: the states restored are those of the last commit"},
    {14, "14: pressure holds user records"},
    {RULE_STABLE, "restore: from a stable offset"},
    {RULE_RESTORE_ORDER, "restore: the stable offset first, then the end"},
    {RULE_RESTORE_END, "restore: to the high watermark"},
    {RULE_LOW_WATER, "restore: the low-water mark is that of a confirmed commit"},
    {RULE_REAPPEND, "restore: what lags too far behind is written again"},
    {RULE_MAYBE_DONE, "saga: an attempt without an answer may have happened"},
    {RULE_IN_FLIGHT, "saga: so may one in flight when the saga gives up"},
    {RULE_TAKEN_OVER, "saga: so may one in flight at a takeover"},
    {RULE_JOIN, "saga: branches in flight end before their group turns back"},
    {RULE_INCARNATION, "saga: idempotency keys name the incarnation"},
    {RULE_CLOSED_KEYS, "saga: an undo closes the forward key"},
};

int main(int argc, char **argv)
{
    const struct sim_suite suite = {
        .seeds = "tests/sim/seeds.txt",
        .rules = rules,
        .rule_count = sizeof rules / sizeof rules[0],
        .faults = ~(UINT64_MAX << FAULT_CUT),
        .effects = UINT64_MAX,
        .seeds_share = 100,
        .time_share = 100,
        .kill_runs = 200,
    };
    return sim_main(&suite, argc, argv);
}
