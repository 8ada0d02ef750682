# SPDX-License-Identifier: Apache-2.0
"""docs/MODULE_FORMAT.md is true of what the compiler writes: gguf-py, which others wrote, finds exactly its keys, types, tensors and columns.

usage: module_format.py HEDDLE MODEL.gguf MODULE_FORMAT.md
"""
import re
import subprocess
import sys
import tempfile

import gguf

heddle, model, document = sys.argv[1:]
with open(document, encoding="utf-8") as file:
    text = file.read()


def rows(section):
    """The cells of a section's table, without its head."""
    body = text[text.index(f"\n## {section}\n") + 1:].split("\n## ")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in body.split("\n") if line.startswith("|")][2:]


def read(*options):
    """(types of the keys, numbers in them, types of the tensors) of a module"""
    with tempfile.TemporaryDirectory() as folder:
        module = f"{folder}/m.hdl"
        subprocess.run([heddle, "compile", model, "-o", module, *options], check=True, capture_output=True)
        reader = gguf.GGUFReader(module)
        fields = {name: field for name, field in reader.fields.items() if not name.startswith("GGUF.")}
        types = {name: f"[{field.types[-1].name}]" if len(field.types) > 1 else field.types[0].name for name, field in fields.items()}
        return types, {name: field.contents() for name, field in fields.items()}, {t.name: t.tensor_type.name for t in reader.tensors}


def unquoted(cell):
    return re.findall(r"`([^`]+)`", cell)


keys = {unquoted(row[0])[0]: row[1] for section in ("What it is", "Which model it belongs to", "Names of table rows") for row in rows(section)}
columns = {unquoted(row[0])[0]: row[1].split(", ") for row in rows("Tables")}
tensors = {unquoted(row[0])[0]: row[1] for row in rows("Tensors")}
keys.update({name: "[INT64]" for name in columns})
one, several = rows("Two kinds of file")

types, values, found = read()
variants = unquoted(one[1])
assert variants == ["heddle.variants"] and types == {name: kind for name, kind in keys.items() if name not in variants}, \
    f"keys of the file and of the document differ: {set(types.items()) ^ set(keys.items())}"
assert found == {name: tensors[name] for name in unquoted(one[2])}, found
assert list(types)[:2] == ["general.architecture", "heddle.digest"], list(types)[:2]

# columns: as many numbers per row as there are names of the rows, where rows have names
named = {"weights": "heddle.weight_layouts", "states": "heddle.states", "classes": "heddle.classes", "results": "heddle.results"}
table = {}
for name, names in columns.items():
    cells, short = values[name], name.split(".")[-1]
    assert len(cells) % len(names) == 0, f"{name}: {len(cells)} numbers in rows of {len(names)}"
    table[short] = [dict(zip(names, cells[i:i + len(names)])) for i in range(0, len(cells), len(names))]
    if short in named:
        assert len(table[short]) == len(values[named[short]]), name
assert len(values["heddle.model.ne"]) == 4 * len(values["heddle.model.tensors"])

# what the columns mean
assert sum(row["launches"] for row in table["classes"]) == len(table["launches"])
assert sum(row["results"] for row in table["classes"]) == len(table["results"])
for launch in table["launches"]:
    assert launch["kernel"] < len(values["heddle.kernels"]) and launch["first_arg"] + launch["args"] <= len(table["args"])
    assert all(launch[column] < len(table["exprs"]) for column in ("units", "bytes", "flops")) and launch["layer"] >= -1
for result, name in zip(table["results"], values["heddle.results"]):
    expression = table["exprs"][result["rows"]]
    assert name == "logits" and result["columns"] == values["heddle.vocab"] and expression["R"] == 1 and not expression["T"]
for weight, layout in zip(table["weights"], values["heddle.weight_layouts"]):
    assert weight["tensor"] < len(values["heddle.model.tensors"]) and (weight["packed_bytes"] == 0) == (layout == "native")
kinds = {"kv": lambda row: row["row_bytes"] < 65536, "conv": lambda row: row["row_bytes"] > 0, "delta": lambda row: row["row_bytes"] > 65536}
for state, kind in zip(table["states"], values["heddle.state_kinds"]):
    assert kinds[kind](state), (kind, state)

targets = ["cpu:x86-64-v3", "cpu:x86-64-v2"]
types, values, found = read("--target", ",".join(targets))
assert types == {name: keys[name] for name in unquoted(several[1])}, types
assert found == {f"variant.{i + 1}": tensors["variant.1"] for i in range(2)}, found
# for a GPU: one table more
gpu = {unquoted(row[0])[0]: row[1].split(", ") for row in rows("For a GPU")}
types, values, found = read("--target", "vulkan")
extra = set(types) ^ (set(keys) - set(variants))
assert extra == set(gpu), extra
offsets, lengths, lanes, shared = (values["heddle.table.kernels"][i::4] for i in range(4))
assert gpu["heddle.table.kernels"] == ["offset", "bytes", "lanes", "shared"] and 0 <= min(shared) < max(shared) <= 32768
assert len(lanes) == len(values["heddle.kernels"]) and min(lanes) > 0
assert all(offset % 4 == 0 and offset + length <= end for offset, length, end in zip(offsets, lengths, offsets[1:] + [1 << 40]))
print(f"{len(keys)} keys, {len(columns)} tables, {len(tensors)} tensors")
