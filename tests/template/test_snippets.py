#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Small templates, one per line of Jinja's language: Jinja2 and Heddle must render the same bytes or both refuse.

    test_snippets.py HEDDLE MODEL.gguf
"""
import sys

import jinja

VALUES = {
    "messages": [{"role": "user", "content": "hi"}],
    "s": "Hello, World", "u": "Ünïcödé 漢字 😀 straße", "e": "", "blank": " \t\n x y \u00a0\u3000", "lines": "a\nb\r\nc\n\nd\n",
    "quote": "it's \"q\" \\ \n \x01 \u00e9 \u200b", "html": "<b>&\"'</b>", "num": "42", "csv": "a,b,,c", "words": "the quick  brown fox",
    "n": 7, "neg": -3, "zero": 0, "f": 2.5, "tiny": 1e-7, "huge": 1e22, "big": 123456789012345678901234567890, "yes": True, "no": False,
    "nul": None, "l": [3, 1, 2], "names": ["bob", "Alice", "carol", "alice"], "empty": [], "mixed": [1, "a", None, 2.5, True, [1], {"k": 1}],
    "d": {"b": 1, "a": [1, 2], "c": {"x": None}, "items": 5, "key with space": "v"}, "ed": {},
    "people": [{"name": "Bob", "age": 30, "tags": ["x"]}, {"name": "alice", "age": 25, "tags": []}, {"name": "Carl", "age": 30}],
    "floats": [0.1, 1.0, 100.0, 1e16, 123456789.125, 1e-5, 0.0001, 1.5e300, -0.0, 2.0e15, 5e-324],
}

# One template per line.
SNIPPETS = r"""
{{ s }}{{ u }}{{ e }}{{ n }}{{ neg }}{{ f }}{{ tiny }}{{ huge }}{{ big }}{{ yes }}{{ no }}{{ nul }}
{{ l }}{{ mixed }}{{ d }}{{ ed }}{{ empty }}{{ (1, 2) }}{{ (1,) }}{{ () }}{{ floats }}
{{ [quote, html, u] }}{{ {'a': quote} }}
{{ undefined_name }}|{{ d.nope }}|{{ s.nope }}|{{ l.nope }}|{{ n.nope }}|{{ nul.nope }}|{{ l[9] }}|{{ s[99] }}|{{ d['x'] }}
{{ undefined_name.x }}
{{ d.nope.x }}
{{ undefined_name['x'] }}
{{ undefined_name + 1 }}
{{ 1 + undefined_name }}
{{ undefined_name() }}
{{ undefined_name < 1 }}
{{ -undefined_name }}
{{ undefined_name == undefined_other }}{{ undefined_name == 1 }}{{ undefined_name != none }}
{{ undefined_name ~ 'x' }}{{ 'x' in undefined_name }}{% for x in undefined_name %}x{% else %}none{% endfor %}
{{ undefined_name[1:] }}
{{ nul[1:] }}
{{ d[1:] }}
{{ n[0] }}|{{ n['x'] }}|{{ d[[1]] }}|{{ l['0'] }}
{{ d.a }}{{ d['a'] }}{{ d.c.x }}{{ d['key with space'] }}{{ d.items is callable }}{{ d['items'] }}{{ d.a.0 }}{{ d.a[1] }}{{ l.1 }}{{ l[-1] }}{{ l[-4] }}
{{ s[0] }}{{ s[-1] }}{{ u[6] }}{{ u[8] }}{{ u[11] }}{{ u[-2] }}
{{ s[1:3] }}{{ s[:3] }}{{ s[3:] }}{{ s[::2] }}{{ s[::-1] }}{{ s[-3:] }}{{ s[:-3] }}{{ s[5:2] }}{{ s[100:] }}{{ s[-100:3] }}{{ s[10:0:-3] }}
{{ u[::-1] }}{{ u[2:9] }}{{ u[8:12] }}{{ u[:] }}{{ u[::3] }}
{{ l[::-1] }}{{ l[1:] }}{{ l[:1] }}{{ l[0:3:2] }}{{ l[5:] }}{{ l[-2:] }}{{ l[2::-1] }}{{ (1,2,3)[1:] }}{{ l[none:none:none] }}{{ l[yes:] }}
{{ l[::0] }}
{{ l['a':] }}
{{ s[0:n] }}{{ s[n:0:neg] }}
{{ 1 + 2 }}{{ 1 - 2 }}{{ 2 * 3 }}{{ 7 / 2 }}{{ 7 // 2 }}{{ 7 % 3 }}{{ 2 ** 10 }}{{ -7 // 2 }}{{ -7 % 3 }}{{ 7 % -3 }}{{ 7 // -2 }}{{ 6 / 2 }}
{{ 1.5 + 2 }}{{ 7.5 // 2 }}{{ -7.5 // 2 }}{{ 7.5 % 2 }}{{ -7.5 % 2 }}{{ 7.5 % -2 }}{{ 2 ** -1 }}{{ 2.0 ** 0.5 }}{{ 1e3 }}{{ 1_000 }}{{ 0.1 + 0.2 }}{{ 2 ** 0 }}{{ (-2) ** 3 }}{{ -2 ** 2 }}
{{ 1 / 0 }}
{{ 1 // 0 }}
{{ 1 % 0 }}
{{ 1.0 / 0 }}
{{ 0 ** -1 }}
{{ 10.0 ** 400 }}
{{ true + true }}{{ true * 3 }}{{ -true }}{{ +true }}{{ true / 2 }}{{ -n }}{{ +n }}{{ - -n }}{{ --n }}{{ -f }}{{ -0.0 }}{{ -zero }}
{{ 'a' + 'b' }}{{ 'ab' * 3 }}{{ 3 * 'ab' }}{{ 'x' * -1 }}{{ [1] + [2] }}{{ [1, 2] * 2 }}{{ (1,) + (2,) }}{{ 'a' * 0 }}
{{ 'a' + 1 }}
{{ 1 + 'a' }}
{{ [1] + (1,) }}
{{ 'a' - 'b' }}
{{ nul + 1 }}
{{ d + d }}
{{ -s }}
{{ 'a' * 1.5 }}
{{ 'a' ~ 1 ~ none ~ true ~ 1.5 ~ [1] }}{{ 1 ~ 2 * 3 }}{{ 'x' + 2 ~ 3 + 'y' }}{{ ('a' ~ 'b') ~ 'c' }}
{{ 1 < 2 }}{{ 1 <= 1 }}{{ 2 > 3 }}{{ 1 == 1.0 }}{{ true == 1 }}{{ 'a' < 'b' }}{{ 'a' == 'a' }}{{ [1, 2] == [1, 2] }}{{ [1] == (1,) }}{{ {'a': 1} == {'a': 1.0} }}{{ none == none }}{{ 1 != 2 }}{{ [1, 2] < [1, 3] }}{{ 'Z' < 'a' }}{{ 'é' > 'z' }}
{{ 1 < 2 < 3 }}{{ 1 < 3 < 2 }}{{ 1 == 1 == 1 }}{{ 3 > 2 > 1 > 0 }}{{ 1 in [1] in [[1]] }}{{ 1 < n <= 7 }}
{{ 'a' < 1 }}
{{ none < 1 }}
{{ d < d }}
{{ [1] < ['a'] }}
{{ 1 in l }}{{ 9 in l }}{{ 9 not in l }}{{ 'ell' in s }}{{ 'x' not in s }}{{ '' in s }}{{ 'a' in d }}{{ 'z' in d }}{{ 1.0 in l }}{{ 'x' in 'xyz' and 'a' not in 'xyz' }}{{ not 1 in l }}{{ none in mixed }}{{ [1] in mixed }}
{{ 1 in s }}
{{ 'a' in none }}
{{ 'a' in 5 }}
{{ [1] in d }}
{{ not yes }}{{ not e }}{{ yes and no }}{{ e or 'default' }}{{ s and n }}{{ nul or zero or empty or 'last' }}{{ not not s }}{{ yes and not no }}{{ (yes or no) and no }}{{ no or yes and no }}
{{ 'a' if yes else 'b' }}{{ 'a' if no else 'b' }}{{ 'a' if no }}|{{ 'a' if no else 'b' if no else 'c' }}{{ ('a' if yes) ~ 'x' }}{{ 1 if e or n else 2 }}{{ 'x' if yes if no else 'y' }}
{{ ('a' if no).x }}
{{ 'single' "double" 'join' }}{{ 'esc \n\t\\ \' \" \x41 \u00e9 \101 \q' }}{{ "\U0001F600" }}{{ 'a\
b' }}
{{ '\x4' }}
{{ [1, 2,] }}{{ {'a': 1,} }}{{ {1: 'x', 'y': 2, none: 3, true: 4, 1.5: 5} }}{{ {} }}{{ [] }}{{ [[], {}] }}{{ {'a': {'b': [1]}}['a']['b'][0] }}
{{ {[1]: 2} }}
{{ 1, 2 }}
{{ true }}{{ True }}{{ false }}{{ False }}{{ none }}{{ None }}
{{ 007 }}
{{ 1.e }}
{{ 1e5 }}{{ 1.5e-3 }}{{ 1E5 }}{{ 100000000000000000000.0 }}{{ 00 }}{{ 1_0.5 }}
{{ 1__0 }}
{# comment #}a{# multi
line #}b{#- trimmed -#}  c
{% if yes %}1{% endif %}{% if no %}2{% else %}3{% endif %}{% if no %}4{% elif yes %}5{% else %}6{% endif %}{% if no %}{% elif no %}{% endif %}
{% if s is string and n is number %}ok{% endif %}{% if not (s is string) %}no{% endif %}
{% for x in l %}{{ x }},{% endfor %}{% for x in empty %}{% else %}empty{% endfor %}{% for x in s[:3] %}[{{ x }}]{% endfor %}{% for k in d %}{{ k }};{% endfor %}{% for x in u %}{{ x }}.{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k, v in d|items %}{{ k }}={{ v }};{% endfor %}{% for k in d.keys() %}{{ k }}{% endfor %}{% for v in d.values() %}{{ v }}{% endfor %}
{% for a, b in [(1, 2), [3, 4], 'xy'] %}{{ a }}{{ b }};{% endfor %}{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}
{% for a, b in [(1, 2, 3)] %}{% endfor %}
{% for a, b in [1] %}{% endfor %}
{% for x in 5 %}{% endfor %}
{% for x in none %}{% endfor %}
{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }}|{{ loop.previtem }}|{{ loop.nextitem }};{% endfor %}
{% for x in l %}{{ loop.cycle('a', 'b') }}{{ loop.changed(x > 1) }}{% if not loop.last %}, {% endif %}{% endfor %}
{% for x in l %}{% for y in names %}{{ loop.index }}{% endfor %}{{ loop.index }};{% endfor %}
{% for x in l if x > 1 %}{{ loop.index }}:{{ x }} {{ loop.length }}{{ loop.last }};{% else %}none{% endfor %}{% for x in l if x > 9 %}{% else %}none{% endfor %}
{% for x in range(5) %}{{ x }}{% endfor %}{% for x in range(2, 8, 3) %}{{ x }}{% endfor %}{% for x in range(5, 0, -2) %}{{ x }}{% endfor %}{% for x in range(0) %}{% else %}e{% endfor %}{{ range(3)|list }}{{ range(10)[3] }}{{ range(4)|length }}{{ range(4)[1:]|list }}
{% for x in range(1, 2, 0) %}{% endfor %}
{% for x in range(1000000) %}{% endfor %}
{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}{% for x in range(9) %}{% if x == 3 %}{% break %}{% endif %}{{ x }}{% endfor %}{% for x in l %}{% for y in l %}{% break %}{% endfor %}{{ x }}{% endfor %}
{% for x in l %}{% set y %}a{% if x == 1 %}{% continue %}{% endif %}b{% endset %}{{ y }}{% endfor %}
{% break %}
{% for x in l %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}
{% for x in l recursive %}{{ x }}{% endfor %}{# differs #}
{{ loop.index }}
{% for x in l %}{{ loop.nope }}|{% endfor %}
{% for x in [1, 2] %}{{ loop.previtem.x }}{% endfor %}
{% set x = 1 %}{{ x }}{% set x = x + 1 %}{{ x }}{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set t = 1, 2 %}{{ t }}{% set (c, g) = [3, 4] %}{{ c }}{{ g }}
{% set x = 0 %}{% for i in l %}{% set x = x + i %}{{ x }},{% endfor %}{{ x }}
{% set x = 0 %}{% if yes %}{% set x = 5 %}{% endif %}{{ x }}{% if no %}{% set z = 1 %}{% endif %}{{ z }}
{% for i in l %}{% if i == 1 %}{% set found = i %}{% endif %}{{ found }}|{% endfor %}{{ found }}
{% set ns = namespace(x=0, y='a') %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}{{ ns.y }}{{ ns.z }}{% set ns.z = 9 %}{{ ns.z }}{{ ns['x'] }}{% set m = namespace({'q': 1}, w=2) %}{{ m.q }}{{ m.w }}
{% set d.x = 1 %}
{% set q.x = 1 %}
{% set ns = namespace(1) %}
{% set ns = namespace() %}{% set ns._x = 1 %}{{ ns._x }}|{{ ns.__class__ }}
{% set x %}block {{ n }}{% endset %}[{{ x }}]{% set x | upper %}block{% endset %}[{{ x }}]{% set x | upper | replace('B', 'c') %}block{% endset %}[{{ x }}]
{% set true = 1 %}
{% set 5 = 1 %}
{% set x.y.z = 1 %}
{% macro m(a, b=2, c=a) %}{{ a }}{{ b }}{{ c }};{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(1, c=4) }}{{ m(b=5, a=6) }}{{ m() }}{{ m(1)|upper }}{{ m(1) ~ m(2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}
{% macro m(a=1, b) %}{% endmacro %}
{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}{{ m() }}
{% macro m(a) %}[{{ a }}{{ caller() if caller }}]{% endmacro %}{{ m(1) }}{% call m(2) %}inner {{ n }}{% endcall %}
{% macro m() %}{{ caller(1, b=2) }}{% endmacro %}{% call(a, b, c=3) m() %}{{ a }}{{ b }}{{ c }}{% endcall %}
{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}
{% macro fact(k) %}{% if k < 2 %}1{% else %}{{ k * (fact(k - 1)|int) }}{% endif %}{% endmacro %}{{ fact(10) }}
{% macro m() %}{{ x }}{% endmacro %}{% set x = 1 %}{{ m() }}{% set x = 2 %}{{ m() }}
{% macro m() %}{% set inner = 1 %}{{ inner }}{% endmacro %}{{ m() }}{{ inner }}
{% macro m() %}{{ m2() }}{% endmacro %}{% macro m2() %}ok{% endmacro %}{{ m() }}
{% for x in l %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %}
{{ s() }}
{{ n.x() }}
{{ d.nope() }}
{% filter upper %}text {{ s }}{% endfilter %}{% filter replace('a', 'b') | upper %}banana{% endfilter %}
{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a }}{% with %}x{% endwith %}{% set a = 5 %}{% with a = a + 1, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}
{% generation %}said {% set y = 1 %}{% endgeneration %}{{ y }}
{% raw %}{{ not }} {% if %}{% endraw %}x{%- raw -%}  a  {%- endraw -%}  y{% raw %}
z
{% endraw %}
w
{% print s %}
{% include 'x' %}
{% extends 'x' %}
{% import 'x' as y %}
{% from 'x' import y %}
{% nonsense %}
{% endif %}
{% if yes %}
{% for x in l %}
{% if yes %}{% endfor %}
{{ s
{% if s
{# open
{{ 'open }}
{{ (1 }}
{{ 1) }}
{{ [1) }}
{{ }}
{{ 1 2 }}
{{ a b }}
{{ | upper }}
{{ s | }}
{{ s is }}
{{ @ }}
{{ 1 + }}
{{ s | nofilter }}
{{ s is notest }}
{% if no %}{{ s | nofilter }}{{ s is notest }}{% endif %}ok
{{ s|upper|lower|title|capitalize }}{{ 'ABC dEf-gHi (jkl [mno'|title }}{{ 'hELLO wORLD'|capitalize }}{{ u|upper }}{{ u|lower }}{{ u|title }}{{ u|capitalize }}{{ 'ǆ ŉ ΣΑΣ ﬁx'|capitalize }}{{ 'ΑΣ ΣΑΣ Σ'|lower }}{{ 'İ'|lower }}{{ n|upper }}{{ nul|upper }}{{ undefined_name|upper }}
{{ blank|trim }}|{{ ' x '|trim }}|{{ 'xxaxx'|trim('x') }}|{{ 'xyaxy'|trim('yx') }}|{{ n|trim }}|{{ undefined_name|trim }}|{{ nul|trim }}|{{ '\x1c\x1f a \x85'|trim }}|
{{ s|trim(1) }}
{{ s|length }}{{ u|length }}{{ l|length }}{{ d|length }}{{ e|length }}{{ undefined_name|length }}{{ (1, 2)|count }}{{ d.items()|length }}
{{ n|length }}
{{ nul|length }}
{{ l|map('string')|length }}
{{ s|first }}{{ s|last }}{{ l|first }}{{ l|last }}{{ d|first }}{{ d|last }}{{ empty|first }}{{ empty|last }}{{ e|first }}{{ undefined_name|first }}{{ undefined_name|last }}{{ u|last }}{{ d.items()|first }}{{ d.values()|last }}{{ l|map('string')|first }}
{{ (empty|first).x }}
{{ nul|first }}
{{ n|last }}
{{ l|map('string')|last }}
{{ l|join }}{{ l|join(', ') }}{{ names|join('-') }}{{ mixed|join('/') }}{{ people|join(', ', attribute='name') }}{{ s|join('.') }}{{ d|join }}{{ empty|join('x') }}{{ undefined_name|join }}{{ people|map(attribute='age')|join('+') }}{{ l|join(1) }}
{{ n|join }}
{{ s|replace('l', 'L') }}{{ s|replace('l', 'L', 1) }}{{ s|replace('', '-') }}{{ s|replace('', '-', 3) }}{{ n|replace(7, 8) }}{{ u|replace('漢', 'X') }}{{ e|replace('', 'x') }}{{ s|replace('zz', '') }}{{ undefined_name|replace('a', 'b') }}{{ 'aaa'|replace('aa', 'b') }}{{ u|replace('', '|') }}
{{ s|replace('l') }}
{{ undefined_name|default('x') }}{{ nul|default('x') }}{{ e|default('x') }}{{ e|default('x', true) }}{{ nul|d('x', boolean=true) }}{{ s|d }}{{ undefined_name|d }}{{ d.nope|default(5) }}{{ zero|default(1, true) }}
{{ l|sort }}{{ names|sort }}{{ names|sort(case_sensitive=true) }}{{ l|sort(reverse=true) }}{{ people|sort(attribute='age')|map(attribute='name')|list }}{{ people|sort(attribute='age', reverse=true)|map(attribute='name')|list }}{{ people|sort(attribute='age,name')|map(attribute='name')|list }}{{ s|sort }}{{ d|sort }}{{ empty|sort }}{{ names|sort(true) }}
{{ mixed|sort }}
{{ d|dictsort }}{{ {'b': 2, 'A': 1, 'c': 0}|dictsort }}{{ {'b': 2, 'A': 1, 'c': 0}|dictsort(true) }}{{ {'b': 2, 'A': 1, 'c': 0}|dictsort(by='value') }}{{ {'b': 2, 'A': 1}|dictsort(reverse=true) }}
{{ d|dictsort(by='x') }}
{{ l|dictsort }}
{{ l|reverse|list }}{{ s|reverse }}{{ u|reverse }}{{ d|reverse|list }}{{ l|map('string')|reverse }}{{ (1, 2)|reverse|list }}
{{ n|reverse|list }}
{{ l|list }}{{ s|list }}{{ d|list }}{{ d.items()|list }}{{ undefined_name|list }}{{ (1, 2)|list }}{{ d|items|list }}{{ undefined_name|items|list }}
{{ nul|list }}
{{ l|items|list }}
{{ l|map('string')|list }}{{ names|map('upper')|list }}{{ people|map(attribute='name')|list }}{{ people|map(attribute='tags')|list }}{{ people|map(attribute='tags', default='-')|list }}{{ people[:2]|map(attribute='tags.0')|list }}{{ names|map('replace', 'a', 'b')|list }}{{ l|map('default', 5)|list }}{{ empty|map('nofilter')|list }}{{ names|map('first')|join }}
{{ l|map('nofilter')|list }}
{{ l|map|list }}
{{ people|map(attribute='x.y')|list }}
{{ l|select('odd')|list }}{{ l|select|list }}{{ mixed|select('string')|list }}{{ l|reject('odd')|list }}{{ l|select('>', 1)|list }}{{ l|select('in', [1, 2])|list }}{{ mixed|reject|list }}{{ l|select('divisibleby', 3)|list }}
{{ l|select('notest')|list }}
{{ people|selectattr('age', 'equalto', 30)|map(attribute='name')|list }}{{ people|selectattr('tags')|map(attribute='name')|list }}{{ people|rejectattr('age', 'eq', 30)|map(attribute='name')|list }}{{ people|selectattr('tags', 'defined')|list|length }}{{ people|selectattr('name', 'in', ['Bob'])|list }}{{ people|rejectattr('tags', 'undefined')|list|length }}{{ people|selectattr('age', '>=', 30)|first }}
{{ people|selectattr|list }}
{{ l|sum }}{{ people|sum(attribute='age') }}{{ floats[:2]|sum }}{{ empty|sum }}{{ l|sum(start=10) }}{{ [[1], [2]]|sum(start=[]) }}
{{ names|sum }}
{{ l|max }}{{ l|min }}{{ names|max }}{{ names|min }}{{ names|min(case_sensitive=true) }}{{ people|max(attribute='age') }}{{ empty|max }}{{ s|max }}{{ people|min(attribute='name') }}
{{ mixed|max }}
{{ names|unique|list }}{{ names|unique(case_sensitive=true)|list }}{{ [1, 1.0, true, 2]|unique|list }}{{ people|unique(attribute='age')|map(attribute='name')|list }}
{{ mixed|unique|list }}
{% for g, items in people|groupby('age') %}{{ g }}:{{ items|map(attribute='name')|join(',') }};{% endfor %}{% for g in people|groupby('age') %}{{ g.grouper }}{{ g.list|length }}{{ g[0] }}{% endfor %}{% for g in names|groupby(0) %}{{ g.grouper }}{{ g.list }};{% endfor %}
{{ l|batch(2)|list }}{{ l|batch(2, 'x')|list }}{{ empty|batch(2)|list }}{{ range(10)|slice(3)|list }}{{ range(10)|slice(3, 'x')|list }}{{ l|slice(5)|list }}
{{ 5|abs }}{{ neg|abs }}{{ (-2.5)|abs }}{{ true|abs }}
{{ s|abs }}
{{ undefined_name|abs }}
{{ '42'|int }}{{ ' 42 '|int }}{{ '4_2'|int }}{{ 'x'|int }}{{ 'x'|int(5) }}{{ '42.9'|int }}{{ '-3'|int }}{{ '+3'|int }}{{ 3.9|int }}{{ -3.9|int }}{{ true|int }}{{ nul|int }}{{ nul|int(9) }}{{ l|int }}{{ 'ff'|int(base=16) }}{{ '0xff'|int(base=16) }}{{ '1e3'|int }}{{ e|int }}{{ '0b11'|int(base=2) }}{{ '12abc'|int(-1) }}{{ 'nan'|int(4) }}{{ big|int }}
{{ undefined_name|int }}
{{ '1.5'|float }}{{ 'x'|float }}{{ 'x'|float(2.5) }}{{ 3|float }}{{ nul|float }}{{ ' 1e3 '|float }}{{ 'inf'|float }}{{ '-nan'|float }}{{ '1_0.5'|float }}{{ true|float }}{{ '.5'|float }}{{ '5.'|float }}{{ '-.5e-1'|float }}{{ '--5'|float }}{{ '5e'|float }}
{{ undefined_name|float }}
{{ 2.5|round }}{{ 3.5|round }}{{ 2.567|round(2) }}{{ 2.5|round(method='ceil') }}{{ 2.1|round(1, 'floor') }}{{ 7|round }}{{ 7|round(2) }}{{ -2.5|round }}{{ 1.005|round(2) }}{{ 2.123|round(2, 'ceil') }}{{ 0.5|round }}{{ 1e20|round(1) }}{{ 5|round(1, 'floor') }}{{ true|round }}
{{ 2.5|round(method='x') }}
{{ s|round }}
{{ l|string ~ 'x' }}{{ n|string|length }}{{ nul|string }}{{ undefined_name|string }}{{ d|string }}
{{ s|indent }}{{ lines|indent }}{{ lines|indent(2) }}{{ lines|indent(2, true) }}{{ lines|indent(width=2, blank=true) }}{{ lines|indent('> ', first=true, blank=true) }}{{ e|indent }}|{{ e|indent(first=true) }}|{{ 'a\u2028b\x0bc'|indent }}
{{ n|indent }}
{{ undefined_name|indent }}
{{ s|center(20) }}|{{ s|center }}|{{ 'ab'|center(5) }}|{{ 'abc'|center(6) }}|{{ 'é'|center(4) }}|{{ s|center(3) }}|{{ 'a'|center(-5) }}
{{ s|truncate(5) }}{{ s|truncate(9, true, '', 0) }}{{ ('word ' * 100)|truncate }}{{ s|truncate(8, false, '..', 0) }}{{ u|truncate(6, true, '', 0) }}{{ s|truncate(12) }}{{ s|truncate(8, leeway=0) }}
{{ s|truncate(1) }}
{{ html|e }}{{ html|escape }}{{ html|forceescape }}{{ html|e|e }}{{ html|safe|e }}{{ html|e|forceescape }}{{ n|e }}{{ l|e }}
{{ (html|safe) + html }}{{ html + (html|safe) }}{{ (html|safe) ~ html }}{{ (html|safe) * 2 }}{{ [html|safe] }}{{ html|safe|upper + '<' }}{{ (html|safe)[0:1] + '<' }}{{ (html|safe).replace('b', '<') }}{{ (html|safe).join(['<', 'a'|safe]) }}{{ (html|safe).split('b')[0] + '<' }}{{ html|safe|string + '<' }}{{ html|safe|trim + '<' }}{{ html|safe|replace('b', 'c') + '<' }}{{ '<'.join([html|safe]) }}{{ html|safe|tojson }}{{ (html|safe) == html }}{{ html|safe|first + '<' }}{{ html|safe|reverse + '<' }}{{ html|safe|indent + '<' }}{{ html|safe is escaped }}{{ html is escaped }}{{ (html|safe|list)[0] + '<' }}{% for c in '<'|safe %}{{ c + '<' }}{% endfor %}{{ ('{}<'|safe).format('<') }}{{ '{}<'.format('<'|safe) }}{{ html|safe|title + '<' }}{{ html|safe|capitalize + '<' }}{{ html|safe|center(30) + '<' }}{{ html|safe|lower + '<' }}{{ html|safe|truncate(3, true, '<', 0) }}{{ (html|safe).strip('<') + '<' }}{{ (html|safe).splitlines()[0] + '<' }}{{ (html|safe).zfill(20) + '<' }}{{ (html|safe).ljust(20, '.') + '<' }}{{ (html|safe).partition('b')[0] + '<' }}{{ (html|safe).title() + '<' }}{{ n|safe + '<' }}
{{ d|tojson }}{{ mixed|tojson }}{{ u|tojson }}{{ quote|tojson }}{{ floats|tojson }}{{ big|tojson }}{{ html|tojson }}{{ (1, 2)|tojson }}{{ ed|tojson }}{{ empty|tojson }}{{ nul|tojson }}{{ yes|tojson }}{{ n|tojson }}{{ '\x7f\x00\x1f\u2028'|tojson }}{{ range(3)|list|tojson }}
{{ d|tojson(indent=2) }}{{ mixed|tojson(indent=4) }}{{ d|tojson(indent='\t') }}{{ ed|tojson(indent=2) }}{{ d|tojson(indent=0) }}{{ d|tojson(separators=(',', ':')) }}{{ d|tojson(sort_keys=true) }}{{ u|tojson(ensure_ascii=true) }}{{ u|tojson(true) }}{{ '\x7f'|tojson(ensure_ascii=true) }}{{ d|tojson(indent=1, separators=[';', '=']) }}{{ {1: 2, none: 3, true: 4, 1.5: 5}|tojson }}{{ d|tojson(indent=none) }}{{ [[], [[]]]|tojson(indent=1) }}
{{ 'inf'|float|tojson }}{{ ['-inf'|float, 'nan'|float]|tojson }}{{ 'inf'|float }}
{{ undefined_name|tojson }}
{{ range(3)|tojson }}
{{ namespace()|tojson }}
{{ d.items()|tojson }}
{{ d|tojson(nope=1) }}
{{ {2: 1, 'a': 2}|tojson(sort_keys=true) }}
{{ d|attr('a') }}|{{ d|attr('get') is callable }}|{{ s|attr('upper')() }}|{{ namespace(a=1)|attr('a') }}
{{ '%s is %d' | format('x', 5) }}{{ '%s' % 5 }}{{ '%s-%s' % (1, 'b') }}{{ '%5s|%-5s|%05d|%.2f|%5.1f|%%|%x|%i' % ('a', 'b', 42, 3.14159, 2.25, 255, 3.9) }}{{ '%s' % [1] }}{{ '%.3s' % 'abcdef' }}{{ '%d' % true }}{{ '%s %s' % ('é', none) }}
{{ '%s' % (1, 2) }}
{{ '%s %s' % 1 }}
{{ '%d' % 'x' }}
{{ '{} {}'.format(1, 'b') }}{{ '{0}{1}{0}'.format('a', 'b') }}{{ '{x}{{}}'.format(x=5) }}{{ '{}'.format(none) }}
{{ '{} {}'.format(1) }}
{{ '{'.format(1) }}
{{ s.upper() }}{{ s.lower() }}{{ s.title() }}{{ "they're bill's 3d x-ray".title() }}{{ 'hello world'.capitalize() }}{{ u.upper() }}{{ s.center(20, '*') }}{{ 'ab'.ljust(5) }}|{{ 'ab'.rjust(5, '.') }}{{ '-42'.zfill(6) }}{{ '42'.zfill(1) }}{{ '+'.zfill(3) }}{{ u.center(30, 'é') }}
{{ s.center(20, 'ab') }}
{{ blank.strip() }}|{{ blank.lstrip() }}|{{ blank.rstrip() }}|{{ 'xxaxx'.strip('x') }}{{ 'xxaxx'.lstrip('x') }}{{ 'xxaxx'.rstrip('x') }}{{ ' a '.strip(none) }}|{{ '漢a漢'.strip('漢') }}{{ 'abc'.strip('') }}
{{ s.strip(1) }}
{{ csv.split(',') }}{{ csv.split(',', 1) }}{{ csv.split(',', maxsplit=2) }}{{ words.split() }}{{ words.split(none, 1) }}{{ '  a  b  c '.split(none, 1) }}{{ '  a b '.split(none, 0) }}{{ ''.split() }}{{ ''.split(',') }}{{ blank.split() }}{{ u.split('é') }}{{ s.split('o', 0) }}{{ 'a--b'.split('--') }}{{ '<think>x</think>y'.split('</think>')[-1] }}{{ csv.split(sep=',')[-1] }}
{{ csv.rsplit(',') }}{{ csv.rsplit(',', 1) }}{{ csv.rsplit(',', 2) }}{{ words.rsplit() }}{{ 'aaa'.rsplit('aa') }}{{ 'aaa'.split('aa') }}{{ ',a,'.rsplit(',', 1) }}{{ 'abc'.rsplit('abcd') }}{{ 'abc'.rsplit('abc') }}{{ 'é,é'.rsplit(',') }}
{{ s.split('') }}
{{ s.split(1) }}
{{ lines.splitlines() }}{{ lines.splitlines(true) }}{{ ''.splitlines() }}{{ '\n'.splitlines() }}{{ 'a\r\n\rb\x0b\x0cc\x1c\x85\u2028d'.splitlines() }}{{ u.splitlines() }}
{{ s.startswith('Hell') }}{{ s.startswith('x') }}{{ s.endswith('ld') }}{{ s.endswith(('x', 'd')) }}{{ s.startswith(('x', 'H')) }}{{ s.startswith('') }}{{ e.endswith('x') }}{{ s.startswith(()) }}
{{ s.startswith(1) }}
{{ s.startswith(['H']) }}
{{ s.find('o') }}{{ s.rfind('o') }}{{ s.find('zz') }}{{ u.find('漢') }}{{ u.rfind('s') }}{{ s.index('W') }}{{ s.rindex('l') }}{{ s.count('l') }}{{ s.count('') }}{{ 'aaaa'.count('aa') }}{{ u.count('') }}{{ s.find('') }}{{ s.rfind('') }}{{ 'aaa'.rfind('aa') }}
{{ s.index('zz') }}
{{ s.rindex('zz') }}
{{ s.replace('l', 'L') }}{{ s.replace('l', 'L', 2) }}{{ s.replace('', '.') }}{{ u.replace('ö', 'oe') }}{{ s.replace('l', '') }}{{ 'abab'.replace('ab', 'x', 0) }}
{{ s.replace('l', 1) }}
{{ ', '.join(names) }}{{ ''.join(['a', 'b']) }}{{ '-'.join('abc') }}{{ ','.join(d) }}{{ ','.join([]) }}{{ ','.join(names|map('upper')) }}
{{ ','.join([1]) }}
{{ s.partition(', ') }}{{ s.partition('zz') }}{{ s.rpartition('o') }}{{ s.rpartition('zz') }}{{ s.removeprefix('Hell') }}{{ s.removeprefix('x') }}{{ s.removesuffix('ld') }}{{ s.removesuffix('') }}
{{ s.partition('') }}
{{ 'abc'.isalpha() }}{{ 'ab1'.isalpha() }}{{ 'ab1'.isalnum() }}{{ '123'.isdigit() }}{{ '12a'.isdigit() }}{{ ''.isalpha() }}{{ '  '.isspace() }}{{ ''.isspace() }}{{ 'abc'.islower() }}{{ 'ABC1'.isupper() }}{{ '1'.isupper() }}{{ 'aB'.islower() }}{{ 'é漢'.isalpha() }}{{ 'abc'.isascii() }}{{ 'é'.isascii() }}{{ '٣'.isdigit() }}{{ '٣'.isdecimal() }}{{ 'É'.isupper() }}{{ 'ß'.islower() }}
{{ d.get('b') }}{{ d.get('nope') }}{{ d.get('nope', 5) }}{{ d.get('c').x }}{{ d.keys()|list }}{{ d.values()|list }}{{ d.items()|list }}{{ d.copy() == d }}{{ l.count(1) }}{{ l.index(2) }}{{ (1, 2, 1).count(1) }}{{ (1, 2).index(2) }}{{ l.copy() }}{{ d.get(undefined_name) }}
{{ l.index(9) }}
{{ d.get([1]) }}
{{ d.get() }}
{{ l.append(4) }}
{{ d.update({'x': 1}) }}
{{ d.pop('b') }}
{{ d.pop is defined }}{{ l.append is defined }}{{ d.get is defined }}{{ s.upper is defined }}{{ {'pop': 1}.pop }}|{{ {'pop': 1}['pop'] }}|{{ {'get': 1}['get'] }}
{{ d['get']('b') }}{{ s['upper']() }}{{ s.upper()[0].lower() }}{{ s.upper().lower().title() }}
{{ s.nope() }}
{{ d.keys().x }}
{{ s is string }}{{ n is string }}{{ n is number }}{{ f is number }}{{ yes is number }}{{ s is number }}{{ n is integer }}{{ yes is integer }}{{ f is integer }}{{ f is float }}{{ n is float }}{{ big is integer }}{{ yes is boolean }}{{ n is boolean }}{{ yes is true }}{{ no is false }}{{ 1 is true }}{{ nul is none }}{{ s is none }}{{ undefined_name is none }}
{{ d is mapping }}{{ l is mapping }}{{ s is mapping }}{{ l is sequence }}{{ s is sequence }}{{ d is sequence }}{{ n is sequence }}{{ nul is sequence }}{{ undefined_name is sequence }}{{ (1,) is sequence }}{{ range(3) is sequence }}{{ d.items() is sequence }}{{ l|map('string') is sequence }}{{ namespace() is sequence }}
{{ l is iterable }}{{ s is iterable }}{{ d is iterable }}{{ n is iterable }}{{ nul is iterable }}{{ undefined_name is iterable }}{{ range(3) is iterable }}{{ d.items() is iterable }}{{ l|map('string') is iterable }}{{ namespace() is iterable }}{{ namespace() is mapping }}
{{ s is defined }}{{ undefined_name is defined }}{{ nul is defined }}{{ d.nope is defined }}{{ d.b is defined }}{{ undefined_name is undefined }}{{ s is not defined }}{{ undefined_name is not defined }}{{ not s is defined }}
{{ 3 is odd }}{{ 4 is even }}{{ 3 is even }}{{ 9 is divisibleby 3 }}{{ 9 is divisibleby(2) }}{{ 2.0 is even }}{{ 3.0 is odd }}{{ 'abc' is lower }}{{ 'ABC' is upper }}{{ 'Abc' is lower }}{{ 1 is lower }}{{ none is lower }}
{{ s is odd }}
{{ 5 is divisibleby 0 }}
{{ 1 is eq 1 }}{{ 1 is equalto 2 }}{{ 1 is ne 2 }}{{ 1 is lt 2 }}{{ 1 is gt 2 }}{{ 1 is le 1 }}{{ 1 is ge 2 }}{{ 1 is in [1, 2] }}{{ 'a' is in 'abc' }}{{ 1 is not in [1] }}{{ none is sameas none }}{{ true is sameas 1 }}{{ 1 is greaterthan 0 }}{{ 1 is lessthan 0 }}{{ 5 is in(l) }}{{ d is sameas d }}{{ l is sameas d }}
{{ s is callable }}{{ d.get is callable }}{{ range is callable }}{{ undefined_name is callable }}{% macro m() %}{% endmacro %}{{ m is callable }}{{ m is defined }}{{ m is string }}
{{ 1 is string is string }}
{{ s is string or n is string }}{{ s is string and n }}{{ s is string == true }}{{ s is eq 'Hello, World' and yes }}{{ not s is string }}{{ (s is string)|string }}{{ s|length is number }}{{ s|length > 3 }}{{ s|upper == 'HELLO, WORLD' }}{{ 1 + l|length }}{{ 2 * 3|string|length }}{{ l|length - 1 }}{{ -1|abs }}{{ s.upper()|lower }}
{{ -l|length }}
{{ s is string if yes else 'x' }}
{{ dict(a=1, b=2) }}{{ dict({'x': 1}, y=2) }}{{ dict() }}{{ dict(a=1).a }}
{{ dict(5) }}
{{ raise_exception('stop here') }}
{{ raise_exception(5) }}
{{ raise_exception() }}
{{ strftime_now('%Y') }}{{ strftime_now('%B %d') }}
{% if yes: %}x{% endif %}
{{ s | upper()|lower() }}
{{ s|default(value=1) }}
{{ s|upper(1) }}
{{ s|join(d='-') }}{{ s|replace(old='l', new='L', count=1) }}{{ s|replace(new='L', old='l') }}
{{ s|replace('l', old='x', new='y') }}
{{ m(*l) }}{# differs #}
{{ messages[0].role }}{{ messages[0]['content'] }}{{ messages|length }}{{ tools }}{{ documents }}{{ add_generation_prompt }}
{{ tools is defined }}{{ tools is none }}{{ enable_thinking is defined }}
{{ self.x() }}{# differs #}
{{ cycler('a') }}{# differs #}
{{ s | wordwrap }}{# differs #}
{{ html | striptags }}{# differs #}
{{ s | urlencode }}{# differs #}
{{ l | random }}{# differs #}
{{ s.encode() }}{# differs #}
{{ s.swapcase() }}{# differs #}
{{ 'a'.__class__ }}|{{ d.__class__ }}|{{ d._x }}|{{ {'_x': 1}._x }}|{{ {'__class__': 1}['__class__'] }}
{{ ''.__class__.__mro__ }}
{{ 'x' if s is defined and s is not none and s|length > 0 else 'y' }}
{% set a = [] %}{% for m in messages %}{% set a = a + [m.role] %}{{ a }}{% endfor %}{{ a }}
{%- set x = {'a': [1, {'b': 'c'}]} -%} {{ x.a[1].b }}{{ x['a'][1]['b'] }}{{ x.a.1.b }}
{% for x in [1, 2, 3] -%}   {{ x }}   {%- endfor %}
{{ [1, 2, 3] | map('string') | join(', ') }}{{ d | items | map('first') | join }}{{ [[1, 2], [3]] | map('length') | list }}{{ [[1, 2], [3]] | sum(start=[]) }}
{{ 10 ** 18 }}{{ 9223372036854775807 }}{{ 9223372036854775807 - 1 }}{{ -9223372036854775807 - 1 }}{{ 3037000499 * 3037000499 }}
"""

# White space, where line breaks matter.
BLOCKS = [
    "a\n{% if yes %}\nb\n{% endif %}\nc\n", "a\n  {% if yes %}  \n  b\n  {% endif %}\nc", "  {%- if yes -%}  \n b \n  {%- endif -%}  \n c",
    "  {%+ if yes %}b{% endif %}", "\t{% if yes %}\n\tb\n\t{%+ endif +%}\nc", "{% if yes +%}\n\nx{% endif %}", "{{ s }}\n{{ s }}\n\n", "{{ s -}}  \n  x",
    "x  \n  {{- s }}", "  {{ s }}", "a {% if yes %} b {% endif %} c", "{# c #}\nx", "  {# c #}\n  x", "  {#- c -#}  \n x", "x {# c #} y", "a\r\nb\rc\n",
    "{{ 'a\r\nb' }}\r\n", "\n\n{% if yes %}\n\n{% endif %}\n\n", "a\n\n\n", "", "\n", "{% raw %}\n  x\n{% endraw %}\n  y", "  {% raw %}  x  {% endraw %}  ",
    "  {%- raw -%}  x  {%- endraw -%}  y", "{% raw %}a{{b}}{% endraw +%}\nz", "{% raw %}a\n   {% endraw %}b", "{% for x in l %}\n  {{ x }}\n{% endfor %}\nend",
    "{% for x in l -%}\n  {{ x }}\n{%- endfor %}\nend", "{%if yes%}x{%endif%}", "{{s}}", "{%-if yes-%} x {%-endif-%}", "{{-s-}} x", "x {{-s-}} y",
    "a\u00a0\n\u00a0{% if yes %}x{% endif %}", "a\n\u3000{%- if yes %}x{% endif %}", "{% set x = 1 %}\n{% set y = 2 %}\n{{ x }}\n", "}} %} #} { {% if yes %}{ % x{% endif %}",
    "{{ {'a': {'b': 1}} }}", "{{ {'a': {}}}}", "{{ {'a': '}}'} }}", "{{ '{{ }}' }}", "{% if '%}' == s %}{% endif %}x", "{# {{ s }} {% if %} #}x", "{{ s }}{# a #}{# b #}\n\n{{ s }}",
    "{{\ns\n}}", "{%\nif\nyes\n%}x{%\nendif\n%}", "{{+ s }}", "{{ s +}}", "{%+ if yes +%} x {%+ endif +%} ", " {% if yes %} {% if yes %} x {% endif %} {% endif %} ",
    "{{ s }}\n{% if yes %}\n{{ n }}\n{% endif %}\n{{ s }}", "{% macro m() %}\n  x\n{% endmacro %}\n[{{ m() }}]", "{% macro m() -%}\n  x\n{%- endmacro %}\n[{{ m() }}]",
    "{% set x %}\n a\n{% endset %}\n[{{ x }}]", "{% call m() %}{% endcall %}", "{% filter upper %}\n a\n{% endfilter %}\nb", "{%- for x in l %}\n{{- x }}\n{%- endfor %}\n\n",
    "line one\n{{ raise_exception('on line two') }}", "{% if yes %}\n\n{{ undefined_name.x }}{% endif %}", "a{#\n\n#}{{ undefined_name.x }}", "{%- if yes -%}\n\n\n{{ undefined_name.x }}{% endif %}",
]

# What Jinja2 can and Heddle refuses, by what the message must say.
UNSUPPORTED = "{# differs #}"


def snippets():
    lines, pending = [], ""
    for line in SNIPPETS.strip("\n").split("\n"):
        pending += line
        if opens(pending):
            pending += "\n"
            continue
        lines.append(pending)
        pending = ""
    return lines + ([pending] if pending else []) + BLOCKS


def opens(text):
    """Does a comment, string or raw block of this snippet go on in the next line?"""
    return text.endswith(("{# multi", "\\", "{% raw %}", "z", "{% endraw %}"))


def main():
    heddle, model = sys.argv[1:]
    failed = same = refused = 0
    for template in snippets():
        (kind, ours), (wanted_kind, wanted) = jinja.by_heddle(heddle, model, template, [VALUES])[0], jinja.by_jinja2(template, [VALUES])[0]
        if template.endswith(UNSUPPORTED):
            good = kind == "error" and "line 1: " in ours
        elif wanted_kind == "error":                  # where much is printed, one mistake would hide the rest
            good = kind == "error" and ", line " in ours and template.count("{{") < 3
            refused += good
        else:
            good = (kind, ours) == (wanted_kind, wanted)
            same += good
        if not good:
            failed += 1
            print(f"FAILED {template!r}\n  Jinja2 {wanted_kind}: {wanted!r}\n  Heddle {kind}: {ours!r}")
    print(f"{same} rendered alike, {refused} refused by both, {failed} failed")
    return failed > 0 or same < 200 or refused < 100


if __name__ == "__main__":
    sys.exit(main())
