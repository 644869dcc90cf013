"""Exit codes: 0 done, 1 a user's error in one line, 2 usage, 3 a bug with a log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from consensus.cli import main as cli
from tests.engine_fixtures import policy_file

ROW = """
[tasks.refund]
kind = "approve"
criteria = "Unused."
"""


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("consensus ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["policy", "chekc"],
        ["decide"],
        ["decide", "x", "--input", "f"],
        ["decide", "x", "--scale", "a"],
    ],
)
def test_a_wrong_command_line_is_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Error" in said.err


@pytest.mark.parametrize(
    ("row", "task", "said"),
    [
        (ROW, ["decide", "refund"], "subject"),
        (ROW, ["decide", "refund", "--kind", "judge", "--subject", "s"], "kind"),
        (ROW, ["decide", "other", "--subject", "s"], "kind"),
        (ROW, ["decide", "other", "--kind", "choose", "--subject", "s"], "options"),
        (ROW, ["decide", "other", "--kind", "choose", "--subject", "s", "--option", "a"], "two"),
        (
            ROW,
            ["decide", "refund", "--subject", "s", "--frontier", "openai/nobody"],
            "openai/nobody",
        ),
        (ROW, ["decide", "refund", "-i", "missing.jsonl", "-o", "out.jsonl"], "missing.jsonl"),
        (
            "[tasks.refund]\nkind = 'aprove'\n",
            ["decide", "refund", "--subject", "s"],
            "policy.toml:10",
        ),
        ("[tasks.refund\n", ["decide", "refund", "--subject", "s"], "policy.toml:9"),
        (
            "[tasks.refund]\nmodels = ['openai/nobody']\n",
            ["decide", "refund", "--subject", "s"],
            "openai/nobody",
        ),
    ],
)
def test_a_users_error_is_one_line_and_exit_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    row: str,
    task: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    policy = policy_file(tmp_path, row)
    if task == ["decide", "refund"]:
        task = [*task, "--subject", " "]
    assert cli.run([*task, "--policy", str(policy)]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert "Traceback" not in error


def test_one_task_is_decided_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    policy = policy_file(tmp_path, ROW)
    arguments = ["decide", "refund", "--subject", "[red]s[/]", "--policy", str(policy)]
    assert cli.run([*arguments, "--json", "--frontier", "scripted/f"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["action"] == "act"
    assert row["frontier"]["cost"] == {"usd": 0.0}
    assert cli.run(arguments) == 0
    assert "receipt" in capsys.readouterr().out


def test_a_file_with_a_bad_line_is_finished_and_exits_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    policy = policy_file(tmp_path, ROW)
    Path("in.jsonl").write_bytes(b'{"subject":"a"}\n\xff\n{"subject":"b"}\n')
    arguments = ["decide", "refund", "-i", "in.jsonl", "-o", "out.jsonl", "--policy", str(policy)]
    assert cli.run([*arguments, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["errors"] == 1
    rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [row["error"] is None for row in rows] == [True, False, True]


def test_a_bug_is_said_to_be_one_and_leaves_a_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(**_: object) -> None:
        raise ZeroDivisionError("secret judged text")

    monkeypatch.setattr(cli, "app", broken)
    assert cli.run([]) == 3
    error = capsys.readouterr().err
    assert "secret" not in error
    log = Path(error.partition("The log is ")[2].partition(";")[0])
    assert "ZeroDivisionError" in log.read_text()
    log.unlink()


def test_an_interrupt_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", interrupted)
    assert cli.run([]) == 130
