# SPDX-License-Identifier: Apache-2.0
"""benchmarks/cpu.py without llama.cpp: its driver of Heddle gives the logits of `heddle verify`, what it says a token moves is what the module's
launches say, and its report refuses runs that do not count and names what missed its goal.

usage: benchmarks.py HEDDLE LIBHEDDLE.so SOURCE
"""
import math
import os
import subprocess
import sys
import tempfile
import types

import gguf
import numpy as np

from checks import check, finish

heddle, library, source = sys.argv[1:]
sys.path.insert(0, os.path.join(source, "benchmarks"))
import cpu_models  # noqa: E402
import cpu_report  # noqa: E402

work = tempfile.mkdtemp()
os.environ["XDG_CACHE_HOME"] = work
LOGITS = 16

# the driver
drive, module = os.path.join(work, "drive"), os.path.join(work, "m.hdl")
sources = [os.path.join(source, "benchmarks", name) for name in ("drive.c", "drive_heddle.c")]
subprocess.run(["cc", "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-I", source, *sources, library, f"-Wl,-rpath,{os.path.dirname(library)}",
                "-o", drive], check=True)
for name in ("tiny-dense-q8_0", "tiny-moe-q4_k_m"):
    model = os.path.join(source, "models/tiny", name + ".gguf")
    subprocess.run([heddle, "compile", model, "-o", module], check=True, capture_output=True)
    asked = f"prompt 8 0\ngenerate 2 8\nprompt 3 0\ngenerate 2 8\nlogits {LOGITS} {work}/logits\n"
    done = subprocess.run([drive, model, module, "2", "64"], input=asked, capture_output=True, text=True)
    answers = done.stdout.splitlines()
    check(done.returncode == 0 and len(answers) == 6 and answers[5] == "done" and "numerics ordered" in answers[0], f"{answers} {done.stderr}")
    check(all(0 < float(seconds) < 60 for seconds in answers[1:5]), f"times {answers}")
    vocabulary = next(int(t.shape[1]) for t in gguf.GGUFReader(model).tensors if t.name == "token_embd.weight")
    cpu_models.tokens(LOGITS, vocabulary).astype(np.int32).tofile(f"{work}/ids")
    subprocess.run([heddle, "verify", model, "--module", module, "--ids-file", f"{work}/ids", "--write-golden", f"{work}/g.gguf"], check=True, capture_output=True)
    golden = next(t.data for t in gguf.GGUFReader(f"{work}/g.gguf").tensors if t.name == "logits")
    got = np.fromfile(f"{work}/logits", np.float32)
    check(got.tobytes() == np.array(golden, np.float32).tobytes(), "the driver's logits are those of `heddle verify`")
    want = cpu_models.reference_logits(model, LOGITS)
    error = ((got.reshape(want.shape) - want) ** 2).sum() / (want ** 2).sum()
    check(0 < error < 1e-3, f"{name}: NMSE {error} against float64")

    # what a token moves, by the file and by the module's launches, which count values between kernels too
    out = subprocess.run([heddle, "bench", model, "--module", module, "-p", "0", "-n", "1", "-d", "0,200", "-r", "1", "-o", "csv"], capture_output=True,
                         text=True, check=True).stdout.splitlines()
    rows = [dict(zip(out[0].split(","), line.strip('"').split('","'))) for line in out[1:]]
    moved = [float(row["gb_per_s"]) * float(row["avg_ns"]) for row in rows]
    cost = cpu_models.Cost(model)
    check(0.85 < cost.decode_bytes(1) / moved[0] < 1.05, f"{name}: {cost.decode_bytes(1)} bytes by the file, {moved[0]} by the launches")
    check(math.isclose(200 * cost.position_bytes, moved[1] - moved[0], rel_tol=0.02), f"{name}: cache {cost.position_bytes} bytes a position")
done = subprocess.run([drive, model, module, "2", "64"], input="prompt 65 0\n", capture_output=True, text=True)
check(done.returncode == 1 and "prompt 65 0" in done.stderr, "more than the context")

