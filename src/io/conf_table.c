// SPDX-License-Identifier: Apache-2.0
// Every key of the configuration: type, range, default and what it does. What is read, what is
// refused and docs/configuration.md come from here.
#include "io/conf_int.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define FIELD(struct_, member)                                                                     \
    .offset = offsetof(struct struct_, member), .size = sizeof(((struct struct_ *)0)->member)
#define KEYS(array) .keys = (array), .count = COUNT(array)

enum {
    SECOND = 1000,
    MINUTE = 60 * SECOND,
    HOUR = 60 * MINUTE,
    DAY = 24 * HOUR,
    KIB = 1024,
    MIB = 1024 * KIB,
    GIB = 1024 * MIB
};
#define YEARS(n) ((int64_t)(n)*365 * DAY)

static const char *const guarantees[] = {"exactly_once", "at_least_once", NULL};
static const char *const starts[] = {"earliest", "latest", NULL};
static const char *const levels[] = {"debug", "info", "warn", "error", "off", NULL};
static const char *const formats[] = {"text", "json", NULL};
static const char *const kinds[] = {"plugin", "exec", "http", "topic", "entity", NULL};
static const char *const patterns[] = {"saga", "two_phase_commit", "eventual_consistency", NULL};
static const char *const namings[] = {"prefix", "identical", NULL}; // enum link_naming
static const char *const forwards[] = {"origin", "all", NULL};
static const char *const joins[] = {"fail_fast", "collect", NULL};
static const char *const histories[] = {"all", "steps", "ends", NULL};
// In the order of enum data_class.
static const char *const classes[] = {"public", "sensitive", "financial", "personal", NULL};
static const char *const intensities[] = {"data", "compute", NULL};
static const char *const roles[] = {"worker", "hub", NULL};
static const char *const modes[] = {"required", "preferred", NULL};

static const struct conf_key kafka_keys[] = {
    {"bootstrap", CONF_STRING, FIELD(raw_config, config.kafka.bootstrap),
     .shown = "required, or `KASAGA_BOOTSTRAP`",
     .doc = "Brokers to ask first, `\"host:port,host:port\"`. `KASAGA_BOOTSTRAP` in the "
            "environment overrides it."},
    {"session_timeout", CONF_DURATION, FIELD(raw_config, config.kafka.session_timeout_ms),
     .fallback = "6s", .min = 6 * SECOND, .max = 10 * SECOND,
     .doc = "After this silence a worker's shards go to others."},
    {"transaction_timeout", CONF_DURATION, FIELD(raw_config, config.kafka.transaction_timeout_ms),
     .fallback = "10s", .min = 5 * SECOND, .max = MINUTE,
     .doc = "The broker ends a transaction of a worker that is gone after this time; readers of "
            "the topics may wait as long."},
    {"properties", CONF_PROPERTIES, FIELD(raw_config, properties),
     .doc = "Properties for librdkafka, see below: `( \"linger.ms=5\", { name = \"sasl.password\"; "
            "value = \"env:KAFKA_PASSWORD\"; } )`."},
};

static const struct conf_key topics_keys[] = {
    {"replication", CONF_INT, FIELD(raw_config, config.topics.replication), .fallback = "-1",
     .min = -1, .max = 32767, .doc = "Replicas of each partition; -1 = the broker's default."},
    {"min_insync_replicas", CONF_INT, FIELD(raw_config, config.topics.min_insync_replicas),
     .fallback = "-1", .min = -1, .max = 32767,
     .doc = "`min.insync.replicas` of the topics; -1 = the broker's default. With 3 replicas "
            "write 2."},
    {"input_partitions", CONF_INT, FIELD(raw_config, config.topics.input_partitions),
     .shown = "as `shards`", .min = 1, .max = 10000,
     .doc = "Partitions of a user topic that `kasaga topics apply` has to create."},
    {"history_keep", CONF_DURATION, FIELD(raw_config, config.topics.history_keep_ms),
     .fallback = "30d", .min = MINUTE, .max = YEARS(10), .doc = "Retention of `<app>.history`."},
    {"replies_keep", CONF_DURATION, FIELD(raw_config, config.topics.replies_keep_ms),
     .fallback = "7d", .min = MINUTE, .max = YEARS(10), .doc = "Retention of `<app>.replies`."},
    {"dlq_keep", CONF_DURATION, FIELD(raw_config, config.topics.dlq_keep_ms), .fallback = "30d",
     .min = MINUTE, .max = YEARS(10), .doc = "Retention of `<app>.dlq`."},
    {"out_keep", CONF_DURATION, FIELD(raw_config, config.topics.out_keep_ms), .fallback = "7d",
     .min = MINUTE, .max = YEARS(10),
     .doc = "Retention of the topics `<app>.out.<region>`: how long another region may be out of "
            "reach before records bound for it are lost."},
    {"audit_keep", CONF_DURATION, FIELD(raw_config, config.topics.audit_keep_ms),
     .fallback = "365d", .min = MINUTE, .max = YEARS(10), .doc = "Retention of `<app>.audit`."},
};

