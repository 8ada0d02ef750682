# SPDX-License-Identifier: Apache-2.0
"""`heddle opt` and `heddle passes`. What comes out is judged by what was there before them: the files of tests/passes, the graphs in a compiled module, and a
patch of the text that gives the same graph as the pass did.

usage: opt.py HEDDLE SOURCE_DIR
"""
import glob
import json
import math
import os
import pty
import re
import subprocess
import sys
import tempfile

from checks import check, finish

heddle, source = map(os.path.abspath, sys.argv[1:])
model = os.path.join(source, "models/tiny/tiny-dense-q8_0.gguf")
work = tempfile.mkdtemp()
os.environ["XDG_CACHE_HOME"] = work
TARGET = ("--target", "cpu:x86-64-v3")


def run(*arguments, text=None, code=0):
    done = subprocess.run([heddle, *arguments], input=text, capture_output=True, text=True, timeout=300)
    check(done.returncode == code, f"{arguments}: exit {done.returncode}, {done.stderr.strip()[-300:]}")
    return done


def opt(*arguments, text=None):
    return run("opt", *TARGET, *arguments, text=text).stdout


def refuses(code, says, *arguments, text=None):
    done = run("opt", *TARGET, *arguments, text=text, code=code)
    lines = done.stderr.splitlines()
    check(len(lines) == 1 and re.search(says, lines[0]), f"{arguments}: {done.stderr!r} should say {says!r}")
    return done


