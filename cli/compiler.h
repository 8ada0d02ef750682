// SPDX-License-Identifier: Apache-2.0
// The compiler as one call: what libheddle-compiler exports. The `heddle` program opens that library only for commands that compile.
#ifndef HEDDLE_COMPILER_H
#define HEDDLE_COMPILER_H

#include "runtime/base/base.h"

typedef struct HeddleCompileOptions {
    const char *target;                  // "cpu:native" when NULL; several, comma separated, best first: a file of variants
    const struct RtFacts *devices;       // what the files say that `target` names as @FILE, in this order; unused bytes are zero
    size_t device_count;
    const char *const *loads;            // --load-pass: files with passes, which the other options may then name
    size_t load_count;
    const char *passes;                  // --passes; NULL: the target's default pipeline
    const char *const *sets;             // --set, in order
    size_t set_count;
    const char *kv_type;                 // "f32", "f16"; NULL: f32 when all matrices are F32, else f16
    const char *layout;                  // "native", "packed", "auto"; NULL: the pass's default
    const char *activations;             // "auto", "f32"; NULL: the pass's default
    const char *numerics;                // "ordered", "bounded"; NULL: what the pipeline gives
    const char *const *requires;         // --require: "RULE:N"
    size_t require_count;
    const char *model;                   // NULL, or: the path is that of a graph in text form, of the model in this GGUF file
    const char *start_from;              // of a graph: the pass of the pipeline to begin with
    bool probes;                         // results hidden.0 .. hidden.N, for per-layer comparison
    const char *dump_dir;                // every stage as numbered files; NULL: none
    const char *cache_dir;               // of kernel objects; NULL: none
    uint32_t jobs;                       // 0: 2; the result does not depend on it
    void (*progress)(uint64_t done, uint64_t all);   // kernels compiled, from the calling thread; NULL: nobody looks
    const HdLog *log;
} HeddleCompileOptions;

// Checks options without opening a file: target, passes, sets, words. USAGE names what is wrong and lists what would be right.
HD_MUST_USE HdStatus *heddle_compile_check(const HeddleCompileOptions *options);
// Compiles the model whose header is in the GGUF file `path` (its tensor data are not read, and may be missing) to the bytes of a
// module, which holds a variant for each target. With options->model `path` is a .hir file: a graph of that model, as it is or from a pass of the pipeline on.
HD_MUST_USE HdStatus *heddle_compile(const char *path, const HeddleCompileOptions *options, HdBuf *out_module);
// The header's content (keys, tensor infos), the resolved target, the pipeline with all options, the contents of loaded passes and the compiler's version: equal keys give
// equal modules.
HD_MUST_USE HdStatus *heddle_compile_key(const char *path, const HeddleCompileOptions *options, HdDigest *out_key);
// The reference interpreter over a model: logits of `tokens` [count] in one call, rows [count][vocab], to be freed by the caller with free().
HD_MUST_USE HdStatus *heddle_interpret(const char *path, const HeddleCompileOptions *options, const int32_t *tokens, uint32_t count,
                                       float **out_logits, uint32_t *out_vocab);
// `heddle opt`: passes over a graph in text form, or over the graph of a model.
typedef struct HeddleOptOptions {
    const char *input;                   // name of the text, for messages; without a text the path of a GGUF file
    const char *text;                    // a module in text form; NULL: the model in the GGUF file
    size_t text_len;
    const char *target, *kv_type;        // as in HeddleCompileOptions; one target
    const struct RtFacts *devices;       // of "@FILE"
    size_t device_count;
    const char *model;                   // of a text: the GGUF file whose weights `verify` takes; NULL: random ones
    const char *const *loads; size_t load_count;   // as in HeddleCompileOptions
    const char *passes;                  // --passes; without it and without any of the following five a GGUF gets the default pipeline, a text none
    const char *const *sets; size_t set_count;
    const char *const *disabled; size_t disabled_count;
    const char *start_from, *stop_after;
    const char *class_name;              // this graph alone is written and reported; NULL: all
    const char *stage;                   // begin with the model as it is after this pass of the default pipeline; then, as for a text, nothing runs unasked
    const char *layers;                  // "A:B": layers A to B-1 only
    const char *const *print_after; size_t print_after_count;   // passes, or "all": graphs to stderr
    const char *const *requires; size_t require_count;          // "RULE:N"
    const char *explain;                 // NULL: no; "": everything; else a node or a rule
    bool diff, cost, timing, verify, bisect;
    bool json, colour;                   // how the report is printed
    bool html, dot;                      // pictures: a page, and text for Graphviz
    int64_t context;                     // positions that costs are for; 0: 4096
    const char *device;                  // a known device or a device file, to predict times; NULL: none
} HeddleOptOptions;
// What comes of it, in buffers of the caller: the module after the passes, as text; the report, also where a requirement or the verification failed; the pictures.
// Report and pictures are empty when they were not asked for.
typedef struct HeddleOptResult { HdBuf ir, report, html, dot; } HeddleOptResult;
HD_MUST_USE HdStatus *heddle_opt(const HeddleOptOptions *options, HeddleOptResult *out_result);
// What there is to say of a pass, of all passes where it is NULL; those in the files `loads` are among them.
HD_MUST_USE HdStatus *heddle_passes(const char *pass, const char *const *loads, size_t load_count, bool colour, HdBuf *out_text);
// What the compiler is made of: "compiler: LLVM 22.1.8; back ends: cpu, vulkan, cuda".
void heddle_compiler_version(HdBuf *out_text);
// Names of targets, one per line, with what each means; "* " in front of those that the devices of the list, this machine's, run.
void heddle_list_targets(const struct RtFacts *list, uint32_t count, HdBuf *out_text);

#endif
