// SPDX-License-Identifier: Apache-2.0
// Keys, transactions, order and the re-append rule.
#include "tables.h"

enum { MANY = 5000 };

static void a_new_table_needs_nothing(void **state)
{
    (void)state;
    struct table *table = fresh();
    assert_null(table_lookup(table, SLICE_LIT("a")));
    assert_null(table_lookup_finished(table, SLICE_LIT("a")));
    assert_null(table_due(table));
    assert_null(table_oldest(table));
    assert_int_equal(table_low_water(table), 0);
    assert_int_equal(table_next_sequence(table), 0);
    table_commit(table, -1, -1);
    table_undo(table);
    assert_int_equal(table_end(table), 0);
    table_free(&table);
    assert_null(table);
}

static void a_put_key_is_found_with_its_due_time(void **state)
{
    (void)state;
    struct table *table = fresh();
    put(table, "a", "one", 500);
    assert_true(has(table, "a", "one"));
    assert_int_equal(table_lookup(table, SLICE_LIT("a"))->due_ms, 500);
    table_commit(table, 7, 8);
    assert_true(has(table, "a", "one"));
    assert_int_equal(table_lookup(table, SLICE_LIT("a"))->offset, 7);
    assert_int_equal(table_count(table), 1);
    table_free(&table);
}

static void the_last_put_of_a_transaction_counts(void **state)
{
    (void)state;
    struct table *table = fresh();
    put(table, "a", "one", 5);
    table_commit(table, 0, 1);
    put(table, "a", "a much longer state than before, which needs another block", 6);
    put(table, "a", "three", 4);
    table_touch(table, SLICE_LIT("a"));
    table_commit(table, 1, 2);
    assert_true(has(table, "a", "three"));
    assert_int_equal(table_due(table)->due_ms, 4);
    table_free(&table);
}

static void a_state_may_be_put_from_the_table_itself(void **state)
{
    (void)state;
    struct table *table = fresh();
    put(table, "a", "same", 5);
    for (int i = 0; i < 3; i++) {
        const struct table_entry *entry = table_lookup(table, SLICE_LIT("a"));
        table_put(table, entry->key, entry->bytes, 5);
    }
    table_commit(table, 0, 1);
    assert_true(has(table, "a", "same"));
    table_free(&table);
}

static void an_empty_state_is_a_state(void **state)
{
    (void)state;
    struct table *table = fresh();
    put(table, "a", "", INT64_MAX);
    table_commit(table, 0, 1);
    assert_true(has(table, "a", ""));
    put(table, "a", "x", INT64_MAX);
    table_undo(table);
    assert_true(has(table, "a", ""));
    table_free(&table);
}

static void undo_puts_back_bytes_due_time_and_place(void **state)
{
    (void)state;
    struct table *table = fresh();
    put(table, "a", "one", 5);
    table_commit(table, 0, 1);
    put(table, "b", "two", 6);
    table_commit(table, 1, 2);
    uint64_t before = table_digest(table);
    put(table, "a", "other", 9);
    put(table, "b", "other", INT64_MAX);
    put(table, "a", "again", 1);
    assert_true(table_digest(table) != before);
    table_undo(table);
    assert_true(table_digest(table) == before);
    assert_true(is(table_oldest(table), "a"));
    assert_true(is(table_due(table), "a"));
    assert_int_equal(table_low_water(table), 0);
    table_free(&table);
}

static void undo_forgets_new_keys_and_brings_back_finished_ones(void **state)
{
    (void)state;
    struct table *table = fresh();
    put(table, "a", "one", 5);
    table_commit(table, 0, 1);
    uint64_t before = table_digest(table);
    put(table, "new", "x", 1);
    finish(table, "a", 3, 1000);
    finish(table, "b", 4, 1000);
    assert_null(table_lookup(table, SLICE_LIT("a")));
    assert_true(is_finished(table, "a", 3));
    table_undo(table);
    assert_true(table_digest(table) == before);
    assert_null(table_lookup(table, SLICE_LIT("new")));
    assert_false(is_finished(table, "a", 3));
    assert_int_equal(table_next_sequence(table), 0);
    assert_int_equal(table_chunk_count(table), 0);
    table_free(&table);
}

