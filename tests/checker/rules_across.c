// SPDX-License-Identifier: Apache-2.0
// The topics against each other: every input leads to one saga and nothing else does; nothing was
// decided from what was aborted; everything was read; the last states agree with the history.
#include "checker.h"

#include <stdlib.h>
#include <string.h>

enum { HISTORY_TOPIC, STATE_TOPIC, DLQ_TOPIC, INBOX_TOPIC, FIRST_INPUT };

// Nothing at or below this offset was judged by its absence: the log has lost it.
static bool was_trimmed(const struct topic *topic)
{
    for (int p = 0; p < topic->partition_count; p++)
        if (topic->partitions[p].low > 0)
            return true;
    return false;
}

// A record that something was decided from must be in the committed view. `why` names it.
static void judge_cause(const char *saga, const struct topic *seen_in, int32_t seen_partition,
                        int64_t seen_offset, const struct topic *cause, int32_t partition,
                        int64_t offset)
{
    const struct partition *log = topic_partition(cause, partition);
    if (log != NULL && offset < log->low)
        return;
    bool aborted = log != NULL && partition_aborted(log, offset) != NULL;
    report_add(aborted ? KIND_ABORTED_READ : KIND_INVENTED, saga, seen_in, seen_partition,
               seen_offset, "it comes from %s/%d/%lld, which %s", cause->name, partition,
               (long long)offset,
               aborted ? "belongs to an aborted transaction" : "is no such record");
}

// --- Inputs and START records

static void link_start(struct store *store, int32_t partition, const struct item *start)
{
    const struct topic *inbox = &store->topics[INBOX_TOPIC];
    struct subject *subject = start->subject;
    if (start->cause_topic == NULL || start->cause_topic->role != ROLE_INPUT)
        return;
    struct partition *log = topic_partition(start->cause_topic, start->cause_partition);
    struct item *input = log == NULL ? NULL : partition_item(log, start->cause_offset);
    if (input == NULL) {
        judge_cause(subject->key, inbox, partition, start->offset, start->cause_topic,
                    start->cause_partition, start->cause_offset);
        return;
    }
    if (input->starts++ > 0 && input->subject == subject)
        report_add(KIND_REPEATED, subject->key, inbox, partition, start->offset,
                   "a second START for %s/%d/%lld", start->cause_topic->name,
                   start->cause_partition, (long long)start->cause_offset);
    if (input->id != NULL && strcmp(input->id, subject->id) != 0)
        report_add(KIND_INVENTED, subject->key, inbox, partition, start->offset,
                   "its input %s/%d/%lld has the id %s", start->cause_topic->name,
                   start->cause_partition, (long long)start->cause_offset, input->id);
    input->subject = subject;
}

static void link_starts(struct store *store)
{
    const struct topic *inbox = &store->topics[INBOX_TOPIC];
    for (int p = 0; p < inbox->partition_count; p++)
        for (size_t i = 0; i < inbox->partitions[p].item_count; i++)
            if (inbox->partitions[p].items[i].start)
                link_start(store, p, &inbox->partitions[p].items[i]);
}

static void link_dead_letters(struct store *store)
{
    const struct topic *dlq = &store->topics[DLQ_TOPIC];
    for (int p = 0; p < dlq->partition_count; p++)
        for (size_t i = 0; i < dlq->partitions[p].item_count; i++) {
            const struct item *dead = &dlq->partitions[p].items[i];
            struct partition *log = topic_partition(dead->cause_topic, dead->cause_partition);
            struct item *from = log == NULL ? NULL : partition_item(log, dead->cause_offset);
            if (from == NULL)
                continue;
            from->dead = true;
            if (from->subject != NULL)
                from->subject->dead = true;
        }
}

static void check_unreadable(const struct store *store)
{
    const struct topic *inbox = &store->topics[INBOX_TOPIC];
    for (int p = 0; store->commands && p < inbox->partition_count; p++)
        for (size_t i = 0; i < inbox->partitions[p].item_count; i++) {
            const struct item *item = &inbox->partitions[p].items[i];
            if (item->unreadable && !item->dead && item->offset < inbox->partitions[p].group)
                report_add(KIND_MALFORMED, item->subject->key, inbox, p, item->offset,
                           "no command of a published schema, and it is not in the dlq");
        }
}

static bool any_instance(const struct subject *subject)
{
    for (; subject != NULL; subject = subject->same_id)
        if (subject->instances != NULL)
            return true;
    return false;
}

