// SPDX-License-Identifier: Apache-2.0
// The history of one key as commands read it: documents of <app>.history in order, and, for who
// waits for the effect of a command, what became of that command in <app>.dlq.
#ifndef KA_CMD_CMD_HISTORY_H
#define KA_CMD_CMD_HISTORY_H

#include "cmd/cmd_app.h"

enum saga_end {
    SAGA_GOES_ON,
    SAGA_END_COMPLETED,
    SAGA_END_COMPENSATED,
    SAGA_END_STUCK,
    SAGA_END_TERMINATED
};

// One document. Texts are empty and numbers -1 where it says nothing; all of it lives in the arena
// that was given to cmd_follow_next.
struct history_line {
    struct slice doc;
    struct slice type; // without "kasaga.": "step.completed"
    int64_t incarnation;
    int64_t sequence;
    int64_t time_ms;
    int64_t due_ms;
    int64_t index; // of the step
    int64_t attempt;
    struct slice step;
    struct slice action;
    struct slice group; // the parallel step whose branch it is
    struct slice code;
    struct slice message;
    struct slice cause;
    struct slice actor;
    struct slice reason;
    struct slice data;
    struct slice region;    // of a step in another region
    struct slice placement; // why a step runs where it does
    struct slice ran_by;
    bool compensation;
    bool maybe_done;
    enum saga_end end;
};

enum follow_kind {
    FOLLOW_NOTHING, // nothing came in time
    FOLLOW_LINE,
    FOLLOW_DEAD, // the watched command is in the dlq: code and message of the line say why
    FOLLOW_END,  // the history is read to its end, for now
    FOLLOW_ERROR
};

struct cmd_follow {
    struct io_kafka_reader *reader;
    const char *key;
    const char *history;
    const char *dlq;
    int32_t partition;
    int64_t command; // inbox offset of the watched command; -1 = none
};

// Opens the partition of the key, from its oldest record or from what comes now. `watch` adds the
// dlq. KA_ERR_* with the detail in `text`. cmd_follow_close also after an error.
KA_MUST_USE enum ka_err cmd_follow_open(struct cmd_app *app, const char *key, bool from_start,
                                        bool watch, struct cmd_follow *follow,
                                        struct err_text *text);
void cmd_follow_close(struct cmd_follow *follow);
enum follow_kind cmd_follow_next(struct cmd_follow *follow, int timeout_ms, struct arena *arena,
                                 struct history_line *line, enum ka_err *err,
                                 struct err_text *text);

// Parses one document; false if it is not one of kasaga's history.
bool history_line_parse(struct slice doc, struct arena *arena, struct history_line *line);

const char *saga_end_name(enum saga_end end); // "completed"
int saga_end_exit(enum saga_end end);         // 0, 3 or 4

#endif
