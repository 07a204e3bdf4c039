/* What the directories of each root sum up to, as Python objects. */
#pragma once

#include "walk.h"

/* Have a root's directories told in its ledger, a new one if need be; false: no memory. */
static bool
open_ledger(Reader *reader, int root_number, Dir *root)
{
    if (reader->told_most == 0) {
        return true;
    }
    pthread_mutex_lock(&reader->ledgers_lock);
    RootTotals *ledger = reader->ledgers;
    while (ledger != NULL && ledger->root_number != root_number) {
        ledger = ledger->next;
    }
    if (ledger == NULL && (ledger = calloc(1, sizeof(RootTotals))) != NULL) {
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
copy_live(ToldTable *copy, const RootTotals *ledger)
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

/* Add the rows' paths to a list, and their sums to what is at `numbers`; false: an error is set. */
static bool
told_columns(const ToldTable *table, PyObject *paths, Py_ssize_t first, char *numbers)
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
directory_columns(const ToldTable *upper, const ToldTable *lower)
{
    Py_ssize_t rows = (Py_ssize_t)(upper->used + lower->used);
    PyObject *paths = PyList_New(rows);
    PyObject *numbers = PyBytes_FromStringAndSize(NULL, rows * (Py_ssize_t)sizeof(Sums));
    PyObject *result = NULL;
    if (paths != NULL && numbers != NULL) {
        char *start = PyBytes_AS_STRING(numbers);
        if (told_columns(upper, paths, 0, start)
            && told_columns(lower, paths, (Py_ssize_t)upper->used,
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
    pthread_mutex_lock(&reader->ledgers_lock);
    RootTotals *ledger = reader->ledgers;
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
    PyObject *result = good ? directory_columns(&copies[0], &copies[1]) : PyErr_NoMemory();
    told_clear(&copies[0]);
    told_clear(&copies[1]);
    return result;
}
