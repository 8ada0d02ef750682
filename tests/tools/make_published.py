#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tiny models with random weights whose tensors have the types, names and keys of published Qwen3.5 and Qwen3.6 files.

usage: make_published.py OUTDIR [NAME ...]        all of them without names
       make_published.py --list

Type tables: what llama-quantize gives, and what the published files were seen to deviate in (Unsloth's alpha and beta in Q8_0, F32 or BF16, ssm_out and
eh_proj in Q8_0, routed experts of other types than the rest, UD files that mix a dozen types); ollama's dialect writes other keys and names for the same
model. The mix-* files hold every type in every role between them. Needs: pip install numpy gguf
"""
import copy
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../benchmarks"))
from gguf import GGMLQuantizationType as T  # noqa: E402
from make_model import Model, more_bits  # noqa: E402

VOCABULARY = 300  # 257 tokens, 42 fillers, <|im_end|>
ALL = [T.F32, T.F16, T.BF16, T.Q8_0, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K, T.IQ4_NL, T.IQ4_XS, T.IQ3_XXS, T.IQ3_S, T.IQ2_XXS,
       T.IQ2_XS, T.IQ2_S, T.IQ1_S, T.IQ1_M, T.MXFP4, T.NVFP4, T.TQ1_0, T.TQ2_0]
EXPERTS = ("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps")
GATES = ("ssm_alpha", "ssm_beta")


def is_better(name):
    return name in ("attn_v", "attn_qkv") or name.startswith("ffn_down")


# ---- type tables: (block or None, name) -> type ---------------------------------------------------------------------


def q4_k_s(block, name):
    """Unsloth's 9B Q4_K_S."""
    if name in GATES:
        return T.Q8_0
    if block is None:
        return T.Q6_K if name == "output" else T.Q4_K
    return T.Q5_K if name in ("attn_v", "attn_qkv") and block < 4 else T.Q4_K


def q4_k_m(block, name):
    """Unsloth's 27B Q4_K_M."""
    if name in GATES:
        return T.Q8_0
    if block is None:
        return T.Q6_K if name == "output" else T.Q4_K
    if is_better(name):
        return T.Q6_K if more_bits(block, 4) else T.Q5_K
    return T.Q4_K


def q5_k_m(block, name):
    """Unsloth's 2B Q5_K_M with its prediction block: tied, alpha and beta in F32."""
    if name in GATES:
        return T.F32
    if name == "nextn.eh_proj":
        return T.Q8_0
    return T.Q6_K if block is None or (is_better(name) and more_bits(block, 4)) else T.Q5_K


def ud_dense(block, name):
    """A UD-*_K_XL of 27B: a dozen types, also within a group of projections of the same value."""
    special = {"ssm_alpha": T.F32, "ssm_beta": T.F32, "ssm_out": T.Q8_0, "nextn.eh_proj": T.Q8_0, "output": T.Q6_K, "token_embd": T.Q5_K}
    if name in special:
        return special[name]
    cycle = {"attn_q": [T.Q4_K, T.IQ4_XS], "attn_k": [T.Q5_K, T.Q8_0], "attn_v": [T.Q6_K], "attn_output": [T.IQ4_NL, T.Q4_K], "attn_qkv": [T.Q5_K, T.Q6_K, T.Q4_K],
             "attn_gate": [T.Q4_K, T.IQ4_XS, T.Q3_K], "ffn_gate": [T.IQ4_XS, T.Q4_K, T.IQ3_S, T.Q3_K], "ffn_up": [T.Q4_K, T.IQ3_S, T.IQ4_XS],
             "ffn_down": [T.Q5_K, T.Q4_K, T.IQ4_NL]}[name]
    return cycle[block % len(cycle)]


def ud_low(block, name):
    """A UD file of one to three bits."""
    if name in GATES or block is None:
        return T.Q4_K if block is None else T.F32
    cycle = {"ffn_gate": [T.IQ1_S, T.IQ2_XXS], "ffn_up": [T.IQ1_M, T.IQ2_XS], "ffn_down": [T.IQ3_XXS, T.IQ2_S], "attn_qkv": [T.Q3_K, T.IQ3_S],
             "attn_gate": [T.IQ2_S, T.Q2_K]}.get(name, [T.Q2_K, T.Q4_K])
    return cycle[block % len(cycle)]


def ud_moe(block, name):
    """UD-Q4_K_XL of 35B-A3B: routed experts in Q4_K and Q5_K with exceptions, everything else Q8_0."""
    if name == "output":
        return T.Q6_K
    if name in EXPERTS:
        return T.Q5_K if name == "ffn_down_exps" or block == 1 else T.Q4_K
    return T.Q8_0


