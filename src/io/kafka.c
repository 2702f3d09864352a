// SPDX-License-Identifier: Apache-2.0
// What all Kafka clients share: the one translation of librdkafka's errors, and the configuration.
// Producers, consumers and admin are in files of their own.
#include "io/kafka_int.h"

#include "core/assert.h"
#include "io/clock.h"
#include "io/log.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    CLIENT_ID_MAX = 63,
    TRANSACTION_ABORTABLE = 120, // KIP-890; 2.0.2 has no name for it
    FETCH_BACKOFF_SINCE = 0x02020000
};

#define CALL(name) (1U << IO_KAFKA_##name)
#define TRANSACTIONAL_CALLS                                                                        \
    (CALL(INIT) | CALL(BEGIN) | CALL(PRODUCE) | CALL(DELIVERY) | CALL(FLUSH) |                     \
     CALL(SEND_OFFSETS) | CALL(COMMIT) | CALL(ABORT))
#define OUTPUT_CALLS (CALL(PRODUCE) | CALL(DELIVERY))
#define READ_CALLS (CALL(CONSUME) | CALL(ASK))
#define ERR(name) RD_KAFKA_RESP_ERR_##name

// Codes that mean one thing for some calls whatever their flags say. The first row that fits wins.
static const struct row {
    unsigned calls;
    int code;
    enum ka_err err;
} rows[] = {
    {TRANSACTIONAL_CALLS, ERR(_FENCED), KA_ERR_FENCED},
    {TRANSACTIONAL_CALLS, ERR(PRODUCER_FENCED), KA_ERR_FENCED},
    {TRANSACTIONAL_CALLS, ERR(INVALID_PRODUCER_EPOCH), KA_ERR_FENCED},
    // librdkafka bumps the epoch and goes on; after the id expired on the broker that can write
    // records twice (KAFKA-18019), so begin anew.
    {TRANSACTIONAL_CALLS, ERR(UNKNOWN_PRODUCER_ID), KA_ERR_FATAL},
    {TRANSACTIONAL_CALLS, ERR(INVALID_PRODUCER_ID_MAPPING), KA_ERR_FATAL},

    {OUTPUT_CALLS, ERR(MSG_SIZE_TOO_LARGE), KA_ERR_TOO_LARGE},
    {OUTPUT_CALLS, ERR(RECORD_LIST_TOO_LARGE), KA_ERR_TOO_LARGE},
    {OUTPUT_CALLS, ERR(_UNKNOWN_TOPIC), KA_ERR_NOT_FOUND},
    {OUTPUT_CALLS, ERR(_UNKNOWN_PARTITION), KA_ERR_NOT_FOUND},
    {OUTPUT_CALLS, ERR(UNKNOWN_TOPIC_OR_PART), KA_ERR_NOT_FOUND},
    {OUTPUT_CALLS, ERR(TOPIC_EXCEPTION), KA_ERR_NOT_FOUND}, // a name that no topic can have
    {OUTPUT_CALLS, ERR(TOPIC_AUTHORIZATION_FAILED), KA_ERR_NOT_ALLOWED},
    {OUTPUT_CALLS, ERR(INVALID_RECORD), KA_ERR_NOT_ALLOWED},
    {OUTPUT_CALLS, ERR(INVALID_TIMESTAMP), KA_ERR_NOT_ALLOWED},
    {OUTPUT_CALLS, ERR(POLICY_VIOLATION), KA_ERR_NOT_ALLOWED},
    {CALL(PRODUCE), ERR(_QUEUE_FULL), KA_ERR_LIMIT},
    {CALL(PRODUCE), ERR(_STATE), KA_ERR_ABORT}, // the transaction has failed already
    {CALL(FLUSH), ERR(_TIMED_OUT), KA_ERR_TIMEOUT},

    // Known before EndTxn was sent, or said by the coordinator: it has not happened.
    {CALL(COMMIT), ERR(_INCONSISTENT), KA_ERR_ABORT},
    {CALL(COMMIT), TRANSACTION_ABORTABLE, KA_ERR_ABORT},

    {READ_CALLS, ERR(_TIMED_OUT), KA_ERR_TIMEOUT},
    {READ_CALLS, ERR(_TIMED_OUT_QUEUE), KA_ERR_TIMEOUT},
    {READ_CALLS, ERR(REQUEST_TIMED_OUT), KA_ERR_TIMEOUT},
    {READ_CALLS, ERR(_TRANSPORT), KA_ERR_UNREACHABLE},
    {READ_CALLS, ERR(_RESOLVE), KA_ERR_UNREACHABLE},
    {READ_CALLS, ERR(_ALL_BROKERS_DOWN), KA_ERR_UNREACHABLE},
    {READ_CALLS, ERR(BROKER_NOT_AVAILABLE), KA_ERR_UNREACHABLE},
    {READ_CALLS, ERR(_AUTO_OFFSET_RESET), KA_ERR_DIVERGED},
    {READ_CALLS, ERR(OFFSET_OUT_OF_RANGE), KA_ERR_DIVERGED},
    {READ_CALLS, ERR(UNKNOWN_TOPIC_OR_PART), KA_ERR_NOT_FOUND},
    {READ_CALLS, ERR(_UNKNOWN_TOPIC), KA_ERR_NOT_FOUND},
    {READ_CALLS, ERR(_UNKNOWN_PARTITION), KA_ERR_NOT_FOUND},
    {READ_CALLS, ERR(GROUP_ID_NOT_FOUND), KA_ERR_NOT_FOUND},
    {READ_CALLS, ERR(TOPIC_ALREADY_EXISTS), KA_ERR_EXISTS},
    {READ_CALLS, ERR(TOPIC_AUTHORIZATION_FAILED), KA_ERR_NOT_ALLOWED},
    {READ_CALLS, ERR(GROUP_AUTHORIZATION_FAILED), KA_ERR_NOT_ALLOWED},
    {READ_CALLS, ERR(CLUSTER_AUTHORIZATION_FAILED), KA_ERR_NOT_ALLOWED},
    {READ_CALLS, ERR(POLICY_VIOLATION), KA_ERR_NOT_ALLOWED},
    {READ_CALLS, ERR(UNKNOWN_MEMBER_ID), KA_ERR_NOT_ALLOWED}, // offsets of a group that has members
    {READ_CALLS, ERR(_UNSUPPORTED_FEATURE), KA_ERR_UNSUPPORTED},
    {READ_CALLS, ERR(UNSUPPORTED_VERSION), KA_ERR_UNSUPPORTED},
    {READ_CALLS, ERR(INVALID_CONFIG), KA_ERR_CONFIG},
    {READ_CALLS, ERR(INVALID_PARTITIONS), KA_ERR_CONFIG},
    {READ_CALLS, ERR(INVALID_REPLICATION_FACTOR), KA_ERR_CONFIG},
    {READ_CALLS, ERR(TOPIC_EXCEPTION), KA_ERR_CONFIG},
    {CALL(ASK), ERR(UNSTABLE_OFFSET_COMMIT), KA_ERR_RETRY},
    {CALL(ASK), ERR(NOT_CONTROLLER), KA_ERR_RETRY},
    {READ_CALLS, ERR(NOT_COORDINATOR), KA_ERR_RETRY},
    {READ_CALLS, ERR(COORDINATOR_NOT_AVAILABLE), KA_ERR_RETRY},
    {READ_CALLS, ERR(COORDINATOR_LOAD_IN_PROGRESS), KA_ERR_RETRY},
    {READ_CALLS, ERR(LEADER_NOT_AVAILABLE), KA_ERR_RETRY},
    {READ_CALLS, ERR(NOT_LEADER_FOR_PARTITION), KA_ERR_RETRY},
};

