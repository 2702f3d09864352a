// SPDX-License-Identifier: Apache-2.0
// plant --list
// plant --app APP --fingerprints "$(checker --fingerprints)" [--sagas N] [--fault NAME] [--schemas
// DIR] Writes the topics of an app as an engine would have left them after N sagas, aborted
// transactions included, with at most one fault in it. The checker has to find that fault and
// nothing else, so --list prints each with the kind it is. The cluster is that of KASAGA_BOOTSTRAP.
// Nothing of the engine is in here: partitions come from librdkafka's murmur2, commands and states
// from the published schemas.
#include <avro.h>
#include <getopt.h>
#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PARTITIONS = 3, TEXT_MAX = 512, WAIT_MS = 30000, VICTIM = 2 };

// A line is a list of CODE[:STEP[:ATTEMPT[:FLAGS]]]. Codes: S C X Y K P R T are saga.started,
// completed, compensating, compensated, stuck, paused, resumed, terminated; s c f r k l are
// step.started, completed, failed, retrying, skipped, late; us uc uf ur are those of compensations.
// Flags: m maybe done, t takeover, g branch. In front of a code: "+" leaves a sequence number out
// before it, "=" writes it twice, "!" into the wrong partition, "~" behind the next one.
#define BEGIN "S c:validate s:reserve c:reserve s:charge c:charge "
#define UNDO "X us:charge uc:charge us:reserve uc:reserve Y"
static const char completed[] = BEGIN "s:ship c:ship C";
static const char compensated[] = BEGIN "s:ship f:ship " UNDO;

// Lines that are right, however strange.
static const char *const strange[] = {
    "S c:validate s:reserve c:reserve s:charge r:charge:1:m s:charge:2:m s:charge:2:mt "
    "f:charge:2:m X us:charge:1:m l:charge:1:m us:charge:1:mt uc:charge:1:m us:reserve ur:reserve "
    "us:reserve:2 uf:reserve:2 K R us:reserve:3 uc:reserve:3 Y",
    "S f:validate X Y",
    BEGIN "P R s:ship r:ship s:ship:2 f:ship:2 K R s:ship:3 c:ship:3 C",
    BEGIN "s:ship f:ship X us:charge uf:charge K R k:charge us:reserve uc:reserve Y",
    "S c:validate s:reserve T",
    BEGIN "s:ship f:ship:1:m k:ship C",
    BEGIN "c:a:1:g s:b:1:g f:ship:1:g c:b:1:g X us:b:1:g us:a:1:g uc:b:1:g uc:a:1:g T",
};

enum action {
    AS_IS,
    NO_START,      // the input is read and leads to nothing
    NO_SAGA,       // so does the START
    TWO_LIVES,     // routed twice, started twice
    ABORTED_START, // the saga comes from a START of an aborted transaction
    ABORTED_INPUT, // the START comes from an input of an aborted transaction
    NO_INPUT,      // the saga comes from nowhere
    UNREAD_INPUT,
    UNREAD_INBOX,
    AHEAD,
    DEAD_LETTER,
    LIVE_STATE, // the last state is not that of the end
    MUST_FAIL,  // the input asks for a failure
    NOT_REDONE, // an aborted transaction had the next record
    GARBAGE,
    OPEN // a transaction is left open
};

