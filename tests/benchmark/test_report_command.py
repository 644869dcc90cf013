"""``consensus bench report``: what it writes, where, and what it says when it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from consensus.benchmark.recorded import load_run
from consensus.cli.main import run as run_command
from tests.benchmark.test_report import recorded


def test_all_three_forms_are_written_and_the_verdict_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [str(tmp_path / name) for name in ("r.html", "r.json", "r.md")]
    folder = recorded(tmp_path)
    code = run_command(
        ["bench", "report", str(folder), "--out", names[0], "--json", names[1], "--markdown",
         names[2], "--frontier", "top", "--panel", "small,tiny"]
    )  # fmt: skip
    assert code == 0
    out, err = capsys.readouterr()
    assert out.startswith("does not pay")
    assert all(f"wrote {name}" in err for name in names)
    report = json.loads(Path(names[1]).read_text(encoding="utf-8"))
    assert report["setup"]["panel"] == ["small", "tiny"]
    assert Path(names[0]).read_text(encoding="utf-8").startswith("<!doctype html>")
    assert Path(names[2]).read_text(encoding="utf-8").startswith("# data")


def test_json_on_stdout_is_the_only_thing_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["bench", "report", str(recorded(tmp_path)), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["format"] == 1


def test_a_runs_report_lies_in_its_folder_and_recorded_answers_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = recorded(tmp_path)
    before = sorted(path.name for path in data.iterdir())
    assert run_command(["bench", "report", str(data)]) == 0
    assert (tmp_path / "data-report.html").exists()
    assert sorted(path.name for path in data.iterdir()) == before
    run = load_run(data).save(tmp_path / "run")
    assert run_command(["bench", "report", str(run)]) == 0
    assert (run / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "no such folder"),
        (["DATA", "--frontier", "nobody"], 'no answers of "nobody"'),
        (["DATA", "--variant", "odd"], "odd"),
        (["DATA", "--strategy", "odd"], 'unknown strategy "odd"'),
        (["DATA", "--seats", "99"], "--seats"),
        (["DATA", "--goal", "parity"], "only auto and cascade"),
        (["DATA", "--out", "missing/folder/r.html"], "cannot be written"),
    ],
)
def test_a_users_mistake_is_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = str(recorded(tmp_path))
    given = [folder if argument == "DATA" else argument for argument in arguments]
    assert run_command(["bench", "report", *given]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    folder = recorded(tmp_path, small__1="AAAAAABBBBAA")
    pages = []
    for seed in ("1", "2"):
        page = tmp_path / f"{seed}.html"
        subprocess.run(
            [sys.executable, "-m", "consensus.cli.main", "bench", "report", str(folder), "--out",
             str(page)],
            check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": seed},
        )  # fmt: skip
        pages.append(page.read_bytes())
    assert pages[0] == pages[1]


def test_importing_the_report_loads_nothing_heavy() -> None:
    heavy = "litellm anthropic scipy sqlalchemy sklearn jinja2 xllamacpp matplotlib"
    code = (
        "import sys, consensus.benchmark.report, consensus.cli.bench.report;"
        f"print([m for m in '{heavy}'.split() if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
