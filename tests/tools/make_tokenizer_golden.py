#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Texts and their ids by Hugging Face's tokenizers (PyPI package `tokenizers`), one JSON object per line:
{"text": ..., "ids": [...]}, with "nfc" where normalisation changes the text, "special": false where control tokens were read as
plain text, and "pre": "qwen2" where the splitting rule was that of Qwen2 and Qwen3.

    cd models/tiny/tiny-dense && make_tokenizer_golden.py tokenizer.json eval.txt > tokenizer-tiny.jsonl
"""
import json
import random
import sys
import unicodedata

from tokenizers import Tokenizer

PLAIN = [
    "", " ", "  ", "\n", "\n\n", "\t", " \n ", "\r\n", "\r", "\v\f", "   \n\n  \n x", "a", "A", " a", "a ", "  a  b  ",
    "Hello world", " Hello  world ", "don't we'll I'M you'Re 'tis o'clock rock'n'roll", "HELLO'S 'S 's'S", "it\u2019s",
    "x=3.14159;y=-2e10", "2024-12-31T23:59:59Z", "1234567890", "1 23 456", "a1b2c3",
    "\u0664\u0665\u0666 \u00bd\u00bc \u2163 \u3007",
    "for (int i = 0; i < n; ++i) {\n    sum += a[i];\n}\n", "def f(x):\n\treturn x**2  # squared\n\n\n",
    "#include <stdio.h>\r\nint main(void){return 0;}\r\n", '{"key": [1, 2, {"a": null}]}',
    "<html><body class='x'>&nbsp;</body></html>",
    "https://example.org/a/b?c=d&e=%20f#g", "$E = mc^2$ and \\frac{a}{b}", "->(x):\n", "...", "!!!\n\n", "?!\r\n\r\nx",
    " .\n", "_ _", "--- ***",
    "caf\u00e9 na\u00efve \u00c5ngstr\u00f6m", "Stra\u00dfe \u0130stanbul \u01c5",
    "\u0141\u00f3d\u017a \u010de\u0161tina \u03b5\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac",
    "\u041f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440",
    "\u4f60\u597d\uff0c\u4e16\u754c\uff01\u4eca\u5929\u662f2024\u5e745\u67081\u65e5",
    "\u3053\u3093\u306b\u3061\u306f\u3001\u4e16\u754c\u3002\u30ab\u30bf\u30ab\u30ca",
    "\ud55c\uad6d\uc5b4", "\u0e19\u0e35\u0e48\u0e04\u0e37\u0e2d\u0e01\u0e32\u0e23\u0e17\u0e14\u0e2a\u0e2d\u0e1a",
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u092e\u0947\u0902",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u064e\u0651\u0629", "\u05e2\u05b4\u05d1\u05b0\u05e8\u05b4\u05d9\u05ea",
    "\u1019\u103c\u1014\u103a\u1019\u102c",
]
NORMALISATION = [
    "e\u0301 vs \u00e9", "A\u030a \u00c5 \u212b", "\u2126 ohm \u212a kelvin", "\u1112\u1161\u11ab\u1100\u116e\u11a8",
    "\uac00\u11a8", "\u0958 \u0915\u093c",
    "q\u0307\u0323 q\u0323\u0307", "a\u0315\u0300\u05ae\u0062", "\ufb01 \ufb05 '\ufb05", "\u0344 \u0374 \u037e \u0387",
    "\u1e9b\u0323", "\u0f73 \u0f75 \u0f81", "\u2adc\u0338",
    "\U0001d15e \U0001d1c0", "\U0002f800", "\u0301 alone", " \u0301", "x\u0301\u0302\u0303\u0304", "1\u0301 2\u20e3",
    "\u0308\n", "-\u0338", "'\u017f '\u212a", "\u180e x\u180ey",
    "\u00a0\u1680\u2003\u2028\u2029\u202f\u205f\u3000x", "\u0085x\u200b\u2060\ufeff", "\u0000 \u0001\u007f",
    "\ue000\U000f0000", "\ufffd\ufffe\U0010ffff",
]
EMOJI = [
    "\U0001f60a", "ok \U0001f44d\U0001f3fd!", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u2764\ufe0f\u2764",
    "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7", "\U0001f60a\U0001f60a \U0001f60a",
]
SPECIAL = [
    "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n<think>\n", "<|endoftext|>", "<|endoftext|><|endoftext|>",
    " <|im_end|> ", "<think></think>", "a<think>b</think>c",
    "<|im_end", "<|im_end|", "<|im_end|>>", "<<|im_end|>", "<|im_<|im_end|>", "<|IM_END|>", "e<|im_end|>\u0301",
    "<|endoftext|>\n\n", "<thin<think>k>", "\u00e9<|im_start|>\u4e16",
]


def random_texts(count):
    """Mixtures of characters from ranges that the splitting rule tells apart."""
    rng = random.Random(20240501)
    pools = ["abcdefgh THE", "0123456789", " \t\n\r", ".,;:!?'\"()-_", "\u00e9\u00fc\u00df\u0153",
             "\u0300\u0301\u0323\u093c\u094d", "\u4e16\u754c\u3042", "\U0001f600\u2764\ufe0f", "\u00a0\u2003\u3000",
             "\u00b2\u00bd\u2167",
             "\u1100\u1161\u11a8", "\u0915\u0958", "'s't're"]
    for _ in range(count):
        yield "".join(rng.choice(rng.choice(pools)) for _ in range(rng.randint(1, 40)))


QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def with_pattern(path, pattern):
    settings = json.load(open(path, encoding="utf-8"))
    settings["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = pattern
    return Tokenizer.from_str(json.dumps(settings))


def write(tokenizer, texts, **more):
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        nfc = unicodedata.normalize("NFC", text)
        decoded = tokenizer.decode(ids, skip_special_tokens=False)
        assert decoded == nfc or "<|" in text       # around an added token each side is normalised by itself
        record = dict(text=text, ids=ids, **more)
        if decoded != text:
            record["nfc"] = decoded
        print(json.dumps(record))


def main():
    tokenizer = Tokenizer.from_file(sys.argv[1])
    verses = open(sys.argv[2], encoding="utf-8").read()
    lines = [line for line in verses.split("\n") if line][:60]
    long = ["x" * 300, " " * 300 + "x", "ab" * 200, "\n" * 100, "\u0301" * 50, "a" + "\u0316\u0301" * 40, "=" * 200 + "\n"]
    mixed = list(random_texts(60))
    write(tokenizer, lines + [verses[:3000]] + PLAIN + NORMALISATION + EMOJI + SPECIAL + mixed + long)
    write(with_pattern(sys.argv[1], QWEN2), NORMALISATION + mixed[:20], pre="qwen2")
    tokenizer.encode_special_tokens = True
    write(tokenizer, SPECIAL, special=False)


main()
