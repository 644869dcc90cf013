from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import PromptError
from consensus.panel.templates import Template, compile_template


def compiled(source: str, **variables: object) -> Template:
    return compile_template(source, file="x.md", line=10, variables=variables or {"a": "text"})


def test_a_value_is_never_parsed_as_a_template() -> None:
    assert compiled("{{ a }}").render(a="{{ 7 * 7 }}{% if x %}") == "{{ 7 * 7 }}{% if x %}"


def test_a_loop_and_a_condition_are_rendered() -> None:
    template = compiled(
        "{% for w in ws %}{% if loop.first %}>{% endif %}{{ w }}{% endfor %}", ws=["x"]
    )
    assert template.render(ws=["1", "2"]) == ">12"


@pytest.mark.parametrize(
    "source",
    [
        "{{ a.__class__.__mro__ }}",
        "{{ a.format() }}",
        "{{ a * 1000000000 }}",
        "{{ a + a }}",
        "{{ a ~ a }}",
        "{{ 9 ** 9 ** 9 }}",
        "{% set b = a %}{{ b }}",
        "{% include 'system.md' %}",
        "{% import 'x' as y %}",
        "{% extends 'x' %}",
        "{% macro m() %}x{% endmacro %}",
        "{% for i in range(10) %}x{% endfor %}",
        "{% for c in a %}{% for d in a %}x{% endfor %}{% endfor %}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ a | center(1000000000) }}",
        "{{ a | attr('__class__') }}",
        "{{ a is callable }}",
        "{{ unknown }}",
        "{{ a",
        "{% if a %}",
        "{{ a[99999] }}",
        "{% if 1e999 %}x{% endif %}",
    ],
)
def test_what_a_prompt_does_not_need_is_refused_at_its_line(source: str) -> None:
    with pytest.raises(PromptError, match=r"^x\.md:1\d: ") as caught:
        compiled("text\n" + source)
    assert "\n" not in str(caught.value)


def test_the_line_of_an_error_is_that_of_the_file() -> None:
    with pytest.raises(PromptError, match=r"^x\.md:12: unknown variable"):
        compiled("one\ntwo\n{{ b }}\n")


@given(st.text(alphabet="{}%ab |.()[]'\"for in if end set*~+0\n", max_size=60))
def test_any_source_compiles_or_is_a_prompt_error(source: str) -> None:
    began = time.monotonic()
    with contextlib.suppress(PromptError):
        compiled(source).render(a="text")
    assert time.monotonic() - began < 5
