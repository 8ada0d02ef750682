#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A GGUF file of a published Qwen3.5 size with random weights: the real shapes, types and vocabulary size, none of the training.

usage: make_model.py OUT.gguf [--size 0.8b|4b|27b|35b-a3b|tiny|tiny-untied|tiny-moe] [--type q8_0|q4_k_m|iq3_s|...] [--layers N] [--vocab N] [--header-only] [--seed S]

Quantised tensors are random blocks with scales that give a standard deviation like that of a trained matrix, so files of any type are made at the speed
of the disk. With q4_k_m the type of each tensor follows llama-quantize (its table for these architectures); any other type is that of every matrix.
The vocabulary is 256 byte tokens and fillers. tests/tools/make_published.py makes files of mixed types with it.
Needs: pip install numpy gguf
"""
import argparse
import numpy as np
import gguf
from gguf import GGMLQuantizationType as T

HEADS = dict(head=256, nk=16, dk=128)  # channels of a query head; key heads and channels of the delta net
TINY = dict(layers=4, D=256, H=4, Hkv=2, nv=4, head=64, nk=2, dk=64)
SIZES = {  # layers, hidden, feed-forward, query heads, cache heads, value heads of the delta net, tied; experts: count, used, width
    "0.8b": dict(HEADS, layers=24, D=1024, F=3584, H=8, Hkv=2, nv=16, tied=True),
    "4b": dict(HEADS, layers=32, D=2560, F=9216, H=16, Hkv=4, nv=32, tied=True),
    "27b": dict(HEADS, layers=64, D=5120, F=17408, H=24, Hkv=4, nv=48, tied=False),
    "35b-a3b": dict(HEADS, layers=40, D=2048, F=512, H=16, Hkv=2, nv=32, tied=False, experts=256, used=8),
    "tiny": dict(TINY, F=512, tied=True),
    "tiny-untied": dict(TINY, F=512, tied=False),
    "tiny-moe": dict(TINY, F=256, tied=False, experts=8, used=2),
}
KERNEL = 4
# Blocks of random bytes: where the scale and the minimum stand, the minimum that makes the mean 0 and the standard deviation, both for a scale of 1.
BLOCKS = {
    T.Q4_0: (0, None, 0, 4.6), T.Q4_1: (0, 2, -7.5, 4.6), T.Q5_0: (0, None, 0, 9.2), T.Q5_1: (0, 2, -15.5, 9.2), T.Q8_0: (0, None, 0, 74),
    T.Q2_K: (80, 82, 1.5, 13.9), T.Q3_K: (108, None, 0, 43), T.Q4_K: (0, 2, 7.5, 150), T.Q5_K: (0, 2, 15.5, 527), T.Q6_K: (208, None, 0, 340),
    T.IQ1_S: (0, None, 0, 7.2), T.IQ2_XXS: (0, None, 0, 53), T.IQ2_XS: (0, None, 0, 56), T.IQ2_S: (0, None, 0, 56), T.IQ3_XXS: (0, None, 0, 143),
    T.IQ3_S: (0, None, 0, 140), T.IQ4_NL: (0, None, 0, 67), T.IQ4_XS: (0, None, 0, 1248), T.TQ1_0: (52, None, 0, 0.82), T.TQ2_0: (64, None, 0, 0.82),
}
NVFP4_STD = 3.4  # of random blocks below; the tensor's own scale does the rest


def more_bits(i, n):
    """The blocks that llama-quantize gives a better type."""
    return i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2


def matrix_type(kind, name, block, n):
    if kind != "q4_k_m":
        return T[kind.upper()]
    better = name in ("attn_v", "attn_qkv") or name.startswith("ffn_down")
    return T.Q6_K if name in ("output", "token_embd") or (better and more_bits(block, n)) else T.Q4_K


def half(x):
    return np.full(1, x, np.float16).view(np.uint8)


def put_odd_scale(rng, kind, data, std):
    """Scales that are not an f16 in one piece."""
    if kind == T.MXFP4:
        data[:, 0] = 127 + int(np.floor(np.log2(std / 2.3))) + rng.integers(0, 2, len(data))
    elif kind == T.NVFP4:
        data[:, :4] = rng.integers(0x30, 0x40, (len(data), 4))
    elif kind == T.IQ1_M:
        bits = int(np.float16(std / 7.2).view(np.uint16))
        for i in range(4):
            data[:, 49 + 2 * i] = data[:, 49 + 2 * i] & 15 | (bits >> 4 * i & 15) << 4


def random_rows(rng, kind, rows, columns, std):
    """[rows, bytes of a row] of type kind."""
    if kind in (T.F32, T.F16, T.BF16):
        x = rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(std)
        return x if kind == T.F32 else gguf.quants.quantize(x, kind)
    block, size = gguf.GGML_QUANT_SIZES[kind]
    data = rng.integers(0, 256, (rows * columns // block, size), dtype=np.uint8)
    if kind == T.Q6_K:
        data[:, 192:208] = rng.integers(0xE0, 0x120, (len(data), 16)).astype(np.uint8)   # scales -32..31
    elif kind == T.TQ2_0:
        data = (rng.integers(0, 3, (len(data), size, 4)) << np.array([0, 2, 4, 6])).sum(-1).astype(np.uint8)
    if kind in BLOCKS:
        scale, minimum, ratio, deviation = BLOCKS[kind]
        data[:, scale:scale + 2] = half(std / deviation)
        if minimum is not None:
            data[:, minimum:minimum + 2] = half(ratio * std / deviation)
    put_odd_scale(rng, kind, data, std)
    return data.reshape(rows, -1)


class Model:
    """types(block or None, name) gives the type of a matrix. mtp: with a prediction block behind the layers."""

    dt_name = "ssm_dt.bias"

    def __init__(self, out, size, types, layers=None, vocab=248320, header_only=False, seed=0, mtp=False):
        self.s, self.types, self.vocab, self.mtp = SIZES[size], types, vocab, mtp
        self.layers, self.rng = layers or self.s["layers"], np.random.default_rng(seed)
        self.moe = "experts" in self.s
        self.w = gguf.GGUFWriter(out, "qwen35moe" if self.moe else "qwen35")
        self.header_only = header_only

    def keys(self):
        w, s, a = self.w, self.s, self.w.arch
        w.add_name(f"random {a}")
        if self.mtp:
            w.add_uint32(f"{a}.nextn_predict_layers", 1)
        for key, value in dict(block_count=self.layers + self.mtp, context_length=262144, embedding_length=s["D"], full_attention_interval=4).items():
            w.add_uint32(f"{a}.{key}", value)
        for key, value in {"head_count": s["H"], "key_length": s["head"], "value_length": s["head"]}.items():
            w.add_uint32(f"{a}.attention.{key}", value)
        w.add_float32(f"{a}.attention.layer_norm_rms_epsilon", 1e-6)
        w.add_float32(f"{a}.rope.freq_base", 1e7)
        w.add_uint32(f"{a}.rope.dimension_count", s["head"] // 4)
        self.dialect_keys()
        for key, value in dict(conv_kernel=KERNEL, state_size=s["dk"], group_count=s["nk"], time_step_rank=s["nv"], inner_size=s["nv"] * s["dk"]).items():
            w.add_uint32(f"{a}.ssm.{key}", value)
        if self.moe:
            for key, value in dict(expert_count=s["experts"], expert_used_count=s["used"], expert_feed_forward_length=s["F"], expert_shared_feed_forward_length=s["F"]).items():
                w.add_uint32(f"{a}.{key}", value)
        else:
            w.add_uint32(f"{a}.feed_forward_length", s["F"])
        w.add_quantization_version(2)
        self.tokenizer()

    def sections(self):
        """How many frequencies time, height and width of an image share; text has only one position."""
        pairs = self.s["head"] // 8
        return [(pairs + 2) // 3, (pairs + 1) // 3, pairs // 3]

    def dialect_keys(self):
        """What other writers write in another way."""
        self.w.add_uint32(f"{self.w.arch}.attention.head_count_kv", self.s["Hkv"])
        self.w.add_array(f"{self.w.arch}.rope.dimension_sections", [*self.sections(), 0])

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
        kind, std = self.types(block, name), shape[-1] ** -0.5
        self.add(f"{prefix}{name}.weight", kind, shape, std)
        if kind == T.NVFP4:
            count = shape[0] if len(shape) == 3 else 1
            self.vector(None, f"{prefix}{name}.scale", count, 0.8 * std / NVFP4_STD, 1.2 * std / NVFP4_STD)
            self.vector(None, f"{prefix}{name}.input_scale", count, 0.5, 2)

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
        channels = 2 * s["nk"] * s["dk"] + s["nv"] * s["dk"]
        self.matrix(i, "attn_qkv", channels, s["D"])
        self.matrix(i, "attn_gate", s["nv"] * s["dk"], s["D"])
        self.matrix(i, "ssm_alpha", s["nv"], s["D"])
        self.matrix(i, "ssm_beta", s["nv"], s["D"])
        self.add(f"blk.{i}.ssm_conv1d.weight", T.F32, (channels, KERNEL), 0.5)
        self.vector(i, "ssm_a", s["nv"], -8, -0.01)
        self.vector(i, self.dt_name, s["nv"], -4, 0)
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

    def prediction(self, i):
        """What a block of multi-token prediction has beside attention and feed-forward network."""
        D = self.s["D"]
        self.matrix(i, "nextn.eh_proj", D, 2 * D)
        for name in ("enorm", "hnorm", "shared_head_norm"):
            self.vector(i, f"nextn.{name}.weight", D, 0.8, 1.2)

    def extras(self):
        pass

    def write(self):
        D = self.s["D"]
        self.keys()
        self.matrix(None, "token_embd", self.vocab, D)
        self.vector(None, "output_norm.weight", D, 0.8, 1.2)
        if not self.s["tied"]:
            self.matrix(None, "output", self.vocab, D)
        for i in range(self.layers + self.mtp):
            self.vector(i, "attn_norm.weight", D, 0.8, 1.2)
            self.vector(i, "post_attention_norm.weight", D, 0.8, 1.2)
            self.attention(i) if (i + 1) % 4 == 0 or i == self.layers else self.delta_net(i)
            self.feed_forward(i)
        if self.mtp:
            self.prediction(self.layers)
        self.extras()
        self.w.write_header_to_file()
        self.w.write_kv_data_to_file()
        self.w.write_ti_data_to_file() if self.header_only else self.w.write_tensors_to_file()
        self.w.close()


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("out")
    ap.add_argument("--size", choices=SIZES, default="0.8b")
    ap.add_argument("--type", choices=["q4_k_m", "f32", "f16", "bf16", "mxfp4", "nvfp4", "iq1_m", *(kind.name.lower() for kind in BLOCKS)], default="q8_0")
    ap.add_argument("--layers", type=int, help="fewer layers than the published size")
    ap.add_argument("--vocab", type=int, default=248320)
    ap.add_argument("--header-only", action="store_true", help="stop after the tensor infos: enough to compile for")
    ap.add_argument("--seed", type=int, default=0)
    args = ap.parse_args()
    layers = args.layers or SIZES[args.size]["layers"]
    Model(args.out, args.size, lambda block, name: matrix_type(args.type, name, block or 0, layers), layers, args.vocab, args.header_only, args.seed).write()
