# SPDX-License-Identifier: Apache-2.0
"""`heddle opt --html` and `--dot`, judged by the text of the same graphs, by Graphviz, and by what Chromium draws.

usage: pictures.py data|dot|browser HEDDLE SOURCE_DIR
dot and browser are skipped (77) where there is no such program.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

import browser
from checks import check, finish

part, heddle, source = sys.argv[1], *map(os.path.abspath, sys.argv[2:])
model = os.path.join(source, "models/tiny/tiny-moe-q8_0.gguf")
temporary = tempfile.TemporaryDirectory()
work = temporary.name
TARGET = ("--target", "cpu:x86-64-v3")
DECODE = ("--class", "decode", *TARGET)
HOSTILE = "</script><script>window.hostile = 1</script><img src=x onerror='window.hostile = 2'>&quot;<!--"
# One operation reads what has this name; the second is a group.
HOSTILE_GRAPH = """module "%s" {
  key "bounds.decode" = "1 1 1 1"
  graph @decode {
    %%tokens = input tokens : i32[T]
    %%w0 = weight "%s" : f32[16, 8]
    %%0 = embed %%tokens, %%w0 : f32[T, 8]
    %%1 = fused %%0 {kind = rowwise} (%%a0: f32[T, 8]) {
      %%2 = exp %%a0 : f32[T, 8]
      yield %%2
    } : f32[T, 8]
    return y = %%1
  }
}
""" % (HOSTILE, HOSTILE)


def run(*arguments, text=None, code=0):
    done = subprocess.run([heddle, "opt", *arguments], input=text, capture_output=True, text=True, timeout=120)
    check(done.returncode == code, f"{arguments}: exit {done.returncode}, {done.stderr.strip()[-300:]}")
    return done


def operations(text):
    """Of a graph's text: (line without names, is it in a group?) of each operation."""
    return [(line.strip(), line.startswith("      ")) for line in text.splitlines() if re.match(r" {4,6}(%[\w, %]+ = (?!input|weight|state)|(?!yield|return)\w+(\.\w+)* %)", line)]


def page(name, *arguments, text=None):
    path = os.path.join(work, name)
    done = run(*arguments, "--html", path, text=text)
    check(done.stdout == "", "nothing but the page")
    with open(path, encoding="utf-8") as file:
        return path, file.read()


def data_of(html):
    return json.loads(re.search(r'<script type="application/json" id="data">\n(.*?)\n</script>', html, re.DOTALL)[1])


# ---- what is in the page -----------------------------------------------------------------------------------------

def self_contained():
    html = page("tiny.html", model, *DECODE)[1]
    outside = set(re.findall(r'https?:[^\s"\'`)<]*', html)) - {"http://www.w3.org/2000/svg"}
    check(not outside and not re.search(r"<(link|img|iframe|script src)", html), f"the page names {outside}")
    check("default-src 'none'" in html and html.count("<script") == html.count("</script>") == 2, "two scripts, nothing from elsewhere")
    check(html.lower().count("@include") == 0, "all files are in it")
    for name in os.listdir(os.path.join(source, "passes/workbench/page")):
        check(not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b", open(os.path.join(source, "passes/workbench/page", name), encoding="utf-8").read()),
              f"{name} makes markup of text")


def costs():
    """The costs of operations add up to what --cost says of the graph; a time is what remains without launches and stages."""
    figures = os.path.join(work, "d.device")
    with open(figures, "w", encoding="utf-8") as file:
        file.write("memory_gb_per_s = 2 # measured: by hand\ngflops = 5 # measured: by hand\n")
    data = data_of(page("costs.html", model, *DECODE, "--device-file", figures)[1])
    report = json.loads(run(model, *DECODE, "--cost", "--device-file", figures, "--report", "json").stdout)
    check(data["device"] == figures and [g["name"] for g in data["graphs"]] == ["model", "decode"], "a device, two graphs")
    steps = [(graph, step) for graph in data["graphs"] for step in graph["steps"]]
    check([(g["name"], s["pass"]) for g, s in steps] == [(p["graph"], p["pass"]) for p in report["passes"]], "the same passes")
    for (graph, step), told in zip(steps, report["passes"]):
        fired = sum(not event[2] for event in step["events"])
        check((fired, len(step["events"]) - fired) == (told["fired"], told["missed"]), f"events of {step['pass']}")
        for side in ("before", "after"):
            shot, cost = graph["shots"][step[side]], told["cost"]["decode"][side]
            ops = [graph["records"][i] for i in shot["items"] if "op" in graph["records"][i]]
            for mine, theirs in (("read", "bytes_read"), ("written", "bytes_written"), ("flops", "flops")):
                check(abs(sum(op[mine] for op in ops) - cost[theirs]) <= 1e-9 * cost[theirs] and shot["cost"] == cost, f"{side} {step['pass']}: {mine}")
            check(len(shot["seconds"]) == len(ops) and abs(sum(shot["seconds"]) - cost["seconds"]) < 1e-9, f"{side} {step['pass']}: times")
    run(model, *DECODE, "--device-file", figures, code=2)


