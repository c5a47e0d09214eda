/* Stands between a process and the C library, to be preloaded, and does four things to files below
 * one directory and to the clock. Orders come in $CAMPAIGN_SHIM, or later by shim_set():
 *
 *     prefix=DIRECTORY;log=FILE      append what is written, synced, made and removed to a log
 *     prefix=DIRECTORY;fail=AT:ERRNO:FOREVER:WRITES;count=FILE
 *                                    fail the operation of that number (or all from there on), of
 *                                    all or (WRITES=1) of those that may need space; count them
 *     prefix=DIRECTORY;lie=1         say that a sync is done, and do none
 *     clock=FILE                     add the nanoseconds in that file to the time of day
 *
 * A record of the log: kind, 7 bytes of padding, inode, offset, length (8 bytes each), then the
 * data. Kinds: C made (data: name), W written, T truncated, D removed (data: name), S and E begin
 * and end of a sync (offset: a number that both have; a directory's inode is 0). The log is opened
 * with O_APPEND and a record written at once, so that the records of several processes have an order.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FDS 4096
enum { NONE, FILE_OURS, DIRECTORY_OURS };

static char prefix[512];
static int log_fd = -1;
static long fail_at, fail_errno, fail_forever, fail_writes;
static _Atomic int64_t private_count;
static _Atomic int64_t *count = &private_count;
static volatile int64_t *offset_ns;
static int lies;
static _Atomic uint64_t syncs;
static unsigned char kind_of[FDS];
static uint64_t inode_of[FDS];

#define WRAP(result, name, ...)                          \
    static result (*real_##name)(__VA_ARGS__);           \
    __attribute__((constructor)) static void find_##name(void) { real_##name = dlsym(RTLD_NEXT, #name); }

WRAP(int, open64, const char *, int, ...)
WRAP(int, openat, int, const char *, int, ...)
WRAP(int, close, int)
WRAP(ssize_t, read, int, void *, size_t)
WRAP(ssize_t, pread64, int, void *, size_t, off64_t)
WRAP(ssize_t, write, int, const void *, size_t)
WRAP(ssize_t, pwrite64, int, const void *, size_t, off64_t)
WRAP(int, ftruncate64, int, off64_t)
WRAP(int, fsync, int)
WRAP(int, fdatasync, int)
WRAP(int, unlink, const char *)
WRAP(void *, mmap64, void *, size_t, int, int, int, off64_t)
WRAP(int, clock_gettime, clockid_t, struct timespec *)

static void *shared(const char *name) {
    int fd = syscall(SYS_openat, AT_FDCWD, name, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0) return NULL;
    void *found = mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    return found == MAP_FAILED ? NULL : found;
}

void shim_set(const char *orders) {
    char copy[2048], *rest = copy, *order;
    strncpy(copy, orders, sizeof copy - 1);
    copy[sizeof copy - 1] = 0;
    while ((order = strsep(&rest, ";"))) {
        char *value = strchr(order, '=');
        if (!value) continue;
        *value++ = 0;
        if (!strcmp(order, "prefix")) strncpy(prefix, value, sizeof prefix - 1);
        if (!strcmp(order, "log"))
            log_fd = syscall(SYS_openat, AT_FDCWD, value, O_WRONLY | O_APPEND | O_CLOEXEC, 0);
        if (!strcmp(order, "fail"))
            sscanf(value, "%ld:%ld:%ld:%ld", &fail_at, &fail_errno, &fail_forever, &fail_writes);
        if (!strcmp(order, "count")) count = shared(value);
        if (!strcmp(order, "lie")) lies = 1;
        if (!strcmp(order, "clock")) offset_ns = shared(value);
    }
}

__attribute__((constructor(65535))) static void begin(void) {
    const char *orders = getenv("CAMPAIGN_SHIM");
    if (orders) shim_set(orders);
}

static void record(char kind, uint64_t inode, uint64_t offset, const void *data, uint64_t length) {
    if (log_fd < 0) return;
    char head[32] = {kind};
    memcpy(head + 8, &inode, 8);
    memcpy(head + 16, &offset, 8);
    memcpy(head + 24, &length, 8);
    struct iovec parts[2] = {{head, sizeof head}, {(void *)data, data ? length : 0}};
    syscall(SYS_writev, log_fd, parts, data ? 2 : 1);
}

static int ours(int fd) { return fd >= 0 && fd < FDS ? kind_of[fd] : NONE; }
static int below(const char *name) { return *prefix && name && !strncmp(name, prefix, strlen(prefix)); }
static const char *base(const char *name) { return strrchr(name, '/') ? strrchr(name, '/') + 1 : name; }

/* Count an operation; return whether it is to fail. */
static int fails(int may_need_space) {
    if (!fail_at || (fail_writes && !may_need_space)) return 0;
    int64_t number = atomic_fetch_add(count, 1) + 1;
    if (number != fail_at && !(fail_forever && number > fail_at)) return 0;
    errno = fail_errno;
    return 1;
}

