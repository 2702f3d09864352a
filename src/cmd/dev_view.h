// SPDX-License-Identifier: Apache-2.0
// What kasaga dev shows: a line per transition as it happens, and how the orders ended. Takes
// history documents in the order of each saga; repeated ones (the demo broker is at least once)
// change nothing. One thread.
#ifndef KA_CMD_DEV_VIEW_H
#define KA_CMD_DEV_VIEW_H

#include "cmd/cmd_history.h"

struct dev_order {
    int32_t sequence; // of its last transition; -1 = none yet
    enum saga_end end;
};

// A zeroed struct with the first three members set is a view without orders.
struct dev_view {
    enum cmd_output output;
    bool color;
    int64_t started_ms; // of the command, unix ms
    int64_t first;      // number of the first order
    struct dev_order *orders;
    int64_t count; // orders made
    int64_t cap;
    int64_t started; // how many have begun
    int64_t ended[SAGA_END_TERMINATED + 1];
    int64_t first_compensated_ms; // after the start; 0 = none yet
};
void dev_view_fini(struct dev_view *view);

// The next order was made: number first + count.
void dev_view_add(struct dev_view *view);
int64_t dev_view_unfinished(const struct dev_view *view);

// Counts the transition and appends how it looks (nothing for what is not shown). `key` is the
// record's; a saga that is none of the orders is shown, not counted. False if it was a repetition.
bool dev_view_line(struct dev_view *view, struct slice key, const struct history_line *line,
                   struct buf *buf);
// The last line: how many, how they ended, in what time.
void dev_view_summary(const struct dev_view *view, int64_t now_ms, struct buf *buf);

#endif
