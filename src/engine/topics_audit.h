// SPDX-License-Identifier: Apache-2.0
// Settings of topics and brokers held against what the docs promise. Changes nothing and refuses
// nothing: it names what is wrong (docs/operations.md, "Kafka settings that matter"). Part of
// topics_plan; the judgements on one topic or one broker are functions of their own, without a
// cluster, for tests.
#ifndef KA_ENGINE_TOPICS_AUDIT_H
#define KA_ENGINE_TOPICS_AUDIT_H

#include "engine/topics.h"

struct topics_audit {
    const struct config *config;
    struct arena *arena; // of the plan
    struct topics_plan *plan;
    int32_t brokers; // that are up
};

// Judges an existing topic of the plan.
void topics_audit_topic(struct topics_audit *audit, const struct topic_entry *entry,
                        const struct io_kafka_settings *found);
// Judges one of Kafka's own topics that commits rest on; `replicas` 0: it does not exist yet, and
// the settings are those of a broker that would create it.
void topics_audit_internal(struct topics_audit *audit, const char *topic, int32_t replicas,
                           const struct io_kafka_settings *found);
// Judges a broker.
void topics_audit_broker(struct topics_audit *audit, int32_t broker,
                         const struct io_kafka_settings *found);
// Judges what the topics that are missing would be created with, by the defaults of a broker.
void topics_audit_planned(struct topics_audit *audit, const struct io_kafka_settings *broker);

// All of it for a plan whose entries are compared with the cluster. Settings that may not be read
// are a warning.
KA_MUST_USE enum ka_err topics_audit_run(struct topics_audit *audit, struct io_kafka_admin *admin,
                                         const struct io_kafka_topic *topics, size_t topic_count,
                                         struct err_text *text);

#endif
