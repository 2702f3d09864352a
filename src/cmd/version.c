// SPDX-License-Identifier: Apache-2.0
#include "cmd/cmd.h"
#include "io/kafka.h"

#ifndef KASAGA_VERSION
#define KASAGA_VERSION "0.0.0"
#endif

int cmd_version(int argc, char **argv)
{
    static const struct cmd_spec spec = {
        .synopsis = "version",
        .summary = "The version of kasaga and of the Kafka library it runs on.",
    };
    struct cmd_common common;
    struct cmd_words words;
    int code;
    if (!cmd_parse(&spec, argc, argv, &common, &words, &code))
        return code;
    struct buf buf = {0};
    if (common.output == CMD_TEXT) {
        buf_str(&buf, "kasaga " KASAGA_VERSION " (");
        buf_str(&buf, io_kafka_version());
        buf_str(&buf, ")\n");
    } else {
        buf_str(&buf, "{\"version\":\"" KASAGA_VERSION "\",\"kafka\":");
        buf_json_str(&buf, slice_str(io_kafka_version()));
        buf_str(&buf, "}\n");
    }
    code = cmd_flush(&buf) ? CMD_OK : CMD_FAILED;
    buf_fini(&buf);
    return code;
}
