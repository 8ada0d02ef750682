// SPDX-License-Identifier: Apache-2.0
// The language in which models are written: functions that read hyperparameters from a GGUF header and build graph IR.
//
//   static Tensor feed_forward(Model *m, Tensor h, int64_t F, int64_t D) {
//       Tensor gate = linear(m, h, "ffn_gate", F);                       // weight blk.N.ffn_gate.weight [F, D]
//       Tensor up = linear(m, h, "ffn_up", F);
//       return linear(m, mul(m, silu(m, gate), up), "ffn_down", D);
//   }
//
// - A weight is declared where it is used, by name and output width; the rest of its shape follows from the operand. A
//   missing tensor, one of another shape or of a type that cannot serve is an error by name, with both shapes.
// - Between `block(m, i)` and `end_blocks(m)` names get the prefix "blk.i." and operations belong to layer i.
// - The model keeps the first error and ignores all later calls, so a model file has no error handling: numbers read as 1,
//   tensors as none. Every message begins with the path of the file.
// - `X.scale` beside a matrix `X.weight` (NVFP4 files) multiplies the result of every product with it.
// - Of the arguments of one call at most one may be a call that builds something: C does not say which is evaluated first,
//   and the same file has to give the same graph with every compiler.
// - Tensors of the file that no call used are an error in the end, but for patterns named by `ignore`.
//
// Shapes in comments are [slowest, ..., fastest]; T is the number of tokens in a call. Only names, shapes and types are
// read: a file that ends after its header will do. Model files use the short names at the end of this page.
#ifndef HEDDLE_DSL_H
#define HEDDLE_DSL_H

#include "ir/ir.h"
#include "runtime/gguf.h"

typedef struct Model Model;                         // a model being built from one file
typedef struct Tensor { IrValue value; } Tensor;    // none after an error

// ---- builder.c: the model as a whole -------------------------------------------------------------------------

typedef struct DslOptions {
    bool choose_kv;          // kv_dtype is the type of the key/value cache; else f32 when all matrices are F32, f16 otherwise
    IrDtype kv_dtype;        // F32 or F16
    bool probes;             // `probe` adds its tensor to the results
} DslOptions;

// A module named after general.architecture with an empty graph @model. `file` must outlive the model.
Model *dsl_new(const GgufFile *file, const DslOptions *options);
// Ends the model and frees it: the first error, or the module, with a key "fingerprint" (digest of architecture,
// hyperparameters, and names, types and shapes of all tensors used) and "kv.dtype". The graph has passed ir_verify.
HD_MUST_USE HdStatus *dsl_finish(Model *m, IrModule **out_module);
const char *dsl_architecture(const Model *m);
bool dsl_failed(const Model *m);
// Records an error unless there is one already. The text follows "PATH: ".
void dsl_fail(Model *m, HdCode code, const char *fmt, ...) HD_PRINTF(3, 4);
void dsl_block(Model *m, int64_t index);
void dsl_end_blocks(Model *m);
// Results of the graph: always, and only when probes are wanted (then "NAME.INDEX").
void dsl_result(Model *m, const char *name, Tensor x);
void dsl_probe(Model *m, const char *name, int64_t index, Tensor x);
// Keys of the module, for passes and runtime.
void dsl_key_int(Model *m, const char *key, int64_t value);
void dsl_key_f32(Model *m, const char *key, float value);

// ---- hparams.c: hyperparameters, "ARCHITECTURE.KEY" in the file -----------------------------------------------

