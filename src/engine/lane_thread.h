// SPDX-License-Identifier: Apache-2.0
// One lane on real clients: a thread that turns what librdkafka, the committer, the restorer and
// the invoker say into events of core/lane.h, and does its effects. Decides nothing itself.
#ifndef KA_ENGINE_LANE_THREAD_H
#define KA_ENGINE_LANE_THREAD_H

#include "core/lane.h"
#include "core/table.h"
#include "engine/invoker.h"
#include "engine/restorer.h"
#include "io/kafka_admin.h"

// Where else a lane gets work from: the source cluster of a link. All calls come from the lane's
// thread; what it has for the lane are results.
enum lane_feed_state {
    LANE_FEED_DRAINED, // nothing is waiting; the wake_fd of `begin` is written when something comes
    LANE_FEED_MORE,    // call again at once
    LANE_FEED_FULL     // it has given as much as may wait in the lane
};
struct lane_feed {
    void *context;
    void (*begin)(void *context, struct lane *lane, int wake_fd);
    enum lane_feed_state (*turn)(void *context, bool stopping,
                                 void (*give)(void *lane_context, struct lane_result *result),
                                 void *lane_context);
    void (*release)(void *context, struct lane_result *result);
    void (*end)(void *context); // the thread ends
};

struct lane_thread_config {
    struct io_kafka_config kafka; // client_id is set to "<node>.<name>" by the caller
    struct io_kafka_admin *admin;
    const char *app;
    const char *group;
    const char *node;
    const char *name; // "s0", "r0"
    int64_t incarnation;
    const char *const *topics; // to subscribe
    size_t topic_count;
    const char *const *warm_topics; // to be written
    size_t warm_count;
    const char *state_topic;         // NULL = no state, as in a route lane
    const struct restore_form *form; // what the state is; NULL with it
    struct table_limits limits;
    struct lane_processor processor;
    const struct lane_feed *feed;    // NULL = its group is all it reads
    struct invoker *invoker;         // NULL = no invocations
    const atomic_bool *hold_inputs;  // pressure; may be NULL
    const atomic_int *digests_asked; // counts: the lane logs its shards' digests once per count
    int32_t batch_records;
    int64_t batch_bytes;
    int64_t batch_ms;
    int64_t interval_max_ms;
    int32_t undispatched_max; // calls that wait in the lane before it is pressed
    // Called once per turn of the thread; true = definitions have changed, so that partitions that
    // were parked for want of one are tried again. May be NULL.
    bool (*refresh)(void *context);
    void *refresh_context;
};

// A picture of the lane for status and metrics; a moment old.
// A partition that cannot go on, and why.
struct lane_parked {
    char topic[LANE_TOPIC_MAX];
    int32_t partition;
    int64_t offset;
    enum ka_err error;
    char text[200];
};
enum { LANE_PARKED_MAX = 8 }; // that are described

struct lane_picture {
    struct lane_stats stats;
    int32_t active;
    int32_t restoring;
    int32_t parked;
    struct lane_parked parked_at[LANE_PARKED_MAX]; // the first of them
    int64_t state_bytes;
    int64_t finished_bytes; // of the memory of finished sagas
    int64_t call_bytes;     // inputs that wait here
    int64_t backlog;        // records that wait in its partitions, about, and their bytes
    int64_t backlog_bytes;
    int64_t waiting; // calls that the invoker has no room for
    const char *phase;
};

struct lane_thread;
KA_MUST_USE enum ka_err lane_thread_start(const struct lane_thread_config *config,
                                          struct lane_thread **thread, struct err_text *text);
// Asks it to finish the open transaction and leave the group; returns at once.
void lane_thread_stop(struct lane_thread *thread);
// Waits for it (bounded), then frees it.
void lane_thread_join(struct lane_thread **thread);
void lane_thread_picture(struct lane_thread *thread, struct lane_picture *picture);
// More calls wait than it may have: starts should be held back.
bool lane_thread_pressed(struct lane_thread *thread);
// It met something it cannot go on from; the process should end. Text stays valid.
bool lane_thread_failed(struct lane_thread *thread, const char **why);

#endif
