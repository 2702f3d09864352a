// SPDX-License-Identifier: Apache-2.0
// Which data may go where: the classes of documents, and the whole truth table of the decision.
// (R28 to R34, R36)
#include "core/residency.h"

#include "io/conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// cmocka wants the headers above it
#include <cmocka.h>

enum { US, EU, APAC, REGIONS, LINKS = 4 };

static const char *const region_names[REGIONS] = {"us-west", "eu-central", "apac-east"};
static const char file[] =
    "app = \"shop\"; region = \"%s\"; kafka = { bootstrap = \"b:9092\"; };\n"
    "regions = ( { name = \"us-west\"; rtt = \"70ms\"; }, { name = \"eu-central\"; rtt = "
    "\"80ms\"; }, { name = \"apac-east\"; rtt = \"150ms\"; } );\n"
    "residency = { personal = [ \"email\", \"*name\", \"birth*\", \"phone\" ];\n"
    "financial = [ \"iban\", \"card*number\", \"*payment*\" ]; sensitive = [ \"diagnosis\" ];\n"
    "rules = ( { region = \"eu-central\"; class = \"personal\"; target = \"eu-central\"; },\n"
    "{ region = \"us-west\"; class = \"financial\"; target = \"us-west\"; },\n"
    "{ class = \"public\"; target = \"closest\"; mode = \"preferred\"; },\n"
    "{ class = \"sensitive\"; target = \"own\"; } ); };\n"
    "tenants = ( { name = \"acme\"; region = \"eu-central\"; },\n"
    "{ name = \"zeta\"; region = \"us-west\"; }, { name = \"kiwi\"; region = \"apac-east\"; } );\n";

struct fixture {
    struct config *config;
    const struct residency *residency;
    struct residency_link links[LINKS];
    struct arena arena;
    struct err_text text;
};

static void load(struct fixture *f, int here)
{
    char text[4096];
    struct conf_report report = {0};
    snprintf(text, sizeof text, file, region_names[here]);
    io_conf_free(&f->config);
    assert_int_equal(io_conf_parse(slice_str(text), &f->config, &report), KA_OK);
    conf_report_fini(&report);
    f->residency = f->config->residency;
    memcpy(f->links, f->config->links, REGIONS * sizeof *f->links);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    load(f, US);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    io_conf_free(&f->config);
    arena_fini(&f->arena);
    free(f);
    return 0;
}

// ---- Classes

static enum data_class class_of(struct fixture *f, const char *json)
{
    return residency_classify(f->residency, slice_str(json), &f->arena);
}

static void twelve_payloads_have_their_classes(void **state)
{
    static const struct {
        const char *json;
        enum data_class dataclass;
    } payloads[] = {
        {"{}", CLASS_PUBLIC},
        {"{\"sku\":\"s\",\"total\":3,\"note\":\"email: a@b.c\"}", CLASS_PUBLIC},
        {"{\"email\":\"a@b.c\"}", CLASS_PERSONAL},
        {"{\"iban\":\"DE0\"}", CLASS_FINANCIAL},
        {"{\"diagnosis\":null}", CLASS_SENSITIVE},
        {"{\"iban\":\"DE0\",\"email\":\"a@b.c\"}", CLASS_PERSONAL},
        {"{\"payment\":{\"amount\":1},\"first_name\":\"Ada\"}", CLASS_PERSONAL},
        {"{\"diagnosis\":\"x\",\"card_holder_number\":\"4111\"}", CLASS_FINANCIAL},
        {"{\"lines\":[{\"a\":[[{\"deep\":{\"lastName\":\"L\"}}]]}]}", CLASS_PERSONAL},
        {"{\"E-Mail\" :\n \"a\"}", CLASS_PERSONAL},
        {"{\"\\u0065mail\":\"a\"}", CLASS_PERSONAL},
        {"{\"emails\":1,\"cardnumbers\":1,\"nam\":1}", CLASS_PUBLIC},
    };
    for (size_t i = 0; i < sizeof payloads / sizeof payloads[0]; i++)
        if (class_of(*state, payloads[i].json) != payloads[i].dataclass)
            fail_msg("%s is %s", payloads[i].json,
                     data_class_name(class_of(*state, payloads[i].json)));
}

