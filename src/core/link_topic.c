// SPDX-License-Identifier: Apache-2.0
#include "core/link_topic.h"

bool link_glob(struct slice pattern, struct slice name)
{
    size_t p = 0, n = 0;
    size_t star = SIZE_MAX, tried = 0; // the last "*", and up to where it reaches so far
    while (n < name.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            star = p++;
            tried = n;
        } else if (p < pattern.len && pattern.ptr[p] == name.ptr[n]) {
            p++;
            n++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            n = ++tried;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*')
        p++;
    return p == pattern.len;
}

bool link_topic_is_own(struct slice app, struct slice topic)
{
    static const char *const names[] = {"inbox",   "state", "history", "replies", "dlq",
                                        "catalog", "links", "audit",   "load"};
    if (app.len == 0 || !slice_starts(topic, app) || topic.len <= app.len ||
        topic.ptr[app.len] != '.')
        return false;
    struct slice rest = {topic.ptr + app.len + 1, topic.len - app.len - 1};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (slice_eq(rest, slice_str(names[i])))
            return true;
    return slice_starts(rest, SLICE_LIT("out."));
}

int link_topic_match(const struct link_topics *topics, struct slice topic)
{
    if (slice_starts(topic, SLICE_LIT("__")) || link_topic_is_own(topics->source_app, topic) ||
        link_topic_is_own(topics->app, topic))
        return -1;
    for (size_t i = 0; i < topics->pattern_count; i++)
        if (link_glob(topics->patterns[i], topic))
            return (int)i;
    return -1;
}

void link_topic_name(const struct link_topics *topics, struct slice topic, struct buf *buf)
{
    switch (topics->naming) {
    case LINK_PREFIXED:
        buf_slice_put(buf, topics->source);
        buf_byte(buf, '.');
        break;
    case LINK_IDENTICAL:
        break;
    }
    buf_slice_put(buf, topic);
}