enum ka_err io_kafka_classify(enum io_kafka_call call, struct io_kafka_failure failure)
{
    KA_ASSERT(failure.code != ERR(NO_ERROR));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].code == failure.code && (rows[i].calls & (1U << call)) != 0)
            return rows[i].err;
    }
    if (failure.fatal || failure.code == ERR(_FATAL))
        return KA_ERR_FATAL;
    switch (call) {
    case IO_KAFKA_INIT:
    case IO_KAFKA_BEGIN:
    case IO_KAFKA_ABORT: // what an abort leaves open is settled by the next init
        return failure.retriable ? KA_ERR_RETRY : KA_ERR_FATAL;
    case IO_KAFKA_SEND_OFFSETS:
        return failure.abortable ? KA_ERR_ABORT : failure.retriable ? KA_ERR_RETRY : KA_ERR_FATAL;
    case IO_KAFKA_COMMIT:
        // Retriable: EndTxn may be under way, and calling again hangs once librdkafka's own
        // retries are used up. Abortable: EndTxn may have succeeded after a local failure.
        return failure.retriable || failure.abortable ? KA_ERR_UNCLEAR : KA_ERR_FATAL;
    case IO_KAFKA_DELIVERY:
        return KA_ERR_ABORT;
    case IO_KAFKA_PRODUCE:
    case IO_KAFKA_FLUSH:
        return KA_ERR_FATAL;
    case IO_KAFKA_CONSUME:
        return KA_ERR_RETRY; // librdkafka goes on by itself
    case IO_KAFKA_ASK:
        return failure.retriable ? KA_ERR_RETRY : KA_ERR_IO;
    }
    return KA_ERR_FATAL;
}

