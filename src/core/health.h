// SPDX-License-Identifier: Apache-2.0
// Whether another region is reachable: it was heard within two intervals, and the breaker of
// whoever hears it is closed. A process that was started, or one that was well a while ago, says
// nothing. Pure.
#ifndef KA_CORE_HEALTH_H
#define KA_CORE_HEALTH_H

#include "core/breaker.h"

#include <stdbool.h>

enum {
    HEALTH_INTERVAL_MIN_MS = 2000
}; // shorter ones count as long: a busy machine is not a dead one

struct health {
    int64_t heard_ms; // when it last answered, of a clock that does not jump; 0 = never
    int64_t interval_ms;
    enum breaker_state breaker;
};

static inline int64_t health_limit_ms(int64_t interval_ms)
{
    return 2 * (interval_ms > HEALTH_INTERVAL_MIN_MS ? interval_ms : HEALTH_INTERVAL_MIN_MS);
}

static inline bool health_up(const struct health *health, int64_t now_ms)
{
    return health->heard_ms > 0 && health->breaker == BREAKER_CLOSED &&
           now_ms - health->heard_ms <= health_limit_ms(health->interval_ms);
}

#endif
