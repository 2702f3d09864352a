// SPDX-License-Identifier: Apache-2.0
#include "core/schema.h"

#include "core/avsc.h"
#include "core/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// cmocka wants the headers above it
#include <cmocka.h>

static const char order[] =
    "{\"type\":\"record\",\"name\":\"Order\",\"namespace\":\"shop\",\"fields\":["
    "{\"name\":\"id\",\"type\":\"string\"},"
    "{\"name\":\"total\",\"type\":\"double\"},"
    "{\"name\":\"rate\",\"type\":\"float\",\"default\":1},"
    "{\"name\":\"at\",\"type\":\"long\",\"default\":0},"
    "{\"name\":\"vip\",\"type\":\"boolean\",\"default\":false},"
    "{\"name\":\"state\",\"type\":{\"type\":\"enum\",\"name\":\"State\",\"symbols\":[\"NEW\","
    "\"PAID\"]},"
    "\"default\":\"NEW\"},"
    "{\"name\":\"note\",\"type\":[\"null\",\"string\"],\"default\":null},"
    "{\"name\":\"items\",\"default\":[],\"type\":{\"type\":\"array\",\"items\":{\"type\":"
    "\"record\","
    "\"name\":\"Item\",\"fields\":[{\"name\":\"sku\",\"type\":\"string\"},{\"name\":\"quantity\","
    "\"type\":\"int\"}]}}},"
    "{\"name\":\"gift\",\"type\":[\"null\",\"Item\"],\"default\":null},"
    "{\"name\":\"parent\",\"type\":[\"null\",\"Order\"],\"default\":null},"
    "{\"name\":\"raw\",\"type\":\"bytes\",\"default\":\"\"},"
    "{\"name\":\"hash\",\"type\":{\"type\":\"fixed\",\"name\":\"Hash\",\"size\":4},\"default\":"
    "\"0000\"},"
    "{\"name\":\"tags\",\"type\":{\"type\":\"map\",\"values\":\"int\"},\"default\":{}},"
    "{\"name\":\"amount\",\"type\":[\"long\",\"string\"],\"default\":0},"
    "{\"name\":\"ways\",\"type\":[\"Item\",\"State\",{\"type\":\"map\",\"values\":\"int\"},"
    "\"null\"],"
    "\"default\":{\"sku\":\"\",\"quantity\":0}},"
    "{\"name\":\"nothing\",\"type\":\"null\",\"default\":null}]}";

struct fixture {
    struct arena arena;
    const struct schema *order;
};

static int set_up(void **state)
{
    static struct fixture fixture;
    *state = &fixture;
    return avsc_parse(slice_str(order), &fixture.arena, &fixture.order, NULL) != KA_OK;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    arena_fini(&fixture->arena);
    return 0;
}

