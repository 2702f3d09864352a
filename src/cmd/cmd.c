// SPDX-License-Identifier: Apache-2.0
#include "cmd/cmd.h"

#include "core/assert.h"
#include "io/log.h"

#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct cmd_option *find_long(const struct cmd_option *options, size_t count,
                                          const char *name, size_t len)
{
    for (size_t i = 0; i < count; i++) {
        if (strncmp(options[i].name, name, len) == 0 && options[i].name[len] == '\0')
            return &options[i];
    }
    return NULL;
}

static const struct cmd_option *find_letter(const struct cmd_option *options, size_t count,
                                            char letter)
{
    for (size_t i = 0; i < count; i++) {
        if (options[i].letter == letter)
            return &options[i];
    }
    return NULL;
}

static void put_option(struct buf *buf, const struct cmd_option *option)
{
    size_t from = buf->len;
    buf_str(buf, "  ");
    if (option->letter != '\0') {
        buf_byte(buf, '-');
        buf_byte(buf, option->letter);
        buf_str(buf, ", ");
    }
    buf_str(buf, "--");
    buf_str(buf, option->name);
    if (option->argument != NULL) {
        buf_byte(buf, ' ');
        buf_str(buf, option->argument);
    }
    while (buf->len - from < 26)
        buf_byte(buf, ' ');
    buf_byte(buf, ' ');
    buf_str(buf, option->help);
    buf_byte(buf, '\n');
}

static void put_usage(struct buf *buf, const struct cmd_spec *spec)
{
    const char *line = spec->synopsis;
    while (line != NULL && *line != '\0') {
        size_t len = strcspn(line, "\n");
        buf_str(buf, line == spec->synopsis ? "usage: kasaga " : "       kasaga ");
        buf_put(buf, line, len);
        buf_byte(buf, '\n');
        line += len + (line[len] == '\n');
    }
}

static void print_help(const struct cmd_spec *spec, const struct cmd_option *common,
                       size_t common_count)
{
    struct buf buf = {0};
    put_usage(&buf, spec);
    buf_byte(&buf, '\n');
    buf_str(&buf, spec->summary);
    buf_str(&buf, "\n\n");
    for (size_t i = 0; i < spec->option_count; i++)
        put_option(&buf, &spec->options[i]);
    for (size_t i = 0; i < common_count; i++)
        put_option(&buf, &common[i]);
    (void)cmd_write(&buf);
    buf_fini(&buf);
}

static int bad_usage(const struct cmd_spec *spec, const char *what, const char *which)
{
    struct buf buf = {0};
    put_usage(&buf, spec);
    fprintf(stderr, "kasaga: %s%s\n%.*s", what, which, (int)buf.len, buf.ptr);
    buf_fini(&buf);
    return CMD_USAGE;
}

// One option at argv[*at]; moves *at over its argument. NULL when all is well, else what is wrong.
static const char *take_option(const struct cmd_spec *spec, const struct cmd_option *common,
                               size_t common_count, char **argv, int argc, int *at)
{
    const char *word = argv[*at];
    const char *value = NULL;
    const struct cmd_option *option;
    if (word[1] == '-') {
        size_t len = strcspn(word + 2, "=");
        value = word[2 + len] == '=' ? word + 3 + len : NULL;
        option = find_long(spec->options, spec->option_count, word + 2, len);
        if (option == NULL)
            option = find_long(common, common_count, word + 2, len);
    } else {
        value = word[2] != '\0' ? word + 2 : NULL;
        option = find_letter(spec->options, spec->option_count, word[1]);
        if (option == NULL)
            option = find_letter(common, common_count, word[1]);
    }
    if (option == NULL)
        return "unknown option ";
    if (option->argument == NULL) {
        *option->flag = true;
        return value == NULL ? NULL : "no value is taken by ";
    }
    if (value == NULL && *at + 1 < argc)
        value = argv[++*at];
    *option->text = value;
    return value == NULL ? "a value is missing after " : NULL;
}

static bool take_output(const char *name, enum cmd_output *output)
{
    static const char *const names[] = {"text", "json", "jsonl"};
    *output = CMD_TEXT;
    for (size_t i = 0; name != NULL && i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(name, names[i]) == 0) {
            *output = (enum cmd_output)i;
            return true;
        }
    }
    return name == NULL;
}

// Libraries are quiet under a command: its own last line says what happened.
static void configure_log(void)
{
    struct log_config config = {.level = LOG_LEVEL_OFF, .fd = 2};
    const char *level = getenv("KASAGA_LOG");
    if (level != NULL)
        (void)log_level_parse(level, &config.level);
    log_configure(&config);
}

