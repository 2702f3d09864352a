// SPDX-License-Identifier: Apache-2.0
// The history checker: reads the topics of an app as any Kafka client can and decides whether what
// it finds is what was promised. It shares no code with the engine, so a mistake there is not
// repeated here.
//
// How it goes: sample the offsets of the groups and the ends of the topics (effects before causes,
// so that what is found in one topic can be looked up in the next), read everything below the ends
// read_committed into the store, read the same read_uncommitted, then run the rules.
#ifndef CHECKER_H
#define CHECKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

unsigned hash_text(const void *text, size_t len);
#define HASH_FUNCTION(text, len, hash) ((hash) = hash_text((text), (len)))
#include <uthash.h>

enum { INPUTS_MAX = 16, STEPS_MAX = 64, NAME_SIZE = 256 };

enum { EXIT_CLEAN = 0, EXIT_VIOLATIONS = 1, EXIT_USAGE = 2, EXIT_UNREACHABLE = 69 };

// --- Options

enum rule_op { RULE_NONE, RULE_EQ, RULE_NE, RULE_GT, RULE_LT, RULE_MOD };

// Which inputs have to end compensated: "total>1000", "seq%10=0", "card=declined".
struct expect {
    enum rule_op op;
    char field[NAME_SIZE];
    char text[NAME_SIZE]; // right-hand side
    double number;
    long modulus;
};

// --input TOPIC:FIELD[:TYPE]; with a type, events of other types are not counted.
struct input_spec {
    char topic[NAME_SIZE];
    char field[NAME_SIZE];
    char type[NAME_SIZE];
};

struct name_list {
    char names[STEPS_MAX][NAME_SIZE];
    int count;
};

enum history_kind { HISTORY_ALL, HISTORY_STEPS, HISTORY_ENDS };

struct options {
    const char *bootstrap;
    const char *app;
    const char *schemas;
    struct input_spec inputs[INPUTS_MAX];
    int input_count;
    struct name_list steps; // of a completed saga
    struct name_list undo;  // steps that have a compensation
    struct expect expect_failed;
    enum history_kind history;
    int64_t dlq; // records that must be there
    int wait_s;
    bool allow_unfinished;
    bool live;    // somebody is at work: what is in flight is no violation
    bool rebuilt; // what has ended need not have a record of its own in the state topic
    bool json;
    int max_shown;
    int stall_s; // how long an open transaction may hold readers back
};

// Exits with EXIT_USAGE when they are wrong.
void options_parse(struct options *options, int argc, char **argv);

// --- Topics and the log as it was read

enum role { ROLE_HISTORY, ROLE_STATE, ROLE_DLQ, ROLE_INBOX, ROLE_INPUT };

struct seen {
    int64_t offset;
    uint64_t hash; // of key and value
};

struct partition {
    int64_t low;
    int64_t high;      // read up to here
    int64_t committed; // read_committed view: next offset
    int64_t raw;       // read_uncommitted view: next offset
    int64_t group;     // committed offset of the group that consumes it; -1 = none
    struct seen *seen; // committed records, in order
    size_t seen_count, seen_cap, seen_at;
    struct item *items; // ROLE_INBOX, ROLE_INPUT: in order of offset
    size_t item_count, item_cap;
    struct aborted *aborted; // records that only read_uncommitted shows, in order of offset
    size_t aborted_count, aborted_cap;
};

struct topic {
    char name[NAME_SIZE];
    enum role role;
    bool exists;
    int partition_count;
    struct partition *partitions;
    const struct input_spec *input;
    int64_t records; // in the committed view
    int64_t aborted_records;
};

enum { TOPICS_MAX = 4 + INPUTS_MAX };

// A committed record of an input topic or of the inbox.
struct item {
    int64_t offset;
    struct subject *subject; // of an inbox record, or of an input's saga as far as its START says
    char *id;                // of an input record
    const struct topic *cause_topic; // of a START: the input it came from; NULL = not one of ours
    int32_t cause_partition;
    int64_t cause_offset;
    int32_t starts; // of an input record: committed STARTs that name it as their cause
    bool start;     // an inbox record with verb START
    bool counted;   // of an input record: it has to lead to a saga
    bool must_fail;
    bool dead;       // the dlq holds it
    bool unreadable; // an inbox record that is no command of a published schema
};

