# SPDX-License-Identifier: Apache-2.0
"""Train a tiny Qwen3.5 text model (dense or MoE, with an MTP head) on public-domain text, CPU only.

usage: train_tiny.py {dense|moe} OUTDIR [--minutes M]
Writes an HF checkpoint (safetensors + tokenizer) that llama.cpp's converter accepts.
"""
import argparse, json, math, os, re, time, random
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F
from tokenizers import Tokenizer, Regex, models, pre_tokenizers, decoders, normalizers, trainers
from transformers import Qwen3_5TextConfig, Qwen3_5ForCausalLM, Qwen3_5MoeTextConfig, Qwen3_5MoeForCausalLM
from safetensors.torch import save_file

ap = argparse.ArgumentParser()
ap.add_argument("kind", choices=["dense", "moe"]); ap.add_argument("out")
ap.add_argument("--text", default="kjv.txt"); ap.add_argument("--minutes", type=float, default=30)
ap.add_argument("--seq", type=int, default=512); ap.add_argument("--batch", type=int, default=4)
ap.add_argument("--lr", type=float, default=2e-3); ap.add_argument("--threads", type=int, default=1)
ap.add_argument("--steps", type=int, default=0)
a = ap.parse_args()
torch.manual_seed(0); random.seed(0); torch.set_num_threads(a.threads)
os.makedirs(a.out, exist_ok=True)

BOOKS = {}
train_txt, eval_txt, cur = [], [], None
for line in open(a.text, encoding="latin-1"):
    m = re.match(r"^(\d?[A-Za-z]+?)(\d+):(\d+) (.*)$", line.rstrip("\n"))
    if not m: continue
    book, ch, _, verse = m.groups()
    dst = eval_txt if book == "Rev" else train_txt
    if (book, ch) != cur:
        dst.append("\n"); cur = (book, ch)
    dst.append(verse + "\n")
train_txt, eval_txt = "".join(train_txt), "".join(eval_txt)
open(os.path.join(a.out, "eval.txt"), "w").write(eval_txt.strip() + "\n")

