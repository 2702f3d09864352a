// SPDX-License-Identifier: Apache-2.0
// Which topics of a source cluster a link mirrors, and what they are called here. Pure.
#ifndef KA_CORE_LINK_TOPIC_H
#define KA_CORE_LINK_TOPIC_H

#include "core/buf.h"
#include "core/slice.h"

// "*" stands for any run of characters, also none; everything else for itself.
bool link_glob(struct slice pattern, struct slice name);

enum link_naming { LINK_PREFIXED, LINK_IDENTICAL };

struct link_topics {
    struct slice source;     // name of the link's source, the prefix
    struct slice source_app; // whose own topics are never mirrored
    struct slice app;        // ours; the same
    const struct slice *patterns;
    size_t pattern_count;
    enum link_naming naming;
};

// The index of the first pattern that the topic matches; -1 = it is not mirrored. Topics of Kafka's
// own ("__…") and of kasaga's own are never mirrored.
int link_topic_match(const struct link_topics *topics, struct slice topic);
// Appends its name in this cluster.
void link_topic_name(const struct link_topics *topics, struct slice topic, struct buf *buf);
// Is it one of the topics that kasaga makes for this app (`<app>.inbox`, …, `<app>.out.<region>`)?
bool link_topic_is_own(struct slice app, struct slice topic);

#endif
