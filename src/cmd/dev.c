// SPDX-License-Identifier: Apache-2.0
// kasaga dev: a first look. A broker in the process (or a real one), a worker in a thread, orders a
// few times a second, and a line per transition from the history topic, as anybody could read it.
#include "cmd/dev_view.h"

#include "engine/demo.h"
#include "engine/setup.h"
#include "io/clock.h"
#include "io/kafka_producer.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    ORDERS_ALONE = 20, // without a terminal it ends by itself
    RATE = 5,
    FAIL_EVERY = 10,
    READ_MS = 20,     // also how exactly orders keep their rate
    QUIET_MS = 30000, // nothing ends for so long: something is wrong
    DRAIN_MS = 5000,
    AGAIN_MS = 1000
};

#define DEMO_LABEL "DEMO BROKER: no isolation, no fencing; not a proof of exactly-once"

struct dev {
    struct cmd_common common;
    const char *broker; // of others; NULL = the mock cluster
    int64_t orders;     // how many; INT64_MAX = until somebody ends it
    int64_t rate;       // per second
    int64_t for_ms;     // make orders for so long; 0 = no limit
    int64_t fail_every;

    char app[32];
    struct io_kafka_mock *mock;
    const char *bootstrap;
    struct config *config;
    struct setup *setup;
    struct io_kafka_config kafka;
    struct io_kafka_reader *reader;
    struct io_kafka_producer *producer;
    struct dev_view view;
    struct buf buf;

    pthread_t worker;
    bool worker_started;
    atomic_bool stop_worker;
    atomic_bool worker_ended;
    enum ka_err worker_error;
    struct err_text worker_text;
};

static atomic_bool stop_asked;
static _Atomic int64_t stop_asked_ms; // since when; 0 = not

// Asked again a second later: at once. Sooner it is the same wish: timeout(1) sends it to the
// process and to its group.
static void on_signal(int signal_number)
{
    (void)signal_number;
    int64_t first_ms = 0;
    int64_t now_ms = clock_mono_ms();
    atomic_store(&stop_asked, true);
    if (!atomic_compare_exchange_strong(&stop_asked_ms, &first_ms, now_ms) &&
        now_ms - first_ms > AGAIN_MS)
        _exit(CMD_FAILED);
}

static void listen_for_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
}

// ---- What is asked for
// ---------------------------------------------------------------------------

struct texts {
    const char *orders, *rate, *seconds, *broker, *fail_every;
};

static bool number(const char *name, const char *text, int64_t min, int64_t *value)
{
    if (text == NULL || cmd_number(text, min, 1000000000, value))
        return true;
    cmd_complain(CMD_USAGE, "dev: --%s %s: a whole number from %lld", name, text, (long long)min);
    return false;
}

static bool take_options(struct dev *dev, const struct texts *texts)
{
    bool alone = !isatty(STDOUT_FILENO) || getenv("CI") != NULL;
    int64_t seconds = 0;
    dev->broker = texts->broker != NULL ? texts->broker : dev->common.bootstrap;
    dev->orders = alone && texts->seconds == NULL ? ORDERS_ALONE : INT64_MAX;
    dev->rate = RATE;
    dev->fail_every = FAIL_EVERY;
    if (!number("orders", texts->orders, 1, &dev->orders) ||
        !number("rate", texts->rate, 1, &dev->rate) ||
        !number("for", texts->seconds, 1, &seconds) ||
        !number("fail-every", texts->fail_every, 0, &dev->fail_every))
        return false;
    dev->for_ms = seconds * 1000;
    if (dev->common.output != CMD_JSON)
        return true;
    cmd_complain(CMD_USAGE, "dev: -o text or jsonl");
    return false;
}

static bool wants_color(void)
{
    const char *no_color = getenv("NO_COLOR");
    const char *terminal = getenv("TERM");
    return isatty(STDOUT_FILENO) && (no_color == NULL || no_color[0] == '\0') &&
           (terminal == NULL || strcmp(terminal, "dumb") != 0);
}

// ---- Start and end
// -------------------------------------------------------------------------------

