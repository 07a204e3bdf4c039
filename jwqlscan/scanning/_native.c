/* The compiled reader: same contract as ScandirReader.read (scandir_reader.py).
 *
 * What differs is the mechanism only: directories are walked below some work with the GIL released
 * (openat, fstat, getdents64, one fstatat a file), pending directories are kept here instead of as
 * Python objects, and FITS names are counted by their shape; Python classifies each shape. There is
 * no policy here: what is skipped comes in as data, exclude patterns as a Python callable.
 *
 * Thread safety, with and without the GIL: a Walk belongs to the one call that made it; a Chunk is
 * emptied by the one worker that took it off the pool's stack; a Reader is not written after it was
 * made; a Dir is shared by those below it, and its two counts are atomic. Its descriptor is only
 * touched by who is counted in `users`, and is closed by the last of them; its other members do not
 * change once a second thread can see it. (The position of an open directory does: it belongs to
 * the worker that has the one Chunk which says `more`.) A Place is locked: its worker sets it, and
 * others ask where that worker is, also while it hangs in the kernel. A Ledger is locked, too: each
 * worker adds to it once a directory.
 */
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
    MOST_SHAPES = 20000,       /* of names in one batch: it ends before its time */
    LEAST_SHARE = 8,           /* entries worth giving away: 4 ms of work at 0.5 ms a stat */
    CLOCK_ITEMS = 64,          /* stats between two looks at the clock */
    LIMIT_RETRIES = 50,        /* tries to open a directory when descriptors have run out, ... */
    LIMIT_PAUSE_NS = 20000000, /* ... and the pause between them */
    TRANSIENT_RETRIES = 2,     /* of what failed with EIO or ESTALE */
    TRANSIENT_PAUSE_NS = 5000000,
    LEAST_RECORD = 24,         /* bytes of a directory entry: they are rounded up to eight */
    NAME_BYTES = 256,          /* NAME_MAX + 1 */
    DIRECTORY_OPERATIONS = 4,  /* open, stat, and at least two listings */
    BURST_NS = 10000000,       /* unused slots of this long may be made up for */
    LONGEST_TOLD = 4096,       /* bytes: of a lower directory whose path is longer nothing is told */
    SPARE_ROWS = 64,           /* of a table of directories, before the smallest are dropped */
};

static const uint64_t MOST_BLOCKS = INT64_MAX / 512;

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

/* ---- directories ------------------------------------------------------------------------- */

/* What is in a directory and below it: as DirectorySum in jwqlscan/directories.py. */
enum { SUM_FILES, SUM_APPARENT, SUM_ALLOCATED, SUM_FITS_FILES, SUM_FITS_BYTES, SUMS };

typedef struct {
    uint64_t of[SUMS];
} Sums;

typedef struct {
    char *path;
    Sums sums;
} Told;

/* The largest of some directories; up to twice as many, until the smallest are dropped. */
typedef struct {
    Told *rows;
    size_t used, room, most;
    uint64_t dropped;
    bool is_cut;
    uint64_t least; /* with is_cut: apparent bytes of the smallest one kept */
} ToldTable;

struct Account;

/* What the directories of one root sum up to. Its lock is held for no system call. */
typedef struct Ledger {
    atomic_int refs; /* the reader and the root directory */
    pthread_mutex_t lock;
    int root_number;
    uint32_t depth;
    bool no_memory;
    ToldTable upper, lower; /* down to the depth, and below: what is finished */
    struct Account *live;   /* the upper ones that are not */
    struct Ledger *next;
} Ledger;

/* A directory that waits to be read, or is read, or was and has others waiting below it. */
typedef struct Dir {
    atomic_int refs;  /* who may ask for its path */
    atomic_int users; /* who needs it open: itself while it is read, and those that wait below */
    bool waiting;     /* not opened yet: it is one of its parent's users */
    int fd;           /* -1: not open */
    struct Dir *parent; /* NULL: a root */
    dev_t device;       /* of the directory itself once it is open */
    struct Account *account; /* NULL: it is not read yet, or directories are not told */
    size_t length;
    char name[]; /* of a root: its whole path */
} Dir;

/* What a directory that is read comes to; apart from it, as many more may wait to be read. Its
 * numbers and its place among the live ones are under the ledger's lock. */
typedef struct Account {
    Ledger *ledger;
    Dir *dir;
    struct Account *upper; /* the nearest of the ledger's depth, itself perhaps */
    size_t path_length;    /* bytes */
    struct Account *live_before, *live_after;
    uint32_t level; /* 0: a root */
    Sums sums;      /* here, and of what is finished below; of the upper ones also of the lower ones
                       below them */
} Account;

static char *path_of(const Dir *dir, const char *name);

static Dir *
dir_new(Dir *parent, const char *name, size_t length)
{
    Dir *dir = malloc(sizeof(Dir) + length + 1);
    if (dir == NULL) {
        return NULL;
    }
    atomic_init(&dir->refs, 1);
    atomic_init(&dir->users, 1);
    dir->waiting = parent != NULL;
    dir->fd = -1;
    dir->parent = parent;
    dir->device = parent == NULL ? 0 : parent->device;
    dir->account = NULL;
    dir->length = length;
    memcpy(dir->name, name, length);
    dir->name[length] = '\0';
    if (parent != NULL) {
        atomic_fetch_add_explicit(&parent->refs, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&parent->users, 1, memory_order_relaxed);
    }
    return dir;
}

/* One that needed the directory open does no longer; the last one closes it. */
static void
dir_unuse(Dir *dir)
{
    if (atomic_fetch_sub_explicit(&dir->users, 1, memory_order_acq_rel) == 1 && dir->fd >= 0) {
        close(dir->fd);
        dir->fd = -1;
    }
}

/* It has been opened, or can't be: its parent need not stay open for it. */
static void
dir_arrived(Dir *dir)
{
    if (dir->waiting) {
        dir->waiting = false;
        dir_unuse(dir->parent);
    }
}

/* No sum grows beyond what a database's column holds. */
static void
sums_add(Sums *sums, const Sums *more)
{
    for (int i = 0; i < SUMS; i++) {
        uint64_t room = INT64_MAX - sums->of[i];
        sums->of[i] += more->of[i] < room ? more->of[i] : room;
    }
}

/* The larger first, of equal ones the first by path. */
static int
told_order(const void *first, const void *second)
{
    const Told *a = first, *b = second;
    uint64_t of_a = a->sums.of[SUM_APPARENT], of_b = b->sums.of[SUM_APPARENT];
    if (of_a != of_b) {
        return of_a > of_b ? -1 : 1;
    }
    return strcmp(a->path, b->path);
}

static void
told_cut(ToldTable *table)
{
    if (table->used <= table->most) {
        return; /* always so with none to be kept: then none is added */
    }
    qsort(table->rows, table->used, sizeof(Told), told_order);
    for (size_t i = table->most; i < table->used; i++) {
        free(table->rows[i].path);
    }
    table->dropped += table->used - table->most;
    table->used = table->most;
    table->is_cut = true;
    table->least = table->rows[table->most - 1].sums.of[SUM_APPARENT];
}

/* Keep a finished directory's sums, if there are not that many larger ones; false: no memory. */
static bool
told_add(ToldTable *table, const Account *account)
{
    const Sums *sums = &account->sums;
    if (table->most == 0 || (table->is_cut && sums->of[SUM_APPARENT] < table->least)) {
        table->dropped++;
        return true;
    }
    if (table->used == table->room) {
        if (table->room >= 2 * table->most + SPARE_ROWS) {
            told_cut(table);
        }
        else {
            size_t room = table->room == 0 ? SPARE_ROWS : table->room * 2;
            room = room < 2 * table->most + SPARE_ROWS ? room : 2 * table->most + SPARE_ROWS;
            Told *rows = realloc(table->rows, room * sizeof(Told));
            if (rows == NULL) {
                return false;
            }
            table->rows = rows;
            table->room = room;
        }
    }
    char *path = path_of(account->dir, NULL);
    if (path == NULL) {
        return false;
    }
    table->rows[table->used++] = (Told){path, *sums};
    return true;
}

static void
told_clear(ToldTable *table)
{
    for (size_t i = 0; i < table->used; i++) {
        free(table->rows[i].path);
    }
    free(table->rows);
}

static void
ledger_release(Ledger *ledger)
{
    if (ledger != NULL
        && atomic_fetch_sub_explicit(&ledger->refs, 1, memory_order_acq_rel) == 1) {
        told_clear(&ledger->upper);
        told_clear(&ledger->lower);
        pthread_mutex_destroy(&ledger->lock);
        free(ledger);
    }
}

/* It is read here, and told from then on; false: no memory. */
static bool
account_open(Ledger *ledger, Dir *dir)
{
    Account *parent = dir->parent == NULL ? NULL : dir->parent->account;
    Account *account = calloc(1, sizeof(Account));
    if (account == NULL) {
        return false;
    }
    account->ledger = ledger;
    account->dir = dir;
    account->level = parent == NULL ? 0 : parent->level + 1;
    account->path_length = dir->length;
    if (parent != NULL) {
        const Dir *above = dir->parent;
        bool slashed = above->length > 0 && above->name[above->length - 1] == '/';
        account->path_length += parent->path_length + !slashed;
    }
    account->upper = account->level > ledger->depth ? parent->upper : account;
    if (account->upper == account) {
        pthread_mutex_lock(&ledger->lock);
        account->live_after = ledger->live;
        if (ledger->live != NULL) {
            ledger->live->live_before = account;
        }
        ledger->live = account;
        pthread_mutex_unlock(&ledger->lock);
    }
    dir->account = account;
    return true;
}

