/* Records what a process does to the files below a folder. Loaded with LD_PRELOAD by tests/power_cut.
 *
 *   RECORDER_ROOT   the folder: an absolute path without links, dots or a slash at its end
 *   RECORDER_LOG    the file that records are appended to; it must not be below the folder
 *   RECORDER_SLOW   the end of a path whose syncs last: what ought to wait for them has the time not to
 *
 * Every successful change becomes one record, a line of text, with the bytes after it if there are any. Inodes and
 * folders are named by inode number (an inode number is free again when nothing refers to its file any more):
 *
 *   create FOLDER INODE NAME             a new, empty file
 *   mkdir FOLDER INODE NAME              a new, empty folder
 *   link FOLDER INODE NAME               one more name
 *   unlink FOLDER NAME                   a file's name or an empty folder's is gone
 *   rename FOLDER FOLDER NAME/NAME       from, to
 *   write INODE OFFSET COUNT             COUNT bytes follow
 *   size INODE SIZE                      cut, or filled with zeros
 *   sync TOKEN INODE                     an fsync or fdatasync begins
 *   synced TOKEN                         and has ended well
 *   unknown NAME                         something this recorder has no record for
 *
 * A change and its record are made under one lock, so the order of records is the order of changes. A sync takes the
 * lock for its records only: it covers what was recorded before it began, and nothing is said of what came while
 * it ran. sync_file_range is not recorded: it makes nothing durable. The lock is also a file lock on the log: whoever
 * holds that finds no change without a record, and may kill the process.
 *
 * Without RECORDER_ROOT nothing is recorded and no sync is made: for a server on a copy that is thrown away.
 *
 * The system calls are made directly, which needs no look-up of the functions that are replaced. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define SLOW_MICROSECONDS 40000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *root;
static size_t root_length;
static int log_fd = -1;
static long last_token;

static void fail(const char *what) {
    dprintf(2, "recorder: %s: %s\n", what, strerror(errno));
    abort();
}

__attribute__((constructor)) static void start(void) {
    const char *log_path = getenv("RECORDER_LOG");
    root = getenv("RECORDER_ROOT");
    if (!root) return;
    if (!log_path) fail("RECORDER_LOG is not set");
    root_length = strlen(root);
    log_fd = syscall(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (log_fd < 0) fail(log_path);
}

static void begin(void) {
    pthread_mutex_lock(&lock);
    if (flock(log_fd, LOCK_EX)) fail("lock the log");
}

/* Keeps the errno of the call that was recorded. */
static void end(void) {
    int kept = errno;
    if (flock(log_fd, LOCK_UN)) fail("unlock the log");
    pthread_mutex_unlock(&lock);
    errno = kept;
}

static void append(const char *bytes, size_t count) {
    while (count > 0) {
        ssize_t written = syscall(SYS_write, log_fd, bytes, count);
        if (written <= 0) fail("write the log");
        bytes += written;
        count -= written;
    }
}

__attribute__((format(printf, 1, 2))) static void record(const char *format, ...) {
    char line[PATH_MAX];
    int kept = errno;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof line) fail("a long record");
    append(line, length);
    errno = kept;
}

