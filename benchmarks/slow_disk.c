/* Makes a disk slow, to be preloaded: fsync and fdatasync take $SLOW_DISK_US microseconds more. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static int (*real_fsync)(int), (*real_fdatasync)(int);
static useconds_t more;

__attribute__((constructor)) static void begin(void) {
    const char *given = getenv("SLOW_DISK_US");
    more = given ? (useconds_t)strtoul(given, NULL, 10) : 0;
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
}

int fsync(int fd) {
    usleep(more);
    return real_fsync(fd);
}

int fdatasync(int fd) {
    usleep(more);
    return real_fdatasync(fd);
}
