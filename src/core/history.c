// SPDX-License-Identifier: Apache-2.0
// The hottest formatter of the product: five documents per saga. So the room is reserved once for
// the worst case and everything is copied with a bare pointer; texts are copied eight bytes at a
// time as long as nothing in them needs an escape; the key is escaped once per document.
#include "core/history.h"

#include "core/assert.h"

// Member names, punctuation, numbers, times and the definition's hash of the longest document are
// under 900 bytes.
enum { FIXED_MAX = 1024, ESCAPED_MAX = 6 };
enum { SHORT_TEXT_MAX = 32, SHORT_CAUSE_MAX = 280 }; // a cause is at most a topic and two numbers

struct doc {
    struct buf *buf; // its room holds the whole document
    char *at;
    const char *key; // the key escaped, without quotes, as it stands in the document
    size_t key_len;
};

static inline void put(struct doc *doc, const char *bytes, size_t len)
{
    memcpy(doc->at, bytes, len);
    doc->at += len;
}

#define PUT(doc, literal) put((doc), ("" literal), sizeof(literal) - 1)

// True if one of the eight bytes is a control, a quote, a backslash, DEL or not ASCII.
static inline bool needs_escape(uint64_t word)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint64_t high = UINT64_C(0x8080808080808080);
    uint64_t quote = word ^ ones * '"';
    uint64_t slash = word ^ ones * '\\';
    uint64_t del = word ^ ones * 0x7F;
    uint64_t hit = (word - ones * 0x20) | (quote - ones) | (slash - ones) | (del - ones) | word;
    return (hit & high) != 0;
}

// Copies while no escape is needed; false at the first byte that needs one.
static inline bool put_plain(struct doc *doc, struct slice s)
{
    size_t at = 0;
    for (; at + 8 <= s.len; at += 8) {
        uint64_t word;
        memcpy(&word, s.ptr + at, 8);
        if (needs_escape(word))
            return false;
        memcpy(doc->at + at, &word, 8);
    }
    for (; at < s.len; at++) {
        unsigned char c = (unsigned char)s.ptr[at];
        if (c < 0x20 || c >= 0x7F || c == '"' || c == '\\')
            return false;
        doc->at[at] = (char)c;
    }
    doc->at += s.len;
    return true;
}

// A JSON string with its quotes.
static void put_text(struct doc *doc, struct slice s)
{
    char *start = doc->at;
    *doc->at++ = '"';
    if (put_plain(doc, s)) {
        *doc->at++ = '"';
        return;
    }
    doc->buf->len = (size_t)(start - doc->buf->ptr);
    buf_json_str(doc->buf, s);
    doc->at = doc->buf->ptr + doc->buf->len;
}

static void put_i64(struct doc *doc, int64_t value)
{
    char digits[20];
    size_t pos = sizeof digits;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    if (value < 0)
        *doc->at++ = '-';
    do {
        digits[--pos] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    put(doc, digits + pos, sizeof digits - pos);
}

static void put_time(struct doc *doc, int64_t unix_ms)
{
    doc->buf->len = (size_t)(doc->at - doc->buf->ptr);
    buf_json_time(doc->buf, unix_ms);
    doc->at = doc->buf->ptr + doc->buf->len;
}

static void put_key(struct doc *doc)
{
    put(doc, doc->key, doc->key_len);
}

// ,"name":"text" unless it is empty.
static void put_member(struct doc *doc, const char *name, size_t name_len, struct slice text)
{
    if (text.len == 0)
        return;
    put(doc, name, name_len);
    put_text(doc, text);
}

#define MEMBER(doc, name, text)                                                                    \
    put_member((doc), ",\"" name "\":", sizeof(",\"" name "\":") - 1, (text))

// --- the envelope

static void put_identity(struct doc *doc, const struct saga *saga)
{
    put_key(doc);
    PUT(doc, "@");
    put_i64(doc, saga->incarnation);
}

static void put_attributes(struct doc *doc, const struct saga *saga, const struct transition *t,
                           const struct history_context *context)
{
    PUT(doc, "{\"specversion\":\"1.0\",\"id\":");
    char *key = doc->at + 1;
    put_text(doc, saga->key);
    doc->key = key;
    doc->key_len = (size_t)(--doc->at - key); // the id goes on
    PUT(doc, "@");
    put_i64(doc, saga->incarnation);
    PUT(doc, "#");
    put_i64(doc, t->sequence);
    PUT(doc, "\",\"source\":");
    put_text(doc, context->source);
    PUT(doc, ",\"type\":\"");
    struct slice type = slice_str(transition_type_name(t->type));
    put(doc, type.ptr, type.len);
    PUT(doc, "\",\"subject\":\"");
    put_key(doc);
    PUT(doc, "\",\"time\":");
    put_time(doc, t->time_ms);
    PUT(doc, ",\"datacontenttype\":\"application/json\",\"sagaid\":\"");
    put_identity(doc, saga);
    PUT(doc, "\",\"sequence\":");
    put_i64(doc, t->sequence);
}

static void put_extensions(struct doc *doc, const struct saga *saga, const struct transition *t,
                           const struct history_context *context)
{
    if (t->step >= 0)
        MEMBER(doc, "step", slice_str(saga->def->steps[t->step].name));
    if (t->step >= 0 && t->attempt > 0) {
        PUT(doc, ",\"attempt\":");
        put_i64(doc, t->attempt);
    }
    MEMBER(doc, "tenant", saga->tenant);
    MEMBER(doc, "dataclass", saga->dataclass);
    char span[TRACE_PARENT_LEN];
    bool attempt = t->step >= 0 && t->attempt > 0;
    MEMBER(doc, "traceparent",
           attempt ? saga_traceparent(saga, t->step, t->attempt, t->compensation, span)
                   : saga->traceparent);
    MEMBER(doc, "cause", context->cause);
    MEMBER(doc, "executedby", slice_str(context->node));
}

// --- the data

static void put_hex(struct doc *doc, const unsigned char *bytes, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        *doc->at++ = hex[bytes[i] >> 4];
        *doc->at++ = hex[bytes[i] & 15];
    }
}

