/* What the directories of each root sum up to, as Python objects. */
#pragma once

#include "walk.h"

/* Begin the totals of a root, in its RootTotals (made if there are none); false: no memory. */
static bool
open_root_totals(Reader *reader, int root_number, Dir *root)
{
    if (reader->max_upper == 0) {
        return true;
    }
    pthread_mutex_lock(&reader->root_totals_lock);
    RootTotals *root_totals = reader->root_totals;
    while (root_totals != NULL && root_totals->root_number != root_number) {
        root_totals = root_totals->next;
    }
    if (root_totals == NULL && (root_totals = calloc(1, sizeof(RootTotals))) != NULL) {
        atomic_init(&root_totals->refs, 1);
        pthread_mutex_init(&root_totals->lock, NULL);
        root_totals->root_number = root_number;
        root_totals->depth = reader->directory_depth;
        root_totals->upper.most = reader->max_upper;
        root_totals->lower.most = reader->max_lower;
        root_totals->next = reader->root_totals;
        reader->root_totals = root_totals;
    }
    pthread_mutex_unlock(&reader->root_totals_lock);
    if (root_totals == NULL || !dir_totals_open(root_totals, root)) {
        return false;
    }
    atomic_fetch_add_explicit(&root_totals->refs, 1, memory_order_relaxed);
    return true;
}

/* Copies of rows, to be made into Python objects once the root_totals is unlocked: what that does may
 * let go of directories, and so lock it. */
static bool
top_copy(TopTable *copy, char *path, const Sums *sums)
{
    if (path == NULL) {
        return false;
    }
    if (copy->used == copy->room) {
        size_t room = copy->room == 0 ? SPARE_ROWS : copy->room * 2;
        TopRow *rows = realloc(copy->rows, room * sizeof(TopRow));
        if (rows == NULL) {
            free(path);
            return false;
        }
        copy->rows = rows;
        copy->room = room;
    }
    copy->rows[copy->used++] = (TopRow){path, *sums};
    return true;
}

/* Copy what is known of the upper directories that are not finished. */
static bool
copy_live(TopTable *copy, const RootTotals *root_totals)
{
    for (const DirTotals *one = root_totals->live; one != NULL; one = one->live_after) {
        Sums sums = one->sums;
        for (const DirTotals *other = root_totals->live; other != NULL; other = other->live_after) {
            const Dir *above = other->dir;
            for (uint32_t level = other->level; level > one->level; level--) {
                above = above->parent;
            }
            if (above == one->dir && other != one) {
                sums_add(&sums, &other->sums);
            }
        }
        if (!top_copy(copy, path_of(one->dir, NULL), &sums)) {
            return false;
        }
    }
    return true;
}

/* Add the rows' paths to a list, and their sums to what is at `numbers`; false: an error is set. */
static bool
top_columns(const TopTable *table, PyObject *paths, Py_ssize_t first, char *numbers)
{
    for (size_t i = 0; i < table->used; i++) {
        PyObject *path = PyUnicode_DecodeFSDefault(table->rows[i].path);
        if (path == NULL) {
            return false;
        }
        PyList_SET_ITEM(paths, first + (Py_ssize_t)i, path);
        memcpy(numbers + i * sizeof(Sums), &table->rows[i].sums, sizeof(Sums));
    }
    return true;
}

/* Return (paths, numbers, upper, (upper_dropped, lower_dropped)) of two tables. */
static PyObject *
directory_columns(const TopTable *upper, const TopTable *lower)
{
    Py_ssize_t rows = (Py_ssize_t)(upper->used + lower->used);
    PyObject *paths = PyList_New(rows);
    PyObject *numbers = PyBytes_FromStringAndSize(NULL, rows * (Py_ssize_t)sizeof(Sums));
    PyObject *result = NULL;
    if (paths != NULL && numbers != NULL) {
        char *start = PyBytes_AS_STRING(numbers);
        if (top_columns(upper, paths, 0, start)
            && top_columns(lower, paths, (Py_ssize_t)upper->used,
                            start + upper->used * sizeof(Sums))) {
            result = Py_BuildValue("(OOn(KK))", paths, numbers, (Py_ssize_t)upper->used,
                                   (unsigned long long)upper->dropped,
                                   (unsigned long long)lower->dropped);
        }
    }
    Py_XDECREF(paths);
    Py_XDECREF(numbers);
    return result;
}

PyDoc_STRVAR(reader_directories_doc,
"directories(root_number)\n--\n\n"
"The sums of the directories below a root, of what has been read until now.\n\n"
"Returns (paths, numbers, upper, (upper_dropped, lower_dropped)), or None if nothing was read:\n"
"a list of str, first `upper` directories down to the depth, then the largest below it; and five\n"
"unsigned 64-bit integers for each path, as bytes in the host's order.");

static PyObject *
reader_directories(PyObject *self, PyObject *argument)
{
    Reader *reader = (Reader *)self;
    long root_number = PyLong_AsLong(argument);
    if (root_number == -1 && PyErr_Occurred()) {
        return NULL;
    }
    pthread_mutex_lock(&reader->root_totals_lock);
    RootTotals *root_totals = reader->root_totals;
    while (root_totals != NULL && root_totals->root_number != root_number) {
        root_totals = root_totals->next;
    }
    pthread_mutex_unlock(&reader->root_totals_lock);
    if (root_totals == NULL) {
        Py_RETURN_NONE;
    }
    TopTable copies[2] = {{0}, {0}};
    pthread_mutex_lock(&root_totals->lock);
    TopTable *tables[2] = {&root_totals->upper, &root_totals->lower};
    bool good = !root_totals->no_memory && copy_live(&copies[0], root_totals);
    for (int which = 0; which < 2; which++) {
        top_cut(tables[which]);
        copies[which].dropped = tables[which]->dropped;
        for (size_t i = 0; good && i < tables[which]->used; i++) {
            const TopRow *row = &tables[which]->rows[i];
            good = top_copy(&copies[which], strdup(row->path), &row->sums);
        }
    }
    pthread_mutex_unlock(&root_totals->lock);
    PyObject *result = good ? directory_columns(&copies[0], &copies[1]) : PyErr_NoMemory();
    top_clear(&copies[0]);
    top_clear(&copies[1]);
    return result;
}
