"""Scored ballots from a live run to a replay, a calibration and a live decision; the rule ``lead``
in replay and live."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus import Choose
from consensus.aggregation.stop_scores import LeadEvidence
from consensus.ballots import Ballot
from consensus.benchmark.fitting import fit_calibration
from consensus.benchmark.plan import Plan
from consensus.benchmark.recorded import load_run
from consensus.benchmark.replay import ReplaySettings, replay
from consensus.benchmark.stopping_rules import RULES
from consensus.models.protocol import Request
from consensus.orchestrators.calibration import Calibration
from consensus.orchestrators.concluding import conclude
from consensus.orchestrators.evidence import leaders
from consensus.orchestrators.spec import HopRecord, Poll, Stopping, StrategySpec
from consensus.orchestrators.stopping import settled
from tests.benchmark.suite_fixtures import SUITE, lines, opened, suite_folder
from tests.benchmark.test_stopping import SEATS, judged, walks

OPTIONS = ("p", "q", "r", "s")
TASK = Choose(type="t", subject="x", options=OPTIONS)

TRIAGE = SUITE + '[types.triage]\nkind = "choose"\noptions = ["billing", "bug", "other"]\n'


def cases(count: int) -> list[dict[str, Any]]:
    labels = ("billing", "bug", "other")
    return [
        {"id": f"c{i:03d}", "type": "triage", "subject": f"Case {i}.", "label": labels[i % 3]}
        for i in range(count)
    ]


def scoring(request: Request) -> Any:
    """The right option is scored high; one case in five ties it with another."""
    text = request.turns[0].parts[0].text
    number = int(text.split("Case ")[1].split(".")[0])
    labels = ("billing", "bug", "other")
    scores = dict.fromkeys(labels, 2 + number % 3)
    scores[labels[number % 3]] = 8
    if number % 5 == 0:
        scores[labels[(number + 1) % 3]] = 8
    return {"rationale": "r", "scores": scores}


async def run_of(folder: Path, count: int) -> Path:
    suite_folder(folder, TRIAGE, cases(count))
    plan = Plan(("scripted/a",), ("plain",), 2, ballot="scores")
    with await opened(folder, scoring, plan=plan) as run:
        await run.go()
    return folder / "run"


async def test_a_run_keeps_whole_scores_and_shares_the_vote_of_a_tie(tmp_path: Path) -> None:
    folder = await run_of(tmp_path, 3)
    first = next(line for line in lines(folder / "answers.jsonl") if line["case"] == "c000")
    assert first["answer"] == {"billing": 0.5, "bug": 0.5}
    assert first["scores"] == [8.0, 8.0, 2.0]
    assert first["passed"] is False
    other = next(line for line in lines(folder / "answers.jsonl") if line["case"] == "c001")
    assert (other["answer"], other["passed"]) == ("bug", True)


async def test_a_scored_run_is_replayed_and_fitted(tmp_path: Path) -> None:
    run = load_run(await run_of(tmp_path, 60))
    found = replay(
        run,
        ReplaySettings(frontier="scripted/a", panel=("scripted/a",), strategy="scores", seats=2),
    )
    assert found.figures["accuracy"] == pytest.approx(0.9)  # a fifth of the cases tie
    fitted = fit_calibration(run, ["scripted/a"], aggregator="scores", seats=2)
    assert fitted.calibration.aggregator == "scores"
    assert fitted.calibration.fits("choose", ("billing", "bug", "other"))


def polled(scores: np.ndarray[Any, Any], votes: np.ndarray[Any, Any]) -> list[Ballot]:
    """Recorded ballots as live ones."""
    ballots = []
    for seat, (points, shares) in enumerate(zip(scores, votes, strict=True)):
        first = tuple(o for o, share in zip(OPTIONS, shares, strict=True) if share > 0)
        ballots.append(
            Ballot(
                seat=seat,
                model="scripted/a",
                framing="plain",
                answer=first[0] if len(first) == 1 else first,
                scores=dict(zip(OPTIONS, map(float, points), strict=True)),
            )
        )
    return ballots


def whole_scores() -> Calibration:
    """A softmax over one model's mean scores: its leader is that of the sum."""
    return Calibration.model_validate(
        {
            "format": 1,
            "task_type": "t",
            "kind": "choose",
            "models": ["scripted/a"],
            "seats": [SEATS],
            "cases": 100,
            "fit": {"family": "option_scores", "weights": [[0.5]]},
            "stages": [{"models": ["scripted/a"], "cases": 100}],
        }
    )


@pytest.mark.parametrize("level", [0.5, 1.5, 3.0])
@pytest.mark.parametrize("evidence", ["votes", "scores", "both"])
def test_the_live_rule_stops_where_the_replayed_one_does(
    evidence: LeadEvidence, level: float
) -> None:
    recorded = judged()
    walk = walks(recorded)
    rule = RULES[evidence]().fit(walk, recorded.credit)
    stops = rule.stops(walk, level)
    stops[:, -1] = True
    assert walk.scores is not None
    spread: float = rule.spread  # type: ignore[attr-defined]
    spec = StrategySpec(
        name="t",
        orchestrator="vote",
        models=("scripted/a",),
        seats=SEATS,
        ballot="scores",
        stop=Stopping(rule="lead", evidence=evidence, spread=spread, level=level),
        aggregator="scores" if evidence == "scores" else "majority",
        calibration=whole_scores() if evidence == "scores" else None,
    )
    totals = rule.totals(walk)
    for case in range(60):
        ballots = polled(walk.scores[case], walk.votes[case])
        asked = next(
            n
            for n in range(1, SEATS + 1)
            if n == SEATS or settled(TASK, spec, Poll(ballots=tuple(ballots[:n])), SEATS - n)
        )
        assert asked == int(stops[case].argmax()) + 1
        if evidence == "both":
            continue  # no aggregator decides by a sum of votes and scores
        hop = HopRecord(name="t", spec=spec, ballots=tuple(ballots[:asked]))
        found = conclude("choose", OPTIONS, [hop])
        best = totals[case, asked - 1]
        expected = tuple(o for o, t in zip(OPTIONS, best, strict=True) if t >= best.max() - 1e-6)
        assert leaders(found.posterior) == expected
