// SPDX-License-Identifier: Apache-2.0
// What was read, by key, by place and by name. Nothing is freed before the program ends.
#include "checker.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

void *grow(void *array, size_t count, size_t *cap, size_t size)
{
    if (count < *cap)
        return array;
    *cap = *cap == 0 ? 8 : *cap * 2;
    array = realloc(array, *cap * size);
    if (array == NULL)
        abort();
    return array;
}

char *copy_text(const char *text, size_t len)
{
    char *copy = malloc(len + 1);
    if (copy == NULL)
        abort();
    if (len > 0)
        memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

static void *zeroed(size_t size)
{
    void *memory = calloc(1, size);
    if (memory == NULL)
        abort();
    return memory;
}

unsigned hash_text(const void *text, size_t len)
{
    const unsigned char *at = text;
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ at[i]) * 0x100000001B3u;
    return (unsigned)(hash ^ hash >> 32);
}

// The partitioner of the Java client (org.apache.kafka.common.utils.Utils.murmur2).
uint32_t murmur2(const char *key, size_t len)
{
    const unsigned char *at = (const unsigned char *)key;
    const uint32_t m = 0x5bd1e995;
    uint32_t h = 0x9747b28c ^ (uint32_t)len;
    size_t words = len / 4;
    for (size_t i = 0; i < words; i++, at += 4) {
        uint32_t k = (uint32_t)(at[0] + (at[1] << 8) + (at[2] << 16)) + ((uint32_t)at[3] << 24);
        k *= m;
        k ^= k >> 24;
        k *= m;
        h = h * m ^ k;
    }
    size_t rest = len % 4;
    if (rest == 3)
        h ^= (uint32_t)at[2] << 16;
    if (rest >= 2)
        h ^= (uint32_t)at[1] << 8;
    if (rest >= 1)
        h = (h ^ at[0]) * m;
    h ^= h >> 13;
    h *= m;
    return h ^ (h >> 15);
}

struct topic *store_topic(struct store *store, const char *name, size_t len)
{
    for (int i = 0; i < store->topic_count; i++)
        if (strlen(store->topics[i].name) == len && memcmp(store->topics[i].name, name, len) == 0)
            return &store->topics[i];
    return NULL;
}

struct partition *topic_partition(const struct topic *topic, int32_t number)
{
    bool there = topic != NULL && number >= 0 && number < topic->partition_count;
    return there ? &topic->partitions[number] : NULL;
}

struct subject *store_find(struct store *store, const char *key, size_t len)
{
    struct subject *found;
    HASH_FIND(hh, store->subjects, key, len, found);
    return found;
}

struct subject *store_find_id(struct store *store, const char *id, size_t len)
{
    struct subject *found;
    HASH_FIND(hh_id, store->ids, id, len, found);
    return found;
}

struct subject *store_subject(struct store *store, const char *key, size_t len)
{
    struct subject *subject = store_find(store, key, len);
    if (subject != NULL)
        return subject;
    subject = zeroed(sizeof *subject);
    subject->key = copy_text(key, len);
    subject->key_len = len;
    const char *slash = memchr(subject->key, '/', len);
    subject->id = slash == NULL ? subject->key : slash + 1;
    subject->id_len = len - (size_t)(subject->id - subject->key);
    HASH_ADD_KEYPTR(hh, store->subjects, subject->key, len, subject);
    struct subject *other = store_find_id(store, subject->id, subject->id_len);
    if (other == NULL) {
        HASH_ADD_KEYPTR(hh_id, store->ids, subject->id, subject->id_len, subject);
    } else {
        subject->same_id = other->same_id;
        other->same_id = subject;
    }
    return subject;
}

struct instance *store_instance(struct subject *subject, int64_t incarnation)
{
    for (struct instance *at = subject->instances; at != NULL; at = at->next)
        if (at->incarnation == incarnation)
            return at;
    struct instance *instance = zeroed(sizeof *instance);
    instance->subject = subject;
    instance->incarnation = incarnation;
    instance->definition = -1;
    if (subject->last == NULL)
        subject->instances = instance;
    else
        subject->last->next = instance;
    subject->last = instance;
    return instance;
}

void instance_add(struct instance *instance, const struct event *event)
{
    instance->events =
        grow(instance->events, instance->count, &instance->cap, sizeof *instance->events);
    instance->events[instance->count++] = *event;
}

struct name *names_get(struct names *names, const char *text, size_t len, bool *fresh)
{
    struct name *name;
    HASH_FIND(hh, names->table, text, len, name);
    if (fresh != NULL)
        *fresh = name == NULL;
    if (name != NULL)
        return name;
    name = zeroed(sizeof *name);
    name->text = copy_text(text, len);
    name->number = names->count;
    HASH_ADD_KEYPTR(hh, names->table, name->text, len, name);
    names->all = realloc(names->all, (size_t)(names->count + 1) * sizeof(struct name *));
    if (names->all == NULL)
        abort();
    names->all[names->count++] = name;
    return name;
}

struct item *partition_add(struct partition *partition)
{
    partition->items =
        grow(partition->items, partition->item_count, &partition->item_cap, sizeof(struct item));
    struct item *item = &partition->items[partition->item_count++];
    memset(item, 0, sizeof *item);
    return item;
}

struct item *partition_item(const struct partition *partition, int64_t offset)
{
    size_t low = 0, high = partition->item_count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (partition->items[mid].offset < offset)
            low = mid + 1;
        else
            high = mid;
    }
    bool found = low < partition->item_count && partition->items[low].offset == offset;
    return found ? &partition->items[low] : NULL;
}

const struct aborted *partition_aborted(const struct partition *partition, int64_t offset)
{
    size_t low = 0, high = partition->aborted_count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (partition->aborted[mid].offset < offset)
            low = mid + 1;
        else
            high = mid;
    }
    bool found = low < partition->aborted_count && partition->aborted[low].offset == offset;
    return found ? &partition->aborted[low] : NULL;
}

static bool number(const char **at, const char *end, int64_t *value)
{
    *value = 0;
    const char *start = *at;
    while (*at < end && isdigit((unsigned char)**at) && *at - start < 18)
        *value = *value * 10 + (*(*at)++ - '0');
    return *at > start;
}

bool store_place(struct store *store, const char *text, size_t len, const struct topic **topic,
                 int32_t *partition, int64_t *offset)
{
    const char *end = text + len;
    const char *slash = len == 0 ? NULL : memchr(text, '/', len);
    int64_t partition_number;
    *topic = NULL;
    if (slash == NULL)
        return false;
    const char *at = slash + 1;
    if (!number(&at, end, &partition_number) || at == end || *at++ != '/')
        return false;
    if (!number(&at, end, offset) || at != end)
        return false;
    *partition = (int32_t)partition_number;
    *topic = store_topic(store, text, (size_t)(slash - text));
    return true;
}