static void a_text_that_looks_like_a_name_is_no_name(void **state)
{
    assert_int_equal(
        class_of(*state, "{\"a\":\"email\",\"b\":[\"iban\"],\"c\":\"x\\\"email\\\":\"}"),
        CLASS_PUBLIC);
}

static void a_name_too_long_to_look_at_is_personal(void **state)
{
    char json[600];
    snprintf(json, sizeof json, "{\"%0300d\":1}", 7);
    assert_int_equal(class_of(*state, json), CLASS_PERSONAL);
}

static void what_is_said_raises_the_class_and_never_lowers_it(void **state)
{
    struct fixture *f = *state;
    for (int from = CLASS_PUBLIC; from <= CLASS_PERSONAL; from++) {
        for (int said = CLASS_PUBLIC; said <= CLASS_PERSONAL; said++) {
            enum data_class dataclass = (enum data_class)from;
            struct slice name = slice_str(data_class_name((enum data_class)said));
            assert_int_equal(residency_raise(name, &dataclass, &f->text), KA_OK);
            assert_int_equal(dataclass, said > from ? said : from);
        }
    }
    enum data_class dataclass = CLASS_FINANCIAL;
    assert_int_equal(residency_raise(SLICE_NONE, &dataclass, &f->text), KA_OK);
    assert_int_equal(residency_raise(SLICE_LIT("secret"), &dataclass, &f->text), KA_ERR_ENVELOPE);
    assert_int_equal(dataclass, CLASS_FINANCIAL);
}

static void tenants_have_homes(void **state)
{
    static const struct {
        const char *tenant;
        int32_t home;
    } homes[] = {{"acme", EU}, {"kiwi", APAC}, {"zeta", US}, {"", US}};
    struct fixture *f = *state;
    int32_t home = REGION_NONE;
    for (size_t i = 0; i < sizeof homes / sizeof homes[0]; i++) {
        struct slice tenant = slice_str(homes[i].tenant);
        assert_int_equal(residency_home(f->residency, tenant, &home, &f->text), KA_OK);
        assert_int_equal(home, homes[i].home);
    }
    assert_int_equal(residency_home(f->residency, SLICE_LIT("acm"), &home, &f->text),
                     KA_ERR_UNKNOWN_TENANT);
    assert_string_equal(f->text.text, "tenant \"acm\" is none of tenants");
}

// ---- The truth table

static struct residency_answer ask(struct fixture *f, enum data_class dataclass, int home,
                                   int destination)
{
    struct residency_question question = {dataclass, home, destination};
    return residency_decide(f->residency, f->links, &question);
}

// What the requirements say of a pair, written down a second time: where it must go, or -1.
static int required_at(int home, enum data_class dataclass)
{
    return dataclass == CLASS_PUBLIC ? -1 : home; // every other row of the table is "own region"
}

// Regions x classes x every destination x every set of regions that are up, seen from each region.
static void every_pair_has_its_answer_whatever_is_up(void **state)
{
    struct fixture *f = *state;
    int asked = 0;
    for (int row = 0; row < REGIONS * REGIONS * REGIONS * DATA_CLASSES * 8; row++) {
        int here = row % 3, home = row / 3 % 3, to = row / 9 % 3, up = row / 27 % 8;
        enum data_class dataclass = (enum data_class)(row / 216);
        if (row % 3 == 0 || f->residency->here != here)
            load(f, here);
        for (int i = 0; i < REGIONS; i++)
            f->links[i].up = up >> i & 1;
        bool to_is_up = to == here || (up >> to & 1);
        int only = required_at(home, dataclass);
        struct residency_answer answer = ask(f, dataclass, home, to);
        enum residency_verdict verdict = to == here                ? RESIDENCY_ALLOWED
                                         : only >= 0 && only != to ? RESIDENCY_REFUSED
                                         : to_is_up                ? RESIDENCY_ALLOWED
                                         : only >= 0               ? RESIDENCY_WAITS
                                                                   : RESIDENCY_REROUTE;
        if (answer.verdict != verdict)
            fail_msg("%s data of %s from %s to %s, up %d: %s", data_class_name(dataclass),
                     region_names[home], region_names[here], region_names[to], up,
                     residency_verdict_name(answer.verdict));
        int region = verdict == RESIDENCY_REFUSED ? -1 : verdict == RESIDENCY_REROUTE ? here : to;
        assert_int_equal(answer.region, region);
        asked++;
    }
    assert_int_equal(asked, 864);
}

