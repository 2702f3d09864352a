// SPDX-License-Identifier: Apache-2.0
// The records of <app>.links, and which topics a link takes.
#include "core/link_form.h"

#include "avroc.h"
#include "core/link_topic.h"
#include "pcf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// cmocka wants the headers above it
#include <cmocka.h>

#define PROGRESS "schemas/link_progress.avsc"
#define SKIP "schemas/link_skip.avsc"

static struct link_progress progress_sample(void)
{
    return (struct link_progress){.source = SLICE_LIT("eu"),
                                  .cluster = SLICE_LIT("LrpE6kr2k1n4g4JMqh3tnw"),
                                  .topic = SLICE_LIT("orders"),
                                  .partition = 3,
                                  .target = SLICE_LIT("eu.orders"),
                                  .slots = 12,
                                  .next = 1000,
                                  .last_offset = 998,
                                  .last_time_ms = 1790000000123,
                                  .last_hash = -5,
                                  .copied = 900,
                                  .dropped = 20,
                                  .skipped = 80,
                                  .control = 17,
                                  .actor = SLICE_LIT("ann"),
                                  .reason = SLICE_LIT("retention was too short"),
                                  .stopped = SLICE_LIT("why"),
                                  .time_ms = 1790000000200};
}

static struct link_skip skip_sample(void)
{
    return (struct link_skip){.source = SLICE_LIT("eu"),
                              .topic = SLICE_LIT("orders"),
                              .partition = 3,
                              .from = 10,
                              .to = 90,
                              .actor = SLICE_LIT("ann"),
                              .reason = SLICE_LIT("gone"),
                              .time_ms = 5};
}

static void progress_is_what_the_schema_says(void **state)
{
    (void)state;
    struct avroc avroc;
    struct buf buf = {0};
    struct link_progress written = progress_sample(), read;
    link_progress_encode(&written, &buf);
    avro_value_t value;
    avroc_init(&avroc, PROGRESS);
    avroc_decode(&avroc, buf_slice(&buf), &value);
    assert_int_equal(avroc_long(&value, "last_hash"), -5);
    assert_true(slice_eq(avroc_bytes(&value, "stopped"), SLICE_LIT("why")));
    assert_int_equal(avroc_long(&value, "time_ms"), 1790000000200);
    avro_value_decref(&value);
    avroc_fini(&avroc);
    assert_int_equal(link_progress_decode(buf_slice(&buf), &read, NULL), KA_OK);
    assert_int_equal(read.control, 17);
    assert_int_equal(read.skipped, 80);
    assert_true(slice_eq(read.target, written.target) && slice_eq(read.reason, written.reason));
    buf_fini(&buf);
}

static void a_skip_is_what_the_schema_says(void **state)
{
    (void)state;
    struct avroc avroc;
    struct buf buf = {0};
    struct link_skip written = skip_sample(), read;
    link_skip_encode(&written, &buf);
    avro_value_t value;
    avroc_init(&avroc, SKIP);
    avroc_decode(&avroc, buf_slice(&buf), &value);
    assert_int_equal(avroc_long(&value, "from"), 10);
    avro_value_decref(&value);
    avroc_fini(&avroc);
    assert_int_equal(link_skip_decode(buf_slice(&buf), &read, NULL), KA_OK);
    assert_int_equal(read.to, 90);
    assert_true(slice_eq(read.actor, written.actor));
    buf_fini(&buf);
}

static void the_fingerprints_are_those_of_the_schemas(void **state)
{
    (void)state;
    struct buf buf = {0};
    struct link_progress progress = progress_sample(), read;
    struct link_skip skip = skip_sample();
    struct err_text text;
    link_progress_encode(&progress, &buf);
    uint64_t fingerprint;
    memcpy(&fingerprint, buf.ptr + 2, sizeof fingerprint);
    assert_true(fingerprint == pcf_fingerprint(PROGRESS));
    assert_true(pcf_documented(fingerprint));
    buf_clear(&buf);
    link_skip_encode(&skip, &buf);
    memcpy(&fingerprint, buf.ptr + 2, sizeof fingerprint);
    assert_true(fingerprint == pcf_fingerprint(SKIP));
    assert_true(pcf_documented(fingerprint));
    assert_int_equal(link_progress_decode(buf_slice(&buf), &read, &text), KA_ERR_VERSION);
    buf_fini(&buf);
}

