// SPDX-License-Identifier: Apache-2.0
// kasaga link translate: where a consumer group of the source goes on in this cluster. Exact: the
// copies of a partition stand in the order of the source and each names its source offset
// (kasaga-origin), so the first copy at or after an offset is found by halving. Markers of
// transactions and records that were dropped have no copies and need none.
#include "cmd/cmd_link.h"
#include "core/origin.h"
#include "io/clock.h"
#include "io/print.h"

#include <inttypes.h>
#include <stdio.h>

enum { READ_MS = 10000, POLL_MS = 100 };

struct place {
    const struct link_progress *progress;
    const char *target;
    int64_t from;  // committed in the source
    int64_t to;    // here
    int64_t again; // records that will come again: the group is ahead of the link
};

struct search {
    struct io_kafka_reader *reader;
    const struct place *place;
    int64_t end; // where the target ended when it was read to its end
};

// The first copy of this source partition at or after an offset of the target. KA_ERR_NOT_FOUND:
// there is none up to the end.
static enum ka_err first_copy(struct search *search, int64_t at, int64_t *offset, int64_t *born,
                              struct err_text *text)
{
    const struct link_progress *progress = search->place->progress;
    int64_t until_ms = clock_mono_ms() + READ_MS;
    enum ka_err found = KA_ERR_TIMEOUT;
    enum ka_err err =
        io_kafka_reader_add(search->reader, search->place->target, progress->partition, at, text);
    while (err == KA_OK && found == KA_ERR_TIMEOUT && clock_mono_ms() < until_ms) {
        struct record record;
        struct origin origin;
        switch (io_kafka_reader_next(search->reader, POLL_MS, &record, &err, text)) {
        case IO_KAFKA_READ_NOTHING:
            break;
        case IO_KAFKA_READ_END:
            search->end = record.offset;
            found = KA_ERR_NOT_FOUND;
            break;
        case IO_KAFKA_READ_ERROR:
            if (err_class(err) == ERR_CLASS_RETRY)
                err = KA_OK;
            break;
        case IO_KAFKA_READ_RECORD:
            if (origin_decode(origin_of(&record), &origin, NULL) != KA_OK ||
                !slice_eq(origin.cluster, progress->cluster) ||
                !slice_eq(origin.topic, progress->topic) || origin.partition != progress->partition)
                break;
            *offset = record.offset;
            *born = origin.offset;
            found = KA_OK;
            break;
        }
    }
    struct err_text ignored;
    (void)!io_kafka_reader_remove(search->reader, search->place->target, progress->partition,
                                  &ignored);
    if (err == KA_OK && found == KA_ERR_TIMEOUT)
        return err_set(text, KA_ERR_TIMEOUT, "%s/%d did not answer in %d ms", search->place->target,
                       progress->partition, READ_MS);
    return err != KA_OK ? err : found;
}

static enum ka_err translate(struct cmd_app *app, struct search *search, struct place *place,
                             struct err_text *text)
{
    int64_t low, high;
    int64_t best = -1;
    enum ka_err err = io_kafka_watermarks(app->admin, place->target, place->progress->partition,
                                          CMD_CALL_MS, &low, &high, text);
    search->place = place;
    search->end = high;
    if (err == KA_OK && low == high) // nothing there
        best = high;
    while (err == KA_OK && low < high) {
        int64_t middle = low + (high - low) / 2;
        int64_t offset = 0, born = 0;
        err = first_copy(search, middle, &offset, &born, text);
        if (err == KA_ERR_NOT_FOUND) {
            err = KA_OK;
            high = middle;
        } else if (err == KA_OK && born >= place->from) {
            best = offset;
            high = middle;
        } else if (err == KA_OK) {
            low = offset + 1;
        }
    }
    place->to = best >= 0 ? best : search->end;
    int64_t next = place->progress->next;
    place->again = place->from > next ? place->from - next : 0;
    return err;
}

// ---- The group

static size_t list_places(struct cmd_app *app, const struct link_rows *rows, const char *source,
                          struct place *places, struct io_kafka_committed *entries)
{
    const char *inbox = cmd_app_topic(app, "inbox");
    size_t count = 0;
    for (size_t i = 0; i < rows->count; i++) {
        const struct link_progress *progress = &rows->rows[i].progress;
        if (!slice_eq(progress->source, slice_str(source)) || progress->target.len == 0 ||
            slice_eq(progress->target, slice_str(inbox)))
            continue;
        places[count] = (struct place){.progress = progress,
                                       .target = arena_str(&app->arena, progress->target)};
        entries[count++] = (struct io_kafka_committed){
            .topic = arena_str(&app->arena, progress->topic), .partition = progress->partition};
    }
    return count;
}

