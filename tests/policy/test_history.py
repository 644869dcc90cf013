from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from consensus.errors import PolicyError
from consensus.policy.certifying import route_sha256
from consensus.policy.demotion import Demotion, demote, standing
from consensus.policy.history import (
    CHOICE_KEYS,
    MOST_KEPT,
    earlier,
    evidence_sha256,
    history_file,
    replaced,
    with_history,
)
from consensus.policy.load import load_policy
from consensus.policy.route import route, route_type
from consensus.policy.rows import TaskRow
from consensus.policy.staleness import Current
from consensus.policy.table import PolicyTable
from consensus.tasks import Approve

TODAY = datetime.datetime.now(datetime.UTC).date()
HEAD = """
version = 1
[tiers]
tiny = ["scripted/t"]
small = ["scripted/a"]
mid = ["scripted/m"]
frontier = ["scripted/f"]
[defaults]
strategy = "single"
tier = "small"
"""


def row_of(tier: str, *, route: str = "a" * 64, extra: str = "", day: object = TODAY) -> str:
    return f"""
[tasks.x]
kind = "approve"
criteria = "c"
demote = true
tier = "{tier}"
escalate_to = ["frontier"]
{extra}
[tasks.x.certificate]
status = "certified"
n = 200
passes = 199
bound = 0.97
floor = 0.95
delta = 0.05
method = "clopper-pearson"
route = "{route}"
oracle = "{"b" * 64}"
prompts = "{"c" * 64}"
suite = "{"d" * 64}"
served = {{ "scripted/m" = ["scripted/m"] }}
date = {day}
[tasks.x.profile]
n = 200
usd_per_decision = 0.001
"""


def certified(folder: Path, tier: str, **more: object) -> PolicyTable:
    """A policy whose row is certified as it stands; its history stays in its own file."""
    folder.mkdir(exist_ok=True)
    file = folder / "policy.toml"
    file.write_text(HEAD + row_of(tier, **more), encoding="utf-8")  # type: ignore[arg-type]
    own = route_sha256(load_policy(folder), "x")
    file.write_text(HEAD + row_of(tier, route=own, **more), encoding="utf-8")  # type: ignore[arg-type]
    return load_policy(folder)


def followed_by(folder: Path, *tiers: str, **more: object) -> PolicyTable:
    """As if rows of these tiers had been accepted one after another."""
    table = certified(folder, tiers[0], **more)
    for tier in tiers[1:]:
        file = history_file(folder)
        before = file.read_text() if file.exists() else None
        file.write_text(with_history(before, replaced(table, ["x"], TODAY)), encoding="utf-8")
        table = certified(folder, tier, **more)
    return table


def back(folder: Path, table: PolicyTable, *, current: Current | None = None) -> PolicyTable:
    """Demote the row to what still holds."""
    to = earlier(table, "x", current or Current(today=TODAY))
    order = Demotion(
        since="2026-11-22T06:00:00+00:00",
        why="x: 61 of 200 needed another hop",
        evidence=evidence_sha256(table.tasks["x"]),
        to="" if to is None else to.sha256,
    )
    demote(folder, {"x": order})
    return load_policy(folder)


def test_a_replaced_certificate_is_kept_with_its_choice_and_not_with_the_owners_words(
    tmp_path: Path,
) -> None:
    table = followed_by(tmp_path / "s", "mid", "small")
    (kept,) = table.history["x"]
    assert kept.until == TODAY
    assert kept.row.tier == "mid"
    assert kept.row.criteria is None
    assert kept.certificate.n == 200
    assert kept.row.profile is not None


def test_a_row_that_was_changed_since_has_earned_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    certified(folder, "mid")
    file = folder / "policy.toml"
    file.write_text(file.read_text().replace('tier = "mid"', 'tier = "tiny"'), encoding="utf-8")
    assert replaced(load_policy(folder), ["x"], TODAY) == {}


def test_the_same_evidence_is_kept_once(tmp_path: Path) -> None:
    table = followed_by(tmp_path / "s", "mid", "small", "mid", "small")
    assert [one.row.tier for one in table.history["x"]] == ["mid", "small"]


