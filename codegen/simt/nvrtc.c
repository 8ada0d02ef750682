// SPDX-License-Identifier: Apache-2.0
// CUDA C to machine code or PTX by NVRTC, which is opened when it is first needed: neither the compiler nor its build needs CUDA, and
// compiling needs no driver. NVRTC is part of the toolkit and of PyPI's nvidia-cuda-nvrtc.
#include "codegen/simt/emit.h"

#include "codegen/codegen.h"

#include <dlfcn.h>
#include <glob.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct Program *NvProgram;
typedef struct Nvrtc {
    void *handle;
    int major, minor;
    int (*version)(int *major, int *minor);
    int (*arch_count)(int *count);
    int (*archs)(int *list);
    int (*create)(NvProgram *program, const char *source, const char *name, int headers, const char *const *texts, const char *const *names);
    int (*compile)(NvProgram program, int count, const char *const *options);
    int (*log_size)(NvProgram program, size_t *bytes);
    int (*log)(NvProgram program, char *text);
    int (*cubin_size)(NvProgram program, size_t *bytes);
    int (*cubin)(NvProgram program, char *code);
    int (*ptx_size)(NvProgram program, size_t *bytes);
    int (*ptx)(NvProgram program, char *code);
    int (*destroy)(NvProgram *program);
} Nvrtc;

// ---- finding it ------------------------------------------------------------------------------------------------

static void *open_pattern(const char *folder, const char *pattern) {
    HdBuf path = {0};
    glob_t found;
    void *library = NULL;
    hd_buf_printf(&path, "%s%s", folder, pattern);
    if (!glob(path.data, 0, NULL, &found)) {
        for (size_t i = found.gl_pathc; i-- > 0 && !library;) library = dlopen(found.gl_pathv[i], RTLD_NOW | RTLD_LOCAL);   // the newest first
        globfree(&found);
    }
    hd_buf_free(&path);
    return library;
}

// A toolkit's folder, a folder with the library, or a Python environment.
static void *open_in(const char *folder) {
    static const char *const places[] = {"/libnvrtc.so*", "/lib64/libnvrtc.so*", "/lib/libnvrtc.so*", "/targets/x86_64-linux/lib/libnvrtc.so*",
                                         "/lib/python3*/site-packages/nvidia/*/lib/libnvrtc.so*"};
    void *library = NULL;
    for (size_t i = 0; i < HD_COUNT(places) && folder && *folder && !library; i++) library = open_pattern(folder, places[i]);
    return library;
}

static void *open_library(void) {
    static const char *const names[] = {"libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12"};
    static const char *const folders[] = {"CUDA_PATH", "CUDA_HOME", "VIRTUAL_ENV"};
    HdBuf local = {0};
    void *library = NULL;
    for (size_t i = 0; i < HD_COUNT(folders) && !library; i++) library = open_in(getenv(folders[i]));
    for (size_t i = 0; i < HD_COUNT(names) && !library; i++) library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    hd_buf_printf(&local, "%s/.local", getenv("HOME") ? getenv("HOME") : "");
    if (!library) library = open_in(local.data);
    if (!library) library = open_in("/usr/local/cuda");
    hd_buf_free(&local);
    return library;
}

static bool find_functions(Nvrtc *nv) {
    const struct { const char *name; void *to; } functions[] = {
        {"nvrtcVersion", &nv->version},         {"nvrtcGetNumSupportedArchs", &nv->arch_count}, {"nvrtcGetSupportedArchs", &nv->archs},
        {"nvrtcCreateProgram", &nv->create},    {"nvrtcCompileProgram", &nv->compile},          {"nvrtcGetProgramLogSize", &nv->log_size},
        {"nvrtcGetProgramLog", &nv->log},       {"nvrtcGetCUBINSize", &nv->cubin_size},         {"nvrtcGetCUBIN", &nv->cubin},
        {"nvrtcGetPTXSize", &nv->ptx_size},     {"nvrtcGetPTX", &nv->ptx},                      {"nvrtcDestroyProgram", &nv->destroy}};
    for (size_t i = 0; i < HD_COUNT(functions); i++) {
        void *symbol = dlsym(nv->handle, functions[i].name);
        if (!symbol) return false;
        memcpy(functions[i].to, &symbol, sizeof symbol);
    }
    return !nv->version(&nv->major, &nv->minor);
}

// Opened once and kept: the library does not like to be closed.
static Nvrtc nvrtc;
static bool is_usable;
static void open_once(void) {
    nvrtc.handle = open_library();
    is_usable = nvrtc.handle && find_functions(&nvrtc);
}

static HdStatus *open_nvrtc(const Nvrtc **out_nvrtc) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, open_once);
    *out_nvrtc = &nvrtc;
    if (is_usable) return NULL;
    if (nvrtc.handle) return hd_error(HD_UNSUPPORTED, "the NVRTC that was found is too old: 11.2 or newer is needed");
    return hd_error(HD_UNSUPPORTED, "targets cuda:... need NVRTC, which was not found: install the CUDA Toolkit or `pip install "
                    "nvidia-cuda-nvrtc`, and say where with CUDA_PATH");
}

