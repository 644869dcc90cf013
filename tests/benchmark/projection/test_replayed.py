from __future__ import annotations

from pathlib import Path

import pytest

from consensus.benchmark.projection import project, traffic_of
from consensus.benchmark.projection.replayed import measure_routes
from consensus.panel.book import load_prompts
from tests.benchmark.data_fixtures import write_recorded
from tests.benchmark.projection.traffic import audit, policy

ROWS = """\
[tasks.t]
kind = "approve"
strategy = "vote"
tier = "small"
seats = 3
min_agreement = 1.0
waves = [3]
escalate_to = ["frontier"]
"""
SMALL, FRONT = 1_000 * 1e-6 + 100 * 4e-6, 1_000 * 10e-6 + 100 * 50e-6


def recorded(folder: Path) -> Path:
    """40 approvals: three answers of the small model, split on a quarter; one of the frontier."""
    cases = [
        {"case_id": f"c{i}", "label": "accept", "options": "accept|reject",
         "question": f"question {i}", "subset": "t", "task_kind": "approval"}
        for i in range(40)
    ]  # fmt: skip
    common = {"task_kind": "approval", "prompt_tokens": 1_000, "completion_tokens": 100}
    answers = [
        {**common, "case_id": f"c{i}", "model": "x/small", "sample_idx": s, "latency_s": 1.0,
         "answer": "reject" if i % 4 == 0 and s == 1 else "accept"}
        for i in range(40)
        for s in range(3)
    ]  # fmt: skip
    answers += [
        {**common, "case_id": f"c{i}", "model": "x/front", "latency_s": 4.0, "answer": "accept"}
        for i in range(40)
    ]
    return write_recorded(folder / "data", cases, answers, extra_columns=["latency_s"])


def test_a_row_is_measured_on_a_run_as_the_engine_would_serve_it(tmp_path: Path) -> None:
    table, book = policy(ROWS), load_prompts(None)
    found, missing = measure_routes(
        recorded(tmp_path), table, book, ["t", "absent"], frontier="x/front"
    )
    assert missing == ("absent: the run has no cases of it",)
    measured = found["t"]
    assert (measured.n, measured.escalations) == (40, 10)
    assert measured.usd == pytest.approx(3 * SMALL + 0.25 * FRONT)
    assert measured.frontier is not None
    assert measured.frontier.usd == pytest.approx(FRONT)
    assert measured.latency_p50_s == pytest.approx(1.0)
    assert measured.latency_p95_s == pytest.approx(5.0)
    assert measured.frontier.latency_p50_s == pytest.approx(4.0)
    flows = traffic_of(audit(t={"monthly_volume": 1_000}))
    (line,) = project(table, flows, measurements=found).types
    assert line.source == "run"
    assert line.before == pytest.approx(1_000 * FRONT)
    assert line.after == pytest.approx(1_000 * (3 * SMALL + 0.25 * FRONT))
    assert line.roles.escalations == pytest.approx(1_000 * 0.25 * FRONT)
    assert line.latency_ratio == pytest.approx(4.0)
    assert line.cascade is not None
    assert line.cascade.break_even == pytest.approx(1 - 3 * SMALL / FRONT)


def test_a_row_that_the_run_cannot_replay_is_told_and_not_measured(tmp_path: Path) -> None:
    table = policy(ROWS.replace('tier = "small"', 'tier = "mid"'))
    found, missing = measure_routes(
        recorded(tmp_path), table, load_prompts(None), ["t"], frontier="x/front"
    )
    assert found == {}
    assert missing[0].startswith("t: ")
    assert "x/mid" in missing[0]
