// SPDX-License-Identifier: Apache-2.0
#include "core/history.h"

#include "story.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// cmocka wants the headers above it
#include <cmocka.h>

static struct action_def charge = {.name = "payment.charge"};
static struct action_def refund = {.name = "payment.refund"};

struct fixture {
    struct saga_def *def;
    struct saga saga;
    struct saga_step_state steps[1];
    struct buf buf;
};

static void set_up(struct fixture *f)
{
    *f = (struct fixture){0};
    f->def = calloc(1, sizeof *f->def + sizeof *f->def->steps);
    assert_non_null(f->def);
    *f->def = (struct saga_def){.name = "order", .version = 3, .step_count = 1};
    memset(f->def->id.bytes, 0xAB, DEF_ID_SIZE);
    f->def->steps[0] = (struct step_def){.name = "charge",
                                         .action_name = "payment.charge",
                                         .compensate_name = "payment.refund",
                                         .action = &charge,
                                         .compensate = &refund};
    f->saga = (struct saga){.def = f->def,
                            .key = SLICE_LIT("order/4711"),
                            .incarnation = 17,
                            .started_ms = STORY_EPOCH_MS,
                            .data = SLICE_LIT("{\"total\":120}"),
                            .source = SLICE_LIT("/web"),
                            .type = SLICE_LIT("order.placed"),
                            .event_id = SLICE_LIT("e-1"),
                            .steps = f->steps};
}

static void tear_down(struct fixture *f)
{
    free(f->def);
    buf_fini(&f->buf);
}

// What is written for `t`, at a time 1.5 s after the start; lives until the next call.
static const char *written(struct fixture *f, struct transition t)
{
    struct history_context context = {SLICE_LIT("/kasaga/us-west/shop"),
                                      SLICE_LIT("shop.inbox/3/17"), "us-west/n1"};
    buf_clear(&f->buf);
    t.time_ms = STORY_EPOCH_MS + 1500;
    history_format(&f->saga, &t, &context, &f->buf);
    buf_byte(&f->buf, '\0');
    return f->buf.ptr;
}

static void the_start_of_a_saga_is_written_member_by_member(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct transition t = {.type = TRANSITION_SAGA_STARTED, .step = -1, .data = f.saga.data};
    assert_string_equal(
        written(&f, t),
        "{\"specversion\":\"1.0\",\"id\":\"order/4711@17#0\",\"source\":\"/kasaga/us-west/shop\","
        "\"type\":\"kasaga.saga.started\",\"subject\":\"order/4711\","
        "\"time\":\"2026-01-01T00:00:01.500Z\",\"datacontenttype\":\"application/json\","
        "\"sagaid\":\"order/4711@17\",\"sequence\":0,\"cause\":\"shop.inbox/3/17\","
        "\"executedby\":\"us-west/n1\",\"data\":{\"definition\":\"order\",\"version\":3,"
        "\"hash\":\"abababababababababababababababab\",\"event\":{\"id\":\"e-1\","
        "\"type\":\"order.placed\",\"source\":\"/web\"},\"data\":{\"total\":120}}}");
    tear_down(&f);
}

static void a_step_is_written_member_by_member(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    f.saga.tenant = SLICE_LIT("acme");
    f.saga.dataclass = SLICE_LIT("pii");
    f.saga.traceparent = SLICE_LIT("00-0af7-b7ad-01");
    struct transition t = {.type = TRANSITION_STEP_STARTED,
                           .sequence = 5,
                           .attempt = 2,
                           .due_ms = STORY_EPOCH_MS + 4500,
                           .maybe_done = true,
                           .input = SLICE_LIT("{\"amount\":120}")};
    assert_string_equal(
        written(&f, t),
        "{\"specversion\":\"1.0\",\"id\":\"order/4711@17#5\",\"source\":\"/kasaga/us-west/shop\","
        "\"type\":\"kasaga.step.started\",\"subject\":\"order/4711\","
        "\"time\":\"2026-01-01T00:00:01.500Z\",\"datacontenttype\":\"application/json\","
        "\"sagaid\":\"order/4711@17\",\"sequence\":5,\"step\":\"charge\",\"attempt\":2,"
        "\"tenant\":\"acme\",\"dataclass\":\"pii\",\"traceparent\":\"00-0af7-b7ad-01\","
        "\"cause\":\"shop.inbox/3/17\",\"executedby\":\"us-west/n1\",\"data\":{\"index\":0,"
        "\"action\":\"payment.charge\",\"input\":{\"amount\":120},"
        "\"due\":\"2026-01-01T00:00:04.500Z\",\"idempotency_key\":\"order/4711@17/charge\","
        "\"maybe_done\":true}}");
    tear_down(&f);
}

// The value of the traceparent member of a written record.
static const char *trace_of(struct fixture *f, struct transition t)
{
    static char value[64];
    const char *at = strstr(written(f, t), "\"traceparent\":\"");
    assert_non_null(at);
    snprintf(value, sizeof value, "%.55s", at + 15);
    return value;
}

