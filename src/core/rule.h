// SPDX-License-Identifier: Apache-2.0
// Switches of the tests: each rule that keeps a promise can be turned off in a build with KA_SIM,
// and then the simulator must find the broken promise (tests/sim); in a build with KASAGA_FAULTS
// a real Kafka shows it (tests/it/t_canary.sh). In the product there is no switch: KA_RULE is true.
// The lane has LANE_RULE, which is the same per lane.
// Not for options: no user ever sees these.
#ifndef KA_CORE_RULE_H
#define KA_CORE_RULE_H

// 1 to 14 are the rules of docs/lane.md; the others are parts of them that fail alone, and rules of
// docs/recovery.md and of sagas. The simulator keeps some more of its own (tests/sim/model/sim.h).
enum {
    RULE_LOW_WATER = 16,    // the mark is that of the last confirmed commit
    RULE_MAYBE_DONE = 17,   // what may have happened is undone: an attempt without an answer
    RULE_INCARNATION = 18,  // idempotency keys name the incarnation
    RULE_CLOSED_KEYS = 19,  // an undo names the key that it closes
    RULE_CLAIM = 20,        // of 10: a new owner commits its own metadata before it processes
    RULE_DIRTY = 22,        // of 5: a producer that tried again unasked is reset
    RULE_MEMBERSHIP = 23,   // of 6: no commit without a generation and a member id
    RULE_AFTER_COMMIT = 24, // of 7: calls leave after the commit that decided them
    RULE_RESULT_EPOCH = 25, // of 7: results of another assignment are dropped
    RULE_LANE_TIME = 26,    // of 12: lane time never goes back over a takeover
    RULE_REAPPEND = 27,     // what lags too far behind is written again
    RULE_SEEK = 28,         // of 2: nothing is taken from a partition before it was sought back
    RULE_LOST_CALLS = 29,   // of 9: calls for what was lost are not made
    RULE_IN_FLIGHT = 30,    // of maybe_done: what was in flight when the saga gave up
    RULE_JOIN = 35,         // a branch in flight ends, or times out, before its group turns back
    RULE_SUM = 34,          // of 13: the states restored are those that the last commit left
    RULE_TAKEN_OVER = 31,   // of maybe_done: what was in flight at a takeover
    // docs/links.md
    RULE_LINK_PROGRESS = 40,    // the progress is in the transaction of the copies
    RULE_LINK_SERIAL = 42,      // what was read before a suspicion or a skip is passed by
    RULE_LINK_ORIGIN = 44,      // what came by a link is not copied on
    RULE_LINK_COMPARE = 45,     // the source is compared before it is read
    RULE_LINK_SUSPECT = 46,     // … and again when something has happened to it
    RULE_LINK_RANGE = 47,       // the progress lies before the end of the source
    RULE_LINK_OVERTAKEN = 48,   // … and not before its begin
    RULE_LINK_FINGERPRINT = 49, // the last record is the one that was read
    RULE_LINK_LIMIT = 53,       // what the topic here does not take is never produced
    RULE_LINK_AT_REST = 52,     // … when no open transaction has anything of the partition
    RULE_LINK_SKIP = 50         // a skip is obeyed only where the operator saw the partition
};

#include <stdbool.h>
#include <stdint.h>

#if defined KA_SIM || defined KASAGA_FAULTS
extern uint64_t ka_rules_off; // bits; defined by the simulator and by engine/kill.c
#define KA_RULE(n) ((ka_rules_off & (UINT64_C(1) << (n))) == 0)
#else
#define KA_RULE(n) true
#endif

#endif