// A member after the two that must be there.
static const struct {
    const char *member;
    const char *text; // NULL: accepted
} payloads[] = {
    {"\"at\":1", NULL},
    {"\"at\":-9223372036854775808", NULL},
    {"\"at\":1.0", NULL},
    {"\"at\":1e3", NULL},
    {"\"at\":9223372036854775808", "field at: expected long, found a number out of its range"},
    {"\"at\":1.5", "field at: expected long, found a fraction"},
    {"\"at\":\"1\"", "field at: expected long, found string"},
    {"\"at\":null", "field at: expected long, found null"},
    {"\"at\":[]", "field at: expected long, found array"},
    {"\"rate\":1.5", NULL},
    {"\"rate\":3.4028234663852886e38", NULL},
    {"\"rate\":1e39", "field rate: expected float, found a number out of its range"},
    {"\"total\":1e309", "field total: expected double, found a number out of its range"},
    {"\"total\":true", "field total: expected double, found boolean"},
    {"\"id\":4711", "field id: expected string, found number"},
    {"\"id\":{}", "field id: expected string, found object"},
    {"\"vip\":true", NULL},
    {"\"vip\":0", "field vip: expected boolean, found number"},
    {"\"state\":\"PAID\"", NULL},
    {"\"state\":\"PAI\\u0044\"", NULL},
    {"\"state\":\"LOST\"",
     "field state: expected enum shop.State, found a string that is none of its symbols"},
    {"\"state\":1", "field state: expected enum shop.State, found number"},
    {"\"note\":null", NULL},
    {"\"note\":\"x\"", NULL},
    {"\"note\":1", "field note: expected null or string, found number"},
    {"\"items\":[]", NULL},
    {"\"items\":[{\"sku\":\"a\",\"quantity\":1},{\"quantity\":2,\"sku\":\"b\"}]", NULL},
    {"\"items\":{}", "field items: expected array, found object"},
    {"\"items\":[1]", "field items[0]: expected record shop.Item, found number"},
    {"\"items\":[{\"sku\":\"a\",\"quantity\":1},{\"sku\":\"b\"}]",
     "field items[1].quantity: missing"},
    {"\"items\":[{\"sku\":\"a\",\"quantity\":2147483648}]",
     "field items[0].quantity: expected int, found a number out of its range"},
    {"\"items\":[{\"sku\":\"a\",\"quantity\":-2147483648}]", NULL},
    {"\"items\":[{\"sku\":null,\"quantity\":1}]",
     "field items[0].sku: expected string, found null"},
    {"\"gift\":{\"sku\":\"a\",\"quantity\":1}", NULL},
    {"\"gift\":{\"sku\":\"a\"}", "field gift.quantity: missing"},
    {"\"gift\":\"x\"", "field gift: expected null or shop.Item, found string"},
    {"\"parent\":{\"id\":\"p\",\"total\":1}", NULL},
    {"\"parent\":{\"id\":\"p\",\"total\":1,\"parent\":{\"id\":\"q\"}}",
     "field parent.parent.total: missing"},
    {"\"raw\":\"\\u0000\\u00ff\xC3\xBF\"", NULL},
    {"\"raw\":\"\\u0100\"",
     "field raw: expected bytes, found a string with characters above U+00FF"},
    {"\"raw\":\"\xE2\x82\xAC\"",
     "field raw: expected bytes, found a string with characters above U+00FF"},
    {"\"raw\":[0]", "field raw: expected bytes, found array"},
    {"\"hash\":\"abcd\"", NULL},
    {"\"hash\":\"\\u00e9\\u00e9\xC3\xA9z\"", NULL},
    {"\"hash\":\"abc\"", "field hash: expected fixed shop.Hash, found a string of another length"},
    {"\"tags\":{\"a\":1,\"b\":2}", NULL},
    {"\"tags\":{\"a\":1,\"b\":\"x\"}", "field tags.b: expected int, found string"},
    {"\"tags\":[1]", "field tags: expected map, found array"},
    {"\"amount\":1", NULL},
    {"\"amount\":\"1\"", NULL},
    {"\"amount\":1.5", "field amount: expected long, found a fraction"},
    {"\"amount\":true", "field amount: expected long or string, found boolean"},
    {"\"ways\":{\"sku\":\"a\",\"quantity\":1}", NULL},
    {"\"ways\":{\"a\":1}", NULL},
    {"\"ways\":\"NEW\"", NULL},
    {"\"ways\":{\"a\":\"x\"}",
     "field ways: expected shop.Item, shop.State, map or null, found object"},
    {"\"ways\":\"OLD\"",
     "field ways: expected enum shop.State, found a string that is none of its symbols"},
    {"\"nothing\":0", "field nothing: expected null, found number"},
    {"\"at\":\"x\",\"at\":1", "field at: expected long, found string"},
    {"\"more\":[1,{\"a\":2}]", NULL},
    {"\"\\u0061t\":\"x\"", "field \\u0061t: expected long, found string"},
};

static void each_payload_gives_its_reason(void **state)
{
    const struct fixture *fixture = *state;
    assert_true(sizeof payloads / sizeof payloads[0] >= 40);
    for (size_t i = 0; i < sizeof payloads / sizeof payloads[0]; i++) {
        char doc[512];
        int len =
            snprintf(doc, sizeof doc, " {\"id\":\"1\", \"total\":2 ,%s} ", payloads[i].member);
        struct slice value = slice_of(doc, (size_t)len);
        struct err_text text = {{0}};
        assert_int_equal(json_validate(value, NULL), KA_OK);
        enum ka_err err = schema_check(fixture->order, value, false, &text);
        assert_string_equal(text.text, payloads[i].text == NULL ? "" : payloads[i].text);
        assert_int_equal(err, payloads[i].text == NULL ? KA_OK : KA_ERR_SCHEMA);
        assert_int_equal(schema_check(fixture->order, value, false, NULL), err);
    }
}