static const struct conf_key lanes_keys[] = {
    {"shard", CONF_INT, FIELD(raw_config, config.lanes.shard),
     .shown = "half the CPUs, at most `shards` and what `memory_max` allows", .min = 1, .max = 96,
     .doc = "Threads of a worker that own shards; at most `shards`."},
    {"route", CONF_INT, FIELD(raw_config, config.lanes.route), .fallback = "1", .min = 0, .max = 32,
     .doc = "Threads of a worker that turn records of user topics into commands. 0 = other "
            "workers do."},
    {"batch_records", CONF_INT, FIELD(raw_config, config.lanes.batch_records), .fallback = "5000",
     .min = 1, .max = 100000, .doc = "Input records of one transaction, at most."},
    {"batch_bytes", CONF_SIZE, FIELD(raw_config, config.lanes.batch_bytes), .fallback = "8MiB",
     .min = 64 * KIB, .max = 256 * (int64_t)MIB,
     .doc = "Output of one transaction, about at most."},
    {"batch_time", CONF_DURATION, FIELD(raw_config, config.lanes.batch_time_ms),
     .fallback = "100ms", .min = 1, .max = 5 * SECOND,
     .doc = "A transaction that takes records for this long is committed."},
    {"interval_max", CONF_DURATION, FIELD(raw_config, config.lanes.interval_max_ms),
     .fallback = "20ms", .min = 0, .max = SECOND,
     .doc = "A busy lane waits up to this long between commits, so that batches get larger; an "
            "idle one never waits."},
    {"inline_limit", CONF_DURATION, FIELD(raw_config, config.lanes.inline_limit_ms),
     .fallback = "5s", .min = 100, .max = 10 * SECOND,
     .doc = "An inline action that runs for longer ends the worker, by name."},
    {"restore_slack", CONF_INT, FIELD(raw_config, config.lanes.restore_slack), .fallback = "10000",
     .min = 0, .max = 100000000,
     .doc = "A new owner of a shard reads at most 3 state records for each live saga and this "
            "many more."},
};

static const struct conf_key invoker_keys[] = {
    {"threads", CONF_INT, FIELD(raw_config, config.invoker.threads), .fallback = "16", .min = 1,
     .max = 1024,
     .doc = "Calls of plugins that are not inline and of programs that run at once in a worker."},
    {"queue", CONF_INT, FIELD(raw_config, config.invoker.queue), .fallback = "1000", .min = 1,
     .max = 1000000,
     .doc = "Calls that wait for a thread, and again in each lane; beyond it user topics wait."},
};

static const struct conf_key log_keys[] = {
    {"level", CONF_ENUM, FIELD(raw_config, config.log_level), .fallback = "info", .choices = levels,
     .doc = "Lines below it are not written."},
    {"format", CONF_ENUM, FIELD(raw_config, config.log_format), .fallback = "text",
     .choices = formats, .doc = "`key=value` text or one JSON object per line, on stderr."},
};

static const struct conf_key retry_keys[] = {
    {"attempts", CONF_INT, FIELD(raw_retry, attempts), .shown = "2; of a compensation 10", .min = 0,
     .max = 1000000, .doc = "Attempts in all, the first included; 0 = no limit."},
    {"backoff", CONF_DURATION, FIELD(raw_retry, backoff_ms), .shown = "250ms", .min = 1, .max = DAY,
     .doc = "Pause before the second attempt; doubles from one to the next."},
    {"backoff_max", CONF_DURATION, FIELD(raw_retry, backoff_max_ms), .shown = "30s", .min = 1,
     .max = 7 * DAY, .doc = "The pause does not grow beyond it."},
};

static const struct conf_group retry_group = {
    .title = "retry",
    .one = "retry",
    .doc = "In an action (`retry`) and in a step (`retry`, `compensate_retry`). What a step does "
           "not say is taken from the action it calls, what that does not say from here. Of each "
           "pause between half and all is used.",
    .size = sizeof(struct raw_retry),
    KEYS(retry_keys),
};

