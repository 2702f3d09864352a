// SPDX-License-Identifier: Apache-2.0
// libjq 1.6 as the engine of expressions that the native slicer of core/expr.h does not know.
// The only user of <jq.h>. Not for values that must keep their digits: libjq parses the whole
// document and prints it again, numbers as doubles (123456789012345678 becomes ...680).
//
// Costs measured for 200 bytes: 17 ms to compile (libjq reads its own library each time), about
// 10 us to evaluate. The first output counts; a result over EXPR_OUTPUT_MAX bytes is
// KA_ERR_TOO_LARGE. libjq's parser refuses more than 256 levels; json_validate has refused more
// than JSON_DEPTH_MAX before.
//
// libjq reads $HOME/.jq when that is a file and takes its functions over its own. Two workers
// would then compute different things, so compiling is refused while there is such a file.
#ifndef KA_IO_JQ_H
#define KA_IO_JQ_H

#include "core/expr.h"

// Programs of different expressions may run on different threads at the same time.
extern const struct expr_engine io_jq_engine;

#endif