// A required number of at least 1. There is no default for what the file has to say: a missing key is an error by name.
int64_t dsl_hp_int(Model *m, const char *key);
float dsl_hp_f32(Model *m, const char *key);                                  // required, finite and above 0
// Optional ones; integers may be 0.
int64_t dsl_hp_int_or(Model *m, const char *key, int64_t fallback);
float dsl_hp_f32_or(Model *m, const char *key, float fallback);
bool dsl_hp_bool_or(Model *m, const char *key, bool fallback);
const char *dsl_hp_text_or(Model *m, const char *key, const char *fallback);
// `key`, or `other` when the file has only that one.
const char *dsl_hp_either(Model *m, const char *key, const char *other);
// A required array of at most `capacity` integers that are not negative; gives their count.
int64_t dsl_hp_list(Model *m, const char *key, int64_t capacity, int64_t *out_values);
// One number per block: an array of `blocks` entries (0 allowed), or one number (>= 1) for all. `fallback` (same length) is taken
// when the key is absent; NULL: the key is required. The array lives as long as the model. NULL after an error.
const int64_t *dsl_hp_per_block(Model *m, const char *key, int64_t blocks, const int64_t *fallback);
// One flag per block, NULL when the key is absent (or after an error).
const uint8_t *dsl_hp_flags(Model *m, const char *key, int64_t blocks);
// Fails with "ARCHITECTURE.KEY is VALUE, which must be MUST_BE" unless ok. "{other.key}" there becomes that key and its value.
void dsl_require(Model *m, bool ok, const char *key, const char *must_be);

// ---- weights.c: tensors of the file ----------------------------------------------------------------------------

// Full names ("attn_qkv.weight"), to which the block's prefix is added.
bool dsl_has(const Model *m, const char *name);
const char *dsl_either(const Model *m, const char *name, const char *other);   // `other` when only that one is there
// The height V of a matrix [V, D] that has a row for each token. When the file has a tokenizer, it must have V tokens.
int64_t dsl_vocabulary(Model *m, const char *name);
// Tensors whose full name matches (one * stands for any text) are no part of this model and may be left over.
void dsl_ignore(Model *m, const char *pattern_fmt, ...) HD_PRINTF(2, 3);
// A vector of `count` F32 values.
Tensor dsl_vector(Model *m, const char *name, int64_t count);
// Shape, slowest dimension first; type F32, or any that a matrix may have. `rank` 1..3.
Tensor dsl_weight(Model *m, const char *name, bool f32_only, uint32_t rank, const int64_t *shape);

// ---- ops.c: values ---------------------------------------------------------------------------------------------
// The second operand of add, mul and divide may have 1 where the first has more, or lack leading dimensions.

Tensor dsl_add(Model *m, Tensor a, Tensor b);
Tensor dsl_mul(Model *m, Tensor a, Tensor b);
Tensor dsl_divide(Model *m, Tensor a, Tensor b);
Tensor dsl_sigmoid(Model *m, Tensor x);
Tensor dsl_silu(Model *m, Tensor x);
Tensor dsl_softplus(Model *m, Tensor x);
Tensor dsl_softmax(Model *m, Tensor x);                                        // over the last axis
Tensor dsl_sum(Model *m, Tensor x);                                            // over the last axis, which becomes 1
Tensor dsl_rms_norm(Model *m, Tensor x, const char *name, float eps);          // weight NAME.weight [last axis]
Tensor dsl_l2_norm(Model *m, Tensor x, float eps, float scale);                // x / sqrt(sum(x^2) + eps) * scale
Tensor dsl_heads(Model *m, Tensor x, int64_t count, int64_t width);            // [T, count width] -> [T, count, width]
Tensor dsl_flat(Model *m, Tensor x);                                           // [T, count, width] -> [T, count width]
Tensor dsl_channels(Model *m, Tensor x, int64_t begin, int64_t count);         // of the last axis
Tensor dsl_topk(Model *m, Tensor x, int64_t k, Tensor *out_ids);               // [T, n] -> the k largest [T, k] and their ids

// ---- layers.c: products with weights, rows, and what keeps state ---------------------------------------------

// x [T, K] times NAME.weight [N, K], transposed: [T, N].
Tensor dsl_linear(Model *m, Tensor x, const char *name, int64_t N);
// Each token's experts: x [T, K] or [T, k, K], ids [T, k], NAME.weight [E, N, K]: [T, k, N].
Tensor dsl_expert_linear(Model *m, Tensor x, Tensor ids, const char *name, int64_t E, int64_t N);
Tensor dsl_expert_sum(Model *m, Tensor y, Tensor weights);                     // y [T, k, N], weights [T, k]: [T, N]

