// SPDX-License-Identifier: Apache-2.0
// kafka.bootstrap and the properties that go to librdkafka: an allow-list, because some properties
// load code, run programs or undo what kasaga promises; and secrets by reference only.
#include "io/conf_int.h"

#include <stdlib.h>
#include <strings.h>

enum { PROPERTIES_MAX = 64, MESSAGE_MAX_DEFAULT = 1000000 };

static const char *const allowed[] = {
    "security.protocol",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.username",
    "sasl.password",
    "sasl.kerberos.service.name",
    "sasl.kerberos.principal",
    "sasl.kerberos.keytab",
    "sasl.kerberos.min.time.before.relogin",
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.extensions",
    "sasl.oauthbearer.token.endpoint.url",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.cipher.suites",
    "ssl.crl.location",
    "ssl.curves.list",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.sigalgs.list",
    "batch.num.messages",
    "batch.size",
    "broker.address.family",
    "broker.address.ttl",
    "check.crcs",
    "client.rack",
    "compression.codec",
    "compression.level",
    "compression.type",
    "connections.max.idle.ms",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.wait.max.ms",
    "linger.ms",
    "max.partition.fetch.bytes",
    "message.max.bytes",
    "metadata.max.age.ms",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "receive.message.max.bytes",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.max.fails",
    "socket.nagle.disable",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "socket.timeout.ms",
    "topic.metadata.refresh.fast.interval.ms",
    "topic.metadata.refresh.interval.ms",
    "topic.metadata.refresh.sparse",
    NULL,
};

static const char *const secrets[] = {
    "sasl.password", "sasl.oauthbearer.client.secret", "ssl.key.password",
    "ssl.key.pem",   "ssl.keystore.password",          NULL,
};

// A name that ends in "." stands for all that begin with it.
static const struct refusal {
    const char *name;
    const char *why;
} refused[] = {
    {"plugin.library.paths", "it loads code into the worker"},
    {"ssl.engine.", "it loads code into the worker"},
    {"ssl.providers", "it loads code into the worker"},
    {"sasl.kerberos.kinit.cmd", "it runs a shell command in the worker"},
    {"debug", "its output holds records and credentials"},
    {"test.mock.", "it replaces the brokers"},
    {"enable.ssl.certificate.verification", "unverified brokers could be anybody"},
    {"bootstrap.servers", "write kafka.bootstrap"},
    {"metadata.broker.list", "write kafka.bootstrap"},
    {"client.id", "it is made of the node's name: write node"},
    {"group.", "the groups are the app's: a worker joins as many as it has lanes"},
    {"session.timeout.ms", "write kafka.session_timeout"},
    {"heartbeat.interval.ms", "it follows kafka.session_timeout"},
    {"max.poll.interval.ms", "it follows kafka.session_timeout"},
    {"transaction.timeout.ms", "write kafka.transaction_timeout"},
    {"transactional.id", "exactly-once rests on it"},
    {"enable.idempotence", "exactly-once rests on it"},
    {"acks", "exactly-once rests on it"},
    {"request.required.acks", "exactly-once rests on it"},
    {"max.in.flight", "exactly-once rests on it"},
    {"max.in.flight.requests.per.connection", "exactly-once rests on it"},
    {"isolation.level", "exactly-once rests on it"},
    {"auto.offset.reset", "a lost offset is an operator's matter, never a silent reset"},
    {"enable.auto.commit", "offsets are part of the transactions"},
    {"enable.auto.offset.store", "offsets are part of the transactions"},
    {"auto.commit.", "offsets are part of the transactions"},
    {"offset.store.", "offsets are part of the transactions"},
    {"enable.partition.eof", "the lanes depend on it"},
    {"partitioner", "keys must meet in the partitions of the Java client"},
    {"partition.assignment.strategy", "the lanes depend on it"},
    {"allow.auto.create.topics", "topics are created by kasaga topics apply"},
    {"retries", "the transactions bound them"},
    {"message.send.max.retries", "the transactions bound them"},
    {"message.timeout.ms", "the transactions bound it"},
    {"delivery.timeout.ms", "the transactions bound it"},
};

static bool is_in(const char *const *list, const char *name)
{
    for (; *list != NULL; list++)
        if (strcmp(*list, name) == 0)
            return true;
    return false;
}