static enum ka_err describe(enum io_kafka_call call, struct io_kafka_failure failure,
                            const char *detail, struct err_text *text, const char *what)
{
    enum ka_err err = io_kafka_classify(call, failure);
    return err_set(text, err, "%s: %s (%s)", what, detail,
                   rd_kafka_err2name((rd_kafka_resp_err_t)failure.code));
}

enum ka_err io_kafka_failed(enum io_kafka_call call, rd_kafka_error_t *error, struct err_text *text,
                            const char *what)
{
    struct io_kafka_failure failure = {
        .code = rd_kafka_error_code(error),
        .fatal = rd_kafka_error_is_fatal(error),
        .abortable = rd_kafka_error_txn_requires_abort(error),
        .retriable = rd_kafka_error_is_retriable(error),
    };
    enum ka_err err = describe(call, failure, rd_kafka_error_string(error), text, what);
    rd_kafka_error_destroy(error);
    return err;
}

enum ka_err io_kafka_failed_code(enum io_kafka_call call, rd_kafka_resp_err_t code,
                                 struct err_text *text, const char *what)
{
    return describe(call, (struct io_kafka_failure){.code = code}, rd_kafka_err2str(code), text,
                    what);
}

const char *io_kafka_version(void)
{
    static _Thread_local char version[64];
    snprintf(version, sizeof version, "librdkafka %s", rd_kafka_version_str());
    return version;
}

#define ROLE(name) (1U << IO_KAFKA_##name)
#define PRODUCERS (ROLE(TRANSACTIONAL) | ROLE(IDEMPOTENT))
#define READERS (ROLE(GROUP) | ROLE(READ_COMMITTED) | ROLE(READ_UNCOMMITTED))
#define EVERYONE (PRODUCERS | READERS)

struct setting {
    unsigned roles;
    const char *name;
    const char *value;
};

// What a user may change.
static const struct setting defaults[] = {
    {EVERYONE, "socket.nagle.disable", "true"},
    {EVERYONE, "log.thread.name", "false"},
    {EVERYONE, "socket.keepalive.enable", "true"},
    {EVERYONE, "reconnect.backoff.max.ms", "1000"},
    // A lane flushes when it commits; with a short linger librdkafka's threads wake for every few
    // records in between (measured: 15 to 20 % more CPU for a saga with 5 ms).
    {ROLE(TRANSACTIONAL), "linger.ms", "1000"},
    {ROLE(IDEMPOTENT), "linger.ms", "5"},
    {PRODUCERS, "queue.buffering.max.messages", "1000000"},
    {PRODUCERS, "queue.buffering.max.kbytes", "131072"}, // a batch is far below it
    // Brokers from 4.0 on look to 2.0.2 as if they knew no gzip, snappy or lz4: those are sent
    // uncompressed without a word. zstd works, at the price of CPU on both sides.
    {PRODUCERS, "compression.codec", "none"},
    {PRODUCERS, "topic.metadata.propagation.max.ms", "5000"}, // an unknown topic fails in time
    // librdkafka waits this long before it asks for the next partitions of a transaction and
    // before it retries AddOffsetsToTxn: with the default of 100 ms a commit takes that long.
    {ROLE(TRANSACTIONAL), "retry.backoff.ms", "1"},
    {READERS, "fetch.wait.max.ms", "100"},
    {READERS, "fetch.error.backoff.ms", "50"},
    {READERS, "check.crcs", "true"},
};

// What kasaga's promises rest on.
static const struct setting fixed[] = {
    {PRODUCERS, "acks", "all"},
    {PRODUCERS, "enable.idempotence", "true"},
    {PRODUCERS, "partitioner", "murmur2_random"}, // the Java client's, for topics of others
    {READERS, "allow.auto.create.topics", "false"},
    {READERS, "enable.auto.commit", "false"},
    {READERS, "enable.auto.offset.store", "false"},
    {READERS, "enable.partition.eof", "true"},
    {READERS, "auto.offset.reset", "error"},
    {ROLE(GROUP) | ROLE(READ_COMMITTED), "isolation.level", "read_committed"},
    {ROLE(READ_UNCOMMITTED), "isolation.level", "read_uncommitted"},
    {ROLE(GROUP), "partition.assignment.strategy", "cooperative-sticky"},
};

