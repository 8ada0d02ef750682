// SPDX-License-Identifier: Apache-2.0
// The models: from the header of a GGUF file to the graph of one call.
#ifndef HEDDLE_MODELS_H
#define HEDDLE_MODELS_H

#include "ir/ir.h"
#include "runtime/gguf.h"

// ---- models.c ------------------------------------------------------------------------------------------------

// AUTO: f32 when all matrices are F32, else f16
typedef enum ModelKv { MODEL_KV_AUTO, MODEL_KV_F32, MODEL_KV_F16 } ModelKv;

typedef struct ModelOptions {
    ModelKv kv;      // type of the key/value cache
    bool probes;     // results "hidden.0" .. "hidden.N", f32 [T, D]: the residual stream before each trunk layer, and at the end
} ModelOptions;

// Builds the module of the model in `file`, which may have been opened without data: one graph @model over T tokens in S
// segments with the result "logits" f32 [R, V], and the keys arch, vocab, hidden, layers, context_length, rope.theta, rope.n,
// kv.dtype, fingerprint. options may be NULL. Errors name the file and the key or tensor that is missing, wrong or left over:
// BAD_DATA, NOT_FOUND, UNSUPPORTED (architecture, tensor type, rope scaling).
HD_MUST_USE HdStatus *model_build(const GgufFile *file, const ModelOptions *options, IrModule **out_module);
// The values of general.architecture that model_build knows, ended by NULL.
const char *const *model_architectures(void);

// ---- one function per family, listed in models.def -------------------------------------------------------------

struct Model;
void qwen3_5(struct Model *m);   // qwen3_5.c

#endif
