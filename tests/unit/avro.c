// SPDX-License-Identifier: Apache-2.0
#include "io/avro.h"
#include "core/avsc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
// cmocka wants the headers above it
#include <cmocka.h>

static const char order[] =
    "{\"type\":\"record\",\"name\":\"Order\",\"namespace\":\"shop\",\"doc\":\"d\",\"fields\":["
    "{\"name\":\"id\",\"type\":\"string\"},"
    "{\"name\":\"state\",\"type\":{\"type\":\"enum\",\"name\":\"State\",\"symbols\":[\"NEW\","
    "\"PAID\"],"
    "\"default\":\"NEW\"}},"
    "{\"name\":\"before\",\"type\":[\"null\",\"State\"],\"default\":null},"
    "{\"name\":\"items\",\"type\":{\"type\":\"array\",\"items\":{\"type\":\"record\",\"name\":"
    "\"Item\",\"fields\":[{\"name\":\"sku\",\"type\":\"string\"},{\"name\":\"quantity\",\"type\":"
    "\"int\",\"default\":1}]}}},"
    "{\"name\":\"gift\",\"type\":[\"null\",\"shop.Item\"],\"default\":null},"
    "{\"name\":\"parent\",\"type\":[\"null\",\"Order\"],\"default\":null},"
    "{\"name\":\"at\",\"type\":{\"type\":\"long\",\"logicalType\":\"timestamp-millis\"}},"
    "{\"name\":\"hash\",\"type\":{\"type\":\"fixed\",\"name\":\"util.Hash\",\"size\":16}},"
    "{\"name\":\"notes\",\"type\":{\"type\":\"map\",\"values\":\"string\"},\"default\":{}}]}";

static int set_up(void **state)
{
    static struct arena arena;
    arena_init(&arena);
    *state = &arena;
    return 0;
}

static int tear_down(void **state)
{
    arena_fini(*state);
    return 0;
}

static const struct schema *parse(struct arena *arena, const char *source)
{
    const struct schema *schema = NULL;
    struct err_text text = {{0}};
    if (io_avro_schema_parse(slice_str(source), arena, &schema, &text) != KA_OK)
        fail_msg("%s: %s", source, text.text);
    return schema;
}

static void a_record_becomes_a_tree(void **state)
{
    const struct schema *schema = parse(*state, order);
    assert_int_equal(schema->type, SCHEMA_RECORD);
    assert_string_equal(schema->name, "shop.Order");
    assert_int_equal(schema->field_count, 9);
    assert_string_equal(schema->fields[0].name, "id");
    assert_int_equal(schema->fields[0].type->type, SCHEMA_STRING);
    assert_false(schema->fields[0].has_default);
    const struct schema *status = schema->fields[1].type;
    assert_int_equal(status->type, SCHEMA_ENUM);
    assert_string_equal(status->name, "shop.State");
    assert_int_equal(status->symbol_count, 2);
    assert_string_equal(status->symbols[1], "PAID");
    assert_int_equal(schema->fields[6].type->type, SCHEMA_LONG);
    assert_string_equal(schema->fields[7].type->name, "util.Hash");
    assert_int_equal(schema->fields[7].type->fixed_size, 16);
    assert_int_equal(schema->fields[8].type->element->type, SCHEMA_STRING);
}

static void references_are_pointers_also_to_oneself(void **state)
{
    const struct schema *schema = parse(*state, order);
    assert_ptr_equal(schema->fields[2].type->branches[1], schema->fields[1].type);
    assert_ptr_equal(schema->fields[4].type->branches[1], schema->fields[3].type->element);
    assert_ptr_equal(schema->fields[5].type->branches[1], schema);
}

static void defaults_are_kept(void **state)
{
    const struct schema *schema = parse(*state, order);
    assert_true(schema->fields[2].has_default);
    assert_true(slice_eq(schema->fields[2].default_value, SLICE_LIT("null")));
    assert_true(slice_eq(schema->fields[8].default_value, SLICE_LIT("{}")));
    assert_true(slice_none(schema->fields[0].default_value));
    const struct schema *item = schema->fields[3].type->element;
    assert_true(slice_eq(item->fields[1].default_value, SLICE_LIT("1")));
}

