// SPDX-License-Identifier: Apache-2.0
// A circuit breaker: after so many failures in a row nobody is asked any more for a while, then one
// probe decides. Pure; one owner. Not for data: what a lane reads and writes has a pace of its own,
// and any success of it closes the breaker.
#ifndef KA_CORE_BREAKER_H
#define KA_CORE_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

enum breaker_state {
    BREAKER_CLOSED,   // everything may pass
    BREAKER_OPEN,     // nothing passes before the timeout
    BREAKER_HALF_OPEN // one probe is under way
};

struct breaker_config {
    int32_t threshold;  // failures in a row that open it, 1 or more
    int64_t timeout_ms; // from the opening to the probe
};

// A zeroed struct is a closed breaker.
struct breaker {
    enum breaker_state state;
    int32_t failures; // in a row
    int64_t opened_ms;
    int64_t openings; // since the start
};

const char *breaker_state_name(enum breaker_state state); // "closed", "open", "half-open"

// May a request pass now? In the open state, once the timeout has passed, it is the probe: true
// once, then false until its outcome is told. `now_ms` of a clock that does not jump.
bool breaker_allows(struct breaker *breaker, const struct breaker_config *config, int64_t now_ms);
void breaker_succeeded(struct breaker *breaker);
void breaker_failed(struct breaker *breaker, const struct breaker_config *config, int64_t now_ms);
// When a request may pass next; INT64_MIN = now.
int64_t breaker_next_ms(const struct breaker *breaker, const struct breaker_config *config);

#endif
