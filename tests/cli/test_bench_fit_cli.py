"""``consensus bench fit``: a file for a policy, and a page of what it is worth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from consensus.cli.bench import app
from consensus.errors import DataError
from consensus.orchestrators.calibration import load_calibration
from tests.benchmark.fit_fixtures import simulated


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    return simulated(300, options=("accept", "reject")).save(tmp_path / "run")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["fit", *arguments])


NAMES = ("--as", "accept=approve", "--as", "m/a=openai/a")


def test_it_writes_a_calibration_and_shows_what_it_is_worth(folder: Path) -> None:
    done = run("--data", str(folder), "--panel", "m/a, m/b", "--out", "c.json", *NAMES)
    assert done.exit_code == 0, done.output
    made = load_calibration("c.json")
    assert (made.models, made.aggregator) == (("openai/a", "m/b"), "blocks")
    assert made.fitted_on
    for said in (
        "cold start",
        "calibrated",
        "log loss",
        "came true",
        "prediction sets at α = 0.05",
    ):
        assert said in done.stdout
    assert "wrote c.json" in done.stderr


def test_json_is_one_document_with_every_figure(folder: Path) -> None:
    done = run(
        *("--data", str(folder), "--panel", "m/a,m/b", "--out", "c.json", *NAMES),
        *("--aggregator", "stacked", "--seed", "3", "--json"),
    )
    report = json.loads(done.stdout)
    assert report["models"] == {"openai/a": 1, "m/b": 1}
    assert report["cases"] + report["held_out"] == 300
    for side in ("before", "after"):
        assert set(report[side]) == {"accuracy", "log_loss", "brier", "ece", "bins"}
    assert set(report["conformal"]) == {"alpha", "coverage", "acted", "error_among_acted"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--panel", "m/a", "--aggregator", "magic"], "one of weighted, blocks"),
        (["--panel", "m/a", "--as", "accept"], "RECORDED=NAME"),
        (["--panel", "m/a"], "--as accept=approve"),
        (["--panel", "m/z"], "no answers of"),
    ],
)
def test_a_mistake_is_one_line_and_no_file(folder: Path, arguments: list[str], said: str) -> None:
    done = run("--data", str(folder), "--out", "c.json", *arguments)
    assert isinstance(done.exception, DataError)
    assert said in str(done.exception)
    assert not Path("c.json").exists()
