// SPDX-License-Identifier: Apache-2.0
// The Kafka clients on librdkafka's mock cluster: plumbing, and what becomes of each error. The
// mock has no isolation, no fencing and no transactional offsets: those are in tests/it/t_kafka.c.
#include "io/kafka_consumer.h"
#include "io/kafka_producer.h"

#include "io/clock.h"
#include "io/kafka_admin.h"
#include "io/kafka_int.h"
#include "io/log.h"

#include <librdkafka/rdkafka_mock.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#define ERR(name) RD_KAFKA_RESP_ERR_##name
#define must(call)                                                                                 \
    do {                                                                                           \
        enum ka_err must_err = (call);                                                             \
        if (must_err != KA_OK)                                                                     \
            fail_msg("%s: %s: %s", #call, err_name(must_err), text.text);                          \
    } while (0)

enum { PRODUCE = 0, ADD_PARTITIONS = 24, ADD_OFFSETS = 25, END_TXN = 26, TXN_OFFSET_COMMIT = 28 };

static rd_kafka_t *host; // the client that the cluster runs in
static rd_kafka_mock_cluster_t *cluster;
static struct io_kafka_config config;
static struct io_kafka_consumer *member; // one for all: the mock's first join takes 3 s
static struct io_kafka_group_metadata *group;
static int wake_fd;
static struct err_text text;

// The table as it is meant: flags are f(atal), a(bortable), r(etriable).
static const struct {
    enum io_kafka_call call;
    int code;
    const char *flags;
    enum ka_err err;
} meant[] = {
    {IO_KAFKA_INIT, ERR(CONCURRENT_TRANSACTIONS), "r", KA_ERR_RETRY},
    {IO_KAFKA_INIT, ERR(_TIMED_OUT), "r", KA_ERR_RETRY},
    {IO_KAFKA_INIT, ERR(TRANSACTIONAL_ID_AUTHORIZATION_FAILED), "f", KA_ERR_FATAL},
    {IO_KAFKA_INIT, ERR(_STATE), "", KA_ERR_FATAL},
    {IO_KAFKA_BEGIN, ERR(_STATE), "", KA_ERR_FATAL},
    {IO_KAFKA_BEGIN, ERR(_FENCED), "f", KA_ERR_FENCED},
    {IO_KAFKA_BEGIN, ERR(_CONFLICT), "r", KA_ERR_RETRY},
    {IO_KAFKA_PRODUCE, ERR(_QUEUE_FULL), "", KA_ERR_LIMIT},
    {IO_KAFKA_PRODUCE, ERR(MSG_SIZE_TOO_LARGE), "", KA_ERR_TOO_LARGE},
    {IO_KAFKA_PRODUCE, ERR(_UNKNOWN_PARTITION), "", KA_ERR_NOT_FOUND},
    {IO_KAFKA_PRODUCE, ERR(_STATE), "", KA_ERR_ABORT},
    {IO_KAFKA_PRODUCE, ERR(_FATAL), "", KA_ERR_FATAL},
    {IO_KAFKA_PRODUCE, ERR(_FENCED), "f", KA_ERR_FENCED},
    {IO_KAFKA_DELIVERY, ERR(MSG_SIZE_TOO_LARGE), "", KA_ERR_TOO_LARGE},
    {IO_KAFKA_DELIVERY, ERR(RECORD_LIST_TOO_LARGE), "", KA_ERR_TOO_LARGE},
    {IO_KAFKA_DELIVERY, ERR(INVALID_RECORD), "", KA_ERR_NOT_ALLOWED},
    {IO_KAFKA_DELIVERY, ERR(TOPIC_AUTHORIZATION_FAILED), "", KA_ERR_NOT_ALLOWED},
    {IO_KAFKA_DELIVERY, ERR(UNKNOWN_TOPIC_OR_PART), "", KA_ERR_NOT_FOUND},
    {IO_KAFKA_DELIVERY, ERR(_UNKNOWN_TOPIC), "", KA_ERR_NOT_FOUND},
    {IO_KAFKA_DELIVERY, ERR(_MSG_TIMED_OUT), "", KA_ERR_ABORT},
    {IO_KAFKA_DELIVERY, ERR(_PURGE_QUEUE), "", KA_ERR_ABORT},
    {IO_KAFKA_DELIVERY, ERR(OUT_OF_ORDER_SEQUENCE_NUMBER), "f", KA_ERR_FATAL},
    {IO_KAFKA_DELIVERY, ERR(UNKNOWN_PRODUCER_ID), "", KA_ERR_FATAL},
    {IO_KAFKA_DELIVERY, ERR(INVALID_PRODUCER_EPOCH), "f", KA_ERR_FENCED},
    {IO_KAFKA_FLUSH, ERR(_TIMED_OUT), "", KA_ERR_TIMEOUT},
    {IO_KAFKA_SEND_OFFSETS, ERR(CONCURRENT_TRANSACTIONS), "r", KA_ERR_RETRY},
    {IO_KAFKA_SEND_OFFSETS, ERR(ILLEGAL_GENERATION), "a", KA_ERR_ABORT},
    {IO_KAFKA_SEND_OFFSETS, ERR(UNKNOWN_MEMBER_ID), "a", KA_ERR_ABORT},
    {IO_KAFKA_SEND_OFFSETS, ERR(FENCED_INSTANCE_ID), "a", KA_ERR_ABORT},
    {IO_KAFKA_SEND_OFFSETS, ERR(_TIMED_OUT), "a", KA_ERR_ABORT},
    {IO_KAFKA_SEND_OFFSETS, 120, "a", KA_ERR_ABORT},
    {IO_KAFKA_SEND_OFFSETS, ERR(INVALID_PRODUCER_ID_MAPPING), "f", KA_ERR_FATAL},
    {IO_KAFKA_SEND_OFFSETS, ERR(INVALID_PRODUCER_ID_MAPPING), "a", KA_ERR_FATAL},
    {IO_KAFKA_SEND_OFFSETS, ERR(INVALID_TXN_STATE), "f", KA_ERR_FATAL},
    {IO_KAFKA_SEND_OFFSETS, ERR(PRODUCER_FENCED), "f", KA_ERR_FENCED},
    {IO_KAFKA_SEND_OFFSETS, ERR(_STATE), "", KA_ERR_FATAL},
    {IO_KAFKA_COMMIT, ERR(_TIMED_OUT), "r", KA_ERR_UNCLEAR},
    {IO_KAFKA_COMMIT, ERR(NOT_COORDINATOR), "r", KA_ERR_UNCLEAR},
    {IO_KAFKA_COMMIT, ERR(_TRANSPORT), "r", KA_ERR_UNCLEAR},
    {IO_KAFKA_COMMIT, ERR(UNKNOWN), "a", KA_ERR_UNCLEAR},
    {IO_KAFKA_COMMIT, ERR(_INCONSISTENT), "a", KA_ERR_ABORT},
    {IO_KAFKA_COMMIT, 120, "a", KA_ERR_ABORT},
    {IO_KAFKA_COMMIT, ERR(UNKNOWN_PRODUCER_ID), "a", KA_ERR_FATAL},
    {IO_KAFKA_COMMIT, ERR(INVALID_TXN_STATE), "f", KA_ERR_FATAL},
    {IO_KAFKA_COMMIT, ERR(_FENCED), "f", KA_ERR_FENCED},
    {IO_KAFKA_COMMIT, ERR(_STATE), "", KA_ERR_FATAL},
    {IO_KAFKA_ABORT, ERR(_TIMED_OUT), "r", KA_ERR_RETRY},
    {IO_KAFKA_ABORT, ERR(UNKNOWN), "a", KA_ERR_FATAL},
    {IO_KAFKA_ABORT, ERR(_FENCED), "f", KA_ERR_FENCED},
    {IO_KAFKA_CONSUME, ERR(_AUTO_OFFSET_RESET), "", KA_ERR_DIVERGED},
    {IO_KAFKA_CONSUME, ERR(_ALL_BROKERS_DOWN), "", KA_ERR_UNREACHABLE},
    {IO_KAFKA_CONSUME, ERR(FENCED_INSTANCE_ID), "f", KA_ERR_FATAL},
    {IO_KAFKA_CONSUME, ERR(_MAX_POLL_EXCEEDED), "", KA_ERR_RETRY},
    {IO_KAFKA_CONSUME, ERR(TOPIC_AUTHORIZATION_FAILED), "", KA_ERR_NOT_ALLOWED},
    {IO_KAFKA_ASK, ERR(_TIMED_OUT), "", KA_ERR_TIMEOUT},
    {IO_KAFKA_ASK, ERR(UNSTABLE_OFFSET_COMMIT), "", KA_ERR_RETRY},
    {IO_KAFKA_ASK, ERR(UNKNOWN_MEMBER_ID), "", KA_ERR_NOT_ALLOWED},
    {IO_KAFKA_ASK, ERR(TOPIC_ALREADY_EXISTS), "", KA_ERR_EXISTS},
    {IO_KAFKA_ASK, ERR(_UNSUPPORTED_FEATURE), "", KA_ERR_UNSUPPORTED},
    {IO_KAFKA_ASK, ERR(UNKNOWN), "", KA_ERR_IO},
};

static void every_error_has_its_class(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof meant / sizeof meant[0]; i++) {
        struct io_kafka_failure failure = {
            .code = meant[i].code,
            .fatal = strchr(meant[i].flags, 'f') != NULL,
            .abortable = strchr(meant[i].flags, 'a') != NULL,
            .retriable = strchr(meant[i].flags, 'r') != NULL,
        };
        enum ka_err err = io_kafka_classify(meant[i].call, failure);
        if (err != meant[i].err)
            fail_msg("call %d, %s '%s': %s, meant %s", meant[i].call,
                     rd_kafka_err2name((rd_kafka_resp_err_t)meant[i].code), meant[i].flags,
                     err_name(err), err_name(meant[i].err));
    }
}

