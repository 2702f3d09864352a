// SPDX-License-Identifier: Apache-2.0
// What is said of the settings of topics and brokers, case by case, without a cluster. What a real
// one answers: tests/it/t_check_broker.sh.
#include "engine/topics_audit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// cmocka wants the headers above it
#include <cmocka.h>

static struct config *config;
static struct arena arena;
static struct topics_plan plan;
static struct topics_audit audit;

static int begin(void **state)
{
    (void)state;
    memset(&plan, 0, sizeof plan);
    audit = (struct topics_audit){.config = config, .arena = &arena, .plan = &plan, .brokers = 3};
    return 0;
}

// "name=value" pairs until NULL, over what a good topic or broker has.
static struct io_kafka_settings settings_of(const char *first, ...)
{
    static const char *names[16], *values[16];
    static char texts[16][128];
    size_t count = 0;
    va_list args;
    va_start(args, first);
    for (const char *pair = first; pair != NULL; pair = va_arg(args, const char *)) {
        assert_true(count < 16);
        snprintf(texts[count], sizeof texts[count], "%s", pair);
        char *value = strchr(texts[count], '=');
        assert_non_null(value);
        *value = '\0';
        names[count] = texts[count];
        values[count++] = value + 1;
    }
    va_end(args);
    return (struct io_kafka_settings){names, values, count};
}

static void topic(enum topic_role role, int32_t replicas, struct io_kafka_settings found)
{
    struct topic_entry entry = {.name = "a.topic", .role = role, .replicas = replicas, .found = 1};
    topics_audit_topic(&audit, &entry, &found);
}

// The only finding, as a line.
static const char *only(void)
{
    static char line[1024];
    struct buf buf = {0};
    assert_int_equal(plan.finding_count, 1);
    topics_finding_text(&plan.findings[0], &buf);
    snprintf(line, sizeof line, "%.*s", (int)buf.len, buf.ptr);
    buf_fini(&buf);
    return line;
}

#define GOOD "cleanup.policy=delete", "retention.ms=-1", "min.insync.replicas=2"

static void a_good_topic_is_not_mentioned(void **state)
{
    (void)state;
    topic(TOPIC_INBOX, 3, settings_of(GOOD, "max.message.bytes=1048588", NULL));
    topic(TOPIC_CATALOG, 3, settings_of("cleanup.policy=compact", "min.insync.replicas=2", NULL));
    assert_int_equal(plan.finding_count, 0);
}

static void more_insync_than_replicas_is_an_error(void **state)
{
    (void)state;
    topic(TOPIC_INBOX, 3, settings_of(GOOD, "min.insync.replicas=4", NULL));
    assert_int_equal(plan.errors, 0); // the first of two settings counts
    topic(TOPIC_STATE, 3, settings_of("cleanup.policy=delete", "min.insync.replicas=4", NULL));
    assert_string_equal(only(), "error   topic a.topic: min.insync.replicas=4: above the 3 "
                                "replicas: nothing can be written");
}

static void as_many_insync_as_replicas_is_a_warning(void **state)
{
    (void)state;
    topic(TOPIC_INBOX, 3, settings_of("min.insync.replicas=3", NULL));
    assert_int_equal(plan.errors, 0);
    assert_non_null(strstr(only(), "while one broker is away"));
}

static void one_insync_replica_of_three_is_a_warning(void **state)
{
    (void)state;
    topic(TOPIC_INBOX, 3, settings_of("min.insync.replicas=1", NULL));
    assert_non_null(strstr(only(), "warning topic a.topic: min.insync.replicas=1: one replica"));
}

static void one_finding_names_all_that_have_it(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        char name[8];
        snprintf(name, sizeof name, "t%d", i);
        struct topic_entry entry = {.name = name, .role = TOPIC_INBOX, .replicas = 1};
        struct io_kafka_settings found = settings_of("min.insync.replicas=1", NULL);
        topics_audit_topic(&audit, &entry, &found);
    }
    assert_int_equal(plan.errors, 0);
    assert_non_null(strstr(only(), "warning topics t0, t1, t2, "));
    assert_non_null(strstr(only(), "t18, t19: replication.factor=1: "));
}

