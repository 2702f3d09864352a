// SPDX-License-Identifier: Apache-2.0
// kasaga replay --saga: one instance is run again from its history. What the core writes must be
// what stands in the history, and each state of it that is still in the state topic must be the one
// it comes to, byte for byte.
#include "cmd/cmd_defs.h"
#include "cmd/cmd_replay.h"

#include "core/hash.h"
#include "core/replay.h"
#include "core/state.h"
#include "engine/scan.h"
#include "io/clock.h"
#include "io/print.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { STALL_MS = 10000, BEHIND_MS = 10000, BEHIND_PAUSE_MS = 100, TRIMMED_MAX = 5 };

struct line {
    int64_t offset;
    struct history_doc doc;
};

// A record of the state topic.
struct stored {
    int64_t offset;
    struct slice bytes;
    bool finished;
    struct state_finished end; // if finished
    struct saga *saga;         // else
};

struct run {
    struct cmd_common common;
    struct cmd_app app;
    struct cmd_defs *defs;
    const char *key;
    int32_t partition;
    int64_t incarnation; // -1: the last
    int64_t until;       // history offset; -1: the end
    struct line *lines;  // of this incarnation, in order
    size_t count;
    size_t cap;
    struct stored *states; // of any incarnation, in order
    size_t state_count;
    size_t state_cap;
    struct buf scratch;
    struct replay replay;
    int64_t last; // offset of the last record that was run again
    size_t taken;
    size_t compared; // states
    int64_t compared_last;
    bool later;        // the state topic has a state behind `until`
    const char *ended; // what the state topic remembers of it
};

static void *grow(void *list, size_t count, size_t *cap, size_t size)
{
    if (count < *cap)
        return list;
    *cap = *cap == 0 ? 64 : *cap * 2;
    list = realloc(list, *cap * size);
    if (list == NULL)
        abort();
    return list;
}

// --- what stands in the topics

static enum ka_err take_history(void *context, const struct record *record, struct err_text *text)
{
    struct run *run = context;
    struct arena *arena = &run->app.arena;
    struct history_doc doc;
    if (!slice_eq(record->key, slice_str(run->key)))
        return KA_OK;
    enum ka_err err = history_doc_parse(arena_copy(arena, record->value), arena, &doc, text);
    if (err != KA_OK)
        return err_wrap(text, err, "history offset %" PRId64, record->offset);
    if (doc.incarnation < 0 || (run->incarnation >= 0 && doc.incarnation != run->incarnation))
        return KA_OK;
    if (run->count > 0 && run->lines[0].doc.incarnation != doc.incarnation)
        run->count = 0; // another life began
    run->lines = grow(run->lines, run->count, &run->cap, sizeof *run->lines);
    run->lines[run->count++] = (struct line){record->offset, doc};
    return KA_OK;
}

static enum ka_err take_state(void *context, const struct record *record, struct err_text *text)
{
    struct run *run = context;
    if (!slice_eq(record->key, slice_str(run->key)))
        return KA_OK;
    struct stored stored = {.offset = record->offset,
                            .bytes = arena_copy(&run->app.arena, record->value),
                            .finished = state_kind(record->value) == STATE_FINISHED};
    enum ka_err err =
        stored.finished ? state_finished_decode(record->value, &stored.end, text) : KA_OK;
    if (err != KA_OK)
        return err_wrap(text, err, "state offset %" PRId64, record->offset);
    run->states = grow(run->states, run->state_count, &run->state_cap, sizeof *run->states);
    run->states[run->state_count++] = stored;
    return KA_OK;
}

static enum ka_err scan_topic(struct run *run, const char *name, scan_take *take,
                              struct err_text *text)
{
    struct scan scan = {.kafka = &run->app.kafka,
                        .topic = cmd_app_topic(&run->app, name),
                        .partition = run->partition,
                        .stall_ms = STALL_MS};
    size_t lines = run->count, states = run->state_count;
    // Its owner trims the state topic: what begins there may be gone when it is read.
    for (int again = 0;; again++) {
        run->count = lines;
        run->state_count = states;
        enum ka_err err = io_kafka_watermarks(run->app.admin, scan.topic, scan.partition,
                                              CMD_CALL_MS, &scan.from, &scan.end, text);
        if (err == KA_OK)
            err = scan_records(&scan, take, run, text);
        if (err != KA_ERR_DIVERGED || again == TRIMMED_MAX)
            return err;
    }
}

