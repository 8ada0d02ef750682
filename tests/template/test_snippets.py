#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Small templates, one for every construct: Jinja2 and Heddle must render the same bytes or both refuse.

    test_snippets.py HEDDLE MODEL.gguf FOLDER_OF_TEMPLATES
"""
import pathlib
import sys

import jinja

VALUES = {
    "messages": [{"role": "user", "content": "hi"}], "s": "Hello, World", "u": "Ünïcödé 漢字 😀 straße", "e": "",
    "blank": " \t\n x y \u00a0\u3000", "lines": "a\nb\r\nc\n\nd\n", "quote": "it's \"q\" \\ \n \x01 \u00e9 \u200b",
    "html": "<b>&\"'</b>", "num": "42", "csv": "a,b,,c", "words": "the quick  brown fox", "n": 7, "neg": -3, "zero": 0,
    "f": 2.5, "tiny": 1e-7, "huge": 1e22, "big": 123456789012345678901234567890, "yes": True, "no": False, "nul": None,
    "l": [3, 1, 2], "names": ["bob", "Alice", "carol", "alice"], "empty": [],
    "mixed": [1, "a", None, 2.5, True, [1], {"k": 1}],
    "d": {"b": 1, "a": [1, 2], "c": {"x": None}, "items": 5, "key with space": "v"}, "ed": {},
    "people": [{"name": "Bob", "age": 30, "tags": ["x"]}, {"name": "alice", "age": 25, "tags": []}, {"name": "Carl", "age": 30}],
    "floats": [0.1, 1.0, 100.0, 1e16, 123456789.125, 1e-5, 0.0001, 1.5e300, -0.0, 2.0e15, 5e-324],
}

# White space, where line breaks matter.
BLOCKS = [
    "a\n{% if yes %}\nb\n{% endif %}\nc\n", "a\n  {% if yes %}  \n  b\n  {% endif %}\nc",
    "  {%- if yes -%}  \n b \n  {%- endif -%}  \n c", "  {%+ if yes %}b{% endif %}", "\t{% if yes %}\n\tb\n\t{%+ endif +%}\nc",
    "{% if yes +%}\n\nx{% endif %}", "{{ s }}\n{{ s }}\n\n", "{{ s -}}  \n  x", "x  \n  {{- s }}", "  {{ s }}",
    "a {% if yes %} b {% endif %} c", "{# c #}\nx", "  {# c #}\n  x", "  {#- c -#}  \n x", "x {# c #} y", "a\r\nb\rc\n",
    "{{ 'a\r\nb' }}\r\n", "\n\n{% if yes %}\n\n{% endif %}\n\n", "a\n\n\n", "", "\n", "{% raw %}\n  x\n{% endraw %}\n  y",
    "  {% raw %}  x  {% endraw %}  ", "  {%- raw -%}  x  {%- endraw -%}  y", "{% raw %}a{{b}}{% endraw +%}\nz",
    "{% raw %}a\n   {% endraw %}b", "{% for x in l %}\n  {{ x }}\n{% endfor %}\nend",
    "{% for x in l -%}\n  {{ x }}\n{%- endfor %}\nend", "{%if yes%}x{%endif%}", "{{s}}", "{%-if yes-%} x {%-endif-%}",
    "{{-s-}} x", "x {{-s-}} y", "a\u00a0\n\u00a0{% if yes %}x{% endif %}", "a\n\u3000{%- if yes %}x{% endif %}",
    "{% set x = 1 %}\n{% set y = 2 %}\n{{ x }}\n", "}} %} #} { {% if yes %}{ % x{% endif %}", "{{ {'a': {'b': 1}} }}",
    "{{ {'a': {}}}}", "{{ {'a': '}}'} }}", "{{ '{{ }}' }}", "{% if '%}' == s %}{% endif %}x", "{# {{ s }} {% if %} #}x",
    "{{ s }}{# a #}{# b #}\n\n{{ s }}", "{{\ns\n}}", "{%\nif\nyes\n%}x{%\nendif\n%}", "{{+ s }}", "{{ s +}}",
    "{%+ if yes +%} x {%+ endif +%} ", " {% if yes %} {% if yes %} x {% endif %} {% endif %} ",
    "{{ s }}\n{% if yes %}\n{{ n }}\n{% endif %}\n{{ s }}", "{% macro m() %}\n  x\n{% endmacro %}\n[{{ m() }}]",
    "{% macro m() -%}\n  x\n{%- endmacro %}\n[{{ m() }}]", "{% set x %}\n a\n{% endset %}\n[{{ x }}]",
    "{% call m() %}{% endcall %}", "{% filter upper %}\n a\n{% endfilter %}\nb",
    "{%- for x in l %}\n{{- x }}\n{%- endfor %}\n\n", "line one\n{{ raise_exception('on line two') }}",
    "{% if yes %}\n\n{{ undefined_name.x }}{% endif %}", "a{#\n\n#}{{ undefined_name.x }}",
    "{%- if yes -%}\n\n\n{{ undefined_name.x }}{% endif %}",
]


def snippets():
    """(heading, template) of snippets.txt and of BLOCKS, whose heading is ""."""
    text = pathlib.Path(__file__).with_name("snippets.txt").read_text(encoding="utf-8")
    for part in text.split("\n== ")[1:]:
        heading, templates = part.split("\n\n", 1)
        separator = "\n\n" if heading == "rendered" else "\n"
        yield from ((heading, template) for template in templates.strip("\n").split(separator))
    yield from (("", block) for block in BLOCKS)


def judge(heading, wanted, ours):
    """Is this what must come out of a template under this heading?"""
    if heading == "beyond Heddle":
        return ours[0] == "error" and "line 1: " in ours[1]
    if heading == "refused by both" or (not heading and wanted[0] == "error"):
        return wanted[0] == ours[0] == "error" and ", line " in ours[1]
    return wanted[0] == "rendered" and ours == wanted


def main():
    heddle, model = sys.argv[1:3]
    count = failed = 0
    for heading, template in snippets():
        wanted, ours = jinja.by_jinja2(template, [VALUES])[0], jinja.by_heddle(heddle, model, template, [VALUES])[0]
        count += 1
        if judge(heading, wanted, ours):
            continue
        failed += 1
        print(f"FAILED ({heading}) {template!r}\n  Jinja2 {wanted[0]}: {wanted[1]!r}\n  Heddle {ours[0]}: {ours[1]!r}")
    print(f"{count} templates, {failed} failed")
    return failed > 0 or count < 350


if __name__ == "__main__":
    sys.exit(main())
