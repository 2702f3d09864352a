// SPDX-License-Identifier: Apache-2.0
// The stories of tests/golden/*.txt: a definition, events (lines with ">"), and under each event
// what came of it. A story passes when telling it again gives the same text, byte for byte.
// UPDATE_GOLDEN=1 writes the text instead; read the difference before committing it. Then the saga
// is run again from its history alone, and must end in the same bytes.
#include "core/replay.h"

#include "story.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// cmocka wants the headers above it
#include <cmocka.h>

#define FOLDER "tests/golden"

enum { STORIES_MAX = 200, PATH_SIZE = 512 };

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return NULL;
    struct buf buf = {0};
    size_t got;
    while ((got = fread(buf_room(&buf, 4096), 1, 4096, file)) > 0)
        buf.len += got;
    fclose(file);
    buf_byte(&buf, '\0');
    return buf.ptr;
}

static void write_file(const char *path, struct slice text)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text.ptr, 1, text.len, file), text.len);
    assert_int_equal(fclose(file), 0);
}

// Tells one line: definitions, comments and empty lines stay, events are followed by their trace,
// what was expected is left out.
static void tell(struct story *story, const char *line, struct buf *told)
{
    bool event = strncmp(line, "> ", 2) == 0;
    if (!event && line[0] == ' ')
        return;
    buf_str(told, line);
    buf_byte(told, '\n');
    if (event) {
        story_tell(story, line + 2);
        buf_str(told, story_trace(story));
    } else if (line[0] != '#' && line[0] != '\0') {
        assert_true(story_define(story, line));
    }
}

static void take_document(struct replay *replay, struct slice line)
{
    struct history_doc doc;
    struct err_text text = {""};
    if (history_doc_parse(line, replay->arena, &doc, &text) != KA_OK ||
        replay_take(replay, &doc, &text) != KA_OK)
        fail_msg("replay: %s", text.text);
    assert_ptr_equal(replay_difference(replay->saga, replay->saga, replay->arena), NULL);
}

// The bytes that the story left, from what it wrote into the history.
static void replay(const struct story *story)
{
    struct arena arena = {0};
    struct buf scratch = {0}, stored = {0};
    struct replay replay;
    replay_init(&replay, story->def, SLICE_LIT("order/4711"), NULL, &arena, &scratch);
    const char *at = story->history.ptr;
    const char *end = at + story->history.len;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        take_document(&replay, slice_of(at, (size_t)(newline - at)));
        at = newline + 1;
    }
    assert_true(replay_rests(&replay));
    saga_encode(replay.saga, &stored);
    const char *difference = replay_difference(replay.saga, story->saga, &arena);
    if (difference != NULL)
        fail_msg("replay: %s differs", difference);
    assert_true(slice_eq(buf_slice(&stored), buf_slice(&story->stored)));
    buf_fini(&stored);
    buf_fini(&scratch);
    arena_fini(&arena);
}

static void tell_again(const char *expected, struct buf *told)
{
    struct story story;
    story_init(&story, "");
    char line[4096];
    while (*expected != '\0') {
        size_t len = strcspn(expected, "\n");
        assert_true(len < sizeof line);
        memcpy(line, expected, len);
        line[len] = '\0';
        tell(&story, line, told);
        expected += len + (expected[len] == '\n');
    }
    if (story.saga != NULL)
        replay(&story);
    story_fini(&story);
}

static void show_difference(const char *path, const char *expected, const char *told)
{
    int line = 1;
    while (*expected != '\0' && *expected == *told) {
        size_t a = strcspn(expected, "\n");
        size_t b = strcspn(told, "\n");
        if (a != b || memcmp(expected, told, a) != 0)
            break;
        expected += a + (expected[a] == '\n');
        told += b + (told[b] == '\n');
        line++;
    }
    print_error("%s:%d\n- %.*s\n+ %.*s\n", path, line, (int)strcspn(expected, "\n"), expected,
                (int)strcspn(told, "\n"), told);
}

static void story_is_told_the_same_way(void **state)
{
    const char *path = *state;
    char *expected = read_file(path);
    assert_non_null(expected);
    struct buf told = {0};
    tell_again(expected, &told);
    if (getenv("UPDATE_GOLDEN") != NULL) {
        write_file(path, buf_slice(&told));
    } else {
        buf_byte(&told, '\0');
        if (strcmp(told.ptr, expected) != 0) {
            show_difference(path, expected, told.ptr);
            fail();
        }
    }
    buf_fini(&told);
    free(expected);
}

static int is_story(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    return len > 4 && strcmp(entry->d_name + len - 4, ".txt") == 0;
}

int main(void)
{
    static char paths[STORIES_MAX][PATH_SIZE];
    static struct CMUnitTest tests[STORIES_MAX];
    struct dirent **entries = NULL;
    int count = scandir(FOLDER, &entries, is_story, alphasort);
    if (count <= 0 || count > STORIES_MAX) {
        fprintf(stderr, "%s: %d stories; run this at the root of the tree\n", FOLDER, count);
        return 1;
    }
    for (int i = 0; i < count; i++) {
        snprintf(paths[i], PATH_SIZE, FOLDER "/%s", entries[i]->d_name);
        tests[i] = (struct CMUnitTest){.name = paths[i] + sizeof FOLDER,
                                       .test_func = story_is_told_the_same_way,
                                       .initial_state = paths[i]};
        free(entries[i]);
    }
    free(entries);
    return _cmocka_run_group_tests("golden", tests, (size_t)count, NULL, NULL);
}
