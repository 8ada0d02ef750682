// SPDX-License-Identifier: Apache-2.0
// CUDA kernels on the host, for tests where there is no GPU: the same source text, compiled by the system's C++ compiler with what the
// language lacks in front. The lanes of a work group are fibres that take turns at barriers, from the first to the last and back again,
// so that a missing barrier shows; a copy in the background is made when it is waited for; lanes of a warp see each other's registers only
// where they meet. The kernels become functions as the CPU device calls them (runtime/abi.h), each call being one work group
// that does all of its units, unless `heddle_grid` has said in this thread that it is one of several.
#include "codegen/simt/emit.h"

#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/cpu_features.h"

extern char **environ;

// What kernels and fibres share. What is not exported is hidden, so that it is called without a detour.
static const char shared[] =
    "#define EXPORTED extern \"C\" __attribute__((visibility(\"default\")))\n"
    "enum { WARP = 32 };\n"
    "struct Index { unsigned x; };\n"
    "typedef void Kernel(const unsigned long long *, long long, long long, unsigned char *);\n"
    "extern __thread Index threadIdx, blockIdx, gridDim;\n"
    "void __syncthreads();\n"
    "const int *exchange(int word);   // a word of each lane of the warp\n"
    "void emulated_mma_i8(int *d, const int *a, const int *b, unsigned words);\n"
    "void emulated_mma_bf16(float *d, const int *a, const int *b);\n"
    "void emulated_copy(int *to, const int *from);\n"
    "void emulated_commit();\n"
    "void emulated_wait(unsigned most);\n"
    "void run_group(Kernel *kernel, unsigned lanes, const unsigned long long *args, long long begin, long long end, unsigned char *scratch);\n";

// What a kernel needs beside that. No header of the system's: reading these would take longer than many a kernel.
static const char before_kernel[] =
    "extern \"C\" void *memcpy(void *, const void *, unsigned long);\n"
    "extern \"C\" float fmaf(float, float, float), fabsf(float), sqrtf(float), rintf(float), floorf(float);\n"
    "#define __device__\n"
    "#define __global__\n"
    "#define __launch_bounds__(...)\n"
    "#define __shared__ static __thread\n"
    "#define __align__(n) __attribute__((aligned(n)))\n"
    "template <typename T> static T __shfl_xor_sync(unsigned, T value, unsigned bits) {\n"
    "    int word;\n"
    "    memcpy(&word, &value, 4);\n"
    "    memcpy(&value, &exchange(word)[threadIdx.x % WARP ^ bits], 4);\n"
    "    return value;\n"
    "}\n"
    "static inline int of_byte(int word, int at) { return (signed char)(word >> at); }\n"
    "static inline int __dp4a(int a, int b, int sum) {\n"
    "    return sum + of_byte(a, 0) * of_byte(b, 0) + of_byte(a, 8) * of_byte(b, 8) + of_byte(a, 16) * of_byte(b, 16) + of_byte(a, 24) * of_byte(b, 24);\n"
    "}\n";

