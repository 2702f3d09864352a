// SPDX-License-Identifier: Apache-2.0
#include "io/print.h"

#include <stdarg.h>
#include <stdio.h>

void buf_print(struct buf *buf, const char *format, ...)
{
    char line[PRINT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    buf_str(buf, line);
}