def test_the_oldest_go_where_there_are_too_many(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    table = certified(folder, "mid")
    text = None
    for days in range(MOST_KEPT + 2):
        entry = replaced(table, ["x"], TODAY)["x"]
        entry["until"] = TODAY + datetime.timedelta(days=days)
        text = with_history(text, {"x": entry})
    history_file(folder).write_text(text or "", encoding="utf-8")
    kept = load_policy(folder).history["x"]
    assert len(kept) == MOST_KEPT
    assert kept[0].until == TODAY + datetime.timedelta(days=2)


def test_a_demoted_row_goes_back_to_its_earlier_certificate_escalations_and_all(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "s"
    table = back(folder, followed_by(folder, "mid", "small"))
    way = route(table, Approve(type="x", subject="s", criteria="c"))
    assert [hop.models for hop in way.hops] == [("scripted/m",), ("scripted/f",)]
    assert f"by its certificate of {TODAY}: x: 61 of 200" in way.reasons[-1]


def test_of_several_the_latest_that_holds_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    table = followed_by(folder, "mid", "tiny", "small")
    found = earlier(table, "x", Current(today=TODAY))
    assert found is not None
    assert found.row.tier == "tiny"
    before = earlier(table, "x", Current(today=TODAY), than=found.sha256)
    assert before is not None
    assert before.row.tier == "mid"
    assert earlier(table, "x", Current(today=TODAY), than=before.sha256) is None


@pytest.mark.parametrize(
    "current",
    [
        Current(today=TODAY + datetime.timedelta(days=100)),
        Current(today=TODAY, prompts="e" * 64),
        Current(today=TODAY, oracles={"x": "e" * 64}),
        Current(today=TODAY, suites={"x": "e" * 64}),
        Current(today=TODAY, served={"scripted/m": "scripted/m-2"}),
    ],
    ids=["age", "prompts", "oracle", "suite", "served"],
)
def test_a_certificate_that_is_dead_is_not_gone_back_to(tmp_path: Path, current: Current) -> None:
    folder = tmp_path / "s"
    table = back(folder, followed_by(folder, "mid", "small"), current=current)
    assert standing(table, "x") is None
    assert [hop.models for hop in route_type(table, "x").hops] == [("scripted/f",)]


def test_the_route_that_failed_is_not_gone_back_to(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    table = followed_by(folder, "small", "mid")
    again = followed_by(folder, "small", day=TODAY - datetime.timedelta(days=3))
    assert table.history.keys() == again.history.keys()
    assert earlier(again, "x", Current(today=TODAY)) is None


def test_todays_criteria_hold_so_a_changed_criterion_ends_what_was_earned_under_another(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "s"
    table = back(folder, followed_by(folder, "mid", "small"))
    assert standing(table, "x") is not None
    file = folder / "policy.toml"
    file.write_text(file.read_text().replace('criteria = "c"', 'criteria = "d"'), encoding="utf-8")
    changed = load_policy(folder)
    assert standing(changed, "x") is None
    assert [hop.models for hop in route_type(changed, "x").hops] == [("scripted/f",)]


def test_an_earlier_certificate_too_old_by_now_serves_no_longer(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    old = TODAY - datetime.timedelta(days=200)
    table = followed_by(folder, "mid", "small", day=old)
    table = back(folder, table, current=Current(today=old))
    assert table.demoted["x"].to
    assert standing(table, "x") is None


def test_no_shadow_is_asked_of_the_step_that_answers_already(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    shadow = 'shadow = { share = 1.0, route = "frontier" }'
    table = back(folder, certified(folder, "small", extra=shadow))
    way = route(table, Approve(type="x", subject="s", criteria="c"))
    assert way.row.shadow is None
    assert way.reasons[-1] == "no shadow: frontier is what it would be compared with"
    other = certified(folder, "small", extra=shadow.replace("frontier", "mid"))
    other = back(folder, other)
    assert route_type(other, "x").row.shadow is not None


def test_a_row_that_went_back_to_a_certificate_keeps_its_shadow(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    shadow = 'shadow = { share = 1.0, route = "frontier" }'
    table = back(folder, followed_by(folder, "mid", "small", extra=shadow))
    assert route_type(table, "x").row.shadow is not None


def test_a_history_of_the_owners_keys_is_refused_where_it_stands(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    followed_by(folder, "mid", "small")
    file = history_file(folder)
    file.write_text(
        file.read_text().replace('tier = "mid"', 'tier = "mid"\ncriteria = "mine"'),
        encoding="utf-8",
    )
    with pytest.raises(PolicyError, match=r"history\.toml:\d+.*criteria is the owner's"):
        load_policy(folder)


def test_every_choice_key_is_a_key_of_a_row() -> None:
    assert set(CHOICE_KEYS) <= set(TaskRow.model_fields)
