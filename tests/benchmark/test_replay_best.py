"""Best of n over recorded rankings: nobody judges its own."""

from __future__ import annotations

import pytest

from consensus.benchmark.replay_best import replay_best
from consensus.benchmark.replay_pairs import RecordedRanking
from consensus.errors import DataError

MERIT = {"one": 3.0, "two": 2.0, "three": 1.0}


def vain(
    judges: tuple[str, ...], items: tuple[str, ...] = ("one", "two", "three")
) -> RecordedRanking:
    """Every judge prefers its own answer to all others, and is right of the rest."""
    said = {}
    for judge in judges:
        for first in items:
            for second in items:
                if first != second:
                    better = max((first, second), key=lambda item: MERIT[item])
                    said[judge, first, second] = judge if judge in (first, second) else better
    return RecordedRanking(items, said, MERIT)


def test_judges_who_prefer_their_own_choose_well_when_they_may_not_judge_it() -> None:
    judges = ("two", "three", "neutral")
    found = replay_best([vain(judges)] * 3, judges, "one")
    assert found["best"] == 1.0
    assert found["always_frontier"]["best"] == 1.0
    assert found["any"]["best"] == pytest.approx(1 / 3)
    assert found["self_preference"]["points"] > 0.3


def test_vain_judges_decide_nothing_where_they_judge_their_own() -> None:
    judges = ("two", "three")
    found = replay_best([vain(judges)] * 2, judges, "one")
    assert found["own_judged"]["best"] == pytest.approx(1 / 3)
    assert found["best"] == 1.0


def test_an_only_judge_cannot_choose_among_what_it_wrote() -> None:
    with pytest.raises(DataError, match="nobody but its author"):
        replay_best([vain(("two",))] * 2, ("two",), "one")


def test_a_judge_that_compared_nothing_is_named() -> None:
    with pytest.raises(DataError, match='"x" compared nothing'):
        replay_best([vain(("two",))] * 2, ("x",), "one")
