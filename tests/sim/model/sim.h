// SPDX-License-Identifier: Apache-2.0
// One simulated cluster with its workers: a seed is a run. Everything that happens is an event in
// one heap, everything that is drawn comes from one stream, so the same seed gives the same run.
// The lanes, processors, states and commands are the product's own objects (built with KA_SIM);
// what stands around them in src/engine and src/io is modelled here: clients, committer, restorer,
// invoker, and a broker that does what Kafka does. Not for several threads: one run, one thread.
//
//   load.c     who writes user records and operator's commands, what actions do
//   shell.c    a lane with its clients: does what src/engine/lane_thread.c does
//   producer.c consumer.c committer.c restorer.c   the client library and the helpers of a lane
//   net.c      requests that are late, lost, executed and not answered
//   broker.c coordinator.c group.c                 the cluster
//   check*.c   what must hold, at each step and at the end
#ifndef KA_TESTS_SIM_H
#define KA_TESTS_SIM_H

#include "worker.h"

#include "core/command.h"
#include "core/link_feed.h"
#include "core/rule.h"

// Kinds of faults. Counted twice: when they are injected, and when something felt it. (Most are
// felt at once; a clock, a slow or moved node, a missing topic, a pause only when somebody meets
// them.)
// clang-format off
#define SIM_FAULTS(X)                                                                              \
    X(SLOW) X(LOST) X(NO_ANSWER) X(LATE) X(REPEATED) X(NODE_SLOW) X(MARKER_SLOW) X(KILL) X(PAUSE)  \
    X(REBALANCE) X(CLOCK) X(CONSUMER) X(SEEK) X(ACTION_SLOW) X(ACTION_NO_ANSWER) X(ACTION_FAILED)  \
    X(MISROUTED) X(POISON) X(TOO_LARGE) X(OFFSETS_LOST) X(TRIM) X(HOLD) X(LEADER_MOVED)            \
    X(COORDINATOR_MOVED) X(CONCURRENT) X(TOPIC_MISSING) X(RETENTION) X(TRUNCATED)                  \
    X(CUT) X(SOURCE_ERROR) X(ABORTED) X(BAD_RECORD) X(RECREATED) X(GROWN) X(OLD_RECORDS)
enum sim_fault {
#define X(name) FAULT_##name,
    SIM_FAULTS(X)
#undef X
    FAULT_KINDS
};
enum { EFFECT_TYPES = LANE_EFFECT_PARKED + 1 };
// clang-format on
extern const char *const sim_effect_names[EFFECT_TYPES];
extern const char *const sim_request_names[REQ_TYPES];

struct sim_stats {
    int64_t runs, events, sim_ms, sagas, completed, compensated, transactions, aborts, unclear;
    int64_t records, takeovers, restores, invocations, stuck, replayed, kills;
    int64_t born, copies, dropped; // of links: by users, seen by readers, by lanes (also in vain)
    int64_t injected[FAULT_KINDS];
    int64_t hit[FAULT_KINDS];
    int64_t effects[EFFECT_TYPES];
    int64_t killed_at[EFFECT_TYPES]; // before the effect
    int64_t requests[REQ_TYPES];
    int64_t killed_in[REQ_TYPES];     // when the request was executed, before its answer
    int64_t rebalanced_in[REQ_TYPES]; // the same with a rebalance
    int64_t points;                   // where a worker can be killed: effects and requests
};

// Rules that the shell keeps and not the core (core/rule.h has the others).
enum {
    RULE_RESTORE_ORDER = 15,  // stable offset first, then the end
    RULE_NEVER_A_MEMBER = 21, // of 10: never fences a member
    RULE_RESTORE_END = 32,    // up to the high watermark, not to the last stable offset
    RULE_STABLE = 33,         // the offset that counts is one that no open transaction can change
    RULE_LINK_COMMITTED = 51  // the source is read read_committed
};

struct sim_options {
    uint64_t seed;
    uint64_t rules_off; // bits; see core/rule.h
    bool canary;        // one effect is applied twice: must be found
    bool trace;         // keep the last lines of what happened
    bool links;         // two clusters and links between them, instead of shards and routes
    bool replay;        // the oracle: all inputs again through a fresh processor
    int64_t kill_point; // > 0: few sagas, no other fault, and one kill, at this point
};

