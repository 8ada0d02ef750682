// SPDX-License-Identifier: Apache-2.0
// A program made by hand over tests/data/hand_kernels.c (or hand_kernels.comp, for a GPU): a tiny model with everything a module
// can hold (a cache, a recurrent state with planes, a packed weight, a rotary table, three step classes, a result per token, stages
// that need barriers), and its answers computed by plain C in another order of work.
#ifndef HEDDLE_TESTS_HAND_PROGRAM_H
#define HEDDLE_TESTS_HAND_PROGRAM_H

#include "codegen/codegen.h"
#include "runtime/gguf.h"
#include "runtime/heddle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HAND_VOCAB = 16, HAND_DIM = 8, HAND_ROPE = 4, HAND_WIDE = 64, HAND_LINKS = 12, HAND_CONTEXT = 64, HAND_T = 8, HAND_S = 3,
      HAND_R = 4 };
#define HAND_THETA 10000.0f

typedef struct HandOptions {
    uint64_t big_bytes;          // adds a packed weight "big" of as many bytes (a multiple of 64 KiB); 0: none
    bool cheap;                  // states no cost worth a second thread; else every launch claims to move 16 MiB
    const IrTarget *target;      // NULL: cpu:x86-64-v2, vulkan:hand, or cuda:hand
    bool vulkan;                 // the kernels are SPIR-V
    int64_t top;                 // adds a result "top" of as many runs, which begin at the number before the logits: in the middle of others; 0: none
    bool cuda;                   // those of the CPU as kernels of the stand-in for CUDA's driver (tests/support/fake_cuda.c)
} HandOptions;

// ---- the program -----------------------------------------------------------------------------------------------

enum { HAND_PACK, HAND_COPY, HAND_EMBED, HAND_APPEND, HAND_RECUR, HAND_MIX, HAND_HEAD, HAND_SEED, HAND_CHAIN,
      HAND_KERNELS_COUNT };
enum { HAND_W_EMBED, HAND_W_OUT, HAND_W_PACKED, HAND_W_BIG, HAND_W_BIG_PACKED };
enum { HAND_S_CACHE, HAND_S_WINDOW };

static inline uint32_t hand_expr(CgProgram *program, IrExpr expr)
{
    hd_vec_push(&program->exprs, expr);
    return (uint32_t)program->exprs.len - 1;
}

typedef struct HandLaunch {
    uint32_t kernel;
    int32_t stage;
    IrExpr units;
    uint32_t scratch;
    CgArg args[8]; uint32_t count;
} HandLaunch;

static inline void hand_launch(CgProgram *program, CgClass *class, const HandOptions *options, const HandLaunch *launch)
{
    CgLaunch row = {.kernel = launch->kernel, .stage = launch->stage, .layer = launch->stage - 1,
                    .first_arg = (uint32_t)program->args.len, .arg_count = launch->count};
    row.units = hand_expr(program, launch->units);
    row.scratch = launch->scratch;
    row.bytes = hand_expr(program, (IrExpr){.constant = options->cheap ? 64 : 16 << 20});
    row.flops = hand_expr(program, (IrExpr){.constant = 8});
    for (uint32_t i = 0; i < launch->count; i++) hd_vec_push(&program->args, launch->args[i]);
    hd_vec_push(&class->launches, row);
}

#define HAND_ARENA(offset) {HEDDLE_ARG_ARENA, (offset)}
#define HAND_INPUT(name) {HEDDLE_ARG_INPUT, HEDDLE_INPUT_##name}
#define HAND_STATE(part, row) {HEDDLE_ARG_##part, (row)}
#define HAND_WEIGHT(row) {HEDDLE_ARG_WEIGHT, (row)}

