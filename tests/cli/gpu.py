# SPDX-License-Identifier: Apache-2.0
"""Kernels for GPUs where there is none: the CUDA C of all kernels runs as C++ on this machine (cpu:emulated-cuda) and gives the logits of
float64; SPIR-V of all kernels is valid; NVRTC compiles all for old and new architectures; a decode step has few launches.

usage: gpu.py HEDDLE SOURCE_FOLDER FOLDER_OF_RANDOM_MODELS FOLDER_OF_THEIR_GOLDENS
Needs: pip install gguf numpy nvidia-cuda-nvrtc (tests/tools/requirements.txt), spirv-val, c++
"""
import glob
import os
import re
import subprocess
import sys
import tempfile

import gguf
import numpy as np

from checks import check, finish

heddle, source, models, goldens = sys.argv[1:]
sys.path[:0] = [f"{source}/tests/tools", f"{source}/benchmarks"]
import make_model  # noqa: E402
import make_published  # noqa: E402
import reference64  # noqa: E402

EMULATED, CAP = "cpu:emulated-cuda", 1e-9
MOST_LAUNCHES = {"delta": 6, "attention": 6}        # of a dense layer, decoding
MOST_LAUNCHES_MOE = {"delta": 10, "attention": 10}
MOST_SHARED = 16384                                 # bytes that every Vulkan device has
ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_120", "compute_80")
TOKENS = np.array([1, 40, 7, 299, 7, 7, 40, 111, 2, 90, 33, 64, 5], np.int32)
os.environ["VIRTUAL_ENV"] = sys.prefix              # where NVRTC is looked for


def run(*args):
    done = subprocess.run([heddle, *args], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout, done.stderr


def verify(model, golden, cap, *options):
    code, out, err = run("verify", model, "--target", EMULATED, "--golden", golden, "--max-nmse", str(cap), *options)
    line = (out.strip().splitlines() or [err.strip()])[-1]
    print(f"{os.path.basename(model):28} {' '.join(options):14} {line}", flush=True)
    check(code == 0, f"{model} {' '.join(options)}: {err.strip()}")
    return line.split("digest ")[-1]


def write_golden(model, path):
    logits, _ = reference64.Model(model).forward(TOKENS)
    writer = gguf.GGUFWriter(path, "golden")
    writer.add_tensor("tokens", TOKENS)
    writer.add_tensor("logits", logits.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def compile_for(model, target, work):
    """The module's path and that of a folder with all stages of its kernels."""
    module, dump = f"{work}/{target.replace(':', '-')}.hdl", tempfile.mkdtemp(dir=work)
    code, _, err = run("compile", model, "--target", target, "--dump", dump, "-o", module)
    check(code == 0, f"{model} for {target}: {err}")
    return module, dump


def check_spirv(model, work):
    _, dump = compile_for(model, "vulkan", work)
    files = glob.glob(f"{dump}/*.spv")
    check(len(files) > 10, f"{model}: {len(files)} kernels")
    for file in files:
        done = subprocess.run(["spirv-val", "--target-env", "vulkan1.2", "--scalar-block-layout", file], capture_output=True, text=True)
        check(done.returncode == 0, f"{os.path.basename(file)}: {done.stdout}{done.stderr}")
    for file in glob.glob(f"{dump}/*.comp"):        # every number in shared memory has four bytes
        shared = sum(4 * int(count) for count in re.findall(r"^\s*shared \w+ \w+\[(\d+)\];", open(file).read(), re.M))
        check(shared <= MOST_SHARED, f"{os.path.basename(file)}: {shared} bytes of shared memory")


def check_launches(model, work):
    """Launches of each layer in a decode step, counted in the module's own tables."""
    module, _ = compile_for(model, "vulkan", work)
    fields = gguf.GGUFReader(module).fields
    launches = np.array(fields["heddle.table.launches"].contents()).reshape(-1, 9)
    classes = fields["heddle.classes"].contents()
    kernels, counts = fields["heddle.kernels"].contents(), np.array(fields["heddle.table.classes"].contents()).reshape(len(classes), -1)
    first = 0
    for name, row in zip(classes, counts):
        rows, first = launches[first:first + row[5]], first + row[5]
        if name != "decode":
            continue
        for layer in sorted(set(rows[:, 2]) - {-1}):
            names = [kernels[kernel] for kernel in rows[rows[:, 2] == layer, 0]]
            kind = "delta" if any(n.startswith("delta") for n in names) else "attention"
            most = MOST_LAUNCHES_MOE if any(n.startswith("topk") for n in names) else MOST_LAUNCHES
            check(len(names) <= most[kind], f"{model}: layer {layer} has {len(names)} launches: {names}")


with tempfile.TemporaryDirectory() as work:
    os.environ["XDG_CACHE_HOME"] = f"{work}/cache"
    for name in ("h1-mha-tied", "h2-gqa4", "h3-head256", "moe-e16-k4"):
        model, golden = f"{models}/{name}.gguf", f"{goldens}/{name}.golden.gguf"
        many, few = verify(model, golden, CAP), verify(model, golden, CAP, "--decode")
        verify(model, golden, CAP, "--split", "1,3,64")
        if name == "h2-gqa4":                       # products of many tokens have another order of sums than those of few
            for options, digest in ((["--split", "64"], many), (["--slots", "3"], many), (["--split", "3"], few), (["--split", "16"], few)):
                check(verify(model, golden, CAP, *options) == digest, f"{name}: {options} changes bits")
        check_spirv(model, work)
        check_launches(model, work)
    for target in ARCHITECTURES:
        for name in ("h1-mha-tied", "moe-e16-k4"):
            compile_for(f"{models}/{name}.gguf", f"cuda:{target}", work)
    code, out, err = run("compile", f"{models}/h1-mha-tied.gguf", "--target", "cuda:sm_999", "-o", f"{work}/x.hdl")
    check(code == 1 and re.search(r"sm_999.*NVRTC [\d.]+ compiles for 75, ", err.splitlines()[-1]), f"unknown architecture: {err}")
    for name in ("mix-dense", "mix-experts-1", "mix-experts-2", "mix-experts-3"):   # every type of weights
        model, golden = f"{work}/{name}.gguf", f"{work}/golden.gguf"
        make_published.make(name, model)
        write_golden(model, golden)
        verify(model, golden, CAP, "--kv-type", "f32")
        check_spirv(model, work)
        compile_for(model, "cuda:sm_90", work)
    for width, dtype in ((1032, "F32"), (3072, "Q8_0")):   # a row with a rest, for 256 lanes; the longest that is normed in shared memory
        model, golden, dtype = f"{work}/wide-{width}.gguf", f"{work}/golden.gguf", gguf.GGMLQuantizationType[dtype]
        make_model.SIZES["wide"] = dict(make_model.SIZES["tiny"], D=width)
        make_published.Model(model, "wide", make_published.Cycle([dtype], None, None, dtype), vocab=make_published.VOCABULARY, mtp=False).write()
        write_golden(model, golden)
        few = verify(model, golden, CAP, "--kv-type", "f32", "--split", "3")
        check(verify(model, golden, CAP, "--kv-type", "f32", "--decode") == few, f"{model}: --decode changes bits")
        check_spirv(model, work)
        check_launches(model, work)
finish()
