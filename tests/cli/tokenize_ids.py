# SPDX-License-Identifier: Apache-2.0
"""`heddle tokenize` against ids by Hugging Face's tokenizers: each line alone and all as JSON lines, and back to text.

usage: tokenize_ids.py HEDDLE MODEL.gguf GOLDEN.jsonl
"""
import json
import subprocess
import sys
import unicodedata

from checks import check, finish

heddle, model, golden_path = sys.argv[1:]


def tokenize(*options, text=""):
    done = subprocess.run([heddle, "tokenize", model, *options], input=text.encode(), capture_output=True)
    return done.returncode, done.stdout, done.stderr.decode()


with open(golden_path, encoding="utf-8") as file:
    golden = [json.loads(line) for line in file]
golden = [line for line in golden if line.get("special", True) and "pre" not in line]
check(len(golden) > 100, f"{len(golden)} lines")

code, out, err = tokenize("--jsonl", text="".join(json.dumps({"text": line["text"]}) + "\n" for line in golden))
answers = [json.loads(line) for line in out.splitlines()]
check(code == 0 and not err and len(answers) == len(golden), err)
for line, answer in zip(golden, answers):
    check(answer == {"ids": line["ids"]}, f"{line['text']!r}: {answer}, expected {line['ids']}")

# and back, which gives the normalised text
code, out, err = tokenize("--jsonl", "--decode", text="".join(json.dumps({"ids": line["ids"]}) + "\n" for line in golden))
for line, answer in zip(golden, map(json.loads, out.splitlines())):
    check(answer == {"text": unicodedata.normalize("NFC", line["text"])}, f"{line['ids']}: {answer}")

for line in golden[::25]:
    if "\0" in line["text"]:
        continue
    code, out, err = tokenize("-f", "-", text=line["text"])
    check(code == 0 and json.loads(out) == line["ids"] and out.count(b"\n") == 1, f"-f -: {line['text']!r}: {out!r}")
    code, out, err = tokenize("--decode", "-p", json.dumps(line["ids"]))
    check(out.decode() == unicodedata.normalize("NFC", line["text"]) + "\n", f"--decode: {out!r}")

# a bad line is an error of its own
code, out, err = tokenize("--jsonl", text='nonsense\n\n{"text": 5}\n{"text": "a", "other": [1, {}]}\n{"ids": [1]}\n')
answers = [json.loads(line) for line in out.splitlines()]
check([list(answer)[0] for answer in answers] == ["error", "error", "ids", "error"] and code == 0, f"bad lines: {answers}")
for options, text in ((["--decode", "-p", "[1, 99999999]"], "element 1"), (["--decode", "-p", "5"], "JSON array"), ([], "a text is missing"),
                      (["-p", "a", "--jsonl"], "only one"), (["--decode", "-p", "[1"], "JSON, byte")):
    code, out, err = tokenize(*options)
    check(code in (1, 2) and not out and text in err and len(err.splitlines()) == 1, f"{options}: exit {code}, {err!r}")
finish()
