// SPDX-License-Identifier: Apache-2.0
#include "engine/mailbox.h"

#include "core/assert.h"

#include <errno.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

void mailbox_init(struct mailbox *box, int wake_fd)
{
    *box = (struct mailbox){.wake_fd = wake_fd};
    pthread_mutex_init(&box->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&box->filled, &attributes);
    pthread_condattr_destroy(&attributes);
}

void mailbox_fini(struct mailbox *box)
{
    KA_ASSERT(box->head == NULL);
    pthread_cond_destroy(&box->filled);
    pthread_mutex_destroy(&box->lock);
}

void mailbox_post(struct mailbox *box, struct mail *mail)
{
    mail->next = NULL;
    pthread_mutex_lock(&box->lock);
    if (box->tail == NULL)
        box->head = mail;
    else
        box->tail->next = mail;
    box->tail = mail;
    pthread_cond_signal(&box->filled);
    pthread_mutex_unlock(&box->lock);
    if (box->wake_fd < 0)
        return;
    uint64_t one = 1;
    ssize_t written = write(box->wake_fd, &one, sizeof one);
    KA_ASSERT(written == sizeof one || errno == EAGAIN);
}

static struct mail *take_locked(struct mailbox *box)
{
    struct mail *mail = box->head;
    if (mail == NULL)
        return NULL;
    box->head = mail->next;
    if (box->head == NULL)
        box->tail = NULL;
    return mail;
}

struct mail *mailbox_take(struct mailbox *box)
{
    pthread_mutex_lock(&box->lock);
    struct mail *mail = take_locked(box);
    pthread_mutex_unlock(&box->lock);
    return mail;
}

struct mail *mailbox_wait(struct mailbox *box, int timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&box->lock);
    int rc = 0;
    while (box->head == NULL && !box->closed && rc != ETIMEDOUT)
        rc = timeout_ms < 0 ? pthread_cond_wait(&box->filled, &box->lock)
                            : pthread_cond_timedwait(&box->filled, &box->lock, &until);
    struct mail *mail = take_locked(box);
    pthread_mutex_unlock(&box->lock);
    return mail;
}

void mailbox_close(struct mailbox *box)
{
    pthread_mutex_lock(&box->lock);
    box->closed = true;
    pthread_cond_broadcast(&box->filled);
    pthread_mutex_unlock(&box->lock);
}
