/* The compiled reader on a kernel that is made up, and lies.
 *
 * Every system call it makes, and its allocator, are replaced before it is included. What a call
 * answers is a function of the seed and of the path alone: directories of random entries with
 * random names and types, random stats, any errno at any call, and listings whose records are not
 * what a kernel may give. So the same tree can be read again, by other workers, and compared.
 *
 * Like a tree on a disk, a made-up tree ends: nothing below DEEPEST is a directory, by its listing or
 * by its stat, since the reader opens an entry that either of them shows as a directory. A reader
 * that still goes on is stopped after MAX_LISTINGS.
 */
#define _GNU_SOURCE
#include <stdarg.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { FIRST_FD = 1000000, SLOTS = 1 << 15, DEEPEST = 8, MAX_LISTINGS = 1 << 18 };

typedef struct {
    uint64_t node;
    int depth;
    int listed; /* listings given so far; -1: the slot is free */
} Open;

static Open opened[SLOTS];
static int opened_count;
static pthread_mutex_t opened_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t seed;
static int corrupt;               /* whether listings may hold what no kernel gives */
static atomic_long listings;        /* given since the start */
static atomic_long until_no_memory; /* allocations until one fails; negative: never */

void
fuzz_start(uint64_t number, int with_corrupt, long allocations)
{
    pthread_mutex_lock(&opened_lock);
    seed = number;
    corrupt = with_corrupt;
    for (int i = 0; i < SLOTS; i++) {
        opened[i].listed = -1;
    }
    opened_count = 0;
    pthread_mutex_unlock(&opened_lock);
    atomic_store(&listings, 0);
    atomic_store(&until_no_memory, allocations);
}

int
fuzz_open_count(void)
{
    return opened_count;
}

/* splitmix64 */
static uint64_t
mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t
child(uint64_t node, const char *name)
{
    for (; *name != '\0'; name++) {
        node = mix(node ^ (unsigned char)*name);
    }
    return mix(node);
}

/* An errno with a chance of one in `odds`, of the node and of what is asked of it; 0: none. */
static int
failing(uint64_t node, const char *what, unsigned odds)
{
    static const int numbers[] = {ENOENT, ENOTDIR, EACCES, EPERM, ELOOP, ENAMETOOLONG, EIO,
                                  ESTALE, ENOMEM, ENXIO, EINVAL, EOVERFLOW, EUCLEAN, ETIMEDOUT};
    uint64_t random = child(node, what);
    return random % odds ? 0 : numbers[(random >> 32) % (sizeof(numbers) / sizeof(int))];
}

static Open
open_at(int fd)
{
    Open found = {seed, 0, -1};
    pthread_mutex_lock(&opened_lock);
    if (fd >= FIRST_FD && fd < FIRST_FD + SLOTS) {
        found = opened[fd - FIRST_FD];
        if (found.listed < 0) {
            abort(); /* a descriptor that is closed, or somebody else's */
        }
    }
    pthread_mutex_unlock(&opened_lock);
    return found;
}

static int
fuzz_openat(int fd, const char *name, int flags, ...)
{
    (void)flags;
    Open from = open_at(fd);
    uint64_t node = strcmp(name, ".") == 0 ? mix(seed) : child(from.node, name);
    if (strcmp(name, ".") != 0 && (errno = failing(node, "open", 24)) != 0) {
        return -1;
    }
    pthread_mutex_lock(&opened_lock);
    for (int i = 0; i < SLOTS; i++) {
        if (opened[i].listed < 0) {
            opened[i] = (Open){node, from.depth + 1, 0};
            opened_count++;
            pthread_mutex_unlock(&opened_lock);
            return FIRST_FD + i;
        }
    }
    pthread_mutex_unlock(&opened_lock);
    errno = EMFILE;
    return -1;
}