/* Some of the files that lie in it have been read. */
static void
account_add(Account *account, const Sums *own)
{
    pthread_mutex_lock(&account->ledger->lock);
    sums_add(&account->sums, own);
    if (account->upper != account) {
        sums_add(&account->upper->sums, own);
    }
    pthread_mutex_unlock(&account->ledger->lock);
}

/* All that is below it has been read, or never will be. */
static void
account_close(Dir *dir)
{
    Account *account = dir->account;
    if (account == NULL) {
        return;
    }
    Account *parent = dir->parent == NULL ? NULL : dir->parent->account;
    Ledger *ledger = account->ledger;
    bool is_upper = account->upper == account;
    pthread_mutex_lock(&ledger->lock);
    if (is_upper) {
        *(account->live_before != NULL ? &account->live_before->live_after : &ledger->live) =
            account->live_after;
        if (account->live_after != NULL) {
            account->live_after->live_before = account->live_before;
        }
    }
    /* The upper ones know of what is in the lower ones already. */
    if (parent != NULL && (is_upper || parent->upper != parent)) {
        sums_add(&parent->sums, &account->sums);
    }
    bool is_told = is_upper || account->sums.of[SUM_APPARENT] > 0;
    if (is_told && !is_upper && account->path_length > LONGEST_TOLD) {
        ledger->lower.dropped++;
    }
    else if (is_told && !told_add(is_upper ? &ledger->upper : &ledger->lower, account)) {
        ledger->no_memory = true;
    }
    pthread_mutex_unlock(&ledger->lock);
    free(account);
    dir->account = NULL;
    if (dir->parent == NULL) {
        ledger_release(ledger);
    }
}

static void
dir_release(Dir *dir)
{
    /* A loop, not a recursion: a chain may be as deep as the tree. */
    while (dir != NULL
           && atomic_fetch_sub_explicit(&dir->refs, 1, memory_order_acq_rel) == 1) {
        Dir *parent = dir->parent;
        dir_arrived(dir);
        account_close(dir);
        if (dir->fd >= 0) {
            close(dir->fd);
        }
        free(dir);
        dir = parent;
    }
}

/* A chunk of a directory's entries needs it open, too. */
static Dir *
dir_hold_open(Dir *dir)
{
    atomic_fetch_add_explicit(&dir->refs, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&dir->users, 1, memory_order_relaxed);
    return dir;
}

static void
dir_release_open(Dir *dir)
{
    if (dir != NULL) {
        dir_unuse(dir);
        dir_release(dir);
    }
}

/* Return the path of an entry (or, with name NULL, of the directory itself); NULL: no memory. */
static char *
path_of(const Dir *dir, const char *name)
{
    size_t size = name == NULL ? 1 : strlen(name) + 2;
    for (const Dir *d = dir; d != NULL; d = d->parent) {
        size += d->length + 1;
    }
    char *path = malloc(size);
    if (path == NULL) {
        return NULL;
    }
    char *end = path + size - 1;
    *end = '\0';
    if (name != NULL) {
        size_t length = strlen(name);
        end -= length;
        memcpy(end, name, length);
    }
    for (const Dir *d = dir; d != NULL; d = d->parent) {
        bool slashed = d->length > 0 && d->name[d->length - 1] == '/'; /* the root "/" */
        if (*end != '\0' && !slashed) {
            *--end = '/';
        }
        end -= d->length;
        memcpy(end, d->name, d->length);
    }
    memmove(path, end, strlen(end) + 1);
    return path;
}

/* ---- places: where a worker is ------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    pthread_mutex_t lock; /* never held across a system call that may hang */
    Dir *dir;             /* NULL: nowhere */
} Place;

static PyTypeObject *Place_Type; /* as Chunk_Type */

static void
place_set(Place *place, Dir *dir)
{
    if (dir != NULL) {
        atomic_fetch_add_explicit(&dir->refs, 1, memory_order_relaxed);
    }
    pthread_mutex_lock(&place->lock);
    Dir *before = place->dir;
    place->dir = dir;
    pthread_mutex_unlock(&place->lock);
    dir_release(before);
}

static PyObject *
place_path(PyObject *self, PyObject *unused)
{
    (void)unused;
    Place *place = (Place *)self;
    pthread_mutex_lock(&place->lock);
    char *path = place->dir == NULL ? strdup("") : path_of(place->dir, NULL);
    pthread_mutex_unlock(&place->lock);
    if (path == NULL) {
        return PyErr_NoMemory();
    }
    PyObject *text = PyUnicode_DecodeFSDefault(path);
    free(path);
    return text;
}

static PyObject *
place_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    if (PyTuple_GET_SIZE(args) > 0 || (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0)) {
        PyErr_SetString(PyExc_TypeError, "Place() takes no arguments");
        return NULL;
    }
    Place *place = (Place *)type->tp_alloc(type, 0);
    if (place != NULL) {
        pthread_mutex_init(&place->lock, NULL);
    }
    return (PyObject *)place;
}

