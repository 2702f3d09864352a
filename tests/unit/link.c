// SPDX-License-Identifier: Apache-2.0
// The processor of a link, call by call as a lane makes them: what is copied, what a commit keeps,
// what an abort puts back, and what an operator's skip does.
#include "core/link.h"

#include "core/hash.h"
#include "core/origin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// cmocka wants the headers above it
#include <cmocka.h>

enum { SLOTS = 4, RECORD_MAX = 2000 };

struct fixture {
    struct link_config config;
    struct links *links;
    struct lane_processor processor;
    struct lane_partition slot;
    struct lane_batch batch;
    struct err_text text;
};

static void adopt(struct fixture *f, struct link_restore *restore, enum ka_err expected)
{
    struct meta meta = {0};
    if (f->slot.owner != NULL)
        f->processor.drop(f->processor.context, &f->slot);
    assert_int_equal(f->processor.adopt(f->processor.context, &f->slot, restore, &meta, &f->text),
                     expected);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->config = (struct link_config){.source = SLICE_LIT("eu"),
                                     .cluster = SLICE_LIT("cluster-eu"),
                                     .here = SLICE_LIT("cluster-us"),
                                     .links_topic = SLICE_LIT("app.links"),
                                     .slots = SLOTS,
                                     .inbox_topic = SLICE_LIT("app.inbox"),
                                     .shards = 8,
                                     .record_max = RECORD_MAX};
    f->links = links_new(&f->config);
    f->processor = links_processor(f->links);
    f->slot = (struct lane_partition){.partition = 2, .slot = 1, .used = true};
    f->batch.now_ms = 1790000000000;
    adopt(f, link_restore_new(), KA_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    f->processor.drop(f->processor.context, &f->slot);
    links_free(&f->links);
    arena_fini(&f->batch.arena);
    buf_fini(&f->batch.scratch);
    free(f->batch.outputs);
    free(f);
    return 0;
}

static struct link_part *begun(struct fixture *f, int64_t next)
{
    struct link_part *part = link_part_begin(f->links, &f->slot, SLICE_LIT("orders"), 3, next);
    link_part_aim(part, SLICE_LIT("eu.orders"), false);
    return part;
}

static void give(struct fixture *f, struct link_part *part, int64_t serial, struct record *record)
{
    struct link_input input = {.part = part, .serial = serial, .record = *record};
    input.record.topic = SLICE_LIT("orders");
    input.record.partition = 3;
    assert_int_equal(
        f->processor.result(f->processor.context, &f->slot, &input.base, &f->batch, &f->text),
        KA_OK);
}

static void give_plain(struct fixture *f, struct link_part *part, int64_t offset)
{
    struct record record = {.offset = offset,
                            .timestamp_ms = 1700000000000 + offset,
                            .key = SLICE_LIT("k"),
                            .value = SLICE_LIT("v")};
    give(f, part, part->serial, &record);
}

static void commit(struct fixture *f)
{
    assert_int_equal(f->processor.close(f->processor.context, &f->slot, &f->batch, &f->text),
                     KA_OK);
    f->processor.committed(f->processor.context, &f->slot);
    f->batch.output_count = 0;
}

static void abort_it(struct fixture *f)
{
    f->processor.undo(f->processor.context, &f->slot);
    f->batch.output_count = 0;
}

static struct link_progress progress_at(struct fixture *f, size_t i)
{
    struct link_progress progress;
    const struct lane_output *output = &f->batch.outputs[i];
    assert_true(slice_eq(output->record.topic, SLICE_LIT("app.links")));
    assert_int_equal(output->record.partition, 2);
    assert_int_equal(output->tag, 1);
    assert_int_equal(link_progress_decode(output->record.value, &progress, NULL), KA_OK);
    return progress;
}

static void a_record_is_copied_as_it_is_with_its_origin(void **state)
{
    struct fixture *f = *state;
    struct link_part *part = begun(f, 0);
    struct header headers[] = {{SLICE_LIT("a"), SLICE_LIT("1")}, {SLICE_LIT("a"), SLICE_NONE}};
    struct record record = {.offset = 17, .timestamp_ms = 5, .headers = headers, .header_count = 2};
    give(f, part, part->serial, &record);
    assert_int_equal(f->batch.output_count, 1);
    const struct output *output = &f->batch.outputs[0].record;
    assert_true(slice_eq(output->topic, SLICE_LIT("eu.orders")) && output->partition == 3);
    assert_true(slice_none(output->key) && slice_none(output->value));
    assert_int_equal(output->timestamp_ms, 5);
    assert_int_equal(output->header_count, 3);
    assert_true(slice_none(output->headers[1].value));
    struct origin origin;
    assert_int_equal(origin_decode(output->headers[2].value, &origin, NULL), KA_OK);
    assert_true(slice_eq(origin.cluster, f->config.cluster) && origin.offset == 17);
}

static void what_came_by_a_link_is_dropped_and_counted(void **state)
{
    struct fixture *f = *state;
    struct link_part *part = begun(f, 0);
    struct buf buf = {0};
    struct origin origin = {.cluster = SLICE_LIT("cluster-ap"), .topic = SLICE_LIT("orders")};
    origin_encode(&origin, &buf);
    struct header header = {ORIGIN_HEADER, buf_slice(&buf)};
    struct record record = {.offset = 4, .headers = &header, .header_count = 1};
    give(f, part, part->serial, &record);
    assert_int_equal(f->batch.output_count, 0);
    assert_int_equal(part->now.next, 5);
    assert_int_equal(part->now.dropped, 1);
    buf_fini(&buf);
}

static void a_way_that_cannot_be_read_stops_the_part(void **state)
{
    struct fixture *f = *state;
    struct link_part *part = begun(f, 0);
    struct header header = {ORIGIN_HEADER, SLICE_LIT("\x09")};
    struct record record = {.offset = 4, .headers = &header, .header_count = 1};
    give(f, part, part->serial, &record);
    assert_int_equal(part->now.state, LINK_STOPPED);
    assert_non_null(strstr(part->now.why, "offset 4: a header kasaga-origin of version 9"));
    assert_int_equal(part->now.next, 0);
}

static void one_progress_record_holds_what_the_transaction_copied(void **state)
{
    struct fixture *f = *state;
    struct link_part *part = begun(f, 10);
    for (int64_t offset = 10; offset < 15; offset++)
        give_plain(f, part, offset);
    f->processor.close(f->processor.context, &f->slot, &f->batch, &f->text);
    assert_int_equal(f->batch.output_count, 6);
    struct link_progress progress = progress_at(f, 5);
    assert_int_equal(progress.next, 15);
    assert_int_equal(progress.last_offset, 14);
    assert_int_equal(progress.last_time_ms, 1700000000014);
    assert_int_equal(progress.copied, 5);
    assert_int_equal(progress.slots, SLOTS);
    f->processor.committed(f->processor.context, &f->slot);
    assert_false(f->processor.pending(f->processor.context, &f->slot, 0));
}

static void an_abort_puts_the_progress_back(void **state)
{
    struct fixture *f = *state;
    struct link_part *part = begun(f, 10);
    give_plain(f, part, 10);
    commit(f);
    give_plain(f, part, 11);
    give_plain(f, part, 12);
    assert_int_equal(part->now.next, 13);
    abort_it(f);
    assert_int_equal(part->now.next, 11);
    assert_int_equal(part->now.copied, 1);
    give_plain(f, part, 11); // the lane hands it in again
    assert_int_equal(part->now.next, 12);
}

static void copies_of_an_aborted_transaction_are_counted_apart(void **state)
{
    struct fixture *f = *state;
    struct link_part *part = begun(f, 10);
    give_plain(f, part, 10);
    commit(f);
    int64_t one = part->settled.bytes;
    assert_true(one > 0);
    give_plain(f, part, 11);
    give_plain(f, part, 12);
    assert_int_equal(part->now.bytes, 3 * one);
    abort_it(f);
    assert_int_equal(part->now.bytes, one);
    assert_int_equal(part->again, 2);
    give_plain(f, part, 11);
    give_plain(f, part, 12);
    commit(f);
    assert_int_equal(part->settled.bytes, 3 * one);
    assert_int_equal(part->again, 2);
}

static void what_was_read_twice_is_copied_once(void **state)
{
    struct fixture *f = *state;
    struct link_part *part = begun(f, 10);
    give_plain(f, part, 10);
    give_plain(f, part, 10);
    assert_int_equal(f->batch.output_count, 1);
}

static void what_was_read_before_a_suspicion_does_not_count(void **state)
{
    struct fixture *f = *state;
    struct link_part *part = begun(f, 10);
    int64_t before = part->serial;
    struct record record = {.offset = 10};
    link_part_wait(f->links, part, "the log has become shorter");
    link_part_read(part);
    give(f, part, before, &record);
    assert_int_equal(f->batch.output_count, 0);
    give(f, part, part->serial, &record);
    assert_int_equal(f->batch.output_count, 1);
}

// The scenario: records 10 to 12 are in the open transaction, the part is suspected and read again
// from settled.next, the transaction is aborted. Nothing may be missing then.
static void a_suspicion_within_a_transaction_that_is_aborted_loses_nothing(void **state)
{
    struct fixture *f = *state;
    struct link_part *part = begun(f, 10);
    commit(f);
    for (int64_t offset = 10; offset < 13; offset++)
        give_plain(f, part, offset);
    link_part_wait(f->links, part, "a connection was lost");
    link_part_read(part);
    assert_int_equal(part->settled.next, 10); // from here it is read again
    abort_it(f);
    for (int64_t offset = part->settled.next; offset < 14; offset++)
        give_plain(f, part, offset);
    assert_int_equal(f->batch.output_count, 4);
    assert_int_equal(part->now.next, 14);
}

static void a_record_too_large_for_its_topic_stops_the_part_before_it(void **state)
{
    struct fixture *f = *state;
    static const char value[1300];
    struct link_part *part = begun(f, 10);
    struct record record = {.offset = 10, .key = SLICE_LIT("k"), .value = {value, 900}};
    link_part_limit(part, 1600);
    give(f, part, part->serial, &record);
    assert_int_equal(part->now.state, LINK_READING);
    record.offset = 11;
    record.value.len = sizeof value;
    give(f, part, part->serial, &record);
    assert_int_equal(part->now.state, LINK_STOPPED);
    assert_int_equal(part->now.next, 11);
    assert_non_null(strstr(part->now.why, "max.message.bytes of eu.orders is 1600"));
}

static void a_record_too_large_for_here_stops_the_part_before_it(void **state)
{
    struct fixture *f = *state;
    struct link_part *part = begun(f, 0);
    static const char large[RECORD_MAX];
    struct record record = {.offset = 1, .value = slice_of(large, sizeof large)};
    give_plain(f, part, 0);
    give(f, part, part->serial, &record);
    assert_int_equal(part->now.state, LINK_STOPPED);
    assert_int_equal(part->now.next, 1);
    f->processor.close(f->processor.context, &f->slot, &f->batch, &f->text);
    struct link_progress progress = progress_at(f, 1);
    assert_true(slice_starts(progress.stopped, SLICE_LIT("offset 1: the record has about")));
}

static void a_stop_that_is_aborted_is_met_again(void **state)
{
    struct fixture *f = *state;
    struct link_part *part = begun(f, 0);
    struct header header = {ORIGIN_HEADER, SLICE_LIT("\x09")};
    struct record record = {.offset = 1, .headers = &header, .header_count = 1};
    commit(f);
    give_plain(f, part, 0);
    give(f, part, part->serial, &record);
    abort_it(f);
    assert_int_equal(part->now.state, LINK_READING);
    give_plain(f, part, 0);
    assert_int_equal(part->now.next, 1);
}

static void without_a_topic_here_the_first_record_waits(void **state)
{
    struct fixture *f = *state;
    struct link_part *part = begun(f, 0);
    link_part_aim(part, SLICE_LIT(""), false);
    give_plain(f, part, 0);
    assert_int_equal(f->batch.output_count, 0);
    assert_true(part->wants_target);
    assert_int_equal(part->now.state, LINK_WAITING);
    commit(f);
    link_part_aim(part, SLICE_LIT("eu.orders"), false);
    link_part_read(part);
    give_plain(f, part, 0);
    assert_int_equal(f->batch.output_count, 1);
    assert_false(part->wants_target);
}

static void a_command_goes_to_the_partition_of_its_key(void **state)
{
    struct fixture *f = *state;
    struct link_part *part = begun(f, 0);
    struct record record = {.key = SLICE_LIT("order/4711"), .value = SLICE_LIT("c")};
    link_part_aim(part, SLICE_LIT("app.inbox"), true);
    give(f, part, part->serial, &record);
    assert_int_equal(f->batch.outputs[0].record.partition, hash_partition(record.key, 8));
    record.offset = 1;
    record.key = SLICE_NONE;
    give(f, part, part->serial, &record);
    assert_non_null(strstr(part->now.why, "without a key"));
}

static void the_end_of_a_partition_is_progress_without_a_record(void **state)
{
    struct fixture *f = *state;
    struct link_part *part = begun(f, 10);
    struct link_input input = {
        .part = part, .serial = part->serial, .end = true, .record = {.offset = 12}};
    f->processor.result(f->processor.context, &f->slot, &input.base, &f->batch, &f->text);
    assert_int_equal(part->now.next, 12);
    assert_int_equal(part->now.last_offset, -1);
}

// ---- Restored

static struct link_restore *restore_of(struct fixture *f)
{
    struct link_restore *restore = link_restore_new();
    f->processor.close(f->processor.context, &f->slot, &f->batch, &f->text);
    for (size_t i = 0; i < f->batch.output_count; i++) {
        const struct output *output = &f->batch.outputs[i].record;
        if (!slice_eq(output->topic, SLICE_LIT("app.links")))
            continue;
        struct record record = {.key = output->key, .value = output->value, .offset = (int64_t)i};
        assert_int_equal(link_restore_apply(restore, &record, &f->text), KA_OK);
    }
    f->processor.committed(f->processor.context, &f->slot);
    return restore;
}

static void a_new_owner_goes_on_where_the_progress_is(void **state)
{
    struct fixture *f = *state;
    struct link_part *part = begun(f, 10);
    give_plain(f, part, 10);
    struct link_mark was = part->now;
    adopt(f, restore_of(f), KA_OK);
    part = link_part_find(&f->slot, SLICE_LIT("orders"), 3);
    assert_int_equal(part->now.state, LINK_WAITING);
    assert_int_equal(part->now.next, 11);
    assert_int_equal(part->now.last_hash, was.last_hash);
    assert_int_equal(part->now.copied, 1);
}

static void the_last_record_of_a_key_counts_and_other_links_do_not(void **state)
{
    struct fixture *f = *state;
    struct link_restore *restore = link_restore_new();
    struct buf buf = {0};
    for (int i = 0; i < 5; i++) {
        struct link_progress progress = {.source = i == 4 ? SLICE_LIT("ap") : SLICE_LIT("eu"),
                                         .cluster = SLICE_LIT("cluster-eu"),
                                         .topic = SLICE_LIT("orders"),
                                         .partition = 3,
                                         .slots = SLOTS,
                                         .next = i == 1 ? 1000000 : i,
                                         .control = -1};
        buf_clear(&buf);
        link_progress_encode(&progress, &buf);
        struct record record = {.key = i == 4 ? SLICE_LIT("ap/orders/3") : SLICE_LIT("eu/orders/3"),
                                .value = buf_slice(&buf)};
        assert_int_equal(link_restore_apply(restore, &record, &f->text), KA_OK);
    }
    assert_int_equal(link_restore_parts(restore), 2);
    adopt(f, restore, KA_OK);
    assert_int_equal(link_part_count(&f->slot), 1);
    assert_int_equal(link_part_at(&f->slot, 0)->now.next, 3);
    buf_fini(&buf);
}

static void another_cluster_behind_the_name_stops_the_part(void **state)
{
    struct fixture *f = *state;
    give_plain(f, begun(f, 0), 0);
    struct link_restore *restore = restore_of(f);
    struct link_config config = f->config;
    config.cluster = SLICE_LIT("cluster-eu-2");
    f->processor.drop(f->processor.context, &f->slot);
    links_free(&f->links);
    f->links = links_new(&config);
    f->processor = links_processor(f->links);
    adopt(f, restore, KA_OK);
    const struct link_part *part = link_part_at(&f->slot, 0);
    assert_int_equal(part->now.state, LINK_STOPPED);
    assert_string_equal(part->now.why, "eu was cluster cluster-eu when this was copied up to "
                                       "offset 1, and is cluster-eu-2 now");
    assert_false(f->processor.pending(f->processor.context, &f->slot, 0)); // not written down
}

static void another_number_of_slots_is_refused(void **state)
{
    struct fixture *f = *state;
    give_plain(f, begun(f, 0), 0);
    struct link_restore *restore = restore_of(f);
    struct link_config config = f->config;
    config.slots = SLOTS + 1;
    f->processor.drop(f->processor.context, &f->slot);
    links_free(&f->links);
    f->links = links_new(&config);
    f->processor = links_processor(f->links);
    adopt(f, restore, KA_ERR_CONFIG);
}

// ---- Skips

static void ask_skip(struct fixture *f, int64_t from, int64_t to, int64_t offset)
{
    struct buf buf = {0};
    struct link_skip wanted = {.source = SLICE_LIT("eu"),
                               .topic = SLICE_LIT("orders"),
                               .partition = 3,
                               .from = from,
                               .to = to,
                               .actor = SLICE_LIT("ann"),
                               .reason = SLICE_LIT("gone")};
    link_skip_encode(&wanted, &buf);
    struct record record = {.partition = 2,
                            .offset = offset,
                            .key = SLICE_LIT("#skip/eu/orders/3"),
                            .value = buf_slice(&buf)};
    assert_false(f->processor.passes(f->processor.context, &record));
    assert_int_equal(
        f->processor.record(f->processor.context, &f->slot, &record, &f->batch, &f->text), KA_OK);
    buf_fini(&buf);
}

static void a_skip_is_obeyed_where_the_operator_saw_it_standing(void **state)
{
    struct fixture *f = *state;
    struct link_part *part = begun(f, 10);
    link_part_stop(f->links, part, "why");
    ask_skip(f, 10, 90, 500);
    assert_true(slice_none(f->batch.outputs[0].record.value)); // the command is removed
    f->processor.close(f->processor.context, &f->slot, &f->batch, &f->text);
    struct link_progress progress = progress_at(f, 1);
    assert_int_equal(progress.next, 90);
    assert_int_equal(progress.skipped, 80);
    assert_int_equal(progress.control, 500);
    assert_true(slice_eq(progress.actor, SLICE_LIT("ann")) && progress.stopped.len == 0);
    f->processor.committed(f->processor.context, &f->slot);
    assert_int_equal(part->now.state, LINK_WAITING);
    ask_skip(f, 90, 100, 500); // read again
    assert_int_equal(part->now.next, 90);
}

// The same order again: the part has been read anew and passes by the place where it had stopped.
static void a_skip_back_is_obeyed_only_by_a_part_that_has_stopped(void **state)
{
    struct fixture *f = *state;
    struct link_part *part = begun(f, 10);
    ask_skip(f, 10, 2, 500);
    assert_int_equal(part->now.next, 10);
    assert_int_equal(part->now.state, LINK_READING);
    link_part_stop(f->links, part, "why");
    ask_skip(f, 10, 2, 501);
    assert_int_equal(part->now.next, 2);
}

static void a_skip_from_elsewhere_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct link_part *part = begun(f, 10);
    ask_skip(f, 9, 90, 500);
    assert_int_equal(part->now.next, 10);
    assert_int_equal(part->now.state, LINK_READING);
}

