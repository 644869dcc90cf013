from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from consensus.cli.policy import app
from consensus.errors import PolicyError
from tests.benchmark.proposals.fixtures import POLICY, run_on


@pytest.fixture(autouse=True)
def _in_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_on(tmp_path, 120)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_propose_accept_and_check_are_one_walk() -> None:
    done = run("propose", "run", "--md", "p.md", "--html", "p.html")
    assert done.exit_code == 0, done.output
    assert "refund: certified" in done.stdout
    assert "next: consensus policy accept proposal.json" in done.stderr
    assert Path("p.md").read_text().startswith("# Proposed policy")
    assert Path("p.html").read_text().startswith("<!doctype html>")
    done = run("accept", "proposal.json")
    assert done.exit_code == 0, done.output
    assert done.stdout == "refund: certified\n"
    done = run("check", "strategies")
    assert done.exit_code == 0, done.output
    assert "certificate" not in done.stdout


def another_framing() -> None:
    folder = Path("prompts/framings")
    folder.mkdir(parents=True)
    (folder / "sober.md").write_text(
        "---\nname: sober\ntitle: Sober\nkinds: [approve]\norder: 99\nversion: 1\n---\nBe sober.\n"
    )


def test_changed_prompts_are_found_by_check_with_the_command_that_mends_it() -> None:
    run("propose", "run")
    run("accept", "proposal.json")
    another_framing()
    done = run("check", "strategies", "--json")
    found = [f for f in json.loads(done.stdout)["findings"] if f["code"] == "certificate"]
    assert done.exit_code == 1
    assert "the prompts are not those it was measured with" in found[0]["message"]
    assert "policy propose" in found[0]["fix"]
    assert found[0]["line"] > 1


def test_a_changed_price_is_a_warning_and_not_a_death() -> None:
    run("propose", "run")
    run("accept", "proposal.json")
    file = Path("strategies/policy.toml")
    head, mark, rest = file.read_text().partition("[defaults]")
    for old, new in (("input = 1.0", "1.5"), ("input = 2.0", "2.5"), ("input = 10.0", "11")):
        head = head.replace(old, f"input = {new}")
    file.write_text(head + mark + rest)
    done = run("check", "strategies", "--json")
    codes = {f["code"] for f in json.loads(done.stdout)["findings"]}
    assert done.exit_code == 0
    assert "price-changed" in codes
    assert "certificate" not in codes


def test_propose_prints_one_json_document() -> None:
    done = run("propose", "run", "--json")
    assert json.loads(done.stdout)["rows"][0]["task_type"] == "refund"


def test_accept_writes_only_the_rows_that_were_named() -> None:
    run("propose", "run")
    with pytest.raises(PolicyError, match="one of refund"):
        CliRunner().invoke(app, ["accept", "proposal.json", "--only", "x"], catch_exceptions=False)
    assert Path("strategies/policy.toml").read_text() == POLICY


def test_a_dry_refresh_says_what_is_touched_and_what_it_costs() -> None:
    done = run("refresh", "--run", "run", "--new-model", "scripted/cheap", "--dry-run", "--json")
    data = json.loads(done.stdout)
    assert done.exit_code == 0
    assert "it is unproven" in data["touched"]["refund"]
    assert data["estimate"]["calls"] == 0  # the run holds its answers already


def test_refresh_without_a_new_model_proposes_for_what_is_touched() -> None:
    done = run("refresh", "--run", "run", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rows"][0]["status"] == "certified"


def test_show_says_what_a_row_has_earned() -> None:
    assert "unproven" in run("show", "refund").stdout
    run("propose", "run")
    run("accept", "proposal.json")
    assert "certified on 20" in run("show", "refund").stdout
    shown = json.loads(run("show", "refund", "--json").stdout)
    certificate = shown["certificate"]
    assert shown["no_longer_holds"] == []
    assert certificate["status"] == "certified"


def test_show_says_that_what_a_row_has_earned_no_longer_holds() -> None:
    run("propose", "run")
    run("accept", "proposal.json")
    another_framing()
    out = " ".join(run("show", "refund").stdout.split())
    assert "it no longer holds: the prompts are not those it was measured with" in out
