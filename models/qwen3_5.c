// SPDX-License-Identifier: Apache-2.0
// Qwen3.5, the text decoder, dense (`qwen35`) and mixture of experts (`qwen35moe`). Qwen3.6 is the same model.
//
// A residual stream x [T, D] passes through layers of two kinds: most mix tokens by Gated DeltaNet, a linear attention with
// a state of constant size; every fourth by gated softmax attention. Each is followed by a feed-forward network.
//
//     x = E[token]
//     for each layer:  x = x + mixer(norm(x))        gated_delta_net or gated_attention
//                      x = x + ffn(norm(x))          swiglu or mixture_of_experts
//     logits = norm(x) W'
//
// GGUF files have been prepared by their converter: norm weights include Qwen's "+ 1", ssm_a is -exp(A_log), and value
// heads are in tiled order (value head j belongs to key head j mod nk), unless the file says otherwise. Nothing of that is
// repeated here.
#include "models/models.h"

#include <math.h>
#include <string.h>

#define DSL_SHORT_NAMES
#include "frontend/dsl.h"

typedef struct Hyper {
    int64_t D, V;                     // hidden size, vocabulary
    int64_t layers, blocks;           // trunk layers; with the multi-token-prediction blocks behind them
    int64_t context;                  // tokens
    float eps;                        // of every RMS norm
    const uint8_t *recurrent;         // [blocks], true: Gated DeltaNet; NULL in older files, where layer i is attention
    int64_t interval;                 // when this divides i + 1
    // gated attention
    const int64_t *H, *Hkv;           // [blocks]: query heads, key and value heads
    int64_t d;                        // channels of a head
    int64_t rotated;                  // of them turn with the position
    float theta, scale;               // base frequency; factor of the scores
    // Gated DeltaNet
    int64_t nk, nv, dk, dv;           // key and value heads, channels of each
    const char *pairing;              // value head j belongs to key head j mod nk, or j div nv / nk
    int64_t K;                        // width of the convolution
    // feed-forward
    int64_t F;                        // dense: width
    int64_t E, top, Fe, Fs;           // experts, how many a token uses, width of one, width of the shared one (E = 0: dense)
} Hyper;

static bool is_recurrent(const Hyper *hp, int64_t layer) {
    return hp->recurrent ? hp->recurrent[layer] : (layer + 1) % hp->interval != 0;
}

// ---- the layers ------------------------------------------------------------------------------------------------

// Softmax attention whose output is gated by the input. Queries and gates alternate by head: q0 g0 q1 g1 ...
static Tensor gated_attention(Model *m, const Hyper *hp, int64_t layer, Tensor h) {
    int64_t H = hp->H[layer], Hkv = hp->Hkv[layer], d = hp->d;
    Tensor qg, q, k, v;
    projections(m, h, "attn_qkv", 3,
                (Projection[]){{"attn_q", H * 2 * d, &qg}, {"attn_k", Hkv * d, &k}, {"attn_v", Hkv * d, &v}});
    qg = heads(m, qg, H, 2 * d);                                               // [T, H, 2d]
    Tensor gate = channels(m, qg, d, d);                                       // [T, H, d]

    q = rms_norm(m, channels(m, qg, 0, d), "attn_q_norm", hp->eps);            // [T, H, d]
    k = rms_norm(m, heads(m, k, Hkv, d), "attn_k_norm", hp->eps);              // [T, Hkv, d]
    q = rope(m, q, hp->rotated, hp->theta);
    k = rope(m, k, hp->rotated, hp->theta);

    Tensor keys = kv_cache(m, "k", k);                                         // [C, Hkv, d]
    Tensor values = kv_cache(m, "v", heads(m, v, Hkv, d));
    Tensor o = attention(m, q, keys, values, hp->scale);                       // [T, H, d]
    o = mul(m, o, sigmoid(m, gate));
    return linear(m, flat(m, o), "attn_output", hp->D);                        // [T, D]
}

