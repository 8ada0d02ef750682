# SPDX-License-Identifier: Apache-2.0
"""The CUDA device where there is no GPU: the program with a stand-in for the driver's library (tests/support/fake_cuda.c), which runs the
kernels as the C++ that cuda:emulated compiles them to. Logits of the random models against float64, text, and what is said where the
driver, a device, memory or the right code is missing.

usage: cuda.py HEDDLE SOURCE_FOLDER FOLDER_OF_RANDOM_MODELS FOLDER_OF_THEIR_GOLDENS FOLDER_OF_THE_STAND_IN
Needs: c++; pip install nvidia-cuda-nvrtc (tests/tools/requirements.txt)
"""
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
    environment = dict(os.environ, LD_LIBRARY_PATH=folder, VIRTUAL_ENV=sys.prefix, **{f"FAKE_CUDA_{k}": v for k, v in settings.items()})
    done = subprocess.run([heddle, *args], capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment)
    return done.returncode, done.stdout, done.stderr


def refuses(what, pattern, *args, code=1, **settings):
    got, _, err = run(*args, **settings)
    lines = [line for line in err.splitlines() if not line.startswith(("device: ", "sampling: "))]
    check(got == code and len(lines) == 1 and re.search(pattern, lines[0]), f"{what}: exit {got}, {err.strip()!r}")


def compile_for(model, target, work, *options):
    module = f"{work}/{os.path.basename(model)}-{'-'.join((target, *options)).replace(':', '-')}.hdl"
    code, _, err = run("compile", model, "--target", target, "-o", module, *options, driver="")   # NVRTC looks for the driver too
    check(code == 0, f"{model} for {target}: {err}")
    return module


def verify(model, golden, module, *options):
    code, out, err = run("verify", model, "--module", module, "--golden", golden, "--max-nmse", str(CAP), *options)
    line = (out.strip().splitlines() or [err.strip()])[-1]
    print(f"{os.path.basename(module):32} {' '.join(options):14} {line}", flush=True)
    check(code == 0, f"{module} {' '.join(options)}: {err.strip()}")
    return line.split("digest ")[-1]


def check_logits(name, work):
    """The bits are those of the same kernels on the CPU device, whose work groups are calls of many units."""
    model, golden = f"{models}/{name}.gguf", f"{goldens}/{name}.golden.gguf"
    module = compile_for(model, "cuda:emulated", work)
    cpu = compile_for(model, "cpu:emulated-cuda", work)
    for options in ([], ["--split", "1,3,64"], ["--decode"]):
        digest = verify(model, golden, module, *options)
        if "--decode" not in options:
            check(verify(model, golden, cpu, *options) == digest, f"{name}: the devices differ")


def check_text(work):
    """A model generates what it does on the CPU device."""
    model = f"{source}/models/tiny/tiny-dense-q8_0.gguf"
    cuda, cpu = (compile_for(model, target, work) for target in ("cuda:emulated", "cpu:emulated-cuda"))
    options = ["-p", "Once upon a time", "-n", "12", "--temp", "0"]
    code, want, err = run("run", model, "--module", cpu, *options)
    check(code == 0 and len(want) > 20, f"text on the CPU: {want!r} {err}")
    packed = compile_for(model, "cuda:emulated", work, "--layout", "packed")    # the kernels that pack run there, too
    for module, *more in ((cuda,), (cuda, "-b", "3"), (cuda, "--device", "0"), (cuda, "--device", CARD), (packed,)):
        code, out, err = run("run", model, "--module", module, *options, *more)
        check(code == 0 and out == want, f"text on CUDA {module} {more}: {out!r} {err}, not {want!r}")
    return model, cuda


def check_sent(model, module):
    """Greedy choices send a number per token to the host, others the logits, whose vocabulary has 4096 entries."""
    for sampling, least, most in ((["--temp", "0"], 0, 1024), (["--temp", "0", "--repeat-penalty", "1.1"], 12 * 4096 * 4, 13 * 4096 * 4),
                                  (["--temp", "0.6"], 12 * 4096 * 4, 13 * 4096 * 4)):
        code, _, err = run("run", model, "--module", module, "-p", "Once upon a time", "-n", "12", *sampling, REPORT="1")
        sent = re.search(r"^fake_cuda: (\d+) bytes sent to the host$", err, re.M)
        print(f"{' '.join(sampling)}: {sent and sent[1]} bytes sent to the host")
        check(code == 0 and sent and least <= int(sent[1]) <= most, f"{sampling}: {sent and sent[1]} bytes, not {least} to {most}: {err}")


def check_refusals(model, module, work):
    run_it = ["run", model, "--module", module, "-p", "a", "-n", "4", "--temp", "0"]
    refuses("no device", f"^heddle: {module}: no CUDA device: the NVIDIA driver finds none on this machine$", *run_it, DEVICES="0")
    refuses("an old driver", "the NVIDIA driver is too old: it knows CUDA 11.2, 11.4 or newer is needed", *run_it, VERSION="11020")
    refuses("no memory for weights", rf"{CARD}: no memory for .*: \d+ bytes \(.*\) asked for, of its 64.0 KiB ", *run_it, MEMORY="65536")
    refuses("no memory for the state", r"no memory for .*: \d+ bytes .* asked for", *run_it, "-c", "512", MEMORY="1500000")
    for kernel in ("1", "30"):
        refuses(f"lost at kernel {kernel}", rf"{CARD} was lost: .* did not end \(CUDA_ERROR_ILLEGAL_ADDRESS\); start again$", *run_it,
                LOST=kernel)
    refuses("another number", f"device '3': there is no such number; CUDA devices: 0 {CARD}$", *run_it, "--device", "3", code=2)
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
    code, out, _ = run("devices", DEVICES="2", CAPABILITY="86")
    check(code == 0 and "\n* cuda     1  Stand-in B, discrete GPU, 1.0 GiB, sm_86, driver of CUDA 12.8\n" in out, f"devices: {out}")
    code, out, _ = run("devices", CAPABILITY="70")
    check(code == 0 and re.search("^  cuda     0  .*; lacks compute capability 7.5$", out, re.M), f"old devices: {out}")


with tempfile.TemporaryDirectory() as work:
    os.environ["XDG_CACHE_HOME"] = f"{work}/cache"
    for name in ("h1-mha-tied", "h2-gqa4", "h3-head256", "moe-e16-k4"):
        check_logits(name, work)
    model_and_module = check_text(work)
    check_sent(*model_and_module)
    check_refusals(*model_and_module, work)
    check_devices()
finish()
