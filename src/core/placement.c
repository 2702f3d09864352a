// SPDX-License-Identifier: Apache-2.0
// The rules in order:
//
//   needs local data   here, whatever the step asks for
//   a region preferred there, as far as residency lets it; another one when it is down and may be
//   distributed        all that are available
//   anywhere           the least loaded of those that may have the data
//   else               here
//
// Loads are seconds old when they are used and never exact: of regions that are about as busy as
// the least busy one the closest is taken, so that steps do not travel for a few percent.
#include "core/placement.h"

#include "core/assert.h"
#include "core/json.h"

static bool may_run(const struct residency *residency, const struct residency_link *links,
                    enum data_class dataclass, int32_t home, int32_t region)
{
    struct residency_question question = {dataclass, home, region};
    struct residency_answer answer = residency_decide(residency, links, &question);
    return !residency_is_hub(residency, region) && answer.verdict == RESIDENCY_ALLOWED &&
           answer.region == region;
}

uint64_t placement_available(const struct residency *residency, const struct residency_link *links,
                             enum data_class dataclass, int32_t home)
{
    uint64_t regions = 0;
    for (int32_t i = 0; i < residency->region_count; i++)
        if (may_run(residency, links, dataclass, home, i))
            regions |= UINT64_C(1) << i;
    return regions;
}

static bool takes_more(const struct residency_link *link)
{
    return link->load_known && !link->full;
}

// This region knows of itself, also before its first beat.
static int32_t busy_of(const struct residency *residency, const struct residency_link *links,
                       int32_t region)
{
    return region == residency->here && !links[region].load_known ? 0 : links[region].busy;
}

static uint64_t candidates(const struct residency *residency, const struct residency_link *links,
                           const struct placement_question *question)
{
    uint64_t regions = placement_available(residency, links, question->dataclass, question->home);
    for (int32_t i = 0; i < residency->region_count; i++) {
        bool full =
            i == residency->here ? links[i].load_known && links[i].full : !takes_more(&links[i]);
        if (full)
            regions &= ~(UINT64_C(1) << i);
    }
    return regions != 0 ? regions : UINT64_C(1) << residency->here;
}

static int32_t least_loaded(const struct residency *residency, const struct residency_link *links,
                            uint64_t regions)
{
    int32_t least = INT32_MAX;
    int32_t best = REGION_NONE;
    int64_t best_ms = INT64_MAX;
    for (int32_t i = 0; i < residency->region_count; i++)
        if (regions >> i & 1 && busy_of(residency, links, i) < least)
            least = busy_of(residency, links, i);
    for (int32_t i = 0; i < residency->region_count; i++) {
        int64_t rtt_ms = i == residency->here ? -1 : links[i].rtt_ms;
        bool alike = regions >> i & 1 && busy_of(residency, links, i) - least < PLACEMENT_MARGIN;
        if (!alike || rtt_ms >= best_ms)
            continue;
        best = i;
        best_ms = rtt_ms;
    }
    return best;
}

static struct placement placed(const struct residency *residency, enum placement_rule rule,
                               int32_t region)
{
    return (struct placement){
        .outcome = region == residency->here ? PLACEMENT_LOCAL : PLACEMENT_REMOTE,
        .rule = rule,
        .region = region,
    };
}

static struct placement preferred(const struct residency *residency,
                                  const struct residency_link *links,
                                  const struct placement_question *question)
{
    struct residency_question asked = {question->dataclass, question->home, question->preferred};
    struct residency_answer answer = residency_decide(residency, links, &asked);
    struct placement placement = placed(residency, PLACED_PREFERRED, answer.region);
    if (answer.verdict == RESIDENCY_REFUSED)
        placement.outcome = PLACEMENT_REFUSED;
    placement.answer = answer;
    return placement;
}

struct placement placement_decide(const struct residency *residency,
                                  const struct residency_link *links,
                                  const struct placement_question *question)
{
    KA_ASSERT(residency->here >= 0 && residency->here < residency->region_count);
    if (question->local_data)
        return placed(residency, PLACED_LOCAL_DATA, residency->here);
    if (question->preferred != REGION_NONE)
        return preferred(residency, links, question);
    if (question->distributed)
        return (struct placement){
            .outcome = PLACEMENT_DISTRIBUTED,
            .rule = PLACED_DISTRIBUTED,
            .region = REGION_NONE,
            .regions = placement_available(residency, links, question->dataclass, question->home)};
    if (!question->anywhere)
        return placed(residency, PLACED_BY_DEFAULT, residency->here);
    return placed(residency, PLACED_LEAST_LOADED,
                  least_loaded(residency, links, candidates(residency, links, question)));
}

// ---- For people

const char *placement_rule_name(enum placement_rule rule)
{
    static const char *const names[] = {"local_data", "preferred", "distributed", "least_loaded",
                                        "default"};
    KA_ASSERT((size_t)rule < sizeof names / sizeof names[0]);
    return names[rule];
}

static void put_busy(struct buf *buf, const struct residency_link *link)
{
    if (!link->load_known)
        buf_str(buf, " unknown");
    else if (link->full)
        buf_str(buf, " full");
    else {
        buf_byte(buf, ' ');
        buf_i64(buf, link->busy / 10);
        buf_byte(buf, '%');
    }
}