// What this seed is like: drawn first, then the run.
struct sim_swarm {
    int workers, shards, sagas;
    int64_t load_us, calm_us; // load comes until, faults come until
    int64_t session_ms, transaction_ms, sweep_ms;
    int64_t latency_us;
    int slow, lost, no_answer, late; // ppm of requests
    int64_t slow_us;
    int kill, pause, rebalance, node_slow; // ppm of effects
    int focus;                             // an effect: dies and stands still there more often
    int64_t pause_us, node_slow_us, restart_us;
    int marker_slow, clock, consumer, seek, hold;
    int leader, coordinator, missing; // ppm per look around (chaos)
    int64_t move_us;                  // how long nobody leads, at most
    bool retention, truncate;         // once, in the middle
    int action_slow, action_no_answer, action_fail, action_retry, inline_fail; // ppm of calls
    int misrouted, poison, large, commands;                                    // ppm of records
    int refuse;                     // every n-th key cannot be started; 0 = all can
    bool offsets_lost, trim, again; // again: ids are used again after they were forgotten
    int64_t dedupe_ms;
    bool takeover_bound; // only kills, long transaction timeout: takeovers must be quick
};

// ---- The world outside

// What an idempotency key has seen: a participant that keeps the contract.
struct sim_participant {
    uint64_t key;
    bool used;
    bool done;
    bool closed;
};

// What really happened for one (saga, incarnation, step): truth for the checkers.
struct sim_ledger {
    uint64_t key;
    bool used;
    int16_t effects;
    int16_t undone;
    int32_t attempt; // decided last
    int32_t undo_attempt;
    const struct sim_txn *decided;
    const struct sim_txn *undo_decided;
    int dispatched_life; // (life, slot epoch, attempt) of the last dispatch
    int32_t dispatched_epoch;
    int32_t dispatched_attempt;
    bool dispatched_undo;
};

// A result with what owns its memory.
struct sim_kept_result {
    struct lane_result base;
    struct lane_invocation *invocation;
    const struct sim_txn *txn; // that took it last
};

struct sim_call { // an invocation under way
    struct sim_life *life;
    struct sim_lane *lane;
    struct lane_invocation *invocation;
    struct sim_ledger *ledger;
    uint64_t own;     // hash of the idempotency key
    uint64_t forward; // hash of the key that an undo closes; 0 = none
    bool undo;
    bool answered;
    struct action_result result;
};

// ---- What the history has told about one instance
enum {
    SEEN_RUNNING,
    SEEN_COMPENSATING,
    SEEN_STUCK,
    SEEN_COMPLETED,
    SEEN_COMPENSATED,
    SEEN_TERMINATED
};
struct sim_instance {
    struct slice key; // "s<definition>/<id>"
    int64_t incarnation;
    int32_t def;
    int64_t sequence;
    uint8_t state;
    uint8_t course; // before it was stuck
    bool paused;
    int8_t undo_at; // lowest step of the undo so far
    struct {
        bool started, completed, failed, undone, undo_started, skipped;
        int32_t attempt, undo_attempt;
    } steps[STEPS_MAX];
};

struct sim_check {
    int64_t seen[LOGS_MAX];  // the reader's position
    uint64_t fold[LOGS_MAX]; // of what it has read
    struct sim_part_inputs *journal[SHARDS_MAX];
    struct sim_part_inputs *journal_end[SHARDS_MAX];
    struct shard_restore *shadow[SHARDS_MAX]; // the fold of the whole state log
    int64_t shadow_at[SHARDS_MAX];
    int64_t lane_ms[GROUPS][SHARDS_MAX];
    // What no rule can mend: the partition must stop by itself, and nothing is asked of it then.
    bool broken[GROUPS][SHARDS_MAX];
    bool truncated[SHARDS_MAX]; // its state log has lost its end
    size_t most_live[SHARDS_MAX];
    int64_t unnamed_us[GROUPS];       // when the last of these was taken over
    bool unnamed[GROUPS][SHARDS_MAX]; // its last owner died before its claim was committed
    struct sim_instance **instances;  // open addressing over key and incarnation
    size_t instance_cap;
    size_t instance_count;
    uint8_t *starts[USERS]; // committed START commands per user record
    int64_t dead_letters;
    int64_t forwarded;
};

// ---- Events

enum sim_event_type {
    EVENT_ARRIVE,
    EVENT_FAIL,
    EVENT_REPLY,
    EVENT_MARKER,
    EVENT_SWEEP,
    EVENT_GROUP,
    EVENT_TURN,
    EVENT_PUMP, // a producer goes on
    EVENT_JOB,  // a job of a producer goes on or times out
    EVENT_WORK, // a committer's question is asked again or given up
    EVENT_RESTORE,
    EVENT_FETCH,
    EVENT_HEARTBEAT,
    EVENT_EXECUTE,
    EVENT_ANSWER,
    EVENT_RESTART,
    EVENT_LOAD,
    EVENT_OPERATE,
    EVENT_TRIM,
    EVENT_CHAOS,
    EVENT_SOURCE, // of links: a fetch, a look, a comparison
    EVENT_BORN,   // a transaction of a user of a source ends
    EVENT_TYPES
};

