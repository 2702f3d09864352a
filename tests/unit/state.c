// SPDX-License-Identifier: Apache-2.0
#include "core/state.h"

#include "avroc.h"
#include "core/avrobin.h"
#include "core/hash.h"
#include "pcf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// cmocka wants the headers above it
#include <cmocka.h>

#define FINISHED "schemas/state_finished.avsc"
#define MARKER "schemas/state_marker.avsc"
#define CHUNK "schemas/state_chunk.avsc"

static struct state_finished finished_sample(void)
{
    return (struct state_finished){
        .outcome = 4, .incarnation = INT64_MAX, .sequence = 70000, .time_s = UINT32_MAX};
}

static struct state_marker marker_sample(void)
{
    return (struct state_marker){.inbox_offset = 123456,
                                 .token = SLICE_LIT("1790000000:42"),
                                 .time_ms = 1790000000123,
                                 .counts = {1, 2, 3, 4, 5, 6}};
}

static void encode_chunk(uint64_t first, size_t count, struct buf *buf)
{
    struct table_finished entries[TABLE_CHUNK];
    struct state_chunk chunk = {first, count};
    for (size_t i = 0; i < count; i++)
        entries[i] = (struct table_finished){.hash = hash_mix(i),
                                             .incarnation = (int64_t)(hash_mix(i + 7) >> 1),
                                             .time_s = (uint32_t)hash_mix(i + 9),
                                             .outcome = (uint32_t)hash_mix(i + 11)};
    state_chunk_encode(&chunk, entries, buf);
}

static void a_finished_record_is_read_back(void **state)
{
    (void)state;
    struct buf buf = {0};
    struct state_finished written = finished_sample();
    struct state_finished read;
    state_finished_encode(&written, &buf);
    assert_int_equal(state_finished_decode(buf_slice(&buf), &read, NULL), KA_OK);
    assert_memory_equal(&read.incarnation, &written.incarnation, 3 * sizeof read.incarnation);
    assert_int_equal(read.outcome, 4);
    assert_int_equal(state_kind(buf_slice(&buf)), STATE_FINISHED);
    buf_fini(&buf);
}

static void a_marker_is_read_back(void **state)
{
    (void)state;
    struct buf buf = {0};
    struct state_marker written = marker_sample();
    struct state_marker read;
    state_marker_encode(&written, &buf);
    assert_int_equal(state_marker_decode(buf_slice(&buf), &read, NULL), KA_OK);
    assert_memory_equal(&read.counts, &written.counts, sizeof read.counts);
    assert_true(slice_eq(read.token, written.token));
    assert_int_equal(read.inbox_offset, written.inbox_offset);
    assert_int_equal(read.time_ms, written.time_ms);
    assert_int_equal(state_kind(buf_slice(&buf)), STATE_MARKER);
    buf_fini(&buf);
}

static void a_chunk_is_read_back(void **state)
{
    (void)state;
    struct buf buf = {0};
    struct state_chunk chunk;
    struct table_finished entries[TABLE_CHUNK];
    encode_chunk(5 * TABLE_CHUNK + 3, TABLE_CHUNK - 3, &buf);
    assert_int_equal(state_kind(buf_slice(&buf)), STATE_CHUNK);
    enum ka_err err = state_chunk_decode(buf_slice(&buf), &chunk, entries, TABLE_CHUNK, NULL);
    assert_int_equal(err, KA_OK);
    assert_int_equal(chunk.first_sequence, 5 * TABLE_CHUNK + 3);
    assert_int_equal(chunk.count, TABLE_CHUNK - 3);
    for (size_t i = 0; i < chunk.count; i++) {
        assert_true(entries[i].hash == hash_mix(i));
        assert_true(entries[i].incarnation == (int64_t)(hash_mix(i + 7) >> 1));
        assert_true(entries[i].time_s == (uint32_t)hash_mix(i + 9));
        assert_true(entries[i].outcome == (uint32_t)hash_mix(i + 11));
    }
    buf_fini(&buf);
}

static void an_entry_is_24_bytes_little_endian(void **state)
{
    (void)state;
    struct buf buf = {0};
    struct state_chunk chunk = {0, 1};
    struct table_finished entry = {0x0807060504030201, 0x100F0E0D0C0B0A09, 0x14131211, 0x18171615};
    state_chunk_encode(&chunk, &entry, &buf);
    assert_int_equal(buf.len, AVROBIN_HEADER_SIZE + 2 + 24);
    for (int i = 0; i < 24; i++)
        assert_int_equal(buf.ptr[AVROBIN_HEADER_SIZE + 2 + i], i + 1);
    buf_fini(&buf);
}

static void the_key_of_a_chunk_is_its_first_sequence(void **state)
{
    (void)state;
    struct buf buf = {0};
    state_chunk_key(4096, &buf);
    assert_true(slice_eq(buf_slice(&buf), SLICE_LIT("#dedupe/4096")));
    buf_fini(&buf);
}

