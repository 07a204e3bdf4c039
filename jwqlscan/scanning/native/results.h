/* What a walk found, as Python objects. */
#pragma once

#include "sharing.h"

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
    settle_cell(walk);
    if (walk->no_memory) {
        return PyErr_NoMemory();
    }
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
        PyObject *row = Py_BuildValue("(Nsi)", PyUnicode_DecodeFSDefault(failure->path),
                                      failure->operation, failure->number);
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
    PyObject *chunk = chunk_new(walk->reader->chunk_type, walk->stack, walk->depth, NULL, NULL, 0, 0, false);
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