static const struct fault {
    const char *name;
    const char *kind; // what the checker must say, and nothing else
    const char *line; // of the victim
    enum action action;
} faults[] = {
    {"none", "", completed, AS_IS},
    {"input-without-start", "lost", completed, NO_START},
    {"start-without-saga", "lost", completed, NO_SAGA},
    {"two-incarnations", "repeated", completed, TWO_LIVES},
    {"record-twice", "repeated", BEGIN "s:ship =c:ship C", AS_IS},
    {"saga-of-aborted-start", "aborted_read", completed, ABORTED_START},
    {"start-of-aborted-input", "aborted_read", completed, ABORTED_INPUT},
    {"saga-from-nowhere", "invented", completed, NO_INPUT},
    {"record-missing", "gap", BEGIN "s:ship +c:ship C", AS_IS},
    {"beginning-missing", "gap", "+c:validate s:reserve c:reserve C", AS_IS},
    {"records-swapped", "out_of_order", BEGIN "~s:ship c:ship C", AS_IS},
    {"wrong-partition", "wrong_partition", BEGIN "s:ship !c:ship C", AS_IS},
    {"step-done-twice", "step_twice", BEGIN "c:charge s:ship c:ship C", AS_IS},
    {"step-done-again", "step_twice", BEGIN "s:charge:2 s:ship c:ship C", AS_IS},
    {"attempt-begun-twice", "attempt_twice", BEGIN "s:ship s:ship c:ship C", AS_IS},
    {"steps-at-once", "steps_at_once", BEGIN "s:a s:ship:1:g c:a c:ship:1:g C", AS_IS},
    {"step-left-out", "step_missing", BEGIN "C", AS_IS},
    {"step-never-ended", "step_missing", BEGIN "s:ship C", AS_IS},
    {"undo-order", "undo_order",
     BEGIN "s:ship f:ship X us:reserve uc:reserve us:charge uc:charge Y", AS_IS},
    {"undo-side-by-side", "undo_order",
     BEGIN "s:ship f:ship X us:charge us:reserve uc:charge uc:reserve Y", AS_IS},
    {"undo-left-out", "not_undone", BEGIN "s:ship f:ship X us:charge uc:charge Y", AS_IS},
    {"maybe-done-not-undone", "not_undone",
     "S c:validate s:reserve c:reserve s:charge f:charge:1:m X us:reserve uc:reserve Y", AS_IS},
    {"undo-twice", "undo_twice",
     BEGIN "s:ship f:ship X us:charge uc:charge uc:charge us:reserve uc:reserve Y", AS_IS},
    {"undo-of-refused", "undo_without_step",
     BEGIN "s:ship f:ship X us:ship uc:ship us:charge uc:charge us:reserve uc:reserve Y", AS_IS},
    {"undo-of-nothing", "undo_without_step",
     "S c:validate s:reserve f:reserve X us:charge uc:charge Y", AS_IS},
    {"forward-after-undo", "forward_after_undo",
     BEGIN "s:ship f:ship X us:charge uc:charge c:ship us:reserve uc:reserve Y", AS_IS},
    {"completed-and-compensated", "both_ends", BEGIN "s:ship c:ship C Y", AS_IS},
    {"completed-with-an-undo", "both_ends", BEGIN "s:ship f:ship X us:charge uc:charge k:ship C",
     AS_IS},
    {"record-after-end", "after_end", BEGIN "s:ship c:ship C l:ship", AS_IS},
    {"unfinished", "unfinished", BEGIN "s:ship", AS_IS},
    {"stuck", "unfinished", BEGIN "s:ship f:ship K", AS_IS},
    {"aborted-never-redone", "not_redone", BEGIN "s:ship", NOT_REDONE},
    {"unread-input", "unread", completed, UNREAD_INPUT},
    {"unread-inbox", "unread", completed, UNREAD_INBOX},
    {"offset-ahead", "ahead", completed, AHEAD},
    {"dead-letter", "dlq", completed, DEAD_LETTER},
    {"state-of-the-dead", "state_differs", completed, LIVE_STATE},
    {"failure-ignored", "wrong_outcome", completed, MUST_FAIL},
    {"garbage", "malformed", completed, GARBAGE},
    {"open-transaction", "open_transaction", completed, OPEN},
};

// Where a record went; filled by its delivery report.
struct place {
    int32_t partition;
    int64_t offset;
};

struct saga {
    char id[32];
    char key[48];
    const char *line;
    bool victim;
    struct place input, start, second;
};

struct plant {
    const char *bootstrap;
    const char *app;
    const char *schemas;
    const char *fingerprints; // "Command=2f400f2b1babcba9 ..."
    const struct fault *fault;
    struct saga *sagas;
    int count;
    int64_t next[2][PARTITIONS]; // offsets to commit: of the input, of the inbox
};

static void die(const char *what, const char *why)
{
    fprintf(stderr, "plant: %s: %s\n", what, why);
    exit(1);
}

static void must(const char *what, rd_kafka_error_t *error)
{
    if (error != NULL)
        die(what, rd_kafka_error_string(error));
}

// --- Clients

