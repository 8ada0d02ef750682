# SPDX-License-Identifier: Apache-2.0
"""Kernels for GPUs where there is none: the CUDA C of all kernels runs as C++ on this machine (cpu:emulated-cuda) and gives the logits of
float64, or with int8 activations those of the CPU's kernels and, of trained models, what llama.cpp is no nearer to; SPIR-V of all kernels is
valid; NVRTC compiles all for old and new architectures, and no kernel has too few registers; a decode step has few launches. (That no step
changes unseen is in plans.py.)

usage: gpu.py kernels|nvrtc HEDDLE SOURCE_FOLDER FOLDER_OF_RANDOM_MODELS FOLDER_OF_THEIR_GOLDENS
Needs: pip install gguf numpy nvidia-cuda-nvrtc (tests/tools/requirements.txt), spirv-val, c++
"""
import ctypes
import glob
import json
import os
import re
import subprocess
import sys
import tempfile

import gguf
import numpy as np

from checks import check, finish

part, heddle, source, models, goldens = sys.argv[1:]
sys.path[:0] = [f"{source}/tests/tools", f"{source}/benchmarks"]
import make_model  # noqa: E402
import make_published  # noqa: E402
import reference64  # noqa: E402

EMULATED, CAP = "cpu:emulated-cuda", 1e-9
# What int8 costs each mix on the CPU, and how far kernels are apart that multiply the same integers, at most twice what was measured: a norm's
# last bit may turn an activation over, or an expert. What each type's kernels do is in test_simt_products.c and test_simt_experts.c.
INT8 = {"mix-dense": (2.6e-3, 4e-13), "mix-experts-1": (3.1e-2, 2.3e-4), "mix-experts-2": (4.7e-1, 1.2e-3), "mix-experts-3": (6e-1, 2e-5)}
# What llama.cpp makes of these on a CPU, float32 cache.
TRAINED = {"tiny-dense-bf16": 1e-8, "tiny-dense-q8_0": 2.21e-5, "tiny-dense-q4_k_m": 5.82e-5, "tiny-moe-q8_0": 1.50e-4, "tiny-moe-q4_k_m": 1.56e-4}
MOST_LAUNCHES = {"delta": 6, "attention": 7}        # of a dense layer, decoding
MOST_LAUNCHES_MOE = {"delta": 9, "attention": 10}
MOST_SHARED = {"comp": 16384, "cu": 49152}          # bytes that every Vulkan device has, and every one of CUDA's
ARCHITECTURES = ("sm_75", "sm_80", "sm_120", "compute_80")   # sm_90: trained models
TOKENS = np.array([1, 40, 7, 299, 7, 7, 40, 111, 2, 90, 33, 64, 5], np.int32)
os.environ["CUDA_PATH"] = sys.prefix                # where NVRTC is looked for first
os.environ["XDG_CACHE_HOME"] = f"{os.path.dirname(os.path.abspath(heddle))}/tests/cache"   # emulated kernels compile once, for cuda.py too


def run(*args, **environment):
    done = subprocess.run([heddle, *args], capture_output=True, text=True, stdin=subprocess.DEVNULL, env={**os.environ, **environment})
    return done.returncode, done.stdout, done.stderr


def verify(model, golden, cap, *options):
    code, out, err = run("verify", model, "--target", EMULATED, "--golden", golden, "--max-nmse", str(cap), *options)
    line = (out.strip().splitlines() or [err.strip()])[-1]
    print(f"{os.path.basename(model):28} {' '.join(options):14} {line}", flush=True)
    check(code == 0, f"{model} {' '.join(options)}: {err.strip()}")
    return line.split("digest ")[-1]


def compile_for(model, target, work):
    """The module's path and that of a folder with all stages of its kernels, each of which is compiled once in this run."""
    module, dump = f"{work}/{target.replace(':', '-')}.hdl", tempfile.mkdtemp(dir=work)
    code, _, err = run("compile", model, "--target", target, "--cached", "--dump", dump, "-o", module, XDG_CACHE_HOME=work)
    check(code == 0, f"{model} for {target}: {err}")
    return module, dump


