/* SPDX-License-Identifier: MIT */
#include "io/listener.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include "base/macros.h"
#include "base/sock.h"
#include "io/lockfile.h"

/* The kernel cuts it to net.core.somaxconn. */
#define LISTENER_BACKLOG 4096

struct lock_path {
    char text[ADDRESS_PATH_MAX + sizeof(".lock")];
};

static void lock_path_init(struct lock_path *p, const struct address *a)
{
    (void) snprintf(p->text, sizeof(p->text), "%s.lock", a->path);
}

int listener_sock_type(const struct listener *l)
{
    return l->address.type == ADDRESS_STREAM ? SOCK_STREAM : SOCK_SEQPACKET;
}

/* ---- who is there already ---- */

static int fail_in_use(const struct address *a, pid_t pid, struct failure *f)
{
    char name[ADDRESS_PATH_MAX + 16];
    char who[64] = "another process";

    address_format(a, name, sizeof(name));
    if (pid > 0) {
        (void) snprintf(who, sizeof(who), "pid %ld", (long) pid);
    }
    return failure_set(f, -EADDRINUSE,
                       "%s is in use by %s; stop it, or choose another address with --listen", name,
                       who);
}

/* The pid that listens, or 0 if that cannot be told. */
static pid_t listening_pid(int fd)
{
    struct creds creds;

    return sock_peer_creds(fd, &creds) == 0 ? creds.pid : 0;
}

/* Whether somebody listens there, with sockets of either type: 0 if nobody does, or -EADDRINUSE. */
static int probe(const struct address *a, struct failure *f)
{
    struct address any = *a;
    int type;
    AUTO_CLOSE int fd = -1;

    any.type = a->abstract ? a->type : ADDRESS_ANY;
    fd = sock_connect(&any, &type);
    if (fd >= 0) {
        return fail_in_use(a, listening_pid(fd), f);
    }
    switch (fd) {
    case -ENOENT:
    case -ECONNREFUSED:
        return 0;
    case -EAGAIN:     /* alive, and its backlog is full */
    case -EPROTOTYPE: /* alive, with a third type of socket */
        return fail_in_use(a, 0, f);
    default:
        return failure_set(f, fd, "cannot tell whether %s is in use: %s; remove it if it is not",
                           a->path, strerror(-fd));
    }
}

/* ---- making the path ours ---- */

/* mkdir -p of the directories that lead to the path; new ones are for their owner only. */
static int make_parents(const char *path, struct failure *f)
{
    char dir[ADDRESS_PATH_MAX + 1];

    (void) snprintf(dir, sizeof(dir), "%s", path);
    for (char *slash = strchr(dir + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(dir, 0700) < 0 && errno != EEXIST) {
            return failure_set(f, -errno,
                               "cannot create the directory %s: %s; create it, or choose another "
                               "address with --listen",
                               dir, strerror(errno));
        }
        *slash = '/';
    }
    return 0;
}

static int claim_lock(struct listener *l, struct failure *f)
{
    struct lock_path lock;
    pid_t pid = 0;
    int r;

    lock_path_init(&lock, &l->address);
    r = lockfile_claim(lock.text, &l->lock_fd, &pid);
    if (r == LOCKFILE_HELD) {
        return fail_in_use(&l->address, pid, f);
    }
    if (r < 0) {
        return failure_set(f, r,
                           "cannot lock %s: %s; make its directory writable, or choose another "
                           "address with --listen",
                           lock.text, strerror(-r));
    }
    return 0;
}

/* Only a socket without a listener is removed: it is what a killed router leaves. */
static int remove_stale(const struct address *a, struct failure *f)
{
    struct stat st;
    int r;

    if (lstat(a->path, &st) < 0) {
        return errno == ENOENT
                   ? 0
                   : failure_set(f, -errno, "cannot look at %s: %s; check its directory", a->path,
                                 strerror(errno));
    }
    if (!S_ISSOCK(st.st_mode)) {
        return failure_set(f, -EEXIST,
                           "%s exists and is not a socket; remove it, or choose another address "
                           "with --listen",
                           a->path);
    }
    r = probe(a, f);
    if (r < 0) {
        return r;
    }
    if (unlink(a->path) < 0 && errno != ENOENT) {
        return failure_set(f, -errno, "cannot remove the stale socket %s: %s; remove it", a->path,
                           strerror(errno));
    }
    return 0;
}

/* ---- binding ---- */

/* Born with mode 0600 whatever the umask is, so that there is no moment in which others could
 * connect. */
static int bind_private(int fd, const struct sock_name *name)
{
    mode_t before = umask(0177);
    int r = bind(fd, (const struct sockaddr *) &name->sun, name->bytes) < 0 ? -errno : 0;

    (void) umask(before);
    return r;
}