static void what_a_table_writes_restores_the_table(void **state)
{
    (void)state;
    struct table_limits limits = {.dedupe_window_ms = 1000000, .dedupe_max = 1 << 20};
    struct table *from = table_new(&limits);
    struct table *to = table_new(&limits);
    for (int i = 0; i < 20; i++)
        table_finish(from, slice_of(&i, sizeof i), i, 4, 1000 * i);
    table_commit(from, 0, 20);
    struct state_chunk chunk;
    const struct table_finished *rows = NULL;
    assert_true(table_oldest_chunk(from, &chunk.first_sequence, &rows, &chunk.count));
    struct buf buf = {0};
    state_chunk_encode(&chunk, rows, &buf);
    struct table_finished entries[TABLE_CHUNK];
    enum ka_err err = state_chunk_decode(buf_slice(&buf), &chunk, entries, TABLE_CHUNK, NULL);
    assert_int_equal(err, KA_OK);
    table_restore_chunk(to, chunk.first_sequence, entries, chunk.count, 20);
    assert_true(table_digest(to) == table_digest(from));
    buf_fini(&buf);
    table_free(&from);
    table_free(&to);
}

static uint64_t fingerprint_of(const struct buf *buf)
{
    struct avrobin_reader reader;
    uint64_t fingerprint = 0;
    assert_int_equal(avrobin_open(&reader, buf_slice(buf), &fingerprint, NULL), KA_OK);
    return fingerprint;
}

static void the_fingerprints_are_those_of_the_schemas(void **state)
{
    (void)state;
    struct buf buf = {0};
    struct state_finished finished = finished_sample();
    struct state_marker marker = marker_sample();
    state_finished_encode(&finished, &buf);
    assert_true(fingerprint_of(&buf) == pcf_fingerprint(FINISHED));
    buf_clear(&buf);
    state_marker_encode(&marker, &buf);
    assert_true(fingerprint_of(&buf) == pcf_fingerprint(MARKER));
    buf_clear(&buf);
    encode_chunk(0, 1, &buf);
    assert_true(fingerprint_of(&buf) == pcf_fingerprint(CHUNK));
    buf_fini(&buf);
}

static void avro_c_reads_what_is_written(void **state)
{
    (void)state;
    struct avroc avroc;
    struct buf buf = {0};
    avro_value_t value;
    struct state_finished finished = finished_sample();
    avroc_init(&avroc, FINISHED);
    state_finished_encode(&finished, &buf);
    avroc_decode(&avroc, buf_slice(&buf), &value);
    assert_true(avroc_long(&value, "outcome") == 4);
    assert_true(avroc_long(&value, "time_s") == UINT32_MAX);
    avro_value_decref(&value);
    avroc_fini(&avroc);

    struct state_marker marker = marker_sample();
    buf_clear(&buf);
    avroc_init(&avroc, MARKER);
    state_marker_encode(&marker, &buf);
    avroc_decode(&avroc, buf_slice(&buf), &value);
    assert_true(slice_eq(avroc_bytes(&value, "token"), marker.token));
    assert_true(avroc_long(&value, "live") == 1);
    assert_true(avroc_long(&value, "terminated") == 6);
    avro_value_decref(&value);
    avroc_fini(&avroc);

    buf_clear(&buf);
    avroc_init(&avroc, CHUNK);
    encode_chunk(2048, TABLE_CHUNK, &buf);
    avroc_decode(&avroc, buf_slice(&buf), &value);
    assert_true(avroc_long(&value, "first_sequence") == 2048);
    assert_int_equal(avroc_bytes(&value, "entries").len, 24 * TABLE_CHUNK);
    avro_value_decref(&value);
    avroc_fini(&avroc);
    buf_fini(&buf);
}

static enum ka_err decode_any(struct slice bytes, struct err_text *text)
{
    static struct table_finished entries[TABLE_CHUNK];
    struct state_finished finished;
    struct state_marker marker;
    struct state_chunk chunk;
    switch (state_kind(bytes)) {
    case STATE_FINISHED:
        return state_finished_decode(bytes, &finished, text);
    case STATE_MARKER:
        return state_marker_decode(bytes, &marker, text);
    case STATE_CHUNK:
        return state_chunk_decode(bytes, &chunk, entries, TABLE_CHUNK, text);
    case STATE_SAGA:
    case STATE_OTHER:
        break;
    }
    return KA_ERR_AVRO;
}

// Every prefix in a block of its own length, so that ASan sees a read past the end.
static void assert_no_prefix_is_read(const struct buf *buf)
{
    for (size_t len = 0; len < buf->len; len++) {
        char *exact = malloc(len + 1);
        memcpy(exact, buf->ptr, len);
        assert_int_equal(decode_any(slice_of(exact, len), NULL), KA_ERR_AVRO);
        free(exact);
    }
    assert_int_equal(decode_any(buf_slice(buf), NULL), KA_OK);
}

