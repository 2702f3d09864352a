// SPDX-License-Identifier: Apache-2.0
// Two workers with one node name fence each other for ever: each start of a producer ends the
// other's transaction. Kafka lets both into the group, so whoever looks at the members finds it. A
// worker that was killed stays a member until its session has timed out, so only what is seen for
// longer than that counts. Pure; the caller asks the cluster.
#ifndef KA_ENGINE_NAMESAKE_H
#define KA_ENGINE_NAMESAKE_H

#include "io/kafka_admin.h"

#include <stdbool.h>

struct namesake {
    int64_t since_ms; // two members have had one of our names since then; 0 = they have not
};

// One look at the members of a group, `now_ms` on a clock that does not jump. `node` is ours: our
// members' client ids are "<node>.<lane>". True when one of them has been there twice in all looks
// for longer than `limit_ms`; *name is then that client id, from `members`.
bool namesake_look(struct namesake *namesake, const struct io_kafka_member *members, size_t count,
                   const char *node, int64_t now_ms, int64_t limit_ms, const char **name);

#endif