static enum ka_err open_cluster(struct dev *dev, struct err_text *text)
{
    struct demo_options options = {.mock = dev->broker == NULL, .fail_every = dev->fail_every};
    enum ka_err err = KA_OK;
    if (dev->broker == NULL)
        err = io_kafka_mock_new(&dev->mock, text);
    else // of its own each time: what stands in the topics of an earlier run is not shown again
        snprintf(dev->app, sizeof dev->app, "dev-%llx", (unsigned long long)clock_now_ms());
    if (err != KA_OK)
        return err;
    dev->bootstrap = dev->mock != NULL ? io_kafka_mock_bootstrap(dev->mock) : dev->broker;
    options.bootstrap = dev->bootstrap;
    options.app = dev->broker == NULL ? NULL : dev->app;
    err = demo_config(&options, &dev->config, text);
    if (err == KA_OK)
        err = demo_topics(dev->config, dev->mock, text);
    if (err == KA_OK)
        err = setup_new(dev->config, "dev", &dev->setup, text);
    return err;
}

static enum ka_err open_clients(struct dev *dev, struct err_text *text)
{
    char history[300];
    const char *topics[] = {dev->config->routes[0].topic};
    dev->kafka = setup_kafka(dev->config, "kasaga-dev");
    snprintf(history, sizeof history, "%s.history", dev->config->app);
    enum ka_err err = io_kafka_reader_new(&dev->kafka, true, &dev->reader, text);
    for (int32_t i = 0; err == KA_OK && i < dev->config->shards; i++)
        err = io_kafka_reader_add(dev->reader, history, i, -2, text);
    if (err == KA_OK)
        err = io_kafka_producer_new(&dev->kafka, NULL, &dev->producer, text);
    if (err == KA_OK)
        err = io_kafka_producer_warm(dev->producer, topics, 1, CMD_CALL_MS, text);
    return err;
}

static void *worker_main(void *argument)
{
    struct dev *dev = argument;
    dev->worker_error =
        worker_run(setup_worker(dev->setup), &dev->stop_worker, NULL, NULL, &dev->worker_text);
    atomic_store(&dev->worker_ended, true);
    return NULL;
}

static void start_worker(struct dev *dev)
{
    if (pthread_create(&dev->worker, NULL, worker_main, dev) != 0)
        abort();
    dev->worker_started = true;
}

static void end_worker(struct dev *dev)
{
    if (!dev->worker_started)
        return;
    atomic_store(&dev->stop_worker, true);
    pthread_join(dev->worker, NULL);
    dev->worker_started = false;
}

static void close_all(struct dev *dev)
{
    end_worker(dev);
    io_kafka_producer_free(&dev->producer);
    io_kafka_reader_free(&dev->reader);
    if (dev->worker_error != KA_ERR_TIMEOUT) { // else a thread still runs in the plugin
        setup_free(&dev->setup);
        io_conf_free(&dev->config);
    }
    if (io_kafka_drain(DRAIN_MS)) // a client that still closes needs its broker
        io_kafka_mock_free(&dev->mock);
    dev_view_fini(&dev->view);
    buf_fini(&dev->buf);
}

// ---- What is said around the trace
// ---------------------------------------------------------------

static void put_started_json(const struct dev *dev, struct buf *buf)
{
    buf_str(buf, "{\"type\":\"kasaga.dev.started\",\"broker\":");
    buf_json_str(buf, slice_str(dev->bootstrap));
    buf_str(buf, ",\"app\":");
    buf_json_str(buf, slice_str(dev->config->app));
    buf_str(buf, ",\"topic\":");
    buf_json_str(buf, slice_str(dev->config->routes[0].topic));
    if (dev->mock != NULL)
        buf_str(buf, ",\"note\":\"" DEMO_LABEL "\"");
    buf_str(buf, "}\n");
}

