// SPDX-License-Identifier: Apache-2.0
// Values as jq 1.6 sees them: their order, their length, how they are printed. Numbers are
// doubles here, as in jq; the bytes of a number that is only passed on are never touched.
#include "core/expr_internal.h"
#include "core/json_internal.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

const char *value_type_name(struct slice value)
{
    static const char *const names[] = {
        [JSON_NULL] = "null",     [JSON_FALSE] = "boolean", [JSON_TRUE] = "boolean",
        [JSON_NUMBER] = "number", [JSON_STRING] = "string", [JSON_ARRAY] = "array",
        [JSON_OBJECT] = "object"};
    return names[json_type(value)];
}

static double number_of(struct slice value)
{
    double number;
    if (json_f64(value, &number))
        return number;
    return *json_trim(value).ptr == '-' ? -HUGE_VAL : HUGE_VAL;
}

static int compare_bytes(struct slice a, struct slice b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common == 0 ? 0 : memcmp(a.ptr, b.ptr, common);
    if (order != 0)
        return order;
    return a.len < b.len ? -1 : a.len > b.len;
}

static int by_name(const void *left, const void *right)
{
    const struct member *a = left;
    const struct member *b = right;
    int order = compare_bytes(a->name, b->name);
    if (order != 0)
        return order;
    return a->order < b->order ? -1 : a->order > b->order;
}

static int by_order(const void *left, const void *right)
{
    const struct member *a = left;
    const struct member *b = right;
    return a->order < b->order ? -1 : a->order > b->order;
}

static size_t count_of(struct slice container)
{
    struct json_walk walk = json_walk(container);
    struct slice name;
    struct slice value;
    size_t count = 0;
    while (json_next(&walk, &name, &value))
        count++;
    return count;
}

struct member *value_members(struct slice object, bool sorted, struct arena *arena, size_t *count)
{
    size_t all = count_of(object);
    struct member *members = arena_alloc(arena, all * sizeof *members);
    struct json_walk walk = json_walk(object);
    struct slice name;
    for (size_t i = 0; i < all && json_next(&walk, &name, &members[i].value); i++) {
        members[i].name = json_text(name, arena);
        members[i].order = i;
    }
    qsort(members, all, sizeof *members, by_name);
    size_t kept = 0;
    for (size_t i = 0; i < all; i++) {
        if (kept > 0 && slice_eq(members[kept - 1].name, members[i].name))
            members[kept - 1].value = members[i].value;
        else
            members[kept++] = members[i];
    }
    if (!sorted)
        qsort(members, kept, sizeof *members, by_order);
    *count = kept;
    return members;
}

static int compare_arrays(struct slice a, struct slice b, struct arena *arena)
{
    struct json_walk left = json_walk(a);
    struct json_walk right = json_walk(b);
    struct slice name;
    struct slice x;
    struct slice y;
    for (;;) {
        bool more_left = json_next(&left, &name, &x);
        bool more_right = json_next(&right, &name, &y);
        if (!more_left || !more_right)
            return more_left - more_right;
        int order = value_compare(x, y, arena);
        if (order != 0)
            return order;
    }
}

// First the sorted names as an array, then the values in the order of the names.
static int compare_objects(struct slice a, struct slice b, struct arena *arena)
{
    size_t left_count;
    size_t right_count;
    struct member *left = value_members(a, true, arena, &left_count);
    struct member *right = value_members(b, true, arena, &right_count);
    for (size_t i = 0; i < left_count && i < right_count; i++) {
        int order = compare_bytes(left[i].name, right[i].name);
        if (order != 0)
            return order;
    }
    if (left_count != right_count)
        return left_count < right_count ? -1 : 1;
    for (size_t i = 0; i < left_count; i++) {
        int order = value_compare(left[i].value, right[i].value, arena);
        if (order != 0)
            return order;
    }
    return 0;
}

int value_compare(struct slice a, struct slice b, struct arena *arena)
{
    enum json_type left = json_type(a);
    enum json_type right = json_type(b);
    if (left != right)
        return left < right ? -1 : 1;
    double x;
    double y;
    switch (left) {
    case JSON_NULL:
    case JSON_FALSE:
    case JSON_TRUE:
        return 0;
    case JSON_NUMBER:
        x = number_of(a);
        y = number_of(b);
        return x < y ? -1 : x > y;
    case JSON_STRING:
        return compare_bytes(json_text(a, arena), json_text(b, arena));
    case JSON_ARRAY:
        return compare_arrays(a, b, arena);
    case JSON_OBJECT:
        return compare_objects(a, b, arena);
    }
    return 0;
}

static size_t count_code_points(struct slice text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.len; i++)
        count += ((unsigned char)text.ptr[i] & 0xC0) != 0x80;
    return count;
}

