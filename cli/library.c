// SPDX-License-Identifier: Apache-2.0
// libheddle-compiler by dlopen: commands that only run a module start without LLVM, and work where it is not installed.
#include "cli/cli.h"
#include "cli/progress.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct Library {
    __typeof__(heddle_compile_check) *check;
    __typeof__(heddle_compile) *compile;
    __typeof__(heddle_compile_key) *key;
    __typeof__(heddle_interpret) *interpret;
    __typeof__(heddle_opt) *opt;
    __typeof__(heddle_passes) *passes;
    __typeof__(heddle_list_targets) *list_targets;
    __typeof__(heddle_compiler_version) *version;
} Library;

static HdStatus *find(void *handle, const char *symbol, void *out_function)
{
    void *address = dlsym(handle, symbol);
    if (!address)
        return hd_error(HD_MISMATCH, "libheddle-compiler.so lacks %s: it is of another version than this program", symbol);
    memcpy(out_function, &address, sizeof address);
    return NULL;
}

static const char library_name[] = "libheddle-compiler.so";

// The folders of the program's RUNPATH (beside it, or where it is installed), LD_LIBRARY_PATH and the system's.
static Dl_serinfo *search_paths(void)
{
    Dl_serinfo size, *paths = NULL;
    void *program = dlopen(NULL, RTLD_LAZY);
    if (!program || dlinfo(program, RTLD_DI_SERINFOSIZE, &size)) return NULL;
    paths = hd_xcalloc(1, size.dls_size);
    if (!dlinfo(program, RTLD_DI_SERINFOSIZE, paths) && !dlinfo(program, RTLD_DI_SERINFO, paths)) return paths;
    free(paths);
    return NULL;
}

bool compiler_path(HdBuf *out_path)
{
    bool found = false;
    Dl_serinfo *paths = search_paths();
    for (unsigned i = 0; paths && !found && i < paths->dls_cnt; i++) {
        const char *folder = paths->dls_serpath[i].dls_name;
        out_path->len = 0;
        hd_buf_printf(out_path, "%s/%s", folder, library_name);
        found = folder[0] == '/' && access(out_path->data, R_OK) == 0;
    }
    free(paths);
    if (!found) hd_buf_free(out_path);
    return found;
}

static HdStatus *open_library(Library *out_library)
{
    HdBuf path = {0};
    void *handle = dlopen(compiler_path(&path) ? path.data : library_name, RTLD_NOW | RTLD_LOCAL);
    hd_buf_free(&path);
    if (!handle)
        return hd_error(HD_NOT_FOUND,
                        "this command compiles and needs libheddle-compiler.so (Debian package heddle-compiler), which could not "
                        "be opened: %s; with --module "
                        "M.hdl no compiler is needed",
                        dlerror());
    HD_TRY(find(handle, "heddle_compile_check", &out_library->check));
    HD_TRY(find(handle, "heddle_compile", &out_library->compile));
    HD_TRY(find(handle, "heddle_compile_key", &out_library->key));
    HD_TRY(find(handle, "heddle_interpret", &out_library->interpret));
    HD_TRY(find(handle, "heddle_opt", &out_library->opt));
    HD_TRY(find(handle, "heddle_passes", &out_library->passes));
    HD_TRY(find(handle, "heddle_compiler_version", &out_library->version));
    return find(handle, "heddle_list_targets", &out_library->list_targets);
}

HdStatus *compiler_check(const HeddleCompileOptions *options)
{
    Library library;
    HD_TRY(open_library(&library));
    return library.check(options);
}

HdStatus *compiler_compile(const char *path, const HeddleCompileOptions *options, HdBuf *out_module)
{
    Library library;
    HD_TRY(open_library(&library));
    return library.compile(path, options, out_module);
}

HdStatus *compiler_key(const char *path, const HeddleCompileOptions *options, HdDigest *out_key)
{
    Library library;
    HD_TRY(open_library(&library));
    return library.key(path, options, out_key);
}

HdStatus *compiler_interpret(const char *path, const HeddleCompileOptions *options, const int32_t *tokens, uint32_t count,
                             float **out_logits, uint32_t *out_vocab)
{
    Library library;
    HD_TRY(open_library(&library));
    return library.interpret(path, options, tokens, count, out_logits, out_vocab);
}

HdStatus *compiler_opt(const HeddleOptOptions *options, HeddleOptResult *out_result)
{
    Library library;
    HD_TRY(open_library(&library));
    return library.opt(options, out_result);
}

HdStatus *compiler_passes(const char *pass, const char *const *loads, size_t load_count, bool colour, HdBuf *out_text)
{
    Library library;
    HD_TRY(open_library(&library));
    return library.passes(pass, loads, load_count, colour, out_text);
}