static const struct conf_key action_keys[] = {
    {"name", CONF_DOTTED, FIELD(raw_action, name), .required = true,
     .doc = "How steps call it, for example `payment.charge`."},
    {"kind", CONF_ENUM, FIELD(raw_action, kind), .required = true, .choices = kinds, .available = 2,
     .doc =
         "`plugin`: a function of a shared library. `exec`: a program. The kinds `http`, `topic` "
         "and `entity` are not available in this version."},
    {"version", CONF_STRING, FIELD(raw_action, version), .fallback = "1",
     .doc = "Part of the identity of the sagas that use it: change it when the action does "
            "something else."},
    {"description", CONF_STRING, FIELD(raw_action, description), .doc = "For people."},
    {"category", CONF_STRING, FIELD(raw_action, category), .doc = "For lists."},
    {"tags", CONF_STRINGS, FIELD(raw_action, tags), .min = 0, .max = 16, .doc = "For lists."},
    {"params", CONF_FILE, FIELD(raw_action, params),
     .doc = "Avro schema (`.avsc`) that the input must match; members that it does not name pass. "
            "Without it, any object."},
    {"result", CONF_FILE, FIELD(raw_action, result),
     .doc = "Avro schema that the result must match."},
    {"timeout", CONF_DURATION, FIELD(raw_action, timeout_ms), .fallback = "30s", .min = 1,
     .max = 7 * DAY,
     .doc = "Of one attempt, for steps that do not say otherwise. Then the outcome is unknown."},
    {"retry", CONF_GROUP, FIELD(raw_action, retry), .group = &retry_group,
     .doc = "See `retry`; for steps that do not say otherwise."},
    {"concurrency", CONF_INT, FIELD(raw_action, concurrency), .fallback = "0", .min = 0,
     .max = 1024,
     .doc = "Calls of it that run at once in a worker, at most; 0 = as many as `invoker.threads`. "
            "Others wait, and the calls of other actions pass them. Not for an inline action."},
    {"library", CONF_STRING, FIELD(raw_action, library),
     .doc = "kind `plugin`, required: the shared library, see *Paths*."},
    {"action", CONF_STRING, FIELD(raw_action, library_action), .shown = "`name`",
     .doc = "kind `plugin`: the name of the action in the library."},
    {"inline", CONF_BOOL, FIELD(raw_action, run_inline), .fallback = "false",
     .doc = "kind `plugin`: run it in the lane, in the transaction, exactly once. It must not "
            "block nor touch the outside."},
    {"intensive", CONF_ENUM, FIELD(raw_action, intensive), .choices = intensities,
     .shown = "neither",
     .doc = "`data`: it works on data of the region of its saga and never runs elsewhere, whatever "
            "a step asks for. `compute`: a step without `region` runs it in the least loaded "
            "region. See [residency.md](residency.md#placement)."},
    {"options", CONF_OPTIONS, FIELD(raw_action, options),
     .doc = "kind `plugin`: options of the action, checked against its own table."},
    {"command", CONF_STRINGS, FIELD(raw_action, command), .min = 1, .max = 63,
     .doc = "kind `exec`, required: the program and its arguments, `[\"./charge.sh\", \"-v\"]`. "
            "No shell."},
    {"environment", CONF_STRINGS, FIELD(raw_action, environment), .min = 0, .max = 32,
     .doc = "kind `exec`: names of variables of the worker that the program gets too."},
    {"directory", CONF_FILE, FIELD(raw_action, directory), .shown = "the worker's",
     .doc = "kind `exec`: where it runs."},
};