static void
place_dealloc(PyObject *self)
{
    Place *place = (Place *)self;
    dir_release(place->dir);
    pthread_mutex_destroy(&place->lock);
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef place_methods[] = {
    {"path", place_path, METH_NOARGS, "path()\n--\n\nThe directory that is being read, or \"\"."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot place_slots[] = {
    {Py_tp_new, place_new},
    {Py_tp_dealloc, place_dealloc},
    {Py_tp_methods, place_methods},
    {Py_tp_doc, "Place()\n--\n\nWhere a worker is; others may ask while it reads."},
    {0, NULL},
};

static PyType_Spec place_spec = {
    .name = "jwqlscan.scanning._native.Place",
    .basicsize = sizeof(Place),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = place_slots,
};

/* ---- chunks: work as the pool holds it ----------------------------------------------------- */

/* Some pending directories, or some listed entries of one directory. */
typedef struct {
    PyObject_HEAD
    Dir **dirs;
    size_t dir_count;
    Dir *in;     /* the names' directory, open; NULL without names */
    char *names; /* each: its d_type, the name, NUL */
    size_t names_size;
    size_t name_count;
    bool more; /* `in` has not been listed to its end */
} Chunk;

static PyTypeObject *Chunk_Type; /* one per process; made at import, never written again */

static void
chunk_dealloc(PyObject *self)
{
    Chunk *chunk = (Chunk *)self;
    for (size_t i = 0; i < chunk->dir_count; i++) {
        dir_release(chunk->dirs[i]);
    }
    free(chunk->dirs);
    dir_release_open(chunk->in);
    free(chunk->names);
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static Py_ssize_t
chunk_length(PyObject *self)
{
    Chunk *chunk = (Chunk *)self;
    return (Py_ssize_t)(chunk->dir_count + chunk->name_count);
}

static PyType_Slot chunk_slots[] = {
    {Py_tp_dealloc, chunk_dealloc},
    {Py_sq_length, chunk_length},
    {Py_tp_doc, "Some pending work of a native reader; its length is in entries."},
    {0, NULL},
};

static PyType_Spec chunk_spec = {
    .name = "jwqlscan.scanning._native.Chunk",
    .basicsize = sizeof(Chunk),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = chunk_slots,
};

/* Wrap what is given into a chunk, which owns it from then on; on failure it is freed. */
static PyObject *
chunk_new(Dir **dirs, size_t dir_count, Dir *in, char *names, size_t names_size,
          size_t name_count, bool more)
{
    Chunk *chunk = (Chunk *)Chunk_Type->tp_alloc(Chunk_Type, 0);
    if (chunk == NULL) {
        for (size_t i = 0; i < dir_count; i++) {
            dir_release(dirs[i]);
        }
        free(dirs);
        dir_release_open(in);
        free(names);
        return NULL;
    }
    chunk->dirs = dirs;
    chunk->dir_count = dir_count;
    chunk->in = in;
    chunk->names = names;
    chunk->names_size = names_size;
    chunk->name_count = name_count;
    chunk->more = more;
    return (PyObject *)chunk;
}

/* ---- what is counted ----------------------------------------------------------------------- */

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

/* A cell of the cube: files that are alike. See jwqlscan/cube.py. */
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

/* Why something was passed over; the order is that of SKIP_REASONS in native_reader.py. */
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

/* ---- the reader ---------------------------------------------------------------------------- */

typedef struct {
    uint64_t device, inode;
    int number;
} Identity;

/* A path that is not even to be opened, and why. */
typedef struct {
    const char *path;
    int reason;
} Barred;

typedef struct {
    PyObject_HEAD
    Identity *roots;
    size_t root_count;
    uint64_t *pseudo;
    size_t pseudo_count;
    PyObject *snapshot_names; /* tuple of bytes */
    PyObject *barred_paths;   /* tuple of (bytes, int): keeps what `barred` points to */
    Barred *barred;
    size_t barred_count;
    PyObject *excluded;       /* callable(root path, directory, names) -> bytes, or NULL */
    bool one_file_system;
    bool follow;
    int keep_below_fd;
    int64_t *age_limits; /* times of last change, newest first; none: no cube is made */
    size_t age_count;
    PyObject *endings;         /* tuple of bytes */
    size_t kept_from, kept_to; /* where a name's digits matter; see NameClassifier.kept_digits */
    const char *program_prefix; /* in `program_prefix_bytes` */
    size_t program_prefix_length;
    PyObject *program_prefix_bytes;
    int program_digits;
    uint32_t told_depth;
    size_t told_most, told_largest; /* 0 and 0: directories are not told */
    pthread_mutex_t ledgers_lock;
    Ledger *ledgers; /* one a root */
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
    ProgramTable programs;
    LinkRow *links;
    size_t link_count, link_room;
    Failure *failures;
    size_t failure_count, failure_room;
    unsigned char *nested; /* by position in reader->roots */
    const atomic_int *wanted;
    _Atomic uint64_t *gauges; /* entries read, calls answered: others look at them */
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

/* Take slots for some operations and sleep until the first of them; as Pace.wait does. */
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

static bool
is_vanished(int number)
{
    return number == ENOENT || number == ENOTDIR || number == ELOOP;
}

/* Copy a name with every digit of runs of three or more replaced by '0', but those that the naming
 * scheme wants kept; return its hash. */
static uint64_t
make_shape(const Reader *reader, const char *name, size_t length, char *shape)
{
    memset(shape + (length & ~(size_t)7), 0, 8);
    memcpy(shape, name, length);
    size_t run = 0;
    for (size_t i = 0; i <= length; i++) {
        if (i < length && name[i] >= '0' && name[i] <= '9') {
            run++;
            continue;
        }
        if (run >= 3) {
            memset(shape + i - run, '0', run);
        }
        run = 0;
    }
    size_t from = reader->kept_from, to = reader->kept_to < length ? reader->kept_to : length;
    if (from < to) {
        memcpy(shape + from, name + from, to - from);
    }
    uint64_t hash = length;
    for (size_t i = 0; i < length; i += 8) {
        uint64_t word;
        memcpy(&word, shape + i, 8);
        hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
        hash ^= hash >> 29;
    }
    return hash;
}

static bool
shapes_grow(Walk *walk, ShapeTable *table)
{
    size_t larger = table->size == 0 ? 256 : table->size * 2;
    Shape *slots = calloc(larger, sizeof(Shape));
    if (slots == NULL) {
        walk->no_memory = true;
        return false;
    }
    for (size_t i = 0; i < table->size; i++) {
        if (table->slots[i].key != NULL) {
            size_t at = table->slots[i].hash & (larger - 1);
            while (slots[at].key != NULL) {
                at = (at + 1) & (larger - 1);
            }
            slots[at] = table->slots[i];
        }
    }
    free(table->slots);
    table->slots = slots;
    table->size = larger;
    return true;
}

/* The slot of a shape, a new one if need be; NULL: no memory. */
static Shape *
shape_slot(Walk *walk, ShapeTable *table, const char *shape, size_t length, uint64_t hash)
{
    if (table->used * 2 >= table->size && !shapes_grow(walk, table)) {
        return NULL;
    }
    size_t at = hash & (table->size - 1);
    for (;; at = (at + 1) & (table->size - 1)) {
        Shape *slot = &table->slots[at];
        if (slot->key == NULL) {
            char *key = malloc(length + 1);
            if (key == NULL) {
                walk->no_memory = true;
                return NULL;
            }
            memcpy(key, shape, length);
            *slot = (Shape){.hash = hash, .key = key, .length = length,
                            .number = (uint32_t)table->used};
            table->used++;
            return slot;
        }
        if (slot->hash == hash && slot->length == length
            && memcmp(slot->key, shape, length) == 0) {
            return slot;
        }
    }
}

/* Whether a name has one of the endings that products have: those are the FITS files. */
static bool
is_fits(const Reader *reader, const char *name, size_t length)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(reader->endings); i++) {
        PyObject *ending = PyTuple_GET_ITEM(reader->endings, i); /* immutable: read without the GIL */
        size_t size = (size_t)PyBytes_GET_SIZE(ending);
        if (length >= size
            && memcmp(name + length - size, PyBytes_AS_STRING(ending), size) == 0) {
            return true;
        }
    }
    return false;
}

/* Count a FITS file by its name's shape; return the number of its class in the cube. */
static uint32_t
count_fits(Walk *walk, const Dir *dir, const char *name, size_t length, uint64_t size)
{
    walk->counts.fits_files++;
    walk->counts.fits_bytes += size;
    char shape[NAME_BYTES + 8];
    uint64_t hash = make_shape(walk->reader, name, length, shape);
    Shape *slot = shape_slot(walk, &walk->shapes, shape, length, hash);
    if (slot == NULL) {
        return 0;
    }
    if (slot->sample == NULL) {
        slot->sample = path_of(dir, name);
        if (slot->sample == NULL) {
            walk->no_memory = true;
            return 0;
        }
    }
    slot->count++;
    slot->bytes += size;
    return slot->number + 1;
}

/* ---- the cube; same contract as jwqlscan/cube.py --------------------------------------------- */

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The class of a file by its extension. */
static uint32_t
extension_class(Walk *walk, const char *name, size_t length)
{
    char ending[16] = {0};
    size_t at = length;
    while (at > 0 && name[at - 1] != '.') {
        at--;
    }
    size_t count = length - at, stem = 0;
    while (stem + 1 < at && name[stem] == '.') {
        stem++;
    }
    bool good = at > 1 && stem + 1 < at && count > 0 && count < sizeof(ending);
    for (size_t i = 0; good && i < count; i++) {
        char c = name[at + i];
        if (c >= 'A' && c <= 'Z') {
            c += 'a' - 'A';
        }
        good = (c >= 'a' && c <= 'z') || is_digit(c) || c == '_' || c == '-' || c == '+'
               || c == '~';
        ending[i] = c;
    }
    if (!good) {
        count = 0;
        memset(ending, 0, sizeof(ending));
    }
    uint64_t words[2];
    memcpy(words, ending, sizeof(words));
    uint64_t hash = (words[0] ^ words[1] * UINT64_C(0x9E3779B97F4A7C15))
                    * UINT64_C(0xBF58476D1CE4E5B9);
    hash ^= hash >> 29;
    Shape *slot = shape_slot(walk, &walk->extensions, ending, count, hash);
    return slot == NULL ? 0 : (EXTENSION_CLASS | (slot->number + 1));
}

static size_t
cell_hash(const Cell *cell)
{
    uint64_t hash = ((uint64_t)cell->uid << 32 | cell->gid) * UINT64_C(0x9E3779B97F4A7C15);
    hash ^= (uint64_t)cell->class << 24 | (uint64_t)cell->age << 8 | cell->size;
    hash *= UINT64_C(0xBF58476D1CE4E5B9);
    return (size_t)(hash ^ hash >> 31);
}

static size_t
program_hash(uint32_t program)
{
    return (size_t)(program * UINT64_C(0x9E3779B97F4A7C15) >> 24);
}

static bool
cells_grow(Walk *walk, CellTable *table)
{
    size_t larger = table->size == 0 ? 256 : table->size * 2;
    Cell *slots = calloc(larger, sizeof(Cell));
    if (slots == NULL) {
        walk->no_memory = true;
        return false;
    }
    CellTable grown = {slots, larger, table->used};
    for (size_t i = 0; i < table->size; i++) {
        const Cell *cell = &table->slots[i];
        if (cell->class != 0) {
            size_t at = cell_hash(cell) & (larger - 1);
            while (slots[at].class != 0) {
                at = (at + 1) & (larger - 1);
            }
            slots[at] = *cell;
        }
    }
    free(table->slots);
    *table = grown;
    return true;
}

/* Add files to a cell, a new one if need be. */
static void
add_to_cell(Walk *walk, CellTable *table, const Cell *more)
{
    if (table->used * 2 >= table->size && !cells_grow(walk, table)) {
        return;
    }
    size_t at = cell_hash(more) & (table->size - 1);
    for (;; at = (at + 1) & (table->size - 1)) {
        Cell *cell = &table->slots[at];
        if (cell->class == 0) {
            *cell = *more;
            table->used++;
            return;
        }
        if (cell->class == more->class && cell->uid == more->uid && cell->gid == more->gid
            && cell->age == more->age && cell->size == more->size) {
            cell->count += more->count;
            cell->bytes += more->bytes;
            cell->allocated += more->allocated;
            return;
        }
    }
}

static void
count_cell(Walk *walk, uint32_t class, const struct stat *stat, uint64_t size, uint64_t allocated)
{
    const Reader *reader = walk->reader;
    if (class == 0) {
        return;
    }
    Cell one = {.class = class, .uid = stat->st_uid, .gid = stat->st_gid, .count = 1,
                .bytes = size, .allocated = allocated};
    while (one.age < reader->age_count && stat->st_mtime <= reader->age_limits[one.age]) {
        one.age++;
    }
    one.size = size == 0 ? 0 : (uint16_t)(64 - __builtin_clzll(size));
    add_to_cell(walk, &walk->cells, &one);
}

static void
count_program(Walk *walk, const char *name, size_t length, uint64_t size)
{
    const Reader *reader = walk->reader;
    size_t start = reader->program_prefix_length, digits = (size_t)reader->program_digits;
    if (digits == 0 || length < start + digits
        || memcmp(name, reader->program_prefix, start) != 0) {
        return;
    }
    uint32_t program = 0;
    for (size_t i = start; i < start + digits; i++) {
        if (!is_digit(name[i])) {
            return;
        }
        program = program * 10 + (uint32_t)(name[i] - '0');
    }
    ProgramTable *table = &walk->programs;
    if (table->used * 2 >= table->size) {
        size_t larger = table->size == 0 ? 64 : table->size * 2;
        Program *slots = calloc(larger, sizeof(Program));
        if (slots == NULL) {
            walk->no_memory = true;
            return;
        }
        for (size_t i = 0; i < table->size; i++) {
            if (table->slots[i].program != 0) {
                size_t at = program_hash(table->slots[i].program) & (larger - 1);
                while (slots[at].program != 0) {
                    at = (at + 1) & (larger - 1);
                }
                slots[at] = table->slots[i];
            }
        }
        free(table->slots);
        table->slots = slots;
        table->size = larger;
    }
    size_t at = program_hash(program + 1) & (table->size - 1);
    while (table->slots[at].program != 0 && table->slots[at].program != program + 1) {
        at = (at + 1) & (table->size - 1);
    }
    Program *slot = &table->slots[at];
    if (slot->program == 0) {
        slot->program = program + 1;
        table->used++;
    }
    slot->count++;
    slot->bytes += size;
}

/* ---- giving work away (these take the GIL) -------------------------------------------------- */

static void
take_gil(Walk *walk)
{
    PyEval_RestoreThread(walk->thread);
}

static void
drop_gil(Walk *walk)
{
    walk->thread = PyEval_SaveThread();
}

/* Append a chunk to a list; false if either can't be had. */
static bool
append_chunk(PyObject *list, PyObject *chunk)
{
    if (chunk == NULL) {
        return false;
    }
    int failed = PyList_Append(list, chunk);
    Py_DECREF(chunk);
    return failed == 0;
}

static void
give(Walk *walk, PyObject *list, bool good)
{
    PyObject *result = NULL;
    if (good) {
        result = PyObject_CallOneArg(walk->share, list);
    }
    if (result == NULL) {
        walk->raised = true;
    }
    Py_XDECREF(result);
    Py_XDECREF(list);
}

/* Give the older half of the pending directories to the others, one chunk for each. The half is
 * rounded up where this worker has other things to do, else down: it keeps one for itself. */
static void
share_dirs(Walk *walk, int others, bool busy)
{
    size_t count = (walk->depth + (busy ? 1 : 0)) / 2;
    size_t parts = (size_t)others < count ? (size_t)others : count;
    if (parts == 0) {
        return;
    }
    take_gil(walk);
    PyObject *list = PyList_New(0);
    bool good = list != NULL;
    size_t start = 0;
    for (size_t part = 0; part < parts; part++) {
        size_t end = count * (part + 1) / parts;
        size_t size = end - start;
        Dir **dirs = good ? malloc(size * sizeof(Dir *)) : NULL;
        if (dirs == NULL) {
            if (good) {
                PyErr_NoMemory();
            }
            good = false;
            break;
        }
        memcpy(dirs, walk->stack + start, size * sizeof(Dir *));
        start = end;
        good = append_chunk(list, chunk_new(dirs, size, NULL, NULL, 0, 0, false));
    }
    memmove(walk->stack, walk->stack + start, (walk->depth - start) * sizeof(Dir *));
    walk->depth -= start;
    give(walk, list, good);
    drop_gil(walk);
}

/* An entry to be stat'ed; its d_type is in front of the name in a chunk. */
typedef struct {
    const char *name;
    unsigned char type;
} Item;

/* Wrap items into a chunk (with the GIL). */
static PyObject *
chunk_of_items(Dir *dir, const Item *items, size_t count, bool more)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        size += strlen(items[i].name) + 2;
    }
    char *names = malloc(size == 0 ? 1 : size);
    if (names == NULL) {
        return PyErr_NoMemory();
    }
    char *at = names;
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(items[i].name) + 1;
        *at++ = (char)items[i].type;
        memcpy(at, items[i].name, length);
        at += length;
    }
    return chunk_new(NULL, 0, dir_hold_open(dir), names, size, count, more);
}