static void put_truncated(struct doc *doc, const struct transition *t)
{
    if (t->truncated == 0)
        return;
    PUT(doc, ",\"truncated\":");
    put_i64(doc, (int64_t)t->truncated);
}

static void put_start(struct doc *doc, const struct saga *saga, const struct transition *t)
{
    PUT(doc, "\"definition\":");
    put_text(doc, slice_str(saga->def->name));
    PUT(doc, ",\"version\":");
    put_i64(doc, saga->def->version);
    PUT(doc, ",\"hash\":\"");
    put_hex(doc, saga->def->id.bytes, DEF_ID_SIZE);
    PUT(doc, "\",\"event\":{\"id\":");
    put_text(doc, saga->event_id);
    PUT(doc, ",\"type\":");
    put_text(doc, saga->type);
    PUT(doc, ",\"source\":");
    put_text(doc, saga->source);
    PUT(doc, "}");
    if (t->truncated == 0) {
        PUT(doc, ",\"data\":");
        put(doc, t->data.ptr, t->data.len);
    }
    put_truncated(doc, t);
}

static void put_operator(struct doc *doc, const struct transition *t)
{
    MEMBER(doc, "actor", t->actor);
    MEMBER(doc, "reason", t->reason);
}

static void put_state(struct doc *doc, const struct saga *saga, const struct transition *t)
{
    PUT(doc, "\"state\":");
    put_text(doc, slice_str(saga_state_name(t->state)));
    MEMBER(doc, "code", t->code);
    MEMBER(doc, "message", t->message);
    PUT(doc, ",\"duration_ms\":");
    put_i64(doc, t->time_ms - saga->started_ms);
    put_operator(doc, t);
}

static void put_step(struct doc *doc, const struct saga *saga, const struct transition *t)
{
    const struct step_def *step = &saga->def->steps[t->step];
    PUT(doc, "\"index\":");
    put_i64(doc, t->step);
    MEMBER(doc, "action", slice_str(t->compensation ? step->compensate_name : step->action_name));
    if (step->group > 0)
        MEMBER(doc, "group", slice_str(step->group_name));
    if (t->compensation)
        PUT(doc, ",\"compensation\":true");
    if (t->input.len > 0) {
        PUT(doc, ",\"input\":");
        put(doc, t->input.ptr, t->input.len);
    }
    if (t->data.len > 0) {
        PUT(doc, ",\"result\":");
        put(doc, t->data.ptr, t->data.len);
    }
    put_truncated(doc, t);
    MEMBER(doc, "code", t->code);
    MEMBER(doc, "message", t->message);
    if (t->due_ms > 0) {
        PUT(doc, ",\"due\":");
        put_time(doc, t->due_ms);
    }
    PUT(doc, ",\"idempotency_key\":\"");
    put_identity(doc, saga);
    PUT(doc, "/");
    if (!put_plain(doc, slice_str(step->name))) { // drop its opening quote, keep the text
        char *start = doc->at;
        put_text(doc, slice_str(step->name));
        size_t len = (size_t)(doc->at - start) - 2;
        memmove(start, start + 1, len);
        doc->at = start + len;
    }
    if (t->compensation)
        PUT(doc, "/undo");
    PUT(doc, "\"");
    if (t->maybe_done)
        PUT(doc, ",\"maybe_done\":true");
    MEMBER(doc, "region", t->region);
    MEMBER(doc, "placement", t->placement);
    MEMBER(doc, "executed_by", t->executed_by);
    put_operator(doc, t);
}

