from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from consensus.benchmark.spreadsheet import read_csv, write_csv
from consensus.benchmark.suites import load_suite
from consensus.benchmark.synthetic.sheet import COLUMNS
from consensus.cli.audit import app
from consensus.errors import DataError, DeclarationError, PolicyError
from consensus.policy.audit import load_audit
from consensus.policy.audit.schema import schema_text
from tests.benchmark.synthetic.writers import novel_case
from tests.policy.audit.audits import audit_file, task_text

POLICY = """
version = 1
[tiers]
small = ["scripted/a"]
[defaults]
tier = "small"
[oracles.refunds]
kind = "exact"
"""


@pytest.fixture(autouse=True)
def _in_an_empty_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def project(*tasks: str, policy: str = POLICY) -> None:
    Path("strategies").mkdir(exist_ok=True)
    Path("strategies/policy.toml").write_text(policy, encoding="utf-8")
    audit_file(Path(), *tasks)


SMALL = ("--cases", "8", "--per-category", "0", "--no-certify")


def scripted(cases: int = 8) -> None:
    """A project whose scripted model writes cases, by a file of rules."""
    rules = [
        {"times": 1, "text": json.dumps({"cases": [novel_case(n + i) for i in range(4)]})}
        for n in range(0, cases, 4)
    ]
    Path("rules.json").write_text(json.dumps({"rules": rules}), encoding="utf-8")
    project(policy=POLICY + '[providers.scripted]\nbase_url = "rules.json"\n')


# -- init ------------------------------------------------------------------------------------------


def test_init_in_an_empty_folder_writes_an_example_that_check_accepts() -> None:
    done = run("init")
    assert done.exit_code == 0, done.exception
    assert "one worked example" in done.stderr
    assert run("check").exit_code == 0


def test_init_takes_the_task_types_of_the_projects_policy() -> None:
    project(policy=POLICY + '[tasks.triage]\nkind = "choose"\noptions = ["a", "b"]\n')
    Path("audit.toml").unlink()
    done = run("init", "--json")
    assert list(json.loads(done.stdout)["tasks"]) == ["triage"]
    assert load_audit("audit.toml").tasks["triage"].options == ("a", "b")


def test_init_blank_looks_at_nothing() -> None:
    project(policy=POLICY + '[tasks.triage]\nkind = "choose"\n')
    assert run("init", "--blank", "new.toml").exit_code == 0
    assert list(load_audit("new.toml").tasks) == ["refund_approval"]


def test_init_never_writes_over_an_audit() -> None:
    project()
    before = Path("audit.toml").read_bytes()
    done = run("init")
    assert isinstance(done.exception, DeclarationError)
    assert Path("audit.toml").read_bytes() == before


# -- check and show --------------------------------------------------------------------------------


def test_check_names_file_line_key_and_fix_and_exits_1() -> None:
    project(task_text("refund", owner='""'))
    done = run("check")
    assert done.exit_code == 1
    assert done.stdout == (
        "audit.toml:4: error: tasks.refund.owner: nobody answers for this task type "
        '(owner = "TEAM OR PERSON")\n'
    )
    assert "1 task types, 1 error" in done.stderr


def test_warnings_exit_1_only_where_strict() -> None:
    project(task_text("refund", ("description",)))
    assert run("check").exit_code == 0
    assert run("check", "--strict").exit_code == 1


@pytest.mark.parametrize("text", ["version = 1\n[tasks.x\n", "version = 2\n"])
def test_what_is_no_audit_is_a_finding_too(text: str) -> None:
    Path("audit.toml").write_text(text, encoding="utf-8")
    done = run("check", "--json")
    assert done.exit_code == 1
    (finding,) = json.loads(done.stdout)["findings"]
    assert finding["level"] == "error"
    assert finding["line"] is not None


def test_without_an_audit_check_says_how_to_make_one() -> None:
    done = run("check")
    assert isinstance(done.exception, PolicyError)
    assert "consensus audit init" in str(done.exception)


