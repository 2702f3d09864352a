// SPDX-License-Identifier: Apache-2.0
// Good files and what they mean. What is said of bad ones: conf_broken.c.
#include "io/conf.h"

#include <fcntl.h>
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
// cmocka wants the headers above it
#include <cmocka.h>

#define TOP "app = \"shop\"; kafka = { bootstrap = \"b:9092\"; };\n"
#define ACTIONS                                                                                    \
    "actions = ( { name = \"pay\"; kind = \"exec\"; command = \"true\"; },\n"                      \
    "{ name = \"refund\"; kind = \"exec\"; command = \"true\"; } );\n"
#define SAGA(steps) "sagas = ( { name = \"order\"; steps = ( " steps " ); } );\n"

static void say(const struct conf_report *report)
{
    struct buf buf = {0};
    conf_report_text(report, &buf);
    print_error("%.*s", (int)buf.len, buf.ptr == NULL ? "" : buf.ptr);
    buf_fini(&buf);
}

// A file that must be good.
static struct config *parse(const char *text)
{
    struct config *config = NULL;
    struct conf_report report = {0};
    if (io_conf_parse(slice_str(text), &config, &report) != KA_OK)
        say(&report);
    assert_non_null(config);
    conf_report_fini(&report);
    return config;
}

static struct config *load(const char *path)
{
    struct config *config = NULL;
    struct conf_report report = {0};
    if (io_conf_load(path, &config, &report) != KA_OK)
        say(&report);
    assert_non_null(config);
    conf_report_fini(&report);
    return config;
}

static const char *write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    return path;
}

static char directory[64];

static const char *in_directory(const char *name)
{
    static char paths[32][128];
    static int next;
    char *path = paths[next++ % 32];
    snprintf(path, sizeof paths[0], "%s/%s", directory, name);
    return path;
}

static int set_up(void **state)
{
    (void)state;
    unsetenv("KASAGA_BOOTSTRAP");
    unsetenv("KASAGA_PLUGINS");
    snprintf(directory, sizeof directory, "/tmp/kasaga-conf-XXXXXX");
    return mkdtemp(directory) == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    return system(command);
}

// ---- What a file means

static void what_is_left_out_has_its_default(void **state)
{
    (void)state;
    struct config *config = parse(TOP);
    assert_string_equal(config->app, "shop");
    assert_string_equal(config->region, "local");
    assert_true(config->node[0] != '\0');
    assert_int_equal(config->shards, 12);
    assert_int_equal(config->guarantee, CONF_EXACTLY_ONCE);
    assert_int_equal(config->start_at, CONF_EARLIEST);
    assert_int_equal(config->inbox_keep_ms, 7 * 24 * 3600 * 1000);
    assert_int_equal(config->kafka.session_timeout_ms, 6000);
    assert_int_equal(config->kafka.transaction_timeout_ms, 10000);
    assert_int_equal(config->kafka.property_count, 0);
    assert_int_equal(config->topics.replication, -1);
    assert_int_equal(config->topics.input_partitions, 12);
    assert_in_range(config->lanes.shard, 1, 12);
    assert_int_equal(config->lanes.route, 1);
    assert_int_equal(config->log_level, CONF_LOG_INFO);
    assert_int_equal(config->log_format, CONF_LOG_TEXT);
    assert_int_equal(config->action_count + config->saga_count + config->route_count, 0);
    io_conf_free(&config);
    assert_null(config);
    io_conf_free(&config);
}

