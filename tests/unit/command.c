// SPDX-License-Identifier: Apache-2.0
#include "core/command.h"

#include "avroc.h"
#include "core/hash.h"
#include "pcf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// cmocka wants the headers above it
#include <cmocka.h>

#define SCHEMA "schemas/command.avsc"

static struct command sample(void)
{
    return (struct command){.verb = COMMAND_START,
                            .hops = 1,
                            .time_ms = 1790000000123,
                            .id = SLICE_LIT("e-1"),
                            .cause = SLICE_LIT("orders/3/1201"),
                            .type = SLICE_LIT("order.placed"),
                            .source = SLICE_LIT("/web"),
                            .tenant = SLICE_LIT("acme"),
                            .dataclass = SLICE_LIT("pii"),
                            .traceparent = SLICE_LIT("00-0af7651916cd43dd8448eb211c80319c-01"),
                            .data = SLICE_LIT("{\"order_id\":\"4711\"}")};
}

static void assert_same(const struct command *a, const struct command *b)
{
    assert_int_equal(a->verb, b->verb);
    assert_int_equal(a->hops, b->hops);
    assert_true(a->time_ms == b->time_ms);
    assert_true(slice_eq(a->id, b->id) && slice_eq(a->cause, b->cause));
    assert_true(slice_eq(a->actor, b->actor) && slice_eq(a->reason, b->reason));
    assert_true(slice_eq(a->type, b->type) && slice_eq(a->source, b->source));
    assert_true(slice_eq(a->tenant, b->tenant) && slice_eq(a->dataclass, b->dataclass));
    assert_true(slice_eq(a->traceparent, b->traceparent) && slice_eq(a->data, b->data));
}

static enum ka_err decode(const struct buf *buf, struct command *command, struct err_text *text)
{
    return command_decode(buf_slice(buf), command, text);
}

static void what_was_written_is_read_back(void **state)
{
    (void)state;
    struct buf buf = {0};
    struct command written = sample();
    struct command read;
    command_encode(&written, &buf);
    assert_int_equal(decode(&buf, &read, NULL), KA_OK);
    assert_same(&written, &read);
    buf_fini(&buf);
}

static void the_fingerprint_is_that_of_the_schema(void **state)
{
    (void)state;
    struct buf buf = {0};
    struct command command = sample();
    command_encode(&command, &buf);
    struct buf expected = {0};
    buf_put(&expected, "\xC3\x01", 2);
    uint64_t fingerprint = pcf_fingerprint(SCHEMA);
    assert_true(pcf_documented(fingerprint));
    for (int i = 0; i < 8; i++)
        buf_byte(&expected, (int)(fingerprint >> (8 * i) & 0xFF));
    assert_memory_equal(buf.ptr, expected.ptr, expected.len);
    buf_fini(&buf);
    buf_fini(&expected);
}

static void the_canonical_form_is_that_of_the_specification(void **state)
{
    (void)state;
    // "long" as its own schema: a test vector of the Avro project (schema-tests.txt).
    assert_true(hash_crc64_avro(SLICE_LIT("\"long\"")) == UINT64_C(0xd054e14493f41db7));
    struct buf canonical = {0};
    assert_true(pcf_read(SCHEMA, &canonical));
    struct slice start = SLICE_LIT("{\"name\":\"kasaga.Command\",\"type\":\"record\",\"fields\":["
                                   "{\"name\":\"verb\",\"type\":{\"name\":\"kasaga.CommandVerb\"");
    assert_true(slice_starts(buf_slice(&canonical), start));
    buf_fini(&canonical);
}

static struct slice random_text(uint64_t seed, char room[40])
{
    size_t len = seed % 3 == 0 ? 0 : seed % 37;
    for (size_t i = 0; i < len; i++)
        room[i] = (char)('a' + hash_mix(seed + i) % 26);
    return slice_of(room, len);
}

static struct command random_command(uint64_t seed, char room[10][40])
{
    return (struct command){.verb = (enum command_verb)(hash_mix(seed) % 7),
                            .hops = (int32_t)(seed % 2),
                            .time_ms = (int64_t)(hash_mix(seed) >> (seed % 63 + 1)),
                            .id = random_text(hash_mix(seed + 1), room[0]),
                            .cause = random_text(hash_mix(seed + 2), room[1]),
                            .actor = random_text(hash_mix(seed + 3), room[2]),
                            .reason = random_text(hash_mix(seed + 4), room[3]),
                            .type = random_text(hash_mix(seed + 5), room[4]),
                            .source = random_text(hash_mix(seed + 6), room[5]),
                            .tenant = random_text(hash_mix(seed + 7), room[6]),
                            .dataclass = random_text(hash_mix(seed + 8), room[7]),
                            .traceparent = random_text(hash_mix(seed + 9), room[8]),
                            .data = random_text(hash_mix(seed + 10), room[9])};
}

static void assert_avroc_agrees(const struct avroc *avroc, const struct command *command,
                                uint64_t fingerprint)
{
    struct buf ours = {0};
    struct buf theirs = {0};
    avro_value_t value;
    command_encode(command, &ours);
    avroc_decode(avroc, buf_slice(&ours), &value);
    assert_true(avroc_long(&value, "verb") == (int64_t)command->verb);
    assert_true(avroc_long(&value, "time_ms") == command->time_ms);
    assert_true(slice_eq(avroc_bytes(&value, "traceparent"), command->traceparent));
    assert_true(slice_eq(avroc_bytes(&value, "data"), command->data));
    avroc_encode(&value, fingerprint, &theirs);
    struct command read;
    assert_int_equal(decode(&theirs, &read, NULL), KA_OK);
    assert_same(command, &read);
    avro_value_decref(&value);
    buf_fini(&ours);
    buf_fini(&theirs);
}

