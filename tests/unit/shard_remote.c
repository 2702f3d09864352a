// SPDX-License-Identifier: Apache-2.0
// Steps in another region: two shards, one in us-west and one in eu-central, and what their out
// topics carry from one to the other. The chain of audit records.
#include "core/shard.h"

#include "core/json.h"
#include "core/remote.h"
#include "io/digest.h"
#include "story.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define CANARY "canary-7f3a"

struct side {
    struct story story; // the definition
    struct residency residency;
    struct residency_link links[3];
    struct shards *shards;
    struct lane_processor processor;
    struct lane_partition partition;
    struct lane_batch batch;
    struct err_text text;
    bool knows; // the definition
};

struct fixture {
    struct side us;
    struct side eu;
};

static const struct saga_def *current(void *context, struct slice name)
{
    struct side *side = context;
    return side->knows && slice_eq(name, slice_str(side->story.def->name)) ? side->story.def : NULL;
}

static const struct saga_def *by_id(void *context, const struct def_id *id)
{
    struct side *side = context;
    return memcmp(id, &side->story.def->id, sizeof *id) == 0 ? side->story.def : NULL;
}

static void run_inline(void *context, const struct invocation *call, struct arena *arena,
                       struct action_result *result)
{
    (void)context, (void)call, (void)arena;
    *result = (struct action_result){.outcome = OUTCOME_OK, .data = SLICE_LIT("{\"in\":1}")};
}

static void adopt(struct side *side, const struct meta *meta)
{
    struct table_limits limits = {3600000, 1 << 20};
    struct shard_restore *restore = shard_restore_new(&limits);
    shard_restore_end(restore, 0, STORY_EPOCH_MS);
    assert_int_equal(
        side->processor.adopt(side->shards, &side->partition, restore, meta, &side->text), KA_OK);
}

static void open_side(struct side *side, int32_t here, const char *node, const char *definition)
{
    story_init(&side->story, definition);
    side->knows = true;
    side->residency = story_residency;
    side->residency.here = here;
    memcpy(side->links, story_links, sizeof side->links);
    struct shard_config config = {
        .source = SLICE_LIT("/kasaga/x/shop"),
        .node = node,
        .shards = 1,
        .inbox_topic = SLICE_LIT("shop.inbox"),
        .state_topic = SLICE_LIT("shop.state"),
        .history_topic = SLICE_LIT("shop.history"),
        .dlq_topic = SLICE_LIT("shop.dlq"),
        .limits = {3600000, 1 << 20},
        .record_max = 16000,
        .reappend_min = 1000,
        .marker_ms = 5000,
        .residency = &side->residency,
        .links = side->links,
        .out_prefix = SLICE_LIT("shop.out."),
        .audit_topic = SLICE_LIT("shop.audit"),
        .sha256 = digest_sha256,
    };
    struct shard_definitions definitions = {.context = side, .current = current, .by_id = by_id};
    side->shards = shards_new(&config, &definitions, run_inline, side);
    side->processor = shards_processor(side->shards);
    side->partition.used = true;
    side->partition.state = LANE_PARTITION_ACTIVE;
    side->batch.now_ms = STORY_EPOCH_MS;
    side->batch.incarnation = 1;
    adopt(side, &(struct meta){0});
}

static void close_side(struct side *side)
{
    side->processor.drop(side->shards, &side->partition);
    shards_free(&side->shards);
    story_fini(&side->story);
    arena_fini(&side->batch.arena);
    buf_fini(&side->batch.scratch);
    free(side->batch.outputs);
    free(side->batch.invocations);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    open_side(&f->us, 0, "us-west/n1",
              "saga order\nstep charge region=eu-central undo=refund retry=2 timeout=30s\n"
              "step ship region=apac-east");
    open_side(&f->eu, 1, "eu-central/n2", "saga remote:do.charge\nstep run");
    f->eu.story.def->remote = true;
    f->eu.story.def->steps[0].timeout_ms = 3600000;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    close_side(&f->us);
    close_side(&f->eu);
    free(f);
    return 0;
}