// R37: no pattern = saga. U2: 30 s, one retry, 250 ms doubling up to 30 s.
static void a_saga_and_its_steps_have_defaults(void **state)
{
    (void)state;
    struct config *config = parse(TOP ACTIONS SAGA("{ name = \"a\"; action = \"pay\"; }"));
    const struct config_saga *saga = io_conf_saga(config, "order");
    assert_string_equal(saga->pattern, "saga");
    assert_int_equal(saga->deadline_ms, 0);
    assert_int_equal(saga->history, HISTORY_ALL);
    assert_int_equal(saga->steps[0].timeout_ms, 30000);
    assert_int_equal(saga->steps[0].retry.attempts, 2);
    assert_int_equal(saga->steps[0].retry.backoff_ms, 250);
    assert_int_equal(saga->steps[0].retry.backoff_max_ms, 30000);
    assert_int_equal(config->actions[0].concurrency, 0);
    io_conf_free(&config);
}

static void what_is_written_counts(void **state)
{
    (void)state;
    struct config *config = parse(
        TOP "region = \"eu\"; node = \"n1.example\"; shards = 3; guarantee = \"at_least_once\";\n"
            "start_at = \"latest\"; memory_max = \"1GiB\"; state_max = \"100kB\";\n"
            "record_max = \"200kB\"; topics = { replication = 3; min_insync_replicas = 2;\n"
            "history_keep = \"90d\"; }; lanes = { shard = 2; batch_time = \"50ms\"; };\n"
            "invoker = { threads = 4; queue = 5; }; log = { level = \"warn\"; format = \"json\"; "
            "};");
    assert_string_equal(config->node, "n1.example");
    assert_int_equal(config->shards, 3);
    assert_int_equal(config->guarantee, CONF_AT_LEAST_ONCE);
    assert_int_equal(config->start_at, CONF_LATEST);
    assert_int_equal(config->memory_max, 1073741824);
    assert_int_equal(config->state_max, 100000);
    assert_int_equal(config->topics.min_insync_replicas, 2);
    assert_int_equal(config->topics.input_partitions, 3);
    assert_true(config->topics.history_keep_ms == INT64_C(90) * 24 * 3600 * 1000);
    assert_int_equal(config->lanes.shard, 2);
    assert_int_equal(config->lanes.batch_time_ms, 50);
    assert_int_equal(config->invoker.queue, 5);
    assert_int_equal(config->log_level, CONF_LOG_WARN);
    assert_int_equal(config->log_format, CONF_LOG_JSON);
    io_conf_free(&config);
}

static void policies_come_from_the_step_then_the_action_then_the_default(void **state)
{
    (void)state;
    struct config *config =
        parse(TOP "actions = ( { name = \"pay\"; kind = \"exec\"; command = \"true\"; "
                  "timeout = \"3s\"; retry = { attempts = 5; backoff = \"1s\"; }; },\n"
                  "{ name = \"refund\"; kind = \"exec\"; command = \"true\"; } );\n" SAGA(
                      "{ name = \"a\"; action = \"pay\"; compensate = \"refund\";"
                      "  retry = { backoff = \"2s\"; }; },"
                      "{ name = \"b\"; action = \"refund\"; compensate = \"pay\";"
                      "  compensate_timeout = \"9s\"; }"));
    const struct config_step *steps = config->sagas[0].steps;
    assert_int_equal(steps[0].retry.attempts, 5);
    assert_int_equal(steps[0].retry.backoff_ms, 2000);
    assert_int_equal(steps[0].retry.backoff_max_ms, 30000);
    assert_int_equal(steps[0].timeout_ms, 3000);
    assert_int_equal(steps[0].compensate_retry.attempts, 10);
    assert_int_equal(steps[0].compensate_retry.backoff_ms, 250);
    assert_int_equal(steps[0].compensate_timeout_ms, 30000);
    assert_int_equal(steps[1].retry.attempts, 2);
    assert_int_equal(steps[1].compensate_retry.attempts, 5);
    assert_int_equal(steps[1].compensate_timeout_ms, 9000);
    io_conf_free(&config);
}

