#!/usr/bin/env python3
"""Writes golden/templates.jsonl.gz: templates, contexts, and what transformers' own Jinja environment makes of them.

    python3 make_template_golden.py OUT.jsonl.gz [COUNT [SEED]]

First line {"contexts": {name: object}}; then {"template", "context": name} rendered over the context as it is, or {"template", "messages",
"tools", "documents", "generate", "kwargs"} as apply_chat_template renders it, with "text", or "error": true where it raises. The templates are those
of templates/, single expressions, and COUNT random ones of the grammar below: run by hand with a large COUNT it is a differential fuzzer's other
half. strftime_now stands at 2023-11-14 22:13:20.
"""
import copy
import datetime
import glob
import gzip
import json
import os
import random
import sys

import transformers.utils.chat_template_utils as ctu


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2023, 11, 14, 22, 13, 20)


ctu.datetime = Clock
HERE = os.path.dirname(os.path.abspath(__file__))
CTX = {"messages":[{"role":"system","content":"Be brief. "},{"role":"user","content":"Hi <b> & 'x' \"q\" é🙂\n"},{"role":"assistant","content":None,"tool_calls":[{"type":"function","function":{"name":"f","arguments":{"a":1,"b":[1,2.5,None,True]}}}]},{"role":"tool","content":"42"}],
 "n":5,"f":2.5,"s":"Hello World","e":"","l":[3,1,2],"d":{"b":1,"a":{"c":[1,2]},"items":7},"t":True,"none":None,"big":123456789012345678901234567890,"u":"straße ŉ İ ǆ","ml":"a\n b\r\nc\n","users":[{"n":"bob","a":3,"x":{"y":1}},{"n":"Al","a":1,"x":{"y":2}},{"n":"carl","a":3}],
 "bos_token":"<s>","eos_token":"</s>","add_generation_prompt":True, "tools":None, "j":{"k":"v","z":[{"q":"\u2028\u007f\u0001"}],"f":1e20,"g":1e-7,"h":100.0,"i":-0.0}}
