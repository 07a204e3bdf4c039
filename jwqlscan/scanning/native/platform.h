/* What all parts need of the system, and the sizes that were chosen. */
#pragma once

#define PY_SSIZE_T_CLEAN
#define _GNU_SOURCE
#include <Python.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    LIST_BYTES = 1 << 16,      /* of a getdents64 call: some 1,500 entries */
    LOOK_ITEMS = 8,            /* stats between two looks at whether others want work */
    MAX_SHAPES = 20000,       /* of names in one batch: it ends before its time */
    MIN_SHARE = 8,           /* entries worth giving away: 4 ms of work at 0.5 ms a stat */
    CLOCK_ITEMS = 64,          /* stats between two looks at the clock */
    LIMIT_RETRIES = 50,        /* tries to open a directory when descriptors have run out, ... */
    LIMIT_PAUSE_NS = 20000000, /* ... and the pause between them */
    TRANSIENT_RETRIES = 2,     /* of what failed with EIO or ESTALE */
    TRANSIENT_PAUSE_NS = 5000000,
    MIN_RECORD = 24,         /* bytes of a directory entry: they are rounded up to eight */
    NAME_BYTES = 256,          /* NAME_MAX + 1 */
    DIRECTORY_OPERATIONS = 4,  /* open, stat, and at least two listings */
    BURST_NS = 10000000,       /* unused slots of this long may be made up for */
    MAX_PATH_BYTES = 4096,       /* lower directories with a longer path are not reported */
    SPARE_ROWS = 64,           /* of a table of directories, before the smallest are dropped */
};

static const uint64_t MAX_BLOCKS = INT64_MAX / 512;

static const int OPEN_FLAGS =
    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;

struct linux_dirent64 { /* getdents64(2) */
    uint64_t d_ino;
    int64_t d_off;
    unsigned short d_reclen;
    unsigned char d_type;
    char d_name[];
};

/* d_type values, from dirent.h without its struct dirent */
enum { TYPE_UNKNOWN = 0, TYPE_DIR = 4, TYPE_REG = 8, TYPE_LNK = 10 };

/* Added to a listed type that is to be checked with a stat. */
enum { TYPE_UNSURE = 0x80 };

/* In place of an errno: the listing gave an entry another type than its stat. As in readers/base.py. */
enum { WRONG_TYPE = -1 };