static int
fuzz_close(int fd)
{
    open_at(fd);
    pthread_mutex_lock(&opened_lock);
    opened[fd - FIRST_FD].listed = -1;
    opened_count--;
    pthread_mutex_unlock(&opened_lock);
    return 0;
}

/* Whether the listings of a directory are long: then few of its entries are directories. */
static int
is_long(uint64_t directory)
{
    return child(directory, "long") % 3 == 0;
}

/* What an entry of a directory is: its stat shows that, its listing mostly. */
static mode_t
kind_of(const Open *directory, uint64_t node)
{
    static const mode_t kinds[] = {S_IFREG, S_IFREG, S_IFREG, S_IFREG, S_IFREG, S_IFREG,
                                   S_IFLNK, S_IFIFO, S_IFSOCK, S_IFCHR, 0170000};
    uint64_t random = child(node, "kind");
    if (directory->depth < DEEPEST && random % (is_long(directory->node) ? 128 : 4) == 0) {
        return S_IFDIR;
    }
    return kinds[(random >> 16) % (sizeof(kinds) / sizeof(mode_t))];
}

static void
fill(struct stat *stat, uint64_t node, mode_t kind)
{
    static const int64_t sizes[] = {0, 1, -1, INT64_MAX, INT64_MIN, 1 << 20};
    uint64_t random = child(node, "stat");
    memset(stat, 0, sizeof(*stat));
    stat->st_mode = kind | (random >> 8 & 07777);
    stat->st_dev = random >> 20 & 1;
    stat->st_ino = random >> 24 & 63;
    stat->st_uid = random >> 26 & 3;
    stat->st_gid = random >> 28 & 1 ? UINT32_MAX : 7;
    stat->st_mtime = random >> 30 & 1 ? (int64_t)random : (int64_t)(random >> 50) * 86400;
    stat->st_nlink = random >> 32 & 3;
    stat->st_size = random >> 34 & 7 ? (int64_t)(random >> 44) : sizes[(random >> 37) % 6];
    stat->st_blocks = random >> 40 & 7 ? (int64_t)(random >> 56) : sizes[(random >> 43) % 6];
}

static int
fuzz_fstatat(int fd, const char *name, struct stat *stat, int flags)
{
    Open from = open_at(fd);
    uint64_t node = child(from.node, name);
    if ((errno = failing(node, flags ? "lstat" : "stat", 16)) != 0) {
        return -1;
    }
    node = flags ? node : mix(node); /* the target of a symlink is another file */
    fill(stat, node, kind_of(&from, node));
    return 0;
}

static int
fuzz_fstat(int fd, struct stat *stat)
{
    uint64_t node = open_at(fd).node;
    if ((errno = failing(node, "fstat", 64)) != 0) {
        return -1;
    }
    fill(stat, node, S_IFDIR);
    return 0;
}

static const char *const PARTS[] = {"jw01018001001_02101_00001_nrca1_cal", ".fits", "jw", "_rate",
                                    "00", "\xff", "\n", "mirimage", "%s", "..", "#", "\xc3\xa9"};

static size_t
make_name(char *name, uint64_t random)
{
    size_t length = 0;
    do {
        random = mix(random);
        const char *part = PARTS[random % (sizeof(PARTS) / sizeof(PARTS[0]))];
        size_t more = random >> 60 ? strlen(part) : 1 + (random >> 32) % 200;
        if (length + more > 255) {
            break;
        }
        if (random >> 60) {
            memcpy(name + length, part, more);
        }
        else {
            memset(name + length, 1 + (int)(random >> 16 & 0xff) % 46, more);
        }
        length += more;
    } while (random >> 50 & 3);
    if (random >> 40 & 1 && length <= 250) {
        memcpy(name + length, ".fits", 5);
        length += 5;
    }
    return length ? length : (name[0] = 'x', 1);
}

