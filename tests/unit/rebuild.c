// SPDX-License-Identifier: Apache-2.0
// The state of a shard from its history: many sagas that nobody wrote, their events in any order.
// KASAGA_SEED=n KASAGA_SEEDS=1 repeats one.
#include "core/rebuild.h"

#include "core/history.h"
#include "core/history_doc.h"
#include "core/shard.h"
#include "random_saga.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// cmocka wants the headers above it
#include <cmocka.h>

enum { SEEDS = 60, SAGAS = 24, EVENTS = 400, RECORDS_MAX = 1 << 14 };

static const struct table_limits limits = {365 * 24 * INT64_C(3600000), 64 << 20};

// A shard: what it wrote into the history, and what its state is.
struct world {
    struct random_saga sagas[SAGAS];
    char keys[SAGAS][32];
    struct arena arena;
    struct record records[RECORDS_MAX];
    size_t count;
    struct table *table;
    int64_t writes;
    int64_t now_ms;
    int unknown; // this saga's definition is not known; -1 = none
};

static enum ka_err find(void *context, const struct def_id *id, const struct saga_def **def,
                        struct err_text *text)
{
    struct world *world = context;
    for (int i = 0; i < SAGAS; i++) {
        *def = world->sagas[i].def;
        if (i != world->unknown && memcmp(&(*def)->id, id, sizeof *id) == 0)
            return KA_OK;
    }
    return err_set(text, KA_ERR_NO_DEFINITION, "nobody knows it");
}

static void ignore_chunk(void *context, uint64_t first, const struct table_finished *entries,
                         size_t count)
{
    (void)context, (void)first, (void)entries, (void)count;
}

static void write_docs(struct world *world, const struct saga *saga,
                       const struct saga_effects *effects, const char *cause)
{
    struct history_context context = {SLICE_LIT("/kasaga/t/shop"), slice_str(cause), "t/n1"};
    struct buf buf = {0};
    for (size_t i = 0; i < effects->transition_count; i++) {
        assert_true(world->count < RECORDS_MAX);
        buf_clear(&buf);
        history_format(saga, &effects->transitions[i], &context, &buf);
        world->records[world->count] = (struct record){.offset = (int64_t)world->count,
                                                       .key = saga->key,
                                                       .value = buf_take(&buf, 0, &world->arena)};
        world->count++;
    }
    buf_fini(&buf);
}

static void store(struct world *world, const struct saga *saga)
{
    struct buf buf = {0};
    saga_encode(saga, &buf);
    if (saga_finished(saga))
        table_finish(world->table, saga->key, saga->incarnation, saga->state, world->now_ms);
    else
        table_put(world->table, saga->key, buf_slice(&buf), saga_due(saga));
    table_full_chunks(world->table, ignore_chunk, NULL);
    table_commit(world->table, world->writes, world->writes + 1);
    world->writes++;
    buf_fini(&buf);
}

// As a shard does it: with the results of inline actions.
static void happen(struct world *world, struct random_saga *random)
{
    static const char *const causes[] = {[SAGA_EVENT_START] = "orders/0/1",
                                         [SAGA_EVENT_RESULT] = "result",
                                         [SAGA_EVENT_TIMER] = "timer",
                                         [SAGA_EVENT_TAKEOVER] = "takeover",
                                         [SAGA_EVENT_COMMAND] = "shop.inbox/0/9"};
    if (saga_finished(random->saga))
        return;
    random->now_ms = world->now_ms;
    struct saga_event event = random_saga_event(random);
    world->now_ms = event.now_ms;
    struct saga_effects effects = {.arena = &random->arena, .scratch = &random->scratch};
    random->started = true;
    if (saga_step(random->saga, &event, &effects, &random->text) != KA_OK)
        return;
    for (size_t done = 0; done < effects.invocation_count; done++) {
        struct invocation call = effects.invocations[done];
        if (!call.action->run_inline)
            continue;
        struct saga_event answer = {.type = SAGA_EVENT_RESULT,
                                    .now_ms = event.now_ms,
                                    .step = call.step,
                                    .attempt = call.attempt,
                                    .compensation = call.compensation,
                                    .result = random_saga_result(random)};
        assert_int_equal(saga_step(random->saga, &answer, &effects, &random->text), KA_OK);
    }
    write_docs(world, random->saga, &effects, causes[event.type]);
    store(world, random->saga);
}

