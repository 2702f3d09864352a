// SPDX-License-Identifier: Apache-2.0
#include "avroc.h"
#include "core/saga.h"
#include "pcf.h"
#include "random_saga.h"
#include "story.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// cmocka wants the headers above it
#include <cmocka.h>

#define SCHEMA "schemas/saga_state.avsc"
#define SCHEMA_2 "schemas/saga_state_2.avsc"

static const char definition[] = "saga order deadline=10m\n"
                                 "step reserve undo=stock.release\n"
                                 "step charge undo=payment.refund\n"
                                 "step ship\n";

static void assert_same_step(const struct saga_step_state *a, const struct saga_step_state *b)
{
    assert_int_equal(a->state, b->state);
    assert_int_equal(a->maybe_done, b->maybe_done);
    assert_int_equal(a->attempts, b->attempts);
    assert_int_equal(a->undo_attempts, b->undo_attempts);
    assert_int_equal(a->forgiven, b->forgiven);
    assert_true(a->due_ms == b->due_ms && a->forward_end_ms == b->forward_end_ms);
    assert_true(a->unheard == b->unheard);
    assert_true(slice_eq(a->input, b->input) && slice_none(a->input) == slice_none(b->input));
    assert_true(slice_eq(a->result, b->result) && slice_none(a->result) == slice_none(b->result));
}

static void assert_same(const struct saga *a, const struct saga *b)
{
    assert_true(a->incarnation == b->incarnation && a->sequence == b->sequence);
    assert_int_equal(a->state, b->state);
    assert_int_equal(a->paused_from, b->paused_from);
    assert_int_equal(a->current, b->current);
    assert_true(a->started_ms == b->started_ms && a->deadline_ms == b->deadline_ms);
    assert_true(a->paused_ms == b->paused_ms && slice_eq(a->data, b->data));
    assert_true(slice_eq(a->source, b->source) && slice_eq(a->type, b->type));
    assert_true(slice_eq(a->event_id, b->event_id) && slice_eq(a->tenant, b->tenant));
    assert_true(slice_eq(a->dataclass, b->dataclass));
    assert_true(slice_eq(a->traceparent, b->traceparent));
    assert_true(slice_eq(a->fail_code, b->fail_code));
    assert_true(slice_eq(a->fail_message, b->fail_message));
    assert_true(slice_eq(a->cause_code, b->cause_code));
    assert_true(slice_eq(a->cause_message, b->cause_message));
    for (size_t i = 0; i < a->def->step_count; i++)
        assert_same_step(&a->steps[i], &b->steps[i]);
}

static void the_fingerprint_is_that_of_the_schema(void **state)
{
    (void)state;
    struct story story;
    story_init(&story, definition);
    story_tell(&story, "start {}");
    uint64_t found = 0;
    for (int i = 0; i < 8; i++)
        found |= (uint64_t)(unsigned char)story.stored.ptr[2 + i] << (8 * i);
    assert_true(found == pcf_fingerprint(SCHEMA));
    assert_true(pcf_documented(found));
    story_fini(&story);
}

// Lives a while, so that every kind of state comes by; false once it has ended.
static void live(struct random_saga *random, uint64_t seed)
{
    random_saga_init(random, seed);
    uint64_t events = seed % 23;
    for (uint64_t i = 0; i < events && !saga_finished(random->saga); i++) {
        struct saga_event event = random_saga_event(random);
        (void)random_saga_apply(random, &event);
    }
}

static void assert_avroc_reads(avro_value_t *value, const struct saga *saga)
{
    assert_true(avroc_long(value, "incarnation") == saga->incarnation);
    assert_true(avroc_long(value, "state") == (int64_t)saga->state);
    assert_true(avroc_long(value, "current") == saga->current);
    assert_true(avroc_long(value, "deadline_ms") == saga->deadline_ms);
    assert_true(slice_eq(avroc_bytes(value, "data"), saga->data));
    assert_true(slice_eq(avroc_bytes(value, "cause_message"), saga->cause_message));
    assert_true(
        slice_eq(avroc_bytes(value, "definition"), slice_of(saga->def->id.bytes, DEF_ID_SIZE)));
    size_t steps = avroc_size(value, "steps");
    for (size_t i = 0; i < saga->def->step_count; i++) {
        if (i >= steps) {
            assert_int_equal(saga->steps[i].state, STEP_PENDING);
            continue;
        }
        avro_value_t step = avroc_item(value, "steps", i);
        assert_true(avroc_long(&step, "state") == (int64_t)saga->steps[i].state);
        assert_true(avroc_long(&step, "maybe_done") == saga->steps[i].maybe_done);
        assert_true(avroc_long(&step, "due_ms") == saga->steps[i].due_ms);
        assert_true(avroc_long(&step, "unheard") == (int64_t)saga->steps[i].unheard);
        assert_true(slice_eq(avroc_bytes(&step, "result"), saga->steps[i].result));
    }
}