def write(name, text):
    path = os.path.join(work, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def without_key(text):
    return re.sub(r'  key "pipeline".*\n', "", text)


def the_goldens_of_passes():
    files = glob.glob(os.path.join(source, "tests/passes/*/*.hir"))
    check(len(files) > 60, f"{len(files)} files in tests/passes")
    for path in files:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        header = dict(re.findall(r"^// (PASSES|TARGET|ERROR): (.*)$", text, re.MULTILINE))
        target = ("--target", header.get("TARGET", "cpu:x86-64-v3"))
        given, _, expected = text.partition("// EXPECT:\n")
        if "ERROR" in header:
            done = run("opt", *target, "-", "--passes", header["PASSES"], text=given, code=1)
            check(done.stderr == f"heddle: {header['ERROR']}\n" and not done.stdout, f"{path}: {done.stderr}")
            continue
        check(run("opt", *target, "-", "--passes", header["PASSES"], text=given).stdout == expected, path)
        check(run("opt", *target, "-", text=expected).stdout == expected, f"{path}: without passes a graph stays")


def what_is_compiled():
    module = os.path.join(work, "m.hdl")
    run("compile", model, *TARGET, "-o", module)
    compiled = run("inspect", module, "--ir").stdout
    graphs = opt(model)
    check(re.sub(r"  graph @model \{.*?\n  \}\n", "", graphs, flags=re.DOTALL) == compiled, "opt gives the graphs that compile does")
    for at in ("cse", "specialise", "cse#2", "fuse-epilogue", "schedule"):    # in two parts the same
        first = write("first.hir", opt(model, "--stop-after", at))
        names = [re.sub(r"\{.*", "", name) for name in re.search(r'key "pipeline" = "(.*)"', compiled)[1].replace("},", "}\n").split("\n")]
        names = [name for part in names for name in part.split(",")]
        place = names.index("cse", names.index("cse") + 1) if at == "cse#2" else names.index(at)
        following = names[place + 1]
        following += "#2" if following in names[:place + 1] else ""
        check(opt(first, "--start-from", following) == graphs, f"stopped after {at}, gone on from {following}")


def which_passes():
    key = r'key "pipeline" = "(.*)"'
    used = re.search(key, opt(model, "--disable-pass", "cse#2", "--disable-pass", "fuse-norm", "--set", "delta-net{form=wy,chunk=16}"))[1]
    check(used.count("cse") == 1 and "fuse-norm" not in used and "delta-net{form=wy,chunk=16," in used, used)
    used = re.search(key, opt(model, "--passes", "default", "--start-from", "cse", "--stop-after", "delta-net"))[1]
    check(re.sub(r"\{.*?\}", "", used) == "cse,dce,specialise,delta-net", used)
    check('key "pipeline"' not in opt(model, "--passes", "cse", "--stop-after", "cse", "--stage", "canonicalize").split("key")[0], "")
    staged = opt(model, "--stage", "select-layout", "--set", "delta-net{form=wy}", "--passes", "fuse-norm")
    check("delta.chunk_scan" in staged and "kind = rowwise" in staged and "kind = matmul" not in staged, "a set of the stage, then one pass")
    check(opt(model, "--stage", "dce") == opt(model, "--stop-after", "dce"), "a stage is what stopping there gives")
    one = opt(model, "--class", "decode")
    check(re.findall(r"graph @(\w+)", one) == ["decode"], "one class")
    check(opt("-", "--class", "decode", text=one) == one, "and it reads back")
    dumps = run("opt", *TARGET, model, "--class", "small", "--print-after", "cse", "--print-after", "fuse-norm").stderr
    check(re.findall(r"// -----// (@\w+ after [\w-]+)", dumps) == ["@model after cse", "@small after fuse-norm"], dumps[:200])
    check(dumps.count("graph @") == 2, "two graphs")


def which_target():
    device = os.path.join(work, "cpu.json")
    run("devices", "--device", "cpu", "--save", device)
    described, native = (run("opt", "--target", target, model, "--class", "decode").stdout for target in ("@" + device, "cpu:native"))
    check("stage" in described and described == native, "a device by its file")
    done = run("opt", "--target", "vulkan,cpu:native", model, code=2)
    check(done.stderr == "heddle: --target vulkan,cpu:native: passes run for one target\n", done.stderr)


def layers():
    whole, sliced = opt(model, "--passes", "cse"), opt(model, "--passes", "cse", "--layers", "1:3")
    check(set(re.findall(r" layer (\d+)", sliced)) == {"1", "2"} and '"layers" = "2"' in sliced, "layers 1 and 2")
    for layer in (1, 2):       # what a layer computes is what it computed
        kinds = [re.findall(rf"= (\S+) .* layer {layer}$", text, re.MULTILINE) for text in (whole, sliced)]
        check(kinds[0] == kinds[1] and kinds[0], f"the operations of layer {layer}")
    every = len(set(re.findall(r" layer (\d+)", whole)))
    check(without_key(opt(model, "--layers", f"0:{every}")) == without_key(opt(model)), "all layers")
    opt(model, "--layers", "2:3")


def apply_patch(lines, patch):
    """What `patch` does, for a diff whose lines stand in order; hunks are found by their text."""
    result, at = [], 0
    for hunk in re.split(r"^@@ .*\n", patch, flags=re.MULTILINE)[1:]:
        old = [line[1:] for line in hunk.splitlines() if line[0] in " -"]
        new = [line[1:] for line in hunk.splitlines() if line[0] in " +"]
        place = next((i for i in range(at, len(lines)) if lines[i:i + len(old)] == old), None)
        check(place is not None, f"a hunk has no place: {hunk[:200]}")
        result += lines[at:place] + new
        at = place + len(old)
    return result + lines[at:]


def diffs():
    steps = ["quantise-activations", "cse", "merge-projections", "fuse-epilogue", "fuse-norm", "partition", "schedule", "plan-memory"]
    before = opt(model, "--class", "prefill", "--stop-after", "moe-dispatch")
    for step in steps:
        path = write("before.hir", before)
        after, patch = opt(path, "--passes", step), opt(path, "--passes", step, "--diff")
        patched = "\n".join(apply_patch(before.splitlines(), patch)) + "\n"
        check(without_key(opt("-", text=patched)) == without_key(after), f"the diff of {step} is what it did")
        check(not patch or re.match(rf"--- @prefill before {step}\n\+\+\+ @prefill after {step}\n@@ ", patch), patch[:100])
        before = after
    check(opt(write("done.hir", before), "--passes", "plan-memory", "--diff") == "", "no change, no diff")


def reports():
    out = os.path.join(work, "out.hir")
    done = json.loads(opt(model, "--class", "decode", "--report", "json", "--explain", "--cost", "--diff", "--timing", "-o", out))
    check(open(out, encoding="utf-8").read() == opt(model, "--class", "decode"), "the graph goes to -o")
    passes = done["passes"]
    check([p["pass"] for p in passes][:5] == ["canonicalize", "cse", "dce", "specialise", "delta-net"] and {p["graph"] for p in passes} == {"model", "decode"}, "")
    check(done["target"] == "cpu:x86-64-v3" and all(p["seconds"] > 0 for p in passes), "target and times")
    for p in passes:
        fired = sum(event["fired"] for event in p["events"])
        check(fired == p["fired"] and len(p["events"]) - fired == p["missed"], f"{p['pass']}: {fired} events")
    launches = [p["cost"]["decode"]["after"]["launches"] for p in passes]
    graph = opt(model, "--class", "decode")
    check(launches[-1] == graph.count(" = fused ") + graph.count("    fused "), f"{launches[-1]} groups")
    check(passes[-1]["cost"]["decode"]["after"]["arena"] == int(re.search(r"arena (\d+)", graph)[1]), "the arena")
    cycle = [e for p in passes for e in p["events"] if e.get("reason") == "cycle"]
    check(cycle and all(re.fullmatch(r"%\d+", e["operand"]) for e in cycle), "a cycle names the value that it goes through")
    text = opt(model, "--class", "decode", "--explain")
    check(len(re.findall(r"^  (fired|missed) ", text, re.MULTILINE)) == sum(len(p["events"]) for p in passes), "the same in text")
    rule = opt(model, "--class", "decode", "--explain=fuse-norm.norm")
    check(set(re.findall(r"^  (?:fired|missed) +(\S+)", rule, re.MULTILINE)) == {"norm"}, rule[:200])
    node = opt(model, "--stage", "select-layout", "--class", "decode", "--passes", "fuse-epilogue", "--explain=%28")
    check(node.count("\n") == 2 and "  fired   matmul-epilogue  layer 0 %28 = linear\n" in node, node)
    cost = opt(model, "--class", "decode", "--cost")
    check(cost.startswith("cost of a step of @decode: T = 1, S = 1, C = 4096, R = 1\n") and "\n  change " in cost, cost[:100])
    check("C = 100," in opt(model, "--class", "decode", "--cost", "-c", "100"), "-c")
    check(len(re.findall("cost of a step", opt(model, "--cost"))) == 3, "three classes")
    as_it_is = opt("-", "--cost", text=graph)
    check(re.search(r"at the end +(.*)", cost)[1] == re.search(r"at the beginning +(.*)", as_it_is)[1], "what a graph costs as it is")
    timing = opt(model, "--timing", "--class", "decode")
    check(len(re.findall(r" ms +[\d.]+%  ", timing)) == len(passes), timing[:100])


def predictions():
    """Times by figures: what one launch takes is the slower of its bytes and its arithmetic."""
    figures = {"memory_gb_per_s": 2.0, "gflops": 5.0, "launch_us": 3.0, "barrier_us": 7.0}
    path = write("d.device", "# a device\nname = somebody's\n" + "".join(f"{name} = {value} # measured: by hand\n" for name, value in figures.items()))
    one = 'module "m" { graph @decode { %tokens = input tokens : i32[T] %t = weight "t" : f32[9, 8] %x = embed %tokens, %t : f32[T, 8] return x = %x } }'
    cost = json.loads(opt("-", "--cost", "--device-file", path, "--report", "json", text=one))["passes"][0]["cost"]["decode"]["before"]
    moved = cost["bytes_read"] + cost["bytes_written"]
    check(abs(cost["seconds"] - (moved / 2e9 + 10e-6)) < 1e-12 and moved == 4 + 2 * 32, cost)
    products = one.replace("return x = %x", '%w = weight "w" : f32[4096, 8] %y = linear %x, %w : f32[T, 4096] %z = exp %y : f32[T, 4096] return z = %z')
    cost = json.loads(opt("-", "--cost", "--device-file", path, "--report", "json", text=products))["passes"][0]["cost"]["decode"]["before"]
    by_hand = moved / 2e9 + (4096 * 32 + 32 + 4096 * 4) / 2e9 + max(2 * 4096 * 4 / 2e9, 10 * 4096 / 5e9) + 3 * 10e-6
    check(abs(cost["seconds"] - by_hand) < 1e-9, f"{cost}, by hand {by_hand}")
    text = opt(model, "--class", "decode", "--cost", "--device-file", path)
    check("times are predicted for somebody's\n" in text and re.search(r"cache_mb +not known, and not counted", text) and "time, us" in text, text[-400:])
    for name in ("h100-sxm", "rtx-4090", "xeon-spr-2"):
        text = opt(model, "--class", "decode", "--cost", "--device-file", name)
        known = re.findall(r"^  \w+ +[\d.e+]+ +(measured|data sheet): \w", text, re.MULTILINE)
        check(len(known) >= 2, f"{name}: {text[-500:]}")
    # figures of kernels: what one token takes, and what each further token takes among many
    kernels = {"embed_f32.gb_per_s": 0.5, "matmul_f32_f32.launch_us": 11.0, "matmul_f32_f32.gops": 0.8, "matmul_f32_f32.one_gops": 0.2, "matmul_f32_f32.cached_gops": 0.4,
               "rowwise.gb_per_s": 4.0, "rowwise.one_gb_per_s": 0.1, "step_us": 13.0, "cached_mb": 0.01, "uncached_mb": 0.02}
    path = write("k.device", open(path, encoding="utf-8").read() + "".join(f"{name} = {value} # measured: by hand\n" for name, value in kernels.items()))
    for name, tokens in (("decode", 1), ("small", 16)):
        cost = json.loads(opt("-", "--cost", "--device-file", path, "--report", "json", text=products.replace("@decode", f"@{name}")))["passes"][0]["cost"][name]["before"]
        moved = cost["bytes_read"] + cost["bytes_written"]
        share = min(max(math.log(moved / 1e4) / math.log(2), 0), 1)
        one, ops, rows = share / 0.2 + (1 - share) / 0.4, 2 * 4096 * 8 * tokens, tokens * 4096 * 8
        by_hand = (13e3 + 11e3 + tokens * (4 + 64) / 0.5 + ops / 0.8 + ops / tokens * (one - 1 / 0.8) + rows / 4 + rows / tokens * (10 - 1 / 4)) * 1e-9
        check(abs(cost["seconds"] / by_hand - 1) < 1e-9, f"@{name}: {cost}, by hand {by_hand}")
    own = os.path.join(work, "own.device")
    run("calibrate", "-t", "1", "-o", own, "--types", "Q8_0")
    text = open(own, encoding="utf-8").read()
    figures = {name: float(value) for name, value in re.findall(r"^(\S+) += (\S+) +# measured: ", text, re.MULTILINE)}
    check(set(figures) > {f"{kernel}.{figure}" for kernel in ("matmul_q8_0_q8a", "matmul_f32_f32", "grouped_rows_q8_0_q8a", "grouped_q8_0_q8a", "delta_step", "delta_scan", "delta_prep_16", "delta_chunk_16", "delta_prep_64", "delta_chunk_64")
                          for figure in ("gops",)} | {"attention.gb_per_s", "rowwise.gb_per_s", "conv.one_gb_per_s", "step_us", "gflops", "matmul_q8_0_q8a.cached_gops"}, text)
    check(figures["matmul_q8_0_q8a.gops"] > figures["matmul_q8_0_q8a.one_gops"] > 0.1, "many tokens at once are faster")
    check("measured: " in opt(model, "--class", "decode", "--cost", "--device-file", own), "own figures")
    check("matmul" not in run("calibrate", "-t", "1", "--types", "none").stdout, "without kernels")
    check("--types q9: there is no such type" in run("calibrate", "--types", "q9", code=2).stderr, "no such type")
    refuses(2, r"--device-file nope: no such file, and no known device; these are xeon-spr-2, h100-sxm, rtx-4090", model, "--cost", "--device-file", "nope")
    refuses(2, r"--device-file h100-sxm has no effect without --cost or --html", model, "--device-file", "h100-sxm")
    for text, says in (("gflops = 1 # measured: x\n", r"bad.device: memory_gb_per_s is missing"), ("\ngflops = x # measured: x", r"bad.device:2: gflops = x: expected a number"),
                       ("gflops = 5", r"bad.device:1: gflops: its source is missing"), ("speed = 5 # measured", r"bad.device:1: there is no figure \"speed\"; there are name, "),
                       ("conv.speed = 5 # measured", r"bad.device:1: there is no figure \"speed\"; those of kernels are launch_us, "), (".gops = 5 # measured", r"expected the name of a kernel"),
                       ("conv.gops = 5", r"conv.gops: its source is missing"),
                       ("gflops", r"bad.device:1: expected NAME = VALUE"), ("gflops = -1 # measured", r"expected a number from 0.1"), ("gflops = nan # measured", r"expected a number")):
        refuses(1, says, model, "--cost", "--device-file", write("bad.device", text))


def verification():
    """On the model's weights and on random ones; the report of a pass that is right. What is wrong is found in tests/unit/test_workbench_faults.c."""
    sliced = ("--layers", "2:4", "--class", "decode")
    text = opt(model, *sliced, "--verify")
    rows = re.findall(r"^  right +(\d+)  (\S+) +(\S+) on @(\w+)$", text, re.MULTILINE)
    check(len(rows) == len(text.splitlines()) - 1 == 16 and all(int(row[0]) > 50 for row in rows), text)
    errors = {row[2]: float(row[1]) for row in rows}
    check(0 < errors.pop("quantise-activations") < 1e-3 and not any(errors.values()), "only one pass changes values")
    hir = write("sliced.hir", opt(model, *sliced, "--stage", "delta-net"))
    for target in ("vulkan", "cuda:sm_90"):
        text = run("opt", "--target", target, os.path.join(source, "tests/data/models/moe-e16-k4.gguf"), "--verify").stdout
        names = re.findall(r"^  right +\d+  \S+ +(\S+) on", text, re.MULTILINE)
        check(len(names) == len(text.splitlines()) - 1 and {"arg-max", "split-attention", "delta-net", "moe-dispatch"} < set(names), f"{target}: {text}")
    real, other = (opt(hir, "--passes", "quantise-activations,fuse-norm", "--verify", *more) for more in (("--model", model), ()))
    check("right" in real and "right" in other and real != other, "other weights, other errors")
    out = json.loads(opt(hir, "--passes", "fuse-norm", "--bisect", "--report", "json"))
    check([p["values"]["right"] for p in out["passes"]] == [True] and out["passes"][0]["values"]["compared"] > 50, out)
    refuses(1, r"--verify: @decode cannot be evaluated: .*tensor token_embd.weight has 512 rows of 128", hir, "--passes", "cse", "--verify", "--model",
            os.path.join(source, "tests/data/models/h1-mha-tied.gguf"))


def by_hand():
    """A graph written by opt compiles to the module that its model gives; one edited by hand compiles, runs and is verified."""
    small, other = (os.path.join(source, f"tests/data/models/{name}.gguf") for name in ("h2-gqa4", "h1-mha-tied"))
    module, ids = os.path.join(work, "hand.hdl"), os.path.join(work, "ids")
    with open(ids, "wb") as file:
        file.write(b"".join(id.to_bytes(4, "little") for id in range(1, 20)))

    def compiled(path, *options):
        run("compile", path, "--model", small, *TARGET, "-o", module, *options)
        with open(module, "rb") as file:
            return file.read()

    def verified(code):
        return run("verify", small, "--module", module, "--ids-file", ids, "--against", "interpreter", "--max-nmse", "0.001", code=code).stdout

    run("compile", small, *TARGET, "-o", module)
    with open(module, "rb") as file:
        whole = file.read()
    for start, stop in (("select-layout", "merge-projections"), ("plan-memory", "schedule")):
        check(compiled(write("part.hir", opt(small, "--stop-after", stop)), "--start-from", start) == whole, f"a module from {start} on")
    check(compiled(write("early.hir", opt(small, "--passes", "cse"))) == whole, "a module of a graph that no pass has changed")
    done = opt(small)
    check(compiled(write("done.hir", done)) == whole, "a module of a graph that all passes have been over")
    turned, count = re.subn(r"= add (%\w+), (%\w+) : (f32\[T, 128\]) layer", r"= add \2, \1 : \3 layer", done)
    check(count > 10 and compiled(write("turned.hir", turned)) != whole, f"{count} sums turned round")
    verified(0)
    lost, count = re.subn(r"= silu (%\w+) ", r"= sigmoid \1 ", done)
    compiled(write("lost.hir", lost))
    verified(1)
    write("bad.hir", done.replace("silu", "silo"))
    write("weight.hir", opt(small, "--passes", "cse").replace('"blk.0.attn_norm.weight"', '"blk.0.nothing"'))
    write("type.hir", 'module "h2" { graph @model { %tokens = input tokens : i32[T] %t = weight "token_embd.weight" : f32[9, 8] %x = embed %tokens, %t : f32[T, 8] return x = %x } }')
    write("one.hir", opt(small, "--class", "decode"))
    write("stage.hir", opt(small, "--stop-after", "partition"))
    out = ("-o", os.path.join(work, "none.hdl"))
    for code, says, *arguments in (
            (2, r"turned.hir: a graph in text form is compiled for the weights of a model; give --model", "turned.hir"),
            (1, r"turned.hir: key \"\w+\" is .* the graph is of another model", "turned.hir", "--model", other),
            (1, r"bad.hir:\d+:\d+: unknown operation 'silo'", "bad.hir", "--model", small),
            (1, r"weight.hir: @model: the model has no weight \"blk.0.nothing\"", "weight.hir", "--model", small),
            (1, r"type.hir: @model: weight \"token_embd.weight\" is f32\[9, 8\], in the model f32\[\d+, 128\]", "type.hir", "--model", small),
            (1, r"stage.hir: @decode cannot be compiled yet: an operation \w+ in layer -?\d+ has no stage", "stage.hir", "--model", small, "--start-from", "plan-memory"),
            (1, r"one.hir: there is no graph @small", "one.hir", "--model", small, "--start-from", "plan-memory"),
            (2, r"--start-from is for a graph in text form", small, "--start-from", "cse"),
            (2, r"--kv-type has no effect on a graph", "turned.hir", "--model", small, "--kv-type", "f16"),
            (2, r"--start-from x: the pipeline has no such pass", "turned.hir", "--model", small, "--start-from", "x")):
        got = run("compile", os.path.join(work, arguments[0]), *TARGET, *arguments[1:], *out, code=code).stderr.splitlines()
        check(re.search(says, got[-1]) and not os.path.exists(out[1]), f"{arguments}: {got}")
    run("compile", small, *TARGET, *out, "--require", "fuse-epilogue.matmul-epilogue:5")
    done = run("run", small, *TARGET, "-p", "a", "-n", "1", "--require", "bf16", code=1)
    check("--require bf16: the rule fired 0 times" in done.stderr and not done.stdout, done.stderr)
    run("run", small, *TARGET, "--ids", "-p", "a", "-n", "1", "--require", "merge")
    check("--require has no effect on --module" in run("run", small, "--module", module, "-p", "a", "--require", "norm", code=2).stderr, "of a compiled module")


def requirements():
    for rule in ("norm", "fuse-norm.norm:2", "matmul-epilogue:10"):
        opt(model, "--class", "decode", "--require", rule, "-o", os.path.join(work, "x.hir"))
    lost = os.path.join(work, "required.hir")
    done = refuses(1, r"--require norm: the rule fired 0 times; nothing was near to it", model, "--require", "norm", "--disable-pass", "fuse-norm", "-o", lost)
    check(not done.stdout and not os.path.exists(lost), "nothing is written")
    refuses(1, r"--require pack: the rule fired 0 times; where it did not: an option turns the rule off \(\d+\)", model, "--require", "pack", "--set",
            "select-layout{layout=native}")


def refusals():
    hir = write("a.hir", 'module "a" {\n  graph @model {\n    %tokens = input tokens : i32[T]\n    %0 = silu %tokens : i32[T]\n    return y = %0\n  }\n}\n')
    refuses(1, r"^heddle: \S*a.hir:4:10: silu: ", hir)
    refuses(1, r"^heddle: <stdin>:1:1: expected module, found the end of the text", "-", text="")
    refuses(1, r"^heddle: <stdin>:2:3: expected key, graph or '}', found 'grap'", "-", text='module "a" {\n  grap\n')
    refuses(1, r"nope: cannot open", os.path.join(work, "nope"))
    refuses(1, r"noise:1:1: ", write("noise", "\x01\x02\x03"))
    refuses(2, r"--disable-pass partition: this pass is mandatory", model, "--disable-pass", "partition")
    refuses(2, r"--disable-pass cse#3: the pipeline has no such pass; it has canonicalize, cse, .*cse#2", model, "--disable-pass", "cse#3")
    refuses(2, r"--start-from nonsense: ", model, "--start-from", "nonsense")
    refuses(2, r"--start-from dce --stop-after cse: the first stands behind", model, "--start-from", "dce", "--stop-after", "cse")
    refuses(2, r"--print-after fuse-norm: the pipeline has no such pass", model, "--passes", "cse", "--print-after", "fuse-norm")
    refuses(2, r"--class decode: there is no such graph, but @model", model, "--passes", "cse", "--class", "decode")
    refuses(2, r"--stage x: ", model, "--stage", "x")
    refuses(2, r"--explain x: there is no such rule", model, "--explain=x")
    refuses(2, r"--require x: there is no such rule", model, "--require", "x")
    refuses(2, r"--require norm:0: expected RULE", model, "--require", "norm:0")
    refuses(2, r"--layers 3:2: expected A:B", model, "--layers", "3:2")
    refuses(2, r"--layers x: expected A:B", model, "--layers", "x")
    refuses(2, r"--layers 0:99: @model has layers 0 to ", model, "--layers", "0:99")
    fused = write("fused.hir", opt(model, "--class", "decode"))
    two = 'module "a" { graph @model { %tokens = input tokens : i32[T] %t = weight "t" : f32[9, 8] %x = embed %tokens, %t : f32[T, 8] %a = neg %x : f32[T, 8] layer 0 ' \
          '%b = exp %x : f32[T, 8] layer 0 %c = add %a, %b : f32[T, 8] layer 1 return y = %c } }'
    refuses(1, r"--layers: more than one value goes into layer 1 of @model", "-", "--layers", "1:2", text=two)
    refuses(2, r"--stage cse is for a model", fused, "--stage", "cse")
    refuses(2, r"--kv-type has no effect on a graph", fused, "--kv-type", "f16")
    refuses(2, r"--model \S+ has no effect without --verify", fused, "--model", model)
    refuses(2, r"--model is for a graph in text form", model, "--verify", "--model", model)
    refuses(2, r"there is no pass \"x\"", model, "--passes", "x")
    refuses(2, r"cse has no option \"x\"", model, "--passes", "cse", "--set", "cse{x=1}")
    for vain in (["--print-after", "cse"], ["--verify"], ["--bisect"], ["--diff"], ["--explain"]):
        refuses(2, rf"no passes run, so {vain[0]} has no effect", model, "--stage", "cse", *vain)
    refuses(2, r"--report xml: expected text\|json", model, "--report", "xml")


def colour():
    """On a terminal a diff has colours, but not where NO_COLOR asks for none."""
    for no_colour, wanted in (("", True), ("1", False)):
        pid, fd = pty.fork()
        if pid == 0:
            os.environ.update(TERM="xterm", NO_COLOR=no_colour)
            os.execv(heddle, [heddle, "passes", "cse"])
        text = b""
        try:
            while part := os.read(fd, 65536):
                text += part
        except OSError:
            pass
        os.waitpid(pid, 0)
        check((b"\x1b[31m-" in text) == wanted and b"fired" in text, f"NO_COLOR={no_colour}: {text[-200:]}")


def all_passes():
    names = re.findall(r"^[* ] ([a-z-]+) +(?:exact|ordered|bounded) ", run("passes").stdout, re.MULTILINE)
    check(len(names) >= 14, names)
    for name in names:
        page = run("passes", name).stdout
        check(page.startswith(f"{name}\n\n") and "\nnumerics: " in page and re.search(rf"^{name} on @\w+: [1-9]\d* fired", page, re.MULTILINE), page[-300:])
    check("there is no pass" in run("passes", "nonsense", code=2).stderr, "no such pass")


def documentation():
    """Every command of docs/WORKBENCH.md and docs/EXPERIMENT.md, one after the other in one folder."""
    folder = os.path.join(work, "documentation")
    os.mkdir(folder)
    os.symlink(model, os.path.join(folder, "MODEL.gguf"))
    commands = []
    for page, least in (("WORKBENCH", 15), ("EXPERIMENT", 6)):
        with open(os.path.join(source, f"docs/{page}.md"), encoding="utf-8") as file:
            found = re.findall(r"^    heddle (.*)$", file.read(), re.MULTILINE)
        check(len(found) > least, f"{len(found)} commands of {page}")
        commands += found
    for command in commands:
        done = subprocess.run(f"'{heddle}' {command}", shell=True, cwd=folder, capture_output=True, text=True, timeout=300)
        check(done.returncode == 0 and (done.stdout or re.search(" (-o|--html|--dot) ", command)), f"{command}: exit {done.returncode}, {done.stderr[-300:]}")


the_goldens_of_passes()
what_is_compiled()
which_passes()
which_target()
layers()
diffs()
reports()
predictions()
verification()
by_hand()
requirements()
refusals()
colour()
all_passes()
documentation()
finish()