// Linear attention: each value head keeps a matrix S [dk, dv], which forgets at rate e^g and is corrected towards v for key k
// with strength beta. A short convolution mixes neighbouring tokens first.
static Tensor gated_delta_net(Model *m, const Hyper *hp, Tensor h) {
    int64_t nk = hp->nk, nv = hp->nv, dk = hp->dk, dv = hp->dv;
    Tensor u = linear(m, h, "attn_qkv", 2 * nk * dk + nv * dv);                // [T, 2 nk dk + nv dv]: q, k, v
    Tensor z = linear(m, h, "attn_gate", nv * dv);                             // [T, nv dv]
    Tensor a = linear(m, h, "ssm_alpha", nv);                                  // [T, nv]
    Tensor b = linear(m, h, "ssm_beta", nv);                                   // [T, nv]

    Tensor c = silu(m, causal_conv(m, u, "ssm_conv1d", hp->K));                // [T, 2 nk dk + nv dv]
    Tensor q = heads(m, channels(m, c, 0, nk * dk), nk, dk);                   // [T, nk, dk]
    Tensor k = heads(m, channels(m, c, nk * dk, nk * dk), nk, dk);             // [T, nk, dk]
    Tensor v = heads(m, channels(m, c, 2 * nk * dk, nv * dv), nv, dv);         // [T, nv, dv]
    q = l2_norm(m, q, 1e-6f, (float)(1 / sqrt((double)dk)));
    k = l2_norm(m, k, 1e-6f, 1);

    Tensor dt = softplus(m, add(m, a, vector(m, either(m, "ssm_dt.bias", "ssm_dt"), nv)));
    Tensor g = mul(m, dt, vector(m, "ssm_a", nv));                             // [T, nv], <= 0
    Tensor o = delta_rule(m, q, k, v, g, sigmoid(m, b), hp->pairing);                // [T, nv, dv]
    o = rms_norm(m, o, "ssm_norm", hp->eps);
    o = mul(m, o, silu(m, heads(m, z, nv, dv)));
    return linear(m, flat(m, o), "ssm_out", hp->D);                            // [T, D]
}

// Names of the matrices of one feed-forward network; gate_up is gate and up in one, as some files have them.
typedef struct Mlp { const char *gate, *up, *down, *gate_up; } Mlp;

static Tensor swiglu(Model *m, Tensor h, int64_t D, int64_t F, const Mlp *mlp) {
    Tensor gate, up;
    projections(m, h, mlp->gate_up, 2, (Projection[]){{mlp->gate, F, &gate}, {mlp->up, F, &up}});
    return linear(m, mul(m, silu(m, gate), up), mlp->down, D);                 // [T, D]
}

// The `top` most probable experts, weighted by their share of the probability, and one expert for all with a gate of its own.
static Tensor mixture_of_experts(Model *m, const Hyper *hp, Tensor h) {
    Tensor ids, gate, up;
    Tensor p = softmax(m, linear(m, h, "ffn_gate_inp", hp->E));                // [T, E]
    Tensor w = topk(m, p, hp->top, &ids);                                      // [T, top], and ids [T, top]
    w = divide(m, w, sum(m, w));

    expert_projections(m, h, ids, hp->E, "ffn_gate_up_exps", 2,
                       (Projection[]){{"ffn_gate_exps", hp->Fe, &gate}, {"ffn_up_exps", hp->Fe, &up}});
    Tensor y = expert_linear(m, mul(m, silu(m, gate), up), ids, "ffn_down_exps", hp->E, hp->D);   // [T, top, D]

    Tensor s = swiglu(m, h, hp->D, hp->Fs, &(Mlp){"ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp", "ffn_gate_up_shexp"});
    s = mul(m, s, sigmoid(m, linear(m, h, "ffn_gate_inp_shexp", 1)));          // [T, D] by [T, 1]
    return add(m, expert_sum(m, y, w), s);
}

static Tensor feed_forward(Model *m, const Hyper *hp, Tensor h) {
    if (hp->E) return mixture_of_experts(m, hp, h);
    return swiglu(m, h, hp->D, hp->F, &(Mlp){"ffn_gate", "ffn_up", "ffn_down", "ffn_gate_up"});
}

// ---- the decoder -----------------------------------------------------------------------------------------------

