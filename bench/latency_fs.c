/* A directory seen through slow storage: a read-only FUSE view whose metadata calls take a while.
 *
 *     latency_fs SOURCE MOUNTPOINT MICROSECONDS      (ends with: fusermount3 -u MOUNTPOINT)
 *
 * Each lookup, getattr, opendir, readdir and readlink is answered from SOURCE that long after it
 * came. Any number of them wait at once, in one directory too: latency is all that this storage
 * lacks. As on NFS a lookup's answer carries the attributes, so a stat by name is one call. Names
 * are not cached (entry timeout 0) and there is no readdirplus, so a second scan is as slow as the
 * first. What files contain is not to be had.
 *
 * The wait is the same for every call, so calls stand in a queue, each with the time it is due. A
 * thread asleep for every call would cost several times more CPU, which on a machine of few cores
 * the scanners under test would have to do without. Two threads serve, each with a queue of its
 * own: one answers 30,000 calls a second at most, half of what 32 workers ask for.
 */
#define _GNU_SOURCE
#define FUSE_USE_VERSION 312
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <limits.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
    SERVERS = 2,
    BUCKETS = 1 << 16, /* of the node table: a few 10,000 nodes */
};

/* How long attributes hold, in seconds. Nothing is cached by that: a stat by name is a lookup,
 * whose fresh attributes it uses, and only an fstat soon after is answered without a call. */
static const double ATTRIBUTES_HOLD = 1.0;

/* A file or directory that the kernel was told of. Nodes live until unmount: the trees are small,
 * and a table that forgets nothing has no races. The kernel knows a node by its address. */
typedef struct Node {
    struct Node *next;
    struct Node *parent;
    dev_t device;
    ino_t inode;
    int fd; /* O_PATH of a directory, else -1 */
    char name[];
} Node;

static const int64_t NS_A_SECOND = 1000000000;

static Node *root;
static Node *buckets[BUCKETS];
static pthread_mutex_t buckets_lock = PTHREAD_MUTEX_INITIALIZER;

static Node *node_of(fuse_ino_t ino)
{
    return ino == FUSE_ROOT_ID ? root : (Node *)(uintptr_t)ino;
}

