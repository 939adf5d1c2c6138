"""Templates that would take time or memory without end are refused; ordinary ones are Jinja's, to the letter.

The limits are counts, so these tests do not look at a clock: without the limits they would not end.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from jinja2 import Environment, StrictUndefined

from harness.core.errors import PromptError
from harness.core.types import LabelKind, LabelSpace
from harness.parsing.rendering import Renderer
from harness.specs.prompts import load_prompt
from harness.specs.templates import BUDGET, MAX_CHARS, MAX_NODES, SafeTemplate

TOPICS = LabelSpace(LabelKind.NOMINAL, ("sport", "politics", "science and technology"))
BIG = 2_000_000_000


def _macros(body: str) -> str:
    """Sixty macros, each of which calls the one before twice."""
    more = (f"{{% macro m{n}() %}}{{{{ m{n - 1}() }}}}{{{{ m{n - 1}() }}}}{{% endmacro %}}" for n in range(1, 60))
    return f"{{% macro m0() %}}{body}{{% endmacro %}}{''.join(more)}{{{{ m59() }}}}"


def _doubled(first: str, again: str) -> str:
    return f"{{% set x = {first} %}}" + again * 40 + "{{ x }}"


RENDERED = {
    "loops over the text": "{% for a in text %}{% for b in text %}{% for c in text %}{% endfor %}{% endfor %}{% endfor %}",
    "loops over the text that write": "{% for a in text %}{% for b in text %}{{ b }}{% endfor %}{% endfor %}",
    "a long range": "{% for i in range(10**9) %}x{% endfor %}",
    "ranges within ranges": "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}",
    "the text over and over": "{% for i in range(99999) %}{{ text }}{% endfor %}",
    "static text over and over": "{% set x %}{% for i in range(99999) %}" + "y" * 50_000 + "{% endfor %}{% endset %}",
    "comparisons in a loop": "{% for a in range(99999) %}{% if text == text ~ a %}{% endif %}{% endfor %}",
    "slices in a loop": "{% for a in range(99999) %}{% if text[1:] == text[2:] %}{% endif %}{% endfor %}",
    "%s with a width": f"{{{{ '%{BIG}s' % 'x' }}}}",
    "%s with a width that is a value": f"{{{{ '%*d' % ({BIG}, 1) }}}}",
    "%f with a precision": f"{{{{ '%.{BIG}f' % 1.5 }}}}",
    "the filter format": f"{{{{ '%{BIG}s' | format('x') }}}}",
    "one value in many fields": "{{ ('%(a)s' * 90000) % {'a': 'x' * 90000} }}",
    "format": f"{{{{ '{{:{BIG}}}'.format('x') }}}}",
    "format with a width that is a value": f"{{{{ '{{:{{}}}}'.format('x', {BIG}) }}}}",
    "format with a width that is a text": f"{{{{ '{{:{{}}}}'.format('x', '{BIG}') }}}}",
    "format_map": f"{{{{ '{{a:{BIG}}}'.format_map({{'a': 'x'}}) }}}}",
    "the filter center": f"{{{{ 'x' | center({BIG}) }}}}",
    "the method center": f"{{{{ 'x'.center({BIG}) }}}}",
    "a method by attr": f"{{{{ ('x' | attr('ljust'))({BIG}) }}}}",
    "a filter by map": f"{{{{ ['x'] | map('center', {BIG}) | list }}}}",
    "zfill": f"{{{{ 'x'.zfill({BIG}) }}}}",
    "expandtabs": "{{ ('\\t' * 90000).expandtabs(90000) }}",
    "a repeated string": "{{ 'a' * 10**10 }}",
    "repeated by a string": "{{ 10**10 * 'a' }}",
    "a repeated list": "{{ [0] * 10**9 }}",
    "a list of repeated lists": "{{ [[0] * 90000] * 90000 }}",
    "powers": "{{ 10**10**8 }}",
    "squares": _doubled("10**60", "{% set x = x * x %}"),
    "doubled by +": _doubled("'ab'", "{% set x = x + x %}"),
    "doubled by ~": _doubled("'ab'", "{% set x = x ~ x %}"),
    "doubled in a block": _doubled("'ab'", "{% set x %}{{ x }}{{ x }}{% endset %}"),
    "doubled lists": _doubled("[0]", "{% set x = [x, x] %}"),
    "doubled mappings": _doubled("{'a': 0}", "{% set x = {'a': x, 'b': x} %}"),
    "deep lists as JSON": _doubled("[]", "{% set x = [x] %}").replace("{{ x }}", "{{ x | tojson }}"),
    "JSON with an indent": f"{{{{ [[1]] | tojson(indent={BIG}) }}}}",
    "macros that call twice": _macros(""),
    "macros that write and call twice": _macros("xxxxxxxx"),
    "a macro that calls itself": "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(90) }}",
    "a macro that calls itself without end": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "a loop that calls itself": "{% for x in [[1]] recursive %}{{ loop([[1], [2]]) }}{% endfor %}",
    "a loop as a value": "{% for x in range(9000) %}{{ loop | join('b' * 900000) }}{% endfor %}",
    "a call block": "{% macro m() %}{{ caller() }}{% endmacro %}"
    "{% call m() %}{% for i in range(99999) %}{{ 'x' * 99999 }}{% endfor %}{% endcall %}",
    "a filter block": "{% filter replace('x', 'y' * 999) %}{% for i in range(99999) %}xxxxxxxx{% endfor %}{% endfilter %}",
    "indent": f"{{{{ 'a\\nb' | indent({BIG}) }}}}",
    "batch": f"{{{{ [1] | batch({BIG}, 'x') | list }}}}",
    "slice": f"{{{{ [1] | slice({BIG}) | list }}}}",
    "replace": "{{ ('a' * 90000) | replace('a', 'b' * 90000) }}",
    "replace nothing": "{{ ('a' * 90000).replace('', 'b' * 90000) }}",
    "join": "{{ ('a' * 90000) | join('b' * 90000) }}",
    "the method join": "{{ ('b' * 90000).join('a' * 90000) }}",
    "join what a map yields": "{{ (range(90000) | map('string')) | join('b' * 90000) }}",
    "translate": "{{ ('a' * 90000).translate({97: 'b' * 90000}) }}",
    "round": "{{ 1.5 | round(100000000, 'ceil') }}",
    "bytes": f"{{{{ (1).to_bytes({BIG}, 'big') }}}}",
    "encode": "{{ text.encode() * 100000 }}",
    "a test at compile time": "{% if 'a' * 10**10 %}{% endif %}",
    "a filter at compile time": f"{{% if 'a' | center({BIG}) %}}{{% endif %}}",
}
COMPILED = {
    "autoescape": f"{{% autoescape 'a' | center({BIG}) %}}{{% endautoescape %}}",
    "variables given to other files": "".join(f"{{% set v{n} = 1 %}}" for n in range(1000)) + "{% include 'a' %}" * 1000,
    "variables given to blocks": "".join(f"{{% set v{n} = 1 %}}{{% block b{n} scoped %}}{{% endblock %}}" for n in range(1000)),
    "wordwrap": "{{ ('a' * 900000) | wordwrap(1) }}",
    "striptags": "{{ ('<!---->' * 100000) | striptags }}",
    "sums of lists": "{{ ([[1]] * 200000) | sum(start=[]) }}",
    "parentheses": "{{ " + "(" * 50_000 + "1" + ")" * 50_000 + " }}",
    "lists": "{{ " + "[" * 50_000 + "]" * 50_000 + " }}",
    "not": "{{ " + "not " * 50_000 + "1 }}",
    "filters": "{{ text" + " | upper" * 5_000 + " }}",
    "ifs": "{% if 1 %}" * 5_000 + "{% endif %}" * 5_000,
    "fors": "{% for a in labels %}" * 30 + "x" + "{% endfor %}" * 30,
    "a long number": "{{ " + "9" * 200_000 + " }}",
    "many parts": "{{ first }}" * MAX_NODES,
    "many characters": "x" * (MAX_CHARS + 1),
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def _write(body: str) -> Path:
        path = tmp_path / "mine.j2"
        path.write_text(f"---\ndescription: d\nparser: label\n---\n{body}\n{{{{ text }}}}", encoding="utf-8")
        return path

    return _write


@pytest.mark.slow
@pytest.mark.parametrize("name", RENDERED)
def test_what_would_not_end_is_refused_with_its_line(write: Callable[[str], Path], name: str) -> None:
    with pytest.raises(PromptError, match=r"mine\.j2:5: the template can't be rendered: "):
        Renderer(load_prompt(write(RENDERED[name])), TOPICS, "en")


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPILED)
def test_what_would_not_compile_in_time_is_refused(write: Callable[[str], Path], name: str) -> None:
    with pytest.raises(PromptError, match=r"mine\.j2(:5)?: the template (is not valid|has |can't be rendered: it is no)"):
        Renderer(load_prompt(write(COMPILED[name])), TOPICS, "en")


def test_a_text_can_not_set_it_off_later(write: Callable[[str], Path]) -> None:
    """The probe that a prompt is tried with does not hold every word."""
    rendered = Renderer(
        load_prompt(write(f"{{% if 'kettle' in text %}}{{{{ 'x'.center({BIG}) }}}}{{% endif %}}")), TOPICS, "en"
    )
    assert rendered.render("a lamp")[-1]["content"] == "a lamp"
    with pytest.raises(PromptError, match="takes more than"):
        rendered.render("a kettle")


def test_the_limit_grows_with_the_texts(write: Callable[[str], Path]) -> None:
    text = "word " * (BUDGET // 4)
    content = Renderer(load_prompt(write("{{ text | length }} {{ labels | join(', ') }}")), TOPICS, "en").render(text)[-1][
        "content"
    ]
    assert content == f"{len(text)} sport, politics, science and technology\n{text}"


def test_many_labels_are_no_reason_to_refuse() -> None:
    source = "{% for name in labels %}{{ loop.index }}. {{ name | replace('_', ' ') }}: {{ labels[loop.index0] }}\n{% endfor %}"
    labels = [f"label_number_{number}" for number in range(5000)]
    written = SafeTemplate(source, "mine.j2", 1, ["labels"]).render({"labels": labels}, 0)
    assert written == "".join(f"{n}. {name.replace('_', ' ')}: {name}\n" for n, name in enumerate(labels, start=1))


ORDINARY = [
    "{% for l in labels %}{{ loop.index }}/{{ loop.length }}{{ '' if loop.last else ';' }}{{ loop.cycle(1, 2) }}{% endfor %}",
    "{% macro m(x, y='-') %}[{{ x | upper }}{{ y }}]{% endmacro %}{{ m(first) }}{{ m(labels[1], y='!') }}",
    "{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}in{{ first }}{% endcall %}",
    "{{ labels | join('; ') }} {{ labels | map('title') | join }} {{ labels | sort | reverse | list }}",
    "{{ labels | batch(2) | list }}",
    "{{ '%s=%03d' | format(first, 7) }} {{ '%s%%' % 5 }} {{ '{} {x:>4}'.format(first, x=2) }} {{ '-' * 10 }} {{ 7 % 4 }}",
    "{{ labels[1:] }} {{ labels[-1] }} {{ scale[0].value }} {{ scale[0]['name'] }} {{ scale | map(attribute='name') | list }}",
    "{{ scale | selectattr('value', 'equalto', '1') | list }} {{ labels | first | truncate(3) }} {{ labels | length * 2 + 1 }}",
    "{% set b %}a{{ first }}{% endset %}{{ b ~ 1 ~ none }} {% with q = 3 %}{{ q }}{% endwith %} {{ {'a': '<&'} | tojson }}",
    "{% filter upper %}abc{{ first }}{% endfilter %} {{ 2**10 }} {{ 1 / 3 }} {{ -7 // 2 }} {{ 3 in [1, 3] }} {{ 1 < 2 < 3 }}",
    "{% for l in labels if l != first recursive %}{{ l }}{% else %}none{% endfor %}{{ first is string }}",
    "{{ '<b>' | e }} {{ '<' | safe }} {{ [1, 2, 2] | unique | list }} {{ 'a b'.split(' ') }} {{ ' x ' | trim }}|",
]


@pytest.mark.parametrize("source", ORDINARY)
def test_ordinary_templates_are_rendered_as_jinja_renders_them(source: str) -> None:
    values = {
        "labels": ["sport", "politics"],
        "first": "sport",
        "scale": [{"value": "0", "name": "low"}, {"value": "1", "name": "hi"}],
    }
    jinja = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    assert SafeTemplate(source, "mine.j2", 1, list(values)).render(values, 0) == jinja.from_string(source).render(values)