/* Give items away in equal parts and return how many are kept: the first part, or none while the
 * directory has more to list, since nobody else can list on and the others would run dry. */
static size_t
share_items(Walk *walk, Dir *dir, const Item *items, size_t count, int others, bool more)
{
    size_t parts = (size_t)others + (more ? 0 : 1);
    size_t part = (count + parts - 1) / parts;
    if (part < LEAST_SHARE) {
        part = LEAST_SHARE;
    }
    size_t kept = more ? 0 : part;
    if (kept >= count) {
        return count;
    }
    take_gil(walk);
    PyObject *list = PyList_New(0);
    bool good = list != NULL;
    for (size_t start = kept; good && start < count; start += part) {
        size_t size = count - start < part ? count - start : part;
        good = append_chunk(list, chunk_of_items(dir, items + start, size, false));
    }
    give(walk, list, good);
    drop_gil(walk);
    return kept;
}

/* Leave items, or the rest of a listing, for a later call. */
static void
leave_items(Walk *walk, Dir *dir, const Item *items, size_t count, bool more)
{
    take_gil(walk);
    if (!append_chunk(walk->left, chunk_of_items(dir, items, count, more))) {
        walk->raised = true;
    }
    drop_gil(walk);
}

/* ---- reading ------------------------------------------------------------------------------- */

static void
push(Walk *walk, Dir *parent, const char *name)
{
    if (!grow(walk, (void **)&walk->stack, &walk->room, walk->depth, sizeof(Dir *))) {
        return;
    }
    Dir *dir = dir_new(parent, name, strlen(name));
    if (dir == NULL) {
        walk->no_memory = true;
        return;
    }
    walk->stack[walk->depth++] = dir;
}

static void
count_subdirectory(Walk *walk, Dir *dir, const char *name)
{
    PyObject *names = walk->reader->snapshot_names;
    size_t length = strlen(name);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names); i++) {
        PyObject *other = PyTuple_GET_ITEM(names, i); /* immutable: read without the GIL */
        if ((size_t)PyBytes_GET_SIZE(other) == length
            && memcmp(PyBytes_AS_STRING(other), name, length) == 0) {
            walk->counts.skipped[SKIPPED_SNAPSHOT]++;
            return;
        }
    }
    push(walk, dir, name);
}

/* A system call has come back, whatever it said: the storage is alive. */
static void
answered(Walk *walk)
{
    uint64_t entries = walk->entries_before + walk->counts.entries;
    uint64_t answers = atomic_load_explicit(&walk->gauges[1], memory_order_relaxed);
    atomic_store_explicit(&walk->gauges[0], entries, memory_order_relaxed);
    atomic_store_explicit(&walk->gauges[1], answers + 1, memory_order_relaxed);
}

/* Whether what failed is to be tried again, after a pause: a disk or a server may recover. */
static bool
is_worth_another_try(int number, int *tries)
{
    if ((number != EIO && number != ESTALE) || *tries == TRANSIENT_RETRIES) {
        return false;
    }
    (*tries)++;
    nanosleep(&(struct timespec){0, TRANSIENT_PAUSE_NS}, NULL);
    return true;
}

static int
stat_item(Walk *walk, const Dir *dir, const char *name, struct stat *stat)
{
    int tries = 0;
    for (;;) {
        int failed = fstatat(dir->fd, name, stat, AT_SYMLINK_NOFOLLOW);
        int number = errno;
        answered(walk);
        if (failed == 0 || !is_worth_another_try(number, &tries)) {
            errno = number;
            return failed;
        }
    }
}

static void
count_item(Walk *walk, Dir *dir, const Item *item)
{
    Counts *counts = &walk->counts;
    struct stat stat;
    counts->entries++;
    if (item->type != TYPE_REG && item->type != TYPE_UNKNOWN
        && !(item->type == TYPE_LNK && walk->reader->follow)) {
        if (item->type == TYPE_LNK) {
            counts->symlinks++;
        }
        else {
            counts->other++;
        }
        return;
    }
    wait_for_slot(walk->reader, 1);
    if (stat_item(walk, dir, item->name, &stat) != 0) {
        if (is_vanished(errno)) {
            counts->vanished++;
        }
        else {
            fail(walk, dir, item->name, "stat", errno);
        }
        return;
    }
    bool linked = false;
    if (S_ISLNK(stat.st_mode)) {
        struct stat target;
        if (!walk->reader->follow || fstatat(dir->fd, item->name, &target, 0) != 0
            || !S_ISREG(target.st_mode)) {
            counts->symlinks++;
            return;
        }
        stat = target;
        linked = true; /* what it occupies is counted where it lies */
    }
    else if (S_ISDIR(stat.st_mode)) {
        if (item->type == TYPE_UNKNOWN) {
            counts->entries--; /* counted when it is opened */
            count_subdirectory(walk, dir, item->name);
        }
        else {
            counts->vanished++; /* it was none when the directory was listed */
        }
        return;
    }
    else if (!S_ISREG(stat.st_mode)) {
        counts->other++;
        return;
    }
    uint64_t size = stat.st_size > 0 ? (uint64_t)stat.st_size : 0;
    uint64_t blocks = stat.st_blocks > 0 ? (uint64_t)stat.st_blocks : 0;
    uint64_t allocated = blocks < MOST_BLOCKS ? blocks * 512 : MOST_BLOCKS * 512;
    counts->files++;
    counts->apparent += size;
    uint64_t share = linked ? 0 : allocated / (stat.st_nlink > 1 ? stat.st_nlink : 1);
    if (linked) {
    }
    else if (stat.st_nlink > 1) {
        if (!grow(walk, (void **)&walk->links, &walk->link_room, walk->link_count,
                  sizeof(LinkRow))) {
            return;
        }
        walk->links[walk->link_count++] =
            (LinkRow){stat.st_dev, stat.st_ino, stat.st_nlink, allocated};
    }
    else {
        counts->allocated += allocated;
    }
    size_t length = strlen(item->name);
    uint32_t class = 0;
    if (length < NAME_BYTES && is_fits(walk->reader, item->name, length)) {
        class = count_fits(walk, dir, item->name, length, size);
    }
    counts->shared += share;
    if (walk->reader->age_count > 0) {
        class = class != 0 ? class : extension_class(walk, item->name, length);
        count_cell(walk, class, &stat, size, share);
        count_program(walk, item->name, length, size);
    }
}

/* Whether one more file could be too much, for the sums or for the memory that names take: then the
 * batch ends, and Python adds. */
