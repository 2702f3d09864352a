// SPDX-License-Identifier: Apache-2.0
// How memory_max is divided, and when a worker is pressed. (R206)
#include "core/memory.h"
#include "engine/pressure.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
// cmocka wants the headers above it
#include <cmocka.h>

#define MIB (1024 * (int64_t)1024)

static struct memory_wants wants_of(int64_t memory_max, int32_t shard_lanes)
{
    return (struct memory_wants){.memory_max = memory_max,
                                 .shard_lanes = shard_lanes,
                                 .route_lanes = 1,
                                 .batch_bytes = 8 * MIB,
                                 .record_max = 950000};
}

// With what librdkafka keeps of records and answers, and the copies of a transaction.
static int64_t sum_of(const struct memory_wants *wants, const struct memory_shares *shares)
{
    int64_t lanes = wants->shard_lanes + wants->route_lanes;
    int64_t fetch = (int64_t)shares->queue_kbytes * 1024 + 450 * (int64_t)shares->queue_records +
                    (int64_t)shares->answer_kbytes * 1024;
    return shares->base + shares->states + lanes * (fetch + 3 * shares->batch);
}

static void the_shares_are_within_memory_max(void **state)
{
    (void)state;
    for (int32_t lanes = 1; lanes <= 96; lanes++) {
        struct memory_wants wants = wants_of(0, lanes);
        int64_t least = memory_least(&wants);
        for (int64_t more = 0; more <= 4096 * MIB; more = 2 * more + MIB) {
            wants.memory_max = least + more;
            struct memory_shares shares = memory_share(&wants);
            assert_true(sum_of(&wants, &shares) <= wants.memory_max);
            assert_true(shares.batch >= wants.record_max);
            assert_true(shares.queue_kbytes >= 900);
            assert_true(shares.states >= 6 * MIB);
        }
    }
}

static void every_lane_and_a_larger_record_need_more(void **state)
{
    (void)state;
    struct memory_wants wants = wants_of(0, 1);
    int64_t least = memory_least(&wants);
    assert_int_equal(least, 62 * MIB);
    wants.shard_lanes = 2;
    assert_int_equal(memory_least(&wants), 81 * MIB);
    wants.record_max = 4 * MIB;
    assert_int_equal(memory_least(&wants), 216 * MIB);
}

static void less_than_the_least_is_the_least(void **state)
{
    (void)state;
    struct memory_wants wants = wants_of(1, 1);
    struct memory_shares least = memory_share(&wants);
    wants.memory_max = memory_least(&wants);
    assert_int_equal(memory_share(&wants).states, least.states);
}

// ---- Pressure

struct trial {
    struct pressure pressure;
    struct pressure_load load;
    int64_t resident;
    int64_t now_ms;
    bool pressed;
    bool trim;
};

static bool look(struct trial *trial)
{
    trial->now_ms += 100;
    return pressure_look(&trial->pressure, &trial->load, trial->resident, trial->now_ms,
                         &trial->pressed, &trial->trim);
}

static struct trial trial_of(void)
{
    return (struct trial){.pressure = {.memory_max = 64 * MIB, .states_max = 16 * MIB},
                          .now_ms = 100000};
}

static void states_calls_and_the_inbox_are_one_sum(void **state)
{
    (void)state;
    struct trial trial = trial_of();
    trial.load.states = 8 * MIB;
    assert_false(look(&trial));
    trial.load.calls = 4 * MIB;
    assert_false(look(&trial));
    trial.load.backlog = 2048;
    trial.load.backlog_bytes = 2 * MIB;
    assert_true(look(&trial));
    assert_true(trial.pressed);
}

static void it_is_released_when_there_is_room_again(void **state)
{
    (void)state;
    struct trial trial = trial_of();
    trial.load.states = 17 * MIB;
    assert_true(look(&trial));
    trial.load.states = 13 * MIB;
    assert_true(look(&trial));
    trial.load.states = 11 * MIB;
    assert_false(look(&trial));
    assert_false(trial.pressed);
}

static void what_is_resident_counts_but_never_alone(void **state)
{
    (void)state;
    struct trial trial = trial_of();
    trial.resident = 63 * MIB;
    assert_false(look(&trial)); // nothing would ever be taken
    assert_true(trial.trim);
    trial.load.states = 5 * MIB;
    assert_true(look(&trial));
    trial.load.finished = 64 * MIB; // beside memory_max
    assert_false(look(&trial));
}

static void another_worker_holds_and_is_not_told(void **state)
{
    (void)state;
    struct trial trial = trial_of();
    trial.load.others = true;
    assert_true(look(&trial));
    assert_false(trial.pressed);
}

static void what_a_burst_has_left_is_given_back_once(void **state)
{
    (void)state;
    struct trial trial = trial_of();
    trial.load.records = 10;
    int trims = 0;
    for (int i = 0; i < 200; i++) {
        (void)look(&trial);
        trims += trial.trim;
    }
    assert_int_equal(trims, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_shares_are_within_memory_max),
        cmocka_unit_test(every_lane_and_a_larger_record_need_more),
        cmocka_unit_test(less_than_the_least_is_the_least),
        cmocka_unit_test(states_calls_and_the_inbox_are_one_sum),
        cmocka_unit_test(it_is_released_when_there_is_room_again),
        cmocka_unit_test(what_is_resident_counts_but_never_alone),
        cmocka_unit_test(another_worker_holds_and_is_not_told),
        cmocka_unit_test(what_a_burst_has_left_is_given_back_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
