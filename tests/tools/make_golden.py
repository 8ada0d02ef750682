#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reference outputs of a Qwen3.5 checkpoint, computed by Hugging Face transformers in float32, as one GGUF file.

usage: make_golden.py CHECKPOINT_DIR OUT.gguf [--tokens N | --text FILE] [--seed S] [--layers]

OUT.gguf holds tensors (GGUF order, fastest dimension first):
  tokens      i32 [n]              the input token ids
  logits      f32 [vocab, n]       logits after each token, full-sequence forward
  hidden.K    f32 [hidden, n]      with --layers: the residual stream before layer K (K = n_layer: after the last
                                   layer and the final norm)
and metadata golden.source, golden.transformers, golden.torch.
Needs: pip install torch transformers gguf
"""
import argparse, os
import numpy as np, torch, transformers, gguf
from transformers import AutoConfig, AutoModelForCausalLM

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("checkpoint"); ap.add_argument("out")
ap.add_argument("--tokens", type=int, default=150); ap.add_argument("--text"); ap.add_argument("--seed", type=int, default=0)
ap.add_argument("--layers", action="store_true"); ap.add_argument("--chunked", action="store_true")
a = ap.parse_args()
cfg = AutoConfig.from_pretrained(a.checkpoint)
model = AutoModelForCausalLM.from_pretrained(a.checkpoint, dtype=torch.float32, attn_implementation="eager").eval()
if a.text:
    from tokenizers import Tokenizer
    ids = Tokenizer.from_file(os.path.join(a.checkpoint, "tokenizer.json")).encode(open(a.text, encoding="utf-8").read()).ids[: a.tokens]
else:
    ids = np.random.default_rng(a.seed).integers(0, cfg.vocab_size, a.tokens).tolist()
with torch.no_grad():
    out = model(torch.tensor([ids]), use_cache=False, output_hidden_states=a.layers)
w = gguf.GGUFWriter(a.out, "golden")
w.add_string("golden.source", os.path.basename(os.path.normpath(a.checkpoint)))
w.add_string("golden.transformers", transformers.__version__); w.add_string("golden.torch", torch.__version__)
w.add_tensor("tokens", np.array(ids, dtype=np.int32))
w.add_tensor("logits", out.logits[0].float().numpy())
if a.layers:
    for k, h in enumerate(out.hidden_states): w.add_tensor(f"hidden.{k}", h[0].float().numpy())
w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
lg = out.logits[0].float()
print(f"{a.out}: {len(ids)} tokens, vocab {lg.shape[1]}, logits std {lg.std():.4f}, mean nll {torch.nn.functional.cross_entropy(lg[:-1], torch.tensor(ids[1:])):.4f}")
