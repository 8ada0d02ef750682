#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How near the times that `heddle bench --device-file` predicts come to those that it measures, and whether variants are ranked as they are measured.

usage: predict.py FOLDER [--heddle PROGRAM] [--rounds N] [--shapes NAME ..]

In each round `heddle calibrate` measures the processor anew and all shapes follow at once, since what a shared machine gives changes from minute to minute. One thread;
measured is the CPU time of that thread, the median of the repetitions. The result is written to FOLDER/PREDICTED.md. Models are made as those of cpu.py, whose packages
(requirements.txt) are needed: python3 -m pip install -r benchmarks/requirements.txt.
"""
import argparse
import itertools
import json
import os
import statistics
import subprocess

import cpu_models

HERE = os.path.dirname(os.path.abspath(__file__))
SHAPES = {   # size, type, layers
    "tiny-dense-q8_0": ("tiny-dense", "q8_0", None), "tiny-moe-q4_k_m": ("tiny-moe", "q4_k_m", None), "0.8b-4-layers-q8_0": ("0.8b", "q8_0", 4),
    "0.8b-4-layers-q4_k_m": ("0.8b", "q4_k_m", 4), "0.8b-4-layers-bf16": ("0.8b", "bf16", 4),
}
UNFUSED = "specialise,delta-net,moe-dispatch,quantise-activations,select-layout,partition,schedule,plan-memory"
VARIANTS = {"fusion": ["--passes", "default", "--passes", UNFUSED], "delta rule": ["--set", "delta-net{form=scan,wy}"],
            "chunk": ["--set", "delta-net{form=wy,chunk=16,32,64}"]}
RANKED = ("tiny-dense-q8_0", "0.8b-4-layers-q8_0")
TESTS, ALLOWED, ALIKE = ["-p", "512", "-n", "16"], 0.25, 0.05


def bench(heddle, model, device, *options):
    command = [heddle, "bench", model, "-t", "1", *TESTS, "-r", "5", "--device-file", device, "-o", "json", *options]
    rows = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    for row in rows:
        row["test"] = f"pp{row['n_prompt']}" if row["n_prompt"] else f"tg{row['n_gen']}"
        row["measured_ms"] = statistics.median(row["samples_cpu_ns"]) * 1e-6
        row["predicted_ms"] = (row["n_prompt"] + row["n_gen"]) / row["predicted_ts"] * 1e3
    return rows


def ranks(rows):
    """Pairs of variants of one test: (agree, differ by too little to tell, contradict), and a line for each contradiction."""
    agree = alike = 0
    wrong = []
    for a, b in itertools.combinations(rows, 2):
        if a["test"] != b["test"]:
            continue
        measured, predicted = (b[key] / a[key] for key in ("measured_ms", "predicted_ms"))
        if abs(measured - 1) < ALIKE:
            alike += 1
        elif (measured > 1) == (predicted > 1):
            agree += 1
        else:
            wrong.append(f"{a['test']}: {b['variant']} takes {measured:.2f} of {a['variant']}, predicted {predicted:.2f}")
    return agree, alike, wrong


def measure(heddle, folder, models, rounds):
    found, ranked = {}, {}
    device = os.path.join(folder, "here.device")
    for number in range(rounds):
        subprocess.run([heddle, "calibrate", "-t", "1", "-o", device], check=True)
        for name, model in models.items():
            for row in bench(heddle, model, device):
                found.setdefault((name, row["test"]), []).append((row["measured_ms"], row["predicted_ms"]))
                print(f"round {number + 1} {name} {row['test']}: {row['measured_ms']:.2f} ms, predicted {row['predicted_ms']:.2f}", flush=True)
        for name in (name for name in RANKED if name in models):
            for what, options in VARIANTS.items():
                ranked.setdefault((name, what), []).append(ranks(bench(heddle, models[name], device, *options)))
    return found, ranked


def report(found, ranked, rounds):
    lines = ["| model | test | measured, ms | predicted, ms | predicted / measured, by round | median |", "|---|---|---:|---:|---|---:|"]
    missed = []
    for (name, test), times in found.items():
        ratios = [predicted / measured for measured, predicted in times]
        middle = statistics.median(ratios)
        lines.append(f"| {name} | {test} | {statistics.median(t[0] for t in times):.2f} | {statistics.median(t[1] for t in times):.2f} | "
                     f"{' '.join(f'{ratio:.2f}' for ratio in ratios)} | {middle:.2f} |")
        if abs(middle - 1) > ALLOWED:
            missed.append(f"{name} {test}")
    lines += ["", f"{len(found) - len(missed)} of {len(found)} within {ALLOWED:.0%}" + (f"; not {', '.join(missed)}" if missed else ""), "",
              f"| model | variants | pairs ranked rightly | too near to tell ({ALIKE:.0%}) | wrongly |", "|---|---|---:|---:|---|"]
    for (name, what), results in ranked.items():
        wrong = [line for result in results for line in result[2]]
        lines.append(f"| {name} | {what} | {sum(r[0] for r in results)} | {sum(r[1] for r in results)} | {'; '.join(wrong) or 'none'} |")
    return "\n".join([f"# Predicted and measured, one thread, {rounds} rounds", "", *lines]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--heddle", default=os.path.join(HERE, "../build/release/heddle"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    args = parser.parse_args()
    os.makedirs(args.folder, exist_ok=True)
    models = {name: cpu_models.make(args.folder, *SHAPES[name]) for name in args.shapes}
    text = report(*measure(args.heddle, args.folder, models, args.rounds), args.rounds)
    with open(os.path.join(args.folder, "PREDICTED.md"), "w", encoding="utf-8") as file:
        file.write(text)
    print(text, end="")


main()