static inline void hand_class(CgProgram *program, const HandOptions *options, const char *name, int64_t t, int64_t s, int64_t r)
{
    CgClass class = {.name = hd_xstrdup(name), .bound = {{t, s, 1, r}}};
    const int64_t x = 0, y = x + t * HAND_DIM * 4, z = y + t * HAND_DIM * 4, logits = z + t * HAND_DIM * 4,
        a = logits + r * HAND_VOCAB * 4, b = a + t * HAND_WIDE * 4;
    class.arena_bytes = (uint64_t)(b + t * HAND_WIDE * 4);
    const IrExpr tokens = {.coef = {1, 0, 0, 0}}, segments = {.coef = {0, 1, 0, 0}}, elements = {.coef = {HAND_WIDE, 0, 0, 0}};
    const IrExpr head = {.constant = 0, .ceils = 1, .ceil = {{HAND_VOCAB, 1, IR_SYM_R}}};
    const HandLaunch launches[] = {
        {HAND_EMBED, 0, tokens, 0, {HAND_INPUT(TOKENS), HAND_WEIGHT(HAND_W_EMBED), HAND_ARENA(x)}, 3},
        {HAND_SEED, 0, elements, 0, {HAND_INPUT(TOKENS), HAND_ARENA(a)}, 2},
        {HAND_APPEND, 1, tokens, 0, {HAND_ARENA(x), HAND_STATE(STATE, HAND_S_CACHE), HAND_STATE(STATE_SLOT, HAND_S_CACHE),
                                     HAND_INPUT(TOKEN_INFO)}, 4},
        {HAND_RECUR, 1, segments, 64, {HAND_ARENA(x), HAND_STATE(STATE, HAND_S_WINDOW), HAND_STATE(STATE_SLOT, HAND_S_WINDOW),
                                       HAND_STATE(STATE_PLANE, HAND_S_WINDOW),
                                       HAND_INPUT(SEGMENTS), HAND_ARENA(y)}, 6},
        {HAND_MIX, 2, tokens, 96, {HAND_STATE(STATE, HAND_S_CACHE), HAND_STATE(STATE_SLOT, HAND_S_CACHE),
                                   HAND_INPUT(TOKEN_INFO), HAND_ARENA(y), HAND_INPUT(ROPE),
                                   HAND_ARENA(z), {HEDDLE_ARG_STATUS, 0}}, 7},
        {HAND_HEAD, 3, head, 0, {HAND_ARENA(z), HAND_WEIGHT(HAND_W_PACKED), HAND_INPUT(ROWS), HAND_ARENA(logits)}, 4},
    };
    for (size_t i = 0; i < HD_COUNT(launches); i++) hand_launch(program, &class, options, &launches[i]);
    uint32_t wide = hand_expr(program, (IrExpr){.constant = HAND_WIDE});
    for (int link = 0; link < HAND_LINKS; link++) {
        HandLaunch launch = {HAND_CHAIN, 4 + link, elements, 0, {HAND_ARENA(link % 2 ? b : a), HAND_ARENA(link % 2 ? a : b),
                                                                 {HEDDLE_ARG_EXPR, wide}}, 3};
        hand_launch(program, &class, options, &launch);
    }
    const IrType type_logits = {IR_F32, IR_LAYOUT_NATIVE, 2, {IR_DIM_R, HAND_VOCAB}},
        type_chain = {IR_F32, IR_LAYOUT_NATIVE, 2, {IR_DIM_T, HAND_WIDE}};
    hd_vec_push(&class.results, ((CgResult){hd_xstrdup("logits"), logits, type_logits,
                                            hand_expr(program, (IrExpr){.coef = {0, 0, 0, 1}})}));
    hd_vec_push(&class.results, ((CgResult){hd_xstrdup("chain"), HAND_LINKS % 2 ? b : a, type_chain,
                                            hand_expr(program, tokens)}));
    const IrType type_top = {IR_F32, IR_LAYOUT_NATIVE, 3, {IR_DIM_R, options->top, 1 + HAND_VOCAB}};
    if (options->top) hd_vec_push(&class.results, ((CgResult){hd_xstrdup("top"), logits - 4, type_top, hand_expr(program, (IrExpr){.coef = {0, 0, 0, 1}})}));
    hd_vec_push(&program->classes, class);
}

static inline void hand_load(CgProgram *program, const HandOptions *options)
{
    CgClass class = {.name = hd_xstrdup("load"), .bound = {{1, 1, 1, 1}}};
    HandLaunch pack = {HAND_PACK, 0, {.constant = HAND_DIM}, 0, {HAND_WEIGHT(HAND_W_OUT), HAND_WEIGHT(HAND_W_PACKED)}, 2};
    hand_launch(program, &class, options, &pack);
    HandLaunch copy = {HAND_COPY, 0, {.constant = (int64_t)(options->big_bytes >> 16)}, 0,
                       {HAND_WEIGHT(HAND_W_BIG), HAND_WEIGHT(HAND_W_BIG_PACKED)}, 2};
    if (options->big_bytes) hand_launch(program, &class, options, &copy);
    hd_vec_push(&program->classes, class);
}

