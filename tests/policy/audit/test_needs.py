from __future__ import annotations

from pathlib import Path

import pytest

from consensus.policy.audit.needs import certificate_need
from consensus.policy.load import load_policy
from consensus.statistics import beta_lcb
from tests.policy.audit.audits import audit_of, task_text


def need_of(folder: Path, **changes: str):  # type: ignore[no-untyped-def]
    return certificate_need(audit_of(folder, task_text("refund", **changes)).tasks["refund"])


@pytest.mark.parametrize(
    ("consequence", "cases", "gate"),
    [
        ("low", (22, 38, 52), False),
        ("medium", (59, 93, 124), False),
        ("high", (459, 662, 838), True),
        ("irreversible", (459, 662, 838), True),
    ],
)
def test_the_needs_of_each_consequence(
    tmp_path: Path, consequence: str, cases: tuple[int, int, int], gate: bool
) -> None:
    need = need_of(tmp_path, consequence=f'"{consequence}"')
    assert (need.cases, need.gate) == (cases, gate)


def test_the_number_of_cases_is_the_fewest_that_clear_the_floor(tmp_path: Path) -> None:
    need = need_of(tmp_path, floor="0.93", delta="0.03")
    for failures, cases in enumerate(need.cases):
        assert beta_lcb(cases - failures, cases, delta=need.delta) >= need.floor
        assert beta_lcb(cases - 1 - failures, cases - 1, delta=need.delta) < need.floor


def test_a_plan_brings_both_halves(tmp_path: Path) -> None:
    assert need_of(tmp_path).planned(1) == 2 * 93


def test_the_policys_own_floors_hold(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(
        "version = 1\n[certificates]\nmedium = { floor = 0.8, delta = 0.2 }\n", encoding="utf-8"
    )
    task = audit_of(tmp_path).tasks["refund"]
    assert certificate_need(task, load_policy(path)).floor == 0.8