static void set_up(struct world *world, uint64_t seed)
{
    memset(world, 0, sizeof *world);
    world->unknown = -1;
    world->table = table_new(&limits);
    for (int i = 0; i < SAGAS; i++) {
        struct random_saga *random = &world->sagas[i];
        random_saga_init(random, seed * SAGAS + (uint64_t)i);
        snprintf(world->keys[i], sizeof world->keys[i], "random/%d", i);
        random->saga->key = slice_str(world->keys[i]);
        if (random->now_ms > world->now_ms)
            world->now_ms = random->now_ms;
    }
    for (int i = 0; i < EVENTS; i++)
        happen(world, &world->sagas[random_draw(&world->sagas[0], SAGAS)]);
}

static void tear_down(struct world *world)
{
    for (int i = 0; i < SAGAS; i++)
        random_saga_fini(&world->sagas[i]);
    table_free(&world->table);
    arena_fini(&world->arena);
}

static struct rebuild *rebuild(struct world *world, size_t from, size_t to)
{
    struct rebuild_config config = {.limits = limits, .context = world, .find = find};
    struct rebuild *made = rebuild_new(&config);
    for (size_t i = from; i < to; i++)
        rebuild_take(made, &world->records[i]);
    rebuild_end(made, world->now_ms);
    return made;
}

struct state_log {
    struct shard_restore *restore;
    int64_t offset;
};

static void restore_record(void *context, struct slice key, struct slice value)
{
    struct state_log *log = context;
    struct record record = {.offset = log->offset++, .key = key, .value = value};
    assert_int_equal(shard_restore_apply(log->restore, &record, NULL), KA_OK);
}

static void the_state_is_what_the_history_says(void **state)
{
    (void)state;
    static struct world world;
    const char *seed_text = getenv("KASAGA_SEED");
    uint64_t first = seed_text == NULL ? 1 : strtoull(seed_text, NULL, 10);
    uint64_t seeds = getenv("KASAGA_SEEDS") == NULL ? SEEDS : 1;
    size_t live = 0, finished = 0;
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        set_up(&world, seed);
        struct rebuild *made = rebuild(&world, 0, world.count);
        struct slice key = SLICE_NONE;
        const char *why = "";
        if (rebuild_lost(made, &key, &why) != 0)
            fail_msg("KASAGA_SEED=%llu: %.*s: %s", (unsigned long long)seed, SLICE_FMT(key), why);
        table_expire(world.table, world.now_ms);
        if (table_digest(rebuild_table(made)) != table_digest(world.table))
            fail_msg("KASAGA_SEED=%llu KASAGA_SEEDS=1: another state", (unsigned long long)seed);
        live += table_count(world.table);
        finished += table_finished_count(world.table);
        rebuild_free(&made);
        tear_down(&world);
    }
    assert_true(seeds == 1 || (live > SEEDS && finished > SEEDS));
}

static void what_is_written_is_restored_to_the_same_state(void **state)
{
    (void)state;
    static struct world world;
    struct rebuild_config config = {.limits = limits, .context = &world, .find = find};
    set_up(&world, 4);
    struct rebuild *made = rebuild(&world, 0, world.count);
    struct state_log log = {shard_restore_new(&limits), 1000};
    rebuild_write_all(made, restore_record, &log);
    shard_restore_end(log.restore, log.offset, world.now_ms);
    struct table *restored = shard_restore_table(log.restore);
    assert_int_equal(rebuild_due_times(&config, restored, NULL), KA_OK);
    assert_true(table_count(restored) > 0 && table_finished_count(restored) > 0);
    assert_true(table_digest(restored) == table_digest(rebuild_table(made)));
    assert_true(slice_none(rebuild_difference(restored, rebuild_table(made), &world.arena)));
    shard_restore_free(&log.restore);
    rebuild_free(&made);
    tear_down(&world);
}

static void a_live_instance_without_its_start_is_lost_and_named(void **state)
{
    (void)state;
    static struct world world;
    set_up(&world, 4);
    struct rebuild *made = rebuild(&world, 30, world.count);
    struct slice key = SLICE_NONE;
    const char *why = NULL;
    assert_true(rebuild_lost(made, &key, &why) > 0);
    assert_true(slice_starts(key, SLICE_LIT("random/")));
    assert_non_null(strstr(why, "start is not in the history"));
    rebuild_free(&made);
    tear_down(&world);
}