static const struct conf_group step_group;
static const struct conf_key step_keys[] = {
    {"name", CONF_DOTTED, FIELD(raw_step, name), .required = true, .doc = "Unique in the saga."},
    {"action", CONF_DOTTED, FIELD(raw_step, action), .shown = "none: needed without `parallel`",
     .doc = "The action that does it."},
    {"compensate", CONF_DOTTED, FIELD(raw_step, compensate),
     .doc = "The action that undoes it. It is called when the step may have happened, and must "
            "answer ok when there is nothing to undo."},
    {"when", CONF_EXPR, FIELD(raw_step, when),
     .doc = "jq: the step is left out when this is false or null."},
    {"input", CONF_EXPR, FIELD(raw_step, input), .shown = "everything known so far",
     .doc = "jq: the input, from the start event's data merged with the results of the steps "
            "before."},
    {"compensate_input", CONF_EXPR, FIELD(raw_step, compensate_input),
     .shown = "`{\"input\": …, \"result\": …}` itself",
     .doc = "jq: the input of the compensation, from `{input, result}` of the step."},
    {"timeout", CONF_DURATION, FIELD(raw_step, timeout_ms), .shown = "the action's", .min = 1,
     .max = 7 * DAY, .doc = "Of one attempt."},
    {"retry", CONF_GROUP, FIELD(raw_step, retry), .group = &retry_group, .doc = "See `retry`."},
    {"compensate_timeout", CONF_DURATION, FIELD(raw_step, compensate_timeout_ms),
     .shown = "the compensating action's", .min = 1, .max = 7 * DAY,
     .doc = "Of one attempt of the compensation."},
    {"compensate_retry", CONF_GROUP, FIELD(raw_step, compensate_retry), .group = &retry_group,
     .doc = "See `retry`. A compensation that has used up its attempts leaves the saga stuck, for "
            "an operator."},
    {"optional", CONF_BOOL, FIELD(raw_step, optional), .fallback = "false",
     .doc = "Its failure does not fail the saga."},
    {"pivot", CONF_BOOL, FIELD(raw_step, pivot), .fallback = "false",
     .doc = "Once it has completed there is no way back: later steps are tried until they "
            "succeed or the saga is stuck."},
    {"parallel", CONF_LIST, FIELD(raw_step, parallel), .min = 1, .max = DEF_STEPS_MAX,
     .group = &step_group,
     .doc = "Branches, each written like a step with an `action`: they are in flight side by "
            "side, and the next step begins when all have ended. The step itself has a name, its "
            "branches and `join`, nothing else. See [Parallel steps](sagas.md#parallel-steps)."},
    {"distributed", CONF_STRINGS, FIELD(raw_step, distributed), .shown = "none", .min = 1,
     .max = DEF_STEPS_MAX,
     .doc =
         "One branch for each region of a list (`all`: for each of `regions`), or for each element "
         "of the list that a jq program gives. See [Distributed "
         "steps](sagas.md#distributed-steps)."},
    {"branches_max", CONF_INT, FIELD(raw_step, branches_max), .fallback = "8", .min = 1,
     .max = DEF_STEPS_MAX,
     .doc = "With a `distributed` list of jq: a longer one fails the step. Each possible branch "
            "counts "
            "as a step."},
    {"join", CONF_ENUM, FIELD(raw_step, join), .fallback = "fail_fast", .choices = joins,
     .doc = "With `parallel` and `distributed`: after the first branch that failed none is begun "
            "or tried again "
            "(`fail_fast`), or all come to their end first (`collect`)."},
    {"saga", CONF_RESERVED, .doc = NULL},
    {"wait", CONF_RESERVED, .doc = NULL},
    {"region", CONF_STRING, FIELD(raw_step, region),
     .doc = "Where it runs, and its compensation: one of `regions`, `tenant` (where the tenant is "
            "at home), `least_loaded` or jq over everything known so far. Without it: here. "
            "Residency decides whether the input may go there, see [residency.md](residency.md)."},
    {"dataclass", CONF_ENUM, FIELD(raw_step, dataclass), .choices = classes,
     .shown = "that of the event",
     .doc = "With `region`: the class of what `input` leaves of the event, on your word. A field "
            "of a higher class in it raises it again."},
    {"consistency", CONF_RESERVED, .doc = NULL},
};

static const struct conf_key start_keys[] = {
    {"topic", CONF_TOPIC, FIELD(raw_start, topic), .required = true,
     .doc = "A user topic. Not one of the app's own."},
    {"type", CONF_STRING, FIELD(raw_start, type), .required = true,
     .doc = "The `type` of the event (CloudEvents)."},
    {"id", CONF_EXPR, FIELD(raw_start, id), .required = true,
     .doc = "jq on the event's data: a text or a number that names the instance. A second event "
            "with the same id starts nothing."},
};

static const struct conf_group action_group = {
    .title = "actions",
    .one = "an action",
    .doc = "A list of groups: what steps can call.",
    .size = sizeof(struct raw_action),
    .node_offset = offsetof(struct raw_action, node),
    .refuse = conf_refuse_action,
    KEYS(action_keys),
};

static const struct conf_group step_group = {
    .title = "sagas.steps",
    .one = "a step",
    .doc = "In the order in which they run, at most 64 with all branches. Step forms "
           "`saga`, `wait` and the key `consistency` are not available in this version.",
    .size = sizeof(struct raw_step),
    .node_offset = offsetof(struct raw_step, node),
    .refuse = conf_refuse_step,
    KEYS(step_keys),
};