static Node *new_node(Node *parent, const char *name, const struct stat *st)
{
    size_t size = strlen(name) + 1;
    Node *node = malloc(sizeof *node + size);
    if (node == NULL)
        return NULL;
    *node = (Node){.parent = parent, .device = st->st_dev, .inode = st->st_ino, .fd = -1};
    memcpy(node->name, name, size);
    if (S_ISDIR(st->st_mode)) {
        node->fd = openat(parent ? parent->fd : AT_FDCWD, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (node->fd < 0) {
            free(node);
            return NULL;
        }
    }
    return node;
}

/* Find the node of what `st` describes, or make it; the same inode must get the same node, or the
 * kernel takes the old name for dead and asks again. Return NULL with errno set. */
static Node *node_for(Node *parent, const char *name, const struct stat *st)
{
    size_t bucket = (st->st_ino ^ (st->st_dev * 31)) % BUCKETS;
    pthread_mutex_lock(&buckets_lock);
    Node *node = buckets[bucket];
    while (node != NULL && (node->inode != st->st_ino || node->device != st->st_dev))
        node = node->next;
    if (node == NULL && (node = new_node(parent, name, st)) != NULL) {
        node->next = buckets[bucket];
        buckets[bucket] = node;
    }
    pthread_mutex_unlock(&buckets_lock);
    return node;
}

static void fs_init(void *data, struct fuse_conn_info *connection)
{
    (void)data;
    /* Lookups side by side in one directory; see send_reply. */
    connection->want |= connection->capable & FUSE_CAP_PARALLEL_DIROPS;
    connection->want &= ~(unsigned)(FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO);
}

static void fs_lookup(fuse_req_t request, fuse_ino_t parent_ino, const char *name)
{
    Node *parent = node_of(parent_ino), *node;
    struct fuse_entry_param entry = {.attr_timeout = ATTRIBUTES_HOLD, .entry_timeout = 0};
    if (fstatat(parent->fd, name, &entry.attr, AT_SYMLINK_NOFOLLOW) != 0
        || (node = node_for(parent, name, &entry.attr)) == NULL) {
        fuse_reply_err(request, errno);
        return;
    }
    entry.ino = (fuse_ino_t)(uintptr_t)node;
    fuse_reply_entry(request, &entry);
}

static void fs_forget(fuse_req_t request, fuse_ino_t ino, uint64_t count)
{
    (void)ino, (void)count;
    fuse_reply_none(request);
}

static void fs_forget_multi(fuse_req_t request, size_t count, struct fuse_forget_data *forgets)
{
    (void)count, (void)forgets;
    fuse_reply_none(request);
}

static void fs_getattr(fuse_req_t request, fuse_ino_t ino, struct fuse_file_info *file)
{
    (void)file;
    Node *node = node_of(ino);
    struct stat st;
    int failed = node->fd >= 0
                     ? fstatat(node->fd, "", &st, AT_EMPTY_PATH)
                     : fstatat(node->parent->fd, node->name, &st, AT_SYMLINK_NOFOLLOW);
    if (failed)
        fuse_reply_err(request, errno);
    else
        fuse_reply_attr(request, &st, ATTRIBUTES_HOLD);
}

static void fs_readlink(fuse_req_t request, fuse_ino_t ino)
{
    Node *node = node_of(ino);
    char target[PATH_MAX];
    ssize_t length = node->parent == NULL
                         ? -1
                         : readlinkat(node->parent->fd, node->name, target, sizeof target - 1);
    if (length < 0) {
        fuse_reply_err(request, EINVAL);
        return;
    }
    target[length] = '\0';
    fuse_reply_readlink(request, target);
}

static void fs_open(fuse_req_t request, fuse_ino_t ino, struct fuse_file_info *file)
{
    (void)ino, (void)file;
    fuse_reply_err(request, EACCES);
}

static DIR *stream_of(const struct fuse_file_info *file)
{
    return (DIR *)(uintptr_t)file->fh;
}

static void fs_opendir(fuse_req_t request, fuse_ino_t ino, struct fuse_file_info *file)
{
    int fd = openat(node_of(ino)->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (stream == NULL) {
        int error = errno;
        if (fd >= 0)
            close(fd);
        fuse_reply_err(request, error);
        return;
    }
    file->fh = (uint64_t)(uintptr_t)stream;
    fuse_reply_open(request, file);
}

/* Fill `buffer` with the records from `offset` on; return how many bytes, or -1 with errno set.
 * The stream reads ahead, so what does not fit is read again by the offset before it. */
static ssize_t fill(fuse_req_t request, DIR *stream, char *buffer, size_t size, off_t offset)
{
    size_t used = 0;
    if (telldir(stream) != offset)
        seekdir(stream, offset);
    for (;;) {
        off_t before = telldir(stream);
        errno = 0;
        struct dirent *record = readdir(stream);
        if (record == NULL)
            return errno == 0 || used > 0 ? (ssize_t)used : -1;
        struct stat st = {.st_ino = record->d_ino, .st_mode = DTTOIF(record->d_type)};
        size_t needed = fuse_add_direntry(request, buffer + used, size - used, record->d_name, &st,
                                          telldir(stream));
        if (needed > size - used) {
            seekdir(stream, before);
            return (ssize_t)used;
        }
        used += needed;
    }
}

static void fs_readdir(fuse_req_t request, fuse_ino_t ino, size_t size, off_t offset,
                       struct fuse_file_info *file)
{
    (void)ino;
    char *buffer = malloc(size);
    ssize_t used = buffer ? fill(request, stream_of(file), buffer, size, offset) : -1;
    if (used < 0)
        fuse_reply_err(request, errno);
    else
        fuse_reply_buf(request, buffer, (size_t)used);
    free(buffer);
}

static void fs_releasedir(fuse_req_t request, fuse_ino_t ino, struct fuse_file_info *file)
{
    (void)ino;
    closedir(stream_of(file));
    fuse_reply_err(request, 0);
}

static void fs_statfs(fuse_req_t request, fuse_ino_t ino)
{
    (void)ino;
    struct statvfs st;
    if (fstatvfs(root->fd, &st) != 0)
        fuse_reply_err(request, errno);
    else
        fuse_reply_statfs(request, &st);
}

static const struct fuse_lowlevel_ops operations = {
    .init = fs_init,
    .lookup = fs_lookup,
    .forget = fs_forget,
    .forget_multi = fs_forget_multi,
    .getattr = fs_getattr,
    .readlink = fs_readlink,
    .open = fs_open,
    .opendir = fs_opendir,
    .readdir = fs_readdir,
    .releasedir = fs_releasedir,
    .statfs = fs_statfs,
};

/* An O_PATH descriptor is held for each directory seen. */
static void raise_open_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static ssize_t receive(int fd, void *buffer, size_t size, void *data)
{
    (void)data;
    return read(fd, buffer, size);
}

/* Send a reply. libfuse 3.14 takes FUSE_CAP_PARALLEL_DIROPS but forgets to tell the kernel, which
 * then lets one lookup at a time into a directory: put the flag into the first reply, INIT's. */
static ssize_t send_reply(int fd, struct iovec *parts, int count, void *data)
{
    static bool told = false;
    (void)data;
    if (!told && count > 1) {
        told = true;
        struct fuse_init_out *reply = parts[1].iov_base;
        reply->flags |= FUSE_PARALLEL_DIROPS;
    }
    return writev(fd, parts, count);
}

static const struct fuse_custom_io own_io = {.read = receive, .writev = send_reply};

static bool open_source(const char *source)
{
    struct stat st;
    if (stat(source, &st) != 0 || !S_ISDIR(st.st_mode)
        || (root = new_node(NULL, source, &st)) == NULL) {
        fprintf(stderr, "latency_fs: %s is not a directory to read\n", source);
        return false;
    }
    return true;
}

/* A call that waits to be due. */
typedef struct Call {
    struct Call *next;
    int64_t due_ns;
    size_t size;
    char bytes[];
} Call;

typedef struct {
    pthread_t thread;
    struct fuse_session *session;
    int64_t delay_ns;
    Call *first, **end;
} Server;

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_A_SECOND + now.tv_nsec;
}

static bool is_slow(const struct fuse_buf *request)
{
    const struct fuse_in_header *header = request->mem;
    switch (header->opcode) {
    case FUSE_LOOKUP:
    case FUSE_GETATTR:
    case FUSE_OPENDIR:
    case FUSE_READDIR:
    case FUSE_READLINK:
        return true;
    default:
        return false;
    }
}

static void wait_its_turn(Server *server, const struct fuse_buf *request)
{
    Call *call = malloc(sizeof *call + request->size);
    if (call == NULL)
        abort();
    *call = (Call){.due_ns = now_ns() + server->delay_ns, .size = request->size};
    memcpy(call->bytes, request->mem, request->size);
    *server->end = call;
    server->end = &call->next;
}

/* Answer the calls that are due; return how long until the next one is, or -1 if there is none. */
static int64_t answer_due(Server *server)
{
    Call *call;
    while ((call = server->first) != NULL) {
        int64_t left = call->due_ns - now_ns();
        if (left > 0)
            return left;
        struct fuse_buf request = {.size = call->size, .mem = call->bytes};
        fuse_session_process_buf(server->session, &request);
        server->first = call->next;
        if (server->first == NULL)
            server->end = &server->first;
        free(call);
    }
    return -1;
}

/* Take a call from the kernel, if there is one; return false if there is none. */
static bool take(Server *server, struct fuse_buf *request)
{
    if (fuse_session_receive_buf(server->session, request) <= 0)
        return false;
    if (is_slow(request))
        wait_its_turn(server, request);
    else
        fuse_session_process_buf(server->session, request);
    return true;
}

static void *serve(void *argument)
{
    Server *server = argument;
    struct fuse_buf request = {.mem = NULL}; /* libfuse allocates it at the first call */
    struct pollfd ready = {.fd = fuse_session_fd(server->session), .events = POLLIN};
    while (!fuse_session_exited(server->session)) {
        int64_t left = answer_due(server);
        /* One call in, then again what is due: to take all that wait first would hold up the
         * answers, and the scanner's workers would fall into step. */
        if (take(server, &request))
            continue;
        struct timespec timeout = {left / NS_A_SECOND, left % NS_A_SECOND};
        ppoll(&ready, 1, left < 0 ? NULL : &timeout, NULL);
    }
    free(request.mem);
    return NULL;
}

static int serve_until_unmounted(struct fuse_session *session, int64_t delay_ns)
{
    Server servers[SERVERS];
    int fd = fuse_session_fd(session);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    for (int i = 0; i < SERVERS; i++) {
        servers[i] = (Server){.session = session, .delay_ns = delay_ns};
        servers[i].end = &servers[i].first;
        if (pthread_create(&servers[i].thread, NULL, serve, &servers[i]) != 0)
            return 1;
    }
    for (int i = 0; i < SERVERS; i++)
        pthread_join(servers[i].thread, NULL);
    return 0;
}

int main(int argc, char **argv)
{
    char *end = NULL;
    long microseconds = argc == 4 ? strtol(argv[3], &end, 10) : -1;
    if (end == NULL || *end != '\0' || microseconds < 0) {
        fputs("usage: latency_fs SOURCE MOUNTPOINT MICROSECONDS\n", stderr);
        return 2;
    }
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL); /* else each wait is up to 50 us longer */
    raise_open_files();
    if (!open_source(argv[1]))
        return 1;

    char *options[] = {argv[0], "-o", "ro,fsname=latency_fs,subtype=latency_fs", NULL};
    struct fuse_args args = FUSE_ARGS_INIT(3, options);
    struct fuse_session *session = fuse_session_new(&args, &operations, sizeof operations, NULL);
    if (session == NULL)
        return 1;
    int status = 1;
    /* No signal handlers: a signal ends the process, and the kernel then fails all calls that wait.
     * Ours could leave with calls in their queues, and scanners would wait for ever. */
    if (fuse_session_mount(session, argv[2]) == 0) {
        fuse_session_custom_io(session, &own_io, fuse_session_fd(session));
        status = serve_until_unmounted(session, microseconds * 1000);
        fuse_session_unmount(session);
    }
    fuse_session_destroy(session);
    fuse_opt_free_args(&args);
    return status;
}
