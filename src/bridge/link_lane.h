// SPDX-License-Identifier: Apache-2.0
// One lane of a link on real clients: a lane thread of this cluster whose feed is a reader of the
// source cluster. Reads what core/link_feed.h wants to have read, asks the scout what it wants to
// know, and hands the records over as results. Decides nothing itself.
#ifndef KA_BRIDGE_LINK_LANE_H
#define KA_BRIDGE_LINK_LANE_H

#include "bridge/scout.h"
#include "engine/lane_thread.h"

struct link_lane_config {
    struct lane_thread_config thread; // kafka, admin, app, group, node, name, topics, batch …
    struct link_config link;
    const struct io_kafka_config *source; // with the sizes of queue and fetches
    struct scout *scout;
    bool latest; // a slot that has never copied anything begins with what comes from now on
};

// What is in the way of the parts that are not read, for those who look.
struct link_lane_part {
    char topic[250];
    int32_t partition;
    enum link_state state;
    char why[LINK_TEXT_MAX + 1];
};
// What was copied of a part since this process took it over.
struct link_lane_count {
    char topic[250];
    int32_t partition;
    int64_t bytes;
    int64_t again;
};
enum { LINK_LANE_PARTS_MAX = 32, LINK_LANE_COUNTS_MAX = 256 };
struct link_lane_picture {
    struct link_stats stats;
    size_t parts;
    size_t reading;
    size_t waiting;
    size_t stopped;
    struct link_lane_part held[LINK_LANE_PARTS_MAX]; // the first that are not read
    size_t held_count;
    int64_t again;                                       // of all parts
    struct link_lane_count counts[LINK_LANE_COUNTS_MAX]; // the first that anything was copied of
    size_t count_count;
};

struct link_lane;
KA_MUST_USE enum ka_err link_lane_start(const struct link_lane_config *config,
                                        struct link_lane **lane, struct err_text *text);
void link_lane_stop(struct link_lane *lane);
void link_lane_join(struct link_lane **lane);
struct lane_thread *link_lane_thread(struct link_lane *lane);
void link_lane_picture(struct link_lane *lane, struct link_lane_picture *picture);

#endif
