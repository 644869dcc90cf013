from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from consensus.benchmark.proposals.accepting import accept
from consensus.benchmark.proposals.model import Proposal, load_proposal, save_proposal
from consensus.benchmark.proposals.pages import diff_lines, render_html, render_markdown
from consensus.benchmark.proposals.propose import propose
from consensus.benchmark.proposals.settings import ProposalSettings
from consensus.errors import DataError, PolicyError
from consensus.panel.book import load_prompts
from consensus.policy.audit.model import Audit, AuditTask, Lengths
from consensus.policy.certifying import route_sha256
from consensus.policy.load import load_policy
from tests.benchmark.proposals.fixtures import POLICY, QUALITY, run_on

TODAY = date(2026, 11, 22)
SETTINGS = ProposalSettings(today=TODAY)


def proposed(folder: Path, settings: ProposalSettings = SETTINGS, **more: object) -> Proposal:
    table = load_policy(folder / "strategies")
    return propose(folder / "run", table, settings, book=load_prompts(None), **more)  # type: ignore[arg-type]


def test_the_cheapest_route_that_clears_the_floor_takes_the_row(tmp_path: Path) -> None:
    run_on(tmp_path)
    row = proposed(tmp_path).rows[0]
    assert row.status == "certified"
    assert row.certificate.bound >= row.certificate.floor == 0.90
    assert row.expected.usd is not None
    assert row.frontier is not None
    assert row.frontier.usd is not None
    assert row.expected.usd < row.frontier.usd
    assert row.profile is not None
    assert row.profile.usd_per_decision == pytest.approx(row.expected.usd)


def test_only_the_evaluation_half_stands_behind_the_figures(tmp_path: Path) -> None:
    run_on(tmp_path)
    row = proposed(tmp_path).rows[0]
    chosen = next(c for c in row.candidates if c.row == row.new)
    assert chosen.calibration is not None
    assert chosen.evaluation is not None
    assert chosen.calibration.n + chosen.evaluation.n == 160
    assert row.certificate.n == chosen.evaluation.n
    assert row.expected == chosen.evaluation


def test_few_cases_are_uncertifiable_and_the_row_stays(tmp_path: Path) -> None:
    run_on(tmp_path, 20)
    row = proposed(tmp_path).rows[0]
    assert row.status == "uncertifiable"
    assert row.certificate.needs > 0
    assert row.new == {"tier": "frontier"} == row.old
    assert not row.changed


def test_where_no_route_is_good_enough_the_frontier_serves(tmp_path: Path) -> None:
    poor = {"scripted/cheap": 0.5, "scripted/best": 0.6}
    run_on(tmp_path, quality=poor)
    row = proposed(tmp_path).rows[0]
    assert row.status == "failed"
    assert row.new == {"strategy": "single", "models": ["scripted/best"]}


def test_between_the_thresholds_a_row_is_provisional_with_a_shadow(tmp_path: Path) -> None:
    middling = {"scripted/good": 0.90, "scripted/best": 0.91}
    policy = POLICY.replace('"scripted/cheap", ', "").replace('"low"', '"medium"')
    policy += "[certificates]\nmedium = { floor = 0.96, delta = 0.05, provisional = 0.75 }\n"
    run_on(tmp_path, quality=middling, policy=policy)
    row = proposed(tmp_path).rows[0]
    assert row.status == "provisional"
    assert row.new["shadow"] == {"share": 0.1, "route": "scripted/best"}


def test_rows_are_ordered_by_what_they_save_in_a_month(tmp_path: Path) -> None:
    run_on(tmp_path)
    lengths = Lengths(p50=100, p95=200)
    task = AuditTask(
        kind="approve",
        complexity="low",
        consequence="low",
        structured=True,
        monthly_volume=100_000,
        input_tokens=lengths,
        output_tokens=lengths,
    )
    row = proposed(tmp_path, audit=Audit(tasks={"refund": task})).rows[0]
    assert row.before is not None
    assert row.before.usd is not None
    assert row.expected.usd is not None
    assert row.saving_usd == pytest.approx(100_000 * (row.before.usd - row.expected.usd))