static inline void hand_weight(CgProgram *program, const char *name, int64_t rows, int64_t columns, IrLayout layout,
                               uint64_t packed)
{
    CgWeight weight = {hd_xstrdup(name), {IR_F32, layout, 2, {rows, columns}}, packed};
    hd_vec_push(&program->weights, weight);
}

// Appends a kernel's SPIR-V to the object.
static inline void hand_spirv(CgProgram *program, CgKernel *kernel, uint32_t lanes)
{
    char path[4096];
    HdBuf code = {0};
    snprintf(path, sizeof path, "%s/%s.spv", HAND_SPIRV, kernel->name);
    hd_status_free(hd_read_file(path, &code));
    kernel->offset = program->object.len, kernel->bytes = code.len, kernel->lanes = lanes;
    hd_buf_bytes(&program->object, code.data, code.len);
    hd_buf_free(&code);
}

static inline void hand_kernels(CgProgram *program, const HandOptions *options)
{
    static const struct { const char *name; uint32_t lanes; } kernels[HAND_KERNELS_COUNT] = {   // lanes: as hand_kernels.comp has them
        {"hand_pack", 16}, {"hand_copy", 64}, {"hand_embed", 8}, {"hand_append", 8}, {"hand_recur", 8}, {"hand_mix", 8},
        {"hand_head", 1}, {"hand_seed", 1}, {"hand_chain", 1}};
    for (int i = 0; i < HAND_KERNELS_COUNT; i++) {
        CgKernel kernel = {.name = hd_xstrdup(kernels[i].name), .digest = hd_digest(kernels[i].name, strlen(kernels[i].name))};
        if (options->vulkan) hand_spirv(program, &kernel, kernels[i].lanes);
        hd_vec_push(&program->kernels, kernel);
    }
    if (!options->vulkan) hd_status_free(hd_read_file(HAND_KERNELS, &program->object));
    while (options->cuda && program->object.len % 4) hd_buf_bytes(&program->object, "", 1);
    for (int i = 0; options->cuda && i < HAND_KERNELS_COUNT; i++)      // all of them in one piece of code
        program->kernels.data[i].bytes = program->object.len, program->kernels.data[i].lanes = kernels[i].lanes;
}

static inline CgProgram *hand_program(const HandOptions *options)
{
    CgProgram *program = hd_xcalloc(1, sizeof *program);
    hand_kernels(program, options);
    hand_weight(program, "embed", HAND_VOCAB, HAND_DIM, IR_LAYOUT_NATIVE, 0);
    hand_weight(program, "out", HAND_VOCAB, HAND_DIM, IR_LAYOUT_NATIVE, 0);
    hand_weight(program, "out", HAND_VOCAB, HAND_DIM, IR_LAYOUT_R16, HAND_VOCAB * HAND_DIM * 4);
    if (options->big_bytes) {
        hand_weight(program, "big", (int64_t)(options->big_bytes >> 12), 1024, IR_LAYOUT_NATIVE, 0);
        hand_weight(program, "big", (int64_t)(options->big_bytes >> 12), 1024, IR_LAYOUT_R16, options->big_bytes);
    }
    hd_vec_push(&program->states, ((CgState){hd_xstrdup("cache"), IR_STATE_KV, IR_F32, HAND_DIM * 4}));
    hd_vec_push(&program->states, ((CgState){hd_xstrdup("window"), IR_STATE_CONV, IR_F32, HAND_DIM * 4}));
    hand_load(program, options);
    hand_class(program, options, "decode", 1, 1, 1);
    hand_class(program, options, "small", 4, 2, 4);
    hand_class(program, options, "prefill", HAND_T, HAND_S, HAND_R);
    return program;
}

static inline IrModule *hand_graph(void)
{
    IrModule *module = ir_module_new("hand");
    ir_module_set_key(module, "arch", "hand");
    ir_module_set_key(module, "context_length", "64");
    IrGraph *graph = ir_graph_new(module, "decode");
    ir_input(graph, IR_INPUT_ROPE, (IrType){IR_F32, IR_LAYOUT_NATIVE, 2, {IR_DIM_T, HAND_ROPE}}, HAND_THETA);
    return module;
}