static const char *refusal_of(const char *name)
{
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        size_t len = strlen(refused[i].name);
        bool prefix = refused[i].name[len - 1] == '.';
        if (prefix ? strncmp(refused[i].name, name, len) == 0 : strcmp(refused[i].name, name) == 0)
            return refused[i].why;
    }
    return NULL;
}

static bool check_name(struct conf *conf, const struct conf_node *at, const char *name)
{
    if (is_in(allowed, name))
        return true;
    const char *why = refusal_of(name);
    if (why != NULL) {
        conf_error(conf, at, "the property \"%.100s\" cannot be set: %s", name, why);
        return false;
    }
    struct conf_near near = {.wanted = name};
    for (size_t i = 0; allowed[i] != NULL; i++)
        conf_near_try(&near, allowed[i]);
    const char *best = conf_near_best(&near);
    conf_error(conf, at, "the property \"%.100s\" is not one of those that may be set%s%s%s", name,
               best == NULL ? "" : ", did you mean \"", best == NULL ? "" : best,
               best == NULL ? "" : "\"?");
    return false;
}

// A secret that is not here is an error, unless the file is only checked. Nothing of its value is
// ever reported.
static void missing(struct conf *conf, const struct conf_node *at, const char *name,
                    const char *text)
{
    if (conf->offline)
        conf_warn(conf, at, "the property \"%s\": %s", name, text);
    else
        conf_error(conf, at, "the property \"%s\": %s", name, text);
}

static const char *read_reference(struct conf *conf, const struct conf_node *at, const char *name,
                                  const char *value)
{
    if (strncmp(value, "env:", 4) == 0) {
        const char *found = getenv(value + 4);
        if (found != NULL && found[0] != '\0')
            return arena_str(conf->memory, slice_str(found));
        missing(conf, at, name,
                conf_text(conf, "the environment variable %.100s is not set", value + 4));
        return "";
    }
    struct conf_text text = {0};
    const char *why = "";
    const char *path = conf_resolve(conf, at->file, value + 5);
    if (!conf_read(conf->memory, path, &text, &why)) {
        missing(conf, at, name, conf_text(conf, "the file %.200s %s", path, why));
        return "";
    }
    // A password's file ends in a newline more often than the password does.
    if (strcmp(name, "ssl.key.pem") != 0)
        text.bytes[strcspn(text.bytes, "\r\n")] = '\0';
    return text.bytes;
}

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text);
    size_t end_len = strlen(end);
    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

static const char *check_value(struct conf *conf, const struct conf_node *at, const char *name,
                               const char *value)
{
    bool reference = strncmp(value, "env:", 4) == 0 || strncmp(value, "file:", 5) == 0;
    if (reference)
        return read_reference(conf, at, name, value);
    if (is_in(secrets, name)) {
        conf_error(conf, at,
                   "the property \"%s\" is a secret and must not stand in the file: write "
                   "\"env:NAME\" or \"file:PATH\"",
                   name);
        return "";
    }
    if (strcmp(name, "ssl.endpoint.identification.algorithm") == 0 &&
        strcasecmp(value, "none") == 0)
        conf_error(conf, at,
                   "the property \"%s\" cannot be none: unverified brokers could be "
                   "anybody",
                   name);
    if (ends_with(name, ".location") || ends_with(name, ".keytab"))
        return conf_resolve(conf, at->file, value);
    return value;
}

// "name=value", or { name = …; value = …; } with a text, a whole number, true or false.
static bool split(struct conf *conf, const struct conf_node *item, const char **name,
                  const char **value)
{
    if (item->type == CONF_NODE_STRING) {
        size_t len = strcspn(item->text, "=");
        *name = arena_str(conf->memory, slice_of(item->text, len));
        *value = item->text + len + (item->text[len] == '=');
        if (len > 0 && item->text[len] == '=')
            return true;
        conf_error(conf, item, "a property is written \"name=value\"");
        return false;
    }
    const struct conf_node *key = conf_child(item, "name");
    const struct conf_node *content = conf_child(item, "value");
    bool known =
        key != NULL && key->type == CONF_NODE_STRING && content != NULL && item->count == 2;
    if (!known || content->type == CONF_NODE_GROUP || content->type == CONF_NODE_LIST ||
        content->type == CONF_NODE_FLOAT) {
        conf_error(conf, item,
                   "a property is written \"name=value\" or { name = \"…\"; value = \"…\"; }");
        return false;
    }
    *name = key->text;
    *value = content->type == CONF_NODE_STRING ? content->text
             : content->type == CONF_NODE_INT ? conf_text(conf, "%lld", (long long)content->integer)
                                              : (content->integer != 0 ? "true" : "false");
    return true;
}