static void avro_c_reads_what_is_written_and_writes_what_is_read(void **state)
{
    (void)state;
    struct avroc avroc;
    avroc_init(&avroc, SCHEMA);
    uint64_t fingerprint = pcf_fingerprint(SCHEMA);
    for (uint64_t seed = 0; seed < 1000; seed++) {
        char room[10][40];
        struct command command = random_command(seed, room);
        assert_avroc_agrees(&avroc, &command, fingerprint);
    }
    avroc_fini(&avroc);
}

static void every_shorter_form_is_refused(void **state)
{
    (void)state;
    struct buf buf = {0};
    struct command command = sample();
    command_encode(&command, &buf);
    for (size_t len = 0; len < buf.len; len++) {
        char *exact = malloc(len + 1); // a read past the end is seen by ASan
        memcpy(exact, buf.ptr, len);
        struct command read;
        assert_int_equal(command_decode(slice_of(exact, len), &read, NULL), KA_ERR_AVRO);
        free(exact);
    }
    buf_fini(&buf);
}

static void bytes_left_over_are_refused(void **state)
{
    (void)state;
    struct buf buf = {0};
    struct command command = sample();
    struct err_text text;
    command_encode(&command, &buf);
    buf_byte(&buf, 0);
    assert_int_equal(decode(&buf, &command, &text), KA_ERR_AVRO);
    assert_non_null(strstr(text.text, "bytes left over"));
    buf_fini(&buf);
}

static void an_unknown_verb_is_refused_by_name_of_the_field(void **state)
{
    (void)state;
    struct buf buf = {0};
    struct command command = sample();
    struct err_text text;
    command_encode(&command, &buf);
    buf.ptr[10] = 14; // verb 7
    assert_int_equal(decode(&buf, &command, &text), KA_ERR_AVRO);
    assert_string_equal(text.text, "command: field verb at byte 10: out of range");
    buf_fini(&buf);
}

static void a_later_version_is_named_by_its_fingerprint(void **state)
{
    (void)state;
    struct buf buf = {0};
    struct command command = sample();
    struct err_text text;
    command_encode(&command, &buf);
    buf.ptr[9] = (char)0xEE;
    assert_int_equal(decode(&buf, &command, &text), KA_ERR_VERSION);
    assert_string_equal(
        text.text, "command written with the schema ee400f2b1babcba9, which is not known here");
    buf_fini(&buf);
}

static void absent_texts_are_read_as_absent(void **state)
{
    (void)state;
    struct buf buf = {0};
    struct command written = {.verb = COMMAND_PAUSE, .actor = SLICE_LIT("ada")};
    struct command read;
    command_encode(&written, &buf);
    assert_int_equal(decode(&buf, &read, NULL), KA_OK);
    assert_true(slice_none(read.data) && slice_none(read.tenant) && slice_none(read.reason));
    assert_same(&written, &read);
    buf_fini(&buf);
}

static void a_result_is_of_the_second_version(void **state)
{
    (void)state;
    struct avroc avroc;
    avro_value_t value;
    struct buf ours = {0};
    struct buf theirs = {0};
    struct command written = sample();
    struct command read;
    written.verb = COMMAND_RESULT;
    command_encode(&written, &ours);
    uint64_t fingerprint = pcf_fingerprint("schemas/command_2.avsc");
    assert_true(pcf_documented(fingerprint));
    assert_memory_equal(ours.ptr + 2, &fingerprint, sizeof fingerprint);
    avroc_init(&avroc, "schemas/command_2.avsc");
    avroc_decode(&avroc, buf_slice(&ours), &value);
    avroc_encode(&value, fingerprint, &theirs);
    assert_int_equal(decode(&theirs, &read, NULL), KA_OK);
    assert_same(&written, &read);
    avro_value_decref(&value);
    avroc_fini(&avroc);
    buf_fini(&ours);
    buf_fini(&theirs);
}

static void verbs_have_the_names_of_the_command_line(void **state)
{
    (void)state;
    assert_string_equal(command_verb_name(COMMAND_START), "start");
    assert_string_equal(command_verb_name(COMMAND_TERMINATE), "terminate");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read_back),
        cmocka_unit_test(the_fingerprint_is_that_of_the_schema),
        cmocka_unit_test(the_canonical_form_is_that_of_the_specification),
        cmocka_unit_test(avro_c_reads_what_is_written_and_writes_what_is_read),
        cmocka_unit_test(every_shorter_form_is_refused),
        cmocka_unit_test(bytes_left_over_are_refused),
        cmocka_unit_test(an_unknown_verb_is_refused_by_name_of_the_field),
        cmocka_unit_test(a_later_version_is_named_by_its_fingerprint),
        cmocka_unit_test(absent_texts_are_read_as_absent),
        cmocka_unit_test(a_result_is_of_the_second_version),
        cmocka_unit_test(verbs_have_the_names_of_the_command_line),
    };
    return cmocka_run_group_tests_name("command", tests, NULL, NULL);
}
