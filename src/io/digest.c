// SPDX-License-Identifier: Apache-2.0
#include "io/digest.h"

#include <openssl/evp.h>
#include <stdlib.h>

void digest_sha256(struct slice bytes, unsigned char digest[DIGEST_SIZE])
{
    unsigned int len = 0;
    const char *ptr = bytes.ptr == NULL ? "" : bytes.ptr;
    // Fails only without memory or with a broken libcrypto: as an arena, it cannot go on.
    if (EVP_Digest(ptr, bytes.len, digest, &len, EVP_sha256(), NULL) != 1 || len != DIGEST_SIZE)
        abort();
}

struct def_id digest_def_id(struct slice json)
{
    struct def_id id;
    unsigned char digest[DIGEST_SIZE];
    digest_sha256(json, digest);
    memcpy(id.bytes, digest, sizeof id.bytes);
    return id;
}

void digest_hex(const unsigned char *bytes, size_t len, char *hex)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        hex[2 * i] = digits[bytes[i] >> 4];
        hex[2 * i + 1] = digits[bytes[i] & 15];
    }
    hex[2 * len] = '\0';
}