// ---- Talking to them

static void forget(struct side *side)
{
    side->batch.output_count = side->batch.invocation_count = 0;
}

static void commit(struct side *side)
{
    assert_int_equal(
        side->processor.close(side->shards, &side->partition, &side->batch, &side->text), KA_OK);
    side->processor.committed(side->shards, &side->partition);
    forget(side);
}

static enum ka_err give_bytes(struct side *side, struct slice key, struct slice value)
{
    struct record record = {.topic = SLICE_LIT("shop.inbox"),
                            .offset = side->partition.position++,
                            .key = key,
                            .value = value};
    return side->processor.record(side->shards, &side->partition, &record, &side->batch,
                                  &side->text);
}

static void start(struct side *side, const char *key, const char *tenant, const char *dataclass,
                  const char *data)
{
    struct buf bytes = {0};
    struct command command = {.verb = COMMAND_START,
                              .id = SLICE_LIT("e-1"),
                              .type = SLICE_LIT("t"),
                              .source = SLICE_LIT("/s"),
                              .tenant = slice_str(tenant),
                              .dataclass = slice_str(dataclass),
                              .data = slice_str(data)};
    command_encode(&command, &bytes);
    assert_int_equal(give_bytes(side, slice_str(key), buf_slice(&bytes)), KA_OK);
    buf_fini(&bytes);
}

static const struct output *output_to(struct side *side, const char *topic, size_t skip)
{
    for (size_t i = 0; i < side->batch.output_count; i++)
        if (slice_eq(side->batch.outputs[i].record.topic, slice_str(topic)) && skip-- == 0)
            return &side->batch.outputs[i].record;
    return NULL;
}

static bool says(struct side *side, const char *topic, const char *part)
{
    for (size_t i = 0; i < side->batch.output_count; i++) {
        const struct output *output = &side->batch.outputs[i].record;
        if (slice_eq(output->topic, slice_str(topic)) &&
            memmem(output->value.ptr, output->value.len, part, strlen(part)) != NULL)
            return true;
    }
    return false;
}

// The link: the first record of an out topic goes into the inbox of the other side.
static enum ka_err carry(struct side *from, const char *topic, struct side *to)
{
    const struct output *output = output_to(from, topic, 0);
    assert_non_null(output);
    assert_null(output_to(from, topic, 1));
    return give_bytes(to, output->key, output->value);
}

static void ends(struct side *side, struct action_result ended)
{
    assert_int_equal(side->batch.invocation_count, 1);
    const struct invocation *call = &side->batch.invocations[0].call;
    struct lane_result result = {.key = call->key,
                                 .incarnation = call->incarnation,
                                 .attempt = call->attempt,
                                 .result = ended};
    assert_int_equal(
        side->processor.result(side->shards, &side->partition, &result, &side->batch, &side->text),
        KA_OK);
}

// ---- Steps

static void a_step_runs_once_in_the_other_region(void **state)
{
    struct fixture *f = *state;
    start(&f->us, "order/1", "", "public", "{\"sku\":1}");
    assert_int_equal(f->us.batch.invocation_count, 0);
    assert_int_equal(carry(&f->us, "shop.out.eu-central", &f->eu), KA_OK);
    assert_int_equal(f->eu.batch.invocation_count, 1);
    const struct invocation *call = &f->eu.batch.invocations[0].call;
    assert_true(slice_eq(call->key, SLICE_LIT("remote:do.charge/us-west/order/1@0/charge/1")));
    assert_true(slice_eq(call->idempotency_key, SLICE_LIT("order/1@0/charge")));
    assert_true(slice_eq(call->input, SLICE_LIT("{\"sku\":1}")));
    assert_true(call->timeout_ms == 30000);                                // the caller's
    assert_int_equal(carry(&f->us, "shop.out.eu-central", &f->eu), KA_OK); // a second copy
    assert_int_equal(f->eu.batch.invocation_count, 1);
    ends(&f->eu, (struct action_result){.outcome = OUTCOME_OK, .data = SLICE_LIT("{\"p\":7}")});
    assert_int_equal(carry(&f->eu, "shop.out.us-west", &f->us), KA_OK);
    assert_true(says(&f->us, "shop.history", "\"executed_by\":\"eu-central/n2\""));
    assert_true(says(&f->us, "shop.history", "\"result\":{\"p\":7}"));
    size_t outputs = f->us.batch.output_count;
    assert_int_equal(carry(&f->eu, "shop.out.us-west", &f->us), KA_OK); // a second copy
    assert_int_equal(f->us.batch.output_count, outputs);
}