struct aborted {
    int64_t offset;
    char *key;        // of the record, "" if none
    char *sagaid;     // history only, else NULL
    int64_t sequence; // history only
};

struct record {
    struct topic *topic;
    int32_t partition;
    int64_t offset;
    const char *key;
    size_t key_len;
    const char *value; // NULL = null value
    size_t len;
    const char *type; // header ce_type, not terminated; NULL = none
    size_t type_len;
    const void *message; // rd_kafka_message_t, for headers
};

// --- Sagas

enum event_type {
    SAGA_STARTED,
    SAGA_COMPLETED,
    SAGA_COMPENSATING,
    SAGA_COMPENSATED,
    SAGA_STUCK,
    SAGA_PAUSED,
    SAGA_RESUMED,
    SAGA_TERMINATED,
    STEP_STARTED,
    STEP_COMPLETED,
    STEP_FAILED,
    STEP_RETRYING,
    STEP_SKIPPED,
    STEP_LATE,
    UNDO_STARTED,
    UNDO_COMPLETED,
    UNDO_FAILED,
    UNDO_RETRYING,
    EVENT_TYPES
};

struct event {
    int64_t sequence;
    int64_t offset;
    int32_t partition;
    int32_t attempt;
    int16_t step;  // in store.steps; -1 = of the saga
    int16_t group; // the same of the parallel step whose branch it is; -1 = none
    uint8_t type;
    bool maybe_done;
    bool takeover; // the same attempt sent again by a new owner
};

struct instance {
    struct subject *subject;
    struct instance *next; // of the same key, a later one
    int64_t incarnation;
    struct event *events; // as they came
    size_t count, cap;
    int32_t definition; // in store.definitions; -1 = not known
    bool torn;          // its sequence is broken: what would follow from that is not said again
};

enum state_form { STATE_NONE, STATE_REMOVED, STATE_LIVE, STATE_FINISHED, STATE_OPAQUE };

// Everything of one key, "order/4711".
struct subject {
    char *key;
    size_t key_len;
    const char *id; // behind the first slash, in `key`
    size_t id_len;
    struct instance *instances, *last;
    int32_t starts; // committed STARTs in the inbox
    int32_t start_partition;
    int64_t start_offset; // of the first
    bool dead;            // its START is in the dlq
    bool wanted;          // some input record has its id
    bool expected;        // --expect-failed says how it ends
    bool must_fail;
    enum state_form state;
    char state_name[32]; // of STATE_LIVE and STATE_FINISHED
    int64_t state_incarnation, state_sequence;
    int32_t state_partition;
    int64_t state_offset;
    UT_hash_handle hh;    // by key
    UT_hash_handle hh_id; // by id; one of several types with this id
    struct subject *same_id;
};

struct name {
    char *text;
    int32_t number;
    UT_hash_handle hh;
};

struct names {
    struct name *table;
    struct name **all;
    int32_t count;
};

struct store {
    const struct options *options;
    struct topic topics[TOPICS_MAX];
    int topic_count;
    struct subject *subjects;
    struct subject *ids;
    struct names steps;
    struct names definitions; // by hash
    struct names others;      // ids of history records that are of no saga's line
    struct names undoable;    // "definition step" that was compensated in some saga
    bool commands;            // the inbox is there and can be read
    int64_t dlq_records;
};

struct topic *store_topic(struct store *store, const char *name, size_t len);
struct subject *store_subject(struct store *store, const char *key, size_t len);
struct subject *store_find(struct store *store, const char *key, size_t len);
struct subject *store_find_id(struct store *store, const char *id, size_t len);
struct instance *store_instance(struct subject *subject, int64_t incarnation);
void instance_add(struct instance *instance, const struct event *event);
struct name *names_get(struct names *names, const char *text, size_t len, bool *fresh);
struct item *partition_add(struct partition *partition);
// The item or aborted record at an offset; NULL if there is none.
struct item *partition_item(const struct partition *partition, int64_t offset);
const struct aborted *partition_aborted(const struct partition *partition, int64_t offset);
struct partition *topic_partition(const struct topic *topic, int32_t number);
// "orders/3/17"; false if it is no place. `topic` is NULL when it is not one that is read.
bool store_place(struct store *store, const char *text, size_t len, const struct topic **topic,
                 int32_t *partition, int64_t *offset);
