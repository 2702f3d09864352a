// SPDX-License-Identifier: Apache-2.0
// kasaga link run
#include "cmd/cmd_link.h"

#include <string.h>

static int run(struct cmd_app *app, const struct cmd_common *common, const struct cmd_words *words,
               const char *node)
{
    if (app->config->link_count == 0)
        return cmd_complain(CMD_BAD_CONFIG, "%s has no links", common->config);
    if (strcmp(words->items[0], "run") == 0 && words->count == 1)
        return cmd_link_run(app, common, node);
    return cmd_complain(CMD_USAGE, "link: run");
}

int cmd_link(int argc, char **argv)
{
    struct cmd_app app;
    struct cmd_common common;
    struct cmd_words words;
    const char *node = NULL;
    const struct cmd_option options[] = {
        {.name = "node",
         .argument = "NAME",
         .text = &node,
         .help = "run: name of this process, unique in the app (default: `node` of the file)"},
    };
    const struct cmd_spec spec = {
        .synopsis = "link run [--node NAME]",
        .summary =
            "Copies topics of other clusters into this one, exactly once, as `links` of the\n"
            "file says. Start more of them to share the work; `kasaga worker` does the same\n"
            "beside its shards.",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
        .words_min = 1,
        .words_max = 1,
    };
    int code;
    if (!cmd_parse(&spec, argc, argv, &common, &words, &code))
        return code;
    if (!cmd_app_open(&common, &app, &code))
        return code;
    code = run(&app, &common, &words, node);
    cmd_app_close(&app);
    return code;
}
