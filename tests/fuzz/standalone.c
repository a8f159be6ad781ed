/* SPDX-License-Identifier: MIT */
/* main() of a fuzz target that was not built by libFuzzer: runs over every file of the folders
 * given. */
#include <dirent.h>
#include "fuzz/fuzz.h"

static int run_file(const char *path)
{
    static uint8_t buf[1 << 20];
    FILE *f = fopen(path, "rb");
    size_t len;
    void *copy;

    if (!f) {
        perror(path);
        return -1;
    }
    len = fread(buf, 1, sizeof(buf), f);
    (void) fclose(f);
    (void) fprintf(stderr, "%s\n", path); /* the last one printed is the one that failed */
    copy = exact_copy(buf, len);
    (void) LLVMFuzzerTestOneInput(copy, len);
    free(copy);
    return 0;
}

static int run_folder(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    char file[4096];
    int n = 0;

    if (!dir) {
        perror(path);
        return -1;
    }
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        (void) snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
        if (run_file(file) < 0) {
            n = -1;
            break;
        }
        n++;
    }
    (void) closedir(dir);
    return n;
}

int main(int argc, char **argv)
{
    int total = 0;

    for (int i = 1; i < argc; i++) {
        int n = run_folder(argv[i]);

        if (n < 0) {
            return 1;
        }
        total += n;
    }
    (void) printf("%d files\n", total);
    return total > 0 ? 0 : 1; /* an empty corpus is a mistake */
}
