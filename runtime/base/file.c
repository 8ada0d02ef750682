// SPDX-License-Identifier: Apache-2.0
// Files: mapped, read whole, written atomically.
#include "runtime/base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint8_t empty_file[1];                        // what a file of no bytes is mapped to

static HdStatus *os_error(const char *path, const char *doing) {
    int number = errno;
    HdCode code = number == ENOENT || number == ENOTDIR ? HD_NOT_FOUND : HD_IO;
    return hd_error(code, "%s: cannot %s: %s", path, doing, strerror(number));
}

static HdStatus *map_descriptor(const char *path, int fd, HdMapping *out_mapping) {
    struct stat info;
    if (fstat(fd, &info) != 0) return os_error(path, "read its size");
    if (!S_ISREG(info.st_mode)) return hd_error(HD_IO, "%s: cannot map: not a regular file", path);
    *out_mapping = (HdMapping){empty_file, (size_t)info.st_size, fd};
    if (info.st_size == 0) return NULL;
    void *data = mmap(NULL, out_mapping->len, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) return os_error(path, "map");
    out_mapping->data = data;
    return NULL;
}

HdStatus *hd_map_file(const char *path, HdMapping *out_mapping) {
    *out_mapping = (HdMapping){NULL, 0, -1};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return os_error(path, "open");
    HdStatus *status = map_descriptor(path, fd, out_mapping);
    if (status) {
        close(fd);
        *out_mapping = (HdMapping){NULL, 0, -1};
    }
    return status;
}

void hd_unmap_file(HdMapping *mapping) {
    if (!mapping->data) return;                            // never mapped
    if (mapping->len) munmap((void *)(uintptr_t)mapping->data, mapping->len);
    close(mapping->fd);
    *mapping = (HdMapping){NULL, 0, -1};
}

static HdStatus *read_all(const char *path, int fd, HdBuf *out_text) {
    char chunk[16384];
    for (;;) {
        ssize_t got = read(fd, chunk, sizeof chunk);
        if (got == 0) return NULL;
        if (got > 0) hd_buf_bytes(out_text, chunk, (size_t)got);
        else if (errno != EINTR) return os_error(path, "read");
    }
}

HdStatus *hd_read_file(const char *path, HdBuf *out_text) {
    *out_text = (HdBuf){0};
    hd_buf_str(out_text, "");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    HdStatus *status = fd < 0 ? os_error(path, "open") : read_all(path, fd, out_text);
    if (fd >= 0) close(fd);
    if (status) hd_buf_free(out_text);
    return status;
}

static bool write_span(int fd, const char *data, size_t len) {
    while (len) {
        ssize_t put = write(fd, data, HD_MIN(len, (size_t)1 << 30));
        if (put < 0 && errno != EINTR) return false;
        if (put > 0) {
            data += put;
            len -= (size_t)put;
        }
    }
    return true;
}

static bool write_all(int fd, const HdSpan *spans, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!write_span(fd, spans[i].data, spans[i].len)) return false;
    return true;
}

// ---- a new file in the place of an old one -------------------------------------------------------------------
// The new content has no name until it is whole, where the file system can do that: whatever ends the process then (Ctrl-C, SIGKILL, a
// full disk) leaves nothing behind.

static int open_nameless(const char *path) {
    HdBuf folder = {0};
    const char *slash = strrchr(path, '/');
    if (slash) hd_buf_bytes(&folder, path, (size_t)(slash - path) + 1);
    else hd_buf_str(&folder, "./");
    int fd = access("/proc/self/fd", X_OK) ? -1 : open(folder.data, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
    hd_buf_free(&folder);
    return fd;
}

// A file beside `path`; its name goes to `out_name`. Two writers never share one. `nameless` >= 0: it gets the name.
static int name_beside(const char *path, int nameless, HdBuf *out_name) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", nameless);
    for (unsigned attempt = 0;; attempt++) {
        out_name->len = 0;
        hd_buf_printf(out_name, "%s.%ld-%u.tmp", path, (long)getpid(), attempt);
        int result = nameless >= 0 ? linkat(AT_FDCWD, link, AT_FDCWD, out_name->data, AT_SYMLINK_FOLLOW)
                                   : open(out_name->data, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (result >= 0 || errno != EEXIST || attempt >= 1000) return result;
    }
}

static HdStatus *fill(const char *path, int fd, const HdSpan *spans, size_t count) {
    return write_all(fd, spans, count) ? NULL : os_error(path, "write");
}

static HdStatus *write_named(const char *path, int nameless, const HdSpan *spans, size_t count) {
    HdBuf name = {0};
    HdStatus *status = NULL;
    int fd = name_beside(path, nameless, &name);
    if (fd < 0) {
        status = os_error(path, "create");
    } else {
        if (nameless < 0) {
            status = fill(path, fd, spans, count);
            if (close(fd) != 0 && !status) status = os_error(path, "write");
        }
        if (!status && rename(name.data, path) != 0) status = os_error(path, "replace");
        if (status) unlink(name.data);
    }
    hd_buf_free(&name);
    return status;
}

// While the file has a temporary name, signals wait.
static HdStatus *write_beside(const char *path, const HdSpan *spans, size_t count) {
    sigset_t all, old;
    int nameless = open_nameless(path);
    HdStatus *status = nameless >= 0 ? fill(path, nameless, spans, count) : NULL;
    if (!status) {
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        status = write_named(path, nameless, spans, count);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
    if (nameless >= 0 && close(nameless) != 0 && !status) status = os_error(path, "write");
    return status;
}

// A pipe or a device is written in place: it has no old content to keep, and renaming would replace it.
static HdStatus *write_in_place(const char *path, const HdSpan *spans, size_t count) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return os_error(path, "open");
    bool written = write_all(fd, spans, count);
    HdStatus *status = written ? NULL : os_error(path, "write");
    close(fd);
    return status;
}

HdStatus *hd_write_spans(const char *path, const HdSpan *spans, size_t count) {
    struct stat info;
    bool exists = stat(path, &info) == 0;
    if (exists && S_ISREG(info.st_mode) && access(path, W_OK)) return os_error(path, "write");   // a rename would not ask
    if (exists && S_ISDIR(info.st_mode)) return hd_error(HD_IO, "%s: cannot write: it is a folder", path);
    if (exists && !S_ISREG(info.st_mode)) return write_in_place(path, spans, count);
    char *resolved = exists ? realpath(path, NULL) : NULL;   // a symbolic link stays one
    HdStatus *status = write_beside(resolved ? resolved : path, spans, count);
    free(resolved);
    return status;
}

HdStatus *hd_write_file(const char *path, const void *data, size_t len) { return hd_write_spans(path, &(HdSpan){data, len}, 1); }