static void each_attempt_is_a_span_of_its_own(void **state)
{
    (void)state;
    struct fixture f;
    char first[64], room[TRACE_PARENT_LEN];
    set_up(&f);
    f.saga.traceparent = SLICE_LIT("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    struct transition t = {.type = TRANSITION_STEP_STARTED, .attempt = 1};
    snprintf(first, sizeof first, "%s", trace_of(&f, t));
    struct slice given = saga_traceparent(&f.saga, 0, 1, false, room); // to the action
    assert_true(slice_eq(slice_str(first), given));
    assert_memory_equal(first, "00-0af7651916cd43dd8448eb211c80319c-", 36);
    assert_string_not_equal(first, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    t.attempt = 2;
    assert_string_not_equal(trace_of(&f, t), first);
    t.attempt = 1;
    t.compensation = true;
    assert_string_not_equal(trace_of(&f, t), first);
    t = (struct transition){.type = TRANSITION_SAGA_COMPLETED, .step = -1};
    assert_string_equal(trace_of(&f, t), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    tear_down(&f);
}

static void a_compensation_names_its_own_action_and_key(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct transition t = {.type = TRANSITION_COMPENSATION_FAILED,
                           .attempt = 3,
                           .compensation = true,
                           .code = SLICE_LIT("closed"),
                           .message = SLICE_LIT("the account is closed")};
    const char *data = strstr(written(&f, t), "\"data\":");
    assert_string_equal(data, "\"data\":{\"index\":0,\"action\":\"payment.refund\","
                              "\"compensation\":true,\"code\":\"closed\","
                              "\"message\":\"the account is closed\","
                              "\"idempotency_key\":\"order/4711@17/charge/undo\"}}");
    tear_down(&f);
}

static void an_operator_stands_in_the_record_with_the_reason(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct transition t = {.type = TRANSITION_SAGA_PAUSED,
                           .step = -1,
                           .state = SAGA_PAUSED,
                           .code = SLICE_LIT("pause"),
                           .actor = SLICE_LIT("ada"),
                           .reason = SLICE_LIT("the warehouse moves")};
    const char *data = strstr(written(&f, t), "\"data\":");
    assert_string_equal(data, "\"data\":{\"state\":\"paused\",\"code\":\"pause\","
                              "\"duration_ms\":1500,\"actor\":\"ada\","
                              "\"reason\":\"the warehouse moves\"}}");
    tear_down(&f);
}

static json_t *parse(const char *text)
{
    json_error_t error;
    json_t *document = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (document == NULL)
        print_error("%s in %s\n", error.text, text);
    assert_non_null(document);
    return document;
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    assert_non_null(text);
    return text;
}

// Each byte value somewhere in a run of plain ones, so that every path of the copy is taken.
static void every_byte_of_a_text_makes_valid_json(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    for (int byte = 1; byte < 256; byte++) {
        for (size_t len = 1; len < 20; len++) {
            char text[20];
            memset(text, 'a', sizeof text);
            text[len / 2] = (char)byte;
            f.saga.key = slice_of(text, len);
            struct transition t = {.type = TRANSITION_STEP_FAILED, .message = f.saga.key};
            json_t *document = parse(written(&f, t));
            if (byte < 0x80) {
                const char *message = text_of(json_object_get(document, "data"), "message");
                assert_int_equal(strlen(message), len);
                assert_memory_equal(message, text, len);
                assert_memory_equal(text_of(document, "subject"), text, len);
                assert_memory_equal(text_of(document, "id"), text, len);
            }
            json_decref(document);
        }
    }
    tear_down(&f);
}

static void the_room_is_enough_when_everything_has_to_be_escaped(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    char ugly[2000];
    memset(ugly, 1, sizeof ugly - 1);
    ugly[sizeof ugly - 1] = '\0';
    struct slice s = slice_of(ugly, sizeof ugly - 1);
    f.saga.key = f.saga.source = f.saga.type = f.saga.event_id = s;
    f.saga.tenant = f.saga.dataclass = f.saga.traceparent = s;
    f.def->name = f.def->steps[0].name = f.def->steps[0].compensate_name = ugly;
    for (int type = TRANSITION_SAGA_STARTED; type <= TRANSITION_COMPENSATION_RETRYING; type++) {
        struct transition t = {.type = (enum transition_type)type,
                               .step = type <= TRANSITION_SAGA_TERMINATED ? -1 : 0,
                               .compensation = type >= TRANSITION_COMPENSATION_STARTED,
                               .sequence = INT64_MAX,
                               .attempt = INT32_MAX,
                               .due_ms = STORY_EPOCH_MS,
                               .maybe_done = true,
                               .data = SLICE_LIT("{}"),
                               .input = SLICE_LIT("{}"),
                               .code = s,
                               .message = s,
                               .actor = s,
                               .reason = s};
        buf_fini(&f.buf);
        json_decref(parse(written(&f, t)));
    }
    tear_down(&f);
}

static void ids_are_dense_and_never_repeat(void **state)
{
    (void)state;
    struct story story;
    story_init(&story, "saga order\nstep reserve undo=stock.release\nstep charge\n");
    story_tell_all(&story, "start {}\nok reserve {\"id\":1}\nno charge declined\n"
                           "again reserve/undo busy\ntimer\nok reserve/undo {}\n");
    buf_byte(&story.history, '\0');
    int expected = 0;
    char *save = NULL;
    for (char *line = strtok_r(story.history.ptr, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save), expected++) {
        json_t *document = parse(line);
        char id[40];
        snprintf(id, sizeof id, "order/4711@17#%d", expected);
        assert_string_equal(text_of(document, "id"), id);
        assert_int_equal(json_integer_value(json_object_get(document, "sequence")), expected);
        json_decref(document);
    }
    assert_int_equal(expected, 11);
    story_fini(&story);
}

static void shorter_modes_leave_out_what_they_say(void **state)
{
    (void)state;
    int count[3] = {0};
    for (int type = TRANSITION_SAGA_STARTED; type <= TRANSITION_COMPENSATION_RETRYING; type++)
        for (int mode = HISTORY_ALL; mode <= HISTORY_ENDS; mode++)
            count[mode] += history_wanted((enum history_mode)mode, (enum transition_type)type);
    assert_int_equal(count[HISTORY_ALL], 18);
    assert_int_equal(count[HISTORY_STEPS], 13);
    assert_int_equal(count[HISTORY_ENDS], 5);
    assert_true(history_wanted(HISTORY_ENDS, TRANSITION_SAGA_STUCK));
    assert_false(history_wanted(HISTORY_STEPS, TRANSITION_STEP_STARTED));
}

static void a_short_record_has_no_data_and_a_bound(void **state)
{
    struct fixture f;
    (void)state;
    set_up(&f);
    static char ugly[70000];
    memset(ugly, 1, sizeof ugly); // six bytes each when escaped
    struct slice text = slice_of(ugly, sizeof ugly);
    f.saga.key = slice_of(ugly, HISTORY_KEY_MAX);
    f.saga.source = f.saga.type = f.saga.event_id = text;
    f.saga.tenant = f.saga.dataclass = f.saga.traceparent = text;
    struct history_context context = {SLICE_LIT("/kasaga/us-west/shop"), text, "us-west/n1"};
    static const enum transition_type types[] = {TRANSITION_SAGA_STARTED, TRANSITION_SAGA_STUCK,
                                                 TRANSITION_COMPENSATION_RETRYING};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct transition t = {.type = types[i],
                               .step = i == 2 ? 0 : -1,
                               .attempt = 1,
                               .compensation = true,
                               .data = text,
                               .input = text,
                               .code = text,
                               .message = text,
                               .actor = text,
                               .reason = text,
                               .due_ms = 1};
        buf_clear(&f.buf);
        history_format_short(&f.saga, &t, &context, &f.buf);
        assert_true(f.buf.len <= HISTORY_SHORT_MAX);
        json_t *doc = json_loadb(f.buf.ptr, f.buf.len, 0, NULL);
        assert_non_null(doc);
        json_t *cut = json_object_get(json_object_get(doc, "data"), "truncated");
        assert_int_equal(json_integer_value(cut), i == 1 ? 0 : 2 * sizeof ugly);
        json_decref(doc);
    }
    tear_down(&f);
}

static void every_type_is_in_the_documentation(void **state)
{
    (void)state;
    static char page[32 * 1024];
    FILE *file = fopen("docs/formats.md", "rb");
    assert_non_null(file);
    page[fread(page, 1, sizeof page - 1, file)] = '\0';
    fclose(file);
    for (int type = TRANSITION_SAGA_STARTED; type <= TRANSITION_COMPENSATION_RETRYING; type++) {
        char row[80];
        bool ends = history_wanted(HISTORY_ENDS, (enum transition_type)type);
        bool steps = history_wanted(HISTORY_STEPS, (enum transition_type)type);
        snprintf(row, sizeof row, "| `%s` | %s |", transition_type_name((enum transition_type)type),
                 ends    ? "ends"
                 : steps ? "steps"
                         : "all");
        if (strstr(page, row) == NULL)
            fail_msg("docs/formats.md has no row %s", row);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_start_of_a_saga_is_written_member_by_member),
        cmocka_unit_test(a_step_is_written_member_by_member),
        cmocka_unit_test(each_attempt_is_a_span_of_its_own),
        cmocka_unit_test(a_compensation_names_its_own_action_and_key),
        cmocka_unit_test(an_operator_stands_in_the_record_with_the_reason),
        cmocka_unit_test(every_byte_of_a_text_makes_valid_json),
        cmocka_unit_test(the_room_is_enough_when_everything_has_to_be_escaped),
        cmocka_unit_test(ids_are_dense_and_never_repeat),
        cmocka_unit_test(shorter_modes_leave_out_what_they_say),
        cmocka_unit_test(a_short_record_has_no_data_and_a_bound),
        cmocka_unit_test(every_type_is_in_the_documentation),
    };
    return cmocka_run_group_tests_name("history", tests, NULL, NULL);
}
