// SPDX-License-Identifier: Apache-2.0
// The memory of finished instances, and restore.
#include "tables.h"

static void nothing_is_needed_once_all_is_finished_and_forgotten(void **state)
{
    (void)state;
    struct table *table = fresh();
    put(table, "a", "x", 1);
    table_commit(table, 10, 11);
    finish(table, "a", 1, 2000);
    table_commit(table, 20, 21);
    assert_int_equal(table_low_water(table), 20); // its FINISHED record
    table_expire(table, 2000 + HOUR_MS);
    assert_int_equal(table_low_water(table), 20);
    table_expire(table, 3000 + HOUR_MS);
    assert_int_equal(table_low_water(table), 21);
    assert_int_equal(table_finished_count(table), 0);
    table_free(&table);
}

static void a_key_used_again_is_live_first(void **state)
{
    (void)state;
    struct table *table = fresh();
    finish(table, "a", 1, 1000);
    table_commit(table, 0, 1);
    put(table, "a", "new life", 1);
    assert_null(table_lookup_finished(table, SLICE_LIT("a")));
    assert_true(has(table, "a", "new life"));
    table_commit(table, 1, 2);
    finish(table, "a", 2, 3000);
    assert_true(is_finished(table, "a", 2));
    table_undo(table);
    finish(table, "b", 2, 3000);
    finish(table, "a", 3, 3000);
    table_commit(table, 2, 3);
    assert_true(is_finished(table, "a", 3));
    table_free(&table);
}

static void undo_shows_the_instance_before(void **state)
{
    (void)state;
    struct table *table = fresh();
    finish(table, "a", 1, 1000);
    table_commit(table, 0, 1);
    finish(table, "a", 2, 1000);
    finish(table, "a", 3, 1000);
    assert_true(is_finished(table, "a", 3));
    table_undo(table);
    assert_true(is_finished(table, "a", 1));
    table_free(&table);
}

static void a_full_chunk_is_written_once(void **state)
{
    (void)state;
    struct table *table = fresh();
    finish_many(table, 0, TABLE_CHUNK - 1, 1000);
    assert_int_equal(full_chunks(table), 0);
    table_commit(table, 0, TABLE_CHUNK - 1);
    finish_many(table, TABLE_CHUNK - 1, 2, 1000);
    assert_int_equal(full_chunks(table), 1);
    assert_int_equal(written.first[0], 0);
    assert_int_equal(written.count[0], TABLE_CHUNK);
    assert_int_equal(written.rows[0][5].incarnation, 5);
    table_commit(table, 2000, 2003);
    assert_int_equal(table_low_water(table), 2000); // the FINISHED records are not needed now
    assert_int_equal(table_chunk_count(table), 2);
    assert_int_equal(full_chunks(table), 0);
    table_free(&table);
}

static void undo_of_a_full_chunk_gives_the_same_chunk_again(void **state)
{
    (void)state;
    struct table *table = fresh();
    finish_many(table, 0, 3, 1000);
    table_commit(table, 0, 3);
    uint64_t before = table_digest(table);
    for (int round = 0; round < 2; round++) {
        finish_many(table, 3, 2 * TABLE_CHUNK, 2000);
        assert_int_equal(full_chunks(table), 2);
        assert_int_equal(written.first[1], TABLE_CHUNK);
        table_undo(table);
        assert_true(table_digest(table) == before);
        assert_int_equal(table_next_sequence(table), 3);
        assert_int_equal(table_low_water(table), 0);
        assert_int_equal(table_finished_count(table), 3);
    }
    table_free(&table);
}

static void the_open_chunk_can_be_written_again_too(void **state)
{
    (void)state;
    struct table *table = fresh();
    finish_many(table, 0, 3, 1000);
    table_commit(table, 0, 3);
    put(table, "live", "x", 1);
    table_commit(table, 3, 4);
    uint64_t first = 9;
    size_t count = 0;
    const struct table_finished *rows = NULL;
    assert_true(table_oldest_chunk(table, &first, &rows, &count));
    assert_int_equal(first, 0);
    assert_int_equal(count, 3);
    assert_int_equal(rows[2].incarnation, 2);
    table_touch_chunk(table, first);
    assert_false(table_oldest_chunk(table, &first, &rows, &count));
    table_commit(table, 4, 5);
    assert_int_equal(table_low_water(table), 3);
    assert_false(table_oldest_chunk(table, &first, &rows, &count));
    table_free(&table);
}

static void what_finished_before_the_window_is_not_shown(void **state)
{
    (void)state;
    struct table *table = fresh();
    finish(table, "old", 1, 1000);
    table_commit(table, 0, 1);
    finish(table, "young", 2, 500000);
    table_commit(table, 1, 2);
    table_expire(table, 300000 + HOUR_MS);
    assert_false(is_finished(table, "old", 1)); // though its chunk is there for the young one
    assert_true(is_finished(table, "young", 2));
    assert_int_equal(table_finished_count(table), 1);
    assert_int_equal(table_low_water(table), 0);
    table_free(&table);
}

