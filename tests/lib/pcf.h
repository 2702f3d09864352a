// SPDX-License-Identifier: Apache-2.0
// The fingerprint of a schema file, computed the long way round: Parsing Canonical Form (Avro
// specification, "Parsing Canonical Form for Schemas") and CRC-64-AVRO. For tests of the constants
// in the core.
#ifndef KA_TESTS_PCF_H
#define KA_TESTS_PCF_H

#include "core/buf.h"

// Appends the canonical form of the schema in the file; false if it cannot be read.
bool pcf_read(const char *path, struct buf *canonical);
uint64_t pcf_fingerprint(const char *path);
// True if docs/formats.md names the fingerprint.
bool pcf_documented(uint64_t fingerprint);

#endif
