// SPDX-License-Identifier: Apache-2.0
// Shortcuts in the cache: from what was asked for straight to the compiled module. The key of a module needs the compiler, and
// opening that takes longer than starting from a module does. So what was asked (header, options, processor, where the compiler
// lies) is hashed here, and the compiler leaves a file of this name that holds the module's name and, line by line, the identity of
// every file it consisted of. The shortcut counts only while all of these are what they were.
#include "cli/cli.h"
#include "runtime/cpu_features.h"
#include "runtime/device/facts.h"

#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char loader_cache[] = "/etc/ld.so.cache"; // decides which LLVM is opened

// A line that changes whenever the file does: writing to a file changes its time of status change, which nobody can set.
static void add_identity(HdBuf *text, const char *path)
{
    struct stat info = {0};
    if (stat(path, &info)) hd_buf_printf(text, "absent %s\n", path);
    else
        hd_buf_printf(text, "%llu:%llu %lld %lld.%ld %lld.%ld %s\n", (unsigned long long)info.st_dev,
                      (unsigned long long)info.st_ino, (long long)info.st_size, (long long)info.st_mtim.tv_sec,
                      info.st_mtim.tv_nsec, (long long)info.st_ctim.tv_sec, info.st_ctim.tv_nsec, path);
}

// ---- the name --------------------------------------------------------------------------------------------------

static void hash_identity(HdHasher *hasher, const char *path)
{
    HdBuf identity = {0};
    add_identity(&identity, path);
    hd_hasher_text(hasher, identity.data);
    hd_buf_free(&identity);
}

static void hash_options(HdHasher *hasher, const HeddleCompileOptions *options)
{
    const char *const texts[] = {options->target,      options->passes,   options->kv_type, options->layout,
                                 options->activations, options->numerics, options->probes ? "probes" : ""};
    for (size_t i = 0; i < HD_COUNT(texts); i++) hd_hasher_text(hasher, texts[i]);
    for (size_t i = 0; i < options->load_count; i++) hash_identity(hasher, options->loads[i]);
    for (size_t i = 0; i < options->set_count; i++) hd_hasher_text(hasher, options->sets[i]);
    if (options->device_count) hd_hasher_add(hasher, options->devices, options->device_count * sizeof *options->devices);
    for (size_t i = 0; i < options->require_count; i++) hd_hasher_text(hasher, "require"), hd_hasher_text(hasher, options->requires[i]);
}

// The library, and what decides which LLVM and which NVRTC it opens.
static void hash_compiler(HdHasher *hasher, const char *path)
{
    static const char *const settings[] = {"LD_LIBRARY_PATH", "LD_PRELOAD", "CUDA_PATH", "CUDA_HOME", "VIRTUAL_ENV", "HOME"};
    hash_identity(hasher, path);
    for (size_t i = 0; i < HD_COUNT(settings); i++) hd_hasher_text(hasher, getenv(settings[i]));
}

void shortcut_name(const char *model, const HeddleCompileOptions *options, char out_hex[33])
{
    GgufFile *file = NULL;
    GgufOptions header_only = {.header_only = true};
    HdBuf compiler = {0};
    HdStatus *status = gguf_open(model, &header_only, &file);
    out_hex[0] = 0;
    if (!status && compiler_path(&compiler)) {
        HdHasher *hasher = hd_hasher_new();
        hash_compiler(hasher, compiler.data);
        gguf_hash_header(file, hasher);
        hash_options(hasher, options);
        for (size_t i = 0; hd_cpu_feature(i); i++) hd_hasher_text(hasher, hd_cpu_has(hd_cpu_feature(i)) ? hd_cpu_feature(i) : "");
        hd_digest_hex(hd_hasher_finish(hasher), out_hex);
    }
    hd_status_free(status); // who compiles will meet it again
    gguf_close(file);
    hd_buf_free(&compiler);
}

// ---- the content -----------------------------------------------------------------------------------------------

static void shortcut_path(const char *folder, const char *name, HdBuf *out_path)
{
    hd_buf_printf(out_path, "%s/%s.ref", folder, name);
}

// Do all lines still hold? Each ends with the path it is about.
static bool holds(char *lines)
{
    HdBuf now = {0};
    bool same = true;
    for (char *line = lines, *end; same && (end = strchr(line, '\n')); line = end + 1) {
        *end = 0;
        const char *path = strchr(line, '/');
        now.len = 0;
        if (path) add_identity(&now, path);
        same = path && now.len == (size_t)(end - line) + 1 && !memcmp(now.data, line, now.len - 1);
    }
    hd_buf_free(&now);
    return same;
}

// The module's path, when the shortcut is good and the module can be marked as used now.
static bool follow(const char *folder, HdBuf *text, HdBuf *out_path)
{
    char *end = strchr(text->data, '\n');
    if (!end || end[1] == 0 || !holds(end + 1)) return false;
    *end = 0;
    if (!cache_is_module(text->data)) return false;
    hd_buf_printf(out_path, "%s/%s", folder, text->data);
    if (cache_use(out_path->data)) return true;
    hd_buf_free(out_path);
    return false;
}

bool shortcut_find(const char *folder, const char *name, HdBuf *out_path)
{
    HdBuf path = {0}, text = {0};
    if (!name[0]) return false;
    shortcut_path(folder, name, &path);
    HdStatus *status = hd_read_file(path.data, &text);
    bool found = !status && follow(folder, &text, out_path);
    if (found) (void)cache_use(path.data);
    hd_status_free(status);
    hd_buf_free(&text);
    hd_buf_free(&path);
    return found;
}

static int add_object(struct dl_phdr_info *object, size_t size, void *text)
{
    (void)size;
    if (object->dlpi_name[0] == '/') add_identity(text, object->dlpi_name);
    return 0;
}

void shortcut_write(const char *folder, const char *name, const char *module)
{
    HdBuf path = {0}, text = {0};
    if (!name[0]) return;
    shortcut_path(folder, name, &path);
    hd_buf_printf(&text, "%s\n", strrchr(module, '/') + 1);
    dl_iterate_phdr(add_object, &text);
    add_identity(&text, loader_cache);
    hd_status_free(hd_write_file(path.data, text.data, text.len)); // without one the next start is only slower
    hd_buf_free(&text);
    hd_buf_free(&path);
}
