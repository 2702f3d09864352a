// SPDX-License-Identifier: Apache-2.0
// The chain of a shard's audit records: each holds the SHA-256 of the value of the one before, and
// the committed offset's metadata holds that of the last. So a record that is changed, left out,
// put in or cut off at the end later is found (kasaga audit verify). One writer per partition makes
// it a chain: the shard of that number, whose end of it comes and goes with its transactions.
#include "core/assert.h"
#include "core/shard_internal.h"

static void put_hex(struct buf *buf, const unsigned char *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        buf_byte(buf, digits[bytes[i] >> 4]);
        buf_byte(buf, digits[bytes[i] & 15]);
    }
}

static void put_member(struct buf *buf, const char *name, struct slice text)
{
    if (text.len == 0)
        return;
    buf_str(buf, ",\"");
    buf_str(buf, name);
    buf_str(buf, "\":");
    buf_json_str(buf, text);
}

static struct slice region_name(const struct residency *residency, int32_t region)
{
    return region < 0 || region >= residency->region_count ? SLICE_NONE
                                                           : residency->regions[region];
}

static void put_envelope(struct buf *buf, const struct shard_turn *turn,
                         const struct shard_refusal *refusal)
{
    const struct shard_config *config = &turn->shards->config;
    buf_str(buf, "{\"specversion\":\"1.0\",\"id\":\"");
    buf_slice_put(buf, config->audit_topic); // a topic's name needs no escapes
    buf_byte(buf, '/');
    buf_i64(buf, turn->partition->partition);
    buf_byte(buf, '#');
    buf_i64(buf, turn->shard->audit.sequence + 1);
    buf_byte(buf, '"');
    put_member(buf, "source", config->source);
    put_member(buf, "type", SLICE_LIT("kasaga.residency.refused"));
    put_member(buf, "subject", refusal->key);
    buf_str(buf, ",\"time\":");
    buf_json_time(buf, turn->batch->now_ms);
    put_member(buf, "datacontenttype", SLICE_LIT("application/json"));
    put_member(buf, "tenant", refusal->tenant);
    put_member(buf, "dataclass", slice_str(data_class_name(refusal->question.dataclass)));
    put_member(buf, "cause", turn->cause);
    put_member(buf, "executedby", slice_str(config->node));
}

void shard_audit(struct shard_turn *turn, const struct shard_refusal *refusal)
{
    const struct shard_config *config = &turn->shards->config;
    struct meta_audit *audit = &turn->shard->audit;
    struct buf *buf = &turn->batch->scratch;
    KA_ASSERT(config->sha256 != NULL && config->residency != NULL);
    size_t from = buf->len;
    put_envelope(buf, turn, refusal);
    buf_str(buf, ",\"data\":{\"sequence\":");
    buf_i64(buf, audit->sequence + 1);
    buf_str(buf, ",\"previous\":\"");
    put_hex(buf, audit->hash, sizeof audit->hash);
    buf_byte(buf, '"');
    buf_str(buf, ",\"incarnation\":");
    buf_i64(buf, refusal->incarnation);
    put_member(buf, "step", slice_str(refusal->step));
    put_member(buf, "action", slice_str(refusal->action));
    put_member(buf, "home", region_name(config->residency, refusal->question.home));
    put_member(buf, "destination", region_name(config->residency, refusal->question.destination));
    put_member(buf, "message", refusal->message);
    buf_str(buf, "}}");
    struct output output = {
        .topic = config->audit_topic,
        .partition = turn->partition->partition,
        .key = refusal->key,
        .value = buf_take(buf, from, &turn->batch->arena),
    };
    buf->len = from;
    config->sha256(output.value, audit->hash);
    audit->sequence++;
    lane_batch_output(turn->batch, &output, LANE_NO_TAG);
}