static void what_is_due_first_comes_first_and_ties_by_key(void **state)
{
    (void)state;
    struct table *table = fresh();
    put(table, "b", "x", 20);
    put(table, "ab", "x", 10);
    put(table, "a", "x", 10);
    put(table, "never", "x", INT64_MAX);
    table_commit(table, 0, 4);
    static const char *const order[] = {"a", "ab", "b"};
    for (size_t i = 0; i < 3; i++) {
        assert_true(is(table_due(table), order[i]));
        put(table, order[i], "x", INT64_MAX);
    }
    assert_null(table_due(table));
    table_free(&table);
}

static void low_water_is_the_oldest_record_that_is_needed(void **state)
{
    (void)state;
    struct table *table = fresh();
    put(table, "a", "x", 1);
    table_commit(table, 10, 11);
    put(table, "b", "x", 1);
    table_commit(table, 12, 13);
    assert_int_equal(table_low_water(table), 10);
    table_touch(table, SLICE_LIT("a"));
    assert_true(is(table_oldest(table), "b"));
    table_commit(table, 14, 15);
    assert_int_equal(table_low_water(table), 12);
    assert_int_equal(table_end(table), 15);
    table_free(&table);
}

static void an_open_transaction_does_not_move_low_water(void **state)
{
    (void)state;
    struct table *table = fresh();
    put(table, "a", "x", 1);
    table_commit(table, 10, 11);
    put(table, "a", "y", 1);
    finish(table, "b", 1, 0);
    assert_int_equal(table_low_water(table), 10);
    assert_null(table_oldest(table));
    table_undo(table);
    assert_int_equal(table_low_water(table), 10);
    table_free(&table);
}

static void a_log_that_lost_its_end_lowers_every_bound(void **state)
{
    (void)state;
    struct table *table = fresh();
    put(table, "a", "x", 1);
    finish(table, "f", 1, 1000);
    table_commit(table, 100, 102);
    put(table, "b", "x", 1);
    table_commit(table, 200, 201);
    put(table, "c", "x", 1);
    table_commit(table, 50, 51);
    assert_int_equal(table_low_water(table), 50);
    table_touch(table, SLICE_LIT("a"));
    table_touch_chunk(table, 0);
    table_commit(table, 60, 62);
    assert_int_equal(table_low_water(table), 50);
    table_free(&table);
}

static void a_walk_misses_no_key_while_others_come_and_go(void **state)
{
    (void)state;
    struct table *table = fresh();
    bool seen[300] = {false};
    for (int i = 0; i < 300; i++)
        table_put(table, key_of(i), SLICE_LIT("x"), 1);
    table_commit(table, 0, 300);
    size_t cursor = 0;
    int64_t offset = 300;
    int step = 0;
    for (const struct table_entry *at; (at = table_walk(table, &cursor)) != NULL; step++) {
        int number = 0;
        char key[32] = ""; // a key has no end of its own
        assert_true(at->key.len < sizeof key);
        memcpy(key, at->key.ptr, at->key.len);
        sscanf(key, "order/%d", &number);
        if (number < 300)
            seen[number] = true;
        if (step % 3 == 0) { // odd keys may go, new ones come
            table_finish(table, key_of(step | 1), 1, 4, 1000);
            table_put(table, key_of(1000 + step), SLICE_LIT("y"), 2);
            table_commit(table, offset, offset + 2);
            offset += 2;
        }
    }
    assert_null(table_walk(table, &cursor));
    for (int i = 0; i < 300; i += 2)
        assert_true(seen[i]);
    table_free(&table);
}

static void the_digest_knows_no_history(void **state)
{
    (void)state;
    struct table *one = fresh();
    struct table *two = fresh();
    for (int i = 0; i < MANY; i++)
        table_put(one, key_of(i), slice_str("state"), i % 100);
    table_commit(one, 0, MANY);
    for (int i = MANY; i-- > 0;) {
        table_put(two, key_of(i), slice_str("other"), 3);
        table_put(two, key_of(i), slice_str("state"), i % 100);
        table_commit(two, 2 * (MANY - i), 2 * (MANY - i) + 1);
    }
    assert_true(table_digest(one) == table_digest(two));
    table_put(two, key_of(17), slice_str("state"), 18);
    assert_true(table_digest(one) != table_digest(two));
    table_free(&one);
    table_free(&two);
}

