from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from consensus.benchmark.proposals.accepting import accept
from consensus.benchmark.proposals.model import Proposal
from consensus.benchmark.proposals.pages import diff_lines
from consensus.benchmark.proposals.propose import propose
from consensus.benchmark.proposals.settings import ProposalSettings
from consensus.benchmark.suites import load_suite
from consensus.errors import PolicyError
from consensus.panel.book import load_prompts
from consensus.policy.audit.model import Audit, AuditTask, Latency, Lengths
from consensus.policy.certifying import route_sha256
from consensus.policy.load import load_policy
from consensus.policy.oracles import oracle_of
from tests.benchmark.proposals.fixtures import POLICY, run_on

BARE = POLICY[: POLICY.index("[tasks.refund]")] + '[tasks.other]\nkind = "choose"\n'
MINIMAL = POLICY[: POLICY.index("[tasks.refund]")] + '[tasks.refund]\ntier = "frontier"\n'

RUBRIC = "Five marks for what our house rules say.\n"

JUDGE = """
def right(answer, reference):
    return answer == reference
"""


def audited(**more: object) -> Audit:
    task = {
        "kind": "approve",
        "description": "May this be paid back?",
        "owner": "payments",
        "complexity": "low",
        "consequence": "low",
        "on_wrong": "a customer writes again",
        "oracle": "refund_rules",
        "structured": True,
        "monthly_volume": 1_000,
        "input_tokens": Lengths(p50=100, p95=200),
        "output_tokens": Lengths(p50=10, p95=20),
        "latency": Latency(p95_s=30, interactive=True),
        **more,
    }
    return Audit(tasks={"refund": AuditTask(**task)})  # type: ignore[arg-type]


def proposed(folder: Path, audit: Audit | None = None) -> Proposal:
    return propose(
        folder / "run",
        load_policy(folder / "strategies"),
        ProposalSettings(today=date(2026, 11, 22)),
        book=load_prompts(None),
        audit=audit or audited(),
    )


def timed(folder: Path, seconds: dict[str, float]) -> None:
    """The run's answers, as slow as this."""
    path = folder / "run" / "answers.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line["latency_s"] = seconds[line["model"]]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_new_row_has_what_the_audit_and_the_cases_say(tmp_path: Path) -> None:
    run_on(tmp_path, policy=BARE)
    row = accept(proposed(tmp_path), tmp_path / "strategies").table.tasks["refund"]
    assert (row.kind, row.owner, row.consequence) == ("approve", "payments", "low")
    assert row.description == "May this be paid back?"
    assert row.criteria == "Unused, and bought within 30 days."
    assert row.latency_need is not None
    assert (row.latency_need.p95_s, row.latency_need.interactive) == (30, True)
    assert row.oracle == "refund_rules"


def test_the_oracle_that_judged_is_declared_in_the_policy(tmp_path: Path) -> None:
    run_on(tmp_path, policy=BARE)
    table = accept(proposed(tmp_path), tmp_path / "strategies").table
    certificate = table.tasks["refund"].certificate
    assert certificate is not None
    assert oracle_of(table, "refund_rules").sha256 == certificate.oracle
    assert route_sha256(table, "refund") == certificate.route


def test_what_a_row_says_itself_stays(tmp_path: Path) -> None:
    run_on(tmp_path)
    audit = audited(owner="someone else", consequence="medium")
    row = accept(proposed(tmp_path, audit), tmp_path / "strategies").table.tasks["refund"]
    assert (row.owner, row.consequence) == ("payments", "low")
    assert row.oracle == "refund_rules"


def test_a_row_without_words_gets_those_it_was_measured_with(tmp_path: Path) -> None:
    run_on(tmp_path, policy=MINIMAL)
    proposal = proposed(tmp_path)
    assert any("criteria" in line and line.startswith("+") for line in diff_lines(proposal.rows[0]))
    table = accept(proposal, tmp_path / "strategies").table
    assert table.tasks["refund"].criteria == "Unused, and bought within 30 days."
    certificate = table.tasks["refund"].certificate
    assert certificate is not None
    assert route_sha256(table, "refund") == certificate.route


def judged_by(folder: Path, oracle: str, file: str, text: str) -> None:
    run_on(folder, policy=BARE)
    suite = folder / "run" / "suite"
    (suite / file).write_text(text)
    declared = (suite / "suite.toml").read_text().rstrip()
    (suite / "suite.toml").write_text(f"{declared}\noracle = {oracle}\n")


