// SPDX-License-Identifier: Apache-2.0
// The two clocks. The core never calls them: it is given times.
#ifndef KA_IO_CLOCK_H
#define KA_IO_CLOCK_H

#include <stdint.h>

// Wall clock, unix milliseconds. May jump; for records, timers and people. Any thread.
int64_t clock_now_ms(void);
// Monotonic clock, nanoseconds since some moment; for measuring and waiting. Any thread.
int64_t clock_mono_ns(void);

static inline int64_t clock_mono_ms(void)
{
    return clock_mono_ns() / 1000000;
}

// CPU time of this process, all threads, microseconds; and processors that it may use. Any thread.
int64_t clock_cpu_us(void);
int64_t clock_cpus(void);

// Sleeps; for retries of helper threads and the CLI, never for a lane. Any thread.
void clock_sleep_ms(int ms);

#endif
