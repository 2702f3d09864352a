// SPDX-License-Identifier: Apache-2.0
// The topics of an app: what there should be, what there is, and the way from here to there. Also
// the first offsets of its groups. Never changes what exists: a topic with another number of
// partitions is refused, a setting that breaks a promise is a warning. Blocking calls, for
// commands.
#ifndef KA_ENGINE_TOPICS_H
#define KA_ENGINE_TOPICS_H

#include "io/conf.h"
#include "io/kafka_admin.h"

enum topic_role {
    TOPIC_INBOX,
    TOPIC_STATE,
    TOPIC_HISTORY,
    TOPIC_REPLIES,
    TOPIC_DLQ,
    TOPIC_CATALOG,
    TOPIC_AUDIT, // of an app that has other regions
    TOPIC_OUT,   // records bound for another region
    TOPIC_LINKS, // progress of the links, when there are any
    TOPIC_LOAD,  // how busy the nodes of this region are, for the others
    TOPIC_INPUT  // a user's topic that starts sagas
};
enum topic_action { TOPIC_EXISTS, TOPIC_CREATE, TOPIC_REFUSE };

enum { TOPIC_SETTINGS_MAX = 8 };

struct topic_entry {
    const char *name;
    enum topic_role role;
    enum topic_action action;
    int32_t partitions;                            // wanted; of an input that exists: as it is
    int32_t found;                                 // 0 = it does not exist
    int32_t replicas;                              // of one that exists
    const char *refused;                           // why, for TOPIC_REFUSE
    const char *setting_names[TOPIC_SETTINGS_MAX]; // of a topic to create
    const char *setting_values[TOPIC_SETTINGS_MAX];
    size_t setting_count;
};

// Partitions of a topic for which a group has no offset yet. Where it begins: the oldest record,
// or what comes from now on.
struct topic_offsets {
    const char *group;
    const char *topic;
    int32_t missing;
    bool latest;
    const char *refused; // why they cannot be written, else NULL
};

// A setting that breaks a promise (error) or weakens it, see topics_audit.h.
struct topics_finding {
    bool error;
    const char *kind;   // "topic" or "broker"
    const char **names; // that it is true of
    size_t name_count;
    const char *setting; // "" = all of them
    const char *value;
    const char *text; // what it does, and what would be right
};

struct topics_plan {
    const char *app;
    const char *cluster;
    int32_t brokers; // that are up
    struct topic_entry *entries;
    size_t count;
    struct topic_offsets *offsets;
    size_t offsets_count;
    struct topics_finding *findings;
    size_t finding_count;
    size_t errors;        // findings that are
    size_t creates;       // topics to create
    size_t first_offsets; // partitions whose first offset is to be written
    size_t refusals;
};

const char *topic_role_name(enum topic_role role);       // "inbox"
const char *topic_action_name(enum topic_action action); // "exists"

// Appends "error topics shop.inbox, shop.state: retention.ms=1000: …", without an end of line.
void topics_finding_text(const struct topics_finding *finding, struct buf *buf);
// The same as a JSON object.
void topics_finding_json(const struct topics_finding *finding, struct buf *buf);

// Looks at the cluster; changes nothing. The plan lives in the arena. KA_OK also when it holds
// refusals; else what the cluster answered.
KA_MUST_USE enum ka_err topics_plan(const struct config *config, struct io_kafka_admin *admin,
                                    struct arena *arena, struct topics_plan *plan,
                                    struct err_text *text);

// Adds to the findings what the plan would change and what it refuses, for those who ask only what
// is wrong: refusals are errors, missing topics and first offsets are warnings.
void topics_check(const struct config *config, struct arena *arena, struct topics_plan *plan);

// Creates what is missing, waits until it is there, and writes first offsets where a group has
// none. Nothing at all when the plan holds refusals (KA_ERR_NOT_ALLOWED). Doing it twice changes
// nothing the second time. Stopped half way it can be called again.
KA_MUST_USE enum ka_err topics_apply(const struct config *config, struct io_kafka_admin *admin,
                                     struct arena *arena, const struct topics_plan *plan,
                                     struct err_text *text);

#endif
