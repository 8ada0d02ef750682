# SPDX-License-Identifier: Apache-2.0
"""What a step of each model that ships is on each target: launches, stages, bytes, arena, and how often each rule of the passes fired and missed, against
tests/plans/MODEL/BACKEND.txt, which is the same for all targets of a back end. Nothing is compiled. A change that is meant is renewed by a person, who reads the difference:

    HEDDLE_UPDATE_GOLDENS=1 python3 tests/cli/plans.py build/release/heddle .

usage: plans.py HEDDLE SOURCE_FOLDER
"""
import collections
import difflib
import glob
import json
import os
import subprocess
import sys

from checks import check, finish

heddle, source = sys.argv[1:]
RENEW = "HEDDLE_UPDATE_GOLDENS=1 python3 tests/cli/plans.py build/release/heddle ."
TARGETS = {"cpu": ("cpu:x86-64-v3", "cpu:x86-64-v4"), "vulkan": ("vulkan",), "cuda": ("cuda:sm_75", "cuda:sm_80", "cuda:sm_90")}
FIGURES = ("tokens", "launches", "stages", "bytes", "arena")


def report(model, target, *options):
    done = subprocess.run([heddle, "opt", model, "--target", target, "--cost", "--explain", "--report", "json", *options], capture_output=True, text=True)
    check(done.returncode == 0, f"{model} for {target}: {done.stderr}")
    return json.loads(done.stdout)


def rules(events, fired):
    """"fuse-norm.norm 12", for misses with their reasons."""
    counts = collections.Counter(rule + (f" {event['reason']}" if not fired else "") for rule, event in events if event["fired"] == fired)
    return [f"  {'fired' if fired else 'missed'} {count:5}  {name}" for name, count in sorted(counts.items())]


def describe(model, target, *options):
    """A few lines for each graph: the model before specialise, then the step classes, then what runs once at the start."""
    said, lines = report(model, target, *options), []
    for graph in ("model", "decode", "small", "prefill", "load"):
        step = said["steps"].get(graph)
        events = [(f"{p['pass'].split('#')[0]}.{event['rule']}", event) for p in said["passes"] if p["graph"] == graph for event in p["events"]]
        lines.append(graph)
        lines += [f"  {name:8} {step[name]:.0f}" for name in FIGURES] if step else []
        lines += rules(events, True) + rules(events, False)
    return "".join(line + "\n" for line in lines)


def compare(path, text):
    name = os.path.relpath(path, source)
    if os.environ.get("HEDDLE_UPDATE_GOLDENS"):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    old = ""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            old = file.read()
    diff = "".join(difflib.unified_diff(old.splitlines(True), text.splitlines(True), name, "now", n=30))
    check(not diff, f"other than in {name}; where that is meant, {RENEW} writes it anew\n{diff}")


models = sorted(glob.glob(f"{source}/tests/data/models/*.gguf") + glob.glob(f"{source}/models/tiny/*.gguf"))
wanted = set()
for model in models:
    for backend, targets in TARGETS.items():
        path = f"{source}/tests/plans/{os.path.basename(model)[:-5]}/{backend}.txt"
        wanted.add(path)
        first, *others = (describe(model, target) for target in targets)
        compare(path, first)
        check(all(other == first for other in others), f"{model}: not the same for all of {targets}")
check(len(models) == 11 and wanted == set(glob.glob(f"{source}/tests/plans/*/*.txt")), "a file for each model and back end, and no other")
plain, changed = (describe(models[0], "cpu:x86-64-v3", *options) for options in ((), ("--disable-pass", "fuse-norm")))
check("fuse-norm" in plain and "fuse-norm" not in changed and plain.split("launches")[1] != changed.split("launches")[1], "what a pass does is seen")
finish()
