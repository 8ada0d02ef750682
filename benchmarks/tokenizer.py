#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Speed of the tokenizer beside that of Hugging Face's `tokenizers`, both on one thread, in one process, on the same texts; the ids must be equal.

usage: tokenizer.py LIBHEDDLE.so VOCABULARY.gguf TEXT.. [--rounds N] [--megabytes N]

LIBHEDDLE.so: build/release/libheddle.so. VOCABULARY.gguf: a model, or a file of its tokenizer.* keys alone, with tokenizer.ggml.pre qwen35. Its tokens
and merges become the tokenizer.json that `tokenizers` reads. Texts are repeated up to --megabytes. Each round encodes each text with both, in turns;
medians are printed, and the time from opening the file to a usable tokenizer.
Needs: pip install tokenizers gguf numpy
"""
import argparse
import ctypes
import json
import os
import random
import statistics
import sys
import time

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
import gguf  # noqa: E402
import tokenizers  # noqa: E402

# Of the family's tokenizer.json.
SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
NORMAL, CONTROL, USER_DEFINED, LOAD_LIMIT = 1, 3, 4, 0.150


def mixed_text():
    """Many scripts, code and numbers; the same text every time."""
    chance = random.Random(5)
    parts = ["The quick brown fox, they're saying, jumped over 12,345.678 lazy dogs.\n", "Größe und Maß: naïve café, e\u0301te\u0301 — „Zitat“…\n",
             "Быстрая коричневая лиса прыгает через ленивую собаку.\n", "敏捷的棕色狐狸跳过了懒狗。東京都は日本の首都です。\n", "अगला वाक्य हिन्दी में है।\n",
             "سوف يصل القطار في الساعة ٣٠:٨ صباحا.\n", "다람쥐 헌 쳇바퀴에 타고파\n", "👩‍👩‍👧‍👦 🚀 ✅ x² ≤ ∑ᵢ αᵢ\n",
             "for (size_t i = 0; i < count; i++) {\n        if (values[i] != NULL) total += values[i]->size;\n}\n",
             "def main(argv):\n    return {key: value for key, value in sorted(argv.items())}\n\n", '{"id": 1024, "name": "a_b-c", "list": [1, 2.5, null]}\n',
             "    \t\n\n   https://example.org/path?q=1&r=%20#top\n"]
    return "".join(chance.choice(parts) for _ in range(20000))


class Heddle:
    def __init__(self, library, vocabulary):
        lib = self.lib = ctypes.CDLL(library)
        lib.heddle_tokenize.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_bool, ctypes.POINTER(ctypes.POINTER(ctypes.c_int32)),
                                        ctypes.POINTER(ctypes.c_uint32)]
        for name in ("heddle_weights_open", "heddle_tokenizer_create", "heddle_tokenize"):
            getattr(lib, name).restype = ctypes.c_void_p
        lib.heddle_weights_open.argtypes = [ctypes.c_char_p, ctypes.c_bool, ctypes.POINTER(ctypes.c_void_p)]
        lib.heddle_tokenizer_create.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)]
        lib.heddle_tokenizer_free.argtypes = lib.heddle_weights_close.argtypes = [ctypes.c_void_p]
        self.free = ctypes.CDLL(None).free
        self.free.argtypes = [ctypes.c_void_p]
        self.weights, self.tokenizer = ctypes.c_void_p(), ctypes.c_void_p()
        start = time.perf_counter()
        assert lib.heddle_weights_open(vocabulary.encode(), False, self.weights) is None
        assert lib.heddle_tokenizer_create(self.weights, self.tokenizer) is None
        self.load_seconds = time.perf_counter() - start

    def encode(self, data):
        """(seconds, ids) of the bytes of a text"""
        ids, count = ctypes.POINTER(ctypes.c_int32)(), ctypes.c_uint32()
        start = time.perf_counter()
        assert self.lib.heddle_tokenize(self.tokenizer, data, len(data), True, ids, count) is None
        seconds = time.perf_counter() - start
        result = ids[:count.value]
        self.free(ids)
        return seconds, result

    def close(self):
        self.lib.heddle_tokenizer_free(self.tokenizer)
        self.lib.heddle_weights_close(self.weights)


def hugging_face(path):
    """`tokenizers` from the tokens and merges of a GGUF file."""
    fields = gguf.GGUFReader(path).fields
    tokens, types, merges = (fields["tokenizer.ggml." + name].contents() for name in ("tokens", "token_type", "merges"))
    added = [{"id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": kind == CONTROL}
             for i, (text, kind) in enumerate(zip(tokens, types)) if kind in (CONTROL, USER_DEFINED)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": False}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False,
             "byte_fallback": False, "vocab": {text: i for i, (text, kind) in enumerate(zip(tokens, types)) if kind == NORMAL},
             "merges": [merge.split(" ", 1) for merge in merges]}
    return tokenizers.Tokenizer.from_str(json.dumps(
        {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": {"type": "NFC"},
         "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]}, "post_processor": None, "decoder": byte_level, "model": model}))


def texts(paths, megabytes):
    yield "mixed", mixed_text()
    for path in paths:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        yield os.path.basename(path), text * max(1, round(megabytes * 1e6 / len(text.encode())))


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("libheddle")
    parser.add_argument("vocabulary")
    parser.add_argument("text", nargs="*")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=float, default=1)
    options = parser.parse_args()
    loads = []
    for _ in range(options.rounds):
        ours = Heddle(options.libheddle, options.vocabulary)
        loads.append(ours.load_seconds)
        ours.close()
    ours, theirs = Heddle(options.libheddle, options.vocabulary), hugging_face(options.vocabulary)
    load = statistics.median(loads)
    print(f"loading the vocabulary: {load * 1e3:.0f} ms (limit {LOAD_LIMIT * 1e3:.0f} ms)")
    good = load < LOAD_LIMIT
    for name, text in texts(options.text, options.megabytes):
        data = text.encode()
        size, times = len(data) / 1e6, ([], [])
        for _ in range(options.rounds):
            seconds, ids = ours.encode(data)
            times[0].append(seconds)
            start = time.perf_counter()
            encoding = theirs.encode(text, add_special_tokens=False)
            times[1].append(time.perf_counter() - start)
            if ids != encoding.ids:
                at = next((i for i, (a, b) in enumerate(zip(ids, encoding.ids)) if a != b), min(len(ids), len(encoding.ids)))
                sys.exit(f"{name}: ids differ from number {at} on")
        a, b = (size / statistics.median(t) for t in times)
        good = good and a > b
        print(f"{name}: {size:.2f} MB, {len(ids)} tokens; Heddle {a:.1f} MB/s, tokenizers {tokenizers.__version__} {b:.1f} MB/s, ratio {a / b:.2f}")
    sys.exit(not good)


main()
