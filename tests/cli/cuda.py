# SPDX-License-Identifier: Apache-2.0
"""The CUDA device where there is no GPU: the program with a stand-in for the driver's library (tests/support/fake_cuda.c), which runs the
kernels as the C++ that cuda:emulated compiles them to. Logits of the random models against float64, text, and what is said where the
driver, a device, memory or the right code is missing.

usage: cuda.py HEDDLE SOURCE_FOLDER FOLDER_OF_RANDOM_MODELS FOLDER_OF_THEIR_GOLDENS FOLDER_OF_THE_STAND_IN
Needs: c++; pip install nvidia-cuda-nvrtc (tests/tools/requirements.txt)
"""
import json
import os
import re
import subprocess
import sys
import tempfile

from checks import check, finish

heddle, source, models, goldens, stand_in = sys.argv[1:]
CAP = 1e-9
CARD = "Stand-in A"


def run(*args, **settings):
    """Runs the program with the stand-in and its settings; driver="": without."""
    folder = settings.pop("driver", stand_in)
    environment = dict(os.environ, LD_LIBRARY_PATH=folder, CUDA_PATH=sys.prefix, **{f"FAKE_CUDA_{k}": v for k, v in settings.items()})
    done = subprocess.run([heddle, *args], capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment)
    return done.returncode, done.stdout, done.stderr


def refuses(what, pattern, *args, code=1, **settings):
    got, _, err = run(*args, **settings)
    lines = [line for line in err.splitlines() if not line.startswith(("device: ", "sampling: "))]
    check(got == code and len(lines) == 1 and re.search(pattern, lines[0]), f"{what}: exit {got}, {err.strip()!r}")


def compile_for(model, target, work):
    module = f"{work}/{os.path.basename(model)}-{target.replace(':', '-')}.hdl"
    code, _, err = run("compile", model, "--target", target, "-o", module, driver="")   # NVRTC looks for the driver too
    check(code == 0, f"{model} for {target}: {err}")
    return module


def verify(name, target, *options):
    model, golden = f"{models}/{name}.gguf", f"{goldens}/{name}.golden.gguf"
    code, out, err = run("verify", model, "--target", target, "--golden", golden, "--max-nmse", str(CAP), *options)
    line = (out.strip().splitlines() or [err.strip()])[-1]
    print(f"{name:14} {target:18} {' '.join(options):14} {line}", flush=True)
    check(code == 0, f"{name} {target} {' '.join(options)}: {err.strip()}")
    return line.split("digest ")[-1]


def check_logits(name):
    """The bits are those of the same kernels on the CPU device, whose work groups are calls of many units."""
    for options in ([], ["--split", "1,3,64"], ["--decode"]):
        digest = verify(name, "cuda:emulated", *options)
        if "--decode" not in options:
            check(verify(name, "cpu:emulated-cuda", *options) == digest, f"{name}: the devices differ")


def check_text():
    """A model generates what it does on the CPU device."""
    model = f"{source}/models/tiny/tiny-dense-q8_0.gguf"
    options = ["run", model, "-p", "Once upon a time", "-n", "12", "--temp", "0", "--target"]
    code, want, err = run(*options, "cpu:emulated-cuda")
    check(code == 0 and len(want) > 20, f"text on the CPU: {want!r} {err}")
    for more in ([], ["-b", "3"], ["--device", "0"], ["--device", CARD], ["--layout", "packed"]):   # kernels that pack run there, too
        code, out, err = run(*options, "cuda:emulated", *more)
        check(code == 0 and out == want, f"text on CUDA {more}: {out!r} {err}, not {want!r}")
    return model


def check_sent(model):
    """Greedy choices send a number per token to the host, others the logits, whose vocabulary has 4096 entries."""
    for sampling, least, most in ((["--temp", "0"], 0, 1024), (["--temp", "0", "--repeat-penalty", "1.1"], 12 * 4096 * 4, 13 * 4096 * 4),
                                  (["--temp", "0.6"], 12 * 4096 * 4, 13 * 4096 * 4)):
        code, _, err = run("run", model, "--target", "cuda:emulated", "-p", "Once upon a time", "-n", "12", *sampling, REPORT="1")
        sent = re.search(r"^fake_cuda: (\d+) bytes sent to the host$", err, re.M)
        print(f"{' '.join(sampling)}: {sent and sent[1]} bytes sent to the host")
        check(code == 0 and sent and least <= int(sent[1]) <= most, f"{sampling}: {sent and sent[1]} bytes, not {least} to {most}: {err}")


