/* Reading directories, without the GIL. */
#pragma once

#include "cube.h"
#include "sharing.h"

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
    const ByteStrings *names = &walk->reader->snapshot_names;
    const char *other = names->text;
    size_t length = strlen(name);
    for (size_t i = 0; i < names->count; i++) {
        if (names->lengths[i] == length && memcmp(other, name, length) == 0) {
            walk->counts.skipped[SKIPPED_SNAPSHOT]++;
            return;
        }
        other += names->lengths[i] + 1;
    }
    push(walk, dir, name);
}

/* A system call has come back, with any result: the storage is alive. */
static void
answered(Walk *walk)
{
    uint64_t entries = walk->entries_before + walk->counts.entries;
    uint64_t answers = atomic_load_explicit(&walk->progress_counts[1], memory_order_relaxed);
    atomic_store_explicit(&walk->progress_counts[0], entries, memory_order_relaxed);
    atomic_store_explicit(&walk->progress_counts[1], answers + 1, memory_order_relaxed);
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
stat_item(Walk *walk, int fd, const char *name, struct stat *stat)
{
    int tries = 0;
    for (;;) {
        int failed = fstatat(fd, name, stat, AT_SYMLINK_NOFOLLOW);
        int number = errno;
        answered(walk);
        if (failed == 0 || !is_worth_another_try(number, &tries)) {
            errno = number;
            return failed;
        }
    }
}

/* The type that a stat shows, as a listing gives it: S_IFMT is d_type shifted. What is no file,
 * directory or symlink is counted as one kind. */
static int
type_of(const struct stat *stat)
{
    return (int)((stat->st_mode & S_IFMT) >> 12);
}

static bool
is_same_type(int listed, int found)
{
    bool known = found == TYPE_REG || found == TYPE_DIR || found == TYPE_LNK;
    bool listed_known = listed == TYPE_REG || listed == TYPE_DIR || listed == TYPE_LNK;
    return listed == found || (!known && !listed_known);
}

/* Whether a directory is as it was when it was opened: then the type in its listing can't
 * have become wrong since. */
static bool
is_unchanged(const Dir *dir, int fd)
{
    struct stat now;
    return fstat(fd, &now) == 0 && now.st_mtim.tv_sec == dir->modified.tv_sec
           && now.st_mtim.tv_nsec == dir->modified.tv_nsec;
}

/* Count an entry of a directory, which is open as `fd`. */
static void
count_item(Walk *walk, Dir *dir, int fd, const Item *item)
{
    Counts *counts = &walk->counts;
    struct stat stat;
    int type = item->type & ~TYPE_UNSURE;
    counts->entries++;
    if (type != TYPE_REG && item->type != TYPE_UNKNOWN && type == item->type
        && !(type == TYPE_LNK && walk->reader->follow)) {
        if (type == TYPE_LNK) {
            counts->symlinks++;
        }
        else {
            counts->other++;
        }
        return;
    }
    wait_for_slot(walk->reader, 1);
    if (stat_item(walk, fd, item->name, &stat) != 0) {
        if (is_vanished(errno)) {
            counts->vanished++;
        }
        else if (type == TYPE_LNK && !walk->reader->follow) {
            counts->symlinks++; /* its type in the listing is enough */
        }
        else if (type != TYPE_REG && type != TYPE_UNKNOWN && type != TYPE_LNK) {
            counts->other++;
        }
        else {
            fail(walk, dir, item->name, "stat", errno);
        }
        return;
    }
    bool is_wrong = type != TYPE_UNKNOWN && !is_same_type(type, type_of(&stat))
                    && is_unchanged(dir, fd);
    if (is_wrong) {
        fail(walk, dir, item->name, "list", WRONG_TYPE);
    }
    bool linked = false;
    if (S_ISLNK(stat.st_mode)) {
        struct stat target;
        if (!walk->reader->follow || fstatat(fd, item->name, &target, 0) != 0
            || !S_ISREG(target.st_mode)) {
            counts->symlinks++;
            return;
        }
        stat = target;
        linked = true; /* what it occupies is counted where it lies */
    }
    else if (S_ISDIR(stat.st_mode)) {
        if (type == TYPE_UNKNOWN || is_wrong) {
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
    uint64_t allocated = blocks < MAX_BLOCKS ? blocks * 512 : MAX_BLOCKS * 512;
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
           || walk->shapes.used >= MAX_SHAPES;
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
                if (parts > 0 && count - i > MIN_SHARE) {
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
        count_item(walk, dir, dir->fd, &items[i]);
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
add_totals(const Walk *walk, Dir *dir, const Sums *before)
{
    if (dir->totals == NULL) {
        return;
    }
    Sums own = sums_of(&walk->counts);
    for (int i = 0; i < SUMS; i++) {
        own.of[i] -= before->of[i];
    }
    if (own.of[SUM_FILES] > 0) {
        dir_totals_add(dir->totals, &own);
    }
}

/* Whether the types of a listing are to be checked: always where a program makes them up (FUSE),
 * elsewhere if the first entry of any type is not that of the listing. Files are stat'ed anyway,
 * and opening a directory shows that it is one. */
static bool
are_types_unsure(Walk *walk, const Dir *dir, const Item *items, size_t count)
{
    for (size_t i = 0; i < walk->reader->unsure_count; i++) {
        if (walk->reader->unsure[i] == dir->device) {
            return true;
        }
    }
    uint32_t seen = 0;
    for (size_t i = 0; i < count; i++) {
        int type = items[i].type;
        if (type == TYPE_REG || type == TYPE_DIR || type == TYPE_UNKNOWN || type > 31
            || (seen >> type & 1) != 0) {
            continue;
        }
        seen |= UINT32_C(1) << type;
        struct stat stat;
        wait_for_slot(walk->reader, 1);
        int failed = fstatat(dir->fd, items[i].name, &stat, AT_SYMLINK_NOFOLLOW);
        answered(walk);
        if (failed == 0 && !is_same_type(type, type_of(&stat))) {
            return true;
        }
    }
    return false;
}

/* List an open directory, from wherever its position is, and count what it holds. */
static void
list_directory(Walk *walk, Dir *dir)
{
    Sums before = sums_of(&walk->counts);
    Item *items = malloc(LIST_BYTES / MIN_RECORD * sizeof(Item));
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
            if (got - at < MIN_RECORD || entry->d_reclen < MIN_RECORD
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
        unsigned char unsure = are_types_unsure(walk, dir, items, count) ? TYPE_UNSURE : 0;
        for (size_t i = 0; i < count; i++) {
            if (items[i].type != TYPE_DIR && items[i].type != TYPE_UNKNOWN) {
                items[i].type |= unsure;
            }
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
    add_totals(walk, dir, &before);
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
is_skipped_path(Walk *walk, const Dir *dir)
{
    const Reader *reader = walk->reader;
    for (size_t i = 0; i < reader->skipped_count; i++) {
        const char *skipped_paths = reader->skipped_paths[i].path;
        const char *base = strrchr(skipped_paths, '/');
        if (base == NULL || strcmp(base + 1, dir->name) != 0) {
            continue; /* no path is made for the many that differ in their last name */
        }
        char *path = path_of(dir, NULL);
        if (path == NULL) {
            walk->no_memory = true;
            return true;
        }
        bool found = strcmp(path, skipped_paths) == 0;
        free(path);
        if (found) {
            walk->counts.skipped[reader->skipped_paths[i].reason]++;
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

/* Count what was listed as a directory and can't be opened as one; false if it is gone, or was
 * replaced since. */
static bool
count_wrong_directory(Walk *walk, Dir *dir)
{
    Dir *parent = dir->parent;
    /* Closed where descriptors are scarce; never put back, since other workers may look at it. */
    int fd = parent->fd >= 0 ? parent->fd : open_directory(parent);
    if (fd < 0) {
        return false;
    }
    struct stat stat;
    bool is_other = fstatat(fd, dir->name, &stat, AT_SYMLINK_NOFOLLOW) == 0
                    && !S_ISDIR(stat.st_mode) && is_unchanged(parent, fd);
    if (is_other) {
        fail(walk, parent, dir->name, "list", WRONG_TYPE);
        Sums before = sums_of(&walk->counts);
        count_item(walk, parent, fd, &(Item){dir->name, TYPE_UNKNOWN});
        add_totals(walk, parent, &before);
    }
    if (fd != parent->fd) {
        close(fd);
    }
    return is_other;
}

static void
read_directory(Walk *walk, Dir *dir)
{
    place_set(walk->place, dir);
    wait_for_slot(walk->reader, DIRECTORY_OPERATIONS);
    if (dir->parent != NULL) {
        struct stat stat;
        if (is_skipped_path(walk, dir)) {
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
            if (retries == 1 && atomic_load(&walk->reader->is_short)) {
                break; /* others have waited for one just now, and none was closed */
            }
            nanosleep(&(struct timespec){0, LIMIT_PAUSE_NS}, NULL);
        }
        if (dir->fd >= 0 || retries > 0) {
            bool is_short = dir->fd < 0;
            if (atomic_load_explicit(&walk->reader->is_short, memory_order_relaxed) != is_short) {
                atomic_store(&walk->reader->is_short, is_short);
            }
        }
        bool is_other = dir->fd < 0 && (number == ENOTDIR || number == ELOOP)
                        && count_wrong_directory(walk, dir);
        dir_arrived(dir);
        errno = number;
        if (is_other) {
            return;
        }
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
        dir->modified = stat.st_mtim;
    }
    else {
        struct stat stat;
        if (fstat(dir->fd, &stat) == 0) {
            dir->modified = stat.st_mtim;
        }
    }
    walk->counts.directories++;
    walk->counts.entries++;
    answered(walk);
    if (dir->parent != NULL && dir->parent->totals != NULL
        && !dir_totals_open(dir->parent->totals->root_totals, dir)) {
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
    add_totals(walk, chunk->in, &before);
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
