// SPDX-License-Identifier: Apache-2.0
#include "io/log.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
// cmocka wants the headers above it
#include <cmocka.h>

static int ends[2]; // of a pipe: what is logged can be read from the first
static char line[8192];

static void set_up(bool json, bool repeats)
{
    assert_int_equal(pipe(ends), 0);
    log_configure(&(struct log_config){
        .level = LOG_LEVEL_INFO, .json = json, .repeats = repeats, .fd = ends[1]});
}

// What was written since set_up, without the time, which comes first.
static const char *logged(void)
{
    close(ends[1]);
    ssize_t got = read(ends[0], line, sizeof line - 1);
    close(ends[0]);
    line[got < 0 ? 0 : got] = '\0';
    const char *level = strstr(line, "level");
    return level == NULL ? line : level;
}

static void fields_are_typed(void **state)
{
    (void)state;
    set_up(false, true);
    log_info("lane", "claimed", "shard=%d offset=%lld key=%.*s place=%s/%d share=%.2f bytes=%zu", 7,
             42LL, 5, "order/4711", "in", 3, 0.5, (size_t)9);
    assert_string_equal(logged(), "level=info facility=lane event=claimed shard=7 offset=42 "
                                  "key=order place=in/3 share=0.50 bytes=9\n");
}

static void json_has_numbers_and_strings(void **state)
{
    (void)state;
    set_up(true, true);
    log_warn("lane", "slow", "ms=%" PRId64 " key=%s place=%s/%d", (int64_t)-5, "a\"b", "in", 3);
    const char *text = logged();
    assert_string_equal(text, "level\":\"warn\",\"facility\":\"lane\",\"event\":\"slow\",\"ms\":-5,"
                              "\"key\":\"a\\\"b\",\"place\":\"in/3\"}\n");
    assert_memory_equal(line, "{\"time\":\"20", 11);
}

static void foreign_bytes_cannot_forge_a_line(void **state)
{
    (void)state;
    set_up(false, true);
    log_error("lane", "poison", "key=%s", "a\nlevel=info x=1\x1b[2J\xff\xc3\xa9");
    assert_string_equal(logged(), "level=error facility=lane event=poison "
                                  "key=\"a\\nlevel=info x=1\\u001b[2J\\ufffd\xc3\xa9\"\n");
}

static void lines_below_the_level_are_dropped(void **state)
{
    (void)state;
    set_up(false, true);
    log_debug("lane", "detail", "n=%d", 1);
    assert_false(log_enabled(LOG_LEVEL_DEBUG));
    log_event(LOG_LEVEL_INFO, "lane", "two words");
    assert_string_equal(logged(), "level=info facility=lane event=\"two words\"\n");
}

static void repeats_are_counted_instead_of_written(void **state)
{
    (void)state;
    set_up(false, false);
    for (int i = 0; i < 50; i++)
        log_info("lane", "again", "n=%d", 1);
    const char *text = logged();
    int lines = 0;
    for (const char *at = text; *at != '\0'; at++)
        lines += *at == '\n';
    assert_int_equal(lines, 3);
}

static void different_lines_are_no_repeats(void **state)
{
    (void)state;
    set_up(false, false);
    for (int i = 0; i < 20; i++)
        log_info("lane", "different", "n=%d", i);
    int lines = 0;
    for (const char *at = logged(); *at != '\0'; at++)
        lines += *at == '\n';
    assert_int_equal(lines, 20);
}

static void a_line_that_is_too_long_is_cut_and_says_so(void **state)
{
    (void)state;
    static char huge[3000];
    memset(huge, 1, sizeof huge - 1); // each byte takes six
    set_up(true, true);
    log_info("lane", "huge", "a=%d b=%s c=%d", 1, huge, 2);
    assert_string_equal(logged(),
                        "level\":\"info\",\"facility\":\"lane\",\"event\":\"huge\",\"a\":1,"
                        "\"cut\":true}\n");
}

static void levels_have_names(void **state)
{
    (void)state;
    enum log_level level;
    assert_true(log_level_parse("warn", &level));
    assert_int_equal(level, LOG_LEVEL_WARN);
    assert_false(log_level_parse("loud", &level));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_typed),
        cmocka_unit_test(json_has_numbers_and_strings),
        cmocka_unit_test(foreign_bytes_cannot_forge_a_line),
        cmocka_unit_test(lines_below_the_level_are_dropped),
        cmocka_unit_test(repeats_are_counted_instead_of_written),
        cmocka_unit_test(different_lines_are_no_repeats),
        cmocka_unit_test(a_line_that_is_too_long_is_cut_and_says_so),
        cmocka_unit_test(levels_have_names),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
