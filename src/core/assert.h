// SPDX-License-Identifier: Apache-2.0
// Assertions that stay on in production. For what can only be a bug of kasaga's own: never for
// records, files, brokers or a failed malloc.
#ifndef KA_CORE_ASSERT_H
#define KA_CORE_ASSERT_H

// Reports the failed condition and ends the process with abort(). Any thread. A test may replace
// it with a function that does not return to the caller.
_Noreturn void ka_assert_failed(const char *condition, const char *file, int line);

// Called with the text before abort(), on the failing thread; NULL = nothing. main sets it.
extern void (*ka_assert_hook)(const char *text);

#define KA_ASSERT(condition)                                                                       \
    do {                                                                                           \
        if (__builtin_expect(!(condition), 0))                                                     \
            ka_assert_failed(#condition, __FILE__, __LINE__);                                      \
    } while (0)

#endif
