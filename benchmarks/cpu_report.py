# SPDX-License-Identifier: Apache-2.0
"""The tables of cpu.py's results, goals met and missed, and whether the run counts."""
import os
import platform
import statistics
import subprocess
import time

# Two threads. Per model: generation (share of the read limit, ratio to llama.cpp), prompts (share of the peak, ratio); None: no goal.
GOALS = {
    "0.8b-q8_0": ((0.90, 1.4), (0.45, 4.5)), "0.8b-q4_k_m": ((0.88, 1.6), (0.45, 3)), "0.8b-bf16": ((0.92, 1.05), (0.55, 1.9)),
    "35b-a3b-q4_k_m": ((0.80, 1.6), (None, 3)), "tiny-dense-q8_0": ((None, 1.5), (None, 2)),
}
AVX2_GOALS = {name: ((None, 1.3), (None, 1.5)) for name in ("0.8b-q8_0", "0.8b-q4_k_m", "0.8b-bf16")}
IDLE_SHARE = {"0.8b-q8_0": 0.44, "0.8b-q4_k_m": 0.38, "0.8b-bf16": 0.69}   # of llama.cpp, generation at depth 0, two threads, on an idle machine
FAR_BELOW, FOREIGN_LOAD, COMPILE_SECONDS, START_SECONDS, STEP, RISE = 0.85, 1, 10, 0.6, 1.25, 1.05
MOST_LINES, MOST_OF_TIME = 8, 0.9   # of a roofline
IN_CACHES = 1e8                     # bytes of a model below which its weights are not read from memory for each token
NAMES = {"prompt": "pp", "generate": "tg"}


def test_name(what):
    kind, count, depth = what
    return f"{NAMES[kind]}{count}" + (f" @ d{depth}" if depth else "")


def spread(values):
    """Of the middle, how far apart the extremes lie."""
    return (max(values) - min(values)) / statistics.median(values)


LIMITS = ("read", "int8", "bf16", "f32")


def best_limits(found):
    return {key: max(limits[key] for limits in found) for key in LIMITS}


def mean_limits(pair):
    return {key: statistics.mean(limits[key] for limits in pair) for key in LIMITS}


def share(result, what, seconds, limits):
    """Of the read limit in generation, of the peak in prompts."""
    kind, count, depth = what
    if kind == "generate":
        return result["cost"].decode_bytes(depth + count / 2) * count / seconds / (limits["read"] * 1e9)
    peak = max(limits["bf16"], limits["f32"]) if result["kind"] == "bf16" else limits["int8"]
    return result["cost"].products * count / seconds / (peak * 1e9)


class Row:
    def __init__(self, result, threads, what, goals):
        times, _, _, around = result["runs"][threads]
        self.result, self.threads, self.what, self.goals = result, threads, what, goals
        self.ours, self.theirs = times[what, "heddle"], times[what, "llama"]
        self.ratio = statistics.median(self.theirs) / statistics.median(self.ours)
        self.share, self.their_share = (statistics.median(share(result, what, seconds, mean_limits(pair)) for seconds, pair in zip(t, around[what]))
                                        for t in (self.ours, self.theirs))
        self.has_share = what[0] == "prompt" or result["bytes"] >= IN_CACHES

    def goal(self):
        """(share, ratio), of which None means: none."""
        goals = self.goals.get(self.result["name"]) if self.threads == 2 else None
        return goals[self.what[0] == "prompt"] if goals else (None, None)

    def missed(self):
        want_share, want_ratio = self.goal()
        return [text for text, want, got in (("share", want_share, self.share), ("ratio", want_ratio, self.ratio)) if want and got < want]

    def cells(self):
        speed = [f"{self.what[1] / statistics.median(t):.1f} ± {50 * spread(t):.0f} %" for t in (self.ours, self.theirs)]
        want_share, want_ratio = self.goal()
        verdict = "" if not (want_share or want_ratio) else "missed: " + ", ".join(self.missed()) if self.missed() else "met"
        goal = " / ".join(text for text, want in ((f"{100 * (want_share or 0):.0f} %", want_share), (f"{want_ratio or 0:g}", want_ratio)) if want)
        return [self.result["name"], test_name(self.what), *speed, f"{self.ratio:.2f}", *(f"{100 * s:.1f} %" if self.has_share else "" for s in (self.share, self.their_share)), goal,
                verdict]