# the report. Heddle needs `ours` seconds for a token, llama.cpp `theirs`; a token moves 1 GB, the limit is 10 GB/s
cost = types.SimpleNamespace(decode_bytes=lambda depth: 1e9, products=1e9)
prompt, token, deep = ("prompt", 100, 0), ("generate", 10, 0), ("generate", 10, 4096)
args = types.SimpleNamespace(quick=False, avx2=False, shapes="0.8b-q8_0", threads=[2], heddle=heddle)


def line(kernel, share):
    return {"kernel": kernel, "weights": "", "share": share, "busy": 1, "gb_per_s": 5, "read_share": 0.5, "gops": 1, "peak_share": 0.1, "bound": "memory"}


def run(ours=0.108, theirs=0.22, rounds=5, load=0.0, prompts=(0.02, 0.1), batches=lambda n: 0.1):
    times = {}
    for what, pair in ((prompt, prompts), (token, (10 * ours, 10 * theirs)), (deep, (10 * ours, 10 * theirs))):
        times[what, "heddle"], times[what, "llama"] = [pair[0]] * rounds, [pair[1]] * rounds
    for n in range(1, 17):
        times[("prompt", n, 0), "heddle"] = times[("prompt", n, 0), "llama"] = [batches(n)] * rounds
    limits = {"read": 10.0, "kernel": "plain", "int8": 10000.0, "bf16": 1000.0, "f32": 1000.0}
    result = {"name": "0.8b-q8_0", "kind": "q8_0", "bytes": 1e9, "cost": cost, "asked": [prompt, token, deep], "compile": 1.0,
              "runs": {2: (times, [limits] * rounds, [load] * rounds, {what: [(limits, limits)] * rounds for what in (prompt, token, deep)})}, "logits": {"heddle": (1e-5, "aa"), "llama": (1e-5, "bb")},
              "start": [0.3, 0.7], "roofline": {"prompt": [line("slow", 0.95), line("fast", 0.05)], "generate": [line("stream", 0.6)]},
              "about": {"heddle": "module abc, target cpu:x, numerics ordered", "llama": "ggml 1"}}
    path = os.path.join(work, "RESULTS.md")
    good = cpu_report.write(path, [result], [], args, {"llama-cpp-python": "1"})
    with open(path, encoding="utf-8") as file:
        return good, file.read()


good, text = run()
check(good and "Goals met: 3 of 3" in text and "2.04" in text and "92.6 %" in text and "- 0.8b-q8_0, 2 threads: met" in text, text)
check("/tmp" not in text and "does not count" not in text and "Where the time goes" not in text and " 0.30 | 0.70 |" in text, f"no paths, no reasons, start-up: {text}")
good, text = run(ours=0.12)
check(good and "Goals met: 1 of 3" in text and text.count("missed: share |") == 2 and text.count("| stream |") == 1 and "slow" not in text, f"losses are printed: {text}")
good, text = run(prompts=(0.02, 0.05))
check(good and "Goals met: 2 of 3" in text and "missed: ratio |" in text and "| slow |" in text and "| fast |" not in text, f"a slow prompt: {text}")
for options, reason in ((dict(ours=0.09), "over 100 %"), (dict(prompts=(0.009, 0.1)), "over 100 %"), (dict(theirs=0.3), "void"), (dict(rounds=4), "only 4 rounds"),
                        (dict(load=os.cpu_count() + 2.0), "other programs")):
    good, text = run(**options)
    check(not good and "does not count" in text and reason in text, f"{options}: {reason}")
check(cpu_report.batch_faults([1.0, 1.2, 1.4, 1.6]) == [], "small batches")
check(len(cpu_report.batch_faults([1.0, 1.3, 1.4])) == 1 and "2 take 1.30" in cpu_report.batch_faults([1.0, 1.3, 1.4])[0], "a step too high")
check(cpu_report.batch_faults([1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2, 2.7]) == ["a token of 8 takes longer than one of 7"], "a token that takes longer")
finish()