static const char *property(const struct config_kafka *kafka, const char *name)
{
    for (size_t i = 0; i < kafka->property_count; i++)
        if (strcmp(kafka->property_names[i], name) == 0)
            return kafka->property_values[i];
    return NULL;
}

static void check_credentials(struct conf *conf, const struct conf_node *at,
                              const struct config_kafka *kafka)
{
    const char *protocol = property(kafka, "security.protocol");
    if (property(kafka, "sasl.password") == NULL && property(kafka, "sasl.username") == NULL)
        return;
    if (protocol == NULL || strncasecmp(protocol, "sasl_", 5) != 0)
        conf_error(conf, at, "SASL credentials have no effect without security.protocol=sasl_ssl");
    else if (strcasecmp(protocol, "sasl_plaintext") == 0)
        conf_warn(conf, at, "security.protocol=sasl_plaintext: everything travels unencrypted");
}

void conf_build_properties(struct conf *conf, const struct conf_node *list,
                           struct config_kafka *kafka)
{
    const char **names = arena_alloc(conf->memory, PROPERTIES_MAX * sizeof *names);
    const char **values = arena_alloc(conf->memory, PROPERTIES_MAX * sizeof *values);
    kafka->property_names = names;
    kafka->property_values = values;
    for (size_t i = 0; list != NULL && i < list->count; i++) {
        const struct conf_node *item = &list->children[i];
        const char *name;
        const char *value;
        if (!split(conf, item, &name, &value) || !check_name(conf, item, name))
            continue;
        if (property(kafka, name) != NULL) {
            conf_error(conf, item, "the property \"%s\" is set twice", name);
            continue;
        }
        if (kafka->property_count == PROPERTIES_MAX) {
            conf_error(conf, item, "there are more than %d properties", PROPERTIES_MAX);
            return;
        }
        names[kafka->property_count] = name;
        values[kafka->property_count++] = check_value(conf, item, name, value);
    }
    if (list != NULL)
        check_credentials(conf, list, kafka);
}

static void check_sizes(struct conf *conf)
{
    const char *max = property(&conf->config->kafka, "message.max.bytes");
    int64_t bytes = max == NULL ? MESSAGE_MAX_DEFAULT : strtoll(max, NULL, 10);
    if (conf->config->record_max > bytes)
        conf_error(conf, conf_at(conf->root, "record_max"),
                   "\"record_max\" is over message.max.bytes = %lld: set that in kafka.properties",
                   (long long)bytes);
}

void conf_build_kafka(struct conf *conf, const struct raw_config *raw)
{
    struct config_kafka *kafka = &conf->config->kafka;
    const struct conf_node *at = conf_at(conf->root, "kafka");
    const char *bootstrap = getenv("KASAGA_BOOTSTRAP");
    if (bootstrap != NULL && bootstrap[0] != '\0')
        kafka->bootstrap = arena_str(conf->memory, slice_str(bootstrap));
    else if (conf_child(at, "bootstrap") == NULL)
        conf_error(conf, at, "kafka needs \"bootstrap\" (or KASAGA_BOOTSTRAP in the environment)");
    conf_build_properties(conf, raw->properties, kafka);
    check_sizes(conf);
}

static void list_names(struct buf *buf, const char *const *names)
{
    for (size_t i = 0; names[i] != NULL; i++) {
        buf_str(buf, i == 0 ? "`" : ", `");
        buf_str(buf, names[i]);
        buf_str(buf, "`");
    }
    buf_str(buf, ".\n");
}

void conf_kafka_reference(struct buf *buf)
{
    buf_str(buf, "These may be set: ");
    list_names(buf, allowed);
    buf_str(buf, "\nSecrets must be references: ");
    list_names(buf, secrets);
    buf_str(buf, "\nThese cannot be set (a name that ends in a dot stands for all that begin with "
                 "it):\n\n| property | why |\n|---|---|\n");
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        buf_str(buf, "| `");
        buf_str(buf, refused[i].name);
        buf_str(buf, "` | ");
        buf_str(buf, refused[i].why);
        buf_str(buf, " |\n");
    }
}
