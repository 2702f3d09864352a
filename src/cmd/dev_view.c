// SPDX-License-Identifier: Apache-2.0
#include "cmd/dev_view.h"

#include "core/assert.h"
#include "core/hash.h"
#include "core/json.h"
#include "io/print.h"

#include <stdio.h>
#include <stdlib.h>

enum { RESULT_MAX = 60 }; // bytes of a result that fit on a line

// What a line says behind its words.
enum tail { TAIL_NONE, TAIL_RESULT, TAIL_REASON, TAIL_DURATION };

static const struct look {
    const char *type;
    const char *words;
    const char *color; // SGR
    enum tail tail;
} looks[] = {
    {"saga.started", "started", "2", TAIL_NONE},
    {"saga.completed", "COMPLETED", "32", TAIL_DURATION},
    {"saga.compensating", "is undone, last step first", "33", TAIL_NONE},
    {"saga.compensated", "COMPENSATED", "1;33", TAIL_DURATION},
    {"saga.stuck", "STUCK", "1;31", TAIL_REASON},
    {"saga.paused", "paused", "35", TAIL_REASON},
    {"saga.resumed", "resumed", "35", TAIL_REASON},
    {"saga.terminated", "TERMINATED", "1;31", TAIL_REASON},
    {"step.completed", "done", "0", TAIL_RESULT},
    {"step.failed", "refused", "31", TAIL_REASON},
    {"step.retrying", "tried again", "33", TAIL_REASON},
    {"step.skipped", "skipped", "2", TAIL_NONE},
    {"step.late", "came late", "2", TAIL_NONE},
    {"compensation.completed", "undone", "33", TAIL_RESULT},
    {"compensation.failed", "not undone", "1;31", TAIL_REASON},
    {"compensation.retrying", "undone again", "33", TAIL_REASON},
};

void dev_view_fini(struct dev_view *view)
{
    free(view->orders);
    *view = (struct dev_view){.orders = NULL};
}

void dev_view_add(struct dev_view *view)
{
    if (view->count == view->cap) {
        view->cap = view->cap == 0 ? 256 : view->cap * 2;
        view->orders = realloc(view->orders, (size_t)view->cap * sizeof *view->orders);
        if (view->orders == NULL)
            abort();
    }
    view->orders[view->count++] = (struct dev_order){.sequence = -1, .end = SAGA_GOES_ON};
}

int64_t dev_view_unfinished(const struct dev_view *view)
{
    int64_t ended = 0;
    for (int end = SAGA_END_COMPLETED; end <= SAGA_END_TERMINATED; end++)
        ended += view->ended[end];
    return view->count - ended;
}

static void set_color(const struct dev_view *view, struct buf *buf, const char *color)
{
    if (view->color)
        buf_print(buf, "\033[%sm", color);
}

// ---- Counting
// ------------------------------------------------------------------------------------

// "order/1010" -> its order; NULL if it is none of ours.
static struct dev_order *find_order(struct dev_view *view, struct slice key)
{
    const struct slice prefix = SLICE_LIT("order/");
    int64_t number = 0;
    if (!slice_starts(key, prefix) || key.len == prefix.len || key.len > prefix.len + 18)
        return NULL;
    for (size_t i = prefix.len; i < key.len; i++) {
        if (key.ptr[i] < '0' || key.ptr[i] > '9')
            return NULL;
        number = number * 10 + (key.ptr[i] - '0');
    }
    number -= view->first;
    return number < 0 || number >= view->count ? NULL : &view->orders[number];
}

static bool count_line(struct dev_view *view, struct dev_order *order,
                       const struct history_line *line)
{
    if (line->sequence <= order->sequence)
        return false;
    view->started += order->sequence < 0;
    order->sequence = (int32_t)line->sequence;
    if (line->end == SAGA_GOES_ON)
        return true;
    // A saga that was stuck can go on and end again.
    if (order->end != SAGA_GOES_ON)
        view->ended[order->end]--;
    order->end = line->end;
    view->ended[line->end]++;
    if (line->end == SAGA_END_COMPENSATED && view->first_compensated_ms == 0)
        view->first_compensated_ms = line->time_ms - view->started_ms;
    return true;
}

// ---- Showing
// -------------------------------------------------------------------------------------

static const struct look *look_of(struct slice type)
{
    for (size_t i = 0; i < sizeof looks / sizeof looks[0]; i++) {
        if (slice_eq(type, slice_str(looks[i].type)))
            return &looks[i];
    }
    return NULL;
}

