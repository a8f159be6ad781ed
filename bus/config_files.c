/* SPDX-License-Identifier: MIT */
/* Which configuration files there are, in their order. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/macros.h"
#include "config.h"

#define ROOT_FILE "/etc/bus-router/bus-router.conf"
#define USER_FILE "bus-router/bus-router.conf"

/* false: none, because nobody knows where. */
static bool default_path(char *buf, size_t bytes)
{
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    int n;

    if (geteuid() == 0) {
        n = snprintf(buf, bytes, ROOT_FILE);
    } else if (config && *config == '/') {
        n = snprintf(buf, bytes, "%s/" USER_FILE, config);
    } else if (home && *home == '/') {
        n = snprintf(buf, bytes, "%s/.config/" USER_FILE, home);
    } else {
        return false;
    }
    return n > 0 && (size_t) n < bytes;
}

/* ---- one file ---- */

static int note_file(struct options *o, const char *path)
{
    char **files = reallocarray(o->files, o->n_files + 1, sizeof(*files));

    if (!files) {
        return -ENOMEM;
    }
    o->files = files;
    files[o->n_files] = strdup(path);
    return files[o->n_files] ? (o->n_files++, 0) : -ENOMEM;
}

/* Who may write it decides who may do what. */
static void check_access(int fd, const char *path, struct report *report)
{
    struct stat st;

    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        return;
    }
    if (st.st_mode & (S_IWGRP | S_IWOTH)) {
        report_warning(report, "%s: others than its owner can write it", path);
    } else if (st.st_uid != 0 && st.st_uid != geteuid()) {
        report_warning(report, "%s: it belongs to user %" PRIu32 ", who can write it", path,
                       (uint32_t) st.st_uid);
    }
}

/* All of it, up to the bound, into *ret, of which *ret_len bytes. 0 or a negative errno. */
static int read_all(int fd, char **ret, size_t *ret_len)
{
    size_t room = 0, len = 0;
    char *text = NULL;

    for (;;) {
        ssize_t n;

        if (len == room) {
            char *more = realloc(text, room + 16384);

            if (!more) {
                free(text);
                return -ENOMEM;
            }
            text = more;
            room += 16384;
        }
        n = read(fd, text + len, room - len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0 || len + (size_t) n > CONFIG_FILE_BYTES_MAX) {
            int r = n < 0 ? -errno : n > 0 ? -EFBIG : 0;

            *ret = text;
            *ret_len = len;
            return r;
        }
        len += (size_t) n;
    }
}

static int load_file(struct options *o, const struct option_table *t, const char *path,
                     struct report *report)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe does not hang */
    AUTO_FREE char *text = NULL;
    size_t len = 0;
    int r = fd < 0 ? -errno : read_all(fd, &text, &len);

    if (r == -ENOMEM) {
        return r;
    }
    if (r < 0) {
        report_error(report, "%s: cannot read it: %s; expected is a text file of at most %u bytes",
                     path, strerror(-r), CONFIG_FILE_BYTES_MAX);
        return 0;
    }
    check_access(fd, path, report);
    r = note_file(o, path);
    return r < 0 ? r : config_load_text(o, t, path, text, len, report);
}

/* ---- its folder ---- */

struct names {
    char **names;
    size_t n;
};

static void names_fini(struct names *list)
{
    for (size_t i = 0; i < list->n; i++) {
        free(list->names[i]);
    }
    free(list->names);
}

static int names_add(struct names *list, const char *name)
{
    char **names = reallocarray(list->names, list->n + 1, sizeof(*names));

    if (!names) {
        return -ENOMEM;
    }
    list->names = names;
    names[list->n] = strdup(name);
    return names[list->n] ? (list->n++, 0) : -ENOMEM;
}

/* Hidden files, and what editors and package managers leave, are none. */
static bool is_drop_in(const char *name)
{
    size_t len = strlen(name);

    return *name != '.' && len > strlen(".conf") &&
           strcmp(name + len - strlen(".conf"), ".conf") == 0;
}

/* 0, -ENOMEM, or another errno of the folder. */
static int list_folder(const char *path, struct names *ret)
{
    DIR *dir = opendir(path);
    int r = 0;

    if (!dir) {
        return -errno;
    }
    while (r == 0) {
        const struct dirent *e;

        errno = 0;
        e = readdir(dir);
        if (!e) {
            r = -errno;
            break;
        }
        if (is_drop_in(e->d_name)) {
            r = ret->n < CONFIG_FILES_MAX ? names_add(ret, e->d_name) : -EMFILE;
        }
    }
    (void) closedir(dir);
    return r;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *) a, *(char *const *) b);
}

static int load_names(struct options *o, const struct option_table *t, const char *folder,
                      const struct names *list, struct report *report)
{
    int r = 0;

    for (size_t i = 0; i < list->n && r == 0; i++) {
        char path[ADDRESS_PATH_MAX + 1];
        int n = snprintf(path, sizeof(path), "%s/%s", folder, list->names[i]);

        if (n < 0 || (size_t) n >= sizeof(path)) {
            report_error(report, "%s: a path in it is too long", folder);
        } else {
            r = load_file(o, t, path, report);
        }
    }
    return r;
}

static int load_folder(struct options *o, const struct option_table *t, const char *file,
                       struct report *report)
{
    char folder[ADDRESS_PATH_MAX + 1];
    int n = snprintf(folder, sizeof(folder), "%s.d", file);
    struct names list = {0};
    int r;

    if (n < 0 || (size_t) n >= sizeof(folder)) {
        report_error(report, "%s: the path is too long", file);
        return 0;
    }
    r = list_folder(folder, &list);
    if (r == 0 && list.n > 0) {
        qsort(list.names, list.n, sizeof(*list.names), compare_names);
        r = load_names(o, t, folder, &list, report);
    } else if (r == -EMFILE && list.n == CONFIG_FILES_MAX) {
        report_error(report, "%s: more than %u files", folder, CONFIG_FILES_MAX);
        r = 0;
    } else if (r < 0 && r != -ENOMEM) {
        if (r != -ENOENT && !(r == -ENOTDIR && access(folder, F_OK) < 0)) {
            report_error(report, "%s: cannot read it: %s", folder, strerror(-r));
        }
        r = 0;
    }
    names_fini(&list);
    return r;
}

int config_load(struct options *o, const struct option_table *t, struct report *report)
{
    char path[ADDRESS_PATH_MAX + 1];
    const char *file = o->config;
    int r = 0;

    if (!file) {
        if (!default_path(path, sizeof(path))) {
            return 0;
        }
        file = path;
    }
    /* what cannot be looked at is an error, what is not there is none by default */
    if (o->config || access(file, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR)) {
        r = load_file(o, t, file, report);
    }
    return r < 0 ? r : load_folder(o, t, file, report);
}