static void delivered(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque)
{
    struct place *place = message->_private;
    (void)client, (void)opaque;
    if (message->err == RD_KAFKA_RESP_ERR__PURGE_QUEUE)
        return;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
        die("produce", rd_kafka_err2str(message->err));
    if (place != NULL)
        *place = (struct place){message->partition, message->offset};
}

static rd_kafka_t *producer(const struct plant *plant, const char *hop, const char *partitioner)
{
    char text[TEXT_MAX], id[TEXT_MAX];
    snprintf(id, sizeof id, "%s.plant.%s", plant->app, hop);
    const char *const settings[][2] = {
        {"bootstrap.servers", plant->bootstrap},
        {"transactional.id", id},
        {"partitioner", partitioner},
        {"retry.backoff.ms", "1"},
        {"socket.nagle.disable", "true"},
        {"linger.ms", "1"},
    };
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], text, sizeof text) !=
            RD_KAFKA_CONF_OK)
            die(settings[i][0], text);
    rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    rd_kafka_t *client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    if (client == NULL)
        die("client", text);
    must("init", rd_kafka_init_transactions(client, WAIT_MS));
    // The first record to a topic that is not known yet would wait for a second.
    const struct rd_kafka_metadata *metadata;
    if (rd_kafka_metadata(client, 1, NULL, &metadata, WAIT_MS) == RD_KAFKA_RESP_ERR_NO_ERROR)
        rd_kafka_metadata_destroy(metadata);
    return client;
}

static void create_topics(const struct plant *plant)
{
    static const char *const names[] = {"orders", "inbox", "state", "history", "dlq"};
    enum { COUNT = sizeof names / sizeof *names };
    rd_kafka_NewTopic_t *topics[COUNT];
    char text[TEXT_MAX];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", plant->bootstrap, text, sizeof text);
    rd_kafka_t *client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    for (int i = 0; i < COUNT; i++) {
        char name[TEXT_MAX];
        snprintf(name, sizeof name, "%s.%s", plant->app, names[i]);
        topics[i] = rd_kafka_NewTopic_new(name, PARTITIONS, 1, text, sizeof text);
    }
    rd_kafka_CreateTopics(client, topics, COUNT, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, WAIT_MS);
    if (event == NULL || rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR)
        die("create topics", event == NULL ? "no answer" : rd_kafka_event_error_string(event));
    rd_kafka_event_destroy(event);
    rd_kafka_NewTopic_destroy_array(topics, COUNT);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(client);
}

// --- Records

struct message {
    const char *suffix; // of the topic
    int32_t partition;  // RD_KAFKA_PARTITION_UA = by key
    const char *key;
    const void *value; // NULL = removal
    size_t len;
    struct place *place;
};

static void put(const struct plant *plant, rd_kafka_t *client, const struct message *message)
{
    char topic[TEXT_MAX];
    snprintf(topic, sizeof topic, "%s.%s", plant->app, message->suffix);
    rd_kafka_vu_t fields[] = {
        {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = topic},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = message->partition},
        {.vtype = RD_KAFKA_VTYPE_KEY,
         .u.mem = {(void *)(uintptr_t)message->key, strlen(message->key)}},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {(void *)(uintptr_t)message->value, message->len}},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = message->place},
    };
    rd_kafka_error_t *error;
    while ((error = rd_kafka_produceva(client, fields, sizeof fields / sizeof *fields)) != NULL) {
        if (rd_kafka_error_code(error) != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            must(message->suffix, error);
        rd_kafka_error_destroy(error);
        rd_kafka_poll(client, 10);
    }
    rd_kafka_poll(client, 0);
}