// Bytes of others on a terminal: printable ASCII as it is, one '?' for anything else.
static void put_foreign(struct buf *buf, struct slice text, size_t max)
{
    for (size_t i = 0; i < text.len && i < max; i++)
        buf_byte(buf, text.ptr[i] < ' ' || text.ptr[i] > '~' ? '?' : text.ptr[i]);
    if (text.len > max)
        buf_str(buf, "...");
}

static void put_column(struct buf *buf, struct slice text, size_t width)
{
    put_foreign(buf, text, RESULT_MAX);
    for (size_t i = text.len; i < width; i++)
        buf_byte(buf, ' ');
    buf_byte(buf, ' ');
}

static void put_tail(struct buf *buf, enum tail tail, const struct history_line *line)
{
    int64_t duration_ms;
    switch (tail) {
    case TAIL_NONE:
        break;
    case TAIL_RESULT: {
        struct slice result = json_member(line->data, SLICE_LIT("result"));
        if (slice_none(result))
            break;
        buf_str(buf, "  ");
        put_foreign(buf, result, RESULT_MAX);
        break;
    }
    case TAIL_REASON:
        buf_str(buf, "  ");
        put_foreign(buf, line->message.len > 0 ? line->message : line->reason, RESULT_MAX);
        break;
    case TAIL_DURATION:
        if (json_i64(json_member(line->data, SLICE_LIT("duration_ms")), &duration_ms))
            buf_print(buf, " in %lld ms", (long long)duration_ms);
        break;
    }
}

static void put_line(const struct dev_view *view, struct slice key, const struct look *look,
                     const struct history_line *line, struct buf *buf)
{
    static const char *const colors[] = {"36", "34", "35", "96", "94", "95"};
    buf_print(buf, "%7.3f  ", (double)(line->time_ms - view->started_ms) / 1000);
    set_color(view, buf, colors[hash_bytes(key, 0) % (sizeof colors / sizeof colors[0])]);
    put_column(buf, key, 12);
    set_color(view, buf, "0");
    put_column(buf, line->step, 9);
    set_color(view, buf, look->color);
    buf_str(buf, look->words);
    put_tail(buf, look->tail, line);
    set_color(view, buf, "0");
    buf_byte(buf, '\n');
}

bool dev_view_line(struct dev_view *view, struct slice key, const struct history_line *line,
                   struct buf *buf)
{
    struct dev_order *order = find_order(view, key);
    if (order != NULL && !count_line(view, order, line))
        return false;
    if (view->output == CMD_JSONL) {
        json_compact(buf, line->doc); // data of others may hold newlines
        buf_byte(buf, '\n');
        return true;
    }
    const struct look *look = look_of(line->type);
    if (look != NULL)
        put_line(view, key, look, line, buf);
    return true;
}

static void put_summary_json(const struct dev_view *view, int64_t ran_ms, struct buf *buf)
{
    buf_print(
        buf,
        "{\"type\":\"kasaga.dev.ended\",\"orders\":%lld,\"completed\":%lld,\"compensated\":%lld,"
        "\"stuck\":%lld,\"unfinished\":%lld,\"milliseconds\":%lld",
        (long long)view->count, (long long)view->ended[SAGA_END_COMPLETED],
        (long long)view->ended[SAGA_END_COMPENSATED],
        (long long)(view->ended[SAGA_END_STUCK] + view->ended[SAGA_END_TERMINATED]),
        (long long)dev_view_unfinished(view), (long long)ran_ms);
    if (view->first_compensated_ms > 0)
        buf_print(buf, ",\"first_compensated_ms\":%lld", (long long)view->first_compensated_ms);
    buf_str(buf, "}\n");
}

void dev_view_summary(const struct dev_view *view, int64_t now_ms, struct buf *buf)
{
    int64_t ran_ms = now_ms - view->started_ms;
    int64_t stuck = view->ended[SAGA_END_STUCK] + view->ended[SAGA_END_TERMINATED];
    if (view->output == CMD_JSONL) {
        put_summary_json(view, ran_ms, buf);
        return;
    }
    buf_print(buf, "%lld orders: %lld completed, %lld compensated", (long long)view->count,
              (long long)view->ended[SAGA_END_COMPLETED],
              (long long)view->ended[SAGA_END_COMPENSATED]);
    if (stuck > 0)
        buf_print(buf, ", %lld stuck", (long long)stuck);
    if (dev_view_unfinished(view) > 0)
        buf_print(buf, ", %lld unfinished", (long long)dev_view_unfinished(view));
    buf_print(buf, " in %.1f s", (double)ran_ms / 1000);
    if (view->first_compensated_ms > 0)
        buf_print(buf, "; the first compensated saga after %.1f s",
                  (double)view->first_compensated_ms / 1000);
    buf_byte(buf, '\n');
}