// --- running it again

// States of this life, decoded. One that was written for another definition cannot be of it.
static enum ka_err decode_states(struct run *run, const struct saga_def *def, struct err_text *text)
{
    size_t kept = 0;
    for (size_t i = 0; i < run->state_count; i++) {
        struct stored stored = run->states[i];
        struct saga_header header = {.incarnation = stored.end.incarnation};
        enum ka_err err = stored.finished ? KA_OK : saga_peek(stored.bytes, &header, text);
        if (err != KA_OK)
            return err_wrap(text, err, "state offset %" PRId64, stored.offset);
        if (header.incarnation != run->lines[0].doc.incarnation)
            continue;
        if (!stored.finished)
            err = saga_decode(stored.bytes, slice_str(run->key), def, &run->app.arena, &stored.saga,
                              text);
        if (err != KA_OK)
            return err_wrap(text, err, "state offset %" PRId64, stored.offset);
        run->states[kept++] = stored;
    }
    run->state_count = kept;
    return KA_OK;
}

static enum ka_err compare_state(struct run *run, const struct stored *stored,
                                 struct err_text *text)
{
    const char *field = replay_difference(run->replay.saga, stored->saga, &run->app.arena);
    size_t from = run->scratch.len;
    saga_encode(run->replay.saga, &run->scratch);
    bool equal =
        slice_eq(slice_of(run->scratch.ptr + from, run->scratch.len - from), stored->bytes);
    run->scratch.len = from;
    if (field != NULL || !equal)
        return err_set(text, KA_ERR_DIFFERS, "%s.state/%d offset %" PRId64 ": %s differs",
                       run->app.config->app, run->partition, stored->offset,
                       field != NULL ? field : "the encoding");
    run->compared++;
    run->compared_last = stored->offset;
    return KA_OK;
}

static enum ka_err compare_states(struct run *run, struct err_text *text)
{
    for (size_t i = 0; i < run->state_count; i++) {
        const struct stored *stored = &run->states[i];
        if (stored->finished || stored->saga->sequence != run->replay.saga->sequence)
            continue;
        enum ka_err err = compare_state(run, stored, text);
        if (err != KA_OK)
            return err;
    }
    return KA_OK;
}

static enum ka_err run_again(struct run *run, struct err_text *text)
{
    const struct saga_def *def = NULL;
    const struct history_doc *first = &run->lines[0].doc;
    if (!first->has_hash)
        return err_set(text, KA_ERR_UNSUPPORTED,
                       "the history of %s@%" PRId64 " does not reach back to its start", run->key,
                       first->incarnation);
    enum ka_err err = cmd_defs_find(run->defs, &first->hash, &def, text);
    if (err == KA_OK)
        err = decode_states(run, def, text);
    if (err != KA_OK)
        return err;
    replay_init(&run->replay, def, slice_str(run->key), NULL, &run->app.arena, &run->scratch);
    for (size_t i = 0; err == KA_OK && i < run->count; i++) {
        bool rests = replay_rests(&run->replay);
        if (run->until >= 0 && run->lines[i].offset > run->until && rests)
            break;
        err = replay_take(&run->replay, &run->lines[i].doc, text);
        if (err != KA_OK)
            return err_wrap(text, err, "%s.history/%d offset %" PRId64, run->app.config->app,
                            run->partition, run->lines[i].offset);
        run->last = run->lines[i].offset;
        run->taken++;
        if (replay_rests(&run->replay))
            err = compare_states(run, text);
    }
    return err;
}