static void fill(avro_value_t *value)
{
    avro_value_t field;
    size_t count = 0;
    switch (avro_value_get_type(value)) {
    case AVRO_INT32:
        avro_value_set_int(value, 0);
        break;
    case AVRO_INT64:
        avro_value_set_long(value, 0);
        break;
    case AVRO_BOOLEAN:
        avro_value_set_boolean(value, 0);
        break;
    case AVRO_ENUM:
        avro_value_set_enum(value, 0);
        break;
    case AVRO_BYTES:
        avro_value_set_bytes(value, (void *)(uintptr_t) "{}", 2);
        break;
    case AVRO_STRING:
        avro_value_set_string(value, "");
        break;
    case AVRO_FIXED:
        avro_value_set_fixed(value, (void *)(uintptr_t) "0123456789abcdef", 16);
        break;
    case AVRO_RECORD:
        avro_value_get_size(value, &count);
        for (size_t i = 0; i < count; i++)
            if (avro_value_get_by_index(value, i, &field, NULL) == 0)
                fill(&field);
        break;
    case AVRO_ARRAY:
    case AVRO_MAP:
    case AVRO_NULL:
    case AVRO_UNION:
    case AVRO_FLOAT:
    case AVRO_DOUBLE:
    case AVRO_LINK:
    default:
        break;
    }
}

// One schema: a value of it, and what a single object of it begins with.
struct form {
    avro_value_t value;
    unsigned char header[10];
};

static struct form load(const struct plant *plant, const char *file, const char *name)
{
    static char text[65536];
    char path[TEXT_MAX], wanted[TEXT_MAX];
    avro_schema_t schema;
    struct form form = {.header = {0xC3, 0x01}};
    snprintf(path, sizeof path, "%s/%s", plant->schemas, file);
    FILE *in = fopen(path, "r");
    size_t len = in == NULL ? 0 : fread(text, 1, sizeof text, in);
    if (in != NULL)
        fclose(in);
    if (avro_schema_from_json_length(text, len, &schema) != 0)
        die(path, avro_strerror());
    avro_generic_value_new(avro_generic_class_from_schema(schema), &form.value);
    fill(&form.value);
    snprintf(wanted, sizeof wanted, "%s=", name);
    const char *print = strstr(plant->fingerprints, wanted);
    if (print == NULL)
        die(name, "not in --fingerprints");
    uint64_t number = strtoull(print + strlen(wanted), NULL, 16);
    for (int i = 0; i < 8; i++)
        form.header[2 + i] = (unsigned char)(number >> (8 * i));
    return form;
}

static size_t encode(struct form *form, char *bytes, size_t room)
{
    avro_writer_t writer =
        avro_writer_memory(bytes + sizeof form->header, (int64_t)(room - sizeof form->header));
    memcpy(bytes, form->header, sizeof form->header);
    if (avro_value_write(writer, &form->value) != 0)
        die("encode", avro_strerror());
    size_t len = sizeof form->header + (size_t)avro_writer_tell(writer);
    avro_writer_free(writer);
    return len;
}

static void set_long(struct form *form, const char *name, int64_t number)
{
    avro_value_t field;
    if (avro_value_get_by_name(&form->value, name, &field, NULL) != 0)
        die(name, "no such field");
    if (avro_value_get_type(&field) == AVRO_INT64)
        avro_value_set_long(&field, number);
    else if (avro_value_get_type(&field) == AVRO_INT32)
        avro_value_set_int(&field, (int32_t)number);
    else
        avro_value_set_enum(&field, (int)number);
}

static void set_text(struct form *form, const char *name, const char *text)
{
    avro_value_t field;
    if (avro_value_get_by_name(&form->value, name, &field, NULL) != 0)
        die(name, "no such field");
    avro_value_set_string(&field, text);
}

// --- Transactions

static void commit_offsets(const struct plant *plant, rd_kafka_t *client, int hop)
{
    static const char *const topics[] = {"orders", "inbox"};
    char group[TEXT_MAX], topic[TEXT_MAX];
    snprintf(group, sizeof group, hop == 0 ? "%s.route" : "%s", plant->app);
    snprintf(topic, sizeof topic, "%s.%s", plant->app, topics[hop]);
    rd_kafka_consumer_group_metadata_t *metadata = rd_kafka_consumer_group_metadata_new(group);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(PARTITIONS);
    for (int p = 0; p < PARTITIONS; p++)
        if (plant->next[hop][p] > 0)
            rd_kafka_topic_partition_list_add(list, topic, p)->offset = plant->next[hop][p];
    must("offsets", rd_kafka_send_offsets_to_transaction(client, list, metadata, WAIT_MS));
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_consumer_group_metadata_destroy(metadata);
}

