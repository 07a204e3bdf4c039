/* The compiled reader: same contract as ScandirReader.read (readers/scandir.py).
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
 * others ask where that worker is, also while it hangs in the kernel. A RootTotals is locked, too: each
 * worker adds to it once a directory.
 *
 * One translation unit, so that the compiler sees all of it: its parts are in native/.
 */
#include "root_totals.h"
#include "reading.h"
#include "results.h"

/* The types, one of each in every interpreter. */
typedef struct {
    PyTypeObject *reader_type, *chunk_type, *place_type;
} ModuleState;

PyDoc_STRVAR(reader_read_doc,
"read(root_number, root_fd, root_path, root_device, chunks, wanted, share, classes, progress_counts,\n"
"     place, seconds)\n--\n\n"
"Read chunks (None: the root itself) and what is below them. `progress_counts` is a buffer of two\n"
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
    PyObject **held = NULL; /* the chunks: others may change the list while the GIL is released */
    Py_ssize_t held_count = 0;
    Py_buffer flag, progress_counts;
    double seconds;
    if (!PyArg_ParseTuple(args, "iiy#KO!y*OOw*O!d:read", &root_number, &root_fd, &root_path,
                          &root_length, &root_device, &PyList_Type, &chunks, &flag, &share,
                          &classes, &progress_counts, ((Reader *)self)->place_type, &place,
                          &seconds)) {
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
        || progress_counts.len < (Py_ssize_t)(2 * sizeof(uint64_t))) {
        PyErr_SetString(PyExc_ValueError, "wanted must hold two C ints, progress_counts two uint64");
        goto done;
    }
    held = malloc((size_t)(PyList_GET_SIZE(chunks) + 1) * sizeof(PyObject *));
    if (held == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(chunks); i++) {
        PyObject *chunk = PyList_GET_ITEM(chunks, i);
        if (chunk != Py_None && Py_TYPE(chunk) != walk.reader->chunk_type) {
            PyErr_SetString(PyExc_TypeError, "chunks must be Chunk objects or None");
            goto done;
        }
        held[held_count++] = Py_NewRef(chunk);
    }
    walk.wanted = flag.buf;
    walk.progress_counts = progress_counts.buf;
    walk.entries_before = atomic_load_explicit(&walk.progress_counts[0], memory_order_relaxed);
    walk.place = (Place *)place;
    walk.left = PyList_New(0);
    walk.buffer = malloc(LIST_BYTES + 1);
    walk.nested = calloc(walk.reader->root_count + 1, 1);
    if (walk.left == NULL || walk.buffer == NULL || walk.nested == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    drop_gil(&walk);
    for (Py_ssize_t i = 0; i < held_count && !stopped(&walk); i++) {
        PyObject *chunk = held[i];
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
            if (open_root_totals(walk.reader, root_number, root)) {
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
    while (held_count > 0) {
        Py_DECREF(held[--held_count]);
    }
    free(held);
    PyBuffer_Release(&progress_counts);
    PyBuffer_Release(&flag);
    return result;
}

static int
reader_traverse(PyObject *self, visitproc visit, void *arg)
{
    Reader *reader = (Reader *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(reader->chunk_type);
    Py_VISIT(reader->place_type);
    Py_VISIT(reader->excluded);
    Py_VISIT(reader->next_ns.obj);
    return 0;
}

static int
reader_clear(PyObject *self)
{
    Py_CLEAR(((Reader *)self)->excluded);
    return 0;
}

static void
byte_strings_free(ByteStrings *strings)
{
    free(strings->text);
    free(strings->lengths);
}

static void
reader_dealloc(PyObject *self)
{
    Reader *reader = (Reader *)self;
    PyObject_GC_UnTrack(self);
    Py_XDECREF(reader->chunk_type);
    Py_XDECREF(reader->place_type);
    free(reader->roots);
    free(reader->pseudo);
    free(reader->unsure);
    byte_strings_free(&reader->snapshot_names);
    byte_strings_free(&reader->endings);
    byte_strings_free(&reader->program_prefix);
    for (size_t i = 0; reader->skipped_paths != NULL && i < reader->skipped_count; i++) {
        free(reader->skipped_paths[i].path);
    }
    free(reader->skipped_paths);
    free(reader->age_limits);
    Py_XDECREF(reader->excluded);
    while (reader->root_totals != NULL) {
        RootTotals *next = reader->root_totals->next;
        root_totals_release(reader->root_totals); /* what is not read yet may still need it */
        reader->root_totals = next;
    }
    pthread_mutex_destroy(&reader->root_totals_lock);
    if (reader->next_ns.obj != NULL) {
        PyBuffer_Release(&reader->next_ns);
    }
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

/* Copy a tuple of bytes; false: an exception is set. */
static bool
byte_strings_copy(ByteStrings *copy, PyObject *tuple)
{
    size_t count = (size_t)PyTuple_GET_SIZE(tuple), size = 0;
    for (size_t i = 0; i < count; i++) {
        PyObject *item = PyTuple_GET_ITEM(tuple, (Py_ssize_t)i);
        if (!PyBytes_Check(item)) {
            PyErr_SetString(PyExc_TypeError, "names and paths must be bytes");
            return false;
        }
        size += (size_t)PyBytes_GET_SIZE(item) + 1;
    }
    copy->text = malloc(size + 1);
    copy->lengths = calloc(count + 1, sizeof(size_t));
    if (copy->text == NULL || copy->lengths == NULL) {
        PyErr_NoMemory();
        return false;
    }
    char *at = copy->text;
    for (size_t i = 0; i < count; i++) {
        PyObject *item = PyTuple_GET_ITEM(tuple, (Py_ssize_t)i);
        copy->lengths[i] = (size_t)PyBytes_GET_SIZE(item);
        memcpy(at, PyBytes_AS_STRING(item), copy->lengths[i] + 1);
        at += copy->lengths[i] + 1;
    }
    copy->count = count;
    return true;
}

PyDoc_STRVAR(reader_doc,
"Reader(roots, pseudo_devices, unsure_devices, snapshot_names, skipped_paths, excluded, one_file_system,\n"
"       follow_file_symlinks, keep_below_fd, age_limits, endings, kept_from, kept_to,\n"
"       program_prefix, program_digits, directories, interval_ns, next_ns)\n--\n\n"
"Rules for reading; see ScanRules. `excluded` is callable(root path, directory, names)\n"
"-> bytes, one a name, or None. `endings` are those of FITS names; from kept_from up to\n"
"kept_to their digits are left in their shapes. A program's number has 1 to 9 digits; 0: none\n"
"is counted.\n"
"`directories`: the depth down to which all are kept, their maximum, and that of those below.");

static PyObject *
reader_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *roots, *pseudo, *unsure, *snapshot_names, *skipped_paths, *excluded;
    PyObject *age_limits, *endings, *program_prefix;
    Py_ssize_t kept_from, kept_to;
    int one_file_system, follow, keep_below_fd, program_digits;
    int directory_depth, max_upper, max_lower;
    long long interval_ns;
    Py_buffer next_ns;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "Reader() takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "O!O!O!O!O!OppiO!O!nnSi(iii)Lw*:Reader", &PyTuple_Type, &roots,
                          &PyTuple_Type, &pseudo, &PyTuple_Type, &unsure, &PyTuple_Type, &snapshot_names, &PyTuple_Type,
                          &skipped_paths, &excluded, &one_file_system, &follow, &keep_below_fd,
                          &PyTuple_Type, &age_limits, &PyTuple_Type, &endings, &kept_from, &kept_to,
                          &program_prefix, &program_digits, &directory_depth, &max_upper, &max_lower,
                          &interval_ns, &next_ns)) {
        return NULL;
    }
    Reader *reader = (Reader *)type->tp_alloc(type, 0);
    if (reader == NULL) {
        PyBuffer_Release(&next_ns);
        return NULL;
    }
    reader->next_ns = next_ns;
    const ModuleState *state = PyType_GetModuleState(type);
    reader->chunk_type = (PyTypeObject *)Py_NewRef(state->chunk_type);
    reader->place_type = (PyTypeObject *)Py_NewRef(state->place_type);
    pthread_mutex_init(&reader->root_totals_lock, NULL);
    if (directory_depth < 0 || max_upper < 0 || max_lower < 0 || max_upper > INT_MAX / 4
        || max_lower > INT_MAX / 4) {
        PyErr_SetString(PyExc_ValueError, "directories must be three numbers, none negative");
        goto failed;
    }
    reader->directory_depth = (uint32_t)directory_depth;
    reader->max_upper = (size_t)max_upper;
    reader->max_lower = (size_t)max_lower;
    PyObject *prefixes = PyTuple_Pack(1, program_prefix);
    bool copied = prefixes != NULL && byte_strings_copy(&reader->program_prefix, prefixes);
    Py_XDECREF(prefixes);
    if (!copied || !byte_strings_copy(&reader->snapshot_names, snapshot_names)
        || !byte_strings_copy(&reader->endings, endings)) {
        goto failed;
    }
    if (kept_from < 0 || kept_to < 0) {
        PyErr_SetString(PyExc_ValueError, "kept_from and kept_to must not be negative");
        goto failed;
    }
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
    reader->skipped_count = (size_t)PyTuple_GET_SIZE(skipped_paths);
    reader->excluded = excluded == Py_None ? NULL : Py_NewRef(excluded);
    reader->one_file_system = one_file_system;
    reader->follow = follow;
    reader->keep_below_fd = keep_below_fd;
    reader->root_count = (size_t)PyTuple_GET_SIZE(roots);
    reader->pseudo_count = (size_t)PyTuple_GET_SIZE(pseudo);
    reader->unsure_count = (size_t)PyTuple_GET_SIZE(unsure);
    reader->unsure = calloc(reader->unsure_count + 1, sizeof(uint64_t));
    reader->roots = calloc(reader->root_count + 1, sizeof(Identity));
    reader->pseudo = calloc(reader->pseudo_count + 1, sizeof(uint64_t));
    reader->skipped_paths = calloc(reader->skipped_count + 1, sizeof(Barred));
    if (reader->roots == NULL || reader->pseudo == NULL || reader->unsure == NULL || reader->skipped_paths == NULL) {
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
    for (size_t i = 0; i < reader->skipped_count; i++) {
        Barred *one = &reader->skipped_paths[i];
        const char *path;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(skipped_paths, (Py_ssize_t)i), "yi", &path,
                              &one->reason)) {
            goto failed;
        }
        one->path = strdup(path);
        if (one->path == NULL) {
            PyErr_NoMemory();
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
    for (size_t i = 0; i < reader->unsure_count; i++) {
        reader->unsure[i] = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(unsure, (Py_ssize_t)i));
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
    {Py_tp_traverse, reader_traverse},
    {Py_tp_clear, reader_clear},
    {Py_tp_methods, reader_methods},
    {Py_tp_doc, (void *)reader_doc},
    {0, NULL},
};

static PyType_Spec reader_spec = {
    .name = "jwqlscan.scanning.readers._native.Reader",
    .basicsize = sizeof(Reader),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = reader_slots,
};

/* Of the interface with `readers.native`, raised with each change of it: as CONTRACT there. */
enum { CONTRACT = 2 };

/* Make a type, keep it in the module's state, and add it to the module; -1: an exception is set. */
static int
add_type(PyObject *module, PyType_Spec *spec, const char *name, PyTypeObject **place)
{
    *place = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    return *place == NULL ? -1 : PyModule_AddObjectRef(module, name, (PyObject *)*place);
}

static int
module_exec(PyObject *module)
{
    ModuleState *state = PyModule_GetState(module);
    if (PyModule_AddIntConstant(module, "CONTRACT", CONTRACT) != 0
        || add_type(module, &reader_spec, "Reader", &state->reader_type) != 0
        || add_type(module, &chunk_spec, "Chunk", &state->chunk_type) != 0
        || add_type(module, &place_spec, "Place", &state->place_type) != 0) {
        return -1;
    }
    return 0;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    ModuleState *state = PyModule_GetState(module);
    Py_VISIT(state->reader_type);
    Py_VISIT(state->chunk_type);
    Py_VISIT(state->place_type);
    return 0;
}

static int
module_clear(PyObject *module)
{
    ModuleState *state = PyModule_GetState(module);
    Py_CLEAR(state->reader_type);
    Py_CLEAR(state->chunk_type);
    Py_CLEAR(state->place_type);
    return 0;
}

static void
module_free(void *module)
{
    module_clear((PyObject *)module);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#ifdef Py_MOD_PER_INTERPRETER_GIL_SUPPORTED
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED}, /* no state but its own */
#endif
#ifdef Py_MOD_GIL_NOT_USED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "jwqlscan.scanning.readers._native",
    .m_doc = "The compiled reader; see readers/native.py.",
    .m_size = sizeof(ModuleState),
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__native(void)
{
    return PyModuleDef_Init(&module_def);
}