// Fibres: a lane runs until it waits for its warp or for its group, and goes on when all of these have come as far. It lives on for the next group.
static const char fibres[] =
    "#pragma GCC optimize(\"O2\")\n"
    "#include <stdio.h>\n"
    "#include <stdlib.h>\n"
    "#include <string.h>\n"
    "#include <ucontext.h>\n"
    "enum { MOST_LANES = 1024, STACK = 64 * 1024, MOST_COPIES = 64 };\n"
    "__thread Index threadIdx, blockIdx, gridDim = {1};\n"
    "EXPORTED void heddle_grid(unsigned group, unsigned groups) { blockIdx.x = group, gridDim.x = groups; }\n"
    "enum State { RUNS, WAITS_FOR_WARP, WAITS_FOR_GROUP, DONE };\n"
    "struct Copy { int *to; const int *from; };\n"
    "typedef void *Place[5];   // what __builtin_setjmp keeps: the compiler sees to the registers\n"
    "struct Fibre { Place at; char *stack; Copy copies[MOST_COPIES]; unsigned meetings, begun, batches, batch_end[8]; };\n"
    "static __thread struct Group { Fibre fibre[MOST_LANES]; State state[MOST_LANES]; Place turn; Kernel *kernel; const unsigned long long *args;\n"
    "    long long begin, end; unsigned char *scratch; } group;\n"
    "[[gnu::noinline, noreturn]] static void go(Place place) { __builtin_longjmp(place, 1); }\n"
    "[[gnu::noinline]] static void wait_for(State state) {\n"
    "    Index *mine = &threadIdx, kept = *mine;\n"
    "    group.state[kept.x] = state;\n"
    "    if (!__builtin_setjmp(group.fibre[kept.x].at)) go(group.turn);\n"
    "    *mine = kept;\n"
    "}\n"
    "void __syncthreads() { wait_for(WAITS_FOR_GROUP); }\n"
    "static void live() { for (;; wait_for(DONE)) group.kernel(group.args, group.begin, group.end, group.scratch); }\n"
    "[[gnu::noinline]] static void resume(Fibre *f) {\n"
    "    ucontext_t context;\n"
    "    if (__builtin_setjmp(group.turn)) return;\n"
    "    if (f->stack) go(f->at);\n"
    "    f->stack = (char *)malloc(STACK);\n"
    "    getcontext(&context);\n"
    "    context.uc_stack.ss_sp = f->stack, context.uc_stack.ss_size = STACK, context.uc_link = nullptr;\n"
    "    makecontext(&context, live, 0);\n"
    "    setcontext(&context);\n"
    "}\n"
    "// Lets all go on that wait like this, if all of lanes first..end-1 do; a mixture of these and others never ends.\n"
    "static bool release(unsigned first, unsigned end, State state) {\n"
    "    unsigned waiting = 0;\n"
    "    for (unsigned i = first; i < end; i++) waiting += group.state[i] == state;\n"
    "    if (waiting && waiting < end - first) fprintf(stderr, \"emulated kernel: lanes wait for others that never come\\n\"), abort();\n"
    "    for (unsigned i = first; i < end && waiting; i++) group.state[i] = RUNS;\n"
    "    return waiting;\n"
    "}\n"
    "static void run_warp(unsigned first, unsigned end, bool forward) {\n"
    "    do {\n"
    "        for (unsigned i = first; i < end; i++) {\n"
    "            unsigned lane = forward ? i : end - 1 - (i - first);\n"
    "            threadIdx.x = lane;\n"
    "            if (group.state[lane] == RUNS) resume(&group.fibre[lane]);\n"
    "        }\n"
    "    } while (release(first, end, WAITS_FOR_WARP));\n"
    "}\n"
    "void run_group(Kernel *kernel, unsigned lanes, const unsigned long long *args, long long begin, long long end, unsigned char *scratch) {\n"
    "    group.kernel = kernel, group.args = args, group.begin = begin, group.end = end, group.scratch = scratch;\n"
    "    for (unsigned i = 0; i < lanes; i++) group.state[i] = RUNS, group.fibre[i].meetings = group.fibre[i].begun = group.fibre[i].batches = 0;\n"
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
    "// What lanes of a warp give each other, a word or the factors of a product: each puts its own, all meet, each takes. The next time they use\n"
    "// the other place: who meets there has taken from this one.\n"
    "union Meeting { int words[WARP]; struct { int a[16][8], b[8][8]; } rows; };\n"
    "static __thread Meeting meetings[2][MOST_LANES / WARP];\n"
    "static Meeting *meeting() { return &meetings[group.fibre[threadIdx.x].meetings++ % 2][threadIdx.x / WARP]; }\n"
    "const int *exchange(int word) {\n"
    "    Meeting *all = meeting();\n"
    "    all->words[threadIdx.x % WARP] = word;\n"
    "    wait_for(WAITS_FOR_WARP);\n"
    "    return all->words;\n"
    "}\n"
    "// Which words of A and B are in a lane's registers: see kops.def.\n"
    "template <unsigned WORDS> static const Meeting *exchange_rows(const int *a, const int *b) {\n"
    "    Meeting *all = meeting();\n"
    "    unsigned lane = threadIdx.x % WARP;\n"
    "    for (unsigned i = 0; i < WORDS / 2; i++) all->rows.a[lane / 4 + i % 2 * 8][lane % 4 + i / 2 * 4] = a[i];\n"
    "    for (unsigned i = 0; i < WORDS / 4; i++) all->rows.b[lane / 4][lane % 4 + i * 4] = b[i];\n"
    "    wait_for(WAITS_FOR_WARP);\n"
    "    return all;\n"
    "}\n"
    "// A lane's four results are of two rows of A and two of B.\n"
    "static const int *row_of_a(const Meeting *all, unsigned i) { return all->rows.a[threadIdx.x % WARP / 4 + i / 2 * 8]; }\n"
    "static const int *row_of_b(const Meeting *all, unsigned i) { return all->rows.b[threadIdx.x % 4 * 2 + i % 2]; }\n"
    "template <unsigned WORDS> static void mma_i8(int *d, const int *a, const int *b) {\n"
    "    const Meeting *all = exchange_rows<WORDS>(a, b);\n"
    "    for (unsigned i = 0; i < 4; i++) {\n"
    "        const signed char *x = (const signed char *)row_of_a(all, i), *y = (const signed char *)row_of_b(all, i);\n"
    "        for (unsigned k = 0; k < WORDS * 4; k++) d[i] += x[k] * y[k];\n"
    "    }\n"
    "}\n"
    "void emulated_mma_i8(int *d, const int *a, const int *b, unsigned words) { words == 8 ? mma_i8<8>(d, a, b) : mma_i8<4>(d, a, b); }\n"
    "static float half_of(int word, unsigned half) {\n"
    "    unsigned bits = half ? (unsigned)word & 0xffff0000u : (unsigned)word << 16;\n"
    "    float value;\n"
    "    memcpy(&value, &bits, 4);\n"
    "    return value;\n"
    "}\n"
    "typedef float Four __attribute__((vector_size(16)));\n"
    "void emulated_mma_bf16(float *d, const int *a, const int *b) {\n"
    "    const Meeting *all = exchange_rows<8>(a, b);\n"
    "    const int *a0 = row_of_a(all, 0), *a2 = row_of_a(all, 2), *b0 = row_of_b(all, 0), *b1 = row_of_b(all, 1);\n"
    "    Four sum = {d[0], d[1], d[2], d[3]};\n"
    "    for (unsigned k = 0; k < 16; k++) {\n"
    "        float x0 = half_of(a0[k / 2], k % 2), x2 = half_of(a2[k / 2], k % 2), y0 = half_of(b0[k / 2], k % 2), y1 = half_of(b1[k / 2], k % 2);\n"
    "        sum += Four{x0, x0, x2, x2} * Four{y0, y1, y0, y1};\n"
    "    }\n"
    "    memcpy(d, &sum, sizeof sum);\n"
    "}\n"
    "// Asynchronous copies: the latest that the hardware may make them is when they are waited for, so that a missing wait shows.\n"
    "void emulated_copy(int *to, const int *from) {\n"
    "    Fibre *f = &group.fibre[threadIdx.x];\n"
    "    if (f->begun == MOST_COPIES || (size_t)to % 16 || (size_t)from % 16) fprintf(stderr, \"emulated kernel: a copy too many, or not aligned\\n\"), abort();\n"
    "    f->copies[f->begun++] = Copy{to, from};\n"
    "}\n"
    "void emulated_commit() {\n"
    "    Fibre *f = &group.fibre[threadIdx.x];\n"
    "    if (f->batches == 8) fprintf(stderr, \"emulated kernel: too many batches of copies\\n\"), abort();\n"
    "    f->batch_end[f->batches++] = f->begun;\n"
    "}\n"
    "void emulated_wait(unsigned most) {\n"
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

