// SPDX-License-Identifier: Apache-2.0
// Where a step runs: the whole truth table, each input alone, and the load of a region. (R22 to
// R25)
#include "core/placement.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
// cmocka wants the headers above it
#include <cmocka.h>

enum { US, EU, APAC, HUB, REGIONS };

static const struct slice names[REGIONS] = {
    {"us-west", 7}, {"eu-central", 10}, {"apac-east", 9}, {"analytics", 9}};
// Public data anywhere; all else stays where it is at home.
#define ANY                                                                                        \
    {                                                                                              \
        TARGET_CLOSEST, REGION_NONE, false                                                         \
    }
#define OWN                                                                                        \
    {                                                                                              \
        TARGET_OWN, REGION_NONE, true                                                              \
    }
static const struct residency_row rows[REGIONS * DATA_CLASSES] = {
    ANY, OWN, OWN, OWN, ANY, OWN, OWN, OWN, ANY, OWN, OWN, OWN, ANY, OWN, OWN, OWN};
static const struct residency residency = {
    .regions = names, .region_count = REGIONS, .here = US, .rows = rows, .hubs = 1U << HUB};

static struct residency_link link_at(int64_t rtt_ms, int32_t busy)
{
    return (struct residency_link){.up = true, .rtt_ms = rtt_ms, .load_known = true, .busy = busy};
}

// us-west is busy, apac-east the least, eu-central a little more than that.
struct inputs {
    struct placement_question question;
    struct residency_link links[REGIONS];
};
static struct inputs usual(void)
{
    return (struct inputs){
        .question = {.preferred = REGION_NONE, .home = US, .anywhere = true},
        .links = {link_at(0, 900), link_at(80, 140), link_at(150, 120), link_at(1, 0)},
    };
}

static struct placement decide(const struct inputs *inputs)
{
    return placement_decide(&residency, inputs->links, &inputs->question);
}

static void first_rule_that_fits_decides(void **state)
{
    (void)state;
    static const struct {
        bool local_data, preferred, distributed;
        enum placement_outcome outcome;
        enum placement_rule rule;
    } table[] = {
        {false, false, false, PLACEMENT_REMOTE, PLACED_LEAST_LOADED},
        {false, false, true, PLACEMENT_DISTRIBUTED, PLACED_DISTRIBUTED},
        {false, true, false, PLACEMENT_REMOTE, PLACED_PREFERRED},
        {false, true, true, PLACEMENT_REMOTE, PLACED_PREFERRED},
        {true, false, false, PLACEMENT_LOCAL, PLACED_LOCAL_DATA},
        {true, false, true, PLACEMENT_LOCAL, PLACED_LOCAL_DATA},
        {true, true, false, PLACEMENT_LOCAL, PLACED_LOCAL_DATA},
        {true, true, true, PLACEMENT_LOCAL, PLACED_LOCAL_DATA},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct inputs inputs = usual();
        inputs.question.local_data = table[i].local_data;
        inputs.question.preferred = table[i].preferred ? APAC : REGION_NONE;
        inputs.question.distributed = table[i].distributed;
        struct placement placement = decide(&inputs);
        if (placement.outcome != table[i].outcome || placement.rule != table[i].rule)
            fail_msg("row %zu: %s", i, placement_rule_name(placement.rule));
        int32_t region = placement.rule == PLACED_LOCAL_DATA     ? US
                         : placement.rule == PLACED_PREFERRED    ? APAC
                         : placement.rule == PLACED_LEAST_LOADED ? EU
                                                                 : REGION_NONE;
        assert_int_equal(placement.region, region);
    }
}

static void a_step_that_asks_for_nothing_stays(void **state)
{
    (void)state;
    struct inputs inputs = usual();
    inputs.question.anywhere = false;
    assert_int_equal(decide(&inputs).outcome, PLACEMENT_LOCAL);
    assert_int_equal(decide(&inputs).rule, PLACED_BY_DEFAULT);
}

// Each input changed alone, from one case that goes to eu-central.
static void each_input_alone_flips_the_decision(void **state)
{
    (void)state;
    struct inputs inputs = usual();
    assert_int_equal(decide(&inputs).region, EU);
    inputs.question.dataclass = CLASS_PERSONAL; // residency: at home in us-west, required
    assert_int_equal(decide(&inputs).region, US);
    inputs.question.home = APAC; // the tenant's region: only there or here
    assert_int_equal(decide(&inputs).region, APAC);
    inputs = usual();
    inputs.links[EU].full = true; // capacity
    assert_int_equal(decide(&inputs).region, APAC);
    inputs = usual();
    inputs.links[EU].busy = 500; // load
    assert_int_equal(decide(&inputs).region, APAC);
    inputs = usual();
    inputs.links[EU].up = false; // its link
    assert_int_equal(decide(&inputs).region, APAC);
    inputs = usual();
    inputs.links[EU].load_known = false; // nothing heard
    assert_int_equal(decide(&inputs).region, APAC);
    inputs = usual();
    inputs.question.local_data = true; // an action that is intensive in data
    assert_int_equal(decide(&inputs).region, US);
}

static void loads_that_are_alike_do_not_send_steps_around(void **state)
{
    (void)state;
    struct inputs inputs = usual();
    inputs.links[US].busy = 120 + PLACEMENT_MARGIN - 1;
    assert_int_equal(decide(&inputs).region, US);
    inputs.links[US].busy++;
    assert_int_equal(decide(&inputs).region, EU);
}