static void no_code_is_a_success_or_a_crash(void **state)
{
    (void)state;
    for (int call = IO_KAFKA_INIT; call <= IO_KAFKA_ASK; call++) {
        for (int code = -200; code < 140; code++) {
            for (unsigned flags = 0; flags < 8 && code != 0; flags++) {
                struct io_kafka_failure failure = {code, flags & 1, flags & 2, flags & 4};
                assert_int_not_equal(io_kafka_classify((enum io_kafka_call)call, failure), KA_OK);
            }
        }
    }
}

// A fatal client is never told to go on, and a commit that may have happened is never aborted.
static void a_commit_is_aborted_only_when_it_cannot_have_happened(void **state)
{
    (void)state;
    for (int code = -200; code < 140; code++) {
        struct io_kafka_failure failure = {.code = code == 0 ? -1 : code, .abortable = true};
        enum ka_err err = io_kafka_classify(IO_KAFKA_COMMIT, failure);
        if (err == KA_ERR_ABORT)
            assert_true(code == ERR(_INCONSISTENT) || code == 120);
        failure.fatal = true;
        err = io_kafka_classify(IO_KAFKA_SEND_OFFSETS, failure);
        assert_true(err == KA_ERR_FATAL || err == KA_ERR_FENCED);
    }
}

