#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Small random-weight Qwen3.5 checkpoints of telling shapes, in Hugging Face format (float32).

usage: make_zoo.py OUTDIR [NAME ...]
Convert each with llama.cpp's convert_hf_to_gguf.py --outtype f32, reference logits with make_golden.py.
Every one-dimensional parameter is randomised: Hugging Face leaves norms, dt_bias and A_log at values that hide bugs.
Needs: pip install torch transformers tokenizers
"""
import json, os, sys
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import Qwen3_5ForCausalLM, Qwen3_5MoeForCausalLM, Qwen3_5MoeTextConfig, Qwen3_5TextConfig

SECTIONS = {256: [11, 11, 10], 128: [6, 5, 5], 64: [3, 3, 2]}
ZOO = {
    # name: (is_moe, vocab, config)
    "h1-mha-tied": (0, 512, dict(hidden_size=128, num_hidden_layers=4, intermediate_size=192, num_attention_heads=2, num_key_value_heads=2, head_dim=64,
        linear_num_key_heads=2, linear_num_value_heads=2, linear_key_head_dim=64, linear_value_head_dim=64, tie_word_embeddings=True)),
    "h2-gqa4": (0, 515, dict(hidden_size=128, num_hidden_layers=8, intermediate_size=256, num_attention_heads=4, num_key_value_heads=1, head_dim=64,
        linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=64, linear_value_head_dim=64, tie_word_embeddings=False)),
    "h3-head256": (0, 512, dict(hidden_size=128, num_hidden_layers=4, intermediate_size=192, num_attention_heads=2, num_key_value_heads=1, head_dim=256,
        linear_num_key_heads=1, linear_num_value_heads=3, linear_key_head_dim=128, linear_value_head_dim=128, tie_word_embeddings=False)),
    "moe-e16-k4": (1, 512, dict(hidden_size=128, num_hidden_layers=4, moe_intermediate_size=64, shared_expert_intermediate_size=96, num_experts=16, num_experts_per_tok=4,
        num_attention_heads=4, num_key_value_heads=2, head_dim=64, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=64, linear_value_head_dim=64, tie_word_embeddings=False)),
}

def tokenizer(vocab):
    tok = Tokenizer(models.BPE())
    pre = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
    tok.normalizer = normalizers.NFC(); tok.decoder = decoders.ByteLevel()
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pre), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    text = [" ".join(f"{a}{b}{c}" for a in "bcdfgklmnprst" for b in "aeiou" for c in "lmnrst ")]
    tok.train_from_iterator(text, trainers.BpeTrainer(vocab_size=vocab - 3, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    while tok.get_vocab_size() < vocab - 3: tok.add_tokens([f"<pad{tok.get_vocab_size()}>"])
    tok.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    return tok

def build(name, out, zoo=ZOO, seed=0, edit=None):
    moe, vocab, shape = zoo[name]
    config, model = (Qwen3_5MoeTextConfig, Qwen3_5MoeForCausalLM) if moe else (Qwen3_5TextConfig, Qwen3_5ForCausalLM)
    rope = dict(rope_type="default", rope_theta=10000000.0, partial_rotary_factor=0.25, mrope_section=SECTIONS[shape["head_dim"]], mrope_interleaved=True)
    cfg = config(vocab_size=vocab, linear_conv_kernel_dim=4, max_position_embeddings=8192, rope_parameters=rope, eos_token_id=vocab - 3, initializer_range=0.1, **shape)
    torch.manual_seed(seed + len(name)); g = torch.Generator().manual_seed(seed + 7)
    m = model(cfg).float()
    for n, p in m.named_parameters():
        if p.dim() == 1: p.data.add_(0.2 * torch.randn(p.shape, generator=g))
    if edit: edit(m)
    d = os.path.join(out, name); os.makedirs(d, exist_ok=True); m.save_pretrained(d)
    path = os.path.join(d, "config.json"); c = json.load(open(path)); c["mtp_num_hidden_layers"] = 0; json.dump(c, open(path, "w"), indent=1)
    tok = tokenizer(vocab); tok.save(os.path.join(d, "tokenizer.json")); assert tok.get_vocab_size() == vocab, tok.get_vocab_size()
    json.dump({"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "bos_token": None, "add_bos_token": False,
               "model_max_length": 8192}, open(os.path.join(d, "tokenizer_config.json"), "w"))
    print(f"{name}: {sum(p.numel() for p in m.parameters()) / 1e6:.2f} M parameters")

if __name__ == "__main__":
    for name in sys.argv[2:] or ZOO: build(name, sys.argv[1])