static void sequences_go_on_after_everything_was_forgotten(void **state)
{
    (void)state;
    struct table *table = fresh();
    finish_many(table, 0, 10, 1000);
    table_commit(table, 0, 10);
    table_expire(table, 10 * (int64_t)HOUR_MS);
    assert_int_equal(table_next_sequence(table), 10);
    finish(table, "a", 1, 10 * (int64_t)HOUR_MS);
    table_commit(table, 10, 11);
    assert_true(is_finished(table, "a", 1));
    assert_int_equal(table_finished_count(table), 1);
    assert_int_equal(table_low_water(table), 10);
    table_free(&table);
}

static void beyond_the_byte_cap_the_oldest_go_and_are_counted(void **state)
{
    (void)state;
    struct table_limits limits = {.dedupe_window_ms = HOUR_MS, .dedupe_max = 3 * 40000};
    struct table *table = table_new(&limits);
    for (int i = 0; i < 6; i++) {
        finish_many(table, i * TABLE_CHUNK, TABLE_CHUNK, 1000);
        full_chunks(table);
        table_commit(table, i * 2000, i * 2000 + 1025);
    }
    assert_int_equal(table_chunk_count(table), 3);
    assert_int_equal(table_dropped(table), 3 * TABLE_CHUNK);
    assert_int_equal(table_low_water(table), 3 * 2000);
    assert_null(table_lookup_finished(table, key_of(3 * TABLE_CHUNK - 1)));
    assert_non_null(table_lookup_finished(table, key_of(3 * TABLE_CHUNK)));
    table_free(&table);
}

static void without_a_window_nothing_is_remembered(void **state)
{
    (void)state;
    struct table_limits limits = {0};
    struct table *table = table_new(&limits);
    put(table, "a", "x", 1);
    table_commit(table, 0, 1);
    finish(table, "a", 1, 1000);
    table_undo(table);
    assert_int_equal(table_next_sequence(table), 0);
    finish(table, "a", 1, 1000);
    table_commit(table, 1, 2);
    assert_int_equal(table_next_sequence(table), 1);
    assert_null(table_lookup_finished(table, SLICE_LIT("a")));
    assert_null(table_lookup(table, SLICE_LIT("a")));
    assert_int_equal(table_low_water(table), 2);
    table_free(&table);
}

static void finished(struct table *table, const char *key, uint64_t sequence, int64_t offset)
{
    struct table_finished row = {.incarnation = offset, .time_s = 100, .outcome = 4};
    table_restore_finished(table, slice_str(key), sequence, &row, offset);
}

static void restored_states_are_due_when_they_are_told(void **state)
{
    (void)state;
    struct table *table = fresh();
    table_restore_put(table, SLICE_LIT("a"), SLICE_LIT("one"), 5);
    table_restore_put(table, SLICE_LIT("b"), SLICE_LIT("two"), 6);
    table_restore_put(table, SLICE_LIT("a"), SLICE_LIT("three"), 9);
    table_restore_end(table, 20);
    assert_null(table_due(table));
    table_set_due(table, SLICE_LIT("a"), 77);
    assert_true(is(table_due(table), "a"));
    assert_true(has(table, "a", "three"));
    assert_int_equal(table_low_water(table), 6);
    assert_int_equal(table_end(table), 20);
    table_free(&table);
}

static void a_restored_finished_record_ends_the_key(void **state)
{
    (void)state;
    struct table *table = fresh();
    table_restore_put(table, SLICE_LIT("a"), SLICE_LIT("one"), 5);
    finished(table, "a", 40, 6);
    assert_null(table_lookup(table, SLICE_LIT("a")));
    assert_true(is_finished(table, "a", 6));
    assert_int_equal(table_low_water(table), 6);
    assert_int_equal(table_next_sequence(table), 41);
    table_restore_put(table, SLICE_LIT("a"), SLICE_LIT("again"), 7);
    assert_true(has(table, "a", "again"));
    assert_null(table_lookup_finished(table, SLICE_LIT("a")));
    table_free(&table);
}

static void a_restored_chunk_replaces_what_came_one_by_one(void **state)
{
    (void)state;
    struct table *live = fresh();
    finish(live, "a", 5, 100000);
    finish(live, "b", 6, 100000);
    table_commit(live, 5, 7);
    written.chunks = 0;
    table_touch_chunk(live, 0);
    uint64_t first = 0;
    size_t count = 0;
    const struct table_finished *rows = NULL;
    table_undo(live);
    assert_true(table_oldest_chunk(live, &first, &rows, &count));

    struct table *table = fresh();
    finished(table, "a", 0, 5);
    finished(table, "b", 1, 6);
    for (int64_t offset = 7; offset < 9; offset++) { // and its own rewriting
        table_restore_chunk(table, first, rows, count, offset);
        assert_true(table_digest(table) == table_digest(live));
        assert_int_equal(table_finished_count(table), 2);
        assert_int_equal(table_chunk_count(table), 1);
        assert_int_equal(table_low_water(table), offset);
    }
    finished(table, "c", 2, 9); // later than the chunk: the chunk's record is needed still
    assert_int_equal(table_low_water(table), 8);
    assert_int_equal(table_finished_count(table), 3);
    table_free(&table);
    table_free(&live);
}

