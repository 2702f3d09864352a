// SPDX-License-Identifier: Apache-2.0
// Links: where they copy from, what, and whether it may come here.
#include "io/conf_int.h"

enum { SOURCE_MAX = 24 };

static int32_t region_of(const struct config *config, const char *name)
{
    return config->residency == NULL ? REGION_NONE
                                     : residency_region(config->residency, slice_str(name));
}

// Decided by the rules as the source has them: what is at home there goes here or it does not.
static void check_class(struct conf *conf, const struct raw_link *link,
                        const struct raw_mirror *mirror)
{
    const struct config *config = conf->config;
    int32_t source = region_of(config, link->source);
    if (source == REGION_NONE || config->residency->here == REGION_NONE || mirror->dataclass < 0)
        return;
    const struct residency_question question = {.dataclass = (enum data_class)mirror->dataclass,
                                                .home = source,
                                                .destination = config->residency->here};
    struct residency there = *config->residency;
    there.here = source;
    if (config->hub) {
        if (!residency_may_copy(&there, source, question.destination, question.dataclass))
            conf_error(conf, conf_at(mirror->node, "class"),
                       "%s may not be mirrored: no rule lets %s data of %s go to the hub %s",
                       mirror->match == NULL ? "" : mirror->match,
                       data_class_name(question.dataclass), link->source, config->region);
        return;
    }
    struct residency_answer answer = residency_decide(&there, config->links, &question);
    struct err_text text = {""};
    if (answer.verdict == RESIDENCY_ALLOWED && answer.region == question.destination)
        return;
    residency_explain(&there, &question, &answer, &text);
    conf_error(conf, conf_at(mirror->node, "class"), "%s may not be mirrored: %s",
               mirror->match == NULL ? "" : mirror->match, text.text);
}

static void check_source(struct conf *conf, const struct raw_link *links, size_t index)
{
    const struct raw_link *link = &links[index];
    const struct conf_node *at = conf_at(link->node, "source");
    const struct config *config = conf->config;
    if (strlen(link->source) > SOURCE_MAX)
        conf_error(conf, at, "\"source\" has at most %d characters: it is part of client ids",
                   SOURCE_MAX);
    if (config->region != NULL && strcmp(link->source, config->region) == 0)
        conf_error(conf, at, "\"%s\" is this region: a link copies from another one", link->source);
    for (size_t i = 0; i < index; i++)
        if (links[i].source != NULL && strcmp(links[i].source, link->source) == 0)
            conf_error(conf, at, "there is a link from \"%s\" already, in line %d", link->source,
                       links[i].node->line);
    int32_t source = region_of(config, link->source);
    if (source != REGION_NONE && config->regions[source].hub)
        conf_error(conf, at, "\"%s\" is a hub: nothing is copied from there", link->source);
    if (config->hub && link->commands && conf_child(link->node, "commands") != NULL)
        conf_error(conf, conf_at(link->node, "commands"),
                   "this region, \"%s\", is a hub: no commands come here", config->region);
    if (source == REGION_NONE && link->topics.count > 0)
        conf_error(conf, at,
                   "\"%s\" is not among the regions: nothing may be mirrored from there without a "
                   "rule that lets it leave",
                   link->source);
}

static void build_mirrors(struct conf *conf, const struct raw_link *from, struct config_link *link)
{
    const struct raw_mirror *raw = from->topics.items;
    struct config_mirror *mirrors =
        arena_zalloc(conf->memory, (from->topics.count + 1) * sizeof *mirrors);
    for (size_t i = 0; i < from->topics.count; i++) {
        mirrors[i] = (struct config_mirror){raw[i].match == NULL ? "" : raw[i].match,
                                            (enum data_class)raw[i].dataclass};
        if (from->source != NULL)
            check_class(conf, from, &raw[i]);
    }
    link->mirrors = mirrors;
    link->mirror_count = from->topics.count;
}

void conf_build_links(struct conf *conf, const struct raw_config *raw)
{
    const struct raw_link *from = raw->links.items;
    struct config *config = conf->config;
    struct config_link *links = arena_zalloc(conf->memory, (raw->links.count + 1) * sizeof *links);
    config->link_list = links;
    config->link_count = raw->links.count;
    for (size_t i = 0; i < raw->links.count; i++) {
        struct config_link *link = &links[i];
        *link = (struct config_link){
            .source = from[i].source == NULL ? "" : from[i].source,
            .kafka = {.bootstrap = from[i].bootstrap,
                      .session_timeout_ms = config->kafka.session_timeout_ms,
                      .transaction_timeout_ms = config->kafka.transaction_timeout_ms},
            .app = from[i].app == NULL ? config->app : from[i].app,
            .naming = (enum link_naming)from[i].naming,
            .commands = from[i].commands && !config->hub,
            .start_at = (enum conf_start_at)from[i].start_at,
            .lanes = from[i].lanes,
            .refresh_ms = from[i].refresh_ms,
            .queue = from[i].queue,
            .fetch = from[i].fetch,
            .breaker_threshold = from[i].breaker.threshold,
            .breaker_timeout_ms = from[i].breaker.timeout_ms,
            .node = from[i].node,
        };
        if (from[i].source != NULL)
            check_source(conf, from, i);
        build_mirrors(conf, &from[i], link);
        conf_build_properties(conf, from[i].properties, &link->kafka);
    }
}
