/* The reader, one call of it (a walk), and what a walk counts. */
#pragma once

#include "work.h"

typedef struct {
    uint64_t hash;
    char *key; /* NULL: a free slot */
    size_t length;
    uint64_t count;
    uint64_t bytes;
    char *sample;    /* a path of that shape */
    uint32_t number; /* from 0, in order of appearance */
} Shape;

typedef struct {
    Shape *slots;
    size_t size; /* a power of two */
    size_t used;
} ShapeTable;

/* A cell of the cube: files that are alike. See jwqlscan/model/cube.py. */
typedef struct {
    uint32_t class; /* number of the shape or, with EXTENSION_CLASS, of the extension; plus one */
    uint32_t uid, gid;
    uint16_t age, size;
    uint64_t count, bytes, allocated;
} Cell;

typedef struct {
    Cell *slots; /* class 0: free */
    size_t size; /* a power of two */
    size_t used;
} CellTable;

static const uint32_t EXTENSION_CLASS = UINT32_C(1) << 31;

typedef struct {
    uint32_t program; /* plus one; 0: a free slot */
    uint64_t count, bytes;
} Program;

typedef struct {
    Program *slots;
    size_t size;
    size_t used;
} ProgramTable;

typedef struct {
    char *path;
    const char *operation;
    int number;
} Failure;

typedef struct {
    uint64_t device, inode, links, allocated;
} LinkRow;

/* Why something was passed over; the order is that of SKIP_REASONS in readers/native.py. */
enum {
    SKIPPED_SNAPSHOT,
    SKIPPED_EXCLUDED,
    SKIPPED_MOUNT,
    SKIPPED_PSEUDO,
    SKIPPED_LOOP,
    SKIP_REASONS,
};

typedef struct {
    uint64_t entries, files, apparent, allocated, directories, symlinks, other, vanished;
    uint64_t fits_files, fits_bytes;
    uint64_t shared; /* as allocated, but of an inode with n names an nth at each */
    uint64_t skipped[SKIP_REASONS];
} Counts;

typedef struct {
    uint64_t device, inode;
    int number;
} Identity;

/* A path that is not even to be opened, and why. */
typedef struct {
    char *path;
    int reason;
} Barred;

/* Copies of some bytes objects, which are read without the GIL. */
typedef struct {
    char *text; /* one after the other, each with a NUL behind it */
    size_t *lengths;
    size_t count;
} ByteStrings;

typedef struct {
    PyObject_HEAD
    PyTypeObject *chunk_type, *place_type;
    Identity *roots;
    size_t root_count;
    uint64_t *pseudo;
    size_t pseudo_count;
    uint64_t *unsure; /* devices whose listings' types are checked entry by entry */
    size_t unsure_count;
    atomic_bool is_short; /* a directory could not be opened for want of descriptors */
    ByteStrings snapshot_names;
    Barred *skipped_paths;
    size_t skipped_count;
    PyObject *excluded;       /* callable(root path, directory, names) -> bytes, or NULL */
    bool one_file_system;
    bool follow;
    int keep_below_fd;
    int64_t *age_limits; /* times of last change, newest first; none: no cube is made */
    size_t age_count;
    ByteStrings endings;
    size_t kept_from, kept_to; /* where a name's digits matter; see NameClassifier.kept_digits */
    ByteStrings program_prefix; /* one */
    int program_digits;
    uint32_t directory_depth;
    size_t max_upper, max_lower; /* 0 and 0: directories are not reported */
    pthread_mutex_t root_totals_lock;
    RootTotals *root_totals; /* one a root */
    int64_t interval_ns; /* between two metadata operations of all workers; 0: no limit */
    Py_buffer next_ns;   /* an _Atomic int64_t: the next free slot, shared by all workers */
} Reader;

/* One call of Reader.read. */
typedef struct {
    Reader *reader;
    int root_number;
    const char *root_path;
    Dir **stack;
    size_t depth, room;
    Counts counts;
    ShapeTable shapes;
    ShapeTable extensions;
    CellTable cells;
    Cell pending; /* of the file counted last, not in `cells` yet; class 0: none */
    ProgramTable programs;
    LinkRow *links;
    size_t link_count, link_room;
    Failure *failures;
    size_t failure_count, failure_room;
    unsigned char *nested; /* by position in reader->roots */
    const atomic_int *wanted;
    _Atomic uint64_t *progress_counts; /* entries read, calls answered: others look at them */
    uint64_t entries_before;
    Place *place;
    PyObject *share;   /* callable(list of Chunk) */
    PyObject *classes; /* callable(shapes, extensions) -> two lists of numbers */
    PyObject *left;    /* list of Chunk */
    PyThreadState *thread;
    int64_t deadline;
    bool late;
    bool no_memory;
    bool raised; /* a Python exception is set */
    char *buffer;
} Walk;

static int64_t
now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Take slots for some operations and sleep until the first of them; as RateLimit.wait does. */
static void
wait_for_slot(const Reader *reader, int operations)
{
    if (reader->interval_ns == 0) {
        return;
    }
    _Atomic int64_t *next = reader->next_ns.buf;
    int64_t slot = atomic_load(next), start;
    do {
        int64_t earliest = now_ns() - BURST_NS;
        start = slot > earliest ? slot : earliest;
    } while (!atomic_compare_exchange_weak(next, &slot, start + operations * reader->interval_ns));
    int64_t delay = start - now_ns();
    if (delay > 0) {
        nanosleep(&(struct timespec){delay / 1000000000, delay % 1000000000}, NULL);
    }
}

static bool
stopped(const Walk *walk)
{
    return walk->no_memory || walk->raised;
}

static int
wanted(const Walk *walk)
{
    return atomic_load_explicit(walk->wanted, memory_order_relaxed);
}

/* Into how many parts a directory with more to list is to be split before others run out of work. */
static int
wanted_soon(const Walk *walk)
{
    return atomic_load_explicit(walk->wanted + 1, memory_order_relaxed);
}

/* Make room for one more in an array that doubles; false (and no_memory) if there is none. */
static bool
grow(Walk *walk, void **array, size_t *room, size_t used, size_t size)
{
    if (used < *room) {
        return true;
    }
    size_t larger = *room == 0 ? 64 : *room * 2;
    void *moved = realloc(*array, larger * size);
    if (moved == NULL) {
        walk->no_memory = true;
        return false;
    }
    *array = moved;
    *room = larger;
    return true;
}

static void
fail(Walk *walk, const Dir *dir, const char *name, const char *operation, int number)
{
    if (!grow(walk, (void **)&walk->failures, &walk->failure_room, walk->failure_count,
              sizeof(Failure))) {
        return;
    }
    char *path = path_of(dir, name);
    if (path == NULL) {
        walk->no_memory = true;
        return;
    }
    walk->failures[walk->failure_count++] = (Failure){path, operation, number};
}