static void without_a_destination_the_rule_says_where(void **state)
{
    struct fixture *f = *state;
    for (int home = 0; home < REGIONS; home++) {
        assert_int_equal(ask(f, CLASS_PERSONAL, home, REGION_NONE).region, home);
        assert_int_equal(ask(f, CLASS_FINANCIAL, home, REGION_NONE).region, home);
        assert_int_equal(ask(f, CLASS_SENSITIVE, home, REGION_NONE).region, home);
        assert_int_equal(ask(f, CLASS_PUBLIC, home, REGION_NONE).region, US); // the closest is here
    }
    f->links[EU].up = false;
    assert_int_equal(ask(f, CLASS_PERSONAL, EU, REGION_NONE).verdict, RESIDENCY_WAITS);
    assert_int_equal(ask(f, CLASS_PERSONAL, EU, REGION_NONE).region, EU);
}

// A region that only sends: it is no place for data itself.
static void the_closest_is_by_round_trip_and_the_next_one_when_it_is_down(void **state)
{
    static const struct residency_row to_closest = {TARGET_CLOSEST, REGION_NONE, false};
    struct fixture *f = *state;
    struct residency residency = *f->residency;
    struct residency_row rows[REGIONS * DATA_CLASSES];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        rows[i] = to_closest;
    residency.rows = rows;
    residency.here = REGION_NONE;
    f->residency = &residency;
    f->links[US].rtt_ms = 100;
    assert_int_equal(ask(f, CLASS_PUBLIC, EU, REGION_NONE).region, EU);
    f->links[EU].rtt_ms = 200;
    assert_int_equal(ask(f, CLASS_PUBLIC, EU, REGION_NONE).region, US);
    f->links[US].up = false;
    assert_int_equal(ask(f, CLASS_PUBLIC, EU, REGION_NONE).region, APAC);
    assert_int_equal(ask(f, CLASS_PUBLIC, EU, REGION_NONE).verdict, RESIDENCY_REROUTE);
    f->links[EU].up = f->links[APAC].up = false;
    assert_int_equal(ask(f, CLASS_PUBLIC, EU, APAC).verdict, RESIDENCY_WAITS);
}

static void round_trips_do_not_move_what_is_required(void **state)
{
    struct fixture *f = *state;
    f->links[EU].rtt_ms = 59000;
    assert_int_equal(ask(f, CLASS_PERSONAL, EU, EU).verdict, RESIDENCY_ALLOWED);
    assert_int_equal(ask(f, CLASS_PERSONAL, EU, APAC).verdict, RESIDENCY_REFUSED);
}

static void a_region_that_nobody_knows_is_refused(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(ask(f, CLASS_PUBLIC, REGION_NONE, EU).verdict, RESIDENCY_REFUSED);
    assert_int_equal(ask(f, CLASS_PUBLIC, US, 3).verdict, RESIDENCY_REFUSED);
    assert_int_equal(ask(f, CLASS_PUBLIC, 7, REGION_NONE).verdict, RESIDENCY_REFUSED);
}

static void a_refusal_says_why(void **state)
{
    struct fixture *f = *state;
    struct residency_question question = {CLASS_PERSONAL, EU, APAC};
    struct residency_answer answer = residency_decide(f->residency, f->links, &question);
    residency_explain(f->residency, &question, &answer, &f->text);
    assert_string_equal(f->text.text,
                        "personal data of eu-central may go to eu-central only, not to apac-east");
}

