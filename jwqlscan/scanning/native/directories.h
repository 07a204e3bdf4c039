/* Directories that wait, are read or have others below them, and what they sum up to. */
#pragma once

#include "platform.h"

/* What is in a directory and below it: as DirectorySum in jwqlscan/model/directory_totals.py. */
enum { SUM_FILES, SUM_APPARENT, SUM_ALLOCATED, SUM_FITS_FILES, SUM_FITS_BYTES, SUMS };

typedef struct {
    uint64_t of[SUMS];
} Sums;

typedef struct {
    char *path;
    Sums sums;
} TopRow;

/* The largest of some directories; up to twice as many, until the smallest are dropped. */
typedef struct {
    TopRow *rows;
    size_t used, room, most;
    uint64_t dropped;
    bool is_cut;
    uint64_t least; /* with is_cut: apparent bytes of the smallest one kept */
} TopTable;

struct DirTotals;

/* What the directories of one root sum up to. Its lock is held for no system call. */
typedef struct RootTotals {
    atomic_int refs; /* the reader and the root directory */
    pthread_mutex_t lock;
    int root_number;
    uint32_t depth;
    bool no_memory;
    TopTable upper, lower; /* down to the depth, and below: what is finished */
    struct DirTotals *live;   /* the upper ones that are not */
    struct RootTotals *next;
} RootTotals;

/* A directory that waits to be read, or is read, or was and has others waiting below it. */
typedef struct Dir {
    atomic_int refs;  /* who may ask for its path */
    atomic_int users; /* who needs it open: itself while it is read, and those that wait below */
    bool waiting;     /* not opened yet: it is one of its parent's users */
    int fd;           /* -1: not open */
    struct Dir *parent; /* NULL: a root */
    dev_t device;       /* of the directory itself once it is open */
    struct timespec modified; /* when it was, as it was opened */
    struct DirTotals *totals; /* NULL: not read yet, or directories are not reported */
    size_t length;
    char name[]; /* of a root: its whole path */
} Dir;

/* What a directory that is read comes to; apart from it, as many more may wait to be read. Its
 * numbers and its place among the live ones are under the root_totals's lock. */
typedef struct DirTotals {
    RootTotals *root_totals;
    Dir *dir;
    struct DirTotals *upper; /* the nearest of the root_totals's depth, itself perhaps */
    size_t path_length;    /* bytes */
    struct DirTotals *live_before, *live_after;
    uint32_t level; /* 0: a root */
    Sums sums;      /* here, and of what is finished below; of the upper ones also of the lower ones
                       below them */
} DirTotals;

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
    dir->modified = (struct timespec){0, 0};
    dir->totals = NULL;
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
top_order(const void *first, const void *second)
{
    const TopRow *a = first, *b = second;
    uint64_t of_a = a->sums.of[SUM_APPARENT], of_b = b->sums.of[SUM_APPARENT];
    if (of_a != of_b) {
        return of_a > of_b ? -1 : 1;
    }
    return strcmp(a->path, b->path);
}

