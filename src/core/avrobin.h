// SPDX-License-Identifier: Apache-2.0
// Avro binary encoding, the primitives only: a writer and a bounded reader for the few records
// that kasaga itself writes (Avro 1.11 specification, "Binary encoding", "Single-object encoding
// specification"). Not for schemas of users: those go through io/avro.h.
#ifndef KA_CORE_AVROBIN_H
#define KA_CORE_AVROBIN_H

#include "core/buf.h"
#include "core/err.h"
#include "core/slice.h"

// C3 01 and the CRC-64-AVRO fingerprint of the writer's schema, little endian.
enum { AVROBIN_HEADER_SIZE = 10 };

void avrobin_put_header(struct buf *buf, uint64_t fingerprint);
void avrobin_put_long(struct buf *buf, int64_t value); // also int and enum: zigzag, 1 to 10 bytes
void avrobin_put_boolean(struct buf *buf, bool value);
void avrobin_put_bytes(struct buf *buf, struct slice s); // also string; absent is written as empty
void avrobin_put_fixed(struct buf *buf, const void *bytes, size_t size);

// Reads from front to back. The first failure is kept (field and reason) and everything after it
// reads as zero, so a decoder asks once, at the end. Returned slices point into the bytes.
struct avrobin_reader {
    const unsigned char *start;
    const unsigned char *at;
    const unsigned char *end;
    const char *field; // that failed; NULL = none so far
    const char *reason;
    size_t failed_at; // byte offset
};

// Checks the two marker bytes and gives the fingerprint. KA_ERR_AVRO when it is no single object.
KA_MUST_USE enum ka_err avrobin_open(struct avrobin_reader *reader, struct slice bytes,
                                     uint64_t *fingerprint, struct err_text *text);

int64_t avrobin_long(struct avrobin_reader *reader, const char *field, int64_t min, int64_t max);
int32_t avrobin_int(struct avrobin_reader *reader, const char *field, int32_t min, int32_t max);
int avrobin_enum(struct avrobin_reader *reader, const char *field, int symbols);
bool avrobin_boolean(struct avrobin_reader *reader, const char *field);
// bytes or string of at most `max` bytes. SLICE_NONE when empty.
struct slice avrobin_bytes(struct avrobin_reader *reader, const char *field, size_t max);
struct slice avrobin_fixed(struct avrobin_reader *reader, const char *field, size_t size);
// The number of items of the next block of an array, 0 at its end; `room` is how many more items
// the caller takes. An array is read as: while ((n = avrobin_block(...)) > 0) read n items.
size_t avrobin_block(struct avrobin_reader *reader, const char *field, size_t room);

// Marks the field as wrong; the first mark stays.
void avrobin_refuse(struct avrobin_reader *reader, const char *field, const char *reason);
// KA_OK when nothing failed and nothing is left; else KA_ERR_AVRO with "field f at byte n: reason".
KA_MUST_USE enum ka_err avrobin_close(struct avrobin_reader *reader, struct err_text *text);

// KA_ERR_VERSION: "<what> written with the schema <fingerprint in hex>, which is not known here".
enum ka_err avrobin_unknown(const char *what, uint64_t fingerprint, struct err_text *text);

// The same for a form with one schema: whatever fails names `what`.
KA_MUST_USE enum ka_err avrobin_open_form(struct avrobin_reader *reader, struct slice bytes,
                                          const char *what, uint64_t wanted, struct err_text *text);
KA_MUST_USE enum ka_err avrobin_close_form(struct avrobin_reader *reader, const char *what,
                                           struct err_text *text);

#endif