static void a_failure_there_is_the_failure_of_the_attempt(void **state)
{
    struct fixture *f = *state;
    start(&f->us, "order/1", "", "public", "{}");
    assert_int_equal(carry(&f->us, "shop.out.eu-central", &f->eu), KA_OK);
    ends(&f->eu, (struct action_result){
                     .outcome = OUTCOME_RETRY, .code = SLICE_LIT("busy"), .retry_after_ms = 5000});
    assert_int_equal(carry(&f->eu, "shop.out.us-west", &f->us), KA_OK);
    assert_true(says(&f->us, "shop.history", "kasaga.step.retrying"));
    assert_true(says(&f->us, "shop.history", "\"code\":\"busy\""));
    assert_true(f->us.processor.due(f->us.shards, &f->us.partition) == STORY_EPOCH_MS + 5000);
}

static void a_call_that_was_given_up_is_not_begun(void **state)
{
    struct fixture *f = *state;
    start(&f->us, "order/1", "", "public", "{}");
    f->eu.batch.now_ms += 30000; // the link was down for so long
    assert_int_equal(carry(&f->us, "shop.out.eu-central", &f->eu), KA_OK);
    assert_int_equal(f->eu.batch.invocation_count, 0);
    assert_true(says(&f->eu, "shop.out.us-west", "\"outcome\":\"retry\",\"maybe_done\":false"));
}

static void an_action_that_nobody_has_there_fails_the_step(void **state)
{
    struct fixture *f = *state;
    f->eu.knows = false;
    start(&f->us, "order/1", "", "public", "{}");
    assert_int_equal(carry(&f->us, "shop.out.eu-central", &f->eu), KA_OK);
    assert_int_equal(carry(&f->eu, "shop.out.us-west", &f->us), KA_OK);
    assert_true(says(&f->us, "shop.history", "\"code\":\"unknown_action\""));
}

static void what_is_no_call_is_poison(void **state)
{
    static const char *const data[] = {
        "{}",
        "{\"origin\":\"us-west\"}",
        ("{\"origin\":\"mars\",\"saga\":\"o/1\",\"incarnation\":0,\"step\":0,\"attempt\":1,"
         "\"compensation\":false,\"due_ms\":9,\"idempotency_key\":\"k\",\"input\":{}}"),
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof data / sizeof data[0]; i++) {
        struct buf bytes = {0};
        struct command command = {.verb = COMMAND_START, .data = slice_str(data[i])};
        command_encode(&command, &bytes);
        assert_int_equal(give_bytes(&f->eu, SLICE_LIT("remote:do.charge/x"), buf_slice(&bytes)),
                         KA_ERR_ENVELOPE);
        buf_clear(&bytes);
        command.verb = COMMAND_RESULT;
        command_encode(&command, &bytes);
        assert_int_equal(give_bytes(&f->us, SLICE_LIT("order/1"), buf_slice(&bytes)),
                         KA_ERR_ENVELOPE);
        buf_fini(&bytes);
    }
    assert_int_equal(f->eu.batch.output_count + f->us.batch.output_count, 0);
}

