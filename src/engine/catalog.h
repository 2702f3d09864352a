// SPDX-License-Identifier: Apache-2.0
// The table every worker tails: <app>.catalog, compact, one partition. Which definitions exist,
// which one is current per name, which nodes are there. A thread follows the topic; readers take a
// snapshot when the generation has changed. Not for states.
//
// Records (JSON values, a null value removes):
//   def/<name>/<32 hex>   the normalised definition
//   current/<name>        {"hash":"<32 hex>","version":3,"by":"<node>","time":"…"}
//   node/<node>           {"region":…,"version":…,"feature":1,"started":"…","seen":"…", counts…,
//   "held":true}
//   replay                {"of":"<app>","effects":false,…}: what the app reads again,
//   engine/recorded.h repair/<shard>/<ms>
//   {"what":…,"from":1037,"to":1041,"actor":…,"reason":…,"time":…}
#ifndef KA_ENGINE_CATALOG_H
#define KA_ENGINE_CATALOG_H

#include "core/def.h"
#include "io/kafka_admin.h"

struct catalog;
struct catalog_config {
    const struct io_kafka_config *kafka;
    struct io_kafka_admin *admin;
    const char *app;
    const char *node;
    const char *region;
};

// Reads the topic to its end, then follows it on a thread. KA_ERR_NOT_FOUND if the topic does not
// exist (kasaga topics apply), KA_ERR_TIMEOUT, KA_ERR_UNREACHABLE.
KA_MUST_USE enum ka_err catalog_open(const struct catalog_config *config, struct catalog **catalog,
                                     struct err_text *text);
void catalog_close(struct catalog **catalog);

struct catalog_own {
    const char *name;
    int64_t version;
    struct def_id id;
    struct slice json; // normalised
};
// Publishes those of `own` whose name is new or whose version is higher than the current one, and
// returns when they have been read back. Where the catalog differs from `own` it is followed and
// the log says so.
KA_MUST_USE enum ka_err catalog_publish(struct catalog *catalog, const struct catalog_own *own,
                                        size_t count, int timeout_ms, struct err_text *text);

struct catalog_definition {
    const char *name;
    struct def_id id;
    int64_t version; // of the current one; 0 if unknown
    bool current;
    struct slice json;
};
// Changes whenever a definition or a current mark does. Any thread, lock-free.
uint64_t catalog_generation(const struct catalog *catalog);
// Asks for everything that stands in the topic now; answered once it has been read and the
// generation counts it. Any thread, lock-free.
uint64_t catalog_ask(struct catalog *catalog);
bool catalog_answered(const struct catalog *catalog, uint64_t question);
// All definitions, in the arena. Any thread.
void catalog_definitions(struct catalog *catalog, struct arena *arena,
                         const struct catalog_definition **list, size_t *count,
                         uint64_t *generation);

// Writes this node's record (a small JSON object's members without braces in `counts`, may be
// empty). Called every few seconds by the worker; a tombstone with removed = true.
KA_MUST_USE enum ka_err catalog_announce(struct catalog *catalog, struct slice counts, bool removed,
                                         int timeout_ms, struct err_text *text);

// By how much our clock differs from the broker's (positive: ours is behind), as of our last
// announcement; 0 where the topic has no times of the broker's. Any thread.
int64_t catalog_clock_skew_ms(const struct catalog *catalog);

// Another node has said in the last seconds that it has more work than it can hold ("held":true in
// its record): starts should be held back everywhere. Any thread.
bool catalog_held(struct catalog *catalog);

// What stands under a key, in the arena; absent if nothing does. Any thread.
struct slice catalog_value(struct catalog *catalog, const char *key, struct arena *arena);

struct catalog_node {
    const char *node;
    struct slice json;
    int64_t timestamp_ms; // of its last record
};
void catalog_nodes(struct catalog *catalog, struct arena *arena, const struct catalog_node **list,
                   size_t *count);

#endif