// Unread records are reported as that; what the dlq holds is not lost.
static void check_input(struct store *store, const struct topic *topic, int32_t p,
                        const struct item *item)
{
    if (!item->counted || item->dead || item->offset >= topic->partitions[p].group)
        return;
    if (item->id == NULL) {
        report_add(KIND_LOST, NULL, topic, p, item->offset,
                   "no id in it, and it is not in the dlq");
        return;
    }
    struct subject *subject = store_find_id(store, item->id, strlen(item->id));
    bool found = store->commands ? item->starts > 0 : any_instance(subject);
    if (!found && !was_trimmed(&store->topics[store->commands ? INBOX_TOPIC : HISTORY_TOPIC]))
        report_add(KIND_LOST, item->id, topic, p, item->offset,
                   store->commands ? "an input without a START" : "an input without a saga");
    if (item->subject != NULL)
        subject = item->subject;
    if (subject == NULL || store->options->expect_failed.op == RULE_NONE || subject->expected)
        return;
    subject->expected = true;
    subject->must_fail = item->must_fail;
}

static void check_inputs(struct store *store)
{
    for (int t = FIRST_INPUT; t < store->topic_count; t++) {
        const struct topic *topic = &store->topics[t];
        for (int p = 0; p < topic->partition_count; p++)
            for (size_t i = 0; i < topic->partitions[p].item_count; i++) {
                const struct item *item = &topic->partitions[p].items[i];
                struct subject *subject =
                    item->id == NULL ? NULL : store_find_id(store, item->id, strlen(item->id));
                for (; subject != NULL; subject = subject->same_id)
                    subject->wanted = true;
                check_input(store, topic, p, item);
            }
    }
}

// --- Sagas

static void check_origin(const struct store *store, const struct instance *instance)
{
    const struct topic *history = &store->topics[HISTORY_TOPIC];
    const struct topic *inbox = &store->topics[INBOX_TOPIC];
    const struct subject *subject = instance->subject;
    const struct event *first = &instance->events[0];
    if (!store->commands) {
        if (store->options->input_count > 0 && !subject->wanted)
            report_add(KIND_INVENTED, subject->key, history, first->partition, first->offset,
                       "no input has this id");
        return;
    }
    uint32_t hash = murmur2(subject->key, subject->key_len) & 0x7fffffff;
    int32_t p = (int32_t)(hash % (uint32_t)inbox->partition_count);
    const struct item *start = partition_item(&inbox->partitions[p], instance->incarnation);
    if (start == NULL)
        judge_cause(subject->key, history, first->partition, first->offset, inbox, p,
                    instance->incarnation);
    else if (start->subject != subject || !start->start)
        report_add(KIND_INVENTED, subject->key, history, first->partition, first->offset,
                   "%s/%d/%lld is no START of it", inbox->name, p,
                   (long long)instance->incarnation);
}

static void check_presence(const struct store *store, const struct subject *subject)
{
    const struct topic *history = &store->topics[HISTORY_TOPIC];
    const struct topic *inbox = &store->topics[INBOX_TOPIC];
    if (subject->instances == NULL) {
        const struct partition *log = topic_partition(inbox, subject->start_partition);
        if (subject->starts > 0 && !subject->dead && subject->start_offset < log->group &&
            !was_trimmed(history))
            report_add(KIND_LOST, subject->key, inbox, subject->start_partition,
                       subject->start_offset, "a START without a saga");
        return;
    }
    for (const struct instance *at = subject->instances; at != NULL; at = at->next) {
        check_origin(store, at);
        if (at != subject->instances)
            report_add(KIND_REPEATED, subject->key, history, at->events[0].partition,
                       at->events[0].offset, "a second incarnation, @%lld",
                       (long long)at->incarnation);
    }
}

static void check_end(const struct store *store, const struct instance *instance)
{
    const struct options *options = store->options;
    const struct subject *subject = instance->subject;
    const struct event *last = &instance->events[instance->count - 1];
    struct verdict verdict = line_verdict(instance);
    if (verdict.end == EVENT_TYPES) {
        if (!options->allow_unfinished && !options->live && !instance->torn)
            report_add(KIND_UNFINISHED, subject->key, &store->topics[HISTORY_TOPIC],
                       last->partition, last->offset, "@%lld is %s after #%lld %s",
                       (long long)instance->incarnation, verdict.state, (long long)last->sequence,
                       event_type_name((enum event_type)last->type));
        return;
    }
    enum event_type right = subject->must_fail ? SAGA_COMPENSATED : SAGA_COMPLETED;
    if (subject->expected && verdict.end != right && verdict.end != SAGA_TERMINATED)
        report_add(KIND_WRONG_OUTCOME, subject->key, &store->topics[HISTORY_TOPIC], last->partition,
                   last->offset, "%s, but its input asks for %s", event_type_name(verdict.end),
                   event_type_name(right));
}

