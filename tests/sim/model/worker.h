// SPDX-License-Identifier: Apache-2.0
// Processes with their lanes, and the clients and helpers of a lane.
// Include sim.h.
#ifndef KA_TESTS_SIM_WORKER_H
#define KA_TESTS_SIM_WORKER_H

#include "cluster.h"
#include "core/route.h"
#include "core/shard_internal.h"

// ---- Clients

struct sim_out {
    struct slice key;
    struct slice value;
    int32_t tag;
    struct sim_out *next;
    // With links only.
    const struct header *headers;
    size_t header_count;
    int64_t timestamp_ms;
};

struct sim_outbox {
    struct sim_out *head;
    struct sim_out *tail;
    struct sim_batch sent;
    bool in_flight;
    int32_t next_seq;
};

enum sim_job { JOB_NONE, JOB_RESET, JOB_FLUSH, JOB_COMMIT, JOB_ABORT, JOB_TOKEN, JOB_SAMPLE };

struct sim_producer {
    struct sim *sim;
    struct sim_lane *lane;
    struct sim_committer *committer;
    struct sim_conns conns;
    int index;
    int pid;
    int32_t epoch;
    bool dead; // destroyed: answers are dropped
    bool dirty;
    bool begun;
    enum ka_err fatal;
    enum ka_err failed; // a delivery
    uint64_t added;
    bool add_in_flight;
    bool offsets_added;
    struct sim_outbox outboxes[LOGS_MAX];
    uint64_t waiting; // outboxes with records that are not sent
    uint64_t sending;
    struct lane_span spans[SLOTS_MAX];
    enum sim_job job;
    int stage;
    uint32_t call;
    uint32_t pump_call;
    bool pump_due;
    int64_t deadline_us;
    struct sim_commit *commit;
};

struct sim_commit {
    struct sim_offset *offsets;
    int count;
    int32_t generation;
    int member;
    struct sim_txn *txn;
};

struct sim_mail {
    enum lane_event_type type;
    enum ka_err error;
    int32_t producer;
    struct sim_producer *handle;
    bool dirty;
    int32_t slot;
    int32_t epoch;
    int64_t offset;
    void *restored; // struct shard_restore, or link_restore
    struct lane_span *spans;
    size_t span_count;
    char meta[META_MAX];
    size_t meta_len;
    struct lane_result *result;
    const struct sim_call *call;
    struct sim_mail *next;
};

struct sim_work { // a job of the committer
    enum sim_job job;
    int producer;
    struct sim_producer *handle;
    struct sim_commit *commit;
    int32_t slot;
    int32_t epoch;
    int partition;
    struct sim_work *next;
};

struct sim_committer {
    struct sim *sim;
    struct sim_lane *lane;
    bool abandoned;
    struct sim_work *head;
    struct sim_work *tail;
    struct sim_work *current;
    uint32_t call;
    struct sim_conns conns;
};

struct sim_restore_job {
    int32_t slot;
    int32_t epoch;
    int partition;
    struct sim_restore_job *next;
};

struct sim_restorer {
    struct sim *sim;
    struct sim_lane *lane;
    struct sim_conns conns;
    struct sim_restore_job *head;
    struct sim_restore_job *tail;
    struct sim_restore_job *job;
    int stage;
    uint32_t call;
    int64_t until_us;
    int owner; // lane to fence
    int64_t owner_incarnation;
    int fences_left;
    bool fence_failed;
    int64_t end;
    int64_t end_us;    // asked before
    int64_t stable_us; // the offset was stable then
    struct sim_committed entry;
    struct {
        int owner;
        int64_t incarnation;
    } fenced[64];
    int fenced_next;
};

struct sim_part {
    bool assigned;
    bool paused;
    bool fetching;
    uint32_t version;    // of seeks and resumes: older fetches are dropped
    int64_t next;        // handed out next
    int64_t fetched;     // the queue is [next, fetched)
    int64_t eof_told;    // the end was told at this offset
    int64_t seeks_at_us; // a seek before fails
    enum ka_err error;   // to be told; the partition is dead then
};

enum sim_control_type { CONTROL_ASSIGNED, CONTROL_REVOKING, CONTROL_LOST };
struct sim_control {
    enum sim_control_type type;
    uint64_t partitions;
    int64_t at_us; // the application hears of it
};

struct sim_consumer {
    struct sim *sim;
    struct sim_lane *lane;
    struct sim_conns conns;
    bool dead;
    int group;
    int member;
    int32_t generation;
    uint64_t owned; // assigned by the application's answer
    uint64_t to_assign;
    uint64_t to_revoke;
    bool waiting;  // for the application's answer to a control event
    bool rejoin;   // when it has answered
    bool lost;     // what is owned is to be given up
    uint32_t call; // of join and sync
    bool joining;
    int64_t heard_us; // last good heartbeat
    struct sim_part parts[SHARDS_MAX];
    struct sim_control controls[8];
    int control_count;
    int turn; // which partition is asked first
};

// ---- Workers

// Inputs of a transaction, to be decided again by the oracle.
enum { INPUT_RECORD, INPUT_POISON, INPUT_RESULT, INPUT_TIMER, INPUT_WORK };
struct sim_input {
    uint8_t kind;
    int64_t now_ms;
    int64_t offset;                  // RECORD, POISON
    struct shard_takeover *takeover; // WORK
    struct lane_result *result;
    struct sim_input *next;
};
struct sim_part_inputs {
    bool touched;
    bool decided;
    struct sim_input *head;
    struct sim_input *tail;
    struct sim_txn *txn;
    int64_t close_ms;
    struct sim_part_inputs *next; // in the journal of the shard
};
struct sim_txn {
    const struct sim_lane *lane;
    bool decided; // the coordinator has decided to commit it
    int inputs;
    struct sim_part_inputs parts[SHARDS_MAX];
};

struct sim_life { // one process
    struct sim *sim;
    int worker;
    bool dead;
    int64_t incarnation;
    struct sim_lane *lanes[LANES]; // with links one
};

struct sim_worker {
    struct sim_life *life;
    int64_t paused_until_us;
    int64_t clock_ms; // what its wall clock is off
    bool restarting;
};

struct sim_lane {
    struct sim *sim;
    struct sim_life *life;
    int index;  // 0 shards, 1 routes
    int client; // worker * LANES + index
    char node[16];
    char name[8];
    struct lane *lane;
    struct shards *shards;
    struct routes *routes;
    struct sim_link *link; // then it is one of a link, and has neither of both
    struct lane_processor inner;
    struct lane_effects effects;
    struct sim_consumer *consumer;
    struct sim_producer *producers[LANE_PRODUCERS];
    struct sim_committer *committer;
    struct sim_restorer *restorer;
    bool resetting[LANE_PRODUCERS];
    int busy_producer;
    enum ka_err produce_error;
    int32_t batch_records;
    int64_t unpark_us;
    int32_t group_generation;
    int group_member;
    bool subscribed;
    bool drained;
    bool hold;
    int64_t hold_until_us;
    struct lane_event local[256];
    int local_count;
    struct sim_mail *mail_head;
    struct sim_mail *mail_tail;
    int64_t turn_us;
    uint32_t turn_call;
    struct sim_txn *txn;     // being gathered
    struct sim_txn *sending; // being committed
    struct lane_partition_name names[SHARDS_MAX];
    // for the checkers
    int64_t proof_us[GROUPS];
    int64_t revoking_us;
    int64_t assigned_us[SLOTS_MAX];
};

#endif