static void say_banner(const struct dev *dev)
{
    const struct cmd_common *common = &dev->common;
    const struct config_saga *saga = &dev->config->sagas[0];
    const char *app = dev->config->app;
    const char *topic = dev->config->routes[0].topic;
    char steps[256] = "";
    for (size_t i = 0, len = 0; i < saga->step_count && len < sizeof steps; i++)
        len += (size_t)snprintf(steps + len, sizeof steps - len, "%s%s", i == 0 ? "" : ", ",
                                saga->steps[i].name);
    cmd_note(common, "kasaga dev: the %s saga (%s)", saga->name, steps);
    if (dev->mock != NULL)
        cmd_note(common, "%s", DEMO_LABEL);
    cmd_note(common, "\n  broker     %s", dev->bootstrap);
    cmd_note(common, "  topics     %s -> %s.inbox, %s.state, %s.history, %s.dlq, %s.catalog", topic,
             app, app, app, app, app);
    cmd_note(common, "  read it    kcat -C -b %s -t %s.history", dev->bootstrap, app);
    cmd_note(common,
             "  your own   echo '{\"order_id\":\"mine-1\",\"total\":7}' | kcat -P -b %s -t %s",
             dev->bootstrap, topic);
    if (dev->mock != NULL)
        cmd_note(common, "  look back  kasaga trace order/%lld -c conf/order.conf --bootstrap %s",
                 (long long)(dev->view.first + 2), dev->bootstrap);
    if (dev->mock != NULL)
        cmd_note(common, "  for real   kasaga dev --broker HOST:PORT: exactly once, on your Kafka");
    if (dev->orders == INT64_MAX && dev->for_ms == 0)
        cmd_note(common, "  end it     Ctrl-C");
    cmd_note(common, "\njoining the consumer group takes about 3 s ...");
}

// ---- The loop
// ------------------------------------------------------------------------------------

static enum ka_err make_order(struct dev *dev, struct err_text *text)
{
    char customer[32];
    int64_t number_of = dev->view.first + dev->view.count;
    snprintf(customer, sizeof customer, "c%lld", (long long)(number_of % 97));
    buf_clear(&dev->buf);
    demo_order(number_of, &dev->buf);
    struct output output = {.topic = slice_str(dev->config->routes[0].topic),
                            .partition = -1,
                            .key = slice_str(customer),
                            .value = buf_slice(&dev->buf)};
    enum ka_err err = io_kafka_produce(dev->producer, &output, -1, text);
    if (err == KA_OK)
        dev_view_add(&dev->view);
    return err == KA_ERR_LIMIT ? KA_OK : err; // the queue is full: in the next turn
}

// The first order goes out at once; the others keep their rate from when it is under way, so that
// they are seen as they come and not all at once.
static enum ka_err make_orders(struct dev *dev, int64_t *since_ms, struct err_text *text)
{
    int64_t now_ms = clock_mono_ms();
    enum ka_err err = KA_OK;
    if (dev->view.count == 0)
        return make_order(dev, text);
    if (*since_ms == 0) {
        if (dev->view.started == 0)
            return KA_OK;
        *since_ms = now_ms;
    }
    if (dev->for_ms > 0 && now_ms - *since_ms >= dev->for_ms)
        dev->orders = dev->view.count;
    int64_t due = 1 + (now_ms - *since_ms) * dev->rate / 1000;
    due = due < dev->orders ? due : dev->orders;
    for (int64_t count = dev->view.count; err == KA_OK && count < due; count++)
        err = make_order(dev, text);
    io_kafka_producer_poll(dev->producer, 0);
    return err;
}

// Shows what has come. *moved tells that something has.
static enum ka_err read_history(struct dev *dev, struct arena *arena, bool *moved,
                                struct err_text *text)
{
    struct record record;
    struct history_line line;
    enum ka_err err = KA_OK;
    buf_clear(&dev->buf);
    for (int timeout_ms = READ_MS;; timeout_ms = 0) {
        switch (io_kafka_reader_next(dev->reader, timeout_ms, &record, &err, text)) {
        case IO_KAFKA_READ_NOTHING:
            if (!cmd_flush(&dev->buf)) // nobody reads any more
                atomic_store(&stop_asked, true);
            arena_reset(arena);
            return KA_OK;
        case IO_KAFKA_READ_RECORD:
            if (history_line_parse(record.value, arena, &line) &&
                dev_view_line(&dev->view, record.key, &line, &dev->buf))
                *moved = true;
            break;
        case IO_KAFKA_READ_END:
            break;
        case IO_KAFKA_READ_ERROR:
            if (err_class(err) != ERR_CLASS_RETRY) // else librdkafka goes on by itself
                return err;
            break;
        }
    }
}