def with_file(folder: Path) -> None:
    judged_by(
        folder,
        '{ kind = "rubric", grader = "scripted/best", file = "house.md" }',
        "house.md",
        RUBRIC,
    )


def test_an_oracle_s_file_is_copied_beside_the_policy(tmp_path: Path) -> None:
    with_file(tmp_path)
    done = accept(proposed(tmp_path), tmp_path / "strategies")
    copied = tmp_path / "strategies" / "oracles" / "refund_rules" / "house.md"
    assert copied in done.files
    assert copied.read_text() == RUBRIC
    judged = load_suite(tmp_path / "run" / "suite").types["refund"].oracle
    assert oracle_of(done.table, "refund_rules").sha256 == judged.sha256


def test_the_audit_s_gate_is_in_the_row_when_it_is_measured(tmp_path: Path) -> None:
    strict = '[oracles.form]\nkind = "json_schema"\nschema = { type = "object" }\n'
    run_on(tmp_path, policy=BARE + strict)
    (row,) = proposed(tmp_path, audited(gate="form")).rows
    assert row.given["gate"] == "form"
    assert row.expected.undecided == 1  # no approval is an object


def test_a_function_that_judged_with_labels_is_no_gate_of_a_new_row(tmp_path: Path) -> None:
    oracle = '{ kind = "python", file = "judge.py", function = "right" }'
    judged_by(tmp_path, oracle, "judge.py", JUDGE)
    (row,) = proposed(tmp_path).rows
    assert "oracle" not in row.given
    assert any("would stand before every decision as a gate" in why for why in row.why)


def test_a_file_of_somebody_else_s_is_never_written_over(tmp_path: Path) -> None:
    with_file(tmp_path)
    proposal = proposed(tmp_path)
    mine = tmp_path / "strategies" / "oracles" / "refund_rules" / "house.md"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(PolicyError, match="would overwrite it"):
        accept(proposal, tmp_path / "strategies")
    assert mine.read_text() == "mine"


def test_a_proposal_cannot_write_outside_the_policy(tmp_path: Path) -> None:
    with_file(tmp_path)
    proposal = proposed(tmp_path)
    row = proposal.rows[0].model_copy(update={"oracle_files": {"../x.py": "pass\n"}})
    with pytest.raises(PolicyError, match="outside the policy"):
        accept(proposal.model_copy(update={"rows": (row,)}), tmp_path / "strategies")
    assert not (tmp_path / "x.py").exists()


def test_an_oracle_of_this_name_that_did_not_judge_is_said(tmp_path: Path) -> None:
    run_on(tmp_path, policy=BARE + '[oracles.refund_rules]\nkind = "numeric"\n')
    (row,) = proposed(tmp_path).rows
    assert any("is not what judged this run" in why for why in row.why)
    assert row.oracles == {}


def test_a_gate_that_nobody_declared_is_said_and_not_named(tmp_path: Path) -> None:
    run_on(tmp_path, policy=BARE)
    (row,) = proposed(tmp_path, audited(gate="limits")).rows
    assert any('gate "limits" is declared nowhere' in why for why in row.why)
    assert "gate" not in row.given


def test_a_route_that_callers_cannot_wait_for_is_not_proposed(tmp_path: Path) -> None:
    run_on(tmp_path, policy=BARE)
    timed(tmp_path, {"scripted/cheap": 1.0, "scripted/good": 9.0, "scripted/best": 2.0})
    (row,) = proposed(tmp_path, audited(latency=Latency(p95_s=5))).rows
    left = [c for c in row.candidates if "over the 5 s" in c.left_out]
    assert "single good" in {c.name for c in left}
    assert "scripted/good" not in json.dumps(row.new)
    assert row.expected.latency_p95_s is not None
    assert row.expected.latency_p95_s <= 5


def test_where_nothing_is_fast_enough_nothing_is_proposed(tmp_path: Path) -> None:
    run_on(tmp_path, policy=BARE)
    timed(tmp_path, {"scripted/cheap": 6.0, "scripted/good": 9.0, "scripted/best": 7.0})
    proposal = proposed(tmp_path, audited(latency=Latency(p95_s=5)))
    assert proposal.rows == ()
    assert "no route answers within the 5 s" in proposal.skipped["refund"]
    assert "has a p95 of 6.00 s" in proposal.skipped["refund"]