static int note_open(int fd, const char *name, int made) {
    if (fd < 0 || fd >= FDS) return fd;
    struct stat found;
    kind_of[fd] = NONE;
    if (!below(name) || fstat(fd, &found)) return fd;
    kind_of[fd] = S_ISDIR(found.st_mode) ? DIRECTORY_OURS : FILE_OURS;
    inode_of[fd] = S_ISDIR(found.st_mode) ? 0 : found.st_ino;
    if (made) record('C', found.st_ino, 0, base(name), strlen(base(name)));
    return fd;
}

static int opened(const char *name, int flags, mode_t mode) {
    if (below(name) && fails(flags & O_CREAT)) return -1;
    if (below(name) && (flags & O_CREAT)) {
        int fd = real_open64(name, flags | O_EXCL, mode);
        if (fd >= 0 || errno != EEXIST || (flags & O_EXCL)) return note_open(fd, name, fd >= 0);
    }
    return note_open(real_open64(name, flags, mode), name, 0);
}

#define MODE(flags)                                      \
    mode_t mode = 0;                                     \
    if ((flags) & (O_CREAT | O_TMPFILE)) {               \
        va_list more;                                    \
        va_start(more, flags);                           \
        mode = va_arg(more, mode_t);                     \
        va_end(more);                                    \
    }

int open(const char *name, int flags, ...) { MODE(flags) return opened(name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE(flags) return opened(name, flags, mode); }
int openat(int at, const char *name, int flags, ...) {
    MODE(flags)
    if (below(name)) return opened(name, flags, mode);
    return note_open(real_openat(at, name, flags, mode), NULL, 0);
}

int close(int fd) {
    if (fd >= 0 && fd < FDS) kind_of[fd] = NONE;
    return real_close(fd);
}

ssize_t read(int fd, void *to, size_t length) {
    if (ours(fd) && fails(0)) return -1;
    return real_read(fd, to, length);
}

ssize_t pread64(int fd, void *to, size_t length, off64_t at) {
    if (ours(fd) && fails(0)) return -1;
    return real_pread64(fd, to, length, at);
}

ssize_t write(int fd, const void *from, size_t length) {
    if (!ours(fd)) return real_write(fd, from, length);
    if (fails(1)) return -1;
    off64_t at = lseek64(fd, 0, SEEK_CUR);
    ssize_t done = real_write(fd, from, length);
    if (done > 0) record('W', inode_of[fd], at, from, done);
    return done;
}

ssize_t pwrite64(int fd, const void *from, size_t length, off64_t at) {
    if (!ours(fd)) return real_pwrite64(fd, from, length, at);
    if (fails(1)) return -1;
    ssize_t done = real_pwrite64(fd, from, length, at);
    if (done > 0) record('W', inode_of[fd], at, from, done);
    return done;
}

int ftruncate64(int fd, off64_t length) {
    if (!ours(fd)) return real_ftruncate64(fd, length);
    if (fails(1)) return -1;
    int done = real_ftruncate64(fd, length);
    if (!done) record('T', inode_of[fd], length, NULL, 0);
    return done;
}

static int synced(int fd, int (*real)(int)) {
    if (!ours(fd)) return real(fd);
    if (fails(1)) return -1;
    if (lies) return 0;
    uint64_t number = ((uint64_t)getpid() << 32) + atomic_fetch_add(&syncs, 1);
    record('S', inode_of[fd], number, NULL, 0);
    int done = real(fd);
    if (!done) record('E', inode_of[fd], number, NULL, 0);
    return done;
}

int fsync(int fd) { return synced(fd, real_fsync); }
int fdatasync(int fd) { return synced(fd, real_fdatasync); }

int unlink(const char *name) {
    if (!below(name)) return real_unlink(name);
    if (fails(0)) return -1;
    int done = real_unlink(name);
    if (!done) record('D', 0, 0, base(name), strlen(base(name)));
    return done;
}

void *mmap64(void *at, size_t length, int protection, int flags, int fd, off64_t offset) {
    if (ours(fd) && fails(1)) return MAP_FAILED;
    return real_mmap64(at, length, protection, flags, fd, offset);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int done = real_clock_gettime(clock, now);
    if (!done && offset_ns && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t ns = now->tv_sec * 1000000000LL + now->tv_nsec + *offset_ns;
        now->tv_sec = ns / 1000000000;
        now->tv_nsec = ns % 1000000000;
    }
    return done;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec found;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &found);
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *to) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (to) *to = found.tv_sec;
    return found.tv_sec;
}
