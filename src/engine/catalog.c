// SPDX-License-Identifier: Apache-2.0
// The follower thread owns the reader; everybody else sees the table under a lock. Writes go
// through one plain idempotent producer and count only when the follower has read them back.
#include "engine/catalog.h"

#include "core/assert.h"
#include "core/json.h"
#include "engine/kill.h"
#include "io/clock.h"
#include "io/kafka_producer.h"
#include "io/log.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    READ_TIMEOUT_MS = 100,
    OPEN_TIMEOUT_MS = 30000,
    ENTRIES_MAX = 65536, // definitions and nodes: a bound, not a plan
    SAMPLE_TIMEOUT_MS = 2000,
    HELD_FOR_MS = 15000, // three announcements: what a dead node said holds nobody for longer
    KEY_MAX = 512
};

struct entry {
    char *key;
    struct slice value; // owned
    int64_t timestamp_ms;
    int64_t read_ms; // monotonic
    bool held;       // of a node: it has more work than it can hold
};

struct catalog {
    struct catalog_config config;
    char topic[300];
    char own_key[300]; // of our node's record
    struct io_kafka_reader *reader;
    struct io_kafka_producer *producer;
    pthread_mutex_t producer_lock;
    pthread_t thread;
    bool running;
    atomic_bool stop;
    pthread_mutex_t lock;
    struct entry *entries;
    size_t count;
    _Atomic uint64_t generation;
    int64_t position;             // next offset, of the thread that reads
    _Atomic int64_t announced_ms; // our clock at an announcement that was not read back; 0 = none
    _Atomic int64_t skew_ms;
    _Atomic uint64_t asked;
    _Atomic uint64_t answered;
};

// ---- The table
// -----------------------------------------------------------------------------------

static struct entry *find(struct catalog *catalog, struct slice key)
{
    for (size_t i = 0; i < catalog->count; i++)
        if (slice_eq(slice_str(catalog->entries[i].key), key))
            return &catalog->entries[i];
    return NULL;
}

static void free_value(struct entry *entry)
{
    free((void *)(uintptr_t)entry->value.ptr);
    entry->value = SLICE_NONE;
}

static void remove_entry(struct catalog *catalog, struct entry *entry)
{
    free(entry->key);
    free_value(entry);
    *entry = catalog->entries[--catalog->count];
}

static struct slice own_copy(struct slice s)
{
    char *copy = malloc(s.len + 1);
    if (copy == NULL)
        abort();
    memcpy(copy, s.ptr, s.len);
    copy[s.len] = '\0';
    return slice_of(copy, s.len);
}

static struct entry *add_entry(struct catalog *catalog, struct slice key)
{
    if (catalog->count >= ENTRIES_MAX)
        return NULL;
    size_t size = (catalog->count + 1) * sizeof *catalog->entries;
    catalog->entries = realloc(catalog->entries, size);
    if (catalog->entries == NULL)
        abort();
    struct entry *entry = &catalog->entries[catalog->count++];
    *entry = (struct entry){.key = (char *)(uintptr_t)own_copy(key).ptr};
    return entry;
}

// The broker stamps records of this topic (LogAppendTime): our own tells what its clock says.
static void note_skew(struct catalog *catalog, const struct record *record)
{
    struct slice key = slice_str(catalog->own_key);
    int64_t announced_ms =
        slice_eq(record->key, key) ? atomic_exchange(&catalog->announced_ms, 0) : 0;
    if (announced_ms > 0 && record->timestamp_ms > 0)
        atomic_store(&catalog->skew_ms, record->timestamp_ms - announced_ms);
}

static void apply(struct catalog *catalog, const struct record *record)
{
    note_skew(catalog, record);
    struct err_text text = {{0}};
    bool removal = slice_none(record->value);
    if (record->key.len == 0 || record->key.len > KEY_MAX ||
        (!removal && json_validate(record->value, &text) != KA_OK)) {
        log_warn("catalog", "ignored", "topic=%s offset=%lld error=%s", catalog->topic,
                 (long long)record->offset, text.text);
        return;
    }
    pthread_mutex_lock(&catalog->lock);
    struct entry *entry = find(catalog, record->key);
    if (removal && entry != NULL) {
        remove_entry(catalog, entry);
    } else if (!removal) {
        if (entry == NULL)
            entry = add_entry(catalog, record->key);
        if (entry != NULL) {
            free_value(entry);
            entry->value = own_copy(record->value);
            entry->timestamp_ms = record->timestamp_ms;
            entry->read_ms = clock_mono_ms();
            entry->held = slice_starts(record->key, SLICE_LIT("node/")) &&
                          json_type(json_member(record->value, SLICE_LIT("held"))) == JSON_TRUE;
        }
    }
    pthread_mutex_unlock(&catalog->lock);
    if (!slice_starts(record->key, SLICE_LIT("node/")))
        atomic_fetch_add(&catalog->generation, 1);
}

