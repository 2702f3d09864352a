// SPDX-License-Identifier: Apache-2.0
// Writes docs/configuration.md to stdout.
#include "io/conf.h"

#include <stdio.h>

int main(void)
{
    struct buf buf = {0};
    io_conf_reference(&buf);
    bool written = fwrite(buf.ptr, 1, buf.len, stdout) == buf.len && fflush(stdout) == 0;
    buf_fini(&buf);
    return written ? 0 : 1;
}