static const struct conf_group start_group = {
    .title = "sagas.start",
    .one = "start",
    .doc = "Which events start it. Without it, it is started by commands only.",
    .size = sizeof(struct raw_start),
    .node_offset = offsetof(struct raw_start, node),
    KEYS(start_keys),
};

static const struct conf_key saga_keys[] = {
    {"name", CONF_DOTTED, FIELD(raw_saga, name), .required = true,
     .doc = "First part of the key of its instances: `order/4711`."},
    {"version", CONF_INT, FIELD(raw_saga, version), .fallback = "1", .min = 1, .max = 1000000000,
     .doc = "Raise it to make a changed definition the current one. Running instances keep "
            "theirs."},
    {"description", CONF_STRING, FIELD(raw_saga, description), .doc = "For people."},
    {"pattern", CONF_ENUM, FIELD(raw_saga, pattern), .fallback = "saga", .choices = patterns,
     .available = 1,
     .doc = "`saga`: steps in order, undone in reverse. `two_phase_commit` and "
            "`eventual_consistency` are not available in this version."},
    {"start", CONF_GROUP, FIELD(raw_saga, start), .group = &start_group, .doc = "See below."},
    {"deadline", CONF_DURATION, FIELD(raw_saga, deadline_ms), .shown = "none", .min = 1,
     .max = YEARS(10), .doc = "From the start. When it has passed, the saga is undone."},
    {"dedupe_window", CONF_DURATION, FIELD(raw_saga, dedupe_window_ms), .fallback = "24h", .min = 0,
     .max = 365 * (int64_t)DAY,
     .doc = "How long a finished instance is remembered, so that a second start with its id is "
            "told from a new one. A shard remembers all for the longest of them."},
    {"history", CONF_ENUM, FIELD(raw_saga, history), .fallback = "all", .choices = histories,
     .doc = "What is written to `<app>.history`: every transition, one per ended step, or only "
            "the start and the end of the saga. Less than all limits replay."},
    {"steps", CONF_LIST, FIELD(raw_saga, steps), .required = true, .min = 1, .max = DEF_STEPS_MAX,
     .group = &step_group, .doc = "See below."},
};

static const struct conf_group saga_group = {
    .title = "sagas",
    .one = "a saga",
    .doc = "A list of groups. A definition is identified by a hash of its steps, policies and "
           "actions (name, kind, version, inline, schemas); not of where it starts nor of paths.",
    .size = sizeof(struct raw_saga),
    .node_offset = offsetof(struct raw_saga, node),
    KEYS(saga_keys),
};

static const struct conf_key region_keys[] = {
    {"name", CONF_NAME, FIELD(raw_region, name), .required = true,
     .doc = "Not `any`, `own`, `closest`, `tenant` or `least_loaded`: these mean something else "
            "where a region can be named."},
    {"role", CONF_ENUM, FIELD(raw_region, role), .fallback = "worker", .choices = roles,
     .doc =
         "`hub`: a cluster that only gets copies, by `kasaga link run` there. No step runs in it, "
         "no link copies from it, no tenant is at home there, and it holds what a rule with this "
         "`target` names and nothing else."},
    {"rtt", CONF_DURATION, FIELD(raw_region, rtt_ms), .shown = "measured by the link from there",
     .min = 0, .max = MINUTE,
     .doc = "Round trip from here: which region is the closest. Without it and without a link "
            "`100ms`. This one counts as `0ms`, whatever it says."},
};

static const struct conf_group region_group = {
    .title = "regions",
    .one = "a region",
    .doc = "A list of groups: every region that data may be sent to, and this one (`region`). "
           "Without it nothing leaves this region. See [residency.md](residency.md).",
    .size = sizeof(struct raw_region),
    .node_offset = offsetof(struct raw_region, node),
    KEYS(region_keys),
};

