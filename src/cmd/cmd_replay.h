// SPDX-License-Identifier: Apache-2.0
// The two forms of kasaga replay: cmd/replay.c runs one instance again, cmd/replay_into.c lets an
// app read again what another one has read.
#ifndef KA_CMD_CMD_REPLAY_H
#define KA_CMD_CMD_REPLAY_H

#include "cmd/cmd_app.h"

struct replay_into {
    struct cmd_common common;
    const char *of;   // the app whose events are read again
    const char *from; // earliest, a time, or TOPIC:PARTITION:OFFSET,...
    bool effects;
    bool yes;
};
int cmd_replay_into(const struct replay_into *into);

#endif