static void assert_refused(const struct schema *schema, const char *value, bool closed,
                           const char *expected)
{
    struct err_text text = {{0}};
    enum ka_err err = schema_check(schema, slice_str(value), closed, &text);
    assert_string_equal(text.text, expected);
    assert_int_equal(err, KA_ERR_SCHEMA);
}

static void fields_without_default_must_be_there(void **state)
{
    const struct fixture *fixture = *state;
    assert_refused(fixture->order, "{}", false, "field id: missing");
    assert_refused(fixture->order, "{\"id\":\"1\"}", false, "field total: missing");
    assert_refused(fixture->order, "[]", false, "value: expected record shop.Order, found array");
    assert_refused(fixture->order, "null", false, "value: expected record shop.Order, found null");
}

static void a_closed_check_refuses_what_the_schema_does_not_name(void **state)
{
    const struct fixture *fixture = *state;
    assert_refused(fixture->order, "{\"id\":\"1\",\"total\":2,\"more\":3}", true,
                   "field more: not in the schema");
    assert_refused(fixture->order,
                   "{\"id\":\"1\",\"total\":2,\"gift\":{\"sku\":\"\",\"quantity\":1,\"x\":0}}",
                   true, "field gift.x: not in the schema");
    assert_int_equal(schema_check(fixture->order,
                                  SLICE_LIT("{\"id\":\"1\",\"total\":2,\"tags\":{\"any\":3}}"),
                                  true, NULL),
                     KA_OK);
}

static void a_recursive_value_is_bounded_by_the_document(void **state)
{
    const struct fixture *fixture = *state;
    struct buf buf = {0};
    for (int i = 0; i < JSON_DEPTH_MAX; i++)
        buf_str(&buf, i == 0 ? "{\"id\":\"\",\"total\":0" : ",\"parent\":{\"id\":\"\",\"total\":0");
    for (int i = 0; i < JSON_DEPTH_MAX; i++)
        buf_str(&buf, "}");
    assert_int_equal(json_validate(buf_slice(&buf), NULL), KA_OK);
    assert_int_equal(schema_check(fixture->order, buf_slice(&buf), true, NULL), KA_OK);
    buf_fini(&buf);
}

// Two records that look alike until the innermost value: trying both at each level takes 2^100.
static void ambiguous_unions_do_not_explode(void **state)
{
    struct fixture *fixture = *state;
    const struct schema *schema;
    static const char source[] =
        "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"u\",\"type\":["
        "{\"type\":\"record\",\"name\":\"A\",\"fields\":[{\"name\":\"r\",\"type\":\"R\"}]},"
        "{\"type\":\"record\",\"name\":\"B\",\"fields\":[{\"name\":\"r\",\"type\":\"R\"}]}]}]}";
    assert_int_equal(avsc_parse(slice_str(source), &fixture->arena, &schema, NULL), KA_OK);
    struct buf buf = {0};
    for (int i = 0; i < 50; i++)
        buf_str(&buf, "{\"u\":{\"r\":");
    buf_str(&buf, "1");
    for (int i = 0; i < 50; i++)
        buf_str(&buf, "}}");
    struct err_text text = {{0}};
    assert_int_equal(json_validate(buf_slice(&buf), NULL), KA_OK);
    assert_int_equal(schema_check(schema, buf_slice(&buf), false, &text), KA_ERR_SCHEMA);
    assert_string_equal(text.text, "field u: expected A or B, found object");
    buf_fini(&buf);
}

static void long_places_are_cut(void **state)
{
    const struct fixture *fixture = *state;
    struct buf buf = {0};
    struct err_text text = {{0}};
    for (int i = 0; i < 100; i++)
        buf_str(&buf, i == 0 ? "{\"id\":\"\",\"total\":0" : ",\"parent\":{\"id\":\"\",\"total\":0");
    buf_str(&buf, ",\"at\":\"x\"");
    for (int i = 0; i < 100; i++)
        buf_str(&buf, "}");
    assert_int_equal(schema_check(fixture->order, buf_slice(&buf), false, &text), KA_ERR_SCHEMA);
    assert_non_null(strstr(text.text, "field parent.parent.parent"));
    assert_non_null(strstr(text.text, ": expected long, found string"));
    buf_fini(&buf);
}