static long
fuzz_syscall(long number, ...)
{
    va_list args;
    va_start(args, number);
    int fd = va_arg(args, int);
    char *buffer = va_arg(args, char *);
    long room = va_arg(args, int);
    va_end(args);
    if (number != SYS_getdents64) {
        abort();
    }
    Open dir = open_at(fd);
    if (atomic_fetch_add(&listings, 1) >= MAX_LISTINGS) {
        fprintf(stderr, "seed %llu: a made-up tree doesn't end\n", (unsigned long long)seed);
        abort();
    }
    pthread_mutex_lock(&opened_lock);
    int listed = opened[fd - FIRST_FD].listed++;
    pthread_mutex_unlock(&opened_lock);
    /* A listing that fails fails the same way when it is tried again. */
    uint64_t random = child(dir.node, "list");
    if ((errno = failing(dir.node, "getdents", 24)) != 0) {
        return -1;
    }
    if (listed >= (int)(random % 4)) {
        return 0;
    }
    random = mix(random + (uint64_t)listed);
    unsigned entries = random >> 8 & (is_long(dir.node) ? 255 : 7);
    /* Of four directories, two have a listing without a wrong type, one has a few, one many. */
    static const unsigned wrong_types[] = {0, 0, 16, 1};
    unsigned odds = wrong_types[child(dir.node, "types") % 4];
    long at = 0;
    for (unsigned i = 0; i < entries; i++) {
        static const unsigned char types[] = {8, 8, 8, 8, 8, 0, 0, 10, 1, 200};
        random = mix(random);
        char name[256];
        size_t length = i == 0 && listed == 0 ? (name[0] = '.', 1) : make_name(name, random);
        long size = (long)((19 + length + 1 + 7) & ~7ul);
        if (at + size > room) {
            break;
        }
        name[length] = '\0';
        unsigned char type = kind_of(&dir, child(dir.node, name)) >> 12;
        if (odds != 0 && (random >> 40) % odds == 0) {
            type = types[random % sizeof(types)];
            if (dir.depth < DEEPEST && (random >> 16 & 3) == 0 && entries < 8) {
                type = 4;
            }
        }
        else if ((random >> 16 & 7) == 0) {
            type = 0; /* unknown */
        }
        unsigned short told = (unsigned short)size;
        char end = '\0';
        if (corrupt && (random >> 20) % 512 == 0) {
            static const unsigned short wrong[] = {0, 1, 8, 19, 23, 0x7fff, 0xffff};
            told = wrong[(random >> 32) % 7];
        }
        else if (corrupt && (random >> 20) % 512 == 1) {
            end = 'x'; /* a name without an end */
        }
        memset(buffer + at, 'y', (size_t)size);
        memcpy(buffer + at, &random, 8);
        memcpy(buffer + at + 16, &told, 2);
        buffer[at + 18] = (char)type;
        memcpy(buffer + at + 19, name, length);
        buffer[at + 19 + (long)length] = end;
        at += size;
    }
    return at;
}

static int
fuzz_nanosleep(const struct timespec *time, struct timespec *left)
{
    (void)time, (void)left;
    return 0;
}

static int
no_memory(void)
{
    return atomic_load(&until_no_memory) >= 0 && atomic_fetch_sub(&until_no_memory, 1) == 0;
}

static void *
fuzz_malloc(size_t size)
{
    return no_memory() ? NULL : malloc(size);
}

static void *
fuzz_calloc(size_t count, size_t size)
{
    return no_memory() ? NULL : calloc(count, size);
}

static void *
fuzz_realloc(void *old, size_t size)
{
    return no_memory() ? NULL : realloc(old, size);
}

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#undef PY_SSIZE_T_CLEAN
#undef _GNU_SOURCE
#define openat fuzz_openat
#define close fuzz_close
#define fstatat fuzz_fstatat
#define fstat fuzz_fstat
#define syscall fuzz_syscall
#define nanosleep fuzz_nanosleep
#define malloc fuzz_malloc
#define calloc fuzz_calloc
#define realloc fuzz_realloc
#include "../../../jwqlscan/scanning/native/_native.c"
