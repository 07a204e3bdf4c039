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
#include "ledgers.h"
#include "reading.h"
#include "results.h"

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
    Py_buffer flag, progress_counts;
    double seconds;
    if (!PyArg_ParseTuple(args, "iiy#KO!y*OOw*O!d:read", &root_number, &root_fd, &root_path,
                          &root_length, &root_device, &PyList_Type, &chunks, &flag, &share,
                          &classes, &progress_counts, Place_Type, &place, &seconds)) {
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
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(chunks); i++) {
        PyObject *chunk = PyList_GET_ITEM(chunks, i);
        if (chunk != Py_None && Py_TYPE(chunk) != Chunk_Type) {
            PyErr_SetString(PyExc_TypeError, "chunks must be Chunk objects or None");
            goto done;
        }
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
    PyBuffer_Release(&progress_counts);
    PyBuffer_Release(&flag);
    return result;
}

static void
reader_dealloc(PyObject *self)
{
    Reader *reader = (Reader *)self;
    free(reader->roots);
    free(reader->pseudo);
    free(reader->unsure);
    Py_XDECREF(reader->snapshot_names);
    Py_XDECREF(reader->barred_paths);
    free(reader->skipped_paths);
    free(reader->age_limits);
    Py_XDECREF(reader->program_prefix_bytes);
    Py_XDECREF(reader->endings);
    Py_XDECREF(reader->excluded);
    while (reader->ledgers != NULL) {
        RootTotals *next = reader->ledgers->next;
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
"Reader(roots, pseudo_devices, unsure_devices, snapshot_names, skipped_paths, excluded, one_file_system,\n"
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
    PyObject *roots, *pseudo, *unsure, *snapshot_names, *skipped_paths, *excluded;
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
    if (!PyArg_ParseTuple(args, "O!O!O!O!O!OppiO!O!nnSi(iii)Lw*:Reader", &PyTuple_Type, &roots,
                          &PyTuple_Type, &pseudo, &PyTuple_Type, &unsure, &PyTuple_Type, &snapshot_names, &PyTuple_Type,
                          &skipped_paths, &excluded, &one_file_system, &follow, &keep_below_fd,
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
    reader->barred_paths = Py_NewRef(skipped_paths);
    reader->barred_count = (size_t)PyTuple_GET_SIZE(skipped_paths);
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
    reader->skipped_paths = calloc(reader->barred_count + 1, sizeof(Barred));
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
    for (size_t i = 0; i < reader->barred_count; i++) {
        Barred *one = &reader->skipped_paths[i];
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(skipped_paths, (Py_ssize_t)i), "yi", &one->path,
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
    {Py_tp_methods, reader_methods},
    {Py_tp_doc, (void *)reader_doc},
    {0, NULL},
};

static PyType_Spec reader_spec = {
    .name = "jwqlscan.scanning.readers._native.Reader",
    .basicsize = sizeof(Reader),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = reader_slots,
};

/* Of the interface with `readers.native`, raised with each change of it: as CONTRACT there. */
enum { CONTRACT = 2 };

static int
module_exec(PyObject *module)
{
    if (PyModule_AddIntConstant(module, "CONTRACT", CONTRACT) != 0) {
        return -1;
    }
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
    .m_name = "jwqlscan.scanning.readers._native",
    .m_doc = "The compiled reader; see readers/native.py.",
    .m_slots = module_slots,
};

PyMODINIT_FUNC
PyInit__native(void)
{
    return PyModuleDef_Init(&module_def);
}
