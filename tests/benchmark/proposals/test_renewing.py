"""Certificates from labels of production: over the whole path, and by simulation."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from consensus.benchmark.proposals.accepting import accept
from consensus.benchmark.proposals.renewing import LabelSettings, renew
from consensus.cli.policy import app
from consensus.errors import DataError
from consensus.ledger import Ledger
from consensus.ledger.feedback import give_label
from consensus.models.protocol import Request
from consensus.panel.book import load_prompts
from consensus.policy.certifying import evidence_of_labels
from consensus.policy.consequences import Bars
from consensus.policy.load import load_policy
from consensus.policy.staleness import Current, deaths
from consensus.statistics.weighted import effective_cases, weighted_lcb, weighted_mean
from consensus.tasks import Approve
from tests.engine_fixtures import engine_of

HEAD = """
version = 1
[tiers]
small = ["scripted/a", "scripted/b"]
frontier = ["scripted/f"]
[defaults]
strategy = "single"
tier = "small"
"""
ROW = """
[tasks.t]
kind = "approve"
consequence = "low"
strategy = "vote"
seats = 3
framings = ["plain"]
"""
TODAY = LabelSettings(date(2026, 11, 22))


def says(request: Request) -> str:
    """The panel is split on every tenth case, which it leaves to a person."""
    text = "\n".join(turn.text for turn in request.turns)
    hard = "case 0" in text and request.model == "scripted/b"
    return "reject" if hard else "approve"


async def decided(folder: Path, count: int, rows: str = ROW, prefix: str = "case") -> list[Any]:
    engine, _ = engine_of(folder, rows, says, head=HEAD)
    async with engine:
        return [
            await engine.decide(Approve(type="t", subject=f"{prefix} {n}", criteria="c"))
            for n in range(count)
        ]


async def labelled(folder: Path, count: int, *, wrong: int = 0, chance: float = 1.0) -> None:
    for place, decision in enumerate(await decided(folder, count)):
        with Ledger(folder / "ledger.db") as book:
            said = "reject" if place < wrong else "approve"
            give_label(book, str(decision.receipt_id), said, probability=chance)


def proposal_of(folder: Path, settings: LabelSettings = TODAY) -> Any:
    table = load_policy(folder / "policy.toml")
    with Ledger(folder / "ledger.db") as book:
        return renew(book, table, settings, book=load_prompts(None))


async def test_labels_certify_the_row_as_it_stands_and_accept_writes_it(tmp_path: Path) -> None:
    await labelled(tmp_path, 24)
    proposal = proposal_of(tmp_path)
    (row,) = proposal.rows
    assert (row.status, row.changed) == ("certified", False)
    assert (row.certificate.labels, row.certificate.n) == ("chances", 24)
    assert row.certificate.effective == pytest.approx(24)
    assert row.expected.n == 24
    accept(proposal, tmp_path / "policy.toml")
    table = load_policy(tmp_path / "policy.toml")
    kept = table.tasks["t"].certificate
    assert kept is not None
    assert (kept.labels, kept.effective) == ("chances", 24)
    now = Current(
        date(2026, 11, 23),
        prompts=load_prompts(None).sha256,
        oracles={"t": "0" * 64},
        suites={"t": "0" * 64},
    )
    assert deaths(table, "t", now) == []


async def test_weights_stand_in_the_certificate_with_what_they_leave(tmp_path: Path) -> None:
    decisions = await decided(tmp_path, 60)
    with Ledger(tmp_path / "ledger.db") as book:
        for place, decision in enumerate(decisions):
            if place % 2:
                give_label(book, str(decision.receipt_id), "approve", probability=0.5)
            elif place % 20 == 0:
                give_label(book, str(decision.receipt_id), "approve", probability=1)
    (row,) = proposal_of(tmp_path).rows
    made = row.certificate
    assert made.n == 33
    assert made.effective == pytest.approx(effective_cases([2] * 30 + [1] * 3), abs=1e-3)
    assert made.effective < made.n
    assert "weighted by 1/chance, n_eff" in made.method
    assert any("weighted by one over the chance" in why for why in row.why)
    assert row.status == "uncertifiable"
    assert made.needs > 0


async def test_decisions_of_another_row_do_not_count(tmp_path: Path) -> None:
    await labelled(tmp_path, 12)
    await decided(tmp_path, 12, ROW.replace("seats = 3", "seats = 5"), prefix="later")
    (tmp_path / "policy.toml").write_text(HEAD + ROW)
    (row,) = proposal_of(tmp_path).rows
    assert row.expected.n == 12
    assert any("12 decisions by another row" in why for why in row.why)


async def test_a_row_that_was_changed_since_has_no_labels_of_its_own(tmp_path: Path) -> None:
    await labelled(tmp_path, 3)
    (tmp_path / "policy.toml").write_text(HEAD + ROW.replace("seats = 3", "seats = 5"))
    proposal = proposal_of(tmp_path)
    assert proposal.rows == ()
    assert "was made by the row as it stands" in proposal.skipped["t"]


async def test_a_row_that_its_labels_fail_is_not_accepted(tmp_path: Path) -> None:
    await labelled(tmp_path, 24, wrong=14)
    (row,) = proposal_of(tmp_path).rows
    assert row.status == "failed"
    assert "consensus policy propose" in row.servable


async def test_labels_of_no_known_chance_prove_nothing(tmp_path: Path) -> None:
    decisions = await decided(tmp_path, 2)
    with Ledger(tmp_path / "ledger.db") as book:
        give_label(book, str(decisions[0].receipt_id), "approve")
    assert "no label counts" in proposal_of(tmp_path).skipped["t"]


def test_a_ledger_without_labels_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(HEAD + ROW)
    with Ledger(tmp_path / "ledger.db"):
        pass
    with pytest.raises(DataError, match="no row of the policy has a labelled decision"):
        proposal_of(tmp_path)


async def test_the_command_writes_a_proposal_that_can_be_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await labelled(tmp_path, 24)
    monkeypatch.chdir(tmp_path)
    where = ["--policy", "policy.toml"]
    done = CliRunner().invoke(
        app, ["refresh", "--labelled", *where, "--ledger", "ledger.db", "--audit", "1", "--json"]
    )
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)["rows"]
    assert (row["status"], row["certificate"]["labels"]) == ("certified", "draw")
    assert CliRunner().invoke(app, ["accept", "proposal.json", *where]).exit_code == 0
    assert 'labels = "draw"' in (tmp_path / "policy.toml").read_text()


def test_a_run_and_labels_are_two_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "policy.toml").write_text(HEAD + ROW)
    monkeypatch.chdir(tmp_path)
    for arguments in ([], ["--labelled", "--run", "r"]):
        done = CliRunner().invoke(app, ["refresh", *arguments, "--policy", "policy.toml"])
        assert done.exit_code == 2


BAR = Bars(0.85, 0.05, None, False)


@pytest.mark.parametrize(("truth", "escalated"), [(0.845, 0.08), (0.80, 0.05), (0.845, 0.0)])
def test_false_certificates_are_at_most_delta_where_escalations_are_all_looked_at(
    truth: float, escalated: float
) -> None:
    """Escalated cases are looked at in full, others at 5 %: the plain share of labels misleads."""
    rng = np.random.default_rng(11)
    runs, cases, least = 400, 3000, 0.05
    false, naive = 0, []
    for _ in range(runs):
        left = rng.random(cases) < escalated
        right = ~left & (rng.random(cases) < truth / (1 - escalated))
        chances = np.where(left, 1.0, least)
        seen = rng.random(cases) < chances
        credits_, weights = right[seen].astype(float), chances[seen]
        bound = weighted_lcb(credits_, weights, cases=cases, least=least, delta=BAR.delta)
        rate = weighted_mean(credits_, weights, cases=cases).mean
        found = evidence_of_labels(
            rate, bound, BAR, known=int(seen.sum()),
            effective=effective_cases(1 / weights), method="betting",
        )  # fmt: skip
        false += found.bound >= BAR.floor
        naive.append(credits_.mean())
    assert false <= runs * BAR.delta + 3 * np.sqrt(runs * BAR.delta * (1 - BAR.delta))
    assert not escalated or np.mean(naive) < truth - 0.1


def test_a_row_well_above_its_floor_is_certified_by_weighted_labels() -> None:
    rng = np.random.default_rng(12)
    passed = 0
    for _ in range(40):
        left = rng.random(3000) < 0.02
        chances = np.where(left, 1.0, 0.05)
        seen = rng.random(3000) < chances
        right = (~left & (rng.random(3000) < 0.995))[seen].astype(float)
        passed += weighted_lcb(right, chances[seen], cases=3000, least=0.05, delta=0.05) >= 0.85
    assert passed >= 36
