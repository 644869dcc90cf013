from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from consensus.policy.toml_text import quoted


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_read_back_as_it_was(text: str) -> None:
    assert tomllib.loads(f"text = {quoted(text)}") == {"text": text}


def test_half_a_surrogate_becomes_a_question_mark() -> None:
    assert tomllib.loads(f"text = {quoted(chr(0xD800))}") == {"text": "?"}
