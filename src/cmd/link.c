// SPDX-License-Identifier: Apache-2.0
// kasaga link run|status|skip|translate
#include "cmd/cmd_link.h"

static int run(struct cmd_app *app, const struct cmd_common *common, const struct cmd_words *words,
               const struct link_options *options)
{
    const char *verb = words->items[0];
    if (app->config->link_count == 0)
        return cmd_complain(CMD_BAD_CONFIG, "%s has no links", common->config);
    if (strcmp(verb, "run") == 0 && words->count == 1)
        return cmd_link_run(app, common, options->node);
    if (strcmp(verb, "status") == 0 && words->count == 1)
        return cmd_link_status(app, common);
    if (strcmp(verb, "skip") == 0 && words->count == 3)
        return cmd_link_skip(app, common, words->items[1], words->items[2], options);
    if (strcmp(verb, "translate") == 0 && words->count == 2)
        return cmd_link_translate(app, common, words->items[1], options);
    return cmd_complain(CMD_USAGE, "link: run, status, skip SOURCE TOPIC/PARTITION, or translate "
                                   "SOURCE");
}

int cmd_link(int argc, char **argv)
{
    struct cmd_app app;
    struct cmd_common common;
    struct cmd_words words;
    struct link_options given = {.yes = false};
    const struct cmd_option options[] = {
        {"node", 0, "NAME",
         "run: name of this process, unique in the app (default: `node` of the file)", &given.node,
         NULL},
        {"to", 0, "OFFSET", "skip: where to go on: an offset of the source, start or end",
         &given.to, NULL},
        {"reason", 0, "TEXT", "skip: why; it stands in the progress", &given.reason, NULL},
        {"group", 'g', "NAME", "translate: the group of the source", &given.group, NULL},
        {"yes", 'y', NULL, "skip: without asking; translate: write the offsets here", NULL,
         &given.yes},
    };
    const struct cmd_spec spec = {
        .synopsis = "link run [--node NAME]\n"
                    "link status\n"
                    "link skip SOURCE TOPIC/PARTITION --to OFFSET --reason TEXT [--yes]\n"
                    "link translate SOURCE --group NAME [--yes]",
        .summary =
            "Copies topics of other clusters into this one, exactly once, as `links` of the\n"
            "file says; tells how far each source partition is; lets one that stopped go on\n"
            "elsewhere; and translates the offsets of a group of the source. Start more of\n"
            "`run` to share the work; `kasaga worker` does the same beside its shards.",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
        .words_min = 1,
        .words_max = 3,
    };
    int code;
    if (!cmd_parse(&spec, argc, argv, &common, &words, &code))
        return code;
    if (!cmd_app_open(&common, &app, &code))
        return code;
    code = run(&app, &common, &words, &given);
    cmd_app_close(&app);
    return code;
}
