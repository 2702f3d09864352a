// SPDX-License-Identifier: Apache-2.0
// What was done to a chain of audit records afterwards is found, and where.
#include "core/audit.h"

#include "io/digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// cmocka wants the headers above it
#include <cmocka.h>

enum { LENGTH = 8, ROOM = 16 };

struct fixture {
    char values[ROOM][400];
    char keys[ROOM][16];
    size_t count;
    struct meta_audit end;
    struct arena arena;
    struct buf found;
};

static void write_value(struct fixture *f, size_t at, int sequence, const unsigned char *previous,
                        const char *text)
{
    char hex[2 * DIGEST_SIZE + 1];
    digest_hex(previous, DIGEST_SIZE, hex);
    snprintf(f->keys[at], sizeof f->keys[at], "order/%d", sequence);
    snprintf(f->values[at], sizeof f->values[at],
             "{\"subject\":\"order/%d\",\"data\":{\"sequence\":%d,\"previous\":\"%s\","
             "\"message\":\"%s\"}}",
             sequence, sequence, hex, text);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    for (f->count = 0; f->count < LENGTH; f->count++) {
        write_value(f, f->count, (int)f->count + 1, f->end.hash, "why");
        digest_sha256(slice_str(f->values[f->count]), f->end.hash);
    }
    f->end.sequence = LENGTH;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    arena_fini(&f->arena);
    buf_fini(&f->found);
    free(f);
    return 0;
}

// "altered 30 #4; missing 1-2 before 70;" with offsets that go up by ten.
static const char *verify(struct fixture *f, bool trimmed)
{
    static const char *const names[] = {"altered", "put in", "missing", "gone"};
    struct audit_record records[ROOM];
    const struct audit_finding *findings;
    size_t count;
    for (size_t i = 0; i < f->count; i++) {
        struct record record = {.offset = (int64_t)i * 10,
                                .key = slice_str(f->keys[i]),
                                .value = slice_str(f->values[i])};
        audit_read(&record, digest_sha256, &records[i]);
    }
    audit_verify(records, f->count, &f->end, trimmed, &f->arena, &findings, &count);
    buf_clear(&f->found);
    for (size_t i = 0; i < count; i++) {
        char line[100];
        bool range = findings[i].type == AUDIT_MISSING || findings[i].type == AUDIT_GONE;
        if (range)
            snprintf(line, sizeof line, "%s %d-%d before %d;", names[findings[i].type],
                     (int)findings[i].first, (int)findings[i].last, (int)findings[i].offset);
        else
            snprintf(line, sizeof line, "%s %d;", names[findings[i].type], (int)findings[i].offset);
        buf_str(&f->found, line);
    }
    buf_byte(&f->found, '\0');
    return f->found.ptr;
}

static void leave_out(struct fixture *f, size_t at, size_t count)
{
    memmove(f->values[at], f->values[at + count], (f->count - at - count) * sizeof f->values[0]);
    memmove(f->keys[at], f->keys[at + count], (f->count - at - count) * sizeof f->keys[0]);
    f->count -= count;
}

static void put_in(struct fixture *f, size_t at)
{
    memmove(f->values[at + 1], f->values[at], (f->count - at) * sizeof f->values[0]);
    memmove(f->keys[at + 1], f->keys[at], (f->count - at) * sizeof f->keys[0]);
    f->count++;
}

static void an_untouched_chain_is_good(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(verify(f, false), "");
    f->end = (struct meta_audit){0};
    assert_string_equal(verify(f, false), "");
    f->count = 0;
    assert_string_equal(verify(f, false), "");
}

static void each_altered_record_is_named_and_no_other(void **state)
{
    struct fixture *f = *state;
    for (int at = 0; at < LENGTH; at++) {
        char expected[40];
        char *byte = strstr(f->values[at], "why");
        byte[0] = 'W';
        snprintf(expected, sizeof expected, "altered %d;", at * 10);
        assert_string_equal(verify(f, false), expected);
        byte[0] = 'w';
    }
}

static void an_altered_link_accuses_only_its_own_record(void **state)
{
    struct fixture *f = *state;
    char *hash = strstr(f->values[3], "\"previous\":\"") + 12;
    hash[5] = hash[5] == '0' ? '1' : '0';
    assert_string_equal(verify(f, false), "altered 30;");
}

static void an_altered_key_or_form_is_named(void **state)
{
    struct fixture *f = *state;
    f->keys[2][0] = 'X';
    assert_string_equal(verify(f, false), "put in 20;missing 3-3 before 30;");
    f->keys[2][0] = 'o';
    f->values[5][0] = '[';
    assert_string_equal(verify(f, false), "put in 50;missing 6-6 before 60;");
}

static void missing_records_are_numbered(void **state)
{
    struct fixture *f = *state;
    leave_out(f, 2, 2);
    assert_string_equal(verify(f, false), "missing 3-4 before 20;");
}

static void a_cut_end_is_missed(void **state)
{
    struct fixture *f = *state;
    f->count -= 3;
    assert_string_equal(verify(f, false), "missing 6-8 before -1;");
    f->count = 0;
    assert_string_equal(verify(f, false), "missing 1-8 before -1;");
}

static void a_cut_beginning_is_an_offence_unless_the_log_was_trimmed(void **state)
{
    struct fixture *f = *state;
    leave_out(f, 0, 3);
    assert_string_equal(verify(f, true), "gone 1-3 before 0;");
    assert_string_equal(verify(f, false), "missing 1-3 before 0;");
}

static void a_record_that_was_put_in_is_named(void **state)
{
    struct fixture *f = *state;
    put_in(f, 4); // the fifth stands twice
    assert_string_equal(verify(f, false), "put in 40;");
    f->count = LENGTH + 1;
    write_value(f, LENGTH, LENGTH + 1, f->end.hash, "forged at the end");
    assert_non_null(strstr(verify(f, false), "put in 80;"));
}

static void a_chain_written_anew_does_not_fit_its_end(void **state)
{
    struct fixture *f = *state;
    unsigned char hash[DIGEST_SIZE] = {0};
    for (size_t i = 0; i < LENGTH; i++) {
        write_value(f, i, (int)i + 1, hash, "another story");
        digest_sha256(slice_str(f->values[i]), hash);
    }
    assert_string_equal(verify(f, false), "altered 70;");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(an_untouched_chain_is_good),
        CASE(each_altered_record_is_named_and_no_other),
        CASE(an_altered_link_accuses_only_its_own_record),
        CASE(an_altered_key_or_form_is_named),
        CASE(missing_records_are_numbered),
        CASE(a_cut_end_is_missed),
        CASE(a_cut_beginning_is_an_offence_unless_the_log_was_trimmed),
        CASE(a_record_that_was_put_in_is_named),
        CASE(a_chain_written_anew_does_not_fit_its_end),
    };
    return cmocka_run_group_tests_name("audit", tests, NULL, NULL);
}
