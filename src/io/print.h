// SPDX-License-Identifier: Apache-2.0
// printf into a buffer, for the edge: the core has no stdio. Any thread, one at a time per buffer.
#ifndef KA_IO_PRINT_H
#define KA_IO_PRINT_H

#include "core/buf.h"
#include "core/err.h"

enum { PRINT_MAX = 1024 }; // bytes of one call, with the end of the string; the rest is cut off

void buf_print(struct buf *buf, const char *format, ...) KA_PRINTF(2, 3);

#endif
