#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Qwen3.5 text model (dense and MoE) in float64, straight from a GGUF file: the project's oracle.

usage: reference64.py MODEL.gguf OUT.gguf [--tokens N --seed S | --ids FILE.i32 | --like GOLDEN.gguf] [--layers]

Weights of any type are dequantised exactly (gguf-py) and every operation is float64; nothing of Hugging Face or llama.cpp
is used. It agrees with Hugging Face's float32 to its rounding: NMSE 8e-12 to 6e-11 on the random models. OUT.gguf holds `tokens` i32 [n],
`logits` f32 [n][vocab] and, with --layers, `hidden.K` f32 [n][hidden], the residual stream before trunk layer K
(K = number of layers: after the last layer, before the final norm).
Needs: pip install numpy gguf
"""
import argparse, os
import numpy as np, gguf

def sigmoid(x): return 1 / (1 + np.exp(-x))
def silu(x): return x * sigmoid(x)
def softplus(x): return np.where(x > 30, x, np.log1p(np.exp(np.minimum(x, 30))))
def softmax(x): e = np.exp(x - x.max(-1, keepdims=True)); return e / e.sum(-1, keepdims=True)

class Model:
    def __init__(self, path):
        r = gguf.GGUFReader(path)
        self.t = {t.name: t for t in r.tensors}
        self.kv = {k: f.contents() for k, f in r.fields.items() if not k.startswith("tokenizer.")}
        self.arch = self.kv["general.architecture"]
        self.n_layer = self.key("block_count") - self.key("nextn_predict_layers", 0)
        rec = self.key("attention.recurrent_layers", None); step = self.key("full_attention_interval", 4)
        self.recurrent = [bool(rec[i]) if rec is not None else (i + 1) % step != 0 for i in range(self.n_layer)]
        self.eps = self.key("attention.layer_norm_rms_epsilon")
        self.cache = {}
    def key(self, name, *default): return self.kv.get(f"{self.arch}.{name}", *default) if default else self.kv[f"{self.arch}.{name}"]
    def w(self, name):
        if name not in self.cache:
            t = self.t[name]; f32 = gguf.GGMLQuantizationType.F32
            d = np.array(t.data) if t.tensor_type == f32 else gguf.quants.dequantize(t.data, t.tensor_type)
            self.cache[name] = d.astype(np.float64).reshape([int(x) for x in reversed(t.shape)])
            scale = self.t.get(name.removesuffix("weight") + "scale") if name.endswith(".weight") else None   # NVFP4: one number, or one per expert
            if scale is not None: self.cache[name] *= np.array(scale.data, np.float64).reshape([-1] + [1] * (len(t.shape) - 1))
        return self.cache[name]
    def rms(self, x, weight): return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * weight

    def attention(self, p, h):
        T = len(h); H, Hk, d = self.key("attention.head_count"), self.key("attention.head_count_kv"), self.key("attention.key_length")
        qg = (h @ self.w(p + "attn_q.weight").T).reshape(T, H, 2, d); q, gate = qg[:, :, 0], qg[:, :, 1]
        q = self.rms(q, self.w(p + "attn_q_norm.weight"))
        k = self.rms((h @ self.w(p + "attn_k.weight").T).reshape(T, Hk, d), self.w(p + "attn_k_norm.weight"))
        v = (h @ self.w(p + "attn_v.weight").T).reshape(T, Hk, d)
        n = self.key("rope.dimension_count", d); m = n // 2
        angle = np.arange(T)[:, None] * np.float64(self.key("rope.freq_base")) ** (-2 * np.arange(m) / n)
        c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
        def rope(x): a, b = x[..., :m], x[..., m:n]; return np.concatenate([a * c - b * s, a * s + b * c, x[..., n:]], -1)
        q, k = rope(q), rope(k); mask = np.triu(np.full((T, T), -np.inf), 1); o = np.empty((T, H, d))
        for a in range(H):
            g = a // (H // Hk); o[:, a] = softmax(q[:, a] @ k[:, g].T / np.sqrt(d) + mask) @ v[:, g]
        return (o * sigmoid(gate)).reshape(T, -1) @ self.w(p + "attn_output.weight").T

    def delta_net(self, p, h):
        T = len(h); dk, nk, nv = self.key("ssm.state_size"), self.key("ssm.group_count"), self.key("ssm.time_step_rank"); dv = self.key("ssm.inner_size") // nv
        u = h @ self.w(p + "attn_qkv.weight").T; z = (h @ self.w(p + "attn_gate.weight").T).reshape(T, nv, dv)
        beta = sigmoid(h @ self.w(p + "ssm_beta.weight").T)
        g = self.w(p + "ssm_a") * softplus(h @ self.w(p + "ssm_alpha.weight").T + self.w(p + "ssm_dt.bias"))
        conv = self.w(p + "ssm_conv1d.weight"); K = conv.shape[1]; past = np.concatenate([np.zeros((K - 1, u.shape[1])), u])
        c = silu(sum(past[j:j + T] * conv[:, j] for j in range(K)))
        q, k, v = (x.reshape(T, -1, w) for x, w in zip(np.split(c, [nk * dk, 2 * nk * dk], -1), (dk, dk, dv)))
        q = q / np.sqrt((q * q).sum(-1, keepdims=True) + 1e-6) / np.sqrt(dk); k = k / np.sqrt((k * k).sum(-1, keepdims=True) + 1e-6)
        head = np.arange(nv) % nk; S = np.zeros((nv, dk, dv)); o = np.empty((T, nv, dv))       # GGUF order: value head j reads key head j mod nk
        for t in range(T):
            S *= np.exp(g[t])[:, None, None]; kt, qt = k[t, head], q[t, head]
            e = beta[t][:, None] * (v[t] - np.einsum("hkv,hk->hv", S, kt)); S += kt[:, :, None] * e[:, None]; o[t] = np.einsum("hkv,hk->hv", S, qt)
        return (self.rms(o, self.w(p + "ssm_norm.weight")) * silu(z)).reshape(T, -1) @ self.w(p + "ssm_out.weight").T

    def mlp(self, h, gate, up, down): return (silu(h @ gate.T) * (h @ up.T)) @ down.T
    def feed_forward(self, p, h):
        if p + "ffn_gate_inp.weight" not in self.t: return self.mlp(h, *(self.w(p + f"ffn_{x}.weight") for x in ("gate", "up", "down")))
        prob = softmax(h @ self.w(p + "ffn_gate_inp.weight").T); k = self.key("expert_used_count")
        top = np.argsort(-prob, axis=-1, kind="stable")[:, :k]; weight = np.take_along_axis(prob, top, -1); weight /= weight.sum(-1, keepdims=True)
        gate, up, down = (self.w(p + f"ffn_{x}_exps.weight") for x in ("gate", "up", "down")); y = np.zeros_like(h)
        for e in np.unique(top):
            t, r = np.nonzero(top == e); y[t] += weight[t, r][:, None] * self.mlp(h[t], gate[e], up[e], down[e])
        shared = self.mlp(h, *(self.w(p + f"ffn_{x}_shexp.weight") for x in ("gate", "up", "down")))
        return y + sigmoid(h @ self.w(p + "ffn_gate_inp_shexp.weight").reshape(-1))[:, None] * shared

    def forward(self, tokens):
        x = self.w("token_embd.weight")[tokens]; hidden = [x]
        for i in range(self.n_layer):
            p = f"blk.{i}."; h = self.rms(x, self.w(p + "attn_norm.weight"))
            x = x + (self.delta_net if self.recurrent[i] else self.attention)(p, h)
            x = x + self.feed_forward(p, self.rms(x, self.w(p + "post_attention_norm.weight"))); hidden.append(x)
            for name in [n for n in self.cache if n.startswith(p)]: del self.cache[name]
        head = "output.weight" if "output.weight" in self.t else "token_embd.weight"
        return self.rms(x, self.w("output_norm.weight")) @ self.w(head).T, hidden


def write_golden(path, ids, out, layers=False):
    """The file that `heddle verify --golden` reads; gives the logits."""
    logits, hidden = Model(path).forward(ids)
    w = gguf.GGUFWriter(out, "golden"); w.add_string("golden.source", os.path.basename(path)); w.add_string("golden.by", "reference64.py, float64")
    w.add_tensor("tokens", ids.astype(np.int32)); w.add_tensor("logits", logits.astype(np.float32))
    if layers:
        for k, h in enumerate(hidden): w.add_tensor(f"hidden.{k}", h.astype(np.float32))
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
    return logits


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model"); ap.add_argument("out"); ap.add_argument("--tokens", type=int, default=150); ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--ids"); ap.add_argument("--like"); ap.add_argument("--layers", action="store_true"); a = ap.parse_args()
    m = Model(a.model)
    if a.like: ids = np.array(next(t.data for t in gguf.GGUFReader(a.like).tensors if t.name == "tokens")).view(np.int32)[: a.tokens]
    elif a.ids: ids = np.fromfile(a.ids, np.int32)[: a.tokens]
    else: ids = np.random.default_rng(a.seed).integers(0, m.t["token_embd.weight"].shape[1], a.tokens).astype(np.int32)
    logits = write_golden(a.model, ids, a.out, a.layers)
    lp = logits - logits.max(-1, keepdims=True); lp -= np.log(np.exp(lp).sum(-1, keepdims=True))
    print(f"{a.out}: {len(ids)} tokens, logits std {logits.std():.4f}, mean nll {-lp[np.arange(len(ids) - 1), ids[1:]].mean():.5f}")
