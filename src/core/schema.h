// SPDX-License-Identifier: Apache-2.0
// Parameter schemas: an Avro schema as a tree of nodes, and the check of JSON bytes against it
// (the JSON encoding people write by hand: unions without a type wrapper, bytes as strings).
// The tree is built by the edge from an .avsc (io/avro.h); this file only walks.
#ifndef KA_CORE_SCHEMA_H
#define KA_CORE_SCHEMA_H

#include "core/buf.h"
#include "core/err.h"
#include "core/slice.h"

// Bounds that the loader keeps: they let a check run without allocating.
enum { SCHEMA_FIELDS_MAX = 256, SCHEMA_NAMED_MAX = 256 };

enum schema_type {
    SCHEMA_NULL,
    SCHEMA_BOOLEAN,
    SCHEMA_INT,
    SCHEMA_LONG,
    SCHEMA_FLOAT,
    SCHEMA_DOUBLE,
    SCHEMA_BYTES,
    SCHEMA_STRING,
    SCHEMA_FIXED,
    SCHEMA_ENUM,
    SCHEMA_ARRAY,
    SCHEMA_MAP,
    SCHEMA_RECORD,
    SCHEMA_UNION
};

struct schema_field {
    const char *name;
    const struct schema *type;
    bool has_default;           // the field may be missing
    struct slice default_value; // JSON as it stands in the .avsc; SLICE_NONE without a default
};

struct schema {
    enum schema_type type;
    const char *name;             // full name of records, enums and fixed ("shop.Order"), else NULL
    const struct schema *element; // array, map
    const struct schema_field *fields; // record
    size_t field_count;
    const struct schema *const *branches; // union
    size_t branch_count;
    const char *const *symbols; // enum
    size_t symbol_count;
    size_t fixed_size;
};

// KA_ERR_SCHEMA with "field a.b[2]: expected long, found string" in `text`: places and types, never
// values. `value` is valid JSON. An integer may be written 1.0 or 1e3. Of repeated members every
// one must fit. Members that the schema does not name are accepted (open validation) unless
// `closed`. Recursive schemas are bounded by the depth of the document.
KA_MUST_USE enum ka_err schema_check(const struct schema *schema, struct slice value, bool closed,
                                     struct err_text *text);

// Appends the JSON Schema (draft 2020-12) of the Avro schema, for tools.
void schema_json_schema(const struct schema *schema, struct buf *buf);

#endif
