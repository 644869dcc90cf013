from __future__ import annotations

from pathlib import Path

import pytest

from consensus.policy.check import check
from consensus.policy.demotion import demote
from consensus.policy.load import load_policy
from consensus.policy.table import PolicyTable
from tests.policy.test_demotion import HEAD, ROW, demoted, order, written


def said(table: PolicyTable) -> list[str]:
    return [str(f) for f in check(table) if f.code in ("demoted", "alarms")]


def test_a_demotion_in_force_is_a_warning_with_its_place(tmp_path: Path) -> None:
    (found,) = said(demoted(written(tmp_path / "s")))
    assert "demoted.toml:3: warning: demoted.x: is in force" in found
    assert "consensus policy promote x" in found


def test_one_that_is_over_or_of_nobody_is_told(tmp_path: Path) -> None:
    folder = written(tmp_path / "s")
    table = load_policy(folder)
    demote(folder, {"x": order(table), "gone": order(table)})
    written(folder, ROW.replace("demote = true", ""))
    both = said(load_policy(folder))
    assert any("demoted.gone: is of a task type without a row" in one for one in both)
    assert any("demoted.x: is over" in one for one in both)


def test_demote_without_a_stronger_step_is_told(tmp_path: Path) -> None:
    folder = written(tmp_path / "s")
    file = folder / "policy.toml"
    file.write_text(file.read_text().replace('frontier = ["scripted/f"]\n', ""))
    (found,) = said(load_policy(folder))
    assert "tasks.x.demote: has no effect" in found


@pytest.mark.parametrize(
    ("alarms", "told"), [("log = false", True), ("log = false\ncommand = ['cat']", False)]
)
def test_alarms_that_nobody_hears_are_told(tmp_path: Path, alarms: str, told: bool) -> None:
    file = tmp_path / "p.toml"
    file.write_text(f"{HEAD}[alarms]\n{alarms}\n")
    assert any("tells nobody" in one for one in said(load_policy(file))) == told