static void decoder(Model *m, const Hyper *hp) {
    Tensor x = embed(m, "token_embd", hp->V, hp->D);                           // [T, D]
    for (int64_t i = 0; i < hp->layers; i++) {
        probe(m, "hidden", i, x);
        block(m, i);
        Tensor h = rms_norm(m, x, "attn_norm", hp->eps);
        x = add(m, x, is_recurrent(hp, i) ? gated_delta_net(m, hp, h) : gated_attention(m, hp, i, h));
        x = add(m, x, feed_forward(m, hp, rms_norm(m, x, "post_attention_norm", hp->eps)));
        end_blocks(m);
    }
    probe(m, "hidden", hp->layers, x);
    Tensor h = rms_norm(m, wanted_rows(m, x), "output_norm", hp->eps);         // [R, D]
    const char *head = has(m, "output.weight") ? "output" : "token_embd";      // tied: the embedding is the head
    result(m, "logits", linear(m, h, head, hp->V));                            // [R, V]
}

// ---- hyperparameters -------------------------------------------------------------------------------------------

static void read_layers(Model *m, Hyper *hp) {
    hp->blocks = hp_int(m, "block_count");
    require(m, hp->blocks <= 512, "block_count", "at most 512");
    int64_t extra = hp_int_or(m, "nextn_predict_layers", 0);
    require(m, extra < hp->blocks, "nextn_predict_layers", "less than {block_count}");
    hp->layers = hp->blocks - extra;
    hp->interval = hp_int_or(m, "full_attention_interval", 4);
    require(m, hp->interval > 0, "full_attention_interval", "at least 1");
    hp->recurrent = hp_flags(m, "attention.recurrent_layers", hp->blocks);
}

static void read_attention(Model *m, Hyper *hp) {
    hp->H = hp_per_block(m, "attention.head_count", hp->blocks, NULL);
    hp->Hkv = hp_per_block(m, "attention.head_count_kv", hp->blocks, hp->H);
    hp->d = hp_int(m, "attention.key_length");
    int64_t value_length = hp_int_or(m, "attention.value_length", hp->d);
    require(m, value_length == hp->d, "attention.value_length", "equal to {attention.key_length}");
    for (int64_t i = 0; i < hp->layers && !failed(m); i++) {
        if (is_recurrent(hp, i)) continue;                                     // other writers give these no heads
        require(m, hp->Hkv[i] > 0, "attention.head_count_kv", "at least 1 in every attention layer");
        require(m, hp->H[i] > 0 && hp->H[i] % HD_MAX(hp->Hkv[i], 1) == 0, "attention.head_count",
                "a multiple of {attention.head_count_kv} in every attention layer");
    }
    float scale = hp_f32_or(m, "attention.scale", 0);
    hp->scale = scale != 0 ? scale : (float)(1 / sqrt((double)hp->d));
}

// Text has one position per token, so the sections that share frequencies among time, height and width change nothing; they
// still have to fit, or the file is not what it says.
static void read_rope(Model *m, Hyper *hp) {
    const char *scaling = hp_text_or(m, "rope.scaling.type", "none");
    if (strcmp(scaling, "none") != 0)
        fail(m, HD_UNSUPPORTED, "%s.rope.scaling.type %s is not supported (supported: none)", architecture(m), scaling);
    hp->theta = hp_f32(m, "rope.freq_base");
    hp->rotated = hp_int(m, "rope.dimension_count");
    require(m, hp->rotated % 2 == 0 && hp->rotated <= hp->d, "rope.dimension_count", "even and at most {attention.key_length}");
    const char *key = hp_either(m, "rope.dimension_sections", hp_either(m, "rope.mrope_section", "mrope_sections"));
    int64_t sections[4] = {0}, count = hp_list(m, key, 4, sections);
    require(m, count >= 3 && sections[0] + sections[1] + sections[2] == hp->rotated / 2, key,
            "three or four numbers of which the first three add up to half of {rope.dimension_count}");
}