def table(head, rows):
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)] + ["| " + " | ".join(row) + " |" for row in rows] + [""]


# ---- what makes a run count ----------------------------------------------------------------------------------------------


def rounds_of(run):
    return min(map(len, run[3].values()))


def defects(rows, results, idle_shares):
    """Why the run does not count."""
    found = [f"{row.result['name']} {test_name(row.what)}, {row.threads} threads: a share over 100 %" for row in rows if row.has_share and max(row.share, row.their_share) > 1]
    for row in rows:
        idle = idle_shares.get(row.result["name"])
        if row.threads == 2 and row.what[0] == "generate" and not row.what[2] and idle and row.their_share < FAR_BELOW * idle:
            found.append(f"void: {row.result['name']}: llama.cpp reaches {100 * row.their_share:.0f} % of the read limit, {100 * idle:.0f} % on an idle machine")
    load = max((load - os.cpu_count() for result in results for run in result["runs"].values() for load in run[2]), default=0)
    if load > FOREIGN_LOAD:
        found.append(f"void: the load average was up to {load:.1f} above the number of processors: other programs ran")
    return found + [f"{result['name']}: only {rounds_of(run)} rounds" for result in results for run in result["runs"].values() if rounds_of(run) < 5]


# ---- small batches -------------------------------------------------------------------------------------------------------


def batch_times(result, threads, program):
    times = result["runs"][threads][0]
    return [statistics.median(times[("prompt", count, 0), program]) for count in range(1, 17)]


def batch_faults(times):
    faults = []
    for n, (before, after) in enumerate(zip(times, times[1:]), 1):
        if after > STEP * before:
            faults.append(f"{n + 1} take {after / before:.2f} times as long as {n}")
        if after / (n + 1) > RISE * before / n:
            faults.append(f"a token of {n + 1} takes longer than one of {n}")
    return faults


# ---- the file ------------------------------------------------------------------------------------------------------------


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), platform.machine())