static void a_fingerprint_tells_null_from_empty_and_sees_headers(void **state)
{
    (void)state;
    struct header header = {SLICE_LIT("h"), SLICE_LIT("1")};
    struct record record = {.key = SLICE_LIT("k"), .value = SLICE_LIT("")};
    int64_t empty = link_fingerprint(&record);
    record.value = SLICE_NONE;
    int64_t null = link_fingerprint(&record);
    record.headers = &header;
    record.header_count = 1;
    assert_true(empty != null && null != link_fingerprint(&record));
    struct record moved = {.key = SLICE_LIT(""), .value = SLICE_LIT("k")};
    struct record other = {.key = SLICE_LIT("k"), .value = SLICE_LIT("")};
    assert_true(link_fingerprint(&moved) != link_fingerprint(&other));
}

static void patterns_match_whole_names(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *name;
        bool match;
    } rows[] = {
        {"orders", "orders", true},
        {"orders", "orders2", false},
        {"ev.*", "ev.a", true},
        {"ev.*", "ev.", true},
        {"ev.*", "ev", false},
        {"*", "anything", true},
        {"a*c", "abc", true},
        {"a*c", "abcb", false},
        {"a*c", "acbc", true},
        {"*.orders", "eu.orders", true},
        {"*a*b*", "xxaxxbxx", true},
        {"*a*b*", "xxbxxa", false},
        {"", "a", false},
        {"**", "", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(link_glob(slice_str(rows[i].pattern), slice_str(rows[i].name)),
                         rows[i].match);
}

static void topics_of_kafka_and_kasaga_are_never_mirrored(void **state)
{
    (void)state;
    const struct slice all = SLICE_LIT("*");
    struct link_topics topics = {.source = SLICE_LIT("eu"),
                                 .source_app = SLICE_LIT("there"),
                                 .app = SLICE_LIT("shop"),
                                 .patterns = &all,
                                 .pattern_count = 1};
    static const char *const never[] = {"__consumer_offsets", "shop.inbox",   "shop.links",
                                        "there.state",        "there.out.us", "shop.history"};
    for (size_t i = 0; i < sizeof never / sizeof never[0]; i++)
        assert_int_equal(link_topic_match(&topics, slice_str(never[i])), -1);
    assert_int_equal(link_topic_match(&topics, SLICE_LIT("orders")), 0);
    assert_int_equal(link_topic_match(&topics, SLICE_LIT("shop.orders")), 0);
}

static void names_are_prefixed_or_identical(void **state)
{
    (void)state;
    struct link_topics topics = {.source = SLICE_LIT("eu"), .naming = LINK_PREFIXED};
    struct buf buf = {0};
    link_topic_name(&topics, SLICE_LIT("orders"), &buf);
    assert_true(slice_eq(buf_slice(&buf), SLICE_LIT("eu.orders")));
    buf_clear(&buf);
    topics.naming = LINK_IDENTICAL;
    link_topic_name(&topics, SLICE_LIT("orders"), &buf);
    assert_true(slice_eq(buf_slice(&buf), SLICE_LIT("orders")));
    buf_fini(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(progress_is_what_the_schema_says),
        cmocka_unit_test(a_skip_is_what_the_schema_says),
        cmocka_unit_test(the_fingerprints_are_those_of_the_schemas),
        cmocka_unit_test(a_fingerprint_tells_null_from_empty_and_sees_headers),
        cmocka_unit_test(patterns_match_whole_names),
        cmocka_unit_test(topics_of_kafka_and_kasaga_are_never_mirrored),
        cmocka_unit_test(names_are_prefixed_or_identical),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