void *grow(void *array, size_t count, size_t *cap, size_t size);
char *copy_text(const char *text, size_t len);
uint32_t murmur2(const char *key, size_t len);

// --- Records into the store

void take_committed(struct store *store, const struct record *record);
void take_aborted(struct store *store, const struct record *record);
void take_history(struct store *store, const struct record *record);
void take_aborted_history(const struct record *record, struct aborted *aborted);
const char *event_type_name(enum event_type type);
bool expect_matches(const struct expect *expect, const void *json);

// --- Avro

// Loads every *.avsc of a directory; without any, Avro records are not looked into.
void avro_load(const char *directory);
struct command_view {
    bool start;
    char *cause; // to be freed
};
bool avro_knows(const char *name);
// Prints name=fingerprint of every schema.
void avro_print(void);
bool avro_command(const char *bytes, size_t len, struct command_view *view);
void avro_state(const char *bytes, size_t len, struct subject *subject);

// --- Kafka

struct kafka;
// Exits with EXIT_UNREACHABLE when the cluster does not answer.
struct kafka *kafka_open(const struct options *options);
void kafka_close(struct kafka *kafka);
// Which topics there are; exits with EXIT_USAGE when the app has no history.
void kafka_topics(struct kafka *kafka, struct store *store);
// Samples the groups' offsets, then the ends of the topics.
void kafka_sample(struct kafka *kafka, struct store *store);
// Reads both views up to the sampled ends.
void kafka_read_committed(struct kafka *kafka, struct store *store);
void kafka_read_uncommitted(struct kafka *kafka, struct store *store);
// Reports partitions whose sampled ends one of the views did not reach.
void kafka_held_back(struct store *store);

// --- Rules

enum kind {
    KIND_ABORTED_READ,
    KIND_AFTER_END,
    KIND_AHEAD,
    KIND_ATTEMPT_TWICE,
    KIND_BOTH_ENDS,
    KIND_DLQ,
    KIND_FORWARD_AFTER_UNDO,
    KIND_GAP,
    KIND_INVENTED,
    KIND_LOST,
    KIND_MALFORMED,
    KIND_NOT_REDONE,
    KIND_NOT_UNDONE,
    KIND_OPEN_TRANSACTION,
    KIND_OUT_OF_ORDER,
    KIND_REPEATED,
    KIND_STATE_DIFFERS,
    KIND_STEPS_AT_ONCE,
    KIND_STEP_MISSING,
    KIND_STEP_TWICE,
    KIND_UNDO_ORDER,
    KIND_UNDO_TWICE,
    KIND_UNDO_WITHOUT_STEP,
    KIND_UNFINISHED,
    KIND_UNREAD,
    KIND_VIEWS_DIFFER,
    KIND_WRONG_OUTCOME,
    KIND_WRONG_PARTITION,
    KINDS
};

// What the line of an instance says, for rules that compare it with something else.
struct verdict {
    enum event_type end; // EVENT_TYPES = none
    const char *state;   // RUNNING … as the state topic names it
    int64_t next_sequence;
};

struct verdict line_verdict(const struct instance *instance);
// Learns which steps have a compensation; to be called for all instances before rules_line.
void rules_learn(struct store *store, const struct instance *instance);
// The line of one instance by itself.
void rules_line(struct store *store, struct instance *instance);
// Topics against each other.
void rules_across(struct store *store);
// Last state records against the history.
void rules_state(const struct store *store, const struct subject *subject);
// How much there is to wait for.
int64_t rules_in_flight(const struct store *store);

// --- Report

struct totals {
    int64_t sagas, completed, compensated, terminated, unfinished;
};

void report_init(const struct options *options);
// `saga` may be NULL, `topic` may be NULL (then partition and offset do not count).
void report_add(enum kind kind, const char *saga, const struct topic *topic, int32_t partition,
                int64_t offset, const char *format, ...) __attribute__((format(printf, 6, 7)));
void report_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
int64_t report_count(void);
void report_print(const struct store *store, const struct totals *totals);

#endif