static void flush(rd_kafka_t *client)
{
    if (rd_kafka_flush(client, WAIT_MS) != RD_KAFKA_RESP_ERR_NO_ERROR)
        die("flush", "not in time");
}

static void commit(rd_kafka_t *client)
{
    must("commit", rd_kafka_commit_transaction(client, WAIT_MS));
}

static void abort_transaction(rd_kafka_t *client)
{
    flush(client);
    must("abort", rd_kafka_abort_transaction(client, WAIT_MS));
}

static void read_to(struct plant *plant, int hop, const struct place *place)
{
    if (place->offset >= plant->next[hop][place->partition])
        plant->next[hop][place->partition] = place->offset + 1;
}

static bool acts(const struct plant *plant, const struct saga *saga, enum action action)
{
    return saga->victim && plant->fault->action == action;
}

// --- Inputs

static void put_input(const struct plant *plant, rd_kafka_t *client, struct saga *saga)
{
    char json[TEXT_MAX];
    bool compensates = strchr(saga->line, 'Y') != NULL && strchr(saga->line, 'C') == NULL;
    bool fails = compensates || acts(plant, saga, MUST_FAIL);
    int len = snprintf(json, sizeof json, "{\"order_id\":\"%s\",\"total\":%d,\"fail\":%s}",
                       saga->id, saga->victim ? 7 : 12, fails ? "true" : "false");
    put(plant, client,
        &(struct message){"orders", RD_KAFKA_PARTITION_UA, saga->id, json, (size_t)len,
                          &saga->input});
}

static void write_inputs(struct plant *plant)
{
    rd_kafka_t *client = producer(plant, "user", "consistent_random");
    must("begin", rd_kafka_begin_transaction(client));
    for (int i = 0; i < plant->count; i++)
        if (acts(plant, &plant->sagas[i], ABORTED_INPUT))
            put_input(plant, client, &plant->sagas[i]);
    abort_transaction(client);
    must("begin", rd_kafka_begin_transaction(client));
    for (int i = 0; i < plant->count; i++)
        if (!acts(plant, &plant->sagas[i], ABORTED_INPUT) &&
            !acts(plant, &plant->sagas[i], NO_INPUT) &&
            !acts(plant, &plant->sagas[i], ABORTED_START) &&
            !acts(plant, &plant->sagas[i], UNREAD_INPUT))
            put_input(plant, client, &plant->sagas[i]);
    flush(client);
    commit(client);
    for (int i = 0; i < plant->count; i++)
        read_to(plant, 0, &plant->sagas[i].input);
    must("begin", rd_kafka_begin_transaction(client));
    for (int i = 0; i < plant->count; i++)
        if (acts(plant, &plant->sagas[i], UNREAD_INPUT))
            put_input(plant, client, &plant->sagas[i]);
    commit(client);
    rd_kafka_destroy(client);
}

// --- Hop 1: inputs to the inbox

static void put_start(const struct plant *plant, rd_kafka_t *client, struct form *form,
                      const struct saga *saga, struct place *place)
{
    char cause[TEXT_MAX], bytes[TEXT_MAX];
    snprintf(cause, sizeof cause, "%s.orders/%d/%lld", plant->app, saga->input.partition,
             (long long)saga->input.offset);
    set_text(form, "cause", cause);
    set_text(form, "id", cause);
    size_t len = encode(form, bytes, sizeof bytes);
    put(plant, client,
        &(struct message){"inbox", RD_KAFKA_PARTITION_UA, saga->key, bytes, len, place});
}

static bool routed(const struct plant *plant, const struct saga *saga)
{
    return !acts(plant, saga, NO_START) && !acts(plant, saga, ABORTED_START) &&
           !acts(plant, saga, NO_INPUT) && !acts(plant, saga, UNREAD_INPUT) &&
           !acts(plant, saga, UNREAD_INBOX);
}

