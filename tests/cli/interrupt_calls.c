// SPDX-License-Identifier: Apache-2.0
// Preloaded into a program: SIGINT comes in the midst of its Nth call that writes a file in $INTERRUPT_FOLDER ($INTERRUPT_CALL, from 1;
// $INTERRUPT_TIMES of them): when half of the bytes are written, or when a file has just been made, named or renamed. With $INTERRUPT_NAMED
// files cannot be made without a name, as on file systems that cannot. The number of the calls goes to the file $INTERRUPT_COUNT.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static atomic_int calls;

static int number_of(const char *name) { return getenv(name) ? atoi(getenv(name)) : 0; }

static void come_by(const char *path)
{
    const char *folder = getenv("INTERRUPT_FOLDER");
    if (!folder || strncmp(path, folder, strlen(folder))) return;
    if (atomic_fetch_add(&calls, 1) + 1 != number_of("INTERRUPT_CALL")) return;
    for (int i = 0; i < number_of("INTERRUPT_TIMES"); i++) kill(getpid(), SIGINT);
}

int open(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    bool nameless = (flags & O_TMPFILE) == O_TMPFILE;
    if (nameless && number_of("INTERRUPT_NAMED")) return errno = EOPNOTSUPP, -1;
    int fd = REAL(open)(path, flags, mode);
    if (fd >= 0 && (nameless || flags & O_CREAT)) come_by(path);
    return fd;
}

ssize_t write(int fd, const void *data, size_t len)
{
    char link[64], path[4096] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (len < 2 || readlink(link, path, sizeof path - 1) < 0) return REAL(write)(fd, data, len);
    ssize_t half = REAL(write)(fd, data, len / 2);
    if (half <= 0) return half;
    come_by(path);
    ssize_t rest = REAL(write)(fd, (const char *)data + half, len - (size_t)half);
    return rest < 0 ? half : half + rest;
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags)
{
    int result = REAL(linkat)(from_folder, from, to_folder, to, flags);
    come_by(to);
    return result;
}

int rename(const char *from, const char *to)
{
    int result = REAL(rename)(from, to);
    come_by(to);
    return result;
}

// Programs that this one starts are left alone.
__attribute__((constructor)) static void begin(void) { unsetenv("LD_PRELOAD"); }

__attribute__((destructor)) static void tell(void)
{
    const char *path = getenv("INTERRUPT_COUNT");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (file) fprintf(file, "%d\n", atomic_load(&calls)), fclose(file);
}