struct sim_event {
    int64_t at_us;
    uint32_t seq;
    uint8_t type;
    int8_t worker; // whose thread it runs on; -1 = nobody's
    int16_t a;
    uint32_t call;
    int8_t cluster;
    void *ptr;
};

enum { TRACE_LINES = 6000, TRACE_LEN = 160 };

// One cluster. With links there are two: heap, dice, trace and failure are those of the first.
struct sim {
    struct sim *world;
    struct sim *clusters[CLUSTERS];
    int cluster;
    struct sim_links *links; // NULL = shards and routes
    struct sim_options options;
    struct sim_swarm swarm;
    uint64_t rng;
    int64_t now_us;
    uint64_t hash;
    bool healing;
    struct arena arena;
    struct sim_event *heap;
    size_t heap_count, heap_cap;
    uint32_t seq;
    struct sim_req *free_reqs;
    struct buf scratch;

    struct sim_log logs[LOGS_MAX];
    int log_count;
    struct sim_transaction transactions[PIDS];
    uint32_t transaction_serial;
    struct sim_group groups[GROUPS];
    struct sim_coordinator coordinators[PIDS + GROUPS];
    int64_t node_slow_until_us[NODES];
    int64_t missing_until_us[ALL_TOPICS]; // the topic is in nobody's metadata

    struct sim_worker workers[WORKERS_MAX];
    int lives;
    int kill_budget;
    struct saga_def *defs[SAGA_DEFS];
    struct expr *route_id;
    struct route routes[SAGA_DEFS];
    struct sim_participant *participants;
    struct sim_ledger *ledger;
    size_t participant_cap, ledger_cap;
    int calls_open;
    int written;
    int bad; // user records that can not become a command
    int64_t operated_us;

    struct sim_check check;
    bool failed;
    bool failed_by_assert;
    char why[400];
    char (*lines)[TRACE_LEN];
    int line_next;
    struct sim_stats stats;
};

// core.c
uint64_t sim_draw(struct sim *sim, uint64_t below);
int64_t sim_between(struct sim *sim, int64_t low, int64_t high);
bool sim_chance(struct sim *sim, int ppm);                    // while faults are on
bool sim_hit(struct sim *sim, enum sim_fault fault, int ppm); // injected and felt
bool sim_inject(struct sim *sim, enum sim_fault fault, int ppm);
void sim_felt(struct sim *sim, enum sim_fault fault); // one that nobody drew
void sim_at(struct sim *sim, int64_t at_us, struct sim_event event);
bool sim_pop(struct sim *sim, struct sim_event *event);
void sim_fail(struct sim *sim, const char *format, ...) KA_PRINTF(2, 3);
void sim_line(struct sim *sim, const char *format, ...) KA_PRINTF(2, 3);
#define SIM_NOTE(sim, ...)                                                                         \
    do {                                                                                           \
        if ((sim)->options.trace)                                                                  \
            sim_line((sim), __VA_ARGS__);                                                          \
    } while (0)
#define SIM_RULE(sim, n) (((sim)->options.rules_off & (UINT64_C(1) << (n))) == 0)
void sim_mix(struct sim *sim, uint64_t value);
struct slice sim_copy(struct sim *sim, struct slice s);

// broker.c
struct sim_record *sim_append(struct sim *sim, struct sim_log *log);
int sim_log_of(const struct sim *sim, enum sim_topic topic, int32_t partition);
int sim_log_named(const struct sim *sim, struct slice topic, int32_t partition);
const char *sim_topic_name(enum sim_topic topic);
void sim_append_plain(struct sim *sim, int log, struct slice key, struct slice value, bool cloud);
void sim_on_produce(struct sim *sim, struct sim_req *req);
void sim_append_marker(struct sim *sim, int log, int pid, int32_t epoch, bool commit);
void sim_move_lso(struct sim *sim, struct sim_log *log);
bool sim_truncate(struct sim *sim, int log, int64_t records);

// coordinator.c
void sim_on_transaction(struct sim *sim, struct sim_req *req);
bool sim_in_transaction(const struct sim *sim, int pid, int32_t epoch, int log,
                        enum sim_code *code);
void sim_on_marker(struct sim *sim, int pid, int log);
void sim_on_sweep(struct sim *sim);

