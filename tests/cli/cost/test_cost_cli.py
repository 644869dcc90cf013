from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from consensus.ballots import Usage
from consensus.benchmark.proposals.model import save_proposal
from consensus.cli import cost as command
from consensus.errors import DeclarationError, LedgerError
from consensus.ledger import Ledger
from consensus.policy.load import load_policy
from tests.benchmark.projection.test_project import CASCADE, PROFILE
from tests.benchmark.projection.test_proposed import PROFILE as MEASURED
from tests.benchmark.projection.test_proposed import proposal
from tests.benchmark.projection.test_replayed import ROWS, recorded
from tests.benchmark.projection.traffic import PRICES
from tests.ledger.records import call
from tests.ledger.test_attribution import NOON, decide, wild

AUDIT = """\
version = 1
[tasks.t]
kind = "approve"
complexity = "low"
consequence = "low"
owner = "=team"
structured = true
monthly_volume = 10000
input_tokens = { p50 = 1000, p95 = 2000 }
output_tokens = { p50 = 200, p95 = 400 }
"""


@pytest.fixture
def project_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a policy whose one row is profiled, and an audit."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CONSENSUS_LEDGER", raising=False)
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "policy.toml").write_text(
        f"version = 1\n{PRICES}\n{CASCADE}{PROFILE}", encoding="utf-8"
    )
    (tmp_path / "audit.toml").write_text(AUDIT, encoding="utf-8")
    return tmp_path


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(command.app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.output


def test_project_takes_the_audit_and_the_policy_that_are_here(project_folder: Path) -> None:
    data = json.loads(run("project", "--json"))
    assert data["total"]["after_usd"] == pytest.approx(40.0)
    assert data["total"]["before_usd"] == pytest.approx(200.0)
    assert data["traffic"] == "audit.toml"


def test_project_says_the_verdict_the_break_evens_and_ten_calls(project_folder: Path) -> None:
    page = run("project")
    assert "$40.00 a month instead of $200.00: 80 % less" in page
    assert "its cascade pays below" in page
    assert "10 calls of x/mid cost" in page
    assert "A content classifier" in page


def test_project_writes_a_page_a_sheet_and_a_document(project_folder: Path) -> None:
    run("project", "--html", "p.html", "--csv", "p.csv", "--out", "p.json")
    assert (project_folder / "p.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    with (project_folder / "p.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["level"] for row in rows] == ["type", "group", "total"]
    assert rows[0]["owner"] == "'=team"
    assert json.loads((project_folder / "p.json").read_text())["format"].startswith("consensus")


def test_project_shows_a_what_if_beside_what_holds_without_it(project_folder: Path) -> None:
    page = run("project", "--volume", "x2", "--price", "x/front=5,25")
    assert "What if: volume × 2; x/front: $5 in, $25 out per million tokens." in page
    assert "Without it $40.00 a month instead of $200.00" in page


def test_project_without_an_audit_takes_what_the_ledger_saw(project_folder: Path) -> None:
    (project_folder / "audit.toml").unlink()
    with Ledger(project_folder / ".consensus" / "ledger.db") as book:
        decide(book, "d", 10**10, type_="t", served_model="x/small", requested_model="x/small")
    data = json.loads(run("project", "--json"))
    assert data["types"][0]["source"] == "ledger"
    assert data["total"]["after_usd"] == pytest.approx(30 * 0.01)


def test_project_with_neither_audit_nor_ledger_is_one_clear_error(project_folder: Path) -> None:
    (project_folder / "audit.toml").unlink()
    with pytest.raises(DeclarationError, match="consensus audit init"):
        run("project")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--classifier", "cheap"),
        ("--classifier", "1,2,3"),
        ("--audit", "a.toml", "--ledger", "l.db"),
        ("--since", "7d"),
    ],
)
def test_project_refuses_what_makes_no_sense(
    project_folder: Path, arguments: tuple[str, ...]
) -> None:
    run("project", *arguments, code=2)


def test_report_groups_the_ledger_and_adds_up(project_folder: Path) -> None:
    with Ledger(project_folder / ".consensus" / "ledger.db") as book:
        paid = wild(book, 3)
    data = json.loads(run("report", "--by", "type,day", "--json"))
    assert sum(group["cost"]["pico_usd"] for group in data["groups"]) == paid
    assert data["total"]["cost"]["pico_usd"] == paid
    assert data["all_frontier"]["model"] == "x/front"
    assert data["all_frontier"]["basis"].startswith("arithmetic")


