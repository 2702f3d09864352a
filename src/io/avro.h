// SPDX-License-Identifier: Apache-2.0
// Avro schemas from files, and their fingerprints. avro-c confirms that a schema is valid Avro; the
// tree is our own (core/avsc.h), because avro-c drops defaults and checks less. The only user of
// <avro.h>.
#ifndef KA_IO_AVRO_H
#define KA_IO_AVRO_H

#include "core/schema.h"

// The longest .avsc, in bytes.
enum { IO_AVRO_SCHEMA_MAX = 1024 * 1024 };

// Reads the schema in the file, or in `source`. *out and all it points to live in the arena.
// Errors: KA_ERR_IO (the file), KA_ERR_JSON and KA_ERR_AVRO (the schema), KA_ERR_TOO_LARGE; `text`
// names the file and the place in the schema. Any thread.
KA_MUST_USE enum ka_err io_avro_schema_load(const char *path, struct arena *arena,
                                            const struct schema **out, struct err_text *text);
KA_MUST_USE enum ka_err io_avro_schema_parse(struct slice source, struct arena *arena,
                                             const struct schema **out, struct err_text *text);

// The CRC-64-AVRO of the schema's Parsing Canonical Form: what single-object encoding puts before
// the data.
uint64_t io_avro_schema_fingerprint(const struct schema *schema);
// The same of the schema in a file; errors as io_avro_schema_load.
KA_MUST_USE enum ka_err io_avro_fingerprint(const char *path, uint64_t *out, struct err_text *text);

#endif