static void a_skip_that_is_aborted_leaves_the_part_stopped(void **state)
{
    struct fixture *f = *state;
    struct link_part *part = begun(f, 10);
    link_part_stop(f->links, part, "why");
    ask_skip(f, 10, 90, 500);
    abort_it(f);
    assert_int_equal(part->now.state, LINK_STOPPED);
    assert_string_equal(part->now.why, "why");
    assert_int_equal(part->now.next, 10);
}

// Through a lane: what is nothing to the link opens no transaction, its offset goes with the next.
static void progress_that_is_read_back_opens_no_transaction(void **state)
{
    struct fixture *f = *state;
    struct lane_config config = {.node = SLICE_LIT("n1"),
                                 .name = SLICE_LIT("eu-0"),
                                 .session_timeout_ms = 6000,
                                 .batch_records = 10,
                                 .batch_bytes = 1000,
                                 .batch_ms = 100};
    struct lane *lane = lane_new(&config, &f->processor);
    struct lane_effects effects = {0};
    struct lane_partition_name name = {SLICE_LIT("app.links"), 2};
    struct meta meta = {0};
    const struct lane_event start[] = {
        {.type = LANE_EVENT_PRODUCER_READY, .producer = 0},
        {.type = LANE_EVENT_PRODUCER_READY, .producer = 1},
        {.type = LANE_EVENT_ASSIGNED, .partitions = &name, .partition_count = 1},
        {.type = LANE_EVENT_RESTORED, .epoch = 1, .restored = link_restore_new(), .meta = &meta},
        {.type = LANE_EVENT_TICK, .drained = true}, // the claim
        {.type = LANE_EVENT_FLUSHED, .producer = 1, .generation = 1, .member = true},
        {.type = LANE_EVENT_COMMITTED, .producer = 1},
    };
    for (size_t i = 0; i < sizeof start / sizeof start[0]; i++)
        lane_step(lane, &start[i], &effects);
    assert_true(lane_idle(lane));
    effects.count = 0;
    struct record record = {.topic = SLICE_LIT("app.links"),
                            .partition = 2,
                            .offset = 5,
                            .key = SLICE_LIT("eu/orders/3"),
                            .value = SLICE_LIT("x")};
    struct lane_event event = {.type = LANE_EVENT_RECORD, .epoch = 1, .record = &record};
    lane_step(lane, &event, &effects);
    assert_int_equal(effects.count, 0);
    assert_int_equal(lane_partition(lane, 0)->position, 6);
    assert_int_equal(lane_partition(lane, 0)->committed, 0);
    lane_effects_fini(&effects);
    lane_free(&lane);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_record_is_copied_as_it_is_with_its_origin),
        CASE(what_came_by_a_link_is_dropped_and_counted),
        CASE(a_way_that_cannot_be_read_stops_the_part),
        CASE(one_progress_record_holds_what_the_transaction_copied),
        CASE(an_abort_puts_the_progress_back),
        CASE(copies_of_an_aborted_transaction_are_counted_apart),
        CASE(what_was_read_twice_is_copied_once),
        CASE(what_was_read_before_a_suspicion_does_not_count),
        CASE(a_suspicion_within_a_transaction_that_is_aborted_loses_nothing),
        CASE(a_record_too_large_for_its_topic_stops_the_part_before_it),
        CASE(a_record_too_large_for_here_stops_the_part_before_it),
        CASE(a_stop_that_is_aborted_is_met_again),
        CASE(without_a_topic_here_the_first_record_waits),
        CASE(a_command_goes_to_the_partition_of_its_key),
        CASE(the_end_of_a_partition_is_progress_without_a_record),
        CASE(a_new_owner_goes_on_where_the_progress_is),
        CASE(the_last_record_of_a_key_counts_and_other_links_do_not),
        CASE(another_cluster_behind_the_name_stops_the_part),
        CASE(another_number_of_slots_is_refused),
        CASE(a_skip_is_obeyed_where_the_operator_saw_it_standing),
        CASE(a_skip_back_is_obeyed_only_by_a_part_that_has_stopped),
        CASE(a_skip_from_elsewhere_changes_nothing),
        CASE(a_skip_that_is_aborted_leaves_the_part_stopped),
        CASE(progress_that_is_read_back_opens_no_transaction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