static void a_chunk_restored_late_does_not_hide_newer_instances(void **state)
{
    (void)state;
    struct table *live = fresh();
    finish(live, "a", 1, 100000);
    finish_many(live, 1, TABLE_CHUNK, 100000);
    finish(live, "a", 2, 100000);
    full_chunks(live);
    table_commit(live, 0, 2000);

    struct table *table = fresh();
    finished(table, "order/1024", TABLE_CHUNK, 30);
    finished(table, "a", TABLE_CHUNK + 1, 40);
    table_restore_chunk(table, 0, written.rows[0], TABLE_CHUNK, 50);
    assert_true(is_finished(table, "a", 40));
    assert_int_equal(table_next_sequence(table), TABLE_CHUNK + 2);
    assert_int_equal(table_finished_count(table), table_finished_count(live));
    table_free(&table);
    table_free(&live);
}

static void holes_of_a_damaged_log_stay_holes(void **state)
{
    (void)state;
    struct table *table = fresh();
    finished(table, "a", 7, 1);
    finished(table, "b", 3, 2);
    finished(table, "c", 3000000000, 3);
    assert_int_equal(table_finished_count(table), 3);
    uint64_t first = 0;
    size_t count = 0;
    const struct table_finished *rows = NULL;
    assert_true(table_oldest_chunk(table, &first, &rows, &count));
    assert_int_equal(first, 3);
    assert_int_equal(count, 5);
    struct table *again = fresh();
    table_restore_chunk(again, first, rows, count, 9);
    finished(again, "c", 3000000000, 10);
    assert_int_equal(table_finished_count(again), 3);
    assert_true(is_finished(again, "a", 1));
    table_free(&again);
    table_free(&table);
}

static void after_an_undo_a_chunk_goes_in_its_own_time(void **state)
{
    (void)state;
    struct table *table = fresh();
    finish(table, "a", 1, 1000);
    table_commit(table, 0, 1);
    finish(table, "late", 2, 10 * (int64_t)HOUR_MS);
    table_undo(table);
    table_expire(table, HOUR_MS + 5000);
    assert_int_equal(table_low_water(table), 1);
    assert_int_equal(table_chunk_count(table), 0);
    table_free(&table);
}

static void a_restored_chunk_that_holds_less_does_not_move_the_mark(void **state)
{
    (void)state;
    struct table_finished rows[2] = {{.incarnation = 1, .time_s = 100},
                                     {.incarnation = 2, .time_s = 100}};
    struct table *table = fresh();
    finished(table, "a", 0, 5);
    finished(table, "b", 1, 6);
    finished(table, "c", 2, 7);
    table_restore_chunk(table, 0, rows, 2, 8);
    assert_int_equal(table_low_water(table), 5);
    assert_true(is_finished(table, "c", 7));
    table_free(&table);
}

static void a_million_finished_instances_take_32_megabytes(void **state)
{
    (void)state;
    struct table_limits limits = {.dedupe_window_ms = HOUR_MS, .dedupe_max = 1 << 30};
    struct table *table = table_new(&limits);
    for (int i = 0; i < 2000000; i++) { // the second million, while the first is forgotten
        int64_t now_ms = (int64_t)i * HOUR_MS / 1000000;
        table_finish(table, slice_of(&i, sizeof i), i, 4, now_ms);
        if (i % 100 != 99)
            continue;
        table_commit(table, i, i + 100);
        table_expire(table, now_ms);
    }
    assert_in_range(table_finished_count(table), 1000000, 1001000);
    assert_true(table_finished_bytes(table) < 33 * (size_t)1000000);
    for (int i = 1000000; i < 2000000; i += 997)
        assert_non_null(table_lookup_finished(table, slice_of(&i, sizeof i)));
    table_free(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_needed_once_all_is_finished_and_forgotten),
        cmocka_unit_test(a_key_used_again_is_live_first),
        cmocka_unit_test(undo_shows_the_instance_before),
        cmocka_unit_test(a_full_chunk_is_written_once),
        cmocka_unit_test(undo_of_a_full_chunk_gives_the_same_chunk_again),
        cmocka_unit_test(the_open_chunk_can_be_written_again_too),
        cmocka_unit_test(what_finished_before_the_window_is_not_shown),
        cmocka_unit_test(sequences_go_on_after_everything_was_forgotten),
        cmocka_unit_test(beyond_the_byte_cap_the_oldest_go_and_are_counted),
        cmocka_unit_test(without_a_window_nothing_is_remembered),
        cmocka_unit_test(restored_states_are_due_when_they_are_told),
        cmocka_unit_test(a_restored_finished_record_ends_the_key),
        cmocka_unit_test(a_restored_chunk_replaces_what_came_one_by_one),
        cmocka_unit_test(a_chunk_restored_late_does_not_hide_newer_instances),
        cmocka_unit_test(holes_of_a_damaged_log_stay_holes),
        cmocka_unit_test(after_an_undo_a_chunk_goes_in_its_own_time),
        cmocka_unit_test(a_restored_chunk_that_holds_less_does_not_move_the_mark),
        cmocka_unit_test(a_million_finished_instances_take_32_megabytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