static bool
is_nearly_full(const Walk *walk)
{
    const Counts *counts = &walk->counts;
    return (counts->apparent | counts->allocated | counts->shared) >> 63 != 0
           || walk->shapes.used >= MOST_SHAPES;
}

/* Stat items; true when all of them are done or given away, false when they were left. */
static bool
count_items(Walk *walk, Dir *dir, const Item *items, size_t count, bool more)
{
    for (size_t i = 0; i < count; i++) {
        if (i % LOOK_ITEMS == 0) {
            int others = wanted(walk);
            if (others > 0 && walk->depth > 0) {
                share_dirs(walk, others, true);
            }
            else {
                int parts = others == 0 && more ? wanted_soon(walk) : others;
                if (parts > 0 && count - i > LEAST_SHARE) {
                    count = i + share_items(walk, dir, items + i, count - i, parts, more);
                    if (count == i) {
                        break;
                    }
                }
            }
            if (stopped(walk)) {
                return false;
            }
            if (i % CLOCK_ITEMS == 0 && i > 0 && now_ns() > walk->deadline) {
                walk->late = true;
                leave_items(walk, dir, items + i, count - i, more);
                return false;
            }
        }
        if (is_nearly_full(walk)) {
            walk->late = true;
            leave_items(walk, dir, items + i, count - i, more);
            return false;
        }
        count_item(walk, dir, &items[i]);
        if (stopped(walk)) {
            return false;
        }
    }
    return true;
}

/* Ask the Python callable which of the listed entries are excluded, and drop them. */
static size_t
drop_excluded(Walk *walk, const Dir *dir, Item *items, size_t count)
{
    char *path = path_of(dir, NULL);
    if (path == NULL) {
        walk->no_memory = true;
        return count;
    }
    take_gil(walk);
    PyObject *names = PyList_New((Py_ssize_t)count);
    PyObject *mask = NULL;
    size_t kept = 0;
    for (size_t i = 0; names != NULL && i < count; i++) {
        PyObject *name = PyUnicode_DecodeFSDefault(items[i].name);
        if (name == NULL) {
            Py_CLEAR(names);
            break;
        }
        PyList_SET_ITEM(names, (Py_ssize_t)i, name);
    }
    PyObject *directory = names == NULL ? NULL : PyUnicode_DecodeFSDefault(path);
    PyObject *root = directory == NULL ? NULL : PyUnicode_DecodeFSDefault(walk->root_path);
    if (root != NULL) {
        mask = PyObject_CallFunctionObjArgs(walk->reader->excluded, root, directory, names, NULL);
    }
    if (mask == NULL || !PyBytes_Check(mask) || (size_t)PyBytes_GET_SIZE(mask) != count) {
        if (mask != NULL) {
            PyErr_SetString(PyExc_TypeError, "excluded() must return bytes, one a name");
        }
        walk->raised = true;
    }
    else {
        const char *drop = PyBytes_AS_STRING(mask);
        for (size_t i = 0; i < count; i++) {
            if (drop[i]) {
                walk->counts.skipped[SKIPPED_EXCLUDED]++;
            }
            else {
                items[kept++] = items[i];
            }
        }
    }
    Py_XDECREF(mask);
    Py_XDECREF(root);
    Py_XDECREF(directory);
    Py_XDECREF(names);
    drop_gil(walk);
    free(path);
    return kept;
}

static Sums
sums_of(const Counts *counts)
{
    return (Sums){{counts->files, counts->apparent, counts->shared, counts->fits_files,
                   counts->fits_bytes}};
}

/* Tell a directory of what was counted of it since `before`: nothing below it was, meanwhile. */
static void
tell(const Walk *walk, Dir *dir, const Sums *before)
{
    if (dir->account == NULL) {
        return;
    }
    Sums own = sums_of(&walk->counts);
    for (int i = 0; i < SUMS; i++) {
        own.of[i] -= before->of[i];
    }
    if (own.of[SUM_FILES] > 0) {
        account_add(dir->account, &own);
    }
}

/* List an open directory, from wherever its position is, and count what it holds. */
static void
list_directory(Walk *walk, Dir *dir)
{
    Sums before = sums_of(&walk->counts);
    Item *items = malloc(LIST_BYTES / LEAST_RECORD * sizeof(Item));
    if (items == NULL) {
        walk->no_memory = true;
        return;
    }
    int tries = 0;
    for (;;) {
        long got = syscall(SYS_getdents64, dir->fd, walk->buffer, LIST_BYTES);
        int number = errno;
        answered(walk);
        if (got < 0 && (number == EINTR || is_worth_another_try(number, &tries))) {
            continue;
        }
        errno = number;
        if (got < 0 && errno != ENOENT) { /* ENOENT: removed since it was opened, so empty */
            fail(walk, dir, NULL, "list", errno);
        }
        if (got <= 0) {
            break;
        }
        size_t count = 0;
        bool good = true;
        walk->buffer[got] = '\0'; /* the last name has an end, whatever the kernel says */
        for (long at = 0; at < got;) {
            struct linux_dirent64 *entry = (struct linux_dirent64 *)(walk->buffer + at);
            const char *name = entry->d_name;
            if (got - at < LEAST_RECORD || entry->d_reclen < LEAST_RECORD
                || entry->d_reclen > got - at) {
                fail(walk, dir, NULL, "list", EIO);
                good = false;
                break;
            }
            at += entry->d_reclen;
            if (name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'))) {
                continue;
            }
            items[count++] = (Item){name, entry->d_type};
        }
        if (walk->reader->excluded != NULL && count > 0) {
            count = drop_excluded(walk, dir, items, count);
        }
        size_t files = 0;
        for (size_t i = 0; i < count; i++) {
            if (items[i].type == TYPE_DIR) {
                count_subdirectory(walk, dir, items[i].name);
            }
            else {
                items[files++] = items[i];
            }
        }
        if (stopped(walk) || !count_items(walk, dir, items, files, good) || !good) {
            break;
        }
    }
    free(items);
    tell(walk, dir, &before);
}

/* Open a directory several levels below an open one, if need be; -1 and errno. */
static int
open_directory(const Dir *dir)
{
    const Dir *parent = dir->parent;
    if (parent->fd >= 0) {
        return openat(parent->fd, dir->name, OPEN_FLAGS);
    }
    /* Descriptors were scarce when the parent was read: from the root, which is always open, step
     * by step. An open directory between them may be closed by another worker at any moment. */
    size_t levels = 1;
    while (parent->parent != NULL) {
        parent = parent->parent;
        levels++;
    }
    const Dir **chain = malloc(levels * sizeof(Dir *));
    if (chain == NULL) {
        errno = ENOMEM;
        return -1;
    }
    size_t level = levels;
    for (const Dir *d = dir; level > 0; d = d->parent) {
        chain[--level] = d;
    }
    int fd = parent->fd;
    for (level = 0; level < levels; level++) {
        int deeper = openat(fd, chain[level]->name, OPEN_FLAGS);
        int number = errno;
        if (fd != parent->fd) {
            close(fd);
        }
        fd = deeper;
        errno = number;
        if (fd < 0) {
            break;
        }
    }
    free(chain);
    return fd;
}

/* Whether the directory is not even to be opened; count why. */
static bool
is_barred(Walk *walk, const Dir *dir)
{
    const Reader *reader = walk->reader;
    for (size_t i = 0; i < reader->barred_count; i++) {
        const char *barred = reader->barred[i].path;
        const char *base = strrchr(barred, '/');
        if (base == NULL || strcmp(base + 1, dir->name) != 0) {
            continue; /* no path is made for the many that differ in their last name */
        }
        char *path = path_of(dir, NULL);
        if (path == NULL) {
            walk->no_memory = true;
            return true;
        }
        bool found = strcmp(path, barred) == 0;
        free(path);
        if (found) {
            walk->counts.skipped[reader->barred[i].reason]++;
            return true;
        }
    }
    return false;
}

/* Tell whether an open directory is to be read here; count why not. */
static bool
enter(Walk *walk, Dir *dir, const struct stat *stat)
{
    const Reader *reader = walk->reader;
    if (stat->st_dev != dir->parent->device) {
        if (reader->one_file_system) {
            walk->counts.skipped[SKIPPED_MOUNT]++;
            return false;
        }
        for (size_t i = 0; i < reader->pseudo_count; i++) {
            if (reader->pseudo[i] == stat->st_dev) {
                walk->counts.skipped[SKIPPED_PSEUDO]++;
                return false;
            }
        }
    }
    for (size_t i = 0; i < reader->root_count; i++) {
        if (reader->roots[i].inode == stat->st_ino && reader->roots[i].device == stat->st_dev) {
            if (reader->roots[i].number == walk->root_number) {
                walk->counts.skipped[SKIPPED_LOOP]++; /* a bind mount of the root below itself */
            }
            else {
                walk->nested[i] = 1;
            }
            return false;
        }
    }
    return true;
}

