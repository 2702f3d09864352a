// SPDX-License-Identifier: Apache-2.0
#include "cmd/cmd_app.h"

#include <stdio.h>

bool cmd_app_open(const struct cmd_common *common, struct cmd_app *app, int *exit_code)
{
    struct conf_report report = {0};
    struct err_text text = {""};
    *app = (struct cmd_app){0};
    *exit_code = CMD_USAGE;
    if (common->config == NULL) {
        cmd_complain(CMD_USAGE, "no configuration: -c FILE or KASAGA_CONFIG");
        return false;
    }
    enum ka_err err = io_conf_load(common->config, &app->config, &report);
    if (err != KA_OK) {
        struct buf buf = {0};
        conf_report_text(&report, &buf);
        fwrite(buf.ptr, 1, buf.len, stderr);
        buf_fini(&buf);
        conf_report_fini(&report);
        *exit_code = cmd_complain(CMD_BAD_CONFIG, "%s: the configuration is wrong", common->config);
        return false;
    }
    conf_report_fini(&report);
    const struct config_kafka *kafka = &app->config->kafka;
    app->kafka = (struct io_kafka_config){
        .bootstrap = common->bootstrap != NULL ? common->bootstrap : kafka->bootstrap,
        .client_id = "kasaga",
        .property_names = kafka->property_names,
        .property_values = kafka->property_values,
        .property_count = kafka->property_count,
        .session_timeout_ms = kafka->session_timeout_ms,
        .transaction_timeout_ms = kafka->transaction_timeout_ms,
    };
    err = io_kafka_admin_new(&app->kafka, &app->admin, &text);
    if (err == KA_OK)
        return true;
    *exit_code = cmd_fail(err, &text);
    io_conf_free(&app->config);
    return false;
}

void cmd_app_close(struct cmd_app *app)
{
    io_kafka_admin_free(&app->admin);
    arena_fini(&app->arena);
    io_conf_free(&app->config);
}

const char *cmd_app_topic(struct cmd_app *app, const char *name)
{
    char topic[300];
    snprintf(topic, sizeof topic, "%s.%s", app->config->app, name);
    return arena_str(&app->arena, slice_str(topic));
}

int cmd_app_check_topic(struct cmd_app *app, const char *topic, int32_t partitions)
{
    struct err_text text = {""};
    int32_t found = 0;
    enum ka_err err = io_kafka_partition_count(app->admin, topic, CMD_CALL_MS, &found, &text);
    if (err != KA_OK)
        return cmd_fail(err, &text);
    if (found == 0)
        return cmd_complain(CMD_FAILED, "there is no topic %s: kasaga topics apply creates it",
                            topic);
    if (found != partitions)
        return cmd_complain(CMD_BAD_CONFIG, "topic %s has %d partitions, shards = %d", topic, found,
                            partitions);
    return CMD_OK;
}

bool cmd_key_ok(const char *key)
{
    const char *slash = strchr(key, '/');
    return slash != NULL && slash != key && slash[1] != '\0';
}