def test_a_debate_that_was_not_recorded_is_said_and_not_guessed(tmp_path: Path) -> None:
    run_on(
        tmp_path,
        60,
        quality={**QUALITY, "scripted/third": 0.9},
        policy=POLICY + ('[prices."scripted/third"]\ninput = 1.5\noutput = 6.0\n'),
    )
    found = proposed(tmp_path).rows[0].candidates
    debates = [c for c in found if c.row.get("strategy") == "debate"]
    assert debates
    assert all("debate" in c.left_out for c in debates if c.evaluation is None)


def test_learn_then_test_says_so_in_the_certificate(tmp_path: Path) -> None:
    run_on(tmp_path)
    row = proposed(tmp_path, ProposalSettings(today=TODAY, grid=True)).rows[0]
    assert "learn-then-test" in row.certificate.method


def test_an_unknown_type_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    run_on(tmp_path, 20)
    with pytest.raises(DataError, match="one of refund"):
        proposed(tmp_path, ProposalSettings(today=TODAY, types=("refnd",)))


# -- accept ----------------------------------------------------------------------------------------


def test_an_accepted_row_holds_its_evidence_and_keeps_its_comments(tmp_path: Path) -> None:
    run_on(tmp_path)
    proposal = proposed(tmp_path)
    done = accept(proposal, tmp_path / "strategies")
    text = (tmp_path / "strategies" / "policy.toml").read_text()
    for comment in ("# Our policy. This comment stays.", "# ask them first", "# never more",
                    "# paid out at once"):  # fmt: skip
        assert comment in text
    row = done.table.tasks["refund"]
    assert row.certificate == proposal.rows[0].certificate
    assert row.profile == proposal.rows[0].profile
    assert row.owner == "payments"
    assert row.tier is None
    assert load_policy(tmp_path / "strategies").tasks["refund"].certificate is not None


def test_the_accepted_row_is_the_route_that_was_certified(tmp_path: Path) -> None:
    run_on(tmp_path)
    proposal = proposed(tmp_path)
    table = accept(proposal, tmp_path / "strategies").table
    assert route_sha256(table, "refund") == proposal.rows[0].certificate.route


def test_accepting_twice_is_refused_since_the_table_has_changed(tmp_path: Path) -> None:
    run_on(tmp_path)
    proposal = proposed(tmp_path)
    accept(proposal, tmp_path / "strategies")
    with pytest.raises(PolicyError, match="changed since"):
        accept(proposal, tmp_path / "strategies")


def test_a_proposal_again_over_an_accepted_row_replaces_its_evidence(tmp_path: Path) -> None:
    run_on(tmp_path)
    accept(proposed(tmp_path), tmp_path / "strategies")
    again = ProposalSettings(today=date(2026, 12, 24), seed=1)
    table = accept(proposed(tmp_path, again), tmp_path / "strategies").table
    certificate = table.tasks["refund"].certificate
    assert certificate is not None
    assert certificate.date == date(2026, 12, 24)


@pytest.mark.parametrize("name", ["strategies", "strategies/policy.toml"])
def test_the_certificate_that_is_replaced_is_kept_in_the_history(tmp_path: Path, name: str) -> None:
    run_on(tmp_path)
    first = proposed(tmp_path)
    assert accept(first, tmp_path / name).table.history == {}
    again = ProposalSettings(today=date(2026, 12, 24), seed=1)
    table = accept(proposed(tmp_path, again), tmp_path / name).table
    (kept,) = table.history["refund"]
    assert kept.certificate == first.rows[0].certificate
    assert kept.row.profile == first.rows[0].profile
    assert (tmp_path / "strategies" / "history.toml").exists() == (name == "strategies")


def test_a_row_that_would_not_load_leaves_the_files_as_they_were(tmp_path: Path) -> None:
    run_on(tmp_path)
    proposal = proposed(tmp_path)
    row = proposal.rows[0].model_copy(update={"new": {"strategy": "nowhere"}})
    before = (tmp_path / "strategies" / "policy.toml").read_bytes()
    with pytest.raises(PolicyError, match="would not load"):
        accept(proposal.model_copy(update={"rows": (row,)}), tmp_path / "strategies")
    assert (tmp_path / "strategies" / "policy.toml").read_bytes() == before
    assert [p.name for p in (tmp_path / "strategies").iterdir()] == ["policy.toml"]