static void a_new_owner_does_not_send_a_call_again(void **state)
{
    struct fixture *f = *state;
    start(&f->us, "order/1", "", "public", "{}");
    struct lane_partition *partition = &f->us.partition;
    struct err_text *text = &f->us.text;
    struct shard_restore *restore = shard_restore_new(&(struct table_limits){3600000, 1 << 20});
    assert_int_equal(f->us.processor.close(f->us.shards, partition, &f->us.batch, text), KA_OK);
    const struct output *stored = output_to(&f->us, "shop.state", 0);
    struct record record = {.key = stored->key, .value = stored->value};
    assert_int_equal(shard_restore_apply(restore, &record, text), KA_OK);
    shard_restore_end(restore, 1, STORY_EPOCH_MS);
    struct meta meta = {.present = true};
    f->us.processor.describe(f->us.shards, partition, &meta);
    f->us.processor.drop(f->us.shards, partition);
    assert_int_equal(f->us.processor.adopt(f->us.shards, partition, restore, &meta, text), KA_OK);
    forget(&f->us);
    assert_true(f->us.processor.pending(f->us.shards, partition, STORY_EPOCH_MS));
    assert_int_equal(f->us.processor.work(f->us.shards, partition, &f->us.batch, text), KA_OK);
    assert_int_equal(f->us.batch.output_count + f->us.batch.invocation_count, 0);
}

// ---- The border

static bool leaks(struct side *side)
{
    for (size_t i = 0; i < side->batch.output_count; i++) {
        const struct output *output = &side->batch.outputs[i].record;
        bool out = slice_starts(output->topic, SLICE_LIT("shop.out."));
        bool audit = slice_eq(output->topic, SLICE_LIT("shop.audit"));
        if ((out || audit) &&
            (memmem(output->value.ptr, output->value.len, CANARY, strlen(CANARY)) != NULL ||
             memmem(output->key.ptr, output->key.len, CANARY, strlen(CANARY)) != NULL))
            return true;
    }
    return false;
}

static void what_may_not_leave_is_refused_and_audited(void **state)
{
    struct fixture *f = *state;
    start(&f->us, "order/1", "", "personal", "{\"email\":\"" CANARY "\"}");
    assert_null(output_to(&f->us, "shop.out.eu-central", 0));
    assert_true(says(&f->us, "shop.history", "\"code\":\"residency\""));
    assert_true(says(&f->us, "shop.audit",
                     "\"step\":\"charge\",\"action\":\"do.charge\","
                     "\"home\":\"us-west\",\"destination\":\"eu-central\""));
    assert_false(leaks(&f->us));
}

static void a_result_that_may_not_come_back_is_replaced(void **state)
{
    struct fixture *f = *state;
    start(&f->us, "order/1", "acme", "personal", "{\"sku\":1}");
    assert_int_equal(carry(&f->us, "shop.out.eu-central", &f->eu), KA_OK);
    ends(&f->eu, (struct action_result){.outcome = OUTCOME_OK,
                                        .data = SLICE_LIT("{\"email\":\"" CANARY "\"}")});
    assert_false(leaks(&f->eu));
    assert_true(says(&f->eu, "shop.audit", "\"step\":\"result\""));
    assert_int_equal(carry(&f->eu, "shop.out.us-west", &f->us), KA_OK);
    assert_true(says(&f->us, "shop.history", "kasaga.step.failed"));
    assert_true(says(&f->us, "shop.history", "kasaga.compensation.started")); // it was done
}

static void a_message_about_data_that_is_not_public_stays(void **state)
{
    struct fixture *f = *state;
    start(&f->us, "order/1", "acme", "personal", "{}");
    assert_int_equal(carry(&f->us, "shop.out.eu-central", &f->eu), KA_OK);
    ends(&f->eu, (struct action_result){.outcome = OUTCOME_FAIL,
                                        .code = SLICE_LIT("refused"),
                                        .message = SLICE_LIT("no such address: " CANARY)});
    assert_false(leaks(&f->eu));
    assert_true(says(&f->eu, "shop.history", CANARY));
    assert_int_equal(carry(&f->eu, "shop.out.us-west", &f->us), KA_OK);
    assert_true(says(&f->us, "shop.history", "\"code\":\"refused\""));
}

