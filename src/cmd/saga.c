// SPDX-License-Identifier: Apache-2.0
// kasaga saga: the operator's verbs. Each is a command in the inbox; its answer is the history
// record that names the command as its cause.
#include "cmd/cmd_history.h"
#include "cmd/saga_plan.h"

#include "core/command.h"
#include "core/hash.h"
#include "io/clock.h"
#include "io/kafka_producer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { WAIT_DEFAULT_MS = 15000, SLICE_MS = 250 };

struct order {
    struct cmd_common common;
    struct cmd_app app;
    enum command_verb verb;
    const char *key;
    const char *reason;
    const char *actor;
    char cause[400]; // "topic/partition/offset" of the command
    int64_t deadline_ms;
};

static bool verb_of(const char *name, enum command_verb *verb)
{
    for (int i = COMMAND_PAUSE; i <= COMMAND_TERMINATE; i++) {
        if (strcmp(command_verb_name((enum command_verb)i), name) == 0) {
            *verb = (enum command_verb)i;
            return true;
        }
    }
    return false;
}

static int send(struct order *order, struct cmd_follow *follow)
{
    struct err_text text = {""};
    struct io_kafka_producer *producer = NULL;
    char id[200];
    const char *topic = cmd_app_topic(&order->app, "inbox");
    snprintf(id, sizeof id, "%.100s/%d/%lld", order->actor, (int)getpid(),
             (long long)clock_mono_ns());
    struct command command = {
        .verb = order->verb,
        .time_ms = clock_now_ms(),
        .id = slice_str(id),
        .actor = slice_str(order->actor),
        .reason = slice_str(order->reason),
    };
    struct buf encoded = {0};
    command_encode(&command, &encoded);
    struct output output = {.topic = slice_str(topic),
                            .partition = follow->partition,
                            .key = slice_str(order->key),
                            .value = buf_slice(&encoded)};
    enum ka_err err = io_kafka_producer_new(&order->app.kafka, NULL, &producer, &text);
    if (err == KA_OK)
        err = io_kafka_produce_sync(producer, &output, CMD_CALL_MS, &follow->command, &text);
    io_kafka_producer_free(&producer);
    buf_fini(&encoded);
    if (err != KA_OK)
        return cmd_fail(err, &text);
    snprintf(order->cause, sizeof order->cause, "%s/%d/%" PRId64, topic, follow->partition,
             follow->command);
    return CMD_OK;
}

static int refused(const struct order *order, const struct history_line *line)
{
    int code = slice_eq(line->code, SLICE_LIT("NOT_FOUND")) ? CMD_NOT_FOUND : CMD_FAILED;
    return cmd_complain(code, "%s of %s was refused: %.*s", command_verb_name(order->verb),
                        order->key, SLICE_FMT(line->message));
}

static int done(const struct order *order, const struct history_line *line)
{
    struct buf buf = {0};
    if (order->common.output == CMD_TEXT) {
        buf_str(&buf, order->key);
        buf_str(&buf, ": ");
        buf_slice_put(&buf, line->type);
    } else {
        buf_slice_put(&buf, line->doc);
    }
    buf_byte(&buf, '\n');
    bool written = cmd_write(&buf);
    buf_fini(&buf);
    return written ? CMD_OK : CMD_FAILED;
}

static int await(struct order *order, struct cmd_follow *follow)
{
    struct err_text text = {""};
    enum ka_err err;
    while (clock_mono_ms() < order->deadline_ms) {
        struct history_line line;
        switch (cmd_follow_next(follow, SLICE_MS, &order->app.arena, &line, &err, &text)) {
        case FOLLOW_LINE:
            if (!slice_eq(line.cause, slice_str(order->cause)))
                break;
            if (slice_eq(line.type, SLICE_LIT("command.refused")))
                return refused(order, &line);
            return done(order, &line);
        case FOLLOW_DEAD:
            return refused(order, &line);
        case FOLLOW_NOTHING:
        case FOLLOW_END:
            break;
        case FOLLOW_ERROR:
            return cmd_fail(err, &text);
        }
    }
    return cmd_complain(CMD_TIMEOUT, "%s of %s: no worker has answered yet; it stays in the inbox",
                        command_verb_name(order->verb), order->key);
}

static int run(struct order *order)
{
    struct err_text text = {""};
    struct cmd_follow follow = {0};
    int code = cmd_app_check_topic(&order->app, cmd_app_topic(&order->app, "inbox"),
                                   order->app.config->shards);
    if (code != CMD_OK)
        return code;
    enum ka_err err = cmd_follow_open(&order->app, order->key, false, true, &follow, &text);
    code = err == KA_OK ? send(order, &follow) : cmd_fail(err, &text);
    if (code == CMD_OK)
        code = await(order, &follow);
    cmd_follow_close(&follow);
    return code;
}

int cmd_saga(int argc, char **argv)
{
    struct order order = {.actor = cmd_user()};
    const char *timeout = NULL;
    int64_t timeout_ms = WAIT_DEFAULT_MS;
    struct cmd_words words;
    const struct cmd_option options[] = {
        {"reason", 'r', "TEXT", "why; stands in the history (needed)", &order.reason, NULL},
        {"actor", 'a', "NAME", "who; default $USER", &order.actor, NULL},
        {"timeout", 't', "TIME", "how long to wait for the answer; default 15s", &timeout, NULL},
    };
    const struct cmd_spec spec = {
        .synopsis =
            "saga pause|resume|cancel|retry|skip|terminate KEY --reason TEXT [--actor NAME]\n"
            "saga plan [SAGA]",
        .summary =
            "Intervenes in the saga KEY (SAGA/ID). pause and resume stop and go on; cancel\n"
            "undoes it; retry and skip answer a stuck step or compensation; terminate ends it\n"
            "as it stands. plan shows what the configured sagas do, and what undoes it.",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
        .words_min = 1,
        .words_max = 2,
    };
    int code;
    if (!cmd_parse(&spec, argc, argv, &order.common, &words, &code))
        return code;
    if (strcmp(words.items[0], "plan") == 0)
        return cmd_saga_plan(&order.common, words.count > 1 ? words.items[1] : NULL);
    if (!verb_of(words.items[0], &order.verb))
        return cmd_complain(CMD_USAGE,
                            "saga: '%s' is not one of pause, resume, cancel, retry, skip, "
                            "terminate, plan",
                            words.items[0]);
    if (words.count < 2)
        return cmd_complain(CMD_USAGE, "saga %s: KEY is missing", words.items[0]);
    order.key = words.items[1];
    if (!cmd_key_ok(order.key))
        return cmd_complain(CMD_USAGE, "'%s' is not of the form SAGA/ID", order.key);
    if (order.reason == NULL || order.reason[0] == '\0')
        return cmd_complain(CMD_USAGE, "saga %s: --reason is needed", words.items[0]);
    if (timeout != NULL && !cmd_duration(timeout, &timeout_ms))
        return cmd_complain(CMD_USAGE, "--timeout '%s': give it as 500ms, 30s, 5m", timeout);
    order.deadline_ms = clock_mono_ms() + timeout_ms;
    if (!cmd_app_open(&order.common, &order.app, &code))
        return code;
    code = run(&order);
    cmd_app_close(&order.app);
    return code;
}
