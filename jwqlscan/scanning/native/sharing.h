/* Giving work away: these take the GIL. */
#pragma once

#include "walk.h"

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
        good = append_chunk(list, chunk_new(walk->reader->chunk_type, dirs, size, NULL, NULL, 0, 0,
                                            false));
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
chunk_of_items(const Walk *walk, Dir *dir, const Item *items, size_t count, bool more)
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
    return chunk_new(walk->reader->chunk_type, NULL, 0, dir_hold_open(dir), names, size, count,
                     more);
}

/* Give items away in equal parts and return how many are kept: the first part, or none while the
 * directory has more to list, since nobody else can list on and the others would run dry. */
static size_t
share_items(Walk *walk, Dir *dir, const Item *items, size_t count, int others, bool more)
{
    size_t parts = (size_t)others + (more ? 0 : 1);
    size_t part = (count + parts - 1) / parts;
    if (part < MIN_SHARE) {
        part = MIN_SHARE;
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
        good = append_chunk(list, chunk_of_items(walk, dir, items + start, size, false));
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
    if (!append_chunk(walk->left, chunk_of_items(walk, dir, items, count, more))) {
        walk->raised = true;
    }
    drop_gil(walk);
}