def check_spirv(model, work):
    module, dump = compile_for(model, "vulkan", work)
    files = glob.glob(f"{dump}/*.spv")
    check(len(files) > 10, f"{model}: {len(files)} kernels")
    for file in files:
        done = subprocess.run(["spirv-val", "--target-env", "vulkan1.2", "--scalar-block-layout", file], capture_output=True, text=True)
        check(done.returncode == 0, f"{os.path.basename(file)}: {done.stdout}{done.stderr}")
    check_shared(dump)
    return module


def check_shared(dump):
    most = 0
    for file in glob.glob(f"{dump}/*.comp") + glob.glob(f"{dump}/*.cu"):   # every number in shared memory has four bytes
        arrays = re.findall(r"^\s*(?:shared|__shared__(?: __align__\(16\))?) \w+ \w+\[(\d+)\];", open(file).read(), re.M)
        shared = sum(4 * int(count) for count in arrays)
        check(shared <= MOST_SHARED[file.rsplit(".")[-1]], f"{os.path.basename(file)}: {shared} bytes of shared memory")
        most = max(most, shared)
    check(most > 1000, f"{dump}: no shared memory found")


# ---- what kernels need ------------------------------------------------------------------------------------------

def ptxas_says(source_file):
    """Registers, bytes of shared memory and of stack, as the compiler itself reports them."""
    nvrtc = ctypes.CDLL(glob.glob(f"{sys.prefix}/lib/python3*/site-packages/nvidia/*/lib/libnvrtc.so.*")[0])
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    options = [b"--gpu-architecture=sm_90", b"--fmad=false", b"--std=c++17", b"--ptxas-options=-v"]
    name = os.path.basename(source_file).split("-", 1)[1][:-3].encode()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), open(source_file, "rb").read(), name, 0, None, None)
    check(not nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options)), f"{source_file} does not compile")
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    numbers = [re.search(pattern, log.value.decode()) for pattern in (r"Used (\d+) registers", r"(\d+) bytes smem", r"(\d+) bytes cumulative")]
    return name.decode(), tuple(int(number[1]) if number else 0 for number in numbers)


def needs_of(module):
    """The same by `heddle inspect`: name -> registers, shared, local."""
    _, out, _ = run("inspect", module, "--kernels")
    table = out.split("\nkernels        lanes  registers  shared  local       code\n")[1].split("\n\n")[0]
    return {name: tuple(numbers) for _, *numbers, _, name in (line.split() for line in table.splitlines())}


def check_needs(work):
    """No kernel spills; inspect tells what the compiler does."""
    for name in ("tiny-dense-q4_k_m", "tiny-moe-q4_k_m"):
        module, dump = compile_for(f"{source}/models/tiny/{name}.gguf", "cuda:sm_90", work)
        needs = needs_of(module)
        for kernel, (registers, _, local) in needs.items():
            check(local == "0", f"{name}: kernel {kernel} spills: {local} bytes of local memory")
            check(registers.isdigit() and 0 < int(registers) <= 255, f"{name}: kernel {kernel} has {registers} registers")
    for file in sorted(glob.glob(f"{dump}/*.cu")):
        kernel, want = ptxas_says(file)
        check(tuple(map(int, needs[kernel])) == want, f"{kernel}: inspect says {needs[kernel]}, ptxas {want}")
    for target in ("vulkan", "cuda:compute_80"):       # of these only the driver knows
        module, _ = compile_for(f"{models}/h1-mha-tied.gguf", target, work)
        needs = needs_of(module)
        check(len(needs) > 10 and all(registers == local == "-" and int(shared) >= 0 for registers, shared, local in needs.values()), target)
        check(max(int(shared) for _, shared, _ in needs.values()) > 1000, f"{target}: shared memory")


