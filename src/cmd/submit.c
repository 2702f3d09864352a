// SPDX-License-Identifier: Apache-2.0
// kasaga submit: a START command into the inbox, and the way to its end on request.
//
// A start of an id that is live or remembered changes nothing and leaves no trace. It is told from
// one that was not read yet by the committed offset of the inbox: once that has passed our command
// and the history still has nothing of it, the saga was started before, and that one is followed.
#include "cmd/cmd_history.h"

#include "core/command.h"
#include "core/hash.h"
#include "core/json.h"
#include "io/clock.h"
#include "io/kafka_producer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { ID_MAX = 256, DATA_MAX = 64 << 20, WAIT_DEFAULT_MS = 60000, SLICE_MS = 250 };

struct submit {
    struct cmd_common common;
    struct cmd_app app;
    const char *key;
    const char *tenant; // NULL = none
    struct buf data;
    int32_t partition;
    int64_t offset; // of the START command
    int64_t deadline_ms;
    bool wait;
    bool follow;
    bool repeated; // the saga was started before
    enum saga_end end;
    struct history_line last;
};

static int read_all(FILE *file, const char *name, struct buf *buf)
{
    for (;;) {
        size_t got = fread(buf_room(buf, 65536), 1, 65536, file);
        buf->len += got;
        if (got == 0)
            break;
        if (buf->len > DATA_MAX)
            return cmd_complain(CMD_USAGE, "%s has more than %d bytes", name, DATA_MAX);
    }
    return ferror(file) ? cmd_complain(CMD_FAILED, "reading %s: %s", name, strerror(errno))
                        : CMD_OK;
}

// JSON itself, @file, or - for stdin. Must be an object: it is the data of an event.
static int take_data(const char *from, struct buf *buf)
{
    struct err_text text = {""};
    int code = CMD_OK;
    if (from == NULL) {
        buf_str(buf, "{}");
    } else if (strcmp(from, "-") == 0) {
        code = read_all(stdin, "the standard input", buf);
    } else if (from[0] == '@') {
        FILE *file = fopen(from + 1, "rb");
        if (file == NULL)
            return cmd_complain(CMD_USAGE, "--data %s: %s", from, strerror(errno));
        code = read_all(file, from + 1, buf);
        fclose(file);
    } else {
        buf_str(buf, from);
    }
    if (code != CMD_OK)
        return code;
    if (json_validate(buf_slice(buf), &text) != KA_OK)
        return cmd_complain(CMD_USAGE, "--data is not JSON: %s", text.text);
    if (json_type(json_trim(buf_slice(buf))) != JSON_OBJECT)
        return cmd_complain(CMD_USAGE, "--data must be a JSON object");
    return CMD_OK;
}

// The type the saga's route names, so that a saga looks the same whoever started it.
static const char *type_of(const struct config *config, const char *saga)
{
    for (size_t i = 0; i < config->route_count; i++) {
        if (strcmp(config->routes[i].saga, saga) == 0)
            return config->routes[i].type;
    }
    return "kasaga.submit";
}

static int send(struct submit *submit, const char *saga)
{
    struct err_text text = {""};
    struct io_kafka_producer *producer = NULL;
    struct command command = {
        .verb = COMMAND_START,
        .time_ms = clock_now_ms(),
        .id = slice_str(submit->key),
        .actor = slice_str(cmd_user()),
        .type = slice_str(type_of(submit->app.config, saga)),
        .source = SLICE_LIT("/kasaga/cli"),
        .tenant = slice_str(submit->tenant),
        .data = json_trim(buf_slice(&submit->data)),
    };
    const struct residency *residency = submit->app.config->residency;
    enum ka_err err = residency == NULL
                          ? KA_OK
                          : residency_admit(residency, command.tenant, command.data,
                                            &command.dataclass, &submit->app.arena, &text);
    if (err != KA_OK)
        return cmd_fail(err, &text);
    struct buf encoded = {0};
    command_encode(&command, &encoded);
    struct output output = {
        .topic = slice_str(cmd_app_topic(&submit->app, "inbox")),
        .partition = submit->partition,
        .key = slice_str(submit->key),
        .value = buf_slice(&encoded),
    };
    err = io_kafka_producer_new(&submit->app.kafka, NULL, &producer, &text);
    if (err == KA_OK)
        err = io_kafka_produce_sync(producer, &output, CMD_CALL_MS, &submit->offset, &text);
    io_kafka_producer_free(&producer);
    buf_fini(&encoded);
    return err == KA_OK ? CMD_OK : cmd_fail(err, &text);
}