// Patches of a release have one version, but not one size.
HdStatus *simt_nvrtc_version(HdBuf *out_text) {
    const Nvrtc *nv;
    Dl_info library;
    struct stat file;
    HD_TRY(open_nvrtc(&nv));
    if (!dladdr((void *)(uintptr_t)nv->version, &library) || stat(library.dli_fname, &file))
        return hd_error(HD_INTERNAL, "the file of NVRTC cannot be found");
    hd_buf_printf(out_text, "nvrtc %d.%d of %lld bytes", nv->major, nv->minor, (long long)file.st_size);
    return NULL;
}

// ---- architectures ---------------------------------------------------------------------------------------------

HdStatus *cg_cuda_archs(int out_archs[CG_MOST_CUDA_ARCHS], uint32_t *out_count) {
    const Nvrtc *nv;
    int count, list[256];
    HD_TRY(open_nvrtc(&nv));
    if (nv->arch_count(&count) || count > (int)HD_COUNT(list) || nv->archs(list))
        return hd_error(HD_INTERNAL, "NVRTC does not say what it compiles for");
    *out_count = 0;
    for (int i = 0; i < count && *out_count < CG_MOST_CUDA_ARCHS; i++)
        if (list[i] >= 75) out_archs[(*out_count)++] = list[i];
    return NULL;
}

static HdStatus *check_arch(const Nvrtc *nv, const IrTarget *target) {
    int archs[CG_MOST_CUDA_ARCHS];
    uint32_t count;
    HdBuf list = {0};
    HD_TRY(cg_cuda_archs(archs, &count));
    for (uint32_t i = 0; i < count; i++) {
        if (archs[i] == target->arch) return hd_buf_free(&list), NULL;
        hd_buf_printf(&list, "%s%d", i ? ", " : "", archs[i]);
    }
    HdStatus *status = hd_error(HD_UNSUPPORTED, "target %s: NVRTC %d.%d compiles for %s only; a newer one knows more", target->name, nv->major,
                                nv->minor, list.data);
    hd_buf_free(&list);
    return status;
}

// Machine code of an earlier architecture of the same generation runs there, PTX of any earlier one does.
HdStatus *cg_cuda_target(uint64_t capability, IrTarget *out_target) {
    const Nvrtc *nv;
    int archs[CG_MOST_CUDA_ARCHS], best = 0;
    uint32_t count;
    char name[32];
    HD_TRY(open_nvrtc(&nv));
    HD_TRY(cg_cuda_archs(archs, &count));
    for (uint32_t i = 0; i < count; i++)
        if ((uint64_t)archs[i] <= capability) best = HD_MAX(best, archs[i]);
    if (!best)
        return hd_error(HD_UNSUPPORTED, "compute capability %" PRIu64 ".%" PRIu64 ": NVRTC %d.%d compiles for %d.%d and newer", capability / 10,
                        capability % 10, nv->major, nv->minor, archs[0] / 10, archs[0] % 10);
    bool same_generation = (uint64_t)best / 10 == capability / 10;
    snprintf(name, sizeof name, "cuda:%s_%d", same_generation ? "sm" : "compute", best);
    return ir_target_parse(name, out_target);
}

// ---- compiling -------------------------------------------------------------------------------------------------

static HdStatus *failed(const Nvrtc *nv, NvProgram program, const char *name) {
    size_t bytes = 0;
    nv->log_size(program, &bytes);
    char *text = hd_xcalloc(bytes + 1, 1);
    nv->log(program, text);
    const char *error = strstr(text, "error");
    if (!error) error = text;
    HdStatus *status = hd_error(HD_INTERNAL, "kernel %s: its CUDA C does not compile: %.*s", name, (int)strcspn(error, "\n"), error);
    free(text);
    return status;
}

static HdStatus *take_code(const Nvrtc *nv, NvProgram program, bool ptx, HdBuf *out_code) {
    size_t bytes = 0;
    if ((ptx ? nv->ptx_size : nv->cubin_size)(program, &bytes) || !bytes) return hd_error(HD_INTERNAL, "NVRTC gives no code");
    char *code = hd_xmalloc(bytes);
    int error = (ptx ? nv->ptx : nv->cubin)(program, code);
    if (!error) hd_buf_bytes(out_code, code, bytes);
    free(code);
    return error ? hd_error(HD_INTERNAL, "NVRTC gives no code (error %d)", error) : NULL;
}

HdStatus *simt_compile_cuda(const char *name, const IrTarget *target, const HdBuf *source, HdBuf *out_code) {
    const Nvrtc *nv;
    char arch[64];
    const char *const options[] = {arch, "--fmad=false", "--std=c++17"};
    NvProgram program;
    HD_TRY(open_nvrtc(&nv));
    HD_TRY(check_arch(nv, target));
    snprintf(arch, sizeof arch, "--gpu-architecture=%s_%d", target->ptx ? "compute" : "sm", target->arch);
    if (nv->create(&program, source->data, name, 0, NULL, NULL)) return hd_error(HD_INTERNAL, "NVRTC cannot be started");
    HdStatus *status = nv->compile(program, HD_COUNT(options), options) ? failed(nv, program, name) : NULL;
    if (!status) status = take_code(nv, program, target->ptx, out_code);
    nv->destroy(&program);
    return status;
}
