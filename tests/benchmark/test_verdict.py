"""The verdict sentence comes out by rule."""

from __future__ import annotations

from typing import Any

import pytest

from consensus.benchmark.verdict import Verdict, verdict
from consensus.statistics import Interval


def ruled(
    interval: tuple[float, float],
    *,
    ratio: float | None = 0.5,
    single: float = 0.5,
    shuffled: float = 0.5,
    name: str = "vote",
    accuracy: float = 0.7,
) -> Verdict:
    figures: dict[str, Any] = {
        "accuracy": accuracy,
        "frontier_accuracy": accuracy - sum(interval) / 2,
        "difference": sum(interval) / 2,
        "cost_ratio": ratio,
        "cost_per_case": ratio,
    }
    controls: dict[str, dict[str, Any]] = {
        "best_single": {"accuracy": single, "cost_per_case": 0.1, "model": "m"},
        "shuffled": {"accuracy": shuffled, "cost_per_case": ratio},
    }
    return verdict(figures, controls, Interval(*interval), n=300, name=name, variance=0.2)


@pytest.mark.parametrize(
    ("given", "ruling", "said"),
    [
        ({"interval": (0.01, 0.10)}, "pays", "pays:"),
        ({"interval": (-0.005, 0.05)}, "pays", "as good within 1 point"),
        ({"interval": (-0.005, 0.05), "ratio": 1.5}, "not enough cases", "more"),
        ({"interval": (-0.10, -0.05)}, "pays", "as a saving, not as parity"),
        ({"interval": (-0.10, -0.05), "shuffled": 0.8}, "does not pay", "shuffled routing"),
        ({"interval": (-0.10, -0.05), "ratio": 2.0}, "does not pay", "does not pay"),
        ({"interval": (-0.05, 0.005), "ratio": 2.0}, "does not pay", "not cheaper"),
        ({"interval": (-0.05, 0.05)}, "not enough cases", "needs"),
        ({"interval": (0.01, 0.10), "single": 0.9}, "does not pay", "m alone is right on 90.0%"),
        ({"interval": (0.06, 0.13), "ratio": 2.0, "shuffled": 0.9}, "not enough cases", ""),
    ],
)
def test_each_rule(given: dict[str, Any], ruling: str, said: str) -> None:
    found = ruled(**given)
    assert found.ruling == ruling
    assert said in found.sentence
    assert (found.more_cases is not None) <= (ruling == "not enough cases")


def test_a_dearer_single_model_that_is_better_pays_though_the_coin_may_be_that_model() -> None:
    assert ruled((0.06, 0.13), ratio=2.0, shuffled=0.7, name="single").ruling == "pays"


def test_a_worse_single_model_does_not_pay_as_a_saving_over_itself() -> None:
    assert ruled((-0.10, -0.05), shuffled=0.7, name="single").ruling == "does not pay"