static int loop(struct dev *dev)
{
    struct err_text text = {{0}};
    struct arena arena = {0};
    int64_t since_ms = 0;
    int64_t moved_ms = clock_mono_ms();
    enum ka_err err = KA_OK;
    int code = CMD_OK;
    while (code == CMD_OK && !atomic_load(&stop_asked)) {
        bool moved = false;
        err = make_orders(dev, &since_ms, &text);
        if (err == KA_OK)
            err = read_history(dev, &arena, &moved, &text);
        if (moved)
            moved_ms = clock_mono_ms();
        if (err != KA_OK)
            code = cmd_fail(err, &text);
        else if (atomic_load(&dev->worker_ended))
            code = cmd_fail(dev->worker_error, &dev->worker_text);
        else if (dev->view.count >= dev->orders && dev_view_unfinished(&dev->view) == 0)
            break;
        else if (clock_mono_ms() - moved_ms > QUIET_MS)
            code =
                cmd_complain(CMD_TIMEOUT, "nothing has happened for %d s; KASAGA_LOG=info says why",
                             QUIET_MS / 1000);
    }
    arena_fini(&arena);
    return code;
}

static int run(struct dev *dev)
{
    struct err_text text = {{0}};
    enum ka_err err = open_cluster(dev, &text);
    if (err == KA_OK)
        err = open_clients(dev, &text);
    if (err != KA_OK)
        return cmd_fail(err, &text);
    say_banner(dev);
    if (dev->common.output == CMD_JSONL) {
        put_started_json(dev, &dev->buf);
        (void)cmd_flush(&dev->buf);
    }
    start_worker(dev);
    int code = loop(dev);
    int64_t now_ms = clock_now_ms();
    end_worker(dev);
    buf_clear(&dev->buf);
    dev_view_summary(&dev->view, now_ms, &dev->buf);
    (void)cmd_flush(&dev->buf);
    if (code == CMD_OK && dev->view.ended[SAGA_END_STUCK] + dev->view.ended[SAGA_END_TERMINATED])
        return CMD_STUCK;
    if (code == CMD_OK && dev->worker_error != KA_OK)
        return cmd_fail(dev->worker_error, &dev->worker_text);
    return code;
}

int cmd_dev(int argc, char **argv)
{
    struct texts texts = {0};
    const struct cmd_option options[] = {
        {"orders", 0, "N", "so many orders, then end (20 without a terminal)", &texts.orders, NULL},
        {"rate", 0, "R", "orders per second (5)", &texts.rate, NULL},
        {"for", 0, "SECONDS", "make orders for so long, then end", &texts.seconds, NULL},
        {"broker", 0, "LIST", "a real Kafka; topics of a fresh app are created there",
         &texts.broker, NULL},
        {"fail-every", 0, "N", "every Nth order is refused and undone (10); 0 = none",
         &texts.fail_every, NULL},
    };
    const struct cmd_spec spec = {
        .synopsis = "dev [--orders N] [--rate R] [--for SECONDS] [--fail-every N]\n"
                    "dev --broker LIST ...",
        .summary =
            "Shows sagas at work: a broker and a worker in this process, orders, and a line\n"
            "for each thing that happens. Needs no Kafka and no configuration (-c is not\n"
            "read). The demo broker has no isolation and no fencing: exactly-once is seen\n"
            "with --broker. Ctrl-C ends it.",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
    };
    struct dev *dev = calloc(1, sizeof *dev);
    struct cmd_words words;
    int code;
    if (dev == NULL)
        abort();
    if (!cmd_parse(&spec, argc, argv, &dev->common, &words, &code)) {
        free(dev);
        return code;
    }
    code = CMD_USAGE;
    if (take_options(dev, &texts)) {
        dev->view.output = dev->common.output;
        dev->view.color = wants_color();
        dev->view.started_ms = clock_now_ms();
        dev->view.first = demo_first(dev->fail_every);
        listen_for_signals();
        code = run(dev);
        close_all(dev);
    }
    free(dev);
    return code;
}
