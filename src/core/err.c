// SPDX-License-Identifier: Apache-2.0
#include "core/err.h"

#include "core/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct err_row {
    const char *name;
    const char *text;
    enum err_class class;
};

static const struct err_row rows[] = {
#define X(code, class_, text_) [KA_ERR_##code] = {#code, text_, ERR_CLASS_##class_},
    KA_ERR_LIST(X)
#undef X
};

static const struct err_row *row_of(enum ka_err err)
{
    KA_ASSERT((size_t)err < sizeof rows / sizeof rows[0]);
    return &rows[err];
}

const char *err_name(enum ka_err err)
{
    return row_of(err)->name;
}

enum err_class err_class(enum ka_err err)
{
    return row_of(err)->class;
}

const char *err_string(enum ka_err err)
{
    return row_of(err)->text;
}

enum ka_err err_set(struct err_text *text, enum ka_err err, const char *format, ...)
{
    if (text == NULL)
        return err;
    va_list args;
    va_start(args, format);
    vsnprintf(text->text, sizeof text->text, format, args);
    va_end(args);
    return err;
}

enum ka_err err_wrap(struct err_text *text, enum ka_err err, const char *format, ...)
{
    if (text == NULL)
        return err;
    struct err_text inner = *text;
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text->text, sizeof text->text, format, args);
    va_end(args);
    if (len < 0 || (size_t)len >= sizeof text->text - 1)
        return err;
    snprintf(text->text + len, sizeof text->text - (size_t)len, ": %s", inner.text);
    return err;
}