// --- the document

static size_t text_len(const char *text)
{
    return text == NULL ? 0 : strlen(text);
}

// No document of this transition is longer.
static size_t worst_case(const struct saga *saga, const struct transition *t,
                         const struct history_context *context)
{
    size_t texts = 5 * saga->key.len + context->source.len + context->cause.len +
                   text_len(context->node) + saga->tenant.len + saga->dataclass.len +
                   saga->traceparent.len + t->code.len + t->message.len + t->actor.len +
                   t->reason.len + t->region.len + t->placement.len + t->executed_by.len;
    if (t->type == TRANSITION_SAGA_STARTED)
        texts += strlen(saga->def->name) + saga->event_id.len + saga->type.len + saga->source.len;
    if (t->step >= 0) {
        const struct step_def *step = &saga->def->steps[t->step];
        texts +=
            3 * strlen(step->name) + text_len(step->action_name) + text_len(step->compensate_name);
        texts += text_len(step->group_name);
    }
    return FIXED_MAX + ESCAPED_MAX * texts + t->data.len + t->input.len;
}

void history_format(const struct saga *saga, const struct transition *transition,
                    const struct history_context *context, struct buf *buf)
{
    KA_ASSERT(transition->step < (int32_t)saga->def->step_count);
    size_t room = worst_case(saga, transition, context);
    struct doc doc = {.buf = buf, .at = buf_room(buf, room)};
    const char *start = doc.at;
    put_attributes(&doc, saga, transition, context);
    put_extensions(&doc, saga, transition, context);
    PUT(&doc, ",\"data\":{");
    if (transition->step >= 0)
        put_step(&doc, saga, transition);
    else if (transition->type == TRANSITION_SAGA_STARTED)
        put_start(&doc, saga, transition);
    else
        put_state(&doc, saga, transition);
    PUT(&doc, "}}");
    KA_ASSERT((size_t)(doc.at - start) <= room);
    buf->len = (size_t)(doc.at - buf->ptr);
}

void history_format_short(const struct saga *saga, const struct transition *transition,
                          const struct history_context *context, struct buf *buf)
{
    struct saga short_saga = *saga;
    struct slice *const texts[] = {&short_saga.tenant,   &short_saga.dataclass,
                                   &short_saga.event_id, &short_saga.traceparent,
                                   &short_saga.type,     &short_saga.source};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        *texts[i] = saga_cut(*texts[i], SHORT_TEXT_MAX);
    struct transition cut = *transition;
    cut.truncated = cut.data.len + cut.input.len;
    cut.data = cut.input = SLICE_NONE;
    cut.code = saga_cut(cut.code, SHORT_TEXT_MAX);
    cut.message = saga_cut(cut.message, SHORT_TEXT_MAX);
    cut.actor = saga_cut(cut.actor, SHORT_TEXT_MAX);
    cut.reason = saga_cut(cut.reason, SHORT_TEXT_MAX);
    cut.executed_by = saga_cut(cut.executed_by, SHORT_TEXT_MAX);
    cut.placement = saga_cut(cut.placement, SHORT_TEXT_MAX);
    struct history_context short_context = *context;
    short_context.cause = saga_cut(short_context.cause, SHORT_CAUSE_MAX);
    history_format(&short_saga, &cut, &short_context, buf);
}

bool history_wanted(enum history_mode mode, enum transition_type type)
{
    switch (type) {
    case TRANSITION_SAGA_STARTED:
    case TRANSITION_SAGA_COMPLETED:
    case TRANSITION_SAGA_COMPENSATED:
    case TRANSITION_SAGA_STUCK:
    case TRANSITION_SAGA_TERMINATED:
        return true;
    case TRANSITION_SAGA_COMPENSATING:
    case TRANSITION_SAGA_PAUSED:
    case TRANSITION_SAGA_RESUMED:
    case TRANSITION_STEP_COMPLETED:
    case TRANSITION_STEP_FAILED:
    case TRANSITION_STEP_SKIPPED:
    case TRANSITION_COMPENSATION_COMPLETED:
    case TRANSITION_COMPENSATION_FAILED:
        return mode != HISTORY_ENDS;
    case TRANSITION_STEP_STARTED:
    case TRANSITION_STEP_RETRYING:
    case TRANSITION_STEP_LATE:
    case TRANSITION_COMPENSATION_STARTED:
    case TRANSITION_COMPENSATION_RETRYING:
        return mode == HISTORY_ALL;
    }
    KA_ASSERT(false && "a transition without a row");
    return true;
}
