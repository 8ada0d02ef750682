#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""gguf-py, which others wrote, reads a module: gguf_py.py HEDDLE MODEL.gguf

It sees what `heddle inspect` shows: digest, pipeline, the names of all kernels; and the object and the graph are whole. In a file of
variants it sees the targets, and for each the file that a module for this target alone is.
"""
import re
import subprocess
import sys
import tempfile

import gguf

heddle, model = sys.argv[1:]


def read(module):
    """Keys and tensors' bytes by name."""
    reader = gguf.GGUFReader(module)
    return ({name: field.contents() for name, field in reader.fields.items()},
            {tensor.name: tensor.data.tobytes() for tensor in reader.tensors})


with tempfile.TemporaryDirectory() as folder:
    module = f"{folder}/m.hdl"
    subprocess.run([heddle, "compile", model, "-o", module], check=True)
    inspected = subprocess.run([heddle, "inspect", module, "--kernels"], check=True, capture_output=True, text=True).stdout
    keys, tensors = read(module)
    shown = dict(re.findall(r"^(\w+) {2,}(.+)$", inspected, re.M))
    assert keys["general.architecture"] == "heddle", keys["general.architecture"]
    assert keys["heddle.digest"] == shown["digest"]
    assert keys["heddle.pipeline"] == shown["pipeline"]
    assert shown["kernels"].startswith(f"{len(keys['heddle.kernels'])}, "), shown["kernels"]
    for kernel in keys["heddle.kernels"]:
        assert kernel in inspected, kernel
    assert tensors["object"].startswith(b"\x7fELF"), tensors["object"][:4]
    tensors["graph"].decode("utf-8")
    print(f"{len(keys)} keys, tensors {', '.join(f'{name} ({len(data)} bytes)' for name, data in tensors.items())}")

    targets = ["cpu:x86-64-v3", "cpu:x86-64-v2"]
    subprocess.run([heddle, "compile", model, "--target", ",".join(targets), "-o", module], check=True)
    keys, tensors = read(module)
    assert keys["heddle.variants"] == targets, keys["heddle.variants"]
    assert list(tensors) == ["variant.1", "variant.2"], list(tensors)
    for target, data in zip(targets, tensors.values()):
        subprocess.run([heddle, "compile", model, "--target", target, "-o", module], check=True)
        with open(module, "rb") as file:
            assert file.read() == data, target
    print(f"variants {', '.join(keys['heddle.variants'])}")
