// SPDX-License-Identifier: Apache-2.0
// A command in the inbox becomes a state and, as long as its call waits, the input of that call:
// it counts twice before it is read. So the sum does not jump when the shards catch up, and what
// the route lanes wrote before they were told to hold is in it.
//
// What is resident has the last word, because a heap has holes: it holds back as well, but never
// when little is counted, or nothing would be taken any more.
#include "engine/pressure.h"

#include "io/log.h"

enum {
    SAGA_BYTES = 1024, // what a saga needs beside its data, while its call waits
    TRIM_MS = 500,     // between two, when there is much
    RELAX_MS = 5000    // of rest, then what a burst has left is given back
};

static int64_t counted(const struct pressure_load *load)
{
    return load->states + load->calls + 2 * load->backlog_bytes + SAGA_BYTES * load->backlog;
}

static bool trims(struct pressure *pressure, const struct pressure_load *load, bool much,
                  int64_t now_ms)
{
    bool busy = load->records != pressure->records;
    pressure->records = load->records;
    if (busy) {
        pressure->busy_ms = now_ms;
        pressure->trimmed = false;
    }
    bool rests = !pressure->trimmed && now_ms - pressure->busy_ms >= RELAX_MS;
    if (!rests && !(much && now_ms - pressure->trimmed_ms >= TRIM_MS))
        return false;
    pressure->trimmed = pressure->trimmed || rests;
    pressure->trimmed_ms = now_ms;
    return true;
}

bool pressure_look(struct pressure *pressure, const struct pressure_load *load, int64_t resident,
                   int64_t now_ms, bool *pressed, bool *trim)
{
    int64_t max = pressure->states_max;
    int64_t most = pressure->memory_max + load->finished;
    bool limited = pressure->memory_max > 0;
    bool much = limited && resident > most - most / 8;
    *trim = trims(pressure, load, much, now_ms);
    pressure->full =
        limited && resident > most - most / (pressure->full ? 10 : 16) && counted(load) > max / 4;
    pressure->memory =
        pressure->full || (limited && counted(load) > (pressure->memory ? max - max / 4 : max));
    *pressed = pressure->memory || load->lanes;
    pressure->held = *pressed || load->others;
    return pressure->held;
}

static const char *yes(bool is)
{
    return is ? "yes" : "no";
}

void pressure_tell(const struct pressure *pressure, const struct pressure_load *load)
{
    log_warn("worker", pressure->held ? "inputs_held" : "inputs_released",
             "memory=%s resident=%s calls=%s others=%s state_bytes=%lld call_bytes=%lld "
             "inbox_bytes=%lld share=%lld waiting=%lld",
             yes(pressure->memory), yes(pressure->full), yes(load->lanes), yes(load->others),
             (long long)load->states, (long long)load->calls, (long long)load->backlog_bytes,
             (long long)pressure->states_max, (long long)load->waiting);
}