EXPRESSIONS = r'''
{{ 1 }} {{ 1.0 }} {{ 1e5 }} {{ 1e16 }} {{ 1e-5 }} {{ 0.0001 }} {{ 123456789.123 }} {{ -0.0 }} {{ 1e22 }} {{ 1/3 }}
{{ 7//2 }} {{ -7//2 }} {{ 7%-3 }} {{ -7%3 }} {{ 2**10 }} {{ 2**-1 }} {{ 2**3**2 }} {{ -2**2 }} {{ 7.5//2 }} {{ -7.5%2 }} {{ 1_000 }} {{ 0x1f }} {{ 0b11 }} {{ 0o17 }}
{{ [1,2,3][::-1] }} {{ 'abc'[::-1] }} {{ 'abcdef'[1:-1:2] }} {{ l[-1] }} {{ l[5] }} {{ 'héllo'[1] }} {{ (1,) }} {{ () }} {{ {} }} {{ {'a':1,2:'b'} }}
{{ 'a' 'b' "c" }} {{ 'it\'s' }} {{ "\x41\u00e9\n\t\\" }} {{ '\q' }} {{ ['\n', "'", '"', '\'"', '\x00', 'é', '\u200b', '🙂'] }}
{{ x is defined }} {{ x }} {{ x.y }} 
{{ none.foo }}|{{ none['a'] }}|{{ d.zz }}|{{ d['zz'] is undefined }}|{{ d.items }}
{{ d['items'] }} {{ d.get('q', 3) }} {{ d.keys() }} {{ d.values() }} {{ d.items() }} {{ d.keys()|list }}
{{ d.update({'q':1}) }}
{{ d.update }}|{{ l.append }}|{{ l.append(1) }}
{{ s.__class__ }}|{{ s.upper() }} {{ s.split() }} {{ s.split('o') }} {{ s.rsplit('o',1) }} {{ s.replace('l','L',1) }} {{ s.startswith(('x','He')) }}
{{ s.find('o') }} {{ s.index('o') }} {{ s.rfind('o') }} {{ s.count('l') }} {{ s.title() }} {{ s.swapcase() }} {{ s.center(20) }}| {{ s.center(20,'*') }} {{ s.ljust(15) }}| {{ s.zfill(15) }} {{ '-5'.zfill(4) }}
{{ s.partition(' ') }} {{ s.rpartition('o') }} {{ s.splitlines() }} {{ ml.splitlines() }} {{ ml.splitlines(true) }} {{ ml.split('\n') }}
{{ s.isalpha() }} {{ 'a1'.isalnum() }} {{ '12'.isdigit() }} {{ ' '.isspace() }} {{ 'ABC'.isupper() }} {{ 'Abc'.istitle() }} {{ ''.isalpha() }}
{{ ','.join(['a','b']) }} {{ ','.join([1]) }}
{{ '%s is %d and %05.2f %r' % ('a', 3, 2.5, 'q') }} {{ '%(a)s' % {'a':1} }} {{ '%s' % 'x' }} {{ '%%' % () }} {{ '%x %o %e %g %c' % (255, 8, 1.5, 0.0001, 'z') }}
{{ '{} {} {2}'.format(1,2,3) }}
{{ '{} {!r:>6} {:05d} {:,} {:.2f} {:>8} {:^8}| {a} {b[0]}'.format(1,'a',42,1234567,3.14159,'r','c',a=1,b=[9]) }}
{{ '{0:x} {0:#x} {0:b} {1:e} {1:g} {1:%} {2!s:*<5}'.format(255, 0.5, 'ab') }}
{{ 1 if false }}|{{ 1 if x else 2 }} {{ 1 < 2 < 3 }} {{ 1 < 2 > 3 }} {{ 'a' < 'b' }} {{ [1,2] < [1,3] }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' in 'abc' }} {{ 1 not in [1] }}
{{ 1 < 'a' }}
{{ none < 1 }}
{{ 'a' + 1 }}
{{ 'a' ~ 1 ~ none ~ true ~ x ~ 1.5 }} {{ 'ab' * 3 }} {{ 3 * [1] }} {{ [1] + [2] }} {{ (1,) + (2,) }}
{{ s|upper }} {{ s|lower }} {{ s|title }} {{ s|capitalize }} {{ s|length }} {{ s|count }} {{ l|first }} {{ l|last }} {{ l|join(', ') }} {{ l|join }} {{ l|sort }} {{ l|sort(reverse=true) }} {{ l|reverse|list }} {{ s|reverse }}
{{ users|map(attribute='n')|list }} {{ users|map(attribute='x.y')|list }} {{ users|map(attribute='x.y', default=0)|list }}
{{ users|map('upper')|list }} {{ ['a','b']|map('upper')|join }} {{ l|map('string')|list }} {{ l|select('odd')|list }} {{ l|reject('odd')|list }} {{ l|select('gt', 1)|list }} {{ l|select|list }}
{{ users|selectattr('a','equalto',3)|map(attribute='n')|list }} {{ users|rejectattr('a','==',3)|list }} {{ users|selectattr('x')|list }}
{{ users|groupby('a') }}
{% for k, v in users|groupby('a') %}{{ k }}={{ v|map(attribute='n')|join('+') }};{% endfor %}
{% for g in users|groupby('a') %}{{ g.grouper }}={{ g.list|length }};{% endfor %}
{{ ['b','A','a','B']|sort }} {{ ['b','A','a']|unique|list }} {{ users|sort(attribute='n')|map(attribute='n')|list }} {{ users|sort(attribute='a,n')|map(attribute='n')|list }} {{ l|min }} {{ l|max }} {{ l|sum }} {{ users|sum(attribute='a') }} {{ [[1],[2]]|sum(start=[]) }}
{{ d|dictsort }} {{ {'b':1,'a':2}|dictsort }} {{ {'b':1,'a':2}|dictsort(by='value') }} {{ {'b':1,'A':2}|items|list }}
{{ x|default('z') }} {{ ''|default('z') }} {{ ''|default('z', true) }} {{ x|d }}| {{ none|default(1) }}
{{ '3.7'|int }} {{ 'a'|int }} {{ 'a'|int(7) }} {{ '0x1A'|int(base=16) }} {{ '1e3'|int }} {{ 3.9|int }} {{ true|int }} {{ '3.5'|float }} {{ 'q'|float }} {{ ' 12 '|int }} {{ none|int }}
{{ x|int }}
{{ 3.14159|round(2) }} {{ 2.5|round }} {{ 3.5|round }} {{ 5|round }} {{ 15|round(-1) }} {{ 2.1|round(0,'ceil') }} {{ 2.9|round(method='floor') }} {{ -3|abs }} {{ -2.5|abs }}
{{ '  x '|trim }}| {{ 'xxaxx'|trim('x') }} {{ 'a-b'|replace('-','+') }} {{ 'aaa'|replace('a','b',2) }} {{ 12|replace(1,3) }} {{ 'abc'|list }} {{ 'abc'|string }} {{ 5|string }}
{{ j|tojson }} {{ j|tojson(indent=2) }} {{ j|tojson(ensure_ascii=true) }} {{ j|tojson(separators=(',',':')) }} {{ d|tojson(sort_keys=true) }} {{ 'é"\\/<>&\''|tojson }} {{ [1,(2,3),none,true,1.0,1e100]|tojson }} {{ {1:2,none:3,true:4,1.5:5}|tojson }} {{ []|tojson(indent=4) }} {{ {}|tojson(indent=4) }} {{ messages|tojson(indent=4) }} {{ big|tojson }}
{{ x|tojson }}
{{ 'a b c'|wordcount }} {{ 'foo bar baz qux'|truncate(9) }} {{ 'foo bar baz qux'|truncate(9,true) }} {{ 'foo bar baz qux'|truncate(11) }} {{ 'foo bar baz qux'|truncate(11,false,'...',0) }} {{ 'a\nb\n\nc'|indent }} {{ 'a\nb\n\nc'|indent(2,true,true) }} {{ 'a\nb'|indent('> ', true) }} {{ 'x'|center(9) }}| {{ 'a b&c/d'|urlencode }} {{ {'a':'1 2','b':'é'}|urlencode }}
{{ l|batch(2)|list }} {{ l|batch(2,'x')|list }} {{ range(7)|slice(3)|list }} {{ range(7)|slice(3,'f')|list }} {{ '<a>'|e }} {{ '<a>'|safe }} {{ '<a>'|e + '<b>' }} {{ ('<a>'|safe) ~ '<b>' }} {{ '<a>'|forceescape }} {{ 1000|filesizeformat }} {{ 123456789|filesizeformat(true) }} {{ {'a':1,'b':none,'c':'<'}|xmlattr }}
{{ 3 is odd }} {{ 3 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ s is string }} {{ 1 is number }} {{ true is number }} {{ true is integer }} {{ 1.0 is float }} {{ d is mapping }} {{ l is sequence }} {{ s is sequence }} {{ l is iterable }} {{ 1 is iterable }} {{ none is none }} {{ x is none }} {{ true is boolean }} {{ 1 is true }} {{ true is sameas true }} {{ 'a' is lower }} {{ 'A' is upper }} {{ 3 is eq 3 }} {{ 3 is gt 2 }} {{ 3 is in [3] }} {{ 'tojson' is filter }} {{ 'odd' is test }} {{ range is callable }} {{ x is sequence }} {{ x is iterable }} {{ x is mapping }} {{ d.items is callable }} {{ 1 is not none }}
{% for i in [1,2,3] %}{{ loop.index }}/{{ loop.index0 }}/{{ loop.revindex }}/{{ loop.revindex0 }}/{{ loop.first }}/{{ loop.last }}/{{ loop.length }}/{{ loop.previtem }}/{{ loop.nextitem }}/{{ loop.cycle('a','b') }}/{{ loop.changed(i//2) }}/{{ loop.depth }};{% endfor %}
{% for i in [1,2,3] if i != 2 %}{{ i }}{{ loop.last }}{{ loop.length }}{% else %}none{% endfor %}{% for i in [] %}{% else %}empty{% endfor %}
{% for i in [1,2,3] %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}
{% for x in [1] %}{% break %}{% else %}E{% endfor %}
{% for a, b in [(1,2),(3,4)] %}{{ a }}{{ b }}{% endfor %}{% for k, v in d.items() %}{{ k }}{% endfor %}{% for c in 'héy' %}{{ c }}.{% endfor %}{% for k in d %}{{ k }}{% endfor %}
{% for a, b in [(1,2,3)] %}{{ a }}{% endfor %}
{% set x = 1 %}{% for i in [1,2] %}{{ x }}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}
{% set ns = namespace(a=1, b=[]) %}{% for i in [1,2] %}{% set ns.a = ns.a + i %}{% set ns.b = ns.b + [i] %}{% endfor %}{{ ns.a }}{{ ns.b }}{{ ns }}{{ ns.zz }}
{% set ns = namespace(_a=1) %}
{% set d.x = 1 %}
{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set (a, b) = (b, a) %}{{ a }}{{ b }}
{% set q %}hello {{ s }}{% endset %}{{ q }}{% set q | upper %}abc{% endset %}{{ q }}
{% macro m(a, b=2, c=a) %}{{ a }}-{{ b }}-{{ c }}-{{ varargs }}-{{ kwargs }}{% endmacro %}{{ m(1) }}{{ m(1,2,3,4,z=5) }}{{ m() }}{{ m(b=1,a=3) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1,2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }}
{% macro m(a) %}[{{ caller() }}|{{ caller(3) if false }}]{% endmacro %}{% call m(1) %}body{{ s }}{% endcall %}
{% macro m(a) %}[{{ caller(a, 5) }}]{% endmacro %}{% call(x, y=1) m(1) %}body{{ x }}{{ y }}{% endcall %}
{% macro m() %}{{ y }}{% endmacro %}{% set y = 5 %}{{ m() }}{% for y in [1] %}{{ m() }}{% endfor %}
{% macro fact(n) %}{% if n <= 1 %}1{% else %}{{ n * fact(n-1)|int }}{% endif %}{% endmacro %}{{ fact(5) }}
{% for m in [{'a':1,'c':[{'a':2,'c':[]},{'a':3,'c':[{'a':4,'c':[]}]}]}] recursive %}{{ m.a }}@{{ loop.depth }}{{ loop.depth0 }}({{ loop(m.c) }}){% endfor %}
{% filter upper %}abc {{ s }}{% endfilter %}{% filter replace('a','b')|upper %}aa{% endfilter %}
{% with a=1, b=2 %}{{ a }}{{ b }}{% endwith %}{{ a }}
{% if x %}1{% elif n == 5 %}2{% else %}3{% endif %}{% if not n %}a{% endif %}
{% raw %}{{ x }}{% endraw %}{# comment #}{#- c -#}
  {% raw -%}  {{ x }}  {%- endraw %}  
{% generation %}gen{{ s }}{% set zz = 1 %}{% endgeneration %}{{ zz }}
a  {%- if true -%}  b  {%- endif -%}  c
a  {%+ if true +%}  b  {%+ endif +%}  c
{{- ' x ' -}}   y
{% print 1, 2 %}
{{ range(5)|list }} {{ range(2,10,3) }} {{ range(10)[2:5] }} {{ range(3) == range(0,3) }} {{ range(5)|last }} {{ 3 in range(5) }} {{ range(200000) }}
{{ dict(a=1) }} {{ dict([(1,2)]) }} {{ dict({'z':1}, y=2) }}
{% set c = cycler('a','b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{% set j2 = joiner(',') %}{{ j2() }}a{{ j2() }}b
{{ raise_exception('boom') }}
{{ strftime_now('%d %b %Y %H:%M %j %-d %A %Y-%m-%d %f %Z%z %%') }}
{{ u|upper }} {{ u|title }} {{ u.title() }} {{ u|capitalize }} {{ u|lower }} {{ 'ΑΣ ΣΑΣ.'|lower }} {{ 'ﬁ'|upper }}
{% set x = 1 %}{% if true %}{% set x = 2 %}{% set y = 3 %}{% endif %}{{ x }}{{ y }}
{% if false %}{% set add_generation_prompt = 5 %}{% endif %}{{ add_generation_prompt }}
{% set add_generation_prompt = add_generation_prompt and false %}{{ add_generation_prompt }}
{% for m in messages %}{% set s = m.role %}{{ s }}{% endfor %}{{ s }}
{{ messages[0]['content'] }}{{ messages[-1].content }}{{ messages|length }}{{ messages[1:]|length }}{{ messages[0] }}{{ messages }}
{{ (messages|selectattr('role','equalto','user')|list)[0].content }}{% if messages|selectattr('role','equalto','zz') %}yes{% endif %}
{{ messages|selectattr('role','equalto','user')|length }}
{{ messages|map(attribute='role')|last }}
{% set it = messages|map(attribute='role') %}{{ it|list }}{{ it|list }}
{% include 'x' %}
{{ 5 | unknown }}
{% if false %}{{ 5 | unknown }}{% endif %}ok
{% if false %}{% for i in l %}{{ 5 | unknown }}{% endfor %}{% endif %}ok
{{ 1 if 1 is unknowntest }}
{% break %}
{% for loop in l %}{% endfor %}
{% set loop = 1 %}{{ loop }}
{% do 1 %}
{{ 'a'.join(l|map('string')) }}
{{ s[1:3] }}{{ s[:-1] }}{{ s[::2] }}{{ s[10:20] }}{{ s[-3:] }}{{ x[1:] }}
{{ d[1:2] }}
{{ l[1:2, 3] }}
{{ l[::0] }}
{{ {'a':1}.a }} {{ {'a':{'b':2}}['a']['b'] }} {{ {'a':1} == {'a':1.0} }} {{ {(1,2):3}[(1,2)] }} {{ {[1]:2} }}
{{ not true }} {{ not not 1 }} {{ true and 0 or 'x' }} {{ 1 and 2 }} {{ none or [] }} {{ not x is defined }} {{ not 1 == 2 }}
{{ 'A' if n > 3 else 'B' if n > 2 else 'C' }}
{{ f.is_integer() }} {{ f.real }} {{ n.real }} {{ n.bit_length() }}
{{ foo.bar.baz }}
{{ foo() }}
{{ s() }}
{{ s.foo() }}
{{ loop }}
{{ 1.real }} {{ l.0 }} {{ d.a.c.1 }}
{{ "a" if "b" }}|{{ [1 if false][0] }}
{{ -5 // 2 }}{{ - 5 }}{{ +5 }}{{ -'a' }}
{{ '%d' % 'a' }}
{{ '%s %s' % 'a' }}
{{ '%s' % ('a','b') }}
{{ 'a' % 'b' }}
{{ [1,2] == (1,2) }} {{ none == x }} {{ x == y }} {{ x != 1 }}
{{ d|length }} {{ none|length }}
{{ 5|first }}
{{ []|first }}|{{ []|last }}|{{ ''|first }}|{{ []|min }}|{{ x|first }}|{{ x|list }}|{{ x|join }}|{{ x|length }}|{{ x|upper }}|{{ none|upper }}|{{ 5|upper }}|{{ x|trim }}
{{ 'unterminated }}
{{ (1 }}
{{ 1) }}
{% if %}{% endif %}
{% for x in y %}
{% endif %}
{{ a b }}
{{ }}
{% %}
{{ 1..2 }}
{{ a.1.b }}
{{ f(**{'a':1}) }}
{% macro f(a,b) %}{{ a }}{{ b }}{% endmacro %}{{ f(*[1,2]) }}{{ f(**{'a':1,'b':2}) }}{{ f(1, **{'b':2}) }}
{% macro f(a,b) %}{{ a }}{{ b }}{% endmacro %}{{ f(1, a=2) }}
{{ s|replace('o') }}
{{ s|replace(old='o', new='0') }}
{{ l|join(d='-') }} {{ l|join('-', attribute='x') }}
{{ users|attr('n') }}|{{ s|attr('upper') is callable }}
{{ 'a,b'|map('upper')|list }}
{{ loop.index }}
{% for i in range(3) %}{% for j in range(2) %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}
{% for i in l|sort %}{% set outer = loop %}{% for j in l %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}
{% set f = 1 %}{% macro g() %}{% set f = 2 %}{{ f }}{% endmacro %}{{ g() }}{{ f }}
{{ caller }}|{{ varargs }}
{% macro a() %}{% macro b() %}B{% endmacro %}{{ b() }}{% endmacro %}{{ a() }}{{ b }}
{% call a() %}{% endcall %}
{{ 1 if x is defined and x.y is defined else 0 }}
{{ {'a': 1, 'a': 2} }}
{{ [ ] }} {{ [1,] }} {{ {'a':1,} }} {{ (1,2,) }}
{{ 'x' in d }} {{ 'b' in d }} {{ 1 in {1:2} }} {{ [1] in [[1]] }} {{ 'a' in none }}
{{ s is string and s|length > 3 }}
{{ (s|length) ~ 'x' }}{{ s|length ~ 'x' }}{{ 1 + 2 ~ 3 }}{{ 1 ~ 2 + 3 }}
{{ 10 / 2 }} {{ 10 // 3.0 }} {{ 10 % 3.5 }} {{ 1 / 0 }}
{{ true + true }} {{ true|string }} {{ [true,none] }} {{ none|string }}
{{ messages | map(attribute='content') | select('string') | map('length') | sum }}
{{ [[1,2],[3]]|map('first')|list }} {{ [[1,2],[3]]|map(attribute=0)|list }} {{ [{'a':[5]}]|map(attribute='a.0')|list }}
{{ l|sort|map('string')|join(',')|upper|replace(',', ';') }}
{{ {'x': l|first} }}{{ (l|first, l|last) }}
{{ "a\
b" }}
{{ 'é' == '\xe9' }} {{ '\é' }}
{%- for i in l -%}
  {{ i }}
{%- endfor %}
{{ ''.join([]) }}{{ ' '.join(x for x in y) }}
{{ l is l }}
{{ 5 is odd is even }}
{{ [3,1]|sort is sequence }}
{{ 1 is divisibleby 0 }}
{{ 'a' is divisibleby 2 }}
{% set x %}{% for i in l %}{{ i }}{% break %}{% endfor %}{% endset %}{{ x }}
{% for i in l %}{% set x %}q{{ i }}{% if i == 1 %}{% break %}{% endif %}{% endset %}{{ x }}{% endfor %}
{{ "{:>10.3}|{:+d}|{: d}|{:08.3f}|{:<5}|{:g}|{}".format('abcdef', 5, 5, 3.14159, 'x', 1e10, 1e10) }}
{{ "{:d}".format('a') }}
{{ "{0.a} {0[a]}".format({'a': 1}) }}
{{ "%-5s|%5s|%+d|% d|%05d|%.3s|%5.1f|%i|%X" % ('a','b',5,5,42,'abcdef',2.25,7,255) }}
{{ "{!r}".format('é\n') }}
{{ n.foo }}|{{ n['foo'] }}|{{ n[0] }}|{{ s[x] }}|{{ s['0'] }}|{{ l['0'] }}|{{ l[1.0] }}|{{ l[true] }}
{{ messages[1].content.split('<')[0] }}{{ (messages[1].content.split('</think>')|last).lstrip('\n') }}
{{ '  a '.strip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'abcabc'.rstrip('bc') }}|{{ ' \u00a0a\u3000'.strip() }}|{{ 'a'.strip(none) }}
{{ 'a--b'.split('-') }} {{ ' a  b '.split() }} {{ ' a  b '.split(' ') }} {{ ' a b c '.split(none, 1) }} {{ ' a b c '.rsplit(none, 1) }} {{ 'abc'.split('') }}
{{ 'abc'.replace('', '-') }} {{ 'abc'.replace('', '-', 2) }} {{ ''.replace('', 'x') }} {{ 'aXbX'.replace('X', '') }}
{{ 'TEST'.removeprefix('TE') }} {{ 'test'.removesuffix('st') }} {{ 'a\tb'.expandtabs(4) }} {{ 'AbC'.casefold() }}
{{ 'abc'.find('c', 1) }} {{ 'abc'.find('a', 1) }} {{ 'abcabc'.count('bc', 2) }} {{ 'abc'.endswith('c', 0, 2) }} {{ 'abc'.find('', 5) }} {{ 'abc'.count('') }}
{{ [1,2,1].count(1) }} {{ [1,2].index(2) }} {{ (1,2).index(5) }}
{{ [1,2].copy() }} {{ {'a':1}.copy() }}
{{ l|sort(attribute='x') }}
{{ [1,'a']|sort }}
{{ [none, none]|sort }}
{{ [{'a':1},{'b':2}]|unique|list }}
{{ 'a'|float(default=1.5) }} {{ 'inf'|float }} {{ 'nan'|float }} {{ '1_0'|int }} {{ '٣'|int }}
{{ 1e400 }} {{ -1e400 }} {{ 1e308 + 1e308 }}
{{ 12345678901234567890 }}
{{ (1,2)[0] }} {{ (1,2)|list }} {{ (1,2)|tojson }}
{{ '\ud83d' }}
{{ 1 if n == 5 and s else 0 }} {{ n == 5 and s }}
{{ messages[0].content|trim ~ '\n' }}x
'''.strip("\n").split("\n")
ML = ["{% if true %}\n a\n{% endif %}\n b\n", "  {% if true %}\n   a\n  {% endif %}\nb", "a\r\nb\rc\n\n", "x {% set a = 1 %}\n y", "{# c #}\nx\n  {# d #}\n  y", "  {{ 1 }}\n  {%- set x = 2 %}\n  z", "{% raw %}\n  a\n{% endraw %}\nb", "  {%+ if true %}a{% endif +%}\n", "{%- if true -%}\n\n a \n{%- else -%} b {%- endif -%}\n", "a\n   {%- if true %}\n   b\n   {%- endif %}\n", "\n\n{{- 1 }}\n{{ 2 -}}\n\n3\n", "{% for i in l %}\n{{ i }}\n{% endfor %}\n", "a {#- x -#} b", "a {# x +#}\nb", "{{ 1 +}}", "{{'a'}}\n\n\n", "{%for i in l%}{{i}}{%endfor%}", "  {% raw %} x {% endraw %}  y", "{{ {'a': {'b': {}}} }}", "{{ '}}' }}{{ '%}' }}", "{% set x = '{% if %}' %}{{ x }}", "{# {{ #}x", "{% if x %}{% endif %}\n\n\n{% if x %}{% endif %}y", "\t {% if true %}x{% endif %}", "a\n \t{% if true %}x\n \t {% endif %}", "{{ 1 }}{% if true %}\n{% endif %}\n", "x{%- raw -%} a {%- endraw -%} y", "{%raw%}a{%endraw%}", "", "\n", "\n\n", "{{", "{%", "{#", "{", "a{", "{{}}", "{% raw %}", "{{ a }", "{%- endraw %}", "{% if true: %}x{% endif %}", "{% for i in l: %}x{% endfor %}",
 "{% set x %}{% endset %}[{{ x }}]", "{{ x|tojson|upper }}", "a{%if true%}b\n{%endif%}\nc{%if true%}\nd{%endif%}", "{% macro m(x) -%}\n  {{ x }}\n{%- endmacro -%}\n{{ m(1) }}\n{{ m(2) }}"]