// What of the state topic was not compared yet: the end, and a state that is ahead.
static enum ka_err look_at_rest(struct run *run, bool *behind, struct err_text *text)
{
    const struct saga *saga = run->replay.saga;
    *behind = !replay_rests(&run->replay);
    for (size_t i = 0; i < run->state_count; i++) {
        const struct stored *stored = &run->states[i];
        bool ahead =
            stored->finished ? !saga_finished(saga) : stored->saga->sequence > saga->sequence;
        run->later |= ahead;
        *behind |= ahead && run->until < 0;
        if (!stored->finished || ahead)
            continue;
        run->ended = saga_state_name(saga->state);
        if (stored->end.outcome != (int32_t)saga->state)
            return err_set(text, KA_ERR_DIFFERS,
                           "%s.state/%d offset %" PRId64 " remembers another end than %s",
                           run->app.config->app, run->partition, stored->offset, run->ended);
    }
    return KA_OK;
}

// The state is read before the history, so the history cannot be behind it; only what readers may
// see of the two partitions is not cut at one moment.
static enum ka_err look_and_run(struct run *run, struct err_text *text)
{
    int64_t until_ms = clock_mono_ms() + BEHIND_MS;
    for (;;) {
        bool behind = false;
        run->count = run->state_count = run->taken = run->compared = 0;
        run->later = false;
        run->ended = NULL;
        enum ka_err err = scan_topic(run, "state", take_state, text);
        if (err == KA_OK)
            err = scan_topic(run, "history", take_history, text);
        if (err == KA_OK && run->count == 0)
            return err_set(text, KA_ERR_NOT_FOUND, "there is no history of %s", run->key);
        if (err == KA_OK)
            err = run_again(run, text);
        if (err == KA_OK && run->taken > 0)
            err = look_at_rest(run, &behind, text);
        if (err != KA_OK || !behind)
            return err;
        if (clock_mono_ms() > until_ms)
            return err_set(text, KA_ERR_DIFFERS,
                           "the state is ahead of the history, which ends at offset %" PRId64,
                           run->last);
        clock_sleep_ms(BEHIND_PAUSE_MS);
    }
}

// --- what is said of it

static void put_text(struct buf *buf, const struct run *run)
{
    const char *app = run->app.config->app;
    const struct saga *saga = run->replay.saga;
    buf_print(buf, "%s@%" PRId64 "  %s\n", run->key, saga->incarnation,
              saga_state_name(saga->state));
    buf_print(buf,
              "  %zu records of %s.history/%d run again, the last at offset %" PRId64
              ": as they stand\n",
              run->taken, app, run->partition, run->last);
    if (run->compared > 0)
        buf_print(buf,
                  "  %zu states of %s.state/%d compared, the last at offset %" PRId64
                  ": byte for byte\n",
                  run->compared, app, run->partition, run->compared_last);
    else
        buf_print(buf, "  no state of this time in %s.state/%d\n", app, run->partition);
    if (run->ended != NULL)
        buf_print(buf, "  %s.state/%d remembers it as %s\n", app, run->partition, run->ended);
    if (run->later)
        buf_print(buf, "  it has gone on since\n");
    buf_str(buf, "  state ");
    replay_state_json(saga, buf);
    buf_byte(buf, '\n');
}

static void put_json(struct buf *buf, const struct run *run)
{
    buf_str(buf, "{\"key\":");
    buf_json_str(buf, slice_str(run->key));
    buf_print(buf, ",\"incarnation\":%" PRId64 ",\"partition\":%d,\"records\":%zu",
              run->replay.saga->incarnation, run->partition, run->taken);
    buf_print(buf, ",\"last_offset\":%" PRId64 ",\"states_compared\":%zu", run->last,
              run->compared);
    if (run->compared > 0)
        buf_print(buf, ",\"last_state_offset\":%" PRId64, run->compared_last);
    buf_print(buf,
              ",\"remembered\":%s,\"went_on\":%s,\"state\":", run->ended != NULL ? "true" : "false",
              run->later ? "true" : "false");
    replay_state_json(run->replay.saga, buf);
    buf_str(buf, "}\n");
}

