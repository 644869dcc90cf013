from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from consensus.benchmark.projection import project, traffic_of
from consensus.benchmark.projection.proposed import with_proposal
from consensus.benchmark.proposals.model import (
    Figures,
    Proposal,
    RowProposal,
    load_proposal,
    save_proposal,
)
from consensus.errors import PolicyError
from consensus.policy import PolicyTable
from consensus.policy.certificate import Certificate, Profile
from tests.benchmark.projection.traffic import audit, policy

HASH = "0" * 64


def proposal(table: PolicyTable, new: dict[str, Any], profile: Profile | None) -> Proposal:
    """One row for the task type ``t``."""
    row = RowProposal(
        task_type="t",
        kind="approve",
        status="certified",
        old=None,
        new=new,
        why=("cheaper",),
        certificate=Certificate(
            status="certified", n=200, passes=199, bound=0.97, floor=0.95, delta=0.05,
            method="clopper-pearson", route=HASH, oracle=HASH, prompts=HASH, suite=HASH,
            date=datetime.date(2026, 11, 1),
        ),
        profile=profile,
        expected=Figures(n=200, quality=0.99, ci95=(0.97, 1.0), undecided=0, escalated=0.1,
                         calls=1.1, usd=0.001, latency_p50_s=None, latency_p95_s=None),
    )  # fmt: skip
    return Proposal(
        policy="strategies", policy_version=table.version_hash, run="runs/x", frontier="x/front",
        by="search", seed=0, date="2026-11-01", rows=(row,),
    )  # fmt: skip


PROFILE = Profile(
    n=200, escalations=20, usd_per_decision=0.001, input_tokens=1_000, output_tokens=100,
    frontier_n=200, frontier_usd=0.02,
)  # fmt: skip


def test_a_proposals_rows_are_projected_by_their_own_profiles(tmp_path: Path) -> None:
    table = policy('[tasks.t]\ntier = "frontier"\nowner = "team"\n')
    path = tmp_path / "proposal.json"
    new = {"strategy": "single", "tier": "small", "escalate_to": ["frontier"]}
    save_proposal(proposal(table, new, PROFILE), path)
    flows = traffic_of(audit(t={"monthly_volume": 10_000}))
    now = project(table, flows).total
    then = with_proposal(table, load_proposal(path))
    (line,) = project(then, flows).types
    assert now.after == pytest.approx(10_000 * 0.015)
    assert line.after == pytest.approx(10.0)
    assert line.before == pytest.approx(200.0)
    assert line.source == "profile"
    assert line.escalation == pytest.approx(0.1)
    assert then.tasks["t"].owner == "team"


def test_a_calibration_that_is_not_written_yet_stands_in_no_ones_way() -> None:
    table = policy("[tasks.t]\n")
    new = {
        "strategy": "vote", "tier": "small", "seats": 3, "aggregator": "blocks",
        "calibration": "calibration/t.json",
    }  # fmt: skip
    then = with_proposal(table, proposal(table, new, PROFILE))
    (line,) = project(then, traffic_of(audit(t={}))).types
    assert "× 3" in line.route


def test_a_proposal_for_another_table_is_one_clear_error() -> None:
    made_for = policy("[tasks.t]\n")
    with pytest.raises(PolicyError, match="not the table that the proposal is for"):
        with_proposal(policy('[tasks.t]\ntier = "mid"\n'), proposal(made_for, {}, PROFILE))