static void route(struct plant *plant)
{
    rd_kafka_t *client = producer(plant, "route", "murmur2");
    struct form form = load(plant, "command.avsc", "Command");
    must("begin", rd_kafka_begin_transaction(client));
    for (int i = 0; i < plant->count; i++)
        if (i % 3 == 0 || acts(plant, &plant->sagas[i], ABORTED_START))
            put_start(plant, client, &form, &plant->sagas[i], &plant->sagas[i].start);
    commit_offsets(plant, client, 0);
    abort_transaction(client);
    must("begin", rd_kafka_begin_transaction(client));
    for (int i = 0; i < plant->count; i++) {
        struct saga *saga = &plant->sagas[i];
        if (routed(plant, saga))
            put_start(plant, client, &form, saga, &saga->start);
        if (acts(plant, saga, TWO_LIVES))
            put_start(plant, client, &form, saga, &saga->second);
    }
    flush(client);
    commit_offsets(plant, client, 0);
    commit(client);
    for (int i = 0; i < plant->count; i++) {
        read_to(plant, 1, &plant->sagas[i].start);
        read_to(plant, 1, &plant->sagas[i].second);
    }
    must("begin", rd_kafka_begin_transaction(client));
    for (int i = 0; i < plant->count; i++)
        if (acts(plant, &plant->sagas[i], UNREAD_INBOX))
            put_start(plant, client, &form, &plant->sagas[i], NULL);
    commit(client);
    rd_kafka_destroy(client);
}

// --- Hop 2: the inbox to history and state

// One token of a line, and what is needed to write it.
struct token {
    const char *type;
    char step[32];
    int attempt;
    char flags[8];
    char mark; // in front: + = ! ~
};

static const char *type_of(const char *code)
{
    static const char *const types[][2] = {
        {"S", "saga.started"},
        {"C", "saga.completed"},
        {"X", "saga.compensating"},
        {"Y", "saga.compensated"},
        {"K", "saga.stuck"},
        {"P", "saga.paused"},
        {"R", "saga.resumed"},
        {"T", "saga.terminated"},
        {"s", "step.started"},
        {"c", "step.completed"},
        {"f", "step.failed"},
        {"r", "step.retrying"},
        {"k", "step.skipped"},
        {"l", "step.late"},
        {"us", "compensation.started"},
        {"uc", "compensation.completed"},
        {"uf", "compensation.failed"},
        {"ur", "compensation.retrying"},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i][0], code) == 0)
            return types[i][1];
    die("code", code);
    return NULL;
}

static struct token parse(const char *text, size_t len)
{
    char copy[64], *parts[4] = {NULL};
    struct token token = {.attempt = 1};
    snprintf(copy, sizeof copy, "%.*s", (int)len, text);
    char *at = copy;
    if (strchr("+=!~", *at) != NULL)
        token.mark = *at++;
    for (int i = 0; i < 4 && at != NULL; i++)
        parts[i] = strsep(&at, ":");
    token.type = type_of(parts[0]);
    snprintf(token.step, sizeof token.step, "%s", parts[1] == NULL ? "" : parts[1]);
    if (parts[2] != NULL)
        token.attempt = atoi(parts[2]);
    snprintf(token.flags, sizeof token.flags, "%s", parts[3] == NULL ? "" : parts[3]);
    return token;
}

static void put_history(const struct plant *plant, rd_kafka_t *client, const struct saga *saga,
                        int64_t incarnation, int64_t sequence, const struct token *token)
{
    char json[4 * TEXT_MAX], extra[TEXT_MAX] = "", data[TEXT_MAX];
    if (token->step[0] != '\0')
        snprintf(extra, sizeof extra, ",\"step\":\"%s\",\"attempt\":%d", token->step,
                 token->attempt);
    if (strcmp(token->type, "saga.started") == 0)
        snprintf(data, sizeof data, "\"definition\":\"order\",\"version\":1,\"hash\":\"0123\"");
    else
        snprintf(data, sizeof data, "\"index\":0%s%s%s",
                 strchr(token->flags, 'g') != NULL ? ",\"group\":\"both\"" : "",
                 strchr(token->flags, 'm') != NULL ? ",\"maybe_done\":true" : "",
                 strchr(token->flags, 't') != NULL ? ",\"code\":\"takeover\"" : "");
    int len = snprintf(
        json, sizeof json,
        "{\"specversion\":\"1.0\",\"id\":\"%s@%lld#%lld\",\"source\":\"/kasaga/here/%s\","
        "\"type\":\"kasaga.%s\",\"subject\":\"%s\",\"time\":\"2026-01-01T00:00:00.000Z\","
        "\"datacontenttype\":\"application/json\",\"sagaid\":\"%s@%lld\",\"sequence\":%lld%s,"
        "\"cause\":\"result\",\"executedby\":\"here/plant\",\"data\":{%s}}",
        saga->key, (long long)incarnation, (long long)sequence, plant->app, token->type, saga->key,
        saga->key, (long long)incarnation, (long long)sequence, extra, data);
    int32_t partition = RD_KAFKA_PARTITION_UA;
    if (token->mark == '!')
        partition = (saga->start.partition + 1) % PARTITIONS;
    put(plant, client, &(struct message){"history", partition, saga->key, json, (size_t)len, NULL});
}