static struct io_kafka_producer *open_producer(const char *id)
{
    static const char *const topics[] = {"out"};
    struct io_kafka_producer *producer = NULL;
    must(io_kafka_producer_new(&config, id, &producer, &text));
    if (id != NULL)
        must(io_kafka_producer_init(producer, 10000, &text));
    must(io_kafka_producer_warm(producer, topics, 1, 5000, &text));
    return producer;
}

static enum ka_err produce_three(struct io_kafka_producer *producer)
{
    enum ka_err err = KA_OK;
    for (int i = 0; err == KA_OK && i < 3; i++) {
        struct output output = {
            .topic = SLICE_LIT("out"), .partition = 0, .value = SLICE_LIT("value")};
        err = io_kafka_produce(producer, &output, 5, &text);
    }
    return err;
}

// Runs one transaction; *at says which call did not return KA_OK.
static enum ka_err run_transaction(struct io_kafka_producer *producer, enum io_kafka_call *at)
{
    struct io_kafka_delivery delivery = {0};
    struct io_kafka_offset offset = {
        .topic = SLICE_LIT("in"), .offset = 1, .metadata = SLICE_LIT("token")};
    *at = IO_KAFKA_BEGIN;
    enum ka_err err = io_kafka_begin(producer, &text);
    if (err != KA_OK)
        return err;
    *at = IO_KAFKA_PRODUCE;
    err = produce_three(producer);
    if (err != KA_OK)
        return err;
    *at = IO_KAFKA_DELIVERY;
    err = io_kafka_flush(producer, 9000, &delivery, &text);
    if (err != KA_OK || delivery.error != KA_OK)
        return err != KA_OK ? err : delivery.error;
    *at = IO_KAFKA_SEND_OFFSETS;
    err = io_kafka_send_offsets(producer, &offset, 1, group, 5000, &text);
    if (err != KA_OK)
        return err;
    *at = IO_KAFKA_COMMIT;
    return io_kafka_commit(producer, 5000, &text);
}

