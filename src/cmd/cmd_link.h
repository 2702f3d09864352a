// SPDX-License-Identifier: Apache-2.0
// What the parts of `kasaga link` share: the progress of all links from <app>.links, and the source
// of one of them. Each part is one file.
#ifndef KA_CMD_CMD_LINK_H
#define KA_CMD_CMD_LINK_H

#include "cmd/cmd_app.h"
#include "core/link_form.h"

struct link_options {
    const char *node;
    const char *to;
    const char *reason;
    const char *group;
    bool yes;
};

// One record of <app>.links; everything in the arena of the app.
struct link_row {
    struct link_progress progress;
    int32_t slot;
};
struct link_beat {
    const char *source;
    const char *node;
    struct slice json;
    int64_t time_ms; // of the record
};
struct link_rows {
    struct link_row *rows; // by source, topic, partition
    size_t count;
    struct link_beat *beats; // by source, node
    size_t beat_count;
    int32_t slots;
};
// Reads all of <app>.links. An exit code; what is wrong has been said.
KA_MUST_USE int link_rows_read(struct cmd_app *app, struct link_rows *rows);
// NULL if there is none.
const struct link_row *link_row_find(const struct link_rows *rows, const char *source,
                                     const char *topic, int32_t partition);

// The cluster of a link.
struct link_source {
    const struct config_link *config;
    struct io_kafka_config kafka;
    struct io_kafka_admin *admin;
};
// False: it is said, *exit_code is set, nothing is left to close.
KA_MUST_USE bool link_source_open(struct cmd_app *app, const char *name, struct link_source *source,
                                  int *exit_code);
void link_source_close(struct link_source *source);

// "topic/partition", split at the last slash.
bool link_place(struct cmd_app *app, const char *text, const char **topic, int32_t *partition);

int cmd_link_run(struct cmd_app *app, const struct cmd_common *common, const char *node);
int cmd_link_status(struct cmd_app *app, const struct cmd_common *common);
int cmd_link_skip(struct cmd_app *app, const struct cmd_common *common, const char *source,
                  const char *place, const struct link_options *options);
int cmd_link_translate(struct cmd_app *app, const struct cmd_common *common, const char *source,
                       const struct link_options *options);

#endif
