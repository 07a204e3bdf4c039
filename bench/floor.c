/* The floor: the least a program can do to count files and sum their sizes.
 *
 *     floor [-t THREADS] DIR
 *
 * openat, getdents64 and one fstatat a file; a directory is known by its d_type and not stat'ed.
 * It classifies nothing, bounds nothing, and tells errors only by count: what a scanner takes
 * beyond this is the price of its own work. Every name of a hard-linked file counts.
 *
 * Each worker keeps the directories it found to itself, and looks up only when another worker has
 * nothing to do: then it gives away the older half of them, or of the names it has still to stat.
 * So a warm tree costs a handful of lock operations, and on slow storage the workers spread over
 * one flat directory as they do over many.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    DEFAULT_THREADS = 2,
    MAX_THREADS = 1024,
    BUFFER_BYTES = 128 * 1024, /* larger ones are no faster on ext4; FUSE passes on up to this */
    MIN_NAMES = 4,             /* names worth handing over: 2 ms of stats at 0.5 ms of latency */
};

/* An open directory; it is closed when its last task is done. */
typedef struct {
    int fd;
    atomic_int references;
} Dir;

/* Work: a directory to open (`length` 0, `bytes` its name, NUL-terminated) or directory records
 * to stat (`length` bytes of them), both relative to `dir`. */
typedef struct {
    Dir *dir;
    size_t length;
    char bytes[];
} Task;

typedef struct {
    Task **tasks;
    size_t count, room;
} Stack;

typedef struct {
    pthread_t thread;
    Stack own;
    char *buffer;
    uint64_t files, bytes, directories, errors;
} Worker;

/* The stack that all share. `idle` workers wait; when all do, nothing is left anywhere, since a
 * worker that waits has an empty stack of its own. `wanted` is how many more tasks those who wait
 * could use: workers read it without the lock, a stale value costs at most one needless look. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    Stack stack;
    int threads, idle;
    bool done;
    atomic_int wanted;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void *checked(void *memory)
{
    if (memory == NULL) {
        fputs("floor: out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

static void push(Stack *stack, Task *task)
{
    if (stack->count == stack->room) {
        stack->room = stack->room ? 2 * stack->room : 64;
        stack->tasks = checked(realloc(stack->tasks, stack->room * sizeof *stack->tasks));
    }
    stack->tasks[stack->count++] = task;
}

static Task *new_task(Dir *dir, const char *bytes, size_t size, size_t length)
{
    Task *task = checked(malloc(sizeof *task + size));
    atomic_fetch_add_explicit(&dir->references, 1, memory_order_relaxed);
    task->dir = dir;
    task->length = length;
    memcpy(task->bytes, bytes, size);
    return task;
}

static void release(Dir *dir)
{
    if (atomic_fetch_sub_explicit(&dir->references, 1, memory_order_acq_rel) == 1) {
        close(dir->fd);
        free(dir);
    }
}

/* Call with the lock held. */
static void update_wanted(void)
{
    int wanted = pool.idle - (int)pool.stack.count;
    atomic_store_explicit(&pool.wanted, wanted > 0 ? wanted : 0, memory_order_relaxed);
}

static int wanted(void)
{
    return atomic_load_explicit(&pool.wanted, memory_order_relaxed);
}

/* Give tasks to those who wait. The oldest go: they are the nearest to the root, so the largest. */
static void give(Task **tasks, size_t count)
{
    pthread_mutex_lock(&pool.lock);
    for (size_t i = 0; i < count; i++)
        push(&pool.stack, tasks[i]);
    update_wanted();
    if (count == 1)
        pthread_cond_signal(&pool.changed);
    else
        pthread_cond_broadcast(&pool.changed);
    pthread_mutex_unlock(&pool.lock);
}

static void give_half(Stack *own)
{
    size_t given = (own->count + 1) / 2;
    give(own->tasks, given);
    own->count -= given;
    memmove(own->tasks, own->tasks + given, own->count * sizeof *own->tasks);
}

static const struct dirent64 *record_at(const char *bytes)
{
    return (const void *)bytes;
}

/* Return where the first `count` records end. */
static const char *skip(const char *bytes, const char *end, size_t count)
{
    while (count-- > 0 && bytes < end)
        bytes += record_at(bytes)->d_reclen;
    return bytes;
}

static size_t count_records(const char *bytes, const char *end)
{
    size_t count = 0;
    for (; bytes < end; bytes += record_at(bytes)->d_reclen)
        count++;
    return count;
}

/* Give those who wait an equal share each of the records; return where the part kept ends. */
static const char *give_records(Dir *dir, const char *bytes, const char *end, int takers)
{
    size_t count = count_records(bytes, end);
    size_t share = (count + (size_t)takers) / ((size_t)takers + 1);
    if (share < MIN_NAMES)
        share = MIN_NAMES;
    const char *kept = skip(bytes, end, share), *start = kept;
    Task *tasks[MAX_THREADS];
    size_t given = 0;
    while (start < end) {
        const char *stop = skip(start, end, share);
        tasks[given++] = new_task(dir, start, (size_t)(stop - start), (size_t)(stop - start));
        start = stop;
    }
    if (given > 0)
        give(tasks, given);
    return kept;
}