#define RECORD(fields) "{\"type\":\"record\",\"name\":\"a.R\",\"fields\":[" fields "]}"
#define FIELD(type) RECORD("{\"name\":\"f\",\"type\":" type "}")
static const struct {
    const char *source;
    const char *text;
} refused[] = {
    {"", "byte 0: value expected"},
    {"1", "schema: a type must be a string, an object or an array"},
    {"\"order\"", "schema: unknown type 'order'"},
    {"{}", "schema: \"type\" must be a string"},
    {"{\"type\":{\"type\":\"int\"}}", "schema: \"type\" must be a string"},
    {"{\"type\":\"list\"}", "schema: unknown type 'list'"},
    {"[]", "schema: a union has 1 to 256 branches"},
    {"[\"int\",[\"null\"]]", "schema: a union directly in a union"},
    {"[\"int\",\"int\"]", "schema: a type twice in a union"},
    {"[\"int\",{\"type\":\"int\",\"logicalType\":\"date\"}]", "schema: a type twice in a union"},
    {"{\"type\":\"record\"}", "schema: a record, enum or fixed needs a name"},
    {"{\"type\":\"record\",\"name\":\"1a\"}", "schema: not a name: '1a'"},
    {"{\"type\":\"record\",\"name\":\"a..b\"}", "schema: not a name: 'a..b'"},
    {"{\"type\":\"record\",\"name\":\"a.\"}", "schema: not a name: 'a.'"},
    {"{\"type\":\"record\",\"name\":\"\"}", "schema: not a name: ''"},
    {"{\"type\":\"record\",\"name\":\"a\",\"namespace\":\"b c\"}",
     "schema: not a namespace: 'b c'"},
    {"{\"type\":\"record\",\"name\":\"string\",\"fields\":[]}",
     "schema: the name of a primitive type cannot be defined: 'string'"},
    {"{\"type\":\"record\",\"name\":\"a.R\"}", "a.R: needs an array of 'fields'"},
    {RECORD("1"), "a.R: a field must be an object"},
    {RECORD("{\"type\":\"int\"}"), "a.R: not the name of a field: ''"},
    {RECORD("{\"name\":\"a-b\",\"type\":\"int\"}"), "a.R: not the name of a field: 'a-b'"},
    {RECORD("{\"name\":\"f\"}"), "a.R: no type of field 'f'"},
    {RECORD("{\"name\":\"f\",\"type\":\"int\"},{\"name\":\"f\",\"type\":\"int\"}"),
     "a.R: field twice: 'f'"},
    {FIELD("\"b.X\""), "a.R.f: unknown type 'b.X'"},
    {FIELD("[\"null\",[\"int\"]]"), "a.R.f: a union directly in a union"},
    {FIELD("{\"type\":\"array\"}"), "a.R.f: no type of 'items'"},
    {FIELD("{\"type\":\"map\"}"), "a.R.f: no type of 'values'"},
    {FIELD("{\"type\":\"enum\",\"name\":\"E\"}"), "a.E: needs an array of 'symbols'"},
    {FIELD("{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[]}"), "a.E: an enum needs a symbol"},
    {FIELD("{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"a-b\"]}"), "a.E: not a symbol: 'a-b'"},
    {FIELD("{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[1]}"), "a.E: a symbol must be a string"},
    {FIELD("{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"A\"]}"),
     "a.E: symbol twice: 'A'"},
    {FIELD("{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\"],\"default\":\"B\"}"),
     "a.E: the default is no symbol: 'B'"},
    {FIELD("{\"type\":\"fixed\",\"name\":\"F\"}"), "a.F: a fixed needs a size of 0 to 2147483647"},
    {FIELD("{\"type\":\"fixed\",\"name\":\"F\",\"size\":-1}"),
     "a.F: a fixed needs a size of 0 to 2147483647"},
    {FIELD("{\"type\":\"fixed\",\"name\":\"F\",\"size\":\"1\"}"),
     "a.F: a fixed needs a size of 0 to 2147483647"},
    {FIELD("{\"type\":\"enum\",\"name\":\"R\",\"symbols\":[\"A\"]}"),
     "a.R.f: defined twice: 'a.R'"},
    {RECORD("{\"name\":\"f\",\"type\":\"int\",\"default\":\"x\"}"),
     "a.R.f: the default does not fit: value: expected int, found string"},
    {RECORD("{\"name\":\"f\",\"type\":[\"int\",\"null\"],\"default\":null}"),
     "a.R.f: the default does not fit: value: expected int, found null"},
    {RECORD("{\"name\":\"f\",\"type\":[\"null\",\"R\"],\"default\":{}}"),
     "a.R.f: the default does not fit: value: expected null, found object"},
};
#undef FIELD
#undef RECORD

static void what_is_no_avro_is_refused_with_its_place(void **state)
{
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        const struct schema *schema;
        struct err_text text = {{0}};
        enum ka_err err =
            io_avro_schema_parse(slice_str(refused[i].source), *state, &schema, &text);
        assert_int_equal(err, i == 0 ? KA_ERR_JSON : KA_ERR_AVRO);
        assert_null(schema);
        assert_string_equal(text.text, refused[i].text);
    }
}

static void every_truncation_of_a_schema_is_refused(void **state)
{
    const struct schema *schema;
    for (size_t len = 0; len < sizeof order - 1; len++) {
        char *copy = malloc(len + 1);
        memcpy(copy, order, len);
        assert_int_equal(io_avro_schema_parse(slice_of(copy, len), *state, &schema, NULL),
                         KA_ERR_JSON);
        free(copy);
    }
}

