// SPDX-License-Identifier: Apache-2.0
#include "checker.h"

#include <string.h>
#include <time.h>

// Reads on until nothing is in flight twice in a row, or the time is over. Twice: the ends of the
// states are sampled before those of the history, and the last transaction may come between.
static void read_until_quiet(struct kafka *kafka, struct store *store)
{
    const struct timespec pause = {.tv_nsec = 200000000};
    time_t until = time(NULL) + store->options->wait_s;
    for (int quiet = 0;;) {
        kafka_sample(kafka, store);
        kafka_read_committed(kafka, store);
        quiet = rules_in_flight(store) == 0 ? quiet + 1 : 0;
        if (quiet == 2 || time(NULL) >= until)
            return;
        nanosleep(&pause, NULL);
    }
}

static struct totals judge(struct store *store)
{
    struct totals totals = {0};
    for (struct subject *at = store->subjects; at != NULL; at = at->hh.next)
        for (struct instance *one = at->instances; one != NULL; one = one->next)
            rules_learn(store, one);
    for (int i = 0; i < store->options->steps.count; i++)
        names_get(&store->steps, store->options->steps.names[i],
                  strlen(store->options->steps.names[i]), NULL);
    for (struct subject *at = store->subjects; at != NULL; at = at->hh.next)
        for (struct instance *one = at->instances; one != NULL; one = one->next) {
            rules_line(store, one);
            enum event_type end = line_verdict(one).end;
            totals.sagas++;
            totals.completed += end == SAGA_COMPLETED;
            totals.compensated += end == SAGA_COMPENSATED;
            totals.terminated += end == SAGA_TERMINATED;
            totals.unfinished += end == EVENT_TYPES;
        }
    rules_across(store);
    return totals;
}

int main(int argc, char **argv)
{
    static struct options options;
    static struct store store;
    options_parse(&options, argc, argv);
    report_init(&options);
    store.options = &options;
    avro_load(options.schemas);
    struct kafka *kafka = kafka_open(&options);
    kafka_topics(kafka, &store);
    store.commands = store.topics[3].exists && avro_knows("Command");
    read_until_quiet(kafka, &store);
    kafka_read_uncommitted(kafka, &store);
    kafka_held_back(&store);
    struct totals totals = judge(&store);
    report_print(&store, &totals);
    kafka_close(kafka);
    return report_count() == 0 ? EXIT_CLEAN : EXIT_VIOLATIONS;
}