R = random.Random(1)
names = ["n","f","s","e","l","d","t","none","u","ml","users","messages","j","x","zz","true","false","d.a","d.a.c","messages[0]","messages[0].role","users[0].n","l[0]","ns.a"]
strs = ["'a'","'Hello World'","''","' x '","'a,b,c'","'12'","'3.5'","'é🙂'","'aXbXc'","'<&>'","'%s'","'line\\n two\\n\\nx'","'{}'","'assistant'","'\"q\"'", "'ab' 'cd'"]
nums = ["0","1","2","-1","3","7","2.5","0.1","1e3","100","-7","1.0"]
filters0 = ["upper","lower","trim","title","capitalize","length","count","first","last","list","string","int","float","abs","round","sort","unique|list","reverse|list","reverse","join","tojson","e","safe","d","sum","min","max","items|list","dictsort","wordcount","indent","select|list","reject|list","map('string')|list","map('upper')|list","urlencode","forceescape","filesizeformat","map('length')|list", "default", "center", "format"]
def atom(d):
    r = R.random()
    if r < .35: return R.choice(names)
    if r < .6: return R.choice(strs)
    if r < .85: return R.choice(nums)
    if r < .9: return "[" + ", ".join(expr(d-1) for _ in range(R.randrange(4))) + "]"
    if r < .93: return "(" + "".join(expr(d-1)+", " for _ in range(R.randrange(1,3))) + ")"
    if r < .97: return "{" + ", ".join(R.choice(["'a'","'b'","1","'z'"]) + ": " + expr(d-1) for _ in range(R.randrange(3))) + "}"
    return "range(%s)" % R.choice(["3","2, 8, 2","5, 0, -2", "n"])
