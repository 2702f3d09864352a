// SPDX-License-Identifier: Apache-2.0
#include "io/resident.h"

#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

enum { KEEP = 2 * 1024 * 1024 }; // in each arena

void resident_limit(int32_t arenas)
{
    mallopt(M_TRIM_THRESHOLD, KEEP);
    mallopt(M_ARENA_MAX, arenas);
}

int64_t resident_bytes(void)
{
    long long all = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL)
        return 0;
    int read = fscanf(file, "%lld %lld", &all, &resident);
    fclose(file);
    return read == 2 ? resident * sysconf(_SC_PAGESIZE) : 0;
}

void resident_trim(void)
{
    malloc_trim(0);
}