static void show_line(const struct submit *submit, const struct history_line *line)
{
    struct buf buf = {0};
    if (submit->common.output == CMD_TEXT) {
        buf_time(&buf, line->time_ms);
        buf_byte(&buf, ' ');
        buf_slice_put(&buf, line->type);
        if (line->step.len > 0) {
            buf_byte(&buf, ' ');
            buf_slice_put(&buf, line->step);
        }
        if (line->code.len > 0) {
            buf_byte(&buf, ' ');
            buf_slice_put(&buf, line->code);
        }
        if (line->message.len > 0) {
            buf_str(&buf, ": ");
            buf_slice_put(&buf, line->message);
        }
    } else {
        buf_slice_put(&buf, line->doc);
    }
    buf_byte(&buf, '\n');
    (void)cmd_write(&buf);
    buf_fini(&buf);
}

// The shard has read our command and committed.
static bool was_read(struct submit *submit)
{
    struct err_text text;
    struct io_kafka_committed entry = {.topic = cmd_app_topic(&submit->app, "inbox"),
                                       .partition = submit->partition};
    enum ka_err err = io_kafka_committed(submit->app.admin, submit->app.config->app, true, SLICE_MS,
                                         &entry, 1, &submit->app.arena, &text);
    return err == KA_OK && entry.offset > submit->offset;
}

// Follows until the saga ends; `from_start`: the one that was started before.
static int watch(struct submit *submit, struct cmd_follow *follow, bool from_start)
{
    struct err_text text = {""};
    enum ka_err err;
    bool seen = false, read = false;
    while (clock_mono_ms() < submit->deadline_ms) {
        struct history_line line;
        switch (cmd_follow_next(follow, SLICE_MS, &submit->app.arena, &line, &err, &text)) {
        case FOLLOW_LINE:
            if (!from_start && line.incarnation != submit->offset)
                break;
            seen = true;
            submit->last = line;
            submit->end = line.end;
            if (submit->follow)
                show_line(submit, &line);
            if (line.end != SAGA_GOES_ON && !from_start)
                return CMD_OK;
            break;
        case FOLLOW_DEAD:
            return cmd_complain(slice_eq(line.code, SLICE_LIT("UNKNOWN_SAGA")) ? CMD_NOT_FOUND
                                                                               : CMD_FAILED,
                                "%s was not started: %.*s: %.*s", submit->key, SLICE_FMT(line.code),
                                SLICE_FMT(line.message));
        case FOLLOW_NOTHING:
        case FOLLOW_END:
            if (from_start && submit->end != SAGA_GOES_ON)
                return CMD_OK;
            if (seen || from_start)
                break;
            submit->repeated = read; // read before, and the history was looked at since
            if (submit->repeated)
                return CMD_OK;
            read = was_read(submit);
            break;
        case FOLLOW_ERROR:
            return cmd_fail(err, &text);
        }
    }
    return CMD_TIMEOUT;
}

static int await(struct submit *submit, struct cmd_follow *follow)
{
    struct err_text text = {""};
    follow->command = submit->offset;
    int code = watch(submit, follow, false);
    if (code != CMD_OK || !submit->repeated)
        return code;
    cmd_note(&submit->common, "%s was started before", submit->key);
    cmd_follow_close(follow);
    enum ka_err err = cmd_follow_open(&submit->app, submit->key, true, false, follow, &text);
    return err == KA_OK ? watch(submit, follow, true) : cmd_fail(err, &text);
}

static void put_place(struct buf *buf, const struct submit *submit)
{
    char place[400];
    snprintf(place, sizeof place, "%s.inbox/%d/%" PRId64, submit->app.config->app,
             submit->partition, submit->offset);
    buf_str(buf, place);
}

static void report_json(struct buf *buf, const struct submit *submit)
{
    struct slice duration = json_member(submit->last.data, SLICE_LIT("duration_ms"));
    buf_str(buf, "{\"key\":");
    buf_json_str(buf, slice_str(submit->key));
    buf_str(buf, ",\"command\":\"");
    put_place(buf, submit);
    buf_byte(buf, '"');
    if (submit->wait) {
        buf_str(buf, ",\"repeated\":");
        buf_str(buf, submit->repeated ? "true" : "false");
        buf_str(buf, ",\"state\":");
        bool unseen = submit->last.doc.len == 0;
        buf_json_str(buf, unseen ? SLICE_LIT("submitted") : slice_str(saga_end_name(submit->end)));
    }
    if (submit->last.incarnation >= 0 && submit->last.doc.len > 0) {
        buf_str(buf, ",\"incarnation\":");
        buf_i64(buf, submit->last.incarnation);
    }
    if (!slice_none(duration)) {
        buf_str(buf, ",\"duration_ms\":");
        buf_slice_put(buf, duration);
    }
    if (submit->last.code.len > 0) {
        buf_str(buf, ",\"code\":");
        buf_json_str(buf, submit->last.code);
        buf_str(buf, ",\"message\":");
        buf_json_str(buf, submit->last.message);
    }
    buf_str(buf, "}\n");
}