HdStatus *simt_print_emulated(const KirFn *fn, HdBuf *out_text) {
    hd_buf_printf(out_text, "// c++ %s\n%s%s", simt_emulated_option(), shared, fn ? before_kernel : fibres);
    if (!fn) return NULL;
    hd_buf_printf(out_text, "#define %s lane_of_%s\n", fn->name, fn->name);
    HdStatus *status = simt_print_cuda(fn, out_text);
    hd_buf_printf(out_text, "#undef %s\nEXPORTED void %s(const unsigned long long *args, long long begin, long long end, unsigned char *scratch) {\n"
                            "    run_group(lane_of_%s, %u, args, begin, end, scratch);\n}\n", fn->name, fn->name, fn->name, HD_MAX(fn->lanes, 1));
    return status;
}

static HdStatus *run_compiler(char *const words[]) {
    pid_t child;
    int state = 0, error = posix_spawnp(&child, words[0], NULL, NULL, words, environ);
    if (error) return hd_error(HD_IO, "cannot start c++, which is needed for this target: %s", strerror(error));
    while (waitpid(child, &state, 0) < 0 && errno == EINTR) continue;
    return state == 0 ? NULL : hd_error(HD_INTERNAL, "c++ cannot compile the emulated kernels");
}

// A folder of files that the compiler reads and writes.
typedef struct Folder { HdArena arena; char *path; HD_VEC(char *) files; } Folder;

