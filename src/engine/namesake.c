// SPDX-License-Identifier: Apache-2.0
#include "engine/namesake.h"

#include <string.h>

// "<node>.<lane>", and a lane's name has no dot.
static bool is_ours(const char *client_id, const char *node)
{
    size_t len = strlen(node);
    return strncmp(client_id, node, len) == 0 && client_id[len] == '.' &&
           strchr(client_id + len + 1, '.') == NULL;
}

static const char *find_twice(const struct io_kafka_member *members, size_t count, const char *node)
{
    for (size_t i = 0; i < count; i++) {
        if (!is_ours(members[i].client_id, node))
            continue;
        for (size_t j = i + 1; j < count; j++)
            if (strcmp(members[i].client_id, members[j].client_id) == 0)
                return members[i].client_id;
    }
    return NULL;
}

bool namesake_look(struct namesake *namesake, const struct io_kafka_member *members, size_t count,
                   const char *node, int64_t now_ms, int64_t limit_ms, const char **name)
{
    *name = find_twice(members, count, node);
    if (*name == NULL) {
        namesake->since_ms = 0;
        return false;
    }
    if (namesake->since_ms == 0)
        namesake->since_ms = now_ms;
    return now_ms - namesake->since_ms > limit_ms;
}