static int is_below_root(const char *path) {
    return !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static int path_of(int fd, char path[PATH_MAX]) {
    char link[64];
    int kept = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    errno = kept;
    return length > 0;
}

/* The inode of an open file or folder, or 0 when it is none of ours. */
static long inode_of(int fd) {
    char path[PATH_MAX];
    struct stat status;
    if (!root || !path_of(fd, path) || !is_below_root(path) || fstat(fd, &status)) return 0;
    return status.st_ino;
}

/* A name in a folder. */
struct place {
    char path[PATH_MAX];
    const char *name;
    long folder;
};

/* Finds the place of a path; 0 when it is none of ours. */
static int find(int at, const char *path, struct place *place) {
    struct stat status;
    char *full = place->path;
    int kept = errno;
    *full = 0;
    if (!root) return 0;
    if (*path != '/' && !(at == AT_FDCWD ? getcwd(full, PATH_MAX) != NULL : path_of(at, full))) return 0;
    size_t length = strlen(full);
    int more = snprintf(full + length, PATH_MAX - length, "%s%s", *path == '/' ? "" : "/", path);
    if (more < 0 || length + more >= PATH_MAX) return 0;
    length += more;
    while (length > 1 && full[length - 1] == '/') full[--length] = 0;
    char *slash = strrchr(full, '/');
    if (!is_below_root(full) || length <= root_length) return 0;
    *slash = 0;
    int failed = stat(full, &status);
    *slash = '/';
    errno = kept;
    place->name = slash + 1;
    place->folder = status.st_ino;
    return !failed;
}

/* The inode behind a place, or 0. */
static long inode_at(const struct place *place) {
    struct stat status;
    int kept = errno;
    long inode = lstat(place->path, &status) ? 0 : (long)status.st_ino;
    errno = kept;
    return inode;
}

static int recorded_open(int at, const char *path, int flags, mode_t mode) {
    struct place place;
    int changes = flags & (O_CREAT | O_TRUNC);
    if (!changes || !find(at, path, &place)) return syscall(SYS_openat, at, path, flags, mode);
    begin();
    long before = inode_at(&place);
    int fd = syscall(SYS_openat, at, path, flags, mode);
    if (fd >= 0 && (flags & O_TMPFILE) == O_TMPFILE) record("unknown O_TMPFILE\n");
    else if (fd >= 0 && !before) record("create %ld %ld %s\n", place.folder, inode_at(&place), place.name);
    else if (fd >= 0 && (flags & O_TRUNC)) record("size %ld 0\n", before);
    end();
    return fd;
}

/* `offset` is -1 for the file's own position. */
static ssize_t recorded_write(int fd, const void *bytes, size_t count, off_t offset) {
    long inode = inode_of(fd);
    if (inode) begin();
    struct stat status;
    off_t from = offset;
    if (inode && offset < 0) {
        if (!(fcntl(fd, F_GETFL) & O_APPEND)) from = lseek(fd, 0, SEEK_CUR);
        else if (fstat(fd, &status)) fail("size of a file");
        else from = status.st_size;
    }
    ssize_t written = offset < 0 ? syscall(SYS_write, fd, bytes, count) : syscall(SYS_pwrite64, fd, bytes, count, offset);
    if (inode && written > 0) {
        record("write %ld %lld %zd\n", inode, (long long)from, written);
        append(bytes, written);
    }
    if (inode) end();
    return written;
}

static int is_slow(int fd) {
    char path[PATH_MAX];
    const char *slow = getenv("RECORDER_SLOW");
    size_t length = slow ? strlen(slow) : 0;
    return length && path_of(fd, path) && strlen(path) >= length && !strcmp(path + strlen(path) - length, slow);
}

static int recorded_sync(long call, int fd) {
    if (!root) return 0;
    long inode = inode_of(fd);
    if (!inode) return syscall(call, fd);
    begin();
    long token = ++last_token;
    record("sync %ld %ld\n", token, inode);
    end();
    if (is_slow(fd)) usleep(SLOW_MICROSECONDS);
    int failed = syscall(call, fd);
    begin();
    if (!failed) record("synced %ld\n", token);
    end();
    return failed;
}

static int recorded_resize(int fd, off_t size) {
    long inode = inode_of(fd);
    if (!inode) return syscall(SYS_ftruncate, fd, size);
    begin();
    int failed = syscall(SYS_ftruncate, fd, size);
    if (!failed) record("size %ld %lld\n", inode, (long long)size);
    end();
    return failed;
}

static int recorded_mkdir(int at, const char *path, mode_t mode) {
    struct place place;
    if (!find(at, path, &place)) return syscall(SYS_mkdirat, at, path, mode);
    begin();
    int failed = syscall(SYS_mkdirat, at, path, mode);
    if (!failed) record("mkdir %ld %ld %s\n", place.folder, inode_at(&place), place.name);
    end();
    return failed;
}

static int recorded_unlink(int at, const char *path, int flags) {
    struct place place;
    if (!find(at, path, &place)) return syscall(SYS_unlinkat, at, path, flags);
    begin();
    int failed = syscall(SYS_unlinkat, at, path, flags);
    if (!failed) record("unlink %ld %s\n", place.folder, place.name);
    end();
    return failed;
}

static int recorded_link(int from_at, const char *from, int to_at, const char *to, int flags) {
    struct place place;
    if (!find(to_at, to, &place)) return syscall(SYS_linkat, from_at, from, to_at, to, flags);
    begin();
    int failed = syscall(SYS_linkat, from_at, from, to_at, to, flags);
    if (!failed) record("link %ld %ld %s\n", place.folder, inode_at(&place), place.name);
    end();
    return failed;
}

static int recorded_rename(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
    struct place before, after;
    int found = find(from_at, from, &before) + find(to_at, to, &after);
    if (!found) return syscall(SYS_renameat2, from_at, from, to_at, to, flags);
    begin();
    int failed = syscall(SYS_renameat2, from_at, from, to_at, to, flags);
    if (!failed && found == 1) record("unknown rename over the border\n");
    else if (!failed) record("rename %ld %ld %s/%s\n", before.folder, after.folder, before.name, after.name);
    end();
    return failed;
}

/* Writes the first part that is not empty, as any call may: it is asked again for the others. */
static ssize_t recorded_writev(int fd, const struct iovec *parts, int count) {
    if (!inode_of(fd)) return syscall(SYS_writev, fd, parts, count);
    int first = 0;
    while (first + 1 < count && !parts[first].iov_len) first++;
    return count ? recorded_write(fd, parts[first].iov_base, parts[first].iov_len, -1) : 0;
}

static void refuse(int fd, const char *name) {
    if (!inode_of(fd)) return;
    begin();
    record("unknown %s\n", name);
    end();
}

/* What the process calls instead of libc's. */
#define MODE(flags) ({ mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, int); va_end(rest); } mode; })
int open(const char *path, int flags, ...) { return recorded_open(AT_FDCWD, path, flags, MODE(flags)); }
int open64(const char *path, int flags, ...) { return recorded_open(AT_FDCWD, path, flags, MODE(flags)); }
int openat(int at, const char *path, int flags, ...) { return recorded_open(at, path, flags, MODE(flags)); }
int openat64(int at, const char *path, int flags, ...) { return recorded_open(at, path, flags, MODE(flags)); }
ssize_t write(int fd, const void *bytes, size_t count) { return recorded_write(fd, bytes, count, -1); }
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) { return recorded_write(fd, bytes, count, offset); }
ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t offset) { return recorded_write(fd, bytes, count, offset); }
ssize_t writev(int fd, const struct iovec *parts, int count) { return recorded_writev(fd, parts, count); }
int ftruncate(int fd, off_t size) { return recorded_resize(fd, size); }
int ftruncate64(int fd, off_t size) { return recorded_resize(fd, size); }
int fsync(int fd) { return recorded_sync(SYS_fsync, fd); }
int fdatasync(int fd) { return recorded_sync(SYS_fdatasync, fd); }
int sync_file_range(int fd, off64_t from, off64_t count, unsigned flags) { return root ? syscall(SYS_sync_file_range, fd, from, count, flags) : 0; }
int mkdir(const char *path, mode_t mode) { return recorded_mkdir(AT_FDCWD, path, mode); }
int mkdirat(int at, const char *path, mode_t mode) { return recorded_mkdir(at, path, mode); }
int rmdir(const char *path) { return recorded_unlink(AT_FDCWD, path, AT_REMOVEDIR); }
int unlink(const char *path) { return recorded_unlink(AT_FDCWD, path, 0); }
int unlinkat(int at, const char *path, int flags) { return recorded_unlink(at, path, flags); }
int link(const char *from, const char *to) { return recorded_link(AT_FDCWD, from, AT_FDCWD, to, 0); }
int linkat(int from_at, const char *from, int to_at, const char *to, int flags) { return recorded_link(from_at, from, to_at, to, flags); }
int rename(const char *from, const char *to) { return recorded_rename(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int from_at, const char *from, int to_at, const char *to) { return recorded_rename(from_at, from, to_at, to, 0); }
int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags) { return recorded_rename(from_at, from, to_at, to, flags); }
ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t count, unsigned flags) { refuse(to, "copy_file_range"); return syscall(SYS_copy_file_range, from, from_at, to, to_at, count, flags); }
ssize_t sendfile64(int to, int from, off64_t *at, size_t count) { refuse(to, "sendfile"); return syscall(SYS_sendfile, to, from, at, count); }
int fallocate64(int fd, int mode, off64_t from, off64_t count) { refuse(fd, "fallocate"); return syscall(SYS_fallocate, fd, mode, from, count); }
