// SPDX-License-Identifier: Apache-2.0
#include "io/digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
// cmocka wants the headers above it
#include <cmocka.h>

static const char *hex_of(struct slice bytes)
{
    static char hex[2 * DIGEST_SIZE + 1];
    unsigned char digest[DIGEST_SIZE];
    digest_sha256(bytes, digest);
    digest_hex(digest, sizeof digest, hex);
    return hex;
}

// FIPS 180-4 examples.
static void digests_are_those_of_the_standard(void **state)
{
    (void)state;
    assert_string_equal(hex_of(SLICE_LIT("abc")),
                        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_string_equal(
        hex_of(SLICE_LIT("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

static void absent_counts_as_empty(void **state)
{
    (void)state;
    const char *empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_string_equal(hex_of(SLICE_LIT("")), empty);
    assert_string_equal(hex_of(SLICE_NONE), empty);
}

static void the_identity_of_a_definition_is_its_first_half(void **state)
{
    (void)state;
    char hex[2 * DEF_ID_SIZE + 1];
    struct def_id id = digest_def_id(SLICE_LIT("abc"));
    digest_hex(id.bytes, sizeof id.bytes, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digests_are_those_of_the_standard),
        cmocka_unit_test(absent_counts_as_empty),
        cmocka_unit_test(the_identity_of_a_definition_is_its_first_half),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