// The rules were changed while the saga lived: the undo of what went before is held back too.
static void the_rules_of_the_moment_count(void **state)
{
    struct fixture *f = *state;
    struct residency_row rows[3 * DATA_CLASSES];
    start(&f->us, "order/1", "", "public", "{}");
    commit(&f->us);
    for (size_t i = 0; i < 3 * DATA_CLASSES; i++)
        rows[i] = (struct residency_row){TARGET_OWN, REGION_NONE, true};
    f->us.residency.rows = rows;
    f->us.batch.now_ms = f->us.processor.due(f->us.shards, &f->us.partition); // the attempt
    assert_int_equal(f->us.processor.timer(f->us.shards, &f->us.partition, &f->us.batch, NULL),
                     KA_OK);
    f->us.batch.now_ms = f->us.processor.due(f->us.shards, &f->us.partition); // the next one
    assert_int_equal(f->us.processor.timer(f->us.shards, &f->us.partition, &f->us.batch, NULL),
                     KA_OK);
    assert_null(output_to(&f->us, "shop.out.eu-central", 0));
    assert_true(says(&f->us, "shop.audit", "kasaga.residency.refused"));
}

// ---- The chain

static struct slice member(struct slice doc, const char *name)
{
    return json_member(json_member(doc, SLICE_LIT("data")), slice_str(name));
}

static void assert_follows(const struct output *next, struct slice before)
{
    unsigned char digest[DIGEST_SIZE];
    char hex[2 * DIGEST_SIZE + 1];
    digest_sha256(before, digest);
    digest_hex(digest, sizeof digest, hex);
    assert_true(json_text_is(member(next->value, "previous"), slice_str(hex)));
}

static void audit_records_are_a_chain(void **state)
{
    struct fixture *f = *state;
    start(&f->us, "order/1", "", "personal", "{}");
    start(&f->us, "order/2", "", "personal", "{}");
    const struct output *first = output_to(&f->us, "shop.audit", 0);
    const struct output *second = output_to(&f->us, "shop.audit", 1);
    assert_int_equal(json_validate(first->value, &f->us.text), KA_OK);
    assert_true(slice_eq(member(first->value, "sequence"), SLICE_LIT("1")));
    assert_true(slice_eq(member(second->value, "sequence"), SLICE_LIT("2")));
    assert_follows(second, first->value);
    // A new owner goes on where the metadata of the last commit says.
    struct meta meta = {.present = true};
    f->us.processor.describe(f->us.shards, &f->us.partition, &meta);
    struct meta confirmed = {.present = true, .audit = meta.audit};
    struct buf kept = {0};
    buf_slice_put(&kept, second->value);
    commit(&f->us);
    f->us.processor.drop(f->us.shards, &f->us.partition);
    adopt(&f->us, &confirmed);
    start(&f->us, "order/3", "", "personal", "{}");
    assert_follows(output_to(&f->us, "shop.audit", 0), buf_slice(&kept));
    buf_fini(&kept);
}

static void an_abort_takes_its_audit_records_out_of_the_chain(void **state)
{
    struct fixture *f = *state;
    start(&f->us, "order/1", "", "personal", "{}");
    f->us.processor.undo(f->us.shards, &f->us.partition);
    forget(&f->us);
    start(&f->us, "order/2", "", "personal", "{}");
    const struct output *first = output_to(&f->us, "shop.audit", 0);
    assert_true(slice_eq(member(first->value, "sequence"), SLICE_LIT("1")));
    assert_null(output_to(&f->us, "shop.audit", 1));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_step_runs_once_in_the_other_region),
        CASE(a_failure_there_is_the_failure_of_the_attempt),
        CASE(a_call_that_was_given_up_is_not_begun),
        CASE(an_action_that_nobody_has_there_fails_the_step),
        CASE(what_is_no_call_is_poison),
        CASE(a_new_owner_does_not_send_a_call_again),
        CASE(what_may_not_leave_is_refused_and_audited),
        CASE(a_result_that_may_not_come_back_is_replaced),
        CASE(a_message_about_data_that_is_not_public_stays),
        CASE(the_rules_of_the_moment_count),
        CASE(audit_records_are_a_chain),
        CASE(an_abort_takes_its_audit_records_out_of_the_chain),
    };
    return cmocka_run_group_tests_name("shard_remote", tests, NULL, NULL);
}
