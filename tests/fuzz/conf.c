// SPDX-License-Identifier: Apache-2.0
// A configuration from memory: it is refused with a report, or what it normalises to loads again
// (but for expressions that only libjq runs: no engine is given here).
#include "io/conf.h"
#include "core/assert.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);
const char *__lsan_default_suppressions(void);

// libconfig 1.5 forgets the string that it was reading when the syntax is wrong.
const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig.so\n";
}

static const struct action_def action = {.name = "any"};

static const struct action_def *find_action(void *context, const char *name)
{
    return io_conf_action(context, name) == NULL ? NULL : &action;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct config *config = NULL;
    struct conf_report report = {0};
    struct buf text = {0};
    enum ka_err err = io_conf_parse(slice_of(bytes, len), &config, &report);
    KA_ASSERT((err == KA_OK) == (config != NULL));
    KA_ASSERT((err == KA_OK) == (report.errors == 0));
    conf_report_text(&report, &text);
    for (size_t i = 0; config != NULL && i < config->saga_count; i++) {
        struct saga_def *def = NULL;
        struct err_text why = {{0}};
        struct def_env env = {NULL, find_action, config, 0};
        const struct config_saga *saga = &config->sagas[i];
        err = def_load(saga->json, &saga->id, &env, &def, &why);
        KA_ASSERT(err == KA_OK || strstr(why.text, "\"when\"") || strstr(why.text, "input\""));
        def_free(&def);
    }
    io_conf_free(&config);
    conf_report_fini(&report);
    buf_fini(&text);
    return 0;
}