static const struct conf_key rule_keys[] = {
    {"region", CONF_NAME, FIELD(raw_rule, region), .fallback = "any",
     .doc = "Where the data is at home, or `any`. A rule of a named region goes before one of "
            "`any`."},
    {"class", CONF_ENUM, FIELD(raw_rule, dataclass), .required = true, .choices = classes,
     .doc = "Which data."},
    {"target", CONF_NAME, FIELD(raw_rule, target), .fallback = "own",
     .doc = "Where it goes: a region, `own` (where it is at home) or `closest` (by `rtt`; only "
            "`preferred`). A hub: topics of this class may be copied there too; such a rule stands "
            "beside the one that says where the data goes."},
    {"mode", CONF_ENUM, FIELD(raw_rule, mode), .fallback = "required", .choices = modes,
     .doc = "`required`: there and nowhere else; when it is out of reach the record waits. "
            "`preferred`: any region may be asked for, and when it is down the next closest is "
            "taken."},
};

static const struct conf_group rule_group = {
    .title = "residency.rules",
    .one = "a rule",
    .doc = "A table region × class → target. A pair without a rule is `target = \"own\"; mode = "
           "\"required\";`. Two rules for one pair are refused.",
    .size = sizeof(struct raw_rule),
    .node_offset = offsetof(struct raw_rule, node),
    KEYS(rule_keys),
};

static const struct conf_key residency_keys[] = {
    {"personal", CONF_STRINGS, FIELD(raw_residency, personal), .min = 0, .max = 256,
     .doc = "Names of fields that make an event personal: `[\"email\", \"*name\", "
            "\"birth*\"]`. "
            "`*` stands for any text; case, `_` and `-` do not count; at any depth."},
    {"financial", CONF_STRINGS, FIELD(raw_residency, financial), .min = 0, .max = 256,
     .doc = "The same for financial data, where nothing is personal."},
    {"sensitive", CONF_STRINGS, FIELD(raw_residency, sensitive), .min = 0, .max = 256,
     .doc = "The same for sensitive data, where nothing is personal or financial. All else is "
            "public."},
    {"rules", CONF_LIST, FIELD(raw_residency, rules), .min = 0, .max = CONF_RULES_MAX,
     .group = &rule_group, .doc = "See below."},
};

static const struct conf_group residency_group = {
    .title = "residency",
    .one = "residency",
    .doc = "Of what class an event is, by the names of the fields of its data, and where each "
           "class may go.",
    .size = sizeof(struct raw_residency),
    .node_offset = offsetof(struct raw_residency, node),
    KEYS(residency_keys),
};

static const struct conf_key tenant_keys[] = {
    {"name", CONF_STRING, FIELD(raw_tenant, name), .required = true,
     .doc = "As it stands in the attribute `tenant` of events."},
    {"region", CONF_NAME, FIELD(raw_tenant, region), .required = true,
     .doc = "Where its data is at home."},
};

static const struct conf_group tenant_group = {
    .title = "tenants",
    .one = "a tenant",
    .doc = "A list of groups. With it, an event of a tenant that it does not name goes to the dlq "
           "(`UNKNOWN_TENANT`); one without a tenant is at home here.",
    .size = sizeof(struct raw_tenant),
    .node_offset = offsetof(struct raw_tenant, node),
    KEYS(tenant_keys),
};

static const struct conf_key mirror_keys[] = {
    {"match", CONF_STRING, FIELD(raw_mirror, match), .required = true,
     .doc = "A topic of the source; `*` stands for any text. New topics that match are picked up "
            "as they come. Kafka's own topics and those that kasaga makes for an app are never "
            "mirrored."},
    {"class", CONF_ENUM, FIELD(raw_mirror, dataclass), .required = true, .choices = classes,
     .doc = "Class of its data. The rules of `residency` must allow it to go from the source to "
            "here."},
};

static const struct conf_group mirror_group = {
    .title = "links.topics",
    .one = "a mirrored topic",
    .doc = "The first that fits counts.",
    .size = sizeof(struct raw_mirror),
    .node_offset = offsetof(struct raw_mirror, node),
    KEYS(mirror_keys),
};

static const struct conf_key breaker_keys[] = {
    {"threshold", CONF_INT, FIELD(raw_breaker, threshold), .fallback = "5", .min = 1, .max = 1000,
     .doc = "Failures in a row that open it."},
    {"timeout", CONF_DURATION, FIELD(raw_breaker, timeout_ms), .fallback = "60s", .min = SECOND,
     .max = HOUR, .doc = "From the opening to the next probe."},
};

static const struct conf_group breaker_group = {
    .title = "links.breaker",
    .one = "breaker",
    .doc = "When the source does not answer, it is asked no more for a while.",
    .size = sizeof(struct raw_breaker),
    KEYS(breaker_keys),
};

