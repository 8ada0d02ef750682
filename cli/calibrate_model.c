// SPDX-License-Identifier: Apache-2.0
// The models that `heddle calibrate` runs. A mixture of experts has all the kernels: those of attention, the delta net, plain products (of the shared expert too) and experts.
#include "cli/calibrate.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { KERNEL = 4, VOCAB = 512, EXPERTS = 8, USED = 2 };
static const struct Shape {
    uint64_t hidden, heads, cache_heads, head, key_heads, value_heads, state, expert;
} shapes[CALIBRATE_SIZES] = {{256, 4, 2, 64, 2, 4, 64, 256}, {1024, 8, 2, 256, 16, 16, 128, 512}};

typedef struct Making {
    GgufWriter *gguf;
    const struct Shape *shape;
    const void *zeros;                   // as large as the largest tensor
    uint32_t layer;
    GgmlType type;                       // of the layer's matrices
} Making;

static void put(Making *m, const char *name, GgmlType type, uint32_t n_dims, const uint64_t *ne)
{
    char full[64];
    if (m->layer == UINT32_MAX) snprintf(full, sizeof full, "%s", name);
    else snprintf(full, sizeof full, "blk.%u.%s", m->layer, name);
    gguf_writer_tensor(m->gguf, full, type, n_dims, ne, m->zeros);
}

static void vector(Making *m, const char *name, uint64_t length) { put(m, name, GGML_F32, 1, &length); }
static void matrix(Making *m, const char *name, uint64_t rows, uint64_t columns) { put(m, name, m->type, 2, (const uint64_t[]){columns, rows}); }
static void experts(Making *m, const char *name, uint64_t rows, uint64_t columns) { put(m, name, m->type, 3, (const uint64_t[]){columns, rows, EXPERTS}); }

static void attention(Making *m)
{
    const struct Shape *s = m->shape;
    matrix(m, "attn_q.weight", s->heads * 2 * s->head, s->hidden);
    matrix(m, "attn_k.weight", s->cache_heads * s->head, s->hidden);
    matrix(m, "attn_v.weight", s->cache_heads * s->head, s->hidden);
    matrix(m, "attn_output.weight", s->hidden, s->heads * s->head);
    vector(m, "attn_q_norm.weight", s->head);
    vector(m, "attn_k_norm.weight", s->head);
}

static void delta_net(Making *m)
{
    const struct Shape *s = m->shape;
    uint64_t inner = s->value_heads * s->state, channels = 2 * s->key_heads * s->state + inner;
    matrix(m, "attn_qkv.weight", channels, s->hidden);
    matrix(m, "attn_gate.weight", inner, s->hidden);
    matrix(m, "ssm_alpha.weight", s->value_heads, s->hidden);
    matrix(m, "ssm_beta.weight", s->value_heads, s->hidden);
    put(m, "ssm_conv1d.weight", GGML_F32, 2, (const uint64_t[]){KERNEL, channels});
    vector(m, "ssm_a", s->value_heads);
    vector(m, "ssm_dt.bias", s->value_heads);
    vector(m, "ssm_norm.weight", s->state);
    matrix(m, "ssm_out.weight", s->hidden, inner);
}

static void feed_forward(Making *m)
{
    const struct Shape *s = m->shape;
    put(m, "ffn_gate_inp.weight", GGML_F32, 2, (const uint64_t[]){s->hidden, EXPERTS});
    put(m, "ffn_gate_inp_shexp.weight", GGML_F32, 2, (const uint64_t[]){s->hidden, 1});
    experts(m, "ffn_gate_exps.weight", s->expert, s->hidden);
    experts(m, "ffn_up_exps.weight", s->expert, s->hidden);
    experts(m, "ffn_down_exps.weight", s->hidden, s->expert);
    matrix(m, "ffn_gate_shexp.weight", s->expert, s->hidden);
    matrix(m, "ffn_up_shexp.weight", s->expert, s->hidden);
    matrix(m, "ffn_down_shexp.weight", s->hidden, s->expert);
}

