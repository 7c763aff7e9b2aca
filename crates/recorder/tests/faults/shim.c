/* A disk that fails on command: preloaded into a process, it strikes one chosen call among those that change files
 * below one directory. `tests/faults` and `e2e/tests/test_faults.py` say what must still hold.
 *
 *   FAULT_DIR     only calls on files below it count
 *   FAULT_CALL    write, pwrite, sync, rename, truncate, create or unlink
 *   FAULT_KIND    EIO, ENOSPC  the call fails and does nothing
 *                 short        half of the bytes are written, and the call says so
 *                 torn         as short, and then there is no room
 *                 kill         the process ends before the call
 *                 tornkill     half of the bytes are written, then the process ends
 *   FAULT_FIRST   which of these calls is struck, from 1
 *   FAULT_TIMES   how many in a row
 *   FAULT_REPORT  gets a line for each strike and, at a clean end, the count of each call
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum call { WRITE, PWRITE, SYNC, RENAME, TRUNCATE, CREATE, UNLINK, CALLS };
static const char *const names[CALLS] = {"write", "pwrite", "sync", "rename", "truncate", "create", "unlink"};
static atomic_long counts[CALLS];
static char dir[4096];
static int chosen = -1, report = -1;
static const char *kind = "";
static long first, times;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void tell(const char *line) {
    if (report >= 0 && syscall(SYS_write, report, line, strlen(line)) < 0) abort();
}

__attribute__((constructor)) static void begin(void) {
    const char *value = getenv("FAULT_DIR");
    if (!value || !realpath(value, dir)) return;
    if ((value = getenv("FAULT_REPORT"))) {
        report = (int)syscall(SYS_openat, AT_FDCWD, value, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    }
    if ((value = getenv("FAULT_CALL"))) {
        for (int n = 0; n < CALLS; n++) {
            if (!strcmp(value, names[n])) chosen = n;
        }
    }
    if ((value = getenv("FAULT_KIND"))) kind = value;
    if ((value = getenv("FAULT_FIRST"))) first = atol(value);
    times = (value = getenv("FAULT_TIMES")) ? atol(value) : 1;
}

__attribute__((destructor)) static void end(void) {
    char line[64];
    for (int n = 0; n < CALLS; n++) {
        snprintf(line, sizeof line, "count %s %ld\n", names[n], atomic_load(&counts[n]));
        tell(line);
    }
}

static int is_below(const char *path) {
    size_t length = strlen(dir);
    return length && !strncmp(path, dir, length) && path[length] == '/';
}

static int is_ours(int fd) {
    char link[64], path[4200];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    /* The directory itself counts, too: its names are synced. */
    return is_below(path) || !strcmp(path, dir);
}

static void die(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

/* What becomes of a call: 0 it is made, -1 it fails with errno, 1 it is made in part. */
static int fate(enum call call, size_t length) {
    long number = atomic_fetch_add(&counts[call], 1) + 1;
    if ((int)call != chosen || number < first || number >= first + times) return 0;
    int in_part = call <= PWRITE && length > 1;
    if (!strcmp(kind, "kill") || (!strcmp(kind, "tornkill") && !in_part)) tell("struck\n"), die();
    if (!strcmp(kind, "tornkill")) return tell("struck\n"), 1;
    if (!strcmp(kind, "short")) return in_part ? tell("struck\n"), 1 : 0;
    tell("struck\n");
    if (!strcmp(kind, "torn") && number == first && in_part) return 1;
    errno = !strcmp(kind, "EIO") ? EIO : ENOSPC;
    return -1;
}

static void after_part(void) {
    if (!strcmp(kind, "tornkill")) die();
}

ssize_t write(int fd, const void *bytes, size_t length) {
    int what = dir[0] && is_ours(fd) ? fate(WRITE, length) : 0;
    if (what < 0) return -1;
    ssize_t done = REAL(write)(fd, bytes, what ? length / 2 : length);
    if (what) after_part();
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    int what = dir[0] && is_ours(fd) ? fate(WRITE, count > 0 ? parts[0].iov_len : 0) : 0;
    if (what < 0) return -1;
    if (!what) return REAL(writev)(fd, parts, count);
    ssize_t done = REAL(write)(fd, parts[0].iov_base, parts[0].iov_len / 2);
    after_part();
    return done;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
    int what = dir[0] && is_ours(fd) ? fate(PWRITE, length) : 0;
    if (what < 0) return -1;
    ssize_t done = REAL(pwrite64)(fd, bytes, what ? length / 2 : length, at);
    if (what) after_part();
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) { return pwrite64(fd, bytes, length, at); }

int fsync(int fd) { return dir[0] && is_ours(fd) && fate(SYNC, 0) ? -1 : REAL(fsync)(fd); }

int fdatasync(int fd) { return dir[0] && is_ours(fd) && fate(SYNC, 0) ? -1 : REAL(fdatasync)(fd); }

int ftruncate64(int fd, off64_t length) {
    return dir[0] && is_ours(fd) && fate(TRUNCATE, 0) ? -1 : REAL(ftruncate64)(fd, length);
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int rename(const char *from, const char *to) {
    return dir[0] && is_below(to) && fate(RENAME, 0) ? -1 : REAL(rename)(from, to);
}

int link(const char *from, const char *to) {
    return dir[0] && is_below(to) && fate(RENAME, 0) ? -1 : REAL(link)(from, to);
}

int unlink(const char *path) { return dir[0] && is_below(path) && fate(UNLINK, 0) ? -1 : REAL(unlink)(path); }

int mkdir(const char *path, mode_t mode) {
    return dir[0] && is_below(path) && fate(CREATE, 0) ? -1 : REAL(mkdir)(path, mode);
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if (dir[0] && flags & O_CREAT && is_below(path) && fate(CREATE, 0)) return -1;
    return REAL(open64)(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return open64(path, flags, mode);
}