def check_refusals(model, work):
    module = compile_for(model, "cuda:emulated", work)
    run_it = ["run", model, "--module", module, "-p", "a", "-n", "4", "--temp", "0"]
    refuses("no device", f"^heddle: {module}: no CUDA device: the NVIDIA driver finds none on this machine$", *run_it, DEVICES="0")
    refuses("an old driver", "the NVIDIA driver is too old: it knows CUDA 11.2, 11.4 or newer is needed", *run_it, VERSION="11020")
    refuses("no memory for weights", rf"{CARD}: no memory for .*: \d+ bytes \(.*\) asked for, of its 64.0 KiB ", *run_it, MEMORY="65536")
    refuses("no memory for the state", r"no memory for .*: \d+ bytes .* asked for", *run_it, "-c", "512", MEMORY="1500000")
    for kernel in ("1", "30"):
        refuses(f"lost at kernel {kernel}", rf"{CARD} was lost: .* did not end \(CUDA_ERROR_ILLEGAL_ADDRESS\); start again$", *run_it,
                LOST=kernel)
    refuses("another number", f"device '3': no type, number or part of a name; devices: cuda:0 {CARD}$", *run_it, "--device", "3", code=2)
    refuses("another device", "compiled for cuda:emulated, device 'cpu' is asked for", *run_it, "--device", "cpu")
    small = f"{models}/h1-mha-tied.gguf"
    of_it = ["run", small, "--module", compile_for(small, "cuda:sm_90", work), "-p", "a"]
    of_ptx = ["run", small, "--module", compile_for(small, "cuda:compute_80", work), "-p", "a"]
    refuses("an older device", f"compiled for cuda:sm_90, which no CUDA device here runs: 0, {CARD}, is sm_86; compile for it: heddle compile "
            "MODEL.gguf --target cuda:sm_86", *of_it, CAPABILITY="86")
    refuses("a later generation", r"compiled for cuda:sm_90, which no CUDA device here runs: .* is sm_100; ", *of_it, CAPABILITY="100")
    refuses("a device older than PTX", "compiled for cuda:compute_80, which no CUDA device here runs: .* is sm_75; ", *of_ptx, CAPABILITY="75")
    for words in (of_it, of_ptx):                            # a whole module: its code gets as far as the driver
        refuses("code that the driver refuses", r"kernel .*: loading its code failed \(CUDA_ERROR_INVALID_IMAGE\)$", *words)
    if subprocess.run("ldconfig -p | grep -q libcuda.so.1", shell=True).returncode:     # this machine has no driver
        refuses("no driver", f"^heddle: {module}: needs the NVIDIA driver: libcuda.so.1 not found$", *run_it, driver="")
        code, out, _ = run("devices", driver="")
        check(code == 0 and "\n  cuda     -  needs the NVIDIA driver: libcuda.so.1 not found\n" in out, f"devices without a driver: {out}")


def check_devices():
    code, out, _ = run("targets", CAPABILITY="89", DEVICES="2")
    check(code == 0 and all(f"\n* cuda:sm_89            this machine: Stand-in {n}\n" in out for n in "AB"), f"targets: {out}")
    code, out, _ = run("devices", DEVICES="2", CAPABILITY="86")
    check(code == 0 and "\n* cuda     1  Stand-in B, discrete GPU, 1.0 GiB, sm_86, driver of CUDA 12.8\n" in out, f"devices: {out}")
    code, out, _ = run("devices", CAPABILITY="70")
    check(code == 0 and re.search("^  cuda     0  .*; lacks compute capability 7.5$", out, re.M), f"old devices: {out}")


def saved(work, **settings):
    """A device of the stand-in as a file, and what it holds."""
    path = f"{work}/device-{len(os.listdir(work))}.json"
    code, _, err = run("devices", "--save", path, **settings)
    check(code == 0 and f"wrote {path}: cuda, {CARD}; for it: heddle compile MODEL.gguf --target @{path}" in err, f"devices --save: {err}")
    return path, json.load(open(path))


def check_files(work):
    """A device of another machine, described by a file, is what is compiled for: by its architecture or the nearest that NVRTC knows."""
    path, facts = saved(work, CAPABILITY="89", VERSION="12040", MEMORY="25757220864")
    want = {"heddle_device": 2, "type": "cuda", "name": CARD, "kind": "discrete GPU", "driver": "sm_89, driver of CUDA 12.4",
            "memory_bytes": 25757220864, "shared_bytes": 49152, "capability": 89}
    check(facts == want, f"the file: {facts}")
    model, module = f"{models}/h1-mha-tied.gguf", f"{work}/of-a-file.hdl"
    for capability, target in ((89, "cuda:sm_89"), (99, "cuda:sm_90"), (199, "cuda:compute_121")):
        facts["capability"] = capability
        json.dump(facts, open(path, "w"))
        code, _, err = run("compile", model, "--target", f"@{path}", "-o", module, driver="")
        check(code == 0 and f"for {target}\n" in err, f"capability {capability}: {err}")
    refuses("a module for another device", "compiled for cuda:compute_121, which no CUDA device here runs: 0, Stand-in A, is sm_89; ",
            "run", model, "--module", module, "-p", "a", CAPABILITY="89")
    facts["capability"] = 61
    json.dump(facts, open(path, "w"))
    refuses("an old device", r"compute capability 6.1: NVRTC [\d.]+ compiles for 7.5 and newer$", "compile", model, "--target", f"@{path}", "-o",
            module, driver="")
    code, _, err = run("devices", "--save", path, "--device", "cuda:1", DEVICES="2")
    check(code == 0 and json.load(open(path))["name"] == "Stand-in B", f"the second of two: {err}")


os.environ["XDG_CACHE_HOME"] = f"{os.path.dirname(os.path.abspath(heddle))}/tests/cache"   # where gpu.py has the same kernels
for name in ("h1-mha-tied", "h2-gqa4", "h3-head256", "moe-e16-k4"):
    check_logits(name)
with tempfile.TemporaryDirectory() as work:
    model = check_text()
    check_sent(model)
    check_refusals(model, work)
    check_devices()
    check_files(work)
finish()