static struct slice decimal(size_t count, struct arena *arena)
{
    char *text = arena_alloc(arena, EXPR_NUMBER_MAX);
    int len = snprintf(text, EXPR_NUMBER_MAX, "%zu", count);
    return slice_of(text, (size_t)len);
}

bool value_length(struct slice value, struct arena *arena, struct slice *out)
{
    size_t count = 0;
    switch (json_type(value)) {
    case JSON_FALSE:
    case JSON_TRUE:
        return false;
    case JSON_NULL:
        break;
    case JSON_NUMBER: // its absolute value
        *out = value.ptr[0] == '-' ? slice_of(value.ptr + 1, value.len - 1) : value;
        return true;
    case JSON_STRING:
        count = count_code_points(json_text(value, arena));
        break;
    case JSON_ARRAY:
        count = count_of(value);
        break;
    case JSON_OBJECT:
        (void)value_members(value, true, arena, &count);
        break;
    }
    *out = decimal(count, arena);
    return true;
}

// "d.ddde-05" with the fewest digits that read back as the same double; returns their number.
static int shortest(double number, char *out, size_t size)
{
    for (int digits = 1; digits < 17; digits++) {
        (void)snprintf(out, size, "%.*e", digits - 1, number);
        if (strtod(out, NULL) == number)
            return digits;
    }
    (void)snprintf(out, size, "%.16e", number);
    return 17;
}

// The digits without the point, and where the point belongs.
static size_t place_digits(const char *digits, int count, int point, char *out)
{
    size_t len = 0;
    if (point <= 0) {
        out[len++] = '0';
        out[len++] = '.';
        for (int i = point; i < 0; i++)
            out[len++] = '0';
    }
    for (int i = 0; i < count || i < point; i++) {
        if (i == point && i > 0)
            out[len++] = '.';
        out[len++] = i < count ? digits[i] : '0';
    }
    return len;
}

size_t value_format(double number, char *out)
{
    char text[EXPR_NUMBER_MAX];
    char digits[20];
    size_t len = 0;
    if (signbit(number))
        out[len++] = '-';
    number = fabs(number) > DBL_MAX ? DBL_MAX : fabs(number);
    int count = shortest(number, text, sizeof text);
    int exponent = atoi(strchr(text, 'e') + 1);
    digits[0] = text[0];
    if (count > 1)
        memcpy(digits + 1, text + 2, (size_t)count - 1);
    while (count > 1 && digits[count - 1] == '0')
        count--;
    int point = exponent + 1; // as in jq's jvp_dtoa_fmt
    if (point > -4 && point <= count + 15) {
        len += place_digits(digits, count, point, out + len);
        out[len] = '\0';
        return len;
    }
    len += place_digits(digits, count, 1, out + len);
    return len + (size_t)snprintf(out + len, EXPR_NUMBER_MAX - len, "e%+.2d", exponent);
}

static void put_value(struct buf *buf, struct slice value, struct arena *arena);

static void put_members(struct buf *buf, struct slice object, struct arena *arena)
{
    size_t count;
    struct member *members = value_members(object, false, arena, &count);
    buf_byte(buf, '{');
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            buf_byte(buf, ',');
        buf_json_str(buf, members[i].name);
        buf_byte(buf, ':');
        put_value(buf, members[i].value, arena);
    }
    buf_byte(buf, '}');
}

static void put_elements(struct buf *buf, struct slice array, struct arena *arena)
{
    struct json_walk walk = json_walk(array);
    struct slice name;
    struct slice value;
    size_t start = buf->len;
    while (json_next(&walk, &name, &value)) {
        buf_byte(buf, buf->len == start ? '[' : ',');
        put_value(buf, value, arena);
    }
    if (buf->len == start)
        buf_byte(buf, '[');
    buf_byte(buf, ']');
}

// As jq prints it.
static void put_value(struct buf *buf, struct slice value, struct arena *arena)
{
    char text[EXPR_NUMBER_MAX];
    switch (json_type(value)) {
    case JSON_NULL:
    case JSON_FALSE:
    case JSON_TRUE:
        buf_slice_put(buf, value);
        return;
    case JSON_NUMBER:
        buf_put(buf, text, value_format(number_of(value), text));
        return;
    case JSON_STRING:
        buf_json_str(buf, json_text(value, arena));
        return;
    case JSON_ARRAY:
        put_elements(buf, value, arena);
        return;
    case JSON_OBJECT:
        put_members(buf, value, arena);
        return;
    }
}

struct slice value_tostring(struct slice value, struct arena *arena)
{
    if (json_type(value) == JSON_STRING)
        return value;
    struct buf dump = {0};
    struct buf string = {0};
    put_value(&dump, value, arena);
    buf_json_str(&string, buf_slice(&dump));
    struct slice result = buf_take(&string, 0, arena);
    buf_fini(&dump);
    buf_fini(&string);
    return result;
}