// The module's bytes. `model`: the weight file's header, or NULL.
static inline HdStatus *hand_module(const HandOptions *options, const GgufFile *model, HdBuf *out_bytes)
{
    static const HandOptions defaults;
    CgProgram *program = hand_program(options ? options : &defaults);
    IrModule *graph = hand_graph();
    const IrTarget plain = {.name = "cpu:x86-64-v2", .features = 1u << IR_FEATURE_SSE42};
    const IrTarget vulkan = {.name = "vulkan:hand"}, cuda = {.name = "cuda:hand"};
    const IrTarget *target = !options ? &plain : options->target ? options->target : options->vulkan ? &vulkan : options->cuda ? &cuda : &plain;
    CgModuleInfo info = {.pipeline = "by hand", .producer = "test 1", .model = model};
    HdStatus *status = cg_module_write(program, graph, target, &info, out_bytes);
    ir_module_free(graph);
    cg_program_free(program);
    return status;
}

// ---- weights ---------------------------------------------------------------------------------------------------

typedef struct HandWeights { float embed[HAND_VOCAB][HAND_DIM], out[HAND_VOCAB][HAND_DIM]; } HandWeights;

static inline void hand_weights(HandWeights *weights, uint32_t seed)
{
    float *values = &weights->embed[0][0];
    for (size_t i = 0; i < sizeof *weights / sizeof(float); i++) {
        seed = seed * 1664525u + 1013904223u;
        values[i] = (float)(int32_t)(seed >> 8) / (float)(1 << 23) - 1.0f;
    }
}

static inline HdStatus *hand_write_weights(const char *path, const HandWeights *weights, uint32_t context, uint64_t big_bytes)
{
    GgufWriter *writer = gguf_writer_new("hand");
    uint8_t *big = big_bytes ? hd_xcalloc(big_bytes, 1) : NULL;
    for (uint64_t i = 0; i < big_bytes; i += 8) memcpy(big + i, &i, 8);
    gguf_writer_u32(writer, "hand.context_length", context);
    gguf_writer_f32(writer, "hand.rope.freq_base", HAND_THETA);
    gguf_writer_tensor(writer, "embed", GGML_F32, 2, (const uint64_t[]){HAND_DIM, HAND_VOCAB}, weights->embed);
    gguf_writer_tensor(writer, "out", GGML_F32, 2, (const uint64_t[]){HAND_DIM, HAND_VOCAB}, weights->out);
    if (big_bytes) gguf_writer_tensor(writer, "big", GGML_F32, 2, (const uint64_t[]){1024, big_bytes >> 12}, big);
    HdStatus *status = gguf_writer_save(writer, path);
    gguf_writer_free(writer);
    free(big);
    return status;
}

// ---- the answers -----------------------------------------------------------------------------------------------

static inline float hand_rope(uint32_t position, int d)
{
    int i = d % (HAND_ROPE / 2);
    double angle = position * pow((double)HAND_THETA, -2.0 * i / HAND_ROPE);
    return d % HAND_ROPE < HAND_ROPE / 2 ? (float)cos(angle) : (float)sin(angle);
}

// Logits after tokens[0..count-1], from the beginning.
static inline void hand_logits(const HandWeights *weights, const int32_t *tokens, uint32_t count, float out_logits[HAND_VOCAB])
{
    float z[HAND_DIM];
    for (int d = 0; d < HAND_DIM; d++) {
        double sum = 0;
        float w = 0;
        for (uint32_t p = 0; p < count; p++) {
            float x = weights->embed[tokens[p]][d];
            sum += (double)x / (double)(count - p);
            w = w * 0.5f + x;
        }
        z[d] = (float)sum + w + hand_rope(count - 1, d);
    }
    for (int v = 0; v < HAND_VOCAB; v++) {
        float sum = 0;
        for (int d = 0; d < HAND_DIM; d++) sum += z[d] * weights->out[v][d];
        out_logits[v] = sum;
    }
}

static inline void hand_chain_row(int32_t token, float out_row[HAND_WIDE])
{
    float now[HAND_WIDE], next[HAND_WIDE];
    for (int u = 0; u < HAND_WIDE; u++) now[u] = (float)(token + u);
    for (int link = 0; link < HAND_LINKS; link++) {
        for (int u = 0; u < HAND_WIDE; u++) next[u] = (now[u] + now[(u + 1) % HAND_WIDE]) * 0.5f;
        memcpy(now, next, sizeof now);
    }
    memcpy(out_row, now, sizeof now);
}

#endif