static void memory_is_given_back(void **state)
{
    (void)state;
    struct table *table = fresh();
    for (int i = 0; i < MANY; i++)
        table_put(table, key_of(i), SLICE_LIT("a state of some bytes"), i);
    table_commit(table, 0, MANY);
    size_t full = table_bytes(table);
    for (int i = 0; i < MANY; i++)
        table_finish(table, key_of(i), i, 4, 1000);
    full_chunks(table);
    table_commit(table, MANY, 3 * MANY);
    table_expire(table, 10 * (int64_t)HOUR_MS);
    assert_int_equal(table_count(table), 0);
    assert_true(table_bytes(table) < full / 2);
    table_free(&table);
}

// One transaction of an owner that changes `hot`, with the re-append rule.

static void work_on(struct table *table, int hot, int64_t *offset, int64_t lag_max)
{
    table_put(table, key_of(hot), SLICE_LIT("changed"), 1);
    written.states = 0;
    written.chunks = 0;
    struct table_reappend how = {lag_max, 1, on_state, on_chunk, &written};
    size_t again = table_reappend(table, &how);
    assert_int_equal(again, written.states + written.chunks);
    table_commit(table, *offset, *offset + 1 + (int64_t)again);
    *offset += 1 + (int64_t)again;
}

static void a_restore_reads_three_times_the_live_keys_at_most(void **state)
{
    (void)state;
    struct table *table = fresh();
    enum { LIVE = 1000, BATCH = 10 };
    for (int i = 0; i < LIVE; i++) {
        table_put(table, key_of(i), SLICE_LIT("x"), 1);
        if (i % BATCH == BATCH - 1)
            table_commit(table, i + 1 - BATCH, i + 1);
    }
    int64_t offset = LIVE;
    int64_t worst = 0;
    for (int i = 0; i < 20 * LIVE; i++) {
        work_on(table, i % 3, &offset, 100);
        if (table_end(table) - table_low_water(table) > worst)
            worst = table_end(table) - table_low_water(table);
    }
    assert_true(worst > 2 * LIVE);
    assert_true(worst <= 3 * LIVE + BATCH);
    table_free(&table);
}

static void a_shard_that_does_not_lag_writes_nothing_again(void **state)
{
    (void)state;
    struct table *table = fresh();
    put(table, "quiet", "x", 1);
    table_commit(table, 0, 1);
    int64_t offset = 1;
    while (offset < 1000)
        work_on(table, 1, &offset, 1000);
    assert_false(table_lagging(table, 1000));
    assert_int_equal(table_low_water(table), 0);
    work_on(table, 1, &offset, 1000);
    assert_true(table_lagging(table, 1000));
    work_on(table, 1, &offset, 1000);
    assert_false(table_lagging(table, 1000));
    table_free(&table);
}

static void the_memory_of_finished_ones_moves_on_too(void **state)
{
    (void)state;
    struct table *table = fresh();
    finish(table, "old", 1, 1000);
    table_commit(table, 0, 1);
    int64_t offset = 1;
    for (int i = 0; i < 500; i++) {
        work_on(table, 1, &offset, 200);
        assert_true(table_end(table) - table_low_water(table) <= 203);
    }
    assert_true(table_low_water(table) > 200);
    assert_true(is_finished(table, "old", 1));
    table_free(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_table_needs_nothing),
        cmocka_unit_test(a_put_key_is_found_with_its_due_time),
        cmocka_unit_test(the_last_put_of_a_transaction_counts),
        cmocka_unit_test(a_state_may_be_put_from_the_table_itself),
        cmocka_unit_test(an_empty_state_is_a_state),
        cmocka_unit_test(undo_puts_back_bytes_due_time_and_place),
        cmocka_unit_test(undo_forgets_new_keys_and_brings_back_finished_ones),
        cmocka_unit_test(what_is_due_first_comes_first_and_ties_by_key),
        cmocka_unit_test(low_water_is_the_oldest_record_that_is_needed),
        cmocka_unit_test(an_open_transaction_does_not_move_low_water),
        cmocka_unit_test(a_log_that_lost_its_end_lowers_every_bound),
        cmocka_unit_test(a_walk_misses_no_key_while_others_come_and_go),
        cmocka_unit_test(the_digest_knows_no_history),
        cmocka_unit_test(memory_is_given_back),
        cmocka_unit_test(a_restore_reads_three_times_the_live_keys_at_most),
        cmocka_unit_test(a_shard_that_does_not_lag_writes_nothing_again),
        cmocka_unit_test(the_memory_of_finished_ones_moves_on_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
