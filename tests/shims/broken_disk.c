/* Preloaded before the C library, this simulates a broken disk: while the file BROKEN_DISK_FLAG exists, every write to a file below the
 * folder BROKEN_DISK_FOLDER fails with EIO and writes nothing. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static int fails(int fd)
{
    const char *flag = getenv("BROKEN_DISK_FLAG"), *folder = getenv("BROKEN_DISK_FOLDER");
    char link[64], path[PATH_MAX];
    int before = errno, found = 0;
    if (flag != NULL && folder != NULL && access(flag, F_OK) == 0) {
        size_t length = strlen(folder);
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t read = readlink(link, path, sizeof path - 1);
        if (read > 0) {
            path[read] = '\0';
            found = strncmp(path, folder, length) == 0 && path[length] == '/';
        }
    }
    errno = found ? EIO : before;
    return found;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define BREAKS(result, name, parameters, arguments) \
    result name parameters                          \
    {                                               \
        static __typeof__(&name) next;              \
        if (fails(fd)) {                            \
            return -1;                              \
        }                                           \
        if (next == NULL) {                         \
            next = NEXT(name);                      \
        }                                           \
        return next arguments;                      \
    }

BREAKS(ssize_t, write, (int fd, const void *from, size_t bytes), (fd, from, bytes))
BREAKS(ssize_t, pwrite, (int fd, const void *from, size_t bytes, off_t at), (fd, from, bytes, at))
BREAKS(ssize_t, pwrite64, (int fd, const void *from, size_t bytes, off64_t at), (fd, from, bytes, at))
BREAKS(ssize_t, writev, (int fd, const struct iovec *from, int count), (fd, from, count))
BREAKS(ssize_t, pwritev, (int fd, const struct iovec *from, int count, off_t at), (fd, from, count, at))
BREAKS(ssize_t, pwritev64, (int fd, const struct iovec *from, int count, off64_t at), (fd, from, count, at))
BREAKS(int, fsync, (int fd), (fd))
BREAKS(int, fdatasync, (int fd), (fd))
BREAKS(int, ftruncate, (int fd, off_t length), (fd, length))
BREAKS(int, ftruncate64, (int fd, off64_t length), (fd, length))