// Writes the first `limit` records of the line; returns the number of the next.
static int64_t put_line(const struct plant *plant, rd_kafka_t *client, const struct saga *saga,
                        int64_t incarnation, int limit)
{
    int64_t sequence = 0;
    struct token held = {.type = NULL};
    const char *at = saga->line;
    for (int i = 0; i < limit && *at != '\0'; i++) {
        size_t len = strcspn(at, " ");
        struct token token = parse(at, len);
        at += len + (at[len] == ' ');
        sequence += token.mark == '+';
        if (token.mark == '~') {
            held = token;
            sequence++;
            continue;
        }
        put_history(plant, client, saga, incarnation, sequence, &token);
        if (token.mark == '=')
            put_history(plant, client, saga, incarnation, sequence, &token);
        if (held.type != NULL)
            put_history(plant, client, saga, incarnation, sequence - 1, &held);
        held.type = NULL;
        sequence++;
    }
    return sequence;
}

// RUNNING … as in the schema, by the last record of the line that says so.
static int state_of(const char *line)
{
    static const char codes[] = "SXPKCYT";
    int state = 0;
    for (const char *at = line; *at != '\0'; at++) {
        const char *code = strchr(codes, *at);
        bool alone = (at == line || at[-1] == ' ') && (at[1] == ' ' || at[1] == '\0');
        if (code != NULL && alone)
            state = (int)(code - codes);
    }
    return state;
}

static void put_state(const struct plant *plant, rd_kafka_t *client, struct form forms[2],
                      const struct saga *saga, int64_t incarnation, int64_t sequence)
{
    char bytes[4096];
    int state = state_of(saga->line);
    bool live = state < 4 || acts(plant, saga, LIVE_STATE);
    struct form *form = &forms[live ? 0 : 1];
    set_long(form, "incarnation", incarnation);
    set_long(form, "sequence", sequence);
    if (live)
        set_long(form, "state", state < 4 ? state : 0);
    else
        set_long(form, "outcome", state);
    size_t len = encode(form, bytes, sizeof bytes);
    bool removal = !live && sequence % 2 == 0;
    put(plant, client,
        &(struct message){"state", RD_KAFKA_PARTITION_UA, saga->key, removal ? NULL : bytes,
                          removal ? 0 : len, NULL});
}

static bool run_at_all(const struct plant *plant, const struct saga *saga)
{
    return !acts(plant, saga, NO_START) && !acts(plant, saga, NO_SAGA) &&
           !acts(plant, saga, UNREAD_INPUT) && !acts(plant, saga, UNREAD_INBOX);
}

static void put_saga(const struct plant *plant, rd_kafka_t *client, struct form forms[2],
                     const struct saga *saga)
{
    int64_t incarnation = acts(plant, saga, NO_INPUT) ? 123456 : saga->start.offset;
    int64_t next = put_line(plant, client, saga, incarnation, 1000);
    if (acts(plant, saga, TWO_LIVES)) {
        incarnation = saga->second.offset;
        next = put_line(plant, client, saga, incarnation, 1000);
    }
    put_state(plant, client, forms, saga, incarnation, next);
}

static void put_aborted(const struct plant *plant, rd_kafka_t *client)
{
    for (int i = 0; i < plant->count; i++) {
        const struct saga *saga = &plant->sagas[i];
        struct token next = parse("c:ship", 6);
        if (acts(plant, saga, NOT_REDONE))
            put_history(plant, client, saga, saga->start.offset, 7, &next);
        else if (i % 3 == 1 && !saga->victim)
            put_line(plant, client, saga, saga->start.offset, 4);
    }
}

