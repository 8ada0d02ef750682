#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A GGUF file of a published Qwen3.5 size with random weights: the real shapes, types and vocabulary size, none of the training.

usage: make_model.py OUT.gguf [--size 0.8b|4b|27b|35b-a3b] [--type q8_0|q4_k_m|bf16|f16|f32] [--layers N] [--vocab N] [--header-only] [--seed S]

Quantised tensors are random blocks with scales that give a standard deviation like that of a trained matrix, so files of any type are made at the speed
of the disk. The type of each tensor follows llama-quantize (its table for these architectures). The vocabulary is 256 byte tokens and fillers.
Needs: pip install numpy gguf
"""
import argparse
import numpy as np
import gguf
from gguf import GGMLQuantizationType as T

HEADS = dict(head=256, nk=16, dk=128)   # channels of an attention head; key heads of the delta net and their channels
SIZES = {  # layers, hidden, feed-forward, query heads, cache heads, value heads of the delta net, tied; experts: count, used, width
    "0.8b": dict(HEADS, layers=24, D=1024, F=3584, H=8, Hkv=2, nv=16, tied=True),
    "4b": dict(HEADS, layers=32, D=2560, F=9216, H=16, Hkv=4, nv=32, tied=True),
    "27b": dict(HEADS, layers=64, D=5120, F=17408, H=24, Hkv=4, nv=48, tied=False),
    "35b-a3b": dict(HEADS, layers=40, D=2048, F=512, H=16, Hkv=2, nv=32, tied=False, experts=256, used=8),
}
KERNEL = 4


def more_bits(i, n):
    """The blocks that llama-quantize gives a better type."""
    return i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2


def matrix_type(kind, name, block, n):
    if kind != "q4_k_m":
        return {"q8_0": T.Q8_0, "bf16": T.BF16, "f16": T.F16, "f32": T.F32}[kind]
    better = name in ("attn_v", "attn_qkv") or name.startswith("ffn_down")
    return T.Q6_K if name in ("output", "token_embd") or (better and more_bits(block, n)) else T.Q4_K


def half(x):
    return np.full(1, x, np.float16).view(np.uint8)


def random_rows(rng, kind, rows, columns, std):
    """[rows, bytes of a row] of type kind."""
    if kind in (T.F32, T.F16, T.BF16):
        x = rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(std)
        return x if kind == T.F32 else gguf.quants.quantize(x, kind)
    block, size = gguf.GGML_QUANT_SIZES[kind]
    data = rng.integers(0, 256, (rows * columns // block, size), dtype=np.uint8)
    if kind == T.Q8_0:
        data[:, :2] = half(std / 74)                     # uniform int8: deviation 74
    elif kind == T.Q4_K:
        data[:, :2], data[:, 2:4] = half(std / 150), half(std / 20)
    elif kind == T.Q6_K:
        data[:, 192:208] = rng.integers(0xE0, 0x120, (len(data), 16)).astype(np.uint8)   # scales -32..31
        data[:, 208:] = half(std / 340)
    return data.reshape(rows, -1)


class Model:
    def __init__(self, args):
        self.s = SIZES[args.size]
        self.layers, self.vocab = args.layers or self.s["layers"], args.vocab
        self.kind, self.rng = args.type, np.random.default_rng(args.seed)
        self.moe = "experts" in self.s
        self.w = gguf.GGUFWriter(args.out, "qwen35moe" if self.moe else "qwen35")
        self.header_only = args.header_only

    def keys(self):
        w, s, a = self.w, self.s, self.w.arch
        w.add_name(f"random {a}")
        for key, value in dict(block_count=self.layers, context_length=262144, embedding_length=s["D"], full_attention_interval=4).items():
            w.add_uint32(f"{a}.{key}", value)
        for key, value in {"head_count": s["H"], "head_count_kv": s["Hkv"], "key_length": s["head"], "value_length": s["head"]}.items():
            w.add_uint32(f"{a}.attention.{key}", value)
        w.add_float32(f"{a}.attention.layer_norm_rms_epsilon", 1e-6)
        w.add_float32(f"{a}.rope.freq_base", 1e7)
        pairs = s["head"] // 8                              # a quarter of the channels turns
        w.add_uint32(f"{a}.rope.dimension_count", 2 * pairs)
        w.add_array(f"{a}.rope.dimension_sections", [(pairs + 2) // 3, (pairs + 1) // 3, pairs // 3, 0])
        for key, value in dict(conv_kernel=KERNEL, state_size=s["dk"], group_count=s["nk"], time_step_rank=s["nv"], inner_size=s["nv"] * s["dk"]).items():
            w.add_uint32(f"{a}.ssm.{key}", value)
        if self.moe:
            for key, value in dict(expert_count=s["experts"], expert_used_count=s["used"], expert_feed_forward_length=s["F"], expert_shared_feed_forward_length=s["F"]).items():
                w.add_uint32(f"{a}.{key}", value)
        else:
            w.add_uint32(f"{a}.feed_forward_length", s["F"])
        w.add_quantization_version(2)
        self.tokenizer()

    def tokenizer(self):
        letters = [chr(b) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b <= 255 else None for b in range(256)]
        extra = iter(range(256, 512))
        tokens = [c if c else chr(next(extra)) for c in letters]
        tokens += ["th"] + [f"[PAD{i}]" for i in range(257, self.vocab - 1)] + ["<|im_end|>"]
        w = self.w
        w.add_tokenizer_model("gpt2")
        w.add_tokenizer_pre("qwen35")
        w.add_token_list(tokens)
        w.add_token_types([1] * 257 + [5] * (self.vocab - 258) + [3])
        w.add_token_merges(["t h"])
        w.add_eos_token_id(self.vocab - 1)

    def add(self, name, kind, shape, std):
        columns, rows = shape[-1], int(np.prod(shape[:-1], dtype=np.int64)) if len(shape) > 1 else 1
        block, size = gguf.GGML_QUANT_SIZES[kind]
        if self.header_only:
            self.w.add_tensor_info(name, [*shape[:-1], columns // block * size] if block > 1 else shape, np.dtype(np.uint8 if block > 1 else np.float32),
                                   rows * columns // block * size, raw_dtype=kind)
            return
        data = random_rows(self.rng, kind, rows, columns, std)
        self.w.add_tensor(name, data.reshape(*shape[:-1], -1) if len(shape) > 1 else data.reshape(-1), raw_dtype=kind)

    def matrix(self, block, name, *shape):
        prefix = "" if block is None else f"blk.{block}."
        kind = matrix_type(self.kind, name, block or 0, self.layers)
        self.add(f"{prefix}{name}.weight", kind, shape, shape[-1] ** -0.5)

    def vector(self, block, name, n, low, high):
        name = name if block is None else f"blk.{block}.{name}"
        if self.header_only:
            return self.add(name, T.F32, (n,), 0)
        self.w.add_tensor(name, self.rng.uniform(low, high, n).astype(np.float32))

    def attention(self, i):
        s = self.s
        self.matrix(i, "attn_q", s["H"] * 2 * s["head"], s["D"])
        self.matrix(i, "attn_k", s["Hkv"] * s["head"], s["D"])
        self.matrix(i, "attn_v", s["Hkv"] * s["head"], s["D"])
        self.matrix(i, "attn_output", s["D"], s["H"] * s["head"])
        self.vector(i, "attn_q_norm.weight", s["head"], 0.8, 1.2)
        self.vector(i, "attn_k_norm.weight", s["head"], 0.8, 1.2)

    def delta_net(self, i):
        s = self.s
        channels = (2 * s["nk"] + s["nv"]) * s["dk"]
        self.matrix(i, "attn_qkv", channels, s["D"])
        self.matrix(i, "attn_gate", s["nv"] * s["dk"], s["D"])
        self.matrix(i, "ssm_alpha", s["nv"], s["D"])
        self.matrix(i, "ssm_beta", s["nv"], s["D"])
        self.add(f"blk.{i}.ssm_conv1d.weight", T.F32, (channels, KERNEL), 0.5)
        self.vector(i, "ssm_a", s["nv"], -8, -0.01)
        self.vector(i, "ssm_dt.bias", s["nv"], -4, 0)
        self.vector(i, "ssm_norm.weight", s["dk"], 0.8, 1.2)
        self.matrix(i, "ssm_out", s["D"], s["nv"] * s["dk"])

    def feed_forward(self, i):
        s, D, F = self.s, self.s["D"], self.s["F"]
        if not self.moe:
            self.matrix(i, "ffn_gate", F, D)
            self.matrix(i, "ffn_up", F, D)
            return self.matrix(i, "ffn_down", D, F)
        self.add(f"blk.{i}.ffn_gate_inp.weight", T.F32, (s["experts"], D), D ** -0.5)
        self.add(f"blk.{i}.ffn_gate_inp_shexp.weight", T.F32, (1, D), D ** -0.5)
        for kind, shape in (("exps", (s["experts"],)), ("shexp", ())):
            self.matrix(i, f"ffn_gate_{kind}", *shape, F, D)
            self.matrix(i, f"ffn_up_{kind}", *shape, F, D)
            self.matrix(i, f"ffn_down_{kind}", *shape, D, F)

    def write(self):
        D = self.s["D"]
        self.keys()
        self.matrix(None, "token_embd", self.vocab, D)
        self.vector(None, "output_norm.weight", D, 0.8, 1.2)
        if not self.s["tied"]:
            self.matrix(None, "output", self.vocab, D)
        for i in range(self.layers):
            self.vector(i, "attn_norm.weight", D, 0.8, 1.2)
            self.vector(i, "post_attention_norm.weight", D, 0.8, 1.2)
            self.attention(i) if (i + 1) % 4 == 0 else self.delta_net(i)
            self.feed_forward(i)
        self.w.write_header_to_file()
        self.w.write_kv_data_to_file()
        self.w.write_ti_data_to_file() if self.header_only else self.w.write_tensors_to_file()
        self.w.close()


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("out")
    ap.add_argument("--size", choices=SIZES, default="0.8b")
    ap.add_argument("--type", choices=("q8_0", "q4_k_m", "bf16", "f16", "f32"), default="q8_0")
    ap.add_argument("--layers", type=int, help="fewer layers than the published size")
    ap.add_argument("--vocab", type=int, default=248320)
    ap.add_argument("--header-only", action="store_true", help="stop after the tensor infos: enough to compile for")
    ap.add_argument("--seed", type=int, default=0)
    Model(ap.parse_args()).write()