static void too_many_fields_and_types_are_refused(void **state)
{
    struct buf buf = {0};
    const struct schema *schema;
    struct err_text text;
    buf_str(&buf, "{\"type\":\"record\",\"name\":\"R\",\"fields\":[");
    for (int i = 0; i <= SCHEMA_FIELDS_MAX; i++) {
        char field[64];
        (void)snprintf(field, sizeof field, "%s{\"name\":\"f%d\",\"type\":\"int\"}",
                       i == 0 ? "" : ",", i);
        buf_str(&buf, field);
    }
    buf_str(&buf, "]}");
    assert_int_equal(io_avro_schema_parse(buf_slice(&buf), *state, &schema, &text), KA_ERR_AVRO);
    assert_string_equal(text.text, "R: a record has 256 fields at most");
    buf_clear(&buf);
    for (int i = 0; i <= SCHEMA_NAMED_MAX; i++) {
        char type[96];
        (void)snprintf(type, sizeof type, "%s{\"type\":\"fixed\",\"name\":\"F%d\",\"size\":1}",
                       i == 0         ? "["
                       : i % 200 == 0 ? "]},{\"type\":\"map\",\"values\":["
                                      : ",",
                       i);
        buf_str(&buf, i == 0 ? "[{\"type\":\"array\",\"items\":" : "");
        buf_str(&buf, type);
    }
    buf_str(&buf, "]}]");
    assert_int_equal(io_avro_schema_parse(buf_slice(&buf), *state, &schema, &text), KA_ERR_AVRO);
    assert_string_equal(text.text, "schema: too many named types, from 'F256'");
    buf_fini(&buf);
}

// Inputs, canonical forms and fingerprints: Avro's share/test/data/schema-tests.txt.
static void canonical_forms_and_fingerprints_are_those_of_the_specification(void **state)
{
    static const struct {
        const char *source;
        const char *canonical;
        int64_t fingerprint;
    } rows[] = {
        {"\"null\"", "\"null\"", 7195948357588979594},
        {"{\"type\":\"null\"}", "\"null\"", 7195948357588979594},
        {"\"boolean\"", "\"boolean\"", -6970731678124411036},
        {"\"int\"", "\"int\"", 8247732601305521295},
        {"\"long\"", "\"long\"", -3434872931120570953},
        {"\"float\"", "\"float\"", 5583340709985441680},
        {"\"double\"", "\"double\"", -8181574048448539266},
        {"\"bytes\"", "\"bytes\"", 5746618253357095269},
        {"\"string\"", "\"string\"", -8142146995180207161},
        {"[ \"int\"  ]", "[\"int\"]", -5232228896498058493},
        {"[ \"int\" , {\"type\":\"boolean\"} ]", "[\"int\",\"boolean\"]", 5392556393470105090},
        {"{\"fields\":[{\"type\":{\"type\":\"boolean\"},\"name\":\"f1\"}],\"type\":\"record\","
         "\"name\":\"foo\"}",
         "{\"name\":\"foo\",\"type\":\"record\",\"fields\":[{\"name\":\"f1\",\"type\":\"boolean\"}]"
         "}",
         7843277075252814651},
        {"{ \"fields\":[{\"type\":\"boolean\",\"aliases\":[],\"name\":\"f1\",\"default\":true},"
         "{\"order\":\"descending\",\"name\":\"f2\",\"doc\":\"Hello\",\"type\":\"int\"}],"
         "\"type\":\"record\",\"name\":\"foo\"}",
         "{\"name\":\"foo\",\"type\":\"record\",\"fields\":[{\"name\":\"f1\",\"type\":\"boolean\"},"
         "{\"name\":\"f2\",\"type\":\"int\"}]}",
         -4860222112080293046},
        {"{\"type\":\"enum\",\"name\":\"foo\",\"symbols\":[\"A1\"]}",
         "{\"name\":\"foo\",\"type\":\"enum\",\"symbols\":[\"A1\"]}", -6342190197741309591},
        {"{\"namespace\":\"x.y.z\",\"type\":\"enum\",\"name\":\"foo\",\"doc\":\"foo bar\","
         "\"symbols\":[\"A1\",\"A2\"]}",
         "{\"name\":\"x.y.z.foo\",\"type\":\"enum\",\"symbols\":[\"A1\",\"A2\"]}",
         -4448647247586288245},
        {"{\"name\":\"foo\",\"type\":\"fixed\",\"size\":15}",
         "{\"name\":\"foo\",\"type\":\"fixed\",\"size\":15}", 1756455273707447556},
        {"{\"namespace\":\"x.y.z\",\"type\":\"fixed\",\"name\":\"foo\",\"doc\":\"foo bar\","
         "\"size\":32}",
         "{\"name\":\"x.y.z.foo\",\"type\":\"fixed\",\"size\":32}", -3064184465700546786},
        {"{ \"items\":{\"type\":\"null\"},\"type\":\"array\"}",
         "{\"type\":\"array\",\"items\":\"null\"}", -589620603366471059},
        {"{ \"values\":\"string\",\"type\":\"map\"}", "{\"type\":\"map\",\"values\":\"string\"}",
         -8732877298790414990},
        {"{\"name\":\"PigValue\",\"type\":\"record\",\"fields\":[{\"name\":\"value\",\"type\":["
         "\"null\",\"int\",\"long\",\"PigValue\"]}]}",
         "{\"name\":\"PigValue\",\"type\":\"record\",\"fields\":[{\"name\":\"value\",\"type\":["
         "\"null\",\"int\",\"long\",\"PigValue\"]}]}",
         -1759257747318642341},
        {"{\"fields\":[],\"type\":\"record\",\"name\":\"foo\",\"namespace\":\"x.y\"}",
         "{\"name\":\"x.y.foo\",\"type\":\"record\",\"fields\":[]}", 5916914534497305771},
        {"{\"fields\":[],\"type\":\"record\",\"name\":\"a.b.foo\",\"namespace\":\"x.y\"}",
         "{\"name\":\"a.b.foo\",\"type\":\"record\",\"fields\":[]}", -4616218487480524110},
        {"{\"fields\":[],\"type\":\"record\",\"name\":\"foo\",\"doc\":\"foo\",\"aliases\":[\"bar\"]"
         "}",
         "{\"name\":\"foo\",\"type\":\"record\",\"fields\":[]}", -4824392279771201922},
    };
    struct buf buf = {0};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct schema *schema = parse(*state, rows[i].source);
        buf_clear(&buf);
        avsc_canonical(schema, &buf);
        if (!slice_eq(buf_slice(&buf), slice_str(rows[i].canonical)))
            fail_msg("%.*s is not %s", SLICE_FMT(buf_slice(&buf)), rows[i].canonical);
        assert_int_equal((int64_t)io_avro_schema_fingerprint(schema), rows[i].fingerprint);
    }
    buf_fini(&buf);
}

