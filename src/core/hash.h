// SPDX-License-Identifier: Apache-2.0
// Hash functions. None of them is for security.
#ifndef KA_CORE_HASH_H
#define KA_CORE_HASH_H

#include "core/slice.h"

// Murmur2, 32 bit, as in org.apache.kafka.common.utils.Utils: the partition of a key must be the
// one the Java client computes.
uint32_t hash_murmur2(struct slice key);
// The Java client's default partition of a key: toPositive(murmur2(key)) % partitions.
int32_t hash_partition(struct slice key, int32_t partitions);

// 64 bit, fast, well mixed; stable over versions (it is stored in dedupe entries).
uint64_t hash_bytes(struct slice s, uint64_t seed);
// The mixer alone: splitmix64. Also the seeded source of jitter.
uint64_t hash_mix(uint64_t value);

// CRC-64-AVRO of the Avro specification, "Schema Fingerprints".
uint64_t hash_crc64_avro(struct slice s);

#endif