static void a_start_is_a_route(void **state)
{
    (void)state;
    struct config *config =
        parse(TOP ACTIONS "sagas = ( { name = \"order\"; start = { topic = \"orders\"; "
                          "type = \"placed\"; id = \".id\"; };\n"
                          "steps = ( { name = \"a\"; action = \"pay\"; } ); },\n"
                          "{ name = \"mail\"; start = { topic = \"orders\"; type = \"placed\"; "
                          "id = \".id\"; }; steps = ( { name = \"a\"; action = \"pay\"; } ); },\n"
                          "{ name = \"by-hand\"; dedupe_window = \"48h\";\n"
                          "steps = ( { name = \"a\"; action = \"pay\"; } ); } );");
    assert_int_equal(config->saga_count, 3);
    assert_int_equal(config->route_count, 2);
    assert_string_equal(config->routes[1].topic, "orders");
    assert_string_equal(config->routes[1].type, "placed");
    assert_string_equal(config->routes[1].saga, "mail");
    assert_string_equal(config->routes[1].id, ".id");
    assert_int_equal(config->dedupe_window_ms, 48 * 3600 * 1000);
    assert_string_equal(io_conf_saga(config, "mail")->name, "mail");
    assert_null(io_conf_saga(config, "none"));
    io_conf_free(&config);
}

// What other regions may call is a saga of one step, of no file.
static void an_action_of_a_step_with_a_region_can_be_called(void **state)
{
    (void)state;
    struct config *config = parse(
        TOP "region = \"us\"; regions = ( { name = \"us\"; }, { name = \"eu\"; rtt = \"80ms\"; "
            "} ); residency = { rules = ( { class = \"public\"; target = \"eu\"; } ); };\n" ACTIONS
                SAGA("{ name = \"a\"; action = \"pay\"; region = \"eu\"; input = \".x\";"
                     "  dataclass = \"public\"; },{ name = \"b\"; action = \"refund\"; }"));
    assert_int_equal(config->saga_count, 2);
    assert_int_equal(config->links[1].rtt_ms, 80);
    assert_true(config->regions[0].rtt_ms == 0 && !config->regions[1].measured); // said, or our own
    const struct config_saga *remote = io_conf_saga(config, "remote:pay");
    assert_true(remote != NULL && remote->remote && !config->sagas[0].remote);
    assert_string_equal(remote->steps[0].action->name, "pay");
    struct slice json = config->sagas[0].json;
    assert_non_null(memmem(json.ptr, json.len, "\"dataclass\":\"public\",\"input\":\".x\"", 33));
    assert_non_null(memmem(json.ptr, json.len, "\"region\":\"eu\"", 13));
    io_conf_free(&config);
}

static void options_become_sorted_json(void **state)
{
    (void)state;
    struct config *config = parse(
        TOP "actions = ( { name = \"a\"; kind = \"plugin\"; library = \"/none.so\"; options = {\n"
            "zone = \"a\\\"b\"; big = 5000000000L; list = ( 1, \"x\", true ); inner = { b = -1.5; "
            "a = [ 1, 2 ]; }; }; } );");
    struct slice options = config->actions[0].options;
    assert_int_equal(options.len, strlen(options.ptr));
    assert_string_equal(options.ptr, "{\"big\":5000000000,\"inner\":{\"a\":[1,2],\"b\":-1.5},"
                                     "\"list\":[1,\"x\",true],\"zone\":\"a\\\"b\"}");
    io_conf_free(&config);
}

static void an_exec_action_is_ready_for_its_runner(void **state)
{
    (void)state;
    mkdir(in_directory("sub"), 0700);
    write_file(in_directory("sub/actions.conf"),
               "actions = ( { name = \"a\"; kind = \"exec\"; command = [ \"./a.sh\", \"-v\" ];\n"
               "environment = \"TOKEN\"; directory = \".\"; tags = [ \"x\", \"y\" ]; } );\n");
    write_file(in_directory("main.conf"), TOP "@include \"sub/actions.conf\"\n");
    struct config *config = load(in_directory("main.conf"));
    const struct config_action *action = io_conf_action(config, "a");
    assert_int_equal(action->kind, ACTION_EXEC);
    // Relative to the file that says so, which is the included one.
    assert_true(strstr(action->command[0], "/sub/./a.sh") != NULL);
    assert_string_equal(action->command[1], "-v");
    assert_null(action->command[2]);
    assert_string_equal(action->environment[0], "TOKEN");
    assert_null(action->environment[1]);
    assert_string_equal(action->directory, in_directory("sub"));
    assert_string_equal(action->tags[1], "y");
    assert_string_equal(action->version, "1");
    io_conf_free(&config);
}

