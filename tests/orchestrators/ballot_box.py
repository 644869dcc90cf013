"""Ballots and hops in a line, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from consensus.ballots import Ballot, Failure
from consensus.orchestrators.spec import HopRecord, StrategySpec

OPTIONS = ("approve", "reject")


def spec(seats: int, **fields: Any) -> StrategySpec:
    fields.setdefault("quorum", seats // 2 + 1)
    fields.setdefault("orchestrator", "vote")
    return StrategySpec(name="t", models=("scripted/a",), seats=seats, **fields)


def ballot(seat: int, answer: Any, **fields: Any) -> Ballot:
    return Ballot(seat=seat, model="scripted/a", framing="plain", answer=answer, **fields)


def failure(seat: int, failure: Any = "timeout") -> Failure:
    return Failure(seat=seat, model="scripted/a", framing="plain", failure=failure)


def hop(answers: Sequence[Any], *, first: int = 0, name: str = "vote", **fields: Any) -> HopRecord:
    """A hop in which None is a failed seat."""
    return HopRecord(
        name=name,
        spec=spec(len(answers), **fields),
        ballots=tuple(ballot(first + i, a) for i, a in enumerate(answers) if a is not None),
        failures=tuple(failure(first + i) for i, a in enumerate(answers) if a is None),
    )