static void unclean_elections_undo_commits(void **state)
{
    (void)state;
    topic(TOPIC_HISTORY, 3, settings_of(GOOD, "unclean.leader.election.enable=true", NULL));
    assert_non_null(strstr(only(), "error   topic a.topic: unclean.leader.election.enable=true"));
}

static void what_deletes_commands_is_an_error(void **state)
{
    (void)state;
    topic(TOPIC_INBOX, 3,
          settings_of("cleanup.policy=compact,delete", "retention.ms=1000", "retention.bytes=5",
                      "min.insync.replicas=2", NULL));
    assert_int_equal(plan.errors, 3);
    topic(TOPIC_DLQ, 3, settings_of("cleanup.policy=compact", "min.insync.replicas=2", NULL));
    topic(TOPIC_CATALOG, 3, settings_of("cleanup.policy=delete", "min.insync.replicas=2", NULL));
    assert_int_equal(plan.errors, 5);
    assert_int_equal(plan.finding_count, 5);
}

static void retention_below_the_configured_one_is_a_warning(void **state)
{
    (void)state;
    topic(
        TOPIC_HISTORY, 3,
        settings_of("cleanup.policy=delete", "retention.ms=60000", "min.insync.replicas=2", NULL));
    assert_non_null(strstr(only(), "warning topic a.topic: retention.ms=60000: less than the "
                                   "configuration says (topics.history_keep)"));
}

static void an_input_that_forgets_soon_is_a_warning(void **state)
{
    (void)state;
    topic(TOPIC_INPUT, 1, settings_of("cleanup.policy=delete", "retention.ms=3600000", NULL));
    assert_non_null(strstr(only(), "warning topic a.topic: retention.ms=3600000: events are gone"));
}

static void a_topic_that_takes_less_than_record_max_is_an_error(void **state)
{
    (void)state;
    topic(TOPIC_HISTORY, 3, settings_of(GOOD, "max.message.bytes=949999", NULL));
    assert_non_null(strstr(only(), "below record_max = 950000"));
    topic(TOPIC_STATE, 3, settings_of(GOOD, "max.message.bytes=949999", NULL));
    assert_int_equal(plan.finding_count, 2);
    assert_false(plan.findings[1].error); // a state fits, a full batch does not
    topic(TOPIC_STATE, 3, settings_of(GOOD, "max.message.bytes=1000", NULL));
    assert_int_equal(plan.errors, 2);
}

static void transactions_rest_on_two_topics_of_kafkas_own(void **state)
{
    (void)state;
    struct io_kafka_settings good =
        settings_of("cleanup.policy=compact", "min.insync.replicas=2", NULL);
    topics_audit_internal(&audit, "__transaction_state", 3, &good);
    topics_audit_internal(&audit, "__consumer_offsets", 3, &good);
    assert_int_equal(plan.finding_count, 0);
    struct io_kafka_settings bad =
        settings_of("cleanup.policy=delete", "min.insync.replicas=2", NULL);
    topics_audit_internal(&audit, "__consumer_offsets", 3, &bad);
    assert_non_null(strstr(only(), "error   topic __consumer_offsets: cleanup.policy=delete"));
}

static void what_will_be_created_is_judged_by_the_broker(void **state)
{
    (void)state;
    struct io_kafka_settings found =
        settings_of("transaction.state.log.replication.factor=3", "transaction.state.log.min.isr=4",
                    "offsets.topic.replication.factor=5", NULL);
    topics_audit_internal(&audit, "__transaction_state", 0, &found);
    assert_non_null(strstr(only(), "error   topic __transaction_state: min.insync.replicas=4"));
    topics_audit_internal(&audit, "__consumer_offsets", 0, &found);
    assert_int_equal(plan.errors, 2);
    struct topic_entry entries[] = {{.name = "a.inbox", .action = TOPIC_CREATE}};
    plan.entries = entries;
    plan.count = 1;
    found = settings_of("default.replication.factor=5", "message.max.bytes=1000", NULL);
    topics_audit_planned(&audit, &found);
    assert_int_equal(plan.errors, 4);
    assert_non_null(strstr(plan.findings[2].text, "there are 3 brokers"));
    assert_string_equal(plan.findings[3].setting, "message.max.bytes");
}

