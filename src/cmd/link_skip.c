// SPDX-License-Identifier: Apache-2.0
// kasaga link skip: the operator's answer to a source partition that stopped. Shows what it would
// do, writes a command for the slot's owner, and waits until that has obeyed.
#include "cmd/cmd_link.h"
#include "io/clock.h"
#include "io/kafka_producer.h"

#include <inttypes.h>
#include <stdio.h>

enum { OBEY_MS = 15000, LOOK_MS = 300 };

struct plan {
    const char *source;
    const char *topic;
    int32_t partition;
    struct link_row row;
    int64_t start; // of the source; -1 = it does not say
    int64_t end;
    int64_t to;
};

static int take_to(struct plan *plan, const char *to)
{
    if (strcmp(to, "start") == 0)
        plan->to = plan->start;
    else if (strcmp(to, "end") == 0)
        plan->to = plan->end;
    else if (!cmd_number(to, 0, INT64_MAX, &plan->to))
        return cmd_complain(CMD_USAGE, "--to '%s': an offset, start or end", to);
    if (plan->start < 0 || plan->end < 0)
        return cmd_complain(CMD_UNREACHABLE, "the source does not say where %s/%d begins and ends",
                            plan->topic, plan->partition);
    if (plan->to < plan->start || plan->to > plan->end)
        return cmd_complain(CMD_USAGE, "--to %" PRId64 ": the source has %" PRId64 " to %" PRId64,
                            plan->to, plan->start, plan->end);
    return CMD_OK;
}

static int make_plan(struct cmd_app *app, struct plan *plan, const char *to)
{
    struct err_text text = {""};
    struct link_source source;
    int code;
    if (!link_source_open(app, plan->source, &source, &code))
        return code;
    struct io_kafka_edge edges[2] = {{plan->topic, plan->partition, -1},
                                     {plan->topic, plan->partition, -1}};
    enum ka_err err = io_kafka_edges(source.admin, false, &edges[0], 1, CMD_CALL_MS, &text);
    if (err == KA_OK)
        err = io_kafka_edges(source.admin, true, &edges[1], 1, CMD_CALL_MS, &text);
    link_source_close(&source);
    if (err != KA_OK)
        return cmd_fail(err, &text);
    plan->start = edges[0].offset;
    plan->end = edges[1].offset;
    return take_to(plan, to);
}

static void show(const struct plan *plan)
{
    const struct link_progress *progress = &plan->row.progress;
    fprintf(stderr, "link %s, %s/%d -> %.*s\n", plan->source, plan->topic, plan->partition,
            SLICE_FMT(progress->target));
    if (progress->stopped.len > 0)
        fprintf(stderr, "  stopped  %.*s\n", (int)progress->stopped.len, progress->stopped.ptr);
    fprintf(stderr, "  next     %" PRId64 "; the source has %" PRId64 " to %" PRId64 "\n",
            progress->next, plan->start, plan->end);
    if (plan->to > progress->next)
        fprintf(stderr,
                "  to       %" PRId64 ": offsets %" PRId64 " to %" PRId64 " are not copied\n",
                plan->to, progress->next, plan->to - 1);
    else if (plan->to < progress->next)
        fprintf(stderr,
                "  to       %" PRId64 ": what the source has from there on is copied, also what "
                "may have been copied before\n",
                plan->to);
    else
        fprintf(stderr, "  to       %" PRId64 ": as it stands; the source is taken as it is\n",
                plan->to);
}

static int give_command(struct cmd_app *app, const struct plan *plan, const char *reason,
                        int64_t *offset)
{
    struct err_text text = {""};
    struct io_kafka_producer *producer = NULL;
    struct buf buf = {0};
    struct link_skip skip = {.source = slice_str(plan->source),
                             .topic = slice_str(plan->topic),
                             .partition = plan->partition,
                             .from = plan->row.progress.next,
                             .to = plan->to,
                             .actor = slice_str(cmd_user()),
                             .reason = slice_str(reason),
                             .time_ms = clock_now_ms()};
    buf_slice_put(&buf, LINK_SKIP_PREFIX);
    link_key(skip.source, skip.topic, skip.partition, &buf);
    size_t key_len = buf.len;
    link_skip_encode(&skip, &buf);
    struct output output = {.topic = slice_str(cmd_app_topic(app, "links")),
                            .partition = plan->row.slot,
                            .key = slice_of(buf.ptr, key_len),
                            .value = slice_of(buf.ptr + key_len, buf.len - key_len)};
    enum ka_err err = io_kafka_producer_new(&app->kafka, NULL, &producer, &text);
    if (err == KA_OK) {
        err = io_kafka_produce_sync(producer, &output, CMD_CALL_MS, offset, &text);
        io_kafka_producer_free(&producer);
    }
    buf_fini(&buf);
    return err == KA_OK ? CMD_OK : cmd_fail(err, &text);
}

static int await_obedience(struct cmd_app *app, const struct plan *plan, int64_t command)
{
    int64_t until_ms = clock_mono_ms() + OBEY_MS;
    while (clock_mono_ms() < until_ms) {
        struct link_rows rows;
        int code = link_rows_read(app, &rows);
        if (code != CMD_OK)
            return code;
        const struct link_row *row =
            link_row_find(&rows, plan->source, plan->topic, plan->partition);
        if (row != NULL && row->progress.control >= command)
            return CMD_OK;
        if (row != NULL && row->progress.next != plan->row.progress.next)
            return cmd_complain(CMD_FAILED, "not obeyed: the link has moved on to %" PRId64,
                                row->progress.next);
        clock_sleep_ms(LOOK_MS);
    }
    return cmd_complain(CMD_TIMEOUT,
                        "the command is written, but nobody has obeyed it in %d s: does a link "
                        "process run?",
                        OBEY_MS / 1000);
}

int cmd_link_skip(struct cmd_app *app, const struct cmd_common *common, const char *source,
                  const char *place, const struct link_options *options)
{
    struct plan plan = {.source = source};
    struct link_rows rows;
    int64_t command = -1;
    if (!link_place(app, place, &plan.topic, &plan.partition))
        return cmd_complain(CMD_USAGE, "'%s' is not of the form TOPIC/PARTITION", place);
    if (options->to == NULL)
        return cmd_complain(CMD_USAGE, "link skip: where to? --to OFFSET, start or end");
    if (options->reason == NULL || options->reason[0] == '\0' ||
        strlen(options->reason) > LINK_TEXT_MAX)
        return cmd_complain(CMD_USAGE, "link skip: --reason, at most %d bytes", LINK_TEXT_MAX);
    int code = link_rows_read(app, &rows);
    if (code != CMD_OK)
        return code;
    const struct link_row *row = link_row_find(&rows, source, plan.topic, plan.partition);
    if (row == NULL)
        return cmd_complain(CMD_NOT_FOUND, "%s/%d was never copied from %s", plan.topic,
                            plan.partition, source);
    plan.row = *row;
    code = make_plan(app, &plan, options->to);
    if (code != CMD_OK)
        return code;
    show(&plan);
    if (!options->yes && !cmd_confirm("skip?"))
        return cmd_complain(CMD_FAILED, "nothing was changed; --yes does it");
    code = give_command(app, &plan, options->reason, &command);
    if (code == CMD_OK)
        code = await_obedience(app, &plan, command);
    if (code == CMD_OK)
        cmd_note(common, "done");
    return code;
}