def version(heddle):
    here = os.path.dirname(os.path.abspath(__file__))
    commit = subprocess.run(["git", "-C", here, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    lines = subprocess.run([heddle, "--version"], capture_output=True, text=True, check=True).stdout.split("\n")
    return ", ".join([line.removeprefix("heddle ").removeprefix("compiler: ") for line in lines if line] + [f"commit {commit}"] * bool(commit))


def head(results, skipped, args, packages):
    loads = [load for result in results for run in result["runs"].values() for load in run[2]]
    lines = ["# Heddle and llama.cpp on a processor", "",
             f"By `benchmarks/cpu.py{' --quick' * args.quick}{' --avx2' * args.avx2}{f' --shapes {args.shapes}' if args.shapes else ''}` on {time.strftime('%Y-%m-%d', time.gmtime())}. {processor()}, "
             f"{len(os.sched_getaffinity(0))} processors, {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB. Load average "
             f"{min(loads):.1f} to {max(loads):.1f}, the benchmark's own threads among it.", "",
             f"- Heddle: {version(args.heddle)}; {results[0]['about']['heddle'].split(', ', 1)[1]}",
             f"- llama.cpp: llama-cpp-python {packages['llama-cpp-python']}; {results[0]['about']['llama'].strip(' |')}", ""]
    return lines + [f"Left out: {', '.join(skipped)}.", ""] * bool(skipped)


def limits_table(results):
    rows = []
    for result in results:
        for threads, run in result["runs"].items():
            best, kernel = best_limits(run[1]), max(run[1], key=lambda limits: limits["read"])["kernel"]
            rows.append([result["name"], str(threads), f"{best['read']:.1f} ({kernel})", f"{min(limits['read'] for limits in run[1]):.1f}",
                         *(f"{best[key]:.0f}" for key in ("int8", "bf16", "f32"))])
    return ["## Limits", "", "The best and the worst that was measured.", ""] + table(
        ["model", "threads", "best read GB/s", "worst", "int8 GOP/s", "bf16 GFLOP/s", "f32 GFLOP/s"], rows)


def seconds_text(seconds, goal=None):
    return f"{seconds:.2f}" + (" (missed)" if goal and seconds > goal else "")


def logits_table(results):
    rows = [[r["name"], *(f"{r['logits'][p][0]:.2e}" for p in ("heddle", "llama")), r["about"]["heddle"].split(",")[0].split()[-1][:16],
             *(r["logits"][p][1] for p in ("heddle", "llama")), seconds_text(r["compile"], COMPILE_SECONDS), seconds_text(r["start"][0], START_SECONDS),
             seconds_text(r["start"][1])] for r in results]
    return ["## Logits and start-up", "", "Error (NMSE) of 16 tokens' logits against float64 over the same quantised weights; digests; seconds of a compilation "
            f"(goal: {COMPILE_SECONDS}), and from a start to the first token with a file of packed weights (goal: {START_SECONDS}) and with packing.", ""] + table(
        ["model", "Heddle", "llama.cpp", "module", "Heddle's logits", "llama.cpp's logits", "compile s", "first token s", "with packing s"], rows)


def largest_lines(lines):
    """Those that take the most time, until they explain most of it."""
    lines, total = sorted(lines, key=lambda line: -line["share"]), 0
    for count, line in enumerate(lines[:MOST_LINES], 1):
        total += line["share"]
        if total >= MOST_OF_TIME:
            break
    return lines[:count]


def roofline_table(rows):
    """Where the time goes in what misses a goal."""
    cells, done = [], set()
    for row in rows:
        kind, result = row.what[0], row.result
        if not row.missed() or (result["name"], kind) in done:
            continue
        done.add((result["name"], kind))
        for line in largest_lines(result["roofline"][kind]):
            cells.append([result["name"], NAMES[kind], f"{line['kernel']} {line['weights']}".strip(), f"{100 * line['share']:.1f} %", f"{100 * line['busy']:.0f} %",
                          f"{line['gb_per_s']:.1f}", f"{100 * line['read_share']:.0f} %", f"{line['gops']:.0f}", f"{100 * line['peak_share']:.0f} %", line["bound"]])
    return ["## Where the time goes", "", "Of the tests that miss a goal, by `heddle bench --roofline` (pp512, tg128): the largest groups of kernels, with the shares of "
            "what was measured just before. What was tried: `TRIED.md`.", ""] + table(["model", "test", "kernels", "of time", "busy", "GB/s", "of read", "GOP/s", "of peak", "bound"],
                                                          cells) if cells else []


def batch_table(results):
    rows, lines = [], []
    for result in results:
        for threads in (n for n, run in result["runs"].items() if (("prompt", 1, 0), "heddle") in run[0]):
            for program in ("heddle", "llama"):
                times = batch_times(result, threads, program)
                rows.append([result["name"], str(threads), program, *(f"{1e3 * t:.1f}" for t in times)])
            faults = batch_faults(batch_times(result, threads, "heddle"))
            lines.append(f"- {result['name']}, {threads} threads: " + ("; ".join(faults) if faults else "met"))
    return ["## Small batches", "", f"Milliseconds of n tokens in one call. Goal: one more token takes at most {STEP} times as long, and no token of a larger "
            f"batch more than {100 * (RISE - 1):.0f} % longer.", ""] + table(["model", "threads", "program", *map(str, range(1, 17))], rows) + lines + [""]


def write(path, results, skipped, args, packages):
    """Did the run count?"""
    goals = AVX2_GOALS if args.avx2 else GOALS
    rows = [Row(result, threads, what, goals) for result in results for threads, run in result["runs"].items() for what in result["asked"] if what in run[3]]
    bad = defects(rows, results, {} if args.avx2 else IDLE_SHARE)
    lines = head(results, skipped, args, packages)
    lines += ["**This run does not count:**", ""] + [f"- {text}" for text in bad] + [""] if bad else []
    missed = sum(bool(row.missed()) for row in rows)
    with_goal = sum(any(row.goal()) for row in rows)
    for threads in args.threads:
        lines += [f"## {threads} thread{'s' * (threads > 1)}", "",
                  "Tokens a second: median and half the spread of the rounds. Ratio: Heddle's speed over llama.cpp's. Share: of the read limit (tg), of the peak "
                  "of products (pp), each as measured just before and after; the median of the rounds.", ""]
        lines += table(["model", "test", "Heddle", "llama.cpp", "ratio", "share", "llama.cpp's share", "goal", ""],
                       [row.cells() for row in rows if row.threads == threads])
    lines += [f"Goals met: {with_goal - missed} of {with_goal}.", ""] + roofline_table(rows) + limits_table(results) + logits_table(results) + batch_table(results)
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines).rstrip("\n") + "\n")
    return not bad