// One broker error while a transaction runs, and what comes of it.
static const struct pushed {
    int16_t api;
    int code;
    enum io_kafka_call at; // where it shows, if `err` is not KA_OK
    enum ka_err err;
    bool dirty;
} pushed[] = {
    {PRODUCE, ERR(NOT_LEADER_FOR_PARTITION), IO_KAFKA_COMMIT, KA_OK, false},
    {PRODUCE, ERR(REQUEST_TIMED_OUT), IO_KAFKA_COMMIT, KA_OK, false},
    {PRODUCE, ERR(_TRANSPORT), IO_KAFKA_COMMIT, KA_OK, false},
    {PRODUCE, ERR(MSG_SIZE_TOO_LARGE), IO_KAFKA_DELIVERY, KA_ERR_TOO_LARGE, true},
    {PRODUCE, ERR(UNKNOWN_PRODUCER_ID), IO_KAFKA_DELIVERY, KA_ERR_FATAL, false},
    {PRODUCE, ERR(OUT_OF_ORDER_SEQUENCE_NUMBER), IO_KAFKA_DELIVERY, KA_ERR_FATAL, false},
    {PRODUCE, ERR(INVALID_PRODUCER_EPOCH), IO_KAFKA_DELIVERY, KA_ERR_FENCED, false},
    {PRODUCE, ERR(TOPIC_AUTHORIZATION_FAILED), IO_KAFKA_DELIVERY, KA_ERR_NOT_ALLOWED, false},
    {ADD_PARTITIONS, ERR(COORDINATOR_LOAD_IN_PROGRESS), IO_KAFKA_COMMIT, KA_OK, false},
    {ADD_PARTITIONS, ERR(CONCURRENT_TRANSACTIONS), IO_KAFKA_COMMIT, KA_OK, false},
    {ADD_PARTITIONS, ERR(_TRANSPORT), IO_KAFKA_COMMIT, KA_OK, false},
    {ADD_PARTITIONS, ERR(PRODUCER_FENCED), IO_KAFKA_DELIVERY, KA_ERR_FENCED, false},
    {ADD_PARTITIONS, ERR(INVALID_TXN_STATE), IO_KAFKA_DELIVERY, KA_ERR_FATAL, false},
    {ADD_OFFSETS, ERR(CONCURRENT_TRANSACTIONS), IO_KAFKA_COMMIT, KA_OK, false},
    {ADD_OFFSETS, ERR(_TRANSPORT), IO_KAFKA_COMMIT, KA_OK, true},
    {ADD_OFFSETS, ERR(PRODUCER_FENCED), IO_KAFKA_SEND_OFFSETS, KA_ERR_FENCED, false},
    {TXN_OFFSET_COMMIT, ERR(CONCURRENT_TRANSACTIONS), IO_KAFKA_COMMIT, KA_OK, false},
    {TXN_OFFSET_COMMIT, ERR(_TRANSPORT), IO_KAFKA_COMMIT, KA_OK, true},
    {TXN_OFFSET_COMMIT, ERR(ILLEGAL_GENERATION), IO_KAFKA_SEND_OFFSETS, KA_ERR_ABORT, false},
    {TXN_OFFSET_COMMIT, ERR(UNKNOWN_MEMBER_ID), IO_KAFKA_SEND_OFFSETS, KA_ERR_ABORT, false},
    {TXN_OFFSET_COMMIT, ERR(INVALID_PRODUCER_ID_MAPPING), IO_KAFKA_SEND_OFFSETS, KA_ERR_FATAL,
     false},
    {END_TXN, ERR(CONCURRENT_TRANSACTIONS), IO_KAFKA_COMMIT, KA_OK, false},
    // Reset for nothing, but librdkafka cannot tell us that the request was never sent again.
    {END_TXN, ERR(NOT_COORDINATOR), IO_KAFKA_COMMIT, KA_OK, true},
    {END_TXN, ERR(_TRANSPORT), IO_KAFKA_COMMIT, KA_OK, true},
    {END_TXN, ERR(INVALID_TXN_STATE), IO_KAFKA_COMMIT, KA_ERR_FATAL, false},
    {END_TXN, ERR(INVALID_PRODUCER_EPOCH), IO_KAFKA_COMMIT, KA_ERR_FENCED, false},
    {END_TXN, ERR(UNKNOWN_PRODUCER_ID), IO_KAFKA_COMMIT, KA_ERR_FATAL, false},
    {END_TXN, ERR(UNKNOWN), IO_KAFKA_COMMIT, KA_ERR_UNCLEAR, false},
};

static void an_error_of_the_broker_becomes_its_class(void **state)
{
    const struct pushed *push = *state;
    struct io_kafka_producer *producer = open_producer("app.n.0.a");
    enum io_kafka_call at;
    must(run_transaction(producer, &at)); // coordinator and partitions are known
    assert_false(io_kafka_producer_dirty(producer));
    rd_kafka_mock_push_request_errors(cluster, push->api, 1, (rd_kafka_resp_err_t)push->code);
    enum ka_err err = run_transaction(producer, &at);
    rd_kafka_mock_clear_request_errors(cluster, push->api);
    if (err != push->err || (err != KA_OK && at != push->at))
        fail_msg("%s in call %d, meant %s in call %d: %s", err_name(err), at, err_name(push->err),
                 push->at, text.text);
    assert_int_equal(io_kafka_producer_dirty(producer), push->dirty);
    if (err == KA_ERR_ABORT || err_class(err) == ERR_CLASS_POISON)
        must(io_kafka_abort(producer, 5000, &text));
    io_kafka_producer_free(&producer);
}

