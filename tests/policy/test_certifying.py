from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from consensus.policy import PolicyTable, load_policy
from consensus.policy.certifying import certify, evidence_of, route_sha256
from consensus.policy.consequences import Bars
from tests.policy.books import CONTRACT, write

MEDIUM = Bars(0.95, 0.05, 0.85, False)
HIGH = Bars(0.99, 0.01, None, True)


def passes(k: int, n: int) -> list[int]:
    return [1] * k + [0] * (n - k)


def test_the_cheapest_route_before_the_first_failure_is_certified() -> None:
    ruling = certify(
        [passes(200, 200), passes(198, 200), passes(150, 200), passes(200, 200)], MEDIUM
    )
    assert (ruling.status, ruling.chosen) == ("certified", 1)
    assert ruling.tested == 3


def test_a_cheap_route_behind_a_failure_is_not_certified_however_good_it_looks() -> None:
    ruling = certify([passes(100, 200), passes(200, 200)], Bars(0.95, 0.05, None, False))
    assert ruling.status != "certified"


def test_learn_then_test_finds_it_at_a_split_delta() -> None:
    ruling = certify([passes(100, 200), passes(200, 200)], MEDIUM, grid=True)
    assert (ruling.status, ruling.chosen) == ("certified", 1)


def test_between_the_thresholds_a_cheaper_route_is_provisional() -> None:
    ruling = certify([passes(195, 200), passes(190, 200)], MEDIUM)
    assert (ruling.status, ruling.chosen) == ("provisional", 1)


def test_only_routes_that_are_cheaper_than_the_frontier_serve_provisionally() -> None:
    ruling = certify([passes(190, 200), passes(100, 200)], MEDIUM, cheaper=1)
    assert ruling.status == "failed"
    assert ruling.chosen is None


def test_too_few_cases_are_uncertifiable_and_never_a_pass() -> None:
    ruling = certify([passes(58, 58)], Bars(0.95, 0.05, None, False))
    assert (ruling.status, ruling.chosen) == ("uncertifiable", None)
    assert ruling.evidence[0].needs == 1


def test_a_row_below_its_floor_on_many_cases_has_failed() -> None:
    assert certify([passes(160, 200)], MEDIUM).status == "failed"
    assert certify([passes(160, 200)], MEDIUM).evidence[0].hopeless


def test_few_failures_on_few_cases_are_not_yet_a_failure() -> None:
    found = evidence_of(passes(8, 10), MEDIUM)
    assert not found.hopeless
    assert found.needs == 49


def test_high_consequence_has_no_provisional_routes() -> None:
    assert certify([passes(198, 200)], HIGH).status == "uncertifiable"


def test_a_sequence_with_a_true_92_is_certified_in_at_most_delta_of_runs() -> None:
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(1000):
        n = int(rng.integers(20, 400))
        ruling = certify([rng.random(n) < 0.995, rng.random(n) < 0.92], MEDIUM)
        wrong += ruling.status == "certified" and ruling.chosen == 1
    assert wrong / 1000 <= 0.05


def test_ties_are_bounded_by_betting() -> None:
    assert evidence_of([1.0] * 50 + [0.5], MEDIUM).method == "betting"


# -- the hash of a route ---------------------------------------------------------------------------


def table(folder: Path, text: str) -> PolicyTable:
    return load_policy(write(folder, text), strict=False)


def hashed(folder: Path, old: str = "", new: str = "") -> str:
    folder.mkdir()
    assert old in CONTRACT
    return route_sha256(table(folder, CONTRACT.replace(old, new, 1)), "refund_approval")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("seats = 5 ", "seats = 7 "),
        ('"openai/gpt-5.4-nano"', '"openai/gpt-5.4-mini"'),
        ("quorum = 4", "quorum = 3"),
        ("false_approve = 20", "false_approve = 10"),
        ('escalate_to = ["frontier"]', "escalate_to = []"),
        ('kind = "approve"', 'kind = "approve"\ncriteria = "Only unopened."'),
    ],
)
def test_whatever_changes_answers_changes_the_hash(tmp_path: Path, old: str, new: str) -> None:
    assert hashed(tmp_path / "a") != hashed(tmp_path / "b", old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("input = 0.10", "input = 0.20"),
        ("max_usd = 0.05", "max_usd = 0.06"),
        ("deadline_s = 20", "deadline_s = 30"),
        ('kind = "approve"', 'kind = "approve"\nowner = "payments"'),
    ],
)
def test_prices_caps_and_owners_have_no_part_in_it(tmp_path: Path, old: str, new: str) -> None:
    assert hashed(tmp_path / "a") == hashed(tmp_path / "b", old, new)