static void
top_cut(TopTable *table)
{
    if (table->used <= table->most) {
        return; /* always so with none to be kept: then none is added */
    }
    qsort(table->rows, table->used, sizeof(TopRow), top_order);
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
top_add(TopTable *table, const DirTotals *totals)
{
    const Sums *sums = &totals->sums;
    if (table->most == 0 || (table->is_cut && sums->of[SUM_APPARENT] < table->least)) {
        table->dropped++;
        return true;
    }
    if (table->used == table->room) {
        if (table->room >= 2 * table->most + SPARE_ROWS) {
            top_cut(table);
        }
        else {
            size_t room = table->room == 0 ? SPARE_ROWS : table->room * 2;
            room = room < 2 * table->most + SPARE_ROWS ? room : 2 * table->most + SPARE_ROWS;
            TopRow *rows = realloc(table->rows, room * sizeof(TopRow));
            if (rows == NULL) {
                return false;
            }
            table->rows = rows;
            table->room = room;
        }
    }
    char *path = path_of(totals->dir, NULL);
    if (path == NULL) {
        return false;
    }
    table->rows[table->used++] = (TopRow){path, *sums};
    return true;
}

static void
top_clear(TopTable *table)
{
    for (size_t i = 0; i < table->used; i++) {
        free(table->rows[i].path);
    }
    free(table->rows);
}

static void
root_totals_release(RootTotals *root_totals)
{
    if (root_totals != NULL
        && atomic_fetch_sub_explicit(&root_totals->refs, 1, memory_order_acq_rel) == 1) {
        top_clear(&root_totals->upper);
        top_clear(&root_totals->lower);
        pthread_mutex_destroy(&root_totals->lock);
        free(root_totals);
    }
}

/* Begin the totals of a directory that is read now; false: no memory. */
static bool
dir_totals_open(RootTotals *root_totals, Dir *dir)
{
    DirTotals *parent = dir->parent == NULL ? NULL : dir->parent->totals;
    DirTotals *totals = calloc(1, sizeof(DirTotals));
    if (totals == NULL) {
        return false;
    }
    totals->root_totals = root_totals;
    totals->dir = dir;
    totals->level = parent == NULL ? 0 : parent->level + 1;
    totals->path_length = dir->length;
    if (parent != NULL) {
        const Dir *above = dir->parent;
        bool slashed = above->length > 0 && above->name[above->length - 1] == '/';
        totals->path_length += parent->path_length + !slashed;
    }
    totals->upper = totals->level > root_totals->depth ? parent->upper : totals;
    if (totals->upper == totals) {
        pthread_mutex_lock(&root_totals->lock);
        totals->live_after = root_totals->live;
        if (root_totals->live != NULL) {
            root_totals->live->live_before = totals;
        }
        root_totals->live = totals;
        pthread_mutex_unlock(&root_totals->lock);
    }
    dir->totals = totals;
    return true;
}

/* Some of the files that lie in it have been read. */
static void
dir_totals_add(DirTotals *totals, const Sums *own)
{
    pthread_mutex_lock(&totals->root_totals->lock);
    sums_add(&totals->sums, own);
    if (totals->upper != totals) {
        sums_add(&totals->upper->sums, own);
    }
    pthread_mutex_unlock(&totals->root_totals->lock);
}

/* All that is below it has been read, or never will be. */
static void
dir_totals_close(Dir *dir)
{
    DirTotals *totals = dir->totals;
    if (totals == NULL) {
        return;
    }
    DirTotals *parent = dir->parent == NULL ? NULL : dir->parent->totals;
    RootTotals *root_totals = totals->root_totals;
    bool is_upper = totals->upper == totals;
    pthread_mutex_lock(&root_totals->lock);
    if (is_upper) {
        *(totals->live_before != NULL ? &totals->live_before->live_after : &root_totals->live) =
            totals->live_after;
        if (totals->live_after != NULL) {
            totals->live_after->live_before = totals->live_before;
        }
    }
    /* The upper ones know of what is in the lower ones already. */
    if (parent != NULL && (is_upper || parent->upper != parent)) {
        sums_add(&parent->sums, &totals->sums);
    }
    bool is_kept = is_upper || totals->sums.of[SUM_APPARENT] > 0;
    if (is_kept && !is_upper && totals->path_length > MAX_PATH_BYTES) {
        root_totals->lower.dropped++;
    }
    else if (is_kept && !top_add(is_upper ? &root_totals->upper : &root_totals->lower, totals)) {
        root_totals->no_memory = true;
    }
    pthread_mutex_unlock(&root_totals->lock);
    free(totals);
    dir->totals = NULL;
    if (dir->parent == NULL) {
        root_totals_release(root_totals);
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
        dir_totals_close(dir);
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
