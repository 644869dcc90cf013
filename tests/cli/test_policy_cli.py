from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from consensus.cli.policy import app
from consensus.errors import PolicyError
from consensus.policy.schema import schema_text
from tests.policy.books import CONTRACT, write

SECRET = "sk-ant-api03-planted-0123456789abcdef"


@pytest.fixture(autouse=True)
def _in_an_empty_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def strategies(text: str) -> Path:
    folder = Path("strategies")
    folder.mkdir(exist_ok=True)
    return write(folder, text)


def test_check_of_a_good_table_exits_0_and_says_what_it_read() -> None:
    strategies(CONTRACT)
    done = run("check")
    assert done.exit_code == 0
    assert "strategies: 1 task types, 2 tiers, nothing to complain about" in done.stderr
    assert done.stdout == ""


def test_check_without_a_project_checks_the_shipped_defaults() -> None:
    done = run("check")
    assert (done.exit_code, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (
            "deadline_s = 20",
            "quorumm = 3",
            (
                "policy.toml:27: error: tasks.refund_approval.quorumm: is not a key of this table "
                '(did you mean "quorum"?)'
            ),
        ),
        (
            'tier = "small"\nseats',
            'tier = "smal"\nseats',
            (
                'policy.toml:21: error: tasks.refund_approval.tier: "smal" is no tier '
                '(did you mean "small"?)'
            ),
        ),
    ],
)
def test_check_prints_a_line_for_each_fault_and_exits_1(old: str, new: str, line: str) -> None:
    strategies(CONTRACT.replace(old, new))
    done = run("check")
    assert (done.exit_code, done.stdout) == (1, f"strategies/{line}\n")


def test_check_of_broken_toml_is_one_line() -> None:
    strategies("version = 1\n[tasks.x\n")
    done = run("check")
    assert done.exit_code == 1
    assert len(done.stdout.splitlines()) == 1
    assert done.stdout.startswith("strategies/policy.toml:2: error: is not TOML")


def test_check_of_a_path_that_is_not_there_exits_1() -> None:
    done = run("check", "nowhere")
    assert done.exit_code == 1
    assert "nowhere: error: no such file or folder" in done.stdout


def test_a_warning_exits_0_unless_strict() -> None:
    strategies(CONTRACT.replace("seats = 5", "seats = 6"))
    assert run("check").exit_code == 0
    assert run("check", "--strict").exit_code == 1


def test_check_as_json_has_place_key_and_fix() -> None:
    strategies(CONTRACT.replace("seats = 5", "seats = 6"))
    report = json.loads(run("check", "--json").stdout)
    assert report["ok"] is True
    assert report["findings"] == [
        {
            "level": "warning",
            "code": "even-seats",
            "key": "tasks.refund_approval.seats",
            "message": "6 seats can split evenly, and a tie is no outcome",
            "fix": "seats = 7",
            "file": "strategies/policy.toml",
            "line": 22,
        }
    ]


def test_check_looks_framings_up_in_the_projects_prompts() -> None:
    strategies(CONTRACT + 'framings = ["plain", "made-up"]\n')
    done = run("check")
    assert done.exit_code == 1
    assert '"made-up" is no framing' in done.stdout


@pytest.mark.parametrize("command", [["check"], ["check", "--json"], ["show", "x"]])
def test_a_planted_key_is_never_printed(command: list[str]) -> None:
    strategies(f'{CONTRACT}[providers.anthropic]\napi_key = "{SECRET}"\n')
    done = run(*command)
    assert done.exit_code == 1
    assert SECRET not in f"{done.stdout}{done.stderr}{done.exception!r}"


def test_show_says_which_way_and_why_with_todays_prices() -> None:
    strategies(CONTRACT)
    out = run("show", "refund_approval").stdout
    assert "because row tasks.refund_approval (strategies/policy.toml:17)" in out
    assert "vote, majority, quorum 4 of 5" in out
    assert "anthropic/claude-haiku-5-5" in out
    assert "losses 20 : 1" in out
    assert "at most $0.05" in out
    assert "one call of anthropic/claude-opus-5-5" in out


def test_show_as_json_has_hops_guards_and_an_estimate() -> None:
    strategies(CONTRACT)
    report = json.loads(run("show", "refund_approval", "--json").stdout)
    first, frontier = report["hops"]
    assert [(m["model"], m["seats"]) for m in first["models"]] == [
        ("anthropic/claude-haiku-5-5", 3),
        ("openai/gpt-5.4-nano", 2),
    ]
    assert len(first["framings"]) == 5
    assert frontier["models"][0]["output_per_million"] == 20
    assert report["guards"]["deadline_s"] == 20
    estimate = report["estimate"]
    assert estimate["all_usd"] == pytest.approx(first["estimated_usd"] + frontier["estimated_usd"])


def test_show_has_every_strategy_of_a_mixture_with_its_share() -> None:
    row = "[tasks.refund_approval]\n"
    mixed = CONTRACT[: CONTRACT.index(row)] + (
        '[strategies.three]\norchestrator = "vote"\ntier = "small"\nseats = 3\n'
        + row
        + 'kind = "approve"\ntier = "frontier"\n'
        + 'mix = [{ share = 0.25, strategy = "single" }, { share = 0.75, strategy = "three" }]\n'
    )
    strategies(mixed)
    out = run("show", "refund_approval").stdout
    assert "25% first" in out
    assert "75% first" in out
    assert "over the mixture, first choices cost $" in out
    arms = json.loads(run("show", "refund_approval", "--json").stdout)["arms"]
    assert [(arm["strategy"], arm["share"]) for arm in arms] == [("single", 0.25), ("three", 0.75)]
    assert arms[1]["hops"][0]["seats"] == 3


def test_show_of_a_type_without_a_row_shows_the_defaults_and_a_near_name() -> None:
    strategies(CONTRACT)
    done = run("show", "refund_aproval")
    assert done.exit_code == 0
    assert (
        'no row for type "refund_aproval": defaults (strategies/policy.toml:13) row' in done.stdout
    )
    assert 'there is one for "refund_approval"' in done.stderr


def test_show_takes_another_policy(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write(other, CONTRACT)
    done = run("show", "refund_approval", "--policy", str(other), "--json")
    assert json.loads(done.stdout)["policy"] == str(other)


def test_show_refuses_a_broken_table_with_its_error() -> None:
    strategies(CONTRACT.replace("quorum = 4", "quorum = 9"))
    done = run("show", "refund_approval")
    assert isinstance(done.exception, PolicyError)
    assert "strategies/policy.toml:17" in str(done.exception)


def test_schema_prints_the_shipped_schema() -> None:
    assert run("schema").stdout == schema_text()
