// SPDX-License-Identifier: Apache-2.0
// Switches of the simulator: each rule that keeps a promise can be turned off in a build with
// KA_SIM, and then the simulator must find the broken promise (tests/sim). In the product there is
// no switch: KA_RULE is true. The lane has LANE_RULE, which is the same per lane.
// Not for options: no user ever sees these.
#ifndef KA_CORE_RULE_H
#define KA_CORE_RULE_H

// 1 to 14 are the rules of docs/lane.md.
enum {
    RULE_LOW_WATER = 16,   // the mark is that of the last confirmed commit
    RULE_MAYBE_DONE = 17,  // what may have happened is undone
    RULE_INCARNATION = 18, // idempotency keys name the incarnation
    RULE_CLOSED_KEYS = 19, // an undo names the key that it closes
    RULE_CLAIM = 20        // of 10: a new owner commits its own metadata before it processes
};

#include <stdbool.h>
#include <stdint.h>

#ifdef KA_SIM
extern uint32_t ka_rules_off; // bits; defined by the simulator
#define KA_RULE(n) ((ka_rules_off & (1U << (n))) == 0)
#else
#define KA_RULE(n) true
#endif

#endif