// ---- Kafka

static const char *property(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->kafka.property_count; i++)
        if (strcmp(config->kafka.property_names[i], name) == 0)
            return config->kafka.property_values[i];
    return NULL;
}

static void properties_are_passed_and_secrets_resolved(void **state)
{
    (void)state;
    write_file(in_directory("key"), "from the file\nsecond line\n");
    setenv("KASAGA_TEST_PASSWORD", "from the environment", 1);
    write_file(in_directory("kafka.conf"),
               "app = \"shop\"; kafka = { bootstrap = \"b:9092\"; properties = (\n"
               "\"security.protocol=sasl_ssl\", \"sasl.username=a=b\",\n"
               "\"sasl.password=env:KASAGA_TEST_PASSWORD\", \"ssl.key.password=file:key\",\n"
               "\"ssl.ca.location=key\", { name = \"linger.ms\"; value = 7; },\n"
               "{ name = \"socket.nagle.disable\"; value = false; } ); };");
    struct config *config = load(in_directory("kafka.conf"));
    assert_int_equal(config->kafka.property_count, 7);
    assert_string_equal(property(config, "sasl.username"), "a=b");
    assert_string_equal(property(config, "sasl.password"), "from the environment");
    assert_string_equal(property(config, "ssl.key.password"), "from the file");
    assert_string_equal(property(config, "ssl.ca.location"), in_directory("key"));
    assert_string_equal(property(config, "linger.ms"), "7");
    assert_string_equal(property(config, "socket.nagle.disable"), "false");
    io_conf_free(&config);
}

static void the_check_of_a_file_does_not_need_its_secrets(void **state)
{
    (void)state;
    struct config *config = NULL;
    struct conf_report report = {0};
    write_file(in_directory("secret.conf"),
               "app = \"shop\"; kafka = { bootstrap = \"b:9092\"; properties = (\n"
               "\"security.protocol=sasl_ssl\", \"sasl.password=env:KASAGA_TEST_NONE\" ); };");
    assert_int_equal(io_conf_check(in_directory("secret.conf"), &config, &report), KA_OK);
    assert_int_equal(report.warnings, 1);
    assert_true(report.problems[0].warning);
    io_conf_free(&config);
    conf_report_fini(&report);
    assert_int_equal(io_conf_load(in_directory("secret.conf"), &config, &report), KA_ERR_CONFIG);
    assert_null(config);
    conf_report_fini(&report);
}

static void the_environment_overrides_the_brokers(void **state)
{
    (void)state;
    setenv("KASAGA_BOOTSTRAP", "other:9092", 1);
    struct config *config = parse(TOP);
    assert_string_equal(config->kafka.bootstrap, "other:9092");
    io_conf_free(&config);
    config = parse("app = \"shop\";");
    assert_string_equal(config->kafka.bootstrap, "other:9092");
    io_conf_free(&config);
    unsetenv("KASAGA_BOOTSTRAP");
}

