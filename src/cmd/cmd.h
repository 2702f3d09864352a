// SPDX-License-Identifier: Apache-2.0
// What the subcommands share: options, exit codes, output. Data goes to stdout, everything else to
// stderr. A command is one file src/cmd/<name>.c with one function; src/main.c has the table.
#ifndef KA_CMD_CMD_H
#define KA_CMD_CMD_H

#include "core/buf.h"
#include "core/err.h"

#include <stdint.h>

// Stable: scripts branch on them.
enum cmd_exit {
    CMD_OK = 0,
    CMD_FAILED = 1,
    CMD_USAGE = 2,
    CMD_COMPENSATED = 3, // the saga ended undone
    CMD_STUCK = 4,       // the saga is stuck, failed or was terminated
    CMD_NOT_FOUND = 5,
    CMD_UNREACHABLE = 69, // no cluster, no endpoint
    CMD_TIMEOUT = 75,     // not ended in the time given: it may go on
    CMD_BAD_CONFIG = 78
};

enum cmd_output { CMD_TEXT, CMD_JSON, CMD_JSONL };

// What every command takes: -c FILE (or KASAGA_CONFIG), --bootstrap LIST (or the file's),
// -o text|json|jsonl, --help.
struct cmd_common {
    const char *config; // NULL = none given
    const char *bootstrap;
    enum cmd_output output;
};

// An option of one command. With an argument: `argument` is its name in the help, the value goes
// to *text. Without: *flag becomes true.
struct cmd_option {
    const char *name; // without the dashes
    char letter;      // 0 = none
    const char *argument;
    const char *help;
    const char **text;
    bool *flag;
};

struct cmd_spec {
    const char *synopsis; // "dlq ls [--partition N] [--limit N]"; several lines are several forms
    const char *summary;  // what it does, one or more full sentences
    const struct cmd_option *options;
    size_t option_count;
    int words_min; // arguments that are not options
    int words_max;
};

enum { CMD_WORDS_MAX = 8 };
struct cmd_words {
    const char *items[CMD_WORDS_MAX];
    int count;
};

// Parses argv[1…]; argv[0] is the command's name. "--" ends the options. False: the help was asked
// for (exit code CMD_OK, printed on stdout) or the usage was wrong (CMD_USAGE, said on stderr).
KA_MUST_USE bool cmd_parse(const struct cmd_spec *spec, int argc, char **argv,
                           struct cmd_common *common, struct cmd_words *words, int *exit_code);

// "kasaga: <format>" on stderr; returns `code`.
int cmd_complain(int code, const char *format, ...) KA_PRINTF(2, 3);
// The detail of an error on stderr; returns the exit code that fits its kind. A timeout of a call
// to the cluster is CMD_UNREACHABLE.
int cmd_fail(enum ka_err err, const struct err_text *text);
int cmd_exit_of(enum ka_err err);

// Writes to stdout; false (and the reason on stderr) when that failed: the reader went away.
bool cmd_write(const struct buf *buf);
// The same, then empties the buffer.
bool cmd_flush(struct buf *buf);
// A note for a person: stderr, nothing when the output is not text.
void cmd_note(const struct cmd_common *common, const char *format, ...) KA_PRINTF(2, 3);

// Asks on the terminal. False when the answer is not yes, or when there is no terminal.
bool cmd_confirm(const char *question);
bool cmd_is_terminal(void); // both ends: one can ask and be answered

// Who runs the command: $USER, or the user database's name, or "unknown". Static memory.
const char *cmd_user(void);

// An integer and its unit, ms, s, m, h or d; false for anything else ("5", "1.5h").
bool cmd_duration(const char *text, int64_t *ms);
bool cmd_number(const char *text, int64_t min, int64_t max, int64_t *number);

int cmd_audit(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_dev(int argc, char **argv);
int cmd_dlq(int argc, char **argv);
int cmd_errors(int argc, char **argv);
int cmd_replay(int argc, char **argv);
int cmd_link(int argc, char **argv);
int cmd_saga(int argc, char **argv);
int cmd_shard(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_submit(int argc, char **argv);
int cmd_topics(int argc, char **argv);
int cmd_trace(int argc, char **argv);
int cmd_version(int argc, char **argv);
int cmd_worker(int argc, char **argv);

#endif
