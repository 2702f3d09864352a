// SPDX-License-Identifier: Apache-2.0
#include "checker.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: checker --bootstrap HOST:PORT --app APP [options]\n"
    "  --input TOPIC:FIELD[:TYPE]  an input topic; FIELD of its JSON gives the saga's id; with a\n"
    "                              TYPE, events of other types are not counted; may be repeated\n"
    "  --steps A,B,C               steps that a completed saga has completed or skipped\n"
    "  --undo A,B                  steps that have a compensation (others are learnt from "
    "history)\n"
    "  --expect-failed RULE        inputs that must end compensated, all others must complete:\n"
    "                              FIELD=TEXT, FIELD!=TEXT, FIELD>N, FIELD<N, FIELD%N=R\n"
    "  --history all|steps|ends    what the definitions write (default all)\n"
    "  --dlq N                     records that the dlq must hold (default 0)\n"
    "  --wait SECONDS              wait that long at most until nothing is in flight\n"
    "  --allow-unfinished          sagas need not have ended\n"
    "  --live                      somebody is at work: nothing in flight is a violation\n"
    "  --rebuilt                   the state was written again: what had ended stands in chunks\n"
    "  --schemas DIR               Avro schemas of inbox and state (default schemas)\n"
    "  --fingerprints              prints those of the schemas, and ends\n"
    "  --stall SECONDS             how long an open transaction may hold readers back (default "
    "30)\n"
    "  --max N                     violations of one kind that are shown (default 20)\n"
    "  -o text|json\n"
    "exit: 0 clean, 1 violations, 2 usage or no such app, 69 unreachable\n";

static void die(const char *what, const char *why)
{
    fprintf(stderr, "checker: %s: %s\n%s", what, why, usage);
    exit(EXIT_USAGE);
}

static void put(char *to, const char *from, size_t len, const char *option)
{
    if (len == 0 || len >= NAME_SIZE)
        die(option, "a name is empty or too long");
    memcpy(to, from, len);
    to[len] = '\0';
}

static void parse_input(struct options *options, const char *text)
{
    if (options->input_count == INPUTS_MAX)
        die("--input", "too many");
    struct input_spec *input = &options->inputs[options->input_count++];
    const char *field = strchr(text, ':');
    if (field == NULL)
        die(text, "not TOPIC:FIELD");
    put(input->topic, text, (size_t)(field - text), "--input");
    const char *type = strchr(++field, ':');
    put(input->field, field, type == NULL ? strlen(field) : (size_t)(type - field), "--input");
    if (type != NULL)
        put(input->type, type + 1, strlen(type + 1), "--input");
}

static void parse_names(struct name_list *list, const char *text, const char *option)
{
    while (*text != '\0') {
        size_t len = strcspn(text, ",");
        if (list->count == STEPS_MAX)
            die(option, "too many");
        put(list->names[list->count++], text, len, option);
        text += len + (text[len] == ',');
    }
}

static void parse_rule(struct expect *rule, const char *text)
{
    size_t len = strcspn(text, "=!<>%");
    const char *at = text + len;
    put(rule->field, text, len, "--expect-failed");
    if (*at == '%') {
        char *end;
        rule->op = RULE_MOD;
        rule->modulus = strtol(at + 1, &end, 10);
        if (rule->modulus <= 0 || *end != '=')
            die(text, "not FIELD%N=R");
        at = end + 1;
    } else if (*at == '!' && at[1] == '=') {
        rule->op = RULE_NE;
        at += 2;
    } else if (*at != '\0') {
        rule->op = *at == '=' ? RULE_EQ : *at == '>' ? RULE_GT : RULE_LT;
        at++;
    } else {
        die(text, "no rule");
    }
    put(rule->text, at, strlen(at), "--expect-failed");
    rule->number = strtod(rule->text, NULL);
}

static enum history_kind parse_history(const char *text)
{
    if (strcmp(text, "all") == 0)
        return HISTORY_ALL;
    if (strcmp(text, "steps") == 0)
        return HISTORY_STEPS;
    if (strcmp(text, "ends") != 0)
        die("--history", text);
    return HISTORY_ENDS;
}

static void parse_one(struct options *options, int option, const char *value)
{
    switch (option) {
    case 'b':
        options->bootstrap = value;
        break;
    case 'a':
        options->app = value;
        break;
    case 'i':
        parse_input(options, value);
        break;
    case 's':
        parse_names(&options->steps, value, "--steps");
        break;
    case 'u':
        parse_names(&options->undo, value, "--undo");
        break;
    case 'f':
        parse_rule(&options->expect_failed, value);
        break;
    case 'h':
        options->history = parse_history(value);
        break;
    case 'd':
        options->dlq = atoll(value);
        break;
    case 'w':
        options->wait_s = atoi(value);
        break;
    case 'U':
        options->allow_unfinished = true;
        break;
    case 'l':
        options->live = true;
        break;
    case 'r':
        options->rebuilt = true;
        break;
    case 'S':
        options->schemas = value;
        break;
    case 'm':
        options->max_shown = atoi(value);
        break;
    case 'o':
        options->json = strcmp(value, "json") == 0;
        if (!options->json && strcmp(value, "text") != 0)
            die("-o", value);
        break;
    case 't':
        options->stall_s = atoi(value);
        break;
    case 'F':
        avro_load(options->schemas);
        avro_print();
        exit(EXIT_CLEAN);
    case 'H':
        fputs(usage, stdout);
        exit(EXIT_CLEAN);
    default:
        fputs(usage, stderr);
        exit(EXIT_USAGE);
    }
}

void options_parse(struct options *options, int argc, char **argv)
{
    static const struct option table[] = {
        {"bootstrap", required_argument, NULL, 'b'},
        {"app", required_argument, NULL, 'a'},
        {"input", required_argument, NULL, 'i'},
        {"steps", required_argument, NULL, 's'},
        {"undo", required_argument, NULL, 'u'},
        {"expect-failed", required_argument, NULL, 'f'},
        {"history", required_argument, NULL, 'h'},
        {"dlq", required_argument, NULL, 'd'},
        {"wait", required_argument, NULL, 'w'},
        {"allow-unfinished", no_argument, NULL, 'U'},
        {"live", no_argument, NULL, 'l'},
        {"rebuilt", no_argument, NULL, 'r'},
        {"schemas", required_argument, NULL, 'S'},
        {"max", required_argument, NULL, 'm'},
        {"output", required_argument, NULL, 'o'},
        {"help", no_argument, NULL, 'H'},
        {"stall", required_argument, NULL, 't'},
        {"fingerprints", no_argument, NULL, 'F'},
        {NULL, 0, NULL, 0},
    };
    *options = (struct options){.bootstrap = getenv("KASAGA_BOOTSTRAP"),
                                .schemas = "schemas",
                                .max_shown = 20,
                                .stall_s = 30};
    int option;
    while ((option = getopt_long(argc, argv, "o:", table, NULL)) != -1)
        parse_one(options, option, optarg);
    if (optind < argc)
        die(argv[optind], "not an option");
    if (options->bootstrap == NULL || *options->bootstrap == '\0')
        die("--bootstrap", "missing");
    if (options->app == NULL || strlen(options->app) > NAME_SIZE - 16)
        die("--app", options->app == NULL ? "missing" : "too long");
    if (options->expect_failed.op != RULE_NONE && options->input_count == 0)
        die("--expect-failed", "needs --input");
}
