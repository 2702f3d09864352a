// SPDX-License-Identifier: Apache-2.0
// The Kafka clients against a real broker: what no mock has (isolation, fencing, transactional
// offsets, log ends with markers), and that no record is lost or repeated on the way through the
// record queue. Needs KASAGA_BOOTSTRAP.
#include "io/clock.h"
#include "io/kafka_admin.h"
#include "io/kafka_consumer.h"
#include "io/kafka_producer.h"
#include "io/log.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define must(call)                                                                                 \
    do {                                                                                           \
        enum ka_err must_err = (call);                                                             \
        if (must_err != KA_OK)                                                                     \
            fail_msg("%s: %s: %s", #call, err_name(must_err), text.text);                          \
    } while (0)

// A seek waits 100 ms at most: on a busy machine it is called again, as a lane does.
#define must_soon(call)                                                                            \
    do {                                                                                           \
        int64_t soon_ms = clock_mono_ms() + WAIT_MS;                                               \
        enum ka_err soon_err;                                                                      \
        do                                                                                         \
            soon_err = (call);                                                                     \
        while (soon_err == KA_ERR_RETRY && clock_mono_ms() < soon_ms);                             \
        must(soon_err);                                                                            \
    } while (0)

enum { PARTS = 4, WAIT_MS = 30000 }; // other tests share the machine

static struct io_kafka_config config;
static struct io_kafka_admin *admin;
static struct arena arena;
static struct err_text text;

// Names of this run and this case, so that cases do not meet.
static const char *name_of(const char *base)
{
    static int number;
    char name[100];
    snprintf(name, sizeof name, "t_kafka.%d.%s.%d", (int)getpid(), base, number++);
    return arena_str(&arena, slice_str(name));
}

static const char *new_topic(const char *base, int32_t partitions)
{
    bool created = false;
    struct io_kafka_topic_spec spec = {
        .name = name_of(base), .partitions = partitions, .replication = 1};
    must(io_kafka_create_topics(admin, &spec, 1, WAIT_MS, &created, &text));
    assert_true(created);
    return spec.name;
}

static struct io_kafka_producer *open_producer(const char *id, const char *topic)
{
    struct io_kafka_producer *producer = NULL;
    must(io_kafka_producer_new(&config, id, &producer, &text));
    if (id != NULL)
        must(io_kafka_producer_init(producer, WAIT_MS, &text));
    must(io_kafka_producer_warm(producer, &topic, 1, WAIT_MS, &text));
    return producer;
}

// Puts `count` records into the open transaction, round robin over the partitions, tag 0.
static void produce(struct io_kafka_producer *producer, const char *topic, int32_t partitions,
                    int64_t count)
{
    struct io_kafka_delivery delivery;
    for (int64_t i = 0; i < count; i++) {
        struct output output = {.topic = slice_str(topic),
                                .partition = (int32_t)(i % partitions),
                                .key = SLICE_LIT("order/4711"),
                                .value = SLICE_LIT("{\"amount\":10}")};
        must(io_kafka_produce(producer, &output, 0, &text));
    }
    must(io_kafka_flush(producer, WAIT_MS, &delivery, &text));
    assert_int_equal(delivery.delivered, count);
}

static void produce_committed(const char *topic, int32_t partitions, int64_t count)
{
    struct io_kafka_producer *producer = open_producer(name_of("id"), topic);
    must(io_kafka_begin(producer, &text));
    produce(producer, topic, partitions, count);
    must(io_kafka_commit(producer, WAIT_MS, &text));
    io_kafka_producer_free(&producer);
}

// A member of a group that follows the lane's rules: assign paused, seek, resume.
struct member {
    struct io_kafka_consumer *consumer;
    const char *topic;
    int wake_fd;
    int64_t *next; // per partition, shared with whom it hands over to
    bool owned[PARTS];
    int assigned;
    int revoked;
    int errors;
    int64_t ends[PARTS]; // where the last end was seen
    int64_t records;
    int64_t wrong; // records that were not the next one
};

static void member_join(struct member *member, const char *group, const char *topic, int64_t *next,
                        const char *client_id)
{
    struct io_kafka_config own = config;
    own.client_id = client_id;
    *member = (struct member){.topic = topic, .next = next, .wake_fd = eventfd(0, EFD_NONBLOCK)};
    for (int i = 0; i < PARTS; i++)
        member->ends[i] = -1;
    must(io_kafka_consumer_new(&own, group, member->wake_fd, &member->consumer, &text));
    must(io_kafka_consumer_subscribe(member->consumer, &topic, 1, &text));
}

static void member_leave(struct member *member)
{
    io_kafka_consumer_free(&member->consumer, WAIT_MS);
    close(member->wake_fd);
}

static void take_over(struct member *member, const struct io_kafka_control *control)
{
    must(io_kafka_assign(member->consumer, control->partitions, control->count, &text));
    for (size_t i = 0; i < control->count; i++) {
        int32_t partition = control->partitions[i].partition;
        must_soon(io_kafka_seek(member->consumer, member->topic, partition, member->next[partition],
                                &text));
        must_soon(io_kafka_resume(member->consumer, member->topic, partition, &text));
        member->owned[partition] = true;
    }
    member->assigned += (int)control->count;
}

static void serve_control(struct member *member)
{
    struct io_kafka_control control;
    while (io_kafka_poll_control(member->consumer, &control)) {
        switch (control.type) {
        case IO_KAFKA_ASSIGNED:
            take_over(member, &control);
            break;
        case IO_KAFKA_REVOKING:
        case IO_KAFKA_LOST:
            for (size_t i = 0; i < control.count; i++)
                member->owned[control.partitions[i].partition] = false;
            member->revoked += (int)control.count;
            must(io_kafka_unassign(member->consumer, control.partitions, control.count, &text));
            break;
        case IO_KAFKA_CLIENT_ERROR:
            print_message("# %s\n", control.text.text);
            member->errors++;
            break;
        }
    }
}

// Reads at most `most` records; counts those that are not the next one of their partition. The
// markers of transactions take offsets: a gap is right when it is one wide.
static void read_records(struct member *member, int64_t most)
{
    struct record record;
    enum ka_err error;
    for (int64_t i = 0; i < most;) {
        enum io_kafka_fetch fetch = io_kafka_poll_record(member->consumer, &record, &error, &text);
        if (fetch == IO_KAFKA_NOTHING)
            return;
        if (fetch == IO_KAFKA_PARTITION_ERROR)
            fail_msg("%s: %s", err_name(error), text.text);
        if (fetch == IO_KAFKA_EOF) {
            member->ends[record.partition] = record.offset;
            continue;
        }
        int64_t *next = &member->next[record.partition];
        member->wrong += !member->owned[record.partition] || record.offset != *next;
        *next = record.offset + 1;
        member->records++;
        i++;
    }
}

static void wait_member(struct member *member, int ms)
{
    struct pollfd poll_fd = {.fd = member->wake_fd, .events = POLLIN};
    uint64_t count;
    if (poll(&poll_fd, 1, ms) > 0)
        (void)!read(member->wake_fd, &count, sizeof count);
}

static void run_until_assigned(struct member *member, int partitions)
{
    int64_t deadline_ms = clock_mono_ms() + 2 * WAIT_MS;
    while (member->assigned < partitions && clock_mono_ms() < deadline_ms) {
        wait_member(member, 20);
        serve_control(member);
    }
    assert_int_equal(member->assigned, partitions);
}

static int64_t committed_offset(const char *group, const char *topic, bool stable, int timeout_ms,
                                struct slice *metadata, enum ka_err *err)
{
    struct io_kafka_committed entry = {.topic = topic, .partition = 1};
    *err = io_kafka_committed(admin, group, stable, timeout_ms, &entry, 1, &arena, &text);
    if (metadata != NULL)
        *metadata = entry.metadata;
    return entry.offset;
}

static void offsets_and_metadata_become_visible_with_the_commit(void **state)
{
    (void)state;
    const char *topic = new_topic("in", PARTS);
    const char *group = name_of("group");
    int64_t next[PARTS] = {0};
    int32_t generation;
    bool is_member;
    enum ka_err err;
    struct slice metadata;
    struct member member;
    member_join(&member, group, topic, next, "n1.0");
    run_until_assigned(&member, PARTS);
    struct io_kafka_group_metadata *membership =
        io_kafka_group_metadata_take(member.consumer, &generation, &is_member);
    assert_true(is_member && generation >= 1);
    struct io_kafka_producer *producer = open_producer(name_of("id"), topic);
    struct io_kafka_offset offset = {.topic = slice_str(topic),
                                     .partition = 1,
                                     .offset = 3,
                                     .metadata = SLICE_LIT("k1;n1.0;5:7")};
    must(io_kafka_begin(producer, &text));
    produce(producer, topic, PARTS, 40);
    must(io_kafka_send_offsets(producer, &offset, 1, membership, WAIT_MS, &text));

    assert_int_equal(committed_offset(group, topic, false, 1000, NULL, &err), -1);
    assert_int_equal(err, KA_OK); // the one before, at once
    int64_t begun_ms = clock_mono_ms();
    committed_offset(group, topic, true, 200, NULL, &err);
    assert_int_equal(err, KA_ERR_TIMEOUT);
    assert_in_range(clock_mono_ms() - begun_ms, 100, 1000);
    must(io_kafka_commit(producer, WAIT_MS, &text));
    assert_int_equal(committed_offset(group, topic, true, 5000, &metadata, &err), 3);
    assert_int_equal(err, KA_OK);
    assert_true(slice_eq(metadata, offset.metadata));
    assert_false(io_kafka_producer_dirty(producer));

    io_kafka_group_metadata_free(&membership);
    io_kafka_producer_free(&producer);
    member_leave(&member);
}

static void an_old_generation_is_refused_and_the_abort_leaves_a_clean_producer(void **state)
{
    (void)state;
    const char *topic = new_topic("in", PARTS);
    const char *group = name_of("group");
    int64_t next[PARTS] = {0};
    int32_t old_generation, generation;
    bool is_member;
    struct member first, second;
    member_join(&first, group, topic, next, "n1.0");
    run_until_assigned(&first, PARTS);
    struct io_kafka_group_metadata *membership =
        io_kafka_group_metadata_take(first.consumer, &old_generation, &is_member);
    member_join(&second, group, topic, next, "n2.0");
    while (second.assigned < 2) {
        wait_member(&first, 20);
        serve_control(&first);
        serve_control(&second);
    }
    struct io_kafka_producer *producer = open_producer(name_of("id"), topic);
    struct io_kafka_offset offset = {.topic = slice_str(topic), .partition = 1, .offset = 3};
    must(io_kafka_begin(producer, &text));
    assert_int_equal(io_kafka_send_offsets(producer, &offset, 1, membership, WAIT_MS, &text),
                     KA_ERR_ABORT);
    must(io_kafka_abort(producer, WAIT_MS, &text));
    io_kafka_group_metadata_free(&membership);
    membership = io_kafka_group_metadata_take(first.consumer, &generation, &is_member);
    assert_true(generation > old_generation);
    must(io_kafka_begin(producer, &text));
    must(io_kafka_send_offsets(producer, &offset, 1, membership, WAIT_MS, &text));
    must(io_kafka_commit(producer, WAIT_MS, &text));
    io_kafka_group_metadata_free(&membership);
    io_kafka_producer_free(&producer);
    member_leave(&second);
    member_leave(&first);
}

static int by_value(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return left < right ? -1 : left > right;
}

// The median: the machine is shared with the broker, and with other tests.
static void fencing_an_open_transaction_takes_milliseconds(void **state)
{
    (void)state;
    enum { RUNS = 7 };
    const char *topic = new_topic("out", PARTS);
    const char *id = name_of("id");
    int64_t took_ms[RUNS];
    for (int i = 0; i < RUNS; i++) {
        struct io_kafka_producer *producer = open_producer(id, topic);
        must(io_kafka_begin(producer, &text));
        produce(producer, topic, PARTS, 40);
        int64_t begun_ms = clock_mono_ms();
        must(io_kafka_fence(&config, id, WAIT_MS, &text));
        took_ms[i] = clock_mono_ms() - begun_ms;
        assert_int_equal(io_kafka_commit(producer, WAIT_MS, &text), KA_ERR_FENCED);
        io_kafka_producer_free(&producer);
    }
    qsort(took_ms, RUNS, sizeof took_ms[0], by_value);
    print_message("# fencing: median %lld ms, slowest %lld ms\n", (long long)took_ms[RUNS / 2],
                  (long long)took_ms[RUNS - 1]);
    assert_in_range(took_ms[RUNS / 2], 0, 149);
}

static void a_second_member_takes_half_and_gives_it_back(void **state)
{
    (void)state;
    const char *topic = new_topic("in", PARTS);
    const char *group = name_of("group");
    const struct io_kafka_member *members;
    const char *group_state;
    size_t count;
    int64_t next[PARTS] = {0};
    struct member first, second;
    must(io_kafka_members(admin, group, WAIT_MS, &arena, &members, &count, &group_state, &text));
    assert_int_equal(count, 0);
    member_join(&first, group, topic, next, "n1.0");
    run_until_assigned(&first, PARTS);
    member_join(&second, group, topic, next, "n2.0");
    while (second.assigned < 2) {
        wait_member(&first, 20);
        serve_control(&first);
        serve_control(&second);
    }
    assert_int_equal(first.revoked, 2); // the other two were never taken away
    must(io_kafka_members(admin, group, WAIT_MS, &arena, &members, &count, &group_state, &text));
    assert_int_equal(count, 2);
    assert_true(strcmp(members[0].client_id, "n1.0") == 0 ||
                strcmp(members[0].client_id, "n2.0") == 0);
    assert_int_equal(members[0].assigned, 2);
    member_leave(&second);
    run_until_assigned(&first, PARTS + 2);
    assert_int_equal(first.errors + second.errors, 0);
    member_leave(&first);
}

// One step of chaos for one partition: read on, or pause and go back, or pause and go on.
static void disturb(struct member *member, int32_t partition, int64_t *kept, int round)
{
    must(io_kafka_pause(member->consumer, member->topic, partition, &text));
    member->owned[partition] = false; // anything of it now is a leak
    read_records(member, 50);
    if (round % 2 == 0) { // an abort: back to what was committed
        must_soon(
            io_kafka_seek(member->consumer, member->topic, partition, kept[partition], &text));
        member->next[partition] = kept[partition];
    }
    must_soon(io_kafka_resume(member->consumer, member->topic, partition, &text));
    member->owned[partition] = true;
}

static void pause_seek_and_resume_a_hundred_times_lose_and_repeat_nothing(void **state)
{
    (void)state;
    enum { COUNT = 100000, PER_PART = COUNT / PARTS };
    const char *topic = new_topic("in", PARTS);
    int64_t next[PARTS] = {0}, kept[PARTS] = {0};
    struct member member;
    produce_committed(topic, PARTS, COUNT);
    member_join(&member, name_of("group"), topic, next, "n1.0");
    run_until_assigned(&member, PARTS);
    wait_member(&member, 5000);
    for (int round = 0; round < 100; round++) {
        int32_t partition = round % PARTS;
        clock_sleep_ms(5); // the prefetch queue is full again
        read_records(&member, 37 + round);
        serve_control(&member);
        disturb(&member, partition, kept, round);
        kept[(round + 1) % PARTS] = next[(round + 1) % PARTS];
    }
    int64_t deadline_ms = clock_mono_ms() + WAIT_MS;
    bool all = false;
    while (!all && clock_mono_ms() < deadline_ms) {
        wait_member(&member, 20);
        serve_control(&member);
        read_records(&member, 1000000);
        all = true;
        for (int i = 0; i < PARTS; i++)
            all &= next[i] == PER_PART && member.ends[i] == PER_PART + 1; // + the marker
    }
    assert_true(all);
    assert_int_equal(member.wrong, 0);
    assert_int_equal(member.errors, 0); // also: nothing came on the control queue
    member_leave(&member);
}

static void handing_partitions_over_loses_and_repeats_nothing(void **state)
{
    (void)state;
    enum { CYCLES = 4, COUNT = 200000, PER_PART = COUNT / PARTS };
    const char *topic = new_topic("in", PARTS);
    const char *group = name_of("group");
    int64_t next[PARTS] = {0};
    struct member first, second;
    produce_committed(topic, PARTS, COUNT);
    member_join(&first, group, topic, next, "n1.0");
    run_until_assigned(&first, PARTS);
    int64_t wrong = 0;
    for (int cycle = 0; cycle < CYCLES; cycle++) {
        int before = first.assigned;
        member_join(&second, group, topic, next, "n2.0");
        while (second.assigned < 2 || second.records < 2000) {
            wait_member(&first, 5);
            serve_control(&first);
            read_records(&first, 100);
            serve_control(&second);
            read_records(&second, 100);
        }
        member_leave(&second);
        wrong += second.wrong + second.errors;
        while (first.assigned < before + 2) {
            wait_member(&first, 5);
            serve_control(&first);
            read_records(&first, 100);
        }
    }
    int64_t deadline_ms = clock_mono_ms() + WAIT_MS;
    while (next[0] + next[1] + next[2] + next[3] < COUNT && clock_mono_ms() < deadline_ms) {
        wait_member(&first, 20);
        serve_control(&first);
        read_records(&first, 1000000);
    }
    for (int i = 0; i < PARTS; i++)
        assert_int_equal(next[i], PER_PART);
    assert_int_equal(wrong + first.wrong + first.errors, 0);
    member_leave(&first);
}

static void the_end_is_the_lso_and_then_the_end_with_the_marker(void **state)
{
    (void)state;
    const char *topic = new_topic("in", PARTS);
    int64_t next[PARTS] = {0};
    int64_t start = -1, end = -1;
    struct member member;
    produce_committed(topic, PARTS, 8); // 2 records and a marker in each partition
    // Markers are written after the commit was answered.
    for (int i = 0; i < 200 && end < 3; i++, clock_sleep_ms(10))
        must(io_kafka_watermarks(admin, topic, 0, WAIT_MS, &start, &end, &text));
    struct io_kafka_producer *producer = open_producer(name_of("id"), topic);
    must(io_kafka_begin(producer, &text));
    produce(producer, topic, PARTS, 20); // 5 more, open
    must(io_kafka_watermarks(admin, topic, 0, WAIT_MS, &start, &end, &text));
    assert_int_equal(start, 0);
    assert_int_equal(end, 8); // the high watermark, not the LSO (3)
    member_join(&member, name_of("group"), topic, next, "n1.0");
    run_until_assigned(&member, PARTS);
    for (int i = 0; i < 100 && member.ends[0] < 3; i++) {
        wait_member(&member, 50);
        read_records(&member, 100);
    }
    assert_int_equal(member.ends[0], 3);
    assert_int_equal(next[0], 2);
    must(io_kafka_abort(producer, WAIT_MS, &text));
    for (int i = 0; i < 100 && member.ends[0] < 9; i++) {
        wait_member(&member, 50);
        read_records(&member, 100);
    }
    assert_int_equal(member.ends[0], 9);
    assert_int_equal(next[0], 2); // what was aborted is not seen
    io_kafka_producer_free(&producer);
    member_leave(&member);
}

static void a_reader_sees_the_end_once_per_partition(void **state)
{
    (void)state;
    const char *topic = new_topic("in", PARTS);
    struct io_kafka_reader *reader = NULL;
    struct record record;
    enum ka_err error;
    int64_t records = 0, ends = 0;
    produce_committed(topic, PARTS, 40);
    must(io_kafka_reader_new(&config, true, &reader, &text));
    for (int32_t i = 0; i < PARTS; i++)
        must(io_kafka_reader_add(reader, topic, i, i == 0 ? 5 : -2, &text));
    assert_int_equal(io_kafka_reader_add(reader, topic, 0, 0, &text), KA_ERR_EXISTS);
    int64_t deadline_ms = clock_mono_ms() + WAIT_MS;
    while (ends < PARTS && clock_mono_ms() < deadline_ms) {
        enum io_kafka_read read = io_kafka_reader_next(reader, 1000, &record, &error, &text);
        records += read == IO_KAFKA_READ_RECORD;
        ends += read == IO_KAFKA_READ_END && record.offset == 11;
        assert_int_not_equal(read, IO_KAFKA_READ_ERROR);
    }
    assert_int_equal(records, 35);
    assert_int_equal(ends, PARTS);
    for (int32_t i = 0; i < PARTS - 1; i++)
        must(io_kafka_reader_remove(reader, topic, i, &text));
    produce_committed(topic, PARTS, 40); // the three that were removed say nothing any more
    records = 0;
    for (int i = 0; i < 100 && records < 10; i++) {
        if (io_kafka_reader_next(reader, 100, &record, &error, &text) != IO_KAFKA_READ_RECORD)
            continue;
        assert_int_equal(record.partition, PARTS - 1);
        records++;
    }
    assert_int_equal(records, 10);
    io_kafka_reader_free(&reader);
}

static void an_offset_that_was_deleted_is_an_error_with_its_name(void **state)
{
    (void)state;
    const char *topic = new_topic("in", PARTS);
    int64_t next[PARTS] = {0};
    int64_t start, end;
    struct record record;
    enum ka_err error = KA_OK;
    struct member member;
    produce_committed(topic, PARTS, 40);
    must(io_kafka_delete_records(admin, topic, 1, 7, WAIT_MS, &text));
    must(io_kafka_watermarks(admin, topic, 1, WAIT_MS, &start, &end, &text));
    assert_int_equal(start, 7);
    member_join(&member, name_of("group"), topic, next, "n1.0");
    run_until_assigned(&member, PARTS);
    enum io_kafka_fetch fetch = IO_KAFKA_NOTHING;
    for (int i = 0; i < 200 && fetch != IO_KAFKA_PARTITION_ERROR; i++) {
        wait_member(&member, 50);
        do
            fetch = io_kafka_poll_record(member.consumer, &record, &error, &text);
        while (fetch == IO_KAFKA_RECORD || fetch == IO_KAFKA_EOF);
    }
    assert_int_equal(fetch, IO_KAFKA_PARTITION_ERROR);
    assert_int_equal(error, KA_ERR_DIVERGED);
    assert_int_equal(record.partition, 1);
    assert_int_equal(record.offset, 0);
    assert_non_null(strstr(text.text, topic));
    assert_int_equal(io_kafka_seek(member.consumer, topic, 1, 7, &text), KA_ERR_FATAL);
    member_leave(&member);
}

static void nothing_flows_before_a_seek(void **state)
{
    (void)state;
    const char *topic = new_topic("in", PARTS);
    struct io_kafka_control control;
    struct record record;
    enum ka_err error;
    int wake_fd = eventfd(0, EFD_NONBLOCK);
    struct io_kafka_consumer *consumer = NULL;
    produce_committed(topic, PARTS, 40);
    must(io_kafka_consumer_new(&config, name_of("group"), wake_fd, &consumer, &text));
    must(io_kafka_consumer_subscribe(consumer, &topic, 1, &text));
    int64_t deadline_ms = clock_mono_ms() + WAIT_MS;
    while (!io_kafka_poll_control(consumer, &control) && clock_mono_ms() < deadline_ms)
        clock_sleep_ms(5);
    assert_int_equal(control.type, IO_KAFKA_ASSIGNED);
    must(io_kafka_assign(consumer, control.partitions, control.count, &text));
    assert_int_equal(io_kafka_resume(consumer, topic, 0, &text), KA_ERR_NOT_ALLOWED);
    assert_int_equal(io_kafka_seek(consumer, "other", 0, 0, &text), KA_ERR_NOT_FOUND);
    clock_sleep_ms(300);
    assert_int_equal(io_kafka_poll_record(consumer, &record, &error, &text), IO_KAFKA_NOTHING);
    assert_false(io_kafka_poll_control(consumer, &control));
    io_kafka_consumer_free(&consumer, WAIT_MS);
    close(wake_fd);
}

static void topics_are_created_once_with_their_settings(void **state)
{
    (void)state;
    static const char *const names[] = {"cleanup.policy", "retention.ms"};
    static const char *const values[] = {"delete", "-1"};
    struct io_kafka_topic_spec specs[2] = {
        {.name = name_of("a"),
         .partitions = 3,
         .replication = -1,
         .config_names = names,
         .config_values = values,
         .config_count = 2},
        {.name = name_of("b"), .partitions = 1, .replication = 1}};
    bool created[2];
    int32_t count;
    struct io_kafka_settings found;
    must(io_kafka_create_topics(admin, specs, 1, WAIT_MS, created, &text));
    must(io_kafka_create_topics(admin, specs, 2, WAIT_MS, created, &text));
    assert_false(created[0]);
    assert_true(created[1]);
    must(io_kafka_partition_count(admin, specs[0].name, WAIT_MS, &count, &text));
    assert_int_equal(count, 3);
    must(io_kafka_partition_count(admin, name_of("none"), WAIT_MS, &count, &text));
    assert_int_equal(count, 0);
    must(io_kafka_topic_config(admin, specs[0].name, WAIT_MS, &arena, &found, &text));
    assert_string_equal(io_kafka_setting(&found, "retention.ms"), "-1");
    assert_string_equal(io_kafka_setting(&found, "none"), "");
    specs[0].name = "not/a/topic";
    assert_int_equal(io_kafka_create_topics(admin, specs, 1, WAIT_MS, created, &text),
                     KA_ERR_CONFIG);
}

static void offsets_are_written_for_a_group_without_members_only(void **state)
{
    (void)state;
    const char *topic = new_topic("in", PARTS);
    const char *group = name_of("group");
    enum ka_err err;
    int64_t next[PARTS] = {0};
    struct slice metadata;
    struct member member;
    struct io_kafka_committed entry = {
        .topic = topic, .partition = 1, .offset = 7, .metadata = SLICE_LIT("k1;first")};
    must(io_kafka_commit_offsets(admin, group, &entry, 1, WAIT_MS, &text));
    assert_int_equal(committed_offset(group, topic, true, WAIT_MS, &metadata, &err), 7);
    assert_true(slice_eq(metadata, SLICE_LIT("k1;first")));
    member_join(&member, group, topic, next, "n1.0");
    run_until_assigned(&member, PARTS);
    assert_int_equal(io_kafka_commit_offsets(admin, group, &entry, 1, WAIT_MS, &text),
                     KA_ERR_NOT_ALLOWED);
    member_leave(&member);
}

static double cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

// The figures are for reading; the bounds only catch what is off by a multiple.
static void a_record_costs_less_than_a_microsecond_each_way(void **state)
{
    (void)state;
    enum { COUNT = 200000, BATCH = 10000 };
    const char *topic = new_topic("in", PARTS);
    int64_t next[PARTS] = {0};
    struct member member;
    struct io_kafka_producer *producer = open_producer(name_of("id"), topic);
    double out_ns = 0, in_ns = 0;
    for (int64_t done = 0; done < COUNT; done += BATCH) {
        must(io_kafka_begin(producer, &text));
        double begun = cpu_ns();
        produce(producer, topic, PARTS, BATCH);
        out_ns += cpu_ns() - begun;
        must(io_kafka_commit(producer, WAIT_MS, &text));
    }
    io_kafka_producer_free(&producer);
    member_join(&member, name_of("group"), topic, next, "n1.0");
    run_until_assigned(&member, PARTS);
    int64_t deadline_ms = clock_mono_ms() + 2 * WAIT_MS;
    while (member.records < COUNT && clock_mono_ms() < deadline_ms) {
        wait_member(&member, 20);
        double begun = cpu_ns();
        read_records(&member, COUNT);
        in_ns += cpu_ns() - begun;
    }
    member_leave(&member);
    print_message("# produce and delivery report %.0f ns, poll_record %.0f ns per record\n",
                  out_ns / COUNT, in_ns / COUNT);
    assert_int_equal(member.records, COUNT);
    assert_true(out_ns / COUNT < 10000 && in_ns / COUNT < 10000);
}

static int open_admin(void **state)
{
    (void)state;
    const char *bootstrap = getenv("KASAGA_BOOTSTRAP");
    if (bootstrap == NULL || bootstrap[0] == '\0') {
        print_error("KASAGA_BOOTSTRAP is not set: KASAGA_BOOTSTRAP=$(tools/kafka up)\n");
        return -1;
    }
    log_configure(&(struct log_config){.level = LOG_LEVEL_ERROR, .fd = 2});
    config = (struct io_kafka_config){.bootstrap = bootstrap, .client_id = "t_kafka"};
    must(io_kafka_admin_new(&config, &admin, &text));
    return 0;
}

static int close_admin(void **state)
{
    (void)state;
    io_kafka_admin_free(&admin);
    arena_fini(&arena);
    return io_kafka_drain(30000) ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topics_are_created_once_with_their_settings),
        cmocka_unit_test(offsets_and_metadata_become_visible_with_the_commit),
        cmocka_unit_test(an_old_generation_is_refused_and_the_abort_leaves_a_clean_producer),
        cmocka_unit_test(offsets_are_written_for_a_group_without_members_only),
        cmocka_unit_test(fencing_an_open_transaction_takes_milliseconds),
        cmocka_unit_test(a_second_member_takes_half_and_gives_it_back),
        cmocka_unit_test(nothing_flows_before_a_seek),
        cmocka_unit_test(pause_seek_and_resume_a_hundred_times_lose_and_repeat_nothing),
        cmocka_unit_test(handing_partitions_over_loses_and_repeats_nothing),
        cmocka_unit_test(the_end_is_the_lso_and_then_the_end_with_the_marker),
        cmocka_unit_test(a_reader_sees_the_end_once_per_partition),
        cmocka_unit_test(an_offset_that_was_deleted_is_an_error_with_its_name),
        cmocka_unit_test(a_record_costs_less_than_a_microsecond_each_way),
    };
    return cmocka_run_group_tests_name("kafka", tests, open_admin, close_admin);
}
