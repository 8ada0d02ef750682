# SPDX-License-Identifier: Apache-2.0
"""The models of cpu.py: made with random weights, quantised by llama.cpp's own quantiser; what a token of them moves and computes; their logits in
float64."""
import ctypes
import math
import os
import subprocess
import sys

import gguf
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../tests/tools"))
import reference64  # noqa: E402

QUANTISERS = {"q8_0": 7, "q4_k_m": 15}   # llama_ftype


def quantise(source, target, kind):
    import llama_cpp
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.nthread = QUANTISERS[kind], len(os.sched_getaffinity(0))
    silence = llama_cpp.llama_log_callback(lambda level, text, user: None)
    llama_cpp.llama_log_set(silence, ctypes.c_void_p())
    if llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params)):
        sys.exit(f"{source}: llama.cpp cannot quantise it to {kind}")


def path_of(folder, size, kind, layers):
    return os.path.join(folder, f"{size}{f'-{layers}-layers' if layers else ''}-{kind}.gguf")


def make(folder, size, kind, layers):
    """Path of the model: one that ships, or of random weights. Other types are quantised from the bf16 file, which stays for the next."""
    shipped = os.path.join(HERE, "../models/tiny", f"{size}-{kind}.gguf")
    if os.path.exists(shipped):
        return shipped
    base, path = (path_of(folder, size, name, layers) for name in ("bf16", kind))
    if not os.path.exists(base):
        options = ["--size", size, "--type", "bf16"] + (["--layers", str(layers)] if layers else [])
        subprocess.run([sys.executable, os.path.join(HERE, "make_model.py"), base + ".part", *options], check=True)
        os.rename(base + ".part", base)
    if not os.path.exists(path):
        quantise(base, path + ".part", kind)
        os.rename(path + ".part", path)
    return path


class Cost:
    """Of the trunk of a model, for one token."""

    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        arch = reader.fields["general.architecture"].contents()
        keys = {k.removeprefix(arch + "."): f.contents() for k, f in reader.fields.items() if k.startswith(arch + ".")}
        layers = keys["block_count"] - keys.get("nextn_predict_layers", 0)
        used = keys["expert_used_count"] / keys["expert_count"] if "expert_count" in keys else 1
        untied = any(t.name == "output.weight" for t in reader.tensors)
        self.weight_bytes = self.products = 0
        for t in reader.tensors:
            if t.name.startswith("blk.") and int(t.name.split(".")[1]) >= layers or t.name == "token_embd.weight" and untied:
                continue
            part = used if "_exps" in t.name else 1
            self.weight_bytes += part * int(t.n_bytes)
            if len(t.shape) > 1 and t.name.startswith("blk.") and "conv1d" not in t.name:
                self.products += part * 2 * math.prod(int(n) for n in t.shape)
        attention = layers // keys.get("full_attention_interval", 4)
        self.position_bytes = attention * 2 * 2 * keys["attention.head_count_kv"] * keys["attention.key_length"]   # float16 keys and values
        state = keys["ssm.inner_size"] * keys["ssm.state_size"]
        window = (keys["ssm.conv_kernel"] - 1) * (2 * keys["ssm.group_count"] * keys["ssm.state_size"] + keys["ssm.inner_size"])
        self.state_bytes = (layers - attention) * 2 * 4 * (state + window)                                         # read and written

    def decode_bytes(self, depth):
        return self.weight_bytes + self.state_bytes + depth * self.position_bytes


class Rows:
    """Rows, or experts, of a tensor, dequantised when they are asked for."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __getitem__(self, index):
        data = self.tensor.data[index]
        if self.tensor.tensor_type == gguf.GGMLQuantizationType.F32:
            return np.array(data, np.float64)
        return gguf.quants.dequantize(data, self.tensor.tensor_type).astype(np.float64)


class Reference(reference64.Model):
    """reference64 that holds neither all experts nor an untied embedding at once."""

    def w(self, name):
        if name.endswith("_exps.weight") or name == "token_embd.weight" and "output.weight" in self.t:
            return Rows(self.t[name])
        return super().w(name)


def tokens(count, vocabulary):
    """Those of drive.c."""
    state, ids = 1, []
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        ids.append((state >> 33) % vocabulary)
    return np.array(ids)


def reference_logits(path, count):
    model = Reference(path)
    return model.forward(tokens(count, int(model.t["token_embd.weight"].shape[1])))[0]