static void every_shorter_and_longer_form_is_refused(void **state)
{
    (void)state;
    struct buf buf = {0};
    struct state_finished finished = finished_sample();
    struct state_marker marker = marker_sample();
    state_finished_encode(&finished, &buf);
    assert_no_prefix_is_read(&buf);
    buf_clear(&buf);
    state_marker_encode(&marker, &buf);
    assert_no_prefix_is_read(&buf);
    buf_clear(&buf);
    encode_chunk(7, 5, &buf);
    assert_no_prefix_is_read(&buf);
    buf_byte(&buf, 0);
    assert_int_equal(decode_any(buf_slice(&buf), NULL), KA_ERR_AVRO);
    buf_fini(&buf);
}

static void put_chunk(struct buf *buf, int64_t first, size_t bytes, int fill)
{
    buf_clear(buf);
    avrobin_put_header(buf, pcf_fingerprint(CHUNK));
    avrobin_put_long(buf, first);
    avrobin_put_long(buf, (int64_t)bytes);
    for (size_t i = 0; i < bytes; i++)
        buf_byte(buf, fill);
}

static void chunks_that_cannot_be_are_refused(void **state)
{
    (void)state;
    static const struct {
        int64_t first;
        size_t bytes;
        int fill;
    } bad[] = {
        {0, 0, 1},                     // none
        {0, 23, 1},                    // less than one
        {0, 25, 1},                    // more than one
        {-1, 24, 1},                   // sequence below zero
        {INT64_MAX, 24, 1},            // sequences end before
        {1023, 48, 1},                 // over the chunk's end
        {0, 24 * TABLE_CHUNK + 24, 1}, // too many
        {0, 24, 0xFF},                 // incarnation -1
    };
    struct buf buf = {0};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        put_chunk(&buf, bad[i].first, bad[i].bytes, bad[i].fill);
        assert_int_equal(decode_any(buf_slice(&buf), NULL), KA_ERR_AVRO);
    }
    put_chunk(&buf, 1023, 24, 1);
    assert_int_equal(decode_any(buf_slice(&buf), NULL), KA_OK);
    buf_fini(&buf);
}

static void values_below_zero_are_refused(void **state)
{
    (void)state;
    struct buf buf = {0};
    struct err_text text = {0};
    avrobin_put_header(&buf, pcf_fingerprint(FINISHED));
    avrobin_put_long(&buf, 4);
    avrobin_put_long(&buf, -7);
    avrobin_put_long(&buf, 0);
    avrobin_put_long(&buf, 0);
    assert_int_equal(decode_any(buf_slice(&buf), &text), KA_ERR_AVRO);
    assert_string_equal(text.text, "finished instance: field incarnation at byte 11: out of range");
    buf_fini(&buf);
}

static void a_form_of_another_version_is_named(void **state)
{
    (void)state;
    struct buf buf = {0};
    struct err_text text = {0};
    struct state_marker marker;
    avrobin_put_header(&buf, 0xABCDEF);
    assert_int_equal(state_kind(buf_slice(&buf)), STATE_OTHER);
    assert_int_equal(state_marker_decode(buf_slice(&buf), &marker, &text), KA_ERR_VERSION);
    assert_string_equal(text.text,
                        "marker written with the schema 0000000000abcdef, which is not known here");
    assert_int_equal(state_kind(SLICE_NONE), STATE_OTHER);
    assert_int_equal(state_kind(SLICE_LIT("{\"json\":1}....")), STATE_OTHER);
    buf_fini(&buf);
}

static void the_state_of_a_saga_is_told_apart(void **state)
{
    (void)state;
    struct buf buf = {0};
    avrobin_put_header(&buf, pcf_fingerprint("schemas/saga_state.avsc"));
    assert_int_equal(state_kind(buf_slice(&buf)), STATE_OTHER); // cut off
    avrobin_put_fixed(&buf, "0123456789abcdef", 16);
    for (int i = 0; i < 64; i++)
        avrobin_put_long(&buf, 0);
    assert_int_equal(state_kind(buf_slice(&buf)), STATE_SAGA);
    buf_fini(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_finished_record_is_read_back),
        cmocka_unit_test(a_marker_is_read_back),
        cmocka_unit_test(a_chunk_is_read_back),
        cmocka_unit_test(an_entry_is_24_bytes_little_endian),
        cmocka_unit_test(the_key_of_a_chunk_is_its_first_sequence),
        cmocka_unit_test(what_a_table_writes_restores_the_table),
        cmocka_unit_test(the_fingerprints_are_those_of_the_schemas),
        cmocka_unit_test(avro_c_reads_what_is_written),
        cmocka_unit_test(every_shorter_and_longer_form_is_refused),
        cmocka_unit_test(chunks_that_cannot_be_are_refused),
        cmocka_unit_test(values_below_zero_are_refused),
        cmocka_unit_test(a_form_of_another_version_is_named),
        cmocka_unit_test(the_state_of_a_saga_is_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
