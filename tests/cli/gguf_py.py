#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""gguf-py, which others wrote, reads a module: gguf_py.py HEDDLE MODEL.gguf

It sees what `heddle inspect` shows: digest, pipeline, the names of all kernels; and the object and the graph are whole.
"""
import re
import subprocess
import sys
import tempfile

import gguf

heddle, model = sys.argv[1:]
with tempfile.TemporaryDirectory() as folder:
    module = f"{folder}/m.hdl"
    subprocess.run([heddle, "compile", model, "-o", module], check=True)
    inspected = subprocess.run([heddle, "inspect", module, "--kernels"], check=True, capture_output=True, text=True).stdout
    reader = gguf.GGUFReader(module)
    keys = {name: field.contents() for name, field in reader.fields.items()}
    tensors = {tensor.name: tensor.data.tobytes() for tensor in reader.tensors}
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
