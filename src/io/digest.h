// SPDX-License-Identifier: Apache-2.0
// SHA-256, for identities: of definitions and schemas. Not for secrets and not for partitions
// (core/hash.h).
#ifndef KA_IO_DIGEST_H
#define KA_IO_DIGEST_H

#include "core/def.h"
#include "core/slice.h"

enum { DIGEST_SIZE = 32 };

// FIPS 180-4. An absent slice counts as empty. Any thread.
void digest_sha256(struct slice bytes, unsigned char digest[DIGEST_SIZE]);
// The first DEF_ID_SIZE bytes of it: the identity of a definition.
struct def_id digest_def_id(struct slice json);
// Lower-case hexadecimal with a NUL: 2 * len + 1 bytes.
void digest_hex(const unsigned char *bytes, size_t len, char *hex);

#endif
