# SPDX-License-Identifier: Apache-2.0
"""`--load-pass`: docs/WRITING_A_PASS.md is followed from an empty folder, with nothing but what `cmake --install` has put under a prefix; what the pass changes is
judged by the module, by the interpreter and by a golden of someone else's. Then what may be wrong with a file.

usage: load_pass.py BUILD_DIR SOURCE_DIR
"""
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

from checks import check, finish

build, source = map(os.path.abspath, sys.argv[1:])
work = tempfile.mkdtemp()
os.environ["XDG_CACHE_HOME"] = os.path.join(work, "cache")
tiny = os.path.join(source, "models/tiny/tiny-dense-q8_0.gguf")
golden = os.path.join(source, "tests/data/golden/tiny-dense-q8_0.golden.gguf")
RULE = "gate-and-quantise.together"
sanitized = "HEDDLE_SANITIZE:STRING=\n" not in open(os.path.join(build, "CMakeCache.txt"), encoding="utf-8").read()


def shell(command, folder=work, code=0):
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, timeout=300)
    check(done.returncode == code, f"{command}: exit {done.returncode}, {done.stdout[-300:]}{done.stderr[-500:]}")
    return done


def install():
    """Under one prefix, then moved to another."""
    first, prefix = os.path.join(work, "first"), os.path.join(work, "prefix")
    shell(f"cmake --install '{build}' --prefix '{first}'")
    os.rename(first, prefix)
    pc = glob.glob(os.path.join(prefix, "**/heddle-pass.pc"), recursive=True)
    check(len(pc) == 1, f"{pc}")
    os.environ.update(PKG_CONFIG_PATH=os.path.dirname(pc[0]), CMAKE_PREFIX_PATH=prefix, PATH=os.path.join(prefix, "bin") + ":" + os.environ["PATH"])
    return prefix