static void with_nowhere_to_go_a_step_stays(void **state)
{
    (void)state;
    struct inputs inputs = usual();
    for (int i = 0; i < REGIONS; i++)
        inputs.links[i].full = true;
    assert_int_equal(decide(&inputs).region, US);
    for (int i = 0; i < REGIONS; i++)
        inputs.links[i] = (struct residency_link){.up = true, .rtt_ms = 10};
    assert_int_equal(decide(&inputs).region, US);
}

static void nothing_runs_in_a_hub(void **state)
{
    (void)state;
    struct inputs inputs = usual();
    assert_int_equal(placement_available(&residency, inputs.links, CLASS_PUBLIC, US),
                     1 << US | 1 << EU | 1 << APAC);
    inputs.question.preferred = HUB;
    assert_int_equal(decide(&inputs).outcome, PLACEMENT_REFUSED);
}

static void distributed_goes_to_all_that_are_up_and_may_have_it(void **state)
{
    (void)state;
    struct inputs inputs = usual();
    inputs.question.distributed = true;
    inputs.links[EU].up = false;
    assert_int_equal(decide(&inputs).regions, 1 << US | 1 << APAC);
    inputs.question.dataclass = CLASS_PERSONAL;
    assert_int_equal(decide(&inputs).regions, 1 << US);
}

static void the_reason_names_the_loads(void **state)
{
    (void)state;
    struct inputs inputs = usual();
    struct buf buf = {0};
    inputs.links[APAC].full = true;
    struct placement placement = decide(&inputs);
    placement_explain(&residency, inputs.links, &inputs.question, &placement, &buf);
    buf_byte(&buf, '\0');
    assert_string_equal(buf.ptr, "least_loaded: eu-central 14%, us-west 90%, apac-east full");
    buf_fini(&buf);
}

// A region whose nodes have calls waiting: the next hundred undecided runs go elsewhere.
static void a_loaded_region_gets_none_of_the_next_hundred(void **state)
{
    (void)state;
    struct inputs inputs = usual();
    struct placement_beat nodes[2] = {{.capacity = 16, .cpu = 50}, {.capacity = 16, .cpu = 70}};
    int32_t smoothed = placement_busy(nodes, 2);
    int elsewhere = 0;
    inputs.links[US].busy = smoothed;
    assert_int_equal(decide(&inputs).region, US);
    nodes[0].in_flight = nodes[1].in_flight = 40;
    for (int beat = 0; beat < 2; beat++)
        smoothed = placement_smooth(smoothed, placement_busy(nodes, 2));
    inputs.links[US].busy = smoothed;
    for (int i = 0; i < 100; i++)
        elsewhere += decide(&inputs).region != US;
    assert_int_equal(elsewhere, 100);
}

static void the_load_is_the_most_of_cpu_calls_and_lag(void **state)
{
    (void)state;
    struct placement_beat nodes[2] = {{.capacity = 10, .cpu = 300}, {.capacity = 30, .cpu = 100}};
    assert_int_equal(placement_busy(nodes, 2), 200);
    nodes[0].in_flight = 20; // of 40 that both run at once
    assert_int_equal(placement_busy(nodes, 2), 500);
    nodes[0].lag = nodes[1].lag = 14000; // of the region; 20,000 would be all of it
    assert_int_equal(placement_busy(nodes, 2), 700);
    nodes[0].lag = INT64_C(1) << 40;
    assert_int_equal(placement_busy(nodes, 2), PLACEMENT_BUSY_MAX);
    nodes[0].capacity = nodes[1].capacity = 0;
    assert_int_equal(placement_busy(nodes, 2), PLACEMENT_BUSY_MAX);
}

static void a_beat_reads_as_it_was_written(void **state)
{
    (void)state;
    struct placement_beat beat = {.node = SLICE_LIT("n\"1"),
                                  .time_ms = 7,
                                  .lag = 3,
                                  .in_flight = 5,
                                  .capacity = 16,
                                  .cpu = 420,
                                  .held = true};
    struct placement_beat again;
    struct arena arena = {0};
    struct buf buf = {0};
    struct err_text text = {""};
    placement_beat_format(&beat, &buf);
    assert_int_equal(placement_beat_parse(buf_slice(&buf), &arena, &again, &text), KA_OK);
    assert_true(slice_eq(again.node, beat.node) && again.held);
    assert_int_equal(again.time_ms + again.lag + again.in_flight, 15);
    assert_int_equal(again.capacity + again.cpu, 436);
    static const struct {
        const char *json, *text;
    } wrong[] = {
        {"[]", "a beat of a node: it is no JSON object"},
        {"{\"node\":1}", "a beat of a node: \"node\" is missing or wrong"},
        {"{\"node\":\"n\",\"time_ms\":1,\"lag\":-1}",
         "a beat of a node: \"lag\" is missing or wrong"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(placement_beat_parse(slice_str(wrong[i].json), &arena, &again, &text),
                         KA_ERR_ENVELOPE);
        assert_string_equal(text.text, wrong[i].text);
    }
    buf_fini(&buf);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_rule_that_fits_decides),
        cmocka_unit_test(a_step_that_asks_for_nothing_stays),
        cmocka_unit_test(each_input_alone_flips_the_decision),
        cmocka_unit_test(loads_that_are_alike_do_not_send_steps_around),
        cmocka_unit_test(with_nowhere_to_go_a_step_stays),
        cmocka_unit_test(nothing_runs_in_a_hub),
        cmocka_unit_test(distributed_goes_to_all_that_are_up_and_may_have_it),
        cmocka_unit_test(the_reason_names_the_loads),
        cmocka_unit_test(a_loaded_region_gets_none_of_the_next_hundred),
        cmocka_unit_test(the_load_is_the_most_of_cpu_calls_and_lag),
        cmocka_unit_test(a_beat_reads_as_it_was_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
