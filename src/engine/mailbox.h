// SPDX-License-Identifier: Apache-2.0
// Messages to a thread from others, in order, with an eventfd to wake it. Not on the path of
// records. Any thread posts, one takes.
#ifndef KA_ENGINE_MAILBOX_H
#define KA_ENGINE_MAILBOX_H

#include "core/err.h"

#include <pthread.h>
#include <stdbool.h>

// First member of every message; the taker owns what it takes.
struct mail {
    struct mail *next;
};

struct mailbox {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct mail *head;
    struct mail *tail;
    int wake_fd; // gets one write per post; -1 = none
    bool closed;
};

void mailbox_init(struct mailbox *box, int wake_fd);
// The box is empty by then.
void mailbox_fini(struct mailbox *box);
void mailbox_post(struct mailbox *box, struct mail *mail);
// NULL if there is none.
struct mail *mailbox_take(struct mailbox *box);
// Waits; NULL when the box was closed and is empty, or after timeout_ms (-1 = no limit).
struct mail *mailbox_wait(struct mailbox *box, int timeout_ms);
void mailbox_close(struct mailbox *box);

#endif
