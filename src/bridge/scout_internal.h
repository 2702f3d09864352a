// SPDX-License-Identifier: Apache-2.0
// What the files of the scout share.
#ifndef KA_BRIDGE_SCOUT_INTERNAL_H
#define KA_BRIDGE_SCOUT_INTERNAL_H

#include "bridge/scout.h"

#include "core/origin.h"

enum { SCOUT_CALL_MS = 5000, SCOUT_BOXES_MAX = 64, SCOUT_BATCH_MAX = 256 };

enum scout_job_type { SCOUT_JOB_COMPARE, SCOUT_JOB_WANT };

struct scout_job {
    struct mail mail;
    enum scout_job_type type;
    struct link_question question; // WANT: the topic only
    struct link_answer answer;
    struct mailbox *reply;
};

struct scout {
    struct scout_config config;
    struct mailbox jobs;
    pthread_t thread;
    bool stop; // under the lock

    pthread_mutex_t lock; // of what follows
    struct scout_view *view;
    struct mailbox *boxes[SCOUT_BOXES_MAX];
    size_t box_count;
    struct scout_health health;
    struct breaker breaker;
    char cluster[ORIGIN_CLUSTER_MAX + 1];

    // The thread's own.
    struct io_kafka_admin *admin; // NULL = to be made
    struct io_kafka_reader *reader;
    struct arena arena;
    struct io_kafka_edge *ends; // as of the last look
    size_t end_count;
    bool failed;
};

bool scout_stopping(struct scout *scout);
// What the source was asked for, and what came of it.
void scout_note(struct scout *scout, enum ka_err error, const char *text);

// A client of the source, a new one after a failure, and whose cluster it is.
KA_MUST_USE enum ka_err scout_reach(struct scout *scout, struct err_text *text);

// scout_compare.c: settles each of the jobs.
void scout_compare_batch(struct scout *scout, struct scout_job **jobs, size_t count);
// scout_target.c: topics here.
void scout_make_target(struct scout *scout, struct link_mirror *topic);
// Settings of an existing topic that would change what is copied: into topic->blocked.
void scout_check_target(struct scout *scout, struct link_mirror *topic);

#endif