static void a_library_is_looked_for_in_order(void **state)
{
    (void)state;
    const char *conf =
        write_file(in_directory("plugins.conf"),
                   TOP "plugin_path = [ \"second\" ];\n"
                       "actions = ( { name = \"a\"; kind = \"plugin\"; library = \"x.so\"; },\n"
                       "{ name = \"b\"; kind = \"plugin\"; library = \"./x.so\"; } );");
    mkdir(in_directory("first"), 0700);
    mkdir(in_directory("second"), 0700);
    write_file(in_directory("x.so"), "");
    struct config *config = load(conf);
    assert_string_equal(config->actions[0].library, in_directory("x.so"));
    io_conf_free(&config);
    write_file(in_directory("second/x.so"), "");
    config = load(conf);
    assert_string_equal(config->actions[0].library, in_directory("second/x.so"));
    io_conf_free(&config);
    write_file(in_directory("first/x.so"), "");
    setenv("KASAGA_PLUGINS", in_directory("none"), 1);
    char both[256];
    snprintf(both, sizeof both, "%s:%s", in_directory("none"), in_directory("first"));
    setenv("KASAGA_PLUGINS", both, 1);
    config = load(conf);
    assert_string_equal(config->actions[0].library, in_directory("first/x.so"));
    assert_string_equal(config->actions[1].library, in_directory("x.so"));
    io_conf_free(&config);
    unsetenv("KASAGA_PLUGINS");
}

// ---- Identity

#define IDENTITY(command, attempts, extra)                                                         \
    "app = \"shop\"; kafka = { bootstrap = \"b:9092\"; };\n"                                       \
    "actions = ( { name = \"pay\"; kind = \"exec\"; command = \"" command "\"; } );\n"             \
    "sagas = ( { name = \"order\"; " extra " steps = ( { name = \"a\"; action = \"pay\";\n"        \
    "retry = { attempts = " attempts "; }; } ); } );\n"

static struct def_id identity(const char *text)
{
    struct config *config = parse(text);
    struct def_id id = config->sagas[0].id;
    io_conf_free(&config);
    return id;
}

static void assert_same(const char *a, const char *b, bool same)
{
    struct def_id one = identity(a);
    struct def_id other = identity(b);
    assert_int_equal(memcmp(&one, &other, sizeof one) == 0, same);
}

static void paths_and_places_are_no_part_of_the_identity(void **state)
{
    (void)state;
    const char *plain = IDENTITY("a", "3", "");
    assert_same(plain, IDENTITY("/usr/bin/b", "3", ""), true);
    assert_same(plain, IDENTITY("a", "3", "description = \"text\";"), true);
    assert_same(plain, IDENTITY("a", "3", "start = { topic = \"t\"; type = \"x\"; id = \".i\"; };"),
                true);
    assert_same(plain, "# another form of the same\n" IDENTITY("a", "/* three */ 0x3", "\n\n\n"),
                true);
}

static void policies_and_versions_are(void **state)
{
    (void)state;
    const char *plain = IDENTITY("a", "3", "");
    assert_same(plain, IDENTITY("a", "4", ""), false);
    assert_same(plain, IDENTITY("a", "3", "version = 2;"), false);
    assert_same(plain, IDENTITY("a", "3", "deadline = \"1h\";"), false);
    assert_same(plain, IDENTITY("a\"; version = \"2", "3", ""), false);
}

static void a_schema_counts_by_its_meaning(void **state)
{
    (void)state;
    write_file(in_directory("schema.conf"),
               TOP "actions = ( { name = \"pay\"; kind = \"exec\"; command = \"a\"; "
                   "params = \"p.avsc\"; } );\n" SAGA("{ name = \"a\"; action = \"pay\"; }"));
    static const char plain[] =
        "{\"type\":\"record\",\"name\":\"p\",\"fields\":[{\"name\":\"id\",\"type\":\"string\"}]}";
    static const char other_form[] = "{ \"name\": \"p\", \"doc\": \"text\", \"type\": \"record\",\n"
                                     "  \"fields\": [ {\"type\": \"string\", \"name\": \"id\"} ] }";
    static const char other[] =
        "{\"type\":\"record\",\"name\":\"p\",\"fields\":[{\"name\":\"id\",\"type\":\"long\"}]}";
    static const char *const schemas[] = {plain, other_form, other};
    struct def_id ids[3];
    for (size_t i = 0; i < 3; i++) {
        write_file(in_directory("p.avsc"), schemas[i]);
        struct config *config = load(in_directory("schema.conf"));
        assert_int_equal(config->actions[0].params->type, SCHEMA_RECORD);
        ids[i] = config->sagas[0].id;
        io_conf_free(&config);
    }
    assert_memory_equal(&ids[0], &ids[1], sizeof ids[0]);
    assert_memory_not_equal(&ids[0], &ids[2], sizeof ids[0]);
}

