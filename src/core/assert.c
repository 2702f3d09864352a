// SPDX-License-Identifier: Apache-2.0
// The core may not use stdio, so the text is put together by hand and left where a core dump and
// the process' own crash handler find it.
#include "core/assert.h"

#include <stdlib.h>
#include <string.h>

char ka_assert_text[256];
void (*ka_assert_hook)(const char *text);

static size_t append(size_t at, const char *text)
{
    size_t len = strlen(text);
    size_t room = sizeof ka_assert_text - 1 - at;
    if (len > room)
        len = room;
    memcpy(ka_assert_text + at, text, len);
    return at + len;
}

__attribute__((weak)) _Noreturn void ka_assert_failed(const char *condition, const char *file,
                                                      int line)
{
    char digits[12];
    size_t pos = sizeof digits - 1;
    digits[pos] = '\0';
    for (unsigned value = (unsigned)line; value > 0 && pos > 0; value /= 10)
        digits[--pos] = (char)('0' + value % 10);
    size_t at = append(0, file);
    at = append(at, ":");
    at = append(at, digits + pos);
    at = append(at, ": assertion failed: ");
    at = append(at, condition);
    ka_assert_text[at] = '\0';
    if (ka_assert_hook != NULL)
        ka_assert_hook(ka_assert_text);
    abort();
}