# ---- steps ------------------------------------------------------------------------------------------------------


def steps_of(module):
    """(class, rows of the launch table, names of their kernels, bytes of the arena, tokens and bytes that a step moves of one sequence in a context of
    4096) by the module's own tables."""
    fields = {name: field.contents() for name, field in gguf.GGUFReader(module).fields.items() if name.startswith("heddle.")}
    table = {name: np.array(fields[f"heddle.table.{name}"]) for name in ("launches", "classes", "exprs")}
    launches, exprs = table["launches"].reshape(-1, 9), table["exprs"].reshape(-1, 12)
    first = 0
    for name, row in zip(fields["heddle.classes"], table["classes"].reshape(-1, 7)):
        rows, first, at = launches[first:first + row[5]], first + row[5], np.array([row[0], 1, 4096, 1])
        moved = 0
        for expr in exprs[rows[:, 7]]:
            moved += expr[0] + expr[1:5] @ at
            moved += sum(expr[c] * -(-at[expr[c + 2]] // expr[c + 1]) for c in (6, 9)[:expr[5]])
        yield name, rows, [fields["heddle.kernels"][kernel] for kernel in rows[:, 0]], row[4], at[0], moved


def check_steps(model, module, target):
    """Few launches in each layer of a decode step; and what `heddle opt --cost` says of steps is what is in the module."""
    code, out, err = run("opt", model, "--target", target, "--cost", "--report", "json")
    check(code == 0, f"{model}: {err}")
    said = json.loads(out)["steps"]
    for name, rows, kernels, arena, tokens, moved in steps_of(module):
        found = {"tokens": tokens, "launches": len(rows), "stages": len(set(rows[:, 1])), "bytes": moved, "arena": arena}
        check(found.items() <= said[name].items(), f"{model}: @{name}: the module has {found}, opt says {said[name]}")
        for layer in sorted(set(rows[:, 2]) - {-1}) if name == "decode" else ():
            names = [kernel for kernel, at in zip(kernels, rows[:, 2]) if at == layer]
            kind = "delta" if any(n.startswith("delta") for n in names) else "attention"
            most = MOST_LAUNCHES_MOE if any(n.startswith("topk") for n in names) else MOST_LAUNCHES
            check(len(names) <= most[kind], f"{model}: layer {layer} has {len(names)} launches: {names}")


def check_int8(model, work, *options):
    """Every type with int8 activations: the logits of the CPU's kernels, which multiply the same integers."""
    golden, (costs, cap) = f"{work}/int8.gguf", INT8[os.path.basename(model)[:-5]]
    code, out, err = run("verify", model, "--target", "cpu:x86-64-v3", "--golden", f"{work}/golden.gguf", "--write-golden", golden, "--max-nmse", str(costs), *options)
    check(code == 0, f"{model}: {err}")
    one = [] if "experts" in model else [["--decode"]]                # beside experts one token has float32 activations
    few = verify(model, golden, cap, *options)
    for how in (["--set", "specialise{small=2}"], *one):              # tiles; one
        verify(model, golden, cap, *how, *options)
    return few


def check_trained(name, work):
    model, golden = f"{source}/models/tiny/{name}.gguf", f"{goldens}/{name}.golden.gguf"
    for options in ([], ["--split", "1,3,64"]):
        verify(model, golden, TRAINED[name], *options)
    check_steps(model, compile_for(model, "cuda:compute_90", work)[0], "cuda:compute_90")
    for target in ("compute_75", "compute_80"):
        check_shared(compile_for(model, f"cuda:{target}", work)[1])


MIXES = ("mix-dense", "mix-experts-1", "mix-experts-2", "mix-experts-3")       # every type of weights


def check_kernels(work):
    """All but NVRTC."""
    for name in ("h1-mha-tied", "h2-gqa4", "h3-head256", "moe-e16-k4"):
        model, golden = f"{models}/{name}.gguf", f"{goldens}/{name}.golden.gguf"
        many = verify(model, golden, CAP)
        verify(model, golden, CAP, "--split", "1,64,3,64,1")               # steps of all classes, with and without something before them
        if name in ("h2-gqa4", "moe-e16-k4"):
            verify(model, golden, CAP, "--decode")
        if name == "h2-gqa4":                       # one token, few and many have an order of sums each
            few = verify(model, golden, CAP, "--split", "3")
            for options, digest in ((["--split", "64"], many), (["--slots", "3"], many), (["--split", "16"], few)):
                check(verify(model, golden, CAP, *options) == digest, f"{name}: {options} changes bits")
        check_steps(model, check_spirv(model, work), "vulkan")
    for name in TRAINED:
        check_trained(name, work)
    for name in MIXES:
        model, golden = f"{work}/{name}.gguf", f"{work}/golden.gguf"
        make_published.make(name, model)
        reference64.write_golden(model, TOKENS, golden)
        verify(model, golden, CAP, "--kv-type", "f32", "--act", "f32")
        digest = check_int8(model, work, "--kv-type", "f32")
        check(verify(model, golden, 1, "--kv-type", "f32", "--layout", "packed") == digest, f"{name}: packed weights give other bits")
        check_spirv(model, work)
    for width, dtype in ((1032, "F32"), (3072, "Q8_0")):   # a row with a rest, for 256 lanes; the longest that is normed in shared memory
        model, golden, dtype = f"{work}/wide-{width}.gguf", f"{work}/golden.gguf", gguf.GGMLQuantizationType[dtype]
        make_model.SIZES["wide"] = dict(make_model.SIZES["tiny"], D=width)
        make_published.Model(model, "wide", make_published.Cycle([dtype], None, None, dtype), vocab=make_published.VOCABULARY, mtp=False).write()
        reference64.write_golden(model, TOKENS, golden)
        for options in (["--split", "3"], ["--decode"]):
            verify(model, golden, CAP, "--kv-type", "f32", "--act", "f32", *options)
        check_steps(model, check_spirv(model, work), "vulkan")


def check_nvrtc(work):
    """What NVRTC compiles, and where it is found."""
    check_needs(work)
    for target in ARCHITECTURES:
        compile_for(f"{models}/h1-mha-tied.gguf", f"cuda:{target}", work)
    for name in MIXES:
        make_published.make(name, f"{work}/{name}.gguf")
        check_shared(compile_for(f"{work}/{name}.gguf", "cuda:compute_80", work)[1])
    code, out, err = run("compile", f"{models}/h1-mha-tied.gguf", "--target", "cuda:sm_999", "-o", f"{work}/x.hdl")
    check(code == 1 and re.search(r"sm_999.*NVRTC [\d.]+ compiles for 75, ", err.splitlines()[-1]), f"unknown architecture: {err}")
    os.environ["VIRTUAL_ENV"] = os.environ["CUDA_PATH"] = "/nowhere"
    code, out, err = run("compile", f"{models}/h1-mha-tied.gguf", "--target", "cuda:compute_80", "--cuda-path", sys.prefix, "-o", f"{work}/x.hdl")
    check(code == 0, f"--cuda-path: {err}")
    code, out, err = run("targets", "--cuda-path", sys.prefix)
    check(code == 0 and re.search(r"cuda:sm_N .*N: 75 80 .*90", out), f"targets: {out}")
    code, out, err = run("targets")
    if "not now" in out:                            # where the loader finds none either
        check(re.search(r"^  cuda:sm_N .*not now: targets cuda:... need NVRTC, which was not found", out, re.M), f"targets without NVRTC: {out}")


with tempfile.TemporaryDirectory() as work:
    {"kernels": check_kernels, "nvrtc": check_nvrtc}[part](work)
finish()