// Where the data may go, with the load of each; of the others nothing is said.
static void put_loads(const struct residency *residency, const struct residency_link *links,
                      const struct placement_question *question, int32_t taken, struct buf *buf)
{
    uint64_t regions = placement_available(residency, links, question->dataclass, question->home);
    buf_slice_put(buf, residency->regions[taken]);
    put_busy(buf, &links[taken]);
    for (int32_t i = 0; i < residency->region_count; i++) {
        if (i == taken || !(regions >> i & 1))
            continue;
        buf_str(buf, ", ");
        buf_slice_put(buf, residency->regions[i]);
        put_busy(buf, &links[i]);
    }
}

static void put_available(const struct residency *residency, uint64_t regions, struct buf *buf)
{
    const char *between = ": available ";
    for (int32_t i = 0; i < residency->region_count; i++) {
        if (!(regions >> i & 1))
            continue;
        buf_str(buf, between);
        buf_slice_put(buf, residency->regions[i]);
        between = ", ";
    }
}

void placement_explain(const struct residency *residency, const struct residency_link *links,
                       const struct placement_question *question, const struct placement *placement,
                       struct buf *buf)
{
    KA_ASSERT(placement->outcome != PLACEMENT_REFUSED);
    buf_str(buf, placement_rule_name(placement->rule));
    switch (placement->rule) {
    case PLACED_LEAST_LOADED:
        buf_str(buf, ": ");
        put_loads(residency, links, question, placement->region, buf);
        break;
    case PLACED_PREFERRED:
        buf_str(buf, ": ");
        buf_slice_put(buf, residency->regions[question->preferred]);
        if (placement->answer.verdict == RESIDENCY_WAITS)
            buf_str(buf, " is down, waits");
        else if (placement->answer.verdict == RESIDENCY_REROUTE) {
            buf_str(buf, " is down, ");
            buf_slice_put(buf, residency->regions[placement->region]);
            buf_str(buf, " instead");
        }
        break;
    case PLACED_DISTRIBUTED:
        put_available(residency, placement->regions, buf);
        break;
    case PLACED_LOCAL_DATA:
    case PLACED_BY_DEFAULT:
        break;
    }
}

// ---- Load

int32_t placement_busy(const struct placement_beat *beats, size_t count)
{
    int64_t lag = 0, calls = 0, capacity = 0, cpu = 0;
    KA_ASSERT(count > 0);
    for (size_t i = 0; i < count; i++) {
        lag = beats[i].lag > lag ? beats[i].lag : lag; // each says it of the region
        calls += beats[i].in_flight;
        capacity += beats[i].capacity;
        cpu += beats[i].cpu;
    }
    int64_t busy = cpu / (int64_t)count;
    int64_t of_calls = 1000 * calls / (capacity > 0 ? capacity : 1);
    int64_t of_lag = 1000 * lag / (PLACEMENT_LAG_FULL * (int64_t)count);
    busy = of_calls > busy ? of_calls : busy;
    busy = of_lag > busy ? of_lag : busy;
    return (int32_t)(busy < PLACEMENT_BUSY_MAX ? busy : PLACEMENT_BUSY_MAX);
}

int32_t placement_smooth(int32_t before, int32_t now)
{
    return (before + now) / 2;
}

// ---- The form of a beat

static void put_number(struct buf *buf, const char *name, int64_t value)
{
    buf_str(buf, ",\"");
    buf_str(buf, name);
    buf_str(buf, "\":");
    buf_i64(buf, value);
}

void placement_beat_format(const struct placement_beat *beat, struct buf *buf)
{
    buf_str(buf, "{\"node\":");
    buf_json_str(buf, beat->node);
    put_number(buf, "time_ms", beat->time_ms);
    put_number(buf, "lag", beat->lag);
    put_number(buf, "in_flight", beat->in_flight);
    put_number(buf, "capacity", beat->capacity);
    put_number(buf, "cpu", beat->cpu);
    buf_str(buf, beat->held ? ",\"held\":true}" : ",\"held\":false}");
}

enum ka_err placement_beat_parse(struct slice data, struct arena *arena,
                                 struct placement_beat *beat, struct err_text *text)
{
    const int64_t most = INT64_C(1) << 40; // sums of them stay far below what a number can be
    const struct {
        const char *name;
        int64_t *value;
        int64_t max;
    } numbers[] = {{"time_ms", &beat->time_ms, INT64_MAX},
                   {"lag", &beat->lag, most},
                   {"in_flight", &beat->in_flight, most},
                   {"capacity", &beat->capacity, most},
                   {"cpu", &beat->cpu, most}};
    enum ka_err err = json_validate(data, text);
    if (err == KA_OK && json_type(data) != JSON_OBJECT)
        err = err_set(text, KA_ERR_ENVELOPE, "it is no JSON object");
    if (err != KA_OK)
        return err_wrap(text, KA_ERR_ENVELOPE, "a beat of a node");
    *beat = (struct placement_beat){.node = SLICE_NONE};
    struct slice node = json_member(data, SLICE_LIT("node"));
    if (slice_none(node) || json_type(node) != JSON_STRING)
        return err_set(text, KA_ERR_ENVELOPE, "a beat of a node: \"node\" is missing or wrong");
    beat->node = json_text(json_trim(node), arena);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct slice value = json_member(data, slice_str(numbers[i].name));
        if (slice_none(value) || !json_i64(value, numbers[i].value) || *numbers[i].value < 0 ||
            *numbers[i].value > numbers[i].max)
            return err_set(text, KA_ERR_ENVELOPE, "a beat of a node: \"%s\" is missing or wrong",
                           numbers[i].name);
    }
    struct slice held = json_member(data, SLICE_LIT("held"));
    beat->held = !slice_none(held) && json_type(held) == JSON_TRUE;
    return KA_OK;
}
