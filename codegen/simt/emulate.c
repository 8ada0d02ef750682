// SPDX-License-Identifier: Apache-2.0
// CUDA kernels on the host, for tests where there is no GPU: the same source text, compiled by the system's C++ compiler with what the
// language lacks in front. The lanes of a work group are fibres that take turns at barriers, from the first to the last and back again,
// so that a missing barrier shows; a copy in the background is made when it is waited for; lanes of a warp see each other's registers only
// where they meet. The kernels become functions as the CPU device calls them (runtime/abi.h), each call being one work group
// that does all of its units, unless `heddle_grid` has said in this thread that it is one of several.
#include "codegen/simt/emit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/cpu_features.h"

// Fibres: a lane runs until it waits for its warp or for its group, and goes on when all of these have come as far.
static const char prologue[] =
    "#include <math.h>\n"
    "#include <setjmp.h>\n"
    "#include <stdio.h>\n"
    "#include <stdlib.h>\n"
    "#include <string.h>\n"
    "#include <ucontext.h>\n"
    "#define __device__\n"
    "#define __global__\n"
    "#define __launch_bounds__(...)\n"
    "#define __shared__ static thread_local\n"
    "#define __align__(n) __attribute__((aligned(n)))\n"
    "struct Index { unsigned x; };\n"
    "static thread_local Index threadIdx, blockIdx, gridDim = {1};\n"
    "extern \"C\" void heddle_grid(unsigned group, unsigned groups) { blockIdx.x = group, gridDim.x = groups; }\n"
    "enum { WARP = 32, MOST_LANES = 1024, STACK = 64 * 1024, MOST_COPIES = 64 };\n"
    "enum State { RUNS, WAITS_FOR_WARP, WAITS_FOR_GROUP, DONE };\n"
    "typedef void Kernel(const unsigned long long *, long long, long long, unsigned char *);\n"
    "struct Copy { int *to; const int *from; };\n"
    "struct Fibre { jmp_buf at; State state; bool started; char *stack; Copy copies[MOST_COPIES]; unsigned meetings, begun, batches, batch_end[8]; };\n"
    "static thread_local struct Group { Fibre fibre[MOST_LANES]; jmp_buf turn; unsigned lanes; Kernel *kernel; const unsigned long long *args;\n"
    "    long long begin, end; unsigned char *scratch; } group;\n"
    "static void wait_for(State state) {\n"
    "    unsigned lane = threadIdx.x;\n"
    "    group.fibre[lane].state = state;\n"
    "    if (!_setjmp(group.fibre[lane].at)) _longjmp(group.turn, 1);\n"
    "    threadIdx.x = lane;\n"
    "}\n"
    "static void __syncthreads() { wait_for(WAITS_FOR_GROUP); }\n"
    "static void start() {\n"
    "    unsigned lane = threadIdx.x;\n"
    "    group.kernel(group.args, group.begin, group.end, group.scratch);\n"
    "    group.fibre[lane].state = DONE;\n"
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
    "// Lets all go on that wait like this, if all of lanes first..end-1 do; a mixture of these and others never ends.\n"
    "static bool release(unsigned first, unsigned end, State state) {\n"
    "    unsigned waiting = 0;\n"
    "    for (unsigned i = first; i < end; i++) waiting += group.fibre[i].state == state;\n"
    "    if (waiting && waiting < end - first) fprintf(stderr, \"emulated kernel: lanes wait for others that never come\\n\"), abort();\n"
    "    for (unsigned i = first; i < end && waiting; i++) group.fibre[i].state = RUNS;\n"
    "    return waiting;\n"
    "}\n"
    "static void run_warp(unsigned first, unsigned end, bool forward) {\n"
    "    do {\n"
    "        for (unsigned i = first; i < end; i++) {\n"
    "            unsigned lane = forward ? i : end - 1 - (i - first);\n"
    "            threadIdx.x = lane;\n"
    "            if (group.fibre[lane].state == RUNS) resume(&group.fibre[lane]);\n"
    "        }\n"
    "    } while (release(first, end, WAITS_FOR_WARP));\n"
    "}\n"
    "static void run_group(Kernel *kernel, unsigned lanes, const unsigned long long *args, long long begin, long long end, unsigned char *scratch) {\n"
    "    group.kernel = kernel, group.args = args, group.begin = begin, group.end = end, group.scratch = scratch, group.lanes = lanes;\n"
    "    for (unsigned i = 0; i < lanes; i++) group.fibre[i].started = false, group.fibre[i].state = RUNS, group.fibre[i].meetings = group.fibre[i].begun = group.fibre[i].batches = 0;\n"
    "    bool forward = true;\n"
    "    do {\n"
    "        unsigned warps = (lanes + WARP - 1) / WARP;\n"
    "        for (unsigned w = 0; w < warps; w++) {\n"
    "            unsigned first = (forward ? w : warps - 1 - w) * WARP;\n"
    "            run_warp(first, first + WARP < lanes ? first + WARP : lanes, forward);\n"
    "        }\n"
    "        forward = !forward;\n"
    "    } while (release(0, lanes, WAITS_FOR_GROUP));\n"
    "}\n"
    "// What lanes of a warp give each other: each puts its own, all meet, each takes. The next time they use the other array: who meets there\n"
    "// has taken from this one.\n"
    "static thread_local struct Offer { int words[6]; } offers[2][MOST_LANES];\n"
    "static const Offer *exchange(const int *words, unsigned count) {\n"
    "    unsigned which = group.fibre[threadIdx.x].meetings++ % 2;\n"
    "    memcpy(offers[which][threadIdx.x].words, words, count * sizeof *words);\n"
    "    wait_for(WAITS_FOR_WARP);\n"
    "    return offers[which] + threadIdx.x / WARP * WARP;\n"
    "}\n"
    "template <typename T> static T __shfl_xor_sync(unsigned, T value, unsigned bits) {\n"
    "    int word;\n"
    "    memcpy(&word, &value, 4);\n"
    "    memcpy(&value, exchange(&word, 1)[threadIdx.x % WARP ^ bits].words, 4);\n"
    "    return value;\n"
    "}\n"
    "static int __dp4a(int a, int b, int sum) {\n"
    "    for (int at = 0; at < 32; at += 8) sum += (signed char)(a >> at) * (signed char)(b >> at);\n"
    "    return sum;\n"
    "}\n"
    "// Word `w` of row `row` of A (16 rows) and of B (8), from the registers of the lane that has it: see kops.def.\n"
    "static int word_of_a(const Offer *warp, unsigned row, unsigned w) { return warp[row % 8 * 4 + w % 4].words[w / 4 * 2 + row / 8]; }\n"
    "static int word_of_b(const Offer *warp, unsigned row, unsigned w) { return warp[row * 4 + w % 4].words[4 + w / 4]; }\n"
    "static float half_of(int word, unsigned half) {\n"
    "    unsigned bits = half ? (unsigned)word & 0xffff0000u : (unsigned)word << 16;\n"
    "    float value;\n"
    "    memcpy(&value, &bits, 4);\n"
    "    return value;\n"
    "}\n"
    "static const Offer *offer_factors(const int *a, const int *b, unsigned words) {\n"
    "    int mine[6];\n"
    "    memcpy(mine, a, words * 2), memcpy(mine + 4, b, words);\n"
    "    return exchange(mine, 6);\n"
    "}\n"
    "static void emulated_mma_i8(int *d, const int *a, const int *b, unsigned words) {\n"
    "    const Offer *warp = offer_factors(a, b, words);\n"
    "    for (unsigned i = 0; i < 4; i++)\n"
    "        for (unsigned w = 0, lane = threadIdx.x % WARP; w < words; w++)\n"
    "            d[i] = __dp4a(word_of_a(warp, lane / 4 + i / 2 * 8, w), word_of_b(warp, lane % 4 * 2 + i % 2, w), d[i]);\n"
    "}\n"
    "static void emulated_mma_bf16(float *d, const int *a, const int *b) {\n"
    "    const Offer *warp = offer_factors(a, b, 8);\n"
    "    for (unsigned i = 0; i < 4; i++)\n"
    "        for (unsigned k = 0, lane = threadIdx.x % WARP; k < 16; k++)\n"
    "            d[i] += half_of(word_of_a(warp, lane / 4 + i / 2 * 8, k / 2), k % 2) * half_of(word_of_b(warp, lane % 4 * 2 + i % 2, k / 2), k % 2);\n"
    "}\n"
    "// Asynchronous copies: the latest that the hardware may make them is when they are waited for, so that a missing wait shows.\n"
    "static void emulated_copy(int *to, const int *from) {\n"
    "    Fibre *f = &group.fibre[threadIdx.x];\n"
    "    if (f->begun == MOST_COPIES || (size_t)to % 16 || (size_t)from % 16) fprintf(stderr, \"emulated kernel: a copy too many, or not aligned\\n\"), abort();\n"
    "    f->copies[f->begun++] = Copy{to, from};\n"
    "}\n"
    "static void emulated_commit() {\n"
    "    Fibre *f = &group.fibre[threadIdx.x];\n"
    "    if (f->batches == 8) fprintf(stderr, \"emulated kernel: too many batches of copies\\n\"), abort();\n"
    "    f->batch_end[f->batches++] = f->begun;\n"
    "}\n"
    "static void emulated_wait(unsigned most) {\n"
    "    Fibre *f = &group.fibre[threadIdx.x];\n"
    "    if (f->batches <= most) return;\n"
    "    unsigned over = f->batches - most, done = f->batch_end[over - 1];\n"
    "    for (unsigned i = 0; i < done; i++) memcpy(f->copies[i].to, f->copies[i].from, 16);\n"
    "    memmove(f->copies, f->copies + done, (f->begun - done) * sizeof *f->copies);\n"
    "    memmove(f->batch_end, f->batch_end + over, most * sizeof *f->batch_end);\n"
    "    f->begun -= done, f->batches = most;\n"
    "    for (unsigned i = 0; i < most; i++) f->batch_end[i] -= done;\n"
    "}\n";

const char *simt_emulated_option(void) { return hd_cpu_has("fma") ? "-mfma" : "-O1"; }

HdStatus *simt_print_emulated(const KirFn *fn, bool first, HdBuf *out_text) {
    if (first) hd_buf_printf(out_text, "// c++ %s\n%s", simt_emulated_option(), prologue);
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
    char *const words[] = {"c++", "-std=c++17", "-O1", (char *)simt_emulated_option(), "-ffp-contract=off", "-fno-strict-aliasing", "-w", "-shared",
                           "-fPIC", "-o", (char *)object, (char *)source, NULL};
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
