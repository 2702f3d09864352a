// SPDX-License-Identifier: Apache-2.0
// The clients with at_least_once, as kasaga dev uses them on the mock cluster: the lane's calls in
// the lane's order, and what is left of each.
#include "io/clock.h"
#include "io/kafka_admin.h"
#include "io/kafka_consumer.h"
#include "io/kafka_mock.h"
#include "io/kafka_producer.h"
#include "io/log.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#define must(call)                                                                                 \
    do {                                                                                           \
        enum ka_err must_err = (call);                                                             \
        if (must_err != KA_OK)                                                                     \
            fail_msg("%s: %s: %s", #call, err_name(must_err), text.text);                          \
    } while (0)

static struct io_kafka_mock *mock;
static struct io_kafka_config config;
static struct io_kafka_admin *admin;
static struct io_kafka_consumer *member; // one for all: the mock's first join takes 3 s
static struct io_kafka_group_metadata *group;
static int wake_fd;
static struct err_text text;

static struct io_kafka_producer *open_producer(const struct io_kafka_config *with)
{
    static const char *const topics[] = {"out"};
    struct io_kafka_producer *producer = NULL;
    must(io_kafka_producer_new(with, "app.n.s0.a", &producer, &text));
    must(io_kafka_producer_init(producer, 5000, &text));
    must(io_kafka_producer_warm(producer, topics, 1, 5000, &text));
    return producer;
}

static int64_t end_of(const char *topic, int32_t partition)
{
    int64_t start, end;
    must(io_kafka_watermarks(admin, topic, partition, 5000, &start, &end, &text));
    return end;
}

static void produce(struct io_kafka_producer *producer, int32_t partition, int count)
{
    struct output output = {
        .topic = SLICE_LIT("out"), .partition = partition, .value = SLICE_LIT("v")};
    for (int i = 0; i < count; i++)
        must(io_kafka_produce(producer, &output, 7, &text));
}

static void a_commit_leaves_outputs_offset_and_metadata(void **state)
{
    (void)state;
    struct io_kafka_delivery delivery;
    struct io_kafka_producer *producer = open_producer(&config);
    for (int64_t round = 1; round <= 3; round++) {
        struct io_kafka_offset offset = {SLICE_LIT("in"), 2, round * 10, SLICE_LIT("1 n s0 token")};
        must(io_kafka_begin(producer, &text));
        produce(producer, 0, 3);
        must(io_kafka_flush(producer, 5000, &delivery, &text));
        assert_int_equal(delivery.delivered, 3);
        assert_int_equal(delivery.spans[0].first, (round - 1) * 3);
        must(io_kafka_send_offsets(producer, &offset, 1, group, 5000, &text));
        must(io_kafka_commit(producer, 5000, &text));
        assert_false(io_kafka_producer_dirty(producer));
    }
    struct arena arena = {0};
    struct io_kafka_committed entries[] = {{.topic = "in", .partition = 2},
                                           {.topic = "in", .partition = 3}};
    must(io_kafka_committed(admin, "app", true, 5000, entries, 2, &arena, &text));
    assert_int_equal(entries[0].offset, 30);
    assert_true(slice_eq(entries[0].metadata, SLICE_LIT("1 n s0 token")));
    assert_int_equal(entries[1].offset, -1);
    assert_int_equal(end_of("out", 0), 9);
    arena_fini(&arena);
    io_kafka_producer_free(&producer);
}

static void an_abort_drops_what_is_still_queued(void **state)
{
    (void)state;
    static const char *const names[] = {"linger.ms"};
    static const char *const values[] = {"10000"};
    struct io_kafka_config slow = config;
    struct io_kafka_delivery delivery;
    slow.property_names = names;
    slow.property_values = values;
    slow.property_count = 1;
    struct io_kafka_producer *producer = open_producer(&slow);
    must(io_kafka_begin(producer, &text));
    produce(producer, 1, 5);
    must(io_kafka_abort(producer, 5000, &text));
    assert_int_equal(end_of("out", 1), 0);
    must(io_kafka_begin(producer, &text));
    produce(producer, 1, 2);
    must(io_kafka_flush(producer, 5000, &delivery, &text));
    assert_int_equal(delivery.delivered, 2);
    assert_int_equal(delivery.failed, 0);
    assert_int_equal(end_of("out", 1), 2);
    io_kafka_producer_free(&producer);
}

static void nobody_outside_of_the_group_commits(void **state)
{
    (void)state;
    struct io_kafka_group_metadata *outside;
    struct io_kafka_consumer *stranger;
    struct io_kafka_offset offset = {SLICE_LIT("in"), 0, 1, SLICE_LIT("m")};
    struct io_kafka_producer *producer = open_producer(&config);
    int32_t generation;
    bool is_member;
    must(io_kafka_consumer_new(&config, "app", wake_fd, &stranger, &text));
    outside = io_kafka_group_metadata_take(stranger, &generation, &is_member);
    assert_false(is_member);
    must(io_kafka_begin(producer, &text));
    assert_int_equal(io_kafka_send_offsets(producer, &offset, 1, outside, 1000, &text),
                     KA_ERR_ABORT);
    must(io_kafka_abort(producer, 5000, &text));
    io_kafka_group_metadata_free(&outside);
    io_kafka_consumer_free(&stranger, 5000);
    io_kafka_producer_free(&producer);
}

static void admin_calls_are_refused_or_mean_nothing(void **state)
{
    (void)state;
    struct arena arena = {0};
    const struct io_kafka_member *members = NULL;
    struct io_kafka_settings settings;
    const char *group_state;
    size_t count = 1;
    bool created;
    struct io_kafka_topic_spec spec = {.name = "new", .partitions = 1, .replication = 1};
    must(io_kafka_members(admin, "app", 1000, &arena, &members, &count, &group_state, &text));
    assert_int_equal(count, 0);
    must(io_kafka_fence(&config, "app.n.s0.a", 1000, &text));
    must(io_kafka_delete_records(admin, "out", 0, 1, 1000, &text));
    assert_int_equal(io_kafka_create_topics(admin, &spec, 1, 1000, &created, &text),
                     KA_ERR_UNSUPPORTED);
    assert_int_equal(io_kafka_topic_config(admin, "out", 1000, &arena, &settings, &text),
                     KA_ERR_UNSUPPORTED);
    struct io_kafka_committed entry = {.topic = "in"};
    assert_int_equal(io_kafka_commit_offsets(admin, "other", &entry, 1, 1000, &text),
                     KA_ERR_UNSUPPORTED);
    arena_fini(&arena);
}

// The committer may still hold a membership when the lane has replaced its consumer. Last, as the
// member is gone then.
static void a_membership_outlives_its_consumer(void **state)
{
    (void)state;
    struct io_kafka_offset offset = {SLICE_LIT("in"), 0, 1, SLICE_LIT("m")};
    struct io_kafka_producer *producer = open_producer(&config);
    io_kafka_consumer_free(&member, 10000);
    must(io_kafka_begin(producer, &text));
    assert_int_equal(io_kafka_send_offsets(producer, &offset, 1, group, 2000, &text), KA_ERR_ABORT);
    must(io_kafka_abort(producer, 5000, &text));
    io_kafka_group_metadata_free(&group);
    io_kafka_producer_free(&producer);
}

static bool next_control(struct io_kafka_control *control, int timeout_ms)
{
    int64_t deadline_ms = clock_mono_ms() + timeout_ms;
    while (!io_kafka_poll_control(member, control)) {
        struct pollfd poll_fd = {.fd = wake_fd, .events = POLLIN};
        uint64_t count;
        if (clock_mono_ms() > deadline_ms)
            return false;
        if (poll(&poll_fd, 1, 50) > 0 && read(wake_fd, &count, sizeof count) < 0)
            return false;
    }
    return true;
}

static int start_cluster(void **state)
{
    (void)state;
    static const char *const topics[] = {"in"};
    struct io_kafka_control control;
    int32_t generation;
    bool is_member;
    log_configure(&(struct log_config){.level = LOG_LEVEL_OFF, .fd = 2});
    must(io_kafka_mock_new(&mock, &text));
    must(io_kafka_mock_topic(mock, "in", 5, &text));
    must(io_kafka_mock_topic(mock, "out", 3, &text));
    config = (struct io_kafka_config){.bootstrap = io_kafka_mock_bootstrap(mock),
                                      .client_id = "n.0",
                                      .session_timeout_ms = 3500,
                                      .at_least_once = true};
    must(io_kafka_admin_new(&config, &admin, &text));
    wake_fd = eventfd(0, EFD_NONBLOCK);
    must(io_kafka_consumer_new(&config, "app", wake_fd, &member, &text));
    must(io_kafka_consumer_subscribe(member, topics, 1, &text));
    assert_true(next_control(&control, 15000));
    assert_int_equal(control.type, IO_KAFKA_ASSIGNED);
    assert_int_equal(control.count, 5);
    must(io_kafka_assign(member, control.partitions, control.count, &text));
    group = io_kafka_group_metadata_take(member, &generation, &is_member);
    return 0;
}

static int stop_cluster(void **state)
{
    (void)state;
    io_kafka_group_metadata_free(&group);
    io_kafka_consumer_free(&member, 10000);
    io_kafka_admin_free(&admin);
    bool gone = io_kafka_drain(20000);
    io_kafka_mock_free(&mock);
    close(wake_fd);
    return gone ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_commit_leaves_outputs_offset_and_metadata),
        cmocka_unit_test(an_abort_drops_what_is_still_queued),
        cmocka_unit_test(nobody_outside_of_the_group_commits),
        cmocka_unit_test(admin_calls_are_refused_or_mean_nothing),
        cmocka_unit_test(a_membership_outlives_its_consumer),
    };
    return cmocka_run_group_tests_name("at_least_once", tests, start_cluster, stop_cluster);
}
