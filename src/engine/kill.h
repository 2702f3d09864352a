// SPDX-License-Identifier: Apache-2.0
// Named moments at which a test ends the process, as kill -9 would. They are in the binary that
// `make faults` builds and in no other. There, KASAGA_KILL_AT=NAME:COUNT ends the process when it
// comes by NAME for the COUNTth time. tests/it/t_killpoints.sh takes the names from the source and
// fails if one of them is never reached.
#ifndef KA_ENGINE_KILL_H
#define KA_ENGINE_KILL_H

#include <stdint.h>

// Any thread. Writes one line to stderr before the end, with the name of the thread.
void kill_point(const char *name);
// The same, but the process ends a moment later: in the middle of the call that follows.
void kill_point_soon(const char *name);

// The rules that KASAGA_RULES_OFF=5,22 turns off, as bits (core/rule.h): a test shows the harm.
uint64_t kill_rules_off(void);

#ifdef KASAGA_FAULTS
#define KILL_POINT(name) kill_point(name)
#define KILL_POINT_SOON(name) kill_point_soon(name)
#define RULES_OFF kill_rules_off()
#else
#define RULES_OFF 0
#define KILL_POINT(name) ((void)0)
#define KILL_POINT_SOON(name) ((void)0)
#endif

#endif