static void a_reset_producer_goes_on_after_a_fatal_error(void **state)
{
    (void)state;
    enum io_kafka_call at;
    struct io_kafka_producer *producer = open_producer("app.n.0.b");
    rd_kafka_mock_push_request_errors(cluster, PRODUCE, 1, ERR(OUT_OF_ORDER_SEQUENCE_NUMBER));
    assert_int_equal(run_transaction(producer, &at), KA_ERR_FATAL);
    io_kafka_producer_free(&producer);
    producer = open_producer("app.n.0.b");
    must(run_transaction(producer, &at));
    io_kafka_producer_free(&producer);
}

static void a_commit_without_an_answer_is_unclear(void **state)
{
    (void)state;
    struct io_kafka_delivery delivery;
    struct io_kafka_producer *producer = open_producer("app.n.1.a");
    must(io_kafka_begin(producer, &text));
    must(produce_three(producer));
    must(io_kafka_flush(producer, 5000, &delivery, &text));
    rd_kafka_mock_broker_set_rtt(cluster, 1, 3000);
    enum ka_err err = io_kafka_commit(producer, 100, &text);
    rd_kafka_mock_broker_set_rtt(cluster, 1, 0);
    assert_int_equal(err, KA_ERR_UNCLEAR);
    io_kafka_producer_free(&producer);
}

static void init_gives_up_after_its_timeout(void **state)
{
    (void)state;
    struct io_kafka_config nowhere = config;
    struct io_kafka_producer *producer = NULL;
    nowhere.bootstrap = "127.0.0.1:1";
    must(io_kafka_producer_new(&nowhere, "app.n.2.a", &producer, &text));
    int64_t begun_ms = clock_mono_ms();
    assert_int_equal(io_kafka_producer_init(producer, 300, &text), KA_ERR_TIMEOUT);
    assert_in_range(clock_mono_ms() - begun_ms, 290, 2000);
    io_kafka_producer_free(&producer);
}

static void spans_give_the_offsets_of_each_tag(void **state)
{
    (void)state;
    struct io_kafka_delivery delivery;
    struct io_kafka_producer *producer = open_producer("app.n.3.a");
    must(io_kafka_begin(producer, &text));
    for (int i = 0; i < 9; i++) {
        struct output output = {
            .topic = SLICE_LIT("out"), .partition = i % 3, .value = SLICE_LIT("v")};
        must(io_kafka_produce(producer, &output, i % 3 == 2 ? -1 : 5000 * (i % 3), &text));
    }
    must(io_kafka_flush(producer, 5000, &delivery, &text));
    assert_int_equal(delivery.delivered, 9);
    assert_int_equal(delivery.failed, 0);
    assert_int_equal(delivery.span_count, 2); // the third has no tag
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(delivery.spans[i].count, 3);
        assert_int_equal(delivery.spans[i].last - delivery.spans[i].first, 2);
    }
    must(io_kafka_commit(producer, 5000, &text));
    must(io_kafka_begin(producer, &text));
    must(io_kafka_flush(producer, 5000, &delivery, &text));
    assert_int_equal(delivery.delivered, 0);
    assert_int_equal(delivery.span_count, 0);
    must(io_kafka_abort(producer, 5000, &text));
    io_kafka_producer_free(&producer);
}

static void a_topic_too_many_refuses_its_record_and_no_other(void **state)
{
    (void)state;
    struct io_kafka_config nowhere = config; // nothing has to be delivered
    struct io_kafka_producer *producer = NULL;
    struct output output = {.value = SLICE_LIT("v")};
    nowhere.bootstrap = "127.0.0.1:1";
    must(io_kafka_producer_new(&nowhere, NULL, &producer, &text));
    for (int i = 0; i < 4097; i++) {
        char name[32];
        snprintf(name, sizeof name, "many-%d", i);
        output.topic = slice_str(name);
        enum ka_err err = io_kafka_produce(producer, &output, -1, &text);
        assert_int_equal(err, i < 4096 ? KA_OK : KA_ERR_TOO_LARGE); // not LIMIT: no room will come
    }
    output.topic = SLICE_LIT("many-0");
    must(io_kafka_produce(producer, &output, -1, &text));
    io_kafka_producer_free(&producer);
}