// ---- Following
// -----------------------------------------------------------------------------------

static enum ka_err read_some(struct catalog *catalog, struct err_text *text)
{
    struct record record;
    enum ka_err err = KA_OK;
    switch (io_kafka_reader_next(catalog->reader, READ_TIMEOUT_MS, &record, &err, text)) {
    case IO_KAFKA_READ_RECORD:
        apply(catalog, &record);
        catalog->position = record.offset + 1;
        return KA_OK;
    case IO_KAFKA_READ_END:
        catalog->position = record.offset;
        return KA_OK;
    case IO_KAFKA_READ_ERROR:
        return err;
    case IO_KAFKA_READ_NOTHING:
        break;
    }
    return KA_OK;
}

static enum ka_err read_to_end(struct catalog *catalog, struct err_text *text)
{
    int64_t start = 0;
    int64_t target = 0;
    enum ka_err err = io_kafka_watermarks(catalog->config.admin, catalog->topic, 0, OPEN_TIMEOUT_MS,
                                          &start, &target, text);
    if (err == KA_ERR_NOT_FOUND) // the topic is there: a broker that begins does not know it yet
        err = KA_ERR_RETRY;
    int64_t until_ms = clock_mono_ms() + OPEN_TIMEOUT_MS;
    while (err == KA_OK && catalog->position < target) {
        err = read_some(catalog, text);
        if (err_class(err) == ERR_CLASS_RETRY)
            err = KA_OK;
        if (err == KA_OK && clock_mono_ms() > until_ms)
            return err_set(text, KA_ERR_TIMEOUT, "%s was not read to its end at %lld in %d ms",
                           catalog->topic, (long long)target, OPEN_TIMEOUT_MS);
    }
    return err;
}

// A question is answered when the topic was read to an end that was sampled after it.
struct sample {
    uint64_t question; // 0 = none under way
    int64_t end;
};

static enum ka_err answer(struct catalog *catalog, struct sample *sample, struct err_text *text)
{
    uint64_t asked = atomic_load(&catalog->asked);
    int64_t start = 0;
    enum ka_err err = KA_OK;
    if (sample->question == 0 && asked > atomic_load(&catalog->answered)) {
        err = io_kafka_watermarks(catalog->config.admin, catalog->topic, 0, SAMPLE_TIMEOUT_MS,
                                  &start, &sample->end, text);
        sample->question = err == KA_OK ? asked : 0;
    }
    if (sample->question != 0 && catalog->position >= sample->end) {
        atomic_store(&catalog->answered, sample->question);
        sample->question = 0;
    }
    return err;
}

static void *follow(void *argument)
{
    struct catalog *catalog = argument;
    struct sample sample = {0};
    while (!atomic_load(&catalog->stop)) {
        struct err_text text = {{0}};
        enum ka_err err = answer(catalog, &sample, &text);
        if (err == KA_OK)
            err = read_some(catalog, &text);
        if (err == KA_OK)
            continue;
        log_warn("catalog", "read_failed", "topic=%s error=%s", catalog->topic, text.text);
        clock_sleep_ms(READ_TIMEOUT_MS);
    }
    return NULL;
}

static enum ka_err start(struct catalog *catalog, struct err_text *text)
{
    const char *topic = catalog->topic;
    int32_t partitions = 0;
    enum ka_err err = io_kafka_partition_count(catalog->config.admin, catalog->topic,
                                               OPEN_TIMEOUT_MS, &partitions, text);
    if (err == KA_OK && partitions == 0)
        return err_set(text, KA_ERR_NOT_FOUND,
                       "topic %s does not exist: create the app's topics with \"kasaga topics "
                       "apply\"",
                       catalog->topic);
    if (err == KA_OK)
        err = io_kafka_reader_new(catalog->config.kafka, true, &catalog->reader, text);
    if (err == KA_OK)
        err = io_kafka_reader_add(catalog->reader, catalog->topic, 0, -2, text);
    if (err == KA_OK)
        err = io_kafka_producer_new(catalog->config.kafka, NULL, &catalog->producer, text);
    if (err == KA_OK)
        err = io_kafka_producer_warm(catalog->producer, &topic, 1, OPEN_TIMEOUT_MS, text);
    if (err == KA_OK)
        err = read_to_end(catalog, text);
    return err;
}

