/* Work as the pool holds it (chunks), and where a worker is (places). */
#pragma once

#include "directories.h"

typedef struct {
    PyObject_HEAD
    pthread_mutex_t lock; /* never held across a system call that may hang */
    Dir *dir;             /* NULL: nowhere */
} Place;

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
    .name = "jwqlscan.scanning.readers._native.Place",
    .basicsize = sizeof(Place),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = place_slots,
};

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

/* Work that nobody will do, where a scan was stopped, is let go of without the GIL: closing a
 * directory of storage that hangs may hang, too. */
static void
chunk_dealloc(PyObject *self)
{
    Chunk *chunk = (Chunk *)self;
    if (chunk->dir_count > 0 || chunk->in != NULL) {
        Py_BEGIN_ALLOW_THREADS
        for (size_t i = 0; i < chunk->dir_count; i++) {
            dir_release(chunk->dirs[i]);
        }
        dir_release_open(chunk->in);
        Py_END_ALLOW_THREADS
    }
    free(chunk->dirs);
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
    .name = "jwqlscan.scanning.readers._native.Chunk",
    .basicsize = sizeof(Chunk),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = chunk_slots,
};

/* Wrap what is given into a chunk, which owns it from then on; on failure it is freed. */
static PyObject *
chunk_new(PyTypeObject *type, Dir **dirs, size_t dir_count, Dir *in, char *names, size_t names_size,
          size_t name_count, bool more)
{
    Chunk *chunk = (Chunk *)type->tp_alloc(type, 0);
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