bool cmd_parse(const struct cmd_spec *spec, int argc, char **argv, struct cmd_common *common,
               struct cmd_words *words, int *exit_code)
{
    bool help = false, options = true;
    const char *output = NULL;
    *common = (struct cmd_common){.config = getenv("KASAGA_CONFIG")};
    *words = (struct cmd_words){.count = 0};
    const struct cmd_option shared[] = {
        {"config", 'c', "FILE", "configuration (KASAGA_CONFIG)", &common->config, NULL},
        {"bootstrap", 0, "LIST", "brokers, instead of the configured ones", &common->bootstrap,
         NULL},
        {"output", 'o', "FORM", "text, json or jsonl", &output, NULL},
        {"help", 'h', NULL, "this text", NULL, &help},
    };
    const size_t shared_count = sizeof shared / sizeof shared[0];
    KA_ASSERT(spec->words_max <= CMD_WORDS_MAX);
    configure_log();
    *exit_code = CMD_USAGE;
    for (int at = 1; at < argc; at++) {
        const char *word = argv[at];
        if (options && strcmp(word, "--") == 0) {
            options = false;
        } else if (options && word[0] == '-' && word[1] != '\0') {
            const char *wrong = take_option(spec, shared, shared_count, argv, argc, &at);
            if (wrong != NULL)
                return bad_usage(spec, wrong, word) == CMD_OK;
        } else if (words->count == spec->words_max && !help) {
            return bad_usage(spec, "too many arguments: ", word) == CMD_OK;
        } else if (words->count < spec->words_max) {
            words->items[words->count++] = word;
        }
    }
    if (help) {
        print_help(spec, shared, shared_count);
        *exit_code = CMD_OK;
        return false;
    }
    if (words->count < spec->words_min)
        return bad_usage(spec, "an argument is missing", "") == CMD_OK;
    if (!take_output(output, &common->output))
        return bad_usage(spec, "not a form of output: ", output) == CMD_OK;
    return true;
}

int cmd_complain(int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("kasaga: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return code;
}

int cmd_exit_of(enum ka_err err)
{
    if (err == KA_OK)
        return CMD_OK;
    if (err == KA_ERR_CONFIG)
        return CMD_BAD_CONFIG;
    if (err == KA_ERR_NOT_FOUND || err == KA_ERR_UNKNOWN_SAGA)
        return CMD_NOT_FOUND;
    if (err == KA_ERR_TIMEOUT || err == KA_ERR_UNREACHABLE)
        return CMD_UNREACHABLE;
    return CMD_FAILED;
}

int cmd_fail(enum ka_err err, const struct err_text *text)
{
    return cmd_complain(cmd_exit_of(err), "%s: %s", err_string(err), text->text);
}

bool cmd_write(const struct buf *buf)
{
    struct slice bytes = buf_slice(buf);
    if (fwrite(bytes.ptr, 1, bytes.len, stdout) == bytes.len && fflush(stdout) == 0)
        return true;
    if (errno != EPIPE)
        cmd_complain(CMD_FAILED, "writing the output: %s", strerror(errno));
    return false;
}

bool cmd_flush(struct buf *buf)
{
    bool written = cmd_write(buf);
    buf_clear(buf);
    return written;
}

void cmd_note(const struct cmd_common *common, const char *format, ...)
{
    if (common->output != CMD_TEXT)
        return;
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

bool cmd_is_terminal(void)
{
    return isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

bool cmd_confirm(const char *question)
{
    char answer[16] = "";
    if (!cmd_is_terminal())
        return false;
    fprintf(stderr, "%s [y/N] ", question);
    if (fgets(answer, sizeof answer, stdin) == NULL)
        return false;
    return strcmp(answer, "y\n") == 0 || strcmp(answer, "yes\n") == 0;
}

const char *cmd_user(void)
{
    const char *name = getenv("USER");
    if (name != NULL && name[0] != '\0')
        return name;
    const struct passwd *entry = getpwuid(geteuid());
    return entry == NULL ? "unknown" : entry->pw_name;
}

bool cmd_number(const char *text, int64_t min, int64_t max, int64_t *number)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < min || value > max)
        return false;
    *number = value;
    return true;
}

bool cmd_duration(const char *text, int64_t *ms)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || end == text || value < 0)
        return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(end, units[i].unit) == 0 && value <= INT64_MAX / units[i].ms) {
            *ms = value * units[i].ms;
            return true;
        }
    }
    return false;
}
