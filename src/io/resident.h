// SPDX-License-Identifier: Apache-2.0
// The memory that the process has from the system, and what the allocator keeps of it.
#ifndef KA_IO_RESIDENT_H
#define KA_IO_RESIDENT_H

#include <stdint.h>

// Before other threads begin: at most so many arenas, and a burst goes back to the system
// (librdkafka frees tens of MiB at once).
void resident_limit(int32_t arenas);
// Bytes; 0 = the system does not tell.
int64_t resident_bytes(void);
// Gives back what is free. Threads that allocate wait meanwhile, for milliseconds.
void resident_trim(void);

#endif