static void avro_c_reads_what_is_written_and_writes_what_is_read(void **state)
{
    (void)state;
    struct avroc avroc;
    avroc_init(&avroc, SCHEMA);
    uint64_t fingerprint = pcf_fingerprint(SCHEMA);
    for (uint64_t seed = 0; seed < 1000; seed++) {
        struct random_saga random;
        struct buf ours = {0}, theirs = {0};
        avro_value_t value;
        struct saga *read = NULL;
        live(&random, seed);
        saga_encode(random.saga, &ours);
        avroc_decode(&avroc, buf_slice(&ours), &value);
        assert_avroc_reads(&value, random.saga);
        avroc_encode(&value, fingerprint, &theirs);
        assert_int_equal(saga_decode(buf_slice(&theirs), random.saga->key, random.def,
                                     &random.arena, &read, NULL),
                         KA_OK);
        assert_same(random.saga, read);
        avro_value_decref(&value);
        buf_fini(&ours);
        buf_fini(&theirs);
        random_saga_fini(&random);
    }
    avroc_fini(&avroc);
}

static void a_peek_gives_what_leads_to_the_definition(void **state)
{
    (void)state;
    struct story story;
    struct saga_header header;
    story_init(&story, definition);
    story_tell_all(&story, "start {}\npause by ada: look");
    assert_int_equal(saga_peek(buf_slice(&story.stored), &header, NULL), KA_OK);
    assert_memory_equal(header.def.bytes, story.def->id.bytes, DEF_ID_SIZE);
    assert_true(header.incarnation == 17);
    assert_int_equal(header.state, SAGA_PAUSED);
    story_fini(&story);
}

static enum ka_err decode(struct story *story, struct slice bytes)
{
    struct saga *saga = NULL;
    return saga_decode(bytes, SLICE_LIT("order/4711"), story->def, &story->batch, &saga,
                       &story->text);
}

static void every_shorter_form_is_refused(void **state)
{
    (void)state;
    struct story story;
    struct saga_header header;
    story_init(&story, definition);
    story_tell_all(&story, "start {\"id\":1}\nok reserve {\"r\":1}\nagain charge busy");
    for (size_t len = 0; len < story.stored.len; len++) {
        char *exact = malloc(len + 1); // a read past the end is seen by ASan
        memcpy(exact, story.stored.ptr, len);
        assert_int_equal(decode(&story, slice_of(exact, len)), KA_ERR_AVRO);
        (void)!saga_peek(slice_of(exact, len), &header, NULL);
        free(exact);
    }
    story_fini(&story);
}

static void bytes_left_over_are_refused(void **state)
{
    (void)state;
    struct story story;
    story_init(&story, definition);
    story_tell(&story, "start {}");
    buf_byte(&story.stored, 0);
    assert_int_equal(decode(&story, buf_slice(&story.stored)), KA_ERR_AVRO);
    assert_non_null(strstr(story.text.text, "field (end)"));
    story_fini(&story);
}

static void a_later_version_is_named_by_its_fingerprint(void **state)
{
    (void)state;
    struct story story;
    struct saga_header header;
    story_init(&story, definition);
    story_tell(&story, "start {}");
    memset(story.stored.ptr + 2, 0xEE, 8);
    assert_int_equal(decode(&story, buf_slice(&story.stored)), KA_ERR_VERSION);
    assert_non_null(strstr(story.text.text, "eeeeeeeeeeeeeeee"));
    assert_int_equal(saga_peek(buf_slice(&story.stored), &header, &story.text), KA_ERR_VERSION);
    story_fini(&story);
}

static void another_definition_is_refused(void **state)
{
    (void)state;
    struct story story;
    story_init(&story, definition);
    story_tell(&story, "start {}");
    story.def->id.bytes[3] ^= 1;
    assert_int_equal(decode(&story, buf_slice(&story.stored)), KA_ERR_AVRO);
    assert_non_null(strstr(story.text.text, "field definition"));
    story_fini(&story);
}

