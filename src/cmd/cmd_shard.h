// SPDX-License-Identifier: Apache-2.0
// What kasaga shard looks at: one shard as its next owner will find it, and why that owner will
// stop (docs/lane.md, rule 13). cmd/shard.c has the commands, shard_repair.c and shard_rebuild.c
// what they do.
#ifndef KA_CMD_CMD_SHARD_H
#define KA_CMD_CMD_SHARD_H

#include "cmd/cmd_defs.h"
#include "core/rebuild.h"
#include "core/shard.h"

enum shard_fault {
    SHARD_AGREES,
    SHARD_NO_OFFSET,  // there is none, although the shard has a state
    SHARD_BEHIND,     // the offset is behind the marker
    SHARD_NOT_OURS,   // it was committed by something else than a worker
    SHARD_TRUNCATED,  // records of the inbox that were not read are gone
    SHARD_BEYOND,     // the offset is beyond the end of the inbox: that was created again
    SHARD_STATE_LOST, // the state topic is not what was committed
};

struct shard_look {
    int32_t shard;
    int64_t offset; // committed; -1 = none
    struct meta meta;
    int64_t inbox_start;
    int64_t inbox_end;
    int64_t state_start;
    int64_t state_end;
    enum shard_fault fault;
    const char *why; // of a fault
    // The state as far as it can be read, also where it does not agree; due times are set. NULL
    // when a record is no state.
    struct shard_restore *restore;
    bool has_marker;
    struct state_marker marker;
};

struct cmd_shard {
    struct cmd_common common;
    struct cmd_app app;
    struct cmd_defs *defs;
    struct table_limits limits;
    int32_t only; // -1 = all
    bool yes;
    const char *reason;
    const char *actor;
    int64_t now_ms;
};

struct rebuild_config cmd_shard_rebuilding(const struct cmd_shard *cmd);

// Looks; changes nothing. KA_ERR_TIMEOUT: an open transaction holds the offset back.
KA_MUST_USE enum ka_err cmd_shard_look(struct cmd_shard *cmd, int32_t shard,
                                       struct shard_look *look, struct err_text *text);
void cmd_shard_look_fini(struct shard_look *look);

// CMD_OK when no worker has a place in the group of the shards; else says who has.
int cmd_shard_alone(struct cmd_shard *cmd);
// CMD_OK when the plan may be carried out: there is a reason, and a yes.
int cmd_shard_agree(const struct cmd_shard *cmd);
// The record of who did what and why: key "repair/<shard>/<time>" of the catalog.
KA_MUST_USE enum ka_err cmd_shard_note(struct cmd_shard *cmd, int32_t shard, const char *what,
                                       int64_t from, int64_t to, struct err_text *text);

int cmd_shard_repair(struct cmd_shard *cmd);
int cmd_shard_rebuild(struct cmd_shard *cmd);

#endif