static HdStatus *folder_make(Folder *out_folder) {
    const char *temporary = getenv("TMPDIR");
    *out_folder = (Folder){0};
    out_folder->path = hd_arena_printf(&out_folder->arena, "%s/heddle-emulated-XXXXXX", temporary && *temporary ? temporary : "/tmp");
    if (mkdtemp(out_folder->path)) return NULL;
    return hd_error(HD_IO, "cannot make a temporary folder: %s", out_folder->path);
}

static char *folder_file(Folder *folder, const char *ending) {
    char *path = hd_arena_printf(&folder->arena, "%s/%zu.%s", folder->path, folder->files.len, ending);
    hd_vec_push(&folder->files, path);
    return path;
}

static void folder_remove(Folder *folder) {
    for (size_t i = 0; i < folder->files.len; i++) unlink(folder->files.data[i]);
    rmdir(folder->path);
    hd_vec_free(&folder->files);
    hd_arena_free(&folder->arena);
}

HdStatus *simt_compile_emulated(const HdBuf *source, HdBuf *out_object) {
    Folder folder;
    HdStatus *status = folder_make(&folder);
    char *text = folder_file(&folder, "cpp"), *object = folder_file(&folder, "o");
    if (!status) status = hd_write_file(text, source->data, source->len);
    if (!status) status = run_compiler((char *[]){"c++", "-std=c++17", "-O1", (char *)simt_emulated_option(), "-ffp-contract=off",
                                                  "-fno-strict-aliasing", "-fvisibility=hidden", "-w", "-fPIC", "-fno-plt", "-c", "-o", object, text, NULL});
    if (!status) status = hd_read_file(object, out_object);
    folder_remove(&folder);
    return status;
}

HdStatus *simt_link_emulated(const HdBuf *objects, size_t count, HdBuf *out_library) {
    Folder folder;
    HdStatus *status = folder_make(&folder);
    char *library = folder_file(&folder, "so");
    HD_VEC(char *) words = {0};
    hd_vec_push(&words, "c++"), hd_vec_push(&words, "-shared"), hd_vec_push(&words, "-o"), hd_vec_push(&words, library);
    for (size_t i = 0; i < count && !status; i++) {
        hd_vec_push(&words, folder_file(&folder, "o"));
        status = hd_write_file(words.data[words.len - 1], objects[i].data, objects[i].len);
    }
    hd_vec_push(&words, NULL);
    if (!status) status = run_compiler(words.data);
    if (!status) status = hd_read_file(library, out_library);
    hd_vec_free(&words);
    folder_remove(&folder);
    return status;
}
