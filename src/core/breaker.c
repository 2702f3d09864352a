// SPDX-License-Identifier: Apache-2.0
//
//   CLOSED ── threshold failures in a row ──▶ OPEN ── timeout, one probe ──▶ HALF_OPEN
//     ▲                                        ▲                             │    │
//     │                                        └───────── failed ────────────┘    │
//     └──────────────────────────── succeeded (from any state) ───────────────────┘
#include "core/breaker.h"

#include "core/assert.h"

static const struct {
    const char *name;
    unsigned next; // bit set of states
} states[] = {
    [BREAKER_CLOSED] = {"closed", 1U << BREAKER_OPEN},
    [BREAKER_OPEN] = {"open", 1U << BREAKER_HALF_OPEN | 1U << BREAKER_CLOSED},
    [BREAKER_HALF_OPEN] = {"half-open", 1U << BREAKER_OPEN | 1U << BREAKER_CLOSED},
};

const char *breaker_state_name(enum breaker_state state)
{
    KA_ASSERT((unsigned)state <= BREAKER_HALF_OPEN);
    return states[state].name;
}

static void move(struct breaker *breaker, enum breaker_state to)
{
    KA_ASSERT((states[breaker->state].next & (1U << to)) != 0);
    breaker->state = to;
}

bool breaker_allows(struct breaker *breaker, const struct breaker_config *config, int64_t now_ms)
{
    switch (breaker->state) {
    case BREAKER_CLOSED:
        return true;
    case BREAKER_HALF_OPEN:
        return false;
    case BREAKER_OPEN:
        break;
    }
    if (now_ms < breaker->opened_ms + config->timeout_ms)
        return false;
    move(breaker, BREAKER_HALF_OPEN);
    return true;
}

void breaker_succeeded(struct breaker *breaker)
{
    breaker->failures = 0;
    if (breaker->state != BREAKER_CLOSED)
        move(breaker, BREAKER_CLOSED);
}

void breaker_failed(struct breaker *breaker, const struct breaker_config *config, int64_t now_ms)
{
    KA_ASSERT(config->threshold > 0);
    if (breaker->failures < INT32_MAX)
        breaker->failures++;
    if (breaker->state == BREAKER_OPEN) // of a request from before: the time is not counted anew
        return;
    if (breaker->state == BREAKER_CLOSED && breaker->failures < config->threshold)
        return;
    move(breaker, BREAKER_OPEN);
    breaker->opened_ms = now_ms;
    breaker->openings++;
}

int64_t breaker_next_ms(const struct breaker *breaker, const struct breaker_config *config)
{
    switch (breaker->state) {
    case BREAKER_OPEN:
        return breaker->opened_ms + config->timeout_ms;
    case BREAKER_HALF_OPEN:
        return INT64_MAX;
    case BREAKER_CLOSED:
        break;
    }
    return INT64_MIN;
}