def test_report_knows_owners_from_the_policys_rows(project_folder: Path) -> None:
    with Ledger(project_folder / ".consensus" / "ledger.db") as book:
        decide(book, "d", 5, type_="t")
    data = json.loads(run("report", "--by", "owner", "--json"))
    assert [group["owner"] for group in data["groups"]] == ["team"]


def test_report_prints_a_table_what_was_saved_and_how_it_adds_up(project_folder: Path) -> None:
    with Ledger(project_folder / ".consensus" / "ledger.db") as book:
        decide(book, "d", 10**9, type_="t", frontier=10**10, agrees=True)
    page = run("report")
    assert "You saved" in page
    assert "arithmetic, not a measurement" in page
    assert "The frontier was really asked beside 1 decision, which cost" in page
    assert "the groups add up to what was paid" in page


def test_report_shows_classes_of_tokens_and_what_was_asked_beside_where_there_are_any(
    project_folder: Path,
) -> None:
    with Ledger(project_folder / ".consensus" / "ledger.db") as book:
        for purpose in ("ballot", "shadow"):
            book.record_here(call("d", purpose=purpose))
    told = run("report")
    heads = told.splitlines()[0]
    for name in ("cache read", "written", "reasoning", "beside"):
        assert name in heads
    assert "Cache read and written are parts of input; reasoning is a part of output" in told
    plain = Usage(input=500, output=90)
    with Ledger(project_folder / "plain.db") as book:
        book.record_here(call("d", usage=plain))
    told = run("report", "--ledger", "plain.db")
    assert not {"cache", "written", "reasoning", "beside"} & set(told.splitlines()[0].split())
    assert "parts of input" not in told


def test_report_writes_a_page_and_a_sheet(project_folder: Path) -> None:
    with Ledger(project_folder / ".consensus" / "ledger.db") as book:
        decide(book, "d", 5, type_="t")
    run("report", "--html", "c.html", "--csv", "c.csv")
    assert "Cost report" in (project_folder / "c.html").read_text(encoding="utf-8")
    with (project_folder / "c.csv").open(encoding="utf-8-sig", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["type"], row["cost_pico"]) == ("t", "5")
    (piped,) = csv.DictReader(run("report", "--csv", "-").splitlines())
    assert piped == row
    assert run("report", "--html", "-").startswith("<!doctype html>")


def test_report_of_a_stretch_without_decisions_says_so(project_folder: Path) -> None:
    with Ledger(project_folder / ".consensus" / "ledger.db") as book:
        decide(book, "d", 5, type_="t", at=NOON)
    page = run("report", "--since", "2025-01-01", "--until", "2025-01-02")
    assert "$0 paid" in page


def test_report_refuses_a_stretch_that_ends_before_it_begins(project_folder: Path) -> None:
    run("report", "--since", "2025-01-02", "--until", "2025-01-01", code=2)


def test_report_refuses_an_unknown_dimension_and_a_missing_ledger(project_folder: Path) -> None:
    with pytest.raises(LedgerError, match="no ledger here"):
        run("report")
    with Ledger(project_folder / ".consensus" / "ledger.db") as book:
        decide(book, "d", 5)
    with pytest.raises(DeclarationError, match='cannot group by "colour"'):
        run("report", "--by", "colour")


def test_project_measures_the_rows_on_a_run(project_folder: Path, tmp_path: Path) -> None:
    policy = project_folder / "strategies" / "policy.toml"
    policy.write_text(f"version = 1\n{PRICES}\n{ROWS}", encoding="utf-8")
    data = json.loads(run("project", "--run", recorded(tmp_path), "--json"))
    assert data["types"][0]["source"] == "run"
    assert data["types"][0]["escalation_rate"] == pytest.approx(0.25)


def test_project_shows_a_proposal_beside_the_policy_as_it_is(project_folder: Path) -> None:
    table = load_policy(project_folder / "strategies")
    save_proposal(
        proposal(table, {"strategy": "single", "tier": "small"}, MEASURED), Path("proposal.json")
    )
    page = run("project", "--proposal", "proposal.json")
    assert "What if: 1 row of proposal.json accepted." in page
    assert "Without it $40.00 a month instead of $200.00" in page
    assert "$10.00 a month instead of $200.00" in page


def test_project_refuses_a_proposal_and_a_run_at_once(project_folder: Path) -> None:
    run("project", "--proposal", "p.json", "--run", "r", code=2)