static void primitive_schemas_check_bare_values(void **state)
{
    (void)state;
    const struct schema type = {.type = SCHEMA_INT};
    const struct schema list = {.type = SCHEMA_ARRAY, .element = &type};
    assert_int_equal(schema_check(&type, SLICE_LIT(" 7 "), false, NULL), KA_OK);
    assert_int_equal(schema_check(&list, SLICE_LIT("[1, 2]"), false, NULL), KA_OK);
    assert_refused(&type, "true", false, "value: expected int, found boolean");
    assert_refused(&list, "[1,2.5]", false, "field [1]: expected int, found a fraction");
}

static void assert_json_schema(const struct schema *schema, const char *expected)
{
    struct buf buf = {0};
    schema_json_schema(schema, &buf);
    assert_int_equal(json_validate(buf_slice(&buf), NULL), KA_OK);
    buf_byte(&buf, '\0');
    assert_string_equal(buf.ptr, expected);
    buf_fini(&buf);
}

#define HEAD "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\","

static void a_record_becomes_an_object_with_required_members(void **state)
{
    struct fixture *fixture = *state;
    const struct schema *schema;
    static const char source[] =
        "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"a\",\"type\":\"string\"},"
        "{\"name\":\"b\",\"type\":[\"null\",\"int\"],\"default\":null},{\"name\":\"e\",\"type\":"
        "{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"X\",\"Y\"]}},{\"name\":\"m\",\"type\":"
        "{\"type\":\"map\",\"values\":\"boolean\"}}]}";
    assert_int_equal(avsc_parse(slice_str(source), &fixture->arena, &schema, NULL), KA_OK);
    assert_json_schema(
        schema, HEAD
        "\"title\":\"R\",\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\"},\"b\":"
        "{\"anyOf\":[{\"type\":\"null\"},{\"type\":\"integer\",\"minimum\":-2147483648,"
        "\"maximum\":2147483647}]},\"e\":{\"type\":\"string\",\"enum\":[\"X\",\"Y\"]},\"m\":"
        "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"boolean\"}}},"
        "\"required\":[\"a\",\"e\",\"m\"]}");
}

static void recursion_becomes_a_reference(void **state)
{
    struct fixture *fixture = *state;
    const struct schema *schema;
    static const char source[] = "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"r\","
                                 "\"type\":[\"null\",\"R\"]},"
                                 "{\"name\":\"s\",\"type\":{\"type\":\"record\",\"name\":\"x.S\","
                                 "\"fields\":[{\"name\":\"s\","
                                 "\"type\":{\"type\":\"array\",\"items\":\"S\"}}]}}]}";
    assert_int_equal(avsc_parse(slice_str(source), &fixture->arena, &schema, NULL), KA_OK);
    assert_json_schema(
        schema,
        HEAD "\"title\":\"R\",\"type\":\"object\",\"properties\":{\"r\":{\"anyOf\":[{\"type\":"
             "\"null\"},{\"$ref\":\"#\"}]},\"s\":{\"$ref\":\"#/$defs/x.S\"}},\"required\":["
             "\"r\",\"s\"],\"$defs\":{\"x.S\":{\"title\":\"x.S\",\"type\":\"object\","
             "\"properties\":{\"s\":{\"type\":\"array\",\"items\":{\"$ref\":"
             "\"#/$defs/x.S\"}}},\"required\":[\"s\"]}}}");
}

static void a_primitive_becomes_its_type(void **state)
{
    (void)state;
    const struct schema text = {.type = SCHEMA_STRING};
    const struct schema hash = {.type = SCHEMA_FIXED, .name = "H", .fixed_size = 16};
    assert_json_schema(&text, HEAD "\"type\":\"string\"}");
    assert_json_schema(&hash, HEAD "\"type\":\"string\",\"pattern\":\"^[\\u0000-\\u00ff]*$\","
                                   "\"minLength\":16,\"maxLength\":16}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_payload_gives_its_reason),
        cmocka_unit_test(fields_without_default_must_be_there),
        cmocka_unit_test(a_closed_check_refuses_what_the_schema_does_not_name),
        cmocka_unit_test(a_recursive_value_is_bounded_by_the_document),
        cmocka_unit_test(ambiguous_unions_do_not_explode),
        cmocka_unit_test(long_places_are_cut),
        cmocka_unit_test(primitive_schemas_check_bare_values),
        cmocka_unit_test(a_record_becomes_an_object_with_required_members),
        cmocka_unit_test(recursion_becomes_a_reference),
        cmocka_unit_test(a_primitive_becomes_its_type),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