static void
read_directory(Walk *walk, Dir *dir)
{
    place_set(walk->place, dir);
    wait_for_slot(walk->reader, DIRECTORY_OPERATIONS);
    if (dir->parent != NULL) {
        struct stat stat;
        if (is_barred(walk, dir)) {
            return;
        }
        int retries = 0, tries = 0, number = 0;
        while ((dir->fd = open_directory(dir)) < 0) {
            number = errno;
            answered(walk);
            if (number == EINTR || is_worth_another_try(number, &tries)) {
                continue;
            }
            if ((number != EMFILE && number != ENFILE) || retries++ == LIMIT_RETRIES) {
                break;
            }
            nanosleep(&(struct timespec){0, LIMIT_PAUSE_NS}, NULL);
        }
        dir_arrived(dir);
        errno = number;
        if (dir->fd < 0) {
            if (is_vanished(errno)) {
                walk->counts.vanished++;
            }
            else {
                walk->counts.directories++;
                fail(walk, dir, NULL, "open", errno);
            }
            return;
        }
        if (fstat(dir->fd, &stat) != 0) {
            fail(walk, dir, NULL, "stat", errno);
            return;
        }
        if (!enter(walk, dir, &stat)) {
            return;
        }
        dir->device = stat.st_dev;
    }
    walk->counts.directories++;
    walk->counts.entries++;
    answered(walk);
    if (dir->parent != NULL && dir->parent->account != NULL
        && !account_open(dir->parent->account->ledger, dir)) {
        walk->no_memory = true;
        return;
    }
    list_directory(walk, dir);
    if (dir->parent == NULL) {
        return; /* a root stays open as long as anything is below it */
    }
    /* Descriptors are scarce: close it before those below it are read, unless some of them were
     * given away, and could be looking at it. */
    if (dir->fd >= walk->reader->keep_below_fd) {
        size_t here = 1;
        for (size_t i = walk->depth; i > 0 && walk->stack[i - 1]->parent == dir; i--) {
            here++;
        }
        if ((size_t)atomic_load(&dir->users) == here) {
            close(dir->fd);
            dir->fd = -1;
        }
    }
    dir_unuse(dir);
}

/* Take a chunk's work over: directories onto the stack, items counted at once. */
static void
read_chunk(Walk *walk, Chunk *chunk)
{
    for (size_t i = 0; i < chunk->dir_count; i++) {
        if (!grow(walk, (void **)&walk->stack, &walk->room, walk->depth, sizeof(Dir *))) {
            return; /* what is still in the chunk is freed with it */
        }
        walk->stack[walk->depth++] = chunk->dirs[i];
        chunk->dirs[i] = NULL;
    }
    chunk->dir_count = 0;
    if (chunk->in == NULL) {
        return;
    }
    place_set(walk->place, chunk->in);
    Item *items = malloc((chunk->name_count + 1) * sizeof(Item));
    if (items == NULL) {
        walk->no_memory = true;
        return;
    }
    const char *at = chunk->names;
    for (size_t i = 0; i < chunk->name_count; i++) {
        unsigned char type = (unsigned char)*at++;
        items[i] = (Item){at, type};
        at += strlen(at) + 1;
    }
    Sums before = sums_of(&walk->counts);
    bool all = count_items(walk, chunk->in, items, chunk->name_count, chunk->more);
    free(items);
    tell(walk, chunk->in, &before);
    if (all && chunk->more) {
        list_directory(walk, chunk->in);
    }
}

static void
walk_below(Walk *walk)
{
    while (walk->depth > 0 && !stopped(walk)) {
        int others = wanted(walk);
        if (others > 0 && walk->depth > 1) {
            share_dirs(walk, others, false);
        }
        if (walk->late || now_ns() > walk->deadline) {
            walk->late = true;
            return;
        }
        Dir *dir = walk->stack[--walk->depth];
        read_directory(walk, dir);
        dir_release(dir);
    }
}

/* ---- Python's side ------------------------------------------------------------------------- */

static PyObject *
counts_tuple(const Counts *c)
{
    return Py_BuildValue("(KKKKKKKKKK(KKKKK))", c->files, c->apparent, c->allocated,
                         c->directories, c->symlinks, c->other, c->vanished, c->fits_files,
                         c->fits_bytes, c->entries, c->skipped[SKIPPED_SNAPSHOT],
                         c->skipped[SKIPPED_EXCLUDED], c->skipped[SKIPPED_MOUNT],
                         c->skipped[SKIPPED_PSEUDO], c->skipped[SKIPPED_LOOP]);
}

static PyObject *
shapes_list(const ShapeTable *table)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < table->size; i++) {
        const Shape *shape = &table->slots[i];
        if (shape->key == NULL) {
            continue;
        }
        PyObject *row = Py_BuildValue("(y#KKyI)", shape->key, (Py_ssize_t)shape->length,
                                      (unsigned long long)shape->count,
                                      (unsigned long long)shape->bytes,
                                      shape->sample == NULL ? "" : shape->sample, shape->number);
        if (row == NULL || PyList_Append(list, row) != 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(row);
    }
    return list;
}

/* Copy a list of class numbers, one for each slot of a table; false with an exception. */
static bool
copy_numbers(PyObject *list, size_t count, uint32_t *numbers)
{
    if (!PyList_Check(list) || (size_t)PyList_GET_SIZE(list) != count) {
        PyErr_SetString(PyExc_TypeError, "classes() must return two lists, a number for each");
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        unsigned long number = PyLong_AsUnsignedLong(PyList_GET_ITEM(list, (Py_ssize_t)i));
        if (PyErr_Occurred() || number >= UINT32_MAX) {
            if (!PyErr_Occurred()) {
                PyErr_SetString(PyExc_ValueError, "a class has too large a number");
            }
            return false;
        }
        numbers[i] = (uint32_t)number;
    }
    return true;
}

/* The cube's rows. Cells of shapes that are one class to Python become one: a seventh as many on a
 * JWST archive, which is most of what a batch costs there. */
static PyObject *
cells_list(Walk *walk, PyObject *shapes, PyObject *extensions)
{
    size_t shape_count = walk->shapes.used, extension_count = walk->extensions.used;
    if (walk->cells.used == 0) {
        return PyList_New(0);
    }
    PyObject *list = NULL;
    CellTable merged = {0};
    uint32_t *numbers = malloc((shape_count + extension_count + 1) * sizeof(uint32_t));
    PyObject *classes =
        PyObject_CallFunctionObjArgs(walk->classes, shapes, extensions, NULL);
    if (numbers == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    if (classes == NULL) {
        goto done;
    }
    if (!PyTuple_Check(classes) || PyTuple_GET_SIZE(classes) != 2) {
        PyErr_SetString(PyExc_TypeError, "classes() must return two lists, a number for each");
        goto done;
    }
    if (!copy_numbers(PyTuple_GET_ITEM(classes, 0), shape_count, numbers)
        || !copy_numbers(PyTuple_GET_ITEM(classes, 1), extension_count, numbers + shape_count)) {
        goto done;
    }
    for (size_t i = 0; i < walk->cells.size; i++) {
        Cell cell = walk->cells.slots[i];
        if (cell.class == 0) {
            continue;
        }
        bool is_extension = cell.class & EXTENSION_CLASS;
        uint32_t number = (cell.class & ~EXTENSION_CLASS) - 1;
        cell.class = numbers[is_extension ? shape_count + number : number] + 1;
        add_to_cell(walk, &merged, &cell);
        if (walk->no_memory) {
            PyErr_NoMemory();
            goto done;
        }
    }
    list = PyList_New((Py_ssize_t)merged.used);
    Py_ssize_t at = 0;
    for (size_t i = 0; list != NULL && i < merged.size; i++) {
        const Cell *cell = &merged.slots[i];
        if (cell->class == 0) {
            continue;
        }
        PyObject *row = Py_BuildValue("(IIIIIKKK)", cell->class - 1, cell->uid, cell->gid,
                                      (unsigned int)cell->age, (unsigned int)cell->size,
                                      (unsigned long long)cell->count,
                                      (unsigned long long)cell->bytes,
                                      (unsigned long long)cell->allocated);
        if (row == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, at++, row);
    }
done:
    free(merged.slots);
    free(numbers);
    Py_XDECREF(classes);
    return list;
}

static PyObject *
programs_list(const ProgramTable *table)
{
    PyObject *list = PyList_New((Py_ssize_t)table->used);
    Py_ssize_t at = 0;
    for (size_t i = 0; list != NULL && i < table->size; i++) {
        const Program *program = &table->slots[i];
        if (program->program == 0) {
            continue;
        }
        PyObject *row = Py_BuildValue("(IKK)", program->program - 1,
                                      (unsigned long long)program->count,
                                      (unsigned long long)program->bytes);
        if (row == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, at++, row);
    }
    return list;
}

static PyObject *
links_list(const Walk *walk)
{
    PyObject *list = PyList_New((Py_ssize_t)walk->link_count);
    for (size_t i = 0; list != NULL && i < walk->link_count; i++) {
        const LinkRow *link = &walk->links[i];
        PyObject *row = Py_BuildValue("(KKKK)", link->device, link->inode, link->links,
                                      link->allocated);
        if (row == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, row);
    }
    return list;
}

static PyObject *
failures_list(const Walk *walk)
{
    PyObject *list = PyList_New((Py_ssize_t)walk->failure_count);
    for (size_t i = 0; list != NULL && i < walk->failure_count; i++) {
        const Failure *failure = &walk->failures[i];
        PyObject *row = Py_BuildValue("(NsI)", PyUnicode_DecodeFSDefault(failure->path),
                                      failure->operation, (unsigned int)failure->number);
        if (row == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, row);
    }
    return list;
}

static PyObject *
nested_list(const Walk *walk)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < walk->reader->root_count; i++) {
        if (!walk->nested[i]) {
            continue;
        }
        PyObject *number = PyLong_FromLong(walk->reader->roots[i].number);
        if (number == NULL || PyList_Append(list, number) != 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(number);
    }
    return list;
}

/* Hand the pending directories over as one chunk. */
static bool
leave_dirs(Walk *walk)
{
    if (walk->depth == 0) {
        return true;
    }
    PyObject *chunk = chunk_new(walk->stack, walk->depth, NULL, NULL, 0, 0, false);
    walk->stack = NULL;
    walk->depth = walk->room = 0;
    return append_chunk(walk->left, chunk);
}

