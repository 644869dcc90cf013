"""Which usage is believed."""

from __future__ import annotations

import pytest

from consensus.ballots import Usage
from consensus.models._billing import MOST_TOKENS, Biller
from consensus.models.prices import PriceBook
from consensus.models.protocol import Part, Request, Turn

MODEL = "openai/gpt-5.4-nano"
REQUEST = Request(model=MODEL, system="s", turns=(Turn("user", (Part("x" * 30),)),))


@pytest.mark.parametrize(
    "usage",
    [Usage(input=10**9 + 1, output=1), Usage(input=1, output=10**9 + 1)],
    ids=["input", "output"],
)
def test_more_tokens_than_any_window_holds_are_estimated_from_the_text(usage: Usage) -> None:
    billed, _, basis = Biller(PriceBook()).bill(REQUEST, MODEL, usage, "abcdef")
    assert (billed.output, basis) == (2, "estimated_usage")
    assert 0 < billed.input < 100


def test_as_many_as_the_largest_may_hold_are_believed() -> None:
    usage = Usage(input=MOST_TOKENS, output=1)
    billed, _, basis = Biller(PriceBook()).bill(REQUEST, MODEL, usage, "abcdef")
    assert (billed, basis) == (usage, "served")