def outputs():
    hir = run(model, *DECODE).stdout
    path, dot, out = (os.path.join(work, name) for name in ("o.html", "o.dot", "o.hir"))
    check(run(model, *DECODE, "--html", path, "--dot", dot, "-o", out).stdout == "" and open(out, encoding="utf-8").read() == hir, "the graph goes to -o")
    check(run(model, *DECODE, "--html", path, "-o", "-").stdout == hir, "or to standard output")
    check(run(model, *DECODE, "--dot", "-").stdout == open(dot, encoding="utf-8").read(), "a picture on standard output")
    check(run(model, *DECODE, "--html", "-").stdout == open(path, encoding="utf-8").read(), "a page on standard output")
    check(run(model, *DECODE, "--html", path, "--cost").stdout.startswith("cost of a step"), "with a report")
    for wrong in (("--html", "-", "--dot", "-"), ("--dot", "-", "--cost"), ("--html", "-", "-o", "-")):
        check("-: standard output gets something else too" in run(model, *DECODE, *wrong, code=2).stderr, wrong)
    lost = os.path.join(work, "lost.html")
    run(model, *DECODE, "--html", lost, "--require", "norm:9999", code=1)
    check(not os.path.exists(lost), "nothing is written where a requirement fails")
    check(not [name for name in os.listdir(work) if "tmp" in name], "no temporary file is left")
    check("cannot" in run(model, *DECODE, "--html", os.path.join(work, "none/x.html"), code=1).stderr, "no such folder")
    as_it_is = data_of(page("as-it-is.html", out, *TARGET)[1])
    check([[step["pass"] for step in graph["steps"]] for graph in as_it_is["graphs"]] == [["no pass"]] and len(as_it_is["graphs"][0]["shots"]) == 1, "a graph as it is")


def hostile_text():
    html = page("hostile.html", "-", *TARGET, text=HOSTILE_GRAPH)[1]
    check(html.count("<script") == html.count("</script>") == 2 and "<img" not in html and "onerror" in html, "names stay text")
    check(HOSTILE in [record.get("name") for record in data_of(html)["graphs"][0]["records"]], "and are whole")


# ---- Graphviz ----------------------------------------------------------------------------------------------------

def svg_of(dot):
    done = subprocess.run(["dot", "-Tsvg"], input=dot, capture_output=True, text=True, timeout=300)
    check(done.returncode == 0 and not re.search("syntax error", done.stderr), done.stderr[-300:])
    groups = [g for g in xml.etree.ElementTree.fromstring(done.stdout).iter("{http://www.w3.org/2000/svg}g")]
    count = {kind: [g for g in groups if g.get("class") == kind] for kind in ("node", "edge", "cluster")}
    return count, ["".join(g.itertext()) for g in count["node"]]


def kinds_joined(drawn, labels):
    """"embed exp" for an edge from an embed to an exp."""
    kinds = {label.split()[0]: re.search(r" = (\w+)", label)[1] for label in labels}
    return sorted(" ".join(kinds[node] for node in "".join(g.itertext()).split()[0].split("->")) for g in drawn["edge"])


