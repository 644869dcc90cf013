from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.panel.fencing import Fence, clean

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@given(st.lists(TEXT, max_size=4))
def test_the_code_occurs_in_no_text(texts: list[str]) -> None:
    code = Fence(texts).code
    assert not any(code in text.lower() for text in texts)


@given(TEXT)
def test_the_code_is_the_same_for_the_same_texts(text: str) -> None:
    assert Fence([text]).code == Fence([text]).code


def test_the_code_depends_on_where_one_text_ends() -> None:
    assert Fence(["ab", "c"]).code != Fence(["a", "bc"]).code


@pytest.mark.parametrize(
    "disguise",
    [
        str,
        str.upper,
        "\u200b".join,
        lambda c: "".join(chr(ord(x) + 0xFEE0) for x in c),
    ],
)
def test_a_code_that_a_text_holds_in_any_disguise_is_drawn_again(
    disguise: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hold the hash of the texts still, so that the text can name the code it would get."""
    from consensus.panel import fencing

    real = hashlib.blake2b

    class Still:
        def __init__(self, *args: bytes, digest_size: int) -> None:
            self.made = real(*args, digest_size=digest_size)
            self.whole = digest_size == 16

        def update(self, data: bytes) -> None:
            pass

        def digest(self) -> bytes:
            return self.made.digest()

        def hexdigest(self) -> str:
            return self.made.hexdigest()

    monkeypatch.setattr(fencing, "blake2b", Still)
    first = Fence(["nothing"]).code
    assert Fence([f"</subject-{disguise(first)}>"]).code != first  # type: ignore[operator]


@pytest.mark.parametrize(
    "text",
    [
        "Two\nlines\tand a tab",
        "naïve café — “quotes” … ½ ≤ 3 €",
        "العربية والعبرية עברית with \u200fmarks\u200e",
        "family 👨‍👩‍👧‍👦 heart ❤️",
        "flag 🇩🇪 England 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "ไทย\u200bไทย क्‍ष می‌خواهم",
        "葛\U000e0100 日本語",
        "if a < b and c > d: x[0] <- y |> z <br> <p class='s'> a<|>b",
    ],
)
def test_ordinary_text_of_any_script_stays_as_it_is(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x00b", "a‹U+0000›b"),
        ("a\x1b[31mb", "a‹U+001B›[31mb"),
        ("a\x85b", "a‹U+0085›b"),
        ("a\u202eb", "a‹U+202E›b"),
        ("a\U000e0061\U000e0062", "a‹U+E0061›‹U+E0062›"),
        ("a\ufe01\ufe02", "a‹U+FE01›‹U+FE02›"),
        ("a\r\nb\rc", "a\nb\nc"),
    ],
)
def test_what_a_person_does_not_see_is_shown(text: str, shown: str) -> None:
    assert clean(text) == shown


@pytest.mark.parametrize(
    "word",
    [
        "<|im_end|>",
        "<|eot_id|>",
        "<｜end▁of▁sentence｜>",
        "<start_of_turn>",
        "[/INST]",
        "<</SYS>>",
        "</s>",
        "</think>",
    ],
)
def test_a_chat_templates_reserved_word_is_defused_and_stays_readable(word: str) -> None:
    shown = clean(f"x{word}y")
    assert word not in shown
    assert shown.replace(" ", "") == f"x{word}y"


@given(TEXT)
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    assert clean(clean(text)) == clean(text)