// Several products of one x, whose matrices a converter may have joined: when FUSED.weight is there, one product whose
// channels are shared out in this order; else one product each.
typedef struct Projection { const char *name; int64_t width; Tensor *out; } Projection;
void dsl_projections(Model *m, Tensor x, const char *fused, size_t count, const Projection *parts);
void dsl_expert_projections(Model *m, Tensor x, Tensor ids, int64_t E, const char *fused, size_t count,
                            const Projection *parts);

Tensor dsl_embed(Model *m, const char *name, int64_t V, int64_t D);            // the tokens' rows of NAME.weight [V, D]: [T, D]
Tensor dsl_wanted_rows(Model *m, Tensor x);                                    // rows whose logits are wanted: [T, D] -> [R, D]
Tensor dsl_rope(Model *m, Tensor x, int64_t n, float theta);                   // x [T, H, d]: rotates channel i < n/2 by i + n/2
// Stores x [T, H, d] at the tokens' positions in state blk.N.NAME [C, H, d] and gives the state.
Tensor dsl_kv_cache(Model *m, const char *name, Tensor x);
// Causal: q [T, H, d], caches [C, Hkv, d]; query head a reads cache head a / (H / Hkv).
Tensor dsl_attention(Model *m, Tensor q, Tensor keys, Tensor values, float scale);
// Depthwise and causal over tokens: u [T, N], NAME.weight [N, K], tap K-1 on the current token; state blk.N.conv [K-1, N].
Tensor dsl_causal_conv(Model *m, Tensor u, const char *name, int64_t K);
// The gated delta rule: q, k [T, nk, dk], v [T, nv, dv], g, beta [T, nv]; state blk.N.delta [nv, dk, dv]: [T, nv, dv].
// Value head j reads key head j mod nk (`pairing` "mod") or j / (nv / nk) ("div"), as the writer of the file has ordered them.
Tensor dsl_delta_rule(Model *m, Tensor q, Tensor k, Tensor v, Tensor g, Tensor beta, const char *pairing);

// ---- the short names, for model files --------------------------------------------------------------------------
#ifdef DSL_SHORT_NAMES
#define failed dsl_failed
#define fail dsl_fail
#define architecture dsl_architecture
#define block dsl_block
#define end_blocks dsl_end_blocks
#define result dsl_result
#define probe dsl_probe
#define key_int dsl_key_int
#define key_f32 dsl_key_f32
#define hp_int dsl_hp_int
#define hp_f32 dsl_hp_f32
#define hp_int_or dsl_hp_int_or
#define hp_f32_or dsl_hp_f32_or
#define hp_bool_or dsl_hp_bool_or
#define hp_text_or dsl_hp_text_or
#define hp_either dsl_hp_either
#define hp_list dsl_hp_list
#define hp_per_block dsl_hp_per_block
#define hp_flags dsl_hp_flags
#define require dsl_require
#define has dsl_has
#define either dsl_either
#define vocabulary dsl_vocabulary
#define ignore dsl_ignore
#define vector dsl_vector
#define add dsl_add
#define mul dsl_mul
#define divide dsl_divide
#define sigmoid dsl_sigmoid
#define silu dsl_silu
#define softplus dsl_softplus
#define softmax dsl_softmax
#define sum dsl_sum
#define rms_norm dsl_rms_norm
#define l2_norm dsl_l2_norm
#define heads dsl_heads
#define flat dsl_flat
#define channels dsl_channels
#define topk dsl_topk
#define linear dsl_linear
#define expert_linear dsl_expert_linear
#define expert_sum dsl_expert_sum
#define projections dsl_projections
#define expert_projections dsl_expert_projections
#define embed dsl_embed
#define wanted_rows dsl_wanted_rows
#define rope dsl_rope
#define kv_cache dsl_kv_cache
#define attention dsl_attention
#define causal_conv dsl_causal_conv
#define delta_rule dsl_delta_rule
#endif

#endif