def the_tutorial():
    """Every command, in a folder that holds a model and what the text has one write. The code it shows is the code of the example."""
    folder = os.path.join(work, "tutorial")
    os.mkdir(folder)
    os.symlink(tiny, os.path.join(folder, "MODEL.gguf"))
    for name in ("gate_and_quantise.c", "CMakeLists.txt"):
        shutil.copy(os.path.join(source, "docs/pass", name), folder)
    with open(os.path.join(folder, "gate_and_quantise.c"), encoding="utf-8") as file:
        code = file.read()
    with open(os.path.join(source, "docs/WRITING_A_PASS.md"), encoding="utf-8") as file:
        text = file.read()
    blocks = re.findall(r"^```c\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    check(len(blocks) >= 3, f"{len(blocks)} blocks of code")
    for block in blocks:
        check(block.strip("\n") in code or "make_silu" in block, f"docs/pass/gate_and_quantise.c does not have\n{block}")
    commands = re.findall(r"^    ((?:heddle|cc|cmake) .*)$", text, re.MULTILINE)
    check(len(commands) >= 14, f"{len(commands)} commands")
    said = {command: shell(command, folder) for command in commands if not (sanitized and "bench" in command)}
    graph = [line.strip() for line in said[commands[0]].stdout.splitlines()]
    shown = re.search(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[1].splitlines()
    check(len(shown) > 4 and all(line in graph for line in shown), f"{commands[0]} does not print {shown}")
    the_other_rule(next(block for block in blocks if "make_silu" in block))
    return folder


def the_other_rule(code):
    """x * sigmoid(x), in both orders, and a product that is none."""
    run = code + "static HdStatus *run(IrGraph *g, PassCtx *c) { return pass_each(g, c, make_silu); }"
    plugin = one_pass("silu", '.name = "silu", .doc = "x", .numerics = IR_NUMERICS_ORDERED, .run = run, .rules = {{"silu", "x * sigmoid(x)"}}', run)
    hir = os.path.join(work, "silu.hir")
    with open(hir, "w", encoding="utf-8") as file:
        file.write("""module "m" { graph @model { %i = input tokens : i32[T] %t = weight "t" : f32[9, 8] %x = embed %i, %t : f32[T, 8] %s = sigmoid %x : f32[T, 8]
            %a = mul %x, %s : f32[T, 8] %b = mul %s, %a : f32[T, 8] %c = mul %s, %x : f32[T, 8] return a = %a, b = %b, c = %c } }""")
    shell(f"heddle opt {hir} --load-pass {plugin} --passes silu,dce --require silu:2 --verify")
    text = shell(f"heddle opt {hir} --load-pass {plugin} --passes silu,dce").stdout
    check(re.findall(r"= (\w+) ", text) == ["input", "weight", "embed", "sigmoid", "silu", "mul", "silu"], text)


def graphs(*options):
    return shell(f"heddle opt '{tiny}' --target cpu:x86-64-v3 {' '.join(options)}").stdout


def launches(module, what="launches"):
    return [int(n) for n in re.findall(rf"(\d+) {what}", shell(f"heddle inspect '{module}' --kernels").stdout.partition("@load")[0])]


def what_it_changes(plugin):
    """A launch and a stage less in each layer of the delta net, of which the kernel is its own; the bits are what they were."""
    load = f"--load-pass '{plugin}'"
    layers = graphs("--passes cse").count(" delta_rule ")
    check(layers >= 2, f"{layers} layers")
    plain, fused = (os.path.join(work, name) for name in ("plain.hdl", "fused.hdl"))
    shell(f"heddle compile '{tiny}' --target cpu:x86-64-v3 -o {plain}")
    shell(f"heddle compile '{tiny}' --target cpu:x86-64-v3 -o {fused} {load} --require {RULE}:{3 * layers}")
    for what in ("launches", "stages"):
        before, after = launches(plain, what), launches(fused, what)
        check(len(before) == 3 and [b - a for b, a in zip(before, after)] == 3 * [layers], f"{what}: {before} and {after}, {layers} layers")
    stages = [launches(module, "stages")[0] for module in (plain, fused)]
    costs = [json.loads(graphs(*options, "--class decode --cost --report json"))["passes"][-1]["cost"]["decode"]["after"] for options in ([], [load])]
    saved = sum(sign * cost[key] for sign, cost in zip((1, -1), costs) for key in ("bytes_read", "bytes_written"))
    with open(os.path.join(source, "docs/WRITING_A_PASS.md"), encoding="utf-8") as file:
        text = " ".join(file.read().split())
    for says in ("{} launches without the pass, {} with it; {:.0f} KB less".format(*(cost["launches"] for cost in costs), saved / 1000),
                 "{} stages become {}".format(*stages)):
        check(says in text, f"docs/WRITING_A_PASS.md should say: {says}")
    text = shell(f"heddle inspect {fused} --ir").stdout
    groups = re.findall(r"kind = (\w+)\}[^\n]*\n((?:      .*\n)*)", text)
    ops = [(kind, [name for name in re.findall(r"= (\w+) ", body) if name != "reshape"]) for kind, body in groups if "silu" in body and "quant_act" in body]
    check(ops == 3 * layers * [("rowwise", ["rms_norm", "silu", "mul", "quant_act"])], f"{ops}")
    out = [shell(f"heddle verify '{tiny}' --module {module} --golden '{golden}'").stdout for module in (plain, fused)]
    digests = [re.search(r"NMSE \d.*digest (\w+)", text)[1] for text in out]
    check(digests[0] == digests[1], f"an exact pass changes no bit: {out}")
    out = shell(f"heddle opt '{tiny}' {load} --verify --layers 0:2 --class decode").stdout
    check(re.search(r"^  right +\d+  0 +gate-and-quantise on @decode$", out, re.MULTILINE), out)
    for target, fired in (("cpu:neoverse-n1", True), ("cuda:sm_90", False)):
        out = shell(f"heddle opt '{tiny}' --target {target} {load} --class decode --report json --explain --cost --diff").stdout
        done = [p for p in json.loads(out)["passes"] if p["pass"] == "gate-and-quantise" and p["graph"] == "decode"][0]
        check(done["fired" if fired else "missed"] == layers == len(done["events"]) and bool(done["diff"]) == fired, f"{target}: {done}")
        check(all(event["rule"] == "together" and (fired or event["reason"] == "on_gpu") for event in done["events"]), f"{target}: {done}")
        cost = done["cost"]["decode"]
        check((cost["after"]["launches"] < cost["before"]["launches"] and cost["after"]["bytes_read"] < cost["before"]["bytes_read"]) == fired, f"{target}: {cost}")


def commands_that_compile(plugin):
    """All know a loaded pass, its options and its rules; without it none of these is known. The caches tell what the file holds."""
    load = f"--load-pass '{plugin}'"
    ids = os.path.join(work, "ids")
    with open(ids, "wb") as file:
        file.write(b"".join(id.to_bytes(4, "little") for id in range(1, 20)))
    rest = {"run": "--ids -p a -n 2", "bench": "-p 4 -n 2 -r 1", "verify": f"--ids-file '{ids}' --against interpreter", "plan": "",
            "compile": f"-o {os.path.join(work, 'any.hdl')}", "opt": "--class decode"}
    for command, options in rest.items():
        passes = "--passes default --set 'gate-and-quantise{on=yes}'" if command != "plan" else ""
        shell(f"heddle {command} '{tiny}' {options} {load} {passes} --require {RULE}")
        for unknown in (f"--require {RULE}", "--set 'gate-and-quantise{on=no}'", "--passes gate-and-quantise"):
            done = shell(f"heddle {command} '{tiny}' {options} {unknown}", code=2)
            check(len(done.stderr.splitlines()) == 1, f"{command}: {done.stderr}")
        done = shell(f"heddle {command} '{tiny}' {options} {load} --set 'gate-and-quantise{{on=no}}' --require {RULE}", code=1)
        check(re.search(r"--require \S+: the rule fired 0 times; where it did not: an option turns the rule off \(\d+\)", done.stderr), f"{command}: {done.stderr}")
        done = shell(f"heddle {command} '{tiny}' {options} {load} --set 'gate-and-quantise{{on=maybe}}'", code=2)
        check("gate-and-quantise{on=maybe}: expected one of yes|no" in done.stderr, done.stderr)
    shell(f"heddle verify '{tiny}' --ids-file '{ids}' --against cpu {load} --require {RULE} --max-nmse 1e-3")
    done = shell(f"heddle run '{tiny}' --module {os.path.join(work, 'any.hdl')} -p a -n 1 {load}", code=2)
    check("--load-pass has no effect on --module" in done.stderr, done.stderr)
    places = (("", "before fuse-epilogue"), ("--passes cse,gate-and-quantise,dce", "cse,gate-and-quantise{on=yes},dce"), ("--disable-pass gate-and-quantise", None))
    for options, where in places:
        key = re.search(r'key "pipeline" = "(.*)"', graphs(load, options))[1]
        text = "gate-and-quantise{on=yes},fuse-epilogue" if where and where.startswith("before") else where
        check(text in key if text else "gate-and-quantise" not in key, f"{options}: {key}")


def caches(plugin):
    """A module made with a pass is found again, also by the shortcut; another content of the file is another module, the same content is the same."""
    shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)
    copy = os.path.join(work, "copy.so")

    def run_with(path):
        shell(f"heddle run '{tiny}' --ids -p a -n 1 --load-pass '{path}'")
        return len(glob.glob(os.path.join(os.environ["XDG_CACHE_HOME"], "heddle/*.hdl")))

    shell(f"heddle run '{tiny}' --ids -p a -n 1")
    check(run_with(plugin) == 2 and run_with(plugin) == 2, "with a pass it is another module")
    shutil.copy(plugin, copy)
    check(run_with(copy) == 2, "the same content under another name")
    with open(copy, "ab") as file:
        file.write(b"\0")
    check(run_with(copy) == 3 and run_with(copy) == 3, "another content")


def built(name, text, flags=""):
    """A shared object of C text; the symbols of HEDDLE_PASSES are up to the text."""
    path = os.path.join(work, name)
    with open(path + ".c", "w", encoding="utf-8") as file:
        file.write(text)
    shell(f"cc -std=c11 -shared -fPIC {path}.c -o {path}.so $(pkg-config --cflags --libs heddle-pass) {flags}")
    return path + ".so"


def one_pass(name, fields, before=""):
    return built(name, f"#include <heddle/pass.h>\n{before}\nHEDDLE_PASSES({{{fields}}})\n")


IDLE = "static HdStatus *idle(IrGraph *g, PassCtx *c) { (void)g, (void)c; return NULL; }"
# Gives a norm the matrix of another operation's operand.
BREAKS = """static HdStatus *breaks(IrGraph *graph, PassCtx *ctx, IrOpRef op)
{
    PassMatch m;
    if (pass_match(graph, op, "rms_norm(x, w)", &m) && pass_fire(ctx, PASS_OWN_RULE(0), graph, op)) ir_set_operand(graph, op, 1, m.value[0]);
    return NULL;
}
static HdStatus *run(IrGraph *g, PassCtx *c) { return pass_each(g, c, breaks); }"""
WRONG_RULE = "static HdStatus *run(IrGraph *g, PassCtx *c) { pass_fire(c, PASS_OWN_RULE(3), g, 0); return NULL; }"
WRONG_REASON = "static HdStatus *run(IrGraph *g, PassCtx *c) { pass_missed(c, PASS_OWN_RULE(0), g, 0, MISSED_has_uses); return NULL; }"
WRONG_TYPE = """static HdStatus *make(IrGraph *graph, PassCtx *ctx, IrOpRef op)
{
    IrValue made;
    (void)ctx;
    return ir_op(graph, op)->kind != IR_OP_embed ? NULL
        : pass_make(graph, op, &(IrBuild){.kind = IR_OP_silu, .operands = ir_op(graph, op)->operands, .operand_count = 1}, &made);
}
static HdStatus *run(IrGraph *g, PassCtx *c) { return pass_each(g, c, make); }"""
# Says that it changes no bit, and makes the third silu a sigmoid.
LIES = """static HdStatus *lie(IrGraph *graph, PassCtx *ctx, IrOpRef op)
{
    static int seen;
    PassMatch m;
    IrValue made;
    if (!pass_match(graph, op, "silu(x)", &m) || !pass_fire(ctx, PASS_OWN_RULE(0), graph, op)) return NULL;
    IrOpKind kind = ++seen % 3 ? IR_OP_silu : IR_OP_sigmoid;
    HD_TRY(pass_make(graph, op, &(IrBuild){.kind = kind, .operands = m.value, .operand_count = 1}, &made));
    pass_replace(graph, op, made);
    return NULL;
}
static HdStatus *run(IrGraph *g, PassCtx *c) { return pass_each(g, c, lie); }"""
LATE = """static HdStatus *late(IrGraph *graph, PassCtx *ctx)
{
    (void)ctx;
    for (size_t i = 0; i < graph->results.len; i++) {
        IrValue value = graph->results.data[i].value, x;
        IrOpRef last = graph->blocks.data[0].last;
        if (ir_value(graph, value)->type.dtype != IR_F32) continue;
        HdStatus *status = pass_make(graph, last, &(IrBuild){.kind = IR_OP_neg, .operands = &value, .operand_count = 1}, &x);
        if (status) return status;
        ir_move_before(graph, ir_value(graph, x)->op, 0);
    }
    return NULL;
}"""


def refusals(plugin):
    def refused(path, says, code=1, command="opt", options="", names_file=True, prints=False):
        done = shell(f"heddle {command} '{tiny}' --load-pass '{path}' {options}", code=code)
        lines = [line for line in done.stderr.splitlines() if not line.startswith("compiling ")]
        check(len(lines) == 1 and re.search(says, lines[0]) and (os.path.basename(path) in lines[0] or not names_file) and bool(done.stdout) == prints, f"{path}: {done.stderr!r} should say {says!r}")

    def fields(name, more="", run="idle", doc=True):
        return f'.name = "{name}", ' + ('.doc = "x", ' if doc else "") + f".run = {run}, {more}"

    for command, options in (("opt", ""), ("compile", f"-o {work}/none.hdl"), ("run", "-p a"), ("bench", ""), ("verify", f"--golden '{golden}'"), ("plan", "")):
        refused(os.path.join(work, "nope.so"), r"--load-pass: \S*nope.so: cannot open: No such file", command=command, options=options)
    refused(work, r"not a regular file")
    text = os.path.join(work, "text.so")
    with open(text, "w", encoding="utf-8") as file:
        file.write("no pass\n")
    refused(text, r"text.so: no shared object")
    with open(plugin, "rb") as file:
        content = file.read()
    for size in (0, 10, 63, 64, 200, 2000, len(content) // 2, len(content) - 1):      # cut off; the last bytes are those of the table of sections
        path = os.path.join(work, "cut.so")
        with open(path, "wb") as file:
            file.write(content[:size])
        refused(path, r"cut.so: (no shared object|symbol heddle_pass_abi is missing)")
    refused(built("nothing", "int nothing;"), r"nothing.so: symbol heddle_pass_abi is missing; HEDDLE_PASSES")
    refused(built("unlisted", "#include <stdint.h>\nconst uint64_t heddle_pass_abi = 1;"), r"symbol heddle_pass_list is missing")
    # What was built with other headers does not run: not even what a loader runs.
    other = "#include <heddle/pass.h>\n#include <stdio.h>\n#undef HEDDLE_PASS_ABI\n#define HEDDLE_PASS_ABI 7\n__attribute__((constructor)) static void begin(void) { puts(\"began\"); }\n"
    refused(built("other", other + IDLE + f"\nHEDDLE_PASSES({{{fields('other')}}})\n"), r"other.so: built with the headers of another Heddle \(heddle_pass_abi is 0{15}7, here [0-9a-f]{16}\): build it again")
    refused(built("open", "#include <heddle/pass.h>\nHdStatus *elsewhere(IrGraph *g, PassCtx *c);\n" + f"HEDDLE_PASSES({{{fields('open', run='elsewhere')}}})\n"),
            r"open.so: it cannot be opened: \S*open.so: undefined symbol: elsewhere")
    refused(built("empty", "#include <heddle/pass.h>\nHEDDLE_PASSES({0})\n"), r"empty.so: heddle_pass_list is empty")
    for number, (name, more, says) in enumerate((
            ("cse", "", r"Heddle has a pass of this name already"), ("A b", "", r'the name is to be'), ("a" * 33, "", r"the name is to be"),
            ("default", "", r"the name is to be"), ("x", '.before = "nope"', r'before: there is no pass "nope"'),
            ("x", ".numerics = 9", r"numerics 9: expected"), ("x", '.options = {{"a", "1", NULL, "d"}}', r"option a: initial, values or doc is missing"),
            ("x", '.options = {{"a", "7", "int 1 5", "d"}}', r"x\{a=7\}: expected a number from 1 to 5"), ("x", '.rules = {{"r", NULL, NULL}}', r"rule r: doc is missing"),
            ("x", '.rules = {{"r", "d", "cycle nope"}}', r"rule r: there is no reason nope in missed.def"), ("x", '.reasons = {{"r", NULL}}', r"reason r: text is missing"))):
        refused(one_pass(f"bad{number}", fields(name, more), IDLE), r"--load-pass: \S*bad\d+.so: pass \"[^\"]*\": " + says)
    refused(one_pass("undocumented", fields("x", doc=False), IDLE), r'pass "x": doc is missing')
    refused(one_pass("elsewhere", fields("x", '.before = "split-attention"'), IDLE), r'pass "x" is to run before "split-attention", which', code=2, options="--target cpu:x86-64-v3")
    refused(built("twice", "#include <heddle/pass.h>\n" + IDLE + f"\nHEDDLE_PASSES({{{fields('x')}}}, {{{fields('x')}}})"), r'pass "x": \S*twice.so has a pass of this name already')
    again = os.path.join(work, "again.so")
    shutil.copy(plugin, again)
    refused(again, r'gate_and_quantise.so: pass "gate-and-quantise": \S*again.so has a pass of this name already', options=f"--load-pass '{plugin}'")
    shell(f"heddle opt '{tiny}' --load-pass '{plugin}' --load-pass '{plugin}'")
    rule = '.rules = {{"r", "d"}}, .before = "delta-net"'
    broken = one_pass("broken", fields("breaks", rule, "run"), BREAKS)
    says = r'^heddle: \S*broken.so: pass breaks on @decode: @decode: %\d+ = rms_norm: .*operand 1'
    refused(broken, says)
    refused(broken, says, command="compile", options=f"-o {work}/none.hdl")
    refused(broken, says, command="run", options="-p a")
    refused(broken, r"rewrite 1 of \d+, r at %\d+ = rms_norm \(layer 0\): \S*broken.so: pass breaks on @decode", options="--bisect --class decode", prints=True)
    lies = one_pass("lies", fields("lies", '.rules = {{"r", "d"}}', "run"), LIES)
    refused(lies, r"lies.so: lies on @model changes values: %\d+ = sigmoid \(layer 0\): NMSE .*; rewrite 3 of 3, r at %\d+ = silu \(layer 0\)",
            options="--passes lies --layers 0:1 --bisect", prints=True)
    refused(one_pass("ruleless", fields("ruleless", rule, "run"), WRONG_RULE), r"ruleless.so: pass ruleless on @\w+: it reports a rule or a reason that is not in its tables")
    undeclared = rule.replace('"d"', '"d", "cycle"')
    refused(one_pass("reasonless", fields("reasonless", undeclared, "run"), WRONG_REASON), r"reasonless.so: pass reasonless on @\w+: its rule r gives the reason has_uses, which its table does not declare")
    refused(one_pass("typeless", fields("typeless", rule, "run"), WRONG_TYPE), r"typeless.so: pass typeless on @\w+: silu: operand 0")
    late = one_pass("late", fields("late", '.before = "schedule"', "late"), LATE)
    refused(late, r"@decode cannot be compiled yet: an operation neg in layer -?\d+ is in no group", command="compile", options=f"-o {work}/none.hdl", names_file=False)
    refused(one_pass("later", fields("late", "", "late"), LATE), r"later.so: pass late on @decode: @decode: %\d+ = neg: has no stage", options="--passes default,late")
    check(not os.path.exists(os.path.join(work, "none.hdl")), "nothing is written")


def pages(plugin):
    text = shell(f"heddle passes --load-pass '{plugin}'").stdout
    check(re.search(rf"^  gate-and-quantise +exact +Makes the gated norm .* \({re.escape(plugin)}\)$", text, re.MULTILINE), text[-600:])
    check(len(re.findall(r" select-layout\S* gate-and-quantise fuse-epilogue", text)) == 2, "its place in the default pipelines")
    text = shell(f"heddle passes gate-and-quantise --load-pass '{plugin}'").stdout
    for line in ("numerics: exact", f"file: {plugin}", "in the default pipelines: before fuse-epilogue", "  on=yes|no  no: leave them apart, to compare (default yes)",
                 "    - on a GPU the product quantises and the delta rule norms", "gate-and-quantise on @decode: 1 fired, 0 missed"):
        check(line in text.splitlines(), f"{line}\n{text}")
    done = shell("heddle passes gate-and-quantise", code=2)
    check("there is no pass" in done.stderr, done.stderr)


prefix = install()
tutorial = the_tutorial()
with_pkg_config, with_cmake = os.path.join(tutorial, "gate_and_quantise.so"), os.path.join(tutorial, "build/gate_and_quantise.so")
check(os.path.exists(with_pkg_config) and os.path.exists(with_cmake), "built both ways")
what_it_changes(with_cmake)
commands_that_compile(with_pkg_config)
caches(with_pkg_config)
pages(with_pkg_config)
refusals(with_pkg_config)
shutil.rmtree(work)
finish()
