// SPDX-License-Identifier: Apache-2.0
// What the brokers hold, and the requests that go to them.
// Include sim.h.
#ifndef KA_TESTS_SIM_CLUSTER_H
#define KA_TESTS_SIM_CLUSTER_H

#include "core/lane.h"

struct sim;

enum {
    SHARDS_MAX = 5,
    USERS = 2, // partitions of the user topic
    LOGS_MAX = USERS + 4 * SHARDS_MAX,
    OFFSETS_LOG = 63, // the bit of the offsets topic in the set of a transaction
    NODES = 3,
    WORKERS_MAX = 4,
    LANES = 2, // of a worker: "s0" owns shards, "r0" routes
    PIDS = WORKERS_MAX * LANES * LANE_PRODUCERS,
    GROUPS = 2,
    MEMBERS_MAX = 16,
    SLOTS_MAX = 16,
    SAGA_DEFS = 4,
    STEPS_MAX = 4,
    DEDUPED_BATCHES = 5,
    REAPPEND_MIN = 40, // M of the bounded restore
    CLUSTERS = 2,
    LINK_LOGS = 4 * SHARDS_MAX // with links: four topics
};

enum sim_topic {
    TOPIC_USER,
    TOPIC_INBOX,
    TOPIC_STATE,
    TOPIC_HISTORY,
    TOPIC_DLQ,
    TOPICS, // of shards and routes; links have TOPIC_USER, TOPIC_INBOX and these
    TOPIC_LINKS = TOPICS,
    TOPIC_OUT,
    ALL_TOPICS
};

// ---- The cluster

enum { RECORD_DATA, RECORD_COMMIT, RECORD_ABORT };
enum { FATE_OPEN, FATE_COMMITTED, FATE_ABORTED };

struct sim_record {
    struct slice key;
    struct slice value;
    int64_t at_us;     // appended
    int64_t stable_us; // visible to read_committed
    uint32_t transaction;
    int8_t pid; // -1: not transactional
    uint8_t kind;
    uint8_t fate;
    bool cloud; // has the content type of a CloudEvent
    // With links only.
    const struct header *headers;
    size_t header_count;
    int64_t timestamp_ms;
};

struct sim_producer_state {
    int64_t open_first; // first offset of the open transaction, -1 = none
    int32_t epoch;
    int32_t next_seq;
    struct {
        int32_t seq;
        int32_t count;
        int64_t offset;
    } batches[DEDUPED_BATCHES];
    int batch_next;
};

struct sim_log {
    enum sim_topic topic;
    int32_t partition;
    int32_t node;         // its leader
    int64_t leader_at_us; // from then on; before nobody leads
    struct sim_record *records;
    int64_t count;
    int64_t cap;
    int64_t start; // DeleteRecords
    int64_t lso;
    struct sim_producer_state producers[PIDS];
};

enum sim_code {
    CODE_OK,
    CODE_TRANSPORT, // disconnected or timed out: nobody knows
    CODE_RETRY,     // retriable answers of the broker
    CODE_CONCURRENT,
    CODE_FENCED,
    CODE_INVALID_STATE,
    CODE_SEQUENCE,
    CODE_TOO_LARGE,
    CODE_ILLEGAL_GENERATION,
    CODE_UNKNOWN_MEMBER,
    CODE_REBALANCE,
    CODE_UNSTABLE,
    CODE_MISSING // the topic is unknown
};

enum sim_transaction_state {
    TXN_EMPTY,
    TXN_ONGOING,
    TXN_COMMITTING,
    TXN_ABORTING,
    TXN_COMMITTED,
    TXN_ABORTED
};

struct sim_transaction {
    enum sim_transaction_state state;
    int32_t epoch;
    int32_t marker_epoch;
    int64_t begun_us;
    uint64_t logs; // bit set, OFFSETS_LOG for the group's offsets
    uint64_t markers_left;
    int group;
    uint32_t serial;
};

struct sim_coordinator { // of a transactional id or a group
    int node;
    int64_t loaded_at_us; // COORDINATOR_LOAD_IN_PROGRESS before
};

struct sim_committed {
    int64_t offset; // -1 = none
    int64_t append; // order in the offsets topic
    char meta[META_MAX];
    size_t meta_len;
    struct sim_txn *txn;
};

struct sim_pending {
    bool used;
    struct sim_committed value;
};

struct sim_member {
    int id;     // 0 = no member
    int client; // lane number: worker * LANES + lane
    int64_t deadline_us;
    bool joined;            // in the round under way
    struct sim_req *parked; // its JoinGroup
    uint64_t owned;         // as it said when it joined
    uint64_t assigned;
};

struct sim_group {
    int partitions;
    int32_t generation;
    bool preparing;
    int64_t round_until_us;
    int shuffle; // rotates the assignment: a rebalance that moves partitions
    int last_member;
    struct sim_member members[MEMBERS_MAX];
    struct sim_member written[MEMBERS_MAX]; // of the last complete generation
    struct sim_committed committed[SHARDS_MAX];
    struct sim_pending pending[PIDS][SHARDS_MAX];
    int64_t appends;
};

// ---- Requests

enum sim_request {
    REQ_INIT,
    REQ_ADD_PARTITIONS,
    REQ_ADD_OFFSETS,
    REQ_TXN_OFFSETS,
    REQ_END_TXN,
    REQ_PRODUCE,
    REQ_HEARTBEAT,
    REQ_JOIN,
    REQ_SYNC,
    REQ_OFFSETS,
    REQ_DESCRIBE,
    REQ_WATERMARK,
    REQ_TYPES
};

enum sim_owner { OWNER_PRODUCER, OWNER_CONSUMER, OWNER_COMMITTER, OWNER_RESTORER };

struct sim_conns {
    int64_t arrives_us[NODES]; // the last request of this connection: the next comes after it
};

struct sim_offset {
    int partition;
    int64_t offset;
    struct slice meta;
};

struct sim_batch {
    struct sim_out *head;
    int count;
};

struct sim_req {
    enum sim_request type;
    enum sim_owner owner_type;
    int8_t node;
    int8_t refs; // events that hold it
    bool mute;   // nobody waits for the answer
    void *owner;
    uint32_t call; // of the owner: an answer to an earlier call is dropped
    int worker;
    int pid;
    int32_t epoch;
    uint64_t logs;
    int log;
    int32_t seq;
    struct sim_batch batch;
    int group;
    int32_t generation;
    int member;
    int client;
    uint64_t owned;
    const struct sim_offset *offsets;
    int offset_count;
    struct sim_txn *txn;
    bool commit;
    bool stable;
    enum sim_code code; // the answer
    int64_t value;
    int64_t value2;
    const struct sim_committed *entry;
    uint64_t clients; // DESCRIBE: bit set of lanes that are members
    struct sim_req *next;
};

#endif
