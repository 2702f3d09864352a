// SPDX-License-Identifier: Apache-2.0
// Looks after one link from a thread of its own: which topics the source has and what they are
// called here, whether the source still is what was copied (truncated, created again, overtaken by
// retention, another cluster behind the address), topics to be created here. Its looks are the
// heartbeats of the link, and feed its breaker. Blocking calls are made here and nowhere else; the
// lanes ask by mail. Decides nothing about records.
#ifndef KA_BRIDGE_SCOUT_H
#define KA_BRIDGE_SCOUT_H

#include "core/breaker.h"
#include "core/link_feed.h"
#include "core/link_topic.h"
#include "engine/mailbox.h"
#include "io/kafka_admin.h"

struct scout_config {
    const struct io_kafka_config *source; // client_id set
    struct io_kafka_admin *target;
    struct link_topics topics;
    const char *commands; // topic of the source whose records are commands for this app; NULL
    const char *inbox;    // where they go
    int64_t refresh_ms;
    struct breaker_config breaker;
    int32_t replication;         // of topics created here; -1 = the broker's default
    int32_t min_insync_replicas; // the least; -1 = the broker's default
    size_t record_max;
};

// What the last look has found; immutable, shared.
struct scout_view {
    int holders;
    struct link_view seen;
    struct link_mirror *topics; // of `seen`
};

// To a lane.
enum scout_mail_type {
    SCOUT_COMPARED, // answer to scout_compare
    SCOUT_SUSPECT   // something has happened to the partition: compare before reading on
};
struct scout_mail {
    struct mail mail;
    enum scout_mail_type type;
    struct link_question question; // SUSPECT: partition -1 = all of the topic; topic "" = all
    struct link_answer answer;     // SUSPECT: why
};

struct scout;
// Starts the thread. Everything in the configuration outlives it.
struct scout *scout_new(const struct scout_config *config);
void scout_free(struct scout **scout);

// Kafka's id of the source cluster as of the last look; false before the first that succeeded.
bool scout_cluster(struct scout *scout, char *id, size_t size);
// Mail that concerns everybody goes to each box that joined.
void scout_join(struct scout *scout, struct mailbox *box);
void scout_leave(struct scout *scout, struct mailbox *box);
// NULL before the first look. The caller lets go of it.
struct scout_view *scout_view(struct scout *scout);
void scout_view_drop(struct scout *scout, struct scout_view **view);

// Compares a part with the source. Answered to `reply` with the question as given.
void scout_compare(struct scout *scout, const struct link_question *question,
                   struct mailbox *reply);
// A record waits for its topic here: it is created or grown, then the view changes.
void scout_want(struct scout *scout, const char *topic);
// The lanes met the source: well, or with an error.
void scout_heard(struct scout *scout, enum ka_err error, const char *text);

struct scout_health {
    enum breaker_state breaker;
    int64_t openings;
    int64_t looks;    // begun
    int64_t failures; // of looks, comparisons and reads: each broken request once
    int64_t heard_ms; // wall clock of the last success; 0 = never
    int64_t heard_mono_ms;
    int64_t rtt_ms; // of one question
    size_t topics;
    char error[300]; // the last one; empty = none since the last success
};
void scout_health(struct scout *scout, struct scout_health *health);

#endif
