#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A BF16 copy of a quantised GGUF: every quantised matrix is dequantised exactly and rounded to bfloat16, all else is kept.

usage: to_bf16.py IN.gguf OUT.gguf        (tiny-moe-bf16.gguf is made so from models/tiny/tiny-moe-q8_0.gguf)
Needs: pip install numpy gguf
"""
import sys
import numpy as np, gguf

r = gguf.GGUFReader(sys.argv[1]); w = gguf.GGUFWriter(sys.argv[2], r.fields["general.architecture"].contents())
for key, f in r.fields.items():
    if key.startswith("GGUF.") or key == "general.architecture": continue
    value, kind = f.contents(), f.types[0]
    if key == "general.file_type": value = 32
    if kind == gguf.GGUFValueType.ARRAY: w.add_key_value(key, value, kind, sub_type=f.types[1])
    else: w.add_key_value(key, value, kind)
BF16, F32 = gguf.GGMLQuantizationType.BF16, gguf.GGMLQuantizationType.F32
for t in r.tensors:
    shape = [int(x) for x in reversed(t.shape)]
    if t.tensor_type == F32: w.add_tensor(t.name, np.array(t.data).reshape(shape)); continue
    d = gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32).reshape(shape)
    w.add_tensor(t.name, gguf.quants.quantize(d, BF16), raw_dtype=BF16)
w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
