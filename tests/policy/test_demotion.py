from __future__ import annotations

from pathlib import Path

import pytest

from consensus.errors import PolicyError
from consensus.policy.certifying import route_sha256
from consensus.policy.demotion import (
    FILE,
    Demotion,
    demote,
    demotion_of,
    promote,
)
from consensus.policy.history import evidence_sha256
from consensus.policy.load import load_policy
from consensus.policy.route import route, route_type
from consensus.policy.table import PolicyTable
from consensus.tasks import Approve

HEAD = """
version = 1
[tiers]
small = ["scripted/a"]
mid = ["scripted/m"]
frontier = ["scripted/f"]
[defaults]
strategy = "single"
tier = "small"
"""
ROW = """
[tasks.x]  # the owner's comment
kind = "approve"
demote = true
"""


def written(folder: Path, row: str = ROW, name: str = "policy.toml") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(HEAD + row, encoding="utf-8")
    return folder


def order(table: PolicyTable, name: str = "x") -> Demotion:
    return Demotion(
        since="2026-11-22T06:00:00+00:00",
        why="x: 61 of 200 needed another hop",
        incident="i1",
        evidence=evidence_sha256(table.tasks[name]),
    )


def demoted(folder: Path) -> PolicyTable:
    table = load_policy(folder)
    demote(folder, {"x": order(table)})
    return load_policy(folder)


def test_a_demoted_row_goes_by_its_last_escalation_alone(tmp_path: Path) -> None:
    folder = written(tmp_path / "s", ROW + 'escalate_to = ["mid", "frontier"]\n')
    way = route_type(demoted(folder), "x")
    assert [hop.models for hop in way.hops] == [("scripted/f",)]
    assert "61 of 200" in way.reasons[-1]
    assert FILE in way.reasons[-1]


def test_a_row_that_escalates_to_nobody_goes_by_the_frontier(tmp_path: Path) -> None:
    table = demoted(written(tmp_path / "s"))
    task = Approve(type="x", subject="s", criteria="c")
    assert [hop.models for hop in route(table, task).hops] == [("scripted/f",)]


def test_other_rows_go_as_before(tmp_path: Path) -> None:
    folder = written(tmp_path / "s", ROW + "[tasks.y]\nkind = 'approve'\n")
    assert route_type(demoted(folder), "y").models == ("scripted/a",)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("demote = true", ""),
        (
            'kind = "approve"\n',
            'kind = "approve"\nprofile = { n = 10, usd_per_decision = 0.1 }\n',
        ),
    ],
)
def test_new_evidence_or_the_owners_word_ends_it(tmp_path: Path, old: str, new: str) -> None:
    folder = written(tmp_path / "s")
    assert demotion_of(demoted(folder), "x") is not None
    written(folder, ROW.replace(old, new))
    table = load_policy(folder)
    assert demotion_of(table, "x") is None
    assert route_type(table, "x").models == ("scripted/a",)


def test_a_demotion_is_no_change_of_the_certified_route(tmp_path: Path) -> None:
    folder = written(tmp_path / "s")
    before = load_policy(folder)
    after = demoted(folder)
    assert route_sha256(after, "x") == route_sha256(before, "x")
    assert after.version_hash != before.version_hash


def test_promoting_leaves_the_policy_as_it_was(tmp_path: Path) -> None:
    folder = written(tmp_path / "s")
    before = load_policy(folder)
    demoted(folder)
    promote(folder, "x")
    assert load_policy(folder) == before
    with pytest.raises(PolicyError, match='"x" is not demoted'):
        promote(folder, "x")


def test_a_policy_of_one_file_keeps_its_comments(tmp_path: Path) -> None:
    file = written(tmp_path / "s") / "policy.toml"
    table = load_policy(file)
    demote(file, {"x": order(table)})
    assert "# the owner's comment" in file.read_text()
    assert demotion_of(load_policy(file), "x") is not None
    promote(file, "x")
    assert load_policy(file) == table


def test_a_second_demotion_stands_beside_the_first(tmp_path: Path) -> None:
    folder = written(tmp_path / "s", ROW + ROW.replace("tasks.x", "tasks.y"))
    table = load_policy(folder)
    demote(folder, {"x": order(table)})
    demote(folder, {"y": order(table, "y")})
    assert set(load_policy(folder).demoted) == {"x", "y"}


def test_a_folder_that_cannot_be_written_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(tmp_path / "s")

    def full(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("consensus.policy.demotion.tempfile.mkstemp", full)
    with pytest.raises(PolicyError, match=r"cannot be written: Read-only file system"):
        demote(folder, {"x": order(load_policy(folder))})
    assert not (folder / FILE).exists()