static void without_rules_everything_stays(void **state)
{
    struct fixture *f = *state;
    struct conf_report report = {0};
    struct slice text =
        SLICE_LIT("app = \"a\"; region = \"x\"; kafka = { bootstrap = \"b:9092\"; };"
                  "regions = ( { name = \"x\"; }, { name = \"y\"; } );");
    io_conf_free(&f->config);
    assert_int_equal(io_conf_parse(text, &f->config, &report), KA_OK);
    conf_report_fini(&report);
    f->residency = f->config->residency;
    for (int dataclass = CLASS_PUBLIC; dataclass <= CLASS_PERSONAL; dataclass++)
        assert_int_equal(ask(f, (enum data_class)dataclass, 0, 1).verdict, RESIDENCY_REFUSED);
}

// A hub has copies of what a rule with its name says, of that home and class, and nothing else.
static void a_hub_gets_what_its_rules_name(void **state)
{
    struct fixture *f = *state;
    struct conf_report report = {0};
    struct slice text =
        SLICE_LIT("app = \"a\"; region = \"us\"; kafka = { bootstrap = \"b:9092\"; };"
                  "regions = ( { name = \"us\"; }, { name = \"eu\"; rtt = \"50ms\"; },"
                  "{ name = \"hub1\"; role = \"hub\"; rtt = \"1ms\"; }, { name = \"hub2\"; role = "
                  "\"hub\"; } );"
                  "residency = { rules = ( { class = \"public\"; target = \"closest\"; mode = "
                  "\"preferred\"; },"
                  "{ class = \"public\"; target = \"hub1\"; },"
                  "{ region = \"eu\"; class = \"financial\"; target = \"hub2\"; } ); };");
    io_conf_free(&f->config);
    assert_int_equal(io_conf_parse(text, &f->config, &report), KA_OK);
    conf_report_fini(&report);
    f->residency = f->config->residency;
    memcpy(f->links, f->config->links, sizeof f->links);
    int allowed = 0;
    for (int row = 0; row < 2 * 2 * DATA_CLASSES; row++) {
        int source = row % 2, hub = 2 + row / 2 % 2;
        enum data_class dataclass = (enum data_class)(row / 4);
        bool may = (hub == 2 && dataclass == CLASS_PUBLIC) ||
                   (hub == 3 && source == 1 && dataclass == CLASS_FINANCIAL);
        assert_int_equal(residency_may_copy(f->residency, source, hub, dataclass), may);
        allowed += may;
    }
    assert_int_equal(allowed, 3);
    // Nothing is sent there, also not where another region is down.
    assert_int_equal(ask(f, CLASS_PUBLIC, 0, 2).verdict, RESIDENCY_REFUSED);
    assert_int_equal(ask(f, CLASS_FINANCIAL, 1, 1).verdict, RESIDENCY_ALLOWED);
    f->links[1].up = false;
    assert_int_equal(ask(f, CLASS_PUBLIC, 0, 1).region, 0);
    struct residency_question question = {CLASS_PUBLIC, 0, 2};
    struct residency_answer answer = residency_decide(f->residency, f->links, &question);
    residency_explain(f->residency, &question, &answer, &f->text);
    assert_string_equal(f->text.text, "hub1 is a hub: nothing is sent there");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(twelve_payloads_have_their_classes),
        CASE(a_text_that_looks_like_a_name_is_no_name),
        CASE(a_name_too_long_to_look_at_is_personal),
        CASE(what_is_said_raises_the_class_and_never_lowers_it),
        CASE(tenants_have_homes),
        CASE(every_pair_has_its_answer_whatever_is_up),
        CASE(without_a_destination_the_rule_says_where),
        CASE(the_closest_is_by_round_trip_and_the_next_one_when_it_is_down),
        CASE(round_trips_do_not_move_what_is_required),
        CASE(a_region_that_nobody_knows_is_refused),
        CASE(a_refusal_says_why),
        CASE(without_rules_everything_stays),
        CASE(a_hub_gets_what_its_rules_name),
    };
    unsetenv("KASAGA_BOOTSTRAP");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