static int report(const struct run *run)
{
    struct buf buf = {0};
    if (run->taken == 0)
        return cmd_complain(CMD_NOT_FOUND, "%s@%" PRId64 " began behind offset %" PRId64, run->key,
                            run->lines[0].doc.incarnation, run->until);
    if (run->common.output == CMD_TEXT)
        put_text(&buf, run);
    else
        put_json(&buf, run);
    bool written = cmd_write(&buf);
    buf_fini(&buf);
    return written ? CMD_OK : CMD_FAILED;
}

static int replay_saga(struct run *run)
{
    struct err_text text = {""};
    int32_t shards = run->app.config->shards;
    run->partition = hash_partition(slice_str(run->key), shards);
    int code = cmd_app_check_topic(&run->app, cmd_app_topic(&run->app, "history"), shards);
    if (code == CMD_OK)
        code = cmd_app_check_topic(&run->app, cmd_app_topic(&run->app, "state"), shards);
    if (code != CMD_OK)
        return code;
    enum ka_err err = cmd_defs_open(&run->app, &run->defs, &text);
    if (err == KA_OK)
        err = look_and_run(run, &text);
    return err == KA_OK ? report(run) : cmd_fail(err, &text);
}

// "order/4711" or "order/4711@17".
static void take_key(struct run *run, char *saga)
{
    char *at = strrchr(saga, '@');
    int64_t incarnation;
    run->key = saga;
    if (at == NULL || !cmd_number(at + 1, 0, INT64_MAX, &incarnation))
        return;
    *at = '\0';
    run->incarnation = incarnation;
}

int cmd_replay(int argc, char **argv)
{
    struct run run = {.incarnation = -1, .until = -1};
    struct replay_into into = {.of = NULL};
    const char *saga = NULL, *until = NULL;
    struct cmd_words words;
    const struct cmd_option options[] = {
        {"saga", 's', "KEY", "the instance: SAGA/ID, or SAGA/ID@N for an earlier life of the id",
         &saga, NULL},
        {"until", 'u', "OFFSET", "up to this record of its partition of the history", &until, NULL},
        {"of", 0, "APP", "read again what APP has read, with the new app of this file", &into.of,
         NULL},
        {"from", 'f', "WHERE", "earliest, a time, 2h ago, or TOPIC:PARTITION:OFFSET,...",
         &into.from, NULL},
        {"effects", 0, NULL, "with effects on the outside; default: answers of APP's history", NULL,
         &into.effects},
        {"yes", 'y', NULL, "carry the plan of --of out", NULL, &into.yes},
    };
    const struct cmd_spec spec = {
        .synopsis = "replay --saga KEY [--until OFFSET]\n"
                    "replay --of APP --from WHERE [--effects] [--yes]",
        .summary =
            "Runs one instance again from its history and shows the state that it comes to.\n"
            "What it writes is compared with the history, and each of its states with the\n"
            "state topic, byte for byte. Nothing is written and no action is invoked. Exit\n"
            "code 1: something differs, and it says what; 5: there is no history of it.",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
    };
    int code;
    if (!cmd_parse(&spec, argc, argv, &run.common, &words, &code))
        return code;
    into.common = run.common;
    if ((saga == NULL) == (into.of == NULL))
        return cmd_complain(CMD_USAGE, "replay: --saga or --of is needed");
    if (into.of != NULL)
        return cmd_replay_into(&into);
    if (until != NULL && !cmd_number(until, 0, INT64_MAX, &run.until))
        return cmd_complain(CMD_USAGE, "--until '%s' is not an offset", until);
    if (!cmd_key_ok(saga))
        return cmd_complain(CMD_USAGE, "'%s' is not of the form SAGA/ID", saga);
    if (!cmd_app_open(&run.common, &run.app, &code))
        return code;
    take_key(&run, arena_str(&run.app.arena, slice_str(saga)));
    code = replay_saga(&run);
    cmd_defs_close(&run.defs);
    free(run.lines);
    free(run.states);
    buf_fini(&run.scratch);
    cmd_app_close(&run.app);
    return code;
}
