// SPDX-License-Identifier: Apache-2.0
// The numbers of JSON: arbitrary decimal text, of which some fit an int64_t and most a double.
#include "core/json.h"
#include "core/json_internal.h"

#include <math.h>
#include <stdlib.h>

// Digits beyond these cannot change a double but by half a unit in the last place of one that is
// given to 800 digits; the rest is only counted.
enum { DIGITS_MAX = 800, EXPONENT_MAX = 1000000 };

struct decimal {
    bool negative;
    const char *digits; // integer part, point and fraction
    const char *digits_end;
    int64_t exponent; // what stands behind the 'e', cut at +-EXPONENT_MAX
};

static int64_t read_exponent(const char *at, const char *end)
{
    bool negative = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+'))
        at++;
    int64_t value = 0;
    for (; at < end && json_is_digit(*at); at++)
        if (value < EXPONENT_MAX)
            value = value * 10 + (*at - '0');
    return negative ? -value : value;
}

static bool read_decimal(struct slice value, struct decimal *out)
{
    struct slice number = json_trim(value);
    if (number.len == 0 || (number.ptr[0] != '-' && !json_is_digit(number.ptr[0])))
        return false;
    const char *at = number.ptr;
    const char *end = number.ptr + number.len;
    out->negative = *at == '-';
    out->digits = at + (out->negative ? 1 : 0);
    at = out->digits;
    while (at < end && *at != 'e' && *at != 'E')
        at++;
    out->digits_end = at;
    out->exponent = at < end ? read_exponent(at + 1, end) : 0;
    return true;
}

// value * 10 + digit in the negative range, which holds one number more.
static bool push_digit(int64_t *negated, int digit)
{
    if (*negated < INT64_MIN / 10)
        return false;
    int64_t tenfold = *negated * 10;
    if (tenfold < INT64_MIN + digit)
        return false;
    *negated = tenfold - digit;
    return true;
}

// How many digits of the integer part there are once the exponent has moved the point.
static int64_t point_after(const struct decimal *decimal)
{
    const char *point =
        memchr(decimal->digits, '.', (size_t)(decimal->digits_end - decimal->digits));
    const char *whole_end = point == NULL ? decimal->digits_end : point;
    return (whole_end - decimal->digits) + decimal->exponent;
}

bool json_i64(struct slice value, int64_t *out)
{
    struct decimal decimal;
    if (!read_decimal(value, &decimal))
        return false;
    int64_t left = point_after(&decimal); // digits that belong to the integer
    int64_t negated = 0;
    for (const char *at = decimal.digits; at < decimal.digits_end; at++) {
        if (*at == '.')
            continue;
        if (left <= 0 ? *at != '0' : !push_digit(&negated, *at - '0'))
            return false;
        left--;
    }
    for (; left > 0 && negated != 0; left--)
        if (!push_digit(&negated, 0))
            return false;
    if (!decimal.negative && negated == INT64_MIN)
        return false;
    *out = decimal.negative ? negated : -negated;
    return true;
}

int64_t json_i64_member(struct slice object, struct slice name, int64_t fallback)
{
    int64_t number;
    struct slice value = json_member(object, name);
    return !slice_none(value) && json_i64(value, &number) ? number : fallback;
}

// Clinger's fast path: up to 2^53 and powers of ten up to 10^22 are exact as doubles, so one
// operation rounds once and right.
static bool exact_f64(const struct decimal *decimal, double *out)
{
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    if (decimal->digits_end - decimal->digits > 17)
        return false;
    uint64_t mantissa = 0;
    int64_t scale = decimal->exponent;
    bool fraction = false;
    for (const char *at = decimal->digits; at < decimal->digits_end; at++) {
        if (*at == '.') {
            fraction = true;
            continue;
        }
        mantissa = mantissa * 10 + (uint64_t)(*at - '0');
        scale -= fraction ? 1 : 0;
    }
    if (mantissa > (UINT64_C(1) << 53) || scale < -22 || scale > 22)
        return false;
    double result = (double)mantissa;
    result = scale < 0 ? result / powers[-scale] : result * powers[scale];
    *out = decimal->negative ? -result : result;
    return true;
}

// Rewrites the number as 0.DIGITSe<exponent> with at most DIGITS_MAX digits for strtod, so that
// neither the length of the text nor a locale's decimal point matters: there is no point at all.
static double slow_f64(const struct decimal *decimal)
{
    char text[DIGITS_MAX + 32];
    size_t len = 0;
    int64_t exponent = point_after(decimal);
    for (const char *at = decimal->digits; at < decimal->digits_end; at++) {
        if (*at == '.')
            continue;
        if (len == 0 && *at == '0')
            exponent--;
        else if (len < DIGITS_MAX)
            text[len++] = *at;
        else if (*at != '0')
            text[DIGITS_MAX - 1] = text[DIGITS_MAX - 1] == '0' ? '1' : text[DIGITS_MAX - 1];
    }
    if (len == 0)
        return decimal->negative ? -0.0 : 0.0;
    exponent -= (int64_t)len;
    text[len++] = 'e';
    if (exponent < 0)
        text[len++] = '-';
    uint64_t rest = (uint64_t)(exponent < 0 ? -exponent : exponent);
    char digits[24];
    size_t pos = sizeof digits;
    do {
        digits[--pos] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    memcpy(text + len, digits + pos, sizeof digits - pos);
    text[len + sizeof digits - pos] = '\0';
    double result = strtod(text, NULL);
    return decimal->negative ? -result : result;
}

bool json_f64(struct slice value, double *out)
{
    struct decimal decimal;
    if (!read_decimal(value, &decimal))
        return false;
    double result;
    if (!exact_f64(&decimal, &result))
        result = slow_f64(&decimal);
    if (isinf(result))
        return false;
    *out = result;
    return true;
}