PRE = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
tok = Tokenizer(models.BPE())
tok.normalizer = normalizers.NFC()
tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(PRE), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
tok.decoder = decoders.ByteLevel()
tok.train_from_iterator([train_txt], trainers.BpeTrainer(vocab_size=4096 - len(SPECIAL), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
tok.add_special_tokens(SPECIAL)
V = tok.get_vocab_size(); print("vocab", V)
ids = torch.tensor(tok.encode(train_txt).ids); ev = torch.tensor(tok.encode(eval_txt).ids)
print("train tokens", len(ids), "eval tokens", len(ev))

common = dict(vocab_size=V, hidden_size=256, num_attention_heads=2, num_key_value_heads=1, head_dim=256,
    linear_key_head_dim=128, linear_value_head_dim=128, linear_num_key_heads=2, linear_num_value_heads=4, linear_conv_kernel_dim=4,
    max_position_embeddings=4096, rms_norm_eps=1e-6, tie_word_embeddings=(a.kind == "dense"), attn_implementation="eager",
    rope_parameters=dict(rope_type="default", rope_theta=10000000.0, partial_rotary_factor=0.25, mrope_section=[11, 11, 10], mrope_interleaved=True),
    bos_token_id=None, eos_token_id=tok.token_to_id("<|endoftext|>"), pad_token_id=tok.token_to_id("<|endoftext|>"))
if a.kind == "dense":
    cfg = Qwen3_5TextConfig(num_hidden_layers=8, intermediate_size=768, **common); model = Qwen3_5ForCausalLM(cfg)
else:
    cfg = Qwen3_5MoeTextConfig(num_hidden_layers=4, moe_intermediate_size=256, shared_expert_intermediate_size=256, num_experts=16, num_experts_per_tok=4,
        output_router_logits=False, **common); model = Qwen3_5MoeForCausalLM(cfg)
print("params", sum(p.numel() for p in model.parameters()) / 1e6)

# Multi-token-prediction head: norm(embed(t+1)) and norm(hidden(t)) -> fc -> one full-attention decoder layer -> norm -> shared lm_head -> t+2
base = model.model
LayerT = type(base.layers[0]); NormT = type(base.norm)
class MTP(nn.Module):
    def __init__(s):
        super().__init__()
        full = next(i for i, t in enumerate(cfg.layer_types) if t == "full_attention")
        s.fc = nn.Linear(2 * cfg.hidden_size, cfg.hidden_size, bias=False)
        s.pre_fc_norm_embedding = NormT(cfg.hidden_size, eps=cfg.rms_norm_eps); s.pre_fc_norm_hidden = NormT(cfg.hidden_size, eps=cfg.rms_norm_eps)
        s.layers = nn.ModuleList([LayerT(cfg, full)]); s.norm = NormT(cfg.hidden_size, eps=cfg.rms_norm_eps)
mtp = MTP()
def mtp_forward(hidden, next_ids, mask):
    e = mtp.pre_fc_norm_embedding(base.embed_tokens(next_ids)); h = mtp.pre_fc_norm_hidden(hidden)
    x = mtp.fc(torch.cat([e, h], -1))
    pos = torch.arange(x.shape[1])[None]
    cos_sin = base.rotary_emb(x, pos[None].expand(3, -1, -1))
    x = mtp.layers[0](x, position_embeddings=cos_sin, attention_mask=mask, position_ids=pos)
    if isinstance(x, tuple): x = x[0]
    return model.lm_head(mtp.norm(x))

params = list(model.parameters()) + list(mtp.parameters())
decay = [p for p in params if p.dim() >= 2]; nodecay = [p for p in params if p.dim() < 2]
opt = torch.optim.AdamW([{"params": decay, "weight_decay": 0.1}, {"params": nodecay, "weight_decay": 0.0}], lr=a.lr, betas=(0.9, 0.95))

def evaluate():
    model.eval(); tot = n = 0
    with torch.no_grad():
        for i in range(0, min(len(ev) - 1, 8 * a.seq), a.seq):
            x = ev[i:i + a.seq + 1][None]
            lg = model(x[:, :-1], use_cache=False).logits.float()
            tot += F.cross_entropy(lg[0], x[0, 1:], reduction="sum").item(); n += x.shape[1] - 1
    model.train(); return tot / n

model.train(); t0 = time.time(); step = 0; budget = a.minutes * 60; last = None
mask = torch.full((a.seq, a.seq), float("-inf")).triu(1)[None, None]
while True:
    frac = (step / a.steps) if a.steps else (time.time() - t0) / budget
    if frac >= 1: break
    lr = a.lr * min(1, (step + 1) / 50) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * frac)))
    for g in opt.param_groups: g["lr"] = lr
    st = torch.randint(0, len(ids) - a.seq - 2, (a.batch,))
    b = torch.stack([ids[s:s + a.seq + 2] for s in st])
    x, y, y2 = b[:, :-2], b[:, 1:-1], b[:, 2:]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not os.environ.get("FP32")):
        out = base(input_ids=x, use_cache=False); h = out.last_hidden_state
        loss = F.cross_entropy(model.lm_head(h).float().flatten(0, 1), y.flatten())
        lm = F.cross_entropy(mtp_forward(h.detach(), y, mask).float().flatten(0, 1), y2.flatten())
        aux = 0.0
    (loss + 0.3 * lm + aux).backward()
    gn = torch.nn.utils.clip_grad_norm_(params, 1.0); opt.step(); opt.zero_grad(set_to_none=True); step += 1
    if step % 50 == 0 or step <= 3: print(f"step {step} loss {loss.item():.3f} mtp {lm.item():.3f} gn {gn:.2f} t {time.time()-t0:.0f}s tok/s {step*a.batch*a.seq/(time.time()-t0):.0f}", flush=True)
    if step % 400 == 0: print("eval", evaluate(), flush=True)
print("final eval loss", evaluate(), "ppl", math.exp(evaluate()))
sd = {k: v.to(torch.bfloat16).contiguous() for k, v in model.state_dict().items() if not (k == "lm_head.weight" and cfg.tie_word_embeddings)}
sd = {(k.replace("model.", "model.", 1)): v for k, v in sd.items()}
sd.update({"mtp." + k: v.to(torch.bfloat16).contiguous() for k, v in mtp.state_dict().items()})
save_file(sd, os.path.join(a.out, "model.safetensors"), metadata={"format": "pt"})
c = cfg.to_dict(); c["architectures"] = [type(model).__name__]; c["mtp_num_hidden_layers"] = 1; c["torch_dtype"] = "bfloat16"
json.dump(c, open(os.path.join(a.out, "config.json"), "w"), indent=1, default=str)
tok.save(os.path.join(a.out, "tokenizer.json"))
json.dump({"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "bos_token": None, "add_bos_token": False, "model_max_length": 4096}, open(os.path.join(a.out, "tokenizer_config.json"), "w"), indent=1)
print("saved", a.out)
