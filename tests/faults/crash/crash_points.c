/* Preloaded: counts the calls that change files below some directories, or that send something, in
 * all threads of a process, and kills it just before the Nth of them.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

static char below[2][PATH_MAX];
static long kill_at; /* 0: never */
static char kill_call[64], kill_path[PATH_MAX]; /* instead: parts of the call and of the path */
static long count;
static int log_fd = -1;
static int armed;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* From now on: kill before the Nth call, or before the first whose name and path have these parts;
 * write each to a descriptor, if there is one.
 */
void
crash_arm(const char *first, const char *second, long at, const char *call, const char *path, int log)
{
    snprintf(kill_call, sizeof(kill_call), "%s", call);
    snprintf(kill_path, PATH_MAX, "%s", path);
    snprintf(below[0], PATH_MAX, "%s/", first);
    snprintf(below[1], PATH_MAX, "%s/", second);
    kill_at = at;
    log_fd = log;
    count = 0;
    armed = 1;
}

#define NEXT(type, name, ...) ((type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))

static void
point(const char *call, const char *path)
{
    pthread_mutex_lock(&lock);
    count++;
    if (log_fd >= 0) {
        char line[PATH_MAX + 64];
        int length = snprintf(line, sizeof(line), "%ld %s %s\n", count, call, path);
        NEXT(ssize_t, "write", int, const void *, size_t)(log_fd, line, (size_t)length);
    }
    if (count == kill_at ||
        (kill_call[0] && strstr(call, kill_call) != NULL && strstr(path, kill_path) != NULL)) {
        kill(getpid(), SIGKILL);
        pause();
    }
    pthread_mutex_unlock(&lock);
}

static int
is_below(const char *path)
{
    for (int i = 0; i < 2; i++) {
        if (strncmp(path, below[i], strlen(below[i])) == 0) {
            return 1;
        }
    }
    return 0;
}

static void
on_fd(const char *call, int fd)
{
    if (!armed || fd == log_fd) {
        return;
    }
    char link[64], path[PATH_MAX + 1];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length > 0) {
        path[length] = '\0';
        char whole[PATH_MAX + 2];
        snprintf(whole, sizeof(whole), "%s/", path); /* a directory itself, too */
        if (is_below(whole)) {
            point(call, path);
        }
    }
}

static void
on_path(const char *call, int dir_fd, const char *name)
{
    if (!armed) {
        return;
    }
    char path[2 * PATH_MAX + 2];
    if (name[0] == '/' || dir_fd == AT_FDCWD) {
        snprintf(path, sizeof(path), "%s", name);
    }
    else {
        char link[64];
        snprintf(link, sizeof(link), "/proc/self/fd/%d", dir_fd);
        ssize_t length = readlink(link, path, PATH_MAX - 1);
        if (length < 0) {
            return;
        }
        snprintf(path + length, sizeof(path) - (size_t)length, "/%s", name);
    }
    if (is_below(path)) {
        point(call, path);
    }
}

ssize_t write(int fd, const void *data, size_t size)
{ on_fd("write", fd); return NEXT(ssize_t, "write", int, const void *, size_t)(fd, data, size); }

ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{ on_fd("pwrite", fd); return NEXT(ssize_t, "pwrite", int, const void *, size_t, off_t)(fd, data, size, at); }

ssize_t pwrite64(int fd, const void *data, size_t size, off_t at)
{ on_fd("pwrite64", fd); return NEXT(ssize_t, "pwrite64", int, const void *, size_t, off_t)(fd, data, size, at); }

int fsync(int fd)
{ on_fd("fsync", fd); return NEXT(int, "fsync", int)(fd); }

int fdatasync(int fd)
{ on_fd("fdatasync", fd); return NEXT(int, "fdatasync", int)(fd); }

int ftruncate(int fd, off_t size)
{ on_fd("ftruncate", fd); return NEXT(int, "ftruncate", int, off_t)(fd, size); }

int ftruncate64(int fd, off_t size)
{ on_fd("ftruncate64", fd); return NEXT(int, "ftruncate64", int, off_t)(fd, size); }

int rename(const char *from, const char *to)
{ on_path("rename", AT_FDCWD, to); return NEXT(int, "rename", const char *, const char *)(from, to); }

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    on_path("renameat", to_fd, to);
    return NEXT(int, "renameat", int, const char *, int, const char *)(from_fd, from, to_fd, to);
}

int unlink(const char *path)
{ on_path("unlink", AT_FDCWD, path); return NEXT(int, "unlink", const char *)(path); }

int unlinkat(int fd, const char *path, int flags)
{ on_path("unlinkat", fd, path); return NEXT(int, "unlinkat", int, const char *, int)(fd, path, flags); }

ssize_t send(int fd, const void *data, size_t size, int flags)
{
    if (armed && size > 1) { /* an event loop wakes itself with one byte */
        point("send", "socket");
    }
    return NEXT(ssize_t, "send", int, const void *, size_t, int)(fd, data, size, flags);
}