enum ka_err io_kafka_conf_set(rd_kafka_conf_t *conf, const char *name, const char *value,
                              struct err_text *text)
{
    char detail[256];
    if (rd_kafka_conf_set(conf, name, value, detail, sizeof detail) == RD_KAFKA_CONF_OK)
        return KA_OK;
    return err_set(text, KA_ERR_CONFIG, "kafka property %s: %s", name, detail);
}

static enum ka_err set_all(rd_kafka_conf_t *conf, enum io_kafka_role role,
                           const struct setting *settings, size_t count, struct err_text *text)
{
    for (size_t i = 0; i < count; i++) {
        if ((settings[i].roles & (1U << role)) == 0)
            continue;
        enum ka_err err = io_kafka_conf_set(conf, settings[i].name, settings[i].value, text);
        if (err != KA_OK)
            return err;
    }
    return KA_OK;
}

static enum ka_err set_number(rd_kafka_conf_t *conf, const char *name, int32_t value,
                              int32_t fallback, struct err_text *text)
{
    char digits[16];
    snprintf(digits, sizeof digits, "%d", value > 0 ? value : fallback);
    return io_kafka_conf_set(conf, name, digits, text);
}

// One request is under way per broker: over a distance its size is the speed.
static enum ka_err set_fetch(rd_kafka_conf_t *conf, int32_t bytes, struct err_text *text)
{
    enum { ENVELOPE = 64 * 1024, MESSAGE_MAX = 1024 * 1024 };
    enum ka_err err = set_number(conf, "fetch.message.max.bytes", bytes, bytes, text);
    if (err != KA_OK || bytes < MESSAGE_MAX) // librdkafka refuses answers smaller than a message
        return err;
    if (err == KA_OK)
        err = set_number(conf, "fetch.max.bytes", bytes, bytes, text);
    if (err == KA_OK)
        err = set_number(conf, "receive.message.max.bytes", bytes + ENVELOPE, bytes, text);
    return err;
}

static const char *property(const struct io_kafka_config *config, const char *name)
{
    for (size_t i = 0; i < config->property_count; i++)
        if (strcmp(config->property_names[i], name) == 0)
            return config->property_values[i];
    return NULL;
}

// librdkafka refuses to start when an answer could not hold a message.
static int32_t answer_bytes(const struct io_kafka_config *config)
{
    const char *message = property(config, "message.max.bytes");
    int64_t least = message == NULL ? 1000000 : strtoll(message, NULL, 10);
    int64_t bytes = (int64_t)config->answer_kbytes * 1024;
    return (int32_t)(bytes < least ? least : bytes);
}

// What a client may hold. A user who writes properties sets his own.
static enum ka_err set_bounds(rd_kafka_conf_t *conf, const struct io_kafka_config *config,
                              enum io_kafka_role role, struct err_text *text)
{
    bool reader = (READERS & (1U << role)) != 0;
    enum ka_err err = KA_OK;
    if (!reader && config->produce_kbytes > 0)
        return set_number(conf, "queue.buffering.max.kbytes", config->produce_kbytes, 0, text);
    if (reader && config->queue_kbytes > 0)
        err = set_number(conf, "queued.max.messages.kbytes", config->queue_kbytes, 0, text);
    if (err == KA_OK && reader && config->queue_records > 0)
        err = set_number(conf, "queued.min.messages", config->queue_records, 0, text);
    if (err == KA_OK && reader && config->answer_kbytes > 0)
        err = set_number(conf, "fetch.max.bytes", answer_bytes(config), 0, text);
    if (err == KA_OK && reader && rd_kafka_version() >= FETCH_BACKOFF_SINCE)
        err = io_kafka_conf_set(conf, "fetch.queue.backoff.ms", "10", text);
    return err;
}

