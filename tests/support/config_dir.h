/* SPDX-License-Identifier: MIT */
#pragma once
/* A folder with configuration files, and what bus-router makes of them. */

#include <errno.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>
#include "options.h"
#include "support/unit.h"

#define CONFIG_ARGS_MAX 16

struct config_dir {
    char path[64];
    char file[80]; /* PATH/c */
    struct options options;
    struct report report;
    char *said; /* of errors and warnings */
    size_t said_bytes;
    char *out; /* of --help */
    size_t out_bytes;
    int verdict;
};

static inline void config_dir_open(struct config_dir *d)
{
    *d = (struct config_dir){.path = "/tmp/bus-config-XXXXXX"};
    assert_non_null(mkdtemp(d->path));
    (void) snprintf(d->file, sizeof(d->file), "%s/c", d->path);
}

static inline void config_dir_write(struct config_dir *d, const char *name, const char *text)
{
    char path[256];
    FILE *f;

    (void) snprintf(path, sizeof(path), "%s/%s", d->path, name);
    f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static inline void config_dir_folder(struct config_dir *d)
{
    char path[256];

    (void) snprintf(path, sizeof(path), "%s/c.d", d->path);
    assert_int_equal(mkdir(path, 0700), 0);
}

static inline void config_dir_forget(struct config_dir *d)
{
    options_fini(&d->options);
    free(d->said);
    free(d->out);
    d->said = d->out = NULL;
}

/* Parses --config PATH/c and what else is given, up to NULL. Returns the verdict, which is kept
 * with what was said. */
static inline int config_dir_parse(struct config_dir *d, const char *const *more)
{
    static char name[] = "bus-router", flag[] = "--config";
    static char *argv[CONFIG_ARGS_MAX];
    FILE *out;
    int n = 0;

    config_dir_forget(d);
    d->report = (struct report){.out = open_memstream(&d->said, &d->said_bytes)};
    out = open_memstream(&d->out, &d->out_bytes);
    assert_true(d->report.out && out);
    argv[n++] = name;
    argv[n++] = flag;
    argv[n++] = d->file;
    while (more && *more) {
        argv[n++] = (char *) (uintptr_t) *more++;
        assert_true(n < CONFIG_ARGS_MAX);
    }
    argv[n] = NULL;
    d->verdict = options_parse(&d->options, n, argv, out, &d->report);
    (void) fclose(d->report.out);
    (void) fclose(out);
    d->report.out = NULL;
    return d->verdict;
}

/* The same with this text in the file, and --check. */
static inline int config_dir_try(struct config_dir *d, const char *text)
{
    const char *const check[] = {"--check", NULL};

    config_dir_write(d, "c", text);
    return config_dir_parse(d, check);
}

static inline int config_dir_remove_entry(const char *path, const struct stat *st, int type,
                                          struct FTW *ftw)
{
    (void) st;
    (void) type;
    (void) ftw;
    return remove(path);
}

static inline void config_dir_close(struct config_dir *d)
{
    config_dir_forget(d);
    assert_int_equal(nftw(d->path, config_dir_remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}
