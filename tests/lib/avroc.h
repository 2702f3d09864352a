// SPDX-License-Identifier: Apache-2.0
// The Avro C library as the second opinion on what kasaga writes and reads by itself.
#ifndef KA_TESTS_AVROC_H
#define KA_TESTS_AVROC_H

#include "core/buf.h"

#include <avro.h>

struct avroc {
    avro_schema_t schema;
    avro_value_iface_t *class_;
};

// Ends the test when the schema file cannot be used.
void avroc_init(struct avroc *avroc, const char *schema_path);
void avroc_fini(struct avroc *avroc);

// Decodes a single object, header included, to its last byte; the caller decrefs the value.
void avroc_decode(const struct avroc *avroc, struct slice object, avro_value_t *value);
// Appends the header with the fingerprint and the encoding of the value.
void avroc_encode(avro_value_t *value, uint64_t fingerprint, struct buf *object);

// Fields of a record by name.
int64_t avroc_long(avro_value_t *record, const char *field);       // int, long, enum, boolean
struct slice avroc_bytes(avro_value_t *record, const char *field); // string, bytes, fixed
avro_value_t avroc_item(avro_value_t *record, const char *field, size_t index);
size_t avroc_size(avro_value_t *record, const char *field);

#endif