static void what_ended_is_remembered_without_its_start(void **state)
{
    (void)state;
    static struct world world;
    set_up(&world, 4);
    table_expire(world.table, world.now_ms);
    // The last record of each instance that has ended, and nothing else.
    struct rebuild_config config = {.limits = limits, .context = &world, .find = find};
    struct rebuild *made = rebuild_new(&config);
    for (size_t i = 0; i < world.count; i++) {
        struct history_doc doc;
        assert_int_equal(history_doc_parse(world.records[i].value, &world.arena, &doc, NULL),
                         KA_OK);
        if (doc.transition == TRANSITION_SAGA_COMPLETED ||
            doc.transition == TRANSITION_SAGA_COMPENSATED ||
            doc.transition == TRANSITION_SAGA_TERMINATED)
            rebuild_take(made, &world.records[i]);
    }
    rebuild_end(made, world.now_ms);
    assert_int_equal(rebuild_lost(made, NULL, NULL), 0);
    assert_int_equal(table_finished_count(rebuild_table(made)), table_finished_count(world.table));
    rebuild_free(&made);
    tear_down(&world);
}

static void an_unknown_definition_loses_its_live_instances(void **state)
{
    (void)state;
    static struct world world;
    set_up(&world, 4);
    for (int i = 0; i < SAGAS && world.unknown < 0; i++)
        if (world.sagas[i].started && !saga_finished(world.sagas[i].saga))
            world.unknown = i;
    struct rebuild *made = rebuild(&world, 0, world.count);
    struct slice key = SLICE_NONE;
    const char *why = NULL;
    assert_int_equal(rebuild_lost(made, &key, &why), 1);
    assert_true(slice_eq(key, slice_str(world.keys[world.unknown])));
    assert_non_null(strstr(why, "nobody knows it"));
    rebuild_free(&made);
    tear_down(&world);
}

static void records_of_no_instance_are_passed_by(void **state)
{
    (void)state;
    static struct world world;
    set_up(&world, 4);
    struct rebuild_config config = {.limits = limits, .context = &world, .find = find};
    struct rebuild *made = rebuild_new(&config);
    const char *const others[] = {
        "{\"type\":\"kasaga.command.refused\",\"data\":{\"verb\":\"pause\"}}", "no json", "{}"};
    for (size_t i = 0; i < 3; i++) {
        struct record record = {.key = SLICE_LIT("random/1"), .value = slice_str(others[i])};
        rebuild_take(made, &record);
    }
    struct record removed = {.key = SLICE_LIT("random/1")};
    rebuild_take(made, &removed);
    rebuild_end(made, world.now_ms);
    assert_int_equal(rebuild_lost(made, NULL, NULL), 0);
    assert_int_equal(table_count(rebuild_table(made)), 0);
    rebuild_free(&made);
    tear_down(&world);
}

// Found by tests/fuzz/history.c: an end without a time, or after all times that can be remembered.
static void an_end_that_cannot_be_believed_is_none(void **state)
{
    (void)state;
    static struct world world;
    set_up(&world, 4);
    struct rebuild_config config = {.limits = limits, .context = &world, .find = find};
    static const char *const times[] = {"", "\"time\":\"2107-01-01T00:00:00.000Z\",",
                                        "\"time\":\"2026-13-01T00:00:00.000Z\","};
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        struct rebuild *made = rebuild_new(&config);
        struct slice key = SLICE_NONE;
        const char *why = NULL;
        char doc[256];
        snprintf(doc, sizeof doc,
                 "{\"type\":\"kasaga.saga.completed\",%s\"sagaid\":\"random/1@5\","
                 "\"sequence\":3,\"data\":{\"state\":\"completed\"}}",
                 times[i]);
        struct record record = {.key = SLICE_LIT("random/1"), .value = slice_str(doc)};
        rebuild_take(made, &record);
        rebuild_end(made, world.now_ms);
        assert_int_equal(table_finished_count(rebuild_table(made)), 0);
        assert_int_equal(rebuild_lost(made, &key, &why), 1);
        rebuild_free(&made);
    }
    tear_down(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_state_is_what_the_history_says),
        cmocka_unit_test(what_is_written_is_restored_to_the_same_state),
        cmocka_unit_test(a_live_instance_without_its_start_is_lost_and_named),
        cmocka_unit_test(what_ended_is_remembered_without_its_start),
        cmocka_unit_test(an_unknown_definition_loses_its_live_instances),
        cmocka_unit_test(records_of_no_instance_are_passed_by),
        cmocka_unit_test(an_end_that_cannot_be_believed_is_none),
    };
    return cmocka_run_group_tests_name("rebuild", tests, NULL, NULL);
}