static const struct conf_key link_keys[] = {
    {"source", CONF_NAME, FIELD(raw_link, source), .required = true,
     .doc = "The region it copies from; at most 24 characters."},
    {"bootstrap", CONF_STRING, FIELD(raw_link, bootstrap), .required = true,
     .doc = "Brokers of the source to ask first."},
    {"properties", CONF_PROPERTIES, FIELD(raw_link, properties),
     .doc = "Properties for librdkafka's clients of the source, as in `kafka.properties`."},
    {"app", CONF_NAME, FIELD(raw_link, app), .shown = "as `app`",
     .doc = "The app of the source: its `<app>.out.<region>` holds the commands for here."},
    {"topics", CONF_LIST, FIELD(raw_link, topics), .min = 0, .max = CONF_MIRRORS_MAX,
     .group = &mirror_group, .doc = "What is mirrored. See below."},
    {"naming", CONF_ENUM, FIELD(raw_link, naming), .fallback = "prefix", .choices = namings,
     .doc = "What mirrored topics are called here: `<source>.<topic>`, or as there."},
    {"forward", CONF_ENUM, FIELD(raw_link, forward), .fallback = "origin", .choices = forwards,
     .available = 1,
     .doc = "`origin`: only records that were born in the source are copied, so that a ring or a "
            "mesh of links copies nothing twice. `all` is not available in this version."},
    {"commands", CONF_BOOL, FIELD(raw_link, commands), .fallback = "true",
     .doc = "Copy `<app>.out.<region>` of the source into `<app>.inbox` here, if it exists."},
    {"start_at", CONF_ENUM, FIELD(raw_link, start_at), .fallback = "earliest", .choices = starts,
     .doc = "Where a partition begins that was never copied and was there at the first look. "
            "Later ones begin at their start."},
    {"lanes", CONF_INT, FIELD(raw_link, lanes), .fallback = "1", .min = 1, .max = 32,
     .doc = "Threads of a process that copy; more processes share the work."},
    {"refresh", CONF_DURATION, FIELD(raw_link, refresh_ms), .fallback = "2s", .min = 100,
     .max = 10 * MINUTE,
     .doc = "Between looks at the source: new topics and partitions, heartbeat."},
    {"queue", CONF_SIZE, FIELD(raw_link, queue), .fallback = "8MiB", .min = MIB, .max = GIB,
     .doc = "Records that a lane fetches ahead."},
    {"fetch", CONF_SIZE, FIELD(raw_link, fetch), .fallback = "8MiB", .min = MIB, .max = 256 * MIB,
     .doc = "One answer of a source broker, at most: one is under way at a time, so over a "
            "distance its size is the speed."},
    {"breaker", CONF_GROUP, FIELD(raw_link, breaker), .group = &breaker_group, .doc = "See below."},
};

static const struct conf_group link_group = {
    .title = "links",
    .one = "a link",
    .doc = "A list of groups: copies from other clusters into this one, exactly once. Run by "
           "`kasaga worker` and by `kasaga link run`. See [links.md](links.md).",
    .size = sizeof(struct raw_link),
    .node_offset = offsetof(struct raw_link, node),
    KEYS(link_keys),
};