static void read_delta_net(Model *m, Hyper *hp) {
    hp->K = hp_int(m, "ssm.conv_kernel");
    require(m, hp->K >= 2, "ssm.conv_kernel", "at least 2");
    hp->dk = hp_int(m, "ssm.state_size");
    hp->nk = hp_int(m, "ssm.group_count");
    hp->nv = hp_int(m, "ssm.time_step_rank");
    int64_t inner = hp_int(m, "ssm.inner_size");
    hp->pairing = hp_bool_or(m, "ssm.v_head_reordered", true) ? "mod" : "div";   // by other writers, which may leave heads in order
    require(m, hp->nv % hp->nk == 0, "ssm.time_step_rank", "a multiple of {ssm.group_count}");
    require(m, inner % hp->nv == 0, "ssm.inner_size", "a multiple of {ssm.time_step_rank}");
    hp->dv = inner / hp->nv;
    require(m, hp->dv == hp->dk, "ssm.inner_size", "{ssm.time_step_rank} times {ssm.state_size}");
}

static void read_feed_forward(Model *m, Hyper *hp) {
    if (strcmp(architecture(m), "qwen35") == 0) {
        hp->F = hp_int(m, "feed_forward_length");
        return;
    }
    hp->E = hp_int(m, "expert_count");
    require(m, hp->E <= 1024, "expert_count", "at most 1024");
    hp->top = hp_int(m, "expert_used_count");
    require(m, hp->top <= hp->E, "expert_used_count", "at most {expert_count}");
    hp->Fe = hp_int(m, "expert_feed_forward_length");
    hp->Fs = hp_int(m, "expert_shared_feed_forward_length");
}

static Hyper read_hyperparameters(Model *m) {
    Hyper hp = {0};
    hp.context = hp_int(m, "context_length");
    hp.D = hp_int(m, "embedding_length");
    hp.V = vocabulary(m, "token_embd.weight");
    hp.eps = hp_f32(m, "attention.layer_norm_rms_epsilon");
    read_layers(m, &hp);
    read_attention(m, &hp);
    read_rope(m, &hp);
    read_delta_net(m, &hp);
    read_feed_forward(m, &hp);
    return hp;
}

// ---- the file --------------------------------------------------------------------------------------------------

// Behind the trunk a file may hold blocks that predict further tokens (multi-token prediction). A file of only such blocks is
// no model, and one that does not count them would have them run as layers.
static void check_prediction_blocks(Model *m, const Hyper *hp) {
    int trunk = 0, predicting = 0;
    for (int i = 0; i < hp->blocks; i++) {
        block(m, i);
        bool predicts = has(m, "nextn.eh_proj.weight");
        if (predicts && i < hp->layers)
            fail(m, HD_BAD_DATA, "tensor blk.%d.nextn.eh_proj.weight is of a prediction block, which %s.nextn_predict_layers "
                 "does not count", i, architecture(m));
        predicting += predicts;
        trunk += i < hp->layers && has(m, "attn_norm.weight");
    }
    end_blocks(m);
    if (predicting > 0 && trunk == 0)
        fail(m, HD_UNSUPPORTED, "this file holds only the prediction block of a model and none of its %d layers: give the file "
             "that has them (its name does not begin with mtp-)", (int)hp->layers);
}

// What other writers and other uses put into the same file.
static void ignore_the_rest(Model *m, const Hyper *hp) {
    ignore(m, "v.*");                                                          // vision tower
    ignore(m, "mm.*");
    ignore(m, "*.input_scale");                                                // for 4-bit activations
    ignore(m, "mtp.*");
    for (int64_t i = hp->layers; i < hp->blocks; i++) ignore(m, "blk.%d.*", (int)i);
}

static void set_keys(Model *m, const Hyper *hp) {
    key_int(m, "vocab", hp->V);
    key_int(m, "hidden", hp->D);
    key_int(m, "layers", hp->layers);
    key_int(m, "context_length", hp->context);
    key_f32(m, "rope.theta", hp->theta);
    key_int(m, "rope.n", hp->rotated);
}

void qwen3_5(Model *m) {
    Hyper hp = read_hyperparameters(m);
    if (failed(m)) return;
    check_prediction_blocks(m, &hp);
    ignore_the_rest(m, &hp);
    set_keys(m, &hp);
    decoder(m, &hp);
}