static PyObject *
walk_result(Walk *walk)
{
    if (!leave_dirs(walk)) {
        return NULL;
    }
    PyObject *shapes = shapes_list(&walk->shapes);
    PyObject *extensions = shapes == NULL ? NULL : shapes_list(&walk->extensions);
    PyObject *cells = extensions == NULL ? NULL : cells_list(walk, shapes, extensions);
    Py_XDECREF(extensions);
    if (cells == NULL) {
        Py_XDECREF(shapes);
        return NULL;
    }
    /* "N" takes the references over, also where one of them is NULL and the whole fails. */
    return Py_BuildValue("(NNNNNNNO)", counts_tuple(&walk->counts), shapes, cells,
                         programs_list(&walk->programs), links_list(walk), failures_list(walk),
                         nested_list(walk), walk->left);
}

static void
shapes_clear(ShapeTable *table)
{
    for (size_t i = 0; i < table->size; i++) {
        free(table->slots[i].key);
        free(table->slots[i].sample);
    }
    free(table->slots);
}

static void
walk_clear(Walk *walk)
{
    Py_XDECREF(walk->left);
    free(walk->buffer);
    free(walk->nested);
    for (size_t i = 0; i < walk->failure_count; i++) {
        free(walk->failures[i].path);
    }
    free(walk->failures);
    free(walk->links);
    shapes_clear(&walk->shapes);
    shapes_clear(&walk->extensions);
    free(walk->cells.slots);
    free(walk->programs.slots);
    for (size_t i = 0; i < walk->depth; i++) {
        dir_release(walk->stack[i]);
    }
    free(walk->stack);
}

/* Have a root's directories told in its ledger, a new one if need be; false: no memory. */
static bool
open_ledger(Reader *reader, int root_number, Dir *root)
{
    if (reader->told_most == 0) {
        return true;
    }
    pthread_mutex_lock(&reader->ledgers_lock);
    Ledger *ledger = reader->ledgers;
    while (ledger != NULL && ledger->root_number != root_number) {
        ledger = ledger->next;
    }
    if (ledger == NULL && (ledger = calloc(1, sizeof(Ledger))) != NULL) {
        atomic_init(&ledger->refs, 1);
        pthread_mutex_init(&ledger->lock, NULL);
        ledger->root_number = root_number;
        ledger->depth = reader->told_depth;
        ledger->upper.most = reader->told_most;
        ledger->lower.most = reader->told_largest;
        ledger->next = reader->ledgers;
        reader->ledgers = ledger;
    }
    pthread_mutex_unlock(&reader->ledgers_lock);
    if (ledger == NULL || !account_open(ledger, root)) {
        return false;
    }
    atomic_fetch_add_explicit(&ledger->refs, 1, memory_order_relaxed);
    return true;
}

/* Copies of rows, to be made into Python objects once the ledger is unlocked: what that does may
 * let go of directories, and so lock it. */
static bool
told_copy(ToldTable *copy, char *path, const Sums *sums)
{
    if (path == NULL) {
        return false;
    }
    if (copy->used == copy->room) {
        size_t room = copy->room == 0 ? SPARE_ROWS : copy->room * 2;
        Told *rows = realloc(copy->rows, room * sizeof(Told));
        if (rows == NULL) {
            free(path);
            return false;
        }
        copy->rows = rows;
        copy->room = room;
    }
    copy->rows[copy->used++] = (Told){path, *sums};
    return true;
}

/* Copy what is known of the upper directories that are not finished. */
static bool
copy_live(ToldTable *copy, const Ledger *ledger)
{
    for (const Account *one = ledger->live; one != NULL; one = one->live_after) {
        Sums sums = one->sums;
        for (const Account *other = ledger->live; other != NULL; other = other->live_after) {
            const Dir *above = other->dir;
            for (uint32_t level = other->level; level > one->level; level--) {
                above = above->parent;
            }
            if (above == one->dir && other != one) {
                sums_add(&sums, &other->sums);
            }
        }
        if (!told_copy(copy, path_of(one->dir, NULL), &sums)) {
            return false;
        }
    }
    return true;
}

static PyObject *
told_list(const ToldTable *table)
{
    PyObject *list = PyList_New((Py_ssize_t)table->used);
    for (size_t i = 0; list != NULL && i < table->used; i++) {
        const uint64_t *of = table->rows[i].sums.of;
        PyObject *row = Py_BuildValue(
            "(yKKKKK)", table->rows[i].path, (unsigned long long)of[SUM_FILES],
            (unsigned long long)of[SUM_APPARENT], (unsigned long long)of[SUM_ALLOCATED],
            (unsigned long long)of[SUM_FITS_FILES], (unsigned long long)of[SUM_FITS_BYTES]);
        if (row == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, row);
    }
    return list;
}

PyDoc_STRVAR(reader_directories_doc,
"directories(root_number)\n--\n\n"
"What the directories below a root sum up to, as far as they have been read.\n\n"
"Returns (upper, upper_dropped, lower, lower_dropped), or None if nothing was read.");

static PyObject *
reader_directories(PyObject *self, PyObject *argument)
{
    Reader *reader = (Reader *)self;
    long root_number = PyLong_AsLong(argument);
    if (root_number == -1 && PyErr_Occurred()) {
        return NULL;
    }
    pthread_mutex_lock(&reader->ledgers_lock);
    Ledger *ledger = reader->ledgers;
    while (ledger != NULL && ledger->root_number != root_number) {
        ledger = ledger->next;
    }
    pthread_mutex_unlock(&reader->ledgers_lock);
    if (ledger == NULL) {
        Py_RETURN_NONE;
    }
    ToldTable copies[2] = {{0}, {0}};
    pthread_mutex_lock(&ledger->lock);
    ToldTable *tables[2] = {&ledger->upper, &ledger->lower};
    bool good = !ledger->no_memory && copy_live(&copies[0], ledger);
    for (int which = 0; which < 2; which++) {
        told_cut(tables[which]);
        copies[which].dropped = tables[which]->dropped;
        for (size_t i = 0; good && i < tables[which]->used; i++) {
            const Told *row = &tables[which]->rows[i];
            good = told_copy(&copies[which], strdup(row->path), &row->sums);
        }
    }
    pthread_mutex_unlock(&ledger->lock);
    PyObject *result = NULL;
    if (good) {
        result = Py_BuildValue("(NKNK)", told_list(&copies[0]),
                               (unsigned long long)copies[0].dropped, told_list(&copies[1]),
                               (unsigned long long)copies[1].dropped);
    }
    else {
        PyErr_NoMemory();
    }
    told_clear(&copies[0]);
    told_clear(&copies[1]);
    return result;
}

PyDoc_STRVAR(reader_read_doc,
"read(root_number, root_fd, root_path, root_device, chunks, wanted, share, classes, gauges,\n"
"     place, seconds)\n--\n\n"
"Read chunks (None: the root itself) and what is below them. `gauges` is a buffer of two\n"
"uint64 that this call alone writes: entries read, and system calls that came back. `classes`\n"
"is callable(shapes, extensions) -> the numbers that name their classes in `cells`, two lists.\n\n"
"Returns (counts, shapes, cells, programs, links, failures, nested, left).");

static PyObject *
reader_read(PyObject *self, PyObject *args)
{
    int root_number, root_fd;
    const char *root_path;
    Py_ssize_t root_length;
    unsigned long long root_device;
    PyObject *chunks, *share, *classes, *place;
    Py_buffer flag, gauges;
    double seconds;
    if (!PyArg_ParseTuple(args, "iiy#KO!y*OOw*O!d:read", &root_number, &root_fd, &root_path,
                          &root_length, &root_device, &PyList_Type, &chunks, &flag, &share,
                          &classes, &gauges, Place_Type, &place, &seconds)) {
        return NULL;
    }
    PyObject *result = NULL;
    Walk walk = {
        .reader = (Reader *)self,
        .root_number = root_number,
        .root_path = root_path,
        .share = share,
        .classes = classes,
        .deadline = now_ns() + (int64_t)(seconds * 1e9),
    };
    if (flag.len < (Py_ssize_t)(2 * sizeof(atomic_int))
        || gauges.len < (Py_ssize_t)(2 * sizeof(uint64_t))) {
        PyErr_SetString(PyExc_ValueError, "wanted must hold two C ints, gauges two uint64");
        goto done;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(chunks); i++) {
        PyObject *chunk = PyList_GET_ITEM(chunks, i);
        if (chunk != Py_None && Py_TYPE(chunk) != Chunk_Type) {
            PyErr_SetString(PyExc_TypeError, "chunks must be Chunk objects or None");
            goto done;
        }
    }
    walk.wanted = flag.buf;
    walk.gauges = gauges.buf;
    walk.entries_before = atomic_load_explicit(&walk.gauges[0], memory_order_relaxed);
    walk.place = (Place *)place;
    walk.left = PyList_New(0);
    walk.buffer = malloc(LIST_BYTES + 1);
    walk.nested = calloc(walk.reader->root_count + 1, 1);
    if (walk.left == NULL || walk.buffer == NULL || walk.nested == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    drop_gil(&walk);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(chunks) && !stopped(&walk); i++) {
        /* The list is the caller's own, and holds its items until this call is over. */
        PyObject *chunk = PyList_GET_ITEM(chunks, i);
        if (chunk != Py_None) {
            read_chunk(&walk, (Chunk *)chunk);
            continue;
        }
        Dir *root = dir_new(NULL, root_path, (size_t)root_length);
        /* A descriptor of its own: this one's position is used for listing. */
        int fd = root == NULL ? -1 : openat(root_fd, ".", OPEN_FLAGS);
        if (root == NULL) {
            walk.no_memory = true;
        }
        else if (fd < 0) {
            walk.counts.directories++;
            fail(&walk, root, NULL, "open", errno);
        }
        else {
            root->fd = fd;
            root->device = (dev_t)root_device;
            if (open_ledger(walk.reader, root_number, root)) {
                read_directory(&walk, root);
            }
            else {
                walk.no_memory = true;
            }
        }
        dir_release(root);
    }
    walk_below(&walk);
    place_set(walk.place, NULL);
    take_gil(&walk);
    if (walk.no_memory) {
        PyErr_NoMemory();
    }
    else if (!walk.raised) {
        result = walk_result(&walk);
    }
done:
    walk_clear(&walk);
    PyBuffer_Release(&gauges);
    PyBuffer_Release(&flag);
    return result;
}

