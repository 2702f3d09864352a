// SPDX-License-Identifier: Apache-2.0
// Two clusters, A and B, with a link in each direction. `in` is mirrored both ways under its own
// name; `out` has a copy in `app.inbox` of the other cluster, as commands or partition by
// partition. Include sim.h.
#ifndef KA_TESTS_SIM_LINKS_H
#define KA_TESTS_SIM_LINKS_H

#include "sim.h"

#include "core/origin.h"

enum {
    INBOX_SHARDS = 3,
    LINK_RECORD_MAX = 2500,
    TOPIC_MAX = 1400, // max.message.bytes of `in`
    COPIED_TOPICS = 2 // `in` and `out`
};
#define SIM_EPOCH_MS INT64_C(1767225600000)

// What the disaster of a run is. One partition or topic of `out` has it, once.
enum sim_disaster {
    DISASTER_NONE,
    DISASTER_TRUNCATED,   // loses its end
    DISASTER_RECREATED,   // is deleted and created again
    DISASTER_OVERTAKEN,   // loses what was not copied
    DISASTER_OLD_RECORDS, // loses what was copied: nothing may stop
    DISASTERS
};

// A record that a user has written; its number is in its header `id`.
struct sim_born {
    int8_t cluster;
    int8_t log;
    int8_t life; // of the log
    int8_t copies;
    bool bad;     // cannot be copied
    bool skipped; // by an operator
    int64_t offset;
};

// A partition that is a source of a link, and what the target's committed progress says of it.
struct sim_source {
    int life;               // 1 after it has lost its end or was created again
    struct sim_record *old; // the log of life 0
    int64_t old_count;
    int64_t shared;  // records before are the same in both
    int64_t gate_us; // nothing is written before all living links have looked after this; 0 = open
    bool may_stop;   // something has happened to it
    int64_t next;    // as of the last commit
    int64_t last;    // the offset whose record can be compared
    int64_t control;
    bool known;
    bool stopped;
    bool asked;             // an operator has answered the stop
    struct slice order_key; // … with this
    struct slice order;
    int order_log;
    int at_life;              // that `next` is meant in
    int last_life[LINK_LOGS]; // of the last copy that a reader of a target has seen
    int64_t last_offset[LINK_LOGS];
};

struct sim_user_transaction {
    int pid;
    bool commit;
    int left;
};

struct sim_links {
    bool commands; // `out` goes to the inbox by key
    int partitions[CLUSTERS][COPIED_TOPICS];
    int64_t deleted_until_us[CLUSTERS]; // `out` is not there
    bool inbox_there[CLUSTERS];         // the copy of `out` exists
    enum sim_disaster disaster;
    int disaster_cluster;
    bool grows[CLUSTERS];
    int64_t wan_us;
    int cut, source_error, aborted, bad; // ppm
    int64_t cut_us;
    int64_t cut_until_us[CLUSTERS]; // this cluster cannot reach its source
    struct sim_source sources[CLUSTERS][LINK_LOGS];
    struct sim_user_transaction *open[CLUSTERS][COPIED_TOPICS];
    struct sim_born *born;
    int born_count;
    int born_cap;
    bool doubled; // the canary has sung
};

// ---- A lane

enum { QUEUE_MAX = 40 };

struct sim_fetched {
    const struct sim_record *records; // copies of the log's, as they were then
    const int64_t *offsets;
    int count;
    int64_t end; // up to there
    bool all;    // no more is stable
};

struct sim_reading { // a partition that the reader reads
    bool open;
    bool fetching;
    bool dead;        // an error was told
    int64_t asked_us; // the source has answered what was asked then
    uint32_t version;
    int64_t next; // to be fetched
    struct sim_fetched queue;
    int at;
    int64_t end_told;
    enum ka_err error; // to be told
};

struct sim_link_mail {
    bool suspect;
    struct link_question question;
    struct link_answer answer;
    struct sim_link_mail *next;
};

struct sim_link {
    struct links *links;
    struct link_feed *feed;
    char names[2][16]; // cluster ids
    struct sim_reading readings[LINK_LOGS];
    int turn;
    bool broken; // the connection, to be told
    struct sim_link_mail *mail_head;
    struct sim_link_mail *mail_tail;
    struct link_mirror mirrors[COPIED_TOPICS];
    struct link_view view;
    int64_t ends[LINK_LOGS];
    int64_t looked_us; // when the last look was answered there
    int64_t look_us;   // at ends and asks
    char wanted[COPIED_TOPICS];
};

static inline int sim_source_of(const struct sim *sim)
{
    return 1 - sim->cluster;
}
// Is this topic of the cluster there, and how many partitions has it?
int sim_links_partitions(const struct sim *sim, enum sim_topic topic);
// The number in the header `id`; -1 = none.
int sim_links_id(const struct sim_record *record);
// The first committed record at or after `from`; count = there is none.
int64_t sim_links_ahead(const struct sim_record *records, int64_t count, int64_t from);
// The copy of a topic goes to this log of the target.
int sim_links_target(const struct sim_links *links, const struct sim_log *log,
                     const struct sim_record *record);

#endif