static void a_canonical_form_has_itself_as_canonical_form(void **state)
{
    struct buf first = {0};
    struct buf second = {0};
    avsc_canonical(parse(*state, order), &first);
    buf_byte(&first, '\0');
    avsc_canonical(parse(*state, first.ptr), &second);
    buf_byte(&second, '\0');
    assert_string_equal(first.ptr, second.ptr);
    buf_fini(&first);
    buf_fini(&second);
}

static void a_schema_is_read_from_a_file(void **state)
{
    char path[] = "/tmp/kasaga-avsc-XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(write(file, "\"string\"\n", 9), 9);
    assert_int_equal(close(file), 0);
    const struct schema *schema;
    uint64_t fingerprint = 0;
    assert_int_equal(io_avro_schema_load(path, *state, &schema, NULL), KA_OK);
    assert_int_equal(schema->type, SCHEMA_STRING);
    assert_int_equal(io_avro_fingerprint(path, &fingerprint, NULL), KA_OK);
    assert_int_equal((int64_t)fingerprint, -8142146995180207161);
    assert_int_equal(unlink(path), 0);
}

static void file_errors_name_the_file(void **state)
{
    const struct schema *schema;
    uint64_t fingerprint;
    struct err_text text;
    assert_int_equal(io_avro_schema_load("/no/such.avsc", *state, &schema, &text), KA_ERR_IO);
    assert_string_equal(text.text, "/no/such.avsc: No such file or directory");
    assert_int_equal(io_avro_schema_load("/tmp", *state, &schema, &text), KA_ERR_IO);
    assert_string_equal(text.text, "/tmp: Is a directory");
    assert_int_equal(io_avro_schema_load("/dev/null", *state, &schema, &text), KA_ERR_JSON);
    assert_string_equal(text.text, "/dev/null: byte 0: value expected");
    assert_int_equal(io_avro_schema_load("/dev/zero", *state, &schema, &text), KA_ERR_TOO_LARGE);
    assert_int_equal(io_avro_fingerprint("/no/such.avsc", &fingerprint, &text), KA_ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_record_becomes_a_tree, set_up, tear_down),
        cmocka_unit_test_setup_teardown(references_are_pointers_also_to_oneself, set_up, tear_down),
        cmocka_unit_test_setup_teardown(defaults_are_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_avro_is_refused_with_its_place, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(every_truncation_of_a_schema_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(too_many_fields_and_types_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            canonical_forms_and_fingerprints_are_those_of_the_specification, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_canonical_form_has_itself_as_canonical_form, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_schema_is_read_from_a_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(file_errors_name_the_file, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