methods = ["upper()","lower()","strip()","split()","split(',')","split('X')","split('X', 1)","rsplit(' ', 1)","replace('a','b')","startswith('a')","endswith(('d','c'))","title()","capitalize()","find('o')","count('l')","index('e')","splitlines()","isdigit()","isalpha()","join(['a','b'])","join(l|map('string'))","zfill(5)","center(9)","keys()","values()","items()","get('a')","get('zz', 1)","lstrip('a')","rstrip()","append(1)","partition('b')","format(1,2)","swapcase()","islower()","isupper()","items()|list","keys()|list","ljust(4,'.')","removeprefix('a')", "copy()", "index(1)", "count(1)"]
tests = ["defined","undefined","none","string","number","integer","float","boolean","mapping","sequence","iterable","callable","odd","even","divisibleby(2)","eq(1)","ne 2","lt 3","gt(1)","in [1,2,'a']","true","false","lower","upper","sameas none","escaped","ge 1","equalto 'a'"]
def filt(d):
    r = R.random()
    if r < .7: return R.choice(filters0)
    return R.choice(["join(%s)"%R.choice(strs),"replace(%s,%s)"%(R.choice(strs),R.choice(strs)),"default(%s)"%atom(0),"default(%s, true)"%atom(0),"round(%s)"%R.choice(["1","2","-1"]),"round(1,'floor')","round(0,'ceil')","int(%s)"%R.choice(nums),"tojson(indent=%s)"%R.choice(["2","4","none","'\\t'"]),"tojson(sort_keys=true)","map(attribute=%s)|list"%R.choice(["'n'","'a'","0","'role'","'x.y'"]),"selectattr('role','equalto','user')|list","selectattr(%s)|list"%R.choice(["'n'","'a'","'role'"]),"rejectattr('a','gt',1)|list","groupby('a')","batch(2)|list","batch(2, 'z')|list","slice(2)|list","sort(reverse=true)","sort(attribute='n')","indent(2, true)","truncate(5)","truncate(4, true, '')","trim('a')","list|length","attr('upper')","select('odd')|list","reject('none')|list","map('int')|list", "map('default','q')|list","sum(attribute='a')","min(attribute='a')","first|upper","dictsort(by='value')","center(7)","replace('a','b',1)", "format(1)", "items", "xmlattr", "unique(true)|list"])