static void a_good_broker_is_not_mentioned(void **state)
{
    (void)state;
    struct io_kafka_settings found =
        settings_of("transaction.max.timeout.ms=900000", "offsets.retention.minutes=10080",
                    "group.min.session.timeout.ms=6000", "group.max.session.timeout.ms=1800000",
                    "offset.metadata.max.bytes=4096", NULL);
    topics_audit_broker(&audit, 1, &found);
    assert_int_equal(plan.finding_count, 0);
}

static void a_broker_that_workers_cannot_use_is_an_error(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "transaction.max.timeout.ms=9999", "group.min.session.timeout.ms=6001",
        "group.max.session.timeout.ms=5999", "offset.metadata.max.bytes=100"};
    for (size_t i = 0; i < 4; i++) {
        struct io_kafka_settings found = settings_of(bad[i], NULL);
        topics_audit_broker(&audit, 1, &found);
        topics_audit_broker(&audit, 2, &found);
        assert_int_equal(plan.errors, i + 1);
        assert_int_equal(plan.findings[i].name_count, 2);
    }
}

static void offsets_that_go_soon_are_a_warning(void **state)
{
    (void)state;
    struct io_kafka_settings found = settings_of("offsets.retention.minutes=1440", NULL);
    topics_audit_broker(&audit, 2, &found);
    assert_non_null(strstr(only(), "warning broker 2: offsets.retention.minutes=1440"));
}

static void a_finding_as_json_has_its_parts(void **state)
{
    (void)state;
    struct io_kafka_settings found = settings_of("offsets.retention.minutes=60", NULL);
    struct buf buf = {0};
    topics_audit_broker(&audit, 2, &found);
    topics_finding_json(&plan.findings[0], &buf);
    buf_byte(&buf, '\0');
    assert_non_null(strstr(buf.ptr,
                           "{\"severity\":\"warning\",\"kind\":\"broker\",\"names\":[\"2\"],"
                           "\"setting\":\"offsets.retention.minutes\",\"value\":\"60\","));
    buf_fini(&buf);
}

static void a_check_names_what_a_plan_would_do(void **state)
{
    (void)state;
    struct topic_entry entries[] = {
        {.name = "a.inbox", .action = TOPIC_CREATE},
        {.name = "a.state", .action = TOPIC_CREATE},
        {.name = "a.dlq", .action = TOPIC_REFUSE, .refused = "has 3 partitions"}};
    struct topic_offsets offsets[] = {{.group = "a", .topic = "a.inbox", .missing = 2}};
    plan.entries = entries;
    plan.count = 3;
    plan.offsets = offsets;
    plan.offsets_count = 1;
    topics_check(config, &arena, &plan);
    assert_int_equal(plan.finding_count, 3);
    assert_int_equal(plan.findings[0].name_count, 2);
    assert_int_equal(plan.errors, 1);
}

#define CASE(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
    struct conf_report report = {0};
    struct slice file = SLICE_LIT(
        "app = \"a\"; kafka = { bootstrap = \"b:1\"; };"
        "actions = ( { name = \"x\"; kind = \"exec\"; command = \"true\"; } );"
        "sagas = ( { name = \"s\"; steps = ( { name = \"one\"; action = \"x\"; } ); } );");
    if (io_conf_parse(file, &config, &report) != KA_OK)
        return 1;
    conf_report_fini(&report);
    const struct CMUnitTest tests[] = {
        CASE(a_good_topic_is_not_mentioned),
        CASE(more_insync_than_replicas_is_an_error),
        CASE(as_many_insync_as_replicas_is_a_warning),
        CASE(one_insync_replica_of_three_is_a_warning),
        CASE(one_finding_names_all_that_have_it),
        CASE(unclean_elections_undo_commits),
        CASE(what_deletes_commands_is_an_error),
        CASE(retention_below_the_configured_one_is_a_warning),
        CASE(an_input_that_forgets_soon_is_a_warning),
        CASE(a_topic_that_takes_less_than_record_max_is_an_error),
        CASE(transactions_rest_on_two_topics_of_kafkas_own),
        CASE(what_will_be_created_is_judged_by_the_broker),
        CASE(a_good_broker_is_not_mentioned),
        CASE(a_broker_that_workers_cannot_use_is_an_error),
        CASE(offsets_that_go_soon_are_a_warning),
        CASE(a_finding_as_json_has_its_parts),
        CASE(a_check_names_what_a_plan_would_do),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_fini(&arena);
    io_conf_free(&config);
    return failed;
}