static void put_oddities(struct plant *plant, rd_kafka_t *client)
{
    enum action action = plant->fault->action;
    struct message odd = {"history", 0, "order/none", "{\"specversion\":", 15, NULL};
    if (action == GARBAGE)
        put(plant, client, &odd);
    odd.suffix = "dlq";
    if (action == DEAD_LETTER)
        put(plant, client, &odd);
    odd = (struct message){"state", 0, "#marker", "x", 1, NULL};
    put(plant, client, &odd);
    if (action == AHEAD)
        plant->next[1][1] += 1000;
}

static void run(struct plant *plant)
{
    rd_kafka_t *client = producer(plant, "shard", "murmur2");
    struct form forms[2] = {load(plant, "saga_state.avsc", "Saga"),
                            load(plant, "state_finished.avsc", "Finished")};
    must("begin", rd_kafka_begin_transaction(client));
    put_aborted(plant, client);
    commit_offsets(plant, client, 1);
    abort_transaction(client);
    must("begin", rd_kafka_begin_transaction(client));
    for (int i = 0; i < plant->count; i++)
        if (run_at_all(plant, &plant->sagas[i]))
            put_saga(plant, client, forms, &plant->sagas[i]);
    put_oddities(plant, client);
    commit_offsets(plant, client, 1);
    commit(client);
    if (plant->fault->action == OPEN) {
        must("begin", rd_kafka_begin_transaction(client));
        put(plant, client, &(struct message){"history", 0, "order/open", "{}", 2, NULL});
        flush(client);
        _Exit(0); // as a process that was killed
    }
    rd_kafka_destroy(client);
}

// --- All

static void make_sagas(struct plant *plant)
{
    enum { STRANGE = sizeof strange / sizeof *strange };
    plant->sagas = calloc((size_t)plant->count, sizeof *plant->sagas);
    if (plant->sagas == NULL)
        die("sagas", "no memory");
    for (int i = 0; i < plant->count; i++) {
        struct saga *saga = &plant->sagas[i];
        saga->victim = i == VICTIM;
        saga->input.offset = saga->start.offset = saga->second.offset = -1;
        snprintf(saga->id, sizeof saga->id, "o-%d", i);
        snprintf(saga->key, sizeof saga->key, "order/%s", saga->id);
        saga->line = i % 4 == 0 ? compensated : i % 16 == 3 ? strange[i / 16 % STRANGE] : completed;
        if (saga->victim)
            saga->line = plant->fault->line;
    }
}

static const struct fault *fault_named(const char *name)
{
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        if (strcmp(faults[i].name, name) == 0)
            return &faults[i];
    die("no such fault", name);
    return NULL;
}

static void list(void)
{
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        printf("%s %s\n", faults[i].name, faults[i].kind);
    exit(0);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"app", required_argument, NULL, 'a'},
        {"sagas", required_argument, NULL, 'n'},
        {"fault", required_argument, NULL, 'f'},
        {"schemas", required_argument, NULL, 's'},
        {"list", no_argument, NULL, 'l'},
        {"fingerprints", required_argument, NULL, 'p'},
        {NULL, 0, NULL, 0},
    };
    struct plant plant = {.bootstrap = getenv("KASAGA_BOOTSTRAP"),
                          .schemas = "schemas",
                          .fingerprints = "",
                          .fault = &faults[0],
                          .count = 100};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        if (option == 'a')
            plant.app = optarg;
        else if (option == 'n')
            plant.count = atoi(optarg);
        else if (option == 'f')
            plant.fault = fault_named(optarg);
        else if (option == 's')
            plant.schemas = optarg;
        else if (option == 'p')
            plant.fingerprints = optarg;
        else if (option == 'l')
            list();
        else
            return 2;
    if (plant.app == NULL || plant.bootstrap == NULL || plant.count <= VICTIM)
        die("usage", "plant --list | KASAGA_BOOTSTRAP=... plant --app APP --fingerprints LIST");
    make_sagas(&plant);
    create_topics(&plant);
    write_inputs(&plant);
    route(&plant);
    run(&plant);
    return 0;
}
