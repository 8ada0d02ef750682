#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A random model of the published 0.8B's shapes: it compiles in time and from its header alone, logits are computed for the wanted rows only, and a run
holds the weights once, the state by its formula, and little more.

usage: published_size.py HEDDLE SOURCE_DIR
Needs: pip install numpy gguf (tests/tools/requirements.txt)
"""
import filecmp, json, os, re, subprocess, sys, tempfile

from checks import check, finish

heddle, source = sys.argv[1:3]
VOCAB, LAYERS, FEWER = 248320, 24, 4          # FEWER: of the model that is run, so that it is small enough for every test machine
COMPILE_SECONDS = 20                          # promised for two cores; here of processor time, which other work does not stretch
OTHER_BYTES = 150e6                           # beside weights and state; promised are 300e6, measured 73e6


def run(*command):
    """Standard output, the processor time used in seconds, and the peak resident bytes as the kernel counted them."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out = process.stdout.read()
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    check(status == 0, f"{' '.join(command)}: {said.strip()}")
    return out, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


def make(path, *options):
    run(sys.executable, f"{source}/benchmarks/make_model.py", path, "--size", "0.8b", "--type", "q8_0", *options)


def state_bytes(layers, context, kv_bytes):
    """Every fourth layer is attention (2 heads of 256, key and value); the others keep 16 matrices of 128 x 128 and 3 rows of 6144 channels, in float32."""
    attention = layers // 4
    return attention * context * 2 * 2 * 256 * kv_bytes + (layers - attention) * 4 * (16 * 128 * 128 + 3 * 6144)


def test_compile(work):
    header, whole, module, again = (f"{work}/{name}" for name in ("header.gguf", "whole.gguf", "module.hdl", "again.hdl"))
    make(header, "--header-only")
    _, seconds, _ = run(heddle, "compile", header, "-o", module)
    check(seconds < COMPILE_SECONDS, f"compiled in {seconds:.1f} s of processor time, promised {COMPILE_SECONDS}")
    data = re.search(r"(\d+) tensors, (\d+) bytes", run(heddle, "inspect", header)[0])
    check(data and data[1] == "320", f"320 tensors: {data and data[0]}")
    with open(header, "rb") as f, open(whole, "wb") as g:      # all data are there, and zero: a hole of the file system
        g.write(f.read())
        g.truncate(os.path.getsize(header) + int(data[2]) + 4096)
    run(heddle, "compile", whole, "-j", "1", "-o", again)
    check(filecmp.cmp(module, again, shallow=False), "header alone and whole file give the same bytes")
    return header, module


def test_rows(module):
    plan, graphs = run(heddle, "inspect", module, "--plan")[0], run(heddle, "inspect", module, "--ir")[0]
    arenas = {name: (int(rows), int(arena)) for name, rows, arena in re.findall(r"@(\w+) +\d+ +\d+ +(\d+) +(\d+) ", plan)}
    check(set(arenas) >= {"decode", "small", "prefill"}, f"plan: {plan}")
    for name, (rows, arena) in arenas.items():
        check(arena < (rows + 1) * VOCAB * 4, f"@{name}: an arena of {arena} bytes holds more than {rows} rows of logits")
    check(graphs.count(f"[R, {VOCAB}]") >= 3 and f"[T, {VOCAB}]" not in graphs, "logits have a row per wanted row, none per token")


def test_memory(work):
    model, text, context = f"{work}/model.gguf", f"{work}/text", 2048
    make(model, "--layers", str(FEWER))
    weights = int(re.search(r"(\d+) bytes, 1 file", run(heddle, "inspect", model)[0])[1])
    with open(text, "w") as f:
        f.write("the thing " * 70)                           # more than one step of 512 tokens, fewer than the context
    for kv, size in (("f16", 2), ("f32", 4)):
        options = ("--kv-type", kv, "-c", str(context))
        state = state_bytes(FEWER, context, size)
        planned = json.loads(run(heddle, "plan", model, *options, "-o", "json")[0])["state"]   # compiles, and the next finds the module in the cache
        check(planned == state, f"{kv}: a state of {planned} bytes is planned, {state} by the formula")
        out, _, peak = run(heddle, "run", model, *options, "-f", text, "-n", "3", "--temp", "0", "--ids")
        check(re.fullmatch(r"\[\d+, \d+, \d+\]\n", out), f"{kv}: three ids: {out}")
        figures = f"{kv}: a peak of {peak / 1e6:.0f} MB; weights {weights / 1e6:.0f}, state {state / 1e6:.0f}, others {(peak - weights - state) / 1e6:.0f}"
        check(weights < peak < weights + state + OTHER_BYTES, figures)
        print(figures)


with tempfile.TemporaryDirectory() as work:
    os.environ["XDG_CACHE_HOME"] = f"{work}/cache"
    header, module = test_compile(work)
    test_rows(module)
    planned = json.loads(run(heddle, "plan", header, "--module", module, "-c", "8192", "-o", "json")[0])["state"]
    check(planned == state_bytes(LAYERS, 8192, 2), f"0.8B: a state of {planned} bytes is planned, {state_bytes(LAYERS, 8192, 2)} by the formula")
    test_memory(work)
finish()