def expr(d):
    if d <= 0: return atom(0)
    r = R.random()
    if r < .15: return atom(d)
    if r < .32: return "%s %s %s" % (expr(d-1), R.choice(["+","-","*","/","//","%","**","~","~","+"]), expr(d-1))
    if r < .42: return "%s %s %s" % (expr(d-1), R.choice(["==","!=","<",">","<=",">=","in","not in"]), expr(d-1))
    if r < .5: return "%s %s %s" % (expr(d-1), R.choice(["and","or"]), expr(d-1))
    if r < .53: return "not " + expr(d-1)
    if r < .68: return "%s|%s" % (wrap(d-1), filt(d))
    if r < .75: return "%s.%s" % (wrap(d-1), R.choice(methods))
    if r < .82: return "%s is %s%s" % (wrap(d-1), R.choice(["","","not "]), R.choice(tests))
    if r < .83: return "%s[%s]" % (wrap(d-1), R.choice(["0", "-1", "'a'", "n", "'role'"]))
    # slices of names and strings only: of other constants jinja2 makes undefined while it folds them, and raises where it does not
    if r < .86: return "%s[%s]" % (R.choice([x for x in names if x not in ("true", "false", "none")] + strs), R.choice(["1:", "::-1", ":2", "1:-1", "-2:", "::2", ":-1", "3::-2"]))
    if r < .9: return "(%s if %s else %s)" % (expr(d-1), expr(d-1), expr(d-1))
    if r < .92: return "(%s if %s)" % (expr(d-1), expr(d-1))
    if r < .95: return "-" + wrap(d-1)
    if r < .97: return "%s < %s <= %s" % (atom(0), atom(0), atom(0))
    return "(%s)" % expr(d-1)
