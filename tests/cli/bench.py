# SPDX-License-Identifier: Apache-2.0
"""`heddle bench` against a stored sample of llama-bench's output: the same keys with values of the same kind, figures that agree with each
other, equal results in all formats. How fast anything is is no matter here.

usage: bench.py HEDDLE FOLDER_OF_TINY_MODELS SAMPLE.json LONE_FORK.so
"""
import csv
import io
import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile

import gguf

from checks import check, finish

heddle, tiny, sample_path, lone_fork = sys.argv[1:]
model = os.path.join(tiny, "tiny-dense-q8_0.gguf")
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp()
os.environ["LD_PRELOAD"] = os.path.abspath(lone_fork)       # variants are compiled before there are threads
done = subprocess.run([sys.executable, "-c", "import os, threading, time; threading.Thread(target=time.sleep, args=(9,), daemon=True).start(); os.fork()"],
                      capture_output=True, text=True)
check(done.returncode == -signal.SIGABRT and "forks with 2 threads" in done.stderr, f"a fork with threads is noticed: {done}")


def bench(*options):
    done = subprocess.run([heddle, "bench", model, *options], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


code, out, err = bench("-p", "16,0", "-n", "3", "-d", "0,20", "--pg", "5,2", "-r", "3", "-t", "2", "-o", "json")
check(code == 0, f"exit {code}: {err}")
rows = json.loads(out)
with open(sample_path) as file:
    sample = json.load(file)[0]

# rows: for each depth prompts, generations, pairs
shapes = [(row["n_prompt"], row["n_gen"], row["n_depth"]) for row in rows]
check(shapes == [(16, 0, 0), (0, 3, 0), (5, 2, 0), (16, 0, 20), (0, 3, 20), (5, 2, 20)], f"rows {shapes}")
for row in rows:
    for key, value in sample.items():
        kinds = (int, float) if isinstance(value, float) else type(value)
        check(key in row and isinstance(row[key], kinds), f"key {key}: {row.get(key)!r}, llama-bench has {value!r}")
    check([key for key in row if key in sample] == list(sample), "keys in llama-bench's order")
    tokens = row["n_prompt"] + row["n_gen"]
    check(len(row["samples_ns"]) == 3, "three samples")
    check(math.isclose(row["avg_ns"], statistics.mean(row["samples_ns"]), rel_tol=1e-6), "avg_ns")
    check(math.isclose(row["stddev_ns"], statistics.stdev(row["samples_ns"]), rel_tol=1e-3, abs_tol=2), "stddev_ns")
    speeds = [tokens / ns * 1e9 for ns in row["samples_ns"]]
    check(math.isclose(row["avg_ts"], statistics.mean(speeds), rel_tol=1e-6), "avg_ts")
    check(math.isclose(row["stddev_ts"], statistics.stdev(speeds), rel_tol=1e-3, abs_tol=1e-3), "stddev_ts")
    check(row["model_size"] == rows[0]["model_size"] and row["n_threads"] == 2 and row["type_k"] == "f16", "the model's own")
    check(row["gb_per_s"] > 0 and row["read_gb_per_s"] > 0 and row["launches_per_token"] > row["barriers_per_token"] > 0, "ours")
# A step reads all matrices once: bytes of a token at least those of the file's trunk, and more of a deeper context.
per_token = [row["gb_per_s"] * row["avg_ns"] / (row["n_prompt"] + row["n_gen"]) for row in rows]
check(per_token[1] > 8e6, f"bytes per generated token {per_token[1]}")
position = 2 * 2 * 256 * 2        # keys and values of two layers with one cache head of 256 float16
check(math.isclose(per_token[4] - per_token[1], 20 * position, rel_tol=1e-3), f"20 tokens deeper: {per_token[4] - per_token[1]} bytes more")
check(len({row["logits_digest"] for row in rows}) == 6, "each row ends in logits of its own")

# --roofline: the kernels' time adds up to that of the evaluations, their bytes and launches to those of the rows, their arithmetic to the
# matrices'; the results stay. On a busy machine a thread may be put aside between steps, so that one good measurement of three is enough.
TEXTS, NUMBERS = ("class", "kernel", "weights", "bound"), ("launches", "ns", "thread_ns", "predicted_ns", "share", "busy", "bytes", "flops", "gb_per_s", "gops",
                                                           "read_share", "peak_share")
down = sum(2 * math.prod(int(n) for n in t.shape) for t in gguf.GGUFReader(model).tensors if "ffn_down" in t.name and "blk.8" not in t.name)   # 8: predicts
best = [0] * 4
for attempt in range(3):
    code, out, err = bench("-p", "512", "-n", "16", "-d", "0,20", "-r", "1", "-t", "2", "--roofline", "-o", "json")
    check(code == 0, f"exit {code}: {err}")
    timed = json.loads(out)
    for i, row in enumerate(timed):
        parts, tokens = row["roofline"], row["n_prompt"] + row["n_gen"]
        check(all(isinstance(part[key], str) for part in parts for key in TEXTS), "texts of the roofline")
        check(all(isinstance(part[key], (int, float)) and part[key] >= 0 for part in parts for key in NUMBERS), "numbers of the roofline")
        check(all(len(part) == len(TEXTS) + len(NUMBERS) for part in parts), f"keys of the roofline: {sorted(parts[0])}")
        check({part["class"] for part in parts} == {"prefill" if row["n_prompt"] else "decode"}, "the class that ran")
        best[i] = max(best[i], sum(part["ns"] for part in parts) / row["roofline_ns"])
        check(best[i] < 1.001, f"the kernels' time is {best[i]:.4f} of the evaluations'")
        check(all(part["thread_ns"] <= 2.001 * part["ns"] for part in parts), "two threads work twice as long as the clock runs, no longer")
        check(sum(part["thread_ns"] for part in parts) > 0.2 * row["roofline_ns"], "and not much shorter")
        check(math.isclose(sum(part["bytes"] for part in parts), row["gb_per_s"] * row["avg_ns"], rel_tol=1e-5), "bytes")
        check(math.isclose(sum(part["launches"] for part in parts), row["launches_per_token"] * tokens, rel_tol=1e-5), "launches")
        named = [part for part in parts if part["weights"] == "ffn_down"]
        check(len(named) == 1 and named[0]["kernel"].startswith("matmul_q8_0"), f"ffn_down: {named}")
        check(math.isclose(named[0]["flops"], tokens * down, rel_tol=0.01), f"arithmetic of ffn_down: {named[0]['flops']}, {tokens * down}")
        for part in parts:
            check(part["bound"] in ("memory", "arithmetic", "waiting", "instructions"), part["bound"])
            check(math.isclose(part["gb_per_s"] * part["ns"], part["bytes"], rel_tol=1e-6, abs_tol=1), "gb_per_s")
            check(math.isclose(part["read_share"] * row["read_gb_per_s"], part["gb_per_s"], rel_tol=1e-4, abs_tol=1e-5), "read_share")
    attention = [sum(part["bytes"] for part in row["roofline"] if part["kernel"] == "attention") for row in timed]
    check(math.isclose(attention[3] - attention[1], 16 * 20 * position, rel_tol=1e-6), f"attention 20 tokens deeper: {attention}")
    check(all(row["peak_int8_gops"] > row["peak_f32_gops"] / 2 > 0 for row in timed), "peaks")
    if min(best) >= 0.95:
        break
check(min(best) >= 0.95, f"the kernels' time explains {best} of the evaluations'")
code, out, err = bench("-p", "512", "-n", "16", "-d", "0,20", "-r", "1", "-t", "2", "-o", "json")
check([row["logits_digest"] for row in json.loads(out)] == [row["logits_digest"] for row in timed], "timing changes no logits")
check("roofline" not in out, "no roofline unless it is asked for")
code, out, err = bench("-p", "8", "-n", "2", "-r", "1", "--roofline")
check([line for line in out.splitlines() if line in ("pp8", "tg2")] == ["pp8", "tg2"] and out.count("| sum ") == 2, "markdown tables")
texts = []
for options in ([], ["--roofline"]):
    done = subprocess.run([heddle, "run", model, "-p", "In the", "-n", "8", "-s", "1", *options], capture_output=True, text=True)
    texts.append(done.stdout)
    check(done.returncode == 0 and ("| sum " in done.stderr) == bool(options), f"run {options}: {done.stderr}")
check(texts[0] == texts[1], "run --roofline writes the same text")
done = subprocess.run([heddle, "run", model, "--chat", "-p", "In the", "--roofline"], capture_output=True, text=True)
check(done.returncode == 2 and "leave out --chat" in done.stderr, done.stderr)

# predicted times, by figures that a person can follow: a GB/s of everything; then one kernel by its own
device = os.path.join(os.environ["XDG_CACHE_HOME"], "by-hand.device")
figures = "memory_gb_per_s = 1 # measured: by hand\ngflops = 1e9 # measured: by hand\nlaunch_us = 2 # measured: by hand\nbarrier_us = 3 # measured: by hand\n"
for own in ("", "matmul_q8_0_q8a.gops = 5 # measured: by hand\nmatmul_q8_0_q8a.one_gops = 0.5 # measured: by hand\n"):
    with open(device, "w") as file:
        file.write(figures + own)
    code, out, err = bench("-p", "512", "-n", "3", "-r", "1", "-t", "1", "--roofline", "-o", "json", "--device-file", device)
    check(code == 0, f"exit {code}: {err}")
    for row in json.loads(out):
        for part in row["roofline"]:
            tokens = row["n_prompt"] or 1
            want = part["bytes"] + 2e3 * part["launches"]
            if own and part["kernel"] == "matmul_q8_0_q8a":
                want = part["flops"] / 5 + part["flops"] / tokens * (1 / 0.5 - 1 / 5)
            check(math.isclose(part["predicted_ns"], want, rel_tol=1e-6), f"{part}: {want}")
        want = sum(part["predicted_ns"] for part in row["roofline"])
        want += 0 if own else 3e3 * row["barriers_per_token"] * (row["n_prompt"] + row["n_gen"])
        check(math.isclose((row["n_prompt"] + row["n_gen"]) / row["predicted_ts"] * 1e9, want, rel_tol=1e-5), f"the kernels' sum {want}: {row['predicted_ts']}")
        check(all(0 < ns < 2 * row["samples_ns"][i] for i, ns in enumerate(row["samples_cpu_ns"])), "CPU time of one thread")
done = subprocess.run([heddle, "run", model, "-p", "a", "--device-file", device], capture_output=True, text=True)
check(done.returncode == 2 and "no effect without --roofline" in done.stderr, done.stderr)
for command in (["bench", model], ["run", model, "-p", "a", "--roofline"]):   # before anything is compiled
    done = subprocess.run([heddle, *command, "--no-cache", "--device-file", "nope"], capture_output=True, text=True)
    check(done.returncode == 2 and re.fullmatch(r"heddle: --device-file nope: no such file.*\n", done.stderr), f"{command}: {done.stderr}")

# other formats: the same rows; the logits do not depend on threads
code, out, err = bench("-p", "16,0", "-n", "3", "-d", "0,20", "--pg", "5,2", "-r", "1", "-t", "1", "-o", "csv")
table = list(csv.DictReader(io.StringIO(out)))
check(list(table[0])[:len(sample) - 2] == [key for key in sample if not key.startswith("samples")], "csv header")
check([row["logits_digest"] for row in table] == [row["logits_digest"] for row in rows], "digests by one thread")
code, out, err = bench("-p", "4", "-n", "0", "-r", "1", "-o", "jsonl")
check(len(out.splitlines()) == 1 and json.loads(out)["n_prompt"] == 4, "jsonl")
code, out, err = bench("-p", "4", "-n", "2", "--pg", "3,1", "-d", "8", "-r", "2")
names = [line.split("|")[6].strip() for line in out.splitlines() if line.startswith("|")]
check(names[0] == "test" and names[2:] == ["pp4 @ d8", "tg2 @ d8", "pp3+tg1 @ d8"], f"markdown {names}")
check(len({len(line) for line in out.splitlines() if line.startswith("|")}) == 1, "markdown columns are aligned")

# variants: each pipeline with each combination of the values in the sets, measured in turn
unfused = "specialise,delta-net,quantise-activations,select-layout,partition,schedule,plan-memory"
code, out, err = bench("--passes", "default", "--passes", unfused, "--set", "delta-net{form=wy,chunk=16,32}", "-p", "20", "-n", "2", "-r", "2", "-o", "json")
rows = json.loads(out)
names = [f"{pipeline} delta-net{{chunk={chunk}}}" for pipeline in ("default", unfused) for chunk in (16, 32)]
check([(row["variant"], row["n_prompt"]) for row in rows] == [(name, prompt) for name in names for prompt in (20, 0)], f"variants {rows}")
check(all(len(row["samples_ns"]) == 2 for row in rows), "two rounds")
prompts, decodes = rows[::2], rows[1::2]
check(prompts[0]["logits_digest"] != prompts[1]["logits_digest"] and len({row["logits_digest"] for row in decodes}) == 1, "chunks are of prompts only")
check([row["logits_digest"] for row in prompts[:2]] == [row["logits_digest"] for row in prompts[2:]], "fusion changes no bit")
check(decodes[2]["launches_per_token"] > decodes[0]["launches_per_token"] + 50, "what fusion saves")
check(decodes[2]["predicted_ts"] < decodes[0]["predicted_ts"], "and what it is predicted to save")
check(all({part["kernel"] for part in row["roofline"]} > {"rowwise", "conv"} for row in rows), "variants are timed kernel by kernel")
code, out, err = bench("--set", "delta-net{form=scan,wy}", "-p", "20", "-n", "1", "-r", "2", "-t", "1")
whole = [[cell.strip() for cell in line.strip("|").split("|")] for line in out.splitlines() if line.startswith("|")]
table, kernels = whole[:6], whole[6:]
check([row[:2] for row in table[2:]] == [[test, f"delta-net{{form={form}}}"] for test in ("pp20", "tg1") for form in ("scan", "wy")], f"table {table}")
check(all(row[4].startswith("1.000 ± 0.000") for row in table[2::2]) and all(float(row[3]) > 0 for row in table[2:]), f"{out}")
check(len({len(line) for line in out.splitlines() if line.startswith("|")}) == 2, f"two kinds of tables, each aligned: {out}")
scans = {row[1]: row[2:] for row in kernels[kernels.index(next(row for row in kernels if row[0] == "delta_scan")):][:2]}
check(int(scans["delta-net{form=scan}"][0]) > 0 and scans["delta-net{form=wy}"] == ["0", "0.000", "0.000"], f"a kernel that one variant has: {scans}")
code, out, err = bench("--set", "delta-net{form=wy,chunk=16}", "-p", "4", "-n", "0", "-r", "1", "-o", "jsonl")
check(json.loads(out)["variant"] == "", "one variant has no name")

for options, text in ((["--set", "delta-net{chunk=16,17}"], "delta-net{chunk=17}: expected one of"), (["--set", "delta-net{16}"], "options are written name=value"),
                      (["--set", "specialise{small=" + ",".join(str(n) for n in range(2, 40)) + "}"], "more than 24 variants"),
                      (["--passes", "default", "--passes", "x"], "there is no pass"), (["--set", "delta-net"], "expected PASS{option=value}"),
                      (["-p", "x"], "whole numbers"), (["-p", "0", "-n", "0"], "nothing is measured"), (["-o", "sql"], "md|csv"),
                      (["--pg", "5"], "two numbers"), (["-p", "5000"], "context"), (["-r", "0"], "from 1"), (["-d", "-1"], "whole numbers"),
                      (["--roofline", "-o", "csv"], "no room"), (["--roofline", "--device", "null"], "only the processor")):
    code, out, err = bench(*options)
    check(code in (1, 2) and not out and text in err and len(err.splitlines()) <= 2, f"{options}: exit {code}, {err!r}")
finish()
