#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two small random float32 models whose delta nets decay at the extremes, for the chunked form of the delta rule.

usage: make_decay_models.py OUTDIR
    decay-strong.gguf  A = -16, dt = 5 on every head: g is about -80 a token, products of two tokens' decays underflow
    decay-mixed.gguf   four kinds of heads, which take turns from layer to layer: strong as above; one that keeps its state over
                       all tokens (g about -2e-5); two whose decays go from token to token from almost none to e^-8 and e^-150
Reference logits: reference64.py MODEL OUT --tokens 130.
Needs: pip install numpy gguf
"""
import os, sys
import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "benchmarks"))
import make_model

make_model.SIZES["decay"] = dict(layers=4, D=64, F=96, H=2, Hkv=1, nv=4, tied=True, head=32, nk=2, dk=32)
# per value head: A, dt, and the deviation of what the token adds to dt
STRONG = [(-16, 5, 1)] * 4
MIXED = [(-16, 5, 1), (-0.001, -4, 1), (-1, -2, 4), (-16, -8, 6)]


class Decays(make_model.Model):
    def __init__(self, out, heads):
        super().__init__(out, "decay", lambda block, name: make_model.T.F32, vocab=260)
        self.heads = heads

    def delta_net(self, i):
        self.decays = np.roll(np.array(self.heads, np.float32), i, 0)
        super().delta_net(i)

    def vector(self, block, name, n, low, high):
        if name not in ("ssm_a", "ssm_dt.bias"):
            return super().vector(block, name, n, low, high)
        self.w.add_tensor(f"blk.{block}.{name}", np.ascontiguousarray(self.decays[:, int(name == "ssm_dt.bias")]))

    def matrix(self, block, name, *shape):
        if name != "ssm_alpha":
            return super().matrix(block, name, *shape)
        rows = self.rng.standard_normal(shape, dtype=np.float32) * self.decays[:, 2:] * np.float32(shape[-1] ** -0.5)
        self.w.add_tensor(f"blk.{block}.{name}.weight", rows)


if __name__ == "__main__":
    for name, heads in ("strong", STRONG), ("mixed", MIXED):
        Decays(os.path.join(sys.argv[1], f"decay-{name}.gguf"), heads).write()
