// SPDX-License-Identifier: Apache-2.0
// Avro schemas as text (.avsc): parsed into the tree of core/schema.h, and written in Parsing
// Canonical Form. Stricter than avro-c, which takes duplicate fields, bad symbols and nested
// unions, and drops defaults. Not for schemas spread over several files: a name must be defined
// in the text before it is used. logicalType, doc, aliases and order are accepted and ignored.
#ifndef KA_CORE_AVSC_H
#define KA_CORE_AVSC_H

#include "core/schema.h"

// Parses `source` (Avro 1.11, "Schema Declaration"). *out and all it points to live in the arena;
// defaults are slices of a copy of the source there. References to named types are pointers, so the
// tree of a recursive type has cycles. Defaults must fit their type, that of a union its first
// branch. Errors: KA_ERR_JSON, or KA_ERR_AVRO with the place in front, as in
// "shop.Order.items: field 'sku' is defined twice".
KA_MUST_USE enum ka_err avsc_parse(struct slice source, struct arena *arena,
                                   const struct schema **out, struct err_text *text);

// Appends the Parsing Canonical Form (Avro 1.11, "Transforming into Parsing Canonical Form").
void avsc_canonical(const struct schema *schema, struct buf *buf);

#endif
