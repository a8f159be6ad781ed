/* SPDX-License-Identifier: MIT */
#include "base/address.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/macros.h"

#define SUN_PATH_BYTES sizeof(((struct sockaddr_un *) 0)->sun_path)

static const struct {
    const char *prefix;
    enum address_type type;
} address_types[] = {{"seqpacket:", ADDRESS_SEQPACKET}, {"stream:", ADDRESS_STREAM}};

int address_parse(const char *text, struct address *ret)
{
    enum address_type type = ADDRESS_ANY;
    bool abstract;
    size_t len;

    for (size_t i = 0; i < ARRAY_LEN(address_types); i++) {
        size_t n = strlen(address_types[i].prefix);

        if (strncmp(text, address_types[i].prefix, n) == 0) {
            type = address_types[i].type;
            text += n;
            break;
        }
    }
    abstract = *text == '@';
    text += abstract;
    len = strlen(text);
    if (len == 0 || (!abstract && text[len - 1] == '/')) {
        return -EINVAL;
    }
    if (len > ADDRESS_PATH_MAX || (abstract && len > SUN_PATH_BYTES - 2)) {
        return -ENAMETOOLONG;
    }
    ret->type = type;
    ret->abstract = abstract;
    memcpy(ret->path, text, len + 1);
    return 0;
}

void address_format(const struct address *a, char *buf, size_t bytes)
{
    (void) snprintf(buf, bytes, "%s%s%s",
                    a->type == ADDRESS_STREAM ? "stream:" : "seqpacket:", a->abstract ? "@" : "",
                    a->path);
}

/* A directory that others can write to, or a link, would let them put their own socket in our way.
 * So would one that they make after we have found none: it must be there before the check. */
static int private_directory_check(const char *path, enum address_use use)
{
    struct stat st;

    if (use == ADDRESS_TO_LISTEN && mkdir(path, 0700) < 0 && errno != EEXIST) {
        return -errno;
    }
    if (lstat(path, &st) < 0) {
        return errno == ENOENT ? -ENOENT : -EPERM;
    }
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) != 0) {
        return -EPERM;
    }
    return 0;
}

int address_default(struct address *ret, enum address_use use)
{
    const char *text = getenv("BUS_ADDRESS");
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    char buf[ADDRESS_PATH_MAX + 1];
    char dir[64];
    int r;

    if (text && *text) {
        return address_parse(text, ret);
    }
    if (runtime && *runtime == '/') {
        if (snprintf(buf, sizeof(buf), "%s/bus-router/bus.sock", runtime) >= (int) sizeof(buf)) {
            return -ENAMETOOLONG;
        }
        return address_parse(buf, ret);
    }
    if (geteuid() == 0) {
        return address_parse("/run/bus-router/bus.sock", ret);
    }
    (void) snprintf(dir, sizeof(dir), "/tmp/bus-router-%u", (unsigned) geteuid());
    r = private_directory_check(dir, use);
    if (r < 0) {
        return r;
    }
    (void) snprintf(buf, sizeof(buf), "%s/bus.sock", dir);
    return address_parse(buf, ret);
}