static void the_normalised_form_is_as_it_was(void **state)
{
    (void)state;
    struct config *config =
        parse(TOP ACTIONS "sagas = ( { name = \"order\"; deadline = \"10m\"; steps = (\n"
                          "{ name = \"charge\"; action = \"pay\"; compensate = \"refund\";\n"
                          "when = \".total > 0\"; input = \"{id, amount: .total}\"; } ); } );");
    // A change of these bytes makes every definition a new one: think of running instances first.
    assert_string_equal(
        config->sagas[0].json.ptr,
        "{\"deadline_ms\":600000,\"dedupe_window_ms\":86400000,\"format\":1,\"history\":\"all\","
        "\"name\":\"order\",\"pattern\":\"saga\",\"steps\":[{\"action\":{\"inline\":false,"
        "\"kind\":\"exec\",\"name\":\"pay\",\"version\":\"1\"},\"compensate\":{\"action\":{"
        "\"inline\":false,\"kind\":\"exec\",\"name\":\"refund\",\"version\":\"1\"},\"retry\":{"
        "\"attempts\":10,\"backoff_max_ms\":30000,\"backoff_ms\":250},\"timeout_ms\":30000},"
        "\"input\":\"{id, amount: .total}\",\"name\":\"charge\",\"optional\":false,"
        "\"pivot\":false,\"retry\":{\"attempts\":2,\"backoff_max_ms\":30000,\"backoff_ms\":250},"
        "\"timeout_ms\":30000,\"when\":\".total > 0\"}],\"version\":1}");
    io_conf_free(&config);
}

// ---- What is shipped

static void branches_stand_in_the_place_of_their_step(void **state)
{
    (void)state;
    struct config *config = parse(TOP ACTIONS SAGA(
        "{ name = \"one\"; action = \"pay\"; }, { name = \"all\"; join = \"collect\"; parallel = "
        "(\n"
        "{ name = \"left\"; action = \"pay\"; compensate = \"refund\"; optional = true; },\n"
        "{ name = \"right\"; action = \"pay\"; timeout = \"2s\"; } ); },\n"
        "{ name = \"two\"; action = \"pay\"; }"));
    const struct config_saga *saga = &config->sagas[0];
    assert_int_equal(saga->step_count, 4);
    assert_null(saga->steps[0].group);
    assert_string_equal(saga->steps[1].name, "left");
    assert_string_equal(saga->steps[1].group, "all");
    assert_true(saga->steps[1].optional && saga->steps[1].collect);
    assert_string_equal(saga->steps[2].group, "all");
    assert_int_equal(saga->steps[2].timeout_ms, 2000);
    assert_null(saga->steps[3].group);
    // What a worker of a time before parallel steps cannot load, and only then.
    assert_non_null(strstr(saga->json.ptr, "\"collect\":true,\"compensate\""));
    assert_non_null(strstr(saga->json.ptr, "\"group\":\"all\",\"name\":\"right\""));
    io_conf_free(&config);
}

