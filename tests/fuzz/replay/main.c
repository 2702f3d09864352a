// SPDX-License-Identifier: Apache-2.0
// Gives a fuzz target the files of its corpus, without a fuzzer: each file is a test. TAP.
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FILE_BYTES = 1 << 20 };

static int wanted(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

// The target aborts where it finds a fault.
static void replay(const char *path, int number)
{
    static uint8_t bytes[FILE_BYTES];
    FILE *file = fopen(path, "rb");
    size_t len = file == NULL ? 0 : fread(bytes, 1, sizeof bytes, file);
    // A copy of its own: a sanitizer sees where it ends.
    uint8_t *data = malloc(len == 0 ? 1 : len);
    if (file == NULL || data == NULL)
        exit(1);
    fclose(file);
    memcpy(data, bytes, len);
    printf("# %s\n", path);
    fflush(stdout);
    LLVMFuzzerTestOneInput(data, len);
    free(data);
    printf("ok %d - %s\n", number, path);
}

int main(int argc, char **argv)
{
    const char *name = strrchr(argv[0], '/');
    char folder[200], path[600];
    struct dirent **entries;
    snprintf(folder, sizeof folder, "tests/fuzz/corpus/%s", name == NULL ? argv[0] : name + 1);
    int count = argc > 0 ? scandir(folder, &entries, wanted, alphasort) : 0;
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        replay(path, i + 1);
        free(entries[i]);
    }
    if (count > 0)
        free(entries);
    else
        printf("not ok 1 - there is no corpus %s\n", folder);
    printf("1..%d\n", count > 0 ? count : 1);
    return count <= 0;
}
