// SPDX-License-Identifier: Apache-2.0
#include "core/hash.h"

#include "core/assert.h"

uint32_t hash_murmur2(struct slice key)
{
    const uint32_t m = 0x5bd1e995;
    const unsigned char *data = (const unsigned char *)key.ptr;
    size_t len = key.len;
    uint32_t h = 0x9747b28cU ^ (uint32_t)len;
    for (; len >= 4; data += 4, len -= 4) {
        uint32_t k = (uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 |
                     (uint32_t)data[3] << 24;
        k *= m;
        k ^= k >> 24;
        k *= m;
        h *= m;
        h ^= k;
    }
    if (len >= 3)
        h ^= (uint32_t)data[2] << 16;
    if (len >= 2)
        h ^= (uint32_t)data[1] << 8;
    if (len >= 1) {
        h ^= data[0];
        h *= m;
    }
    h ^= h >> 13;
    h *= m;
    h ^= h >> 15;
    return h;
}

int32_t hash_partition(struct slice key, int32_t partitions)
{
    KA_ASSERT(partitions > 0);
    return (int32_t)(hash_murmur2(key) & 0x7fffffffU) % partitions;
}

uint64_t hash_mix(uint64_t value)
{
    value += 0x9E3779B97F4A7C15ULL;
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ULL;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBULL;
    return value ^ (value >> 31);
}

uint64_t hash_bytes(struct slice s, uint64_t seed)
{
    uint64_t h = hash_mix(seed ^ (uint64_t)s.len);
    const char *at = s.ptr;
    size_t len = s.len;
    for (; len >= 8; at += 8, len -= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        h = hash_mix(h ^ word);
    }
    if (len > 0) {
        uint64_t word = 0;
        memcpy(&word, at, len);
        h = hash_mix(h ^ word);
    }
    return h;
}

uint64_t hash_crc64_avro(struct slice s)
{
    const uint64_t empty = 0xc15d213aa4d7a795ULL;
    uint64_t fp = empty;
    for (size_t i = 0; i < s.len; i++) {
        fp ^= (unsigned char)s.ptr[i];
        for (int bit = 0; bit < 8; bit++)
            fp = (fp >> 1) ^ (empty & (0 - (fp & 1)));
    }
    return fp;
}
