// SPDX-License-Identifier: Apache-2.0
// When a second worker with our node name is believed in.
#include "engine/namesake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { LIMIT_MS = 6000 };

static struct namesake seen;
static const char *name;

static int clean(void **state)
{
    (void)state;
    seen = (struct namesake){0};
    return 0;
}

static bool look(int64_t now_ms, const char *a, const char *b)
{
    const struct io_kafka_member members[] = {{.client_id = a}, {.client_id = b}};
    return namesake_look(&seen, members, 2, "n1", now_ms, LIMIT_MS, &name);
}

static void two_members_with_one_name_are_found_after_the_session_timeout(void **state)
{
    (void)state;
    assert_false(look(1000, "n1.s0", "n1.s0"));
    assert_false(look(7000, "n1.s0", "n1.s0"));
    assert_true(look(7001, "n1.s0", "n1.s0"));
    assert_string_equal(name, "n1.s0");
}

static void a_dead_member_of_our_last_life_is_forgiven(void **state)
{
    (void)state;
    assert_false(look(1000, "n1.s0", "n1.s0"));
    assert_false(look(6500, "n1.s0", "n2.s0")); // its session is over
    assert_false(look(7500, "n1.s0", "n1.s0")); // counted anew
    assert_false(look(13000, "n1.s0", "n1.s0"));
}

static void other_names_may_come_twice(void **state)
{
    (void)state;
    assert_false(look(1000, "n10.s0", "n10.s0"));
    assert_false(look(9000, "n10.s0", "n10.s0"));
    assert_false(look(10000, "n1.b.s0", "n1.b.s0")); // node "n1.b"
    assert_false(look(20000, "n1.b.s0", "n1.b.s0"));
    assert_false(look(21000, "n1.s0", "n1.s1"));
    assert_false(look(29000, "n1.s0", "n1.s1"));
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup(test, clean)
    const struct CMUnitTest tests[] = {
        CASE(two_members_with_one_name_are_found_after_the_session_timeout),
        CASE(a_dead_member_of_our_last_life_is_forgiven),
        CASE(other_names_may_come_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