def test_a_type_without_a_row_gets_one(tmp_path: Path) -> None:
    head = POLICY[: POLICY.index("[tasks.refund]")]
    run_on(tmp_path, policy=head + '[tasks.other]\nkind = "choose"\ntier = "small"\n')
    table = accept(proposed(tmp_path), tmp_path / "strategies").table
    assert table.tasks["refund"].certificate is not None
    assert table.tasks["refund"].kind == "approve"


def test_a_row_that_names_a_calibration_brings_its_file(tmp_path: Path) -> None:
    run_on(tmp_path)
    proposal = proposed(tmp_path)
    fitted = next(c for c in proposal.rows[0].candidates if "calibration" in c.row)
    from consensus.benchmark.fitting import fit_calibration
    from consensus.benchmark.recorded import load_run

    made = fit_calibration(load_run(tmp_path / "run"), ["scripted/cheap", "scripted/good"])
    row = proposal.rows[0].model_copy(
        update={
            "new": {**fitted.row, "models": ["scripted/cheap", "scripted/good"]},
            "calibration_file": fitted.row["calibration"],
            "calibration": made.calibration.model_dump(mode="json"),
        }
    )
    done = accept(proposal.model_copy(update={"rows": (row,)}), tmp_path / "strategies")
    assert (tmp_path / "strategies" / "calibrations" / "refund.json").exists()
    assert done.table.tasks["refund"].calibration == "calibrations/refund.json"


# -- on paper --------------------------------------------------------------------------------------


def test_a_proposal_survives_its_file(tmp_path: Path) -> None:
    run_on(tmp_path, 60)
    proposal = proposed(tmp_path)
    save_proposal(proposal, tmp_path / "p.json")
    assert load_proposal(tmp_path / "p.json") == proposal


def test_a_file_that_is_no_proposal_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text('{"rows": 3}')
    with pytest.raises(DataError, match="no proposal"):
        load_proposal(tmp_path / "p.json")


def test_the_diff_shows_what_goes_and_what_comes(tmp_path: Path) -> None:
    run_on(tmp_path)
    lines = diff_lines(proposed(tmp_path).rows[0])
    assert '- tier = "frontier"' in lines
    assert any(line.startswith("+ models = ") for line in lines)


def test_pages_hold_every_row_with_its_figures_and_escape_names(tmp_path: Path) -> None:
    run_on(tmp_path, 60)
    proposal = proposed(tmp_path).model_copy(update={"run": "<script>x"})
    page, text = render_html(proposal), render_markdown(proposal)
    assert "<script>" not in page
    for said in (page, text):
        assert "refund: " in said
        assert "evaluation half" in said


def test_equal_runs_give_equal_proposals(tmp_path: Path) -> None:
    run_on(tmp_path, 60)
    assert proposed(tmp_path) == proposed(tmp_path)


def _escalated_only(folder: Path, share: int, source: str) -> None:
    """As if the frontier had been asked one case of so many, and the run came from there."""
    run_on(folder)
    answers = folder / "run" / "answers.jsonl"
    lines = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
    kept = [
        line
        for line in lines
        if line["model"] != "scripted/best" or int(line["case"][1:]) % share == 0
    ]
    answers.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
    manifest = folder / "run" / "manifest.json"
    said = json.loads(manifest.read_text(encoding="utf-8"))
    said["source"] = {**said.get("source", {}), "kind": source}
    manifest.write_text(json.dumps(said), encoding="utf-8")


def test_cases_that_not_every_model_answered_are_counted(tmp_path: Path) -> None:
    _escalated_only(tmp_path, 2, "run")
    assert any(
        "refund: 80 of 160 cases were not answered by every model and are left out" in note
        for note in proposed(tmp_path).notes
    )


def test_what_production_escalated_is_no_sample_to_propose_from(tmp_path: Path) -> None:
    _escalated_only(tmp_path, 2, "ledger")
    found = proposed(tmp_path)
    assert not found.rows
    assert "80 of 160 cases were not answered by every model" in found.skipped["refund"]
    assert "policy refresh --labelled" in found.skipped["refund"]


def test_models_that_production_asked_every_time_can_be_compared(tmp_path: Path) -> None:
    _escalated_only(tmp_path, 2, "ledger")
    settings = ProposalSettings(today=TODAY, models=("scripted/cheap", "scripted/good"))
    assert proposed(tmp_path, settings).rows
