// SPDX-License-Identifier: Apache-2.0
// What of the source is read for a link lane, from where on, and when it is compared first: stands
// between the processor (link.h) and whoever has the clients. Looks, answers, records come in, with
// their time; what is to be done goes out through the doors, at once. Pure; the lane's thread.
#ifndef KA_CORE_LINK_FEED_H
#define KA_CORE_LINK_FEED_H

#include "core/link.h"
#include "core/link_compare.h"

// A topic of the source that is mirrored.
struct link_mirror {
    char name[250];
    char target[250];
    int32_t partitions;        // in the source
    int32_t first;             // at the first look; 0 = it was not there
    int32_t target_partitions; // 0 = it does not exist here
    int64_t target_max;        // bytes of a record that it takes; 0 = not known
    bool inbox;
    char blocked[LINK_TEXT_MAX]; // why nothing may be copied to it as it is; empty = it may
};

// What a look has found.
struct link_view {
    int64_t version; // grows
    const struct link_mirror *topics;
    size_t count;
};

struct link_doors {
    void *context;
    // The reader begins with this offset; an error lets the part wait.
    enum ka_err (*open)(void *context, const char *topic, int32_t partition, int64_t offset,
                        struct err_text *text);
    void (*close)(void *context, const char *topic, int32_t partition);
    // Answered by link_feed_compared.
    void (*ask)(void *context, const struct link_question *question);
    // The topic is to be created or grown here, so that a later look sees it.
    void (*want)(void *context, const char *topic);
};

struct link_feed;
// Borrows all of it for its life.
struct link_feed *link_feed_new(struct links *links, struct lane *lane, struct slice links_topic,
                                bool latest, const struct link_doors *doors);
void link_feed_free(struct link_feed **feed);

// Opens, closes and asks what has become necessary: before records are taken, in each turn. `view`
// is the last look, NULL before the first; `again`: may ask again what is due.
void link_feed_settle(struct link_feed *feed, const struct link_view *view, bool again,
                      int64_t mono_ms);

// What came of an answer, for the log.
enum link_news { LINK_NO_NEWS, LINK_BEGUN, LINK_HALTED };
enum link_news link_feed_compared(struct link_feed *feed, const struct link_question *question,
                                  const struct link_answer *answer, int64_t mono_ms);
// Something has happened to a partition, -1 = to the topic, "" = to all: compare before reading on.
void link_feed_suspect(struct link_feed *feed, const char *topic, int32_t partition,
                       const char *why);

// A record that the reader gave: the lane's next result, NULL = it does not count any more.
struct link_input *link_feed_record(struct link_feed *feed, const struct record *record);
// The reader has met the end: up to there nothing more is to be seen.
void link_feed_end(struct link_feed *feed, struct slice topic, int32_t partition, int64_t offset,
                   int64_t mono_ms);
// An end that has stood long enough to be written down, as a result; NULL = no more.
struct link_input *link_feed_rest(struct link_feed *feed, int64_t mono_ms);
// The lane lets go of it.
void link_feed_release(struct link_feed *feed, struct lane_result *result);
// Enough is on its way: no more records for now.
bool link_feed_full(const struct link_feed *feed);

// The slot of that number if it is ours and at work; NULL otherwise.
struct lane_partition *link_feed_slot(const struct link_feed *feed, int32_t slot);

#endif
