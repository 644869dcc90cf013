from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from consensus.cli.main import run
from consensus.ledger import Ledger
from consensus.policy.load import load_policy
from tests.ledger.watch.fixtures import day_of, keep, policy


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose row has drifted: the ledger is the one that the environment names."""
    monkeypatch.chdir(tmp_path)
    policy(tmp_path / "strategies", row="demote = true")
    with Ledger(tmp_path / "ledger.db") as ledger:
        keep(ledger, day_of(0, 200, 80))
    return tmp_path


def data(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_watch_finds_demotes_and_promote_takes_it_back(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ledger", "watch", "--once", "--json"]) == 0
    found = data(capsys)
    assert [one["cause"] for one in found["opened"]] == ["escalation"]
    assert "refund_approval" in load_policy(place / "strategies").demoted
    assert run(["policy", "show", "refund_approval"]) == 0
    assert "by frontier alone" in " ".join(capsys.readouterr().out.split())
    assert run(["ledger", "watch", "--once"]) == 0
    shown = capsys.readouterr().out
    assert "demoted: serves by its strongest step" in shown
    assert "to measure it again: consensus bench run" in shown
    assert run(["policy", "promote", "refund_approval", "--by", "ann", "--json"]) == 0
    assert len(data(capsys)["ended"]) == 1
    assert load_policy(place / "strategies").demoted == {}
    assert run(["ledger", "incidents", "--all", "--json"]) == 0
    assert data(capsys)[0]["closed_by"] == "ann"


def test_no_demote_only_tells(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ledger", "watch", "--once", "--no-demote"]) == 0
    assert "80 of 200 decisions needed another hop" in capsys.readouterr().out
    assert load_policy(place / "strategies").demoted == {}


def test_an_incident_is_acknowledged_by_how_its_id_begins(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["ledger", "watch", "--once", "--no-demote", "--json"])
    name = data(capsys)["open"][0]["incident_id"]
    assert run(["ledger", "acknowledge", name[:10], "--by", "ann"]) == 0
    assert "ended: ann" in capsys.readouterr().out
    assert run(["ledger", "incidents"]) == 0
    assert capsys.readouterr().out == ""
    assert run(["ledger", "acknowledge", name]) == 1
    assert "has ended (ann)" in capsys.readouterr().err


def test_quiet_prints_nothing_where_nothing_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    policy(tmp_path / "strategies")
    with Ledger(tmp_path / "ledger.db") as ledger:
        keep(ledger, day_of(0, 30, 3))
    assert run(["ledger", "watch", "--once", "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def test_without_a_ledger_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["ledger", "watch", "--once"]) == 1
    assert "there is no ledger here" in capsys.readouterr().err


def test_the_parts_of_a_trouble_stand_below_it_without_its_history_again(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Ledger(place / "ledger.db") as ledger:
        other = {"served_model": "openai/gpt-5.4-nano-2026-11-01", "usd": 0.003}
        keep(ledger, day_of(1, 200, 80, **other))
    assert run(["ledger", "watch", "--once", "--no-demote"]) == 0
    shown = capsys.readouterr().out
    assert "is served by openai/gpt-5.4-nano-2026-11-01" in shown
    assert "with it: refund_approval: since 2026-11-03 the mean cost" in shown
    assert shown.count("to measure it again") == len(
        [line for line in shown.splitlines() if line.startswith("open ")]
    )