def test_show_says_the_same_as_json_and_as_csv() -> None:
    project(task_text("a", monthly_volume="3000"), task_text("b", owner='"=cmd()"'))
    data = json.loads(run("show", "--json").stdout)
    assert [row["share"] for row in data["tasks"]] == [0.75, 0.25]
    assert data["tasks"][0]["cases_1_failure"] == 93
    rows = list(csv.DictReader(io.StringIO(run("show", "--csv").stdout)))
    assert [row["type"] for row in rows] == ["a", "b"]
    assert rows[1]["owner"] == "'=cmd()"
    assert "59/93/124" in run("show").stdout


def test_schema_is_the_one_that_is_shipped() -> None:
    assert run("schema").stdout == schema_text()


# -- profile ---------------------------------------------------------------------------------------


def test_the_plan_shows_needs_and_price_and_makes_no_folder() -> None:
    project()
    before = sorted(Path().rglob("*"))
    done = run("profile", "--json", "--model", "scripted/a")
    assert done.exit_code == 0, done.exception
    data = json.loads(done.stdout)
    assert data["types"][0]["certificate_cases"] == [59, 93, 124]
    assert data["wanted"] == data["missing"] == 300
    assert data["run"]["calls"] == 300
    assert data["writing"]["calls"] == 75
    assert sorted(Path().rglob("*")) == before


def test_the_plan_is_readable() -> None:
    project()
    done = run("profile", *SMALL)
    assert "8 cases wanted, 8 to be written" in done.stdout
    assert "59/93/124" in done.stdout
    assert "nothing was asked" in done.stderr


def test_writing_without_a_model_names_one() -> None:
    project()
    done = run("profile", "--out", "profiling")
    assert isinstance(done.exception, DataError)
    assert "--model scripted/a" in str(done.exception)


def test_an_unknown_tier_is_refused() -> None:
    project()
    assert isinstance(run("profile", "--tiers", "nope").exception, DataError)


def test_from_plan_to_suite() -> None:
    scripted()
    done = run("profile", *SMALL, "--out", "profiling", "--model", "scripted/a", "-q")
    assert done.exit_code == 0, done.exception or done.stderr
    assert "8 usable cases" in done.stdout
    sheet = Path("profiling/sheet.csv")
    none = run("profile", "--accept", str(sheet), "--suite", "suite")
    assert isinstance(none.exception, DataError)  # nobody has looked at it
    rows = [row for _, row in read_csv(sheet, COLUMNS)]
    for number, row in enumerate(rows[:6]):
        row["verdict"] = "drop" if number == 5 else "use"
    rows[0] |= {"verdict": "", "label": "reject"}
    write_csv(sheet, COLUMNS, [[row[name] for name in COLUMNS] for row in rows])
    made = run("profile", "--accept", str(sheet), "--suite", "suite", "--json")
    assert made.exit_code == 0, made.exception
    data = json.loads(made.stdout)
    assert (data["cases"], data["rows"]["corrected"], data["rows"]["unreviewed"]) == (5, 1, 2)
    assert "consensus bench run suite --out runs/suite" in made.stderr
    assert [case.reference for case in load_suite("suite").cases] == ["reject"] + ["approve"] * 4


def test_a_model_that_writes_nothing_of_use_exits_1() -> None:
    project()
    done = run("profile", *SMALL, "--out", "profiling", "--model", "scripted/a", "-q")
    assert done.exit_code == 1
    assert "wrote no case that is of use" in done.stderr


# -- ready -----------------------------------------------------------------------------------------


def test_ready_exits_1_and_says_what_closes_each_item() -> None:
    project()
    done = run("ready")
    assert done.exit_code == 1
    assert "open    3 profiling is complete" in done.stdout
    assert "→ consensus policy propose RUN" in done.stdout
    assert "2 of 10 closed; not ready" in done.stderr


def test_ready_in_an_empty_folder_says_to_begin() -> None:
    done = run("ready", "--json")
    assert done.exit_code == 1
    data = json.loads(done.stdout)
    assert (data["ready"], data["closed"], len(data["items"])) == (False, 0, 10)
    assert data["items"][0]["close"] == ["consensus audit init"]