// A state of another step count than the definition's, or one that could not have come about.
static void a_state_that_does_not_hold_together_is_refused(void **state)
{
    (void)state;
    struct story story;
    story_init(&story, definition);
    story_tell(&story, "start {}");
    size_t at = 10 + DEF_ID_SIZE + 1; // header, definition, incarnation 17: the state
    assert_int_equal(story.stored.ptr[at], SAGA_RUNNING * 2);
    story.stored.ptr[at] = SAGA_COMPLETED * 2;
    assert_int_equal(decode(&story, buf_slice(&story.stored)), KA_ERR_AVRO);
    assert_string_equal(story.text.text,
                        "saga state: does not hold together: completed: no step is left");
    story.stored.ptr[at] = SAGA_RUNNING * 2;
    story.def->step_count = 0;
    assert_int_equal(decode(&story, buf_slice(&story.stored)), KA_ERR_AVRO);
    assert_non_null(strstr(story.text.text, "too many items"));
    story_fini(&story);
}

static void any_flipped_bit_is_an_error_or_a_state_that_holds(void **state)
{
    (void)state;
    struct story story;
    story_init(&story, definition);
    story_tell_all(&story, "start {\"id\":1}\nok reserve {\"r\":1}\nno charge declined\n"
                           "again reserve/undo busy");
    struct arena arena = {0};
    for (size_t bit = 0; bit < story.stored.len * 8; bit++) {
        story.stored.ptr[bit / 8] = (char)(story.stored.ptr[bit / 8] ^ (1 << bit % 8));
        struct saga *saga = NULL;
        if (saga_decode(buf_slice(&story.stored), SLICE_LIT("order/4711"), story.def, &arena, &saga,
                        NULL) == KA_OK)
            saga_check(saga);
        arena_reset(&arena);
        story.stored.ptr[bit / 8] = (char)(story.stored.ptr[bit / 8] ^ (1 << bit % 8));
    }
    arena_fini(&arena);
    story_fini(&story);
}

static void what_can_be_derived_is_not_stored(void **state)
{
    (void)state;
    struct story story;
    story_init(&story, definition);
    story_tell(&story, "start {\"order\":\"this is said once\"}");
    size_t one = story.stored.len;
    assert_true(one < 150);
    story_tell(&story, "ok reserve {}");
    assert_true(story.stored.len < one + 30); // one more step, its input is not there
    story_fini(&story);
}

// A step in another region: version 2, which avro-c reads by its own schema.
static void a_region_is_kept_in_the_second_version(void **state)
{
    (void)state;
    struct story story;
    struct avroc avroc;
    struct buf theirs = {0};
    struct saga *read = NULL;
    avro_value_t value;
    story_init(&story, "saga order\nstep charge region=eu-central\nstep ship");
    story_tell(&story, "start {}");
    uint64_t fingerprint = pcf_fingerprint(SCHEMA_2);
    assert_true(pcf_documented(fingerprint));
    assert_memory_equal(story.stored.ptr + 2, &fingerprint, sizeof fingerprint);
    avroc_init(&avroc, SCHEMA_2);
    avroc_decode(&avroc, buf_slice(&story.stored), &value);
    avro_value_t step = avroc_item(&value, "steps", 0);
    assert_true(slice_eq(avroc_bytes(&step, "region"), SLICE_LIT("eu-central")));
    avroc_encode(&value, fingerprint, &theirs);
    assert_int_equal(saga_decode(buf_slice(&theirs), story.saga->key, story.def, &story.batch,
                                 &read, &story.text),
                     KA_OK);
    assert_same(story.saga, read);
    assert_true(slice_eq(read->steps[0].region, SLICE_LIT("eu-central")));
    assert_true(slice_none(read->steps[1].region));
    avro_value_decref(&value);
    avroc_fini(&avroc);
    buf_fini(&theirs);
    story_fini(&story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_fingerprint_is_that_of_the_schema),
        cmocka_unit_test(avro_c_reads_what_is_written_and_writes_what_is_read),
        cmocka_unit_test(a_peek_gives_what_leads_to_the_definition),
        cmocka_unit_test(every_shorter_form_is_refused),
        cmocka_unit_test(bytes_left_over_are_refused),
        cmocka_unit_test(a_later_version_is_named_by_its_fingerprint),
        cmocka_unit_test(another_definition_is_refused),
        cmocka_unit_test(a_state_that_does_not_hold_together_is_refused),
        cmocka_unit_test(any_flipped_bit_is_an_error_or_a_state_that_holds),
        cmocka_unit_test(what_can_be_derived_is_not_stored),
        cmocka_unit_test(a_region_is_kept_in_the_second_version),
    };
    return cmocka_run_group_tests_name("saga_codec", tests, NULL, NULL);
}