def wrap(d):
    return R.choice([atom(d), "(%s)" % expr(d)])
def name(): return R.choice(["x","y","v","s","n","l"])
def data(): return R.choice([" ","\n","a","\n  ","  b\n","x ","\n\n"," \n"])
def tag(s):
    a = R.choice(["","","","-","+"]); b = R.choice(["","","","-","+"])
    return "{%" + a + " " + s + " " + b + "%}"
def stmt(d, loop=False):
    if d <= 0:
        return R.choice([data(), "{{ %s }}" % expr(R.choice([0,1,1,2])), "{{- %s }}"%R.choice(["x","y","v","s"]), "{{ %s -}}"%R.choice(["x","y","v","s"])])
    r = R.random()
    B = lambda l=loop: "".join(stmt(d-1, l) for _ in range(R.randrange(1,4)))
    if r < .2: return data() + "{{ %s }}" % expr(R.choice([0,1,1,2]))
    if r < .35: return tag("if " + expr(2)) + B() + (tag("elif " + expr(1)) + B() if R.random() < .3 else "") + (tag("else") + B() if R.random()<.5 else "") + tag("endif")
    if r < .55:
        it = R.choice(["l","users","messages","range(3)","'abc'","[1,2,3]","d","[]", expr(1)])
        c = R.choice([""," if x is defined"," if loop.index"," if y != 1", " if v"]) if R.random()<.3 else ""
        v = R.choice(["x","y","v"])
        inner = ("{{ %s }}" % R.choice(["loop.index","loop.last","loop.first","loop.length","loop.revindex","loop.previtem","loop.nextitem|string|length","loop.cycle('a','b')","loop.changed(x)", v])) + B(True)
        if R.random()<.25: inner += tag("if " + expr(1)) + tag(R.choice(["break","continue"])) + tag("endif") + B(True)
        return tag("for %s in %s%s" % (v, it, c)) + inner + (tag("else") + B() if R.random()<.3 else "") + tag("endfor")
    if r < .68: return tag("set %s = %s" % (name(), expr(2)))
    if r < .72: return tag("set " + name() + R.choice([""," | upper"])) + B() + tag("endset")
    if r < .77: return tag("set ns.a = " + expr(1)) + "{{ ns.a }}"
    if r < .83:
        m = R.choice(["f","g"])
        return tag("macro %s(%s)" % (m, R.choice(["","x","x, y=1","x, y=x, v=s"]))) + B(False) + R.choice(["","{{ varargs }}","{{ kwargs }}","{{ caller() if caller }}"]) + tag("endmacro") + "{{ %s(%s) }}" % (m, R.choice(["","1","1,2","y=2","x=1,y=2","1,2,3,4"]))
    if r < .86: return tag("call %s()" % R.choice(["f","g"])) + B(False) + tag("endcall")
    if r < .89: return tag("filter " + R.choice(["upper","trim","replace('a','b')","indent"])) + B() + tag("endfilter")
    if r < .92: return tag("with %s = %s" % (name(), expr(1))) + B() + tag("endwith")
    if r < .94: return tag("generation") + B(False) + tag("endgeneration")
    if r < .96: return R.choice(["{# c #}","{#- c -#}","{% raw %}{{ x }}{% endraw %}","\n  {# c #}\n"])
    if loop: return tag("if " + expr(1)) + tag(R.choice(["break","continue"])) + tag("endif")
    return data()


TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "The weather, \"now\" é.\nBy place.", "parameters": {"type": "object",
          "properties": {"location": {"type": "string", "description": "City"}, "unit": {"type": "string", "enum": ["c", "f"], "default": "c"},
                         "days": {"type": "integer"}, "list": {"type": "array", "items": {"type": "number"}}, "either": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                         "both": {"type": ["string", "null"]}, "map": {"type": "object", "additionalProperties": {"type": "boolean"}},
                         "more": {"type": "object", "properties": {"x": {"type": "number", "description": "deep"}}}}, "required": ["location"]},
          "return": {"type": "string"}}}, {"type": "function", "function": {"name": "none", "description": "", "parameters": {"type": "object", "properties": {}}}}]
ASK = {"role": "user", "content": "Hello <there> & you"}


def call(arguments, content=None, **more):
    return {"role": "assistant", "content": content, "tool_calls": [{"id": "a1", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}], **more}


CHATS = [
    dict(messages=[ASK]), dict(messages=[ASK], generate=True), dict(messages=[{"role": "system", "content": " Be brief.\n"}, ASK], generate=True),
    dict(messages=[{"role": "system", "content": "S"}, ASK, {"role": "assistant", "content": " Hi "}, {"role": "user", "content": "More"}], generate=True),
    dict(messages=[ASK, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHi"}, {"role": "user", "content": "More"},
                   {"role": "assistant", "content": "<think>b</think>Bye"}]),
    dict(messages=[ASK, {"role": "assistant", "content": "Hi", "reasoning_content": "because\n"}, {"role": "user", "content": "More"},
                   {"role": "assistant", "content": "Bye", "thinking": "\nreason"}]),
    dict(messages=[ASK, {"role": "assistant", "content": "Hi", "reasoning": "because", "thinking": None}]),
    dict(messages=[ASK, call({"location": "Paris", "days": 3}), {"role": "tool", "content": "{\"t\": 20}"}], tools=TOOLS, generate=True),
    dict(messages=[ASK, call('{"location": "Paris"}', "I look.", reasoning_content="so"), {"role": "ipython", "content": {"t": [20, None]}},
                   {"role": "assistant", "content": "It is 20"}], tools=TOOLS),
    dict(messages=[ASK], tools=TOOLS, generate=True), dict(messages=[ASK], generate=True, kwargs={"enable_thinking": False, "today": "now"}),
    dict(messages=[ASK, ASK], documents=[{"title": "T", "text": "one"}, {"title": "U", "text": "two", "n": 3}]),
    dict(messages=[{"role": "user", "content": [{"type": "text", "text": " a "}, {"type": "image"}, {"type": "text", "text": "b"}]}], generate=True),
    dict(messages=[{"role": "assistant", "content": "first"}, ASK]), dict(messages=[{"role": "odd", "content": "x"}]), dict(messages=[{"role": "user"}]),
    dict(messages=[{"role": "user", "content": 5}]),
]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def render(case):
    if "context" in case:
        return ctu._compile_jinja_template(case["template"]).render(**copy.deepcopy(CTX))
    messages = [{k: v for k, v in m.items() if v is not None} for m in case["messages"]]
    out, _ = ctu.render_jinja_template([messages], tools=case.get("tools"), documents=case.get("documents"), chat_template=case["template"],
                                       add_generation_prompt=case.get("generate", False), **{**TOKENS, **case.get("kwargs", {})})
    return out[0]


