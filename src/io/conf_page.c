// SPDX-License-Identifier: Apache-2.0
// docs/configuration.md out of the table of keys.
#include "io/conf_int.h"

static const char intro[] =
    "# Configuration\n"
    "\n"
    "Written by `build/gcc/tools/confdoc > docs/configuration.md` from the table that the loader "
    "itself reads by\n"
    "(`src/io/conf_table.c`); a test fails when the two differ. `kasaga check -c FILE` reports "
    "everything that is wrong\n"
    "with a file, with file and line, and needs no broker.\n"
    "\n"
    "## The file\n"
    "\n"
    "One [libconfig](https://hyperrealm.github.io/libconfig/) file, given by `-c FILE` or "
    "`KASAGA_CONFIG`.\n"
    "\n"
    "- Groups `{ name = value; }`, lists `( a, b )` of anything, arrays `[ \"a\", \"b\" ]` of one "
    "type. No comma before a\n"
    "  closing bracket. Comments: `# …`, `// …`, `/* … */`. Strings in double quotes; adjacent "
    "ones "
    "are one.\n"
    "- `@include \"more.conf\"` on a line of its own; the name is relative to the directory of the "
    "main file.\n"
    "- **Durations and sizes are strings with a unit**; a number alone is an error. Durations: "
    "`\"250ms\"`, `\"3s\"`,\n"
    "  `\"10m\"`, `\"24h\"`, `\"7d\"`. Sizes: `B`, `kB`, `MB`, `GB` are powers of 1000, `KiB`, "
    "`MiB`, `GiB` of 1024; `k`, `M`, `G`\n"
    "  stand for `kB`, `MB`, `GB`.\n"
    "- Integers over 2147483647 have an `L` behind them: `5000000000L`. Without it they are "
    "refused.\n"
    "- Unknown keys are errors. So are keys that have no effect where they stand.\n"
    "- *jq* values are programs in [jq](https://jqlang.github.io/jq/manual/v1.6/), compiled when "
    "the file is loaded.\n"
    "\n"
    "### Paths\n"
    "\n"
    "Paths (`params`, `result`, `directory`, `command` with a slash, `plugin_path`, "
    "`*.location` properties, `file:`) are\n"
    "relative to the directory of the file that names them, also when that is an included one.\n"
    "\n"
    "A `library` with a slash in it is such a path. One without is looked for in this order; the "
    "first that exists is\n"
    "taken:\n"
    "\n"
    "1. the directories in the environment variable `KASAGA_PLUGINS`, separated by colons;\n"
    "2. the directories of `plugin_path`;\n"
    "3. the directory of the file that names it.\n"
    "\n"
    "### Environment\n"
    "\n"
    "| variable | meaning |\n"
    "|---|---|\n"
    "| `KASAGA_CONFIG` | the file, where no `-c` is given |\n"
    "| `KASAGA_BOOTSTRAP` | overrides `kafka.bootstrap` |\n"
    "| `KASAGA_PLUGINS` | see *Paths* |\n"
    "| those named by `env:NAME` | see *Kafka properties* |\n";

static const char properties[] =
    "\n## Kafka properties\n"
    "\n"
    "`kafka.properties` goes to every client of librdkafka. Each element is `\"name=value\"` or\n"
    "`{ name = \"…\"; value = \"…\"; }`. A value may be a reference: `env:NAME` is the environment "
    "variable, `file:PATH` the first\n"
    "line of the file (of `ssl.key.pem`: the whole file). What they refer to is never printed. "
    "`check` warns when a\n"
    "reference cannot be read; `worker` does not start.\n"
    "\n";

static const char *type_name(const struct conf_key *key)
{
    switch (key->type) {
    case CONF_STRING:
        return "text";
    case CONF_NAME:
    case CONF_DOTTED:
        return "name";
    case CONF_TOPIC:
        return "topic";
    case CONF_BOOL:
        return "bool";
    case CONF_INT:
        return "integer";
    case CONF_DURATION:
        return "duration";
    case CONF_SIZE:
        return "size";
    case CONF_ENUM:
        return "one of";
    case CONF_EXPR:
        return "jq";
    case CONF_FILE:
        return "path";
    case CONF_STRINGS:
        return "text or list of texts";
    case CONF_OPTIONS:
    case CONF_GROUP:
        return "group";
    case CONF_PROPERTIES:
        return "list";
    case CONF_LIST:
        return "list of groups";
    case CONF_RESERVED:
        break;
    }
    return "";
}

static bool is_number(const struct conf_key *key)
{
    return key->type == CONF_INT || key->type == CONF_DURATION || key->type == CONF_SIZE;
}

static void put_value(const struct conf_key *key, int64_t value, struct buf *buf)
{
    if (key->type == CONF_DURATION)
        conf_show_duration(value, buf);
    else if (key->type == CONF_SIZE)
        conf_show_size(value, buf);
    else
        buf_i64(buf, value);
}

static void put_range(const struct conf_key *key, struct buf *buf)
{
    if (key->type == CONF_ENUM) {
        for (int32_t i = 0; key->choices[i] != NULL && (key->available == 0 || i < key->available);
             i++) {
            buf_str(buf, i == 0 ? "`" : ", `");
            buf_str(buf, key->choices[i]);
            buf_str(buf, "`");
        }
    } else if (is_number(key)) {
        put_value(key, key->min, buf);
        buf_str(buf, " to ");
        put_value(key, key->max, buf);
    } else if (key->type == CONF_STRINGS || key->type == CONF_LIST) {
        buf_i64(buf, key->min);
        buf_str(buf, " to ");
        buf_i64(buf, key->max);
        buf_str(buf, " elements");
    }
}

static void put_default(const struct conf_key *key, struct buf *buf)
{
    bool quoted = key->type != CONF_INT && key->type != CONF_BOOL;
    if (key->required) {
        buf_str(buf, "**required**");
    } else if (key->shown != NULL) {
        buf_str(buf, key->shown);
    } else if (key->fallback != NULL) {
        buf_str(buf, quoted ? "`\"" : "`");
        buf_str(buf, key->fallback);
        buf_str(buf, quoted ? "\"`" : "`");
    }
}

static void put_key(const struct conf_key *key, struct buf *buf)
{
    if (key->type == CONF_RESERVED)
        return;
    buf_str(buf, "| `");
    buf_str(buf, key->name);
    buf_str(buf, "` | ");
    buf_str(buf, type_name(key));
    buf_str(buf, " | ");
    put_default(key, buf);
    buf_str(buf, " | ");
    put_range(key, buf);
    buf_str(buf, " | ");
    buf_str(buf, key->doc);
    buf_str(buf, " |\n");
}

void io_conf_reference(struct buf *buf)
{
    buf_str(buf, intro);
    for (size_t i = 0; conf_groups[i] != NULL; i++) {
        const struct conf_group *group = conf_groups[i];
        buf_str(buf, "\n## ");
        buf_str(buf, group->title);
        buf_str(buf, "\n\n");
        if (group->doc != NULL) {
            buf_str(buf, group->doc);
            buf_str(buf, "\n\n");
        }
        buf_str(buf, "| key | type | default | range | |\n|---|---|---|---|---|\n");
        for (size_t j = 0; j < group->count; j++)
            put_key(&group->keys[j], buf);
    }
    buf_str(buf, properties);
    conf_kafka_reference(buf);
}