static void a_record_that_is_too_large_is_refused_before_it_is_queued(void **state)
{
    (void)state;
    enum { SIZE = 1100000 };
    char *bytes = calloc(1, SIZE);
    struct io_kafka_delivery delivery;
    struct io_kafka_producer *producer = open_producer("app.n.4.a");
    struct output output = {.topic = SLICE_LIT("out"), .value = {bytes, SIZE}};
    must(io_kafka_begin(producer, &text));
    assert_int_equal(io_kafka_produce(producer, &output, 0, &text), KA_ERR_TOO_LARGE);
    assert_non_null(strstr(text.text, "out/0"));
    must(produce_three(producer));
    must(io_kafka_flush(producer, 5000, &delivery, &text));
    assert_int_equal(delivery.error, KA_OK);
    must(io_kafka_commit(producer, 5000, &text));
    io_kafka_producer_free(&producer);
    free(bytes);
}

static void a_partition_that_does_not_exist_is_named(void **state)
{
    (void)state;
    struct header header = {SLICE_LIT("h"), SLICE_LIT("v")}; // 2.0.2 frees some headers twice here
    struct output output = {.topic = SLICE_LIT("out"),
                            .partition = 99,
                            .value = SLICE_LIT("v"),
                            .headers = &header,
                            .header_count = 1};
    struct io_kafka_producer *producer = open_producer("app.n.5.a");
    must(io_kafka_begin(producer, &text));
    assert_int_equal(io_kafka_produce(producer, &output, 0, &text), KA_ERR_NOT_FOUND);
    assert_non_null(strstr(text.text, "out/99"));
    must(io_kafka_abort(producer, 5000, &text));
    io_kafka_producer_free(&producer);
}

static void a_full_queue_asks_for_patience(void **state)
{
    (void)state;
    static const char *const names[] = {"queue.buffering.max.messages"};
    static const char *const values[] = {"2"};
    struct io_kafka_config small = config;
    small.property_names = names;
    small.property_values = values;
    small.property_count = 1;
    struct io_kafka_producer *producer = NULL;
    must(io_kafka_producer_new(&small, NULL, &producer, &text));
    assert_int_equal(produce_three(producer), KA_ERR_LIMIT);
    struct io_kafka_delivery delivery;
    must(io_kafka_flush(producer, 10000, &delivery, &text));
    assert_int_equal(delivery.delivered, 2);
    must(io_kafka_produce_sync(producer,
                               &(struct output){.topic = SLICE_LIT("out"), .value = SLICE_LIT("v")},
                               5000, NULL, &text));
    io_kafka_producer_free(&producer);
}

static void a_property_that_is_unknown_is_named(void **state)
{
    (void)state;
    static const char *const names[] = {"linger.mss"};
    static const char *const values[] = {"2"};
    struct io_kafka_config wrong = config;
    wrong.property_names = names;
    wrong.property_values = values;
    wrong.property_count = 1;
    struct io_kafka_producer *producer = NULL;
    assert_int_equal(io_kafka_producer_new(&wrong, NULL, &producer, &text), KA_ERR_CONFIG);
    assert_non_null(strstr(text.text, "linger.mss"));
    wrong = config;
    wrong.client_id = "a-client-id-that-is-far-too-long-for-librdkafka-2.0.2-to-survive-it-in-all";
    assert_int_equal(io_kafka_producer_new(&wrong, NULL, &producer, &text), KA_ERR_CONFIG);
}

static void bytes_come_back_as_they_were(void **state)
{
    (void)state;
    static const char odd[] = {'a', '\0', (char)0xff, '\n'};
    struct header headers[] = {{SLICE_LIT("ce_id"), slice_of(odd, 4)},
                               {SLICE_LIT("null"), SLICE_NONE},
                               {SLICE_LIT("empty"), SLICE_LIT("")}};
    struct io_kafka_producer *producer = open_producer(NULL);
    struct output output = {.topic = SLICE_LIT("bytes"),
                            .key = slice_of(odd, 4),
                            .headers = headers,
                            .header_count = 3,
                            .timestamp_ms = 1700000000123};
    int64_t offset = -1;
    must(io_kafka_produce_sync(producer, &output, 5000, &offset, &text));
    assert_int_equal(offset, 0);
    io_kafka_producer_free(&producer);

    struct io_kafka_reader *reader = NULL;
    struct record record;
    enum ka_err error;
    must(io_kafka_reader_new(&config, true, &reader, &text));
    must(io_kafka_reader_add(reader, "bytes", 0, -2, &text));
    assert_int_equal(io_kafka_reader_next(reader, 5000, &record, &error, &text),
                     IO_KAFKA_READ_RECORD);
    assert_true(slice_eq(record.key, output.key));
    assert_true(slice_none(record.value));
    assert_int_equal(record.timestamp_ms, 1700000000123);
    assert_int_equal(record.header_count, 3);
    assert_true(slice_eq(record.headers[0].value, headers[0].value));
    assert_true(slice_none(record.headers[1].value));
    assert_false(slice_none(record.headers[2].value));
    assert_int_equal(record.headers[2].value.len, 0);
    assert_int_equal(io_kafka_reader_next(reader, 5000, &record, &error, &text), IO_KAFKA_READ_END);
    assert_int_equal(record.offset, 1);
    io_kafka_reader_free(&reader);
}