HdStatus *compiler_version(HdBuf *out_text)
{
    Library library;
    HD_TRY(open_library(&library));
    library.version(out_text);
    return NULL;
}

HdStatus *compiler_list_targets(const struct RtFacts *list, uint32_t count, HdBuf *out_text)
{
    Library library;
    HD_TRY(open_library(&library));
    library.list_targets(list, count, out_text);
    return NULL;
}

// ---- in a process of its own -----------------------------------------------------------------------------------
// Parent and child talk over a pipe: the child writes the code of its status as one byte, then its reply or the message.

typedef HdStatus *ChildWork(void *user, HdBuf *out_reply);

static _Noreturn void run_child(int fd, ChildWork *work, void *user)
{
    HdBuf reply = {0};
    HdStatus *status = work(user, &reply);
    char code = (char)hd_status_code(status);
    const char *text = status ? hd_status_message(status) : reply.data ? reply.data : "";
    size_t len = status ? strlen(text) : reply.len;
    bool written = write(fd, &code, 1) == 1;
    while (written && len) {
        ssize_t n = write(fd, text, len);
        written = n > 0;
        if (written) text += n, len -= (size_t)n;
    }
    _exit(written ? 0 : 1);
}

// Reads to the end of the pipe.
static void read_all(int fd, HdBuf *out_text)
{
    char part[4096];
    for (ssize_t n; (n = read(fd, part, sizeof part)) > 0;) hd_buf_bytes(out_text, part, (size_t)n);
}

static HdStatus *reply_status(const HdBuf *text, int wait_status)
{
    if (WIFSIGNALED(wait_status))
        return hd_error(HD_INTERNAL, "the compiler was ended by signal %d (%s)", WTERMSIG(wait_status),
                        strsignal(WTERMSIG(wait_status)));
    if (!text->len)
        return hd_error(HD_INTERNAL, "the compiler ended without an answer (exit status %d)", WEXITSTATUS(wait_status));
    if (text->data[0] == HD_OK) return NULL;
    return hd_error((HdCode)text->data[0], "%s", text->data + 1);
}

static HdStatus *apart(ChildWork *work, void *user, HdBuf *out_reply)
{
    int ends[2], wait_status = 0;
    if (pipe(ends)) return hd_error(HD_IO, "cannot make a pipe to the compiler's process");
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) close(ends[0]), run_child(ends[1], work, user);
    close(ends[1]);
    HdStatus *status = child < 0 ? hd_error(HD_NO_MEMORY, "cannot start a process for the compiler") : NULL;
    HdBuf text = {0};
    if (!status) {
        read_all(ends[0], &text);
        waitpid(child, &wait_status, 0);
        status = reply_status(&text, wait_status);
        if (!status) hd_buf_bytes(out_reply, text.data + 1, text.len - 1);
    }
    close(ends[0]);
    hd_buf_free(&text);
    return status;
}

typedef struct CompileWork {
    const char *path, *shortcut;
    const HeddleCompileOptions *options;
} CompileWork;

// In the child: replies with the bytes of the module.
static HdStatus *compile(void *user, HdBuf *out_module)
{
    const CompileWork *work = user;
    HdStatus *status = compiler_compile(work->path, work->options, out_module);
    progress_end();
    return status;
}

static HdStatus *compile_to_file(CompileWork *work, const char *to)
{
    HdBuf module = {0};
    HD_TRY(compile(work, &module));
    HdStatus *status = hd_write_file(to, module.data, module.len);
    hd_buf_free(&module);
    if (!status) return NULL;
    HdStatus *refused = hd_error(HD_IO, "%s", hd_status_message(status)); // also where a folder is missing: the model is there
    hd_status_free(status);
    return refused;
}

// In the child: replies with the path of the module in the cache.
static HdStatus *find_or_compile(void *user, HdBuf *out_path)
{
    CompileWork *work = user;
    HdDigest key;
    HD_TRY(compiler_key(work->path, work->options, &key));
    HD_TRY(cache_entry(key, out_path));
    if (!cache_use(out_path->data)) {
        HD_TRY(compile_to_file(work, out_path->data));
        cache_trim(work->options->log);
    }
    shortcut_write(work->options->cache_dir, work->shortcut, out_path->data);
    return NULL;
}

HdStatus *compiler_compile_apart(const char *path, const HeddleCompileOptions *options, HdBuf *out_module)
{
    return apart(compile, &(CompileWork){path, NULL, options}, out_module);
}

HdStatus *compiler_cache_apart(const char *path, const HeddleCompileOptions *options, const char *shortcut, HdBuf *out_path)
{
    return apart(find_or_compile, &(CompileWork){path, shortcut, options}, out_path);
}