def graphviz():
    if not shutil.which("dot"):
        print("Graphviz is not here: skipped")
        sys.exit(77)
    for arguments in ((model, *DECODE), (model, "--class", "decode", "--target", "vulkan", "--passes", "default", "--stop-after", "fuse-norm")):
        text, ops = run(*arguments).stdout, []
        ops = operations(text)
        drawn, labels = svg_of(run(*arguments, "--dot", "-").stdout)
        fused = [line for line, _ in ops if " = fused " in line or line.startswith("fused ")]
        check(len(drawn["node"]) == len(ops) - len(fused) > 50 and len(drawn["cluster"]) == len(fused) + 1, f"{arguments}: {len(drawn['node'])} nodes, {len(ops)} operations")
        check(len(drawn["edge"]) >= len(drawn["node"]) - 2, f"{len(drawn['edge'])} edges")
        for line, _ in ops:
            if line not in fused and " = " in line:
                head = re.match(r"[^=]+= [\w.]+", line)[0]
                check(any(head in label for label in labels), f"{head} has a node")
    chain = 'module "m" { graph @decode { %tokens = input tokens : i32[T] %t = weight "t" : f32[9, 8] %x = embed %tokens, %t : f32[T, 8] ' \
            '%a = neg %x : f32[T, 8] %b = exp %x : f32[T, 8] %c = add %a, %b : f32[T, 8] return y = %c } }'
    drawn, labels = svg_of(run("-", *TARGET, "--dot", "-", text=chain).stdout)
    check(kinds_joined(drawn, labels) == ["embed exp", "embed neg", "exp add", "neg add"], f"edges by hand: {kinds_joined(drawn, labels)}")
    drawn, labels = svg_of(run("-", *TARGET, "--dot", "-", text=HOSTILE_GRAPH).stdout)
    check(sum(HOSTILE in label for label in labels) == 1, f"a hostile name is text: {labels}")
    check(kinds_joined(drawn, labels) == ["embed exp"], "into a group")


# ---- Chromium ----------------------------------------------------------------------------------------------------

def texts(tab, side):
    """What the page says of the operations of a side, the first line of each."""
    return tab.run(f"""state.{side}.all.map((op) => opText(op).split("\\n")[0])""")


def whole_text(tab, side):
    return tab.run(f"""state.{side}.ops.map((op) => opText(op, 2) + "\\n").join("")""")


def body(text):
    """A graph's text without what is not an operation."""
    return "".join(line + "\n" for line in text.splitlines() if line.startswith("    ") and not re.match("    (dim|arena|return|%\\w+ = (input|weight|state)) ?", line))


def drawn(tab, side):
    return tab.run(f"""document.querySelectorAll(".{side} .op").length""")


def open_page(tab, path):
    seconds = tab.open("file://" + path)
    check(seconds < 5, f"{path}: {seconds:.2f} s to open, of which a busy machine takes most")
    check(tab.requests() == ["file://" + path], f"the page asks for {tab.requests()}")


def choose_pass(tab, graph, name):
    tab.run(f"""[...document.querySelectorAll("#graphs button")].find((b) => b.textContent === "@{graph}").click()""")
    tab.click(f'#steps [data-pass="{name}"]')
    check(tab.run("document.querySelector('#steps [aria-current]').dataset.pass") == name, f"{name} is chosen")


def passes_and_nodes(tab):
    """After a click on a pass and with all layers open there is a box for each operation of the graph's text, with that text."""
    open_page(tab, page("walk.html", model, *DECODE)[0])
    previous = {"delta-net": "specialise", "fuse-epilogue": "select-layout", "plan-memory": "schedule"}
    for name, stop in previous.items():
        choose_pass(tab, "decode", name)
        tab.click("#expand")
        stopped = run(model, *DECODE, "--stop-after", stop).stdout
        done = run(model, *DECODE, "--stop-after", name).stdout
        before, after = operations(stopped), operations(done)
        check((drawn(tab, "before"), drawn(tab, "after")) == (len(before), len(after)), f"{name}: {drawn(tab, 'before')} of {len(before)}, {drawn(tab, 'after')} of {len(after)} boxes")
        check(whole_text(tab, "before") == body(stopped), f"{name}: the text of the operations before it")
        check(re.sub(r"%\w+", "%", whole_text(tab, "after")) == re.sub(r"%\w+", "%", body(done)), f"{name}: and behind it")
        diff = run(model, *DECODE, "--diff", "--stop-after", name).stdout.split(f"+++ @decode after {name}\n")[1]
        for side, sign in (("before", "-"), ("after", "+")):
            marked = set(tab.run(f"""[...document.querySelectorAll(".{side} .op")].filter((b) => /gone|changed|new/.test(b.getAttribute("class"))).map((b) => opText(opOf(b)).split("\\n")[0])"""))
            lines = [line[1:].strip() for line in diff.splitlines() if line.startswith(sign)]
            told = {line for line, _ in operations("\n".join("    " + line for line in lines))}
            check(marked and marked <= set(texts(tab, side)) and (told - moved_only(diff)) <= marked, f"{name}, {side}: what the diff names is marked: {sorted((told - moved_only(diff)) - marked)[:3]}")
    tab.click("#collapse")
    check(drawn(tab, "before") == drawn(tab, "after") == 0, "all closed")
    layer = '[data-block="2"] .head'
    tab.click(layer)
    lines = [line for line in texts(tab, "after") if line.endswith(" layer 2")]
    check(drawn(tab, "after") >= len(lines) > 5, f"{drawn(tab, 'after')} boxes in layer 2, {len(lines)} operations")
    tab.click(layer)
    check(drawn(tab, "after") == 0, "closed again")


