from __future__ import annotations

from pathlib import Path

import pytest

from consensus.errors import PolicyError
from consensus.policy import load_policy
from consensus.policy.consequences import Bars, CertificateSettings, bar_for, bar_of
from consensus.policy.rows import TaskRow
from tests.policy.books import CONTRACT, write

SETTINGS = CertificateSettings()


@pytest.mark.parametrize(
    ("consequence", "wanted"),
    [
        ("low", Bars(0.90, 0.10, 0.80, False)),
        ("medium", Bars(0.95, 0.05, 0.85, False)),
        ("high", Bars(0.99, 0.01, None, True)),
        ("irreversible", Bars(0.99, 0.01, None, True)),
        (None, Bars(0.95, 0.05, 0.85, False)),
    ],
)
def test_each_consequence_has_its_bar(consequence: str | None, wanted: Bars) -> None:
    assert bar_for(SETTINGS, consequence) == wanted  # type: ignore[arg-type]


def test_a_rows_own_floor_wins_over_the_audits_and_both_over_the_consequence() -> None:
    row = TaskRow(consequence="medium", floor=0.93)
    assert bar_of(SETTINGS, row, floor=0.97).floor == 0.93
    assert bar_of(SETTINGS, TaskRow(consequence="medium"), floor=0.97).floor == 0.97
    assert bar_of(SETTINGS, TaskRow(consequence="medium"), delta=0.01).delta == 0.01


def test_a_floor_below_the_provisional_threshold_leaves_none() -> None:
    assert bar_for(SETTINGS, "medium", floor=0.8).provisional is None


def test_thresholds_are_configuration(tmp_path: Path) -> None:
    text = CONTRACT + "[certificates]\nlow = { floor = 0.8, delta = 0.2, provisional = 0.7 }\n"
    table = load_policy(write(tmp_path, text), strict=False)
    assert bar_for(table.certificates, "low") == Bars(0.8, 0.2, 0.7, False)
    assert bar_for(table.certificates, "medium").floor == 0.95


@pytest.mark.parametrize(
    "bar", ["{ floor = 1.0, delta = 0.1 }", "{ floor = 0.9, delta = 0.1, provisional = 0.95 }"]
)
def test_a_bar_that_nothing_can_clear_is_refused_with_its_place(tmp_path: Path, bar: str) -> None:
    with pytest.raises(PolicyError, match=r"policy\.toml:\d+.*certificates\.low"):
        load_policy(write(tmp_path, CONTRACT + f"[certificates]\nlow = {bar}\n"), strict=False)
