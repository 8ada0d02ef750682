# SPDX-License-Identifier: Apache-2.0
"""Models on a Vulkan device (in tests Mesa's lavapipe): under the validation layers logits near float64's whatever the calls; and the
processor's greedy continuation of prompts of many lengths in calls of many sizes; samples. Skipped (77) where there is no device.

usage: vulkan.py HEDDLE FOLDER_OF_RANDOM_MODELS FOLDER_OF_THEIR_GOLDENS FOLDER_OF_TINY_MODELS
"""
import json
import os
import subprocess
import sys
import tempfile

import gguf
import numpy as np

from checks import check, finish

heddle, models, goldens, tiny = sys.argv[1:]
CAP = 1e-9
LENGTHS = (1, 2, 3, 4, 5, 63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 512, 513)
CALLS = (1, 3, 64, 65, 512)
MOST_APART, MARGIN, QUALIFY = 1e-4, 3, 0.9     # of logits; a choice counts where the best leads by MARGIN times what they are apart at most
TRAINED = {"tiny-dense-bf16": 1e-9, "tiny-dense-q8_0": 1e-9, "tiny-dense-q4_k_m": 1e-9, "tiny-moe-q4_k_m": 5e-9}
PREFIX = 24
LONG = "h1-mha-tied"                           # the model of the prompts
work = tempfile.mkdtemp()
os.environ["XDG_CACHE_HOME"] = f"{work}/cache"


def run(*args, validate=False):
    """validate: with the validation layers watching."""
    environment = dict(os.environ, HEDDLE_VULKAN_VALIDATION=str(int(validate)))
    done = subprocess.run([heddle, *args], capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment)
    return done.returncode, done.stdout, done.stderr


def verify(model, golden, cap, *options):
    code, out, err = run("verify", model, "--target", "vulkan", "--golden", golden, "--max-nmse", str(cap), *options, validate=True)
    line = (out.strip().splitlines() or [err.strip()])[-1]
    print(f"{os.path.basename(model):28} {' '.join(options):14} {line}", flush=True)
    check(code == 0 and "numerics bounded" in line, f"{model} {' '.join(options)}: {err.strip()}")


def logits(model, ids, *options):
    """A row per token."""
    path = f"{work}/logits.gguf"
    code, _, err = run("verify", model, "--ids-file", ids, "--against", "cpu", "--max-nmse", str(CAP), "--write-golden", path, *options)
    check(code == 0, f"{model} {options}: {err.strip()}")
    return next(t.data for t in gguf.GGUFReader(path).tensors if t.name == "logits")


def check_trained():
    """Trained models in one call, over the first tokens of their goldens."""
    for name, cap in TRAINED.items():
        of = {tensor.name: tensor.data[:PREFIX] for tensor in gguf.GGUFReader(f"{goldens}/{name}.golden.gguf").tensors}
        writer = gguf.GGUFWriter(f"{work}/prefix.gguf", "golden")
        for part in ("tokens", "logits"):
            writer.add_tensor(part, of[part])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        verify(f"{tiny}/{name}.gguf", f"{work}/prefix.gguf", cap)


def check_lengths():
    """Logits at the ends of the prompts, the others of the long one in between: in calls of each size."""
    model, ids = f"{models}/{LONG}.gguf", f"{work}/ids"
    tokens = np.random.default_rng(7).integers(0, 512, max(LENGTHS)).astype("<i4")
    tokens.tofile(ids)
    ends = np.array(LENGTHS) - 1
    there = logits(model, ids)
    best, want = np.sort(there[ends], axis=1), there[ends].argmax(axis=1)
    for calls in CALLS:
        rows = logits(model, ids, "--target", "vulkan", "--split", str(calls))
        apart = np.abs(rows - there).max()
        counts = best[:, -1] - best[:, -2] > MARGIN * apart
        print(f"calls of {calls}: {apart:.1e} apart at most, {counts.mean():.0%} of the lengths count")
        check(apart <= MOST_APART and counts.mean() >= QUALIFY, f"calls of {calls}: {apart} apart, {counts.sum()} count")
        check((rows[ends].argmax(axis=1) == want)[counts].all(), f"calls of {calls}: other choices")


def check_continuations():
    """What the program itself goes on with."""
    model = f"{models}/{LONG}.gguf"
    prompt = "".join(chr(97 + i * 7 % 26) for i in range(600))
    for length, calls in ((1, 512), (63, 3), (64, 64), (65, 64), (129, 65), (257, 512), (513, 512)):
        options = ["-p", prompt[:length], "-n", "4", "--temp", "0", "--ids", "-b", str(calls), "-c", "600"]
        _, want, _ = run("run", model, *options)
        code, out, err = run("run", model, "--target", "vulkan", *options)
        check(code == 0 and json.loads(out) == json.loads(want), f"prompt of {length}, calls of {calls}: {out}, the processor has {want}: {err}")


def check_samples():
    """By the largest logits, which the device finds in some of 64 runs, the text is that of all logits, which are read where it finds too few."""
    model = f"{tiny}/tiny-dense-q8_0.gguf"
    for found in ("1", "20", "64"):
        code, _, err = run("compile", model, "--target", "vulkan", "-o", f"{work}/{found}.hdl", "--set", f"arg-max{{top={found}}}")
        check(code == 0, f"top={found}: {err}")
    for top_k, found in (("20", ("1", "20", "64")), ("63", ("1", "64"))):
        how = ["-p", "And the LORD", "-n", "12", "--no-display-prompt", "--temp", "1", "-s", "7", "--top-k", top_k]
        results = [run("run", model, "--module", f"{work}/{module}.hdl", *how) for module in found]
        check(all(code == 0 for code, _, _ in results) and len({out for _, out, _ in results}) == 1, f"top-k {top_k}: {results}")


code, out, _ = run("devices")
if not any(line.startswith("* vulkan") for line in out.splitlines()):
    print("no Vulkan device here")
    sys.exit(77)
for name in ("h1-mha-tied", "h2-gqa4", "h3-head256", "moe-e16-k4"):
    model, golden = f"{models}/{name}.gguf", f"{goldens}/{name}.golden.gguf"
    verify(model, golden, CAP, "--split", "1,3,64")                         # all step classes
    for options in ([], ["--decode"])[:2 if name in ("h2-gqa4", "moe-e16-k4") else 1]:
        verify(model, golden, CAP, *options)
check_trained()
check_lengths()
check_continuations()
check_samples()
text = ["run", f"{tiny}/tiny-dense-q8_0.gguf", "-p", "And the LORD", "-n", "4", "--temp", "0", "--no-display-prompt"]
_, want, _ = run(*text)
for options in (["--device", "0"], ["--target", "vulkan", "--layout", "packed"]):
    code, out, err = run(*text, *options)
    check(code == 0 and out == want, f"{options}: {out!r}, the processor has {want!r}: {err}")
code, out, err = run("run", f"{models}/{LONG}.gguf", "--device", "vulkan", "-t", "1", "-p", "a", "-n", "1", "--ids")
check(code == 0 and "-t 1 has no effect on a module for vulkan:1.2" in err, f"threads: {err}")
finish()