// group.c
void sim_on_group(struct sim *sim, struct sim_req *req);
void sim_group_timer(struct sim *sim, int group);
void sim_group_rebalance(struct sim *sim, int group, bool shuffle);
void sim_group_settle(struct sim *sim, int group, int pid, bool commit);
void sim_group_decided(struct sim *sim, int group, int pid);
void sim_group_moved(struct sim *sim, int group);
struct sim_member *sim_member(struct sim *sim, int group, int id);

// net.c
struct sim_req *sim_req(struct sim *sim, enum sim_request type, enum sim_owner owner_type,
                        void *owner, uint32_t call, int worker);
void sim_send(struct sim *sim, struct sim_conns *conns, struct sim_req *req);
void sim_reply(struct sim *sim, struct sim_req *req, enum sim_code code);
void sim_on_arrive(struct sim *sim, struct sim_req *req);
void sim_on_answer(struct sim *sim, struct sim_req *req, bool fail);
void sim_release(struct sim *sim, struct sim_req *req);
bool sim_missing(struct sim *sim, enum sim_topic topic);
bool sim_leaderless(struct sim *sim, const struct sim_log *log);

// faults.c
void sim_chaos(struct sim *sim);
void sim_trim(struct sim *sim);
void sim_heal(struct sim *sim);
bool sim_kill_point(struct sim *sim, int worker, int ppm);

// producer.c
struct sim_producer *sim_producer_new(struct sim_committer *committer, int index);
void sim_producer_begin(struct sim_producer *producer);
void sim_producer_add(struct sim_producer *producer, int log, const struct output *output,
                      int32_t tag);
void sim_producer_job(struct sim_producer *producer, enum sim_job job, struct sim_commit *commit);
void sim_producer_pump(struct sim_producer *producer);
void sim_producer_on_pump(struct sim_producer *producer);
void sim_producer_go_on(struct sim_producer *producer);
void sim_producer_answer(struct sim_producer *producer, struct sim_req *req);
void sim_producer_event(struct sim_producer *producer, uint32_t call);
int64_t sim_retry_us(struct sim *sim, enum sim_code code);

// committer.c
struct sim_committer *sim_committer_new(struct sim_lane *lane);
void sim_committer_queue(struct sim_committer *committer, struct sim_work work);
void sim_committer_done(struct sim_committer *committer, const struct sim_mail *mail);
void sim_committer_answer(struct sim_committer *committer, struct sim_req *req);
void sim_committer_timeout(struct sim_committer *committer, uint32_t call);

// restorer.c
struct sim_restorer *sim_restorer_new(struct sim_lane *lane);
void sim_restorer_queue(struct sim_restorer *restorer, int32_t slot, int32_t epoch, int partition);
void sim_restorer_answer(struct sim_restorer *restorer, struct sim_req *req);
void sim_restorer_go_on(struct sim_restorer *restorer, uint32_t call);

// consumer.c
struct sim_consumer *sim_consumer_new(struct sim_lane *lane);
void sim_consumer_answer(struct sim_consumer *consumer, struct sim_req *req);
void sim_consumer_heartbeat(struct sim_consumer *consumer);
void sim_consumer_assign(struct sim_consumer *consumer, bool assign, uint64_t partitions);
bool sim_consumer_seek(struct sim_consumer *consumer, int partition, int64_t offset);
void sim_consumer_pause(struct sim_consumer *consumer, int partition, bool pause);
void sim_consumer_fetched(struct sim_consumer *consumer, int partition, uint32_t version);
void sim_consumer_wake(struct sim *sim, const struct sim_log *log);
bool sim_consumer_control(struct sim_consumer *consumer, struct sim_control *control);
enum { FETCH_NOTHING, FETCH_RECORD, FETCH_EOF, FETCH_ERROR };
int sim_consumer_next(struct sim_consumer *consumer, int *partition, int64_t *offset,
                      enum ka_err *error);
struct sim_log *sim_consumer_log(struct sim_consumer *consumer, int partition);

// shell.c
void sim_worker_start(struct sim *sim, int worker);
void sim_worker_kill(struct sim *sim, int worker);
void sim_lane_turn(struct sim_lane *lane, uint32_t call);
void sim_lane_step(struct sim_lane *lane, struct lane_event *event);
enum sim_topic sim_lane_topic(const struct sim_lane *lane);
void sim_lane_wake(struct sim_lane *lane);
void sim_lane_mail(struct sim_lane *lane, const struct sim_mail *mail);
int64_t sim_wall_ms(const struct sim *sim, int worker);
// journal.c: the processor with everything that goes in noted
struct lane_processor sim_journal(struct sim_lane *lane);
struct sim_txn *sim_journal_txn(struct sim_lane *lane);