def moved_only(diff):
    """Lines that stand in a diff because others came between: they are the same on both sides."""
    removed, added = ({line[1:].strip() for line in diff.splitlines() if line.startswith(sign)} for sign in "-+")
    return removed & added


def groups_made(tab):
    """partition puts operations into groups: these are new, and all else that it touches goes on to be there."""
    choose_pass(tab, "decode", "partition")
    marks = {side: tab.run(f"""state.{side}.all.map((op) => [op.kind, op.change])""") for side in ("before", "after")}
    fused = {side: sum(kind == "fused" for kind, _ in marks[side]) for side in marks}
    check(not [kind for kind, mark in marks["before"] if mark == "gone"], f"gone: {[kind for kind, mark in marks['before'] if mark == 'gone']}")
    new = [kind for kind, mark in marks["after"] if mark == "new"]
    check(new == ["fused"] * (fused["after"] - fused["before"]) and len(new) > 10, f"new: {new}")


def searches(tab):
    choose_pass(tab, "decode", "partition")
    after = texts(tab, "after")
    tab.click("#search")
    tab.type("linear")
    wanted = sum("linear" in re.sub(r" \(%a0.*", "", line).split("{")[0] for line in after)
    check(tab.run("byId('hits').value").endswith(f" {wanted} after") and wanted > 10, f"{tab.run('byId(`hits`).value')}: {wanted} by the text")
    tab.call("Input.dispatchKeyEvent", type="keyDown", key="Enter", code="Enter", windowsVirtualKeyCode=13)
    check(tab.run("document.querySelectorAll('.op.hit').length") > 0 and "linear" in tab.run("byId('details').textContent"), "the first is shown")
    tab.run("byId('search').value = ''")
    tab.click("#search")
    tab.type("%5")
    tab.click("#expand")
    for side in ("before", "after"):
        boxes = tab.run(f"""[...document.querySelectorAll(".{side} .op.hit")].map((b) => opText(opOf(b)).split("\\n")[0])""")
        check(boxes and all(re.search(r"%5\b", line) for line in boxes) and sorted(boxes) == sorted(line for line in texts(tab, side) if re.search(r"%5\b", re.sub(r" \(%a0: .*", "", line))),
              f"{side}: {boxes}")
    tab.run("byId('search').value = ''; search()")
    check(tab.run("document.querySelectorAll('.hit.op').length") == 0, "nothing is asked for")


def hovers(tab):
    choose_pass(tab, "decode", "partition")
    tab.click("#expand")
    at = tab.run("state.after.all.findIndex((op) => op.kind === 'linear' || op.kind === 'multi_linear')")
    tab.hover(f'.after .op[data-order="{at}"]')
    tip = tab.run("byId('tip').hidden ? '' : byId('tip').innerText")
    check(texts(tab, "after")[at] in tip and re.search(r"q8_0\[\d+, \d+\]", tip) and '"blk.' in tip, f"types on hover: {tip[:300]!r}")
    tab.hover("#search")
    check(tab.run("byId('tip').hidden"), "and gone elsewhere")
    tab.click(f'.after .op[data-order="{at}"]')
    check(texts(tab, "after")[at] in tab.run("byId('details').innerText"), "details on click")