def main():
    count, seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1200, int(sys.argv[3]) if len(sys.argv) > 3 else 1
    R.seed(seed)
    cases = [{"template": open(p, encoding="utf-8").read(), **chat} for p in sorted(glob.glob(HERE + "/templates/*.jinja")) for chat in CHATS]
    cases += [{"template": t, "context": "all"} for t in EXPRESSIONS + ML]
    for i in range(count):
        t = "{{ %s }}" % expr(R.choice([1, 1, 2, 2, 2, 3])) if i % 2 else "{% set ns = namespace(a=0) %}" + "".join(
            stmt(R.choice([1, 1, 2, 2, 3])) for _ in range(R.randrange(1, 4)))
        cases.append({"template": t, "context": "all"})
    written = errors = 0
    with gzip.GzipFile(sys.argv[1], "wb", mtime=0) as f:
        f.write((json.dumps({"contexts": {"all": CTX}}) + "\n").encode())
        for case in cases:
            try:
                text = render(case)
                text.encode()
            except RecursionError:
                continue
            except Exception as e:
                text = None
                if isinstance(e, SyntaxError):  # a limit of Python's own compiler
                    continue
            if text is None and len(case["template"]) > 60 and R.random() < 0.7:
                continue  # enough of those that fail
            if text is not None and " at 0x" in text:
                continue
            if text is not None and len(text) > 4000:
                continue
            case = {**case, **({"error": True} if text is None else {"text": text})}
            f.write((json.dumps(case) + "\n").encode())
            written += 1
            errors += text is None
    print(written, "cases,", errors, "of them errors")


main()