// What an aborted transaction wrote must be there again, unless the saga took another turn: a line
// that has ended, or has gone on past it, is whole without it.
static void check_aborted(struct store *store)
{
    const struct topic *history = &store->topics[HISTORY_TOPIC];
    for (int p = 0; p < history->partition_count; p++)
        for (size_t i = 0; i < history->partitions[p].aborted_count; i++) {
            const struct aborted *aborted = &history->partitions[p].aborted[i];
            const char *at = aborted->sagaid == NULL ? NULL : strrchr(aborted->sagaid, '@');
            struct subject *subject = store_find(store, aborted->key, strlen(aborted->key));
            struct instance *last = subject == NULL ? NULL : subject->last;
            if (at == NULL || last == NULL || last->incarnation != atoll(at + 1))
                continue;
            struct verdict verdict = line_verdict(last);
            if (verdict.end != EVENT_TYPES || aborted->sequence < verdict.next_sequence)
                continue;
            report_add(KIND_NOT_REDONE, subject->key, history, p, aborted->offset,
                       "#%lld was aborted and never came again", (long long)aborted->sequence);
            last->torn = true;
        }
}

// --- Offsets

static int64_t unread(const struct partition *partition)
{
    int64_t count = 0;
    for (size_t i = partition->seen_count; i > 0; i--, count++)
        if (partition->seen[i - 1].offset < partition->group)
            break;
    return count;
}

static void check_offsets(const struct store *store, const struct topic *topic)
{
    for (int p = 0; p < topic->partition_count; p++) {
        const struct partition *partition = &topic->partitions[p];
        int64_t left = unread(partition);
        if (partition->group > partition->high)
            report_add(KIND_AHEAD, NULL, topic, p, partition->group,
                       "the committed offset is behind the end of the log, %lld",
                       (long long)partition->high);
        if (left > 0 && !store->options->live)
            report_add(KIND_UNREAD, NULL, topic, p, partition->group, "%lld records are not read",
                       (long long)left);
    }
}

// --- State

void rules_state(const struct store *store, const struct subject *subject)
{
    const struct topic *state = &store->topics[STATE_TOPIC];
    const struct options *options = store->options;
    const struct instance *instance = subject->last;
    struct verdict verdict = line_verdict(instance);
    bool ended = verdict.end != EVENT_TYPES;
    bool same = strcmp(subject->state_name, verdict.state) == 0;
    const char *why = NULL;
    if (subject->state == STATE_OPAQUE || instance->torn)
        return;
    if (subject->state == STATE_NONE)
        why = options->live || was_trimmed(state) || (options->rebuilt && ended) ? NULL
                                                                                 : "has no record";
    else if (subject->state == STATE_REMOVED)
        why = ended ? NULL : "says that it is gone";
    else if (subject->state_incarnation != instance->incarnation)
        why = options->live ? NULL : "is of another incarnation";
    else if (subject->state == STATE_FINISHED || ended)
        why = same || options->live ? NULL : "says another end";
    else if (subject->state_sequence > verdict.next_sequence && options->history == HISTORY_ALL)
        why = "is ahead of the history";
    else if (!options->live && options->history == HISTORY_ALL)
        why = !same                                             ? "says another state"
              : subject->state_sequence < verdict.next_sequence ? "is behind the history"
                                                                : NULL;
    if (why != NULL)
        report_add(KIND_STATE_DIFFERS, subject->key, state, subject->state_partition,
                   subject->state_offset, "the last state %s: %s, history: %s, next #%lld", why,
                   subject->state_name[0] == '\0' ? "none" : subject->state_name, verdict.state,
                   (long long)verdict.next_sequence);
}

// --- All of it

int64_t rules_in_flight(const struct store *store)
{
    int64_t count = 0;
    for (int t = INBOX_TOPIC; t < store->topic_count; t++)
        for (int p = 0; p < store->topics[t].partition_count; p++)
            count += unread(&store->topics[t].partitions[p]);
    for (const struct subject *at = store->subjects; at != NULL; at = at->hh.next) {
        if (at->last == NULL)
            continue;
        struct verdict verdict = line_verdict(at->last);
        count += strcmp(verdict.state, "RUNNING") == 0;
        count += strcmp(verdict.state, "COMPENSATING") == 0;
    }
    return count;
}

void rules_across(struct store *store)
{
    const struct options *options = store->options;
    link_starts(store);
    link_dead_letters(store);
    check_unreadable(store);
    check_inputs(store);
    if (!options->live)
        check_aborted(store);
    for (struct subject *at = store->subjects; at != NULL; at = at->hh.next) {
        check_presence(store, at);
        if (at->last == NULL)
            continue;
        for (const struct instance *one = at->instances; one != NULL; one = one->next)
            check_end(store, one);
        if (store->topics[STATE_TOPIC].exists)
            rules_state(store, at);
    }
    for (int t = INBOX_TOPIC; t < store->topic_count; t++)
        check_offsets(store, &store->topics[t]);
    if (store->dlq_records < options->dlq)
        report_add(KIND_DLQ, NULL, &store->topics[DLQ_TOPIC], 0, 0,
                   "%lld dead letters were expected, there are %lld", (long long)options->dlq,
                   (long long)store->dlq_records);
}