static int listener_bind(struct listener *l, struct failure *f)
{
    struct sock_name name;
    int r;

    l->fd = sock_new(listener_sock_type(l));
    if (l->fd < 0) {
        return failure_set(f, l->fd, "cannot create a socket: %s", strerror(-l->fd));
    }
    r = sock_name_init(&name, &l->address);
    if (r == 0) {
        r = bind_private(l->fd, &name);
        sock_name_fini(&name);
    }
    if (r == -EADDRINUSE && l->address.abstract) {
        r = probe(&l->address, f);
        return r < 0 ? r : fail_in_use(&l->address, 0, f);
    }
    if (r < 0) {
        return failure_set(f, r, "cannot bind %s%s: %s; choose another address with --listen",
                           l->address.abstract ? "@" : "", l->address.path, strerror(-r));
    }
    return 0;
}

/* Goes through a descriptor of the file, so that nothing else put under that name is touched. */
static int apply_access(struct listener *l, const struct listener_access *access, struct failure *f)
{
    const char *path = l->address.path;
    AUTO_CLOSE int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    char proc[64];
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISSOCK(st.st_mode)) {
        return failure_set(f, -EIO, "%s was replaced while it was being made; try again", path);
    }
    l->dev = st.st_dev;
    l->ino = st.st_ino;
    if ((access->owner != LISTENER_KEEP_ID || access->group != LISTENER_KEEP_ID) &&
        fchownat(fd, "", access->owner, access->group, AT_EMPTY_PATH) < 0) {
        return failure_set(f, -errno,
                           "cannot change the owner of %s: %s; run as root, or leave out --owner "
                           "and --group",
                           path, strerror(errno));
    }
    (void) snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
    if (chmod(proc, access->mode) < 0) {
        return failure_set(f, -errno, "cannot change the mode of %s to %04o: %s", path,
                           (unsigned) access->mode, strerror(errno));
    }
    return 0;
}

static int open_path(struct listener *l, const struct listener_access *access, struct failure *f)
{
    int r = make_parents(l->address.path, f);

    r = r < 0 ? r : claim_lock(l, f);
    r = r < 0 ? r : remove_stale(&l->address, f);
    r = r < 0 ? r : listener_bind(l, f);
    return r < 0 ? r : apply_access(l, access, f);
}

int listener_open(struct listener *l, const struct address *a, const struct listener_access *access,
                  struct failure *failure)
{
    int r;

    *l = (struct listener){.address = *a, .fd = -1, .lock_fd = -1};
    r = a->abstract ? listener_bind(l, failure) : open_path(l, access, failure);
    if (r < 0) {
        listener_close(l);
    }
    return r;
}

int listener_listen(struct listener *l, struct failure *failure)
{
    if (listen(l->fd, LISTENER_BACKLOG) < 0) {
        return failure_set(failure, -errno, "cannot listen on %s: %s", l->address.path,
                           strerror(errno));
    }
    return 0;
}

void listener_adopt(struct listener *l, const struct address *a, int fd, int lock_fd, dev_t dev,
                    ino_t ino)
{
    *l = (struct listener){.address = *a, .fd = fd, .lock_fd = lock_fd, .dev = dev, .ino = ino};
}

void listener_given(struct listener *l, const struct address *a, int fd, const char *name)
{
    *l = (struct listener){.address = *a, .is_given = true, .fd = fd, .lock_fd = -1};
    (void) snprintf(l->name, sizeof(l->name), "%s", name);
}

bool listener_is_at(const struct listener *l, const struct address *a)
{
    return l->address.type == a->type && l->address.abstract == a->abstract &&
           strcmp(l->address.path, a->path) == 0;
}

void listener_own(struct listener *l)
{
    if (l->lock_fd >= 0) {
        lockfile_sign(l->lock_fd);
    }
}

void listener_leave(struct listener *l)
{
    if (l->lock_fd >= 0) {
        (void) close(l->lock_fd);
    }
    if (l->fd >= 0) {
        (void) close(l->fd);
    }
    l->fd = l->lock_fd = -1;
}

/* Somebody may have put another socket under the name; that one stays. */
static void remove_own_socket(const struct listener *l)
{
    struct stat st;

    if (l->ino != 0 && lstat(l->address.path, &st) == 0 && st.st_dev == l->dev &&
        st.st_ino == l->ino) {
        (void) unlink(l->address.path);
    }
}

void listener_close(struct listener *l)
{
    struct lock_path lock;

    if (l->lock_fd >= 0) {
        remove_own_socket(l);
        lock_path_init(&lock, &l->address);
        lockfile_release(lock.text, l->lock_fd);
        l->lock_fd = -1;
    }
    if (l->fd >= 0) {
        (void) close(l->fd);
        l->fd = -1;
    }
}