static void a_distributed_step_has_a_branch_for_each_region_or_element(void **state)
{
    (void)state;
    struct config *config = parse(
        TOP "region = \"us\"; regions = ( { name = \"us\"; }, { name = \"eu\"; } );\n"
            "residency = { rules = ( { class = \"public\"; target = \"closest\"; mode = "
            "\"preferred\"; } ); };\n" ACTIONS SAGA(
                "{ name = \"all\"; action = \"pay\"; distributed = \"all\"; optional = true; },"
                "{ name = \"some\"; action = \"pay\"; distributed = [\"eu\"]; join = \"collect\"; "
                "},"
                "{ name = \"each\"; action = \"pay\"; distributed = \".items\"; branches_max = 3;"
                " region = \".item.at\"; input = \".item\"; }"));
    static const char *const names[] = {"all.us",  "all.eu",  "some.eu",
                                        "each[0]", "each[1]", "each[2]"};
    static const char *const regions[] = {"us", "eu", "eu", ".item.at", ".item.at", ".item.at"};
    static const char *const keys[] = {"us", "eu", "eu", "0", "1", "2"};
    const struct config_saga *saga = &config->sagas[0];
    assert_int_equal(saga->step_count, 6);
    for (size_t i = 0; i < 6; i++) {
        assert_string_equal(saga->steps[i].name, names[i]);
        assert_string_equal(saga->steps[i].region, regions[i]);
        assert_string_equal(saga->steps[i].gather, keys[i]);
        assert_int_equal(saga->steps[i].items != NULL, i > 2);
        assert_int_equal(saga->steps[i].optional, i < 2);
        assert_int_equal(saga->steps[i].collect, i == 2);
    }
    assert_non_null(strstr(saga->json.ptr,
                           "\"gather\":\"2\",\"group\":\"each\",\"input\":\".item\","
                           "\"items\":\".items\",\"name\":\"each[2]\""));
    io_conf_free(&config);
}

static void every_shipped_file_loads(void **state)
{
    (void)state;
    glob_t found;
    assert_int_equal(glob("conf/*.conf", 0, NULL, &found), 0);
    assert_int_equal(glob("conf/regions/*-*.conf", GLOB_APPEND, NULL, &found), 0);
    assert_true(found.gl_pathc >= 5);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        struct config *config = load(found.gl_pathv[i]);
        assert_true(config->saga_count > 0);
        io_conf_free(&config);
    }
    globfree(&found);
}

static void the_page_of_all_keys_is_up_to_date(void **state)
{
    (void)state;
    static char page[256 * 1024];
    struct buf buf = {0};
    int fd = open("docs/configuration.md", O_RDONLY);
    assert_true(fd >= 0);
    ssize_t len = read(fd, page, sizeof page);
    close(fd);
    io_conf_reference(&buf);
    if (len != (ssize_t)buf.len || memcmp(page, buf.ptr, buf.len) != 0)
        fail_msg("docs/configuration.md is old: build/gcc/tools/confdoc > docs/configuration.md");
    buf_fini(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_left_out_has_its_default),
        cmocka_unit_test(a_saga_and_its_steps_have_defaults),
        cmocka_unit_test(what_is_written_counts),
        cmocka_unit_test(policies_come_from_the_step_then_the_action_then_the_default),
        cmocka_unit_test(a_start_is_a_route),
        cmocka_unit_test(an_action_of_a_step_with_a_region_can_be_called),
        cmocka_unit_test(options_become_sorted_json),
        cmocka_unit_test(an_exec_action_is_ready_for_its_runner),
        cmocka_unit_test(properties_are_passed_and_secrets_resolved),
        cmocka_unit_test(the_check_of_a_file_does_not_need_its_secrets),
        cmocka_unit_test(the_environment_overrides_the_brokers),
        cmocka_unit_test(a_library_is_looked_for_in_order),
        cmocka_unit_test(paths_and_places_are_no_part_of_the_identity),
        cmocka_unit_test(policies_and_versions_are),
        cmocka_unit_test(a_schema_counts_by_its_meaning),
        cmocka_unit_test(the_normalised_form_is_as_it_was),
        cmocka_unit_test(branches_stand_in_the_place_of_their_step),
        cmocka_unit_test(a_distributed_step_has_a_branch_for_each_region_or_element),
        cmocka_unit_test(every_shipped_file_loads),
        cmocka_unit_test(the_page_of_all_keys_is_up_to_date),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
