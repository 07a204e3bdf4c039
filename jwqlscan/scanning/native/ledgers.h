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
sums_tuple(const Sums *sums)
{
    PyObject *tuple = PyTuple_New(SUMS);
    for (int i = 0; tuple != NULL && i < SUMS; i++) {
        PyObject *number = PyLong_FromUnsignedLongLong(sums->of[i]);
        if (number == NULL) {
            Py_CLEAR(tuple);
            break;
        }
        PyTuple_SET_ITEM(tuple, i, number);
    }
    return tuple;
}

static PyObject *
told_dict(const ToldTable *table)
{
    PyObject *dict = PyDict_New();
    for (size_t i = 0; dict != NULL && i < table->used; i++) {
        PyObject *path = PyUnicode_DecodeFSDefault(table->rows[i].path);
        PyObject *sums = path == NULL ? NULL : sums_tuple(&table->rows[i].sums);
        if (sums == NULL || PyDict_SetItem(dict, path, sums) != 0) {
            Py_CLEAR(dict);
        }
        Py_XDECREF(path);
        Py_XDECREF(sums);
    }
    return dict;
}

PyDoc_STRVAR(reader_directories_doc,
"directories(root_number)\n--\n\n"
"What the directories below a root sum up to, as far as they have been read: by path, five\n"
"numbers each.\n\n"
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
        result = Py_BuildValue("(NKNK)", told_dict(&copies[0]),
                               (unsigned long long)copies[0].dropped, told_dict(&copies[1]),
                               (unsigned long long)copies[1].dropped);
    }
    else {
        PyErr_NoMemory();
    }
    told_clear(&copies[0]);
    told_clear(&copies[1]);
    return result;
}