static enum ka_err translate_all(struct cmd_app *app, struct place *places,
                                 const struct io_kafka_committed *entries, size_t count,
                                 size_t *kept, struct err_text *text)
{
    struct search search = {.reader = NULL};
    enum ka_err err = io_kafka_reader_new(&app->kafka, true, &search.reader, text);
    for (size_t i = 0; i < count && err == KA_OK; i++) {
        if (entries[i].offset < 0)
            continue;
        struct place place = places[i];
        place.from = entries[i].offset;
        err = translate(app, &search, &place, text);
        places[(*kept)++] = place;
    }
    if (search.reader != NULL)
        io_kafka_reader_free(&search.reader);
    return err;
}

static void tell(struct buf *buf, enum cmd_output output, const struct place *places, size_t count)
{
    buf_str(buf, output == CMD_JSON ? "[" : "");
    for (size_t i = 0; i < count; i++) {
        const struct link_progress *progress = &places[i].progress[0];
        if (output == CMD_TEXT) {
            buf_print(buf, "%.*s/%d %" PRId64 " -> ", SLICE_FMT(progress->topic),
                      progress->partition, places[i].from);
            buf_print(buf, "%s/%d %" PRId64, places[i].target, progress->partition, places[i].to);
            if (places[i].again > 0)
                buf_print(buf, "  not copied yet: the last %" PRId64 " offsets come again",
                          places[i].again);
            buf_byte(buf, '\n');
            continue;
        }
        buf_str(buf, output == CMD_JSON && i > 0 ? ",{\"topic\":" : "{\"topic\":");
        buf_json_str(buf, progress->topic);
        buf_print(buf, ",\"partition\":%d,\"offset\":%" PRId64 ",\"target\":", progress->partition,
                  places[i].from);
        buf_json_str(buf, slice_str(places[i].target));
        buf_print(buf, ",\"target_offset\":%" PRId64 ",\"again\":%" PRId64 "}%s", places[i].to,
                  places[i].again, output == CMD_JSONL ? "\n" : "");
    }
    buf_str(buf, output == CMD_JSON ? "]\n" : "");
}

static int write_offsets(struct cmd_app *app, const char *group, const struct place *places,
                         size_t count)
{
    struct err_text text = {""};
    struct io_kafka_committed *entries = arena_zalloc(&app->arena, count * sizeof *entries);
    for (size_t i = 0; i < count; i++)
        entries[i] = (struct io_kafka_committed){.topic = places[i].target,
                                                 .partition = places[i].progress->partition,
                                                 .offset = places[i].to};
    enum ka_err err =
        io_kafka_commit_offsets(app->admin, group, entries, count, CMD_CALL_MS, &text);
    return err == KA_OK ? CMD_OK : cmd_fail(err, &text);
}

int cmd_link_translate(struct cmd_app *app, const struct cmd_common *common, const char *source,
                       const struct link_options *options)
{
    struct err_text text = {""};
    struct link_source from;
    struct link_rows rows;
    struct buf buf = {0};
    size_t kept = 0;
    if (options->group == NULL)
        return cmd_complain(CMD_USAGE, "link translate: which group of the source? --group NAME");
    int code = link_rows_read(app, &rows);
    if (code != CMD_OK || !link_source_open(app, source, &from, &code))
        return code;
    struct place *places = arena_zalloc(&app->arena, (rows.count + 1) * sizeof *places);
    struct io_kafka_committed *entries =
        arena_zalloc(&app->arena, (rows.count + 1) * sizeof *entries);
    size_t count = list_places(app, &rows, source, places, entries);
    enum ka_err err = io_kafka_committed(from.admin, options->group, false, CMD_CALL_MS, entries,
                                         count, &app->arena, &text);
    link_source_close(&from);
    if (err == KA_OK)
        err = translate_all(app, places, entries, count, &kept, &text);
    if (err != KA_OK)
        return cmd_fail(err, &text);
    if (kept == 0)
        return cmd_complain(CMD_NOT_FOUND,
                            "group %s has no offsets in topics that are copied from %s",
                            options->group, source);
    tell(&buf, common->output, places, kept);
    bool written = cmd_write(&buf);
    buf_fini(&buf);
    if (!written)
        return CMD_FAILED;
    if (!options->yes) {
        cmd_note(common, "nothing was changed; --yes writes these offsets for group %s here",
                 options->group);
        return CMD_OK;
    }
    return write_offsets(app, options->group, places, kept);
}
