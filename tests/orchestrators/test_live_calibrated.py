"""Calibrations from the policy's file to the receipt's replay, over the whole path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from consensus import Approve, Score
from consensus.assembly import conclude_receipt
from consensus.ledger.receipts import Receipt, replay
from consensus.models.protocol import Request
from consensus.models.scripted import Reply
from tests.engine_fixtures import engine_of
from tests.orchestrators.calibrations import FITS, calibration, judges

TASK = Approve(type="t", subject="Unused, 12 days old.", criteria="Unused, within 30 days.")

ROW = """
[tasks.t]
kind = "approve"
strategy = "vote"
tier = "small"
seats = 2
quorum = 1
calibration = "t.json"
"""


def answering(request: Request) -> Reply:
    said = "approve" if request.model == "scripted/a" else "reject"
    return Reply(said, confidence=0.9)


async def decided(
    folder: Path, rows: str, behaviour: Any = answering, task: Any = TASK
) -> tuple[Any, Receipt]:
    engine, _ = engine_of(folder, rows, behaviour)
    async with engine:
        decision = await engine.decide(task)
        assert engine.ledger is not None
        assert decision.receipt_id is not None
        receipt = engine.ledger.receipt(decision.receipt_id)
    return decision, receipt


@pytest.mark.parametrize("family", sorted(FITS))
async def test_a_calibrated_decision_replays_byte_for_byte_without_its_file(
    family: str, tmp_path: Path
) -> None:
    file = calibration(family).save(tmp_path / "t.json")
    decision, receipt = await decided(tmp_path, ROW)
    file.unlink()
    assert decision.calibrated
    assert receipt.hops[0].strategy["aggregator"] == family
    again = Receipt.from_bytes(receipt.to_bytes())
    assert replay(again, conclude_receipt).differences == ()


async def test_a_receipt_does_not_carry_every_calibration_case(tmp_path: Path) -> None:
    calibration().save(tmp_path / "t.json")
    _, with_it = await decided(tmp_path, ROW + "alpha = 0.2\n")
    stages = with_it.hops[0].strategy["calibration"]["stages"]
    assert all(stage["misses"] == () or stage["misses"] == [] for stage in stages)
    assert stages[0]["quantile"] == calibration().stages[0].misses[80]


async def test_a_score_is_read_by_its_judges(tmp_path: Path) -> None:
    judges().save(tmp_path / "t.json")
    rows = ROW.replace('"approve"', '"score"')
    task = Score(type="t", subject="An essay.", scale=(0, 10))

    def answer(request: Request) -> float:
        return 8.0 if request.model == "scripted/a" else 4.0

    decision, receipt = await decided(tmp_path, rows, answer, task)
    assert (decision.outcome, decision.calibrated) == (6.0, True)
    assert replay(receipt, conclude_receipt).differences == ()


async def test_an_escalation_within_the_calibration_stays_calibrated(tmp_path: Path) -> None:
    calibration().save(tmp_path / "t.json")
    rows = ROW.replace("seats = 2", "seats = 1") + (
        'escalate_to = ["scripted/b"]\nalpha = 0.05\nconformal = true\n'
    )
    decision, receipt = await decided(tmp_path, rows)
    assert decision.route == ("vote", "scripted/b")
    assert decision.calibrated
    assert receipt.hops[1].strategy["calibration"] is None
    assert receipt.hops[1].strategy["conformal"] is True
    assert replay(receipt, conclude_receipt).differences == ()


async def test_a_single_model_can_be_calibrated_too(tmp_path: Path) -> None:
    calibration().save(tmp_path / "t.json")
    rows = ROW.replace('"vote"', '"single"').replace("seats = 2\nquorum = 1\n", "")
    decision, _ = await decided(tmp_path, rows)
    assert decision.calibrated
    assert decision.probability != pytest.approx(0.85)


async def test_all_seats_are_asked_at_once_where_only_counts_could_settle(tmp_path: Path) -> None:
    calibration("weighted", seats=[5, 4]).save(tmp_path / "t.json")
    rows = ROW.replace("seats = 2", "seats = 9") + "waves = [3, 2]\n"
    decision, _ = await decided(tmp_path, rows, lambda _: "approve")
    assert len(decision.ballots) == 9
    rows += 'stop = { rule = "posterior", confidence = 0.6 }\n'
    early, _ = await decided(tmp_path, rows, lambda _: "approve")
    assert len(early.ballots) < 9


async def test_a_row_says_majority_and_the_strategys_calibration_is_left(tmp_path: Path) -> None:
    calibration().save(tmp_path / "t.json")
    rows = """
[strategies.pair]
orchestrator = "vote"
tier = "small"
seats = 3
calibration = "t.json"
[tasks.t]
strategy = "pair"
aggregator = "majority"
"""
    decision, receipt = await decided(tmp_path, rows)
    assert not decision.calibrated
    assert receipt.hops[0].strategy["calibration"] is None
