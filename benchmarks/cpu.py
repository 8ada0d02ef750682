#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Heddle beside llama.cpp on this machine's processor, on the same random models, and both beside what the machine can do.

usage: python3 benchmarks/cpu.py [--quick] [--avx2] [--shapes 0.8b-q8_0,..] [--threads 1,2] [--rounds 5] [--output FILE] [--folder build/benchmarks] [--keep]

Makes the models, has llama.cpp quantise them, and measures both programs in turns, each through its C interface (drive.c): prompts and generation as
llama-bench defines them, small batches, and before and after each of the large ones the limits: the fastest of four ways to read memory, products on
registers. Shares are of the mean of these two, since on a shared machine the limit of one minute is not that of the next; the median of the rounds counts.
A share above 100 % fails the run, and it is void when llama.cpp is far below what it reaches on an idle machine.
The result is benchmarks/RESULTS.md (--quick: FOLDER/RESULTS.md). The packages of requirements.txt, pinned, are used from the Python that
runs this, or else installed into FOLDER/venv; llama-cpp-python is then built here, for this processor. --avx2 measures what a processor without AVX-512
has: llama.cpp is built so into FOLDER/venv-avx2, Heddle compiles for cpu:x86-64-v3, and the result is benchmarks/RESULTS-AVX2.md.
"""
import argparse
import hashlib
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
LIKE_BENCH = [("prompt", 512, 0), ("prompt", 2048, 0), ("generate", 128, 0), ("generate", 128, 4096)]
SHORT = [("prompt", 512, 0), ("generate", 128, 0)]
QUICK = [("prompt", 512, 0), ("generate", 16, 0), ("generate", 16, 512)]
SHAPES = {   # size, type, layers (None: all), measurements
    "0.8b-q8_0": ("0.8b", "q8_0", None, LIKE_BENCH), "0.8b-q4_k_m": ("0.8b", "q4_k_m", None, LIKE_BENCH), "0.8b-bf16": ("0.8b", "bf16", None, LIKE_BENCH),
    "4b-q4_k_m": ("4b", "q4_k_m", None, SHORT), "35b-a3b-q4_k_m": ("35b-a3b", "q4_k_m", 4, LIKE_BENCH), "tiny-dense-q8_0": ("tiny-dense", "q8_0", None, SHORT),
}
QUICK_SHAPES = ["tiny-dense-q8_0", "0.8b-q8_0", "0.8b-q4_k_m", "0.8b-bf16"]
AVX2_SHAPES = ["0.8b-q8_0", "0.8b-q4_k_m", "0.8b-bf16"]
AVX2_LLAMA = "-DGGML_NATIVE=OFF -DGGML_SSE42=ON -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON -DGGML_AVX512=OFF"
BATCHES = 3 * [("prompt", count, 0) for count in range(1, 17)]     # of a round: they are short, and a neighbour makes steps
LOGITS, PAUSE = 16, 0.1
NEEDED_MEMORY = {"4b": 24e9, "35b-a3b": 22e9}


def pinned():
    with open(os.path.join(HERE, "requirements.txt"), encoding="utf-8") as file:
        return dict(line.split("==") for line in file.read().split() if "==" in line)


def ensure_packages(folder, avx2):
    """Runs this again in FOLDER/venv where a package is missing or of another version, or in FOLDER/venv-avx2."""
    want, venv = pinned(), os.path.join(folder, "venv-avx2" if avx2 else "venv")
    python = os.path.join(venv, "bin/python3")
    try:
        if all(importlib.metadata.version(name) == version for name, version in want.items()) and (not avx2 or sys.executable == python):
            return
    except importlib.metadata.PackageNotFoundError:
        pass
    if sys.executable == python:
        sys.exit(f"{venv} has other packages than {HERE}/requirements.txt: remove it")
    if not os.path.exists(python):
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    # pip's cache would give the llama.cpp that was built for this processor
    subprocess.run([python, "-m", "pip", "install", "--quiet", *["--no-cache-dir"] * avx2, "-r", os.path.join(HERE, "requirements.txt")], check=True,
                   env=dict(os.environ, **{"CMAKE_ARGS": AVX2_LLAMA} if avx2 else {}))
    os.execv(python, [python, *sys.argv])


# ---- programs ------------------------------------------------------------------------------------------------------------


def build(folder, heddle):
    """Paths of the three drivers."""
    out, build_folder = os.path.join(folder, "drive"), os.path.dirname(heddle)
    if not os.path.exists(os.path.join(build_folder, "libheddle.so")):
        sys.exit(f"{build_folder}/libheddle.so is missing: build all of Heddle first (cmake --build {build_folder}), or name another build's program by --heddle")
    import llama_cpp
    site = os.path.dirname(os.path.dirname(llama_cpp.__file__))
    llama = os.path.join(site, "llama_cpp/lib")
    compiler = ["cc", "-O2", "-std=c11", "-D_GNU_SOURCE", "-Wall", "-I", ROOT]
    drive = os.path.join(HERE, "drive.c")
    rooms = [os.path.join(build_folder, f"runtime/libheddle_{room}.a") for room in ("runtime", "gguf", "base")]
    for name, sources in {
            "heddle": [drive, os.path.join(HERE, "drive_heddle.c"), os.path.join(build_folder, "libheddle.so"), f"-Wl,-rpath,{build_folder}"],
            "llama": [drive, os.path.join(HERE, "drive_llama.c"), "-isystem", os.path.join(site, "include"), f"-L{llama}", "-lllama", "-lggml", "-lggml-cpu",
                      "-lggml-base", f"-Wl,-rpath,{llama}"],
            "limits": [os.path.join(HERE, "drive_limits.c"), os.path.join(ROOT, "cli/limits.c"), *rooms, "-lpthread", "-ldl", "-lm"]}.items():
        subprocess.run([*compiler, *sources, "-o", f"{out}-{name}"], check=True)
    return {name: f"{out}-{name}" for name in ("heddle", "llama", "limits")}


class Program:
    """A driver that answers lines, on as many processors as it has threads."""

    def __init__(self, command, threads):
        cpus = sorted(os.sched_getaffinity(0))[:threads]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        preexec_fn=lambda: os.sched_setaffinity(0, cpus))

    def line(self):
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"{self.process.args[0]} ended: {self.process.wait()}")
        return answer.strip()

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.line()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# ---- measuring -----------------------------------------------------------------------------------------------------------


def compile_module(heddle, model, path, options):
    """Seconds of a compilation that finds nothing in a cache."""
    with tempfile.TemporaryDirectory() as cache:
        start = time.perf_counter()
        subprocess.run([heddle, "compile", model, "-o", path, *options], check=True, capture_output=True, env=dict(os.environ, XDG_CACHE_HOME=cache))
        return time.perf_counter() - start


def asked_of_one(asked):
    """One thread is asked less: it takes longer, and goals are for two."""
    return [what for what in asked if what in SHORT] or asked[:1]


def first_token(heddle, model, folder, options):
    """Seconds from the start of the program to its first token, with the weights in a file of packed ones and without: the best of three, as the page cache
    is warm then."""
    module, pack = (os.path.join(folder, f"start.{end}") for end in ("hdl", "pack.gguf"))
    subprocess.run([heddle, "compile", model, "-o", module, "--pack-weights", *options], check=True, capture_output=True)
    found = []
    for packed in (["--pack", pack], []):
        times = []
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run([heddle, "run", model, "--module", module, *packed, "-p", "a", "-n", "1", "--temp", "0"], check=True, capture_output=True)
            times.append(time.perf_counter() - start)
        found.append(min(times))
    os.remove(module)
    os.remove(pack)
    return found


def roofline(heddle, model, module, threads):
    """{"prompt" or "generate": what `heddle bench --roofline` says of each group of kernels}"""
    done = subprocess.run([heddle, "bench", model, "--module", module, "-p", "512", "-n", "128", "-r", "1", "-t", str(threads), "--roofline", "-o", "json"],
                          check=True, capture_output=True, text=True)
    return {"prompt" if test["n_prompt"] else "generate": test["roofline"] for test in json.loads(done.stdout)}


def measure_in_turns(programs, limits, threads, model_bytes, asked, rounds):
    """{(measurement, program): [seconds]}, [limits], [load averages], {measurement: [(limits before, limits after)]}; a round asks everything of both."""
    times, found, loads, around = {}, [], [], {}

    def measure_limits():
        found.append(json.loads(limits.ask(f"{model_bytes} {threads}")))
        return found[-1]

    for number in range(rounds):
        before = measure_limits()
        for what in asked + (BATCHES if threads > 1 else []):
            for name, program in programs.items():
                time.sleep(PAUSE)
                loads.append(os.getloadavg()[0])
                times.setdefault((what, name), []).append(float(program.ask(" ".join(map(str, what)))))
            if what in asked:
                after = measure_limits()
                around.setdefault(what, []).append((before, after))
                before = after
        print(f"  threads {threads}, round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return times, found, loads, around


def measure_logits(programs, folder, want):
    """{program: (NMSE against float64, digest)}"""
    import numpy as np
    result = {}
    for name, program in programs.items():
        path = os.path.join(folder, f"logits-{name}")
        program.ask(f"logits {LOGITS} {path}")
        data = np.fromfile(path, np.float32)
        got = data.astype(np.float64).reshape(want.shape)
        result[name] = (float(((got - want) ** 2).sum() / (want ** 2).sum()), hashlib.sha256(data.tobytes()).hexdigest()[:16])
        os.remove(path)
    return result


def measure_shape(name, args, drivers):
    import cpu_models
    size, kind, layers, asked = SHAPES[name]
    asked = QUICK if args.quick else asked
    model = cpu_models.make(args.folder, size, kind, layers)
    module = os.path.join(args.folder, f"{name}.hdl")
    result = {"name": name, "kind": kind, "size": size, "bytes": os.path.getsize(model), "cost": cpu_models.Cost(model), "asked": asked, "runs": {},
              "compile": compile_module(args.heddle, model, module, args.target), "start": first_token(args.heddle, model, args.folder, args.target)}
    want = cpu_models.reference_logits(model, LOGITS)
    context = max(count + depth for _, count, depth in asked)
    for threads in args.threads:
        programs = {"heddle": Program([drivers["heddle"], model, module, str(threads), str(context)], threads),
                    "llama": Program([drivers["llama"], model, "-", str(threads), str(context)], threads)}
        limits = Program([drivers["limits"]], threads)
        try:
            result["about"] = {key: program.line() for key, program in programs.items()}
            if args.avx2 and "AVX512 = 1" in result["about"]["llama"]:
                sys.exit(f"{sys.prefix} has a llama.cpp with AVX-512: remove it")
            result["logits"] = measure_logits(programs, args.folder, want)
            result["runs"][threads] = measure_in_turns(programs, limits, threads, result["bytes"], asked if threads > 1 else asked_of_one(asked), args.rounds)
        finally:
            for program in (*programs.values(), limits):
                program.close()
    result["roofline"] = roofline(args.heddle, model, module, max(args.threads))
    os.remove(module)
    if not args.keep and kind != "bf16" and model.startswith(args.folder):
        os.remove(model)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two threads, three small and four large measurements")
    parser.add_argument("--avx2", action="store_true", help="without AVX-512 on either side")
    parser.add_argument("--shapes", help="of " + ",".join(SHAPES))
    parser.add_argument("--threads", help="numbers of threads (default 1,2; --quick 2)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--heddle", default=os.path.join(ROOT, "build/release/heddle"))
    parser.add_argument("--folder", default=os.path.join(ROOT, "build/benchmarks"), help="for models and the environment")
    parser.add_argument("--output")
    parser.add_argument("--keep", action="store_true", help="keep the models")
    args = parser.parse_args()
    os.makedirs(args.folder, exist_ok=True)
    args.folder, args.heddle = os.path.abspath(args.folder), os.path.abspath(args.heddle)
    args.target = ["--target", "cpu:x86-64-v3"] if args.avx2 else []
    ensure_packages(args.folder, args.avx2)
    import cpu_models
    import cpu_report
    shapes = args.shapes.split(",") if args.shapes else QUICK_SHAPES if args.quick else AVX2_SHAPES if args.avx2 else list(SHAPES)
    unknown = [name for name in shapes if name not in SHAPES]
    if unknown or args.rounds < 1:
        sys.exit(f"--shapes {','.join(unknown)}: expected some of {','.join(SHAPES)}" if unknown else "--rounds: expected 1 or more")
    args.threads = [int(n) for n in (args.threads or ("2" if args.quick or args.avx2 else "1,2")).split(",")]
    if max(args.threads) > len(os.sched_getaffinity(0)):
        sys.exit(f"--threads {max(args.threads)}: this process may use {len(os.sched_getaffinity(0))} processors")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    drivers = build(args.folder, args.heddle)
    output = args.output or os.path.join(args.folder if args.quick else HERE, "RESULTS-AVX2.md" if args.avx2 else "RESULTS.md")
    results, skipped, good = [], [], False
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    for at, name in enumerate(shapes):
        size = SHAPES[name][0]
        if not args.shapes and NEEDED_MEMORY.get(size, 0) > memory:
            skipped.append(f"{name} (needs {NEEDED_MEMORY[size] / 1e9:.0f} GB of memory)")
            continue
        print(name, file=sys.stderr, flush=True)
        results.append(measure_shape(name, args, drivers))
        good = cpu_report.write(output, results, skipped, args, pinned())   # what there is, should a later one fail
        base, *others = (cpu_models.path_of(args.folder, SHAPES[n][0], "bf16", SHAPES[n][2]) for n in [name, *shapes[at + 1:]])
        if not args.keep and os.path.exists(base) and base not in others:
            os.remove(base)
    print(f"wrote {output}", file=sys.stderr)
    sys.exit(not good)


if __name__ == "__main__":
    main()
