"""The stopping rule ``lead`` from a recording to a row, and the row live."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from consensus import Choose
from consensus.aggregation.stop_scores import LeadEvidence
from consensus.benchmark.evidence import calibration_mask, evidence_of
from consensus.benchmark.fitting_stop import fit_stop, write_row
from consensus.benchmark.run_format.run import RecordedRun
from consensus.cli.bench import app
from consensus.engine import Engine
from consensus.errors import DataError, PolicyError
from consensus.models.protocol import Request
from consensus.models.scripted import ScriptedClient
from consensus.policy.load import load_policy
from tests.benchmark.fit_fixtures import recorded

MODELS = tuple(f"scripted/{name}" for name in "abcdef")
OPTIONS = ("billing", "bug", "other")
POLICY = f"""
version = 1  # ours
[prices."scripted/*"]
input = 1.0
output = 1.0
[tiers]
small = {json.dumps(MODELS)}
[defaults]
tier = "small"
[tasks.t]  # triage
kind = "choose"
strategy = "vote"
framings = ["plain"]
min_agreement = 0.01  # a plurality will do
"""


def scored(cases: int = 160, seed: int = 3) -> RecordedRun:
    """Six judges a case, who know the right option the better the easier the case is."""
    rng = np.random.default_rng(seed)
    records, lines = [], []
    for number in range(cases):
        name, right = f"c{number:03d}", int(rng.integers(3))
        record = {"case_id": name, "task_kind": "choose", "task_type": "t",
                  "label": OPTIONS[right], "options": list(OPTIONS)}  # fmt: skip
        records.append((name, record, OPTIONS))
        easy = rng.uniform(0.0, 4.0)
        for model in MODELS:
            points = rng.normal(4.0, 1.5, 3)
            points[right] += easy
            given = np.clip(np.round(points), 1, 10)
            best = np.flatnonzero(given == given.max())
            line = {"case": name, "model": model, "variant": "plain", "sample": 0,
                    "answer": OPTIONS[int(best[0])], "scores": given.tolist()}  # fmt: skip
            lines.append(line)
    return recorded(records, lines)


@pytest.mark.parametrize("evidence", ["votes", "scores", "both"])
def test_it_saves_ballots_and_decides_as_the_panel_would(evidence: LeadEvidence) -> None:
    found = fit_stop(scored(), MODELS, evidence=evidence, same=0.95)
    assert found.calls < found.calls_whole == 6
    assert found.same > 0.88
    assert found.cases + found.held_out == 160
    assert found.row["stop"]["evidence"] == evidence


def test_no_label_is_looked_at() -> None:
    run = scored()
    hidden = recorded(
        [(r["case_id"], {**r, "label": OPTIONS[0]}, OPTIONS) for r in run.cases.records],
        [
            {"case": r, "model": m, "variant": "plain", "sample": 0, "answer": o, "scores": s}
            for r, m, o, s in _lines(run)
        ],
    )
    assert fit_stop(run, MODELS).row == fit_stop(hidden, MODELS).row


def _lines(run: RecordedRun) -> Any:
    assert run.rows.scores is not None
    for i in range(len(run.rows)):
        answer = OPTIONS[int(run.rows.votes[i].argmax())]
        yield (
            run.cases.ids[run.rows.case[i]],
            run.members[run.rows.member[i]].model,
            answer,
            run.rows.scores[i].tolist(),
        )


@pytest.mark.parametrize("evidence", ["votes", "scores"])
async def test_the_row_stops_live_where_the_replay_did(
    evidence: LeadEvidence, tmp_path: Path
) -> None:
    run = scored()
    found = fit_stop(run, MODELS, evidence=evidence, same=0.95)
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)
    write_row(file, "t", {**found.row, "aggregator": "majority"})
    whole = evidence_of(run, run.members)
    rows = np.flatnonzero(~calibration_mask(whole.case_ids, 0))[:25]
    (outcome,) = found.strategy.runs(whole.take(rows), draws=1, seed=0)
    by_place = {(case, model): (answer, scores) for case, model, answer, scores in _lines(run)}

    def says(request: Request) -> Any:
        text = "\n".join(turn.text for turn in request.turns)
        answer, scores = by_place[text[text.index("Case ") + 5 :][:4], request.model]
        if evidence == "votes":
            return answer
        return {"rationale": "r", "scores": dict(zip(OPTIONS, map(int, scores), strict=True))}

    client = ScriptedClient(says)
    async with Engine(file, clients={"scripted": client}, ledger=tmp_path / "l.db") as engine:
        for place, row in enumerate(rows.tolist()):
            task = Choose(type="t", subject=f"Case {whole.case_ids[row]}.", options=OPTIONS)
            decision = await engine.decide(task)
            assert len(decision.ballots) == outcome.calls[place]
            winner = np.flatnonzero(outcome.shares[place] > 0.999)
            if evidence == "votes":
                wanted = OPTIONS[int(winner[0])] if winner.size else None
                assert decision.outcome == wanted


def test_the_command_writes_the_row_and_leaves_what_people_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scored().save(tmp_path / "run")
    (tmp_path / "strategies").mkdir()
    file = tmp_path / "strategies" / "policy.toml"
    file.write_text(POLICY)
    arguments = ["fit", "--data", "run", "--panel", ",".join(MODELS), "--aggregator", "scores"]
    arguments += ["--stop", "scores", "--same", "0.95", "--out", "strategies/t.json"]
    done = CliRunner().invoke(app, [*arguments, "--row", "t", "--policy", "strategies", "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)["stop"]
    row = load_policy(tmp_path / "strategies").tasks["t"]
    assert row.stop is not None
    assert row.stop.model_dump(exclude_unset=True) == report["row"]["stop"]
    assert (row.calibration, row.ballot, row.seats) == ("t.json", "scores", 6)
    for kept in ("# ours", "# triage", "# a plurality will do"):
        assert kept in file.read_text()


@pytest.mark.parametrize(
    ("option", "value"), [("--stop", "words"), ("--waves", "none"), ("--waves", "0")]
)
def test_a_wrong_stop_is_refused_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, value: str
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["fit", "--data", "nowhere", "--panel", "a", "--out", "t.json", option, value]
    done = CliRunner().invoke(app, arguments)
    assert option in str(done.exception)


def test_a_row_that_would_not_load_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)
    with pytest.raises(PolicyError):
        write_row(file, "t", {"seats": 3, "quorum": 9})
    assert file.read_text() == POLICY
    with pytest.raises(PolicyError, match="no such row"):
        write_row(file, "other", {"seats": 3})


def test_a_recording_without_scores_is_one_clear_line() -> None:
    run = scored(60)
    run = RecordedRun(**{**vars(run), "rows": run.rows.__class__(**{**vars(run.rows), "scores": None})})  # fmt: skip  # noqa: E501
    with pytest.raises(DataError, match="no scores"):
        fit_stop(run, MODELS)