def lives_of(text):
    """(offset, first launch, last launch) of each placed value in a graph's text, where launches are its groups by stage: it is kept in all launches of the
    stages from its group's to its last reader's, a result of the graph to the end."""
    groups = re.findall(r"^    (?:([%\w, ]+) = )?fused (.*?) \{kind = .*?^    \}(.*?)(?: : .*?)? stage (\d+)", text, re.MULTILINE | re.DOTALL)
    groups = [(names.split(", ") if names else [], operands.split(", "), int(stage)) for names, operands, _, stage in groups]
    stages = sorted(stage for _, _, stage in groups)
    kept = re.findall(r"%\w+", re.search(r"^    return(.*)", text, re.MULTILINE)[1])
    offsets = iter(int(offset) for offset in re.findall(r"\] at (\d+)", text))
    lives = []
    for names, _, stage in groups:
        for name in names:
            last = max([stage] + [reader for _, operands, reader in groups if name in operands])
            end = len(stages) if name in kept else sum(s <= last for s in stages)
            lives.append((next(offsets), sum(s < stage for s in stages), end - 1))
    return lives


def arena(tab):
    """A rectangle for each placed value; two that met in time and in place would be two values in one place."""
    choose_pass(tab, "decode", "partition")
    tab.click("#view-arena")
    check(tab.run("byId('arena')") is None and "No places yet" in tab.run("byId('main').innerText"), "no arena yet")
    tab.click("#main .note button")
    text = run(model, *DECODE).stdout
    lives = tab.run("""state.after.ops.flatMap((op) => op.results).map((value) => document.querySelector(`.life[data-value="${value.id}"]`))
        .map((b) => ({...b.dataset, x: b.x.baseVal.value, y: b.y.baseVal.value, width: b.width.baseVal.value, height: b.height.baseVal.value}))""")
    check(len(lives) == tab.run("document.querySelectorAll('.life').length") == len(re.findall(r"\] at \d+", text)) > 50, f"{len(lives)} rectangles")
    check([tuple(int(life[key]) for key in ("offset", "first", "last")) for life in lives] == lives_of(text), "places and lives are those of the text")
    meet = [(a, b) for i, a in enumerate(lives) for b in lives[:i] if a["x"] < b["x"] + b["width"] - 0.01 and b["x"] < a["x"] + a["width"] - 0.01
            and a["y"] < b["y"] + b["height"] - 0.01 and b["y"] < a["y"] + a["height"] - 0.01]
    check(not meet, f"values in one place: {meet[:2]}")
    top = max(int(life["offset"]) + int(life["bytes"]) for life in lives)
    check(0 <= int(re.search(r"arena (\d+)", text)[1]) - top < 64, f"up to {top}")
    tab.hover(".life")
    check("launches" in tab.run("byId('tip').innerText"), "a value on hover")
    high = lives[0]["height"]
    tab.run("[...document.querySelectorAll('#main .note button')].find((b) => b.textContent === 'higher').click()")
    check(abs(tab.run("document.querySelector('.life').height.baseVal.value") / high - 2) < 0.01, "twice as high")


def hostile_names(tab):
    name = os.path.join(work, "<img src=x onerror='window.hostile=3'>.hir")
    with open(name, "w", encoding="utf-8") as file:
        file.write(HOSTILE_GRAPH)
    open_page(tab, page("hostile.html", name, *TARGET)[0])
    tab.run("new Promise((done) => setTimeout(done, 100))")
    check(tab.run("window.hostile") is None and tab.run("document.images.length") == 0, "a name has become markup")
    check(os.path.basename(name) in tab.run("byId('about').textContent"), "the file's name is text")
    check(drawn(tab, "before") == 3, f"{drawn(tab, 'before')} boxes of a graph without layers")
    tab.hover('.before .op[data-order="0"]')
    check(HOSTILE in tab.run("byId('tip').textContent").replace('\\"', '"'), "the weight's name is text")