static bool is_dot(const char *name)
{
    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

static void found_directory(Worker *worker, Dir *dir, const char *name)
{
    if (!is_dot(name))
        push(&worker->own, new_task(dir, name, strlen(name) + 1, 0));
}

static void stat_name(Worker *worker, Dir *dir, const char *name)
{
    struct stat st;
    if (fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) != 0) {
        worker->errors++;
    } else if (S_ISREG(st.st_mode)) {
        worker->files++;
        worker->bytes += (uint64_t)st.st_size;
    } else if (S_ISDIR(st.st_mode)) { /* readdir(3): d_type may be DT_UNKNOWN */
        found_directory(worker, dir, name);
    }
}

static void visit_records(Worker *worker, Dir *dir, const char *bytes, const char *end)
{
    while (bytes < end) {
        int takers = wanted();
        if (takers > 0) {
            if (worker->own.count > 0)
                give_half(&worker->own);
            else
                end = give_records(dir, bytes, end, takers);
        }
        const struct dirent64 *record = record_at(bytes);
        bytes += record->d_reclen;
        if (record->d_type == DT_DIR)
            found_directory(worker, dir, record->d_name);
        else if (record->d_type == DT_REG || record->d_type == DT_UNKNOWN)
            stat_name(worker, dir, record->d_name);
    }
}

static void visit_directory(Worker *worker, int parent_fd, const char *name)
{
    int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        worker->errors++;
        return;
    }
    Dir *dir = checked(malloc(sizeof *dir));
    dir->fd = fd;
    atomic_init(&dir->references, 1);
    worker->directories++;
    ssize_t got;
    while ((got = getdents64(fd, worker->buffer, BUFFER_BYTES)) > 0)
        visit_records(worker, dir, worker->buffer, worker->buffer + got);
    if (got < 0)
        worker->errors++;
    release(dir);
}

/* Move a fair part of the shared stack to the worker's own; return false when all is done. */
static bool refill(Worker *worker)
{
    pthread_mutex_lock(&pool.lock);
    pool.idle++;
    while (pool.stack.count == 0 && !pool.done) {
        if (pool.idle == pool.threads) {
            pool.done = true;
            pthread_cond_broadcast(&pool.changed);
            break;
        }
        update_wanted();
        pthread_cond_wait(&pool.changed, &pool.lock);
    }
    pool.idle--;
    size_t threads = (size_t)pool.threads;
    for (size_t n = (pool.stack.count + threads - 1) / threads; n > 0; n--)
        push(&worker->own, pool.stack.tasks[--pool.stack.count]);
    update_wanted();
    pthread_mutex_unlock(&pool.lock);
    return worker->own.count > 0;
}

static void *work(void *argument)
{
    Worker *worker = argument;
    worker->buffer = checked(malloc(BUFFER_BYTES));
    while (worker->own.count > 0 || refill(worker)) {
        Task *task = worker->own.tasks[--worker->own.count];
        if (task->length > 0)
            visit_records(worker, task->dir, task->bytes, task->bytes + task->length);
        else
            visit_directory(worker, task->dir->fd, task->bytes);
        release(task->dir);
        free(task);
    }
    free(worker->buffer);
    return NULL;
}

/* A directory stays open while one below it waits: the default limit of 1024 is soon reached. */
static void raise_open_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int usage(void)
{
    fprintf(stderr, "usage: floor [-t THREADS] DIR   (1 to %d threads)\n", MAX_THREADS);
    return 2;
}

int main(int argc, char **argv)
{
    int option;
    pool.threads = DEFAULT_THREADS;
    while ((option = getopt(argc, argv, "t:")) != -1) {
        if (option != 't')
            return usage();
        pool.threads = atoi(optarg);
    }
    if (optind != argc - 1 || pool.threads < 1 || pool.threads > MAX_THREADS)
        return usage();
    raise_open_files();

    Worker *workers = checked(calloc((size_t)pool.threads, sizeof *workers));
    Dir here = {.fd = AT_FDCWD, .references = 1}; /* ours to the end: it is never closed */
    const char *root = argv[optind];
    push(&pool.stack, new_task(&here, root, strlen(root) + 1, 0));
    for (int i = 0; i < pool.threads; i++) {
        int error = pthread_create(&workers[i].thread, NULL, work, &workers[i]);
        if (error != 0) {
            fprintf(stderr, "floor: no thread: %s\n", strerror(error));
            return 1;
        }
    }
    Worker sum = {.files = 0};
    for (int i = 0; i < pool.threads; i++) {
        pthread_join(workers[i].thread, NULL);
        sum.files += workers[i].files;
        sum.bytes += workers[i].bytes;
        sum.directories += workers[i].directories;
        sum.errors += workers[i].errors;
        free(workers[i].own.tasks);
    }
    free(workers);
    free(pool.stack.tasks);
    printf("{\"files\": %" PRIu64 ", \"apparent_bytes\": %" PRIu64 ", \"directories\": %" PRIu64
           ", \"errors\": %" PRIu64 "}\n",
           sum.files, sum.bytes, sum.directories, sum.errors);
    return sum.errors == 0 ? 0 : 1;
}