// These four describe members of struct config, so their fields count from its start.
#define PART(name, title_, doc_)                                                                   \
    static const struct conf_group name##_group = {                                                \
        .title = (title_), .one = (title_), .doc = (doc_), KEYS(name##_keys)}
PART(kafka, "kafka", "The cluster.");
PART(topics, "topics", "What `kasaga topics apply` creates.");
PART(lanes, "lanes", "Threads and transactions of a worker.");
PART(invoker, "invoker", "The pool for calls that may block.");
PART(log, "log", "Log lines.");

static const struct conf_key top_keys[] = {
    {"app", CONF_NAME, FIELD(raw_config, config.app), .required = true,
     .doc = "Every topic of kasaga's own is `<app>.<name>`, the consumer groups are `<app>` and "
            "`<app>.route`."},
    {"region", CONF_NAME, FIELD(raw_config, config.region), .fallback = "local",
     .doc = "Name of this cluster with its workers."},
    {"node", CONF_STRING, FIELD(raw_config, config.node), .shown = "the host's name",
     .doc = "Name of this worker: letters, digits, `.`, `_`, `-`, at most 48. `worker --node` "
            "overrides it. Two workers of an app must not have the same one."},
    {"shards", CONF_INT, FIELD(raw_config, config.shards), .fallback = "12", .min = 1, .max = 1024,
     .doc = "Partitions of the inbox, and so the most lanes that can share the work. Fixed when "
            "the app is created."},
    {"guarantee", CONF_ENUM, FIELD(raw_config, config.guarantee), .fallback = "exactly_once",
     .choices = guarantees,
     .doc = "`at_least_once` is for the mock brokers of `kasaga dev`: `worker` refuses it."},
    {"start_at", CONF_ENUM, FIELD(raw_config, config.start_at), .fallback = "earliest",
     .choices = starts,
     .doc = "Where `kasaga topics apply` lets a new app begin in its input topics."},
    {"inbox_keep", CONF_DURATION, FIELD(raw_config, config.inbox_keep_ms), .fallback = "7d",
     .min = MINUTE, .max = YEARS(10),
     .doc = "Processed records stay in the inbox for this long; others are never removed."},
    {"memory_max", CONF_SIZE, FIELD(raw_config, config.memory_max), .fallback = "512MiB",
     .min = MIB, .max = 1024 * (int64_t)GIB,
     .doc = "Memory of a worker, all of it: see *Memory and limits* in operations.md. When it is "
            "used up no new sagas are begun; what runs goes on. The least for the lanes is said by "
            "`kasaga check`."},
    {"state_max", CONF_SIZE, FIELD(raw_config, config.state_max), .fallback = "512KiB",
     .min = 4 * KIB, .max = 16 * MIB,
     .doc = "One state: key, start event, made inputs and results of one saga. A result that does "
            "not fit fails its step."},
    {"record_max", CONF_SIZE, FIELD(raw_config, config.record_max), .fallback = "950kB",
     .min = 16 * KIB, .max = 32 * MIB,
     .doc = "One record, as the topics take it. At least 8 KiB over `state_max`; over 950 kB raise "
            "`message.max.bytes` of the topics and in `kafka.properties` too."},
    {"dedupe_max", CONF_SIZE, FIELD(raw_config, config.dedupe_max), .fallback = "64MiB",
     .min = 64 * KIB, .max = GIB,
     .doc = "Memory of finished sagas, per shard, 24 to 32 bytes each. Beyond it the oldest are "
            "forgotten early."},
    {"plugin_path", CONF_STRINGS, FIELD(raw_config, plugin_path), .min = 0, .max = 16,
     .doc = "Directories in which libraries are looked for, see *Paths*."},
    {"kafka", CONF_GROUP, .group = &kafka_group, .doc = "See below."},
    {"topics", CONF_GROUP, .group = &topics_group, .doc = "See below."},
    {"lanes", CONF_GROUP, .group = &lanes_group, .doc = "See below."},
    {"invoker", CONF_GROUP, .group = &invoker_group, .doc = "See below."},
    {"log", CONF_GROUP, .group = &log_group, .doc = "See below."},
    {"actions", CONF_LIST, FIELD(raw_config, actions), .min = 0, .max = CONF_ACTIONS_MAX,
     .group = &action_group, .doc = "See below."},
    {"sagas", CONF_LIST, FIELD(raw_config, sagas), .min = 0, .max = CONF_SAGAS_MAX,
     .group = &saga_group, .doc = "See below."},
    {"regions", CONF_LIST, FIELD(raw_config, regions), .min = 0, .max = RESIDENCY_REGIONS_MAX,
     .group = &region_group, .doc = "See below."},
    {"residency", CONF_GROUP, FIELD(raw_config, residency), .group = &residency_group,
     .doc = "See below."},
    {"links", CONF_LIST, FIELD(raw_config, links), .min = 0, .max = CONF_LINKS_MAX,
     .group = &link_group, .doc = "See below."},
    {"link_slots", CONF_INT, FIELD(raw_config, config.link_slots), .fallback = "12", .min = 1,
     .max = 1024,
     .doc = "Partitions of `<app>.links`, and so the most lanes that can share a link. Fixed when "
            "it is created."},
    {"tenants", CONF_LIST, FIELD(raw_config, tenants), .min = 0, .max = CONF_TENANTS_MAX,
     .group = &tenant_group, .doc = "See below."},
};

const struct conf_group conf_top_group = {
    .title = "Top level",
    .one = "the file",
    .size = sizeof(struct raw_config),
    KEYS(top_keys),
};

const struct conf_group *const conf_groups[] = {
    &conf_top_group, &kafka_group,  &topics_group,    &lanes_group, &invoker_group,
    &log_group,      &action_group, &retry_group,     &saga_group,  &start_group,
    &step_group,     &region_group, &residency_group, &rule_group,  &tenant_group,
    &link_group,     &mirror_group, &breaker_group,   NULL,
};