enum ka_err catalog_open(const struct catalog_config *config, struct catalog **catalog,
                         struct err_text *text)
{
    struct catalog *c = calloc(1, sizeof *c);
    if (c == NULL)
        abort();
    c->config = *config;
    snprintf(c->topic, sizeof c->topic, "%s.catalog", config->app);
    snprintf(c->own_key, sizeof c->own_key, "node/%s", config->node);
    pthread_mutex_init(&c->lock, NULL);
    pthread_mutex_init(&c->producer_lock, NULL);
    enum ka_err err = start(c, text);
    if (err != KA_OK) {
        catalog_close(&c);
        return err;
    }
    if (pthread_create(&c->thread, NULL, follow, c) != 0)
        abort();
    c->running = true;
    *catalog = c;
    return KA_OK;
}

void catalog_close(struct catalog **catalog)
{
    struct catalog *c = *catalog;
    if (c == NULL)
        return;
    atomic_store(&c->stop, true);
    if (c->running)
        pthread_join(c->thread, NULL);
    io_kafka_reader_free(&c->reader);
    io_kafka_producer_free(&c->producer);
    while (c->count > 0)
        remove_entry(c, &c->entries[c->count - 1]);
    free(c->entries);
    pthread_mutex_destroy(&c->lock);
    pthread_mutex_destroy(&c->producer_lock);
    free(c);
    *catalog = NULL;
}

// ---- Reading
// -------------------------------------------------------------------------------------

uint64_t catalog_generation(const struct catalog *catalog)
{
    return atomic_load(&catalog->generation);
}

uint64_t catalog_ask(struct catalog *catalog)
{
    return atomic_fetch_add(&catalog->asked, 1) + 1;
}

