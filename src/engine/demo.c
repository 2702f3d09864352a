// SPDX-License-Identifier: Apache-2.0
#include "engine/demo.h"

#include "core/assert.h"
#include "engine/setup.h"
#include "engine/topics.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    FIRST_NUMBER = 1001,
    MOCK_SESSION_MS = 3500, // the mock takes session timeout - 1 s for a rebalance; below 3 s none
    CUSTOMERS = 97,
    SKUS = 31
};

static const char library[] = "shop.so";

// conf/order.conf, byte by byte (see the Makefile).
static const unsigned char order_conf[] = {
#include "order_conf.inc"
};

// ---- Configuration
// -------------------------------------------------------------------------------

// Puts `to` where the first `from` stands.
static enum ka_err replace(struct buf *text, const char *from, const char *to,
                           struct err_text *error)
{
    buf_byte(text, '\0');
    const char *at = strstr(text->ptr, from);
    text->len--;
    if (at == NULL)
        return err_set(error, KA_ERR_CONFIG, "order.conf has no '%s'", from);
    size_t before = (size_t)(at - text->ptr);
    size_t behind = before + strlen(from);
    struct buf made = {0};
    buf_put(&made, text->ptr, before);
    buf_str(&made, to);
    buf_put(&made, text->ptr + behind, text->len - behind);
    buf_fini(text);
    *text = made;
    return KA_OK;
}

enum ka_err demo_text(const struct demo_options *options, struct buf *text, struct err_text *error)
{
    char line[300];
    buf_put(text, order_conf, sizeof order_conf);
    snprintf(line, sizeof line, "fail_every = %lld;", (long long)options->fail_every);
    enum ka_err err = replace(text, "fail_every = 10;", line, error);
    if (err != KA_OK || options->app == NULL)
        return err;
    snprintf(line, sizeof line, "app = \"%s\";", options->app);
    err = replace(text, "app = \"shop\";", line, error);
    if (err != KA_OK)
        return err;
    snprintf(line, sizeof line, "topic = \"%s.orders\";", options->app);
    return replace(text, "topic = \"orders\";", line, error);
}

static bool holds_library(const char *directory)
{
    char path[4096 + sizeof library + 1];
    snprintf(path, sizeof path, "%s/%s", directory, library);
    return access(path, R_OK) == 0;
}

// Beside the binary: in a build tree, then below its prefix.
static void find_plugins(void)
{
    static const char *const places[] = {"plugins", "../lib/kasaga/plugins"};
    const char *given = getenv("KASAGA_PLUGINS");
    char binary[4000];
    char directory[4096];
    if (given != NULL && given[0] != '\0')
        return;
    ssize_t len = readlink("/proc/self/exe", binary, sizeof binary - 1);
    if (len <= 0)
        return;
    binary[len] = '\0';
    char *slash = strrchr(binary, '/');
    if (slash == NULL)
        return;
    *slash = '\0';
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        snprintf(directory, sizeof directory, "%s/%s", binary, places[i]);
        if (!holds_library(directory))
            continue;
        setenv("KASAGA_PLUGINS", directory, 1);
        return;
    }
}

static enum ka_err check_libraries(const struct config *config, struct err_text *error)
{
    for (size_t i = 0; i < config->action_count; i++) {
        const char *path = config->actions[i].library;
        if (path != NULL && access(path, R_OK) != 0)
            return err_set(error, KA_ERR_CONFIG,
                           "%s, the actions of the demo, was not found: make builds it; else set "
                           "KASAGA_PLUGINS to its directory",
                           library);
    }
    return KA_OK;
}

static enum ka_err load(struct slice text, struct config **config, struct err_text *error)
{
    struct conf_report report = {0};
    struct buf problems = {0};
    enum ka_err err = io_conf_parse(text, config, &report);
    if (err != KA_OK) {
        conf_report_text(&report, &problems);
        err_set(error, err, "order.conf: %.*s", SLICE_FMT(buf_slice(&problems)));
    }
    buf_fini(&problems);
    conf_report_fini(&report);
    return err;
}

enum ka_err demo_config(const struct demo_options *options, struct config **config,
                        struct err_text *error)
{
    struct buf text = {0};
    find_plugins();
    enum ka_err err = demo_text(options, &text, error);
    if (err == KA_OK)
        err = load(buf_slice(&text), config, error);
    buf_fini(&text);
    if (err != KA_OK)
        return err;
    (*config)->kafka.bootstrap = options->bootstrap;
    if (options->mock) {
        (*config)->guarantee = CONF_AT_LEAST_ONCE;
        (*config)->kafka.session_timeout_ms = MOCK_SESSION_MS;
    }
    err = check_libraries(*config, error);
    if (err != KA_OK)
        io_conf_free(config);
    return err;
}

// ---- Topics
// --------------------------------------------------------------------------------------

static enum ka_err mock_topics(const struct config *config, struct io_kafka_mock *mock,
                               struct err_text *error)
{
    enum ka_err err = KA_OK;
    for (int role = TOPIC_INBOX; err == KA_OK && role <= TOPIC_CATALOG; role++) {
        char topic[300];
        snprintf(topic, sizeof topic, "%s.%s", config->app, topic_role_name((enum topic_role)role));
        err = io_kafka_mock_topic(mock, topic, role == TOPIC_CATALOG ? 1 : config->shards, error);
    }
    for (size_t i = 0; err == KA_OK && i < config->route_count; i++)
        err = io_kafka_mock_topic(mock, config->routes[i].topic, config->topics.input_partitions,
                                  error);
    return err;
}

static enum ka_err real_topics(const struct config *config, struct err_text *error)
{
    struct io_kafka_config kafka = setup_kafka(config, "kasaga-dev");
    struct io_kafka_admin *admin = NULL;
    struct arena arena = {0};
    struct topics_plan plan;
    enum ka_err err = io_kafka_admin_new(&kafka, &admin, error);
    if (err != KA_OK)
        return err;
    err = topics_plan(config, admin, &arena, &plan, error);
    if (err == KA_OK)
        err = topics_apply(config, admin, &arena, &plan, error);
    arena_fini(&arena);
    io_kafka_admin_free(&admin);
    return err;
}

enum ka_err demo_topics(const struct config *config, struct io_kafka_mock *mock,
                        struct err_text *error)
{
    return mock != NULL ? mock_topics(config, mock, error) : real_topics(config, error);
}

// ---- Orders
// --------------------------------------------------------------------------------------

int64_t demo_first(int64_t fail_every)
{
    int64_t number = FIRST_NUMBER;
    KA_ASSERT(fail_every >= 0);
    while (fail_every > 0 && (number + 2) % fail_every != 0)
        number++;
    return number;
}

void demo_order(int64_t number, struct buf *buf)
{
    char order[256];
    snprintf(order, sizeof order,
             "{\"order_id\":\"%lld\",\"customer\":\"c%lld\",\"sku\":\"sku-%lld\",\"quantity\":%lld,"
             "\"total\":%lld}",
             (long long)number, (long long)(number % CUSTOMERS), (long long)(number % SKUS),
             (long long)(1 + number % 3), (long long)(10 + number % 90));
    buf_str(buf, order);
}