void io_kafka_waker_init(struct io_kafka_waker *waker, const struct io_kafka_config *config)
{
    enum { KBYTES = 65536, RECORDS = 100000 }; // librdkafka's own
    const char *username = property(config, "sasl.username");
    const char *password = property(config, "sasl.password");
    int32_t kbytes = config->queue_kbytes > 0 ? config->queue_kbytes : KBYTES;
    int32_t records = config->queue_records > 0 ? config->queue_records : RECORDS;
    *waker = (struct io_kafka_waker){.username = username == NULL ? "" : username,
                                     .password = password == NULL ? "" : password,
                                     .quarter_bytes = (size_t)kbytes * 1024 / 4,
                                     .quarter_records = (size_t)records / 4};
}

// Giving it the credentials that it has is the one call that wakes all fetchers and does nothing
// else.
void io_kafka_waker_taken(struct io_kafka_waker *waker, rd_kafka_t *rk, size_t bytes)
{
    waker->bytes += bytes;
    waker->records++;
    if (waker->bytes < waker->quarter_bytes && waker->records < waker->quarter_records)
        return;
    waker->bytes = waker->records = 0;
    if (rd_kafka_version() >= FETCH_BACKOFF_SINCE)
        return;
    rd_kafka_error_t *error = rd_kafka_sasl_set_credentials(rk, waker->username, waker->password);
    if (error != NULL)
        rd_kafka_error_destroy(error);
}

// A cluster on this machine is reached by IPv4: "localhost" is often tried on ::1 first.
static bool all_loopback(const char *bootstrap)
{
    const char *at = bootstrap;
    while (*at != '\0') {
        at += strspn(at, ", ");
        if (*at == '\0')
            break;
        if (strncmp(at, "127.", 4) != 0 && strncmp(at, "localhost", 9) != 0)
            return false;
        at += strcspn(at, ",");
    }
    return true;
}

static enum ka_err set_times(rd_kafka_conf_t *conf, const struct io_kafka_config *config,
                             enum io_kafka_role role, struct err_text *text)
{
    if (role == IO_KAFKA_TRANSACTIONAL)
        return set_number(conf, "transaction.timeout.ms", config->transaction_timeout_ms, 10000,
                          text);
    if (role != IO_KAFKA_GROUP)
        return KA_OK;
    int32_t session_ms = config->session_timeout_ms > 0 ? config->session_timeout_ms : 6000;
    int32_t poll_ms = config->max_poll_interval_ms > 0 ? config->max_poll_interval_ms : 15000;
    // Members learn of a rebalance with their next heartbeat.
    enum ka_err err = set_number(conf, "heartbeat.interval.ms", session_ms / 12, 500, text);
    if (err == KA_OK)
        err = set_number(conf, "session.timeout.ms", session_ms, session_ms, text);
    if (err == KA_OK)
        err = set_number(conf, "max.poll.interval.ms", poll_ms < session_ms ? session_ms : poll_ms,
                         poll_ms, text);
    return err;
}

static enum ka_err fill(rd_kafka_conf_t *conf, const struct io_kafka_config *config,
                        enum io_kafka_role role, struct err_text *text)
{
    const char *client_id = config->client_id == NULL ? "kasaga" : config->client_id;
    if (config->bootstrap == NULL || config->bootstrap[0] == '\0')
        return err_set(text, KA_ERR_CONFIG, "kafka.bootstrap is not set");
    if (strlen(client_id) > CLIENT_ID_MAX)
        return err_set(text, KA_ERR_CONFIG, "client id %s has more than %d bytes", client_id,
                       CLIENT_ID_MAX);
    enum ka_err err = set_all(conf, role, defaults, sizeof defaults / sizeof defaults[0], text);
    // An empty fetch of the mock cluster always takes this long, also when a record arrives.
    if (err == KA_OK && config->at_least_once && (READERS & (1U << role)) != 0)
        err = io_kafka_conf_set(conf, "fetch.wait.max.ms", "10", text);
    if (err == KA_OK && all_loopback(config->bootstrap))
        err = io_kafka_conf_set(conf, "broker.address.family", "v4", text);
    if (err == KA_OK && (READERS & (1U << role)) != 0 && config->fetch_kbytes > 0)
        err = set_fetch(conf, config->fetch_kbytes * 1024, text);
    if (err == KA_OK)
        err = set_bounds(conf, config, role, text);
    for (size_t i = 0; err == KA_OK && i < config->property_count; i++)
        err = io_kafka_conf_set(conf, config->property_names[i], config->property_values[i], text);
    if (err == KA_OK)
        err = set_all(conf, role, fixed, sizeof fixed / sizeof fixed[0], text);
    if (err == KA_OK)
        err = set_times(conf, config, role, text);
    if (err == KA_OK)
        err = io_kafka_conf_set(conf, "bootstrap.servers", config->bootstrap, text);
    if (err == KA_OK)
        err = io_kafka_conf_set(conf, "client.id", client_id, text);
    return err;
}