static void
reader_dealloc(PyObject *self)
{
    Reader *reader = (Reader *)self;
    free(reader->roots);
    free(reader->pseudo);
    Py_XDECREF(reader->snapshot_names);
    Py_XDECREF(reader->barred_paths);
    free(reader->barred);
    free(reader->age_limits);
    Py_XDECREF(reader->program_prefix_bytes);
    Py_XDECREF(reader->endings);
    Py_XDECREF(reader->excluded);
    while (reader->ledgers != NULL) {
        Ledger *next = reader->ledgers->next;
        ledger_release(reader->ledgers); /* what is not read yet may still need it */
        reader->ledgers = next;
    }
    pthread_mutex_destroy(&reader->ledgers_lock);
    if (reader->next_ns.obj != NULL) {
        PyBuffer_Release(&reader->next_ns);
    }
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static bool
all_bytes(PyObject *tuple)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); i++) {
        if (!PyBytes_Check(PyTuple_GET_ITEM(tuple, i))) {
            PyErr_SetString(PyExc_TypeError, "names and paths must be bytes");
            return false;
        }
    }
    return true;
}

PyDoc_STRVAR(reader_doc,
"Reader(roots, pseudo_devices, snapshot_names, barred, excluded, one_file_system,\n"
"       follow_file_symlinks, keep_below_fd, age_limits, endings, kept_from, kept_to,\n"
"       program_prefix, program_digits, directories, interval_ns, next_ns)\n--\n\n"
"Rules for reading; see ScanRules. `excluded` is callable(root path, directory, names)\n"
"-> bytes, one a name, or None. `endings` are those of FITS names; from kept_from up to\n"
"kept_to their digits are left in their shapes. A program's number has 1 to 9 digits; 0: none\n"
"is counted.\n"
"`directories`: the depth down to which each is told, how many of those, and of those below.");

static PyObject *
reader_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *roots, *pseudo, *snapshot_names, *barred, *excluded;
    PyObject *age_limits, *endings, *program_prefix;
    Py_ssize_t kept_from, kept_to;
    int one_file_system, follow, keep_below_fd, program_digits;
    int told_depth, told_most, told_largest;
    long long interval_ns;
    Py_buffer next_ns;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "Reader() takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "O!O!O!O!OppiO!O!nnSi(iii)Lw*:Reader", &PyTuple_Type, &roots,
                          &PyTuple_Type, &pseudo, &PyTuple_Type, &snapshot_names, &PyTuple_Type,
                          &barred, &excluded, &one_file_system, &follow, &keep_below_fd,
                          &PyTuple_Type, &age_limits, &PyTuple_Type, &endings, &kept_from, &kept_to,
                          &program_prefix, &program_digits, &told_depth, &told_most, &told_largest,
                          &interval_ns, &next_ns)) {
        return NULL;
    }
    Reader *reader = (Reader *)type->tp_alloc(type, 0);
    if (reader == NULL) {
        PyBuffer_Release(&next_ns);
        return NULL;
    }
    reader->next_ns = next_ns;
    pthread_mutex_init(&reader->ledgers_lock, NULL);
    if (told_depth < 0 || told_most < 0 || told_largest < 0 || told_most > INT_MAX / 4
        || told_largest > INT_MAX / 4) {
        PyErr_SetString(PyExc_ValueError, "directories must be three numbers, none negative");
        goto failed;
    }
    reader->told_depth = (uint32_t)told_depth;
    reader->told_most = (size_t)told_most;
    reader->told_largest = (size_t)told_largest;
    if (!all_bytes(snapshot_names) || !all_bytes(endings)) {
        goto failed;
    }
    if (kept_from < 0 || kept_to < 0) {
        PyErr_SetString(PyExc_ValueError, "kept_from and kept_to must not be negative");
        goto failed;
    }
    reader->endings = Py_NewRef(endings);
    reader->kept_from = (size_t)kept_from;
    reader->kept_to = (size_t)kept_to;
    if (next_ns.len < (Py_ssize_t)sizeof(int64_t) || interval_ns < 0) {
        PyErr_SetString(PyExc_ValueError, "next_ns must be a buffer that holds an int64");
        goto failed;
    }
    if (program_digits < 0 || program_digits > 9) {
        PyErr_SetString(PyExc_ValueError, "program_digits must be from 0 to 9");
        goto failed;
    }
    reader->program_digits = program_digits;
    reader->program_prefix_bytes = Py_NewRef(program_prefix);
    reader->program_prefix = PyBytes_AS_STRING(program_prefix);
    reader->program_prefix_length = (size_t)PyBytes_GET_SIZE(program_prefix);
    reader->age_count = (size_t)PyTuple_GET_SIZE(age_limits);
    reader->age_limits = calloc(reader->age_count + 1, sizeof(int64_t));
    if (reader->age_limits == NULL) {
        PyErr_NoMemory();
        goto failed;
    }
    for (size_t i = 0; i < reader->age_count; i++) {
        reader->age_limits[i] = PyLong_AsLongLong(PyTuple_GET_ITEM(age_limits, (Py_ssize_t)i));
        if (PyErr_Occurred()) {
            goto failed;
        }
    }
    reader->interval_ns = interval_ns;
    reader->snapshot_names = Py_NewRef(snapshot_names);
    reader->barred_paths = Py_NewRef(barred);
    reader->barred_count = (size_t)PyTuple_GET_SIZE(barred);
    reader->excluded = excluded == Py_None ? NULL : Py_NewRef(excluded);
    reader->one_file_system = one_file_system;
    reader->follow = follow;
    reader->keep_below_fd = keep_below_fd;
    reader->root_count = (size_t)PyTuple_GET_SIZE(roots);
    reader->pseudo_count = (size_t)PyTuple_GET_SIZE(pseudo);
    reader->roots = calloc(reader->root_count + 1, sizeof(Identity));
    reader->pseudo = calloc(reader->pseudo_count + 1, sizeof(uint64_t));
    reader->barred = calloc(reader->barred_count + 1, sizeof(Barred));
    if (reader->roots == NULL || reader->pseudo == NULL || reader->barred == NULL) {
        PyErr_NoMemory();
        goto failed;
    }
    for (size_t i = 0; i < reader->root_count; i++) {
        unsigned long long device, inode;
        int number;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(roots, (Py_ssize_t)i), "KKi", &device, &inode,
                              &number)) {
            goto failed;
        }
        reader->roots[i] = (Identity){device, inode, number};
    }
    for (size_t i = 0; i < reader->barred_count; i++) {
        Barred *one = &reader->barred[i];
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(barred, (Py_ssize_t)i), "yi", &one->path,
                              &one->reason)) {
            goto failed;
        }
        if (one->reason < 0 || one->reason >= SKIP_REASONS) {
            PyErr_SetString(PyExc_ValueError, "there is no such reason to pass over something");
            goto failed;
        }
    }
    for (size_t i = 0; i < reader->pseudo_count; i++) {
        reader->pseudo[i] = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(pseudo, (Py_ssize_t)i));
        if (PyErr_Occurred()) {
            goto failed;
        }
    }
    return (PyObject *)reader;
failed:
    Py_DECREF(reader);
    return NULL;
}

static PyMethodDef reader_methods[] = {
    {"read", reader_read, METH_VARARGS, reader_read_doc},
    {"directories", reader_directories, METH_O, reader_directories_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot reader_slots[] = {
    {Py_tp_new, reader_new},
    {Py_tp_dealloc, reader_dealloc},
    {Py_tp_methods, reader_methods},
    {Py_tp_doc, (void *)reader_doc},
    {0, NULL},
};

static PyType_Spec reader_spec = {
    .name = "jwqlscan.scanning._native.Reader",
    .basicsize = sizeof(Reader),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = reader_slots,
};

static int
module_exec(PyObject *module)
{
    PyObject *reader = PyType_FromModuleAndSpec(module, &reader_spec, NULL);
    if (reader == NULL) {
        return -1;
    }
    int failed = PyModule_AddObjectRef(module, "Reader", reader);
    Py_DECREF(reader);
    if (failed) {
        return -1;
    }
    if (Chunk_Type == NULL) {
        Chunk_Type = (PyTypeObject *)PyType_FromSpec(&chunk_spec);
    }
    if (Place_Type == NULL) {
        Place_Type = (PyTypeObject *)PyType_FromSpec(&place_spec);
    }
    if (Chunk_Type == NULL || Place_Type == NULL
        || PyModule_AddObjectRef(module, "Place", (PyObject *)Place_Type) != 0) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "Chunk", (PyObject *)Chunk_Type);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#ifdef Py_MOD_GIL_NOT_USED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "jwqlscan.scanning._native",
    .m_doc = "The compiled reader; see native_reader.py.",
    .m_slots = module_slots,
};

PyMODINIT_FUNC
PyInit__native(void)
{
    return PyModuleDef_Init(&module_def);
}
