// SPDX-License-Identifier: Apache-2.0
// The linker: lld as a child process, fed from memory. The objects travel as one archive (all of whose members are linked, in
// order) in a memfd, the shared object comes back on the child's standard output: no file on disk, no path that could leave
// traces in the result.
#include "codegen/codegen.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

// Our LLVM's own linker first: another version may lay the file out differently.
static const char *const linkers[] = {"ld.lld-22", HEDDLE_LLVM_PREFIX "/bin/ld.lld", "ld.lld"};
enum { INPUT_FD = 3 };
#define INPUT_PATH "/proc/self/fd/3"

// Unix archive format: a 60-byte text header per member (name, date, owner, group, mode, size), members on even offsets.
static void archive_member(HdBuf *archive, const HdBuf *object, size_t index) {
    char name[32];
    snprintf(name, sizeof name, "%zu.o/", index);
    hd_buf_printf(archive, "%-16s%-12d%-6d%-6d%-8s%-10zu`\n", name, 0, 0, 0, "644", object->len);
    hd_buf_bytes(archive, object->data, object->len);
    if (object->len & 1) hd_buf_str(archive, "\n");
}

static HdStatus *os_failed(const char *what) { return hd_error(HD_IO, "linking kernels: %s: %s", what, strerror(errno)); }

static HdStatus *write_all(int fd, const char *data, size_t len) {
    while (len) {
        ssize_t done = write(fd, data, len);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return os_failed("write");
        data += done;
        len -= (size_t)done;
    }
    return NULL;
}

static HdStatus *read_all(int fd, HdBuf *out) {
    char chunk[64 * 1024];
    for (off_t at = 0;;) {
        ssize_t got = pread(fd, chunk, sizeof chunk, at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return os_failed("read");
        if (!got) return NULL;
        hd_buf_bytes(out, chunk, (size_t)got);
        at += got;
    }
}

// Starts the first linker that exists. fds: input, output, messages; each is close-on-exec and reaches the child as 3, 1, 2 only.
static HdStatus *start(const char *emulation, const int fds[3], pid_t *out_pid) {
    posix_spawn_file_actions_t actions;
    int error = posix_spawn_file_actions_init(&actions);
    if (error) return hd_error(HD_IO, "linking kernels: %s", strerror(error));
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, fds[0], INPUT_FD);
    posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
    posix_spawn_file_actions_adddup2(&actions, fds[2], 2);
    for (size_t i = 0; i < HD_COUNT(linkers); i++) {
        const char *argv[] = {linkers[i], "-m", emulation, "-shared", "-nostdlib", "-z", "defs", "-z", "noexecstack",
                              "--build-id=none", "--hash-style=gnu", "--strip-all", "--threads=1", "--whole-archive", INPUT_PATH,
                              "-o", "-", NULL};
        error = posix_spawnp(out_pid, linkers[i], &actions, NULL, (char *const *)argv, environ);
        if (!error) break;
    }
    posix_spawn_file_actions_destroy(&actions);
    return error ? hd_error(HD_UNSUPPORTED, "linking kernels: no linker: %s and %s are not found; install lld-22", linkers[0],
                            linkers[1])
                 : NULL;
}

static HdStatus *first_line(const HdBuf *messages, int wait_status) {
    size_t len = messages->data ? strcspn(messages->data, "\n") : 0;
    if (len) return hd_error(HD_INTERNAL, "linking kernels: %.*s", (int)len, messages->data);
    return hd_error(HD_INTERNAL, "linking kernels: the linker ended with status %d and no message", wait_status);
}

static HdStatus *run_linker(const char *emulation, const int fds[3], HdBuf *out_shared) {
    pid_t pid;
    int wait_status;
    HD_TRY(start(emulation, fds, &pid));
    while (waitpid(pid, &wait_status, 0) < 0)
        if (errno != EINTR) return os_failed("wait");
    if (wait_status == 0) return read_all(fds[1], out_shared);
    HdBuf messages = {0};
    HdStatus *status = read_all(fds[2], &messages);
    if (!status) status = first_line(&messages, wait_status);
    hd_buf_free(&messages);
    return status;
}

// A memfd with a number above the child's fixed ones, so that no dup2 overwrites another's source.
static int memory_file(const char *name) {
    int low = memfd_create(name, MFD_CLOEXEC);
    if (low < 0) return -1;
    int fd = fcntl(low, F_DUPFD_CLOEXEC, 10);
    close(low);
    return fd;
}

HdStatus *cg_link(const IrTarget *target, const HdBuf *objects, size_t count, HdBuf *out_shared) {
    HdBuf archive = {0};
    hd_buf_str(&archive, "!<arch>\n");
    for (size_t i = 0; i < count; i++) archive_member(&archive, &objects[i], i);
    int fds[3] = {memory_file("objects"), memory_file("shared"), memory_file("messages")};
    HdStatus *status = fds[0] < 0 || fds[1] < 0 || fds[2] < 0 ? os_failed("memfd_create") : NULL;
    if (!status) status = write_all(fds[0], archive.data, archive.len);
    if (!status) status = run_linker(ir_isa_emulation(target->isa), fds, out_shared);
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0) close(fds[i]);
    hd_buf_free(&archive);
    return status;
}