static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *message)
{
    static const enum log_level levels[8] = {LOG_LEVEL_ERROR, LOG_LEVEL_ERROR, LOG_LEVEL_ERROR,
                                             LOG_LEVEL_ERROR, LOG_LEVEL_WARN,  LOG_LEVEL_INFO,
                                             LOG_LEVEL_INFO,  LOG_LEVEL_DEBUG};
    enum log_level own = levels[level & 7];
    if (strcmp(facility, "CONFWARN") == 0) // a property of the other kind: both get the same list
        own = LOG_LEVEL_DEBUG;
    else if (strcmp(facility, "GETPID") == 0 && own == LOG_LEVEL_WARN) // every takeover has them
        own = LOG_LEVEL_INFO;
    log_at(own, "librdkafka", facility, "client=%s text=%s", rk == NULL ? "" : rd_kafka_name(rk),
           message);
}

rd_kafka_conf_t *io_kafka_conf_new(const struct io_kafka_config *config, enum io_kafka_role role,
                                   enum ka_err *error, struct err_text *text)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, on_log);
    *error = fill(conf, config, role, text);
    if (*error == KA_OK)
        return conf;
    rd_kafka_conf_destroy(conf);
    return NULL;
}

enum ka_err io_kafka_handle_new(rd_kafka_conf_t *conf, enum io_kafka_role role, rd_kafka_t **rk,
                                struct err_text *text)
{
    char detail[256];
    rd_kafka_type_t type = role <= IO_KAFKA_IDEMPOTENT ? RD_KAFKA_PRODUCER : RD_KAFKA_CONSUMER;
    *rk = rd_kafka_new(type, conf, detail, sizeof detail);
    if (*rk != NULL)
        return KA_OK;
    rd_kafka_conf_destroy(conf);
    return err_set(text, KA_ERR_CONFIG, "kafka client: %s", detail);
}

void io_kafka_record_set(struct record *record, const rd_kafka_message_t *message,
                         struct io_kafka_headers *headers)
{
    *record = (struct record){
        .topic = slice_str(rd_kafka_topic_name(message->rkt)),
        .partition = message->partition,
        .offset = message->offset,
        .timestamp_ms = rd_kafka_message_timestamp(message, NULL),
        .key = {message->key, message->key_len},
        .value = {message->payload, message->len},
        .headers = headers->items,
    };
    rd_kafka_headers_t *list;
    if (rd_kafka_message_headers(message, &list) != ERR(NO_ERROR))
        return;
    size_t count = rd_kafka_header_cnt(list);
    if (count > headers->cap) {
        struct header *grown = realloc(headers->items, count * sizeof *grown);
        if (grown == NULL)
            abort(); // as an arena: a process that cannot hold one record cannot go on
        headers->items = grown;
        headers->cap = count;
    }
    for (size_t i = 0; i < count; i++) {
        const char *name;
        const void *value;
        size_t len;
        if (rd_kafka_header_get_all(list, i, &name, &value, &len) != ERR(NO_ERROR))
            break;
        headers->items[i] = (struct header){slice_str(name), slice_of(value, len)};
        record->header_count = i + 1;
    }
    record->headers = headers->items;
}

// "CGMDv2:", int32 generation in the machine's byte order, group id NUL, member id NUL, one byte
// (1 = no instance id), instance id NUL. The format is the same from 2.0.0 to 2.15.
bool io_kafka_group_parse(struct slice bytes, int32_t *generation, bool *member)
{
    const struct slice magic = SLICE_LIT("CGMDv2:");
    size_t at = magic.len + sizeof *generation;
    if (!slice_starts(bytes, magic) || bytes.len < at)
        return false;
    memcpy(generation, bytes.ptr + magic.len, sizeof *generation);
    const char *end = bytes.ptr + bytes.len;
    const char *group = bytes.ptr + at;
    const char *group_end = memchr(group, '\0', (size_t)(end - group));
    if (group_end == NULL)
        return false;
    const char *member_id = group_end + 1;
    const char *member_end = memchr(member_id, '\0', (size_t)(end - member_id));
    if (member_end == NULL || end - member_end < 2)
        return false;
    *member = member_end > member_id;
    return true;
}