def ud_moe_mtp(block, name):
    """UD-Q4_K_M of 3.6 35B-A3B: alpha and beta in F32, except one layer in BF16."""
    if name in GATES:
        return T.BF16 if block == 1 else T.F32
    if name == "ffn_down_exps" and block == 0:
        return T.Q6_K
    return ud_moe(block, name)


def mxfp4_moe(block, name):
    return T.MXFP4 if name in EXPERTS else T.Q8_0


def nvfp4(block, name):
    """With a scale beside each matrix; attention and embedding stay in BF16."""
    return T.BF16 if block is None or name in (*GATES, "attn_q", "attn_qkv") else T.NVFP4


class Cycle:
    """Every type of a list in turn, in the order in which the matrices are made, for the names given; the rest of one type."""

    def __init__(self, kinds, names, rest, embedding):
        self.kinds, self.names, self.rest, self.embedding, self.at = kinds, names, rest, embedding, 0

    def __call__(self, block, name):
        if block is None:
            return self.embedding
        if self.names and name not in self.names:
            return self.rest
        self.at += 1
        return self.kinds[(self.at - 1) % len(self.kinds)]


# ---- ollama's dialect -----------------------------------------------------------------------------------------------


class Ollama(Model):
    """Key and value heads per layer, 0 where there is no attention; three rope sections, under more names; ssm_dt without suffix; the vision tower in the
    same file."""

    dt_name = "ssm_dt"

    def dialect_keys(self):
        w, a, s = self.w, self.w.arch, self.s
        w.add_array(f"{a}.attention.head_count_kv", [s["Hkv"] if (i + 1) % 4 == 0 else 0 for i in range(self.layers)])
        self.section_keys()
        w.add_bool(f"{a}.rope.mrope_interleaved", True)
        w.add_bool(f"{a}.ssm.v_head_reordered", True)
        w.add_uint32(f"{a}.vision.block_count", 1)
        w.add_array("tokenizer.ggml.eos_token_ids", [self.vocab - 1])
        if self.moe:
            w.add_uint32(f"{a}.feed_forward_length", 0)
            w.add_bool(f"{a}.norm_top_k_prob", True)

    def section_keys(self):
        for key in ("rope.dimension_sections", "mrope_sections", "rope.mrope_section"):
            self.w.add_array(f"{self.w.arch}.{key}", self.sections())

    def extras(self):
        self.vector(None, "v.blk.0.attn_q.bias", 64, -1, 1)
        self.vector(None, "v.patch_embd.bias", 64, -1, 1)
        self.vector(None, "mm.0.bias", 64, -1, 1)
        self.vector(None, "mtp.norm.weight", self.s["D"], 0.8, 1.2)


class OldOllama(Ollama):
    """Its first exports name the sections once, and by another key."""

    def section_keys(self):
        self.w.add_array(f"{self.w.arch}.mrope_sections", self.sections())


# name: (class, size, types, with a prediction block)
FILES = {
    "q4_k_s": (Model, "tiny-untied", q4_k_s, False),
    "q4_k_m": (Model, "tiny-untied", q4_k_m, False),
    "q4_k_m-ollama": (Ollama, "tiny-untied", q4_k_m, False),
    "q4_k_m-old-ollama": (OldOllama, "tiny-untied", q4_k_m, False),
    "q5_k_m-mtp": (Model, "tiny", q5_k_m, True),
    "ud-q4_k_xl-mtp": (Model, "tiny-untied", ud_dense, True),
    "ud-iq2_m": (Model, "tiny", ud_low, False),
    "moe-ud-q4_k_xl": (Model, "tiny-moe", ud_moe, False),
    "moe-ud-q4_k_xl-ollama": (Ollama, "tiny-moe", ud_moe, False),
    "moe-ud-q4_k_m-mtp": (Model, "tiny-moe", ud_moe_mtp, True),
    "moe-mxfp4": (Model, "tiny-moe", mxfp4_moe, False),
    "moe-nvfp4": (Model, "tiny-moe", nvfp4, False),
    "mix-dense": (Model, "tiny", Cycle(ALL, None, None, T.IQ3_S), False),
    "mix-experts-1": (Model, "tiny-moe", Cycle(ALL[:12], EXPERTS, T.Q8_0, T.Q2_K), False),
    "mix-experts-2": (Model, "tiny-moe", Cycle(ALL[12:24], EXPERTS, T.Q8_0, T.NVFP4), False),
    "mix-experts-3": (Model, "tiny-moe", Cycle(ALL[22:], EXPERTS, T.Q8_0, T.TQ1_0), False),
}


def make(name, path):
    kind, size, types, mtp = FILES[name]
    kind(path, size, copy.copy(types), vocab=VOCABULARY, mtp=mtp).write()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--list"]:
        print("\n".join(FILES))
        sys.exit()
    for name in sys.argv[2:] or FILES:
        make(name, f"{sys.argv[1]}/{name}.gguf")