// librdkafka before 2.2.0 lets a fetcher sleep for a second when it has found the queue full; 45
// batches of 100 kB would take most of a minute.
static void a_small_queue_does_not_slow_a_reader(void **state)
{
    (void)state;
    enum { RECORDS = 4500, SIZE = 1000 };
    static const char *const names[] = {"batch.size", "linger.ms"};
    static const char *const values[] = {"100000", "1000"};
    static char value[SIZE];
    struct io_kafka_config small = config;
    small.property_names = names;
    small.property_values = values;
    small.property_count = 2;
    struct io_kafka_producer *producer = NULL;
    must(io_kafka_producer_new(&small, NULL, &producer, &text));
    struct output output = {.topic = SLICE_LIT("small"), .value = slice_of(value, SIZE)};
    for (int i = 0; i < RECORDS; i++)
        must(io_kafka_produce(producer, &output, -1, &text));
    struct io_kafka_delivery delivery;
    must(io_kafka_flush(producer, 10000, &delivery, &text));
    io_kafka_producer_free(&producer);

    struct io_kafka_reader *reader = NULL;
    struct record record;
    enum ka_err error;
    int count = 0;
    int64_t begun_ms = clock_mono_ms();
    small.queue_kbytes = 64;
    small.property_count = 0;
    must(io_kafka_reader_new(&small, true, &reader, &text));
    must(io_kafka_reader_add(reader, "small", 0, -2, &text));
    while (count < RECORDS &&
           io_kafka_reader_next(reader, 5000, &record, &error, &text) == IO_KAFKA_READ_RECORD)
        count++;
    assert_int_equal(count, RECORDS);
    assert_true(clock_mono_ms() - begun_ms < 15000);
    io_kafka_reader_free(&reader);
}

static void a_membership_of_unknown_form_is_not_guessed(void **state)
{
    (void)state;
    int32_t generation = 7;
    bool is_member = false;
    assert_true(
        io_kafka_group_parse(SLICE_LIT("CGMDv2:\1\0\0\0app\0m-1\0\1"), &generation, &is_member));
    assert_int_equal(generation, 1);
    assert_true(is_member);
    assert_true(io_kafka_group_parse(SLICE_LIT("CGMDv2:\xff\xff\xff\xff"
                                               "app\0\0\1"),
                                     &generation, &is_member));
    assert_int_equal(generation, -1);
    assert_false(is_member);
    const struct slice wrong[] = {SLICE_LIT("CGMDv3:\1\0\0\0app\0m-1\0\1"),
                                  SLICE_LIT("CGMDv2:\1\0"), SLICE_LIT("CGMDv2:\1\0\0\0app"),
                                  SLICE_LIT("CGMDv2:\1\0\0\0app\0m-1"), SLICE_LIT("")};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(io_kafka_group_parse(wrong[i], &generation, &is_member));
}

static void a_member_knows_its_generation(void **state)
{
    (void)state;
    assert_true(group->member);
    assert_in_range(group->generation, 1, 10);
}

static void offsets_are_not_sent_without_membership(void **state)
{
    (void)state;
    struct io_kafka_group_metadata outside = *group;
    struct io_kafka_offset offset = {.topic = SLICE_LIT("in"), .offset = 1};
    struct io_kafka_producer *producer = open_producer("app.n.6.a");
    must(io_kafka_begin(producer, &text));
    outside.generation = -1;
    assert_int_equal(io_kafka_send_offsets(producer, &offset, 1, &outside, 100, &text),
                     KA_ERR_ABORT);
    outside.generation = 1;
    outside.member = false;
    assert_int_equal(io_kafka_send_offsets(producer, &offset, 1, &outside, 100, &text),
                     KA_ERR_ABORT);
    must(io_kafka_abort(producer, 5000, &text));
    io_kafka_producer_free(&producer);
}

