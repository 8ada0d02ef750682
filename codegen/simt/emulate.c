// SPDX-License-Identifier: Apache-2.0
// CUDA kernels on the host, for tests where there is no GPU: the same source text, compiled by the system's C++ compiler with what the
// language lacks in front. The lanes of a work group are fibres that take turns at barriers, from the first to the last and back again,
// so that a missing barrier shows. The kernels become functions as the CPU device calls them (runtime/abi.h), each call being one work group
// that does all of its units, unless `heddle_grid` has said in this thread that it is one of several.
#include "codegen/simt/emit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char prologue[] =
    "#include <math.h>\n"
    "#include <setjmp.h>\n"
    "#include <stdlib.h>\n"
    "#include <ucontext.h>\n"
    "#define __device__\n"
    "#define __global__\n"
    "#define __launch_bounds__(n)\n"
    "#define __shared__ static thread_local\n"
    "struct Index { unsigned x; };\n"
    "static thread_local Index threadIdx, blockIdx, gridDim = {1};\n"
    "extern \"C\" void heddle_grid(unsigned group, unsigned groups) { blockIdx.x = group, gridDim.x = groups; }\n"
    "enum { MOST_LANES = 1024, STACK = 64 * 1024 };\n"
    "typedef void Kernel(const unsigned long long *, long long, long long, unsigned char *);\n"
    "struct Fibre { jmp_buf at; bool started, done; char *stack; };\n"
    "static thread_local struct Group { Fibre fibre[MOST_LANES]; jmp_buf turn; Kernel *kernel; const unsigned long long *args;\n"
    "    long long begin, end; unsigned char *scratch; } group;\n"
    "static void __syncthreads() {\n"
    "    unsigned lane = threadIdx.x;\n"
    "    if (!_setjmp(group.fibre[lane].at)) _longjmp(group.turn, 1);\n"
    "    threadIdx.x = lane;\n"
    "}\n"
    "static void start() {\n"
    "    unsigned lane = threadIdx.x;\n"
    "    group.kernel(group.args, group.begin, group.end, group.scratch);\n"
    "    group.fibre[lane].done = true;\n"
    "    _longjmp(group.turn, 1);\n"
    "}\n"
    "static void resume(Fibre *f) {\n"
    "    ucontext_t context;\n"
    "    if (_setjmp(group.turn)) return;\n"
    "    if (f->started) _longjmp(f->at, 1);\n"
    "    f->started = true;\n"
    "    if (!f->stack) f->stack = (char *)malloc(STACK);\n"
    "    getcontext(&context);\n"
    "    context.uc_stack.ss_sp = f->stack, context.uc_stack.ss_size = STACK, context.uc_link = nullptr;\n"
    "    makecontext(&context, start, 0);\n"
    "    setcontext(&context);\n"
    "}\n"
    "static void run_group(Kernel *kernel, unsigned lanes, const unsigned long long *args, long long begin, long long end, unsigned char *scratch) {\n"
    "    group.kernel = kernel, group.args = args, group.begin = begin, group.end = end, group.scratch = scratch;\n"
    "    for (unsigned i = 0; i < lanes; i++) group.fibre[i].started = group.fibre[i].done = false;\n"
    "    for (bool forward = true, left = true; left; forward = !forward) {\n"
    "        left = false;\n"
    "        for (unsigned i = 0; i < lanes; i++) {\n"
    "            threadIdx.x = forward ? i : lanes - 1 - i;\n"
    "            unsigned lane = threadIdx.x;\n"
    "            if (!group.fibre[lane].done) resume(&group.fibre[lane]);\n"
    "            left = left || !group.fibre[lane].done;\n"
    "        }\n"
    "    }\n"
    "}\n";

HdStatus *simt_print_emulated(const KirFn *fn, bool first, HdBuf *out_text) {
    if (first) hd_buf_str(out_text, prologue);
    hd_buf_printf(out_text, "namespace of_%s {\n#define %s kernel\n", fn->name, fn->name);
    HdBuf text = {0};
    HdStatus *status = simt_print_cuda(fn, &text);
    const char *at = text.data, *word = "extern \"C\" ";
    for (const char *found; at && (found = strstr(at, word)); at = found + strlen(word)) hd_buf_bytes(out_text, at, (size_t)(found - at));
    if (at) hd_buf_str(out_text, at);
    hd_buf_printf(out_text, "#undef %s\n}\n", fn->name);
    hd_buf_printf(out_text, "extern \"C\" void %s(const unsigned long long *args, long long begin, long long end, unsigned char *scratch) {\n"
                            "    run_group(of_%s::kernel, %u, args, begin, end, scratch);\n}\n", fn->name, fn->name, HD_MAX(fn->lanes, 1));
    hd_buf_free(&text);
    return status;
}

static HdStatus *run_compiler(const char *source, const char *object) {
    char *const words[] = {"c++", "-std=c++17", "-O1", "-march=native", "-ffp-contract=off", "-fno-strict-aliasing", "-w", "-shared", "-fPIC",
                           "-o", (char *)object, (char *)source, NULL};
    pid_t child = fork();
    int state = 0;
    if (child == 0) {
        execvp(words[0], words);
        _exit(127);
    }
    if (child < 0) return hd_error(HD_IO, "cannot start c++: %s", strerror(errno));
    while (waitpid(child, &state, 0) < 0 && errno == EINTR) continue;
    if (state == 0) return NULL;
    return hd_error(HD_INTERNAL, "c++ cannot compile the emulated kernels (it is needed for this target)");
}

HdStatus *simt_compile_emulated(const HdBuf *source, HdBuf *out_object) {
    const char *temporary = getenv("TMPDIR");
    char folder[1024], path[1100], object[1100];
    snprintf(folder, sizeof folder, "%s/heddle-emulated-XXXXXX", temporary && *temporary ? temporary : "/tmp");
    if (!mkdtemp(folder)) return hd_error(HD_IO, "cannot make a temporary folder: %s", folder);
    snprintf(path, sizeof path, "%s/kernels.cpp", folder);
    snprintf(object, sizeof object, "%s/kernels.so", folder);
    HdStatus *status = hd_write_file(path, source->data, source->len);
    if (!status) status = run_compiler(path, object);
    if (!status) status = hd_read_file(object, out_object);
    unlink(path);
    unlink(object);
    rmdir(folder);
    return status;
}
