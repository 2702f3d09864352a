// SPDX-License-Identifier: Apache-2.0
// Checked from the end, which the shard has committed, to the beginning: a record is good when the
// one behind it, which is good, holds its hash. Of a record that is not good nothing is believed
// but where it stands.
#include "core/audit.h"

#include "core/json.h"

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_hash(struct slice text, unsigned char hash[META_HASH_SIZE])
{
    if (text.len != (size_t)2 * META_HASH_SIZE + 2 || text.ptr[0] != '"')
        return false;
    for (size_t i = 0; i < META_HASH_SIZE; i++) {
        int high = digit_of(text.ptr[1 + 2 * i]);
        int low = digit_of(text.ptr[2 + 2 * i]);
        if (high < 0 || low < 0)
            return false;
        hash[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

void audit_read(const struct record *record, audit_sha256 *sha256, struct audit_record *out)
{
    *out = (struct audit_record){.offset = record->offset};
    sha256(record->value, out->hash);
    if (record->value.len == 0 || json_validate(record->value, NULL) != KA_OK)
        return;
    struct slice data = json_member(record->value, SLICE_LIT("data"));
    struct slice subject = json_member(record->value, SLICE_LIT("subject"));
    struct slice sequence = json_member(data, SLICE_LIT("sequence"));
    struct slice previous = json_trim(json_member(data, SLICE_LIT("previous")));
    bool good = !slice_none(subject) && json_type(subject) == JSON_STRING &&
                json_text_is(json_trim(subject), record->key) && !slice_none(sequence) &&
                json_i64(sequence, &out->sequence) && out->sequence > 0 &&
                read_hash(previous, out->previous);
    if (!good)
        out->sequence = 0;
}

struct verify {
    struct audit_finding *findings;
    size_t count;
    struct meta_audit want; // the record that should stand here
    bool certain;           // want.hash comes from a record that is good
    int64_t behind;         // offset of the record behind it; -1 = the end
};

static void find(struct verify *verify, enum audit_finding_type type, int64_t offset, int64_t first,
                 int64_t last)
{
    verify->findings[verify->count++] = (struct audit_finding){type, offset, first, last};
}

static void expect(struct verify *verify, const struct audit_record *record, bool certain)
{
    verify->want.sequence = record->sequence - 1;
    memcpy(verify->want.hash, record->previous, META_HASH_SIZE);
    verify->certain = certain;
    verify->behind = record->offset;
}

static void look_at(struct verify *verify, const struct audit_record *record)
{
    struct meta_audit *want = &verify->want;
    bool same = memcmp(record->hash, want->hash, META_HASH_SIZE) == 0;
    if (record->sequence == 0 || record->sequence > want->sequence) {
        find(verify, AUDIT_PUT_IN, record->offset, record->sequence, record->sequence);
        return;
    }
    if (record->sequence < want->sequence) {
        find(verify, AUDIT_MISSING, verify->behind, record->sequence + 1, want->sequence);
        expect(verify, record, false); // nobody holds its hash
        return;
    }
    if (!same && verify->certain)
        find(verify, AUDIT_ALTERED, record->offset, record->sequence, record->sequence);
    expect(verify, record, same);
}

void audit_verify(const struct audit_record *records, size_t count, const struct meta_audit *end,
                  bool trimmed, struct arena *arena, const struct audit_finding **findings,
                  size_t *finding_count)
{
    struct verify verify = {.findings = arena_zalloc(arena, (count + 1) * sizeof *verify.findings),
                            .want = *end,
                            .certain = end->sequence > 0,
                            .behind = -1};
    for (size_t i = count; end->sequence == 0 && verify.want.sequence == 0 && i-- > 0;)
        verify.want.sequence = records[i].sequence; // the last that can be read
    for (size_t i = count; i-- > 0;)
        look_at(&verify, &records[i]);
    if (verify.want.sequence > 0)
        find(&verify, trimmed ? AUDIT_GONE : AUDIT_MISSING, verify.behind, 1, verify.want.sequence);
    *findings = verify.findings;
    *finding_count = verify.count;
}