bool catalog_answered(const struct catalog *catalog, uint64_t question)
{
    return atomic_load(&catalog->answered) >= question;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool parse_id(struct slice hex, struct def_id *id)
{
    if (hex.len != 2 * DEF_ID_SIZE)
        return false;
    for (size_t i = 0; i < DEF_ID_SIZE; i++) {
        int high = hex_digit(hex.ptr[2 * i]);
        int low = hex_digit(hex.ptr[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        id->bytes[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

static void format_id(const struct def_id *id, char hex[2 * DEF_ID_SIZE + 1])
{
    for (size_t i = 0; i < DEF_ID_SIZE; i++)
        snprintf(hex + 2 * i, 3, "%02x", id->bytes[i]);
}

// What "current/<name>" says; false if the name has none.
static bool current_of(struct catalog *catalog, struct slice name, struct def_id *id,
                       int64_t *version)
{
    char key[KEY_MAX];
    int len = snprintf(key, sizeof key, "current/%.*s", SLICE_FMT(name));
    const struct entry *entry = find(catalog, slice_of(key, (size_t)len));
    if (entry == NULL)
        return false;
    struct slice hash = json_member(entry->value, SLICE_LIT("hash"));
    struct slice number = json_member(entry->value, SLICE_LIT("version"));
    if (slice_none(hash) || json_type(hash) != JSON_STRING || hash.len < 2)
        return false;
    if (slice_none(number) || !json_i64(number, version))
        *version = 0;
    return parse_id(slice_of(hash.ptr + 1, hash.len - 2), id);
}

static bool parse_definition(struct catalog *catalog, const struct entry *entry,
                             struct arena *arena, struct catalog_definition *definition)
{
    struct slice key = slice_str(entry->key);
    struct slice prefix = SLICE_LIT("def/");
    size_t tail = 2 * DEF_ID_SIZE + 1;
    if (!slice_starts(key, prefix) || key.len <= prefix.len + tail)
        return false;
    struct slice name = slice_of(key.ptr + prefix.len, key.len - prefix.len - tail);
    struct slice hex = slice_of(name.ptr + name.len + 1, 2 * DEF_ID_SIZE);
    *definition = (struct catalog_definition){.name = arena_str(arena, name),
                                              .json = arena_copy(arena, entry->value)};
    if (!parse_id(hex, &definition->id))
        return false;
    struct def_id current;
    int64_t version = 0;
    definition->current = current_of(catalog, name, &current, &version) &&
                          memcmp(&current, &definition->id, sizeof current) == 0;
    definition->version = definition->current ? version : 0;
    return true;
}

void catalog_definitions(struct catalog *catalog, struct arena *arena,
                         const struct catalog_definition **list, size_t *count,
                         uint64_t *generation)
{
    pthread_mutex_lock(&catalog->lock);
    *generation = atomic_load(&catalog->generation);
    struct catalog_definition *all = arena_zalloc(arena, (catalog->count + 1) * sizeof *all);
    *count = 0;
    for (size_t i = 0; i < catalog->count; i++)
        if (parse_definition(catalog, &catalog->entries[i], arena, &all[*count]))
            (*count)++;
    pthread_mutex_unlock(&catalog->lock);
    *list = all;
}

void catalog_nodes(struct catalog *catalog, struct arena *arena, const struct catalog_node **list,
                   size_t *count)
{
    struct slice prefix = SLICE_LIT("node/");
    pthread_mutex_lock(&catalog->lock);
    struct catalog_node *all = arena_zalloc(arena, (catalog->count + 1) * sizeof *all);
    *count = 0;
    for (size_t i = 0; i < catalog->count; i++) {
        const struct entry *entry = &catalog->entries[i];
        struct slice key = slice_str(entry->key);
        if (!slice_starts(key, prefix))
            continue;
        struct slice node = slice_of(key.ptr + prefix.len, key.len - prefix.len);
        all[(*count)++] = (struct catalog_node){
            arena_str(arena, node), arena_copy(arena, entry->value), entry->timestamp_ms};
    }
    pthread_mutex_unlock(&catalog->lock);
    *list = all;
}

struct slice catalog_value(struct catalog *catalog, const char *key, struct arena *arena)
{
    pthread_mutex_lock(&catalog->lock);
    const struct entry *entry = find(catalog, slice_str(key));
    struct slice value = entry == NULL ? SLICE_NONE : arena_copy(arena, entry->value);
    pthread_mutex_unlock(&catalog->lock);
    return value;
}

int64_t catalog_clock_skew_ms(const struct catalog *catalog)
{
    return atomic_load(&catalog->skew_ms);
}

bool catalog_held(struct catalog *catalog)
{
    int64_t since_ms = clock_mono_ms() - HELD_FOR_MS;
    bool held = false;
    pthread_mutex_lock(&catalog->lock);
    for (size_t i = 0; i < catalog->count && !held; i++) {
        const struct entry *entry = &catalog->entries[i];
        held = entry->held && entry->read_ms >= since_ms &&
               strcmp(entry->key + strlen("node/"), catalog->config.node) != 0;
    }
    pthread_mutex_unlock(&catalog->lock);
    return held;
}

// ---- Writing
// -------------------------------------------------------------------------------------

static enum ka_err write_record(struct catalog *catalog, const char *key, struct slice value,
                                int timeout_ms, struct err_text *text)
{
    struct output output = {
        .topic = slice_str(catalog->topic), .key = slice_str(key), .value = value};
    pthread_mutex_lock(&catalog->producer_lock);
    enum ka_err err = io_kafka_produce_sync(catalog->producer, &output, timeout_ms, NULL, text);
    pthread_mutex_unlock(&catalog->producer_lock);
    return err;
}

enum publish { PUBLISH_NOTHING, PUBLISH_DEFINITION, PUBLISH_CURRENT };

// What of `own` the catalog lacks. A definition that is not current is not published: instances
// cannot have been started with it.
static enum publish wanted(struct catalog *catalog, const struct catalog_own *own, bool *differs)
{
    char hex[2 * DEF_ID_SIZE + 1];
    char key[KEY_MAX];
    struct def_id current;
    int64_t version = 0;
    format_id(&own->id, hex);
    int len = snprintf(key, sizeof key, "def/%s/%s", own->name, hex);
    *differs = false;
    pthread_mutex_lock(&catalog->lock);
    bool known = find(catalog, slice_of(key, (size_t)len)) != NULL;
    bool named = current_of(catalog, slice_str(own->name), &current, &version);
    pthread_mutex_unlock(&catalog->lock);
    if (named && memcmp(&current, &own->id, sizeof current) == 0)
        return known ? PUBLISH_NOTHING : PUBLISH_DEFINITION;
    if (named && own->version <= version) {
        *differs = true;
        return PUBLISH_NOTHING;
    }
    return known ? PUBLISH_CURRENT : PUBLISH_DEFINITION;
}

static enum ka_err write_definition(struct catalog *catalog, const struct catalog_own *own,
                                    int timeout_ms, struct err_text *text)
{
    char hex[2 * DEF_ID_SIZE + 1];
    char key[KEY_MAX];
    format_id(&own->id, hex);
    snprintf(key, sizeof key, "def/%s/%s", own->name, hex);
    return write_record(catalog, key, own->json, timeout_ms, text);
}

static enum ka_err write_current(struct catalog *catalog, const struct catalog_own *own,
                                 int timeout_ms, struct err_text *text)
{
    char hex[2 * DEF_ID_SIZE + 1];
    char key[KEY_MAX];
    struct buf value = {0};
    format_id(&own->id, hex);
    snprintf(key, sizeof key, "current/%s", own->name);
    buf_str(&value, "{\"hash\":\"");
    buf_str(&value, hex);
    buf_str(&value, "\",\"version\":");
    buf_i64(&value, own->version);
    buf_str(&value, ",\"by\":");
    buf_json_str(&value, slice_str(catalog->config.node));
    buf_str(&value, ",\"time\":");
    buf_json_time(&value, clock_now_ms());
    buf_byte(&value, '}');
    enum ka_err err = write_record(catalog, key, buf_slice(&value), timeout_ms, text);
    buf_fini(&value);
    return err;
}

static enum ka_err publish_one(struct catalog *catalog, const struct catalog_own *own,
                               int timeout_ms, struct err_text *text)
{
    bool differs = false;
    enum publish what = wanted(catalog, own, &differs);
    if (differs)
        log_warn("catalog", "file_differs",
                 "saga=%s file_version=%lld note=the catalog's definition is followed; raise the "
                 "version to publish this one",
                 own->name, (long long)own->version);
    if (what == PUBLISH_NOTHING)
        return KA_OK;
    enum ka_err err = KA_OK;
    if (what == PUBLISH_DEFINITION)
        err = write_definition(catalog, own, timeout_ms, text);
    KILL_POINT("definition_written");
    if (err == KA_OK)
        err = write_current(catalog, own, timeout_ms, text);
    KILL_POINT("current_written");
    int64_t until_ms = clock_mono_ms() + timeout_ms;
    while (err == KA_OK && wanted(catalog, own, &differs) != PUBLISH_NOTHING) {
        if (clock_mono_ms() > until_ms)
            return err_set(text, KA_ERR_TIMEOUT, "the definition of %s was not read back in %d ms",
                           own->name, timeout_ms);
        clock_sleep_ms(5);
    }
    if (err == KA_OK)
        log_info("catalog", "published", "saga=%s version=%lld", own->name,
                 (long long)own->version);
    return err;
}

enum ka_err catalog_publish(struct catalog *catalog, const struct catalog_own *own, size_t count,
                            int timeout_ms, struct err_text *text)
{
    enum ka_err err = KA_OK;
    for (size_t i = 0; i < count && err == KA_OK; i++)
        err = publish_one(catalog, &own[i], timeout_ms, text);
    return err;
}

enum ka_err catalog_announce(struct catalog *catalog, struct slice counts, bool removed,
                             int timeout_ms, struct err_text *text)
{
    struct buf value = {0};
    buf_str(&value, "{\"region\":");
    buf_json_str(&value, slice_str(catalog->config.region));
    buf_str(&value, ",\"version\":\"" KASAGA_VERSION "\",\"feature\":1,\"seen\":");
    buf_json_time(&value, clock_now_ms());
    if (counts.len > 0) {
        buf_byte(&value, ',');
        buf_slice_put(&value, counts);
    }
    buf_byte(&value, '}');
    atomic_store(&catalog->announced_ms, clock_now_ms());
    enum ka_err err = write_record(catalog, catalog->own_key,
                                   removed ? SLICE_NONE : buf_slice(&value), timeout_ms, text);
    if (err != KA_OK)
        atomic_store(&catalog->announced_ms, 0); // it may still arrive, and would be late
    buf_fini(&value);
    return err;
}