// Serves the control queue until it has something or the time is up.
static bool next_control(struct io_kafka_consumer *consumer, struct io_kafka_control *control,
                         int timeout_ms)
{
    int64_t deadline_ms = clock_mono_ms() + timeout_ms;
    while (!io_kafka_poll_control(consumer, control)) {
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
    static char bootstrap[256];
    static const char *const topics[] = {"in"};
    char detail[256];
    log_configure(&(struct log_config){.level = LOG_LEVEL_OFF, .fd = 2});
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, NULL);
    host = rd_kafka_new(RD_KAFKA_PRODUCER, conf, detail, sizeof detail);
    cluster = rd_kafka_mock_cluster_new(host, 1);
    snprintf(bootstrap, sizeof bootstrap, "%s", rd_kafka_mock_cluster_bootstraps(cluster));
    config = (struct io_kafka_config){
        .bootstrap = bootstrap, .client_id = "n.0", .session_timeout_ms = 3500};
    rd_kafka_mock_topic_create(cluster, "in", 4, 1);
    rd_kafka_mock_topic_create(cluster, "out", 4, 1);
    rd_kafka_mock_topic_create(cluster, "bytes", 1, 1);
    wake_fd = eventfd(0, EFD_NONBLOCK);
    struct io_kafka_control control;
    must(io_kafka_consumer_new(&config, "app", wake_fd, &member, &text));
    must(io_kafka_consumer_subscribe(member, topics, 1, &text));
    assert_true(next_control(member, &control, 15000));
    assert_int_equal(control.type, IO_KAFKA_ASSIGNED);
    assert_int_equal(control.count, 4);
    must(io_kafka_assign(member, control.partitions, control.count, &text));
    int32_t generation;
    bool is_member;
    group = io_kafka_group_metadata_take(member, &generation, &is_member);
    return 0;
}

static int stop_cluster(void **state)
{
    (void)state;
    io_kafka_group_metadata_free(&group);
    io_kafka_consumer_free(&member, 10000);
    bool gone = io_kafka_drain(20000);
    rd_kafka_mock_cluster_destroy(cluster);
    rd_kafka_destroy(host);
    close(wake_fd);
    return gone ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest fixed[] = {
        cmocka_unit_test(every_error_has_its_class),
        cmocka_unit_test(no_code_is_a_success_or_a_crash),
        cmocka_unit_test(a_commit_is_aborted_only_when_it_cannot_have_happened),
        cmocka_unit_test(a_membership_of_unknown_form_is_not_guessed),
        cmocka_unit_test(a_property_that_is_unknown_is_named),
        cmocka_unit_test(a_member_knows_its_generation),
        cmocka_unit_test(offsets_are_not_sent_without_membership),
        cmocka_unit_test(a_topic_too_many_refuses_its_record_and_no_other),
        cmocka_unit_test(spans_give_the_offsets_of_each_tag),
        cmocka_unit_test(a_record_that_is_too_large_is_refused_before_it_is_queued),
        cmocka_unit_test(a_partition_that_does_not_exist_is_named),
        cmocka_unit_test(a_full_queue_asks_for_patience),
        cmocka_unit_test(bytes_come_back_as_they_were),
        cmocka_unit_test(a_small_queue_does_not_slow_a_reader),
        cmocka_unit_test(a_reset_producer_goes_on_after_a_fatal_error),
        cmocka_unit_test(a_commit_without_an_answer_is_unclear),
        cmocka_unit_test(init_gives_up_after_its_timeout),
    };
    enum { FIXED = sizeof fixed / sizeof fixed[0], PUSHED = sizeof pushed / sizeof pushed[0] };
    static char names[PUSHED][80];
    static const char *const apis[] = {[PRODUCE] = "produce",
                                       [ADD_PARTITIONS] = "add_partitions",
                                       [ADD_OFFSETS] = "add_offsets",
                                       [END_TXN] = "end_txn",
                                       [TXN_OFFSET_COMMIT] = "txn_offset_commit"};
    struct CMUnitTest tests[FIXED + PUSHED];
    memcpy(tests, fixed, sizeof fixed);
    for (size_t i = 0; i < PUSHED; i++) {
        snprintf(names[i], sizeof names[i], "%s_%s_is_%s", apis[pushed[i].api],
                 rd_kafka_err2name((rd_kafka_resp_err_t)pushed[i].code), err_name(pushed[i].err));
        tests[FIXED + i] = (struct CMUnitTest){
            .name = names[i],
            .test_func = an_error_of_the_broker_becomes_its_class,
            .initial_state = (void *)(uintptr_t)&pushed[i],
        };
    }
    return cmocka_run_group_tests_name("kafka", tests, start_cluster, stop_cluster);
}