static void keys(Making *m, uint32_t layers)
{
    const struct Shape *s = m->shape;
    const struct { const char *key; uint64_t value; } numbers[] = {
        {"block_count", layers}, {"context_length", 262144}, {"embedding_length", s->hidden}, {"full_attention_interval", 4},
        {"attention.head_count", s->heads}, {"attention.head_count_kv", s->cache_heads}, {"attention.key_length", s->head},
        {"attention.value_length", s->head}, {"rope.dimension_count", s->head / 4}, {"ssm.conv_kernel", KERNEL}, {"ssm.state_size", s->state},
        {"ssm.group_count", s->key_heads}, {"ssm.time_step_rank", s->value_heads}, {"ssm.inner_size", s->value_heads * s->state},
        {"expert_count", EXPERTS}, {"expert_used_count", USED}, {"expert_feed_forward_length", s->expert},
        {"expert_shared_feed_forward_length", s->expert}};
    char key[64];
    for (size_t i = 0; i < HD_COUNT(numbers); i++) {
        snprintf(key, sizeof key, "qwen35moe.%s", numbers[i].key);
        gguf_writer_u32(m->gguf, key, (uint32_t)numbers[i].value);
    }
    gguf_writer_f32(m->gguf, "qwen35moe.attention.layer_norm_rms_epsilon", 1e-6f);
    gguf_writer_f32(m->gguf, "qwen35moe.rope.freq_base", 1e7f);
    gguf_writer_ints(m->gguf, "qwen35moe.rope.dimension_sections", (const int64_t[]){(int64_t)s->head / 8, 0, 0, 0}, 4);
}

static void tensors(Making *m, const CalibrateTypes *types, uint32_t layers)
{
    *m = (Making){m->gguf, m->shape, m->zeros, UINT32_MAX, (GgmlType)types->type[0]->id};
    matrix(m, "token_embd.weight", VOCAB, m->shape->hidden);
    matrix(m, "output.weight", VOCAB, m->shape->hidden);
    vector(m, "output_norm.weight", m->shape->hidden);
    for (m->layer = 0; m->layer < layers; m->layer++) {
        m->type = (GgmlType)types->type[m->layer % types->count]->id;
        vector(m, "attn_norm.weight", m->shape->hidden);
        vector(m, "post_attention_norm.weight", m->shape->hidden);
        m->layer % 4 == 3 ? attention(m) : delta_net(m);
        feed_forward(m);
    }
}

static HdStatus *write_memory(const HdBuf *bytes, int *out_fd, char out_path[64])
{
    int fd = memfd_create("heddle-calibrate", MFD_CLOEXEC);
    if (fd < 0) return hd_error(HD_IO, "calibrate: no anonymous file can be made");
    for (size_t at = 0; at < bytes->len;) {
        ssize_t n = write(fd, bytes->data + at, bytes->len - at);
        if (n <= 0) return close(fd), hd_error(HD_NO_MEMORY, "calibrate: %zu bytes of memory are needed", bytes->len);
        at += (size_t)n;
    }
    snprintf(out_path, 64, "/proc/self/fd/%d", fd);
    *out_fd = fd;
    return NULL;
}

HdStatus *calibrate_model(CalibrateSize size, const CalibrateTypes *types, int *out_fd, char out_path[64])
{
    const struct Shape *s = &shapes[size];
    uint64_t channels = (2 * s->key_heads + s->value_heads) * s->state;
    void *zeros = hd_xcalloc(HD_MAX(EXPERTS * s->expert, HD_MAX(channels, s->heads * 2 * s->head)) * s->hidden, sizeof(float));
    uint32_t layers = (uint32_t)hd_align_up(types->count, 4);
    HdBuf bytes = {0};
    Making making = {.gguf = gguf_writer_new("qwen35moe"), .shape = s, .zeros = zeros};
    keys(&making, layers);
    tensors(&making, types, layers);
    gguf_writer_finish(making.gguf, &bytes);
    gguf_writer_free(making.gguf);
    free(zeros);
    HdStatus *status = write_memory(&bytes, out_fd, out_path);
    hd_buf_free(&bytes);
    return status;
}