def published_size(tab):
    """A step of the 0.8B model: one line for each layer, and all of its operations in no time."""
    big = os.path.join(work, "0.8b.gguf")
    subprocess.run([sys.executable, os.path.join(source, "benchmarks/make_model.py"), big, "--size", "0.8b", "--type", "q4_k_m", "--header-only"], check=True, capture_output=True)
    path, html = page("0.8b.html", big, *DECODE, "--device-file", "xeon-spr-2")
    check(len(html) < 4e6, f"{len(html)} bytes")
    open_page(tab, path)
    choose_pass(tab, "decode", "partition")
    check(tab.run("document.querySelectorAll('[data-block]').length") == 26 and drawn(tab, "after") == 0, "24 layers, what is before and behind them, all closed")
    bottom = tab.run("document.querySelector('[data-block=end]').getBoundingClientRect().bottom - document.querySelector('[data-block=begin]').getBoundingClientRect().top")
    check(bottom < 1000, f"{bottom} pixels for all layers")
    wanted = len(operations(run(big, *DECODE, "--stop-after", "partition").stdout))
    seconds = tab.run("(() => { const start = performance.now(); byId('expand').click(); return (performance.now() - start) / 1000; })()")
    check(drawn(tab, "after") == wanted > 600 and seconds < 5, f"{drawn(tab, 'after')} of {wanted} boxes in {seconds:.2f} s")
    times = tab.run("[state.after.shot.cost.seconds, state.after.ops.reduce((sum, op) => sum + op.seconds, 0)]")
    check(0 < times[1] <= times[0] and timed(tab), f"times: {times}")
    no_overlaps(tab, "decode")
    tab.click("#view-arena")
    tab.run("byId('main').querySelector('.note button').click()")
    check(tab.run("document.querySelectorAll('.life').length") > 300, "its arena")


def no_overlaps(tab, what):
    overlaps = tab.run("""[...document.querySelectorAll(".after > svg")].flatMap((picture) => {
        const boxes = [...picture.children].filter((g) => /op|port/.test(g.getAttribute("class"))).map((g) => g.querySelector("rect").getBoundingClientRect());
        return boxes.flatMap((a, i) => boxes.slice(0, i).filter((b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1)); }).length""")
    check(overlaps == 0, f"{what}: {overlaps} boxes lie on others")


def all_graphs(tab):
    """A GPU's graphs of all classes, with layers and without."""
    target = ("--target", "vulkan", "--set", "select-layout{layout=packed}")
    open_page(tab, page("all.html", model, *target)[0])
    text = run(model, *target, "--stop-after", "partition").stdout
    graphs = dict(re.findall(r"^  graph @(\w+) \{\n(.*?)^  \}", text, re.MULTILINE | re.DOTALL))
    check(list(graphs) == ["model", "decode", "small", "prefill", "load"], list(graphs))
    for name, body_ in graphs.items():
        choose_pass(tab, name, "specialise" if name == "model" else "partition")
        tab.click("#expand")
        check(drawn(tab, "after") == len(operations(body_)) > 10, f"{name}: {drawn(tab, 'after')} of {len(operations(body_))} boxes")
        no_overlaps(tab, name)


def timed(tab):
    return tab.run("[...document.querySelectorAll('.after .op')].filter((b) => !opOf(b).parent && opOf(b).seconds > 0).every((b) => /[0-9.e+-]+ (us|ms|s)/.test(b.textContent))")


def readable(tab):
    """Text on what is behind it, in light and dark: at least 4.5 to 1, as WCAG asks for."""
    script = """(() => {
      const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
      const colour = (css) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = css; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3); };
      const light = (rgb) => rgb.map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
      const style = getComputedStyle(document.documentElement), back = light(colour(style.getPropertyValue("--back")));
      return ["--text", "--soft", "--gone", "--changed", "--new", "--select"].map((name) => {
        const front = light(colour(style.getPropertyValue(name)));
        return [name, (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05)];
      });
    })()"""
    for dark in (False, True):
        tab.dark(dark)
        for name, contrast in tab.run(script):
            check(contrast >= 4.5, f"{name} {'in the dark' if dark else ''}: {contrast:.1f} to 1")
    tab.dark(False)


def chromium():
    if not browser.find():
        print("Chromium is not here: skipped")
        sys.exit(77)
    tab = browser.Browser()
    try:
        for test in (passes_and_nodes, groups_made, searches, hovers, arena, hostile_names, all_graphs, published_size, readable):
            test(tab)
        check(not tab.errors, f"errors in the console: {tab.errors[:3]}")
    finally:
        tab.close()


def data():
    self_contained()
    costs()
    outputs()
    hostile_text()


{"data": data, "dot": graphviz, "browser": chromium}[part]()
finish()
