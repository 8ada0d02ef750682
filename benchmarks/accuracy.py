#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How far logits are from those that float64 gives for the same file, over several texts: Heddle's, and llama.cpp's where llama_cpp is installed.

usage: accuracy.py HEDDLE MODEL.gguf [--text FILE] [--texts N] [--tokens N] [--seed N] [--ours "OPTIONS OF heddle verify"]... [--no-llama]

Without --text the tokens are random. For each text a line with the NMSE of each candidate: sum((x - float64)^2) / sum(float64^2) over all logits.
Then the mean over the texts, the median and the upper tenth over single tokens, and how often a candidate's token is nearer than the first
candidate's. With experts a few tokens that choose another expert make most of an NMSE, so that only means over many texts compare; medians do not
see these tokens. llama.cpp runs on the CPU with a float32 cache, Heddle with the cache that it chooses.
Needs: pip install numpy gguf [llama-cpp-python]. tests/tools/reference64.py computes the reference: seconds per text for 10 M parameters.
"""
import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile

import gguf
import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/tools"))
import reference64  # noqa: E402


def texts(args, vocabulary):
    """Token ids, a row per text; those of a file lie evenly in it."""
    if not args.text:
        return np.random.default_rng(args.seed).integers(0, vocabulary, (args.texts, args.tokens)).astype(np.int32)
    done = subprocess.run([args.heddle, "tokenize", args.model, "-f", args.text], capture_output=True, text=True, check=True)
    ids = np.array(json.loads(done.stdout), np.int32)
    if len(ids) < args.tokens:
        sys.exit(f"{args.text}: {len(ids)} tokens, fewer than --tokens {args.tokens}")
    return [ids[at:at + args.tokens] for at in np.linspace(0, len(ids) - args.tokens, args.texts).astype(int)]


def heddle(args, options, ids, work):
    ids.tofile(f"{work}/ids")
    command = [args.heddle, "verify", args.model, "--ids-file", f"{work}/ids", "--write-golden", f"{work}/out.gguf", *shlex.split(options)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    logits = next(t for t in gguf.GGUFReader(f"{work}/out.gguf").tensors if t.name == "logits")
    return np.array(logits.data, np.float64)


def llama(path, tokens):
    """A function from ids to logits, or None."""
    try:
        from llama_cpp import Llama
    except ImportError:
        return None
    model = Llama(path, n_ctx=tokens, n_batch=tokens, logits_all=True, type_k=0, type_v=0, verbose=False)

    def run(ids):
        model.reset()
        model.eval(ids.tolist())
        return np.array(model.scores[:len(ids)], np.float64)
    return run


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("heddle")
parser.add_argument("model")
parser.add_argument("--text")
parser.add_argument("--texts", type=int, default=8)
parser.add_argument("--tokens", type=int, default=256)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--ours", action="append")
parser.add_argument("--no-llama", action="store_true")
args = parser.parse_args()
model = reference64.Model(args.model)
candidates = {f"heddle {o}".strip(): lambda ids, work, o=o: heddle(args, o, ids, work) for o in args.ours or [""]}
other = None if args.no_llama else llama(args.model, args.tokens)
if other:
    candidates["llama.cpp"] = lambda ids, work: other(ids)
print("text  " + "".join(f"  {name:>22}" for name in candidates))
errors, powers = {name: [] for name in candidates}, []   # a row per text, a column per token
with tempfile.TemporaryDirectory() as work:
    for number, ids in enumerate(texts(args, model.t["token_embd.weight"].shape[1])):
        want, _ = model.forward(ids)
        powers.append((want ** 2).sum(1))
        for name, run in candidates.items():
            errors[name].append(((run(ids, work) - want) ** 2).sum(1))
        print(f"{number:<6}" + "".join(f"{e[-1].sum() / powers[-1].sum():24.3e}" for e in errors.values()), flush=True)
power = np.array(powers)
error = {name: np.array(e) for name, e in errors.items()}
first = next(iter(error.values()))


def summary(name, of):
    print(f"{name:6}" + "".join(f"{of(e):>24}" for e in error.values()))


summary("mean", lambda e: f"{(e.sum(1) / power.sum(1)).mean():.3e}")
summary("median", lambda e: f"{np.median(e / power):.3e}")
summary("tenth", lambda e: f"{np.quantile(e / power, 0.9):.3e}")
summary("nearer", lambda e: f"{(e < first).mean():.1%}")
