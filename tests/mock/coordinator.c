// SPDX-License-Identifier: Apache-2.0
// A coordinator that moves while it is asked: with librdkafka 2.0.2 that ended the process.
#include "io/kafka_admin.h"

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { OFFSET_FETCH = 9 };

static void committed_offsets_are_asked_again_when_the_coordinator_moves(void **state)
{
    (void)state;
    char detail[256];
    struct err_text text = {{0}};
    struct arena arena = {0};
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), detail, sizeof detail);
    rd_kafka_mock_cluster_t *mock = rd_kafka_mock_cluster_new(rk, 1);
    rd_kafka_mock_topic_create(mock, "t", 1, 1);
    struct io_kafka_config config = {.bootstrap = rd_kafka_mock_cluster_bootstraps(mock)};
    struct io_kafka_admin *admin = NULL;
    assert_int_equal(io_kafka_admin_new(&config, &admin, &text), KA_OK);
    rd_kafka_mock_push_request_errors(mock, OFFSET_FETCH, 2, RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
                                      RD_KAFKA_RESP_ERR_NOT_COORDINATOR);
    struct io_kafka_committed entry = {.topic = "t", .partition = 0};
    enum ka_err err = io_kafka_committed(admin, "g", false, 10000, &entry, 1, &arena, &text);
    if (err != KA_OK)
        fail_msg("%s", text.text);
    assert_int_equal(entry.offset, -1);
    arena_fini(&arena);
    io_kafka_admin_free(&admin);
    rd_kafka_mock_cluster_destroy(mock);
    rd_kafka_destroy(rk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(committed_offsets_are_asked_again_when_the_coordinator_moves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