static void report_text(struct buf *buf, const struct submit *submit)
{
    struct slice duration = json_member(submit->last.data, SLICE_LIT("duration_ms"));
    int64_t ms = -1;
    buf_str(buf, submit->key);
    if (!submit->wait) {
        buf_str(buf, " submitted as ");
        put_place(buf, submit);
    } else {
        bool unseen = submit->last.doc.len == 0;
        buf_byte(buf, ' ');
        buf_str(buf, unseen ? "not begun: no worker has read it yet" : saga_end_name(submit->end));
    }
    if (!slice_none(duration) && json_i64(duration, &ms)) {
        char text[40];
        snprintf(text, sizeof text, " in %.3f s", (double)ms / 1000);
        buf_str(buf, text);
    }
    if (submit->last.code.len > 0) {
        buf_str(buf, ": ");
        buf_slice_put(buf, submit->last.code);
        if (submit->last.message.len > 0) {
            buf_str(buf, ": ");
            buf_slice_put(buf, submit->last.message);
        }
    }
    buf_byte(buf, '\n');
}

static int report(const struct submit *submit)
{
    struct buf buf = {0};
    if (submit->common.output == CMD_TEXT)
        report_text(&buf, submit);
    else if (!submit->follow) // the documents are the output
        report_json(&buf, submit);
    bool written = cmd_write(&buf);
    buf_fini(&buf);
    return written ? CMD_OK : CMD_FAILED;
}

static int run(struct submit *submit, const char *saga)
{
    struct err_text text = {""};
    struct cmd_follow follow = {0};
    int code = cmd_app_check_topic(&submit->app, cmd_app_topic(&submit->app, "inbox"),
                                   submit->app.config->shards);
    if (code != CMD_OK)
        return code;
    submit->partition = hash_partition(slice_str(submit->key), submit->app.config->shards);
    if (submit->wait) { // before the command is written: nothing of its history is missed
        enum ka_err err = cmd_follow_open(&submit->app, submit->key, false, true, &follow, &text);
        code = err == KA_OK ? CMD_OK : cmd_fail(err, &text);
    }
    if (code == CMD_OK)
        code = send(submit, saga);
    if (code == CMD_OK && submit->wait)
        code = await(submit, &follow);
    cmd_follow_close(&follow);
    if (code != CMD_OK && code != CMD_TIMEOUT)
        return code;
    int reported = report(submit);
    if (reported != CMD_OK || !submit->wait)
        return reported;
    return code == CMD_TIMEOUT ? CMD_TIMEOUT : saga_end_exit(submit->end);
}

int cmd_submit(int argc, char **argv)
{
    struct submit submit = {.last.incarnation = -1};
    const char *id = NULL, *data = NULL, *timeout = NULL;
    int64_t timeout_ms = WAIT_DEFAULT_MS;
    struct cmd_words words;
    char key[2 * ID_MAX];
    const struct cmd_option options[] = {
        {"id", 'i', "ID", "the saga's key is SAGA/ID; doing it twice starts it once", &id, NULL},
        {"data", 'd', "JSON", "the start event: JSON, @FILE or - for stdin; default {}", &data,
         NULL},
        {"tenant", 'T', "NAME", "whose data it is", &submit.tenant, NULL},
        {"wait", 'w', NULL, "until it has ended; the exit code says how", NULL, &submit.wait},
        {"follow", 'f', NULL, "the same, and show what happens", NULL, &submit.follow},
        {"timeout", 't', "TIME", "how long to wait; default 60s", &timeout, NULL},
    };
    const struct cmd_spec spec = {
        .synopsis = "submit SAGA --id ID [--data JSON|@FILE|-] [--tenant NAME] [--wait] [--follow] "
                    "[--timeout TIME]",
        .summary =
            "Starts a saga by a command in the inbox. With --wait the exit code is 0 when it\n"
            "completed, 3 when it was compensated, 4 when it is stuck or was terminated, 75\n"
            "when it has not ended in time.",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
        .words_min = 1,
        .words_max = 1,
    };
    int code;
    if (!cmd_parse(&spec, argc, argv, &submit.common, &words, &code))
        return code;
    if (id == NULL || id[0] == '\0' || strlen(id) > ID_MAX)
        return cmd_complain(CMD_USAGE, "submit: --id is needed, with at most %d bytes", ID_MAX);
    if (timeout != NULL && !cmd_duration(timeout, &timeout_ms))
        return cmd_complain(CMD_USAGE, "--timeout '%s': give it as 500ms, 30s, 5m", timeout);
    submit.wait |= submit.follow;
    submit.deadline_ms = clock_mono_ms() + timeout_ms;
    code = take_data(data, &submit.data);
    if (code == CMD_OK && cmd_app_open(&submit.common, &submit.app, &code)) {
        const struct config_saga *saga = io_conf_saga(submit.app.config, words.items[0]);
        if (saga == NULL || saga->remote) {
            code = cmd_complain(CMD_NOT_FOUND, "no saga '%s' in %s", words.items[0],
                                submit.common.config);
        } else {
            snprintf(key, sizeof key, "%s/%s", words.items[0], id);
            submit.key = key;
            code = run(&submit, words.items[0]);
        }
        cmd_app_close(&submit.app);
    }
    buf_fini(&submit.data);
    return code;
}