// load.c
void sim_load_init(struct sim *sim);
void sim_load_fini(struct sim *sim);
void sim_load_next(struct sim *sim);
void sim_operate(struct sim *sim, struct slice key, enum command_verb verb, bool misroute);
void sim_run_inline(void *context, const struct invocation *call, struct arena *arena,
                    struct action_result *result);
void sim_dispatch(struct sim_lane *lane, struct lane_invocation *invocation);
void sim_execute(struct sim *sim, struct sim_call *call);
void sim_answer(struct sim *sim, struct sim_call *call, bool in_time);
struct sim_ledger *sim_ledger(struct sim *sim, struct slice key, int64_t incarnation, int step);
void sim_release_result(void *context, struct lane_result *result);
const struct shard_definitions *sim_definitions(struct sim *sim);
void sim_shard_config(const struct sim *sim, struct shard_config *config, const char *node);

// check*.c
void sim_check_init(struct sim *sim);
void sim_check_fini(struct sim *sim);
void sim_check_log(struct sim *sim, int log);
void sim_check_offset(struct sim *sim, int group, int partition, const struct sim_committed *before,
                      const struct sim_committed *now);
void sim_check_decided(struct sim *sim, int group, int partition, struct sim_txn *txn);
void sim_check_restored(struct sim *sim, int partition, struct shard_restore *restored, int64_t end,
                        int64_t now_ms, int64_t read);
void sim_check_dispatch(struct sim_lane *lane, const struct lane_invocation *invocation);
void sim_check_released(struct sim_lane *lane, const struct sim_kept_result *kept);
void sim_check_taken(struct sim_lane *lane, const struct lane_partition *partition, int64_t offset);
void sim_check_adopted(struct sim_lane *lane, const struct lane_partition *partition);
void sim_check_truncated(struct sim *sim, int log);
void sim_check_invoked(struct sim_lane *lane, const struct lane_batch *batch, size_t from);
void sim_check_timer(struct sim_lane *lane, const struct lane_partition *partition, int64_t due_ms);
void sim_check_history(struct sim *sim, const struct sim_record *record);
bool sim_check_drained(struct sim *sim, char *why, size_t size);
void sim_check_end(struct sim *sim);
void sim_check_takeover(struct sim_lane *lane, int32_t slot);
struct sim_instance *sim_instance(struct sim *sim, struct slice key, int64_t incarnation,
                                  bool make);
int sim_shard_of(const struct sim *sim, struct slice key);
void sim_check_replay(struct sim *sim);

// links.c: two clusters and who writes there
struct sim_links *sim_links_new(struct sim *world);
void sim_links_fini(struct sim *world);
void sim_links_draw(struct sim *world);
int sim_links_log(enum sim_topic topic, int32_t partition);
enum sim_topic sim_links_topic_at(int index);
enum sim_topic sim_links_topic(struct sim *sim); // any
void sim_links_headers(struct sim *sim, struct sim_out *out, const struct output *output);
void sim_links_load(struct sim *sim);
void sim_links_born(struct sim *sim, void *transaction, int log);
void sim_links_chaos(struct sim *sim);
void sim_links_operate(struct sim *sim);

// link_lane.c: a lane of a link with its reader and its scout
void sim_link_new(struct sim_lane *lane);
void sim_link_begin(struct sim_lane *lane);
void sim_link_free(struct sim_lane *lane);
bool sim_link_turn(struct sim_lane *lane); // true: drained
void sim_link_release(void *context, struct lane_result *result);
void sim_link_source(void *ask, bool answered);

// check_link.c
void sim_links_check_log(struct sim *sim, int log);
void sim_links_check_decided(struct sim *sim, int pid);
bool sim_links_drained(struct sim *world, char *why, size_t size);
// Committed records of all topics: copies and users' own, and progress.
int64_t sim_links_count(const struct sim *world, bool progress);
void sim_links_check_end(struct sim *world);

// run.c
// Runs one seed; `stats` are added up. Returns false with the reason in `why` (400 bytes).
struct sim_result {
    bool ok;
    uint64_t hash;
    char why[400];
};
void sim_run(const struct sim_options *options, struct sim_result *result, struct sim_stats *stats);

// main.c
struct sim_rule {
    int bit;
    const char *claim;
};
struct sim_suite {
    const char *seeds; // file of those that have found something
    const struct sim_rule *rules;
    size_t rule_count;
    bool links;
    uint64_t faults; // bits of the kinds that must hit, of the effects that must be the last
    uint64_t effects;
    // Of the seeds and the time that the settings ask for, in percent.
    uint64_t seeds_share;
    uint64_t time_share;
    int64_t kill_runs;
};
int sim_main(const struct sim_suite *what, int argc, char **argv);

#endif
