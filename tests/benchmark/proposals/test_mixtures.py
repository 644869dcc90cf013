from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from consensus.benchmark.proposals.accepting import accept
from consensus.benchmark.proposals.candidates import Candidate
from consensus.benchmark.proposals.mixtures import LEAST, Arm, mixtures
from consensus.benchmark.proposals.model import Proposal
from consensus.benchmark.proposals.pages import diff_lines
from consensus.benchmark.proposals.propose import propose
from consensus.benchmark.proposals.settings import ProposalSettings
from consensus.panel.book import load_prompts
from consensus.policy.certifying import route_sha256
from consensus.policy.consequences import Bars
from consensus.policy.load import load_policy
from tests.benchmark.proposals.fixtures import run_on

LOW = Bars(0.90, 0.10, 0.80, False)


def single(model: str, right: int, of: int, cost: float) -> Arm:
    row = {"strategy": "single", "models": [f"scripted/{model}"]}
    return Arm(Candidate(f"single {model}", row), np.repeat([1.0, 0.0], [right, of - right]), cost)


CHEAP, GOOD, BEST = (single("cheap", 80, 100, 1), single("good", 99, 100, 4),
                     single("best", 100, 100, 20))  # fmt: skip


def test_a_coin_is_thrown_for_just_the_quality_that_the_floor_takes() -> None:
    found = list(mixtures("t", [CHEAP, GOOD, BEST], BEST, LOW, 100))
    (candidate,) = [each for each in found if "at the floor" in each.name]
    shares = [part["share"] for part in candidate.row["mix"]]
    # 95 of 100 is the fewest whose bound clears .90 at .10; a standard error above is .972.
    assert shares == pytest.approx([0.10, 0.90], abs=0.02)
    assert sum(shares) == pytest.approx(1)
    assert set(candidate.strategies) == {part["strategy"] for part in candidate.row["mix"]}


def test_few_cases_throw_no_coin() -> None:
    few = LEAST - 1
    arms = [single("cheap", few // 2, few, 1), single("good", few, few, 4)]
    assert not list(mixtures("t", arms, arms[1], LOW, 100))


def test_a_floor_that_no_such_number_of_cases_can_clear_is_not_aimed_at() -> None:
    found = mixtures("t", [CHEAP, GOOD, BEST], BEST, Bars(0.99, 0.01, None, True), 100)
    assert not [each for each in found if "at the floor" in each.name]


def test_a_row_that_does_as_well_for_no_more_is_not_mixed() -> None:
    assert not list(mixtures("t", [single("cheap", 100, 100, 1), GOOD], GOOD, LOW, 100))


def test_rows_with_a_calibration_of_their_own_have_no_part() -> None:
    row = {"strategy": "vote", "models": ["scripted/cheap"], "calibration": "calibrations/t.json"}
    fitted = Arm(Candidate("stacked", row), GOOD.credit, 2)
    found = list(mixtures("t", [CHEAP, fitted, GOOD, BEST], BEST, LOW, 100))
    assert found
    assert all("calibration" not in table for c in found for table in c.strategies.values())


def mixed(folder: Path) -> Proposal:
    quality = {"scripted/cheap": 0.86, "scripted/good": 1.0, "scripted/best": 1.0}
    run_on(folder, 240, quality=quality)
    return propose(
        folder / "run",
        load_policy(folder / "strategies"),
        ProposalSettings(today=date(2026, 11, 22)),
        book=load_prompts(None),
    )


def test_a_mixture_is_measured_proposed_and_accepted_with_its_strategies(tmp_path: Path) -> None:
    proposal = mixed(tmp_path)
    (row,) = proposal.rows
    assert [part["share"] for part in row.new["mix"]] == [0.29, 0.71]
    assert "+ [strategies." in "\n".join(diff_lines(row))
    table = accept(proposal, tmp_path / "strategies").table
    assert table.tasks["refund"].mix is not None
    assert route_sha256(table, "refund") == row.certificate.route
